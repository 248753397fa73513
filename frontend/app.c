/* What the options make of the process, apart from its loops and sockets: limits, rules, models. */
#include "frontend/app_priv.h"

#include "base/log.h"
#include "parsers/wprs.h"
#include "router/options.h"
#include "runtime/options_nats.h"

#include <math.h>

static uint64_t ms_of(double seconds) {
    return isnan(seconds) ? 0 : (uint64_t)(seconds * 1000);
}

static void fill_router(const struct weir_frontend_options *o, struct weir_router_config *r) {
    weir_router_config_init(r);
    r->mode = (enum weir_router_mode)o->router_mode;
    WEIR_ROUTER_CONFIG_TAKE(o, r);
    WEIR_ROUTER_CONFIG_TAKE_TIMES(o, r);
    r->queue_threshold = o->router_queue_threshold;
    r->queue_decode_threshold = o->router_queue_decode_threshold;
    r->tenant_window_ms = (uint64_t)(o->router_tenant_window_secs * 1000);
    r->tenant_quick_tokens = (uint64_t)o->router_tenant_quick_tokens;
    if (o->router_session_affinity_ttl_secs != WEIR_CONFIG_NONE)
        r->affinity_ttl_ms = (uint64_t)o->router_session_affinity_ttl_secs * 1000;
    r->affinity_soft = o->router_session_affinity_mode == WEIR_OPT_AFFINITY_SOFT;
}

/* The file goes before the flags, as in the reference. */
static void take_settings(const struct weir_policy_settings *s, struct weir_frontend_options *o) {
    if (!isnan(s->host_cache_hit_weight))
        o->router_host_cache_hit_weight = s->host_cache_hit_weight;
    if (!isnan(s->disk_cache_hit_weight))
        o->router_disk_cache_hit_weight = s->disk_cache_hit_weight;
    if (!isnan(s->router_ttl_secs))
        o->router_ttl_secs = s->router_ttl_secs;
    if (s->use_kv_events >= 0)
        o->router_kv_events = s->use_kv_events;
    if (s->router_replica_sync >= 0)
        o->router_replica_sync = s->router_replica_sync;
    if (s->router_track_active_blocks >= 0)
        o->router_track_active_blocks = s->router_track_active_blocks;
    if (s->router_assume_kv_reuse >= 0)
        o->router_assume_kv_reuse = s->router_assume_kv_reuse;
    if (s->router_track_prefill_tokens >= 0)
        o->router_track_prefill_tokens = s->router_track_prefill_tokens;
}

static enum weir_status read_policy(struct weir_app *app, struct weir_err *err) {
    const struct weir_frontend_options *o = &app->options;
    if (o->router_policy_config == NULL)
        return WEIR_OK;
    if (o->router_queue_class.n > 0)
        return weir_err_set(err, WEIR_INVALID,
                            "--router-policy-config and --router-queue-class both name policy "
                            "classes: give one of them");
    weir_arena_init(&app->policy_arena, WEIR_CONFIG_ARENA_BYTES + ((size_t)64 << 20));
    enum weir_status st =
        weir_policy_config_read(o->router_policy_config, &app->policy_arena, &app->policy, err);
    if (st == WEIR_OK && app->policy.settings.use_kv_events == 0 && o->router_conditional_disagg)
        st = weir_err_set(err, WEIR_INVALID,
                          "--router-conditional-disagg needs KV events, and the policy file says "
                          "router.use_kv_events: false");
    if (st == WEIR_OK)
        take_settings(&app->policy.settings, &app->options);
    return st;
}

static enum weir_status read_split(const struct weir_frontend_options *o,
                                   struct weir_split_rules *rules, struct weir_err *err) {
    const char *json = o->router_conditional_disagg_config;
    weir_split_rules_init(rules);
    if (json != NULL && weir_split_rules_parse(weir_span_z(json), rules, err) != WEIR_OK)
        return weir_err_prefix(err, "--router-conditional-disagg-config");
    if (isnan(rules->prefill_busy_threshold))
        rules->prefill_busy_threshold = o->router_queue_threshold;
    if (o->router_conditional_disagg && rules->policy != WEIR_SPLIT_ISL_BOUNDING &&
        isnan(rules->prefill_busy_threshold))
        WEIR_LOG(WEIR_LOG_WARN, "disagg",
                 "policy %s: no prefill worker is ever busy without prefill_busy_threshold or "
                 "--router-queue-threshold",
                 weir_split_policy_word(rules->policy));
    return WEIR_OK;
}

static void warn_pools(void *arg, const char *text) {
    (void)arg;
    WEIR_LOG(WEIR_LOG_WARN, "pools", "%s", text);
}

