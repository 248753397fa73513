/*
 * The cache events of all worker ranks that discovery shows, complete and in order: the dump of
 * each rank first, then its live events; gaps are closed over the rank's query endpoint, also those
 * between a dump and the moment the publisher took our subscription. Source: shared spec
 * "kvrouter" 2.5, "transport" 4.6. Thread: the loop given, which is the client's too.
 */
#ifndef WEIR_RUNTIME_KV_FOLLOW_H
#define WEIR_RUNTIME_KV_FOLLOW_H

#include "runtime/events.h"
#include "runtime/plane_client.h"

struct weir_kv_follow;

struct weir_kv_follow_ops {
    /* True when the events of this worker can be used now. Until then its ranks wait, and are
     * restored from a dump as soon as it is; asked again every 50 ms. */
    bool (*ready)(void *arg, uint64_t worker_id);
    /* Borrowed for the call. False: the worker is not known any more; its rank waits again as it
     * did before `ready`. */
    bool (*on_event)(void *arg, const struct weir_kv_event *event);
    /* The events of an answer, or of messages that came together, are all told: time to apply what
     * was gathered, before anything else runs on the loop. Not called before an on_reset in their
     * midst. */
    void (*on_end)(void *arg);
    /* What is known of this rank is void: a dump follows, or the rank went. */
    void (*on_reset)(void *arg, uint64_t worker_id, uint32_t dp_rank);
};

/* `client` is borrowed: outlives the follower. `nats`: as for weir_event_sub_open. */
enum weir_status weir_kv_follow_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, struct weir_plane_client *client,
                                     const struct weir_kv_follow_ops *ops, void *arg,
                                     struct weir_kv_follow **ret_follow,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* After the discovery that it watches was closed, before the client is destroyed. Accepts NULL. */
void weir_kv_follow_close(struct weir_kv_follow *follow);

struct weir_kv_follow_stats {
    unsigned ranks, live;           /* known; following live events */
    uint64_t restores, recoveries;  /* dumps and gaps that were answered */
    uint64_t looks;                 /* questions whether something was missed, answered */
    uint64_t failures, given_up;    /* questions that failed; ranks reset for that */
    uint64_t unreadable, misplaced; /* messages; events of another rank than their source says */
    uint64_t held_dropped;          /* events for which there was no room while a rank waited */
};
void weir_kv_follow_stats(const struct weir_kv_follow *follow, struct weir_kv_follow_stats *ret);

#endif
