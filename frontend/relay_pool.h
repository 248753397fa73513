/* Connections of one loop to HTTP engines: a pool for each address, made at its first use. */
#ifndef WEIR_FRONTEND_RELAY_POOL_H
#define WEIR_FRONTEND_RELAY_POOL_H

#include "base/list.h"
#include "net/http_client.h"

struct weir_relay_pools;
struct weir_relay_pool;

/* Somebody who has a call at an engine; inside its owner. All zero: it uses no pool. */
struct weir_relay_user {
    struct weir_list node; /* in the pool */
    struct weir_relay_pool *pool;
    /* Or NULL. The engine has left while the user had the pool, and may be cut off or hang: what
     * gives nothing for silent_ms from now on is to be given up. Releases nothing from inside. */
    void (*left)(void *arg, uint64_t silent_ms);
    void *arg;
};

enum weir_status weir_relay_pools_create(struct weir_loop *loop, struct weir_tls *tls,
                                         uint64_t connect_ms, unsigned max_calls,
                                         struct weir_relay_pools **ret_pools) WEIR_MUST_CHECK;
/* Calls that run end with WEIR_CANCELLED. Accepts NULL. */
void weir_relay_pools_destroy(struct weir_relay_pools *pools);
/* `address` as in struct weir_engine_info; `left` and `arg` of the user are set. The caller
 * releases what it took. WEIR_INVALID: not such an address. */
enum weir_status weir_relay_pool_take(struct weir_relay_pools *pools, struct weir_span address,
                                      struct weir_relay_user *user) WEIR_MUST_CHECK;
struct weir_http_client *weir_relay_pool_client(struct weir_relay_pool *pool);
/* Nothing when it uses none. */
void weir_relay_pool_release(struct weir_relay_user *user);
/* The engine has left: its connections close when nobody uses them any more. */
void weir_relay_pool_left(struct weir_relay_pools *pools, struct weir_span address,
                          uint64_t silent_ms);
/* Whether the engine of a user's pool has left and nobody has taken the pool since. */
bool weir_relay_pool_has_left(const struct weir_relay_user *user);
/* An address of the HTTP plane, not of the request plane. */
bool weir_relay_is_http(struct weir_span address);

#endif
