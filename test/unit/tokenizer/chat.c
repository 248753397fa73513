#include "test/check.h"
#include "tokenizer/wtok.h"

static void render(const struct wtok_chat *chat, const char *want) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    struct weir_err err;
    CHECK(wtok_render_chat(tok, chat, &out, &err) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_fini(&out);
    wtok_destroy(tok);
}

static void case_messages(void) {
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT("[{\"role\":\"system\",\"content\":\"be \\\"kind\\\"\"},"
                                  "{\"content\":[{\"type\":\"text\",\"text\":\"h\\u00e9\"},"
                                  "{\"type\":\"text\",\"text\":\"!\"}],\"role\":\"user\"}]"),
        .add_generation_prompt = true};
    render(&chat, "<|system|>be \"kind\"<|end|>\n<|user|>h\xC3\xA9!<|end|>\n<|assistant|>");
}

static void case_continue_final_message(void) {
    struct wtok_chat chat = {.messages =
                                 WEIR_SPAN_LIT("[{\"role\":\"user\",\"content\":\"a\"},"
                                               "{\"role\":\"assistant\",\"content\":\"b\"}]"),
                             .continue_final_message = true};
    render(&chat, "<|user|>a<|end|>\n<|assistant|>b");
}

static void case_tools_and_null_content(void) {
    struct wtok_chat chat = {.messages = WEIR_SPAN_LIT("[{\"role\":\"assistant\",\"content\":null,"
                                                       "\"tool_calls\":[{\"id\":\"1\"}]}]"),
                             .tools = WEIR_SPAN_LIT("[{}]")};
    render(&chat, "<|tools|>[{}]<|end|>\n<|assistant|>[{\"id\":\"1\"}]<|end|>\n");
}

static void case_refuses_what_is_no_conversation(void) {
    struct wtok *tok = NULL;
    CHECK(wtok_create_bytes(&tok) == WEIR_OK);
    struct weir_buf out;
    weir_buf_init(&out, 4096);
    struct weir_err err = {0};
    struct wtok_chat chat = {.messages = WEIR_SPAN_LIT("{}")};
    CHECK(wtok_render_chat(tok, &chat, &out, &err) == WEIR_INVALID && err.text[0] != '\0');
    weir_buf_fini(&out);
    wtok_destroy(tok);
}

int main(void) {
    CHECK_RUN(case_messages);
    CHECK_RUN(case_continue_final_message);
    CHECK_RUN(case_tools_and_null_content);
    CHECK_RUN(case_refuses_what_is_no_conversation);
    return check_finish();
}
