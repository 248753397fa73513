/*
 * JSON to values as Python's json.loads reads it (order kept, last of equal keys wins, integers of
 * any size), and values to JSON as Hugging Face's `tojson` writes it: json.dumps with
 * ensure_ascii=False unless told otherwise, no HTML escapes.
 */
#include "base/number.h"
#include "base/utf8.h"
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdio.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- reading ------------------------------------------------------------------------------ */

struct reader {
    struct wj_run *x;
    const char *begin, *end;
    struct wj_vec stack; /* values that are not yet in their container */
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

static const bool special[256] = {1, 1, 1, 1, 1, 1, 1, 1, 1,         1,         1, 1,
                                  1, 1, 1, 1, 1, 1, 1, 1, 1,         1,         1, 1,
                                  1, 1, 1, 1, 1, 1, 1, 1, ['"'] = 1, ['\\'] = 1};
/* What stands behind a backslash, both ways. */
static const char escaped_as[256] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                     ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
static const char unescaped_as[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                       ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};

/* First byte that is a quote, a backslash or a control. */
static inline const char *plain_end(const char *p, const char *end) {
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'), low = _mm_set1_epi8(31);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, back));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
        int mask = _mm_movemask_epi8(hit);
        if (mask != 0)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    while (p < end && !special[(unsigned char)*p])
        p++;
    return p;
}

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
static const char *escape_sequence(const struct reader *r, const char *p) {
    unsigned code, low;
    if (p == r->end)
        bad(r, p, "unterminated string");
    char c = *p++, plain = unescaped_as[(unsigned char)c];
    if (plain != '\0') {
        wj_put(r->x, &plain, 1);
        return p;
    }
    if (c != 'u')
        bad(r, p, "invalid escape");
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
        stop = plain_end(p, r->end);
    }
    return keep(r, wj_cut(r->x, mark), p + 1);
}

