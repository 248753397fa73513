/*
 * Which prompt blocks the bookings of each rank hold: one tree for all ranks, changed by whole
 * prompts, of which whoever holds a block holds all before it (rolling hashes: an equal block means
 * equal ones before it). A look-up walks the prompt's own path once, however many ranks there are.
 * Threads: one at a time.
 */
#ifndef WEIR_ROUTER_HELD_BLOCKS_H
#define WEIR_ROUTER_HELD_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_held_run; /* where a prompt ends; owned by the tree */

/* Of one run of blocks: a rank, by its slot, and how many of its prompts go through the run. */
struct weir_held_member {
    uint32_t slot, n_prompts;
};

struct weir_held_blocks {
    struct weir_held_run **buckets; /* owned */
    size_t n_buckets, n_runs;
    size_t *lens, *depths; /* owned; by slot */
    size_t n_slots;
};

/* Zeroed memory is an empty tree. */
void weir_held_fini(struct weir_held_blocks *held);
/* Room for ranks of slots below n; what they hold stays. False: no memory. */
bool weir_held_reserve(struct weir_held_blocks *held, size_t n_slots);
/* Distinct blocks of a rank. */
size_t weir_held_len(const struct weir_held_blocks *held, uint32_t slot);
/* Counts a prompt of n > 0 blocks for the rank. The result goes to weir_held_drop when it ends;
 * NULL: no memory, nothing is counted. */
struct weir_held_run *weir_held_add(struct weir_held_blocks *held, uint32_t slot,
                                    const uint64_t *hashes, size_t n);
/* NULL is passed over. */
void weir_held_drop(struct weir_held_blocks *held, uint32_t slot, struct weir_held_run *run);
/* The rank holds nothing any more: its runs must not be dropped afterwards. */
void weir_held_forget(struct weir_held_blocks *held, uint32_t slot);
/* The ranks that hold the first block, by slot; *ret_members is theirs until the next change. How
 * many blocks from the first on each of these holds stands in held->depths[slot]. */
size_t weir_held_prefixes(struct weir_held_blocks *held, const uint64_t *hashes, size_t n,
                          const struct weir_held_member **ret_members);

#endif
