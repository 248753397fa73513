/*
 * Methods of Python's str, by code points, on UTF-8.
 */
#include "tokenizer/jinja_attr_priv.h"
#include "tokenizer/jinja_priv.h"

/* ---- cutting ------------------------------------------------------------------------------ */

static struct weir_span need_str(struct wj_run *x, const char *what, struct wj_val v) {
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s must be str, not %s", what, wj_type_name(v));
    return wj_text(x, v);
}

static void push_part(struct wj_run *x, struct wj_vec *parts, const char *from, const char *to) {
    wj_push(x, parts, wj_str(weir_span(from, (size_t)(to - from))));
}

static struct wj_vec split_spaces(struct wj_run *x, struct weir_span s, int64_t max) {
    struct wj_vec parts = {0};
    const char *p = s.data, *end = p + s.len;
    for (;;) {
        p = wj_strip(x, weir_span(p, (size_t)(end - p)), wj_none(), 1).data;
        if (p == end)
            return parts;
        if (max >= 0 && (int64_t)parts.n == max) {
            push_part(x, &parts, p, end);
            return parts;
        }
        const char *start = p, *next = p;
        while (p < end && !wj_is_space(wj_decode(&next, end)))
            p = next;
        push_part(x, &parts, start, p);
    }
}

static void reverse(struct wj_vec *v) {
    for (uint32_t i = 0; i < v->n / 2; i++) {
        struct wj_val t = v->at[i];
        v->at[i] = v->at[v->n - 1 - i];
        v->at[v->n - 1 - i] = t;
    }
}

static struct wj_vec rsplit_spaces(struct wj_run *x, struct weir_span s, int64_t max) {
    struct wj_vec parts = {0};
    const char *begin = s.data, *end = begin + s.len;
    while (end > begin) {
        struct weir_span t = wj_strip(x, weir_span(begin, (size_t)(end - begin)), wj_none(), 2);
        end = t.data + t.len;
        if (end == begin)
            break;
        if (max >= 0 && (int64_t)parts.n == max) {
            push_part(x, &parts, begin, end);
            break;
        }
        const char *stop = end, *before = end;
        while (end > begin && !wj_is_space(wj_decode_back(begin, &before)))
            end = before;
        push_part(x, &parts, end, stop);
    }
    reverse(&parts);
    return parts;
}

static struct wj_vec split_by(struct wj_run *x, struct weir_span s, struct weir_span sep,
                              int64_t max) {
    struct wj_vec parts = {0};
    size_t from = 0;
    ptrdiff_t hit;
    while ((max < 0 || (int64_t)parts.n < max) && (hit = wj_find(s, sep, from)) >= 0) {
        push_part(x, &parts, s.data + from, s.data + hit);
        from = (size_t)hit + sep.len;
    }
    push_part(x, &parts, s.data + from, s.data + s.len);
    return parts;
}

static ptrdiff_t find_last(struct weir_span s, struct weir_span sub) {
    if (sub.len > s.len)
        return -1;
    for (size_t i = s.len - sub.len + 1; i-- > 0;)
        if (memcmp(s.data + i, sub.data, sub.len) == 0)
            return (ptrdiff_t)i;
    return -1;
}

static struct wj_vec rsplit_by(struct wj_run *x, struct weir_span s, struct weir_span sep,
                               int64_t max) {
    struct wj_vec parts = {0};
    ptrdiff_t hit;
    wj_charge(x, s.len / 8);
    while ((max < 0 || (int64_t)parts.n < max) && (hit = find_last(s, sep)) >= 0) {
        push_part(x, &parts, s.data + hit + sep.len, s.data + s.len);
        s.len = (size_t)hit;
    }
    push_part(x, &parts, s.data, s.data + s.len);
    reverse(&parts);
    return parts;
}

