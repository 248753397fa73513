/*
 * Items of `input` as the messages of a chat. A chat has one assistant message where the Responses
 * API has several items in a row (reasoning, text, calls), and one system message at its beginning:
 * instructions, then system and developer messages, with a blank line between them. Source: probes
 * of the reference system 1.6.1.
 */
#include "wire/openai_responses_priv.h"
#include "wire/openai_shapes.h"

struct turns {
    struct weir_openai_reading *r;
    struct weir_jsonw *w;
    bool leading, has_system; /* nothing but instructions so far; of these, some */
    bool assistant;           /* one is being gathered: */
    struct weir_buf system, text, reasoning, calls;
    struct weir_jsonw calls_w;
};

static bool memory(struct turns *t, enum weir_status st) {
    return st == WEIR_OK || weir_openai_nomem(t->r);
}

static void end_leading(struct turns *t) {
    if (t->leading && t->has_system) {
        weir_translate_begin_message(t->w, "system");
        weir_jsonw_string(t->w, weir_buf_span(&t->system));
        weir_jsonw_object_end(t->w);
    }
    t->leading = false;
}

static void end_assistant(struct turns *t) {
    end_leading(t);
    if (!t->assistant)
        return;
    weir_translate_put_assistant(t->w, &t->text, &t->reasoning, &t->calls, &t->calls_w);
    t->assistant = false;
}

static bool refuse_part(struct turns *t, struct weir_span type) {
    if (weir_json_is(type, "input_file"))
        return weir_openai_fail(t->r, 400,
                                "Validation: Failed to convert responses request: File input "
                                "content is not yet supported");
    return weir_openai_fail(t->r, 400,
                            "Validation: Failed to convert responses request: images are "
                            "supported in user messages and in outputs of functions only");
}

/* All text of a string or of parts. */
static bool append_texts(struct turns *t, struct weir_span content, struct weir_buf *out) {
    struct weir_json j;
    struct weir_span part, type, text;
    if (weir_json_type_of(content) == WEIR_JSON_STRING)
        return weir_translate_append(t->r, content, out);
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY)
        return true;
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &part)) {
        if (!weir_json_member(part, "text", &text) && !weir_json_member(part, "refusal", &text))
            return weir_json_member(part, "type", &type) && refuse_part(t, type);
        if (!weir_translate_append(t->r, text, out))
            return false;
    }
    return true;
}

/* ---- user --------------------------------------------------------------------------------- */

static bool put_image(struct turns *t, struct weir_span part) {
    struct weir_span url, detail, id;
    if (!weir_json_member(part, "image_url", &url) || weir_json_type_of(url) != WEIR_JSON_STRING)
        return weir_json_member(part, "file_id", &id) && weir_json_type_of(id) == WEIR_JSON_STRING
                   ? weir_openai_fail(t->r, 400,
                                      "Validation: Failed to convert responses request: Image "
                                      "input by file_id is not yet supported")
                   : weir_openai_fail(t->r, 400,
                                      "Failed to convert responses request: input_image requires "
                                      "file_id or image_url");
    if (!weir_openai_is_url(url))
        return weir_openai_fail(t->r, 400,
                                "Failed to convert responses request: Invalid image URL: relative "
                                "URL without a base");
    if (!weir_json_member(part, "detail", &detail) || weir_json_type_of(detail) == WEIR_JSON_NULL)
        detail = WEIR_SPAN_LIT("\"auto\"");
    weir_translate_put_image(t->w, url, detail);
    return true;
}

static bool put_part(struct turns *t, struct weir_span part) {
    struct weir_span type = {NULL, 0}, text;
    weir_json_member(part, "type", &type);
    if (weir_json_is(type, "input_image"))
        return put_image(t, part);
    if (!weir_json_member(part, "text", &text) && !weir_json_member(part, "refusal", &text))
        return refuse_part(t, type);
    weir_translate_put_text(t->w, text);
    return true;
}

static bool put_parts(struct turns *t, struct weir_span list) {
    struct weir_json j;
    struct weir_span part;
    bool ok = true;
    weir_json_init(&j, list, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    weir_jsonw_array_begin(t->w);
    while (ok && weir_json_array_next(&j) && weir_json_skip(&j, &part))
        ok = put_part(t, part);
    weir_jsonw_array_end(t->w);
    return ok;
}

static bool put_user(struct turns *t, struct weir_span content) {
    bool ok = true;
    end_assistant(t);
    weir_translate_begin_message(t->w, "user");
    if (weir_json_type_of(content) == WEIR_JSON_STRING)
        weir_jsonw_raw(t->w, content);
    else
        ok = put_parts(t, content);
    weir_jsonw_object_end(t->w);
    return ok;
}

static bool has_image(struct weir_span content) {
    struct weir_json j;
    struct weir_span part, type;
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY)
        return false;
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &part))
        if (weir_json_member(part, "type", &type) && weir_json_is(type, "input_image"))
            return true;
    return false;
}

