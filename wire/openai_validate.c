/* Bounds, and members that are judged together. Order and words as recorded. */
#include "wire/openai_priv.h"

#include <math.h>

enum { MAX_SUFFIX = 10000 };

bool weir_openai_in_range(struct weir_openai_reading *r, const char *name, double v, double min,
                          double max, bool open_min) {
    char room[WEIR_F32_TEXT];
    if (isnan(v) || (v <= max && (open_min ? v > min : v >= min)))
        return true;
    return weir_openai_fail(r, 400, "Validation: %s must be between %g and %g, got %s", name, min,
                            max, weir_f32_text(v, room));
}

static bool check_frequency(struct weir_openai_reading *r) {
    return weir_openai_in_range(r, "Frequency penalty", r->req->prep.sampling.frequency_penalty, -2,
                                2, false);
}
static bool check_presence(struct weir_openai_reading *r) {
    return weir_openai_in_range(r, "Presence penalty", r->req->prep.sampling.presence_penalty, -2,
                                2, false);
}
static bool check_temperature(struct weir_openai_reading *r) {
    return weir_openai_in_range(r, "Temperature", r->req->prep.sampling.temperature, 0, 2, false) &&
           weir_openai_in_range(r, "Top_p", r->req->prep.sampling.top_p, 0, 1, true);
}

static bool check_common(struct weir_openai_reading *r) {
    const struct weir_sampling *s = &r->req->prep.sampling;
    char room[WEIR_F32_TEXT];
    return weir_openai_in_range(r, "Repetition penalty", s->repetition_penalty, 0, 2, true) &&
           weir_openai_in_range(r, "Min_p", s->min_p, 0, 1, false) &&
           (!s->has_top_k || s->top_k >= -1 ||
            weir_openai_fail(r, 400,
                             "Validation: Top_k must be null or greater than or equal to -1")) &&
           (r->req->n < 2 || s->temperature != 0 ||
            weir_openai_fail(r, 400,
                             "Validation: When n > 1, temperature must be greater than 0 to ensure "
                             "diverse outputs. Got n=%u, temperature=%s",
                             r->req->n, weir_f32_text(s->temperature, room)));
}

static bool check_n(struct weir_openai_reading *r) {
    enum { MAX_CHOICES = 128 };
    const struct weir_openai_request *q = r->req;
    size_t n_prompts = r->kind == WEIR_OPENAI_CHAT ? 1 : q->n_prompts;
    if (q->n < 1 || q->n > MAX_CHOICES)
        return weir_openai_fail(r, 400, "Validation: n must be between 1 and 128, got %u", q->n);
    return (q->extras & WEIR_EXTRA_TOKEN_IDS) == 0 || n_prompts * q->n <= 1 ||
           weir_openai_fail(r, 400,
                            "Validation: `nvext.extra_fields=[\"completion_token_ids\"]` requires "
                            "exactly one generated choice");
}

static bool check_total(struct weir_openai_reading *r) {
    enum { MAX_CHOICES = 128 };
    const struct weir_openai_request *q = r->req;
    size_t total = q->n_prompts * q->n;
    return total <= MAX_CHOICES
               ? true
               : weir_openai_fail(
                     r, 400,
                     "Validation: Total choices (batch_size \xC3\x97 n = %zu \xC3\x97 %u = "
                     "%zu) exceeds maximum of 128",
                     q->n_prompts, q->n, total);
}

