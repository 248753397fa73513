/*
 * The grammar for a call that must come (tool_choice "required" or a name): the worker is given a
 * JSON schema, with or without a parser of the model's own format. Source: the reference makes the
 * same schemas (a list of {name, parameters}, or the named tool's arguments).
 */
#include "base/json.h"
#include "base/utf8.h"
#include "frontend/parse_output_priv.h"
#include "frontend/request_priv.h"
#include "parsers/wprs.h"

#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 256 };

static struct weir_span member(struct weir_span json, const char *name) {
    struct weir_span value;
    return weir_json_member(json, name, &value) ? value : weir_span(NULL, 0);
}

static bool is_object(struct weir_span json) {
    return json.len > 0 && json.data[0] == '{';
}

static struct weir_span parameters_of(struct weir_span function) {
    struct weir_span parameters = member(function, "parameters");
    return is_object(parameters) ? parameters
                                 : WEIR_SPAN_LIT("{\"type\":\"object\",\"properties\":{}}");
}

/* No members, or no elements. */
static bool is_empty(struct weir_span json) {
    for (size_t i = 1; i + 1 < json.len; i++)
        if (strchr(" \t\r\n", json.data[i]) == NULL)
            return false;
    return true;
}

/* Without their definitions, which stand at the root. */
static void put_parameters(struct weir_jsonw *w, struct weir_span parameters) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    weir_jsonw_object_begin(w);
    weir_json_init(&j, parameters, 128);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value))
            if (!weir_json_str_eqz(key, "$defs")) {
                weir_jsonw_key_text(w, key.raw);
                weir_jsonw_raw(w, value);
            }
    weir_jsonw_object_end(w);
}

static void put_one(struct weir_jsonw *w, struct weir_span function) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "properties");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "name");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "string");
    weir_jsonw_key(w, "enum");
    weir_jsonw_array_begin(w);
    weir_jsonw_raw(w, member(function, "name"));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "parameters");
    put_parameters(w, parameters_of(function));
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "required");
    weir_jsonw_raw(w, WEIR_SPAN_LIT("[\"name\",\"parameters\"]"));
    weir_jsonw_object_end(w);
}

/* "$ref": "#/$defs/…" counts from the schema's root, where the definitions of all tools must stand.
 * False: two tools mean different things by *ret_name, or there are too many names. */
static bool put_definitions(struct weir_jsonw *w, struct weir_request *r,
                            struct weir_span *ret_name) {
    struct weir_span names[NAMES_MAX], values[NAMES_MAX], tool, value;
    size_t n = 0;
    struct weir_json j, d;
    weir_json_init(&j, r->q.tools, 128);
    if (!weir_json_array_enter(&j))
        return true;
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
        struct weir_json_str key;
        struct weir_span defs = member(parameters_of(member(tool, "function")), "$defs");
        weir_json_init(&d, defs, 128);
        if (!is_object(defs) || !weir_json_object_enter(&d))
            continue;
        while (weir_json_object_next(&d, &key) && weir_json_skip(&d, &value)) {
            size_t at = 0;
            while (at < n && !weir_json_str_eq(key, names[at]))
                at++;
            *ret_name = key.raw;
            if (at == NAMES_MAX || (at < n && !weir_span_eq(values[at], value)))
                return false;
            if (at < n)
                continue;
            if (n == 0) {
                weir_jsonw_key(w, "$defs");
                weir_jsonw_object_begin(w);
            }
            names[n] = weir_json_text(key, &r->arena); /* as others may spell it */
            values[n] = value;
            if (names[n++].data == NULL)
                w->status = WEIR_NOMEM;
            weir_jsonw_key_text(w, key.raw);
            weir_jsonw_raw(w, value);
        }
    }
    if (n > 0)
        weir_jsonw_object_end(w);
    return true;
}

static bool put_list(struct weir_jsonw *w, struct weir_request *r, struct weir_span *ret_name) {
    struct weir_json j;
    struct weir_span tool;
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "array");
    weir_jsonw_key(w, "minItems");
    weir_jsonw_u64(w, 1);
    if (!r->q.parallel_tool_calls) {
        weir_jsonw_key(w, "maxItems");
        weir_jsonw_u64(w, 1);
    }
    weir_jsonw_key(w, "items");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "object");
    weir_jsonw_key(w, "anyOf");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, r->q.tools, 128);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool))
            put_one(w, member(tool, "function"));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
    bool agreed = put_definitions(w, r, ret_name);
    weir_jsonw_object_end(w);
    return agreed;
}

