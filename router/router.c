/*
 * State behind one lock: ranks (a worker's data-parallel ranks stand one after another) and
 * bookings. Critical sections are short: no I/O, no waiting, and allocation only when a table
 * grows. The KV index has a lock of its own, so that events do not hold routing up; it is taken
 * inside ours or alone, never the other way round. Searches of the index wait for nobody: they run
 * before the critical section, which so knows the index as it was microseconds ago.
 *
 * A booking is what one request holds on one rank from its dispatch to its end: its prompt blocks
 * (shared with other requests of the rank: counted once, by reference) and, until its first token,
 * its prompt tokens that are not cached.
 */
#include "router/router_priv.h"

#include "base/mem.h"
#include "router/kv_batch.h"

#include <math.h>
#include <string.h>

void weir_router_config_init(struct weir_router_config *config) {
    *config = (struct weir_router_config){.block_size = 16,
                                          .overlap_score_credit = 1,
                                          .prefill_load_scale = 1,
                                          .recompute_weight = 8,
                                          .churn_weight = 2,
                                          .decode_block_weight = 0.02,
                                          .churn_half_life_s = 300,
                                          .host_cache_hit_weight = 0.75,
                                          .disk_cache_hit_weight = 0.25,
                                          .use_kv_events = true,
                                          .track_active_blocks = true,
                                          .assume_kv_reuse = true,
                                          .track_prefill_tokens = true,
                                          .queue_threshold = NAN,
                                          .queue_decode_threshold = NAN,
                                          .tenant_quick_tokens = 2048,
                                          .ttl_s = 120};
}

enum weir_status weir_router_create(const struct weir_router_config *config,
                                    struct weir_router **ret_router) {
    if (config->block_size == 0)
        return WEIR_INVALID;
    struct weir_router *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return WEIR_NOMEM;
    r->config = *config;
    if (r->config.max_workers == 0)
        r->config.max_workers = 65536;
    if (r->config.max_bookings == 0)
        r->config.max_bookings = 262144;
    if (r->config.expiry_ms == 0)
        r->config.expiry_ms = 3600000;
    r->thresholds = (struct weir_busy_thresholds){NAN, -1, NAN};
    r->free_booking = UINT32_MAX;
    r->next_generation = 1;
    weir_map_init(&r->by_rank, r->config.max_workers);
    weir_map_init(&r->foreign, r->config.max_bookings);
    struct kvi_options o = {.max_bytes = config->index_max_bytes,
                            .max_ranks = r->config.max_workers};
    const struct kvi_approx_options approx = {.ttl_ms = (uint64_t)(config->ttl_s * 1000)};
    r->index = kvi_create(&o);
    r->approx = kvi_approx_create(r->index, &approx);
    weir_lookups_init(&r->lookups, r->index);
    size_t sessions = config->max_sessions > 0 ? config->max_sessions : 100000;
    const struct weir_tenants_config tenants = {.window_ms = config->tenant_window_ms,
                                                .quick_tokens = config->tenant_quick_tokens};
    if (r->index == NULL || r->approx == NULL || !weir_lookup_open(&r->own_lookup, r->index) ||
        (config->affinity_ttl_ms > 0 &&
         weir_affinity_create(config->affinity_ttl_ms, sessions, &r->affinity) != WEIR_OK) ||
        (config->tenant_window_ms > 0 && weir_tenants_create(&tenants, &r->tenants) != WEIR_OK)) {
        weir_affinity_destroy(r->affinity);
        weir_lookup_close(&r->own_lookup);
        kvi_approx_destroy(r->approx);
        kvi_destroy(r->index);
        weir_free(r);
        return WEIR_NOMEM;
    }
    pthread_mutex_init(&r->lock, NULL);
    *ret_router = r;
    return WEIR_OK;
}

