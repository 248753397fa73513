/* Messages, tools and response formats of chat requests. */
#include "wire/openai_priv.h"

#include <string.h>

enum { MAX_TOOLS = 1536 };

/* ---- messages ----------------------------------------------------------------------------- */

static bool fail_content(struct weir_openai_reading *r, const char *role) {
    return weir_openai_fail_at(
        r, r->end,
        "data did not match any variant of untagged enum ChatCompletionRequest%sMessageContent",
        role);
}

/* {"url": "…"} of an image, video or audio part. */
static bool has_url(struct weir_span part, const char *member) {
    struct weir_span inner, url;
    return weir_raw_get(part, member, &inner) && weir_raw_get(inner, "url", &url) &&
           weir_raw_type(url) == WEIR_JSON_STRING;
}

static bool part_ok(struct weir_span part, bool text_only) {
    struct weir_span type, text;
    if (!weir_raw_get(part, "type", &type))
        return false;
    if (weir_span_eqz(type, "\"text\""))
        return weir_raw_get(part, "text", &text) && weir_raw_type(text) == WEIR_JSON_STRING;
    if (text_only)
        return false;
    if (weir_span_eqz(type, "\"image_url\""))
        return has_url(part, "image_url");
    if (weir_span_eqz(type, "\"video_url\""))
        return has_url(part, "video_url");
    if (weir_span_eqz(type, "\"audio_url\""))
        return has_url(part, "audio_url");
    return weir_span_eqz(type, "\"input_audio\"") && weir_raw_get(part, "input_audio", &text);
}

/* A string or a list of parts. */
static bool check_content(struct weir_openai_reading *r, struct weir_span raw, const char *role) {
    struct weir_json j;
    if (weir_raw_type(raw) == WEIR_JSON_STRING)
        return true;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return fail_content(r, role);
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span part, type;
        if (!weir_json_skip(&j, &part) || !part_ok(part, strcmp(role, "User") != 0))
            return fail_content(r, role);
        r->req->has_media |= weir_raw_get(part, "type", &type) && !weir_span_eqz(type, "\"text\"");
    }
    return true;
}

/* Templates take the arguments as an object, so they must be the text of one (or empty). */
static bool check_arguments(struct weir_openai_reading *r, struct weir_span raw, size_t message,
                            size_t call) {
    struct weir_span text;
    struct weir_json j;
    if (weir_raw_type(raw) == WEIR_JSON_OBJECT)
        return true;
    if (!weir_raw_string(r, r->end, raw, &text))
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

static bool check_tool_call(struct weir_openai_reading *r, struct weir_span call, size_t message,
                            size_t index) {
    struct weir_span id, type, function, name, arguments;
    if (weir_raw_get(call, "type", &type) && !weir_span_eqz(type, "\"function\"")) {
        struct weir_span word = {"", 0};
        return weir_raw_string(r, r->end, type, &word)
                   ? weir_openai_fail_at(r, r->end, "unknown variant `%.*s`, expected `function`",
                                         WEIR_SPAN_ARG(word))
                   : false;
    }
    if (!weir_raw_get(call, "id", &id))
        return weir_openai_fail_at(r, r->end, "missing field `id`");
    if (!weir_raw_get(call, "function", &function))
        return weir_openai_fail_at(r, r->end, "missing field `function`");
    if (!weir_raw_get(function, "name", &name))
        return weir_openai_fail_at(r, r->end, "missing field `name`");
    if (!weir_raw_get(function, "arguments", &arguments))
        return weir_openai_fail_at(r, r->end, "missing field `arguments`");
    return check_arguments(r, arguments, message, index);
}

static bool check_tool_calls(struct weir_openai_reading *r, struct weir_span raw, size_t message) {
    struct weir_json j;
    size_t index = 0;
    if (weir_raw_type(raw) == WEIR_JSON_NULL)
        return true;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, r->end, raw, "a sequence");
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span call;
        if (!weir_json_skip(&j, &call) || !check_tool_call(r, call, message, index++))
            return false;
    }
    return true;
}

/* What a message of each role must have. */
static bool check_role(struct weir_openai_reading *r, const char *role, struct weir_span message,
                       const struct weir_span *content, size_t index) {
    struct weir_span other;
    bool null = content->data == NULL || weir_raw_type(*content) == WEIR_JSON_NULL;
    if (strcmp(role, "assistant") == 0) {
        if (!null && !check_content(r, *content, "Assistant"))
            return false;
        return !weir_raw_get(message, "tool_calls", &other) || check_tool_calls(r, other, index);
    }
    if (content->data == NULL)
        return strcmp(role, "function") == 0
                   ? true
                   : weir_openai_fail_at(r, r->end, "missing field `content`");
    if (strcmp(role, "tool") == 0)
        return weir_raw_get(message, "tool_call_id", &other)
                   ? check_content(r, *content, "Tool")
                   : weir_openai_fail_at(r, r->end, "missing field `tool_call_id`");
    if (strcmp(role, "function") == 0)
        return true;
    return check_content(r, *content,
                         strcmp(role, "user") == 0     ? "User"
                         : strcmp(role, "system") == 0 ? "System"
                                                       : "Developer");
}

