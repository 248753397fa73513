/*
 * Sockets on which we listen for engines that connect out. Several engines may use one port: their
 * batches are told apart by topic and rank. Thread: the loop.
 */
#ifndef WEIR_RUNTIME_ENGINE_BINDS_H
#define WEIR_RUNTIME_ENGINE_BINDS_H

#include "net/loop.h"
#include "net/zmq.h"

struct weir_engine_binds;
struct weir_engine_bind; /* one listener's interest */

enum weir_status weir_engine_binds_create(struct weir_loop *loop,
                                          struct weir_engine_binds **ret_binds) WEIR_MUST_CHECK;
/* Everybody has left. Accepts NULL. */
void weir_engine_binds_destroy(struct weir_engine_binds *binds);
/* Batches with this topic (empty: any) and this rank, or no rank. What fits several is given to
 * none, with a log line. The first one binds the port. `joined` is called when some engine has
 * connected, before its first batch: it may be a new process. */
enum weir_status weir_engine_bind_join(struct weir_engine_binds *binds, const char *endpoint,
                                       struct weir_span topic, uint32_t rank, weir_zmq_fn fn,
                                       void (*joined)(void *arg), void *arg,
                                       struct weir_engine_bind **ret_bind,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* No callback after this. Accepts NULL. */
void weir_engine_bind_leave(struct weir_engine_bind *bind);

#endif
