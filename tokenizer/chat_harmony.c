/*
 * The prompt format of gpt-oss ("harmony"). vLLM does not use the model's chat template for it but
 * the openai-harmony library, whose text this is: a system message with date and effort, a
 * developer message with instructions and the tools as TypeScript types, and messages with
 * channels.
 */
#include "tokenizer/chat_priv.h"

/* One message of the format; several come from one of the request. */
struct message {
    const char *role;
    struct wj_val function; /* of a call or a tool's answer; MISSING for others */
    const char *channel;    /* or NULL */
    struct weir_span text;
};
struct harmony {
    struct wj_run *x;
    struct message *list;
    uint32_t n, cap;
};

static bool has(struct wj_val v) {
    return v.kind != WJ_MISSING && v.kind != WJ_NONE;
}
static bool is_text(struct wj_val v, const char *text) {
    return v.kind == WJ_STR && weir_span_eqz(weir_span(v.u.s, v.len), text);
}

/* ---- types -------------------------------------------------------------------------------- */

static void put_indent(struct wj_run *x, unsigned indent) {
    for (unsigned i = 0; i < indent; i++)
        wj_put(x, " ", 1);
}

static void put_comment(struct wj_run *x, unsigned indent, struct wj_val text) {
    if (text.kind != WJ_STR)
        return;
    put_indent(x, indent);
    wj_putz(x, "// ");
    wj_put_str(x, text);
    wj_put(x, "\n", 1);
}

static bool is_enum(struct wj_run *x, struct wj_val schema) {
    struct wj_val v = wtok_member(x, schema, "enum");
    return v.kind == WJ_LIST && v.len > 0;
}

static void put_type(struct wj_run *x, struct wj_val schema, unsigned indent);

static void put_examples(struct wj_run *x, struct wj_val examples, unsigned indent) {
    if (examples.kind != WJ_LIST || examples.len == 0)
        return;
    put_comment(x, indent, wj_strz("Examples:"));
    for (uint32_t i = 0; i < examples.len; i++) {
        if (examples.u.items[i].kind != WJ_STR)
            continue;
        put_indent(x, indent);
        wj_putz(x, "// - \"");
        wj_put_str(x, examples.u.items[i]);
        wj_putz(x, "\"\n");
    }
}

static void put_default(struct wj_run *x, struct wj_val schema) {
    struct wj_val v = wtok_member(x, schema, "default");
    if (v.kind == WJ_MISSING)
        return;
    if (v.kind != WJ_STR && v.kind != WJ_BOOL && v.kind != WJ_INT && v.kind != WJ_NONE)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "a tool parameter whose default is a %s is not supported for this model",
                wj_type_name(v));
    wj_putz(x, " // default: ");
    if (v.kind == WJ_STR && !is_enum(x, schema)) {
        wj_put(x, "\"", 1);
        wj_put_str(x, v);
        wj_put(x, "\"", 1);
    } else if (v.kind == WJ_STR) {
        wj_put_str(x, v);
    } else {
        wj_put_json(x, v);
    }
}

static bool is_required(struct wj_run *x, struct wj_val schema, struct wj_val name) {
    struct wj_val list = wtok_member(x, schema, "required");
    for (uint32_t i = 0; list.kind == WJ_LIST && i < list.len; i++)
        if (list.u.items[i].kind == WJ_STR && wj_equal(x, list.u.items[i], name))
            return true;
    return false;
}

static void put_property(struct wj_run *x, struct wj_val schema, struct wj_pair p,
                         unsigned indent) {
    struct wj_val title = wtok_member(x, p.value, "title");
    if (has(wtok_member(x, p.value, "oneOf")))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "a tool parameter with oneOf is not supported for this model");
    if (title.kind == WJ_STR) {
        put_comment(x, indent, title);
        put_indent(x, indent);
        wj_putz(x, "//\n");
    }
    put_comment(x, indent, wtok_member(x, p.value, "description"));
    put_examples(x, wtok_member(x, p.value, "examples"), indent);
    put_indent(x, indent);
    wj_put_str(x, p.key);
    wj_putz(x, is_required(x, schema, p.key) ? ": " : "?: ");
    size_t mark = x->out->len;
    put_type(x, p.value, indent + 4);
    struct weir_span type = weir_span(x->out->data + mark, x->out->len - mark);
    struct wj_val nullable = wtok_member(x, p.value, "nullable");
    if (nullable.kind == WJ_BOOL && nullable.sub && wj_find(type, WEIR_SPAN_LIT("null"), 0) < 0)
        wj_putz(x, " | null");
    wj_put(x, ",", 1);
    put_default(x, p.value);
    wj_put(x, "\n", 1);
}

