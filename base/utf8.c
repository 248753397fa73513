#include "base/utf8_priv.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

#if defined(__x86_64__)
/* Bit i: byte i ends a plain run. A signed comparison with 0x20 catches control bytes and >= 0x80.
 */
static unsigned ends16(const char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i bad = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
                               _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                            _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    return (unsigned)_mm_movemask_epi8(bad);
}

__attribute__((target("avx2"))) static size_t plain_run_avx2(const char *p, size_t len) {
    size_t i = 0;
    const __m256i space = _mm256_set1_epi8(0x20), quote = _mm256_set1_epi8('"'),
                  slash = _mm256_set1_epi8('\\');
    for (; i + 32 <= len; i += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        __m256i bad = _mm256_or_si256(
            _mm256_cmpgt_epi8(space, v),
            _mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, slash)));
        unsigned mask = (unsigned)_mm256_movemask_epi8(bad);
        if (mask != 0)
            return i + (size_t)__builtin_ctz(mask);
    }
    return i;
}

size_t weir_utf8_plain_run(const char *p, size_t len) {
    size_t i = 0;
    /* Most strings are short: one 16-byte look before the wide loop. */
    if (len >= 16) {
        unsigned mask = ends16(p);
        if (mask != 0)
            return (size_t)__builtin_ctz(mask);
        i = 16;
        if (len >= 128 && __builtin_cpu_supports("avx2"))
            i += plain_run_avx2(p + i, len - i);
        for (; i + 16 <= len; i += 16) {
            mask = ends16(p + i);
            if (mask != 0)
                return i + (size_t)__builtin_ctz(mask);
        }
    }
    while (i < len && is_plain((unsigned char)p[i]))
        i++;
    return i;
}
#else
size_t weir_utf8_plain_run(const char *p, size_t len) {
    size_t i = 0;
    while (i < len && is_plain((unsigned char)p[i]))
        i++;
    return i;
}
#endif

static bool tail(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed character at p (Unicode 15, table 3-7), 0 when there is none. */
static size_t one(const unsigned char *p, size_t len) {
    if (len >= 2 && p[0] >= 0xC2 && p[0] <= 0xDF)
        return tail(p[1]) ? 2 : 0;
    if (len >= 3 && (p[0] & 0xF0) == 0xE0) {
        unsigned char low = p[0] == 0xE0 ? 0xA0 : 0x80, high = p[0] == 0xED ? 0x9F : 0xBF;
        return p[1] >= low && p[1] <= high && tail(p[2]) ? 3 : 0;
    }
    if (len >= 4 && p[0] >= 0xF0 && p[0] <= 0xF4) {
        unsigned char low = p[0] == 0xF0 ? 0x90 : 0x80, high = p[0] == 0xF4 ? 0x8F : 0xBF;
        return p[1] >= low && p[1] <= high && tail(p[2]) && tail(p[3]) ? 4 : 0;
    }
    return 0;
}

size_t weir_utf8_multibyte_run(const char *p, size_t len) {
    const unsigned char *u = (const unsigned char *)p;
    size_t i = 0;
    while (i < len && u[i] >= 0x80) {
        size_t n = one(u + i, len - i);
        if (n == 0)
            break;
        i += n;
    }
    return i;
}

size_t weir_utf8_encode(unsigned code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}