/* ---- the others --------------------------------------------------------------------------- */

static bool add_system(struct turns *t, struct weir_span content) {
    if (!t->leading) {
        end_assistant(t);
        weir_buf_clear(&t->system);
        if (!append_texts(t, content, &t->system))
            return false;
        weir_translate_begin_message(t->w, "system");
        weir_jsonw_string(t->w, weir_buf_span(&t->system));
        weir_jsonw_object_end(t->w);
        return true;
    }
    if (t->has_system && !memory(t, weir_buf_append(&t->system, "\n\n", 2)))
        return false;
    t->has_system = true;
    return append_texts(t, content, &t->system);
}

static void begin_assistant(struct turns *t) {
    end_leading(t);
    t->assistant = true;
}

static bool add_reasoning(struct turns *t, struct weir_span item) {
    struct weir_span list;
    size_t before = t->reasoning.len;
    begin_assistant(t);
    if (weir_json_member(item, "content", &list) && !append_texts(t, list, &t->reasoning))
        return false;
    return t->reasoning.len > before || !weir_json_member(item, "summary", &list) ||
           append_texts(t, list, &t->reasoning);
}

static bool add_call(struct turns *t, struct weir_span item) {
    struct weir_span id, name, arguments;
    if (!weir_json_member(item, "call_id", &id) || !weir_json_member(item, "name", &name) ||
        !weir_json_member(item, "arguments", &arguments))
        return false;
    begin_assistant(t);
    if (t->calls.len == 0) {
        weir_jsonw_init(&t->calls_w, &t->calls);
        weir_jsonw_array_begin(&t->calls_w);
    }
    weir_translate_put_call(&t->calls_w, id, name, arguments);
    return memory(t, t->calls_w.status);
}

static bool put_result(struct turns *t, struct weir_span item) {
    struct weir_span id, output;
    struct weir_buf text;
    if (!weir_json_member(item, "call_id", &id) || !weir_json_member(item, "output", &output))
        return false;
    end_assistant(t);
    weir_buf_init(&text, t->text.max);
    bool seen = has_image(output), ok = seen || append_texts(t, output, &text);
    weir_translate_begin_message(t->w, "tool");
    if (seen)
        ok = put_parts(t, output);
    else
        weir_jsonw_string(t->w, weir_buf_span(&text));
    weir_translate_put(t->w, "tool_call_id", id);
    weir_jsonw_object_end(t->w);
    weir_buf_fini(&text);
    return ok;
}

static bool put_message(struct turns *t, struct weir_span item) {
    struct weir_span role, content;
    if (!weir_json_member(item, "role", &role) || !weir_json_member(item, "content", &content))
        return false;
    if (weir_json_is(role, "user"))
        return put_user(t, content);
    if (!weir_json_is(role, "assistant"))
        return add_system(t, content);
    begin_assistant(t);
    return append_texts(t, content, &t->text);
}

static bool put_item(struct turns *t, struct weir_span item, size_t index) {
    struct weir_span type;
    if (!weir_json_member(item, "type", &type) || weir_json_type_of(type) == WEIR_JSON_NULL ||
        weir_json_is(type, "message"))
        return put_message(t, item);
    if (weir_json_is(type, "function_call"))
        return add_call(t, item);
    if (weir_json_is(type, "function_call_output"))
        return put_result(t, item);
    if (weir_json_is(type, "reasoning"))
        return add_reasoning(t, item);
    return weir_openai_fail(t->r, 400,
                            "Validation: `input[%zu]`: items of type %.*s are not supported: "
                            "nothing is stored here, and only function tools are called",
                            index, WEIR_SPAN_ARG(type));
}

bool weir_responses_put_messages(struct weir_openai_reading *r, struct weir_span instructions,
                                 struct weir_span input, struct weir_jsonw *w) {
    size_t max = r->body.len + 4096; /* texts are not longer than what they are written in */
    struct turns t = {.r = r, .w = w, .leading = true};
    struct weir_json j;
    struct weir_span item;
    bool ok = true;
    weir_buf_init(&t.system, max);
    weir_buf_init(&t.text, max);
    weir_buf_init(&t.reasoning, max);
    weir_buf_init(&t.calls, 4 * max);
    weir_jsonw_array_begin(w);
    if (instructions.data != NULL)
        ok = add_system(&t, instructions);
    if (ok && weir_json_type_of(input) == WEIR_JSON_STRING) {
        ok = put_user(&t, input);
    } else if (ok) {
        weir_json_init(&j, input, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        for (size_t i = 0; ok && weir_json_array_next(&j) && weir_json_skip(&j, &item); i++)
            ok = put_item(&t, item, i);
    }
    end_assistant(&t);
    weir_jsonw_array_end(w);
    weir_buf_fini(&t.system);
    weir_buf_fini(&t.text);
    weir_buf_fini(&t.reasoning);
    weir_buf_fini(&t.calls);
    return ok && !r->failed;
}
