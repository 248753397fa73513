/*
 * The chat templates of a model and their use: which template a conversation gets, what variables
 * it sees, and how a message of the assistant is continued.
 */
#include "tokenizer/chat.h"

#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/chat_priv.h"

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token",  "sep_token",
                                          "pad_token", "cls_token", "mask_token", NULL};

/* ---- creation ----------------------------------------------------------------------------- */

struct reading {
    struct wj_run x;
    struct weir_span text;
    struct wj_val config; /* tokenizer_config.json */
};

static void read_config(struct wj_run *x) {
    struct reading *r = WEIR_CONTAINER_OF(x, struct reading, x);
    r->config = wj_from_json(x, r->text);
    if (r->config.kind != WJ_DICT)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "not a JSON object");
}

/* As vLLM looks for it. */
static bool knows_developer(struct weir_span text) {
    return wj_find(text, WEIR_SPAN_LIT("\"developer\""), 0) >= 0 ||
           wj_find(text, WEIR_SPAN_LIT("'developer'"), 0) >= 0;
}

static enum weir_status add_template(struct wtok_template *t, struct weir_span name,
                                     struct weir_span text, struct weir_err *err) {
    struct wtok_jinja_failure failure;
    struct wtok_jinja *tpl = NULL;
    for (size_t i = 0; i < t->n; i++)
        if (weir_span_eq(t->list[i].name, name))
            return WEIR_OK; /* the first source wins */
    if (t->n == WTOK_MAX_TEMPLATES)
        return weir_err_set(err, WEIR_LIMIT, "more than %d chat templates", WTOK_MAX_TEMPLATES);
    enum weir_status st = wtok_jinja_parse(text, &tpl, &failure);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "chat template %.*s, line %u: %s", WEIR_SPAN_ARG(name),
                            failure.line, failure.text);
    struct weir_span kept = weir_arena_copy(&t->arena, name);
    if (kept.data == NULL) {
        wtok_jinja_destroy(tpl);
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    }
    t->list[t->n++] =
        (struct wtok_named_template){.name = kept,
                                     .tpl = tpl,
                                     .sglang_parts = wtok_jinja_wants_parts_sglang(tpl),
                                     .sglang_efforts = wtok_sglang_reads_efforts(text),
                                     .knows_developer = knows_developer(text)};
    return WEIR_OK;
}

/* "chat_template": a text, or a list of objects with name and template. */
static enum weir_status add_from_config(struct wtok_template *t, struct reading *r,
                                        struct weir_err *err) {
    struct wj_val v = wtok_member(&r->x, r->config, "chat_template");
    if (v.kind == WJ_STR)
        return add_template(t, WEIR_SPAN_LIT("default"), wj_text(&r->x, v), err);
    enum weir_status st = WEIR_OK;
    for (uint32_t i = 0; v.kind == WJ_LIST && i < v.len && st == WEIR_OK; i++) {
        struct wj_val name = wtok_member(&r->x, v.u.items[i], "name");
        struct wj_val text = wtok_member(&r->x, v.u.items[i], "template");
        if (name.kind != WJ_STR || text.kind != WJ_STR)
            return weir_err_set(err, WEIR_INVALID,
                                "tokenizer_config.json: chat_template is neither a text nor a list "
                                "of named templates");
        st = add_template(t, wj_text(&r->x, name), wj_text(&r->x, text), err);
    }
    return st;
}

/* A token is written as its text or as an object with "content". */
static void put_token(struct reading *r, struct weir_jsonw *w, struct weir_span name,
                      struct wj_val v) {
    if (v.kind == WJ_DICT)
        v = wtok_member(&r->x, v, "content");
    if (v.kind != WJ_STR)
        return;
    weir_jsonw_key_span(w, name);
    weir_jsonw_string(w, wj_text(&r->x, v));
}

