/* The template engine: recorded answers of Jinja2, bounds, memory that fails, sharing by threads.
 */
#include "tokenizer/jinja.h"
#include "base/json.h"
#include "base/mem.h"
#include "test/check.h"

#include <pthread.h>

struct answer {
    enum weir_status status;
    struct wtok_jinja_failure failure;
    struct wtok_jinja_range ranges[16];
    size_t n_ranges;
};

static struct answer render_with(const char *source, const char *json, size_t max_bytes,
                                 uint64_t max_steps, struct weir_buf *out) {
    struct answer a = {.status = WEIR_OK};
    struct weir_arena arena;
    struct wtok_jinja *tpl = NULL;
    weir_arena_init(&arena, (size_t)256 << 20);
    weir_buf_init(out, max_bytes);
    a.status = wtok_jinja_parse(weir_span_z(source), &tpl, &a.failure);
    struct wtok_jinja_render r = {.arena = &arena,
                                  .variables = weir_span_z(json),
                                  .max_steps = max_steps,
                                  .ranges = a.ranges,
                                  .max_ranges = 16};
    if (a.status == WEIR_OK)
        a.status = wtok_jinja_render(tpl, &r, out, &a.failure);
    a.n_ranges = r.n_ranges;
    wtok_jinja_destroy(tpl);
    weir_arena_fini(&arena);
    return a;
}

static struct answer render(const char *source, const char *json, struct weir_buf *out) {
    return render_with(source, json, (size_t)16 << 20, 0, out);
}

/* ---- recorded answers --------------------------------------------------------------------- */

static unsigned n_vectors;

static void check_vector(struct weir_span line) {
    struct weir_arena arena;
    struct weir_json j;
    struct weir_json_str key, s;
    struct weir_span t = {"", 0}, d = {NULL, 0}, out = {NULL, 0}, err = {NULL, 0};
    int64_t now = 0;
    weir_arena_init(&arena, (size_t)64 << 20);
    weir_json_init(&j, line, 64);
    CHECK(weir_json_object_enter(&j));
    while (weir_json_object_next(&j, &key)) {
        if (weir_json_str_eqz(key, "t") && weir_json_string(&j, &s))
            t = weir_json_text(s, &arena);
        else if (weir_json_str_eqz(key, "out") && weir_json_string(&j, &s))
            out = weir_json_text(s, &arena);
        else if (weir_json_str_eqz(key, "err") && weir_json_string(&j, &s))
            err = weir_json_text(s, &arena);
        else if (weir_json_str_eqz(key, "now"))
            weir_json_i64(&j, &now);
        else
            weir_json_skip(&j, weir_json_str_eqz(key, "d") ? &d : NULL);
    }
    CHECK(weir_json_finish(&j));
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure failure = {.error = WTOK_JINJA_ERR_NONE};
    struct wtok_jinja_render r = {.arena = &arena, .variables = d, .now_us = now * 1000000};
    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 20);
    enum weir_status st = wtok_jinja_parse(t, &tpl, &failure);
    if (st == WEIR_OK)
        st = wtok_jinja_render(tpl, &r, &text, &failure);
    if (out.data != NULL) {
        CHECK_MSG(st == WEIR_OK && weir_span_eq(weir_buf_span(&text), out),
                  "%.*s\n   want %.*s\n   got  %.*s (%s)", WEIR_SPAN_ARG(t), WEIR_SPAN_ARG(out),
                  (int)text.len, text.data, failure.text);
    } else {
        CHECK_MSG(st != WEIR_OK && weir_span_eqz(err, wtok_jinja_error_name(failure.error)),
                  "%.*s\n   want %.*s\n   got  %s: %s", WEIR_SPAN_ARG(t), WEIR_SPAN_ARG(err),
                  wtok_jinja_error_name(failure.error), failure.text);
        CHECK(text.len == 0);
    }
    n_vectors++;
    wtok_jinja_destroy(tpl);
    weir_buf_fini(&text);
    weir_arena_fini(&arena);
}

