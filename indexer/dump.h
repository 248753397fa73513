/*
 * All groups as the text of a dump, in steps (shared spec "kvrouter" 3.8):
 * {"model:group": {"block_size": N, "events": […]}, …}, or one {key, block_size, event} a line.
 * What is told of a rank while its events go on: kvi_walk_step(). A group that is left meanwhile
 * ends where it was. Thread: the loop that owns the groups.
 */
#ifndef WEIR_INDEXER_DUMP_H
#define WEIR_INDEXER_DUMP_H

#include "base/buf.h"
#include "indexer/groups.h"

struct weir_dump;
/* The groups outlive it. */
enum weir_status weir_dump_open(struct weir_groups *groups, bool lines,
                                struct weir_dump **ret_dump) WEIR_MUST_CHECK;
/* Appends the text of about WEIR_DUMP_BLOCKS blocks, or of the next group's beginning. *ret_more:
 * not at the end yet. After a failure only to be closed. */
enum { WEIR_DUMP_BLOCKS = 2048 };
enum weir_status weir_dump_step(struct weir_dump *dump, struct weir_buf *out,
                                bool *ret_more) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_dump_close(struct weir_dump *dump);

#endif
