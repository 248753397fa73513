/*
 * Parts of the name table change their size: a full one splits or takes the next size, a light one
 * is joined with its other half. Every step moves one part, whose size bounds the stop.
 */
#include "kvindex/kvi_names_priv.h"

enum {
    MAX_DEPTH = 16,
    WHOLE_SIZE = 8, /* size number of a part that splits when it is full */
    READ_AHEAD = 64,
    SOME_LINES = 64
};

/* Units of a part that splits when it is full. */
static uint32_t whole_units(uint32_t segment) {
    return 8 + segment % 8;
}

/* Powers of two up to a unit, four units, a whole part, twice as much beyond. */
static uint32_t lines_of(uint32_t size, uint32_t segment) {
    const uint32_t per_unit = KVI_UNIT / sizeof(struct kvi_line);
    return size < UNIT_SIZE    ? 1u << size
           : size == UNIT_SIZE ? per_unit
           : size < WHOLE_SIZE ? 4 * per_unit
                               : whole_units(segment) * per_unit << (size - WHOLE_SIZE);
}

static size_t bytes_of(uint32_t lines) {
    return lines * sizeof(struct kvi_line);
}

/* ---- reading names again --------------------------------------------------------------------- */

/* Lines of a part being filled. */
struct filling {
    struct kvi_line *lines;
    uint32_t n, depth;
};

static void put_at(const struct filling *f, uint32_t home, uint32_t tag, uint32_t place) {
    uint32_t at = home, passed = 0, room;
    for (; (room = with_tag(&f->lines[at], 0)) == 0; at = at + 1 == f->n ? 0 : at + 1, passed++)
        pass(&f->lines[at], tag);
    struct kvi_line *l = &f->lines[at];
    uint32_t k = first_of(room);
    l->tag[k] = (uint16_t)tag;
    l->place[k] = place;
    l->info |= stranger_bits(k, passed);
}

static void put(const struct filling *f, uint64_t h, uint32_t place) {
    put_at(f, home_of(h, f->n), tag_of(h, f->depth), place);
}

/* Names to be read again, some at a time: the misses of their nodes overlap, then their own. */
struct again {
    const struct kvi_index *x;
    struct filling to[2]; /* the bit of the hash below `depth` chooses; they may be one */
    uint32_t depth, n, places[READ_AHEAD + SLOTS];
};

static void read_held(struct again *a) {
    const uint64_t *at[READ_AHEAD + SLOTS];
    for (uint32_t k = 0; k < a->n; k++) {
        at[k] = name_at(a->x, a->places[k]);
        __builtin_prefetch(at[k], 0, 2);
    }
    for (uint32_t k = 0; k < a->n; k++) {
        uint64_t h = kvi_name_hash(*at[k]);
        put(&a->to[h >> (63 - KVI_NAME_BITS - a->depth) & 1], h, a->places[k]);
    }
    a->n = 0;
}

static inline void read_again(struct again *a, const struct kvi_line *l, uint32_t slots) {
    for (; slots != 0; slots &= slots - 1) {
        uint32_t place = l->place[first_of(slots)];
        __builtin_prefetch(&a->x->nodes[place >> 7]);
        a->places[a->n++] = place;
    }
    if (a->n >= READ_AHEAD)
        read_held(a);
}

/* Puts all names where they belong by reading them again. */
static void put_again(const struct kvi_index *x, const struct kvi_line *from, uint32_t n,
                      const struct filling to[2], uint32_t depth) {
    struct again a = {.x = x, .to = {to[0], to[1]}, .depth = depth};
    for (uint32_t i = 0; i < n; i++)
        read_again(&a, &from[i], ~with_tag(&from[i], 0) & ALL);
    read_held(&a);
}

/* ---- the steps ------------------------------------------------------------------------------- */

static uint32_t new_lines(struct kvi_index *x, uint32_t lines, struct kvi_line **ret) {
    uint32_t ref = kvi_alloc(x, bytes_of(lines), x->max_bytes);
    *ret = ref != 0 ? kvi_at(x, ref) : NULL;
    return ref;
}