static void put_object_type(struct wj_run *x, struct wj_val schema, unsigned indent) {
    struct wj_val properties = wtok_member(x, schema, "properties");
    put_comment(x, indent, wtok_member(x, schema, "description"));
    wj_putz(x, "{\n");
    for (uint32_t i = 0; properties.kind == WJ_DICT && i < properties.u.dict->n; i++)
        put_property(x, schema, properties.u.dict->pairs[i], indent);
    put_indent(x, indent);
    wj_put(x, "}", 1);
}

static void put_string_type(struct wj_run *x, struct wj_val schema) {
    struct wj_val values = wtok_member(x, schema, "enum");
    if (!is_enum(x, schema)) {
        wj_putz(x, "string");
        return;
    }
    bool first = true;
    for (uint32_t i = 0; i < values.len; i++) {
        if (values.u.items[i].kind != WJ_STR)
            continue;
        wj_putz(x, first ? "\"" : " | \"");
        wj_put_str(x, values.u.items[i]);
        wj_put(x, "\"", 1);
        first = false;
    }
    if (first)
        wj_putz(x, "string");
}

static bool put_type_list(struct wj_run *x, struct wj_val types) {
    bool first = true;
    for (uint32_t i = 0; types.kind == WJ_LIST && i < types.len; i++) {
        if (types.u.items[i].kind != WJ_STR)
            continue;
        if (!first)
            wj_putz(x, " | ");
        if (is_text(types.u.items[i], "integer"))
            wj_putz(x, "number");
        else
            wj_put_str(x, types.u.items[i]);
        first = false;
    }
    return !first;
}

static void put_type(struct wj_run *x, struct wj_val schema, unsigned indent) {
    struct wj_val type = wtok_member(x, schema, "type"), items;
    wj_enter(x);
    if (has(wtok_member(x, schema, "oneOf")))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "a tool parameter with oneOf is not supported for this model");
    if (put_type_list(x, type)) {
        /* done */
    } else if (is_text(type, "object")) {
        put_object_type(x, schema, indent);
    } else if (is_text(type, "string")) {
        put_string_type(x, schema);
    } else if (is_text(type, "number") || is_text(type, "integer")) {
        wj_putz(x, "number");
    } else if (is_text(type, "boolean")) {
        wj_putz(x, "boolean");
    } else if (is_text(type, "array")) {
        items = wtok_member(x, schema, "items");
        if (items.kind != WJ_MISSING)
            put_type(x, items, indent);
        wj_putz(x, items.kind != WJ_MISSING ? "[]" : "Array<any>");
    } else {
        wj_putz(x, "any");
    }
    wj_leave(x);
}

/* ---- the messages in front ---------------------------------------------------------------- */

/* A control token in a text would become one for the model, which the reference's encoder prevents.
 */
static struct weir_span safe_text(struct wj_run *x, struct weir_span s) {
    static const char *const control[] = {"<|start|>",   "<|end|>",       "<|message|>",
                                          "<|channel|>", "<|constrain|>", "<|call|>",
                                          "<|return|>",  "<|endoftext|>"};
    wj_charge(x, s.len / 64);
    if (s.len > 0 && wj_find(s, WEIR_SPAN_LIT("<|"), 0) >= 0)
        for (size_t i = 0; i < WEIR_ARRAY_LEN(control); i++)
            if (wj_find(s, weir_span_z(control[i]), 0) >= 0)
                wj_fail(x, WTOK_JINJA_ERR_VALUE, "the text holds %s, a control token of this model",
                        control[i]);
    return s;
}

static void put_description(struct wj_run *x, struct weir_span s) {
    for (struct weir_span rest = s; rest.data != NULL && rest.len > 0;) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        wj_putz(x, "// ");
        wj_puts(x, line);
        wj_put(x, "\n", 1);
    }
}

