/*
 * What the host and the device both run: XXH3-64 of words, the chain, the table's slots, the cost.
 * One text for both, so that they cannot differ. Compiles as C11, as C++17 and by nvcc.
 *
 * XXH3: the published algorithm, with its constants; the 192 bytes of its secret are taken from
 * libxxhash at run time (kvc_secret_init). All inputs are whole 32-bit words, as tokens and hashes
 * are, so lengths 1 to 3 do not occur.
 */
#ifndef WEIR_CUDA_KVC_CORE_PRIV_H
#define WEIR_CUDA_KVC_CORE_PRIV_H

#include "cuda/kvc.h"

#include <math.h>

#ifdef __CUDACC__
#define KVC_FN static __host__ __device__ __forceinline__
#else
#define KVC_FN static inline
#endif
#ifdef __cplusplus
#define KVC_ALIGNED(n) alignas(n)
#else
#define KVC_ALIGNED(n) _Alignas(n)
#endif

#define KVC_PRIME32_1 0x9E3779B1u
#define KVC_PRIME32_2 0x85EBCA77u
#define KVC_PRIME32_3 0xC2B2AE3Du
#define KVC_PRIME64_1 0x9E3779B185EBCA87ull
#define KVC_PRIME64_2 0xC2B2AE3D27D4EB4Full
#define KVC_PRIME64_3 0x165667B19E3779F9ull
#define KVC_PRIME64_4 0x85EBCA77C2B2AE63ull
#define KVC_PRIME64_5 0x27D4EB2F165667C5ull

enum { KVC_SECRET_BYTES = 192, KVC_SECRET_READS = KVC_SECRET_BYTES - 7, KVC_CHAIN_SEED = 1337 };

/* The secret as 64-bit reads at every byte. */
struct kvc_secret {
    uint64_t at[KVC_SECRET_READS];
};

/* ---- XXH3 --------------------------------------------------------------------------------- */

/* Both halves of the 128-bit product, exclusive-or'ed. */
KVC_FN uint64_t kvc_fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 u128;
    u128 p = (u128)a * b; /* on the device too: its halves apart are seven products, not four */
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

KVC_FN uint64_t kvc_rotl(uint64_t v, unsigned n) {
    return v << n | v >> (64 - n);
}

KVC_FN uint64_t kvc_swap64(uint64_t v) {
    v = (v & 0x00FF00FF00FF00FFull) << 8 | (v >> 8 & 0x00FF00FF00FF00FFull);
    v = (v & 0x0000FFFF0000FFFFull) << 16 | (v >> 16 & 0x0000FFFF0000FFFFull);
    return v << 32 | v >> 32;
}

KVC_FN uint64_t kvc_avalanche(uint64_t h) {
    h ^= h >> 37;
    h *= 0x165667919E3779F9ull;
    return h ^ h >> 32;
}

/* The 64 bits at word i. */
KVC_FN uint64_t kvc_read(const uint32_t *words, size_t i) {
    return words[i] | (uint64_t)words[i + 1] << 32;
}

KVC_FN uint64_t kvc_mix(uint64_t low, uint64_t high, const struct kvc_secret *s, unsigned at,
                        uint64_t seed) {
    return kvc_fold(low ^ (s->at[at] + seed), high ^ (s->at[at + 8] - seed));
}

/* 16 bytes from word i on. */
KVC_FN uint64_t kvc_mix_at(const uint32_t *w, size_t i, const struct kvc_secret *s, unsigned at,
                           uint64_t seed) {
    return kvc_mix(kvc_read(w, i), kvc_read(w, i + 2), s, at, seed);
}

KVC_FN uint64_t kvc_xxh3_8(const uint32_t *w, size_t bytes, const struct kvc_secret *s,
                           uint64_t seed) {
    uint32_t low = (uint32_t)seed;
    uint32_t swapped = low >> 24 | (low >> 8 & 0xFF00) | (low & 0xFF00) << 8 | low << 24;
    seed ^= (uint64_t)swapped << 32;
    uint64_t in = w[bytes / 4 - 1] + ((uint64_t)w[0] << 32);
    uint64_t h = in ^ ((s->at[8] ^ s->at[16]) - seed);
    h ^= kvc_rotl(h, 49) ^ kvc_rotl(h, 24);
    h *= 0x9FB21C651E98DF25ull;
    h ^= (h >> 35) + bytes;
    h *= 0x9FB21C651E98DF25ull;
    return h ^ h >> 28;
}

