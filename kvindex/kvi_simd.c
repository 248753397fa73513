/*
 * Inner loops of the search and of events in three widths; the widest that the processor has is
 * chosen once per index. Vector loads of cutoffs read bytes that a writer may be storing: each byte
 * is old or new, which is all that the search needs (kvi_hold.c). Under ThreadSanitizer, which
 * cannot see that, and on other processors the plain loops run.
 */
#include "kvindex/kvi_priv.h"

#if defined(__x86_64__) && !defined(KVI_TSAN)
#define VECTORS 1
#include <immintrin.h>
#endif

static uint32_t match_plain(const uint64_t *a, const uint64_t *b, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t differ = 0;
        for (int k = 0; k < 8; k++)
            differ |= a[i + k] ^ b[i + k];
        if (differ != 0)
            break;
    }
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static uint32_t match_back_plain(const uint64_t *a, const uint64_t *last, uint32_t n) {
    uint32_t i = 0;
    while (i < n && a[i] == *(last - i))
        i++;
    return i;
}

static uint32_t match_blocks_plain(const struct kvi_block *blocks, const uint64_t *content,
                                   const uint64_t *names, uint32_t n) {
    uint32_t i = 0;
    while (i < n && ((content[i] ^ blocks[i].tokens_hash) | (names[i] ^ blocks[i].block_hash)) == 0)
        i++;
    return i;
}

static bool has_name_plain(const struct kvi_block *blocks, size_t n, uint64_t name) {
    size_t i = 0;
    while (i < n && blocks[i].block_hash != name)
        i++;
    return i < n;
}

static uint32_t add_cuts_plain(const _Atomic uint8_t *cut, uint32_t n, uint32_t d, uint32_t m,
                               uint32_t *scores) {
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = atomic_load_explicit(&cut[i], memory_order_acquire);
        bool here = scores[i] == d;
        scores[i] += here ? (c < m ? c : m) : 0;
        active += here && c >= m;
    }
    return active;
}

static uint32_t set_cuts_plain(const _Atomic uint8_t *cut, uint32_t n, uint32_t m,
                               uint32_t *scores) {
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = atomic_load_explicit(&cut[i], memory_order_acquire);
        scores[i] = c < m ? c : m;
        active += c >= m;
    }
    return active;
}

static void hash_names_plain(const uint64_t *names, uint32_t n, uint64_t *ret) {
    for (uint32_t i = 0; i < n; i++)
        ret[i] = kvi_name_hash(names[i]);
}

/* Ranks are gathered without a branch a rank first: which of them have a score is chance. */
enum { GATHER = 256 };

static uint32_t some_scored(const uint32_t *scores, uint32_t n) {
    uint32_t any = 0;
    for (uint32_t i = 0; i < n; i++)
        any |= scores[i];
    return any;
}

static size_t list_scores_plain(const uint32_t *scores, const struct kvi_who *who, uint32_t n,
                                struct kvi_score *ret, size_t room) {
    uint32_t ranks[GATHER + 1];
    size_t found = 0;
    for (uint32_t first = 0; first < n; first += GATHER) {
        uint32_t end = n - first < GATHER ? n : first + GATHER, k = 0;
        for (uint32_t i = first; i < end; i += 16)
            if (some_scored(scores + i, 16) != 0)
                for (uint32_t j = i; j < i + 16; j++) {
                    ranks[k] = j;
                    k += scores[j] != 0;
                }
        for (uint32_t i = 0; i < k && found + i < room; i++)
            ret[found + i] = (struct kvi_score){.worker = kvi_who_at(who, ranks[i]),
                                                .rank = ranks[i],
                                                .blocks = {scores[ranks[i]]}};
        found += k;
    }
    return found;
}

static void unzip_plain(const struct kvi_block *blocks, uint32_t n, uint64_t *ret_content,
                        uint64_t *ret_names) {
    for (uint32_t i = 0; i < n; i++) {
        ret_content[i] = blocks[i].tokens_hash;
        ret_names[i] = blocks[i].block_hash;
    }
}

#ifdef VECTORS

static uint32_t set_cuts_sse2(const _Atomic uint8_t *cut, uint32_t n, uint32_t m,
                              uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m128i vm = _mm_set1_epi8((char)m), zero = _mm_setzero_si128();
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(c + i));
        __m128i least = _mm_min_epu8(bytes, vm), full = _mm_cmpeq_epi8(least, vm);
        __m128i half[2] = {_mm_unpacklo_epi8(least, zero), _mm_unpackhi_epi8(least, zero)};
        for (int k = 0; k < 4; k++)
            _mm_storeu_si128((__m128i *)(void *)(scores + i + 4 * k),
                             k % 2 == 0 ? _mm_unpacklo_epi16(half[k / 2], zero)
                                        : _mm_unpackhi_epi16(half[k / 2], zero));
        active += (uint32_t)__builtin_popcount((unsigned)_mm_movemask_epi8(full));
    }
    return active;
}

