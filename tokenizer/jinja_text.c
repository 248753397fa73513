/*
 * Text: str() and repr() of values, code points in UTF-8, concatenation without quadratic copying.
 */
#include "base/number.h"
#include "base/utf8.h"
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- output ------------------------------------------------------------------------------- */

void wj_put_slow(struct wj_run *x, const char *data, size_t len) {
    enum weir_status st = weir_buf_append(x->out, data, len);
    if (st == WEIR_TOO_LARGE)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the text is larger than %zu bytes", x->out->max);
    if (st != WEIR_OK)
        wj_fail(x, WTOK_JINJA_ERR_MEMORY, "out of memory");
}

void wj_putz(struct wj_run *x, const char *s) {
    wj_put(x, s, strlen(s));
}

void wj_put_code(struct wj_run *x, uint32_t code) {
    char c[4];
    size_t n = weir_utf8_encode(code, c);
    for (size_t i = 0; i < n; i++)
        wj_put(x, c + i, 1);
}

struct wj_val wj_copy_str(struct wj_run *x, struct weir_span s) {
    if (s.len > UINT32_MAX)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a string is too large");
    char *p = wj_alloc(x, s.len + 1);
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    wj_charge(x, s.len / 64);
    return wj_str(weir_span(p, s.len));
}

struct wj_val wj_cut(struct wj_run *x, size_t mark) {
    struct wj_val v = wj_copy_str(x, weir_span(x->out->data + mark, x->out->len - mark));
    x->out->len = mark;
    return v;
}

/* ---- UTF-8 -------------------------------------------------------------------------------- */

bool wj_is_ascii(struct weir_span s) {
    const char *p = s.data;
    size_t n = s.len;
    uint64_t w, all = 0;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        all |= w;
    }
    for (; n > 0; p++, n--)
        all |= (unsigned char)*p;
    return (all & 0x8080808080808080ull) == 0;
}

size_t wj_points(struct weir_span s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.data[i] & 0xC0) != 0x80;
    return n;
}

size_t wj_offset(struct weir_span s, size_t points) {
    size_t i = 0;
    for (; points > 0 && i < s.len; points--)
        for (i++; i < s.len && ((unsigned char)s.data[i] & 0xC0) == 0x80; i++)
            ;
    return i;
}

