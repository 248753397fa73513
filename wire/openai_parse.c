/*
 * Body → members → typed fields (openai_fields.c) → bounds (openai_validate.c). The reference
 * system buffers the members of the request first, so type errors are reported at the end of the
 * body; syntax errors and errors inside `nvext` are reported where they are.
 */
#include "wire/anthropic_priv.h"
#include "wire/openai_embeddings_priv.h"
#include "wire/openai_responses_priv.h"

#include <math.h>
#include <string.h>

/* ---- members ------------------------------------------------------------------------------ */

/* The body's members; those of the reader's own are read on the way. */
static bool collect(struct weir_openai_body *x, struct weir_member *members, size_t *ret_n,
                    struct weir_json *ret_json) {
    struct weir_openai_reading *r = &x->r;
    struct weir_json *j = ret_json;
    const char *name = r->kind == WEIR_OPENAI_CHAT ? "struct NvCreateChatCompletionRequest"
                                                   : "struct NvCreateCompletionRequest";
    size_t n = 0;
    if (!weir_openai_enter(r, name, j))
        return false;
    while (weir_json_object_next(j, &members[n].key)) {
        if (!weir_openai_read_fitting(x, &members[n], j) && !weir_json_skip(j, &members[n].raw))
            break;
        if (!weir_openai_read_own(x, &members[n]))
            return false;
        if (!weir_openai_may_have(r, ++n))
            return false;
    }
    *ret_n = n;
    return weir_openai_leave(r, j);
}

/* ---- from values to the request ----------------------------------------------------------- */

static void values_init(struct weir_openai_values *v) {
    *v = (struct weir_openai_values){.temperature = NAN,
                                     .top_p = NAN,
                                     .min_p = NAN,
                                     .frequency_penalty = NAN,
                                     .presence_penalty = NAN,
                                     .repetition_penalty = NAN,
                                     .n = -1,
                                     .best_of = -1,
                                     .max_tokens = -1,
                                     .max_completion_tokens = -1,
                                     .min_tokens = -1,
                                     .top_logprobs = -1,
                                     .comp_logprobs = -1,
                                     .prompt_logprobs = -1,
                                     .thinking_budget = -1,
                                     .parallel_tool_calls = true,
                                     .add_generation_prompt = true};
}

static void place_values(struct weir_openai_body *x) {
    const struct weir_openai_values *v = &x->v;
    struct weir_openai_request *q = x->r.req;
    struct weir_sampling *s = &q->prep.sampling;
    s->temperature = v->temperature;
    s->top_p = v->top_p;
    s->min_p = v->min_p;
    s->frequency_penalty = v->frequency_penalty;
    s->presence_penalty = v->presence_penalty;
    s->repetition_penalty = v->repetition_penalty;
    s->n = (int)v->n;
    s->best_of = (int)v->best_of;
    s->has_seed = v->has_seed;
    s->seed = v->seed;
    s->has_top_k = v->has_top_k;
    s->top_k = v->top_k == 0 ? -1 : (int32_t)v->top_k; /* both: all tokens; engines know -1 */
    s->include_stop_str_in_output = v->has_include_stop ? v->include_stop : -1;
    x->r.max_tokens = v->max_tokens;
    x->r.max_completion_tokens = v->max_completion_tokens;
    q->prep.stop.min_tokens = v->min_tokens;
    if (v->thinking_budget >= 0)
        q->prep.stop.max_thinking_tokens = v->thinking_budget;
    q->prep.stop.ignore_eos = v->has_ignore_eos ? v->ignore_eos : -1;
    q->prep.output.prompt_logprobs = v->prompt_logprobs;
    q->n = v->n < 0 ? 1 : (unsigned)v->n;
    q->stream = v->stream;
    q->logprobs = v->logprobs || v->comp_logprobs >= 0;
    q->top_logprobs = (int)(x->r.kind == WEIR_OPENAI_CHAT ? v->top_logprobs : v->comp_logprobs);
    q->parallel_tool_calls = v->parallel_tool_calls;
    q->add_generation_prompt = v->add_generation_prompt;
    q->continue_final_message = v->continue_final_message;
    q->prep.output.skip_special_tokens = v->has_skip_special_tokens ? v->skip_special_tokens : -1;
    /* Without a number of alternatives: the likeliest, as the reference system asks. */
    if (q->logprobs)
        q->prep.output.logprobs = q->top_logprobs >= 0 ? q->top_logprobs : 1;
}

