/*
 * Which (rank, tier) holds how much of a node.
 *
 * The usual case is a prefix of the node on the device: one number, the cutoff, per (node, rank).
 * Up to five ranks stand in the node as cells `(rank + 1) << 8 | cutoff`, more of them in a list
 * that is hashed by rank, and when that would be as large as one byte a rank, in a dense array of
 * cutoffs by rank. Everything else (a block missing in mid-node, lower tiers) is a set of 128 bits
 * per (node, holder) in the node's masks. A device holder with a mask has the number of leading
 * ones as its cutoff; a mask that is a prefix again is dropped.
 *
 * Concurrency. Cutoffs are single atomic words or bytes; a cell keeps its rank as long as its
 * cutoff is not 0, so a search meets each rank at most once in a node. A list or mask set that must
 * grow is copied, published by one release store, and the old one retired. A mask's two words
 * change one after the other: a search may see half of an event on a lower tier. Masks of the
 * device tier are the writer's alone.
 *
 * Why top-down reading is exact without holes: growth is stored parent first, loss child first, so
 * at every moment a rank that holds any block of a node holds all blocks above it. A search reads
 * downwards. If the last cutoff it reads for a rank is c > 0, all nodes above were full at that
 * moment: the score is exact then. If it is 0, either it was so when the parent was read (exact
 * then), or it fell to 0 in between while the parent was still full (exact at the fall).
 */
#include "kvindex/kvi_priv.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define RELAXED memory_order_relaxed
#define RELEASE memory_order_release

static uint32_t load32(const _Atomic uint32_t *p) {
    return atomic_load_explicit(p, RELAXED); /* the writer reads its own stores */
}

static struct kvi_list *list_of(const struct kvi_index *x, const struct kvi_node *n) {
    uint32_t ref = load32(&n->list);
    return ref != 0 ? kvi_at(x, ref) : NULL;
}

/* ---- cutoffs ---------------------------------------------------------------------------- */

static uint32_t cell_home(uint32_t rank, uint32_t cap) {
    return kvi_scale(rank * 0x9E3779B1u, cap);
}

/* The rank's cell, or NULL. Not for dense lists. */
static _Atomic uint32_t *find_cell(struct kvi_list *l, const struct kvi_node *n, uint32_t rank) {
    if (l == NULL) {
        for (int i = 0; i < KVI_INLINE; i++)
            if (load32(&n->cells[i]) >> 8 == rank + 1)
                return (_Atomic uint32_t *)&n->cells[i];
        return NULL;
    }
    for (uint32_t i = cell_home(rank, l->cap);; i = i + 1 == l->cap ? 0 : i + 1) {
        uint32_t v = load32(&l->u.cells[i]);
        if (v == 0)
            return NULL;
        if (v >> 8 == rank + 1)
            return &l->u.cells[i];
    }
}

uint32_t kvi_cut(const struct kvi_index *x, const struct kvi_node *n, uint32_t rank) {
    struct kvi_list *l = list_of(x, n);
    if (l != NULL && l->dense)
        return rank < l->cap ? atomic_load_explicit(&l->u.cut[rank], RELAXED) : 0;
    const _Atomic uint32_t *cell = find_cell(l, n, rank);
    return cell != NULL ? load32(cell) & 255 : 0;
}

/* The cell exists (kvi_cover_reserve), or the cutoff is 0 already. Release: a search that sees a
 * shorter cutoff in a child saw what was stored before it. */
static void set_cut(struct kvi_index *x, struct kvi_node *n, uint32_t rank, uint32_t cut) {
    struct kvi_list *l = list_of(x, n);
    uint32_t old;
    if (l != NULL && l->dense) {
        if (rank >= l->cap)
            return;
        old = atomic_load_explicit(&l->u.cut[rank], RELAXED);
        atomic_store_explicit(&l->u.cut[rank], (uint8_t)cut, RELEASE);
    } else {
        _Atomic uint32_t *cell = find_cell(l, n, rank);
        if (cell == NULL)
            return;
        old = load32(cell) & 255;
        atomic_store_explicit(cell, (rank + 1) << 8 | cut, RELEASE);
    }
    n->n_holders += (cut > 0) - (old > 0);
}

