#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum { FIRST_BYTES = 256 }; /* what most short texts fit into */

void weir_buf_free(struct weir_buf *buf) {
    weir_free(buf->data);
    *buf = (struct weir_buf){.max = buf->max};
}

enum weir_status weir_buf_reserve(struct weir_buf *buf, size_t bytes) {
    if (bytes <= buf->cap - buf->len)
        return WEIR_OK;
    if (bytes > buf->max || buf->len > buf->max - bytes)
        return WEIR_TOO_LARGE;
    size_t need = buf->len + bytes;
    size_t cap = buf->cap < FIRST_BYTES ? FIRST_BYTES : buf->cap;
    while (cap < need)
        cap = cap > buf->max / 2 ? buf->max : cap * 2;
    if (cap > buf->max)
        cap = buf->max;
    char *data = weir_realloc(buf->data, cap);
    if (data == NULL)
        return WEIR_NOMEM;
    buf->data = data;
    buf->cap = cap;
    return WEIR_OK;
}

enum weir_status weir_buf_append_z(struct weir_buf *buf, const char *s) {
    return weir_buf_append(buf, s, strlen(s));
}

enum weir_status weir_buf_printf(struct weir_buf *buf, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    enum weir_status st = n < 0 ? WEIR_INVALID : weir_buf_reserve(buf, (size_t)n + 1);
    if (st == WEIR_OK) {
        vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
    return st;
}

void weir_buf_consume(struct weir_buf *buf, size_t n) {
    WEIR_ASSERT(n <= buf->len);
    buf->len -= n;
    if (n > 0 && buf->len > 0)
        memmove(buf->data, buf->data + n, buf->len);
}

void weir_buf_move(struct weir_buf *dst, struct weir_buf *src) {
    weir_free(dst->data);
    dst->data = src->data;
    dst->len = src->len;
    dst->cap = src->cap;
    *src = (struct weir_buf){.max = src->max};
}
