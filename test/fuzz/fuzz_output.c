/*
 * Response items and answers of the KV endpoint. Input: a codec byte, then a body. Property: an
 * item that decodes is written, and reads back the same; a process that only passes it on sees the
 * same end and the same error. The body taken as bytes of a stream: frames that are read together
 * are those that are read one by one.
 */
#include "wire/frame.h"
#include "wire/kv_query.h"
#include "wire/relay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void item(struct weir_span body, enum weir_codec codec) {
    struct weir_arena arena;
    struct weir_output o, again;
    struct weir_buf first, second;
    uint32_t room[4], room2[4];
    weir_arena_init(&arena, 8 << 20);
    weir_buf_init(&first, 8 << 20);
    weir_buf_init(&second, 8 << 20);
    struct weir_output_look look = {0};
    enum weir_status looked = weir_output_look(body, codec, &look);
    enum weir_status st = weir_output_decode(body, codec, room, 4, &arena, &o);
    must(st != WEIR_OK || (looked == WEIR_OK && look.has_data == o.has_data &&
                           look.is_error == o.is_error && look.complete_final == o.complete_final));
    if (st == WEIR_OK && weir_output_encode(&o, codec, &first) == WEIR_OK) {
        must(weir_output_decode(weir_buf_span(&first), codec, room2, 4, &arena, &again) == WEIR_OK);
        must(again.token_ids.n == o.token_ids.n && again.complete_final == o.complete_final &&
             again.is_error == o.is_error && again.has_output == o.has_output);
        must(o.token_ids.n == 0 ||
             memcmp(o.token_ids.ids, again.token_ids.ids, 4 * o.token_ids.n) == 0);
        must(weir_output_encode(&again, codec, &second) == WEIR_OK);
        must(o.is_error || weir_span_eq(weir_buf_span(&first), weir_buf_span(&second)));
    }
    weir_buf_fini(&first);
    weir_buf_fini(&second);
    weir_arena_fini(&arena);
}

static void answer(struct weir_span body, enum weir_codec codec) {
    struct weir_kv_answer a, again;
    struct weir_buf scratch, scratch2, out;
    weir_buf_init(&scratch, 1 << 22);
    weir_buf_init(&scratch2, 1 << 23);
    weir_buf_init(&out, 1 << 23);
    if (weir_kv_answer_decode(body, codec, &scratch, &a) == WEIR_OK &&
        weir_kv_answer_encode(&a, codec, &out) == WEIR_OK) {
        must(weir_kv_answer_decode(weir_buf_span(&out), codec, &scratch2, &again) == WEIR_OK);
        must(again.kind == a.kind && again.last_event_id == a.last_event_id);
    }
    weir_buf_fini(&scratch);
    weir_buf_fini(&scratch2);
    weir_buf_fini(&out);
}

/* {"data":{"data":{"token_ids":[7]}},"complete_final":false} */
static const char json_item[] =
    "{\"data\":{\"data\":{\"token_ids\":[7]}},\"complete_final\":false}";
static const char mp_item[] = "\x82\xa4"
                              "data\x81\xa4"
                              "data\x81\xa9"
                              "token_ids\x91\x07\xae"
                              "complete_final\xc2";

static void frames(struct weir_span in, enum weir_codec codec) {
    struct weir_output_pattern pattern = {0};
    struct weir_output o;
    struct weir_arena arena;
    uint32_t ids[8], id = 0;
    size_t ends[8], at = 0, used = 0, need = 0;
    struct weir_span known = codec == WEIR_CODEC_JSON ? weir_span(json_item, sizeof(json_item) - 1)
                                                      : weir_span(mp_item, sizeof(mp_item) - 1);
    weir_arena_init(&arena, 1 << 20);
    must(weir_output_decode_like(&pattern, known, codec, ids, 8, &arena, &o) == WEIR_OK);
    must(pattern.before > 0);
    weir_arena_fini(&arena);
    size_t n = weir_output_frames_like(&pattern, in, codec, ids, ends, 8);
    for (size_t i = 0; i < 8; i++) {
        struct weir_two_part msg;
        bool like = weir_two_part_decode(weir_span(in.data + at, in.len - at), 1 << 20, &msg, &used,
                                         &need) == WEIR_OK &&
                    msg.header.len == 0 && weir_output_like(&pattern, msg.body, codec, &id);
        must(like == (i < n));
        if (!like)
            break;
        at += used;
        must(ends[i] == at && ids[i] == id);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    enum weir_codec codec = (data[0] & 1) != 0 ? WEIR_CODEC_MSGPACK : WEIR_CODEC_JSON;
    struct weir_span body = weir_span((const char *)data + 1, size - 1);
    item(body, codec);
    answer(body, codec);
    frames(body, codec);
    return 0;
}
