/* Chat answers of engines, in the forms that vLLM 0.32.0 and SGLang 0.5.23 give them. */
#include "base/json.h"
#include "test/check.h"
#include "wire/openai_chat_read.h"

static struct weir_arena arena;

static enum weir_status read(const char *json, struct weir_chat_read *a) {
    weir_arena_fini(&arena);
    weir_arena_init(&arena, 1 << 20);
    return weir_chat_read(weir_span_z(json), &arena, a);
}

static void says(struct weir_span text, const char *wanted) {
    CHECK((text.data == NULL) == (wanted == NULL));
    if (wanted != NULL)
        CHECK_EQ_STR(text.data, text.len, wanted);
}

static void case_whole_of_vllm(void) {
    struct weir_chat_read a;
    CHECK(
        read(
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
            "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
            "\"h\\u00e9\","
            "\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,"
            "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{\\\"a\\\": 1}\"}},{\"id\":\"c2\",\"type\":\"function\",\"function\":{"
            "\"name\":\"g\",\"arguments\":\"\"}}],\"reasoning\":\"so\"},\"logprobs\":null,"
            "\"finish_reason\":\"tool_calls\",\"stop_reason\":null,\"token_ids\":null}],"
            "\"service_tier\":null,\"usage\":{\"prompt_tokens\":21,\"total_tokens\":24,"
            "\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":16},"
            "\"completion_tokens_details\":{\"reasoning_tokens\":2}},"
            "\"kv_transfer_params\":null}",
            &a) == WEIR_OK);
    says(a.text, "h\xC3\xA9");
    says(a.reasoning, "so");
    says(a.finish_reason, "tool_calls");
    says(a.stop_reason, NULL);
    says(a.logprobs, NULL);
    says(a.completion_details, "{\"reasoning_tokens\":2}");
    CHECK(!a.is_error && !a.has_reasoning_tokens && a.n_calls == 2);
    says(a.calls[0].id, "c1");
    says(a.calls[0].name, "f");
    says(a.calls[0].arguments, "{\"a\": 1}");
    says(a.calls[1].arguments, "");
    CHECK_EQ_U64(a.calls[1].index, 1);
}

static void case_whole_of_sglang(void) {
    struct weir_chat_read a;
    CHECK(
        read("{\"id\":\"0\",\"object\":\"chat.completion\",\"choices\":[{\"index\":1,\"message\":{"
             "\"content\":\"other\"},\"finish_reason\":\"length\"},{\"index\":0,\"message\":{"
             "\"role\":"
             "\"assistant\",\"content\":\"x\",\"reasoning_content\":\"so\",\"tool_calls\":null},"
             "\"logprobs\":{\"content\":[ {\"token\":\"x\"} ]},\"finish_reason\":\"stop\","
             "\"matched_stop\":\"END\"}],\"usage\":{\"prompt_tokens\":21,\"reasoning_tokens\":4,"
             "\"completion_tokens_details\":null},\"metadata\":{\"weight_version\":\"default\"}}",
             &a) == WEIR_OK);
    says(a.text, "x");
    says(a.reasoning, "so");
    says(a.finish_reason, "stop");
    says(a.stop_reason, "\"END\"");
    says(a.logprobs, "{\"token\":\"x\"}");
    says(a.completion_details, NULL);
    CHECK(a.n_calls == 0 && a.has_reasoning_tokens && a.reasoning_tokens == 4);
}

static void case_chunks(void) {
    struct weir_chat_read a;
    /* Both names of the reasoning: once. */
    CHECK(read("{\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"h\",\"reasoning_content\":"
               "\"h\"},"
               "\"finish_reason\":null}]}",
               &a) == WEIR_OK);
    says(a.reasoning, "h");
    says(a.text, NULL);
    says(a.finish_reason, NULL);
    /* Parts of a call, of which only the first has names. */
    CHECK(
        read("{\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"tool_calls\":[{\"index\":3,"
             "\"id\":null,\"type\":\"function\",\"function\":{\"name\":null,\"arguments\":\"{\"}}]}"
             "}]}",
             &a) == WEIR_OK);
    CHECK(a.n_calls == 1 && a.calls[0].index == 3 && a.calls[0].id.data == NULL &&
          a.calls[0].name.data == NULL);
    says(a.calls[0].arguments, "{");
    /* The last: no choice. */
    CHECK(read("{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", &a) == WEIR_OK);
    CHECK(a.text.data == NULL && a.finish_reason.data == NULL && a.n_calls == 0);
    CHECK(read("{\"error\":{\"message\":\"x\"}}", &a) == WEIR_OK && a.is_error);
    CHECK(read("{\"error\":null,\"choices\":null,\"usage\":null}", &a) == WEIR_OK && !a.is_error);
    CHECK(read("{\"choices\":[{\"delta\":null,\"logprobs\":null}]}", &a) == WEIR_OK);
    CHECK(read("{\"choices\":[{\"delta\":{},\"logprobs\":{\"content\":null}}]}", &a) == WEIR_OK);
    CHECK(read("{\"choices\":[{\"delta\":{},\"logprobs\":{\"content\":[ ]}}]}", &a) == WEIR_OK);
    says(a.logprobs, NULL);
}

