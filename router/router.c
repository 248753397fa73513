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
#include "router/router.h"

#include "base/map.h"
#include "base/mem.h"
#include "kvindex/kvi.h"
#include "router/block_counts.h"
#include "router/busy.h"
#include "router/decide.h"
#include "router/lookup.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { EVENT_TYPES = 3, EVENT_RESULTS = KVI_RESULTS, MAX_APPROX_BLOCKS = 1 << 20 };

struct rank {
    struct weir_router_worker worker; /* the whole worker's figures */
    uint32_t dp_rank;
    uint32_t number; /* in the index; UINT32_MAX when that is full */
    uint64_t prefill_tokens, requests, kv_used;
    struct weir_block_counts blocks; /* sequence hashes of its bookings */
    uint64_t inhibited_until_ms;
};

struct booking {
    uint64_t handle; /* 0 = free */
    uint64_t worker_id;
    uint32_t dp_rank;
    uint32_t next_free;
    uint64_t prefill_tokens;
    uint64_t *hashes; /* owned */
    size_t n_hashes;
    uint64_t born_ms;
};

/* Approximate mode: when the predicted blocks of a decision lapse. Ring in order of time. */
struct lapse {
    uint64_t due_ms;
    struct kvi_worker worker;
    uint64_t *hashes; /* owned */
    size_t n;
};

struct weir_router {
    pthread_mutex_t lock;
    struct weir_router_config config;
    struct weir_busy_thresholds thresholds;
    struct rank *ranks; /* owned; ranks of one worker adjacent */
    size_t n_ranks, cap_ranks;
    unsigned n_workers;
    struct kvi_index *index;
    struct weir_lookups lookups;   /* outside the lock */
    struct weir_lookup own_lookup; /* used under it */
    struct booking *bookings;      /* owned */
    uint32_t n_bookings, cap_bookings, free_booking;
    uint64_t next_generation, turn;
    struct weir_affinity *affinity; /* owned, or NULL */
    void (*room_fn)(void *arg);
    void *room_arg;
    struct weir_candidate *candidates; /* scratch: one a rank */
    size_t cap_scratch;
    struct weir_map by_rank; /* hash of worker and rank -> place in ranks */
    uint32_t *by_number;     /* number in the index -> place in candidates of this search */
    size_t cap_numbers;
    struct lapse *lapses; /* ring */
    size_t lapse_first, n_lapses, cap_lapses;
    _Atomic uint64_t event_counts[EVENT_TYPES][EVENT_RESULTS]; /* relaxed: figures only */
};

