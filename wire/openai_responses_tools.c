/* Tools of the Responses API, which are flat, as those of a chat; and back, as an answer repeats
 * them. Source: probes of the reference system 1.6.1. */
#include "wire/openai_responses_priv.h"

static const char only_functions[] =
    "the Chat Completions adapter supports only function tools and none, auto, required, named "
    "function, or function-only allowed_tools choices";

static void put_member(struct weir_jsonw *w, const char *key, struct weir_span object,
                       const char *from) {
    struct weir_span raw;
    if (!weir_json_member(object, from, &raw) || weir_json_type_of(raw) == WEIR_JSON_NULL)
        return;
    weir_jsonw_key(w, key);
    weir_jsonw_raw(w, raw);
}

static bool is_function(struct weir_span object) {
    struct weir_span type;
    return weir_json_member(object, "type", &type) && weir_span_eqz(type, "\"function\"");
}

/* A type that is no function's, named as text. */
static bool refuse_type(struct weir_openai_reading *r, const char *what, struct weir_span object) {
    struct weir_span raw, type = {"", 0};
    if (weir_json_member(object, "type", &raw) && !weir_raw_string(r, raw, &type) && r->failed)
        return false;
    return weir_openai_fail(r, 400,
                            "Failed to convert responses request: Unsupported Responses %s type "
                            "'%.*s': %s",
                            what, WEIR_SPAN_ARG(type), only_functions);
}

static bool name_of(struct weir_openai_reading *r, struct weir_span object, struct weir_span *ret) {
    struct weir_span raw;
    return weir_json_member(object, "name", &raw) && weir_raw_string(r, raw, ret);
}

/* ---- allowed_tools -------------------------------------------------------------------------- */

static bool is_allowed(struct weir_openai_reading *r, struct weir_span allowed,
                       struct weir_span name) {
    struct weir_json j;
    struct weir_span entry, other;
    bool found = false;
    weir_json_init(&j, allowed, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (!found && weir_json_array_next(&j) && weir_json_skip(&j, &entry))
        found = name_of(r, entry, &other) && weir_span_eq(name, other);
    return found;
}

static bool is_tool(struct weir_openai_reading *r, struct weir_span tools, struct weir_span name) {
    return tools.data != NULL && is_allowed(r, tools, name);
}

/* Each entry names a function that is there. */
static bool check_allowed(struct weir_openai_reading *r, struct weir_span tools,
                          struct weir_span allowed) {
    struct weir_json j;
    struct weir_span entry, name;
    size_t n = 0;
    weir_json_init(&j, allowed, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (; weir_json_array_next(&j) && weir_json_skip(&j, &entry); n++) {
        if (!is_function(entry) || !name_of(r, entry, &name))
            return weir_openai_fail(r, 400,
                                    "Failed to convert responses request: Responses allowed_tools "
                                    "currently supports only function entries with a string name");
        if (!is_tool(r, tools, name))
            return weir_openai_fail(r, 400,
                                    "Failed to convert responses request: Responses allowed_tools "
                                    "references unknown function '%.*s'",
                                    WEIR_SPAN_ARG(name));
    }
    return n > 0 || weir_openai_fail(r, 400,
                                     "Failed to convert responses request: Responses "
                                     "allowed_tools must contain at least one function");
}

/* ---- to a chat ------------------------------------------------------------------------------ */

static void put_tool(struct weir_jsonw *w, struct weir_span tool) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "function");
    weir_jsonw_key(w, "function");
    weir_jsonw_object_begin(w);
    put_member(w, "name", tool, "name");
    put_member(w, "description", tool, "description");
    put_member(w, "parameters", tool, "parameters");
    put_member(w, "strict", tool, "strict");
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

static bool check_types(struct weir_openai_reading *r, struct weir_span tools) {
    struct weir_json j;
    struct weir_span tool;
    if (tools.data == NULL)
        return true;
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool))
        if (!is_function(tool))
            return refuse_type(r, "tools", tool);
    return true;
}

/* allowed: raw list of those that may be called, or NULL. */
static bool put_list(struct weir_openai_reading *r, struct weir_span tools,
                     struct weir_span allowed, struct weir_jsonw *w) {
    struct weir_json j;
    struct weir_span tool, name;
    if (tools.data == NULL || weir_raw_is_empty_list(tools))
        return true;
    weir_jsonw_key(w, "tools");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
        if (allowed.data != NULL && name_of(r, tool, &name) && !is_allowed(r, allowed, name))
            continue;
        put_tool(w, tool);
    }
    weir_jsonw_array_end(w);
    return !r->failed;
}

bool weir_responses_put_tools(struct weir_openai_reading *r, struct weir_span tools,
                              struct weir_span choice, struct weir_jsonw *w) {
    struct weir_span type, name, mode = choice, allowed = {NULL, 0};
    if (!check_types(r, tools))
        return false;
    if (weir_json_type_of(choice) == WEIR_JSON_OBJECT && weir_json_member(choice, "type", &type) &&
        weir_span_eqz(type, "\"allowed_tools\"") &&
        (!weir_json_member(choice, "mode", &mode) || !weir_json_member(choice, "tools", &allowed) ||
         !check_allowed(r, tools, allowed)))
        return false;
    if (!put_list(r, tools, allowed, w))
        return false;
    if (mode.data == NULL)
        return true;
    if (weir_json_type_of(mode) == WEIR_JSON_OBJECT && !is_function(mode))
        return refuse_type(r, "tool_choice", mode);
    if (weir_json_type_of(mode) == WEIR_JSON_OBJECT &&
        (tools.data == NULL || weir_raw_is_empty_list(tools)) && name_of(r, mode, &name))
        return weir_openai_fail(r, 400,
                                "Failed to convert responses request: Responses tool_choice "
                                "references unknown function '%.*s'",
                                WEIR_SPAN_ARG(name));
    weir_jsonw_key(w, "tool_choice");
    if (weir_json_type_of(mode) != WEIR_JSON_OBJECT) {
        weir_jsonw_raw(w, mode);
        return true;
    }
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "function");
    weir_jsonw_key(w, "function");
    weir_jsonw_object_begin(w);
    put_member(w, "name", mode, "name");
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
    return true;
}

/* ---- back ----------------------------------------------------------------------------------- */

/* strict is true where nothing is said, as in OpenAI's own answers. */
void weir_responses_put_echoed_tools(struct weir_jsonw *w, struct weir_span tools) {
    struct weir_json j;
    struct weir_span tool, strict;
    weir_jsonw_array_begin(w);
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
        weir_jsonw_object_begin(w);
        put_member(w, "type", tool, "type");
        put_member(w, "name", tool, "name");
        put_member(w, "parameters", tool, "parameters");
        weir_jsonw_key(w, "strict");
        weir_jsonw_bool(w, !weir_json_member(tool, "strict", &strict) ||
                               !weir_span_eqz(strict, "false"));
        put_member(w, "description", tool, "description");
        weir_jsonw_object_end(w);
    }
    weir_jsonw_array_end(w);
}