void weir_router_destroy(struct weir_router *router) {
    if (router == NULL)
        return;
    for (uint32_t i = 0; i < router->n_bookings; i++)
        weir_free(router->bookings[i].request_id);
    weir_held_fini(&router->held);
    weir_free(router->slot_places);
    weir_free(router->number_places);
    weir_free(router->running);
    weir_free(router->flat.prefill_tokens);
    weir_free(router->flat.decode_blocks);
    weir_free(router->flat.requests);
    weir_free(router->flat.churn);
    weir_free(router->flat.costs);
    weir_free(router->flat.suits);
    weir_map_fini(&router->foreign);
    kvi_approx_destroy(router->approx);
    weir_free(router->bookings);
    weir_free(router->ranks);
    weir_free(router->by_number);
    weir_map_fini(&router->by_rank);
    weir_free(router->candidates);
    weir_free(router->places);
    weir_free(router->own);
    weir_affinity_destroy(router->affinity);
    weir_tenants_destroy(router->tenants);
    weir_adapters_fini(&router->adapters);
    weir_lookups_fini(&router->lookups);
    weir_lookup_close(&router->own_lookup);
    kvi_destroy(router->index);
    pthread_mutex_destroy(&router->lock);
    weir_free(router);
}

void weir_router_unlock(struct weir_router *r, bool room) {
    void (*fn)(void *arg) = room ? r->room_fn : NULL;
    void *arg = r->room_arg;
    pthread_mutex_unlock(&r->lock);
    if (fn != NULL)
        fn(arg);
}

void weir_router_on_room(struct weir_router *router, void (*fn)(void *arg), void *arg) {
    pthread_mutex_lock(&router->lock);
    router->room_fn = fn;
    router->room_arg = arg;
    pthread_mutex_unlock(&router->lock);
}

/* ---- workers ------------------------------------------------------------------------------ */

static uint64_t rank_key(uint64_t worker_id, uint32_t dp_rank) {
    return worker_id ^ ((uint64_t)dp_rank * 0x9e3779b97f4a7c15u);
}

static bool is_rank(const struct rank *x, uint64_t worker_id, uint32_t dp_rank) {
    return x->worker.worker_id == worker_id && x->dp_rank == dp_rank;
}

struct rank *weir_router_find_rank(struct weir_router *r, uint64_t worker_id, uint32_t dp_rank) {
    uint64_t at = 0;
    if (weir_map_get(&r->by_rank, rank_key(worker_id, dp_rank), &at) &&
        is_rank(&r->ranks[at], worker_id, dp_rank))
        return &r->ranks[at];
    if (weir_map_len(&r->by_rank) == r->n_ranks)
        return NULL;
    /* Two ranks with one key, or no memory for the map. */
    for (size_t i = 0; i < r->n_ranks; i++)
        if (is_rank(&r->ranks[i], worker_id, dp_rank))
            return &r->ranks[i];
    return NULL;
}

/* The array with room for n; out of memory: as it was, and *room is false. */
static void *grown(void *array, size_t n, size_t item_bytes, bool *room) {
    void *more = weir_realloc(array, n * item_bytes);
    if (more == NULL)
        *room = false;
    return more != NULL ? more : array;
}

/* Cold: whenever ranks come or go. */
static void index_ranks(struct weir_router *r) {
    weir_map_fini(&r->by_rank);
    weir_map_init(&r->by_rank, r->config.max_workers);
    for (size_t i = 0; i < r->held.n_slots; i++)
        r->slot_places[i] = UINT32_MAX;
    for (size_t i = 0; i < r->cap_numbers; i++)
        r->number_places[i] = UINT32_MAX;
    for (size_t i = 0; i < r->n_ranks; i++) {
        r->slot_places[r->ranks[i].slot] = (uint32_t)i;
        if (r->ranks[i].number != UINT32_MAX)
            r->number_places[r->ranks[i].number] = (uint32_t)i;
        weir_router_touch(r, &r->ranks[i]);
    }
    for (size_t i = 0; i < r->n_ranks; i++) {
        uint64_t key = rank_key(r->ranks[i].worker.worker_id, r->ranks[i].dp_rank), other;
        if (!weir_map_get(&r->by_rank, key, &other) && weir_map_put(&r->by_rank, key, i) != WEIR_OK)
            return;
    }
}

/* Room for the number that the index gives to a rank. */
static bool reserve_number(struct weir_router *r, uint32_t number) {
    if (number < r->cap_numbers)
        return true;
    size_t cap = number < 64 ? 64 : (size_t)number * 2;
    bool room = true;
    r->by_number = grown(r->by_number, cap, sizeof(*r->by_number), &room);
    r->number_places = grown(r->number_places, cap, sizeof(*r->number_places), &room);
    if (!room)
        return false;
    for (size_t i = r->cap_numbers; i < cap; i++)
        r->by_number[i] = r->number_places[i] = UINT32_MAX;
    r->cap_numbers = cap;
    return true;
}

