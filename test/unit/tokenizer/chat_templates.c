/* Templates of a model: which one is taken, what refusals say, one example of each engine's habits.
 * The exhaustive comparison is test/jinja/flavours.py and harmony.py. */
#include "test/check.h"
#include "tokenizer/chat.h"
#include "tokenizer/request.h"

static struct wtok_template *create(const char *jinja, const char *config) {
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    struct wtok_template_sources s = {.chat_template_jinja = weir_span_z(jinja),
                                      .tokenizer_config = weir_span_z(config)};
    CHECK_MSG(wtok_template_create(&s, &t, &err) == WEIR_OK, "%s", err.text);
    return t;
}

static void expect(struct wtok_template *t, struct wtok_chat chat, const char *want) {
    struct weir_buf out;
    struct weir_err err = {.text = ""};
    weir_buf_init(&out, 1 << 20);
    chat.now_us = 1732633445000000;
    CHECK_MSG(wtok_template_render(t, &chat, &out, &err) == WEIR_OK, "%s", err.text);
    CHECK_EQ_STR(out.data, out.len, want);
    weir_buf_fini(&out);
}

static void expect_error(struct wtok_template *t, struct wtok_chat chat, const char *want) {
    struct weir_buf out;
    struct weir_err err = {.text = ""};
    weir_buf_init(&out, 1 << 20);
    CHECK(wtok_template_render(t, &chat, &out, &err) == WEIR_INVALID && out.len == 0);
    CHECK_EQ_STR(err.text, strlen(err.text), want);
    weir_buf_fini(&out);
}

static const char hello[] = "[{\"role\":\"user\",\"content\":\"hi\"}]";
static const char answered[] =
    "[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":"
    "\"well, \"}]";
static const char parts[] =
    "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
    "\"text\",\"text\":\"b\"}]}]";
static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";
static const char turns[] =
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor "
    "%}{% if add_generation_prompt %}<assistant>{% endif %}";

static void case_selection(void) {
    struct wtok_template *t = create(
        NULL,
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"}, {\"name\": "
        "\"tool_use\", \"template\": \"tools {{ tools|length }}{{ eos_token }}\"}], \"eos_token\": "
        "{\"content\": \"</s>\"}}");
    expect(t, (struct wtok_chat){.messages = weir_span_z(hello)}, "plain");
    expect(t, (struct wtok_chat){.messages = weir_span_z(hello), .tools = weir_span_z(tools)},
           "tools 1</s>");
    CHECK(weir_span_eqz(wtok_template_name(t, true), "tool_use"));
    wtok_template_destroy(t);
}

/* As transformers: any file takes the place of what tokenizer_config.json holds, one named
 * "default" that of chat_template.jinja, and names without a default serve requests with tools
 * only. */
static void case_files(void) {
    static const char config[] = "{\"chat_template\": \"config\"}";
    const struct wtok_template_file files[] = {
        {WEIR_SPAN_LIT("tool_use"), WEIR_SPAN_LIT("file tools")},
        {WEIR_SPAN_LIT("default"), WEIR_SPAN_LIT("file default")},
    };
    struct wtok_chat plain = {.messages = weir_span_z(hello)}, with_tools = plain;
    struct wtok_template_sources s = {
        .tokenizer_config = weir_span_z(config), .additional = files, .n_additional = 1};
    struct wtok_template *t = NULL;
    struct weir_err err;
    with_tools.tools = weir_span_z(tools);
    CHECK(wtok_template_create(&s, &t, &err) == WEIR_OK);
    expect_error(t, plain, "the model has named chat templates and none of them is \"default\"");
    expect(t, with_tools, "file tools");
    wtok_template_destroy(t);
    s.chat_template_jinja = WEIR_SPAN_LIT("jinja");
    CHECK(wtok_template_create(&s, &t, &err) == WEIR_OK);
    expect(t, plain, "jinja");
    expect(t, with_tools, "file tools");
    wtok_template_destroy(t);
    s.n_additional = 2;
    CHECK(wtok_template_create(&s, &t, &err) == WEIR_OK);
    expect(t, plain, "file default");
    wtok_template_destroy(t);
    t = create(NULL, "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"only\"}]}");
    expect_error(t, plain, "the model has named chat templates and none of them is \"default\"");
    wtok_template_destroy(t);
}

