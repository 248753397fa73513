/* Bounds, and members that are judged together. Order and words as recorded. */
#include "wire/openai_priv.h"

#include <math.h>

static bool in_range(struct weir_openai_reading *r, const char *name, double v, double min,
                     double max, bool open_min) {
    char room[32];
    if (isnan(v) || (v <= max && (open_min ? v > min : v >= min)))
        return true;
    return weir_openai_fail(r, 400, "Validation: %s must be between %g and %g, got %s", name, min,
                            max, weir_f32_text(v, room));
}

static bool check_sampling(struct weir_openai_reading *r) {
    const struct weir_sampling *s = &r->req->prep.sampling;
    return in_range(r, "Frequency penalty", s->frequency_penalty, -2, 2, false) &&
           in_range(r, "Presence penalty", s->presence_penalty, -2, 2, false) &&
           in_range(r, "Repetition penalty", s->repetition_penalty, 0, 2, true) &&
           in_range(r, "Temperature", s->temperature, 0, 2, false) &&
           in_range(r, "Top_p", s->top_p, 0, 1, true) &&
           in_range(r, "Min_p", s->min_p, 0, 1, false) &&
           (!s->has_top_k || s->top_k >= -1 ||
            weir_openai_fail(r, 400,
                             "Validation: Top_k must be null or greater than or equal to -1"));
}

static bool check_choices(struct weir_openai_reading *r) {
    enum { MAX_CHOICES = 128 };
    const struct weir_openai_request *q = r->req;
    const struct weir_sampling *s = &q->prep.sampling;
    char room[32];
    if (q->n < 1 || q->n > MAX_CHOICES)
        return weir_openai_fail(r, 400, "Validation: n must be between 1 and 128, got %u", q->n);
    if (q->n > 1 && s->temperature == 0)
        return weir_openai_fail(
            r, 400,
            "Validation: When n > 1, temperature must be greater than 0 to ensure "
            "diverse outputs. Got n=%u, temperature=%s",
            q->n, weir_f32_text(s->temperature, room));
    if (r->kind == WEIR_OPENAI_CHAT)
        return true;
    if (s->best_of > 20)
        return weir_openai_fail(r, 400, "Validation: Best_of must be between 0 and 20, got %d",
                                s->best_of);
    if (s->best_of > 0 && (unsigned)s->best_of < q->n)
        return weir_openai_fail(
            r, 400,
            "Validation: Best_of must be greater than or equal to n, got best_of=%d and n=%u",
            s->best_of, q->n);
    size_t total = q->n_prompts * q->n;
    return total <= MAX_CHOICES
               ? true
               : weir_openai_fail(
                     r, 400,
                     "Validation: Total choices (batch_size \xC3\x97 n = %zu \xC3\x97 %u = "
                     "%zu) exceeds maximum of 128",
                     q->n_prompts, q->n, total);
}

static bool check_logprobs(struct weir_openai_reading *r) {
    int top = r->req->top_logprobs;
    if (r->kind == WEIR_OPENAI_COMPLETION && top > 5)
        return weir_openai_fail(r, 400, "Validation: Logprobs must be between 0 and 5, got %d",
                                top);
    if (r->kind == WEIR_OPENAI_CHAT && top > 20)
        return weir_openai_fail(r, 400, "Validation: Top_logprobs must be between 0 and 20, got %d",
                                top);
    return true;
}

static bool check_stop(struct weir_openai_reading *r) {
    enum { MAX_STOPS = 32 };
    struct weir_strings *stop = &r->req->prep.stop.stop;
    if (r->stop_is_ids || !stop->set)
        return true;
    if (stop->n == 0)
        return weir_openai_fail(r, 400, "Validation: Stop sequences array cannot be empty");
    if (stop->n > MAX_STOPS)
        return weir_openai_fail(r, 400, "Maximum of %d stop sequences allowed, got %zu", MAX_STOPS,
                                stop->n);
    for (size_t i = 0; i < stop->n; i++)
        if (stop->items[i].len == 0)
            return weir_openai_fail(r, 400,
                                    "Validation: Stop sequence at index %zu cannot be empty", i);
    return true;
}

