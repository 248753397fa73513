/*
 * GET /dump and POST /restore. Both are done in steps, a turn of the loop for each, and a dump's
 * next step waits until its client took the last one. Thread: the loop's.
 */
#ifndef WEIR_INDEXER_DUMPS_H
#define WEIR_INDEXER_DUMPS_H

#include "base/metrics.h"
#include "indexer/answer.h"
#include "indexer/groups.h"

struct weir_dumps;
struct weir_dumps_config {
    struct weir_loop *loop; /* borrowed, as the others */
    struct weir_groups *groups;
    struct weir_metrics *metrics;
    unsigned max; /* dumps and restores at once, of each; more are answered 503 */
};
enum weir_status weir_dumps_create(const struct weir_dumps_config *config,
                                   struct weir_dumps **ret_dumps) WEIR_MUST_CHECK;
/* After the HTTP server, before the groups. Accepts NULL. */
void weir_dumps_destroy(struct weir_dumps *dumps);
/* Answers the exchange, now or later; `lines`: as NDJSON. */
void weir_dumps_answer(struct weir_dumps *dumps, struct weir_http_exchange *x, bool lines);
/* Applies the body, a dump of either form; a client that leaves ends it where it is. */
void weir_dumps_restore(struct weir_dumps *dumps, struct weir_http_exchange *x);

#endif