uint32_t wj_decode(const char **at, const char *end) {
    const unsigned char *p = (const unsigned char *)*at;
    size_t left = (size_t)(end - *at);
    unsigned c = p[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n > left)
        n = 1;
    *at += n;
    switch (n) {
    case 2:
        return (c & 31) << 6 | (p[1] & 63);
    case 3:
        return (c & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
    case 4:
        return (c & 7) << 18 | (uint32_t)(p[1] & 63) << 12 | (uint32_t)(p[2] & 63) << 6 |
               (p[3] & 63);
    default:
        return c;
    }
}

uint32_t wj_decode_back(const char *begin, const char **end) {
    const char *p = *end - 1;
    while (p > begin && ((unsigned char)*p & 0xC0) == 0x80)
        p--;
    const char *at = p;
    uint32_t c = wj_decode(&at, *end);
    *end = p;
    return c;
}

ptrdiff_t wj_find(struct weir_span s, struct weir_span sub, size_t from) {
    if (from > s.len || sub.len > s.len - from)
        return -1;
    if (sub.len == 0)
        return (ptrdiff_t)from;
    const char *p = memmem(s.data + from, s.len - from, sub.data, sub.len);
    return p != NULL ? p - s.data : -1;
}

static bool strips(struct wj_run *x, struct weir_span chars, bool spaces, uint32_t c) {
    if (spaces)
        return wj_is_space(c);
    const char *p = chars.data, *end = p + chars.len;
    wj_charge(x, chars.len / 8);
    while (p < end)
        if (wj_decode(&p, end) == c)
            return true;
    return false;
}

/* sides: 1 left, 2 right. `chars`: None or undefined-free string. */
struct weir_span wj_strip(struct wj_run *x, struct weir_span s, struct wj_val chars, int sides) {
    bool spaces = chars.kind == WJ_NONE;
    struct weir_span set = weir_span(NULL, 0);
    const char *p = s.data, *end = p + s.len;
    if (!spaces) {
        if (chars.kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "strip arg must be None or str");
        set = wj_text(x, chars);
    }
    while ((sides & 1) != 0 && p < end) {
        const char *next = p;
        if (!strips(x, set, spaces, wj_decode(&next, end)))
            break;
        p = next;
    }
    while ((sides & 2) != 0 && p < end) {
        const char *before = end;
        if (!strips(x, set, spaces, wj_decode_back(p, &before)))
            break;
        end = before;
    }
    return weir_span(p, (size_t)(end - p));
}

/* ---- concatenation ------------------------------------------------------------------------ */

enum { ROPE_FROM = 512 }; /* bytes from which a sum is not copied at once */

/* Writes the leaves from the last to the first, so that the usual left-leaning rope needs a stack
 * of one. */
struct weir_span wj_flatten(struct wj_run *x, struct wj_val v) {
    struct wj_rope *root = v.u.rope;
    if (root->flat != NULL)
        return weir_span(root->flat, v.len);
    char *text = wj_alloc(x, (size_t)v.len + 1), *end = text + v.len;
    struct wj_val *stack = wj_alloc(x, (root->depth + 2) * sizeof(*stack));
    size_t n = 0;
    wj_charge(x, v.len / 64);
    stack[n++] = v;
    while (n > 0) {
        struct wj_val s = stack[--n];
        if ((s.flags & WJ_ROPE) != 0 && s.u.rope->flat == NULL) {
            stack[n++] = s.u.rope->left;
            stack[n++] = s.u.rope->right;
            continue;
        }
        const char *data = (s.flags & WJ_ROPE) != 0 ? s.u.rope->flat : s.u.s;
        end -= s.len;
        if (s.len > 0)
            memcpy(end, data, s.len);
    }
    root->flat = text;
    return weir_span(text, v.len);
}

static uint32_t depth_of(struct wj_val v) {
    return (v.flags & WJ_ROPE) != 0 && v.u.rope->flat == NULL ? v.u.rope->depth : 0;
}

/* Plain strings; the result is no markup. */
struct wj_val wj_concat(struct wj_run *x, struct wj_val a, struct wj_val b) {
    uint64_t len = (uint64_t)a.len + b.len;
    if (a.len == 0 || b.len == 0) {
        struct wj_val v = a.len == 0 ? b : a;
        v.flags &= WJ_ROPE;
        return v;
    }
    if (len > x->out->max || len > UINT32_MAX / 2)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the text is larger than %zu bytes", x->out->max);
    if (len >= ROPE_FROM) {
        struct wj_rope *r = wj_alloc(x, sizeof(*r));
        uint32_t da = depth_of(a), db = depth_of(b);
        *r = (struct wj_rope){a, b, (da > db ? da : db) + 1, NULL};
        return (struct wj_val){.kind = WJ_STR, .flags = WJ_ROPE, .len = (uint32_t)len, .u.rope = r};
    }
    struct weir_span s = wj_text(x, a), t = wj_text(x, b);
    char *p = wj_alloc(x, len);
    memcpy(p, s.data, s.len);
    memcpy(p + s.len, t.data, t.len);
    return wj_str(weir_span(p, len));
}

/* ---- markup ------------------------------------------------------------------------------- */

void wj_put_escaped(struct wj_run *x, struct weir_span s) {
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        const char *to;
        switch (s.data[i]) {
        case '&':
            to = "&amp;";
            break;
        case '<':
            to = "&lt;";
            break;
        case '>':
            to = "&gt;";
            break;
        case '"':
            to = "&#34;";
            break;
        case '\'':
            to = "&#39;";
            break;
        default:
            continue;
        }
        wj_put(x, s.data + from, i - from);
        wj_putz(x, to);
        from = i + 1;
    }
    wj_put(x, s.data + from, s.len - from);
}

struct wj_val wj_escape(struct wj_run *x, struct wj_val v) {
    struct wj_val s = wj_to_str(x, v);
    if ((s.flags & WJ_MARKUP) == 0) {
        size_t mark = x->out->len;
        wj_put_escaped(x, wj_text(x, s));
        s = wj_cut(x, mark);
        s.flags |= WJ_MARKUP;
    }
    return s;
}

/* ---- numbers ------------------------------------------------------------------------------ */

