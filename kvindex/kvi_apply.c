/*
 * The door of the writers: events one by one or in batches, results and their counts.
 *
 * Engines tell a prompt's blocks, and the blocks that they evict, in many small events one after
 * another. Neighbours in a batch that go on where the one before ended (stored: the parent is its
 * last block; removed: any) and together have at most 128 blocks are applied as one: the parent,
 * the rank and the node are looked up once and all names are fetched together. What comes out is
 * the same, for each event its own result.
 */
#include "kvindex/kvi_priv.h"

enum {
    LOOK_AHEAD = 8, /* events whose names are fetched beforehand */
    RUN_BLOCKS = KVI_NODE_BLOCKS
};

/* Events that are applied as one. */
struct run {
    const struct kvi_event *events;
    uint32_t n;               /* events */
    size_t ends[RUN_BLOCKS];  /* blocks up to the end of each of them */
    bool is_new[RUN_BLOCKS];  /* stored: the event brought something */
    bool missing[RUN_BLOCKS]; /* removed: the block was unknown */
    const void *items;        /* blocks or names of all of them */
    uint64_t copy[RUN_BLOCKS * 2];
};

/* ---- what is not even looked at ---------------------------------------------------------------
 */

static bool holds_parent(const struct kvi_event *e) {
    for (size_t i = 0; e->has_parent && i < e->n; i++)
        if (e->blocks[i].block_hash == e->parent_hash)
            return true;
    return false;
}

static enum kvi_result check(const struct kvi_event *e) {
    if ((unsigned)e->tier >= KVI_TIERS || (unsigned)e->kind >= KVI_KINDS)
        return KVI_INVALID;
    if (e->kind != KVI_STORED)
        return KVI_OK;
    if (e->n == 0 || holds_parent(e))
        return KVI_INVALID;
    return !e->has_parent && e->start_position > 0 ? KVI_PARENT_NOT_FOUND : KVI_OK;
}

/* ---- runs -------------------------------------------------------------------------------------
 */

static size_t item_size(enum kvi_kind kind) {
    return kind == KVI_STORED ? sizeof(struct kvi_block) : sizeof(uint64_t);
}

static const void *items_of(const struct kvi_event *e) {
    return e->kind == KVI_STORED ? (const void *)e->blocks : (const void *)e->removed;
}

static bool goes_on(const struct kvi_event *e, const struct kvi_event *next) {
    if (e->n == 0 || next->n == 0 || next->kind != e->kind ||
        next->worker.worker_id != e->worker.worker_id ||
        next->worker.dp_rank != e->worker.dp_rank || next->tier != e->tier)
        return false;
    return e->kind == KVI_REMOVED ||
           (next->has_parent && next->parent_hash == e->blocks[e->n - 1].block_hash &&
            !holds_parent(next));
}

/* The run that begins with the first of n events, which is a good one. */
static void gather(struct run *r, const struct kvi_event *events, size_t n) {
    size_t size = item_size(events->kind), total = events->n;
    r->events = events;
    r->items = items_of(events);
    r->ends[0] = total;
    r->is_new[0] = false;
    r->n = 1;
    for (; r->n < n; r->n++) {
        const struct kvi_event *e = &events[r->n];
        if (total + e->n > RUN_BLOCKS || !goes_on(e - 1, e))
            return;
        if (r->items != r->copy && (const uint8_t *)r->items + total * size != items_of(e)) {
            memcpy(r->copy, r->items, total * size);
            r->items = r->copy;
        }
        if (r->items == r->copy)
            memcpy((uint8_t *)r->copy + total * size, items_of(e), e->n * size);
        total += e->n;
        r->ends[r->n] = total;
        r->is_new[r->n] = false;
    }
}

/* ---- applying ---------------------------------------------------------------------------------
 */

static void count(struct kvi_index *x, const struct kvi_event *e, enum kvi_result result,
                  bool duplicate, enum kvi_result *ret_result) {
    if ((unsigned)e->kind < KVI_KINDS)
        x->counts.events[e->kind][result]++;
    x->counts.duplicates += duplicate;
    if (ret_result != NULL)
        *ret_result = result;
}

/* Number of events that are done with: all, or those up to and with the one that failed. */
static uint32_t store_run(struct kvi_index *x, struct run *r, enum kvi_result *ret_results) {
    const struct kvi_event *e = r->events;
    uint32_t rank = kvi_rank_for(x, e->worker), i = 0;
    size_t done = 0;
    enum kvi_result result = KVI_CAPACITY;
    if (rank != KVI_NO_RANK) {
        struct kvi_stored s = {e->has_parent, e->parent_hash, r->items, r->ends, r->n, r->is_new};
        result = kvi_store_locked(x, (struct kvi_holder){rank, e->tier}, &s, &done);
    }
    for (; i < r->n && r->ends[i] <= done; i++)
        count(x, e + i, KVI_OK, !r->is_new[i], ret_results != NULL ? ret_results + i : NULL);
    if (i < r->n) {
        count(x, e + i, result, false, ret_results != NULL ? ret_results + i : NULL);
        i++;
    }
    return i;
}

