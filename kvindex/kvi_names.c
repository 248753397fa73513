/*
 * Engine's block name -> places that have it. For writers only: searches know content, not names.
 *
 * 256 segments of lines; a line (64 bytes) has eight slots of a tag and a place, no keys: the name
 * that stands at the place decides. A hash is segment (8 bits), then a fraction (31 bits), which
 * chooses the line by multiplication and is the tag too. So a segment may have any number of lines,
 * grows by a quarter (a small one twofold) when it is 3/4 full, and is rewritten in order from its
 * tags alone, without looking at a single name: no long stop, no doubling of memory.
 *
 * A name whose home line is full stands in the next line with room. Every line counts the names
 * that passed over it; the count's eight bits are the lowest bits of the eight tags. A search goes
 * on behind a line whose count is not 0. So deleting touches no line but those on its way, which
 * are one line nearly always.
 *
 * Invariants: a name with home h in line j is counted in lines h .. j-1 (around the end), unless a
 * count reached 255, which then stays until the segment is rewritten. A free slot has place 0. The
 * same name may stand at many places; each (name, place) once.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { SLOTS = 8, COUNT_MAX = 255 };
struct kvi_line {
    uint32_t tag[SLOTS], place[SLOTS];
};
_Static_assert(sizeof(struct kvi_line) == 64, "one cache line");

static uint32_t tag_of(uint64_t h) {
    return kvi_fraction(h) & ~1u;
}

/* Bits of the slots with this place. */
static uint32_t with_place(const struct kvi_line *l, uint32_t place) {
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)l->place;
    __m128i w = _mm_set1_epi32((int)place);
    __m128i a = _mm_cmpeq_epi32(_mm_load_si128(v), w);
    __m128i b = _mm_cmpeq_epi32(_mm_load_si128(v + 1), w);
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(a)) |
           (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(b)) << 4;
#else
    uint32_t bits = 0;
    for (int i = 0; i < SLOTS; i++)
        bits |= (uint32_t)(l->place[i] == place) << i;
    return bits;
#endif
}

/* Bits of the slots with this tag, and how many names passed over the line. */
static uint32_t with_tag(const struct kvi_line *l, uint32_t tag, uint32_t *ret_passed) {
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)l->tag;
    __m128i a = _mm_load_si128(v), b = _mm_load_si128(v + 1), w = _mm_set1_epi32((int)(tag | 1));
    __m128i one = _mm_set1_epi32(1);
    *ret_passed = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_slli_epi32(a, 31))) |
                  (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_slli_epi32(b, 31))) << 4;
    a = _mm_cmpeq_epi32(_mm_or_si128(a, one), w);
    b = _mm_cmpeq_epi32(_mm_or_si128(b, one), w);
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(a)) |
           (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(b)) << 4;
#else
    uint32_t bits = 0, passed = 0;
    for (int i = 0; i < SLOTS; i++) {
        bits |= (uint32_t)((l->tag[i] | 1) == (tag | 1)) << i;
        passed |= (l->tag[i] & 1) << i;
    }
    *ret_passed = passed;
    return bits;
#endif
}

static void count_passing(struct kvi_line *l, int change) {
    uint32_t passed;
    (void)with_tag(l, 0, &passed);
    if (passed == COUNT_MAX)
        return;
    passed = (uint32_t)((int)passed + change);
    for (int i = 0; i < SLOTS; i++)
        l->tag[i] = (l->tag[i] & ~1u) | (passed >> i & 1);
}

static uint32_t next_line(uint32_t at, uint32_t n) {
    return at + 1 == n ? 0 : at + 1;
}

static void set_slot(struct kvi_line *l, uint32_t k, uint32_t tag, uint32_t place) {
    l->tag[k] = tag | (l->tag[k] & 1);
    l->place[k] = place;
}

/* Where a name belongs. */
struct target {
    struct kvi_line *home;
    uint32_t tag, segment;
};

static struct target target_of(const struct kvi_index *x, uint64_t name) {
    uint64_t h = kvi_mix(name);
    const struct kvi_names *s = &x->names[kvi_segment(h)];
    uint32_t tag = tag_of(h);
    return (struct target){s->lines + kvi_scale(tag, s->n_lines), tag, kvi_segment(h)};
}

static struct kvi_line *next_of(const struct kvi_names *s, struct kvi_line *l) {
    return l + 1 == s->lines + s->n_lines ? s->lines : l + 1;
}

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name) {
    __builtin_prefetch(target_of(x, name).home, 1);
}

