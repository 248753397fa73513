/*
 * Token ids as MessagePack integers. A prompt of 450 kB has 180,000 of them, whose widths change
 * too often for a branch to be foreseen, so no branch depends on one: a number of bytes that is
 * always the same is stored, and those behind the id are overwritten by the next.
 */
#include "wire/codec_priv.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline char *put_id(char *p, uint32_t v) {
    static const struct {
        unsigned char type, shift, len;
    } rows[] = {{0, 56, 1}, {0xcc, 48, 2}, {0xcd, 40, 3}, {0xce, 24, 5}};
    unsigned row = (unsigned)(v > 0x7f) + (v > 0xff) + (v > 0xffff);
    uint64_t be =
        __builtin_bswap64((uint64_t)rows[row].type << 56 | (uint64_t)v << rows[row].shift);
    memcpy(p, &be, sizeof(be));
    return p + rows[row].len;
}

#if defined(__x86_64__)
/* How many of the ids in front take one byte each (texts of byte tokenizers, pads), in steps of 16;
 * these are written. */
static size_t put_small_ids(char *p, const uint32_t *ids, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i *from = (const __m128i *)(const void *)(ids + i);
        __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
        __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
        __m128i all = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
        __m128i large = _mm_andnot_si128(_mm_set1_epi32(0x7f), all);
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(large, _mm_setzero_si128())) != 0xffff)
            break;
        __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        _mm_storeu_si128((__m128i *)(void *)(p + i), bytes);
    }
    return i;
}

/* Three ids in one shuffle. Bytes 0 to 11 of its source are the ids, 12 to 14 the types cc, cd, ce.
 * A form is 0 to 3: one byte, cc, cd, ce; the index of a row has the low bits of the three forms,
 * then the high ones. */
#define FORM0(id) (id)
#define FORM1(id) 12, (id)
#define FORM2(id) 13, (id) + 1, (id)
#define FORM3(id) 14, (id) + 3, (id) + 2, (id) + 1, (id)
#define LEN0 1
#define LEN1 2
#define LEN2 3
#define LEN3 5
#define INDEX(a, b, c)                                                                             \
    ((a) % 2 + (b) % 2 * 2 + (c) % 2 * 4 + (a) / 2 * 8 + (b) / 2 * 16 + (c) / 2 * 32)
#define SHUFFLE(a, b, c) [INDEX(a, b, c)] = {FORM##a(0), FORM##b(4), FORM##c(8)}
#define LENGTH(a, b, c) [INDEX(a, b, c)] = LEN##a + LEN##b + LEN##c
#define EACH_C(X, a, b) X(a, b, 0), X(a, b, 1), X(a, b, 2), X(a, b, 3)
#define EACH_B(X, a) EACH_C(X, a, 0), EACH_C(X, a, 1), EACH_C(X, a, 2), EACH_C(X, a, 3)
#define EACH(X) EACH_B(X, 0), EACH_B(X, 1), EACH_B(X, 2), EACH_B(X, 3)

static const unsigned char shuffles[64][16] = {EACH(SHUFFLE)};
static const unsigned char lengths[64] = {EACH(LENGTH)};

#define SSE41 __attribute__((target("sse4.1")))

/* All bits of the lanes whose id is at least `low`. */
SSE41 static inline __m128i from(__m128i ids, unsigned low) {
    return _mm_cmpeq_epi32(_mm_max_epu32(ids, _mm_set1_epi32((int)low)), ids);
}

/* Writes ids in threes while four can be read, n/3 of them at most; returns the end of the text. */
SSE41 static char *put_threes(char *p, const uint32_t *ids, size_t n, size_t *ret_done) {
    size_t i = 0;
    for (; i + 4 <= n; i += 3) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(ids + i));
        __m128i two = from(v, 0x80), three = from(v, 0x100), five = from(v, 0x10000);
        __m128i low = _mm_xor_si128(_mm_xor_si128(two, three), five);
        unsigned row = (unsigned)_mm_movemask_ps(_mm_castsi128_ps(low)) & 7;
        row |= ((unsigned)_mm_movemask_ps(_mm_castsi128_ps(three)) & 7) << 3;
        __m128i source = _mm_insert_epi32(v, 0xcecdcc, 3);
        __m128i shuffle = _mm_loadu_si128((const __m128i *)(const void *)shuffles[row]);
        _mm_storeu_si128((__m128i *)(void *)p, _mm_shuffle_epi8(source, shuffle));
        p += lengths[row];
    }
    *ret_done = i;
    return p;
}

