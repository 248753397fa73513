#include "base/scan_priv.h"

#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- eight bytes in a register: any processor --------------------------------------------- */

static const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;

static uint64_t load8(const char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

/* High bit of each byte below n (n <= 0x80). A borrow can only mark bytes behind one that is truly
 * below, so the first mark is right. */
static uint64_t below(uint64_t x, uint64_t n) {
    return (x - ones * n) & ~x & highs;
}

static bool ends_run(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\';
}

static size_t run_words(const char *p, size_t len, bool *high) {
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t x = load8(p + i);
        uint64_t ends = below(x, 0x20) | below(x ^ ones * '"', 1) | below(x ^ ones * '\\', 1);
        if (ends != 0) {
            uint64_t before = (ends & (0 - ends)) - 1;
            *high |= (x & highs & before) != 0;
            return i + (size_t)__builtin_ctzll(ends) / 8;
        }
        *high |= (x & highs) != 0;
    }
    for (; i < len && !ends_run((unsigned char)p[i]); i++)
        *high |= (unsigned char)p[i] >= 0x80;
    return i;
}

#if defined(__SSE2__)
static __m128i marks_of(const char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i end =
        _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    /* As signed bytes, all above 0x7f are below 0x20 too. */
    return _mm_or_si128(end, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
}
#endif

bool weir_scan_plain(const char *p, size_t len) {
#if defined(__SSE2__)
    if (len >= 16) {
        __m128i marks = marks_of(p + len - 16);
        for (size_t i = 0; i + 16 < len; i += 16)
            marks = _mm_or_si128(marks, marks_of(p + i));
        return _mm_movemask_epi8(marks) == 0;
    }
#endif
    uint64_t bad = 0, x = ones * ' ';
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t w = load8(p + i);
        bad |= w | below(w, 0x20) | below(w ^ ones * '"', 1) | below(w ^ ones * '\\', 1);
    }
    if (len >= 8)
        x = load8(p + len - 8);
    else
        for (size_t i = 0; i < len; i++)
            x = x << 8 | (unsigned char)p[i];
    bad |= x | below(x, 0x20) | below(x ^ ones * '"', 1) | below(x ^ ones * '\\', 1);
    return (bad & highs) == 0;
}

static bool utf8_valid_words(const char *p, size_t len) {
    for (size_t i = 0; i < len;) {
        if (i + 8 <= len && (load8(p + i) & highs) == 0) {
            i += 8;
            continue;
        }
        size_t n = weir_utf8_char(weir_span(p + i, len - i));
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static const struct weir_scan words = {"words", run_words, utf8_valid_words};

#if defined(__x86_64__)
/* ---- SSE2: every x86-64 ------------------------------------------------------------------- */

static size_t run_sse2(const char *p, size_t len, bool *high) {
    const __m128i control = _mm_set1_epi8(0x1f), quote = _mm_set1_epi8('"'),
                  slash = _mm_set1_epi8('\\');
    size_t i = 0;
    for (; i + 16 <= len; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i end =
            _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, control), v),
                         _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        unsigned ends = (unsigned)_mm_movemask_epi8(end), above = (unsigned)_mm_movemask_epi8(v);
        if (ends != 0) {
            *high |= (above & ((ends & (0 - ends)) - 1)) != 0;
            return i + (size_t)__builtin_ctz(ends);
        }
        *high |= above != 0;
    }
    return i + run_words(p + i, len - i, high);
}

static bool utf8_valid_sse2(const char *p, size_t len) {
    for (size_t i = 0; i < len;) {
        if (i + 16 <= len) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
            unsigned above = (unsigned)_mm_movemask_epi8(v);
            if (above == 0) {
                i += 16;
                continue;
            }
            i += (size_t)__builtin_ctz(above);
        }
        size_t n = weir_utf8_char(weir_span(p + i, len - i));
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static const struct weir_scan sse2 = {"sse2", run_sse2, utf8_valid_sse2};

/* ---- AVX2 --------------------------------------------------------------------------------- */

#define AVX2 __attribute__((target("avx2")))

AVX2 static size_t run_avx2(const char *p, size_t len, bool *high) {
    const __m256i control = _mm256_set1_epi8(0x1f), quote = _mm256_set1_epi8('"'),
                  slash = _mm256_set1_epi8('\\');
    __m256i all = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 32 <= len; i += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        __m256i end = _mm256_or_si256(
            _mm256_cmpeq_epi8(_mm256_min_epu8(v, control), v),
            _mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, slash)));
        unsigned ends = (unsigned)_mm256_movemask_epi8(end);
        if (ends != 0) {
            unsigned above = (unsigned)_mm256_movemask_epi8(v) & ((ends & (0 - ends)) - 1);
            *high |= (above | (unsigned)_mm256_movemask_epi8(all)) != 0;
            return i + (size_t)__builtin_ctz(ends);
        }
        all = _mm256_or_si256(all, v);
    }
    *high |= _mm256_movemask_epi8(all) != 0;
    return i + run_sse2(p + i, len - i, high);
}

/*
 * UTF-8 by three table look-ups a byte, after Keiser and Lemire, "Validating UTF-8 in less than one
 * instruction per byte" (2021): each nibble of a pair of neighbouring bytes says which mistakes it
 * would allow, and a mistake is one that all three allow. Third and fourth bytes, which the pair
 * cannot judge, show as TWO_TAILS and must stand exactly where a first byte asked for them.
 */
