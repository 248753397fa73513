/*
 * The members of a request: one table row each, with the endpoints that know it and how its value
 * is read. Plain values go to struct weir_openai_values by type; the others have readers of their
 * own, which check the type and keep the value or its raw text. What several members decide
 * together is openai_validate.c.
 */
#include "wire/openai_priv.h"

#include <stddef.h>
#include <string.h>

enum field_type { F_F32, F_U32, F_U8, F_I32, F_I64, F_BOOL, F_STRING, F_MAP, F_IGNORED, F_CUSTOM };
enum { CHAT = 1, COMP = 2, BOTH = 3 };

struct field {
    const char *name;
    unsigned kinds;
    enum field_type type;
    bool (*custom)(struct weir_openai_reading *r, struct weir_span raw);
    size_t offset; /* of a double (F32), int64_t or bool in struct weir_openai_values */
};

/* ---- custom readers ----------------------------------------------------------------------- */

static bool read_model(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_model = true;
    return weir_raw_string(r, r->end, raw, &r->req->model);
}

static bool read_messages(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_messages = true;
    r->req->messages = raw;
    return weir_openai_check_messages(r, raw);
}

static bool read_prompt(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_prompt = true;
    return weir_openai_read_prompt(r, raw);
}

static bool fail_stop(struct weir_openai_reading *r) {
    return weir_openai_fail_at(r, r->end, "data did not match any variant of untagged enum Stop");
}

/* A string, strings, or token ids. */
static bool read_stop(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_stop_conditions *stop = &r->req->prep.stop;
    enum weir_json_type type = weir_raw_type(raw);
    if (type != WEIR_JSON_STRING && type != WEIR_JSON_ARRAY)
        return fail_stop(r);
    size_t n = 0, room = 2;
    for (size_t i = 0; i < raw.len; i++)
        room += raw.data[i] == ',';
    struct weir_span *items = weir_arena_alloc(r->arena, room * sizeof(*items));
    if (items == NULL)
        return weir_openai_nomem(r);
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 3);
    if (type == WEIR_JSON_STRING) {
        weir_json_string(&j, &s);
        items[n++] = weir_json_text(s, r->arena);
        if (items[0].len == 0)
            return weir_openai_fail(r, 400, "Validation: Stop sequence cannot be empty");
    } else {
        weir_json_array_enter(&j);
        while (weir_json_array_next(&j)) {
            if (weir_json_peek(&j) == WEIR_JSON_NUMBER && n == 0) {
                r->stop_is_ids = weir_raw_ids(r, raw, &stop->stop_token_ids);
                return r->stop_is_ids || r->failed ? !r->failed : fail_stop(r);
            }
            if (weir_json_peek(&j) != WEIR_JSON_STRING || !weir_json_string(&j, &s))
                return fail_stop(r);
            items[n++] = weir_json_text(s, r->arena);
        }
    }
    for (size_t i = 0; i < n; i++)
        if (items[i].data == NULL)
            return weir_openai_nomem(r);
    stop->stop = (struct weir_strings){items, n, true};
    return true;
}

static bool keep(struct weir_span *to, struct weir_span raw) {
    *to = raw;
    return true;
}

static bool read_stream_options(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span v;
    if (weir_raw_type(raw) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, r->end, raw, "struct ChatCompletionStreamOptions");
    if (weir_raw_get(raw, "include_usage", &v) && weir_raw_type(v) != WEIR_JSON_NULL &&
        !weir_raw_bool(r, r->end, v, &r->req->include_usage))
        return false;
    if (weir_raw_get(raw, "continuous_usage_stats", &v) && weir_raw_type(v) != WEIR_JSON_NULL &&
        !weir_raw_bool(r, r->end, v, &r->req->continuous_usage))
        return false;
    return keep(&r->stream_options, raw);
}

static bool read_tools(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, r->end, raw, "a sequence");
    return keep(&r->req->tools, raw);
}

