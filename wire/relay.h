/*
 * What a process that passes messages on has to see of them, without decoding the rest: the end of
 * a stream, an error, and of a request the figures by which a pool is chosen. Source: shared spec
 * "transport" 3, "deploy" 1.6. Pure.
 */
#ifndef WEIR_WIRE_RELAY_H
#define WEIR_WIRE_RELAY_H

#include "wire/output.h"

struct weir_output_look {
    bool has_data;       /* an item is there */
    bool is_error;       /* and it is an error */
    bool complete_final; /* nothing follows */
};
/* WEIR_PROTOCOL: not a wrapper. Allocates nothing. */
enum weir_status weir_output_look(struct weir_span wrapper, enum weir_codec codec,
                                  struct weir_output_look *ret_look) WEIR_MUST_CHECK;

/* Figures of a PreprocessedRequest. Targets in milliseconds, NAN when the request names none: from
 * `router` (where 0 is a target), else from `extra_args` (where 0 means none). */
struct weir_pool_query {
    size_t n_tokens;
    bool packed; /* token_ids are bytes: little-endian 32-bit ids; MessagePack only */
    double ttft_ms, itl_ms;
    bool has_priority;
    int64_t priority;
};
/* WEIR_INVALID: unreadable. */
enum weir_status weir_pool_query_decode(struct weir_span body, enum weir_codec codec,
                                        struct weir_pool_query *ret_query) WEIR_MUST_CHECK;
/* The targets alone, of the members `router` and `extra_args` (each JSON or NULL). NAN: none. */
void weir_pool_query_targets(struct weir_span router, struct weir_span extra_args,
                             double *ret_ttft_ms, double *ret_itl_ms);
/* Appends the same request with packed token ids as a list; all other members byte for byte. */
enum weir_status weir_pool_query_unpack(struct weir_span body,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

#endif
