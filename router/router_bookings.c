/* What running requests hold: bookings, and in approximate mode the blocks that they will leave. */
#include "router/router_priv.h"

#include "base/hash.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

bool weir_router_assumes_reuse(const struct weir_router *r, const struct weir_route_query *q) {
    return q->override != NULL && q->override->assume_kv_reuse >= 0
               ? q->override->assume_kv_reuse != 0
               : r->config.assume_kv_reuse;
}

bool weir_router_tracks_prefill(const struct weir_router *r, const struct weir_route_query *q) {
    return q->override != NULL && q->override->track_prefill_tokens >= 0
               ? q->override->track_prefill_tokens != 0
               : r->config.track_prefill_tokens;
}

/* ---- approximate mode --------------------------------------------------------------------- */

void weir_router_run_lapses(struct weir_router *r, uint64_t now_ms) {
    kvi_approx_expire(r->approx, now_ms);
}

/* Assumes that the chosen rank will hold the prompt. */
static void predict(struct weir_router *r, struct kvi_worker w, const struct weir_route_query *q) {
    if (q->n_blocks <= MAX_APPROX_BLOCKS)
        kvi_approx_routed(r->approx, w, q->local_hashes, q->sequence_hashes, q->n_blocks,
                          q->now_ms);
}

/* ---- churn ---------------------------------------------------------------------------------- */

/* By steps, so that a decision needs no power of two and the figure is the same on every machine.
 * The first call only sets the clock; nothing is left after 64 half-lives. */
void weir_router_age_churn(struct weir_router *r, uint64_t now_ms) {
    enum { STEPS = 16, MOST = 64 * STEPS };
    const double fall = 0.95760328069857365; /* 2^(-1 / STEPS) */
    if (r->config.policy != WEIR_SELECT_FLEET)
        return;
    uint64_t step = (uint64_t)(r->config.churn_half_life_s * 1000 / STEPS);
    step = step > 0 ? step : 1;
    if (r->churn_due_ms == 0)
        r->churn_due_ms = now_ms + step;
    if (r->churn_due_ms > now_ms)
        return;
    for (unsigned k = 0; r->churn_due_ms <= now_ms && k < MOST; k++, r->churn_due_ms += step)
        for (size_t i = 0; i < r->n_ranks; i++)
            r->ranks[i].churn_blocks *= fall;
    for (size_t i = 0; i < r->n_ranks; i++)
        weir_router_touch(r, &r->ranks[i]);
    if (r->churn_due_ms <= now_ms)
        r->churn_due_ms = now_ms + step;
}

double weir_router_churn(const struct weir_router *r, const struct rank *x) {
    const uint64_t unknown = 16384;
    uint64_t size = x->worker.total_kv_blocks;
    return r->config.policy == WEIR_SELECT_FLEET
               ? x->churn_blocks / (double)(size > 0 ? size : unknown)
               : 0;
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
    if ((uint32_t)r->next_generation == 0)
        r->next_generation++; /* of slot 0 that would be the handle of nothing */
    r->bookings[slot] = (struct booking){.handle = r->next_generation++ << 32 | slot};
    *ret = &r->bookings[slot];
    return WEIR_OK;
}

/* Whose load the booking is a part of; NULL: nobody's. */
static struct rank *rank_of(struct weir_router *r, const struct booking *b) {
    return b->detached ? NULL : weir_router_find_rank(r, b->worker_id, b->dp_rank);
}

static void prefill_over(struct weir_router *r, struct booking *b) {
    struct rank *x = rank_of(r, b);
    if (x != NULL) {
        x->prefill_tokens -=
            b->prefill_tokens < x->prefill_tokens ? b->prefill_tokens : x->prefill_tokens;
        weir_router_touch(r, x);
    }
    if (b->of_tenant)
        weir_tenants_end(r->tenants, b->tenant, b->worker_id, b->dp_rank, b->prefill_tokens);
    b->of_tenant = false;
    b->prefill_tokens = 0;
}

/* ---- other routers ------------------------------------------------------------------------ */

/* Tells what became of an own booking. */
static void tell(const struct weir_router *r, const struct booking *b,
                 struct weir_sequence_event e) {
    if (r->sequence_fn == NULL || b->request_id == NULL || b->publisher != 0)
        return;
    e.request_id = weir_span_z(b->request_id);
    e.worker_id = b->worker_id;
    e.dp_rank = b->dp_rank;
    r->sequence_fn(r->sequence_arg, &e);
}

