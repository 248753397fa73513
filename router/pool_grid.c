#include "router/pool_grid.h"

#include <math.h>

uint32_t weir_pool_axis_index(const struct weir_pool_axis *axis, double value) {
    if (isnan(value))
        value = (axis->min + axis->max) / 2;
    double step = (axis->max - axis->min) / axis->resolution;
    /* Clamped as a double first: the cast of a huge or infinite one is undefined. */
    double bucket = trunc((value - axis->min) / step);
    if (!(bucket > 0))
        return 0;
    return bucket >= axis->resolution ? axis->resolution - 1 : (uint32_t)bucket;
}

struct weir_pool_choice weir_pool_grid_select(const struct weir_pool_grid *grid,
                                              const double *values, bool has_priority,
                                              int64_t priority) {
    struct weir_pool_choice c = {0};
    size_t cell = 0;
    for (unsigned i = 0; i < grid->n_axes; i++) {
        c.index[i] = weir_pool_axis_index(&grid->axes[i], values[i]);
        cell = cell * grid->axes[i].resolution + c.index[i];
    }
    c.pool = grid->mapping[cell];
    for (size_t i = 0; has_priority && !c.overridden && i < grid->n_overrides; i++) {
        const struct weir_pool_override *o = &grid->overrides[i];
        if (priority >= o->min_priority && priority <= o->max_priority) {
            c.pool = o->target;
            c.overridden = true;
        }
    }
    return c;
}

size_t weir_pool_retry_order(uint32_t selected, const int64_t *priorities, size_t n, bool retry,
                             uint32_t *ret_order) {
    size_t count = 0;
    if (selected >= n)
        return 0;
    ret_order[count++] = selected;
    int64_t below = priorities[selected];
    while (retry) {
        /* The next lower number that any pool has. */
        bool found = false;
        int64_t next = 0;
        for (size_t i = 0; i < n; i++)
            if (priorities[i] < below && (!found || priorities[i] > next)) {
                next = priorities[i];
                found = true;
            }
        if (!found)
            break;
        for (size_t i = 0; i < n; i++)
            if (priorities[i] == next)
                ret_order[count++] = (uint32_t)i;
        below = next;
    }
    return count;
}

static uint32_t best_pool(double size, double target_ms, const double *costs, size_t n_pools,
                          weir_pool_latency_fn latency, void *arg) {
    size_t cheapest = n_pools, fastest = 0;
    double fastest_ms = INFINITY;
    for (size_t p = 0; p < n_pools; p++) {
        double ms = latency(arg, p, size);
        if (ms <= target_ms && (cheapest == n_pools || costs[p] < costs[cheapest]))
            cheapest = p;
        if (ms < fastest_ms) {
            fastest_ms = ms;
            fastest = p;
        }
    }
    return (uint32_t)(cheapest < n_pools ? cheapest : fastest);
}

void weir_pool_grid_build(const struct weir_pool_axis *size, const struct weir_pool_axis *target,
                          const double *costs, size_t n_pools, weir_pool_latency_fn latency,
                          void *arg, uint32_t *ret_mapping) {
    double size_step = (size->max - size->min) / size->resolution;
    double target_step = (target->max - target->min) / target->resolution;
    for (uint32_t s = 0; s < size->resolution; s++)
        for (uint32_t t = 0; t < target->resolution; t++)
            ret_mapping[(size_t)s * target->resolution + t] =
                best_pool(size->min + (s + 0.5) * size_step, target->min + (t + 1) * target_step,
                          costs, n_pools, latency, arg);
}
