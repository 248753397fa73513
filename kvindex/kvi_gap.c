/*
 * Invariants: in KVI_GAP_LIVE nothing waits. In KVI_GAP_ASKED exactly the newest question is open.
 * `last` is the newest id such that it and everything before it is applied or given up; pending ids
 * are above `last` (or `last` is unknown) and ascending. The n-th question has number n.
 *
 * Where this differs from the reference: when all retries have failed, waiting events are applied
 * in order instead of dropped (a hole loses the blocks it held, not also those after it).
 */
#include "kvindex/kvi_gap.h"

#include <stdlib.h>
#include <string.h>

bool kvi_gap_init(struct kvi_gap *g, size_t max_pending, bool can_ask) {
    size_t cap = max_pending > 0 ? max_pending : KVI_GAP_PENDING;
    *g = (struct kvi_gap){
        .can_ask = can_ask, .cap_pending = cap, .pending = malloc(cap * sizeof(*g->pending))};
    return g->pending != NULL;
}

static void act(kvi_gap_fn fn, void *arg, enum kvi_gap_action_kind kind, void *item) {
    fn(arg, &(struct kvi_gap_action){.kind = kind, .item = item});
}

static void drop_pending(struct kvi_gap *g, kvi_gap_fn fn, void *arg) {
    for (size_t i = 0; i < g->n_pending; i++)
        act(fn, arg, KVI_GAP_DROP, g->pending[i].item);
    g->dropped += g->n_pending;
    g->n_pending = 0;
}

void kvi_gap_fini(struct kvi_gap *g, kvi_gap_fn fn, void *arg) {
    if (g->pending != NULL)
        drop_pending(g, fn, arg);
    free(g->pending);
    g->pending = NULL;
}

static void apply(struct kvi_gap *g, uint64_t id, void *item, kvi_gap_fn fn, void *arg) {
    g->last = id;
    g->has_last = true;
    g->applied++;
    act(fn, arg, KVI_GAP_APPLY, item);
}

static void ask(struct kvi_gap *g, bool full, kvi_gap_fn fn, void *arg) {
    uint32_t delay = g->failures == 0 ? 0 : KVI_GAP_BACKOFF_MS << (g->failures - 1);
    g->state = KVI_GAP_ASKED;
    g->asked_full = full;
    g->asked++;
    g->question++;
    fn(arg, &(struct kvi_gap_action){.kind = full ? KVI_GAP_ASK_FULL : KVI_GAP_ASK_FROM,
                                     .from = full ? 0 : g->last + 1,
                                     .question = g->question,
                                     .delay_ms = delay});
}

/* Keeps the event for later. A full queue loses its oldest: the hole before the rest is noticed
 * when the answer has come. An id that waits already is the same event again. */
static void wait_for(struct kvi_gap *g, uint64_t id, void *item, kvi_gap_fn fn, void *arg) {
    size_t at = g->n_pending;
    while (at > 0 && g->pending[at - 1].id > id)
        at--;
    if (at > 0 && g->pending[at - 1].id == id) {
        g->stale++;
        act(fn, arg, KVI_GAP_DROP, item);
        return;
    }
    if (g->n_pending == g->cap_pending) {
        void *oldest = at == 0 ? item : g->pending[0].item;
        g->dropped++;
        if (at > 0) {
            memmove(g->pending, g->pending + 1, (at - 1) * sizeof(*g->pending));
            g->pending[at - 1] = (struct kvi_gap_item){id, item};
        }
        act(fn, arg, KVI_GAP_DROP, oldest);
        return;
    }
    memmove(g->pending + at + 1, g->pending + at, (g->n_pending - at) * sizeof(*g->pending));
    g->pending[at] = (struct kvi_gap_item){id, item};
    g->n_pending++;
}

/* Applies what waits and follows without a gap (or whatever waits); true: nothing waits any more.
 */
static bool drain(struct kvi_gap *g, bool over_gaps, kvi_gap_fn fn, void *arg) {
    size_t i = 0;
    for (; i < g->n_pending; i++) {
        struct kvi_gap_item p = g->pending[i];
        if (g->has_last && p.id <= g->last) {
            g->stale++;
            act(fn, arg, KVI_GAP_DROP, p.item);
        } else if (over_gaps || !g->has_last || p.id == g->last + 1) {
            apply(g, p.id, p.item, fn, arg);
        } else {
            break;
        }
    }
    g->n_pending -= i;
    memmove(g->pending, g->pending + i, g->n_pending * sizeof(*g->pending));
    return g->n_pending == 0;
}