static bool grow_scratch(struct weir_router *r, size_t n) {
    bool room = true;
    r->candidates = grown(r->candidates, n, sizeof(*r->candidates), &room);
    r->places = grown(r->places, n, sizeof(*r->places), &room);
    r->own = grown(r->own, n, sizeof(*r->own), &room);
    r->running = grown(r->running, n, sizeof(*r->running), &room);
    r->flat.prefill_tokens = grown(r->flat.prefill_tokens, n, sizeof(double), &room);
    r->flat.decode_blocks = grown(r->flat.decode_blocks, n, sizeof(double), &room);
    r->flat.requests = grown(r->flat.requests, n, sizeof(double), &room);
    r->flat.churn = grown(r->flat.churn, n, sizeof(double), &room);
    r->flat.suits = grown(r->flat.suits, n, sizeof(bool), &room);
    r->flat.costs = grown(r->flat.costs, n, sizeof(double), &room);
    r->slot_places = grown(r->slot_places, n, sizeof(*r->slot_places), &room);
    if (!room || !weir_held_reserve(&r->held, n))
        return false;
    memset(r->own, 0, n * sizeof(*r->own));
    memset(r->running, 0, n * sizeof(*r->running));
    for (size_t i = r->cap_scratch; i < n; i++)
        r->slot_places[i] = UINT32_MAX;
    r->cap_scratch = n;
    return true;
}

static enum weir_status reserve_ranks(struct weir_router *r, size_t n) {
    if (n > r->config.max_workers)
        return WEIR_LIMIT;
    if (n > r->cap_ranks) {
        size_t cap = r->cap_ranks * 2 > n ? r->cap_ranks * 2 : n;
        bool room = true;
        r->ranks = grown(r->ranks, cap, sizeof(*r->ranks), &room);
        if (!room)
            return WEIR_NOMEM;
        r->cap_ranks = cap;
    }
    return n <= r->cap_scratch || grow_scratch(r, n * 2) ? WEIR_OK : WEIR_NOMEM;
}

/* There is one: there are more slots than ranks. */
static uint32_t free_slot(const struct weir_router *r) {
    uint32_t slot = 0;
    while (r->slot_places[slot] != UINT32_MAX)
        slot++;
    return slot;
}

static void drop_ranks(struct weir_router *r, uint64_t worker_id) {
    size_t kept = 0;
    bool any = false;
    for (size_t i = 0; i < r->n_ranks; i++) {
        if (r->ranks[i].worker.worker_id == worker_id) {
            if (r->ranks[i].number != UINT32_MAX)
                r->by_number[r->ranks[i].number] = UINT32_MAX;
            weir_held_forget(&r->held, r->ranks[i].slot);
            any = true;
        } else {
            r->ranks[kept++] = r->ranks[i];
        }
    }
    if (any)
        weir_router_detach_bookings(r, worker_id);
    r->n_ranks = kept;
    r->n_workers -= any;
    index_ranks(r);
}

static void add_rank(struct weir_router *r, const struct weir_router_worker *worker,
                     uint32_t dp_rank) {
    struct rank *x = &r->ranks[r->n_ranks++];
    *x = (struct rank){
        .worker = *worker, .dp_rank = dp_rank, .number = UINT32_MAX, .slot = free_slot(r)};
    r->slot_places[x->slot] = (uint32_t)(x - r->ranks);
    uint32_t number = 0;
    if (kvi_rank_add(r->index, (struct kvi_worker){worker->worker_id, dp_rank}, &number) ==
            KVI_OK &&
        reserve_number(r, number))
        x->number = number;
}

enum weir_status weir_router_worker_put(struct weir_router *router,
                                        const struct weir_router_worker *worker) {
    enum weir_status st = WEIR_OK;
    pthread_mutex_lock(&router->lock);
    struct rank *old = weir_router_find_rank(router, worker->worker_id, worker->dp_start);
    bool same = old != NULL && old->worker.dp_start == worker->dp_start &&
                old->worker.dp_size == worker->dp_size;
    if (same) {
        for (size_t i = 0; i < router->n_ranks; i++)
            if (router->ranks[i].worker.worker_id == worker->worker_id) {
                router->ranks[i].worker = *worker;
                weir_router_touch(router, &router->ranks[i]);
            }
    } else {
        drop_ranks(router, worker->worker_id);
        st = worker->dp_size == 0 ? WEIR_INVALID
                                  : reserve_ranks(router, router->n_ranks + worker->dp_size);
        for (uint32_t k = 0; st == WEIR_OK && k < worker->dp_size; k++)
            add_rank(router, worker, worker->dp_start + k);
        router->n_workers += st == WEIR_OK;
        index_ranks(router);
    }
    weir_router_unlock(router, true);
    return st;
}

