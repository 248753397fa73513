/* Frames: split at every byte, limits to the byte, and what cannot be written. */
#include "wire/frame.h"

#include "test/check.h"

static struct weir_buf out;

static void fresh(size_t max) {
    weir_buf_fini(&out);
    weir_buf_init(&out, max);
}

static struct weir_span bytes(void) {
    return weir_buf_span(&out);
}

static void case_two_part_layout(void) {
    fresh(4096);
    CHECK(weir_two_part_encode(WEIR_SPAN_LIT("he"), WEIR_SPAN_LIT("body"), &out) == WEIR_OK);
    CHECK(weir_span_eq(bytes(), WEIR_SPAN_LIT("\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\0"
                                              "hebody")));
}

/* Nothing is decoded before the last byte is there; `need` is exact as soon as the head is. */
static void case_two_part_split(void) {
    static const struct {
        struct weir_span header, body;
    } rows[] = {{WEIR_SPAN_LIT("header"), WEIR_SPAN_LIT("a body")},
                {WEIR_SPAN_LIT("\"sentinel\""), {NULL, 0}},
                {{NULL, 0}, WEIR_SPAN_LIT("{}")},
                {{NULL, 0}, {NULL, 0}}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_two_part msg;
        size_t used = 0, need = 0;
        fresh(4096);
        CHECK(weir_two_part_encode(rows[i].header, rows[i].body, &out) == WEIR_OK);
        size_t whole = out.len;
        CHECK(weir_buf_append_z(&out, "next") == WEIR_OK);
        for (size_t n = 0; n < whole; n++) {
            CHECK(weir_two_part_decode(weir_span(out.data, n), 64, &msg, &used, &need) ==
                  WEIR_AGAIN);
            CHECK_EQ_U64(need, n < WEIR_TWO_PART_HEAD ? 0 : whole);
        }
        CHECK(weir_two_part_decode(bytes(), 64, &msg, &used, &need) == WEIR_OK);
        CHECK_EQ_U64(used, whole);
        CHECK(weir_span_eq(msg.header, rows[i].header) && weir_span_eq(msg.body, rows[i].body));
    }
}

static void case_two_part_limits(void) {
    static const struct {
        struct weir_span head;
        size_t max;
        enum weir_status status;
    } rows[] = {
        {WEIR_SPAN_LIT("\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\0"), 8, WEIR_AGAIN},
        {WEIR_SPAN_LIT("\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0"), 8, WEIR_TOO_LARGE},
        {WEIR_SPAN_LIT("\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 8, WEIR_TOO_LARGE},
        /* Sums that wrap around. */
        {WEIR_SPAN_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0"), 8,
         WEIR_TOO_LARGE},
        {WEIR_SPAN_LIT("\0\0\0\0\0\0\0\4\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"), 8,
         WEIR_TOO_LARGE},
        {WEIR_SPAN_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                       "\0\0\0\0\0\0\0\0"),
         8, WEIR_TOO_LARGE},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_two_part msg;
        size_t used, need;
        CHECK(weir_two_part_decode(rows[i].head, rows[i].max, &msg, &used, &need) ==
              rows[i].status);
    }
}

static void case_two_part_in_place(void) {
    size_t mark = 0;
    struct weir_two_part msg;
    size_t used, need;
    fresh(100);
    CHECK(weir_buf_append_z(&out, "before") == WEIR_OK);
    CHECK(weir_two_part_begin(WEIR_SPAN_LIT("h"), &out, &mark) == WEIR_OK);
    CHECK(weir_buf_append_z(&out, "written later") == WEIR_OK);
    weir_two_part_end(&out, mark);
    CHECK(weir_two_part_decode(weir_span(out.data + 6, out.len - 6), 64, &msg, &used, &need) ==
          WEIR_OK);
    CHECK_EQ_STR(msg.body.data, msg.body.len, "written later");
    /* What does not fit leaves nothing behind. */
    size_t before = out.len;
    char big[80] = {0};
    CHECK(weir_two_part_encode(weir_span(NULL, 0), weir_span(big, sizeof(big)), &out) ==
          WEIR_TOO_LARGE);
    CHECK_EQ_U64(out.len, before);
}

static void build_request(struct weir_span path, struct weir_span headers,
                          struct weir_span payload) {
    size_t mark = 0;
    CHECK(weir_request_frame_begin(path, headers, &out, &mark) == WEIR_OK);
    CHECK(weir_buf_append_span(&out, payload) == WEIR_OK);
    CHECK(weir_request_frame_end(&out, mark) == WEIR_OK);
}

static void case_request_split(void) {
    static const struct {
        struct weir_span path, headers, payload;
    } rows[] = {
        {WEIR_SPAN_LIT("2a/ns/backend/generate"), WEIR_SPAN_LIT("{}"), WEIR_SPAN_LIT("payload")},
        {WEIR_SPAN_LIT("a path ?x=1"), {NULL, 0}, WEIR_SPAN_LIT("p")},
        {{NULL, 0}, {NULL, 0}, {NULL, 0}}}; /* eight zero bytes */
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_request_frame f;
        size_t used = 0, need = 0;
        fresh(4096);
        build_request(rows[i].path, rows[i].headers, rows[i].payload);
        size_t whole = out.len;
        build_request(WEIR_SPAN_LIT("next"), rows[i].headers, rows[i].payload);
        for (size_t n = 0; n < whole; n++) {
            CHECK(weir_request_frame_decode(weir_span(out.data, n), whole, &f, &used, &need) ==
                  WEIR_AGAIN);
            CHECK(need == 0 || (need > n && need <= whole));
        }
        CHECK(weir_request_frame_decode(bytes(), whole, &f, &used, &need) == WEIR_OK);
        CHECK_EQ_U64(used, whole);
        CHECK(weir_span_eq(f.path, rows[i].path) && weir_span_eq(f.headers, rows[i].headers) &&
              weir_span_eq(f.payload, rows[i].payload));
        if (whole > 8)
            CHECK(weir_request_frame_decode(bytes(), whole - 1, &f, &used, &need) ==
                  WEIR_TOO_LARGE);
    }
}

