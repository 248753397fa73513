#include "wire/openai_chat_read.h"

#include "base/json.h"
#include "wire/openai_priv.h"

#include <string.h>

struct reading {
    struct weir_arena *arena;
    struct weir_chat_read *to;
    bool nomem;
};

/* A string; null leaves *ret as it is. */
static bool read_text(struct reading *r, struct weir_json *j, struct weir_span *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j);
    if (!weir_json_string(j, &s))
        return false;
    *ret = weir_json_text(s, r->arena);
    r->nomem |= ret->data == NULL;
    return !r->nomem;
}

/* Any value as it stands; null leaves *ret as it is. */
static bool read_raw(struct weir_json *j, struct weir_span *ret) {
    return weir_json_peek(j) == WEIR_JSON_NULL ? weir_json_null(j) : weir_json_skip(j, ret);
}

static bool read_u64(struct weir_json *j, bool *ret_there, uint64_t *ret) {
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j);
    *ret_there = true;
    return weir_json_u64(j, ret);
}

/* Enters an object; *ret_null: it is null, and has been passed. */
static bool enter(struct weir_json *j, bool *ret_null) {
    *ret_null = weir_json_peek(j) == WEIR_JSON_NULL;
    return *ret_null ? weir_json_null(j) : weir_json_object_enter(j);
}

static bool went_well(const struct weir_json *j) {
    return j->error == WEIR_JSON_ERR_NONE;
}

/* ---- calls -------------------------------------------------------------------------------- */

static bool read_function(struct reading *r, struct weir_json *j, struct weir_answer_call *call) {
    struct weir_json_str key;
    bool null;
    if (!enter(j, &null) || null)
        return null;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "name")        ? read_text(r, j, &call->name)
              : weir_json_str_eqz(key, "arguments") ? read_text(r, j, &call->arguments)
                                                    : weir_json_skip(j, NULL)))
            return false;
    return went_well(j);
}

/* at: of the list; engines leave the index out where an answer is whole. */
static bool read_call(struct reading *r, struct weir_json *j, size_t at,
                      struct weir_answer_call *call) {
    struct weir_json_str key;
    uint64_t index = at;
    bool ignored = false;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "index")      ? read_u64(j, &ignored, &index)
              : weir_json_str_eqz(key, "id")       ? read_text(r, j, &call->id)
              : weir_json_str_eqz(key, "function") ? read_function(r, j, call)
                                                   : weir_json_skip(j, NULL)))
            return false;
    call->index = (unsigned)index;
    return went_well(j) && index < UINT32_MAX;
}

static bool read_calls(struct reading *r, struct weir_json *j, struct weir_chat_read *to) {
    struct weir_json count;
    size_t n = 0;
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j);
    count = *j;
    if (!weir_json_array_enter(&count))
        return weir_json_array_enter(j); /* false: records what is wrong */
    while (weir_json_array_next(&count) && weir_json_skip(&count, NULL))
        n++;
    if (!went_well(&count) || n > WEIR_CHAT_READ_CALLS)
        return false;
    to->calls = weir_arena_zalloc(r->arena, (n + 1) * sizeof(*to->calls));
    if (to->calls == NULL) {
        r->nomem = true;
        return false;
    }
    to->n_calls = 0;
    weir_json_array_enter(j);
    while (weir_json_array_next(j)) {
        if (!read_call(r, j, to->n_calls, &to->calls[to->n_calls]))
            return false;
        to->n_calls++;
    }
    return went_well(j);
}

/* ---- the choice --------------------------------------------------------------------------- */

/* The reasoning has two names; newer engines write both. */
static bool read_message(struct reading *r, struct weir_json *j, struct weir_chat_read *to) {
    struct weir_span older = {NULL, 0};
    struct weir_json_str key;
    bool null;
    if (!enter(j, &null) || null)
        return null;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "content")             ? read_text(r, j, &to->text)
              : weir_json_str_eqz(key, "reasoning")         ? read_text(r, j, &to->reasoning)
              : weir_json_str_eqz(key, "reasoning_content") ? read_text(r, j, &older)
              : weir_json_str_eqz(key, "tool_calls")        ? read_calls(r, j, to)
                                                            : weir_json_skip(j, NULL)))
            return false;
    if (to->reasoning.len == 0)
        to->reasoning = older;
    return went_well(j);
}

