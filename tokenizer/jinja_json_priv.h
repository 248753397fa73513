/* What reading and writing JSON share. */
#ifndef WEIR_TOKENIZER_JINJA_JSON_PRIV_H
#define WEIR_TOKENIZER_JINJA_JSON_PRIV_H

#include "tokenizer/jinja_priv.h"

#ifdef __SSE2__
#include <emmintrin.h>

/* Bit per byte that is a quote, a backslash or a control. */
static inline unsigned wj_special_mask(__m128i v) {
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'), low = _mm_set1_epi8(31);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, back));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
    return (unsigned)_mm_movemask_epi8(hit);
}
#endif

static inline bool wj_is_special(char c) {
    return (unsigned char)c < 32 || c == '"' || c == '\\';
}

/* First byte that is a quote, a backslash or a control. */
static inline const char *wj_plain_end(const char *p, const char *end) {
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned mask = wj_special_mask(_mm_loadu_si128((const __m128i *)p));
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && !wj_is_special(*p))
        p++;
    return p;
}

#endif
