/* What reading and writing JSON share. */
#ifndef WEIR_TOKENIZER_JINJA_JSON_PRIV_H
#define WEIR_TOKENIZER_JINJA_JSON_PRIV_H

#include "base/json.h"
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

/* First byte that is a quote, a backslash or a control. Most strings are short, so their ends are
 * looked for here. */
static inline const char *wj_plain_end(const char *p, const char *end) {
#ifdef __SSE2__
    const char *near = end - p > 64 ? p + 64 : end;
    for (; near - p >= 16; p += 16) {
        unsigned mask = wj_special_mask(_mm_loadu_si128((const __m128i *)p));
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
    if (end - p >= 16)
        return p + weir_json_plain_run(p, (size_t)(end - p));
#endif
    while (p < end && !wj_is_special(*p))
        p++;
    return p;
}

#endif
