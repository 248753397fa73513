/* Busy detection. Pure. Source: shared spec "frontend" 5, "transport" 5. */
#ifndef WEIR_ROUTER_BUSY_H
#define WEIR_ROUTER_BUSY_H

#include "router/router.h"

struct weir_busy_load {
    uint64_t active_decode_blocks; /* as the router books them */
    uint64_t kv_used_blocks;       /* as the worker reports them */
    uint64_t active_prefill_tokens;
    uint64_t total_kv_blocks, max_num_batched_tokens; /* 0 = unknown */
};

/* True when one of the thresholds that are set is exceeded. Booked and reported blocks both count,
 * so both must fall below before a worker is free again. An unknown block total is never
 * exceeded; an unknown token budget counts as 10,000,000. */
bool weir_busy(const struct weir_busy_thresholds *thresholds, const struct weir_busy_load *load);

#endif
