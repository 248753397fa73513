/*
 * The characters of a block as bit masks, one per class: 64 bytes at once where all are ASCII or of
 * the common characters of several bytes, else up to 64 characters one by one. For blocks.c alone.
 */
#ifndef WEIR_TOKENIZER_MASKS_PRIV_H
#define WEIR_TOKENIZER_MASKS_PRIV_H

#include "tokenizer/blocks_priv.h"
#include "tokenizer/emit_priv.h"
#include "tokenizer/unicode.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef unsigned char u8;

struct masks {
    uint64_t letter, upper, lower, number, blank, line, space, quote, slash, ascii;
    uint64_t cjk;   /* isolated by DeepSeek's second pattern */
    uint64_t wide;  /* first bytes of three that are an O (wide_bytes) */
    uint64_t doubt; /* classes that the rules do not cover */
};

typedef void (*load_fn)(const u8 *p, struct masks *m, uint64_t *ret_high);
/* Which of 64 bytes lie in a range within 0x80 to 0xFF; one of several begins behind 0x80. */
typedef uint64_t (*range_fn)(const u8 *p, u8 lo, u8 hi);

/* ---- 64 bytes to masks; *ret_high: bytes that are not ASCII ---------------------------------- */

INLINE void load_scalar(const u8 *p, struct masks *m, uint64_t *ret_high) {
    uint64_t high = 0;
    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < 64; i++) {
        uint64_t bit = 1ull << i;
        u8 c = p[i];
        u8 folded = c | 0x20;
        if (folded >= 'a' && folded <= 'z') {
            m->letter |= bit;
            if (c < 'a')
                m->upper |= bit;
        } else if (c >= '0' && c <= '9') {
            m->number |= bit;
        } else if (c == ' ' || (c >= 9 && c <= 13)) {
            m->blank |= bit;
            if (c == ' ')
                m->space |= bit;
            else if (c == '\n' || c == '\r')
                m->line |= bit;
        } else if (c >= 0x80) {
            high |= bit;
        } else if (c < 0x20 || c == 0x7F) {
            m->doubt |= bit;
        } else if (c == '\'') {
            m->quote |= bit;
        } else if (c == '/') {
            m->slash |= bit;
        }
    }
    m->lower = m->letter & ~m->upper;
    m->ascii = ~0ull;
    *ret_high = high;
}

#if defined(__x86_64__)
AVX512 INLINE void load_avx512(const u8 *p, struct masks *m, uint64_t *ret_high) {
    __m512i v = _mm512_loadu_si512(p);
    __m512i folded = _mm512_or_si512(v, _mm512_set1_epi8(0x20));
#define IN(x, lo, hi)                                                                              \
    _mm512_cmple_epu8_mask(_mm512_sub_epi8((x), _mm512_set1_epi8(lo)),                             \
                           _mm512_set1_epi8((hi) - (lo)))
#define IS(x, c) _mm512_cmpeq_epi8_mask((x), _mm512_set1_epi8(c))
    m->letter = IN(folded, 'a', 'z');
    m->lower = IN(v, 'a', 'z');
    m->upper = m->letter & ~m->lower;
    m->number = IN(v, '0', '9');
    m->space = IS(v, ' ');
    m->line = IS(v, '\n') | IS(v, '\r');
    m->blank = m->space | IN(v, 9, 13);
    m->quote = IS(v, '\'');
    m->slash = IS(v, '/');
    m->doubt = (_mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(0x20)) & ~m->blank) | IS(v, 0x7F);
#undef IN
#undef IS
    m->ascii = ~0ull;
    m->cjk = m->wide = 0;
    *ret_high = _mm512_movepi8_mask(v);
}

AVX512 INLINE uint64_t range_avx512(const u8 *p, u8 lo, u8 hi) {
    __m512i v = _mm512_sub_epi8(_mm512_loadu_si512(p), _mm512_set1_epi8((char)lo));
    return _mm512_cmple_epu8_mask(v, _mm512_set1_epi8((char)(hi - lo)));
}