/* Behind the opening quote. */
static inline const char *read_string(struct reader *r, const char *start) {
    const char *stop = plain_end(start, r->end);
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
    if (!real && n <= 18) {
        for (const char *q = first; q < p; q++)
            i = i * 10 + (*q - '0');
        return keep(r, wj_int(*start == '-' ? -i : i), p);
    }
    if (!real) {
        struct wj_val big = {.kind = WJ_BIG, .len = (uint32_t)text.len, .u.s = text.data};
        return keep(r, weir_span_i64(text, &i) ? wj_int(i) : big, p);
    }
    if (!weir_span_f64(text, &f))
        bad(r, p, "a number out of range");
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

static const char *read_array(struct reader *r, const char *p) {
    uint32_t base = r->stack.n;
    p = blanks(p + 1, r->end);
    if (p < r->end && *p == ']')
        return keep(r, wj_list(NULL, 0), p + 1);
    for (;;) {
        p = blanks(read_value(r, p), r->end);
        if (p == r->end)
            bad(r, p, "unterminated list");
        if (*p == ']')
            break;
        if (*p != ',')
            bad(r, p, "expected , or ]");
        p = blanks(p + 1, r->end);
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
    p = blanks(p + 1, r->end);
    while (p < r->end && *p == '"') {
        p = blanks(read_string(r, p + 1), r->end);
        if (p == r->end || *p != ':')
            bad(r, p, "expected :");
        p = blanks(read_value(r, blanks(p + 1, r->end)), r->end);
        if (p == r->end)
            bad(r, p, "unterminated object");
        if (*p == '}')
            break;
        if (*p != ',')
            bad(r, p, "expected , or }");
        p = blanks(p + 1, r->end);
        if (p < r->end && *p == '}')
            bad(r, p, "trailing comma");
    }
    if (p == r->end || *p != '}')
        bad(r, p, "expected a key");
    return keep(r, make_dict(r, base), p + 1);
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

/* ---- writing ------------------------------------------------------------------------------ */

struct writer {
    struct wj_run *x;
    bool ascii, sort, pretty;
    struct weir_span indent, item_sep, key_sep;
    unsigned level;
};

static void put_unicode_escape(struct wj_run *x, uint32_t c) {
    char text[16];
    if (c >= 0x10000) {
        c -= 0x10000;
        snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xD800 + (c >> 10), 0xDC00 + (c & 1023));
    } else {
        snprintf(text, sizeof(text), "\\u%04x", c);
    }
    wj_putz(x, text);
}

static void put_control(struct wj_run *x, unsigned char c) {
    char text[2] = {'\\', escaped_as[c]};
    if (text[1] == '\0')
        put_unicode_escape(x, c);
    else
        wj_put(x, text, 2);
}

static void put_ascii_string(struct wj_run *x, struct weir_span s) {
    const char *p = s.data, *end = p + s.len;
    while (p < end) {
        uint32_t c = wj_decode(&p, end);
        char plain = (char)c;
        if (c > 0x7E)
            put_unicode_escape(x, c);
        else if (c < 0x20 || c == '"' || c == '\\')
            put_control(x, (unsigned char)c);
        else
            wj_put(x, &plain, 1);
    }
}

static void put_string(struct wj_run *x, struct wj_val v, bool ascii) {
    struct weir_buf *b = x->out;
    struct weir_span s = wj_text(x, v);
    if (!ascii && s.len + 2 <= b->cap - b->len &&
        ((v.flags & WJ_PLAIN) != 0 || plain_end(s.data, s.data + s.len) == s.data + s.len)) {
        char *to = b->data + b->len;
        *to = '"';
        wj_copy(to + 1, s.data, s.len);
        to[s.len + 1] = '"';
        b->len += s.len + 2;
        return;
    }
    wj_put(x, "\"", 1);
    if (ascii) {
        put_ascii_string(x, s);
    } else {
        const char *p = s.data, *end = p + s.len;
        for (;;) {
            const char *stop = plain_end(p, end);
            wj_put(x, p, (size_t)(stop - p));
            if (stop == end)
                break;
            put_control(x, (unsigned char)*stop);
            p = stop + 1;
        }
    }
    wj_put(x, "\"", 1);
}

static void newline(const struct writer *w) {
    if (!w->pretty)
        return;
    wj_put(w->x, "\n", 1);
    for (unsigned i = 0; i < w->level; i++)
        wj_puts(w->x, w->indent);
}

static void write_value(struct writer *w, struct wj_val v);

static void write_scalar(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_FLOAT && isnan(v.u.f))
        wj_put(x, "NaN", 3);
    else if (v.kind == WJ_FLOAT && isinf(v.u.f))
        wj_putz(x, v.u.f < 0 ? "-Infinity" : "Infinity");
    else if (v.kind == WJ_NONE)
        wj_put(x, "null", 4);
    else if (v.kind == WJ_BOOL)
        wj_putz(x, v.sub ? "true" : "false");
    else
        wj_put_repr(x, v);
}

static void write_key(struct writer *w, struct wj_val key) {
    struct wj_run *x = w->x;
    switch (key.kind) {
    case WJ_STR:
        put_string(x, key, w->ascii);
        return;
    case WJ_NONE:
    case WJ_BOOL:
    case WJ_INT:
    case WJ_BIG:
    case WJ_FLOAT:
        wj_put(x, "\"", 1);
        write_scalar(x, key);
        wj_put(x, "\"", 1);
        return;
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "keys must be str, int, float, bool or None, not %s",
                wj_type_name(key));
    }
}

static void write_dict(struct writer *w, const struct wj_dict *d) {
    struct wj_run *x = w->x;
    const struct wj_pair *pairs = d->pairs;
    if (d->n == 0) {
        wj_put(x, "{}", 2);
        return;
    }
    if (w->sort) {
        struct wj_val *keys = wj_alloc(x, d->n * sizeof(*keys));
        struct wj_val *values = wj_alloc(x, d->n * sizeof(*values));
        struct wj_pair *sorted = wj_alloc(x, d->n * sizeof(*sorted));
        for (uint32_t i = 0; i < d->n; i++) {
            keys[i] = pairs[i].key;
            values[i] = pairs[i].value;
        }
        wj_sort(x, keys, values, d->n, false);
        for (uint32_t i = 0; i < d->n; i++)
            sorted[i] = (struct wj_pair){keys[i], values[i]};
        pairs = sorted;
    }
    wj_put(x, "{", 1);
    w->level++;
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            wj_puts(x, w->item_sep);
        newline(w);
        write_key(w, pairs[i].key);
        wj_puts(x, w->key_sep);
        write_value(w, pairs[i].value);
    }
    w->level--;
    newline(w);
    wj_put(x, "}", 1);
}

