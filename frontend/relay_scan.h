/*
 * Looks at an engine's answer while it passes: whole event frames of a stream, and the counts that
 * engines report. Pure.
 */
#ifndef WEIR_FRONTEND_RELAY_SCAN_H
#define WEIR_FRONTEND_RELAY_SCAN_H

#include "base/buf.h"

struct weir_relay_scan {
    struct weir_buf held; /* owned: what was passed last (`passed` bytes), then the begin of a
                             frame whose end has not come */
    size_t passed, max_frame;
    uint64_t n_data; /* data events so far, [DONE] not counted */
    bool done;       /* [DONE] was seen */
    bool failed;     /* an error event was seen */
    bool cut;        /* a frame was too long, and passed in pieces */
    int64_t prompt_tokens, completion_tokens, cached_tokens; /* -1 = not told */
};

/* A frame longer than `max_frame` passes in pieces, unseen. */
void weir_relay_scan_init(struct weir_relay_scan *s, size_t max_frame);
void weir_relay_scan_fini(struct weir_relay_scan *s);
/* Takes what came. *ret_pass: what may go on now, whole frames; valid until the next call. */
enum weir_status weir_relay_scan_push(struct weir_relay_scan *s, struct weir_span bytes,
                                      struct weir_span *ret_pass) WEIR_MUST_CHECK;
/* The data of the next event in what has passed, which is cut off *frames; false: there is none. */
bool weir_relay_scan_next(struct weir_span *frames, struct weir_span *ret_data);
/* The counts of a whole answer (JSON). What cannot be read is left out. */
void weir_relay_scan_body(struct weir_relay_scan *s, struct weir_span json);

#endif
