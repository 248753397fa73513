#include "test/check.h"
#include "tokenizer/wtok.h"

#define FFFD "\xEF\xBF\xBD"

static void decode(const char *bytes, size_t n, struct weir_buf *out) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    struct wtok_stream s;
    wtok_stream_init(&s, tok, true);
    for (size_t i = 0; i < n; i++)
        CHECK(wtok_stream_push(&s, (unsigned char)bytes[i], out) == WEIR_OK);
    CHECK(wtok_stream_finish(&s, out) == WEIR_OK);
    wtok_destroy(tok);
}

/* Replacement as the WHATWG encoding standard and Python's errors="replace" do it. */
static void case_ill_formed_utf8(void) {
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"h\xC3\xA9!", "h\xC3\xA9!"},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
        {"\xC3(", FFFD "("},
        {"\xE2\x82", FFFD},
        {"\xF0\x9F\x98x", FFFD "x"},
        {"\xED\xA0\x80", FFFD FFFD FFFD},
        {"\xC0\xAF", FFFD FFFD},
        {"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD},
        {"\x80\xC3\xA9", FFFD "\xC3\xA9"},
        {"\xE2\x82\xC3\xA9", FFFD "\xC3\xA9"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf out;
        weir_buf_init(&out, 1024);
        decode(rows[i].in, strlen(rows[i].in), &out);
        CHECK_EQ_STR(out.data, out.len, rows[i].want);
        weir_buf_fini(&out);
    }
}

static void case_held_until_whole(void) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    struct wtok_stream s;
    wtok_stream_init(&s, tok, true);
    struct weir_buf out;
    weir_buf_init(&out, 64);
    CHECK(wtok_stream_push(&s, 0xE2, &out) == WEIR_OK && out.len == 0);
    CHECK(wtok_stream_push(&s, 0x82, &out) == WEIR_OK && out.len == 0);
    CHECK(wtok_stream_push(&s, 0xAC, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "\xE2\x82\xAC");
    CHECK(wtok_stream_push(&s, 257, &out) == WEIR_INVALID);
    weir_buf_fini(&out);
    wtok_destroy(tok);
}

static void case_special_token_round_trip(void) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    uint32_t ids[16];
    size_t n = 0;
    struct weir_span text = WEIR_SPAN_LIT("a<|end|>b");
    CHECK(wtok_encode(tok, text, true, ids, 16, &n) == WEIR_OK);
    CHECK(n == 3 && ids[0] == 'a' && ids[1] == 256 && ids[2] == 'b');
    CHECK(wtok_encode(tok, text, false, ids, 16, &n) == WEIR_OK && n == text.len);
    CHECK(wtok_encode(tok, text, false, ids, 8, &n) == WEIR_TOO_LARGE && n == text.len);
    for (int skip = 0; skip < 2; skip++) {
        struct wtok_stream s;
        wtok_stream_init(&s, tok, skip);
        struct weir_buf out;
        weir_buf_init(&out, 64);
        CHECK(wtok_stream_push(&s, 'a', &out) == WEIR_OK);
        CHECK(wtok_stream_push(&s, 256, &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, skip ? "a" : "a<|end|>");
        weir_buf_fini(&out);
    }
    wtok_destroy(tok);
}

/* Every byte is its own id, at every length and place; what is behind the ids stays untouched. */
static void case_bytes_of_every_length(void) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    char text[300];
    uint32_t ids[301];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7 + 128);
    for (size_t len = 0; len <= sizeof(text) - 32; len++)
        for (size_t from = 0; from < 32; from += 5) {
            size_t n = 0;
            memset(ids, 0xAB, sizeof(ids));
            CHECK(wtok_encode(tok, weir_span(text + from, len), WTOK_SPECIAL, ids, len, &n) ==
                  WEIR_OK);
            CHECK(n == len && ids[n] == 0xABABABAB);
            for (size_t i = 0; i < n; i++)
                CHECK(ids[i] == (unsigned char)text[from + i]);
        }
    wtok_destroy(tok);
}

int main(void) {
    CHECK_RUN(case_ill_formed_utf8);
    CHECK_RUN(case_held_until_whole);
    CHECK_RUN(case_special_token_round_trip);
    CHECK_RUN(case_bytes_of_every_length);
    return check_finish();
}
