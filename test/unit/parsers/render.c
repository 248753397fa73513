#include "test/unit/parsers/render.h"

#include "base/json.h"
#include "test/check.h"

static void put(struct weir_buf *out, const char *z) {
    if (weir_buf_append_z(out, z) != WEIR_OK)
        abort();
}

static void put_quoted(const char *text, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_string_z(&w, text);
}

/* How one notation writes strings, keys, words. */
struct notation {
    void (*string)(const char *text, struct weir_buf *out);
    void (*key)(const char *text, struct weir_buf *out);
    const char *colon, *comma;
    const char *words[3]; /* true false null */
};

static void put_value(const struct notation *f, const struct value *v, struct weir_buf *out) {
    static const char *const words[] = {"true", "false", "null"};
    if (v->kind == VALUE_STRING) {
        f->string(v->text, out);
    } else if (v->kind == VALUE_NUMBER) {
        put(out, v->text);
    } else if (v->kind == VALUE_WORD) {
        for (int i = 0; i < 3; i++)
            if (strcmp(v->text, words[i]) == 0)
                put(out, f->words[i]);
    } else {
        put(out, v->kind == VALUE_OBJECT ? "{" : "[");
        for (unsigned i = 0; i < v->n; i++) {
            put(out, i > 0 ? f->comma : "");
            if (v->kind == VALUE_OBJECT) {
                f->key(v->keys[i], out);
                put(out, f->colon);
            }
            put_value(f, v->members[i], out);
        }
        put(out, v->kind == VALUE_OBJECT ? "}" : "]");
    }
}

static const struct notation json = {put_quoted, put_quoted, ": ", ", ", {"true", "false", "null"}};

void put_json(const struct value *v, struct weir_buf *out) {
    put_value(&json, v, out);
}

static void put_plain(const char *text, struct weir_buf *out) {
    put(out, text);
}
static void put_gemma_string(const char *text, struct weir_buf *out) {
    put(out, "<|\"|>");
    put(out, text);
    put(out, "<|\"|>");
}
static void put_python_string(const char *text, struct weir_buf *out) {
    put(out, "'");
    for (; *text != '\0'; text++) {
        char one[2] = {*text, '\0'};
        put(out, *text == '\'' ? "\\'" : *text == '\\' ? "\\\\" : *text == '\n' ? "\\n" : one);
    }
    put(out, "'");
}
static const struct notation python = {
    put_python_string, put_python_string, ": ", ", ", {"True", "False", "None"}};
static const struct notation gemma = {
    put_gemma_string, put_plain, ":", ",", {"true", "false", "null"}};

/* A value as the text between tags. */
static void put_raw(const struct value *v, struct weir_buf *out) {
    if (v->kind == VALUE_STRING)
        put(out, v->text);
    else
        put_json(v, out);
}

/* ---- around the calls ----------------------------------------------------------------------- */

static void think(const struct turn *t, const char *start, const char *end, struct weir_buf *out) {
    if (t->reasoning[0] == '\0')
        return;
    put(out, start);
    put(out, t->reasoning);
    put(out, end);
}

/* Calls that follow one another share a block. */
typedef void (*call_fn)(const struct part *p, unsigned index, struct weir_buf *out);
static void blocks(const struct turn *t, const char *open, const char *between, const char *close,
                   call_fn call, struct weir_buf *out) {
    for (unsigned i = 0; i < t->n; i++) {
        if (t->parts[i].kind == PART_TEXT) {
            put(out, t->parts[i].text);
            continue;
        }
        put(out, open);
        for (unsigned first = i; i < t->n && t->parts[i].kind == PART_CALL; i++) {
            put(out, i > first ? between : "");
            call(&t->parts[i], i - first, out);
        }
        i--;
        put(out, close);
    }
}

static void object_call(const struct part *p, const char *key, struct weir_buf *out) {
    put(out, "{\"name\": \"");
    put(out, p->text);
    put(out, "\", \"");
    put(out, key);
    put(out, "\": ");
    put_json(p->args, out);
    put(out, "}");
}
static void arguments_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    object_call(p, "arguments", out);
}
static void parameters_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    object_call(p, "parameters", out);
}

