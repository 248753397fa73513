/*
 * A recorded decision made again, for host and device alike: router/decide.c and the choice of
 * router/cost.c, with the same operations in the same order. Costs are computed again where they
 * are needed again: that is cheaper than a place to keep them for each configuration.
 */
#ifndef WEIR_CUDA_KVC_DECIDE_PRIV_H
#define WEIR_CUDA_KVC_DECIDE_PRIV_H

#include "cuda/kvc_decide.h"
#include "cuda/kvc_policy_priv.h"

KVC_SIM double kvc_recorded_cost(const struct kvc_decision_config *c, const struct kvc_decision *d,
                                 const struct kvc_decision_candidate *x) {
    if (c->mode != KVC_REPLAY_KV)
        return x->requests;
    struct kvc_cost_params p = c->cost;
    p.block_size = d->block_size;
    p.track_prefill_tokens = d->track_prefill_tokens;
    struct kvc_load load;
    load.device_blocks = x->device_blocks;
    load.host_blocks = x->host_blocks;
    load.disk_blocks = x->disk_blocks;
    load.prefill_tokens = x->prefill_tokens;
    load.decode_blocks = x->decode_blocks;
    load.additional_blocks = x->additional_blocks;
    load.requests = x->requests;
    load.churn = x->churn;
    return kvc_policy_cost(&c->policy, &p, d->isl_tokens, d->least_prefill_tokens, &load);
}

KVC_SIM uint32_t kvc_recorded_lowest(const struct kvc_decision_config *c,
                                     const struct kvc_decision *d,
                                     const struct kvc_decision_candidate *x, uint64_t rng[4]) {
    double best_cost = kvc_recorded_cost(c, d, &x[0]);
    uint32_t best = 0;
    uint64_t ties = 1;
    for (uint32_t i = 1; i < d->n; i++) {
        double cost = kvc_recorded_cost(c, d, &x[i]);
        if (cost < best_cost) {
            best = i;
            best_cost = cost;
            ties = 1;
        } else if (cost <= best_cost && kvc_rng_below(rng, ++ties) == 0) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

KVC_SIM uint32_t kvc_recorded_softmax(const struct kvc_decision_config *c,
                                      const struct kvc_decision *d,
                                      const struct kvc_decision_candidate *x, uint64_t rng[4]) {
    double min = INFINITY, max = -INFINITY, sum = 0, seen = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        double cost = kvc_recorded_cost(c, d, &x[i]);
        min = cost < min ? cost : min;
        max = cost > max ? cost : max;
    }
    if (max <= min)
        return (uint32_t)kvc_rng_below(rng, d->n);
    for (uint32_t i = 0; i < d->n; i++)
        sum += kvc_exp(-(kvc_recorded_cost(c, d, &x[i]) - min) / ((max - min) * c->temperature));
    double u = kvc_rng_unit(rng) * sum;
    for (uint32_t i = 0; i < d->n; i++) {
        seen += kvc_exp(-(kvc_recorded_cost(c, d, &x[i]) - min) / ((max - min) * c->temperature));
        if (seen >= u)
            return i;
    }
    return d->n - 1;
}

/* Which of its candidates; turn: decisions before this one. */
KVC_SIM uint32_t kvc_decide_again(const struct kvc_decision_config *c, const struct kvc_decision *d,
                                  const struct kvc_decision_candidate *x, uint64_t turn,
                                  uint64_t rng[4]) {
    if (c->mode == KVC_REPLAY_KV && c->temperature > 0)
        return kvc_recorded_softmax(c, d, x, rng);
    if (c->mode == KVC_REPLAY_KV || c->mode == KVC_REPLAY_LEAST_LOADED)
        return kvc_recorded_lowest(c, d, x, rng);
    if (c->mode == KVC_REPLAY_RANDOM)
        return (uint32_t)kvc_rng_below(rng, d->n);
    if (c->mode == KVC_REPLAY_POWER_OF_TWO) {
        uint32_t a = (uint32_t)kvc_rng_below(rng, d->n), b = (uint32_t)kvc_rng_below(rng, d->n);
        return x[a].requests <= x[b].requests ? a : b;
    }
    return (uint32_t)(turn % d->n);
}

/* The whole log. */
KVC_SIM void kvc_redecide_all(const struct kvc_decision_log *log,
                              const struct kvc_decision_config *c,
                              struct kvc_decision_result *ret) {
    uint64_t rng[4], hits = 0, same = 0, digest = 14695981039346656037ull;
    kvc_rng_seed(rng, c->seed);
    for (size_t i = 0; i < log->n; i++) {
        const struct kvc_decision *d = &log->decisions[i];
        uint64_t at = d->first + kvc_decide_again(c, d, log->candidates + d->first, i, rng);
        hits += (uint64_t)log->candidates[at].device_blocks;
        same += at == d->winner;
        digest = (digest ^ at) * 1099511628211ull;
    }
    ret->hit_blocks = hits;
    ret->same_worker = same;
    ret->digest = digest;
}

#endif
