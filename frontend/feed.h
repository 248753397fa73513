/*
 * From the event plane into the routers: KV events and load figures of all workers. Thread: the
 * control loop. The routers guard themselves.
 */
#ifndef WEIR_FRONTEND_FEED_H
#define WEIR_FRONTEND_FEED_H

#include "frontend/models.h"
#include "frontend/prefill.h"
#include "runtime/plane_client.h"

struct weir_feed;

/* Durable KV events: those of workers that write them into a JetStream of NATS. */
struct weir_feed_durable {
    uint64_t snapshot_threshold, snapshot_max_bytes,
        max_age_s; /* as in struct weir_kv_streams_config */
    bool reset_states;
};

/* Follows topics kv-events and kv_metrics of every worker that discovery shows. `client` (of this
 * loop, borrowed: outlives the feed) asks workers for their caches; NULL: no kv-events.
 * `nats` or NULL: events over it. `durable`, or NULL: needs `nats`. */
enum weir_status weir_feed_open(struct weir_loop *loop, struct weir_discovery *disc,
                                struct weir_nats *nats, struct weir_models *models,
                                struct weir_prefill *prefill, struct weir_plane_client *client,
                                const struct weir_feed_durable *durable,
                                struct weir_feed **ret_feed, struct weir_err *err) WEIR_MUST_CHECK;
/* Events that were taken and wait for others of their turn go into their routers now. Before a
 * worker leaves, whose events would follow it. */
void weir_feed_flush(struct weir_feed *feed);
/* Its figures onto the page, as they are now; nothing where cache events are not used. */
void weir_feed_show(const struct weir_feed *feed, struct weir_metrics *metrics);
/* After the discovery was closed, before the client is destroyed. Accepts NULL. */
void weir_feed_close(struct weir_feed *feed);

#endif
