/*
 * From worker items to the client's bytes: decode, look for stops, write chunks or gather the text.
 * Chunks of one item leave in one write; the HTTP server joins the writes of one loop turn.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "frontend/request_priv.h"

#include <stdio.h>
#include <string.h>

static const char *finish_word(enum weir_finish f) {
    switch (f) {
    case WEIR_FINISH_LENGTH:
        return "length";
    case WEIR_FINISH_CONTENT_FILTER:
        return "content_filter";
    default:
        return "stop";
    }
}

void weir_output_init_choice(struct weir_choice *c, unsigned index) {
    c->index = index;
    c->stop_index = -1;
    c->stop_id = -1;
    weir_buf_init(&c->text, WEIR_OUT_MAX);
    weir_logprob_lists_init(&c->logprobs, WEIR_OUT_MAX);
    weir_buf_init(&c->frame_bytes, WEIR_OUT_MAX);
}

void weir_output_destroy_choice(struct weir_choice *c) {
    wtok_stop_destroy(c->stop);
    weir_parsed_destroy(c->parsed);
    weir_buf_fini(&c->text);
    weir_logprob_lists_fini(&c->logprobs);
    weir_buf_fini(&c->frame_bytes);
}

static void add_reasoning(struct weir_usage *u, const struct weir_parsed *p) {
    uint64_t n = 0;
    u->has_reasoning_tokens |= p != NULL && weir_parsed_reasoning_tokens(p, &n);
    u->reasoning_tokens += n;
}

static struct weir_usage usage_of(const struct weir_request *r) {
    struct weir_usage u = {.cached_tokens = -1};
    for (size_t i = 0; i < r->n_legs; i++) {
        const struct weir_leg *leg = &r->legs[i];
        /* The worker's count of the prompt, where it has one: it may see more than tokens. */
        u.prompt_tokens += leg->counted_prompt >= 0 ? (uint64_t)leg->counted_prompt : leg->prompt.n;
        u.completion_tokens += leg->n_tokens;
        for (unsigned k = 0; k < leg->n_choices; k++)
            add_reasoning(&u, leg->choices[k].parsed);
        if (leg->cached_tokens >= 0)
            u.cached_tokens = (u.cached_tokens > 0 ? u.cached_tokens : 0) + leg->cached_tokens;
        u.has_audio_tokens |= leg->audio_tokens >= 0;
        u.audio_tokens += leg->audio_tokens >= 0 ? (uint64_t)leg->audio_tokens : 0;
    }
    if (r->n_legs == 1)
        u.completion_details = r->legs[0].completion_details;
    return u;
}

/* ---- the stream's frame of the client ------------------------------------------------------- */

void weir_output_flush(struct weir_request *r) {
    if (r->out.len == 0)
        return;
    enum weir_status st = weir_http_stream_write(r->x, weir_buf_span(&r->out));
    weir_buf_clear(&r->out);
    if (st != WEIR_OK) {
        weir_http_abort(r->x, "the client reads too slowly");
        return;
    }
    if (!r->paused && !weir_http_stream_writable(r->x)) {
        r->paused = true;
        for (size_t i = 0; i < r->n_legs; i++)
            if (r->legs[i].call != NULL)
                weir_plane_call_pause(r->legs[i].call);
            else if (r->legs[i].relay != NULL)
                weir_relay_pause(r->legs[i].relay, true);
    }
}

static enum weir_status put_annotation(struct weir_request *r, struct weir_span name,
                                       const struct weir_buf *json) {
    struct weir_span comment = weir_buf_span(json);
    return weir_answer_annotation(name, &comment, 1, &r->out);
}

