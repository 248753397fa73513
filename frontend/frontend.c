/*
 * `weir frontend`. Threads: the control loop on the main thread (discovery, events, signals,
 * housekeeping) and one serving loop a core (HTTP, request plane). Happy path: options → models and
 * metrics → serving loops on one shared port → discovery → serve until SIGTERM or SIGINT → new
 * inference is refused, what runs finishes → exit 0. A second signal ends at once.
 */
#include "frontend/frontend.h"

#include "base/log.h"
#include "base/mem.h"
#include "frontend/advice.h"
#include "frontend/app_priv.h"
#include "frontend/engine_set.h"
#include "frontend/feed.h"
#include "frontend/front_tls.h"
#include "net/zmq.h"
#include "runtime/nats_metrics.h"
#include "runtime/options_nats.h"
#include "runtime/options_service.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_INDEXES = 256, /* models, and prefill pools, that get idle work: it is never needed */
    TICK_MS = 1000,    /* housekeeping: expired bookings, idle work of indexes, gauges */
    DRAIN_POLL_MS = 20,
    MAX_LOOPS = 1024,
    LAG_MS = 100, /* how often a serving loop is asked how late it is */
};

struct frontend {
    struct weir_app app;
    struct weir_arena arena;       /* of the options */
    struct weir_loop *control;     /* owned; runs on the main thread */
    struct weir_front_loop *loops; /* owned, n_loops */
    unsigned n_loops, n_started;   /* made; of these, with a running thread */
    struct weir_discovery *disc;
    struct weir_feed *feed;
    struct weir_engine_set *engines; /* NULL: none are listed */
    struct weir_nats *nats;          /* NULL: neither plane runs over it */
    struct weir_nats_metrics *nats_metrics;
    struct weir_plane_client *recovery; /* asks workers for their caches; NULL: not in kv mode */
    struct weir_front_tls tls;
    struct weir_timer tick, drain;
    uint64_t drain_deadline_ms;
    int exit_code;
};

/* ---- workers that leave ------------------------------------------------------------------------
 */

struct left {
    struct weir_front_loop *fl;
    uint64_t silent_ms;
    char address[];
};

static void tell_loop(void *arg) {
    struct left *l = arg;
    if (weir_relay_is_http(weir_span_z(l->address)))
        weir_relay_pool_left(l->fl->pools, weir_span_z(l->address), l->silent_ms);
    else
        weir_plane_client_worker_left(l->fl->plane, weir_span_z(l->address), l->silent_ms);
    weir_free(l);
}

static void on_worker_left(void *arg, const char *address) {
    struct frontend *f = arg;
    size_t bytes = strlen(address) + 1;
    for (unsigned i = 0; i < f->n_loops; i++) {
        struct left *l = weir_malloc(sizeof(*l) + bytes);
        if (l == NULL)
            return; /* the worker's connections still tell of its end */
        l->fl = &f->loops[i];
        l->silent_ms = (uint64_t)(f->app.options.weir_worker_left_timeout_secs * 1000);
        memcpy(l->address, address, bytes);
        if (weir_loop_post(f->loops[i].loop, tell_loop, l) != WEIR_OK)
            weir_free(l);
    }
}

/* ---- recovery ------------------------------------------------------------------------------- */

static uint64_t ms_of(double seconds) {
    return isnan(seconds) ? 0 : (uint64_t)(seconds * 1000);
}

/* The caches of workers come in one answer each, far larger than any answer of an engine. */
static enum weir_status open_recovery(struct frontend *f, struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    struct weir_plane_client_config pc = {.response_ip = o->tcp_response_stream_host,
                                          .response_advertise =
                                              o->tcp_response_stream_advertise_host,
                                          .server_tls = f->tls.plane_server,
                                          .client_tls = f->tls.plane_client,
                                          .pool_conns = 1,
                                          .in_flight = 64,
                                          .connect_ms = ms_of(o->tcp_connect_timeout),
                                          .ack_ms = ms_of(o->tcp_request_timeout),
                                          .max_message = (size_t)512 << 20,
                                          .nats = f->nats,
                                          .nats_ack_ms = WEIR_NATS_ACK_MS(o)};
    if (o->router_mode != WEIR_OPT_ROUTER_MODE_KV || !o->router_kv_events)
        return WEIR_OK;
    return weir_plane_client_create(f->control, &pc, &f->recovery, err);
}

