/*
 * The inside of the HTTP client: http_client.c has the pool and the calls, http_client_conn.c one
 * connection and the reading of answers.
 */
#ifndef WEIR_NET_HTTP_CLIENT_PRIV_H
#define WEIR_NET_HTTP_CLIENT_PRIV_H

#include "base/list.h"
#include "net/http_client.h"
#include "net/http_parse_priv.h"

enum hc_state {
    HC_CONNECTING, /* for its call */
    HC_IDLE,
    HC_BUSY,
    HC_CLOSED, /* the stream is told to close; on_close follows */
};

enum hc_phase { HC_HEAD, HC_LENGTH, HC_CHUNKED, HC_UNTIL_EOF };

enum {
    HC_MAX_HEADERS = 128,
    HC_END_LOOK_MS = 4,         /* a reset is waited for so long, */
    HC_END_LOOKS = 50,          /* so often */
    HC_STALL_MS = 60000,        /* the server takes no byte of a request */
    HC_MAX_INTERIM = 16,        /* 1xx heads before an answer */
    HC_MAX_REQUEST = 256 << 20, /* head and body */
};

struct hc_conn {
    struct weir_http_client *client; /* borrowed: lives until its last connection is gone */
    struct weir_stream *stream;      /* owned until on_close */
    struct weir_list node;           /* in client.idle or client.busy */
    struct weir_http_call *call;     /* owned; NULL when idle or closed */
    enum hc_state state;
    enum hc_phase phase;
    bool reused;    /* has carried an answer before */
    bool got_bytes; /* of the current answer */
    bool keep_alive;
    unsigned n_interim;
    bool eof;                   /* came while the call was paused */
    struct weir_timer end_look; /* the server has ended: what became of the request? */
    unsigned n_looks;
    struct weir_http_finder finder;
    struct weir_http_chunks chunks;
    uint64_t left;              /* of a body with length */
    struct weir_buf in;         /* part of a head, or what came while the call was paused */
    struct weir_deferred later; /* reads `in` after resume */
    uint64_t idle_since_ms;
};

struct weir_http_call {
    struct weir_http_client *client;
    struct hc_conn *conn;  /* NULL while it waits */
    struct weir_list node; /* in client.waiting while it waits */
    struct weir_http_call_ops ops;
    void *arg;
    struct weir_buf request; /* head, and the body if it is copied; freed when neither of the two
                                can be needed again */
    struct weir_span body;   /* borrowed: what follows; the caller's until the call ends */
    bool head_only, safe;    /* HEAD; a method that may be sent twice */
    bool sent_any, retried, paused;
    uint64_t first_byte_due_ms, total_due_ms; /* 0 = none */
    struct weir_timer timer;
};

struct weir_http_client {
    struct weir_loop *loop;
    struct weir_http_client_config config; /* its strings are not used */
    char *ip, *host;                       /* owned; host as in the Host header */
    char *sni;                             /* owned; NULL without a name */
    struct weir_list idle;                 /* the one used last comes first */
    struct weir_list busy;                 /* connecting or with a call */
    struct weir_list waiting;
    unsigned n_conns, n_waiting;
    const char *last_failure; /* static text, or NULL */
    struct weir_timer idle_timer;
    struct weir_deferred pump; /* gives waiting calls a connection */
    bool destroyed;
    unsigned inside; /* callbacks of the user are running: do not free */
};

/* ---- http_client.c ---- */
/* Ends a call: takes it off its connection, frees it, tells the user. */
void weir_hc_call_done(struct weir_http_call *call, enum weir_status status);
/* A connection or a place for one has become free. */
void weir_hc_free_slot(struct weir_http_client *client);
/* The call goes back to the head of the queue, for a fresh connection. */
void weir_hc_call_retry(struct weir_http_call *call);
/* The first byte of the answer is there. */
void weir_hc_call_started(struct weir_http_call *call);
void weir_hc_conn_gone(struct weir_http_client *client);
/* ---- http_client_conn.c ---- */
enum weir_status weir_hc_conn_open(struct weir_http_client *client, struct weir_http_call *call);
/* Sends the request of a call on an idle connection. */
void weir_hc_conn_assign(struct hc_conn *k, struct weir_http_call *call);
void weir_hc_conn_close(struct hc_conn *k, enum weir_status status, const char *reason);
void weir_hc_conn_pause(struct hc_conn *k, bool paused);

#endif
