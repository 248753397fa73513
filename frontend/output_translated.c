/*
 * Answers of the Responses API and of the Messages API. They come the way of a chat's (output.c),
 * which hands its pieces to the events of wire/openai_responses.h and wire/anthropic.h instead of
 * writing chunks.
 */
#include "base/json.h"
#include "frontend/request_priv.h"

static bool prepare_responses(struct weir_request *r) {
    r->responses_head = (struct weir_responses_head){
        .model = r->head.model, .created_s = r->head.created_s, .echo = r->q.responses};
    weir_responses_head_init(&r->responses_head, r->uuid);
    if (!r->q.stream)
        return true;
    struct weir_responses_stream *s = weir_arena_alloc(&r->arena, sizeof(*s));
    if (s == NULL)
        return weir_request_fail_memory(r);
    weir_responses_stream_init(s, &r->responses_head, WEIR_OUT_MAX);
    r->events = s;
    return true;
}

bool weir_output_translated_prepare(struct weir_request *r) {
    if (r->endpoint == WEIR_FRONT_RESPONSES)
        return prepare_responses(r);
    struct weir_messages_head head = {.model = r->head.model};
    weir_answer_hex(r->uuid, head.id);
    weir_messages_stream_init(&r->messages, &head);
    r->q.include_usage = r->q.continuous_usage = r->q.stream;
    r->q.extras |= WEIR_EXTRA_STOP_REASON; /* of the worker: which sequence it stopped at */
    return true;
}

void weir_output_translated_fini(struct weir_request *r) {
    weir_responses_stream_fini(r->events);
}

/* ---- the end of an answer ------------------------------------------------------------------- */

static struct weir_responses_end responses_end(const struct weir_usage *usage, const char *finish,
                                               struct weir_span nvext) {
    return (struct weir_responses_end){
        .finish_reason = finish, .usage = usage, .nvext = nvext, .now_s = weir_wall_ms() / 1000};
}

/* The stop sequence that was met here or by the worker; data NULL: none. */
static struct weir_span stop_sequence(struct weir_request *r, const struct weir_choice *c) {
    const struct weir_strings *asked = &r->q.prep.stop.stop;
    struct weir_json j;
    struct weir_json_str s;
    if (c->stop_index >= 0)
        return asked->items[c->stop_index];
    if (weir_json_type_of(c->worker_reason) == WEIR_JSON_STRING) {
        weir_json_init(&j, c->worker_reason, 2);
        struct weir_span text =
            weir_json_string(&j, &s) ? weir_json_text(s, &r->arena) : weir_span(NULL, 0);
        for (size_t i = 0; text.data != NULL && i < asked->n; i++)
            if (weir_span_eq(text, asked->items[i]))
                return text;
    }
    return weir_span(NULL, 0);
}

static struct weir_messages_end messages_end(struct weir_request *r, const struct weir_usage *usage,
                                             const char *finish) {
    static const struct weir_usage none = {.cached_tokens = -1};
    return (struct weir_messages_end){.finish_reason = finish,
                                      .stop_sequence = stop_sequence(r, &r->legs[0].choices[0]),
                                      .usage = usage != NULL ? usage : &none};
}

/* ---- streams ------------------------------------------------------------------------------ */

enum weir_status weir_output_translated_begin(struct weir_request *r) {
    const struct weir_usage usage = {.prompt_tokens = r->prompt_tokens,
                                     .cached_tokens = r->legs[0].cached_tokens};
    return r->endpoint == WEIR_FRONT_RESPONSES ? weir_responses_begin(r->events, &r->out)
                                               : weir_messages_begin(&r->messages, &usage, &r->out);
}

enum weir_status weir_output_translated_piece(struct weir_request *r,
                                              const struct weir_answer_piece *p) {
    return r->endpoint == WEIR_FRONT_RESPONSES ? weir_responses_piece(r->events, p, &r->out)
                                               : weir_messages_piece(&r->messages, p, &r->out);
}

enum weir_status weir_output_translated_finish(struct weir_request *r,
                                               const struct weir_usage *usage) {
    struct weir_leg *leg = &r->legs[0];
    struct weir_choice *c = &leg->choices[0];
    if (r->endpoint == WEIR_FRONT_MESSAGES) {
        struct weir_messages_end end = messages_end(r, usage, c->finish);
        return weir_messages_finish(&r->messages, &end, &r->out);
    }
    struct weir_responses_end end =
        responses_end(usage, c->finish, weir_output_nvext(r, leg, c, true));
    return weir_responses_finish(r->events, &end, &r->out);
}

enum weir_status weir_output_translated_fail(struct weir_request *r, int http_status,
                                             struct weir_span message) {
    return r->endpoint == WEIR_FRONT_RESPONSES
               ? weir_responses_fail(r->events, http_status, message, &r->out)
               : weir_messages_fail(http_status, message, &r->out);
}

/* ---- whole answers ------------------------------------------------------------------------ */

enum weir_status weir_output_translated_unary(struct weir_request *r,
                                              const struct weir_answer_choice *choice,
                                              const struct weir_usage *usage,
                                              struct weir_span nvext) {
    static const struct weir_answer_choice none = {.text = {"", 0}};
    const char *finish = choice != NULL ? choice->finish_reason : NULL;
    if (choice == NULL)
        choice = &none;
    if (r->endpoint == WEIR_FRONT_MESSAGES) {
        struct weir_messages_end end = messages_end(r, usage, finish);
        return weir_messages_unary(&r->messages.head, choice, &end, &r->out);
    }
    struct weir_responses_end end = responses_end(usage, finish, nvext);
    return weir_responses_unary(&r->responses_head, choice, &end, &r->out);
}
