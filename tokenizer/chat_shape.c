/*
 * What engines make of a chat request before their template sees it. vLLM: fields of a message by
 * role, contents as text or as parts, arguments of calls as objects, tools with their null members.
 * SGLang: the members of its own classes, other joints. TEMPLATES.md names the versions read.
 */
#include "tokenizer/chat_priv.h"

static bool has(struct wj_val v) {
    return v.kind != WJ_MISSING && v.kind != WJ_NONE;
}

static inline bool is_text(struct wj_val v, const char *text) {
    struct weir_span t = weir_span_z(text);
    return v.kind == WJ_STR && v.len == t.len && wj_same_text(v.u.s, t);
}

/* Which of the names a key is, or n. */
static inline size_t name_of(struct wj_run *x, struct wj_val key, const struct weir_span *names,
                             size_t n) {
    for (size_t i = 0; i < n; i++)
        if (key.len == names[i].len && key.kind == WJ_STR &&
            wj_same_text(wj_text(x, key).data, names[i]))
            return i;
    return n;
}

/* Several members of a dict in one walk; absent ones become MISSING. */
static inline void members(struct wj_run *x, struct wj_val dict, const struct weir_span *names,
                           size_t n, struct wj_val *ret) {
    for (size_t i = 0; i < n; i++)
        ret[i] = (struct wj_val){.kind = WJ_MISSING};
    if (dict.kind != WJ_DICT)
        return;
    for (uint32_t i = 0; i < dict.u.dict->n; i++) {
        size_t which = name_of(x, dict.u.dict->pairs[i].key, names, n);
        if (which < n)
            ret[which] = dict.u.dict->pairs[i].value;
    }
}