/* The shortest digits that read back equal; ret_exp: of the first digit. */
static size_t shortest(double f, char digits[24], int *ret_exp) {
    char text[40];
    int from = fabs(f) < 1e-290 ? 1 : 15; /* 15 digits always survive, but for subnormals */
    for (int n = from; n <= 17; n++) {
        snprintf(text, sizeof(text), "%.*e", n - 1, f);
        if (n == 17 || strtod(text, NULL) == f)
            break;
    }
    const char *e = strchr(text, 'e');
    size_t n = 0;
    for (const char *p = text; p < e; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    *ret_exp = (int)strtol(e + 1, NULL, 10);
    return n;
}

/* repr(float): plain for exponents from -4 to 15. */
size_t wj_float_text(double f, char out[40]) {
    char *p = out, digits[24];
    if (isnan(f)) {
        memcpy(out, "nan", 3);
        return 3;
    }
    if (signbit(f)) {
        *p++ = '-';
        f = -f;
    }
    if (isinf(f)) {
        memcpy(p, "inf", 3);
        return (size_t)(p - out) + 3;
    }
    if (f < 1e15 && f == (double)(int64_t)f) {
        p += weir_u64_text((uint64_t)f, p);
        memcpy(p, ".0", 2);
        return (size_t)(p - out) + 2;
    }
    int exp;
    size_t n = shortest(f, digits, &exp);
    if (exp < -4 || exp >= 16) {
        *p++ = digits[0];
        if (n > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, n - 1);
            p += n - 1;
        }
        return (size_t)(p - out) + (size_t)snprintf(p, 8, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
    }
    if (exp < 0) {
        memcpy(p, "0.000", 5);
        p += 1 - exp;
        memcpy(p, digits, n);
        return (size_t)(p - out) + n;
    }
    for (size_t i = 0; i < n || (int)i <= exp + 1; i++) {
        if ((int)i == exp + 1)
            *p++ = '.';
        *p++ = i < n ? digits[i] : '0';
    }
    return (size_t)(p - out);
}

static void put_int(struct wj_run *x, int64_t i) {
    char text[WEIR_U64_TEXT + 1], *p = text;
    if (i < 0)
        *p++ = '-';
    p += weir_u64_text(i < 0 ? (uint64_t)0 - (uint64_t)i : (uint64_t)i, p);
    wj_put(x, text, (size_t)(p - text));
}

/* ---- repr and str ------------------------------------------------------------------------- */

void wj_put_repr_text(struct wj_run *x, struct weir_span s) {
    bool single = memchr(s.len > 0 ? s.data : "", '\'', s.len) != NULL;
    char quote = single && memchr(s.data, '"', s.len) == NULL ? '"' : '\'';
    wj_put(x, &quote, 1);
    const char *p = s.data, *end = p + s.len, *from = p;
    while (p < end) {
        const char *start = p;
        uint32_t c = wj_decode(&p, end);
        if (c >= 0x20 && c < 0x7F && c != '\\' && c != (unsigned char)quote)
            continue;
        if (c >= 0x80 && (wj_props(c) & WJ_U_PRINTABLE) != 0)
            continue;
        char text[16];
        wj_put(x, from, (size_t)(start - from));
        from = p;
        if (c == '\\' || c == (unsigned char)quote)
            snprintf(text, sizeof(text), "\\%c", (char)c);
        else if (c == '\t' || c == '\n' || c == '\r')
            snprintf(text, sizeof(text), "\\%c", c == '\t' ? 't' : c == '\n' ? 'n' : 'r');
        else
            snprintf(text, sizeof(text),
                     c < 0x100     ? "\\x%02x"
                     : c < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                     c);
        wj_putz(x, text);
    }
    wj_put(x, from, (size_t)(p - from));
    wj_put(x, &quote, 1);
}

static void put_items(struct wj_run *x, const struct wj_val *items, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            wj_put(x, ", ", 2);
        wj_put_repr(x, items[i]);
    }
}

static void put_dict(struct wj_run *x, const struct wj_dict *d) {
    wj_put(x, "{", 1);
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            wj_put(x, ", ", 2);
        wj_put_repr(x, d->pairs[i].key);
        wj_put(x, ": ", 2);
        wj_put_repr(x, d->pairs[i].value);
    }
    wj_put(x, "}", 1);
}