static bool read_tool_choice(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span word = {NULL, 0}, type, function, name;
    bool ok = false;
    if (weir_raw_type(raw) == WEIR_JSON_STRING) {
        if (!weir_raw_string(r, r->end, raw, &word))
            return false;
        ok = weir_span_eqz(word, "auto") || weir_span_eqz(word, "none") ||
             weir_span_eqz(word, "required");
    } else if (weir_raw_type(raw) == WEIR_JSON_OBJECT) {
        ok = weir_raw_get(raw, "type", &type) && weir_span_eqz(type, "\"function\"") &&
             weir_raw_get(raw, "function", &function) && weir_raw_get(function, "name", &name) &&
             weir_raw_type(name) == WEIR_JSON_STRING;
    }
    if (!ok)
        return weir_openai_fail_at(
            r, r->end,
            "data did not match any variant of untagged enum ChatCompletionToolChoiceOption");
    r->req->tool_choice_none = weir_span_eqz(word, "none");
    return keep(&r->req->tool_choice, raw);
}

static bool read_response_format(struct weir_openai_reading *r, struct weir_span raw) {
    return keep(&r->response_format, raw);
}

static bool read_logit_bias(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_raw_type(raw) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, r->end, raw, "a map");
    return keep(&r->logit_bias, raw);
}

/* Members that the reference system reads where they stand: the error is behind a scalar, before a
 * container. */
static size_t here(const struct weir_openai_reading *r, struct weir_span raw) {
    enum weir_json_type type = weir_raw_type(raw);
    bool container = type == WEIR_JSON_ARRAY || type == WEIR_JSON_OBJECT;
    return (size_t)(raw.data - r->body.data) + (container ? 0 : raw.len);
}

static bool read_template_args(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_raw_type(raw) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, here(r, raw), raw, "a map");
    return keep(&r->req->template_args, raw);
}

static bool read_tokens_as_ids(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_bool(r, here(r, raw), raw, &r->req->return_tokens_as_token_ids);
}

static bool read_thinking(struct weir_openai_reading *r, struct weir_span raw) {
    return keep(&r->thinking, raw);
}

/* A word of a closed set; objects and numbers are refused as serde refuses them for an enum. */
static bool read_word(struct weir_openai_reading *r, struct weir_span raw, const char *const *words,
                      const char *all) {
    struct weir_span word;
    if (weir_raw_type(raw) != WEIR_JSON_STRING)
        return weir_openai_fail_type(r, r->end, raw, "string or map");
    if (!weir_raw_string(r, r->end, raw, &word))
        return false;
    for (; *words != NULL; words++)
        if (weir_span_eqz(word, *words))
            return true;
    return weir_openai_fail_at(r, r->end, "unknown variant `%.*s`, expected %s",
                               WEIR_SPAN_ARG(word), all);
}

static bool read_reasoning_effort(struct weir_openai_reading *r, struct weir_span raw) {
    static const char *const words[] = {"none", "minimal", "low", "medium",
                                        "high", "xhigh",   "max", NULL};
    r->reasoning_effort = raw;
    return read_word(r, raw, words,
                     "one of `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`");
}

static bool read_service_tier(struct weir_openai_reading *r, struct weir_span raw) {
    static const char *const words[] = {"auto",     "default", "flex", "scale",
                                        "priority", "fast",    NULL};
    return read_word(r, raw, words,
                     "one of `auto`, `default`, `flex`, `scale`, `priority`, `fast`");
}

static bool read_modalities(struct weir_openai_reading *r, struct weir_span raw) {
    static const char *const words[] = {"text", "audio", NULL};
    struct weir_json j;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, r->end, raw, "a sequence");
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span item;
        if (!weir_json_skip(&j, &item) || !read_word(r, item, words, "`text` or `audio`"))
            return false;
    }
    return true;
}

static bool need_object(struct weir_openai_reading *r, struct weir_span raw, const char *type) {
    return weir_raw_type(raw) == WEIR_JSON_OBJECT ? true
                                                  : weir_openai_fail_type(r, r->end, raw, type);
}

static bool read_prediction(struct weir_openai_reading *r, struct weir_span raw) {
    return need_object(r, raw, "adjacently tagged enum PredictionContent");
}
static bool read_web_search(struct weir_openai_reading *r, struct weir_span raw) {
    return need_object(r, raw, "struct WebSearchOptions");
}
static bool read_audio(struct weir_openai_reading *r, struct weir_span raw) {
    return need_object(r, raw, "struct ChatCompletionAudio");
}