/* A dict whose first keys are these, in this order. */
static inline bool begins_with(struct wj_run *x, struct wj_val dict, const struct weir_span *names,
                               uint32_t n) {
    if (dict.kind != WJ_DICT || dict.u.dict->n < n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (name_of(x, dict.u.dict->pairs[i].key, names + i, 1) == 1)
            return false;
    return true;
}

/* Those that have none of the names. */
static void add_other_members(struct wj_run *x, struct wj_val to, struct wj_val from,
                              const struct weir_span *names, size_t n) {
    for (uint32_t i = 0; i < from.u.dict->n; i++) {
        const struct wj_pair *p = &from.u.dict->pairs[i];
        if (name_of(x, p->key, names, n) == n)
            wj_dict_set(x, to.u.dict, p->key, p->value);
    }
}

static _Noreturn void bad_message(struct wj_run *x, const char *text) {
    wj_fail(x, WTOK_JINJA_ERR_VALUE, "%s", text);
}

/* ---- parts of a content ------------------------------------------------------------------- */

/* Text of a part, or MISSING; *ret_media names what else it is. */
static struct wj_val part_text(struct wj_run *x, struct wj_val part, bool sglang,
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

static struct wj_val typed_part(struct wj_run *x, const char *type, struct wj_val text) {
    struct wj_val d = wj_dict_new(x, 2);
    wtok_add(x, d, "type", wj_strz(type));
    if (text.kind != WJ_MISSING)
        wtok_add(x, d, "text", text);
    return d;
}

static struct wj_val join(struct wj_run *x, const struct wj_vec *texts, const char *sep) {
    size_t mark = x->out->len;
    for (uint32_t i = 0; i < texts->n; i++) {
        if (i > 0)
            wj_putz(x, sep);
        wj_put_str(x, texts->at[i]);
    }
    return wj_cut(x, mark);
}

static void refuse_part(struct wj_run *x, struct wj_val part, const char *media) {
    struct wj_val type = wtok_member(x, part, "type");
    if (media[0] != '\0')
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "the model's chat template has no place for %s parts", media);
    if (type.kind == WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "Unsupported chat content part type: '%.*s'",
                (int)type.len, type.u.s);
    bad_message(x, "Missing 'type' field in a content part");
}

/* A text with what else stands in its part: members that no part of vLLM's classes has. */
static struct wj_val vllm_text_part(struct wj_run *x, struct wj_val part, struct wj_val text) {
    static const struct weir_span known[] = {
        WEIR_SPAN_LIT("type"),         WEIR_SPAN_LIT("text"),
        WEIR_SPAN_LIT("refusal"),      WEIR_SPAN_LIT("thinking"),
        WEIR_SPAN_LIT("closed"),       WEIR_SPAN_LIT("name"),
        WEIR_SPAN_LIT("uuid"),         WEIR_SPAN_LIT("data"),
        WEIR_SPAN_LIT("file"),         WEIR_SPAN_LIT("prompt_cache_breakpoint"),
        WEIR_SPAN_LIT("image_url"),    WEIR_SPAN_LIT("image_embeds"),
        WEIR_SPAN_LIT("image_pil"),    WEIR_SPAN_LIT("audio_url"),
        WEIR_SPAN_LIT("audio_embeds"), WEIR_SPAN_LIT("input_audio"),
        WEIR_SPAN_LIT("video_url"),    WEIR_SPAN_LIT("video_embeds")};
    struct wj_val out = typed_part(x, "text", text);
    if (part.kind == WJ_DICT && part.u.dict->n > 2)
        add_other_members(x, out, part, known, WEIR_ARRAY_LEN(known));
    return out;
}

static struct wj_val vllm_reference(struct wj_run *x, struct wj_val part, bool parts) {
    struct wj_val out, name = wtok_member(x, part, "name");
    if (name.kind != WJ_STR)
        bad_message(x, "a tool_reference needs a name");
    if (!parts)
        return name;
    out = wj_dict_new(x, 2);
    wtok_add(x, out, "type", wj_strz("tool_reference"));
    wtok_add(x, out, "name", name);
    return out;
}

/* A list of parts as vLLM hands it on: all with a type, or only their texts with newlines between.
 */
static struct wj_val vllm_parts(struct wj_run *x, struct wj_val content, bool parts) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i], text = part;
        const char *media = NULL;
        if (part.kind == WJ_DICT && is_text(wtok_member(x, part, "type"), "tool_reference")) {
            wj_push(x, &out, vllm_reference(x, part, parts));
            continue;
        }
        if (part.kind == WJ_DICT)
            text = part_text(x, part, false, &media);
        else if (part.kind != WJ_STR)
            bad_message(x, "a content part must be an object or a string");
        if (media != NULL && (!parts || media[0] == '\0'))
            refuse_part(x, part, media);
        if (media != NULL)
            wj_push(x, &out, typed_part(x, media, text));
        else if (text.kind == WJ_STR && parts)
            wj_push(x, &out, vllm_text_part(x, part, text));
        else if (text.kind == WJ_STR && text.len > 0)
            wj_push(x, &out, text);
    }
    return parts ? wj_list(out.at, out.n) : join(x, &out, "\n");
}

static bool all_text(struct wj_run *x, struct wj_val list) {
    for (uint32_t i = 0; i < list.len; i++)
        if (list.u.items[i].kind != WJ_STR &&
            !is_text(wtok_member(x, list.u.items[i], "type"), "text"))
            return false;
    return true;
}

static struct wj_val joined_texts(struct wj_run *x, struct wj_val list, const char *sep) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < list.len; i++) {
        struct wj_val t = list.u.items[i];
        if (t.kind == WJ_DICT)
            t = wtok_member(x, t, "text");
        wj_push(x, &out, t.kind == WJ_STR ? t : wj_strz(""));
    }
    return join(x, &out, sep);
}

/* vLLM drops the line by which one client names its bill, because it changes with each request.
 * MISSING: nothing is left. */
static struct wj_val without_bill(struct wj_run *x, struct wj_val text) {
    static const struct weir_span begin = WEIR_SPAN_LIT("x-anthropic-billing-header");
    struct weir_span rest;
    if (text.kind != WJ_STR || !weir_span_starts(wj_text(x, text), begin))
        return text;
    weir_span_split(wj_text(x, text), '\n', &rest);
    return rest.data != NULL && rest.len > 0 ? wj_str(rest) : (struct wj_val){.kind = WJ_MISSING};
}

