/* Answers with tool calls and reasoning, byte for byte as clients of the API know them. */
#include "test/check.h"
#include "wire/openai_answer.h"

static const struct weir_answer_head head = {
    .kind = WEIR_OPENAI_CHAT, .id = {"chatcmpl-1", 10}, .model = {"m", 1}, .created_s = 7};
#define TAIL(object) "],\"created\":7,\"model\":\"m\",\"object\":\"" object "\""
#define CHUNK(delta, finish)                                                                       \
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{" delta                     \
    "},\"finish_reason\":" finish ",\"logprobs\":null}" TAIL("chat.completion.chunk") "}\n\n"

static void expect_chunk(const struct weir_answer_head *h, const struct weir_answer_piece *p,
                         const char *want) {
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    CHECK(weir_answer_chunk(h, p, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_fini(&out);
}

static void case_call_chunks(void) {
    struct weir_answer_call start = {0, WEIR_SPAN_LIT("call_x"), WEIR_SPAN_LIT("f"), {NULL, 0}};
    struct weir_answer_call more = {1, {NULL, 0}, {NULL, 0}, WEIR_SPAN_LIT("{\"a\"")};
    struct weir_answer_piece p = {.role = true, .call = &start};
    expect_chunk(&head, &p,
                 CHUNK("\"tool_calls\":[{\"index\":0,\"id\":\"call_x\",\"type\":\"function\","
                       "\"function\":{\"name\":\"f\",\"arguments\":\"\"}}],\"role\":\"assistant\"",
                       "null"));
    p = (struct weir_answer_piece){.call = &more};
    expect_chunk(&head, &p,
                 CHUNK("\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{\\\"a\\\"\"}}]",
                       "null"));
    p = (struct weir_answer_piece){.finish_reason = "tool_calls"};
    expect_chunk(&head, &p, CHUNK("", "\"tool_calls\""));
}

static void case_reasoning_chunks(void) {
    struct weir_answer_head renamed = head;
    struct weir_answer_piece p = {.reasoning = WEIR_SPAN_LIT("why")};
    expect_chunk(&head, &p, CHUNK("\"reasoning_content\":\"why\"", "null"));
    renamed.reasoning_field = WEIR_SPAN_LIT("reasoning");
    expect_chunk(&renamed, &p, CHUNK("\"reasoning\":\"why\"", "null"));
}

static void case_whole(void) {
    struct weir_answer_call calls[] = {
        {0, WEIR_SPAN_LIT("call_x"), WEIR_SPAN_LIT("f"), WEIR_SPAN_LIT("{}")},
        {1, WEIR_SPAN_LIT("call_y"), WEIR_SPAN_LIT("g"), WEIR_SPAN_LIT("{\"a\": 1}")}};
    struct weir_answer_choice c = {.reasoning = WEIR_SPAN_LIT("why"),
                                   .calls = calls,
                                   .n_calls = 2,
                                   .finish_reason = "tool_calls"};
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    CHECK(weir_answer_unary(&head, &c, 1, NULL, weir_span(NULL, 0), &out) == WEIR_OK);
    CHECK_EQ_STR(
        out.data, out.len,
        "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"message\":{\"content\":null,"
        "\"refusal\":null,\"tool_calls\":[{\"id\":\"call_x\",\"type\":\"function\",\"function\":{"
        "\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"call_y\",\"type\":\"function\","
        "\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"a\\\": 1}\"}}],\"role\":\"assistant\","
        "\"reasoning_content\":\"why\"},\"finish_reason\":\"tool_calls\",\"logprobs\":null}" TAIL(
            "chat.completion") "}");
    weir_buf_fini(&out);
}

int main(void) {
    CHECK_RUN(case_call_chunks);
    CHECK_RUN(case_reasoning_chunks);
    CHECK_RUN(case_whole);
    return check_finish();
}
