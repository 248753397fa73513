/*
 * `weir router`. Happy path: options → loop, planes, discovery → workers of the endpoint show
 * themselves and join the router, their cache events and load figures are followed → generate,
 * best_worker_id and get_overlap_scores are served until SIGTERM or SIGINT → drain → exit 0.
 * Requests before the first worker are refused as unavailable.
 */
#include "router/local_router.h"

#include "base/log.h"
#include "base/mem.h"
#include "router/local_priv.h"
#include "router/options.h"
#include "wire/record.h"

enum { TICK_MS = 1000, WORKER_LEFT_MS = 30000, DUMP_MAX = 512 << 20 };

#define WORKER(n) WEIR_CONTAINER_OF(n, struct weir_local_worker, node)

/* ---- the router --------------------------------------------------------------------------- */

static bool have_router(struct weir_local *l, uint32_t block_size) {
    const struct weir_local_router_options *o = &l->options;
    struct weir_router_config config;
    if (l->router != NULL)
        return true;
    weir_router_config_init(&config);
    config.mode = WEIR_ROUTE_KV;
    WEIR_ROUTER_CONFIG_TAKE(o, &config);
    WEIR_ROUTER_CONFIG_TAKE_TIMES(o, &config);
    config.block_size = block_size;
    enum weir_status st = weir_router_create(&config, &l->router);
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_ERROR, "router", "cannot create the router: %s", weir_status_text(st));
        return false;
    }
    l->block_size = block_size;
    struct weir_busy_thresholds t = WEIR_ROUTER_THRESHOLDS(o);
    weir_router_set_thresholds(l->router, &t);
    if (l->sync != NULL)
        weir_replica_sync_attach(l->sync, l->router);
    weir_local_adapters_tell(l);
    WEIR_LOG(WEIR_LOG_INFO, "router", "blocks have %u tokens", block_size);
    return true;
}

/* ---- workers ------------------------------------------------------------------------------ */

static struct weir_local_worker *find(struct weir_local *l, uint64_t id) {
    WEIR_LIST_FOREACH(it, &l->workers) {
        if (WORKER(it)->records.id == id)
            return WORKER(it);
    }
    return NULL;
}

struct weir_local_worker *weir_local_find(struct weir_local *l, uint64_t worker_id) {
    struct weir_local_worker *w = find(l, worker_id);
    return w != NULL && w->records.router != NULL ? w : NULL;
}

static struct weir_local_worker *find_or_add(struct weir_local *l, uint64_t id) {
    struct weir_local_worker *w = find(l, id);
    if (w != NULL)
        return w;
    w = weir_calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    weir_list_init(&w->node);
    weir_worker_records_init(&w->records, id);
    weir_list_push_back(&l->workers, &w->node);
    return w;
}

static void free_worker(struct weir_local_worker *w) {
    weir_list_remove(&w->node);
    weir_worker_records_fini(&w->records);
    weir_free(w);
}

/* A worker without a card can join only when its block size is known from elsewhere. */
static void join(struct weir_local *l, struct weir_local_worker *w) {
    bool fresh = w->records.router == NULL;
    if (w->records.address == NULL || l->router == NULL || w->left_out ||
        (!w->records.has_card && l->options.router_block_size == WEIR_CONFIG_NONE))
        return;
    if (weir_worker_records_join(&w->records, l->router) && fresh)
        WEIR_LOG(WEIR_LOG_INFO, "router", "worker %s joins; there are %u",
                 weir_worker_text(w->records.id).s, weir_router_workers(l->router));
}

static void part(struct weir_local *l, struct weir_local_worker *w) {
    if (weir_worker_records_part(&w->records))
        WEIR_LOG(WEIR_LOG_INFO, "router", "worker %s leaves; there are %u",
                 weir_worker_text(w->records.id).s, weir_router_workers(l->router));
}