static struct wj_val without_bills(struct wj_run *x, struct wj_val content) {
    struct wj_vec out = {0};
    if (content.kind == WJ_STR) {
        content = without_bill(x, content);
        return content.kind == WJ_STR ? content : wj_list(NULL, 0);
    }
    for (uint32_t i = 0; content.kind == WJ_LIST && i < content.len; i++) {
        struct wj_val part = content.u.items[i], text = part, rest;
        if (part.kind == WJ_DICT && is_text(wtok_member(x, part, "type"), "text"))
            text = wtok_member(x, part, "text");
        rest = without_bill(x, text);
        if (rest.kind == WJ_STR && rest.len != text.len && part.kind == WJ_DICT)
            rest = vllm_text_part(x, part, rest);
        else if (rest.kind != WJ_MISSING || text.kind == WJ_MISSING)
            rest = part;
        if (rest.kind != WJ_MISSING)
            wj_push(x, &out, rest);
    }
    return content.kind == WJ_LIST ? wj_list(out.at, out.n) : content;
}

static struct wj_val vllm_content(struct wj_run *x, struct wj_val content, bool parts, bool tool) {
    if (!has(content))
        content = wj_list(NULL, 0);
    if (content.kind == WJ_STR) {
        if (!parts)
            return content;
        struct wj_val *one = wj_alloc(x, sizeof(*one));
        *one = typed_part(x, "text", content);
        content = wj_list(one, 1);
    } else if (content.kind == WJ_LIST) {
        content = vllm_parts(x, content, parts);
    } else {
        bad_message(x, "a message's content must be text or a list of parts");
    }
    if (tool && content.kind == WJ_LIST && all_text(x, content))
        return joined_texts(x, content, "\n");
    return content;
}

/* ---- calls -------------------------------------------------------------------------------- */

/* {} for what is no object: a broken call in the history must not end the conversation. */
static struct wj_val vllm_arguments(struct wj_run *x, struct wj_val v) {
    struct wj_val parsed;
    if (v.kind == WJ_DICT)
        return v;
    if (v.kind == WJ_STR && wj_try_json(x, wj_text(x, v), &parsed) && parsed.kind == WJ_DICT)
        return parsed;
    return wj_dict_new(x, 0);
}

/* The members that vLLM's classes name come first, in their order. */
static struct wj_val in_order(struct wj_run *x, struct wj_val from, const struct weir_span *names,
                              size_t n) {
    struct wj_val out = wj_dict_new(x, from.u.dict->n + 1), v[8];
    members(x, from, names, n, v);
    for (size_t i = 0; i < n; i++)
        if (v[i].kind != WJ_MISSING)
            wtok_add(x, out, (const char *)names[i].data, v[i]);
    add_other_members(x, out, from, names, n);
    return out;
}

static struct wj_val vllm_call(struct wj_run *x, struct wj_val call) {
    static const struct weir_span outer[] = {WEIR_SPAN_LIT("id"), WEIR_SPAN_LIT("function"),
                                             WEIR_SPAN_LIT("type")};
    static const struct weir_span inner[] = {WEIR_SPAN_LIT("arguments"), WEIR_SPAN_LIT("name")};
    struct wj_val type = wtok_member(x, call, "type"), f = wtok_member(x, call, "function");
    if (call.kind != WJ_DICT)
        bad_message(x, "assistant tool_calls entries must be objects.");
    if (f.kind != WJ_DICT || (type.kind != WJ_MISSING && !is_text(type, "function")))
        bad_message(x, "chat completions only support assistant tool_calls of type 'function'.");
    call = in_order(x, call, outer, WEIR_ARRAY_LEN(outer));
    f = in_order(x, f, inner, WEIR_ARRAY_LEN(inner));
    wtok_set(x, f, "arguments", vllm_arguments(x, wtok_member(x, f, "arguments")));
    wtok_set(x, call, "function", f);
    return call;
}