static bool check_best_of(struct weir_openai_reading *r) {
    const struct weir_sampling *s = &r->req->prep.sampling;
    if (s->best_of > 20)
        return weir_openai_fail(r, 400, "Validation: Best_of must be between 0 and 20, got %d",
                                s->best_of);
    if (s->best_of >= 0 && s->n >= 0 && s->best_of < s->n)
        return weir_openai_fail(
            r, 400,
            "Validation: Best_of must be greater than or equal to n, got best_of=%d and n=%d",
            s->best_of, s->n);
    return true;
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
    struct weir_strings *stop = &r->req->prep.stop.stop;
    size_t n_ids = r->req->prep.stop.stop_token_ids.n;
    if (r->stop_is_ids)
        return n_ids <= WEIR_OPENAI_MAX_STOPS ||
               weir_openai_fail(r, 400, "Maximum of %d stop token IDs allowed, got %zu",
                                WEIR_OPENAI_MAX_STOPS, n_ids);
    if (!stop->set)
        return true;
    if (r->stop_is_text && stop->items[0].len == 0)
        return weir_openai_fail(r, 400, "Validation: Stop sequence cannot be empty");
    if (stop->n == 0)
        return weir_openai_fail(r, 400, "Validation: Stop sequences array cannot be empty");
    if (stop->n > WEIR_OPENAI_MAX_STOPS)
        return weir_openai_fail(r, 400, "Maximum of %d stop sequences allowed, got %zu",
                                WEIR_OPENAI_MAX_STOPS, stop->n);
    for (size_t i = 0; i < stop->n; i++)
        if (stop->items[i].len == 0)
            return weir_openai_fail(r, 400,
                                    "Validation: Stop sequence at index %zu cannot be empty", i);
    return true;
}

static bool check_logit_bias(struct weir_openai_reading *r) {
    struct weir_json j;
    struct weir_json_str key;
    char room[WEIR_F32_TEXT], name[32];
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
        struct weir_span token = weir_json_short_text(key, name, sizeof(name));
        if (!weir_span_u64(token, &id) || id > UINT32_MAX)
            return weir_openai_fail(
                r, 400,
                "Validation: Logit bias key must be a non-negative 32-bit integer token id");
        if (weir_json_type_of(raw) != WEIR_JSON_NUMBER || !weir_span_f64(raw, &v)) {
            bool string = weir_raw_string(r, raw, &text);
            return weir_openai_fail(
                r, 400,
                "Validation: Logit bias value for token '%.*s' must be a number, got %s%.*s%s",
                WEIR_SPAN_ARG(token), string ? "String(\"" : "", WEIR_SPAN_ARG(string ? text : raw),
                string ? "\")" : "");
        }
        if (v < -100 || v > 100)
            return weir_openai_fail(r, 400,
                                    "Validation: Logit bias for token '%.*s' must be between "
                                    "-100 and 100, got %s",
                                    WEIR_SPAN_ARG(token), weir_f32_text(v, room));
    }
    return true;
}

bool weir_openai_check_length(struct weir_openai_reading *r, const char *name, int64_t n) {
    enum { MAX_OUTPUT_TOKENS = 1 << 20 };
    if (n == 0)
        return weir_openai_fail(r, 400, "Validation: Max %stokens must be greater than 0, got 0",
                                name);
    return n <= MAX_OUTPUT_TOKENS ||
           weir_openai_fail(r, 400, "Validation: Max %stokens must not exceed %d, got %lld", name,
                            MAX_OUTPUT_TOKENS, (long long)n);
}

static bool check_lengths(struct weir_openai_reading *r) {
    if (!weir_openai_check_length(r, "", r->max_tokens) ||
        !weir_openai_check_length(r, "completion ", r->max_completion_tokens))
        return false;
    int64_t max = r->max_completion_tokens > 0 ? r->max_completion_tokens : r->max_tokens;
    r->req->prep.stop.max_tokens = max;
    r->req->max_tokens_set = max > 0;
    return true;
}

static bool check_embeds(struct weir_openai_reading *r) {
    enum { MIN_BYTES = 100, MAX_BYTES = 10 << 20 };
    struct weir_span text = r->prompt_embeds;
    size_t digits = 0, pad = 0;
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
    if (bytes < MIN_BYTES)
        return weir_openai_fail(
            r, 400,
            "Validation: prompt_embeds decoded data must be at least 100 bytes, got %zu bytes",
            bytes);
    return bytes <= MAX_BYTES ||
           weir_openai_fail(
               r, 400,
               "Validation: prompt_embeds decoded data exceeds maximum size of 10MB, got %zu bytes",
               bytes);
}

static bool check_prompts(struct weir_openai_reading *r) {
    if (r->prompt_embeds.data != NULL ? !check_embeds(r) : !weir_openai_check_prompts(r))
        return false;
    return r->req->suffix.len <= MAX_SUFFIX ||
           weir_openai_fail(r, 400, "Validation: Suffix is too long, maximum 10000 characters");
}

