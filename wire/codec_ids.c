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

static bool has_sse41(void) {
    return __builtin_cpu_supports("sse4.1");
}
#else
static size_t put_small_ids(char *p, const uint32_t *ids, size_t n) {
    (void)p, (void)ids, (void)n;
    return 0;
}

static char *put_threes(char *p, const uint32_t *ids, size_t n, size_t *ret_done) {
    (void)ids, (void)n;
    *ret_done = 0;
    return p;
}

static bool has_sse41(void) {
    return false;
}
#endif

char *weir_enc_put_ids(char *p, const uint32_t *ids, size_t n) {
    enum { RUN = 64 }; /* ids between two looks for small ones */
    bool fast = has_sse41();
    for (size_t i = 0; i < n;) {
        size_t done = put_small_ids(p, ids + i, n - i), run = 0;
        p += done;
        i += done;
        if (fast)
            p = put_threes(p, ids + i, n - i < RUN ? n - i : RUN, &run);
        i += run;
        for (size_t few = fast ? 4 : 16, end = n - i < few ? n : i + few; i < end; i++)
            p = put_id(p, ids[i]);
    }
    return p;
}