static struct wj_val sglang_call(struct wj_run *x, struct wj_val call) {
    static const char *const members[] = {"id", "index", "type", "function"};
    struct wj_val out = wj_dict_new(x, 4), f = wtok_member(x, call, "function");
    if (f.kind != WJ_DICT)
        bad_message(x, "a tool call needs a function");
    struct wj_val inner = wj_dict_new(x, 2), name = wtok_member(x, f, "name");
    struct wj_val arguments = wtok_member(x, f, "arguments");
    if (arguments.kind == WJ_STR) {
        if (!wj_try_json(x, wj_text(x, arguments), &arguments))
            bad_message(x, "Assistant tool call function.arguments must be valid JSON.");
        if (arguments.kind != WJ_DICT)
            bad_message(x, "Assistant tool call function.arguments must be a JSON object.");
    }
    wtok_add(x, inner, "name", has(name) ? name : wj_none());
    wtok_add(x, inner, "arguments", has(arguments) ? arguments : wj_none());
    for (size_t i = 0; i < 3; i++) {
        struct wj_val v = wtok_member(x, call, members[i]);
        wtok_add(x, out, members[i], has(v) ? v : i == 2 ? wj_strz("function") : wj_none());
    }
    wtok_add(x, out, members[3], inner);
    return out;
}

static struct wj_val calls(struct wj_run *x, struct wj_val list, bool sglang) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++)
        items[i] = sglang ? sglang_call(x, list.u.items[i]) : vllm_call(x, list.u.items[i]);
    return wj_list(items, list.len);
}

/* ---- messages ----------------------------------------------------------------------------- */

/* Thoughts that come as a list of texts, as Dynamo takes them, are one text. */
static struct wj_val joined_lines(struct wj_run *x, struct wj_val thought) {
    struct wj_vec texts = {0};
    if (thought.kind != WJ_LIST)
        return thought;
    for (uint32_t i = 0; i < thought.len; i++)
        if (thought.u.items[i].kind == WJ_STR && thought.u.items[i].len > 0)
            wj_push(x, &texts, thought.u.items[i]);
    return join(x, &texts, "\n");
}

static struct wj_val vllm_message(struct wj_run *x, struct wj_val m, bool parts) {
    enum { ROLE, CONTENT, TOOL_CALLS, REASONING, OLD_REASONING, CALL_ID, NAME, TASK, TOOLS, N };
    static const struct weir_span names[N] = {WEIR_SPAN_LIT("role"),
                                              WEIR_SPAN_LIT("content"),
                                              WEIR_SPAN_LIT("tool_calls"),
                                              WEIR_SPAN_LIT("reasoning"),
                                              WEIR_SPAN_LIT("reasoning_content"),
                                              WEIR_SPAN_LIT("tool_call_id"),
                                              WEIR_SPAN_LIT("name"),
                                              WEIR_SPAN_LIT("task"),
                                              WEIR_SPAN_LIT("tools")};
    struct wj_val v[N];
    if (!parts && m.u.dict->n == 2 && begins_with(x, m, names, 2) &&
        m.u.dict->pairs[1].value.kind == WJ_STR &&
        !is_text(m.u.dict->pairs[0].value, "developer") &&
        !is_text(m.u.dict->pairs[0].value, "system"))
        return m; /* nothing would change */
    struct wj_val out = wj_dict_new(x, 8);
    members(x, m, names, N, v);
    bool tool = is_text(v[ROLE], "tool");
    if (is_text(v[ROLE], "system"))
        v[CONTENT] = without_bills(x, v[CONTENT]);
    wtok_add(x, out, "role", v[ROLE]);
    wtok_add(x, out, "content", vllm_content(x, v[CONTENT], parts, tool));
    if (is_text(v[ROLE], "assistant")) {
        if (v[TOOL_CALLS].kind == WJ_LIST && v[TOOL_CALLS].len > 0)
            wtok_add(x, out, "tool_calls", calls(x, v[TOOL_CALLS], false));
        struct wj_val thought =
            joined_lines(x, has(v[REASONING]) ? v[REASONING] : v[OLD_REASONING]);
        if (has(thought)) {
            wtok_add(x, out, "reasoning", thought);
            wtok_add(x, out, "reasoning_content", thought);
        }
    } else if (tool && v[CALL_ID].kind != WJ_MISSING) {
        wtok_add(x, out, "tool_call_id", v[CALL_ID]);
    }
    if (v[NAME].kind == WJ_STR)
        wtok_add(x, out, "name", v[NAME]);
    if (v[TASK].kind == WJ_STR)
        wtok_add(x, out, "task", v[TASK]);
    if (is_text(v[ROLE], "developer"))
        wtok_add(x, out, "tools", has(v[TOOLS]) ? v[TOOLS] : wj_none());
    return out;
}

