/* A real nats-server for tests: started on a port of its own, killed, started again on that port.
 */
#ifndef WEIR_TEST_NATS_SERVER_H
#define WEIR_TEST_NATS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct nats_server {
    pid_t pid; /* 0: not running */
    unsigned port;
    char folder[64]; /* of its own, removed at the end */
    char url[64];
};

/* False: there is no nats-server in PATH. */
bool nats_server_there(void);
/* Zeroed before the first start; NULL-terminated list of more arguments, or NULL. Waits until it
 * listens. */
bool nats_server_start(struct nats_server *s, const char *const *more);
void nats_server_kill(struct nats_server *s);
void nats_server_fini(struct nats_server *s);

#endif
