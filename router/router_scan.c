/*
 * The choice of kv mode without a list of candidates, for the usual query: the costs of ranks that
 * hold nothing of the prompt come out of one loop over plain arrays, and only those that hold some
 * of it are looked at one by one. Choice, costs and random draws are those of the list
 * (router_route.c), to the last bit; queries that need more than this take the list.
 */
#include "router/router_priv.h"

#include <math.h>

#define DONE 0x80000000u /* mark of a rank in `running` */

void weir_router_touch(struct weir_router *r, const struct rank *x) {
    size_t at = (size_t)(x - r->ranks);
    r->flat.prefill_tokens[at] = (double)x->prefill_tokens;
    r->flat.decode_blocks[at] =
        r->config.track_active_blocks ? (double)weir_held_len(&r->held, x->slot) : 0;
    r->flat.requests[at] = (double)x->requests;
    r->flat.churn[at] = weir_router_churn(r, x);
}

void weir_router_mark_running(struct weir_router *r, const struct weir_route_query *q,
                              struct weir_router_running *ret) {
    ret->n = 0;
    if (r->config.track_active_blocks && weir_router_assumes_reuse(r, q))
        ret->n = weir_held_prefixes(&r->held, q->sequence_hashes, q->n_blocks, &ret->members);
    for (size_t i = 0; i < ret->n; i++) {
        uint32_t slot = ret->members[i].slot;
        r->running[r->slot_places[slot]] = (uint32_t)r->held.depths[slot];
    }
}

void weir_router_clear_running(struct weir_router *r, const struct weir_router_running *m) {
    for (size_t i = 0; i < m->n; i++)
        r->running[r->slot_places[m->members[i].slot]] = 0;
}

bool weir_router_scan_suits(const struct weir_router *r, const struct weir_route_query *q) {
    double temperature = q->override != NULL && !isnan(q->override->temperature)
                             ? q->override->temperature
                             : r->config.temperature;
    return r->config.mode == WEIR_ROUTE_KV && !(temperature > 0) && q->explain == NULL &&
           !q->has_pinned_worker && q->n_exclude == 0 && !(r->affinity != NULL && q->has_session) &&
           !weir_router_busy_matters(r);
}

/* What one query's scan works with. */
struct scan {
    struct weir_router *r;
    const struct weir_route_query *q;
    struct weir_cost_params params;
    const struct weir_lookup *lookup; /* NULL: nothing is matched */
    struct weir_router_running running;
    bool some; /* not all ranks are eligible: costs of the others are INFINITY */
};

static bool eligible(const struct scan *s, size_t at) {
    const struct rank *x = &s->r->ranks[at];
    return !s->some || (x->inhibited_until_ms <= s->q->now_ms && weir_router_serves(s->r, s->q, x));
}

/* Who may be asked at all. */
struct census {
    bool any, any_room;
    unsigned n_serving, n_held;
};

static struct census count(const struct scan *s) {
    struct weir_router *r = s->r;
    const struct weir_route_query *q = s->q;
    double quick = (double)r->config.tenant_quick_tokens;
    struct census out = {.any = !s->some && r->n_ranks > 0};
    out.n_serving = (unsigned)r->n_ranks;
    if (r->tenants != NULL)
        for (size_t i = 0; i < r->n_ranks; i++)
            out.n_held += r->flat.prefill_tokens[i] > quick;
    for (size_t i = 0; i < r->n_ranks && s->some; i++) {
        bool inhibited = r->ranks[i].inhibited_until_ms > q->now_ms;
        out.n_serving -= inhibited;
        out.n_held -= inhibited && r->tenants != NULL && r->flat.prefill_tokens[i] > quick;
        out.any = out.any || eligible(s, i);
    }
    for (size_t i = 0; i < r->n_ranks && q->may_wait && !out.any_room; i++)
        out.any_room = eligible(s, i) && weir_router_has_room(r, q, &r->ranks[i]);
    return out;
}

static void cost_of_all(struct scan *s) {
    struct weir_router *r = s->r;
    const struct weir_cost_loads loads = {
        .prefill_tokens = r->flat.prefill_tokens,
        .decode_blocks = r->flat.decode_blocks,
        .requests = r->flat.requests,
        .churn = r->flat.churn,
        .additional_blocks = r->config.track_active_blocks ? (double)s->q->n_blocks : 0};
    if (s->params.overlap_credit_decay > 0) {
        double min = INFINITY;
        for (size_t i = 0; i < r->n_ranks; i++)
            if (loads.prefill_tokens[i] < min && eligible(s, i))
                min = loads.prefill_tokens[i];
        s->params.min_active_prefill_tokens = min;
    }
    weir_costs_of_loads(&s->params, &loads, r->flat.costs, r->n_ranks);
    for (size_t i = 0; i < r->n_ranks && s->some; i++)
        if (!eligible(s, i))
            r->flat.costs[i] = INFINITY;
}

