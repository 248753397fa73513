/* Choosing the worker of a leg: what the router is asked, what is counted of its answer, and what
 * the client is told where there is none. */
#include "frontend/request_priv.h"

#include <stdio.h>

struct weir_ids weir_leg_engine_prompt(const struct weir_leg *leg) {
    const struct weir_request *r = leg->request;
    return r->expanded.ids != NULL ? r->expanded : leg->prompt;
}

double weir_leg_hit_rate(const struct weir_leg *leg, uint32_t overlap_blocks) {
    size_t bs = weir_model_info(leg->request->model)->block_size;
    size_t blocks = bs > 0 ? (weir_leg_engine_prompt(leg).n + bs - 1) / bs : 0;
    return blocks > 0 ? (double)overlap_blocks / (double)blocks : 0;
}

/* A worker takes two requests of one id for the same, and drops the first: each prompt of several
 * has a number behind it, as in the reference system. */
struct weir_span weir_leg_id(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    if (leg->id == NULL && r->n_legs > 1) {
        leg->id = weir_arena_alloc(&r->arena, WEIR_LEG_ID_BYTES);
        if (leg->id != NULL)
            snprintf(leg->id, WEIR_LEG_ID_BYTES, "%s-%td", r->uuid, leg - r->legs);
    }
    return weir_span_z(leg->id != NULL ? leg->id : r->uuid);
}

/* Of the prompt's last blocks: those that its worker computes whatever it holds. vLLM and SGLang
 * always compute a prompt's last token, so a block that ends with it is no hit; all of a prompt
 * whose own probabilities are asked for. (On the request plane what is held counts, as in the
 * reference.) */
static size_t computed(const struct weir_leg *leg) {
    const struct weir_openai_request *q = &leg->request->q;
    uint32_t size = weir_model_info(leg->request->model)->block_size;
    if (leg->relay == NULL)
        return 0;
    if (q->prep.output.prompt_logprobs >= 0 || (q->echo && q->top_logprobs >= 0))
        return leg->n_blocks;
    return leg->n_blocks > 0 && leg->prompt.n == leg->n_blocks * size;
}

struct weir_route_query weir_leg_prompt_query(struct weir_leg *leg) {
    const struct weir_request *r = leg->request;
    return (struct weir_route_query){.local_hashes = leg->local,
                                     .sequence_hashes = leg->sequence,
                                     .n_blocks = leg->n_blocks,
                                     .n_computed = computed(leg),
                                     .isl_tokens = weir_leg_engine_prompt(leg).n,
                                     .request_id = weir_leg_id(leg),
                                     .tenant = weir_request_tenant(r),
                                     .blind = weir_model_blind(r->model),
                                     .rng = weir_loop_rng(r->fl->loop),
                                     .now_ms = weir_loop_now_ms(r->fl->loop)};
}

void weir_leg_query(struct weir_leg *leg, struct weir_route_query *ret) {
    struct weir_request *r = leg->request;
    const struct weir_routing_hints *h = &r->q.prep.routing;
    struct weir_route_query q = weir_leg_prompt_query(leg);
    q.pinned_rank = h->dp_rank;
    q.adapter = weir_model_info(r->model)->adapter;
    q.exclude = leg->tried;
    q.n_exclude = leg->n_tried;
    q.override = weir_disagg_override(leg);
    if (h->has_backend_instance_id || h->has_decode_worker_id) {
        q.has_pinned_worker = true;
        q.pinned_worker = h->has_backend_instance_id ? h->backend_instance_id : h->decode_worker_id;
    }
    weir_leg_pool_apply(&leg->pool, &q);
    q.query_only = weir_request_only_asks(r);
    q.has_session = r->has_session;
    q.session = r->session;
    *ret = q;
}

/* Where no blocks are looked for, there is no hit to count. */
static bool has_blocks(const struct weir_leg *leg) {
    return leg->request->q.kind != WEIR_OPENAI_EMBEDDINGS && !leg->asks_tokens;
}

bool weir_leg_is_kv(const struct weir_leg *leg) {
    return leg->request->fl->app->options.router_mode == WEIR_OPT_ROUTER_MODE_KV && has_blocks(leg);
}

