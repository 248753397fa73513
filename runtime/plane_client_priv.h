/*
 * Inside of the plane client. Its four files share one thread, that of the loop, and call each
 * other directly:
 *
 *   plane_client.c       the client and its calls: start, deadlines, the one on_end, destroy
 *   plane_client_conn.c  hosts and their request connections: send, acknowledgements, idling
 *   plane_client_nats.c  requests over NATS and their acknowledgements
 *   plane_client_home.c  streams that workers open to us: handshake, prologue, items
 *
 * A call points at the connection where it waits for its acknowledgement and at the stream that
 * answers it, and both point back; whoever goes first clears the other's pointer. Connections and
 * streams free themselves in on_close and count in n_streams; the client lives until the last one
 * has.
 */
#ifndef WEIR_RUNTIME_PLANE_CLIENT_PRIV_H
#define WEIR_RUNTIME_PLANE_CLIENT_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "runtime/address.h"
#include "runtime/plane_client.h"

enum { WEIR_PLANE_SUBJECT_BYTES = 37, WEIR_PLANE_MAX_HOSTS = 65536 };

enum weir_plane_call_state {
    WEIR_PLANE_CALL_SENT,      /* the frame is queued or on its way; no ack */
    WEIR_PLANE_CALL_ACKED,     /* acknowledged; no prologue */
    WEIR_PLANE_CALL_STREAMING, /* prologue seen */
};

struct weir_plane_again; /* in plane_client_nats.c */
struct weir_plane_host;
struct weir_plane_conn;
struct weir_plane_home;

struct weir_plane_call {
    struct weir_list node; /* in client.calls */
    struct weir_plane_client *client;
    const struct weir_plane_call_ops *ops;
    void *arg;
    enum weir_plane_call_state state;
    enum weir_codec codec;
    char subject[WEIR_PLANE_SUBJECT_BYTES];
    char *address;                /* owned: of the worker, as its record has it */
    struct weir_plane_conn *conn; /* where the ack is awaited; NULL when it came */
    uint64_t ack_seq;
    uint64_t end_at;   /* its request ends there, in bytes ever written to the connection */
    uint64_t reply_id; /* over NATS: in client.by_reply until acknowledged; else 0 */
    struct weir_plane_again *again; /* owned: to send it once more, or NULL */
    uint64_t born;                  /* number of the call */
    struct weir_plane_home *home;   /* response stream; NULL until the worker dialled */
    bool paused, complete;
    uint64_t item_ms, last_item_ms;
    bool impatient; /* acknowledged: item_ms, not prologue_ms, is running */
    struct weir_timer timer;
};

/* A connection for requests. Owner: itself until on_close. */
struct weir_plane_conn {
    struct weir_list node; /* in host.conns */
    struct weir_plane_host *host;
    struct weir_stream *stream;
    struct weir_buf in;
    struct weir_plane_call **waiters; /* ring by sequence; NULL = cancelled meanwhile */
    uint64_t first, next;             /* sequences of the oldest waiter and of the next request */
    unsigned n_waiting;               /* waiters that were not cancelled */
    bool open;
    bool stuck; /* an ack is overdue, and replies come in order: nothing new is sent here */
    bool closing;
    bool ended;       /* the worker ends its side: nothing new is sent here */
    unsigned n_looks; /* since then */
    uint64_t written; /* bytes, ever */
    struct weir_timer
        look; /* for replies that have gathered; `ended`: for what became of requests */
    bool gathering, found; /* found: since the last look */
};

struct weir_plane_host {
    struct weir_list node; /* in client.hosts */
    struct weir_plane_client *client;
    struct weir_address address;
    uint64_t key; /* in client.by_host */
    struct weir_list conns;
    unsigned n_conns;
    uint64_t used_ms;
};

/* A connection that a worker opened to us. Owner: itself until on_close. */
struct weir_plane_home {
    struct weir_list node; /* in client.homes */
    struct weir_plane_client *client;
    struct weir_stream *stream;
    struct weir_plane_call *call; /* NULL before the handshake and after the end */
    struct weir_buf in;
    struct weir_timer timer; /* handshake deadline */
    bool closing;
    bool refused; /* the callee did not take the last token for one */
};