static enum weir_status read_translated(struct weir_openai_reading *r,
                                        const struct weir_openai_rules *rules, bool *ret_syntax,
                                        bool *ret_unread);

static enum weir_status parse_once(enum weir_openai_kind kind, struct weir_span body,
                                   const struct weir_openai_rules *rules, struct weir_arena *arena,
                                   struct weir_openai_request *req, struct weir_openai_error *error,
                                   bool *ret_syntax, bool *ret_unread) {
    struct weir_openai_body x = {.r = {.kind = kind,
                                       .body = body,
                                       .arena = arena,
                                       .req = req,
                                       .error = error,
                                       .max_tokens = -1,
                                       .max_completion_tokens = -1,
                                       .any_strict_tool = rules->any_strict_tool,
                                       .drop_nvext = rules->drop_nvext,
                                       .blank_model = rules->blank_model}};
    struct weir_member members[WEIR_OPENAI_MAX_MEMBERS]; /* 12 KiB */
    struct weir_json j;
    size_t n = 0;
    *ret_syntax = *ret_unread = false;
    *req = (struct weir_openai_request){.kind = kind, .detokenize = -1};
    weir_prep_request_init(&req->prep);
    if (kind != WEIR_OPENAI_CHAT && kind != WEIR_OPENAI_COMPLETION &&
        kind != WEIR_OPENAI_EMBEDDINGS)
        return read_translated(&x.r, rules, ret_syntax, ret_unread);
    values_init(&x.v);
    if (kind == WEIR_OPENAI_EMBEDDINGS) {
        bool read = weir_openai_read_embeddings(&x.r, rules);
        *ret_syntax = x.r.syntax;
        *ret_unread = x.r.unread;
        return x.r.nomem ? WEIR_NOMEM : read ? WEIR_OK : WEIR_INVALID;
    }
    bool ok = collect(&x, members, &n, &j) && weir_openai_read_members(&x, members, n);
    if (ok && !weir_json_finish(&j))
        ok = weir_openai_fail_syntax(&x.r, &j);
    *ret_syntax = x.r.syntax;
    *ret_unread = x.r.unread;
    if (ok) {
        place_values(&x);
        ok = weir_openai_validate_first(&x.r) && weir_openai_read_extras(&x, rules, members, n) &&
             weir_openai_validate(&x.r);
    }
    if (x.r.nomem)
        return WEIR_NOMEM;
    return ok ? WEIR_OK : error->http_status == 501 ? WEIR_UNSUPPORTED : WEIR_INVALID;
}

/* Translated, then read as what it has become. */
static enum weir_status read_translated(struct weir_openai_reading *r,
                                        const struct weir_openai_rules *rules, bool *ret_syntax,
                                        bool *ret_unread) {
    const struct weir_responses_echo *echo = NULL;
    struct weir_span chat = {NULL, 0};
    bool responses = r->kind == WEIR_OPENAI_RESPONSES, ignored[2];
    struct weir_openai_rules of_chat = *rules;
    of_chat.blank_model = !responses; /* as in the reference system */
    bool ok = responses
                  ? weir_responses_to_chat(r, rules, &chat, &echo)
                  : weir_messages_to_chat(r, rules, r->kind == WEIR_OPENAI_MESSAGES_COUNT, &chat);
    *ret_syntax = r->syntax;
    *ret_unread = r->unread;
    if (r->nomem)
        return WEIR_NOMEM;
    if (!ok)
        return r->error->http_status == 501 ? WEIR_UNSUPPORTED : WEIR_INVALID;
    enum weir_status st = parse_once(WEIR_OPENAI_CHAT, chat, &of_chat, r->arena, r->req, r->error,
                                     &ignored[0], &ignored[1]);
    if (st != WEIR_OK && st != WEIR_NOMEM && !responses)
        weir_messages_reword(r->error);
    else if (st == WEIR_INVALID && !weir_responses_reword(r->error, r->arena))
        return WEIR_NOMEM;
    r->req->responses = echo;
    r->req->chat = chat;
    if (st == WEIR_OK && !responses) {
        r->req->wants_stop_reason = true;
        st = weir_openai_put_extra_args(r->req, r->arena);
    }
    return st;
}

