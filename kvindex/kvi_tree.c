/*
 * The tree of nodes. A node holds up to 128 blocks in their context; a child hangs before any of
 * its offsets (or behind its end), so a branch inside a node creates one new node and moves
 * nothing.
 *
 * Invariants
 *  - A place keeps its content for the node's life: blocks are only added behind the last one, and
 *    a node that lost blocks at its end is sealed and never grows again. So a cutoff always speaks
 *    of the content that a search has just compared.
 *  - Of a node's own block and the children at one offset, no two have the same content hash; so a
 *    prefix has one place.
 *  - A block lives while a holder covers it or anything behind it in the node, or a child hangs
 *    behind it; it is in the name table exactly while it lives. (`high_child`, the highest offset
 *    with a child, is not lowered before the last child goes, so a few blocks live longer.)
 *
 * Publication. `body` (data ref and length) is one word: a block's content is written before the
 * length that includes it (release, pairs with the acquire in kvi_find.c). Growing and shrinking
 * data means a copy and a new body; the old data is retired. A new node is complete before the
 * child table shows it.
 */
#include "kvindex/kvi_priv.h"

static const uint8_t data_blocks[] = {4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128};

uint32_t kvi_class_for(uint32_t n_blocks) {
    uint32_t c = 0;
    while (data_blocks[c] < n_blocks)
        c++;
    return c;
}

uint32_t kvi_class_blocks(uint32_t class) {
    return data_blocks[class];
}

uint32_t kvi_cap(uint64_t body) {
    return data_blocks[body >> 8 & 255];
}

static size_t data_bytes(uint64_t body) {
    return (size_t)kvi_cap(body) * 2 * sizeof(uint64_t);
}

static uint32_t children_of(const struct kvi_node *n) {
    return atomic_load_explicit(&n->n_children, memory_order_relaxed);
}

static void set_body(struct kvi_node *n, uint32_t ref, uint32_t class, uint32_t len) {
    atomic_store_explicit(&n->body, (uint64_t)ref << 16 | class << 8 | len, memory_order_release);
}

uint32_t kvi_node_new(struct kvi_index *x, enum kvi_node_type type, uint32_t parent,
                      uint32_t parent_off, uint64_t first) {
    uint32_t i = x->free_node;
    if (i != 0) {
        x->free_node = x->nodes[i].parent;
    } else {
        if (x->n_nodes == x->cap_nodes || x->bytes + sizeof(struct kvi_node) > x->soft_bytes)
            return 0;
        i = x->n_nodes++;
        x->bytes += sizeof(struct kvi_node);
    }
    struct kvi_node *n = &x->nodes[i];
    memset((void *)n, 0, sizeof(*n));
    n->first = first;
    n->parent = parent;
    n->parent_off = (uint8_t)parent_off;
    n->flags = (uint8_t)type;
    atomic_store_explicit(&n->stamp, atomic_load_explicit(&x->tick, memory_order_relaxed),
                          memory_order_relaxed);
    x->live_nodes++;
    kvi_touch(x, n);
    return i;
}

void kvi_node_free(struct kvi_index *x, uint32_t node) {
    x->nodes[node].flags = KVI_FREE;
    x->live_nodes--;
    kvi_retire(x, KVI_RETIRED_NODE, node, 0);
}

/* Data for at least `blocks` blocks with the first `keep` of the present ones. */
static bool move_data(struct kvi_index *x, struct kvi_node *n, uint32_t blocks, uint32_t keep,
                      size_t limit) {
    uint64_t body = kvi_body(n);
    uint32_t class = kvi_class_for(blocks), cap = data_blocks[class];
    uint32_t ref = kvi_alloc(x, (size_t)cap * 2 * sizeof(uint64_t), limit);
    if (ref == 0)
        return false;
    uint64_t *to = kvi_at(x, ref);
    if (keep > 0) {
        memcpy(to, kvi_content(x, body), keep * sizeof(*to));
        memcpy(to + cap, kvi_name_array(x, body), keep * sizeof(*to));
    }
    set_body(n, ref, class, keep);
    if ((uint32_t)(body >> 16) != 0)
        kvi_retire(x, KVI_RETIRED_MEMORY, (uint32_t)(body >> 16), data_bytes(body));
    return true;
}

uint32_t kvi_append(struct kvi_index *x, uint32_t node, const struct kvi_block *blocks, uint32_t n,
                    bool *ret_equal) {
    struct kvi_node *at = &x->nodes[node];
    uint32_t len = kvi_len(kvi_body(at));
    uint32_t cap = (uint32_t)(kvi_body(at) >> 16) != 0 ? kvi_cap(kvi_body(at)) : 0;
    if (len + n > cap && !move_data(x, at, len + n, len, x->soft_bytes))
        n = cap - len;
    uint64_t body = kvi_body(at), *content = kvi_content(x, body) + len;
    uint64_t *names = kvi_name_array(x, body) + len;
    x->kernels->unzip(blocks, n, content, names);
    uint32_t done = kvi_names_add_many(x, names, n, node << 7 | len, ret_equal);
    x->blocks += done;
    set_body(at, (uint32_t)(body >> 16), (uint32_t)(body >> 8 & 255), len + done);
    return done;
}

