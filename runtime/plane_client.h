/*
 * Request plane, calling side: sends a request to a worker over a pooled TCP connection or over
 * NATS and receives the response stream on this loop's call-home listener. Source: shared spec
 * "transport" 2.
 *
 * One client per loop. Happy path: call_start → request frame out → ack → worker dials back with
 * our subject → prologue → on_item … → on_end. Failure modes: no connection, ack refused or late,
 * no call-home, error prologue, broken stream, item deadline: each ends in exactly one on_end.
 */
#ifndef WEIR_RUNTIME_PLANE_CLIENT_H
#define WEIR_RUNTIME_PLANE_CLIENT_H

#include "net/nats.h"
#include "net/stream.h"
#include "wire/record.h"
#include "wire/relay.h"

#include <stdatomic.h>

struct weir_plane_client;
struct weir_plane_call;

/* What passed, and what is open. Written by the client's loop, read by any thread. */
struct weir_plane_traffic {
    _Atomic uint64_t bytes_sent, bytes_received, errors; /* requests; all that came; failed calls */
    _Atomic uint64_t calls;                              /* open ones */
};

struct weir_plane_client_config {
    const char *response_ip;        /* call-home listener: as weir_address_bind() reads them */
    const char *response_advertise; /* the same */
    uint16_t response_port;         /* 0 = any; several loops then need port 0 */
    struct weir_tls *server_tls, *client_tls; /* or NULL */
    unsigned pool_conns;                      /* per worker address; 0 = 100 */
    unsigned in_flight;                       /* unacknowledged requests per connection; 0 = 1024 */
    unsigned max_calls;                       /* open calls of this client; 0 = 100,000 */
    uint64_t connect_ms, ack_ms;              /* 0 = 5000 each */
    uint64_t prologue_ms;                     /* ack to prologue; 0 = 60,000 */
    uint64_t handshake_ms;  /* accepted call-home connection to its handshake; 0 = 10,000 */
    uint64_t host_idle_ms;  /* 0 = 300,000 */
    size_t max_message;     /* 0 = 32 MiB, both directions */
    struct weir_nats *nats; /* or NULL: no calls over NATS; outlives the client */
    uint64_t nats_ack_ms;   /* 0 = 10,000 */
    /* Zeros, of this client alone; outlives it. NULL: nobody asks. */
    struct weir_plane_traffic *traffic;
};

/* Of a worker that is called over NATS the address is this and its subject. */
#define WEIR_PLANE_NATS "nats:"
enum { WEIR_PLANE_ADDRESS_BYTES = 512 };
/* Where to call the instance of an endpoint record: its tcp address, or else the above, which is
 * written into room. data NULL: it is called over NATS and this process has none (logged), or it
 * has no usable transport. */
struct weir_span weir_plane_address(const struct weir_record *record, bool has_nats,
                                    char room[WEIR_PLANE_ADDRESS_BYTES]);

struct weir_plane_end {
    enum weir_status status;      /* WEIR_OK = complete_final seen */
    struct weir_wire_error error; /* when status != OK: http_status and texts for the client */
    /* "connect", "stale", "unacked", "ack", "prologue", "stream", "deadline": for log and metrics.
     * "stale": the worker closed the connection before it had the request, so sending it again is
     * safe, to the same worker too. "unacked": it may have it, and the connection ended before it
     * said so. */
    const char *stage;
    bool inhibit; /* the worker should be avoided for a while (connection-like failure) */
};

enum { WEIR_PLANE_TOKENS = 64 };

struct weir_plane_call_ops {
    /* A response item; everything in it is borrowed for the call. The callee may cancel the call.
     */
    void (*on_item)(void *arg, const struct weir_output *item);
    /* Or NULL. Items of one id of the first choice and nothing else each, as nearly all of a stream
     * are; those that came together (0 < n <= WEIR_PLANE_TOKENS). Returns how many it has taken;
     * on_item gets the next. */
    size_t (*on_tokens)(void *arg, const uint32_t *ids, size_t n);
    /* For query endpoints: when set, items are not decoded but handed over as they came (the whole
     * wrapper, in the call's codec), and on_item is not used. Borrowed for the call. */
    void (*on_raw)(void *arg, struct weir_span wrapper);
    /* For processes that pass answers on: when set, items come as they were sent (the whole
     * wrapper, in the call's codec), the last one too; `look` tells what they are. */
    void (*on_wrapper)(void *arg, struct weir_span wrapper, const struct weir_output_look *look);
    /* Exactly once, last; never from inside call_start, never after cancel. */
    void (*on_end)(void *arg, const struct weir_plane_end *end);
};

struct weir_plane_call_config {
    struct weir_span address;    /* as weir_plane_address() gives it */
    struct weir_span request_id; /* UUID text */
    enum weir_codec codec;
    /* The encoded request, taken: the call empties it. Or, when NULL, what appends it to the bytes
     * of its connection, where it is sent from; called at most once, from inside call_start, which
     * passes its failure on. */
    struct weir_buf *take_body;
    enum weir_status (*put_body)(void *body_arg, enum weir_codec codec, struct weir_buf *out);
    void *body_arg;
    struct weir_span traceparent; /* or NULL: frame header for the worker */
    struct weir_span metadata;    /* JSON object of strings for the worker's context, or NULL */
    bool fresh;                   /* over a new connection: the last one was stale */
    uint64_t item_ms;             /* no item for so long → WEIR_TIMEOUT; 0 = off */
};

enum weir_status weir_plane_client_create(struct weir_loop *loop,
                                          const struct weir_plane_client_config *config,
                                          struct weir_plane_client **ret_client,
                                          struct weir_err *err) WEIR_MUST_CHECK;
/* Open calls end with WEIR_CANCELLED (on_end fires). Asynchronous. Accepts NULL. */
void weir_plane_client_destroy(struct weir_plane_client *client);
enum weir_status weir_plane_call_start(struct weir_plane_client *client,
                                       const struct weir_plane_call_config *config,
                                       const struct weir_plane_call_ops *ops, void *arg,
                                       struct weir_plane_call **ret_call) WEIR_MUST_CHECK;
/* Sends "kill" (or "stop" when graceful) to the worker and frees the leg at once. No callback
 * after. */
void weir_plane_call_cancel(struct weir_plane_call *call, bool graceful);
/* Back-pressure on the response connection. */
void weir_plane_call_pause(struct weir_plane_call *call);
void weir_plane_call_resume(struct weir_plane_call *call);
/* The worker's record is gone: it is draining, or dead behind an open connection. Its calls go on,
 * but one that gets nothing for silent_ms from now on ends with WEIR_TIMEOUT. */
void weir_plane_client_worker_left(struct weir_plane_client *client, struct weir_span address,
                                   uint64_t silent_ms);
unsigned weir_plane_client_calls(const struct weir_plane_client *client);

struct weir_plane_stats {
    uint64_t bytes_sent, bytes_received, errors;
    unsigned conns_active, conns_idle, calls;
}; /* on the client's loop */
/* Adds its figures: any thread. */
void weir_plane_traffic_add(const struct weir_plane_traffic *traffic, struct weir_plane_stats *sum);
void weir_plane_client_stats(const struct weir_plane_client *client, struct weir_plane_stats *ret);

#endif
