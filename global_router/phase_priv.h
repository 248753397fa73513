/* What the files of the global router share: one phase (prefill, decode or both) with its pools and
 * its requests. */
#ifndef WEIR_GLOBAL_ROUTER_PHASE_PRIV_H
#define WEIR_GLOBAL_ROUTER_PHASE_PRIV_H

#include "base/metrics.h"
#include "global_router/pools.h"
#include "router/pool_select.h"
#include "runtime/plane_server.h"
#include "runtime/service.h"

/* Of one pool of a phase. Owned by the registry. */
struct weir_global_pool_metrics {
    struct weir_metric *requests, *failures, *instances;
};

struct weir_global_phase {
    const char *name;             /* "prefill", "decode", "agg" */
    const char *endpoint;         /* "prefill_generate", … */
    enum weir_worker_type type;   /* of the card */
    struct weir_service *service; /* borrowed: outlives the phase */
    struct weir_pools *pools;     /* owned */
    struct weir_pool_targets targets;
    bool retry;
    struct weir_global_pool_metrics *metrics; /* owned, one a pool */
    struct weir_metric *retries;
};

/* Takes requests of a phase; arg is the phase. */
extern const struct weir_plane_handler weir_global_handler;

/* tools.c: --check and --build-grid; return the exit status. */
int weir_global_check(const char *path);
int weir_global_build_grid(const char *path);

#endif