static void on_instance(struct weir_local *l, const struct weir_record *r) {
    char room[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_span at = weir_plane_address(r, l->service.nats != NULL, room);
    struct weir_local_worker *w = at.data != NULL ? find_or_add(l, r->instance_id) : NULL;
    if (w == NULL || !weir_worker_records_instance(&w->records, r, at))
        return;
    if (l->options.router_block_size != WEIR_CONFIG_NONE)
        have_router(l, (uint32_t)l->options.router_block_size);
    join(l, w);
}

static void on_card(struct weir_local *l, const struct weir_record *r) {
    const struct weir_card *c = &r->card;
    uint32_t size = l->options.router_block_size != WEIR_CONFIG_NONE
                        ? (uint32_t)l->options.router_block_size
                        : c->kv_cache_block_size;
    if (size == 0 || !have_router(l, size))
        return;
    struct weir_local_worker *w = find_or_add(l, r->instance_id);
    if (w == NULL)
        return;
    bool first = !w->records.has_card || w->left_out;
    weir_worker_records_card(&w->records, c);
    w->left_out = c->kv_cache_block_size != l->block_size;
    if (w->left_out) { /* and kept: where it is is not said again when its card changes */
        WEIR_LOG(WEIR_LOG_WARN, "router",
                 "worker %s has blocks of %u tokens, this router %u: it is left out "
                 "(--router-block-size)",
                 weir_worker_text(w->records.id).s, c->kv_cache_block_size, l->block_size);
        part(l, w);
        return;
    }
    if (first)
        l->eagle = c->enable_eagle;
    join(l, w);
}

static void on_gone(struct weir_local *l, enum weir_record_kind kind, uint64_t id) {
    struct weir_local_worker *w = find(l, id);
    if (w == NULL)
        return;
    weir_kv_batch_flush(&l->batch); /* what waits for the end of the turn may be its */
    part(l, w);
    if (kind == WEIR_RECORD_MODEL)
        w->left_out = false;
    if (kind == WEIR_RECORD_ENDPOINT && w->records.address != NULL)
        weir_plane_client_worker_left(l->service.client, weir_span_z(w->records.address),
                                      WORKER_LEFT_MS);
    if (weir_worker_records_gone(&w->records, kind))
        free_worker(w);
}

/* "namespace/component/endpoint/id[/slug]", the id in hexadecimal, the slug of an adapter. False:
 * of another endpoint. */
static bool ours(const struct weir_local *l, struct weir_span key, uint64_t *ret_id,
                 struct weir_span *ret_slug) {
    struct weir_span ns = weir_span_split(key, '/', &key);
    struct weir_span component = weir_span_split(key, '/', &key);
    struct weir_span name = weir_span_split(key, '/', &key);
    return key.data != NULL && weir_span_eq(ns, l->endpoint.ns) &&
           weir_span_eq(component, l->endpoint.component) && weir_span_eq(name, l->endpoint.name) &&
           weir_span_hex64(weir_span_split(key, '/', ret_slug), ret_id);
}

static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    struct weir_local *l = arg;
    struct weir_span slug;
    uint64_t id = 0;
    if ((kind != WEIR_RECORD_ENDPOINT && kind != WEIR_RECORD_MODEL) || !ours(l, key, &id, &slug))
        return;
    if (slug.data != NULL && change == WEIR_DISCOVERY_DELETE)
        weir_local_adapter_gone(l, id, slug);
    else if (slug.data != NULL)
        weir_local_adapter_put(l, id, slug, record->card.lora_name);
    else if (change == WEIR_DISCOVERY_DELETE)
        on_gone(l, kind, id);
    else if (kind == WEIR_RECORD_ENDPOINT)
        on_instance(l, record);
    else
        on_card(l, record);
}

/* ---- events ------------------------------------------------------------------------------- */

static bool worker_ready(void *arg, uint64_t worker_id) {
    return weir_local_find(arg, worker_id) != NULL;
}

