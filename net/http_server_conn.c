/*
 * Connections of the HTTP server: reading, exchanges, deadlines.
 *
 * Happy path: accept → IDLE → bytes → HEAD → a whole head: on_head → BODY (or at once WORK) → the
 * whole body: on_request → WORK → the application answers (http_server_answer.c) → settle():
 * on_done → IDLE, and what was read ahead is looked at.
 *
 * Failures: a head that is refused is answered without an exchange; a body that is refused goes to
 * on_body_error. Both end the connection: FIN, then input is dropped for a moment (LINGER), so that
 * the answer is not lost to a reset. Everything else closes the stream, and on_close reports the
 * open exchange as aborted. Only on_close frees a connection.
 *
 * While a request is in work reading goes on, since that is how a client that left is noticed; it
 * stops when READ_AHEAD bytes of later requests wait.
 */
#include "net/http_server_priv.h"

#include "base/log.h"
#include "base/mem.h"

/* ---- deadlines ------------------------------------------------------------------------------ */

/* The timer is moved only when it would fire too late: most requests never touch it. */
static void set_deadline(struct conn *c, uint64_t deadline_ms) {
    c->deadline_ms = deadline_ms;
    if (deadline_ms == 0 || (weir_timer_active(&c->timer) && c->timer.due_ms <= deadline_ms))
        return;
    uint64_t now = weir_loop_now_ms(c->server->loop);
    if (weir_timer_start(&c->timer, deadline_ms > now ? deadline_ms - now : 0) != WEIR_OK)
        weir_http_conn_close(c, WEIR_NOMEM, "out of memory");
}

static uint64_t in_ms(const struct conn *c, uint64_t ms) {
    return weir_loop_now_ms(c->server->loop) + ms;
}

static void set_state(struct conn *c, enum conn_state state) {
    if (c->state == CONN_CLOSED || c->state == state)
        return;
    c->state = state;
    switch (state) {
    case CONN_IDLE:
        c->finder = (struct weir_http_finder){0};
        set_deadline(c, in_ms(c, c->server->limits.idle_ms));
        break;
    case CONN_HEAD:
        set_deadline(c, in_ms(c, c->server->limits.header_ms));
        break;
    case CONN_BODY:
        c->body_deadline_ms = in_ms(c, c->server->limits.body_total_ms);
        break;
    case CONN_LINGER:
        set_deadline(c, in_ms(c, LINGER_MS));
        break;
    case CONN_WORK:
    case CONN_CLOSED:
        set_deadline(c, 0);
        break;
    case CONN_DISCARD:
        break;
    }
}

static void expect_body(struct conn *c) {
    uint64_t at = in_ms(c, c->server->limits.body_ms);
    set_deadline(c, at < c->body_deadline_ms ? at : c->body_deadline_ms);
}

/* ---- closing -------------------------------------------------------------------------------- */

void weir_http_conn_close(struct conn *c, enum weir_status status, const char *reason) {
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    c->deadline_ms = 0;
    weir_stream_close(c->stream, status, reason);
}

static void resume_reading(struct conn *c) {
    if (c->read_stopped && c->state != CONN_CLOSED) {
        c->read_stopped = false;
        weir_stream_read_start(c->stream);
    }
}

/* The queue goes out, then FIN. Input is dropped until the client closes too: closing over unread
 * bytes would reset the connection and might take the answer with it. */
