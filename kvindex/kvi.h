/*
 * kvindex: block hashes to workers. A library of its own (prefix kvi_, needs only xxHash and libc;
 * README.md in this folder says how to use it alone).
 *
 * Hashing: shared spec "kvrouter" 1. Events and matching: 2.1, 3.2, 3.5; where the reference's back
 * ends disagree, the function's comment says what this one does.
 *
 * Threads. Writers (every function that takes `struct kvi_index *` without const): any thread, any
 * time; the events of one (worker, rank) must be handed over in their order, so keep each rank on
 * one thread. Writers take turns inside on one short lock. Readers (every function that takes
 * `struct kvi_reader *`): wait-free, inline in an event loop, one reader object per thread. A
 * search sees each event that was applied before it began; an event that is applied meanwhile may
 * be seen in part, never more than was true for a rank at some moment of the search (only for a
 * rank with a block missing in mid-chain may a search overlap the loss and a later store and see
 * their sum).
 */
#ifndef KVI_H
#define KVI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- hashing ---------------------------------------------------------------------------- */

enum { KVI_SEED = 1337 };

/* Seed for a LoRA name and a cache namespace (NULL or empty = none). */
uint64_t kvi_seed(const char *lora, size_t lora_len, const char *ns, size_t ns_len);
/* What an image is called, by its address; and the id that stands for its tokens in what is hashed
 * of a prompt, at the router as with the engines (SGLang's own, and what Dynamo makes of vLLM's).
 */
uint64_t kvi_medium_hash(const char *url, size_t len);
uint32_t kvi_medium_id(uint64_t hash);
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

/* Both in one pass, the faster way to get them: the first covers the latency of the second. */
size_t kvi_hash_and_chain(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                          uint64_t seed, bool eagle, uint64_t *ret_local, uint64_t *ret_sequence,
                          size_t room);

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
    KVI_PARENT_NOT_FOUND, /* the event was not applied */
    KVI_BLOCK_NOT_FOUND,  /* a removed hash was unknown; the others were applied */
    KVI_INVALID,          /* parent inside own blocks, n == 0, no such tier */
    KVI_CAPACITY,         /* byte budget or rank table full: applied in part or not at all */
    KVI_NOMEM,            /* the same, because the system gave no memory */
    KVI_RESULTS,
};
/* As the metric label: "ok", "parent_block_not_found", … */
const char *kvi_result_name(enum kvi_result r);

/* Where a worker keeps a block. */
enum kvi_tier { KVI_DEVICE, KVI_HOST, KVI_DISK, KVI_EXTERNAL, KVI_TIERS };

struct kvi_worker {
    uint64_t worker_id;
    uint32_t dp_rank;
};
/* block_hash: the engine's name of the prefix that ends with the block, opaque. tokens_hash: the
 * content hash of the block alone (kvi_block_hash). Engines may give different names to the same
 * prefix; a rank may use two names for one block, or a name again for another block, which then
 * takes the old one's place. */
struct kvi_block {
    uint64_t block_hash, tokens_hash;
};

struct kvi_index;
struct kvi_options {
    size_t max_bytes;     /* 0 = 1 GiB. Over 15/16 of it the coldest blocks give way. */
    uint32_t max_ranks;   /* 0 = 65,536 (worker, rank) pairs, which is also the most */
    uint32_t max_readers; /* 0 = 64 */
};
struct kvi_index *kvi_create(const struct kvi_options *options); /* NULL: out of memory */
/* Accepts NULL. Every reader must be closed before. */
void kvi_destroy(struct kvi_index *index);

/* The rank's number, below max_ranks: made known if it is new. Numbers of removed ranks are used
 * again, the longest unused first. */
enum kvi_result kvi_rank_add(struct kvi_index *index, struct kvi_worker worker, uint32_t *ret_rank);
/* Everything of one (worker, rank), its number too. */
void kvi_rank_remove(struct kvi_index *index, struct kvi_worker worker);
/* The same for all ranks of a worker. */
void kvi_remove_worker(struct kvi_index *index, uint64_t worker_id);

/* Blocks of one tier; an unknown rank is made known. has_parent false: they start a sequence. The
 * parent must be held by the rank on the same tier, on a lower tier on any tier.
 * *ret_duplicate (may be NULL): nothing was new. */
enum kvi_result kvi_store(struct kvi_index *index, struct kvi_worker worker, enum kvi_tier tier,
                          bool has_parent, uint64_t parent_hash, const struct kvi_block *blocks,
                          size_t n, bool *ret_duplicate);
/* What stands behind a removed block stays, unmatched until the block is stored again. */
enum kvi_result kvi_remove(struct kvi_index *index, struct kvi_worker worker, enum kvi_tier tier,
                           const uint64_t *block_hashes, size_t n);
/* All blocks of one (worker, rank) on all tiers; the rank stays known. */
void kvi_clear(struct kvi_index *index, struct kvi_worker worker);

/* One engine event. A stored one with start_position > 0 and no parent is an orphan. */
enum kvi_kind { KVI_STORED, KVI_REMOVED, KVI_CLEARED, KVI_KINDS };
struct kvi_event {
    struct kvi_worker worker;
    enum kvi_kind kind;
    enum kvi_tier tier;
    bool has_parent; /* stored */
    uint32_t start_position;
    uint64_t parent_hash;
    const struct kvi_block *blocks; /* stored, borrowed for the call */
    const uint64_t *removed;        /* removed, borrowed for the call */
    size_t n;                       /* blocks or removed */
};
/* Applies in order under one turn of the lock and counts each result in the statistics.
 * ret_results (n of them) may be NULL. */
