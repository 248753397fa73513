/* The frontend's certificates: of its HTTP server, of the request plane both ways, and what it
 * trusts of engines. Read again as runtime/tls_watch.h says. Thread: the control loop's, but any
 * loop uses the settings. */
#ifndef WEIR_FRONTEND_FRONT_TLS_H
#define WEIR_FRONTEND_FRONT_TLS_H

#include "runtime/options_frontend.h"
#include "runtime/tls_watch.h"

struct weir_front_tls {
    struct weir_tls *http, *plane_server, *plane_client, *engine; /* owned, or NULL */
    struct weir_tls_watch watch;
};

/* Of zeros. engines: some are listed. On failure err says why, and it is to be closed too. */
enum weir_status weir_front_tls_open(struct weir_front_tls *tls, struct weir_loop *control,
                                     const struct weir_frontend_options *options, bool engines,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* Reads no more: while the loop lives. Accepts one of zeros, as close does. */
void weir_front_tls_stop(struct weir_front_tls *tls);
void weir_front_tls_close(struct weir_front_tls *tls);

#endif
