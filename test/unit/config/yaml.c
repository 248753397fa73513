/* YAML documents: what they become, what is refused and how that is said. */
#include "runtime/yaml.h"

#include "test/check.h"

#include <math.h>

static struct weir_arena arena;
static struct weir_err err;

static const struct weir_yaml *parse(const char *text) {
    const struct weir_yaml *root = NULL;
    CHECK_MSG(weir_yaml_parse(weir_span_z(text), &arena, &root, &err) == WEIR_OK, "%s", err.text);
    return root;
}

static void case_tree(void) {
    const struct weir_yaml *r =
        parse("a: 1\nb:\n  - x\n  - {c: 'd', e: [f, g]}\n\"h i\": |\n  j\n");
    CHECK(r->type == WEIR_YAML_MAPPING && r->n == 3 && r->line == 1);
    CHECK(weir_span_eqz(weir_yaml_get(r, "a")->text, "1") && weir_yaml_get(r, "a")->plain);
    const struct weir_yaml *b = weir_yaml_get(r, "b");
    CHECK(b->type == WEIR_YAML_SEQUENCE && b->n == 2 && b->line == 3);
    CHECK(weir_span_eqz(weir_yaml_get(b->last, "c")->text, "d"));
    CHECK(!weir_yaml_get(b->last, "c")->plain && weir_yaml_get(b->last, "e")->n == 2);
    CHECK(weir_span_eqz(weir_yaml_get(r, "h i")->text, "j\n"));
    CHECK(weir_yaml_get(r, "z") == NULL && weir_yaml_get(b, "a") == NULL);
    CHECK(weir_yaml_get(NULL, "a") == NULL);
    CHECK(weir_yaml_is_null(parse("")) && weir_yaml_is_null(parse("# nothing\n")));
}

static void case_scalars(void) {
    static const struct {
        const char *text;
        int kind; /* 0 text, 1 whole number, 2 number, 3 flag, 4 null */
        double value;
    } rows[] = {
        {"5", 1, 5},
        {"+5", 1, 5},
        {"0x1f", 1, 31},
        {"0o17", 1, 15},
        {"-5", 2, -5},
        {"1.5", 2, 1.5},
        {"1e3", 2, 1000},
        {".inf", 2, INFINITY},
        {"-.INF", 2, -INFINITY},
        {".nan", 2, NAN},
        {"true", 3, 1},
        {"False", 3, 0},
        {"~", 4, 0},
        {"null", 4, 0},
        {"''", 0, 0},
        {"\"5\"", 0, 0},
        {"yes", 0, 0},
        {"0x", 0, 0},
        {"0o8", 0, 0},
        {"0xg", 0, 0},
        {"tru", 0, 0},
        {"'null'", 0, 0},
        {"1_000", 0, 0},
        {"18446744073709551615", 1, 18446744073709551615.0},
        {"18446744073709551616", 2, 18446744073709551616.0},
        {"0x10000000000000000", 0, 0},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const struct weir_yaml *n = parse(rows[i].text);
        uint64_t whole = 77;
        double number = 77;
        bool flag = false;
        int k = rows[i].kind;
        CHECK_MSG(weir_yaml_u64(n, &whole) == (k == 1), "%s", rows[i].text);
        CHECK_MSG(weir_yaml_f64(n, &number) == (k == 1 || k == 2), "%s", rows[i].text);
        CHECK_MSG(weir_yaml_bool(n, &flag) == (k == 3), "%s", rows[i].text);
        CHECK_MSG(weir_yaml_is_null(n) == (k == 4), "%s", rows[i].text);
        double want = rows[i].value, got = k == 3 ? (double)flag : number;
        CHECK_MSG(k == 0 || k == 4 || (isnan(want) ? isnan(got) : !(got < want) && !(got > want)),
                  "%s: %g", rows[i].text, got);
    }
}

