/*
 * Connections of HTTP/2: sessions, streams, deadlines.
 *
 * Happy path: TLS agreed on "h2", or the preface came (http_server_conn.c) → weir_http2_accept() →
 * bytes → nghttp2 → on_begin: a stream → on_field … → on_frame: the head is whole, on_head →
 * body (http2_body.c) … → the request is whole, on_request → the application answers
 * (http2_answer.c) → send(): frames into the connection's queue → on_stream_close: on_done, and the
 * stream is gone.
 *
 * The callbacks of nghttp2 may hand it answers but not run it: whatever is to be sent waits for
 * `later`, at the end of the turn. A stream is freed where nghttp2 says that it is closed, or with
 * the connection; an exchange may be over before (`cut`).
 *
 * Failures: what breaks a rule of the protocol ends the stream or the connection inside nghttp2,
 * and the exchanges end as aborted. A head over our limits and a body that is refused are answered
 * as in HTTP/1.1, but the connection lives on. Slowness is found by a tick while there are streams;
 * without any the connection is idle.
 */
#include "net/http2_priv.h"

#include "base/log.h"
#include "base/mem.h"

static uint64_t now_ms(const struct h2_conn *c) {
    return weir_loop_now_ms(c->server->loop);
}

/* ---- closing -------------------------------------------------------------------------------- */

void weir_http2_close(struct h2_conn *c, enum weir_status status, const char *reason) {
    if (c->closed)
        return;
    c->closed = true;
    weir_timer_stop(&c->timer);
    weir_stream_close(c->stream, status, reason);
}

static void set_timer(struct h2_conn *c) {
    if (c->closed)
        return;
    uint64_t ms = c->n_streams > 0 ? c->tick_ms : c->server->limits.idle_ms;
    if (weir_timer_start(&c->timer, ms) != WEIR_OK)
        weir_http2_close(c, WEIR_NOMEM, "out of memory");
}

void weir_http2_send_later(struct h2_conn *c) {
    if (!c->closed)
        weir_loop_defer(c->server->loop, &c->later);
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static void end_exchange(struct h2_stream *st, enum weir_http_done how) {
    struct weir_http_server *s = st->conn->server;
    if (!st->x.open)
        return;
    st->x.open = false;
    s->n_open--;
    s->handler->on_done(s->arg, &st->x, how);
}

/* What is queued goes out first, and a slow client gets the time for it. */
static void close_flushed(struct h2_conn *c, const char *reason) {
    c->closed = true;
    weir_timer_stop(&c->timer);
    WEIR_LIST_FOREACH(it, &c->streams) {
        struct h2_stream *st = WEIR_CONTAINER_OF(it, struct h2_stream, node);
        end_exchange(st, st->sent ? WEIR_HTTP_DONE_SENT : WEIR_HTTP_DONE_ABORTED);
    }
    weir_stream_flush(c->stream);
    weir_stream_close_flushed(c->stream, weir_stream_queued(c->stream) > 0 ? FLUSH_MS : LINGER_MS,
                              reason);
}

static void free_stream(struct h2_stream *st) {
    struct h2_conn *c = st->conn;
    weir_http2_body_gone(st);
    weir_buf_fini(&st->out);
    weir_http_exchange_release(c->server, &st->x);
    weir_list_remove(&st->node);
    weir_free(st);
    if (--c->n_streams == 0)
        set_timer(c);
}

void weir_http2_cut(struct h2_stream *st, uint32_t code) {
    struct h2_conn *c = st->conn;
    if (c->closed || st->cut)
        return;
    st->cut = true;
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, st->id, code) != 0)
        weir_http2_close(c, WEIR_NOMEM, "out of memory");
    weir_http2_send_later(c);
}

static void request_complete(struct h2_stream *st) {
    struct weir_http_exchange *x = &st->x;
    if (st->received || !x->open || st->cut)
        return;
    weir_http2_body_whole(st);
    if (x->answered)
        return;
    x->req.body = x->small_body != NULL ? weir_span(x->small_body, (size_t)x->body_len)
                                        : weir_buf_span(&x->body);
    st->conn->server->handler->on_request(st->conn->server->arg, x);
}

