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
    const char *p, *begin, *end;
    struct wj_vec stack; /* elements of the containers being read */
};

static _Noreturn void bad(struct reader *r, const char *what) {
    wj_fail(r->x, WTOK_JINJA_ERR_VALUE, "JSON: %s at byte %zu", what, (size_t)(r->p - r->begin));
}

static inline void blanks(struct reader *r) {
    while (r->p < r->end && (unsigned char)*r->p <= ' ' &&
           (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
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

static unsigned hex4(struct reader *r) {
    unsigned v = 0;
    if (r->end - r->p < 4)
        bad(r, "truncated \\u escape");
    for (int i = 0; i < 4; i++) {
        char c = *r->p++;
        unsigned d = c >= '0' && c <= '9'                     ? (unsigned)(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a') + 10
                                                              : 99;
        if (d > 15)
            bad(r, "invalid \\u escape");
        v = v * 16 + d;
    }
    return v;
}

static void escape_sequence(struct reader *r) {
    if (r->p == r->end)
        bad(r, "unterminated string");
    char c = *r->p++, plain = unescaped_as[(unsigned char)c];
    if (plain != '\0') {
        wj_put(r->x, &plain, 1);
        return;
    }
    if (c != 'u')
        bad(r, "invalid escape");
    unsigned code = hex4(r);
    if (code >= 0xD800 && code < 0xDC00 && r->end - r->p >= 6 && r->p[0] == '\\' &&
        r->p[1] == 'u') {
        r->p += 2;
        unsigned low = hex4(r);
        if (low < 0xDC00 || low > 0xDFFF)
            bad(r, "a lone surrogate");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
        bad(r, "a lone surrogate");
    }
    wj_put_code(r->x, code);
}

/* The rest of a string from `stop` on, where something else than plain text stands. */
static __attribute__((noinline)) struct wj_val read_escaped(struct reader *r, const char *stop) {
    size_t mark = r->x->out->len;
    for (;;) {
        wj_put(r->x, r->p, (size_t)(stop - r->p));
        r->p = stop;
        if (r->p == r->end)
            bad(r, "unterminated string");
        if (*r->p == '"')
            break;
        if (*r->p != '\\')
            bad(r, "a control character in a string");
        r->p++;
        escape_sequence(r);
        stop = plain_end(r->p, r->end);
    }
    r->p++;
    return wj_cut(r->x, mark);
}

/* p stands behind the opening quote. */
static inline struct wj_val read_string(struct reader *r) {
    const char *start = r->p, *stop = plain_end(start, r->end);
    if (__builtin_expect(stop == r->end || *stop != '"', 0))
        return read_escaped(r, stop);
    r->p = stop + 1;
    return (struct wj_val){
        .kind = WJ_STR, .flags = WJ_PLAIN, .len = (uint32_t)(stop - start), .u.s = start};
}

static const char *digit_run(const char *p, const char *end) {
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static struct wj_val read_number(struct reader *r) {
    const char *start = r->p, *p = start, *end = r->end;
    p += *p == '-';
    const char *first = p;
    p = digit_run(p, end);
    if (p == first || (*first == '0' && p - first > 1))
        bad(r, "invalid number");
    size_t n = (size_t)(p - first);
    bool real = false;
    if (p < end && *p == '.') {
        const char *q = digit_run(++p, end);
        if (q == p)
            bad(r, "invalid number");
        p = q;
        real = true;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        const char *q = digit_run(p, end);
        if (q == p)
            bad(r, "invalid number");
        p = q;
        real = true;
    }
    struct weir_span text = weir_span(start, (size_t)(p - start));
    r->p = p;
    int64_t i;
    double f;
    if (!real && n <= 18) {
        i = 0;
        for (const char *q = first; q < p; q++)
            i = i * 10 + (*q - '0');
        return wj_int(*start == '-' ? -i : i);
    }
    if (!real)
        return weir_span_i64(text, &i)
                   ? wj_int(i)
                   : (struct wj_val){.kind = WJ_BIG, .len = (uint32_t)text.len, .u.s = text.data};
    if (!weir_span_f64(text, &f))
        bad(r, "a number out of range");
    return wj_float(f);
}

static struct wj_val read_value(struct reader *r);

static struct wj_val read_array(struct reader *r) {
    uint32_t base = r->stack.n;
    r->p++;
    blanks(r);
    if (r->p < r->end && *r->p == ']') {
        r->p++;
        return wj_list(NULL, 0);
    }
    for (;;) {
        wj_push(r->x, &r->stack, read_value(r));
        blanks(r);
        if (r->p == r->end)
            bad(r, "unterminated list");
        if (*r->p == ']')
            break;
        if (*r->p != ',')
            bad(r, "expected , or ]");
        r->p++;
        blanks(r);
    }
    r->p++;
    uint32_t n = r->stack.n - base;
    struct wj_val *items = wj_alloc(r->x, n * sizeof(*items));
    memcpy(items, r->stack.at + base, n * sizeof(*items));
    r->stack.n = base;
    return wj_list(items, n);
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

static struct wj_val read_object(struct reader *r) {
    uint32_t base = r->stack.n;
    r->p++;
    blanks(r);
    while (r->p < r->end && *r->p == '"') {
        r->p++;
        wj_push(r->x, &r->stack, read_string(r));
        blanks(r);
        if (r->p == r->end || *r->p != ':')
            bad(r, "expected :");
        r->p++;
        blanks(r);
        wj_push(r->x, &r->stack, read_value(r));
        blanks(r);
        if (r->p == r->end)
            bad(r, "unterminated object");
        if (*r->p == '}')
            break;
        if (*r->p != ',')
            bad(r, "expected , or }");
        r->p++;
        blanks(r);
        if (r->p < r->end && *r->p == '}')
            bad(r, "trailing comma");
    }
    if (r->p == r->end || *r->p != '}')
        bad(r, "expected a key");
    r->p++;
    return make_dict(r, base);
}

static inline bool literal(struct reader *r, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return false;
    r->p += n;
    return true;
}

static struct wj_val read_value(struct reader *r) {
    struct wj_val v;
    if (r->p == r->end)
        bad(r, "a value is missing");
    wj_charge(r->x, 1);
    if (*r->p == '"') {
        r->p++;
        return read_string(r);
    }
    switch (*r->p) {
    case '{':
    case '[':
        wj_enter(r->x);
        v = *r->p == '{' ? read_object(r) : read_array(r);
        wj_leave(r->x);
        return v;
    case 't':
        if (literal(r, "true"))
            return wj_bool(true);
        break;
    case 'f':
        if (literal(r, "false"))
            return wj_bool(false);
        break;
    case 'n':
        if (literal(r, "null"))
            return wj_none();
        break;
    case 'N': /* Python's json knows these */
        if (literal(r, "NaN"))
            return wj_float(NAN);
        break;
    case 'I':
        if (literal(r, "Infinity"))
            return wj_float(INFINITY);
        break;
    case '-':
        if (literal(r, "-Infinity"))
            return wj_float(-INFINITY);
        return read_number(r);
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
        return read_number(r);
    default:
        break;
    }
    bad(r, "expected a value");
}

struct wj_val wj_from_json(struct wj_run *x, struct weir_span json) {
    struct reader r = {.x = x, .p = json.data, .begin = json.data, .end = json.data + json.len};
    if (json.len > UINT32_MAX / 2)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the data is too large");
    if (!weir_utf8_valid(json))
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "JSON: invalid UTF-8");
    blanks(&r);
    struct wj_val v = read_value(&r);
    blanks(&r);
    if (r.p != r.end)
        bad(&r, "trailing characters");
    return v;
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
