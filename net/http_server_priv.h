/*
 * The inside of the HTTP server: http_server.c has the server, http_server_conn.c the life and the
 * input of its connections (the happy path stands there), http_server_answer.c the way out,
 * http_exchange.c what an exchange has of memory.
 */
#ifndef WEIR_NET_HTTP_SERVER_PRIV_H
#define WEIR_NET_HTTP_SERVER_PRIV_H

#include "base/list.h"
#include "net/http_parse_priv.h"

enum conn_state {
    CONN_IDLE,    /* between requests */
    CONN_HEAD,    /* part of a head is there */
    CONN_BODY,    /* an exchange is open and its body not complete */
    CONN_WORK,    /* an exchange is open; whatever comes belongs to the next one */
    CONN_DISCARD, /* answered before its body was complete: the rest is dropped */
    CONN_LINGER,  /* FIN is sent; input is dropped so that no reset kills the answer on its way */
    CONN_CLOSED,  /* the stream is told to close; only on_close follows */
};

enum {
    READ_AHEAD = 64 * 1024,   /* bytes of later requests kept while one is in work */
    DISCARD_MAX = 256 * 1024, /* a rest of a body up to this is dropped, above it we close */
    LINGER_MS = 2000,
    FLUSH_MS = 60000, /* for a slow reader of the last answer, beside the stall limit */
    SPARE_ARENAS = 64,
    ARENA_BYTES = 4 << 20, /* for the application, beside the head */
    BODY_IN_ARENA = 2048,  /* a declared length up to this needs no buffer of its own */
    BODY_TRUST = 1 << 20,  /* room made at once for a declared length */
    BODY_DIRECT = 4096,    /* a rest of a body from this is read into its place at once */
};

/* One at a time for each connection of HTTP/1, so it lives inside it. Owner: the connection. */
struct weir_http_exchange {
    struct weir_http_request req;
    void *user;
    struct weir_arena arena;
    struct weir_http_framing framing;
    struct weir_buf body; /* not used when the body is in the arena */
    char *small_body;     /* in the arena, or NULL */
    int status;           /* of the answer; 0: none yet */
    size_t body_limit;
    uint64_t body_len; /* bytes that came, dropped ones included */
    bool http2;        /* a stream of HTTP/2 (http2_priv.h), not part of a `conn` */
    bool open;         /* on_head was called, on_done was not */
    bool head_only;    /* HEAD */
    bool answered, streaming, chunked, ended;
    bool close_after;
    bool continued; /* 100 Continue was sent or is not needed */
    bool broken;    /* the input cannot be followed any more: it is dropped */
    /* The last chunk in the stream's queue; it grows as long as it is the end of the queue. */
    size_t chunk_at, chunk_end, chunk_len;
};

struct conn {
    struct weir_http_exchange x;
    struct weir_http_server *server; /* borrowed: lives until its last connection is gone */
    struct weir_stream *stream;      /* owned until on_close */
    struct weir_list node;
    enum conn_state state;
    bool fresh; /* nothing came but what may be the beginning of HTTP/2's preface */
    bool read_stopped;
    bool busy; /* inside input(): an answer is settled there and not by `later` */
    struct weir_http_finder finder;
    struct weir_http_chunks chunks;
    struct weir_buf in; /* part of a head, or later requests */
    struct weir_timer timer;
    uint64_t deadline_ms;      /* of the loop's clock; 0 = none. The timer may be earlier. */
    uint64_t body_deadline_ms; /* for the whole body */
    struct weir_deferred later;
};

struct weir_http_server {
    struct weir_loop *loop;
    struct weir_http_limits limits;
    const struct weir_http_handler *handler;
    weir_http_error_fn on_error;
    void *arg;
    struct weir_listener *listener; /* owned; NULL when draining */
    uint16_t port;
    bool http2;
    struct weir_list conns;                         /* of HTTP/1 */
    struct weir_list h2_conns;                      /* of HTTP/2 */
    struct nghttp2_session_callbacks *h2_callbacks; /* owned, NULL without HTTP/2 */
    struct nghttp2_option *h2_options;              /* the same */
    unsigned n_conns, n_open;
    bool draining, destroyed;
    struct weir_arena spare[SPARE_ARENAS]; /* reset, one block each */
    unsigned n_spare;
    char date[32]; /* "Thu, 26 Nov 2026 14:23:14 GMT" */
    uint64_t date_until_ms;
};

static inline struct conn *conn_of(const struct weir_http_exchange *x) {
    WEIR_ASSERT(!x->http2);
    return WEIR_CONTAINER_OF(x, struct conn, x);
}

/* ---- http_server.c ---- */
void weir_http_server_free(struct weir_http_server *s);
/* ---- http_server_conn.c ---- */
void weir_http_conn_accept(void *server, struct weir_stream *stream);
/* Closes a connection that waits for a request. */
void weir_http_conn_drain(struct conn *c);
/* The connection ends at once; on_done follows in a later turn. */
void weir_http_conn_close(struct conn *c, enum weir_status status, const char *reason);
/* ---- http_exchange.c ---- */
/* Memory for an exchange, and its end: `x` is zeroed. */
void weir_http_exchange_take(struct weir_http_server *s, struct weir_http_exchange *x);
void weir_http_exchange_release(struct weir_http_server *s, struct weir_http_exchange *x);
/* Room for the body by its declared length, if any, and body_limit: 0, or the status to refuse it
 * with. */
int weir_http_body_prepare(struct weir_http_exchange *x);
/* Adds payload; `before` bytes came before it. */
enum weir_status weir_http_body_put(struct weir_http_exchange *x, uint64_t before,
                                    struct weir_span data);
/* ---- http_server_answer.c ---- */
/* "Thu, 26 Nov 2026 14:23:14 GMT"; valid until the next call. */
const char *weir_http_date(struct weir_http_server *s);
/* An answer of this status has no body. */
bool weir_http_bodyless(int status);
/* What a client is told that no exchange stands for; returns the content type, NULL with an empty
 * body for none. */
const char *weir_http_fault_body(struct weir_http_server *s, struct weir_http_fault fault,
                                 struct weir_buf *body);
/* Answers a request that no exchange stands for, and closes. */
void weir_http_answer_fault(struct conn *c, struct weir_http_fault fault);
/* ---- http2_conn.c ---- */
/* Takes over an accepted connection; `first`, then `second` came on it already. */
void weir_http2_accept(struct weir_http_server *s, struct weir_stream *stream,
                       struct weir_span first, struct weir_span second);
/* ---- http2_answer.c: the functions of net/http_server.h for streams of HTTP/2 ---- */
void weir_http2_respond(struct weir_http_exchange *x, int status, const char *content_type,
                        const struct weir_http_header *headers, size_t n_headers,
                        struct weir_span body);
void weir_http2_stream_begin(struct weir_http_exchange *x, int status, const char *content_type,
                             const struct weir_http_header *headers, size_t n_headers);
enum weir_status weir_http2_stream_write(struct weir_http_exchange *x, struct weir_span bytes);
char *weir_http2_stream_room(struct weir_http_exchange *x, size_t bytes);
bool weir_http2_stream_writable(const struct weir_http_exchange *x);
void weir_http2_stream_end(struct weir_http_exchange *x);
void weir_http2_abort(struct weir_http_exchange *x, const char *reason);

#endif
