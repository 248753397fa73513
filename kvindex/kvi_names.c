/*
 * Engine's block name -> places that have it. For writers only: searches know content, not names.
 *
 * 64 segments by hash, each a directory of parts (extendible hashing); a part is an array of lines
 * (64 bytes): ten slots of a tag and a place, no keys: the name that stands at the place decides. A
 * full part splits in two: line i becomes line i of both halves, and a bit of the tag says which
 * slot goes where, so nothing but the part itself is looked at and the longest stop is some
 * microseconds, however many names there are. Segments have parts of eight sizes, so that they do
 * not all split at the same time and their fill is much the same at every number of names.
 *
 * A hash is: segment (6 bits), directory (up to 16 bits), and in the lower half the line. The tag
 * is 16 bits that begin at most 8 bits above the directory bits still unused: they last for 8
 * splits; then the names are read again.
 *
 * A name whose home line is full stands in the next line with room. Every line counts the names
 * that passed over it, keeps three bits of each one's tag in a filter, and marks the slots of names
 * that came from another line; a search goes on behind a line whose filter has the tag. So a name
 * costs one line nearly always, to add, to find or to delete.
 *
 * Invariants: a name with home h in line j is counted and in the filter of lines h .. j-1 (around
 * the end of the part); a count of 255 stays. A free slot has tag 0, a taken one never. The same
 * name may stand at many places; each (name, place) once. All directory entries of a part are equal
 * but for `used`, which only the first of them keeps.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    SLOTS = 10,
    ALL = (1 << SLOTS) - 1,
    MAX_DEPTH = 16,
    WINDOW = 8,      /* splits that a tag lasts for */
    UNIT_SIZE = 6,   /* size number of a part of one unit */
    WHOLE_SIZE = 10, /* size number of a part that splits when it is full */
    READ_AHEAD = 16,
    MANY = 255
};
struct kvi_line {
    uint16_t tag[SLOTS];
    uint16_t strangers; /* slots whose names have their home in another line */
    uint8_t passed;     /* names that passed over it; MANY: it is not counted down again */
    uint8_t filter;     /* bit (tag & 7) of each of them */
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
    return (l->filter >> (tag & 7) & 1) != 0;
}

static inline void pass(struct kvi_line *l, uint32_t tag) {
    l->passed += l->passed < MANY;
    l->filter |= (uint8_t)(1u << (tag & 7));
}

static inline void pass_back(struct kvi_line *l) {
    l->passed -= l->passed < MANY;
    if (l->passed == 0)
        l->filter = 0;
}

static inline uint32_t first_of(uint32_t slots) {
    return (uint32_t)__builtin_ctz(slots);
}

/* ---- parts -------------------------------------------------------------------------------- */

/* Units of a part that splits when it is full. */
static inline uint32_t whole_units(uint32_t segment) {
    return 8 + segment % 8;
}
/* Powers of two up to a unit, two, four and six units, a whole part, twice as much beyond. */
static uint32_t lines_of(uint32_t size, uint32_t segment) {
    const uint32_t per_unit = KVI_UNIT / sizeof(struct kvi_line);
    return size < UNIT_SIZE    ? 1u << size
           : size == UNIT_SIZE ? per_unit
           : size < WHOLE_SIZE ? (size - UNIT_SIZE) * 2 * per_unit
                               : whole_units(segment) * per_unit << (size - WHOLE_SIZE);
}

static size_t bytes_of(uint32_t lines) {
    return lines * sizeof(struct kvi_line);
}

/* Names that a part takes before it grows. */
static inline uint32_t limit_of(uint32_t lines) {
    return lines * SLOTS * 49 / 64;
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

/* The next line of the part; its lines come before it round the end. */
static struct kvi_line *next_line(const struct kvi_index *x, struct target t, struct kvi_line *l) {
    struct kvi_line *lines = kvi_at(x, t.entry->ref);
    return l + 1 == lines + t.entry->lines ? lines : l + 1;
}

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name) {
    __builtin_prefetch(target_of(x, kvi_name_hash(name)).home, 1);
}

/* ---- what stands at a place ----------------------------------------------------------------- */

static const uint64_t *name_at(const struct kvi_index *x, uint32_t place) {
    const struct kvi_node *n = &x->nodes[place >> 7];
    const uint64_t *names =
        (n->flags & KVI_TYPE) == KVI_ALIAS ? kvi_alias_names(x, n) : kvi_name_array(x, kvi_body(n));
    return names + (place & 127);
}

