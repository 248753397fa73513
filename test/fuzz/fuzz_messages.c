/*
 * Bodies of Messages requests. Properties: a refusal has a status and words; a request that passes
 * has become a chat with messages that are JSON, and its answer is JSON, whole and in every event
 * of a stream. One that may be generated for may be counted.
 */
#include "test/fuzz/events.h"
#include "wire/anthropic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 16 << 20 };

static void answer(const struct weir_openai_request *q) {
    struct weir_messages_head head = {.model = q->model};
    const struct weir_usage usage = {.prompt_tokens = 5, .cached_tokens = 3};
    const struct weir_messages_end end = {
        .finish_reason = "stop",
        .stop_sequence = q->prep.stop.stop.n > 0 ? q->prep.stop.stop.items[0] : weir_span(NULL, 0),
        .usage = &usage};
    const struct weir_answer_call call = {
        .id = WEIR_SPAN_LIT("c"), .name = q->model, .arguments = WEIR_SPAN_LIT("{}")};
    const struct weir_answer_choice choice = {.text = q->model,
                                              .reasoning = q->model,
                                              .calls = &call,
                                              .n_calls = 1,
                                              .finish_reason = "stop"};
    const struct weir_answer_piece pieces[] = {
        {.reasoning = q->model},
        {.has_text = true, .text = q->model, .usage = &usage},
        {.call = &call}};
    struct weir_messages_stream s;
    struct weir_buf out;
    weir_buf_init(&out, MAX);
    weir_answer_hex("01234567-89ab-cdef-0123-456789abcdef", head.id);
    must(weir_messages_unary(&head, &choice, &end, &out) == WEIR_OK);
    must_be_json(weir_buf_span(&out), WEIR_JSON_OBJECT);
    weir_buf_clear(&out);
    weir_messages_stream_init(&s, &head);
    must(weir_messages_begin(&s, &usage, &out) == WEIR_OK);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pieces); i++)
        must(weir_messages_piece(&s, &pieces[i], &out) == WEIR_OK);
    must(weir_messages_finish(&s, &end, &out) == WEIR_OK);
    must(must_be_events(weir_buf_span(&out)) == (q->model.len > 0 ? 13 : 6));
    weir_buf_fini(&out);
}

static enum weir_status parse(enum weir_openai_kind kind, struct weir_span body,
                              const struct weir_openai_rules *rules) {
    struct weir_arena arena;
    struct weir_openai_request q;
    struct weir_openai_error error = {0};
    weir_arena_init(&arena, 64u << 20);
    enum weir_status st = weir_openai_parse(kind, body, rules, &arena, &q, &error);
    if (st == WEIR_OK) {
        must(q.kind == WEIR_OPENAI_CHAT && q.responses == NULL && q.n == 1);
        must_be_json(q.messages, WEIR_JSON_ARRAY);
        if (q.tools.data != NULL)
            must_be_json(q.tools, WEIR_JSON_ARRAY);
        answer(&q);
    } else if (st != WEIR_NOMEM) {
        must((error.http_status == 400 || error.http_status == 501) && error.message.len > 0);
    }
    weir_arena_fini(&arena);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct weir_openai_rules plain = {0}, strip = {.strip_preamble = true};
    struct weir_span body = {(const char *)data, size};
    if (size > 1 << 16)
        return 0;
    enum weir_status st = parse(WEIR_OPENAI_MESSAGES, body, &strip);
    if (st == WEIR_OK)
        must(parse(WEIR_OPENAI_MESSAGES_COUNT, body, &plain) == WEIR_OK);
    return 0;
}
