#include "worker/mocker_engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/zmq.h"
#include "worker/mock_http.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

enum { DRAIN_POLL_MS = 20, SGLANG_DEFAULT_TOKENS = 128 };

struct process {
    const struct weir_mocker_options *options;
    struct weir_loop *loop;
    struct wtok *tok;
    struct weir_mock_http *http;
    struct weir_timer drain;
    uint64_t deadline_ms;
    bool draining;
};

static void on_drain(void *arg) {
    struct process *p = arg;
    if (weir_mock_http_active(p->http) == 0 || weir_loop_now_ms(p->loop) >= p->deadline_ms ||
        weir_timer_start(&p->drain, DRAIN_POLL_MS) != WEIR_OK)
        weir_loop_stop(p->loop);
}

static void on_signal(void *arg, int signum) {
    struct process *p = arg;
    (void)signum;
    if (p->draining) {
        weir_loop_stop(p->loop);
        return;
    }
    p->draining = true;
    weir_mock_http_drain(p->http);
    p->deadline_ms =
        weir_loop_now_ms(p->loop) + (uint64_t)(p->options->worker_graceful_shutdown_timeout * 1000);
    on_drain(p);
}

static enum weir_mock_form form_of(const struct weir_mocker_options *o) {
    if (o->engine == WEIR_OPT_MOCKER_ENGINE_SGLANG)
        return WEIR_MOCK_SGLANG;
    return o->kv_events_form == WEIR_OPT_MOCKER_FORM_ARRAY ? WEIR_MOCK_VLLM_ARRAY : WEIR_MOCK_VLLM;
}

static enum weir_status load_tokenizer(struct process *p, struct weir_err *err) {
    const struct weir_mocker_options *o = p->options;
    if (o->model_path != NULL && o->tokenizer != WEIR_OPT_MOCKER_TOKENIZER_BYTES)
        return wtok_load(o->model_path, NULL, &p->tok, err);
    enum weir_status st = wtok_create_bytes(&p->tok);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

static enum weir_status open_http(struct process *p, const struct weir_engine_config *engine,
                                  struct weir_mock_faults *faults, struct weir_err *err) {
    const struct weir_mocker_options *o = p->options;
    const char *name = o->model_name != NULL   ? o->model_name
                       : o->model_path != NULL ? o->model_path
                                               : "mock";
    struct weir_mock_http_config c = {
        .form = form_of(o),
        .ip = o->host,
        .port = (uint16_t)o->port,
        .model = name,
        .tok = p->tok,
        .bytes_text = o->model_path == NULL || o->tokenizer == WEIR_OPT_MOCKER_TOKENIZER_BYTES,
        .engine = *engine,
        .n_ranks = o->data_parallel_size != WEIR_CONFIG_NONE ? (uint32_t)o->data_parallel_size : 1,
        .prefill = o->disaggregation_mode == WEIR_OPT_MOCKER_PREFILL,
        .decode = o->disaggregation_mode == WEIR_OPT_MOCKER_DECODE,
        .kv_events = o->enable_prefix_caching,
        .events_port = (uint16_t)o->kv_events_port,
        .replay_port = (uint16_t)o->kv_replay_port,
        .events_connect = o->kv_events_connect,
        .default_max_tokens =
            o->default_max_tokens > 0 ? (uint32_t)o->default_max_tokens : SGLANG_DEFAULT_TOKENS,
        .n_values = (uint32_t)o->embedding_dimensions,
        .faults = faults,
        .name_seed = weir_rng_u64(weir_loop_rng(p->loop))};
    enum weir_status st = weir_mock_http_open(p->loop, &c, &p->http, err);
    if (st == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, "mocker", "%s engine serves model %s on %s port %u",
                 c.form == WEIR_MOCK_SGLANG ? "SGLang" : "vLLM", name, o->host,
                 weir_mock_http_port(p->http));
    return st;
}

static enum weir_status open_all(struct process *p, const struct weir_engine_config *engine,
                                 struct weir_mock_faults *faults, struct weir_err *err) {
    enum weir_status st = weir_loop_create(0, &p->loop);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot create the event loop");
    weir_loop_set_dead_peer_ms(p->loop, (uint64_t)(p->options->weir_dead_peer_timeout_secs * 1000));
    weir_timer_init(&p->drain, p->loop, on_drain, p);
    st = load_tokenizer(p, err);
    /* Before it says that it serves: who waits for that may end it at once. */
    if (st == WEIR_OK && weir_loop_on_end(p->loop, on_signal, p) != WEIR_OK)
        st = weir_err_set(err, WEIR_NOMEM, "cannot watch signals");
    if (st == WEIR_OK)
        st = open_http(p, engine, faults, err);
    return st;
}

static void log_totals(const struct weir_mock_http *http) {
    struct weir_engine_stats s;
    weir_mock_http_get_stats(http, &s);
    WEIR_LOG(WEIR_LOG_INFO, "mocker",
             "finished %" PRIu64 ", prompt tokens %" PRIu64 ", of these cached %" PRIu64
             ", output tokens %" PRIu64,
             s.finished, s.prompt_tokens, s.cached_tokens, s.output_tokens);
}

int weir_mocker_engine_run(const struct weir_mocker_options *options,
                           const struct weir_engine_config *engine,
                           struct weir_mock_faults *faults) {
    struct process p = {.options = options};
    struct weir_err err;
    enum weir_status st = open_all(&p, engine, faults, &err);
    if (st == WEIR_OK) {
        weir_loop_run(p.loop);
        log_totals(p.http);
    } else {
        WEIR_LOG(WEIR_LOG_ERROR, "mocker", "%s", err.text);
    }
    weir_mock_http_close(p.http);
    weir_loop_destroy(p.loop);
    wtok_destroy(p.tok);
    weir_zmq_shutdown();
    return st == WEIR_OK ? 0 : 1;
}
