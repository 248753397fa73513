/* The Responses API: requests as the chats that they stand for, answers as objects and events. */
#include "base/json.h"
#include "base/mem.h"
#include "test/check.h"
#include "wire/openai_responses.h"

#include <string.h>

static struct weir_arena arena;

static void ok(enum weir_status st) {
    CHECK(st == WEIR_OK);
}

static void says(struct weir_span text, const char *wanted) {
    CHECK_EQ_STR(text.data, text.len, wanted);
}

static enum weir_status parse(const char *body, struct weir_openai_request *q,
                              struct weir_openai_error *e) {
    const struct weir_openai_rules rules = {0};
    weir_arena_fini(&arena);
    weir_arena_init(&arena, 1 << 24);
    *e = (struct weir_openai_error){0};
    return weir_openai_parse(WEIR_OPENAI_RESPONSES, weir_span_z(body), &rules, &arena, q, e);
}

/* What Dynamo 1.6.1 sends its worker for the same requests, seen through a template that shows
 * roles and texts. */
static void case_messages(void) {
    static const struct {
        const char *input, *messages;
    } rows[] = {
        {"\"hi\"", "[{\"role\":\"user\",\"content\":\"hi\"}]"},
        {"[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"developer\",\"content\":["
         "{\"type\":\"input_text\",\"text\":\"d\"},{\"type\":\"input_text\",\"text\":\"e\"}]},"
         "{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"developer\",\"content\":\"x\"}]",
         "[{\"role\":\"system\",\"content\":\"s\\n\\nde\"},{\"role\":\"user\",\"content\":\"u\"},"
         "{\"role\":\"system\",\"content\":\"x\"}]"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},"
         "{\"type\":\"input_image\",\"image_url\":\"http://h/x\",\"detail\":\"low\"}]}]",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"http://h/x\",\"detail\":\"low\"}}]}]"},
        {"[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":[{\"type\":"
         "\"input_text\",\"text\":\"a\"},{\"type\":\"input_image\",\"image_url\":"
         "\"http://h/x\"}]}]",
         "[{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"http://h/"
         "x\",\"detail\":\"auto\"}}],\"tool_call_id\":\"c\"}]"},
        /* An answer of before comes back in its items, and is one message. */
        {"[{\"role\":\"user\",\"content\":\"q\"},"
         "{\"type\":\"reasoning\",\"id\":\"r\",\"summary\":[{\"type\":\"summary_text\",\"text\":"
         "\"no\"}],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"t\"}]},"
         "{\"type\":\"message\",\"id\":\"m\",\"status\":\"completed\",\"role\":\"assistant\","
         "\"content\":[{\"type\":\"output_text\",\"text\":\"1\",\"annotations\":[]},"
         "{\"type\":\"refusal\",\"refusal\":\"2\"}]},"
         "{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call\",\"call_id\":\"d\",\"name\":\"g\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"4\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"d\",\"output\":[{\"type\":"
         "\"input_text\",\"text\":\"5\"},{\"type\":\"input_text\",\"text\":\"6\"}]}]",
         "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"12\","
         "\"reasoning_content\":\"t\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\","
         "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"d\",\"type\":\"function\","
         "\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"content\":"
         "\"4\",\"tool_call_id\":\"c\"},{\"role\":\"tool\",\"content\":\"56\",\"tool_call_id\":"
         "\"d\"}]"},
        {"[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"s\"}]},"
         "{\"role\":\"user\",\"content\":\"u\"}]",
         "[{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"s\"},{\"role\":"
         "\"user\",\"content\":\"u\"}]"},
    };
    struct weir_openai_request q;
    struct weir_openai_error e;
    char body[4096];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        snprintf(body, sizeof(body), "{\"model\":\"m\",\"input\":%s}", rows[i].input);
        ok(parse(body, &q, &e));
        says(q.messages, rows[i].messages);
        CHECK(q.kind == WEIR_OPENAI_CHAT && q.responses != NULL);
    }
    ok(parse("{\"input\":[{\"role\":\"system\",\"content\":\"s\"}],\"instructions\":\"\","
             "\"model\":\"m\",\"unknown\":1}",
             &q, &e));
    says(q.messages, "[{\"role\":\"system\",\"content\":\"\\n\\ns\"}]");
}

