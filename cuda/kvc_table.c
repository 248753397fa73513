/*
 * The host's copy of a table: the prefixes of a fleet as slots of a hash table, each knowing its
 * parent, and who holds them. A slot nobody holds stays until the table is packed, because others
 * may stand behind it. What a name means is known per (rank, tier), as engines choose names.
 */
#include "cuda/kvc_priv.h"

#include <stdlib.h>
#include <string.h>

enum { HOLDER_BITS = 18 }; /* rank and tier */

static uint32_t holder_of(uint32_t rank, uint32_t tier) {
    return rank * KVC_TIERS + tier;
}

static enum kvc_status break_it(struct kvc_table *t, enum kvc_status why) {
    t->broken = why;
    return why;
}

/* ---- life ----------------------------------------------------------------------------------- */

enum kvc_status kvc_table_create(struct kvc *k, const struct kvc_table_options *options,
                                 struct kvc_table **ret) {
    struct kvc_table_options o = options != NULL ? *options : (struct kvc_table_options){0};
    o.max_blocks = o.max_blocks == 0 ? (size_t)1 << 20 : o.max_blocks;
    o.max_ranks = o.max_ranks == 0 ? 1024 : o.max_ranks;
    if (o.max_ranks > KVC_RANKS_MAX || o.max_blocks > (size_t)3 << 29)
        return KVC_INVALID;
    size_t cap = 16;
    while (cap * 3 / 4 < o.max_blocks)
        cap *= 2;
    struct kvc_table *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return KVC_NOMEM;
    t->k = k;
    t->options = o;
    t->secret = k->secret;
    t->mask = (uint32_t)(cap - 1);
    t->all_dirty = true;
    t->slots = calloc(cap, sizeof(*t->slots)); /* untouched pages cost nothing */
    t->names = calloc((size_t)o.max_ranks * KVC_TIERS, sizeof(*t->names));
    t->dirty_bits = calloc(cap / 64 + 1, sizeof(*t->dirty_bits));
    if (!kvc_sets_init(&t->sets) || t->slots == NULL || t->names == NULL || t->dirty_bits == NULL) {
        kvc_table_destroy(t);
        return KVC_NOMEM;
    }
    *ret = t;
    return KVC_OK;
}

void kvc_table_destroy(struct kvc_table *t) {
    if (t == NULL)
        return;
    t->k->ops->table_free(t->k->dev, t);
    for (size_t i = 0; t->names != NULL && i < (size_t)t->options.max_ranks * KVC_TIERS; i++)
        kvc_map_fini(&t->names[i]);
    kvc_map_fini(&t->extra);
    kvc_sets_fini(&t->sets);
    free(t->names);
    free(t->slots);
    free(t->external);
    free(t->dirty);
    free(t->dirty_bits);
    free(t);
}

