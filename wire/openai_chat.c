/* Messages, tools and response formats of chat requests, beyond their shapes. */
#include "wire/openai_priv.h"
#include "wire/strict_schema.h"

#include <string.h>

enum { MAX_NAME = 128 };

/* ---- messages ----------------------------------------------------------------------------- */

/* Templates take the arguments as an object, so they must be the text of one (or empty). */
static bool check_arguments(struct weir_openai_reading *r, struct weir_span raw, size_t message,
                            size_t call) {
    struct weir_span text;
    struct weir_json j;
    if (weir_json_type_of(raw) == WEIR_JSON_OBJECT)
        return true;
    if (!weir_raw_string(r, raw, &text))
        return false;
    if (weir_span_trim(text).len == 0)
        return true;
    weir_json_init(&j, text, WEIR_OPENAI_DEPTH);
    bool object = weir_json_peek(&j) == WEIR_JSON_OBJECT;
    if (weir_json_skip(&j, NULL) && weir_json_finish(&j))
        return object ? true
                      : weir_openai_fail(r, 400,
                                         "Validation: `messages[%zu].tool_calls[%zu].function."
                                         "arguments` must be a valid JSON object string",
                                         message, call);
    unsigned line, column;
    weir_json_line_column(text, j.error_pos, &line, &column);
    return weir_openai_fail(
        r, 400,
        "Validation: `messages[%zu].tool_calls[%zu].function.arguments` must be a "
        "valid JSON object string: %s at line %u column %u",
        message, call, weir_json_error_text(j.error), line, column);
}

static bool check_tool_calls(struct weir_openai_reading *r, struct weir_span raw, size_t message) {
    struct weir_json j;
    struct weir_span call, function, arguments;
    if (weir_json_type_of(raw) != WEIR_JSON_ARRAY)
        return true;
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j) && weir_json_skip(&j, &call); i++)
        if (weir_json_member(call, "function", &function) &&
            weir_json_member(function, "arguments", &arguments) &&
            !check_arguments(r, arguments, message, i))
            return false;
    return true;
}

/* A part that is no text. */
static bool has_media(struct weir_span content) {
    struct weir_json j;
    struct weir_span part, type;
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY)
        return false;
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &part))
        if (weir_json_member(part, "type", &type) && !weir_json_is(type, "text") &&
            !weir_json_is(type, "refusal"))
            return true;
    return false;
}

bool weir_openai_check_messages(struct weir_openai_reading *r) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span message, value;
    if (r->notes == 0) /* texts only, no calls */
        return true;
    weir_json_init(&j, r->req->messages, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (size_t n = 0; weir_json_array_next(&j) && weir_json_skip(&j, &message); n++) {
        struct weir_json m;
        weir_json_init(&m, message, WEIR_OPENAI_DEPTH);
        weir_json_object_enter(&m);
        while (weir_json_object_next(&m, &key) && weir_json_skip(&m, &value)) {
            if (weir_json_str_eqz(key, "content"))
                r->req->has_media |= has_media(value);
            else if (weir_json_str_eqz(key, "tool_calls") && !check_tool_calls(r, value, n))
                return false;
        }
    }
    return true;
}

/* ---- tools -------------------------------------------------------------------------------- */

static bool name_ok(struct weir_span name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-'))
            return false;
    }
    return name.len > 0;
}

static bool check_strict(struct weir_openai_reading *r, struct weir_span function,
                         struct weir_span name, struct weir_span parameters) {
    struct weir_span strict;
    struct weir_buf why;
    if (r->any_strict_tool || !weir_json_member(function, "strict", &strict) ||
        !weir_span_eqz(strict, "true"))
        return true;
    weir_buf_init(&why, 4096);
    enum weir_status st = weir_strict_schema_check(parameters, r->arena, &why);
    if (st == WEIR_INVALID)
        weir_openai_fail(r, 400, "Validation: Invalid schema for function '%.*s': %.*s",
                         WEIR_SPAN_ARG(name), (int)why.len, why.data);
    weir_buf_fini(&why);
    return st == WEIR_OK || (st == WEIR_INVALID ? false : weir_openai_nomem(r));
}

static bool check_tool(struct weir_openai_reading *r, struct weir_span tool, size_t index,
                       struct weir_span *ret_name) {
    struct weir_span function, raw, name, parameters;
    if (!weir_json_member(tool, "function", &function) ||
        !weir_json_member(function, "name", &raw) || !weir_raw_string(r, raw, &name))
        return false;
    if (name.len > MAX_NAME)
        return weir_openai_fail(r, 400,
                                "Validation: Function name at index %zu exceeds %d character "
                                "limit, got %zu characters",
                                index, MAX_NAME, name.len);
    if (weir_span_trim(name).len == 0)
        return weir_openai_fail(r, 400, "Validation: Function name at index %zu cannot be empty",
                                index);
    if (!name_ok(name))
        return weir_openai_fail(
            r, 400,
            "Validation: Function at index %zu has an invalid name: \"%.*s\". Only "
            "a-z, A-Z, 0-9, underscores, and dashes are allowed.",
            index, WEIR_SPAN_ARG(name));
    *ret_name = name;
    if (!weir_json_member(function, "parameters", &parameters) ||
        weir_json_type_of(parameters) == WEIR_JSON_NULL)
        return true;
    if (weir_json_type_of(parameters) != WEIR_JSON_OBJECT)
        return weir_openai_fail(r, 400,
                                "Validation: Function parameters at index %zu for \"%.*s\" must "
                                "be a JSON Schema object",
                                index, WEIR_SPAN_ARG(name));
    return check_strict(r, function, name, parameters);
}

