/* What passes, and when: a stream cut at random places gives the same bytes and the same counts. */
#include "frontend/relay_scan.h"

#include "base/rng.h"
#include "test/check.h"

static const char stream[] =
    "data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    ": a comment\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"say "
    "\\\"usage\\\":{}\"}}],\"usage\":null}\r\n\r\n"
    "data: "
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"total_tokens\":24,\"completion_tokens\":3,"
    "\"prompt_tokens_details\":{\"cached_tokens\":16,\"created_cache_tokens\":0}}}\n\n"
    "data: [DONE]\n\n";

static void case_cut_anywhere(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < 2000; round++) {
        struct weir_relay_scan s;
        struct weir_buf got;
        size_t at = 0, n = sizeof(stream) - 1, most = 1 + weir_rng_u64(&rng) % 120;
        weir_relay_scan_init(&s, 1 << 20);
        weir_buf_init(&got, 1 << 20);
        while (at < n) {
            size_t take = 1 + weir_rng_u64(&rng) % most;
            struct weir_span pass;
            char *piece; /* by itself, so that reading outside is seen */
            take = take < n - at ? take : n - at;
            piece = malloc(take);
            CHECK(piece != NULL);
            memcpy(piece, stream + at, take);
            CHECK(weir_relay_scan_push(&s, weir_span(piece, take), &pass) == WEIR_OK);
            CHECK(weir_buf_append_span(&got, pass) == WEIR_OK);
            free(piece);
            at += take;
            /* Only whole frames have passed. */
            CHECK(got.len == 0 || got.data[got.len - 1] == '\n');
        }
        CHECK(got.len == n && memcmp(got.data, stream, n) == 0);
        CHECK_EQ_U64(s.n_data, 3);
        CHECK(s.done && !s.failed);
        CHECK(s.prompt_tokens == 21 && s.completion_tokens == 3 && s.cached_tokens == 16);
        weir_buf_fini(&got);
        weir_relay_scan_fini(&s);
    }
}

static void case_whole_frames_are_not_copied(void) {
    struct weir_relay_scan s;
    struct weir_span pass;
    weir_relay_scan_init(&s, 1024);
    CHECK(weir_relay_scan_push(&s, weir_span_z(stream), &pass) == WEIR_OK);
    CHECK(pass.data == stream && pass.len == sizeof(stream) - 1 && s.held.len == 0);
    weir_relay_scan_fini(&s);
}

static void case_frame_without_end(void) {
    struct weir_relay_scan s;
    struct weir_span pass;
    char big[4096];
    memset(big, 'x', sizeof(big));
    weir_relay_scan_init(&s, 1000);
    CHECK(weir_relay_scan_push(&s, weir_span(big, 900), &pass) == WEIR_OK && pass.len == 0);
    CHECK(!s.cut);
    CHECK(weir_relay_scan_push(&s, weir_span(big, 900), &pass) == WEIR_OK && pass.len == 1800);
    CHECK(s.cut);
    CHECK(weir_relay_scan_push(&s, WEIR_SPAN_LIT("\n\ndata: [DONE]\n\n"), &pass) == WEIR_OK);
    CHECK(s.done);
    weir_relay_scan_fini(&s);
}

static void case_data_of_events(void) {
    struct weir_span frames = weir_span_z(": c\nevent: x\ndata:a\r\n\ndata:  b \n\n\ndata: "), data;
    CHECK(weir_relay_scan_next(&frames, &data) && weir_span_eqz(data, "a"));
    CHECK(weir_relay_scan_next(&frames, &data) && weir_span_eqz(data, "b"));
    CHECK(weir_relay_scan_next(&frames, &data) && data.len == 0);
    CHECK(!weir_relay_scan_next(&frames, &data) && frames.len == 0);
}

static void case_error_event(void) {
    struct weir_relay_scan s;
    struct weir_span pass;
    weir_relay_scan_init(&s, 1000);
    CHECK(weir_relay_scan_push(&s, WEIR_SPAN_LIT("data: {\"error\":{\"message\":\"x\"}}\n\n"),
                               &pass) == WEIR_OK);
    CHECK(s.failed && !s.done && pass.len > 0);
    weir_relay_scan_fini(&s);
}

static void case_bodies(void) {
    struct weir_relay_scan s;
    weir_relay_scan_init(&s, 1000);
    weir_relay_scan_body(&s, WEIR_SPAN_LIT("{\"usage\":null}"));
    weir_relay_scan_body(&s, WEIR_SPAN_LIT("[1]"));
    weir_relay_scan_body(&s, WEIR_SPAN_LIT("{\"usage\":{\"prompt_tokens\":\"many\"}"));
    CHECK(s.prompt_tokens == -1 && s.cached_tokens == -1);
    weir_relay_scan_body(&s, WEIR_SPAN_LIT("{\"a\":[{\"usage\":{\"prompt_tokens\":9}}],\"usage\":{"
                                           "\"prompt_tokens\":1,\"prompt_tokens_details\":null}}"));
    CHECK(s.prompt_tokens == 1 && s.completion_tokens == -1 && s.cached_tokens == -1);
    weir_relay_scan_fini(&s);
}

int main(void) {
    CHECK_RUN(case_cut_anywhere);
    CHECK_RUN(case_whole_frames_are_not_copied);
    CHECK_RUN(case_frame_without_end);
    CHECK_RUN(case_data_of_events);
    CHECK_RUN(case_error_event);
    CHECK_RUN(case_bodies);
    return check_finish();
}