/* score: what the index knows of it, or NULL. */
static struct weir_candidate candidate(const struct scan *s, size_t at,
                                       const struct kvi_score *score) {
    const struct weir_router *r = s->r;
    uint32_t running = r->running[at] & ~DONE;
    struct weir_candidate c = {.worker_id = r->ranks[at].worker.worker_id,
                               .dp_rank = r->ranks[at].dp_rank,
                               .active_prefill_tokens = r->flat.prefill_tokens[at],
                               .active_decode_blocks = r->flat.decode_blocks[at],
                               .active_requests = r->flat.requests[at],
                               .additional_active_blocks = r->config.track_active_blocks
                                                               ? (double)s->q->n_blocks - running
                                                               : 0,
                               .churn = r->flat.churn[at]};
    if (score != NULL)
        weir_router_put_score(&c, score);
    size_t findable = s->q->n_blocks - s->q->n_computed;
    running = running < findable ? running : (uint32_t)findable;
    if (s->lookup != NULL && r->config.policy == WEIR_SELECT_FLEET && running > c.device_blocks)
        c.device_blocks = running;
    return c;
}

/* The rank that a score is of; NULL: none of ours (any more), its number was another's. */
static const struct rank *rank_of(const struct scan *s, const struct kvi_score *score) {
    const struct weir_router *r = s->r;
    uint32_t at = score->rank < r->cap_numbers ? r->number_places[score->rank] : UINT32_MAX;
    if (at >= r->n_ranks)
        return NULL;
    const struct rank *x = &r->ranks[at];
    return x->worker.worker_id == score->worker.worker_id && x->dp_rank == score->worker.dp_rank
               ? x
               : NULL;
}

static void weigh(struct scan *s, size_t at, const struct kvi_score *score, double *best) {
    if (!eligible(s, at))
        return;
    struct weir_candidate c = candidate(s, at, score);
    s->r->flat.costs[at] = weir_cost(&s->params, &c);
    *best = c.device_blocks > *best ? c.device_blocks : *best;
}

/* A rank that holds some of the prompt. Zeroed: before the first one. */
struct holder {
    size_t at;
    const struct kvi_score *score; /* NULL: only what it runs is known */
    size_t next;
};

/* Each once: those that the index knows, then the others. */
static bool next_holder(const struct scan *s, struct holder *h) {
    const struct weir_router *r = s->r;
    size_t n_scores = s->lookup != NULL ? s->lookup->n : 0;
    while (h->next < n_scores) {
        h->score = &s->lookup->scores[h->next++];
        const struct rank *x = rank_of(s, h->score);
        if (x == NULL)
            continue;
        h->at = (size_t)(x - r->ranks);
        r->running[h->at] |= r->running[h->at] > 0 ? DONE : 0;
        return true;
    }
    h->score = NULL;
    while (h->next < n_scores + s->running.n) {
        h->at = r->slot_places[s->running.members[h->next++ - n_scores].slot];
        if (!(r->running[h->at] & DONE))
            return true;
    }
    return false;
}

/* The cost of those that hold some of the prompt. */
static double weigh_holders(struct scan *s) {
    double best = 0;
    for (struct holder h = {0}; next_holder(s, &h);)
        weigh(s, h.at, h.score, &best);
    return best;
}

static const struct kvi_score *score_of(const struct scan *s, size_t at) {
    for (size_t k = 0; s->lookup != NULL && k < s->lookup->n; k++)
        if (rank_of(s, &s->lookup->scores[k]) == &s->r->ranks[at])
            return &s->lookup->scores[k];
    return NULL;
}

/* ---- a tenant over its share ----------------------------------------------------------------- */

static void most(const struct scan *s, size_t at, const struct kvi_score *score, double *best) {
    const struct weir_candidate c = candidate(s, at, score);
    if (s->r->flat.costs[at] < INFINITY && c.device_blocks > *best)
        *best = c.device_blocks;
}

