#include "tokenizer/request.h"

#include "base/json.h"

enum { DEPTH = 128, ARGS_MAX = 64 << 20 };

struct reading {
    struct weir_arena *arena;
    struct wtok_chat *chat;
    struct weir_span args, effort, reasoning; /* raw, or NULL */
    unsigned flags;
    bool asked; /* add_generation_prompt is there */
    enum weir_status status;
    struct weir_err *err;
};

static void refuse(struct reading *r, enum weir_status status, const char *member,
                   const char *why) {
    if (r->status == WEIR_OK)
        r->status = weir_err_set(r->err, status, "`%s` %s", member, why);
}

#define NOT_FOLLOWED "changes the engine's prompt in a way that is not followed here"

static void take_flag(struct reading *r, const char *name, struct weir_span raw, bool *to) {
    enum weir_json_type type = weir_json_type_of(raw);
    if (type != WEIR_JSON_TRUE && type != WEIR_JSON_FALSE)
        refuse(r, WEIR_UNSUPPORTED, name, "is no boolean: what the engine takes it for is unknown");
    *to = type == WEIR_JSON_TRUE;
}

static void take_of_type(struct reading *r, const char *name, struct weir_span raw,
                         enum weir_json_type type, struct weir_span *to) {
    enum weir_json_type is = weir_json_type_of(raw);
    *to = is == type ? raw : weir_span(NULL, 0);
    if (is != type && is != WEIR_JSON_NULL)
        refuse(r, WEIR_INVALID, name,
               type == WEIR_JSON_ARRAY    ? "must be an array"
               : type == WEIR_JSON_OBJECT ? "must be an object"
                                          : "must be a string");
}

static bool is_there(struct weir_span raw) {
    return weir_json_type_of(raw) != WEIR_JSON_NULL;
}

/* ---- members ------------------------------------------------------------------------------ */

/* Prompts that are cut, or made of ids that an earlier stage made. */
static void take_cut(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    struct weir_span ids;
    static const char *const unknown[] = {"chat_template", "truncate_prompt_tokens",
                                          "prompt_embeds"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(unknown); i++)
        if (weir_json_str_eqz(key, unknown[i]) && is_there(raw))
            refuse(r, WEIR_UNSUPPORTED, unknown[i], NOT_FOLLOWED);
    if (weir_json_str_eqz(key, "kv_transfer_params") &&
        weir_json_member(raw, "prompt_token_ids", &ids) && is_there(ids))
        refuse(r, WEIR_UNSUPPORTED, "kv_transfer_params.prompt_token_ids", NOT_FOLLOWED);
}

static void take_special(struct reading *r, struct weir_span raw) {
    bool add = false;
    take_flag(r, "add_special_tokens", raw, &add);
    r->flags = WTOK_SPECIAL | (add ? WTOK_ADD_SPECIAL : 0);
    r->chat->asks_tokenizer |= add;
}

static void take_vllm(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    if (weir_json_str_eqz(key, "add_generation_prompt"))
        take_flag(r, "add_generation_prompt", raw, &r->chat->add_generation_prompt);
    else if (weir_json_str_eqz(key, "add_special_tokens"))
        take_special(r, raw);
    else if (weir_json_str_eqz(key, "documents"))
        take_of_type(r, "documents", raw, WEIR_JSON_ARRAY, &r->chat->documents);
    else
        take_cut(r, key, raw);
}

/* Who has no flavour: the names of vLLM and of Dynamo (whose own requests wire/openai.h reads). */
static void take_plain(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    if (weir_json_str_eqz(key, "add_generation_prompt")) {
        take_flag(r, "add_generation_prompt", raw, &r->chat->add_generation_prompt);
        r->asked = true;
    } else if (weir_json_str_eqz(key, "documents")) {
        take_of_type(r, "documents", raw, WEIR_JSON_ARRAY, &r->chat->documents);
    } else if (weir_json_str_eqz(key, "chat_template_args")) {
        take_of_type(r, "chat_template_args", raw, WEIR_JSON_OBJECT, &r->args);
    }
}