static bool check_logit_bias(struct weir_openai_reading *r) {
    struct weir_json j;
    struct weir_json_str key;
    if (r->logit_bias.data == NULL)
        return true;
    weir_json_init(&j, r->logit_bias, WEIR_OPENAI_DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key)) {
        struct weir_span raw, text;
        uint64_t id;
        double v;
        if (!weir_json_skip(&j, &raw))
            return false;
        if (!weir_span_u64(key.raw, &id) || id > UINT32_MAX)
            return weir_openai_fail(
                r, 400,
                "Validation: Logit bias key must be a non-negative 32-bit integer token id");
        if (weir_raw_type(raw) != WEIR_JSON_NUMBER || !weir_span_f64(raw, &v)) {
            bool string =
                weir_raw_type(raw) == WEIR_JSON_STRING && weir_raw_string(r, 0, raw, &text);
            return weir_openai_fail(
                r, 400,
                "Validation: Logit bias value for token '%.*s' must be a number, got %s%.*s%s",
                WEIR_SPAN_ARG(key.raw), string ? "String(\"" : "",
                WEIR_SPAN_ARG(string ? text : raw), string ? "\")" : "");
        }
        if (v < -100 || v > 100)
            return weir_openai_fail(r, 400,
                                    "Validation: Logit bias value for token '%.*s' must be between "
                                    "-100 and 100, got %.*s",
                                    WEIR_SPAN_ARG(key.raw), WEIR_SPAN_ARG(raw));
    }
    return true;
}

static bool check_lengths(struct weir_openai_reading *r) {
    if (r->max_tokens == 0 || r->max_completion_tokens == 0)
        return weir_openai_fail(r, 400, "Validation: Max %stokens must be greater than 0, got 0",
                                r->max_tokens == 0 ? "" : "completion ");
    int64_t max = r->max_completion_tokens > 0 ? r->max_completion_tokens : r->max_tokens;
    r->req->prep.stop.max_tokens = max;
    r->req->max_tokens_set = max > 0;
    return true;
}

/* ---- template settings -------------------------------------------------------------------- */

static bool check_thinking(struct weir_openai_reading *r, int *ret_on) {
    struct weir_span type;
    *ret_on = -1;
    switch (r->thinking.data != NULL ? weir_raw_type(r->thinking) : WEIR_JSON_NULL) {
    case WEIR_JSON_NULL:
        return true;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        *ret_on = weir_raw_type(r->thinking) == WEIR_JSON_TRUE;
        return true;
    case WEIR_JSON_OBJECT:
        if (weir_raw_get(r->thinking, "type", &type)) {
            bool off = weir_span_eqz(type, "\"disabled\"");
            if (off || weir_span_eqz(type, "\"enabled\"") || weir_span_eqz(type, "\"adaptive\"")) {
                *ret_on = !off;
                return true;
            }
        }
        return weir_openai_fail(
            r, 400, "Validation: `thinking.type` must be `enabled`, `disabled`, or `adaptive`");
    default:
        return weir_openai_fail(
            r, 400,
            "Validation: `thinking` must be a boolean or an object with `type` set to "
            "`enabled`, `disabled`, or `adaptive`");
    }
}

