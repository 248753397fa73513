/*
 * Body of POST /busy_threshold, with the reference system's texts for every refusal (shared spec
 * "frontend" 5). Pure.
 */
#ifndef WEIR_WIRE_BUSY_H
#define WEIR_WIRE_BUSY_H

#include "wire/openai.h"

struct weir_busy_request {
    struct weir_span model;
    /* NAN or -1: not given, or null: unchanged */
    double decode_blocks, prefill_tokens_frac;
    int64_t prefill_tokens; /* larger numbers are cut to INT64_MAX */
};
/* WEIR_INVALID: *ret_error says why; http_status 400 broken JSON or out of range, 422 another
 * shape. Bytes behind the object are ignored, as the reference system does. */
enum weir_status weir_busy_parse(struct weir_span body, struct weir_arena *arena,
                                 struct weir_busy_request *ret_request,
                                 struct weir_openai_error *ret_error) WEIR_MUST_CHECK;

#endif
