/* Tools of the Responses API, which are flat, as those of a chat; and back, as an answer repeats
 * them. Source: probes of the reference system 1.6.1. */
#include "wire/openai_responses_priv.h"

static const char only_functions[] =
    "the Chat Completions adapter supports only function tools and none, auto, required, named "
    "function, or function-only allowed_tools choices";

static bool is_function(struct weir_span object) {
    struct weir_span type;
    return weir_json_member(object, "type", &type) && weir_json_is(type, "function");
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

/* ---- allowed_tools -------------------------------------------------------------------------- */

/* Names of functions, each read once: they are compared with each other. */
struct names {
    struct weir_span *items; /* in the arena */
    size_t n;
};

/* Of the entries of a list, all functions. */
static bool read_names(struct weir_openai_reading *r, struct weir_span list, struct names *ret) {
    struct weir_json j;
    struct weir_span entry, raw;
    size_t n = 0;
    *ret = (struct names){0};
    if (list.data == NULL)
        return true;
    weir_json_init(&j, list, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &entry))
        n++;
    if (n > WEIR_OPENAI_MAX_TOOLS)
        return weir_openai_fail(r, 400, "Maximum of %d tools are supported, got %zu",
                                WEIR_OPENAI_MAX_TOOLS, n);
    ret->items = weir_arena_zalloc(r->arena, (n + 1) * sizeof(*ret->items));
    if (ret->items == NULL)
        return weir_openai_nomem(r);
    weir_json_init(&j, list, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (; weir_json_array_next(&j) && weir_json_skip(&j, &entry); ret->n++)
        if (!is_function(entry) || !weir_json_member(entry, "name", &raw) ||
            !weir_raw_string(r, raw, &ret->items[ret->n]))
            return !r->failed &&
                   weir_openai_fail(r, 400,
                                    "Failed to convert responses request: Responses allowed_tools "
                                    "currently supports only function entries with a string name");
    return true;
}

static bool has(const struct names *names, struct weir_span name) {
    for (size_t i = 0; i < names->n; i++)
        if (weir_span_eq(names->items[i], name))
            return true;
    return false;
}

/* Each entry names a function that is there. */
static bool check_allowed(struct weir_openai_reading *r, const struct names *tools,
                          const struct names *allowed) {
    for (size_t i = 0; i < allowed->n; i++)
        if (!has(tools, allowed->items[i]))
            return weir_openai_fail(r, 400,
                                    "Failed to convert responses request: Responses allowed_tools "
                                    "references unknown function '%.*s'",
                                    WEIR_SPAN_ARG(allowed->items[i]));
    return allowed->n > 0 || weir_openai_fail(r, 400,
                                              "Failed to convert responses request: Responses "
                                              "allowed_tools must contain at least one function");
}

/* ---- to a chat ------------------------------------------------------------------------------ */

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

/* allowed: those that may be called, or NULL; names: of the tools, then. */
static void put_list(struct weir_span tools, const struct names *names, const struct names *allowed,
                     struct weir_jsonw *w) {
    struct weir_json j;
    struct weir_span tool;
    if (tools.data == NULL || weir_raw_is_empty_list(tools))
        return;
    weir_jsonw_key(w, "tools");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, tools, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j) && weir_json_skip(&j, &tool); i++)
        if (allowed == NULL || has(allowed, names->items[i]))
            weir_translate_put_tool(w, tool, "parameters");
    weir_jsonw_array_end(w);
}

/* The mode takes the place of the choice. */
static bool put_allowed(struct weir_openai_reading *r, struct weir_span tools,
                        struct weir_span choice, struct weir_jsonw *w, struct weir_span *ret_mode) {
    struct weir_span list;
    struct names names, allowed;
    if (!weir_json_member(choice, "mode", ret_mode) || !weir_json_member(choice, "tools", &list) ||
        !read_names(r, list, &allowed) || !read_names(r, tools, &names) ||
        !check_allowed(r, &names, &allowed))
        return false;
    put_list(tools, &names, &allowed, w);
    return true;
}

static bool put_choice(struct weir_openai_reading *r, struct weir_span choice,
                       struct weir_jsonw *w) {
    struct weir_span name;
    if (choice.data == NULL)
        return true;
    bool object = weir_json_type_of(choice) == WEIR_JSON_OBJECT;
    if (object && !is_function(choice))
        return refuse_type(r, "tool_choice", choice);
    weir_jsonw_key(w, "tool_choice");
    if (!object) {
        weir_jsonw_raw(w, choice);
        return true;
    }
    weir_translate_put_named(w,
                             weir_json_member(choice, "name", &name) ? name : weir_span(NULL, 0));
    return true;
}

bool weir_responses_put_tools(struct weir_openai_reading *r, struct weir_span tools,
                              struct weir_span choice, struct weir_jsonw *w) {
    struct weir_span type;
    if (!check_types(r, tools))
        return false;
    if (weir_json_type_of(choice) == WEIR_JSON_OBJECT && weir_json_member(choice, "type", &type) &&
        weir_json_is(type, "allowed_tools")) {
        if (!put_allowed(r, tools, choice, w, &choice))
            return false;
    } else {
        put_list(tools, NULL, NULL, w);
    }
    return put_choice(r, choice, w);
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
        weir_translate_put_from(w, "type", tool, "type");
        weir_translate_put_from(w, "name", tool, "name");
        weir_translate_put_from(w, "parameters", tool, "parameters");
        weir_jsonw_key(w, "strict");
        weir_jsonw_bool(w, !weir_json_member(tool, "strict", &strict) ||
                               !weir_span_eqz(strict, "false"));
        weir_translate_put_from(w, "description", tool, "description");
        weir_jsonw_object_end(w);
    }
    weir_jsonw_array_end(w);
}
