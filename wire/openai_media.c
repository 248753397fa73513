/*
 * Media parts of a chat's messages: what a worker of the request plane is sent of them, and the
 * messages written anew beside that (`extra_args.messages`, which some workers of the reference
 * system render for themselves). Captured of Dynamo 1.6.1.
 */
#include "wire/openai_media.h"

#include "wire/openai_priv.h"

#include <stdio.h>

static const char *const kinds[] = {"image_url", "video_url", "audio_url"};

/* The name of the part's kind, which is that of the member with its address; NULL: no medium. */
static const char *kind_of(struct weir_span part) {
    struct weir_span type;
    if (!weir_json_member(part, "type", &type))
        return NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (weir_json_is(type, kinds[i]))
            return kinds[i];
    return NULL;
}

static bool text_of(struct weir_span raw, struct weir_arena *arena, struct weir_span *ret) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    *ret = weir_span(NULL, 0);
    if (weir_json_string(&j, &s))
        *ret = weir_json_text(s, arena);
    return ret->data != NULL;
}

static bool is_there(struct weir_span object, const char *name, struct weir_span *ret_raw) {
    return weir_json_member(object, name, ret_raw) && weir_json_type_of(*ret_raw) != WEIR_JSON_NULL;
}

/* ---- what there is ------------------------------------------------------------------------ */

struct collecting {
    struct weir_openai_request *req;
    const struct weir_media_rules *rules;
    struct weir_arena *arena;
    struct weir_medium *items;
    size_t n, message, part;
    enum weir_status status;
    char *text; /* WEIR_MEDIA_TEXT bytes: what is wrong */
};

static bool refuse(struct collecting *c, const char *what, const char *why) {
    snprintf(c->text, WEIR_MEDIA_TEXT, "messages[%zu].content[%zu]%s%s: %s", c->message, c->part,
             what[0] != '\0' ? "." : "", what, why);
    c->status = WEIR_INVALID;
    return false;
}

static bool nomem(struct collecting *c) {
    c->status = WEIR_NOMEM;
    return false;
}

static bool take_url(struct collecting *c, const char *kind, struct weir_span raw,
                     struct weir_span *ret) {
    struct weir_span text;
    const char *why = NULL;
    char what[32];
    snprintf(what, sizeof(what), "%s.url", kind);
    if (!text_of(raw, c->arena, &text))
        return weir_json_type_of(raw) == WEIR_JSON_STRING ? nomem(c)
                                                          : refuse(c, what, "a text is expected");
    enum weir_status st = weir_media_url(text, c->arena, ret, &why);
    if (st != WEIR_OK)
        return st == WEIR_NOMEM ? nomem(c) : refuse(c, what, why);
    if (ret->len > c->rules->max_url_bytes) {
        snprintf(c->text, WEIR_MEDIA_TEXT,
                 "%s %s URL is %zu bytes, exceeds the %zu-byte limit. To raise the limit, set "
                 "DYN_MM_MAX_DATA_URL_MB (in megabytes) on both the frontend and the workers.",
                 kind, weir_media_url_holds_data(*ret) ? "data:" : "this", ret->len,
                 c->rules->max_url_bytes);
        c->status = WEIR_INVALID;
        return false;
    }
    if (kind == kinds[0] && !c->rules->allow_internal &&
        (why = weir_media_url_refused(*ret)) != NULL) {
        char words[160];
        snprintf(words, sizeof(words),
                 "the URL is not passed on, because %s (DYN_MM_ALLOW_INTERNAL=1 allows it)", why);
        return refuse(c, what, words);
    }
    return true;
}

static bool take_medium(struct collecting *c, const char *kind, struct weir_span part) {
    struct weir_medium *m = &c->items[c->n++];
    struct weir_span place, raw;
    m->kind = weir_span_z(kind);
    if (is_there(part, "uuid", &raw)) {
        if (!text_of(raw, c->arena, &m->uuid))
            return nomem(c);
        if (m->uuid.len == 0)
            return refuse(c, "uuid", "it is empty");
    }
    bool placed = is_there(part, kind, &place);
    if (placed && is_there(place, "url", &raw) && !weir_json_is(raw, "")) {
        m->form = WEIR_MEDIA_URL;
        return take_url(c, kind, raw, &m->value);
    }
    if (placed || m->uuid.data == NULL || kind != kinds[0]) /* names alone are of images */
        return refuse(c, kind, "its url is missing or empty");
    m->form = WEIR_MEDIA_UUID;
    m->value = m->uuid;
    return true;
}

