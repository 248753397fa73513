/*
 * A snapshot of a KV index: a list of RouterEvents, parents first, in the reference system's binary
 * form (its serializer's fixed-width little-endian integers, u32 variants, one byte before an
 * optional value, u64 before a list). Sources: shared spec "kvrouter" 2.4; the members and their
 * order as releases 1.0, 1.1 and 1.2 declare them, which all wrote such snapshots: 1.1 added the
 * storage tier, 1.2 the start position. Pure.
 */
#ifndef WEIR_WIRE_RADIX_STATE_H
#define WEIR_WIRE_RADIX_STATE_H

#include "wire/kv_event.h"

/* Writes the newest form. `out` is emptied first and is whole after weir_radix_end. */
struct weir_radix_writer {
    struct weir_buf *out; /* borrowed */
    uint64_t n;
    enum weir_status status; /* the first failure stays */
};
void weir_radix_begin(struct weir_radix_writer *w, struct weir_buf *out);
void weir_radix_put(struct weir_radix_writer *w, const struct weir_kv_event *event);
enum weir_status weir_radix_end(struct weir_radix_writer *w) WEIR_MUST_CHECK;

/* Any of the three forms. Each event is handed to fn when all can be read; blocks lie in the arena,
 * which is reset between events. WEIR_PROTOCOL: none of the forms, and nothing was handed over;
 * WEIR_NOMEM: broken off. */
enum weir_status weir_radix_read(struct weir_span bytes, struct weir_arena *arena,
                                 weir_kv_event_fn fn, void *arg, uint64_t *ret_n) WEIR_MUST_CHECK;

#endif
