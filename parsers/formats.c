/* Rows of all tool-call formats. */
#include "parsers/formats_priv.h"

#include "base/status.h"
#include "parsers/names_priv.h"

#define DS_BEGIN "<｜tool▁calls▁begin｜>"
#define DS_END "<｜tool▁calls▁end｜>"
#define DS_CALL "<｜tool▁call▁begin｜>"
#define DS_CALL_END "<｜tool▁call▁end｜>"
#define DS_SEP "<｜tool▁sep｜>"
#define DSML "｜DSML｜"
#define M3 "]<]minimax[>["
#define DSML_ROW(row_name, tag, block)                                                             \
    {                                                                                              \
        .name = row_name, .family = FAMILY_TAGS, .start = {"<" tag block ">"},                     \
        .end = {"</" tag block ">"}, .call = {"<" tag "invoke name=\"%n\"%s>"},                    \
        .call_end = "</" tag "invoke>", .param = "<" tag "parameter name=\"%n\" string=\"%a\"%s>", \
        .param_end = "</" tag "parameter>", .typed = true                                          \
    }

static const struct format formats[] = {
    {.name = "hermes", .start = {"<tool_call>"}, .end = {"</tool_call>"}},
    {.name = "llama3_json", .start = {"<|python_tag|>"}, .separator = ';', .bare = true},
    {.name = "mistral",
     .start = {"[TOOL_CALLS]"},
     .call = {"%w%s[ARGS]", "%w%s[CALL_ID]%a[ARGS]"},
     .id = ID_NINE},
    {.name = "phi4", .start = {"functools"}},
    {.name = "jamba", .start = {"<tool_calls>"}, .end = {"</tool_calls>"}},
    {.name = "nemotron_deci", .start = {"<TOOLCALL>"}, .end = {"</TOOLCALL>"}},
    {.name = "granite", .start = {"<|tool_call|>", "<tool_call>"}, .end = {"</tool_call>"}},
    {.name = "default",
     .start = {"<|python_tag|>", "<TOOLCALL>", "<tool_call>", "[TOOL_CALLS]", "functools"},
     .end = {"</TOOLCALL>", "</tool_call>"},
     .separator = ';',
     .bare = true,
     .bare_list = true},
    {.name = "deepseek_v3",
     .family = FAMILY_ARGS,
     .start = {DS_BEGIN},
     .end = {DS_END},
     .call = {DS_CALL "%a" DS_SEP "%n\n%s```json%s"},
     .call_end = "%s```%s" DS_CALL_END},
    {.name = "deepseek_v3_1",
     .family = FAMILY_ARGS,
     .start = {DS_BEGIN},
     .end = {DS_END},
     .call = {DS_CALL "%n" DS_SEP "%s"},
     .call_end = "%s" DS_CALL_END},
    {.name = "kimi_k2",
     .family = FAMILY_ARGS,
     .start = {"<|tool_calls_section_begin|>"},
     .end = {"<|tool_calls_section_end|>"},
     .call = {"<|tool_call_begin|>%s%n<|tool_call_argument_begin|>%s"},
     .call_end = "%s<|tool_call_end|>",
     .id = ID_KIMI},
    {.name = "harmony",
     .family = FAMILY_ARGS,
     .envelope = ENVELOPE_HARMONY,
     .end = {"<|call|>", "<|end|>", "<|return|>"}},
    {.name = "inkling", .envelope = ENVELOPE_INKLING, .end = {"<|end_message|>"}},
    {.name = "qwen3_coder",
     .family = FAMILY_TAGS,
     .start = {"<tool_call>"},
     .end = {"</tool_call>"},
     .call = {"<function=%n>"},
     .call_end = "</function>",
     .param = "<parameter=%n>",
     .param_end = "</parameter>",
     .strip = true,
     .null_word = true},
    DSML_ROW("deepseek_v3_2", DSML, "function_calls"),
    DSML_ROW("deepseek_v4", DSML, "tool_calls"),
    DSML_ROW("deepseek_v41", DSML " ", "calls"),
    {.name = "glm47",
     .family = FAMILY_TAGS,
     .start = {"<tool_call>"},
     .call = {"%w"},
     .call_end = "</tool_call>",
     .param = "<arg_key>%n</arg_key>%s<arg_value>",
     .param_end = "</arg_value>",
     .closes_block = true},
    {.name = "minimax_m2",
     .family = FAMILY_TAGS,
     .start = {"<minimax:tool_call>"},
     .end = {"</minimax:tool_call>"},
     .call = {"<invoke name=\"%n\"%s>"},
     .call_end = "</invoke>",
     .param = "<parameter name=\"%n\"%s>",
     .param_end = "</parameter>",
     .null_word = true},
    {.name = "kimi_k3",
     .family = FAMILY_TAGS,
     .envelope = ENVELOPE_KIMI3,
     .end = {"<|close|>tools<|sep|>"},
     .call = {"<|open|>call tool=\"%n\" index=\"%a\"<|sep|>", "<|open|>call tool=\"%n\"<|sep|>"},
     .call_end = "<|close|>call<|sep|>",
     .param = "<|open|>argument key=\"%n\" type=\"%a\"<|sep|>",
     .param_end = "<|close|>argument<|sep|>",
     .typed = true},
    {.name = "muse_glimmer",
     .family = FAMILY_TAGS,
     .envelope = ENVELOPE_MUSE,
     .end = {"</atem:function_calls>"},
     .call = {"<atem:invoke name=\"%n\"%s>"},
     .call_end = "</atem:invoke>",
     .param = "<atem:parameter name=\"%n\"%s>",
     .param_end = "</atem:parameter>",
     .guess = true},
    {.name = "minimax_m3",
     .family = FAMILY_TREE,
     .start = {M3 "<tool_call>"},
     .end = {M3 "</tool_call>"},
     .call = {M3 "<invoke name=\"%n\"%s>"},
     .call_end = M3 "</invoke>",
     .param = M3 "<%n>",
     .param_end = M3 "</"},
    {.name = "pythonic",
     .family = FAMILY_PYTHON,
     .start = {"<|python_start|>"},
     .end = {"<|python_end|>"},
     .bare = true},
    {.name = "gemma4",
     .family = FAMILY_GEMMA,
     .start = {"<|tool_call>"},
     .end = {"<tool_call|>"},
     .call = {"call:%s%n{"}},
};

