/*
 * Values to JSON as Hugging Face's `tojson` writes it: json.dumps with ensure_ascii=False unless
 * told otherwise, no HTML escapes.
 */
#include "tokenizer/jinja_json_priv.h"

#include <math.h>
#include <stdio.h>

/* The letter that stands for a control behind a backslash. */
static const char escaped_as[256] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                     ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

struct writer {
    struct wj_run *x;
    bool ascii, sort, pretty;
    bool usual; /* as json.dumps writes unless told otherwise */
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
        ((v.flags & WJ_PLAIN) != 0 || wj_plain_end(s.data, s.data + s.len) == s.data + s.len)) {
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
            const char *stop = wj_plain_end(p, end);
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

/* ---- objects as they were read --------------------------------------------------------------- */

/* The rest of a string, whose opening quote stands before p, with its closing quote; `*at` is where
 * it goes. */
static inline const char *copy_string(const char *p, const char *end, char **at) {
    char *to = *at;
    for (;;) {
#ifdef __SSE2__
        while (end - p >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)p);
            _mm_storeu_si128((__m128i *)to, v); /* what is too much is written over */
            unsigned mask = wj_special_mask(v), n = mask != 0 ? (unsigned)__builtin_ctz(mask) : 16;
            p += n;
            to += n;
            if (mask != 0)
                break;
        }
#else
        (void)end; /* the quote comes before it */
#endif
        while (!wj_is_special(*p))
            *to++ = *p++;
        bool quote = *p == '"';
        *to++ = *p++;
        if (quote)
            break;
        *to++ = *p++; /* behind the backslash */
    }
    *at = to;
    return p;
}

/* With a blank behind each comma and colon, whether it had one or not. */
static bool put_spaced(struct wj_run *x, const char *p, const char *end) {
    struct weir_buf *b = x->out;
    if (b->cap - b->len < (size_t)(end - p) * 2 + 16)
        return false;
    char *to = b->data + b->len;
    while (p < end) {
        char c = *p++;
        *to++ = c;
        if (c == '"') {
            p = copy_string(p, end, &to);
        } else if (c == ',' || c == ':') {
            *to++ = ' ';
            p += *p == ' ';
        }
    }
    b->len = (size_t)(to - b->data);
    return true;
}

/* False when there is no room as yet. */
static bool put_as_read(struct wj_run *x, const struct wj_dict *d) {
    wj_charge(x, d->json_len / 16);
    if (d->json_tight)
        return put_spaced(x, d->json, d->json + d->json_len);
    wj_put(x, d->json, d->json_len);
    return true;
}

/* ---- any value ------------------------------------------------------------------------------- */

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
    if (d->json_len > 0 && w->usual && put_as_read(x, d))
        return;
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
    struct writer w = {
        .x = x, .usual = true, .item_sep = WEIR_SPAN_LIT(", "), .key_sep = WEIR_SPAN_LIT(": ")};
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
    w.usual = !w.ascii && !w.sort && !w.pretty && p[2].kind == WJ_NONE;
    size_t mark = x->out->len;
    write_value(&w, v);
    return wj_cut(x, mark);
}
