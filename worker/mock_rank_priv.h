#ifndef WEIR_WORKER_MOCK_RANK_PRIV_H
#define WEIR_WORKER_MOCK_RANK_PRIV_H

#include "worker/mock_rank.h"

/* Events kept for gap recovery, and blocks merged into one event (shared spec "kvrouter" 2.3, 2.5).
 */
enum { WEIR_MOCK_RING = 1024, WEIR_MOCK_EVENT_BLOCKS = 128 };

struct weir_mock_event {
    struct weir_kv_event event; /* its arrays are owned, in `memory` */
    void *memory;
};

struct weir_mock_rank {
    struct weir_loop *loop; /* borrowed */
    struct weir_mock_rank_config config;
    struct weir_engine *engine;        /* owned */
    struct weir_kv_stream_pub *stream; /* borrowed, or NULL */
    struct weir_timer timer, load_timer;
    bool stepping;
    /* Changes of the running step, merged while they chain. */
    enum weir_kv_kind pending_kind;
    bool pending, pending_has_parent;
    uint64_t pending_parent;
    struct weir_kv_block blocks[WEIR_MOCK_EVENT_BLOCKS];
    uint64_t removed[WEIR_MOCK_EVENT_BLOCKS];
    size_t n_pending;
    /* Published events by id; next_id counts from 1. */
    struct weir_mock_event ring[WEIR_MOCK_RING];
    uint64_t next_id;
    uint64_t last_used_blocks;
    struct weir_buf scratch;
};

#endif
