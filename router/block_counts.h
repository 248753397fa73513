/*
 * Which blocks of one rank are held by bookings, and by how many: changed by whole prompts, of
 * which whoever holds a block holds all before it (rolling hashes). Prompts of 10,000 blocks that
 * share nothing cost one look-up each. Threads: one at a time.
 */
#ifndef WEIR_ROUTER_BLOCK_COUNTS_H
#define WEIR_ROUTER_BLOCK_COUNTS_H

#include <stddef.h>
#include <stdint.h>

struct weir_block_counts {
    struct weir_block_run **buckets; /* owned */
    size_t n_buckets, n_runs, len;
};

/* Zeroed memory is an empty set. */
void weir_block_counts_fini(struct weir_block_counts *c);
/* Distinct blocks. */
size_t weir_block_counts_len(const struct weir_block_counts *c);
/* How many from the first on are held. */
size_t weir_block_counts_prefix(const struct weir_block_counts *c, const uint64_t *hashes,
                                size_t n);
/* Counts each of them once more. Returns n, or 0 when there is no memory: nothing is counted then.
 */
size_t weir_block_counts_add(struct weir_block_counts *c, const uint64_t *hashes, size_t n);
/* Counts each of them once less: a prompt that was added. One that was not is passed over. */
void weir_block_counts_drop(struct weir_block_counts *c, const uint64_t *hashes, size_t n);

#endif