static bool is_here(const struct kvi_index *x, const struct kvi_line *l, uint32_t slots,
                    uint64_t name) {
    for (; slots != 0; slots &= slots - 1)
        if (*name_at(x, l->place[first_of(slots)]) == name)
            return true;
    return false;
}

/* ---- size --------------------------------------------------------------------------------- */

/* Lines of a part being filled. */
struct filling {
    struct kvi_line *lines;
    uint32_t n, depth;
};

static void put(const struct filling *f, uint64_t h, uint32_t place) {
    uint32_t home = home_of(h, f->n), at = home, tag = tag_of(h, f->depth), room;
    for (; (room = with_tag(&f->lines[at], 0)) == 0; at = at + 1 == f->n ? 0 : at + 1)
        pass(&f->lines[at], tag);
    struct kvi_line *l = &f->lines[at];
    uint32_t k = first_of(room);
    l->tag[k] = (uint16_t)tag;
    l->place[k] = place;
    l->strangers |= (uint16_t)((at != home) << k);
}

/* Puts names where they belong by reading them again: those of the slots that `which` picks. With
 * two fillings the bit of the hash below `depth` chooses. */
static void put_again(const struct kvi_index *x, const struct kvi_line *from, uint32_t n,
                      bool only_strangers, const struct filling to[2], uint32_t depth) {
    uint32_t places[READ_AHEAD + SLOTS], held = 0;
    const uint64_t *at[READ_AHEAD + SLOTS];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t taken = ~with_tag(&from[i], 0) & ALL;
        for (taken &= only_strangers ? from[i].strangers : ALL; taken != 0; taken &= taken - 1) {
            uint32_t place = from[i].place[first_of(taken)];
            __builtin_prefetch(&x->nodes[place >> 7]);
            places[held++] = place;
        }
        if (held < READ_AHEAD && i + 1 < n)
            continue;
        for (uint32_t k = 0; k < held; k++) {
            at[k] = name_at(x, places[k]);
            __builtin_prefetch(at[k]);
        }
        for (uint32_t k = 0; k < held; k++) {
            uint64_t h = kvi_name_hash(*at[k]);
            put(&to[h >> (63 - KVI_NAME_BITS - depth) & 1], h, places[k]);
        }
        held = 0;
    }
}

static uint32_t new_lines(struct kvi_index *x, uint32_t lines, struct kvi_line **ret) {
    uint32_t ref = kvi_alloc(x, bytes_of(lines), x->max_bytes);
    *ret = ref != 0 ? kvi_at(x, ref) : NULL;
    return ref;
}

/* All entries of a part. */
static void set_entries(const struct kvi_index *x, struct kvi_names *s, uint32_t first,
                        struct kvi_part p) {
    for (uint32_t i = 0; i < 1u << (s->bits - p.depth); i++) {
        p.back = (uint16_t)i;
        dir_of(x, s)[first + i] = p;
    }
}

/* The same names in lines of another size. */
static bool resize(struct kvi_index *x, uint32_t segment, uint32_t part, uint32_t size) {
    struct kvi_names *s = &x->names[segment];
    struct kvi_part p = dir_of(x, s)[part];
    uint32_t lines = lines_of(size, segment);
    struct kvi_line *to;
    uint32_t ref = new_lines(x, lines, &to);
    if (ref == 0)
        return false;
    memset(to, 0, bytes_of(lines));
    struct filling f = {to, lines, p.depth};
    put_again(x, kvi_at(x, p.ref), p.lines, false, (struct filling[2]){f, f}, 0);
    kvi_release(x, p.ref, bytes_of(p.lines));
    p.ref = ref;
    p.lines = lines;
    p.size = (uint8_t)size;
    set_entries(x, s, part, p);
    x->n_rewritten++;
    return true;
}

/* The first part of a segment. */
static bool begin(struct kvi_index *x, uint32_t segment) {
    struct kvi_line *to;
    uint32_t dir = kvi_alloc(x, sizeof(struct kvi_part), x->max_bytes);
    uint32_t ref = dir != 0 ? new_lines(x, 1, &to) : 0;
    if (ref == 0) {
        if (dir != 0)
            kvi_release(x, dir, sizeof(struct kvi_part));
        return false;
    }
    memset(to, 0, sizeof(*to));
    *(struct kvi_part *)kvi_at(x, dir) = (struct kvi_part){.ref = ref, .lines = 1};
    x->names[segment] = (struct kvi_names){.dir = dir, .n_deepest = 1};
    return true;
}