static void linger(struct conn *c) {
    if (c->state == CONN_CLOSED || c->state == CONN_LINGER)
        return;
    weir_buf_fini(&c->in);
    weir_stream_shutdown(c->stream);
    set_state(c, CONN_LINGER);
    resume_reading(c);
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static void end_exchange(struct conn *c, enum weir_http_done how) {
    c->x.open = false;
    c->server->n_open--;
    c->server->handler->on_done(c->server->arg, &c->x, how);
    weir_http_exchange_release(c->server, &c->x);
}

/* After anything that may have completed an answer. */
static void settle(struct conn *c) {
    struct weir_http_exchange *x = &c->x;
    if (!x->open || !x->ended || c->state == CONN_CLOSED || !weir_stream_writable(c->stream))
        return;
    if (x->close_after || c->server->draining) {
        linger(c);
        end_exchange(c, WEIR_HTTP_DONE_SENT);
        return;
    }
    /* The framing is needed to skip the rest of the body. */
    struct weir_http_framing framing = x->framing;
    uint64_t body_len = x->body_len;
    bool body_open = c->state == CONN_BODY;
    end_exchange(c, WEIR_HTTP_DONE_SENT);
    c->x.framing = framing;
    c->x.body_len = body_len;
    if (c->server->draining) /* since that callback */
        linger(c);
    else
        set_state(c, body_open ? CONN_DISCARD : CONN_IDLE);
}

static void body_error(struct conn *c, int status) {
    struct weir_http_exchange *x = &c->x;
    x->close_after = true;
    x->broken = true;
    weir_buf_fini(&c->in);
    set_state(c, CONN_WORK);
    if (x->answered)
        return; /* the client has its answer, or the start of it */
    c->server->handler->on_body_error(c->server->arg, x, status);
}

static bool has_body(const struct weir_http_framing *f) {
    return f->chunked || f->content_length > 0;
}

static void start_body(struct conn *c, bool more_is_here) {
    struct weir_http_exchange *x = &c->x;
    int refused = weir_http_body_prepare(x);
    if (refused != 0) {
        body_error(c, refused);
        return;
    }
    if (x->framing.expect_continue && !more_is_here) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (weir_stream_write(c->stream, text, sizeof(text) - 1) != WEIR_OK) {
            weir_http_conn_close(c, WEIR_TOO_LARGE, "no room for 100 Continue");
            return;
        }
    }
    x->continued = true;
}

static void request_complete(struct conn *c) {
    struct weir_http_exchange *x = &c->x;
    set_state(c, CONN_WORK);
    if (x->answered)
        return;
    x->req.body = x->small_body != NULL ? weir_span(x->small_body, (size_t)x->body_len)
                                        : weir_buf_span(&x->body);
    c->server->handler->on_request(c->server->arg, x);
}

static void drop_unopened(struct conn *c, struct weir_http_fault f) {
    weir_http_exchange_release(c->server, &c->x);
    weir_http_answer_fault(c, f);
    linger(c);
}

/* Copies the head and fills the request; the spans of the request point into the copy. */
static struct weir_http_fault read_request(struct conn *c, struct weir_span head) {
    static const struct weir_http_fault no_memory = {503, "out of memory"};
    struct weir_http_exchange *x = &c->x;
    size_t n = c->finder.n_lines - 1;
    struct weir_span copy = weir_arena_copy(&x->arena, head);
    struct weir_http_header *headers = weir_arena_alloc(&x->arena, n * sizeof(*headers) + 1);
    if (copy.data == NULL || headers == NULL)
        return no_memory;
    struct weir_http_request_line line;
    struct weir_http_fault f =
        weir_http_request_line(weir_span(copy.data, c->finder.first_len), &line);
    size_t skip = c->finder.first_len + 2;
    if (f.status == 0)
        f = weir_http_fields(weir_span(copy.data + skip, copy.len - skip), headers, n);
    if (f.status == 0)
        f = weir_http_request_framing(headers, n, line.http10, &x->framing);
    if (f.status != 0)
        return f;
    x->req = (struct weir_http_request){.method = line.method,
                                        .target = line.target,
                                        .path = line.path,
                                        .query = line.query,
                                        .headers = headers,
                                        .n_headers = n,
                                        .keep_alive = x->framing.keep_alive,
                                        .http10 = line.http10,
                                        .content_length = x->framing.content_length,
                                        .body = weir_span("", 0),
                                        .received_ns = weir_loop_event_ns(c->server->loop)};
    for (size_t i = 0; i < n; i++)
        x->req.name_lengths |= (uint64_t)1 << (headers[i].name.len & 63);
    x->head_only = weir_span_eqz(line.method, "HEAD");
    x->close_after = !x->framing.keep_alive;
    return f;
}