static struct wj_val split(struct wj_run *x, struct weir_span s, const struct wj_args *a,
                           bool right) {
    static const char *const params[] = {"sep", "maxsplit"};
    struct wj_val p[2] = {wj_none(), wj_int(-1)};
    wj_bind(x, right ? "rsplit" : "split", a, params, 2, 0, p);
    int64_t max = wj_index(x, p[1], "maxsplit");
    wj_charge(x, s.len / 16);
    struct wj_vec v;
    if (p[0].kind == WJ_NONE) {
        v = right ? rsplit_spaces(x, s, max) : split_spaces(x, s, max);
    } else {
        struct weir_span sep = need_str(x, "the separator", p[0]);
        if (sep.len == 0)
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "empty separator");
        v = right ? rsplit_by(x, s, sep, max) : split_by(x, s, sep, max);
    }
    return wj_list(v.at, v.n);
}

static bool is_line_end(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

struct wj_val wj_splitlines(struct wj_run *x, struct weir_span s, bool keepends) {
    struct wj_vec lines = {0};
    const char *p = s.data, *end = p + s.len, *from = p;
    wj_charge(x, s.len / 16);
    while (p < end) {
        const char *start = p;
        uint32_t c = wj_decode(&p, end);
        if (!is_line_end(c))
            continue;
        if (c == '\r' && p < end && *p == '\n')
            p++;
        push_part(x, &lines, from, keepends ? p : start);
        from = p;
    }
    if (from < end)
        push_part(x, &lines, from, end);
    return wj_list(lines.at, lines.n);
}

static struct wj_val partition(struct wj_run *x, struct weir_span s, struct weir_span sep,
                               bool right) {
    if (sep.len == 0)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "empty separator");
    ptrdiff_t hit = right ? find_last(s, sep) : wj_find(s, sep, 0);
    struct wj_val *items = wj_alloc(x, 3 * sizeof(*items));
    items[0] = items[1] = items[2] = wj_str(weir_span("", 0));
    if (hit < 0) {
        items[right ? 2 : 0] = wj_str(s);
    } else {
        size_t behind = (size_t)hit + sep.len;
        items[0] = wj_str(weir_span(s.data, (size_t)hit));
        items[1] = wj_str(sep);
        items[2] = wj_str(weir_span(s.data + behind, s.len - behind));
    }
    return wj_tuple(items, 3);
}

/* ---- searching ---------------------------------------------------------------------------- */

/* The part of s that optional start and end arguments (at index 1 and 2) leave; false when start
 * lies behind the end. *ret_skipped: code points before it. */
static bool window(struct wj_run *x, struct weir_span *s, const struct wj_args *a,
                   size_t *ret_skipped) {
    *ret_skipped = 0;
    if (a->n < 2)
        return true;
    int64_t n = (int64_t)wj_points(*s), start = 0, end = n;
    if (a->at[1].kind != WJ_NONE)
        start = wj_index(x, a->at[1], "a start");
    if (a->n > 2 && a->at[2].kind != WJ_NONE)
        end = wj_index(x, a->at[2], "an end");
    end = end < 0 ? end + n : end;
    end = end < 0 ? 0 : end > n ? n : end;
    start = start < 0 ? start + n : start;
    start = start < 0 ? 0 : start;
    if (start > n || start > end)
        return false;
    size_t from = wj_offset(*s, (size_t)start), to = wj_offset(*s, (size_t)end);
    *ret_skipped = (size_t)start;
    *s = weir_span(s->data + from, to - from);
    return true;
}

static struct wj_val find(struct wj_run *x, struct weir_span s, unsigned attr,
                          const struct wj_args *a) {
    size_t skipped;
    wj_positional(x, wj_attr_name(attr), a, 1, 3);
    struct weir_span sub = need_str(x, "the text to find", a->at[0]);
    bool last = attr == WJ_A_rfind || attr == WJ_A_rindex, ok = window(x, &s, a, &skipped);
    wj_charge(x, s.len / 16);
    ptrdiff_t hit = !ok ? -1 : last ? find_last(s, sub) : wj_find(s, sub, 0);
    if (hit >= 0)
        return wj_int((int64_t)(skipped + wj_points(weir_span(s.data, (size_t)hit))));
    if (attr == WJ_A_index || attr == WJ_A_rindex)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "substring not found");
    return wj_int(-1);
}

