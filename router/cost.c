#include "router/cost.h"

#include <math.h>

/* For a thousand candidates in a few microseconds: no calls in the common case. Costs are finite,
 * so these are fmax and fmin. */
static inline double larger(double a, double b) {
    return a > b ? a : b;
}

static inline double cached_tokens(uint32_t block_size, double host_weight, double disk_weight,
                                   const struct weir_candidate *c) {
    double blocks = c->device_blocks + host_weight * c->host_blocks + disk_weight * c->disk_blocks;
    return blocks > 0 ? round(block_size * blocks) : 0;
}

double weir_cached_tokens(uint32_t block_size, double host_weight, double disk_weight,
                          const struct weir_candidate *c) {
    return cached_tokens(block_size, host_weight, disk_weight, c);
}

/* What runs on a rank. */
struct load {
    double prefill_tokens, decode_blocks, requests;
};

/* In blocks: the prompts that wait there, and what this prompt would compute again, which costs the
 * fleet more than it costs this request (router/README.md). */
static inline double fleet(const struct weir_cost_params *p, double held, double churn,
                           struct load l) {
    double bs = p->block_size, prefill = 0;
    double missing = larger(p->isl_tokens / bs - held, 0);
    if (p->track_prefill_tokens)
        prefill = l.prefill_tokens / bs + missing * (p->recompute_weight + p->churn_weight * churn);
    return p->prefill_load_scale * prefill + p->decode_block_weight * l.decode_blocks +
           p->decode_active_request_weight * l.requests;
}

static inline double prefill_blocks(const struct weir_cost_params *p, double cached, double credit,
                                    double active_tokens) {
    double raw_tokens = 0;
    if (p->track_prefill_tokens)
        raw_tokens = active_tokens + larger(p->isl_tokens - cached, 0) + cached;
    return larger(raw_tokens / p->block_size - credit, 0);
}

static inline double linear(const struct weir_cost_params *p, double prefill, double additional,
                            struct load l) {
    return p->prefill_load_scale * prefill + l.decode_blocks + additional +
           p->decode_active_request_weight * l.requests;
}

static inline double lmetric(double prefill, double additional, struct load l) {
    return prefill * (l.decode_blocks + additional + 1);
}

static double credit_of(const struct weir_cost_params *p, const struct weir_candidate *c) {
    double bs = p->block_size, decay = 1;
    if (p->track_prefill_tokens && p->overlap_credit_decay > 0) {
        double request_blocks = larger(ceil(p->isl_tokens / bs), 1);
        double excess = (c->active_prefill_tokens - p->min_active_prefill_tokens) / bs;
        decay = 1 / (1 + p->overlap_credit_decay * excess / request_blocks);
    }
    return p->overlap_score_credit * decay * c->device_blocks + p->host_weight * c->host_blocks +
           p->disk_weight * c->disk_blocks;
}

static double cost_of(const struct weir_cost_params *p, const struct weir_candidate *c) {
    struct load l = {c->active_prefill_tokens, c->active_decode_blocks, c->active_requests};
    if (p->policy == WEIR_SELECT_FLEET) {
        double held = p->overlap_score_credit * c->device_blocks + p->host_weight * c->host_blocks +
                      p->disk_weight * c->disk_blocks;
        l.decode_blocks += c->additional_active_blocks;
        return fleet(p, held, c->churn, l);
    }
    double cached = cached_tokens(p->block_size, p->host_weight, p->disk_weight, c);
    double prefill = prefill_blocks(p, cached, credit_of(p, c), l.prefill_tokens);
    return p->policy == WEIR_SELECT_LMETRIC ? lmetric(prefill, c->additional_active_blocks, l)
                                            : linear(p, prefill, c->additional_active_blocks, l);
}

double weir_cost(const struct weir_cost_params *p, const struct weir_candidate *c) {
    return cost_of(p, c);
}

void weir_costs(const struct weir_cost_params *p, struct weir_candidate *c, size_t n) {
    for (size_t i = 0; i < n; i++)
        c[i].cost = cost_of(p, &c[i]);
}

/* One loop a policy, each with the same functions as above and nothing held. */
void weir_costs_of_loads(const struct weir_cost_params *p, const struct weir_cost_loads *all,
                         double *ret, size_t n) {
    const double *prefill = all->prefill_tokens, *decode = all->decode_blocks,
                 *requests = all->requests;
    const double additional = all->additional_blocks;
    const struct weir_cost_params params = *p; /* ret points to none of it */
    if (params.policy == WEIR_SELECT_FLEET)
        for (size_t i = 0; i < n; i++)
            ret[i] = fleet(&params, 0, all->churn[i],
                           (struct load){prefill[i], decode[i] + additional, requests[i]});
    else if (params.policy == WEIR_SELECT_LMETRIC)
        for (size_t i = 0; i < n; i++)
            ret[i] = lmetric(prefill_blocks(&params, 0, 0, prefill[i]), additional,
                             (struct load){prefill[i], decode[i], requests[i]});
    else
        for (size_t i = 0; i < n; i++)
            ret[i] = linear(&params, prefill_blocks(&params, 0, 0, prefill[i]), additional,
                            (struct load){prefill[i], decode[i], requests[i]});
}

static size_t lowest(const struct weir_candidate *c, size_t n, struct weir_rng *rng) {
    size_t best = 0, ties = 1;
    for (size_t i = 1; i < n; i++) {
        if (c[i].cost < c[best].cost) {
            best = i;
            ties = 1;
        } else if (c[i].cost <= c[best].cost && weir_rng_below(rng, ++ties) == 0) {
            best = i; /* each of the equal ones with the same probability */
        }
    }
    return best;
}

/* kvc_exp() in cuda/kvc_numbers_priv.h is its twin. */
double weir_exp_of_negative(double x) {
    if (!(x > -707.0))
        return 0;
    double k = floor(x * 1.44269504088896338700e+00 + 0.5);
    double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0; /* 1/13!, and so on */
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r * r + r;
    double scale = 1, half = 0.5; /* 2^k, k from -1020 to 0 */
    for (unsigned n = (unsigned)-k; n > 0; n >>= 1, half *= half)
        if (n & 1)
            scale *= half;
    return (1 + p) * scale;
}

size_t weir_select(const struct weir_candidate *c, size_t n, double temperature,
                   struct weir_rng *rng) {
    double min = c[0].cost, max = c[0].cost, sum = 0, seen = 0;
    if (!(temperature > 0))
        return lowest(c, n, rng);
    for (size_t i = 1; i < n; i++) {
        min = fmin(min, c[i].cost);
        max = fmax(max, c[i].cost);
    }
    if (max <= min)
        return (size_t)weir_rng_below(rng, n);
    for (size_t i = 0; i < n; i++)
        sum += weir_exp_of_negative(-(c[i].cost - min) / ((max - min) * temperature));
    double u = weir_rng_unit(rng) * sum;
    for (size_t i = 0; i < n; i++) {
        seen += weir_exp_of_negative(-(c[i].cost - min) / ((max - min) * temperature));
        if (seen >= u)
            return i;
    }
    return n - 1;
}