static enum weir_status put_annotations(struct weir_request *r) {
    struct weir_buf json;
    struct weir_jsonw w;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&json, WEIR_OUT_MAX);
    if ((r->q.extras & WEIR_ANNOTATE_REQUEST_ID) != 0) {
        weir_jsonw_init(&w, &json);
        weir_jsonw_string_z(&w, r->uuid);
        st = put_annotation(r, WEIR_SPAN_LIT("request_id"), &json);
    }
    if (st == WEIR_OK && r->formatted_prompt.data != NULL) {
        weir_buf_clear(&json);
        weir_jsonw_init(&w, &json);
        weir_jsonw_string(&w, r->formatted_prompt);
        st = put_annotation(r, WEIR_SPAN_LIT("formatted_prompt"), &json);
    }
    if (st == WEIR_OK && (r->q.extras & WEIR_ANNOTATE_TOKEN_IDS) != 0) {
        struct weir_buf list;
        weir_buf_init(&list, WEIR_OUT_MAX);
        weir_jsonw_init(&w, &list);
        weir_jsonw_array_begin(&w);
        for (size_t i = 0; i < r->legs[0].prompt.n; i++)
            weir_jsonw_u64(&w, r->legs[0].prompt.ids[i]);
        weir_jsonw_array_end(&w);
        weir_buf_clear(&json);
        weir_jsonw_init(&w, &json);
        weir_jsonw_string(&w, weir_buf_span(&list));
        weir_buf_fini(&list);
        st = put_annotation(r, WEIR_SPAN_LIT("token_ids"), &json);
    }
    weir_buf_fini(&json);
    return st;
}

enum weir_status weir_output_commit(struct weir_request *r) {
    if (r->committed)
        return WEIR_OK;
    r->committed = true;
    weir_front_sse_begin(r->x);
    enum weir_status st =
        weir_request_is_translated(r) ? weir_output_translated_begin(r) : put_annotations(r);
    weir_output_flush(r);
    return st;
}

enum weir_status weir_output_annotation(struct weir_leg *leg, const struct weir_output *item) {
    struct weir_request *r = leg->request;
    if (r->x == NULL || !r->q.stream || weir_request_is_translated(r) || item->event.len == 0)
        return WEIR_OK;
    enum weir_status st = weir_output_commit(r);
    if (st == WEIR_OK)
        st = weir_answer_annotation(item->event, item->comment.items, item->comment.n, &r->out);
    weir_output_flush(r);
    return st;
}

/* ---- one item ---------------------------------------------------------------------------------
 */

/* Items that came together: counted once for all. */
void weir_output_count_tokens(struct weir_leg *leg) {
    const struct weir_front_model_metrics *m = &weir_model_info(leg->request->model)->metrics;
    if (leg->n_uncounted > 0)
        weir_metric_add(m->output_total, (double)leg->n_uncounted);
    if (leg->n_gapless > 0)
        weir_metric_observe_n(m->itl, 0, leg->n_gapless);
    leg->n_uncounted = leg->n_gapless = 0;
}

void weir_output_observe(struct weir_leg *leg, size_t n) {
    struct weir_request *r = leg->request;
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    if (n == 0)
        return;
    uint64_t now = weir_loop_event_ns(r->fl->loop);
    if (now != leg->last_token_ns)
        weir_output_count_tokens(leg);
    leg->n_uncounted += n;
    if (r->first_token_ns == 0) {
        r->first_token_ns = now;
        weir_metric_observe(m->ttft, (double)(now - r->start_ns) / 1e9);
        weir_metric_dec(m->queued);
        r->queued = false;
    } else if (now == leg->last_token_ns) {
        r->itl_n += n;
        leg->n_gapless += n;
    } else if (leg->last_token_ns > 0) {
        double gap = (double)(now - leg->last_token_ns) / 1e9 / (double)n;
        r->itl_sum += gap * (double)n;
        r->itl_n += n;
        weir_metric_observe_n(m->itl, gap, n);
    }
    leg->last_token_ns = now;
    leg->n_tokens += n;
}

void weir_output_decode_ended(struct weir_leg *leg, uint64_t begin, size_t n) {
    if (begin == 0 || n == 0)
        return;
    leg->decode_ns += weir_now_ns() - begin;
    leg->n_decoded += (uint32_t)n;
}

bool weir_output_listed(struct weir_ids list, uint32_t id) {
    for (size_t i = 0; i < list.n; i++)
        if (list.ids[i] == id)
            return true;
    return false;
}

/* Decodes the item's tokens into `piece`; *ret_finish is set when a stop of ours ended the choice,
 * *ret_n to the number of tokens that belong to the answer. */