/* ---- repairs ------------------------------------------------------------------------------ */

/* Escapes raw control characters inside strings, or (utf8) replaces ill-formed bytes by U+FFFD.
 * data NULL: nothing to mend, or no memory. */
static struct weir_span mend(struct weir_span body, bool utf8, struct weir_arena *arena) {
    struct weir_buf out;
    weir_buf_init(&out, body.len * 6 + 16);
    bool in_string = false, changed = false;
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < body.len && st == WEIR_OK; i++) {
        unsigned char c = (unsigned char)body.data[i];
        if (!utf8 && in_string && c < 0x20) {
            st = weir_buf_printf(&out, "\\u%04x", c);
            changed = true;
            continue;
        }
        if (utf8 && c >= 0x80) {
            /* A string of just these bytes is well-formed exactly when they are. */
            size_t n = 2;
            for (; n <= 4 && i + n <= body.len; n++) {
                char probe[6] = {'"'};
                memcpy(probe + 1, body.data + i, n);
                probe[1 + n] = '"';
                struct weir_json j;
                struct weir_json_str s;
                weir_json_init(&j, weir_span(probe, n + 2), 2);
                if (weir_json_string(&j, &s) && weir_json_finish(&j))
                    break;
            }
            bool whole = n <= 4 && i + n <= body.len;
            st = whole ? weir_buf_append(&out, body.data + i, n)
                       : weir_buf_append(&out, "\xEF\xBF\xBD", 3);
            changed |= !whole;
            i += whole ? n - 1 : 0;
            continue;
        }
        st = weir_buf_append_c(&out, (char)c);
        if (c == '\\' && in_string && i + 1 < body.len && st == WEIR_OK &&
            (unsigned char)body.data[i + 1] >= 0x20)
            st = weir_buf_append_c(&out, body.data[++i]);
        else if (c == '"')
            in_string = !in_string;
    }
    struct weir_span mended = {NULL, 0};
    if (st == WEIR_OK && changed)
        mended = weir_arena_copy(arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return mended;
}

enum weir_status weir_openai_parse(enum weir_openai_kind kind, struct weir_span body,
                                   const struct weir_openai_rules *rules, struct weir_arena *arena,
                                   struct weir_openai_request *ret_req,
                                   struct weir_openai_error *ret_error) {
    struct weir_openai_error first = {0}, later;
    bool syntax, unread;
    enum weir_status st = parse_once(kind, body, rules, arena, ret_req, &first, &syntax, &unread);
    struct weir_span text = body;
    bool still_syntax;
    for (int utf8 = 0; utf8 < 2 && st == WEIR_INVALID && syntax; utf8++) {
        struct weir_span mended = mend(text, utf8 == 1, arena);
        if (mended.data == NULL)
            continue;
        text = mended;
        enum weir_status again =
            parse_once(kind, text, rules, arena, ret_req, &later, &still_syntax, &unread);
        if (!unread) { /* else the first fault stands */
            ret_req->repaired = true;
            st = again;
            first = later;
            syntax = false;
        }
    }
    if (st != WEIR_OK)
        *ret_error = first;
    return st;
}
