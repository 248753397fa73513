/* Pseudo-random numbers (xoshiro256**), seeded explicitly so that every run can be repeated. Not
 * for secrets. Threads: one generator per thread. */
#ifndef WEIR_BASE_RNG_H
#define WEIR_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct weir_rng {
    uint64_t s[4];
};

void weir_rng_seed(struct weir_rng *rng, uint64_t seed);
/* Seeds from the operating system. */
void weir_rng_seed_os(struct weir_rng *rng);
uint64_t weir_rng_u64(struct weir_rng *rng);
/* Uniform in [0, n), n > 0, without modulo bias. */
uint64_t weir_rng_below(struct weir_rng *rng, uint64_t n);
/* Uniform in [0, 1). */
double weir_rng_unit(struct weir_rng *rng);
/* Exponential with the given mean. */
double weir_rng_exp(struct weir_rng *rng, double mean);
/* Standard normal. */
double weir_rng_normal(struct weir_rng *rng);
/* Version 4 UUID in 36 lower-case characters and a NUL. */
void weir_rng_uuid(struct weir_rng *rng, char ret_text[37]);

#endif
