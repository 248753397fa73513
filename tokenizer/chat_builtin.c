/*
 * The built-in chat template of the "bytes" tokenizer: one "<|role|>text<|end|>" block a message,
 * tools as one JSON line in front, and an open assistant block at the end. A conversation's
 * rendering is a prefix of the rendering with one more message, so multi-turn prompts share their
 * KV blocks.
 */
#include "base/json.h"
#include "tokenizer/chat_priv.h"

enum { MAX_DEPTH = 128 };

/* The first failure of a sequence of appends sticks. */
struct render {
    struct weir_buf *out;
    enum weir_status status;
};

static void put(struct render *r, struct weir_span text) {
    if (r->status == WEIR_OK)
        r->status = weir_buf_append_span(r->out, text);
}

static void put_z(struct render *r, const char *text) {
    put(r, weir_span_z(text));
}

static void put_string(struct render *r, struct weir_json_str s) {
    if (!s.escaped)
        put(r, s.raw);
    else if (r->status == WEIR_OK)
        r->status = weir_json_unescape(s, r->out);
}

/* One element of a content array: text as it is, an image as "<|image_url|>" (videos and sounds
 * likewise), any other part as its JSON. */
static void put_part(struct render *r, struct weir_json *j) {
    static const char *const media[] = {"image_url", "video_url", "audio_url"};
    struct weir_span whole = {NULL, 0}, type;
    struct weir_json look = *j;
    if (!weir_json_skip(j, &whole))
        return;
    struct weir_json_str key, text;
    for (size_t i = 0; weir_json_member(whole, "type", &type) && i < WEIR_ARRAY_LEN(media); i++)
        if (weir_json_is(type, media[i])) {
            put_z(r, "<|");
            put_z(r, media[i]);
            put_z(r, "|>");
            return;
        }
    if (weir_json_peek(&look) == WEIR_JSON_OBJECT && weir_json_object_enter(&look)) {
        while (weir_json_object_next(&look, &key)) {
            if (weir_json_str_eqz(key, "text") && weir_json_peek(&look) == WEIR_JSON_STRING &&
                weir_json_string(&look, &text)) {
                put_string(r, text);
                return;
            }
            if (!weir_json_skip(&look, NULL))
                break;
        }
    }
    put(r, whole);
}

static void put_content(struct render *r, struct weir_json *j) {
    struct weir_json_str text;
    switch (weir_json_peek(j)) {
    case WEIR_JSON_STRING:
        if (weir_json_string(j, &text))
            put_string(r, text);
        break;
    case WEIR_JSON_ARRAY:
        if (weir_json_array_enter(j))
            while (weir_json_array_next(j))
                put_part(r, j);
        break;
    default: /* null: an assistant turn that only called tools */
        weir_json_skip(j, NULL);
        break;
    }
}

/* Members may come in any order, so the role is looked for first. */
static struct weir_json_str find_role(struct weir_json j) {
    struct weir_json_str key, role = {{"user", 4}, false};
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "role") && weir_json_peek(&j) == WEIR_JSON_STRING) {
                weir_json_string(&j, &role);
                break;
            }
            if (!weir_json_skip(&j, NULL))
                break;
        }
    return role;
}

static void put_message(struct render *r, struct weir_json *j, bool close) {
    put_z(r, "<|");
    put_string(r, find_role(*j));
    put_z(r, "|>");
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        struct weir_span raw;
        if (weir_json_str_eqz(key, "content"))
            put_content(r, j);
        else if (!weir_json_skip(j, &raw))
            return;
        else if (weir_json_str_eqz(key, "tool_calls") && raw.len > 2)
            put(r, raw);
    }
    if (close)
        put_z(r, "<|end|>\n");
}

/* True when another element follows the one that `j` is about to read. */
static bool is_last(struct weir_json j) {
    return !weir_json_skip(&j, NULL) || !weir_json_array_next(&j);
}

enum weir_status wtok_chat_builtin(const struct wtok_chat *chat, struct weir_buf *out,
                                   struct weir_err *err) {
    struct render r = {out, WEIR_OK};
    if (chat->tools.data != NULL) {
        put_z(&r, "<|tools|>");
        put(&r, chat->tools);
        put_z(&r, "<|end|>\n");
    }
    struct weir_json j;
    weir_json_init(&j, chat->messages, MAX_DEPTH);
    bool open = false;
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j)) {
            open = chat->continue_final_message && is_last(j);
            put_message(&r, &j, !open);
        }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "the messages are not a JSON array of objects");
    if (chat->add_generation_prompt && !open)
        put_z(&r, "<|assistant|>");
    return r.status == WEIR_OK ? WEIR_OK : weir_err_set(err, r.status, "the prompt is too large");
}
