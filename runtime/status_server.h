/*
 * Status server of a process: health, liveness and metrics over HTTP. Source: shared spec
 * "transport" 7. Off unless its port is 0 or more. Thread: the loop given.
 */
#ifndef WEIR_RUNTIME_STATUS_SERVER_H
#define WEIR_RUNTIME_STATUS_SERVER_H

#include "base/metrics.h"
#include "net/http_server.h"

struct weir_status_server;

struct weir_status_server_config {
    const char *host;                    /* literal address */
    uint16_t port;                       /* 0 = the system chooses */
    const char *health_path, *live_path; /* NULL = /health, /live */
    const char *const *endpoints;        /* names that the health page lists */
    size_t n_endpoints;
    bool (*is_ready)(void *arg); /* NULL: always ready */
    /* Another path than the above. False: not known, answered 404. May be NULL. */
    bool (*on_other)(void *arg, struct weir_http_exchange *x);
    void *arg;
    struct weir_metrics *metrics; /* borrowed: outlives the server */
};

enum weir_status weir_status_server_open(struct weir_loop *loop,
                                         const struct weir_status_server_config *config,
                                         struct weir_status_server **ret_server,
                                         struct weir_err *err) WEIR_MUST_CHECK;
uint16_t weir_status_server_port(const struct weir_status_server *server);
/* Asynchronous. Accepts NULL. */
void weir_status_server_close(struct weir_status_server *server);

#endif
