/*
 * --pools: which pool serves a leg, and which one next when that fails. Happy path: the size of the
 * prompt, the targets and the priority of the request → the grid's pool → only its workers are
 * candidates. Failure modes: a pool without a worker that can take the request gives way to the
 * next faster one where the file has enable_priority_retry; else, or behind the last one, the
 * request is refused, and a pool without any worker is named. Chosen once for a leg: what has begun
 * to answer stays.
 */
#include "base/log.h"
#include "base/utf8.h"
#include "frontend/request_priv.h"
#include "router/pool_select.h"

#include <inttypes.h>
#include <stdio.h>

static struct weir_front_metrics *metrics_of(const struct weir_leg *leg) {
    return leg->request->fl->app->metrics;
}

static uint32_t current(const struct weir_leg_pool *p) {
    return p->order[p->at];
}

bool weir_leg_pool_choose(struct weir_leg *leg, struct weir_leg_pool *p,
                          const struct weir_pool_set *set) {
    struct weir_request *r = leg->request;
    const struct weir_frontend_options *o = &r->fl->app->options;
    const struct weir_prep_request *prep = &r->q.prep;
    struct weir_pool_query q = {.n_tokens = leg->prompt.n, /* as global routers count them */
                                .has_priority = prep->routing.has_priority,
                                .priority = prep->routing.priority};
    const struct weir_pool_targets defaults = {o->default_ttft_target_ms, o->default_itl_target_ms};
    if (p->set != NULL || set == NULL)
        return true;
    p->order = weir_arena_alloc(&r->arena, set->n * sizeof(*p->order));
    if (p->order == NULL)
        return false;
    weir_pool_query_targets(prep->router, prep->extra_args, &q.ttft_ms, &q.itl_ms);
    p->choice = weir_pool_select(set, &q, &defaults);
    p->n = weir_pool_retry_order(p->choice.pool, set->priorities, set->n,
                                 r->fl->app->pools->enable_priority_retry, p->order);
    WEIR_ASSERT(p->n > 0); /* the pool file was checked */
    p->set = set;
    weir_front_count_pool(metrics_of(leg), set->name, current(p), false);
    return true;
}

void weir_leg_pool_apply(const struct weir_leg_pool *p, struct weir_route_query *q) {
    if (p->set == NULL || q->has_pinned_worker)
        return;
    q->has_pool = true;
    q->pool = current(p);
}

uint32_t weir_leg_pool_at(const struct weir_leg_pool *p) {
    return p->set != NULL ? current(p) : 0;
}

/* False: the pool has workers. */
static bool describe(const struct weir_leg *leg, const struct weir_leg_pool *p,
                     struct weir_router *router, char *text, size_t room) {
    if (weir_router_pool_workers(router, current(p)) > 0)
        return false;
    snprintf(text, room, "no worker in %s pool %" PRIu32 ": namespace %.*s has none of model %.*s",
             p->set->name, current(p),
             WEIR_SPAN_ARG(weir_utf8_cut_z(p->set->namespaces[current(p)], 80)),
             WEIR_SPAN_ARG(weir_utf8_cut_z(weir_model_info(leg->request->model)->name, 80)));
    return true;
}

bool weir_leg_pool_next(struct weir_leg *leg, struct weir_leg_pool *p, struct weir_router *router,
                        enum weir_status st) {
    static struct weir_log_limit limit;
    char text[256];
    uint32_t dropped;
    if (p->set == NULL || (st != WEIR_UNAVAILABLE && st != WEIR_OVERLOADED))
        return false;
    bool last = p->at + 1 >= p->n;
    bool empty = describe(leg, p, router, text, sizeof(text));
    if (weir_log_limit_ok(&limit, 20, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "pools", "%s: %s pool %" PRIu32 " (%s): %s%s", leg->request->uuid,
                 p->set->name, current(p), p->set->namespaces[current(p)],
                 empty                    ? text
                 : st == WEIR_UNAVAILABLE ? "none of its workers can be asked"
                                          : "all its workers are busy",
                 last ? "" : "; trying the next pool");
    if (last)
        return false;
    p->at++;
    weir_front_count_pool(metrics_of(leg), p->set->name, current(p), true);
    return true;
}

struct weir_span weir_leg_pool_missing(struct weir_leg *leg, const struct weir_leg_pool *p,
                                       struct weir_router *router) {
    char text[256];
    if (p->set == NULL || !describe(leg, p, router, text, sizeof(text)))
        return weir_span(NULL, 0);
    return weir_arena_copy(&leg->request->arena, weir_span_z(text));
}

void weir_leg_pool_write(const struct weir_leg_pool *p, struct weir_jsonw *w) {
    if (p->set == NULL)
        return;
    weir_jsonw_key(w, "pool");
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "phase", p->set->name);
    weir_jsonw_key(w, "index");
    weir_jsonw_u64(w, current(p));
    weir_front_put_z(w, "namespace", p->set->namespaces[current(p)]);
    weir_front_put_z(w, "by", p->at > 0 ? "retry" : p->choice.overridden ? "priority" : "grid");
    weir_jsonw_key(w, "bucket");
    weir_jsonw_object_begin(w);
    for (unsigned i = 0; i < p->set->grid.n_axes; i++) {
        weir_jsonw_key(w, p->set->grid.axes[i].name);
        weir_jsonw_u64(w, p->choice.index[i]);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}
