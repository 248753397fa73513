/* A load on one loop of this thread, waited for: what the comparing benches are made of. */
#ifndef WEIR_BENCH_DRIVE_H
#define WEIR_BENCH_DRIVE_H

#include "bench/load.h"

/* Runs to the end. n_loops and start_ns are set here; the tally is the caller's to free. */
enum weir_status weir_drive(struct weir_load_run *run, struct weir_tally *ret_tally,
                            struct weir_err *err) WEIR_MUST_CHECK;

/* A closed loop of one shape of request against 127.0.0.1. */
struct weir_drive_shape {
    uint16_t port;
    const char *model;
    bool stream;
    uint64_t prompt_chars;
    uint64_t max_tokens;
    uint64_t requests, concurrency;
    uint64_t seed; /* another seed, other prompts */
};
/* WEIR_UNAVAILABLE with words when any request failed. */
enum weir_status weir_drive_shape(const struct weir_drive_shape *shape,
                                  struct weir_tally *ret_tally,
                                  struct weir_err *err) WEIR_MUST_CHECK;

#endif