void weir_router_worker_remove(struct weir_router *router, uint64_t worker_id) {
    pthread_mutex_lock(&router->lock);
    drop_ranks(router, worker_id);
    kvi_remove_worker(router->index, worker_id);
    weir_router_unlock(router, true);
}

unsigned weir_router_workers(struct weir_router *router) {
    pthread_mutex_lock(&router->lock);
    unsigned n = router->n_workers;
    pthread_mutex_unlock(&router->lock);
    return n;
}

unsigned weir_router_pool_workers(struct weir_router *router, uint32_t pool) {
    unsigned n = 0;
    pthread_mutex_lock(&router->lock);
    for (size_t i = 0; i < router->n_ranks; i++)
        n += router->ranks[i].worker.pool == pool &&
             router->ranks[i].dp_rank == router->ranks[i].worker.dp_start;
    pthread_mutex_unlock(&router->lock);
    return n;
}

enum weir_status weir_router_adapter_put(struct weir_router *router, uint64_t adapter,
                                         uint64_t worker_id) {
    pthread_mutex_lock(&router->lock);
    enum weir_status st = weir_adapters_put(&router->adapters, adapter, worker_id);
    weir_router_unlock(router, st == WEIR_OK);
    return st;
}

void weir_router_adapter_remove(struct weir_router *router, uint64_t adapter, uint64_t worker_id) {
    pthread_mutex_lock(&router->lock);
    weir_adapters_remove(&router->adapters, adapter, worker_id);
    weir_router_unlock(router, true);
}

void weir_router_worker_failed(struct weir_router *router, uint64_t worker_id, uint64_t now_ms) {
    pthread_mutex_lock(&router->lock);
    for (size_t i = 0; i < router->n_ranks; i++)
        if (router->ranks[i].worker.worker_id == worker_id)
            router->inhibited_until_ms = router->ranks[i].inhibited_until_ms =
                now_ms + router->config.inhibit_ms;
    pthread_mutex_unlock(&router->lock);
}

/* ---- events ------------------------------------------------------------------------------- */

/* A removal of nothing is an event whose id alone counts: it does not reach the index. */
static bool is_nothing(const struct kvi_event *e) {
    return e->kind == KVI_REMOVED && e->n == 0;
}

/* Thread: the events of one rank in their order; the index has its own lock. */
void weir_router_kv_events(void *router, const struct kvi_event *events, size_t n) {
    struct weir_router *r = router;
    enum kvi_result results[WEIR_KV_BATCH_EVENTS];
    for (size_t i = 0, k; i < n; i += k) {
        k = 0;
        while (i + k < n && k < WEIR_KV_BATCH_EVENTS && !is_nothing(&events[i + k]))
            k++;
        if (k > 0) {
            kvi_apply(r->index, events + i, k, results);
        } else {
            results[0] = KVI_OK;
            k = 1;
        }
        for (size_t j = 0; j < k; j++)
            atomic_fetch_add_explicit(&r->event_counts[events[i + j].kind][results[j]], 1,
                                      memory_order_relaxed);
    }
}

void weir_router_kv_event(struct weir_router *router, const struct weir_kv_event *event) {
    struct kvi_event e = weir_kv_batch_event(event);
    weir_router_kv_events(router, &e, 1);
}

void weir_router_load_event(struct weir_router *router, const struct weir_active_load *load) {
    pthread_mutex_lock(&router->lock);
    struct rank *x = weir_router_find_rank(router, load->worker_id, load->dp_rank);
    bool less = x != NULL && load->has_kv_used && load->kv_used_blocks < x->kv_used;
    if (x != NULL && load->has_kv_used)
        x->kv_used = load->kv_used_blocks;
    weir_router_unlock(router, less && !isnan(router->config.queue_decode_threshold));
}

void weir_router_clear_rank(struct weir_router *router, uint64_t worker_id, uint32_t dp_rank) {
    kvi_clear(router->index, (struct kvi_worker){worker_id, dp_rank});
}

void weir_router_maintain(struct weir_router *router) {
    kvi_maintain(router->index);
}