static void hermes(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", arguments_call,
           out);
}
static void llama(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<|python_tag|>", "; ", "", parameters_call, out);
}
static void llama_bare(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "", "; ", "", parameters_call, out);
}
static void mistral(const struct turn *t, struct weir_buf *out) {
    blocks(t, "[TOOL_CALLS][", ", ", "]", arguments_call, out);
}
static void args_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, p->text);
    put(out, "[ARGS]");
    put_json(p->args, out);
}
static void mistral11(const struct turn *t, struct weir_buf *out) {
    blocks(t, "[TOOL_CALLS]", "[TOOL_CALLS]", "", args_call, out);
}
static void phi4(const struct turn *t, struct weir_buf *out) {
    blocks(t, "functools[", ", ", "]", arguments_call, out);
}
static void jamba(const struct turn *t, struct weir_buf *out) {
    blocks(t, "<tool_calls>[\n    ", ",\n    ", "\n]</tool_calls>", arguments_call, out);
}
static void deci(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<TOOLCALL>[", ", ", "]</TOOLCALL>", arguments_call, out);
}
static void granite(const struct turn *t, struct weir_buf *out) {
    think(t, "Here's my thought process:", "Here's my response:", out);
    blocks(t, "<|tool_call|>[", ", ", "]", arguments_call, out);
}

static void v3_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>");
    put(out, p->text);
    put(out, "\n```json\n");
    put_json(p->args, out);
    put(out, "\n```<｜tool▁call▁end｜>");
}
static void v3(const struct turn *t, struct weir_buf *out) {
    blocks(t, "<｜tool▁calls▁begin｜>", "\n", "<｜tool▁calls▁end｜>", v3_call, out);
}
static void v31_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "<｜tool▁call▁begin｜>");
    put(out, p->text);
    put(out, "<｜tool▁sep｜>");
    put_json(p->args, out);
    put(out, "<｜tool▁call▁end｜>");
}
static void v31(const struct turn *t, struct weir_buf *out) {
    blocks(t, "<｜tool▁calls▁begin｜>", "", "<｜tool▁calls▁end｜>", v31_call, out);
}
static void k2_call(const struct part *p, unsigned index, struct weir_buf *out) {
    char head[300];
    snprintf(head, sizeof(head), "<|tool_call_begin|>functions.%s:%u<|tool_call_argument_begin|>",
             p->text, index);
    put(out, head);
    put_json(p->args, out);
    put(out, "<|tool_call_end|>");
}
static void k2(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<|tool_calls_section_begin|>", "", "<|tool_calls_section_end|>", k2_call, out);
}

/* ---- tags ----------------------------------------------------------------------------------- */

static void tag_call(const struct part *p, const char *open, const char *open_end,
                     const char *param, const char *param_head_end, const char *param_end,
                     const char *close, struct weir_buf *out) {
    put(out, open);
    put(out, p->text);
    put(out, open_end);
    for (unsigned i = 0; i < p->args->n; i++) {
        put(out, param);
        put(out, p->args->keys[i]);
        put(out, param_head_end);
        put_raw(p->args->members[i], out);
        put(out, param_end);
    }
    put(out, close);
}
static void qwen_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    tag_call(p, "<function=", ">\n", "<parameter=", ">\n", "\n</parameter>\n", "</function>", out);
}
static void qwen(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", qwen_call, out);
}
static void glm_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    tag_call(p, "<tool_call>", "", "<arg_key>", "</arg_key><arg_value>", "</arg_value>",
             "</tool_call>", out);
}
static void glm(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "", "", "", glm_call, out);
}
static void glm_lines_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    tag_call(p, "<tool_call>", "\n", "<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n",
             "</tool_call>", out);
}
static void glm_lines(const struct turn *t, struct weir_buf *out) {
    blocks(t, "", "\n", "", glm_lines_call, out);
}
static void m2_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    tag_call(p, "<invoke name=\"", "\">\n", "<parameter name=\"", "\">", "</parameter>\n",
             "</invoke>", out);
}
static void m2(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<minimax:tool_call>\n", "\n", "\n</minimax:tool_call>", m2_call, out);
}

