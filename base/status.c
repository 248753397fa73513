#include "base/status.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
    const char *text;
} table[] = {
#define X(name, http, text) {#name, http, text},
    WEIR_STATUS_MAP(X)
#undef X
};

const char *weir_status_text(enum weir_status status) {
    return (size_t)status < WEIR_ARRAY_LEN(table) ? table[status].text : "unknown status";
}

const char *weir_status_name(enum weir_status status) {
    return (size_t)status < WEIR_ARRAY_LEN(table) ? table[status].name : "UNKNOWN";
}

int weir_status_http(enum weir_status status) {
    return (size_t)status < WEIR_ARRAY_LEN(table) ? table[status].http : 500;
}

/* How much of a character may stand behind what is kept: it tells whether that ends in one. */
enum { UTF8_MORE = 3 };

static void keep(struct weir_err *err, const char *text) {
    struct weir_span kept = weir_utf8_cut(weir_span_z(text), sizeof(err->text) - 1);
    memcpy(err->text, kept.data, kept.len);
    err->text[kept.len] = '\0';
}

enum weir_status weir_err_set(struct weir_err *err, enum weir_status status, const char *fmt, ...) {
    if (err != NULL) {
        err->status = status;
        va_list ap;
        va_start(ap, fmt);
        char text[sizeof(err->text) + UTF8_MORE];
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        keep(err, text);
    }
    return status;
}

enum weir_status weir_err_prefix(struct weir_err *err, const char *fmt, ...) {
    if (err == NULL)
        return WEIR_INTERNAL;
    char joined[2 * sizeof(err->text) + UTF8_MORE];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(joined, sizeof(err->text) + UTF8_MORE, fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : weir_utf8_cut(weir_span_z(joined), sizeof(err->text) - 3).len;
    memcpy(joined + at, ": ", 2);
    memcpy(joined + at + 2, err->text, sizeof(err->text));
    keep(err, joined);
    return err->status;
}

_Noreturn void weir_assert_fail(const char *cond, const char *file, int line) {
    fprintf(stderr, "weir: internal error: %s at %s:%d; please report this\n", cond, file, line);
    abort();
}
