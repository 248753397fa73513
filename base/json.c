/*
 * The pull scanner. Positions and words of errors follow serde_json, because clients of the
 * reference system see them: error_pos is the number of bytes consumed when the error was raised.
 */
#include "base/json.h"

#include "base/utf8_priv.h"

#include <stdlib.h>
#include <string.h>

static const char *const error_texts[] = {
#define X(name, text) text,
    WEIR_JSON_ERROR_MAP(X)
#undef X
};

const char *weir_json_error_text(enum weir_json_error error) {
    return (size_t)error < WEIR_ARRAY_LEN(error_texts) ? error_texts[error] : "unknown error";
}

void weir_json_init(struct weir_json *j, struct weir_span text, unsigned max_depth) {
    *j = (struct weir_json){.buf = text.data, .len = text.len, .max_depth = max_depth};
}

bool weir_json_fail(struct weir_json *j, enum weir_json_error error, size_t pos) {
    if (j->error == WEIR_JSON_ERR_NONE) {
        j->error = error;
        j->error_pos = pos > j->len ? j->len : pos;
    }
    return false;
}

static void skip_blank(struct weir_json *j) {
    while (j->pos < j->len) {
        char c = j->buf[j->pos];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return;
        j->pos++;
    }
}

enum weir_json_type weir_json_peek(struct weir_json *j) {
    if (j->error != WEIR_JSON_ERR_NONE)
        return WEIR_JSON_ERROR;
    skip_blank(j);
    if (j->pos >= j->len) {
        weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len);
        return WEIR_JSON_ERROR;
    }
    switch (j->buf[j->pos]) {
    case '{':
        return WEIR_JSON_OBJECT;
    case '[':
        return WEIR_JSON_ARRAY;
    case '"':
        return WEIR_JSON_STRING;
    case 't':
        return WEIR_JSON_TRUE;
    case 'f':
        return WEIR_JSON_FALSE;
    case 'n':
        return WEIR_JSON_NULL;
    default:
        if (j->buf[j->pos] == '-' || (j->buf[j->pos] >= '0' && j->buf[j->pos] <= '9'))
            return WEIR_JSON_NUMBER;
        weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_VALUE, j->pos + 1);
        return WEIR_JSON_ERROR;
    }
}

/* ---- containers --------------------------------------------------------------------------- */

static bool enter(struct weir_json *j, enum weir_json_type type) {
    enum weir_json_type got = weir_json_peek(j);
    if (got != type)
        return got == WEIR_JSON_ERROR ? false : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    j->pos++;
    if (++j->depth >= j->max_depth)
        return weir_json_fail(j, WEIR_JSON_ERR_TOO_DEEP, j->pos);
    j->first = true;
    return true;
}

bool weir_json_object_enter(struct weir_json *j) {
    return enter(j, WEIR_JSON_OBJECT);
}

bool weir_json_array_enter(struct weir_json *j) {
    return enter(j, WEIR_JSON_ARRAY);
}

/* At the end of the container: consumes the bracket and is back in the one around it, whose first
 * element has been read by then. */
static bool leave(struct weir_json *j) {
    j->pos++;
    j->depth--;
    j->first = false;
    return false;
}

/* Moves over the comma before the next element; *ret_end: the container ended. */
static bool next_element(struct weir_json *j, char close, enum weir_json_error eof,
                         enum weir_json_error comma, bool *ret_end) {
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    *ret_end = false;
    skip_blank(j);
    if (j->pos >= j->len)
        return weir_json_fail(j, eof, j->len);
    char c = j->buf[j->pos];
    if (c == close) {
        *ret_end = true;
        return true;
    }
    if (j->first) {
        j->first = false;
        return true;
    }
    if (c != ',')
        return weir_json_fail(j, comma, j->pos + 1);
    j->pos++;
    skip_blank(j);
    if (j->pos >= j->len)
        return weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len);
    if (j->buf[j->pos] == close)
        return weir_json_fail(j, WEIR_JSON_ERR_TRAILING_COMMA, j->pos + 1);
    return true;
}