static struct wj_val sglang_parts(struct wj_run *x, struct wj_val content, bool parts) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i];
        const char *media;
        if (part.kind != WJ_DICT)
            continue;
        struct wj_val text = part_text(x, part, true, &media);
        if (media == NULL)
            wj_push(x, &out, parts ? typed_part(x, "text", text) : text);
        else if (parts && media[0] != '\0')
            wj_push(x, &out, typed_part(x, media, (struct wj_val){.kind = WJ_MISSING}));
        else if (!parts && media[0] != '\0')
            refuse_part(x, part, media);
    }
    return parts ? wj_list(out.at, out.n) : join(x, &out, " ");
}

static struct wj_val sglang_message(struct wj_run *x, struct wj_val m, bool parts) {
    static const char *const members[] = {"tool_call_id", "name", "reasoning_content", "tool_calls",
                                          "tools"};
    struct wj_val out = wj_dict_new(x, 8), role = wtok_member(x, m, "role");
    struct wj_val content = wtok_member(x, m, "content");
    wtok_add(x, out, "role", role);
    if (!has(content))
        content = wj_strz("");
    if (content.kind == WJ_LIST)
        content = sglang_parts(x, content, parts);
    if (is_text(role, "tool") && content.kind == WJ_LIST && all_text(x, content))
        content = joined_texts(x, content, " ");
    wtok_add(x, out, "content", content);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(members) && !is_text(role, "user"); i++) {
        struct wj_val v = wtok_member(x, m, members[i]);
        if (i == 3 && v.kind == WJ_LIST)
            v = calls(x, v, true);
        if (has(v))
            wtok_add(x, out, members[i], v);
    }
    return out;
}

void wtok_refuse_media(struct wj_run *x, struct wj_val messages) {
    for (uint32_t i = 0; messages.kind == WJ_LIST && i < messages.len; i++) {
        struct wj_val content = wtok_member(x, messages.u.items[i], "content");
        for (uint32_t k = 0; content.kind == WJ_LIST && k < content.len; k++) {
            const char *media = NULL;
            if (content.u.items[k].kind == WJ_DICT)
                part_text(x, content.u.items[k], false, &media);
            if (media != NULL && media[0] != '\0')
                wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "the tokens of %s parts are not known",
                        media);
        }
    }
}

struct wj_val wtok_shape_messages(struct wj_run *x, enum wtok_flavour flavour,
                                  struct wj_val messages, bool parts) {
    if (messages.kind != WJ_LIST)
        bad_message(x, "the messages are not a JSON array of objects");
    struct wj_val *items = wj_alloc(x, messages.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = messages.u.items[i];
        if (m.kind != WJ_DICT || wtok_member(x, m, "role").kind != WJ_STR)
            bad_message(x, "every message must be an object with a role");
        items[i] = flavour == WTOK_FLAVOUR_VLLM     ? vllm_message(x, m, parts)
                   : flavour == WTOK_FLAVOUR_SGLANG ? sglang_message(x, m, parts)
                                                    : m;
    }
    return wj_list(items, messages.len);
}

/* ---- roles that a template does not know ------------------------------------------------------
 */

/* Texts of a system message's content, as vLLM joins it with others. */
static struct wj_val system_text(struct wj_run *x, struct wj_val content) {
    struct wj_vec texts = {0};
    if (content.kind != WJ_LIST)
        return content;
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i];
        part = part.kind == WJ_DICT ? wtok_member(x, part, "text") : part;
        if (part.kind == WJ_STR)
            wj_push(x, &texts, part);
    }
    return join(x, &texts, "\n");
}

