/*
 * Stored and removed events: what the names of one holder map to.
 *
 * For every holder (rank, tier) the index keeps the map "name -> place" exactly as if it were a
 * table of its own: storing a name again at another place moves it, a place is covered as long as a
 * name maps to it. In the usual case nothing of that table exists: covering a place means that the
 * block's first name maps there. kvi_alias.c has the exceptions; KVI_DUP on a node says that one of
 * its first names may stand elsewhere too, so that the holder might have it there.
 *
 * Linearization. Stored: the new blocks are published (kvi_tree.c), then covered run by run, top
 * down; the store of each cutoff makes its run visible. Removed: cutoffs fall run by run, before
 * blocks that nobody needs go.
 */
#include "kvindex/kvi_priv.h"

/* Uncovers [from, to) of names no longer mapped; `names` of them went. */
static void uncover(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t from,
                    uint32_t to, uint32_t names) {
    kvi_count(x, h, -(int64_t)names);
    if (kvi_uncover(x, &x->nodes[node], h, from, to) == KVI_NO_ROOM)
        kvi_drop_holder(x, node, h); /* no memory for a hole: it forgets the whole node */
    kvi_trim(x, node);
}

/* Takes the holder's name at the place away. */
static void unmap(struct kvi_index *x, struct kvi_holder h, uint32_t place) {
    uint32_t node = place >> 7, off = place & 127;
    if ((x->nodes[node].flags & KVI_TYPE) == KVI_ALIAS) {
        node = x->nodes[node].parent;
        if (kvi_alias_remove(x, place))
            uncover(x, h, node, off, off + 1, 1);
        else
            kvi_count(x, h, -1);
    } else if (kvi_alias_any(x, h, node, off)) {
        kvi_alias_set_also(x, h, node, off, false);
        kvi_count(x, h, -1);
    } else {
        uncover(x, h, node, off, off + 1, 1);
    }
}

/* ---- names that stand at several places --------------------------------------------------- */

struct twin {
    struct kvi_index *x;
    struct kvi_holder h;
    uint64_t name;
    uint32_t own, last; /* places own+1 .. last were stored later by the same event */
};

static bool other_mapping(void *arg, uint32_t place) {
    struct twin *t = arg;
    struct kvi_node *n = &t->x->nodes[place >> 7];
    if ((n->flags & KVI_TYPE) == KVI_NODE)
        n->flags |= KVI_DUP;
    return (place < t->own || place > t->last) && kvi_maps(t->x, t->h, place, t->name);
}

/* The holder has stored the name at `own`: it maps to no other place any more. */
static void move_here(struct kvi_index *x, struct kvi_holder h, uint64_t name, uint32_t own,
                      uint32_t last) {
    struct twin t = {x, h, name, own, last};
    uint32_t place;
    while ((place = kvi_names_each(x, name, other_mapping, &t)) != 0)
        unmap(x, h, place);
}

/* ---- stored ------------------------------------------------------------------------------- */

struct cursor {
    uint32_t node, off; /* the next block goes before offset off of the node; root: 0, 0 */
};

/* One block that the tree has at the place. False: no memory. */
static bool store_known(struct kvi_index *x, struct kvi_holder h, struct cursor at, uint64_t name,
                        bool *any_new) {
    struct kvi_node *n = &x->nodes[at.node];
    bool is_first = kvi_name_array(x, kvi_body(n))[at.off] == name;
    uint32_t old = is_first && (n->flags & KVI_DUP) == 0 ? 0 : kvi_names_find(x, h, name);
    if (is_first && kvi_first_name_held(x, h, at.node, at.off))
        return true;
    if (old != 0 && (x->nodes[old >> 7].flags & KVI_TYPE) == KVI_ALIAS &&
        x->nodes[old >> 7].parent == at.node && (old & 127) == at.off)
        return true;
    if (!kvi_cover_reserve(x, n, h, at.off))
        return false;
    if (is_first && kvi_alias_any(x, h, at.node, at.off)) {
        kvi_alias_set_also(x, h, at.node, at.off, true);
    } else if (is_first) {
        kvi_cover(x, n, h, at.off, at.off + 1);
    } else {
        if (!kvi_alias_add(x, h, at.node, at.off, name))
            return false;
        kvi_cover(x, n, h, at.off, at.off + 1);
        struct twin mark = {x, h, 0, 0, UINT32_MAX};
        (void)kvi_names_each(x, name, other_mapping, &mark);
    }
    kvi_count(x, h, 1);
    *any_new = true;
    if (old != 0)
        unmap(x, h, old);
    return true;
}

