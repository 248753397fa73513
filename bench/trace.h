/*
 * A request trace in Mooncake's form: one JSON object a line with `timestamp` (milliseconds),
 * `input_length` and `output_length` (tokens) and `hash_ids`, one for each block of 512 prompt
 * tokens; equal ids are equal blocks with an equal past. Unknown members are passed over. The
 * reading is pure; the result is read-only for all threads.
 */
#ifndef WEIR_BENCH_TRACE_H
#define WEIR_BENCH_TRACE_H

#include "base/span.h"
#include "base/status.h"

struct weir_trace_line {
    double timestamp_ms; /* never before that of the line above */
    uint32_t input_tokens, output_tokens;
    uint32_t n_ids;
    size_t first_id; /* index into ids */
};

struct weir_trace {
    struct weir_trace_line *lines; /* owned */
    size_t n_lines;
    uint64_t *ids; /* owned */
    size_t n_ids;
};

/* Bounds: 2^24 lines, 2^28 ids, 2^24 tokens a request. Errors name the line and what is wrong. A
 * request must have exactly as many ids as blocks of `block_tokens` that its prompt touches.
 * On failure nothing is owned. */
enum weir_status weir_trace_parse(struct weir_span text, uint32_t block_tokens,
                                  struct weir_trace *ret_trace,
                                  struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_trace_load(const char *path, uint32_t block_tokens,
                                 struct weir_trace *ret_trace,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Requests that share a timestamp are spread evenly over the time until the next one: recorders
 * that look at the clock every few seconds make bursts that never were. The last group takes the
 * step before it. */
void weir_trace_spread(struct weir_trace *trace);
/* Accepts NULL. */
void weir_trace_fini(struct weir_trace *trace);
const uint64_t *weir_trace_ids(const struct weir_trace *trace, const struct weir_trace_line *line);

#endif
