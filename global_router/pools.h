/* The routers of each pool of one phase, as discovery shows them: instances of
 * `<namespace>.router.generate`, taken in turn. Thread: one loop. */
#ifndef WEIR_GLOBAL_ROUTER_POOLS_H
#define WEIR_GLOBAL_ROUTER_POOLS_H

#include "router/pool_config.h"
#include "wire/record.h"

struct weir_pools;

/* `set` is borrowed: outlives the pools. */
enum weir_status weir_pools_create(const struct weir_pool_set *set,
                                   struct weir_pools **ret_pools) WEIR_MUST_CHECK;
void weir_pools_destroy(struct weir_pools *pools); /* accepts NULL */
const struct weir_pool_set *weir_pools_set(const struct weir_pools *pools);
/* An instance record came, changed or (address data NULL) went. True when it is one of ours. */
bool weir_pools_update(struct weir_pools *pools, const struct weir_endpoint_id *endpoint,
                       uint64_t instance_id, struct weir_span address);
/* Address of an instance; data NULL: not known. Valid until the next update. */
struct weir_span weir_pools_address(const struct weir_pools *pools,
                                    const struct weir_endpoint_id *endpoint, uint64_t instance_id);
unsigned weir_pools_instances(const struct weir_pools *pools, uint32_t pool);
/* The next router of a pool; data NULL: there is none. Valid until the next update. */
struct weir_span weir_pools_pick(struct weir_pools *pools, uint32_t pool);

#endif
