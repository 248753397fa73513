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
    LOOK_AHEAD = 8,  /* events whose names are fetched beforehand */
    AHEAD_ONES = 24, /* events fetched ahead of those of one block */
    RUN_BLOCKS = KVI_NODE_BLOCKS
};

/* What kvi_apply was given, and how far it is. */
struct batch {
    const struct kvi_event *events;
    size_t n, at, ahead;          /* ahead: events before it have been fetched */
    enum kvi_result *ret_results; /* NULL: not wanted */
};

/* Events that are applied as one. */
struct run {
    const struct kvi_event *events;
    uint32_t n;         /* events */
    const size_t *ends; /* blocks up to the end of each of them: counts or own_ends */
    size_t own_ends[RUN_BLOCKS];
    bool is_new[RUN_BLOCKS];  /* stored: the event brought something */
    bool missing[RUN_BLOCKS]; /* removed: the block was unknown */
    const void *items;        /* blocks or names of all of them */
    uint64_t copy[RUN_BLOCKS * 2];
};

/* ---- what is not even looked at ---------------------------------------------------------------
 */

static bool holds_parent(const struct kvi_index *x, const struct kvi_event *e) {
    if (!e->has_parent)
        return false;
    return e->n == 1 ? e->blocks->block_hash == e->parent_hash
                     : x->kernels->has_name(e->blocks, e->n, e->parent_hash);
}

/* Nobody has read the blocks before: all are asked for at once. */
static void fetch_blocks(const struct kvi_event *e) {
    for (size_t i = 0; i < e->n && i < RUN_BLOCKS; i += 64 / sizeof(struct kvi_block))
        __builtin_prefetch(e->blocks + i);
}

static enum kvi_result check(const struct kvi_index *x, const struct kvi_event *e) {
    if ((unsigned)e->tier >= KVI_TIERS || (unsigned)e->kind >= KVI_KINDS)
        return KVI_INVALID;
    if (e->kind != KVI_STORED)
        return KVI_OK;
    if (e->n > 1)
        fetch_blocks(e);
    if (e->n > LOOK_AHEAD)
        kvi_store_fetch(x, e);
    if (e->n == 0 || holds_parent(x, e))
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

/* One stream: kind, (worker, rank) and tier. Without a branch a field. */
static inline bool same_stream(const struct kvi_event *a, const struct kvi_event *b) {
    return ((a->worker.worker_id ^ b->worker.worker_id) | (a->worker.dp_rank ^ b->worker.dp_rank) |
            ((unsigned)a->kind ^ (unsigned)b->kind) | ((unsigned)a->tier ^ (unsigned)b->tier)) == 0;
}

static bool goes_on(const struct kvi_index *x, const struct kvi_event *e,
                    const struct kvi_event *next) {
    if (e->n == 0 || next->n == 0 || !same_stream(e, next))
        return false;
    return e->kind == KVI_REMOVED ||
           (next->has_parent && next->parent_hash == e->blocks[e->n - 1].block_hash &&
            !holds_parent(x, next));
}

/* 1, 2, 3, …: the ends of events of one block each. */
#define COUNT_4(n) (n) + 1, (n) + 2, (n) + 3, (n) + 4
#define COUNT_16(n) COUNT_4(n), COUNT_4((n) + 4), COUNT_4((n) + 8), COUNT_4((n) + 12)
#define COUNT_64(n) COUNT_16(n), COUNT_16((n) + 16), COUNT_16((n) + 32), COUNT_16((n) + 48)
static const size_t counts[] = {COUNT_64(0), COUNT_64(64)};
_Static_assert(sizeof(counts) / sizeof(counts[0]) == RUN_BLOCKS, "one a block");

/* The commonest run, by few instructions an event: the first of n events and those behind it that
 * go on, each of one block. How many; those behind them are looked at by goes_on. */
static uint32_t gather_ones(struct run *r, const struct kvi_event *events, size_t n) {
    uint32_t most = n < RUN_BLOCKS ? (uint32_t)n : RUN_BLOCKS, k = 1;
    const struct kvi_event first = *events; /* no store below can be to it: it stays in registers */
    if (events->kind == KVI_STORED) {
        struct kvi_block *to = (struct kvi_block *)(void *)r->copy;
        uint64_t last = events->blocks->block_hash;
        to[0] = *events->blocks;
        for (; k < most; k++) {
            const struct kvi_event *e = &events[k];
            if (k + AHEAD_ONES < n) {
                __builtin_prefetch(e + AHEAD_ONES);
                __builtin_prefetch(e[AHEAD_ONES - 8].blocks);
            }
            if (e->n != 1 || !e->has_parent || !same_stream(&first, e) || e->parent_hash != last ||
                e->blocks->block_hash == last)
                break;
            to[k] = *e->blocks;
            last = to[k].block_hash;
        }
    } else {
        r->copy[0] = *events->removed;
        for (; k < most && events[k].n == 1 && same_stream(&first, &events[k]); k++) {
            if (k + AHEAD_ONES < n) {
                __builtin_prefetch(&events[k + AHEAD_ONES]);
                __builtin_prefetch(events[k + AHEAD_ONES - 8].removed);
            }
            r->copy[k] = *events[k].removed;
        }
    }
    r->items = k > 1 ? r->copy : r->items;
    r->ends = counts;
    return k;
}

/* One item, as nearly always, or more. */
static void copy_items(void *to, const void *from, size_t n, size_t size) {
    if (n == 1 && size == sizeof(struct kvi_block))
        memcpy(to, from, sizeof(struct kvi_block));
    else if (n == 1)
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, n * size);
}