static bool check_message(struct weir_openai_reading *r, struct weir_span raw, size_t index) {
    static const char *const roles[] = {"developer", "system", "user",
                                        "assistant", "tool",   "function"};
    struct weir_span role_raw = {NULL, 0}, content = {NULL, 0}, word;
    struct weir_json j;
    struct weir_json_str key;
    unsigned n_roles = 0, n_contents = 0;
    if (weir_raw_type(raw) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, r->end, raw, "internally tagged enum Wire");
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key)) {
        struct weir_span value;
        if (!weir_json_skip(&j, &value))
            return false;
        if (weir_json_str_eqz(key, "role")) {
            role_raw = value;
            n_roles++;
        } else if (weir_json_str_eqz(key, "content")) {
            content = value;
            n_contents++;
        }
    }
    if (n_roles > 1 || n_contents > 1)
        return weir_openai_fail_at(r, r->end, "duplicate field `%s`",
                                   n_roles > 1 ? "role" : "content");
    if (n_roles == 0)
        return weir_openai_fail_at(r, r->end, "missing field `role`");
    if (weir_raw_type(role_raw) != WEIR_JSON_STRING)
        return weir_openai_fail_type(r, r->end, role_raw, "variant identifier");
    if (!weir_raw_string(r, r->end, role_raw, &word))
        return false;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(roles); i++)
        if (weir_span_eqz(word, roles[i]))
            return check_role(r, roles[i], raw, &content, index);
    return weir_openai_fail_at(
        r, r->end,
        "unknown variant `%.*s`, expected one of `developer`, `system`, `user`, "
        "`assistant`, `tool`, `function`",
        WEIR_SPAN_ARG(word));
}

bool weir_openai_check_messages(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_json j;
    size_t n = 0;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, r->end, raw, "a sequence");
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span message;
        if (!weir_json_skip(&j, &message) || !check_message(r, message, n++))
            return false;
    }
    r->messages_empty = n == 0;
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

static bool check_parameters(struct weir_openai_reading *r, struct weir_span function,
                             struct weir_span name) {
    struct weir_span parameters, strict, type;
    bool has = weir_raw_get(function, "parameters", &parameters) &&
               weir_raw_type(parameters) != WEIR_JSON_NULL;
    if (has && weir_raw_type(parameters) != WEIR_JSON_OBJECT)
        return weir_openai_fail(r, 400,
                                "Validation: Function '%.*s' parameters must be a JSON object",
                                WEIR_SPAN_ARG(name));
    if (!weir_raw_get(function, "strict", &strict) || !weir_span_eqz(strict, "true"))
        return true;
    if (has && weir_raw_get(parameters, "type", &type) && weir_span_eqz(type, "\"object\""))
        return true;
    if (has && weir_raw_get(parameters, "$ref", &type))
        return true;
    return weir_openai_fail(
        r, 400,
        "Validation: Invalid schema for function '%.*s': In context=#, unsupported "
        "root representation: Dynamo requires an object-only type or "
        "local-reference chain",
        WEIR_SPAN_ARG(name));
}

static bool check_tool(struct weir_openai_reading *r, struct weir_span tool, size_t index,
                       struct weir_span *ret_name) {
    struct weir_span type, function, raw, name;
    if (weir_raw_type(tool) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, r->end, tool, "struct ChatCompletionTool");
    if (!weir_raw_get(tool, "type", &type))
        return weir_openai_fail_at(r, r->end, "missing field `type`");
    if (!weir_span_eqz(type, "\"function\"")) {
        struct weir_span word;
        return weir_raw_string(r, r->end, type, &word)
                   ? weir_openai_fail_at(r, r->end, "unknown variant `%.*s`, expected `function`",
                                         WEIR_SPAN_ARG(word))
                   : false;
    }
    if (!weir_raw_get(tool, "function", &function))
        return weir_openai_fail_at(r, r->end, "missing field `function`");
    if (!weir_raw_get(function, "name", &raw))
        return weir_openai_fail_at(r, r->end, "missing field `name`");
    if (!weir_raw_string(r, r->end, raw, &name))
        return false;
    if (name.len == 0)
        return weir_openai_fail(r, 400, "Validation: Function at index %zu has an empty name",
                                index);
    if (!name_ok(name))
        return weir_openai_fail(
            r, 400,
            "Validation: Function at index %zu has an invalid name: \"%.*s\". Only "
            "a-z, A-Z, 0-9, underscores, and dashes are allowed.",
            index, WEIR_SPAN_ARG(name));
    *ret_name = name;
    return check_parameters(r, function, name);
}