static enum weir_status keep_tokens(struct wtok_template *t, struct reading *r) {
    struct weir_buf buf;
    struct weir_jsonw w;
    weir_buf_init(&buf, (size_t)1 << 20);
    weir_jsonw_init(&w, &buf);
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; token_names[i] != NULL; i++)
        put_token(r, &w, weir_span_z(token_names[i]),
                  wtok_member(&r->x, r->config, token_names[i]));
    struct wj_val extra = wtok_member(&r->x, r->config, "extra_special_tokens");
    for (uint32_t i = 0; extra.kind == WJ_DICT && i < extra.u.dict->n; i++)
        put_token(r, &w, wj_text(&r->x, extra.u.dict->pairs[i].key), extra.u.dict->pairs[i].value);
    weir_jsonw_object_end(&w);
    t->tokens = weir_arena_copy(&t->arena, weir_buf_span(&buf));
    weir_buf_fini(&buf);
    return w.status != WEIR_OK ? w.status : t->tokens.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status use_config(struct wtok_template *t, struct weir_span config,
                                   struct weir_err *err) {
    struct weir_arena arena;
    struct weir_buf scratch;
    struct wtok_jinja_render none = {.arena = &arena};
    struct reading r = {.text = config};
    weir_arena_init(&arena, ((size_t)64 << 20) + config.len * 64);
    weir_buf_init(&scratch, (size_t)64 << 20);
    wj_begin(&r.x, &none, &scratch);
    enum weir_status st = wj_guard(&r.x, read_config);
    if (st != WEIR_OK)
        st = weir_err_set(err, st, "tokenizer_config.json: %s", r.x.failure.text);
    /* Any file of its own takes the place of all that stand here, as in transformers. */
    if (st == WEIR_OK && t->n == 0)
        st = add_from_config(t, &r, err);
    if (st == WEIR_OK && keep_tokens(t, &r) != WEIR_OK)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    weir_buf_fini(&scratch);
    weir_arena_fini(&arena);
    return st;
}

/* The control tokens of gpt-oss, which no other model has together. */
static bool is_harmony(struct weir_span config) {
    static const char *const tokens[] = {"\"<|constrain|>\"", "\"<|channel|>\"", "\"<|call|>\""};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tokens); i++)
        if (config.data == NULL || wj_find(config, weir_span_z(tokens[i]), 0) < 0)
            return false;
    return true;
}

/* SGLang serves every conversation with the first one that transformers names: a file's default,
 * else the first of the configuration. NULL: files without a default, whose order nobody knows. */
static const struct wtok_named_template *sglang_template(const struct wtok_template *t,
                                                         const struct wtok_template_sources *from) {
    if (from->chat_template_jinja.data == NULL)
        return t->n > 0 && from->n_additional <= 1 ? &t->list[0] : NULL;
    for (size_t i = 0; i < t->n; i++)
        if (weir_span_eqz(t->list[i].name, "default"))
            return &t->list[i];
    return NULL;
}

static enum weir_status learn_turns(struct wtok_template *t) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < t->n && st == WEIR_OK; i++) {
        bool with_tools = weir_span_eqz(t->list[i].name, "tool_use");
        if (with_tools || weir_span_eqz(t->list[i].name, "default"))
            st = wtok_learn_turns(t, with_tools, &t->list[i].refused_turns);
    }
    return st;
}

static bool has_code(const struct wtok_template *t) {
    return t->coded.dynamo != WTOK_CODE_NONE || t->coded.vllm != WTOK_CODE_NONE ||
           t->coded.sglang != WTOK_CODE_NONE;
}

enum weir_status wtok_template_create(const struct wtok_template_sources *sources,
                                      struct wtok_template **ret_template, struct weir_err *err) {
    struct wtok_template *t = weir_calloc(1, sizeof(*t));
    if (t == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    weir_arena_init(&t->arena, (size_t)4 << 20);
    t->tokens = WEIR_SPAN_LIT("{}");
    t->begin = weir_span("", 0);
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < sources->n_additional && st == WEIR_OK; i++)
        st = add_template(t, sources->additional[i].name, sources->additional[i].text, err);
    if (st == WEIR_OK && sources->chat_template_jinja.data != NULL)
        st = add_template(t, WEIR_SPAN_LIT("default"), sources->chat_template_jinja, err);
    if (st == WEIR_OK && sources->tokenizer_config.data != NULL)
        st = use_config(t, sources->tokenizer_config, err);
    t->harmony = is_harmony(sources->tokenizer_config);
    t->coded = wtok_deepseek_coded(sources->config, t->n > 0);
    t->sglang = sglang_template(t, sources);
    if (st == WEIR_OK && t->n == 0 && !t->harmony && !has_code(t))
        st = weir_err_set(err, WEIR_NOT_FOUND, "the model has no chat template");
    if (st == WEIR_OK && learn_turns(t) != WEIR_OK)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st != WEIR_OK) {
        wtok_template_destroy(t);
        return st;
    }
    *ret_template = t;
    return WEIR_OK;
}