static bool on_kv_event(void *arg, const struct weir_kv_event *event) {
    struct weir_local *l = arg;
    if (weir_local_find(l, event->worker_id) == NULL)
        return false;
    weir_kv_batch_add(&l->batch, weir_router_kv_events, l->router, event);
    return true;
}

static void on_kv_end(void *arg) {
    struct weir_local *l = arg;
    weir_kv_batch_flush(&l->batch);
}

static void on_reset(void *arg, uint64_t worker_id, uint32_t dp_rank) {
    struct weir_local *l = arg;
    weir_kv_batch_flush(&l->batch);
    if (weir_local_find(l, worker_id) != NULL)
        weir_router_clear_rank(l->router, worker_id, dp_rank);
}

static void on_load(void *arg, const struct weir_event_msg *msg) {
    static struct weir_log_limit limit;
    struct weir_local *l = arg;
    struct weir_active_load load;
    uint32_t dropped;
    if (weir_active_load_decode(msg->payload, &load) == WEIR_OK) {
        if (weir_local_find(l, load.worker_id) != NULL)
            weir_router_load_event(l->router, &load);
    } else if (weir_log_limit_ok(&limit, 1, &dropped)) {
        WEIR_LOG(WEIR_LOG_WARN, "router", "a kv_metrics message cannot be read");
    }
}

/* The one router, if a worker has come yet; it stays. */
struct local_dump {
    const struct weir_map *workers; /* borrowed: until the end of the dump */
    struct weir_router_dump *dump;  /* NULL: no router */
};

static void dump_close(void *dump) {
    struct local_dump *d = dump;
    weir_router_dump_close(d->dump);
    weir_free(d);
}

static enum weir_status dump_open(void *arg, const struct weir_map *workers, void **ret_dump) {
    struct weir_local *l = arg;
    struct local_dump *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return WEIR_NOMEM;
    d->workers = workers;
    enum weir_status st = l->router != NULL ? weir_router_dump_open(l->router, &d->dump) : WEIR_OK;
    if (st != WEIR_OK) {
        dump_close(d);
        return st;
    }
    *ret_dump = d;
    return WEIR_OK;
}

static enum weir_status dump_step(void *dump, weir_kv_event_fn fn, void *fn_arg, bool *ret_more) {
    struct local_dump *d = dump;
    *ret_more = false;
    return d->dump != NULL ? weir_router_dump_step(d->dump, d->workers, fn, fn_arg, ret_more)
                           : WEIR_OK;
}

static enum weir_status follow_streams(struct weir_local *l, const struct weir_kv_follow_ops *ops,
                                       struct weir_err *err) {
    const struct weir_local_router_options *o = &l->options;
    const struct weir_kv_streams_config config = {
        .ops = *ops,
        .dump = {dump_open, dump_step, dump_close},
        .arg = l,
        .snapshot_threshold = (uint64_t)o->router_snapshot_threshold,
        .snapshot_max_bytes = (uint64_t)o->router_snapshot_max_mib << 20,
        .reset_states = o->router_reset_states,
        .max_age_s = (uint64_t)o->nats_stream_max_age};
    return weir_kv_streams_open(l->service.loop, l->service.disc, l->service.nats, &config,
                                &l->streams, err);
}

static void each_router(void *arg, void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg) {
    struct weir_local *l = arg;
    if (l->router != NULL)
        fn(fn_arg, l->router);
}

static void with_router(void *arg, uint64_t worker_id,
                        void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg) {
    if (weir_local_find(arg, worker_id) != NULL)
        each_router(arg, fn, fn_arg);
}

static enum weir_status follow_routers(struct weir_local *l, struct weir_err *err) {
    const struct weir_local_router_options *o = &l->options;
    return l->sync == NULL ? WEIR_OK
                           : weir_replica_sync_start(l->sync, l->service.disc, l->service.nats,
                                                     o->event_plane == WEIR_OPT_EVENT_NATS,
                                                     o->event_plane_host, err);
}

