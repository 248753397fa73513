#include "base/status.h"

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

enum weir_status weir_err_set(struct weir_err *err, enum weir_status status, const char *fmt, ...) {
    if (err != NULL) {
        err->status = status;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return status;
}

enum weir_status weir_err_prefix(struct weir_err *err, const char *fmt, ...) {
    if (err == NULL)
        return WEIR_INTERNAL;
    char joined[2 * sizeof(err->text)];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(joined, sizeof(err->text) - 2, fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : strlen(joined);
    memcpy(joined + at, ": ", 2);
    memcpy(joined + at + 2, err->text, sizeof(err->text));
    memcpy(err->text, joined, sizeof(err->text) - 1);
    err->text[sizeof(err->text) - 1] = '\0';
    return err->status;
}

_Noreturn void weir_assert_fail(const char *cond, const char *file, int line) {
    fprintf(stderr, "weir: internal error: %s at %s:%d; please report this\n", cond, file, line);
    abort();
}