static enum weir_status route(struct weir_leg *leg, struct weir_route *ret) {
    struct weir_request *r = leg->request;
    struct weir_route_query q;
    weir_leg_query(leg, &q);
    struct weir_decision record = {.n = 0};
    if (weir_leg_explains(leg))
        q.explain = &record;
    if (weir_leg_is_kv(leg) && weir_model_info(r->model)->rooms == NULL) /* else the rooms count */
        weir_metric_inc(weir_model_info(r->model)->metrics.received);
    uint64_t begin = weir_now_ns();
    enum weir_status st = weir_router_route(weir_model_info(r->model)->router, &q, ret);
    double ms = (double)(weir_now_ns() - begin) / 1e6;
    weir_front_observe_stage(r->fl->app->metrics, WEIR_FRONT_ROUTE, ms / 1e3);
    if (st == WEIR_OK && has_blocks(leg))
        weir_front_observe_route(r->fl->app->metrics, leg->hash_ms, ms,
                                 weir_leg_hit_rate(leg, ret->overlap_blocks));
    if (q.explain != NULL)
        weir_leg_explain(leg, &record);
    weir_decision_fini(&record);
    return st;
}

/* The room has chosen: at once, or when the leg's turn came. */
static void observe_granted(const struct weir_leg *leg, const struct weir_route *chosen) {
    struct weir_front_metrics *m = leg->request->fl->app->metrics;
    double rate = weir_leg_hit_rate(leg, chosen->overlap_blocks), ms = leg->wait.route_ms;
    if (!has_blocks(leg))
        return;
    if (ms < 0) {
        weir_front_observe_hit_rate(m, rate);
        return;
    }
    weir_front_observe_stage(m, WEIR_FRONT_ROUTE, ms / 1e3);
    weir_front_observe_route(m, leg->hash_ms, ms, rate);
}

static void count_routed(const struct weir_leg *leg, const struct weir_route *chosen) {
    const struct weir_model_info *info = weir_model_info(leg->request->model);
    weir_front_count_routed(leg->request->fl->app->metrics);
    weir_metric_observe(info->metrics.routed_input, (double)weir_leg_engine_prompt(leg).n);
    if (chosen->best_overlap_blocks == 0)
        return;
    weir_metric_add(info->metrics.routed_best,
                    chosen->best_overlap_blocks * (double)info->block_size);
    if (chosen->overlap_blocks > 0)
        weir_metric_add(info->metrics.routed_cached,
                        chosen->overlap_blocks * (double)info->block_size);
}

enum weir_status weir_leg_route(struct weir_leg *leg) {
    struct weir_route chosen;
    enum weir_status st = WEIR_OK;
    struct weir_router *router = weir_model_info(leg->request->model)->router;
    if (weir_wait_take(&leg->wait, &chosen))
        observe_granted(leg, &chosen);
    else
        st = route(leg, &chosen);
    while (st != WEIR_OK && weir_leg_pool_next(leg, &leg->pool, router, st))
        st = route(leg, &chosen);
    if (st != WEIR_OK)
        return st;
    leg->booking = chosen.booking;
    leg->worker_id = chosen.worker_id;
    leg->dp_rank = chosen.dp_rank;
    leg->overlap_blocks = chosen.overlap_blocks;
    if (!leg->routed && weir_leg_is_kv(leg)) {
        leg->routed = true;
        count_routed(leg, &chosen);
    }
    return WEIR_OK;
}

void weir_leg_fail_route(struct weir_leg *leg, enum weir_status st) {
    struct weir_request *r = leg->request;
    leg->state = WEIR_LEG_DONE;
    if (st == WEIR_UNAVAILABLE && leg->refused_full)
        st = WEIR_OVERLOADED;
    if (st == WEIR_OVERLOADED) {
        weir_front_count_rejected(r->fl->app->metrics, weir_model_info(r->model)->name,
                                  r->endpoint);
        weir_request_fail(r, r->fl->app->overload_status,
                          WEIR_SPAN_LIT("Service temporarily overloaded"), "overload");
    } else if (st == WEIR_INVALID) {
        weir_request_fail(
            r, 400,
            WEIR_SPAN_LIT("Invalid request: the worker or dp_rank that the request is "
                          "pinned to is not known for this model"),
            "validation");
    } else {
        struct weir_span text =
            weir_leg_pool_missing(leg, &leg->pool, weir_model_info(r->model)->router);
        if (text.data == NULL)
            text = WEIR_SPAN_LIT("Service temporarily unavailable");
        weir_request_fail(r, 503, text, "unavailable");
    }
}