/* Adds `thinking`, `enable_thinking` and `reasoning_effort` to what the template is given. */
static bool merge_template_args(struct weir_openai_reading *r, int thinking) {
    struct weir_span given = r->req->template_args, ignored;
    struct weir_buf out;
    struct weir_jsonw w;
    if (given.data != NULL && weir_raw_get(given, "chat_template", &ignored))
        return weir_openai_fail(
            r, 400, "Validation: `chat_template` is not supported inside `chat_template_args`");
    if (weir_span_eqz(r->reasoning_effort, "\"none\""))
        thinking = 0;
    if (thinking < 0 && r->reasoning_effort.data == NULL)
        return true;
    weir_buf_init(&out, given.len + 256);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    struct weir_span inside = weir_span_trim(given);
    if (inside.len > 2 && weir_span_trim(weir_span(inside.data + 1, inside.len - 2)).len > 0)
        weir_jsonw_raw(&w, weir_span(inside.data + 1, inside.len - 2));
    if (thinking >= 0) {
        weir_jsonw_key(&w, "thinking");
        weir_jsonw_bool(&w, thinking != 0);
        weir_jsonw_key(&w, "enable_thinking");
        weir_jsonw_bool(&w, thinking != 0);
    }
    if (r->reasoning_effort.data != NULL) {
        weir_jsonw_key(&w, "reasoning_effort");
        weir_jsonw_raw(&w, r->reasoning_effort);
    }
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->req->template_args = weir_arena_copy(r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return (w.status == WEIR_OK && r->req->template_args.data != NULL) || weir_openai_nomem(r);
}

/* ---- what the worker is given ------------------------------------------------------------- */

static bool build_guided(struct weir_openai_reading *r) {
    static const char *const names[] = {"json", "regex", "choice", "grammar"};
    struct weir_buf list, out;
    struct weir_jsonw w;
    unsigned n = 0;
    weir_buf_init(&list, 128);
    weir_buf_init(&out, r->body.len + 512);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    for (int i = 0; i < 4; i++)
        if (r->guided[i].data != NULL) {
            if (weir_buf_printf(&list, "%s%s", n++ > 0 ? ", " : "", names[i]) != WEIR_OK)
                w.status = WEIR_NOMEM;
            weir_jsonw_key(&w, names[i]);
            weir_jsonw_raw(&w, r->guided[i]);
        }
    if (r->guided_backend.data != NULL) {
        weir_jsonw_key(&w, "backend");
        weir_jsonw_raw(&w, r->guided_backend);
    }
    if (r->guided_whitespace.data != NULL) {
        weir_jsonw_key(&w, "whitespace_pattern");
        weir_jsonw_raw(&w, r->guided_whitespace);
    }
    weir_jsonw_object_end(&w);
    if (n > 1)
        weir_openai_fail(r, 400, "Only one guided-decoding constraint can be set; received: %.*s",
                         (int)list.len, list.data);
    else if (n == 1 && w.status == WEIR_OK)
        r->req->prep.sampling.guided_decoding = weir_arena_copy(r->arena, weir_buf_span(&out));
    weir_buf_fini(&list);
    weir_buf_fini(&out);
    return !r->failed && (w.status == WEIR_OK || weir_openai_nomem(r));
}

/* The salt travels twice: for the router and for the engine. */
static bool place_cache_salt(struct weir_openai_reading *r) {
    struct weir_buf out;
    struct weir_jsonw w;
    if (r->cache_salt.data == NULL)
        return true;
    r->req->cache_salt = r->req->prep.routing.cache_salt = r->cache_salt;
    r->req->prep.routing.set = true;
    weir_buf_init(&out, r->cache_salt.len * 6 + 64);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "nvext");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "cache_salt");
    weir_jsonw_string(&w, r->cache_salt);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->req->prep.extra_args = weir_arena_copy(r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return (w.status == WEIR_OK && r->req->prep.extra_args.data != NULL) || weir_openai_nomem(r);
}

static void apply_ignore_eos(struct weir_openai_request *q) {
    if (q->prep.stop.ignore_eos != 1)
        return;
    q->prep.stop.stop = (struct weir_strings){0};
    q->prep.stop.stop_token_ids = (struct weir_ids){0};
}

bool weir_openai_validate(struct weir_openai_reading *r) {
    struct weir_openai_request *q = r->req;
    int thinking;
    if (r->kind == WEIR_OPENAI_CHAT && r->messages_empty)
        return weir_openai_fail(
            r, 400,
            "Validation: The 'messages' field cannot be empty. At least one message "
            "is required.");
    if (weir_span_trim(q->model).len == 0)
        return weir_openai_fail(r, 400, "Validation: Model cannot be empty");
    if (r->stream_options.data != NULL && !q->stream)
        return weir_openai_fail(
            r, 400,
            "Validation: The 'stream_options' field is only allowed when 'stream' is "
            "set to true.");
    if (r->temperature_text.data != NULL) /* nvext.greed_sampling */
        q->prep.sampling.temperature = 0;
    bool ok = check_sampling(r) && check_lengths(r) && check_choices(r) && check_logprobs(r) &&
              check_stop(r) && check_logit_bias(r) && weir_openai_check_tools(r) &&
              weir_openai_check_response_format(r) && check_thinking(r, &thinking) &&
              merge_template_args(r, thinking) && build_guided(r) && place_cache_salt(r);
    if (ok)
        apply_ignore_eos(q);
    return ok;
}
