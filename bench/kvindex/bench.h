/* Parts of the KV index bench. Each function returns an exit status. */
#ifndef WEIR_BENCH_KVINDEX_BENCH_H
#define WEIR_BENCH_KVINDEX_BENCH_H

#include "bench/kvindex/gen.h"

struct bench_options {
    uint32_t max_event; /* blocks per event */
    unsigned runs;
    bool alias;       /* every worker's block names are salted */
    bool keep_up;     /* look-ups beside a writer at half speed */
    const char *peer; /* program of bench/peers_kvindex, or NULL */
};

int bench_cell(const struct gen_trace *trace, bool whole, const struct gen_cell *cell,
               const struct bench_options *o);
/* What a cell costs whatever the index does (floor.c). */
int bench_floor(const struct gen_trace *trace, const struct gen_cell *cell, unsigned runs);
int bench_churn(const struct gen_trace *trace, uint64_t ops);
int bench_shared(const struct gen_trace *trace, uint32_t workers);
int bench_grow(uint64_t blocks);
int bench_hash(void);

/* Clocks, in nanoseconds. */
uint64_t bench_wall(void);
uint64_t bench_cpu(void); /* of this thread */
double bench_rss_mb(void);
/* Sorts; the q-quantile in microseconds, less `overhead_ns`. */
double bench_quantile_us(uint32_t *ns, size_t n, double q, uint32_t overhead_ns);
uint32_t bench_clock_overhead(void);

#endif
