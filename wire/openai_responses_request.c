/*
 * A request of the Responses API: members of the body, each of its shape → what is refused → the
 * text of the chat request that it stands for (openai_parse.c reads that) and what the answer
 * repeats. Members that nobody knows pass, as in the reference system. Words and order of the
 * refusals: probes of the reference system 1.6.1.
 */
#include "wire/openai_responses_priv.h"
#include "wire/openai_shapes.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Raw values of the members that are there and not null. */
struct members {
    struct weir_span input, instructions, model, stream, max_output_tokens, temperature, top_p,
        tools, tool_choice, parallel_tool_calls, text, reasoning, metadata, store, truncation,
        service_tier, include, nvext, top_logprobs, user, prompt_cache_key, prompt_cache_retention,
        safety_identifier, background, previous_response_id, conversation, prompt, max_tool_calls,
        template_args, cache_salt, stream_options;
};

#define ROW(name, shape)                                                                           \
    { #name, &shape, offsetof(struct members, name), false, false }
static const struct weir_translate_row rows[] = {
    {"input", &weir_responses_input, offsetof(struct members, input), false, true},
    ROW(instructions, weir_shape_string),
    ROW(model, weir_shape_string),
    ROW(stream, weir_shape_bool),
    ROW(max_output_tokens, weir_shape_u32),
    {"max_tokens", &weir_shape_u32, offsetof(struct members, max_output_tokens), false, false},
    ROW(temperature, weir_shape_f32),
    ROW(top_p, weir_shape_f32),
    ROW(tools, weir_responses_tools),
    ROW(tool_choice, weir_responses_tool_choice),
    ROW(parallel_tool_calls, weir_shape_bool),
    ROW(text, weir_responses_text),
    ROW(reasoning, weir_responses_reasoning),
    ROW(metadata, weir_responses_metadata),
    ROW(store, weir_shape_bool),
    ROW(truncation, weir_responses_truncation),
    ROW(service_tier, weir_responses_service_tier),
    ROW(include, weir_responses_include),
    {"nvext", &weir_openai_nvext, offsetof(struct members, nvext), true, false},
    ROW(top_logprobs, weir_shape_u8),
    ROW(user, weir_shape_any),
    ROW(prompt_cache_key, weir_shape_string),
    ROW(prompt_cache_retention, weir_responses_retention),
    ROW(safety_identifier, weir_shape_string),
    ROW(background, weir_shape_bool),
    ROW(previous_response_id, weir_shape_string),
    ROW(conversation, weir_shape_any),
    ROW(prompt, weir_responses_prompt),
    ROW(max_tool_calls, weir_shape_u32),
    {"chat_template_args", &weir_openai_any_map, offsetof(struct members, template_args), true,
     false},
    {"chat_template_kwargs", &weir_openai_any_map, offsetof(struct members, template_args), true,
     false},
    ROW(cache_salt, weir_shape_any),
    ROW(stream_options, weir_responses_stream_options),
};
static const struct weir_translate_table table = {"struct NvCreateResponse", rows,
                                                  WEIR_ARRAY_LEN(rows), false};

static bool read_members(struct weir_openai_reading *r, struct members *m) {
    struct weir_json j;
    if (!weir_translate_read(r, &table, m, &j))
        return false;
    if (m->input.data == NULL)
        return weir_openai_fail_at(r, r->end, "missing field `input`");
    return weir_translate_end(r, &j);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* The list of strings has this one. */
static bool lists(struct weir_span list, const char *word) {
    struct weir_json j;
    struct weir_json_str s;
    if (weir_json_type_of(list) != WEIR_JSON_ARRAY)
        return false;
    weir_json_init(&j, list, 3);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_string(&j, &s))
        if (weir_json_str_eqz(s, word))
            return true;
    return false;
}

static bool check_extra_fields(struct weir_openai_reading *r, struct weir_span nvext) {
    static const char *const none[] = {"completion_token_ids", "prompt_logprobs"};
    struct weir_span list;
    if (!weir_json_member(nvext, "extra_fields", &list))
        return true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(none); i++)
        if (lists(list, none[i]))
            return weir_openai_fail(
                r, 501,
                "Validation: `nvext.extra_fields=[\"%s\"]` is not supported by the Responses API.",
                none[i]);
    return true;
}