void kvi_apply(struct kvi_index *index, const struct kvi_event *events, size_t n,
               enum kvi_result *ret_results);

/* Idle work: frees what readers have let go of, gives unused memory back, makes the next memory
 * ready so that no writer waits for the system to clear it. Never needed for correctness; a second
 * or so apart is a good pace. */
void kvi_maintain(struct kvi_index *index);

/* ---- search ----------------------------------------------------------------------------- */

struct kvi_reader;
/* NULL: max_readers are open, or out of memory. The reader belongs to the calling thread until it
 * is closed. */
struct kvi_reader *kvi_reader_open(struct kvi_index *index);
void kvi_reader_close(struct kvi_reader *reader); /* accepts NULL */

struct kvi_score {
    struct kvi_worker worker;
    uint32_t rank; /* number, see kvi_rank_add */
    /* blocks[KVI_DEVICE]: leading blocks held on the device. The others: the blocks that follow
     * without a gap, tier after tier. At least one is > 0. */
    uint32_t blocks[KVI_TIERS];
};
/* Longest cached prefix per (worker, rank), in no particular order. Writes at most `room` scores
 * and returns the number of matching ranks, which may exceed room.
 *
 * early_exit: stops where at most one rank still holds everything; the score of that one is then a
 * lower bound, greater than every other, and lower tiers are not looked at. */
size_t kvi_find(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
                struct kvi_score *ret_scores, size_t room);

/* The same search without the list: leading device blocks by rank number. */
struct kvi_match {
    const uint32_t *device; /* owned by the reader, valid until its next call */
    uint32_t n_ranks;       /* a rank number at or above it has matched nothing */
};
void kvi_match(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
               struct kvi_match *ret_match);

/* ---- statistics and dump ---------------------------------------------------------------- */

struct kvi_stats {
    uint64_t entries;         /* (rank, tier, block name), all tiers together */
    uint64_t tier[KVI_TIERS]; /* the same by tier */
    uint64_t aliases;         /* those of them whose name differs from the first one's */
    uint64_t blocks;          /* distinct blocks in their context */
    uint64_t nodes;
    uint32_t ranks;
    size_t bytes, max_bytes;
    uint64_t events[KVI_KINDS][KVI_RESULTS];
    uint64_t duplicates; /* stored events in which nothing was new */
    uint64_t unknown;    /* removed hashes that were not held */
    uint64_t evicted;    /* entries dropped to stay inside the budget */
};
/* Any thread; takes a writer's turn. */
void kvi_get_stats(struct kvi_index *index, struct kvi_stats *ret_stats);
/* Entries of one rank, all tiers; 0 for an unknown one. */
uint64_t kvi_rank_entries(struct kvi_index *index, struct kvi_worker worker);
/* Up to `room` ranks that are known, those with numbers from *from on, which moves behind them;
 * begin at 0. Returns how many; 0: no more. */
size_t kvi_ranks(struct kvi_index *index, uint32_t *from, struct kvi_worker *ret_workers,
                 size_t room);

/* Stored events that rebuild the index, parents first. Blocks that no match can reach are left
 * out, and blocks of a lower tier whose parent cannot be told by name (its name means another block
 * on a tier that is looked at before). fn returning false stops. Writers wait meanwhile: fn must be
 * quick and must not write. */
typedef bool (*kvi_dump_fn)(void *arg, const struct kvi_event *event);
enum kvi_result kvi_dump(struct kvi_index *index, kvi_dump_fn fn, void *arg);
/* All of it, for a copy that takes the same events from now on and gives the same answers: what the
 * dump leaves out goes to `place`, a name of a rank's block that ends this path of contents (from
 * the root, n >= 1). Its parents may be held by nobody. */
typedef bool (*kvi_place_fn)(void *arg, struct kvi_worker worker, enum kvi_tier tier,
                             const uint64_t *path, size_t n, uint64_t block_hash);
enum kvi_result kvi_copy(struct kvi_index *index, kvi_dump_fn fn, kvi_place_fn place, void *arg);
/* kvi_dump in steps, for an index that others write to meanwhile: a step tells about n_blocks
 * blocks (one run of at most 128 more, and a block's further names) and makes writers wait no
 * longer than for them. A (worker, rank) without events from open to the end is told whole, as a
 * dump tells it, but for what the budget takes away; of another one it may be part of the old and
 * part of the new. One thread at a time; the index outlives the walk, except for kvi_walk_close. */
struct kvi_walk;
struct kvi_walk *kvi_walk_open(struct kvi_index *index); /* NULL: no memory */
/* *ret_more: not at the end yet. After a failure only to be closed. */
enum kvi_result kvi_walk_step(struct kvi_walk *walk, size_t n_blocks, kvi_dump_fn fn, void *arg,
                              bool *ret_more);
/* Before the first step: what the walk would leave out goes to `place`, as with kvi_copy(), of
 * which it is the stepped form: whole for an index that nobody changes from open to the end. */
void kvi_walk_place(struct kvi_walk *walk, kvi_place_fn place);
void kvi_walk_close(struct kvi_walk *walk); /* accepts NULL */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
