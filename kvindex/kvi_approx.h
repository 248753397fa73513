/*
 * Prediction without engine events: after a routing decision the chosen rank is assumed to hold the
 * prompt's blocks for a time (TTL), or until there are too many of all ranks together: then those
 * that were renewed longest ago go. Shared spec "kvrouter" 3.9. The blocks go into an index of
 * their own.
 *
 * Owner: the caller; one thread at a time (a search on the index needs no turn).
 */
#ifndef KVI_APPROX_H
#define KVI_APPROX_H

#include "kvindex/kvi.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct kvi_approx;
struct kvi_approx_options {
    uint64_t ttl_ms;     /* 0 = blocks do not expire by time */
    uint32_t max_blocks; /* of all ranks; 0 = 16,777,216; 52 to 80 bytes each beside the index */
};
/* The index is borrowed and must outlive this, but for kvi_approx_destroy. NULL: out of memory. */
struct kvi_approx *kvi_approx_create(struct kvi_index *index,
                                     const struct kvi_approx_options *options);
void kvi_approx_destroy(struct kvi_approx *a); /* accepts NULL; the index keeps its blocks */
/* The rank was chosen for a prompt with these local and sequence hashes. Blocks already assumed are
 * renewed. Out of memory or budget: what did not fit is not assumed. now_ms never falls. */
void kvi_approx_routed(struct kvi_approx *a, struct kvi_worker worker, const uint64_t *local,
                       const uint64_t *sequence, size_t n, uint64_t now_ms);
/* Takes back what has expired by now. Call it before asking the index. */
void kvi_approx_expire(struct kvi_approx *a, uint64_t now_ms);
/* Those kept track of until they expire or are renewed: also what the index has given up meanwhile,
 * of a worker that was removed from it or for its budget. kvi_get_stats() says what it holds. */
uint64_t kvi_approx_blocks(const struct kvi_approx *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
