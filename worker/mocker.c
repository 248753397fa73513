/*
 * `weir mocker`. Happy path: options → loop, discovery, request-plane listener → --startup-time
 * passes → one mock worker per --num-workers → serve until SIGTERM or SIGINT → leave as
 * runtime/leaving.h says → exit 0.
 */
#include "worker/mocker.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "net/zmq.h"
#include "runtime/address.h"
#include "runtime/card_files.h"
#include "runtime/leaving.h"
#include "runtime/nats_metrics.h"
#include "runtime/options_mocker.h"
#include "runtime/options_nats.h"
#include "runtime/options_service.h"
#include "runtime/status_server.h"
#include "runtime/tls_watch.h"
#include "tokenizer/wtok.h"
#include "wire/record.h"
#include "worker/mock_figures.h"
#include "worker/mock_files.h"
#include "worker/mock_worker.h"
#include "worker/mocker_engine.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORKER_ID_BITS = 53 };

struct mocker {
    struct weir_mocker_options options;
    struct weir_arena arena; /* strings of options, card and endpoint */
    struct weir_loop *loop;
    struct weir_discovery *disc;
    struct weir_tls *server_tls, *client_tls; /* owned, or NULL */
    struct weir_tls_watch tls_watch;
    struct weir_nats *nats; /* owned, or NULL */
    struct weir_nats_metrics *nats_metrics;
    struct weir_plane_server *plane;
    struct weir_metrics *metrics;
    struct weir_status_server *status; /* NULL when its port is off */
    struct weir_mock_worker **workers; /* owned, n_workers */
    unsigned n_workers;
    uint64_t given_id; /* by discovery; 0: workers draw theirs */
    struct weir_mock_worker_config worker;
    struct weir_mock_files files; /* served on the status port */
    struct weir_mock_faults faults;
    struct weir_timer startup;
    struct weir_leaving leaving;
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

static bool uses_model(const struct weir_mocker_options *o) {
    return o->model_path != NULL && o->tokenizer != WEIR_OPT_MOCKER_TOKENIZER_BYTES;
}

/* The name of the model directory, for a model without --model-name. */
static const char *last_part(struct mocker *m, const char *path) {
    struct weir_span p = weir_span_z(path);
    while (p.len > 1 && p.data[p.len - 1] == '/')
        p.len--;
    for (ptrdiff_t slash; (slash = weir_span_find(p, '/')) >= 0 && p.len > 1;)
        p = weir_span(p.data + slash + 1, p.len - (size_t)slash - 1);
    return weir_arena_copy(&m->arena, p).data;
}

static enum weir_status fill_files(struct mocker *m, struct weir_card *c, struct weir_err *err) {
    char dir[PATH_MAX];
    struct wtok *tok = NULL;
    if (realpath(m->options.model_path, dir) == NULL)
        return weir_err_set(err, WEIR_IO, "--model-path %s: %s", m->options.model_path,
                            strerror(errno));
    enum weir_status st = wtok_load(dir, NULL, &tok, err);
    if (st != WEIR_OK)
        return st;
    m->worker.vocab = wtok_vocab_size(tok);
    wtok_destroy(tok);
    return weir_card_find_files(c, dir, &m->arena, err);
}

static enum weir_worker_type worker_type(const struct weir_mocker_options *o) {
    if (o->disaggregation_mode == WEIR_OPT_MOCKER_PREFILL || o->is_prefill_worker)
        return WEIR_WORKER_PREFILL;
    if (o->disaggregation_mode == WEIR_OPT_MOCKER_DECODE || o->is_decode_worker)
        return WEIR_WORKER_DECODE;
    return WEIR_WORKER_AGGREGATED;
}

/* As the reference mocker's cards: a prefill worker answers no client, a decode worker shows
 * nothing of its cache unless it is told to. */
static void fill_part(struct weir_card *c, enum weir_worker_type type, bool decode_events,
                      int embedding) {
    c->worker_type = type;
    if (embedding != WEIR_MOCK_EMBED_OFF) {
        c->embeddings = true;
        c->model_type = WEIR_SPAN_LIT("Embedding");
        c->input_tokens = embedding == WEIR_MOCK_EMBED_TOKENS;
        return;
    }
    c->chat = c->completions = type != WEIR_WORKER_PREFILL;
    c->model_type =
        type != WEIR_WORKER_PREFILL ? WEIR_SPAN_LIT("Chat | Completions") : WEIR_SPAN_LIT("");
    c->enable_local_indexer = c->kv_event_publishing = type != WEIR_WORKER_DECODE || decode_events;
}

static enum weir_status fill_card(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    const struct weir_engine_config *e = &m->worker.engine;
    struct weir_card *c = &m->worker.card;
    const char *name = o->model_name != NULL   ? o->model_name
                       : o->model_path != NULL ? last_part(m, o->model_path)
                                               : "mock";
    struct weir_buf slug;
    weir_buf_init(&slug, 1024);
    enum weir_status st = weir_slug(weir_span_z(name), &slug);
    *c = (struct weir_card){.display_name = weir_span_z(name),
                            .slug = weir_arena_copy(&m->arena, weir_buf_span(&slug)),
                            .builtin_bytes_tokenizer = !uses_model(o),
                            .context_length = e->max_model_len,
                            .kv_cache_block_size = e->block_size,
                            .input_tokens = true,
                            .total_kv_blocks = e->n_blocks,
                            .max_num_seqs = e->max_num_seqs,
                            .max_num_batched_tokens = e->max_num_batched_tokens,
                            .dp_size = m->worker.n_ranks};
    fill_part(c, worker_type(o), o->decode_kv_events, o->embedding);
    c->enable_local_indexer = c->enable_local_indexer && !o->durable_kv_events;
    weir_buf_fini(&slug);
    if (st != WEIR_OK || c->slug.data == NULL)
        return weir_err_set(err, WEIR_INVALID, "--model-name %s cannot be made into a slug", name);
    return uses_model(o) ? fill_files(m, c, err) : WEIR_OK;
}

static enum weir_status fill_worker(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    const char *endpoint = o->endpoint;
    char text[512];
    if (endpoint == NULL) {
        snprintf(text, sizeof(text), "dyn://%s.%s.generate",
                 o->namespace != NULL ? o->namespace : "dynamo",
                 worker_type(o) == WEIR_WORKER_PREFILL ? "prefill" : "backend");
        endpoint = weir_arena_copy(&m->arena, weir_span_z(text)).data;
    }
    m->faults = (struct weir_mock_faults){
        .fail_rate = o->fail_rate,
        .hang_rate = o->hang_rate,
        .exit_after = o->exit_after != WEIR_CONFIG_NONE ? o->exit_after : -1};
    if (o->seed != 0)
        weir_rng_seed(&m->faults.rng, (uint64_t)o->seed);
    else
        weir_rng_seed_os(&m->faults.rng);
    m->worker.n_ranks =
        o->data_parallel_size != WEIR_CONFIG_NONE ? (uint32_t)o->data_parallel_size : 1;
    m->worker.bytes_text = !uses_model(o);
    m->worker.vocab = 257;
    m->worker.kv_events = o->enable_prefix_caching && o->embedding == WEIR_MOCK_EMBED_OFF &&
                          (worker_type(o) != WEIR_WORKER_DECODE || o->decode_kv_events);
    if (o->kv_transfer_bandwidth > 0 && o->speedup_ratio > 0)
        m->worker.transfer_ms_per_token =
            (o->kv_bytes_per_token != WEIR_CONFIG_NONE ? (double)o->kv_bytes_per_token : 131072) /
            (o->kv_transfer_bandwidth * 1e6) / o->speedup_ratio;
    m->worker.embed = (enum weir_mock_embed)o->embedding;
    m->worker.n_values = (uint32_t)o->embedding_dimensions;
    m->worker.event_ip = o->event_plane_host;
    m->worker.default_max_tokens = o->default_max_tokens;
    m->worker.faults = &m->faults;
    m->worker.codec = o->request_plane_codec == 0 ? WEIR_CODEC_JSON : WEIR_CODEC_MSGPACK;
    fill_engine(m);
    enum weir_status st = parse_endpoint(m, endpoint, err);
    return st == WEIR_OK ? fill_card(m, err) : st;
}

/* ---- status server ------------------------------------------------------------------------- */

static void on_scrape(void *arg) {
    struct mocker *m = arg;
    weir_mock_figures_scrape(m->metrics, m->workers, m->n_workers);
}

static bool is_ready(void *arg) {
    const struct mocker *m = arg;
    return !m->leaving.begun && m->n_workers == (unsigned)m->options.num_workers;
}

static bool on_other(void *arg, struct weir_http_exchange *x) {
    const struct mocker *m = arg;
    return weir_mock_files_answer(&m->files, x);
}

/* The card, not seen by anybody yet, names the files where this process serves them. */
static enum weir_status publish_files(struct mocker *m, struct weir_err *err) {
    char ip[WEIR_IP_BYTES], shown[WEIR_HOST_BYTES];
    if (!uses_model(&m->options) || !m->options.self_host_metadata)
        return WEIR_OK;
    enum weir_status st = weir_address_bind(m->options.system_host, NULL, ip, shown, err);
    if (st != WEIR_OK)
        return st;
    st = weir_mock_files_publish(&m->files, &m->worker.card, &m->worker.endpoint, shown,
                                 weir_status_server_port(m->status), &m->arena);
    return st == WEIR_OK ? st
                         : weir_err_set(err, st, "the model's files: %s", weir_status_text(st));
}

static enum weir_status open_status(struct mocker *m, struct weir_err *err) {
    static const char *const endpoints[] = {"generate"};
    const struct weir_mocker_options *o = &m->options;
    enum weir_status st = weir_metrics_on_scrape(m->metrics, on_scrape, m);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "out of memory");
    st = weir_nats_metrics_open(m->metrics, m->nats, &m->nats_metrics, err);
    if (st != WEIR_OK || o->system_port < 0)
        return st;
    struct weir_status_server_config sc = {.host = o->system_host,
                                           .port = (uint16_t)o->system_port,
                                           .health_path = o->system_health_path,
                                           .live_path = o->system_live_path,
                                           .endpoints = endpoints,
                                           .n_endpoints = WEIR_ARRAY_LEN(endpoints),
                                           .is_ready = is_ready,
                                           .on_other = on_other,
                                           .arg = m,
                                           .metrics = m->metrics};
    st = weir_status_server_open(m->loop, &sc, &m->status, err);
    if (st != WEIR_OK)
        return st;
    WEIR_LOG(WEIR_LOG_INFO, "mocker", "status server on %s port %u", o->system_host,
             weir_status_server_port(m->status));
    return publish_files(m, err);
}

