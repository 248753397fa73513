/* From the figures of a request to the pools to try. Pure. Source: shared spec "deploy" 1.5, 1.6,
 * 1.10. */
#ifndef WEIR_ROUTER_POOL_SELECT_H
#define WEIR_ROUTER_POOL_SELECT_H

#include "router/pool_config.h"
#include "wire/relay.h"

struct weir_pool_targets {
    double ttft_ms, itl_ms; /* NAN: none */
};
/* Pool of a request; `defaults` stand in for targets that it does not name. */
struct weir_pool_choice weir_pool_select(const struct weir_pool_set *set,
                                         const struct weir_pool_query *query,
                                         const struct weir_pool_targets *defaults);

#endif
