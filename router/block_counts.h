/*
 * How many bookings hold each block of one rank: a multiset of hashes, changed by whole prompts.
 * Open addressing with linear probing; places are fetched some hashes ahead, as each is a cache
 * miss in a table of many prompts. Threads: one at a time.
 */
#ifndef WEIR_ROUTER_BLOCK_COUNTS_H
#define WEIR_ROUTER_BLOCK_COUNTS_H

#include <stddef.h>
#include <stdint.h>

struct weir_block_counts {
    struct weir_block_count *slots; /* owned */
    size_t cap, len;
};

/* Zeroed memory is an empty set. */
void weir_block_counts_fini(struct weir_block_counts *c);
/* Distinct hashes. */
size_t weir_block_counts_len(const struct weir_block_counts *c);
/* How many from the first on are there. Only for rolling hashes, where whoever holds one holds all
 * before it: it looks at few of them. */
size_t weir_block_counts_prefix(const struct weir_block_counts *c, const uint64_t *hashes,
                                size_t n);
/* Counts each of them once more. Returns n, or 0 when there is no memory: nothing is counted then.
 */
size_t weir_block_counts_add(struct weir_block_counts *c, const uint64_t *hashes, size_t n);
/* Counts each of them once less; hashes that are not there are passed over. */
void weir_block_counts_drop(struct weir_block_counts *c, const uint64_t *hashes, size_t n);

#endif