bool weir_json_array_next(struct weir_json *j) {
    bool end;
    if (!next_element(j, ']', WEIR_JSON_ERR_EOF_LIST, WEIR_JSON_ERR_EXPECTED_LIST_COMMA, &end))
        return false;
    return end ? leave(j) : true;
}

bool weir_json_object_next(struct weir_json *j, struct weir_json_str *ret_key) {
    bool end;
    if (!next_element(j, '}', WEIR_JSON_ERR_EOF_OBJECT, WEIR_JSON_ERR_EXPECTED_OBJECT_COMMA, &end))
        return false;
    if (end)
        return leave(j);
    if (j->buf[j->pos] != '"')
        return weir_json_fail(j, WEIR_JSON_ERR_KEY_MUST_BE_STRING, j->pos + 1);
    if (!weir_json_string(j, ret_key))
        return false;
    skip_blank(j);
    if (j->pos >= j->len)
        return weir_json_fail(j, WEIR_JSON_ERR_EOF_OBJECT, j->len);
    if (j->buf[j->pos] != ':')
        return weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_COLON, j->pos + 1);
    j->pos++;
    return true;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* The four hex digits behind \u at p; *ret_pos is moved behind them. */
static bool hex4(struct weir_json *j, size_t *pos, unsigned *ret_code) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        if (*pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        char c = j->buf[(*pos)++];
        unsigned d;
        if (c >= '0' && c <= '9')
            d = (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            d = (unsigned)((c | 32) - 'a' + 10);
        else
            return weir_json_fail(j, WEIR_JSON_ERR_INVALID_ESCAPE, *pos);
        code = code << 4 | d;
    }
    *ret_code = code;
    return true;
}

/* Checks the escape whose backslash is at *pos - 1. */
static bool check_escape(struct weir_json *j, size_t *pos) {
    if (*pos >= j->len)
        return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
    char c = j->buf[(*pos)++];
    if (c != 'u')
        return strchr("\"\\/bfnrt", c) != NULL && c != '\0'
                   ? true
                   : weir_json_fail(j, WEIR_JSON_ERR_INVALID_ESCAPE, *pos);
    unsigned code, low;
    if (!hex4(j, pos, &code))
        return false;
    if (code >= 0xDC00 && code <= 0xDFFF)
        return weir_json_fail(j, WEIR_JSON_ERR_LONE_SURROGATE, *pos);
    if (code < 0xD800 || code > 0xDBFF)
        return true;
    for (const char *want = "\\u"; *want != '\0'; want++) {
        if (*pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        if (j->buf[(*pos)++] != *want)
            return weir_json_fail(j, WEIR_JSON_ERR_UNEXPECTED_END_HEX, *pos);
    }
    if (!hex4(j, pos, &low))
        return false;
    return low >= 0xDC00 && low <= 0xDFFF ? true
                                          : weir_json_fail(j, WEIR_JSON_ERR_LONE_SURROGATE, *pos);
}

bool weir_json_string(struct weir_json *j, struct weir_json_str *ret_str) {
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_STRING)
        return type == WEIR_JSON_ERROR ? false : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    size_t start = j->pos + 1, pos = start;
    bool escaped = false;
    for (;;) {
        pos += weir_utf8_plain_run(j->buf + pos, j->len - pos);
        if (pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_STRING, j->len);
        unsigned char c = (unsigned char)j->buf[pos];
        if (c == '"')
            break;
        if (c == '\\') {
            escaped = true;
            pos++;
            if (!check_escape(j, &pos))
                return false;
        } else if (c < 0x20) {
            return weir_json_fail(j, WEIR_JSON_ERR_CONTROL_CHARACTER, pos + 1);
        } else {
            size_t n = weir_utf8_multibyte_run(j->buf + pos, j->len - pos);
            if (n == 0)
                return weir_json_fail(j, WEIR_JSON_ERR_INVALID_UTF8, pos + 1);
            pos += n;
        }
    }
    *ret_str = (struct weir_json_str){weir_span(j->buf + start, pos - start), escaped};
    j->pos = pos + 1;
    return true;
}

