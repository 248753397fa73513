/* A dump from another indexer at start, applied as it comes. Thread: the loop. */
#ifndef WEIR_INDEXER_PEERS_H
#define WEIR_INDEXER_PEERS_H

#include "base/status.h"
#include "indexer/groups.h"
#include "net/loop.h"

struct weir_peer_fetch;
/* Once: what the first peer that answered has given, or the last peer and its error after all were
 * asked several times. n: events that were applied. Borrowed. */
typedef void (*weir_peer_fn)(void *arg, const char *peer, uint64_t n, const char *error);
/* peers: "http://host:port", borrowed until fn; names are resolved off the loop, anew each time.
 * The groups outlive it. WEIR_INVALID: one is no such address. */
enum weir_status weir_peer_fetch_start(struct weir_loop *loop, struct weir_groups *groups,
                                       const char *const *peers, size_t n, weir_peer_fn fn,
                                       void *arg, struct weir_peer_fetch **ret_fetch,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* fn is not called. Accepts NULL. */
void weir_peer_fetch_cancel(struct weir_peer_fetch *fetch);

#endif