static struct wj_val count(struct wj_run *x, struct weir_span s, const struct wj_args *a) {
    size_t skipped;
    int64_t n = 0;
    wj_positional(x, "count", a, 1, 3);
    struct weir_span sub = need_str(x, "the text to count", a->at[0]);
    if (!window(x, &s, a, &skipped))
        return wj_int(0);
    wj_charge(x, s.len / 16);
    if (sub.len == 0)
        return wj_int((int64_t)wj_points(s) + 1);
    for (ptrdiff_t at = 0; (at = wj_find(s, sub, (size_t)at)) >= 0; at += (ptrdiff_t)sub.len)
        n++;
    return wj_int(n);
}

static bool has_fix(struct weir_span s, struct weir_span fix, bool end) {
    return fix.len <= s.len && (fix.len == 0 || memcmp(end ? s.data + s.len - fix.len : s.data,
                                                       fix.data, fix.len) == 0);
}

static struct wj_val fixed_with(struct wj_run *x, struct weir_span s, const struct wj_args *a,
                                bool end) {
    const char *what = end ? "endswith" : "startswith";
    size_t skipped;
    wj_positional(x, what, a, 1, 3);
    struct wj_val fix = a->at[0];
    bool ok = window(x, &s, a, &skipped), hit = false;
    if (fix.kind == WJ_STR)
        return wj_bool(ok && has_fix(s, wj_text(x, fix), end));
    if (fix.kind != WJ_TUPLE)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s first arg must be str or a tuple of str, not %s", what,
                wj_type_name(fix));
    for (uint32_t i = 0; i < fix.len && !hit; i++) {
        if (fix.u.items[i].kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "tuple for %s must only contain str, not %s", what,
                    wj_type_name(fix.u.items[i]));
        hit = ok && has_fix(s, wj_text(x, fix.u.items[i]), end);
    }
    return wj_bool(hit);
}

/* ---- building ----------------------------------------------------------------------------- */

struct wj_val wj_replace(struct wj_run *x, struct weir_span s, struct weir_span from,
                         struct weir_span to, int64_t times) {
    size_t mark = x->out->len, at = 0;
    ptrdiff_t hit;
    wj_charge(x, s.len / 16);
    if (from.len == 0) { /* between all code points */
        const char *p = s.data, *end = p + s.len;
        for (; times != 0; times -= times > 0) {
            wj_puts(x, to);
            if (p == end)
                break;
            const char *start = p;
            wj_decode(&p, end);
            wj_put(x, start, (size_t)(p - start));
        }
        wj_put(x, p, (size_t)(end - p));
        return wj_cut(x, mark);
    }
    for (; times != 0 && (hit = wj_find(s, from, at)) >= 0; times -= times > 0) {
        wj_put(x, s.data + at, (size_t)hit - at);
        wj_puts(x, to);
        at = (size_t)hit + from.len;
    }
    if (at == 0)
        return wj_str(s);
    wj_put(x, s.data + at, s.len - at);
    return wj_cut(x, mark);
}

static struct wj_val join(struct wj_run *x, struct weir_span sep, struct wj_val v) {
    if (!wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "can only join an iterable");
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val item;
    size_t mark = x->out->len;
    for (size_t i = 0; wj_next(x, &it, &item); i++) {
        if (item.kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "sequence item %zu: expected str instance, %s found", i,
                    wj_type_name(item));
        if (i > 0)
            wj_puts(x, sep);
        wj_put_str(x, item);
    }
    return wj_cut(x, mark);
}

/* how: -1 ljust, 0 center, 1 rjust. */
struct wj_val wj_pad(struct wj_run *x, struct wj_val v, int64_t width, struct wj_val fill,
                     int how) {
    /* Markup escapes what it is filled with, numbers too. */
    struct wj_val with = (v.flags & WJ_MARKUP) != 0 ? wj_escape(x, fill) : fill;
    struct weir_span s = wj_text(x, v), f = need_str(x, "The fill character", with);
    int64_t n = (int64_t)wj_points(s), pad = width - n;
    if (wj_points(f) != 1)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "The fill character must be exactly one character long");
    if (pad <= 0)
        return v;
    if ((uint64_t)pad > x->out->max)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a padded text is too large");
    int64_t left = how < 0 ? 0 : how > 0 ? pad : pad / 2 + (pad & width & 1);
    size_t mark = x->out->len;
    wj_charge(x, (uint64_t)pad / 8);
    for (int64_t i = 0; i < left; i++)
        wj_puts(x, f);
    wj_puts(x, s);
    for (int64_t i = left; i < pad; i++)
        wj_puts(x, f);
    struct wj_val r = wj_cut(x, mark);
    r.flags |= v.flags & WJ_MARKUP;
    return r;
}

