/*
 * Answers of HTTP engines to requests of the Responses API and the Messages API, which the engine
 * gets as the chats that they stand for. Happy path: its answer is read (wire/openai_chat_read.h),
 * event by event or whole → pieces and facts, as they come from a worker's items → output.c and
 * output_translated.c, which write the client's events.
 *
 * Failure modes: what an engine refuses is an error in the client's own form, with the engine's
 * words; an answer that cannot be read, that has another form than was asked for, that was aborted,
 * or that has no finish reason is an error, never a whole answer.
 */
#include "base/json.h"
#include "frontend/relay_body.h"
#include "frontend/relay_priv.h"

#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 4096 }; /* of a refusal that is no JSON */

/* ---- before it is sent ---------------------------------------------------------------------- */

/* The engine's template gets what ours gets, whatever member of the request said it. */
bool weir_relay_translated_body(struct weir_request *r) {
    struct weir_buf out;
    if (r->q.chat.data == NULL || r->q.template_args.data == NULL)
        return true;
    weir_buf_init(&out, WEIR_REQUEST_ARENA);
    enum weir_status st = weir_relay_body_template(r->q.chat, r->q.template_args, &out);
    r->q.chat =
        st == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return r->q.chat.data != NULL || weir_request_fail_memory(r);
}

bool weir_relay_translated_prepare(struct weir_request *r) {
    struct weir_leg *leg = &r->legs[0];
    leg->choices = weir_arena_zalloc(&r->arena, sizeof(*leg->choices));
    if (leg->choices == NULL)
        return weir_request_fail_memory(r);
    leg->n_choices = leg->n_open = 1;
    weir_output_init_choice(&leg->choices[0], 0);
    if (!weir_output_translated_prepare(r))
        return false;
    r->q.continuous_usage = false; /* engines count at the end */
    return true;
}

void weir_relay_translated_again(struct weir_relay *y) {
    if (!weir_request_is_translated(y->leg->request))
        return;
    struct weir_choice *c = &y->leg->choices[0];
    c->finish = NULL;
    c->worker_reason = weir_span(NULL, 0);
    weir_logprob_lists_clear(&c->logprobs);
    y->has_call = false;
}

/* ---- errors ------------------------------------------------------------------------------- */

/* `said`: the engine's error, JSON or not; it is gone when the request has ended. */
static void refuse(struct weir_relay *y, int status, struct weir_span said) {
    struct weir_request *r = y->leg->request;
    char text[64];
    bool named = status != 200;
    int code = 500;
    struct weir_span words = weir_chat_read_error(said, &r->arena, &code);
    if (!named) {
        status = code; /* of an event */
    } else if (status < 400) {
        status = 502;
        r->retry_after_s = WEIR_RETRY_NEVER; /* as of weir_relay_fail() */
    }
    if (words.data == NULL && said.len <= WORDS_MAX)
        words = weir_span_trim(said);
    if (words.len == 0) {
        int n = snprintf(text, sizeof(text), "The engine answered %d without a word", y->status);
        words = weir_span(text, (size_t)n);
    }
    words = weir_arena_copy(&r->arena, words);
    y->leg->state = WEIR_LEG_DONE;
    if (words.data == NULL)
        weir_request_fail_memory(r);
    else
        weir_request_fail(r, status, words, weir_request_error_type(status));
}

static void fail(struct weir_relay *y, enum weir_status st) {
    if (st == WEIR_NOMEM)
        weir_relay_fail(y->leg, 503, "Service temporarily unavailable");
    else
        weir_relay_fail(y->leg, 502,
                        st == WEIR_PROTOCOL ? "The engine's answer is no chat that can be read"
                                            : "The engine's answer is too long to be kept");
}

/* ---- what an answer says -------------------------------------------------------------------- */

static enum weir_status keep(struct weir_request *r, struct weir_span from, struct weir_span *to) {
    if (from.data == NULL)
        return WEIR_OK;
    *to = weir_arena_copy(&r->arena, from);
    return to->data != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum weir_status add_logprobs(struct weir_choice *c, struct weir_span elements) {
    struct weir_buf *list = &c->logprobs.list[0];
    enum weir_status st = WEIR_OK;
    if (elements.len == 0)
        return st;
    if (list->len > 0)
        st = weir_buf_append_c(list, ',');
    return st == WEIR_OK ? weir_buf_append_span(list, elements) : st;
}

/* All but the text. Called once a chunk, or with a whole answer. */
static enum weir_status take_facts(struct weir_relay *y, const struct weir_chat_read *a) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    struct weir_choice *c = &leg->choices[0];
    struct weir_span finish = {NULL, 0}, details = a->completion_details;
    char text[64];
    if (details.data == NULL && a->has_reasoning_tokens) {
        int n = snprintf(text, sizeof(text), "{\"reasoning_tokens\":%llu}",
                         (unsigned long long)a->reasoning_tokens);
        details = weir_span(text, (size_t)n);
    }
    enum weir_status st = keep(r, details, &leg->completion_details);
    if (st == WEIR_OK)
        st = keep(r, a->stop_reason, &c->worker_reason);
    if (st == WEIR_OK)
        st = add_logprobs(c, a->logprobs);
    if (st == WEIR_OK && c->finish == NULL)
        st = keep(r, a->finish_reason, &finish);
    if (finish.data != NULL)
        c->finish = finish.data; /* a NUL is behind it */
    return st;
}

