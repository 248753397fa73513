/*
 * Happy path: options → groups → snapshots → HTTP server → a peer's dump → serve until SIGTERM or
 * SIGINT → snapshots → exit 0. One loop does it all: a query takes microseconds. Idle work of the
 * indexes has a thread of its own (keeper.h), bulk queries have one (bulk.h), and so has the device
 * that they may go through (device.h).
 */
#include "indexer/indexer.h"

#include "base/log.h"
#include "base/mem.h"
#include "indexer/bulk.h"
#include "indexer/keeper.h"
#include "indexer/peers.h"
#include "indexer/service.h"
#include "kvindex/kvi_persist.h"
#include "net/zmq.h"
#include "runtime/options_indexer.h"

#include <dirent.h>
#include <errno.h>
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

static void on_scrape(void *arg) {
    static const char *const kinds[KVI_KINDS] = {"stored", "removed", "cleared"};
    struct indexer *x = arg;
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

static void write_snapshots(struct indexer *x) {
    char path[PATH_MAX];
    WEIR_LIST_FOREACH(it, weir_groups_list(x->groups)) {
        struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        if (!snapshot_path(x, g, path) ||
            kvi_snapshot_write(g->index, path, NULL, 0) != KVI_FILE_OK)
            WEIR_LOG(WEIR_LOG_ERROR, "indexer", "no snapshot of %s:%s was written: %s", g->model,
                     g->name, strerror(errno));
    }
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

static void read_snapshots(struct indexer *x) {
    DIR *dir = opendir(x->options.snapshot_dir);
    char path[PATH_MAX];
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct weir_span parts[2];
        struct weir_group *g;
        uint64_t block_size;
        int n = snprintf(path, sizeof(path), "%s/%s", x->options.snapshot_dir, e->d_name);
        if (n < 0 || (size_t)n >= sizeof(path) || !parse_name(x, e->d_name, parts, &block_size) ||
            block_size == 0 || block_size > 65536 ||
            weir_groups_get(x->groups, parts[0], parts[1], (uint32_t)block_size, &g) != WEIR_OK)
            continue;
        enum kvi_file_result r = kvi_snapshot_read(g->index, path, NULL, NULL);
        weir_mirror_stale(g->mirror);
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

static void on_fetched(void *arg, const char *peer, struct weir_span dump, const char *error) {
    struct indexer *x = arg;
    struct weir_err err = {.text = ""};
    uint64_t n = 0;
    x->fetch = NULL;
    if (error != NULL)
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "no peer gave a dump; last: %s: %s", peer, error);
    else if (weir_service_restore(x->groups, dump, &n, &err) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "dump of %s: %s", peer, err.text);
    else
        WEIR_LOG(WEIR_LOG_INFO, "indexer", "%llu events from peer %s", (unsigned long long)n, peer);
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
        st = weir_keeper_start(x->loop, x->groups, &x->keeper);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(x->loop, SIGTERM, on_signal, x);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(x->loop, SIGINT, on_signal, x);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    if (o->snapshot_dir != NULL)
        read_snapshots(x);
    struct weir_http_server_config hc = {
        .listen = {.ip = o->host, .port = (uint16_t)o->port, .max_conns = 4096},
        .handler = &weir_service_handler,
        .arg = &x->service};
    st = weir_http_server_create(x->loop, &hc, &x->http, err);
    if (st == WEIR_OK && o->peers.n > 0)
        st = weir_peer_fetch_start(x->loop, o->peers.items, o->peers.n, on_fetched, x, &x->fetch,
                                   err);
    return st;
}

static void close_all(struct indexer *x) {
    weir_peer_fetch_cancel(x->fetch);
    weir_http_server_destroy(x->http);
    weir_bulk_stop(x->bulk);
    weir_device_stop(x->device);
    if (x->groups != NULL && x->options.snapshot_dir != NULL)
        write_snapshots(x);
    weir_keeper_stop(x->keeper);
    weir_groups_destroy(x->groups);
    weir_loop_destroy(x->loop);
    weir_service_fini(&x->service);
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
