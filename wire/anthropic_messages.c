/*
 * Messages of the Messages API as those of a chat. A message has blocks: of the user's, texts and
 * images are one message and each result of a tool is one of its own; of the assistant's, thoughts,
 * texts and calls are one message. Source: Anthropic's API reference, recordings of the reference
 * system 1.6.1.
 */
#include "wire/anthropic_priv.h"

#include <string.h>

struct turns {
    struct weir_openai_reading *r;
    struct weir_jsonw *w;
    size_t message, block; /* where we are, for refusals */
    bool any;              /* of a user's message: some parts that are not written yet */
    bool images;           /* one of them is no text */
    struct weir_buf text;  /* of the message, gathered */
    struct weir_buf parts; /* the same as parts of a list, for a message with images */
    struct weir_buf reasoning, calls;
    struct weir_jsonw parts_w, calls_w;
};

static bool refuse(struct turns *t, const char *what) {
    return weir_openai_fail(t->r, 400, "messages[%zu].content[%zu]: %s", t->message, t->block,
                            what);
}

/* The raw string that a block must have. */
static bool need(struct turns *t, struct weir_span block, const char *name, struct weir_span *ret) {
    return (weir_json_member(block, name, ret) && weir_json_type_of(*ret) == WEIR_JSON_STRING) ||
           weir_openai_fail(t->r, 400, "messages[%zu].content[%zu].%s: a string is required",
                            t->message, t->block, name);
}

static bool is_type(struct weir_span block, const char *word) {
    struct weir_span type;
    return weir_json_member(block, "type", &type) && weir_json_is(type, word);
}

static bool refuse_type(struct turns *t, struct weir_span block) {
    struct weir_span raw, type;
    if (weir_json_type_of(block) != WEIR_JSON_OBJECT)
        return refuse(t, "content blocks must be objects");
    if (!weir_json_member(block, "type", &raw) || weir_json_type_of(raw) != WEIR_JSON_STRING ||
        raw.len == 2)
        return weir_openai_fail(t->r, 400,
                                "messages[%zu].content[%zu].type: must be a non-empty string",
                                t->message, t->block);
    if (!weir_raw_string(t->r, raw, &type))
        return false;
    return weir_openai_fail(t->r, 400,
                            "messages[%zu].content[%zu]: content block type \"%.*s\" is not "
                            "supported",
                            t->message, t->block, WEIR_SPAN_ARG(type));
}

/* ---- system ------------------------------------------------------------------------------- */

/* The first line that Claude Code writes for the vendor's billing differs from request to request:
 * no prompt would find its beginning in a cache again. */
static struct weir_span without_preamble(struct weir_span text) {
    const char *end = memchr(text.data, '\n', text.len);
    if (!weir_span_starts(text, WEIR_SPAN_LIT("x-anthropic-billing-header:")) || end == NULL)
        return text;
    size_t i = (size_t)(end - text.data);
    while (i < text.len && text.data[i] == '\n')
        i++;
    return weir_span(text.data + i, text.len - i);
}

static bool add_line(struct turns *t, bool first, struct weir_span raw) {
    if (!first && weir_buf_append_c(&t->text, '\n') != WEIR_OK)
        return weir_openai_nomem(t->r);
    return weir_translate_append(t->r, raw, &t->text);
}

/* strip: leaves out the preamble. */
static void end_system(struct turns *t, bool strip) {
    struct weir_span text = t->text.len > 0 ? weir_buf_span(&t->text) : weir_span("", 0);
    weir_translate_begin_message(t->w, "system");
    weir_jsonw_string(t->w, strip ? without_preamble(text) : text);
    weir_jsonw_object_end(t->w);
    weir_buf_clear(&t->text);
}

