/*
 * Certificates that are read again: every 30 s, and whenever the program asks (at SIGHUP). What
 * does not load leaves the last good ones in use. One loop, one thread; the files are small and
 * local, and read on that loop.
 */
#ifndef WEIR_RUNTIME_TLS_WATCH_H
#define WEIR_RUNTIME_TLS_WATCH_H

#include "net/loop.h"
#include "net/tls.h"

enum { WEIR_TLS_WATCHED = 4 };

struct weir_tls_watch {
    struct weir_timer timer; /* the rest is private */
    struct {
        struct weir_tls *tls; /* borrowed: outlived by the watch until its fini */
        const char *what;     /* in logs; static */
    } of[WEIR_TLS_WATCHED];
    unsigned n;
};

void weir_tls_watch_init(struct weir_tls_watch *watch, struct weir_loop *loop);
/* At most WEIR_TLS_WATCHED. tls may be NULL: then there is nothing to watch. The first one starts
 * the clock; WEIR_NOMEM: it cannot. */
enum weir_status weir_tls_watch_add(struct weir_tls_watch *watch, struct weir_tls *tls,
                                    const char *what) WEIR_MUST_CHECK;
/* Those of the request plane of a program that serves endpoints, one loop for both; NULL: none. */
enum weir_status weir_tls_watch_planes(struct weir_tls_watch *watch, struct weir_tls *server,
                                       struct weir_tls *client,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* Whether there is anything to read again. Accepts one of zeros. */
bool weir_tls_watch_any(const struct weir_tls_watch *watch);
/* Reads all of them again now. */
void weir_tls_watch_read(struct weir_tls_watch *watch);
/* While the loop lives, and before the settings go. Accepts one of zeros. */
void weir_tls_watch_fini(struct weir_tls_watch *watch);

#endif
