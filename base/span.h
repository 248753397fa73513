/*
 * A borrowed run of bytes: not NUL-terminated, never owns. Whoever hands one out says how long the
 * bytes live. All functions are pure.
 */
#ifndef WEIR_BASE_SPAN_H
#define WEIR_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct weir_span {
    const char *data;
    size_t len;
};

#define WEIR_SPAN_LIT(s) ((struct weir_span){(s), sizeof(s) - 1})
/* printf helper: printf("%.*s", WEIR_SPAN_ARG(span)) */
#define WEIR_SPAN_ARG(sp) (int)(sp).len, (sp).data

static inline struct weir_span weir_span(const char *data, size_t len) {
    return (struct weir_span){data, len};
}
static inline struct weir_span weir_span_z(const char *s) {
    return (struct weir_span){s, s != NULL ? strlen(s) : 0};
}
static inline bool weir_span_eq(struct weir_span a, struct weir_span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline bool weir_span_eqz(struct weir_span a, const char *s) {
    return weir_span_eq(a, weir_span_z(s));
}
static inline bool weir_span_starts(struct weir_span a, struct weir_span prefix) {
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}
/* By bytes, a shorter one before what it begins: below, at or above 0. */
static inline int weir_span_compare(struct weir_span a, struct weir_span b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}
/* ASCII case-insensitive equality. */
bool weir_span_ieq(struct weir_span a, struct weir_span b);
/* Without leading and trailing blanks, tabs, CR and LF. */
struct weir_span weir_span_trim(struct weir_span a);
/* Index of the first `c`, or -1. */
ptrdiff_t weir_span_find(struct weir_span a, char c);
/* The part before the first `sep`; *rest becomes what follows it. When there is none the whole is
 * returned and rest->data becomes NULL. `rest` may be the span itself. */
struct weir_span weir_span_split(struct weir_span a, char sep, struct weir_span *rest);
/* Strict decimal: digits only, no sign, no overflow; false leaves *ret untouched. */
bool weir_span_u64(struct weir_span a, uint64_t *ret_value);
bool weir_span_i64(struct weir_span a, int64_t *ret_value);
/* Hexadecimal without prefix, 1 to 16 digits. */
bool weir_span_hex64(struct weir_span a, uint64_t *ret_value);
/* Decimal floating point, whole span, locale-independent; refuses hex floats; inf and nan refused.
 */
bool weir_span_f64(struct weir_span a, double *ret_value);

#endif
