/*
 * JSON without a DOM: a pull scanner over bytes that are wholly in memory, and a writer.
 *
 * The scanner validates grammar (RFC 8259) and UTF-8 while it walks and hands out byte ranges into
 * the input; nothing is copied until a caller asks for it. Hot: request bodies and worker frames.
 * Threads: one at a time per object. Memory: none (scanner), the caller's weir_buf (writer).
 *
 * Use of the scanner:
 *     struct weir_json j;
 *     weir_json_init(&j, body, 128);
 *     if (weir_json_object_enter(&j)) {
 *         struct weir_json_str key;
 *         while (weir_json_object_next(&j, &key))
 *             if (weir_json_str_eqz(key, "model")) …weir_json_string(&j, &value)… else
 * weir_json_skip(&j, NULL);
 *     }
 *     if (!weir_json_finish(&j)) → j.error, j.error_pos
 * Every reader returns false on error and then all later calls return false too: check once at the
 * end.
 */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/span.h"

enum weir_json_type {
    WEIR_JSON_ERROR, /* nothing readable here: see `error` */
    WEIR_JSON_NULL,
    WEIR_JSON_FALSE,
    WEIR_JSON_TRUE,
    WEIR_JSON_NUMBER,
    WEIR_JSON_STRING,
    WEIR_JSON_ARRAY,
    WEIR_JSON_OBJECT,
};

/* X(name, text as clients of the reference system know it) */
#define WEIR_JSON_ERROR_MAP(X)                                                                     \
    X(NONE, "no error")                                                                            \
    X(EOF_VALUE, "EOF while parsing a value")                                                      \
    X(EOF_STRING, "EOF while parsing a string")                                                    \
    X(EOF_OBJECT, "EOF while parsing an object")                                                   \
    X(EOF_LIST, "EOF while parsing a list")                                                        \
    X(EXPECTED_VALUE, "expected value")                                                            \
    X(EXPECTED_IDENT, "expected ident")                                                            \
    X(EXPECTED_COLON, "expected `:`")                                                              \
    X(EXPECTED_OBJECT_COMMA, "expected `,` or `}`")                                                \
    X(EXPECTED_LIST_COMMA, "expected `,` or `]`")                                                  \
    X(KEY_MUST_BE_STRING, "key must be a string")                                                  \
    X(TRAILING_COMMA, "trailing comma")                                                            \
    X(TRAILING_CHARACTERS, "trailing characters")                                                  \
    X(INVALID_NUMBER, "invalid number")                                                            \
    X(NUMBER_RANGE, "number out of range")                                                         \
    X(INVALID_ESCAPE, "invalid escape")                                                            \
    X(LONE_SURROGATE, "lone leading surrogate in hex escape")                                      \
    X(UNEXPECTED_END_HEX, "unexpected end of hex escape")                                          \
    X(CONTROL_CHARACTER, "control character (\\u0000-\\u001F) found while parsing a string")       \
    X(INVALID_UTF8, "invalid unicode code point")                                                  \
    X(TOO_DEEP, "recursion limit exceeded")                                                        \
    X(TYPE, "invalid type") /* set by callers through weir_json_fail */

enum weir_json_error {
#define X(name, text) WEIR_JSON_ERR_##name,
    WEIR_JSON_ERROR_MAP(X)
#undef X
};

/* A string token: the bytes between the quotes, escapes still in place. */
struct weir_json_str {
    struct weir_span raw;
    bool escaped; /* raw holds at least one backslash */
};

struct weir_json {
    const char *buf; /* borrowed */
    size_t len;
    size_t pos;
    unsigned depth, max_depth;
    bool first; /* no element of the innermost container was read yet */
    enum weir_json_error error;
    size_t error_pos; /* offset at which the error was seen */
};

void weir_json_init(struct weir_json *j, struct weir_span text, unsigned max_depth);
/* Type of the value at the cursor; skips white space, consumes nothing else. */
enum weir_json_type weir_json_peek(struct weir_json *j);
/* The same of one value that begins at the first byte; WEIR_JSON_ERROR when it is empty. */
extern const unsigned char weir_json_types[256];
static inline enum weir_json_type weir_json_type_of(struct weir_span raw) {
    return raw.len > 0 ? (enum weir_json_type)weir_json_types[(unsigned char)raw.data[0]]
                       : WEIR_JSON_ERROR;
}
/* Consumes '{' or '['; false (with error TYPE when it is another well-formed kind) otherwise. */
bool weir_json_object_enter(struct weir_json *j);
bool weir_json_array_enter(struct weir_json *j);
/* Moves to the next member and leaves the cursor on its value; false at the end of the container
 * (which is consumed) and on error. Each value must be read or skipped before the next call. */
