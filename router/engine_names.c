/*
 * The hash table consists of cache lines. A slot is a tag of 9 bits (never 0) and the name's
 * place, or 0. A name is in its home line or, when that was full, in one of the next; each
 * line counts the names that passed it so, hence a search ends at the first line that none has
 * passed, and a name that leaves takes its share of the counts along: nothing is ever moved, and no
 * trace of it stays. Equal tags are told apart by the names themselves.
 */
#include "router/engine_names.h"

#include "base/mem.h"

#include <string.h>
#include <sys/mman.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    LINE = 64,
    SLOTS = 15,
    FULL = 10, /* names a line, on average: then there are twice as many lines */
    ROOM_MIN = 64,
    PLACE_BITS = 23,
    HUGE_PAGE = 2 << 20
};
#define PLACE_MASK ((1u << PLACE_BITS) - 1)
#define UNSURE UINT32_MAX /* no place */

struct weir_engine_line {
    uint32_t slots[SLOTS];
    uint32_t passed; /* names whose home is here or before, and who are behind it */
};

_Static_assert(sizeof(struct weir_engine_line) == LINE, "one look at memory");
_Static_assert(sizeof(struct weir_engine_name) == 32, "two a cache line, none in two");
_Static_assert(WEIR_ENGINE_NAMES_MAX + 1 <= PLACE_MASK, "a place fits its slot");

void weir_engine_names_init(struct weir_engine_names *t, size_t max) {
    *t = (struct weir_engine_names){.max =
                                        max < WEIR_ENGINE_NAMES_MAX ? max : WEIR_ENGINE_NAMES_MAX};
}

void weir_engine_names_fini(struct weir_engine_names *t) {
    weir_free(t->names);
    weir_free(t->block);
    *t = (struct weir_engine_names){.max = t->max};
}

/* ---- lines -------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t hash) {
    return (hash ^ hash >> 32) * 0x9E3779B97F4A7C15u;
}

static size_t home(const struct weir_engine_names *t, uint64_t mix) {
    return (size_t)(mix >> 32) & (t->n_lines - 1);
}

static uint32_t tag_of(uint64_t mix) {
    uint32_t tag = (uint32_t)(mix >> 32) & ~PLACE_MASK; /* bits that no home takes */
    return tag != 0 ? tag : 1u << PLACE_BITS;
}

#ifdef __SSE2__
static inline __m128i four_equal(const uint32_t *slots, __m128i mask, __m128i value) {
    __m128i four = _mm_load_si128((const __m128i *)(const void *)slots);
    return _mm_cmpeq_epi32(_mm_and_si128(four, mask), value);
}
#endif

/* Bits of the slots whose bits under the mask are these. */
static inline uint32_t equal_slots(const struct weir_engine_line *line, uint32_t mask,
                                   uint32_t value) {
#ifdef __SSE2__
    const __m128i m = _mm_set1_epi32((int)mask), v = _mm_set1_epi32((int)value);
    const uint32_t *s = (const uint32_t *)(const void *)line; /* the 16th is `passed` */
    __m128i low = _mm_packs_epi32(four_equal(s, m, v), four_equal(s + 4, m, v));
    __m128i high = _mm_packs_epi32(four_equal(s + 8, m, v), four_equal(s + 12, m, v));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) & ((1u << SLOTS) - 1);
#else
    uint32_t bits = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        bits |= (uint32_t)((line->slots[i] & mask) == value) << i;
    return bits;
#endif
}

/* Into the first line with room from its home on. */
static void put(struct weir_engine_names *t, uint64_t hash, uint32_t place) {
    uint64_t mix = mixed(hash);
    for (size_t i = home(t, mix);; i = (i + 1) & (t->n_lines - 1)) {
        struct weir_engine_line *line = &t->lines[i];
        uint32_t spare = equal_slots(line, UINT32_MAX, 0);
        if (spare != 0) {
            line->slots[__builtin_ctz(spare)] = tag_of(mix) | place;
            return;
        }
        line->passed++;
    }
}

/* ---- growth ------------------------------------------------------------------------------- */

/* Twice the lines, or the first; in huge pages where the system has some. */
static bool grow_lines(struct weir_engine_names *t) {
    struct weir_engine_names more = *t;
    more.n_lines = t->n_lines > 0 ? t->n_lines * 2 : ROOM_MIN / 8;
    size_t bytes = more.n_lines * LINE, align = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
    more.block = weir_malloc(bytes + align);
    if (more.block == NULL)
        return false;
    char *base = more.block;
    base += -(uintptr_t)base & (align - 1);
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        (void)madvise(base, bytes, MADV_HUGEPAGE); /* only a wish */
#endif
    more.lines = memset(base, 0, bytes);
    for (size_t i = 0; i < t->top; i++)
        if (t->names[i].used)
            put(&more, t->names[i].hash, (uint32_t)i + 1);
    weir_free(t->block);
    *t = more;
    return true;
}