static enum weir_status follow_events(struct weir_local *l, struct weir_err *err) {
    static const struct weir_kv_follow_ops kv_ops = {worker_ready, on_kv_event, on_kv_end,
                                                     on_reset};
    static const struct weir_event_sub_ops load_ops = {.on_event = on_load};
    const struct weir_local_router_options *o = &l->options;
    enum weir_status st = weir_event_sub_open(l->service.loop, l->service.disc, l->service.nats,
                                              "kv_metrics", false, &load_ops, l, &l->load, err);
    if (st != WEIR_OK || !o->router_kv_events)
        return st;
    if (o->router_durable_kv_events && (st = follow_streams(l, &kv_ops, err)) != WEIR_OK)
        return st;
    /* The caches of workers come in one answer each, far larger than any answer of an engine. */
    struct weir_service_config sc = WEIR_SERVICE_CONFIG(o);
    sc.client.response_port = 0;
    sc.client.pool_conns = 1;
    sc.client.in_flight = 64;
    sc.client.max_message = DUMP_MAX;
    sc.client.nats = l->service.nats;
    st = weir_plane_client_create(l->service.loop, &sc.client, &l->recovery, err);
    return st == WEIR_OK ? weir_kv_follow_open(l->service.loop, l->service.disc, l->service.nats,
                                               l->recovery, &kv_ops, l, &l->kv, err)
                         : st;
}

/* ---- housekeeping ------------------------------------------------------------------------- */

static void on_tick(void *arg) {
    struct weir_local *l = arg;
    if (l->router != NULL) {
        weir_router_expire(l->router, weir_loop_now_ms(l->service.loop));
        weir_router_maintain(l->router);
    }
    if (weir_timer_start(&l->tick, TICK_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "router", "out of memory: stale bookings stay");
}

static const struct weir_metric_desc descs[] = {
    {.name = "dynamo_component_router_requests_total",
     .type = WEIR_COUNTER,
     .help = "Requests to generate."},
    {.name = "weir_router_rejected_total",
     .type = WEIR_COUNTER,
     .help = "Of these, refused: no worker, or all busy."},
    {.name = "weir_router_failed_total",
     .type = WEIR_COUNTER,
     .help = "Of these, ended by a failure behind the choice."},
    {.name = "weir_router_moved_total",
     .type = WEIR_COUNTER,
     .help = "Attempts that failed before their first item and went to another worker."},
    {.name = "weir_router_workers", .type = WEIR_GAUGE, .help = "Workers that may be chosen."},
    {.name = "weir_router_ranks_live",
     .type = WEIR_GAUGE,
     .help = "Worker ranks whose cache events are followed without a gap."},
    {.name = "weir_router_index_blocks",
     .type = WEIR_GAUGE,
     .help = "Blocks that workers are known to hold."},
};

static void open_metrics(struct weir_local *l) {
    struct weir_metric **to[] = {&l->metrics.requests, &l->metrics.rejected, &l->metrics.failed,
                                 &l->metrics.moved,    &l->metrics.workers,  &l->metrics.ranks_live,
                                 &l->metrics.blocks};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(to); i++)
        *to[i] = weir_metric_get(weir_metrics_family(l->service.metrics, &descs[i], 1), NULL);
}

static void on_scrape(void *arg) {
    struct weir_local *l = arg;
    struct weir_router_index_stats index = {0};
    struct weir_kv_follow_stats follow = {0};
    if (l->router != NULL)
        weir_router_index_stats(l->router, &index);
    if (l->kv != NULL)
        weir_kv_follow_stats(l->kv, &follow);
    weir_replica_sync_show(l->sync, l->service.metrics);
    weir_metric_set(l->metrics.workers, l->router != NULL ? weir_router_workers(l->router) : 0);
    weir_metric_set(l->metrics.ranks_live, follow.live);
    weir_metric_set(l->metrics.blocks, (double)index.entries);
}

