/*
 * The splitting patterns of the known families, scanned by hand, one word at a time. This is the
 * reference of the block scanners (blocks.c); both must agree with the regular expressions, which
 * the tests ask the official package for.
 *
 * Notation: L letters, N numbers, M marks, \s blanks, O = [^\s\p{L}\p{N}]; in case-sensitive
 * families U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and V = [\p{Ll}\p{Lm}\p{Lo}\p{M}].
 */
#include "tokenizer/model_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;
enum {
    NOT_O = WTOK_WS | WTOK_L | WTOK_N,
    BOTH = WTOK_LM | WTOK_LO | WTOK_M,
    UPPER = WTOK_LU | WTOK_LT | BOTH,
    LOWER = WTOK_LL | BOTH,
    PUNCT = WTOK_P | WTOK_S,
};

static inline unsigned class_at(const u8 *p, unsigned *ret_n) {
    return wtok_class_of(wtok_char(p, ret_n));
}

/* End of the run of characters that have a class of `mask`. */
static const u8 *run_of(const u8 *p, const u8 *e, unsigned mask) {
    unsigned n;
    while (p < e && (class_at(p, &n) & mask) != 0)
        p += n;
    return p;
}

static const u8 *run_without(const u8 *p, const u8 *e, unsigned mask) {
    unsigned n;
    while (p < e && (class_at(p, &n) & mask) == 0)
        p += n;
    return p;
}

static const u8 *numbers(const u8 *p, const u8 *e, unsigned most) {
    unsigned n;
    for (unsigned i = 0; i < most && p < e && (class_at(p, &n) & WTOK_N) != 0; i++)
        p += n;
    return p;
}

static bool is_newline(u8 c) {
    return c == '\n' || c == '\r';
}

