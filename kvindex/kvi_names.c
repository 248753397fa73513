/*
 * Engine's block name -> places that have it. For writers only: searches know content, not names.
 *
 * 256 segments of lines; a line (64 bytes) has eight slots of a tag and a place, no keys: the name
 * that stands at the place decides. A hash is segment (8 bits), then a fraction (32 bits), which
 * chooses the line by multiplication and is the tag too. So a segment may have any number of lines,
 * grows by a quarter when it is 13/16 full, and is rewritten in order from its tags alone, without
 * looking at a single name: no long stop, no doubling of memory.
 *
 * Invariants: an entry whose home is line h stands in the first line at or behind h (around the
 * end) that had room, so all lines from h to the one before it are full. Deleting from a full line
 * therefore pulls back the next entry that has passed over it. A free slot has place 0 and tag 0.
 * The same name may stand at many places; each (name, place) once.
 */
#include "kvindex/kvi_priv.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { SLOTS = 8 };
struct line {
    uint32_t tag[SLOTS], place[SLOTS];
};
_Static_assert(sizeof(struct line) == 64, "one cache line");

static struct line *lines_of(const struct kvi_index *x, uint32_t segment) {
    return kvi_at(x, x->names[segment].ref);
}

/* Bits of the slots that equal the word. */
static uint32_t equal(const uint32_t *words, uint32_t word) {
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)words;
    __m128i w = _mm_set1_epi32((int)word);
    __m128i a = _mm_cmpeq_epi32(_mm_load_si128(v), w),
            b = _mm_cmpeq_epi32(_mm_load_si128(v + 1), w);
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(a)) |
           (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(b)) << 4;
#else
    uint32_t bits = 0;
    for (int i = 0; i < SLOTS; i++)
        bits |= (uint32_t)(words[i] == word) << i;
    return bits;
#endif
}

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h);
    if (x->names[s].n_lines > 0)
        __builtin_prefetch(lines_of(x, s) + kvi_scale(kvi_fraction(h), x->names[s].n_lines), 1);
}

static void put(struct line *lines, uint32_t n, uint32_t tag, uint32_t place) {
    uint32_t at = kvi_scale(tag, n), room;
    while ((room = equal(lines[at].place, 0)) == 0)
        at = at + 1 == n ? 0 : at + 1;
    uint32_t k = (uint32_t)__builtin_ctz(room);
    lines[at].tag[k] = tag;
    lines[at].place[k] = place;
}

/* Lines of the next size: a quarter more, in whole units once a unit is reached. */
static uint32_t larger(uint32_t n) {
    uint32_t unit = KVI_UNIT / sizeof(struct line);
    if (n < unit)
        return n == 0 ? 1 : n < 4 ? n + 1 : kvi_room((n + n / 4) * 64) / 64;
    return (n / unit + (n / unit + 3) / 4) * unit;
}

static bool resize(struct kvi_index *x, uint32_t segment, uint32_t n) {
    uint32_t ref = kvi_alloc(x, n * sizeof(struct line), x->max_bytes);
    if (ref == 0)
        return false;
    struct line *to = kvi_at(x, ref), *from = lines_of(x, segment);
    memset(to, 0, n * sizeof(*to));
    for (uint32_t i = 0; i < x->names[segment].n_lines; i++)
        for (int k = 0; k < SLOTS; k++)
            if (from[i].place[k] != 0)
                put(to, n, from[i].tag[k], from[i].place[k]);
    if (x->names[segment].n_lines > 0)
        kvi_release(x, x->names[segment].ref, x->names[segment].n_lines * sizeof(*from));
    x->names[segment].ref = ref;
    x->names[segment].n_lines = n;
    return true;
}

/* What stands at the place. */
static uint64_t name_at(const struct kvi_index *x, uint32_t place) {
    const struct kvi_node *n = &x->nodes[place >> 7];
    const uint64_t *names =
        (n->flags & KVI_TYPE) == KVI_ALIAS ? kvi_alias_names(x, n) : kvi_name_array(x, kvi_body(n));
    return names[place & 127];
}

bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h), tag = kvi_fraction(h);
    if ((uint64_t)(x->names[s].n_used + 1) * 16 > (uint64_t)x->names[s].n_lines * SLOTS * 13 &&
        !resize(x, s, larger(x->names[s].n_lines)) &&
        x->names[s].n_used + 1 >= x->names[s].n_lines * SLOTS)
        return false; /* over 13/16 is slow, full is impossible */
    struct line *lines = lines_of(x, s);
    uint32_t n = x->names[s].n_lines, at = kvi_scale(tag, n), room;
    for (;;) {
        for (uint32_t m = equal(lines[at].tag, tag); m != 0; m &= m - 1) {
            uint32_t other = lines[at].place[__builtin_ctz(m)];
            if (other != 0 && name_at(x, other) == name)
                *ret_equal = true;
        }
        if ((room = equal(lines[at].place, 0)) != 0)
            break;
        at = at + 1 == n ? 0 : at + 1;
    }
    uint32_t k = (uint32_t)__builtin_ctz(room);
    lines[at].tag[k] = tag;
    lines[at].place[k] = place;
    x->names[s].n_used++;
    return true;
}

/* The slot at (line, k) of a full line became free: the next entry that passed over it returns. */
static void pull_back(struct line *lines, uint32_t n, uint32_t hole, uint32_t k) {
    uint32_t distance = 0;
    for (uint32_t at = hole;;) {
        at = at + 1 == n ? 0 : at + 1;
        if (++distance == n)
            break;
        bool full = equal(lines[at].place, 0) == 0;
        for (uint32_t j = 0; j < SLOTS; j++) {
            if (lines[at].place[j] == 0)
                continue;
            uint32_t home = kvi_scale(lines[at].tag[j], n);
            uint32_t from_home = at >= home ? at - home : at + n - home;
            if (from_home < distance)
                continue; /* its home lies behind the hole */
            lines[hole].tag[k] = lines[at].tag[j];
            lines[hole].place[k] = lines[at].place[j];
            if (!full) {
                lines[at].tag[j] = lines[at].place[j] = 0;
                return;
            }
            hole = at;
            k = j;
            distance = 0;
            break;
        }
        if (!full)
            break;
    }
    lines[hole].tag[k] = lines[hole].place[k] = 0;
}

void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h), n = x->names[s].n_lines, at = kvi_scale(kvi_fraction(h), n), m;
    struct line *lines = lines_of(x, s);
    while ((m = equal(lines[at].place, place)) == 0)
        at = at + 1 == n ? 0 : at + 1;
    uint32_t k = (uint32_t)__builtin_ctz(m);
    x->names[s].n_used--;
    if (equal(lines[at].place, 0) != 0)
        lines[at].tag[k] = lines[at].place[k] = 0;
    else
        pull_back(lines, n, at, k);
    if (n > 4 && (uint64_t)x->names[s].n_used * 5 < (uint64_t)n * SLOTS * 2) {
        uint32_t unit = KVI_UNIT / sizeof(struct line), smaller = n / 4 * 3;
        smaller = smaller > unit ? smaller / unit * unit : kvi_room(smaller * 64) / 64;
        if (smaller < n)
            (void)resize(x, s, smaller); /* without memory it stays large */
    }
}

uint32_t kvi_names_each(struct kvi_index *x, uint64_t name, bool (*fn)(void *arg, uint32_t place),
                        void *arg) {
    uint64_t h = kvi_mix(name);
    uint32_t s = kvi_segment(h), tag = kvi_fraction(h), n = x->names[s].n_lines;
    const struct line *lines = lines_of(x, s);
    if (n == 0)
        return 0;
    for (uint32_t at = kvi_scale(tag, n), passed = 0; passed < n; passed++) {
        for (uint32_t m = equal(lines[at].tag, tag); m != 0; m &= m - 1) {
            uint32_t place = lines[at].place[__builtin_ctz(m)];
            if (place != 0 && name_at(x, place) == name && fn(arg, place))
                return place;
        }
        if (equal(lines[at].place, 0) != 0)
            break;
        at = at + 1 == n ? 0 : at + 1;
    }
    return 0;
}

uint32_t kvi_names_find(struct kvi_index *x, struct kvi_holder h, uint64_t name) {
    uint64_t hash = kvi_mix(name);
    uint32_t s = kvi_segment(hash), tag = kvi_fraction(hash), n = x->names[s].n_lines;
    const struct line *lines = lines_of(x, s);
    if (n == 0)
        return 0;
    for (uint32_t at = kvi_scale(tag, n), passed = 0; passed < n; passed++) {
        for (uint32_t m = equal(lines[at].tag, tag); m != 0; m &= m - 1) {
            uint32_t place = lines[at].place[__builtin_ctz(m)];
            if (place != 0 && kvi_maps(x, h, place, name))
                return place;
        }
        if (equal(lines[at].place, 0) != 0)
            break;
        at = at + 1 == n ? 0 : at + 1;
    }
    return 0;
}