/* The schema takes nothing but {}: JSON may have white space anywhere, so that a greedy engine can
 * write spaces for ever; a regular expression lets it write only that. */
static bool takes_nothing(struct weir_span parameters) {
    static const char *const harmless[] = {"title",      "description", "$comment", "default",
                                           "deprecated", "examples",    "readOnly", "writeOnly"};
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    bool is_object_type = false, is_closed = false;
    weir_json_init(&j, parameters, 128);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
        bool known = false;
        for (size_t i = 0; i < WEIR_ARRAY_LEN(harmless); i++)
            known = known || weir_json_str_eqz(key, harmless[i]);
        if (weir_json_str_eqz(key, "type"))
            known = is_object_type = weir_json_is(value, "object");
        else if (weir_json_str_eqz(key, "additionalProperties"))
            known = is_closed = weir_span_eqz(value, "false");
        else if (weir_json_str_eqz(key, "properties"))
            known = is_object(value) && is_empty(value);
        else if (weir_json_str_eqz(key, "required"))
            known = value.data[0] == '[' && is_empty(value);
        else if (weir_json_str_eqz(key, "minProperties"))
            known = weir_span_eqz(value, "0");
        else if (weir_json_str_eqz(key, "maxProperties"))
            known = value.data[0] >= '0' && value.data[0] <= '9';
        if (!known)
            return false;
    }
    return is_object_type && is_closed;
}

static struct weir_span parameters_named(struct weir_span tools, struct weir_span name) {
    struct weir_json j;
    struct weir_span tool;
    weir_json_init(&j, tools, 128);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
            struct weir_span function = member(tool, "function"), own = member(function, "name");
            if (weir_json_is_text(own, name))
                return parameters_of(function);
        }
    return WEIR_SPAN_LIT("{\"type\":\"object\"}");
}

static void put_named(struct weir_jsonw *w, struct weir_span parameters) {
    if (takes_nothing(parameters)) {
        weir_jsonw_key(w, "regex");
        weir_jsonw_string_z(w, "\\{\\}");
    } else {
        weir_jsonw_key(w, "json");
        weir_jsonw_raw(w, parameters);
    }
}

/* Fails the request; false. `name` as it is written. */
static bool contradict(struct weir_request *r, struct weir_span name) {
    char text[256];
    struct weir_json_str written = {name, weir_span_find(name, '\\') >= 0};
    struct weir_span read = weir_json_text(written, &r->arena);
    if (read.data == NULL)
        return weir_request_fail_memory(r);
    int n =
        snprintf(text, sizeof(text),
                 "The tools have different definitions of \"%.*s\" in $defs, or more than %d names "
                 "there: with a tool_choice that forces a call each name may mean one thing",
                 WEIR_SPAN_ARG(weir_utf8_cut(read, 64)), NAMES_MAX);
    weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span(text, (size_t)n)), "validation");
    return false;
}

bool weir_guide_forced_call(struct weir_request *r) {
    struct weir_span name = {NULL, 0}, *guided = &r->q.prep.sampling.guided_decoding;
    if (r->q.kind != WEIR_OPENAI_CHAT || !weir_parsed_must_call(r))
        return true;
    if (guided->data != NULL && !r->q.guided_by_format) {
        weir_request_fail(r, 400,
                          WEIR_SPAN_LIT("Guided decoding cannot be used with a tool_choice that "
                                        "forces a call: leave one of them out"),
                          "validation");
        return false;
    }
    enum wprs_choice choice = weir_parsed_choice(r, &name);
    struct weir_buf out;
    struct weir_jsonw w;
    bool agreed = true;
    weir_buf_init(&out, WEIR_OUT_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if (choice == WPRS_CHOICE_NAMED) {
        put_named(&w, parameters_named(r->q.tools, name));
    } else {
        weir_jsonw_key(&w, "json");
        agreed = put_list(&w, r, &name);
    }
    weir_jsonw_object_end(&w);
    *guided = weir_span(NULL, 0);
    if (w.status == WEIR_OK && agreed)
        *guided = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    if (!agreed)
        return contradict(r, name);
    return guided->data != NULL || weir_request_fail_memory(r);
}
