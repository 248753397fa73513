/*
 * The members of a request: one table row each, with the endpoints that know it, what its value
 * must look like (openai_shapes.h) and how it is read. Plain values go to struct weir_openai_values
 * by type; the others have readers of their own, which keep the value or its raw text. What several
 * members decide together is openai_validate.c.
 */
#include "wire/openai_priv.h"
#include "wire/openai_shapes.h"

#include <stddef.h>
#include <string.h>

/* The reference system reads a request's own members where they stand, then the rest out of a
 * buffer in two turns, and what is left over when all others are judged. */
enum group { OWN, MAIN, COMMON, EXTRA };
enum field_type { F_FLOAT, F_INT, F_BOOL, F_KEPT, F_CHECKED, F_CUSTOM };
enum { CHAT = 1, COMP = 2, BOTH = 3 };

struct field {
    const char *name, *alias; /* alias or NULL */
    unsigned kinds;
    enum group group;
    const struct weir_shape *shape;
    enum field_type type;
    size_t offset; /* of a double (FLOAT), int64_t (INT) or bool in struct weir_openai_values, of a
                      span (KEPT) in struct weir_openai_reading */
    bool (*custom)(struct weir_openai_reading *r, struct weir_span raw);
};

/* ---- readers of values whose shape is right ----------------------------------------------- */

static bool read_model(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_model = true;
    return weir_raw_string(r, raw, &r->req->model);
}

static bool read_messages(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_messages = true;
    r->req->messages = raw;
    return true;
}

static bool read_prompt(struct weir_openai_reading *r, struct weir_span raw) {
    r->has_prompt = true;
    return weir_openai_read_prompt(r, raw);
}

/* A string, strings, or token ids. */
static bool read_stop(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_stop_conditions *stop = &r->req->prep.stop;
    struct weir_json j;
    struct weir_json_str s;
    size_t n = 0, room = 2;
    weir_json_init(&j, raw, 3);
    r->stop_is_text = weir_json_peek(&j) == WEIR_JSON_STRING;
    if (!r->stop_is_text) {
        weir_json_array_enter(&j);
        bool any = weir_json_array_next(&j);
        if (any && weir_json_peek(&j) == WEIR_JSON_NUMBER)
            return r->stop_is_ids = weir_raw_ids(r, raw, &stop->stop_token_ids);
        for (size_t i = 0; i < raw.len; i++)
            room += raw.data[i] == ',';
        weir_json_init(&j, raw, 3);
        weir_json_array_enter(&j);
    }
    struct weir_span *items = weir_arena_alloc(r->arena, room * sizeof(*items));
    if (items == NULL)
        return weir_openai_nomem(r);
    while ((r->stop_is_text ? n == 0 : weir_json_array_next(&j)) && weir_json_string(&j, &s)) {
        items[n] = weir_json_text(s, r->arena);
        if (items[n++].data == NULL)
            return weir_openai_nomem(r);
    }
    stop->stop = (struct weir_strings){items, n, true};
    return true;
}

static bool read_stream_options(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span v;
    r->stream_options = raw;
    r->req->include_usage = weir_json_member(raw, "include_usage", &v) && weir_span_eqz(v, "true");
    r->req->continuous_usage =
        weir_json_member(raw, "continuous_usage_stats", &v) && weir_span_eqz(v, "true");
    return true;
}

static bool read_tools(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->tools = raw;
    return true;
}

static bool read_tool_choice(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span word = {NULL, 0};
    if (!weir_raw_string(r, raw, &word) && r->failed)
        return false;
    r->req->tool_choice_none = weir_span_eqz(word, "none");
    r->req->tool_choice = raw;
    return true;
}

static bool read_template_args(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->template_args = raw;
    return true;
}

static bool read_tokens_as_ids(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->return_tokens_as_token_ids = weir_span_eqz(raw, "true");
    r->req->prep.output.return_tokens_as_token_ids = r->req->return_tokens_as_token_ids;
    return true;
}

static bool read_mm_kwargs(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->prep.mm_processor_kwargs = raw;
    return true;
}

static bool read_media_kwargs(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->prep.media_io_kwargs = raw;
    return true;
}

static bool read_user(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_span user;
    if (!weir_raw_string(r, raw, &user))
        return false;
    r->user_empty = weir_span_trim(user).len == 0;
    return true;
}

static bool read_suffix(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_string(r, raw, &r->req->suffix);
}

static bool read_prompt_embeds(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_string(r, raw, &r->prompt_embeds);
}

