/*
 * What engines make of a chat request before their template sees it: chat_vllm.c and chat_sglang.c,
 * by flavour, and what both need. TEMPLATES.md names the versions read.
 */
#include "tokenizer/chat_shape_priv.h"

/* ---- parts of a content ------------------------------------------------------------------- */

/* Text of a part, or MISSING; *ret_media names what else it is. */
struct wj_val wtok_part_text(struct wj_run *x, struct wj_val part, bool sglang,
                             const char **ret_media) {
    static const char *const texts[][2] = {{"text", "text"},
                                           {"input_text", "text"},
                                           {"output_text", "text"},
                                           {"refusal", "refusal"},
                                           {"thinking", "thinking"}};
    static const char *const media[][2] = {{"image_url", "image"},    {"input_image", "image"},
                                           {"image_embeds", "image"}, {"video_url", "video"},
                                           {"video_embeds", "video"}, {"audio_url", "audio"},
                                           {"input_audio", "audio"},  {"audio_embeds", "audio"}};
    struct wj_val type = wtok_member(x, part, "type");
    *ret_media = NULL;
    for (size_t i = 0; i < (sglang ? 2 : WEIR_ARRAY_LEN(texts)); i++)
        if (is_text(type, texts[i][0]))
            return wtok_member(x, part, texts[i][1]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(media); i++)
        if (is_text(type, media[i][0]) || (!has(type) && has(wtok_member(x, part, media[i][0])))) {
            *ret_media = media[i][1];
            return (struct wj_val){.kind = WJ_MISSING};
        }
    *ret_media = "";
    return (struct wj_val){.kind = WJ_MISSING};
}

struct wj_val wtok_typed_part(struct wj_run *x, const char *type, struct wj_val text) {
    struct wj_val d = wj_dict_new(x, 2);
    wtok_add(x, d, "type", wj_strz(type));
    if (text.kind != WJ_MISSING)
        wtok_add(x, d, "text", text);
    return d;
}

struct wj_val wtok_join_texts(struct wj_run *x, const struct wj_vec *texts, const char *sep) {
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < texts->n; i++) {
        if (i > 0)
            wj_putz(x, sep);
        wj_put_str(x, texts->at[i]);
    }
    return wj_cut(x, mark);
}

void wtok_refuse_part(struct wj_run *x, struct wj_val part, const char *media) {
    struct wj_val type = wtok_member(x, part, "type");
    if (media[0] != '\0')
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "the model's chat template has no place for %s parts: it takes text only", media);
    if (type.kind == WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "Unsupported chat content part type: '%.*s'",
                (int)type.len, type.u.s);
    bad_message(x, "Missing 'type' field in a content part");
}

bool wtok_all_text(struct wj_run *x, struct wj_val list) {
    for (uint32_t i = 0; i < list.len; i++)
        if (list.u.items[i].kind != WJ_STR &&
            !is_text(wtok_member(x, list.u.items[i], "type"), "text"))
            return false;
    return true;
}

struct wj_val wtok_joined_texts(struct wj_run *x, struct wj_val list, const char *sep) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < list.len; i++) {
        struct wj_val t = list.u.items[i];
        if (t.kind == WJ_DICT)
            t = wtok_member(x, t, "text");
        wj_push(x, &out, t.kind == WJ_STR ? t : wj_strz(""));
    }
    return wtok_join_texts(x, &out, sep);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool is_it(struct wj_val a, struct wj_val b) {
    return a.kind == b.kind && (a.kind == WJ_FLOAT ? a.u.f == b.u.f : a.u.s == b.u.s);
}

struct wj_val wtok_map_numbers(struct wj_run *x, struct wj_val v,
                               struct wj_val (*number)(struct wj_val)) {
    bool changed = false;
    wj_charge(x, 1);
    if (v.kind == WJ_LIST) {
        wj_enter(x);
        struct wj_val *items = wj_alloc(x, v.len * sizeof(*items) + 1);
        for (uint32_t i = 0; i < v.len; i++) {
            items[i] = wtok_map_numbers(x, v.u.items[i], number);
            changed |= !is_it(items[i], v.u.items[i]);
        }
        wj_leave(x);
        return changed ? wj_list(items, v.len) : v;
    }
    if (v.kind != WJ_DICT)
        return number(v);
    wj_enter(x);
    struct wj_val out = wj_dict_new(x, v.u.dict->n);
    for (uint32_t i = 0; i < v.u.dict->n; i++) {
        const struct wj_pair *p = &v.u.dict->pairs[i];
        struct wj_val value = wtok_map_numbers(x, p->value, number);
        changed |= !is_it(value, p->value);
        wj_dict_add(x, out.u.dict, p->key, value);
    }
    wj_leave(x);
    return changed ? out : v;
}

/* ---- the request -------------------------------------------------------------------------- */

void wtok_refuse_media(struct wj_run *x, struct wj_val messages) {
    for (uint32_t i = 0; messages.kind == WJ_LIST && i < messages.len; i++) {
        struct wj_val content = wtok_member(x, messages.u.items[i], "content");
        for (uint32_t k = 0; content.kind == WJ_LIST && k < content.len; k++) {
            const char *media = NULL;
            if (content.u.items[k].kind == WJ_DICT)
                wtok_part_text(x, content.u.items[k], false, &media);
            if (media != NULL && media[0] != '\0')
                wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "the tokens of %s parts are not known",
                        media);
        }
    }
}

struct wj_val wtok_shape_messages(struct wj_run *x, enum wtok_flavour flavour, bool for_dynamo,
                                  struct wj_val messages, bool parts) {
    if (messages.kind != WJ_LIST)
        bad_message(x, "the messages are not a JSON array of objects");
    struct wj_val *items = wj_alloc(x, messages.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = messages.u.items[i];
        if (m.kind != WJ_DICT || wtok_member(x, m, "role").kind != WJ_STR)
            bad_message(x, "every message must be an object with a role");
        items[i] = flavour == WTOK_FLAVOUR_VLLM     ? wtok_vllm_message(x, m, parts, for_dynamo)
                   : flavour == WTOK_FLAVOUR_SGLANG ? wtok_sglang_message(x, m, parts)
                                                    : m;
    }
    return wj_list(items, messages.len);
}

struct wj_val wtok_shape_tools(struct wj_run *x, enum wtok_flavour flavour, bool for_dynamo,
                               struct wj_val tools) {
    if (tools.kind != WJ_LIST || flavour == WTOK_FLAVOUR_PLAIN)
        return tools;
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val tool = tools.u.items[i];
        if (wtok_member(x, tool, "function").kind != WJ_DICT)
            bad_message(x, "every tool must be an object with a function");
        items[i] = flavour == WTOK_FLAVOUR_SGLANG ? wtok_sglang_tool(x, tool, true)
                   : for_dynamo                   ? wtok_dynamo_tool(x, tool)
                                                  : wtok_vllm_tool(x, tool);
    }
    return wj_list(items, tools.len);
}
