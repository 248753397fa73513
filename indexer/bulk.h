/*
 * Bulk queries (POST /query_batch): read, hashed, searched and written out on a thread of their
 * own, through the device where there is one and the batch is large enough, else in the index.
 * Answers are those of POST /query, one by one. Thread: the loop's, unless said otherwise.
 */
#ifndef WEIR_INDEXER_BULK_H
#define WEIR_INDEXER_BULK_H

#include "base/metrics.h"
#include "indexer/answer.h"
#include "indexer/groups.h"
#include "net/http_server.h"

struct weir_bulk;
struct weir_bulk_config {
    struct weir_loop *loop; /* borrowed, as the others */
    struct weir_groups *groups;
    struct weir_metrics *metrics;
    struct weir_device *device; /* for hashing; NULL: none */
    unsigned max_waiting;       /* batches at once; more are answered 503 */
    size_t device_min_blocks;   /* smaller batches stay on the CPU */
};
enum weir_status weir_bulk_start(const struct weir_bulk_config *config,
                                 struct weir_bulk **ret_bulk) WEIR_MUST_CHECK;
/* The loop has stopped. Waits for the step at work: a restore's ends at its next record, a batch's
 * with the batch (bounded by the body that it came in), on the device after stall_ms at the latest.
 * After the HTTP server, before the device. Accepts NULL. */
void weir_bulk_stop(struct weir_bulk *bulk);
/* Answers the exchange, now or later. */
void weir_bulk_query(struct weir_bulk *bulk, struct weir_http_exchange *x);
/* A dump with tokens (tokens.h): hashed on the thread, applied on the loop, and answered. */
void weir_bulk_restore(struct weir_bulk *bulk, struct weir_http_exchange *x);

#endif