static uint32_t add_cuts_sse2(const _Atomic uint8_t *cut, uint32_t n, uint32_t d, uint32_t m,
                              uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m128i vd = _mm_set1_epi32((int)d), vm = _mm_set1_epi8((char)m), zero = _mm_setzero_si128();
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(c + i));
        __m128i full = _mm_cmpeq_epi8(_mm_max_epu8(bytes, vm), bytes);
        __m128i least = _mm_min_epu8(bytes, vm);
        __m128i half[2] = {_mm_unpacklo_epi8(least, zero), _mm_unpackhi_epi8(least, zero)};
        __m128i here8 = zero;
        __m128i here32[4];
        for (int k = 0; k < 4; k++) {
            __m128i add = k % 2 == 0 ? _mm_unpacklo_epi16(half[k / 2], zero)
                                     : _mm_unpackhi_epi16(half[k / 2], zero);
            __m128i *at = (__m128i *)(void *)(scores + i + 4 * k);
            __m128i s = _mm_loadu_si128(at);
            here32[k] = _mm_cmpeq_epi32(s, vd);
            _mm_storeu_si128(at, _mm_add_epi32(s, _mm_and_si128(here32[k], add)));
        }
        here8 = _mm_packs_epi16(_mm_packs_epi32(here32[0], here32[1]),
                                _mm_packs_epi32(here32[2], here32[3]));
        active +=
            (uint32_t)__builtin_popcount((unsigned)_mm_movemask_epi8(_mm_and_si128(here8, full)));
    }
    return active;
}

__attribute__((target("avx2,popcnt"))) static uint32_t match_avx2(const uint64_t *a,
                                                                  const uint64_t *b, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(a + i));
        __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(b + i));
        uint32_t same = (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(x, y)));
        if (same != 15)
            return i + (uint32_t)__builtin_ctz(~same);
    }
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

__attribute__((target("avx2,popcnt"))) static uint32_t
add_cuts_avx2(const _Atomic uint8_t *cut, uint32_t n, uint32_t d, uint32_t m, uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m256i vd = _mm256_set1_epi32((int)d), vm = _mm256_set1_epi32((int)m);
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 8) {
        __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(c + i)));
        __m256i *at = (__m256i *)(void *)(scores + i), s = _mm256_loadu_si256(at);
        __m256i here = _mm256_cmpeq_epi32(s, vd), least = _mm256_min_epu32(v, vm);
        _mm256_storeu_si256(at, _mm256_add_epi32(s, _mm256_and_si256(here, least)));
        __m256i full = _mm256_and_si256(here, _mm256_cmpeq_epi32(least, vm));
        active +=
            (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(full)));
    }
    return active;
}

__attribute__((target("avx2,popcnt"))) static uint32_t
set_cuts_avx2(const _Atomic uint8_t *cut, uint32_t n, uint32_t m, uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m128i vm = _mm_set1_epi8((char)m);
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(c + i));
        __m128i least = _mm_min_epu8(bytes, vm);
        for (int k = 0; k < 2; k++)
            _mm256_storeu_si256(
                (__m256i *)(void *)(scores + i + 8 * k),
                _mm256_cvtepu8_epi32(k == 0 ? least : _mm_unpackhi_epi64(least, least)));
        active +=
            (uint32_t)__builtin_popcount((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(least, vm)));
    }
    return active;
}

__attribute__((target("avx512f,avx512bw,popcnt,bmi"))) static uint32_t
match_avx512(const uint64_t *a, const uint64_t *b, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __mmask8 differ =
            _mm512_cmpneq_epi64_mask(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
        if (differ != 0)
            return i + (uint32_t)__builtin_ctz(differ);
    }
    if (i < n) {
        __mmask8 rest = (__mmask8)((1u << (n - i)) - 1);
        __mmask8 differ = _mm512_mask_cmpneq_epi64_mask(rest, _mm512_maskz_loadu_epi64(rest, a + i),
                                                        _mm512_maskz_loadu_epi64(rest, b + i));
        return differ != 0 ? i + (uint32_t)__builtin_ctz(differ) : n;
    }
    return n;
}

