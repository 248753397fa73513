#include "router/decide.h"

#include <math.h>

static size_t choose_kv(const struct weir_decide *in, struct weir_candidate *c, size_t n,
                        double min_prefill, struct weir_rng *rng) {
    struct weir_cost_params p = in->params;
    p.min_active_prefill_tokens = min_prefill;
    weir_costs(&p, c, n);
    return weir_select(c, n, in->temperature, rng);
}

static size_t choose_least_loaded(struct weir_candidate *c, size_t n, struct weir_rng *rng) {
    for (size_t i = 0; i < n; i++)
        c[i].cost = c[i].active_requests;
    return weir_select(c, n, 0, rng);
}

static size_t choose_power_of_two(const struct weir_candidate *c, size_t n, struct weir_rng *rng) {
    size_t a = (size_t)weir_rng_below(rng, n), b = (size_t)weir_rng_below(rng, n);
    return c[a].active_requests <= c[b].active_requests ? a : b;
}

static size_t choose(const struct weir_decide *in, struct weir_candidate *c, size_t n,
                     double min_prefill, struct weir_rng *rng) {
    switch (in->mode) {
    case WEIR_ROUTE_KV:
        return choose_kv(in, c, n, min_prefill, rng);
    case WEIR_ROUTE_RANDOM:
        return (size_t)weir_rng_below(rng, n);
    case WEIR_ROUTE_POWER_OF_TWO:
        return choose_power_of_two(c, n, rng);
    case WEIR_ROUTE_LEAST_LOADED:
    case WEIR_ROUTE_DEVICE_AWARE: /* all workers of one device kind: the same thing */
        return choose_least_loaded(c, n, rng);
    case WEIR_ROUTE_ROUND_ROBIN:
    case WEIR_ROUTE_DIRECT: /* a request that names no worker takes its turn */
        break;
    }
    return (size_t)(in->turn % n);
}

void weir_decide_range(const struct weir_decide *in, const struct weir_candidate *c, size_t n,
                       size_t *ret_first, size_t *ret_end) {
    size_t first = 0, last = n;
    if (in->has_preferred) {
        while (first < n && c[first].worker_id != in->preferred)
            first++;
        for (last = first; last < n && c[last].worker_id == in->preferred;)
            last++;
        if (first == last) {
            first = 0;
            last = n;
        }
    }
    *ret_first = first;
    *ret_end = last;
}

size_t weir_decide(const struct weir_decide *in, struct weir_candidate *c, size_t n,
                   struct weir_rng *rng) {
    double min = INFINITY;
    size_t first, last;
    for (size_t i = 0; i < n; i++)
        min = c[i].active_prefill_tokens < min ? c[i].active_prefill_tokens : min;
    weir_decide_range(in, c, n, &first, &last);
    return first + choose(in, c + first, last - first, min, rng);
}
