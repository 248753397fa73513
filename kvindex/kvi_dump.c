/*
 * The index as stored events, parents first.
 *
 * Nodes are visited by number, each behind those above it; within a node the runs of all holders by
 * their first offset, so a parent in the same node or above it is always told before. A node stays
 * where it is for its life, so a walk can stop after any run and go on later: what a holder does
 * not change meanwhile is told as it stands, and once. A node that came behind a walk's beginning
 * in the place of one that was told is not. A run's blocks carry the holder's own names; more than
 * one name of a block gives one more event each. A run whose parent block was not told for the
 * holder cannot be told either (and cannot match): it is left out and remembered, so that what
 * stands on it is left out too. A copy (kvi_copy) gets such a run place by place, by the contents
 * from the root on.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>

struct run {
    struct kvi_holder h;
    uint32_t from, to;
};

/* Places of a holder in a node that were left out. */
struct untold {
    uint64_t key; /* node << 20 | rank << 2 | tier; 0 = empty */
    uint64_t bits[2];
};

struct kvi_walk {
    struct kvi_index *x;
    kvi_dump_fn fn;
    kvi_place_fn place; /* NULL: what cannot be told is left out */
    void *arg;
    uint64_t *path; /* scratch of place */
    size_t cap_path;
    uint64_t *seen; /* a bit for each node number below n_nodes: it was told, or is on the chain */
    uint32_t n_nodes; /* at the beginning */
    uint32_t next;    /* all numbers below it were seen */
    uint32_t *chain;  /* to be told: a node before those above it */
    size_t n_chain, cap_chain;
    uint32_t node;
    struct run *runs; /* of the node */
    size_t n_runs, cap_runs;
    struct run last;       /* of the node, told last */
    bool within;           /* there is one */
    size_t told;           /* blocks and further names of a run */
    struct untold *untold; /* open addressing */
    size_t n_untold, cap_untold;
    bool failed;
};

/* ---- what was left out ------------------------------------------------------------------ */

static struct untold *untold_at(struct untold *table, size_t cap, uint64_t key) {
    size_t i = (size_t)(kvi_mix(key) >> 32) & (cap - 1);
    while (table[i].key != 0 && table[i].key != key)
        i = (i + 1) & (cap - 1);
    return &table[i];
}

static uint64_t untold_key(struct kvi_holder h, uint32_t node) {
    return (uint64_t)node << 20 | (uint64_t)h.rank << 2 | (uint64_t)h.tier;
}

static bool is_told(const struct kvi_walk *d, struct kvi_holder h, uint32_t node, uint32_t off) {
    if (!kvi_covered(d->x, &d->x->nodes[node], h, off))
        return false;
    if (d->n_untold == 0)
        return true;
    const struct untold *u = untold_at(d->untold, d->cap_untold, untold_key(h, node));
    return (u->bits[off >> 6] >> (off & 63) & 1) == 0;
}

static void leave_out(struct kvi_walk *d, const struct run *r) {
    if (d->n_untold * 2 >= d->cap_untold) {
        size_t cap = d->cap_untold == 0 ? 64 : d->cap_untold * 2;
        struct untold *more = calloc(cap, sizeof(*more));
        if (more == NULL) {
            d->failed = true;
            return;
        }
        for (size_t i = 0; i < d->cap_untold; i++)
            if (d->untold[i].key != 0)
                *untold_at(more, cap, d->untold[i].key) = d->untold[i];
        free(d->untold);
        d->untold = more;
        d->cap_untold = cap;
    }
    struct untold *u = untold_at(d->untold, d->cap_untold, untold_key(r->h, d->node));
    d->n_untold += u->key == 0;
    u->key = untold_key(r->h, d->node);
    for (uint32_t off = r->from; off < r->to; off++)
        u->bits[off >> 6] |= (uint64_t)1 << (off & 63);
}

/* ---- runs of a node ----------------------------------------------------------------------- */

