/*
 * Names of models whose HTTP engines are down but still listed: a client that asks for one is told
 * to come again. No lock of its own: the registry of models holds its lock around every call.
 */
#ifndef WEIR_FRONTEND_MODELS_MISSED_H
#define WEIR_FRONTEND_MODELS_MISSED_H

#include "base/list.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_missed {
    struct weir_list list;
    size_t n;
};

void weir_missed_init(struct weir_missed *missed);
void weir_missed_fini(struct weir_missed *missed);
/* A worker went. Best effort: a name for which there is no room is one that never was. */
void weir_missed_add(struct weir_missed *missed, uint64_t worker_id, const char *model,
                     uint64_t engine);
/* The worker is back. */
void weir_missed_found(struct weir_missed *missed, uint64_t worker_id);
/* The engine will not come back, or not with what is missed. */
void weir_missed_forget(struct weir_missed *missed, uint64_t engine);
bool weir_missed_has(const struct weir_missed *missed, struct weir_span model);

#endif
