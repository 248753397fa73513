/*
 * Event plane over ZMQ or NATS: publishers announce themselves in discovery, subscribers follow it.
 * Source: shared spec "transport" 4. Thread: the loop given.
 */
#ifndef WEIR_RUNTIME_EVENTS_H
#define WEIR_RUNTIME_EVENTS_H

#include "net/nats.h"
#include "runtime/discovery.h"
#include "wire/kv_event.h"

struct weir_event_pub;
struct weir_event_sub;

struct weir_event_pub_config {
    struct weir_endpoint_id scope;
    const char *topic;      /* "kv-events", "kv_metrics", … */
    const char *ip;         /* bound and advertised, as weir_address_bind() reads it */
    struct weir_nats *nats; /* publishes there instead, or NULL; outlives the publisher */
    /* topic kv-events: also an EventSource record for this worker rank, needed by routers. */
    bool with_source;
    uint64_t publisher_id; /* below 2^53; 0 = drawn at random */
    uint64_t worker_id;
    uint32_t dp_rank;
    struct weir_span recovery_endpoint; /* name of the query endpoint, worker_kv_query_source_… */
    struct weir_span recovery_address;  /* its tcp transport, or … */
    struct weir_span recovery_subject;  /* … its NATS subject */
};
/* Binds a PUB socket, unless nats is given, and publishes the EventChannel (and EventSource)
 * record.
 */
enum weir_status weir_event_pub_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     const struct weir_event_pub_config *config,
                                     struct weir_event_pub **ret_pub,
                                     struct weir_err *err) WEIR_MUST_CHECK;
uint64_t weir_event_pub_id(const struct weir_event_pub *pub);
/* Publishes the EventSource later, when the recovery endpoint is known. */
enum weir_status weir_event_pub_send(struct weir_event_pub *pub,
                                     struct weir_span payload) WEIR_MUST_CHECK;
void weir_event_pub_close(struct weir_event_pub *pub);

/* One subscriber for a topic over all scopes that `want` accepts. A gap or restart of a publisher's
 * sequence is reported with lost > 0 (messages lost) before the message. */
struct weir_event_msg {
    struct weir_endpoint_id scope;
    uint64_t publisher_id, sequence, published_at_ms;
    uint64_t lost;
    struct weir_span payload;
};
struct weir_event_sub_ops {
    void (*on_event)(void *arg, const struct weir_event_msg *msg);
    /* Behind the last of the messages that came together, before anything else runs on the loop:
     * time to apply what was gathered of them. May be NULL. */
    void (*on_rest)(void *arg);
    /* kv-events: a source appeared / went (its worker rank must be restored / dropped). May be
     * NULL. */
    void (*on_source)(void *arg, const struct weir_record *source, bool present);
    /* Messages of this source may be lost without one behind them that would show it: a connection
     * was made, the first too (its publisher takes the subscription some time later), or a queue of
     * NATS was full. Not told of the first subscription of NATS. May be NULL. */
    void (*on_doubt)(void *arg, const struct weir_record *source);
    /* What this publisher told may have been lost for the same reasons, but the first connection is
     * not told of; of every channel, with a source or without. May be NULL. */
    void (*on_missed)(void *arg, uint64_t publisher_id);
};
/* `nats`, or NULL: channels over NATS are left out then, with a log line; outlives the subscriber.
 * require_source: connect to a channel only when a matching EventSource record exists (kv-events).
 */
enum weir_status weir_event_sub_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, const char *topic, bool require_source,
                                     const struct weir_event_sub_ops *ops, void *arg,
                                     struct weir_event_sub **ret_sub,
                                     struct weir_err *err) WEIR_MUST_CHECK;
unsigned weir_event_sub_sources(const struct weir_event_sub *sub);
/* After the discovery that it watches was closed. Accepts NULL. */
void weir_event_sub_close(struct weir_event_sub *sub);

#endif
