/*
 * Several routers before the same workers: what one books, the others count as load too (shared
 * spec "kvrouter" 4.6). Best effort: nothing is sent again; what a router that went away has booked
 * is freed when its channel leaves discovery.
 *
 * Threads: made, started and closed on the loop; routers publish from any thread.
 */
#ifndef WEIR_ROUTER_REPLICA_SYNC_H
#define WEIR_ROUTER_REPLICA_SYNC_H

#include "base/metrics.h"
#include "router/router.h"
#include "runtime/events.h"

struct weir_replica_sync;

struct weir_replica_sync_ops {
    /* fn(fn_arg, router) with the router of that worker, if there is one; it may be called for the
     * length of the call only. */
    void (*with_router)(void *arg, uint64_t worker_id,
                        void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg);
    /* The same with every router. */
    void (*each_router)(void *arg, void (*fn)(void *fn_arg, struct weir_router *r), void *fn_arg);
};

enum weir_status weir_replica_sync_create(struct weir_loop *loop,
                                          const struct weir_replica_sync_ops *ops, void *arg,
                                          struct weir_replica_sync **ret_sync) WEIR_MUST_CHECK;
/* Announces and listens. `nats`: connection or NULL; `over_nats`: publish there, else over ZeroMQ
 * from `ip` (as weir_address_bind() reads it). */
enum weir_status weir_replica_sync_start(struct weir_replica_sync *sync,
                                         struct weir_discovery *disc, struct weir_nats *nats,
                                         bool over_nats, const char *ip,
                                         struct weir_err *err) WEIR_MUST_CHECK;
/* From now on this router's bookings are told. Before it is used by another thread. */
void weir_replica_sync_attach(struct weir_replica_sync *sync, struct weir_router *router);
/* Its figures onto the page, as they are now. Accepts NULL. Thread: any. */
void weir_replica_sync_show(struct weir_replica_sync *sync, struct weir_metrics *metrics);
/* Stops publishing; before the discovery is closed. Accepts NULL. */
void weir_replica_sync_stop(struct weir_replica_sync *sync);
/* After the discovery was closed, when no router attached is used any more. Accepts NULL. */
void weir_replica_sync_destroy(struct weir_replica_sync *sync);

#endif
