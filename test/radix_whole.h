/* A whole snapshot of an index: read as the product reads it in pieces of `piece` bytes, a look for
 * its form, then its events; or written into a buffer that nobody emptied meanwhile. */
#ifndef WEIR_TEST_RADIX_WHOLE_H
#define WEIR_TEST_RADIX_WHOLE_H

#include "wire/radix_state.h"

#include <string.h>

static inline enum weir_status radix_whole(struct weir_span bytes, size_t piece,
                                           struct weir_arena *arena, weir_kv_event_fn fn, void *arg,
                                           uint64_t *ret_n) {
    struct weir_radix_look look;
    struct weir_radix_reader r;
    unsigned form = 0;
    weir_radix_look_init(&look);
    for (size_t at = 0; at < bytes.len; at += piece)
        weir_radix_look_feed(
            &look, weir_span(bytes.data + at, bytes.len - at < piece ? bytes.len - at : piece));
    enum weir_status st = weir_radix_look_end(&look, &form);
    weir_radix_look_fini(&look);
    if (st != WEIR_OK)
        return st;
    weir_radix_reader_init(&r, form, arena, fn, arg);
    for (size_t at = 0; st == WEIR_OK && at < bytes.len; at += piece)
        st = weir_radix_feed(
            &r, weir_span(bytes.data + at, bytes.len - at < piece ? bytes.len - at : piece));
    if (st == WEIR_OK)
        st = weir_radix_read_end(&r);
    *ret_n = r.done;
    weir_radix_reader_fini(&r);
    return st;
}

static inline enum weir_status radix_written(const struct weir_radix_writer *w) {
    char head[WEIR_RADIX_HEAD];
    enum weir_status st = weir_radix_end(w, head);
    if (st == WEIR_OK)
        memcpy(w->out->data, head, sizeof(head));
    return st;
}

#endif