static enum weir_status decode(struct weir_leg *leg, struct weir_choice *c,
                               const struct weir_output *item, struct weir_buf *piece,
                               const char **ret_finish, size_t *ret_n) {
    const struct weir_stop_conditions *stop = &leg->request->q.prep.stop;
    struct weir_buf text;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&text, WEIR_OUT_MAX);
    size_t i = 0;
    for (; i < item->token_ids.n && st == WEIR_OK && *ret_finish == NULL; i++) {
        uint32_t id = item->token_ids.ids[i];
        bool checks = stop->min_tokens < 0 || c->n_tokens + 1 > (uint64_t)stop->min_tokens;
        c->n_tokens++;
        /* An engine that gives the text knows which of its ids end the answer. */
        if (item->text.data != NULL)
            continue;
        /* The text of an id that ends the answer is not shown. */
        if (checks && weir_output_listed(stop->stop_token_ids_hidden, id)) {
            *ret_finish = "stop";
            continue;
        }
        if (checks && weir_output_listed(stop->stop_token_ids, id)) {
            c->stop_id = id;
            *ret_finish = "stop";
            continue;
        }
        weir_buf_clear(&text);
        /* Engines pad their vocabulary: an id that the tokenizer does not know has no text.
         * Without stop strings nothing looks at it before the client does. */
        if (id < wtok_vocab_size(c->decoder.tok))
            st = wtok_stream_push(&c->decoder, id, c->stop != NULL ? &text : piece);
        if (st == WEIR_OK && c->stop != NULL && checks) {
            int matched = -1;
            st = wtok_stop_push(c->stop, weir_buf_span(&text), piece, &matched);
            if (matched >= 0) {
                c->stop_index = matched;
                *ret_finish = "stop";
            }
        } else if (st == WEIR_OK && text.len > 0) {
            st = weir_buf_append_span(piece, weir_buf_span(&text));
        }
    }
    *ret_n = i;
    if (st == WEIR_OK && item->text.data != NULL) {
        int matched = -1;
        bool checks = stop->min_tokens < 0 || c->n_tokens > (uint64_t)stop->min_tokens;
        st = c->stop != NULL && checks ? wtok_stop_push(c->stop, item->text, piece, &matched)
                                       : weir_buf_append_span(piece, item->text);
        if (matched >= 0) {
            c->stop_index = matched;
            *ret_finish = "stop";
        }
    }
    weir_buf_fini(&text);
    return st;
}

/* What was withheld comes out when nothing follows. */
static enum weir_status drain(struct weir_choice *c, struct weir_buf *piece) {
    struct weir_buf rest;
    weir_buf_init(&rest, 64);
    enum weir_status st = wtok_stream_finish(&c->decoder, &rest);
    if (st == WEIR_OK && c->stop != NULL) {
        int ignored;
        st = wtok_stop_push(c->stop, weir_buf_span(&rest), piece, &ignored);
        if (st == WEIR_OK)
            st = wtok_stop_finish(c->stop, piece);
    } else if (st == WEIR_OK) {
        st = weir_buf_append_span(piece, weir_buf_span(&rest));
    }
    weir_buf_fini(&rest);
    return st;
}

static enum weir_status bytes_of(void *arg, uint32_t id, struct weir_buf *out) {
    const struct wtok *tok = arg;
    return id < wtok_vocab_size(tok) ? wtok_id_bytes(tok, id, out) : WEIR_OK;
}

static bool is_text_only(const struct weir_answer_piece *p) {
    return p->has_text && !p->role && p->reasoning.data == NULL && p->call == NULL &&
           p->finish_reason == NULL && p->logprobs.data == NULL && p->nvext.data == NULL &&
           p->usage == NULL;
}

/* Nearly all chunks of a stream are text between the same bytes. */
static enum weir_status put_chunk(struct weir_request *r, const struct weir_answer_head *head,
                                  struct weir_choice *c, const struct weir_answer_piece *p) {
    if (!is_text_only(p))
        return weir_answer_chunk(head, p, &r->out);
    enum weir_status st = WEIR_OK;
    if (c->frame_bytes.len == 0)
        st = weir_answer_prepare(head, c->index, &c->frame_bytes, &c->frame);
    return st == WEIR_OK ? weir_answer_text_chunk(&c->frame, p->text, &r->out) : st;
}

