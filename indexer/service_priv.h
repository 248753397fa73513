#ifndef WEIR_INDEXER_SERVICE_PRIV_H
#define WEIR_INDEXER_SERVICE_PRIV_H

#include "base/json.h"
#include "indexer/groups.h"

/* The score response: tokens by worker and rank, and by instance over all tiers. Sorts `scores`. */
void weir_indexer_put_scores(struct weir_jsonw *w, struct kvi_score *scores, size_t n,
                             uint32_t block_size);
/* All groups: {"model:group": {"block_size": N, "events": […]}}, or one {key, block_size, event} a
 * line. */
enum weir_status weir_indexer_dump(struct weir_groups *groups, bool lines,
                                   struct weir_buf *out) WEIR_MUST_CHECK;

#endif
