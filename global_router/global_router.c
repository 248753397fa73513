/*
 * `weir global-router`. Happy path: options → pool file → loop, planes, discovery → a router of
 * each pool shows itself (or --pool-wait-secs pass) → the phases register as workers → serve until
 * SIGTERM or SIGINT → drain → exit 0.
 */
#include "global_router/global_router.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "global_router/phase_priv.h"
#include "runtime/card_files.h"
#include "runtime/options_global_router.h"
#include "runtime/service.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PHASES = 2, MISSING_LOG_MS = 5000, ROUTER_LEFT_MS = 30000, SLUG_BYTES = 1024 };

struct global {
    struct weir_global_router_options options;
    struct weir_arena arena; /* options, pool file, card */
    struct weir_pool_config config;
    struct weir_service service;
    struct weir_global_phase phases[MAX_PHASES];
    unsigned n_phases;
    struct weir_card card; /* what the phases' cards have in common */
    struct weir_timer wait;
    uint64_t give_up_ms;
    bool registered;
};

/* ---- card --------------------------------------------------------------------------------- */

static enum weir_status fill_card(struct global *g, struct weir_err *err) {
    const struct weir_global_router_options *o = &g->options;
    char dir[PATH_MAX];
    struct weir_buf slug;
    weir_buf_init(&slug, SLUG_BYTES);
    enum weir_status st = weir_slug(weir_span_z(o->model_name), &slug);
    g->card = (struct weir_card){.display_name = weir_span_z(o->model_name),
                                 .slug = weir_arena_copy(&g->arena, weir_buf_span(&slug)),
                                 .builtin_bytes_tokenizer = o->model_path == NULL,
                                 .context_length = (uint32_t)o->context_length,
                                 .kv_cache_block_size = (uint32_t)o->block_size,
                                 .input_tokens = true,
                                 .dp_size = 1};
    weir_buf_fini(&slug);
    if (st != WEIR_OK || g->card.slug.data == NULL)
        return weir_err_set(err, WEIR_INVALID, "--model-name %s cannot be made into a slug",
                            o->model_name);
    if (o->model_path == NULL)
        return WEIR_OK;
    if (realpath(o->model_path, dir) == NULL)
        return weir_err_set(err, WEIR_IO, "--model-path %s: %s", o->model_path, strerror(errno));
    return weir_card_find_files(&g->card, dir, &g->arena, err);
}

static struct weir_card card_of(const struct global *g, const struct weir_global_phase *p) {
    struct weir_card card = g->card;
    card.worker_type = p->type;
    card.chat = card.completions = p->type != WEIR_WORKER_PREFILL;
    card.model_type =
        p->type == WEIR_WORKER_PREFILL ? WEIR_SPAN_LIT("") : WEIR_SPAN_LIT("Chat | Completions");
    return card;
}

/* ---- pools -------------------------------------------------------------------------------- */

static bool all_connected(const struct global *g) {
    for (unsigned i = 0; i < g->n_phases; i++)
        for (uint32_t k = 0; k < weir_pools_set(g->phases[i].pools)->n; k++)
            if (weir_pools_instances(g->phases[i].pools, k) == 0)
                return false;
    return true;
}

static void log_missing(const struct global *g, const char *what) {
    for (unsigned i = 0; i < g->n_phases; i++) {
        const struct weir_pool_set *set = weir_pools_set(g->phases[i].pools);
        for (uint32_t k = 0; k < set->n; k++)
            if (weir_pools_instances(g->phases[i].pools, k) == 0)
                WEIR_LOG(WEIR_LOG_WARN, "global",
                         "%s pool %u has no router: %s.router.generate has no instance; %s",
                         set->name, k, set->namespaces[k], what);
    }
}

/* The reference system's get_pool_info, as one log line. */
static void log_pool_info(const struct global *g) {
    struct weir_buf text;
    struct weir_jsonw w;
    weir_buf_init(&text, 1 << 20);
    weir_jsonw_init(&w, &text);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "mode");
    weir_jsonw_string_z(&w, g->config.mode == WEIR_POOL_AGG ? "agg" : "disagg");
    weir_jsonw_key(&w, "model_name");
    weir_jsonw_string_z(&w, g->options.model_name);
    weir_jsonw_key(&w, "enable_priority_retry");
    weir_jsonw_bool(&w, g->config.enable_priority_retry);
    for (unsigned i = 0; i < g->n_phases; i++) {
        const struct weir_pool_set *set = weir_pools_set(g->phases[i].pools);
        char key[64];
        snprintf(key, sizeof(key), "num_%s_pools", set->name);
        weir_jsonw_key_span(&w, weir_span_z(key));
        weir_jsonw_u64(&w, set->n);
        static const char *const lists[] = {"pools", "pool_priorities", "connected"};
        for (unsigned list = 0; list < WEIR_ARRAY_LEN(lists); list++) {
            snprintf(key, sizeof(key), "%s_%s", set->name, lists[list]);
            weir_jsonw_key_span(&w, weir_span_z(key));
            weir_jsonw_array_begin(&w);
            for (uint32_t k = 0; k < set->n; k++) {
                if (list == 1)
                    weir_jsonw_i64(&w, set->priorities[k]);
                else if (list == 0 || weir_pools_instances(g->phases[i].pools, k) > 0)
                    weir_jsonw_string_z(&w, set->namespaces[k]);
            }
            weir_jsonw_array_end(&w);
        }
    }
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, "global", "pools: %.*s", WEIR_SPAN_ARG(weir_buf_span(&text)));
    weir_buf_fini(&text);
}

