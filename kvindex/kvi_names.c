/*
 * Engine's block name -> places that have it. For writers only: searches know content, not names.
 *
 * 256 segments of lines; a line (64 bytes) has eight slots of a tag and a place, no keys: the name
 * that stands at the place decides. A hash is segment (8 bits), then a fraction (31 bits), which
 * chooses the line by multiplication and is the tag too. So a segment may have any number of lines,
 * grows by a quarter when it is 12/16 full, and is rewritten in order from its tags alone, without
 * looking at a single name: no long stop, no doubling of memory.
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
struct line {
    uint32_t tag[SLOTS], place[SLOTS];
};
_Static_assert(sizeof(struct line) == 64, "one cache line");

static struct line *lines_of(const struct kvi_index *x, uint32_t segment) {
    return kvi_at(x, x->names[segment].ref);
}

static uint32_t tag_of(uint64_t h) {
    return kvi_fraction(h) & ~1u;
}

/* Bits of the slots with this place. */
static uint32_t with_place(const struct line *l, uint32_t place) {
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
static uint32_t with_tag(const struct line *l, uint32_t tag, uint32_t *ret_passed) {
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

static void count_passing(struct line *l, int change) {
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

static void set_slot(struct line *l, uint32_t k, uint32_t tag, uint32_t place) {
    l->tag[k] = tag | (l->tag[k] & 1);
    l->place[k] = place;
}

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h);
    if (x->names[s].n_lines > 0)
        __builtin_prefetch(lines_of(x, s) + kvi_scale(tag_of(h), x->names[s].n_lines), 1);
}

/* ---- size --------------------------------------------------------------------------------- */

/* fill[line] = slots taken, so that rewriting looks at no line before it stores. */
static void put(struct line *lines, uint8_t *fill, uint32_t n, uint32_t tag, uint32_t place) {
    uint32_t at = kvi_scale(tag, n);
    for (; fill[at] == SLOTS; at = next_line(at, n))
        count_passing(&lines[at], 1);
    set_slot(&lines[at], fill[at]++, tag, place);
}

/* Lines of the next size: a quarter more, in whole units once a unit is reached. */
static uint32_t larger(uint32_t n) {
    uint32_t unit = KVI_UNIT / sizeof(struct line);
    if (n < unit)
        return n == 0 ? 1 : n < 4 ? n + 1 : (uint32_t)(kvi_room((n + n / 4) * 64) / 64);
    return (n / unit + (n / unit + 3) / 4) * unit;
}

static uint32_t smaller(uint32_t n) {
    uint32_t unit = KVI_UNIT / sizeof(struct line), want = n / 4 * 3;
    return want > unit ? want / unit * unit : (uint32_t)(kvi_room(want * 64) / 64);
}

static bool resize(struct kvi_index *x, uint32_t segment, uint32_t n) {
    uint8_t *fill = calloc(n, 1);
    uint32_t ref = fill != NULL ? kvi_alloc(x, n * sizeof(struct line), x->max_bytes) : 0;
    if (ref == 0) {
        free(fill);
        return false;
    }
    struct line *to = kvi_at(x, ref), *from = lines_of(x, segment);
    memset(to, 0, n * sizeof(*to));
    for (uint32_t i = 0; i < x->names[segment].n_lines; i++)
        for (uint32_t m = ~with_place(&from[i], 0) & 255; m != 0; m &= m - 1) {
            uint32_t k = (uint32_t)__builtin_ctz(m);
            put(to, fill, n, from[i].tag[k] & ~1u, from[i].place[k]);
        }
    free(fill);
    if (x->names[segment].n_lines > 0)
        kvi_release(x, x->names[segment].ref, x->names[segment].n_lines * sizeof(*from));
    x->names[segment].ref = ref;
    x->names[segment].n_lines = n;
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

static bool is_here(const struct kvi_index *x, const struct line *l, uint32_t slots,
                    uint64_t name) {
    for (; slots != 0; slots &= slots - 1) {
        uint32_t place = l->place[__builtin_ctz(slots)];
        if (place != 0 && name_at(x, place) == name)
            return true;
    }
    return false;
}

static bool add(struct kvi_index *x, uint64_t h, uint64_t name, uint32_t place, bool *ret_equal) {
    uint32_t s = kvi_segment(h), tag = tag_of(h);
    if ((uint64_t)(x->names[s].n_used + 1) * 16 > (uint64_t)x->names[s].n_lines * SLOTS * 12 &&
        !resize(x, s, larger(x->names[s].n_lines)) &&
        x->names[s].n_used + 1 >= x->names[s].n_lines * SLOTS)
        return false; /* over 12/16 is slow, full is impossible */
    struct line *lines = lines_of(x, s);
    uint32_t n = x->names[s].n_lines, at = kvi_scale(tag, n), passed, looked = 0;
    bool stands = false;
    do {
        struct line *l = &lines[at];
        uint32_t slots = with_tag(l, tag, &passed);
        if (slots != 0 && is_here(x, l, slots, name))
            *ret_equal = true;
        uint32_t room = stands ? 0 : with_place(l, 0);
        if (room != 0) {
            set_slot(l, (uint32_t)__builtin_ctz(room), tag, place);
            stands = true;
        } else if (!stands) {
            count_passing(l, 1);
        }
        at = next_line(at, n);
    } while (!stands || (passed != 0 && ++looked < n));
    x->names[s].n_used++;
    return true;
}

static void delete (struct kvi_index *x, uint64_t h, uint32_t place) {
    uint32_t s = kvi_segment(h), n = x->names[s].n_lines, at = kvi_scale(tag_of(h), n), slots;
    struct line *lines = lines_of(x, s);
    for (; (slots = with_place(&lines[at], place)) == 0; at = next_line(at, n))
        count_passing(&lines[at], -1);
    set_slot(&lines[at], (uint32_t)__builtin_ctz(slots), 0, 0);
    x->names[s].n_used--;
    if (n > 4 && (uint64_t)x->names[s].n_used * 5 < (uint64_t)n * SLOTS * 2 && smaller(n) < n)
        (void)resize(x, s, smaller(n)); /* without memory it stays large */
}

bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal) {
    return add(x, kvi_mix(name), name, place, ret_equal);
}

void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place) {
    delete (x, kvi_mix(name), place);
}