/* Nothing is stored, so nothing can be gone on with. */
static bool check_supported(struct weir_openai_reading *r, const struct members *m) {
    const struct {
        const char *text;
        bool asked;
    } refused[] = {{"`background: true`", weir_span_eqz(m->background, "true")},
                   {"`previous_response_id`", m->previous_response_id.data != NULL},
                   {"`conversation`", m->conversation.data != NULL},
                   {"`prompt`", m->prompt.data != NULL},
                   {"`max_tool_calls`", m->max_tool_calls.data != NULL}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(refused); i++)
        if (refused[i].asked)
            return weir_openai_fail(r, 501, "Validation: %s is not supported.", refused[i].text);
    return true;
}

static bool check_bounds(struct weir_openai_reading *r, const struct members *m) {
    double temperature = NAN, top_p = NAN;
    int64_t max = -1;
    if ((m->temperature.data != NULL && !weir_raw_single(m->temperature, &temperature)) ||
        (m->top_p.data != NULL && !weir_raw_single(m->top_p, &top_p)) ||
        (m->max_output_tokens.data != NULL && !weir_span_i64(m->max_output_tokens, &max)))
        return weir_openai_fail(r, 400, "Validation: a number is out of range");
    return weir_openai_in_range(r, "Temperature", temperature, 0, 2, false) &&
           weir_openai_in_range(r, "Top_p", top_p, 0, 1, true) &&
           weir_openai_check_length(r, "", max);
}

/* ---- the chat ----------------------------------------------------------------------------- */

/* {"type": "json_schema", "name", "schema", …} has its parts one level deeper in a chat. Plain text
 * is no format: a live Dynamo 1.6.1 tells it to no model, whose prompt may else show it. */
static void put_format(struct weir_jsonw *w, struct weir_span text) {
    static const char *const members[] = {"name", "description", "schema", "strict"};
    struct weir_span format, type, raw;
    if (text.data == NULL || !weir_json_member(text, "format", &format) ||
        !weir_json_member(format, "type", &type) || weir_json_is(type, "text"))
        return;
    weir_jsonw_key(w, "response_format");
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "type", type);
    if (weir_json_is(type, "json_schema")) {
        weir_jsonw_key(w, "json_schema");
        weir_jsonw_object_begin(w);
        for (size_t i = 0; i < WEIR_ARRAY_LEN(members); i++)
            if (weir_json_member(format, members[i], &raw))
                weir_translate_put(w, members[i], raw);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_object_end(w);
}

static void put_logprobs(struct weir_jsonw *w, const struct members *m) {
    bool some = m->top_logprobs.data != NULL && !weir_span_eqz(m->top_logprobs, "0");
    if (!some && !lists(m->include, "message.output_text.logprobs"))
        return;
    weir_translate_put(w, "logprobs", WEIR_SPAN_LIT("true"));
    weir_translate_put(w, "top_logprobs", some ? m->top_logprobs : WEIR_SPAN_LIT("0"));
}

static bool put_chat(struct weir_openai_reading *r, const void *members, struct weir_jsonw *w) {
    const struct members *m = members;
    struct weir_span effort;
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "model", m->model.data != NULL ? m->model : WEIR_SPAN_LIT("\"\""));
    weir_jsonw_key(w, "messages");
    if (!weir_responses_put_messages(r, m->instructions, m->input, w) ||
        !weir_responses_put_tools(r, m->tools, m->tool_choice, w))
        return false;
    if (m->instructions.data == NULL && weir_raw_is_empty_list(m->input))
        return weir_openai_fail(r, 400, "Messages array cannot be empty");
    weir_translate_put_stream(w, m->stream);
    weir_translate_put(w, "max_tokens", m->max_output_tokens);
    weir_translate_put(w, "temperature", m->temperature);
    weir_translate_put(w, "top_p", m->top_p);
    weir_translate_put(w, "parallel_tool_calls", m->parallel_tool_calls);
    put_format(w, m->text);
    if (m->reasoning.data != NULL && weir_json_member(m->reasoning, "effort", &effort))
        weir_translate_put(w, "reasoning_effort", effort);
    put_logprobs(w, m);
    weir_translate_put(w, "chat_template_args", m->template_args);
    weir_translate_put(w, "cache_salt", m->cache_salt);
    weir_translate_put(w, "nvext", m->nvext);
    weir_jsonw_object_end(w);
    return w->status == WEIR_OK || weir_openai_nomem(r);
}

/* Those members of the object that the answer repeats, where they are there and not null. */
static void put_known(struct weir_jsonw *w, struct weir_span object, const char *const *names) {
    struct weir_span raw;
    weir_jsonw_object_begin(w);
    for (; *names != NULL; names++)
        if (weir_json_member(object, *names, &raw) && weir_json_type_of(raw) != WEIR_JSON_NULL)
            weir_translate_put(w, *names, raw);
    weir_jsonw_object_end(w);
}