static bool read_deprecated(struct weir_openai_reading *r, const char *name, const char *instead) {
    return weir_openai_fail(r, 501,
                            "Validation: `%s` is deprecated. Please migrate to use `%s` instead.",
                            name, instead);
}
static bool read_function_call(struct weir_openai_reading *r, struct weir_span raw) {
    (void)raw;
    return read_deprecated(r, "function_call", "tool_choice");
}
static bool read_functions(struct weir_openai_reading *r, struct weir_span raw) {
    (void)raw;
    return read_deprecated(r, "functions", "tools");
}

static bool read_user(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span user;
    if (!weir_raw_string(r, r->end, raw, &user))
        return false;
    return weir_span_trim(user).len > 0
               ? true
               : weir_openai_fail(r, 400, "Validation: User ID cannot be empty");
}

static bool read_guided_json(struct weir_openai_reading *r, struct weir_span raw) {
    return keep(&r->guided[0], raw);
}
static bool read_guided_regex(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span ignored;
    return weir_raw_string(r, r->end, raw, &ignored) && keep(&r->guided[1], raw);
}
static bool read_guided_choice(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_json j;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, r->end, raw, "a sequence");
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span item, ignored;
        if (!weir_json_skip(&j, &item) || !weir_raw_string(r, r->end, item, &ignored))
            return false;
    }
    return keep(&r->guided[2], raw);
}
static bool read_guided_grammar(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span ignored;
    return weir_raw_string(r, r->end, raw, &ignored) && keep(&r->guided[3], raw);
}
static bool read_guided_backend(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span ignored;
    return weir_raw_string(r, r->end, raw, &ignored) && keep(&r->guided_backend, raw);
}
static bool read_guided_whitespace(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span ignored;
    return weir_raw_string(r, r->end, raw, &ignored) && keep(&r->guided_whitespace, raw);
}

/* Pass-through members: checked for their type only, with their own words. */
static bool read_cache_salt(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_raw_type(raw) != WEIR_JSON_STRING)
        return weir_openai_fail(r, 400, "Validation: `cache_salt` must be a string");
    return weir_raw_string(r, r->end, raw, &r->cache_salt);
}
static bool read_stop_token_ids(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_ids(r, raw, &r->req->prep.stop.stop_token_ids)
               ? true
               : weir_openai_fail(r, 400,
                                  "Validation: `stop_token_ids` must be an array of token IDs");
}
static bool read_detokenize(struct weir_openai_reading *r, struct weir_span raw) {
    enum weir_json_type t = weir_raw_type(raw);
    r->req->prep.sampling.detokenize = t == WEIR_JSON_TRUE;
    return t == WEIR_JSON_TRUE || t == WEIR_JSON_FALSE
               ? true
               : weir_openai_fail(r, 400, "Validation: `detokenize` must be a boolean");
}
static bool read_allowed(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_ids(r, raw, &r->req->prep.sampling.allowed_token_ids)
               ? true
               : weir_openai_fail(r, 400,
                                  "Validation: `allowed_token_ids` must be an array of token IDs");
}
static bool read_bad_words(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail(
            r, 400, "Validation: `bad_words_token_ids` must be an array of token ID arrays");
    return keep(&r->req->prep.sampling.bad_words_token_ids, raw);
}
static bool read_echo(struct weir_openai_reading *r, struct weir_span raw) {
    enum weir_json_type t = weir_raw_type(raw);
    r->req->echo = t == WEIR_JSON_TRUE;
    return t == WEIR_JSON_TRUE || t == WEIR_JSON_FALSE
               ? true
               : weir_openai_fail_type(r, r->end, raw,
                                       "echo parameter to be a boolean (true or false) or null");
}
static bool read_suffix(struct weir_openai_reading *r, struct weir_span raw) {
    enum { MAX_SUFFIX = 10000 };
    if (!weir_raw_string(r, r->end, raw, &r->req->suffix))
        return false;
    size_t chars = 0;
    for (size_t i = 0; i < r->req->suffix.len; i++)
        chars += (r->req->suffix.data[i] & 0xC0) != 0x80;
    return chars <= MAX_SUFFIX
               ? true
               : weir_openai_fail(r, 400,
                                  "Validation: Suffix is too long, maximum 10000 characters");
}
static bool read_prompt_embeds(struct weir_openai_reading *r, struct weir_span raw) {
    enum { MIN_BYTES = 100, MAX_BYTES = 10 << 20 };
    struct weir_span text;
    size_t digits = 0, pad = 0;
    if (!weir_raw_string(r, r->end, raw, &text))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool digit = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '+' || c == '/';
        if (digit && pad == 0)
            digits++;
        else if (c == '=' && pad < 2)
            pad++;
        else
            pad = 9;
    }
    if (pad > 2 || (digits + pad) % 4 != 0)
        return weir_openai_fail(r, 400,
                                "Validation: prompt_embeds must be valid base64-encoded data");
    size_t bytes = digits * 3 / 4;
    if (bytes < MIN_BYTES || bytes > MAX_BYTES)
        return weir_openai_fail(
            r, 400, "Validation: prompt_embeds decoded data must be at %s %s, got %zu bytes",
            bytes < MIN_BYTES ? "least" : "most", bytes < MIN_BYTES ? "100 bytes" : "10 MB", bytes);
    return true;
}
static bool read_nvext(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_openai_read_nvext(r, raw);
}

