/* The choice of a rank: who is eligible, what they hold, which one wins. */
#include "router/router_priv.h"

#include <math.h>

static bool excluded(const struct weir_route_query *q, uint64_t worker_id) {
    for (size_t i = 0; i < q->n_exclude; i++)
        if (q->exclude[i] == worker_id)
            return true;
    return false;
}

bool weir_router_serves(const struct weir_router *r, const struct weir_route_query *q,
                        const struct rank *x) {
    return (!q->has_pool || x->worker.pool == q->pool) &&
           (q->adapter == 0 || weir_adapters_has(&r->adapters, q->adapter, x->worker.worker_id));
}

struct eligible {
    size_t n;
    bool any_known, any_busy;   /* why nobody may be left */
    bool any_room;              /* below the queue's threshold */
    unsigned n_serving, n_held; /* ranks; of those, with a long wait for prefill */
};

bool weir_router_waits(const struct weir_router *r, const struct weir_route_query *q) {
    if (!q->may_wait)
        return false;
    if (!isnan(r->config.queue_decode_threshold))
        return true;
    if (q->gate != NULL)
        return q->gate->prefill_tokens < UINT64_MAX || !isnan(q->gate->budget_frac);
    return !isnan(r->config.queue_threshold);
}

/* As in busy.c: the larger of booked and reported blocks counts; unknown room is never full. */
static bool blocks_full(const struct weir_router *r, const struct rank *x) {
    uint64_t booked = weir_held_len(&r->held, x->slot), total = x->worker.total_kv_blocks;
    double used = (double)(booked > x->kv_used ? booked : x->kv_used);
    return total > 0 && used > r->config.queue_decode_threshold * (double)total;
}

/* An unknown token budget counts as in busy.c. */
bool weir_router_has_room(const struct weir_router *r, const struct weir_route_query *q,
                          const struct rank *x) {
    const uint64_t unknown = 10000000;
    uint64_t budget = x->worker.max_num_batched_tokens;
    double frac = q->gate != NULL ? q->gate->budget_frac : r->config.queue_threshold;
    if (q->gate != NULL && x->prefill_tokens > q->gate->prefill_tokens)
        return false;
    if (!isnan(r->config.queue_decode_threshold) && blocks_full(r, x))
        return false;
    return !((double)x->prefill_tokens > frac * (double)(budget > 0 ? budget : unknown));
}

/* Fills the candidates. A pinned worker need only be known and not busy. */
static struct eligible gather(struct weir_router *r, const struct weir_route_query *q) {
    struct eligible e = {.n = 0};
    bool busy_matters = weir_router_busy_matters(r), busy = false;
    struct weir_router_running running;
    weir_router_mark_running(r, q, &running);
    for (size_t i = 0; i < r->n_ranks; i++) {
        struct rank *x = &r->ranks[i];
        bool first = i == 0 || x->worker.worker_id != r->ranks[i - 1].worker.worker_id;
        if (busy_matters && first)
            busy = weir_router_worker_busy(r, i);
        if (x->number != UINT32_MAX)
            r->by_number[x->number] = UINT32_MAX;
        if (x->inhibited_until_ms <= q->now_ms) {
            e.n_serving++;
            e.n_held += x->prefill_tokens > r->config.tenant_quick_tokens;
        }
        if (q->has_pinned_worker && x->worker.worker_id != q->pinned_worker)
            continue;
        if (!weir_router_serves(r, q, x))
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
            e.any_room = weir_router_has_room(r, q, x);
        if (x->number != UINT32_MAX)
            r->by_number[x->number] = (uint32_t)e.n;
        r->places[e.n] = (uint32_t)i;
        r->candidates[e.n++] = (struct weir_candidate){
            .worker_id = x->worker.worker_id,
            .dp_rank = x->dp_rank,
            .active_prefill_tokens = (double)x->prefill_tokens,
            .active_decode_blocks =
                r->config.track_active_blocks ? (double)weir_held_len(&r->held, x->slot) : 0,
            .active_requests = (double)x->requests,
            .additional_active_blocks =
                r->config.track_active_blocks ? (double)q->n_blocks - r->running[i] : 0,
            .churn = weir_router_churn(r, x)};
    }
    weir_router_clear_running(r, &running);
    return e;
}

static void look_up(struct weir_lookup *l, const struct weir_route_query *q) {
    weir_lookup_run(l, q->local_hashes, q->n_blocks - q->n_computed);
}

/* A search before the critical section, where that may be; else NULL. Equal prompts that come at
 * once must see each other's predictions, and a query that may wait is mostly refused before
 * anything is looked up. */
static struct weir_lookup *look_up_early(struct weir_router *r, const struct weir_route_query *q) {
    struct weir_lookup *l = NULL;
    if (r->config.mode == WEIR_ROUTE_KV && r->config.use_kv_events && q->n_blocks > 0 &&
        !q->may_wait && !q->blind)
        l = weir_lookup_take(&r->lookups);
    if (l != NULL)
        look_up(l, q);
    return l;
}