/* Device runs first among those that begin together: lower tiers may stand on them. */
static int by_offset(const void *a, const void *b) {
    const struct run *x = a, *y = b;
    if (x->from != y->from)
        return (x->from > y->from) - (x->from < y->from);
    if (x->h.tier != y->h.tier)
        return (x->h.tier > y->h.tier) - (x->h.tier < y->h.tier);
    return (x->h.rank > y->h.rank) - (x->h.rank < y->h.rank);
}

static void add_run(struct kvi_walk *d, struct kvi_holder h, uint32_t from, uint32_t to) {
    if (d->n_runs == d->cap_runs) {
        size_t cap = d->cap_runs == 0 ? 64 : d->cap_runs * 2;
        struct run *more = realloc(d->runs, cap * sizeof(*more));
        if (more == NULL) {
            d->failed = true;
            return;
        }
        d->runs = more;
        d->cap_runs = cap;
    }
    d->runs[d->n_runs++] = (struct run){h, from, to};
}

static void add_runs(void *arg, struct kvi_holder h) {
    struct kvi_walk *d = arg;
    uint64_t bits[2];
    kvi_bits(d->x, &d->x->nodes[d->node], h, bits);
    for (uint32_t off = 0; off < KVI_NODE_BLOCKS;) {
        if ((bits[off >> 6] >> (off & 63) & 1) == 0) {
            off++;
            continue;
        }
        uint32_t from = off;
        while (off < KVI_NODE_BLOCKS && (bits[off >> 6] >> (off & 63) & 1) != 0)
            off++;
        add_run(d, h, from, off);
    }
}

/* k-th name of the holder for the place. */
static bool name_of(const struct kvi_walk *d, struct kvi_holder h, uint32_t node, uint32_t off,
                    uint32_t k, uint64_t *ret) {
    if (kvi_first_name_held(d->x, h, node, off) && k-- == 0) {
        *ret = kvi_name_array(d->x, kvi_body(&d->x->nodes[node]))[off];
        return true;
    }
    return kvi_alias_name(d->x, h, node, off, k, ret);
}

/* Whether a store of this holder that names a parent looks as far as tier t: its own and the tiers
 * before t do not have the name for another block. */
static bool is_found(const struct kvi_walk *d, struct kvi_holder h, int t, uint64_t name) {
    bool elsewhere = kvi_names_find(d->x, h, name) != 0;
    for (int before = 0; before < t; before++)
        elsewhere |=
            kvi_names_find(d->x, (struct kvi_holder){h.rank, (enum kvi_tier)before}, name) != 0;
    return !elsewhere;
}

/* A name by which a store of this holder finds the block before (node, off). */
static bool parent_name(const struct kvi_walk *d, struct kvi_holder h, uint32_t node, uint32_t off,
                        uint64_t *ret) {
    const struct kvi_node *n = &d->x->nodes[node];
    uint32_t at = off > 0 ? node : n->parent, before = off > 0 ? off - 1 : n->parent_off - 1u;
    if (is_told(d, h, at, before))
        return name_of(d, h, at, before, 0, ret);
    for (int t = 0; h.tier != KVI_DEVICE && t < KVI_TIERS; t++) {
        struct kvi_holder other = {h.rank, (enum kvi_tier)t};
        for (uint32_t k = 0; is_told(d, other, at, before) && name_of(d, other, at, before, k, ret);
             k++)
            if (is_found(d, h, t, *ret))
                return true;
    }
    return false;
}

/* ---- placing ---------------------------------------------------------------------------- */

