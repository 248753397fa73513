/* Bodies between engines of a split deployment: what is changed, what passes byte for byte, what is
 * refused. */
#include "frontend/relay_body.h"
#include "test/check.h"

#include <stdio.h>

#define HOLD                                                                                       \
    "\"kv_transfer_params\":{\"do_remote_decode\":true,\"do_remote_prefill\":false,"               \
    "\"remote_engine_id\":null,\"remote_block_ids\":null,\"remote_host\":null,"                    \
    "\"remote_port\":null}"

static void check(enum weir_status st, struct weir_buf *out, const char *want) {
    CHECK(st == WEIR_OK);
    CHECK_MSG(weir_span_eqz(weir_buf_span(out), want), "%.*s", WEIR_SPAN_ARG(weir_buf_span(out)));
    weir_buf_clear(out);
}

static void case_prefill(void) {
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    check(weir_relay_body_prefill(WEIR_SPAN_LIT("{}"), &out), &out,
          "{\"stream\":false,\"max_tokens\":1," HOLD "}");
    /* White space of values, odd numbers, escaped keys and repeated members pass as they came. */
    check(weir_relay_body_prefill(
              WEIR_SPAN_LIT(" { \"model\" : \"m\\u00e9\" , \"a\\\"b\":1.0e0,\"a\\\"b\":[ 1 , 2 ],"
                            "\"str\\u0065am\":true,\"stream_options\":{\"include_usage\":true},"
                            "\"max_tokens\":500,\"min_tokens\":3,\"nested\":{\"stream\":true}}\n"),
              &out),
          &out,
          "{\"model\":\"m\\u00e9\",\"a\\\"b\":1.0e0,\"a\\\"b\":[ 1 , 2 ],"
          "\"nested\":{\"stream\":true},\"stream\":false,\"max_tokens\":1," HOLD "}");
    check(weir_relay_body_prefill(
              WEIR_SPAN_LIT("{\"max_completion_tokens\":null,\"n\":4,\"best_of\":5,"
                            "\"kv_transfer_params\":{\"x\":1}}"),
              &out),
          &out,
          "{\"stream\":false,\"max_tokens\":1,\"max_completion_tokens\":1,\"n\":1,"
          "\"best_of\":1," HOLD "}");
    weir_buf_fini(&out);
}

static void case_decode(void) {
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    check(weir_relay_body_decode(WEIR_SPAN_LIT("{\"stream\":true,\"max_tokens\":9}"),
                                 WEIR_SPAN_LIT("{\"remote_port\": 5, \"l\":[[1],[2]]}"), &out),
          &out,
          "{\"stream\":true,\"max_tokens\":9,"
          "\"kv_transfer_params\":{\"remote_port\": 5, \"l\":[[1],[2]]}}");
    check(weir_relay_body_decode(WEIR_SPAN_LIT("{\"kv_transfer_params\":7}"), WEIR_SPAN_LIT("{}"),
                                 &out),
          &out, "{\"kv_transfer_params\":{}}");
    weir_buf_fini(&out);
}

static void case_template(void) {
    struct weir_buf out;
    const struct weir_span args = WEIR_SPAN_LIT("{\"enable_thinking\":false}");
    weir_buf_init(&out, 1 << 20);
    check(weir_relay_body_template(
              WEIR_SPAN_LIT("{\"thinking\":{\"type\":\"disabled\"},\"top_p\":0.10,"
                            "\"chat_template_args\":{\"a\":1},\"chat_template_kwargs\":null}"),
              args, &out),
          &out, "{\"top_p\":0.10,\"chat_template_kwargs\":{\"enable_thinking\":false}}");
    check(weir_relay_body_template(WEIR_SPAN_LIT("{}"), args, &out), &out,
          "{\"chat_template_kwargs\":{\"enable_thinking\":false}}");
    weir_buf_fini(&out);
}

static void case_bootstrap(void) {
    static const uint64_t rooms[] = {1, INT64_MAX};
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    check(weir_relay_body_bootstrap(WEIR_SPAN_LIT("{\"stream\":true}"), WEIR_SPAN_LIT("gpu-1"),
                                    8998, rooms, 0, &out),
          &out,
          "{\"stream\":true,\"bootstrap_host\":\"gpu-1\",\"bootstrap_port\":8998,"
          "\"bootstrap_room\":1}");
    check(
        weir_relay_body_bootstrap(WEIR_SPAN_LIT("{\"bootstrap_room\":3,\"prompt\":[\"a\",\"b\"]}"),
                                  WEIR_SPAN_LIT("::1"), 1, rooms, 2, &out),
        &out,
        "{\"prompt\":[\"a\",\"b\"],\"bootstrap_host\":[\"::1\",\"::1\"],"
        "\"bootstrap_port\":[1,1],\"bootstrap_room\":[1,9223372036854775807]}");
    weir_buf_fini(&out);
}

static void case_refused(void) {
    static const char *const bad[] = {"",    "[]",         "null", "{\"a\":}", "{\"a\":1",
                                      "{}x", "{\"a\":1,}", "3",    "{\"a\" 1}"};
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        CHECK_MSG(weir_relay_body_prefill(weir_span_z(bad[i]), &out) == WEIR_INVALID, "%s", bad[i]);
        CHECK(weir_relay_body_decode(weir_span_z(bad[i]), WEIR_SPAN_LIT("{}"), &out) ==
              WEIR_INVALID);
        CHECK(weir_relay_params(weir_span_z(bad[i])).data == NULL);
    }
    weir_buf_fini(&out);
    /* Room runs out anywhere: an error, not a body cut short. */
    for (size_t max = 1; max < 60; max++) {
        weir_buf_init(&out, max);
        CHECK(weir_relay_body_prefill(WEIR_SPAN_LIT("{\"model\":\"m\",\"prompt\":\"abc\"}"),
                                      &out) != WEIR_OK);
        weir_buf_fini(&out);
    }
}

static void case_params(void) {
    static const struct {
        const char *answer, *want;
    } rows[] = {
        {"{\"id\":\"x\",\"kv_transfer_params\":{\"remote_port\": 5}}", "{\"remote_port\": 5}"},
        {"{\"kv_transfer_params\":{},\"choices\":[]}", "{}"},
        {"{\"kv_transfer_params\":null}", NULL},
        {"{\"kv_transfer_params\":\"x\"}", NULL},
        {"{\"choices\":[{\"kv_transfer_params\":{}}]}", NULL},
        {"{}", NULL},
        {"{\"kv_transfer_params\":{\"a\":1}", NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_span got = weir_relay_params(weir_span_z(rows[i].answer));
        CHECK_MSG(rows[i].want == NULL ? got.data == NULL : weir_span_eqz(got, rows[i].want), "%s",
                  rows[i].answer);
    }
}

int main(void) {
    CHECK_RUN(case_prefill);
    CHECK_RUN(case_decode);
    CHECK_RUN(case_template);
    CHECK_RUN(case_bootstrap);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_params);
    return check_finish();
}