/* The run that begins with the first of n events, which is a good one. */
static void gather(const struct kvi_index *x, struct run *r, const struct kvi_event *events,
                   size_t n) {
    size_t size = item_size(events->kind), total = events->n;
    uint32_t k = 1;
    r->events = events;
    r->items = items_of(events);
    r->ends = r->own_ends;
    r->own_ends[0] = total;
    if (total == 1)
        total = k = gather_ones(r, events, n);
    for (; k < n; k++) {
        const struct kvi_event *e = &events[k];
        if (total + e->n > RUN_BLOCKS || !goes_on(x, e - 1, e))
            break;
        if (r->items != r->copy && (const uint8_t *)r->items + total * size != items_of(e)) {
            memcpy(r->copy, r->items, total * size);
            r->items = r->copy;
        }
        if (r->items == r->copy)
            copy_items((uint8_t *)r->copy + total * size, items_of(e), e->n, size);
        if (r->ends == counts) {
            memcpy(r->own_ends, counts, k * sizeof(*counts));
            r->ends = r->own_ends;
        }
        total += e->n;
        r->own_ends[k] = total;
    }
    r->n = k;
    for (uint32_t i = 0; i < k; i += 8)
        memset(r->is_new + i, 0, 8);
}

/* ---- applying ---------------------------------------------------------------------------------
 */

static void count(struct kvi_index *x, const struct batch *b, size_t at, enum kvi_result result) {
    const struct kvi_event *e = &b->events[at];
    if ((unsigned)e->kind < KVI_KINDS)
        x->counts.events[e->kind][result]++;
    if (b->ret_results != NULL)
        b->ret_results[at] = result;
}

/* The next n events, all of one kind, went well. */
static void count_well(struct kvi_index *x, const struct batch *b, size_t n) {
    x->counts.events[b->events[b->at].kind][KVI_OK] += n;
    for (size_t i = 0; b->ret_results != NULL && i < n; i++)
        b->ret_results[b->at + i] = KVI_OK;
}

