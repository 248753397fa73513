/*
 * Leveled log to stderr: text lines or JSON lines. One line per call, written with one write(2).
 * Arguments are not evaluated when the level is off. Threads: any. Repeated lines from one place
 * are limited (WEIR_LOG_LIMITED). Subsystem is a short string literal: "http", "router", "plane", …
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include "base/span.h"
#include "base/status.h"

#include <stdatomic.h>

enum weir_log_level {
    WEIR_LOG_TRACE,
    WEIR_LOG_DEBUG,
    WEIR_LOG_INFO,
    WEIR_LOG_WARN,
    WEIR_LOG_ERROR,
    WEIR_LOG_OFF,
};

enum weir_log_format { WEIR_LOG_TEXT, WEIR_LOG_JSONL };

struct weir_log_config {
    enum weir_log_format format;
    bool utc;   /* local time otherwise */
    bool color; /* only when stderr is a terminal */
};

/* Before threads start. `filter` is DYN_LOG's form: "info" or "warn,http=debug,router=trace". */
enum weir_status weir_log_setup(const struct weir_log_config *config, const char *filter,
                                struct weir_err *err) WEIR_MUST_CHECK;
bool weir_log_on(enum weir_log_level level, const char *subsystem);

/* A structured field: a string (text) or a number (when text.data is NULL). */
struct weir_log_field {
    const char *key;
    struct weir_span text;
    double number;
};
#define WEIR_LOG_STR(k, sp) ((struct weir_log_field){(k), (sp), 0})
#define WEIR_LOG_NUM(k, n) ((struct weir_log_field){(k), {NULL, 0}, (double)(n)})

void weir_log_write(enum weir_log_level level, const char *subsystem,
                    const struct weir_log_field *fields, size_t n_fields, const char *fmt, ...)
    WEIR_PRINTF(5, 6);

#define WEIR_LOG(level, subsystem, ...)                                                            \
    (weir_log_on((level), (subsystem))                                                             \
         ? weir_log_write((level), (subsystem), NULL, 0, __VA_ARGS__)                              \
         : (void)0)
/* fields: an array expression; its length is taken from its type. */
#define WEIR_LOG_FIELDS(level, subsystem, fields, ...)                                             \
    (weir_log_on((level), (subsystem))                                                             \
         ? weir_log_write((level), (subsystem), (fields), WEIR_ARRAY_LEN(fields), __VA_ARGS__)     \
         : (void)0)

/*
 * Lines of this thread at INFO and below are gathered from now on and written by weir_log_flush(),
 * by a line at WARN or above, or when 16 KiB are full: one system call for many lines. A loop
 * flushes before it waits. `on` false writes what is held and gives the memory back.
 */
void weir_log_hold(bool on);
void weir_log_flush(void);

/* At most `per_second` lines a second from this place; the next line says how many were left out.
 */
struct weir_log_limit {
    _Atomic int64_t window_s;
    _Atomic uint32_t written, dropped;
};
bool weir_log_limit_ok(struct weir_log_limit *limit, uint32_t per_second, uint32_t *ret_dropped);

#endif
