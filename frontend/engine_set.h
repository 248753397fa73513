/*
 * The HTTP engines of the list as workers of models: each model that an engine names is a worker of
 * its own (a LoRA adapter too, which has other blocks in the same cache). Thread: the control loop.
 */
#ifndef WEIR_FRONTEND_ENGINE_SET_H
#define WEIR_FRONTEND_ENGINE_SET_H

#include "frontend/prefill.h"
#include "runtime/engines.h"

struct weir_engine_set;

struct weir_engine_set_config {
    struct weir_engines_config engines;
    struct weir_models *models;   /* borrowed: outlives the set */
    struct weir_prefill *prefill; /* the same */
    struct weir_metrics *metrics; /* borrowed: likewise */
    bool kv_events;               /* the caches of engines are followed */
    bool parity;                  /* their tokens are compared with ours */
    uint32_t default_block_size;  /* for engines that do not tell theirs */
};

enum weir_status weir_engine_set_open(struct weir_loop *loop,
                                      const struct weir_engine_set_config *config,
                                      struct weir_engine_set **ret_set,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Housekeeping, about once a second: comparisons that had to wait for a tokenizer. Accepts NULL. */
void weir_engine_set_tick(struct weir_engine_set *set);
/* Accepts NULL. */
void weir_engine_set_close(struct weir_engine_set *set);

#endif
