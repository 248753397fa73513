/*
 * A request as vLLM 0.32 hands it to the template (entrypoints/openai, renderers/chat_utils.py and
 * hf.py): members of a message by role, in the order of its classes; contents as text or as parts;
 * arguments of calls as objects; tools with their null members; roles that a template does not
 * know.
 */
#include "tokenizer/chat_shape_priv.h"

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
    struct wj_val out = wtok_typed_part(x, "text", text);
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
            text = wtok_part_text(x, part, false, &media);
        else if (part.kind != WJ_STR)
            bad_message(x, "a content part must be an object or a string");
        if (media != NULL && (!parts || media[0] == '\0'))
            wtok_refuse_part(x, part, media);
        if (media != NULL)
            wj_push(x, &out, wtok_typed_part(x, media, text));
        else if (text.kind == WJ_STR && parts)
            wj_push(x, &out, vllm_text_part(x, part, text));
        else if (text.kind == WJ_STR && text.len > 0)
            wj_push(x, &out, text);
    }
    return parts ? wj_list(out.at, out.n) : wtok_join_texts(x, &out, "\n");
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
    for (uint32_t i = 0; i < content.len; i++) {
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
    return wj_list(out.at, out.n);
}

struct wj_val wtok_shape_bills(struct wj_run *x, struct wj_val messages) {
    struct wj_val *items = wj_alloc(x, messages.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = items[i] = messages.u.items[i];
        struct wj_val content = wtok_member(x, m, "content");
        if (is_text(wtok_member(x, m, "role"), "system") &&
            (content.kind == WJ_STR || content.kind == WJ_LIST))
            items[i] = wtok_with(x, m, "content", without_bills(x, content));
    }
    return wj_list(items, messages.len);
}

static struct wj_val vllm_content(struct wj_run *x, struct wj_val content, bool parts, bool tool) {
    if (!has(content))
        content = wj_list(NULL, 0);
    if (content.kind == WJ_STR) {
        if (!parts)
            return content;
        struct wj_val *one = wj_alloc(x, sizeof(*one));
        *one = wtok_typed_part(x, "text", content);
        content = wj_list(one, 1);
    } else if (content.kind == WJ_LIST) {
        content = vllm_parts(x, content, parts);
    } else {
        bad_message(x, "a message's content must be text or a list of parts");
    }
    if (tool && content.kind == WJ_LIST && wtok_all_text(x, content))
        return wtok_joined_texts(x, content, "\n");
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

/* `for_dynamo`: its frontend writes the type that a call does not say. */
static struct wj_val vllm_call(struct wj_run *x, struct wj_val call, bool for_dynamo) {
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
    if (for_dynamo && type.kind == WJ_MISSING)
        wtok_add(x, call, "type", wj_strz("function"));
    return call;
}

/* Tools of a developer's message, which pass through other classes than those of the request. */
static struct wj_val vllm_own_tools(struct wj_run *x, struct wj_val tools) {
    static const struct weir_span outer[] = {WEIR_SPAN_LIT("function"), WEIR_SPAN_LIT("type")};
    static const struct weir_span inner[] = {WEIR_SPAN_LIT("name"), WEIR_SPAN_LIT("description"),
                                             WEIR_SPAN_LIT("parameters"), WEIR_SPAN_LIT("strict")};
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val f = wtok_member(x, tools.u.items[i], "function");
        if (f.kind != WJ_DICT)
            bad_message(x, "every tool must be an object with a function");
        items[i] = in_order(x, tools.u.items[i], outer, WEIR_ARRAY_LEN(outer));
        wtok_set(x, items[i], "function", in_order(x, f, inner, WEIR_ARRAY_LEN(inner)));
    }
    return wj_list(items, tools.len);
}

static struct wj_val vllm_calls(struct wj_run *x, struct wj_val list, bool for_dynamo) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++)
        items[i] = vllm_call(x, list.u.items[i], for_dynamo);
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
    return wtok_join_texts(x, &texts, "\n");
}

