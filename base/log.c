#include "base/log.h"

#include "base/json.h"
#include "base/mem.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINE = 8192, MAX_HELD = 16384, MAX_FILTERS = 32, MAX_SUBSYSTEM = 32 };

/* Written by weir_log_setup() before threads start, read-only afterwards. */
static struct weir_log_config log_config = {.utc = true};
static enum weir_log_level default_level = WEIR_LOG_INFO;
static enum weir_log_level lowest_level = WEIR_LOG_INFO;
static struct {
    char subsystem[MAX_SUBSYSTEM];
    enum weir_log_level level;
} filters[MAX_FILTERS];
static size_t n_filters;

/* Lines that this thread holds back. */
static _Thread_local char *held;
static _Thread_local size_t n_held;

static const char *const level_names[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"};

static bool parse_level(struct weir_span text, enum weir_log_level *ret_level) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(level_names); i++)
        if (weir_span_ieq(text, weir_span_z(level_names[i]))) {
            *ret_level = (enum weir_log_level)i;
            return true;
        }
    return false;
}

static enum weir_status add_filter(struct weir_span item, struct weir_err *err) {
    struct weir_span value, name = weir_span_split(item, '=', &value);
    enum weir_log_level level;
    if (!parse_level(value.data != NULL ? weir_span_trim(value) : name, &level))
        return weir_err_set(err, WEIR_INVALID,
                            "log filter \"%.*s\": levels are trace, debug, info, warn, error, off",
                            WEIR_SPAN_ARG(item));
    if (value.data == NULL) {
        default_level = level;
    } else if (n_filters == MAX_FILTERS || name.len >= MAX_SUBSYSTEM) {
        return weir_err_set(err, WEIR_LIMIT, "the log filter has too many or too long subsystems");
    } else {
        memcpy(filters[n_filters].subsystem, name.data, name.len);
        filters[n_filters].subsystem[name.len] = '\0';
        filters[n_filters++].level = level;
    }
    if (level < lowest_level)
        lowest_level = level;
    return WEIR_OK;
}

enum weir_status weir_log_setup(const struct weir_log_config *config, const char *filter,
                                struct weir_err *err) {
    log_config = *config;
    default_level = lowest_level = WEIR_LOG_INFO;
    n_filters = 0;
    struct weir_span rest = weir_span_z(filter);
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span item = weir_span_trim(weir_span_split(rest, ',', &rest));
        enum weir_status st = item.len > 0 ? add_filter(item, err) : WEIR_OK;
        if (st != WEIR_OK)
            return st;
    }
    if (default_level < lowest_level || n_filters == 0)
        lowest_level = default_level;
    return WEIR_OK;
}

bool weir_log_on(enum weir_log_level level, const char *subsystem) {
    if (level < lowest_level)
        return false;
    for (size_t i = n_filters; i-- > 0;)
        if (strcmp(filters[i].subsystem, subsystem) == 0)
            return level >= filters[i].level;
    return level >= default_level;
}

/* The part down to the second is made once a second. */
static void format_time(char out[40]) {
    static _Thread_local time_t second = -1;
    static _Thread_local char text[24];
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ts.tv_sec != second) {
        struct tm tm;
        if (log_config.utc)
            gmtime_r(&ts.tv_sec, &tm);
        else
            localtime_r(&ts.tv_sec, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        second = ts.tv_sec;
    }
    size_t n = strlen(text);
    memcpy(out, text, n);
    out[n++] = '.';
    for (long unit = 100000, us = ts.tv_nsec / 1000; unit > 0; unit /= 10)
        out[n++] = (char)('0' + us / unit % 10);
    if (log_config.utc)
        out[n++] = 'Z';
    out[n] = '\0';
}

/* Whole numbers as they are, others to a thousandth. */
static enum weir_status put_number(struct weir_buf *line, double number) {
    char text[32], *at = text + sizeof(text);
    double thousandths = round(fabs(number) * 1000);
    if (!(thousandths < 9e18))
        return weir_buf_printf(line, "%.15g", number);
    uint64_t whole = (uint64_t)thousandths / 1000, rest = (uint64_t)thousandths % 1000;
    if (rest != 0) {
        for (int i = 0; i < 3; i++, rest /= 10)
            *--at = (char)('0' + rest % 10);
        *--at = '.';
    }
    do
        *--at = (char)('0' + whole % 10);
    while ((whole /= 10) > 0);
    if (number < 0 && thousandths > 0)
        *--at = '-';
    return weir_buf_append(line, at, (size_t)(text + sizeof(text) - at));
}

