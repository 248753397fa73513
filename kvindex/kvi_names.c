/*
 * Engine's block name -> places that have it. For writers only: searches know content, not names.
 *
 * 64 segments by hash, each a directory of parts (extendible hashing); a part is an array of lines
 * (64 bytes): ten slots of a tag and a place, no keys: the name that stands at the place decides. A
 * full part splits in two: line i becomes line i of both halves, and a bit of the tag says which
 * slot goes where, so nothing but the part itself is looked at and the longest stop is some
 * microseconds, however many names there are (kvi_names_size.c). Segments have parts of eight
 * sizes, so that they do not all split at the same time and their fill is much the same at every
 * number of names.
 *
 * A hash is: segment (6 bits), directory (up to 16 bits), and in the lower half the line. The tag
 * is 16 bits that begin at most 8 bits above the directory bits still unused: they last for 8
 * splits; then the names are read again.
 *
 * A name whose home line is full stands in the next line with room. Every line counts the names
 * that passed over it, keeps three bits of each one's tag in a filter, and marks the slots of names
 * that came from another line (whether from the one before or the one before that, as nearly
 * always: then a split need not read them); a search goes on behind a line whose filter has the
 * tag. So a name costs one line nearly always, to add, to find or to delete.
 *
 * Invariants: a name with home h in line j is counted and in the filter of lines h .. j-1 (around
 * the end of the part); a count of 15 stays. A free slot has tag 0, a taken one never. The same
 * name may stand at many places; each (name, place) once. All directory entries of a part are equal
 * but for `back`, and for `room`, which only the first of them keeps.
 */
#include "kvindex/kvi_names_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define WIDE __attribute__((target("avx2,bmi,bmi2")))
#define WIDE512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2")))
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Of names that go together: after every so many one part is looked at whether it is light. */
enum { LIGHT_EVERY = 8 };

/* Slots that are free, and those that have a tag: `bits` bits a slot. */
struct slots {
    uint32_t free, equal;
};
struct look {
    struct slots (*at)(const struct kvi_line *l, uint32_t tag);
    uint32_t bits;
};

static ALWAYS_INLINE struct slots look_plain(const struct kvi_line *l, uint32_t tag) {
    return (struct slots){with_tag(l, 0), with_tag(l, tag)};
}
static const struct look plain = {look_plain, 1};

#ifdef WIDE
WIDE static ALWAYS_INLINE struct slots look_wide(const struct kvi_line *l, uint32_t tag) {
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)l);
    __m256i free = _mm256_cmpeq_epi16(v, _mm256_setzero_si256());
    __m256i equal = _mm256_cmpeq_epi16(v, _mm256_set1_epi16((short)tag));
    uint32_t all = (1u << 2 * SLOTS) - 1;
    return (struct slots){(uint32_t)_mm256_movemask_epi8(free) & all,
                          (uint32_t)_mm256_movemask_epi8(equal) & all};
}
static const struct look wide = {look_wide, 2};
#endif

/* The next line of the part; behind the last one stands the first. */
static inline struct kvi_line *next_line(const struct kvi_index *x, struct target t,
                                         struct kvi_line *l) {
    struct kvi_line *lines = kvi_at(x, t.entry->ref);
    return l + 1 == lines + t.entry->lines ? lines : l + 1;
}

static inline bool is_here(const struct kvi_index *x, const struct kvi_line *l, uint32_t slots,
                           uint64_t name) {
    for (; slots != 0; slots &= slots - 1)
        if (*name_at(x, l->place[first_of(slots)]) == name)
            return true;
    return false;
}