/* ---- heads ---------------------------------------------------------------------------------- */

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2_conn *c = arg;
    if (c->closed || frame->hd.type != NGHTTP2_HEADERS ||
        frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct weir_http_server *s = c->server;
    struct h2_stream *st = weir_calloc(1, sizeof(*st));
    if (st == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    weir_http_exchange_take(s, &st->x);
    st->x.http2 = true;
    st->conn = c;
    st->id = frame->hd.stream_id;
    st->due_ms = now_ms(c) + s->limits.header_ms;
    weir_buf_init(&st->out, s->limits.write_max);
    st->headers =
        weir_arena_alloc(&st->x.arena, (s->limits.header_count + 1) * sizeof(*st->headers));
    if (st->headers == NULL)
        st->fault = (struct weir_http_fault){503, "out of memory"};
    weir_list_push_back(&c->streams, &st->node);
    if (c->n_streams++ == 0)
        set_timer(c);
    return nghttp2_session_set_stream_user_data(session, st->id, st) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void take_field(struct h2_stream *st, struct weir_span name, struct weir_span value) {
    const struct weir_http_limits *l = &st->conn->server->limits;
    if (st->fault.status != 0)
        return;
    st->head_bytes += name.len + value.len + 4;
    if (st->head_bytes > l->header_bytes) {
        st->fault = (struct weir_http_fault){431, "the request head is too large"};
        return;
    }
    struct weir_span copy = weir_arena_copy(&st->x.arena, value);
    struct weir_span label = weir_arena_copy(&st->x.arena, name);
    if (copy.data == NULL || label.data == NULL) {
        st->fault = (struct weir_http_fault){503, "out of memory"};
    } else if (name.data[0] == ':') {
        if (weir_span_eqz(name, ":method"))
            st->x.req.method = copy;
        else if (weir_span_eqz(name, ":path"))
            st->x.req.target = copy;
        else if (weir_span_eqz(name, ":authority"))
            st->authority = copy;
    } else if (st->n_headers == l->header_count) {
        st->fault = (struct weir_http_fault){431, "too many header fields"};
    } else {
        st->has_host |= weir_span_eqz(name, "host");
        st->headers[st->n_headers++] = (struct weir_http_header){label, copy};
    }
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                    void *arg) {
    (void)flags;
    (void)arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    /* Those of a trailer are dropped, as in HTTP/1.1. */
    if (st != NULL && frame->hd.type == NGHTTP2_HEADERS && !st->head_done && name_len > 0)
        take_field(st, weir_span((const char *)name, name_len),
                   weir_span((const char *)value, value_len));
    return 0;
}

static struct weir_http_fault read_request(struct h2_stream *st) {
    struct weir_http_exchange *x = &st->x;
    struct weir_http_framing *f = &x->framing;
    struct weir_http_request *q = &x->req;
    x->head_only = weir_span_eqz(q->method, "HEAD"); /* of a fault as well */
    if (st->fault.status != 0)
        return st->fault;
    if (q->target.len > st->conn->server->limits.target_bytes)
        return (struct weir_http_fault){414, "the request target is too long"};
    if (!st->has_host && st->authority.len > 0)
        st->headers[st->n_headers++] =
            (struct weir_http_header){WEIR_SPAN_LIT("host"), st->authority};
    *f = (struct weir_http_framing){.content_length = -1, .keep_alive = true};
    for (size_t i = 0; i < st->n_headers; i++) {
        const struct weir_http_header *h = &st->headers[i];
        q->name_lengths |= (uint64_t)1 << (h->name.len & 63);
        if (weir_span_eqz(h->name, "expect")) {
            if (!weir_span_ieq(h->value, WEIR_SPAN_LIT("100-continue")))
                return (struct weir_http_fault){417,
                                                "the only expectation understood is 100-continue"};
            f->expect_continue = true;
        }
    }
    q->headers = st->headers;
    q->n_headers = st->n_headers;
    q->keep_alive = true;
    q->body = weir_span("", 0);
    q->received_ns = weir_loop_event_ns(st->conn->server->loop);
    struct weir_http_request_line line = {.method = q->method, .target = q->target};
    struct weir_http_fault fault = weir_http_request_target(&line);
    q->path = line.path;
    q->query = line.query;
    return fault;
}

/* A declared length that a number cannot hold is refused by nghttp2 before. */
static void read_length(struct weir_http_exchange *x) {
    struct weir_span length = weir_http_header_get(&x->req, "content-length");
    uint64_t n;
    if (length.data != NULL && weir_span_u64(length, &n) && n <= (uint64_t)1 << 62)
        x->framing.content_length = (int64_t)n;
    x->req.content_length = x->framing.content_length;
}

static void open_exchange(struct h2_stream *st, bool all) {
    struct weir_http_exchange *x = &st->x;
    struct weir_http_server *s = st->conn->server;
    st->head_done = true;
    st->due_ms = 0;
    struct weir_http_fault f = read_request(st);
    if (f.status != 0) {
        st->received = true;
        weir_http2_answer_fault(st, f);
        return;
    }
    read_length(x);
    x->open = true;
    s->n_open++;
    x->body_limit = s->handler->on_head(s->arg, x);
    if (st->conn->closed || st->cut)
        return;
    if (all)
        request_complete(st);
    else if (!x->answered)
        weir_http2_body_start(st);
}

/* ---- what else nghttp2 tells ----------------------------------------------------------------- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    struct h2_conn *c = arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (st == NULL || c->closed)
        return 0;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !st->head_done)
        open_exchange(st, end);
    else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && end)
        request_complete(st);
    return 0;
}

/* An answer that ends before its request does: the client is told that the rest is not wanted. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg) {
    (void)arg;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (st != NULL)
        st->sent = true;
    if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0 &&
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

/* A head of an answer over nghttp2's 64 KiB, or of a stream that ends: nothing else would. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *arg) {
    (void)arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (st == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s: the head of an answer cannot be sent: %s",
             weir_stream_peer(st->conn->stream), nghttp2_strerror(code));
    weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg) {
    (void)code;
    (void)arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (st == NULL)
        return 0;
    end_exchange(st, st->sent ? WEIR_HTTP_DONE_SENT : WEIR_HTTP_DONE_ABORTED);
    free_stream(st);
    return 0;
}

enum weir_status weir_http2_setup(struct weir_http_server *s) {
    if (nghttp2_session_callbacks_new(&s->h2_callbacks) != 0)
        return WEIR_NOMEM;
    nghttp2_session_callbacks *k = s->h2_callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(k, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(k, on_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(k, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(k, weir_http2_body_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(k, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(k, on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(k, on_stream_close);
    if (nghttp2_option_new(&s->h2_options) != 0)
        return WEIR_NOMEM;
    nghttp2_option_set_no_auto_window_update(s->h2_options, 1); /* http2_body.c */
#ifdef WEIR_NGHTTP2_RESET_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(s->h2_options, H2_RESETS, H2_RESETS_PER_S);
#endif
    return WEIR_OK;
}

void weir_http2_teardown(struct weir_http_server *s) {
    nghttp2_session_callbacks_del(s->h2_callbacks);
    nghttp2_option_del(s->h2_options);
}

/* ---- output --------------------------------------------------------------------------------- */

/* Exchanges that were cut end here, however slowly their connection takes bytes. */
static void end_cut(struct h2_conn *c) {
    WEIR_LIST_FOREACH(it, &c->streams) {
        struct h2_stream *st = WEIR_CONTAINER_OF(it, struct h2_stream, node);
        if (st->cut)
            end_exchange(st, WEIR_HTTP_DONE_ABORTED);
    }
}

static void tell_writable(struct h2_conn *c) {
    const struct weir_http_handler *h = c->server->handler;
    WEIR_LIST_FOREACH(it, &c->streams) {
        struct h2_stream *st = WEIR_CONTAINER_OF(it, struct h2_stream, node);
        if (!st->full || h2_queued(st) > H2_WRITE_LOW)
            continue;
        st->full = false;
        if (st->x.open && !st->x.ended && !st->cut && h->on_writable != NULL)
            h->on_writable(c->server->arg, &st->x);
    }
}

static void send(struct h2_conn *c) {
    const uint8_t *data;
    while (!c->closed && weir_stream_writable(c->stream)) {
        ssize_t n = nghttp2_session_mem_send(c->session, &data);
        if (n == 0)
            break;
        if (n < 0 || weir_stream_write(c->stream, data, (size_t)n) != WEIR_OK)
            weir_http2_close(c, WEIR_NOMEM, "frames could not be sent");
    }
    if (!c->closed && !nghttp2_session_want_read(c->session) &&
        !nghttp2_session_want_write(c->session))
        close_flushed(c, "the HTTP/2 session has ended");
}

static void later(void *arg) {
    struct h2_conn *c = arg;
    if (c->closed)
        return;
    end_cut(c);
    send(c);
    if (!c->closed)
        tell_writable(c);
}

/* ---- events of the stream ------------------------------------------------------------------- */

static void on_read(void *arg, struct weir_span bytes) {
    struct h2_conn *c = arg;
    if (c->closed)
        return;
    ssize_t n = nghttp2_session_mem_recv(c->session, (const uint8_t *)bytes.data, bytes.len);
    if (n < 0) {
        WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s: HTTP/2: %s", weir_stream_peer(c->stream),
                 nghttp2_strerror((int)n));
        weir_http2_close(c, WEIR_INVALID, "what came is no HTTP/2");
        return;
    }
    if (nghttp2_session_get_outbound_queue_size(c->session) > H2_FRAMES)
        send(c);
    if (nghttp2_session_get_outbound_queue_size(c->session) > H2_FRAMES)
        weir_http2_close(c, WEIR_LIMIT, "the client takes no frames");
    weir_http2_send_later(c);
}