static bool grow_room(struct weir_engine_names *t) {
    size_t room = t->room > 0 ? t->room * 2 : ROOM_MIN;
    struct weir_engine_name *names = weir_realloc(t->names, room * sizeof(*names));
    if (names == NULL)
        return false;
    t->names = names;
    t->room = room;
    return true;
}

/* ---- names -------------------------------------------------------------------------------- */

/* The name's place, or 0. */
static uint32_t place_of(const struct weir_engine_names *t, uint64_t hash) {
    uint64_t mix = mixed(hash);
    uint32_t tag = tag_of(mix);
    for (size_t i = home(t, mix);; i = (i + 1) & (t->n_lines - 1)) {
        const struct weir_engine_line *line = &t->lines[i];
        for (uint32_t like = equal_slots(line, ~PLACE_MASK, tag); like != 0; like &= like - 1) {
            uint32_t place = line->slots[__builtin_ctz(like)] & PLACE_MASK;
            if (t->names[place - 1].hash == hash)
                return place;
        }
        if (line->passed == 0)
            return 0;
    }
}

struct weir_engine_name *weir_engine_names_find(const struct weir_engine_names *t, uint64_t hash) {
    uint32_t place = t->len > 0 ? place_of(t, hash) : 0;
    return place > 0 ? &t->names[place - 1] : NULL;
}

/* Lines into the second-level cache, which takes more of them at one time than the first; then the
 * facts that they lead to. Short loops, so that the processor, too, looks many names ahead. */
void weir_engine_names_look(const struct weir_engine_names *t, const uint64_t *hashes, size_t n,
                            uint32_t ret_places[WEIR_ENGINE_NAMES_AT_ONCE]) {
    for (size_t i = 0; i < n; i++)
        ret_places[i] = 0;
    if (t->len == 0)
        return;
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(&t->lines[home(t, mixed(hashes[i]))], 1, 2);
    for (size_t i = 0; i < n; i++) {
        uint64_t mix = mixed(hashes[i]);
        const struct weir_engine_line *line = &t->lines[home(t, mix)];
        uint32_t like = equal_slots(line, ~PLACE_MASK, tag_of(mix));
        if (like != 0) {
            ret_places[i] = line->slots[__builtin_ctz(like)] & PLACE_MASK;
            __builtin_prefetch(&t->names[ret_places[i] - 1], 1, 2);
        } else if (line->passed > 0) {
            ret_places[i] = UNSURE;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (ret_places[i] == UNSURE ||
            (ret_places[i] > 0 && t->names[ret_places[i] - 1].hash != hashes[i]))
            ret_places[i] = place_of(t, hashes[i]);
}

/* Where a name left last, so that names that come together lie together. */
static uint32_t take_place(struct weir_engine_names *t) {
    uint32_t place = t->spare;
    if (place == 0)
        return (uint32_t)++t->top;
    t->spare = (uint32_t)t->names[place - 1].hash;
    return place;
}

struct weir_engine_name *weir_engine_names_add(struct weir_engine_names *t, uint64_t hash) {
    if (t->len >= t->max || (t->len >= t->n_lines * FULL && !grow_lines(t)) ||
        (t->spare == 0 && t->top == t->room && !grow_room(t)))
        return NULL;
    uint32_t place = take_place(t);
    put(t, hash, place);
    t->len++;
    t->names[place - 1] = (struct weir_engine_name){.hash = hash, .used = true};
    return &t->names[place - 1];
}

void weir_engine_names_remove(struct weir_engine_names *t, struct weir_engine_name *name) {
    uint32_t place = (uint32_t)(name - t->names) + 1;
    uint64_t mix = mixed(name->hash);
    for (size_t i = home(t, mix);; i = (i + 1) & (t->n_lines - 1)) {
        struct weir_engine_line *line = &t->lines[i];
        uint32_t here = equal_slots(line, UINT32_MAX, tag_of(mix) | place);
        if (here != 0) {
            line->slots[__builtin_ctz(here)] = 0;
            break;
        }
        line->passed--;
    }
    *name = (struct weir_engine_name){.hash = t->spare};
    t->spare = place;
    t->len--;
}