__attribute__((target("avx512f,bmi"))) static uint32_t
match_back_avx512(const uint64_t *a, const uint64_t *last, uint32_t n) {
    const __m512i back = _mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512i b = _mm512_permutexvar_epi64(back, _mm512_loadu_si512(last - i - 7));
        __mmask8 differ = _mm512_cmpneq_epi64_mask(_mm512_loadu_si512(a + i), b);
        if (differ != 0)
            return i + (uint32_t)__builtin_ctz(differ);
    }
    while (i < n && a[i] == *(last - i))
        i++;
    return i;
}

__attribute__((target("avx512f,bmi"))) static uint32_t
match_blocks_avx512(const struct kvi_block *blocks, const uint64_t *content, const uint64_t *names,
                    uint32_t n) {
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512i a = _mm512_loadu_si512(blocks + i), b = _mm512_loadu_si512(blocks + i + 4);
        __mmask8 differ = _mm512_cmpneq_epi64_mask(_mm512_permutex2var_epi64(a, even, b),
                                                   _mm512_loadu_si512(names + i));
        differ |= _mm512_cmpneq_epi64_mask(_mm512_permutex2var_epi64(a, odd, b),
                                           _mm512_loadu_si512(content + i));
        if (differ != 0)
            return i + (uint32_t)__builtin_ctz(differ);
    }
    return i + match_blocks_plain(blocks + i, content + i, names + i, n - i);
}

__attribute__((target("avx512f"))) static bool has_name_avx512(const struct kvi_block *blocks,
                                                               size_t n, uint64_t name) {
    const __mmask8 names = 0x55; /* block_hash comes first */
    const __m512i v = _mm512_set1_epi64((long long)name);
    uint32_t found = 0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        found |= _mm512_mask_cmpeq_epi64_mask(names, _mm512_loadu_si512(blocks + i), v);
    return found != 0 || has_name_plain(blocks + i, n - i, name);
}

__attribute__((target("avx512f,avx512bw,popcnt,bmi"))) static uint32_t
add_cuts_avx512(const _Atomic uint8_t *cut, uint32_t n, uint32_t d, uint32_t m, uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m512i vd = _mm512_set1_epi32((int)d), vm = _mm512_set1_epi32((int)m);
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(c + i)));
        __m512i s = _mm512_loadu_si512(scores + i);
        __mmask16 here = _mm512_cmpeq_epi32_mask(s, vd);
        _mm512_storeu_si512(scores + i, _mm512_mask_add_epi32(s, here, s, _mm512_min_epu32(v, vm)));
        active += (uint32_t)__builtin_popcount(_mm512_mask_cmpge_epu32_mask(here, v, vm));
    }
    return active;
}

__attribute__((target("avx512f,avx512bw,popcnt"))) static uint32_t
set_cuts_avx512(const _Atomic uint8_t *cut, uint32_t n, uint32_t m, uint32_t *scores) {
    const uint8_t *c = (const uint8_t *)cut;
    __m128i vm = _mm_set1_epi8((char)m);
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(c + i));
        __m128i least = _mm_min_epu8(bytes, vm);
        _mm512_storeu_si512(scores + i, _mm512_cvtepu8_epi32(least));
        active +=
            (uint32_t)__builtin_popcount((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(least, vm)));
    }
    return active;
}

__attribute__((target("avx512f,avx512dq"))) static void
hash_names_avx512(const uint64_t *names, uint32_t n, uint64_t *ret) {
    const __m512i a = _mm512_set1_epi64((long long)0x9E3779B97F4A7C15u);
    const __m512i b = _mm512_set1_epi64((long long)0xBF58476D1CE4E5B9u);
    for (uint32_t i = 0; i < n; i += 8) {
        __mmask8 some = n - i < 8 ? (__mmask8)((1u << (n - i)) - 1) : 255;
        __m512i x = _mm512_maskz_loadu_epi64(some, names + i);
        __m512i h = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 32)), a);
        h = _mm512_mullo_epi64(_mm512_xor_si512(h, _mm512_srli_epi64(h, 29)), b);
        _mm512_mask_storeu_epi64(ret + i, some, h);
    }
}

/* A score's two halves: who it is, as kvi_who has it; rank and device blocks, no others. */
_Static_assert(sizeof(struct kvi_who) == 16 && sizeof(struct kvi_score) == 40 &&
                   offsetof(struct kvi_score, rank) == 16 &&
                   offsetof(struct kvi_score, blocks) == 20,
               "as list_scores_avx512 writes it");

