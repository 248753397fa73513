/* The index as plainly as it can be written: the oracle of the model tests. */
#ifndef WEIR_TEST_KVINDEX_NAIVE_H
#define WEIR_TEST_KVINDEX_NAIVE_H

#include "kvindex/kvi.h"

enum { NAIVE_HOLDERS = 8, NAIVE_RANKS = 4, NAIVE_BLOCKS = 512, NAIVE_DEPTH = 24 };

/* A holder is a (rank, tier): 0..3 the devices of ranks 0..3, 4 and 5 the hosts of ranks 0 and 1, 6
 * and 7 their disks. */
uint32_t naive_rank(uint32_t holder);
enum kvi_tier naive_tier(uint32_t holder);

/* One stored block of one holder: its path of content hashes from the root. */
struct naive_block {
    bool used;
    uint64_t hash;
    uint32_t depth;
    uint64_t path[NAIVE_DEPTH];
};
struct naive {
    struct naive_block blocks[NAIVE_HOLDERS][NAIVE_BLOCKS];
};

enum kvi_result naive_store(struct naive *n, uint32_t holder, bool has_parent, uint64_t parent,
                            const struct kvi_block *blocks, size_t count);
enum kvi_result naive_remove(struct naive *n, uint32_t holder, const uint64_t *hashes,
                             size_t count);
void naive_clear(struct naive *n, uint32_t rank); /* all tiers */
/* The holder's block of this name, or NULL. */
const struct naive_block *naive_find(const struct naive *n, uint32_t holder, uint64_t hash);
/* The block a store of this holder would take for its parent, or NULL. */
const struct naive_block *naive_parent(const struct naive *n, uint32_t holder, uint64_t hash);
/* All tiers of the rank. */
void naive_score(const struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count,
                 uint32_t ret[KVI_TIERS]);
uint64_t naive_entries(const struct naive *n);

#endif
