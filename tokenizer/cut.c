/*
 * Safe cuts. If no token holds the last byte of character x next to the first byte of y, merges
 * never cross a boundary x|y inside a word, so the two sides can be merged apart (and cached).
 *
 * A token that crosses x|y holds x whole or the end of it (a token may begin inside a character),
 * and y whole or its start. So four tables are asked: whole|whole by both code points, whole|start
 * by x and the first byte of y, end|whole by the last byte of x and y, end|start by both bytes. The
 * first three are bit tables by hash: a collision loses a cut, never makes a wrong one.
 */
#include "tokenizer/model_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;

static inline uint32_t slot(uint32_t a, uint32_t b) {
    uint64_t x = ((uint64_t)a << 21 ^ b) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> (64 - WTOK_CUT_BITS));
}
static inline const uint64_t *table(const uint64_t *cuts, unsigned k) {
    return cuts + ((size_t)k << (WTOK_CUT_BITS - 6));
}
static inline void set(uint64_t *cuts, unsigned k, uint32_t bit) {
    cuts[((size_t)k << (WTOK_CUT_BITS - 6)) + bit / 64] |= 1ull << bit % 64;
}
static inline bool get(const uint64_t *cuts, unsigned k, uint32_t bit) {
    return table(cuts, k)[bit / 64] >> bit % 64 & 1;
}

static unsigned sequence_len(u8 lead) {
    return lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* End of the piece of a character at i: up to the next byte that begins one. */
static size_t piece_end(const u8 *p, size_t n, size_t i) {
    for (i++; i < n && (p[i] & 0xC0) == 0x80;)
        i++;
    return i;
}

void wtok_cut_learn(uint64_t *cuts, const u8 *p, size_t n) {
    unsigned unused;
    for (size_t a = 0, b = piece_end(p, n, 0); b < n;) {
        size_t c = piece_end(p, n, b);
        bool whole_x = sequence_len(p[a]) == b - a, whole_y = sequence_len(p[b]) == c - b;
        if (whole_x && whole_y)
            set(cuts, 0, slot(wtok_char(p + a, &unused), wtok_char(p + b, &unused)));
        else if (whole_x)
            set(cuts, 1, slot(wtok_char(p + a, &unused), p[b]));
        else if (whole_y)
            set(cuts, 2, slot(p[b - 1], wtok_char(p + b, &unused)));
        else {
            size_t bit = (size_t)p[b - 1] << 8 | p[b];
            cuts[WTOK_CUT_TABLES * ((size_t)1 << (WTOK_CUT_BITS - 6)) + bit / 64] |= 1ull
                                                                                     << bit % 64;
        }
        a = b;
        b = c;
    }
}

bool wtok_cut_joined(const uint64_t *cuts, uint32_t x, u8 lx, uint32_t y, u8 fy) {
    if (get(cuts, 0, slot(x, y)) || get(cuts, 1, slot(x, fy)) || get(cuts, 2, slot(lx, y)))
        return true;
    size_t bit = (size_t)lx << 8 | fy;
    return cuts[WTOK_CUT_TABLES * ((size_t)1 << (WTOK_CUT_BITS - 6)) + bit / 64] >> bit % 64 & 1;
}