static void put_cell(struct kvi_list *l, uint32_t value) {
    uint32_t i = cell_home((value >> 8) - 1, l->cap);
    while (load32(&l->u.cells[i]) != 0)
        i = i + 1 == l->cap ? 0 : i + 1;
    atomic_store_explicit(&l->u.cells[i], value, RELEASE);
    l->n_used++;
}

static void move_cell(struct kvi_list *to, uint32_t value) {
    if ((value & 255) == 0)
        return;
    if (to->dense)
        atomic_store_explicit(&to->u.cut[(value >> 8) - 1], (uint8_t)value, RELAXED);
    else
        put_cell(to, value);
}

static void move_holders(struct kvi_list *to, const struct kvi_list *from,
                         const struct kvi_node *n) {
    if (from == NULL)
        for (int i = 0; i < KVI_INLINE; i++)
            move_cell(to, load32(&n->cells[i]));
    else if (!from->dense)
        for (uint32_t i = 0; i < from->cap; i++)
            move_cell(to, load32(&from->u.cells[i]));
    else
        for (uint32_t i = 0; i < from->cap; i++)
            atomic_store_explicit(&to->u.cut[i], atomic_load_explicit(&from->u.cut[i], RELAXED),
                                  RELAXED);
}

/* A larger place for the holders, with room for one more. */
static bool grow_list(struct kvi_index *x, struct kvi_node *n) {
    struct kvi_list *old = list_of(x, n);
    size_t head = offsetof(struct kvi_list, u);
    size_t as_bytes = (atomic_load_explicit(&x->n_ranks, RELAXED) + 63) / 64 * 64;
    size_t as_cells = ((size_t)n->n_holders + 1) * 2 * sizeof(uint32_t);
    bool dense = (old != NULL && old->dense) || as_cells >= as_bytes;
    size_t bytes = kvi_room(head + (dense ? as_bytes : as_cells));
    uint32_t ref = kvi_alloc(x, bytes, x->soft_bytes), old_ref = load32(&n->list);
    if (ref == 0)
        return false;
    struct kvi_list *l = kvi_at(x, ref);
    memset(l, 0, bytes);
    l->dense = dense;
    l->bytes = (uint32_t)bytes;
    l->cap = (uint32_t)(dense ? (bytes - head) / 16 * 16 : (bytes - head) / sizeof(uint32_t));
    move_holders(l, old, n);
    atomic_store_explicit(&n->list, ref, RELEASE); /* pairs with the acquire in kvi_find.c */
    if (old != NULL)
        kvi_retire(x, KVI_RETIRED_MEMORY, old_ref, old->bytes);
    return true;
}

static bool reserve_cell(struct kvi_index *x, struct kvi_node *n, uint32_t rank) {
    for (;;) {
        struct kvi_list *l = list_of(x, n);
        if (l != NULL && l->dense) {
            if (rank < l->cap)
                return true;
        } else if (find_cell(l, n, rank) != NULL) {
            return true;
        } else if (l == NULL) {
            for (int i = 0; i < KVI_INLINE; i++)
                if ((load32(&n->cells[i]) & 255) == 0) {
                    atomic_store_explicit(&n->cells[i], (rank + 1) << 8, RELAXED);
                    return true;
                }
        } else if ((l->n_used + 1) * 4 <= l->cap * 3) {
            put_cell(l, (rank + 1) << 8);
            return true;
        }
        if (!grow_list(x, n))
            return false;
    }
}

/* ---- masks ------------------------------------------------------------------------------ */

static uint32_t key_of(struct kvi_holder h) {
    return (h.rank << 2 | (uint32_t)h.tier) + 1;
}

static struct kvi_mask *find_mask(const struct kvi_index *x, const struct kvi_node *n,
                                  struct kvi_holder h) {
    uint32_t ref = load32(&n->masks);
    if (ref == 0)
        return NULL;
    struct kvi_masks *m = kvi_at(x, ref);
    uint32_t key = key_of(h);
    for (uint32_t i = kvi_mask_home(key, m->cap);; i = i + 1 == m->cap ? 0 : i + 1) {
        uint32_t k = load32(&m->at[i].key);
        if (k == key)
            return &m->at[i];
        if (k == 0)
            return NULL;
    }
}

