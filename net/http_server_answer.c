/*
 * Answers of the HTTP server, built in the stream's queue. A whole answer is one reservation and
 * plain copies. Streamed pieces go out as chunks; a chunk that is still the end of the queue grows
 * in place, so that the pieces of one loop turn share one chunk and one send.
 */
#include "net/http_server_priv.h"

#include "base/log.h"

#include <stdio.h>
#include <time.h>

#define REASON_MAP(X)                                                                              \
    X(100, "Continue")                                                                             \
    X(101, "Switching Protocols")                                                                  \
    X(200, "OK")                                                                                   \
    X(201, "Created")                                                                              \
    X(202, "Accepted")                                                                             \
    X(204, "No Content")                                                                           \
    X(206, "Partial Content")                                                                      \
    X(301, "Moved Permanently")                                                                    \
    X(302, "Found")                                                                                \
    X(303, "See Other")                                                                            \
    X(304, "Not Modified")                                                                         \
    X(307, "Temporary Redirect")                                                                   \
    X(308, "Permanent Redirect")                                                                   \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(402, "Payment Required")                                                                     \
    X(403, "Forbidden")                                                                            \
    X(404, "Not Found")                                                                            \
    X(405, "Method Not Allowed")                                                                   \
    X(406, "Not Acceptable")                                                                       \
    X(408, "Request Timeout")                                                                      \
    X(409, "Conflict")                                                                             \
    X(410, "Gone")                                                                                 \
    X(411, "Length Required")                                                                      \
    X(412, "Precondition Failed")                                                                  \
    X(413, "Payload Too Large")                                                                    \
    X(414, "URI Too Long")                                                                         \
    X(415, "Unsupported Media Type")                                                               \
    X(416, "Range Not Satisfiable")                                                                \
    X(417, "Expectation Failed")                                                                   \
    X(421, "Misdirected Request")                                                                  \
    X(422, "Unprocessable Entity")                                                                 \
    X(425, "Too Early")                                                                            \
    X(426, "Upgrade Required")                                                                     \
    X(428, "Precondition Required")                                                                \
    X(429, "Too Many Requests")                                                                    \
    X(431, "Request Header Fields Too Large")                                                      \
    X(451, "Unavailable For Legal Reasons")                                                        \
    X(499, "Client Closed Request")                                                                \
    X(500, "Internal Server Error")                                                                \
    X(501, "Not Implemented")                                                                      \
    X(502, "Bad Gateway")                                                                          \
    X(503, "Service Unavailable")                                                                  \
    X(504, "Gateway Timeout")                                                                      \
    X(505, "HTTP Version Not Supported")                                                           \
    X(507, "Insufficient Storage")                                                                 \
    X(529, "Overloaded")

const char *weir_http_reason(int status) {
    switch (status) {
#define X(code, text)                                                                              \
    case code:                                                                                     \
        return text;
        REASON_MAP(X)
#undef X
    }
    return "Unknown";
}

/* ---- heads ---------------------------------------------------------------------------------- */

