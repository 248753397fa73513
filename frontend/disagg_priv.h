/* The prefill part of a leg: what happens between routing and decoding when prefill and decode are
 * different workers. Included by request_priv.h; the functions are declared there. */
#ifndef WEIR_FRONTEND_DISAGG_PRIV_H
#define WEIR_FRONTEND_DISAGG_PRIV_H

#include "frontend/prefill.h"
#include "frontend/wait_priv.h"
#include "router/split.h"
#include "runtime/plane_client.h"

enum {
    WEIR_DISAGG_TRIES = 3, /* prefill workers that fail after they got the prompt */
    WEIR_MAX_TRIED = 16,   /* workers of a leg that fail, for either part */
};

enum weir_disagg_state {
    WEIR_DISAGG_NEW,     /* not looked at yet */
    WEIR_DISAGG_PREFILL, /* the prefill worker has the prompt; decode waits for its result */
    WEIR_DISAGG_BOTH,    /* both have it and meet each other (bootstrap) */
    WEIR_DISAGG_DONE,    /* the result is there */
    WEIR_DISAGG_OFF,     /* one worker does all */
};

struct weir_disagg {
    enum weir_disagg_state state;
    struct weir_prefill_pool *pool;
    struct weir_wait wait;           /* for a worker of it */
    struct weir_plane_call *call;    /* to the prefill worker */
    struct weir_relay_prefill *http; /* to an HTTP engine instead; in the request's arena */
    uint64_t booking, worker_id;     /* in the pool's router */
    uint32_t dp_rank;
    uint64_t sent_ns; /* when the prefill worker was asked */
    uint64_t tried[WEIR_MAX_TRIED];
    unsigned n_tried, n_failed; /* of these, that may have got the prompt */
    bool resent; /* a connection broke before the worker took the prompt: new ones from now on */
    enum weir_codec codec;   /* of its answer */
    struct weir_span result; /* JSON for the decode worker, in the request's arena; or NULL */
    struct weir_bootstrap meeting;
    struct weir_split split; /* why its prompt is computed where; undecided: not asked */
    bool split_told;         /* it stands in a recorded decision */
};

#endif