/* Twice as many entries. */
static bool widen(struct kvi_index *x, struct kvi_names *s) {
    uint32_t n = 1u << s->bits;
    size_t bytes = n * sizeof(struct kvi_part);
    uint32_t ref = kvi_alloc(x, bytes * 2, x->max_bytes);
    if (ref == 0)
        return false;
    struct kvi_part *to = kvi_at(x, ref), *from = dir_of(x, s);
    for (uint32_t i = 0; i < n; i++) {
        to[2 * i] = to[2 * i + 1] = from[i];
        to[2 * i].back = (uint16_t)(from[i].back * 2);
        to[2 * i + 1].back = (uint16_t)(from[i].back * 2 + 1);
    }
    kvi_release(x, s->dir, bytes);
    s->dir = ref;
    s->bits++;
    s->n_deepest = 0;
    return true;
}

/* Half as many entries, when no part needs more. */
static bool narrow(struct kvi_index *x, struct kvi_names *s) {
    size_t bytes = sizeof(struct kvi_part) << s->bits;
    struct kvi_part *from = dir_of(x, s);
    uint32_t n = 1u << (s->bits - 1), ref = kvi_alloc(x, bytes / 2, x->max_bytes);
    if (ref == 0)
        return false; /* it may stay */
    struct kvi_part *to = kvi_at(x, ref);
    for (uint32_t i = 0; i < n; i++) {
        to[i] = from[2 * i];
        to[i].back = from[2 * i].back / 2;
    }
    kvi_release(x, s->dir, bytes);
    s->dir = ref;
    s->bits--;
    for (uint32_t i = 0; i < n; i++)
        s->n_deepest += to[i].depth == s->bits;
    return true;
}

static uint32_t count_taken(const struct kvi_line *l, uint32_t n) {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < n; i++)
        taken += (uint32_t)__builtin_popcount(~with_tag(&l[i], 0) & ALL);
    return taken;
}

/* The slots of one line into those of two others by a bit of their tags; strangers stay out. */
static inline void halve_line(const struct kvi_line *from, uint32_t bit, struct kvi_line *low,
                              struct kvi_line *high) {
    *low = *high = *from;
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)from;
    const __m128i slots = _mm_set_epi16(128, 64, 32, 16, 8, 4, 2, 1);
    __m128i strange = _mm_set1_epi16((short)from->strangers);
    __m128i strange8 = _mm_set1_epi16((short)(from->strangers >> 8));
    __m128i a = _mm_and_si128(_mm_load_si128(v),
                              _mm_cmpeq_epi16(_mm_and_si128(strange, slots), _mm_setzero_si128()));
    __m128i b = _mm_and_si128(_mm_load_si128(v + 1),
                              _mm_cmpeq_epi16(_mm_and_si128(strange8, slots), _mm_setzero_si128()));
    b = _mm_and_si128(b, _mm_set_epi32(0, 0, 0, -1)); /* the last two tags */
    __m128i left = _mm_cvtsi32_si128((int)(15 - bit));
    __m128i up = _mm_srai_epi16(_mm_sll_epi16(a, left), 15);
    __m128i up8 = _mm_srai_epi16(_mm_sll_epi16(b, left), 15);
    _mm_store_si128((__m128i *)(void *)low, _mm_andnot_si128(up, a));
    _mm_store_si128((__m128i *)(void *)high, _mm_and_si128(up, a));
    _mm_storel_epi64((__m128i *)(void *)&low->tag[8], _mm_andnot_si128(up8, b));
    _mm_storel_epi64((__m128i *)(void *)&high->tag[8], _mm_and_si128(up8, b));
#else
    for (uint32_t k = 0; k < SLOTS; k++) {
        uint16_t tag = from->strangers >> k & 1 ? 0 : from->tag[k];
        uint16_t up = (uint16_t)(0 - (tag >> bit & 1));
        low->tag[k] = (uint16_t)(tag & ~up);
        high->tag[k] = tag & up;
    }
    low->strangers = high->strangers = 0;
    low->passed = high->passed = low->filter = high->filter = 0;
#endif
}

/* One part becomes two. *ret_useless: all names stay together, which another split would not
 * change either if they are equal. */
