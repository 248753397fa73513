/*
 * Request bodies of HTTP/2. Each has the limit of its request; together, those of a connection are
 * bounded by the windows of its streams: the first H2_WINDOW bytes every stream may send, and one
 * that has more must be granted room for all of its body. Room is `h2_bodies` bytes, and who finds
 * none gets no more window until a body goes, the oldest stream first. Whoever is granted can send
 * all of it, so nobody waits for one who waits; small bodies wait for nobody, as the window of the
 * connection is given back at once. The wait is not the client's: its time for the body begins when
 * it is granted; who waits as long as a body may take is refused (503, not 408).
 */
#include "net/http2_priv.h"

static void begin_clock(struct h2_stream *st) {
    const struct weir_http_server *s = st->conn->server;
    uint64_t now = weir_loop_now_ms(s->loop);
    st->due_ms = now + s->limits.body_ms;
    st->body_due_ms = now + s->limits.body_total_ms;
}

static void grant(struct h2_stream *st) {
    struct h2_conn *c = st->conn;
    size_t owed = st->owed;
    st->waits = false;
    st->granted = st->need;
    c->granted += st->need;
    st->owed = 0;
    begin_clock(st);
    if (owed > 0 && nghttp2_session_consume_stream(c->session, st->id, owed) == NGHTTP2_ERR_NOMEM)
        weir_http2_close(c, WEIR_NOMEM, "out of memory");
    weir_http2_send_later(c);
}

/* In the order in which they came: a large body is not overtaken by smaller ones for ever. */
static void grant_next(struct h2_conn *c) {
    WEIR_LIST_FOREACH(it, &c->streams) {
        struct h2_stream *st = WEIR_CONTAINER_OF(it, struct h2_stream, node);
        if (!st->waits || st->cut || st->x.answered)
            continue;
        if (c->closed || c->granted + st->need > c->bodies_max)
            return;
        grant(st);
    }
}

static void want(struct h2_stream *st, uint64_t bytes) {
    st->need = bytes;
    st->waits = true;
    begin_clock(st);
    grant_next(st->conn);
}

/* The stream holds no more than so much. Those behind one that waited may have room without it. */
static void keep_room(struct h2_stream *st, uint64_t bytes) {
    bool more = st->waits;
    st->waits = false;
    if (st->granted > bytes) {
        st->conn->granted -= st->granted - bytes;
        st->granted = bytes;
        more = true;
    }
    if (more)
        grant_next(st->conn);
}

void weir_http2_body_gone(struct h2_stream *st) {
    keep_room(st, 0);
}

void weir_http2_body_whole(struct h2_stream *st) {
    st->received = true;
    st->due_ms = 0;
    keep_room(st, st->x.body_len);
}

void weir_http2_body_error(struct h2_stream *st, int status) {
    st->due_ms = 0;
    st->received = true; /* what still comes is dropped */
    weir_buf_fini(&st->x.body);
    weir_http2_body_gone(st);
    if (!st->x.answered)
        st->conn->server->handler->on_body_error(st->conn->server->arg, &st->x, status);
}

void weir_http2_body_start(struct h2_stream *st) {
    struct weir_http_exchange *x = &st->x;
    struct h2_conn *c = st->conn;
    if (x->body_limit > c->bodies_max)
        c->bodies_max = x->body_limit; /* one must have room by itself */
    int refused = weir_http_body_prepare(x);
    if (refused != 0) {
        weir_http2_body_error(st, refused);
        return;
    }
    begin_clock(st);
    if (x->framing.content_length > H2_WINDOW)
        want(st, (uint64_t)x->framing.content_length);
    if (x->framing.expect_continue) {
        static const nghttp2_nv interim = {.name = (uint8_t *)(uintptr_t) ":status",
                                           .namelen = 7,
                                           .value = (uint8_t *)(uintptr_t) "100",
                                           .valuelen = 3};
        if (nghttp2_submit_headers(c->session, NGHTTP2_FLAG_NONE, st->id, NULL, &interim, 1,
                                   NULL) != 0)
            weir_http2_close(c, WEIR_NOMEM, "out of memory");
    }
}

static void keep(struct h2_stream *st, struct weir_span data) {
    struct weir_http_exchange *x = &st->x;
    struct h2_conn *c = st->conn;
    uint64_t before = x->body_len;
    x->body_len += data.len;
    if (x->body_len > x->body_limit) {
        weir_http2_body_error(st, 413);
    } else if (weir_http_body_put(x, before, data) != WEIR_OK) {
        weir_http2_body_error(st, 503);
    } else {
        st->due_ms = weir_loop_now_ms(c->server->loop) + c->server->limits.body_ms;
        if (x->body_len > H2_WINDOW / 2 && st->need == 0)
            want(st, x->framing.content_length >= 0 ? (uint64_t)x->framing.content_length
                                                    : x->body_limit);
    }
}

int weir_http2_body_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *arg) {
    (void)flags;
    struct h2_conn *c = arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (c->closed)
        return 0;
    bool kept = st != NULL && !st->cut && !st->received && !st->x.answered && st->x.open;
    if (kept && st->granted == 0)
        st->owed += len;
    else if (nghttp2_session_consume_stream(session, id, len) == NGHTTP2_ERR_NOMEM)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (kept)
        keep(st, weir_span((const char *)data, len));
    return nghttp2_session_consume_connection(session, len) == NGHTTP2_ERR_NOMEM
               ? NGHTTP2_ERR_CALLBACK_FAILURE
               : 0;
}
