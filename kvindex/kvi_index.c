/*
 * Life of an index, its ranks, statistics, eviction.
 *
 * One lock for writers. It is held for one event (kvi_apply: for a batch): a microsecond for 128
 * blocks, so that many threads may write without noticing each other, and one tree can be shared by
 * all of them (README.md has the figures behind this).
 */
#include "kvindex/kvi_priv.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    MIN_BYTES = 1 << 20,
    REUSE_AFTER = 16,   /* removed ranks that wait before their numbers are given again */
    EVICT_LEAVES = 8,   /* leaves that go at a time */
    EVICT_SAMPLE = 16,  /* leaves looked at for each of them */
    WAITING = 256 << 10 /* bytes that may wait for readers before eviction waits too */
};

const char *kvi_result_name(enum kvi_result r) {
    static const char *const names[] = {"ok",
                                        "parent_block_not_found",
                                        "block_not_found",
                                        "invalid_block",
                                        "capacity_exhausted",
                                        "allocation_failed"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == KVI_RESULTS, "one name a result");
    return names[r];
}

/* ---- life --------------------------------------------------------------------------------- */

static size_t nodes_bytes(const struct kvi_index *x) {
    return (size_t)x->cap_nodes * sizeof(struct kvi_node);
}

static bool allocate(struct kvi_index *x) {
    uint32_t table = 16;
    while (table < x->max_ranks * 2)
        table *= 2;
    x->by_worker_mask = table - 1;
    x->by_worker = calloc(table, sizeof(*x->by_worker));
    x->free_ranks = calloc(x->max_ranks, sizeof(*x->free_ranks));
    x->ranks = calloc(x->max_ranks, sizeof(*x->ranks)); /* touched as ranks come */
    x->who = calloc(x->max_ranks, sizeof(*x->who));
    x->cap_retired = 1024;
    x->retired = calloc(x->cap_retired, sizeof(*x->retired));
    x->readers = aligned_alloc(_Alignof(struct kvi_reader), x->max_readers * sizeof(*x->readers));
    size_t most = x->max_bytes / sizeof(struct kvi_node);
    x->cap_nodes = most < KVI_MAX_NODES ? (uint32_t)most : KVI_MAX_NODES;
    x->nodes = (struct kvi_node *)(void *)kvi_reserve_aligned(nodes_bytes(x), &x->nodes_raw);
    if (x->by_worker == NULL || x->free_ranks == NULL || x->ranks == NULL || x->who == NULL ||
        x->retired == NULL || x->readers == NULL || x->nodes == NULL)
        return false;
    memset((void *)x->readers, 0, x->max_readers * sizeof(*x->readers));
    x->bytes = sizeof(*x) + sizeof(struct kvi_node) + x->cap_retired * sizeof(*x->retired) +
               x->max_readers * sizeof(*x->readers);
    return kvi_arena_init(x, x->max_bytes);
}

struct kvi_index *kvi_create(const struct kvi_options *options) {
    static const struct kvi_options defaults = {0};
    const struct kvi_options *o = options != NULL ? options : &defaults;
    struct kvi_index *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    pthread_mutex_init(&x->lock, NULL);
    x->kernels = kvi_kernels_at(0);
    x->max_bytes = o->max_bytes == 0          ? (size_t)1 << 30
                   : o->max_bytes < MIN_BYTES ? MIN_BYTES
                                              : o->max_bytes;
    x->soft_bytes = x->max_bytes / 16 * 15;
    x->max_ranks = o->max_ranks == 0 || o->max_ranks > 65536 ? 65536 : o->max_ranks;
    x->max_readers = o->max_readers == 0 ? 64 : o->max_readers;
    x->n_nodes = 1; /* the root */
    atomic_store_explicit(&x->epoch, 1, memory_order_relaxed);
    if (!allocate(x)) {
        kvi_destroy(x);
        return NULL;
    }
    x->nodes[0].flags = KVI_NODE;
    return x;
}