/* A rank's who is constant while a search may see the rank, so it is read as plain memory. */
__attribute__((target("avx512f,popcnt"))) static size_t
list_scores_avx512(const uint32_t *scores, const struct kvi_who *who, uint32_t n,
                   struct kvi_score *ret, size_t room) {
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    uint32_t ranks[GATHER + 16], found_scores[GATHER + 16];
    size_t found = 0;
    for (uint32_t first = 0; first < n; first += GATHER) {
        uint32_t end = n - first < GATHER ? n : first + GATHER, k = 0;
        for (uint32_t i = first; i < end; i += 16) {
            __m512i v = _mm512_loadu_si512(scores + i);
            __mmask16 some = _mm512_test_epi32_mask(v, v);
            __m512i rank = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)i));
            _mm512_storeu_si512(ranks + k, _mm512_maskz_compress_epi32(some, rank));
            _mm512_storeu_si512(found_scores + k, _mm512_maskz_compress_epi32(some, v));
            k += (uint32_t)__builtin_popcount(some);
        }
        size_t left = room > found ? room - found : 0;
        for (uint32_t i = 0; i < k && i < left; i++) {
            uint8_t *to = (uint8_t *)(ret + found + i);
            __m128i is = _mm_load_si128((const __m128i *)(const void *)(who + ranks[i]));
            __m128i has =
                _mm_cvtsi64_si128((long long)((uint64_t)found_scores[i] << 32 | ranks[i]));
            _mm_storeu_si128((__m128i *)(void *)to, is);
            _mm_storeu_si128((__m128i *)(void *)(to + 16), has);
            memset(to + 32, 0, 8);
        }
        found += k;
    }
    return found;
}

__attribute__((target("avx512f"))) static void unzip_avx512(const struct kvi_block *blocks,
                                                            uint32_t n, uint64_t *ret_content,
                                                            uint64_t *ret_names) {
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512i a = _mm512_loadu_si512(blocks + i), b = _mm512_loadu_si512(blocks + i + 4);
        _mm512_storeu_si512(ret_names + i, _mm512_permutex2var_epi64(a, even, b));
        _mm512_storeu_si512(ret_content + i, _mm512_permutex2var_epi64(a, odd, b));
    }
    unzip_plain(blocks + i, n - i, ret_content + i, ret_names + i);
}

#endif

const struct kvi_kernels *kvi_kernels_at(uint32_t i) {
    static const struct kvi_kernels plain = {.match = match_plain,
                                             .match_back = match_back_plain,
                                             .match_blocks = match_blocks_plain,
                                             .has_name = has_name_plain,
                                             .add_cuts = add_cuts_plain,
                                             .set_cuts = set_cuts_plain,
                                             .hash_names = hash_names_plain,
                                             .list_scores = list_scores_plain,
                                             .unzip = unzip_plain};
#ifdef VECTORS
    static const struct kvi_kernels sse2 = {.match = match_plain,
                                            .match_back = match_back_plain,
                                            .match_blocks = match_blocks_plain,
                                            .has_name = has_name_plain,
                                            .add_cuts = add_cuts_sse2,
                                            .set_cuts = set_cuts_sse2,
                                            .hash_names = hash_names_plain,
                                            .list_scores = list_scores_plain,
                                            .unzip = unzip_plain};
    static const struct kvi_kernels avx2 = {.wide = 256,
                                            .match = match_avx2,
                                            .match_back = match_back_plain,
                                            .match_blocks = match_blocks_plain,
                                            .has_name = has_name_plain,
                                            .add_cuts = add_cuts_avx2,
                                            .set_cuts = set_cuts_avx2,
                                            .hash_names = hash_names_plain,
                                            .list_scores = list_scores_plain,
                                            .unzip = unzip_plain};
    static const struct kvi_kernels avx512 = {.wide = 512,
                                              .match = match_avx512,
                                              .match_back = match_back_avx512,
                                              .match_blocks = match_blocks_avx512,
                                              .has_name = has_name_avx512,
                                              .add_cuts = add_cuts_avx512,
                                              .set_cuts = set_cuts_avx512,
                                              .hash_names = hash_names_avx512,
                                              .list_scores = list_scores_avx512,
                                              .unzip = unzip_avx512};
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
    bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
    if (has_avx512 && i-- == 0)
        return &avx512;
    if (has_avx2 && i-- == 0)
        return &avx2;
    if (__builtin_cpu_supports("sse2") && i-- == 0)
        return &sse2;
#endif
    return i == 0 ? &plain : NULL;
}