/* ---- serving loops --------------------------------------------------------------------------- */

static enum weir_status open_plane(struct frontend *f, struct weir_front_loop *fl,
                                   struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    struct weir_plane_client_config pc = {.response_ip = o->tcp_response_stream_host,
                                          .response_advertise =
                                              o->tcp_response_stream_advertise_host,
                                          .response_port = (uint16_t)o->tcp_response_stream_port,
                                          .server_tls = f->tls.plane_server,
                                          .client_tls = f->tls.plane_client,
                                          .pool_conns = (unsigned)o->tcp_pool_size,
                                          .in_flight = (unsigned)o->tcp_channel_buffer,
                                          .max_calls = (unsigned)o->weir_http_max_requests,
                                          .connect_ms = ms_of(o->tcp_connect_timeout),
                                          .ack_ms = ms_of(o->tcp_request_timeout),
                                          .prologue_ms = ms_of(o->weir_worker_begin_timeout_secs),
                                          .host_idle_ms = ms_of(o->tcp_host_idle_ttl_secs),
                                          .max_message = (size_t)o->tcp_max_message_size,
                                          .nats = f->nats,
                                          .nats_ack_ms = WEIR_NATS_ACK_MS(o),
                                          .traffic = &fl->traffic};
    return weir_plane_client_create(fl->loop, &pc, &fl->plane, err);
}

static void scrape_planes(void *arg) {
    struct frontend *f = arg;
    struct weir_plane_stats sums = {.bytes_sent = 0};
    for (unsigned i = 0; i < f->n_loops; i++)
        weir_plane_traffic_add(&f->loops[i].traffic, &sums);
    weir_front_set_plane(f->app.metrics, &sums);
}