enum {
    TOO_SHORT = 1,   /* a first byte without its tail */
    TOO_LONG = 2,    /* a tail behind ASCII */
    OVERLONG_3 = 4,  /* E0 followed by less than A0 */
    TOO_LARGE = 8,   /* F4 followed by 90 or more, F5 and more */
    SURROGATE = 16,  /* ED followed by A0 or more */
    OVERLONG_2 = 32, /* C0, C1 */
    OVERLONG_4 = 64, /* F0 followed by less than 90; also F5 and more followed by 80 to 8F */
    TWO_TAILS = 128, /* a tail behind a tail */
    ANY_FIRST = TOO_SHORT | TOO_LONG | TWO_TAILS, /* what the low nibble cannot tell */
    LARGE = ANY_FIRST | TOO_LARGE | OVERLONG_4,
    TAIL = TOO_LONG | OVERLONG_2 | TWO_TAILS,
};

#define TABLE(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
#define S(x) (char)(x)

/* The vector `back` bytes earlier in the text. */
#define EARLIER(v, before, back)                                                                   \
    _mm256_alignr_epi8(v, _mm256_permute2x128_si256(before, v, 0x21), 16 - (back))

AVX2 static inline __m256i utf8_mistakes(__m256i v, __m256i before) {
    const __m256i first_high =
        TABLE(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
              S(TWO_TAILS), S(TWO_TAILS), S(TWO_TAILS), S(TWO_TAILS), TOO_SHORT | OVERLONG_2,
              TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE, TOO_SHORT | TOO_LARGE | OVERLONG_4);
    const __m256i first_low = TABLE(
        S(ANY_FIRST | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), S(ANY_FIRST | OVERLONG_2),
        S(ANY_FIRST), S(ANY_FIRST), S(ANY_FIRST | TOO_LARGE), S(LARGE), S(LARGE), S(LARGE),
        S(LARGE), S(LARGE), S(LARGE), S(LARGE), S(LARGE), S(LARGE | SURROGATE), S(LARGE), S(LARGE));
    const __m256i second_high =
        TABLE(TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
              TOO_SHORT, S(TAIL | OVERLONG_3 | OVERLONG_4), S(TAIL | OVERLONG_3 | TOO_LARGE),
              S(TAIL | SURROGATE | TOO_LARGE), S(TAIL | SURROGATE | TOO_LARGE), TOO_SHORT,
              TOO_SHORT, TOO_SHORT, TOO_SHORT);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i first = EARLIER(v, before, 1);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(first, 4), nibble);
    __m256i second = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
    __m256i wrong = _mm256_and_si256(
        _mm256_shuffle_epi8(first_high, high),
        _mm256_and_si256(_mm256_shuffle_epi8(first_low, _mm256_and_si256(first, nibble)),
                         _mm256_shuffle_epi8(second_high, second)));
    /* The top bit stays set where two bytes back stands E0 or more, or three back F0 or more. */
    __m256i third = _mm256_subs_epu8(EARLIER(v, before, 2), _mm256_set1_epi8(0xE0 - 0x80));
    __m256i fourth = _mm256_subs_epu8(EARLIER(v, before, 3), _mm256_set1_epi8(0xF0 - 0x80));
    __m256i wanted = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8(S(0x80)));
    return _mm256_xor_si256(wanted, wrong);
}

/* Where the ASCII of which the 32 bytes at i are some ends at the earliest: at its last 32. */
AVX2 static inline size_t ascii_end_avx2(const char *p, size_t i, size_t len) {
    for (; i + 160 <= len; i += 128) {
        const __m256i *v = (const __m256i *)(const void *)(p + i + 32);
        __m256i a = _mm256_or_si256(_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1));
        __m256i b = _mm256_or_si256(_mm256_loadu_si256(v + 2), _mm256_loadu_si256(v + 3));
        if (_mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0)
            break;
    }
    return i;
}

AVX2 static bool utf8_valid_avx2(const char *p, size_t len) {
    __m256i before = _mm256_setzero_si256(), wrong = before;
    size_t i = 0;
    for (; i + 32 <= len; i += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        /* Two blocks of ASCII in a row: nothing to look at. */
        if (_mm256_movemask_epi8(_mm256_or_si256(v, before)) != 0)
            wrong = _mm256_or_si256(wrong, utf8_mistakes(v, before));
        else
            i = ascii_end_avx2(p, i, len);
        before = v;
    }
    /* The rest, with zeros behind it: at least one, so that a character cut short shows. */
    char rest[32] = {0};
    if (i < len)
        memcpy(rest, p + i, len - i);
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)rest);
    wrong = _mm256_or_si256(wrong, utf8_mistakes(v, before));
    return _mm256_testz_si256(wrong, wrong) != 0;
}

static const struct weir_scan avx2 = {"avx2", run_avx2, utf8_valid_avx2};

const struct weir_scan *weir_scan_best(void) {
    return __builtin_cpu_supports("avx2") ? &avx2 : &sse2;
}

const struct weir_scan *weir_scan_kernel(size_t i) {
    const struct weir_scan *all[] = {&words, &sse2, weir_scan_best()};
    return i < (weir_scan_best() == &sse2 ? 2 : 3) ? all[i] : NULL;
}
#else
const struct weir_scan *weir_scan_best(void) {
    return &words;
}

const struct weir_scan *weir_scan_kernel(size_t i) {
    return i == 0 ? &words : NULL;
}
#endif
