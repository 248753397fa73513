/*
 * Jinja2's filters on single values.
 */
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdio.h>

#define FILTER(name)                                                                               \
    static struct wj_val name(struct wj_run *x, struct wj_val v, const struct wj_args *a)

/* Filters without parameters. */
static void no_args(struct wj_run *x, const char *what, const struct wj_args *a) {
    if (a->n > 0 || a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() takes 1 positional argument but %u were given", what,
                a->n + a->n_named + 1);
}

static struct wj_val plain(struct wj_val v) {
    v.flags &= WJ_ROPE;
    return v;
}

/* ---- text --------------------------------------------------------------------------------- */

FILTER(f_upper) {
    no_args(x, "do_upper", a);
    return wj_case_map(x, wj_to_str(x, v), WJ_CASE_UPPER);
}
FILTER(f_lower) {
    no_args(x, "do_lower", a);
    return wj_case_map(x, wj_to_str(x, v), WJ_CASE_LOWER);
}
FILTER(f_capitalize) {
    no_args(x, "do_capitalize", a);
    return wj_capitalize(x, wj_to_str(x, v));
}
FILTER(f_string) {
    no_args(x, "soft_str", a);
    return wj_to_str(x, v);
}
FILTER(f_safe) {
    no_args(x, "do_mark_safe", a);
    v = wj_to_str(x, v);
    v.flags |= WJ_MARKUP;
    return v;
}
FILTER(f_escape) {
    no_args(x, "escape", a);
    return wj_escape(x, v);
}
FILTER(f_forceescape) {
    no_args(x, "do_forceescape", a);
    return wj_escape(x, plain(wj_to_str(x, v)));
}

FILTER(f_trim) {
    static const char *const params[] = {"chars"};
    struct wj_val chars = wj_none();
    wj_bind(x, "do_trim", a, params, 1, 0, &chars);
    v = wj_to_str(x, v);
    wj_charge(x, v.len / 64);
    struct wj_val r = wj_str(wj_strip(x, wj_text(x, v), chars, 3));
    r.flags = v.flags & WJ_MARKUP;
    return r;
}

static bool is_word_break(uint32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || wj_is_space(c);
}

/* Words begin behind spaces and opening signs only: "it's" becomes "It's". */
FILTER(f_title) {
    no_args(x, "do_title", a);
    v = wj_to_str(x, v);
    struct weir_span s = wj_text(x, v);
    struct wj_vec parts = {0};
    const char *p = s.data, *end = p + s.len;
    while (p < end) {
        const char *start = p, *next = p;
        bool brk = is_word_break(wj_decode(&next, end));
        const char *first_end = next;
        for (p = next; p < end; p = next)
            if (is_word_break(wj_decode(&next, end)) != brk)
                break;
        struct wj_val first = wj_str(weir_span(start, (size_t)(first_end - start)));
        struct wj_val rest = wj_str(weir_span(first_end, (size_t)(p - first_end)));
        wj_push(x, &parts, wj_case_map(x, first, WJ_CASE_UPPER));
        wj_push(x, &parts, wj_case_map(x, rest, WJ_CASE_LOWER));
    }
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < parts.n; i++)
        wj_put_str(x, parts.at[i]);
    return wj_cut(x, mark);
}

FILTER(f_replace) {
    static const char *const params[] = {"old", "new", "count"};
    struct wj_val p[3] = {wj_none(), wj_none(), wj_none()};
    wj_bind(x, "do_replace", a, params, 3, 2, p);
    int64_t count = p[2].kind == WJ_NONE ? -1 : wj_index(x, p[2], "a count");
    struct weir_span s = wj_text(x, wj_to_str(x, v)), from = wj_text(x, wj_to_str(x, p[0]));
    return wj_replace(x, s, from, wj_text(x, wj_to_str(x, p[1])), count);
}

FILTER(f_center) {
    static const char *const params[] = {"width"};
    struct wj_val width = wj_int(80);
    wj_bind(x, "do_center", a, params, 1, 0, &width);
    return wj_pad(x, wj_to_str(x, v), wj_index(x, width, "a width"), wj_strz(" "), 0);
}