/* Leading blocks whose content the node has from `off` on; *ret_named: those of them whose name is
 * the first name too. */
static uint32_t same_blocks(const struct kvi_index *x, uint64_t body, uint32_t off,
                            const struct kvi_block *blocks, uint32_t n, uint32_t *ret_named) {
    const uint64_t *content = kvi_content(x, body) + off, *names = kvi_name_array(x, body) + off;
    uint32_t room = kvi_len(body) - off, i;
    n = n < room ? n : room;
    *ret_named = i = x->kernels->match_blocks(blocks, content, names, n);
    while (i < n && content[i] == blocks[i].tokens_hash)
        i++;
    return i;
}

/* What one step of storing takes: up to n blocks that are new or plainly known, else up to n_own,
 * the blocks left of the event that it begins in. */
struct step {
    const struct kvi_block *blocks;
    uint32_t n_own, n;
    uint32_t new_from; /* result: the first block that brought something; at or over what was done:
                          none did */
};

/* Names of the node's blocks say all about this holder. */
static bool is_plain(const struct kvi_index *x, const struct kvi_node *n, struct kvi_holder h) {
    return (n->flags & KVI_DUP) == 0 &&
           ((n->flags & KVI_ALIASED) == 0 || x->ranks[h.rank].aliases == 0);
}

/* Blocks that the node has from at.off on (n of them), `named` of which have the same names.
 * Returns how many of them were stored. */
static uint32_t store_known_run(struct kvi_index *x, struct kvi_holder h, struct cursor at,
                                struct step *s, uint32_t n, uint32_t named) {
    struct kvi_node *node = &x->nodes[at.node];
    uint32_t done = 0;
    bool any_new = false;
    s->new_from = n;
    if (is_plain(x, node, h) && named > 0) {
        if (!kvi_cover_reserve(x, node, h, at.off))
            return 0;
        bool prefix = atomic_load_explicit(&node->masks, memory_order_relaxed) == 0;
        done = prefix || named < s->n_own ? named : s->n_own;
        uint32_t added = kvi_cover(x, node, h, at.off, at.off + done);
        kvi_count(x, h, added);
        if (prefix) { /* what was there is a beginning of it */
            s->new_from = done - added;
            return done;
        }
        any_new = added > 0;
    }
    /* A name that moves here may take away the last need for blocks further on. */
    n = n < s->n_own ? n : s->n_own;
    for (uint32_t i = done; i < n; i++)
        kvi_names_prefetch(x, s->blocks[i].block_hash);
    for (at.off += done; done < n && at.off < kvi_len(kvi_body(node)); done++, at.off++)
        if (!store_known(x, h, at, s->blocks[done].block_hash, &any_new))
            break;
    s->new_from = any_new ? 0 : done;
    return done;
}

/* New blocks; returns how many were stored and moves the cursor behind them. */
static uint32_t store_new(struct kvi_index *x, struct kvi_holder h, struct cursor *at,
                          const struct kvi_block *blocks, uint32_t n) {
    struct kvi_node *node = &x->nodes[at->node];
    uint32_t len = at->node != 0 ? kvi_len(kvi_body(node)) : 0, added = 0, from = at->off;
    bool equal = false;
    if (at->node != 0 && at->off == len && len < KVI_NODE_BLOCKS &&
        (node->flags & KVI_SEALED) == 0) {
        n = n < KVI_NODE_BLOCKS - len ? n : KVI_NODE_BLOCKS - len;
        if (kvi_cover_reserve(x, node, h, from))
            added = kvi_append(x, at->node, blocks, n, &equal);
    } else {
        n = n < KVI_NODE_BLOCKS ? n : KVI_NODE_BLOCKS;
        uint32_t i = kvi_branch(x, at->node, at->off, blocks, n, &added, &equal);
        if (i == 0)
            return 0;
        *at = (struct cursor){i, 0};
        node = &x->nodes[i];
        from = 0;
        if (!kvi_cover_reserve(x, node, h, 0)) {
            kvi_trim(x, i);
            *at = (struct cursor){0, 0};
            return 0;
        }
    }
    if (added == 0)
        return 0;
    kvi_count(x, h, kvi_cover(x, node, h, from, from + added));
    at->off = from + added;
    uint32_t first = at->node << 7 | from, last = first + added - 1;
    for (uint32_t i = 0; equal && i < added; i++)
        move_here(x, h, blocks[i].block_hash, first + i, last);
    return added;
}