static bool is_ready(void *arg) {
    struct weir_local *l = arg;
    return l->router != NULL && weir_router_workers(l->router) > 0;
}

/* ---- life --------------------------------------------------------------------------------- */

static enum weir_status publish(struct weir_local *l, struct weir_err *err) {
    const struct {
        const char *name;
        const struct weir_plane_handler *handler;
        bool raw;
    } rows[] = {{"generate", &weir_local_generate, false},
                {"best_worker_id", &weir_local_best_worker, true},
                {"get_overlap_scores", &weir_local_overlap_scores, true}};
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows) && st == WEIR_OK; i++)
        st = weir_service_publish(&l->service, l->endpoint.ns, "router", rows[i].name,
                                  rows[i].handler, l, rows[i].raw, NULL, err);
    return st;
}

static enum weir_status open_all(struct weir_local *l, struct weir_err *err) {
    struct weir_service_config sc = WEIR_SERVICE_CONFIG(&l->options);
    sc.name = "router";
    sc.use_nats = WEIR_NATS_WANTED_DURABLE(&l->options);
    sc.is_ready = is_ready;
    sc.on_scrape = on_scrape;
    sc.arg = l;
    struct weir_span rest = weir_span_z(l->options.endpoint);
    l->endpoint.ns = weir_span_split(rest, '.', &rest);
    l->endpoint.component = weir_span_split(rest, '.', &rest);
    l->endpoint.name = weir_span_split(rest, '.', &rest);
    enum weir_status st = weir_service_open(&l->service, &sc, err);
    if (st != WEIR_OK)
        return st;
    static const struct weir_replica_sync_ops sync_ops = {with_router, each_router};
    if (l->options.router_replica_sync &&
        (st = weir_replica_sync_create(l->service.loop, &sync_ops, l, &l->sync)) != WEIR_OK)
        return weir_err_set(err, st, "out of memory");
    open_metrics(l);
    weir_timer_init(&l->tick, l->service.loop, on_tick, l);
    st = weir_discovery_watch(l->service.disc, on_change, l);
    if (st == WEIR_OK)
        st = weir_timer_start(&l->tick, TICK_MS);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    st = follow_events(l, err);
    if (st == WEIR_OK)
        st = follow_routers(l, err);
    return st == WEIR_OK ? publish(l, err) : st;
}

static void close_all(struct weir_local *l) {
    if (l->service.loop != NULL)
        weir_timer_stop(&l->tick);
    weir_replica_sync_stop(l->sync);
    weir_service_close_discovery(&l->service);
    weir_replica_sync_destroy(l->sync);
    weir_kv_follow_close(l->kv);
    weir_kv_streams_close(l->streams);
    weir_event_sub_close(l->load);
    weir_plane_client_destroy(l->recovery);
    weir_service_close(&l->service);
    weir_local_adapters_fini(l);
    weir_router_destroy(l->router);
    WEIR_LIST_FOREACH(it, &l->workers) {
        free_worker(WORKER(it));
    }
}

int weir_local_router_main(int argc, char **argv) {
    struct weir_local l = {0};
    struct weir_err err;
    weir_list_init(&l.workers);
    weir_list_init(&l.adapters);
    weir_arena_init(&l.arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_local_router_program, argc, argv, NULL, &l.arena, &l.options);
    int exit_code = outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    if (outcome == WEIR_CONFIG_RUN) {
        enum weir_status st = weir_config_begin(&weir_local_router_program, &l.options, &err);
        if (st == WEIR_OK)
            st = open_all(&l, &err);
        if (st == WEIR_OK)
            exit_code = weir_service_run(&l.service);
        else
            WEIR_LOG(WEIR_LOG_ERROR, "router", "%s", err.text);
        close_all(&l);
    }
    weir_arena_fini(&l.arena);
    return exit_code;
}