static void enter(struct global *g) {
    struct weir_err err;
    g->registered = true;
    weir_timer_stop(&g->wait);
    log_pool_info(g);
    for (unsigned i = 0; i < g->n_phases; i++) {
        struct weir_global_phase *p = &g->phases[i];
        struct weir_card card = card_of(g, p);
        if (weir_service_publish(&g->service, weir_span_z(g->options.namespace),
                                 g->options.component_name, p->endpoint, &weir_global_handler, p,
                                 true, &card, &err) != WEIR_OK) {
            weir_service_fail(&g->service, &err);
            return;
        }
    }
}

static void on_wait(void *arg) {
    struct global *g = arg;
    uint64_t now = weir_loop_now_ms(g->service.loop);
    if (g->registered || weir_service_leaving(&g->service))
        return;
    if (all_connected(g)) {
        enter(g);
    } else if (now >= g->give_up_ms) {
        log_missing(g, "registering without it");
        enter(g);
    } else {
        log_missing(g, "waiting for it");
        uint64_t left = g->give_up_ms - now;
        if (weir_timer_start(&g->wait, left < MISSING_LOG_MS ? left : MISSING_LOG_MS) != WEIR_OK)
            enter(g);
    }
}

/* "namespace/component/endpoint/id", the id in hexadecimal. */
static bool parse_key(struct weir_span key, struct weir_endpoint_id *ret, uint64_t *ret_id) {
    ret->ns = weir_span_split(key, '/', &key);
    ret->component = weir_span_split(key, '/', &key);
    ret->name = weir_span_split(key, '/', &key);
    return key.data != NULL && weir_span_hex64(key, ret_id);
}

static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    struct global *g = arg;
    struct weir_endpoint_id endpoint;
    uint64_t id = 0;
    bool ours = false;
    char room[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_span at = {NULL, 0};
    if (kind != WEIR_RECORD_ENDPOINT || !parse_key(key, &endpoint, &id))
        return;
    if (change == WEIR_DISCOVERY_PUT)
        at = weir_plane_address(record, g->service.nats != NULL, room);
    for (unsigned i = 0; i < g->n_phases; i++) {
        struct weir_span old = weir_pools_address(g->phases[i].pools, &endpoint, id);
        if (change == WEIR_DISCOVERY_DELETE && old.data != NULL)
            weir_plane_client_worker_left(g->service.client, old, ROUTER_LEFT_MS);
        ours |= weir_pools_update(g->phases[i].pools, &endpoint, id, at);
    }
    if (!ours)
        return;
    WEIR_LOG(WEIR_LOG_INFO, "global", "router %.*s %s", WEIR_SPAN_ARG(key),
             change == WEIR_DISCOVERY_PUT ? "is there" : "has left");
    /* From a timer: discovery must not be called from here. */
    if (!g->registered && all_connected(g) && weir_timer_start(&g->wait, 0) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "global", "out of memory");
}

/* ---- opening ------------------------------------------------------------------------------ */

static const struct weir_metric_desc pool_requests = {
    .name = "weir_global_router_pool_requests_total",
    .type = WEIR_COUNTER,
    .help = "Attempts sent to a pool, retries included.",
    .labels = {"type", "pool", "pool_namespace"}};
static const struct weir_metric_desc pool_failures = {
    .name = "weir_global_router_pool_failures_total",
    .type = WEIR_COUNTER,
    .help = "Attempts that a pool did not answer well.",
    .labels = {"type", "pool", "pool_namespace"}};
static const struct weir_metric_desc pool_routers = {.name = "weir_global_router_pool_routers",
                                                     .type = WEIR_GAUGE,
                                                     .help =
                                                         "Routers of a pool that discovery shows.",
                                                     .labels = {"type", "pool", "pool_namespace"}};
static const struct weir_metric_desc retries = {
    .name = "weir_global_router_retries_total",
    .type = WEIR_COUNTER,
    .help = "Requests that went on to a pool of another priority.",
    .labels = {"type"}};

