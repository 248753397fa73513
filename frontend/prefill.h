/*
 * The prefill workers that discovery shows: a pool for each model name, each with its own router
 * and load book. Decode and aggregated workers are in models.h. Changes come from one thread (the
 * control loop); any thread looks pools up. A pool once found stays until the registry goes, and so
 * does its block size: a former pool's place is taken by another when its last worker has gone and
 * one with blocks of another size comes.
 */
#ifndef WEIR_FRONTEND_PREFILL_H
#define WEIR_FRONTEND_PREFILL_H

#include "frontend/models.h"

struct weir_prefill;
struct weir_prefill_pool;

/* Of the models' configuration the router, queue, policy, thresholds, block_size, ns, ns_prefix,
 * ns_strict, pools, model_name, metrics, sync, on_worker_left and arg are used; strings are
 * borrowed. Active blocks are not counted: a prefill worker holds none for long. */
enum weir_status weir_prefill_create(const struct weir_models_config *config,
                                     struct weir_prefill **ret_prefill) WEIR_MUST_CHECK;
void weir_prefill_destroy(struct weir_prefill *prefill); /* accepts NULL */
/* A discovery callback. */
void weir_prefill_on_change(void *prefill, enum weir_discovery_change change,
                            enum weir_record_kind kind, struct weir_span key,
                            const struct weir_record *record);

/* An HTTP engine as prefill worker of one model. `e` as of weir_models_engine_put; of the bootstrap
 * members the host is empty where the result comes with the answer (vLLM). */
void weir_prefill_engine_put(struct weir_prefill *prefill, const struct weir_models_engine *e,
                             struct weir_span bootstrap_host, uint16_t bootstrap_port);
/* Of one that was left out: nothing stands against it now. */
bool weir_prefill_engine_fits(struct weir_prefill *prefill, const struct weir_models_engine *e);
void weir_prefill_engine_remove(struct weir_prefill *prefill, uint64_t id);

/* NULL: no worker prefills for this model now. */
struct weir_prefill_pool *weir_prefill_find(struct weir_prefill *prefill, const char *model);
struct weir_router *weir_prefill_pool_router(const struct weir_prefill_pool *pool);
/* Where prompts wait for its workers; NULL: they do not. */
struct weir_rooms *weir_prefill_pool_rooms(const struct weir_prefill_pool *pool);
/* Requests that asked for one of its workers, where there are no rooms. */
struct weir_metric *weir_prefill_pool_received(const struct weir_prefill_pool *pool);
uint32_t weir_prefill_pool_block_size(const struct weir_prefill_pool *pool);

struct weir_prefill_worker {
    struct weir_model_worker at;
    char bootstrap_host[256]; /* "" when its result comes with its answer */
    uint16_t bootstrap_port;
};
bool weir_prefill_worker_get(struct weir_prefill *prefill, const struct weir_prefill_pool *pool,
                             uint64_t worker_id, struct weir_prefill_worker *ret);
/* The router that the events of a worker belong to; NULL: not one of ours. */
struct weir_router *weir_prefill_router_of(struct weir_prefill *prefill, uint64_t worker_id);
/* fn(namespace) for each worker that prefills for a model, with the registry's lock held. */
void weir_prefill_namespaces(struct weir_prefill *prefill, struct weir_span model,
                             void (*fn)(void *arg, struct weir_span ns), void *arg);
/* fn is called with the registry's lock held: it must not call back into it. `former`: also pools
 * whose place another has taken; what waits or runs there still has to come to its end. */
void weir_prefill_each(struct weir_prefill *prefill, bool former,
                       void (*fn)(void *arg, const char *model, struct weir_router *router,
                                  struct weir_rooms *rooms),
                       void *arg);

#endif