static struct wj_val pad_method(struct wj_run *x, struct wj_val self, unsigned attr,
                                const struct wj_args *a) {
    wj_positional(x, wj_attr_name(attr), a, 1, 2);
    return wj_pad(x, self, wj_index(x, a->at[0], "a width"), a->n > 1 ? a->at[1] : wj_strz(" "),
                  attr == WJ_A_ljust ? -1 : attr == WJ_A_rjust);
}

static struct wj_val zfill(struct wj_run *x, struct weir_span s, int64_t width) {
    int64_t pad = width - (int64_t)wj_points(s);
    if (pad <= 0)
        return wj_str(s);
    if ((uint64_t)pad > x->out->max)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a padded text is too large");
    size_t mark = x->out->len, sign = s.len > 0 && (s.data[0] == '-' || s.data[0] == '+');
    wj_put(x, s.data, sign);
    for (int64_t i = 0; i < pad; i++)
        wj_put(x, "0", 1);
    wj_put(x, s.data + sign, s.len - sign);
    return wj_cut(x, mark);
}

static struct wj_val expandtabs(struct wj_run *x, struct weir_span s, const struct wj_args *a) {
    static const char *const params[] = {"tabsize"};
    struct wj_val p = wj_int(8);
    wj_bind(x, "expandtabs", a, params, 1, 0, &p);
    int64_t size = wj_index(x, p, "a tab size"), column = 0;
    size_t mark = x->out->len;
    if (size > 10000)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a tab size beyond 10000");
    for (const char *q = s.data, *end = q + s.len; q < end;) {
        const char *start = q;
        uint32_t c = wj_decode(&q, end);
        if (c == '\t') {
            for (int64_t n = size > 0 ? size - column % size : 0; n > 0; n--, column++)
                wj_put(x, " ", 1);
            continue;
        }
        column = c == '\n' || c == '\r' ? 0 : column + 1;
        wj_put(x, start, (size_t)(q - start));
    }
    return wj_cut(x, mark);
}

/* ---- dispatch ----------------------------------------------------------------------------- */

static struct wj_val strip_method(struct wj_run *x, struct weir_span s, unsigned attr,
                                  const struct wj_args *a) {
    wj_positional(x, wj_attr_name(attr), a, 0, 1);
    wj_charge(x, s.len / 64);
    return wj_str(wj_strip(x, s, a->n > 0 ? a->at[0] : wj_none(),
                           attr == WJ_A_strip    ? 3
                           : attr == WJ_A_lstrip ? 1
                                                 : 2));
}

static struct wj_val without_fix(struct wj_run *x, struct weir_span s, unsigned attr,
                                 const struct wj_args *a) {
    bool end = attr == WJ_A_removesuffix;
    wj_positional(x, wj_attr_name(attr), a, 1, 1);
    struct weir_span fix = need_str(x, "the argument", a->at[0]);
    if (has_fix(s, fix, end))
        s = weir_span(end ? s.data : s.data + fix.len, s.len - fix.len);
    return wj_str(s);
}

static struct wj_val replace_method(struct wj_run *x, struct weir_span s, const struct wj_args *a) {
    wj_positional(x, "replace", a, 2, 3);
    return wj_replace(x, s, need_str(x, "replace() argument 1", a->at[0]),
                      need_str(x, "replace() argument 2", a->at[1]),
                      a->n > 2 ? wj_index(x, a->at[2], "a count") : -1);
}

static struct wj_val lines_method(struct wj_run *x, struct weir_span s, const struct wj_args *a) {
    static const char *const params[] = {"keepends"};
    struct wj_val p = wj_bool(false);
    wj_bind(x, "splitlines", a, params, 1, 0, &p);
    return wj_splitlines(x, s, wj_index(x, p, "keepends") != 0);
}

