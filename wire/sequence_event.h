/*
 * What routers tell each other about requests: begun, first token, ended (topic
 * active_sequences_events). Workers of the reference system tell of first tokens too. Source:
 * shared spec "kvrouter" 4.6, captures in its data. Pure.
 */
#ifndef WEIR_WIRE_SEQUENCE_EVENT_H
#define WEIR_WIRE_SEQUENCE_EVENT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"

enum weir_sequence_kind { WEIR_SEQUENCE_ADD, WEIR_SEQUENCE_PREFILL_DONE, WEIR_SEQUENCE_FREE };

struct weir_sequence_event {
    enum weir_sequence_kind kind;
    struct weir_span request_id;
    uint64_t worker_id;
    uint32_t dp_rank;
    uint64_t router_id; /* who says so */
    /* add */
    const uint64_t *hashes; /* sequence hashes of the prompt's complete blocks */
    size_t n_hashes;
    bool track_prefill;
    uint64_t prefill_tokens; /* that are not cached */
};

enum { WEIR_SEQUENCE_HASHES_MAX = 1 << 20, WEIR_SEQUENCE_EVENTS_MAX = 1 << 16 };

/* One event as a map: a whole message over NATS. */
enum weir_status weir_sequence_event_encode(const struct weir_sequence_event *event,
                                            struct weir_buf *out) WEIR_MUST_CHECK;
/* Several, each encoded as above and one behind the other: a message over ZeroMQ. */
enum weir_status weir_sequence_events_wrap(struct weir_span events, uint32_t n,
                                           struct weir_buf *out) WEIR_MUST_CHECK;
/* Either kind of message; fn for each event in order, valid for the call. Events of a kind that is
 * not known are passed over. WEIR_INVALID after the good events before the fault. The arena is
 * reset between events. */
typedef void (*weir_sequence_fn)(void *arg, const struct weir_sequence_event *event);
enum weir_status weir_sequence_events_decode(struct weir_span message, struct weir_arena *arena,
                                             weir_sequence_fn fn, void *arg) WEIR_MUST_CHECK;

#endif
