/*
 * ZeroMQ PUB, SUB, DEALER and ROUTER on a loop: the only file that knows libzmq. One context per
 * process. Messages are lists of frames; a message over the bounds is dropped and counted.
 */
#ifndef WEIR_NET_ZMQ_H
#define WEIR_NET_ZMQ_H

#include "base/span.h"
#include "net/loop.h"

struct weir_zmq_pub;
struct weir_zmq_sub;

enum { WEIR_ZMQ_MAX_FRAMES = 8 };

/* Binds to tcp://ip:0 (or the given port) with a send high-water mark of 100,000. dead_ms: as of
 * weir_dead_peer_watch(). */
enum weir_status weir_zmq_pub_open(const char *ip, uint16_t port, uint64_t dead_ms,
                                   struct weir_zmq_pub **ret_pub,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Connects to a subscriber that listens; what is sent before it is there is lost. */
enum weir_status weir_zmq_pub_connect(const char *endpoint, uint64_t dead_ms,
                                      struct weir_zmq_pub **ret_pub,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* 0 for one that connects. */
uint16_t weir_zmq_pub_port(const struct weir_zmq_pub *pub);
/* Never blocks. A subscriber at its high-water mark loses the message and the others do not, which
 * libzmq does not report; WEIR_LIMIT: dropped for all. Thread: the one that opened it. */
enum weir_status weir_zmq_pub_send(struct weir_zmq_pub *pub, const struct weir_span *frames,
                                   size_t n_frames) WEIR_MUST_CHECK;
void weir_zmq_pub_close(struct weir_zmq_pub *pub);

/* Frames are borrowed for the call. Messages that come less than a millisecond after each other may
 * be handed over together, a millisecond or two late. */
typedef void (*weir_zmq_fn)(void *arg, const struct weir_span *frames, size_t n_frames);
enum weir_status weir_zmq_sub_open(struct weir_loop *loop, const char *endpoint,
                                   struct weir_span topic, weir_zmq_fn fn, void *arg,
                                   struct weir_zmq_sub **ret_sub,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Has fn called, with the subscriber's arg, each time that a connection stands and the subscription
 * is on its way: its publisher takes it some time later, and what it sends before is lost. To call
 * right after opening. An endpoint that is no literal address, which libzmq reads, has it called
 * once at the start, too, with or without a connection. Not of a DEALER or ROUTER. */
void weir_zmq_sub_on_joined(struct weir_zmq_sub *sub, void (*fn)(void *arg));
/* Has fn called, with the subscriber's arg, behind the last of the messages that one read brought,
 * before anything else runs on the loop: what was gathered of them can be handled together. Not
 * called once the subscriber is closed. To call right after opening. */
void weir_zmq_sub_on_rest(struct weir_zmq_sub *sub, void (*fn)(void *arg));
/* Listens for publishers that connect out; the host may be a star,
 * for all addresses. */
enum weir_status weir_zmq_sub_bind(struct weir_loop *loop, const char *endpoint,
                                   struct weir_span topic, weir_zmq_fn fn, void *arg,
                                   struct weir_zmq_sub **ret_sub,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Sockets that ask and answer, with the life of a subscriber: a DEALER connects, a ROUTER binds
 * (its messages begin with the asker's identity, as must the answers). */
enum weir_status weir_zmq_dealer_open(struct weir_loop *loop, const char *endpoint, weir_zmq_fn fn,
                                      void *arg, struct weir_zmq_sub **ret_sub,
                                      struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_zmq_router_open(struct weir_loop *loop, const char *ip, uint16_t port,
                                      weir_zmq_fn fn, void *arg, struct weir_zmq_sub **ret_sub,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Of a DEALER or ROUTER; never blocks. WEIR_LIMIT: too much is queued. */
enum weir_status weir_zmq_sub_send(struct weir_zmq_sub *sub, const struct weir_span *frames,
                                   size_t n_frames) WEIR_MUST_CHECK;
/* The port that is bound; 0 for a socket that connects. */
uint16_t weir_zmq_sub_port(const struct weir_zmq_sub *sub);
/* No callback after this. Accepts NULL. */
void weir_zmq_sub_close(struct weir_zmq_sub *sub);
/* Ends the process-wide context; all sockets must be closed. */
void weir_zmq_shutdown(void);

#endif
