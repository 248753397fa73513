/*
 * Every assumed (rank, sequence hash) is an entry of one hash table, whose chains are split one at
 * a time as it grows (linear hashing), so that no decision waits for all of them. They are threaded
 * on one list in order of the last renewal, within one prompt from the tail to the head. A renewal
 * of a block renews all blocks before it, so along a prompt the list never has a block before one
 * that stands on it: taking from the old end removes tails before heads, for TTL and number alike.
 */
#include "kvindex/kvi_approx.h"

#include <stdlib.h>

#define NONE UINT32_MAX
enum { TAKE_BATCH = 64, MAX_BLOCKS = 1 << 24, FIRST_CHAINS = 16 };

struct entry {
    uint64_t sequence;
    uint64_t due_ms;
    struct kvi_worker worker;
    uint32_t older, newer; /* newer of a free one: the next */
    uint32_t next;         /* of its chain */
};
struct kvi_approx {
    struct kvi_index *index; /* borrowed */
    uint64_t ttl_ms;
    uint32_t max_blocks;
    struct entry *entries; /* pool */
    uint32_t n_entries, cap_entries, free_entry, oldest, newest;
    /* round + split chains: those of this round, a power of two, of which the first `split` were
     * split and have their other halves behind. */
    uint32_t *chains;
    uint32_t cap_chains, round, split, n_live;
};

struct kvi_approx *kvi_approx_create(struct kvi_index *index,
                                     const struct kvi_approx_options *options) {
    struct kvi_approx *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->index = index;
    a->ttl_ms = options->ttl_ms;
    a->max_blocks = options->max_blocks > 0 ? options->max_blocks : MAX_BLOCKS;
    a->free_entry = a->oldest = a->newest = NONE;
    a->cap_chains = a->round = FIRST_CHAINS;
    a->chains = malloc(FIRST_CHAINS * sizeof(*a->chains));
    if (a->chains == NULL) {
        free(a);
        return NULL;
    }
    for (uint32_t i = 0; i < FIRST_CHAINS; i++)
        a->chains[i] = NONE;
    return a;
}

void kvi_approx_destroy(struct kvi_approx *a) {
    if (a == NULL)
        return;
    free(a->entries);
    free(a->chains);
    free(a);
}

/* ---- table -------------------------------------------------------------------------------- */

static bool same_rank(struct kvi_worker a, struct kvi_worker b) {
    return a.worker_id == b.worker_id && a.dp_rank == b.dp_rank;
}

static uint32_t hash_of(struct kvi_worker w, uint64_t sequence) {
    uint64_t rank = (w.worker_id ^ (uint64_t)w.dp_rank << 32) * 0xD6E8FEB86659FD93u;
    return (uint32_t)((sequence ^ rank ^ rank >> 32) * 0x9E3779B97F4A7C15u >> 32);
}

/* Where the chain of a hash begins. */
static uint32_t *chain_of(struct kvi_approx *a, uint32_t hash) {
    uint32_t i = hash & (a->round - 1);
    return &a->chains[i < a->split ? hash & (a->round * 2 - 1) : i];
}

static uint32_t entry_of(struct kvi_approx *a, struct kvi_worker w, uint64_t sequence) {
    uint32_t i = *chain_of(a, hash_of(w, sequence));
    while (i != NONE && (a->entries[i].sequence != sequence || !same_rank(a->entries[i].worker, w)))
        i = a->entries[i].next;
    return i;
}

/* Splits the next chain in two. Without memory they grow longer. */
static void split_one(struct kvi_approx *a) {
    uint32_t to = a->round + a->split;
    if (to == a->cap_chains) {
        uint32_t *more = realloc(a->chains, (size_t)to * 2 * sizeof(*more));
        if (more == NULL)
            return;
        a->chains = more;
        a->cap_chains = to * 2;
    }
    uint32_t i = a->chains[a->split], next;
    a->chains[a->split] = a->chains[to] = NONE;
    if (++a->split == a->round) {
        a->round *= 2;
        a->split = 0;
    }
    for (; i != NONE; i = next) {
        struct entry *e = &a->entries[i];
        uint32_t *chain = chain_of(a, hash_of(e->worker, e->sequence));
        next = e->next;
        e->next = *chain;
        *chain = i;
    }
}

static void unchain(struct kvi_approx *a, uint32_t i) {
    uint32_t *at = chain_of(a, hash_of(a->entries[i].worker, a->entries[i].sequence));
    while (*at != i)
        at = &a->entries[*at].next;
    *at = a->entries[i].next;
}

/* ---- entries ------------------------------------------------------------------------------ */

static void unlink_entry(struct kvi_approx *a, uint32_t i) {
    struct entry *e = &a->entries[i];
    *(e->older != NONE ? &a->entries[e->older].newer : &a->oldest) = e->newer;
    *(e->newer != NONE ? &a->entries[e->newer].older : &a->newest) = e->older;
}

