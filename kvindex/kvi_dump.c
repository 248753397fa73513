/*
 * The index as stored events, parents first.
 *
 * Nodes are visited by their depth in blocks; within a node the runs of all holders by their first
 * offset, so a parent in the same node or above it is always told before. A run's blocks carry the
 * holder's own names; more than one name of a block gives one more event each. A run whose parent
 * block was not told for the holder cannot be told either (and cannot match): it is left out and
 * remembered, so that what stands on it is left out too. A copy (kvi_copy) gets such a run place by
 * place, by the contents from the root on.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>

struct visit {
    uint32_t depth, node;
};

struct run {
    struct kvi_holder h;
    uint32_t from, to;
};

/* Places of a holder in a node that were left out. */
struct untold {
    uint64_t key; /* node << 20 | rank << 2 | tier; 0 = empty */
    uint64_t bits[2];
};

struct dump {
    struct kvi_index *x;
    kvi_dump_fn fn;
    kvi_place_fn place; /* NULL: what cannot be told is left out */
    void *arg;
    uint64_t *path; /* scratch of place */
    size_t cap_path;
    uint32_t only; /* this rank, or KVI_NO_RANK for all */
    uint32_t node;
    struct run *runs; /* of the node */
    size_t n_runs, cap_runs;
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

static bool is_told(const struct dump *d, struct kvi_holder h, uint32_t node, uint32_t off) {
    if (!kvi_covered(d->x, &d->x->nodes[node], h, off))
        return false;
    if (d->n_untold == 0)
        return true;
    const struct untold *u = untold_at(d->untold, d->cap_untold, untold_key(h, node));
    return (u->bits[off >> 6] >> (off & 63) & 1) == 0;
}

static void leave_out(struct dump *d, const struct run *r) {
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

static int by_depth(const void *a, const void *b) {
    const struct visit *x = a, *y = b;
    return x->depth != y->depth ? (x->depth > y->depth) - (x->depth < y->depth)
                                : (x->node > y->node) - (x->node < y->node);
}

/* Device runs first among those that begin together: lower tiers may stand on them. */
static int by_offset(const void *a, const void *b) {
    const struct run *x = a, *y = b;
    if (x->from != y->from)
        return (x->from > y->from) - (x->from < y->from);
    if (x->h.tier != y->h.tier)
        return (x->h.tier > y->h.tier) - (x->h.tier < y->h.tier);
    return (x->h.rank > y->h.rank) - (x->h.rank < y->h.rank);
}

static void add_run(struct dump *d, struct kvi_holder h, uint32_t from, uint32_t to) {
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
    struct dump *d = arg;
    uint64_t bits[2];
    if (d->only != KVI_NO_RANK && h.rank != d->only)
        return;
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
static bool name_of(const struct dump *d, struct kvi_holder h, uint32_t node, uint32_t off,
                    uint32_t k, uint64_t *ret) {
    if (kvi_first_name_held(d->x, h, node, off) && k-- == 0) {
        *ret = kvi_name_array(d->x, kvi_body(&d->x->nodes[node]))[off];
        return true;
    }
    return kvi_alias_name(d->x, h, node, off, k, ret);
}

/* Whether a store of this holder that names a parent looks as far as tier t: its own and the tiers
 * before t do not have the name for another block. */
static bool is_found(const struct dump *d, struct kvi_holder h, int t, uint64_t name) {
    bool elsewhere = kvi_names_find(d->x, h, name) != 0;
    for (int before = 0; before < t; before++)
        elsewhere |=
            kvi_names_find(d->x, (struct kvi_holder){h.rank, (enum kvi_tier)before}, name) != 0;
    return !elsewhere;
}

/* A name by which a store of this holder finds the block before (node, off). */
static bool parent_name(const struct dump *d, struct kvi_holder h, uint32_t node, uint32_t off,
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
static size_t path_to(struct dump *d, uint32_t node, uint32_t off) {
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

static bool place_run(struct dump *d, const struct run *r, struct kvi_worker worker) {
    uint64_t name;
    for (uint32_t off = r->from; off < r->to; off++) {
        size_t n = path_to(d, d->node, off);
        if (n == 0) {
            d->failed = true;
            return false;
        }
        for (uint32_t k = 0; name_of(d, r->h, d->node, off, k, &name); k++)
            if (!d->place(d->arg, worker, r->h.tier, d->path, n, name))
                return false;
    }
    return true;
}

/* ---- telling ---------------------------------------------------------------------------- */

static bool tell(struct dump *d, const struct run *r) {
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
    if (!d->fn(d->arg, &e))
        return false;
    e.n = 1;
    for (uint32_t off = r->from; off < r->to; off++) {
        e.has_parent = off > 0 || x->nodes[d->node].parent != 0;
        blocks[0].tokens_hash = content[off];
        for (uint32_t k = 1; name_of(d, r->h, d->node, off, k, &blocks[0].block_hash); k++)
            if ((!e.has_parent || parent_name(d, r->h, d->node, off, &e.parent_hash)) &&
                !d->fn(d->arg, &e))
                return false;
    }
    return true;
}

/* Depth of the node's first block, from the nearest ancestor that is known (depths are + 1). */
static uint32_t depth_of(const struct kvi_index *x, uint32_t *depths, uint32_t node) {
    uint32_t sum = 0;
    for (uint32_t i = node; i != 0; i = x->nodes[i].parent) {
        if (depths[i] != 0) {
            sum += depths[i] - 1;
            break;
        }
        sum += x->nodes[i].parent_off;
    }
    /* What is between gets its depth on the way, so all walks together are short. */
    uint32_t depth = sum;
    for (uint32_t i = node; i != 0 && depths[i] == 0; i = x->nodes[i].parent) {
        depths[i] = depth + 1;
        depth -= x->nodes[i].parent_off;
    }
    return sum;
}

static enum kvi_result dump_locked(struct dump *d) {
    struct kvi_index *x = d->x;
    struct visit *order = malloc(((size_t)x->live_nodes + 1) * sizeof(*order));
    uint32_t *depths = calloc(x->n_nodes, sizeof(*depths));
    size_t n = 0;
    if (order == NULL || depths == NULL) {
        free(order);
        free(depths);
        return KVI_NOMEM;
    }
    for (uint32_t i = 1; i < x->n_nodes; i++)
        if ((x->nodes[i].flags & KVI_TYPE) == KVI_NODE)
            order[n++] = (struct visit){depth_of(x, depths, i), i};
    free(depths);
    qsort(order, n, sizeof(*order), by_depth);
    bool go_on = true;
    for (size_t i = 0; i < n && go_on && !d->failed; i++) {
        d->node = order[i].node;
        d->n_runs = 0;
        kvi_each_holder(x, &x->nodes[d->node], add_runs, d);
        if (d->n_runs > 1)
            qsort(d->runs, d->n_runs, sizeof(*d->runs), by_offset);
        for (size_t k = 0; k < d->n_runs && go_on; k++)
            go_on = tell(d, &d->runs[k]);
    }
    free(order);
    return d->failed ? KVI_NOMEM : KVI_OK;
}

enum kvi_result kvi_copy(struct kvi_index *index, kvi_dump_fn fn, kvi_place_fn place, void *arg) {
    struct dump d = {.x = index, .fn = fn, .place = place, .arg = arg, .only = KVI_NO_RANK};
    pthread_mutex_lock(&index->lock);
    enum kvi_result r = dump_locked(&d);
    pthread_mutex_unlock(&index->lock);
    free(d.runs);
    free(d.untold);
    free(d.path);
    return r;
}

enum kvi_result kvi_dump(struct kvi_index *index, kvi_dump_fn fn, void *arg) {
    return kvi_copy(index, fn, NULL, arg);
}

enum kvi_result kvi_dump_rank(struct kvi_index *index, struct kvi_worker worker, kvi_dump_fn fn,
                              void *arg) {
    struct dump d = {.x = index, .fn = fn, .arg = arg};
    enum kvi_result r = KVI_OK;
    pthread_mutex_lock(&index->lock);
    d.only = kvi_rank_find(index, worker);
    if (d.only != KVI_NO_RANK)
        r = dump_locked(&d);
    pthread_mutex_unlock(&index->lock);
    free(d.runs);
    free(d.untold);
    return r;
}
