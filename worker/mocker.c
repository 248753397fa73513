/*
 * `weir mocker`. Happy path: options → loop, discovery, request-plane listener → --startup-time
 * passes → one mock worker per --num-workers → serve until SIGTERM or SIGINT → leave discovery, let
 * running requests finish (at most the grace period) → exit 0. A second signal ends at once.
 */
#include "worker/mocker.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/zmq.h"
#include "runtime/config.h"
#include "runtime/options_mocker.h"
#include "tokenizer/wtok.h"
#include "worker/mock_worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAIN_POLL_MS = 20, STATS_MS = 1000 };

struct mocker {
    struct weir_mocker_options options;
    struct weir_arena arena; /* strings of options, card and endpoint */
    struct weir_loop *loop;
    struct weir_discovery *disc;
    struct weir_plane_server *plane;
    struct weir_mock_worker **workers; /* owned, n_workers */
    unsigned n_workers;
    struct weir_mock_worker_config worker;
    struct weir_mock_faults faults;
    struct weir_timer startup, drain;
    uint64_t drain_deadline_ms;
    bool draining;
    int exit_code;
};

static void fail(struct mocker *m, const struct weir_err *err) {
    WEIR_LOG(WEIR_LOG_ERROR, "mocker", "%s", err->text);
    m->exit_code = 1;
    weir_loop_stop(m->loop);
}

/* ---- from options to the worker's configuration ------------------------------------------- */

/* "dyn://ns.component.endpoint" or "ns.component.endpoint". */
static enum weir_status parse_endpoint(struct mocker *m, const char *text, struct weir_err *err) {
    struct weir_span rest = weir_span_z(text);
    if (weir_span_starts(rest, WEIR_SPAN_LIT("dyn://")))
        rest = weir_span(rest.data + 6, rest.len - 6);
    struct weir_endpoint_id *e = &m->worker.endpoint;
    e->ns = weir_span_split(rest, '.', &rest);
    e->component = weir_span_split(rest, '.', &rest);
    e->name = weir_span_split(rest, '.', &rest);
    if (e->ns.len == 0 || e->component.len == 0 || e->name.len == 0 || rest.data != NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "--endpoint %s: write it as dyn://namespace.component.endpoint", text);
    return WEIR_OK;
}

static void fill_engine(struct mocker *m) {
    const struct weir_mocker_options *o = &m->options;
    m->worker.engine = (struct weir_engine_config){
        .block_size = o->block_size != WEIR_CONFIG_NONE ? (uint32_t)o->block_size : 64,
        .n_blocks = o->num_gpu_blocks_override != WEIR_CONFIG_NONE
                        ? (uint32_t)o->num_gpu_blocks_override
                        : 16384,
        .max_num_seqs = (uint32_t)o->max_num_seqs,
        .max_num_batched_tokens = (uint32_t)o->max_num_batched_tokens,
        .max_model_len = o->max_model_len != WEIR_CONFIG_NONE ? (uint32_t)o->max_model_len : 0,
        .prefix_caching = o->enable_prefix_caching,
        .chunked_prefill = o->enable_chunked_prefill,
        .prefill_tokens_per_s = o->prefill_tokens_per_s,
        .decode_base_ms = o->decode_base_ms,
        .decode_per_request_ms = o->decode_per_request_ms,
        .speedup = o->speedup_ratio,
        .decode_speedup = o->decode_speedup_ratio};
}

