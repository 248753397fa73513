/*
 * A worker that knows only bytes: it reads request frames from plain sockets in a thread of its
 * own, answers and dials back as its script says. Nothing of wire/ is used here.
 */
#ifndef WEIR_TEST_UNIT_RUNTIME_PEER_H
#define WEIR_TEST_UNIT_RUNTIME_PEER_H

#include "base/span.h"

enum peer_end {
    PEER_WAITS,  /* reads until the caller closes */
    PEER_CLOSES, /* FIN */
    PEER_RESETS, /* RST */
};
struct peer_script {
    struct weir_span ack;     /* reply frame; data NULL: none */
    bool close_request;       /* closes the request connection after that */
    bool dials;               /* opens the response stream */
    bool dials_first;         /* before the reply */
    const char *subject;      /* NULL: the right one */
    struct weir_span opening; /* instead of the handshake; data NULL: the handshake */
    struct weir_span stream;  /* bytes behind the handshake */
    size_t chunk;             /* bytes a write; 0: all */
    enum peer_end end;
};

struct peer;
/* Follows the script for each request. The script must outlive the peer. */
struct peer *peer_start(const struct peer_script *script);
unsigned peer_port(const struct peer *p);
unsigned peer_requests(struct peer *p);
unsigned peer_conns(struct peer *p);
/* Bytes that came on the response streams, up to 256. */
size_t peer_heard(struct peer *p, char *ret, size_t room);
unsigned peer_streams_ended(struct peer *p);
/* Ends the threads; the caller's side must be closed or closing. */
void peer_stop(struct peer *p);

#endif