enum weir_status weir_output_put(struct weir_leg *leg, struct weir_choice *c,
                                 struct weir_answer_piece *p) {
    struct weir_request *r = leg->request;
    struct weir_usage usage = usage_of(r);
    char id[80];
    struct weir_answer_head head = r->head;
    p->index = c->index;
    p->role = !c->role_sent && (p->has_text || p->reasoning.data != NULL || p->call != NULL ||
                                p->finish_reason != NULL || weir_request_only_asks(r));
    p->nvext = !weir_request_is_translated(r) &&
                       (r->q.extras & (WEIR_EXTRAS | WEIR_ANNOTATE_QUERY_INSTANCE)) != 0
                   ? weir_output_nvext(r, leg, c, p->finish_reason != NULL)
                   : weir_span(NULL, 0);
    p->usage = r->q.include_usage && r->q.continuous_usage ? &usage : NULL;
    struct weir_buf logprobs;
    weir_buf_init(&logprobs, WEIR_OUT_MAX);
    enum weir_status st = WEIR_OK;
    if (weir_logprob_lists_any(&c->logprobs)) {
        st = weir_logprob_lists_json(&c->logprobs, r->q.kind, &logprobs);
        p->logprobs = weir_buf_span(&logprobs);
    }
    c->role_sent |= p->role;
    if (r->warms && p->has_text)
        r->warms = weir_buf_append_span(&r->said, p->text) == WEIR_OK;
    if (r->n_legs > 1) { /* a streamed batch: each prompt has an id of its own */
        int n = snprintf(id, sizeof(id), "%s-%zu", r->id, (size_t)(leg - r->legs));
        head.id = weir_span(id, (size_t)n);
    }
    if (st == WEIR_OK)
        st = weir_output_commit(r);
    if (st == WEIR_OK)
        st = weir_request_is_translated(r) ? weir_output_translated_piece(r, p)
                                           : put_chunk(r, &head, c, p);
    weir_logprob_lists_clear(&c->logprobs);
    weir_buf_fini(&logprobs);
    return st;
}

enum weir_status weir_output_choice_made(struct weir_leg *leg) {
    struct weir_answer_piece p = {.has_text = leg->request->q.kind == WEIR_OPENAI_COMPLETION,
                                  .text = WEIR_SPAN_LIT("")};
    enum weir_status st = weir_output_put(leg, &leg->choices[0], &p);
    if (st == WEIR_OK)
        weir_output_flush(leg->request);
    return st;
}

enum weir_status weir_output_piece(struct weir_leg *leg, struct weir_choice *c,
                                   struct weir_span text) {
    struct weir_answer_piece p = {
        .has_text = text.len > 0, .text = text, .finish_reason = c->finish};
    /* Nothing to say: a character that is still assembling, or text that may become a stop. */
    if (text.len == 0 && c->finish == NULL)
        return WEIR_OK;
    return weir_output_put(leg, c, &p);
}

/* `over`: nothing follows, with or without a finish reason. */
static enum weir_status give_out(struct weir_leg *leg, struct weir_choice *c, bool over) {
    enum weir_status st = WEIR_OK;
    if (c->parsed != NULL)
        return weir_parsed_give(leg, c, over);
    if (leg->request->q.stream) {
        st = weir_output_piece(leg, c, weir_buf_span(&c->text));
        weir_buf_clear(&c->text);
    }
    return st;
}

