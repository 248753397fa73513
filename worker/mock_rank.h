/*
 * One data-parallel rank of a mock worker: an engine that runs on a loop, and its event stream.
 *
 * Happy path: add → begin_step → timer (or next turn when there is no delay) → end_step hands
 * tokens to on_token, cache changes are published → next step. The owner closes it; nothing fires
 * afterwards.
 */
#ifndef WEIR_WORKER_MOCK_RANK_H
#define WEIR_WORKER_MOCK_RANK_H

#include "net/loop.h"
#include "runtime/events.h"
#include "runtime/kv_stream_pub.h"
#include "worker/engine.h"

struct weir_mock_rank;

struct weir_mock_rank_config {
    struct weir_engine_config engine;
    uint64_t worker_id;
    uint32_t dp_rank;
    struct weir_event_pub *kv_pub;   /* borrowed, may be NULL: KV events */
    struct weir_event_pub *load_pub; /* borrowed, may be NULL: kv_metrics */
    void (*on_token)(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                     enum weir_engine_finish finish);
    uint32_t (*next_token)(void *arg, void *user, uint32_t position);
    void *arg;
    /* Instead of kv_pub: the changes themselves, and the end of what one pass changed; both with
     * `cache_arg`. Members NULL: not wanted. */
    struct weir_kv_cache_ops cache;
    void (*on_batch)(void *cache_arg);
    bool evictions_follow; /* what a pass evicts belongs to the batch of the pass before it */
    void *cache_arg;
};

enum weir_status weir_mock_rank_open(struct weir_loop *loop,
                                     const struct weir_mock_rank_config *config,
                                     struct weir_mock_rank **ret_rank) WEIR_MUST_CHECK;
void weir_mock_rank_close(struct weir_mock_rank *rank);
enum weir_status weir_mock_rank_add(struct weir_mock_rank *rank,
                                    const struct weir_sequence_config *config,
                                    struct weir_sequence **ret_seq) WEIR_MUST_CHECK;
void weir_mock_rank_cancel(struct weir_mock_rank *rank, struct weir_sequence *seq);
/* Late start of event publishing: the publisher needs the rank's query endpoint first. */
void weir_mock_rank_set_publishers(struct weir_mock_rank *rank, struct weir_event_pub *kv_pub,
                                   struct weir_event_pub *load_pub);
/* Durable events instead of kv_pub; borrowed. */
void weir_mock_rank_set_stream(struct weir_mock_rank *rank, struct weir_kv_stream_pub *stream);
/* Publishes the whole cache: Cleared, then every block. */
void weir_mock_rank_tell_again(struct weir_mock_rank *rank);
struct weir_engine *weir_mock_rank_engine(struct weir_mock_rank *rank);
void weir_mock_rank_get_stats(const struct weir_mock_rank *rank, struct weir_engine_stats *ret);

/* Answer of the rank's KV query endpoint (shared spec "kvrouter" 2.5): appends the wrapper
 * {"data":{…},"complete_final":false} for a query body in JSON or MessagePack. */
enum weir_status weir_mock_rank_query(struct weir_mock_rank *rank, struct weir_span body,
                                      enum weir_codec codec, struct weir_buf *out) WEIR_MUST_CHECK;

#endif
