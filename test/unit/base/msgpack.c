#include "base/msgpack.h"

#include "test/check.h"

/* Byte forms from the MessagePack specification. */
static void case_shortest_integer_forms(void) {
    static const struct {
        uint64_t value;
        const char *bytes;
        size_t len;
    } rows[] = {{0, "\x00", 1},
                {127, "\x7f", 1},
                {128, "\xcc\x80", 2},
                {256, "\xcd\x01\x00", 3},
                {65536, "\xce\x00\x01\x00\x00", 5},
                {1ull << 32, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 9}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf out;
        weir_buf_init(&out, 16);
        struct weir_mpw w;
        weir_mpw_init(&w, &out);
        weir_mpw_u64(&w, rows[i].value);
        CHECK(w.status == WEIR_OK && out.len == rows[i].len &&
              memcmp(out.data, rows[i].bytes, out.len) == 0);
        struct weir_mp m;
        uint64_t back = 0;
        weir_mp_init(&m, weir_buf_span(&out));
        CHECK(weir_mp_u64(&m, &back) && back == rows[i].value);
        weir_buf_fini(&out);
    }
}

static void case_signed_integers(void) {
    static const int64_t values[] = {-1, -32, -33, -128, -129, -32769, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(values); i++) {
        struct weir_buf out;
        weir_buf_init(&out, 16);
        struct weir_mpw w;
        weir_mpw_init(&w, &out);
        weir_mpw_i64(&w, values[i]);
        struct weir_mp m;
        int64_t back = 0;
        uint64_t bits = 0, u = 5;
        weir_mp_init(&m, weir_buf_span(&out));
        CHECK(weir_mp_i64(&m, &back) && back == values[i]);
        weir_mp_init(&m, weir_buf_span(&out));
        CHECK(weir_mp_bits64(&m, &bits) && bits == (uint64_t)values[i]);
        weir_mp_init(&m, weir_buf_span(&out));
        CHECK(weir_mp_u64(&m, &u) == (values[i] >= 0));
        weir_buf_fini(&out);
    }
}

/* Every width and every longer form, the list cut at each byte, and what is no 32-bit id. */
static void case_lists_of_ids(void) {
    const struct weir_span list =
        WEIR_SPAN_LIT("\x05\x7f\xcc\xff\xcd\xff\xff\xce\xff\xff\xff\xff\xcf\0\0\0\0\0\1\0\0\xd0\x07"
                      "\xce\0\0\0\1\xcd\0\2\x03");
    static const uint32_t want[] = {5, 127, 255, 65535, UINT32_MAX, 65536, 7, 1, 2, 3};
    const struct weir_span bad[] = {
        WEIR_SPAN_LIT("\xff\1\1\1\1\1"), WEIR_SPAN_LIT("\xcf\0\0\0\1\0\0\0\0\1"),
        WEIR_SPAN_LIT("\xc0\1\1\1\1\1"), WEIR_SPAN_LIT("\xd1\xff\xff\1\1\1")};
    enum { N = WEIR_ARRAY_LEN(want) };
    uint32_t got[N];
    struct weir_mp m;
    for (size_t cut = 0; cut <= list.len; cut++) {
        weir_mp_init(&m, weir_span(list.data, cut));
        CHECK(weir_mp_u32s(&m, N, got) == (cut == list.len));
        if (cut == list.len)
            CHECK(m.pos == list.len && memcmp(got, want, sizeof(want)) == 0);
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        weir_mp_init(&m, bad[i]);
        CHECK(!weir_mp_u32s(&m, 2, got) && m.failed);
    }
}

static void case_json_round_trip(void) {
    const char *text =
        "{\"a\":[1,-2,18446744073709551615,1.5,true,null],\"\xC3\xA9\\n\":{},\"e\":\"\"}";
    struct weir_buf packed, json;
    weir_buf_init(&packed, 4096);
    weir_buf_init(&json, 4096);
    CHECK(weir_mp_from_json(weir_span_z(text), &packed) == WEIR_OK);
    CHECK(weir_mp_to_json(weir_buf_span(&packed), &json) == WEIR_OK);
    CHECK_EQ_STR(json.data, json.len, text);
    weir_buf_fini(&packed);
    weir_buf_fini(&json);
}

static void case_lying_lengths_are_refused(void) {
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {{"\xdd\xff\xff\xff\xff", 5},
                {"\xdf\x7f\xff\xff\xff\x01", 6},
                {"\xdb\xff\xff\xff\xff", 5},
                {"\xc6\xff\xff\xff\xff", 5},
                {"\xc1", 1},
                {"\xcf\x01", 2},
                {"\xc9\xff\xff\xff\xff", 5},
                {"", 0}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_mp m;
        weir_mp_init(&m, weir_span(rows[i].bytes, rows[i].len));
        CHECK(!weir_mp_skip(&m, NULL) && m.failed);
    }
    char deep[100];
    memset(deep, '\x91', sizeof(deep));
    struct weir_mp m;
    weir_mp_init(&m, weir_span(deep, sizeof(deep)));
    CHECK(!weir_mp_skip(&m, NULL));
}

static void case_skip_takes_exactly_one_value(void) {
    struct weir_mp m;
    struct weir_span raw;
    uint64_t u = 0;
    weir_mp_init(&m, WEIR_SPAN_LIT("\x82\xa1"
                                   "a\x92\x01\xc0\xa1"
                                   "b\xd6\x01zzzz\x07"));
    CHECK(weir_mp_skip(&m, &raw) && raw.len == m.pos);
    CHECK(weir_mp_u64(&m, &u) && u == 7);
}

int main(void) {
    CHECK_RUN(case_shortest_integer_forms);
    CHECK_RUN(case_signed_integers);
    CHECK_RUN(case_lists_of_ids);
    CHECK_RUN(case_json_round_trip);
    CHECK_RUN(case_lying_lengths_are_refused);
    CHECK_RUN(case_skip_takes_exactly_one_value);
    return check_finish();
}
