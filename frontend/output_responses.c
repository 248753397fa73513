/*
 * Answers of the Responses API. They come the way of a chat's (output.c), which hands its pieces to
 * the events of wire/openai_responses.h instead of writing chunks.
 */
#include "frontend/request_priv.h"

bool weir_output_responses_prepare(struct weir_request *r) {
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

static struct weir_responses_end end_of(const struct weir_usage *usage, const char *finish,
                                        struct weir_span nvext) {
    return (struct weir_responses_end){
        .finish_reason = finish, .usage = usage, .nvext = nvext, .now_s = weir_wall_ms() / 1000};
}

enum weir_status weir_output_responses_finish(struct weir_request *r,
                                              const struct weir_usage *usage) {
    struct weir_leg *leg = &r->legs[0];
    struct weir_responses_end end =
        end_of(usage, leg->choices[0].finish, weir_output_nvext(r, leg, &leg->choices[0], true));
    return weir_responses_finish(r->events, &end, &r->out);
}

enum weir_status weir_output_responses_unary(struct weir_request *r,
                                             const struct weir_answer_choice *choice,
                                             const struct weir_usage *usage,
                                             struct weir_span nvext) {
    static const struct weir_answer_choice none = {.text = {"", 0}};
    struct weir_responses_end end =
        end_of(usage, choice != NULL ? choice->finish_reason : NULL, nvext);
    return weir_responses_unary(&r->responses_head, choice != NULL ? choice : &none, &end, &r->out);
}
