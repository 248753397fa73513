/*
 * A loop and streams without sockets: a clock that tests move, bytes that tests feed, and what was
 * sent in a buffer. It implements the functions of net/loop.h and net/stream.h that the HTTP files
 * use, so that those run inside unit tests and fuzz drivers (link the HTTP sources, not weir_net).
 */
#ifndef WEIR_TEST_FAKE_NET_H
#define WEIR_TEST_FAKE_NET_H

#include "base/buf.h"
#include "net/stream.h"

struct fake_end {
    struct weir_stream *stream; /* NULL after on_close */
    struct weir_buf sent;       /* what the stream under test wrote */
    bool fin;                   /* it said FIN, or closed */
    bool closed;                /* weir_stream_close() was called */
    bool reading;
    enum weir_status status;
    const char *reason;
};

struct weir_loop *fake_loop_create(void);
void fake_loop_destroy(struct weir_loop *loop);
/* Runs deferred work and pending closes until there is none. */
void fake_loop_turn(struct weir_loop *loop);
/* Moves the clock and fires the timers that are due on the way, each with a turn behind it. */
void fake_loop_advance(struct weir_loop *loop, uint64_t ms);
/* A connection to the (only) listener of the loop. `end` lives until the stream is closed. */
void fake_accept(struct weir_loop *loop, struct fake_end *end);
/* The next weir_stream_connect() on the loop gets this end; opened by fake_open(). */
void fake_expect_connect(struct weir_loop *loop, struct fake_end *end);
void fake_open(struct fake_end *end);
/* Bytes from the peer, a turn included. Ignored when the stream is closed. */
void fake_feed(struct weir_loop *loop, struct fake_end *end, const void *data, size_t len);
void fake_eof(struct weir_loop *loop, struct fake_end *end);
/* The peer takes no bytes until further notice: the queue grows. */
void fake_block(struct fake_end *end, bool blocked);
void fake_end_fini(struct fake_end *end);

#endif