static bool read_echo(struct weir_openai_reading *r, struct weir_span raw) {
    r->req->echo = weir_span_eqz(raw, "true");
    return true;
}

static bool read_nvext(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_openai_read_nvext(r, raw);
}

/* ---- members that are left over ----------------------------------------------------------- */

static bool read_cache_salt(struct weir_openai_reading *r, struct weir_span raw) {
    if (weir_json_type_of(raw) != WEIR_JSON_STRING)
        return weir_openai_fail(r, 400, "Validation: `cache_salt` must be a string");
    return r->cache_salt.data != NULL /* that of nvext */ ||
           weir_raw_string(r, raw, &r->cache_salt);
}

static bool read_stop_token_ids(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_ids ids;
    if (!weir_raw_ids(r, raw, &ids))
        return weir_openai_fail(r, 400,
                                "Validation: `stop_token_ids` must be an array of token IDs");
    if (ids.n > WEIR_OPENAI_MAX_STOPS)
        return weir_openai_fail(r, 400, "Maximum of %d stop token IDs allowed, got %zu",
                                WEIR_OPENAI_MAX_STOPS, ids.n);
    if (!r->stop_is_ids)
        r->req->prep.stop.stop_token_ids = ids;
    return true;
}

static bool read_detokenize(struct weir_openai_reading *r, struct weir_span raw) {
    enum weir_json_type t = weir_json_type_of(raw);
    r->req->detokenize = t == WEIR_JSON_TRUE;
    return t == WEIR_JSON_TRUE || t == WEIR_JSON_FALSE ||
           weir_openai_fail(r, 400, "Validation: `detokenize` must be a boolean");
}

static bool read_allowed(struct weir_openai_reading *r, struct weir_span raw) {
    return weir_raw_ids(r, raw, &r->req->allowed_token_ids) ||
           weir_openai_fail(r, 400,
                            "Validation: `allowed_token_ids` must be an array of token IDs");
}

static bool read_bad_words(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_shape_fault fault;
    static const struct weir_shape lists = {.kind = WEIR_SHAPE_LIST, .item = &weir_shape_u32s};
    r->req->bad_words_token_ids = raw;
    return weir_shape_check(&lists, raw, &fault) ||
           weir_openai_fail(
               r, 400, "Validation: `bad_words_token_ids` must be an array of token ID arrays");
}

static bool read_logprob_ids(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_ids ids;
    return weir_raw_ids(r, raw, &ids) ||
           weir_openai_fail(r, 400,
                            "Validation: `logprob_token_ids` must be an array of token IDs");
}

/* ---- the table ---------------------------------------------------------------------------- */

#define V(member) offsetof(struct weir_openai_values, member)
#define R(member) offsetof(struct weir_openai_reading, member)
#define FLOAT(name, kinds, group, at)                                                              \
    { name, NULL, kinds, group, &weir_shape_f32, F_FLOAT, V(at), NULL }