/* ---- the table ---------------------------------------------------------------------------- */

#define AT(member) offsetof(struct weir_openai_values, member)
static const struct field fields[] = {
    {"model", BOTH, F_CUSTOM, read_model, 0},
    {"messages", CHAT, F_CUSTOM, read_messages, 0},
    {"prompt", COMP, F_CUSTOM, read_prompt, 0},
    {"temperature", BOTH, F_F32, NULL, AT(temperature)},
    {"top_p", BOTH, F_F32, NULL, AT(top_p)},
    {"min_p", BOTH, F_F32, NULL, AT(min_p)},
    {"frequency_penalty", BOTH, F_F32, NULL, AT(frequency_penalty)},
    {"presence_penalty", BOTH, F_F32, NULL, AT(presence_penalty)},
    {"repetition_penalty", BOTH, F_F32, NULL, AT(repetition_penalty)},
    {"top_k", BOTH, F_I32, NULL, AT(top_k)},
    {"n", BOTH, F_U8, NULL, AT(n)},
    {"best_of", COMP, F_U8, NULL, AT(best_of)},
    {"max_tokens", BOTH, F_U32, NULL, AT(max_tokens)},
    {"max_completion_tokens", CHAT, F_U32, NULL, AT(max_completion_tokens)},
    {"min_tokens", BOTH, F_U32, NULL, AT(min_tokens)},
    {"seed", BOTH, F_I64, NULL, AT(seed)},
    {"stream", BOTH, F_BOOL, NULL, AT(stream)},
    {"stream_options", BOTH, F_CUSTOM, read_stream_options, 0},
    {"stop", BOTH, F_CUSTOM, read_stop, 0},
    {"logprobs", CHAT, F_BOOL, NULL, AT(logprobs)},
    {"logprobs", COMP, F_U8, NULL, AT(comp_logprobs)},
    {"top_logprobs", CHAT, F_U8, NULL, AT(top_logprobs)},
    {"prompt_logprobs", BOTH, F_U32, NULL, AT(prompt_logprobs)},
    {"logit_bias", BOTH, F_CUSTOM, read_logit_bias, 0},
    {"user", BOTH, F_CUSTOM, read_user, 0},
    {"ignore_eos", BOTH, F_BOOL, NULL, AT(ignore_eos)},
    {"include_stop_str_in_output", BOTH, F_BOOL, NULL, AT(include_stop)},
    {"skip_special_tokens", BOTH, F_BOOL, NULL, AT(skip_special_tokens)},
    {"guided_json", BOTH, F_CUSTOM, read_guided_json, 0},
    {"guided_regex", BOTH, F_CUSTOM, read_guided_regex, 0},
    {"guided_choice", BOTH, F_CUSTOM, read_guided_choice, 0},
    {"guided_grammar", BOTH, F_CUSTOM, read_guided_grammar, 0},
    {"guided_decoding_backend", BOTH, F_CUSTOM, read_guided_backend, 0},
    {"guided_whitespace_pattern", BOTH, F_CUSTOM, read_guided_whitespace, 0},
    {"return_tokens_as_token_ids", BOTH, F_CUSTOM, read_tokens_as_ids, 0},
    {"cache_salt", BOTH, F_CUSTOM, read_cache_salt, 0},
    {"stop_token_ids", BOTH, F_CUSTOM, read_stop_token_ids, 0},
    {"detokenize", BOTH, F_CUSTOM, read_detokenize, 0},
    {"allowed_token_ids", BOTH, F_CUSTOM, read_allowed, 0},
    {"bad_words_token_ids", BOTH, F_CUSTOM, read_bad_words, 0},
    {"nvext", BOTH, F_CUSTOM, read_nvext, 0},
    {"metadata", BOTH, F_IGNORED, NULL, 0},
    {"tools", CHAT, F_CUSTOM, read_tools, 0},
    {"tool_choice", CHAT, F_CUSTOM, read_tool_choice, 0},
    {"parallel_tool_calls", CHAT, F_BOOL, NULL, AT(parallel_tool_calls)},
    {"response_format", CHAT, F_CUSTOM, read_response_format, 0},
    {"chat_template_args", CHAT, F_CUSTOM, read_template_args, 0},
    {"chat_template_kwargs", CHAT, F_CUSTOM, read_template_args, 0},
    {"add_generation_prompt", CHAT, F_BOOL, NULL, AT(add_generation_prompt)},
    {"continue_final_message", CHAT, F_BOOL, NULL, AT(continue_final_message)},
    {"thinking", CHAT, F_CUSTOM, read_thinking, 0},
    {"reasoning_effort", CHAT, F_CUSTOM, read_reasoning_effort, 0},
    {"function_call", CHAT, F_CUSTOM, read_function_call, 0},
    {"functions", CHAT, F_CUSTOM, read_functions, 0},
    {"service_tier", CHAT, F_CUSTOM, read_service_tier, 0},
    {"store", CHAT, F_BOOL, NULL, AT(ignored_bool)},
    {"prediction", CHAT, F_CUSTOM, read_prediction, 0},
    {"audio", CHAT, F_CUSTOM, read_audio, 0},
    {"modalities", CHAT, F_CUSTOM, read_modalities, 0},
    {"web_search_options", CHAT, F_CUSTOM, read_web_search, 0},
    {"prompt_cache_key", CHAT, F_STRING, NULL, 0},
    {"media_io_kwargs", CHAT, F_IGNORED, NULL, 0},
    {"mm_processor_kwargs", CHAT, F_IGNORED, NULL, 0},
    {"echo", COMP, F_CUSTOM, read_echo, 0},
    {"suffix", COMP, F_CUSTOM, read_suffix, 0},
    {"prompt_embeds", COMP, F_CUSTOM, read_prompt_embeds, 0},
    /* Clients of newer OpenAI SDKs send these; refusing a whole request for a hint helps nobody. */
    {"safety_identifier", CHAT, F_IGNORED, NULL, 0},
};
#undef AT

