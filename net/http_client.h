/*
 * Pooled HTTP/1.1 client on one loop: keep-alive, TLS, chunked and fixed bodies, streamed answers,
 * deadlines. One pool per origin. Used by the bench and by engines that speak HTTP. Answers are
 * read as strictly as the server reads requests: what is ambiguous ends the call with
 * WEIR_PROTOCOL.
 */
#ifndef WEIR_NET_HTTP_CLIENT_H
#define WEIR_NET_HTTP_CLIENT_H

#include "net/http_server.h"

struct weir_http_client; /* a pool for one origin */
struct weir_http_call;   /* one request */

struct weir_http_client_config {
    const char *ip; /* literal */
    uint16_t port;
    const char *host;      /* Host header and SNI; NULL = ip:port */
    struct weir_tls *tls;  /* or NULL */
    unsigned max_conns;    /* 0 = 128 */
    unsigned max_waiting;  /* calls waiting for a connection; 0 = 1024 */
    uint64_t connect_ms;   /* 0 = 5000 */
    uint64_t idle_ms;      /* idle connections close; 0 = 60,000 */
    size_t max_head_bytes; /* 0 = 64 KiB */
};

struct weir_http_call_config {
    const char *method;
    const char *target;
    /* Extra lines; Content-Length and Transfer-Encoding are the client's, Host may be given. */
    const struct weir_http_header *headers;
    size_t n_headers;
    struct weir_span body;  /* empty: no body. Copied, unless */
    bool body_stays;        /* the caller keeps it as it is until the call has ended */
    uint64_t first_byte_ms; /* 0 = off */
    uint64_t total_ms;      /* 0 = off */
};

/* All may be NULL. Each may cancel or pause calls, start others, and destroy the client. */
struct weir_http_call_ops {
    /* The head of the answer, without interim ones (1xx). Spans are borrowed for the call. */
    void (*on_head)(void *arg, int status, const struct weir_http_header *headers,
                    size_t n_headers);
    void (*on_body)(void *arg, struct weir_span bytes);
    /* Exactly once, last, unless cancelled; the call is dead then. WEIR_OK = whole answer received.
     * `sent_any` false means no byte of the request left: safe to retry elsewhere. (The client
     * itself sends a request once more only when the server closed an idle connection under it, and
     * the server has got none of it or the method is GET, HEAD or OPTIONS.) */
    void (*on_done)(void *arg, enum weir_status status, bool sent_any);
};

enum weir_status weir_http_client_create(struct weir_loop *loop,
                                         const struct weir_http_client_config *config,
                                         struct weir_http_client **ret_client) WEIR_MUST_CHECK;
/* Open calls end with WEIR_CANCELLED, from inside this call; afterwards nothing fires. Memory goes
 * when the last connection is closed. Accepts NULL. */
void weir_http_client_destroy(struct weir_http_client *client);
/* WEIR_INVALID: a method, target or header that cannot stand in a request. WEIR_LIMIT: the queue
 * for a connection is full. An error never calls back. */
enum weir_status weir_http_call_start(struct weir_http_client *client,
                                      const struct weir_http_call_config *config,
                                      const struct weir_http_call_ops *ops, void *arg,
                                      struct weir_http_call **ret_call) WEIR_MUST_CHECK;
/* No callback after this; the connection closes if the answer was on its way. */
void weir_http_call_cancel(struct weir_http_call *call);
/* Back-pressure: between the two no on_body fires, and the peer is held back. */
void weir_http_call_pause(struct weir_http_call *call);
void weir_http_call_resume(struct weir_http_call *call);
/* Why the last connection failed (static text such as "connection refused" or "certificate has
 * expired"); NULL when none has. */
const char *weir_http_client_last_failure(const struct weir_http_client *client);
unsigned weir_http_client_conns(const struct weir_http_client *client);

#endif