static void remove_run(struct kvi_index *x, struct run *r, enum kvi_result *ret_results) {
    const struct kvi_event *e = r->events;
    uint32_t rank = kvi_rank_find(x, e->worker);
    size_t total = r->ends[r->n - 1], unknown = total, at = 0;
    bool many = r->n > 1;
    if (rank != KVI_NO_RANK) {
        memset(r->missing, 0, many ? total : 0);
        unknown = kvi_remove_locked(x, (struct kvi_holder){rank, e->tier}, r->items, total,
                                    many ? r->missing : NULL);
    } else if (many) {
        memset(r->missing, 1, total);
    }
    x->counts.unknown += unknown;
    for (uint32_t i = 0; i < r->n; i++) {
        bool missed = !many && unknown > 0;
        for (; many && unknown > 0 && at < r->ends[i]; at++)
            missed |= r->missing[at];
        count(x, e + i, missed ? KVI_BLOCK_NOT_FOUND : KVI_OK, false,
              ret_results != NULL ? ret_results + i : NULL);
    }
}

/* The first event and those that go with it; returns how many. */
static uint32_t apply_some(struct kvi_index *x, const struct kvi_event *events, size_t n,
                           enum kvi_result *ret_results) {
    struct run r;
    enum kvi_result result = check(events);
    if (result != KVI_OK) {
        count(x, events, result, false, ret_results);
        return 1;
    }
    if (events->kind == KVI_CLEARED) {
        uint32_t rank = kvi_rank_find(x, events->worker);
        if (rank != KVI_NO_RANK)
            kvi_clear_rank(x, rank);
        count(x, events, KVI_OK, false, ret_results);
        return 1;
    }
    gather(&r, events, n);
    if (events->kind == KVI_STORED)
        return store_run(x, &r, ret_results);
    remove_run(x, &r, ret_results);
    return r.n;
}

/* Small events leave the processor waiting for one cache line each; fetching ahead overlaps them.
 * Those that are one with their neighbour are fetched with it. */
static void look_ahead(const struct kvi_index *x, const struct kvi_event *e) {
    if (e->kind == KVI_CLEARED || e->n > LOOK_AHEAD || goes_on(e - 1, e))
        return;
    for (size_t i = 0; i < e->n; i++)
        kvi_names_prefetch(x, e->kind == KVI_STORED ? e->blocks[i].block_hash : e->removed[i]);
}

void kvi_apply(struct kvi_index *index, const struct kvi_event *events, size_t n,
               enum kvi_result *ret_results) {
    size_t ahead = 1;
    pthread_mutex_lock(&index->lock);
    for (size_t i = 0; i < n;) {
        for (; ahead < n && ahead <= i + LOOK_AHEAD; ahead++)
            look_ahead(index, &events[ahead]);
        i += apply_some(index, events + i, n - i, ret_results != NULL ? ret_results + i : NULL);
        ahead = ahead > i ? ahead : i + 1;
    }
    pthread_mutex_unlock(&index->lock);
}

enum kvi_result kvi_store(struct kvi_index *index, struct kvi_worker worker, enum kvi_tier tier,
                          bool has_parent, uint64_t parent_hash, const struct kvi_block *blocks,
                          size_t n, bool *ret_duplicate) {
    struct kvi_event e = {.worker = worker,
                          .kind = KVI_STORED,
                          .tier = tier,
                          .has_parent = has_parent,
                          .parent_hash = parent_hash,
                          .blocks = blocks,
                          .n = n};
    enum kvi_result r;
    pthread_mutex_lock(&index->lock);
    uint64_t before = index->counts.duplicates;
    (void)apply_some(index, &e, 1, &r);
    bool duplicate = index->counts.duplicates != before;
    pthread_mutex_unlock(&index->lock);
    if (ret_duplicate != NULL)
        *ret_duplicate = duplicate;
    return r;
}

enum kvi_result kvi_remove(struct kvi_index *index, struct kvi_worker worker, enum kvi_tier tier,
                           const uint64_t *block_hashes, size_t n) {
    struct kvi_event e = {
        .worker = worker, .kind = KVI_REMOVED, .tier = tier, .removed = block_hashes, .n = n};
    enum kvi_result r;
    kvi_apply(index, &e, 1, &r);
    return r;
}

void kvi_clear(struct kvi_index *index, struct kvi_worker worker) {
    struct kvi_event e = {.worker = worker, .kind = KVI_CLEARED};
    kvi_apply(index, &e, 1, NULL);
}