static int find_field(unsigned kind, struct weir_json_str key) {
    char first = key.raw.len > 0 ? key.raw.data[0] : '\0';
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fields); i++)
        if ((fields[i].kinds & kind) != 0 && (key.escaped || fields[i].name[0] == first) &&
            weir_json_str_eqz(key, fields[i].name))
            return (int)i;
    return -1;
}

static bool read_field(struct weir_openai_body *x, const struct field *f, struct weir_span raw) {
    struct weir_openai_reading *r = &x->r;
    char *at = (char *)&x->v + f->offset;
    struct weir_span ignored;
    enum weir_json_type type = weir_raw_type(raw);
    bool required =
        f->custom == read_model || f->custom == read_messages || f->custom == read_prompt;
    if (type == WEIR_JSON_NULL && !required)
        return true;
    switch (f->type) {
    case F_F32:
        return weir_raw_f64(r, r->end, raw, "f32", (double *)(void *)at);
    case F_U32:
        return weir_raw_int(r, r->end, raw, "u32", 0, UINT32_MAX, (int64_t *)(void *)at);
    case F_U8:
        return weir_raw_int(r, r->end, raw, "u8", 0, UINT8_MAX, (int64_t *)(void *)at);
    case F_I32:
        x->v.has_top_k = true;
        return weir_raw_int(r, r->end, raw, "i32", INT32_MIN, INT32_MAX, (int64_t *)(void *)at);
    case F_I64:
        x->v.has_seed = true;
        return weir_raw_int(r, r->end, raw, "i64", INT64_MIN, INT64_MAX, (int64_t *)(void *)at);
    case F_BOOL:
        x->v.has_ignore_eos |= strcmp(f->name, "ignore_eos") == 0;
        x->v.has_include_stop |= strcmp(f->name, "include_stop_str_in_output") == 0;
        return weir_raw_bool(r, r->end, raw, (bool *)(void *)at);
    case F_STRING:
        return weir_raw_string(r, r->end, raw, &ignored);
    case F_MAP:
        return need_object(r, raw, "a map");
    case F_IGNORED:
        return true;
    case F_CUSTOM:
        return f->custom(r, raw);
    }
    return true;
}