FILTER(f_indent) {
    static const char *const params[] = {"width", "first", "blank"};
    struct wj_val p[3] = {wj_int(4), wj_bool(false), wj_bool(false)};
    wj_bind(x, "do_indent", a, params, 3, 0, p);
    struct weir_span pad, s;
    if (p[0].kind == WJ_STR) {
        pad = wj_text(x, p[0]);
    } else {
        if (p[0].kind == WJ_UNDEF)
            wj_fail_undefined(x, p[0]);
        int64_t n = wj_index(x, p[0], "a width");
        if (n > 100000)
            wj_fail(x, WTOK_JINJA_ERR_LIMIT, "an indentation beyond 100000");
        n = n < 0 ? 0 : n;
        char *spaces = wj_alloc(x, (size_t)n + 1);
        memset(spaces, ' ', (size_t)n);
        pad = weir_span(spaces, (size_t)n);
    }
    if (v.kind == WJ_UNDEF)
        wj_fail_undefined(x, v);
    if (v.kind == WJ_LIST)
        wj_fail(x, WTOK_JINJA_ERR_ATTRIBUTE, "'list' object has no attribute 'splitlines'");
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "unsupported operand type(s) for +=: '%s' and 'str'",
                wj_type_name(v));
    s = wj_text(x, wj_concat(x, plain(v), wj_strz("\n")));
    struct wj_val lines = wj_splitlines(x, s, false);
    bool blank = wj_truth(p[2]);
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < lines.len; i++) {
        struct weir_span line = wj_text(x, lines.u.items[i]);
        if (i > 0)
            wj_put(x, "\n", 1);
        if (i == 0 ? wj_truth(p[1]) : blank || line.len > 0)
            wj_puts(x, pad);
        wj_puts(x, line);
    }
    struct wj_val r = wj_cut(x, mark);
    r.flags |= v.flags & WJ_MARKUP;
    return r;
}

FILTER(f_truncate) {
    static const char *const params[] = {"length", "killwords", "end", "leeway"};
    struct wj_val p[4] = {wj_int(255), wj_bool(false), wj_strz("..."), wj_none()};
    wj_bind(x, "do_truncate", a, params, 4, 0, p);
    if (!wj_is_int(p[0]) || (p[3].kind != WJ_NONE && !wj_is_int(p[3])))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "truncating to what is no whole number");
    int64_t length = p[0].u.i, leeway = p[3].kind == WJ_NONE ? 5 : p[3].u.i;
    if (p[2].kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "object of type '%s' has no len()", wj_type_name(p[2]));
    struct weir_span end = wj_text(x, p[2]);
    int64_t keep = length - (int64_t)wj_points(end);
    if (keep < 0)
        wj_fail(x, WTOK_JINJA_ERR_ASSERT, "expected length >= %zu, got %lld", wj_points(end),
                (long long)length);
    if (leeway < 0)
        wj_fail(x, WTOK_JINJA_ERR_ASSERT, "expected leeway >= 0, got %lld", (long long)leeway);
    if (wj_len(x, v) <= length + leeway)
        return v;
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "truncating a %s", wj_type_name(v));
    struct weir_span s = wj_text(x, v);
    s.len = wj_offset(s, (size_t)keep);
    if (!wj_truth(p[1]))
        for (size_t i = s.len; i-- > 0;)
            if (s.data[i] == ' ') {
                s.len = i;
                break;
            }
    return wj_concat(x, wj_str(s), plain(p[2]));
}

static bool is_word(uint32_t c) {
    return c == '_' || (wj_props(c) & (WJ_U_ALPHA | WJ_U_DECIMAL | WJ_U_DIGIT | WJ_U_NUMERIC)) != 0;
}

FILTER(f_wordcount) {
    no_args(x, "do_wordcount", a);
    struct weir_span s = wj_text(x, wj_to_str(x, v));
    int64_t n = 0;
    bool inside = false;
    wj_charge(x, s.len / 8);
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        bool word = is_word(wj_decode(&p, end));
        n += word && !inside;
        inside = word;
    }
    return wj_int(n);
}

FILTER(f_striptags) {
    no_args(x, "do_striptags", a);
    struct weir_span s = wj_text(x, wj_to_str(x, v));
    if (memchr(s.len > 0 ? s.data : "", '<', s.len) != NULL ||
        memchr(s.len > 0 ? s.data : "", '&', s.len) != NULL)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "striptags of text with markup");
    /* What is left to do: runs of white space become one blank. */
    size_t mark = x->out->len;
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        p = wj_strip(x, weir_span(p, (size_t)(end - p)), wj_none(), 1).data;
        const char *start = p, *next = p;
        while (p < end && !wj_is_space(wj_decode(&next, end)))
            p = next;
        if (p > start && x->out->len > mark)
            wj_put(x, " ", 1);
        wj_put(x, start, (size_t)(p - start));
    }
    return wj_cut(x, mark);
}

