#include "base/json.h"

#include "base/mem.h"
#include "test/check.h"

#include <math.h>

static void case_walk(void) {
    struct weir_json j;
    weir_json_init(&j,
                   WEIR_SPAN_LIT("{\"a\":[1,{\"b\":[]},\"x\"],\"n\":18446744073709551615,"
                                 "\"i\":-5,\"f\":1.5,\"t\":true,\"z\":null}"),
                   128);
    struct weir_json_str key, s;
    uint64_t u = 0;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    struct weir_span raw;
    CHECK(weir_json_object_enter(&j));
    CHECK(weir_json_object_next(&j, &key) && weir_json_str_eqz(key, "a"));
    CHECK(weir_json_array_enter(&j));
    CHECK(weir_json_array_next(&j) && weir_json_u64(&j, &u) && u == 1);
    CHECK(weir_json_array_next(&j) && weir_json_skip(&j, &raw));
    CHECK_EQ_STR(raw.data, raw.len, "{\"b\":[]}");
    CHECK(weir_json_array_next(&j) && weir_json_string(&j, &s));
    CHECK(!weir_json_array_next(&j));
    CHECK(weir_json_object_next(&j, &key) && weir_json_u64(&j, &u) && u == UINT64_MAX);
    CHECK(weir_json_object_next(&j, &key) && weir_json_i64(&j, &i) && i == -5);
    CHECK(weir_json_object_next(&j, &key) && weir_json_f64(&j, &f) && f == 1.5);
    CHECK(weir_json_object_next(&j, &key) && weir_json_bool(&j, &b) && b);
    CHECK(weir_json_object_next(&j, &key) && weir_json_null(&j));
    CHECK(!weir_json_object_next(&j, &key));
    CHECK(weir_json_finish(&j));
}

static void case_member(void) {
    const struct weir_span o =
        WEIR_SPAN_LIT(" {\"a\":{\"b\":1},\"\\u0062\":[ 2 ],\"a\":3,\"c\":x,\"d\":4}");
    struct weir_span raw = {NULL, 0};
    CHECK(weir_json_member(o, "a", &raw));
    CHECK_EQ_STR(raw.data, raw.len, "{\"b\":1}");
    CHECK(weir_json_member(o, "b", &raw));
    CHECK_EQ_STR(raw.data, raw.len, "[ 2 ]");
    CHECK(!weir_json_member(o, "c", &raw) && !weir_json_member(o, "d", &raw));
    CHECK(!weir_json_member(WEIR_SPAN_LIT("[\"a\"]"), "a", &raw));
    CHECK(!weir_json_member(weir_span(NULL, 0), "a", &raw));
    CHECK_EQ_STR(raw.data, raw.len, "[ 2 ]"); /* untouched */
}

static void case_integers_are_exact_or_refused(void) {
    static const char *const refused[] = {"2.0", "1e1", "18446744073709551616", "-1", "\"1\""};
    for (size_t k = 0; k < WEIR_ARRAY_LEN(refused); k++) {
        struct weir_json j;
        uint64_t u = 7;
        weir_json_init(&j, weir_span_z(refused[k]), 8);
        CHECK(!weir_json_u64(&j, &u) && j.error == WEIR_JSON_ERR_TYPE && u == 7);
    }
}

static void case_depth_is_bounded(void) {
    char text[400];
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    struct weir_json j;
    weir_json_init(&j, weir_span(text + 73, 254), 128);
    CHECK(weir_json_skip(&j, NULL) && weir_json_finish(&j));
    weir_json_init(&j, weir_span(text + 72, 256), 128);
    CHECK(!weir_json_skip(&j, NULL) && j.error == WEIR_JSON_ERR_TOO_DEEP);
    CHECK_EQ_U64(j.error_pos, 128);
}