static bool put_system(struct turns *t, struct weir_span system, bool strip) {
    struct weir_json j;
    struct weir_span block, text;
    bool ok = true, first = true;
    if (system.data == NULL)
        return true;
    if (weir_json_type_of(system) == WEIR_JSON_STRING) {
        ok = add_line(t, true, system);
    } else {
        weir_json_init(&j, system, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        for (; ok && weir_json_array_next(&j) && weir_json_skip(&j, &block); first = false)
            ok = !weir_json_member(block, "text", &text) || add_line(t, first, text);
    }
    end_system(t, strip);
    return ok;
}

/* ---- user --------------------------------------------------------------------------------- */

static bool begin_part(struct turns *t) {
    if (!t->any) {
        weir_jsonw_init(&t->parts_w, &t->parts);
        weir_jsonw_array_begin(&t->parts_w);
    }
    t->any = true;
    return true;
}

/* What was gathered, as one message; tool_call_id NULL: none. */
static void end_parts(struct turns *t, const char *role, struct weir_span tool_call_id) {
    if (!t->any)
        return;
    weir_translate_begin_message(t->w, role);
    if (t->images) {
        weir_jsonw_array_end(&t->parts_w);
        weir_jsonw_raw(t->w, weir_buf_span(&t->parts));
        if (t->w->status == WEIR_OK)
            t->w->status = t->parts_w.status;
    } else {
        weir_jsonw_string(t->w, weir_buf_span(&t->text));
    }
    if (tool_call_id.data != NULL)
        weir_translate_put(t->w, "tool_call_id", tool_call_id);
    weir_jsonw_object_end(t->w);
    weir_buf_clear(&t->text);
    weir_buf_clear(&t->parts);
    t->any = t->images = false;
}

static void end_user(struct turns *t) {
    end_parts(t, "user", weir_span(NULL, 0));
}

static bool add_text(struct turns *t, struct weir_span block) {
    struct weir_span text;
    if (!need(t, block, "text", &text))
        return false;
    begin_part(t);
    weir_translate_put_text(&t->parts_w, text);
    return weir_translate_append(t->r, text, &t->text);
}

/* {"type": "base64", "media_type", "data"} or {"type": "url", "url"} */
static bool add_image(struct turns *t, struct weir_span block) {
    struct weir_span source, url, kind, data;
    struct weir_buf text, quoted;
    struct weir_jsonw w;
    if (!weir_json_member(block, "source", &source))
        return refuse(t, "an image needs a source");
    begin_part(t);
    t->images = true;
    if (is_type(source, "url")) {
        if (!need(t, source, "url", &url))
            return false;
        weir_translate_put_image(&t->parts_w, url, weir_span(NULL, 0));
        return true;
    }
    if (!is_type(source, "base64"))
        return refuse(t, "an image's source is of type base64 or url");
    if (!need(t, source, "media_type", &kind) || !need(t, source, "data", &data))
        return false;
    weir_buf_init(&text, t->text.max);
    weir_buf_init(&quoted, 6 * t->text.max);
    enum weir_status st = weir_buf_append_z(&text, "data:");
    bool ok = st == WEIR_OK && weir_translate_append(t->r, kind, &text);
    ok = ok && weir_buf_append_z(&text, ";base64,") == WEIR_OK &&
         weir_translate_append(t->r, data, &text);
    weir_jsonw_init(&w, &quoted);
    weir_jsonw_string(&w, weir_buf_span(&text));
    if (ok && w.status == WEIR_OK)
        weir_translate_put_image(&t->parts_w, weir_buf_span(&quoted), weir_span(NULL, 0));
    ok = ok && w.status == WEIR_OK;
    weir_buf_fini(&text);
    weir_buf_fini(&quoted);
    return ok || weir_openai_nomem(t->r);
}

static bool append_result(struct turns *t, struct weir_span content, struct weir_buf *out) {
    struct weir_json j;
    struct weir_span block, text;
    if (weir_json_type_of(content) == WEIR_JSON_STRING)
        return weir_translate_append(t->r, content, out);
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY)
        return weir_json_type_of(content) == WEIR_JSON_NULL ||
               refuse(t, "content of a tool_result is a string or a list of blocks");
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &block)) {
        if (!is_type(block, "text"))
            return refuse(t, "only text and images are supported in a tool_result");
        if (!need(t, block, "text", &text) || !weir_translate_append(t->r, text, out))
            return false;
    }
    return true;
}

static bool has_image(struct weir_span content) {
    struct weir_json j;
    struct weir_span block;
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY)
        return false;
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &block))
        if (is_type(block, "image"))
            return true;
    return false;
}

/* A result with images: a list of parts. */
static bool put_seen(struct turns *t, struct weir_span id, struct weir_span content) {
    struct weir_json j;
    struct weir_span block;
    bool ok = true;
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (ok && weir_json_array_next(&j) && weir_json_skip(&j, &block))
        ok = is_type(block, "text")    ? add_text(t, block)
             : is_type(block, "image") ? add_image(t, block)
                                       : refuse(t, "only text and images are supported in a "
                                                   "tool_result");
    end_parts(t, "tool", id);
    return ok;
}

static bool put_result(struct turns *t, struct weir_span block) {
    struct weir_span id, content;
    struct weir_buf text;
    if (!need(t, block, "tool_use_id", &id))
        return false;
    end_user(t);
    if (weir_json_member(block, "content", &content) && has_image(content))
        return put_seen(t, id, content);
    weir_buf_init(&text, t->text.max);
    bool ok = !weir_json_member(block, "content", &content) || append_result(t, content, &text);
    weir_translate_begin_message(t->w, "tool");
    weir_jsonw_string(t->w, weir_buf_span(&text));
    weir_translate_put(t->w, "tool_call_id", id);
    weir_jsonw_object_end(t->w);
    weir_buf_fini(&text);
    return ok;
}

static bool user_block(struct turns *t, struct weir_span block) {
    if (is_type(block, "text"))
        return add_text(t, block);
    if (is_type(block, "image"))
        return add_image(t, block);
    if (is_type(block, "tool_result"))
        return put_result(t, block);
    return refuse_type(t, block);
}