static bool check_user(struct weir_openai_reading *r) {
    return !r->user_empty || weir_openai_fail(r, 400, "Validation: User ID cannot be empty");
}

static bool check_model(struct weir_openai_reading *r) {
    return r->blank_model || weir_span_trim(r->req->model).len > 0 ||
           weir_openai_fail(r, 400, "Validation: Model cannot be empty");
}

/* ---- template settings -------------------------------------------------------------------- */

static bool check_thinking(struct weir_openai_reading *r, int *ret_on) {
    struct weir_span type;
    *ret_on = -1;
    switch (r->thinking.data != NULL ? weir_json_type_of(r->thinking) : WEIR_JSON_NULL) {
    case WEIR_JSON_NULL:
        return true;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        *ret_on = weir_json_type_of(r->thinking) == WEIR_JSON_TRUE;
        return true;
    case WEIR_JSON_OBJECT:
        if (weir_json_member(r->thinking, "type", &type)) {
            bool off = weir_json_is(type, "disabled");
            if (off || weir_json_is(type, "enabled") || weir_json_is(type, "adaptive")) {
                *ret_on = weir_json_is(type, "adaptive") ? WEIR_OPENAI_ADAPTIVE : !off;
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

static bool is_control(struct weir_json_str key) {
    return weir_json_str_eqz(key, "thinking") || weir_json_str_eqz(key, "enable_thinking") ||
           weir_json_str_eqz(key, "thinking_mode");
}

/* What the template's own arguments say about thinking. */
struct thinking {
    bool any;              /* one of the three is there */
    int on;                /* thinking, else enable_thinking, where it is a boolean; else -1 */
    struct weir_span mode; /* raw, or NULL */
    struct weir_span effort;
};

static struct thinking given_thinking(struct weir_span args) {
    static const char *const toggles[] = {"thinking", "enable_thinking"};
    struct thinking t = {.on = -1};
    struct weir_span raw;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(toggles); i++) {
        if (!weir_json_member(args, toggles[i], &raw))
            continue;
        t.any = true;
        if (t.on < 0 && (weir_span_eqz(raw, "true") || weir_span_eqz(raw, "false")))
            t.on = weir_span_eqz(raw, "true");
    }
    t.any |= weir_json_member(args, "thinking_mode", &t.mode);
    if (weir_json_member(args, "reasoning_effort", &raw) &&
        weir_json_type_of(raw) != WEIR_JSON_NULL)
        t.effort = raw;
    return t;
}

/* The mode is this word, in whatever case. */
static bool is_mode(struct weir_span raw, const char *word) {
    struct weir_json j;
    struct weir_json_str s;
    char room[16];
    weir_json_init(&j, raw, 1);
    return weir_json_type_of(raw) == WEIR_JSON_STRING && weir_json_string(&j, &s) &&
           weir_span_ieq(weir_json_short_text(s, room, sizeof(room)), weir_span_z(word));
}

/* -1: nothing is decided. */
static int decide_thinking(const struct thinking *t, struct weir_span effort) {
    if (t->on >= 0)
        return t->on;
    if (is_mode(t->mode, "adaptive"))
        return -1;
    if (is_mode(t->mode, "enabled"))
        return 1;
    if (is_mode(t->mode, "disabled"))
        return 0;
    return effort.data != NULL && weir_json_type_of(effort) == WEIR_JSON_STRING
               ? !weir_json_is(effort, "none")
               : -1;
}

/* What a number or a word in the place of a boolean says; -1: nothing. `mode`: of thinking_mode,
 * where words may also say something else. */
static int loosely(struct weir_span raw, bool mode, struct weir_arena *arena) {
    static const char *const yes[] = {"true", "1", "yes", "on"};
    static const char *const no[] = {"false", "0", "no", "off"};
    struct weir_json j;
    struct weir_json_str s;
    double number;
    weir_json_init(&j, raw, 1);
    switch (weir_json_type_of(raw)) {
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        return weir_json_type_of(raw) == WEIR_JSON_TRUE;
    case WEIR_JSON_NUMBER:
        return weir_json_f64(&j, &number) ? number != 0 : -1;
    case WEIR_JSON_STRING:
        break;
    default:
        return -1;
    }
    if (!weir_json_string(&j, &s))
        return -1;
    struct weir_span text = weir_span_trim(weir_json_text(s, arena));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(yes); i++)
        if (weir_span_ieq(text, weir_span_z(yes[i])))
            return 1;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(no) && mode; i++)
        if (weir_span_ieq(text, weir_span_z(no[i])))
            return 0;
    return mode ? -1 : 0;
}

static int decide_loosely(struct weir_span args, struct weir_arena *arena) {
    static const char *const names[] = {"thinking", "enable_thinking", "thinking_mode"};
    struct weir_span raw;
    int on = -1;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names) && on < 0; i++)
        if (weir_json_member(args, names[i], &raw))
            on = loosely(raw, i == 2, arena);
    return on;
}