/* All system messages as one, in front; as they are where the only one stands there already. */
static struct wj_val one_system(struct wj_run *x, struct wj_val messages) {
    struct wj_vec texts = {0}, others = {0};
    bool moved = false;
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = messages.u.items[i];
        if (!is_text(wtok_member(x, m, "role"), "system")) {
            wj_push(x, &others, m);
            continue;
        }
        struct wj_val text = system_text(x, wtok_member(x, m, "content"));
        moved |= i > 0;
        if (text.kind == WJ_STR && text.len > 0)
            wj_push(x, &texts, text);
    }
    if (!moved)
        return messages;
    struct wj_val *items = wj_alloc(x, (others.n + 1) * sizeof(*items));
    items[0] = wj_dict_new(x, 2);
    wtok_add(x, items[0], "role", wj_strz("system"));
    wtok_add(x, items[0], "content", join(x, &texts, "\n\n"));
    memcpy(items + 1, others.at, others.n * sizeof(*items));
    return wj_list(items, others.n + 1);
}

struct wj_val wtok_shape_developers(struct wj_run *x, struct wj_val messages) {
    bool any = false;
    struct wj_val *items = wj_alloc(x, messages.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = items[i] = messages.u.items[i];
        if (!is_text(wtok_member(x, m, "role"), "developer"))
            continue;
        any = true;
        items[i] = wj_dict_new(x, m.u.dict->n);
        for (uint32_t k = 0; k < m.u.dict->n; k++)
            if (!is_text(m.u.dict->pairs[k].key, "tools"))
                wj_dict_add(x, items[i].u.dict, m.u.dict->pairs[k].key, m.u.dict->pairs[k].value);
        wtok_set(x, items[i], "role", wj_strz("system"));
    }
    return any ? one_system(x, wj_list(items, messages.len)) : messages;
}

struct weir_span wtok_shape_last(struct wj_run *x, struct wj_val *messages, bool continues) {
    struct weir_span prefix = {NULL, 0};
    if (messages->len == 0)
        return prefix;
    struct wj_val *items = wj_alloc(x, messages->len * sizeof(*items));
    memcpy(items, messages->u.items, messages->len * sizeof(*items));
    struct wj_val *last = &items[messages->len - 1], content = wtok_member(x, *last, "content");
    if (!is_text(wtok_member(x, *last, "role"), "assistant") || content.kind != WJ_STR)
        return prefix;
    if (continues) {
        messages->len--;
        return wj_text(x, content);
    }
    *last = wj_dict_new(x, 2);
    wtok_set(x, *last, "role", wj_strz("user"));
    wtok_set(x, *last, "content", content);
    messages->u.items = items;
    return prefix;
}

/* ---- tools -------------------------------------------------------------------------------- */

static struct wj_val or_null(struct wj_val v) {
    return has(v) ? v : wj_none();
}

/* vLLM 0.32: the members that its classes have, in their order; `strict` and `defer_loading` only
 * where they say something. */
static struct wj_val vllm_tool(struct wj_run *x, struct wj_val tool) {
    enum { TYPE, FUNCTION, OUTER_DEFER, N_OUTER };
    enum { NAME, DESCRIPTION, PARAMETERS, STRICT, DEFER, N_INNER };
    static const struct weir_span outer[N_OUTER] = {
        WEIR_SPAN_LIT("type"), WEIR_SPAN_LIT("function"), WEIR_SPAN_LIT("defer_loading")};
    static const struct weir_span inner[N_INNER] = {
        WEIR_SPAN_LIT("name"), WEIR_SPAN_LIT("description"), WEIR_SPAN_LIT("parameters"),
        WEIR_SPAN_LIT("strict"), WEIR_SPAN_LIT("defer_loading")};
    struct wj_val t[N_OUTER], f[N_INNER];
    members(x, tool, outer, N_OUTER, t);
    members(x, t[FUNCTION], inner, N_INNER, f);
    if (tool.u.dict->n == 2 && t[FUNCTION].u.dict->n == 3 && has(t[TYPE]) && has(f[NAME]) &&
        has(f[DESCRIPTION]) && has(f[PARAMETERS]) && begins_with(x, tool, outer, 2) &&
        begins_with(x, t[FUNCTION], inner, 3))
        return tool; /* nothing would change */
    struct wj_val out = wj_dict_new(x, 3), in = wj_dict_new(x, N_INNER);
    if (!has(f[DEFER]))
        f[DEFER] = t[OUTER_DEFER];
    wtok_add(x, out, "type", has(t[TYPE]) ? t[TYPE] : wj_strz("function"));
    for (size_t i = 0; i < N_INNER; i++)
        if (i < STRICT || has(f[i]))
            wtok_add(x, in, (const char *)inner[i].data, or_null(f[i]));
    wtok_add(x, out, "function", in);
    if (has(t[OUTER_DEFER]))
        wtok_add(x, out, "defer_loading", t[OUTER_DEFER]);
    return out;
}

