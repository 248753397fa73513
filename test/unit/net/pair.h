/* Two ends of one TCP connection on one loop, for tests that look at one behaviour each. */
#ifndef WEIR_TEST_UNIT_NET_PAIR_H
#define WEIR_TEST_UNIT_NET_PAIR_H

#include "net/stream.h"

struct pair;

struct end {
    struct pair *pair;
    struct weir_stream *stream; /* NULL before open and after close */
    /* What this end does beside counting; each may be NULL. */
    void (*on_open)(struct end *e);
    void (*on_read)(struct end *e, struct weir_span bytes);
    void (*on_eof)(struct end *e);
    void (*on_drain)(struct end *e);
    void (*on_close)(struct end *e);
    unsigned opened, reads, eofs, drains, closed;
    uint64_t got; /* bytes */
    uint64_t opened_ms, closed_ms;
    enum weir_status status;
    char reason[128];
    char last[64]; /* the newest bytes read, as a string */
};

struct pair {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct end server, client;
    struct weir_timer guard;
    bool timed_out, keep; /* keep: do not stop when both ends are closed */
    unsigned accepted;
};

/* Fills in what `limits` and the listener's settings say; NULL = defaults. */
void pair_open(struct pair *p, const struct weir_listen_config *listen,
               const struct weir_stream_limits *client);
/* Runs until both ends are closed (or weir_loop_stop). Then closes everything. */
void pair_run(struct pair *p);

#endif