static void give_back(struct weir_lookup *l) {
    if (l != NULL)
        weir_lookup_give_back(l);
}

/* Fleet policy: what running requests of a rank hold of the prompt will be there when the prompt's
 * turn comes, reported or not. */
static void add_running(const struct weir_router *r, const struct weir_route_query *q, size_t n) {
    if (r->config.policy != WEIR_SELECT_FLEET || !r->config.track_active_blocks ||
        !weir_router_assumes_reuse(r, q))
        return;
    for (size_t i = 0; i < n; i++) {
        struct weir_candidate *c = &r->candidates[i];
        double running = fmin((double)q->n_blocks - c->additional_active_blocks,
                              (double)(q->n_blocks - q->n_computed));
        c->device_blocks = fmax(c->device_blocks, running);
    }
}

const struct weir_lookup *weir_router_look_up(struct weir_router *r,
                                              const struct weir_route_query *q,
                                              struct weir_lookup *early) {
    if (early == NULL)
        look_up(&r->own_lookup, q);
    return early != NULL ? early : &r->own_lookup;
}

void weir_router_put_score(struct weir_candidate *c, const struct kvi_score *score) {
    c->device_blocks = score->blocks[KVI_DEVICE];
    c->host_blocks = score->blocks[KVI_HOST];
    c->disk_blocks = (double)score->blocks[KVI_DISK] + score->blocks[KVI_EXTERNAL];
}

/* A worker that left since the search and came again has other numbers now, so what it held counts
 * no more. */
static void add_overlaps(struct weir_router *r, const struct weir_route_query *q, size_t n,
                         struct weir_lookup *early) {
    const struct weir_lookup *l = weir_router_look_up(r, q, early);
    for (size_t k = 0; k < l->n; k++) {
        const struct kvi_score *s = &l->scores[k];
        uint32_t at = s->rank < r->cap_numbers ? r->by_number[s->rank] : UINT32_MAX;
        if (at >= n)
            continue; /* not eligible */
        struct weir_candidate *c = &r->candidates[at];
        if (c->worker_id != s->worker.worker_id || c->dp_rank != s->worker.dp_rank)
            continue; /* not a worker of ours (any more): its number was another's */
        weir_router_put_score(c, s);
    }
    add_running(r, q, n);
}

static double or_override(double value, double fallback) {
    return isnan(value) ? fallback : value;
}

struct weir_decide weir_router_inputs(struct weir_router *r, const struct weir_route_query *q) {
    static const struct weir_route_override none = {NAN, NAN, NAN, -1, -1};
    const struct weir_route_override *o = q->override != NULL ? q->override : &none;
    const struct weir_router_config *c = &r->config;
    bool turns = c->mode == WEIR_ROUTE_ROUND_ROBIN || c->mode == WEIR_ROUTE_DIRECT;
    return (struct weir_decide){
        .mode = c->mode,
        .params = {.policy = c->policy,
                   .block_size = c->block_size,
                   .isl_tokens = (double)q->isl_tokens,
                   .overlap_score_credit =
                       or_override(o->overlap_score_credit, c->overlap_score_credit),
                   .overlap_credit_decay = c->overlap_credit_decay,
                   .prefill_load_scale = or_override(o->prefill_load_scale, c->prefill_load_scale),
                   .decode_active_request_weight = c->decode_active_request_weight,
                   .recompute_weight = c->recompute_weight,
                   .churn_weight = c->churn_weight,
                   .decode_block_weight = c->decode_block_weight,
                   .host_weight = c->host_cache_hit_weight,
                   .disk_weight = c->disk_cache_hit_weight,
                   .track_prefill_tokens = weir_router_tracks_prefill(r, q)},
        .temperature = or_override(o->temperature, c->temperature),
        .turn = turns ? r->turn++ : r->turn};
}

/* What the session of a request asks for. */
struct bound {
    bool there;   /* its worker is a candidate */
    bool refused; /* it is busy, and no other will do */
    uint64_t worker;
};

static bool is_candidate(const struct weir_router *r, size_t n, uint64_t worker_id) {
    for (size_t i = 0; i < n; i++)
        if (r->candidates[i].worker_id == worker_id)
            return true;
    return false;
}

static struct bound follow_session(struct weir_router *r, const struct weir_route_query *q,
                                   size_t n) {
    struct bound b = {false, false, 0};
    if (r->affinity == NULL || !q->has_session || q->has_pinned_worker ||
        !weir_affinity_get(r->affinity, q->session, q->now_ms, &b.worker))
        return b;
    b.there = is_candidate(r, n, b.worker);
    if (b.there || r->config.affinity_soft || excluded(q, b.worker))
        return b;
    for (size_t i = 0; i < r->n_ranks && !b.refused; i++)
        b.refused = r->ranks[i].worker.worker_id == b.worker &&
                    r->ranks[i].inhibited_until_ms <= q->now_ms &&
                    weir_router_serves(r, q, &r->ranks[i]);
    return b;
}

