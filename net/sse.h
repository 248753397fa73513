/*
 * Server-sent events, reading side (WHATWG "event stream interpretation"): incremental and bounded.
 * Bytes may be cut anywhere. They are not decoded: what is no UTF-8 comes out as it came in.
 */
#ifndef WEIR_NET_SSE_H
#define WEIR_NET_SSE_H

#include "base/buf.h"

struct weir_sse {
    struct weir_buf line, data, event; /* line: the part of a line whose end has not come */
    bool skip_lf, has_data;
    uint8_t bom; /* bytes of a byte order mark matched at the start; above 3: past the start */
};

/* data lines are joined with LF; `event` is "" when unnamed. Comments are not reported. Both spans
 * are borrowed for the call, in which the reader must not be fed or finished. */
typedef void (*weir_sse_fn)(void *arg, struct weir_span event, struct weir_span data);
/* The bound holds for the data of one event and for one line. */
void weir_sse_init(struct weir_sse *sse, size_t max_event_bytes);
void weir_sse_fini(struct weir_sse *sse);
/* WEIR_TOO_LARGE, WEIR_NOMEM: the stream cannot be read on. An event without its empty line at the
 * end of the stream is dropped, as the standard wants. */
enum weir_status weir_sse_feed(struct weir_sse *sse, struct weir_span bytes, weir_sse_fn fn,
                               void *arg) WEIR_MUST_CHECK;

#endif
