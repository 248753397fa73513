/*
 * Python's str by code points: its letter case, and the classes that isalpha() and the like ask
 * for.
 */
#include "tokenizer/jinja_attr_priv.h"
#include "tokenizer/jinja_priv.h"

/* ---- case --------------------------------------------------------------------------------- */

static void put_mapped(struct wj_run *x, uint32_t code, enum wj_case to) {
    uint32_t codes[3];
    unsigned n = wj_map_case(code, to, codes);
    for (unsigned i = 0; i < n; i++)
        wj_put_code(x, codes[i]);
}

/* A capital sigma at p becomes the final form when a letter stands before it and none behind. */
static bool is_final_sigma(struct weir_span s, const char *p) {
    const char *before = p, *after = p + 2, *end = s.data + s.len;
    unsigned props = WJ_U_IGNORABLE;
    while (before > s.data && (props & WJ_U_IGNORABLE) != 0)
        props = wj_props(wj_decode_back(s.data, &before));
    if ((props & WJ_U_IGNORABLE) != 0 || (props & WJ_U_CASED) == 0)
        return false;
    props = WJ_U_IGNORABLE;
    while (after < end && (props & WJ_U_IGNORABLE) != 0)
        props = wj_props(wj_decode(&after, end));
    return (props & WJ_U_IGNORABLE) != 0 || (props & WJ_U_CASED) == 0;
}

static void put_lower(struct wj_run *x, struct weir_span s, const char *p, uint32_t code) {
    if (code == 0x3A3)
        wj_put_code(x, is_final_sigma(s, p) ? 0x3C2 : 0x3C3);
    else
        put_mapped(x, code, WJ_CASE_LOWER);
}

struct wj_val wj_case_map(struct wj_run *x, struct wj_val v, enum wj_case to) {
    struct weir_span s = wj_text(x, v);
    struct wj_val r;
    wj_charge(x, s.len / 8);
    if (wj_is_ascii(s) && to != WJ_CASE_TITLE) {
        char *p = wj_alloc(x, s.len + 1);
        char low = to == WJ_CASE_UPPER ? 'a' : 'A';
        for (size_t i = 0; i < s.len; i++)
            p[i] = (unsigned char)(s.data[i] - low) < 26 ? (char)(s.data[i] ^ 0x20) : s.data[i];
        r = wj_str(weir_span(p, s.len));
    } else {
        size_t mark = x->out->len;
        bool inside = false; /* a word: title() */
        for (const char *p = s.data, *end = p + s.len; p < end;) {
            const char *start = p;
            uint32_t code = wj_decode(&p, end);
            if (to == WJ_CASE_LOWER || (to == WJ_CASE_TITLE && inside))
                put_lower(x, s, start, code);
            else
                put_mapped(x, code, to);
            inside = (wj_props(code) & WJ_U_CASED) != 0;
        }
        r = wj_cut(x, mark);
    }
    r.flags |= v.flags & WJ_MARKUP;
    return r;
}

struct wj_val wj_capitalize(struct wj_run *x, struct wj_val v) {
    struct weir_span s = wj_text(x, v);
    size_t mark = x->out->len;
    wj_charge(x, s.len / 8);
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        const char *start = p;
        uint32_t code = wj_decode(&p, end);
        if (start == s.data)
            put_mapped(x, code, WJ_CASE_TITLE);
        else
            put_lower(x, s, start, code);
    }
    struct wj_val r = wj_cut(x, mark);
    r.flags |= v.flags & WJ_MARKUP;
    return r;
}

struct wj_val wj_swapcase(struct wj_run *x, struct weir_span s) {
    size_t mark = x->out->len;
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        const char *start = p;
        uint32_t code = wj_decode(&p, end);
        unsigned props = wj_props(code);
        if (props & WJ_U_UPPER)
            put_lower(x, s, start, code);
        else if (props & WJ_U_LOWER)
            put_mapped(x, code, WJ_CASE_UPPER);
        else
            wj_put_code(x, code);
    }
    return wj_cut(x, mark);
}

/* ---- classes ------------------------------------------------------------------------------ */

static bool all_have(struct weir_span s, unsigned props) {
    for (const char *p = s.data, *end = p + s.len; p < end;)
        if ((wj_props(wj_decode(&p, end)) & props) == 0)
            return false;
    return s.len > 0;
}

static bool one_case(struct weir_span s, unsigned wanted) {
    unsigned other = (wanted == WJ_U_LOWER ? WJ_U_UPPER : WJ_U_LOWER) | WJ_U_TITLE;
    bool some = false;
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        unsigned props = wj_props(wj_decode(&p, end));
        if ((props & other) != 0)
            return false;
        some |= (props & wanted) != 0;
    }
    return some;
}

static bool is_title(struct weir_span s) {
    bool inside = false, some = false;
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        unsigned props = wj_props(wj_decode(&p, end));
        if ((props & (WJ_U_UPPER | WJ_U_TITLE)) != 0) {
            if (inside)
                return false;
            inside = some = true;
        } else if ((props & WJ_U_LOWER) != 0) {
            if (!inside)
                return false;
            some = true;
        } else {
            inside = false;
        }
    }
    return some;
}

static bool is_identifier(struct weir_span s) {
    const char *p = s.data, *end = p + s.len;
    if (s.len == 0)
        return false;
    while (p < end) {
        bool first = p == s.data;
        uint32_t c = wj_decode(&p, end);
        unsigned want = first ? WJ_U_ALPHA : WJ_U_ALPHA | WJ_U_DECIMAL;
        if (c != '_' && (wj_props(c) & want) == 0)
            return false;
    }
    return true;
}

static bool is_space(struct weir_span s) {
    for (const char *p = s.data, *end = p + s.len; p < end;)
        if (!wj_is_space(wj_decode(&p, end)))
            return false;
    return s.len > 0;
}

bool wj_has_class(struct weir_span s, unsigned attr) {
    switch (attr) {
    case WJ_A_isalnum:
        return all_have(s, WJ_U_ALPHA | WJ_U_DECIMAL | WJ_U_DIGIT | WJ_U_NUMERIC);
    case WJ_A_isalpha:
        return all_have(s, WJ_U_ALPHA);
    case WJ_A_isascii:
        return wj_is_ascii(s);
    case WJ_A_isdecimal:
        return all_have(s, WJ_U_DECIMAL);
    case WJ_A_isdigit:
        return all_have(s, WJ_U_DIGIT);
    case WJ_A_isidentifier:
        return is_identifier(s);
    case WJ_A_islower:
        return one_case(s, WJ_U_LOWER);
    case WJ_A_isnumeric:
        return all_have(s, WJ_U_NUMERIC);
    case WJ_A_isprintable:
        return s.len == 0 || all_have(s, WJ_U_PRINTABLE);
    case WJ_A_isspace:
        return is_space(s);
    case WJ_A_istitle:
        return is_title(s);
    default:
        return one_case(s, WJ_U_UPPER);
    }
}
