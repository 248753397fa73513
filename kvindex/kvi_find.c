/*
 * Search: from the root along the nodes whose content is the query's, without a lock.
 *
 * The scores are the active set: at depth d a rank still holds everything exactly when its score is
 * d. So a node with m matching blocks adds min(cutoff, m) to the ranks whose score is d, and the
 * walk ends when no rank got m, when a node matches only in part and nothing branches there, or
 * with the query. What is linearized where: kvi_hold.c (coverage), kvi_tree.c (content),
 * kvi_epoch.c (why what is read here still exists). Nothing here waits or retries; the work is
 * bounded by the query's length and the holders of the nodes on its way.
 *
 * Lower tiers take a second walk over the same nodes: every rank goes on from its device score as
 * far as its host blocks reach, from there with disk, then external.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>

#define ACQUIRE memory_order_acquire
#define RELAXED memory_order_relaxed

/* ---- readers ---------------------------------------------------------------------------- */

struct kvi_reader *kvi_reader_open(struct kvi_index *index) {
    struct kvi_reader *r = NULL;
    pthread_mutex_lock(&index->lock);
    for (uint32_t i = 0; i < index->max_readers && r == NULL; i++)
        if (!index->readers[i].open)
            r = &index->readers[i];
    if (r != NULL) {
        size_t n = ((size_t)index->max_ranks + 63) / 64 * 64;
        bool ok = true;
        r->index = index;
        r->scores = calloc(n, sizeof(*r->scores)); /* untouched parts cost no memory */
        r->touched = calloc(n, sizeof(*r->touched));
        for (int t = KVI_HOST; t < KVI_TIERS; t++)
            ok &= (r->lower[t] = calloc(n, sizeof(uint32_t))) != NULL;
        r->open = true;
        if (!ok || r->scores == NULL || r->touched == NULL) {
            pthread_mutex_unlock(&index->lock);
            kvi_reader_close(r);
            return NULL;
        }
    }
    pthread_mutex_unlock(&index->lock);
    return r;
}

void kvi_reader_close(struct kvi_reader *reader) {
    if (reader == NULL)
        return;
    struct kvi_index *x = reader->index;
    pthread_mutex_lock(&x->lock);
    free(reader->scores);
    free(reader->touched);
    for (int t = KVI_HOST; t < KVI_TIERS; t++)
        free(reader->lower[t]);
    atomic_store_explicit(&reader->pinned, 0, memory_order_release);
    reader->open = false;
    reader->n_touched = reader->n_ranks = reader->n_old = 0;
    reader->all = reader->with_lower = false;
    pthread_mutex_unlock(&x->lock);
}

/* Forgets the last search. Dense scores are left (n_old of them): a first node with a dense list
 * writes new ones over them, else clear_old. */
static void reset(struct kvi_reader *r) {
    if (r->all) {
        r->n_old = r->n_ranks;
        for (int t = KVI_HOST; r->with_lower && t < KVI_TIERS; t++)
            memset(r->lower[t], 0, r->n_ranks * sizeof(uint32_t));
    } else {
        for (uint32_t i = 0; i < r->n_touched; i++) {
            r->scores[r->touched[i]] = 0;
            for (int t = KVI_HOST; r->with_lower && t < KVI_TIERS; t++)
                r->lower[t][r->touched[i]] = 0;
        }
    }
    r->n_touched = 0;
    r->all = r->with_lower = false;
    /* Rounded up to what the vector loops take at once; ranks beyond have no cutoffs. */
    uint32_t n = (atomic_load_explicit(&r->index->n_ranks, ACQUIRE) + 15) / 16 * 16;
    r->n_ranks = n;
}

/* Scores of the search before the last, from rank `from` on. */
static void clear_old(struct kvi_reader *r, uint32_t from) {
    if (from < r->n_old)
        memset(r->scores + from, 0, (r->n_old - from) * sizeof(*r->scores));
    r->n_old = 0;
}

/* ---- holders ------------------------------------------------------------------------------ */

static uint32_t add_cells(struct kvi_reader *r, const _Atomic uint32_t *cells, uint32_t n,
                          uint32_t d, uint32_t m) {
    uint32_t active = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = atomic_load_explicit(&cells[i], ACQUIRE), cut = v & 255, rank = (v >> 8) - 1;
        if (cut == 0 || rank >= r->n_ranks || r->scores[rank] != d)
            continue;
        if (d == 0) /* the first node has every rank that can score */
            r->touched[r->n_touched++] = rank;
        r->scores[rank] += cut < m ? cut : m;
        active += cut >= m;
    }
    return active;
}