static void open_exchange(struct conn *c, struct weir_span head, bool more_is_here) {
    struct weir_http_exchange *x = &c->x;
    struct weir_http_server *s = c->server;
    weir_http_exchange_take(s, x);
    struct weir_http_fault f = read_request(c, head);
    if (f.status != 0) {
        drop_unopened(c, f);
        return;
    }
    bool body = has_body(&x->framing);
    x->open = true;
    s->n_open++;
    c->chunks = (struct weir_http_chunks){0};
    set_state(c, body ? CONN_BODY : CONN_WORK);
    x->body_limit = s->handler->on_head(s->arg, x);
    if (c->state == CONN_CLOSED)
        return;
    if (!body && !x->answered)
        s->handler->on_request(s->arg, x);
    else if (body && !x->answered)
        start_body(c, more_is_here);
    settle(c);
    if (c->state == CONN_BODY || c->state == CONN_DISCARD)
        expect_body(c);
}

/* ---- input ---------------------------------------------------------------------------------- */

static size_t read_head(struct conn *c, struct weir_span bytes) {
    const struct weir_http_limits *l = &c->server->limits;
    const struct weir_http_head_limits limits = {
        .bytes = l->header_bytes, .target_bytes = l->target_bytes, .count = l->header_count};
    struct weir_http_fault f;
    size_t n = weir_http_head_find(&c->finder, bytes, &limits, &f);
    if (f.status != 0) {
        weir_http_answer_fault(c, f);
        linger(c);
    } else if (n == 0) {
        set_state(c, CONN_HEAD);
    } else {
        struct weir_span head = weir_span(bytes.data + c->finder.start, n - c->finder.start);
        open_exchange(c, head, bytes.len > n);
    }
    return n;
}

/* Payload of the current body. False: it was refused, and the rest is not looked at. */
static bool take_payload(struct conn *c, struct weir_span data) {
    struct weir_http_exchange *x = &c->x;
    uint64_t before = x->body_len;
    x->body_len += data.len;
    if (c->state == CONN_DISCARD || x->answered) {
        if (x->body_len <= DISCARD_MAX || x->framing.content_length >= 0)
            return true;
        if (c->state == CONN_DISCARD)
            linger(c);
        else
            body_error(c, 413);
        return false;
    }
    if (x->body_len > x->body_limit) {
        body_error(c, 413);
        return false;
    }
    if (weir_http_body_put(x, before, data) == WEIR_OK)
        return true;
    body_error(c, 503);
    return false;
}

static void body_complete(struct conn *c) {
    if (c->state != CONN_DISCARD)
        request_complete(c);
    else if (c->server->draining)
        linger(c);
    else
        set_state(c, CONN_IDLE);
}

static size_t read_plain_body(struct conn *c, struct weir_span bytes) {
    uint64_t left = (uint64_t)c->x.framing.content_length - c->x.body_len;
    size_t n = bytes.len < left ? bytes.len : (size_t)left;
    if (take_payload(c, weir_span(bytes.data, n)) && n == left)
        body_complete(c);
    return n;
}

static size_t read_chunked_body(struct conn *c, struct weir_span bytes) {
    size_t used;
    struct weir_span data;
    switch (weir_http_chunk_step(&c->chunks, bytes, &used, &data)) {
    case WEIR_HTTP_CHUNK_MORE:
        break;
    case WEIR_HTTP_CHUNK_DATA:
        take_payload(c, data);
        break;
    case WEIR_HTTP_CHUNK_END:
        body_complete(c);
        break;
    case WEIR_HTTP_CHUNK_BAD:
        if (c->state == CONN_DISCARD)
            linger(c);
        else
            body_error(c, 400);
        break;
    }
    return used;
}

static size_t read_body(struct conn *c, struct weir_span bytes) {
    size_t n = c->x.framing.chunked ? read_chunked_body(c, bytes) : read_plain_body(c, bytes);
    settle(c);
    if (c->state == CONN_BODY || c->state == CONN_DISCARD)
        expect_body(c);
    return n;
}

/* Returns how many bytes are done with; the rest waits for more, or for the answer in work. */
static size_t input(struct conn *c, struct weir_span bytes) {
    size_t at = 0;
    c->busy = true;
    while (at < bytes.len) {
        struct weir_span rest = weir_span(bytes.data + at, bytes.len - at);
        size_t n = 0;
        switch (c->state) {
        case CONN_IDLE:
        case CONN_HEAD:
            n = read_head(c, rest);
            break;
        case CONN_BODY:
        case CONN_DISCARD:
            n = read_body(c, rest);
            break;
        case CONN_WORK:
            n = c->x.broken ? rest.len : 0;
            break;
        case CONN_LINGER:
        case CONN_CLOSED:
            n = rest.len;
            break;
        }
        at += n;
        if (n == 0 && c->state != CONN_LINGER && c->state != CONN_CLOSED)
            break;
    }
    c->busy = false;
    return at;
}

