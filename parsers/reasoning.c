/* Rows of all reasoning parsers, and what a request says about thinking. */
#include "base/json.h"
#include "base/status.h"
#include "parsers/formats_priv.h"
#include "parsers/names_priv.h"
#include "parsers/wprs.h"

#define THINK .start = "<think>", .end = "</think>"

static const struct reasoning rows[] = {
    {.name = "basic", THINK, .prompted = true},
    {.name = "basic_switchable", THINK, .prompted = true, .switchable = true},
    {.name = "forced", THINK, .forced = true},
    {.name = "forced_switchable", THINK, .forced = true, .switchable = true},
    {.name = "forced_opt_in", THINK, .forced = true, .opt_in = true, .switchable = true},
    {.name = "mistral",
     .start = "[THINK]",
     .end = "[/THINK]",
     .forced = true,
     .opt_in = true,
     .effort_only = true},
    {.name = "granite",
     .start = "Here's my thought process:",
     .end = "Here's my response:",
     .prose = true},
    {.name = "kimi", .start = "◁think▷", .end = "◁/think▷", .prompted = true},
    {.name = "minimax_m3",
     .start = "<mm:think>",
     .end = "</mm:think>",
     .prompted = true,
     .switchable = true},
    {.name = "gemma4",
     .start = "<|channel>thought\n",
     .end = "<channel|>",
     .opt_in = true,
     .switchable = true},
    {.name = "append", .start = "<think>", .append_start = true},
    {.name = "harmony", .envelope = ENVELOPE_HARMONY, .lines = true},
    {.name = "inkling", .envelope = ENVELOPE_INKLING},
    {.name = "kimi_k3", .envelope = ENVELOPE_KIMI3, .switchable = true},
    {.name = "muse_glimmer", .envelope = ENVELOPE_MUSE, .lines = true, .switchable = true},
};

static const struct name_row names[] = {
    {"basic", "basic"},
    {"deepseek_r1", "forced_switchable"},
    {"deepseek_v3", "forced_opt_in"},
    {"deepseek_v3_1", "forced_opt_in"},
    {"deepseek_v3_2", "forced_switchable"},
    {"deepseek_v4", "basic_switchable"},
    {"deepseek-v4", "basic_switchable"},
    {"deepseekv4", "basic_switchable"},
    {"deepseek_v41", "basic_switchable"},
    {"qwen3", "basic"},
    {"gpt_oss", "harmony"},
    {"mistral", "mistral"},
    {"granite", "granite"},
    {"kimi", "kimi"},
    {"kimi_k2", "basic"},
    {"kimi_k25", "forced_switchable"},
    {"kimi_k3", "kimi_k3"},
    {"kimi-k3", "kimi_k3"},
    {"glm45", "basic"},
    {"glm47", "basic"},
    {"nemotron_deci", "basic_switchable"},
    {"nemotron_nano", "forced_switchable"},
    {"nemotron3", "forced_switchable"},
    {"nemotron_v3", "forced_switchable"},
    {"step3", "forced"},
    {"minimax_append_think", "append"},
    {"minimax_m2", "forced_switchable"},
    {"minimax_m3", "minimax_m3"},
    {"minimax-m3", "minimax_m3"},
    {"gemma4", "gemma4"},
    {"gemma-4", "gemma4"},
    {"inkling", "inkling"},
    {"muse_glimmer", "muse_glimmer"},
    {"muse", "muse_glimmer"},
    {"qwen3_coder", "basic"},
    {NULL, NULL},
};
const struct name_row *const wprs_reasoning_names = names;

const struct reasoning *wprs_reasoning_find(struct weir_span name) {
    const char *row = wprs_name_row(names, name);
    for (size_t i = 0; row != NULL && i < WEIR_ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, row) == 0)
            return &rows[i];
    return NULL;
}

static void effort_of(struct weir_json *j, enum wprs_switch *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) != WEIR_JSON_STRING)
        weir_json_skip(j, NULL);
    else if (weir_json_string(j, &s))
        *ret = weir_json_str_eqz(s, "none") ? WPRS_OFF : WPRS_ON;
}

static void flag_of(struct weir_json *j, enum wprs_switch *ret) {
    bool on;
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_TRUE && type != WEIR_JSON_FALSE)
        weir_json_skip(j, NULL);
    else if (weir_json_bool(j, &on))
        *ret = on ? WPRS_ON : WPRS_OFF;
}

void wprs_thinking_of(struct weir_span chat_template_args, struct weir_span reasoning_effort,
                      enum wprs_switch *ret_thinking, enum wprs_switch *ret_effort) {
    enum wprs_switch thinking = WPRS_UNSET, effort = WPRS_UNSET;
    struct weir_json j;
    weir_json_init(&j, chat_template_args, 64);
    if (chat_template_args.data != NULL && weir_json_peek(&j) == WEIR_JSON_OBJECT &&
        weir_json_object_enter(&j)) {
        struct weir_json_str key;
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "thinking") || weir_json_str_eqz(key, "enable_thinking"))
                flag_of(&j, &thinking);
            else if (weir_json_str_eqz(key, "reasoning_effort"))
                effort_of(&j, &effort);
            else
                weir_json_skip(&j, NULL);
        }
    }
    if (reasoning_effort.data != NULL) {
        weir_json_init(&j, reasoning_effort, 64);
        effort_of(&j, &effort);
    }
    *ret_thinking = thinking;
    *ret_effort = effort;
}