static bool take_part(struct collecting *c, struct weir_span part) {
    struct weir_span type;
    const char *kind = kind_of(part);
    if (kind == NULL && weir_json_member(part, "type", &type) && weir_json_is(type, "input_audio"))
        return refuse(c, "",
                      "input_audio is not passed on to this model's workers; send the sound as "
                      "audio_url with a data: URL");
    if (kind == NULL)
        return true;
    if (c->n == WEIR_MEDIA_MAX) {
        snprintf(c->text, WEIR_MEDIA_TEXT, "more than %d images, videos and sounds in one request",
                 WEIR_MEDIA_MAX);
        c->status = WEIR_INVALID;
        return false;
    }
    return take_medium(c, kind, part);
}

/* Parts of all messages, up to the first for which `each` is false. */
static void walk(struct collecting *c, bool (*each)(struct collecting *c, struct weir_span part)) {
    struct weir_json messages, parts;
    struct weir_span message, content, part;
    weir_json_init(&messages, c->req->messages, WEIR_OPENAI_DEPTH);
    if (!weir_json_array_enter(&messages))
        return;
    for (c->message = 0; weir_json_array_next(&messages) && weir_json_skip(&messages, &message);
         c->message++) {
        if (!weir_json_member(message, "content", &content) ||
            weir_json_type_of(content) != WEIR_JSON_ARRAY)
            continue;
        weir_json_init(&parts, content, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&parts);
        for (c->part = 0; weir_json_array_next(&parts) && weir_json_skip(&parts, &part); c->part++)
            if (!each(c, part))
                return;
    }
}

static bool count_part(struct collecting *c, struct weir_span part) {
    c->n += kind_of(part) != NULL;
    return c->n < WEIR_MEDIA_MAX;
}

enum weir_status weir_openai_take_media(struct weir_openai_request *req,
                                        const struct weir_media_rules *rules,
                                        struct weir_arena *arena, char text[WEIR_MEDIA_TEXT]) {
    struct collecting c = {
        .req = req, .rules = rules, .arena = arena, .status = WEIR_OK, .text = text};
    walk(&c, count_part);
    c.items = weir_arena_zalloc(arena, (c.n + 1) * sizeof(*c.items));
    if (c.items == NULL)
        return WEIR_NOMEM;
    c.n = 0;
    walk(&c, take_part);
    if (c.status == WEIR_OK)
        req->prep.media = (struct weir_media){c.n > 0 ? c.items : NULL, c.n};
    return c.status;
}

/* ---- the messages anew -------------------------------------------------------------------- */

struct telling {
    struct weir_jsonw *w;
    const struct weir_medium *next; /* of the media, in the order of the messages */
    struct weir_span mark;          /* data NULL: media are written as such */
};

static void put_member(struct weir_jsonw *w, struct weir_span object, const char *name) {
    struct weir_span raw;
    if (!is_there(object, name, &raw))
        return;
    weir_jsonw_key(w, name);
    weir_jsonw_raw(w, raw);
}

static void put_text_part(struct weir_jsonw *w, struct weir_span text) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "text");
    weir_jsonw_key(w, "text");
    weir_jsonw_string(w, text);
    weir_jsonw_object_end(w);
}

