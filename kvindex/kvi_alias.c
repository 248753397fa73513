/*
 * Names that differ from the first one. A block's first name stands with the block and serves every
 * rank that uses it. A rank whose engine calls the block otherwise (random hash seed, truncated or
 * signed forms, a second name for the same block) has an alias record at the node: 128 bits that
 * say where it has a name, and the names. Records live in the node array, so that a name's place
 * (record << 7 | offset) goes into the same name table, and hang in the child table at offset 255
 * under the key `level << 40 | rank << 2 | tier`. Level k holds the (k+1)-th other name of a place.
 *
 * Invariants: a place with an alias name of a holder is covered by the holder. Levels are
 * contiguous from 0; the last one is never empty, except level 0 while there is a level 1. `also`
 * (in level 0) says for places with alias names whether the holder uses the first name as well;
 * without an alias name, covering means the first name. A fleet whose engines agree pays nothing:
 * the node's KVI_ALIASED and the rank's record count are looked at first. Writers only.
 */
#include "kvindex/kvi_priv.h"

enum { ALIAS_OFF = 255 };

static uint64_t key_of(struct kvi_holder h, uint32_t level) {
    return (uint64_t)level << 40 | (uint64_t)h.rank << 2 | (uint64_t)h.tier;
}

static uint32_t find(const struct kvi_index *x, struct kvi_holder h, uint32_t node,
                     uint32_t level) {
    if ((x->nodes[node].flags & KVI_ALIASED) == 0 || x->ranks[h.rank].aliases == 0)
        return 0;
    return kvi_child_find(x, node, ALIAS_OFF, key_of(h, level));
}

static bool has(const struct kvi_node *record, uint32_t off) {
    return record->own[off >> 6] >> (off & 63) & 1;
}

uint64_t *kvi_alias_names(const struct kvi_index *x, const struct kvi_node *record) {
    return kvi_content(x, kvi_body(record));
}

bool kvi_alias_any(const struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off) {
    uint32_t r = find(x, h, node, 0), levels = r != 0 ? x->nodes[r].levels : 0;
    for (uint32_t k = 0; k < levels; k++)
        if (has(&x->nodes[k == 0 ? r : find(x, h, node, k)], off))
            return true;
    return false;
}

void kvi_alias_set_also(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                        bool also) {
    uint32_t *word = &x->nodes[find(x, h, node, 0)].also[off >> 5], bit = 1u << (off & 31);
    *word = also ? *word | bit : *word & ~bit;
}

bool kvi_first_name_held(const struct kvi_index *x, struct kvi_holder h, uint32_t node,
                         uint32_t off) {
    if (!kvi_covered(x, &x->nodes[node], h, off))
        return false;
    if (!kvi_alias_any(x, h, node, off))
        return true;
    return x->nodes[find(x, h, node, 0)].also[off >> 5] >> (off & 31) & 1;
}

void kvi_first_bits(const struct kvi_index *x, struct kvi_holder h, uint32_t node,
                    uint64_t bits[2]) {
    uint32_t first = find(x, h, node, 0), levels = first != 0 ? x->nodes[first].levels : 0;
    for (uint32_t k = 0; k < levels; k++) {
        const struct kvi_node *r = &x->nodes[k == 0 ? first : find(x, h, node, k)];
        const uint32_t *also = x->nodes[first].also;
        for (int w = 0; w < 2; w++)
            bits[w] &= ~r->own[w] | also[2 * w] | (uint64_t)also[2 * w + 1] << 32;
    }
}

bool kvi_maps(const struct kvi_index *x, struct kvi_holder h, uint32_t place, uint64_t name) {
    const struct kvi_node *n = &x->nodes[place >> 7];
    uint32_t off = place & 127;
    switch ((enum kvi_node_type)(n->flags & KVI_TYPE)) {
    case KVI_NODE: {
        uint64_t body = kvi_body(n);
        return off < kvi_len(body) && kvi_name_array(x, body)[off] == name &&
               kvi_first_name_held(x, h, place >> 7, off);
    }
    case KVI_ALIAS:
        return has(n, off) && (n->first & 0xFFFFFFFFFF) == key_of(h, 0) &&
               kvi_alias_names(x, n)[off] == name;
    case KVI_FREE:
    case KVI_TYPE:
        break;
    }
    return false;
}

static uint32_t data_class(uint32_t off) {
    return kvi_class_for(off / 2 + 1); /* two names in the room of a block */
}

static size_t data_bytes(uint64_t body) {
    return (size_t)kvi_cap(body) * 16;
}

static uint64_t make_body(uint32_t ref, uint32_t class) {
    return (uint64_t)ref << 16 | class << 8;
}

static uint32_t new_record(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t level,
                           uint32_t off) {
    uint32_t class = data_class(off), bytes = kvi_class_blocks(class) * 16;
    uint32_t ref = kvi_alloc(x, bytes, x->soft_bytes);
    uint32_t r = ref != 0 ? kvi_node_new(x, KVI_ALIAS, node, ALIAS_OFF, key_of(h, level)) : 0;
    if (r != 0) {
        atomic_store_explicit(&x->nodes[r].body, make_body(ref, class), memory_order_relaxed);
        if (kvi_child_add(x, r)) {
            x->nodes[node].flags |= KVI_ALIASED;
            x->ranks[h.rank].aliases++;
            return r;
        }
        kvi_node_free(x, r);
    }
    if (ref != 0)
        kvi_release(x, ref, bytes);
    return 0;
}