static void case_vectors(void) {
    FILE *f = fopen("test/data/jinja-vectors.jsonl", "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    CHECK(f != NULL);
    while ((n = getline(&line, &cap, f)) > 0)
        check_vector(weir_span(line, (size_t)n));
    free(line);
    fclose(f);
    CHECK(n_vectors > 60);
}

/* ---- bounds ------------------------------------------------------------------------------- */

static void expect_limit(const char *source, size_t max_bytes, uint64_t max_steps) {
    struct weir_buf out;
    struct answer a = render_with(source, "{}", max_bytes, max_steps, &out);
    CHECK_MSG(a.status == WEIR_TOO_LARGE && a.failure.error == WTOK_JINJA_ERR_LIMIT && out.len == 0,
              "%s: %s", source, a.failure.text);
    weir_buf_fini(&out);
}

static void case_limits(void) {
    expect_limit("{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}"
                 "{% endfor %}{% endfor %}{% endfor %}",
                 1 << 20, 100000);
    expect_limit("{% macro m(x) %}{{ m(x + 1) }}{% endmacro %}{{ m(0) }}", 1 << 20, 0);
    expect_limit("{% for i in range(100000) %}0123456789{% endfor %}", 1 << 16, 0);
    expect_limit("{{ 'a' * 100000 * 100000 }}", 1 << 20, 0);
    expect_limit("{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s "
                 "%}{% endfor %}{{ ns.s }}",
                 1 << 20, 0);
    expect_limit("{{ 'x'.rjust(1000000000) }}", 1 << 20, 0);
    expect_limit("{{ '%1000000000d' % 1 }}", 1 << 20, 0);
    expect_limit(
        "{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] "
        "%}{% endfor %}{{ ns.l }}",
        1 << 20, 0);
}

static void case_deep_source(void) {
    static const char *const pieces[][3] = {{"{{ ", "(", ")"},     {"{{ ", "[", "]"},
                                            {"{{ ", "-", ""},      {"{{ ", "not ", ""},
                                            {"{{ 1", "+(1", ")"},  {"{{ x", "[x", "]"},
                                            {"{{ x", "|d(x", ")"}, {"{{ x", " if x else x", ""},
                                            {"{{ x", ".a", ""},    {"{{ x", "~x**x", ""}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pieces); i++) {
        struct weir_buf source, out;
        weir_buf_init(&source, (size_t)2 << 20);
        CHECK(weir_buf_append_z(&source, pieces[i][0]) == WEIR_OK);
        for (int n = 0; n < 50000; n++)
            CHECK(weir_buf_append_z(&source, pieces[i][1]) == WEIR_OK);
        CHECK(weir_buf_append_z(&source, i < 4 ? "1" : "") == WEIR_OK);
        for (int n = 0; n < 50000; n++)
            CHECK(weir_buf_append_z(&source, pieces[i][2]) == WEIR_OK);
        CHECK(weir_buf_append(&source, " }}", 4) == WEIR_OK);
        struct answer a = render(source.data, "{}", &out);
        CHECK_MSG(a.status != WEIR_OK, "%s", pieces[i][1]);
        weir_buf_fini(&source);
        weir_buf_fini(&out);
    }
}

/* ---- what else ---------------------------------------------------------------------------- */

static void case_generation_ranges(void) {
    struct weir_buf out;
    struct answer a = render("{% for m in messages %}<{{ m }}>{% generation %}[{{ m|upper }}]"
                             "{% endgeneration %}{% endfor %}",
                             "{\"messages\": [\"a\", \"bé\"]}", &out);
    CHECK(a.status == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "<a>[A]<bé>[BÉ]");
    CHECK_EQ_U64(a.n_ranges, 2);
    CHECK_EQ_U64(a.ranges[0].begin, 3);
    CHECK_EQ_U64(a.ranges[0].end, 6);
    CHECK_EQ_U64(a.ranges[1].begin, 11);
    CHECK_EQ_U64(a.ranges[1].end, 16);
    weir_buf_fini(&out);
}

static void case_appends(void) {
    struct weir_arena arena;
    struct weir_buf out;
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure failure;
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    struct wtok_jinja_render r = {.arena = &arena};
    CHECK(wtok_jinja_parse(WEIR_SPAN_LIT("x{{ 'y'|upper }}{{ 1 / 0 if fail }}"), &tpl, &failure) ==
          WEIR_OK);
    CHECK(weir_buf_append_z(&out, "before ") == WEIR_OK);
    CHECK(wtok_jinja_render(tpl, &r, &out, &failure) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "before xY");
    r.variables = WEIR_SPAN_LIT("{\"fail\": true}");
    CHECK(wtok_jinja_render(tpl, &r, &out, &failure) == WEIR_INVALID);
    CHECK(failure.error == WTOK_JINJA_ERR_ZERO_DIVISION && failure.line == 1);
    CHECK_EQ_STR(out.data, out.len, "before xY");
    wtok_jinja_destroy(tpl);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
}

static void case_names(void) {
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure failure;
    CHECK(wtok_jinja_parse(WEIR_SPAN_LIT("{% set a = b %}{{ a }}{{ range(c) }}{% for d in e %}{{ d "
                                         "}}{% endfor %}{% macro f(g) %}{{ h }}{% endmacro %}"),
                           &tpl, &failure) == WEIR_OK);
    static const char *const wanted[] = {"b", "c", "e", "h"}, *const others[] = {"a", "d", "f", "g",
                                                                                 "range"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(wanted); i++)
        CHECK_MSG(wtok_jinja_wants(tpl, weir_span_z(wanted[i])), "%s", wanted[i]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(others); i++)
        CHECK_MSG(!wtok_jinja_wants(tpl, weir_span_z(others[i])), "%s", others[i]);
    size_t n = 0;
    while (wtok_jinja_variable(tpl, n).data != NULL)
        n++;
    CHECK_EQ_U64(n, 4);
    wtok_jinja_destroy(tpl);
}

