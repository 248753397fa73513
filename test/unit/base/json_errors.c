/*
 * Words and places of the scanner's errors. The first table holds bodies sent to a live
 * Dynamo 1.6.1 and the end of the message that it answered; the others follow serde_json's rules,
 * with the always-run part of what JSONTestSuite checks.
 */
#include "base/json.h"
#include "test/check.h"

struct row {
    struct weir_span text;
    const char *want;
};
#define ROW(text, want)                                                                            \
    { WEIR_SPAN_LIT(text), want }

static void check_error(struct weir_span text, const char *want) {
    struct weir_json j;
    char got[200];
    unsigned line, column;
    weir_json_init(&j, text, 128);
    weir_json_skip(&j, NULL);
    bool ok = weir_json_finish(&j);
    weir_json_line_column(text, j.error_pos, &line, &column);
    snprintf(got, sizeof(got), "%s at line %u column %u",
             ok ? "accepted" : weir_json_error_text(j.error), line, column);
    CHECK_MSG(strcmp(got, want) == 0, "%.*s: got \"%s\", want \"%s\"", WEIR_SPAN_ARG(text), got,
              want);
}

#define CHAT "{\"model\":\"m\",\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\""
#define CONTROL "control character (\\u0000-\\u001F) found while parsing a string"

static void case_recorded(void) {
    static const struct row rows[] = {
        ROW("", "EOF while parsing a value at line 1 column 0"),
        ROW("  \n", "EOF while parsing a value at line 2 column 0"),
        ROW("hello", "expected value at line 1 column 1"),
        ROW("{\"model\":\"m\"", "EOF while parsing an object at line 1 column 12"),
        ROW("{\"model\":\"m", "EOF while parsing a string at line 1 column 11"),
        ROW("{\"model\":", "EOF while parsing a value at line 1 column 9"),
        ROW("{'model':'m'}", "key must be a string at line 1 column 2"),
        ROW("{model:\"m\"}", "key must be a string at line 1 column 2"),
        ROW("{/*c*/\"model\":\"m\"}", "key must be a string at line 1 column 2"),
        ROW("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
            "\"temperature\":NaN}",
            "expected value at line 1 column 72"),
        ROW("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
            "\"max_tokens\":01}",
            "invalid number at line 1 column 72"),
        ROW("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
            "\"max_tokens\":2}\0",
            "trailing characters at line 1 column 73"),
        ROW("\xff" CHAT "hi\"}]}", "expected value at line 1 column 1"),
        ROW("\xff\xfe{\0\"\0m\0", "expected value at line 1 column 1"),
        ROW("{\0\"\0m\0", "key must be a string at line 1 column 2"),
        ROW("\f{}", "expected value at line 1 column 1"),
        ROW(CHAT "a\\udc00b\"}]}", "lone leading surrogate in hex escape at line 1 column 73"),
        ROW(CHAT "a\\xb\"}]}", "invalid escape at line 1 column 69"),
        ROW(CHAT "a\nb\"}]}", CONTROL " at line 2 column 0"),
        ROW("{\"model\":\"m\xff\"}", "invalid unicode code point at line 1 column 13"),
        ROW("\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV", "expected value at line 1 column 1"),
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        check_error(rows[i].text, rows[i].want);
}

/* A recorded body: head, then a piece many times. */
static void check_deep(const char *head, const char *piece, unsigned times, const char *want) {
    static struct weir_buf text;
    weir_buf_init(&text, 1 << 20);
    enum weir_status st = weir_buf_append_z(&text, head);
    for (unsigned i = 0; i < times && st == WEIR_OK; i++)
        st = weir_buf_append_z(&text, piece);
    CHECK(st == WEIR_OK);
    check_error(weir_buf_span(&text), want);
    weir_buf_fini(&text);
}

static void case_recorded_depths(void) {
    static const char zz[] = CHAT "hi\"}],\"zz\":";
    check_deep(zz, "[", 126, "EOF while parsing a list at line 1 column 203");
    check_deep(zz, "[", 127, "recursion limit exceeded at line 1 column 204");
    check_deep(zz, "[", 100000, "recursion limit exceeded at line 1 column 204");
    check_deep(zz, "{\"a\":", 127, "recursion limit exceeded at line 1 column 708");
    check_deep(CHAT "hi\"}],\"metadata\":{\"a\":", "[", 200,
               "recursion limit exceeded at line 1 column 214");
}

static void case_serde_rules(void) {
    static const struct row rows[] = {
        ROW("{", "EOF while parsing an object at line 1 column 1"),
        ROW("[", "EOF while parsing a list at line 1 column 1"),
        ROW("[1,", "EOF while parsing a value at line 1 column 3"),
        ROW("{\"a\":1,", "EOF while parsing a value at line 1 column 7"),
        ROW("{\"a\"", "EOF while parsing an object at line 1 column 4"),
        ROW("{\"a\":1,}", "trailing comma at line 1 column 8"),
        ROW("{,\"a\":1}", "key must be a string at line 1 column 2"),
        ROW("[1,]", "trailing comma at line 1 column 4"),
        ROW("[1 ,\n\n ]", "trailing comma at line 3 column 2"),
        ROW("[,1]", "expected value at line 1 column 2"),
        ROW("[1,,2]", "expected value at line 1 column 4"),
        ROW("[1 2]", "expected `,` or `]` at line 1 column 4"),
        ROW("[1}", "expected `,` or `]` at line 1 column 3"),
        ROW("{\"a\" 1}", "expected `:` at line 1 column 6"),
        ROW("{\"a\":1 \"b\":2}", "expected `,` or `}` at line 1 column 8"),
        ROW("\"\\q\"", "invalid escape at line 1 column 3"),
        ROW("\"\\", "EOF while parsing a string at line 1 column 2"),
        ROW("\"\\u12", "EOF while parsing a string at line 1 column 5"),
        ROW("\"\\u12g4\"", "invalid escape at line 1 column 7"),
        ROW("\"\\ud800\"", "unexpected end of hex escape at line 1 column 8"),
        ROW("\"\\ud800\\n\"", "unexpected end of hex escape at line 1 column 9"),
        ROW("\"\\ud800", "EOF while parsing a string at line 1 column 7"),
        ROW("\"\\ud800\\ud800\"", "lone leading surrogate in hex escape at line 1 column 13"),
        ROW("\"\xff\x01\"", CONTROL " at line 1 column 3"),
        ROW("\"\xff", "EOF while parsing a string at line 1 column 2"),
        ROW("nul", "EOF while parsing a value at line 1 column 3"),
        ROW("nulx", "expected ident at line 1 column 4"),
        ROW("[tru]", "expected ident at line 1 column 5"),
        ROW("True", "expected value at line 1 column 1"),
        ROW("-", "EOF while parsing a value at line 1 column 1"),
        ROW("-x", "invalid number at line 1 column 2"),
        ROW("+1", "expected value at line 1 column 1"),
        ROW(".5", "expected value at line 1 column 1"),
        ROW("1.", "EOF while parsing a value at line 1 column 2"),
        ROW("1.x", "invalid number at line 1 column 3"),
        ROW("1e", "EOF while parsing a value at line 1 column 2"),
        ROW("1e+x", "invalid number at line 1 column 4"),
        ROW("-01", "invalid number at line 1 column 3"),
        ROW("0x10", "trailing characters at line 1 column 2"),
        ROW("1e999", "number out of range at line 1 column 5"),
        ROW("-1e400 ", "number out of range at line 1 column 6"),
        ROW("1 2", "trailing characters at line 1 column 3"),
        ROW("[\n\n  x]", "expected value at line 3 column 3"),
        ROW("\xEF\xBB\xBF{}", "expected value at line 1 column 1"),
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        check_error(rows[i].text, rows[i].want);
}

static void case_accepted(void) {
    static const struct row rows[] = {
        ROW("null", ""),
        ROW(" \t\r\n[ ] ", ""),
        ROW("[[[]],{}]", ""),
        ROW("{\"\":{\"\":[]}}", ""),
        ROW("-0", ""),
        ROW("-0.0e-0", ""),
        ROW("1E+2", ""),
        ROW("0e999", ""),
        ROW("1e-999", ""),
        ROW("123456789012345678901234567890", ""),
        ROW("\"\\u0000\\u001f\x7f\"", ""),
        ROW("\"\\ud83d\\ude00\\uFFFF\\/\"", ""),
        ROW("\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"
            "\"",
            ""),
        ROW("{\"a\":1,\"a\":2}", ""),
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_json j;
        struct weir_span raw;
        weir_json_init(&j, rows[i].text, 128);
        CHECK_MSG(weir_json_skip(&j, &raw) && weir_json_finish(&j), "%.*s: %s",
                  WEIR_SPAN_ARG(rows[i].text), weir_json_error_text(j.error));
        struct weir_span want = weir_span_trim(rows[i].text);
        CHECK(weir_span_eq(raw, want));
    }
}

enum reader { OBJECT, ARRAY, STRING, BOOL, NIL, U64, I64, F64 };

static bool read_as(struct weir_json *j, enum reader reader) {
    struct weir_json_str s;
    bool b;
    uint64_t u;
    int64_t i;
    double d;
    switch (reader) {
    case OBJECT:
        return weir_json_object_enter(j);
    case ARRAY:
        return weir_json_array_enter(j);
    case STRING:
        return weir_json_string(j, &s);
    case BOOL:
        return weir_json_bool(j, &b);
    case NIL:
        return weir_json_null(j);
    case U64:
        return weir_json_u64(j, &u);
    case I64:
        return weir_json_i64(j, &i);
    case F64:
        return weir_json_f64(j, &d);
    }
    return false;
}

/* ` at line 1 column C` of "invalid type" as the reference counts it: behind a scalar, before a
 * container. A scalar that is broken itself gives its own error. */
static void case_wrong_type(void) {
    static const struct {
        enum reader reader;
        const char *text;
        enum weir_json_error error;
        size_t pos;
    } rows[] = {
        {OBJECT, "null", WEIR_JSON_ERR_TYPE, 4},
        {OBJECT, "[1]", WEIR_JSON_ERR_TYPE, 0},
        {ARRAY, "{}", WEIR_JSON_ERR_TYPE, 0},
        {ARRAY, "\"x\"", WEIR_JSON_ERR_TYPE, 3},
        {STRING, "5", WEIR_JSON_ERR_TYPE, 1},
        {STRING, " [1]", WEIR_JSON_ERR_TYPE, 1},
        {F64, " \"0.5\" ", WEIR_JSON_ERR_TYPE, 6},
        {F64, "\"0.5", WEIR_JSON_ERR_EOF_STRING, 4},
        {U64, "-1", WEIR_JSON_ERR_TYPE, 2},
        {U64, "1e1", WEIR_JSON_ERR_TYPE, 3},
        {U64, "2.0", WEIR_JSON_ERR_TYPE, 3},
        {U64, "18446744073709551616", WEIR_JSON_ERR_TYPE, 20},
        {U64, "00", WEIR_JSON_ERR_INVALID_NUMBER, 2},
        {U64, "true", WEIR_JSON_ERR_TYPE, 4},
        {I64, "9223372036854775808", WEIR_JSON_ERR_TYPE, 19},
        {I64, "-0", WEIR_JSON_ERR_TYPE, 2},
        {BOOL, "nulx", WEIR_JSON_ERR_EXPECTED_IDENT, 4},
        {NIL, "false", WEIR_JSON_ERR_TYPE, 5},
        {BOOL, "1e999", WEIR_JSON_ERR_NUMBER_RANGE, 5},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_json j;
        weir_json_init(&j, weir_span_z(rows[i].text), 128);
        CHECK_MSG(!read_as(&j, rows[i].reader) && j.error == rows[i].error &&
                      j.error_pos == rows[i].pos,
                  "%s: %s at %zu", rows[i].text, weir_json_error_text(j.error), j.error_pos);
        CHECK(!read_as(&j, rows[i].reader) && j.error == rows[i].error);
    }
}

int main(void) {
    CHECK_RUN(case_recorded);
    CHECK_RUN(case_recorded_depths);
    CHECK_RUN(case_serde_rules);
    CHECK_RUN(case_accepted);
    CHECK_RUN(case_wrong_type);
    return check_finish();
}