/* ---- assistant ---------------------------------------------------------------------------- */

static bool add_thinking(struct turns *t, struct weir_span block) {
    struct weir_span text;
    if (!need(t, block, "thinking", &text))
        return false;
    if (t->reasoning.len > 0 && weir_buf_append_c(&t->reasoning, '\n') != WEIR_OK)
        return weir_openai_nomem(t->r);
    return weir_translate_append(t->r, text, &t->reasoning);
}

/* A chat has the arguments as text. */
static bool add_call(struct turns *t, struct weir_span block) {
    struct weir_span id, name, input;
    struct weir_buf quoted;
    struct weir_jsonw w;
    if (!need(t, block, "id", &id) || !need(t, block, "name", &name))
        return false;
    if (!weir_json_member(block, "input", &input))
        input = WEIR_SPAN_LIT("{}");
    if (weir_json_type_of(input) != WEIR_JSON_OBJECT)
        return refuse(t, "input of a tool_use is an object");
    if (t->calls.len == 0) {
        weir_jsonw_init(&t->calls_w, &t->calls);
        weir_jsonw_array_begin(&t->calls_w);
    }
    weir_buf_init(&quoted, 6 * input.len + 16);
    weir_jsonw_init(&w, &quoted);
    weir_jsonw_string(&w, input);
    if (w.status == WEIR_OK)
        weir_translate_put_call(&t->calls_w, id, name, weir_buf_span(&quoted));
    weir_buf_fini(&quoted);
    return (w.status == WEIR_OK && t->calls_w.status == WEIR_OK) || weir_openai_nomem(t->r);
}

/* What is redacted nobody here can read: it has no place in a prompt. */
static bool assistant_block(struct turns *t, struct weir_span block) {
    struct weir_span text;
    if (is_type(block, "text"))
        return need(t, block, "text", &text) && weir_translate_append(t->r, text, &t->text);
    if (is_type(block, "thinking"))
        return add_thinking(t, block);
    if (is_type(block, "tool_use"))
        return add_call(t, block);
    return is_type(block, "redacted_thinking") || refuse_type(t, block);
}

static void end_assistant(struct turns *t) {
    weir_translate_put_assistant(t->w, &t->text, &t->reasoning, &t->calls, &t->calls_w);
}

/* ---- all ---------------------------------------------------------------------------------- */

static bool system_block(struct turns *t, struct weir_span block) {
    struct weir_span text;
    if (!is_type(block, "text"))
        return refuse_type(t, block);
    return need(t, block, "text", &text) && add_line(t, t->block == 0, text);
}

static bool put_message(struct turns *t, struct weir_span message) {
    struct weir_json j;
    struct weir_span role, content, block;
    if (!weir_json_member(message, "role", &role) ||
        !weir_json_member(message, "content", &content))
        return false;
    bool user = weir_json_is(role, "user"), assistant = weir_json_is(role, "assistant"), ok = true;
    if (weir_json_type_of(content) == WEIR_JSON_STRING) {
        weir_translate_begin_message(t->w, user ? "user" : assistant ? "assistant" : "system");
        weir_jsonw_raw(t->w, content);
        weir_jsonw_object_end(t->w);
        return true;
    }
    if (weir_raw_is_empty_list(content))
        return weir_openai_fail(t->r, 400,
                                "messages[%zu].content: must contain at least one content block",
                                t->message);
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (t->block = 0; ok && weir_json_array_next(&j) && weir_json_skip(&j, &block); t->block++)
        ok = user        ? user_block(t, block)
             : assistant ? assistant_block(t, block)
                         : system_block(t, block);
    if (user) {
        end_user(t);
    } else if (assistant) {
        end_assistant(t);
    } else {
        end_system(t, false);
    }
    return ok;
}

bool weir_messages_put(struct weir_openai_reading *r, struct weir_span system, bool strip,
                       struct weir_span messages, struct weir_jsonw *w) {
    size_t max = r->body.len + 4096; /* texts are not longer than what they are written in */
    struct turns t = {.r = r, .w = w};
    struct weir_json j;
    struct weir_span message;
    weir_buf_init(&t.text, max);
    weir_buf_init(&t.reasoning, max);
    weir_buf_init(&t.parts, 6 * max);
    weir_buf_init(&t.calls, 6 * max);
    weir_jsonw_array_begin(w);
    bool ok = put_system(&t, system, strip);
    weir_json_init(&j, messages, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    for (; ok && weir_json_array_next(&j) && weir_json_skip(&j, &message); t.message++)
        ok = put_message(&t, message);
    weir_jsonw_array_end(w);
    weir_buf_fini(&t.text);
    weir_buf_fini(&t.reasoning);
    weir_buf_fini(&t.parts);
    weir_buf_fini(&t.calls);
    return ok && !r->failed;
}