static void put_flags(struct weir_jsonw *w, int on) {
    weir_jsonw_key(w, "thinking");
    weir_jsonw_bool(w, on != 0);
    weir_jsonw_key(w, "enable_thinking");
    weir_jsonw_bool(w, on != 0);
}

static void put_thinking(struct weir_jsonw *w, int on, bool adaptive) {
    if (on >= 0)
        put_flags(w, on);
    if (on >= 0 || adaptive) {
        weir_jsonw_key(w, "thinking_mode");
        weir_jsonw_string_z(w, adaptive ? "adaptive" : on != 0 ? "enabled" : "disabled");
    }
}

/* Writes the arguments anew: the controls say one thing, whichever of them the client used. */
static bool merge_template_args(struct weir_openai_reading *r) {
    struct weir_span args = r->req->template_args, value;
    struct thinking t = given_thinking(args);
    bool adaptive = r->thinking_on == WEIR_OPENAI_ADAPTIVE;
    struct weir_span effort = r->reasoning_effort.data != NULL ? r->reasoning_effort : t.effort;
    if (r->thinking_on < 0 && effort.data == NULL && !t.any)
        return true;
    int on = adaptive ? -1 : r->thinking_on >= 0 ? r->thinking_on : decide_thinking(&t, effort);
    int loose = on < 0 && !adaptive ? decide_loosely(args, r->arena) : -1;
    struct weir_buf out;
    struct weir_jsonw w;
    struct weir_json j;
    struct weir_json_str key;
    weir_buf_init(&out, args.len + 512);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_json_init(&j, args, WEIR_OPENAI_DEPTH);
    if (args.data != NULL && weir_json_object_enter(&j)) {
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
            bool flag = is_control(key) && !weir_json_str_eqz(key, "thinking_mode");
            bool replaced = ((on >= 0 || adaptive) && is_control(key)) || (loose >= 0 && flag) ||
                            (effort.data != NULL && weir_json_str_eqz(key, "reasoning_effort"));
            if (replaced)
                continue;
            struct weir_span name = weir_json_text(key, r->arena);
            if (name.data == NULL)
                w.status = WEIR_NOMEM;
            weir_jsonw_key_span(&w, name);
            weir_jsonw_raw(&w, value);
        }
    }
    put_thinking(&w, on, adaptive);
    if (loose >= 0)
        put_flags(&w, loose);
    if (effort.data != NULL) {
        weir_jsonw_key(&w, "reasoning_effort");
        weir_jsonw_raw(&w, effort);
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
    const struct weir_span own_json = r->guided[0];
    r->guided[0] = weir_span(NULL, 0);
    weir_openai_guide_by_format(r);
    r->req->formatted = r->guided[0].data != NULL;
    r->req->guided_by_format = r->req->formatted && own_json.data == NULL;
    if (own_json.data != NULL)
        r->guided[0] = own_json;
    /* No constraint, but passed on beside one. */
    bool no_choice = weir_raw_is_empty_list(r->guided[2]);
    weir_buf_init(&list, 128);
    weir_buf_init(&out, r->body.len + 512);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    for (int i = 0; i < 4; i++)
        if (r->guided[i].data != NULL) {
            if (!(i == 2 && no_choice) &&
                weir_buf_printf(&list, "%s%s", n++ > 0 ? ", " : "", names[i]) != WEIR_OK)
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

static bool place_cache_salt(struct weir_openai_reading *r) {
    /* An empty one is none. */
    if (r->cache_salt.len > 0) {
        r->req->cache_salt = r->req->prep.routing.cache_salt = r->cache_salt;
        r->req->prep.routing.set = true;
    }
    return weir_openai_put_extra_args(r->req, r->arena) == WEIR_OK || weir_openai_nomem(r);
}

static void apply_ignore_eos(struct weir_openai_request *q) {
    if (q->prep.stop.ignore_eos != 1)
        return;
    q->prep.stop.stop = (struct weir_strings){0};
    q->prep.stop.stop_token_ids = (struct weir_ids){0};
}

bool weir_openai_validate_first(struct weir_openai_reading *r) {
    int thinking;
    if (r->kind == WEIR_OPENAI_CHAT) {
        if (!check_thinking(r, &thinking))
            return false;
        r->thinking_on = thinking;
        if (r->function_call.data != NULL || r->functions.data != NULL)
            return weir_openai_fail(
                r, 501, "Validation: `%s` is deprecated. Please migrate to use `%s` instead.",
                r->function_call.data != NULL ? "function_call" : "functions",
                r->function_call.data != NULL ? "tool_choice" : "tools");
        if (weir_raw_is_empty_list(r->req->messages))
            return weir_openai_fail(
                r, 400,
                "Validation: The 'messages' field cannot be empty. At least one message "
                "is required.");
    }
    return r->stream_options.data == NULL || r->req->stream ||
           weir_openai_fail(
               r, 400,
               "Validation: The 'stream_options' field is only allowed when 'stream' is "
               "set to true.");
}

static bool check_template_args(struct weir_openai_reading *r) {
    struct weir_span ignored;
    return r->req->template_args.data == NULL ||
           !weir_json_member(r->req->template_args, "chat_template", &ignored) ||
           weir_openai_fail(
               r, 400, "Validation: `chat_template` is not supported inside `chat_template_args`");
}

static bool check_continuation(struct weir_openai_reading *r) {
    return !r->req->continue_final_message || !r->req->add_generation_prompt ||
           weir_openai_fail(r, 400,
                            "Validation: Cannot set both `continue_final_message` and "
                            "`add_generation_prompt` to True.");
}

static bool check_chat_only(struct weir_openai_reading *r) {
    return !r->chat_only ||
           weir_openai_fail(r, 400,
                            "Validation: `add_generation_prompt` and `continue_final_message` are "
                            "only supported on /v1/chat/completions");
}

typedef bool (*check_fn)(struct weir_openai_reading *r);

static bool run(struct weir_openai_reading *r, const check_fn *checks) {
    while (*checks != NULL)
        if (!(*checks++)(r))
            return false;
    return true;
}

bool weir_openai_validate(struct weir_openai_reading *r) {
    static const check_fn chat[] = {build_guided,
                                    check_template_args,
                                    weir_openai_check_messages,
                                    check_model,
                                    check_frequency,
                                    check_logit_bias,
                                    check_logprobs,
                                    check_lengths,
                                    check_n,
                                    check_presence,
                                    weir_openai_check_response_format,
                                    check_stop,
                                    check_temperature,
                                    weir_openai_check_tools,
                                    check_user,
                                    check_common,
                                    check_continuation,
                                    merge_template_args,
                                    NULL};
    static const check_fn completion[] = {build_guided,
                                          check_model,
                                          check_prompts,
                                          check_lengths,
                                          check_temperature,
                                          check_n,
                                          check_logprobs,
                                          check_stop,
                                          check_presence,
                                          check_frequency,
                                          check_best_of,
                                          check_logit_bias,
                                          check_user,
                                          check_common,
                                          check_total,
                                          check_chat_only,
                                          NULL};
    struct weir_openai_request *q = r->req;
    if (!run(r, r->kind == WEIR_OPENAI_CHAT ? chat : completion) || !place_cache_salt(r))
        return false;
    if (r->greedy)
        q->prep.sampling.temperature = 0;
    apply_ignore_eos(q);
    return true;
}
