/* Cost of a candidate, and the choice among candidates. Pure. Source: shared spec
 * "kvrouter" 4.1, 4.2; the fleet policy is Weir's own (router/README.md). */
#ifndef WEIR_ROUTER_COST_H
#define WEIR_ROUTER_COST_H

#include "base/rng.h"
#include "router/router.h"

/* What the cost of one (worker, rank) depends on. Blocks and tokens of this request and of the
 * load. */
struct weir_candidate {
    uint64_t worker_id;
    uint32_t dp_rank;
    double device_blocks; /* cached prefix */
    double host_blocks, disk_blocks;
    double active_prefill_tokens, active_decode_blocks, active_requests;
    double additional_active_blocks; /* prompt blocks that no running request of it holds */
    double churn; /* of its cache: what was placed there of late, as a share of its size */
    double cost;  /* out */
};

struct weir_cost_params {
    enum weir_selection_policy policy;
    uint32_t block_size;
    double isl_tokens;
    double overlap_score_credit, overlap_credit_decay, prefill_load_scale;
    double decode_active_request_weight, host_weight, disk_weight;
    double recompute_weight, churn_weight, decode_block_weight; /* fleet policy */
    bool track_prefill_tokens;
    double min_active_prefill_tokens; /* over all eligible candidates; for the decay */
};

/* Tokens that the cached blocks save, lower tiers in part. */
double weir_cached_tokens(uint32_t block_size, double host_weight, double disk_weight,
                          const struct weir_candidate *candidate);
double weir_cost(const struct weir_cost_params *params, const struct weir_candidate *candidate);
/* Sets the cost of each. */
void weir_costs(const struct weir_cost_params *params, struct weir_candidate *candidates, size_t n);

/* Loads of many ranks, one array a figure, and a prompt of which they hold nothing. */
struct weir_cost_loads {
    const double *prefill_tokens, *decode_blocks, *requests, *churn;
    double additional_blocks; /* of the prompt, for each */
};
/* Sets the cost of each, equal to that of a candidate without cached blocks. */
void weir_costs_of_loads(const struct weir_cost_params *params, const struct weir_cost_loads *loads,
                         double *ret_costs, size_t n);

/* e^x for x <= 0 by plain operations, so that it is the same number with every C library and on a
 * GPU: within 1 ulp, below e^-707 zero. */
double weir_exp_of_negative(double x);

/* Index of the chosen one. temperature 0: lowest cost, ties broken uniformly; above: softmax over
 * the normalised costs. n > 0. */
size_t weir_select(const struct weir_candidate *candidates, size_t n, double temperature,
                   struct weir_rng *rng);

#endif
