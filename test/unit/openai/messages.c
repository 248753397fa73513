/* The Messages API: requests as the chats that they stand for, answers as messages and events. */
#include "base/json.h"
#include "base/mem.h"
#include "test/check.h"
#include "wire/anthropic.h"

#include <stdio.h>
#include <string.h>

static struct weir_arena arena;

static void ok(enum weir_status st) {
    CHECK(st == WEIR_OK);
}

static void says(struct weir_span text, const char *wanted) {
    CHECK_EQ_STR(text.data, text.len, wanted);
}

static enum weir_status parse_as(enum weir_openai_kind kind, const char *body,
                                 struct weir_openai_request *q, struct weir_openai_error *e) {
    const struct weir_openai_rules rules = {.strip_preamble = true};
    weir_arena_fini(&arena);
    weir_arena_init(&arena, 1 << 24);
    *e = (struct weir_openai_error){0};
    return weir_openai_parse(kind, weir_span_z(body), &rules, &arena, q, e);
}

/* `more`: members behind model, max_tokens and messages. */
static enum weir_status parse(const char *messages, const char *more, struct weir_openai_request *q,
                              struct weir_openai_error *e) {
    char body[4096];
    snprintf(body, sizeof(body), "{\"model\":\"m\",\"max_tokens\":9,\"messages\":%s%s}", messages,
             more);
    return parse_as(WEIR_OPENAI_MESSAGES, body, q, e);
}

#define HI "[{\"role\":\"user\",\"content\":\"hi\"}]"

static void case_messages(void) {
    static const struct {
        const char *messages, *more, *chat;
    } rows[] = {
        {HI, "", HI},
        {HI, ",\"system\":\"s\"",
         "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"hi\"}]"},
        {HI,
         ",\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: a; b;\"},"
         "{\"type\":\"text\",\"text\":\"s\",\"cache_control\":{\"type\":\"ephemeral\"}},"
         "{\"type\":\"text\",\"text\":\"t\"}]",
         "[{\"role\":\"system\",\"content\":\"s\\nt\"},{\"role\":\"user\",\"content\":\"hi\"}]"},
        {HI, ",\"system\":\"x-anthropic-billing-header: a\\n\\ns\"",
         "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"hi\"}]"},
        {HI, ",\"system\":\"x-anthropic-billing-header: a\"",
         "[{\"role\":\"system\",\"content\":\"x-anthropic-billing-header: a\"},{\"role\":"
         "\"user\",\"content\":\"hi\"}]"},
        {HI, ",\"system\":[]",
         "[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"hi\"}]"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
         "\"text\":\"b\"}]},{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},"
         "{\"type\":\"text\",\"text\":\"y\"}]}]",
         "",
         "[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"system\",\"content\":\"x\\ny\"}]"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\","
         "\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"AAAA\"}},"
         "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"http://h/x\"}}]}]",
         "",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"http://h/x\"}}]}]"},
        /* What a tool shows. */
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c\","
         "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"source\":{"
         "\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"AAAA\"}}]},{\"type\":"
         "\"text\",\"text\":\"b\"}]}]",
         "",
         "[{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}],"
         "\"tool_call_id\":\"c\"},{\"role\":\"user\",\"content\":\"b\"}]"},
        /* A turn of tools: thoughts, text and calls are one message, each result is its own. */
        {"[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":["
         "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"},"
         "{\"type\":\"redacted_thinking\",\"data\":\"z\"},{\"type\":\"text\",\"text\":\"y\"},"
         "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{\"a\":1}},"
         "{\"type\":\"tool_use\",\"id\":\"d\",\"name\":\"f\",\"input\":{}}]},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"u\"},"
         "{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"content\":[{\"type\":\"text\","
         "\"text\":\"4\"},{\"type\":\"text\",\"text\":\"5\"}],\"is_error\":true},"
         "{\"type\":\"tool_result\",\"tool_use_id\":\"d\"},{\"type\":\"text\",\"text\":\"v\"}]}]",
         "",
         "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"y\","
         "\"reasoning_content\":\"t\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\","
         "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"d\",\"type\":"
         "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"user\","
         "\"content\":\"u\"},{\"role\":\"tool\",\"content\":\"45\",\"tool_call_id\":\"c\"},"
         "{\"role\":\"tool\",\"content\":\"\",\"tool_call_id\":\"d\"},{\"role\":\"user\","
         "\"content\":\"v\"}]"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_openai_request q;
        struct weir_openai_error e;
        ok(parse(rows[i].messages, rows[i].more, &q, &e));
        CHECK(q.kind == WEIR_OPENAI_CHAT && q.responses == NULL);
        says(q.messages, rows[i].chat);
    }
}

