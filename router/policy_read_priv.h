/* What the readers of the policy file's parts share: values of the tree, with messages that name
 * the place. Every function gives WEIR_INVALID and sets the error. */
#ifndef WEIR_ROUTER_POLICY_READ_PRIV_H
#define WEIR_ROUTER_POLICY_READ_PRIV_H

#include "base/arena.h"
#include "router/policy_config.h"
#include "runtime/yaml.h"

struct weir_policy_reader {
    const char *path;
    struct weir_arena *arena;
    struct weir_err *err;
    char where[80]; /* "root" or "model \"name\"" */
    char at[80];    /* "" or "models.name." */
};

/* The value is not of the form that its place asks for. */
enum weir_status weir_policy_malformed(const struct weir_policy_reader *r,
                                       const struct weir_yaml *node, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
/* It is, and cannot be. */
enum weir_status weir_policy_invalid(const struct weir_policy_reader *r,
                                     const struct weir_yaml *node, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
/* No other keys than these are there. */
enum weir_status weir_policy_check_keys(const struct weir_policy_reader *r,
                                        const struct weir_yaml *map, const char *at,
                                        const char *const *keys, size_t n);
/* Of a member that may be left out (must false) *ret stays then. */
enum weir_status weir_policy_get_text(const struct weir_policy_reader *r,
                                      const struct weir_yaml *map, const char *at, const char *key,
                                      bool must, struct weir_span *ret);
enum weir_status weir_policy_get_u64(const struct weir_policy_reader *r,
                                     const struct weir_yaml *map, const char *at, const char *key,
                                     bool must, uint64_t *ret);
enum weir_status weir_policy_check_name(const struct weir_policy_reader *r,
                                        const struct weir_yaml *node, struct weir_span name,
                                        const char *kind);

/* policy_sections.c: "router", "worker_selection", "request_classifier"; whether any is there. */
enum weir_status weir_policy_read_sections(struct weir_policy_reader *r,
                                           const struct weir_yaml *doc,
                                           struct weir_policy_config *ret, bool *ret_any);

#endif
