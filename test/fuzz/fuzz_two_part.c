/*
 * Two-part messages. Input: a limit byte, then what a peer sends. Properties: the same messages
 * come out wherever the bytes are cut; a message encodes to the bytes that it came from; header
 * frames are read as stream control and as control headers without harm.
 */
#include "wire/control.h"
#include "wire/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void read_header(struct weir_span header) {
    struct weir_arena arena;
    struct weir_control control, again;
    struct weir_wire_error error;
    struct weir_span subject;
    struct weir_buf out;
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    (void)weir_stream_ctl_decode(header, &arena, &error);
    (void)!weir_handshake_decode(header, &subject);
    if (weir_control_decode(header, &arena, &control) == WEIR_OK &&
        weir_control_encode(&control, &out) == WEIR_OK) {
        must(weir_control_decode(weir_buf_span(&out), &arena, &again) == WEIR_OK);
        must(weir_span_eq(again.id, control.id) && weir_span_eq(again.subject, control.subject) &&
             weir_span_eq(again.address, control.address));
    }
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    size_t max = (size_t)data[0] * 16;
    struct weir_span rest = weir_span((const char *)data + 1, size - 1);
    struct weir_two_part msg, cut;
    size_t used = 0, need = 0, cut_used, cut_need;
    enum weir_status st;
    while ((st = weir_two_part_decode(rest, max, &msg, &used, &need)) == WEIR_OK) {
        must(used == WEIR_TWO_PART_HEAD + msg.header.len + msg.body.len && used <= rest.len);
        must(msg.header.len + msg.body.len <= max);
        must(weir_two_part_decode(weir_span(rest.data, used - 1), max, &cut, &cut_used,
                                  &cut_need) == WEIR_AGAIN);
        must(cut_need == (used > WEIR_TWO_PART_HEAD ? used : 0));
        struct weir_buf out;
        weir_buf_init(&out, 1 << 20);
        if (weir_two_part_encode(msg.header, msg.body, &out) == WEIR_OK) {
            must(out.len == used && memcmp(out.data, rest.data, 16) == 0);
            must(memcmp(out.data + 24, rest.data + 24, used - 24) == 0);
        }
        weir_buf_fini(&out);
        if (msg.header.len > 0)
            read_header(msg.header);
        rest = weir_span(rest.data + used, rest.len - used);
    }
    must(st == WEIR_TOO_LARGE || st == WEIR_AGAIN);
    must(st != WEIR_AGAIN || need == 0 || need > rest.len);
    return 0;
}
