/*
 * A worker's side of durable KV events: its cache events into the JetStream of its component, in
 * their order, each until the server has acknowledged it. Source: shared spec "kvrouter" 2.4.
 * Thread: the loop given.
 */
#ifndef WEIR_RUNTIME_KV_STREAM_PUB_H
#define WEIR_RUNTIME_KV_STREAM_PUB_H

#include "net/nats.h"
#include "wire/kv_event.h"

struct weir_kv_stream_pub;

struct weir_kv_stream_pub_config {
    struct weir_nats *nats; /* outlives it */
    struct weir_span ns, component;
    uint64_t max_age_s; /* of messages in a stream that we make; 0 = 3,600 */
    size_t max_bytes;   /* of events that wait; 0 = 64 MiB */
    /* After events had to be dropped: there is room again, and the whole cache is to be told
     * anew, beginning with a Cleared for each rank. */
    void (*on_room)(void *arg);
    void *arg;
};
enum weir_status weir_kv_stream_pub_open(struct weir_loop *loop,
                                         const struct weir_kv_stream_pub_config *config,
                                         struct weir_kv_stream_pub **ret_pub,
                                         struct weir_err *err) WEIR_MUST_CHECK;
/* Copies. WEIR_LIMIT: no room; everything that waited is dropped with it, and all that comes until
 * on_room. */
enum weir_status weir_kv_stream_pub_send(struct weir_kv_stream_pub *pub,
                                         const struct weir_kv_event *event) WEIR_MUST_CHECK;
/* What waits is dropped. Accepts NULL. */
void weir_kv_stream_pub_close(struct weir_kv_stream_pub *pub);

#endif
