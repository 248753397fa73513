/*
 * Values below 2^(bits+1) have a bucket each. Above, a value whose highest set bit is k falls into
 * one of 2^bits equal slices of [2^k, 2^(k+1)), so its slice is at most 2^-bits of it wide and the
 * middle of the slice is off by at most half of that.
 */
#include "bench/hist.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static unsigned top_bit(uint64_t value) {
    return 63u - (unsigned)__builtin_clzll(value);
}

unsigned weir_hist_buckets(unsigned bits) {
    return weir_hist_bucket(bits, UINT64_MAX) + 1;
}

unsigned weir_hist_bucket(unsigned bits, uint64_t value) {
    if (value >> (bits + 1) == 0)
        return (unsigned)value;
    unsigned shift = top_bit(value) - bits;
    return (shift << bits) + (unsigned)(value >> shift);
}

uint64_t weir_hist_low(unsigned bits, unsigned bucket) {
    if (bucket >> (bits + 1) == 0)
        return bucket;
    unsigned shift = (bucket >> bits) - 1;
    return (uint64_t)(bucket - (shift << bits)) << shift;
}

uint64_t weir_hist_high(unsigned bits, unsigned bucket) {
    if (bucket >> (bits + 1) == 0)
        return bucket;
    unsigned shift = (bucket >> bits) - 1;
    return weir_hist_low(bits, bucket) + (((uint64_t)1 << shift) - 1);
}

enum weir_status weir_hist_init(struct weir_hist *h, unsigned bits) {
    WEIR_ASSERT(bits >= 1 && bits <= WEIR_HIST_MAX_BITS);
    *h = (struct weir_hist){.bits = bits, .min = UINT64_MAX};
    h->counts = weir_calloc(weir_hist_buckets(bits), sizeof(*h->counts));
    return h->counts != NULL ? WEIR_OK : WEIR_NOMEM;
}

void weir_hist_fini(struct weir_hist *h) {
    if (h == NULL)
        return;
    weir_free(h->counts);
    h->counts = NULL;
}

void weir_hist_clear(struct weir_hist *h) {
    memset(h->counts, 0, weir_hist_buckets(h->bits) * sizeof(*h->counts));
    h->n = 0;
    h->min = UINT64_MAX;
    h->max = 0;
    h->sum = h->sum_squares = 0;
}

void weir_hist_record_n(struct weir_hist *h, uint64_t value, uint64_t n) {
    if (n == 0)
        return;
    h->counts[weir_hist_bucket(h->bits, value)] += n;
    h->n += n;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    double v = (double)value, times = (double)n;
    h->sum += v * times;
    h->sum_squares += v * v * times;
}

void weir_hist_record(struct weir_hist *h, uint64_t value) {
    weir_hist_record_n(h, value, 1);
}

void weir_hist_merge(struct weir_hist *dst, const struct weir_hist *src) {
    WEIR_ASSERT(dst->bits == src->bits);
    if (src->n == 0)
        return;
    unsigned n = weir_hist_buckets(dst->bits);
    for (unsigned i = 0; i < n; i++)
        dst->counts[i] += src->counts[i];
    dst->n += src->n;
    dst->min = src->min < dst->min ? src->min : dst->min;
    dst->max = src->max > dst->max ? src->max : dst->max;
    dst->sum += src->sum;
    dst->sum_squares += src->sum_squares;
}

/* The middle of a bucket, kept inside what was seen, so that one value is given back exactly. */
static uint64_t middle(const struct weir_hist *h, unsigned bucket) {
    uint64_t low = weir_hist_low(h->bits, bucket), high = weir_hist_high(h->bits, bucket);
    uint64_t mid = low + (high - low) / 2;
    return mid < h->min ? h->min : mid > h->max ? h->max : mid;
}

uint64_t weir_hist_quantile(const struct weir_hist *h, double q) {
    if (h->n == 0)
        return 0;
    if (!(q > 0))
        return h->min;
    double want = ceil(q * (double)h->n);
    uint64_t rank = want < 1 ? 1 : want >= (double)h->n ? h->n : (uint64_t)want;
    if (rank == h->n)
        return h->max;
    uint64_t seen = 0;
    unsigned n = weir_hist_buckets(h->bits);
    for (unsigned i = weir_hist_bucket(h->bits, h->min); i < n; i++) {
        seen += h->counts[i];
        if (seen >= rank)
            return middle(h, i);
    }
    return h->max;
}

double weir_hist_mean(const struct weir_hist *h) {
    return h->n > 0 ? h->sum / (double)h->n : 0;
}

double weir_hist_stdev(const struct weir_hist *h) {
    if (h->n < 2)
        return 0;
    double n = (double)h->n, mean = h->sum / n, var = h->sum_squares / n - mean * mean;
    return var > 0 ? sqrt(var * n / (n - 1)) : 0;
}

double weir_hist_share_below(const struct weir_hist *h, uint64_t value) {
    if (h->n == 0)
        return 0;
    if (value >= h->max)
        return 1;
    uint64_t seen = 0;
    unsigned last = weir_hist_bucket(h->bits, value);
    for (unsigned i = 0; i <= last; i++)
        seen += h->counts[i];
    return (double)seen / (double)h->n;
}
