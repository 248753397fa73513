#include "base/json.h"
#include "base/utf8_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weir_jsonw_init(struct weir_jsonw *w, struct weir_buf *buf) {
    *w = (struct weir_jsonw){.buf = buf};
}

static void put(struct weir_jsonw *w, const char *data, size_t len) {
    if (w->status == WEIR_OK)
        w->status = weir_buf_append(w->buf, data, len);
}

static void begin_value(struct weir_jsonw *w) {
    if (w->need_comma)
        put(w, ",", 1);
    w->need_comma = true;
}

static void open(struct weir_jsonw *w, const char *bracket) {
    begin_value(w);
    put(w, bracket, 1);
    w->need_comma = false;
}

static void close(struct weir_jsonw *w, const char *bracket) {
    put(w, bracket, 1);
    w->need_comma = true;
}

void weir_jsonw_object_begin(struct weir_jsonw *w) {
    open(w, "{");
}
void weir_jsonw_object_end(struct weir_jsonw *w) {
    close(w, "}");
}
void weir_jsonw_array_begin(struct weir_jsonw *w) {
    open(w, "[");
}
void weir_jsonw_array_end(struct weir_jsonw *w) {
    close(w, "]");
}

void weir_jsonw_key(struct weir_jsonw *w, const char *key) {
    begin_value(w);
    put(w, "\"", 1);
    put(w, key, strlen(key));
    put(w, "\":", 2);
    w->need_comma = false;
}

void weir_jsonw_key_span(struct weir_jsonw *w, struct weir_span key) {
    weir_jsonw_string(w, key);
    put(w, ":", 1);
    w->need_comma = false;
}

static void put_escape(struct weir_jsonw *w, unsigned char c) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c != 0 ? strchr(from, c) : NULL;
    char text[7];
    if (at != NULL) {
        text[0] = '\\';
        text[1] = to[at - from];
        put(w, text, 2);
    } else {
        snprintf(text, sizeof(text), "\\u%04x", c);
        put(w, text, 6);
    }
}

void weir_jsonw_string(struct weir_jsonw *w, struct weir_span text) {
    begin_value(w);
    put(w, "\"", 1);
    size_t i = 0;
    while (i < text.len) {
        size_t run = weir_utf8_plain_run(text.data + i, text.len - i);
        run += weir_utf8_multibyte_run(text.data + i + run, text.len - i - run);
        put(w, text.data + i, run);
        i += run;
        if (i == text.len || run > 0)
            continue;
        unsigned char c = (unsigned char)text.data[i++];
        if (c >= 0x80)
            put(w, "\xEF\xBF\xBD", 3);
        else
            put_escape(w, c);
    }
    put(w, "\"", 1);
}

void weir_jsonw_string_z(struct weir_jsonw *w, const char *text) {
    weir_jsonw_string(w, weir_span_z(text));
}

void weir_jsonw_u64(struct weir_jsonw *w, uint64_t value) {
    char text[20];
    size_t at = sizeof(text);
    do
        text[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    begin_value(w);
    put(w, text + at, sizeof(text) - at);
}

void weir_jsonw_i64(struct weir_jsonw *w, int64_t value) {
    if (value >= 0) {
        weir_jsonw_u64(w, (uint64_t)value);
        return;
    }
    begin_value(w);
    put(w, "-", 1);
    w->need_comma = false;
    weir_jsonw_u64(w, 0 - (uint64_t)value);
}

void weir_jsonw_f64(struct weir_jsonw *w, double value) {
    if (!isfinite(value)) {
        weir_jsonw_null(w);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text) - 2, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (strpbrk(text, ".e") == NULL) {
        size_t len = strlen(text);
        memcpy(text + len, ".0", 3);
    }
    begin_value(w);
    put(w, text, strlen(text));
}

void weir_jsonw_bool(struct weir_jsonw *w, bool value) {
    begin_value(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void weir_jsonw_null(struct weir_jsonw *w) {
    begin_value(w);
    put(w, "null", 4);
}

void weir_jsonw_raw(struct weir_jsonw *w, struct weir_span json) {
    begin_value(w);
    put(w, json.data, json.len);
}