/* ---- size --------------------------------------------------------------------------------- */

/* fill[line] = slots taken, so that rewriting looks at no line before it stores. */
static void put(struct kvi_line *lines, uint8_t *fill, uint32_t n, uint32_t tag, uint32_t place) {
    uint32_t at = kvi_scale(tag, n);
    for (; fill[at] == SLOTS; at = next_line(at, n))
        count_passing(&lines[at], 1);
    set_slot(&lines[at], fill[at]++, tag, place);
}

/* Sizes in lines: powers of two up to a unit, then whole units, a quarter more each time. */
static const uint32_t UNIT_LINES = KVI_UNIT / sizeof(struct kvi_line);

static uint32_t larger(uint32_t n) {
    if (n < UNIT_LINES)
        return n == 0 ? 1 : n * 2;
    return (n / UNIT_LINES + (n / UNIT_LINES + 3) / 4) * UNIT_LINES;
}

/* For more than a unit. */
static uint32_t smaller(uint32_t n) {
    return (n - n / 4) / UNIT_LINES * UNIT_LINES;
}

static bool resize(struct kvi_index *x, struct kvi_names *s, uint32_t n) {
    uint8_t *fill = calloc(n, 1);
    uint32_t ref = fill != NULL ? kvi_alloc(x, n * sizeof(struct kvi_line), x->max_bytes) : 0;
    if (ref == 0) {
        free(fill);
        return false;
    }
    struct kvi_line *to = kvi_at(x, ref), *from = s->lines;
    memset(to, 0, n * sizeof(*to));
    for (uint32_t i = 0; i < s->n_lines; i++)
        for (uint32_t m = ~with_place(&from[i], 0) & 255; m != 0; m &= m - 1) {
            uint32_t k = (uint32_t)__builtin_ctz(m);
            put(to, fill, n, from[i].tag[k] & ~1u, from[i].place[k]);
        }
    free(fill);
    if (s->n_lines > 0)
        kvi_release(x, (uint32_t)((size_t)((uint8_t *)from - x->arena.base) / 16),
                    s->n_lines * sizeof(*from));
    s->lines = to;
    s->n_lines = n;
    return true;
}

/* ---- one name ----------------------------------------------------------------------------- */

/* What stands at the place. */
static uint64_t name_at(const struct kvi_index *x, uint32_t place) {
    const struct kvi_node *n = &x->nodes[place >> 7];
    const uint64_t *names =
        (n->flags & KVI_TYPE) == KVI_ALIAS ? kvi_alias_names(x, n) : kvi_name_array(x, kvi_body(n));
    return names[place & 127];
}

static bool is_here(const struct kvi_index *x, const struct kvi_line *l, uint32_t slots,
                    uint64_t name) {
    for (; slots != 0; slots &= slots - 1) {
        uint32_t place = l->place[__builtin_ctz(slots)];
        if (place != 0 && name_at(x, place) == name)
            return true;
    }
    return false;
}

/* Room for one more; *ret_moved: the segment's lines are others now. */
static bool reserve(struct kvi_index *x, struct kvi_names *s, bool *ret_moved) {
    if ((uint64_t)(s->n_used + 1) * 4 <= (uint64_t)s->n_lines * SLOTS * 3)
        return true;
    *ret_moved = resize(x, s, larger(s->n_lines));
    return *ret_moved || s->n_used + 1 < s->n_lines * SLOTS; /* over 3/4 is slow, full impossible */
}

static void add(struct kvi_index *x, struct target t, uint64_t name, uint32_t place,
                bool *ret_equal) {
    struct kvi_names *s = &x->names[t.segment];
    struct kvi_line *l = t.home;
    uint32_t passed, slots, room;
    s->n_used++;
    for (;; l = next_of(s, l)) {
        slots = with_tag(l, t.tag, &passed);
        if (slots != 0 && is_here(x, l, slots, name))
            *ret_equal = true;
        room = with_place(l, 0);
        if (room != 0)
            break;
        count_passing(l, 1);
    }
    set_slot(l, (uint32_t)__builtin_ctz(room), t.tag, place);
    /* The same name may stand further on, where it once had to go. */
    for (uint32_t looked = 0; passed != 0 && looked < s->n_lines; looked++) {
        l = next_of(s, l);
        slots = with_tag(l, t.tag, &passed);
        if (slots != 0 && is_here(x, l, slots, name))
            *ret_equal = true;
    }
}