static void case_settings(void) {
    struct weir_openai_request q;
    struct weir_openai_error e;
    ok(parse(
        HI,
        ",\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,\"stop_sequences\":[\"a\",\"b\"],"
        "\"stream\":true,\"metadata\":{\"user_id\":\"u\"},\"service_tier\":\"auto\","
        "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},\"tools\":[{\"name\":\"f\","
        "\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}}],"
        "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true}",
        &q, &e));
    CHECK(q.stream && !q.parallel_tool_calls && q.prep.stop.max_tokens == 9);
    CHECK(q.prep.sampling.temperature == 0.5 && q.prep.sampling.top_p == 0.25);
    CHECK(q.prep.sampling.top_k == 7 && q.prep.stop.stop.n == 2);
    CHECK(q.prep.stop.max_thinking_tokens == 2000);
    says(q.tool_choice, "\"required\"");
    says(q.tools, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
                  "\"parameters\":{\"type\":\"object\"}}}]");
    CHECK(weir_span_starts(q.template_args, WEIR_SPAN_LIT("{")));
    ok(parse(HI, ",\"stop_sequences\":[],\"tools\":[],\"thinking\":{\"type\":\"disabled\"}", &q,
             &e));
    CHECK(q.prep.stop.stop.n == 0 && q.tools.data == NULL);
    ok(parse_as(WEIR_OPENAI_MESSAGES_COUNT, "{\"model\":\"m\",\"messages\":" HI "}", &q, &e));
}

static void case_refusals(void) {
    static const struct {
        const char *body, *message;
    } rows[] = {
#define UNREAD "Failed to deserialize the JSON body into the target type: "
        {"{}", UNREAD "missing field `model` at line 1 column 2"},
        {"{\"model\": \"m\", \"messages\": " HI "}",
         UNREAD "missing field `max_tokens` at line 1 column 60"},
        {"{\"model\":\"m\",\"max_tokens\":-1}",
         UNREAD "max_tokens: invalid value: integer `-1`, expected u32 at line 1 column 28"},
        {"{\"model\":\"m\",\"max_tokens\":0,\"messages\":" HI "}",
         "max_tokens: must be greater than 0"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[]}", "messages: field required"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"temperature\":2.5}",
         "Temperature must be between 0 and 2, got 2.5"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"stop_sequences\":[\"\"]}",
         "Stop sequence at index 0 cannot be empty"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI
         ",\"tools\":[{\"type\":\"bash_20250124\",\"name\":\"bash\"}]}",
         "tools[0]: server tool type \"bash_20250124\" is not supported"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"tools\":[{\"name\":\"f\"}]}",
         "tools[0].input_schema: field required for client tools"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":["
         "{\"type\":\"nope\"}]}]}",
         "messages[0].content[0]: content block type \"nope\" is not supported"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":["
         "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}]}]}",
         "messages[0].content[1].text: a string is required"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":["
         "{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"content\":[{\"type\":\"search_result\"}"
         "]}]}]}",
         "messages[0].content[0]: only text and images are supported in a tool_result"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":["
         "{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"content\":[{\"type\":\"image\"}]}]}]}",
         "messages[0].content[0]: an image needs a source"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[]}]}",
         "messages[0].content: must contain at least one content block"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[3]}]}",
         "messages[0].content[0]: content blocks must be objects"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\"}]}",
         UNREAD "messages[0]: data did not match any variant of untagged enum "
                "AnthropicMessageContent at line 1 column 55"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"x\",\"content\":\"\"}]}",
         UNREAD "messages[0].role: unknown variant `x`, expected one of `user`, `assistant`, "
                "`system` at line 1 column 51"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"tools\":[{\"name\":true}]}",
         UNREAD "tools[0].name: invalid type: boolean `true`, expected a string at line 1 column "
                "93"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI
         ",\"tools\":[{\"description\":\"\"}]}",
         UNREAD "tools[0]: missing field `name` at line 1 column 99"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"tools\":[{\"name\":\"f\"},[]]}",
         UNREAD "tools[1]: invalid length 0, expected struct AnthropicTool with 4 elements at line "
                "1 column 96"},
        {"{\"model\":\"m\",\"max_tokens\":1,\"messages\":" HI ",\"mcp_servers\":[{}]}",
         "mcp_servers: not supported: no tool is called from here"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_openai_request q;
        struct weir_openai_error e;
        CHECK(parse_as(WEIR_OPENAI_MESSAGES, rows[i].body, &q, &e) == WEIR_INVALID);
        CHECK(e.http_status == 400);
        says(e.message, rows[i].message);
    }
}

