/*
 * TOML parser: own vectors, and the suite toml-test (shared data "toml") where it is present, in
 * its own tagged-JSON form: every valid document must give the expected tree, every invalid one
 * must be refused.
 */
#include "runtime/toml.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "test/check.h"

#include <math.h>

static struct weir_arena arena;
static const struct weir_toml *root;
static struct weir_err err;

static enum weir_status parse(const char *text) {
    weir_arena_fini(&arena);
    weir_arena_init(&arena, (size_t)64 << 20);
    root = NULL;
    err.text[0] = '\0';
    return weir_toml_parse(weir_span_z(text), &arena, &root, &err);
}

static const struct weir_toml *at(const char *key) {
    const struct weir_toml *v = weir_toml_get(root, key);
    CHECK_MSG(v != NULL, "no key %s", key);
    return v;
}

static void case_values(void) {
    CHECK(parse("a = 1\nb = 0xff\nc = -9223372036854775808\nd = 1_000.5e1\ne = true\n"
                "f = \"x\\ty\\u00e9\\x41\\e\"\ng = 'c:\\dir'\nh = [1, 'two', [3]]\n"
                "i = {x = 1, y.z = 2,}\nj = 1979-05-27 07:32Z\nk = -inf\nl = nan\n") == WEIR_OK);
    CHECK(at("a")->integer == 1 && at("b")->integer == 255 && at("c")->integer == INT64_MIN);
    CHECK(at("d")->type == WEIR_TOML_FLOAT && at("d")->number == 10005.0);
    CHECK(at("e")->type == WEIR_TOML_BOOL && at("e")->boolean);
    CHECK_EQ_STR(at("f")->text.data, at("f")->text.len,
                 "x\ty\xc3\xa9"
                 "A\x1b");
    CHECK_EQ_STR(at("g")->text.data, at("g")->text.len, "c:\\dir");
    CHECK(at("h")->n == 3 && at("h")->first->next->type == WEIR_TOML_STRING);
    CHECK(weir_toml_get(weir_toml_get(at("i"), "y"), "z")->integer == 2);
    CHECK_EQ_STR(at("j")->text.data, at("j")->text.len, "1979-05-27T07:32:00Z");
    CHECK(isinf(at("k")->number) && at("k")->number < 0 && isnan(at("l")->number));
    CHECK(at("l")->line == 12);
    CHECK(weir_toml_get(root, "zz") == NULL && weir_toml_get(NULL, "a") == NULL);
}

static void case_multi_line(void) {
    CHECK(parse("a = \"\"\"\r\none \\\r\n   two\"\"\"\"\"\nb = '''\nx\ny''''\n") == WEIR_OK);
    CHECK_EQ_STR(at("a")->text.data, at("a")->text.len, "one two\"\"");
    CHECK_EQ_STR(at("b")->text.data, at("b")->text.len, "x\ny'");
}

static void case_tables(void) {
    CHECK(parse("[[w]]\nn = 1\n[w.sub]\nk = 2\n[[w]]\nn = 3\n[p.q]\nr = 4\n[p]\ns = 5\n") ==
          WEIR_OK);
    CHECK(at("w")->type == WEIR_TOML_ARRAY && at("w")->n == 2);
    CHECK(weir_toml_get(weir_toml_get(at("w")->first, "sub"), "k")->integer == 2);
    CHECK(weir_toml_get(at("w")->last, "n")->integer == 3);
    CHECK(weir_toml_get(at("p"), "s")->integer == 5);
}

static void case_refused(void) {
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a = 1\na = 2\n", "line 2: a is already there"},
        {"a = \n", "line 1: a value is missing"},
        {"a = 01\n", "line 1: 01 is no value"},
        {"\n\na = 'x\n", "line 3: a string ends at the end of its line"},
        {"a = \"\\q\"\n", "line 1: unknown escape in a string"},
        {"a = \"\\ud800\"\n", "line 1: an escape is no Unicode character"},
        {"a = 9223372036854775808\n", "line 1: 9223372036854775808 is no value"},
        {"a = [1 2]\n", "line 1: expected , or ] in an array"},
        {"a = 1 b = 2\n", "line 1: unexpected text behind the value"},
        {"[a]\n[a]\n", "line 2: a is already there"},
        {"a = {x = 1}\na.y = 2\n", "line 2: a is already there"},
        {"a = 2021-02-29\n", "line 1: 2021-02-29 is no value"},
        {"a\n", "line 1: expected = behind a key"},
        {"= 1\n", "line 1: a key is missing"},
        {"[a\n", "line 1: expected ] behind a table's name"},
        {"a = '\xff'\n", "line 1: not UTF-8"},
        {"# \x01\n", "line 1: control byte 0x01 in a comment"},
        {"a = \"\"\"x", "line 1: the document ends inside a string"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        CHECK_MSG(parse(rows[i].text) == WEIR_INVALID, "accepted: %s", rows[i].text);
        CHECK_EQ_STR(err.text, strlen(err.text), rows[i].message);
        CHECK(root == NULL);
    }
}

