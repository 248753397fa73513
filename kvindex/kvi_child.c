/*
 * (parent node, offset, content hash of the next block) -> the node that goes on there; also the
 * alias records of a node, which hang at offset 255 under keys of their own (kvi_alias.c).
 *
 * 256 segments of open-addressed words: tag << 32 | node; the node decides about equality. Read
 * without a lock. Writers store one word at a time: an entry appears by a release store after its
 * node is complete (linearization point of a new branch) and disappears by becoming DEAD, which
 * keeps probe chains whole. A full segment is copied without its dead words, published by one
 * release store of its ref, and the old one retired. A word never moves inside a segment, so a
 * reader misses nothing that was there when it began.
 */
#include "kvindex/kvi_priv.h"

#define DEAD UINT32_MAX

struct segment {
    uint32_t cap;  /* words */
    uint32_t used; /* words not empty, dead ones too; the writer's */
    uint32_t live, bytes;
    _Atomic uint64_t at[];
};

static uint64_t hash_of(uint32_t parent, uint32_t off, uint64_t first) {
    return kvi_mix(first ^ ((uint64_t)parent << 8 | off) * 0xD6E8FEB86659FD93u);
}

void kvi_child_fetch(const struct kvi_index *x, uint32_t parent, uint32_t off, uint64_t first) {
    uint64_t h = hash_of(parent, off, first);
    /* Pairs with the release in grow(). */
    uint64_t found = atomic_load_explicit(&x->children[kvi_segment(h)], memory_order_acquire);
    const struct segment *s = kvi_at(x, (uint32_t)found);
    __builtin_prefetch(s);
    __builtin_prefetch(&s->at[kvi_scale(kvi_fraction(h), (uint32_t)(found >> 32))]);
}

uint32_t kvi_child_find(const struct kvi_index *x, uint32_t parent, uint32_t off, uint64_t first) {
    uint64_t h = hash_of(parent, off, first);
    uint32_t tag = kvi_fraction(h);
    /* Pairs with the release in grow(). */
    uint64_t found = atomic_load_explicit(&x->children[kvi_segment(h)], memory_order_acquire);
    if (found == 0)
        return 0;
    const struct segment *s = kvi_at(x, (uint32_t)found);
    uint32_t cap = (uint32_t)(found >> 32); /* the segment's first line is not read */
    for (uint32_t i = kvi_scale(tag, cap);; i = i + 1 == cap ? 0 : i + 1) {
        /* Pairs with the release in put(). */
        uint64_t word = atomic_load_explicit(&s->at[i], memory_order_acquire);
        if (word == 0)
            return 0;
        if ((uint32_t)(word >> 32) != tag || (uint32_t)word == DEAD)
            continue;
        const struct kvi_node *n = &x->nodes[(uint32_t)word];
        if (n->first == first && n->parent == parent && n->parent_off == off)
            return (uint32_t)word;
    }
}

static uint32_t ref_of(const struct kvi_index *x, uint32_t segment) {
    return (uint32_t)atomic_load_explicit(&x->children[segment], memory_order_relaxed);
}

static void put(struct segment *s, uint32_t tag, uint32_t node) {
    uint32_t i = kvi_scale(tag, s->cap);
    while (atomic_load_explicit(&s->at[i], memory_order_relaxed) != 0)
        i = i + 1 == s->cap ? 0 : i + 1;
    atomic_store_explicit(&s->at[i], (uint64_t)tag << 32 | node, memory_order_release);
    s->used++;
    s->live++;
}

/* Room for one more word: at most 3/5 are in use. */
static bool grow(struct kvi_index *x, uint32_t segment) {
    uint32_t ref = ref_of(x, segment);
    struct segment *old = ref != 0 ? kvi_at(x, ref) : NULL;
    if (old != NULL && (old->used + 1) * 5 <= old->cap * 3)
        return true;
    uint32_t live = old != NULL ? old->live : 0;
    size_t bytes = kvi_room(sizeof(*old) + (size_t)(live + 2) * 3 * sizeof(uint64_t));
    uint32_t to = kvi_alloc(x, bytes, x->max_bytes);
    if (to == 0)
        return old != NULL && old->used + 1 < old->cap;
    struct segment *s = kvi_at(x, to);
    memset(s, 0, bytes);
    s->bytes = (uint32_t)bytes;
    s->cap = (uint32_t)((bytes - sizeof(*s)) / sizeof(uint64_t));
    for (uint32_t i = 0; old != NULL && i < old->cap; i++) {
        uint64_t word = atomic_load_explicit(&old->at[i], memory_order_relaxed);
        if (word != 0 && (uint32_t)word != DEAD)
            put(s, (uint32_t)(word >> 32), (uint32_t)word);
    }
    atomic_store_explicit(&x->children[segment], (uint64_t)s->cap << 32 | to, memory_order_release);
    if (old != NULL)
        kvi_retire(x, KVI_RETIRED_MEMORY, ref, old->bytes);
    return true;
}

bool kvi_child_add(struct kvi_index *x, uint32_t node) {
    const struct kvi_node *n = &x->nodes[node];
    uint64_t h = hash_of(n->parent, n->parent_off, n->first);
    uint32_t segment = kvi_segment(h);
    if (!grow(x, segment))
        return false;
    put(kvi_at(x, ref_of(x, segment)), kvi_fraction(h), node);
    return true;
}

void kvi_child_delete(struct kvi_index *x, uint32_t node) {
    const struct kvi_node *n = &x->nodes[node];
    uint64_t h = hash_of(n->parent, n->parent_off, n->first);
    uint32_t tag = kvi_fraction(h);
    struct segment *s = kvi_at(x, ref_of(x, kvi_segment(h)));
    uint32_t i = kvi_scale(tag, s->cap);
    while (atomic_load_explicit(&s->at[i], memory_order_relaxed) != ((uint64_t)tag << 32 | node))
        i = i + 1 == s->cap ? 0 : i + 1;
    atomic_store_explicit(&s->at[i], (uint64_t)tag << 32 | DEAD, memory_order_relaxed);
    s->live--;
}