AVX2 INLINE uint64_t bits2(__m256i a, __m256i b) {
    return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
}
/* lo <= byte <= hi, all below 0x80; bytes from 0x80 on are negative and fall out. */
AVX2 INLINE uint64_t within2(__m256i a, __m256i b, char lo, char hi) {
    __m256i l = _mm256_set1_epi8((char)(lo - 1)), h = _mm256_set1_epi8((char)(hi + 1));
    return bits2(_mm256_and_si256(_mm256_cmpgt_epi8(a, l), _mm256_cmpgt_epi8(h, a)),
                 _mm256_and_si256(_mm256_cmpgt_epi8(b, l), _mm256_cmpgt_epi8(h, b)));
}
AVX2 INLINE uint64_t equal2(__m256i a, __m256i b, char c) {
    __m256i x = _mm256_set1_epi8(c);
    return bits2(_mm256_cmpeq_epi8(a, x), _mm256_cmpeq_epi8(b, x));
}
AVX2 INLINE uint64_t range_avx2(const u8 *p, u8 lo, u8 hi) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    __m256i l = _mm256_set1_epi8((char)(lo - 1)), h = _mm256_set1_epi8((char)hi);
    if (lo == hi)
        return equal2(a, b, (char)lo);
    /* All of them are negative, so that signed order is right. */
    return bits2(_mm256_andnot_si256(_mm256_cmpgt_epi8(a, h), _mm256_cmpgt_epi8(a, l)),
                 _mm256_andnot_si256(_mm256_cmpgt_epi8(b, h), _mm256_cmpgt_epi8(b, l)));
}
AVX2 INLINE void load_avx2(const u8 *p, struct masks *m, uint64_t *ret_high) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
    m->lower = within2(a, b, 'a', 'z');
    m->upper = within2(a, b, 'A', 'Z');
    m->letter = m->lower | m->upper;
    m->number = within2(a, b, '0', '9');
    m->space = equal2(a, b, ' ');
    m->line = equal2(a, b, '\n') | equal2(a, b, '\r');
    m->blank = m->space | within2(a, b, 9, 13);
    m->quote = equal2(a, b, '\'');
    m->slash = equal2(a, b, '/');
    m->doubt = (within2(a, b, 0, 0x1F) & ~m->blank) | equal2(a, b, 0x7F);
    m->ascii = ~0ull;
    m->cjk = m->wide = 0;
    *ret_high = bits2(a, b);
}
#endif

#if defined(__aarch64__)
/* One bit per byte of four vectors whose bytes are 0 or 0xFF. */
INLINE uint64_t bits4(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    static const u8 weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t w = vld1q_u8(weights);
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, w), vandq_u8(b, w));
    uint8x16_t cd = vpaddq_u8(vandq_u8(c, w), vandq_u8(d, w));
    uint8x16_t all = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}