static void put_reasoning(struct weir_jsonw *w, struct weir_span raw) {
    static const char *const names[] = {"effort", "summary", NULL};
    put_known(w, raw, names);
}

static void put_choice(struct weir_jsonw *w, struct weir_span raw) {
    static const char *const names[] = {"type", "name", "mode", "tools", NULL};
    if (weir_json_type_of(raw) == WEIR_JSON_OBJECT)
        put_known(w, raw, names);
    else
        weir_jsonw_raw(w, raw);
}

/* It always has a format. */
static void put_text(struct weir_jsonw *w, struct weir_span text) {
    static const char *const names[] = {"type", "name", "schema", "description", "strict", NULL};
    struct weir_span raw;
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "format");
    if (weir_json_member(text, "format", &raw) && weir_json_type_of(raw) == WEIR_JSON_OBJECT)
        put_known(w, raw, names);
    else
        weir_jsonw_raw(w, WEIR_SPAN_LIT("{\"type\":\"text\"}"));
    if (weir_json_member(text, "verbosity", &raw) && weir_json_type_of(raw) != WEIR_JSON_NULL)
        weir_translate_put(w, "verbosity", raw);
    weir_jsonw_object_end(w);
}

/* What the writer makes of a value that is there, in the arena. */
static bool echo(struct weir_openai_reading *r, struct weir_span raw,
                 void (*write)(struct weir_jsonw *w, struct weir_span raw), struct weir_span *ret) {
    struct weir_jsonw w;
    struct weir_buf out;
    if (raw.data == NULL)
        return true;
    weir_buf_init(&out, 2 * r->body.len + 4096);
    weir_jsonw_init(&w, &out);
    write(&w, raw);
    *ret =
        w.status == WEIR_OK ? weir_arena_copy(r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return ret->data != NULL || weir_openai_nomem(r);
}

static bool make_echo(struct weir_openai_reading *r, const struct members *m,
                      const struct weir_responses_echo **ret) {
    struct weir_responses_echo *e = weir_arena_zalloc(r->arena, sizeof(*e));
    if (e == NULL)
        return weir_openai_nomem(r);
    *e = (struct weir_responses_echo){.instructions = m->instructions,
                                      .max_output_tokens = m->max_output_tokens,
                                      .metadata = m->metadata,
                                      .parallel_tool_calls = m->parallel_tool_calls,
                                      .prompt_cache_key = m->prompt_cache_key,
                                      .prompt_cache_retention = m->prompt_cache_retention,
                                      .safety_identifier = m->safety_identifier,
                                      .service_tier = m->service_tier,
                                      .temperature = m->temperature,
                                      .top_logprobs = m->top_logprobs,
                                      .top_p = m->top_p,
                                      .truncation = m->truncation};
    *ret = e;
    return echo(r, m->tools, weir_responses_put_echoed_tools, &e->tools) &&
           echo(r, m->text, put_text, &e->text) &&
           echo(r, m->reasoning, put_reasoning, &e->reasoning) &&
           echo(r, m->tool_choice, put_choice, &e->tool_choice);
}

bool weir_responses_to_chat(struct weir_openai_reading *r, const struct weir_openai_rules *rules,
                            struct weir_span *ret_chat,
                            const struct weir_responses_echo **ret_echo) {
    struct members m;
    memset(&m, 0, sizeof(m));
    return read_members(r, &m) &&
           (m.nvext.data == NULL || rules->drop_nvext || check_extra_fields(r, m.nvext)) &&
           check_supported(r, &m) && check_bounds(r, &m) &&
           weir_translate_keep(r, &m, put_chat, ret_chat) && make_echo(r, &m, ret_echo);
}

/* ---- refusals of the chat ------------------------------------------------------------------- */

static bool has(struct weir_span text, const char *part) {
    return memmem(text.data, text.len, part, strlen(part)) != NULL;
}

bool weir_responses_reword(struct weir_openai_error *error, struct weir_arena *arena) {
    bool converts;
    struct weir_span text = error->message;
    if (weir_span_starts(text, WEIR_SPAN_LIT("Validation: ")) && has(text, "`response_format"))
        return true;
    text = weir_translate_reword(text, &converts);
    error->message = text;
    if (!converts && !has(text, "Invalid schema for function"))
        return true;
    struct weir_buf out;
    weir_buf_init(&out, text.len + 128);
    enum weir_status st = weir_buf_append_z(&out, "Failed to convert responses request: ");
    if (st == WEIR_OK)
        st = weir_buf_append_span(&out, text);
    error->message =
        st == WEIR_OK ? weir_arena_copy(arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return error->message.data != NULL;
}
