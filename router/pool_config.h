/*
 * The pool file: which pools there are and the grids that choose among them, as the reference
 * system's global router reads it. Strict JSON. Source: shared spec "deploy" 1.3, 1.4. Cold.
 */
#ifndef WEIR_ROUTER_POOL_CONFIG_H
#define WEIR_ROUTER_POOL_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "router/pool_grid.h"

enum weir_pool_mode { WEIR_POOL_DISAGG, WEIR_POOL_AGG };

/* The pools of one phase. */
struct weir_pool_set {
    const char *name; /* "prefill", "decode", "agg" */
    const char **namespaces;
    int64_t *priorities; /* lower = faster */
    size_t n;
    struct weir_pool_grid grid;
};

struct weir_pool_config {
    enum weir_pool_mode mode;
    bool enable_priority_retry;
    struct weir_pool_set prefill, decode; /* disagg */
    struct weir_pool_set agg;             /* agg: axes ttft, itl, or isl, ttft, itl */
};

/* Called for each deprecated key that is in use; borrowed text. May be NULL. */
typedef void (*weir_pool_warn_fn)(void *arg, const char *text);
/* Everything of *ret_config lives in the arena. On failure err says which key and why. */
enum weir_status weir_pool_config_parse(struct weir_span json, struct weir_arena *arena,
                                        weir_pool_warn_fn warn, void *arg,
                                        struct weir_pool_config *ret_config,
                                        struct weir_err *err) WEIR_MUST_CHECK;
/* Reads the file first; at most 16 MiB. A missing file is named. */
enum weir_status weir_pool_config_load(const char *path, struct weir_arena *arena,
                                       weir_pool_warn_fn warn, void *arg,
                                       struct weir_pool_config *ret_config,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* The pool of workers in that namespace: *ret_pool is its index in the set. False: none. */
bool weir_pool_set_place(const struct weir_pool_set *set, struct weir_span ns, uint32_t *ret_pool);
/* The pools of prefill workers, or of those that serve the client; NULL: mode agg has no former. */
const struct weir_pool_set *weir_pool_config_set(const struct weir_pool_config *config,
                                                 bool prefill);
/* Each namespace stands for one pool of a phase: who finds the workers himself needs that. */
enum weir_status weir_pool_config_distinct(const struct weir_pool_config *config,
                                           struct weir_err *err) WEIR_MUST_CHECK;
/* The grid as a table for a terminal. */
enum weir_status weir_pool_set_draw(const struct weir_pool_set *set,
                                    struct weir_buf *out) WEIR_MUST_CHECK;

#endif