/* SGLang 0.5.23: the function's known members in the order of the request, then those that were
 * left out, as null; `strict` and `defer_loading` only where they say something. */
static struct wj_val sglang_tool(struct wj_run *x, struct wj_val tool) {
    enum { DESCRIPTION, NAME, PARAMETERS, STRICT, DEFER, N };
    static const struct weir_span names[N] = {WEIR_SPAN_LIT("description"), WEIR_SPAN_LIT("name"),
                                              WEIR_SPAN_LIT("parameters"), WEIR_SPAN_LIT("strict"),
                                              WEIR_SPAN_LIT("defer_loading")};
    struct wj_val out = wj_dict_new(x, 3), in = wj_dict_new(x, N), f[N];
    struct wj_val function = wtok_member(x, tool, "function"), type = wtok_member(x, tool, "type");
    struct wj_val defer = or_null(wtok_member(x, tool, "defer_loading"));
    members(x, function, names, N, f);
    if (!has(f[DEFER]))
        f[DEFER] = defer;
    for (uint32_t i = 0; i < function.u.dict->n; i++) {
        size_t which = name_of(x, function.u.dict->pairs[i].key, names, N);
        if (which < N && (which < STRICT || has(f[which])))
            wtok_set(x, in, (const char *)names[which].data, or_null(f[which]));
    }
    for (size_t i = 0; i < N; i++)
        if (wtok_member(x, in, (const char *)names[i].data).kind == WJ_MISSING &&
            (i < STRICT || has(f[i])))
            wtok_add(x, in, (const char *)names[i].data, or_null(f[i]));
    wtok_add(x, out, "type", has(type) ? type : wj_strz("function"));
    wtok_add(x, out, "function", in);
    wtok_add(x, out, "defer_loading", defer);
    return out;
}

struct wj_val wtok_shape_tools(struct wj_run *x, enum wtok_flavour flavour, struct wj_val tools) {
    if (tools.kind != WJ_LIST || flavour == WTOK_FLAVOUR_PLAIN)
        return tools;
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val tool = tools.u.items[i];
        if (wtok_member(x, tool, "function").kind != WJ_DICT)
            bad_message(x, "every tool must be an object with a function");
        items[i] = flavour == WTOK_FLAVOUR_SGLANG ? sglang_tool(x, tool) : vllm_tool(x, tool);
    }
    return wj_list(items, tools.len);
}

struct wj_val wtok_choose_tools(struct wj_run *x, struct wj_val tools, struct wj_val choice) {
    if (is_text(choice, "none"))
        return wj_none();
    if (tools.kind != WJ_LIST || choice.kind != WJ_DICT)
        return tools;
    struct wj_val name = wtok_member(x, wtok_member(x, choice, "function"), "name");
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    uint32_t n = 0;
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val own = wtok_member(x, wtok_member(x, tools.u.items[i], "function"), "name");
        if (own.kind == WJ_STR && name.kind == WJ_STR && own.len == name.len &&
            wj_same_text(own.u.s, wj_text(x, name)))
            items[n++] = tools.u.items[i];
    }
    return n > 0 ? wj_list(items, n) : wj_none();
}
