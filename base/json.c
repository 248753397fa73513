/*
 * The pull scanner: structure. Words and positions of errors follow serde_json, because clients of
 * the reference system see them: error_pos is the number of bytes consumed when the error was
 * raised, one more where the reference had looked at the offending byte without consuming it.
 */
#include "base/json_priv.h"

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

const unsigned char weir_json_types[256] = {
    ['{'] = WEIR_JSON_OBJECT, ['['] = WEIR_JSON_ARRAY,  ['"'] = WEIR_JSON_STRING,
    ['t'] = WEIR_JSON_TRUE,   ['f'] = WEIR_JSON_FALSE,  ['n'] = WEIR_JSON_NULL,
    ['-'] = WEIR_JSON_NUMBER, ['0'] = WEIR_JSON_NUMBER, ['1'] = WEIR_JSON_NUMBER,
    ['2'] = WEIR_JSON_NUMBER, ['3'] = WEIR_JSON_NUMBER, ['4'] = WEIR_JSON_NUMBER,
    ['5'] = WEIR_JSON_NUMBER, ['6'] = WEIR_JSON_NUMBER, ['7'] = WEIR_JSON_NUMBER,
    ['8'] = WEIR_JSON_NUMBER, ['9'] = WEIR_JSON_NUMBER,
};

enum weir_json_type weir_json_peek(struct weir_json *j) {
    if (j->error != WEIR_JSON_ERR_NONE)
        return WEIR_JSON_ERROR;
    weir_json_blank(j);
    if (j->pos >= j->len) {
        weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len);
        return WEIR_JSON_ERROR;
    }
    enum weir_json_type type = (enum weir_json_type)weir_json_types[(unsigned char)j->buf[j->pos]];
    if (type == WEIR_JSON_ERROR)
        weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_VALUE, j->pos + 1);
    return type;
}

bool weir_json_mismatch(struct weir_json *j, enum weir_json_type got) {
    if (got == WEIR_JSON_ERROR)
        return false;
    if (got == WEIR_JSON_OBJECT || got == WEIR_JSON_ARRAY || weir_json_scalar_here(j, got))
        weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    return false;
}

/* ---- containers --------------------------------------------------------------------------- */

/* Steps into the container at the cursor. The last level that max_depth counts is refused, as the
 * reference does with its 128. */
static bool enter(struct weir_json *j) {
    j->pos++;
    if (++j->depth >= j->max_depth)
        return weir_json_fail(j, WEIR_JSON_ERR_TOO_DEEP, j->pos);
    j->first = true;
    return true;
}

bool weir_json_object_enter(struct weir_json *j) {
    enum weir_json_type type = weir_json_peek(j);
    return type == WEIR_JSON_OBJECT ? enter(j) : weir_json_mismatch(j, type);
}

bool weir_json_array_enter(struct weir_json *j) {
    enum weir_json_type type = weir_json_peek(j);
    return type == WEIR_JSON_ARRAY ? enter(j) : weir_json_mismatch(j, type);
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
    weir_json_blank(j);
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
    weir_json_blank(j);
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
    if (!weir_json_string_here(j, ret_key))
        return false;
    weir_json_blank(j);
    if (j->pos >= j->len)
        return weir_json_fail(j, WEIR_JSON_ERR_EOF_OBJECT, j->len);
    if (j->buf[j->pos] != ':')
        return weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_COLON, j->pos + 1);
    j->pos++;
    return true;
}

/* ---- any value ---------------------------------------------------------------------------- */

/* Kind of each open container of a skip, one bit a level. */
enum { SKIP_LEVELS = 1024, MEMBER_DEPTH = 128 };
struct skip {
    uint64_t is_object[SKIP_LEVELS / 64];
    unsigned base; /* depth at which the skip began */
};

static bool skip_enter(struct weir_json *j, struct skip *s, enum weir_json_type type) {
    unsigned level = j->depth - s->base;
    if (level >= SKIP_LEVELS)
        return weir_json_fail(j, WEIR_JSON_ERR_TOO_DEEP, j->pos + 1);
    uint64_t bit = 1ull << (level % 64);
    if (type == WEIR_JSON_OBJECT)
        s->is_object[level / 64] |= bit;
    else
        s->is_object[level / 64] &= ~bit;
    return enter(j);
}

/* Closes the containers that end here; true when it stands on another value inside. */
static bool skip_next(struct weir_json *j, const struct skip *s) {
    while (j->depth > s->base && j->error == WEIR_JSON_ERR_NONE) {
        unsigned level = j->depth - s->base - 1;
        struct weir_json_str key;
        if (s->is_object[level / 64] >> (level % 64) & 1 ? weir_json_object_next(j, &key)
                                                         : weir_json_array_next(j))
            return true;
    }
    return false;
}

bool weir_json_skip(struct weir_json *j, struct weir_span *ret_raw) {
    struct skip s = {.base = j->depth};
    enum weir_json_type type = weir_json_peek(j);
    size_t start = j->pos;
    bool outer_first = j->first;
    do {
        if (type == WEIR_JSON_OBJECT || type == WEIR_JSON_ARRAY) {
            if (!skip_enter(j, &s, type))
                return false;
        } else if (type == WEIR_JSON_ERROR || !weir_json_scalar_here(j, type)) {
            return false;
        }
    } while (skip_next(j, &s) && (type = weir_json_peek(j)) != WEIR_JSON_ERROR);
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    j->first = outer_first;
    if (ret_raw != NULL)
        *ret_raw = weir_span(j->buf + start, j->pos - start);
    return true;
}

bool weir_json_finish(struct weir_json *j) {
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    weir_json_blank(j);
    return j->pos == j->len ? true
                            : weir_json_fail(j, WEIR_JSON_ERR_TRAILING_CHARACTERS, j->pos + 1);
}

void weir_json_line_column(struct weir_span text, size_t pos, unsigned *ret_line,
                           unsigned *ret_column) {
    unsigned line = 1;
    const char *at = text.data, *end = at + (pos < text.len ? pos : text.len);
    for (const char *feed; at < end && (feed = memchr(at, '\n', (size_t)(end - at))) != NULL;
         line++)
        at = feed + 1;
    *ret_line = line;
    *ret_column = (unsigned)(end - at);
}

bool weir_json_member(struct weir_span object, const char *name, struct weir_span *ret_raw) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    weir_json_init(&j, object, MEMBER_DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw))
        if (weir_json_str_eqz(key, name)) {
            *ret_raw = raw;
            return true;
        }
    return false;
}