#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"}},"      \
    "{\"type\":\"function\",\"name\":\"g\",\"description\":\"d\",\"strict\":false}]"

static void case_settings(void) {
    struct weir_openai_request q;
    struct weir_openai_error e;
    ok(parse("{\"model\":\"m\",\"input\":\"x\"," TOOLS
             ",\"tool_choice\":{\"type\":\"function\",\"name\":\"g\"},\"stream\":true,"
             "\"max_output_tokens\":7,\"temperature\":0.5,\"parallel_tool_calls\":false,"
             "\"cache_salt\":\"s\",\"nvext\":{\"extra_fields\":[\"timing\"]},"
             "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{\"a\""
             ":1}}},\"store\":true,\"reasoning\":{\"effort\":\"none\"}}",
             &q, &e));
    says(q.tools, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
                  "\"type\":\"object\"}}},{\"type\":\"function\",\"function\":{\"name\":"
                  "\"g\",\"description\":\"d\",\"strict\":false}}]");
    says(q.tool_choice, "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}");
    CHECK(q.stream && !q.parallel_tool_calls && q.prep.stop.max_tokens == 7);
    CHECK(q.prep.sampling.temperature > 0.49 && q.prep.sampling.temperature < 0.51);
    says(q.cache_salt, "s");
    CHECK(q.extras == WEIR_EXTRA_TIMING && q.guided_by_format);
    says(q.responses->tools,
         "[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"},"
         "\"strict\":true},{\"type\":\"function\",\"name\":\"g\",\"strict\":false,"
         "\"description\":\"d\"}]");
    /* Only those that are allowed are shown to the model. */
    ok(parse("{\"model\":\"m\",\"input\":\"x\"," TOOLS
             ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{"
             "\"type\":\"function\",\"name\":\"\\u0067\"}]}}",
             &q, &e));
    says(q.tools, "[{\"type\":\"function\",\"function\":{\"name\":\"g\",\"description\":"
                  "\"d\",\"strict\":false}}]");
    says(q.tool_choice, "\"required\"");
    ok(parse("{\"model\":\"m\",\"input\":\"x\",\"include\":["
             "\"message.output_text.logprobs\"]}",
             &q, &e));
    CHECK(q.logprobs && q.top_logprobs == 0);
    ok(parse("{\"model\":\"m\",\"input\":\"x\",\"top_logprobs\":3}", &q, &e));
    CHECK(q.logprobs && q.top_logprobs == 3);
    ok(parse("{\"model\":\"m\",\"input\":\"x\",\"text\":{\"verbosity\":\"low\"},\"tools\":[]}", &q,
             &e));
    CHECK(q.tools.data == NULL && !q.logprobs);
    says(q.responses->text, "{\"format\":{\"type\":\"text\"},\"verbosity\":\"low\"}");
}

#define IN "{\"model\":\"m\",\"input\":\"x\","
#define DESER "Failed to deserialize the JSON body into the target type: "

