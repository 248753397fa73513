/*
 * An HTTP server that swallows any body and gives the same bytes to everybody: the upstream of the
 * peers, cheap enough that it never limits them. One thread, keep-alive, no pipelining. For
 * benches: it trusts its clients.
 */
#ifndef WEIR_BENCH_CANNED_H
#define WEIR_BENCH_CANNED_H

#include "base/span.h"
#include "base/status.h"

struct weir_canned {
    int listen_fd;
    uint16_t port;
    struct weir_span unary; /* whole answer, head included; borrowed */
    /* A request whose body holds the words "stream":true gets this instead: head, then
     * as many chunks as its "max_tokens" says, then the tail. Each piece is a write of its own. */
    struct weir_span head, chunk, tail;
    unsigned pace_ms; /* between chunks of a stream; 0 = none */
};

enum weir_status weir_canned_listen(struct weir_canned *c, struct weir_err *err) WEIR_MUST_CHECK;
/* Serves until the process ends; fits weir_proc_fork. */
void weir_canned_serve(void *canned);

#endif