static void case_flavours(void) {
    struct wtok_template *t = create(turns, "{\"bos_token\": \"<s>\"}");
    struct wtok_chat chat = {.messages = weir_span_z(parts), .add_generation_prompt = true};
    expect(t, chat, "<s><user>a\nb</><assistant>");
    chat.flavour = WTOK_FLAVOUR_SGLANG;
    expect(t, chat, "<s><user>a b</><assistant>");
    chat.flavour = WTOK_FLAVOUR_PLAIN;
    expect(t, chat,
           "<s><user>[{'type': 'text', 'text': 'a'}, {'type': 'text', 'text': 'b'}]</><assistant>");
    wtok_template_destroy(t);
}

/* As SGLang 0.5.23 was seen to show them to a template. */
static void case_tools_of_sglang(void) {
    struct wtok_template *t = create("{{ tools|tojson }}", NULL);
    struct wtok_chat chat = {
        .messages = weir_span_z(hello),
        .tools = WEIR_SPAN_LIT(
            "[{\"type\":\"function\",\"function\":{\"parameters\":{\"b\":1,\"a\":2},\"strict\":"
            "true,"
            "\"name\":\"now\",\"extra\":1}},{\"function\":{\"name\":\"tide\",\"description\":\"d\","
            "\"strict\":null},\"z\":1,\"defer_loading\":true}]"),
        .flavour = WTOK_FLAVOUR_SGLANG};
    static const char tide[] =
        "{\"type\": \"function\", \"function\": {\"name\": \"tide\", \"description\": \"d\", "
        "\"parameters\": null, \"defer_loading\": true}, \"defer_loading\": true}]";
    char text[512];
    snprintf(
        text, sizeof(text),
        "[{\"type\": \"function\", \"function\": {\"parameters\": {\"b\": 1, \"a\": 2}, "
        "\"strict\": true, \"name\": \"now\", \"description\": null}, \"defer_loading\": null}, %s",
        tide);
    expect(t, chat, text);
    chat.tool_choice = WEIR_SPAN_LIT("\"required\"");
    expect(t, chat, text);
    chat.tool_choice = WEIR_SPAN_LIT("{\"type\":\"function\",\"function\":{\"name\":\"tide\"}}");
    snprintf(text, sizeof(text), "[%s", tide);
    expect(t, chat, text);
    chat.tool_choice = WEIR_SPAN_LIT("\"none\"");
    expect(t, chat, "null");
    wtok_template_destroy(t);
    /* What fails there is tried once more with bare tools; what fails only here is not. */
    chat.tool_choice = weir_span(NULL, 0);
    t = create("{% if tools[0].function %}{{ raise_exception('no') }}{% else %}bare{% endif %}",
               NULL);
    expect(t, chat, "bare");
    wtok_template_destroy(t);
    t = create("{% if tools[0].function %}{{ tools|pprint }}{% else %}bare{% endif %}", NULL);
    expect_error(t, chat,
                 "the filters random, pprint, urlize and wordwrap are not supported (line 1 of the "
                 "chat template)");
    wtok_template_destroy(t);
}

/* Names of types that SGLang 0.5.23 changes (function_call/utils.py): by the beginning, however
 * much follows; each of a list once, and only as many as may be compared with one another. */
static void case_types_of_sglang(void) {
    static const char *const rows[][2] = {
        {"\" VarChar (255)\"", "\"string\""},
        {"\"dict[str, list[dict[str, tuple[int, int, int, int, int, int, int, int]]]]\"",
         "\"object\""},
        {"\"internal\"", "\"internal\""},
        {"\"int\\u0000\"", "\"int\\u0000\""},
        {"[\"int\",\"long\",null,\"x\",null]", "[\"integer\", null, \"x\"]"},
    };
    struct wtok_template *t = create("{{ tools[0].function.parameters.type|tojson }}", NULL);
    struct wtok_chat chat = {.messages = weir_span_z(hello), .flavour = WTOK_FLAVOUR_SGLANG};
    struct weir_buf text;
    weir_buf_init(&text, 1 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_buf_clear(&text);
        CHECK(weir_buf_printf(&text,
                              "[{\"function\":{\"name\":\"f\",\"parameters\":{\"type\":%s}}}]",
                              rows[i][0]) == WEIR_OK);
        chat.tools = weir_buf_span(&text);
        expect(t, chat, rows[i][1]);
    }
    weir_buf_clear(&text);
    CHECK(weir_buf_append_z(
              &text, "[{\"function\":{\"name\":\"f\",\"parameters\":{\"type\":[\"x\"") == WEIR_OK);
    for (int i = 10000; i < 20000; i++)
        CHECK(weir_buf_printf(&text, ",\"%d\"", i) == WEIR_OK);
    CHECK(weir_buf_append_z(&text, "]}}}]") == WEIR_OK);
    chat.tools = weir_buf_span(&text);
    expect_error(t, chat, "the template takes too many steps");
    weir_buf_fini(&text);
    wtok_template_destroy(t);
}