/* Adds what the node's holders have of its first m blocks; number of ranks with all of them. */
static uint32_t add_holders(struct kvi_reader *r, const struct kvi_node *n, uint32_t d,
                            uint32_t m) {
    uint32_t ref = atomic_load_explicit(&n->list, ACQUIRE); /* pairs with grow_list */
    const struct kvi_list *l = ref != 0 ? kvi_at(r->index, ref) : NULL;
    bool dense = l != NULL && l->dense;
    uint32_t n_cuts = !dense ? 0 : l->cap < r->n_ranks ? l->cap : r->n_ranks;
    if (d == 0) {
        clear_old(r, n_cuts);
        r->all = dense;
        if (dense)
            return r->index->kernels->set_cuts(l->u.cut, n_cuts, m, r->scores);
    }
    if (dense)
        return r->index->kernels->add_cuts(l->u.cut, n_cuts, d, m, r->scores);
    return l != NULL ? add_cells(r, l->u.cells, l->cap, d, m)
                     : add_cells(r, n->cells, KVI_INLINE, d, m);
}

/* ---- fetching ahead of the walk ------------------------------------------------------------ */

enum {
    FIRST_BLOCKS = 64,  /* of a long node: then the header of the one behind it is there */
    MOST_AHEAD = 4,     /* nodes */
    LIST_LINES = 4,     /* of holders; the processor goes on by itself */
    QUERY_BLOCKS = 384, /* from a branch on */
    NEIGHBOURS = 3      /* nodes that were made after a branch, mostly those behind it */
};

/* The nodes that most likely follow, by each one's remembered child, as long as the query has
 * blocks for them. Nothing here decides anything. */
struct ahead {
    uint32_t node; /* the next one, whose header was asked for; 0: none */
    uint32_t d;    /* its depth */
    uint32_t n;    /* those in front of the walk that were fetched */
};

/* Into the second-level cache, which takes more lines at one time than the first. */
static void fetch_blocks(const uint64_t *at, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 8)
        __builtin_prefetch(at + i, 0, 2);
}

static void fetch_list(const struct kvi_index *x, uint32_t list) {
    for (size_t i = 0; list != 0 && i < LIST_LINES; i++)
        __builtin_prefetch((const uint8_t *)kvi_at(x, list) + i * 64);
}

static void look_from(const struct kvi_index *x, struct ahead *a, uint32_t node, uint32_t d) {
    *a = (struct ahead){node, d, 0};
    if (node != 0)
        __builtin_prefetch(&x->nodes[node]);
}

/* What the walk will read of one more node and of the query, and the header behind it. */
static void fetch_next(const struct kvi_index *x, struct ahead *a, const uint64_t *query,
                       uint32_t n) {
    if (a->node == 0 || a->d >= n || a->n == MOST_AHEAD)
        return;
    const struct kvi_node *next = &x->nodes[a->node];
    uint64_t body = atomic_load_explicit(&next->body, RELAXED);
    uint32_t list = atomic_load_explicit(&next->list, RELAXED), len = kvi_len(body);
    uint32_t blocks = len < n - a->d ? len : n - a->d;
    fetch_list(x, list);
    uint32_t behind = atomic_load_explicit(&next->child, ACQUIRE); /* pairs with kvi_branch */
    if (behind != 0) {
        __builtin_prefetch(&x->nodes[behind]);
        __builtin_prefetch(&x->nodes[behind + 1]);
    }
    fetch_blocks(kvi_content(x, body), blocks);
    fetch_blocks(query + a->d, blocks);
    *a = (struct ahead){behind, a->d + len, a->n + 1};
}

/* A node that was not fetched before, at depth d, and as much of what comes behind it. Nothing has
 * been asked for yet, the memory is idle, and who found a branch mostly goes on for long. */
static void fetch_from(const struct kvi_index *x, struct ahead *a, uint32_t node, uint64_t body,
                       const uint64_t *query, uint32_t n, uint32_t d) {
    const struct kvi_node *at = &x->nodes[node];
    uint32_t left = n - d, len = kvi_len(body);
    if (d > 0) {
        fetch_blocks(query + d, left < QUERY_BLOCKS ? left : QUERY_BLOCKS);
        for (uint32_t i = 1; i <= NEIGHBOURS; i++)
            __builtin_prefetch(at + i);
        fetch_blocks(kvi_content(x, body), len < left ? len : left);
    }
    look_from(x, a, atomic_load_explicit(&at->child, ACQUIRE), d + len); /* pairs with kvi_branch */
    fetch_list(x, atomic_load_explicit(&at->list, RELAXED));
    for (uint32_t i = 0; d > 0 && i < MOST_AHEAD; i++)
        fetch_next(x, a, query, n);
}