/* Looks at what was read ahead. */
static void advance(struct conn *c) {
    if (c->in.len > 0 && c->state != CONN_WORK) {
        /* The buffer may be emptied by linger() on the way: work on it as ours. */
        struct weir_buf in;
        weir_buf_init(&in, c->in.max);
        weir_buf_move(&in, &c->in);
        size_t n = input(c, weir_buf_span(&in));
        weir_buf_consume(&in, n);
        if (in.len > 0)
            weir_buf_move(&c->in, &in);
        else
            weir_buf_fini(&in);
    }
    if (c->in.len < READ_AHEAD)
        resume_reading(c);
}

/* A long body goes to where it stays: no copy, and no more reads than the peer makes necessary. Not
 * a byte behind its end, which may be freed with it. */
static char *on_room(void *arg, size_t *ret_bytes) {
    struct conn *c = arg;
    struct weir_http_exchange *x = &c->x;
    if (c->state != CONN_BODY || x->answered || x->framing.chunked || x->small_body != NULL ||
        c->in.len > 0)
        return NULL;
    uint64_t left = (uint64_t)x->framing.content_length - x->body_len;
    size_t now = left < BODY_TRUST ? (size_t)left : BODY_TRUST;
    if (left < BODY_DIRECT ||
        (x->body.cap == x->body.len && weir_buf_reserve(&x->body, now) != WEIR_OK))
        return NULL;
    size_t room = x->body.cap - x->body.len;
    *ret_bytes = left < room ? (size_t)left : room;
    return x->body.data + x->body.len;
}

/* The first bytes of a connection may be HTTP/2's preface: its request line tells, which no request
 * of HTTP/1 has. False: `bytes` are HTTP/1, or not enough to tell; behind what `in` holds of them.
 */
static bool is_http2(struct conn *c, struct weir_span bytes) {
    static const char line[] = "PRI * HTTP/2.0\r\n";
    char first[sizeof(line) - 1];
    size_t held = c->in.len, n = sizeof(first) - held;
    if (n > bytes.len)
        n = bytes.len;
    if (held > 0)
        memcpy(first, c->in.data, held);
    memcpy(first + held, bytes.data, n);
    c->fresh = memcmp(first, line, held + n) == 0;
    return c->fresh && held + n == sizeof(first);
}

/* Hands the connection over; `c` is gone. */
static void become_http2(struct conn *c, struct weir_span bytes) {
    struct weir_http_server *s = c->server;
    struct weir_stream *stream = c->stream;
    struct weir_buf in = c->in;
    weir_timer_stop(&c->timer);
    weir_deferred_cancel(&c->later);
    weir_list_remove(&c->node);
    weir_free(c);
    s->n_conns--;
    weir_http2_accept(s, stream, weir_buf_span(&in), bytes);
    weir_buf_fini(&in);
}

static void on_read(void *arg, struct weir_span bytes) {
    struct conn *c = arg;
    if (c->state == CONN_CLOSED)
        return;
    if (c->fresh && bytes.len > 0 && is_http2(c, bytes)) {
        become_http2(c, bytes);
        return;
    }
    if (c->in.len == 0) {
        size_t n = input(c, bytes);
        bytes = weir_span(bytes.data + n, bytes.len - n);
    }
    if (bytes.len > 0 && c->state != CONN_CLOSED) {
        if (weir_buf_append_span(&c->in, bytes) != WEIR_OK) {
            weir_http_conn_close(c, WEIR_NOMEM, "no room for input");
            return;
        }
        if (c->state != CONN_WORK && c->in.len > bytes.len)
            advance(c);
    }
    if (c->state == CONN_WORK && c->in.len >= READ_AHEAD && !c->read_stopped) {
        c->read_stopped = true;
        weir_stream_read_stop(c->stream);
    }
}

/* ---- other events of the stream ------------------------------------------------------------- */

static void later(void *arg) {
    struct conn *c = arg;
    settle(c);
    advance(c);
}