void wtok_template_destroy(struct wtok_template *t) {
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        wtok_jinja_destroy(t->list[i].tpl);
    weir_arena_fini(&t->arena);
    weir_free(t);
}

/* ---- rendering ---------------------------------------------------------------------------- */

#define CONTINUE_TAG "CONTINUE_FINAL_MESSAGE_TAG"

struct chat_run {
    struct wj_run x;
    const struct wtok_template *t;
    const struct wtok_chat *chat;
    bool flat_tools;
    bool add_generation_prompt, continues;
    struct wj_val messages, tools, documents, args, format;
    struct wj_val all_tools;     /* also those that tool_choice does not name */
    struct weir_span final_text; /* of the message that is continued */
    struct weir_span tail;       /* goes behind the prompt */
};

static const struct wtok_named_template *pick(const struct wtok_template *t, bool with_tools) {
    static const char *const wanted[] = {"tool_use", "default"};
    for (size_t w = with_tools ? 0 : 1; w < 2; w++)
        for (size_t i = 0; i < t->n; i++)
            if (weir_span_eqz(t->list[i].name, wanted[w]))
                return &t->list[i];
    return NULL;
}

struct weir_span wtok_template_name(const struct wtok_template *t, bool with_tools) {
    const struct wtok_named_template *n = pick(t, with_tools);
    return n != NULL ? n->name : weir_span("", 0);
}

static struct wj_val json_or_none(struct wj_run *x, struct weir_span text) {
    return text.data != NULL ? wj_from_json(x, text) : wj_none();
}

/* The prompt is made of that member of the request, whatever the arguments say. */
static bool is_member(struct weir_span name) {
    static const char *const members[] = {"messages",      "conversation", "tools",
                                          "chat_template", "tokenize",     "return_dict"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(members); i++)
        if (weir_span_eqz(name, members[i]))
            return true;
    return false;
}

static void take_arg(struct chat_run *r, struct wj_val variables, struct wj_pair arg) {
    struct weir_span name = wj_text(&r->x, arg.key);
    bool generates = weir_span_eqz(name, "add_generation_prompt");
    bool continues = weir_span_eqz(name, "continue_final_message");
    if (r->chat->members_first && (is_member(name) || generates || continues))
        return;
    if (is_member(name))
        wj_fail(&r->x, WTOK_JINJA_ERR_VALUE,
                "chat_template_kwargs may not hold \"%.*s\": it is a member of the request",
                WEIR_SPAN_ARG(name));
    if (generates)
        r->add_generation_prompt = wj_truth(arg.value);
    else if (continues)
        r->continues = wj_truth(arg.value);
    else if (weir_span_eqz(name, "documents"))
        r->documents = arg.value;
    else
        wj_dict_set(&r->x, variables.u.dict, arg.key, arg.value);
}

/* Arguments of the template may stand for members of the request; others become variables. */
static void take_args(struct chat_run *r, struct wj_val variables) {
    for (uint32_t i = 0; r->args.kind == WJ_DICT && i < r->args.u.dict->n; i++)
        take_arg(r, variables, r->args.u.dict->pairs[i]);
}

static struct wj_val with_tag(struct wj_run *x, struct wj_val text) {
    return wj_concat(x, text, wj_strz(CONTINUE_TAG " "));
}

static struct wj_val with_item(struct wj_run *x, struct wj_val list, uint32_t i, struct wj_val v) {
    struct wj_val *items = wj_alloc(x, list.len * sizeof(*items));
    memcpy(items, list.u.items, list.len * sizeof(*items));
    items[i] = v;
    return wj_list(items, list.len);
}

