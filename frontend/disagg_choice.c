/*
 * Conditional disaggregation: asks both routers whom they would choose now, books nothing, and puts
 * what they say to the rules (router/split.h). Decided once for a leg: what fails afterwards goes
 * on in the same way.
 */
#include "frontend/request_priv.h"

#include <math.h>

static void ask_decode(struct weir_leg *leg, struct weir_split_signals *s) {
    struct weir_route_query q;
    struct weir_route chosen;
    weir_leg_query(leg, &q);
    q.query_only = true;
    if (weir_router_route(weir_model_info(leg->request->model)->router, &q, &chosen) != WEIR_OK)
        return;
    s->cached_tokens = chosen.load.cached_tokens;
    s->decode_blocks = chosen.load.decode_blocks + chosen.load.additional_blocks;
    s->decode_capacity = (double)chosen.load.total_kv_blocks;
}

static void ask_prefill(struct weir_leg *leg, struct weir_split_signals *s) {
    struct weir_route_query q;
    struct weir_route chosen;
    weir_disagg_query(leg, &q);
    q.query_only = true;
    if (weir_router_route(weir_prefill_pool_router(leg->disagg.pool), &q, &chosen) != WEIR_OK)
        return;
    s->prefill_tokens = chosen.load.prefill_tokens;
    s->prefill_budget = (double)chosen.load.max_num_batched_tokens;
}

bool weir_disagg_goes_local(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    const struct weir_app *app = r->fl->app;
    struct weir_split *split = &leg->disagg.split;
    /* A client that names its prefill worker has decided. */
    if (!app->options.router_conditional_disagg || weir_model_info(r->model)->needs_prefill ||
        split->why != WEIR_SPLIT_UNDECIDED || r->q.prep.routing.has_prefill_worker_id)
        return false;
    *split = (struct weir_split){
        .rules = app->split,
        .signals = {(double)weir_leg_engine_prompt(leg).n, NAN, NAN, NAN, NAN, NAN},
    };
    ask_decode(leg, &split->signals);
    if (weir_split_needs_load(&split->rules))
        ask_prefill(leg, &split->signals);
    split->why = weir_split_decide(&split->rules, &split->signals);
    weir_front_count_split(app->metrics, weir_model_info(r->model)->name, split->why);
    return weir_split_is_local(split->why);
}