/* Into the second-level cache, which takes more lines at one time than the first. */
static inline void fetch_line(const struct kvi_line *l) {
    __builtin_prefetch(l, 0, 2);
}

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name) {
    fetch_line(target_of(x, kvi_name_hash(name)).home);
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

/* One step of a name that has come to line l; false: the line is full, it goes on behind it. */
static inline bool add_step(struct kvi_index *x, struct target t, struct kvi_line *l, uint64_t name,
                            uint32_t place, bool *ret_equal) {
    uint32_t room = with_tag(l, 0), equal = with_tag(l, t.tag);
    if (equal != 0)
        *ret_equal |= is_here(x, l, equal, name);
    if (room == 0) {
        pass(l, t.tag);
        return false;
    }
    uint32_t k = first_of(room);
    l->tag[k] = (uint16_t)t.tag;
    l->place[k] = place;
    if (l != t.home) {
        struct kvi_line *next = next_line(x, t, t.home);
        l->info |= stranger_bits(k, l == next ? 1 : l == next_line(x, t, next) ? 2 : 3);
    }
    if (is_passed(l, t.tag))
        *ret_equal |= is_behind(x, t, l, name);
    return true;
}

/* Into a line that is full, has the tag already, or was passed by the like. */
static __attribute__((noinline)) void add_far(struct kvi_index *x, struct target t, uint64_t name,
                                              uint32_t place, bool *ret_equal) {
    struct kvi_line *l = t.home;
    while (!add_step(x, t, l, name, place, ret_equal))
        l = next_line(x, t, l);
}

/* Into a line with room that cannot have the name; else what it found: it is not such a line. */
enum added { ADDED, IS_FULL, IS_ODD };
static ALWAYS_INLINE enum added add_here(struct kvi_line *l, uint32_t tag, uint32_t place,
                                         struct look look) {
    struct slots s = look.at(l, tag);
    if (s.free == 0 || s.equal != 0 || is_passed(l, tag))
        return (s.free | s.equal) == 0 ? IS_FULL : IS_ODD;
    uint32_t k = first_of(s.free) / look.bits;
    l->tag[k] = (uint16_t)tag;
    l->place[k] = place;
    return ADDED;
}

/* Worth a look: of two halves that may become one, one is so light at least. */
static inline bool is_light(const struct kvi_part *p) {
    return p->size > UNIT_SIZE && used_of(p) * 4 <= limit_of(p->lines, p->depth);
}

static inline bool is_full(const struct kvi_part *p) {
    return p->room <= 0;
}

static ALWAYS_INLINE uint32_t slot_of(const struct kvi_line *l, uint32_t tag, uint32_t place,
                                      struct look look) {
    for (uint32_t m = look.at(l, tag).equal; m != 0; m &= m - 1)
        if (l->place[first_of(m) / look.bits] == place)
            return first_of(m) / look.bits;
    return SLOTS;
}

static inline void clear_slot(struct kvi_line *l, uint32_t k) {
    l->tag[k] = 0;
    l->info &= ~stranger_bits(k, 3);
}

/* False: it does not stand in this line but behind it. */
static inline bool delete_step(struct kvi_line *l, uint32_t tag, uint32_t place) {
    uint32_t k = slot_of(l, tag, place, plain);
    if (k == SLOTS)
        pass_back(l);
    else
        clear_slot(l, k);
    return k != SLOTS;
}

bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal) {
    uint64_t h = kvi_name_hash(name);
    struct target t = target_of(x, h);
    bool moved = false;
    if (is_full(part_of(t))) {
        if (!kvi_names_grow(x, h, &moved))
            return false;
        t = target_of(x, h);
    }
    part_of(t)->room--;
    if (add_here(t.home, t.tag, place, plain) != ADDED)
        add_far(x, t, name, place, ret_equal);
    return true;
}

void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place) {
    uint64_t h = kvi_name_hash(name);
    struct target t = target_of(x, h);
    for (struct kvi_line *l = t.home; !delete_step(l, t.tag, place);)
        l = next_line(x, t, l);
    part_of(t)->room++;
    if (is_light(part_of(t)))
        kvi_names_shrink(x, h);
}

/* ---- many names ------------------------------------------------------------------------------ */

/* The misses of one event overlap: all home lines are fetched before the first is looked at, and
 * names that need another line wait for it until all others are done. Of each name: its home (a
 * line, counted from the arena's base), its part (ref of the first entry), its tag. */
struct many {
    struct kvi_index *x;
    const uint64_t *names;
    uint32_t n, place, n_far;
    bool equal; /* a name that was added was there already */
    _Alignas(64) uint64_t hash[KVI_NODE_BLOCKS];
    uint32_t home[KVI_NODE_BLOCKS], part[KVI_NODE_BLOCKS];
    uint16_t tag[KVI_NODE_BLOCKS];
    uint8_t far[KVI_NODE_BLOCKS];
    struct kvi_line *at[KVI_NODE_BLOCKS]; /* of each that was put off: the line it goes on with */
};

enum { LINE_REFS = sizeof(struct kvi_line) / 16 };

static inline struct kvi_line *line_at(const struct many *m, uint32_t i) {
    return (struct kvi_line *)(void *)m->x->arena.base + m->home[i];
}

static inline struct kvi_part *part_at(const struct many *m, uint32_t i) {
    return kvi_at(m->x, m->part[i]);
}

static inline struct target target_at(const struct many *m, uint32_t i) {
    return (struct target){line_at(m, i), part_at(m, i), m->tag[i]};
}

static void find_targets(struct many *m, uint32_t from) {
    const uint8_t *base = m->x->arena.base;
    for (uint32_t i = from; i < m->n; i++) {
        struct target t = target_of(m->x, m->hash[i]);
        fetch_line(t.home);
        m->home[i] = (uint32_t)(t.home - (const struct kvi_line *)(const void *)base);
        m->part[i] = (uint32_t)((size_t)((const uint8_t *)part_of(t) - base) / 16);
        m->tag[i] = (uint16_t)t.tag;
    }
}