/* ---- scalars ------------------------------------------------------------------------------ */

static bool literal(struct weir_json *j, const char *word) {
    size_t pos = j->pos;
    for (; *word != '\0'; word++, pos++) {
        if (pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len);
        if (j->buf[pos] != *word)
            return weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_IDENT, pos + 1);
    }
    j->pos = pos;
    return true;
}

bool weir_json_bool(struct weir_json *j, bool *ret_value) {
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_TRUE && type != WEIR_JSON_FALSE)
        return type == WEIR_JSON_ERROR ? false : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    if (!literal(j, type == WEIR_JSON_TRUE ? "true" : "false"))
        return false;
    *ret_value = type == WEIR_JSON_TRUE;
    return true;
}

bool weir_json_null(struct weir_json *j) {
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_NULL)
        return type == WEIR_JSON_ERROR ? false : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    return literal(j, "null");
}

static bool is_digit(const struct weir_json *j, size_t pos) {
    return pos < j->len && j->buf[pos] >= '0' && j->buf[pos] <= '9';
}

static bool digits(struct weir_json *j, size_t *pos) {
    if (!is_digit(j, *pos))
        return *pos >= j->len ? weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len)
                              : weir_json_fail(j, WEIR_JSON_ERR_INVALID_NUMBER, *pos + 1);
    while (is_digit(j, *pos))
        (*pos)++;
    return true;
}

bool weir_json_number(struct weir_json *j, struct weir_span *ret_raw) {
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_NUMBER)
        return type == WEIR_JSON_ERROR ? false : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    size_t start = j->pos, pos = start;
    if (j->buf[pos] == '-')
        pos++;
    if (pos < j->len && j->buf[pos] == '0') {
        pos++;
        if (is_digit(j, pos))
            return weir_json_fail(j, WEIR_JSON_ERR_INVALID_NUMBER, pos + 1);
    } else if (!digits(j, &pos)) {
        return false;
    }
    if (pos < j->len && j->buf[pos] == '.') {
        pos++;
        if (!digits(j, &pos))
            return false;
    }
    if (pos < j->len && (j->buf[pos] | 32) == 'e') {
        pos++;
        if (pos < j->len && (j->buf[pos] == '+' || j->buf[pos] == '-'))
            pos++;
        if (!digits(j, &pos))
            return false;
    }
    *ret_raw = weir_span(j->buf + start, pos - start);
    j->pos = pos;
    return true;
}

bool weir_json_u64(struct weir_json *j, uint64_t *ret_value) {
    struct weir_span raw;
    if (!weir_json_number(j, &raw))
        return false;
    return weir_span_u64(raw, ret_value) ? true : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
}

bool weir_json_i64(struct weir_json *j, int64_t *ret_value) {
    struct weir_span raw;
    if (!weir_json_number(j, &raw))
        return false;
    return weir_span_i64(raw, ret_value) ? true : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
}

bool weir_json_f64(struct weir_json *j, double *ret_value) {
    struct weir_span raw;
    if (!weir_json_number(j, &raw))
        return false;
    return weir_span_f64(raw, ret_value) ? true
                                         : weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
}

/* ---- any value ---------------------------------------------------------------------------- */