/* Dynamo: one that is empty is none, and an earlier one is continued. */
static bool continues_text(const struct chat_run *r, struct wj_val text) {
    return text.kind == WJ_STR && (text.len > 0 || !r->chat->for_dynamo);
}

/* As transformers does: a mark behind the last message's text shows where to cut the prompt. */
static void mark_final(struct chat_run *r) {
    struct wj_run *x = &r->x;
    uint32_t at = r->messages.len - 1;
    struct wj_val last =
        r->messages.len > 0 ? r->messages.u.items[at] : (struct wj_val){.kind = WJ_NONE};
    struct wj_val content = wtok_member(x, last, "content"), text = content;
    if (content.kind == WJ_STR) {
        content = with_tag(x, content);
    } else if (content.kind == WJ_LIST) {
        uint32_t i = content.len;
        text.kind = WJ_NONE;
        while (i > 0 && !continues_text(r, text))
            text = wtok_member(x, content.u.items[--i], "text");
        if (continues_text(r, text))
            content = with_item(x, content, i,
                                wtok_with(x, content.u.items[i], "text", with_tag(x, text)));
    }
    if (!continues_text(r, text))
        wj_fail(x, WTOK_JINJA_ERR_VALUE,
                "continue_final_message is set but the final message has no text to continue");
    r->final_text = wj_strip(x, wj_text(x, text), wj_none(), 3);
    r->messages = with_item(x, r->messages, at, wtok_with(x, last, "content", content));
}

static void cut_final(struct chat_run *r) {
    struct wj_run *x = &r->x;
    struct weir_span text = weir_span(x->out->data + x->base, x->out->len - x->base);
    struct weir_span tag = WEIR_SPAN_LIT(CONTINUE_TAG);
    ptrdiff_t at = -1, next = 0;
    while ((next = wj_find(text, tag, (size_t)next)) >= 0)
        at = next++;
    /* That the text stands there as it was is asked for by engines, not by Dynamo's frontend. */
    if (at < 0 || (!r->chat->for_dynamo && wj_find(text, r->final_text, 0) < 0))
        wj_fail(x, WTOK_JINJA_ERR_VALUE,
                "continue_final_message is set but the final message does not appear in the chat "
                "after applying the chat template");
    size_t behind = (size_t)at + tag.len;
    bool spaced = behind < text.len && text.data[behind] == ' ';
    text.len = (size_t)at;
    if (!spaced) /* the template trims, so the text goes without its blanks */
        text = wj_strip(x, text, wj_none(), 2);
    x->out->len = x->base + text.len;
}

static struct wj_val flattened(struct wj_run *x, struct wj_val tools) {
    struct wj_val *items = wj_alloc(x, tools.len * sizeof(*items) + 1);
    for (uint32_t i = 0; i < tools.len; i++)
        items[i] = wtok_member(x, tools.u.items[i], "function");
    return wj_list(items, tools.len);
}

static void read_request(struct chat_run *r) {
    struct wj_run *x = &r->x;
    r->add_generation_prompt = r->chat->add_generation_prompt;
    r->continues = r->chat->continue_final_message;
    r->messages = wj_from_json(x, r->chat->messages);
    if (r->chat->text_only)
        wtok_refuse_media(x, r->messages);
    r->tools = json_or_none(x, r->chat->tools);
    r->documents = json_or_none(x, r->chat->documents);
    r->args = json_or_none(x, r->chat->template_args);
    r->format = json_or_none(x, r->chat->response_format);
    if (r->tools.kind != WJ_LIST && r->tools.kind != WJ_NONE)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "the tools are not a JSON array");
    r->all_tools = r->tools;
    if (r->chat->flavour == WTOK_FLAVOUR_SGLANG)
        r->tools = wtok_choose_tools(x, r->tools, json_or_none(x, r->chat->tool_choice));
}