static void watch_lag(struct weir_front_loop *fl) {
    fl->lag_due_ns = weir_now_ns() + LAG_MS * UINT64_C(1000000);
    if (weir_timer_start(&fl->lag, LAG_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "frontend", "out of memory: a loop's delay is not measured");
}

static void on_lag(void *arg) {
    struct weir_front_loop *fl = arg;
    uint64_t now = weir_now_ns();
    weir_front_observe_loop_delay(fl->app->metrics,
                                  now > fl->lag_due_ns ? (double)(now - fl->lag_due_ns) / 1e9 : 0);
    watch_lag(fl);
}

static enum weir_status open_http(struct frontend *f, struct weir_front_loop *fl, uint16_t port,
                                  struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    struct weir_http_server_config hc = {
        .listen = {.ip = o->http_host,
                   .port = port,
                   .reuse_port = true,
                   .max_conns = (unsigned)o->weir_http_max_connections,
                   .tls = f->tls.http},
        .limits = {.header_bytes = (size_t)o->weir_http_header_bytes,
                   .header_count = (unsigned)o->weir_http_header_count,
                   .target_bytes = (size_t)o->weir_http_target_bytes,
                   .header_ms = (uint64_t)o->weir_http_header_timeout_ms,
                   .body_ms = (uint64_t)o->weir_http_body_timeout_ms,
                   .body_total_ms = (uint64_t)o->weir_http_body_total_timeout_ms,
                   .idle_ms = (uint64_t)o->weir_http_idle_timeout_ms,
                   .write_stall_ms = (uint64_t)o->weir_http_write_stall_timeout_ms,
                   .write_max = (size_t)o->weir_http_write_queue_bytes},
        .handler = &weir_front_handler,
        .on_error = weir_front_protocol_error,
        .http2 = o->weir_http2,
        .arg = fl};
    return weir_http_server_create(fl->loop, &hc, &fl->server, err);
}

static void close_at_once(void *arg, struct weir_stream *s) {
    (void)arg;
    weir_stream_close(s, WEIR_OK, "probe");
}

/* SO_REUSEPORT lets two frontends share a port unnoticed: a plain bind first tells. */
static enum weir_status probe_port(struct frontend *f, struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    struct weir_listen_config lc = {.ip = o->http_host, .port = (uint16_t)o->http_port};
    struct weir_listener *probe = NULL;
    if (o->http_port == 0)
        return WEIR_OK;
    enum weir_status st = weir_listen(f->control, &lc, close_at_once, f, &probe, err);
    weir_listener_close(probe);
    if (st == WEIR_EXISTS)
        return weir_err_set(err, st,
                            "Failed to start HTTP server: port %" PRId64
                            " already in use. Use --http-port to choose another one",
                            o->http_port);
    return st;
}

static enum weir_status open_nats(struct frontend *f, struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    const struct weir_nats_config nc = WEIR_NATS_CONFIG(o, "weir frontend");
    enum weir_status st =
        WEIR_NATS_WANTED_DURABLE(o) ? weir_nats_open(&nc, &f->nats, err) : WEIR_OK;
    return st == WEIR_OK ? weir_nats_metrics_open(weir_front_metrics_registry(f->app.metrics),
                                                  f->nats, &f->nats_metrics, err)
                         : st;
}

static enum weir_status open_loops(struct frontend *f, struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = o->loops > 0 ? (unsigned)o->loops : cores > 0 ? (unsigned)cores : 1;
    if (n > MAX_LOOPS)
        n = MAX_LOOPS;
    uint16_t port = (uint16_t)o->http_port;
    enum weir_status st = probe_port(f, err);
    f->loops = weir_calloc(n, sizeof(*f->loops));
    if (st == WEIR_OK && f->loops == NULL)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (unsigned i = 0; i < n && st == WEIR_OK; i++) {
        struct weir_front_loop *fl = &f->loops[i];
        fl->app = &f->app;
        st = weir_loop_create(i + 1, &fl->loop);
        if (st != WEIR_OK)
            return weir_err_set(err, st, "cannot create an event loop");
        weir_loop_set_dead_peer_ms(fl->loop, ms_of(o->weir_dead_peer_timeout_secs));
        weir_timer_init(&fl->lag, fl->loop, on_lag, fl);
        weir_list_init(&fl->warm);
        f->n_loops++;
        st = open_plane(f, fl, err);
        if (st == WEIR_OK && (st = weir_relay_pools_create(
                                  fl->loop, f->tls.engine, ms_of(o->tcp_connect_timeout),
                                  (unsigned)o->weir_http_max_requests, &fl->pools)) != WEIR_OK)
            weir_err_set(err, st, "out of memory");
        if (st == WEIR_OK)
            st = open_http(f, fl, port, err);
        if (st == WEIR_OK)
            port = weir_http_server_port(fl->server);
    }
    if (st == WEIR_OK)
        st = weir_metrics_on_scrape(weir_front_metrics_registry(f->app.metrics), scrape_planes, f);
    return st;
}

static enum weir_status start_loops(struct frontend *f, struct weir_err *err) {
    for (; f->n_started < f->n_loops; f->n_started++) {
        char name[16];
        snprintf(name, sizeof(name), "weir-loop-%u", f->n_started % 1000);
        watch_lag(&f->loops[f->n_started]);
        enum weir_status st = weir_loop_thread_start(f->loops[f->n_started].loop, name);
        if (st != WEIR_OK)
            return weir_err_set(err, st, "cannot start a thread for a loop");
    }
    return WEIR_OK;
}

static void on_refused(void *arg, const struct weir_err *err) {
    struct frontend *f = arg;
    WEIR_LOG(WEIR_LOG_ERROR, "frontend", "%s", err->text);
    f->exit_code = 1;
    weir_loop_stop(f->control);
}

/* Cache events that wait for the end of the turn go on while the worker that leaves is known. */
static void before_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                          struct weir_span key, const struct weir_record *record) {
    struct frontend *f = arg;
    (void)kind;
    (void)key;
    (void)record;
    if (change == WEIR_DISCOVERY_DELETE && f->feed != NULL)
        weir_feed_flush(f->feed);
}