/* ---- many names --------------------------------------------------------------------------- */

/* First all home lines are fetched, then the lines behind those that are or were full; so the
 * misses of one event overlap instead of adding up. */
static void fetch_homes(const struct kvi_index *x, const uint64_t *names, uint32_t n,
                        uint64_t *ret_hashes) {
    const struct line *home[KVI_NODE_BLOCKS];
    for (uint32_t i = 0; i < n; i++) {
        uint64_t h = ret_hashes[i] = kvi_mix(names[i]);
        uint32_t s = kvi_segment(h), lines = x->names[s].n_lines;
        home[i] = lines > 0 ? lines_of(x, s) + kvi_scale(tag_of(h), lines) : NULL;
        if (home[i] != NULL)
            __builtin_prefetch(home[i], 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t passed = 0;
        if (home[i] != NULL && ((void)with_tag(home[i], 0, &passed), passed) == 0)
            passed = with_place(home[i], 0) == 0;
        if (passed != 0)
            __builtin_prefetch(home[i] + 1, 1);
    }
}

uint32_t kvi_names_add_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place,
                            bool *ret_equal) {
    uint64_t h[KVI_NODE_BLOCKS];
    uint32_t done = 0;
    if (n == 1)
        return kvi_names_add(x, names[0], place, ret_equal);
    fetch_homes(x, names, n, h);
    while (done < n && add(x, h[done], names[done], place + done, ret_equal))
        done++;
    return done;
}

void kvi_names_delete_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place) {
    uint64_t h[KVI_NODE_BLOCKS];
    fetch_homes(x, names, n, h);
    for (uint32_t i = 0; i < n; i++)
        delete (x, h[i], place + i);
}

/* ---- look-up ------------------------------------------------------------------------------ */

uint32_t kvi_names_each(struct kvi_index *x, uint64_t name, bool (*fn)(void *arg, uint32_t place),
                        void *arg) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h), tag = tag_of(h), n = x->names[s].n_lines, passed = 1;
    const struct line *lines = lines_of(x, s);
    for (uint32_t at = kvi_scale(tag, n), i = 0; i < n && passed != 0; at = next_line(at, n), i++)
        for (uint32_t m = with_tag(&lines[at], tag, &passed); m != 0; m &= m - 1) {
            uint32_t place = lines[at].place[__builtin_ctz(m)];
            if (place != 0 && name_at(x, place) == name && fn(arg, place))
                return place;
        }
    return 0;
}

uint32_t kvi_names_find(struct kvi_index *x, struct kvi_holder holder, uint64_t name) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h), tag = tag_of(h), n = x->names[s].n_lines, passed = 1;
    const struct line *lines = lines_of(x, s);
    for (uint32_t at = kvi_scale(tag, n), i = 0; i < n && passed != 0; at = next_line(at, n), i++)
        for (uint32_t m = with_tag(&lines[at], tag, &passed); m != 0; m &= m - 1) {
            uint32_t place = lines[at].place[__builtin_ctz(m)];
            if (place != 0 && kvi_maps(x, holder, place, name))
                return place;
        }
    return 0;
}
