/*
 * JSON to values as Python's json.loads reads it: order kept, last of equal keys wins, integers of
 * any size. An object remembers its text where json.dumps would write the same again but for the
 * blanks behind commas and colons, so that `tojson` need not walk over it.
 */
#include "base/number.h"
#include "base/utf8.h"
#include "tokenizer/jinja_json_priv.h"

#include <math.h>

/* ---- reading ------------------------------------------------------------------------------ */

struct reader {
    struct wj_run *x;
    const char *begin, *end;
    struct wj_vec stack; /* values that are not yet in their container */
    unsigned odd;        /* places so far that json.dumps would write otherwise … */
    unsigned tight;      /* … and those that only lack the blank behind a comma or colon */
};

static _Noreturn void bad(const struct reader *r, const char *p, const char *what) {
    wj_fail(r->x, WTOK_JINJA_ERR_VALUE, "JSON: %s at byte %zu", what, (size_t)(p - r->begin));
}

static inline const char *blanks(const char *p, const char *end) {
    while (p < end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

static inline const char *keep(struct reader *r, struct wj_val v, const char *p) {
    wj_push(r->x, &r->stack, v);
    return p;
}

/* What a letter behind a backslash means. */
static const char unescaped_as[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                       ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};

static const char *hex4(const struct reader *r, const char *p, unsigned *ret) {
    unsigned v = 0;
    if (r->end - p < 4)
        bad(r, p, "truncated \\u escape");
    for (int i = 0; i < 4; i++) {
        char c = *p++;
        unsigned d = c >= '0' && c <= '9'                     ? (unsigned)(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a') + 10
                                                              : 99;
        if (d > 15)
            bad(r, p, "invalid \\u escape");
        v = v * 16 + d;
    }
    *ret = v;
    return p;
}

/* Behind the backslash. */
static const char *escape_sequence(struct reader *r, const char *p) {
    unsigned code, low;
    if (p == r->end)
        bad(r, p, "unterminated string");
    char c = *p++, plain = unescaped_as[(unsigned char)c];
    if (plain != '\0') {
        r->odd += c == '/';
        wj_put(r->x, &plain, 1);
        return p;
    }
    if (c != 'u')
        bad(r, p, "invalid escape");
    r->odd++;
    p = hex4(r, p, &code);
    if (code >= 0xD800 && code < 0xDC00 && r->end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        p = hex4(r, p + 2, &low);
        if (low < 0xDC00 || low > 0xDFFF)
            bad(r, p, "a lone surrogate");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
        bad(r, p, "a lone surrogate");
    }
    wj_put_code(r->x, code);
    return p;
}

/* A string in which something else than plain text stands, at `stop` the first. */
static __attribute__((noinline)) const char *read_escaped(struct reader *r, const char *p,
                                                          const char *stop) {
    size_t mark = r->x->out->len;
    for (;;) {
        wj_put(r->x, p, (size_t)(stop - p));
        p = stop;
        if (p == r->end)
            bad(r, p, "unterminated string");
        if (*p == '"')
            break;
        if (*p != '\\')
            bad(r, p, "a control character in a string");
        p = escape_sequence(r, p + 1);
        stop = wj_plain_end(p, r->end);
    }
    return keep(r, wj_cut(r->x, mark), p + 1);
}

/* Behind the opening quote. */
static inline const char *read_string(struct reader *r, const char *start) {
    const char *stop = wj_plain_end(start, r->end);
    if (__builtin_expect(stop == r->end || *stop != '"', 0))
        return read_escaped(r, start, stop);
    struct wj_val v = {
        .kind = WJ_STR, .flags = WJ_PLAIN, .len = (uint32_t)(stop - start), .u.s = start};
    return keep(r, v, stop + 1);
}

static const char *digit_run(const char *p, const char *end) {
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static const char *read_number(struct reader *r, const char *start) {
    const char *p = start, *end = r->end;
    p += *p == '-';
    const char *first = p;
    p = digit_run(p, end);
    if (p == first || (*first == '0' && p - first > 1))
        bad(r, start, "invalid number");
    size_t n = (size_t)(p - first);
    bool real = false;
    if (p < end && *p == '.') {
        const char *q = digit_run(++p, end);
        if (q == p)
            bad(r, start, "invalid number");
        p = q;
        real = true;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        const char *q = digit_run(p, end);
        if (q == p)
            bad(r, start, "invalid number");
        p = q;
        real = true;
    }
    struct weir_span text = weir_span(start, (size_t)(p - start));
    int64_t i = 0;
    double f;
    r->odd += real || (*start == '-' && *first == '0');
    if (!real && n <= 18) {
        for (const char *q = first; q < p; q++)
            i = i * 10 + (*q - '0');
        struct wj_val v = wj_int(*start == '-' ? -i : i);
        v.flags = *start == '-' && i == 0 ? WJ_MINUS : 0;
        return keep(r, v, p);
    }
    if (!real) {
        struct wj_val big = {.kind = WJ_BIG, .len = (uint32_t)text.len, .u.s = text.data};
        return keep(r, weir_span_i64(text, &i) ? wj_int(i) : big, p);
    }
    if (!weir_span_f64(text, &f)) /* of good form, so too large: Python's are without end then */
        f = *start == '-' ? -INFINITY : INFINITY;
    return keep(r, wj_float(f), p);
}

static const char *read_other(struct reader *r, const char *p);

/* Any value; no blank stands before it. */
static inline const char *read_value(struct reader *r, const char *p) {
    if (p == r->end)
        bad(r, p, "a value is missing");
    wj_charge(r->x, 1);
    return *p == '"' ? read_string(r, p + 1) : read_other(r, p);
}

/* Blanks where json.dumps writes none. */
static inline const char *no_blanks(struct reader *r, const char *p) {
    if (__builtin_expect(p == r->end || (unsigned char)*p > ' ', 1))
        return p;
    r->odd++;
    return blanks(p, r->end);
}

/* Behind a comma or colon, where json.dumps writes one. */
static inline const char *one_blank(struct reader *r, const char *p) {
    const char *q = p + 1;
    if (__builtin_expect(r->end - p >= 2 && *p == ' ' && (unsigned char)*q > ' ', 1))
        return q;
    if (p < r->end && (unsigned char)*p > ' ') {
        r->tight++;
        return p;
    }
    r->odd++;
    return blanks(p, r->end);
}

static const char *read_array(struct reader *r, const char *p) {
    uint32_t base = r->stack.n;
    p = no_blanks(r, p + 1);
    if (p < r->end && *p == ']')
        return keep(r, wj_list(NULL, 0), p + 1);
    for (;;) {
        p = no_blanks(r, read_value(r, p));
        if (p == r->end)
            bad(r, p, "unterminated list");
        if (*p == ']')
            break;
        if (*p != ',')
            bad(r, p, "expected , or ]");
        p = one_blank(r, p + 1);
    }
    uint32_t n = r->stack.n - base;
    struct wj_val *items = wj_alloc(r->x, n * sizeof(*items));
    memcpy(items, r->stack.at + base, n * sizeof(*items));
    r->stack.n = base;
    return keep(r, wj_list(items, n), p + 1);
}

/* A key stands twice among n pairs. */
static bool twice(const struct wj_val *at, uint32_t n) {
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (at[2 * i].len == at[2 * k].len &&
                (at[2 * i].len == 0 || (at[2 * i].u.s[0] == at[2 * k].u.s[0] &&
                                        memcmp(at[2 * i].u.s, at[2 * k].u.s, at[2 * i].len) == 0)))
                return true;
    return false;
}

static struct wj_val make_dict(struct reader *r, uint32_t base) {
    uint32_t n = (r->stack.n - base) / 2;
    struct wj_val v = wj_dict_new(r->x, n);
    if (n == 0)
        return v;
    const struct wj_val *at = r->stack.at + base;
    struct wj_dict *d = v.u.dict;
    r->stack.n = base;
    if (n < 9 && !twice(at, n)) { /* pairs lie in the dict as they were read */
        memcpy(d->pairs, at, n * sizeof(*d->pairs));
        d->n = n;
        return v;
    }
    for (uint32_t i = 0; i < n; i++)
        wj_dict_set(r->x, d, at[2 * i], at[2 * i + 1]);
    return v;
}

static const char *read_object(struct reader *r, const char *p) {
    uint32_t base = r->stack.n;
    const char *begin = p;
    unsigned odd = r->odd, tight = r->tight;
    p = no_blanks(r, p + 1);
    while (p < r->end && *p == '"') {
        p = no_blanks(r, read_string(r, p + 1));
        if (p == r->end || *p != ':')
            bad(r, p, "expected :");
        p = no_blanks(r, read_value(r, one_blank(r, p + 1)));
        if (p == r->end)
            bad(r, p, "unterminated object");
        if (*p == '}')
            break;
        if (*p != ',')
            bad(r, p, "expected , or }");
        p = one_blank(r, p + 1);
        if (p < r->end && *p == '}')
            bad(r, p, "trailing comma");
    }
    if (p == r->end || *p != '}')
        bad(r, p, "expected a key");
    uint32_t pairs = (r->stack.n - base) / 2;
    struct wj_val v = make_dict(r, base);
    r->odd += v.u.dict->n != pairs;
    if (r->odd == odd) {
        v.u.dict->json = begin;
        v.u.dict->json_tight = r->tight != tight;
        v.u.dict->json_len = (uint32_t)(p + 1 - begin);
    }
    return keep(r, v, p + 1);
}

static inline const char *literal(struct reader *r, const char *p, struct weir_span word,
                                  struct wj_val v) {
    if ((size_t)(r->end - p) < word.len || memcmp(p, word.data, word.len) != 0)
        bad(r, p, "expected a value");
    return keep(r, v, p + word.len);
}

/* Any value but a string. */
static __attribute__((noinline)) const char *read_other(struct reader *r, const char *p) {
    switch (*p) {
    case '{':
    case '[':
        wj_enter(r->x);
        p = *p == '{' ? read_object(r, p) : read_array(r, p);
        wj_leave(r->x);
        return p;
    case 't':
        return literal(r, p, WEIR_SPAN_LIT("true"), wj_bool(true));
    case 'f':
        return literal(r, p, WEIR_SPAN_LIT("false"), wj_bool(false));
    case 'n':
        return literal(r, p, WEIR_SPAN_LIT("null"), wj_none());
    case 'N': /* Python's json knows these */
        return literal(r, p, WEIR_SPAN_LIT("NaN"), wj_float(NAN));
    case 'I':
        return literal(r, p, WEIR_SPAN_LIT("Infinity"), wj_float(INFINITY));
    case '-':
        if (weir_span_starts(weir_span(p, (size_t)(r->end - p)), WEIR_SPAN_LIT("-Infinity")))
            return keep(r, wj_float(-INFINITY), p + strlen("-Infinity"));
        return read_number(r, p);
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return read_number(r, p);
    default:
        bad(r, p, "expected a value");
    }
}

struct wj_val wj_from_json(struct wj_run *x, struct weir_span json) {
    struct reader r = {.x = x, .begin = json.data, .end = json.data + json.len};
    if (json.len > UINT32_MAX / 2)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the data is too large");
    if (!weir_utf8_valid(json))
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "JSON: invalid UTF-8");
    const char *p = blanks(read_value(&r, blanks(json.data, r.end)), r.end);
    if (p != r.end)
        bad(&r, p, "trailing characters");
    return r.stack.at[0];
}

bool wj_try_json(struct wj_run *x, struct weir_span json, struct wj_val *ret) {
    jmp_buf outer;
    size_t mark = x->out->len;
    unsigned depth = x->depth;
    memcpy(&outer, &x->leave, sizeof(outer));
    volatile bool ok = false;
    if (setjmp(x->leave) == 0) {
        *ret = wj_from_json(x, json);
        ok = true;
    }
    memcpy(&x->leave, &outer, sizeof(outer));
    if (ok)
        return true;
    if (x->failure.error != WTOK_JINJA_ERR_VALUE)
        longjmp(x->leave, 1);
    x->out->len = mark;
    x->depth = depth;
    x->failure = (struct wtok_jinja_failure){.error = WTOK_JINJA_ERR_NONE};
    return false;
}
