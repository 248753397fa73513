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

/* The last of a row as a live Dynamo 1.6.1 does it for that name. */
static const struct name_row names[] = {
    {"basic", "basic", false},
    {"deepseek_r1", "forced_switchable", false},
    {"deepseek_v3", "forced_opt_in", false},
    {"deepseek_v3_1", "forced_opt_in", false},
    {"deepseek_v3_2", "forced_switchable", false},
    {"deepseek_v4", "basic_switchable", false},
    {"deepseek-v4", "basic_switchable", false},
    {"deepseekv4", "basic_switchable", false},
    {"deepseek_v41", "basic_switchable", true},
    {"qwen3", "basic", false},
    {"gpt_oss", "harmony", true},
    {"mistral", "mistral", true},
    {"granite", "granite", false},
    {"kimi", "kimi", false},
    {"kimi_k2", "basic", false},
    {"kimi_k25", "forced_switchable", true},
    {"kimi_k3", "kimi_k3", true},
    {"kimi-k3", "kimi_k3", true},
    {"glm45", "basic", false},
    {"glm47", "basic", false},
    {"nemotron_deci", "basic_switchable", false},
    {"nemotron_nano", "forced_switchable", false},
    {"nemotron3", "forced_switchable", false},
    {"nemotron_v3", "forced_switchable", false},
    {"step3", "forced", false},
    {"minimax_append_think", "append", false},
    {"minimax_m2", "forced_switchable", false},
    {"minimax_m3", "minimax_m3", true},
    {"minimax-m3", "minimax_m3", true},
    {"gemma4", "gemma4", true},
    {"gemma-4", "gemma4", true},
    {"inkling", "inkling", true},
    {"muse_glimmer", "muse_glimmer", true},
    {"muse", "muse_glimmer", true},
    {"qwen3_coder", "basic", false},
    {NULL, NULL, false},
};
const struct name_row *const wprs_reasoning_names = names;

const struct reasoning *wprs_reasoning_find(struct weir_span name) {
    const char *row = wprs_name_row(names, name);
    for (size_t i = 0; row != NULL && i < WEIR_ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, row) == 0)
            return &rows[i];
    return NULL;
}

/* How models think that a parser is named for: whether a live Dynamo 1.6.1 says so to workers that
 * it gives a grammar (none: never), and what it makes of thinking_mode. TOLD: as THINKS, and where
 * nothing is said the template's arguments say that it thinks. */
enum thinks { THINKS_ALWAYS, THINKS, THINKS_TOLD, THINKS_ON_REQUEST, THINKS_ON_EFFORT };
enum words { WORDS_NONE, WORDS_DEEPSEEK, WORDS_ANY };

static const struct thinker {
    const char *name;
    enum thinks thinks;
    enum words words; /* DEEPSEEK: "chat" is off, "thinking" on; ANY: what is not off is on */
} thinkers[] = {
    {"deepseek_r1", THINKS_ALWAYS, WORDS_DEEPSEEK},
    {"kimi", THINKS_ALWAYS, WORDS_NONE},
    {"step3", THINKS_ALWAYS, WORDS_NONE},
    {"deepseek_v3_2", THINKS, WORDS_DEEPSEEK},
    {"deepseek_v4", THINKS, WORDS_DEEPSEEK},
    {"deepseek-v4", THINKS, WORDS_DEEPSEEK},
    {"deepseekv4", THINKS, WORDS_DEEPSEEK},
    {"deepseek_v41", THINKS, WORDS_DEEPSEEK},
    {"minimax_m2", THINKS, WORDS_DEEPSEEK},
    {"glm45", THINKS, WORDS_NONE},
    {"kimi_k25", THINKS_TOLD, WORDS_NONE},
    {"kimi_k3", THINKS_TOLD, WORDS_NONE},
    {"kimi-k3", THINKS_TOLD, WORDS_NONE},
    {"nemotron_nano", THINKS, WORDS_NONE},
    {"nemotron3", THINKS, WORDS_NONE},
    {"nemotron_v3", THINKS, WORDS_NONE},
    {"qwen3", THINKS, WORDS_NONE},
    {"deepseek_v3", THINKS_ON_REQUEST, WORDS_DEEPSEEK},
    {"deepseek_v3_1", THINKS_ON_REQUEST, WORDS_DEEPSEEK},
    {"gemma4", THINKS_ON_REQUEST, WORDS_NONE},
    {"gemma-4", THINKS_ON_REQUEST, WORDS_NONE},
    {"minimax_m3", THINKS_ON_REQUEST, WORDS_ANY},
    {"minimax-m3", THINKS_ON_REQUEST, WORDS_ANY},
    {"mistral", THINKS_ON_EFFORT, WORDS_NONE},
};

