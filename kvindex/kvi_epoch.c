/*
 * When may memory that was taken out of the index be used again? When no search can still hold it.
 *
 * A search pins itself: it loads `epoch` (never 0) and exchanges its own `pinned` word from 0 to
 * that value. The writer stamps what it takes out with the epoch of that moment, and now and then
 * (reclaim) moves the epoch on and looks at every reader's word with a read-modify-write.
 *
 * Argument. Thing T became unreachable before it was stamped with epoch E. Let the writer look at
 * reader R's word W.
 *  - It finds 0: R's next pin is an exchange that comes later in W's modification order, so it
 *    reads from the writer's operation (or from one after it) and synchronises with it: that search
 *    sees T unreachable.
 *  - It finds a value v > E: R loaded an epoch above E, which the writer
 *    published after T became unreachable; the load synchronised with that: the search cannot find
 * T.
 *  - It finds v <= E: the search may hold T. T waits.
 * So T may be used again once every word is 0 or above E. No fence is needed; the argument rests on
 * the two read-modify-writes of the same word. Cost: one exchange a search, one operation a reader
 * every RECLAIM_EVERY retirements.
 */
#include "kvindex/kvi_priv.h"

#include <sched.h>
#include <stdlib.h>

enum { RECLAIM_EVERY = 128, MAX_RETIRED = 1 << 20 };

void kvi_pin(struct kvi_reader *r) {
    uint64_t epoch = atomic_load_explicit(&r->index->epoch, memory_order_acquire);
    atomic_exchange_explicit(&r->pinned, epoch, memory_order_acq_rel);
}

void kvi_unpin(struct kvi_reader *r) {
    atomic_store_explicit(&r->pinned, 0, memory_order_release); /* pairs with oldest_pin */
}

static uint64_t oldest_pin(struct kvi_index *x) {
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < x->max_readers; i++) {
        if (!x->readers[i].open)
            continue;
        uint64_t v = atomic_fetch_or_explicit(&x->readers[i].pinned, 0, memory_order_acq_rel);
        if (v != 0 && v < oldest)
            oldest = v;
    }
    return oldest;
}

static void let_go(struct kvi_index *x, const struct kvi_retired *t) {
    switch ((enum kvi_retired_kind)t->kind) {
    case KVI_RETIRED_MEMORY:
        kvi_release(x, t->ref, t->bytes);
        x->retired_bytes -= t->bytes;
        break;
    case KVI_RETIRED_NODE:
        x->nodes[t->ref].parent = x->free_node;
        x->free_node = t->ref;
        break;
    case KVI_RETIRED_RANK:
        x->free_ranks[(x->free_first + x->n_free++) % x->max_ranks] = t->ref;
        break;
    }
}

void kvi_reclaim(struct kvi_index *x) {
    /* Pairs with the load in kvi_pin. */
    atomic_fetch_add_explicit(&x->epoch, 1, memory_order_acq_rel);
    uint64_t oldest = oldest_pin(x);
    while (x->n_retired > 0 && x->retired[x->retired_first].epoch < oldest) {
        let_go(x, &x->retired[x->retired_first]);
        x->retired_first = (x->retired_first + 1) % x->cap_retired;
        x->n_retired--;
    }
    x->since_reclaim = 0;
}

static bool grow(struct kvi_index *x) {
    size_t cap = x->cap_retired * 2;
    if (cap > MAX_RETIRED)
        return false;
    struct kvi_retired *more = malloc(cap * sizeof(*more));
    if (more == NULL)
        return false;
    for (size_t i = 0; i < x->n_retired; i++)
        more[i] = x->retired[(x->retired_first + i) % x->cap_retired];
    free(x->retired);
    x->retired = more;
    x->retired_first = 0;
    x->cap_retired = cap;
    return true;
}

void kvi_retire(struct kvi_index *x, enum kvi_retired_kind kind, uint32_t ref, size_t bytes) {
    if (++x->since_reclaim >= RECLAIM_EVERY)
        kvi_reclaim(x);
    if (x->n_retired == x->cap_retired && !grow(x)) {
        /* A million things wait for one search: its thread sleeps in mid-search. Wait with it. */
        for (kvi_reclaim(x); x->n_retired == x->cap_retired; kvi_reclaim(x))
            sched_yield();
    }
    size_t at = (x->retired_first + x->n_retired++) % x->cap_retired;
    x->retired[at] =
        (struct kvi_retired){.epoch = atomic_load_explicit(&x->epoch, memory_order_relaxed),
                             .ref = ref,
                             .bytes = (uint32_t)bytes,
                             .kind = kind};
    if (kind == KVI_RETIRED_MEMORY)
        x->retired_bytes += bytes;
}