FILTER(f_format) {
    if (a->n > 0 && a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT,
                "can't handle positional and keyword arguments at the same time");
    struct wj_val args = wj_tuple(a->at, a->n);
    if (a->n_named > 0) {
        args = wj_dict_new(x, a->n_named);
        for (uint32_t i = 0; i < a->n_named; i++)
            wj_dict_set(x, args.u.dict, wj_str(a->names[i]), a->named[i]);
    }
    return wj_percent(x, wj_to_str(x, v), args);
}

/* ---- URLs and XML ------------------------------------------------------------------------- */

static void put_quoted(struct wj_run *x, struct weir_span s, bool query) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool keep = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                    (c != '\0' && strchr("_.-~", c) != NULL) || (c == '/' && !query);
        if (keep) {
            wj_put(x, s.data + i, 1);
        } else if (c == ' ' && query) {
            wj_put(x, "+", 1);
        } else {
            char code[3] = {'%', hex[c >> 4], hex[c & 15]};
            wj_put(x, code, 3);
        }
    }
}

FILTER(f_urlencode) {
    no_args(x, "do_urlencode", a);
    if (v.kind == WJ_STR || !wj_is_iterable(v)) {
        struct weir_span s = wj_text(x, wj_to_str(x, v));
        size_t mark = x->out->len;
        put_quoted(x, s, false);
        return wj_cut(x, mark);
    }
    if (v.kind == WJ_DICT)
        v = (struct wj_val){.kind = WJ_VIEW, .sub = WJ_VIEW_ITEMS, .u.dict = v.u.dict};
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val pair;
    struct wj_vec parts = {0};
    while (wj_next(x, &it, &pair)) {
        struct wj_vec two = wj_collect(x, pair);
        if (two.n != 2)
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "%s values to unpack (expected 2)",
                    two.n < 2 ? "not enough" : "too many");
        wj_push(x, &parts, wj_to_str(x, two.at[0]));
        wj_push(x, &parts, wj_to_str(x, two.at[1]));
    }
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < parts.n; i++) {
        if (i > 0)
            wj_put(x, i % 2 == 1 ? "=" : "&", 1);
        put_quoted(x, wj_text(x, parts.at[i]), true);
    }
    return wj_cut(x, mark);
}

FILTER(f_xmlattr) {
    static const char *const params[] = {"autospace"};
    struct wj_val autospace = wj_bool(true);
    wj_bind(x, "do_xmlattr", a, params, 1, 0, &autospace);
    if (v.kind == WJ_UNDEF)
        wj_fail_undefined(x, v);
    if (v.kind == WJ_CYCLER)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'tuple' object is not callable");
    if (v.kind != WJ_DICT)
        wj_fail(x, WTOK_JINJA_ERR_ATTRIBUTE, "'%s' object has no attribute 'items'",
                wj_type_name(v));
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < v.u.dict->n; i++) {
        struct wj_pair p = v.u.dict->pairs[i];
        if (p.value.kind == WJ_NONE || p.value.kind == WJ_UNDEF)
            continue;
        if (p.key.kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "expected string or bytes-like object, got '%s'",
                    wj_type_name(p.key));
        struct weir_span key = wj_text(x, p.key);
        for (size_t k = 0; k < key.len; k++)
            if (key.data[k] != '\0' && strchr(" \t\n\r\f\v/>=", key.data[k]) != NULL)
                wj_fail(x, WTOK_JINJA_ERR_VALUE, "Invalid character in attribute name: '%.*s'",
                        WEIR_SPAN_ARG(key));
        struct wj_val text = wj_escape(x, p.value);
        if (x->out->len > mark || wj_truth(autospace))
            wj_put(x, " ", 1);
        wj_puts(x, wj_text(x, wj_escape(x, p.key)));
        wj_put(x, "=\"", 2);
        wj_puts(x, wj_text(x, text));
        wj_put(x, "\"", 1);
    }
    return wj_cut(x, mark);
}

/* ---- numbers ------------------------------------------------------------------------------ */

FILTER(f_abs) {
    no_args(x, "abs", a);
    if (v.kind == WJ_FLOAT)
        return wj_float(fabs(v.u.f));
    if (v.kind == WJ_BIG)
        return v.u.s[0] == '-' ? (struct wj_val){.kind = WJ_BIG, .len = v.len - 1, .u.s = v.u.s + 1}
                               : v;
    if (!wj_is_int(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "bad operand type for abs(): '%s'", wj_type_name(v));
    if (v.u.i == INT64_MIN)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "arithmetic beyond 64-bit integers");
    return wj_int(v.u.i < 0 ? -v.u.i : v.u.i);
}