static bool split(struct kvi_index *x, uint32_t segment, uint32_t part, bool *ret_useless) {
    struct kvi_names *s = &x->names[segment];
    struct kvi_part p = dir_of(x, s)[part];
    uint32_t lines = p.lines, ref[2];
    struct kvi_line *to[2], *from = kvi_at(x, p.ref);
    if (p.depth == s->bits) {
        if (!widen(x, s))
            return false;
        part *= 2;
    }
    ref[0] = new_lines(x, lines, &to[0]);
    ref[1] = ref[0] != 0 ? new_lines(x, lines, &to[1]) : 0;
    if (ref[1] == 0) {
        if (ref[0] != 0)
            kvi_release(x, ref[0], bytes_of(lines));
        return false;
    }
    struct filling f[2] = {{to[0], lines, p.depth + 1u}, {to[1], lines, p.depth + 1u}};
    bool fresh_tags = (p.depth + 1) % WINDOW == 0;
    if (fresh_tags) {
        memset(to[0], 0, bytes_of(lines));
        memset(to[1], 0, bytes_of(lines));
    } else {
        for (uint32_t i = 0; i < lines; i++)
            halve_line(&from[i], 15 - p.depth % WINDOW, &to[0][i], &to[1][i]);
    }
    put_again(x, from, lines, !fresh_tags, f, p.depth);
    kvi_release(x, p.ref, bytes_of(lines));
    uint32_t used = p.used, low = count_taken(to[0], lines);
    p.depth++;
    for (uint32_t i = 0; i < 2; i++) {
        p.ref = ref[i];
        p.used = i == 0 ? low : used - low;
        set_entries(x, s, part + (i << (s->bits - p.depth)), p);
    }
    s->n_deepest += p.depth == s->bits ? 2 : 0;
    x->n_rewritten++;
    *ret_useless = low == 0 || low == used;
    return true;
}

/* Room for one more name of this hash; false: none. *ret_moved: lines of the segment are others. */
static bool grow(struct kvi_index *x, uint64_t h, bool *ret_moved) {
    uint32_t segment = segment_of(h);
    bool useless = false, ok = true;
    while (ok) {
        const struct kvi_part *p = part_of(target_of(x, h));
        uint32_t part = (uint32_t)(p - dir_of(x, &x->names[segment]));
        if (p->used < limit_of(p->lines))
            return true;
        ok = p->lines == 0 ? begin(x, segment)
             : p->size >= WHOLE_SIZE && p->depth < MAX_DEPTH && !useless
                 ? split(x, segment, part, &useless)
                 : resize(x, segment, part, p->size + 1u);
        *ret_moved |= ok;
    }
    const struct kvi_part *p = part_of(target_of(x, h));
    return p->used + 1 < p->lines * SLOTS; /* over the limit is slow, full impossible */
}

/* Two halves become one. */
static bool merge(struct kvi_index *x, uint32_t segment, uint32_t low, uint32_t high) {
    struct kvi_names *s = &x->names[segment];
    struct kvi_part p = dir_of(x, s)[low], q = dir_of(x, s)[high];
    uint32_t lines = p.lines;
    struct kvi_line *to;
    uint32_t ref = new_lines(x, lines, &to);
    if (ref == 0)
        return false;
    memset(to, 0, bytes_of(lines));
    struct filling f = {to, lines, p.depth - 1u};
    put_again(x, kvi_at(x, p.ref), lines, false, (struct filling[2]){f, f}, 0);
    put_again(x, kvi_at(x, q.ref), lines, false, (struct filling[2]){f, f}, 0);
    kvi_release(x, p.ref, bytes_of(lines));
    kvi_release(x, q.ref, bytes_of(lines));
    s->n_deepest -= p.depth == s->bits ? 2 : 0;
    p.ref = ref;
    p.used += q.used;
    p.depth--;
    set_entries(x, s, low, p);
    x->n_rewritten++;
    while (s->bits > 0 && s->n_deepest == 0 && narrow(x, s))
        ;
    return true;
}

/* Lines are given back when what remains would be at most half full. So between a rewriting and the
 * next one in either direction as many as half of the names must go or come, and an index that
 * stays as large as it is, with names coming and going, rewrites nothing. A segment of a unit keeps
 * it (1 MiB an index): with few names, chance alone moves their number as far as that. */