static void on_eof(void *arg) {
    struct h2_conn *c = arg;
    if (c->n_streams > 0)
        weir_http2_close(c, WEIR_DISCONNECTED, "the client left before its answers");
    else if (!c->closed)
        close_flushed(c, "the client closed");
}

static void on_drain(void *arg) {
    later(arg);
}

/* The end of an answer waits for the client's window too, be it without a byte. */
static bool stalled(const struct h2_stream *st, uint64_t now) {
    bool waits = h2_queued(st) > 0 || (st->x.streaming && st->x.ended && !st->sent);
    return waits && now - st->progress_ms >= st->conn->server->limits.write_stall_ms;
}

static void check_stream(struct h2_stream *st, uint64_t now) {
    if (!weir_stream_writable(st->conn->stream))
        st->progress_ms = now; /* the connection is slow: whether it stalls, it finds out itself */
    if (stalled(st, now)) {
        weir_http2_cut(st, NGHTTP2_CANCEL);
        return;
    }
    if (st->due_ms == 0 || st->cut)
        return;
    if (st->waits && !st->x.answered)
        st->due_ms = now + st->conn->server->limits.body_ms; /* it is we who do not take more */
    /* Until a head is whole no frame but the rest of it may come (RFC 9113 6.10), and its fields
     * are part of the compression's state: no other stream of the connection can go on. */
    if (!st->head_done && now >= st->due_ms)
        weir_http2_close(st->conn, WEIR_TIMEOUT, "a request head came too slowly");
    else if (st->head_done && (now >= st->due_ms || now >= st->body_due_ms))
        weir_http2_body_error(st, st->waits ? 503 : 408);
}

