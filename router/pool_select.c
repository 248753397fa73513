#include "router/pool_select.h"

#include <math.h>

static double value_of(const struct weir_pool_axis *axis, const struct weir_pool_query *query,
                       const struct weir_pool_targets *defaults) {
    if (strcmp(axis->name, "ttft") == 0)
        return isnan(query->ttft_ms) ? defaults->ttft_ms : query->ttft_ms;
    if (strcmp(axis->name, "itl") == 0)
        return isnan(query->itl_ms) ? defaults->itl_ms : query->itl_ms;
    return (double)query->n_tokens; /* "isl", "context_length" */
}

struct weir_pool_choice weir_pool_select(const struct weir_pool_set *set,
                                         const struct weir_pool_query *query,
                                         const struct weir_pool_targets *defaults) {
    double values[WEIR_POOL_MAX_AXES];
    for (unsigned i = 0; i < set->grid.n_axes; i++)
        values[i] = value_of(&set->grid.axes[i], query, defaults);
    return weir_pool_grid_select(&set->grid, values, query->has_priority, query->priority);
}
