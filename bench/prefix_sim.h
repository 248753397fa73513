/*
 * The best that routing can do: prefix hits of one cache that holds the blocks of all workers
 * together, with the engine's own eviction (least recently used first, of one request its tail
 * first). No division of the same requests over separate caches of that total size sees more of
 * them side by side. Pure.
 */
#ifndef WEIR_BENCH_PREFIX_SIM_H
#define WEIR_BENCH_PREFIX_SIM_H

#include "base/map.h"

struct weir_prefix_sim {
    struct weir_map where;       /* block id → slot */
    struct weir_sim_slot *slots; /* owned */
    uint32_t n_slots, n_used;
    uint32_t oldest, newest; /* ring of use; UINT32_MAX = empty */
};

/* WEIR_NOMEM leaves what fini accepts. capacity: blocks, 1 to 2^31. */
enum weir_status weir_prefix_sim_init(struct weir_prefix_sim *sim,
                                      uint32_t capacity) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_prefix_sim_fini(struct weir_prefix_sim *sim);
/*
 * One request: `ids` are its blocks in order, each standing for itself and all before it; of the
 * first n_prompt those that are cached without a gap are hits. Afterwards all n are cached, as far
 * as they fit. WEIR_NOMEM: nothing is known any more.
 */
enum weir_status weir_prefix_sim_request(struct weir_prefix_sim *sim, const uint64_t *ids,
                                         uint32_t n_prompt, uint32_t n,
                                         uint32_t *ret_hits) WEIR_MUST_CHECK;

#endif