/* Different marks: different names. */
static uint32_t mark_of(uint64_t name) {
    return (uint32_t)(kvi_mix(name) >> 32) | 1;
}

void kvi_store_fetch(const struct kvi_index *x, const struct kvi_event *e) {
    uint32_t r = e->has_parent ? kvi_rank_find(x, e->worker) : KVI_NO_RANK;
    if (r == KVI_NO_RANK)
        return;
    const struct kvi_rank *rank = &x->ranks[r];
    if (rank->store_mark != mark_of(e->parent_hash)) {
        kvi_names_prefetch(x, e->parent_hash);
        return;
    }
    const struct kvi_node *n = &x->nodes[rank->store_hint >> 7];
    uint32_t from = (rank->store_hint & 127) + 1;
    if ((n->flags & KVI_TYPE) != KVI_NODE)
        return; /* it was dropped, and its memory may serve another */
    __builtin_prefetch(kvi_name_array(x, kvi_body(n)) + from - 1);
    if (from >= kvi_len(kvi_body(n))) {
        n = &x->nodes[atomic_load_explicit(&n->child, memory_order_relaxed)]; /* 0: no blocks */
        from = 0;
    }
    uint64_t body = kvi_body(n);
    size_t end = from + e->n < kvi_len(body) ? from + e->n : kvi_len(body);
    for (size_t i = from; i < end; i += 64 / sizeof(uint64_t)) {
        __builtin_prefetch(kvi_content(x, body) + i);
        __builtin_prefetch(kvi_name_array(x, body) + i);
    }
}

/* The place of the holder's name as a place of the tree. */
static bool find_parent(struct kvi_index *x, struct kvi_holder h, uint64_t name,
                        struct cursor *ret) {
    const struct kvi_rank *rank = &x->ranks[h.rank];
    uint32_t place = rank->store_mark == mark_of(name) ? rank->store_hint : 0;
    if (place == 0 || !kvi_maps(x, h, place, name))
        place = kvi_names_find(x, h, name);
    for (int t = 0; place == 0 && h.tier != KVI_DEVICE && t < KVI_TIERS; t++)
        place = kvi_names_find(x, (struct kvi_holder){h.rank, (enum kvi_tier)t}, name);
    if (place == 0)
        return false;
    uint32_t node = place >> 7;
    if ((x->nodes[node].flags & KVI_TYPE) == KVI_ALIAS)
        node = x->nodes[node].parent;
    *ret = (struct cursor){node, (place & 127) + 1};
    return true;
}

/* Stores at the cursor what one node takes. Returns the number of blocks, 0: no memory. */
static uint32_t store_some(struct kvi_index *x, struct kvi_holder h, struct cursor *at,
                           struct step *s) {
    struct kvi_node *node = &x->nodes[at->node];
    if (at->node != 0) {
        kvi_touch(x, node);
        uint64_t body = kvi_body(node);
        uint32_t named = 0, same = 0;
        if (at->off < kvi_len(body))
            same = same_blocks(x, body, at->off, s->blocks, is_plain(x, node, h) ? s->n : s->n_own,
                               &named);
        if (same > 0) {
            uint32_t done = store_known_run(x, h, *at, s, same, named);
            at->off += done;
            return done;
        }
    }
    uint32_t child = kvi_next_node(x, at->node, at->off, s->blocks[0].tokens_hash);
    if (child != 0) {
        *at = (struct cursor){child, 0};
        return store_some(x, h, at, s);
    }
    struct cursor before = *at;
    uint32_t done = store_new(x, h, at, s->blocks, s->n);
    if (done == 0)
        *at = before;
    s->new_from = 0;
    return done;
}

static uint32_t at_most(size_t n) {
    return n < KVI_NODE_BLOCKS ? (uint32_t)n : KVI_NODE_BLOCKS;
}

