/*
 * Random numbers and exp as the router has them, for host and device alike: one text, no library,
 * so the same numbers everywhere.
 */
#ifndef WEIR_CUDA_KVC_NUMBERS_PRIV_H
#define WEIR_CUDA_KVC_NUMBERS_PRIV_H

#include "cuda/kvc_core_priv.h"

/* Unlike KVC_FN not inlined by force: the simulation calls such functions from many places. */
#ifdef __CUDACC__
#define KVC_SIM static inline __host__ __device__
#else
#define KVC_SIM static inline
#endif
#define KVC_NEVER 0xFFFFFFFFFFFFFFFFull

/* ---- random numbers: base/rng.h ------------------------------------------------------------- */

KVC_SIM void kvc_rng_seed(uint64_t s[4], uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        s[i] = z ^ (z >> 31);
    }
}

KVC_SIM uint64_t kvc_rng_u64(uint64_t s[4]) {
    uint64_t result = kvc_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = kvc_rotl(s[3], 45);
    return result;
}

KVC_SIM uint64_t kvc_rng_below(uint64_t s[4], uint64_t n) {
    uint64_t limit = KVC_NEVER - KVC_NEVER % n, x;
    do
        x = kvc_rng_u64(s);
    while (x >= limit);
    return x % n;
}

KVC_SIM double kvc_rng_unit(uint64_t s[4]) {
    return (double)(kvc_rng_u64(s) >> 11) * (1.0 / 9007199254740992.0);
}

/* weir_exp_of_negative() of router/cost.c: the same operations in the same order (neither library
 * may include the other; test/unit/cuda/decide.c holds them equal). */
KVC_SIM double kvc_exp(double x) {
    if (!(x > -707.0))
        return 0;
    double k = floor(x * 1.44269504088896338700e+00 + 0.5);
    double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
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
    double scale = 1; /* 2^k, k from -1020 to 0 */
    double half = 0.5;
    for (unsigned n = (unsigned)-k; n > 0; n >>= 1, half *= half)
        if (n & 1)
            scale *= half;
    return (1 + p) * scale;
}

#endif
