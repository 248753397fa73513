/*
 * Bytes that are too many to be held in memory: appended, then read from anywhere, in a file
 * without a name that goes with the process. It is in the folder TMPDIR (/tmp unless set); where
 * none can be made there, in memory after all. One thread; calls may wait for a disk.
 */
#ifndef WEIR_RUNTIME_SPOOL_H
#define WEIR_RUNTIME_SPOOL_H

#include "base/span.h"
#include "base/status.h"

#include <stdint.h>

struct weir_spool;

/* WEIR_NOMEM, WEIR_IO. */
enum weir_status weir_spool_create(struct weir_spool **ret_spool) WEIR_MUST_CHECK;
void weir_spool_destroy(struct weir_spool *spool); /* accepts NULL */
/* WEIR_IO: the disk is full or broken; the spool is then good for nothing but destroy. */
enum weir_status weir_spool_append(struct weir_spool *spool,
                                   struct weir_span bytes) WEIR_MUST_CHECK;
/* Over bytes that were appended: at + bytes.len <= size. */
enum weir_status weir_spool_replace(struct weir_spool *spool, uint64_t at,
                                    struct weir_span bytes) WEIR_MUST_CHECK;
/* n bytes from `at` on: at + n <= size. */
enum weir_status weir_spool_read(const struct weir_spool *spool, uint64_t at, char *room,
                                 size_t n) WEIR_MUST_CHECK;
uint64_t weir_spool_size(const struct weir_spool *spool);

#endif
