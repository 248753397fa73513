/*
 * Events of one engine rank into an index: subscribe, convert, apply. Thread: its loop.
 */
#ifndef WEIR_INDEXER_FOLLOWER_H
#define WEIR_INDEXER_FOLLOWER_H

#include "base/status.h"
#include "indexer/device.h"
#include "net/loop.h"
#include "runtime/engine_binds.h"

struct weir_follower_stats {
    uint64_t batches, events, lost, unreadable;
};
struct weir_follower;
struct weir_follower_config {
    struct weir_loop *loop;
    struct weir_engine_binds *binds; /* borrowed, outlives it */
    struct weir_mirror *mirror;      /* borrowed: the index */
    struct kvi_worker worker;
    uint32_t block_size;
    const char *endpoint, *replay; /* tcp://…, host *: we bind; replay NULL: none */
};
enum weir_status weir_follower_open(const struct weir_follower_config *config,
                                    struct weir_follower **ret_follower,
                                    struct weir_err *err) WEIR_MUST_CHECK;
void weir_follower_get_stats(const struct weir_follower *follower,
                             struct weir_follower_stats *ret_stats);
/* Stops reading, or goes on behind what was read last: what was missed is asked for again as after
 * any gap. WEIR_EXISTS: it is so already. */
enum weir_status weir_follower_pause(struct weir_follower *follower, bool pause,
                                     struct weir_err *err) WEIR_MUST_CHECK;
bool weir_follower_is_paused(const struct weir_follower *follower);
/* Accepts NULL. */
void weir_follower_close(struct weir_follower *follower);

#endif