static bool skip_scalar(struct weir_json *j, enum weir_json_type type) {
    struct weir_json_str str;
    struct weir_span raw;
    double value;
    switch (type) {
    case WEIR_JSON_STRING:
        return weir_json_string(j, &str);
    case WEIR_JSON_NUMBER:
        if (!weir_json_number(j, &raw))
            return false;
        /* A number that no double holds is refused here as everywhere (1e999). */
        return raw.len < 20 || weir_span_f64(raw, &value) || raw.len >= 128
                   ? true
                   : weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
    case WEIR_JSON_NULL:
        return literal(j, "null");
    case WEIR_JSON_TRUE:
        return literal(j, "true");
    case WEIR_JSON_FALSE:
        return literal(j, "false");
    default:
        return false;
    }
}

/* Kind of each open container, one bit a level: max_depth is bounded by the bits here. */
enum { SKIP_LEVELS = 1024 };

bool weir_json_skip(struct weir_json *j, struct weir_span *ret_raw) {
    uint64_t is_object[SKIP_LEVELS / 64];
    enum weir_json_type type = weir_json_peek(j);
    size_t start = j->pos;
    unsigned base = j->depth;
    bool outer_first = j->first;
    for (;;) {
        if (type == WEIR_JSON_OBJECT || type == WEIR_JSON_ARRAY) {
            unsigned level = j->depth - base;
            if (!enter(j, type))
                return false;
            if (level >= SKIP_LEVELS)
                return weir_json_fail(j, WEIR_JSON_ERR_TOO_DEEP, j->pos);
            uint64_t bit = 1ull << (level % 64);
            if (type == WEIR_JSON_OBJECT)
                is_object[level / 64] |= bit;
            else
                is_object[level / 64] &= ~bit;
        } else if (!skip_scalar(j, type)) {
            return false;
        }
        /* Close what ends here, then stand on the next element. */
        bool more = false;
        while (j->depth > base && !more) {
            unsigned level = j->depth - base - 1;
            struct weir_json_str key;
            bool object = is_object[level / 64] >> (level % 64) & 1;
            more = object ? weir_json_object_next(j, &key) : weir_json_array_next(j);
            if (j->error != WEIR_JSON_ERR_NONE)
                return false;
        }
        if (!more)
            break;
        type = weir_json_peek(j);
    }
    j->first = outer_first;
    if (ret_raw != NULL)
        *ret_raw = weir_span(j->buf + start, j->pos - start);
    return true;
}

bool weir_json_finish(struct weir_json *j) {
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    skip_blank(j);
    return j->pos == j->len ? true
                            : weir_json_fail(j, WEIR_JSON_ERR_TRAILING_CHARACTERS, j->pos + 1);
}

void weir_json_line_column(struct weir_span text, size_t pos, unsigned *ret_line,
                           unsigned *ret_column) {
    unsigned line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < pos && i < text.len; i++)
        if (text.data[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    *ret_line = line;
    *ret_column = (unsigned)(pos - line_start);
}

/* ---- unescaping --------------------------------------------------------------------------- */

static unsigned hex_value(const char *p) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        code = code << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return code;
}

/* Decodes the validated escape at p (behind the backslash) to UTF-8; returns the bytes consumed. */
static size_t decode_escape(const char *p, char out[4], size_t *ret_n) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p != 'u') {
        out[0] = to[strchr(from, *p) - from];
        *ret_n = 1;
        return 1;
    }
    unsigned code = hex_value(p + 1);
    size_t used = 5;
    if (code >= 0xD800 && code <= 0xDBFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (hex_value(p + 7) - 0xDC00);
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
        if (slash != NULL) {
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

bool weir_json_str_eqz(struct weir_json_str s, const char *z) {
    if (!s.escaped)
        return weir_span_eqz(s.raw, z);
    size_t len = strlen(z), at = 0;
    for (size_t i = 0; i < s.raw.len;) {
        char bytes[4] = {s.raw.data[i]};
        size_t n = 1;
        if (s.raw.data[i] == '\\')
            i += 1 + decode_escape(s.raw.data + i + 1, bytes, &n);
        else
            i++;
        if (n > len - at || memcmp(bytes, z + at, n) != 0)
            return false;
        at += n;
    }
    return at == len;
}