/* Bytes of 's 't 're 've 'm 'll 'd at p, or 0. Without regard to case U+017F counts as s. */
static unsigned contraction(const u8 *p, const u8 *e, bool any_case) {
    if (e - p < 2 || *p != '\'')
        return 0;
    u8 c = any_case ? p[1] | 0x20 : p[1];
    if (p[1] < 0x80 && (c == 's' || c == 't' || c == 'm' || c == 'd'))
        return 2;
    if (e - p < 3)
        return 0;
    if (any_case && p[1] == 0xC5 && p[2] == 0xBF)
        return 3;
    u8 d = any_case ? p[2] | 0x20 : p[2];
    bool two = (c == 'r' && d == 'e') || (c == 'v' && d == 'e') || (c == 'l' && d == 'l');
    return p[1] < 0x80 && p[2] < 0x80 && two ? 3 : 0;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at a blank; without `lines` the last two only. */
static const u8 *blanks(const u8 *p, const u8 *e, bool lines) {
    const u8 *q = p, *last = p, *line = NULL;
    unsigned n;
    while (q < e && (class_at(q, &n) & WTOK_WS) != 0) {
        last = q;
        q += n;
        if (is_newline(*last))
            line = q;
    }
    if (lines && line != NULL)
        return line;
    return q == e || last == p ? q : last;
}

/* [\r\n]*, with `slash` [\r\n/]*. */
static const u8 *line_ends(const u8 *p, const u8 *e, bool slash) {
    while (p < e && (is_newline(*p) || (slash && *p == '/')))
        p++;
    return p;
}

/* " ?O+[\r\n]*|" and blanks, the tail that most families share. */
static const u8 *others_or_blanks(const u8 *p, const u8 *e, bool slash) {
    unsigned n, m;
    unsigned k = class_at(p, &n);
    const u8 *q = *p == ' ' ? p + 1 : p;
    if (q < e && (class_at(q, &m) & NOT_O) == 0)
        return line_ends(run_without(q, e, NOT_O), e, slash);
    return (k & WTOK_WS) != 0 ? blanks(p, e, true) : p + n;
}

static const u8 *next_cl100k(const u8 *p, const u8 *e, unsigned digits) {
    unsigned n, m;
    unsigned k = class_at(p, &n);
    if ((k & WTOK_L) != 0)
        return run_of(p, e, WTOK_L);
    if ((k & WTOK_N) != 0)
        return numbers(p, e, digits);
    unsigned c = contraction(p, e, true);
    if (c != 0)
        return p + c;
    if (!is_newline(*p) && p + n < e && (class_at(p + n, &m) & WTOK_L) != 0)
        return run_of(p + n, e, WTOK_L);
    return others_or_blanks(p, e, false);
}

static const u8 *next_gpt2(const u8 *p, const u8 *e) {
    unsigned n;
    unsigned c = contraction(p, e, false);
    if (c != 0)
        return p + c;
    const u8 *q = *p == ' ' && p + 1 < e ? p + 1 : p;
    unsigned k = class_at(q, &n);
    if ((k & WTOK_L) != 0)
        return run_of(q, e, WTOK_L);
    if ((k & WTOK_N) != 0)
        return run_of(q, e, WTOK_N);
    if ((k & WTOK_WS) == 0)
        return run_without(q, e, NOT_O);
    return blanks(p, e, false);
}

/* U*V+ at s, or NULL. U* gives back until V+ finds its first character. */
static const u8 *lower_word(const u8 *s, const u8 *e) {
    const u8 *q = s, *both = NULL;
    unsigned n, k = 0;
    while (q < e && ((k = class_at(q, &n)) & UPPER) != 0) {
        q += n;
        if ((k & BOTH) != 0)
            both = q;
    }
    return q < e && (k & WTOK_LL) != 0 ? run_of(q, e, LOWER) : both;
}

/* U+V* at s, or NULL. */
static const u8 *upper_word(const u8 *s, const u8 *e) {
    const u8 *q = run_of(s, e, UPPER);
    return q > s ? run_of(q, e, LOWER) : NULL;
}

static const u8 *next_o200k(const u8 *p, const u8 *e, unsigned digits, bool contractions) {
    unsigned n;
    unsigned k = class_at(p, &n);
    if ((k & WTOK_N) != 0)
        return numbers(p, e, digits);
    const u8 *after =
        (k & WTOK_L) == 0 && !is_newline(*p) ? p + n : NULL; /* a prefix is possible */
    const u8 *q = after != NULL ? lower_word(after, e) : NULL;
    if (q == NULL)
        q = lower_word(p, e);
    if (q == NULL && after != NULL)
        q = upper_word(after, e);
    if (q == NULL)
        q = upper_word(p, e);
    if (q == NULL)
        return others_or_blanks(p, e, true);
    return contractions ? q + contraction(q, e, true) : q;
}

static bool is_cjk(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

static bool ascii_letter(u8 c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* The third pattern of DeepSeek at p, or NULL when it does not match there. */
static const u8 *deepseek_match(const u8 *p, const u8 *e) {
    unsigned n, m;
    unsigned k = class_at(p, &n);
    if (n == 1 && (k & PUNCT) != 0 && p + 1 < e && ascii_letter(p[1])) {
        for (p += 2; p < e && ascii_letter(*p);)
            p++;
        return p;
    }
    if ((k & (WTOK_L | WTOK_M)) != 0)
        return run_of(p, e, WTOK_L | WTOK_M);
    if (!is_newline(*p) && (k & PUNCT) == 0 && p + n < e &&
        (class_at(p + n, &m) & (WTOK_L | WTOK_M)) != 0)
        return run_of(p + n, e, WTOK_L | WTOK_M);
    const u8 *q = *p == ' ' ? p + 1 : p;
    const u8 *end = run_of(q, e, PUNCT);
    if (end > q)
        return line_ends(end, e, false);
    return (k & WTOK_WS) != 0 ? blanks(p, e, true) : NULL;
}

/* End of the run that the first two patterns isolate at p, or of what lies between such runs. */
static const u8 *deepseek_run(const u8 *p, const u8 *e) {
    unsigned n;
    bool cjk = is_cjk(wtok_char(p, &n));
    while (p < e) {
        uint32_t c = wtok_char(p, &n);
        if (is_cjk(c) != cjk || (wtok_class_of(c) & WTOK_N) != 0)
            break;
        p += n;
    }
    return p;
}

static const u8 *next_deepseek(const u8 *p, const u8 *e, const u8 **run) {
    unsigned n;
    if (*run == NULL || p >= *run) {
        if ((class_at(p, &n) & WTOK_N) != 0)
            return numbers(p, e, 3);
        *run = deepseek_run(p, e);
    }
    const u8 *q = deepseek_match(p, *run);
    if (q != NULL)
        return q;
    /* What nothing matches stays together up to the next match. */
    do {
        (void)wtok_char(p, &n);
        p += n;
    } while (p < *run && deepseek_match(p, *run) == NULL);
    return p;
}

const u8 *wtok_scan_next(enum wtok_family family, const u8 *p, const u8 *e, const u8 **run) {
    switch (family) {
    case WTOK_GPT2:
        return next_gpt2(p, e);
    case WTOK_CL100K:
        return next_cl100k(p, e, 3);
    case WTOK_QWEN2:
        return next_cl100k(p, e, 1);
    case WTOK_O200K:
        return next_o200k(p, e, 3, true);
    case WTOK_TEKKEN:
        return next_o200k(p, e, 1, false);
    case WTOK_DEEPSEEK:
        return next_deepseek(p, e, run);
    default:
        return e;
    }
}

/* ---- recognising patterns -------------------------------------------------------------------- */

#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CASED(contractions)                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" contractions                                                                               \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"    \
    "*" contractions

static const struct {
    const char *pattern;
    enum wtok_family family;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     WTOK_GPT2},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL,
     WTOK_CL100K},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
     "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     WTOK_CL100K},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL,
     WTOK_QWEN2},
    {CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL,
     WTOK_O200K},
    {CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL, WTOK_TEKKEN},
};

bool wtok_scan_known(struct weir_span pattern, enum wtok_family *ret_family) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(known); i++)
        if (weir_span_eqz(pattern, known[i].pattern)) {
            *ret_family = known[i].family;
            return true;
        }
    return false;
}