static size_t choose(struct weir_router *r, const struct weir_route_query *q, size_t n,
                     const struct bound *bound) {
    struct weir_decide in = weir_router_inputs(r, q);
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

/* A router that counts no blocks knows nothing about them. */
static void fill_load(struct weir_router *r, const struct weir_candidate *c,
                      struct weir_route_load *ret) {
    const struct rank *x = weir_router_find_rank(r, c->worker_id, c->dp_rank);
    *ret = (struct weir_route_load){
        .cached_tokens = weir_cached_tokens(r->config.block_size, r->config.host_cache_hit_weight,
                                            r->config.disk_cache_hit_weight, c),
        .prefill_tokens = c->active_prefill_tokens,
        .decode_blocks = c->active_decode_blocks,
        .additional_blocks = c->additional_active_blocks,
        .max_num_batched_tokens = x->worker.max_num_batched_tokens,
        .total_kv_blocks = r->config.track_active_blocks ? x->worker.total_kv_blocks : 0};
}

/* Books the chosen one. best: device blocks that any eligible one holds. */
static enum weir_status settle(struct weir_router *r, const struct weir_route_query *q,
                               const struct weir_candidate *c, double best,
                               struct weir_route *ret) {
    struct weir_route route = {.worker_id = c->worker_id,
                               .dp_rank = c->dp_rank,
                               .overlap_blocks = (uint32_t)c->device_blocks,
                               .best_overlap_blocks = (uint32_t)best,
                               .cost = c->cost};
    if (q->query_only)
        fill_load(r, c, &route.load);
    enum weir_status st = q->query_only ? WEIR_OK : weir_router_book(r, q, c, &route);
    if (st == WEIR_OK)
        *ret = route;
    if (st == WEIR_OK && r->affinity != NULL && q->has_session && !q->query_only)
        weir_affinity_bind(r->affinity, q->session, route.worker_id, q->now_ms);
    return st;
}

static enum weir_status route_locked(struct weir_router *r, const struct weir_route_query *q,
                                     struct weir_lookup *lookup, struct weir_route *ret) {
    weir_router_run_lapses(r, q->now_ms);
    weir_router_age_churn(r, q->now_ms);
    struct weir_router_found found;
    if (weir_router_scan_suits(r, q) && weir_router_scan(r, q, lookup, &found)) {
        if (found.status == WEIR_OK)
            return settle(r, q, &found.candidate, found.best_device_blocks, ret);
        ret->share_full = false;
        return found.status;
    }
    struct eligible e = gather(r, q);
    if (q->has_pinned_worker && !e.any_known)
        return WEIR_INVALID;
    if (e.n == 0)
        return e.any_busy ? WEIR_OVERLOADED : WEIR_UNAVAILABLE;
    struct bound bound = follow_session(r, q, e.n);
    if (bound.refused)
        return WEIR_OVERLOADED;
    if (weir_router_waits(r, q) && !e.any_room && !bound.there) {
        ret->share_full = q->has_pinned_worker;
        return WEIR_AGAIN;
    }
    struct weir_tenant_share share = {.limited = false};
    if (q->explain != NULL)
        q->explain->share.limited = false;
    if (r->tenants != NULL && !q->has_pinned_worker && weir_router_tracks_prefill(r, q))
        weir_router_share(r, q, e.n_serving, e.n_held, &share);
    bool kv = r->config.mode == WEIR_ROUTE_KV;
    const uint64_t *home = bound.there ? &bound.worker : NULL;
    bool wait = share.limited && weir_router_share_is_full(r, q, e.n, &share, home);
    if (!wait && kv && q->n_blocks > 0 && !q->blind)
        add_overlaps(r, q, e.n, lookup);
    if (!wait && share.limited)
        e.n = weir_router_keep_to_share(r, q, e.n, &share, home, &wait);
    if (wait) {
        ret->share_full = true;
        return WEIR_AGAIN;
    }
    if (share.limited && bound.there)
        bound.there = is_candidate(r, e.n, bound.worker);
    size_t at = choose(r, q, e.n, &bound);
    double best = 0;
    for (size_t i = 0; i < e.n; i++)
        best = r->candidates[i].device_blocks > best ? r->candidates[i].device_blocks : best;
    return settle(r, q, &r->candidates[at], best, ret);
}

bool weir_router_may_go(struct weir_router *router, const struct weir_route_query *q) {
    pthread_mutex_lock(&router->lock);
    struct eligible e = gather(router, q);
    bool go = e.n == 0 || e.any_room || !weir_router_waits(router, q) ||
              follow_session(router, q, e.n).there;
    pthread_mutex_unlock(&router->lock);
    return go;
}

uint64_t weir_router_uncached(struct weir_router *router, const struct weir_route_query *q) {
    double best = 0;
    const struct weir_router_config *c = &router->config;
    if (c->mode != WEIR_ROUTE_KV || q->n_blocks == 0 || q->blind)
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
