/*
 * Searches of a router's index from any thread, without the router's lock: a pool of readers, each
 * with room for its answer. A thread takes the one it had before whenever that is free, so each
 * serving loop has its own. Threads: any, for every function.
 */
#ifndef WEIR_ROUTER_LOOKUP_H
#define WEIR_ROUTER_LOOKUP_H

#include "kvindex/kvi.h"

#include <stdatomic.h>

enum { WEIR_LOOKUPS = 32 };

/* Belongs to the thread that took it. */
struct weir_lookup {
    _Atomic bool taken;
    struct kvi_reader *reader; /* opened when first taken */
    struct kvi_score *scores;  /* owned */
    size_t n, cap;             /* n: of the last search */
};
struct weir_lookups {
    struct kvi_index *index; /* borrowed */
    struct weir_lookup all[WEIR_LOOKUPS];
};

void weir_lookups_init(struct weir_lookups *pool, struct kvi_index *index);
/* None may be taken. */
void weir_lookups_fini(struct weir_lookups *pool);
/* NULL: all are taken, or out of memory. */
struct weir_lookup *weir_lookup_take(struct weir_lookups *pool);
void weir_lookup_give_back(struct weir_lookup *lookup);

/* One alone, for somebody who searches under a lock of his own. False: no reader left, or out of
 * memory. */
bool weir_lookup_open(struct weir_lookup *lookup, struct kvi_index *index);
void weir_lookup_close(struct weir_lookup *lookup);

/* Fills scores[0..n). Out of memory: those for which there is room. */
void weir_lookup_run(struct weir_lookup *lookup, const uint64_t *local_hashes, size_t n_blocks);

#endif
