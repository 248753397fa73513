/*
 * Happy path: options → groups → snapshots → HTTP server → a peer's dump → serve until SIGTERM or
 * SIGINT → snapshots → exit 0. One loop does it all: a query takes microseconds. Idle work of the
 * indexes has a thread of its own (keeper.h), bulk queries have one (bulk.h), and so has the device
 * that they may go through (device.h).
 */
#include "indexer/indexer.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "indexer/bulk.h"
#include "indexer/dumps.h"
#include "indexer/keeper.h"
#include "indexer/peers.h"
#include "indexer/service.h"
#include "kvindex/kvi_persist.h"
#include "net/zmq.h"
#include "runtime/options_indexer.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct indexer {
    struct weir_indexer_options options;
    struct weir_arena arena;
    struct weir_loop *loop;
    struct weir_metrics *metrics;
    struct weir_groups *groups;
    struct weir_keeper *keeper;
    struct weir_device *device; /* NULL: the CPU alone */
    struct weir_bulk *bulk;
    struct weir_dumps *dumps;
    struct weir_requests *requests;
    struct weir_service service;
    struct weir_http_server *http;
    struct weir_peer_fetch *fetch;
};

/* ---- metrics ----------------------------------------------------------------------------------
 */

static const struct weir_metric_desc entries_desc = {
    .name = "weir_indexer_entries",
    .type = WEIR_GAUGE,
    .help = "Blocks in the index, counted once a rank, tier and name.",
    .labels = {"model", "routing_group"}};
static const struct weir_metric_desc bytes_desc = {.name = "weir_indexer_bytes",
                                                   .type = WEIR_GAUGE,
                                                   .help = "Memory of the index.",
                                                   .labels = {"model", "routing_group"}};
static const struct weir_metric_desc events_desc = {
    .name = "weir_indexer_events_total",
    .type = WEIR_COUNTER,
    .help = "Events by type and result.",
    .labels = {"model", "routing_group", "event_type", "status"}};

static void set(struct weir_metrics *m, const struct weir_metric_desc *desc,
                const char *const *labels, double value) {
    weir_metric_set(weir_metric_get(weir_metrics_family(m, desc, 0), labels), value);
}

static const struct weir_metric_desc applied_desc = {
    .name = "dynamo_kvrouter_kv_cache_events_applied",
    .type = WEIR_COUNTER,
    .help = "KV events of all groups by type and result.",
    .labels = {"event_type", "status"}};
static const struct weir_metric_desc models_desc = {.name = "dynamo_kvindexer_models",
                                                    .type = WEIR_GAUGE,
                                                    .help = "Pairs of model and routing group."};
static const struct weir_metric_desc workers_desc = {
    .name = "dynamo_kvindexer_workers", .type = WEIR_GAUGE, .help = "Ranks that are registered."};
static const struct weir_metric_desc listeners_desc = {.name = "dynamo_kvindexer_listeners",
                                                       .type = WEIR_GAUGE,
                                                       .help = "Listeners by status.",
                                                       .labels = {"status"}};

/* The reference's names for what is known of all groups together. */
static void scrape_reference(struct indexer *x, const char *const kinds[KVI_KINDS]) {
    uint64_t sums[KVI_KINDS][KVI_RESULTS] = {{0}};
    double groups = 0, ranks = 0, paused = 0;
    WEIR_LIST_FOREACH(it, weir_groups_list(x->groups)) {
        const struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        struct kvi_stats s;
        kvi_get_stats(g->index, &s);
        for (int k = 0; k < KVI_KINDS; k++)
            for (int r = 0; r < KVI_RESULTS; r++)
                sums[k][r] += s.events[k][r];
        groups += !g->left;
        ranks += (double)g->n_followers;
        WEIR_LIST_FOREACH(jt, &g->followers) {
            const struct weir_registration *r =
                WEIR_CONTAINER_OF(jt, struct weir_registration, node);
            paused += weir_follower_is_paused(r->follower);
        }
    }
    for (int k = 0; k < KVI_KINDS; k++)
        for (int r = 0; r < KVI_RESULTS; r++) {
            const char *labels[] = {kinds[k], kvi_result_name((enum kvi_result)r)};
            set(x->metrics, &applied_desc, labels, (double)sums[k][r]);
        }
    set(x->metrics, &models_desc, NULL, groups);
    set(x->metrics, &workers_desc, NULL, ranks);
    set(x->metrics, &listeners_desc, (const char *const[]){"active"}, ranks - paused);
    set(x->metrics, &listeners_desc, (const char *const[]){"paused"}, paused);
}

