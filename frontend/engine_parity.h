/*
 * Asks one engine for its tokens of the canned conversations (parity.h) and compares them with
 * ours. At most one request at a time, and as many as there are conversations. Thread: the loop of
 * the pools, for every call and callback.
 */
#ifndef WEIR_FRONTEND_ENGINE_PARITY_H
#define WEIR_FRONTEND_ENGINE_PARITY_H

#include "frontend/models.h"
#include "frontend/relay_pool.h"

struct weir_engine_parity;

struct weir_engine_parity_config {
    struct weir_relay_pools *pools;     /* borrowed: outlive the check */
    const char *address;                /* as in struct weir_engine_info; borrowed, likewise */
    const char *bearer;                 /* "Bearer" and the key, or NULL; borrowed, likewise */
    const struct weir_model_info *info; /* of a model with a tokenizer; borrowed, likewise */
};
/* Once, unless cancelled; the check is dead then. NULL: the engine's tokens cannot be compared. */
typedef void (*weir_engine_parity_fn)(void *arg, const struct weir_parity_finding *finding);

enum weir_status weir_engine_parity_start(const struct weir_engine_parity_config *config,
                                          weir_engine_parity_fn fn, void *arg,
                                          struct weir_engine_parity **ret_parity) WEIR_MUST_CHECK;
/* Nothing fires afterwards. Accepts NULL. */
void weir_engine_parity_cancel(struct weir_engine_parity *parity);

#endif
