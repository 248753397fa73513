/*
 * KV events of one rank as vLLM and SGLang publish them: PUB and replay sockets, their encodings.
 * Facts: shared spec "engines" 2. Thread: the loop's.
 */
#ifndef WEIR_WORKER_MOCK_FEED_H
#define WEIR_WORKER_MOCK_FEED_H

#include "base/span.h"
#include "net/loop.h"

struct weir_mock_feed;

enum weir_mock_form {
    WEIR_MOCK_VLLM,       /* 0.32: maps */
    WEIR_MOCK_VLLM_ARRAY, /* 0.16: arrays, no salt */
    WEIR_MOCK_SGLANG,     /* 0.5.23: maps, signed hashes */
};

struct weir_mock_feed_config {
    enum weir_mock_form form;
    const char *ip;
    uint16_t port, replay_port; /* 0: a free one */
    const char *connect;        /* publish to this subscriber instead of listening; or NULL */
    const char *topic;          /* borrowed: outlives the feed */
    uint32_t rank, block_size;
    uint64_t name_seed; /* names of blocks differ from one process to the next, as with engines */
};

enum weir_status weir_mock_feed_open(struct weir_loop *loop,
                                     const struct weir_mock_feed_config *config,
                                     struct weir_mock_feed **ret_feed,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_mock_feed_close(struct weir_mock_feed *feed);
uint16_t weir_mock_feed_port(const struct weir_mock_feed *feed);
uint16_t weir_mock_feed_replay_port(const struct weir_mock_feed *feed);
/* Number of the next batch. */
uint64_t weir_mock_feed_next(const struct weir_mock_feed *feed);

/* Changes of one pass; what follows the last one as its child joins its event. */
void weir_mock_feed_stored(struct weir_mock_feed *feed, bool has_parent, uint64_t parent,
                           uint64_t hash, const uint32_t *tokens, struct weir_span salt);
void weir_mock_feed_removed(struct weir_mock_feed *feed, uint64_t hash);
void weir_mock_feed_cleared(struct weir_mock_feed *feed);
/* The pass is over: its batch leaves, if there is one. */
void weir_mock_feed_flush(struct weir_mock_feed *feed);

#endif
