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

/* Writes the newest form. `out` is emptied first; its owner may take what is in it and empty it
 * again between any two calls. The number of events, which comes first, is known at the end: only
 * then the first WEIR_RADIX_HEAD bytes of all are what ret_head says. */
enum { WEIR_RADIX_HEAD = 8 };
struct weir_radix_writer {
    struct weir_buf *out; /* borrowed */
    uint64_t n;
    enum weir_status status; /* the first failure stays */
};
void weir_radix_begin(struct weir_radix_writer *w, struct weir_buf *out);
void weir_radix_put(struct weir_radix_writer *w, const struct weir_kv_event *event);
enum weir_status weir_radix_end(const struct weir_radix_writer *w,
                                char ret_head[WEIR_RADIX_HEAD]) WEIR_MUST_CHECK;

/* Reads it in pieces, as they come: only an event that is not whole yet is kept. Each is handed to
 * fn when it is whole, its blocks in the arena, which is reset between events. */
enum { WEIR_RADIX_FORMS = 3 }; /* the newest is 0 */
struct weir_radix_reader {
    unsigned form;
    struct weir_arena *arena; /* borrowed */
    weir_kv_event_fn fn;      /* NULL: only looks whether it can be read */
    void *arg;
    struct weir_buf rest;
    bool begun;
    uint64_t n, done; /* events: that there are, that were read */
    enum weir_status status;
};
/* arena and fn: both, or neither. */
void weir_radix_reader_init(struct weir_radix_reader *r, unsigned form, struct weir_arena *arena,
                            weir_kv_event_fn fn, void *arg);
void weir_radix_reader_fini(struct weir_radix_reader *r); /* accepts one full of zeros */
/* The first failure stays: WEIR_PROTOCOL: not of this form; WEIR_TOO_LARGE: an event of more than
 * WEIR_RADIX_EVENT_MAX bytes; WEIR_NOMEM. */
enum { WEIR_RADIX_EVENT_MAX = 16 << 20 };
enum weir_status weir_radix_feed(struct weir_radix_reader *r,
                                 struct weir_span bytes) WEIR_MUST_CHECK;
/* There are no more bytes. WEIR_PROTOCOL: it ends too early or too late. */
enum weir_status weir_radix_read_end(struct weir_radix_reader *r) WEIR_MUST_CHECK;

/* Finds out which form it is, reading all of it. */
struct weir_radix_look {
    struct weir_radix_reader forms[WEIR_RADIX_FORMS];
};
void weir_radix_look_init(struct weir_radix_look *look);
void weir_radix_look_fini(struct weir_radix_look *look);
void weir_radix_look_feed(struct weir_radix_look *look, struct weir_span bytes);
/* The newest form that it fits; else the failure that stood in the way. */
enum weir_status weir_radix_look_end(struct weir_radix_look *look,
                                     unsigned *ret_form) WEIR_MUST_CHECK;

#endif