#define INT(name, kinds, group, as, at)                                                            \
    { name, NULL, kinds, group, &weir_shape_##as, F_INT, V(at), NULL }
#define FLAG(name, kinds, group, at)                                                               \
    { name, NULL, kinds, group, &weir_shape_bool, F_BOOL, V(at), NULL }
#define KEPT(name, kinds, group, shape, at)                                                        \
    { name, NULL, kinds, group, &shape, F_KEPT, R(at), NULL }
#define CHECKED(name, kinds, group, shape)                                                         \
    { name, NULL, kinds, group, &shape, F_CHECKED, 0, NULL }
#define CUSTOM(name, kinds, group, shape, fn)                                                      \
    { name, NULL, kinds, group, &shape, F_CUSTOM, 0, fn }
static const struct field fields[] = {
    CUSTOM("model", BOTH, MAIN, weir_shape_string, read_model),
    CUSTOM("messages", CHAT, MAIN, weir_openai_messages, read_messages),
    CUSTOM("prompt", COMP, MAIN, weir_openai_prompt, read_prompt),
    FLOAT("temperature", BOTH, MAIN, temperature),
    FLOAT("top_p", BOTH, MAIN, top_p),
    FLOAT("frequency_penalty", BOTH, MAIN, frequency_penalty),
    FLOAT("presence_penalty", BOTH, MAIN, presence_penalty),
    INT("n", BOTH, MAIN, u8, n),
    INT("best_of", COMP, MAIN, u8, best_of),
    INT("max_tokens", BOTH, MAIN, u32, max_tokens),
    INT("max_completion_tokens", CHAT, MAIN, u32, max_completion_tokens),
    INT("seed", BOTH, MAIN, i64, seed),
    FLAG("stream", BOTH, MAIN, stream),
    CUSTOM("stream_options", BOTH, MAIN, weir_openai_stream_options, read_stream_options),
    CUSTOM("stop", BOTH, MAIN, weir_openai_stop, read_stop),
    FLAG("logprobs", CHAT, MAIN, logprobs),
    INT("logprobs", COMP, MAIN, u8, comp_logprobs),
    INT("top_logprobs", CHAT, MAIN, u8, top_logprobs),
    KEPT("logit_bias", BOTH, MAIN, weir_openai_any_map, logit_bias),
    CUSTOM("user", BOTH, MAIN, weir_shape_string, read_user),
    CHECKED("metadata", CHAT, MAIN, weir_shape_any),
    CHECKED("metadata", COMP, OWN, weir_shape_any),
    CUSTOM("mm_processor_kwargs", CHAT, MAIN, weir_shape_any, read_mm_kwargs),
    CUSTOM("tools", CHAT, MAIN, weir_openai_tools, read_tools),
    CUSTOM("tool_choice", CHAT, MAIN, weir_openai_tool_choice, read_tool_choice),
    FLAG("parallel_tool_calls", CHAT, MAIN, parallel_tool_calls),
    KEPT("response_format", CHAT, MAIN, weir_openai_response_format, response_format),
    KEPT("reasoning_effort", CHAT, MAIN, weir_openai_reasoning_effort, reasoning_effort),
    KEPT("function_call", CHAT, MAIN, weir_openai_function_call, function_call),
    KEPT("functions", CHAT, MAIN, weir_openai_functions, functions),
    CHECKED("service_tier", CHAT, MAIN, weir_openai_service_tier),
    FLAG("store", CHAT, MAIN, ignored_bool),
    CHECKED("prediction", CHAT, MAIN, weir_openai_prediction),
    CHECKED("audio", CHAT, MAIN, weir_openai_audio),
    CHECKED("modalities", CHAT, MAIN, weir_openai_modalities),
    CHECKED("web_search_options", CHAT, MAIN, weir_openai_web_search),
    CHECKED("prompt_cache_key", CHAT, MAIN, weir_shape_string),
    CUSTOM("echo", COMP, MAIN, weir_openai_echo, read_echo),
    CUSTOM("suffix", COMP, MAIN, weir_shape_string, read_suffix),
    CUSTOM("prompt_embeds", COMP, MAIN, weir_shape_string, read_prompt_embeds),

    FLAG("ignore_eos", BOTH, COMMON, ignore_eos),
    INT("min_tokens", BOTH, COMMON, u32, min_tokens),
    INT("top_k", BOTH, COMMON, i32, top_k),
    FLOAT("min_p", BOTH, COMMON, min_p),
    FLOAT("repetition_penalty", BOTH, COMMON, repetition_penalty),
    FLAG("include_stop_str_in_output", BOTH, COMMON, include_stop),
    KEPT("guided_json", BOTH, COMMON, weir_shape_any, guided[0]),
    KEPT("guided_regex", BOTH, COMMON, weir_shape_string, guided[1]),
    KEPT("guided_choice", BOTH, COMMON, weir_shape_strings, guided[2]),
    KEPT("guided_grammar", BOTH, COMMON, weir_shape_string, guided[3]),
    KEPT("guided_decoding_backend", BOTH, COMMON, weir_shape_string, guided_backend),
    KEPT("guided_whitespace_pattern", BOTH, COMMON, weir_shape_string, guided_whitespace),
    FLAG("skip_special_tokens", BOTH, COMMON, skip_special_tokens),
    INT("prompt_logprobs", BOTH, COMMON, u32, prompt_logprobs),
    FLAG("add_generation_prompt", BOTH, COMMON, add_generation_prompt),
    FLAG("continue_final_message", BOTH, COMMON, continue_final_message),

    CUSTOM("nvext", BOTH, OWN, weir_openai_nvext, read_nvext),
    CUSTOM("return_tokens_as_token_ids", BOTH, OWN, weir_shape_bool, read_tokens_as_ids),
    {"chat_template_args", "chat_template_kwargs", CHAT, OWN, &weir_openai_any_map, F_CUSTOM, 0,
     read_template_args},
    KEPT("thinking", CHAT, OWN, weir_shape_any, thinking),
    INT("thinking_token_budget", CHAT, OWN, u32, thinking_budget),
    CUSTOM("media_io_kwargs", CHAT, OWN, weir_shape_any, read_media_kwargs),
    FLAG("no_stop_trim", COMP, OWN, ignored_bool),

    CUSTOM("cache_salt", BOTH, EXTRA, weir_shape_any, read_cache_salt),
    CUSTOM("stop_token_ids", BOTH, EXTRA, weir_shape_any, read_stop_token_ids),
    CUSTOM("detokenize", BOTH, EXTRA, weir_shape_any, read_detokenize),
    CUSTOM("allowed_token_ids", BOTH, EXTRA, weir_shape_any, read_allowed),
    CUSTOM("bad_words_token_ids", BOTH, EXTRA, weir_shape_any, read_bad_words),
    CUSTOM("logprob_token_ids", BOTH, EXTRA, weir_shape_any, read_logprob_ids),
    /* Clients of newer OpenAI SDKs send it; refusing a whole request for a hint helps nobody. */
    CHECKED("safety_identifier", CHAT, EXTRA, weir_shape_any),
};
#undef V
#undef R
_Static_assert(WEIR_ARRAY_LEN(fields) <= WEIR_OPENAI_MAX_FIELDS, "own_seen has a place for each");

static unsigned kind_of(const struct weir_openai_reading *r) {
    return r->kind == WEIR_OPENAI_CHAT ? CHAT : COMP;
}

static bool is_named(const struct field *f, struct weir_json_str key) {
    char first = key.raw.len > 0 ? key.raw.data[0] : '\0';
    return ((key.escaped || f->name[0] == first) && weir_json_str_eqz(key, f->name)) ||
           (f->alias != NULL && weir_json_str_eqz(key, f->alias));
}

static int find_field(unsigned kind, struct weir_json_str key) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fields); i++)
        if ((fields[i].kinds & kind) != 0 && is_named(&fields[i], key))
            return (int)i;
    return -1;
}

