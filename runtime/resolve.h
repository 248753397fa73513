/* Host names to addresses, off the loop. */
#ifndef WEIR_RUNTIME_RESOLVE_H
#define WEIR_RUNTIME_RESOLVE_H

#include "net/loop.h"
#include "runtime/address.h"

struct weir_resolve;

enum { WEIR_RESOLVE_MAX = 256 };

/* On the loop, once. `ips` (literals, each once, in the resolver's order, at most WEIR_RESOLVE_MAX)
 * are borrowed for the call; none: the name is not known, err says why. */
typedef void (*weir_resolved_fn)(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                                 const struct weir_err *err);

/* Asks the system's resolver on a thread of its own. */
enum weir_status weir_resolve_start(struct weir_loop *loop, const char *host, weir_resolved_fn fn,
                                    void *arg, struct weir_resolve **ret_resolve) WEIR_MUST_CHECK;
/* No callback after this. Does not wait for the resolver: its thread frees what it holds. Accepts
 * NULL. */
void weir_resolve_cancel(struct weir_resolve *resolve);

/* ---- the addresses of one host, tried one after the other ---------------------------------- */

enum { WEIR_ADDRESSES_MAX = 16 };

typedef void (*weir_addresses_fn)(void *arg, const struct weir_err *err);

struct weir_addresses {
    char ips[WEIR_ADDRESSES_MAX][WEIR_IP_BYTES];
    unsigned n, at; /* its owner moves `at` on; at n, or with n = 0, the host is looked up anew */
    struct weir_resolve *resolve; /* the rest is private */
    weir_addresses_fn fn;
    void *arg;
};

/* WEIR_OK: ips[at] is to be tried. WEIR_AGAIN: the host is a name that is looked up; fn says once
 * whether ips[at] is there now (err is NULL), or why not. Another status: it cannot be looked up.
 */
enum weir_status weir_addresses_next(struct weir_addresses *a, struct weir_loop *loop,
                                     const char *host, weir_addresses_fn fn,
                                     void *arg) WEIR_MUST_CHECK;
/* No fn after this. */
void weir_addresses_stop(struct weir_addresses *a);

#endif