void kvi_gap_open(struct kvi_gap *g, uint64_t publisher_id, kvi_gap_fn fn, void *arg) {
    g->publisher_id = publisher_id;
    g->failures = 0;
    if (g->can_ask)
        ask(g, true, fn, arg);
    else
        g->state = KVI_GAP_LIVE;
}

void kvi_gap_resume(struct kvi_gap *g, uint64_t publisher_id, uint64_t last) {
    g->publisher_id = publisher_id;
    g->last = g->max_seen = last;
    g->has_last = true;
    g->state = KVI_GAP_LIVE;
}

/* Counting starts at 0 or 1; an id far below what was seen is a restart too, if the publisher's id
 * did not tell. */
static bool restarted(const struct kvi_gap *g, uint64_t publisher_id, uint64_t id) {
    if (g->state == KVI_GAP_NEW)
        return false;
    if (publisher_id != g->publisher_id)
        return true;
    return g->has_last && id < g->last && (id <= 1 || g->last - id > KVI_GAP_PENDING);
}

static void restart(struct kvi_gap *g, uint64_t publisher_id, kvi_gap_fn fn, void *arg) {
    drop_pending(g, fn, arg);
    g->restarts++;
    g->has_last = false;
    g->last = g->max_seen = 0;
    act(fn, arg, KVI_GAP_RESET, NULL);
    kvi_gap_open(g, publisher_id, fn, arg);
}

/* Nothing before a cleared event matters, nor any question about it. */
static void clear(struct kvi_gap *g, uint64_t id, void *item, kvi_gap_fn fn, void *arg) {
    size_t older = 0;
    while (older < g->n_pending && g->pending[older].id < id)
        act(fn, arg, KVI_GAP_DROP, g->pending[older++].item);
    g->dropped += older;
    g->n_pending -= older;
    memmove(g->pending, g->pending + older, g->n_pending * sizeof(*g->pending));
    g->question++; /* an answer under way is void */
    g->failures = 0;
    apply(g, id, item, fn, arg);
    if (drain(g, false, fn, arg))
        g->state = KVI_GAP_LIVE;
    else
        ask(g, false, fn, arg);
}

void kvi_gap_event(struct kvi_gap *g, uint64_t publisher_id, uint64_t id, bool cleared, void *item,
                   kvi_gap_fn fn, void *arg) {
    if (g->state == KVI_GAP_NEW)
        kvi_gap_open(g, publisher_id, fn, arg);
    else if (restarted(g, publisher_id, id))
        restart(g, publisher_id, fn, arg);
    g->max_seen = id > g->max_seen ? id : g->max_seen;
    if (g->has_last && id <= g->last) {
        g->stale++;
        act(fn, arg, KVI_GAP_DROP, item);
    } else if (cleared) {
        clear(g, id, item, fn, arg);
    } else if (g->state == KVI_GAP_ASKED) {
        wait_for(g, id, item, fn, arg);
    } else if (!g->has_last || id == g->last + 1 || !g->can_ask) {
        g->dropped += g->has_last && id != g->last + 1; /* nobody to ask: a hole */
        apply(g, id, item, fn, arg);
    } else {
        wait_for(g, id, item, fn, arg);
        g->failures = 0;
        ask(g, false, fn, arg);
    }
}

void kvi_gap_barrier(struct kvi_gap *g, kvi_gap_fn fn, void *arg) {
    if (g->state == KVI_GAP_ASKED)
        ask(g, g->asked_full, fn, arg);
}

void kvi_gap_restored(struct kvi_gap *g, uint64_t question, uint64_t last, kvi_gap_fn fn,
                      void *arg) {
    if (g->state != KVI_GAP_ASKED || question != g->question)
        return;
    if (!g->has_last || last > g->last || g->asked_full)
        g->last = last;
    g->has_last = true;
    g->failures = 0;
    bool empty = drain(g, false, fn, arg);
    if (empty && g->max_seen <= g->last)
        g->state = KVI_GAP_LIVE;
    else
        ask(g, false, fn, arg); /* what was dropped or never came */
}

void kvi_gap_failed(struct kvi_gap *g, uint64_t question, kvi_gap_fn fn, void *arg) {
    if (g->state != KVI_GAP_ASKED || question != g->question)
        return;
    if (++g->failures <= KVI_GAP_RETRIES) {
        ask(g, g->asked_full, fn, arg);
        return;
    }
    g->failures = 0;
    act(fn, arg, KVI_GAP_GIVE_UP, NULL);
    drain(g, true, fn, arg);
    if (!g->has_last || g->max_seen > g->last)
        g->last = g->max_seen;
    g->has_last = g->has_last || g->max_seen > 0;
    g->state = KVI_GAP_LIVE;
}