static enum weir_status read_pools(struct weir_app *app, struct weir_err *err) {
    const struct weir_frontend_options *o = &app->options;
    struct weir_pool_config config;
    if (o->pools == NULL)
        return WEIR_OK;
    weir_arena_init(&app->pools_arena, WEIR_CONFIG_ARENA_BYTES + ((size_t)64 << 20));
    enum weir_status st =
        weir_pool_config_load(o->pools, &app->pools_arena, warn_pools, NULL, &config, err);
    if (st == WEIR_OK)
        st = weir_pool_config_distinct(&config, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "--pools");
    app->pools = weir_arena_alloc(&app->pools_arena, sizeof(*app->pools));
    if (app->pools == NULL)
        return weir_err_set(err, WEIR_NOMEM, "--pools: out of memory");
    *app->pools = config;
    return WEIR_OK;
}

static void fill_limits(struct weir_app *app) {
    const struct weir_frontend_options *o = &app->options;
    app->error_format = (enum weir_error_format)o->error_format;
    app->rules =
        (struct weir_openai_rules){.ignore_unknown_fields = o->ignore_openai_fe_unsupported_fields,
                                   .drop_nvext = o->disable_frontend_nvext,
                                   .strip_preamble = o->strip_anthropic_preamble};
    /* 1xx is no final answer; the reference system takes its default then. */
    app->engine_mode = o->worker.n > 0 || o->workers_file != NULL;
    /* Engines have fields of their own, and refuse what they do not know. */
    app->rules.ignore_unknown_fields |= app->engine_mode;
    app->rules.any_strict_tool = app->engine_mode;
    app->overload_status = (int)o->http_overload_status_code;
    app->body_limit = (size_t)o->http_body_limit_mb << 20;
    app->item_ms = ms_of(o->http_backend_stream_timeout_secs);
    app->keep_alive_ms = (uint64_t)o->http_sse_keep_alive_interval_ms;
    app->migration_limit = (unsigned)o->migration_limit;
}