/* The place in the child table where the walk will go on, before the holders are looked at. */
static void fetch_child(const struct kvi_index *x, uint32_t node, uint32_t off, uint64_t content) {
    if (kvi_may_branch(&x->nodes[node], off) && kvi_remembered(x, node, off, content) == 0)
        kvi_child_fetch(x, node, off, content);
}

/* ---- the walk ----------------------------------------------------------------------------- */

/* Leading blocks of the node that are the query's from depth d on. */
static uint32_t match_node(const struct kvi_index *x, uint64_t body, const uint64_t *query,
                           uint32_t n, uint32_t d, struct ahead *ahead) {
    const uint64_t *content = kvi_content(x, body);
    uint32_t len = kvi_len(body) < n - d ? kvi_len(body) : n - d, m = 0;
    if (len > FIRST_BLOCKS) {
        m = x->kernels->match(content, query + d, FIRST_BLOCKS);
        if (m < FIRST_BLOCKS)
            return m;
        fetch_next(x, ahead, query, n);
    }
    m += x->kernels->match(content + m, query + d + m, len - m);
    if (m == kvi_len(body))
        fetch_next(x, ahead, query, n);
    return m;
}

static void walk(struct kvi_reader *r, const uint64_t *query, uint32_t n, bool early_exit) {
    const struct kvi_index *x = r->index;
    uint8_t tick = atomic_load_explicit(&x->tick, RELAXED);
    uint32_t node = n > 0 ? kvi_child_find(x, 0, 0, query[0]) : 0, d = 0, guess = 0;
    struct ahead ahead = {0, 0, 0};
    while (node != 0) {
        struct kvi_node *at = &x->nodes[node];
        uint64_t body = atomic_load_explicit(&at->body, ACQUIRE); /* pairs with set_body */
        bool was_fetched = node == guess && ahead.n > 0;
        guess = atomic_load_explicit(&at->child, ACQUIRE); /* pairs with kvi_branch */
        if (was_fetched) {
            ahead.n--;
            fetch_next(x, &ahead, query, n);
        } else {
            fetch_from(x, &ahead, node, body, query, n, d);
        }
        uint32_t m = match_node(x, body, query, n, d, &ahead);
        if (m > 0 && d + m < n)
            fetch_child(x, node, m, query[d + m]);
        uint32_t active = m > 0 ? add_holders(r, at, d, m) : 0;
        if (atomic_load_explicit(&at->stamp, RELAXED) != tick)
            atomic_store_explicit(&at->stamp, tick, RELAXED);
        d += m;
        if (active == 0 || d == n || (early_exit && active <= 1))
            break;
        node = kvi_next_node(x, node, m, query[d]);
    }
    if (d == 0)
        clear_old(r, 0);
}

/* ---- lower tiers -------------------------------------------------------------------------- */

static uint32_t reached(const struct kvi_reader *r, uint32_t rank) {
    return r->scores[rank] + r->lower[KVI_HOST][rank] + r->lower[KVI_DISK][rank] +
           r->lower[KVI_EXTERNAL][rank];
}

/* A rank does not go back to a tier above the one it goes on with. */
static bool passed(const struct kvi_reader *r, uint32_t rank, int tier) {
    for (int t = tier + 1; t < KVI_TIERS; t++)
        if (r->lower[t][rank] > 0)
            return true;
    return false;
}

static uint32_t run_from(const struct kvi_mask *e, uint32_t off) {
    uint64_t b[2];
    for (int w = 0; w < 2; w++)
        b[w] = atomic_load_explicit(&e->bits[w], ACQUIRE);
    uint32_t at = off;
    while (at < KVI_NODE_BLOCKS) {
        uint64_t absent = ~b[at >> 6] >> (at & 63);
        if (absent != 0) {
            at += (uint32_t)__builtin_ctzll(absent);
            break;
        }
        at = (at | 63) + 1;
    }
    return at - off;
}

