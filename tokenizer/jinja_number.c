/*
 * Numbers from text, as Python's int() and float() read them.
 */
#include "base/utf8.h"
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdlib.h>

static unsigned digit_in(uint32_t c) {
    int d = wj_decimal_value(c);
    if (d >= 0)
        return (unsigned)d;
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80 ? (c | 0x20) - 'a' + 10 : 99;
}

/* "0x" and the like, where the base allows it. */
static unsigned prefix_base(struct weir_span s) {
    if (s.len < 2 || s.data[0] != '0')
        return 0;
    char c = s.data[1] | 0x20;
    return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
}

/* int(text, base) */
bool wj_parse_int(struct wj_run *x, struct weir_span s, int64_t base, struct wj_val *ret) {
    s = wj_strip(x, s, wj_none(), 3);
    bool negative = s.len > 0 && s.data[0] == '-', any = false, under = true;
    if (s.len > 0 && (s.data[0] == '-' || s.data[0] == '+'))
        s = weir_span(s.data + 1, s.len - 1);
    unsigned prefix = prefix_base(s);
    if (prefix != 0 && (base == 0 || base == prefix)) {
        base = prefix;
        s = weir_span(s.data + 2, s.len - 2);
        under = false; /* "0x_1" is right */
    } else if (base == 0) {
        base = 10;
        if (s.len > 1 && s.data[0] == '0' && wj_strip(x, s, wj_strz("0_"), 3).len > 0)
            return false;
    }
    char *text = wj_alloc(x, s.len + 2);
    size_t n = 0;
    uint64_t v = 0;
    bool over = false;
    for (const char *p = s.data, *end = p + s.len; p < end;) {
        uint32_t c = wj_decode(&p, end);
        if (c == '_') {
            if (under)
                return false;
            under = true;
            continue;
        }
        unsigned d = digit_in(c);
        if (d >= (unsigned)base)
            return false;
        under = false;
        any = true;
        over |= __builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, d, &v);
        if (n > 0 || d > 0)
            text[1 + n++] = (char)('0' + d % 10);
    }
    if (!any || under)
        return false;
    if (!over && v <= (uint64_t)INT64_MAX + negative) {
        *ret = wj_int(negative ? (int64_t)((uint64_t)0 - v) : (int64_t)v);
        return true;
    }
    if (base != 10)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "an integer beyond 64 bits in base %d", (int)base);
    text[0] = '-';
    *ret = (struct wj_val){
        .kind = WJ_BIG, .len = (uint32_t)(n + negative), .u.s = negative ? text : text + 1};
    return true;
}

/* float(text), white space already gone. */
bool wj_parse_float(struct weir_span s, double *ret) {
    char text[128];
    size_t n = 0;
    bool negative = s.len > 0 && s.data[0] == '-';
    if (s.len == 0 || s.len >= sizeof(text))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '_') {
            if (i == 0 || i + 1 == s.len || s.data[i - 1] < '0' || s.data[i - 1] > '9' ||
                s.data[i + 1] < '0' || s.data[i + 1] > '9')
                return false;
            continue;
        }
        text[n++] = c;
    }
    struct weir_span t = weir_span(text, n), word = t;
    if (word.len > 0 && (word.data[0] == '-' || word.data[0] == '+'))
        word = weir_span(word.data + 1, word.len - 1);
    if (weir_span_ieq(word, WEIR_SPAN_LIT("inf")) ||
        weir_span_ieq(word, WEIR_SPAN_LIT("infinity"))) {
        *ret = negative ? -INFINITY : INFINITY;
        return true;
    }
    if (weir_span_ieq(word, WEIR_SPAN_LIT("nan"))) {
        *ret = NAN;
        return true;
    }
    if (weir_span_f64(t, ret))
        return true;
    /* Out of range reads as infinity; anything else is no number. */
    text[n] = '\0';
    char *end;
    for (size_t i = 0; i < n; i++)
        if (strchr("0123456789.eE+-", text[i]) == NULL)
            return false;
    *ret = strtod(text, &end);
    return n > 0 && end == text + n;
}
