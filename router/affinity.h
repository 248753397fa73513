/*
 * Which worker each session is bound to: a bounded table with an idle time to live. Pure: the time
 * comes in and may step back a little. The session used longest ago makes room for a new one.
 * Source: shared spec "kvrouter" 4.2, "frontend" 1.3. Threads: one at a time.
 */
#ifndef WEIR_ROUTER_AFFINITY_H
#define WEIR_ROUTER_AFFINITY_H

#include "base/status.h"

#include <stdint.h>

struct weir_affinity;

/* A session's name, hashed: 128 bits, so that two sessions are never taken for one. */
struct weir_session {
    uint64_t hi, lo;
};

enum weir_status weir_affinity_create(uint64_t ttl_ms, size_t max_sessions,
                                      struct weir_affinity **ret) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_affinity_destroy(struct weir_affinity *affinity);
/* The session's worker; false when it has none (any more). Does not renew its time. */
bool weir_affinity_get(struct weir_affinity *affinity, struct weir_session session, uint64_t now_ms,
                       uint64_t *ret_worker);
/* Binds or renews. Out of memory: the session is not bound. */
void weir_affinity_bind(struct weir_affinity *affinity, struct weir_session session,
                        uint64_t worker, uint64_t now_ms);
/* Sessions that are bound, lapsed ones that nobody asked for included. */
size_t weir_affinity_len(const struct weir_affinity *affinity);

#endif