static void shape(struct chat_run *r, const struct wtok_named_template *named) {
    enum wtok_flavour flavour = r->chat->flavour;
    bool sglang = flavour == WTOK_FLAVOUR_SGLANG;
    bool parts = sglang ? named->sglang_parts : wtok_jinja_wants_parts(named->tpl);
    bool vllm = flavour == WTOK_FLAVOUR_VLLM && !r->chat->for_dynamo;
    if (vllm && r->messages.kind == WJ_LIST)
        r->messages = wtok_shape_bills(&r->x, r->messages);
    r->messages = wtok_shape_messages(&r->x, flavour, r->chat->for_dynamo, r->messages, parts);
    if (vllm && !named->knows_developer)
        r->messages = wtok_shape_developers(&r->x, r->messages);
    r->tools = wtok_shape_tools(&r->x, flavour, r->chat->for_dynamo, r->tools);
    if (r->flat_tools)
        r->tools = flattened(&r->x, r->tools);
    if (sglang) {
        r->tail = wtok_shape_last(&r->x, &r->messages, r->continues);
        r->continues = false;
        r->add_generation_prompt = true;
    }
}

/* "exp" stands in its name, in whatever case. */
static bool is_experiment(struct weir_span name) {
    for (size_t i = 0; i + 3 <= name.len; i++)
        if (weir_span_ieq(weir_span(name.data + i, 3), WEIR_SPAN_LIT("exp")))
            return true;
    return false;
}

static enum wtok_code code_of(const struct wtok_template *t, const struct wtok_chat *chat) {
    if (chat->for_dynamo && t->coded.dynamo == WTOK_CODE_V32)
        return is_experiment(chat->model_name) ? WTOK_CODE_NONE : WTOK_CODE_V32;
    if (chat->for_dynamo)
        return t->coded.dynamo;
    return chat->flavour == WTOK_FLAVOUR_VLLM     ? t->coded.vllm
           : chat->flavour == WTOK_FLAVOUR_SGLANG ? t->coded.sglang
                                                  : WTOK_CODE_NONE;
}

/* vLLM's code writes those as Python shows them. */
static void refuse_odd_thoughts(struct wj_run *x, struct wj_val messages) {
    for (uint32_t i = 0; i < messages.len; i++) {
        struct wj_val m = messages.u.items[i], thought = wtok_member(x, m, "reasoning");
        if (thought.kind == WJ_MISSING || thought.kind == WJ_NONE)
            thought = wtok_member(x, m, "reasoning_content");
        if (thought.kind != WJ_MISSING && thought.kind != WJ_STR && wj_truth(thought))
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                    "thoughts that are no text are not followed for this model");
    }
}

/* Models whose chats are rendered by code. */
static void render_coded(struct chat_run *r, enum wtok_code code) {
    struct wj_run *x = &r->x;
    bool dynamo = r->chat->for_dynamo, sglang = r->chat->flavour == WTOK_FLAVOUR_SGLANG;
    if (code == WTOK_CODE_UNKNOWN)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "chats of this model are rendered by code that is not known here, whatever "
                "template it has");
    if (!dynamo && !sglang && r->chat->asks_tokenizer)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                "what the tokenizer is asked for is not followed for this model");
    if (r->messages.kind == WJ_LIST && !dynamo && !sglang) {
        refuse_odd_thoughts(x, r->messages);
        r->messages = wtok_shape_bills(x, r->messages);
    }
    bool parts = !dynamo && code == WTOK_CODE_V4;
    r->messages = wtok_shape_messages(x, dynamo ? WTOK_FLAVOUR_PLAIN : r->chat->flavour, dynamo,
                                      r->messages, parts);
    r->tools = wtok_shape_tools(x, r->chat->flavour, dynamo,
                                r->tools.kind == WJ_LIST ? r->all_tools : r->tools);
    if (sglang)
        r->tail = wtok_shape_last(x, &r->messages, r->continues);
    bool cuts = dynamo && r->continues;
    if (cuts) {
        mark_final(r);
        x->prompt = NULL;
    }
    wj_puts(x, sglang ? r->t->begin : weir_span("", 0)); /* it encodes the text as a plain one */
    wtok_deepseek_render(x, r->chat, code, r->messages, r->tools, r->args, r->format);
    if (cuts)
        cut_final(r);
}