static void put_tools(struct wj_run *x, struct wj_val tools) {
    wj_putz(x, "# Tools\n\n## functions\n\nnamespace functions {\n\n");
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val f = wtok_member(x, tools.u.items[i], "function");
        struct wj_val name = wtok_member(x, f, "name"), text = wtok_member(x, f, "description");
        struct wj_val parameters = wtok_member(x, f, "parameters");
        if (name.kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "every tool must be an object with a function");
        size_t mark = x->out->len;
        if (text.kind == WJ_STR)
            put_description(x, wj_text(x, text));
        wj_putz(x, "type ");
        wj_put_str(x, name);
        wj_putz(x, " = (");
        if (has(parameters)) {
            wj_putz(x, "_: ");
            put_type(x, parameters, 0);
        }
        wj_putz(x, ") => any;\n\n");
        safe_text(x, weir_span(x->out->data + mark, x->out->len - mark));
    }
    wj_putz(x, "} // namespace functions");
}

static void put_system(struct wj_run *x, struct wj_val args, bool tools) {
    struct wj_val effort = wtok_member(x, args, "reasoning_effort");
    if (!has(effort))
        effort = wj_strz("medium");
    if (!is_text(effort, "low") && !is_text(effort, "medium") && !is_text(effort, "high"))
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "reasoning_effort must be low, medium or high");
    struct wj_val date = wj_strftime_now(x, WEIR_SPAN_LIT("%Y-%m-%d"));
    wj_putz(x, "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
               "OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: ");
    wj_put_str(x, date);
    wj_putz(x, "\n\nReasoning: ");
    wj_put_str(x, effort);
    wj_putz(x, "\n\n# Valid channels: analysis, commentary, final. Channel must be included for "
               "every message.");
    if (tools)
        wj_putz(x, "\nCalls to these tools must go to the commentary channel: 'functions'.");
    wj_putz(x, "<|end|>");
}

static void put_developer(struct wj_run *x, struct wj_val instructions, struct wj_val tools) {
    bool with_tools = tools.kind == WJ_LIST && tools.len > 0;
    wj_putz(x, "<|start|>developer<|message|>");
    if (instructions.kind == WJ_STR) {
        wj_putz(x, "# Instructions\n\n");
        wj_puts(x, safe_text(x, wj_text(x, instructions)));
        wj_putz(x, with_tools ? "\n\n" : "");
    }
    if (with_tools)
        put_tools(x, tools);
    wj_putz(x, "<|end|>");
}

/* ---- the conversation --------------------------------------------------------------------- */

/* The texts of a content one after the other; NONE when it has none. */
static struct wj_val flat(struct wj_run *x, struct wj_val content) {
    if (content.kind == WJ_STR || !has(content))
        return has(content) ? content : wj_none();
    bool any = false;
    size_t mark = x->out->len;
    for (uint32_t i = 0; content.kind == WJ_LIST && i < content.len; i++) {
        struct wj_val part = content.u.items[i];
        if (part.kind == WJ_DICT)
            part = wtok_member(x, part, "text");
        if (part.kind == WJ_STR) {
            wj_put_str(x, part);
            any = true;
        }
    }
    struct wj_val v = wj_cut(x, mark);
    return any ? v : wj_none();
}

static void add(struct harmony *h, const char *role, struct wj_val function, const char *channel,
                struct wj_val text) {
    if (h->n == h->cap) {
        uint32_t cap = h->cap == 0 ? 16 : h->cap * 2;
        struct message *more = wj_alloc(h->x, cap * sizeof(*more));
        if (h->n > 0)
            memcpy(more, h->list, h->n * sizeof(*more));
        h->list = more;
        h->cap = cap;
    }
    struct weir_span s = text.kind == WJ_STR ? wj_text(h->x, text) : weir_span("", 0);
    h->list[h->n++] = (struct message){role, function, channel, safe_text(h->x, s)};
}

static const struct wj_val nobody = {.kind = WJ_MISSING};

static void add_assistant(struct harmony *h, struct wj_val m) {
    struct wj_run *x = h->x;
    struct wj_val calls = wtok_member(x, m, "tool_calls"),
                  text = flat(x, wtok_member(x, m, "content"));
    struct wj_val reasoning = wtok_member(x, m, "reasoning");
    bool calling = calls.kind == WJ_LIST && calls.len > 0;
    if (calling && wj_truth(text))
        add(h, "assistant", nobody, "commentary", text);
    if (reasoning.kind == WJ_STR && reasoning.len > 0)
        add(h, "assistant", nobody, "analysis", reasoning);
    if (!calling && wj_truth(text))
        add(h, "assistant", nobody, "final", text);
    for (uint32_t i = 0; calling && i < calls.len; i++) {
        struct wj_val f = wtok_member(x, calls.u.items[i], "function");
        struct wj_val name = wtok_member(x, f, "name"), arguments = wtok_member(x, f, "arguments");
        if (name.kind != WJ_STR || (has(arguments) && arguments.kind != WJ_STR))
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "a tool call needs a name and arguments as a string");
        add(h, "assistant", name, "commentary", arguments);
    }
}