/* int(float) where it is one of 64 bits; false where Python raises. */
static bool truncated(struct wj_run *x, double f, struct wj_val *ret) {
    if (!isfinite(f))
        return false;
    if (fabs(f) >= 9.2e18)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "arithmetic beyond 64-bit integers");
    *ret = wj_int((int64_t)f);
    return true;
}

static bool to_double(struct wj_run *x, struct wj_val v, double *ret) {
    if (v.kind == WJ_UNDEF)
        wj_fail_undefined(x, v);
    if (v.kind == WJ_BIG)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "arithmetic beyond 64-bit integers");
    if (v.kind == WJ_STR)
        return wj_parse_float(wj_strip(x, wj_text(x, v), wj_none(), 3), ret);
    if (v.kind != WJ_FLOAT && !wj_is_int(v))
        return false;
    *ret = v.kind == WJ_FLOAT ? v.u.f : (double)v.u.i;
    return true;
}

FILTER(f_int) {
    static const char *const params[] = {"default", "base"};
    struct wj_val p[2] = {wj_int(0), wj_int(10)}, r;
    double f;
    wj_bind(x, "do_int", a, params, 2, 0, p);
    if (v.kind == WJ_INT || v.kind == WJ_BIG)
        return v;
    if (v.kind == WJ_BOOL)
        return wj_int(v.u.i);
    if (v.kind == WJ_STR) {
        int64_t base = wj_is_int(p[1]) ? p[1].u.i : -1;
        bool good = base == 0 || (base >= 2 && base <= 36);
        if (good && wj_parse_int(x, wj_text(x, v), base, &r))
            return r;
    }
    if (v.kind == WJ_FLOAT && isinf(v.u.f)) /* int() raises what do_int does not catch */
        wj_fail(x, WTOK_JINJA_ERR_OVERFLOW, "cannot convert float infinity to integer");
    return to_double(x, v, &f) && truncated(x, f, &r) ? r : p[0];
}

FILTER(f_float) {
    static const char *const params[] = {"default"};
    struct wj_val def = wj_float(0);
    double f;
    wj_bind(x, "do_float", a, params, 1, 0, &def);
    return to_double(x, v, &f) ? wj_float(f) : def;
}

/* round() of Python goes through the decimal text. */
static double round_to(struct wj_run *x, double f, int64_t digits) {
    char text[400];
    if (!isfinite(f) || digits > 300)
        return f;
    if (digits < 0) {
        if (digits < -300)
            return copysign(0, f);
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "rounding to a negative precision");
    }
    if (fabs(f) > 1e60 || digits > 300)
        return f;
    double r;
    int n = snprintf(text, sizeof(text), "%.*f", (int)digits, f);
    return wj_parse_float(weir_span(text, (size_t)n < 127 ? (size_t)n : 127), &r) ? r : f;
}

/* round(float, None) */
static struct wj_val rounded(struct wj_run *x, double f) {
    struct wj_val r;
    if (truncated(x, nearbyint(f), &r))
        return r;
    if (isnan(f))
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "cannot convert float NaN to integer");
    wj_fail(x, WTOK_JINJA_ERR_OVERFLOW, "cannot convert float infinity to integer");
}

FILTER(f_round) {
    static const char *const params[] = {"precision", "method"};
    struct wj_val p[2] = {wj_int(0), wj_strz("common")};
    wj_bind(x, "do_round", a, params, 2, 0, p);
    struct weir_span how = p[1].kind == WJ_STR ? wj_text(x, p[1]) : weir_span("", 0);
    bool ceiling = weir_span_eqz(how, "ceil");
    wj_need_hashable(x, p[1]);
    if (!ceiling && !weir_span_eqz(how, "common") && !weir_span_eqz(how, "floor"))
        wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT, "method must be common, ceil or floor");
    if (v.kind == WJ_UNDEF && !weir_span_eqz(how, "common"))
        wj_fail_undefined(x, v);
    if (v.kind == WJ_BIG && weir_span_eqz(how, "common") &&
        (p[0].kind == WJ_NONE || wj_index(x, p[0], "a precision") >= 0))
        return v;
    if (v.kind == WJ_BIG)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "arithmetic beyond 64-bit integers");
    if (!wj_is_int(v) && v.kind != WJ_FLOAT)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "type %s doesn't define __round__ method", wj_type_name(v));
    if (p[0].kind == WJ_NONE && weir_span_eqz(how, "common"))
        return wj_is_int(v) ? wj_int(v.u.i) : rounded(x, v.u.f);
    int64_t digits = wj_index(x, p[0], "a precision");
    if (weir_span_eqz(how, "common")) {
        if (v.kind == WJ_FLOAT)
            return wj_float(round_to(x, v.u.f, digits));
        if (digits < 0)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "rounding to a negative precision");
        return wj_int(v.u.i);
    }
    if (digits < 0 || digits > 22)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "rounding to this precision");
    double scale = pow(10, (double)digits), f = v.kind == WJ_FLOAT ? v.u.f : (double)v.u.i;
    f = ceiling ? ceil(f * scale) : floor(f * scale);
    return wj_float(f / scale);
}