struct wj_val wtok_vllm_message(struct wj_run *x, struct wj_val m, bool parts, bool for_dynamo) {
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
        m.u.dict->pairs[1].value.kind == WJ_STR && !is_text(m.u.dict->pairs[0].value, "developer"))
        return m; /* nothing would change */
    struct wj_val out = wj_dict_new(x, 8);
    members(x, m, names, N, v);
    bool tool = is_text(v[ROLE], "tool");
    wtok_add(x, out, "role", v[ROLE]);
    wtok_add(x, out, "content", vllm_content(x, v[CONTENT], parts, tool));
    if (is_text(v[ROLE], "assistant")) {
        if (v[TOOL_CALLS].kind == WJ_LIST && v[TOOL_CALLS].len > 0)
            wtok_add(x, out, "tool_calls", vllm_calls(x, v[TOOL_CALLS], for_dynamo));
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
        wtok_add(x, out, "tools",
                 v[TOOLS].kind == WJ_LIST ? vllm_own_tools(x, v[TOOLS]) : wj_none());
    return out;
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
    return wtok_join_texts(x, &texts, "\n");
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
    wtok_add(x, items[0], "content", wtok_join_texts(x, &texts, "\n\n"));
    if (others.n > 0)
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

/* ---- tools -------------------------------------------------------------------------------- */

enum { TYPE, FUNCTION, OUTER_DEFER, N_OUTER };
enum { NAME, DESCRIPTION, PARAMETERS, STRICT, DEFER, N_INNER };
static const struct weir_span outer[N_OUTER] = {WEIR_SPAN_LIT("type"), WEIR_SPAN_LIT("function"),
                                                WEIR_SPAN_LIT("defer_loading")};
static const struct weir_span inner[N_INNER] = {
    WEIR_SPAN_LIT("name"), WEIR_SPAN_LIT("description"), WEIR_SPAN_LIT("parameters"),
    WEIR_SPAN_LIT("strict"), WEIR_SPAN_LIT("defer_loading")};

/* Type, name, description and parameters, in that order, and nothing else. */
static bool is_plain_tool(struct wj_run *x, struct wj_val tool, const struct wj_val *t,
                          const struct wj_val *f) {
    return tool.u.dict->n == 2 && t[FUNCTION].u.dict->n == 3 && has(t[TYPE]) && has(f[NAME]) &&
           has(f[DESCRIPTION]) && has(f[PARAMETERS]) && begins_with(x, tool, outer, 2) &&
           begins_with(x, t[FUNCTION], inner, 3);
}

/* vLLM 0.32: the members that its classes have, in their order; `strict` and `defer_loading` only
 * where they say something. */
struct wj_val wtok_vllm_tool(struct wj_run *x, struct wj_val tool) {
    struct wj_val t[N_OUTER], f[N_INNER];
    members(x, tool, outer, N_OUTER, t);
    members(x, t[FUNCTION], inner, N_INNER, f);
    if (is_plain_tool(x, tool, t, f))
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

/* A schema is one of an object with properties; what it does not say of that comes last. */
static struct wj_val object_schema(struct wj_run *x, struct wj_val schema) {
    bool typed = wtok_member(x, schema, "type").kind != WJ_MISSING;
    bool has_properties = wtok_member(x, schema, "properties").kind != WJ_MISSING;
    if (schema.kind != WJ_DICT || (typed && has_properties))
        return schema;
    struct wj_val out = wj_dict_new(x, schema.u.dict->n + 2);
    add_other_members(x, out, schema, NULL, 0);
    if (!typed)
        wtok_add(x, out, "type", wj_strz("object"));
    if (!has_properties)
        wtok_add(x, out, "properties", wj_dict_new(x, 0));
    return out;
}

/* A live Dynamo 1.6.1: members that are there, in their order, and behind them an empty
 * description where there is none. */
struct wj_val wtok_dynamo_tool(struct wj_run *x, struct wj_val tool) {
    struct wj_val t[N_OUTER], f[N_INNER];
    members(x, tool, outer, N_OUTER, t);
    members(x, t[FUNCTION], inner, N_INNER, f);
    struct wj_val parameters = object_schema(x, f[PARAMETERS]);
    if (is_plain_tool(x, tool, t, f) && parameters.u.dict == f[PARAMETERS].u.dict)
        return tool; /* nothing would change */
    struct wj_val out = wj_dict_new(x, 2), in = wj_dict_new(x, N_INNER);
    f[PARAMETERS] = parameters;
    wtok_add(x, out, "type", has(t[TYPE]) ? t[TYPE] : wj_strz("function"));
    for (size_t i = 0; i <= STRICT; i++)
        if (has(f[i]))
            wtok_add(x, in, (const char *)inner[i].data, f[i]);
    if (!has(f[DESCRIPTION]))
        wtok_add(x, in, "description", wj_strz(""));
    wtok_add(x, out, "function", in);
    return out;
}