static void put_tail(struct chat_run *r) {
    struct wj_run *x = &r->x;
    if (x->prompt != NULL)
        x->prompt->tail = r->tail;
    else
        wj_puts(x, r->tail);
    if (x->prompt != NULL && wtok_prompt_bytes(x->prompt) > x->out->max)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the text is larger than %zu bytes", x->out->max);
}

static void render(struct wj_run *x) {
    struct chat_run *r = WEIR_CONTAINER_OF(x, struct chat_run, x);
    read_request(r);
    enum wtok_code code = code_of(r->t, r->chat);
    if (code != WTOK_CODE_NONE) {
        render_coded(r, code);
        put_tail(r);
        return;
    }
    if (r->t->harmony && r->chat->flavour == WTOK_FLAVOUR_VLLM) {
        if (r->continues)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                    "continue_final_message is not supported for this model");
        wtok_harmony_render(x, r->messages, r->tools, r->args);
        return;
    }
    bool sglang = r->chat->flavour == WTOK_FLAVOUR_SGLANG;
    const struct wtok_named_template *named =
        sglang ? r->t->sglang : pick(r->t, r->tools.kind == WJ_LIST);
    if (named == NULL)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "%s",
                r->t->n == 0 ? "the model has no chat template"
                : sglang     ? "the model has several chat templates in files and none in "
                               "chat_template.jinja: which of them SGLang takes is not known"
                         : "the model has named chat templates and none of them is \"default\"");
    if (sglang)
        wtok_sglang_efforts(x, named->sglang_efforts, r->args);
    if (r->chat->for_dynamo)
        r->messages = wtok_order_turns(x, r->messages, named->refused_turns);
    struct wj_val v = wj_from_json(x, r->t->tokens);
    take_args(r, v);
    shape(r, named);
    if (r->continues && r->add_generation_prompt)
        wj_fail(x, WTOK_JINJA_ERR_VALUE,
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
    if (r->continues) {
        mark_final(r);
        x->prompt = NULL; /* it is looked for in the text, so all has to stand there */
    }
    wtok_set(x, v, "messages", r->messages);
    wtok_set(x, v, "tools", r->tools);
    wtok_set(x, v, "documents", r->documents);
    wtok_set(x, v, "add_generation_prompt", wj_bool(r->add_generation_prompt));
    x->variables = v;
    x->tpl = named->tpl;
    wj_run_template(x);
    if (r->continues)
        cut_final(r);
    put_tail(r);
}

/* Where a prompt goes: into `out`, or into `prompt`, whose text it is then. */
struct target {
    struct weir_buf *out;
    struct wtok_prompt *prompt; /* or NULL */
    struct weir_arena *arena;   /* what is lent may lie in it */
};

static enum weir_status render_once(const struct wtok_template *t, const struct wtok_chat *chat,
                                    bool flat_tools, const struct target *to,
                                    struct wtok_jinja_failure *failure) {
    struct wtok_jinja_render limits = {.arena = to->arena, .now_us = chat->now_us};
    struct chat_run r = {.t = t, .chat = chat, .flat_tools = flat_tools};
    size_t before = to->out->len;
    wj_begin(&r.x, &limits, to->out);
    r.x.prompt = to->prompt;
    enum weir_status st = wj_guard(&r.x, render);
    if (st != WEIR_OK) {
        to->out->len = before;
        if (to->prompt != NULL)
            to->prompt->n_lent = to->prompt->n_middle = to->prompt->tail.len = 0;
        weir_arena_reset(to->arena);
    }
    *failure = r.x.failure;
    return st;
}

static enum weir_status render_to(const struct wtok_template *t, const struct wtok_chat *chat,
                                  const struct target *to, struct weir_err *err) {
    struct wtok_jinja_failure failure;
    enum weir_status st = render_once(t, chat, false, to, &failure);
    /* SGLang tries once more with the tools bare, which some templates want; what is not known here
     * says nothing about what its first try did. */
    if (st == WEIR_INVALID && chat->flavour == WTOK_FLAVOUR_SGLANG && chat->tools.data != NULL &&
        failure.error != WTOK_JINJA_ERR_UNSUPPORTED && failure.error != WTOK_JINJA_ERR_LIMIT) {
        struct wtok_jinja_failure second;
        st = render_once(t, chat, true, to, &second);
        failure = st == WEIR_OK ? second : failure;
    }
    if (st == WEIR_OK || st == WEIR_NOMEM)
        return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
    st =
        WEIR_INVALID; /* refusals and limits, too: this conversation and this template do not fit */
    if (failure.error == WTOK_JINJA_ERR_TEMPLATE || failure.line == 0)
        return weir_err_set(err, st, "%s", failure.text);
    return weir_err_set(err, st, "%s (line %u of the chat template)", failure.text, failure.line);
}

