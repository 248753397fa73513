/* Values that formats write as text: schemas and their types, Python's and Gemma's notations, JSON
 * as it comes. */
#include "parsers/jscan_priv.h"
#include "parsers/literal_priv.h"
#include "parsers/schema_priv.h"
#include "test/check.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"$defs\":{\"Kind\":{\"enum\":[\"a\",\"b\"]},\"Deep\":{\"type\":\"object\",\"properties\":"
    "{\"n\":{\"type\":\"integer\"}}},\"Loop\":{\"$ref\":\"#/$defs/Loop\"}},\"properties\":{"
    "\"s\":{\"type\":\"string\"},\"i\":{\"type\":\"integer\"},\"u\":{\"type\":[\"string\",\"null\"]"
    "},"
    "\"any\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"null\"}]},\"k\":{\"$ref\":"
    "\"#/$defs/Kind\"},\"d\":{\"$ref\":\"#/$defs/Deep\"},\"loop\":{\"$ref\":\"#/$defs/Loop\"},"
    "\"l\":{\"items\":{\"type\":\"boolean\"}},\"e\":{\"enum\":[1,2,null]},\"x\":{},"
    "\"opt\":{\"type\":\"object\",\"nullable\":true},\"caf\\u00e9\":{\"const\":true}}}}}]";

static struct weir_span parameters(void) {
    return wprs_schema_tool(WEIR_SPAN_LIT(tools), WEIR_SPAN_LIT("f"));
}

static unsigned types_of(const char *key) {
    struct weir_span root = parameters();
    return wprs_schema_types(root, wprs_schema_property(root, root, weir_span_z(key)));
}

static void case_types(void) {
    CHECK(parameters().data != NULL);
    CHECK(wprs_schema_tool(WEIR_SPAN_LIT(tools), WEIR_SPAN_LIT("g")).data == NULL);
    CHECK_EQ_U64(types_of("s"), TYPE_STRING);
    CHECK_EQ_U64(types_of("i"), TYPE_INTEGER);
    CHECK_EQ_U64(types_of("u"), TYPE_STRING | TYPE_NULL);
    CHECK_EQ_U64(types_of("any"), TYPE_NUMBER | TYPE_NULL);
    CHECK_EQ_U64(types_of("k"), TYPE_STRING);
    CHECK_EQ_U64(types_of("d"), TYPE_OBJECT);
    CHECK_EQ_U64(types_of("loop"), 0);
    CHECK_EQ_U64(types_of("l"), TYPE_ARRAY);
    CHECK_EQ_U64(types_of("e"), TYPE_NUMBER | TYPE_NULL);
    CHECK_EQ_U64(types_of("x"), 0);
    CHECK_EQ_U64(types_of("opt"), TYPE_OBJECT | TYPE_NULL);
    CHECK_EQ_U64(types_of("café"), TYPE_BOOLEAN);
    CHECK_EQ_U64(types_of("none"), 0);
    struct weir_span root = parameters(),
                     deep = wprs_schema_property(root, root, WEIR_SPAN_LIT("d"));
    CHECK_EQ_U64(wprs_schema_types(root, wprs_schema_property(root, deep, WEIR_SPAN_LIT("n"))),
                 TYPE_INTEGER);
    struct weir_span list = wprs_schema_property(root, root, WEIR_SPAN_LIT("l"));
    CHECK_EQ_U64(wprs_schema_types(root, wprs_schema_items(root, list)), TYPE_BOOLEAN);
}

