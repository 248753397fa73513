/*
 * Every assumed (rank, sequence hash) is an entry of one hash table, threaded on its rank's list in
 * order of the last renewal, within one prompt from the tail to the head. A renewal of a block
 * renews all blocks before it, so along a prompt the list never has a block before one that stands
 * on it: taking from the old end removes tails before heads, for TTL and capacity alike.
 */
#include "kvindex/kvi_approx.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
enum { TAKE_BATCH = 64 };

struct entry {
    uint64_t sequence;
    uint64_t due_ms;
    uint32_t rank;         /* NONE = free */
    uint32_t older, newer; /* on the rank's list */
};
struct rank {
    struct kvi_worker worker;
    uint32_t oldest, newest, n;
    bool used;
};
struct kvi_approx {
    struct kvi_index *index; /* borrowed */
    uint64_t ttl_ms;
    uint32_t max_blocks;
    struct entry *entries; /* pool */
    uint32_t n_entries, cap_entries, free_entry;
    uint32_t *table; /* entry + 1, open addressing */
    uint32_t table_mask, n_live;
    struct rank *ranks;
    uint32_t n_ranks, cap_ranks;
};

struct kvi_approx *kvi_approx_create(struct kvi_index *index,
                                     const struct kvi_approx_options *options) {
    struct kvi_approx *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->index = index;
    a->ttl_ms = options->ttl_ms;
    a->max_blocks = options->max_blocks > 0 ? options->max_blocks : 1u << 20;
    a->free_entry = NONE;
    a->table_mask = 1023;
    a->table = calloc((size_t)a->table_mask + 1, sizeof(*a->table));
    if (a->table == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

void kvi_approx_destroy(struct kvi_approx *a) {
    if (a == NULL)
        return;
    free(a->entries);
    free(a->table);
    free(a->ranks);
    free(a);
}

/* ---- table -------------------------------------------------------------------------------- */

static uint32_t home(const struct kvi_approx *a, uint32_t rank, uint64_t sequence) {
    uint64_t x = (sequence ^ rank * 0xD6E8FEB86659FD93u) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32) & a->table_mask;
}

static uint32_t slot_of(const struct kvi_approx *a, uint32_t rank, uint64_t sequence) {
    uint32_t i = home(a, rank, sequence);
    for (; a->table[i] != 0; i = (i + 1) & a->table_mask) {
        const struct entry *e = &a->entries[a->table[i] - 1];
        if (e->rank == rank && e->sequence == sequence)
            break;
    }
    return i;
}

static bool grow_table(struct kvi_approx *a) {
    uint32_t old_mask = a->table_mask, *old = a->table;
    uint32_t *table = calloc(((size_t)old_mask + 1) * 2, sizeof(*table));
    if (table == NULL)
        return false;
    a->table = table;
    a->table_mask = old_mask * 2 + 1;
    for (uint32_t i = 0; i <= old_mask; i++)
        if (old[i] != 0) {
            const struct entry *e = &a->entries[old[i] - 1];
            a->table[slot_of(a, e->rank, e->sequence)] = old[i];
        }
    free(old);
    return true;
}

static void unslot(struct kvi_approx *a, uint32_t hole) {
    uint32_t mask = a->table_mask;
    for (uint32_t i = (hole + 1) & mask; a->table[i] != 0; i = (i + 1) & mask) {
        const struct entry *e = &a->entries[a->table[i] - 1];
        if (((i - home(a, e->rank, e->sequence)) & mask) >= ((i - hole) & mask)) {
            a->table[hole] = a->table[i];
            hole = i;
        }
    }
    a->table[hole] = 0;
}

/* ---- entries ------------------------------------------------------------------------------ */

static void unlink_entry(struct kvi_approx *a, uint32_t i) {
    struct entry *e = &a->entries[i];
    struct rank *r = &a->ranks[e->rank];
    *(e->older != NONE ? &a->entries[e->older].newer : &r->oldest) = e->newer;
    *(e->newer != NONE ? &a->entries[e->newer].older : &r->newest) = e->older;
}

static void link_newest(struct kvi_approx *a, uint32_t i) {
    struct entry *e = &a->entries[i];
    struct rank *r = &a->ranks[e->rank];
    e->older = r->newest;
    e->newer = NONE;
    *(r->newest != NONE ? &a->entries[r->newest].newer : &r->oldest) = i;
    r->newest = i;
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

/* Takes the oldest entries of the rank back while they are due or too many. */
static void take_back(struct kvi_approx *a, struct rank *r, uint64_t now_ms, uint32_t most) {
    uint64_t gone[TAKE_BATCH];
    size_t n = 0;
    while (r->oldest != NONE &&
           (r->n > most || (a->ttl_ms > 0 && a->entries[r->oldest].due_ms <= now_ms))) {
        uint32_t i = r->oldest;
        struct entry *e = &a->entries[i];
        gone[n++] = e->sequence;
        unslot(a, slot_of(a, e->rank, e->sequence));
        unlink_entry(a, i);
        e->rank = NONE;
        e->newer = a->free_entry;
        a->free_entry = i;
        r->n--;
        a->n_live--;
        if (n == TAKE_BATCH) {
            kvi_remove(a->index, r->worker, KVI_DEVICE, gone, n);
            n = 0;
        }
    }
    if (n > 0)
        kvi_remove(a->index, r->worker, KVI_DEVICE, gone, n);
}

/* ---- ranks -------------------------------------------------------------------------------- */

static struct rank *rank_of(struct kvi_approx *a, struct kvi_worker w, bool make) {
    struct rank *free_one = NULL;
    for (uint32_t i = 0; i < a->n_ranks; i++) {
        struct rank *r = &a->ranks[i];
        if (r->used && r->worker.worker_id == w.worker_id && r->worker.dp_rank == w.dp_rank)
            return r;
        free_one = r->used ? free_one : r;
    }
    if (!make)
        return NULL;
    if (free_one == NULL) {
        if (a->n_ranks == a->cap_ranks) {
            uint32_t cap = a->cap_ranks == 0 ? 16 : a->cap_ranks * 2;
            struct rank *more = realloc(a->ranks, cap * sizeof(*more));
            if (more == NULL)
                return NULL;
            a->ranks = more;
            a->cap_ranks = cap;
        }
        free_one = &a->ranks[a->n_ranks++];
    }
    *free_one = (struct rank){.worker = w, .oldest = NONE, .newest = NONE, .used = true};
    return free_one;
}

/* ---- the door --------------------------------------------------------------------------- */

/* Stores blocks [0, n), which all have entries or get them; returns how many the index took. */
static size_t store(struct kvi_approx *a, struct kvi_worker w, const uint64_t *local,
                    const uint64_t *sequence, size_t n) {
    struct kvi_block blocks[TAKE_BATCH];
    for (size_t i = 0; i < n; i += TAKE_BATCH) {
        size_t k = n - i < TAKE_BATCH ? n - i : TAKE_BATCH;
        for (size_t j = 0; j < k; j++)
            blocks[j] = (struct kvi_block){sequence[i + j], local[i + j]};
        if (kvi_store(a->index, w, KVI_DEVICE, i > 0, i > 0 ? sequence[i - 1] : 0, blocks, k,
                      NULL) != KVI_OK)
            return i;
    }
    return n;
}

void kvi_approx_routed(struct kvi_approx *a, struct kvi_worker worker, const uint64_t *local,
                       const uint64_t *sequence, size_t n, uint64_t now_ms) {
    struct rank *r = rank_of(a, worker, true);
    if (r == NULL)
        return;
    n = n < a->max_blocks ? n : a->max_blocks;
    take_back(a, r, now_ms, a->max_blocks);
    uint32_t number = (uint32_t)(r - a->ranks);
    n = store(a, worker, local, sequence, n);
    for (size_t i = n; i-- > 0;) {
        uint32_t slot = slot_of(a, number, sequence[i]), at;
        if (a->table[slot] != 0) {
            at = a->table[slot] - 1;
            unlink_entry(a, at);
        } else {
            if ((a->n_live + 1) * 2 > a->table_mask && !grow_table(a))
                break; /* the heads stay in the index until the rank is cleared */
            at = new_entry(a);
            if (at == NONE)
                break;
            a->entries[at] = (struct entry){.sequence = sequence[i], .rank = number};
            a->table[slot_of(a, number, sequence[i])] = at + 1;
            r->n++;
            a->n_live++;
        }
        a->entries[at].due_ms = now_ms + a->ttl_ms;
        link_newest(a, at);
    }
    take_back(a, r, now_ms, a->max_blocks);
}

void kvi_approx_expire(struct kvi_approx *a, uint64_t now_ms) {
    for (uint32_t i = 0; i < a->n_ranks; i++)
        if (a->ranks[i].used && a->ranks[i].oldest != NONE)
            take_back(a, &a->ranks[i], now_ms, a->max_blocks);
}

void kvi_approx_forget(struct kvi_approx *a, struct kvi_worker worker) {
    struct rank *r = rank_of(a, worker, false);
    if (r == NULL)
        return;
    take_back(a, r, 0, 0);
    r->used = false;
}

uint64_t kvi_approx_blocks(const struct kvi_approx *a) {
    return a->n_live;
}
