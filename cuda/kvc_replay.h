/*
 * cuda: a fleet of simulated workers behind a router, replayed on one trace for many configurations
 * side by side, on a GPU or on all cores of the CPU. What is simulated is what `weir replay` puts
 * together from router/ and worker/ (bench/replay_sim.h): every time, choice and hit is equal to
 * that, bit for bit, on both back ends. Part of the library of kvc.h.
 *
 * How it can be small: blocks of a trace that are always found together are one run (a node of the
 * prompts' radix tree), known when the trace is loaded. A worker's cache holds a leading part of
 * each run, so its state is a few words a run, not a few a block; time goes from event to event,
 * and decoding steps in which nothing changes are taken at once.
 *
 * Threads: as kvc.h, but for the callback of kvc_replay().
 */
#ifndef WEIR_CUDA_KVC_REPLAY_H
#define WEIR_CUDA_KVC_REPLAY_H

#include "cuda/kvc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the trace ----------------------------------------------------------------------------- */

struct kvc_replay_request {
    double at_ms;                /* not falling, not negative */
    uint32_t n_prompt, n_output; /* tokens, both > 0, together below 2^31 */
};
/* n requests in the order of their arrival; sequence[offsets[i] .. offsets[i + 1]): sequence hashes
 * of the n_prompt / block_size complete blocks of prompt i. */
struct kvc_replay_prompts {
    const struct kvc_replay_request *requests;
    const uint64_t *offsets; /* n + 1 */
    const uint64_t *sequence;
    size_t n;            /* 1 to 2^24 */
    uint32_t block_size; /* at least 2 */
};
struct kvc_trace;
/* Copies what it needs. KVC_INVALID: a bound above is broken, or a hash stands at two depths. */
enum kvc_status kvc_trace_create(struct kvc *k, const struct kvc_replay_prompts *p,
                                 struct kvc_trace **ret);
void kvc_trace_destroy(struct kvc_trace *t); /* before its struct kvc; accepts NULL */
struct kvc_trace_stats {
    uint64_t requests, blocks; /* of prompts, each time they are asked for */
    uint32_t shared_runs;      /* runs of blocks that more than one request has */
    uint64_t path_runs;        /* of all requests together */
};
void kvc_trace_get_stats(const struct kvc_trace *t, struct kvc_trace_stats *ret);

/* ---- configurations ------------------------------------------------------------------------- */

enum kvc_replay_mode {
    KVC_REPLAY_ROUND_ROBIN,
    KVC_REPLAY_RANDOM,
    KVC_REPLAY_POWER_OF_TWO,
    KVC_REPLAY_KV,
    KVC_REPLAY_LEAST_LOADED,
};
/* How the cost of kv mode is made (docs/fleet.md). */
enum kvc_replay_policy { KVC_REPLAY_LINEAR, KVC_REPLAY_LMETRIC, KVC_REPLAY_FLEET };
struct kvc_policy {
    enum kvc_replay_policy kind;
    double recompute_weight, churn_weight, decode_block_weight; /* fleet */
};
enum { KVC_REPLAY_WORKERS_MAX = 4096 };
struct kvc_replay_config {
    enum kvc_replay_mode mode;
    uint32_t n_workers, n_blocks; /* KV blocks of each */
    uint32_t max_num_seqs, max_num_batched_tokens;
    double trace_speedup, prefill_tokens_per_s, decode_base_ms, decode_per_request_ms;
    struct kvc_cost_params cost; /* its block size is the trace's, whatever stands there */
    struct kvc_policy policy;
    double churn_half_life_s; /* fleet */
    double temperature;
    bool use_kv_events, track_active_blocks, assume_kv_reuse;
    double ttl_s;                    /* without events: how long a prediction holds */
    double busy_decode_blocks;       /* share of n_blocks; NAN = off */
    double busy_prefill_tokens_frac; /* of max_num_batched_tokens; NAN = off */
    int64_t busy_prefill_tokens;     /* -1 = off */
    uint64_t seed;
};
/* Of one request; microseconds since the trace's beginning. */
struct kvc_replay_outcome {
    uint64_t first_us, end_us; /* UINT64_MAX: refused */
    uint32_t worker;           /* UINT32_MAX: refused, all workers were busy */
    uint32_t cached_tokens;
};
struct kvc_replay_result {
    const struct kvc_replay_outcome *outcomes; /* of all requests; valid during the call */
    uint64_t preemptions;
};
/* Called once for each configuration, from the library's own threads, several at a time. */
typedef void (*kvc_replay_fn)(void *arg, size_t config, const struct kvc_replay_result *result);

struct kvc_replay_options {
    /* For the state of configurations that run at once; 0: half of the device's free memory, on the
     * CPU a quarter of what is free. They run in waves where they do not all fit. */
    size_t max_bytes;
    unsigned threads; /* of the CPU; 0 = all cores */
    /* Now and then, on the calling thread: configurations that are finished. May be NULL. */
    void (*on_progress)(void *arg, size_t n_done);
    kvc_replay_fn on_result;
    void *arg; /* of both */
};
struct kvc_replay_stats {
    size_t waves;
    size_t config_bytes; /* state of the largest configuration */
    uint64_t on_cpu;     /* configurations that the CPU did in the device's place */
};
/* Bytes of state of one configuration. */
size_t kvc_replay_config_bytes(const struct kvc_trace *t, const struct kvc_replay_config *c);
/* KVC_INVALID: a size of a configuration is zero or out of range, or a request has more tokens than
 * a worker's cache. KVC_NOMEM: not one configuration fits into the budget. KVC_INCONSISTENT: a
 * defect of this library was found; there is no result then. */
enum kvc_status kvc_replay(struct kvc_trace *t, const struct kvc_replay_config *configs, size_t n,
                           const struct kvc_replay_options *options,
                           struct kvc_replay_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
