/* The candidates that a tenant should leave to the others, by the rules of tenants.h. */
#include "router/router_priv.h"

#include "base/mem.h"

/* Mark of a candidate in places. */
#define SUITS 0x80000000u

void weir_router_share(struct weir_router *r, const struct weir_route_query *q, unsigned n_serving,
                       unsigned n_held, struct weir_tenant_share *ret) {
    if (!q->query_only)
        weir_tenants_seen(r->tenants, q->tenant, q->now_ms);
    weir_tenants_share(r->tenants, q->tenant, n_serving, n_held, q->now_ms, ret);
}

bool weir_router_suits(const struct weir_router *r, const struct weir_route_query *q,
                       const struct weir_tenant_share *s, const struct weir_candidate *c,
                       uint32_t mark) {
    const struct weir_tenant_place *own = NULL;
    uint64_t quick = r->config.tenant_quick_tokens, on_it = (uint64_t)c->active_prefill_tokens;
    if (mark > 0)
        own = &s->places[mark - 1];
    if (q->isl_tokens <= quick && on_it - (own != NULL ? own->tokens : 0) > quick)
        return false;
    uint64_t uncached = q->isl_tokens;
    if (c->device_blocks + c->host_blocks + c->disk_blocks > 0) {
        double cached = weir_cached_tokens(r->config.block_size, r->config.host_cache_hit_weight,
                                           r->config.disk_cache_hit_weight, c);
        uncached = cached < (double)q->isl_tokens ? q->isl_tokens - (uint64_t)cached : 0;
    }
    return weir_tenant_may(s, quick, own, on_it, uncached);
}

void weir_router_mark_own(struct weir_router *r, const struct weir_tenant_share *s, bool on) {
    for (size_t i = 0; i < s->n_places; i++) {
        const struct rank *x =
            weir_router_find_rank(r, s->places[i].worker_id, s->places[i].dp_rank);
        if (x != NULL)
            r->own[x - r->ranks] = on ? (uint32_t)i + 1 : 0;
    }
}

/* Marks the candidates that suit; false: there is none that can be had. Of a query that may wait
 * that is one with room; a session does not wait for room at its home, and if it is bound hard no
 * other will do. */
static bool mark_suited(struct weir_router *r, const struct weir_route_query *q, size_t n,
                        const struct weir_tenant_share *s, const uint64_t *home) {
    bool any = false, waits = weir_router_waits(r, q);
    weir_router_mark_own(r, s, true);
    for (size_t i = 0; i < n; i++) {
        bool at_home = home != NULL && r->candidates[i].worker_id == *home;
        r->places[i] &= ~SUITS;
        if (!weir_router_suits(r, q, s, &r->candidates[i], r->own[r->places[i]]))
            continue;
        if (at_home || home == NULL || r->config.affinity_soft)
            any = any || at_home || !waits || weir_router_has_room(r, q, &r->ranks[r->places[i]]);
        r->places[i] |= SUITS;
    }
    weir_router_mark_own(r, s, false);
    return any;
}

bool weir_router_share_is_full(struct weir_router *r, const struct weir_route_query *q, size_t n,
                               const struct weir_tenant_share *s, const uint64_t *home) {
    return weir_router_waits(r, q) && q->least_uncached > r->config.tenant_quick_tokens &&
           !mark_suited(r, q, n, s, home);
}

size_t weir_router_keep_to_share(struct weir_router *r, const struct weir_route_query *q, size_t n,
                                 const struct weir_tenant_share *s, const uint64_t *home,
                                 bool *ret_wait) {
    size_t kept = 0;
    bool any = mark_suited(r, q, n, s, home);
    *ret_wait = weir_router_waits(r, q) && !any && q->isl_tokens > r->config.tenant_quick_tokens;
    for (size_t i = 0; i < n && any; i++)
        if (r->places[i] & SUITS) {
            if (kept < i)
                r->candidates[kept] = r->candidates[i];
            kept++;
        }
    if (!any)
        kept = n;
    if (q->explain != NULL) {
        q->explain->share.limited = true;
        q->explain->share.tenants = s->active;
        q->explain->share.reserve = s->reserve;
        q->explain->share.held = s->held;
        q->explain->share.limit = s->limit;
        q->explain->share.left_out = (unsigned)(n - kept);
    }
    return kept;
}

bool weir_router_tenants(struct weir_router *router, uint64_t now_ms,
                         struct weir_router_tenants *ret, struct weir_router_tenant *ret_each,
                         size_t room, size_t *ret_n) {
    struct weir_tenant_state *states = weir_malloc((room + 1) * sizeof(*states));
    if (states == NULL || router->tenants == NULL) {
        weir_free(states);
        return false;
    }
    *ret = (struct weir_router_tenants){0};
    pthread_mutex_lock(&router->lock);
    for (size_t i = 0; i < router->n_ranks; i++) {
        const struct rank *x = &router->ranks[i];
        if (x->inhibited_until_ms <= now_ms) {
            ret->ranks++;
            ret->held += x->prefill_tokens > router->config.tenant_quick_tokens;
        }
    }
    ret->active = weir_tenants_list(router->tenants, now_ms, states, room);
    *ret_n = ret->active < room ? ret->active : room;
    for (size_t i = 0; i < *ret_n; i++) {
        struct weir_tenant_share s;
        weir_tenants_share(router->tenants, states[i].tenant, ret->ranks, ret->held, now_ms, &s);
        ret_each[i] = (struct weir_router_tenant){.tenant = states[i].tenant,
                                                  .held = states[i].held,
                                                  .short_prompts = states[i].short_prompts,
                                                  .prefill_tokens = states[i].tokens,
                                                  .limited = s.limited,
                                                  .limit = s.limit,
                                                  .reserve = s.reserve};
    }
    pthread_mutex_unlock(&router->lock);
    weir_free(states);
    return true;
}