static enum weir_status fill_card(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    const struct weir_engine_config *e = &m->worker.engine;
    struct weir_card *c = &m->worker.card;
    const char *name = o->model_name != NULL ? o->model_name : "mock";
    struct weir_buf slug;
    weir_buf_init(&slug, 1024);
    enum weir_status st = weir_slug(weir_span_z(name), &slug);
    *c = (struct weir_card){.display_name = weir_span_z(name),
                            .slug = weir_arena_copy(&m->arena, weir_buf_span(&slug)),
                            .builtin_bytes_tokenizer = true,
                            .context_length = e->max_model_len,
                            .kv_cache_block_size = e->block_size,
                            .chat = true,
                            .completions = true,
                            .model_type = WEIR_SPAN_LIT("Chat | Completions"),
                            .input_tokens = true,
                            .worker_type = WEIR_WORKER_AGGREGATED,
                            .total_kv_blocks = e->n_blocks,
                            .max_num_seqs = e->max_num_seqs,
                            .max_num_batched_tokens = e->max_num_batched_tokens,
                            .dp_size = m->worker.n_ranks,
                            .enable_local_indexer = true,
                            .kv_event_publishing = true};
    weir_buf_fini(&slug);
    if (st != WEIR_OK || c->slug.data == NULL)
        return weir_err_set(err, WEIR_INVALID, "--model-name %s cannot be made into a slug", name);
    return WEIR_OK;
}

static enum weir_status fill_worker(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    const char *endpoint = o->endpoint;
    char text[512];
    if (endpoint == NULL) {
        snprintf(text, sizeof(text), "dyn://%s.backend.generate",
                 o->namespace != NULL ? o->namespace : "dynamo");
        endpoint = weir_arena_copy(&m->arena, weir_span_z(text)).data;
    }
    m->faults = (struct weir_mock_faults){
        .fail_rate = o->fail_rate,
        .hang_rate = o->hang_rate,
        .exit_after = o->exit_after != WEIR_CONFIG_NONE ? o->exit_after : -1};
    m->worker.n_ranks =
        o->data_parallel_size != WEIR_CONFIG_NONE ? (uint32_t)o->data_parallel_size : 1;
    m->worker.bytes_text = true;
    m->worker.vocab = 257;
    m->worker.kv_events = o->enable_prefix_caching;
    m->worker.event_ip = getenv("DYN_EVENT_PLANE_HOST");
    m->worker.default_max_tokens = o->default_max_tokens;
    m->worker.faults = &m->faults;
    const char *codec = getenv("DYN_REQUEST_PLANE_CODEC");
    m->worker.codec =
        codec != NULL && strcmp(codec, "json") == 0 ? WEIR_CODEC_JSON : WEIR_CODEC_MSGPACK;
    fill_engine(m);
    enum weir_status st = parse_endpoint(m, endpoint, err);
    return st == WEIR_OK ? fill_card(m, err) : st;
}

/* ---- life --------------------------------------------------------------------------------- */

static void on_start(void *arg) {
    struct mocker *m = arg;
    struct weir_err err;
    for (int64_t i = 0; i < m->options.num_workers && !m->draining; i++) {
        /* Below 2^53, so that every JSON reader keeps it exact. */
        m->worker.worker_id = weir_rng_u64(weir_loop_rng(m->loop)) & ((1ull << 53) - 1);
        enum weir_status st = weir_mock_worker_open(m->loop, m->plane, m->disc, &m->worker,
                                                    &m->workers[m->n_workers], &err);
        if (st != WEIR_OK) {
            fail(m, &err);
            return;
        }
        m->n_workers++;
        WEIR_LOG(WEIR_LOG_INFO, "mocker", "worker %" PRIx64 " serves model %.*s",
                 m->worker.worker_id, WEIR_SPAN_ARG(m->worker.card.display_name));
    }
}

static void log_totals(const struct mocker *m) {
    struct weir_engine_stats sum = {0};
    for (unsigned i = 0; i < m->n_workers; i++) {
        struct weir_engine_stats one;
        weir_mock_worker_get_stats(m->workers[i], &one);
        sum.prompt_tokens += one.prompt_tokens;
        sum.cached_tokens += one.cached_tokens;
        sum.output_tokens += one.output_tokens;
        sum.preemptions += one.preemptions;
        sum.finished += one.finished;
    }
    struct weir_log_field fields[] = {WEIR_LOG_NUM("finished", sum.finished),
                                      WEIR_LOG_NUM("prompt_tokens", sum.prompt_tokens),
                                      WEIR_LOG_NUM("cached_tokens", sum.cached_tokens),
                                      WEIR_LOG_NUM("output_tokens", sum.output_tokens),
                                      WEIR_LOG_NUM("preemptions", sum.preemptions)};
    WEIR_LOG_FIELDS(WEIR_LOG_INFO, "mocker", fields, "engine totals");
}