static void free_booking(struct weir_router *r, struct booking *b) {
    tell(r, b, (struct weir_sequence_event){.kind = WEIR_SEQUENCE_FREE});
    if (b->publisher != 0)
        weir_map_remove(&r->foreign, weir_hash_span(weir_span_z(b->request_id)));
    weir_free(b->request_id);
    struct rank *x = rank_of(r, b);
    prefill_over(r, b);
    weir_held_drop(&r->held, b->slot, b->held);
    if (x != NULL) {
        x->requests -= x->requests > 0;
        weir_router_touch(r, x);
    }
    *b = (struct booking){.next_free = r->free_booking};
    r->free_booking = (uint32_t)(b - r->bookings);
}

void weir_router_detach_bookings(struct weir_router *r, uint64_t worker_id) {
    for (uint32_t i = 0; i < r->n_bookings; i++) {
        struct booking *b = &r->bookings[i];
        if (b->handle == 0 || b->worker_id != worker_id)
            continue;
        b->held = NULL;
        b->detached = true;
        prefill_over(r, b);
    }
}

/* hashes NULL: blocks that no other request shares, under names drawn for them. Out of memory: the
 * load of this request is undercounted. */
static void reference(struct weir_router *r, const struct rank *x, struct booking *b,
                      const uint64_t *hashes, size_t n, struct weir_rng *rng) {
    uint64_t *names = NULL;
    if (hashes == NULL && n > 0 && (names = weir_malloc(n * sizeof(*names))) == NULL)
        return;
    for (size_t i = 0; hashes == NULL && i < n; i++)
        names[i] = weir_rng_u64(rng);
    b->slot = x->slot;
    if (n > 0)
        b->held = weir_held_add(&r->held, x->slot, hashes != NULL ? hashes : names, n);
    weir_free(names);
}

void weir_router_prefill_done(struct weir_router *router, uint64_t booking) {
    pthread_mutex_lock(&router->lock);
    struct booking *b = booking_at(router, booking);
    bool room = b != NULL && b->prefill_tokens > 0;
    if (b != NULL && !b->told_first) {
        b->told_first = true;
        tell(router, b, (struct weir_sequence_event){.kind = WEIR_SEQUENCE_PREFILL_DONE});
    }
    if (room)
        prefill_over(router, b);
    weir_router_unlock(router, room);
}

void weir_router_free(struct weir_router *router, uint64_t booking) {
    pthread_mutex_lock(&router->lock);
    struct booking *b = booking_at(router, booking);
    if (b != NULL)
        free_booking(router, b);
    weir_router_unlock(router, b != NULL);
}

enum weir_status weir_router_book(struct weir_router *r, const struct weir_route_query *q,
                                  const struct weir_candidate *c, struct weir_route *route) {
    struct booking *b;
    enum weir_status st = new_booking(r, &b);
    if (st != WEIR_OK)
        return st;
    struct rank *x = weir_router_find_rank(r, c->worker_id, c->dp_rank);
    double cached = weir_cached_tokens(r->config.block_size, r->config.host_cache_hit_weight,
                                       r->config.disk_cache_hit_weight, c);
    b->worker_id = c->worker_id;
    b->dp_rank = c->dp_rank;
    b->born_ms = q->now_ms;
    if (weir_router_tracks_prefill(r, q) && (double)q->isl_tokens > cached)
        b->prefill_tokens = q->isl_tokens - (uint64_t)cached;
    x->prefill_tokens += b->prefill_tokens;
    x->churn_blocks += (double)b->prefill_tokens / r->config.block_size;
    x->requests++;
    b->tenant = q->tenant;
    if (r->tenants != NULL && b->prefill_tokens > 0)
        b->of_tenant =
            weir_tenants_begin(r->tenants, q->tenant, b->worker_id, b->dp_rank, b->prefill_tokens);
    if (r->config.track_active_blocks)
        reference(r, x, b, weir_router_assumes_reuse(r, q) ? q->sequence_hashes : NULL, q->n_blocks,
                  q->rng);
    weir_router_touch(r, x);
    if (r->config.mode == WEIR_ROUTE_KV && !r->config.use_kv_events)
        predict(r, (struct kvi_worker){c->worker_id, c->dp_rank}, q);
    route->booking = b->handle;
    if (r->sequence_fn != NULL && q->request_id.len > 0) {
        b->request_id = weir_strndup(q->request_id.data, q->request_id.len);
        tell(r, b,
             (struct weir_sequence_event){.kind = WEIR_SEQUENCE_ADD,
                                          .hashes = q->sequence_hashes,
                                          .n_hashes = q->n_blocks,
                                          .track_prefill = weir_router_tracks_prefill(r, q),
                                          .prefill_tokens = b->prefill_tokens});
    }
    return WEIR_OK;
}