static void on_scrape(void *arg) {
    static const char *const kinds[KVI_KINDS] = {"stored", "removed", "cleared"};
    struct indexer *x = arg;
    scrape_reference(x, kinds);
    WEIR_LIST_FOREACH(it, weir_groups_list(x->groups)) {
        const struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        struct kvi_stats s;
        kvi_get_stats(g->index, &s);
        const char *labels[4] = {g->model, g->name};
        set(x->metrics, &entries_desc, labels, (double)s.entries);
        set(x->metrics, &bytes_desc, labels, (double)s.bytes);
        for (int k = 0; k < KVI_KINDS; k++)
            for (int r = 0; r < KVI_RESULTS; r++) {
                labels[2] = kinds[k];
                labels[3] = kvi_result_name((enum kvi_result)r);
                if (s.events[k][r] > 0)
                    set(x->metrics, &events_desc, labels, (double)s.events[k][r]);
            }
    }
}

/* ---- snapshots: one file a group, its names and block size in the file's name -------------------
 */

static bool snapshot_path(const struct indexer *x, const struct weir_group *g, char out[PATH_MAX]) {
    struct weir_buf path;
    weir_buf_init(&path, PATH_MAX - 1);
    enum weir_status st = weir_buf_printf(&path, "%s/%u", x->options.snapshot_dir, g->block_size);
    const char *parts[] = {g->model, g->name};
    for (int i = 0; i < 2 && st == WEIR_OK; i++) {
        st = weir_buf_append_c(&path, '.');
        for (const char *p = parts[i]; *p != '\0' && st == WEIR_OK; p++)
            st = weir_buf_printf(&path, "%02x", (unsigned char)*p);
    }
    if (st == WEIR_OK)
        st = weir_buf_append_z(&path, ".kvi");
    if (st == WEIR_OK) {
        memcpy(out, path.data, path.len);
        out[path.len] = '\0';
    }
    weir_buf_fini(&path);
    return st == WEIR_OK;
}

/* "16.<hex>.<hex>.kvi" back into its parts, in the arena. */
static bool parse_name(struct indexer *x, const char *name, struct weir_span parts[2],
                       uint64_t *ret_block_size) {
    struct weir_span rest = weir_span_z(name);
    if (!weir_span_u64(weir_span_split(rest, '.', &rest), ret_block_size))
        return false;
    for (int i = 0; i < 2; i++) {
        struct weir_span hex = weir_span_split(rest, '.', &rest);
        char *out = weir_arena_alloc(&x->arena, hex.len / 2 + 1);
        if (out == NULL || hex.len == 0 || hex.len % 2 != 0)
            return false;
        for (size_t k = 0; k < hex.len; k += 2) {
            uint64_t byte;
            if (!weir_span_hex64(weir_span(hex.data + k, 2), &byte))
                return false;
            out[k / 2] = (char)byte;
        }
        parts[i] = weir_span(out, hex.len / 2);
    }
    return weir_span_eqz(rest, "kvi");
}

/* Files of groups that were left, or have come back with another block size. */
static void drop_snapshots(struct indexer *x) {
    DIR *dir = opendir(x->options.snapshot_dir);
    char path[PATH_MAX];
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct weir_span parts[2];
        uint64_t block_size;
        int n = snprintf(path, sizeof(path), "%s/%s", x->options.snapshot_dir, e->d_name);
        if (n < 0 || (size_t)n >= sizeof(path) || !parse_name(x, e->d_name, parts, &block_size))
            continue;
        WEIR_LIST_FOREACH(it, weir_groups_list(x->groups)) {
            const struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
            if (weir_span_eqz(parts[0], g->model) && weir_span_eqz(parts[1], g->name) &&
                (g->left || g->block_size != block_size))
                (void)remove(path);
        }
    }
    if (dir != NULL)
        closedir(dir);
}