/* Tags that say of a value whether it is text. */
static void typed_call(const struct part *p, const char *tag, struct weir_buf *out) {
    char text[300];
    snprintf(text, sizeof(text), "<%sinvoke name=\"%s\">\n", tag, p->text);
    put(out, text);
    for (unsigned i = 0; i < p->args->n; i++) {
        const struct value *v = p->args->members[i];
        snprintf(text, sizeof(text), "<%sparameter name=\"%s\" string=\"%s\">", tag,
                 p->args->keys[i], v->kind == VALUE_STRING ? "true" : "false");
        put(out, text);
        put_raw(v, out);
        snprintf(text, sizeof(text), "</%sparameter>\n", tag);
        put(out, text);
    }
    snprintf(text, sizeof(text), "</%sinvoke>\n", tag);
    put(out, text);
}
static void dsml_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    typed_call(p, "｜DSML｜", out);
}
static void dsml41_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    typed_call(p, "｜DSML｜ ", out);
}
static void v32(const struct turn *t, struct weir_buf *out) {
    blocks(t, "<｜DSML｜function_calls>\n", "", "</｜DSML｜function_calls>", dsml_call, out);
}
static void v4(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<｜DSML｜tool_calls>\n", "", "</｜DSML｜tool_calls>", dsml_call, out);
}
static void v41(const struct turn *t, struct weir_buf *out) {
    think(t, "<think>", "</think>", out);
    blocks(t, "<｜DSML｜ calls>\n", "", "</｜DSML｜ calls>", dsml41_call, out);
}

static void m3_element(const char *name, const struct value *v, struct weir_buf *out) {
    char text[300];
    snprintf(text, sizeof(text), "]<]minimax[>[<%s>", name);
    put(out, text);
    for (unsigned i = 0; i < v->n; i++)
        m3_element(v->kind == VALUE_ARRAY ? "item" : v->keys[i], v->members[i], out);
    if (v->kind < VALUE_OBJECT)
        put(out, v->text);
    snprintf(text, sizeof(text), "]<]minimax[>[</%s>", name);
    put(out, text);
}
static void m3_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "]<]minimax[>[<invoke name=\"");
    put(out, p->text);
    put(out, "\">\n");
    for (unsigned i = 0; i < p->args->n; i++) {
        m3_element(p->args->keys[i], p->args->members[i], out);
        put(out, "\n");
    }
    put(out, "]<]minimax[>[</invoke>\n");
}
static void m3(const struct turn *t, struct weir_buf *out) {
    think(t, "<mm:think>", "</mm:think>", out);
    blocks(t, "]<]minimax[>[<tool_call>\n", "", "]<]minimax[>[</tool_call>", m3_call, out);
}

/* ---- other notations ------------------------------------------------------------------------ */

static void python_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, p->text);
    put(out, "(");
    for (unsigned i = 0; i < p->args->n; i++) {
        put(out, i > 0 ? ", " : "");
        put(out, p->args->keys[i]);
        put(out, "=");
        put_value(&python, p->args->members[i], out);
    }
    put(out, ")");
}
static void pythonic(const struct turn *t, struct weir_buf *out) {
    blocks(t, "[", ", ", "]", python_call, out);
}
static void pythonic_tagged(const struct turn *t, struct weir_buf *out) {
    blocks(t, "<|python_start|>[", ", ", "]<|python_end|>", python_call, out);
}
static void gemma_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "<|tool_call>call:");
    put(out, p->text);
    put_value(&gemma, p->args, out);
    put(out, "<tool_call|>");
}
static void gemma4(const struct turn *t, struct weir_buf *out) {
    blocks(t, "", "", "", gemma_call, out);
}

/* ---- messages ------------------------------------------------------------------------------- */

