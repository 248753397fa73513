/*
 * Which pool serves a request: a grid over prompt size and latency target, overrides by priority,
 * and the order in which faster pools are tried when the chosen one fails. Pure. Source: shared
 * spec "deploy" 1.5 and 1.10.
 */
#ifndef WEIR_ROUTER_POOL_GRID_H
#define WEIR_ROUTER_POOL_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIR_POOL_MAX_AXES = 3, WEIR_POOL_MAX = 4096 };

/* One axis: `resolution` equal buckets over [min, max); values outside fall into the end buckets.
 * min < max, both finite; resolution > 0. */
struct weir_pool_axis {
    const char *name; /* "isl", "ttft", …: static */
    double min, max;
    uint32_t resolution;
};
/* Requests with a priority in [min, max] go to `target`; the first rule that matches wins. */
struct weir_pool_override {
    int64_t min_priority, max_priority;
    uint32_t target;
};
struct weir_pool_grid {
    struct weir_pool_axis axes[WEIR_POOL_MAX_AXES];
    unsigned n_axes;
    const uint32_t *mapping;                    /* borrowed; row-major, the first axis outermost */
    const struct weir_pool_override *overrides; /* borrowed */
    size_t n_overrides;
};

/* Bucket of a value; NAN means "not given" and takes the middle of the axis. A boundary belongs to
 * the upper bucket. */
uint32_t weir_pool_axis_index(const struct weir_pool_axis *axis, double value);
struct weir_pool_choice {
    uint32_t pool;
    uint32_t index[WEIR_POOL_MAX_AXES]; /* bucket of each axis */
    bool overridden;                    /* a priority rule decided */
};
/* values: one an axis. */
struct weir_pool_choice weir_pool_grid_select(const struct weir_pool_grid *grid,
                                              const double *values, bool has_priority,
                                              int64_t priority);
/* The pools to try: the selected one, then, when `retry`, those of each lower priority number, from
 * slow to fast. ret_order has room for n. Returns how many, 0 when selected >= n. */
size_t weir_pool_retry_order(uint32_t selected, const int64_t *priorities, size_t n, bool retry,
                             uint32_t *ret_order);

/*
 * The grid builder (spec 1.12): for each cell the cheapest pool whose predicted latency at the
 * middle of the size bucket stays within the upper edge of the latency bucket, else the fastest.
 * latency(arg, pool, size) in milliseconds, NAN = the pool cannot serve that size.
 */
typedef double (*weir_pool_latency_fn)(void *arg, size_t pool, double size);
/* ret_mapping: size->resolution * target->resolution entries. */
void weir_pool_grid_build(const struct weir_pool_axis *size, const struct weir_pool_axis *target,
                          const double *costs, size_t n_pools, weir_pool_latency_fn latency,
                          void *arg, uint32_t *ret_mapping);

#endif