static enum weir_status open_discovery(struct frontend *f, struct weir_err *err) {
    static const enum weir_discovery_backend backends[] = {
        [WEIR_OPT_DISCOVERY_KUBERNETES] = WEIR_DISCOVERY_KUBE,
        [WEIR_OPT_DISCOVERY_ETCD] = WEIR_DISCOVERY_ETCD,
        [WEIR_OPT_DISCOVERY_FILE] = WEIR_DISCOVERY_FILE,
        [WEIR_OPT_DISCOVERY_MEM] = WEIR_DISCOVERY_MEM,
        [WEIR_OPT_DISCOVERY_STATIC] = WEIR_DISCOVERY_STATIC};
    const struct weir_frontend_options *o = &f->app.options;
    const struct weir_option *row = weir_config_find(&weir_frontend_program, "--discovery-backend");
    /* With a list of engines nothing else is looked for, unless it is asked for. */
    bool only_engines =
        f->app.engine_mode &&
        weir_config_source_of(&weir_frontend_program, o, row) == WEIR_CONFIG_FROM_DEFAULT;
    struct weir_discovery_config dc = {.backend = only_engines ? WEIR_DISCOVERY_MEM
                                                               : backends[o->discovery_backend],
                                       .file_root = o->file_kv,
                                       .static_path = o->static_workers_file,
                                       .static_workers = o->static_worker.items,
                                       .n_static_workers = o->static_worker.n,
                                       .etcd = WEIR_ETCD_OPTIONS(o),
                                       .kube = WEIR_KUBE_OPTIONS(o),
                                       .on_refused = on_refused,
                                       .refused_arg = f,
                                       .metrics = weir_front_metrics_registry(f->app.metrics)};
    enum weir_status st = weir_discovery_open(f->control, &dc, &f->disc, err);
    if (st != WEIR_OK)
        return st;
    st = weir_discovery_watch(f->disc, before_change, f); /* first, so that it is told first */
    if (st == WEIR_OK)
        st = weir_discovery_watch(f->disc, weir_models_on_change, f->app.models);
    if (st == WEIR_OK)
        st = weir_discovery_watch(f->disc, weir_prefill_on_change, f->app.prefill);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot watch discovery: %s", weir_status_text(st));
    st = open_recovery(f, err);
    const struct weir_feed_durable durable = {
        .snapshot_threshold = (uint64_t)o->router_snapshot_threshold,
        .snapshot_max_bytes = (uint64_t)o->router_snapshot_max_mib << 20,
        .max_age_s = (uint64_t)o->nats_stream_max_age,
        .reset_states = o->router_reset_states};
    if (st == WEIR_OK)
        st =
            weir_feed_open(f->control, f->disc, f->nats, f->app.models, f->app.prefill, f->recovery,
                           o->router_durable_kv_events ? &durable : NULL, &f->feed, err);
    if (st == WEIR_OK && f->app.sync != NULL)
        st = weir_replica_sync_start(f->app.sync, f->disc, f->nats,
                                     o->event_plane == WEIR_OPT_EVENT_NATS, o->event_plane_host,
                                     err);
    return st;
}

static enum weir_status open_engines(struct frontend *f, struct weir_err *err) {
    const struct weir_frontend_options *o = &f->app.options;
    struct weir_engine_set_config ec = {
        .engines = {.workers = o->worker.items,
                    .n_workers = o->worker.n,
                    .path = o->workers_file,
                    .tls = f->tls.engine,
                    .api_key = o->weir_engine_api_key,
                    .poll_ms = (uint64_t)(o->weir_engine_poll_secs * 1000),
                    .answer_ms = ms_of(o->weir_engine_answer_timeout_secs)},
        .models = f->app.models,
        .prefill = f->app.prefill,
        .metrics = weir_front_metrics_registry(f->app.metrics),
        .kv_events = o->router_mode == WEIR_OPT_ROUTER_MODE_KV && o->router_kv_events,
        .parity = o->parity_check != WEIR_OPT_PARITY_CHECK_OFF,
        .default_block_size =
            o->kv_cache_block_size != WEIR_CONFIG_NONE ? (uint32_t)o->kv_cache_block_size : 16};
    return f->app.engine_mode ? weir_engine_set_open(f->control, &ec, &f->engines, err) : WEIR_OK;
}

/* ---- housekeeping ------------------------------------------------------------------------------
 */

static void refresh_model(void *arg, struct weir_model *model, bool ready) {
    (void)ready;
    struct frontend *f = arg;
    struct weir_router *router = weir_model_info(model)->router;
    uint64_t now = weir_loop_now_ms(f->control);
    unsigned expired = weir_router_expire(router, now);
    if (expired > 0)
        WEIR_LOG(WEIR_LOG_WARN, "router",
                 "model %s: %u load bookings were older than "
                 "DYN_ROUTER_ACTIVE_REQUEST_EXPIRY_SECS and were dropped",
                 weir_model_info(model)->name, expired);
    weir_rooms_pump(weir_model_info(model)->rooms); /* room that came with time tells nobody */
}

