#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

/* splitmix64, as the authors of xoshiro advise for seeding. */
static uint64_t splitmix(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void weir_rng_seed(struct weir_rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix(&seed);
}

void weir_rng_seed_os(struct weir_rng *rng) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        seed = (uint64_t)ts.tv_nsec ^ ((uint64_t)ts.tv_sec << 32) ^ (uintptr_t)rng;
    }
    weir_rng_seed(rng, seed);
}

uint64_t weir_rng_u64(struct weir_rng *rng) {
    uint64_t *s = rng->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t weir_rng_below(struct weir_rng *rng, uint64_t n) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
    do
        x = weir_rng_u64(rng);
    while (x >= limit);
    return x % n;
}

double weir_rng_unit(struct weir_rng *rng) {
    return (double)(weir_rng_u64(rng) >> 11) * 0x1.0p-53;
}

double weir_rng_exp(struct weir_rng *rng, double mean) {
    return -mean * log1p(-weir_rng_unit(rng));
}

double weir_rng_normal(struct weir_rng *rng) {
    double u = 1 - weir_rng_unit(rng), v = weir_rng_unit(rng);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

void weir_rng_uuid(struct weir_rng *rng, char ret_text[37]) {
    static const char hex[] = "0123456789abcdef";
    uint64_t hi = (weir_rng_u64(rng) & ~UINT64_C(0xF000)) | 0x4000u;
    uint64_t lo = (weir_rng_u64(rng) & 0x3FFFFFFFFFFFFFFFu) | 0x8000000000000000u;
    char *p = ret_text;
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *p++ = '-';
        uint64_t half = i < 16 ? hi : lo;
        *p++ = hex[(half >> (60 - 4 * (i % 16))) & 15];
    }
    *p = '\0';
}