KVC_FN uint64_t kvc_xxh3_pair(uint64_t first, uint64_t last, size_t bytes,
                              const struct kvc_secret *s, uint64_t seed) {
    uint64_t low = first ^ ((s->at[24] ^ s->at[32]) + seed);
    uint64_t high = last ^ ((s->at[40] ^ s->at[48]) - seed);
    return kvc_avalanche(bytes + kvc_swap64(low) + high + kvc_fold(low, high));
}

KVC_FN uint64_t kvc_xxh3_128(const uint32_t *w, size_t bytes, const struct kvc_secret *s,
                             uint64_t seed) {
    size_t n = bytes / 4;
    uint64_t acc = bytes * KVC_PRIME64_1;
    if (bytes > 96)
        acc += kvc_mix_at(w, 12, s, 96, seed) + kvc_mix_at(w, n - 16, s, 112, seed);
    if (bytes > 64)
        acc += kvc_mix_at(w, 8, s, 64, seed) + kvc_mix_at(w, n - 12, s, 80, seed);
    if (bytes > 32)
        acc += kvc_mix_at(w, 4, s, 32, seed) + kvc_mix_at(w, n - 8, s, 48, seed);
    acc += kvc_mix_at(w, 0, s, 0, seed) + kvc_mix_at(w, n - 4, s, 16, seed);
    return kvc_avalanche(acc);
}

KVC_FN uint64_t kvc_xxh3_240(const uint32_t *w, size_t bytes, const struct kvc_secret *s,
                             uint64_t seed) {
    uint64_t acc = bytes * KVC_PRIME64_1;
    for (unsigned i = 0; i < 8; i++)
        acc += kvc_mix_at(w, 4 * i, s, 16 * i, seed);
    acc = kvc_avalanche(acc);
    for (unsigned i = 8; i < bytes / 16; i++)
        acc += kvc_mix_at(w, 4 * i, s, 16 * (i - 8) + 3, seed);
    return kvc_avalanche(acc + kvc_mix_at(w, bytes / 4 - 4, s, 119, seed));
}

/* Of the secret that a seed makes of the built-in one, at any byte. */
KVC_FN uint64_t kvc_seeded(const struct kvc_secret *s, uint64_t seed, unsigned at) {
    unsigned base = at & ~7u, bits = 8 * (at & 7);
    uint64_t low = s->at[base] + ((base & 8) == 0 ? seed : 0 - seed);
    if (bits == 0)
        return low;
    uint64_t high = s->at[base + 8] + ((base & 8) != 0 ? seed : 0 - seed);
    return low >> bits | high << (64 - bits);
}

KVC_FN void kvc_stripe(uint64_t acc[8], const uint32_t *w, const struct kvc_secret *s,
                       uint64_t seed, unsigned at) {
    for (unsigned i = 0; i < 8; i++) {
        uint64_t v = kvc_read(w, 2 * i), key = v ^ kvc_seeded(s, seed, at + 8 * i);
        acc[i ^ 1] += v;
        acc[i] += (key & 0xFFFFFFFF) * (key >> 32);
    }
}

KVC_FN void kvc_long_begin(uint64_t acc[8]) {
    acc[0] = KVC_PRIME32_3;
    acc[1] = KVC_PRIME64_1;
    acc[2] = KVC_PRIME64_2;
    acc[3] = KVC_PRIME64_3;
    acc[4] = KVC_PRIME64_4;
    acc[5] = KVC_PRIME32_2;
    acc[6] = KVC_PRIME64_5;
    acc[7] = KVC_PRIME32_1;
}