static void case_refusals(void) {
    static const struct {
        const char *body;
        int status;
        const char *message;
    } rows[] = {
        /* As Dynamo 1.6.1 says them. */
        {"[1]", 400,
         DESER "invalid type: sequence, expected struct NvCreateResponse at line 1 column 0"},
        {"{\"model\":\"m\",\"input\":5}", 400,
         DESER "input must be a string or an array of input items at line 1 column 23"},
        {"{\"model\":\"m\",\"input\":[{\"role\":\"tool\",\"content\":\"x\"}]}", 400,
         DESER "data did not match any variant of untagged enum InputItemWire at line 1 column 53"},
        {"{\"input\":\"x\"}", 400, "Model cannot be empty"},
        {"{\"input\":[]}", 400, "Messages array cannot be empty"},
        {IN "\"background\":true}", 501, "Validation: `background: true` is not supported."},
        {IN "\"previous_response_id\":\"r\",\"max_output_tokens\":0}", 501,
         "Validation: `previous_response_id` is not supported."},
        {IN "\"max_output_tokens\":0}", 400,
         "Validation: Max tokens must be greater than 0, got 0"},
        {IN "\"top_p\":0}", 400, "Validation: Top_p must be between 0 and 1, got 0"},
        {IN "\"tools\":[{\"type\":\"mcp\"}]}", 400,
         "Failed to convert responses request: Unsupported Responses tools type 'mcp': the Chat "
         "Completions adapter supports only function tools and none, auto, required, named "
         "function, or function-only allowed_tools choices"},
        {IN "\"tools\":[{\"type\":\"function\",\"name\":\"a b\"}]}", 400,
         "Function at index 0 has an invalid name: \"a b\". Only a-z, A-Z, 0-9, underscores, and "
         "dashes are allowed."},
        {IN "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"strict\":true,\"parameters\":{"
            "\"type\":\"object\",\"properties\":{}}}]}",
         400,
         "Failed to convert responses request: Invalid schema for function 'f': In context=#, "
         "object schemas require additionalProperties: false"},
        {IN "\"tool_choice\":\"required\"}", 400, "tool_choice is \"required\" but tools is empty"},
        {IN "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"\",\"schema\":{}}}}", 400,
         "Validation: `response_format.json_schema.name` cannot be empty"},
        {IN "\"nvext\":{\"extra_fields\":[\"prompt_logprobs\"]}}", 501,
         "Validation: `nvext.extra_fields=[\"prompt_logprobs\"]` is not supported by the Responses "
         "API."},
        {IN "\"reasoning\":{\"summary\":\"x\"}}", 400,
         DESER "unknown variant `x`, expected one of `auto`, `concise`, `detailed` at line 1 "
               "column 53"},
        /* Ours. */
        {IN "\"conversation\":\"c\"}", 501, "Validation: `conversation` is not supported."},
        {"{\"model\":\"m\",\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", 400,
         "Validation: `input[0]`: items of type \"item_reference\" are not supported: nothing is "
         "stored here, and only function tools are called"},
        {"{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\","
         "\"image_url\":\"x\"}]}]}",
         400,
         "Failed to convert responses request: Invalid image URL: relative URL without a base"},
    };
    struct weir_openai_request q;
    struct weir_openai_error e;
    struct weir_buf many; /* names are compared with each other: not as many as a body holds */
    weir_buf_init(&many, 1 << 20);
    ok(weir_buf_append_z(&many, IN "\"tools\":[],\"tool_choice\":{\"type\":\"allowed_tools\","
                                   "\"mode\":\"auto\",\"tools\":[0"));
    for (int i = 0; i < 1536; i++)
        ok(weir_buf_append_z(&many, ",0"));
    ok(weir_buf_append(&many, "]}}", 4));
    CHECK(parse(many.data, &q, &e) == WEIR_INVALID);
    says(e.message, "Maximum of 1536 tools are supported, got 1537");
    weir_buf_fini(&many);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        enum weir_status st = parse(rows[i].body, &q, &e);
        CHECK(st == (rows[i].status == 501 ? WEIR_UNSUPPORTED : WEIR_INVALID));
        CHECK_EQ_U64(e.http_status, rows[i].status);
        says(e.message, rows[i].message);
    }
}

/* ---- answers ------------------------------------------------------------------------------ */

static const struct weir_responses_echo nothing = {.temperature = {"0.5", 3}};