/* The function that the call with this id names; the last such call counts. */
static struct wj_val called(struct wj_run *x, struct wj_val messages, struct wj_val id) {
    struct wj_val name = wj_strz("");
    for (uint32_t i = 0; id.kind == WJ_STR && i < messages.len; i++) {
        struct wj_val calls = wtok_member(x, messages.u.items[i], "tool_calls");
        for (uint32_t k = 0; calls.kind == WJ_LIST && k < calls.len; k++) {
            struct wj_val other = wtok_member(x, calls.u.items[k], "id");
            wj_charge(x, 1);
            if (other.kind == WJ_STR && wj_equal(x, other, id))
                name = wtok_member(x, wtok_member(x, calls.u.items[k], "function"), "name");
        }
    }
    return name.kind == WJ_STR ? name : wj_strz("");
}

static void add_message(struct harmony *h, struct wj_val messages, struct wj_val m) {
    struct wj_run *x = h->x;
    struct wj_val role = wtok_member(x, m, "role"), content = flat(x, wtok_member(x, m, "content"));
    if (is_text(role, "assistant")) {
        add_assistant(h, m);
    } else if (is_text(role, "tool")) {
        add(h, "tool", called(x, messages, wtok_member(x, m, "tool_call_id")), "commentary",
            content);
    } else if (is_text(role, "system") || is_text(role, "developer")) {
        if (content.kind == WJ_STR)
            add(h, "developer", nobody, NULL, content);
    } else if (is_text(role, "user")) {
        add(h, "user", nobody, NULL, content);
    } else {
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "every message must be an object with a known role");
    }
}

static void put_message(struct wj_run *x, const struct message *m) {
    bool tool = strcmp(m->role, "tool") == 0, call = !tool && m->function.kind == WJ_STR;
    bool developer = strcmp(m->role, "developer") == 0;
    if (m->function.kind == WJ_STR)
        safe_text(x, wj_text(x, m->function));
    wj_putz(x, "<|start|>");
    if (tool) {
        wj_putz(x, "functions.");
        wj_put_str(x, m->function);
        wj_putz(x, " to=assistant");
    } else {
        wj_putz(x, m->role);
    }
    if (call) {
        wj_putz(x, " to=functions.");
        wj_put_str(x, m->function);
    }
    if (m->channel != NULL) {
        wj_putz(x, "<|channel|>");
        wj_putz(x, m->channel);
    }
    wj_putz(x, call ? " json<|message|>" : "<|message|>");
    wj_putz(x, developer ? "# Instructions\n\n" : "");
    wj_puts(x, m->text);
    wj_putz(x, call ? "<|call|>" : "<|end|>");
}

void wtok_harmony_render(struct wj_run *x, struct wj_val messages, struct wj_val tools,
                         struct wj_val args) {
    struct harmony h = {.x = x};
    struct wj_val instructions = wj_none(), first, role;
    uint32_t from = 0, last_final = 0;
    if (messages.kind != WJ_LIST)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "the messages are not a JSON array of objects");
    if (messages.len > 0) {
        first = messages.u.items[0];
        role = wtok_member(x, first, "role");
        if (is_text(role, "system") || is_text(role, "developer")) {
            instructions = flat(x, wtok_member(x, first, "content"));
            from = 1;
        }
    }
    for (uint32_t i = from; i < messages.len; i++)
        add_message(&h, messages, messages.u.items[i]);
    for (uint32_t i = 0; i < h.n; i++)
        if (h.list[i].channel != NULL && strcmp(h.list[i].channel, "final") == 0)
            last_final = i;
    bool with_tools = tools.kind == WJ_LIST && tools.len > 0;
    put_system(x, args, with_tools);
    if (with_tools || wj_truth(instructions))
        put_developer(x, instructions, tools);
    for (uint32_t i = 0; i < h.n; i++)
        /* Thoughts that led to an answer are not shown again. */
        if (i >= last_final || h.list[i].channel == NULL ||
            strcmp(h.list[i].channel, "analysis") != 0)
            put_message(x, &h.list[i]);
    wj_putz(x, "<|start|>assistant");
}