static void on_timer(void *arg) {
    struct h2_conn *c = arg;
    if (c->n_streams == 0) {
        if (c->said_goaway) {
            weir_http2_close(c, WEIR_OK, "idle");
            return;
        }
        weir_http2_drain(c);
        if (!c->closed && weir_timer_start(&c->timer, LINGER_MS) != WEIR_OK)
            weir_http2_close(c, WEIR_NOMEM, "out of memory");
        return;
    }
    uint64_t now = now_ms(c);
    WEIR_LIST_FOREACH(it, &c->streams) {
        check_stream(WEIR_CONTAINER_OF(it, struct h2_stream, node), now);
    }
    set_timer(c);
}

static void free_conn(struct h2_conn *c) {
    struct weir_http_server *s = c->server;
    nghttp2_session_del(c->session);
    weir_timer_stop(&c->timer);
    weir_deferred_cancel(&c->later);
    weir_list_remove(&c->node);
    weir_free(c);
    if (--s->n_conns == 0 && s->destroyed)
        weir_http_server_free(s);
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct h2_conn *c = arg;
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s closed: %s (%s)", weir_stream_peer(c->stream), reason,
             weir_status_text(status));
    c->closed = true;
    WEIR_LIST_FOREACH(it, &c->streams) {
        struct h2_stream *st = WEIR_CONTAINER_OF(it, struct h2_stream, node);
        end_exchange(st,
                     st->sent && status == WEIR_OK ? WEIR_HTTP_DONE_SENT : WEIR_HTTP_DONE_ABORTED);
        free_stream(st);
    }
    free_conn(c);
}