static bool read_logprobs(struct weir_json *j, struct weir_chat_read *to) {
    struct weir_json_str key;
    struct weir_span list = {NULL, 0};
    bool null;
    if (!enter(j, &null) || null)
        return null;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "content") ? read_raw(j, &list) : weir_json_skip(j, NULL)))
            return false;
    if (weir_json_type_of(list) == WEIR_JSON_ARRAY) {
        list = weir_span_trim(weir_span(list.data + 1, list.len - 2));
        to->logprobs = list.len > 0 ? list : weir_span(NULL, 0);
    }
    return went_well(j);
}

static bool read_choice(struct reading *r, struct weir_json *j) {
    struct weir_chat_read c = *r->to;
    struct weir_json_str key;
    uint64_t index = 0;
    bool ignored = false;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        bool says = weir_json_str_eqz(key, "message") || weir_json_str_eqz(key, "delta");
        bool met = weir_json_str_eqz(key, "stop_reason") || weir_json_str_eqz(key, "matched_stop");
        if (!(weir_json_str_eqz(key, "index")           ? read_u64(j, &ignored, &index)
              : says                                    ? read_message(r, j, &c)
              : met                                     ? read_raw(j, &c.stop_reason)
              : weir_json_str_eqz(key, "finish_reason") ? read_text(r, j, &c.finish_reason)
              : weir_json_str_eqz(key, "logprobs")      ? read_logprobs(j, &c)
                                                        : weir_json_skip(j, NULL)))
            return false;
    }
    if (index == 0)
        *r->to = c;
    return went_well(j);
}

static bool read_choices(struct reading *r, struct weir_json *j) {
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j);
    if (!weir_json_array_enter(j))
        return false;
    while (weir_json_array_next(j))
        if (!read_choice(r, j))
            return false;
    return went_well(j);
}

static bool read_usage(struct reading *r, struct weir_json *j) {
    struct weir_chat_read *to = r->to;
    struct weir_json_str key;
    bool null;
    if (!enter(j, &null) || null)
        return null;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "completion_tokens_details")
                  ? read_raw(j, &to->completion_details)
              : weir_json_str_eqz(key, "reasoning_tokens")
                  ? read_u64(j, &to->has_reasoning_tokens, &to->reasoning_tokens)
                  : weir_json_skip(j, NULL)))
            return false;
    return went_well(j);
}

enum weir_status weir_chat_read(struct weir_span json, struct weir_arena *arena,
                                struct weir_chat_read *ret) {
    struct reading r = {.arena = arena, .to = ret};
    struct weir_json j;
    struct weir_json_str key;
    memset(ret, 0, sizeof(*ret));
    weir_json_init(&j, json, WEIR_OPENAI_DEPTH);
    bool ok = weir_json_object_enter(&j);
    while (ok && weir_json_object_next(&j, &key)) {
        bool error = weir_json_str_eqz(key, "error") && weir_json_peek(&j) != WEIR_JSON_NULL;
        ret->is_error |= error;
        ok = weir_json_str_eqz(key, "choices") ? read_choices(&r, &j)
             : weir_json_str_eqz(key, "usage") ? read_usage(&r, &j)
                                               : weir_json_skip(&j, NULL);
    }
    if (r.nomem)
        return WEIR_NOMEM;
    return ok && weir_json_finish(&j) ? WEIR_OK : WEIR_PROTOCOL;
}

/* ---- errors ------------------------------------------------------------------------------- */

static struct weir_span text_of(struct weir_span raw, struct weir_arena *arena) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    return weir_json_string(&j, &s) ? weir_json_text(s, arena) : weir_span(NULL, 0);
}

/* vLLM: {"error": {"message", "code"}}; SGLang: {"object": "error", "message", "code"}; what either
 * refuses before it reads a body: {"detail": text} or a list of faults, which stands as it is. */
struct weir_span weir_chat_read_error(struct weir_span body, struct weir_arena *arena,
                                      int *ret_status) {
    struct weir_span error = weir_span_trim(body), raw, text = {NULL, 0};
    uint64_t code;
    if (weir_json_member(error, "error", &raw) && weir_json_type_of(raw) != WEIR_JSON_NULL)
        error = raw;
    if (weir_json_type_of(error) == WEIR_JSON_STRING)
        return text_of(error, arena);
    if (weir_json_member(error, "message", &raw))
        text = text_of(raw, arena);
    if (text.data == NULL && weir_json_member(error, "detail", &raw)) {
        text = text_of(raw, arena);
        if (text.data == NULL && weir_json_type_of(raw) != WEIR_JSON_NULL)
            text = raw;
    }
    if (weir_json_member(error, "code", &raw) && weir_span_u64(raw, &code) && code >= 400 &&
        code <= 599)
        *ret_status = (int)code;
    return text;
}