/* Searches never read a record's names, so the old ones may go at once. */
static bool grow(struct kvi_index *x, struct kvi_node *record, uint32_t off) {
    uint64_t body = kvi_body(record);
    uint32_t class = data_class(off), cap = kvi_cap(body);
    if (kvi_class_blocks(class) <= cap)
        return true;
    uint32_t ref = kvi_alloc(x, kvi_class_blocks(class) * 16, x->soft_bytes);
    if (ref == 0)
        return false;
    memcpy(kvi_at(x, ref), kvi_content(x, body), data_bytes(body));
    kvi_release(x, (uint32_t)(body >> 16), data_bytes(body));
    atomic_store_explicit(&record->body, make_body(ref, class), memory_order_relaxed);
    return true;
}

static void free_record(struct kvi_index *x, struct kvi_holder h, uint32_t r) {
    uint64_t body = kvi_body(&x->nodes[r]);
    kvi_child_delete(x, r);
    kvi_release(x, (uint32_t)(body >> 16), data_bytes(body));
    x->ranks[h.rank].aliases--;
    kvi_node_free(x, r);
}

static void drop_empty_levels(struct kvi_index *x, struct kvi_holder h, uint32_t node) {
    uint32_t first = find(x, h, node, 0);
    while (x->nodes[first].levels > 0) {
        uint32_t top = x->nodes[first].levels - 1, r = top == 0 ? first : find(x, h, node, top);
        if ((x->nodes[r].own[0] | x->nodes[r].own[1]) != 0)
            return;
        x->nodes[first].levels--;
        free_record(x, h, r);
        if (r == first)
            return;
    }
}

bool kvi_alias_add(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                   uint64_t name) {
    uint32_t level = 0, r, first = find(x, h, node, 0), levels = first ? x->nodes[first].levels : 0;
    bool was_covered = kvi_covered(x, &x->nodes[node], h, off), equal = false;
    bool any = kvi_alias_any(x, h, node, off);
    while (level < levels && has(&x->nodes[level == 0 ? first : find(x, h, node, level)], off))
        level++;
    if (level < levels) {
        r = level == 0 ? first : find(x, h, node, level);
    } else {
        r = new_record(x, h, node, level, off);
        if (r == 0)
            return false;
        first = level == 0 ? r : first;
        x->nodes[first].levels++;
    }
    struct kvi_node *record = &x->nodes[r];
    if (!grow(x, record, off) || !kvi_names_add(x, name, r << 7 | off, &equal)) {
        drop_empty_levels(x, h, node);
        return false;
    }
    kvi_alias_names(x, record)[off] = name;
    record->own[off >> 6] |= (uint64_t)1 << (off & 63);
    if (!any)
        kvi_alias_set_also(x, h, node, off, was_covered);
    x->aliases++;
    return true;
}

bool kvi_alias_remove(struct kvi_index *x, uint32_t place) {
    struct kvi_node *record = &x->nodes[place >> 7];
    uint32_t off = place & 127, node = record->parent;
    struct kvi_holder h = kvi_alias_holder(record);
    kvi_names_delete(x, kvi_alias_names(x, record)[off], place);
    record->own[off >> 6] &= ~((uint64_t)1 << (off & 63));
    x->aliases--;
    bool last = !kvi_alias_any(x, h, node, off);
    if (last) {
        const uint32_t *also = x->nodes[find(x, h, node, 0)].also;
        last = (also[off >> 5] >> (off & 31) & 1) == 0;
        kvi_alias_set_also(x, h, node, off, false);
    }
    drop_empty_levels(x, h, node);
    return last;
}

uint32_t kvi_alias_drop(struct kvi_index *x, struct kvi_holder h, uint32_t node) {
    uint32_t first = find(x, h, node, 0), levels = first != 0 ? x->nodes[first].levels : 0;
    uint32_t dropped = 0;
    for (uint32_t k = levels; k-- > 0;) {
        uint32_t r = k == 0 ? first : find(x, h, node, k);
        for (uint32_t off = 0; off < KVI_NODE_BLOCKS; off++)
            if (has(&x->nodes[r], off)) {
                kvi_names_delete(x, kvi_alias_names(x, &x->nodes[r])[off], r << 7 | off);
                dropped++;
            }
        free_record(x, h, r);
    }
    x->aliases -= dropped;
    return dropped;
}

bool kvi_alias_name(const struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                    uint32_t k, uint64_t *ret_name) {
    uint32_t first = find(x, h, node, 0), levels = first != 0 ? x->nodes[first].levels : 0;
    for (uint32_t level = 0; level < levels; level++) {
        const struct kvi_node *r = &x->nodes[level == 0 ? first : find(x, h, node, level)];
        if (has(r, off) && k-- == 0) {
            *ret_name = kvi_alias_names(x, r)[off];
            return true;
        }
    }
    return false;
}
