/* Connections of one loop to HTTP engines: a pool for each address, made at its first use. */
#ifndef WEIR_FRONTEND_RELAY_POOL_H
#define WEIR_FRONTEND_RELAY_POOL_H

#include "net/http_client.h"

struct weir_relay_pools;
struct weir_relay_pool;

enum weir_status weir_relay_pools_create(struct weir_loop *loop, struct weir_tls *tls,
                                         uint64_t connect_ms, unsigned max_calls,
                                         struct weir_relay_pools **ret_pools) WEIR_MUST_CHECK;
/* Calls that run end with WEIR_CANCELLED. Accepts NULL. */
void weir_relay_pools_destroy(struct weir_relay_pools *pools);
/* `address` as in struct weir_engine_info. The caller releases what it took. WEIR_INVALID: not such
 * an address. */
enum weir_status weir_relay_pool_take(struct weir_relay_pools *pools, struct weir_span address,
                                      struct weir_relay_pool **ret_pool) WEIR_MUST_CHECK;
struct weir_http_client *weir_relay_pool_client(struct weir_relay_pool *pool);
void weir_relay_pool_release(struct weir_relay_pool *pool);
/* The engine has left: its connections close when nobody uses them any more. */
void weir_relay_pool_left(struct weir_relay_pools *pools, struct weir_span address);
/* An address of the HTTP plane, not of the request plane. */
bool weir_relay_is_http(struct weir_span address);

#endif
