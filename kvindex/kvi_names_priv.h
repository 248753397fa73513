/* What both files of the name table need: kvi_names.c adds, deletes and finds names (its head tells
 * how the table is made), kvi_names_size.c makes its parts larger and smaller. */
#ifndef KVI_NAMES_PRIV_H
#define KVI_NAMES_PRIV_H

#include "kvindex/kvi_priv.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    SLOTS = 10,
    ALL = (1 << SLOTS) - 1,
    WINDOW = 8,    /* splits that a tag lasts for */
    UNIT_SIZE = 6, /* size number of a part of one unit */
    DEEP = 3,      /* splits that made a part of a large table: 2 million names and more */
    DEEP_LIMIT = 46,
    PASSED = 1 << 2 * SLOTS, /* a name that passed, in `info` */
    MANY = 15 * PASSED,      /* it is not counted down again */
    FILTER_AT = 24
};
/* info: a bit a slot whose name has its home in the line before, and one a slot whose name has it
 * two lines before (SLOTS bits each; both bits: farther away); four bits: how many names passed
 * over the line; eight: of each of those bit (tag & 7). */
struct kvi_line {
    uint16_t tag[SLOTS];
    uint32_t info;
    uint32_t place[SLOTS];
};
_Static_assert(sizeof(struct kvi_line) == 64, "one cache line");

/* Bits of the slots with this tag. */
static inline uint32_t with_tag(const struct kvi_line *l, uint32_t tag) {
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)l;
    __m128i w = _mm_set1_epi16((short)tag);
    __m128i both = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(v), w),
                                   _mm_cmpeq_epi16(_mm_load_si128(v + 1), w));
    return (uint32_t)_mm_movemask_epi8(both) & ALL;
#else
    uint32_t bits = 0;
    for (int i = 0; i < SLOTS; i++)
        bits |= (uint32_t)(l->tag[i] == tag) << i;
    return bits;
#endif
}

/* Whether a name of this tag may have passed. */
static inline bool is_passed(const struct kvi_line *l, uint32_t tag) {
    return (l->info >> FILTER_AT >> (tag & 7) & 1) != 0;
}

static inline void pass(struct kvi_line *l, uint32_t tag) {
    l->info += (l->info & MANY) != MANY ? PASSED : 0;
    l->info |= 1u << FILTER_AT << (tag & 7);
}

static inline void pass_back(struct kvi_line *l) {
    l->info -= (l->info & MANY) != MANY ? PASSED : 0;
    if ((l->info & MANY) == 0)
        l->info &= PASSED - 1;
}

/* Bits of the slots whose names have their home in another line. */
static inline uint32_t strangers_of(const struct kvi_line *l) {
    return (l->info | l->info >> SLOTS) & ALL;
}

/* What says in `info` that the name of slot k has come so many lines from its home. */
static inline uint32_t stranger_bits(uint32_t k, uint32_t lines) {
    uint32_t one = 1u << k, two = one << SLOTS;
    return lines == 0 ? 0 : lines == 1 ? one : lines == 2 ? two : one | two;
}

static inline uint32_t first_of(uint32_t slots) {
    return (uint32_t)__builtin_ctz(slots);
}

/* ---- parts -------------------------------------------------------------------------------- */

/* Names that a part takes before it grows. In a large table, whose lines are mostly not in a cache,
 * a name that does not find room in its home line costs more than the memory that spares it. */
static inline uint32_t limit_of(uint32_t lines, uint32_t depth) {
    return lines * SLOTS * (depth < DEEP ? 49 : DEEP_LIMIT) / 64;
}

static inline uint32_t used_of(const struct kvi_part *p) {
    return limit_of(p->lines, p->depth) - (uint32_t)p->room;
}

/* Memory at ref 0 is never given and zero: an empty part, and its line. */
static inline struct kvi_part *dir_of(const struct kvi_index *x, const struct kvi_names *s) {
    return kvi_at(x, s->dir);
}

static inline uint32_t entry_of(const struct kvi_names *s, uint64_t h) {
    return (uint32_t)((h << KVI_NAME_BITS) >> 1 >> (63 - s->bits));
}
static inline uint32_t tag_of(uint64_t h, uint32_t depth) {
    uint32_t tag = (uint16_t)(h >> (48 - KVI_NAME_BITS - (depth & ~(WINDOW - 1u))));
    return tag + (tag == 0);
}

static inline uint32_t home_of(uint64_t h, uint32_t lines) {
    return kvi_scale((uint32_t)h, lines);
}

/* Where a name belongs; valid until a part of the segment is rewritten. */
struct target {
    struct kvi_line *home;
    struct kvi_part *entry; /* one of its part's entries in the directory */
    uint32_t tag;
};

static inline uint32_t segment_of(uint64_t h) {
    return (uint32_t)(h >> (64 - KVI_NAME_BITS));
}

static inline struct target target_of(const struct kvi_index *x, uint64_t h) {
    const struct kvi_names *s = &x->names[segment_of(h)];
    struct kvi_part *p = dir_of(x, s) + entry_of(s, h);
    struct kvi_line *lines = kvi_at(x, p->ref);
    return (struct target){lines + home_of(h, p->lines), p, tag_of(h, p->depth)};
}

/* The part's first entry, which counts its names. */
static inline struct kvi_part *part_of(struct target t) {
    return t.entry - t.entry->back;
}

/* ---- what stands at a place ----------------------------------------------------------------- */

static inline const uint64_t *name_at(const struct kvi_index *x, uint32_t place) {
    const struct kvi_node *n = &x->nodes[place >> 7];
    const uint64_t *names =
        (n->flags & KVI_TYPE) == KVI_ALIAS ? kvi_alias_names(x, n) : kvi_name_array(x, kvi_body(n));
    return names + (place & 127);
}

/* ---- kvi_names_size.c ----------------------------------------------------------------------- */

/* Room for one name of hash h, so that every part stays under its limit. False: no memory.
 * *ret_moved: lines of the segment are others than before. */
bool kvi_names_grow(struct kvi_index *x, uint64_t h, bool *ret_moved);
/* Once the part of h is light: gives memory back, or joins it with its other half. */
void kvi_names_shrink(struct kvi_index *x, uint64_t h);

#endif