static void put_fields_text(struct weir_buf *line, const struct weir_log_field *f, size_t n) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        st = weir_buf_append_c(line, ' ');
        if (st == WEIR_OK)
            st = weir_buf_append_z(line, f[i].key);
        if (st == WEIR_OK)
            st = weir_buf_append_c(line, '=');
        if (st == WEIR_OK)
            st = f[i].text.data != NULL ? weir_buf_append_span(line, f[i].text)
                                        : put_number(line, f[i].number);
    }
}

static void put_json(struct weir_buf *line, const char *when, enum weir_log_level level,
                     const char *subsystem, const char *message, const struct weir_log_field *f,
                     size_t n) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "time");
    weir_jsonw_string_z(&w, when);
    weir_jsonw_key(&w, "level");
    weir_jsonw_string_z(&w, level_names[level]);
    weir_jsonw_key(&w, "target");
    weir_jsonw_string_z(&w, subsystem);
    weir_jsonw_key(&w, "message");
    weir_jsonw_string_z(&w, message);
    for (size_t i = 0; i < n; i++) {
        weir_jsonw_key(&w, f[i].key);
        if (f[i].text.data != NULL)
            weir_jsonw_string(&w, f[i].text);
        else
            weir_jsonw_f64(&w, f[i].number);
    }
    weir_jsonw_object_end(&w);
}

/* How much goes out at once: whole lines that a pipe takes without waiting, or one long line. */
static size_t piece(const char *text, size_t len) {
    if (len <= PIPE_BUF)
        return len;
    const char *end = memrchr(text, '\n', PIPE_BUF);
    if (end == NULL)
        end = memchr(text, '\n', len);
    return end != NULL ? (size_t)(end + 1 - text) : len;
}

/* A full or closed stderr loses lines rather than holding the program up. */
static void write_out(const char *text, size_t len) {
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (len > 0 && poll(&err, 1, 0) == 1 && (err.revents & POLLOUT) != 0) {
        ssize_t n = write(STDERR_FILENO, text, piece(text, len));
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void put_line(enum weir_log_level level, const char *line, size_t len) {
    if (held != NULL && n_held + len > MAX_HELD)
        weir_log_flush();
    if (held == NULL || level >= WEIR_LOG_WARN) {
        weir_log_flush(); /* what was said before stands before it */
        write_out(line, len);
        return;
    }
    memcpy(held + n_held, line, len);
    n_held += len;
}

void weir_log_flush(void) {
    if (n_held > 0)
        write_out(held, n_held);
    n_held = 0;
}

void weir_log_hold(bool on) {
    if (on && held == NULL) {
        held = weir_malloc(MAX_HELD); /* NULL: lines are written one by one */
    } else if (!on && held != NULL) {
        weir_log_flush();
        weir_free(held);
        held = NULL;
    }
}

void weir_log_write(enum weir_log_level level, const char *subsystem,
                    const struct weir_log_field *fields, size_t n_fields, const char *fmt, ...) {
    char room[MAX_LINE], message[MAX_LINE / 2], when[40];
    struct weir_buf line = {.data = room, .cap = sizeof(room), .max = sizeof(room)};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    format_time(when);
    if (log_config.format == WEIR_LOG_JSONL) {
        put_json(&line, when, level, subsystem, message, fields, n_fields);
    } else if (weir_buf_printf(&line, "%s %5s %s: %s", when, level_names[level], subsystem,
                               message) == WEIR_OK) {
        /* A line feed in a value would look like another record. */
        put_fields_text(&line, fields, n_fields);
        for (size_t i = 0; i < line.len; i++)
            if (room[i] == '\n' || room[i] == '\r')
                room[i] = ' ';
    }
    if (line.len == sizeof(room))
        line.len--;
    room[line.len++] = '\n';
    put_line(level, room, line.len);
}

bool weir_log_limit_ok(struct weir_log_limit *limit, uint32_t per_second, uint32_t *ret_dropped) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = ts.tv_sec;
    /* Relaxed: at worst a few lines more or less when threads meet in the turn of a second. */
    *ret_dropped = 0;
    if (atomic_load_explicit(&limit->window_s, memory_order_relaxed) != now) {
        atomic_store_explicit(&limit->window_s, now, memory_order_relaxed);
        atomic_store_explicit(&limit->written, 0, memory_order_relaxed);
        *ret_dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&limit->written, 1, memory_order_relaxed) < per_second)
        return true;
    atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
    return false;
}