void kvi_destroy(struct kvi_index *x) {
    if (x == NULL)
        return;
    kvi_arena_fini(x);
    kvi_unreserve_aligned(x->nodes_raw, nodes_bytes(x));
    free(x->by_worker);
    free(x->free_ranks);
    free(x->ranks);
    free(x->who);
    free(x->retired);
    free(x->readers);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* ---- ranks -------------------------------------------------------------------------------- */

static bool is_worker(const struct kvi_index *x, uint32_t rank, struct kvi_worker w) {
    struct kvi_worker is = kvi_who(x, rank);
    return is.worker_id == w.worker_id && is.dp_rank == w.dp_rank;
}

static uint32_t worker_home(const struct kvi_index *x, struct kvi_worker w) {
    return (uint32_t)(kvi_mix(w.worker_id * 31 + w.dp_rank) >> 40) & x->by_worker_mask;
}

/* Where the worker stands in by_worker, or the free place for it. */
static uint32_t worker_slot(const struct kvi_index *x, struct kvi_worker w) {
    uint32_t i = worker_home(x, w);
    while (x->by_worker[i] != 0 && !is_worker(x, x->by_worker[i] - 1, w))
        i = (i + 1) & x->by_worker_mask;
    return i;
}

uint32_t kvi_rank_find(const struct kvi_index *x, struct kvi_worker w) {
    return x->by_worker[worker_slot(x, w)] - 1; /* 0 - 1 == KVI_NO_RANK */
}

static void forget_worker(struct kvi_index *x, struct kvi_worker w) {
    uint32_t mask = x->by_worker_mask, hole = worker_slot(x, w);
    for (uint32_t i = (hole + 1) & mask; x->by_worker[i] != 0; i = (i + 1) & mask) {
        struct kvi_worker other = kvi_who(x, x->by_worker[i] - 1);
        if (((i - worker_home(x, other)) & mask) >= ((i - hole) & mask)) {
            x->by_worker[hole] = x->by_worker[i];
            hole = i;
        }
    }
    x->by_worker[hole] = 0;
}

uint32_t kvi_rank_for(struct kvi_index *x, struct kvi_worker w) {
    uint32_t slot = worker_slot(x, w), n = atomic_load_explicit(&x->n_ranks, memory_order_relaxed);
    uint32_t rank = x->by_worker[slot] - 1;
    if (rank != KVI_NO_RANK)
        return rank;
    if (n == x->max_ranks && x->n_free == 0)
        kvi_reclaim(x); /* numbers may be waiting for readers */
    bool fresh = n < x->max_ranks && x->n_free < REUSE_AFTER;
    if (fresh) {
        rank = n;
        x->bytes += sizeof(struct kvi_rank) + sizeof(struct kvi_who);
    } else if (x->n_free > 0) {
        rank = x->free_ranks[x->free_first];
        x->free_first = (x->free_first + 1) % x->max_ranks;
        x->n_free--;
    } else {
        return KVI_NO_RANK;
    }
    struct kvi_rank *r = &x->ranks[rank];
    atomic_store_explicit(&x->who[rank].worker_id, w.worker_id, memory_order_relaxed);
    atomic_store_explicit(&x->who[rank].dp_rank, w.dp_rank, memory_order_relaxed);
    r->used = true;
    r->store_hint = r->below = r->above = 0;
    x->by_worker[slot] = rank + 1;
    x->counts.ranks++;
    if (fresh) /* pairs with the acquire in kvi_find.c: the names above are there */
        atomic_store_explicit(&x->n_ranks, n + 1, memory_order_release);
    return rank;
}

static uint64_t entries_of(const struct kvi_rank *r) {
    uint64_t n = 0;
    for (int t = 0; t < KVI_TIERS; t++)
        n += r->entries[t];
    return n;
}

void kvi_count(struct kvi_index *x, struct kvi_holder h, int64_t names) {
    x->ranks[h.rank].entries[h.tier] += (uint64_t)names;
    x->counts.tier[h.tier] += (uint64_t)names;
    if (h.tier != KVI_DEVICE) {
        uint64_t lower = atomic_load_explicit(&x->lower_entries, memory_order_relaxed);
        atomic_store_explicit(&x->lower_entries, lower + (uint64_t)names, memory_order_relaxed);
    }
}

uint32_t kvi_drop_holder(struct kvi_index *x, uint32_t node, struct kvi_holder h) {
    uint64_t bits[2];
    kvi_bits(x, &x->nodes[node], h, bits);
    if ((bits[0] | bits[1]) == 0)
        return 0;
    kvi_first_bits(x, h, node, bits);
    uint32_t names = (uint32_t)(__builtin_popcountll(bits[0]) + __builtin_popcountll(bits[1]));
    names += kvi_alias_drop(x, h, node);
    kvi_uncover(x, &x->nodes[node], h, 0, KVI_NODE_BLOCKS);
    kvi_count(x, h, -(int64_t)names);
    return names;
}

/* Looks at every node once, 64 bytes each, and stops with the rank's last block. */
void kvi_clear_rank(struct kvi_index *x, uint32_t rank) {
    for (uint32_t i = 1; i < x->n_nodes && entries_of(&x->ranks[rank]) > 0; i++) {
        struct kvi_node *n = &x->nodes[i];
        if ((n->flags & KVI_TYPE) != KVI_NODE)
            continue;
        bool masked = atomic_load_explicit(&n->masks, memory_order_relaxed) != 0;
        uint32_t names = 0;
        for (int t = 0; t < (masked ? KVI_TIERS : 1); t++)
            names += kvi_drop_holder(x, i, (struct kvi_holder){rank, (enum kvi_tier)t});
        if (names > 0)
            kvi_trim(x, i);
    }
}

static void remove_rank(struct kvi_index *x, uint32_t rank) {
    struct kvi_rank *r = &x->ranks[rank];
    kvi_clear_rank(x, rank);
    forget_worker(x, kvi_who(x, rank));
    r->used = false;
    x->counts.ranks--;
    /* A search under way may still name the old worker by this number. */
    kvi_retire(x, KVI_RETIRED_RANK, rank, 0);
}

enum kvi_result kvi_rank_add(struct kvi_index *index, struct kvi_worker worker,
                             uint32_t *ret_rank) {
    pthread_mutex_lock(&index->lock);
    uint32_t rank = kvi_rank_for(index, worker);
    pthread_mutex_unlock(&index->lock);
    if (rank == KVI_NO_RANK)
        return KVI_CAPACITY;
    *ret_rank = rank;
    return KVI_OK;
}

void kvi_rank_remove(struct kvi_index *index, struct kvi_worker worker) {
    pthread_mutex_lock(&index->lock);
    uint32_t rank = kvi_rank_find(index, worker);
    if (rank != KVI_NO_RANK)
        remove_rank(index, rank);
    pthread_mutex_unlock(&index->lock);
}

void kvi_remove_worker(struct kvi_index *index, uint64_t worker_id) {
    pthread_mutex_lock(&index->lock);
    uint32_t n = atomic_load_explicit(&index->n_ranks, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        if (index->ranks[i].used && kvi_who(index, i).worker_id == worker_id)
            remove_rank(index, i);
    pthread_mutex_unlock(&index->lock);
}

/* ---- eviction ----------------------------------------------------------------------------- */

struct dropping {
    struct kvi_index *x;
    uint32_t node;
};

static void drop(void *arg, struct kvi_holder h) {
    struct dropping *d = arg;
    d->x->counts.evicted += kvi_drop_holder(d->x, d->node, h);
}

/* The coldest of the next leaves under the hand; 0: no leaf at all. */
static uint32_t coldest(struct kvi_index *x, uint32_t keep) {
    uint8_t tick = atomic_load_explicit(&x->tick, memory_order_relaxed);
    uint32_t best = 0, best_age = 0, seen = 0;
    for (uint32_t i = 0; i < x->n_nodes && seen < EVICT_SAMPLE; i++) {
        x->hand = x->hand + 1 < x->n_nodes ? x->hand + 1 : 1;
        const struct kvi_node *n = &x->nodes[x->hand];
        if (x->hand == keep || x->hand >= x->n_nodes || (n->flags & KVI_TYPE) != KVI_NODE ||
            atomic_load_explicit(&n->n_children, memory_order_relaxed) > 0)
            continue;
        uint32_t age = (uint8_t)(tick - atomic_load_explicit(&n->stamp, memory_order_relaxed));
        seen++;
        if (best == 0 || age > best_age) {
            best = x->hand;
            best_age = age;
        }
    }
    return best;
}

bool kvi_evict(struct kvi_index *x, uint32_t keep) {
    bool any = false;
    kvi_reclaim(x);
    for (int i = 0; x->retired_bytes > WAITING; i++) {
        if (i == 64)
            return false; /* a search sleeps on what was evicted: more would not help */
        sched_yield();
        kvi_reclaim(x);
    }
    for (int i = 0; i < EVICT_LEAVES; i++) {
        uint32_t node = coldest(x, keep);
        if (node == 0)
            break;
        struct dropping d = {x, node};
        kvi_each_holder(x, &x->nodes[node], drop, &d);
        kvi_trim(x, node);
        any = true;
    }
    kvi_reclaim(x);
    return any;
}

/* ---- idle work ---------------------------------------------------------------------------------
 */

/* The system clears 2 MiB when a writer first touches them; better now than then. Contents stay as
 * they are, so a writer may be there already. */
static void make_ready(uint8_t *base, size_t first, size_t n) {
#ifdef MADV_POPULATE_WRITE
    for (size_t i = first; i < first + n; i++)
        (void)madvise(base + i * KVI_CHUNK, KVI_CHUNK, MADV_POPULATE_WRITE);
#else
    (void)base, (void)first, (void)n;
#endif
}

bool kvi_make_ready(struct kvi_index *x) {
    uint8_t *nodes = (uint8_t *)x->nodes;
    size_t first[2], n[2];
    pthread_mutex_lock(&x->lock);
    kvi_reclaim(x);
    kvi_arena_trim(x);
    kvi_look_ahead(&x->arena.ahead, x->arena.base, x->arena.units_top * KVI_UNIT,
                   x->arena.n_units * KVI_UNIT, &first[0], &n[0]);
    kvi_look_ahead(&x->nodes_ahead, nodes, (size_t)x->n_nodes * sizeof(*x->nodes), nodes_bytes(x),
                   &first[1], &n[1]);
    pthread_mutex_unlock(&x->lock);
    make_ready(x->arena.base, first[0], n[0]);
    make_ready(nodes, first[1], n[1]);
    return n[0] + n[1] > 0;
}

void kvi_maintain(struct kvi_index *index) {
    (void)kvi_make_ready(index);
}

/* ---- what is to come --------------------------------------------------------------------- */

struct kvi_size kvi_size_of(struct kvi_index *x) {
    pthread_mutex_lock(&x->lock);
    struct kvi_size s = {x->blocks + x->aliases, x->n_nodes, x->arena.units_used * KVI_UNIT};
    pthread_mutex_unlock(&x->lock);
    return s;
}

static void want(struct kvi_ahead *ahead, uint8_t *base, size_t used, size_t more, size_t bytes) {
    size_t top = (used + KVI_CHUNK - 1) / KVI_CHUNK, last = bytes / KVI_CHUNK;
    size_t until = (used + more) / KVI_CHUNK;
    ahead->want = more == 0 ? 0 : until < last ? until : last;
    if (more == 0 && ahead->ready > top + 1) {
        (void)madvise(base + (top + 1) * KVI_CHUNK, (ahead->ready - top - 1) * KVI_CHUNK,
                      MADV_DONTNEED);
        ahead->ready = top + 1;
    }
}

void kvi_expect(struct kvi_index *x, const struct kvi_size *more) {
    pthread_mutex_lock(&x->lock);
    want(&x->arena.ahead, x->arena.base, x->arena.units_top * KVI_UNIT, more->bytes,
         x->arena.n_units * KVI_UNIT);
    want(&x->nodes_ahead, (uint8_t *)x->nodes, (size_t)x->n_nodes * sizeof(*x->nodes),
         more->nodes * sizeof(*x->nodes), nodes_bytes(x));
    pthread_mutex_unlock(&x->lock);
}

/* Segment by segment, so that other writers wait for none but one. */
void kvi_expect_names(struct kvi_index *x, const struct kvi_size *more) {
    uint64_t bytes = more->bytes + more->nodes * sizeof(*x->nodes);
    for (uint32_t i = 0; i < KVI_NAME_SEGMENTS; i++) {
        pthread_mutex_lock(&x->lock);
        if (i == 0 && x->bytes + bytes > x->soft_bytes)
            i = KVI_NAME_SEGMENTS;
        else
            kvi_names_expect(x, i, more->names);
        pthread_mutex_unlock(&x->lock);
    }
}

/* ---- statistics --------------------------------------------------------------------------- */

void kvi_get_stats(struct kvi_index *index, struct kvi_stats *ret_stats) {
    pthread_mutex_lock(&index->lock);
    struct kvi_stats s = index->counts;
    for (int t = 0; t < KVI_TIERS; t++)
        s.entries += s.tier[t];
    s.aliases = index->aliases;
    s.blocks = index->blocks;
    s.nodes = index->live_nodes;
    s.bytes = index->bytes;
    s.max_bytes = index->max_bytes;
    pthread_mutex_unlock(&index->lock);
    *ret_stats = s;
}

uint64_t kvi_rank_entries(struct kvi_index *index, struct kvi_worker worker) {
    pthread_mutex_lock(&index->lock);
    uint32_t rank = kvi_rank_find(index, worker);
    uint64_t n = rank != KVI_NO_RANK ? entries_of(&index->ranks[rank]) : 0;
    pthread_mutex_unlock(&index->lock);
    return n;
}

size_t kvi_ranks(struct kvi_index *index, uint32_t *from, struct kvi_worker *ret_workers,
                 size_t room) {
    size_t n = 0;
    pthread_mutex_lock(&index->lock);
    uint32_t end = atomic_load_explicit(&index->n_ranks, memory_order_relaxed);
    for (; *from < end && n < room; (*from)++)
        if (index->ranks[*from].used)
            ret_workers[n++] = kvi_who(index, *from);
    pthread_mutex_unlock(&index->lock);
    return n;
}