static void set_used(struct kvi_part *p, uint32_t used) {
    p->room = (int32_t)(limit_of(p->lines, p->depth) - used);
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
    uint32_t lines = lines_of(size, segment), used = used_of(&p);
    struct kvi_line *to;
    uint32_t ref = new_lines(x, lines, &to);
    if (ref == 0)
        return false;
    memset(to, 0, bytes_of(lines));
    struct filling f = {to, lines, p.depth};
    put_again(x, kvi_at(x, p.ref), p.lines, (struct filling[2]){f, f}, 0);
    kvi_release(x, p.ref, bytes_of(p.lines));
    p.ref = ref;
    p.lines = lines;
    p.size = (uint8_t)size;
    set_used(&p, used);
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
    struct kvi_part p = {.ref = ref, .lines = 1};
    set_used(&p, 0);
    *(struct kvi_part *)kvi_at(x, dir) = p;
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

/* The segment with parts for so many names at once, none of which is to be split soon. */
static bool begin_wide(struct kvi_index *x, uint32_t segment, uint64_t names) {
    uint32_t bits = 0, size = UNIT_SIZE;
    while (size < WHOLE_SIZE && limit_of(lines_of(size, segment), 0) < names)
        size++;
    uint32_t lines = lines_of(size, segment);
    /* Chance lays more names into one part than into another. */
    while (bits < MAX_DEPTH && ((uint64_t)limit_of(lines, bits) << bits) / 16 * 15 < names)
        bits++;
    size_t bytes = sizeof(struct kvi_part) << bits;
    uint32_t dir = kvi_alloc(x, bytes, x->soft_bytes);
    if (dir == 0)
        return false;
    struct kvi_part *parts = kvi_at(x, dir);
    for (uint32_t i = 0; i < 1u << bits; i++) {
        size_t top = x->arena.units_top; /* what was never used is zero */
        struct kvi_line *to;
        uint32_t ref = new_lines(x, lines, &to);
        if (ref == 0) {
            while (i-- > 0)
                kvi_release(x, parts[i].ref, bytes_of(lines));
            kvi_release(x, dir, bytes);
            return false;
        }
        if ((size_t)ref * 16 < top * KVI_UNIT)
            memset(to, 0, bytes_of(lines));
        parts[i] = (struct kvi_part){
            .ref = ref, .lines = lines, .depth = (uint8_t)bits, .size = (uint8_t)size};
        set_used(&parts[i], 0);
    }
    x->names[segment] = (struct kvi_names){.dir = dir, .bits = bits, .n_deepest = 1u << bits};
    return true;
}

void kvi_names_expect(struct kvi_index *x, uint32_t segment, uint64_t names) {
    uint64_t own = names / KVI_NAME_SEGMENTS;
    if (x->names[segment].dir == 0 && own > limit_of(lines_of(UNIT_SIZE, segment), 0))
        (void)begin_wide(x, segment, own); /* without memory it grows as it can */
}

/* Taken slots of a part that splits, whose lines a count of 16 bits holds. */
static uint32_t count_taken(const struct kvi_line *l, uint32_t n) {
    uint32_t free = 0;
#ifdef __SSE2__
    __m128i lanes = _mm_setzero_si128(), lanes8 = lanes, none = lanes;
    for (uint32_t i = 0; i < n; i++) {
        const __m128i *v = (const __m128i *)(const void *)&l[i];
        lanes = _mm_sub_epi16(lanes, _mm_cmpeq_epi16(_mm_load_si128(v), none));
        lanes8 = _mm_sub_epi16(lanes8, _mm_cmpeq_epi16(_mm_load_si128(v + 1), none));
    }
    uint16_t of_slot[16];
    _mm_storeu_si128((__m128i *)(void *)of_slot, lanes);
    _mm_storeu_si128((__m128i *)(void *)(of_slot + 8), lanes8);
    for (uint32_t k = 0; k < SLOTS; k++)
        free += of_slot[k];
#else
    for (uint32_t i = 0; i < n; i++)
        free += (uint32_t)__builtin_popcount(with_tag(&l[i], 0));
#endif
    return n * SLOTS - free;
}

/* The slots of one line into those of two others by a bit of their tags; strangers stay out. */
static inline void halve_line(const struct kvi_line *from, uint32_t bit, struct kvi_line *low,
                              struct kvi_line *high) {
    uint32_t strangers = strangers_of(from);
    *low = *high = *from;
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)from;
    const __m128i slots = _mm_set_epi16(128, 64, 32, 16, 8, 4, 2, 1);
    __m128i strange = _mm_set1_epi16((short)strangers);
    __m128i strange8 = _mm_set1_epi16((short)(strangers >> 8));
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
        uint16_t tag = strangers >> k & 1 ? 0 : from->tag[k];
        uint16_t up = (uint16_t)(0 - (tag >> bit & 1));
        low->tag[k] = (uint16_t)(tag & ~up);
        high->tag[k] = tag & up;
    }
    low->info = high->info = 0;
#endif
}

static inline uint32_t before(uint32_t line, uint32_t n) {
    return line > 0 ? line - 1 : n - 1;
}

/* Slots of a line whose names have this home, by the same bit of their tags. */
static inline void put_near(const struct filling to[2], uint32_t bit, uint32_t home,
                            const struct kvi_line *l, uint32_t slots) {
    for (; slots != 0; slots &= slots - 1) {
        uint32_t s = first_of(slots), tag = l->tag[s];
        put_at(&to[tag >> bit & 1], home, tag, l->place[s]);
    }
}