void weir_router_on_sequence(struct weir_router *router,
                             void (*fn)(void *arg, const struct weir_sequence_event *event),
                             void *arg) {
    pthread_mutex_lock(&router->lock);
    router->sequence_fn = fn;
    router->sequence_arg = arg;
    pthread_mutex_unlock(&router->lock);
}

static struct booking *foreign(struct weir_router *r, const struct weir_sequence_event *e) {
    uint64_t slot;
    if (!weir_map_get(&r->foreign, weir_hash_span(e->request_id), &slot))
        return NULL;
    struct booking *b = &r->bookings[slot];
    return weir_span_eqz(e->request_id, b->request_id) ? b : NULL;
}

/* Out of memory or room: the load of this request is undercounted. */
static void book_foreign(struct weir_router *r, const struct weir_sequence_event *e,
                         uint64_t publisher, uint64_t now_ms) {
    struct rank *x = weir_router_find_rank(r, e->worker_id, e->dp_rank);
    struct booking *b;
    char *id = x == NULL ? NULL : weir_strndup(e->request_id.data, e->request_id.len);
    uint64_t hash = weir_hash_span(e->request_id);
    if (id == NULL || weir_map_at(&r->foreign, hash) != NULL || new_booking(r, &b) != WEIR_OK) {
        weir_free(id);
        return;
    }
    b->worker_id = e->worker_id;
    b->dp_rank = e->dp_rank;
    b->born_ms = now_ms;
    b->request_id = id;
    b->publisher = publisher;
    b->prefill_tokens = r->config.track_prefill_tokens && e->track_prefill ? e->prefill_tokens : 0;
    x->prefill_tokens += b->prefill_tokens;
    x->requests++;
    if (r->config.track_active_blocks && e->n_hashes > 0)
        reference(r, x, b, e->hashes, e->n_hashes, NULL);
    weir_router_touch(r, x);
    if (weir_map_put(&r->foreign, hash, (uint64_t)(b - r->bookings)) != WEIR_OK) {
        b->publisher = 0;
        weir_free(b->request_id);
        b->request_id = NULL;
        free_booking(r, b);
    }
}

void weir_router_apply_sequence(struct weir_router *router, const struct weir_sequence_event *event,
                                uint64_t publisher, uint64_t now_ms) {
    pthread_mutex_lock(&router->lock);
    struct booking *b = foreign(router, event);
    bool room = b != NULL && event->kind != WEIR_SEQUENCE_ADD;
    if (room && event->kind == WEIR_SEQUENCE_FREE)
        free_booking(router, b);
    else if (room)
        prefill_over(router, b);
    else if (b == NULL && event->kind == WEIR_SEQUENCE_ADD)
        book_foreign(router, event, publisher, now_ms);
    weir_router_unlock(router, room);
}

unsigned weir_router_drop_publisher(struct weir_router *router, uint64_t publisher) {
    unsigned n = 0;
    pthread_mutex_lock(&router->lock);
    for (uint32_t i = 0; i < router->n_bookings; i++) {
        struct booking *b = &router->bookings[i];
        if (b->handle == 0 || b->publisher != publisher)
            continue;
        free_booking(router, b);
        n++;
    }
    weir_router_unlock(router, n > 0);
    return n;
}

unsigned weir_router_expire(struct weir_router *router, uint64_t now_ms) {
    unsigned n = 0;
    pthread_mutex_lock(&router->lock);
    weir_router_run_lapses(router, now_ms);
    for (uint32_t i = 0; i < router->n_bookings; i++) {
        struct booking *b = &router->bookings[i];
        if (b->handle != 0 && now_ms > b->born_ms &&
            now_ms - b->born_ms > router->config.expiry_ms) {
            free_booking(router, b);
            n++;
        }
    }
    weir_router_unlock(router, n > 0);
    return n;
}