uint32_t kvi_branch(struct kvi_index *x, uint32_t parent, uint32_t off,
                    const struct kvi_block *blocks, uint32_t n, uint32_t *ret_n, bool *ret_equal) {
    uint32_t i = kvi_node_new(x, KVI_NODE, parent, off, blocks[0].tokens_hash);
    if (i == 0)
        return 0;
    kvi_child_fetch(x, parent, off, blocks[0].tokens_hash);
    *ret_n = kvi_append(x, i, blocks, n, ret_equal);
    struct kvi_node *p = &x->nodes[parent];
    if (*ret_n > 0 && kvi_child_add(x, i)) {
        atomic_store_explicit(&p->n_children, children_of(p) + 1, memory_order_relaxed);
        if (off > atomic_load_explicit(&p->high_child, memory_order_relaxed))
            atomic_store_explicit(&p->high_child, (uint8_t)off, memory_order_relaxed);
        atomic_store_explicit(&p->child, i, memory_order_release); /* pairs with kvi_find.c */
        return i;
    }
    uint64_t body = kvi_body(&x->nodes[i]);
    if ((uint32_t)(body >> 16) != 0) {
        kvi_names_delete_many(x, kvi_name_array(x, body), *ret_n, i << 7);
        x->blocks -= *ret_n;
        kvi_retire(x, KVI_RETIRED_MEMORY, (uint32_t)(body >> 16), data_bytes(body));
    }
    kvi_node_free(x, i);
    return 0;
}

/* Gives up the blocks from `len` on. */
static void cut_off(struct kvi_index *x, uint32_t node, uint32_t len) {
    struct kvi_node *n = &x->nodes[node];
    uint64_t body = kvi_body(n), *names = kvi_name_array(x, body);
    uint32_t old = kvi_len(body);
    n->flags |= KVI_SEALED;
    set_body(n, (uint32_t)(body >> 16), (uint32_t)(body >> 8 & 255), len);
    kvi_names_delete_many(x, names + len, old - len, node << 7 | len);
    x->blocks -= old - len;
    if (len > 0 && kvi_class_blocks(kvi_class_for(len)) * 2 <= kvi_cap(body))
        (void)move_data(x, n, len, len, x->max_bytes); /* without memory it stays large */
}

/* The node has no block and no child any more. Returns its parent. */
static uint32_t free_node(struct kvi_index *x, uint32_t node) {
    struct kvi_node *n = &x->nodes[node], *p = &x->nodes[n->parent];
    uint64_t body = kvi_body(n);
    uint32_t parent = n->parent;
    kvi_child_delete(x, node);
    if (atomic_load_explicit(&p->child, memory_order_relaxed) == node)
        atomic_store_explicit(&p->child, 0, memory_order_relaxed);
    atomic_store_explicit(&p->n_children, children_of(p) - 1, memory_order_relaxed);
    if (children_of(p) == 0)
        atomic_store_explicit(&p->high_child, 0, memory_order_relaxed);
    kvi_hold_free(x, n);
    kvi_retire(x, KVI_RETIRED_MEMORY, (uint32_t)(body >> 16), data_bytes(body));
    kvi_node_free(x, node);
    return parent;
}

void kvi_trim(struct kvi_index *x, uint32_t node) {
    while (node != 0) {
        struct kvi_node *n = &x->nodes[node];
        uint32_t len = kvi_len(kvi_body(n)), needed = kvi_needed(x, n);
        if (children_of(n) > 0) {
            uint32_t high = atomic_load_explicit(&n->high_child, memory_order_relaxed);
            needed = high > needed ? high : needed;
        }
        if (needed == 0) /* its slot comes while its names are deleted */
            kvi_child_fetch(x, n->parent, n->parent_off, n->first);
        if (needed < len)
            cut_off(x, node, needed);
        if (needed > 0)
            return;
        node = free_node(x, node);
        if (children_of(&x->nodes[node]) > 0)
            return; /* the parent's last child has not gone: nothing more to drop */
    }
}

void kvi_touch(struct kvi_index *x, struct kvi_node *n) {
    uint8_t tick = atomic_load_explicit(&x->tick, memory_order_relaxed);
    if (atomic_load_explicit(&n->stamp, memory_order_relaxed) != tick)
        atomic_store_explicit(&n->stamp, tick, memory_order_relaxed);
    if (++x->touches >= 64 + x->live_nodes / 32) {
        x->touches = 0;
        atomic_store_explicit(&x->tick, (uint8_t)(tick + 1), memory_order_relaxed);
    }
}
