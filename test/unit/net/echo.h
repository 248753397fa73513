/* An echo server and clients with random sizes, pauses and closes, for every kind of stream. */
#ifndef WEIR_TEST_UNIT_NET_ECHO_H
#define WEIR_TEST_UNIT_NET_ECHO_H

#include "net/stream.h"

#include <stdint.h>

struct echo_result {
    unsigned whole; /* clients that got everything back and an orderly end */
    unsigned cut;   /* clients that closed, or were closed, on the way, as planned */
    unsigned wrong; /* anything else: lost or changed bytes, callbacks after close … */
    unsigned open;  /* streams without on_close at the end */
    uint64_t bytes; /* echoed */
    unsigned conns; /* that the listener still counts */
    bool timed_out;
    char first[128]; /* what the first wrong thing was */
};

/* Runs `n` clients to their end; `total` bounds the bytes of each. */
struct echo_result echo_run(uint64_t seed, unsigned n, uint64_t total, struct weir_tls *server,
                            struct weir_tls *client, const char *sni);

#endif