enum kvi_result kvi_store_locked(struct kvi_index *x, struct kvi_holder h,
                                 const struct kvi_stored *s, size_t *ret_done) {
    struct cursor at = {0, 0};
    size_t n = s->ends[s->n_events - 1];
    uint32_t event = 0;
    if (s->has_parent && !find_parent(x, h, s->parent_hash, &at))
        return KVI_PARENT_NOT_FOUND;
    for (size_t i = 0; i < n;) {
        struct step step = {s->blocks + i, at_most(s->ends[event] - i), at_most(n - i), 0};
        uint32_t done = store_some(x, h, &at, &step);
        if (done == 0 && !kvi_evict(x, at.node))
            return KVI_CAPACITY;
        size_t new_from = step.new_from < done ? i + step.new_from : SIZE_MAX;
        i += done;
        *ret_done = i;
        if (s->n_events == n) { /* one block each */
            if (new_from < i)
                memset(s->ret_new + new_from, true, i - new_from);
            event = (uint32_t)(i < n ? i : n - 1);
            continue;
        }
        uint32_t first = event; /* that ends behind new_from */
        for (; s->ends[event] < i; event++)
            first += s->ends[event] <= new_from;
        if (new_from < i)
            memset(s->ret_new + first, true, event + 1 - first);
        event += s->ends[event] == i && i < n;
    }
    x->ranks[h.rank].store_hint = at.node << 7 | (at.off - 1);
    x->ranks[h.rank].store_mark = mark_of(s->blocks[n - 1].block_hash);
    return KVI_OK;
}

/* ---- removed ------------------------------------------------------------------------------ */

static uint32_t place_below(const struct kvi_index *x, uint32_t node, uint32_t off) {
    if (off > 0)
        return node << 7 | (off - 1);
    const struct kvi_node *n = &x->nodes[node];
    return n->parent != 0 ? n->parent << 7 | (uint32_t)(n->parent_off - 1) : 0;
}

/* Removes the name at the place and those of the following names that stand beside it, downwards or
 * upwards. Returns how many. */
static uint32_t remove_run(struct kvi_index *x, struct kvi_holder h, uint32_t place,
                           const uint64_t *names, size_t n) {
    uint32_t node = place >> 7, off = place & 127, k = 1;
    struct kvi_node *at = &x->nodes[node];
    struct kvi_rank *rank = &x->ranks[h.rank];
    if ((at->flags & KVI_TYPE) == KVI_ALIAS ||
        ((at->flags & KVI_ALIASED) != 0 && rank->aliases > 0)) {
        rank->below = off > 0 ? place - 1 : 0;
        rank->above = off + 1 < KVI_NODE_BLOCKS ? place + 1 : 0;
        rank->above_mark = 0;
        unmap(x, h, place);
        return 1;
    }
    uint64_t body = kvi_body(at);
    const uint64_t *first = kvi_name_array(x, body);
    if (atomic_load_explicit(&at->masks, memory_order_relaxed) == 0) /* what is below is covered */
        k += x->kernels->match_back(names + 1, first + off - 1, n <= off ? (uint32_t)n - 1 : off);
    else
        while (k < n && k <= off && first[off - k] == names[k] && kvi_covered(x, at, h, off - k))
            k++;
    uint32_t from = off + 1 - k, to = off + 1;
    if (k == 1)
        while (k < n && off + k < kvi_len(body) && first[off + k] == names[k] &&
               kvi_covered(x, at, h, off + k)) {
            k++;
            to++;
        }
    rank->below = place_below(x, node, from);
    rank->above = to < kvi_len(body) ? node << 7 | to : 0;
    rank->above_mark = rank->above != 0 ? mark_of(first[to]) : 0;
    if (k < n) { /* what is looked at next comes while this node's names are deleted */
        kvi_names_prefetch(x, names[k]);
        if (from == 0)
            __builtin_prefetch(&x->nodes[at->parent]);
    }
    uncover(x, h, node, from, to, k);
    return k;
}

static uint32_t above(const struct kvi_rank *rank, uint64_t name) {
    return rank->above_mark == 0 || rank->above_mark == mark_of(name) ? rank->above : 0;
}

size_t kvi_remove_locked(struct kvi_index *x, struct kvi_holder h, const uint64_t *names, size_t n,
                         bool *ret_missing) {
    struct kvi_rank *rank = &x->ranks[h.rank];
    size_t unknown = 0;
    for (size_t i = 0; rank->aliases > 0 && i < n; i++)
        kvi_names_prefetch(x, names[i]);
    for (size_t i = 0; i < n;) {
        uint32_t place = rank->below;
        if (place == 0 || !kvi_maps(x, h, place, names[i])) {
            place = above(rank, names[i]);
            if (place == 0 || !kvi_maps(x, h, place, names[i]))
                place = kvi_names_find(x, h, names[i]);
        }
        if (place != 0) {
            i += remove_run(x, h, place, names + i, n - i);
            continue;
        }
        unknown++;
        if (ret_missing != NULL)
            ret_missing[i] = true;
        i++;
    }
    return unknown;
}