struct weir_plane_client {
    struct weir_loop *loop;
    struct weir_plane_client_config config;
    struct weir_listener *listener;
    char response_address[WEIR_HOST_BYTES + 8];
    struct weir_list hosts, homes, calls;
    struct weir_map by_subject, by_host, by_reply;
    char inbox[WEIR_NATS_INBOX_BYTES]; /* where acknowledgements over NATS come */
    struct weir_nats_sub *replies;     /* made with the first call over NATS */
    uint64_t n_replies;
    uint64_t nats_up_ms; /* when the connection to NATS was last made, or taken note of */
    struct weir_buf scratch;
    struct weir_arena arena; /* of the item that is being handed over */
    struct weir_output_pattern pattern;
    struct weir_timer idle;
    struct weir_plane_traffic own_traffic, *traffic; /* that of the configuration, or our own */
    unsigned n_hosts, n_calls, n_streams;
    uint64_t n_born;
    bool destroyed;
};

/* Only this loop writes it. */
static inline void weir_plane_add(_Atomic uint64_t *n, uint64_t more) {
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

/* ---- plane_client.c ----------------------------------------------------------------------- */

/* Ends the call: it and its place everywhere are gone when on_end is called, which is the last
 * thing done here and may start and end calls. `end` may point into the client's arena. */
void weir_plane_call_end(struct weir_plane_call *call, const struct weir_plane_end *end);
/* The same for an error. `stage`: static text. `inhibit`: the worker is to be avoided for a
 * while, and the request may go to another. `message` is read until on_end has returned. */
void weir_plane_call_fail(struct weir_plane_call *call, enum weir_status status, int http_status,
                          const char *stage, bool inhibit, struct weir_span message);
/* Sets the call's one deadline anew; what it means follows from the call's state. */
void weir_plane_call_wait(struct weir_plane_call *call, uint64_t ms);
/* The worker has the request. */
void weir_plane_call_acked(struct weir_plane_call *call);
/* It refuses it, in these words. */
void weir_plane_call_refused(struct weir_plane_call *call, struct weir_span text);
/* Appends the two-part message of the call: control header and body. */
enum weir_status weir_plane_put_message(const struct weir_plane_call *call,
                                        const struct weir_plane_call_config *config,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* After every decrement of n_streams: frees a destroyed client that has no stream left. */
void weir_plane_client_free_if_done(struct weir_plane_client *c);

/* ---- plane_client_conn.c ------------------------------------------------------------------ */

/* The host of an address, made when it is new. WEIR_LIMIT: WEIR_PLANE_MAX_HOSTS; WEIR_NOMEM. */
enum weir_status weir_plane_host_find(struct weir_plane_client *c,
                                      const struct weir_address *address,
                                      struct weir_plane_host **ret_host) WEIR_MUST_CHECK;
/* The connection for the next request; `fresh`: a new one where there may be more. WEIR_OVERLOADED:
 * all are full and no more are allowed; otherwise as weir_stream_connect. */
enum weir_status weir_plane_conn_pick(struct weir_plane_host *host, bool fresh,
                                      struct weir_plane_conn **ret_conn) WEIR_MUST_CHECK;
/* Queues the request of `call` and enters the call among the waiters of `k`; leaves both as they
 * were on failure. WEIR_TOO_LARGE: max_message. `path`: of the endpoint, inside its address. */
enum weir_status weir_plane_conn_send(struct weir_plane_call *call, struct weir_plane_conn *k,
                                      const struct weir_plane_call_config *config,
                                      struct weir_span path) WEIR_MUST_CHECK;
/* Nobody waits for this place in the order of replies any more. call->conn is set before and NULL
 * after; may close the connection, fails no other call. */
void weir_plane_conn_leave(struct weir_plane_call *call);
/* The connection takes no more requests; its waiters fail in its on_close, later. */
void weir_plane_conn_close(struct weir_plane_conn *k, enum weir_status status, const char *reason);
/* Timer of the client: closes connections of hosts that nobody has asked for a while, and forgets
 * hosts without any. */
void weir_plane_on_idle(void *arg);

/* ---- plane_client_nats.c ------------------------------------------------------------------ */

/* Publishes the request of `call`. WEIR_INVALID: no NATS, or no subject; otherwise as
 * weir_nats_publish. */
enum weir_status weir_plane_nats_send(struct weir_plane_call *call,
                                      const struct weir_plane_call_config *config,
                                      struct weir_span subject) WEIR_MUST_CHECK;
/* Nobody waits for the acknowledgement any more. call->reply_id is 0 after. */
void weir_plane_nats_leave(struct weir_plane_call *call);

/* ---- plane_client_home.c ------------------------------------------------------------------ */

/* Of the listener; arg: the client. Takes the stream. */
void weir_plane_on_accept(void *arg, struct weir_stream *s);
/* Closes the stream; its call has ended or is being ended by the caller. Idempotent. */
void weir_plane_home_close(struct weir_plane_home *h, const char *reason);

#endif