static void case_refused(void) {
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"a: 1\na: 2\n", "line 2: key 'a' is there already"},
        {"a: &x 1\n", "line 1: anchors are not supported: write the value out"},
        {"a: 1\nb: *x\n", "line 2: aliases are not supported: write the value out"},
        {"a: !!str 1\n", "line 1: tags are not supported: leave the ! word out"},
        {"{[1]: 2}\n", "line 1: a key must be a text or a number"},
        {"--- 1\n--- 2\n", "line 2: a second document begins: one is allowed"},
        {"a:\n\t- 1\n", "line 2: found character that cannot start any token"},
        {"a: [1\n", "line 2: did not find expected ',' or ']'"},
        {"a: \x01\n", "line 1: control characters are not allowed"},
        {"a: 1\nb: \"x\\0y\"\n", "line 2: a text has a NUL inside"},
        {"\"a\\x00\": 1\n", "line 1: a text has a NUL inside"},
        {"a: \xff\n", "line 1: invalid leading UTF-8 octet"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const struct weir_yaml *root = NULL;
        CHECK(weir_yaml_parse(weir_span_z(rows[i].text), &arena, &root, &err) == WEIR_INVALID);
        CHECK(root == NULL);
        CHECK_EQ_STR(err.text, strlen(err.text), rows[i].message);
    }
}

static void case_bounds(void) {
    static char text[200000];
    const struct weir_yaml *root = NULL;
    memset(text, '[', 33);
    CHECK(weir_yaml_parse(weir_span(text, 33), &arena, &root, &err) == WEIR_LIMIT);
    memset(text + 32, ']', 32);
    CHECK(weir_yaml_parse(weir_span(text, 64), &arena, &root, &err) == WEIR_OK);
    for (size_t i = 0; i < 1025; i++)
        memcpy(text + 4 * i, "- 1\n", 4);
    CHECK(weir_yaml_parse(weir_span(text, 4 * 1024), &arena, &root, &err) == WEIR_OK);
    CHECK(weir_yaml_parse(weir_span(text, 4 * 1025), &arena, &root, &err) == WEIR_LIMIT);
    size_t at = 0; /* 17 times 1,000 values */
    for (size_t i = 0; i < 17; i++) {
        at += (size_t)snprintf(text + at, 16, "- [0");
        for (size_t k = 1; k < 1000; k++)
            at += (size_t)snprintf(text + at, 16, ", 0");
        at += (size_t)snprintf(text + at, 16, "]\n");
    }
    CHECK(weir_yaml_parse(weir_span(text, at), &arena, &root, &err) == WEIR_LIMIT);
    CHECK(strstr(err.text, "16,384") != NULL);
    CHECK(weir_yaml_read("/nowhere/at/all.yaml", 100, &arena, &root, &err) == WEIR_NOT_FOUND);
    CHECK_EQ_STR(err.text, strlen(err.text), "/nowhere/at/all.yaml: No such file or directory");
    CHECK(weir_yaml_read("test/fuzz/corpus/yaml/values.yaml", 10, &arena, &root, &err) ==
          WEIR_TOO_LARGE);
    CHECK(weir_yaml_read("test/fuzz/corpus/yaml/values.yaml", 1000, &arena, &root, &err) ==
          WEIR_OK);
    CHECK(weir_yaml_get(root, "deep") != NULL);
}

static void case_described(void) {
    static const char *const rows[][2] = {{"5", "5"},
                                          {"-1.5", "-1.5"},
                                          {"~", "nothing"},
                                          {"x", "the text \"x\""},
                                          {"'5'", "the text \"5\""},
                                          {"[]", "a sequence"},
                                          {"{}", "a mapping"},
                                          {"true", "true"}};
    char got[64];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_yaml_describe(parse(rows[i][0]), got, sizeof(got));
        CHECK_EQ_STR(got, strlen(got), rows[i][1]);
    }
}

int main(void) {
    weir_arena_init(&arena, (size_t)64 << 20);
    CHECK_RUN(case_tree);
    CHECK_RUN(case_scalars);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_bounds);
    CHECK_RUN(case_described);
    weir_arena_fini(&arena);
    return check_finish();
}