/* Where the effort comes from, and what it says of thinking (protocol.py, serving_chat.py): of
 * members of one name the last counts, as in Python. */
static void case_efforts_of_sglang(void) {
    static const char *const rows[][2] = {
        {"\"reasoning_effort\":\"low\",\"chat_template_kwargs\":{\"reasoning_effort\":null}",
         "{\"enable_thinking\":true,\"thinking\":true,\"reasoning_effort\":\"low\"}"},
        {"\"reasoning_effort\":\"none\",\"chat_template_kwargs\":{\"thinking\":1,"
         "\"reasoning_effort\":\"low\",\"reasoning_effort\":\"high\"}",
         "{\"enable_thinking\":false,\"reasoning_effort\":\"high\",\"thinking\":1}"},
        {"\"reasoning\":{\"effort\":\"none\",\"effort\":\"max\",\"enabled\":true,\"enabled\":"
         "false}",
         "{\"enable_thinking\":true,\"thinking\":true,\"reasoning_effort\":\"max\"}"},
        {"\"reasoning\":{\"enabled\":null,\"enable\":\"yes\"}",
         "{\"enable_thinking\":true,\"thinking\":true}"},
    };
    struct weir_arena arena;
    weir_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char body[256];
        struct wtok_chat chat;
        struct weir_err err = {.text = ""};
        unsigned flags;
        int n = snprintf(body, sizeof(body), "{\"messages\":[],%s}", rows[i][0]);
        CHECK_MSG(wtok_request_chat(weir_span(body, (size_t)n), WTOK_FLAVOUR_SGLANG, &arena, &chat,
                                    &flags, &err) == WEIR_OK,
                  "%s", err.text);
        CHECK_EQ_STR(chat.template_args.data, chat.template_args.len, rows[i][1]);
    }
    weir_arena_fini(&arena);
}

/* SGLang 0.5.23 serves every conversation with the first template that transformers names (seen).
 */
static void case_named_templates_of_sglang(void) {
    static const char config[] =
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"first\"}, {\"name\": "
        "\"default\", \"template\": \"second\"}]}";
    struct wtok_chat plain = {.messages = weir_span_z(hello), .flavour = WTOK_FLAVOUR_SGLANG},
                     with_tools = plain;
    with_tools.tools = weir_span_z(tools);
    struct wtok_template *t = create(NULL, config);
    expect(t, plain, "first");
    expect(t, with_tools, "first");
    wtok_template_destroy(t);
    const struct wtok_template_file files[] = {
        {WEIR_SPAN_LIT("tool_use"), WEIR_SPAN_LIT("file tools")},
        {WEIR_SPAN_LIT("rag"), WEIR_SPAN_LIT("file rag")},
    };
    struct wtok_template_sources s = {.tokenizer_config = weir_span_z(config),
                                      .chat_template_jinja = WEIR_SPAN_LIT("jinja"),
                                      .additional = files,
                                      .n_additional = 2};
    struct weir_err err;
    CHECK(wtok_template_create(&s, &t, &err) == WEIR_OK);
    expect(t, with_tools, "jinja");
    wtok_template_destroy(t);
    s.chat_template_jinja = weir_span(NULL, 0);
    CHECK(wtok_template_create(&s, &t, &err) == WEIR_OK);
    expect_error(t, plain,
                 "the model has several chat templates in files and none in chat_template.jinja: "
                 "which of them SGLang takes is not known");
    wtok_template_destroy(t);
}

