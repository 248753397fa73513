/*
 * Answers of HTTP/2: the functions of net/http_server.h for exchanges that are streams. What the
 * application writes waits in the stream's own buffer; nghttp2 takes it from there as fast as the
 * client's windows and the connection's queue allow, so one slow stream does not hold up others.
 */
#include "net/http2_priv.h"

#include "base/log.h"

#include <stdio.h>

static bool gone(const struct h2_stream *st) {
    return st->conn->closed || st->cut;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

ssize_t weir_http2_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *conn) {
    (void)session;
    (void)id;
    (void)conn;
    struct h2_stream *st = source->ptr;
    size_t n = h2_queued(st) < room ? h2_queued(st) : room;
    if (n > 0) {
        memcpy(to, st->out.data + st->out_at, n);
        st->out_at += n;
        st->progress_ms = weir_loop_now_ms(st->conn->server->loop);
    }
    if (h2_queued(st) == 0) {
        weir_buf_clear(&st->out);
        st->out_at = 0;
        if (st->x.ended)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    if (n == 0 && !st->x.ended) {
        st->starved = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

/* Room for bytes behind those that wait; NULL: no memory, or over the bound. */
static char *out_room(struct h2_stream *st, size_t bytes) {
    if (st->out_at > 0 && (st->out_at >= h2_queued(st) || st->out.cap - st->out.len < bytes)) {
        weir_buf_consume(&st->out, st->out_at);
        st->out_at = 0;
    }
    if (weir_buf_reserve(&st->out, bytes) != WEIR_OK)
        return NULL;
    if (h2_queued(st) == 0)
        st->progress_ms = weir_loop_now_ms(st->conn->server->loop);
    char *p = st->out.data + st->out.len;
    st->out.len += bytes;
    st->full |= h2_queued(st) > H2_WRITE_HIGH;
    return p;
}

/* nghttp2 may take from the stream again. */
static void feed(struct h2_stream *st) {
    if (st->starved) {
        st->starved = false;
        if (nghttp2_session_resume_data(st->conn->session, st->id) != 0)
            weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
    }
    weir_http2_send_later(st->conn);
}

/* ---- heads ---------------------------------------------------------------------------------- */

static nghttp2_nv field(struct weir_span name, struct weir_span value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.data,
                        .namelen = name.len,
                        .value = (uint8_t *)(uintptr_t)value.data,
                        .valuelen = value.len};
}

/* Fields of the connection have no place in HTTP/2 (RFC 9113 8.2.2), and the length is ours. */
static bool may_send(const struct weir_http_header *h) {
    static const char *const hop[] = {"connection",        "keep-alive", "proxy-connection",
                                      "transfer-encoding", "upgrade",    "content-length"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(hop); i++)
        if (weir_span_ieq(h->name, weir_span_z(hop[i])))
            return false;
    return weir_http_token_ok(h->name) && weir_http_value_ok(h->value);
}

struct head {
    int status;
    const char *content_type;
    const struct weir_http_header *headers;
    size_t n_headers;
    int64_t content_length; /* -1: no such field */
    bool body;              /* DATA follows */
};

static bool submit(struct h2_stream *st, const struct head *h) {
    struct weir_http_server *s = st->conn->server;
    nghttp2_nv *nv = weir_arena_alloc(&st->x.arena, (h->n_headers + 4) * sizeof(*nv));
    char status[16], length[24];
    if (nv == NULL)
        return false;
    size_t n = 0;
    snprintf(status, sizeof(status), "%d", h->status);
    nv[n++] = field(WEIR_SPAN_LIT(":status"), weir_span_z(status));
    if (h->content_type != NULL)
        nv[n++] = field(WEIR_SPAN_LIT("content-type"), weir_span_z(h->content_type));
    for (size_t i = 0; i < h->n_headers; i++)
        if (may_send(&h->headers[i]))
            nv[n++] = field(h->headers[i].name, h->headers[i].value);
    if (h->content_length >= 0) {
        snprintf(length, sizeof(length), "%lld", (long long)h->content_length);
        nv[n++] = field(WEIR_SPAN_LIT("content-length"), weir_span_z(length));
    }
    nv[n++] = field(WEIR_SPAN_LIT("date"), weir_span_z(weir_http_date(s)));
    const nghttp2_data_provider body = {.source = {.ptr = st}, .read_callback = weir_http2_read};
    return nghttp2_submit_response(st->conn->session, st->id, nv, n, h->body ? &body : NULL) == 0;
}

/* False: the stream is gone, and on_done is on its way. */
static bool begin_answer(struct h2_stream *st, int status) {
    if (gone(st))
        return false;
    WEIR_ASSERT(st->x.open && !st->x.answered);
    st->x.answered = true;
    st->x.status = status;
    return true;
}

/* The bound on what waits is for answers that come bit by bit: a whole one is in memory as it is.
 */
static bool put_whole(struct h2_stream *st, const struct head *h, struct weir_span body) {
    if (h->body) {
        if (st->out.max < body.len)
            st->out.max = body.len;
        char *p = out_room(st, body.len);
        if (p == NULL)
            return false;
        memcpy(p, body.data, body.len);
    }
    st->x.ended = true;
    weir_http2_send_later(st->conn);
    return submit(st, h);
}

void weir_http2_respond(struct weir_http_exchange *x, int status, const char *content_type,
                        const struct weir_http_header *headers, size_t n_headers,
                        struct weir_span body) {
    struct h2_stream *st = h2_of(x);
    if (!begin_answer(st, status))
        return;
    bool bodyless = weir_http_bodyless(status);
    const struct head h = {.status = status,
                           .content_type = content_type,
                           .headers = headers,
                           .n_headers = n_headers,
                           .content_length = bodyless ? -1 : (int64_t)body.len,
                           .body = !bodyless && !x->head_only && body.len > 0};
    if (!put_whole(st, &h, body))
        weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
}

void weir_http2_answer_fault(struct h2_stream *st, struct weir_http_fault fault) {
    struct weir_http_server *s = st->conn->server;
    struct weir_buf body;
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s refused with %d: %s", weir_stream_peer(st->conn->stream),
             fault.status, fault.text);
    weir_buf_init(&body, 64 * 1024);
    const char *type = weir_http_fault_body(s, fault, &body);
    st->x.answered = true;
    const struct head h = {.status = fault.status,
                           .content_type = type,
                           .content_length = (int64_t)body.len,
                           .body = body.len > 0 && !st->x.head_only};
    if (!put_whole(st, &h, weir_buf_span(&body)))
        weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
    weir_buf_fini(&body);
}

void weir_http2_stream_begin(struct weir_http_exchange *x, int status, const char *content_type,
                             const struct weir_http_header *headers, size_t n_headers) {
    struct h2_stream *st = h2_of(x);
    if (!begin_answer(st, status))
        return;
    x->streaming = true;
    x->head_only |= weir_http_bodyless(status);
    const struct head h = {.status = status,
                           .content_type = content_type,
                           .headers = headers,
                           .n_headers = n_headers,
                           .content_length = -1,
                           .body = true}; /* also where it has none: it ends when it is ended */
    if (!submit(st, &h))
        weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
    weir_http2_send_later(st->conn);
}

char *weir_http2_stream_room(struct weir_http_exchange *x, size_t bytes) {
    struct h2_stream *st = h2_of(x);
    if (gone(st) || x->ended || !x->streaming || x->head_only || bytes == 0 || st->full)
        return NULL;
    char *p = out_room(st, bytes);
    if (p != NULL)
        feed(st);
    return p;
}

enum weir_status weir_http2_stream_write(struct weir_http_exchange *x, struct weir_span bytes) {
    struct h2_stream *st = h2_of(x);
    if (gone(st))
        return WEIR_DISCONNECTED;
    WEIR_ASSERT(x->streaming && !x->ended);
    if (bytes.len == 0 || x->head_only)
        return WEIR_OK;
    char *p = h2_queued(st) + bytes.len <= st->conn->server->limits.write_max
                  ? out_room(st, bytes.len)
                  : NULL;
    if (p == NULL)
        return WEIR_TOO_LARGE;
    memcpy(p, bytes.data, bytes.len);
    feed(st);
    return WEIR_OK;
}

bool weir_http2_stream_writable(const struct weir_http_exchange *x) {
    const struct h2_stream *st = h2_of(x);
    return !gone(st) && !st->full;
}

void weir_http2_stream_end(struct weir_http_exchange *x) {
    struct h2_stream *st = h2_of(x);
    if (gone(st))
        return;
    WEIR_ASSERT(x->streaming && !x->ended);
    x->ended = true;
    if (h2_queued(st) == 0)
        st->progress_ms = weir_loop_now_ms(st->conn->server->loop);
    feed(st);
}

void weir_http2_abort(struct weir_http_exchange *x, const char *reason) {
    struct h2_stream *st = h2_of(x);
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s: stream %d is cut: %s", weir_stream_peer(st->conn->stream),
             (int)st->id, reason);
    weir_http2_cut(st, NGHTTP2_INTERNAL_ERROR);
}