static void case_answers(void) {
    struct weir_messages_head head = {.model = WEIR_SPAN_LIT("m")};
    const struct weir_usage usage = {
        .prompt_tokens = 9, .completion_tokens = 2, .cached_tokens = 4};
    const struct weir_answer_call calls[] = {{.index = 0,
                                              .id = WEIR_SPAN_LIT("c"),
                                              .name = WEIR_SPAN_LIT("f"),
                                              .arguments = WEIR_SPAN_LIT(" {\"a\": 1} ")},
                                             {.index = 1,
                                              .id = WEIR_SPAN_LIT("d"),
                                              .name = WEIR_SPAN_LIT("f"),
                                              .arguments = WEIR_SPAN_LIT("{\"a\":")}};
    struct weir_answer_choice choice = {
        .text = WEIR_SPAN_LIT("x"), .reasoning = WEIR_SPAN_LIT("t"), .calls = calls, .n_calls = 2};
    struct weir_messages_end end = {.finish_reason = "tool_calls", .usage = &usage};
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    weir_answer_hex("01234567-89ab-cdef-0123-456789abcdef", head.id);
#define HEAD                                                                                       \
    "{\"id\":\"msg_0123456789abcdef0123456789abcdef\",\"type\":\"message\",\"role\":"              \
    "\"assistant\",\"content\":["
#define EMPTY "{\"type\":\"text\",\"text\":\"\"}"
#define USAGE                                                                                      \
    "\"usage\":{\"input_tokens\":5,\"output_tokens\":2,\"cache_creation_input_tokens\":0,"         \
    "\"cache_read_input_tokens\":4}}"
    /* A call that was cut short has no place in an answer. */
    ok(weir_messages_unary(&head, &choice, &end, &out));
    says(weir_buf_span(&out),
         HEAD "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"erased\"},{\"type\":"
              "\"text\",\"text\":\"x\"},{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\","
              "\"input\":{\"a\": 1}}],\"model\":\"m\",\"stop_reason\":\"tool_use\","
              "\"stop_sequence\":null," USAGE);
    weir_buf_clear(&out);
    choice = (struct weir_answer_choice){.calls = &calls[1], .n_calls = 1};
    ok(weir_messages_unary(&head, &choice, &end, &out));
    says(weir_buf_span(&out), HEAD EMPTY "],\"model\":\"m\",\"stop_reason\":\"end_turn\","
                                         "\"stop_sequence\":null," USAGE);
    weir_buf_clear(&out);
    end = (struct weir_messages_end){
        .finish_reason = "stop", .stop_sequence = WEIR_SPAN_LIT("\n"), .usage = &usage};
    ok(weir_messages_unary(&head, &(struct weir_answer_choice){.n_calls = 0}, &end, &out));
    says(weir_buf_span(&out), HEAD EMPTY "],\"model\":\"m\",\"stop_reason\":\"stop_sequence\","
                                         "\"stop_sequence\":\"\\n\"," USAGE);
    weir_buf_fini(&out);
}