static void case_continue(void) {
    struct wtok_template *t = create(turns, "{\"bos_token\": \"<s>\"}");
    struct wtok_chat chat = {.messages = weir_span_z(answered), .continue_final_message = true};
    expect(t, chat, "<s><user>hi</><assistant>well, ");
    chat.flavour = WTOK_FLAVOUR_SGLANG;
    expect(t, chat, "<s><user>hi</><assistant>well, ");
    chat.flavour = WTOK_FLAVOUR_VLLM;
    chat.add_generation_prompt = true;
    expect_error(t, chat,
                 "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
    wtok_template_destroy(t);
}

/* A live Dynamo 1.6.1 cuts there, and refuses that. */
static void case_continue_for_dynamo(void) {
    struct wtok_template *t = create("{% for m in messages %}<{% for c in m.content %}{{ c.text if "
                                     "c.type == 'text' else '?' }}{% endfor %}>{% endfor %}",
                                     NULL);
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT(
            "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
            "\"image_url\"},{\"type\":\"text\",\"text\":\"\"},{\"type\":\"image_url\"}]}]"),
        .continue_final_message = true,
        .for_dynamo = true,
        .flavour = WTOK_FLAVOUR_VLLM};
    expect(t, chat, "<a");
    chat.messages =
        WEIR_SPAN_LIT("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]");
    expect_error(t, chat,
                 "continue_final_message is set but the final message has no text to continue");
    wtok_template_destroy(t);
}

static void case_refusals(void) {
    struct wtok_template *t = create("{{ raise_exception('no ' ~ messages[0].role) }}", NULL);
    struct wtok_chat chat = {.messages = weir_span_z(hello)};
    expect_error(t, chat, "no user");
    wtok_template_destroy(t);
    t = create("\n{{ messages[0].x.y }}", NULL);
    expect_error(t, chat, "'dict object' has no attribute 'x' (line 2 of the chat template)");
    chat.template_args = WEIR_SPAN_LIT("{\"tools\": []}");
    expect_error(t, chat,
                 "chat_template_kwargs may not hold \"tools\": it is a member of the request");
    wtok_template_destroy(t);
    t = create("{{ tools }} {{ add_generation_prompt }} {{ x }}", NULL);
    chat.template_args =
        WEIR_SPAN_LIT("{\"tools\": [], \"add_generation_prompt\": true, \"x\": 1}");
    chat.members_first = true;
    expect(t, chat, "None False 1");
    wtok_template_destroy(t);
    struct wtok_template_sources none = {.tokenizer_config = WEIR_SPAN_LIT("{}")};
    struct wtok_template_sources bad = {.chat_template_jinja = WEIR_SPAN_LIT("a\n{% if %}")};
    struct weir_err err;
    CHECK(wtok_template_create(&none, &t, &err) == WEIR_NOT_FOUND);
    CHECK(wtok_template_create(&bad, &t, &err) == WEIR_INVALID);
    CHECK(strstr(err.text, "chat template default, line 2: ") == err.text);
}

/* A live Dynamo 1.6.1 gave this prompt; test/data/deepseek-prompts.jsonl has more. */
static void case_deepseek(void) {
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    struct wtok_template_sources s = {.config = WEIR_SPAN_LIT("{\"model_type\":\"deepseek_v32\"}")};
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT(
            "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\","
            "\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": [0.9551798995911663, "
            "-0]}\"}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"R\"}]"),
        .response_format = WEIR_SPAN_LIT("{\"type\":\"json_object\"}"),
        .for_dynamo = true};
    CHECK_MSG(wtok_template_create(&s, &t, &err) == WEIR_OK, "%s", err.text);
    expect(
        t, chat,
        "<｜begin▁of▁sentence｜>\n\n## Response Format:\n\nYou MUST strictly adhere to the "
        "following schema to reply:\n{\"type\": \"json_object\"}<｜User｜>a<｜Assistant｜><think>"
        "r</think>b\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter "
        "name=\"x\" string=\"false\">[0.9551798995911664, -0.0]</｜DSML｜parameter>\n"
        "</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>\n\n<function_results>\n"
        "<result>R</result>\n</function_results>\n\n<think>");
    chat.flavour = WTOK_FLAVOUR_PLAIN;
    chat.for_dynamo = false;
    expect_error(t, chat, "the model has no chat template");
    wtok_template_destroy(t);
}