const char *weir_http_date(struct weir_http_server *s) {
    uint64_t now = weir_loop_now_ms(s->loop);
    if (now < s->date_until_ms)
        return s->date;
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t wall = weir_wall_ms();
    time_t seconds = (time_t)(wall / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    snprintf(s->date, sizeof(s->date), "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
             days + 3 * t.tm_wday, (unsigned)t.tm_mday % 100, months + 3 * t.tm_mon,
             (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100,
             (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    s->date_until_ms = now + 1000 - wall % 1000;
    return s->date;
}

static char *put(char *p, const char *data, size_t len) {
    if (len > 0)
        memcpy(p, data, len);
    return p + len;
}

static char *put_z(char *p, const char *text) {
    return put(p, text, strlen(text));
}

static char *put_u64(char *p, uint64_t value) {
    char digits[20];
    size_t n = 0;
    do
        digits[sizeof(digits) - ++n] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    return put(p, digits + sizeof(digits) - n, n);
}

struct head {
    int status;
    const char *content_type;
    const struct weir_http_header *headers;
    size_t n_headers;
    int64_t content_length; /* -1: no such line */
    bool chunked;
};

/* Beside the extra lines: the status line, lengths, connection, date. */
enum { FIXED_BYTES = 320 };

static size_t head_bytes(const struct head *h) {
    size_t n = FIXED_BYTES + (h->content_type != NULL ? strlen(h->content_type) : 0);
    for (size_t i = 0; i < h->n_headers; i++)
        n += h->headers[i].name.len + h->headers[i].value.len + 4;
    return n;
}

static char *put_head(struct conn *c, const struct head *h, char *p) {
    const struct weir_http_exchange *x = &c->x;
    p = put_z(p, x->req.http10 ? "HTTP/1.0 " : "HTTP/1.1 ");
    p = put_u64(p, (unsigned)h->status);
    *p++ = ' ';
    p = put_z(p, weir_http_reason(h->status));
    if (h->content_type != NULL) {
        p = put_z(p, "\r\ncontent-type: ");
        p = put_z(p, h->content_type);
    }
    for (size_t i = 0; i < h->n_headers; i++) {
        const struct weir_http_header *e = &h->headers[i];
        /* A value that could end the line is left out rather than split the answer in two. */
        if (!weir_http_token_ok(e->name) || !weir_http_value_ok(e->value))
            continue;
        p = put_z(p, "\r\n");
        p = put(p, e->name.data, e->name.len);
        p = put_z(p, ": ");
        p = put(p, e->value.data, e->value.len);
    }
    if (h->content_length >= 0) {
        p = put_z(p, "\r\ncontent-length: ");
        p = put_u64(p, (uint64_t)h->content_length);
    }
    if (h->chunked)
        p = put_z(p, "\r\ntransfer-encoding: chunked");
    if (x->close_after)
        p = put_z(p, "\r\nconnection: close");
    else if (x->req.http10)
        p = put_z(p, "\r\nconnection: keep-alive");
    p = put_z(p, "\r\ndate: ");
    p = put_z(p, weir_http_date(c->server));
    return put_z(p, "\r\n\r\n");
}

bool weir_http_bodyless(int status) {
    return status < 200 || status == 204 || status == 304;
}

/* Head and body in one reservation. The bound on what is queued is for answers that come bit by bit
 * and can wait for a slow client: a whole one is in memory as it is. */
static enum weir_status put_answer(struct conn *c, const struct head *h, struct weir_span body) {
    struct weir_buf *out = weir_stream_out(c->stream);
    size_t need = out->len + head_bytes(h) + body.len;
    if (out->max < need)
        out->max = need; /* until some of it is sent */
    enum weir_status st = weir_buf_reserve(out, need - out->len);
    if (st != WEIR_OK)
        return st;
    char *p = put_head(c, h, out->data + out->len);
    p = put(p, body.data, body.len);
    out->len = (size_t)(p - out->data);
    weir_stream_flush_later(c->stream);
    return WEIR_OK;
}

/* ---- whole answers -------------------------------------------------------------------------- */

/* The client has not been told to send its body, or the rest of it is too long to be skipped. */
static bool must_close(const struct conn *c) {
    const struct weir_http_exchange *x = &c->x;
    if (c->server->draining)
        return true;
    if (c->state != CONN_BODY)
        return false;
    if (x->framing.expect_continue && !x->continued)
        return true;
    return x->framing.content_length > 0 &&
           (uint64_t)x->framing.content_length - x->body_len > DISCARD_MAX;
}

/* False: the connection is gone, and on_done is on its way. */
static bool begin_answer(struct weir_http_exchange *x, int status) {
    struct conn *c = conn_of(x);
    if (c->state == CONN_CLOSED)
        return false;
    WEIR_ASSERT(x->open && !x->answered);
    x->answered = true;
    x->status = status;
    x->close_after |= must_close(c);
    return true;
}

static void end_answer(struct weir_http_exchange *x) {
    struct conn *c = conn_of(x);
    x->ended = true;
    if (!c->busy)
        weir_loop_defer(c->server->loop, &c->later);
}

void weir_http_respond(struct weir_http_exchange *x, int status, const char *content_type,
                       const struct weir_http_header *headers, size_t n_headers,
                       struct weir_span body) {
    if (x->http2) {
        weir_http2_respond(x, status, content_type, headers, n_headers, body);
        return;
    }
    struct conn *c = conn_of(x);
    if (!begin_answer(x, status))
        return;
    const struct head h = {.status = status,
                           .content_type = content_type,
                           .headers = headers,
                           .n_headers = n_headers,
                           .content_length = weir_http_bodyless(status) ? -1 : (int64_t)body.len};
    if (weir_http_bodyless(status) || x->head_only)
        body.len = 0;
    if (put_answer(c, &h, body) != WEIR_OK) {
        weir_http_conn_close(c, WEIR_TOO_LARGE, "no room for the answer");
        return;
    }
    end_answer(x);
}

const char *weir_http_fault_body(struct weir_http_server *s, struct weir_http_fault fault,
                                 struct weir_buf *body) {
    const char *type = "text/plain; charset=utf-8";
    if (s->on_error != NULL)
        type = s->on_error(s->arg, fault.status, fault.text, body);
    else if (weir_buf_printf(body, "%s\n", fault.text) != WEIR_OK)
        type = NULL;
    if (type == NULL)
        weir_buf_clear(body);
    return type;
}

void weir_http_answer_fault(struct conn *c, struct weir_http_fault fault) {
    WEIR_LOG(WEIR_LOG_DEBUG, "http", "%s refused with %d: %s", weir_stream_peer(c->stream),
             fault.status, fault.text);
    struct weir_buf body;
    weir_buf_init(&body, 64 * 1024);
    const char *type = weir_http_fault_body(c->server, fault, &body);
    memset(&c->x, 0, sizeof(c->x));
    c->x.close_after = true;
    const struct head h = {
        .status = fault.status, .content_type = type, .content_length = (int64_t)body.len};
    if (put_answer(c, &h, weir_buf_span(&body)) != WEIR_OK)
        weir_http_conn_close(c, WEIR_TOO_LARGE, "no room for the answer");
    weir_buf_fini(&body);
}

/* ---- streamed answers ----------------------------------------------------------------------- */

void weir_http_stream_begin(struct weir_http_exchange *x, int status, const char *content_type,
                            const struct weir_http_header *headers, size_t n_headers) {
    if (x->http2) {
        weir_http2_stream_begin(x, status, content_type, headers, n_headers);
        return;
    }
    struct conn *c = conn_of(x);
    if (!begin_answer(x, status))
        return;
    x->streaming = true;
    x->chunked = !x->req.http10 && !weir_http_bodyless(status);
    x->head_only |= weir_http_bodyless(status);
    if (x->req.http10 && !weir_http_bodyless(status))
        x->close_after = true; /* only the end of the connection ends the body */
    const struct head h = {.status = status,
                           .content_type = content_type,
                           .headers = headers,
                           .n_headers = n_headers,
                           .content_length = -1,
                           .chunked = x->chunked};
    if (put_answer(c, &h, weir_span("", 0)) != WEIR_OK)
        weir_http_conn_close(c, WEIR_TOO_LARGE, "no room for the answer");
}

/* Of a chunk: its size and two line ends. */
enum { FRAMING = 24 };

static size_t hex_digits(size_t value) {
    return (67 - (size_t)__builtin_clzll(value | 1)) / 4;
}

static void put_hex(char *end, size_t n_digits, size_t value) {
    for (; n_digits > 0; n_digits--, value >>= 4)
        *--end = "0123456789abcdef"[value & 15];
}

/* Makes the size of the last chunk `shift` digits longer. */
static void widen_chunk(const struct weir_http_exchange *x, struct weir_buf *out, size_t digits,
                        size_t shift) {
    char *from = out->data + x->chunk_at + digits;
    memmove(from + shift, from, out->len - x->chunk_at - digits);
    out->len += shift;
}

/* Where the last chunk takes `bytes` more, or NULL. It does when it is still the end of the queue
 * (whatever was sent shortens the queue, and only we append) and not yet large; there is room for
 * FRAMING bytes beside them. */
static char *grow_chunk(struct weir_http_exchange *x, struct weir_buf *out, size_t bytes) {
    enum { MOVED_MAX = 4096, CHUNK_MAX = 0xffff };
    size_t len = x->chunk_len + bytes;
    if (x->chunk_len == 0 || out->len != x->chunk_end || len > CHUNK_MAX)
        return NULL;
    size_t before = hex_digits(x->chunk_len), digits = hex_digits(len);
    if (digits > before) {
        if (x->chunk_len > MOVED_MAX)
            return NULL;
        widen_chunk(x, out, before, digits - before);
    }
    x->chunk_len = len;
    put_hex(out->data + x->chunk_at + digits, digits, len);
    char *p = out->data + out->len - 2;
    out->len += bytes;
    return p;
}

/* Where the payload of a new chunk goes. */
static char *begin_chunk(struct weir_http_exchange *x, struct weir_buf *out, size_t bytes) {
    size_t digits = hex_digits(bytes);
    x->chunk_at = out->len;
    x->chunk_len = bytes;
    char *p = out->data + out->len + digits;
    put_hex(p, digits, bytes);
    p = put_z(p, "\r\n");
    out->len = (size_t)(p - out->data) + bytes + 2;
    return p;
}

/* Room for bytes in a chunk, the last one or a new one; there is room for FRAMING beside them. */
static char *chunk_room(struct weir_http_exchange *x, struct weir_buf *out, size_t bytes) {
    char *p = grow_chunk(x, out, bytes);
    if (p == NULL)
        p = begin_chunk(x, out, bytes);
    memcpy(out->data + out->len - 2, "\r\n", 2);
    x->chunk_end = out->len;
    return p;
}

enum weir_status weir_http_stream_write(struct weir_http_exchange *x, struct weir_span bytes) {
    if (x->http2)
        return weir_http2_stream_write(x, bytes);
    struct conn *c = conn_of(x);
    if (c->state == CONN_CLOSED)
        return WEIR_DISCONNECTED;
    WEIR_ASSERT(x->streaming && !x->ended);
    if (bytes.len == 0 || x->head_only)
        return WEIR_OK;
    if (weir_stream_queued(c->stream) + bytes.len + FRAMING > c->server->limits.write_max)
        return WEIR_TOO_LARGE;
    if (!x->chunked)
        return weir_stream_write(c->stream, bytes.data, bytes.len);
    struct weir_buf *out = weir_stream_out(c->stream);
    enum weir_status st = weir_buf_reserve(out, bytes.len + FRAMING);
    if (st != WEIR_OK)
        return st;
    memcpy(chunk_room(x, out, bytes.len), bytes.data, bytes.len);
    weir_stream_flush_later(c->stream);
    return WEIR_OK;
}

char *weir_http_stream_room(struct weir_http_exchange *x, size_t bytes) {
    if (x->http2)
        return weir_http2_stream_room(x, bytes);
    struct conn *c = conn_of(x);
    if (c->state == CONN_CLOSED || x->ended || !x->streaming || !x->chunked || x->head_only ||
        bytes == 0 || !weir_stream_writable(c->stream) ||
        weir_stream_queued(c->stream) + bytes + FRAMING > c->server->limits.write_max)
        return NULL;
    struct weir_buf *out = weir_stream_out(c->stream);
    if (weir_buf_reserve(out, bytes + FRAMING) != WEIR_OK)
        return NULL;
    weir_stream_flush_later(c->stream);
    return chunk_room(x, out, bytes);
}

bool weir_http_stream_writable(const struct weir_http_exchange *x) {
    if (x->http2)
        return weir_http2_stream_writable(x);
    const struct conn *c = conn_of(x);
    return c->state != CONN_CLOSED && weir_stream_writable(c->stream);
}

void weir_http_stream_end(struct weir_http_exchange *x) {
    if (x->http2) {
        weir_http2_stream_end(x);
        return;
    }
    struct conn *c = conn_of(x);
    if (c->state == CONN_CLOSED)
        return;
    WEIR_ASSERT(x->streaming && !x->ended);
    enum weir_status st = WEIR_OK;
    if (x->chunked && !x->head_only)
        st = weir_stream_write(c->stream, "0\r\n\r\n", 5);
    if (st != WEIR_OK) {
        weir_http_conn_close(c, st, "no room for the end of the answer");
        return;
    }
    end_answer(x);
}

void weir_http_abort(struct weir_http_exchange *x, const char *reason) {
    if (x->http2) {
        weir_http2_abort(x, reason);
        return;
    }
    weir_http_conn_close(conn_of(x), WEIR_CANCELLED, reason);
}

/* ---- accessors ------------------------------------------------------------------------------ */

const struct weir_http_request *weir_http_exchange_request(const struct weir_http_exchange *x) {
    return &x->req;
}

struct weir_span weir_http_header_find(const struct weir_http_request *req, struct weir_span name) {
    for (size_t i = 0; i < req->n_headers; i++)
        if (req->headers[i].name.len == name.len && weir_span_ieq(req->headers[i].name, name))
            return req->headers[i].value;
    return weir_span(NULL, 0);
}

void weir_http_exchange_set_user(struct weir_http_exchange *x, void *user) {
    x->user = user;
}

void *weir_http_exchange_user(const struct weir_http_exchange *x) {
    return x->user;
}

struct weir_arena *weir_http_exchange_arena(struct weir_http_exchange *x) {
    return &x->arena;
}

int weir_http_exchange_status(const struct weir_http_exchange *x) {
    return x->status;
}