static void take_member(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    struct wtok_chat *chat = r->chat;
    if (weir_json_str_eqz(key, "messages"))
        take_of_type(r, "messages", raw, WEIR_JSON_ARRAY, &chat->messages);
    else if (weir_json_str_eqz(key, "tools"))
        take_of_type(r, "tools", raw, WEIR_JSON_ARRAY, &chat->tools);
    else if (weir_json_str_eqz(key, "tool_choice"))
        chat->tool_choice = is_there(raw) ? raw : weir_span(NULL, 0);
    else if (weir_json_str_eqz(key, "continue_final_message"))
        take_flag(r, "continue_final_message", raw, &chat->continue_final_message);
    else if (weir_json_str_eqz(key, "reasoning_effort"))
        r->effort = is_there(raw) ? raw : weir_span(NULL, 0);
    else if (weir_json_str_eqz(key, "reasoning"))
        r->reasoning = is_there(raw) ? raw : weir_span(NULL, 0);
    else if (weir_json_str_eqz(key, "chat_template_kwargs"))
        take_of_type(r, "chat_template_kwargs", raw, WEIR_JSON_OBJECT, &r->args);
    else if (chat->flavour == WTOK_FLAVOUR_VLLM)
        take_vllm(r, key, raw);
    else if (chat->flavour == WTOK_FLAVOUR_PLAIN)
        take_plain(r, key, raw);
    else if (weir_json_str_eqz(key, "input_ids") && is_there(raw))
        refuse(r, WEIR_UNSUPPORTED, "input_ids", NOT_FOLLOWED);
}

/* ---- arguments of the template -------------------------------------------------------------- */

static bool among(struct weir_json_str key, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (weir_json_str_eqz(key, names[i]))
            return true;
    return false;
}

/* vLLM: members of the request come first, null and "auto" are no values, and some names are those
 * of parameters that do nothing where no ids are asked for. False: no variable. */
static bool vllm_argument(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    static const char *const nothing[] = {"add_generation_prompt",
                                          "continue_final_message",
                                          "tokenize",
                                          "return_dict",
                                          "padding",
                                          "truncation",
                                          "max_length",
                                          "return_tensors",
                                          "tokenizer_kwargs"};
    static const char *const refused[] = {"messages", "conversation"};
    if (among(key, refused, WEIR_ARRAY_LEN(refused)))
        refuse(r, WEIR_INVALID, "chat_template_kwargs",
               "may not hold \"messages\" or \"conversation\": they are members of the request");
    if (!is_there(raw) || weir_json_is(raw, "auto"))
        return false;
    if (weir_json_str_eqz(key, "tools") || weir_json_str_eqz(key, "chat_template") ||
        weir_json_str_eqz(key, "return_assistant_tokens_mask"))
        refuse(r, WEIR_UNSUPPORTED, "chat_template_kwargs", NOT_FOLLOWED);
    if (weir_json_str_eqz(key, "documents")) {
        if (r->chat->documents.data == NULL)
            r->chat->documents = raw;
        return false;
    }
    if (r->effort.data != NULL && weir_json_str_eqz(key, "reasoning_effort"))
        return false;
    r->chat->asks_tokenizer |= among(key, nothing + 2, WEIR_ARRAY_LEN(nothing) - 2);
    return !among(key, nothing, WEIR_ARRAY_LEN(nothing));
}

/* SGLang: the arguments come first. Those that are parameters of its own call end in an error,
 * those of transformers' do nothing where no ids are asked for. */
static bool sglang_argument(struct reading *r, struct weir_json_str key) {
    static const char *const refused[] = {"add_generation_prompt", "tokenize",    "tools",
                                          "conversation",          "return_dict", "messages"};
    static const char *const nothing[] = {
        "continue_final_message", "padding",          "truncation",      "max_length",
        "return_tensors",         "tokenizer_kwargs", "reasoning_effort"};
    if (among(key, refused, WEIR_ARRAY_LEN(refused)))
        refuse(r, WEIR_INVALID, "chat_template_kwargs",
               "may not hold what is a parameter of the engine's own");
    if (weir_json_str_eqz(key, "chat_template") ||
        weir_json_str_eqz(key, "return_assistant_tokens_mask"))
        refuse(r, WEIR_UNSUPPORTED, "chat_template_kwargs", NOT_FOLLOWED);
    return !among(key, nothing, WEIR_ARRAY_LEN(nothing));
}

