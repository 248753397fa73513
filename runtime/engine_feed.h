/*
 * The KV events of one rank of an engine, complete and in order. Facts: shared spec "engines" 2.1.
 *
 * What was published before is asked of the replay socket first, and again after a gap, so
 * evictions that were missed are learned too. A quiet engine is asked once a second whether its
 * last batch is still the one we know: so a restart is noticed before the first event of the new
 * process. Without a replay socket a gap voids what is known.
 *
 * Thread: the loop.
 */
#ifndef WEIR_RUNTIME_ENGINE_FEED_H
#define WEIR_RUNTIME_ENGINE_FEED_H

#include "net/loop.h"
#include "runtime/engine_binds.h"
#include "runtime/engines.h"
#include "wire/engine_event.h"

struct weir_engine_feed;

struct weir_engine_feed_ops {
    void (*on_event)(void *arg, const struct weir_engine_event *event);
    /* Everything that was told is void: the engine has started anew, or events are lost. */
    void (*on_reset)(void *arg, const char *why);
    /* A batch was applied; the number of the one that is to come. */
    void (*on_batch)(void *arg, uint64_t next);
};

struct weir_engine_feed_stats {
    uint64_t batches, repeated, replays, gaps, resets, broken;
    uint64_t replayed; /* batches that were missed and came with a replay */
    bool live;         /* what came before was restored */
};

/* `binds`: for a source that connects to us; borrowed, outlives the feed. */
enum weir_status weir_engine_feed_open(struct weir_loop *loop, struct weir_engine_binds *binds,
                                       const struct weir_engine_source *source,
                                       const struct weir_engine_feed_ops *ops, void *arg,
                                       struct weir_engine_feed **ret_feed,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* Closes its sockets and keeps what it knows; then opens them again and makes good what was missed,
 * as after any gap. A feed that cannot be resumed stays paused. */
void weir_engine_feed_pause(struct weir_engine_feed *feed);
enum weir_status weir_engine_feed_resume(struct weir_engine_feed *feed,
                                         struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_engine_feed_close(struct weir_engine_feed *feed);
void weir_engine_feed_get_stats(const struct weir_engine_feed *feed,
                                struct weir_engine_feed_stats *ret_stats);

#endif