static void write_snapshots(struct indexer *x) {
    char path[PATH_MAX];
    drop_snapshots(x);
    WEIR_LIST_FOREACH(it, weir_groups_list(x->groups)) {
        struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        if (g->left)
            continue;
        if (!snapshot_path(x, g, path) ||
            kvi_snapshot_write(g->index, path, NULL, 0) != KVI_FILE_OK)
            WEIR_LOG(WEIR_LOG_ERROR, "indexer", "no snapshot of %s:%s was written: %s", g->model,
                     g->name, strerror(errno));
    }
}

static void read_snapshots(struct indexer *x) {
    DIR *dir = opendir(x->options.snapshot_dir);
    char path[PATH_MAX];
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct weir_span parts[2];
        struct weir_group *g;
        uint64_t block_size;
        int n = snprintf(path, sizeof(path), "%s/%s", x->options.snapshot_dir, e->d_name);
        if (n < 0 || (size_t)n >= sizeof(path) || !parse_name(x, e->d_name, parts, &block_size) ||
            block_size == 0 || block_size > 65536)
            continue;
        enum weir_status st = weir_groups_get(x->groups, parts[0], parts[1], (uint32_t)block_size,
                                              "a snapshot in --snapshot-dir", &g);
        if (st == WEIR_EXISTS)
            WEIR_LOG(WEIR_LOG_WARN, "indexer",
                     "snapshot %s: not used: it has blocks of %u tokens, and another snapshot of "
                     "the group %u: remove the one that no engine has",
                     path, (unsigned)block_size, g->block_size);
        else if (st != WEIR_OK)
            WEIR_LOG(WEIR_LOG_WARN, "indexer", "snapshot %s: not used: %s", path,
                     weir_status_text(st));
        if (st != WEIR_OK)
            continue;
        enum kvi_file_result r = kvi_snapshot_read(g->index, path, NULL, NULL);
        weir_mirror_stale(g->mirror);
        if (r == KVI_FILE_CORRUPT || r == KVI_FILE_ERROR)
            weir_groups_drop_empty(g);
        WEIR_LOG(r == KVI_FILE_OK ? WEIR_LOG_INFO : WEIR_LOG_WARN, "indexer", "snapshot %s: %s",
                 path,
                 r == KVI_FILE_OK        ? "restored"
                 : r == KVI_FILE_CORRUPT ? "damaged, not used"
                                         : "cannot be used");
    }
    if (dir != NULL)
        closedir(dir);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void on_signal(void *arg, int signum) {
    struct indexer *x = arg;
    WEIR_LOG(WEIR_LOG_INFO, "indexer", "signal %d: leaving", signum);
    weir_loop_stop(x->loop);
}

static void on_fetched(void *arg, const char *peer, uint64_t n, const char *error) {
    struct indexer *x = arg;
    x->fetch = NULL;
    if (error == NULL)
        WEIR_LOG(WEIR_LOG_INFO, "indexer", "%" PRIu64 " events from peer %s", n, peer);
    else
        WEIR_LOG(WEIR_LOG_WARN, "indexer",
                 "no peer gave a whole dump (%" PRIu64 " events came); last: %s: %s", n, peer,
                 error);
}

/* Options as "cpu|cuda|auto". */
enum { DEVICE_CPU, DEVICE_CUDA };

static enum weir_status start_device(struct indexer *x) {
    const struct weir_indexer_options *o = &x->options;
    struct weir_device_config dc = {.kvc = {.kind = KVC_CUDA,
                                            .device = (int)o->device_number,
                                            .max_bytes = (size_t)o->device_memory_mb << 20,
                                            .plugin = o->device_plugin},
                                    .wanted = o->device == DEVICE_CUDA,
                                    .queue_bytes = (size_t)o->device_queue_mb << 20,
                                    .stall_ms = (uint64_t)o->device_stall_ms,
                                    .loop = x->loop,
                                    .metrics = x->metrics};
    return o->device == DEVICE_CPU ? WEIR_OK : weir_device_start(&dc, &x->device);
}

