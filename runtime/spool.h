/*
 * Bytes that are too many to be held in memory: appended, then read from anywhere, in a file
 * without a name that goes with the process. It is in the folder TMPDIR (/tmp unless set); where
 * none can be made there, in memory after all. The loop never waits for the disk: a thread of the
 * spool's own does, and its answer comes to the loop. Thread: the loop's.
 */
#ifndef WEIR_RUNTIME_SPOOL_H
#define WEIR_RUNTIME_SPOOL_H

#include "base/buf.h"
#include "net/loop.h"

struct weir_spool;

/* What was asked for is done; the last thing that the spool does with it, so that it may be asked
 * for more, or destroyed. WEIR_IO: the disk is full or broken; the spool is then good for nothing
 * but destroy. bytes: what was read, borrowed until the next call. */
typedef void (*weir_spool_fn)(void *arg, enum weir_status st, struct weir_span bytes);

/* WEIR_NOMEM; WEIR_LIMIT: a disk holds up too many. The loop outlives it. */
enum weir_status weir_spool_create(struct weir_loop *loop,
                                   struct weir_spool **ret_spool) WEIR_MUST_CHECK;
/* No fn after this. Does not wait for the disk. Accepts NULL. */
void weir_spool_destroy(struct weir_spool *spool);

/* One call at a time: the next one when fn has been called. */

/* Takes the bytes; the buffer is empty afterwards. */
void weir_spool_append(struct weir_spool *spool, struct weir_buf *take, weir_spool_fn fn,
                       void *arg);
/* The same over bytes that were appended: at + take->len <= size. */
void weir_spool_replace(struct weir_spool *spool, uint64_t at, struct weir_buf *take,
                        weir_spool_fn fn, void *arg);
/* n bytes from `at` on: at + n <= size. */
void weir_spool_read(struct weir_spool *spool, uint64_t at, size_t n, weir_spool_fn fn, void *arg);
/* Bytes appended, what is on its way included. */
uint64_t weir_spool_size(const struct weir_spool *spool);

#endif
