/*
 * Order of one (worker, rank)'s event stream: which event is applied now, which waits, when the
 * worker must be asked for what was missed. Shared spec "kvrouter" 2.5.
 *
 * A pure core: no clock, no I/O, no locks; the caller feeds it and carries out its actions. Events
 * are opaque items: each one handed in comes back exactly once, as APPLY or DROP, in this or a
 * later call. One thread at a time.
 *
 *   new source ---> ASK_FULL --restored--> live --gap--> ASK_FROM --restored--> live
 *
 * While an answer is awaited, events wait in a bounded queue (the oldest is dropped when it is
 * full, which the answer or a further question makes good). A cleared event is a barrier: what was
 * asked before it is void. A publisher with another id, or one that counts from the beginning
 * again, is a restart: the rank is emptied and asked for in full.
 */
#ifndef KVI_GAP_H
#define KVI_GAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum kvi_gap_action_kind {
    KVI_GAP_APPLY,    /* apply `item` now */
    KVI_GAP_DROP,     /* forget `item`: stale, or the queue is full */
    KVI_GAP_RESET,    /* empty the rank in the index */
    KVI_GAP_ASK_FULL, /* after delay_ms, ask for everything; answer: kvi_gap_restored or _failed */
    KVI_GAP_ASK_FROM, /* the same for the events from `from` on */
    KVI_GAP_GIVE_UP,  /* told once when the retries are used up: live events go on with a hole */
};
struct kvi_gap_action {
    enum kvi_gap_action_kind kind;
    void *item;
    uint64_t from;
    uint64_t question; /* goes back with the answer; answers to an older one are ignored */
    uint32_t delay_ms;
};
typedef void (*kvi_gap_fn)(void *arg, const struct kvi_gap_action *action);

enum kvi_gap_state { KVI_GAP_NEW, KVI_GAP_LIVE, KVI_GAP_ASKED };
struct kvi_gap_item {
    uint64_t id;
    void *item;
};
struct kvi_gap {
    enum kvi_gap_state state;
    bool has_last, can_ask; /* can_ask: there is somebody to ask */
    uint64_t publisher_id, last, max_seen;
    uint64_t question;
    bool asked_full;
    uint32_t failures;
    struct kvi_gap_item *pending; /* owned, by ascending id */
    size_t n_pending, cap_pending;
    /* counters */
    uint64_t applied, stale, dropped, asked, restarts;
};

enum { KVI_GAP_PENDING = 1024, KVI_GAP_RETRIES = 8, KVI_GAP_BACKOFF_MS = 200 };

/* max_pending 0 = 1,024. can_ask false: nobody answers questions (a raw engine socket without
 * replay), so gaps are only counted. False: out of memory. */
bool kvi_gap_init(struct kvi_gap *g, size_t max_pending, bool can_ask);
/* Drops what waits. */
void kvi_gap_fini(struct kvi_gap *g, kvi_gap_fn fn, void *arg);

/* The source is there: asks for everything before live events are used. */
void kvi_gap_open(struct kvi_gap *g, uint64_t publisher_id, kvi_gap_fn fn, void *arg);
/* The stream is known to be applied up to `last` (snapshot, dump of a peer): the next live event
 * shows whether something is missing. */
void kvi_gap_resume(struct kvi_gap *g, uint64_t publisher_id, uint64_t last);
/* A live event. cleared: it empties the rank, so nothing before it matters any more. */
void kvi_gap_event(struct kvi_gap *g, uint64_t publisher_id, uint64_t id, bool cleared, void *item,
                   kvi_gap_fn fn, void *arg);
/* Another rank of the same worker was cleared: what was asked is void and asked again. */
void kvi_gap_barrier(struct kvi_gap *g, kvi_gap_fn fn, void *arg);
/* The caller has applied the answer: everything up to `last` is in the index. */
void kvi_gap_restored(struct kvi_gap *g, uint64_t question, uint64_t last, kvi_gap_fn fn,
                      void *arg);
/* The question failed: asked again with growing delay, at most KVI_GAP_RETRIES times. */
void kvi_gap_failed(struct kvi_gap *g, uint64_t question, kvi_gap_fn fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
