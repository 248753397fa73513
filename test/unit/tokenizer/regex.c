/* Splitting patterns in PCRE2's terms: what becomes of sets, what is refused, and that a long word
 * does not end the search. That pieces are the reference's is held by reference.py. */
#include "tokenizer/regex_priv.h"

#include "base/rng.h"
#include "test/check.h"

#define HAN "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"

static void expect(const char *pattern, const char *want) {
    struct weir_buf out;
    struct weir_err err = {.text = ""};
    weir_buf_init(&out, 1 << 16);
    CHECK_MSG(wtok_regex_translate(weir_span_z(pattern), &out, &err) == WEIR_OK, "%s", err.text);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_fini(&out);
}

static void case_sets(void) {
    expect("[a-z]+x", "[a-z]+x");
    expect("[^a]{1,3}", "[^a]{1,3}");
    expect("[[ab]c]", "(?:[c]|[ab])");
    expect("[a-z&&[^m]]", "(?:(?=[a-z])(?:[^m]))");
    expect("[^a-z&&[^m]]", "(?:(?!(?:(?=[a-z])(?:[^m])))(?s:.))");
    /* By De Morgan: no group, so that a long word costs no memory. */
    expect("[[^a]&&[^b-d]]", "[^ab-d]");
    expect("[^[^a]&&[^b-d]]", "[ab-d]");
    expect("[\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Z}&&[^x]]",
           "[^\\p{Cc}\\p{Cf}\\p{Cn}\\p{Co}\\p{Cs}x]");
    expect("[[^[^a]&&[^b]]&&[^c]]", "(?:(?=(?:[ab]))(?:[^c]))");
}

static void case_names(void) {
    expect("\\p{Han}\\P{Han}\\p{^Han}\\p{Lu}\\pL\\p{Any}",
           "\\p{sc:Han}\\P{sc:Han}\\P{sc:Han}\\p{Lu}\\p{L}\\p{Any}");
    expect("(?i:'s)|(?i)a|(?=b)(?!c)(?<d>e)", "(?i:'s)|(?i)a|(?=b)(?!c)(?<d>e)");
}

static void case_refused(void) {
    static const struct {
        const char *pattern, *what;
    } rows[] = {{"a\\b", "\\b"},
                {"\\h", "\\h"},
                {"a{,3}", "{,"},
                {"a{1,3}+", "}+"},
                {"(?m:a.)", "an inline flag other than i"},
                {"(?s)a", "an inline flag other than i"},
                {"[a&&]", "an empty set, or a ] that begins one,"},
                {"[]a]", "an empty set, or a ] that begins one,"},
                {"[^&&a]", "an empty set, or a ] that begins one,"},
                {"[[:alpha:]]", "[: in brackets"},
                {"[a", "a bracket that is not closed"},
                {"[a-[b]]", "a set behind - in brackets"},
                {"[[[[[[[[[a]]]]]]]]]", "brackets this deep"},
                {"[a&&b&&c&&d&&e&&f&&g&&h&&i]", "that many && in brackets"},
                {"\\p{", "\\p without a name"},
                {"\\p", "\\p without a name"},
                {"\\", "\\"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf out;
        struct weir_err err = {.text = ""};
        char want[128];
        snprintf(want, sizeof(want), "pre_tokenizer.pattern.Regex: %s is not understood",
                 rows[i].what);
        weir_buf_init(&out, 1 << 16);
        CHECK_MSG(wtok_regex_translate(weir_span_z(rows[i].pattern), &out, &err) ==
                      WEIR_UNSUPPORTED,
                  "%s", rows[i].pattern);
        CHECK_EQ_STR(err.text, strlen(err.text), want);
        weir_buf_fini(&out);
    }
}

/* A megabyte that one match takes, by a plain set and by a group that PCRE2 remembers each round
 * of. */
static void case_long(void) {
    static const char *const patterns[] = {HAN "+|[a-z]+", "[a-z&&[^aeiou]]+"};
    enum { N = 1 << 20 };
    char *text = malloc(N);
    CHECK(text != NULL);
    memset(text, 'b', N);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(patterns); i++) {
        struct wtok_regex *r = NULL;
        struct weir_err err = {.text = ""};
        size_t from = 1, to = 0;
        CHECK_MSG(wtok_regex_create(weir_span_z(patterns[i]), &r, &err) == WEIR_OK, "%s", err.text);
        struct wtok_match *m = wtok_match_create(r);
        CHECK(m != NULL);
        CHECK(wtok_regex_find(r, m, weir_span(text, N), 0, &from, &to) == WEIR_OK);
        CHECK(from == 0 && to == N);
        CHECK(wtok_regex_find(r, m, weir_span(text, N), N, &from, &to) == WEIR_NOT_FOUND);
        wtok_match_destroy(m);
        wtok_regex_destroy(r);
    }
    free(text);
}

/* Any pattern is understood or refused, in bounds. */
static void case_random(void) {
    static const char *const parts[] = {
        "[", "]", "^", "&&", "&", "-", "a", "\\", "\\p{L", "}", "{",  "\\p{Han}", "\\S", "\\w",
        "(", ")", "?", ":",  "i", "*", "+", "|",  ",",     "2", "[^", "\\P",      ".",   "$"};
    struct weir_rng rng;
    unsigned n_understood = 0;
    weir_rng_seed(&rng, check_seed());
    for (int k = 0; k < 20000; k++) {
        char pattern[256] = "";
        struct wtok_regex *r = NULL;
        struct weir_err err = {.text = ""};
        size_t n = 0;
        for (uint64_t left = 1 + weir_rng_below(&rng, 16); left > 0; left--)
            n += (size_t)snprintf(pattern + n, sizeof(pattern) - n, "%s",
                                  parts[weir_rng_below(&rng, WEIR_ARRAY_LEN(parts))]);
        /* Of exact size, so that a sanitizer sees a step too far. */
        char *exact = malloc(n > 0 ? n : 1);
        CHECK(exact != NULL);
        memcpy(exact, pattern, n);
        enum weir_status st = wtok_regex_create(weir_span(exact, n), &r, &err);
        free(exact);
        CHECK_MSG(st == WEIR_OK || (st == WEIR_UNSUPPORTED && err.text[0] != '\0'), "%s", pattern);
        n_understood += st == WEIR_OK;
        wtok_regex_destroy(r);
    }
    CHECK(n_understood > 500 && n_understood < 19000);
}

int main(void) {
    CHECK_RUN(case_sets);
    CHECK_RUN(case_names);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_long);
    CHECK_RUN(case_random);
    return check_finish();
}
