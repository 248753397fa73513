/* What the two files of the feed share. */
#ifndef WEIR_FRONTEND_FEED_PRIV_H
#define WEIR_FRONTEND_FEED_PRIV_H

#include "base/log.h"
#include "frontend/feed.h"
#include "router/kv_batch.h"
#include "runtime/kv_follow.h"
#include "runtime/kv_stream.h"

struct weir_feed {
    struct weir_models *models;      /* borrowed: outlives the feed */
    struct weir_prefill *prefill;    /* the same */
    struct weir_kv_follow *kv;       /* NULL: cache events are not used */
    struct weir_kv_streams *streams; /* of workers with durable events, or NULL */
    struct weir_event_sub *load;
    struct weir_log_limit unreadable;
    struct weir_kv_batch batch;     /* of one read, or of what a turn has of a stream */
    uint64_t batch_worker;          /* whose events it holds, while it holds any */
    struct weir_model *batch_model; /* a reference, for its router; NULL: a prefill worker's, which
                                       stays */
};

#endif
