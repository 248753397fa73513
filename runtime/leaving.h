/*
 * How a process that serves endpoints leaves. Happy path: a signal → its records leave discovery →
 * it goes on taking requests for grace_s, as frontends send some until they see that → it takes no
 * more → running requests finish (at most running_s) → the loop stops. A second signal stops it at
 * once. One loop, one thread.
 */
#ifndef WEIR_RUNTIME_LEAVING_H
#define WEIR_RUNTIME_LEAVING_H

#include "net/loop.h"
#include "runtime/plane_server.h"
#include "runtime/tls_watch.h"

struct weir_leaving_config {
    const char *name; /* in logs; static */
    struct weir_loop *loop;
    struct weir_plane_server *server; /* borrowed: outlived by the loop's run */
    double grace_s, running_s;
    /* Takes the process's records back; false where there were none, so that nobody can send. */
    bool (*unpublish)(void *arg);
    void *arg;
    /* Borrowed: outlived by the loop's run. What it watches is read again at SIGHUP, which then is
     * no sign to leave. NULL: none. */
    struct weir_tls_watch *tls;
};

struct weir_leaving {
    struct weir_leaving_config config;
    struct weir_timer timer;
    uint64_t deadline_ms; /* of running requests */
    bool begun;           /* the rest is private */
    bool refusing;
};

/* From here on signals are heard. */
enum weir_status weir_leaving_init(struct weir_leaving *leaving,
                                   const struct weir_leaving_config *config) WEIR_MUST_CHECK;
/* Accepts one of zeros. */
void weir_leaving_fini(struct weir_leaving *leaving);

#endif