/* The name that tool_choice asks for; data NULL when it names none. */
static struct weir_span chosen_name(struct weir_openai_reading *r) {
    struct weir_span function, raw, name = {NULL, 0};
    if (r->req->tool_choice.data != NULL &&
        weir_json_member(r->req->tool_choice, "function", &function) &&
        weir_json_member(function, "name", &raw))
        weir_raw_string(r, raw, &name);
    return name;
}

/* The choice of that name without the escapes it came with: names of tools need none. */
static bool respell_choice(struct weir_openai_reading *r, struct weir_span name) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, 256);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "type");
    weir_jsonw_string_z(&w, "function");
    weir_jsonw_key(&w, "function");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "name");
    weir_jsonw_string(&w, name);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    r->req->tool_choice = weir_arena_copy(r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return (w.status == WEIR_OK && r->req->tool_choice.data != NULL) || weir_openai_nomem(r);
}

bool weir_openai_check_tools(struct weir_openai_reading *r) {
    struct weir_openai_request *q = r->req;
    struct weir_span wanted = chosen_name(r), tool;
    struct weir_json j;
    bool found = false;
    size_t n = 0;
    if (q->tools.data != NULL) {
        weir_json_init(&j, q->tools, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool))
            n++;
        if (n == 0)
            return weir_openai_fail(
                r, 400,
                "Validation: tools array cannot be empty; omit the field entirely to "
                "disable tool use");
        if (n > WEIR_OPENAI_MAX_TOOLS)
            return weir_openai_fail(r, 400,
                                    "Validation: Maximum of %d tools are supported, got %zu",
                                    WEIR_OPENAI_MAX_TOOLS, n);
        weir_json_init(&j, q->tools, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        for (size_t i = 0; weir_json_array_next(&j) && weir_json_skip(&j, &tool); i++) {
            struct weir_span name = {NULL, 0};
            if (!check_tool(r, tool, i, &name))
                return false;
            found |= wanted.data != NULL && weir_span_eq(name, wanted);
        }
    }
    if (wanted.data != NULL && !found)
        return weir_openai_fail(
            r, 400, "Validation: tool named \"%.*s\" in tool_choice is not present in tools",
            WEIR_SPAN_ARG(wanted));
    if (wanted.data != NULL && weir_span_find(q->tool_choice, '\\') >= 0)
        return respell_choice(r, wanted);
    if (weir_json_is(q->tool_choice, "required") && n == 0)
        return weir_openai_fail(r, 400,
                                "Validation: tool_choice is \"required\" but tools is empty");
    return true;
}

/* ---- response formats --------------------------------------------------------------------- */

static const char *type_word(struct weir_span raw) {
    switch (weir_json_type_of(raw)) {
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        return "boolean";
    case WEIR_JSON_NUMBER:
        return "number";
    case WEIR_JSON_STRING:
        return "string";
    case WEIR_JSON_ARRAY:
        return "array";
    default:
        return "null";
    }
}

bool weir_openai_check_response_format(struct weir_openai_reading *r) {
    struct weir_span inner, name, schema;
    r->req->response_format = r->response_format;
    if (r->response_format.data == NULL ||
        !weir_json_member(r->response_format, "json_schema", &inner) ||
        !weir_json_member(inner, "name", &name) || !weir_json_member(inner, "schema", &schema))
        return true;
    if (weir_json_is(name, ""))
        return weir_openai_fail(r, 400,
                                "Validation: `response_format.json_schema.name` cannot be empty");
    if (weir_json_type_of(schema) == WEIR_JSON_NULL)
        return weir_openai_fail(r, 400,
                                "Validation: `response_format.json_schema.schema` is required when "
                                "`response_format.type` is `json_schema`");
    if (weir_json_type_of(schema) != WEIR_JSON_OBJECT)
        return weir_openai_fail(
            r, 400,
            "Validation: `response_format.json_schema.schema` must be a JSON object, "
            "got %s",
            type_word(schema));
    return true;
}

void weir_openai_guide_by_format(struct weir_openai_reading *r) {
    struct weir_span type, inner, schema;
    if (!weir_json_member(r->response_format, "type", &type))
        return;
    if (weir_json_is(type, "json_object"))
        r->guided[0] = WEIR_SPAN_LIT("{\"type\":\"object\"}");
    else if (weir_json_is(type, "json_schema") &&
             weir_json_member(r->response_format, "json_schema", &inner) &&
             weir_json_member(inner, "schema", &schema) &&
             weir_json_type_of(schema) != WEIR_JSON_NULL)
        r->guided[0] = schema;
}
