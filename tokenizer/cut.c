/*
 * Safe cuts. If no token holds the last byte of character x next to the first byte of y, merges
 * never cross a boundary x|y inside a word, so the two sides can be merged apart (and cached).
 *
 * A token that crosses x|y holds x whole or the end of it (a token may begin inside a character),
 * and y whole or its start. So four tables are asked: whole|whole by both code points, whole|start
 * by x and the first byte of y, end|whole by the last byte of x and y, end|start by both bytes. The
 * first three are bit tables by hash: a collision loses a cut, never makes a wrong one. Pairs of
 * ASCII characters are in the fourth, so that the first stays small (a vocabulary has 20,000 to
 * 100,000 other pairs).
 */
#include "tokenizer/model_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;

static inline uint32_t slot(uint32_t a, uint32_t b, unsigned bits) {
    uint64_t x = ((uint64_t)a << 21 ^ b) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> (64 - bits));
}
static inline uint32_t whole(uint32_t x, uint32_t y) {
    return slot(x, y, WTOK_CUT_WHOLE_BITS);
}
static inline uint32_t part(uint32_t x, uint32_t y) {
    return slot(x, y, WTOK_CUT_PART_BITS);
}
static inline void set(uint64_t *table, uint32_t bit) {
    table[bit / 64] |= 1ull << bit % 64;
}
static inline bool get(const uint64_t *table, uint32_t bit) {
    return table[bit / 64] >> bit % 64 & 1;
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
        if (whole_x && whole_y && (p[a] | p[b]) < 0x80)
            set(cuts + WTOK_CUT_AT_3, (uint32_t)p[a] << 8 | p[b]);
        else if (whole_x && whole_y)
            set(cuts, whole(wtok_char(p + a, &unused), wtok_char(p + b, &unused)));
        else if (whole_x)
            set(cuts + WTOK_CUT_AT_1, part(wtok_char(p + a, &unused), p[b]));
        else if (whole_y)
            set(cuts + WTOK_CUT_AT_2, part(p[b - 1], wtok_char(p + b, &unused)));
        else
            set(cuts + WTOK_CUT_AT_3, (uint32_t)p[b - 1] << 8 | p[b]);
        a = b;
        b = c;
    }
}

/* All four are read, since nobody can foretell which of them has it. */
static inline bool joined(const uint64_t *cuts, uint32_t x, u8 lx, uint32_t y, u8 fy) {
    unsigned any = (unsigned)get(cuts, whole(x, y));
    any |= (unsigned)get(cuts + WTOK_CUT_AT_1, part(x, fy));
    any |= (unsigned)get(cuts + WTOK_CUT_AT_2, part(lx, y));
    any |= (unsigned)get(cuts + WTOK_CUT_AT_3, (uint32_t)lx << 8 | fy);
    return any != 0;
}

bool wtok_cut_joined(const uint64_t *cuts, uint32_t x, u8 lx, uint32_t y, u8 fy) {
    return joined(cuts, x, lx, y, fy);
}

uint64_t wtok_cut_places(const uint64_t *cuts, const u8 *p, const u8 *e, uint32_t offsets[65],
                         unsigned *ret_n) {
    const u8 *base = p;
    uint64_t places = 0;
    unsigned i = 0, len;
    uint32_t x = 0;
    for (; p < e && i < 64; i++) {
        uint32_t y;
        offsets[i] = (uint32_t)(p - base);
        if (*p >= 0xE0 && *p < 0xF0) { /* most of them */
            y = (*p & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
            len = 3;
        } else {
            y = wtok_char(p, &len);
        }
        if (i > 0)
            places |= (uint64_t)!joined(cuts, x, p[-1], y, *p) << i;
        x = y;
        p += len;
    }
    offsets[i] = (uint32_t)(p - base);
    *ret_n = i;
    return places;
}