/* ---- the effort --------------------------------------------------------------------------- */

static void put_flags(struct reading *r, struct weir_jsonw *w, size_t n, bool on) {
    static const char *const switches[] = {"enable_thinking", "thinking"};
    struct weir_span said;
    for (size_t i = 0; i < n; i++)
        if (!weir_json_member(r->args, switches[i], &said)) {
            weir_jsonw_key(w, switches[i]);
            weir_jsonw_bool(w, on);
        }
}

static void put_word(struct weir_jsonw *w, struct weir_span effort) {
    weir_jsonw_key(w, "reasoning_effort");
    weir_jsonw_raw(w, effort);
}

/* A word of SGLang's, or a number, which is a fraction then. */
static struct weir_span sglang_effort(struct reading *r, const char *name, struct weir_span raw) {
    static const char *const words[] = {"none", "minimal", "low",   "medium",
                                        "high", "xhigh",   "ultra", "max"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(words); i++)
        if (weir_json_is(raw, words[i]))
            return raw;
    bool fraction = weir_span_find(raw, '.') >= 0;
    if (weir_json_type_of(raw) != WEIR_JSON_NUMBER || (!fraction && !weir_span_eqz(raw, "0")))
        refuse(r, WEIR_UNSUPPORTED, name, "is no effort that is known here");
    return fraction ? raw : WEIR_SPAN_LIT("0.0");
}

/* Of members of one name engines take the last. */
static bool last_member(struct weir_span object, const char *name, struct weir_span *ret_raw) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    bool found = false;
    weir_json_init(&j, object, DEPTH);
    if (object.data == NULL || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw))
        if (weir_json_str_eqz(key, name)) {
            *ret_raw = raw;
            found = true;
        }
    return found;
}

/* OpenRouter's object: its effort goes before the request's own. *ret_thinks: it asks for that. */
static void take_reasoning(struct reading *r, bool *ret_thinks) {
    struct weir_span v;
    static const char *const truths[] = {"1", "true", "yes", "y", "on"};
    *ret_thinks = false;
    if (weir_json_type_of(r->reasoning) != WEIR_JSON_OBJECT)
        return;
    if ((last_member(r->reasoning, "effort", &v) && is_there(v)) ||
        (last_member(r->reasoning, "reasoning_effort", &v) && is_there(v)))
        r->effort = sglang_effort(r, "reasoning", v);
    if (!(last_member(r->reasoning, "enabled", &v) && is_there(v)) &&
        !last_member(r->reasoning, "enable", &v))
        return;
    enum weir_json_type type = weir_json_type_of(v);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(truths) && type == WEIR_JSON_STRING; i++)
        *ret_thinks |= weir_json_is(v, truths[i]);
    if (type == WEIR_JSON_TRUE)
        *ret_thinks = true;
    else if (type != WEIR_JSON_FALSE && type != WEIR_JSON_NULL && !*ret_thinks)
        refuse(r, WEIR_UNSUPPORTED, "reasoning", NOT_FOLLOWED);
}

static void put_sglang_effort(struct reading *r, struct weir_jsonw *w) {
    struct weir_span own;
    bool thinks;
    if (r->effort.data != NULL)
        r->effort = sglang_effort(r, "reasoning_effort", r->effort);
    take_reasoning(r, &thinks);
    if (thinks || r->effort.data != NULL)
        put_flags(r, w, 2, r->effort.data == NULL || !weir_json_is(r->effort, "none"));
    if (last_member(r->args, "reasoning_effort", &own) && is_there(own))
        r->effort = own;
    if (r->effort.data != NULL)
        put_word(w, r->effort);
}

/* The effort's own word and what it says about thinking, where nobody else has said that. */
static void put_effort(struct reading *r, struct weir_jsonw *w) {
    if (r->chat->flavour == WTOK_FLAVOUR_SGLANG) {
        put_sglang_effort(r, w);
    } else if (r->effort.data != NULL) {
        put_word(w, r->effort); /* one among the plain arguments comes behind it */
        if (r->chat->flavour == WTOK_FLAVOUR_VLLM)
            put_flags(r, w, 1, !weir_json_is(r->effort, "none"));
    }
}