static void case_unescape(void) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, WEIR_SPAN_LIT("\"a\\n\\u00e9\\ud83d\\ude00\\\"\\\\\\/\""), 8);
    CHECK(weir_json_string(&j, &s) && s.escaped);
    struct weir_buf out;
    weir_buf_init(&out, 100);
    CHECK(weir_json_unescape(s, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "a\n\xC3\xA9\xF0\x9F\x98\x80\"\\/");
    CHECK(weir_json_str_eqz(s, "a\n\xC3\xA9\xF0\x9F\x98\x80\"\\/"));
    CHECK(!weir_json_str_eqz(s, "a\n\xC3\xA9\xF0\x9F\x98\x80\"\\"));
    weir_buf_fini(&out);
}

/* A name and a word are what they read as; a room takes what fits. */
static void case_spellings_of_a_word(void) {
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"\"model\"", "model"},
        {"\"mod\\u0065l\"", "model"},
        {"\"\\u006d\\u006F\\u0064\\u0065\\u006C\"", "model"},
        {"\"mod\\u0065\"", "mode"},
        {"\"mod\\u0065l2\"", "model2"},
        {"\"mod\\\\u0065l\"", "mod\\u0065l"},
        {"\"\\ud83d\\ude00\\/\"", "\xF0\x9F\x98\x80/"},
        {"\"\"", ""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(rows); k++) {
            struct weir_json j;
            struct weir_json_str s;
            struct weir_span raw, text = weir_span_z(rows[k].text);
            bool same = strcmp(rows[i].text, rows[k].text) == 0;
            char room[6];
            weir_json_init(&j, weir_span_z(rows[i].json), 8);
            CHECK(weir_json_skip(&j, &raw) && weir_json_is_text(raw, text) == same);
            weir_json_init(&j, raw, 8);
            CHECK(weir_json_string(&j, &s) && weir_json_str_eq(s, text) == same);
            struct weir_span had = weir_json_short_text(s, room, sizeof(room));
            bool fits = !s.escaped || strlen(rows[i].text) <= sizeof(room);
            CHECK(weir_span_eq(had, fits ? weir_span_z(rows[i].text) : s.raw));
        }
    CHECK(!weir_json_is(WEIR_SPAN_LIT("null"), "null") && !weir_json_is(weir_span(NULL, 0), ""));
}

/* Every position of a special byte relative to the 16- and 32-byte steps of the string scan. */
static void case_string_scan_at_every_alignment(void) {
    char text[300];
    for (size_t n = 0; n < 200; n++)
        for (size_t at = 0; at < n; at += n < 70 ? 1 : 7) {
            text[0] = '"';
            memset(text + 1, 'x', n);
            text[1 + n] = '"';
            struct weir_json j;
            struct weir_json_str s;
            weir_json_init(&j, weir_span(text, n + 2), 8);
            CHECK(weir_json_string(&j, &s) && s.raw.len == n && !s.escaped);
            text[1 + at] = '\x1f';
            weir_json_init(&j, weir_span(text, n + 2), 8);
            CHECK(!weir_json_string(&j, &s) && j.error_pos == at + 2);
            text[1 + at] = '\x80';
            weir_json_init(&j, weir_span(text, n + 2), 8);
            CHECK(!weir_json_string(&j, &s) && j.error == WEIR_JSON_ERR_INVALID_UTF8);
        }
}

static void case_plain(void) {
    char text[48];
    for (size_t n = 0; n <= 40; n++)
        for (size_t at = 0; at <= n; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                memset(text, 'a', sizeof(text));
                text[at] = (char)byte;
                bool bad = byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\';
                CHECK(weir_json_plain(weir_span(text, n)) == (at == n || !bad));
                bool ends = at < n && bad && byte < 0x80;
                CHECK_EQ_U64(weir_json_plain_run(text, n), ends ? at : n);
            }
}