static void on_drain(void *arg) {
    struct mocker *m = arg;
    bool late = weir_loop_now_ms(m->loop) >= m->drain_deadline_ms;
    if (late || weir_plane_server_active(m->plane) == 0) {
        weir_loop_stop(m->loop);
        return;
    }
    if (weir_timer_start(&m->drain, DRAIN_POLL_MS) != WEIR_OK)
        weir_loop_stop(m->loop);
}

static void on_signal(void *arg, int signum) {
    struct mocker *m = arg;
    if (m->draining) {
        weir_loop_stop(m->loop);
        return;
    }
    m->draining = true;
    WEIR_LOG(WEIR_LOG_INFO, "mocker", "signal %d: leaving; %u requests are running", signum,
             weir_plane_server_active(m->plane));
    for (unsigned i = 0; i < m->n_workers; i++)
        weir_mock_worker_drain(m->workers[i]);
    weir_plane_server_drain(m->plane);
    m->drain_deadline_ms = weir_loop_now_ms(m->loop) + 30000;
    on_drain(m);
}

static enum weir_status open_all(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    enum weir_status st = weir_loop_create(0, &m->loop);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot create the event loop");
    struct weir_discovery_config dc = {.backend = WEIR_DISCOVERY_FILE};
    st = weir_discovery_open(m->loop, &dc, &m->disc, err);
    if (st != WEIR_OK)
        return st;
    const char *port = getenv("DYN_TCP_RPC_PORT");
    uint64_t port_number = 0;
    if (port != NULL && *port != '\0' &&
        (!weir_span_u64(weir_span_z(port), &port_number) || port_number > 65535))
        return weir_err_set(err, WEIR_INVALID, "DYN_TCP_RPC_PORT=%s is not a port (0 to 65535)",
                            port);
    struct weir_plane_server_config pc = {.ip = getenv("DYN_TCP_RPC_HOST"),
                                          .advertise = getenv("DYN_TCP_RPC_ADVERTISE_HOST"),
                                          .port = (uint16_t)port_number};
    st = weir_plane_server_create(m->loop, &pc, &m->plane, err);
    if (st != WEIR_OK)
        return st;
    m->workers = weir_calloc((size_t)o->num_workers, sizeof(*m->workers));
    if (m->workers == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    weir_timer_init(&m->startup, m->loop, on_start, m);
    weir_timer_init(&m->drain, m->loop, on_drain, m);
    st = weir_loop_on_signal(m->loop, SIGTERM, on_signal, m);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(m->loop, SIGINT, on_signal, m);
    double startup_s = isnan(o->startup_time) ? 0 : o->startup_time;
    if (st == WEIR_OK)
        st = weir_timer_start(&m->startup, (uint64_t)(startup_s * 1000));
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
}

static void close_all(struct mocker *m) {
    for (unsigned i = 0; i < m->n_workers; i++)
        weir_mock_worker_close(m->workers[i]);
    weir_free(m->workers);
    weir_plane_server_destroy(m->plane);
    weir_discovery_close(m->disc);
    weir_loop_destroy(m->loop);
    weir_zmq_shutdown();
    weir_arena_fini(&m->arena);
}

int weir_mocker_main(int argc, char **argv) {
    struct mocker m = {0};
    weir_arena_init(&m.arena, 1 << 20);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_mocker_program, argc, argv, NULL, &m.arena, &m.options);
    if (outcome != WEIR_CONFIG_RUN) {
        weir_arena_fini(&m.arena);
        return outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    }
    signal(SIGPIPE, SIG_IGN);
    struct weir_err err;
    enum weir_status st = fill_worker(&m, &err);
    if (st == WEIR_OK)
        st = open_all(&m, &err);
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_ERROR, "mocker", "%s", err.text);
        m.exit_code = 1;
    } else {
        weir_loop_run(m.loop);
        log_totals(&m);
    }
    close_all(&m);
    return m.exit_code;
}