static void ask(struct scan *s, const struct weir_tenant_share *share, size_t at,
                const struct kvi_score *score) {
    const struct weir_candidate c = candidate(s, at, score);
    s->r->flat.suits[at] = weir_router_suits(s->r, s->q, share, &c, s->r->own[at]);
}

/* Of a rank that holds nothing of the prompt and runs none of the tenant's it matters only whether
 * it has a long prompt; the others are asked one by one. */
static void ask_all(struct scan *s, const struct weir_tenant_share *share) {
    struct weir_router *r = s->r;
    double quick = (double)r->config.tenant_quick_tokens;
    const struct weir_candidate idle = {.active_prefill_tokens = 0},
                                long_one = {.active_prefill_tokens = quick + 1};
    bool if_idle = weir_router_suits(r, s->q, share, &idle, 0),
         if_long = weir_router_suits(r, s->q, share, &long_one, 0);
    for (size_t i = 0; i < r->n_ranks; i++)
        r->flat.suits[i] = r->flat.prefill_tokens[i] > quick ? if_long : if_idle;
    weir_router_mark_own(r, share, true);
    for (size_t i = 0; i < share->n_places; i++) {
        const struct rank *x =
            weir_router_find_rank(r, share->places[i].worker_id, share->places[i].dp_rank);
        if (x != NULL)
            ask(s, share, (size_t)(x - r->ranks), score_of(s, (size_t)(x - r->ranks)));
    }
    for (struct holder h = {0}; next_holder(s, &h);)
        ask(s, share, h.at, h.score);
    weir_router_mark_own(r, share, false);
}

/* Ranks that the tenant should leave to others are not eligible, unless no other is. Returns the
 * device blocks that any of the rest holds. */
static double keep_to_share(struct scan *s, const struct weir_tenant_share *share, double best) {
    struct weir_router *r = s->r;
    bool any = false;
    ask_all(s, share);
    for (size_t i = 0; i < r->n_ranks; i++)
        any |= r->flat.suits[i] && r->flat.costs[i] < INFINITY;
    if (!any)
        return best;
    for (size_t i = 0; i < r->n_ranks; i++)
        if (!r->flat.suits[i])
            r->flat.costs[i] = INFINITY;
    best = 0;
    for (struct holder h = {0}; next_holder(s, &h);)
        most(s, h.at, h.score, &best);
    return best;
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* As weir_select at temperature 0, over those that are eligible; there is one. */
static size_t lowest(const double *costs, size_t n, struct weir_rng *rng) {
    size_t at = 0, ties = 1;
    while (costs[at] >= INFINITY)
        at++;
    double least = costs[at];
    for (size_t i = at + 1; i < n; i++) {
        if (costs[i] > least)
            continue;
        if (costs[i] < least) {
            least = costs[i];
            at = i;
            ties = 1;
        } else if (weir_rng_below(rng, ++ties) == 0) {
            at = i;
        }
    }
    return at;
}

bool weir_router_scan(struct weir_router *r, const struct weir_route_query *q,
                      struct weir_lookup *lookup, struct weir_router_found *ret) {
    struct weir_tenant_share share = {.limited = false};
    struct scan s = {.r = r,
                     .q = q,
                     .params = weir_router_inputs(r, q).params,
                     .some = q->has_pool || q->adapter != 0 || r->inhibited_until_ms > q->now_ms};
    struct census who = count(&s);
    ret->status = !who.any                                   ? WEIR_UNAVAILABLE
                  : weir_router_waits(r, q) && !who.any_room ? WEIR_AGAIN
                                                             : WEIR_OK;
    if (ret->status != WEIR_OK)
        return true;
    if (r->tenants != NULL && weir_router_tracks_prefill(r, q))
        weir_router_share(r, q, who.n_serving, who.n_held, &share);
    if (share.limited && (weir_router_waits(r, q) || s.params.overlap_credit_decay > 0))
        return false; /* may have to wait; or the costs depend on who is left */
    if (q->n_blocks > 0 && !q->blind)
        s.lookup = weir_router_look_up(r, q, lookup);
    cost_of_all(&s);
    weir_router_mark_running(r, q, &s.running);
    ret->best_device_blocks = weigh_holders(&s);
    if (share.limited)
        ret->best_device_blocks = keep_to_share(&s, &share, ret->best_device_blocks);
    size_t at = lowest(r->flat.costs, r->n_ranks, q->rng);
    ret->candidate = candidate(&s, at, score_of(&s, at));
    ret->candidate.cost = r->flat.costs[at];
    weir_router_clear_running(r, &s.running);
    return true;
}
