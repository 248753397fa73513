/* The index as plainly as it can be written: the oracle of the model tests. */
#ifndef WEIR_TEST_KVINDEX_NAIVE_H
#define WEIR_TEST_KVINDEX_NAIVE_H

#include "kvindex/kvi.h"

enum { NAIVE_RANKS = 8, NAIVE_BLOCKS = 512, NAIVE_DEPTH = 24 };

/* One stored block of one rank: its path of content hashes from the root. */
struct naive_block {
    bool used;
    uint64_t hash;
    uint32_t depth;
    uint64_t path[NAIVE_DEPTH];
};
struct naive {
    struct naive_block blocks[NAIVE_RANKS][NAIVE_BLOCKS];
};

enum kvi_result naive_store(struct naive *n, uint32_t rank, bool has_parent, uint64_t parent,
                            const struct kvi_block *blocks, size_t count);
enum kvi_result naive_remove(struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count);
void naive_clear(struct naive *n, uint32_t rank);
uint32_t naive_score(const struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count);
uint64_t naive_entries(const struct naive *n);

#endif