static enum weir_status open_metrics(struct weir_app *app) {
    const struct weir_frontend_options *o = &app->options;
#define SPREAD(m)                                                                                  \
    { o->metrics_##m##_min, o->metrics_##m##_max, (unsigned)o->metrics_##m##_count }
    const struct weir_spread spreads[WEIR_N_SPREADS] = {
        [WEIR_SPREAD_DURATION] = SPREAD(request_duration),
        [WEIR_SPREAD_INPUT] = SPREAD(input_sequence),
        [WEIR_SPREAD_OUTPUT] = SPREAD(output_sequence),
        [WEIR_SPREAD_TTFT] = SPREAD(ttft),
        [WEIR_SPREAD_ITL] = SPREAD(itl),
        [WEIR_SPREAD_EMBEDDING] = SPREAD(embedding_latency)};
#undef SPREAD
    enum weir_status st = weir_front_metrics_create(
        o->metrics_prefix != NULL ? o->metrics_prefix : "dynamo_frontend", spreads, &app->metrics);
    if (st == WEIR_OK)
        st = weir_worker_figures_create(app->metrics, &app->workers);
    app->start_ns = weir_now_ns();
    return st == WEIR_OK ? weir_metrics_on_scrape(weir_front_metrics_registry(app->metrics),
                                                  weir_front_scrape, app)
                         : st;
}

static void fill_models(struct weir_app *app, const struct weir_app_hooks *hooks,
                        struct weir_models_config *ret) {
    const struct weir_frontend_options *o = &app->options;
    struct weir_models_config mc = {
        .thresholds = WEIR_ROUTER_THRESHOLDS(o),
        .block_size =
            o->kv_cache_block_size != WEIR_CONFIG_NONE ? (uint32_t)o->kv_cache_block_size : 0,
        .ns = o->namespace,
        .ns_prefix = o->namespace_prefix,
        .ns_strict = o->namespace_prefix_strict,
        .pools = app->pools,
        .model_name = o->model_name,
        .has_nats = WEIR_NATS_WANTED_DURABLE(o),
        .model_path = o->model_path,
        .hub = {.endpoint = o->hf_endpoint,
                .token = o->hf_token,
                .cache = o->hf_hub_cache,
                .offline = o->hf_hub_offline},
        .tokenizer_cache_bytes = o->tokenizer_cache ? (size_t)o->tokenizer_cache_bytes : 0,
        .parity = (enum weir_parity_mode)o->parity_check,
        .bytes_tokenizer = o->tokenizer == WEIR_OPT_TOKENIZER_BYTES,
        .tool_parser = o->tool_call_parser,
        .reasoning_parser = o->reasoning_parser,
        .min_workers = (unsigned)o->router_min_initial_workers,
        .on_worker_left = hooks->on_worker_left,
        .arg = hooks->arg,
        .metrics = app->metrics,
        .loop = hooks->loop,
        .sync = app->sync};
    fill_router(o, &mc.router);
    mc.policy = &app->policy;
    mc.queue = (struct weir_queue_config){
        .classes = app->queue_classes.classes,
        .n_classes = app->queue_classes.n,
        .policy = (enum weir_queue_policy)o->router_queue_policy,
        .max_requests = (size_t)o->router_queue_max_requests,
        .max_tokens = (uint64_t)o->router_queue_max_tokens,
        .max_tenant_requests = (size_t)o->router_queue_tenant_max_requests,
        .quantum = (uint64_t)o->router_queue_quantum_tokens,
        .refresh_ms = ms_of(o->router_overlap_refresh_after_secs)};
    *ret = mc;
}

/* ---- other routers ------------------------------------------------------------------------ */

static void with_router(void *arg, uint64_t worker_id,
                        void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg) {
    struct weir_app *app = arg;
    struct weir_model *model = weir_models_of_worker(app->models, worker_id);
    struct weir_router *router = model != NULL ? weir_model_info(model)->router
                                               : weir_prefill_router_of(app->prefill, worker_id);
    if (router != NULL)
        fn(fn_arg, router);
    if (model != NULL)
        weir_model_unref(model);
}

struct each_router {
    void (*fn)(void *fn_arg, struct weir_router *r);
    void *fn_arg;
};

static void of_model(void *arg, struct weir_model *model, bool ready) {
    struct each_router *e = arg;
    (void)ready;
    e->fn(e->fn_arg, weir_model_info(model)->router);
}

static void of_pool(void *arg, const char *model, struct weir_router *router,
                    struct weir_rooms *rooms) {
    struct each_router *e = arg;
    (void)model;
    (void)rooms;
    e->fn(e->fn_arg, router);
}

static void each_router(void *arg, void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg) {
    struct weir_app *app = arg;
    struct each_router e = {fn, fn_arg};
    weir_models_each_router(app->models, of_model, &e);
    weir_prefill_each(app->prefill, true, of_pool, &e);
}

static const struct weir_replica_sync_ops sync_ops = {with_router, each_router};

/* ---- opening ------------------------------------------------------------------------------ */

enum weir_status weir_app_open(struct weir_app *app, const struct weir_app_hooks *hooks,
                               struct weir_err *err) {
    const struct weir_frontend_options *o = &app->options;
    const struct weir_explain_config ec = {.ring = (size_t)o->router_explain_ring,
                                           .log_path = o->decision_log};
    struct weir_models_config mc;
    fill_limits(app);
    enum weir_status st = read_policy(app, err);
    if (st == WEIR_OK)
        st = weir_queue_classes_parse(o->router_queue_class.items, o->router_queue_class.n,
                                      &app->queue_classes, err);
    if (st == WEIR_OK)
        st = wprs_check_names(weir_span_z(o->tool_call_parser), weir_span_z(o->reasoning_parser),
                              err);
    if (st == WEIR_OK)
        st = read_pools(app, err);
    if (st == WEIR_OK)
        st = read_split(o, &app->split, err);
    if (st == WEIR_OK)
        st = weir_explain_open(&ec, &app->explain, err);
    if (st != WEIR_OK)
        return st;
    st = open_metrics(app);
    if (st == WEIR_OK && o->router_replica_sync)
        st = weir_replica_sync_create(hooks->loop, &sync_ops, app, &app->sync);
    if (st == WEIR_OK) {
        fill_models(app, hooks, &mc);
        struct weir_models_config prefill = mc;
        if (o->router_policy_config != NULL) {
            weir_policy_costs_apply(&app->policy.serve, &mc.router);
            weir_policy_costs_apply(&app->policy.prefill, &prefill.router);
        }
        st = weir_models_create(&mc, &app->models);
        if (st == WEIR_OK)
            st = weir_prefill_create(&prefill, &app->prefill);
    }
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
}

void weir_app_close(struct weir_app *app) {
    weir_prefill_destroy(app->prefill);
    weir_models_destroy(app->models);
    weir_explain_close(app->explain);
    weir_worker_figures_destroy(app->workers);
    weir_front_metrics_destroy(app->metrics);
    weir_arena_fini(&app->pools_arena);
    weir_arena_fini(&app->policy_arena);
}