static void case_what_is_none(void) {
    static const char *const rows[] = {
        "",
        "[]",
        "{",
        "{} x",
        "{\"choices\":{}}",
        "{\"choices\":[1]}",
        "{\"choices\":[{\"index\":-1}]}",
        "{\"choices\":[{\"message\":[]}]}",
        "{\"choices\":[{\"message\":{\"content\":[]}}]}",
        "{\"choices\":[{\"message\":{\"content\":\"\\ud800\"}}]}",
        "{\"choices\":[{\"message\":{\"reasoning_content\":1}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":{}}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":[null]}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":[{\"index\":\"0\"}]}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":[{\"index\":4294967295}]}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{}}}]}}]}",
        "{\"choices\":[{\"finish_reason\":1}]}",
        "{\"usage\":3}",
        "{\"usage\":{\"reasoning_tokens\":-1}}",
    };
    struct weir_chat_read a;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        CHECK_MSG(read(rows[i], &a) == WEIR_PROTOCOL, "%s", rows[i]);
}

static void case_many_calls(void) {
    struct weir_chat_read a;
    struct weir_buf json;
    for (unsigned n = WEIR_CHAT_READ_CALLS; n <= WEIR_CHAT_READ_CALLS + 1; n++) {
        weir_buf_init(&json, 1 << 20);
        CHECK(weir_buf_append_z(&json, "{\"choices\":[{\"delta\":{\"tool_calls\":[{}") == WEIR_OK);
        for (unsigned i = 1; i < n; i++)
            CHECK(weir_buf_append_z(&json, ",{}") == WEIR_OK);
        CHECK(weir_buf_append(&json, "]}}]}", 6) == WEIR_OK);
        CHECK((read(json.data, &a) == WEIR_OK) == (n == WEIR_CHAT_READ_CALLS));
        CHECK(n > WEIR_CHAT_READ_CALLS || a.n_calls == n);
        weir_buf_fini(&json);
    }
}

static void case_errors(void) {
    static const struct {
        const char *body, *text;
        int status;
    } rows[] = {
        {"{\"error\":{\"message\":\"too "
         "long\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}",
         "too long", 400},
        {"{\"object\":\"error\",\"message\":\"a\\\"b\",\"type\":\"BadRequestError\",\"code\":422}",
         "a\"b", 422},
        {"{\"detail\":\"Not Found\"}", "Not Found", 7},
        {"{\"detail\":[{\"msg\":\"m\"}]}", "[{\"msg\":\"m\"}]", 7},
        {"{\"error\":\"Unauthorized\"}", "Unauthorized", 7},
        {"{\"error\":{\"message\":null,\"code\":\"x\"}}", NULL, 7},
        {"{\"error\":{\"message\":\"m\",\"code\":200}}", "m", 7},
        {" \"just text\" ", "just text", 7},
        {"{\"error\":null,\"message\":\"m\"}", "m", 7},
        {"slow down", NULL, 7},
        {"", NULL, 7},
        {"{", NULL, 7},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        int status = 7;
        weir_arena_fini(&arena);
        weir_arena_init(&arena, 1 << 20);
        says(weir_chat_read_error(weir_span_z(rows[i].body), &arena, &status), rows[i].text);
        CHECK_MSG(status == rows[i].status, "%s: %d", rows[i].body, status);
    }
}

static void case_no_memory(void) {
    struct weir_chat_read a;
    weir_arena_fini(&arena);
    weir_arena_init(&arena, 0);
    CHECK(weir_chat_read(WEIR_SPAN_LIT("{\"choices\":[{\"delta\":{\"content\":\"\\n\"}}]}"), &arena,
                         &a) == WEIR_NOMEM);
    CHECK(weir_chat_read(WEIR_SPAN_LIT("{\"choices\":[{\"delta\":{\"tool_calls\":[]}}]}"), &arena,
                         &a) == WEIR_NOMEM);
}

int main(void) {
    CHECK_RUN(case_whole_of_vllm);
    CHECK_RUN(case_whole_of_sglang);
    CHECK_RUN(case_chunks);
    CHECK_RUN(case_what_is_none);
    CHECK_RUN(case_many_calls);
    CHECK_RUN(case_errors);
    CHECK_RUN(case_no_memory);
    weir_arena_fini(&arena);
    return check_finish();
}