/* Of the first n events, those that brought something. */
static uint32_t count_new(const struct run *r, uint32_t n) {
    uint32_t n_new = 0;
    for (uint32_t k = 0; k < n; k += 8) {
        uint64_t flags;
        memcpy(&flags, r->is_new + k, sizeof(flags));
        if (n - k < 8) /* the one that failed may have a flag */
            flags &= ((uint64_t)1 << 8 * (n - k)) - 1;
        n_new += (uint32_t)(flags * 0x0101010101010101u >> 56);
    }
    return n_new;
}

/* Number of events that are done with: all, or those up to and with the one that failed. */
static uint32_t store_run(struct kvi_index *x, struct run *r, const struct batch *b) {
    const struct kvi_event *e = r->events;
    uint32_t rank = kvi_rank_for(x, e->worker), i = 0, n_new;
    size_t done = 0;
    enum kvi_result result = KVI_CAPACITY;
    if (rank != KVI_NO_RANK) {
        struct kvi_stored s = {e->has_parent, e->parent_hash, r->items, r->ends, r->n, r->is_new};
        result = kvi_store_locked(x, (struct kvi_holder){rank, e->tier}, &s, &done);
    }
    if (done == r->ends[r->n - 1])
        i = r->n;
    while (i < r->n && r->ends[i] <= done)
        i++;
    n_new = count_new(r, i);
    count_well(x, b, i);
    x->counts.duplicates += i - n_new;
    if (i < r->n)
        count(x, b, b->at + i++, result);
    return i;
}

static void remove_run(struct kvi_index *x, struct run *r, const struct batch *b) {
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
    if (unknown == 0) {
        count_well(x, b, r->n);
        return;
    }
    x->counts.unknown += unknown;
    for (uint32_t i = 0; i < r->n; i++) {
        bool missed = !many;
        for (; many && at < r->ends[i]; at++)
            missed |= r->missing[at];
        count(x, b, b->at + i, missed ? KVI_BLOCK_NOT_FOUND : KVI_OK);
    }
}

/* Small events leave the processor waiting for one cache line each; fetching ahead overlaps them.
 * Those that are one with their neighbour are fetched with it. */
static void look_ahead(const struct kvi_index *x, struct batch *b, size_t from) {
    size_t end = b->n - from > LOOK_AHEAD ? from + LOOK_AHEAD : b->n;
    for (b->ahead = b->ahead > from ? b->ahead : from; b->ahead < end; b->ahead++) {
        const struct kvi_event *e = &b->events[b->ahead];
        if (e->kind == KVI_CLEARED || e->n > LOOK_AHEAD || goes_on(x, e - 1, e))
            continue;
        for (size_t i = 0; i < e->n; i++)
            kvi_names_prefetch(x, e->kind == KVI_STORED ? e->blocks[i].block_hash : e->removed[i]);
    }
}

/* The next event and those that go with it; returns how many. */
static uint32_t apply_some(struct kvi_index *x, struct batch *b) {
    struct run r;
    const struct kvi_event *e = &b->events[b->at];
    enum kvi_result result = check(x, e);
    if (result != KVI_OK) {
        count(x, b, b->at, result);
        return 1;
    }
    if (e->kind == KVI_CLEARED) {
        uint32_t rank = kvi_rank_find(x, e->worker);
        if (rank != KVI_NO_RANK)
            kvi_clear_rank(x, rank);
        count_well(x, b, 1);
        return 1;
    }
    gather(x, &r, e, b->n - b->at);
    look_ahead(x, b, b->at + r.n);
    if (e->kind == KVI_STORED)
        return store_run(x, &r, b);
    remove_run(x, &r, b);
    return r.n;
}

void kvi_apply(struct kvi_index *index, const struct kvi_event *events, size_t n,
               enum kvi_result *ret_results) {
    struct batch b = {events, n, 0, 0, ret_results};
    pthread_mutex_lock(&index->lock);
    while (b.at < n)
        b.at += apply_some(index, &b);
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
    (void)apply_some(index, &(struct batch){&e, 1, 0, 0, &r});
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
