/*
 * Strings of the pull scanner. A string is read in two passes: to its closing quote, with all that
 * is wrong on the way, then for UTF-8 if a byte above 0x7f was seen. So the reference does it, and
 * its order of errors follows from that.
 */
#include "base/json_priv.h"
#include "base/scan_priv.h"
#include "base/utf8.h"

#include <string.h>

/* What a backslash and this byte stand for; 0: no such escape ('u' is apart). */
static const char escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* One more than the value of a hex digit; 0: none. */
static const unsigned char hex_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* Four hex digits as a number; above 0xffff when one of them is none. */
static unsigned hex4(const char *p) {
    unsigned code = 0, wrong = 0;
    for (int i = 0; i < 4; i++) {
        unsigned d = hex_digits[(unsigned char)p[i]];
        wrong |= d == 0;
        code = code << 4 | ((d - 1) & 15);
    }
    return code | wrong << 16;
}

/* The four digits at *pos, which moves behind them. */
static bool read_hex4(struct weir_json *j, size_t *pos, unsigned *ret_code) {
    if (j->len - *pos < 4)
        return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
    *ret_code = hex4(j->buf + *pos);
    *pos += 4;
    return *ret_code <= 0xFFFF ? true : weir_json_fail(j, WEIR_JSON_ERR_INVALID_ESCAPE, *pos);
}

/* Behind "\u". */
static bool check_code(struct weir_json *j, size_t *pos) {
    unsigned code, low;
    if (!read_hex4(j, pos, &code))
        return false;
    if (code < 0xD800 || code > 0xDFFF)
        return true;
    if (code >= 0xDC00)
        return weir_json_fail(j, WEIR_JSON_ERR_LONE_SURROGATE, *pos);
    for (const char *want = "\\u"; *want != '\0'; want++) {
        if (*pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        if (j->buf[(*pos)++] != *want)
            return weir_json_fail(j, WEIR_JSON_ERR_UNEXPECTED_END_HEX, *pos);
    }
    if (!read_hex4(j, pos, &low))
        return false;
    return low >= 0xDC00 && low <= 0xDFFF ? true
                                          : weir_json_fail(j, WEIR_JSON_ERR_LONE_SURROGATE, *pos);
}

/* A run of escapes; *pos stands on the first backslash. */
static bool check_escapes(struct weir_json *j, size_t *pos) {
    do {
        if (++*pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        unsigned char c = (unsigned char)j->buf[(*pos)++];
        if (c == 'u') {
            if (!check_code(j, pos))
                return false;
        } else if (escapes[c] == 0) {
            return weir_json_fail(j, WEIR_JSON_ERR_INVALID_ESCAPE, *pos);
        }
    } while (*pos < j->len && j->buf[*pos] == '\\');
    return true;
}

bool weir_json_string_here(struct weir_json *j, struct weir_json_str *ret_str) {
    const struct weir_scan *scan = weir_scan_best();
    size_t start = j->pos + 1, pos = start, run;
    bool escaped = false, high = false;
    for (;;) {
        if (!weir_scan_short(j->buf + pos, j->len - pos, &run, &high))
            run = scan->run(j->buf + pos, j->len - pos, &high);
        pos += run;
        if (pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        char c = j->buf[pos];
        if (c == '"')
            break;
        if (c != '\\')
            return weir_json_fail(j, WEIR_JSON_ERR_CONTROL_CHARACTER, pos + 1);
        escaped = true;
        if (!check_escapes(j, &pos))
            return false;
    }
    if (high && !scan->utf8_valid(j->buf + start, pos - start))
        return weir_json_fail(j, WEIR_JSON_ERR_INVALID_UTF8, pos + 1);
    *ret_str = (struct weir_json_str){weir_span(j->buf + start, pos - start), escaped};
    j->pos = pos + 1;
    return true;
}

bool weir_json_string(struct weir_json *j, struct weir_json_str *ret_str) {
    enum weir_json_type type = weir_json_peek(j);
    return type == WEIR_JSON_STRING ? weir_json_string_here(j, ret_str)
                                    : weir_json_mismatch(j, type);
}

/* ---- unescaping --------------------------------------------------------------------------- */

/* Decodes the escape at p (behind the backslash), which the scanner has checked; returns the bytes
 * consumed. Writes at most 4 bytes, never more than the escape has. */
static size_t decode_escape(const char *p, char out[4], size_t *ret_n) {
    if (*p != 'u') {
        out[0] = escapes[(unsigned char)*p];
        *ret_n = 1;
        return 1;
    }
    unsigned code = hex4(p + 1);
    size_t used = 5;
    if (code >= 0xD800 && code <= 0xDBFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (hex4(p + 7) - 0xDC00);
        used = 11;
    }
    *ret_n = weir_utf8_encode(code, out);
    return used;
}

enum weir_status weir_json_unescape(struct weir_json_str s, struct weir_buf *out) {
    if (!s.escaped)
        return weir_buf_append_span(out, s.raw);
    enum weir_status st = weir_buf_reserve(out, s.raw.len);
    if (st != WEIR_OK)
        return st;
    const char *p = s.raw.data, *end = p + s.raw.len;
    char *w = out->data + out->len;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash != NULL ? slash : end) - p);
        memcpy(w, p, plain);
        w += plain;
        p += plain;
        while (p < end && *p == '\\') {
            size_t n;
            char bytes[4];
            p += 1 + decode_escape(p + 1, bytes, &n);
            memcpy(w, bytes, n);
            w += n;
        }
    }
    out->len = (size_t)(w - out->data);
    return WEIR_OK;
}

struct weir_span weir_json_text(struct weir_json_str s, struct weir_arena *arena) {
    if (!s.escaped)
        return s.raw;
    struct weir_buf room = {.cap = s.raw.len, .max = s.raw.len};
    room.data = weir_arena_alloc(arena, s.raw.len);
    if (room.data == NULL || weir_json_unescape(s, &room) != WEIR_OK)
        return weir_span(NULL, 0);
    return weir_buf_span(&room);
}

/* The next character of an escaped string at s.raw.data[*i]: its bytes, and how many. */
static size_t next_bytes(struct weir_json_str s, size_t *i, char bytes[4]) {
    size_t n = 1;
    bytes[0] = s.raw.data[*i];
    if (bytes[0] == '\\')
        *i += decode_escape(s.raw.data + *i + 1, bytes, &n);
    ++*i;
    return n;
}

bool weir_json_str_eq_escaped(struct weir_json_str s, struct weir_span text) {
    size_t at = 0;
    for (size_t i = 0; i < s.raw.len;) {
        char bytes[4];
        size_t n = next_bytes(s, &i, bytes);
        if (n > text.len - at || memcmp(bytes, text.data + at, n) != 0)
            return false;
        at += n;
    }
    return at == text.len;
}

bool weir_json_is_text(struct weir_span raw, struct weir_span text) {
    if (weir_json_type_of(raw) != WEIR_JSON_STRING)
        return false;
    struct weir_json_str s = {weir_span(raw.data + 1, raw.len - 2), false};
    s.escaped = s.raw.len >= text.len && memchr(s.raw.data, '\\', s.raw.len) != NULL;
    return weir_json_str_eq(s, text);
}

struct weir_span weir_json_short_text(struct weir_json_str s, char *room, size_t bytes) {
    size_t at = 0;
    if (!s.escaped)
        return s.raw;
    for (size_t i = 0; i < s.raw.len;) {
        char one[4];
        size_t n = next_bytes(s, &i, one);
        if (n > bytes - at)
            return s.raw;
        memcpy(room + at, one, n);
        at += n;
    }
    return weir_span(room, at);
}