/* The strangers of a part that splits; names from more than two lines before are read again. */
static void put_strangers(const struct kvi_index *x, const struct kvi_line *from, uint32_t n,
                          uint32_t bit, const struct filling to[2], uint32_t depth) {
    struct again a = {.x = x, .to = {to[0], to[1]}, .depth = depth};
    for (uint32_t first = 0; first < n; first += SOME_LINES) {
        uint32_t end = n - first < SOME_LINES ? n : first + SOME_LINES, k = 0, at[SOME_LINES];
        for (uint32_t i = first; i < end; i++) { /* which lines have some is chance */
            at[k] = i;
            k += (from[i].info & (PASSED - 1)) != 0;
        }
        for (uint32_t j = 0; j < k; j++) {
            const struct kvi_line *l = &from[at[j]];
            uint32_t one = l->info & ALL, two = l->info >> SLOTS & ALL, home = before(at[j], n);
            put_near(to, bit, home, l, one & ~two);
            if (two == 0)
                continue;
            put_near(to, bit, before(home, n), l, two & ~one);
            read_again(&a, l, one & two);
        }
    }
    read_held(&a);
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
        put_again(x, from, lines, f, p.depth);
    } else {
        uint32_t bit = 15 - p.depth % WINDOW;
        for (uint32_t i = 0; i < lines; i++)
            halve_line(&from[i], bit, &to[0][i], &to[1][i]);
        put_strangers(x, from, lines, bit, f, p.depth);
    }
    kvi_release(x, p.ref, bytes_of(lines));
    uint32_t used = used_of(&p), low = count_taken(to[0], lines);
    p.depth++;
    for (uint32_t i = 0; i < 2; i++) {
        p.ref = ref[i];
        set_used(&p, i == 0 ? low : used - low);
        set_entries(x, s, part + (i << (s->bits - p.depth)), p);
    }
    s->n_deepest += p.depth == s->bits ? 2 : 0;
    x->n_rewritten++;
    *ret_useless = low == 0 || low == used;
    return true;
}

/* Two halves become one. */
static bool merge(struct kvi_index *x, uint32_t segment, uint32_t low, uint32_t high) {
    struct kvi_names *s = &x->names[segment];
    struct kvi_part p = dir_of(x, s)[low], q = dir_of(x, s)[high];
    uint32_t lines = p.lines, used = used_of(&p) + used_of(&q);
    struct kvi_line *to;
    uint32_t ref = new_lines(x, lines, &to);
    if (ref == 0)
        return false;
    memset(to, 0, bytes_of(lines));
    struct filling f = {to, lines, p.depth - 1u};
    put_again(x, kvi_at(x, p.ref), lines, (struct filling[2]){f, f}, 0);
    put_again(x, kvi_at(x, q.ref), lines, (struct filling[2]){f, f}, 0);
    kvi_release(x, p.ref, bytes_of(lines));
    kvi_release(x, q.ref, bytes_of(lines));
    s->n_deepest -= p.depth == s->bits ? 2 : 0;
    p.ref = ref;
    p.depth--;
    set_used(&p, used);
    set_entries(x, s, low, p);
    x->n_rewritten++;
    while (s->bits > 0 && s->n_deepest == 0 && narrow(x, s))
        ;
    return true;
}

/* ---- growing and shrinking ------------------------------------------------------------------- */

bool kvi_names_grow(struct kvi_index *x, uint64_t h, bool *ret_moved) {
    uint32_t segment = segment_of(h);
    uint32_t dir = x->names[segment].dir;
    bool useless = false, ok = true;
    while (ok) {
        const struct kvi_part *p = part_of(target_of(x, h));
        uint32_t part = (uint32_t)(p - dir_of(x, &x->names[segment]));
        if (p->room > 0)
            return true;
        ok = p->lines == 0 ? begin(x, segment)
             : p->size >= WHOLE_SIZE && p->depth < MAX_DEPTH && !useless
                 ? split(x, segment, part, &useless)
                 : resize(x, segment, part, p->size + 1u);
        /* A split that finds no memory for lines may have made the directory anew before. */
        *ret_moved |= ok || x->names[segment].dir != dir;
    }
    const struct kvi_part *p = part_of(target_of(x, h));
    return used_of(p) + 1 < p->lines * SLOTS; /* over the limit is slow, full impossible */
}

/* Lines are given back when what remains would be at most half full. So between a rewriting and the
 * next one in either direction as many as half of the names must go or come, and an index that
 * stays as large as it is, with names coming and going, rewrites nothing. A segment of a unit keeps
 * it (256 KiB an index): with few names, chance alone moves their number as far as that. */
void kvi_names_shrink(struct kvi_index *x, uint64_t h) {
    uint32_t segment = segment_of(h);
    struct kvi_names *s = &x->names[segment];
    const struct kvi_part *dir = dir_of(x, s), *p = part_of(target_of(x, h));
    uint32_t part = (uint32_t)(p - dir);
    if (p->depth == 0 || p->size > WHOLE_SIZE) {
        if (p->size > UNIT_SIZE &&
            used_of(p) * 2 <= limit_of(lines_of(p->size - 1u, segment), p->depth))
            (void)resize(x, segment, part, p->size - 1u); /* without memory it stays large */
        return;
    }
    uint32_t other = part ^ 1u << (s->bits - p->depth);
    const struct kvi_part *q = &dir[other];
    if (q->depth == p->depth && q->size == p->size &&
        (used_of(p) + used_of(q)) * 2 <= limit_of(p->lines, p->depth))
        (void)merge(x, segment, part < other ? part : other, part < other ? other : part);
}
