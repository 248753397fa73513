/* UTF-8 validation of every instruction set that this machine has, against the table of the Unicode
 * standard (3-7, well-formed byte sequences) written out here. */
#include "base/utf8.h"
#include "base/rng.h"
#include "base/scan_priv.h"
#include "base/status.h"
#include "test/check.h"

/* The table's rows: ranges of up to four bytes; 0 ends a row. */
static const unsigned char rows[][8] = {
    {0x00, 0x7F},
    {0xC2, 0xDF, 0x80, 0xBF},
    {0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF},
    {0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
    {0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF},
    {0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
    {0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
    {0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
    {0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
};

static size_t well_formed(const unsigned char *p, size_t n) {
    for (size_t r = 0; r < WEIR_ARRAY_LEN(rows); r++) {
        size_t k = 0;
        while (k < 4 && rows[r][2 * k + 1] != 0)
            k++;
        size_t i = 0;
        while (i < k && i < n && p[i] >= rows[r][2 * i] && p[i] <= rows[r][2 * i + 1])
            i++;
        if (i == k)
            return k;
    }
    return 0;
}

static bool valid(const unsigned char *p, size_t n) {
    for (size_t i = 0, k; i < n; i += k)
        if ((k = well_formed(p + i, n - i)) == 0)
            return false;
    return true;
}

static void compare(const unsigned char *p, size_t n) {
    const struct weir_scan *scan;
    bool want = valid(p, n);
    for (size_t i = 0; (scan = weir_scan_kernel(i)) != NULL; i++)
        CHECK_MSG(scan->utf8_valid((const char *)p, n) == want, "%s: %zu bytes are %s", scan->name,
                  n, want ? "valid" : "not valid");
}

/* One character, whole or cut or with a byte changed, at every place of an ASCII text, and the text
 * cut right behind it: long runs of ASCII are passed over in large steps. */
static void case_one_character_at_every_place(void) {
    static const char *const odd[] = {"\xC3\xA9",     "\xE4\xB8\xAD", "\xF0\x9F\x98\x80",
                                      "\x80",         "\xC3",         "\xE4\xB8",
                                      "\xF0\x9F\x98", "\xFF",         "\xED\xA0\x80",
                                      "\xC0\xAF",     "\xE0\x80\xAF", "\xF4\x90\x80\x80",
                                      "\xBF\xBF"};
    enum { N = 420 };
    for (size_t k = 0; k < WEIR_ARRAY_LEN(odd); k++)
        for (size_t at = 0, len = strlen(odd[k]); at + len <= N; at++) {
            unsigned char text[N];
            memset(text, 'a', sizeof(text));
            memcpy(text + at, odd[k], len);
            compare(text, N);
            compare(text, at + len);
            compare(text + at, N - at);
        }
}

static void case_random_texts(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < 20000; round++) {
        unsigned char text[700];
        size_t n = 0, want = weir_rng_below(&rng, sizeof(text) - 200);
        while (n < want) {
            uint64_t plain = weir_rng_below(&rng, 3) == 0 ? weir_rng_below(&rng, 190) : 0;
            memset(text + n, 'x', plain);
            n += plain;
            unsigned code = (unsigned)weir_rng_below(&rng, 0x110000);
            code = code >= 0xD800 && code < 0xE000 ? 0xE9 : code;
            n += weir_utf8_encode(code, (char *)text + n);
        }
        compare(text, n);
        if (n > 0)
            text[weir_rng_below(&rng, n)] = (unsigned char)weir_rng_below(&rng, 256);
        compare(text, n);
    }
}

static void case_cut_at_the_edge_of_a_character(void) {
    static const struct {
        const char *text;
        size_t max, len;
    } cuts[] = {
        {"abc", 3, 3},
        {"abc", 2, 2},
        {"abc", 0, 0},
        {"", 0, 0},
        {"a\xC3\xA9", 3, 3},
        {"a\xC3\xA9", 2, 1},
        {"a\xC3\xA9", 1, 1},
        {"\xC3\xA9", 1, 0},
        {"\xE2\x82\xAC", 2, 0},
        {"a\xE2\x82\xAC", 3, 1},
        {"\xF0\x9F\x98\x80x", 3, 0},
        {"\xF0\x9F\x98\x80x", 4, 4},
        /* What is no character anyway is cut where it is. */
        {"\xA9\xA9\xA9\xA9\xA9\xA9", 5, 5},
        {"a\xFF\xA9", 2, 2},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(cuts); i++) {
        struct weir_span text = weir_span_z(cuts[i].text), cut = weir_utf8_cut(text, cuts[i].max);
        CHECK(cut.data == text.data);
        CHECK_EQ_U64(cut.len, cuts[i].len);
    }
}

/* As long as the bound, and one to four bytes longer, by characters of each size. */
static void case_words_of_an_error_end_in_a_whole_character(void) {
    static const char *characters[] = {"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t pad = 0; pad < 300; pad++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(characters); k++) {
            struct weir_err err;
            char text[600];
            size_t n = pad;
            memset(text, 'x', pad);
            while (n < sizeof(text) - 5) {
                memcpy(text + n, characters[k], k + 1);
                n += k + 1;
            }
            text[n] = '\0';
            CHECK(weir_err_set(&err, WEIR_INVALID, "%s", text) == WEIR_INVALID);
            CHECK(weir_utf8_valid(weir_span_z(err.text)));
            CHECK(strlen(err.text) >= sizeof(err.text) - 4);
            CHECK(weir_err_prefix(&err, "%.*s", (int)(pad % 7), "prefix!") == WEIR_INVALID);
            CHECK(weir_utf8_valid(weir_span_z(err.text)));
            CHECK(weir_err_prefix(&err, "%s", text) == WEIR_INVALID); /* longer than the bound */
            CHECK(weir_utf8_valid(weir_span_z(err.text)));
            CHECK(strlen(err.text) >= sizeof(err.text) - 7);
        }
}

int main(void) {
    CHECK_RUN(case_one_character_at_every_place);
    CHECK_RUN(case_random_texts);
    CHECK_RUN(case_cut_at_the_edge_of_a_character);
    CHECK_RUN(case_words_of_an_error_end_in_a_whole_character);
    return check_finish();
}