void weir_router_config_init(struct weir_router_config *config) {
    *config = (struct weir_router_config){.block_size = 16,
                                          .overlap_score_credit = 1,
                                          .prefill_load_scale = 1,
                                          .host_cache_hit_weight = 0.75,
                                          .disk_cache_hit_weight = 0.25,
                                          .use_kv_events = true,
                                          .track_active_blocks = true,
                                          .assume_kv_reuse = true,
                                          .track_prefill_tokens = true,
                                          .queue_threshold = NAN,
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
    struct kvi_options o = {.max_bytes = config->index_max_bytes,
                            .max_ranks = r->config.max_workers};
    r->index = kvi_create(&o);
    weir_lookups_init(&r->lookups, r->index);
    size_t sessions = config->max_sessions > 0 ? config->max_sessions : 100000;
    if (r->index == NULL || !weir_lookup_open(&r->own_lookup, r->index) ||
        (config->affinity_ttl_ms > 0 &&
         weir_affinity_create(config->affinity_ttl_ms, sessions, &r->affinity) != WEIR_OK)) {
        weir_lookup_close(&r->own_lookup);
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
    for (size_t i = 0; i < router->n_ranks; i++)
        weir_block_counts_fini(&router->ranks[i].blocks);
    for (uint32_t i = 0; i < router->n_bookings; i++)
        weir_free(router->bookings[i].hashes);
    for (size_t i = 0; i < router->n_lapses; i++)
        weir_free(router->lapses[(router->lapse_first + i) % router->cap_lapses].hashes);
    weir_free(router->lapses);
    weir_free(router->bookings);
    weir_free(router->ranks);
    weir_free(router->by_number);
    weir_map_fini(&router->by_rank);
    weir_free(router->candidates);
    weir_affinity_destroy(router->affinity);
    weir_lookups_fini(&router->lookups);
    weir_lookup_close(&router->own_lookup);
    kvi_destroy(router->index);
    pthread_mutex_destroy(&router->lock);
    weir_free(router);
}

/* Ends a critical section; `room`: what waits for a place may find one now. */
static void unlock_and_tell(struct weir_router *r, bool room) {
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

static struct rank *find_rank(struct weir_router *r, uint64_t worker_id, uint32_t dp_rank) {
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

/* Cold: whenever ranks come or go. */
static void index_ranks(struct weir_router *r) {
    weir_map_fini(&r->by_rank);
    weir_map_init(&r->by_rank, r->config.max_workers);
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
    uint32_t *more = weir_realloc(r->by_number, cap * sizeof(*more));
    if (more == NULL)
        return false;
    for (size_t i = r->cap_numbers; i < cap; i++)
        more[i] = UINT32_MAX;
    r->by_number = more;
    r->cap_numbers = cap;
    return true;
}

static enum weir_status reserve_ranks(struct weir_router *r, size_t n) {
    if (n > r->config.max_workers)
        return WEIR_LIMIT;
    if (n > r->cap_ranks) {
        size_t cap = r->cap_ranks * 2 > n ? r->cap_ranks * 2 : n;
        struct rank *ranks = weir_realloc(r->ranks, cap * sizeof(*ranks));
        if (ranks == NULL)
            return WEIR_NOMEM;
        r->ranks = ranks;
        r->cap_ranks = cap;
    }
    if (n > r->cap_scratch) {
        struct weir_candidate *candidates =
            weir_realloc(r->candidates, n * 2 * sizeof(*candidates));
        if (candidates == NULL)
            return WEIR_NOMEM;
        r->candidates = candidates;
        r->cap_scratch = n * 2;
    }
    return WEIR_OK;
}

static void drop_ranks(struct weir_router *r, uint64_t worker_id) {
    size_t kept = 0;
    bool any = false;
    for (size_t i = 0; i < r->n_ranks; i++) {
        if (r->ranks[i].worker.worker_id == worker_id) {
            if (r->ranks[i].number != UINT32_MAX)
                r->by_number[r->ranks[i].number] = UINT32_MAX;
            weir_block_counts_fini(&r->ranks[i].blocks);
            any = true;
        } else {
            r->ranks[kept++] = r->ranks[i];
        }
    }
    r->n_ranks = kept;
    r->n_workers -= any;
    index_ranks(r);
}

static void add_rank(struct weir_router *r, const struct weir_router_worker *worker,
                     uint32_t dp_rank) {
    struct rank *x = &r->ranks[r->n_ranks++];
    *x = (struct rank){.worker = *worker, .dp_rank = dp_rank, .number = UINT32_MAX};
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
    struct rank *old = find_rank(router, worker->worker_id, worker->dp_start);
    bool same = old != NULL && old->worker.dp_start == worker->dp_start &&
                old->worker.dp_size == worker->dp_size;
    if (same) {
        for (size_t i = 0; i < router->n_ranks; i++)
            if (router->ranks[i].worker.worker_id == worker->worker_id)
                router->ranks[i].worker = *worker;
    } else {
        drop_ranks(router, worker->worker_id);
        st = worker->dp_size == 0 ? WEIR_INVALID
                                  : reserve_ranks(router, router->n_ranks + worker->dp_size);
        for (uint32_t k = 0; st == WEIR_OK && k < worker->dp_size; k++)
            add_rank(router, worker, worker->dp_start + k);
        router->n_workers += st == WEIR_OK;
        index_ranks(router);
    }
    unlock_and_tell(router, true);
    return st;
}

void weir_router_worker_remove(struct weir_router *router, uint64_t worker_id) {
    pthread_mutex_lock(&router->lock);
    drop_ranks(router, worker_id);
    kvi_remove_worker(router->index, worker_id);
    unlock_and_tell(router, true);
}

unsigned weir_router_workers(struct weir_router *router) {
    pthread_mutex_lock(&router->lock);
    unsigned n = router->n_workers;
    pthread_mutex_unlock(&router->lock);
    return n;
}

void weir_router_worker_failed(struct weir_router *router, uint64_t worker_id, uint64_t now_ms) {
    pthread_mutex_lock(&router->lock);
    for (size_t i = 0; i < router->n_ranks; i++)
        if (router->ranks[i].worker.worker_id == worker_id)
            router->ranks[i].inhibited_until_ms = now_ms + router->config.inhibit_ms;
    pthread_mutex_unlock(&router->lock);
}

/* ---- events ------------------------------------------------------------------------------- */

/* Thread: the events of one rank in their order; the index has its own lock. */
void weir_router_kv_event(struct weir_router *router, const struct weir_kv_event *event) {
    struct kvi_worker w = {event->worker_id, event->dp_rank};
    enum kvi_tier tier = (enum kvi_tier)event->tier;
    enum kvi_result result = KVI_OK;
    _Static_assert(sizeof(struct weir_kv_block) == sizeof(struct kvi_block), "same layout");
    _Static_assert((int)WEIR_TIER_HOST == (int)KVI_HOST && (int)WEIR_TIER_DISK == (int)KVI_DISK &&
                       (int)WEIR_TIER_EXTERNAL == (int)KVI_EXTERNAL,
                   "same order");
    switch (event->kind) {
    case WEIR_KV_STORED:
        if (!event->has_parent && event->has_start_position && event->start_position > 0)
            result = KVI_PARENT_NOT_FOUND;
        else
            result = kvi_store(router->index, w, tier, event->has_parent, event->parent_hash,
                               (const struct kvi_block *)(const void *)event->blocks,
                               event->n_blocks, NULL);
        break;
    case WEIR_KV_REMOVED:
        if (event->n_removed > 0) /* none: an event whose id alone counts */
            result = kvi_remove(router->index, w, tier, event->removed, event->n_removed);
        break;
    case WEIR_KV_CLEARED:
        kvi_clear(router->index, w);
        break;
    }
    atomic_fetch_add_explicit(&router->event_counts[event->kind][result], 1, memory_order_relaxed);
}

void weir_router_load_event(struct weir_router *router, const struct weir_active_load *load) {
    pthread_mutex_lock(&router->lock);
    struct rank *x = find_rank(router, load->worker_id, load->dp_rank);
    if (x != NULL && load->has_kv_used)
        x->kv_used = load->kv_used_blocks;
    pthread_mutex_unlock(&router->lock);
}

void weir_router_clear_rank(struct weir_router *router, uint64_t worker_id, uint32_t dp_rank) {
    kvi_clear(router->index, (struct kvi_worker){worker_id, dp_rank});
}

/* ---- bookings ----------------------------------------------------------------------------- */

/* A handle is the slot's number and a generation, so that a stale one is recognised. */
static struct booking *booking_at(struct weir_router *r, uint64_t handle) {
    uint32_t slot = (uint32_t)handle;
    if (handle == 0 || slot >= r->n_bookings || r->bookings[slot].handle != handle)
        return NULL;
    return &r->bookings[slot];
}

static enum weir_status new_booking(struct weir_router *r, struct booking **ret) {
    uint32_t slot = r->free_booking;
    if (slot != UINT32_MAX) {
        r->free_booking = r->bookings[slot].next_free;
    } else {
        if (r->n_bookings == r->config.max_bookings)
            return WEIR_LIMIT;
        if (r->n_bookings == r->cap_bookings) {
            uint32_t cap = r->cap_bookings == 0 ? 64 : r->cap_bookings * 2;
            struct booking *more = weir_realloc(r->bookings, cap * sizeof(*more));
            if (more == NULL)
                return WEIR_NOMEM;
            r->bookings = more;
            r->cap_bookings = cap;
        }
        slot = r->n_bookings++;
    }
    r->bookings[slot] = (struct booking){.handle = r->next_generation++ << 32 | slot};
    *ret = &r->bookings[slot];
    return WEIR_OK;
}

static void prefill_over(struct weir_router *r, struct booking *b) {
    struct rank *x = find_rank(r, b->worker_id, b->dp_rank);
    if (x != NULL)
        x->prefill_tokens -=
            b->prefill_tokens < x->prefill_tokens ? b->prefill_tokens : x->prefill_tokens;
    b->prefill_tokens = 0;
}

static void free_booking(struct weir_router *r, struct booking *b) {
    struct rank *x = find_rank(r, b->worker_id, b->dp_rank);
    prefill_over(r, b);
    if (x != NULL) {
        weir_block_counts_drop(&x->blocks, b->hashes, b->n_hashes);
        x->requests -= x->requests > 0;
    }
    weir_free(b->hashes);
    *b = (struct booking){.next_free = r->free_booking};
    r->free_booking = (uint32_t)(b - r->bookings);
}

/* hashes NULL: blocks that no other request shares, under names drawn for them. */
static void reference(struct rank *x, struct booking *b, const uint64_t *hashes, size_t n,
                      struct weir_rng *rng) {
    b->hashes = weir_malloc((n + 1) * sizeof(*b->hashes));
    if (b->hashes == NULL)
        return; /* out of memory: the load of this request is undercounted */
    if (hashes != NULL && n > 0)
        memcpy(b->hashes, hashes, n * sizeof(*hashes));
    for (size_t i = 0; hashes == NULL && i < n; i++)
        b->hashes[i] = weir_rng_u64(rng);
    b->n_hashes = weir_block_counts_add(&x->blocks, b->hashes, n);
}

void weir_router_prefill_done(struct weir_router *router, uint64_t booking) {
    pthread_mutex_lock(&router->lock);
    struct booking *b = booking_at(router, booking);
    bool room = b != NULL && b->prefill_tokens > 0;
    if (room)
        prefill_over(router, b);
    unlock_and_tell(router, room);
}

void weir_router_free(struct weir_router *router, uint64_t booking) {
    pthread_mutex_lock(&router->lock);
    struct booking *b = booking_at(router, booking);
    if (b != NULL)
        free_booking(router, b);
    unlock_and_tell(router, b != NULL);
}

/* ---- approximate mode --------------------------------------------------------------------- */

static void run_lapses(struct weir_router *r, uint64_t now_ms) {
    while (r->n_lapses > 0 && r->lapses[r->lapse_first].due_ms <= now_ms) {
        struct lapse *l = &r->lapses[r->lapse_first];
        /* Tail first, so that a prefix never goes before what stands on it. A block that a later
         * decision stored again lapses with the earlier one: it is a prediction. */
        for (size_t i = l->n; i-- > 0;)
            kvi_remove(r->index, l->worker, KVI_DEVICE, &l->hashes[i], 1);
        weir_free(l->hashes);
        r->lapse_first = (r->lapse_first + 1) % r->cap_lapses;
        r->n_lapses--;
    }
}

/* Assumes that the chosen rank will hold the prompt. Out of memory: nothing is assumed. */
static void predict(struct weir_router *r, struct kvi_worker w, const struct weir_route_query *q) {
    if (q->n_blocks == 0 || q->n_blocks > MAX_APPROX_BLOCKS)
        return;
    if (r->n_lapses == r->cap_lapses) {
        size_t cap = r->cap_lapses == 0 ? 256 : r->cap_lapses * 2;
        if (cap > r->config.max_bookings)
            return;
        struct lapse *more = weir_malloc(cap * sizeof(*more));
        if (more == NULL)
            return;
        for (size_t i = 0; i < r->n_lapses; i++)
            more[i] = r->lapses[(r->lapse_first + i) % r->cap_lapses];
        weir_free(r->lapses);
        r->lapses = more;
        r->cap_lapses = cap;
        r->lapse_first = 0;
    }
    uint64_t *hashes = weir_malloc(q->n_blocks * sizeof(*hashes));
    struct kvi_block *blocks = weir_malloc(q->n_blocks * sizeof(*blocks));
    if (hashes != NULL && blocks != NULL) {
        for (size_t i = 0; i < q->n_blocks; i++)
            blocks[i] = (struct kvi_block){q->sequence_hashes[i], q->local_hashes[i]};
        memcpy(hashes, q->sequence_hashes, q->n_blocks * sizeof(*hashes));
        if (kvi_store(r->index, w, KVI_DEVICE, false, 0, blocks, q->n_blocks, NULL) == KVI_OK) {
            r->lapses[(r->lapse_first + r->n_lapses++) % r->cap_lapses] = (struct lapse){
                q->now_ms + (uint64_t)(r->config.ttl_s * 1000), w, hashes, q->n_blocks};
            hashes = NULL;
        }
    }
    weir_free(hashes);
    weir_free(blocks);
}

/* ---- routing ------------------------------------------------------------------------------ */

static bool rank_busy(const struct weir_router *r, const struct rank *x) {
    struct weir_busy_load l = {.active_decode_blocks = weir_block_counts_len(&x->blocks),
                               .kv_used_blocks = x->kv_used,
                               .active_prefill_tokens = x->prefill_tokens,
                               .total_kv_blocks = x->worker.total_kv_blocks,
                               .max_num_batched_tokens = x->worker.max_num_batched_tokens};
    return weir_busy(&r->thresholds, &l);
}

/* A worker is busy when all its ranks are. They stand one after another, from `first` on. */
static bool worker_busy(const struct weir_router *r, size_t first) {
    for (size_t i = first;
         i < r->n_ranks && r->ranks[i].worker.worker_id == r->ranks[first].worker.worker_id; i++)
        if (!rank_busy(r, &r->ranks[i]))
            return false;
    return true;
}

static bool thresholds_set(const struct weir_router *r) {
    return !isnan(r->thresholds.decode_blocks) || r->thresholds.prefill_tokens >= 0 ||
           !isnan(r->thresholds.prefill_tokens_frac);
}

static bool all_busy(const struct weir_router *r) {
    if (r->n_ranks == 0 || !thresholds_set(r))
        return false;
    for (size_t i = 0; i < r->n_ranks; i++)
        if (!rank_busy(r, &r->ranks[i]))
            return false;
    return true;
}

static bool excluded(const struct weir_route_query *q, uint64_t worker_id) {
    for (size_t i = 0; i < q->n_exclude; i++)
        if (q->exclude[i] == worker_id)
            return true;
    return false;
}

/* Prompt blocks beyond the longest prefix that running requests of the rank hold. */
static size_t additional_blocks(const struct rank *x, const struct weir_route_query *q) {
    return q->n_blocks - weir_block_counts_prefix(&x->blocks, q->sequence_hashes, q->n_blocks);
}

static bool assumes_reuse(const struct weir_router *r, const struct weir_route_query *q) {
    return q->override != NULL && q->override->assume_kv_reuse >= 0
               ? q->override->assume_kv_reuse != 0
               : r->config.assume_kv_reuse;
}

static bool tracks_prefill(const struct weir_router *r, const struct weir_route_query *q) {
    return q->override != NULL && q->override->track_prefill_tokens >= 0
               ? q->override->track_prefill_tokens != 0
               : r->config.track_prefill_tokens;
}

struct eligible {
    size_t n;
    bool any_known, any_busy; /* why nobody may be left */
    bool any_room;            /* below the queue's threshold */
};

/* An unknown token budget counts as in busy.c. */
static bool has_room(const struct weir_router *r, const struct rank *x) {
    const uint64_t unknown = 10000000;
    uint64_t budget = x->worker.max_num_batched_tokens;
    return !((double)x->prefill_tokens >
             r->config.queue_threshold * (double)(budget > 0 ? budget : unknown));
}

/* Fills the candidates. A pinned worker need only be known and not busy. */
static struct eligible gather(struct weir_router *r, const struct weir_route_query *q) {
    struct eligible e = {0, false, false, false};
    bool busy_matters = thresholds_set(r), busy = false, reuse = assumes_reuse(r, q);
    for (size_t i = 0; i < r->n_ranks; i++) {
        struct rank *x = &r->ranks[i];
        bool first = i == 0 || x->worker.worker_id != r->ranks[i - 1].worker.worker_id;
        if (busy_matters && first)
            busy = worker_busy(r, i);
        if (x->number != UINT32_MAX)
            r->by_number[x->number] = UINT32_MAX;
        if (q->has_pinned_worker && x->worker.worker_id != q->pinned_worker)
            continue;
        if (q->pinned_rank >= 0 && q->has_pinned_worker && x->dp_rank != (uint64_t)q->pinned_rank)
            continue;
        e.any_known = true;
        if (excluded(q, x->worker.worker_id) || x->inhibited_until_ms > q->now_ms)
            continue;
        if (busy) {
            e.any_busy = true;
            continue;
        }
        if (q->may_wait && !e.any_room)
            e.any_room = has_room(r, x);
        if (x->number != UINT32_MAX)
            r->by_number[x->number] = (uint32_t)e.n;
        r->candidates[e.n++] = (struct weir_candidate){
            .worker_id = x->worker.worker_id,
            .dp_rank = x->dp_rank,
            .active_prefill_tokens = (double)x->prefill_tokens,
            .active_decode_blocks =
                r->config.track_active_blocks ? (double)weir_block_counts_len(&x->blocks) : 0,
            .active_requests = (double)x->requests,
            .additional_active_blocks = !r->config.track_active_blocks ? 0
                                        : reuse ? (double)additional_blocks(x, q)
                                                : (double)q->n_blocks};
    }
    return e;
}

/* A search before the critical section, where that may be; else NULL. Equal prompts that come at
 * once must see each other's predictions, and a query that may wait is mostly refused before
 * anything is looked up. */
static struct weir_lookup *look_up_early(struct weir_router *r, const struct weir_route_query *q) {
    struct weir_lookup *l = NULL;
    if (r->config.mode == WEIR_ROUTE_KV && r->config.use_kv_events && q->n_blocks > 0 &&
        !q->may_wait)
        l = weir_lookup_take(&r->lookups);
    if (l != NULL)
        weir_lookup_run(l, q->local_hashes, q->n_blocks);
    return l;
}

static void give_back(struct weir_lookup *l) {
    if (l != NULL)
        weir_lookup_give_back(l);
}

/* `l` NULL: searches now. A worker that left since the search and came again has other numbers
 * now, so what it held counts no more. */
static void add_overlaps(struct weir_router *r, const struct weir_route_query *q, size_t n,
                         struct weir_lookup *l) {
    if (l == NULL) {
        l = &r->own_lookup;
        weir_lookup_run(l, q->local_hashes, q->n_blocks);
    }
    for (size_t k = 0; k < l->n; k++) {
        const struct kvi_score *s = &l->scores[k];
        uint32_t at = s->rank < r->cap_numbers ? r->by_number[s->rank] : UINT32_MAX;
        if (at >= n)
            continue; /* not eligible */
        struct weir_candidate *c = &r->candidates[at];
        if (c->worker_id != s->worker.worker_id || c->dp_rank != s->worker.dp_rank)
            continue; /* not a worker of ours (any more): its number was another's */
        c->device_blocks = s->blocks[KVI_DEVICE];
        c->host_blocks = s->blocks[KVI_HOST];
        c->disk_blocks = (double)s->blocks[KVI_DISK] + s->blocks[KVI_EXTERNAL];
    }
}

static double or_override(double value, double fallback) {
    return isnan(value) ? fallback : value;
}

static struct weir_decide inputs_of(struct weir_router *r, const struct weir_route_query *q) {
    static const struct weir_route_override none = {NAN, NAN, NAN, -1, -1};
    const struct weir_route_override *o = q->override != NULL ? q->override : &none;
    const struct weir_router_config *c = &r->config;
    bool turns = c->mode == WEIR_ROUTE_ROUND_ROBIN || c->mode == WEIR_ROUTE_DIRECT;
    return (struct weir_decide){
        .mode = c->mode,
        .params = {.block_size = c->block_size,
                   .isl_tokens = (double)q->isl_tokens,
                   .overlap_score_credit =
                       or_override(o->overlap_score_credit, c->overlap_score_credit),
                   .overlap_credit_decay = c->overlap_credit_decay,
                   .prefill_load_scale = or_override(o->prefill_load_scale, c->prefill_load_scale),
                   .decode_active_request_weight = c->decode_active_request_weight,
                   .host_weight = c->host_cache_hit_weight,
                   .disk_weight = c->disk_cache_hit_weight,
                   .track_prefill_tokens = tracks_prefill(r, q)},
        .temperature = or_override(o->temperature, c->temperature),
        .turn = turns ? r->turn++ : r->turn};
}

/* What the session of a request asks for. */
struct bound {
    bool there;   /* its worker is a candidate */
    bool refused; /* it is busy, and no other will do */
    uint64_t worker;
};

static struct bound follow_session(struct weir_router *r, const struct weir_route_query *q,
                                   size_t n) {
    struct bound b = {false, false, 0};
    if (r->affinity == NULL || !q->has_session || q->has_pinned_worker ||
        !weir_affinity_get(r->affinity, q->session, q->now_ms, &b.worker))
        return b;
    for (size_t i = 0; i < n && !b.there; i++)
        b.there = r->candidates[i].worker_id == b.worker;
    if (b.there || r->config.affinity_soft || excluded(q, b.worker))
        return b;
    for (size_t i = 0; i < r->n_ranks && !b.refused; i++)
        b.refused =
            r->ranks[i].worker.worker_id == b.worker && r->ranks[i].inhibited_until_ms <= q->now_ms;
    return b;
}

static size_t choose(struct weir_router *r, const struct weir_route_query *q, size_t n,
                     const struct bound *bound) {
    struct weir_decide in = inputs_of(r, q);
    in.has_preferred = bound->there;
    in.preferred = bound->worker;
    if (q->explain != NULL) {
        q->explain->in = in;
        q->explain->rng = *q->rng; /* before the draw */
        q->explain->n_blocks = q->n_blocks;
        q->explain->pinned = q->has_pinned_worker;
    }
    size_t at = weir_decide(&in, r->candidates, n, q->rng);
    if (q->explain != NULL)
        weir_decision_keep(q->explain, r->candidates, n, at);
    return at;
}

static enum weir_status book(struct weir_router *r, const struct weir_route_query *q,
                             const struct weir_candidate *c, struct weir_route *route) {
    struct booking *b;
    enum weir_status st = new_booking(r, &b);
    if (st != WEIR_OK)
        return st;
    struct rank *x = find_rank(r, c->worker_id, c->dp_rank);
    double cached = weir_cached_tokens(r->config.block_size, r->config.host_cache_hit_weight,
                                       r->config.disk_cache_hit_weight, c);
    b->worker_id = c->worker_id;
    b->dp_rank = c->dp_rank;
    b->born_ms = q->now_ms;
    if (tracks_prefill(r, q) && (double)q->isl_tokens > cached)
        b->prefill_tokens = q->isl_tokens - (uint64_t)cached;
    x->prefill_tokens += b->prefill_tokens;
    x->requests++;
    if (r->config.track_active_blocks)
        reference(x, b, assumes_reuse(r, q) ? q->sequence_hashes : NULL, q->n_blocks, q->rng);
    if (r->config.mode == WEIR_ROUTE_KV && !r->config.use_kv_events)
        predict(r, (struct kvi_worker){c->worker_id, c->dp_rank}, q);
    route->booking = b->handle;
    return WEIR_OK;
}

static enum weir_status route_locked(struct weir_router *r, const struct weir_route_query *q,
                                     struct weir_lookup *lookup, struct weir_route *ret) {
    run_lapses(r, q->now_ms);
    struct eligible e = gather(r, q);
    if (q->has_pinned_worker && !e.any_known)
        return WEIR_INVALID;
    if (e.n == 0)
        return e.any_busy ? WEIR_OVERLOADED : WEIR_UNAVAILABLE;
    struct bound bound = follow_session(r, q, e.n);
    if (bound.refused)
        return WEIR_OVERLOADED;
    if (q->may_wait && !e.any_room && !isnan(r->config.queue_threshold) && !bound.there)
        return WEIR_AGAIN;
    bool kv = r->config.mode == WEIR_ROUTE_KV;
    if (kv && q->n_blocks > 0)
        add_overlaps(r, q, e.n, lookup);
    size_t at = choose(r, q, e.n, &bound);
    const struct weir_candidate *c = &r->candidates[at];
    double best = 0;
    for (size_t i = 0; i < e.n; i++)
        best = fmax(best, r->candidates[i].device_blocks);
    struct weir_route route = {.worker_id = c->worker_id,
                               .dp_rank = c->dp_rank,
                               .overlap_blocks = (uint32_t)c->device_blocks,
                               .best_overlap_blocks = (uint32_t)best,
                               .cost = c->cost};
    enum weir_status st = q->query_only ? WEIR_OK : book(r, q, c, &route);
    if (st == WEIR_OK)
        *ret = route;
    if (st == WEIR_OK && r->affinity != NULL && q->has_session && !q->query_only)
        weir_affinity_bind(r->affinity, q->session, route.worker_id, q->now_ms);
    return st;
}

uint64_t weir_router_uncached(struct weir_router *router, const struct weir_route_query *q) {
    double best = 0;
    const struct weir_router_config *c = &router->config;
    if (c->mode != WEIR_ROUTE_KV || q->n_blocks == 0)
        return q->isl_tokens;
    struct weir_lookup *lookup = look_up_early(router, q);
    pthread_mutex_lock(&router->lock);
    struct eligible e = gather(router, q);
    add_overlaps(router, q, e.n, lookup);
    for (size_t i = 0; i < e.n; i++)
        best = fmax(best, weir_cached_tokens(c->block_size, c->host_cache_hit_weight,
                                             c->disk_cache_hit_weight, &router->candidates[i]));
    pthread_mutex_unlock(&router->lock);
    give_back(lookup);
    return best < (double)q->isl_tokens ? q->isl_tokens - (uint64_t)best : 0;
}

enum weir_status weir_router_route(struct weir_router *router, const struct weir_route_query *query,
                                   struct weir_route *ret_route) {
    struct weir_lookup *lookup = look_up_early(router, query);
    pthread_mutex_lock(&router->lock);
    enum weir_status st = route_locked(router, query, lookup, ret_route);
    pthread_mutex_unlock(&router->lock);
    give_back(lookup);
    return st;
}

unsigned weir_router_expire(struct weir_router *router, uint64_t now_ms) {
    unsigned n = 0;
    pthread_mutex_lock(&router->lock);
    run_lapses(router, now_ms);
    for (uint32_t i = 0; i < router->n_bookings; i++) {
        struct booking *b = &router->bookings[i];
        if (b->handle != 0 && now_ms > b->born_ms &&
            now_ms - b->born_ms > router->config.expiry_ms) {
            free_booking(router, b);
            n++;
        }
    }
    unlock_and_tell(router, n > 0);
    return n;
}

void weir_router_maintain(struct weir_router *router) {
    kvi_maintain(router->index);
}

/* ---- thresholds and figures --------------------------------------------------------------- */

void weir_router_get_thresholds(struct weir_router *router, struct weir_busy_thresholds *ret) {
    pthread_mutex_lock(&router->lock);
    *ret = router->thresholds;
    pthread_mutex_unlock(&router->lock);
}

void weir_router_set_thresholds(struct weir_router *router, const struct weir_busy_thresholds *t) {
    pthread_mutex_lock(&router->lock);
    router->thresholds = *t;
    unlock_and_tell(router, true);
}

bool weir_router_all_busy(struct weir_router *router) {
    pthread_mutex_lock(&router->lock);
    bool busy = all_busy(router);
    pthread_mutex_unlock(&router->lock);
    return busy;
}

size_t weir_router_loads(struct weir_router *router, uint64_t now_ms, struct weir_worker_load *ret,
                         size_t room) {
    pthread_mutex_lock(&router->lock);
    size_t n = router->n_ranks;
    for (size_t i = 0; i < n && i < room; i++) {
        const struct rank *x = &router->ranks[i];
        ret[i] =
            (struct weir_worker_load){.worker_id = x->worker.worker_id,
                                      .dp_rank = x->dp_rank,
                                      .active_decode_blocks = weir_block_counts_len(&x->blocks),
                                      .active_prefill_tokens = x->prefill_tokens,
                                      .active_requests = x->requests,
                                      .kv_used_blocks = x->kv_used,
                                      .total_kv_blocks = x->worker.total_kv_blocks,
                                      .busy = rank_busy(router, x),
                                      .inhibited = x->inhibited_until_ms > now_ms};
    }
    pthread_mutex_unlock(&router->lock);
    return n;
}

size_t weir_router_overlaps(struct weir_router *router, const uint64_t *local_hashes,
                            size_t n_blocks, struct weir_router_overlap *ret, size_t room) {
    pthread_mutex_lock(&router->lock);
    size_t n = router->n_ranks;
    for (size_t i = 0; i < n && i < room; i++)
        ret[i] = (struct weir_router_overlap){.worker_id = router->ranks[i].worker.worker_id,
                                              .dp_rank = router->ranks[i].dp_rank};
    const struct weir_lookup *l = &router->own_lookup;
    weir_lookup_run(&router->own_lookup, local_hashes, n_blocks);
    for (size_t k = 0; k < l->n; k++) {
        const struct kvi_score *s = &l->scores[k];
        const struct rank *x = find_rank(router, s->worker.worker_id, s->worker.dp_rank);
        size_t at = x != NULL ? (size_t)(x - router->ranks) : SIZE_MAX;
        if (at >= room)
            continue;
        struct weir_router_overlap *o = &ret[at];
        o->device_blocks = s->blocks[KVI_DEVICE];
        o->host_blocks = s->blocks[KVI_HOST];
        o->disk_blocks = s->blocks[KVI_DISK] + s->blocks[KVI_EXTERNAL];
        o->credit = router->config.overlap_score_credit *
                    (o->device_blocks + router->config.host_cache_hit_weight * o->host_blocks +
                     router->config.disk_cache_hit_weight * o->disk_blocks);
    }
    pthread_mutex_unlock(&router->lock);
    return n;
}

void weir_router_index_stats(struct weir_router *router, struct weir_router_index_stats *ret) {
    struct kvi_stats s;
    struct weir_router_index_stats out = {0};
    pthread_mutex_lock(&router->lock);
    kvi_get_stats(router->index, &s);
    for (int t = 0; t < EVENT_TYPES; t++)
        for (int k = 0; k < EVENT_RESULTS; k++)
            *(k == KVI_OK ? &out.events_ok : &out.events_failed) +=
                atomic_load_explicit(&router->event_counts[t][k], memory_order_relaxed);
    pthread_mutex_unlock(&router->lock);
    out.entries = s.entries;
    out.bytes = s.bytes;
    *ret = out;
}

void weir_router_event_counts(struct weir_router *router,
                              void (*fn)(void *arg, const char *type, const char *result,
                                         uint64_t n),
                              void *arg) {
    static const char *const types[] = {"stored", "removed", "cleared"};
    for (int t = 0; t < EVENT_TYPES; t++)
        for (int k = 0; k < EVENT_RESULTS; k++) {
            uint64_t n = atomic_load_explicit(&router->event_counts[t][k], memory_order_relaxed);
            if (n > 0)
                fn(arg, types[t], kvi_result_name((enum kvi_result)k), n);
        }
}