/* A frame that is too large tells its whole size: the refusal names it. */
static void case_request_too_large(void) {
    struct weir_request_frame f;
    size_t used = 0, need = 0;
    CHECK(weir_request_frame_decode(WEIR_SPAN_LIT("\0\1p\0\0\x02\0\0\0"), 1 << 20, &f, &used,
                                    &need) == WEIR_TOO_LARGE);
    CHECK_EQ_U64(need, 9 + (2u << 24));
    CHECK(weir_request_frame_decode(WEIR_SPAN_LIT("\0\1p\0\0\xff\xff\xff\xff"), 1 << 20, &f, &used,
                                    &need) == WEIR_TOO_LARGE);
    CHECK_EQ_U64(need, 9 + (uint64_t)UINT32_MAX);
}

static void case_request_cannot_be_written(void) {
    size_t mark = 0;
    static char long_path[65536];
    fresh(1 << 20);
    CHECK(weir_request_frame_begin(weir_span(long_path, 65535), weir_span(NULL, 0), &out, &mark) ==
          WEIR_OK);
    size_t before = out.len;
    CHECK(weir_request_frame_begin(weir_span(long_path, 65536), weir_span(NULL, 0), &out, &mark) ==
          WEIR_INVALID);
    CHECK(weir_request_frame_begin(weir_span(NULL, 0), weir_span(long_path, 65536), &out, &mark) ==
          WEIR_INVALID);
    CHECK_EQ_U64(out.len, before);
}

static void case_reply(void) {
    static const struct weir_span texts[] = {
        {NULL, 0}, WEIR_SPAN_LIT("Server overloaded: queue full"), WEIR_SPAN_LIT("x")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++) {
        struct weir_span text;
        size_t used = 0;
        fresh(4096);
        CHECK(weir_reply_frame_encode(texts[i], &out) == WEIR_OK);
        for (size_t n = 0; n < out.len; n++)
            CHECK(weir_reply_frame_decode(weir_span(out.data, n), 64, &text, &used) == WEIR_AGAIN);
        CHECK(weir_reply_frame_decode(bytes(), 64, &text, &used) == WEIR_OK);
        CHECK_EQ_U64(used, out.len);
        CHECK(weir_span_eq(text, texts[i]));
    }
    struct weir_span text;
    size_t used;
    CHECK(weir_reply_frame_decode(WEIR_SPAN_LIT("\0\0\0\x41"), 64, &text, &used) == WEIR_TOO_LARGE);
    CHECK(weir_reply_frame_decode(WEIR_SPAN_LIT("\xff\xff\xff\xff"), 64, &text, &used) ==
          WEIR_TOO_LARGE);
}

int main(void) {
    CHECK_RUN(case_two_part_layout);
    CHECK_RUN(case_two_part_split);
    CHECK_RUN(case_two_part_limits);
    CHECK_RUN(case_two_part_in_place);
    CHECK_RUN(case_request_split);
    CHECK_RUN(case_request_too_large);
    CHECK_RUN(case_request_cannot_be_written);
    CHECK_RUN(case_reply);
    fresh(0);
    return check_finish();
}