static void on_eof(void *arg) {
    struct conn *c = arg;
    switch (c->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_DISCARD:
    case CONN_LINGER:
        c->state = CONN_CLOSED;
        weir_stream_close_flushed(c->stream, FLUSH_MS, "the client closed");
        break;
    case CONN_BODY:
        body_error(c, 400);
        settle(c);
        break;
    case CONN_WORK:
        if (c->x.ended)
            c->x.close_after = true;
        else
            weir_http_conn_close(c, WEIR_DISCONNECTED, "the client left before its answer");
        break;
    case CONN_CLOSED:
        break;
    }
}

static void on_drain(void *arg) {
    struct conn *c = arg;
    if (c->x.open && !c->x.ended && c->x.streaming && c->server->handler->on_writable != NULL)
        c->server->handler->on_writable(c->server->arg, &c->x);
    later(c);
}

static void on_timer(void *arg) {
    struct conn *c = arg;
    if (c->deadline_ms == 0)
        return;
    if (weir_loop_now_ms(c->server->loop) < c->deadline_ms) {
        set_deadline(c, c->deadline_ms);
        return;
    }
    switch (c->state) {
    case CONN_IDLE:
        weir_http_conn_close(c, WEIR_OK, "idle");
        break;
    case CONN_HEAD:
        if (c->in.len == c->finder.line && c->finder.n_lines == 0) {
            weir_http_conn_close(c, WEIR_OK, "idle"); /* nothing but empty lines came */
            break;
        }
        weir_http_answer_fault(c,
                               (struct weir_http_fault){408, "the request head came too slowly"});
        linger(c);
        break;
    case CONN_BODY:
        body_error(c, 408);
        settle(c);
        break;
    case CONN_DISCARD:
        linger(c);
        break;
    case CONN_LINGER:
        if (weir_stream_queued(c->stream) == 0) {
            weir_http_conn_close(c, WEIR_OK, "answered and closed");
            break;
        }
        c->state = CONN_CLOSED;
        weir_stream_close_flushed(c->stream, FLUSH_MS, "answered and closed");
        break;
    case CONN_WORK:
    case CONN_CLOSED:
        break;
    }
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct conn *c = arg;
    struct weir_http_server *s = c->server;
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s closed: %s (%s)", weir_stream_peer(c->stream), reason,
             weir_status_text(status));
    c->state = CONN_CLOSED;
    if (c->x.open)
        end_exchange(c, WEIR_HTTP_DONE_ABORTED);
    weir_timer_stop(&c->timer);
    weir_deferred_cancel(&c->later);
    weir_buf_fini(&c->in);
    weir_list_remove(&c->node);
    weir_free(c);
    if (--s->n_conns == 0 && s->destroyed)
        weir_http_server_free(s);
}

static const struct weir_stream_ops stream_ops = {.on_read = on_read,
                                                  .on_room = on_room,
                                                  .on_eof = on_eof,
                                                  .on_drain = on_drain,
                                                  .on_close = on_close};

void weir_http_conn_accept(void *arg, struct weir_stream *stream) {
    struct weir_http_server *s = arg;
    if (s->http2 && !s->draining && strcmp(weir_stream_alpn(stream), "h2") == 0) {
        weir_http2_accept(s, stream, weir_span("", 0), weir_span("", 0));
        return;
    }
    struct conn *c = s->draining ? NULL : weir_calloc(1, sizeof(*c));
    if (c == NULL) {
        weir_stream_close(stream, WEIR_NOMEM, "no connection object");
        return;
    }
    c->server = s;
    c->stream = stream;
    c->fresh = s->http2;
    c->state = CONN_DISCARD; /* so that entering IDLE below is a change */
    weir_buf_init(&c->in, s->limits.header_bytes + 4 * READ_AHEAD + ARENA_BYTES);
    weir_timer_init(&c->timer, s->loop, on_timer, c);
    weir_deferred_init(&c->later, later, c);
    weir_list_push_back(&s->conns, &c->node);
    s->n_conns++;
    weir_stream_adopt(stream, &stream_ops, c);
    set_state(c, CONN_IDLE);
}

void weir_http_conn_drain(struct conn *c) {
    if (c->state != CONN_IDLE)
        return; /* its answer says Connection: close */
    if (weir_stream_queued(c->stream) == 0)
        weir_http_conn_close(c, WEIR_OK, "the server drains");
    else
        linger(c);
}