/* Contents from the root to the place, in the scratch; their number, 0 without memory. */
static size_t path_to(struct kvi_walk *d, uint32_t node, uint32_t off) {
    const struct kvi_index *x = d->x;
    size_t n = 0, end;
    for (uint32_t i = node, len = off + 1; i != 0;
         len = x->nodes[i].parent_off, i = x->nodes[i].parent)
        n += len;
    if (n > d->cap_path) {
        uint64_t *more = realloc(d->path, n * sizeof(*more));
        if (more == NULL)
            return 0;
        d->path = more;
        d->cap_path = n;
    }
    end = n;
    for (uint32_t i = node, len = off + 1; i != 0;
         len = x->nodes[i].parent_off, i = x->nodes[i].parent) {
        end -= len;
        memcpy(d->path + end, kvi_content(x, kvi_body(&x->nodes[i])), len * sizeof(*d->path));
    }
    return n;
}

static bool place_run(struct kvi_walk *d, const struct run *r, struct kvi_worker worker) {
    uint64_t name;
    for (uint32_t off = r->from; off < r->to; off++) {
        size_t n = path_to(d, d->node, off);
        if (n == 0) {
            d->failed = true;
            return false;
        }
        for (uint32_t k = 0; name_of(d, r->h, d->node, off, k, &name); k++) {
            d->told += 1 + n / KVI_NODE_BLOCKS; /* the path is work too */
            if (!d->place(d->arg, worker, r->h.tier, d->path, n, name))
                return false;
        }
    }
    return true;
}

/* ---- telling ---------------------------------------------------------------------------- */

static bool tell(struct kvi_walk *d, const struct run *r) {
    struct kvi_index *x = d->x;
    const uint64_t *content = kvi_content(x, kvi_body(&x->nodes[d->node]));
    struct kvi_block blocks[KVI_NODE_BLOCKS];
    struct kvi_event e = {.worker = kvi_who(x, r->h.rank),
                          .kind = KVI_STORED,
                          .tier = r->h.tier,
                          .has_parent = r->from > 0 || x->nodes[d->node].parent != 0,
                          .blocks = blocks};
    if (e.has_parent && !parent_name(d, r->h, d->node, r->from, &e.parent_hash)) {
        if (d->place != NULL)
            return place_run(d, r, e.worker);
        leave_out(d, r);
        return true;
    }
    for (uint32_t off = r->from; off < r->to; off++) {
        struct kvi_block *b = &blocks[e.n++];
        b->tokens_hash = content[off];
        (void)name_of(d, r->h, d->node, off, 0, &b->block_hash);
    }
    d->told += e.n;
    if (!d->fn(d->arg, &e))
        return false;
    e.n = 1;
    for (uint32_t off = r->from; off < r->to; off++) {
        e.has_parent = off > 0 || x->nodes[d->node].parent != 0;
        blocks[0].tokens_hash = content[off];
        for (uint32_t k = 1; name_of(d, r->h, d->node, off, k, &blocks[0].block_hash); k++) {
            if (e.has_parent && !parent_name(d, r->h, d->node, off, &e.parent_hash))
                continue;
            d->told++;
            if (!d->fn(d->arg, &e))
                return false;
        }
    }
    return true;
}

/* Puts the node and those above it that were not seen onto the chain. */
static void climb(struct kvi_walk *d, uint32_t node) {
    for (uint32_t i = node; i != 0 && i < d->n_nodes && (d->seen[i >> 6] >> (i & 63) & 1) == 0;
         i = d->x->nodes[i].parent) {
        if (d->n_chain == d->cap_chain) {
            size_t cap = d->cap_chain == 0 ? 64 : d->cap_chain * 2;
            uint32_t *more = realloc(d->chain, cap * sizeof(*more));
            if (more == NULL) {
                d->failed = true;
                return;
            }
            d->chain = more;
            d->cap_chain = cap;
        }
        d->chain[d->n_chain++] = i;
        d->seen[i >> 6] |= (uint64_t)1 << (i & 63);
    }
}