FILTER(f_filesizeformat) {
    static const char *const params[] = {"binary"};
    static const char units[] = "kMGTPEZY";
    struct wj_val binary = wj_bool(false);
    double f;
    char text[80];
    wj_bind(x, "do_filesizeformat", a, params, 1, 0, &binary);
    if (!to_double(x, v, &f))
        wj_fail(x, v.kind == WJ_STR ? WTOK_JINJA_ERR_VALUE : WTOK_JINJA_ERR_TYPE,
                "could not convert to float");
    bool two = wj_truth(binary);
    double base = two ? 1024 : 1000, unit = base;
    if (f == 1)
        return wj_strz("1 Byte");
    if (f < base) {
        struct wj_val whole;
        if (!truncated(x, f, &whole))
            wj_fail(x, WTOK_JINJA_ERR_OVERFLOW, "cannot convert float infinity to integer");
        snprintf(text, sizeof(text), "%lld Bytes", (long long)whole.u.i);
        return wj_copy_str(x, weir_span_z(text));
    }
    size_t i = 0;
    for (;; i++) {
        unit *= base;
        if (f < unit || i == 7)
            break;
    }
    snprintf(text, sizeof(text), "%.1f %c%sB", base * f / unit,
             two && units[i] == 'k' ? 'K' : units[i], two ? "i" : "");
    return wj_copy_str(x, weir_span_z(text));
}

FILTER(f_default) {
    static const char *const params[] = {"default_value", "boolean"};
    struct wj_val p[2] = {wj_strz(""), wj_bool(false)};
    wj_bind(x, "do_default", a, params, 2, 0, p);
    return v.kind == WJ_UNDEF || (wj_truth(p[1]) && !wj_truth(v)) ? p[0] : v;
}

FILTER(f_attr) {
    static const char *const params[] = {"name"};
    struct wj_val name = wj_none();
    wj_bind(x, "do_attr", a, params, 1, 1, &name);
    if (name.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "attribute name must be string, not '%s'",
                wj_type_name(name));
    struct weir_span s = wj_text(x, name);
    unsigned attr = wj_attr_number(s);
    if (v.kind == WJ_UNDEF || v.kind == WJ_NS || v.kind == WJ_LOOP || v.kind == WJ_MACRO ||
        (attr != 0 && wj_has_attr(v, attr)))
        return wj_getattr(x, v, s, attr);
    struct wj_undef *u = wj_alloc(x, sizeof(*u));
    *u = (struct wj_undef){.type = WJ_UNDEF_ATTR, .obj = v, .text = s};
    return (struct wj_val){.kind = WJ_UNDEF, .u.undef = u};
}

FILTER(f_refused) {
    (void)v;
    (void)a;
    wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
            "the filters random, pprint, urlize and wordwrap are not supported");
}

const struct wj_filter_def *wj_find_filter(struct weir_span name) {
    static const struct wj_filter_def filters[] = {
        {"abs", f_abs},
        {"attr", f_attr},
        {"capitalize", f_capitalize},
        {"center", f_center},
        {"d", f_default},
        {"default", f_default},
        {"e", f_escape},
        {"escape", f_escape},
        {"filesizeformat", f_filesizeformat},
        {"float", f_float},
        {"forceescape", f_forceescape},
        {"format", f_format},
        {"indent", f_indent},
        {"int", f_int},
        {"lower", f_lower},
        {"pprint", f_refused},
        {"random", f_refused},
        {"replace", f_replace},
        {"round", f_round},
        {"safe", f_safe},
        {"string", f_string},
        {"striptags", f_striptags},
        {"title", f_title},
        {"tojson", wj_filter_tojson},
        {"trim", f_trim},
        {"truncate", f_truncate},
        {"upper", f_upper},
        {"urlencode", f_urlencode},
        {"urlize", f_refused},
        {"wordcount", f_wordcount},
        {"wordwrap", f_refused},
        {"xmlattr", f_xmlattr},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(filters); i++)
        if (weir_span_eqz(name, filters[i].name))
            return &filters[i];
    return NULL;
}