static void case_events(void) {
    const struct {
        struct weir_answer_piece piece;
        const char *events; /* each without what all have: its name, its index */
    } rows[] = {
        {{.reasoning = {"t", 1}},
         "content_block_start,\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":"
         "\"\",\"signature\":\"\"}}\n"
         "content_block_delta,\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":"
         "\"t\"}}\n"},
        {{.has_text = true, .text = {"x", 1}},
         "content_block_delta,\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":"
         "\"erased\"}}\n"
         "content_block_stop,\"index\":0}\n"
         "content_block_start,\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n"
         "content_block_delta,\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n"},
        {{.call = &(const struct weir_answer_call){.id = {"c", 1}, .name = {"f", 1}}},
         "content_block_stop,\"index\":1}\n"
         "content_block_start,\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c\","
         "\"name\":\"f\",\"input\":{}}}\n"},
        {{.call = &(const struct weir_answer_call){.arguments = {"{}", 2}}},
         "content_block_delta,\"index\":2,\"delta\":{\"type\":\"input_json_delta\","
         "\"partial_json\":\"{}\"}}\n"},
        {{.call = &(const struct weir_answer_call){.index = 1, .id = {"d", 1}, .name = {"g", 1}}},
         "content_block_stop,\"index\":2}\n"
         "content_block_start,\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"d\","
         "\"name\":\"g\",\"input\":{}}}\n"},
    };
    struct weir_messages_head head = {.model = WEIR_SPAN_LIT("m")};
    struct weir_messages_stream s;
    struct weir_buf out, wanted;
    weir_buf_init(&out, 1 << 20);
    weir_buf_init(&wanted, 1 << 20);
    weir_messages_stream_init(&s, &head);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_buf_clear(&out);
        weir_buf_clear(&wanted);
        for (const char *p = rows[i].events, *end; *p != '\0'; p = end + 1) {
            const char *comma = strchr(p, ',');
            end = strchr(p, '\n');
            ok(weir_buf_printf(&wanted, "event: %.*s\ndata: {\"type\":\"%.*s\"%.*s\n\n",
                               (int)(comma - p), p, (int)(comma - p), p, (int)(end - comma),
                               comma));
        }
        ok(weir_messages_piece(&s, &rows[i].piece, &out));
        CHECK(weir_buf_append_c(&wanted, '\0') == WEIR_OK);
        says(weir_buf_span(&out), wanted.data);
    }
    /* A part of a call that is not open. */
    CHECK(weir_messages_piece(
              &s,
              &(struct weir_answer_piece){
                  .call = &(const struct weir_answer_call){.index = 0,
                                                           .arguments = WEIR_SPAN_LIT("{}")}},
              &out) == WEIR_PROTOCOL);
    const struct weir_usage usage = {.prompt_tokens = 9, .cached_tokens = -1};
    weir_buf_clear(&out);
    ok(weir_messages_finish(
        &s, &(struct weir_messages_end){.finish_reason = "length", .usage = &usage}, &out));
    says(weir_buf_span(&out),
         "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n"
         "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
         "\"max_tokens\"},\"usage\":{\"input_tokens\":9,\"output_tokens\":0,"
         "\"cache_creation_input_tokens\":0}}\n\n"
         "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    weir_buf_clear(&out);
    ok(weir_messages_fail(503, WEIR_SPAN_LIT("w"), &out));
    says(weir_buf_span(&out), "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                              "\"overloaded_error\",\"message\":\"w\"}}\n\n");
    weir_buf_fini(&out);
    weir_buf_fini(&wanted);
}

int main(void) {
    CHECK_RUN(case_messages);
    CHECK_RUN(case_settings);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_answers);
    CHECK_RUN(case_events);
    weir_arena_fini(&arena);
    return check_finish();
}