void kvc_table_get_stats(const struct kvc_table *t, struct kvc_table_stats *ret) {
    size_t cap = (size_t)t->mask + 1;
    *ret = t->stats;
    ret->blocks = t->used;
    ret->sets = t->sets.live;
    ret->host_bytes = cap * sizeof(*t->slots) + (t->external != NULL ? cap * 4 : 0) +
                      (size_t)t->sets.cap * 32 + (size_t)t->sets.cap_members * 2;
    for (size_t i = 0; i < (size_t)t->options.max_ranks * KVC_TIERS; i++)
        ret->host_bytes += t->names[i].cap * sizeof(struct kvc_entry);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static bool note_dirty(struct kvc_table *t, uint32_t slot) {
    if (t->all_dirty || (t->dirty_bits[slot / 64] >> (slot % 64) & 1) != 0)
        return true;
    if (t->n_dirty == t->cap_dirty) {
        size_t cap = t->cap_dirty == 0 ? 1024 : t->cap_dirty * 2;
        uint32_t *bigger = realloc(t->dirty, cap * sizeof(*bigger));
        if (bigger == NULL)
            return false;
        t->dirty = bigger;
        t->cap_dirty = cap;
    }
    t->dirty_bits[slot / 64] |= (uint64_t)1 << (slot % 64);
    t->dirty[t->n_dirty++] = slot;
    return true;
}

static uint32_t first_free(const struct kvc_slot *slots, uint32_t mask, uint64_t seq) {
    uint32_t i = kvc_home(seq, mask);
    while (slots[i].parent != KVC_FREE)
        i = (i + 1) & mask;
    return i;
}

/* The slot of a block behind `parent` (a slot + KVC_PARENT, or KVC_ROOT), made if it is new. */
static enum kvc_status child(struct kvc_table *t, uint32_t parent, uint64_t local, uint32_t *ret) {
    uint64_t seq = parent == KVC_ROOT
                       ? local
                       : kvc_chain_step(t->slots[parent - KVC_PARENT].seq, local, &t->secret);
    struct kvc_slot s;
    uint32_t i = kvc_lookup(t->slots, t->mask, seq, &s);
    if (i != KVC_NONE && (s.parent != parent || s.local != local))
        return break_it(t, KVC_COLLISION);
    if (i == KVC_NONE) {
        i = first_free(t->slots, t->mask, seq);
        t->slots[i] = (struct kvc_slot){.seq = seq, .local = local, .parent = parent};
        t->used++;
        if (!note_dirty(t, i))
            return break_it(t, KVC_NOMEM);
    }
    *ret = i;
    return KVC_OK;
}

static uint32_t *set_at(struct kvc_table *t, uint32_t slot, uint32_t tier) {
    return tier == KVC_EXTERNAL ? &t->external[slot] : &t->slots[slot].sets[tier];
}

static bool held(const struct kvc_table *t, uint32_t slot) {
    const struct kvc_slot *s = &t->slots[slot];
    return (s->sets[0] | s->sets[1] | s->sets[2] | (t->external != NULL ? t->external[slot] : 0)) !=
           0;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* Where the slots that are held, and those before them, go in an emptier table. */
static uint32_t *plan_moves(struct kvc_table *t, struct kvc_slot *slots, size_t *ret_used) {
    size_t cap = (size_t)t->mask + 1;
    uint32_t *to = malloc(cap * sizeof(*to));
    if (to == NULL)
        return NULL;
    memset(to, 0xFF, cap * sizeof(*to));
    *ret_used = 0;
    for (size_t i = 0; i < cap; i++) {
        if (t->slots[i].parent == KVC_FREE || !held(t, (uint32_t)i))
            continue;
        for (uint32_t at = (uint32_t)i; to[at] == KVC_NONE;) {
            to[at] = first_free(slots, t->mask, t->slots[at].seq);
            slots[to[at]] = t->slots[at];
            ++*ret_used;
            if (t->slots[at].parent == KVC_ROOT)
                break;
            at = t->slots[at].parent - KVC_PARENT;
        }
    }
    return to;
}

static bool move_extra(const struct kvc_table *t, const uint32_t *to, struct kvc_map *ret) {
    for (size_t i = 0; i < t->extra.cap; i++) {
        const struct kvc_entry *e = &t->extra.entries[i];
        uint64_t slot = e->key >> HOLDER_BITS, holder = e->key & ((1u << HOLDER_BITS) - 1);
        if (e->used && !kvc_map_put(ret, (uint64_t)to[slot] << HOLDER_BITS | holder, e->value))
            return false;
    }
    return true;
}

/* Parents, names and the fourth tier follow the slots. */
static void move_in(struct kvc_table *t, const uint32_t *to, struct kvc_slot *slots,
                    uint32_t *external) {
    size_t cap = (size_t)t->mask + 1;
    for (size_t i = 0; i < cap; i++) {
        if (slots[i].parent >= KVC_PARENT)
            slots[i].parent = to[slots[i].parent - KVC_PARENT] + KVC_PARENT;
        if (external != NULL && to[i] != KVC_NONE)
            external[to[i]] = t->external[i];
    }
    for (size_t h = 0; h < (size_t)t->options.max_ranks * KVC_TIERS; h++)
        for (size_t i = 0; i < t->names[h].cap; i++)
            if (t->names[h].entries[i].used)
                t->names[h].entries[i].value = to[t->names[h].entries[i].value];
    free(t->slots);
    free(t->external);
    t->slots = slots;
    t->external = external;
}

/* Leaves out what nobody holds and nothing held stands behind. False: no memory; nothing has
 * changed. */
static bool pack(struct kvc_table *t) {
    size_t cap = (size_t)t->mask + 1, used = 0;
    struct kvc_slot *slots = calloc(cap, sizeof(*slots));
    uint32_t *external = t->external != NULL ? calloc(cap, sizeof(*external)) : NULL;
    uint32_t *to = slots == NULL ? NULL : plan_moves(t, slots, &used);
    struct kvc_map extra = {0};
    bool ok = to != NULL && (t->external == NULL || external != NULL) && move_extra(t, to, &extra);
    if (ok) {
        move_in(t, to, slots, external);
        kvc_map_fini(&t->extra);
        t->extra = extra;
        t->used = used;
        t->all_dirty = true;
        t->stats.rebuilds++;
    } else {
        kvc_map_fini(&extra);
        free(slots);
        free(external);
    }
    free(to);
    return ok;
}

/* ---- holders -------------------------------------------------------------------------------- */

static bool set_holder(struct kvc_table *t, uint32_t slot, uint32_t rank, uint32_t tier, bool add) {
    uint32_t *at = set_at(t, slot, tier), old = *at;
    uint32_t set = kvc_sets_step(&t->sets, old, rank, add);
    if (set == KVC_NONE)
        return false;
    kvc_sets_ref(&t->sets, set);
    *at = set;
    kvc_sets_unref(&t->sets, old);
    return note_dirty(t, slot);
}

static uint64_t extra_key(uint32_t slot, uint32_t rank, uint32_t tier) {
    return (uint64_t)slot << HOLDER_BITS | holder_of(rank, tier);
}

/* One more name of the holder means the slot. */
static bool acquire(struct kvc_table *t, uint32_t slot, uint32_t rank, uint32_t tier) {
    t->stats.entries++;
    if (!kvc_sets_has(&t->sets, *set_at(t, slot, tier), rank))
        return set_holder(t, slot, rank, tier, true);
    uint32_t *more = kvc_map_at(&t->extra, extra_key(slot, rank, tier));
    if (more == NULL)
        return kvc_map_put(&t->extra, extra_key(slot, rank, tier), 1);
    ++*more;
    return true;
}

static bool release(struct kvc_table *t, uint32_t slot, uint32_t rank, uint32_t tier) {
    uint32_t *more = kvc_map_at(&t->extra, extra_key(slot, rank, tier));
    t->stats.entries--;
    if (more == NULL)
        return set_holder(t, slot, rank, tier, false);
    if (--*more == 0)
        kvc_map_remove(&t->extra, extra_key(slot, rank, tier));
    return true;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Lower tiers look for their parent on every tier, their own first. */
static uint32_t parent_slot(const struct kvc_table *t, const struct kvc_event *e) {
    const uint32_t *at = kvc_map_at(&t->names[holder_of(e->rank, e->tier)], e->parent_hash);
    for (uint32_t tier = 0; at == NULL && e->tier != KVC_DEVICE && tier < KVC_TIERS; tier++)
        at = kvc_map_at(&t->names[holder_of(e->rank, tier)], e->parent_hash);
    return at == NULL ? KVC_FREE : *at + KVC_PARENT;
}

/* Room for n more slots, and for sets of the tier. */
static enum kvc_status make_room(struct kvc_table *t, size_t n, uint32_t tier) {
    if (t->used + n > t->options.max_blocks && (!pack(t) || t->used + n > t->options.max_blocks))
        return KVC_FULL;
    if (tier != KVC_EXTERNAL || t->external != NULL)
        return KVC_OK;
    t->external = calloc((size_t)t->mask + 1, sizeof(*t->external));
    t->all_dirty = true;
    return t->external != NULL ? KVC_OK : KVC_NOMEM;
}

/* The holder's name means the slot from now on. */
static enum kvc_status hold(struct kvc_table *t, uint32_t slot, uint32_t rank, uint32_t tier,
                            uint64_t name) {
    struct kvc_map *names = &t->names[holder_of(rank, tier)];
    const uint32_t *old = kvc_map_at(names, name);
    if (old != NULL && *old == slot)
        return KVC_OK;
    if ((old != NULL && !release(t, *old, rank, tier)) || !kvc_map_put(names, name, slot) ||
        !acquire(t, slot, rank, tier))
        return break_it(t, KVC_NOMEM);
    return KVC_OK;
}

static enum kvc_status store(struct kvc_table *t, const struct kvc_event *e) {
    if (e->n == 0)
        return KVC_INVALID;
    for (size_t i = 0; e->has_parent && i < e->n; i++)
        if (e->blocks[i].block_hash == e->parent_hash)
            return KVC_INVALID;
    if (e->has_parent && parent_slot(t, e) == KVC_FREE)
        return KVC_UNKNOWN;
    enum kvc_status st = make_room(t, e->n, e->tier);
    uint32_t parent = e->has_parent ? parent_slot(t, e) : KVC_ROOT, slot = 0; /* moved by packing */
    for (size_t i = 0; st == KVC_OK && i < e->n; i++) {
        st = child(t, parent, e->blocks[i].tokens_hash, &slot);
        if (st == KVC_OK)
            st = hold(t, slot, e->rank, e->tier, e->blocks[i].block_hash);
        parent = slot + KVC_PARENT;
    }
    return st;
}

static enum kvc_status drop(struct kvc_table *t, const struct kvc_event *e) {
    struct kvc_map *names = &t->names[holder_of(e->rank, e->tier)];
    enum kvc_status st = KVC_OK;
    for (size_t i = 0; i < e->n; i++) {
        const uint32_t *at = kvc_map_at(names, e->removed[i]);
        if (at == NULL) {
            st = KVC_UNKNOWN;
            continue;
        }
        uint32_t slot = *at;
        kvc_map_remove(names, e->removed[i]);
        if (!release(t, slot, e->rank, e->tier))
            return break_it(t, KVC_NOMEM);
    }
    return st;
}

static enum kvc_status clear(struct kvc_table *t, uint32_t rank) {
    for (uint32_t tier = 0; tier < KVC_TIERS; tier++) {
        struct kvc_map *names = &t->names[holder_of(rank, tier)];
        for (size_t i = 0; i < names->cap; i++)
            if (names->entries[i].used && !release(t, names->entries[i].value, rank, tier))
                return break_it(t, KVC_NOMEM);
        kvc_map_fini(names);
    }
    return KVC_OK;
}

enum kvc_status kvc_table_apply(struct kvc_table *t, const struct kvc_event *e) {
    if (t->broken != KVC_OK)
        return t->broken;
    if (e->rank >= t->options.max_ranks || e->tier >= KVC_TIERS)
        return KVC_INVALID;
    switch (e->kind) {
    case KVC_STORED:
        return store(t, e);
    case KVC_REMOVED:
        return drop(t, e);
    case KVC_CLEARED:
        return clear(t, e->rank);
    }
    return KVC_INVALID;
}

enum kvc_status kvc_table_place(struct kvc_table *t, uint32_t rank, uint32_t tier,
                                const uint64_t *path, size_t n, uint64_t block_hash) {
    if (t->broken != KVC_OK)
        return t->broken;
    if (rank >= t->options.max_ranks || tier >= KVC_TIERS || n == 0)
        return KVC_INVALID;
    enum kvc_status st = make_room(t, n, tier);
    uint32_t parent = KVC_ROOT, slot = 0;
    for (size_t i = 0; st == KVC_OK && i < n; i++) {
        st = child(t, parent, path[i], &slot);
        parent = slot + KVC_PARENT;
    }
    return st == KVC_OK ? hold(t, slot, rank, tier, block_hash) : st;
}

enum kvc_status kvc_table_commit(struct kvc_table *t) {
    if (t->broken != KVC_OK)
        return t->broken;
    enum kvc_status st = t->k->lost ? KVC_LOST : t->k->ops->table_commit(t->k->dev, t);
    if (kvc_falls_back(t->k, st)) {
        st = KVC_OK;
        t->on_host = true; /* queries read the host's copy, until a commit succeeds */
    } else if (st != KVC_OK) {
        t->on_host = true; /* and are refused: the device may have half of this one */
    } else {
        t->on_host = false;
    }
    if (t->on_host) {
        t->all_dirty = true;
        t->sets.n_dirty = 0; /* or the list would grow as long as the device is away */
        return st;
    }
    for (size_t i = 0; i < t->n_dirty; i++)
        t->dirty_bits[t->dirty[i] / 64] = 0;
    if (t->all_dirty)
        memset(t->dirty_bits, 0, ((size_t)t->mask / 64 + 1) * sizeof(*t->dirty_bits));
    t->stats.uploads++;
    t->stats.uploaded_slots += t->all_dirty ? (uint64_t)t->mask + 1 : t->n_dirty;
    t->n_dirty = 0;
    t->sets.n_dirty = 0;
    t->all_dirty = false;
    return KVC_OK;
}