/* ---- life --------------------------------------------------------------------------------- */

static void on_start(void *arg) {
    struct mocker *m = arg;
    struct weir_err err;
    double stagger_ms = m->options.stagger_delay * 1000;
    while (m->n_workers < (unsigned)m->options.num_workers && !m->leaving.begun) {
        m->worker.worker_id = m->given_id != 0 ? m->given_id
                                               : weir_rng_u64(weir_loop_rng(m->loop)) &
                                                     ((1ull << MAX_WORKER_ID_BITS) - 1);
        enum weir_status st = weir_mock_worker_open(m->loop, m->plane, m->disc, &m->worker,
                                                    &m->workers[m->n_workers], &err);
        if (st != WEIR_OK) {
            fail(m, &err);
            return;
        }
        m->n_workers++;
        WEIR_LOG(WEIR_LOG_INFO, "mocker", "worker %s serves model %.*s",
                 weir_worker_text(m->worker.worker_id).s,
                 WEIR_SPAN_ARG(m->worker.card.display_name));
        if (stagger_ms >= 1 && weir_timer_start(&m->startup, (uint64_t)stagger_ms) == WEIR_OK)
            return;
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

static bool unpublish(void *arg) {
    struct mocker *m = arg;
    weir_timer_stop(&m->startup);
    for (unsigned i = 0; i < m->n_workers; i++)
        weir_mock_worker_unpublish(m->workers[i]);
    return m->n_workers > 0;
}

static enum weir_status open_tls(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    struct weir_tls_config server = WEIR_PLANE_TLS_SERVER(o);
    struct weir_tls_config client = WEIR_PLANE_TLS_CLIENT(o);
    enum weir_status st = WEIR_OK;
    if (server.cert_path != NULL)
        st = weir_tls_create(&server, &m->server_tls, err);
    if (st == WEIR_OK && (client.ca_path != NULL || client.insecure))
        st = weir_tls_create(&client, &m->client_tls, err);
    return st == WEIR_OK ? weir_tls_watch_planes(&m->tls_watch, m->server_tls, m->client_tls, err)
                         : st;
}

static enum weir_status open_plane(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    struct weir_plane_server_config pc = {.ip = o->tcp_rpc_host,
                                          .advertise = o->tcp_rpc_advertise_host,
                                          .port = (uint16_t)o->tcp_rpc_port,
                                          .server_tls = m->server_tls,
                                          .client_tls = m->client_tls,
                                          .max_active = (unsigned)o->tcp_worker_pool_size,
                                          .max_message = (size_t)o->tcp_max_message_size,
                                          .metrics = m->metrics};
    const struct weir_nats_config nc = WEIR_NATS_CONFIG(o, "weir mocker");
    enum weir_status st = WEIR_OK;
    if (WEIR_NATS_WANTED(o) || o->durable_kv_events)
        st = weir_nats_open(&nc, &m->nats, err);
    if (o->request_plane == WEIR_OPT_REQUEST_NATS)
        pc.nats = m->nats;
    if (o->event_plane == WEIR_OPT_EVENT_NATS)
        m->worker.event_nats = m->nats;
    m->worker.durable = o->durable_kv_events ? m->nats : NULL;
    m->worker.stream_max_age_s = (uint64_t)o->nats_stream_max_age;
    return st == WEIR_OK ? weir_plane_server_create(m->loop, &pc, &m->plane, err) : st;
}

static void on_refused(void *arg, const struct weir_err *err) {
    fail(arg, err);
}

static enum weir_status open_all(struct mocker *m, struct weir_err *err) {
    const struct weir_mocker_options *o = &m->options;
    enum weir_status st = weir_loop_create(0, &m->loop);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot create the event loop");
    weir_loop_set_dead_peer_ms(m->loop, (uint64_t)(o->weir_dead_peer_timeout_secs * 1000));
    weir_timer_init(&m->startup, m->loop, on_start, m);
    weir_tls_watch_init(&m->tls_watch, m->loop);
    m->workers = weir_calloc((size_t)o->num_workers, sizeof(*m->workers));
    if (m->workers == NULL || weir_metrics_create(&m->metrics) != WEIR_OK)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    struct weir_discovery_config dc = WEIR_SERVICE_DISCOVERY(o);
    dc.on_refused = on_refused;
    dc.refused_arg = m;
    dc.metrics = m->worker.metrics = m->metrics;
    st = weir_discovery_open(m->loop, &dc, &m->disc, err);
    if (st == WEIR_OK)
        st = weir_discovery_instance_id(m->disc, &m->given_id, err);
    if (st == WEIR_OK)
        st = open_tls(m, err);
    if (st == WEIR_OK)
        st = open_plane(m, err);
    if (st == WEIR_OK)
        st = open_status(m, err);
    if (st != WEIR_OK)
        return st;
    const struct weir_leaving_config leaving = {.name = "mocker",
                                                .loop = m->loop,
                                                .server = m->plane,
                                                .grace_s = o->graceful_shutdown_grace_period_secs,
                                                .running_s = o->worker_graceful_shutdown_timeout,
                                                .unpublish = unpublish,
                                                .arg = m,
                                                .tls = &m->tls_watch};
    st = weir_leaving_init(&m->leaving, &leaving);
    double startup_s = isnan(o->startup_time) ? 0 : o->startup_time;
    if (st == WEIR_OK)
        st = weir_timer_start(&m->startup, (uint64_t)(startup_s * 1000));
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
}

static void close_all(struct mocker *m) {
    /* Discovery may run the loop once more, to leave in order. */
    weir_timer_stop(&m->startup);
    weir_leaving_fini(&m->leaving);
    for (unsigned i = 0; i < m->n_workers; i++)
        weir_mock_worker_close(m->workers[i]);
    weir_free(m->workers);
    weir_status_server_close(m->status);
    weir_plane_server_destroy(m->plane);
    weir_discovery_close(m->disc);
    weir_tls_watch_fini(&m->tls_watch);
    weir_loop_destroy(m->loop);
    weir_nats_metrics_close(m->nats_metrics);
    weir_nats_close(m->nats);
    weir_tls_destroy(m->server_tls);
    weir_tls_destroy(m->client_tls);
    weir_metrics_destroy(m->metrics);
    weir_zmq_shutdown();
    weir_arena_fini(&m->arena);
}

int weir_mocker_main(int argc, char **argv) {
    struct mocker m = {0};
    struct weir_err err;
    weir_arena_init(&m.arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_mocker_program, argc, argv, NULL, &m.arena, &m.options);
    if (outcome != WEIR_CONFIG_RUN) {
        weir_arena_fini(&m.arena);
        return outcome == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    }
    signal(SIGPIPE, SIG_IGN);
    enum weir_status st = weir_config_begin(&weir_mocker_program, &m.options, &err);
    if (st == WEIR_OK)
        st = fill_worker(&m, &err);
    if (st == WEIR_OK && m.options.engine != WEIR_OPT_MOCKER_ENGINE_UNSET) {
        m.exit_code = weir_mocker_engine_run(&m.options, &m.worker.engine, &m.faults);
        weir_arena_fini(&m.arena);
        return m.exit_code;
    }
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