/* `open` n times, then `close` n times. */
static enum weir_status parse_repeated(const char *before, const char *open, const char *close,
                                       size_t n) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)16 << 20);
    enum weir_status st = weir_buf_append_z(&text, before);
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = weir_buf_append_z(&text, open);
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = weir_buf_append_z(&text, close);
    if (st == WEIR_OK)
        st = weir_buf_append(&text, "\0", 1);
    if (st == WEIR_OK)
        st = parse(text.data);
    weir_buf_fini(&text);
    return st;
}

static void case_bounds(void) {
    CHECK(parse_repeated("a = ", "[", "]", 64) == WEIR_OK);
    CHECK(parse_repeated("a = ", "[", "]", 65) == WEIR_LIMIT);
    CHECK(parse_repeated("a = ", "[", "]", 100000) == WEIR_LIMIT);
    CHECK(parse_repeated("a = ", "{a=", "}", 100000) == WEIR_LIMIT);
    CHECK(parse_repeated("a", ".a", "", 63) == WEIR_INVALID);
    CHECK(parse_repeated("a", ".a", "", 64) == WEIR_LIMIT);
    CHECK(parse_repeated("a = [", "1,", "", 70000) == WEIR_LIMIT);
}

/* Each allocation fails once: an error, never a crash, and the next try works. */
static void case_out_of_memory(void) {
    const char *text = "a = 'x'\n[b.c]\nd = [1, {e = \"\\n\"}]\nf = 1979-05-27\n";
    for (uint64_t k = 1; k < 20; k++) {
        weir_mem_fail_at(k);
        enum weir_status st = parse(text);
        weir_mem_fail_at(0);
        CHECK(st == WEIR_OK || st == WEIR_NOMEM);
        CHECK((st == WEIR_OK) == (root != NULL));
    }
    for (size_t max = 64; max < 16384; max += 512) {
        weir_arena_fini(&arena);
        weir_arena_init(&arena, max);
        const struct weir_toml *doc = NULL;
        enum weir_status st = weir_toml_parse(weir_span_z(text), &arena, &doc, &err);
        CHECK((st == WEIR_OK) == (doc != NULL));
    }
}

/* ---- toml-test ------------------------------------------------------------------------------ */

static bool same(const struct weir_toml *v, struct weir_json *j);

static const char *suite_type(const struct weir_toml *v) {
    static const char *const names[] = {
        [WEIR_TOML_STRING] = "string",
        [WEIR_TOML_INTEGER] = "integer",
        [WEIR_TOML_FLOAT] = "float",
        [WEIR_TOML_BOOL] = "bool",
        [WEIR_TOML_OFFSET_DATETIME] = "datetime",
        [WEIR_TOML_LOCAL_DATETIME] = "datetime-local",
        [WEIR_TOML_LOCAL_DATE] = "date-local",
        [WEIR_TOML_LOCAL_TIME] = "time-local",
    };
    return names[v->type];
}

/* The suite compares times by value: ".6" is ".600". */
static struct weir_span strip_fraction(struct weir_span time) {
    ptrdiff_t dot = weir_span_find(time, '.');
    size_t end = dot < 0 ? 0 : (size_t)dot + 1;
    while (dot >= 0 && end < time.len && time.data[end] >= '0' && time.data[end] <= '9')
        end++;
    size_t keep = end;
    while (keep > 0 && time.data[keep - 1] == '0')
        keep--;
    char *out = weir_arena_alloc(&arena, time.len + 1);
    CHECK(out != NULL);
    memcpy(out, time.data, keep);
    memcpy(out + keep, time.data + end, time.len - end);
    return weir_span(out, keep + time.len - end);
}

static bool same_scalar(const struct weir_toml *v, struct weir_span type, struct weir_span value) {
    char text[64];
    double want = 0;
    if (!weir_span_eqz(type, suite_type(v)))
        return false;
    switch (v->type) {
    case WEIR_TOML_INTEGER:
        snprintf(text, sizeof(text), "%" PRId64, v->integer);
        return weir_span_eqz(value, text);
    case WEIR_TOML_BOOL:
        return weir_span_eqz(value, v->boolean ? "true" : "false");
    case WEIR_TOML_FLOAT:
        if (isnan(v->number))
            return weir_span_eqz(value, "nan");
        if (isinf(v->number))
            return weir_span_eqz(value, v->number > 0 ? "inf" : "-inf");
        return weir_span_f64(value, &want) && want == v->number;
    case WEIR_TOML_STRING:
        return weir_span_eq(value, v->text);
    default:
        return weir_span_eq(strip_fraction(value), strip_fraction(v->text));
    }
}

/* {"type": …, "value": …} is a scalar unless both members are objects themselves. */
static bool scalar_object(struct weir_json j, struct weir_span *type, struct weir_span *value) {
    struct weir_json_str key, text;
    unsigned n = 0;
    if (!weir_json_object_enter(&j))
        return false;
    for (; weir_json_object_next(&j, &key); n++) {
        if (!weir_json_string(&j, &text))
            return false;
        *(weir_json_str_eqz(key, "type") ? type : value) = weir_json_text(text, &arena);
    }
    return n == 2 && j.error == WEIR_JSON_ERR_NONE && type->data != NULL && value->data != NULL;
}