static void put_args(struct reading *r, struct weir_jsonw *w) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    weir_json_init(&j, r->args, DEPTH);
    if (r->args.data == NULL || !weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw)) {
        bool variable = r->chat->flavour == WTOK_FLAVOUR_VLLM     ? vllm_argument(r, key, raw)
                        : r->chat->flavour == WTOK_FLAVOUR_SGLANG ? sglang_argument(r, key)
                                                                  : true;
        struct weir_span name = weir_json_text(key, r->arena);
        if (name.data == NULL)
            w->status = WEIR_NOMEM;
        if (!variable)
            continue;
        weir_jsonw_key_span(w, name);
        weir_jsonw_raw(w, raw);
    }
}

static void merge_args(struct reading *r) {
    struct weir_buf out;
    struct weir_jsonw w;
    if (r->args.data == NULL && r->effort.data == NULL && r->reasoning.data == NULL)
        return;
    weir_buf_init(&out, ARGS_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    put_effort(r, &w);
    put_args(r, &w);
    weir_jsonw_object_end(&w);
    r->chat->template_args =
        w.status == WEIR_OK ? weir_arena_copy(r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    if (r->chat->template_args.data == NULL && r->status == WEIR_OK)
        r->status = weir_err_set(r->err, WEIR_NOMEM, "out of memory");
    weir_buf_fini(&out);
}

/* ---- bodies ------------------------------------------------------------------------------- */

static void walk(struct reading *r, struct weir_span body,
                 void (*take)(struct reading *, struct weir_json_str, struct weir_span)) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    weir_json_init(&j, body, DEPTH);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw))
            take(r, key, raw);
    if (!weir_json_finish(&j))
        r->status =
            weir_err_set(r->err, WEIR_INVALID, "the request is no JSON object: %s at byte %zu",
                         weir_json_error_text(j.error), j.error_pos);
}

enum weir_status wtok_request_chat(struct weir_span body, enum wtok_flavour flavour,
                                   struct weir_arena *arena, struct wtok_chat *ret_chat,
                                   unsigned *ret_flags, struct weir_err *err) {
    struct reading r = {
        .arena = arena, .chat = ret_chat, .flags = WTOK_SPECIAL, .status = WEIR_OK, .err = err};
    *ret_chat = (struct wtok_chat){.add_generation_prompt = true, .flavour = flavour};
    walk(&r, body, take_member);
    if (r.status == WEIR_OK && ret_chat->messages.data == NULL)
        r.status = weir_err_set(err, WEIR_INVALID, "the request has no messages");
    /* Who continues a message wants no new one; only asking for both is an error. */
    if (flavour == WTOK_FLAVOUR_PLAIN)
        ret_chat->add_generation_prompt &= r.asked || !ret_chat->continue_final_message;
    if (r.status == WEIR_OK)
        merge_args(&r);
    ret_chat->members_first = flavour == WTOK_FLAVOUR_VLLM;
    *ret_flags = r.flags;
    return r.status;
}

static void take_of_completion(struct reading *r, struct weir_json_str key, struct weir_span raw) {
    if (weir_json_str_eqz(key, "suffix") && is_there(raw))
        refuse(r, WEIR_UNSUPPORTED, "suffix", NOT_FOLLOWED);
    if (r->chat->flavour == WTOK_FLAVOUR_VLLM && weir_json_str_eqz(key, "add_special_tokens"))
        take_special(r, raw);
    if (r->chat->flavour != WTOK_FLAVOUR_SGLANG)
        take_cut(r, key, raw);
}

enum weir_status wtok_request_completion(struct weir_span body, enum wtok_flavour flavour,
                                         unsigned *ret_flags, struct weir_err *err) {
    struct wtok_chat chat = {.flavour = flavour};
    struct reading r = {
        .chat = &chat, .flags = WTOK_SPECIAL | WTOK_ADD_SPECIAL, .status = WEIR_OK, .err = err};
    walk(&r, body, take_of_completion);
    *ret_flags = r.flags;
    return r.status;
}
