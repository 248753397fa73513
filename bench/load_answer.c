/* What comes back for one request of a load: read as it comes, judged at its end. */
#include "bench/load_priv.h"
#include "bench/reply.h"

enum { MAX_ERROR_BODY = 64 << 10 };

void weir_load_on_head(void *arg, int status, const struct weir_http_header *headers,
                       size_t n_headers) {
    struct talk *k = arg;
    (void)headers;
    (void)n_headers;
    k->outcome.http_status = status;
}

static void sample(struct talk *k, enum weir_bench_fault fault, struct weir_span text) {
    weir_tally_sample(&k->load->tally, fault, text);
}

static void on_event(void *arg, struct weir_span event, struct weir_span data) {
    struct talk *k = arg;
    (void)event;
    if (weir_span_eqz(data, "[DONE]")) {
        k->saw_done = true;
        return;
    }
    struct weir_reply r;
    if (data.len == 0)
        return; /* annotations: named events whose content stands in comments */
    if (!weir_reply_read(data, &r)) {
        k->saw_garbage = true;
        sample(k, WEIR_BENCH_FAULT_PROTOCOL, data);
        return;
    }
    if (r.is_error) {
        k->saw_error = true;
        sample(k, WEIR_BENCH_FAULT_EVENT, r.message.len > 0 ? r.message : data);
    }
    if (r.has_text) {
        k->read_chunks++;
        if (k->load->run->plan->turns > 1 && weir_buf_append_span(&k->answer, r.text) != WEIR_OK)
            k->saw_garbage = true;
    }
    if (r.has_usage) {
        k->outcome.has_usage = true;
        k->outcome.prompt_tokens = r.prompt_tokens;
        k->outcome.completion_tokens = r.completion_tokens;
        k->outcome.cached_tokens = r.cached_tokens;
    }
}

static void on_stream_bytes(struct talk *k, struct weir_span bytes) {
    struct weir_load *load = k->load;
    struct weir_outcome *o = &k->outcome;
    k->read_ns = weir_now_ns();
    k->read_chunks = 0;
    if (weir_sse_feed(&k->sse, bytes, on_event, k) != WEIR_OK)
        k->saw_garbage = true;
    if (k->read_chunks == 0)
        return;
    if (o->first_ns == 0)
        o->first_ns = k->read_ns;
    weir_tally_tokens(&load->tally, o->measured, k->read_ns, k->read_chunks,
                      o->last_ns != 0 ? k->read_ns - o->last_ns : UINT64_MAX);
    o->last_ns = k->read_ns;
    o->chunks += k->read_chunks;
    weir_load_count(&load->live.tokens, k->read_chunks);
}

void weir_load_on_body(void *arg, struct weir_span bytes) {
    struct talk *k = arg;
    if (k->outcome.http_status == 200 && k->outcome.streamed) {
        on_stream_bytes(k, bytes);
        return;
    }
    bool error = k->outcome.http_status != 200;
    if (error && k->body.len + bytes.len > MAX_ERROR_BODY)
        return; /* enough to say what happened */
    if (weir_buf_append_span(&k->body, bytes) != WEIR_OK)
        k->saw_garbage = true;
}

static enum weir_bench_fault fault_of_status(enum weir_status status) {
    switch (status) {
    case WEIR_CANNOT_CONNECT:
    case WEIR_TLS:
        return WEIR_BENCH_FAULT_CONNECT;
    case WEIR_TIMEOUT:
        return WEIR_BENCH_FAULT_TIMEOUT;
    case WEIR_NOMEM:
    case WEIR_LIMIT:
    case WEIR_CANCELLED:
        return WEIR_BENCH_FAULT_LOCAL;
    case WEIR_PROTOCOL:
    case WEIR_TOO_LARGE:
        return WEIR_BENCH_FAULT_PROTOCOL;
    default:
        return WEIR_BENCH_FAULT_BROKEN;
    }
}

/* A whole answer that was not streamed. */
static enum weir_bench_fault judge_unary(struct talk *k) {
    struct weir_reply r;
    struct weir_span body = weir_buf_span(&k->body);
    if (k->saw_garbage || !weir_reply_read(body, &r)) {
        sample(k, WEIR_BENCH_FAULT_PROTOCOL, body);
        return WEIR_BENCH_FAULT_PROTOCOL;
    }
    if (r.is_error) {
        sample(k, WEIR_BENCH_FAULT_EVENT, r.message);
        return WEIR_BENCH_FAULT_EVENT;
    }
    k->outcome.has_usage = r.has_usage;
    k->outcome.prompt_tokens = r.prompt_tokens;
    k->outcome.completion_tokens = r.completion_tokens;
    k->outcome.cached_tokens = r.cached_tokens;
    k->outcome.chunks = r.has_text;
    if (k->load->run->plan->turns > 1 && weir_buf_append_span(&k->answer, r.text) != WEIR_OK)
        return WEIR_BENCH_FAULT_LOCAL;
    weir_load_count(&k->load->live.tokens, r.completion_tokens);
    weir_tally_tokens(&k->load->tally, false, k->outcome.end_ns, r.completion_tokens, UINT64_MAX);
    return WEIR_BENCH_FAULT_NONE;
}

enum weir_bench_fault weir_load_judge(struct talk *k, enum weir_status status) {
    if (status != WEIR_OK) {
        enum weir_bench_fault fault = fault_of_status(status);
        sample(k, fault, weir_span_z(weir_status_text(status)));
        return fault;
    }
    if (k->outcome.http_status != 200) {
        struct weir_reply r;
        struct weir_span body = weir_buf_span(&k->body);
        sample(k, WEIR_BENCH_FAULT_HTTP,
               weir_reply_read(body, &r) && r.message.len > 0 ? r.message : body);
        return WEIR_BENCH_FAULT_HTTP;
    }
    if (!k->outcome.streamed)
        return judge_unary(k);
    if (k->saw_error)
        return WEIR_BENCH_FAULT_EVENT;
    if (k->saw_garbage)
        return WEIR_BENCH_FAULT_PROTOCOL;
    return k->saw_done ? WEIR_BENCH_FAULT_NONE : WEIR_BENCH_FAULT_NO_DONE;
}
