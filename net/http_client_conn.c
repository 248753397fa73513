/*
 * One connection of the HTTP client.
 *
 * Happy path: CONNECTING for a call → open: the request is written → BUSY → head → body → the call
 * is done → IDLE → another call … Answers are read with the server's strict parser; bytes that
 * belong to no answer close the connection, so that nothing can be taken for the next answer.
 *
 * Failures: whatever ends the stream ends the call with it. A connection that was idle may be
 * closed by the server just when a request is put on it. Such a request goes out once more, on a
 * fresh connection, when none of it has got there or when its method is safe; otherwise the caller
 * decides, and sent_any tells how.
 *
 * Every callback of the user may cancel the call or destroy the client. The connection outlives
 * both until on_close, so after each callback `call` is looked at again.
 */
#include "net/http_client_priv.h"

#include "base/log.h"
#include "base/mem.h"

void weir_hc_conn_close(struct hc_conn *k, enum weir_status status, const char *reason) {
    if (k->state == HC_CLOSED)
        return;
    k->state = HC_CLOSED;
    weir_list_remove(&k->node); /* not to be found among the idle ones */
    weir_list_push_back(&k->client->busy, &k->node);
    weir_deferred_cancel(&k->later);
    weir_timer_stop(&k->end_look);
    if (status != WEIR_OK)
        k->client->last_failure = reason;
    weir_stream_close(k->stream, status, reason);
}

