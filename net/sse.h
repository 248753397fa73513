/* Server-sent events, reading side (WHATWG "event stream interpretation"): incremental and bounded.
 */
#ifndef WEIR_NET_SSE_H
#define WEIR_NET_SSE_H

#include "base/buf.h"

struct weir_sse {
    struct weir_buf line, data, event;
    bool skip_lf, has_data;
};

/* data lines are joined with LF; `event` is "" when unnamed. Comments are not reported. */
typedef void (*weir_sse_fn)(void *arg, struct weir_span event, struct weir_span data);
void weir_sse_init(struct weir_sse *sse, size_t max_event_bytes);
void weir_sse_fini(struct weir_sse *sse);
enum weir_status weir_sse_feed(struct weir_sse *sse, struct weir_span bytes, weir_sse_fn fn,
                               void *arg) WEIR_MUST_CHECK;

#endif
