/*
 * Chat answers of engines. Properties: what is read consists of text and of JSON that stands in the
 * answer; given to a client of the Responses API or the Messages API it is JSON, whole and in every
 * event of a stream. An error has words that are text.
 */
#include "test/fuzz/events.h"
#include "wire/anthropic.h"
#include "wire/openai_chat_read.h"
#include "wire/openai_responses.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 64 << 20 };

static void whole(const struct weir_chat_read *a, const struct weir_responses_head *responses,
                  const struct weir_messages_head *messages, struct weir_buf *out) {
    const struct weir_usage usage = {.cached_tokens = -1,
                                     .completion_details = a->completion_details};
    const struct weir_answer_choice choice = {.text = a->text,
                                              .reasoning = a->reasoning,
                                              .calls = a->calls,
                                              .n_calls = a->n_calls,
                                              .finish_reason = "stop"};
    const struct weir_responses_end r = {.finish_reason = "stop", .usage = &usage};
    const struct weir_messages_end m = {.finish_reason = "stop", .usage = &usage};
    must(weir_responses_unary(responses, &choice, &r, out) == WEIR_OK);
    must_be_json(weir_buf_span(out), WEIR_JSON_OBJECT);
    weir_buf_clear(out);
    must(weir_messages_unary(messages, &choice, &m, out) == WEIR_OK);
    must_be_json(weir_buf_span(out), WEIR_JSON_OBJECT);
    weir_buf_clear(out);
}

static void events(const struct weir_chat_read *a, const struct weir_responses_head *responses,
                   const struct weir_messages_head *messages, struct weir_buf *out) {
    struct weir_responses_stream r;
    struct weir_messages_stream m;
    struct weir_answer_piece piece = {
        .has_text = true, .text = a->text, .reasoning = a->reasoning, .call = a->calls};
    weir_responses_stream_init(&r, responses, MAX);
    weir_messages_stream_init(&m, messages);
    if (a->n_calls == 0)
        piece.call = NULL;
    enum weir_status st = weir_responses_piece(&r, &piece, out);
    must(st == WEIR_OK || (st == WEIR_PROTOCOL && piece.call->id.data == NULL));
    if (st == WEIR_OK)
        must_be_events(weir_buf_span(out));
    weir_buf_clear(out);
    if (st == WEIR_OK) {
        must(weir_messages_piece(&m, &piece, out) == WEIR_OK);
        must_be_events(weir_buf_span(out));
    }
    weir_buf_clear(out);
    weir_responses_stream_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct weir_responses_echo echo;
    struct weir_span body = {(const char *)data, size};
    struct weir_responses_head responses = {.model = WEIR_SPAN_LIT("m"), .echo = &echo};
    struct weir_messages_head messages = {.model = WEIR_SPAN_LIT("m")};
    struct weir_chat_read a;
    struct weir_arena arena;
    struct weir_buf out;
    int status = 0;
    if (size > 1 << 16)
        return 0;
    weir_arena_init(&arena, MAX);
    weir_buf_init(&out, MAX);
    if (weir_chat_read(body, &arena, &a) == WEIR_OK) {
        if (a.completion_details.data != NULL)
            must_be_json(a.completion_details, weir_json_type_of(a.completion_details));
        if (a.stop_reason.data != NULL)
            must_be_json(a.stop_reason, weir_json_type_of(a.stop_reason));
        if (a.logprobs.data != NULL) {
            must(weir_buf_append_c(&out, '[') == WEIR_OK);
            must(weir_buf_append_span(&out, a.logprobs) == WEIR_OK);
            must(weir_buf_append_c(&out, ']') == WEIR_OK);
            must_be_json(weir_buf_span(&out), WEIR_JSON_ARRAY);
            weir_buf_clear(&out);
        }
        whole(&a, &responses, &messages, &out);
        events(&a, &responses, &messages, &out);
    }
    struct weir_span words = weir_chat_read_error(body, &arena, &status);
    must(status == 0 || (status >= 400 && status <= 599));
    struct weir_jsonw w;
    weir_jsonw_init(&w, &out);
    weir_jsonw_string(&w, words);
    must_be_json(weir_buf_span(&out), WEIR_JSON_STRING);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return 0;
}
