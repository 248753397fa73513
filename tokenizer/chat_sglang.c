/*
 * A request as SGLang 0.5.23 hands it to the template (serving_chat.py, jinja_template_utils.py):
 * the members of its own classes, other joints, the last message of the assistant set apart.
 */
#include "tokenizer/chat_shape_priv.h"

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

static struct wj_val sglang_calls(struct wj_run *x, struct wj_val list) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < list.len; i++)
        items[i] = sglang_call(x, list.u.items[i]);
    return wj_list(items, list.len);
}

static struct wj_val sglang_parts(struct wj_run *x, struct wj_val content, bool parts) {
    struct wj_vec out = {0};
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i];
        const char *media;
        if (part.kind != WJ_DICT)
            continue;
        struct wj_val text = wtok_part_text(x, part, true, &media);
        if (media == NULL)
            wj_push(x, &out, parts ? wtok_typed_part(x, "text", text) : text);
        else if (parts && media[0] != '\0')
            wj_push(x, &out, wtok_typed_part(x, media, (struct wj_val){.kind = WJ_MISSING}));
        else if (!parts && media[0] != '\0')
            wtok_refuse_part(x, part, media);
    }
    return parts ? wj_list(out.at, out.n) : wtok_join_texts(x, &out, " ");
}

struct wj_val wtok_sglang_message(struct wj_run *x, struct wj_val m, bool parts) {
    static const char *const members[] = {"tool_call_id", "name", "reasoning_content", "tool_calls",
                                          "tools"};
    struct wj_val out = wj_dict_new(x, 8), role = wtok_member(x, m, "role");
    struct wj_val content = wtok_member(x, m, "content");
    wtok_add(x, out, "role", role);
    if (!has(content))
        content = wj_strz("");
    if (content.kind == WJ_LIST)
        content = sglang_parts(x, content, parts);
    if (is_text(role, "tool") && content.kind == WJ_LIST && wtok_all_text(x, content))
        content = wtok_joined_texts(x, content, " ");
    wtok_add(x, out, "content", content);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(members) && !is_text(role, "user"); i++) {
        struct wj_val v = wtok_member(x, m, members[i]);
        if (i == 3 && v.kind == WJ_LIST)
            v = sglang_calls(x, v);
        if (has(v))
            wtok_add(x, out, members[i], v);
    }
    return out;
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

/* SGLang 0.5.23: the function's known members in the order of the request, then those that were
 * left out, as null; `strict` and `defer_loading` only where they say something. */
struct wj_val wtok_sglang_tool(struct wj_run *x, struct wj_val tool) {
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
