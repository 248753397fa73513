#include "base/rng.h"
#include "test/check.h"
#include "tokenizer/wtok.h"

/* The rule, naively: the smallest end position of any stop; there the longest stop. */
static void naive(const char *text, const struct weir_span *stops, size_t n, bool include,
                  char *ret_out, int *ret_matched) {
    size_t len = strlen(text);
    for (size_t end = 1; end <= len; end++) {
        int best = -1;
        for (size_t k = 0; k < n; k++)
            if (stops[k].len <= end &&
                memcmp(text + end - stops[k].len, stops[k].data, stops[k].len) == 0 &&
                (best < 0 || stops[k].len > stops[best].len))
                best = (int)k;
        if (best >= 0) {
            size_t keep = include ? end : end - stops[best].len;
            memcpy(ret_out, text, keep);
            ret_out[keep] = '\0';
            *ret_matched = best;
            return;
        }
    }
    memcpy(ret_out, text, len + 1);
    *ret_matched = -1;
}

/* How many of the last bytes may become a stop string. */
static size_t naive_withheld(const char *text, size_t len, const struct weir_span *stops,
                             size_t n) {
    size_t most = 0;
    for (size_t k = 0; k < n; k++)
        for (size_t keep = 1; keep < stops[k].len && keep <= len; keep++)
            if (memcmp(text + len - keep, stops[k].data, keep) == 0 && keep > most)
                most = keep;
    return most;
}

static void case_any_split_equals_whole_text(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 20000; round++) {
        char text[41], words[5][6], want[64];
        size_t n_stops = 1 + weir_rng_below(&rng, 5), len = weir_rng_below(&rng, 40);
        /* Few letters match often; of many the stop strings begin with up to five. */
        uint64_t letters = round % 2 == 0 ? 3 : 12;
        struct weir_span stops[5];
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + weir_rng_below(&rng, letters));
        text[len] = '\0';
        for (size_t k = 0; k < n_stops; k++) {
            size_t wl = 1 + weir_rng_below(&rng, 5);
            for (size_t i = 0; i < wl; i++)
                words[k][i] = (char)('a' + weir_rng_below(&rng, letters));
            stops[k] = weir_span(words[k], wl);
        }
        bool include = weir_rng_below(&rng, 2);
        int want_match = 0, got_match = -1;
        naive(text, stops, n_stops, include, want, &want_match);
        struct wtok_stop *s = NULL;
        CHECK(wtok_stop_create(stops, n_stops, include, &s) == WEIR_OK);
        struct weir_buf out;
        weir_buf_init(&out, 1024);
        /* With room, as a stream's buffer has it, and without; pieces of any length, also none. */
        if (weir_rng_below(&rng, 2) == 0)
            CHECK(weir_buf_reserve(&out, 128) == WEIR_OK);
        size_t longest = 1 + weir_rng_below(&rng, 40);
        for (size_t at = 0; at < len && got_match < 0;) {
            size_t left = len - at < longest ? len - at : longest;
            size_t piece = weir_rng_below(&rng, left + 1);
            CHECK(wtok_stop_push(s, weir_span(text + at, piece), &out, &got_match) == WEIR_OK);
            at += piece;
            if (got_match < 0)
                CHECK(out.len == at - naive_withheld(text, at, stops, n_stops));
        }
        if (got_match < 0)
            CHECK(wtok_stop_finish(s, &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, want);
        CHECK((got_match < 0) == (want_match < 0));
        if (got_match >= 0)
            CHECK(weir_span_eq(stops[got_match], stops[want_match]));
        weir_buf_fini(&out);
        wtok_stop_destroy(s);
    }
}

/* Exactly the longest live prefix is withheld, no byte more. */
static void case_withholds_only_the_live_prefix(void) {
    struct weir_span stops[] = {WEIR_SPAN_LIT("STOP"), WEIR_SPAN_LIT("OPEN")};
    struct wtok_stop *s = NULL;
    CHECK(wtok_stop_create(stops, 2, false, &s) == WEIR_OK);
    struct weir_buf out;
    weir_buf_init(&out, 64);
    int matched = 0;
    CHECK(wtok_stop_push(s, WEIR_SPAN_LIT("xSTO"), &out, &matched) == WEIR_OK && matched == -1);
    CHECK_EQ_STR(out.data, out.len, "x");
    CHECK(wtok_stop_push(s, WEIR_SPAN_LIT("PE"), &out, &matched) == WEIR_OK);
    CHECK(matched == 0);
    CHECK_EQ_STR(out.data, out.len, "x");
    weir_buf_fini(&out);
    wtok_stop_destroy(s);
}

static void case_refuses_empty_and_huge(void) {
    struct wtok_stop *s = NULL;
    struct weir_span empty = {"", 0};
    CHECK(wtok_stop_create(&empty, 1, false, &s) == WEIR_INVALID && s == NULL);
    static char big[70000];
    struct weir_span huge = {big, sizeof(big)};
    CHECK(wtok_stop_create(&huge, 1, false, &s) == WEIR_TOO_LARGE && s == NULL);
}

int main(void) {
    CHECK_RUN(case_any_split_equals_whole_text);
    CHECK_RUN(case_withholds_only_the_live_prefix);
    CHECK_RUN(case_refuses_empty_and_huge);
    return check_finish();
}
