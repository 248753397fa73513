/* Happy path: add, add, …, flush. A batch without room flushes itself; an event larger than all of
 * it goes straight on. */
#include "router/kv_batch.h"

#include <string.h>

_Static_assert(sizeof(struct weir_kv_block) == sizeof(struct kvi_block), "same layout");
_Static_assert((int)WEIR_TIER_HOST == (int)KVI_HOST && (int)WEIR_TIER_DISK == (int)KVI_DISK &&
                   (int)WEIR_TIER_EXTERNAL == (int)KVI_EXTERNAL,
               "same order");
_Static_assert((int)WEIR_KV_STORED == (int)KVI_STORED && (int)WEIR_KV_REMOVED == (int)KVI_REMOVED &&
                   (int)WEIR_KV_CLEARED == (int)KVI_CLEARED,
               "same order");

static inline struct kvi_event as_event(const struct weir_kv_event *event) {
    bool stored = event->kind == WEIR_KV_STORED;
    return (struct kvi_event){.worker = {event->worker_id, event->dp_rank},
                              .kind = (enum kvi_kind)event->kind,
                              .tier = (enum kvi_tier)event->tier,
                              .has_parent = stored && event->has_parent,
                              .start_position =
                                  stored && event->has_start_position ? event->start_position : 0,
                              .parent_hash = event->parent_hash,
                              .blocks = (const struct kvi_block *)(const void *)event->blocks,
                              .removed = event->removed,
                              .n = stored                           ? event->n_blocks
                                   : event->kind == WEIR_KV_REMOVED ? event->n_removed
                                                                    : 0};
}

struct kvi_event weir_kv_batch_event(const struct weir_kv_event *event) {
    return as_event(event);
}

void weir_kv_batch_flush(struct weir_kv_batch *batch) {
    size_t n = batch->n;
    batch->n = batch->n_words = 0;
    if (n > 0)
        batch->sink(batch->to, batch->events, n);
}

void weir_kv_batch_add(struct weir_kv_batch *batch, weir_kv_sink sink, void *to,
                       const struct weir_kv_event *event) {
    bool stored = event->kind == WEIR_KV_STORED;
    size_t words = stored                           ? event->n_blocks * 2
                   : event->kind == WEIR_KV_REMOVED ? event->n_removed
                                                    : 0;
    if (sink != batch->sink || to != batch->to || batch->n == WEIR_KV_BATCH_EVENTS ||
        batch->n_words + words > WEIR_KV_BATCH_WORDS)
        weir_kv_batch_flush(batch);
    batch->sink = sink;
    batch->to = to;
    if (words > WEIR_KV_BATCH_WORDS) {
        struct kvi_event e = as_event(event);
        sink(to, &e, 1);
        return;
    }
    uint64_t *copy = batch->words + batch->n_words;
    struct kvi_event *to_event = &batch->events[batch->n++];
    *to_event = as_event(event);
    if (stored && event->n_blocks == 1) /* nearly always: without a call */
        memcpy(copy, event->blocks, sizeof(*event->blocks));
    else if (words > 0)
        memcpy(copy, stored ? (const void *)event->blocks : (const void *)event->removed,
               words * sizeof(*copy));
    to_event->blocks = (const struct kvi_block *)(const void *)copy;
    to_event->removed = copy;
    batch->n_words += words;
}