/* Stripe i of 16 words, from the first on. */
KVC_FN void kvc_long_stripe(uint64_t acc[8], const uint32_t *w, unsigned i,
                            const struct kvc_secret *s, uint64_t seed) {
    kvc_stripe(acc, w, s, seed, 8 * (i % 16));
    if (i % 16 != 15)
        return;
    for (unsigned k = 0; k < 8; k++)
        acc[k] = (acc[k] ^ acc[k] >> 47 ^ kvc_seeded(s, seed, 128 + 8 * k)) * KVC_PRIME32_1;
}

/* w: the last 16 words, which may overlap the last stripe. */
KVC_FN uint64_t kvc_long_end(uint64_t acc[8], const uint32_t *w, size_t bytes,
                             const struct kvc_secret *s, uint64_t seed) {
    kvc_stripe(acc, w, s, seed, 121);
    uint64_t h = bytes * KVC_PRIME64_1;
    for (unsigned i = 0; i < 4; i++)
        h += kvc_fold(acc[2 * i] ^ kvc_seeded(s, seed, 11 + 16 * i),
                      acc[2 * i + 1] ^ kvc_seeded(s, seed, 19 + 16 * i));
    return kvc_avalanche(h);
}

/* Stripes before the last 16 words, of inputs that are long. */
KVC_FN uint32_t kvc_long_stripes(size_t bytes) {
    return (uint32_t)((bytes - 1) / 64);
}

KVC_FN uint64_t kvc_xxh3_long(const uint32_t *w, size_t bytes, const struct kvc_secret *s,
                              uint64_t seed) {
    uint64_t acc[8];
    kvc_long_begin(acc);
    for (uint32_t i = 0; i < kvc_long_stripes(bytes); i++)
        kvc_long_stripe(acc, w + 16 * (size_t)i, i, s, seed);
    return kvc_long_end(acc, w + bytes / 4 - 16, bytes, s, seed);
}

enum { KVC_SHORT_WORDS = 60 }; /* more are long */

/* n words, one to KVC_SHORT_WORDS. */
KVC_FN uint64_t kvc_xxh3_short(const uint32_t *w, size_t n, const struct kvc_secret *s,
                               uint64_t seed) {
    size_t bytes = 4 * n;
    if (bytes <= 8)
        return kvc_xxh3_8(w, bytes, s, seed);
    if (bytes <= 16)
        return kvc_xxh3_pair(kvc_read(w, 0), kvc_read(w, n - 2), bytes, s, seed);
    return bytes <= 128 ? kvc_xxh3_128(w, bytes, s, seed) : kvc_xxh3_240(w, bytes, s, seed);
}

/* n words, at least one. */
KVC_FN uint64_t kvc_xxh3(const uint32_t *w, size_t n, const struct kvc_secret *s, uint64_t seed) {
    return n <= KVC_SHORT_WORDS ? kvc_xxh3_short(w, n, s, seed) : kvc_xxh3_long(w, 4 * n, s, seed);
}

KVC_FN uint64_t kvc_chain_step(uint64_t before, uint64_t local, const struct kvc_secret *s) {
    return kvc_xxh3_pair(before, local, 16, s, KVC_CHAIN_SEED);
}

KVC_FN size_t kvc_block_count(uint64_t n_tokens, uint32_t block_size, bool eagle) {
    return (size_t)((eagle && n_tokens > 0 ? n_tokens - 1 : n_tokens) / block_size);
}

/* ---- the table ---------------------------------------------------------------------------- */

#define KVC_NONE 0xFFFFFFFFu
enum { KVC_FREE = 0, KVC_ROOT = 1, KVC_PARENT = 2 };

/* A block in its context, one memory sector. `sets`: who holds it, by tier; the external tier's
 * stand apart. seq is what it is looked up by; parent and local tell whether it is the one. */
struct kvc_slot {
    KVC_ALIGNED(16) uint64_t seq; /* two loads on the device */
    uint64_t local;
    uint32_t parent; /* KVC_FREE, KVC_ROOT, or the parent's slot + KVC_PARENT */
    uint32_t sets[3];
};

