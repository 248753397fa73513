/*
 * HTTP/2 (RFC 9113) of the HTTP server: http2_conn.c has the life and the input of connections (the
 * happy path stands there), http2_body.c the bodies of requests, http2_answer.c the way out.
 * Framing, HPACK, flow control and the rules about fields are nghttp2's; an exchange is one of its
 * streams.
 */
#ifndef WEIR_NET_HTTP2_PRIV_H
#define WEIR_NET_HTTP2_PRIV_H

#include "net/http_server_priv.h"

#include <nghttp2/nghttp2.h>

enum {
    H2_STREAMS = 200,           /* of a client's, at once: what the reference system allows */
    H2_WINDOW = 1 << 20,        /* of a request body and of a connection */
    H2_WRITE_HIGH = 256 * 1024, /* of a stream's bytes that wait; as of a connection */
    H2_WRITE_LOW = H2_WRITE_HIGH / 4,
    H2_FRAMES = 4096, /* that wait for the client, beside those of bodies */
    /* Resets of a client's: at once, and a second. A proxy passes its clients' cancellations on;
     * who opens and resets for no other reason than the work gets GOAWAY beyond it
     * (CVE-2023-44487). */
    H2_RESETS = 4000,
    H2_RESETS_PER_S = 2000,
    H2_TICK_MIN_MS = 10,
    H2_TICK_MAX_MS = 1000,
};

/* One exchange. Owner: the connection, until nghttp2 closes the stream or the connection ends. */
struct h2_stream {
    struct weir_http_exchange x; /* x.http2 is set */
    struct h2_conn *conn;
    struct weir_list node;
    int32_t id;
    struct weir_http_header *headers; /* in the arena; room for one more than the limit */
    size_t n_headers, head_bytes;
    struct weir_span authority;
    bool has_host;
    struct weir_http_fault fault; /* of the head, found on the way */
    bool head_done;               /* the head was whole */
    bool received;                /* the client has said all */
    bool cut;                     /* reset by us, or refused: on_done does not wait for nghttp2 */
    bool starved;                 /* nghttp2 waits for bytes of the answer */
    bool full;                    /* the application waits for room */
    bool sent;                    /* the end of the answer is with the connection */
    struct weir_buf out;          /* of the answer; out_at bytes are with the connection */
    size_t out_at;
    uint64_t due_ms;      /* of the loop's clock: head or next piece of the body; 0: none */
    uint64_t body_due_ms; /* for the whole body, or the wait for room */
    uint64_t progress_ms; /* when bytes of `out` moved last */
    /* Of the body, whose bytes beyond the first window need room (http2_body.c). */
    uint64_t need, granted; /* 0: not known, none */
    size_t owed;            /* of the stream's window: until it is granted */
    bool waits;
};

struct h2_conn {
    struct weir_http_server *server; /* borrowed: lives until its last connection is gone */
    struct weir_stream *stream;      /* owned until on_close */
    struct weir_list node;
    nghttp2_session *session; /* owned */
    struct weir_list streams;
    unsigned n_streams;
    bool closed; /* the stream is told to close; only on_close follows */
    bool said_goaway;
    struct weir_timer timer;
    uint64_t tick_ms;
    struct weir_deferred later;
    uint64_t granted, bodies_max; /* room for bodies over one window: taken, and all */
};

static inline struct h2_stream *h2_of(const struct weir_http_exchange *x) {
    return WEIR_CONTAINER_OF(x, struct h2_stream, x);
}

/* ---- http2_conn.c ---- */
/* What the sessions of a server have in common; WEIR_NOMEM. */
enum weir_status weir_http2_setup(struct weir_http_server *s);
void weir_http2_teardown(struct weir_http_server *s);
void weir_http2_drain(struct h2_conn *c);
void weir_http2_close(struct h2_conn *c, enum weir_status status, const char *reason);
/* Sends what nghttp2 has to say, at the end of this turn. */
void weir_http2_send_later(struct h2_conn *c);
/* The stream is reset; on_done follows in a later turn. */
void weir_http2_cut(struct h2_stream *st, uint32_t code);
/* ---- http2_body.c ---- */
/* The head is whole, and a body is to come. */
void weir_http2_body_start(struct h2_stream *st);
/* nghttp2 has some of it. */
int weir_http2_body_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *conn);
/* All of it is there: what it was granted beyond goes back. */
void weir_http2_body_whole(struct h2_stream *st);
/* It is refused: the application answers, and the rest is dropped. */
void weir_http2_body_error(struct h2_stream *st, int status);
/* It needs no room any more: the stream goes. */
void weir_http2_body_gone(struct h2_stream *st);
/* ---- http2_answer.c ---- */
/* Answers a request that no exchange stands for. */
void weir_http2_answer_fault(struct h2_stream *st, struct weir_http_fault fault);
/* nghttp2 asks for bytes of the answer. */
ssize_t weir_http2_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *conn);
/* The part of the stream's bytes that waits. */
static inline size_t h2_queued(const struct h2_stream *st) {
    return st->out.len - st->out_at;
}

#endif