enum weir_status wtok_template_render(const struct wtok_template *t, const struct wtok_chat *chat,
                                      struct weir_buf *out, struct weir_err *err) {
    struct weir_arena arena;
    weir_arena_init(&arena, WTOK_RENDER_ARENA);
    enum weir_status st = render_to(t, chat, &(struct target){out, NULL, &arena}, err);
    weir_arena_fini(&arena);
    return st;
}

enum weir_status wtok_template_render_prompt(const struct wtok_template *t,
                                             const struct wtok_chat *chat, struct wtok_prompt *p,
                                             struct weir_err *err) {
    return render_to(t, chat, &(struct target){&p->text, p, &p->arena}, err);
}

/* ---- the tokenizer's ---------------------------------------------------------------------- */

/* SGLang encodes what code has rendered as a plain prompt. */
static enum weir_status learn_begin(const struct wtok *tok, struct wtok_template *t) {
    struct weir_buf text;
    size_t n_before, n_behind;
    const uint32_t *before = wtok_prefix_ids(tok, &n_before);
    wtok_suffix_ids(tok, &n_behind);
    if (n_behind > 0 && t->coded.sglang != WTOK_CODE_NONE)
        t->coded.sglang = WTOK_CODE_UNKNOWN;
    weir_buf_init(&text, 4096);
    enum weir_status st = wtok_decode(tok, before, n_before, false, &text);
    if (st == WEIR_OK)
        t->begin = weir_arena_copy(&t->arena, weir_buf_span(&text));
    weir_buf_fini(&text);
    return st == WEIR_OK && t->begin.data == NULL ? WEIR_NOMEM : st;
}

enum weir_status wtok_chat_attach(struct wtok *tok, const char *dir, struct weir_err *err) {
    struct wtok_template_file additional[WTOK_MAX_ADDITIONAL];
    struct wtok_template_sources sources = {
        .chat_template_jinja = tok->files.chat_template_jinja,
        .tokenizer_config = tok->files.tokenizer_config,
        .additional = additional,
    };
    struct weir_arena arena;
    weir_arena_init(&arena, (size_t)64 << 20);
    enum weir_status st = wtok_template_files(dir, &arena, additional, &sources.n_additional, err);
    if (st == WEIR_OK)
        st = wtok_template_config(dir, &arena, &sources.config, err);
    if (st == WEIR_OK)
        st = wtok_template_create(&sources, &tok->chat, err);
    if (st == WEIR_OK && has_code(tok->chat))
        st = learn_begin(tok, tok->chat);
    weir_arena_fini(&arena);
    /* A model without a template still completes plain prompts. */
    return st == WEIR_NOT_FOUND ? WEIR_OK : st;
}

void wtok_chat_detach(struct wtok *tok) {
    wtok_template_destroy(tok->chat);
    tok->chat = NULL;
}

bool wtok_chat_native(const struct wtok *tok) {
    const struct wtok_template *t = tok->chat;
    return t != NULL &&
           (t->harmony || t->coded.vllm != WTOK_CODE_NONE || t->coded.sglang != WTOK_CODE_NONE);
}

enum weir_status wtok_render_chat(const struct wtok *tok, const struct wtok_chat *chat,
                                  struct weir_buf *out, struct weir_err *err) {
    if (tok->chat != NULL)
        return wtok_template_render(tok->chat, chat, out, err);
    if (tok->model == NULL)
        return wtok_chat_builtin(chat, out, err);
    return weir_err_set(err, WEIR_INVALID,
                        "the model has no chat template: use completions, or add "
                        "chat_template.jinja to its directory");
}
