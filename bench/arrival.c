#include "bench/arrival.h"

void weir_arrival_init(struct weir_arrival *a, uint64_t seed, bool poisson, double rate) {
    *a = (struct weir_arrival){.poisson = poisson, .rate = rate};
    weir_rng_seed(&a->rng, seed);
}

uint64_t weir_arrival_next(struct weir_arrival *a) {
    /* The comb is multiplied out, not added up: no drift over a long run. */
    a->at_s = a->poisson ? a->at_s + weir_rng_exp(&a->rng, 1 / a->rate) : (double)a->n / a->rate;
    a->n++;
    double ns = a->at_s * 1e9;
    return ns < 9e18 ? (uint64_t)ns : (uint64_t)9e18;
}