INLINE uint64_t within4(const uint8x16_t v[4], u8 lo, u8 hi) {
    const uint8x16_t l = vdupq_n_u8(lo), n = vdupq_n_u8((u8)(hi - lo));
    return bits4(vcleq_u8(vsubq_u8(v[0], l), n), vcleq_u8(vsubq_u8(v[1], l), n),
                 vcleq_u8(vsubq_u8(v[2], l), n), vcleq_u8(vsubq_u8(v[3], l), n));
}
INLINE uint64_t range_neon(const u8 *p, u8 lo, u8 hi) {
    const uint8x16_t v[4] = {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
    return within4(v, lo, hi);
}
INLINE void load_neon(const u8 *p, struct masks *m, uint64_t *ret_high) {
    const uint8x16_t v[4] = {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
    m->lower = within4(v, 'a', 'z');
    m->upper = within4(v, 'A', 'Z');
    m->letter = m->lower | m->upper;
    m->number = within4(v, '0', '9');
    m->space = within4(v, ' ', ' ');
    m->line = within4(v, '\n', '\n') | within4(v, '\r', '\r');
    m->blank = m->space | within4(v, 9, 13);
    m->quote = within4(v, '\'', '\'');
    m->slash = within4(v, '/', '/');
    m->doubt = (within4(v, 0, 0x1F) & ~m->blank) | within4(v, 0x7F, 0x7F);
    m->ascii = ~0ull;
    m->cjk = m->wide = 0;
    *ret_high = within4(v, 0x80, 0xFF);
}
#endif

/* ---- common characters of several bytes ------------------------------------------------------ */

/*
 * Ideographs, kana, Hangul, Cyrillic and common punctuation are taken byte by byte like ASCII: all
 * bytes of a letter are letters, and a run of bytes begins where the run of characters does. Adds
 * them to the masks, and returns the bytes that belong to no such character and are not ASCII.
 * Characters whose bytes reach behind the block count where their first ones tell enough.
 */
INLINE uint64_t wide_bytes(const enum wtok_family family, range_fn in, const u8 *p, uint64_t high,
                           struct masks *m) {
    uint64_t e3 = in(p, 0xE3, 0xE3), e2 = in(p, 0xE2, 0xE2), ef = in(p, 0xEF, 0xEF);
    uint64_t at80 = in(p, 0x80, 0x80);
    /* U+5000 to U+9FFF, U+B000 to U+CFFF, U+4E00 to U+4FFF */
    uint64_t letter3 =
        in(p, 0xE5, 0xE9) | in(p, 0xEB, 0xEC) | (in(p, 0xE4, 0xE4) & in(p, 0xB8, 0xBF) >> 1);
    uint64_t letter2 = 0, other3 = 0;
    if (e3 != 0) {
        uint64_t from81 = in(p, 0x81, 0xBF), at81 = in(p, 0x81, 0x81) >> 1;
        uint64_t at82 = in(p, 0x82, 0x82) >> 1, at83 = in(p, 0x83, 0x83) >> 1;
        uint64_t marks = in(p, 0x97, 0x9C) | in(p, 0xA0, 0xA0), dot = in(p, 0xBB, 0xBB);
        letter3 |= e3 & at81 & from81 >> 2;            /* U+3041 to U+307F */
        letter3 |= e3 & at82 & (from81 & ~marks) >> 2; /* U+3081 to U+30BF without marks */
        letter3 |= e3 & at83 & (from81 & ~dot) >> 2;   /* U+30C1 to U+30FF without the dot */
        other3 |= e3 & at80 >> 1 & (in(p, 0x81, 0x83) | in(p, 0x88, 0x9F)) >> 2;
    }
    if (ef != 0) /* U+FF01 to U+FF0F, U+FF1A to U+FF20 */
        other3 |= ef & in(p, 0xBC, 0xBC) >> 1 & (in(p, 0x81, 0x8F) | in(p, 0x9A, 0xA0)) >> 2;
    if (e2 != 0) { /* U+2010 to U+2027, U+2030 to U+203E; U+2500 to U+257F */
        other3 |= e2 & at80 >> 1 & (in(p, 0x90, 0xA7) | in(p, 0xB0, 0xBE)) >> 2;
        other3 |= e2 & in(p, 0x94, 0x95) >> 1 & (at80 | in(p, 0x81, 0xBF)) >> 2;
    }
    /* Where case matters these have to be told apart. */
    if (family != WTOK_O200K && family != WTOK_TEKKEN)
        letter2 = in(p, 0xD0, 0xD1) | (in(p, 0xC3, 0xC3) & (at80 | in(p, 0x81, 0xBF)) >> 1 &
                                       ~(in(p, 0x97, 0x97) | in(p, 0xB7, 0xB7)) >> 1);
    letter3 |= letter3 << 1 | letter3 << 2;
    letter2 |= letter2 << 1;
    m->letter |= letter3 | letter2;
    m->wide = other3;
    return high & ~(letter3 | letter2 | other3 | other3 << 1 | other3 << 2);
}

/* ---- up to 64 characters of any kind to masks ------------------------------------------------ */

/* What the masks need to know of a character, in one byte. */
enum { LETTER = 1, UPPER = 2, LOWER = 4, NUMBER = 8, BLANK = 16, DOUBT = 32, CJK = 64 };

INLINE u8 kind_of(const enum wtok_family family, uint32_t c) {
    unsigned cls = wtok_class_of(c);
    unsigned k = ((cls & WTOK_L) != 0 ? LETTER : 0) | ((cls & WTOK_LL) != 0 ? LOWER : 0) |
                 ((cls & (WTOK_LU | WTOK_LT)) != 0 ? UPPER : 0) |
                 ((cls & WTOK_N) != 0 ? NUMBER : 0) | ((cls & WTOK_WS) != 0 ? BLANK : 0);
    if (family != WTOK_DEEPSEEK)
        return (u8)(k | ((cls & WTOK_M) != 0 ? DOUBT : 0));
    bool cjk = (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
    bool known = (cls & (WTOK_L | WTOK_N | WTOK_WS | WTOK_P | WTOK_S)) != 0;
    return (u8)(k | (cjk ? CJK : 0) | (!known || (cjk && (cls & WTOK_L) == 0) ? DOUBT : 0));
}

/* Characters from p on: their kind, and their byte where they are ASCII (else 0x80). */
INLINE unsigned read_chars(const enum wtok_family family, const u8 *p, const u8 *e, u8 *kinds,
                           u8 *bytes, uint32_t *offsets) {
    const u8 *base = p;
    const u8 ideograph = family == WTOK_DEEPSEEK ? LETTER | CJK : LETTER;
    unsigned i = 0;
    for (; i < 64 && p < e; i++) {
        unsigned n = 3;
        offsets[i] = (uint32_t)(p - base);
        bytes[i] = 0x80;
        if (*p >= 0xE5 && *p <= 0xE8) { /* U+5000 to U+8FFF */
            kinds[i] = ideograph;
        } else {
            uint32_t c = wtok_char(p, &n);
            kinds[i] = kind_of(family, c);
            bytes[i] = c < 0x80 ? (u8)c : 0x80;
        }
        p += n;
    }
    offsets[i] = (uint32_t)(p - base);
    return i;
}

typedef void (*test_fn)(const u8 kinds[64], const u8 bytes[64], struct masks *m);

INLINE void test_scalar(const u8 kinds[64], const u8 bytes[64], struct masks *m) {
    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < 64; i++) {
        m->letter |= (uint64_t)(kinds[i] & 1) << i;
        m->upper |= (uint64_t)(kinds[i] >> 1 & 1) << i;
        m->lower |= (uint64_t)(kinds[i] >> 2 & 1) << i;
        m->number |= (uint64_t)(kinds[i] >> 3 & 1) << i;
        m->blank |= (uint64_t)(kinds[i] >> 4 & 1) << i;
        m->doubt |= (uint64_t)(kinds[i] >> 5 & 1) << i;
        m->cjk |= (uint64_t)(kinds[i] >> 6 & 1) << i;
        m->ascii |= (uint64_t)(bytes[i] < 0x80) << i;
        m->line |= (uint64_t)(bytes[i] == '\n' || bytes[i] == '\r') << i;
        m->space |= (uint64_t)(bytes[i] == ' ') << i;
        m->quote |= (uint64_t)(bytes[i] == '\'') << i;
        m->slash |= (uint64_t)(bytes[i] == '/') << i;
    }
}

#if defined(__x86_64__)
AVX512 INLINE void test_avx512(const u8 kinds[64], const u8 bytes[64], struct masks *m) {
    __m512i k = _mm512_loadu_si512(kinds), b = _mm512_loadu_si512(bytes);
#define HAS(bit) _mm512_test_epi8_mask(k, _mm512_set1_epi8(bit))
#define IS(c) _mm512_cmpeq_epi8_mask(b, _mm512_set1_epi8(c))
    m->letter = HAS(LETTER);
    m->upper = HAS(UPPER);
    m->lower = HAS(LOWER);
    m->number = HAS(NUMBER);
    m->blank = HAS(BLANK);
    m->doubt = HAS(DOUBT);
    m->cjk = HAS(CJK);
    m->ascii = ~_mm512_movepi8_mask(b);
    m->line = IS('\n') | IS('\r');
    m->space = IS(' ');
    m->quote = IS('\'');
    m->slash = IS('/');
#undef HAS
#undef IS
}

/* Bit number `bit` of each byte. */
AVX2 INLINE uint64_t bit2(__m256i a, __m256i b, int bit) {
    return bits2(_mm256_slli_epi16(a, 7 - bit), _mm256_slli_epi16(b, 7 - bit));
}
AVX2 INLINE void test_avx2(const u8 kinds[64], const u8 bytes[64], struct masks *m) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)kinds);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(kinds + 32));
    m->letter = bit2(a, b, 0);
    m->upper = bit2(a, b, 1);
    m->lower = bit2(a, b, 2);
    m->number = bit2(a, b, 3);
    m->blank = bit2(a, b, 4);
    m->doubt = bit2(a, b, 5);
    m->cjk = bit2(a, b, 6);
    a = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    b = _mm256_loadu_si256((const __m256i *)(const void *)(bytes + 32));
    m->ascii = ~bits2(a, b);
    m->line = equal2(a, b, '\n') | equal2(a, b, '\r');
    m->space = equal2(a, b, ' ');
    m->quote = equal2(a, b, '\'');
    m->slash = equal2(a, b, '/');
}
#endif