static void link_newest(struct kvi_approx *a, uint32_t i) {
    struct entry *e = &a->entries[i];
    e->older = a->newest;
    e->newer = NONE;
    *(a->newest != NONE ? &a->entries[a->newest].newer : &a->oldest) = i;
    a->newest = i;
}

static uint32_t new_entry(struct kvi_approx *a) {
    uint32_t i = a->free_entry;
    if (i != NONE) {
        a->free_entry = a->entries[i].newer;
        return i;
    }
    if (a->n_entries == a->cap_entries) {
        uint32_t cap = a->cap_entries == 0 ? 1024 : a->cap_entries + a->cap_entries / 2;
        struct entry *more = realloc(a->entries, cap * sizeof(*more));
        if (more == NULL)
            return NONE;
        a->entries = more;
        a->cap_entries = cap;
    }
    return a->n_entries++;
}

static void forget(struct kvi_approx *a, uint32_t i) {
    unchain(a, i);
    unlink_entry(a, i);
    a->entries[i].newer = a->free_entry;
    a->free_entry = i;
    a->n_live--;
}

/* Takes the oldest entries back while they are due or too many, those of a rank that follow one
 * another together. */
static void take_back(struct kvi_approx *a, uint64_t now_ms) {
    uint64_t gone[TAKE_BATCH];
    struct kvi_worker rank = {0, 0};
    size_t n = 0;
    while (a->oldest != NONE && (a->n_live > a->max_blocks ||
                                 (a->ttl_ms > 0 && a->entries[a->oldest].due_ms <= now_ms))) {
        const struct entry *e = &a->entries[a->oldest];
        if (n == TAKE_BATCH || (n > 0 && !same_rank(e->worker, rank))) {
            kvi_remove(a->index, rank, KVI_DEVICE, gone, n);
            n = 0;
        }
        rank = e->worker;
        gone[n++] = e->sequence;
        forget(a, a->oldest);
    }
    if (n > 0)
        kvi_remove(a->index, rank, KVI_DEVICE, gone, n);
}

/* ---- the door --------------------------------------------------------------------------- */

/* A block that has no entry is not assumed: nothing would let it lapse. */
static void take_unassumed(struct kvi_approx *a, struct kvi_worker w, const uint64_t *sequence,
                           size_t n) {
    while (n-- > 0)
        if (entry_of(a, w, sequence[n]) == NONE)
            kvi_remove(a->index, w, KVI_DEVICE, &sequence[n], 1);
}

/* Stores blocks [0, n), which all have entries or get them; returns how many the index took. */
static size_t store(struct kvi_approx *a, struct kvi_worker w, const uint64_t *local,
                    const uint64_t *sequence, size_t n) {
    struct kvi_block blocks[TAKE_BATCH];
    for (size_t i = 0; i < n; i += TAKE_BATCH) {
        size_t k = n - i < TAKE_BATCH ? n - i : TAKE_BATCH;
        for (size_t j = 0; j < k; j++)
            blocks[j] = (struct kvi_block){sequence[i + j], local[i + j]};
        if (kvi_store(a->index, w, KVI_DEVICE, i > 0, i > 0 ? sequence[i - 1] : 0, blocks, k,
                      NULL) != KVI_OK) {
            take_unassumed(a, w, sequence + i, k); /* it may have taken some */
            return i;
        }
    }
    return n;
}

/* The entry of the rank's block, at the new end of the list; false: no memory. */
static bool renew(struct kvi_approx *a, struct kvi_worker w, uint64_t sequence, uint64_t due_ms) {
    uint32_t at = entry_of(a, w, sequence);
    if (at != NONE) {
        unlink_entry(a, at);
    } else {
        at = new_entry(a);
        if (at == NONE)
            return false;
        if (++a->n_live > a->round + a->split)
            split_one(a);
        uint32_t *chain = chain_of(a, hash_of(w, sequence));
        a->entries[at] = (struct entry){.sequence = sequence, .worker = w, .next = *chain};
        *chain = at;
    }
    a->entries[at].due_ms = due_ms;
    link_newest(a, at);
    return true;
}

void kvi_approx_routed(struct kvi_approx *a, struct kvi_worker worker, const uint64_t *local,
                       const uint64_t *sequence, size_t n, uint64_t now_ms) {
    take_back(a, now_ms);
    n = store(a, worker, local, sequence, n < a->max_blocks ? n : a->max_blocks);
    size_t i = n;
    while (i > 0 && renew(a, worker, sequence[i - 1], now_ms + a->ttl_ms))
        i--;
    /* Without memory for their entries the heads would never lapse, nor what stands on them. */
    for (size_t k = n; i > 0 && k-- > 0;) {
        uint32_t at = entry_of(a, worker, sequence[k]);
        if (at != NONE)
            forget(a, at);
        kvi_remove(a->index, worker, KVI_DEVICE, &sequence[k], 1);
    }
    take_back(a, now_ms);
}

void kvi_approx_expire(struct kvi_approx *a, uint64_t now_ms) {
    take_back(a, now_ms);
}

uint64_t kvi_approx_blocks(const struct kvi_approx *a) {
    return a->n_live;
}
