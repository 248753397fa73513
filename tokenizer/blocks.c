/*
 * The splitting patterns on bit masks. A block is up to 64 characters from the start of a word on;
 * bit i of a mask says that character i has a class. All words that end surely inside the block
 * come out at once, without a branch per word; the next block begins where the last of them ended,
 * so no state goes from block to block (a pattern never looks back).
 *
 * What decides whether a word begins at i, in the notation of scan.c (R: \r \n; W: all blanks):
 *   letters   begin a word unless the character before is a prefix of theirs: a blank other than R
 *             (which, standing last in its run, is a word of its own otherwise), or a single O that
 *             itself begins a word
 *   numbers   begin a word, again after each third
 *   O         begins a word at the start of its run unless a space before takes it along
 *   blanks    begin a word at the start of their run (R directly behind O belong to that O), behind
 *             the last R of the run, and at the last blank when it is no R
 * Where a rule needs more than the block shows, or a rare character breaks it, the block is cut
 * short there ("doubt") and the scalar scanner takes one word.
 */
#include "tokenizer/blocks_priv.h"
#include "tokenizer/masks_priv.h"

/* ---- rules ----------------------------------------------------------------------------------- */

INLINE unsigned low_bit(uint64_t x) {
    return (unsigned)__builtin_ctzll(x);
}
INLINE unsigned high_bit(uint64_t x) {
    return 63 - (unsigned)__builtin_clzll(x);
}
INLINE uint64_t below(unsigned i) {
    return i >= 64 ? ~0ull : (1ull << i) - 1;
}

/* The bytes of character i: in an ASCII block offsets is NULL. */
INLINE const u8 *char_at(const u8 *p, const uint32_t *offsets, unsigned i) {
    return p + (offsets != NULL ? offsets[i] : i);
}

/* Characters of a contraction whose quote is character i (all of it is inside the block), or 0. */
static unsigned contraction(const u8 *p, const uint32_t *offsets, unsigned i, unsigned n,
                            bool any_case) {
    if (i + 1 >= n)
        return 0;
    const u8 *a = char_at(p, offsets, i + 1);
    u8 c = any_case && *a < 0x80 ? *a | 0x20 : *a;
    if (c == 's' || c == 't' || c == 'm' || c == 'd')
        return 2;
    if (any_case && a[0] == 0xC5 && a[1] == 0xBF)
        return 2;
    if (i + 2 >= n)
        return 0;
    const u8 *b = char_at(p, offsets, i + 2);
    u8 d = any_case && *b < 0x80 ? *b | 0x20 : *b;
    return (c == 'r' && d == 'e') || (c == 'v' && d == 'e') || (c == 'l' && d == 'l') ? 3 : 0;
}

/* Starts of number words: each run's, and every `group` behind it. */
INLINE uint64_t number_starts(uint64_t number, unsigned group) {
    if (group == 1)
        return number;
    uint64_t starts = number & ~(number << 1);
    if (group == 0)
        return starts;
    uint64_t fourth = number & number << 1 & number << 2 & number << 3;
    for (uint64_t t = starts << 3 & fourth; t != 0; t = t << 3 & fourth)
        starts |= t;
    return starts;
}

/* Starts inside runs of blanks with the line rule. `hold`: positions whose successor counts as a
 * blank (nothing is split off before the end of a section). */
INLINE uint64_t blank_starts(uint64_t blank, uint64_t line, uint64_t taken, uint64_t next_blank) {
    uint64_t rest = blank & ~taken, plain = blank & ~line;
    uint64_t starts = (rest & ~(rest << 1)) | (plain & ~next_blank);
    uint64_t behind_line = plain & line << 1;
    /* Blanks between two lines go with the second: their start does not count. */
    for (uint64_t bad = plain & line >> 1; bad != 0; bad &= bad - 1) {
        uint64_t before = ~plain & below(low_bit(bad));
        behind_line &= before == 0 ? ~1ull : ~(2ull << (63 - (unsigned)__builtin_clzll(before)));
    }
    return starts | behind_line;
}

/*
 * Starts of words among characters 1 to n - 1. *ret_sure becomes the number of characters up to
 * which they are sure. `last`: the text ends with the block.
 */