static struct weir_responses_head head(void) {
    struct weir_responses_head h = {.model = WEIR_SPAN_LIT("m"), .created_s = 5, .echo = &nothing};
    weir_responses_head_init(&h, "01234567-89ab-cdef-0123-456789abcdef");
    return h;
}

static bool has(const struct weir_buf *out, const char *part) {
    return memmem(out->data, out->len, part, strlen(part)) != NULL;
}

/* The names of the events, each with its number. */
static void names(const struct weir_buf *out, char *ret, size_t room) {
    size_t used = 0;
    struct weir_span rest = weir_buf_span(out);
    ret[0] = '\0';
    for (unsigned n = 0; rest.len > 0; n++) {
        char number[64];
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        CHECK(weir_span_starts(line, WEIR_SPAN_LIT("event: response.")));
        used +=
            (size_t)snprintf(ret + used, room - used, "%.*s ", (int)line.len - 16, line.data + 16);
        line = weir_span_split(rest, '\n', &rest);
        snprintf(number, sizeof(number), "\"sequence_number\":%u,", n);
        CHECK(memmem(line.data, line.len, number, strlen(number)) != NULL);
        line = weir_span_split(rest, '\n', &rest);
        CHECK_EQ_U64(line.len, 0);
    }
}

static void case_stream(void) {
    const struct weir_usage usage = {
        .prompt_tokens = 3, .completion_tokens = 4, .cached_tokens = -1, .reasoning_tokens = 2};
    const struct weir_responses_end end = {
        .finish_reason = "tool_calls", .usage = &usage, .now_s = 6};
    const struct weir_answer_call first = {.id = WEIR_SPAN_LIT("c1"), .name = WEIR_SPAN_LIT("f")},
                                  more = {.arguments = WEIR_SPAN_LIT("{\"a\":1}")},
                                  second = {.index = 1,
                                            .id = WEIR_SPAN_LIT("c2"),
                                            .name = WEIR_SPAN_LIT("g"),
                                            .arguments = WEIR_SPAN_LIT("{}")};
    const struct weir_answer_piece pieces[] = {
        {.reasoning = WEIR_SPAN_LIT("why")},
        {.has_text = true,
         .text = WEIR_SPAN_LIT("he"),
         .logprobs = WEIR_SPAN_LIT("{\"content\":[{\"token\":\"he\"}],\"refusal\":null}")},
        {.has_text = true,
         .text = WEIR_SPAN_LIT("y"),
         .logprobs = WEIR_SPAN_LIT("{\"content\":[{\"token\":\"y\"}]}")},
        {.call = &first},
        {.call = &more},
        {.call = &second},
        {.finish_reason = "tool_calls"}};
    struct weir_responses_head h = head();
    struct weir_responses_stream s;
    struct weir_buf out;
    char said[1024];
    weir_buf_init(&out, 1 << 20);
    weir_responses_stream_init(&s, &h, 1 << 20);
    ok(weir_responses_begin(&s, &out));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pieces); i++)
        ok(weir_responses_piece(&s, &pieces[i], &out));
    ok(weir_responses_finish(&s, &end, &out));
    names(&out, said, sizeof(said));
    says(weir_span_z(said),
         "created in_progress "
         "output_item.added content_part.added reasoning_text.delta reasoning_text.done "
         "content_part.done output_item.done "
         "output_item.added content_part.added output_text.delta output_text.delta "
         "output_text.done content_part.done output_item.done "
         "output_item.added function_call_arguments.delta function_call_arguments.done "
         "output_item.done "
         "output_item.added function_call_arguments.delta function_call_arguments.done "
         "output_item.done completed ");
    CHECK(has(&out, "\"output\":[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":"
                    "\"reasoning_text\",\"text\":\"why\"}],\"id\":"
                    "\"rs_0123456789abcdef0123456700000000\",\"status\":\"completed\"},"
                    "{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"annotations\":"
                    "[],\"logprobs\":[{\"token\":\"he\"},{\"token\":\"y\"}],\"text\":\"hey\"}],"
                    "\"id\":\"msg_0123456789abcdef0123456700000001\",\"role\":\"assistant\","
                    "\"status\":\"completed\"},"
                    "{\"type\":\"function_call\",\"arguments\":\"{\\\"a\\\":1}\",\"call_id\":"
                    "\"c1\",\"name\":\"f\",\"id\":\"fc_0123456789abcdef0123456700000002\","
                    "\"status\":\"completed\"},"));
    CHECK(has(&out, "\"usage\":{\"input_tokens\":3,\"input_tokens_details\":{\"cached_tokens\":0},"
                    "\"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":2},"
                    "\"total_tokens\":7}"));
    CHECK(has(&out, "\"temperature\":0.5,") && has(&out, "\"completed_at\":6,"));
    weir_responses_stream_fini(&s);
    weir_buf_fini(&out);
}