static const struct thinker *thinker_of(struct weir_span name) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(thinkers); i++)
        if (weir_span_eqz(name, thinkers[i].name))
            return &thinkers[i];
    return NULL;
}

enum wprs_switch wprs_thinking_wish(const struct wprs_options *o) {
    const struct thinker *t = thinker_of(o->reasoning_parser);
    const enum words words = t != NULL ? t->words : WORDS_NONE;
    if (o->thinking != WPRS_UNSET)
        return o->thinking;
    if (o->mode == WPRS_MODE_UNSET)
        return o->effort;
    if (words == WORDS_DEEPSEEK && o->mode == WPRS_MODE_CHAT)
        return WPRS_OFF;
    return words == WORDS_ANY || (words == WORDS_DEEPSEEK && o->mode == WPRS_MODE_THINKING)
               ? WPRS_ON
               : WPRS_UNSET; /* the effort has been heard where it counts beside a mode */
}

bool wprs_thinks_first(const struct wprs_options *o) {
    const struct thinker *t = thinker_of(o->reasoning_parser);
    if (t == NULL)
        return false;
    switch (t->thinks) {
    case THINKS_ALWAYS:
        return true;
    case THINKS_ON_EFFORT:
        return o->effort == WPRS_ON;
    case THINKS_ON_REQUEST:
        return wprs_thinking_wish(o) == WPRS_ON;
    default:
        return wprs_thinking_wish(o) != WPRS_OFF;
    }
}

bool wprs_tells_thinking(struct weir_span reasoning_parser) {
    const struct thinker *t = thinker_of(reasoning_parser);
    return t != NULL && t->thinks == THINKS_TOLD;
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

static void mode_of(struct weir_json *j, enum wprs_mode *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) != WEIR_JSON_STRING)
        weir_json_skip(j, NULL);
    else if (weir_json_string(j, &s))
        *ret = weir_json_str_eqz(s, "chat")       ? WPRS_MODE_CHAT
               : weir_json_str_eqz(s, "thinking") ? WPRS_MODE_THINKING
                                                  : WPRS_MODE_OTHER;
}

void wprs_thinking_of(struct weir_span chat_template_args, struct weir_span reasoning_effort,
                      struct wprs_options *o) {
    enum wprs_switch enabled = WPRS_UNSET;
    struct weir_json j;
    o->thinking = o->effort = WPRS_UNSET;
    o->mode = WPRS_MODE_UNSET;
    weir_json_init(&j, chat_template_args, WPRS_MEMBER_DEPTH);
    if (chat_template_args.data != NULL && weir_json_peek(&j) == WEIR_JSON_OBJECT &&
        weir_json_object_enter(&j)) {
        struct weir_json_str key;
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "thinking"))
                flag_of(&j, &o->thinking);
            else if (weir_json_str_eqz(key, "enable_thinking"))
                flag_of(&j, &enabled);
            else if (weir_json_str_eqz(key, "thinking_mode"))
                mode_of(&j, &o->mode);
            else if (weir_json_str_eqz(key, "reasoning_effort"))
                effort_of(&j, &o->effort);
            else
                weir_json_skip(&j, NULL);
        }
    }
    if (o->thinking == WPRS_UNSET)
        o->thinking = enabled;
    if (reasoning_effort.data != NULL) {
        weir_json_init(&j, reasoning_effort, WPRS_MEMBER_DEPTH);
        effort_of(&j, &o->effort);
    }
}
