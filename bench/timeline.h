/*
 * The course of a run: a fixed number of equal time buckets whose width doubles when the run
 * outgrows them, so that a run of any length costs the same memory. Pure.
 */
#ifndef WEIR_BENCH_TIMELINE_H
#define WEIR_BENCH_TIMELINE_H

#include "bench/hist.h"

enum { WEIR_TIMELINE_BUCKETS = 240, WEIR_TIMELINE_BITS = 4 };

struct weir_timeline_bucket {
    uint64_t sent, done, errors, tokens;
    uint64_t in_flight;    /* the most seen */
    struct weir_hist ttft; /* of answers that began here; whole answer when not streamed */
};

struct weir_timeline {
    uint64_t width_ns;
    struct weir_timeline_bucket *buckets; /* owned */
};

enum weir_status weir_timeline_init(struct weir_timeline *t, uint64_t width_ns) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_timeline_fini(struct weir_timeline *t);
/* The bucket of a time since the start of the run. */
struct weir_timeline_bucket *weir_timeline_at(struct weir_timeline *t, uint64_t ns);
/* Adds src to dst; widths must be a power of two apart. src may be coarsened for it. */
void weir_timeline_merge(struct weir_timeline *dst, struct weir_timeline *src);
/* Buckets up to the last one that holds anything. */
unsigned weir_timeline_used(const struct weir_timeline *t);

#endif
