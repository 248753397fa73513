/*
 * nvext.agent_hints.speculative_prefill: the next turn of a chat begins with what was said so far.
 * Once a chat is answered, that beginning is sent to a worker once more, for one token that nobody
 * reads, so that the next turn finds it cached. Threads: that of the loop.
 */
#ifndef WEIR_FRONTEND_WARM_H
#define WEIR_FRONTEND_WARM_H

#include "base/span.h"

struct weir_front_loop;
struct weir_request;

/* The client asks for it, and it can be done: for one answer to a chat that we render. */
bool weir_warm_wanted(const struct weir_request *request);
/* The request has been answered with this text; its bytes leave first. What cannot be done is left
 * undone and counted: the client has its answer. */
void weir_warm_begin(const struct weir_request *request, struct weir_span text);
/* A request that was begun here is over, with or without success; it goes at the end of the turn.
 */
void weir_warm_over(struct weir_request *request);
/* Ends all of a loop at once. Before the loop's plane client goes. */
void weir_warm_stop(struct weir_front_loop *fl);

#endif
