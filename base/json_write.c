#include "base/json.h"
#include "base/number.h"
#include "base/scan_priv.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

void weir_jsonw_init(struct weir_jsonw *w, struct weir_buf *buf) {
    *w = (struct weir_jsonw){.buf = buf};
}

/* n more bytes at the end of the buffer, or NULL and the failure on record. */
static char *room(struct weir_jsonw *w, size_t n) {
    struct weir_buf *b = w->buf;
    if (w->status != WEIR_OK)
        return NULL;
    if (n > b->cap - b->len && (w->status = weir_buf_reserve(b, n)) != WEIR_OK)
        return NULL;
    char *p = b->data + b->len;
    b->len += n;
    return p;
}

static void put(struct weir_jsonw *w, const char *data, size_t len) {
    char *p = room(w, len);
    if (p != NULL && len > 0)
        memcpy(p, data, len);
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

void weir_jsonw_key_text(struct weir_jsonw *w, struct weir_span key) {
    begin_value(w);
    char *p = room(w, key.len + 3);
    if (p != NULL) {
        *p = '"';
        memcpy(p + 1, key.data, key.len);
        memcpy(p + 1 + key.len, "\":", 2);
    }
    w->need_comma = false;
}

void weir_jsonw_key_span(struct weir_jsonw *w, struct weir_span key) {
    weir_jsonw_string(w, key);
    put(w, ":", 1);
    w->need_comma = false;
}

/* ---- strings ------------------------------------------------------------------------------ */

static void put_escape(struct weir_jsonw *w, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    static const char shorts[256] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                     ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    if (shorts[c] != 0)
        put(w, (char[]){'\\', shorts[c]}, 2);
    else
        put(w, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

/* Well-formed text, or text without a byte above 0x7f. */
static void put_escaped(struct weir_jsonw *w, struct weir_span text) {
    const struct weir_scan *scan = weir_scan_best();
    for (size_t i = 0; i < text.len && w->status == WEIR_OK;) {
        bool high = false;
        size_t run = scan->run(text.data + i, text.len - i, &high);
        put(w, text.data + i, run);
        for (i += run; i < text.len && w->status == WEIR_OK; i++) {
            unsigned char c = (unsigned char)text.data[i];
            if (c >= 0x20 && c != '"' && c != '\\')
                break;
            put_escape(w, c);
        }
    }
}

static void put_repaired(struct weir_jsonw *w, struct weir_span text) {
    size_t i = 0, start = 0;
    while (i < text.len && w->status == WEIR_OK) {
        struct weir_span rest = weir_span(text.data + i, text.len - i);
        size_t n = weir_utf8_char(rest);
        if (n == 0) {
            put_escaped(w, weir_span(text.data + start, i - start));
            put(w, "\xEF\xBF\xBD", 3);
            n = weir_utf8_bad(rest);
            start = i + n;
        }
        i += n;
    }
    put_escaped(w, weir_span(text.data + start, i - start));
}

enum { SHORT_TEXT = 48 };

/* ASCII without anything to escape, the usual case of names and tokens: in one step. */
static bool put_short(struct weir_jsonw *w, struct weir_span text) {
    char *p = weir_scan_plain(text.data, text.len) ? room(w, text.len + 2) : NULL;
    if (p == NULL)
        return false;
    p[0] = '"';
    if (text.len > 0)
        memcpy(p + 1, text.data, text.len);
    p[text.len + 1] = '"';
    return true;
}

bool weir_json_plain(struct weir_span text) {
    return weir_scan_plain(text.data, text.len);
}

size_t weir_json_verbatim(struct weir_span text) {
    const struct weir_scan *scan = weir_scan_best();
    bool high = false;
    size_t n = scan->run(text.data, text.len, &high);
    return !high || scan->utf8_valid(text.data, n) ? n : 0;
}

size_t weir_json_plain_run(const char *p, size_t len) {
    bool high = false;
    return weir_scan_best()->run(p, len, &high);
}

void weir_jsonw_string(struct weir_jsonw *w, struct weir_span text) {
    begin_value(w);
    if (text.len <= SHORT_TEXT && put_short(w, text))
        return;
    put(w, "\"", 1);
    if (weir_utf8_valid(text))
        put_escaped(w, text);
    else
        put_repaired(w, text);
    put(w, "\"", 1);
}

void weir_jsonw_string_z(struct weir_jsonw *w, const char *text) {
    weir_jsonw_string(w, weir_span_z(text));
}

/* ---- other scalars ------------------------------------------------------------------------ */

void weir_jsonw_u64(struct weir_jsonw *w, uint64_t value) {
    char text[WEIR_U64_TEXT];
    begin_value(w);
    put(w, text, weir_u64_text(value, text));
}

void weir_jsonw_i64(struct weir_jsonw *w, int64_t value) {
    char text[1 + WEIR_U64_TEXT] = {'-'};
    if (value >= 0) {
        weir_jsonw_u64(w, (uint64_t)value);
        return;
    }
    begin_value(w);
    put(w, text, 1 + weir_u64_text(0 - (uint64_t)value, text + 1));
}

void weir_jsonw_f64(struct weir_jsonw *w, double value) {
    char text[WEIR_F64_TEXT];
    if (!isfinite(value)) {
        weir_jsonw_null(w);
        return;
    }
    begin_value(w);
    put(w, text, weir_f64_text(value, text));
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