#ifdef WIDE
/* Two words of eight directory entries: low and high halves. */
WIDE512 static ALWAYS_INLINE void load_entries(const uint8_t *base, const uint64_t at[8],
                                               __m512i *ret_low, __m512i *ret_high) {
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    __m512i four[2];
    for (int k = 0; k < 2; k++) {
        const uint64_t *a = at + 4 * k;
        __m256i low = _mm256_castsi128_si256(*(const __m128i *)(const void *)(base + a[0]));
        __m256i high = _mm256_castsi128_si256(*(const __m128i *)(const void *)(base + a[2]));
        low = _mm256_inserti128_si256(low, *(const __m128i *)(const void *)(base + a[1]), 1);
        high = _mm256_inserti128_si256(high, *(const __m128i *)(const void *)(base + a[3]), 1);
        four[k] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    *ret_low = _mm512_permutex2var_epi64(four[0], even, four[1]);
    *ret_high = _mm512_permutex2var_epi64(four[0], odd, four[1]);
}

/* find_targets of eight names at a time; reads hashes up to the next multiple of eight. */
WIDE512 static void find_targets_512(struct many *m) {
    const struct kvi_index *x = m->x;
    const uint8_t *base = x->arena.base;
    _Alignas(64) uint64_t at[8];
    for (uint32_t i = 0; i < m->n; i += 8) {
        __m512i h = _mm512_load_si512(m->hash + i);
        __m512i s = _mm512_i64gather_epi64(_mm512_srli_epi64(h, 64 - KVI_NAME_BITS), x->names, 8);
        __m512i bits = _mm512_and_si512(_mm512_srli_epi64(s, 32), _mm512_set1_epi64(255));
        __m512i rest = _mm512_srli_epi64(_mm512_slli_epi64(h, KVI_NAME_BITS), 1);
        __m512i entry = _mm512_srlv_epi64(rest, _mm512_sub_epi64(_mm512_set1_epi64(63), bits));
        entry = _mm512_add_epi64(entry, _mm512_and_si512(s, _mm512_set1_epi64(UINT32_MAX)));
        _mm512_store_si512(at, _mm512_slli_epi64(entry, 4));
        __m512i low, high;
        load_entries(base, at, &low, &high);
        __m512i lines = _mm512_srli_epi64(low, 32);
        __m512i ref = _mm512_and_si512(low, _mm512_set1_epi64(UINT32_MAX));
        __m512i home = _mm512_srli_epi64(_mm512_mul_epu32(h, lines), 32);
        home = _mm512_add_epi64(home, _mm512_srli_epi64(ref, 2));
        _mm512_store_si512(at, _mm512_slli_epi64(home, 6));
        for (int k = 0; k < 8; k++)
            fetch_line((const struct kvi_line *)(const void *)(base + at[k]));
        __m512i back = _mm512_and_si512(_mm512_srli_epi64(high, 32), _mm512_set1_epi64(0xFFFF));
        __m512i window =
            _mm512_and_si512(_mm512_srli_epi64(high, 48), _mm512_set1_epi64(255 & ~(WINDOW - 1)));
        __m512i down = _mm512_sub_epi64(_mm512_set1_epi64(48 - KVI_NAME_BITS), window);
        __m128i tag = _mm512_cvtepi64_epi16(_mm512_srlv_epi64(h, down));
        tag = _mm_sub_epi16(tag, _mm_cmpeq_epi16(tag, _mm_setzero_si128()));
        _mm256_storeu_si256((__m256i *)(void *)(m->home + i), _mm512_cvtepi64_epi32(home));
        _mm256_storeu_si256((__m256i *)(void *)(m->part + i),
                            _mm512_cvtepi64_epi32(_mm512_sub_epi64(entry, back)));
        _mm_storeu_si128((__m128i *)(void *)(m->tag + i), tag);
    }
}
_Static_assert(LINE_REFS == 4 && sizeof(struct kvi_part) == 16, "as find_targets_512 has it");
#endif

static void begin_many(struct many *m, struct kvi_index *x, const uint64_t *names, uint32_t n,
                       uint32_t place) {
    m->x = x, m->names = names, m->n = n, m->place = place, m->n_far = 0, m->equal = false;
    x->kernels->hash_names(names, n, m->hash);
#ifdef WIDE
    if (x->kernels->wide == 512 && n >= 8) {
        for (uint32_t i = n; i % 8 != 0; i++)
            m->hash[i] = m->hash[0];
        find_targets_512(m);
        return;
    }
#endif
    find_targets(m, 0);
}

/* Name i does not go into its home as simply as that; the line behind it is fetched. `is_behind`:
 * the home is done with. */
static inline void put_off(struct many *m, uint32_t i, bool is_behind) {
    struct target t = target_at(m, i);
    struct kvi_line *next = next_line(m->x, t, t.home);
    fetch_line(next);
    m->at[m->n_far] = is_behind ? next : t.home;
    m->far[m->n_far++] = (uint8_t)i;
}

static ALWAYS_INLINE bool step(struct many *m, uint32_t i, struct target t, struct kvi_line *l,
                               bool add) {
    return add ? add_step(m->x, t, l, m->names[i], m->place + i, &m->equal)
               : delete_step(l, t.tag, m->place + i);
}

/* What was put off goes on with a line that has been fetched, or with two; those that need more
 * wait for one line after the other until all others have taken their step. */
static ALWAYS_INLINE void take_steps(struct many *m, bool add) {
    while (m->n_far > 0) {
        uint32_t n = m->n_far;
        m->n_far = 0; /* what waits on stands before what is still to be read */
        for (uint32_t k = 0; k < n; k++) {
            uint32_t i = m->far[k];
            struct target t = target_at(m, i);
            struct kvi_line *l = m->at[k];
            if (step(m, i, t, l, add))
                continue;
            bool was_home = l == t.home;
            l = next_line(m->x, t, l);
            if (was_home) {
                if (step(m, i, t, l, add))
                    continue;
                l = next_line(m->x, t, l);
            }
            fetch_line(l);
            m->at[m->n_far] = l;
            m->far[m->n_far++] = (uint8_t)i;
        }
    }
}

static __attribute__((noinline)) void add_rest(struct many *m) {
    take_steps(m, true);
}

/* Room for name i. Counts and lines agree while a part is rewritten: nothing is put off then. */
static bool make_room(struct many *m, uint32_t i) {
    bool moved = false;
    add_rest(m);
    bool ok = kvi_names_grow(m->x, m->hash[i], &moved);
    if (moved)
        find_targets(m, i);
    return ok;
}

static ALWAYS_INLINE uint32_t add_many(struct many *m, struct look look) {
    uint32_t i = 0;
    for (; i < m->n; i++) {
        if (is_full(part_at(m, i)) && !make_room(m, i))
            break;
        part_at(m, i)->room--;
        struct kvi_line *home = line_at(m, i);
        enum added a = add_here(home, m->tag[i], m->place + i, look);
        if (a == ADDED)
            continue;
        if (a == IS_FULL)
            pass(home, m->tag[i]);
        put_off(m, i, a == IS_FULL);
    }
    add_rest(m);
    return i;
}

static ALWAYS_INLINE void delete_many(struct many *m, struct look look) {
    uint32_t n_light = 0;
    uint8_t light[KVI_NODE_BLOCKS];
    for (uint32_t i = 0; i < m->n; i++) {
        struct kvi_line *home = line_at(m, i);
        uint32_t k = slot_of(home, m->tag[i], m->place + i, look);
        struct kvi_part *p = part_at(m, i);
        p->room++;
        if (i % LIGHT_EVERY == 0 && is_light(p))
            light[n_light++] = (uint8_t)i;
        if (k != SLOTS) {
            home->tag[k] = 0; /* it is no stranger here */
            continue;
        }
        pass_back(home);
        put_off(m, i, true);
    }
    take_steps(m, false);
    for (uint32_t i = 0; i < n_light; i++) /* parts may become others here */
        kvi_names_shrink(m->x, m->hash[light[i]]);
}

static uint32_t add_many_plain(struct many *m) {
    return add_many(m, plain);
}

static void delete_many_plain(struct many *m) {
    delete_many(m, plain);
}

#ifdef WIDE
WIDE static uint32_t add_many_wide(struct many *m) {
    return add_many(m, wide);
}

WIDE static void delete_many_wide(struct many *m) {
    delete_many(m, wide);
}
#else
#define add_many_wide add_many_plain
#define delete_many_wide delete_many_plain
#endif

uint32_t kvi_names_add_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place,
                            bool *ret_equal) {
    struct many m;
    if (n == 1)
        return kvi_names_add(x, names[0], place, ret_equal);
    begin_many(&m, x, names, n, place);
    n = x->kernels->wide ? add_many_wide(&m) : add_many_plain(&m);
    *ret_equal |= m.equal;
    return n;
}

void kvi_names_delete_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place) {
    struct many m;
    if (n == 1) {
        kvi_names_delete(x, names[0], place);
        return;
    }
    begin_many(&m, x, names, n, place);
    if (x->kernels->wide)
        delete_many_wide(&m);
    else
        delete_many_plain(&m);
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
