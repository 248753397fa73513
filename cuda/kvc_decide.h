/*
 * cuda: recorded decisions of a router made again with many configurations side by side, on a GPU
 * or on all cores. Each is made in the state that was recorded: no configuration sees what its own
 * choices would have led to. Equal to weir_decide() (router/decide.h) bit for bit on both back
 * ends. Part of the library of kvc.h.
 */
#ifndef WEIR_CUDA_KVC_DECIDE_H
#define WEIR_CUDA_KVC_DECIDE_H

#include "cuda/kvc_replay.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A candidate as it was recorded (struct weir_candidate). */
struct kvc_decision_candidate {
    double device_blocks, host_blocks, disk_blocks; /* 0 to 2^53 */
    double prefill_tokens, decode_blocks, additional_blocks, requests, churn;
};
/* Candidates [first, first + n) of the log may be chosen: of a session that is bound, only those of
 * its worker. */
struct kvc_decision {
    double isl_tokens, least_prefill_tokens; /* the latter over all candidates */
    uint64_t first;
    uint64_t winner;     /* as it was chosen */
    uint32_t n;          /* > 0 */
    uint32_t block_size; /* > 0 */
    bool track_prefill_tokens;
};
struct kvc_decision_log {
    const struct kvc_decision *decisions;
    const struct kvc_decision_candidate *candidates;
    size_t n, n_candidates;
};
/* One way to decide. Of `cost`, block size and tracking are the record's. */
struct kvc_decision_config {
    enum kvc_replay_mode mode;
    struct kvc_policy policy;
    struct kvc_cost_params cost;
    double temperature;
    uint64_t seed; /* of the random numbers, which go on from decision to decision */
};
struct kvc_decision_result {
    uint64_t hit_blocks;  /* on the device of those chosen */
    uint64_t same_worker; /* decisions that chose as recorded */
    uint64_t digest;      /* of all choices: FNV-1a over their places among the candidates */
};
/* threads: of the CPU, 0 = all cores. KVC_INVALID: a bound above is broken. */
enum kvc_status kvc_redecide(struct kvc *k, const struct kvc_decision_log *log,
                             const struct kvc_decision_config *configs, size_t n, unsigned threads,
                             struct kvc_decision_result *ret);

#ifdef __cplusplus
}
#endif
#endif
