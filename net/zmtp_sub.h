/*
 * A SUB socket over a stream of the loop: no thread of its own, one read for all messages that have
 * come. For endpoints with a literal address; zmq.c asks libzmq for others. Thread: the loop's.
 */
#ifndef WEIR_NET_ZMTP_SUB_H
#define WEIR_NET_ZMTP_SUB_H

#include "net/zmq.h"

struct weir_zmtp_sub;

/* "tcp://1.2.3.4:5" or "tcp://[::1]:5": WEIR_AGAIN when the endpoint is of another kind. */
enum weir_status weir_zmtp_sub_open(struct weir_loop *loop, const char *endpoint,
                                    struct weir_span topic, weir_zmq_fn fn, void *arg,
                                    struct weir_zmtp_sub **ret_sub) WEIR_MUST_CHECK;
/* As weir_zmq_sub_on_joined. */
void weir_zmtp_sub_on_joined(struct weir_zmtp_sub *sub, void (*fn)(void *arg));
/* As weir_zmq_sub_on_rest. */
void weir_zmtp_sub_on_rest(struct weir_zmtp_sub *sub, void (*fn)(void *arg));
/* No callback after this; also from inside the callback. */
void weir_zmtp_sub_close(struct weir_zmtp_sub *sub);

#endif
