/*
 * When requests are due in an open loop: a sequence of times since the start of the run, the same
 * for the same seed. Several loops share one sequence: each walks all of it and serves its own
 * part, so the total is a Poisson process (or an even comb) whatever their number. Pure.
 */
#ifndef WEIR_BENCH_ARRIVAL_H
#define WEIR_BENCH_ARRIVAL_H

#include "base/rng.h"

#include <stdbool.h>

struct weir_arrival {
    struct weir_rng rng;
    bool poisson;
    double rate; /* a second */
    double at_s;
    uint64_t n;
};

void weir_arrival_init(struct weir_arrival *a, uint64_t seed, bool poisson, double rate);
/* Nanoseconds since the start; never falls. The first of an even comb is 0. */
uint64_t weir_arrival_next(struct weir_arrival *a);

#endif
