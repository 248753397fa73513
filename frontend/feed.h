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

/* Follows topics kv-events and kv_metrics of every worker that discovery shows. `client` (of this
 * loop, borrowed: outlives the feed) asks workers for their caches; NULL: no kv-events.
 * `nats` or NULL: events over it. */
enum weir_status weir_feed_open(struct weir_loop *loop, struct weir_discovery *disc,
                                struct weir_nats *nats, struct weir_models *models,
                                struct weir_prefill *prefill, struct weir_plane_client *client,
                                struct weir_feed **ret_feed, struct weir_err *err) WEIR_MUST_CHECK;
/* After the discovery was closed, before the client is destroyed. Accepts NULL. */
void weir_feed_close(struct weir_feed *feed);

#endif
