/* Server-sent events: the examples of the standard, and random texts cut at random against a naive
 * reader of the whole text. */
#include "test/check.h"
#include "test/unit/http/sse_naive.h"

#include "base/rng.h"

static size_t one(void *arg) {
    (void)arg;
    return 1;
}
static size_t all(void *arg) {
    (void)arg;
    return (size_t)-1;
}

/* want: "event|data\x1e…" with '/' for the separator. */
static const struct {
    const char *text, *want;
} rows[] = {
    {"data: a\n\n", "|a/"},
    {"data:a\n\n", "|a/"},
    {"data:  a\n\n", "| a/"},
    {"data:\ta\n\n", "|\ta/"},
    {"data\n\n", "|/"},
    {"data:\n\n", "|/"},
    {"data\ndata\n\ndata:", "|\n/"},
    {"data: YHOO\ndata: +2\ndata: 10\n\n", "|YHOO\n+2\n10/"},
    {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     "|first event/|second event/| third event/"},
    {"data:test\n\ndata: test\n\n", "|test/|test/"},
    {"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n", "add|73857293/remove|2153/"},
    {"event: x\n\ndata: a\n\n", "|a/"},
    {"event: x\nevent: y\ndata: a\n\n", "y|a/"},
    {"event: x\nevent\ndata: a\n\n", "|a/"},
    {"event:x\ndata:a\n\ndata:b\n\n", "x|a/|b/"},
    {"data: a\r\n\r\n", "|a/"},
    {"data: a\r\r", "|a/"},
    {"data: a\r\n\ndata: b\n\r", "|a/|b/"},
    {"data: a\n\r\ndata: b\r\n\n", "|a/|b/"},
    {"data: a\r\rdata: b\r\r", "|a/|b/"},
    {"data: a\rdata: b\n\r\n", "|a\nb/"},
    {"\xef\xbb\xbf"
     "data: a\n\n",
     "|a/"},
    {"\xef\xbb\xbf\xef\xbb\xbf"
     "data: a\n\ndata: b\n\n",
     "|b/"},
    {"\xef\xbb"
     "data: a\n\ndata: b\n\n",
     "|b/"},
    {"data: \xef\xbb\xbf\n\n", "|\xef\xbb\xbf/"},
    {":\n:x\n: data: a\n\n", ""},
    {":data: a\ndata: b\n\n", "|b/"},
    {"Data: a\nDATA: b\ndata : c\n data: d\n\n", ""},
    {"retry: 1\nid: 2\nfoo: 3\nbar\n\n", ""},
    {"data: a: b: c\n\n", "|a: b: c/"},
    {"data: [DONE]\n\n", "|[DONE]/"},
    {"data: a\n", ""},
    {"data: a", ""},
    {"data: a\n\ndata: lost\n", "|a/"},
    {"\n\n\n\r\r\r\n", ""},
};

static void case_rows(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        for (int way = 0; way < 3; way++) {
            struct weir_buf got;
            weir_buf_init(&got, 1 << 16);
            struct weir_span text = weir_span_z(rows[i].text);
            if (way == 0)
                sse_naive(text, &got);
            else
                CHECK(sse_pieces(text, 1000, way == 1 ? one : all, NULL, &got) == WEIR_OK);
            for (size_t k = 0; k < got.len; k++)
                if (got.data[k] == '\x1e')
                    got.data[k] = '/';
            CHECK_MSG(got.len == strlen(rows[i].want) &&
                          (got.len == 0 || memcmp(got.data, rows[i].want, got.len) == 0),
                      "row %zu, way %d: got \"%.*s\", want \"%s\"", i, way, (int)got.len, got.data,
                      rows[i].want);
            weir_buf_fini(&got);
        }
    }
}

static size_t random_step(void *arg) {
    struct weir_rng *rng = arg;
    return weir_rng_below(rng, weir_rng_below(rng, 2) == 0 ? 3 : 40);
}

static void case_random(void) {
    static const char *const bits[] = {
        "data", "data:", "data: ", "event:", "id: ",    ":",  " ",
        "\n",   "\r",    "\r\n",   "\n\n",   "x",       "yz", "\xef\xbb\xbf",
        "\xef", "\xbb",  "retry",  "\r\r",   "\xc3\xa9"};
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    size_t events = 0;
    for (int round = 0; round < 20000; round++) {
        struct weir_buf text, got, want;
        weir_buf_init(&text, 1 << 16);
        weir_buf_init(&got, 1 << 16);
        weir_buf_init(&want, 1 << 16);
        for (size_t n = weir_rng_below(&rng, 60); n > 0; n--)
            CHECK(weir_buf_append_z(&text, bits[weir_rng_below(&rng, WEIR_ARRAY_LEN(bits))]) ==
                  WEIR_OK);
        sse_naive(weir_buf_span(&text), &want);
        CHECK(sse_pieces(weir_buf_span(&text), 1 << 16, random_step, &rng, &got) == WEIR_OK);
        CHECK_MSG(weir_span_eq(weir_buf_span(&got), weir_buf_span(&want)), "round %d", round);
        for (size_t k = 0; k < got.len; k++)
            events += got.data[k] == '\x1e';
        weir_buf_fini(&text);
        weir_buf_fini(&got);
        weir_buf_fini(&want);
    }
    CHECK(events > 1000);
}

static void case_bounds(void) {
    struct weir_buf got;
    weir_buf_init(&got, 1 << 16);
    CHECK(sse_pieces(WEIR_SPAN_LIT("data: 01\ndata: 23\n\n"), 8, all, NULL, &got) == WEIR_OK);
    CHECK(sse_pieces(WEIR_SPAN_LIT("data: 01\ndata: 23\n\n"), 8, one, NULL, &got) == WEIR_OK);
    CHECK(sse_pieces(WEIR_SPAN_LIT("data: 012\n\n"), 8, one, NULL, &got) == WEIR_TOO_LARGE);
    CHECK(sse_pieces(WEIR_SPAN_LIT("data: 012\n\n"), 8, all, NULL, &got) == WEIR_TOO_LARGE);
    CHECK(sse_pieces(WEIR_SPAN_LIT("data:01\ndata:23\ndata:45\ndata:6\n\n"), 8, all, NULL, &got) ==
          WEIR_TOO_LARGE);
    weir_buf_fini(&got);
}

int main(void) {
    CHECK_RUN(case_rows);
    CHECK_RUN(case_random);
    CHECK_RUN(case_bounds);
    return check_finish();
}
