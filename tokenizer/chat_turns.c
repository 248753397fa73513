/*
 * Turns in an order that the template takes. Dynamo's frontend renders four short conversations
 * when it loads a template and, of one that refuses them, mends what it is asked later; here the
 * same is learnt and done, so that an agent which puts a system message into the middle, or speaks
 * twice, is served as before. Source: answers of Dynamo 1.6.1 to templates that refuse one thing
 * each (test/data/differential-1.6.1.jsonl, "turns-").
 */
#include "tokenizer/chat_priv.h"

#define SYSTEM "{\"role\":\"system\",\"content\":\"s\"}"
#define USER "{\"role\":\"user\",\"content\":\"u\"}"
#define ASSISTANT "{\"role\":\"assistant\",\"content\":\"a\"}"

/* WEIR_INVALID: the template refuses the conversation. */
static enum weir_status try(const struct wtok_template *t, bool with_tools, const char *messages) {
    struct wtok_chat chat = {.messages = weir_span_z(messages),
                             .tools = with_tools ? WEIR_SPAN_LIT("[]") : weir_span(NULL, 0)};
    struct weir_buf out;
    weir_buf_init(&out, (size_t)1 << 20);
    enum weir_status st = wtok_template_render(t, &chat, &out, NULL);
    weir_buf_fini(&out);
    return st;
}

enum weir_status wtok_learn_turns(const struct wtok_template *t, bool with_tools,
                                  unsigned *ret_refused) {
    *ret_refused = 0;
    enum weir_status first = try(t, with_tools, "[" SYSTEM "," USER "]");
    if (first != WEIR_OK) /* a template without a place for "system" is left as it is */
        return first == WEIR_INVALID ? WEIR_OK : first;
    static const struct {
        const char *messages;
        unsigned refused;
    } rows[] = {
        {"[" SYSTEM "," USER "," SYSTEM "]", WTOK_NO_LATE_SYSTEM},
        {"[" SYSTEM "," USER "," ASSISTANT "," SYSTEM "," USER "]", WTOK_NO_LATE_SYSTEM},
        {"[" SYSTEM "," USER "," USER "]", WTOK_NO_USER_RUNS},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        enum weir_status st = try(t, with_tools, rows[i].messages);
        if (st == WEIR_INVALID)
            *ret_refused |= rows[i].refused;
        else if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

static bool is_role(struct wj_run *x, struct wj_val message, const char *role) {
    struct wj_val v = wtok_member(x, message, "role");
    return v.kind == WJ_STR && weir_span_eqz(wj_text(x, v), role);
}

static void push_parts(struct wj_run *x, struct wj_vec *parts, struct wj_val content) {
    for (uint32_t i = 0; content.kind == WJ_LIST && i < content.len; i++)
        wj_push(x, parts, content.u.items[i]);
    if (content.kind != WJ_STR || content.len == 0)
        return;
    struct wj_val part = wj_dict_new(x, 2);
    wtok_add(x, part, "type", wj_strz("text"));
    wtok_add(x, part, "text", content);
    wj_push(x, parts, part);
}

/* Two texts with an empty line between, unless one is empty; else the parts of both. */
static struct wj_val joined(struct wj_run *x, struct wj_val a, struct wj_val b) {
    struct wj_vec parts = {0};
    if (a.kind == WJ_LIST || b.kind == WJ_LIST) {
        push_parts(x, &parts, a);
        push_parts(x, &parts, b);
        return wj_list(parts.at, parts.n);
    }
    if (a.kind != WJ_STR || a.len == 0)
        return b;
    if (b.kind != WJ_STR || b.len == 0)
        return a;
    return wj_concat(x, wj_concat(x, a, wj_strz("\n\n")), b);
}

/* What stands in the first of both beside its content stays. */
static void merge(struct wj_run *x, struct wj_vec *turns, struct wj_val next) {
    struct wj_val *last = &turns->at[turns->n - 1];
    struct wj_val content =
        joined(x, wtok_member(x, *last, "content"), wtok_member(x, next, "content"));
    if (content.kind != WJ_MISSING)
        *last = wtok_with(x, *last, "content", content);
}

/* Whether a message becomes part of the turn before it. */
static bool continues(struct wj_run *x, const struct wj_vec *turns, struct wj_val m,
                      unsigned refused) {
    if (turns->n == 0)
        return false;
    struct wj_val last = turns->at[turns->n - 1];
    if ((refused & WTOK_NO_LATE_SYSTEM) != 0 && is_role(x, m, "system"))
        return true; /* only those at the front are left */
    return (refused & WTOK_NO_USER_RUNS) != 0 && is_role(x, m, "user") && is_role(x, last, "user");
}

struct wj_val wtok_order_turns(struct wj_run *x, struct wj_val messages, unsigned refused) {
    struct wj_vec turns = {0};
    bool late = false; /* something else than a system message was there */
    if (refused == 0 || messages.kind != WJ_LIST)
        return messages;
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = messages.u.items[i];
        bool system = is_role(x, m, "system");
        if (system && late && (refused & WTOK_NO_LATE_SYSTEM) != 0)
            m = wtok_with(x, m, "role", wj_strz("user"));
        late = late || !system;
        if (continues(x, &turns, m, refused))
            merge(x, &turns, m);
        else
            wj_push(x, &turns, m);
    }
    return wj_list(turns.at, turns.n);
}