const struct format wprs_format_guided = {.name = "guided", .bare = true, .bare_list = true};

/* The last of a row as a live Dynamo 1.6.1 does it for that name. */
static const struct name_row names[] = {
    {"hermes", "hermes", false},
    {"qwen25", "hermes", false},
    {"qwen3_coder", "qwen3_coder", false},
    {"qwen3", "qwen3_coder", false},
    {"nemotron_nano", "qwen3_coder", false},
    {"nemotron_deci", "nemotron_deci", false},
    {"llama3_json", "llama3_json", false},
    {"mistral", "mistral", false},
    {"phi4", "phi4", false},
    {"pythonic", "pythonic", false},
    {"harmony", "harmony", true},
    {"deepseek_v3", "deepseek_v3", false},
    {"deepseek_v3_1", "deepseek_v3_1", false},
    {"deepseek_v3_2", "deepseek_v3_2", false},
    {"deepseek_v4", "deepseek_v4", false},
    {"deepseek-v4", "deepseek_v4", false},
    {"deepseekv4", "deepseek_v4", false},
    {"deepseek_v41", "deepseek_v41", true},
    {"granite", "granite", false},
    {"jamba", "jamba", false},
    {"minimax_m2", "minimax_m2", false},
    {"minimax_m3", "minimax_m3", true},
    {"minimax-m3", "minimax_m3", true},
    {"minimax_m3_nom", "minimax_m3", true},
    {"minimax-m3-nom", "minimax_m3", true},
    {"glm47", "glm47", false},
    {"glm45", "glm47", false},
    {"kimi_k2", "kimi_k2", true},
    {"kimi_k25", "kimi_k2", false},
    {"kimi_k3", "kimi_k3", true},
    {"kimi-k3", "kimi_k3", true},
    {"gemma4", "gemma4", true},
    {"gemma-4", "gemma4", true},
    {"inkling", "inkling", true},
    {"muse_glimmer", "muse_glimmer", true},
    {"muse", "muse_glimmer", true},
    {"default", "default", false},
    {NULL, NULL, false},
};
const struct name_row *const wprs_tool_names = names;

const struct format *wprs_format_find(struct weir_span name) {
    const char *row = wprs_name_row(names, name);
    for (size_t i = 0; row != NULL && i < WEIR_ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, row) == 0)
            return &formats[i];
    return NULL;
}