static const struct weir_stream_ops stream_ops = {
    .on_read = on_read, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close};

/* ---- life ----------------------------------------------------------------------------------- */

static uint64_t tick_of(const struct weir_http_limits *l) {
    uint64_t least = l->header_ms < l->body_ms ? l->header_ms : l->body_ms;
    if (l->write_stall_ms < least)
        least = l->write_stall_ms;
    least /= 4;
    return least < H2_TICK_MIN_MS   ? H2_TICK_MIN_MS
           : least > H2_TICK_MAX_MS ? H2_TICK_MAX_MS
                                    : least;
}

static bool open_session(struct h2_conn *c) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->server->limits.header_bytes}};
    return nghttp2_session_server_new2(&c->session, c->server->h2_callbacks, c,
                                       c->server->h2_options) == 0 &&
           nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
                                   WEIR_ARRAY_LEN(settings)) == 0 &&
           nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_WINDOW) == 0;
}

void weir_http2_accept(struct weir_http_server *s, struct weir_stream *stream,
                       struct weir_span first, struct weir_span second) {
    struct h2_conn *c = weir_calloc(1, sizeof(*c));
    if (c == NULL) {
        static const struct weir_stream_ops none = {.on_close = NULL};
        weir_stream_adopt(stream, &none, NULL); /* whose it was before is gone */
        weir_stream_close(stream, WEIR_NOMEM, "no connection object");
        return;
    }
    c->server = s;
    c->stream = stream;
    c->tick_ms = tick_of(&s->limits);
    c->bodies_max = s->limits.h2_bodies;
    weir_list_init(&c->streams);
    weir_timer_init(&c->timer, s->loop, on_timer, c);
    weir_deferred_init(&c->later, later, c);
    weir_list_push_back(&s->h2_conns, &c->node);
    s->n_conns++;
    weir_stream_adopt(stream, &stream_ops, c);
    if (!open_session(c)) {
        weir_http2_close(c, WEIR_NOMEM, "out of memory");
        return;
    }
    set_timer(c);
    weir_http2_send_later(c);
    if (first.len > 0)
        on_read(c, first);
    if (second.len > 0)
        on_read(c, second);
    if (s->draining)
        weir_http2_drain(c);
}

/* GOAWAY: streams that are open go on, later ones are not looked at, which the client is told. */
void weir_http2_drain(struct h2_conn *c) {
    if (c->closed || c->said_goaway)
        return;
    c->said_goaway = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
    if (nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0)
        weir_http2_close(c, WEIR_NOMEM, "out of memory");
    weir_http2_send_later(c);
}