#if defined(__aarch64__)
INLINE uint64_t has4(const uint8x16_t v[4], u8 bit) {
    const uint8x16_t b = vdupq_n_u8(bit);
    return bits4(vtstq_u8(v[0], b), vtstq_u8(v[1], b), vtstq_u8(v[2], b), vtstq_u8(v[3], b));
}
INLINE void test_neon(const u8 kinds[64], const u8 bytes[64], struct masks *m) {
    const uint8x16_t k[4] = {vld1q_u8(kinds), vld1q_u8(kinds + 16), vld1q_u8(kinds + 32),
                             vld1q_u8(kinds + 48)};
    const uint8x16_t b[4] = {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32),
                             vld1q_u8(bytes + 48)};
    m->letter = has4(k, LETTER);
    m->upper = has4(k, UPPER);
    m->lower = has4(k, LOWER);
    m->number = has4(k, NUMBER);
    m->blank = has4(k, BLANK);
    m->doubt = has4(k, DOUBT);
    m->cjk = has4(k, CJK);
    m->ascii = ~has4(b, 0x80);
    m->line = within4(b, '\n', '\n') | within4(b, '\r', '\r');
    m->space = within4(b, ' ', ' ');
    m->quote = within4(b, '\'', '\'');
    m->slash = within4(b, '/', '/');
}
#endif

#endif