/* Methods that take no argument. */
static bool simple_method(struct wj_run *x, struct wj_val self, unsigned attr,
                          const struct wj_args *a, struct wj_val *ret) {
    struct weir_span s = wj_text(x, self);
    switch (attr) {
    case WJ_A_lower:
        *ret = wj_case_map(x, self, WJ_CASE_LOWER);
        break;
    case WJ_A_upper:
        *ret = wj_case_map(x, self, WJ_CASE_UPPER);
        break;
    case WJ_A_title:
        *ret = wj_case_map(x, self, WJ_CASE_TITLE);
        break;
    case WJ_A_casefold:
        *ret = wj_case_map(x, self, WJ_CASE_FOLD);
        break;
    case WJ_A_capitalize:
        *ret = wj_capitalize(x, self);
        break;
    case WJ_A_swapcase:
        *ret = wj_swapcase(x, s);
        break;
    case WJ_A_isalnum:
    case WJ_A_isalpha:
    case WJ_A_isascii:
    case WJ_A_isdecimal:
    case WJ_A_isdigit:
    case WJ_A_isidentifier:
    case WJ_A_islower:
    case WJ_A_isnumeric:
    case WJ_A_isprintable:
    case WJ_A_isspace:
    case WJ_A_istitle:
    case WJ_A_isupper:
        wj_charge(x, s.len / 8);
        *ret = wj_bool(wj_has_class(s, attr));
        break;
    default:
        return false;
    }
    wj_positional(x, wj_attr_name(attr), a, 0, 0);
    return true;
}

static struct wj_val dispatch(struct wj_run *x, struct wj_val self, unsigned attr,
                              const struct wj_args *a) {
    struct weir_span s = wj_text(x, self);
    switch (attr) {
    case WJ_A_strip:
    case WJ_A_lstrip:
    case WJ_A_rstrip:
        return strip_method(x, s, attr, a);
    case WJ_A_removeprefix:
    case WJ_A_removesuffix:
        return without_fix(x, s, attr, a);
    case WJ_A_startswith:
    case WJ_A_endswith:
        return fixed_with(x, s, a, attr == WJ_A_endswith);
    case WJ_A_split:
    case WJ_A_rsplit:
        return split(x, s, a, attr == WJ_A_rsplit);
    case WJ_A_splitlines:
        return lines_method(x, s, a);
    case WJ_A_partition:
    case WJ_A_rpartition:
        wj_positional(x, wj_attr_name(attr), a, 1, 1);
        return partition(x, s, need_str(x, "the separator", a->at[0]), attr == WJ_A_rpartition);
    case WJ_A_find:
    case WJ_A_rfind:
    case WJ_A_index:
    case WJ_A_rindex:
        return find(x, s, attr, a);
    case WJ_A_count:
        return count(x, s, a);
    case WJ_A_replace:
        return replace_method(x, s, a);
    case WJ_A_join:
        wj_positional(x, "join", a, 1, 1);
        return join(x, s, a->at[0]);
    case WJ_A_center:
    case WJ_A_ljust:
    case WJ_A_rjust:
        return pad_method(x, self, attr, a);
    case WJ_A_zfill:
        wj_positional(x, "zfill", a, 1, 1);
        return zfill(x, s, wj_index(x, a->at[0], "a width"));
    case WJ_A_expandtabs:
        return expandtabs(x, s, a);
    case WJ_A_format:
        return wj_str_format(x, self, a);
    default:
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "str.%s() is not supported", wj_attr_name(attr));
    }
}

struct wj_val wj_str_method(struct wj_run *x, struct wj_val self, unsigned attr,
                            const struct wj_args *a) {
    struct wj_val r;
    if (simple_method(x, self, attr, a, &r))
        return r;
    bool markup = (self.flags & WJ_MARKUP) != 0;
    /* Markup escapes what is put into it. */
    if (markup && (attr == WJ_A_replace || attr == WJ_A_join || attr == WJ_A_format ||
                   attr == WJ_A_split || attr == WJ_A_rsplit || attr == WJ_A_partition ||
                   attr == WJ_A_rpartition || attr == WJ_A_splitlines))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "Markup.%s() is not supported", wj_attr_name(attr));
    r = dispatch(x, self, attr, a);
    if (markup && r.kind == WJ_STR)
        r.flags |= WJ_MARKUP;
    return r;
}