/* What the worker tells about itself and its count; text is copied, the item's is gone after it. */
static enum weir_status take_facts(struct weir_leg *leg, struct weir_choice *c,
                                   const struct weir_output *item) {
    struct weir_request *r = leg->request;
    struct {
        struct weir_span from, *to;
        uint32_t asked;
    } texts[] = {{item->stop_reason, &c->worker_reason, WEIR_EXTRA_STOP_REASON},
                 {item->engine_data, &leg->engine_data,
                  WEIR_EXTRA_ENGINE_DATA | WEIR_EXTRA_PROMPT_LOGPROBS | WEIR_EXTRA_ROUTED_EXPERTS},
                 {item->completion_details, &leg->completion_details, UINT32_MAX}};
    if (item->cached_tokens >= 0 && leg->cached_tokens < 0) {
        weir_metric_observe(weir_model_info(r->model)->metrics.cached_tokens,
                            (double)item->cached_tokens);
        if (leg->routed && item->cached_tokens > 0)
            weir_metric_add(weir_model_info(r->model)->metrics.routed_reused,
                            (double)item->cached_tokens);
    }
    /* The last count is the whole one; behind a move it is that of a longer prompt. */
    if (item->cached_tokens >= 0 &&
        (leg->cached_tokens < 0 || (leg->moves == 0 && !leg->cached_by_prefill)))
        leg->cached_tokens = item->cached_tokens;
    if (item->audio_tokens >= 0)
        leg->audio_tokens = item->audio_tokens;
    if (item->prompt_tokens >= 0 && leg->moves == 0)
        leg->counted_prompt = item->prompt_tokens;
    leg->fresh_data |= item->engine_data.data != NULL;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++) {
        if (texts[i].from.data == NULL ||
            (texts[i].asked != UINT32_MAX && (r->q.extras & texts[i].asked) == 0))
            continue;
        *texts[i].to = weir_arena_copy(&r->arena, texts[i].from);
        if (texts[i].to->data == NULL)
            return WEIR_NOMEM;
    }
    return WEIR_OK;
}

static struct weir_choice *choice_of(struct weir_leg *leg, const struct weir_output *item) {
    int64_t index = item->index < 0 ? 0 : item->index;
    return index < (int64_t)leg->n_choices ? &leg->choices[index] : NULL;
}

static void read_by_nobody(struct weir_leg *leg, struct weir_choice *c,
                           const struct weir_output *item) {
    leg->n_open -= c->finish == NULL && item->finish != WEIR_FINISH_NONE;
    if (c->finish == NULL && item->finish != WEIR_FINISH_NONE)
        c->finish = finish_word(item->finish);
}

enum weir_status weir_output_item(struct weir_leg *leg, const struct weir_output *item) {
    struct weir_request *r = leg->request;
    struct weir_choice *c = choice_of(leg, item);
    const char *finish = NULL;
    size_t n = 0;
    if (c == NULL)
        return WEIR_PROTOCOL;
    if (r->x == NULL) {
        read_by_nobody(leg, c, item);
        return WEIR_OK;
    }
    enum weir_status st = take_facts(leg, c, item);
    if (st != WEIR_OK || c->finish != NULL)
        return st; /* the worker has not heard of our stop yet */
    uint64_t begin = weir_output_decode_begins(c, item->token_ids.n);
    st = decode(leg, c, item, &c->text, &finish, &n);
    weir_output_decode_ended(leg, begin, n);
    weir_output_observe(leg, n);
    weir_leg_keep_ids(leg, (struct weir_ids){item->token_ids.ids, n});
    if (finish == NULL && item->finish != WEIR_FINISH_NONE)
        finish = finish_word(item->finish);
    if (st == WEIR_OK && finish != NULL && c->stop_index < 0)
        st = drain(c, &c->text);
    if (st != WEIR_OK)
        return st;
    c->finish = finish;
    leg->n_open -= finish != NULL;
    const struct weir_logprob_names names = {.bytes_of = bytes_of,
                                             .arg = (void *)(uintptr_t)c->decoder.tok,
                                             .as_ids = r->q.return_tokens_as_token_ids};
    if (r->q.logprobs && item->logprobs != NULL)
        st = weir_logprob_lists_add(&c->logprobs, r->q.kind, item, n, r->q.top_logprobs, &names);
    if (st == WEIR_OK)
        st = give_out(leg, c, finish != NULL);
    if (r->q.stream && st == WEIR_OK)
        weir_output_flush(r);
    return st;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void finish_stream(struct weir_request *r) {
    enum weir_status st = weir_output_commit(r);
    struct weir_usage usage = usage_of(r);
    if (st == WEIR_OK && weir_request_is_translated(r))
        st = weir_output_translated_finish(r, weir_request_only_asks(r) ? NULL : &usage);
    else if (st == WEIR_OK && r->q.include_usage && !weir_request_only_asks(r))
        st = weir_answer_usage_chunk(&r->head, &usage, &r->out);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&r->out, weir_answer_done());
    if (st != WEIR_OK) {
        weir_http_abort(r->x, "out of memory");
        return;
    }
    weir_output_flush(r);
    if (r->warms)
        weir_warm_begin(r, weir_buf_span(&r->said));
    weir_http_stream_end(r->x);
}

