/* The ways of routing that `weir replay` holds side by side: --modes and --loads read. Pure. */
#ifndef WEIR_BENCH_REPLAY_WAYS_H
#define WEIR_BENCH_REPLAY_WAYS_H

#include "router/queue.h"
#include "router/router.h"

enum { WEIR_REPLAY_WAYS = 14, WEIR_REPLAY_LOADS = 8 };

/* One word of --modes: a mode, or a selection policy of kv mode, and behind a plus sign the order
 * of the router's queue. */
struct weir_replay_way {
    char name[32];
    enum weir_router_mode mode;
    bool has_policy; /* else that of --router-selection-policy */
    enum weir_selection_policy policy;
    bool queues;
    enum weir_queue_policy order;
};

/* Words separated by commas. WEIR_INVALID: an unknown or repeated word, or too many. */
enum weir_status weir_replay_ways_read(const char *text, struct weir_replay_way *ret, size_t room,
                                       size_t *ret_n, struct weir_err *err) WEIR_MUST_CHECK;
/* Numbers above zero, rising, separated by commas; speedups of the trace. */
enum weir_status weir_replay_loads_read(const char *text, double *ret, size_t room, size_t *ret_n,
                                        struct weir_err *err) WEIR_MUST_CHECK;

#endif
