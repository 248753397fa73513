/*
 * A histogram of whole numbers with bounded relative error (the HDR idea: exact buckets for small
 * values, then 2^bits buckets for each power of two), so that percentiles of hundreds of millions
 * of latencies cost a fixed 60 KB. Values are what the caller wants them to be (here nanoseconds).
 * A quantile is off by at most one part in 2^(bits + 1) of its value; count, sum, minimum and
 * maximum are exact. Pure. Threads: one at a time.
 */
#ifndef WEIR_BENCH_HIST_H
#define WEIR_BENCH_HIST_H

#include "base/status.h"

#include <stdint.h>

struct weir_hist {
    uint64_t *counts; /* owned */
    unsigned bits;
    uint64_t n;
    uint64_t min, max; /* of what was recorded; meaningless while n is 0 */
    double sum, sum_squares;
};

enum { WEIR_HIST_MAX_BITS = 14, WEIR_HIST_FINE = 7 };

/* bits: 1 to WEIR_HIST_MAX_BITS. WEIR_NOMEM leaves a histogram that fini accepts. */
enum weir_status weir_hist_init(struct weir_hist *h, unsigned bits) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_hist_fini(struct weir_hist *h);
void weir_hist_clear(struct weir_hist *h);
void weir_hist_record(struct weir_hist *h, uint64_t value);
void weir_hist_record_n(struct weir_hist *h, uint64_t value, uint64_t n);
/* Adds src to dst; both must have the same bits. */
void weir_hist_merge(struct weir_hist *dst, const struct weir_hist *src);

/* The smallest recorded value that at least q of all values do not exceed (nearest rank); q from 0
 * to 1, where 0 is the minimum. 0 when nothing was recorded. */
uint64_t weir_hist_quantile(const struct weir_hist *h, double q);
double weir_hist_mean(const struct weir_hist *h);
double weir_hist_stdev(const struct weir_hist *h);
/* Share of the values that are at most `value`, within the error of the buckets. */
double weir_hist_share_below(const struct weir_hist *h, uint64_t value);

/* Number of buckets of a precision; bucket of a value; lowest and highest value of a bucket. */
unsigned weir_hist_buckets(unsigned bits);
unsigned weir_hist_bucket(unsigned bits, uint64_t value);
uint64_t weir_hist_low(unsigned bits, unsigned bucket);
uint64_t weir_hist_high(unsigned bits, unsigned bucket);

#endif
