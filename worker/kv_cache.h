/*
 * Paged KV cache of the simulated engine: prefix reuse by block hash, LRU eviction, events. Pure:
 * no clock, no I/O. Behaves as vLLM's block pool does: a block with no user stays cached until its
 * room is needed; a sequence's blocks become evictable tail first, so a prefix outlives its
 * extensions. Thread: one.
 */
#ifndef WEIR_WORKER_KV_CACHE_H
#define WEIR_WORKER_KV_CACHE_H

#include "base/status.h"

#include <stdint.h>

struct weir_kv_cache;

/* What changed in the cache, as engines publish it. Called from inside the functions below. */
struct weir_kv_cache_ops {
    void (*on_stored)(void *arg, bool has_parent, uint64_t parent_hash, uint64_t block_hash,
                      uint64_t tokens_hash);
    void (*on_removed)(void *arg, uint64_t block_hash);
    void (*on_cleared)(void *arg);
};

/* The blocks that one sequence holds, in order. */
struct weir_kv_table {
    uint32_t *blocks; /* owned by the cache's functions */
    uint32_t n, cap;
};

enum weir_status weir_kv_cache_create(uint32_t n_blocks, bool reuse,
                                      const struct weir_kv_cache_ops *ops, void *arg,
                                      struct weir_kv_cache **ret_cache) WEIR_MUST_CHECK;
void weir_kv_cache_destroy(struct weir_kv_cache *cache);
/* Leading blocks of this chain of sequence hashes that are cached. */
uint32_t weir_kv_cache_match(const struct weir_kv_cache *cache, const uint64_t *sequence_hashes,
                             uint32_t n);
/* Gives an empty table the first n_hits blocks of the chain (found by match) and n_new fresh ones.
 * WEIR_LIMIT when fewer than n_free (at least n_new) could be had: nothing changed. */
enum weir_status weir_kv_cache_acquire(struct weir_kv_cache *cache, struct weir_kv_table *table,
                                       const uint64_t *sequence_hashes, uint32_t n_hits,
                                       uint32_t n_new, uint32_t n_free) WEIR_MUST_CHECK;
/* One more fresh block. */
enum weir_status weir_kv_cache_extend(struct weir_kv_cache *cache,
                                      struct weir_kv_table *table) WEIR_MUST_CHECK;
/* Block `at` of the table is full: it can be reused from now on. */
void weir_kv_cache_complete(struct weir_kv_cache *cache, struct weir_kv_table *table, uint32_t at,
                            uint64_t sequence_hash, uint64_t tokens_hash, bool has_parent,
                            uint64_t parent_hash);
/* Gives all blocks back. Accepts an empty table. */
void weir_kv_cache_release(struct weir_kv_cache *cache, struct weir_kv_table *table);
/* Forgets every block that nobody uses. */
void weir_kv_cache_clear(struct weir_kv_cache *cache);

uint32_t weir_kv_cache_used(const struct weir_kv_cache *cache);   /* held by sequences */
uint32_t weir_kv_cache_cached(const struct weir_kv_cache *cache); /* reusable, held or not */
/* Calls fn for each reusable block, parents first. For dumps. */
void weir_kv_cache_each(const struct weir_kv_cache *cache,
                        void (*fn)(void *arg, bool has_parent, uint64_t parent_hash,
                                   uint64_t block_hash, uint64_t tokens_hash),
                        void *arg);

#endif