static void fail(struct hc_conn *k, enum weir_status status, const char *reason) {
    struct weir_http_call *call = k->call;
    weir_hc_conn_close(k, status, reason);
    if (call != NULL)
        weir_hc_call_done(call, status);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* 0: it cannot be sent again. */
static size_t request_bytes(const struct weir_http_call *call) {
    return call->request.len > 0 ? call->request.len + call->body.len : 0;
}

/* None of it has got to the server, as far as that can be known. */
static bool undelivered(const struct hc_conn *k, bool *ret_open) {
    size_t n = request_bytes(k->call);
    return n > 0 && weir_stream_undelivered(k->stream, ret_open) >= n;
}

static void send_request(struct hc_conn *k) {
    struct weir_http_call *call = k->call;
    k->state = HC_BUSY;
    k->phase = HC_HEAD;
    k->got_bytes = false;
    k->n_interim = 0;
    k->finder = (struct weir_http_finder){0};
    enum weir_status st =
        weir_stream_write_now(k->stream, weir_buf_span(&call->request), call->body);
    if (st != WEIR_OK) {
        /* Not from inside the call that started it: on_close tells. */
        weir_hc_conn_close(k, st, "the request does not fit into the queue");
        return;
    }
    call->sent_any = true;
    if (!k->reused)
        weir_buf_fini(&call->request);
    if (call->paused)
        weir_stream_read_stop(k->stream);
}

static void on_open(void *arg) {
    struct hc_conn *k = arg;
    if (k->state == HC_CONNECTING)
        send_request(k);
}

void weir_hc_conn_assign(struct hc_conn *k, struct weir_http_call *call) {
    weir_list_remove(&k->node);
    weir_list_push_back(&k->client->busy, &k->node);
    k->call = call;
    call->conn = k;
    send_request(k);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void answer_complete(struct hc_conn *k, bool more_bytes) {
    struct weir_http_call *call = k->call;
    struct weir_http_client *c = k->client;
    bool reuse = k->keep_alive && !more_bytes && !k->eof && !c->destroyed &&
                 weir_stream_queued(k->stream) == 0;
    k->call = NULL;
    call->conn = NULL;
    if (!reuse) {
        weir_hc_conn_close(k, WEIR_OK, "the answer was the last on its connection");
    } else {
        k->state = HC_IDLE;
        k->reused = true;
        k->idle_since_ms = weir_loop_now_ms(c->loop);
        weir_buf_fini(&k->in);
        weir_list_remove(&k->node);
        weir_list_push_front(&c->idle, &k->node);
        if (call->paused)
            weir_stream_read_start(k->stream);
        weir_hc_free_slot(c);
    }
    weir_hc_call_done(call, WEIR_OK);
}

static bool choose_phase(struct hc_conn *k, int status, const struct weir_http_framing *f) {
    if (k->call->head_only || status == 204 || status == 304)
        return false;
    if (f->chunked) {
        k->chunks = (struct weir_http_chunks){0};
        k->phase = HC_CHUNKED;
        return true;
    }
    if (f->content_length < 0) {
        k->phase = HC_UNTIL_EOF;
        k->keep_alive = false;
        return true;
    }
    k->phase = HC_LENGTH;
    k->left = (uint64_t)f->content_length;
    return k->left > 0;
}

/* A whole head, without what comes after it. `more_bytes`: something comes after it. */
static void take_head(struct hc_conn *k, struct weir_span head, bool more_bytes) {
    struct weir_http_header headers[HC_MAX_HEADERS];
    struct weir_http_framing framing;
    size_t n = k->finder.n_lines - 1, skip = k->finder.first_len + 2;
    int status = 0;
    bool http10 = false;
    struct weir_http_fault f =
        weir_http_status_line(weir_span(head.data, k->finder.first_len), &status, &http10);
    if (f.status == 0)
        f = weir_http_fields(weir_span(head.data + skip, head.len - skip), headers, n);
    if (f.status == 0)
        f = weir_http_response_framing(headers, n, http10, &framing);
    if (f.status == 0 && status == 101)
        f = (struct weir_http_fault){502, "the server switches to another protocol"};
    if (f.status != 0) {
        fail(k, WEIR_PROTOCOL, f.text);
        return;
    }
    k->finder = (struct weir_http_finder){0};
    if (status < 200) { /* the final head follows */
        if (++k->n_interim > HC_MAX_INTERIM)
            fail(k, WEIR_PROTOCOL, "too many interim answers");
        return;
    }
    k->keep_alive = framing.keep_alive;
    struct weir_http_call *call = k->call;
    bool body = choose_phase(k, status, &framing);
    if (call->ops.on_head != NULL)
        call->ops.on_head(call->arg, status, headers, n);
    if (!body && k->call == call)
        answer_complete(k, more_bytes);
}

static size_t read_head(struct hc_conn *k, struct weir_span bytes) {
    const struct weir_http_head_limits limits = {
        .bytes = k->client->config.max_head_bytes, .count = HC_MAX_HEADERS, .response = true};
    struct weir_http_fault f;
    size_t n = weir_http_head_find(&k->finder, bytes, &limits, &f);
    if (f.status != 0)
        fail(k, f.status == 431 ? WEIR_TOO_LARGE : WEIR_PROTOCOL, f.text);
    else if (n > 0)
        take_head(k, weir_span(bytes.data, n), bytes.len > n);
    return n;
}

static void hand_over(struct hc_conn *k, struct weir_span data) {
    if (k->call->ops.on_body != NULL && data.len > 0)
        k->call->ops.on_body(k->call->arg, data);
}

static size_t read_length(struct hc_conn *k, struct weir_span bytes) {
    struct weir_http_call *call = k->call;
    size_t n = bytes.len < k->left ? bytes.len : (size_t)k->left;
    k->left -= n;
    hand_over(k, weir_span(bytes.data, n));
    if (k->call == call && k->left == 0)
        answer_complete(k, bytes.len > n);
    return n;
}

static size_t read_chunked(struct hc_conn *k, struct weir_span bytes) {
    size_t used;
    struct weir_span data;
    switch (weir_http_chunk_step(&k->chunks, bytes, &used, &data)) {
    case WEIR_HTTP_CHUNK_MORE:
        break;
    case WEIR_HTTP_CHUNK_DATA:
        hand_over(k, data);
        break;
    case WEIR_HTTP_CHUNK_END:
        answer_complete(k, bytes.len > used);
        break;
    case WEIR_HTTP_CHUNK_BAD:
        fail(k, WEIR_PROTOCOL, "the chunked body is malformed");
        break;
    }
    return used;
}

/* Returns how many bytes are done with; the rest waits for more of a head, or for resume. */
static size_t input(struct hc_conn *k, struct weir_span bytes) {
    struct weir_http_client *c = k->client;
    size_t at = 0;
    c->inside++;
    while (at < bytes.len && k->call != NULL && !k->call->paused) {
        struct weir_span rest = weir_span(bytes.data + at, bytes.len - at);
        size_t n = 0;
        switch (k->phase) {
        case HC_HEAD:
            n = read_head(k, rest);
            break;
        case HC_LENGTH:
            n = read_length(k, rest);
            break;
        case HC_CHUNKED:
            n = read_chunked(k, rest);
            break;
        case HC_UNTIL_EOF:
            n = rest.len;
            hand_over(k, rest);
            break;
        }
        if (n == 0)
            break;
        at += n;
    }
    c->inside--;
    return k->call != NULL ? at : bytes.len;
}

static void end_of_input(struct hc_conn *k) {
    if (k->call == NULL)
        weir_hc_conn_close(k, WEIR_OK, "closed by the server");
    else if (k->phase == HC_UNTIL_EOF)
        answer_complete(k, false);
    else
        fail(k, WEIR_DISCONNECTED, "closed by the server before the answer was complete");
}

static void read_kept(struct hc_conn *k) {
    if (k->in.len > 0 && k->call != NULL && !k->call->paused) {
        struct weir_buf in;
        weir_buf_init(&in, k->in.max);
        weir_buf_move(&in, &k->in);
        size_t n = input(k, weir_buf_span(&in));
        weir_buf_consume(&in, n);
        if (in.len > 0 && k->state != HC_CLOSED)
            weir_buf_move(&k->in, &in);
        else
            weir_buf_fini(&in);
    }
    if (k->eof && k->state != HC_CLOSED && (k->call == NULL || !k->call->paused))
        end_of_input(k);
}

static void later(void *arg) {
    read_kept(arg);
}

static void on_read(void *arg, struct weir_span bytes) {
    struct hc_conn *k = arg;
    if (k->state == HC_CLOSED)
        return;
    if (k->call == NULL) {
        weir_hc_conn_close(k, WEIR_PROTOCOL, "the server sent what nobody asked for");
        return;
    }
    if (!k->got_bytes) {
        k->got_bytes = true;
        weir_hc_call_started(k->call);
    }
    if (k->in.len == 0) {
        size_t n = input(k, bytes);
        bytes = weir_span(bytes.data + n, bytes.len - n);
    }
    if (bytes.len == 0 || k->state == HC_CLOSED || k->call == NULL)
        return;
    bool had = k->in.len > 0;
    if (weir_buf_append_span(&k->in, bytes) != WEIR_OK)
        fail(k, WEIR_TOO_LARGE, "no room for input");
    else if (had)
        read_kept(k);
}

/* ---- other events --------------------------------------------------------------------------- */

void weir_hc_conn_pause(struct hc_conn *k, bool paused) {
    if (k->state != HC_BUSY)
        return;
    if (paused) {
        weir_stream_read_stop(k->stream);
    } else {
        weir_stream_read_start(k->stream);
        weir_loop_defer(k->client->loop, &k->later);
    }
}

/* The connection was closed under a request that had waited for it in the pool. */
static bool may_retry(const struct hc_conn *k, bool unsent) {
    const struct weir_http_call *call = k->call;
    return call != NULL && k->reused && !k->got_bytes && !call->retried &&
           request_bytes(call) > 0 && (unsent || call->safe);
}

static void retry(struct hc_conn *k, bool unsent) {
    struct weir_http_call *call = k->call;
    k->call = NULL;
    call->conn = NULL;
    call->sent_any = !unsent;
    weir_hc_call_retry(call);
}

static void on_end_look(void *arg) {
    struct hc_conn *k = arg;
    if (k->state == HC_CLOSED)
        return;
    /* None of the request has got there. */
    bool open = false;
    bool unsent = k->call != NULL && k->state == HC_BUSY && undelivered(k, &open);
    if (!unsent && open && may_retry(k, true) && k->n_looks++ < HC_END_LOOKS &&
        weir_timer_start(&k->end_look, HC_END_LOOK_MS) == WEIR_OK)
        return;
    if (may_retry(k, unsent)) {
        retry(k, unsent);
        weir_hc_conn_close(k, WEIR_DISCONNECTED, "the server closed an idle connection");
    } else if (k->call == NULL || !k->call->paused) {
        end_of_input(k);
    }
}

static void on_eof(void *arg) {
    struct hc_conn *k = arg;
    if (k->state == HC_CLOSED)
        return;
    k->eof = true;
    on_end_look(k);
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct hc_conn *k = arg;
    struct weir_http_client *c = k->client;
    struct weir_http_call *call = k->call;
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "connection to %s closed: %s (%s)",
             weir_stream_peer(k->stream), reason, weir_status_text(status));
    k->state = HC_CLOSED;
    if (status != WEIR_OK)
        c->last_failure = reason;
    bool unsent = call != NULL && (!call->sent_any || undelivered(k, NULL));
    if (may_retry(k, unsent)) {
        retry(k, unsent);
    } else if (call != NULL) {
        c->inside++;
        weir_hc_call_done(call, status != WEIR_OK ? status : WEIR_DISCONNECTED);
        c->inside--;
    }
    weir_deferred_cancel(&k->later);
    weir_timer_stop(&k->end_look);
    weir_list_remove(&k->node);
    weir_buf_fini(&k->in);
    weir_free(k);
    weir_hc_conn_gone(c);
}

enum weir_status weir_hc_conn_open(struct weir_http_client *c, struct weir_http_call *call) {
    static const struct weir_stream_ops ops = {
        .on_open = on_open, .on_read = on_read, .on_eof = on_eof, .on_close = on_close};
    struct hc_conn *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return WEIR_NOMEM;
    k->client = c;
    k->state = HC_CONNECTING;
    k->keep_alive = true;
    weir_buf_init(&k->in, c->config.max_head_bytes + (1 << 20));
    weir_deferred_init(&k->later, later, k);
    weir_timer_init(&k->end_look, c->loop, on_end_look, k);
    weir_list_init(&k->node);
    const struct weir_stream_limits limits = {.open_ms = c->config.connect_ms,
                                              .write_max = (size_t)HC_MAX_REQUEST * 2,
                                              .write_stall_ms = HC_STALL_MS};
    enum weir_status st = weir_stream_connect(c->loop, c->ip, c->config.port, c->config.tls, c->sni,
                                              &limits, &ops, k, &k->stream);
    if (st != WEIR_OK) {
        weir_free(k);
        return st;
    }
    k->call = call;
    call->conn = k;
    weir_list_push_back(&c->busy, &k->node);
    c->n_conns++;
    return WEIR_OK;
}
