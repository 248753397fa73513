/* Any chat request (messages, a line feed, tools, a line feed, template arguments; or a body)
 * through templates of different habits, for every engine. */
#include "base/utf8.h"
#include "tokenizer/chat.h"
#include "tokenizer/request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const templates[] = {
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.tool_calls|tojson if "
    "m.tool_calls }}{% endfor %}{{ tools|tojson }}{% if add_generation_prompt %}>{% endif %}",
    "{% for message in messages %}{% for c in message.content %}{{ c.type }}{{ c.text|trim }}{% "
    "endfor "
    "%}{% endfor %}{% for t in tools or [] %}{{ t.function.name|upper }}{{ t }}{% endfor %}",
    "{% for m in messages|selectattr('content') %}{{ loop.index }}{{ m.content|string|title }}{{ m "
    "}}{% "
    "endfor %}{{ enable_thinking }}{{ x|tojson(indent=2, sort_keys=true) }}",
    /* Turns that must take turns, which are put in order for Dynamo's workers. */
    "{% for m in messages %}{% if not loop.first and (m.role == 'system' or m.role == messages["
    "loop.index0 - 1].role) %}{{ raise_exception('no') }}{% endif %}{{ m.role }}: {{ m.content }}"
    "{% endfor %}",
    NULL, /* harmony */
    NULL, /* configs[0] */
    NULL, /* configs[1] */
};
static const char *const configs[] = {
    "{\"model_type\": \"deepseek_v32\", \"architectures\": [\"DeepseekV32ForCausalLM\"]}",
    "{\"model_type\": \"deepseek_v4\", \"architectures\": [\"DeepseekV4ForCausalLM\"]}"};
enum { FIRST_CODED = WEIR_ARRAY_LEN(templates) - WEIR_ARRAY_LEN(configs) };

/* The same bytes as the body of a request. */
static void as_body(const struct wtok_template *t, struct weir_span text) {
    for (unsigned n = 0; n < 3; n++) {
        struct weir_arena arena;
        struct weir_buf out;
        struct weir_err err = {.text = ""};
        struct wtok_chat chat;
        unsigned flags;
        weir_arena_init(&arena, 1 << 20);
        weir_buf_init(&out, 1 << 20);
        enum weir_status st =
            wtok_request_chat(text, (enum wtok_flavour)n, &arena, &chat, &flags, &err);
        if (st == WEIR_OK) {
            chat.text_only = true;
            chat.now_us = 1;
            st = wtok_template_render(t, &chat, &out, &err);
        }
        if (st != WEIR_OK && err.text[0] == '\0')
            abort();
        if (wtok_request_completion(text, (enum wtok_flavour)n, &flags, &err) == WEIR_OK &&
            (flags & WTOK_SPECIAL) == 0)
            abort();
        weir_buf_fini(&out);
        weir_arena_fini(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct wtok_template *t[WEIR_ARRAY_LEN(templates)];
    struct weir_span text = weir_span((const char *)data, size), rest;
    struct wtok_chat chat = {.messages = weir_span_split(text, '\n', &rest), .now_us = 1};
    if (rest.data != NULL)
        chat.tools = weir_span_split(rest, '\n', &rest);
    if (rest.data != NULL)
        chat.template_args = weir_span_split(rest, '\n', &rest);
    if (rest.data != NULL)
        chat.response_format = weir_span_split(rest, '\n', &rest);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(templates); i++) {
        struct wtok_template_sources s = {
            .chat_template_jinja = weir_span_z(templates[i]),
            .tokenizer_config = weir_span_z(
                templates[i] != NULL ? "{\"bos_token\": \"<s>\"}"
                : i < FIRST_CODED    ? "{\"x\": [\"<|constrain|>\", \"<|channel|>\", \"<|call|>\"]}"
                                     : "{}"),
            .config = i < FIRST_CODED ? weir_span(NULL, 0) : weir_span_z(configs[i - FIRST_CODED])};
        if (t[i] == NULL && wtok_template_create(&s, &t[i], NULL) != WEIR_OK)
            abort();
        for (unsigned n = 0; n < 18; n++) {
            struct weir_buf out;
            struct weir_err err = {.text = ""};
            chat.flavour = (enum wtok_flavour)(n % 3);
            chat.add_generation_prompt = n / 3 % 2 != 0;
            chat.continue_final_message = n / 6 == 1;
            chat.for_dynamo = n / 6 == 2;
            weir_buf_init(&out, 1 << 20);
            enum weir_status st = wtok_template_render(t[i], &chat, &out, &err);
            if (st != WEIR_OK ? err.text[0] == '\0' || out.len != 0
                              : !weir_utf8_valid(weir_buf_span(&out)))
                abort();
            weir_buf_fini(&out);
        }
        as_body(t[i], text);
    }
    return 0;
}
