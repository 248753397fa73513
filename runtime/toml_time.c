/* Dates and times of TOML (RFC 3339; seconds may be left out since TOML 1.1). */
#include "runtime/toml_priv.h"

#include <stdio.h>

struct time_text {
    struct weir_span rest;
    bool date, time, offset;
    int year, month, day, hour, minute, second;
    char fraction[16]; /* with its point, "" = none */
    char zone[8];      /* "Z" or "+01:00", as it was written */
};

static bool digits(struct time_text *t, size_t n, int *ret_value) {
    if (t->rest.len < n)
        return false;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        char c = t->rest.data[i];
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (c - '0');
    }
    t->rest = weir_span(t->rest.data + n, t->rest.len - n);
    *ret_value = v;
    return true;
}

static bool eat(struct time_text *t, char c) {
    if (t->rest.len == 0 || t->rest.data[0] != c)
        return false;
    t->rest = weir_span(t->rest.data + 1, t->rest.len - 1);
    return true;
}

static int days_in(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool parse_date(struct time_text *t) {
    if (!digits(t, 4, &t->year) || !eat(t, '-') || !digits(t, 2, &t->month) || !eat(t, '-') ||
        !digits(t, 2, &t->day))
        return false;
    t->date = true;
    return t->month >= 1 && t->month <= 12 && t->day >= 1 && t->day <= days_in(t->year, t->month);
}

/* As written, cut after nanoseconds. */
static bool parse_fraction(struct time_text *t) {
    size_t n = 0;
    t->fraction[n++] = '.';
    if (t->rest.len == 0 || t->rest.data[0] < '0' || t->rest.data[0] > '9')
        return false;
    for (int v = 0; digits(t, 1, &v);)
        if (n < 10)
            t->fraction[n++] = (char)('0' + v);
    t->fraction[n] = '\0';
    return true;
}

static bool parse_clock(struct time_text *t) {
    if (!digits(t, 2, &t->hour) || !eat(t, ':') || !digits(t, 2, &t->minute))
        return false;
    t->time = true;
    if (eat(t, ':')) {
        if (!digits(t, 2, &t->second))
            return false;
        if (eat(t, '.') && !parse_fraction(t))
            return false;
    }
    return t->hour <= 23 && t->minute <= 59 && t->second <= 60;
}

static bool parse_zone(struct time_text *t) {
    int hour = 0, minute = 0;
    if (t->rest.len == 0)
        return true;
    t->offset = true;
    struct weir_span whole = t->rest;
    if (eat(t, 'Z') || eat(t, 'z')) {
        t->zone[0] = 'Z';
        return true;
    }
    if (!(eat(t, '+') || eat(t, '-')) || !digits(t, 2, &hour) || !eat(t, ':') ||
        !digits(t, 2, &minute) || hour > 23 || minute > 59)
        return false;
    memcpy(t->zone, whole.data, 6);
    return true;
}

static bool parse(struct time_text *t) {
    bool is_date = t->rest.len > 4 && t->rest.data[4] == '-';
    if (is_date) {
        if (!parse_date(t))
            return false;
        if (t->rest.len == 0)
            return true;
        if (!eat(t, 'T') && !eat(t, 't') && !eat(t, ' '))
            return false;
    }
    if (!parse_clock(t) || (is_date && !parse_zone(t)))
        return false;
    return t->rest.len == 0;
}

bool toml_time(struct toml_parser *p, struct weir_span token, struct weir_toml *value) {
    struct time_text t = {.rest = token};
    char text[64];
    int n = 0;
    if (!parse(&t))
        return false;
    if (t.date)
        n = snprintf(text, sizeof(text), "%04d-%02d-%02d%s", t.year, t.month, t.day,
                     t.time ? "T" : "");
    if (t.time)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%02d:%02d:%02d%s%s", t.hour, t.minute,
                      t.second, t.fraction, t.zone);
    value->type = !t.time    ? WEIR_TOML_LOCAL_DATE
                  : !t.date  ? WEIR_TOML_LOCAL_TIME
                  : t.offset ? WEIR_TOML_OFFSET_DATETIME
                             : WEIR_TOML_LOCAL_DATETIME;
    value->text = weir_arena_copy(p->arena, weir_span(text, (size_t)n));
    if (value->text.data == NULL)
        toml_fail(p, WEIR_NOMEM, "out of memory");
    return true;
}