/* At every length and place: a byte to escape ends it, one that is no UTF-8 takes all of it. */
static void case_verbatim(void) {
    char text[80];
    for (size_t n = 0; n <= 70; n++)
        for (size_t at = 0; at < n; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                memset(text, 'a', sizeof(text));
                text[at] = (char)byte;
                bool ends = byte < 0x20 || byte == '"' || byte == '\\';
                CHECK(weir_json_verbatim(weir_span(text, n)) == (ends ? at : byte >= 0x80 ? 0 : n));
            }
    CHECK(weir_json_verbatim(WEIR_SPAN_LIT("\xC3\xA9\xE2\x86\x92\"\x80")) == 5);
    CHECK(weir_json_verbatim(WEIR_SPAN_LIT("\xC3\"\xA9")) == 0);
    CHECK(weir_json_verbatim(WEIR_SPAN_LIT("")) == 0);
}

static void case_writer(void) {
    struct weir_buf out;
    weir_buf_init(&out, 1000);
    struct weir_jsonw w;
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "s");
    weir_jsonw_string(&w, WEIR_SPAN_LIT("q\"\\\n\x01\xC3\xA9\xFF."));
    weir_jsonw_key(&w, "n");
    weir_jsonw_array_begin(&w);
    weir_jsonw_u64(&w, UINT64_MAX);
    weir_jsonw_i64(&w, INT64_MIN);
    weir_jsonw_f64(&w, 1);
    weir_jsonw_f64(&w, 0.1);
    weir_jsonw_f64(&w, NAN);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "o");
    weir_jsonw_object_begin(&w);
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "b");
    weir_jsonw_bool(&w, false);
    weir_jsonw_object_end(&w);
    CHECK(w.status == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len,
                 "{\"s\":\"q\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBD.\",\"n\":[18446744073709551615,"
                 "-9223372036854775808,1.0,0.1,null],\"o\":{},\"b\":false}");
    weir_buf_fini(&out);
}

static void case_writer_failure_sticks(void) {
    struct weir_buf out;
    weir_buf_init(&out, 8);
    struct weir_jsonw w;
    weir_jsonw_init(&w, &out);
    weir_jsonw_string(&w, WEIR_SPAN_LIT("longer than eight"));
    CHECK(w.status == WEIR_TOO_LARGE);
    weir_jsonw_null(&w);
    CHECK(w.status == WEIR_TOO_LARGE && out.len <= 8);
    weir_buf_fini(&out);
}

/* Short strings take a way of their own: with each byte at each place they say what long ones say.
 */
static void case_short_strings_like_long_ones(void) {
    enum { PAD = 64 };
    struct weir_buf one, two;
    struct weir_jsonw w;
    char text[PAD + 64];
    weir_buf_init(&one, 4096);
    weir_buf_init(&two, 4096);
    for (size_t len = 0; len <= 56; len += 7)
        for (size_t at = 0; at <= len; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                memset(text, 'a', sizeof(text));
                if (at < len)
                    text[PAD + at] = (char)byte;
                weir_buf_clear(&one);
                weir_buf_clear(&two);
                weir_jsonw_init(&w, &one);
                weir_jsonw_string(&w, weir_span(text + PAD, len));
                weir_jsonw_init(&w, &two);
                weir_jsonw_string(&w, weir_span(text, PAD + len));
                CHECK(one.len + PAD == two.len && one.data[0] == '"');
                CHECK(memcmp(one.data + 1, two.data + 1 + PAD, one.len - 1) == 0);
            }
    weir_buf_fini(&one);
    weir_buf_fini(&two);
}

int main(void) {
    CHECK_RUN(case_walk);
    CHECK_RUN(case_member);
    CHECK_RUN(case_integers_are_exact_or_refused);
    CHECK_RUN(case_depth_is_bounded);
    CHECK_RUN(case_unescape);
    CHECK_RUN(case_spellings_of_a_word);
    CHECK_RUN(case_string_scan_at_every_alignment);
    CHECK_RUN(case_plain);
    CHECK_RUN(case_verbatim);
    CHECK_RUN(case_writer);
    CHECK_RUN(case_short_strings_like_long_ones);
    CHECK_RUN(case_writer_failure_sticks);
    return check_finish();
}