/* Data stay where they are sent anyway. */
static void put_place(struct telling *t, const char *kind, struct weir_span place) {
    struct weir_span raw;
    weir_jsonw_key(t->w, kind);
    if (t->next->form != WEIR_MEDIA_URL) {
        weir_jsonw_null(t->w);
        return;
    }
    weir_jsonw_object_begin(t->w);
    weir_jsonw_key(t->w, "url");
    weir_jsonw_string(t->w, weir_media_url_holds_data(t->next->value) ? WEIR_SPAN_LIT("")
                                                                      : t->next->value);
    if (kind != kinds[2]) {
        weir_jsonw_key(t->w, "detail");
        weir_jsonw_raw(t->w, is_there(place, "detail", &raw) ? raw : WEIR_SPAN_LIT("null"));
    }
    put_member(t->w, place, "uuid");
    weir_jsonw_object_end(t->w);
}

static void put_part(struct telling *t, struct weir_span part) {
    struct weir_span place = {NULL, 0};
    const char *kind = kind_of(part);
    if (kind != NULL && t->mark.data != NULL) {
        put_text_part(t->w, t->mark);
        return;
    }
    weir_jsonw_object_begin(t->w);
    put_member(t->w, part, "type");
    if (kind == NULL) {
        put_member(t->w, part, "text");
        put_member(t->w, part, "refusal");
    } else {
        weir_json_member(part, kind, &place);
        put_place(t, kind, place);
        put_member(t->w, part, "uuid");
        t->next++;
    }
    weir_jsonw_object_end(t->w);
}

static void put_content(struct telling *t, struct weir_span content) {
    struct weir_json j;
    struct weir_span part;
    weir_jsonw_key(t->w, "content");
    if (weir_json_type_of(content) != WEIR_JSON_ARRAY) {
        weir_jsonw_raw(t->w, content);
        return;
    }
    weir_jsonw_array_begin(t->w);
    weir_json_init(&j, content, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &part))
        put_part(t, part);
    weir_jsonw_array_end(t->w);
}

static void put_function(struct weir_jsonw *w, struct weir_span call) {
    struct weir_span function;
    if (!is_there(call, "function", &function))
        return;
    weir_jsonw_key(w, "function");
    weir_jsonw_object_begin(w);
    put_member(w, function, "name");
    put_member(w, function, "arguments");
    weir_jsonw_object_end(w);
}

static void put_calls(struct weir_jsonw *w, struct weir_span calls) {
    struct weir_json j;
    struct weir_span call;
    weir_jsonw_key(w, "tool_calls");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, calls, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &call)) {
        weir_jsonw_object_begin(w);
        put_member(w, call, "id");
        put_member(w, call, "type");
        put_function(w, call);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_array_end(w);
}

/* What the reference system's classes have of a message, in their words. */
static void put_message(struct telling *t, struct weir_span message) {
    struct weir_span raw = {NULL, 0};
    weir_jsonw_object_begin(t->w);
    put_member(t->w, message, "role");
    bool of_function = weir_json_member(message, "role", &raw) && weir_json_is(raw, "function");
    bool of_tool = raw.data != NULL && weir_json_is(raw, "tool");
    if (of_function ? weir_json_member(message, "content", &raw)
                    : is_there(message, "content", &raw))
        put_content(t, raw);
    if (is_there(message, "reasoning_content", &raw) || is_there(message, "reasoning", &raw)) {
        weir_jsonw_key(t->w, "reasoning_content");
        weir_jsonw_raw(t->w, raw);
    }
    put_member(t->w, message, "refusal");
    if (!of_tool)
        put_member(t->w, message, "name");
    put_member(t->w, message, "audio");
    if (is_there(message, "tool_calls", &raw) && weir_json_type_of(raw) == WEIR_JSON_ARRAY)
        put_calls(t->w, raw);
    put_member(t->w, message, "function_call");
    put_member(t->w, message, "tool_call_id");
    weir_jsonw_object_end(t->w);
}

enum weir_status weir_openai_put_messages(const struct weir_openai_request *req,
                                          struct weir_span mark, struct weir_buf *out) {
    struct weir_jsonw w;
    struct weir_json j;
    struct weir_span message;
    struct telling t = {.w = &w, .next = req->prep.media.items, .mark = mark};
    weir_jsonw_init(&w, out);
    weir_jsonw_array_begin(&w);
    weir_json_init(&j, req->messages, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &message))
        put_message(&t, message);
    weir_jsonw_array_end(&w);
    return w.status;
}
