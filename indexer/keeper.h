/*
 * Idle work of the indexes (kvi_maintain), once a second on a thread of its own: making memory
 * ready takes milliseconds, and the loop that calls in here has events and queries to serve.
 */
#ifndef WEIR_INDEXER_KEEPER_H
#define WEIR_INDEXER_KEEPER_H

#include "indexer/groups.h"

struct weir_keeper;
/* Begins at once. loop and groups are borrowed and outlive it; thread: the loop's. */
enum weir_status weir_keeper_start(struct weir_loop *loop, struct weir_groups *groups,
                                   struct weir_keeper **ret_keeper) WEIR_MUST_CHECK;
/* Waits for what it is doing. No index may go before. Accepts NULL. */
void weir_keeper_stop(struct weir_keeper *keeper);

#endif
