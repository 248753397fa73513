#include "kvindex/kvi.h"

#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>

/* The wire form of tokens and hashes is little-endian. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kvindex hashes the in-memory form of integers, which must be little-endian"
#endif

uint64_t kvi_seed(const char *lora, size_t lora_len, const char *ns, size_t ns_len) {
    uint64_t seed = KVI_SEED;
    if (lora_len > 0)
        seed += XXH3_64bits_withSeed(lora, lora_len, 0);
    if (ns_len > 0)
        seed += XXH3_64bits_withSeed(ns, ns_len, 1);
    return seed;
}

uint64_t kvi_block_hash(const uint32_t *tokens, size_t n_tokens, uint64_t seed) {
    return XXH3_64bits_withSeed(tokens, n_tokens * sizeof(*tokens), seed);
}

size_t kvi_block_count(size_t n_tokens, uint32_t block_size, bool eagle) {
    if (block_size == 0)
        return 0;
    return eagle ? (n_tokens > 0 ? (n_tokens - 1) / block_size : 0) : n_tokens / block_size;
}

/* Blocks above 240 bytes are hashed with a secret that depends on the seed only: it is derived once
 * a call, not once a block. Shorter ones get their length as a constant, which folds the hash to a
 * few instructions. */
struct hasher {
    uint64_t seed;
    size_t bytes;
    bool with_secret;
    uint8_t secret[XXH3_SECRET_DEFAULT_SIZE];
};

static void hasher_init(struct hasher *h, size_t n_tokens, uint64_t seed) {
    h->seed = seed;
    h->bytes = n_tokens * sizeof(uint32_t);
    h->with_secret = h->bytes > 240;
    if (h->with_secret)
        XXH3_generateSecret_fromSeed(h->secret, seed);
}

static inline uint64_t hash_one(const struct hasher *h, const uint32_t *tokens) {
    if (h->with_secret)
        return XXH3_64bits_withSecretandSeed(tokens, h->bytes, h->secret, sizeof(h->secret),
                                             h->seed);
    switch (h->bytes) {
    case 16 * 4:
        return XXH3_64bits_withSeed(tokens, 16 * 4, h->seed);
    case 32 * 4:
        return XXH3_64bits_withSeed(tokens, 32 * 4, h->seed);
    default:
        return XXH3_64bits_withSeed(tokens, h->bytes, h->seed);
    }
}

static inline uint64_t chain_step(uint64_t before, uint64_t local) {
    uint64_t pair[2] = {before, local};
    return XXH3_64bits_withSeed(pair, sizeof(pair), KVI_SEED);
}

static size_t blocks_for(size_t n_tokens, uint32_t block_size, bool eagle, size_t room) {
    size_t n = kvi_block_count(n_tokens, block_size, eagle);
    return n < room ? n : room;
}

size_t kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size, uint64_t seed,
                       bool eagle, uint64_t *ret_hashes, size_t room) {
    size_t n = blocks_for(n_tokens, block_size, eagle, room);
    struct hasher h;
    hasher_init(&h, (size_t)block_size + eagle, seed);
    for (size_t i = 0; i < n; i++)
        ret_hashes[i] = hash_one(&h, tokens + i * block_size);
    return n;
}

void kvi_chain(const uint64_t *local, size_t n, uint64_t *ret_sequence) {
    uint64_t s = n > 0 ? local[0] : 0;
    for (size_t i = 0; i < n; i++) {
        s = i > 0 ? chain_step(s, local[i]) : s;
        ret_sequence[i] = s;
    }
}

/* The chain is bound by the latency of two multiplications a step; the local hashes run in its
 * shadow. */
size_t kvi_hash_and_chain(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                          uint64_t seed, bool eagle, uint64_t *ret_local, uint64_t *ret_sequence,
                          size_t room) {
    size_t n = blocks_for(n_tokens, block_size, eagle, room);
    struct hasher h;
    uint64_t s = 0;
    hasher_init(&h, (size_t)block_size + eagle, seed);
    for (size_t i = 0; i < n; i++) {
        uint64_t local = hash_one(&h, tokens + i * block_size);
        s = i > 0 ? chain_step(s, local) : local;
        ret_local[i] = local;
        ret_sequence[i] = s;
    }
    return n;
}

static void sort(uint64_t *a, size_t n) {
    for (size_t i = 1; i < n; i++) { /* a block holds few media objects */
        uint64_t x = a[i];
        size_t k = i;
        for (; k > 0 && a[k - 1] > x; k--)
            a[k] = a[k - 1];
        a[k] = x;
    }
}

uint64_t kvi_block_hash_media(const uint32_t *tokens, size_t n_tokens, uint64_t *media,
                              size_t n_media, uint64_t seed) {
    XXH3_state_t state;
    sort(media, n_media);
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    XXH3_64bits_update(&state, tokens, n_tokens * sizeof(*tokens));
    XXH3_64bits_update(&state, media, n_media * sizeof(*media));
    return XXH3_64bits_digest(&state);
}

uint32_t kvi_media_pad(uint64_t media_hash) {
    return 1000000 + (uint32_t)(media_hash & ((1u << 30) - 1));
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool kvi_media_hash(const char *id, size_t len, uint64_t *ret_hash) {
    uint64_t first = 0;
    bool hex = len == 64;
    for (size_t i = 0; hex && i < len; i++) {
        int digit = hex_digit(id[i]);
        hex = digit >= 0;
        if (i < 16)
            first = first << 4 | (uint64_t)(digit & 15);
    }
    if (len == 0)
        return false;
    *ret_hash = hex ? first : XXH3_64bits_withSeed(id, len, 0);
    return true;
}