static struct kvi_mask *put_mask(struct kvi_masks *m, uint32_t key, const uint64_t bits[2]) {
    uint32_t i = kvi_mask_home(key, m->cap);
    while (load32(&m->at[i].key) != 0)
        i = i + 1 == m->cap ? 0 : i + 1;
    for (int w = 0; w < 2; w++)
        atomic_store_explicit(&m->at[i].bits[w], bits[w], RELAXED);
    atomic_store_explicit(&m->at[i].key, key, RELEASE);
    m->n_used++;
    m->n_live += (bits[0] | bits[1]) != 0;
    return &m->at[i];
}

static void load_bits(const struct kvi_mask *e, uint64_t ret[2]) {
    for (int w = 0; w < 2; w++)
        ret[w] = atomic_load_explicit(&e->bits[w], RELAXED);
}

static bool grow_masks(struct kvi_index *x, struct kvi_node *n, size_t limit) {
    uint32_t ref = load32(&n->masks);
    struct kvi_masks *old = ref != 0 ? kvi_at(x, ref) : NULL;
    if (old != NULL && (old->n_used + 1) * 4 <= old->cap * 3)
        return true;
    size_t head = offsetof(struct kvi_masks, at), live = old != NULL ? old->n_live : 0;
    size_t bytes = kvi_room(head + (live * 2 + 2) * sizeof(struct kvi_mask));
    uint32_t to = kvi_alloc(x, bytes, limit);
    if (to == 0)
        return false;
    struct kvi_masks *m = kvi_at(x, to);
    memset(m, 0, bytes);
    m->bytes = (uint32_t)bytes;
    m->cap = (uint32_t)((bytes - head) / sizeof(struct kvi_mask));
    for (uint32_t i = 0; old != NULL && i < old->cap; i++) {
        uint64_t bits[2];
        load_bits(&old->at[i], bits);
        if ((bits[0] | bits[1]) != 0)
            put_mask(m, load32(&old->at[i].key), bits);
    }
    atomic_store_explicit(&n->masks, to, RELEASE);
    if (old != NULL)
        kvi_retire(x, KVI_RETIRED_MEMORY, ref, old->bytes);
    return true;
}

static void prefix_bits(uint32_t n, uint64_t ret[2]) {
    ret[0] = n >= 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
    ret[1] = n >= 128 ? UINT64_MAX : n > 64 ? ((uint64_t)1 << (n - 64)) - 1 : 0;
}

static void range_bits(uint32_t from, uint32_t to, uint64_t ret[2]) {
    uint64_t below[2];
    prefix_bits(from, below);
    prefix_bits(to, ret);
    ret[0] &= ~below[0];
    ret[1] &= ~below[1];
}

static uint32_t leading(const uint64_t b[2]) {
    if (~b[0] != 0)
        return (uint32_t)__builtin_ctzll(~b[0]);
    return ~b[1] != 0 ? 64 + (uint32_t)__builtin_ctzll(~b[1]) : 128;
}

static uint32_t count(const uint64_t b[2]) {
    return (uint32_t)(__builtin_popcountll(b[0]) + __builtin_popcountll(b[1]));
}

/* Stores the bits; the set goes when no entry has any. */
static void set_bits(struct kvi_index *x, struct kvi_node *n, struct kvi_mask *e,
                     const uint64_t bits[2]) {
    uint32_t ref = load32(&n->masks);
    struct kvi_masks *m = kvi_at(x, ref);
    uint64_t old[2];
    load_bits(e, old);
    for (int w = 0; w < 2; w++)
        atomic_store_explicit(&e->bits[w], bits[w], RELEASE);
    m->n_live += ((bits[0] | bits[1]) != 0) - ((old[0] | old[1]) != 0);
    if (m->n_live == 0) {
        atomic_store_explicit(&n->masks, 0, RELEASE);
        kvi_retire(x, KVI_RETIRED_MEMORY, ref, m->bytes);
    }
}

/* A mask for the holder; a device holder's starts as its prefix. */
static struct kvi_mask *make_mask(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h,
                                  size_t limit) {
    struct kvi_mask *e = find_mask(x, n, h);
    uint64_t bits[2] = {0, 0};
    if (h.tier == KVI_DEVICE)
        prefix_bits(kvi_cut(x, n, h.rank), bits);
    if (e != NULL) {
        uint64_t now[2];
        load_bits(e, now);
        if ((now[0] | now[1]) == 0 && (bits[0] | bits[1]) != 0) /* left from an earlier hole */
            set_bits(x, n, e, bits);
        return e;
    }
    if (!grow_masks(x, n, limit))
        return NULL;
    return put_mask(kvi_at(x, load32(&n->masks)), key_of(h), bits);
}

