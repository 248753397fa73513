/*
 * Bodies of Responses requests. Properties: a refusal has a status and words; a request that passes
 * has become a chat with messages that are JSON, and what its answer repeats of it is JSON too, in
 * a whole answer and in every event of a stream.
 */
#include "test/fuzz/events.h"
#include "wire/openai_responses.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 16 << 20 };

static void answer(const struct weir_openai_request *q) {
    struct weir_responses_head head = {.model = q->model, .echo = q->responses};
    const struct weir_usage usage = {.cached_tokens = -1};
    const struct weir_responses_end end = {.finish_reason = "length", .usage = &usage};
    const struct weir_answer_call call = {
        .id = WEIR_SPAN_LIT("c"), .name = WEIR_SPAN_LIT("f"), .arguments = WEIR_SPAN_LIT("{}")};
    const struct weir_answer_choice choice = {.text = q->model,
                                              .reasoning = q->model,
                                              .calls = &call,
                                              .n_calls = 1,
                                              .finish_reason = "length"};
    const struct weir_answer_piece pieces[] = {
        {.reasoning = q->model}, {.has_text = true, .text = q->model}, {.call = &call}};
    struct weir_responses_stream s;
    struct weir_buf out;
    weir_buf_init(&out, MAX);
    weir_responses_head_init(&head, "01234567-89ab-cdef-0123-456789abcdef");
    must(weir_responses_unary(&head, &choice, &end, &out) == WEIR_OK);
    must_be_json(weir_buf_span(&out), WEIR_JSON_OBJECT);
    weir_buf_clear(&out);
    weir_responses_stream_init(&s, &head, MAX);
    must(weir_responses_begin(&s, &out) == WEIR_OK);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pieces); i++)
        must(weir_responses_piece(&s, &pieces[i], &out) == WEIR_OK);
    must(weir_responses_finish(&s, &end, &out) == WEIR_OK);
    must(must_be_events(weir_buf_span(&out)) == s.sequence);
    weir_responses_stream_fini(&s);
    weir_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_openai_request q;
    struct weir_openai_error error = {0};
    const struct weir_openai_rules rules = {0};
    if (size > 1 << 16)
        return 0;
    weir_arena_init(&arena, 64u << 20);
    enum weir_status st = weir_openai_parse(
        WEIR_OPENAI_RESPONSES, weir_span((const char *)data, size), &rules, &arena, &q, &error);
    if (st == WEIR_OK) {
        must(q.kind == WEIR_OPENAI_CHAT && q.responses != NULL && q.model.len > 0 && q.n == 1);
        must_be_json(q.messages, WEIR_JSON_ARRAY);
        if (q.tools.data != NULL)
            must_be_json(q.tools, WEIR_JSON_ARRAY);
        answer(&q);
    } else if (st != WEIR_NOMEM) {
        must((error.http_status == 400 || error.http_status == 501) && error.message.len > 0);
    }
    weir_arena_fini(&arena);
    return 0;
}
