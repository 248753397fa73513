/*
 * PreprocessedRequest and the queries of the KV endpoint. Input: a codec byte, then a body.
 * Property: what decodes is written the same way from either codec, and reads back.
 */
#include "wire/kv_query.h"
#include "wire/relay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void request(struct weir_span body, enum weir_codec codec) {
    struct weir_arena arena;
    struct weir_prep_request q, again;
    struct weir_err err;
    struct weir_buf first, second, packed;
    weir_arena_init(&arena, 8 << 20);
    weir_buf_init(&first, 8 << 20);
    weir_buf_init(&second, 8 << 20);
    weir_buf_init(&packed, 8 << 20);
    if (weir_prep_request_decode(body, codec, 1000, &arena, &q, &err) == WEIR_OK &&
        weir_prep_request_encode(&q, WEIR_CODEC_JSON, &first) == WEIR_OK &&
        weir_prep_request_encode(&q, WEIR_CODEC_MSGPACK, &packed) == WEIR_OK) {
        must(weir_prep_request_decode(weir_buf_span(&packed), WEIR_CODEC_MSGPACK, 1000, &arena,
                                      &again, &err) == WEIR_OK);
        must(weir_prep_request_encode(&again, WEIR_CODEC_JSON, &second) == WEIR_OK);
        must(weir_prep_request_decode(weir_buf_span(&first), WEIR_CODEC_JSON, 1000, &arena, &again,
                                      &err) == WEIR_OK);
    }
    weir_buf_fini(&first);
    weir_buf_fini(&second);
    weir_buf_fini(&packed);
    weir_arena_fini(&arena);
}

/* What a global router reads of a request, and what it sends on. */
static void passed_on(struct weir_span body, enum weir_codec codec) {
    struct weir_arena arena;
    struct weir_prep_request q, again;
    struct weir_pool_query p;
    struct weir_err err;
    struct weir_buf plain;
    weir_arena_init(&arena, 8 << 20);
    weir_buf_init(&plain, 8 << 20);
    if (weir_pool_query_decode(body, codec, &p) == WEIR_OK &&
        weir_prep_request_decode(body, codec, 1000, &arena, &q, &err) == WEIR_OK) {
        must(p.n_tokens == q.token_ids.n && p.has_priority == q.routing.has_priority);
        must(!p.has_priority || p.priority == q.routing.priority);
        if (p.packed) {
            must(weir_pool_query_unpack(body, &plain) == WEIR_OK);
            must(weir_prep_request_decode(weir_buf_span(&plain), codec, 1000, &arena, &again,
                                          &err) == WEIR_OK);
            must(again.token_ids.n == q.token_ids.n &&
                 (q.token_ids.n == 0 || memcmp(again.token_ids.ids, q.token_ids.ids,
                                               q.token_ids.n * sizeof(uint32_t)) == 0));
        }
    }
    weir_buf_fini(&plain);
    weir_arena_fini(&arena);
}

static void query(struct weir_span body, enum weir_codec codec) {
    struct weir_kv_query q, again;
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    if (weir_kv_query_decode(body, codec, &q) == WEIR_OK) {
        must(weir_kv_query_encode(&q, codec, &out) == WEIR_OK);
        must(weir_kv_query_decode(weir_buf_span(&out), codec, &again) == WEIR_OK);
        must(again.worker_id == q.worker_id && again.dp_rank == q.dp_rank &&
             again.has_start == q.has_start && again.start_event_id == q.start_event_id);
    }
    weir_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    enum weir_codec codec = (data[0] & 1) != 0 ? WEIR_CODEC_MSGPACK : WEIR_CODEC_JSON;
    struct weir_span body = weir_span((const char *)data + 1, size - 1);
    request(body, codec);
    passed_on(body, codec);
    query(body, codec);
    return 0;
}