/* Results in a row are looked at once each. (Before, this took minutes.) */
static void case_deepseek_many_results(void) {
    enum { MANY = 300000 };
    static const char row[] = ",{\"role\":\"tool\",\"content\":\"\"}",
                      shown[] = "\n<result></result>";
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    struct weir_buf messages, out;
    struct wtok_template_sources s = {.config = WEIR_SPAN_LIT("{\"model_type\":\"deepseek_v32\"}")};
    weir_buf_init(&messages, (size_t)64 << 20);
    weir_buf_init(&out, (size_t)64 << 20);
    CHECK(weir_buf_append(&messages, "[{\"role\":\"user\"}", 16) == WEIR_OK);
    for (unsigned i = 0; i < MANY; i++)
        CHECK(weir_buf_append(&messages, row, sizeof(row) - 1) == WEIR_OK);
    CHECK(weir_buf_append_c(&messages, ']') == WEIR_OK);
    struct wtok_chat chat = {.messages = weir_buf_span(&messages), .for_dynamo = true};
    CHECK_MSG(wtok_template_create(&s, &t, &err) == WEIR_OK, "%s", err.text);
    CHECK_MSG(wtok_template_render(t, &chat, &out, &err) == WEIR_OK, "%s", err.text);
    CHECK(out.len == strlen("<｜begin▁of▁sentence｜><｜User｜><｜Assistant｜><think>\n\n"
                            "<function_results>") +
                         MANY * (sizeof(shown) - 1));
    weir_buf_fini(&messages);
    weir_buf_fini(&out);
    wtok_template_destroy(t);
}

/* V4, as a live Dynamo 1.6.1: results in the order of their calls, one message with the next text.
 */
static void case_deepseek_v4(void) {
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    struct wtok_template_sources s = {.config = WEIR_SPAN_LIT("{\"model_type\":\"deepseek_v4\"}")};
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT(
            "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,"
            "\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"type\":"
            "\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"rb\"},"
            "{\"role\":\"user\",\"content\":\"mid\"},"
            "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"ra\"}]"),
        .template_args = WEIR_SPAN_LIT("{\"reasoning_effort\":\"low\"}"),
        .for_dynamo = true};
    CHECK_MSG(wtok_template_create(&s, &t, &err) == WEIR_OK, "%s", err.text);
    expect(t, chat,
           "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n"
           "<｜DSML｜invoke name=\"f\">\n\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n\n"
           "</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜>"
           "<tool_result>ra</tool_result>\n\nmid\n\n<tool_result>rb</tool_result>"
           "<｜Assistant｜><think>");
    wtok_template_destroy(t);
}

/* A system message in the middle, and the user twice: a live Dynamo 1.6.1 gave these prompts
 * (test/data/differential-1.6.1.jsonl has more). */