static bool place(struct weir_openai_body *x, const struct field *f, struct weir_span raw) {
    struct weir_openai_reading *r = &x->r;
    char *at = (char *)(f->type == F_KEPT ? (void *)r : (void *)&x->v) + f->offset;
    switch (f->type) {
    case F_FLOAT:
        return weir_raw_single(raw, (double *)(void *)at);
    case F_INT:
        x->v.has_top_k |= at == (char *)&x->v.top_k;
        x->v.has_seed |= at == (char *)&x->v.seed;
        return weir_span_i64(raw, (int64_t *)(void *)at);
    case F_BOOL:
        x->v.has_ignore_eos |= at == (char *)&x->v.ignore_eos;
        x->v.has_include_stop |= at == (char *)&x->v.include_stop;
        x->v.has_skip_special_tokens |= at == (char *)&x->v.skip_special_tokens;
        r->chat_only |=
            at == (char *)&x->v.add_generation_prompt || at == (char *)&x->v.continue_final_message;
        *(bool *)(void *)at = weir_span_eqz(raw, "true");
        return true;
    case F_KEPT:
        memcpy(at, &raw, sizeof(raw));
        return true;
    case F_CHECKED:
        return true;
    case F_CUSTOM:
        return f->custom(r, raw);
    }
    return true;
}

/* ---- all members -------------------------------------------------------------------------- */

static bool is_required(const struct field *f) {
    return f->custom == read_model || f->custom == read_messages || f->custom == read_prompt;
}

/* `here`: the fault is told where it is, else at the end of the body. */
static bool read_field(struct weir_openai_body *x, const struct field *f, struct weir_span raw,
                       bool here) {
    struct weir_shape_fault fault;
    fault.notes = 0;
    if (weir_json_type_of(raw) == WEIR_JSON_NULL && !is_required(f))
        return true;
    if (!weir_shape_check(f->shape, raw, &fault) &&
        !(f->custom == read_nvext && weir_raw_is_empty_list(raw)))
        return weir_openai_fail_at(&x->r, here ? (size_t)(fault.at - x->r.body.data) : x->r.end,
                                   "%s", fault.text);
    x->r.notes |= fault.notes;
    return place(x, f, raw);
}