/* Runs of the node behind the last one that was told. False: fn wants no more. */
static bool tell_node(struct kvi_walk *d, uint32_t node, size_t *left) {
    struct kvi_node *n = &d->x->nodes[node];
    size_t k = 0;
    d->node = node;
    d->n_runs = 0;
    if ((n->flags & KVI_TYPE) == KVI_NODE)
        kvi_each_holder(d->x, n, add_runs, d);
    if (d->n_runs > 1)
        qsort(d->runs, d->n_runs, sizeof(*d->runs), by_offset);
    while (d->within && k < d->n_runs && by_offset(&d->runs[k], &d->last) <= 0)
        k++;
    for (; k < d->n_runs && *left != 0 && !d->failed; k++) {
        d->told = 0;
        if (!tell(d, &d->runs[k]))
            return false;
        size_t cost = d->told > 0 ? d->told : 1; /* one that is left out costs as well */
        *left -= cost < *left ? cost : *left;
        d->last = d->runs[k];
        d->within = true;
    }
    if (k == d->n_runs) {
        d->n_chain--;
        d->within = false;
    }
    return true;
}

/* Until about so many blocks were told and nodes looked at. */
static enum kvi_result walk_locked(struct kvi_walk *d, size_t left, bool *ret_more) {
    bool go_on = true;
    while (go_on && left > 0 && !d->failed && (d->n_chain > 0 || d->next < d->n_nodes)) {
        if (d->n_chain > 0) {
            go_on = tell_node(d, d->chain[d->n_chain - 1], &left);
        } else {
            if ((d->x->nodes[d->next].flags & KVI_TYPE) == KVI_NODE)
                climb(d, d->next);
            d->next++;
            left--;
        }
    }
    if (d->failed)
        return KVI_NOMEM;
    *ret_more = go_on && (d->n_chain > 0 || d->next < d->n_nodes);
    return KVI_OK;
}

/* ---- walks ------------------------------------------------------------------------------ */

static bool begin(struct kvi_walk *d) {
    d->n_nodes = d->x->n_nodes;
    d->next = 1;
    d->seen = calloc((size_t)d->n_nodes / 64 + 1, sizeof(*d->seen));
    return d->seen != NULL;
}

static void end(struct kvi_walk *d) {
    free(d->seen);
    free(d->chain);
    free(d->runs);
    free(d->untold);
    free(d->path);
}

struct kvi_walk *kvi_walk_open(struct kvi_index *index) {
    struct kvi_walk *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    d->x = index;
    pthread_mutex_lock(&index->lock);
    bool ok = begin(d);
    pthread_mutex_unlock(&index->lock);
    if (ok)
        return d;
    free(d);
    return NULL;
}

enum kvi_result kvi_walk_step(struct kvi_walk *walk, size_t n_blocks, kvi_dump_fn fn, void *arg,
                              bool *ret_more) {
    walk->fn = fn;
    walk->arg = arg;
    pthread_mutex_lock(&walk->x->lock);
    enum kvi_result r = walk_locked(walk, n_blocks, ret_more);
    pthread_mutex_unlock(&walk->x->lock);
    return r;
}

void kvi_walk_place(struct kvi_walk *walk, kvi_place_fn place) {
    walk->place = place;
}

void kvi_walk_close(struct kvi_walk *walk) {
    if (walk == NULL)
        return;
    end(walk);
    free(walk);
}

enum kvi_result kvi_copy(struct kvi_index *index, kvi_dump_fn fn, kvi_place_fn place, void *arg) {
    struct kvi_walk d = {.x = index, .fn = fn, .place = place, .arg = arg};
    bool more;
    pthread_mutex_lock(&index->lock);
    enum kvi_result r = begin(&d) ? walk_locked(&d, SIZE_MAX, &more) : KVI_NOMEM;
    pthread_mutex_unlock(&index->lock);
    end(&d);
    return r;
}

enum kvi_result kvi_dump(struct kvi_index *index, kvi_dump_fn fn, void *arg) {
    return kvi_copy(index, fn, NULL, arg);
}