/* The holder's mask if it has one with bits. */
static struct kvi_mask *live_mask(const struct kvi_index *x, const struct kvi_node *n,
                                  struct kvi_holder h, uint64_t ret_bits[2]) {
    struct kvi_mask *e = find_mask(x, n, h);
    if (e == NULL)
        return NULL;
    load_bits(e, ret_bits);
    return (ret_bits[0] | ret_bits[1]) != 0 ? e : NULL;
}

/* ---- both ------------------------------------------------------------------------------- */

void kvi_bits(const struct kvi_index *x, const struct kvi_node *n, struct kvi_holder h,
              uint64_t ret_bits[2]) {
    if (live_mask(x, n, h, ret_bits) != NULL)
        return;
    prefix_bits(h.tier == KVI_DEVICE ? kvi_cut(x, n, h.rank) : 0, ret_bits);
}

bool kvi_covered(const struct kvi_index *x, const struct kvi_node *n, struct kvi_holder h,
                 uint32_t off) {
    uint64_t bits[2];
    if (h.tier == KVI_DEVICE && kvi_cut(x, n, h.rank) > off)
        return true;
    return live_mask(x, n, h, bits) != NULL && (bits[off >> 6] >> (off & 63) & 1) != 0;
}

bool kvi_cover_reserve(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h,
                       uint32_t from) {
    if (h.tier != KVI_DEVICE)
        return make_mask(x, n, h, x->soft_bytes) != NULL;
    if (!reserve_cell(x, n, h.rank))
        return false;
    if (from <= kvi_cut(x, n, h.rank))
        return true;
    return make_mask(x, n, h, x->soft_bytes) != NULL;
}

/* New bits of a holder with a mask. A device mask that is a prefix is not needed any more. */
static void update(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, struct kvi_mask *e,
                   uint64_t bits[2]) {
    if (h.tier == KVI_DEVICE) {
        uint32_t cut = leading(bits);
        set_cut(x, n, h.rank, cut);
        if (count(bits) == cut)
            bits[0] = bits[1] = 0;
    }
    set_bits(x, n, e, bits);
}

uint32_t kvi_cover(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, uint32_t from,
                   uint32_t to) {
    uint64_t bits[2] = {0, 0}, add[2];
    struct kvi_mask *e = find_mask(x, n, h);
    uint32_t cut = h.tier == KVI_DEVICE ? kvi_cut(x, n, h.rank) : 0;
    if (h.tier == KVI_DEVICE && from <= cut && (e == NULL || live_mask(x, n, h, bits) == NULL)) {
        if (to <= cut)
            return 0;
        set_cut(x, n, h.rank, to);
        return to - cut;
    }
    load_bits(e, bits);
    range_bits(from, to, add);
    uint32_t before = count(bits);
    for (int w = 0; w < 2; w++)
        bits[w] |= add[w];
    uint32_t added = count(bits) - before;
    update(x, n, h, e, bits);
    return added;
}

uint32_t kvi_uncover(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, uint32_t from,
                     uint32_t to) {
    uint64_t bits[2], drop[2];
    struct kvi_mask *e = live_mask(x, n, h, bits);
    if (e == NULL) {
        uint32_t cut = h.tier == KVI_DEVICE ? kvi_cut(x, n, h.rank) : 0;
        if (from >= cut)
            return 0;
        if (to >= cut) {
            set_cut(x, n, h.rank, from);
            return cut - from;
        }
        e = make_mask(x, n, h, x->max_bytes);
        if (e == NULL)
            return KVI_NO_ROOM;
        load_bits(e, bits);
    }
    range_bits(from, to, drop);
    uint32_t before = count(bits);
    for (int w = 0; w < 2; w++)
        bits[w] &= ~drop[w];
    uint32_t dropped = before - count(bits);
    update(x, n, h, e, bits);
    return dropped;
}