static void refresh_prefill(void *arg, const char *model, struct weir_router *router,
                            struct weir_rooms *rooms) {
    struct frontend *f = arg;
    weir_rooms_pump(rooms);
    unsigned expired = weir_router_expire(router, weir_loop_now_ms(f->control));
    if (expired > 0)
        WEIR_LOG(WEIR_LOG_WARN, "router", "model %s: %u stale prefill bookings were dropped", model,
                 expired);
}

/* Clearing memory for an index takes milliseconds, too long for the locks of the registries: models
 * are held by references, and a prefill pool lives as long as its registry. */
struct indexes {
    struct weir_model *models[MAX_INDEXES];
    struct weir_router *pools[MAX_INDEXES];
    size_t n_models, n_pools;
};

static void hold_model(void *arg, struct weir_model *model, bool ready) {
    struct indexes *x = arg;
    (void)ready;
    if (x->n_models < MAX_INDEXES)
        x->models[x->n_models++] = weir_model_ref(model);
}

static void hold_pool(void *arg, const char *model, struct weir_router *router,
                      struct weir_rooms *rooms) {
    struct indexes *x = arg;
    (void)model;
    (void)rooms;
    if (x->n_pools < MAX_INDEXES)
        x->pools[x->n_pools++] = router;
}

static void maintain_indexes(struct frontend *f) {
    struct indexes x = {.n_models = 0};
    weir_models_each_router(f->app.models, hold_model, &x);
    weir_prefill_each(f->app.prefill, true, hold_pool, &x);
    for (size_t i = 0; i < x.n_models; i++) {
        weir_router_maintain(weir_model_info(x.models[i])->router);
        weir_model_unref(x.models[i]);
    }
    for (size_t i = 0; i < x.n_pools; i++)
        weir_router_maintain(x.pools[i]);
}