static void expect_value(unsigned types, const char *text, bool guess, const char *want) {
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    CHECK(wprs_schema_value(types, weir_span_z(text), guess, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_fini(&out);
}

static void case_values(void) {
    expect_value(TYPE_STRING, "007", false, "\"007\"");
    expect_value(TYPE_INTEGER, " 12345678901234567890 ", false, "12345678901234567890");
    expect_value(TYPE_INTEGER, "007", false, "\"007\"");
    expect_value(TYPE_INTEGER, "1.5", false, "\"1.5\"");
    expect_value(TYPE_NUMBER, "-0.00125", false, "-0.00125");
    expect_value(TYPE_BOOLEAN, "True", false, "true");
    expect_value(TYPE_STRING | TYPE_NULL, "null", false, "null");
    expect_value(TYPE_STRING | TYPE_NULL, " x\n", false, "\" x\\n\"");
    expect_value(TYPE_OBJECT, "{\"b\": 1, \"a\": [2]}", false, "{\"b\": 1, \"a\": [2]}");
    expect_value(TYPE_OBJECT, "{'a': True, 'b': (1, 2)}", false, "{\"a\":true,\"b\":[1,2]}");
    expect_value(TYPE_OBJECT, "{'a': ", false, "\"{'a': \"");
    expect_value(TYPE_ARRAY, "[]", false, "[]");
    expect_value(TYPE_NUMBER, "null", false, "null");
    expect_value(TYPE_NUMBER, "None", false, "\"None\"");
    expect_value(TYPE_OBJECT, "None", false, "null");
    expect_value(0, "2", false, "\"2\"");
    expect_value(0, "2", true, "2");
    expect_value(0, "two", true, "\"two\"");
    expect_value(0, "{\"a\": 1}", true, "{\"a\": 1}");
}

static void expect_python(const char *text, const char *want) {
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    enum weir_status st = wprs_literal_value(weir_span_z(text), &out);
    CHECK_MSG(st == (want != NULL ? WEIR_OK : WEIR_INVALID), "%s: %s", text, weir_status_text(st));
    CHECK_EQ_STR(out.data, out.len, want != NULL ? want : "");
    weir_buf_fini(&out);
}

static void case_python(void) {
    expect_python("'a\"b\\'c'", "\"a\\\"b'c\"");
    expect_python("\"\"", "\"\"");
    expect_python("'''a'b\nc'''", "\"a'b\\nc\"");
    expect_python("r'\\d+'", "\"\\\\d+\"");
    expect_python("'\\d\\x41\\u00e9\\U0001F600\\101\\n'", "\"\\\\dAé😀A\\n\"");
    expect_python("'\\ud83d\\ude00'", "\"\\ud83d\\ude00\"");
    expect_python("[1, -2.5, +3, 1_000, .5, 2., 1e5,]", "[1,-2.5,3,1000,0.5,2.0,1e5]");
    expect_python("(1, 2)", "[1,2]");
    expect_python("(1,)", "[1]");
    expect_python("(1)", NULL);
    expect_python("()", "[]");
    expect_python("{'a': None, 'b': {}, 1: 'x', True: 2}",
                  "{\"a\":null,\"b\":{},\"1\":\"x\",\"true\":2}");
    expect_python("{'a': 1,}", "{\"a\":1}");
    expect_python("{'a'}", NULL);
    expect_python("007", NULL);
    expect_python("0x10", NULL);
    expect_python("f'x'", NULL);
    expect_python("[1 2]", NULL);
    expect_python("[,]", NULL);
    expect_python("x", NULL);
    expect_python("'a' 'b'", NULL);
    expect_python("", NULL);
}

static void case_depth(void) {
    char text[400];
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    CHECK(wprs_literal_value(weir_span(text, 400), &out) == WEIR_INVALID);
    CHECK(jscan_whole(text, 400, '['));
    weir_buf_fini(&out);
    static char deep[1200];
    memset(deep, '[', 600);
    memset(deep + 600, ']', 600);
    CHECK(!jscan_whole(deep, sizeof(deep), '['));
}

/* Rows: text, is it one JSON value? */
static void case_json(void) {
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"{}", true},
        {" [1, 2.5e-3, -0, \"a\\u00e9\\n\"] ", true},
        {"{\"a\": {\"b\": [true, false, null]}}", true},
        {"12345678901234567890", true},
        {"-", false},
        {"01", false},
        {"1.", false},
        {"1e", false},
        {"[1,]", false},
        {"{\"a\":1,}", false},
        {"{a:1}", false},
        {"{\"a\" 1}", false},
        {"'a'", false},
        {"\"a\nb\"", false},
        {"\"\\x41\"", false},
        {"\"\\u12g4\"", false},
        {"tru", false},
        {"truex", false},
        {"{} {}", false},
        {"[1}", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t n = strlen(rows[i].text);
        CHECK_MSG(jscan_whole(rows[i].text, n, '\0') == rows[i].good, "%s", rows[i].text);
    }
}

int main(void) {
    CHECK_RUN(case_types);
    CHECK_RUN(case_values);
    CHECK_RUN(case_python);
    CHECK_RUN(case_depth);
    CHECK_RUN(case_json);
    return check_finish();
}
