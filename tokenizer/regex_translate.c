/*
 * Splitting patterns, written for Oniguruma, in PCRE2's terms. What is written alike and means
 * something else is spelled out (\s, \w, scripts) or refused (\b, {2}+, inline flags). Sets in
 * brackets may hold other sets there and be intersections: [A&&[^B]]. PCRE2 has neither, so such a
 * set becomes
 *
 *   a plain set by De Morgan, where the complement of each side can be written: of a negated set
 *   that is what it holds, of general categories all others (they are a partition);
 *   else a group of alternatives and of looks ahead, each for one character.
 *
 * The plain form matters: PCRE2 runs over a set in a loop, but remembers each round of a group.
 */
#include "tokenizer/regex_priv.h"

#include <string.h>

/* White_Space. PCRE2's own \s also holds U+180E. */
#define BLANKS                                                                                     \
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
    "\\x{3000}"

/* Read off the reference, code point by code point: Alphabetic and the superscripts and fractions
 * of Latin-1 besides what Unicode recommends. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

enum { MAX_SIDES = 8, MAX_DEPTH = 8, TEXT_MAX = 1 << 16 };

struct reader {
    const char *p, *end;
    struct weir_err *err;
};

static enum weir_status refuse(struct reader *r, const char *what) {
    return weir_err_set(r->err, WEIR_UNSUPPORTED,
                        "pre_tokenizer.pattern.Regex: %s is not understood", what);
}

/* ---- general categories ------------------------------------------------------------------- */

static const char gcs[][3] = {"Cc", "Cf", "Cn", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu",
                              "Mc", "Me", "Mn", "Nd", "Nl", "No", "Pc", "Pd", "Pe", "Pf",
                              "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"};

/* The categories of "L" or "Lu", as bits; 0: no such name. */
static uint32_t gc_bits(struct weir_span name) {
    uint32_t bits = 0;
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(gcs); i++)
        if ((name.len == 1 || name.len == 2) && memcmp(gcs[i], name.data, name.len) == 0)
            bits |= 1u << i;
    return bits;
}

static enum weir_status put_gcs(uint32_t bits, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(gcs) && st == WEIR_OK; i++)
        if ((bits >> i & 1) != 0)
            st = weir_buf_printf(out, "\\p{%s}", gcs[i]);
    return st;
}

/* ---- sets --------------------------------------------------------------------------------- */

/* One side of an intersection: a union. */
struct side {
    struct weir_buf plain;  /* what may stand between PCRE2's brackets */
    struct weir_buf nested; /* alternatives: "|" and a set, for each set inside */
    struct weir_buf inside; /* the only set inside is [^…]: what it holds */
    unsigned n_nested;
    bool inside_negated; /* `inside` counts */
    bool only_gcs;       /* plain is nothing but \p{category}: `gcs` */
    uint32_t gcs;
};

static void side_init(struct side *s) {
    *s = (struct side){.only_gcs = true};
    weir_buf_init(&s->plain, TEXT_MAX);
    weir_buf_init(&s->nested, TEXT_MAX);
    weir_buf_init(&s->inside, TEXT_MAX);
}

static void side_fini(struct side *s) {
    weir_buf_fini(&s->plain);
    weir_buf_fini(&s->nested);
    weir_buf_fini(&s->inside);
}

/* A union for one character. */
static enum weir_status put_side(const struct side *s, struct weir_buf *out) {
    if (s->n_nested == 0)
        return weir_buf_printf(out, "[%.*s]", WEIR_SPAN_ARG(weir_buf_span(&s->plain)));
    if (s->plain.len == 0)
        return weir_buf_printf(out, "(?:%.*s)", (int)s->nested.len - 1, s->nested.data + 1);
    return weir_buf_printf(out, "(?:[%.*s]%.*s)", WEIR_SPAN_ARG(weir_buf_span(&s->plain)),
                           WEIR_SPAN_ARG(weir_buf_span(&s->nested)));
}

/* What all characters outside of the side can be written as, between brackets; false: they cannot.
 */
static bool put_complement(const struct side *s, struct weir_buf *out, enum weir_status *st) {
    if (s->n_nested == 1 && s->inside_negated && s->plain.len == 0)
        *st = weir_buf_append_span(out, weir_buf_span(&s->inside));
    else if (s->n_nested == 0 && s->only_gcs)
        *st = put_gcs(~s->gcs & ((1u << WEIR_ARRAY_LEN(gcs)) - 1), out);
    else
        return false;
    return true;
}