static void shrink(struct kvi_index *x, uint64_t h) {
    uint32_t segment = segment_of(h);
    struct kvi_names *s = &x->names[segment];
    const struct kvi_part *dir = dir_of(x, s), *p = part_of(target_of(x, h));
    uint32_t part = (uint32_t)(p - dir);
    if (p->depth == 0 || p->size > WHOLE_SIZE) {
        if (p->size > UNIT_SIZE && p->used * 2 <= limit_of(lines_of(p->size - 1u, segment)))
            (void)resize(x, segment, part, p->size - 1u); /* without memory it stays large */
        return;
    }
    uint32_t other = part ^ 1u << (s->bits - p->depth);
    const struct kvi_part *q = &dir[other];
    if (q->depth == p->depth && q->size == p->size && (p->used + q->used) * 2 <= limit_of(p->lines))
        (void)merge(x, segment, part < other ? part : other, part < other ? other : part);
}

/* Worth a look: of two halves that may become one, one is so light at least. */
static inline bool is_light(const struct kvi_part *p) {
    return p->used * 4 <= limit_of(p->lines) && p->size > UNIT_SIZE;
}

/* ---- adding and deleting --------------------------------------------------------------------- */

/* The same name may stand further on, where it once had to go. */
static bool is_behind(const struct kvi_index *x, struct target t, struct kvi_line *l,
                      uint64_t name) {
    const struct kvi_line *start = l;
    while (is_passed(l, t.tag) && (l = next_line(x, t, l)) != start)
        if (is_here(x, l, with_tag(l, t.tag), name))
            return true;
    return false;
}

/* Into a line that is full, has the tag already, or was passed by the like. */
static __attribute__((noinline)) void add_far(struct kvi_index *x, struct target t, uint64_t name,
                                              uint32_t place, bool *ret_equal) {
    struct kvi_line *l = t.home;
    uint32_t room;
    while ((room = with_tag(l, 0)) == 0) {
        *ret_equal |= is_here(x, l, with_tag(l, t.tag), name);
        pass(l, t.tag);
        l = next_line(x, t, l);
    }
    *ret_equal |= is_here(x, l, with_tag(l, t.tag), name);
    uint32_t k = first_of(room);
    l->tag[k] = (uint16_t)t.tag;
    l->place[k] = place;
    if (l != t.home)
        l->strangers |= (uint16_t)(1u << k);
    *ret_equal |= is_behind(x, t, l, name);
}

/* Into a line with room that cannot have the name; false: it is not such a line. */
static inline bool add_here(struct target t, uint32_t place) {
    struct kvi_line *l = t.home;
    uint32_t room = with_tag(l, 0);
    if (room == 0 || with_tag(l, t.tag) != 0 || is_passed(l, t.tag))
        return false;
    l->tag[first_of(room)] = (uint16_t)t.tag;
    l->place[first_of(room)] = place;
    return true;
}

static inline bool is_full(const struct kvi_part *p) {
    return p->used >= limit_of(p->lines);
}

static uint32_t slot_of(const struct kvi_line *l, uint32_t tag, uint32_t place) {
    for (uint32_t m = with_tag(l, tag); m != 0; m &= m - 1)
        if (l->place[first_of(m)] == place)
            return first_of(m);
    return SLOTS;
}

static inline void clear_slot(struct kvi_line *l, uint32_t k) {
    l->tag[k] = 0;
    l->strangers &= (uint16_t) ~(1u << k);
}

static void delete_far(const struct kvi_index *x, struct target t, uint32_t place) {
    struct kvi_line *l = t.home;
    uint32_t k;
    while ((k = slot_of(l, t.tag, place)) == SLOTS) {
        pass_back(l);
        l = next_line(x, t, l);
    }
    clear_slot(l, k);
}

bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal) {
    uint64_t h = kvi_name_hash(name);
    struct target t = target_of(x, h);
    bool moved = false;
    if (is_full(part_of(t))) {
        if (!grow(x, h, &moved))
            return false;
        t = target_of(x, h);
    }
    part_of(t)->used++;
    if (!add_here(t, place))
        add_far(x, t, name, place, ret_equal);
    return true;
}

void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place) {
    uint64_t h = kvi_name_hash(name);
    struct target t = target_of(x, h);
    delete_far(x, t, place);
    part_of(t)->used--;
    if (is_light(part_of(t)))
        shrink(x, h);
}

/* ---- many names ------------------------------------------------------------------------------ */

/* The misses of one event overlap: home lines are fetched AHEAD names before they are looked at,
 * and names that need another line wait for it until all others are done. */
enum { AHEAD = 24 };