static void case_turns(void) {
    static const char both[] =
        "{% for m in messages %}{% if not loop.first and (m.role == 'system' or (m.role == 'user' "
        "and messages[loop.index0 - 1].role == 'user')) %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }} {{ m.name }}>{{ m.content }}{% endfor %}";
    static const char system_first[] =
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
        "{{ raise_exception('no') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    static const char no_system[] =
        "{% for m in messages %}{% if m.role == 'system' or (not loop.first and messages["
        "loop.index0 - 1].role == m.role) %}{{ raise_exception('no') }}{% endif %}{% endfor %}";
#define S(text) "{\"role\":\"system\",\"content\":" text "}"
#define U(text) "{\"role\":\"user\",\"content\":" text "}"
#define A(text) "{\"role\":\"assistant\",\"content\":" text "}"
#define PART(text) "{\"type\":\"text\",\"text\":" text "}"
    static const struct {
        const char *tpl, *messages, *want;
    } rows[] = {
        {both, "[" U("\"A\"") "," U("\"B\"") "]", "<user >A\n\nB"},
        {both, "[" U("\"A\"") "," U("\"\"") "," U("\"B\"") "]", "<user >A\n\nB"},
        {both, "[" U("\"\"") "," U("\"\"") "]", "<user >"},
        {both, "[" U("\"A\"") "," U("[" PART("\"B\"") "]") "]", "<user >A\nB"},
        {both, "[" S("\"S\"") "," S("\"T\"") "," U("\"A\"") "]", "<system >S\n\nT<user >A"},
        {both, "[" S("[" PART("\"S\"") "]") "," S("\"T\"") "]", "<system >S\nT"},
        {both, "[" S("\"S\"") "," U("\"A\"") "," A("\"B\"") "," S("\"T\"") "," U("\"C\"") "]",
         "<system >S<user >A<assistant >B<user >T\n\nC"},
        {both, "[" A("\"B\"") "," S("\"C\"") "," S("\"D\"") "," U("\"E\"") "]",
         "<assistant >B<user >C\n\nD\n\nE"},
        {both, "[" U("\"A\"") "," A("\"B\"") "," A("\"C\"") "]",
         "<user >A<assistant >B<assistant >C"},
        {both, "[{\"role\":\"user\",\"name\":\"n\",\"content\":\"A\"}," U("\"B\"") "]",
         "<user n>A\n\nB"},
        {both, "[{\"role\":\"developer\",\"content\":\"S\"}," S("\"T\"") "," U("\"A\"") "]",
         "<developer >S<user >T\n\nA"},
        {system_first, "[" U("\"A\"") "," U("\"B\"") "]", "<user>A<user>B"},
        {system_first, "[" U("\"A\"") "," S("\"S\"") "]", "<user>A<user>S"},
        {system_first, "[" S("\"S\"") "," S("\"T\"") "," U("\"A\"") "]", "<system>S\n\nT<user>A"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct wtok_template *t = create(rows[i].tpl, NULL);
        struct wtok_chat chat = {.messages = weir_span_z(rows[i].messages), .for_dynamo = true};
        expect(t, chat, rows[i].want);
        wtok_template_destroy(t);
    }
    /* As they come for an engine, and for a template that has no place for "system" at all. */
    struct wtok_chat chat = {.messages = weir_span_z(rows[0].messages)};
    struct wtok_template *t = create(both, NULL);
    expect_error(t, chat, "no");
    wtok_template_destroy(t);
    chat.for_dynamo = true;
    t = create(no_system, NULL);
    expect_error(t, chat, "no");
    wtok_template_destroy(t);
#undef S
#undef U
#undef A
#undef PART
}

/* Thoughts as a list, and a continued text that the template rewrites: as Dynamo 1.6.1. */
static void case_dynamos_members(void) {
    struct wtok_chat chat = {
        .messages = WEIR_SPAN_LIT("[{\"role\":\"assistant\",\"content\":\"<think>a</think>b \","
                                  "\"reasoning_content\":[\"x\",\"\",\"y\"]}]")};
    struct wtok_template *t =
        create("{{ messages[0].reasoning_content }}|{{ messages[0].content.split('</think>')[-1] }}"
               ".",
               NULL);
    expect(t, chat, "x\ny|b .");
    chat.continue_final_message = true;
    expect_error(t, chat,
                 "continue_final_message is set but the final message does not appear in the chat "
                 "after applying the chat template (line 1 of the chat template)");
    chat.for_dynamo = true;
    expect(t, chat, "x\ny|b ");
    wtok_template_destroy(t);
}

/* Tools as a live Dynamo 1.6.1 writes them, and as vLLM's own server does. */
static void case_dynamos_tools(void) {
    static const struct {
        const char *function, *dynamo, *vllm; /* the members behind the name */
    } rows[] = {
        {"", ", \"description\": \"\"", ", \"description\": null, \"parameters\": null"},
        {",\"description\":\"d\",\"parameters\":null", ", \"description\": \"d\"",
         ", \"description\": \"d\", \"parameters\": null"},
        {",\"strict\":true,\"x\":1,\"parameters\":{\"a\":{\"q\":null}}",
         ", \"parameters\": {\"a\": {\"q\": null}, \"type\": \"object\", \"properties\": {}}, "
         "\"strict\": true, \"description\": \"\"",
         ", \"description\": null, \"parameters\": {\"a\": {\"q\": null}}, \"strict\": true"},
        {",\"description\":\"d\",\"parameters\":{\"properties\":null}",
         ", \"description\": \"d\", \"parameters\": {\"properties\": null, \"type\": \"object\"}",
         ", \"description\": \"d\", \"parameters\": {\"properties\": null}"},
        {",\"parameters\":{\"type\":\"object\",\"properties\":{}},\"description\":\"d\"",
         ", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {}}",
         ", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {}}"},
        {",\"defer_loading\":true", ", \"description\": \"\"",
         ", \"description\": null, \"parameters\": null, \"defer_loading\": true"},
    };
    struct wtok_template *t = create("{{ tools | tojson }}", NULL);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char text[256], want[256];
        struct wtok_chat chat = {.messages = WEIR_SPAN_LIT("[]"), .tools = {text, 0}};
        chat.tools.len = (size_t)snprintf(
            text, sizeof(text), "[{\"type\":\"function\",\"function\":{\"name\":\"f\"%s}}]",
            rows[i].function);
        for (int dynamo = 0; dynamo < 2; dynamo++) {
            chat.for_dynamo = dynamo != 0;
            snprintf(want, sizeof(want),
                     "[{\"type\": \"function\", \"function\": {\"name\": \"f\"%s}}]",
                     dynamo != 0 ? rows[i].dynamo : rows[i].vllm);
            expect(t, chat, want);
        }
    }
    wtok_template_destroy(t);
}