static bool same_table(const struct weir_toml *v, struct weir_json *j) {
    struct weir_json_str key;
    size_t n = 0;
    if (v->type != WEIR_TOML_TABLE || !weir_json_object_enter(j))
        return false;
    for (; weir_json_object_next(j, &key); n++) {
        struct weir_span name = weir_json_text(key, &arena);
        const struct weir_toml *m = v->first;
        while (m != NULL && !weir_span_eq(m->key, name))
            m = m->next;
        if (m == NULL || !same(m, j))
            return false;
    }
    return n == v->n && j->error == WEIR_JSON_ERR_NONE;
}

static bool same_array(const struct weir_toml *v, struct weir_json *j) {
    if (v->type != WEIR_TOML_ARRAY || !weir_json_array_enter(j))
        return false;
    const struct weir_toml *item = v->first;
    for (; weir_json_array_next(j); item = item->next)
        if (item == NULL || !same(item, j))
            return false;
    return item == NULL && j->error == WEIR_JSON_ERR_NONE;
}

static bool same(const struct weir_toml *v, struct weir_json *j) {
    struct weir_span type = {NULL, 0}, value = {NULL, 0};
    if (weir_json_peek(j) == WEIR_JSON_ARRAY)
        return same_array(v, j);
    if (v->type != WEIR_TOML_TABLE && scalar_object(*j, &type, &value))
        return same_scalar(v, type, value) && weir_json_skip(j, NULL);
    return same_table(v, j);
}

static bool slurp(const char *path, struct weir_buf *out) {
    FILE *f = fopen(path, "rb");
    char piece[4096];
    weir_buf_init(out, (size_t)4 << 20);
    if (f == NULL)
        return false;
    enum weir_status st = WEIR_OK;
    for (size_t n; st == WEIR_OK && (n = fread(piece, 1, sizeof(piece), f)) > 0;)
        st = weir_buf_append(out, piece, n);
    fclose(f);
    return st == WEIR_OK;
}

static unsigned suite_seen, suite_wrong;

static void suite_wrong_file(const char *path, const char *why) {
    fprintf(stderr, "%s: %s\n", path, why);
    suite_wrong++;
}

static void run_valid(const char *path, size_t len) {
    char json_path[4096];
    struct weir_buf json;
    snprintf(json_path, sizeof(json_path), "%.*s.json", (int)len - 5, path);
    if (root == NULL) {
        suite_wrong_file(path, err.text);
    } else if (slurp(json_path, &json)) {
        struct weir_json j;
        weir_json_init(&j, weir_buf_span(&json), 128);
        if (!same(root, &j))
            suite_wrong_file(path, "differs from the expected values");
        weir_buf_fini(&json);
    } else {
        suite_wrong_file(json_path, "missing");
    }
}

/* `path` is relative to the suite: "valid/…" or "invalid/…". */
static void run_file(const char *folder, const char *name) {
    char path[4096];
    struct weir_buf text;
    size_t len = strlen(name);
    if (len < 6 || strcmp(name + len - 5, ".toml") != 0)
        return;
    int n = snprintf(path, sizeof(path), "%s/%s", folder, name);
    weir_arena_fini(&arena);
    weir_arena_init(&arena, (size_t)64 << 20);
    root = NULL;
    suite_seen++;
    if (!slurp(path, &text)) {
        suite_wrong_file(path, "cannot be read");
        return;
    }
    enum weir_status st = weir_toml_parse(weir_buf_span(&text), &arena, &root, &err);
    if (strncmp(name, "valid/", 6) == 0)
        run_valid(path, (size_t)n);
    else if (st == WEIR_OK)
        suite_wrong_file(path, "accepted");
    weir_buf_fini(&text);
}

/* Documents of a list file that begin with `prefix`; false when there is no such file. */
static bool run_list(const char *folder, const char *name, const char *prefix) {
    char path[4096], line[1024];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, prefix, strlen(prefix)) == 0)
            run_file(folder, line);
    }
    fclose(f);
    return true;
}

static void case_suite(void) {
    char folder[2048];
    const char *env = getenv("WEIR_SHARED");
    snprintf(folder, sizeof(folder), "%s/data/toml/tests", env != NULL ? env : "../shared");
    if (!run_list(folder, "files-toml-1.1.0", "")) {
        fprintf(stderr, "skipped: %s is not here (WEIR_SHARED names the shared folder)\n", folder);
        return;
    }
    /* What 1.0 refuses and 1.1 allows (line breaks in inline tables and so on) stays allowed. */
    CHECK(run_list(folder, "files-toml-1.0.0", "valid/"));
    fprintf(stderr, "toml-test: %u documents, %u wrong\n", suite_seen, suite_wrong);
    CHECK(suite_seen > 500 && suite_wrong == 0);
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    CHECK_RUN(case_values);
    CHECK_RUN(case_multi_line);
    CHECK_RUN(case_tables);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_bounds);
    CHECK_RUN(case_out_of_memory);
    CHECK_RUN(case_suite);
    weir_arena_fini(&arena);
    return check_finish();
}