static void put_object(struct wj_run *x, struct wj_val v) {
    char text[96];
    struct weir_span name;
    switch (v.kind) {
    case WJ_VIEW: {
        struct wj_vec items = wj_collect(x, v);
        wj_putz(x, wj_type_name(v));
        wj_put(x, "([", 2);
        put_items(x, items.at, items.n);
        wj_put(x, "])", 2);
        return;
    }
    case WJ_RANGE:
        snprintf(text, sizeof(text), "range(%lld, %lld", (long long)v.u.range->start,
                 (long long)v.u.range->stop);
        wj_putz(x, text);
        if (v.u.range->step != 1) {
            snprintf(text, sizeof(text), ", %lld", (long long)v.u.range->step);
            wj_putz(x, text);
        }
        wj_put(x, ")", 1);
        return;
    case WJ_NS:
        wj_putz(x, "<Namespace ");
        put_dict(x, v.u.dict);
        wj_put(x, ">", 1);
        return;
    case WJ_LOOP:
        snprintf(text, sizeof(text), "<LoopContext %lld/%lld>", (long long)wj_loop_index(v) + 1,
                 (long long)wj_loop_length(x, v));
        wj_putz(x, text);
        return;
    case WJ_MACRO:
        name = wj_macro_name(v);
        wj_putz(x, "<Macro ");
        if (name.data != NULL)
            wj_put_repr_text(x, name);
        else
            wj_putz(x, "anonymous");
        wj_put(x, ">", 1);
        return;
    default: /* Python prints an address */
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "printing a %s", wj_type_name(v));
    }
}

void wj_put_repr(struct wj_run *x, struct wj_val v) {
    char text[40];
    wj_charge(x, 1);
    switch (v.kind) {
    case WJ_MISSING:
    case WJ_UNDEF:
        wj_putz(x, "Undefined");
        return;
    case WJ_NONE:
        wj_put(x, "None", 4);
        return;
    case WJ_BOOL:
        wj_putz(x, v.sub ? "True" : "False");
        return;
    case WJ_INT:
        put_int(x, v.u.i);
        return;
    case WJ_BIG:
        wj_put(x, v.u.s, v.len);
        return;
    case WJ_FLOAT:
        wj_put(x, text, wj_float_text(v.u.f, text));
        return;
    case WJ_STR:
        if ((v.flags & WJ_MARKUP) != 0)
            wj_put(x, "Markup(", 7);
        wj_put_repr_text(x, wj_text(x, v));
        if ((v.flags & WJ_MARKUP) != 0)
            wj_put(x, ")", 1);
        return;
    default:
        break;
    }
    wj_enter(x);
    switch (v.kind) {
    case WJ_LIST:
        wj_put(x, "[", 1);
        put_items(x, v.u.items, v.len);
        wj_put(x, "]", 1);
        break;
    case WJ_TUPLE:
        wj_put(x, "(", 1);
        put_items(x, v.u.items, v.len);
        wj_put(x, v.len == 1 ? ",)" : ")", v.len == 1 ? 2 : 1);
        break;
    case WJ_DICT:
        put_dict(x, v.u.dict);
        break;
    default:
        put_object(x, v);
    }
    wj_leave(x);
}

/* A rope prints its leaves; a cursor walks them without a copy. */
static void put_rope(struct wj_run *x, struct wj_val v,
                     void (*put)(struct wj_run *x, struct weir_span s)) {
    while ((v.flags & WJ_ROPE) != 0 && v.u.rope->flat == NULL && depth_of(v.u.rope->left) == 0) {
        put(x, wj_text(x, v.u.rope->left));
        v = v.u.rope->right;
    }
    put(x, wj_text(x, v));
}

static void put_or_lend(struct wj_run *x, struct weir_span s) {
    if (s.len < WTOK_LENT_MIN || x->prompt == NULL || x->captures > 0 ||
        !wtok_prompt_lend(x->prompt, s))
        wj_puts(x, s);
}

void wj_print_str(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_STR && (v.flags & WJ_ROPE) != 0)
        put_rope(x, v, put_or_lend);
    else if (v.kind == WJ_STR)
        put_or_lend(x, weir_span(v.u.s, v.len));
    else
        wj_put_str(x, v);
}

void wj_put_str(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_STR) {
        if ((v.flags & WJ_ROPE) != 0)
            put_rope(x, v, wj_puts);
        else
            wj_put(x, v.u.s, v.len);
    } else if (v.kind != WJ_UNDEF) {
        wj_put_repr(x, v);
    }
}

struct wj_val wj_to_str(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_STR)
        return v;
    if (v.kind == WJ_UNDEF)
        return wj_str(weir_span("", 0));
    size_t mark = x->out->len;
    wj_put_repr(x, v);
    return wj_cut(x, mark);
}
