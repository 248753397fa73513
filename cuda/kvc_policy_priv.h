/*
 * The cost of a candidate under every selection policy, for host and device alike: router/cost.c
 * with the same operations in the same order, nothing fused.
 */
#ifndef WEIR_CUDA_KVC_POLICY_PRIV_H
#define WEIR_CUDA_KVC_POLICY_PRIV_H

#include "cuda/kvc_numbers_priv.h"
#include "cuda/kvc_replay.h"

KVC_SIM double kvc_fleet_cost(const struct kvc_policy *policy, const struct kvc_cost_params *p,
                              double isl_tokens, const struct kvc_load *x) {
    double bs = p->block_size, prefill = 0;
    double held = p->overlap_score_credit * x->device_blocks + p->host_weight * x->host_blocks +
                  p->disk_weight * x->disk_blocks;
    double missing = fmax(isl_tokens / bs - held, 0.0);
    if (p->track_prefill_tokens)
        prefill = x->prefill_tokens / bs +
                  missing * (policy->recompute_weight + policy->churn_weight * x->churn);
    return p->prefill_load_scale * prefill +
           policy->decode_block_weight * (x->decode_blocks + x->additional_blocks) +
           p->decode_active_request_weight * x->requests;
}

KVC_SIM double kvc_policy_cost(const struct kvc_policy *policy, const struct kvc_cost_params *p,
                               double isl_tokens, double least_prefill_tokens,
                               const struct kvc_load *x) {
    if (policy->kind == KVC_REPLAY_FLEET)
        return kvc_fleet_cost(policy, p, isl_tokens, x);
    double prefill = kvc_prefill_blocks(p, isl_tokens, least_prefill_tokens, x);
    if (policy->kind == KVC_REPLAY_LMETRIC)
        return prefill * (x->decode_blocks + x->additional_blocks + 1);
    return kvc_linear(p, prefill, x);
}

#endif