/* Twelve ids at once: each is laid out with its type and all four bytes, and what it does not need
 * is left out. Up to 64 bytes are stored at p. */
#define VBMI2 __attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi2,popcnt")))
#define LAID(id) (id) + 64, (id) + 3, (id) + 2, (id) + 1, (id)
#define LAID4(id) LAID(id), LAID((id) + 4), LAID((id) + 8), LAID((id) + 12)

VBMI2 static char *put_twelves(char *p, const uint32_t *ids, size_t n) {
    static const unsigned char order[64] = {LAID4(0), LAID4(16), LAID4(32)};
    const uint64_t first = 0x0084210842108421u; /* bit 5 * i, of twelve */
    const __m512i one = _mm512_set1_epi32(1), bytes = _mm512_loadu_si512(order);
    for (size_t i = 0; i < n; i += 12) {
        unsigned here = n - i < 12 ? (1u << (n - i)) - 1 : 0xfff;
        __m512i v = _mm512_maskz_loadu_epi32((__mmask16)here, ids + i);
        __mmask16 two = _mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32(0x7f));
        __mmask16 three = _mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32(0xff));
        __mmask16 five = _mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32(0xffff));
        __m512i type =
            _mm512_mask_add_epi32(_mm512_set1_epi32(0xcc), three, _mm512_set1_epi32(0xcc), one);
        type = _mm512_mask_add_epi32(type, five, type, one);
        uint64_t wide = _pdep_u64(five, first);
        uint64_t kept = _pdep_u64(two, first) | wide << 1 | wide << 2 |
                        _pdep_u64(three, first) << 3 | _pdep_u64(here, first) << 4;
        __m512i all = _mm512_permutex2var_epi8(v, bytes, type);
        _mm512_storeu_si512(p, _mm512_maskz_compress_epi8(kept, all));
        p += _mm_popcnt_u64(kept);
    }
    return p;
}

static char *put_vbmi2(char *p, const uint32_t *ids, size_t n) {
    enum { RUN = 96 }; /* ids between two looks for small ones */
    for (size_t i = 0; i < n;) {
        size_t done = put_small_ids(p, ids + i, n - i);
        size_t run = n - i - done < RUN ? n - i - done : RUN;
        p = put_twelves(p + done, ids + i + done, run);
        i += done + run;
    }
    return p;
}

static char *put_sse41(char *p, const uint32_t *ids, size_t n) {
    enum { RUN = 64 };
    for (size_t i = 0; i < n;) {
        size_t done = put_small_ids(p, ids + i, n - i), run;
        p += done;
        i += done;
        p = put_threes(p, ids + i, n - i < RUN ? n - i : RUN, &run);
        i += run;
        for (size_t end = n - i < 4 ? n : i + 4; i < end; i++)
            p = put_id(p, ids[i]);
    }
    return p;
}

static bool usable(size_t kernel) {
    return kernel == 0 ? true
           : kernel == 1
               ? __builtin_cpu_supports("sse4.1")
               : __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
                     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}
#endif

static char *put_plain(char *p, const uint32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++)
        p = put_id(p, ids[i]);
    return p;
}

#if defined(__x86_64__)
weir_put_ids_fn weir_put_ids_kernel(size_t i) {
    static const weir_put_ids_fn kernels[] = {put_plain, put_sse41, put_vbmi2};
    return i < WEIR_ARRAY_LEN(kernels) && usable(i) ? kernels[i] : NULL;
}

char *weir_enc_put_ids(char *p, const uint32_t *ids, size_t n) {
    return usable(2)   ? put_vbmi2(p, ids, n)
           : usable(1) ? put_sse41(p, ids, n)
                       : put_plain(p, ids, n);
}
#else
weir_put_ids_fn weir_put_ids_kernel(size_t i) {
    return i == 0 ? put_plain : NULL;
}

char *weir_enc_put_ids(char *p, const uint32_t *ids, size_t n) {
    return put_plain(p, ids, n);
}
#endif