bool weir_json_object_next(struct weir_json *j, struct weir_json_str *ret_key);
bool weir_json_array_next(struct weir_json *j);
/* Readers of one value of the given type. Integers: no fraction, no exponent, full 64-bit range. */
bool weir_json_string(struct weir_json *j, struct weir_json_str *ret_str);
bool weir_json_bool(struct weir_json *j, bool *ret_value);
bool weir_json_null(struct weir_json *j);
bool weir_json_u64(struct weir_json *j, uint64_t *ret_value);
bool weir_json_i64(struct weir_json *j, int64_t *ret_value);
bool weir_json_f64(struct weir_json *j, double *ret_value);
/* The raw text of a number. */
bool weir_json_number(struct weir_json *j, struct weir_span *ret_raw);
/* Validates and passes over any value; *ret_raw (may be NULL) becomes its exact bytes. */
bool weir_json_skip(struct weir_json *j, struct weir_span *ret_raw);
/* The exact bytes of a member of the object that `object` is, the first of that name; false when it
 * is absent, or there is no object that can be read up to there, 128 levels deep. */
bool weir_json_member(struct weir_span object, const char *name, struct weir_span *ret_raw);
/* True when no error happened and only white space is left; sets TRAILING_CHARACTERS otherwise. */
bool weir_json_finish(struct weir_json *j);
/* For callers' own errors: records the first one; always returns false. */
bool weir_json_fail(struct weir_json *j, enum weir_json_error error, size_t pos);
const char *weir_json_error_text(enum weir_json_error error);
/* Line (from 1) and column as serde_json counts them for a byte offset into the text. */
void weir_json_line_column(struct weir_span text, size_t pos, unsigned *ret_line,
                           unsigned *ret_column);

/* Compares the unescaped string with a text. A member's name is compared so and in no other way:
 * "mod\u0065l" is "model" to every reader of JSON. */
bool weir_json_str_eq_escaped(struct weir_json_str s, struct weir_span text);
static inline bool weir_json_str_eq(struct weir_json_str s, struct weir_span text) {
    return s.escaped ? weir_json_str_eq_escaped(s, text) : weir_span_eq(s.raw, text);
}
static inline bool weir_json_str_eqz(struct weir_json_str s, const char *z) {
    return weir_json_str_eq(s, weir_span_z(z));
}
/* The exact bytes of a value, as weir_json_skip gives them, are a string of this text. */
bool weir_json_is_text(struct weir_span raw, struct weir_span text);
static inline bool weir_json_is(struct weir_span raw, const char *z) {
    return weir_json_is_text(raw, weir_span_z(z));
}
/* The unescaped text where it fits into the room or nothing is escaped; else the raw form, whose
 * backslash sets it apart from any name or number. For words that are short, without an arena. */
struct weir_span weir_json_short_text(struct weir_json_str s, char *room, size_t bytes);
/* Appends the unescaped bytes. Fails only for memory: the scanner has validated the escapes. */
enum weir_status weir_json_unescape(struct weir_json_str s, struct weir_buf *out) WEIR_MUST_CHECK;
/* The unescaped text: the input itself where nothing is escaped, else a copy in the arena.
 * data is NULL when out of memory. */
struct weir_span weir_json_text(struct weir_json_str s, struct weir_arena *arena);

/*
 * Writer. Commas and colons are placed by the writer; the result has no white space. The first
 * failure sticks in `status` and later calls do nothing: check once at the end.
 */
struct weir_jsonw {
    struct weir_buf *buf; /* borrowed */
    enum weir_status status;
    bool need_comma;
};

void weir_jsonw_init(struct weir_jsonw *w, struct weir_buf *buf);
void weir_jsonw_object_begin(struct weir_jsonw *w);
void weir_jsonw_object_end(struct weir_jsonw *w);
void weir_jsonw_array_begin(struct weir_jsonw *w);
void weir_jsonw_array_end(struct weir_jsonw *w);
/* Keys are program text: written without escaping. */
void weir_jsonw_key_text(struct weir_jsonw *w, struct weir_span key);
static inline void weir_jsonw_key(struct weir_jsonw *w, const char *key) {
    weir_jsonw_key_text(w, weir_span_z(key));
}
void weir_jsonw_key_span(struct weir_jsonw *w, struct weir_span key); /* escaped */
/* UTF-8 text; escapes quote, backslash and control bytes only. Invalid UTF-8 becomes U+FFFD. */
void weir_jsonw_string(struct weir_jsonw *w, struct weir_span text);
void weir_jsonw_string_z(struct weir_jsonw *w, const char *text);
void weir_jsonw_u64(struct weir_jsonw *w, uint64_t value);
void weir_jsonw_i64(struct weir_jsonw *w, int64_t value);
/* Shortest text that reads back equal; integral values keep ".0"; not finite: null. */
void weir_jsonw_f64(struct weir_jsonw *w, double value);
void weir_jsonw_bool(struct weir_jsonw *w, bool value);
void weir_jsonw_null(struct weir_jsonw *w);
/* ASCII that stands in a JSON string as it is: nothing to escape, nothing to check. */
bool weir_json_plain(struct weir_span text);
/* Leading bytes of the text that stand in a JSON string as they are: well-formed UTF-8 before the
 * first byte to escape. 0 where what is before that byte is not well-formed. */
size_t weir_json_verbatim(struct weir_span text);
/* How many bytes at the front of a text stand in a JSON string as they are: neither quote nor
 * backslash nor below 0x20. */
size_t weir_json_plain_run(const char *p, size_t len);
/* A value that is JSON already. */
void weir_jsonw_raw(struct weir_jsonw *w, struct weir_span json);

#endif