/* One tier's masks of a node whose first m blocks match at depth d. */
static void add_masks(struct kvi_reader *r, const struct kvi_masks *m, int tier, uint32_t d,
                      uint32_t matched) {
    for (uint32_t i = 0; i < m->cap; i++) {
        uint32_t key = atomic_load_explicit(&m->at[i].key, ACQUIRE); /* pairs with put_mask */
        uint32_t rank = (key - 1) >> 2;
        if (key == 0 || (int)((key - 1) & 3) != tier || rank >= r->n_ranks)
            continue;
        uint32_t at = reached(r, rank);
        if (at < d || at >= d + matched || passed(r, rank, tier))
            continue;
        uint32_t run = run_from(&m->at[i], at - d), room = d + matched - at;
        run = run < room ? run : room;
        if (at == 0 && run > 0 && !r->all)
            r->touched[r->n_touched++] = rank;
        r->lower[tier][rank] += run;
    }
}

static void walk_lower(struct kvi_reader *r, const uint64_t *query, uint32_t n) {
    const struct kvi_index *x = r->index;
    uint32_t node = n > 0 ? kvi_child_find(x, 0, 0, query[0]) : 0;
    r->with_lower = true;
    for (uint32_t d = 0; node != 0;) {
        const struct kvi_node *at = &x->nodes[node];
        uint64_t body = atomic_load_explicit(&at->body, ACQUIRE);
        uint32_t len = kvi_len(body) < n - d ? kvi_len(body) : n - d;
        uint32_t m = x->kernels->match(kvi_content(x, body), query + d, len);
        uint32_t ref = atomic_load_explicit(&at->masks, ACQUIRE); /* pairs with grow_masks */
        for (int t = KVI_HOST; ref != 0 && t < KVI_TIERS; t++)
            add_masks(r, kvi_at(x, ref), t, d, m);
        d += m;
        node = m > 0 && d < n ? kvi_next_node(x, node, m, query[d]) : 0;
    }
}

/* ---- the door --------------------------------------------------------------------------- */

static void put_score(const struct kvi_reader *r, uint32_t rank, struct kvi_score *ret) {
    *ret = (struct kvi_score){
        .worker = kvi_who(r->index, rank), .rank = rank, .blocks = {r->scores[rank]}};
    for (int t = KVI_HOST; r->with_lower && t < KVI_TIERS; t++)
        ret->blocks[t] = r->lower[t][rank];
}

static bool none_reached(const struct kvi_reader *r, uint32_t first) {
    uint32_t any = 0;
    for (uint32_t i = first; i < first + 16; i++)
        any |= reached(r, i);
    return any == 0;
}

/* With lower tiers a rank may have a score on any of them. */
static size_t list_tiers(const struct kvi_reader *r, struct kvi_score *ret, size_t room) {
    size_t n = 0;
    for (uint32_t i = 0; i < r->n_ranks; i++) {
        if (i % 16 == 0 && none_reached(r, i))
            i += 15;
        else if (reached(r, i) > 0 && n++ < room)
            put_score(r, i, &ret[n - 1]);
    }
    return n;
}

static size_t list(const struct kvi_reader *r, struct kvi_score *ret, size_t room) {
    const struct kvi_index *x = r->index;
    size_t n = 0;
    if (r->all)
        return r->with_lower ? list_tiers(r, ret, room)
                             : x->kernels->list_scores(r->scores, x->who, r->n_ranks, ret, room);
    for (uint32_t i = 0; i < r->n_touched; i++, n++)
        if (n < room)
            put_score(r, r->touched[i], &ret[n]);
    return n;
}

size_t kvi_find(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
                struct kvi_score *ret_scores, size_t room) {
    uint32_t most = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    fetch_blocks(local_hashes, most < KVI_NODE_BLOCKS ? most : KVI_NODE_BLOCKS);
    reset(reader);
    kvi_pin(reader);
    walk(reader, local_hashes, most, early_exit);
    if (!early_exit && atomic_load_explicit(&reader->index->lower_entries, RELAXED) > 0)
        walk_lower(reader, local_hashes, most);
    size_t found = list(reader, ret_scores, room);
    kvi_unpin(reader);
    return found;
}

void kvi_match(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
               struct kvi_match *ret_match) {
    uint32_t most = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    fetch_blocks(local_hashes, most < KVI_NODE_BLOCKS ? most : KVI_NODE_BLOCKS);
    reset(reader);
    kvi_pin(reader);
    walk(reader, local_hashes, most, early_exit);
    kvi_unpin(reader);
    *ret_match = (struct kvi_match){reader->scores, reader->n_ranks};
}
