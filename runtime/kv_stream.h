/*
 * Durable KV events: the cache events of workers that write them into the JetStream of their
 * component and answer no questions about them (their cards say enable_local_indexer false), with
 * snapshots of the index in an object store. The others are kv_follow.h's. One stream for each
 * component that has such workers. Source: shared spec "kvrouter" 2.4. Thread: the loop given.
 */
#ifndef WEIR_RUNTIME_KV_STREAM_H
#define WEIR_RUNTIME_KV_STREAM_H

#include "base/map.h"
#include "runtime/discovery.h"
#include "runtime/kv_follow.h"

struct weir_kv_streams;

/* Every block that some workers (keys of a map, which stays until close) hold, as stored events,
 * parents first, in steps that take a loop no more than a millisecond or two. Between the first and
 * the last no event of these workers is told. A failure: not all of them. */
struct weir_kv_dump_ops {
    enum weir_status (*open)(void *arg, const struct weir_map *workers, void **ret_dump);
    enum weir_status (*step)(void *dump, weir_kv_event_fn fn, void *fn_arg, bool *ret_more);
    void (*close)(void *dump); /* what it dumps may be gone */
};

struct weir_kv_streams_config {
    struct weir_kv_follow_ops ops; /* as for a follower; on_end after some messages */
    struct weir_kv_dump_ops dump;
    void *arg;
    uint64_t snapshot_threshold; /* messages in a stream above which a snapshot is written */
    uint64_t snapshot_max_bytes; /* of one that is read or written; a multiple of 1 MiB */
    bool reset_states;           /* begin with an empty stream and no snapshot */
    uint64_t max_age_s;          /* of messages in streams that we make; 0 = 3,600 */
};

/* `nats` outlives it; `disc` is used for our record there (endpoint "router-discovery" of each
 * component, as routers of the reference system have) until it is closed. */
enum weir_status weir_kv_streams_open(struct weir_loop *loop, struct weir_discovery *disc,
                                      struct weir_nats *nats,
                                      const struct weir_kv_streams_config *config,
                                      struct weir_kv_streams **ret_streams,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* After the discovery that it watches was closed. Our consumers are removed. Accepts NULL. */
void weir_kv_streams_close(struct weir_kv_streams *streams);

struct weir_kv_streams_stats {
    unsigned streams, live; /* followed; of these, without anything missing */
    uint64_t messages, unreadable;
    uint64_t restarts; /* consumers made again after a doubt, a loss or a gap */
    uint64_t snapshots_read, snapshots_written;
    uint64_t purges;
    uint64_t orphans; /* consumers of routers that are gone, deleted */
};
void weir_kv_streams_stats(const struct weir_kv_streams *streams,
                           struct weir_kv_streams_stats *ret);

#endif
