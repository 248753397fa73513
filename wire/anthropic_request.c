/*
 * A request of the Messages API: members of the body, each of its shape → what is refused → the
 * text of the chat request that it stands for (openai_parse.c reads that). Members that nobody
 * knows pass, as in the reference system. Source: Anthropic's API reference, recordings of the
 * reference system 1.6.1.
 */
#include "wire/anthropic_priv.h"
#include "wire/openai_shapes.h"

#include <stddef.h>
#include <string.h>

/* Raw values of the members that are there and not null. */
struct members {
    struct weir_span model, max_tokens, messages, system, temperature, top_p, top_k, stop_sequences,
        stream, metadata, service_tier, container, tools, tool_choice, thinking, output_config,
        mcp_servers, nvext;
};
/* With what rules they are written as a chat. */
struct chat {
    const struct members *m;
    bool strip;
};

#define ROW(name, shape)                                                                           \
    { #name, &shape, offsetof(struct members, name), false, false }
static const struct weir_translate_row rows[] = {
    {"model", &weir_shape_string, offsetof(struct members, model), false, true},
    {"max_tokens", &weir_shape_u32, offsetof(struct members, max_tokens), false, true},
    {"messages", &weir_messages_list, offsetof(struct members, messages), false, true},
    ROW(system, weir_messages_system),
    ROW(temperature, weir_shape_f32),
    ROW(top_p, weir_shape_f32),
    ROW(top_k, weir_shape_u32),
    ROW(stop_sequences, weir_shape_strings),
    {"stream", &weir_shape_bool, offsetof(struct members, stream), false, true},
    ROW(metadata, weir_shape_any),
    ROW(service_tier, weir_shape_string),
    ROW(container, weir_shape_string),
    ROW(tools, weir_messages_tools),
    ROW(tool_choice, weir_messages_tool_choice),
    ROW(thinking, weir_messages_thinking),
    ROW(output_config, weir_messages_output_config),
    ROW(mcp_servers, weir_shape_any),
    ROW(nvext, weir_shape_any),
};
static const struct weir_translate_table table = {"struct AnthropicCreateMessageRequest", rows,
                                                  WEIR_ARRAY_LEN(rows), true};

/* To count tokens: what stands in the prompt. Others pass, whatever they are, as in the reference
 * system; so do those two, but where they are of their shapes the template is told of them. */
static const struct weir_translate_row counted[] = {
    {"model", &weir_shape_string, offsetof(struct members, model), false, true},
    {"messages", &weir_messages_list, offsetof(struct members, messages), false, true},
    ROW(system, weir_messages_system),
    ROW(tools, weir_messages_tools),
    ROW(tool_choice, weir_shape_any),
    ROW(thinking, weir_shape_any),
};
static const struct weir_translate_table counted_table = {"struct AnthropicCountTokensRequest",
                                                          counted, WEIR_ARRAY_LEN(counted), true};

static void unless_fits(struct weir_span *raw, const struct weir_shape *shape) {
    struct weir_shape_fault ignored = {.notes = 0};
    if (raw->data != NULL && !weir_shape_check(shape, *raw, &ignored))
        *raw = weir_span(NULL, 0);
}

static bool read_members(struct weir_openai_reading *r, bool counts, struct members *m) {
    struct weir_json j;
    if (!weir_translate_read(r, counts ? &counted_table : &table, m, &j))
        return false;
    if (counts) {
        unless_fits(&m->tool_choice, &weir_messages_tool_choice);
        unless_fits(&m->thinking, &weir_messages_thinking);
    }
    const char *missing = m->model.data == NULL                   ? "model"
                          : m->max_tokens.data == NULL && !counts ? "max_tokens"
                          : m->messages.data == NULL              ? "messages"
                                                                  : NULL;
    if (missing != NULL)
        return weir_openai_fail_at(r, r->end, "missing field `%s`", missing);
    return weir_translate_end(r, &j);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* Tools that the vendor's servers would run. */
static bool check_tools(struct weir_openai_reading *r, struct weir_span tools) {
    struct weir_json j;
    struct weir_span tool, type, name;
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j) && weir_json_skip(&j, &tool); i++) {
        if (weir_json_member(tool, "type", &type) && weir_json_type_of(type) != WEIR_JSON_NULL &&
            !weir_json_is(type, "custom"))
            return weir_raw_string(r, type, &name) &&
                   (name.len > 0 ||
                    weir_openai_fail(r, 400, "tools[%zu].type: must be a non-empty string", i)) &&
                   weir_openai_fail(r, 400,
                                    "tools[%zu]: server tool type \"%.*s\" is not supported", i,
                                    WEIR_SPAN_ARG(name));
        if (!weir_json_member(tool, "input_schema", &type) ||
            weir_json_type_of(type) == WEIR_JSON_NULL)
            return weir_openai_fail(r, 400,
                                    "tools[%zu].input_schema: field required for client tools", i);
    }
    return true;
}

static bool check_nvext(struct weir_openai_reading *r, struct weir_span nvext) {
    struct weir_shape_fault fault = {.notes = 0};
    return nvext.data == NULL || weir_raw_is_empty_list(nvext) ||
           weir_shape_check(&weir_openai_nvext, nvext, &fault) ||
           weir_openai_fail(r, 400, "Failed to convert request: invalid nvext: %s", fault.text);
}