bool weir_openai_read_fitting(const struct weir_openai_body *x, struct weir_member *m,
                              struct weir_json *j) {
    struct weir_shape_fault ignored;
    struct weir_json look = *j;
    int i = m->field = find_field(kind_of(&x->r), m->key);
    m->fits = false;
    if (i < 0 || fields[i].group != MAIN || fields[i].shape->kind != WEIR_SHAPE_LIST ||
        weir_json_peek(&look) != WEIR_JSON_ARRAY)
        return false;
    size_t from = look.pos;
    ignored.notes = 0;
    if (!weir_shape_check_at(fields[i].shape, &look, &ignored) || look.error != WEIR_JSON_ERR_NONE)
        return false;
    m->raw = weir_span(look.buf + from, look.pos - from);
    m->notes = ignored.notes;
    m->fits = true;
    *j = look;
    return true;
}

bool weir_openai_read_own(struct weir_openai_body *x, struct weir_member *m) {
    int i = m->field;
    if (i < 0 || fields[i].group != OWN)
        return true;
    if (x->r.own_seen[i])
        return weir_openai_fail_at(&x->r,
                                   (size_t)(m->key.raw.data - x->r.body.data) + m->key.raw.len + 1,
                                   "duplicate field `%s`", fields[i].name);
    x->r.own_seen[i] = true;
    return read_field(x, &fields[i], m->raw, true);
}

/* Members of one group, in the order of the text. */
static bool read_group(struct weir_openai_body *x, enum group group,
                       const struct weir_member *members, size_t n) {
    bool seen[WEIR_ARRAY_LEN(fields)] = {false};
    for (size_t i = 0; i < n; i++) {
        int at = members[i].field;
        if (at < 0 || fields[at].group != group)
            continue;
        if (seen[at])
            return weir_openai_fail_at(&x->r, x->r.end, "duplicate field `%s`", fields[at].name);
        seen[at] = true;
        if (members[i].fits) {
            x->r.notes |= members[i].notes;
            if (!place(x, &fields[at], members[i].raw))
                return false;
            continue;
        }
        if (!read_field(x, &fields[at], members[i].raw, false))
            return false;
    }
    return true;
}

static bool has_all(struct weir_openai_reading *r) {
    const char *missing = NULL;
    if (r->kind == WEIR_OPENAI_CHAT)
        missing = !r->has_messages ? "messages" : !r->has_model ? "model" : NULL;
    else
        missing = !r->has_model ? "model" : !r->has_prompt ? "prompt" : NULL;
    return missing == NULL || weir_openai_fail_at(r, r->end, "missing field `%s`", missing);
}

/* All unknown members in request order, each once. */
static bool refuse_unknown(struct weir_openai_reading *r, const struct weir_member *members,
                           size_t n) {
    struct weir_buf list;
    weir_buf_init(&list, 2048);
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        bool seen = false;
        if (members[i].field >= 0)
            continue;
        struct weir_span name = weir_json_text(members[i].key, r->arena);
        for (size_t k = 0; k < i && !seen; k++)
            seen = members[k].field < 0 && weir_json_str_eq(members[k].key, name);
        if (seen)
            continue;
        if (name.data == NULL) {
            weir_openai_nomem(r);
            break;
        }
        st = weir_buf_printf(&list, "%s`%.*s`", list.len > 0 ? ", " : "", WEIR_SPAN_ARG(name));
    }
    if (list.len > 0)
        weir_openai_fail(r, 400, "Validation: Unsupported parameter(s): %.*s", (int)list.len,
                         list.data);
    weir_buf_fini(&list);
    return !r->failed;
}

bool weir_openai_read_members(struct weir_openai_body *x, const struct weir_member *members,
                              size_t n) {
    return read_group(x, MAIN, members, n) && has_all(&x->r) && read_group(x, COMMON, members, n);
}

bool weir_openai_read_extras(struct weir_openai_body *x, const struct weir_openai_rules *rules,
                             const struct weir_member *members, size_t n) {
    size_t last[WEIR_ARRAY_LEN(fields)]; /* member of a row, and one; 0: none */
    bool any = false;
    if (!rules->ignore_unknown_fields && !refuse_unknown(&x->r, members, n))
        return false;
    for (size_t i = 0; i < n; i++)
        any |= members[i].field >= 0 && fields[members[i].field].group == EXTRA;
    if (!any)
        return true;
    /* In the order of the table; of several with one name the last counts. */
    memset(last, 0, sizeof(last));
    for (size_t i = 0; i < n; i++)
        if (members[i].field >= 0)
            last[members[i].field] = i + 1;
    for (size_t f = 0; f < WEIR_ARRAY_LEN(fields); f++)
        if (last[f] > 0 && fields[f].group == EXTRA &&
            !read_field(x, &fields[f], members[last[f] - 1].raw, false))
            return false;
    return true;
}