static uint32_t max_cut(const struct kvi_list *l, const struct kvi_node *n) {
    uint32_t max = 0;
    if (l == NULL || !l->dense) {
        const _Atomic uint32_t *cells = l != NULL ? l->u.cells : n->cells;
        for (uint32_t i = 0; i < (l != NULL ? l->cap : KVI_INLINE); i++)
            max = (load32(&cells[i]) & 255) > max ? load32(&cells[i]) & 255 : max;
        return max;
    }
#ifdef __SSE2__
    __m128i v = _mm_setzero_si128();
    for (uint32_t i = 0; i < l->cap; i += 16)
        v = _mm_max_epu8(v, _mm_loadu_si128((const __m128i *)(const void *)&l->u.cut[i]));
    uint8_t lanes[16];
    _mm_storeu_si128((__m128i *)(void *)lanes, v);
    for (int i = 0; i < 16; i++)
        max = lanes[i] > max ? lanes[i] : max;
#else
    for (uint32_t i = 0; i < l->cap; i++) {
        uint32_t c = atomic_load_explicit(&l->u.cut[i], RELAXED);
        max = c > max ? c : max;
    }
#endif
    return max;
}

uint32_t kvi_needed(const struct kvi_index *x, const struct kvi_node *n) {
    uint32_t needed = n->n_holders > 0 ? max_cut(list_of(x, n), n) : 0, ref = load32(&n->masks);
    const struct kvi_masks *m = ref != 0 ? kvi_at(x, ref) : NULL;
    for (uint32_t i = 0; m != NULL && i < m->cap; i++) {
        uint64_t b[2];
        load_bits(&m->at[i], b);
        uint32_t top = b[1] != 0   ? 128 - (uint32_t)__builtin_clzll(b[1])
                       : b[0] != 0 ? 64 - (uint32_t)__builtin_clzll(b[0])
                                   : 0;
        needed = top > needed ? top : needed;
    }
    return needed;
}

static void each_device(struct kvi_index *x, struct kvi_node *n,
                        void (*fn)(void *arg, struct kvi_holder h), void *arg) {
    const struct kvi_list *l = list_of(x, n);
    if (l != NULL && l->dense) {
        for (uint32_t i = 0; i < l->cap && n->n_holders > 0; i++)
            if (atomic_load_explicit(&l->u.cut[i], RELAXED) > 0)
                fn(arg, (struct kvi_holder){i, KVI_DEVICE});
        return;
    }
    const _Atomic uint32_t *cells = l != NULL ? l->u.cells : n->cells;
    uint32_t cap = l != NULL ? l->cap : KVI_INLINE;
    for (uint32_t i = 0; i < cap; i++) {
        uint32_t v = load32(&cells[i]);
        if ((v & 255) > 0)
            fn(arg, (struct kvi_holder){(v >> 8) - 1, KVI_DEVICE});
    }
}

void kvi_each_holder(struct kvi_index *x, struct kvi_node *n,
                     void (*fn)(void *arg, struct kvi_holder h), void *arg) {
    /* Device holders whose cutoff is 0 stand only in the masks; the others only in the cutoffs. */
    uint32_t ref = load32(&n->masks);
    const struct kvi_masks *m = ref != 0 ? kvi_at(x, ref) : NULL;
    for (uint32_t i = 0; m != NULL && load32(&n->masks) == ref && i < m->cap; i++) {
        uint32_t key = load32(&m->at[i].key);
        uint64_t b[2];
        load_bits(&m->at[i], b);
        if (key == 0 || (b[0] | b[1]) == 0)
            continue;
        struct kvi_holder h = {(key - 1) >> 2, (enum kvi_tier)((key - 1) & 3)};
        if (h.tier != KVI_DEVICE || (b[0] & 1) == 0)
            fn(arg, h);
    }
    each_device(x, n, fn, arg);
}

void kvi_hold_free(struct kvi_index *x, struct kvi_node *n) {
    uint32_t ref = load32(&n->list);
    if (ref != 0)
        kvi_retire(x, KVI_RETIRED_MEMORY, ref, ((struct kvi_list *)kvi_at(x, ref))->bytes);
    ref = load32(&n->masks);
    if (ref != 0)
        kvi_retire(x, KVI_RETIRED_MEMORY, ref, ((struct kvi_masks *)kvi_at(x, ref))->bytes);
}