/* A group of ranks, their numbers rising. Set 0 is empty. */
struct kvc_set {
    uint32_t at, n; /* of the members */
};

KVC_FN uint32_t kvc_home(uint64_t seq, uint32_t mask) {
    return (uint32_t)((seq * KVC_PRIME64_1) >> 32) & mask;
}

KVC_FN struct kvc_slot kvc_slot_read(const struct kvc_slot *slot) {
#ifdef __CUDA_ARCH__
    /* Said outright: a compiler may take a structure apart, and wait four times. */
    uint4 a = __ldg(reinterpret_cast<const uint4 *>(slot));
    uint4 b = __ldg(reinterpret_cast<const uint4 *>(slot) + 1);
    struct kvc_slot s = {
        a.x | (uint64_t)a.y << 32, a.z | (uint64_t)a.w << 32, b.x, {b.y, b.z, b.w}};
    return s;
#else
    return *slot;
#endif
}

/* The slot of a sequence hash, or KVC_NONE; *ret_slot: what is in it. A slot is read whole, so that
 * the device waits for memory once a probe. */
KVC_FN uint32_t kvc_lookup(const struct kvc_slot *slots, uint32_t mask, uint64_t seq,
                           struct kvc_slot *ret_slot) {
    for (uint32_t i = kvc_home(seq, mask);; i = (i + 1) & mask) {
        *ret_slot = kvc_slot_read(&slots[i]);
        if (ret_slot->parent == KVC_FREE)
            return KVC_NONE;
        if (ret_slot->seq == seq)
            return i;
    }
}

/* ---- cost --------------------------------------------------------------------------------- */

/* What the cost of one candidate depends on. */
struct kvc_load {
    double device_blocks, host_blocks, disk_blocks;
    double prefill_tokens, decode_blocks, additional_blocks, requests, churn;
};

/* router/cost.c, with the same operations in the same order (contraction is off on both sides):
 * blocks of prefill that a candidate would have to do, credit for what it holds taken off. */
KVC_FN double kvc_prefill_blocks(const struct kvc_cost_params *p, double isl_tokens,
                                 double least_prefill_tokens, const struct kvc_load *x) {
    double bs = p->block_size, raw_tokens = 0, decay = 1;
    double blocks =
        x->device_blocks + p->host_weight * x->host_blocks + p->disk_weight * x->disk_blocks;
    double cached = blocks > 0 ? round(bs * blocks) : 0;
    if (p->track_prefill_tokens) {
        raw_tokens = x->prefill_tokens + fmax(isl_tokens - cached, 0.0) + cached;
        if (p->overlap_credit_decay > 0) {
            double request_blocks = fmax(ceil(isl_tokens / bs), 1.0);
            double excess = (x->prefill_tokens - least_prefill_tokens) / bs;
            decay = 1 / (1 + p->overlap_credit_decay * excess / request_blocks);
        }
    }
    double credit = p->overlap_score_credit * decay * x->device_blocks +
                    p->host_weight * x->host_blocks + p->disk_weight * x->disk_blocks;
    return fmax(raw_tokens / bs - credit, 0.0);
}

KVC_FN double kvc_linear(const struct kvc_cost_params *p, double prefill,
                         const struct kvc_load *x) {
    return p->prefill_load_scale * prefill + x->decode_blocks + x->additional_blocks +
           p->decode_active_request_weight * x->requests;
}

/* The cost of a rank for kvc_rank(). */
KVC_FN double kvc_cost(const struct kvc_cost_params *p, double isl_tokens, double prompt_blocks,
                       double min_prefill, const uint32_t blocks[KVC_TIERS], double prefill_tokens,
                       double decode_blocks, double requests) {
    const struct kvc_load x = {(double)blocks[KVC_DEVICE],
                               (double)blocks[KVC_HOST],
                               (double)blocks[KVC_DISK],
                               prefill_tokens,
                               decode_blocks,
                               prompt_blocks,
                               requests,
                               0};
    return kvc_linear(p, kvc_prefill_blocks(p, isl_tokens, min_prefill, &x), &x);
}

#endif