/* The choice as it stands in a whole answer; its log probabilities are made in the arena. */
static enum weir_status whole_choice(struct weir_request *r, const struct weir_choice *c,
                                     struct weir_answer_choice *ret) {
    enum weir_status st = WEIR_OK;
    *ret = (struct weir_answer_choice){.index = c->index,
                                       .text = c->text.len > 0 ? weir_buf_span(&c->text)
                                                               : weir_span("", 0),
                                       .finish_reason = c->finish};
    if (weir_logprob_lists_any(&c->logprobs)) {
        struct weir_buf json;
        weir_buf_init(&json, WEIR_OUT_MAX);
        st = weir_logprob_lists_json(&c->logprobs, r->q.kind, &json);
        if (st == WEIR_OK)
            ret->logprobs = weir_arena_copy(&r->arena, weir_buf_span(&json));
        st = st == WEIR_OK && ret->logprobs.data == NULL ? WEIR_NOMEM : st;
        weir_buf_fini(&json);
    }
    if (c->parsed != NULL)
        weir_parsed_fill(c->parsed, ret);
    if (c->given != NULL) {
        ret->text = c->given->text;
        ret->reasoning = c->given->reasoning;
        ret->calls = c->given->calls;
        ret->n_calls = c->given->n_calls;
    }
    /* A chat's answer without text has none, as in the reference system. */
    if (ret->text.len == 0 && r->q.kind == WEIR_OPENAI_CHAT)
        ret->text = weir_span(NULL, 0);
    return st;
}

static void finish_unary(struct weir_request *r) {
    size_t n = 0;
    struct weir_usage usage = usage_of(r);
    enum weir_status st = WEIR_OK;
    struct weir_answer_choice *choices =
        weir_arena_alloc(&r->arena, (r->n_legs * r->q.n + 1) * sizeof(*choices));
    bool asks = weir_request_only_asks(r);
    for (size_t i = 0; choices != NULL && i < r->n_legs; i++)
        for (unsigned k = 0; k < r->legs[i].n_choices && st == WEIR_OK; k++)
            if (asks ? k == 0
                     : r->legs[i].choices[k].finish != NULL) /* the worker may give fewer */
                st = whole_choice(r, &r->legs[i].choices[k], &choices[n++]);
    struct weir_leg *leg = &r->legs[asks ? r->n_legs - 1 : 0];
    struct weir_span nvext = weir_output_nvext(r, leg, &leg->choices[0], true);
    if (r->warms && n > 0)
        weir_warm_begin(r, choices[0].text);
    weir_buf_clear(&r->out);
    if (choices != NULL && st == WEIR_OK)
        st = weir_request_is_translated(r)
                 ? weir_output_translated_unary(r, n > 0 ? &choices[0] : NULL, asks ? NULL : &usage,
                                                nvext)
                 : weir_answer_unary(&r->head, choices, n, asks ? NULL : &usage, nvext, &r->out);
    if (choices == NULL || st != WEIR_OK)
        weir_front_error(r->fl, r->x, 503, "Service temporarily unavailable");
    else
        weir_front_json(r->x, 200, weir_buf_span(&r->out));
}

void weir_output_finish(struct weir_request *r) {
    if (r->q.stream)
        finish_stream(r);
    else
        finish_unary(r);
}

void weir_output_error(struct weir_request *r, int http_status, struct weir_span message) {
    weir_buf_clear(&r->out);
    enum weir_status st = weir_request_is_translated(r)
                              ? weir_output_translated_fail(r, http_status, message)
                              : weir_answer_error_frame(http_status, message, &r->out);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&r->out, weir_answer_done());
    if (st == WEIR_OK)
        st = weir_http_stream_write(r->x, weir_buf_span(&r->out));
    weir_buf_clear(&r->out);
    if (st == WEIR_OK)
        weir_http_stream_end(r->x);
    else
        weir_http_abort(r->x, "the error event did not fit");
}