/* The name that tool_choice asks for; data NULL when it names none. */
static struct weir_span chosen_name(struct weir_openai_reading *r) {
    struct weir_span function, raw, name = {NULL, 0};
    if (r->req->tool_choice.data != NULL &&
        weir_raw_get(r->req->tool_choice, "function", &function) &&
        weir_raw_get(function, "name", &raw))
        weir_raw_string(r, r->end, raw, &name);
    return name;
}

bool weir_openai_check_tools(struct weir_openai_reading *r) {
    struct weir_openai_request *q = r->req;
    struct weir_span wanted = chosen_name(r);
    bool found = false;
    size_t n = 0;
    if (q->tools.data != NULL) {
        struct weir_json j;
        weir_json_init(&j, q->tools, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        while (weir_json_array_next(&j)) {
            struct weir_span tool, name = {NULL, 0};
            if (!weir_json_skip(&j, &tool) || (n < MAX_TOOLS && !check_tool(r, tool, n, &name)))
                return false;
            found |= wanted.data != NULL && weir_span_eq(name, wanted);
            n++;
        }
        if (n == 0)
            return weir_openai_fail(
                r, 400,
                "Validation: tools array cannot be empty; omit the field entirely to "
                "disable tool use");
        if (n > MAX_TOOLS)
            return weir_openai_fail(
                r, 400, "Validation: Maximum of %d tools are supported, got %zu", MAX_TOOLS, n);
    }
    if (wanted.data != NULL && !found)
        return weir_openai_fail(
            r, 400, "Validation: tool named \"%.*s\" in tool_choice is not present in tools",
            WEIR_SPAN_ARG(wanted));
    if (weir_span_eqz(q->tool_choice, "\"required\"") && n == 0)
        return weir_openai_fail(r, 400, "Validation: tool_choice `required` needs tools");
    return true;
}

/* ---- response formats --------------------------------------------------------------------- */

static const char *type_word(struct weir_span raw) {
    switch (weir_raw_type(raw)) {
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

static bool check_schema(struct weir_openai_reading *r, struct weir_span format) {
    struct weir_span inner, name_raw, name, schema;
    if (!weir_raw_get(format, "json_schema", &inner))
        return weir_openai_fail_at(r, r->end, "missing field `json_schema`");
    if (!weir_raw_get(inner, "name", &name_raw))
        return weir_openai_fail_at(r, r->end, "missing field `name`");
    if (!weir_raw_get(inner, "schema", &schema))
        return weir_openai_fail_at(r, r->end, "missing field `schema`");
    if (!weir_raw_string(r, r->end, name_raw, &name))
        return false;
    if (name.len == 0)
        return weir_openai_fail(r, 400,
                                "Validation: `response_format.json_schema.name` cannot be empty");
    if (weir_raw_type(schema) == WEIR_JSON_NULL)
        return weir_openai_fail(r, 400,
                                "Validation: `response_format.json_schema.schema` is required when "
                                "`response_format.type` is `json_schema`");
    if (weir_raw_type(schema) != WEIR_JSON_OBJECT)
        return weir_openai_fail(
            r, 400,
            "Validation: `response_format.json_schema.schema` must be a JSON object, "
            "got %s",
            type_word(schema));
    if (r->guided[0].data == NULL)
        r->guided[0] = schema;
    return true;
}

bool weir_openai_check_response_format(struct weir_openai_reading *r) {
    struct weir_span format = r->response_format, type, word;
    if (format.data == NULL)
        return true;
    if (weir_raw_type(format) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, r->end, format, "internally tagged enum ResponseFormat");
    if (!weir_raw_get(format, "type", &type))
        return weir_openai_fail_at(r, r->end, "missing field `type`");
    if (!weir_raw_string(r, r->end, type, &word))
        return false;
    if (weir_span_eqz(word, "text"))
        return true;
    if (weir_span_eqz(word, "json_object")) {
        if (r->guided[0].data == NULL)
            r->guided[0] = WEIR_SPAN_LIT("{\"type\":\"object\"}");
        return true;
    }
    if (weir_span_eqz(word, "json_schema"))
        return check_schema(r, format);
    return weir_openai_fail_at(
        r, r->end, "unknown variant `%.*s`, expected one of `text`, `json_object`, `json_schema`",
        WEIR_SPAN_ARG(word));
}
