/*
 * Items that are like the last: one token id between the same bytes. Whatever differs goes the long
 * way, and what comes out of either way is the same.
 */
#include "wire/frame.h"
#include "wire/output_priv.h"

#include <math.h>
#include <string.h>

enum { MOST_ID = 10 }; /* bytes of an id, as JSON has it */

/* Reads the id at `at` when it takes the whole of `room` bytes. */
static bool read_one_id(enum weir_codec codec, const char *at, size_t room, uint32_t *ret) {
    const unsigned char *p = (const unsigned char *)at;
    uint64_t v = 0;
    if (codec == WEIR_CODEC_MSGPACK) {
        switch (room) {
        case 1:
            *ret = p[0];
            return p[0] <= 0x7f;
        case 2:
            *ret = p[1];
            return p[0] == 0xcc;
        case 3:
            *ret = (uint32_t)p[1] << 8 | p[2];
            return p[0] == 0xcd;
        case 5:
            *ret = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
            return p[0] == 0xce;
        default:
            return false;
        }
    }
    if (room == 0 || room > MOST_ID || (p[0] == '0' && room > 1))
        return false;
    for (size_t i = 0; i < room; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (p[i] - '0');
    }
    *ret = (uint32_t)v;
    return v <= UINT32_MAX;
}

/* One token id and nothing that could point into the input or change from item to item. */
static bool is_plain(const struct weir_output *o) {
    return o->has_output && o->token_ids.n == 1 && !o->complete_final && !o->is_error &&
           !o->has_usage && o->finish == WEIR_FINISH_NONE && o->logprobs == NULL &&
           isnan(o->cum_log_probs) && o->text.data == NULL && o->event.data == NULL &&
           !o->comment.set && o->finish_text.data == NULL && o->stop_reason.data == NULL &&
           o->disaggregated_params.data == NULL && o->engine_data.data == NULL;
}

static void keep(struct weir_output_pattern *p, struct weir_span bytes, enum weir_codec codec,
                 const struct weir_output_place *at, const struct weir_output *o) {
    size_t after = bytes.len - at->to;
    uint32_t id = 0;
    if (!is_plain(o) || at->from + after > sizeof(p->bytes) ||
        !read_one_id(codec, bytes.data + at->from, at->to - at->from, &id))
        return;
    p->codec = codec;
    p->before = at->from;
    p->after = after;
    p->item = *o;
    memcpy(p->bytes, bytes.data, p->before);
    memcpy(p->bytes + p->before, bytes.data + at->to, after);
}

bool weir_output_like(const struct weir_output_pattern *p, struct weir_span bytes,
                      enum weir_codec codec, uint32_t *ret_id) {
    size_t around = p->before + p->after;
    return around > 0 && p->codec == codec && bytes.len > around &&
           memcmp(bytes.data, p->bytes, p->before) == 0 &&
           memcmp(bytes.data + bytes.len - p->after, p->bytes + p->before, p->after) == 0 &&
           read_one_id(codec, bytes.data + p->before, bytes.len - around, ret_id);
}

size_t weir_output_frames_like(const struct weir_output_pattern *p, struct weir_span in,
                               enum weir_codec codec, uint32_t *ret_ids, size_t *ret_ends,
                               size_t room) {
    size_t n = 0, at = 0, around = p->before + p->after;
    if (around == 0 || p->codec != codec)
        return 0;
    while (n < room && in.len - at > WEIR_TWO_PART_HEAD + around) {
        const char *item = in.data + at + WEIR_TWO_PART_HEAD;
        uint64_t header, body;
        weir_two_part_lengths(in.data + at, &header, &body);
        if (header != 0 || body <= around || body > around + MOST_ID ||
            body > in.len - at - WEIR_TWO_PART_HEAD || memcmp(item, p->bytes, p->before) != 0 ||
            memcmp(item + body - p->after, p->bytes + p->before, p->after) != 0 ||
            !read_one_id(codec, item + p->before, (size_t)body - around, &ret_ids[n]))
            break;
        at += WEIR_TWO_PART_HEAD + (size_t)body;
        ret_ends[n++] = at;
    }
    return n;
}

enum weir_status weir_output_decode_like(struct weir_output_pattern *p, struct weir_span bytes,
                                         enum weir_codec codec, uint32_t *ids_room,
                                         size_t n_ids_room, struct weir_arena *arena,
                                         struct weir_output *ret_out) {
    struct weir_output_place at;
    if (n_ids_room > 0 && weir_output_like(p, bytes, codec, ids_room)) {
        *ret_out = p->item;
        ret_out->token_ids = (struct weir_ids){ids_room, 1};
        return WEIR_OK;
    }
    if (p->n_final > 0 && p->final_codec == codec && bytes.len == p->n_final &&
        memcmp(bytes.data, p->final, bytes.len) == 0) {
        weir_output_init(ret_out);
        ret_out->complete_final = true;
        return WEIR_OK;
    }
    enum weir_status st =
        weir_output_decode_where(bytes, codec, ids_room, n_ids_room, arena, ret_out, &at);
    if (st == WEIR_OK && ret_out->token_ids.n == 1)
        keep(p, bytes, codec, &at, ret_out);
    if (st == WEIR_OK && !ret_out->has_data && bytes.len <= sizeof(p->final)) {
        p->final_codec = codec;
        p->n_final = bytes.len;
        memcpy(p->final, bytes.data, bytes.len);
    }
    return st;
}