/* The line of one client's bill goes on the way to vLLM; a live Dynamo 1.6.1 leaves it where it
 * stands (its Messages API has an option of its own for that). */
static void case_bill(void) {
    static const char bill[] = "x-anthropic-billing-header: a;\\nBe brief.";
    char text[256], parts_of[256];
    struct wtok_template *t = create("{% for m in messages %}{{ m.content }}|{% endfor %}", NULL);
    snprintf(text, sizeof(text),
             "[{\"role\":\"system\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":\"%s\"}]",
             bill, bill);
    snprintf(parts_of, sizeof(parts_of),
             "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}]", bill);
    struct wtok_chat chat = {.messages = weir_span_z(text)};
    expect(t, chat, "Be brief.|x-anthropic-billing-header: a;\nBe brief.|");
    chat.messages = weir_span_z(parts_of);
    expect(t, chat, "Be brief.|");
    chat.for_dynamo = true;
    expect(t, chat, "x-anthropic-billing-header: a;\nBe brief.|");
    chat.messages = weir_span_z(text);
    expect(t, chat,
           "x-anthropic-billing-header: a;\nBe brief.|x-anthropic-billing-header: a;\nBe brief.|");
    wtok_template_destroy(t);
}

static void case_harmony(void) {
    struct wtok_template *t =
        create(NULL, "{\"a\": [\"<|constrain|>\", \"<|channel|>\", \"<|call|>\"]}");
    struct wtok_chat chat = {.messages = weir_span_z(hello),
                             .tools = weir_span_z(tools),
                             .template_args = WEIR_SPAN_LIT("{\"reasoning_effort\": \"low\"}")};
    setenv("TZ", "UTC", 1);
    tzset();
    expect(t, chat,
           "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
           "Knowledge cutoff: 2024-06\nCurrent date: 2024-11-26\n\nReasoning: low\n\n"
           "# Valid channels: analysis, commentary, final. Channel must be included for every "
           "message.\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>"
           "<|start|>developer<|message|># Tools\n\n## functions\n\nnamespace functions {\n\n"
           "type f = () => any;\n\n} // namespace functions<|end|>"
           "<|start|>user<|message|>hi<|end|><|start|>assistant");
    wtok_template_destroy(t);
}

int main(void) {
    CHECK_RUN(case_selection);
    CHECK_RUN(case_files);
    CHECK_RUN(case_flavours);
    CHECK_RUN(case_tools_of_sglang);
    CHECK_RUN(case_types_of_sglang);
    CHECK_RUN(case_efforts_of_sglang);
    CHECK_RUN(case_named_templates_of_sglang);
    CHECK_RUN(case_continue);
    CHECK_RUN(case_continue_for_dynamo);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_deepseek);
    CHECK_RUN(case_deepseek_many_results);
    CHECK_RUN(case_deepseek_v4);
    CHECK_RUN(case_turns);
    CHECK_RUN(case_dynamos_members);
    CHECK_RUN(case_dynamos_tools);
    CHECK_RUN(case_bill);
    CHECK_RUN(case_harmony);
    return check_finish();
}
