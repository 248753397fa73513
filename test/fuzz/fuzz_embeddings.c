/*
 * Embeddings. Input: a byte that says what the rest is. A client's body: what passes has inputs,
 * and reads back the same as workers get it. A worker's item: what is taken is JSON, as numbers and
 * as base64, and both have as many. A worker's request: what is read is written and reads back the
 * same.
 */
#include "test/fuzz/events.h"
#include "wire/embeddings.h"
#include "wire/openai_embeddings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 16 << 20 };

static const struct weir_openai_rules rules;

static enum weir_status parse(struct weir_span body, struct weir_arena *arena,
                              struct weir_openai_request *q) {
    struct weir_openai_error error = {0};
    enum weir_status st = weir_openai_parse(WEIR_OPENAI_EMBEDDINGS, body, &rules, arena, q, &error);
    must(st == WEIR_OK || st == WEIR_NOMEM ||
         (st == WEIR_INVALID && error.http_status == 400 && error.message.len > 0));
    return st;
}

static void client(struct weir_span body, struct weir_arena *arena, struct weir_buf *out) {
    struct weir_openai_request q, again;
    if (parse(body, arena, &q) != WEIR_OK)
        return;
    must(q.embeddings != NULL && q.prompts != NULL && q.kind == WEIR_OPENAI_EMBEDDINGS);
    must(weir_openai_embeddings_put(q.embeddings, q.model, WEIR_CODEC_JSON, out) == WEIR_OK);
    must_be_json(weir_buf_span(out), WEIR_JSON_OBJECT);
    must(parse(weir_buf_span(out), arena, &again) == WEIR_OK);
    must(again.n_prompts == q.n_prompts && weir_span_eq(again.model, q.model) &&
         again.embeddings->base64 == q.embeddings->base64 &&
         again.embeddings->n_dimensions == q.embeddings->n_dimensions &&
         again.embeddings->annotation.n == q.embeddings->annotation.n);
    for (size_t i = 0; i < q.n_prompts; i++)
        must(q.prompts[i].kind == again.prompts[i].kind &&
             weir_span_eq(q.prompts[i].text, again.prompts[i].text) &&
             q.prompts[i].ids.n == again.prompts[i].ids.n);
}

static void item(struct weir_span body, enum weir_codec codec, struct weir_arena *arena,
                 struct weir_buf *out) {
    struct weir_embeddings_answer a, b;
    weir_embeddings_answer_init(&a, false, MAX);
    weir_embeddings_answer_init(&b, true, MAX);
    enum weir_status st = weir_embeddings_answer_take(&a, body, codec, arena);
    must(st == weir_embeddings_answer_take(&b, body, codec, arena));
    if (st == WEIR_OK) {
        must(a.n == b.n && a.n_values == b.n_values && a.prompt_tokens == b.prompt_tokens);
        must(weir_embeddings_answer_put(&a, WEIR_SPAN_LIT("m"), out) == WEIR_OK);
        must_be_json(weir_buf_span(out), WEIR_JSON_OBJECT);
        weir_buf_clear(out);
        must(weir_embeddings_answer_put(&b, WEIR_SPAN_LIT("m"), out) == WEIR_OK);
        must_be_json(weir_buf_span(out), WEIR_JSON_OBJECT);
    }
    weir_embeddings_answer_fini(&a);
    weir_embeddings_answer_fini(&b);
}

static void request(struct weir_span body, enum weir_codec codec, struct weir_arena *arena,
                    struct weir_buf *out) {
    struct weir_embeddings_request q, again;
    if (weir_embeddings_request_decode(body, codec, 1 << 16, arena, &q) != WEIR_OK)
        return;
    must(weir_embeddings_request_encode(&q, codec, out) == WEIR_OK);
    must(weir_embeddings_request_decode(weir_buf_span(out), codec, 1 << 16, arena, &again) ==
         WEIR_OK);
    must(again.n_inputs == q.n_inputs && again.has_truncate == q.has_truncate &&
         again.has_dimensions == q.has_dimensions && again.annotations.n == q.annotations.n);
    for (size_t i = 0; i < q.n_inputs; i++)
        must(q.inputs[i].n == again.inputs[i].n &&
             (q.inputs[i].n == 0 ||
              memcmp(q.inputs[i].ids, again.inputs[i].ids, 4 * q.inputs[i].n) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_buf out;
    if (size == 0 || size > 1 << 16)
        return 0;
    struct weir_span body = {(const char *)data + 1, size - 1};
    enum weir_codec codec = data[0] & 1 ? WEIR_CODEC_MSGPACK : WEIR_CODEC_JSON;
    weir_arena_init(&arena, 64u << 20);
    weir_buf_init(&out, MAX);
    if ((data[0] & 6) == 0)
        client(body, &arena, &out);
    else if ((data[0] & 6) == 2)
        item(body, codec, &arena, &out);
    else
        request(body, codec, &arena, &out);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return 0;
}
