/*
 * HTTP server. HTTP/1.1: keep-alive, pipelining in order, chunked in both directions,
 * Expect: 100-continue, strict against request smuggling, and bounded in every direction. HTTP/2
 * where it is turned on: agreed on by TLS (ALPN "h2"), or with prior knowledge; an exchange is one
 * of its streams, and nothing else differs for the application.
 *
 * Life of an exchange: head read → on_head (the application may set a body limit, or answer at
 * once) → body read whole → on_request → weir_http_respond() or a stream of weir_http_stream_*()
 * calls, now or later → on_done exactly once, whatever happened; then the exchange pointer is dead.
 */
#ifndef WEIR_NET_HTTP_SERVER_H
#define WEIR_NET_HTTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "net/stream.h"

struct weir_http_server;
struct weir_http_exchange;

struct weir_http_header {
    struct weir_span name; /* as received; compare with weir_span_ieq */
    struct weir_span value;
};

/* The parsed head; spans live until on_done. */
struct weir_http_request {
    struct weir_span method;
    struct weir_span target; /* as received, with query */
    struct weir_span path;   /* without query */
    struct weir_span query;  /* after '?', may be empty */
    const struct weir_http_header *headers;
    size_t n_headers;
    uint64_t name_lengths; /* bit n: a header's name has n bytes, modulo 64; 0: not known */
    bool keep_alive;
    bool http10;
    int64_t content_length; /* -1 = not declared */
    struct weir_span body;  /* whole; valid from on_request until on_done */
    uint64_t received_ns;   /* monotonic, when the head was complete */
};

enum weir_http_done {
    /* The whole answer is on its way, and less than the high mark of the queue is left to send. */
    WEIR_HTTP_DONE_SENT,
    /* The connection went first: peer left (a client that only ends its sending side counts as
     * gone, as with the reference system), write failed, limit, shutdown. */
    WEIR_HTTP_DONE_ABORTED,
};

struct weir_http_handler {
    /* Head complete. Return the body limit in bytes for this request; a declared length over it
     * goes to on_body_error before any 100 Continue. May respond at once (then the rest of the
     * request is discarded or the connection closes). */
    size_t (*on_head)(void *arg, struct weir_http_exchange *x);
    /* Whole request is there. */
    void (*on_request)(void *arg, struct weir_http_exchange *x);
    /* The body is over the limit (status 413), broken (400), too slow (408) or there is no memory
     * for it (503): answer it. The server closes the connection after the answer. */
    void (*on_body_error)(void *arg, struct weir_http_exchange *x, int http_status);
    /* Streamed answer: the send queue has room again. May be NULL. */
    void (*on_writable)(void *arg, struct weir_http_exchange *x);
    /* Always, once, last. */
    void (*on_done)(void *arg, struct weir_http_exchange *x, enum weir_http_done how);
};

struct weir_http_limits {
    size_t header_bytes;     /* whole head; 0 = 128 KiB → 431 */
    unsigned header_count;   /* 0 = 100 → 431 */
    size_t target_bytes;     /* 0 = 65,534 → 414 */
    uint64_t header_ms;      /* first byte to end of head; 0 = 30,000 → 408 and close */
    uint64_t body_ms;        /* no body byte for so long; 0 = 30,000 → 408 */
    uint64_t body_total_ms;  /* whole body; 0 = 600,000 */
    uint64_t idle_ms;        /* keep-alive; 0 = 75,000 */
    uint64_t write_stall_ms; /* slow reader: no progress for so long; 0 = 60,000 */
    size_t write_max;        /* bytes queued for one connection; 0 = 16 MiB */
    size_t h2_bodies;        /* HTTP/2: together, of a connection's bodies over 1 MiB; others wait.
                                At least the largest limit of a body; 0 = 256 MiB */
};

/* The text of an answer that the server gives by itself: a head that is no HTTP, a limit of heads,
 * a head that came too slowly (400, 408, 414, 417, 431, 501, 503, 505). Fills `body` and returns
 * its content type (static), or NULL for an answer without body. `text` says what is wrong. */