static enum weir_status start_bulk(struct indexer *x) {
    struct weir_bulk_config bc = {.loop = x->loop,
                                  .groups = x->groups,
                                  .metrics = x->metrics,
                                  .device = x->device,
                                  .max_waiting = (unsigned)x->options.batch_queue,
                                  .device_min_blocks = (size_t)x->options.device_min_blocks};
    enum weir_status st = weir_bulk_start(&bc, &x->bulk);
    x->service.bulk = x->bulk;
    return st;
}

static enum weir_status create_dumps(struct indexer *x) {
    struct weir_dumps_config dc = {.loop = x->loop,
                                   .groups = x->groups,
                                   .metrics = x->metrics,
                                   .max = (unsigned)x->options.max_dumps};
    enum weir_status st = weir_dumps_create(&dc, &x->dumps);
    x->service.dumps = x->dumps;
    return st;
}

/* "id[:rank]=endpoint,…", as the reference's --workers. */
static enum weir_status register_workers(struct indexer *x, struct weir_err *err) {
    const struct weir_indexer_options *o = &x->options;
    struct weir_span rest = weir_span_z(o->workers);
    if (o->workers != NULL && o->block_size == WEIR_CONFIG_NONE)
        return weir_err_set(err, WEIR_INVALID,
                            "--block-size is required when --workers is specified");
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span entry = weir_span_trim(weir_span_split(rest, ',', &rest)), endpoint, rank;
        struct weir_span id = weir_span_split(entry, '=', &endpoint);
        if (entry.len == 0)
            continue;
        id = weir_span_trim(weir_span_split(id, ':', &rank));
        struct weir_register_request q = {.model = weir_span_z(o->model_name),
                                          .group = weir_span_z(o->routing_group),
                                          .block_size = (uint32_t)o->block_size};
        uint64_t dp_rank = 0;
        if (endpoint.data == NULL || !weir_span_u64(id, &q.instance_id) ||
            (rank.data != NULL &&
             (!weir_span_u64(weir_span_trim(rank), &dp_rank) || dp_rank > UINT32_MAX)))
            return weir_err_set(err, WEIR_INVALID,
                                "--workers: invalid worker entry `%.*s`; expected "
                                "worker_id[:dp_rank]=endpoint",
                                WEIR_SPAN_ARG(weir_utf8_cut(entry, 100)));
        q.dp_rank = (uint32_t)dp_rank;
        q.endpoint = weir_span_trim(endpoint);
        enum weir_status st = weir_groups_register(x->groups, &q, err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "--workers");
    }
    return WEIR_OK;
}

/* Given once or often, each with one or several behind commas; all are on GET /peers. */
static enum weir_status ask_peers(struct indexer *x, struct weir_err *err) {
    const struct weir_config_list *list = &x->options.peers;
    const char **urls = weir_arena_alloc(&x->arena, WEIR_INDEXER_MAX_PEERS * sizeof(*urls));
    size_t n = 0;
    for (size_t i = 0; urls != NULL && i < list->n; i++) {
        struct weir_span rest = weir_span_z(list->items[i]);
        while (rest.data != NULL && rest.len > 0) {
            struct weir_span url = weir_span_trim(weir_span_split(rest, ',', &rest));
            char *copy = weir_arena_alloc(&x->arena, url.len + 1);
            if (url.len == 0)
                continue;
            if (copy == NULL || n == WEIR_INDEXER_MAX_PEERS)
                return weir_err_set(err, WEIR_LIMIT, "--peers: over %d", WEIR_INDEXER_MAX_PEERS);
            memcpy(copy, url.data, url.len);
            copy[url.len] = '\0';
            urls[n++] = copy;
        }
    }
    enum weir_status st =
        n > 0 ? weir_peer_fetch_start(x->loop, x->groups, urls, n, on_fetched, x, &x->fetch, err)
              : WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        if ((x->service.peers[i] = weir_strdup(urls[i])) != NULL)
            x->service.n_peers++;
        else
            st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    return st;
}

