/*
 * The inner loops of the JSON scanner and writer and of UTF-8 validation, one set per instruction
 * set. Pure; never read beyond the text.
 */
#ifndef WEIR_BASE_SCAN_PRIV_H
#define WEIR_BASE_SCAN_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

struct weir_scan {
    const char *name;
    /* Leading bytes that are neither quote nor backslash nor below 0x20; sets *high (never clears
     * it) when one of them, or of the few behind them, is above 0x7f. */
    size_t (*run)(const char *p, size_t len, bool *high);
    bool (*utf8_valid)(const char *p, size_t len);
};

/* As run(), for strings that are short as a rule: looks at the first 16 bytes without a call.
 * false: the text is shorter, or no end is among them. */
static inline bool weir_scan_short(const char *p, size_t len, size_t *ret_run, bool *high) {
#if defined(__SSE2__)
    if (len < 16)
        return false;
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i end = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v),
                               _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                            _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    unsigned ends = (unsigned)_mm_movemask_epi8(end);
    if (ends == 0)
        return false;
    *high |= ((unsigned)_mm_movemask_epi8(v) & ((ends & (0 - ends)) - 1)) != 0;
    *ret_run = (size_t)__builtin_ctz(ends);
    return true;
#else
    (void)p, (void)len, (void)ret_run, (void)high;
    return false;
#endif
}

/* ASCII without quote, backslash and control bytes. Meant for names, ids and tokens. */
bool weir_scan_plain(const char *p, size_t len);

/* The best one for this processor. */
const struct weir_scan *weir_scan_best(void);
/* For tests and measurements: the i-th one that this processor can run, NULL behind the last. */
const struct weir_scan *weir_scan_kernel(size_t i);

#endif