typedef const char *(*weir_http_error_fn)(void *arg, int status, const char *text,
                                          struct weir_buf *body);

struct weir_http_server_config {
    struct weir_listen_config listen;
    struct weir_http_limits limits;
    const struct weir_http_handler *handler; /* static */
    weir_http_error_fn on_error;             /* NULL: the text as text/plain */
    bool http2; /* also HTTP/2; with TLS its ALPN list must name "h2" too */
    void *arg;
};

/* One server per loop; use listen.reuse_port to share a port. */
enum weir_status weir_http_server_create(struct weir_loop *loop,
                                         const struct weir_http_server_config *config,
                                         struct weir_http_server **ret_server,
                                         struct weir_err *err) WEIR_MUST_CHECK;
uint16_t weir_http_server_port(const struct weir_http_server *server);
/* Open connections / exchanges that have not seen on_done. */
unsigned weir_http_server_conns(const struct weir_http_server *server);
unsigned weir_http_server_active(const struct weir_http_server *server);
/* Stops accepting; idle connections close, busy ones after their answer (Connection: close). */
void weir_http_server_drain(struct weir_http_server *server);
/* Closes everything now; on_done fires for each open exchange. Accepts NULL. Asynchronous: memory
 * goes when the last connection is closed. */
void weir_http_server_destroy(struct weir_http_server *server);

const struct weir_http_request *weir_http_exchange_request(const struct weir_http_exchange *x);
/* First header of that name (ASCII case-insensitive); data NULL when absent. */
struct weir_span weir_http_header_find(const struct weir_http_request *req, struct weir_span name);
static inline struct weir_span weir_http_header_get(const struct weir_http_request *req,
                                                    const char *name) {
    struct weir_span n = weir_span_z(name);
    /* Many are asked for and few are there: most have a length that no name has. */
    if (req->name_lengths != 0 && (req->name_lengths >> (n.len & 63) & 1) == 0)
        return weir_span(NULL, 0);
    return weir_http_header_find(req, n);
}
void weir_http_exchange_set_user(struct weir_http_exchange *x, void *user);
void *weir_http_exchange_user(const struct weir_http_exchange *x);
/* Memory of the exchange, freed after on_done; 4 MiB at most. */
struct weir_arena *weir_http_exchange_arena(struct weir_http_exchange *x);
/* Status of the answer that was begun; 0: none was. */
int weir_http_exchange_status(const struct weir_http_exchange *x);

/* Whole answer. `headers`: extra lines; Date, Content-Length (or none for 204/304) and Connection
 * are the server's. content_type may be NULL. The body is copied. Exactly one answer per exchange.
 */
void weir_http_respond(struct weir_http_exchange *x, int status, const char *content_type,
                       const struct weir_http_header *headers, size_t n_headers,
                       struct weir_span body);
/* Streamed answer: chunked for 1.1, closed at the end for 1.0; HEAD sends the head only. */
void weir_http_stream_begin(struct weir_http_exchange *x, int status, const char *content_type,
                            const struct weir_http_header *headers, size_t n_headers);
/* Queues one piece (chunk); pieces of one loop turn may share a chunk. WEIR_TOO_LARGE over the
 * queue bound: the application should abort. */
enum weir_status weir_http_stream_write(struct weir_http_exchange *x,
                                        struct weir_span bytes) WEIR_MUST_CHECK;
/* The same without a copy, for the many small pieces of one turn: where to write exactly `bytes`
 * (> 0), which belong to the answer from then on. NULL: not here and now (a full queue, an answer
 * without chunks, …), and weir_http_stream_write is to be used. */
char *weir_http_stream_room(struct weir_http_exchange *x, size_t bytes) WEIR_MUST_CHECK;
bool weir_http_stream_writable(const struct weir_http_exchange *x);
void weir_http_stream_end(struct weir_http_exchange *x);
/* Cuts the connection, or the stream of HTTP/2, without a proper end (the client must see that the
 * answer is incomplete). */
void weir_http_abort(struct weir_http_exchange *x, const char *reason);
const char *weir_http_reason(int status);

#endif