static void delete (struct kvi_index *x, struct target t, uint32_t place) {
    struct kvi_names *s = &x->names[t.segment];
    struct kvi_line *l = t.home;
    uint32_t slots;
    for (; (slots = with_place(l, place)) == 0; l = next_of(s, l))
        count_passing(l, -1);
    set_slot(l, (uint32_t)__builtin_ctz(slots), 0, 0);
    s->n_used--;
}

/* Lines are given back when what remains would be at most half full. So between a rewriting and the
 * next one in either direction a third of the names must go or as many as half of them come, and an
 * index that stays as large as it is, with names coming and going, rewrites nothing. A segment of a
 * unit keeps it (1 MiB an index): with few names, chance alone moves their number as far as that.
 */
static void shrink(struct kvi_index *x, uint32_t segment) {
    struct kvi_names *s = &x->names[segment];
    if (s->n_lines > UNIT_LINES && (uint64_t)s->n_used * 2 <= (uint64_t)smaller(s->n_lines) * SLOTS)
        (void)resize(x, s, smaller(s->n_lines)); /* without memory it stays large */
}

bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal) {
    struct target t = target_of(x, name);
    bool moved = false;
    if (!reserve(x, &x->names[t.segment], &moved))
        return false;
    add(x, moved ? target_of(x, name) : t, name, place, ret_equal);
    return true;
}

void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place) {
    struct target t = target_of(x, name);
    delete (x, t, place);
    shrink(x, t.segment);
}

/* ---- many names --------------------------------------------------------------------------- */

/* First all home lines are fetched, then the lines behind those that are or were full; so the
 * misses of one event overlap instead of adding up. */
static void fetch(const struct kvi_index *x, const uint64_t *names, uint32_t n,
                  struct target *ret_targets) {
    for (uint32_t i = 0; i < n; i++) {
        ret_targets[i] = target_of(x, names[i]);
        __builtin_prefetch(ret_targets[i].home, 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t passed = 1;
        if (x->names[ret_targets[i].segment].n_lines > 0)
            (void)with_tag(ret_targets[i].home, 0, &passed);
        if (passed != 0)
            __builtin_prefetch(ret_targets[i].home + 1, 1);
    }
}

uint32_t kvi_names_add_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place,
                            bool *ret_equal) {
    struct target t[KVI_NODE_BLOCKS];
    if (n == 1)
        return kvi_names_add(x, names[0], place, ret_equal);
    fetch(x, names, n, t);
    for (uint32_t i = 0; i < n; i++) {
        bool moved = false;
        if (!reserve(x, &x->names[t[i].segment], &moved))
            return i;
        if (moved)
            for (uint32_t k = i; k < n; k++)
                t[k] = target_of(x, names[k]);
        add(x, t[i], names[i], place + i, ret_equal);
    }
    return n;
}

void kvi_names_delete_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place) {
    struct target t[KVI_NODE_BLOCKS];
    fetch(x, names, n, t);
    for (uint32_t i = 0; i < n; i++)
        delete (x, t[i], place + i);
    for (uint32_t i = 0; i < n; i++)
        shrink(x, t[i].segment);
}

/* ---- look-up ------------------------------------------------------------------------------ */

uint32_t kvi_names_each(struct kvi_index *x, uint64_t name, bool (*fn)(void *arg, uint32_t place),
                        void *arg) {
    struct target t = target_of(x, name);
    const struct kvi_names *s = &x->names[t.segment];
    struct kvi_line *l = t.home;
    for (uint32_t i = 0, passed = 1; i < s->n_lines && passed != 0; l = next_of(s, l), i++)
        for (uint32_t m = with_tag(l, t.tag, &passed); m != 0; m &= m - 1) {
            uint32_t place = l->place[__builtin_ctz(m)];
            if (place != 0 && name_at(x, place) == name && fn(arg, place))
                return place;
        }
    return 0;
}

uint32_t kvi_names_find(struct kvi_index *x, struct kvi_holder holder, uint64_t name) {
    struct target t = target_of(x, name);
    const struct kvi_names *s = &x->names[t.segment];
    struct kvi_line *l = t.home;
    for (uint32_t i = 0, passed = 1; i < s->n_lines && passed != 0; l = next_of(s, l), i++)
        for (uint32_t m = with_tag(l, t.tag, &passed); m != 0; m &= m - 1) {
            uint32_t place = l->place[__builtin_ctz(m)];
            if (place != 0 && kvi_maps(x, holder, place, name))
                return place;
        }
    return 0;
}