static void case_ends_early(void) {
    const struct weir_responses_end end = {.finish_reason = "length"};
    const struct weir_answer_piece text = {.has_text = true, .text = WEIR_SPAN_LIT("he")};
    const struct weir_answer_call stray = {.index = 1, .arguments = WEIR_SPAN_LIT("{")};
    const struct weir_answer_piece astray = {.call = &stray};
    const struct weir_answer_choice choice = {.text = WEIR_SPAN_LIT("he"),
                                              .finish_reason = "length"};
    struct weir_responses_head h = head();
    struct weir_responses_stream s;
    struct weir_buf out;
    char said[512];
    weir_buf_init(&out, 1 << 20);
    weir_responses_stream_init(&s, &h, 1 << 20);
    ok(weir_responses_piece(&s, &text, &out));
    CHECK(weir_responses_piece(&s, &astray, &out) == WEIR_PROTOCOL);
    ok(weir_responses_finish(&s, &end, &out));
    names(&out, said, sizeof(said));
    says(weir_span_z(said),
         "output_item.added content_part.added output_text.delta output_text.done "
         "content_part.done output_item.done incomplete ");
    CHECK(has(&out, "\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"status\":"
                    "\"incomplete\",\"output\":[{\"type\":\"message\""));
    CHECK(has(&out, "\"role\":\"assistant\",\"status\":\"incomplete\"}]"));
    weir_responses_stream_fini(&s);

    weir_buf_clear(&out);
    weir_responses_stream_init(&s, &h, 1 << 20);
    ok(weir_responses_piece(&s, &text, &out));
    ok(weir_responses_fail(&s, 503, WEIR_SPAN_LIT("gone"), &out));
    CHECK(has(&out, "event: response.failed\n"));
    CHECK(has(&out, "\"error\":{\"code\":\"server_error\",\"message\":\"gone\"},"
                    "\"incomplete_details\":null,\"status\":\"failed\""));
    CHECK(has(&out, "\"usage\":null"));
    weir_responses_stream_fini(&s);

    /* What is kept of a stream is bounded. */
    weir_responses_stream_init(&s, &h, 3);
    ok(weir_responses_piece(&s, &text, &out));
    CHECK(weir_responses_piece(&s, &text, &out) == WEIR_TOO_LARGE);
    weir_responses_stream_fini(&s);

    weir_buf_clear(&out);
    ok(weir_responses_unary(&h, &choice, &end, &out));
    CHECK(has(&out, "\"status\":\"incomplete\",\"output\":[{\"type\":\"message\",\"content\":[{"
                    "\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"he\"}],"
                    "\"id\":\"msg_0123456789abcdef0123456700000000\",\"role\":\"assistant\","
                    "\"status\":\"incomplete\"}]"));
    weir_buf_fini(&out);
}

int main(void) {
    CHECK_RUN(case_messages);
    CHECK_RUN(case_settings);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_stream);
    CHECK_RUN(case_ends_early);
    weir_arena_fini(&arena);
    return check_finish();
}
