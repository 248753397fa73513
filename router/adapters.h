/*
 * Which workers have loaded which adapter (LoRA). A query for an adapter goes only to those (shared
 * spec "kvrouter" 4.2). No lock: the router's.
 */
#ifndef WEIR_ROUTER_ADAPTERS_H
#define WEIR_ROUTER_ADAPTERS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIR_ADAPTERS_MAX = 65536 }; /* adapters of one router */

struct weir_adapter {
    uint64_t id;       /* the caller's, never 0 */
    uint64_t *workers; /* owned; ascending */
    size_t n, cap;
};
/* Zeroed: empty. */
struct weir_adapters {
    struct weir_adapter *items; /* owned; ascending by id, none without workers */
    size_t n, cap;
};

void weir_adapters_fini(struct weir_adapters *a);
/* WEIR_LIMIT: too many adapters. Putting twice is putting once. */
enum weir_status weir_adapters_put(struct weir_adapters *a, uint64_t id,
                                   uint64_t worker_id) WEIR_MUST_CHECK;
void weir_adapters_remove(struct weir_adapters *a, uint64_t id, uint64_t worker_id);
bool weir_adapters_has(const struct weir_adapters *a, uint64_t id, uint64_t worker_id);

#endif
