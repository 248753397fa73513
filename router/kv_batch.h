/*
 * Cache events on their way into an index, several at a time: under one turn of its lock, names
 * fetched together, neighbours applied as one (kvindex/README.md: five times cheaper for events of
 * one block). A follower adds the events of a message and flushes at its end, and before anything
 * that must come after them (a reset). Order and every event's own result stay as they are.
 *
 * Thread: its owner's.
 */
#ifndef WEIR_ROUTER_KV_BATCH_H
#define WEIR_ROUTER_KV_BATCH_H

#include "kvindex/kvi.h"
#include "wire/kv_event.h"

enum { WEIR_KV_BATCH_EVENTS = 128, WEIR_KV_BATCH_WORDS = 4096 };

/* Where they go: borrowed until the next flush. The events are borrowed for the call. */
typedef void (*weir_kv_sink)(void *to, const struct kvi_event *events, size_t n);

struct weir_kv_batch {
    weir_kv_sink sink;
    void *to;
    size_t n, n_words;
    struct kvi_event events[WEIR_KV_BATCH_EVENTS];
    uint64_t words[WEIR_KV_BATCH_WORDS]; /* their blocks and names */
};

/* Takes a copy. One for another place than those before flushes them. A zeroed batch is empty. */
void weir_kv_batch_add(struct weir_kv_batch *batch, weir_kv_sink sink, void *to,
                       const struct weir_kv_event *event);
void weir_kv_batch_flush(struct weir_kv_batch *batch);

/* The event as the index takes it; blocks and names are borrowed from it. */
struct kvi_event weir_kv_batch_event(const struct weir_kv_event *event);

#endif
