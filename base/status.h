/*
 * Status codes: one table from which the enum, the texts and the HTTP mapping come.
 *
 * Functions that may fail return `enum weir_status` and are must-check. Cold paths (configuration,
 * TLS files, start-up) also fill a `struct weir_err`, whose text callers may prefix.
 */
#ifndef WEIR_BASE_STATUS_H
#define WEIR_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* X(name, HTTP status that a client sees when nothing more exact is known, text) */
#define WEIR_STATUS_MAP(X)                                                                         \
    X(OK, 200, "ok")                                                                               \
    X(NOMEM, 503, "out of memory")                                                                 \
    X(INVALID, 400, "invalid argument")                                                            \
    X(NOT_FOUND, 404, "not found")                                                                 \
    X(EXISTS, 409, "already exists")                                                               \
    X(TOO_LARGE, 413, "over a size limit")                                                         \
    X(LIMIT, 503, "over a count limit")                                                            \
    X(OVERLOADED, 529, "overloaded")                                                               \
    X(UNAVAILABLE, 503, "unavailable")                                                             \
    X(CANNOT_CONNECT, 503, "cannot connect")                                                       \
    X(DISCONNECTED, 503, "disconnected")                                                           \
    X(TIMEOUT, 504, "timed out")                                                                   \
    X(CANCELLED, 499, "cancelled")                                                                 \
    X(PROTOCOL, 500, "protocol violation by the peer")                                             \
    X(UNSUPPORTED, 501, "not supported")                                                           \
    X(IO, 500, "input/output error")                                                               \
    X(TLS, 500, "TLS error")                                                                       \
    X(AGAIN, 503, "not ready yet")                                                                 \
    X(END, 500, "end of input")                                                                    \
    X(INTERNAL, 500, "internal error")

enum weir_status {
#define X(name, http, text) WEIR_##name,
    WEIR_STATUS_MAP(X)
#undef X
};

#define WEIR_MUST_CHECK __attribute__((warn_unused_result))
#define WEIR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* A status with words for a person. Owner: the caller (usually on its stack). */
struct weir_err {
    enum weir_status status;
    char text[256];
};

/* Static text of a status; never NULL. */
const char *weir_status_text(enum weir_status status);
/* Short stable name such as "NOT_FOUND", for logs and metrics labels. */
const char *weir_status_name(enum weir_status status);
/* HTTP status code for a status. */
int weir_status_http(enum weir_status status);

/* Fills *err (which may be NULL) and returns `status`, so that callers write `return
 * weir_err_set(…)`. */
enum weir_status weir_err_set(struct weir_err *err, enum weir_status status, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
/* Puts "prefix: " before the text of *err (which may be NULL); returns err's status. */
enum weir_status weir_err_prefix(struct weir_err *err, const char *fmt, ...) WEIR_PRINTF(2, 3);

/* For our own bugs only, never for input or resources: prints the place and aborts. On in release.
 */
#define WEIR_ASSERT(cond) ((cond) ? (void)0 : weir_assert_fail(#cond, __FILE__, __LINE__))
_Noreturn void weir_assert_fail(const char *cond, const char *file, int line);

#define WEIR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define WEIR_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
