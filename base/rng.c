#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
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

/* Eight hex digits at once: each nibble into a byte of its own, then '0' to it, and 39 more from
 * ten on. */
static void put_hex8(char *p, uint32_t value) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x = value;
    x = (x & 0xFFFF0000u) << 16 | (x & 0xFFFFu);
    x = (x & 0x0000FF000000FF00u) << 8 | (x & 0x000000FF000000FFu);
    x = (x & 0x00F000F000F000F0u) << 4 | (x & 0x000F000F000F000Fu);
    x += ones * '0' + (((x + ones * 6) >> 4) & ones) * ('a' - '0' - 10);
#if __BYTE_ORDER__ != __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, sizeof(x));
}

void weir_rng_uuid(struct weir_rng *rng, char ret_text[37]) {
    uint64_t hi = (weir_rng_u64(rng) & ~UINT64_C(0xF000)) | 0x4000u;
    uint64_t lo = (weir_rng_u64(rng) & 0x3FFFFFFFFFFFFFFFu) | 0x8000000000000000u;
    char digits[32];
    put_hex8(digits, (uint32_t)(hi >> 32));
    put_hex8(digits + 8, (uint32_t)hi);
    put_hex8(digits + 16, (uint32_t)(lo >> 32));
    put_hex8(digits + 24, (uint32_t)lo);
    memcpy(ret_text, digits, 8);
    ret_text[8] = ret_text[13] = ret_text[18] = ret_text[23] = '-';
    memcpy(ret_text + 9, digits + 8, 4);
    memcpy(ret_text + 14, digits + 12, 4);
    memcpy(ret_text + 19, digits + 16, 4);
    memcpy(ret_text + 24, digits + 20, 12);
    ret_text[36] = '\0';
}