struct many {
    struct kvi_index *x;
    const uint64_t *names;
    uint32_t n, place, fetched, n_far;
    struct target t[KVI_NODE_BLOCKS];
    uint8_t far[KVI_NODE_BLOCKS];
};

static inline void fetch(struct many *m, uint32_t until) {
    for (; m->fetched < m->n && m->fetched < until; m->fetched++) {
        struct target t = target_of(m->x, kvi_name_hash(m->names[m->fetched]));
        __builtin_prefetch(t.home, 1);
        m->t[m->fetched] = t;
    }
}

static inline void put_off(struct many *m, uint32_t i) {
    __builtin_prefetch(next_line(m->x, m->t[i], m->t[i].home), 1);
    m->far[m->n_far++] = (uint8_t)i;
}

static void add_rest(struct many *m, bool *ret_equal) {
    for (uint32_t k = 0; k < m->n_far; k++) {
        uint32_t i = m->far[k];
        add_far(m->x, m->t[i], m->names[i], m->place + i, ret_equal);
    }
    m->n_far = 0;
}

/* Room for name i. Counts and lines agree while a part is rewritten: nothing is put off then. */
static bool make_room(struct many *m, uint32_t i, bool *ret_equal) {
    bool moved = false;
    add_rest(m, ret_equal);
    bool ok = grow(m->x, kvi_name_hash(m->names[i]), &moved);
    for (uint32_t k = i; moved && k < m->fetched; k++)
        m->t[k] = target_of(m->x, kvi_name_hash(m->names[k]));
    return ok;
}

uint32_t kvi_names_add_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place,
                            bool *ret_equal) {
    struct many m;
    uint32_t i = 0;
    if (n == 1)
        return kvi_names_add(x, names[0], place, ret_equal);
    m.x = x, m.names = names, m.n = n, m.place = place, m.fetched = m.n_far = 0;
    for (; i < n; i++) {
        fetch(&m, i + AHEAD);
        if (is_full(part_of(m.t[i])) && !make_room(&m, i, ret_equal))
            break;
        part_of(m.t[i])->used++;
        if (!add_here(m.t[i], place + i))
            put_off(&m, i);
    }
    add_rest(&m, ret_equal);
    return i;
}

void kvi_names_delete_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place) {
    struct many m;
    uint32_t n_light = 0;
    uint8_t light[KVI_NODE_BLOCKS];
    if (n == 1) {
        kvi_names_delete(x, names[0], place);
        return;
    }
    m.x = x, m.names = names, m.n = n, m.place = place, m.fetched = m.n_far = 0;
    for (uint32_t i = 0; i < n; i++) {
        fetch(&m, i + AHEAD);
        struct target t = m.t[i];
        uint32_t k = slot_of(t.home, t.tag, place + i);
        struct kvi_part *p = part_of(t);
        p->used--;
        if (is_light(p))
            light[n_light++] = (uint8_t)i;
        if (k != SLOTS)
            clear_slot(t.home, k);
        else
            put_off(&m, i);
    }
    for (uint32_t k = 0; k < m.n_far; k++)
        delete_far(x, m.t[m.far[k]], place + m.far[k]);
    for (uint32_t i = 0; i < n_light; i++) /* parts may become others here */
        shrink(x, kvi_name_hash(names[light[i]]));
}

/* ---- look-up ------------------------------------------------------------------------------ */

uint32_t kvi_names_each(struct kvi_index *x, uint64_t name, bool (*fn)(void *arg, uint32_t place),
                        void *arg) {
    struct target t = target_of(x, kvi_name_hash(name));
    struct kvi_line *l = t.home;
    do {
        for (uint32_t m = with_tag(l, t.tag); m != 0; m &= m - 1) {
            uint32_t place = l->place[first_of(m)];
            if (*name_at(x, place) == name && fn(arg, place))
                return place;
        }
    } while (is_passed(l, t.tag) && (l = next_line(x, t, l)) != t.home);
    return 0;
}

uint32_t kvi_names_find(struct kvi_index *x, struct kvi_holder holder, uint64_t name) {
    struct target t = target_of(x, kvi_name_hash(name));
    struct kvi_line *l = t.home;
    do {
        for (uint32_t m = with_tag(l, t.tag); m != 0; m &= m - 1) {
            uint32_t place = l->place[first_of(m)];
            if (kvi_maps(x, holder, place, name))
                return place;
        }
    } while (is_passed(l, t.tag) && (l = next_line(x, t, l)) != t.home);
    return 0;
}