static enum weir_status open_requests(struct indexer *x, struct weir_err *err) {
    const struct weir_indexer_options *o = &x->options;
    struct weir_requests_config rc = {.metrics = x->metrics,
                                      .access_log = o->access_log,
                                      .trace_header = o->trace_id_header,
                                      .local_time = o->access_log_local_time};
    enum weir_status st = weir_requests_create(&rc, &x->requests, err);
    x->service.requests = x->requests;
    return st;
}

static enum weir_status open_all(struct indexer *x, struct weir_err *err) {
    const struct weir_indexer_options *o = &x->options;
    enum weir_status st = weir_loop_create(0, &x->loop);
    struct weir_groups_config gc = {.index_max_bytes = (size_t)o->max_index_mb << 20,
                                    .max_groups = (unsigned)o->max_groups};
    if (st == WEIR_OK)
        st = weir_metrics_create(&x->metrics);
    if (st == WEIR_OK)
        st = weir_metrics_on_scrape(x->metrics, on_scrape, x);
    if (st == WEIR_OK)
        st = start_device(x);
    gc.loop = x->loop;
    gc.device = x->device;
    if (st == WEIR_OK)
        st = weir_groups_create(&gc, &x->groups);
    if (st == WEIR_OK)
        st = weir_service_init(&x->service, x->groups, x->metrics, (size_t)o->body_limit_mb << 20);
    if (st == WEIR_OK)
        st = start_bulk(x);
    if (st == WEIR_OK)
        st = create_dumps(x);
    if (st == WEIR_OK)
        st = weir_keeper_start(x->loop, x->groups, &x->keeper);
    if (st == WEIR_OK)
        st = weir_loop_on_end(x->loop, on_signal, x);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    x->service.test_pages = o->test_endpoints;
    if (o->test_endpoints)
        WEIR_LOG(WEIR_LOG_WARN, "indexer",
                 "--test-endpoints: whoever reaches this port can stop the events of a rank");
    if (o->snapshot_dir != NULL)
        read_snapshots(x);
    st = open_requests(x, err);
    if (st == WEIR_OK)
        st = register_workers(x, err);
    if (st != WEIR_OK)
        return st;
    struct weir_http_server_config hc = {
        .listen = {.ip = o->host, .port = (uint16_t)o->port, .max_conns = 4096},
        .handler = &weir_service_handler,
        .arg = &x->service};
    st = weir_http_server_create(x->loop, &hc, &x->http, err);
    if (st == WEIR_OK && o->peers.n > 0)
        st = ask_peers(x, err);
    return st;
}

static void close_all(struct indexer *x) {
    weir_peer_fetch_cancel(x->fetch);
    weir_http_server_destroy(x->http);
    weir_dumps_destroy(x->dumps);
    weir_bulk_stop(x->bulk);
    weir_device_stop(x->device);
    if (x->groups != NULL && x->options.snapshot_dir != NULL)
        write_snapshots(x);
    weir_keeper_stop(x->keeper);
    weir_groups_destroy(x->groups);
    weir_loop_destroy(x->loop);
    weir_service_fini(&x->service);
    weir_requests_destroy(x->requests);
    weir_metrics_destroy(x->metrics);
    weir_zmq_shutdown();
    weir_arena_fini(&x->arena);
}

int weir_indexer_main(int argc, char **argv) {
    struct indexer x = {0};
    struct weir_err err;
    int exit_code = 0;
    weir_arena_init(&x.arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_indexer_program, argc, argv, NULL, &x.arena, &x.options);
    if (outcome != WEIR_CONFIG_RUN) {
        weir_arena_fini(&x.arena);
        return outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    }
    signal(SIGPIPE, SIG_IGN);
    enum weir_status st = weir_config_begin(&weir_indexer_program, &x.options, &err);
    if (st == WEIR_OK)
        st = open_all(&x, &err);
    if (st == WEIR_OK) {
        WEIR_LOG(WEIR_LOG_INFO, "indexer", "serving on %s port %u", x.options.host,
                 weir_http_server_port(x.http));
        weir_loop_run(x.loop);
    } else {
        WEIR_LOG(WEIR_LOG_ERROR, "indexer", "%s", err.text);
        exit_code = 1;
    }
    close_all(&x);
    return exit_code;
}