static void on_tick(void *arg) {
    struct frontend *f = arg;
    weir_models_each_router(f->app.models, refresh_model, f);
    weir_prefill_each(f->app.prefill, true, refresh_prefill, f);
    maintain_indexes(f);
    if (f->feed != NULL)
        weir_feed_show(f->feed, weir_front_metrics_registry(f->app.metrics));
    weir_replica_sync_show(f->app.sync, weir_front_metrics_registry(f->app.metrics));
    weir_engine_set_tick(f->engines);
    if (weir_timer_start(&f->tick, TICK_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "frontend", "out of memory: housekeeping has stopped");
}

/* ---- leaving ----------------------------------------------------------------------------------
 */

static void on_drain(void *arg) {
    struct frontend *f = arg;
    unsigned running = atomic_load_explicit(&f->app.n_running, memory_order_relaxed);
    if (running > 0 && weir_loop_now_ms(f->control) < f->drain_deadline_ms &&
        weir_timer_start(&f->drain, DRAIN_POLL_MS) == WEIR_OK)
        return;
    if (running > 0)
        WEIR_LOG(WEIR_LOG_WARN, "frontend",
                 "%u requests still run after DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS: cut",
                 running);
    weir_loop_stop(f->control);
}

static void on_signal(void *arg, int signum) {
    struct frontend *f = arg;
    if (signum == SIGHUP) {
        weir_tls_watch_read(&f->tls.watch);
        return;
    }
    if (weir_front_draining(&f->app)) {
        weir_loop_stop(f->control);
        return;
    }
    atomic_store_explicit(&f->app.stage, WEIR_STAGE_DRAINING, memory_order_relaxed);
    WEIR_LOG(WEIR_LOG_INFO, "frontend", "signal %d: no new requests; %u are running", signum,
             atomic_load_explicit(&f->app.n_running, memory_order_relaxed));
    f->drain_deadline_ms =
        weir_loop_now_ms(f->control) + ms_of(f->app.options.runtime_graceful_shutdown_timeout_secs);
    on_drain(f);
}

static void close_loop(void *arg) {
    struct weir_front_loop *fl = arg;
    weir_timer_stop(&fl->lag);
    weir_http_server_destroy(fl->server);
    weir_warm_stop(fl);
    weir_plane_client_destroy(fl->plane);
    weir_relay_pools_destroy(fl->pools);
    weir_loop_stop(fl->loop);
}

static void close_all(struct frontend *f) {
    /* Discovery may run the loop once more, to leave in order. */
    weir_timer_stop(&f->tick);
    weir_timer_stop(&f->drain);
    weir_front_tls_stop(&f->tls);
    for (unsigned i = 0; i < f->n_loops; i++) {
        struct weir_front_loop *fl = &f->loops[i];
        if (i >= f->n_started) {
            close_loop(fl);
        } else if (weir_loop_post_wait(fl->loop, close_loop, fl, NULL) == WEIR_OK) {
            weir_loop_thread_join(fl->loop);
        }
        weir_loop_destroy(fl->loop);
        weir_request_free_spares(fl);
    }
    weir_free(f->loops);
    weir_engine_set_close(f->engines);
    weir_replica_sync_stop(f->app.sync);
    weir_discovery_close(f->disc);
    weir_replica_sync_destroy(f->app.sync);
    weir_feed_close(f->feed);
    weir_plane_client_destroy(f->recovery);
    weir_models_end_loads(f->app.models);
    weir_loop_destroy(f->control);
    weir_nats_metrics_close(f->nats_metrics);
    weir_nats_close(f->nats);
    weir_app_close(&f->app);
    weir_front_tls_close(&f->tls);
    weir_zmq_shutdown();
    weir_arena_fini(&f->arena);
}

/* ---- start ------------------------------------------------------------------------------------
 */

static enum weir_status open_all(struct frontend *f, struct weir_err *err) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    enum weir_status st = weir_loop_create(0, &f->control);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot create the control loop");
    weir_loop_set_dead_peer_ms(f->control, ms_of(f->app.options.weir_dead_peer_timeout_secs));
    weir_timer_init(&f->tick, f->control, on_tick, f);
    weir_timer_init(&f->drain, f->control, on_drain, f);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(signals) && st == WEIR_OK; i++)
        st = weir_loop_on_signal(f->control, signals[i], on_signal, f);
    if (st == WEIR_OK)
        st = weir_timer_start(&f->tick, TICK_MS);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    struct weir_app_hooks hooks = {.on_worker_left = on_worker_left, .arg = f, .loop = f->control};
    st = weir_app_open(&f->app, &hooks, err);
    if (st == WEIR_OK)
        st = weir_front_tls_open(&f->tls, f->control, &f->app.options, f->app.engine_mode, err);
    if (st == WEIR_OK)
        st = open_nats(f, err);
    if (st == WEIR_OK)
        st = open_loops(f, err);
    if (st == WEIR_OK)
        st = open_discovery(f, err);
    if (st == WEIR_OK)
        st = open_engines(f, err);
    return st == WEIR_OK ? start_loops(f, err) : st;
}

int weir_frontend_main(int argc, char **argv) {
    weir_mem_keep();
    struct frontend *f = weir_calloc(1, sizeof(*f));
    struct weir_err err;
    if (f == NULL)
        return 1;
    weir_arena_init(&f->arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_frontend_program, argc, argv, NULL, &f->arena, &f->app.options);
    if (outcome != WEIR_CONFIG_RUN) {
        weir_arena_fini(&f->arena);
        weir_free(f);
        return outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    }
    signal(SIGPIPE, SIG_IGN);
    enum weir_status st = weir_config_begin(&weir_frontend_program, &f->app.options, &err);
    if (st == WEIR_OK) {
        weir_front_advise(&f->app.options);
        st = open_all(f, &err);
    }
    if (st == WEIR_OK) {
        WEIR_LOG(WEIR_LOG_INFO, "frontend", "serving %s on %s port %u with %u loops",
                 f->tls.http != NULL ? "HTTPS" : "HTTP", f->app.options.http_host,
                 weir_http_server_port(f->loops[0].server), f->n_loops);
        weir_loop_run(f->control);
    } else {
        WEIR_LOG(WEIR_LOG_ERROR, "frontend", "%s", err.text);
        f->exit_code = 1;
    }
    int exit_code = f->exit_code;
    close_all(f);
    weir_free(f);
    return exit_code;
}