/* Engines say "stop" of a call that had to come. */
static void settle_finish(struct weir_choice *c, bool calls) {
    if (calls && c->finish != NULL && strcmp(c->finish, "stop") == 0)
        c->finish = "tool_calls";
}

/* ---- streams ------------------------------------------------------------------------------ */

static enum weir_status give_call(struct weir_relay *y, const struct weir_answer_call *part) {
    struct weir_answer_call call = {.index = part->index, .arguments = part->arguments};
    if (!y->has_call || y->call_index != part->index) {
        if (part->id.len == 0 || part->name.len == 0)
            return WEIR_PROTOCOL;
        call.id = part->id;
        call.name = part->name;
        y->has_call = true;
        y->call_index = part->index;
    } else if (call.arguments.len == 0) {
        return WEIR_OK;
    }
    struct weir_answer_piece piece = {.call = &call};
    return weir_output_put(y->leg, &y->leg->choices[0], &piece);
}

static enum weir_status give(struct weir_relay *y, const struct weir_chat_read *a) {
    struct weir_answer_piece piece = {
        .has_text = a->text.len > 0, .text = a->text, .reasoning = a->reasoning};
    struct weir_choice *c = &y->leg->choices[0];
    enum weir_status st = take_facts(y, a);
    bool last = a->n_calls == 0 && c->finish != NULL && weir_logprob_lists_any(&c->logprobs);
    if (st == WEIR_OK && (a->text.len > 0 || a->reasoning.len > 0 || last))
        st = weir_output_put(y->leg, c, &piece);
    for (size_t i = 0; i < a->n_calls && st == WEIR_OK; i++)
        st = give_call(y, &a->calls[i]);
    return st;
}

void weir_relay_translated_pass(struct weir_relay *y, struct weir_span frames) {
    struct weir_request *r = y->leg->request;
    struct weir_span data;
    struct weir_chat_read a;
    if (y->scan.cut) {
        fail(y, WEIR_TOO_LARGE);
        return;
    }
    if (!r->q.stream)
        return; /* refused at its end */
    while (weir_relay_scan_next(&frames, &data)) {
        if (weir_span_eqz(data, "[DONE]"))
            break;
        weir_arena_reset(&y->scratch);
        enum weir_status st = weir_chat_read(data, &y->scratch, &a);
        if (st == WEIR_OK && a.is_error) {
            refuse(y, 200, data);
            return;
        }
        if (st == WEIR_OK)
            st = give(y, &a);
        if (st != WEIR_OK) {
            fail(y, st);
            return;
        }
        weir_output_flush(r); /* an event that follows may be an error, which clears what waits */
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static enum weir_status take_whole(struct weir_relay *y) {
    struct weir_request *r = y->leg->request;
    struct weir_chat_read *a = weir_arena_alloc(&r->arena, sizeof(*a));
    if (a == NULL)
        return WEIR_NOMEM;
    enum weir_status st = weir_chat_read(weir_buf_span(&y->answer), &r->arena, a);
    for (size_t i = 0; st == WEIR_OK && i < a->n_calls; i++)
        if (a->calls[i].id.len == 0 || a->calls[i].name.len == 0)
            st = WEIR_PROTOCOL;
    if (st == WEIR_OK)
        st = take_facts(y, a);
    y->leg->choices[0].given = a;
    y->has_call = st == WEIR_OK && a->n_calls > 0;
    return st;
}

static bool is_aborted(const char *finish) {
    return strcmp(finish, "abort") == 0 || strcmp(finish, "error") == 0;
}

void weir_relay_translated_end(struct weir_relay *y) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    struct weir_choice *c = leg->choices;
    if (y->status != 200) {
        refuse(y, y->status, weir_buf_span(&y->answer));
        return;
    }
    if (y->streams != r->q.stream) {
        weir_relay_fail(leg, 502,
                        r->q.stream ? "The engine answered a stream with a whole answer"
                                    : "The engine answered with a stream");
        return;
    }
    enum weir_status st = y->streams ? WEIR_OK : take_whole(y);
    if (st == WEIR_OK && c->given != NULL && c->given->is_error)
        refuse(y, 200, weir_buf_span(&y->answer));
    else if (st != WEIR_OK)
        fail(y, st);
    else if (c->finish == NULL)
        weir_relay_fail(leg, 502, "The engine ended its answer without a finish reason");
    else if (is_aborted(c->finish))
        weir_relay_fail(leg, 500, "The engine aborted the request");
    if (r->answered)
        return;
    settle_finish(c, y->has_call);
    if (y->scan.prompt_tokens >= 0)
        leg->counted_prompt = y->scan.prompt_tokens;
    leg->state = WEIR_LEG_DONE;
    weir_request_leg_over(r);
}