static enum weir_status open_metrics(struct weir_global_phase *p) {
    struct weir_metrics *m = p->service->metrics;
    const struct weir_pool_set *set = weir_pools_set(p->pools);
    p->metrics = weir_calloc(set->n, sizeof(*p->metrics));
    if (p->metrics == NULL)
        return WEIR_NOMEM;
    p->retries = weir_metric_get(weir_metrics_family(m, &retries, 0), &p->name);
    for (size_t k = 0; k < set->n; k++) {
        char index[24];
        const char *labels[] = {p->name, index, set->namespaces[k]};
        snprintf(index, sizeof(index), "%zu", k);
        p->metrics[k] = (struct weir_global_pool_metrics){
            weir_metric_get(weir_metrics_family(m, &pool_requests, 2 * WEIR_POOL_MAX), labels),
            weir_metric_get(weir_metrics_family(m, &pool_failures, 2 * WEIR_POOL_MAX), labels),
            weir_metric_get(weir_metrics_family(m, &pool_routers, 2 * WEIR_POOL_MAX), labels)};
    }
    return WEIR_OK;
}

static void on_scrape(void *arg) {
    struct global *g = arg;
    for (unsigned i = 0; i < g->n_phases; i++)
        for (uint32_t k = 0; k < weir_pools_set(g->phases[i].pools)->n; k++)
            weir_metric_set(g->phases[i].metrics[k].instances,
                            weir_pools_instances(g->phases[i].pools, k));
}

static bool is_ready(void *arg) {
    return all_connected(arg);
}

static enum weir_status add_phase(struct global *g, const struct weir_pool_set *set,
                                  const char *endpoint, enum weir_worker_type type,
                                  struct weir_err *err) {
    struct weir_global_phase *p = &g->phases[g->n_phases];
    *p = (struct weir_global_phase){
        .name = set->name,
        .endpoint = endpoint,
        .type = type,
        .service = &g->service,
        .targets = {g->options.default_ttft_target_ms, g->options.default_itl_target_ms},
        .retry = g->config.enable_priority_retry};
    enum weir_status st = weir_pools_create(set, &p->pools);
    if (st == WEIR_OK) {
        g->n_phases++;
        st = open_metrics(p);
    }
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

static void on_warning(void *arg, const char *text) {
    (void)arg;
    WEIR_LOG(WEIR_LOG_WARN, "global", "pool file: %s", text);
}

static enum weir_status open_all(struct global *g, struct weir_err *err) {
    struct weir_service_config sc = WEIR_SERVICE_CONFIG(&g->options);
    sc.name = "global";
    sc.is_ready = is_ready;
    sc.on_scrape = on_scrape;
    sc.arg = g;
    enum weir_status st =
        weir_pool_config_load(g->options.config, &g->arena, on_warning, NULL, &g->config, err);
    if (st == WEIR_OK)
        st = fill_card(g, err);
    if (st == WEIR_OK)
        st = weir_service_open(&g->service, &sc, err);
    if (st != WEIR_OK)
        return st;
    weir_timer_init(&g->wait, g->service.loop, on_wait, g);
    if (g->config.mode == WEIR_POOL_AGG) {
        st = add_phase(g, &g->config.agg, "generate", WEIR_WORKER_AGGREGATED, err);
    } else {
        st = add_phase(g, &g->config.prefill, "prefill_generate", WEIR_WORKER_PREFILL, err);
        if (st == WEIR_OK)
            st = add_phase(g, &g->config.decode, "decode_generate", WEIR_WORKER_DECODE, err);
    }
    if (st != WEIR_OK)
        return st;
    st = weir_discovery_watch(g->service.disc, on_change, g);
    g->give_up_ms =
        weir_loop_now_ms(g->service.loop) + (uint64_t)(g->options.pool_wait_secs * 1000);
    if (st == WEIR_OK)
        st = weir_timer_start(&g->wait, MISSING_LOG_MS < g->options.pool_wait_secs * 1000
                                            ? MISSING_LOG_MS
                                            : (uint64_t)(g->options.pool_wait_secs * 1000));
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
}

static int serve(struct global *g) {
    struct weir_err err;
    int exit_code = 1;
    enum weir_status st = weir_config_begin(&weir_global_router_program, &g->options, &err);
    if (st == WEIR_OK)
        st = open_all(g, &err);
    if (st == WEIR_OK)
        exit_code = weir_service_run(&g->service);
    else
        WEIR_LOG(WEIR_LOG_ERROR, "global", "%s", err.text);
    if (g->service.loop != NULL)
        weir_timer_stop(&g->wait);
    weir_service_close(&g->service);
    for (unsigned i = 0; i < g->n_phases; i++) {
        weir_pools_destroy(g->phases[i].pools);
        weir_free(g->phases[i].metrics);
    }
    return exit_code;
}

int weir_global_router_main(int argc, char **argv) {
    struct global g = {0};
    weir_arena_init(&g.arena, (size_t)64 << 20); /* a pool file of 16 MiB and what it describes */
    enum weir_config_outcome outcome =
        weir_config_load(&weir_global_router_program, argc, argv, NULL, &g.arena, &g.options);
    int exit_code = outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    if (outcome == WEIR_CONFIG_RUN)
        exit_code = g.options.check != NULL        ? weir_global_check(g.options.check)
                    : g.options.build_grid != NULL ? weir_global_build_grid(g.options.build_grid)
                                                   : serve(&g);
    weir_arena_fini(&g.arena);
    return exit_code;
}
