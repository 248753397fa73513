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

uint64_t kvi_medium_hash(const char *url, size_t len) {
    return XXH3_64bits(url, len);
}

uint32_t kvi_medium_id(uint64_t hash) {
    return 1000000 + (uint32_t)(hash & 0x3fffffff);
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

#if defined(__x86_64__)
#define EIGHT_BLOCKS 1
#include <immintrin.h>

/* XXH3 of eight blocks of 16 tokens at once (its path for 64 bytes): each block is one register of
 * eight words, of which pairs are multiplied to 128 bits, folded and summed. Two blocks share a
 * multiplication, because a pair takes two lanes. */
__attribute__((target("avx512f,avx512dq"))) static inline __m512i fold_pairs(__m512i a, __m512i b) {
    const __m512i low = _mm512_set1_epi64(0xFFFFFFFF);
    __m512i a1 = _mm512_srli_epi64(a, 32), b1 = _mm512_srli_epi64(b, 32);
    __m512i p00 = _mm512_mul_epu32(a, b), p01 = _mm512_mul_epu32(a, b1);
    __m512i p10 = _mm512_mul_epu32(a1, b), p11 = _mm512_mul_epu32(a1, b1);
    __m512i mid = _mm512_add_epi64(_mm512_add_epi64(_mm512_srli_epi64(p00, 32), p10),
                                   _mm512_and_si512(p01, low));
    __m512i upper = _mm512_add_epi64(_mm512_add_epi64(p11, _mm512_srli_epi64(p01, 32)),
                                     _mm512_srli_epi64(mid, 32));
    __m512i lower = _mm512_or_si512(_mm512_slli_epi64(mid, 32), _mm512_and_si512(p00, low));
    return _mm512_xor_si512(lower, upper);
}

__attribute__((target("avx512f,avx512dq"))) static void
eight_blocks(const uint32_t *tokens, const uint64_t key[8], uint64_t *ret) {
    const __m512i k = _mm512_loadu_si512(key);
    __m256i sums[2];
    for (int q = 0; q < 2; q++) { /* four blocks */
        __m128i two[2];
        for (int p = 0; p < 2; p++) {
            const uint32_t *at = tokens + (q * 4 + p * 2) * 16;
            __m512i x = _mm512_xor_si512(_mm512_loadu_si512(at), k);
            __m512i y = _mm512_xor_si512(_mm512_loadu_si512(at + 16), k);
            __m512i f = fold_pairs(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
            __m256i half =
                _mm256_add_epi64(_mm512_castsi512_si256(f), _mm512_extracti64x4_epi64(f, 1));
            two[p] = _mm_add_epi64(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        }
        sums[q] = _mm256_inserti128_si256(_mm256_castsi128_si256(two[0]), two[1], 1);
    }
    __m512i h = _mm512_inserti64x4(_mm512_castsi256_si512(sums[0]), sums[1], 1);
    h = _mm512_add_epi64(h, _mm512_set1_epi64((long long)(64 * XXH_PRIME64_1)));
    h = _mm512_xor_si512(h, _mm512_srli_epi64(h, 37));
    h = _mm512_mullo_epi64(h, _mm512_set1_epi64(0x165667919E3779F9));
    _mm512_storeu_si512(ret, _mm512_xor_si512(h, _mm512_srli_epi64(h, 32)));
}

static bool eight_at_a_time(const struct hasher *h, uint32_t block_size, uint64_t ret_key[8]) {
    static const uint8_t offset[8] = {0, 8, 32, 40, 48, 56, 16, 24}; /* of the secret, by word */
    if (h->bytes != 64 || block_size != 16 || !__builtin_cpu_supports("avx512dq"))
        return false;
    for (int i = 0; i < 8; i++) {
        uint64_t word;
        memcpy(&word, XXH3_kSecret + offset[i], sizeof(word));
        ret_key[i] = i % 2 == 0 ? word + h->seed : word - h->seed;
    }
    return true;
}
#else
#define EIGHT_BLOCKS 0
#endif

/* One step of the chain is XXH3 of 16 bytes. Two multiplications follow each other there, and what
 * is between them is the time that a chain takes. So the chain carries its hash already xored with
 * the secret of the next step, which is one operation less between them. */
struct chain {
    uint64_t low, high; /* secrets of the two words */
};

static inline uint64_t secret_pair(size_t at) {
    uint64_t a, b;
    memcpy(&a, XXH3_kSecret + at, sizeof(a));
    memcpy(&b, XXH3_kSecret + at + sizeof(a), sizeof(b));
    return a ^ b;
}

static inline struct chain chain_begin(void) {
    return (struct chain){secret_pair(24) + KVI_SEED, secret_pair(40) - KVI_SEED};
}

/* The compiler must not move this into the expression that uses it. */
#define APART(x) __asm__("" : "+r"(x))

/* carried: the hash before, xored with c.low; returns the next one so. */
static inline uint64_t chain_step(struct chain c, uint64_t carried, uint64_t local) {
    uint64_t high = local ^ c.high, beside = __builtin_bswap64(carried) + (high + 16);
    APART(beside);
    unsigned __int128 product = (unsigned __int128)carried * high;
    uint64_t h = ((uint64_t)product ^ (uint64_t)(product >> 64)) + beside;
    h ^= h >> 37;
    h *= 0x165667919E3779F9u;
    uint64_t secret = h ^ c.low;
    APART(secret);
    return secret ^ (h >> 32);
}

static size_t blocks_for(size_t n_tokens, uint32_t block_size, bool eagle, size_t room) {
    size_t n = kvi_block_count(n_tokens, block_size, eagle);
    return n < room ? n : room;
}

/* Whole groups of eight blocks; returns the first block that is left. With ret_sequence the chain
 * goes on one group behind, so that each group's hashes run in the shadow of the steps before. */
static size_t hash_groups(const struct hasher *h, const uint32_t *tokens, uint32_t block_size,
                          size_t n, uint64_t *ret_local, uint64_t *ret_sequence) {
#if EIGHT_BLOCKS
    uint64_t key[8], s = 0;
    struct chain c = chain_begin();
    if (n < 8 || !eight_at_a_time(h, block_size, key))
        return 0;
    eight_blocks(tokens, key, ret_local);
    for (size_t i = 0;; i += 8) {
        bool more = n - i >= 16;
        if (more)
            eight_blocks(tokens + (i + 8) * 16, key, ret_local + i + 8);
        for (size_t k = i; ret_sequence != NULL && k < i + 8; k++) {
            s = k > 0 ? chain_step(c, s, ret_local[k]) : ret_local[0] ^ c.low;
            ret_sequence[k] = s ^ c.low;
        }
        if (!more)
            return i + 8;
    }
#else
    (void)h, (void)tokens, (void)block_size, (void)n, (void)ret_local, (void)ret_sequence;
    return 0;
#endif
}

size_t kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size, uint64_t seed,
                       bool eagle, uint64_t *ret_hashes, size_t room) {
    size_t n = blocks_for(n_tokens, block_size, eagle, room);
    struct hasher h;
    hasher_init(&h, (size_t)block_size + eagle, seed);
    for (size_t i = hash_groups(&h, tokens, block_size, n, ret_hashes, NULL); i < n; i++)
        ret_hashes[i] = hash_one(&h, tokens + i * block_size);
    return n;
}

void kvi_chain(const uint64_t *local, size_t n, uint64_t *ret_sequence) {
    struct chain c = chain_begin();
    uint64_t s = n > 0 ? local[0] ^ c.low : 0;
    for (size_t i = 0; i < n; i++) {
        s = i > 0 ? chain_step(c, s, local[i]) : s;
        ret_sequence[i] = s ^ c.low;
    }
}

/* The chain is bound by the latency of two multiplications a step; the local hashes run in its
 * shadow. */
size_t kvi_hash_and_chain(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                          uint64_t seed, bool eagle, uint64_t *ret_local, uint64_t *ret_sequence,
                          size_t room) {
    size_t n = blocks_for(n_tokens, block_size, eagle, room);
    struct hasher h;
    hasher_init(&h, (size_t)block_size + eagle, seed);
    size_t i = hash_groups(&h, tokens, block_size, n, ret_local, ret_sequence);
    struct chain c = chain_begin();
    for (uint64_t s = i > 0 ? ret_sequence[i - 1] ^ c.low : 0; i < n; i++) {
        ret_local[i] = hash_one(&h, tokens + i * block_size);
        s = i > 0 ? chain_step(c, s, ret_local[i]) : ret_local[i] ^ c.low;
        ret_sequence[i] = s ^ c.low;
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