/* ---- all members -------------------------------------------------------------------------- */

/* All unknown members in request order, each once. */
static bool refuse_unknown(struct weir_openai_reading *r, const struct weir_member *members,
                           size_t n, const bool *unknown) {
    struct weir_buf list;
    weir_buf_init(&list, 2048);
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = unknown[k] && weir_span_eq(members[k].key.raw, members[i].key.raw);
        if (!unknown[i] || seen)
            continue;
        struct weir_span name = weir_json_text(members[i].key, r->arena);
        st = weir_buf_printf(&list, "%s`%.*s`", list.len > 0 ? ", " : "", WEIR_SPAN_ARG(name));
    }
    if (list.len > 0)
        weir_openai_fail(r, 400, "Validation: Unsupported parameter(s): %.*s", (int)list.len,
                         list.data);
    weir_buf_fini(&list);
    return !r->failed;
}

bool weir_openai_read_members(struct weir_openai_body *x, const struct weir_openai_rules *rules,
                              const struct weir_member *members, size_t n) {
    struct weir_openai_reading *r = &x->r;
    unsigned kind = r->kind == WEIR_OPENAI_CHAT ? CHAT : COMP;
    bool seen[WEIR_ARRAY_LEN(fields)] = {false}, unknown[WEIR_OPENAI_MAX_MEMBERS] = {false};
    int at[WEIR_OPENAI_MAX_MEMBERS];
    for (size_t i = 0; i < n; i++) {
        at[i] = find_field(kind, members[i].key);
        unknown[i] = at[i] < 0;
        if (at[i] >= 0 && seen[at[i]])
            return weir_openai_fail_at(r, r->end, "duplicate field `%s`", fields[at[i]].name);
        if (at[i] >= 0)
            seen[at[i]] = true;
    }
    /* Deprecated and bounded members are judged after unknown ones, types before. */
    for (size_t i = 0; i < n; i++)
        if (at[i] >= 0 && fields[at[i]].custom != read_function_call &&
            fields[at[i]].custom != read_functions &&
            !read_field(x, &fields[at[i]], members[i].raw))
            return false;
    if (kind == CHAT ? !r->has_messages : !r->has_model)
        return weir_openai_fail_at(r, r->end, "missing field `%s`",
                                   kind == CHAT ? "messages" : "model");
    if (kind == CHAT ? !r->has_model : !r->has_prompt)
        return weir_openai_fail_at(r, r->end, "missing field `%s`",
                                   kind == CHAT ? "model" : "prompt");
    if (!rules->ignore_unknown_fields && !refuse_unknown(r, members, n, unknown))
        return false;
    for (size_t i = 0; i < n; i++)
        if (at[i] >= 0 && weir_raw_type(members[i].raw) != WEIR_JSON_NULL &&
            (fields[at[i]].custom == read_function_call || fields[at[i]].custom == read_functions))
            return fields[at[i]].custom(r, members[i].raw);
    return true;
}