static void write_list(struct writer *w, struct wj_val v) {
    struct wj_run *x = w->x;
    if (v.len == 0) {
        wj_put(x, "[]", 2);
        return;
    }
    wj_put(x, "[", 1);
    w->level++;
    for (uint32_t i = 0; i < v.len; i++) {
        if (i > 0)
            wj_puts(x, w->item_sep);
        newline(w);
        write_value(w, v.u.items[i]);
    }
    w->level--;
    newline(w);
    wj_put(x, "]", 1);
}

static void write_value(struct writer *w, struct wj_val v) {
    struct wj_run *x = w->x;
    wj_charge(x, 1);
    switch (v.kind) {
    case WJ_STR:
        put_string(x, v, w->ascii);
        return;
    case WJ_NONE:
    case WJ_BOOL:
    case WJ_INT:
    case WJ_BIG:
    case WJ_FLOAT:
        write_scalar(x, v);
        return;
    case WJ_LIST:
    case WJ_TUPLE:
        wj_enter(x);
        write_list(w, v);
        wj_leave(x);
        return;
    case WJ_DICT:
        wj_enter(x);
        write_dict(w, v.u.dict);
        wj_leave(x);
        return;
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "Object of type %s is not JSON serializable",
                wj_type_name(v));
    }
}

void wj_put_json(struct wj_run *x, struct wj_val v) {
    struct writer w = {.x = x, .item_sep = WEIR_SPAN_LIT(", "), .key_sep = WEIR_SPAN_LIT(": ")};
    write_value(&w, v);
}

static struct weir_span separator(struct wj_run *x, struct wj_val v) {
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a %s as separator", wj_type_name(v));
    return wj_text(x, v);
}

struct wj_val wj_filter_tojson(struct wj_run *x, struct wj_val v, const struct wj_args *a) {
    static const char *const params[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
    struct wj_val p[4] = {wj_bool(false), wj_none(), wj_none(), wj_bool(false)};
    wj_bind(x, "tojson", a, params, 4, 0, p);
    struct writer w = {.x = x, .ascii = wj_truth(p[0]), .sort = wj_truth(p[3])};
    w.key_sep = WEIR_SPAN_LIT(": ");
    w.item_sep = p[1].kind == WJ_NONE ? WEIR_SPAN_LIT(", ") : WEIR_SPAN_LIT(",");
    if (p[1].kind == WJ_STR) {
        w.indent = wj_text(x, p[1]);
        w.pretty = true;
    } else if (p[1].kind != WJ_NONE) {
        if (!wj_is_int(p[1]))
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a %s as indent", wj_type_name(p[1]));
        int64_t n = p[1].u.i;
        n = n < 0 ? 0 : n;
        if (n > 1000)
            wj_fail(x, WTOK_JINJA_ERR_LIMIT, "an indent beyond 1000");
        char *blank = wj_alloc(x, (size_t)n + 1);
        memset(blank, ' ', (size_t)n);
        w.indent = weir_span(blank, (size_t)n);
        w.pretty = true;
    }
    if (p[2].kind != WJ_NONE) {
        struct wj_vec s = wj_is_seq(p[2]) ? wj_collect(x, p[2]) : (struct wj_vec){0};
        if (s.n != 2)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "separators that are no pair");
        w.item_sep = separator(x, s.at[0]);
        w.key_sep = separator(x, s.at[1]);
    }
    size_t mark = x->out->len;
    write_value(&w, v);
    return wj_cut(x, mark);
}