/* Adding to a string a hundred thousand times copies no more than a small multiple of it. */
static void case_long_sum(void) {
    struct weir_buf out;
    struct answer a =
        render("{% set ns = namespace(s='') %}{% for i in range(100000) %}{% set ns.s = "
               "ns.s + '0123456789' %}{% endfor %}{{ ns.s|length }}",
               "{}", &out);
    CHECK(a.status == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "1000000");
    weir_buf_fini(&out);
}

/* Strings are looked through in several ways, by their length: each finds an escape, the end and
 * what no string may hold wherever they stand. */
static void case_string_ends(void) {
    enum { MOST = 200 };
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t n = 0; n <= MOST; n++)
        for (size_t at = 0; at <= n; at++) {
            char plain[MOST + 1], json[MOST + 16];
            for (size_t i = 0; i < n; i++)
                plain[i] = letters[i % 26];
            plain[n] = '\0';
            int len =
                snprintf(json, sizeof(json), "{\"s\": \"%.*s\\n%s\"}", (int)at, plain, plain + at);
            struct weir_buf out;
            CHECK(render("{{ s }}|{{ s|tojson }}", json, &out).status == WEIR_OK);
            char wanted[2 * MOST + 16];
            snprintf(wanted, sizeof(wanted), "%.*s\n%s|\"%.*s\\n%s\"", (int)at, plain, plain + at,
                     (int)at, plain, plain + at);
            CHECK_EQ_STR(out.data, out.len, wanted);
            weir_buf_fini(&out);
            json[len - 4 - (int)(n - at)] = '\n'; /* for the backslash */
            struct answer a = render("{{ s }}", json, &out);
            CHECK(a.status != WEIR_OK && a.failure.error == WTOK_JINJA_ERR_VALUE);
            weir_buf_fini(&out);
        }
}

static const char torture_source[] =
    "{% macro m(a) %}<{{ a|upper }}>{% endmacro %}{% set x = 'y' * 600 %}{% for k, v in d.items() "
    "%}{{ m(k) }}{{ v|tojson }}{{ x + k }}{{ loop.index }}{% endfor %}{{ d|dictsort }}{{ "
    "'%s' % d }}{{ d.l|map('string')|join(',') }}";
static const char torture_data[] = "{\"d\": {\"a\": 1, \"b\": [1, \"\\u00e9\"], \"l\": [1, 2]}}";

static void case_torture(void) {
    struct weir_buf out;
    unsigned failures = 0;
    for (uint64_t k = 1;; k++) {
        weir_mem_fail_at(k);
        struct answer a = render(torture_source, torture_data, &out);
        uint64_t seen = weir_mem_count();
        weir_mem_fail_at(0);
        weir_buf_fini(&out);
        CHECK_MSG(a.status == WEIR_OK || a.status == WEIR_NOMEM, "allocation %u: %s", (unsigned)k,
                  a.failure.text);
        failures += a.status == WEIR_NOMEM;
        if (seen < k)
            break;
    }
    CHECK(failures > 5);
}

struct shared {
    const struct wtok_jinja *tpl;
    char text[32];
};

static void *render_often(void *arg) {
    struct shared *s = arg;
    for (int i = 0; i < 300; i++) {
        struct weir_arena arena;
        struct weir_buf out;
        weir_arena_init(&arena, 1 << 24);
        weir_buf_init(&out, 1 << 20);
        struct wtok_jinja_render r = {.arena = &arena, .variables = weir_span_z(torture_data)};
        enum weir_status st = wtok_jinja_render(s->tpl, &r, &out, NULL);
        snprintf(s->text, sizeof(s->text), "%d %zu", (int)st, out.len);
        weir_buf_fini(&out);
        weir_arena_fini(&arena);
    }
    return NULL;
}

static void case_threads(void) {
    struct wtok_jinja *tpl = NULL;
    struct shared s[3];
    pthread_t t[3];
    CHECK(wtok_jinja_parse(weir_span_z(torture_source), &tpl, NULL) == WEIR_OK);
    for (int i = 0; i < 3; i++) {
        s[i].tpl = tpl;
        CHECK(pthread_create(&t[i], NULL, render_often, &s[i]) == 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK(strcmp(s[0].text, s[1].text) == 0 && strcmp(s[1].text, s[2].text) == 0);
    CHECK(s[0].text[0] == '0');
    wtok_jinja_destroy(tpl);
}

int main(void) {
    setenv("TZ", "UTC", 1);
    tzset();
    CHECK_RUN(case_vectors);
    CHECK_RUN(case_limits);
    CHECK_RUN(case_deep_source);
    CHECK_RUN(case_generation_ranges);
    CHECK_RUN(case_appends);
    CHECK_RUN(case_names);
    CHECK_RUN(case_long_sum);
    CHECK_RUN(case_string_ends);
    CHECK_RUN(case_torture);
    CHECK_RUN(case_threads);
    return check_finish();
}
