/*
 * The KV query endpoint of a worker rank: a router asks for its whole cache or for missed events.
 * Source: shared spec "kvrouter" 2.5. Pure. The answer is one response item whose `data` is not
 * wrapped in Annotated.
 */
#ifndef WEIR_WIRE_KV_QUERY_H
#define WEIR_WIRE_KV_QUERY_H

#include "wire/control.h"
#include "wire/kv_event.h"

struct weir_kv_query {
    uint64_t worker_id;
    uint32_t dp_rank;
    bool has_start, has_end;
    uint64_t start_event_id, end_event_id;
    bool recovery; /* kind absent or "recovery"; other kinds are not answered */
};
enum weir_status weir_kv_query_encode(const struct weir_kv_query *query, enum weir_codec codec,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* WEIR_INVALID: unreadable (over 64 KiB too), or without worker_id. */
enum weir_status weir_kv_query_decode(struct weir_span body, enum weir_codec codec,
                                      struct weir_kv_query *ret_query) WEIR_MUST_CHECK;

enum weir_kv_answer_kind {
    WEIR_KV_TREE_DUMP,     /* the rank's whole cache: replaces what is known of it */
    WEIR_KV_EVENTS,        /* the missed events */
    WEIR_KV_TOO_NEW,       /* start is beyond the newest event */
    WEIR_KV_INVALID_RANGE, /* end before start */
    WEIR_KV_ERROR,         /* wrong worker or rank */
};
struct weir_kv_answer {
    enum weir_kv_answer_kind kind;
    uint64_t last_event_id;    /* TREE_DUMP, EVENTS, TOO_NEW: newest live id, 0 when none */
    uint64_t start_id, end_id; /* TOO_NEW, INVALID_RANGE: as asked */
    struct weir_span events;   /* MessagePack array of RouterEvents, for weir_kv_events_decode */
    struct weir_span error;    /* text */
};
/* Appends the wrapper {"data":{…},"complete_final":false}. */
enum weir_status weir_kv_answer_encode(const struct weir_kv_answer *answer, enum weir_codec codec,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
/* JSON is turned into MessagePack in `scratch`; spans point into it or into the body.
 * WEIR_PROTOCOL: unreadable; WEIR_TOO_LARGE: JSON that does not fit the scratch. */
enum weir_status weir_kv_answer_decode(struct weir_span body, enum weir_codec codec,
                                       struct weir_buf *scratch,
                                       struct weir_kv_answer *ret_answer) WEIR_MUST_CHECK;

#endif
