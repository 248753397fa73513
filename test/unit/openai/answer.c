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

/* Prepared chunks are those of weir_answer_chunk, whatever the text. */
static void case_prepared_chunks(void) {
    static const struct weir_span texts[] = {
        WEIR_SPAN_LIT(""),           WEIR_SPAN_LIT("x"),
        WEIR_SPAN_LIT("\"\\\n\x01"), WEIR_SPAN_LIT("naïve â¬"),
        WEIR_SPAN_LIT("\xff\xc3"),   WEIR_SPAN_LIT("\",\"finish_reason\":\"stop")};
    static const struct weir_answer_head heads[] = {
        {.kind = WEIR_OPENAI_CHAT, .id = {"chatcmpl-1", 10}, .model = {"m", 1}, .created_s = 7},
        {.kind = WEIR_OPENAI_CHAT, .id = {"x", 1}, .model = {"a\"content\":\"\"", 14}},
        {.kind = WEIR_OPENAI_COMPLETION, .id = {"cmpl-1-0", 8}, .model = {"m", 1}, .created_s = 9}};
    for (size_t h = 0; h < WEIR_ARRAY_LEN(heads); h++)
        for (unsigned index = 0; index < 130; index += 43) {
            struct weir_buf bytes, want, got;
            struct weir_answer_frame frame;
            weir_buf_init(&bytes, 4096);
            weir_buf_init(&want, 4096);
            weir_buf_init(&got, 4096);
            CHECK(weir_answer_prepare(&heads[h], index, &bytes, &frame) == WEIR_OK);
            for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++) {
                struct weir_answer_piece p = {.index = index, .has_text = true, .text = texts[i]};
                CHECK(weir_answer_chunk(&heads[h], &p, &want) == WEIR_OK);
                CHECK(weir_answer_text_chunk(&frame, texts[i], &got) == WEIR_OK);
            }
            CHECK(weir_span_eq(weir_buf_span(&want), weir_buf_span(&got)));
            weir_buf_fini(&got);
            size_t n = frame.before.len, m = frame.after.len;
            CHECK(frame.between.len == n + m + 2 && frame.between.data[0] == '"' &&
                  frame.between.data[n + m + 1] == '"' &&
                  memcmp(frame.between.data + 1, frame.after.data, m) == 0 &&
                  memcmp(frame.between.data + 1 + m, frame.before.data, n) == 0);
            weir_buf_init(&got, n + m + 1); /* no room: nothing is written */
            CHECK(weir_answer_text_chunk(&frame, texts[1], &got) == WEIR_TOO_LARGE);
            CHECK(got.len == 0);
            weir_buf_fini(&bytes);
            weir_buf_fini(&want);
            weir_buf_fini(&got);
        }
}

int main(void) {
    CHECK_RUN(case_prepared_chunks);
    CHECK_RUN(case_call_chunks);
    CHECK_RUN(case_reasoning_chunks);
    CHECK_RUN(case_whole);
    return check_finish();
}
