/*
 * kvindex: block hashes to workers. A library of its own (prefix kvi_, needs only xxHash and libc).
 *
 * Hashing: shared spec "kvrouter" 1. Index semantics: 3.2. First form: every function of one index
 * from one thread at a time (the router holds its lock); a later form makes reads concurrent behind
 * this same header.
 */
#ifndef KVI_H
#define KVI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- hashing ---------------------------------------------------------------------------- */

enum { KVI_SEED = 1337 };

/* Seed for a LoRA name and a cache namespace (NULL or empty = none). */
uint64_t kvi_seed(const char *lora, size_t lora_len, const char *ns, size_t ns_len);
/* Content hash of one block of tokens. */
uint64_t kvi_block_hash(const uint32_t *tokens, size_t n_tokens, uint64_t seed);
/* Hashes all complete blocks: block i covers tokens [i*block_size, i*block_size + window), where
 * window = block_size, or block_size + 1 when eagle. Returns the number of blocks written (at most
 * room). block_size 0 gives 0. */
size_t kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size, uint64_t seed,
                       bool eagle, uint64_t *ret_hashes, size_t room);
size_t kvi_block_count(size_t n_tokens, uint32_t block_size, bool eagle);
/* Rolling sequence hashes: S[0] = L[0], S[i] = XXH3(LE64(S[i-1]) || LE64(L[i]), seed 1337). In
 * place ok. */
void kvi_chain(const uint64_t *local, size_t n, uint64_t *ret_sequence);

/* Blocks with images or other media. Two schemes coexist: media hashes appended to the tokens of
 * the block (kvi_block_hash_media), or placeholder tokens replaced by kvi_media_pad and hashed as
 * plain tokens. */
/* Content hash of a block and the media in it. `media` is sorted in place. */
uint64_t kvi_block_hash_media(const uint32_t *tokens, size_t n_tokens, uint64_t *media,
                              size_t n_media, uint64_t seed);
/* The token that stands for a placeholder of this media object. */
uint32_t kvi_media_pad(uint64_t media_hash);
/* Hash of a media identifier: 64 hex digits give their first 16 as a number, any other text its
 * XXH3. False for an empty one. */
bool kvi_media_hash(const char *id, size_t len, uint64_t *ret_hash);

/* ---- index ------------------------------------------------------------------------------ */

enum kvi_result {
    KVI_OK,
    KVI_PARENT_NOT_FOUND,
    KVI_BLOCK_NOT_FOUND, /* a removed hash was unknown; the others were applied */
    KVI_INVALID,         /* parent inside own blocks, n == 0 */
    KVI_CAPACITY,        /* byte budget or rank table full: the event was not applied */
    KVI_NOMEM,
};
const char *
kvi_result_name(enum kvi_result r); /* as the metric label: "ok", "parent_block_not_found", … */

struct kvi_worker {
    uint64_t worker_id;
    uint32_t dp_rank;
};
struct kvi_block {
    uint64_t block_hash, tokens_hash;
};

struct kvi_index;
struct kvi_options {
    size_t max_bytes;   /* 0 = 1 GiB */
    uint32_t max_ranks; /* 0 = 65,536 (worker, rank) pairs */
};
struct kvi_index *kvi_create(const struct kvi_options *options); /* NULL: out of memory */
void kvi_destroy(struct kvi_index *index);

/* has_parent false: the blocks start a sequence. *ret_duplicate (may be NULL): nothing new. */
enum kvi_result kvi_store(struct kvi_index *index, struct kvi_worker worker, bool has_parent,
                          uint64_t parent_hash, const struct kvi_block *blocks, size_t n,
                          bool *ret_duplicate);
enum kvi_result kvi_remove(struct kvi_index *index, struct kvi_worker worker,
                           const uint64_t *block_hashes, size_t n);
/* Everything of one (worker, rank). */
void kvi_clear(struct kvi_index *index, struct kvi_worker worker);
/* Everything of all ranks of a worker. */
void kvi_remove_worker(struct kvi_index *index, uint64_t worker_id);

struct kvi_score {
    struct kvi_worker worker;
    uint32_t blocks; /* matched prefix, in blocks, >= 1 */
};
/* Longest cached prefix per (worker, rank). Writes at most `room` scores, best first within the
 * room only if the whole set fits; returns the number of matching ranks (may exceed room). */
size_t kvi_find(struct kvi_index *index, const uint64_t *local_hashes, size_t n,
                struct kvi_score *ret_scores, size_t room);

struct kvi_stats {
    uint64_t entries; /* (block, rank) pairs */
    uint64_t nodes;
    uint32_t ranks;
    size_t bytes;
};
void kvi_get_stats(const struct kvi_index *index, struct kvi_stats *ret_stats);
/* Stored events that rebuild the index, parents first. fn returning false stops. */
typedef bool (*kvi_dump_fn)(void *arg, struct kvi_worker worker, bool has_parent,
                            uint64_t parent_hash, const struct kvi_block *blocks, size_t n);
void kvi_dump(const struct kvi_index *index, kvi_dump_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