static void messages(const struct turn *t, const char *text_open, const char *text_close,
                     call_fn call, struct weir_buf *out) {
    for (unsigned i = 0; i < t->n; i++) {
        if (t->parts[i].kind == PART_CALL) {
            call(&t->parts[i], i + 1, out);
            continue;
        }
        put(out, text_open);
        put(out, t->parts[i].text);
        put(out, text_close);
    }
}
static void harmony_call(const struct part *p, unsigned index, struct weir_buf *out) {
    put(out, index % 2 == 0 ? "<|start|>assistant" : "");
    put(out, "<|channel|>commentary to=functions.");
    put(out, p->text);
    put(out, " <|constrain|>json<|message|>");
    put_json(p->args, out);
    put(out, "<|call|>");
}
static void harmony(const struct turn *t, struct weir_buf *out) {
    think(t, "<|channel|>analysis<|message|>", "<|end|>", out);
    messages(t, "<|start|>assistant<|channel|>final<|message|>", "<|end|>", harmony_call, out);
}
static void inkling_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "<|message_model|><|content_invoke_tool_json|>");
    object_call(p, "args", out);
    put(out, "<|end_message|>");
}
static void inkling(const struct turn *t, struct weir_buf *out) {
    think(t, "<|message_model|><|content_thinking|>", "<|end_message|>", out);
    messages(t, "<|message_model|><|content_text|>", "<|end_message|>", inkling_call, out);
}
static void k3_call(const struct part *p, unsigned index, struct weir_buf *out) {
    static const char *const types[] = {"string", "number", "boolean", "object", "array"};
    char text[300];
    snprintf(text, sizeof(text), "<|open|>tools<|sep|><|open|>call tool=\"%s\" index=\"%u\"<|sep|>",
             p->text, index);
    put(out, text);
    for (unsigned i = 0; i < p->args->n; i++) {
        const struct value *v = p->args->members[i];
        snprintf(text, sizeof(text), "<|open|>argument key=\"%s\" type=\"%s\"<|sep|>",
                 p->args->keys[i], strcmp(v->text, "null") == 0 ? "null" : types[v->kind]);
        put(out, text);
        put_raw(v, out);
        put(out, "<|close|>argument<|sep|>");
    }
    put(out, "<|close|>call<|sep|><|close|>tools<|sep|>");
}
static void k3(const struct turn *t, struct weir_buf *out) {
    think(t, "<|open|>think<|sep|>", "<|close|>think<|sep|>", out);
    messages(t, "<|open|>response<|sep|>", "<|close|>response<|sep|>", k3_call, out);
}
static void muse_call(const struct part *p, unsigned index, struct weir_buf *out) {
    (void)index;
    put(out, "<|start|>assistant to=");
    put(out, p->text);
    put(out, "<|message|><atem:function_calls>\n");
    tag_call(p, "<atem:invoke name=\"", "\">\n", "<atem:parameter name=\"", "\">",
             "</atem:parameter>\n", "</atem:invoke>", out);
    put(out, "\n</atem:function_calls><|eom|>");
}
static void muse(const struct turn *t, struct weir_buf *out) {
    think(t, "<|start|>assistant to=self<|message|>", "<|eom|>", out);
    messages(t, "<|start|>assistant to=user<|message|>", "<|eom|>", muse_call, out);
}

const struct dialect dialects[] = {
    {"hermes", "qwen3", "</tool_call>", hermes},
    {"qwen3_coder", "qwen3", "</parameter>.", qwen},
    {"llama3_json", "basic", "<|python_tag|>{", llama},
    {"llama3_json", "basic", "}; {\"name\"", llama_bare},
    {"default", NULL, "</TOOLCALL>", deci},
    {"mistral", NULL, "[TOOL_CALLS]", mistral},
    {"mistral", NULL, "[TOOL_CALLS]f[ARGS]{}", mistral11},
    {"phi4", NULL, "]functools[", phi4},
    {"jamba", NULL, "</tool_calls>", jamba},
    {"nemotron_deci", "nemotron_deci", "]</TOOLCALL>", deci},
    {"granite", "granite", "<|tool_call|>[", granite},
    {"deepseek_v3", NULL, "```<｜tool▁call▁end｜>", v3},
    {"deepseek_v3_1", NULL, "<｜tool▁calls▁end｜>", v31},
    {"deepseek_v3_2", NULL, "</｜DSML｜function_calls>", v32},
    {"deepseek_v4", "deepseek_v4", "</｜DSML｜parameter>.", v4},
    {"deepseek_v41", "deepseek_v41", "</｜DSML｜ calls>", v41},
    {"kimi_k2", "kimi_k25", "<|tool_call_end|>", k2},
    {"kimi_k3", "kimi_k3", "<|close|>tools<|sep|>", k3},
    {"glm47", "glm45", "</arg_value>.", glm},
    {"glm45", NULL, "</tool_call>", glm_lines},
    {"minimax_m2", "minimax_m2", "</minimax:tool_call>", m2},
    {"minimax_m3", "minimax_m3", ".]<]minimax[>[</tool_call>", m3},
    {"pythonic", NULL, ")]", pythonic},
    {"pythonic", NULL, "<|python_end|>", pythonic_tagged},
    {"gemma4", NULL, "}<tool_call|>", gemma4},
    {"harmony", "gpt_oss", "<|call|>", harmony},
    {"inkling", "inkling", "<|end_message|>", inkling},
    {"muse_glimmer", "muse_glimmer", "</atem:function_calls>", muse},
};
const unsigned n_dialects = sizeof(dialects) / sizeof(dialects[0]);
