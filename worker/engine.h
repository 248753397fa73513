/*
 * The simulated engine: continuous batching over a paged KV cache, with a timing model. Pure: time
 * comes in as step durations that the caller waits for; tokens and cache events go out through
 * callbacks.
 *
 * A step is one forward pass: running sequences each take one decode token, or a chunk of their
 * prompt, within the token budget; waiting sequences join while there is room; when decoding needs
 * a block and none is left, the youngest sequence is preempted and later starts over. Thread: one.
 */
#ifndef WEIR_WORKER_ENGINE_H
#define WEIR_WORKER_ENGINE_H

#include "worker/kv_cache.h"

struct weir_engine;
struct weir_sequence;

struct weir_engine_config {
    uint32_t block_size, n_blocks;
    uint32_t max_num_seqs, max_num_batched_tokens;
    uint32_t max_model_len; /* tokens, prompt and output; 0 = no limit */
    uint32_t max_waiting;   /* sequences; 0 = 65,536 */
    bool prefix_caching, chunked_prefill;
    /* A prompt that goes in chunks takes the blocks of each with its pass, as engines do; else all
     * when it is let in, as the replays count (cuda/kvc_replay.h). */
    bool blocks_by_chunk;
    double prefill_tokens_per_s;
    double decode_base_ms, decode_per_request_ms;
    double speedup;        /* divides all durations; 0 = no delay at all */
    double decode_speedup; /* extra factor on the decode part; > 0 */
};

enum weir_engine_finish { WEIR_ENGINE_RUNNING, WEIR_ENGINE_LENGTH };

struct weir_engine_ops {
    /* One output token of a sequence; on the last one `finish` says why. The sequence is gone after
     * that call. `cached_tokens`: prompt tokens that were found in the cache. */
    void (*on_token)(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                     enum weir_engine_finish finish);
    struct weir_kv_cache_ops cache;
    /* Deterministic text: the position-th token of an answer. */
    uint32_t (*next_token)(void *arg, void *user, uint32_t position);
};

struct weir_sequence_config {
    const uint32_t *prompt; /* copied */
    uint32_t n_prompt;
    uint32_t max_tokens; /* > 0 */
    uint64_t hash_seed;  /* kvi_seed() of the request */
    bool kv_received;    /* the prompt's KV came from another worker: only its last token is
                            computed here */
    void *user;
};

enum weir_status weir_engine_create(const struct weir_engine_config *config,
                                    const struct weir_engine_ops *ops, void *arg,
                                    struct weir_engine **ret_engine) WEIR_MUST_CHECK;
/* Sequences go without a callback. Accepts NULL. */
void weir_engine_destroy(struct weir_engine *engine);
/* WEIR_INVALID: empty prompt or zero tokens; WEIR_TOO_LARGE: does not fit the model length or the
 * whole cache; WEIR_LIMIT: too many are waiting. max_tokens is cut to the model length. */
enum weir_status weir_engine_add(struct weir_engine *engine,
                                 const struct weir_sequence_config *config,
                                 struct weir_sequence **ret_seq) WEIR_MUST_CHECK;
/* Frees its blocks at once. Not from inside a callback. */
void weir_engine_cancel(struct weir_engine *engine, struct weir_sequence *seq);
/* Composes the next forward pass; false when there is nothing to do. *ret_us: how long it takes. */
bool weir_engine_begin_step(struct weir_engine *engine, uint64_t *ret_us);
/* The pass is over: hands out its tokens. */
void weir_engine_end_step(struct weir_engine *engine);

/* Between begin_step and end_step. */
bool weir_engine_in_step(const struct weir_engine *engine);

struct weir_engine_stats {
    uint32_t running, waiting;
    uint32_t kv_used_blocks, kv_cached_blocks;
    uint64_t prompt_tokens,
        cached_tokens;        /* of sequences that began to run, preemptions not counted twice */
    uint64_t received_tokens; /* of prompts whose KV came from another worker */
    uint64_t output_tokens, preemptions, steps, finished;
};
void weir_engine_get_stats(const struct weir_engine *engine, struct weir_engine_stats *ret);
struct weir_kv_cache *weir_engine_cache(struct weir_engine *engine);
/* Inside cache.on_stored: the tokens of the block (block_size of them), and whose it is. */
const uint32_t *weir_engine_stored_tokens(const struct weir_engine *engine, void **ret_user);

#endif
