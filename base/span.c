#include "base/span.h"

#include <string.h>

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool weir_span_ieq(struct weir_span a, struct weir_span b) {
    if (a.len != b.len)
        return false;
    if (a.len > 0 && memcmp(a.data, b.data, a.len) == 0) /* as nearly everybody writes names */
        return true;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct weir_span weir_span_trim(struct weir_span a) {
    while (a.len > 0 && is_blank(a.data[0]))
        a.data++, a.len--;
    while (a.len > 0 && is_blank(a.data[a.len - 1]))
        a.len--;
    return a;
}

ptrdiff_t weir_span_find(struct weir_span a, char c) {
    const char *p = a.len > 0 ? memchr(a.data, c, a.len) : NULL;
    return p != NULL ? p - a.data : -1;
}

struct weir_span weir_span_split(struct weir_span a, char sep, struct weir_span *rest) {
    ptrdiff_t at = weir_span_find(a, sep);
    if (at < 0) {
        *rest = weir_span(NULL, 0);
        return a;
    }
    *rest = weir_span(a.data + at + 1, a.len - (size_t)at - 1);
    return weir_span(a.data, (size_t)at);
}

bool weir_span_u64(struct weir_span a, uint64_t *ret_value) {
    if (a.len == 0 || a.len > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] < '0' || a.data[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(a.data[i] - '0'), &v))
            return false;
    }
    *ret_value = v;
    return true;
}

bool weir_span_i64(struct weir_span a, int64_t *ret_value) {
    bool negative = a.len > 0 && a.data[0] == '-';
    uint64_t v = 0;
    if (!weir_span_u64(weir_span(a.data + negative, a.len - negative), &v))
        return false;
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *ret_value = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool weir_span_hex64(struct weir_span a, uint64_t *ret_value) {
    if (a.len == 0 || a.len > 16)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < a.len; i++) {
        char c = lower(a.data[i]);
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_value = v;
    return true;
}