INLINE uint64_t word_starts(const enum wtok_family family, struct masks *m, const u8 *p,
                            const uint32_t *offsets, unsigned n, bool last, unsigned *ret_sure) {
    const bool cased = family == WTOK_O200K || family == WTOK_TEKKEN;
    const bool deepseek = family == WTOK_DEEPSEEK, gpt2 = family == WTOK_GPT2;
    const unsigned group = gpt2 ? 0 : family == WTOK_QWEN2 || family == WTOK_TEKKEN ? 1 : 3;
    uint64_t valid = below(n), doubt = offsets != NULL || deepseek ? m->doubt & valid : 0;
    uint64_t letter = m->letter & valid, number = m->number & valid, blank = m->blank & valid;
    uint64_t line = m->line & valid, space = m->space & valid;
    uint64_t cjk = offsets != NULL && deepseek ? m->cjk & valid : 0;
    letter &= ~cjk;
    uint64_t other = valid & ~(letter | number | blank | cjk);
    uint64_t end = last ? 1ull << (n - 1) : 0;
    uint64_t next_blank = (blank >> 1) | end | (deepseek ? (number | cjk) >> 1 : 0);
    uint64_t other_start = other & ~(other << 1) & ~(space << 1);
    uint64_t letter_start = letter & ~(letter << 1);
    uint64_t starts;
    if (gpt2) {
        starts = other_start | (letter_start & ~(space << 1)) |
                 (number_starts(number, 0) & ~(space << 1)) | (blank & ~(blank << 1)) |
                 (blank & ~next_blank);
    } else {
        uint64_t wide = offsets == NULL ? m->wide : 0;
        uint64_t prefix = (blank & ~line) | other_start | (other_start & wide) << 2;
        if (deepseek) {
            uint64_t plain = m->ascii & valid;
            prefix = (blank & ~line) | (other_start & plain & (letter & plain) >> 1);
            doubt |= letter & ~plain & (letter & plain) << 1;
        }
        /* Lines directly behind other characters belong to them. */
        uint64_t taken = line & ~(line + (line & other << 1));
        starts = other_start | (letter_start & ~(prefix << 1)) | number_starts(number, group) |
                 blank_starts(blank, line, taken, next_blank) | (cjk & ~(cjk << 1));
        if (cased) {
            uint64_t upper = m->upper & valid, lower = m->lower & valid;
            starts |= upper & lower << 1;
            doubt |= (upper & (letter & ~upper & ~lower) << 1) | (m->slash & valid & taken << 1);
        }
    }
    /* Contractions. Without case their quote begins a word; with case it ends one. */
    if (family != WTOK_TEKKEN && !deepseek) {
        unsigned done = 0;
        uint64_t quotes = m->quote & valid & letter >> 1;
        quotes &= cased ? letter << 1 : other_start;
        for (; quotes != 0; quotes &= quotes - 1) {
            unsigned at = low_bit(quotes), len = contraction(p, offsets, at, n, !gpt2);
            if (len == 0 || (cased && at < done))
                continue;
            done = at + len + 1; /* a quote right behind is no second one */
            uint64_t inside = below(at + len) & ~below(at + 1);
            starts &= ~(inside | (cased ? 1ull << at : 0));
            starts |= at + len < 64 ? letter & 1ull << (at + len) : 0;
        }
    }
    unsigned sure = last ? n : n - 3;
    if (!last) {
        /* A run of blanks that reaches the end may change its mind. */
        uint64_t not_blank = valid & ~blank;
        unsigned run = not_blank == 0 ? 0 : 64 - (unsigned)__builtin_clzll(not_blank);
        sure = run < sure ? run : sure;
    }
    if (doubt != 0) {
        unsigned at = low_bit(doubt);
        at = at < 3 ? 0 : at - 3;
        /* Blanks before it may depend on it. */
        while (at > 0 && (blank >> at & 1) != 0)
            at--;
        sure = at < sure ? at : sure;
    }
    *ret_sure = sure;
    return starts & ~1ull;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The words of a block from s->p on, at least one. */
INLINE void scan_one(const enum wtok_family family, const load_fn load, const test_fn test,
                     const range_fn in, const emit_fn emit, struct wtok_scan *s) {
    const u8 *p = s->p, *e = s->e;
    struct masks m;
    uint32_t offsets[65];
    uint32_t *ends = s->ends + s->n;
    uint64_t high, starts = 0;
    size_t left = (size_t)(e - p);
    uint32_t at = s->at, next = 0;
    unsigned n = left < 64 ? (unsigned)left : 64, sure = 0;
    load(p, &m, &high);
    if (in != NULL && family != WTOK_DEEPSEEK && high != 0)
        high = wide_bytes(family, in, p, high, &m);
    unsigned plain = high != 0 ? low_bit(high) : 64;
    /* The next block begins at the last of the ends, which is had from the mask: to wait for what
     * was written would be twice as long. */
    if (plain >= n || plain >= 24) {
        bool last = plain >= n && left <= 64;
        n = plain < n ? plain : n;
        if (n > 3 || last) {
            starts = word_starts(family, &m, p, NULL, n, last, &sure);
            starts &= below(sure + 1) & below(n);
            next = starts != 0 ? high_bit(starts) : 0;
            ends += emit(starts, at, ends);
            if (last && sure == n)
                *ends++ = at + (next = n);
        }
    } else {
        u8 kinds[64], bytes[64];
        n = read_chars(family, p, e, kinds, bytes, offsets);
        test(kinds, bytes, &m);
        bool last = p + offsets[n] == e;
        if (n > 3 || last) {
            starts = word_starts(family, &m, p, offsets, n, last, &sure);
            starts &= below(sure + 1) & below(n);
            next = starts != 0 ? offsets[high_bit(starts)] : 0;
            for (; starts != 0; starts &= starts - 1)
                *ends++ = at + offsets[low_bit(starts)];
            if (last && sure == n)
                *ends++ = at + (next = offsets[n]);
        }
    }
    if (next == 0) {
        const u8 *run = NULL;
        next = (uint32_t)(wtok_scan_next(family, p, e, &run) - p);
        *ends++ = at + next;
    }
    s->p = p + next;
    s->at = at + next;
    s->n = (size_t)(ends - s->ends);
}

INLINE bool goes_on(const struct wtok_scan *s) {
    return s->p < s->stop && s->n + WTOK_BLOCK_ROOM <= s->room;
}

/* In turns: a block waits for the one before it to tell where it begins, which is most of its time,
 * so meanwhile the other text has its turn. */
INLINE void scan_turns(const enum wtok_family family, const load_fn load, const test_fn test,
                       const range_fn in, const emit_fn emit, struct wtok_scan *a,
                       struct wtok_scan *b) {
    while (goes_on(a) || goes_on(b)) {
        if (goes_on(a))
            scan_one(family, load, test, in, emit, a);
        struct wtok_scan *swap = a;
        a = b;
        b = swap;
    }
}

#define CASE(family, load, test, in, emit)                                                         \
    case family:                                                                                   \
        scan_turns(family, load, test, in, emit, a, b);                                            \
        return;
#define SCAN(name, target, load, test, in, emit)                                                   \
    target static void name(enum wtok_family family, struct wtok_scan *a, struct wtok_scan *b) {   \
        switch (family) {                                                                          \
            CASE(WTOK_GPT2, load, test, in, emit)                                                  \
            CASE(WTOK_CL100K, load, test, in, emit)                                                \
            CASE(WTOK_QWEN2, load, test, in, emit)                                                 \
            CASE(WTOK_O200K, load, test, in, emit)                                                 \
            CASE(WTOK_TEKKEN, load, test, in, emit)                                                \
        default:                                                                                   \
            scan_turns(WTOK_DEEPSEEK, load, test, in, emit, a, b);                                 \
        }                                                                                          \
    }

SCAN(scan_scalar, , load_scalar, test_scalar, NULL, emit_scalar)
#if defined(__x86_64__)
SCAN(scan_avx2, AVX2, load_avx2, test_avx2, range_avx2, emit_avx2)
SCAN(scan_avx512, AVX512, load_avx512, test_avx512, range_avx512, emit_avx512)
SCAN(scan_vbmi2, VBMI2, load_avx512, test_avx512, range_avx512, emit_vbmi2)
#endif
#if defined(__aarch64__)
SCAN(scan_neon, , load_neon, test_neon, range_neon, emit_scalar)
#endif

void wtok_scan_two(enum wtok_isa isa, enum wtok_family family, struct wtok_scan *a,
                   struct wtok_scan *b) {
#if defined(__x86_64__)
    if (isa == WTOK_ISA_VBMI2) {
        scan_vbmi2(family, a, b);
        return;
    }
    if (isa == WTOK_ISA_AVX512) {
        scan_avx512(family, a, b);
        return;
    }
    if (isa == WTOK_ISA_AVX2) {
        scan_avx2(family, a, b);
        return;
    }
#endif
#if defined(__aarch64__)
    if (isa == WTOK_ISA_NEON) {
        scan_neon(family, a, b);
        return;
    }
#endif
    (void)isa;
    scan_scalar(family, a, b);
}

size_t wtok_scan_block(enum wtok_isa isa, enum wtok_family family, const u8 *p, const u8 *stop,
                       const u8 *e, uint32_t ends[WTOK_BLOCK_WORDS]) {
    struct wtok_scan a = {.p = p, .stop = stop, .e = e, .ends = ends, .room = WTOK_BLOCK_WORDS};
    struct wtok_scan none = {.room = 0};
    wtok_scan_two(isa, family, &a, &none);
    return a.n;
}