static bool check(struct weir_openai_reading *r, const struct members *m) {
    uint64_t max;
    if (weir_raw_is_empty_list(m->messages))
        return weir_openai_fail(r, 400, "messages: field required");
    if (m->max_tokens.data != NULL && (!weir_span_u64(m->max_tokens, &max) || max == 0))
        return weir_openai_fail(r, 400, "max_tokens: must be greater than 0");
    if (m->mcp_servers.data != NULL && !weir_raw_is_empty_list(m->mcp_servers))
        return weir_openai_fail(r, 400, "mcp_servers: not supported: no tool is called from here");
    return (m->tools.data == NULL || check_tools(r, m->tools)) && check_nvext(r, m->nvext);
}

/* ---- the chat ----------------------------------------------------------------------------- */

static void put_tools(struct weir_jsonw *w, struct weir_span tools) {
    struct weir_json j;
    struct weir_span tool;
    if (tools.data == NULL || weir_raw_is_empty_list(tools))
        return;
    weir_jsonw_key(w, "tools");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool))
        weir_translate_put_tool(w, tool, "input_schema");
    weir_jsonw_array_end(w);
}

static void put_choice(struct weir_jsonw *w, struct weir_span choice) {
    struct weir_span raw;
    if (choice.data == NULL || !weir_json_member(choice, "type", &raw))
        return;
    weir_jsonw_key(w, "tool_choice");
    if (weir_json_is(raw, "tool") && weir_json_member(choice, "name", &raw))
        weir_translate_put_named(w, raw);
    else
        weir_jsonw_raw(w, weir_json_is(raw, "any") ? WEIR_SPAN_LIT("\"required\"") : raw);
    if (weir_json_member(choice, "disable_parallel_tool_use", &raw) && weir_span_eqz(raw, "true"))
        weir_translate_put(w, "parallel_tool_calls", WEIR_SPAN_LIT("false"));
}

static void put_thinking(struct weir_jsonw *w, struct weir_span thinking) {
    struct weir_span type;
    if (thinking.data == NULL || !weir_json_member(thinking, "type", &type))
        return;
    weir_jsonw_key(w, "thinking");
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "type", type);
    weir_jsonw_object_end(w);
    if (weir_json_is(type, "enabled"))
        weir_translate_put_from(w, "thinking_token_budget", thinking, "budget_tokens");
}

static void put_output(struct weir_jsonw *w, struct weir_span config) {
    struct weir_span format;
    if (config.data == NULL)
        return;
    weir_translate_put_from(w, "reasoning_effort", config, "effort");
    if (!weir_json_member(config, "format", &format) || weir_json_type_of(format) == WEIR_JSON_NULL)
        return;
    weir_jsonw_key(w, "response_format");
    weir_jsonw_object_begin(w);
    weir_translate_put_from(w, "type", format, "type");
    weir_jsonw_key(w, "json_schema");
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "name", WEIR_SPAN_LIT("\"output\""));
    weir_translate_put_from(w, "schema", format, "schema");
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

/* What is over an i32 wraps, as in the reference system: 4294967295 is its -1, all tokens. */
static void put_top_k(struct weir_jsonw *w, struct weir_span raw) {
    uint64_t v;
    if (raw.data == NULL || !weir_span_u64(raw, &v) || v <= INT32_MAX) {
        weir_translate_put(w, "top_k", raw);
        return;
    }
    weir_jsonw_key(w, "top_k");
    weir_jsonw_i64(w, (int64_t)v - UINT32_MAX - 1);
}

static bool put_chat(struct weir_openai_reading *r, const void *chat, struct weir_jsonw *w) {
    const struct chat *c = chat;
    const struct members *m = c->m;
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "model", m->model);
    weir_jsonw_key(w, "messages");
    if (!weir_messages_put(r, m->system, c->strip, m->messages, w))
        return false;
    put_tools(w, m->tools);
    put_choice(w, m->tool_choice);
    weir_translate_put_stream(w, m->stream);
    weir_translate_put(w, "max_completion_tokens", m->max_tokens);
    weir_translate_put(w, "temperature", m->temperature);
    weir_translate_put(w, "top_p", m->top_p);
    put_top_k(w, m->top_k);
    if (m->stop_sequences.data != NULL && !weir_raw_is_empty_list(m->stop_sequences))
        weir_translate_put(w, "stop", m->stop_sequences);
    put_thinking(w, m->thinking);
    put_output(w, m->output_config);
    weir_translate_put(w, "nvext", m->nvext);
    weir_jsonw_object_end(w);
    return w->status == WEIR_OK || weir_openai_nomem(r);
}

bool weir_messages_to_chat(struct weir_openai_reading *r, const struct weir_openai_rules *rules,
                           bool counts, struct weir_span *ret_chat) {
    struct members m;
    struct chat chat = {&m, rules->strip_preamble};
    memset(&m, 0, sizeof(m));
    return read_members(r, counts, &m) && check(r, &m) &&
           weir_translate_keep(r, &chat, put_chat, ret_chat);
}

void weir_messages_reword(struct weir_openai_error *error) {
    bool ignored;
    error->message = weir_translate_reword(error->message, &ignored);
}
