/*
 * A growing byte buffer with a maximum that its owner sets at init. Appends either succeed whole or
 * change nothing. Threads: one at a time.
 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include "base/span.h"
#include "base/status.h"

#include <string.h>

struct weir_buf {
    char *data; /* owned; NULL until the first append */
    size_t len;
    size_t cap;
    size_t max; /* bytes; an append beyond it returns WEIR_TOO_LARGE */
};

static inline void weir_buf_init(struct weir_buf *buf, size_t max_bytes) {
    *buf = (struct weir_buf){.max = max_bytes};
}
void weir_buf_free(struct weir_buf *buf);
/* Frees the memory; the buffer may be used again with the same maximum. Accepts NULL. */
static inline void weir_buf_fini(struct weir_buf *buf) {
    if (buf != NULL && buf->data != NULL)
        weir_buf_free(buf);
}
/* Makes room for `bytes` more beyond len. */
enum weir_status weir_buf_reserve(struct weir_buf *buf, size_t bytes) WEIR_MUST_CHECK;
WEIR_MUST_CHECK static inline enum weir_status weir_buf_append(struct weir_buf *buf,
                                                               const void *data, size_t len) {
    if (len == 0)
        return WEIR_OK;
    if (len > buf->cap - buf->len) {
        enum weir_status st = weir_buf_reserve(buf, len);
        if (st != WEIR_OK)
            return st;
    }
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return WEIR_OK;
}
WEIR_MUST_CHECK static inline enum weir_status weir_buf_append_span(struct weir_buf *buf,
                                                                    struct weir_span span) {
    return weir_buf_append(buf, span.data, span.len);
}
enum weir_status weir_buf_append_z(struct weir_buf *buf, const char *s) WEIR_MUST_CHECK;
WEIR_MUST_CHECK static inline enum weir_status weir_buf_append_c(struct weir_buf *buf, char c) {
    return weir_buf_append(buf, &c, 1);
}
enum weir_status weir_buf_printf(struct weir_buf *buf, const char *fmt, ...) WEIR_MUST_CHECK
    WEIR_PRINTF(2, 3);
/* Drops the first n bytes (n <= len) by moving the rest down. */
void weir_buf_consume(struct weir_buf *buf, size_t n);
/* Keeps the memory, forgets the content. */
static inline void weir_buf_clear(struct weir_buf *buf) {
    buf->len = 0;
}
/* Moves the content of src into dst (dst's memory is freed); src becomes empty, keeps its max. */
void weir_buf_move(struct weir_buf *dst, struct weir_buf *src);
/* Borrowed until the next change of the buffer. */
static inline struct weir_span weir_buf_span(const struct weir_buf *buf) {
    return weir_span(buf->data, buf->len);
}

#endif