static enum weir_status put_looks(const struct side *sides, size_t n, struct weir_buf *out) {
    if (n == 1)
        return put_side(sides, out);
    enum weir_status st = weir_buf_append_z(out, "(?:");
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        bool last = i + 1 == n;
        if (!last)
            st = weir_buf_append_z(out, "(?=");
        if (st == WEIR_OK)
            st = put_side(&sides[i], out);
        if (st == WEIR_OK && !last)
            st = weir_buf_append_c(out, ')');
    }
    return st == WEIR_OK ? weir_buf_append_c(out, ')') : st;
}

/* *ret_inside: what the set holds, between brackets, when it is written [^…] with that. */
static enum weir_status put_set(const struct side *sides, size_t n, bool negated,
                                struct weir_buf *out, struct weir_buf *ret_inside, bool *ret_is) {
    struct weir_buf outside;
    enum weir_status st = WEIR_OK;
    *ret_is = false;
    if (n == 1 && sides[0].n_nested == 0) {
        *ret_is = negated;
        if (negated)
            st = weir_buf_append_span(ret_inside, weir_buf_span(&sides[0].plain));
        return st == WEIR_OK ? weir_buf_printf(out, negated ? "[^%.*s]" : "[%.*s]",
                                               WEIR_SPAN_ARG(weir_buf_span(&sides[0].plain)))
                             : st;
    }
    weir_buf_init(&outside, TEXT_MAX);
    bool plain = n > 1;
    for (size_t i = 0; i < n && plain && st == WEIR_OK; i++)
        plain = put_complement(&sides[i], &outside, &st);
    if (st == WEIR_OK && plain) {
        *ret_is = !negated;
        if (!negated)
            st = weir_buf_append_span(ret_inside, weir_buf_span(&outside));
        if (st == WEIR_OK)
            st = weir_buf_printf(out, negated ? "[%.*s]" : "[^%.*s]",
                                 WEIR_SPAN_ARG(weir_buf_span(&outside)));
    } else if (st == WEIR_OK) {
        if (negated)
            st = weir_buf_append_z(out, "(?:(?!");
        if (st == WEIR_OK)
            st = put_looks(sides, n, out);
        if (st == WEIR_OK && negated)
            st = weir_buf_append_z(out, ")(?s:.))");
    }
    weir_buf_fini(&outside);
    return st;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* \p{…} or \P{…}, or another escape, behind the backslash; the reader goes past it. */
static enum weir_status property(struct reader *r, struct weir_buf *out, struct side *s) {
    bool positive = *r->p == 'p';
    bool braces = r->p + 1 < r->end && r->p[1] == '{';
    const char *close = braces ? memchr(r->p, '}', (size_t)(r->end - r->p)) : r->p + 1;
    if (close == NULL || close == r->end)
        return refuse(r, "\\p without a name");
    struct weir_span name =
        braces ? weir_span(r->p + 2, (size_t)(close - r->p) - 2) : weir_span(close, 1);
    uint32_t bits = positive ? gc_bits(name) : 0;
    if (s != NULL) {
        s->only_gcs = s->only_gcs && bits != 0;
        s->gcs |= bits;
    }
    if (name.len > 0 && name.data[0] == '^') {
        positive = !positive;
        name = weir_span(name.data + 1, name.len - 1);
    }
    /* PCRE2 takes the name alone of a script for all characters that are used with it. */
    const char *prefix = gc_bits(name) == 0 && wtok_regex_is_script(name) ? "sc:" : "";
    enum weir_status st =
        weir_buf_printf(out, "\\%c{%s%.*s}", positive ? 'p' : 'P', prefix, WEIR_SPAN_ARG(name));
    r->p = close + 1;
    return st;
}

/* `s`: of the brackets that it stands in, or NULL. */
static enum weir_status escape(struct reader *r, struct side *s, struct weir_buf *out) {
    char c = r->p < r->end ? *r->p : '\0', same[3] = {'\\', c, '\0'};
    if (c == 'p' || c == 'P')
        return property(r, out, s);
    if (c == '\0' || strchr("hHRXKGCQEogkybB", c) != NULL)
        return refuse(r, same);
    r->p++;
    if (s != NULL)
        s->only_gcs = false;
    if (c == 's' || c == 'w')
        return weir_buf_printf(out, s != NULL ? "%s" : "[%s]", c == 's' ? BLANKS : WORD);
    if (c == 'S' || c == 'W') {
        if (s != NULL)
            s->n_nested++;
        return weir_buf_printf(s != NULL ? &s->nested : out, s != NULL ? "|[^%s]" : "[^%s]",
                               c == 'S' ? BLANKS : WORD);
    }
    return weir_buf_append_z(out, same);
}

static enum weir_status set(struct reader *r, unsigned depth, struct weir_buf *out,
                            struct weir_buf *ret_inside, bool *ret_negated);

static enum weir_status nested(struct reader *r, unsigned depth, struct side *s) {
    if (s->plain.len > 0 && s->plain.data[s->plain.len - 1] == '-')
        return refuse(r, "a set behind - in brackets");
    s->n_nested++;
    weir_buf_clear(&s->inside);
    enum weir_status st = weir_buf_append_c(&s->nested, '|');
    return st == WEIR_OK ? set(r, depth, &s->nested, &s->inside, &s->inside_negated) : st;
}

/* One side, up to && or the closing bracket. */
static enum weir_status read_side(struct reader *r, unsigned depth, struct side *s) {
    enum weir_status st = WEIR_OK;
    while (st == WEIR_OK && r->p < r->end && *r->p != ']') {
        bool and_now = *r->p == '&' && r->p + 1 < r->end && r->p[1] == '&';
        if (and_now)
            break;
        if (*r->p == '[') {
            r->p++;
            st = nested(r, depth, s);
        } else if (*r->p == '\\') {
            r->p++;
            st = escape(r, s, &s->plain);
        } else {
            s->only_gcs = false;
            st = weir_buf_append_c(&s->plain, *r->p++);
        }
    }
    if (st == WEIR_OK && r->p == r->end)
        return refuse(r, "a bracket that is not closed");
    if (st == WEIR_OK && s->plain.len == 0 && s->n_nested == 0)
        return refuse(r, "an empty set, or a ] that begins one,");
    return st;
}

/* A set behind its opening bracket. */
static enum weir_status set(struct reader *r, unsigned depth, struct weir_buf *out,
                            struct weir_buf *ret_inside, bool *ret_negated) {
    struct side sides[MAX_SIDES];
    size_t n = 0;
    if (depth == MAX_DEPTH)
        return refuse(r, "brackets this deep");
    if (r->p < r->end && *r->p == ':')
        return refuse(r, "[: in brackets");
    bool negated = r->p < r->end && *r->p == '^';
    enum weir_status st = WEIR_OK;
    r->p += negated;
    for (bool more = true; more && st == WEIR_OK;) {
        if (n == MAX_SIDES) {
            st = refuse(r, "that many && in brackets");
            break;
        }
        side_init(&sides[n]);
        st = read_side(r, depth + 1, &sides[n++]);
        more = st == WEIR_OK && *r->p == '&';
        r->p += more ? 2 : st == WEIR_OK ? 1 : 0;
    }
    if (st == WEIR_OK)
        st = put_set(sides, n, negated, out, ret_inside, ret_negated);
    for (size_t i = 0; i < n; i++)
        side_fini(&sides[i]);
    return st;
}

/* Behind an opening parenthesis: flags of which only i means the same. */
static enum weir_status check_flags(struct reader *r) {
    const char *p = r->p;
    if (p + 1 >= r->end || *p != '?' || strchr("-imsxadu", p[1]) == NULL)
        return WEIR_OK;
    for (p++; p < r->end && *p != ':' && *p != ')'; p++)
        if (*p != 'i' && *p != '-')
            return refuse(r, "an inline flag other than i");
    return WEIR_OK;
}

/* Behind an opening brace: {,n} counts there and is text for PCRE2, and {n}+ repeats there what
 * PCRE2 takes as a whole. */
static enum weir_status check_count(struct reader *r) {
    const char *p = r->p;
    if (p < r->end && *p == ',')
        return refuse(r, "{,");
    while (p < r->end && ((*p >= '0' && *p <= '9') || *p == ','))
        p++;
    return p + 1 < r->end && *p == '}' && p[1] == '+' ? refuse(r, "}+") : WEIR_OK;
}

enum weir_status wtok_regex_translate(struct weir_span pattern, struct weir_buf *out,
                                      struct weir_err *err) {
    struct reader r = {pattern.data, pattern.data + pattern.len, err};
    struct weir_buf inside;
    bool negated;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&inside, TEXT_MAX);
    while (r.p < r.end && st == WEIR_OK) {
        char c = *r.p++;
        weir_buf_clear(&inside);
        if (c == '(')
            st = check_flags(&r);
        else if (c == '{')
            st = check_count(&r);
        if (st == WEIR_OK)
            st = c == '\\'  ? escape(&r, NULL, out)
                 : c == '[' ? set(&r, 0, out, &inside, &negated)
                            : weir_buf_append_c(out, c);
    }
    weir_buf_fini(&inside);
    if (st == WEIR_NOMEM || st == WEIR_LIMIT || st == WEIR_TOO_LARGE)
        return weir_err_set(err, st, "pre_tokenizer.pattern.Regex: %s", weir_status_text(st));
    return st;
}
