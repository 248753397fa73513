/*
 * Short units merged side by side. Nearly all the time of a merge goes into waiting for the table
 * of merges and into branches that nobody can foretell, so a few dozens of units are under way at
 * once (slots; one that is done makes room for the next unit), and a round takes each of them one
 * merge further. A merge leaves two questions, most of which a small filter answers with no. The
 * slots are two halves that take turns: one has its questions sifted while the other gets answers
 * and merges, so that filter and table have been asked for a whole turn before they are read.
 *
 * Symbols keep their places, 1 to n; `alive` has a bit for each that is left. A place's key is the
 * rank of its pair and the place itself, so that the least key is the next merge, the leftmost
 * among equals. Place 0 and the one behind the last symbol hold an id that nothing merges with, so
 * that every symbol has two neighbours.
 */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/encode_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef unsigned char u8;
#define INLINE static inline __attribute__((always_inline))
/* Keys from here on stand for no merge. */
#define NO_KEY (UINT32_MAX << 6)
#define NOBODY ((1u << 22) - 1) /* no id: WTOK_MAX_IDS */

INLINE uint32_t key_of(uint32_t rank, unsigned place) {
    return rank << 6 | place;
}

/* What a round reads of the model, out of reach of the stores in between. */
struct tables {
    const uint64_t *merges, *bloom;
    uint64_t merge_mask, bloom_mask;
    uint32_t rank_base;
    const uint32_t *rank_ids;
};

static struct tables tables_of(const struct wtok_model *m) {
    return (struct tables){.merges = m->merges,
                           .bloom = m->pair_bloom,
                           .merge_mask = m->merge_mask & ~(uint64_t)(WTOK_BUCKET - 1),
                           .bloom_mask = m->bloom_mask,
                           .rank_base = m->image->rank_base,
                           .rank_ids = m->rank_ids};
}

/* ---- beginning and end ----------------------------------------------------------------------- */

/* Byte models whose bytes all have ids: their first ranks stand in a table. */
INLINE void begin_bytes(const struct wtok_model *m, const u8 *p, uint32_t n, struct wtok_job *j) {
    const uint32_t *byte_ids = m->image->byte_ids, *byte_pairs = m->byte_pairs;
    uint32_t c = p[0];
    j->ids[1] = byte_ids[c];
    for (uint32_t i = 1; i < n; i++) {
        uint32_t d = p[i];
        j->ids[i + 1] = byte_ids[d];
        j->keys[i] = key_of(byte_pairs[c << 8 | d], i);
        c = d;
    }
}

INLINE void job_begin(const struct wtok_model *m, struct wtok_job *j, struct wtok_unit *u,
                      unsigned lanes) {
    uint32_t n = u->len;
    j->unit = u;
    for (unsigned i = 0; i < lanes; i++)
        j->keys[i] = NO_KEY;
    if (m->all_bytes) {
        begin_bytes(m, u->p, n, j);
    } else {
        n = (uint32_t)wtok_first_symbols(m, u->p, n, j->ids + 1);
        for (unsigned i = 1; i < lanes; i++)
            j->keys[i] = i < n ? key_of(wtok_merge_rank(m, j->ids[i], j->ids[i + 1]), i) : NO_KEY;
    }
    j->ids[0] = j->ids[n + 1] = NOBODY;
    j->alive = (4ull << n) - 1;
}

/* Writes the ids at `to`, and returns the end. */
INLINE uint32_t *job_end(const struct wtok_job *j, uint32_t *to) {
    uint32_t n = 0;
    /* Neither end counts. */
    uint64_t alive = j->alive & ~(1ull << (63 - __builtin_clzll(j->alive))) & ~1ull;
    for (; alive != 0; alive &= alive - 1)
        to[n++] = j->ids[__builtin_ctzll(alive)];
    j->unit->ids = to;
    j->unit->n_ids = n;
    return to + n;
}

/* ---- the round ------------------------------------------------------------------------------- */

/* A question is a pair, as wtok_merge_pair() makes it, with the place of its key among all keys in
 * the bits of the rank. */
#define KEY_BITS 12
_Static_assert(WTOK_SLOTS *WTOK_JOB_LANES <= 1 << KEY_BITS && KEY_BITS <= 20, "places fit");
#define PAIR_OF(question) ((question) & ~(uint64_t)WTOK_RANK_MASK)

/* Half of the slots: while memory answers its questions, the other has its turn. */
struct half {
    size_t active, asked;
    uint64_t questions[WTOK_SLOTS + 1], hashes[WTOK_SLOTS + 1];
    uint8_t slots[WTOK_SLOTS / 2];
};
/* Units, of which those from `next` on have not been begun. */
struct queue {
    struct wtok_unit *const *units;
    size_t n, next;
};

/* Without `real` there is no neighbour, and the question is written over by the next. */
INLINE void ask(const struct tables *t, struct half *h, uint64_t pair, uint64_t key, bool real) {
    uint64_t hash = wtok_merge_hash(pair);
    h->questions[h->asked] = pair | key;
    h->hashes[h->asked] = hash;
    h->asked += real;
    __builtin_prefetch(t->bloom + (hash >> 40 & t->bloom_mask) / 64);
}

/* The filter knows of most pairs that are never merged; whether it lets one through is a toss, so
 * there is no branch on it. */
INLINE void sift(const struct tables *t, struct half *h) {
    size_t kept = 0;
    for (size_t i = 0; i < h->asked; i++) {
        uint64_t hash = h->hashes[i], bit = hash >> 40 & t->bloom_mask;
        h->questions[kept] = h->questions[i];
        h->hashes[kept] = hash & t->merge_mask;
        kept += t->bloom[bit / 64] >> bit % 64 & 1;
    }
    h->asked = kept;
    for (size_t i = 0; i < kept; i++)
        __builtin_prefetch(t->merges + h->hashes[i]);
}

/* The merge of the least key, and the two questions that follow from it. */
INLINE void job_step(const struct tables *t, struct wtok_job *j, uint32_t slot, struct half *h) {
    unsigned at = j->least & 63;
    uint64_t above = j->alive & (~1ull << at);
    uint64_t behind = above & (above - 1);
    unsigned gone = (unsigned)__builtin_ctzll(above);
    unsigned next = (unsigned)__builtin_ctzll(behind);
    unsigned prev = 63 - (unsigned)__builtin_clzll(j->alive & ((1ull << at) - 1));
    uint32_t rank = j->least >> 6;
    uint32_t id = t->rank_base != WTOK_NO_ID ? t->rank_base + rank : t->rank_ids[rank];
    j->alive = (j->alive & ~above) | behind;
    j->keys[gone] = j->keys[at] = j->keys[prev] = NO_KEY;
    bool last = (behind & (behind - 1)) == 0;
    ask(t, h, wtok_merge_pair(j->ids[prev], id), slot * WTOK_JOB_LANES + prev, prev != 0);
    ask(t, h, wtok_merge_pair(id, j->ids[next]), slot * WTOK_JOB_LANES + at, !last);
    j->ids[at] = id;
}

typedef uint32_t (*least_fn)(const uint32_t *keys, unsigned lanes);
typedef uint32_t (*find_fn)(const struct tables *t, uint64_t pair, uint64_t bucket);

/* What is behind the questions, for their keys. */
INLINE void answer(const struct tables *t, struct wtok_job *slots, const struct half *h,
                   find_fn find) {
    for (size_t i = 0; i < h->asked; i++) {
        uint64_t question = h->questions[i];
        uint32_t key = (uint32_t)question & ((1u << KEY_BITS) - 1);
        unsigned place = key % WTOK_JOB_LANES;
        slots[key / WTOK_JOB_LANES].keys[place] =
            key_of(find(t, PAIR_OF(question), h->hashes[i]), place);
    }
}

/* Ends the jobs of the slots that have no merge left, and begins others in their place, which join
 * the active ones. */
INLINE uint32_t *replace(const struct wtok_model *m, struct wtok_job *slots, struct half *h,
                         const uint8_t *done, size_t n_done, struct queue *q, uint32_t *to,
                         const unsigned lanes, least_fn least_of) {
    for (size_t i = 0; i < n_done; i++) {
        struct wtok_job *j = &slots[done[i]];
        to = job_end(j, to);
        while (q->next < q->n) {
            job_begin(m, j, q->units[q->next++], lanes);
            j->least = least_of(j->keys, lanes);
            if (__builtin_expect(j->least < NO_KEY, 1)) {
                h->slots[h->active++] = done[i];
                break;
            }
            to = job_end(j, to);
        }
    }
    return to;
}

/* All units of one size; returns the end of their ids. Each pass over the slots is a loop of its
 * own, short enough for the processor to look far ahead. */
INLINE uint32_t *run_jobs(const struct wtok_model *m, struct wtok_job *slots,
                          struct wtok_unit *const *units, size_t n, uint32_t *to,
                          const unsigned lanes, least_fn least_of, find_fn find) {
    const struct tables t = tables_of(m);
    struct half halves[2] = {{.asked = 0}, {.asked = 0}};
    struct queue q = {.units = units, .n = n};
    for (; q.next < n && q.next < WTOK_SLOTS; q.next++) {
        struct half *h = &halves[q.next % 2];
        job_begin(m, &slots[q.next], units[q.next], lanes);
        h->slots[h->active++] = (uint8_t)q.next;
    }
    for (unsigned turn = 0; halves[0].active + halves[1].active > 0; turn++) {
        struct half *h = &halves[turn % 2];
        sift(&t, &halves[1 - turn % 2]);
        size_t active = h->active, n_done = 0;
        uint8_t done[WTOK_SLOTS / 2];
        answer(&t, slots, h, find);
        h->active = 0;
        /* Which are done nobody can foretell: they are told apart without a branch. */
        for (size_t i = 0; i < active; i++) {
            uint8_t slot = h->slots[i];
            uint32_t least = least_of(slots[slot].keys, lanes);
            slots[slot].least = least;
            h->slots[h->active] = done[n_done] = slot;
            h->active += least < NO_KEY;
            n_done += least >= NO_KEY;
        }
        to = replace(m, slots, h, done, n_done, &q, to, lanes, least_of);
        h->asked = 0;
        for (size_t i = 0; i < h->active; i++)
            job_step(&t, &slots[h->slots[i]], h->slots[i], h);
    }
    return to;
}

/* The same for each size, so that loops over lanes are of known length. */
#define RUN(least_of, find)                                                                        \
    if (lanes == WTOK_JOB_SMALL)                                                                   \
        return run_jobs(m, slots, units, n, to, WTOK_JOB_SMALL, least_of, find);                   \
    if (lanes == WTOK_JOB_MIDDLE)                                                                  \
        return run_jobs(m, slots, units, n, to, WTOK_JOB_MIDDLE, least_of, find);                  \
    return run_jobs(m, slots, units, n, to, WTOK_JOB_LANES, least_of, find)

INLINE uint32_t least_plain(const uint32_t *keys, unsigned lanes) {
    enum { GROUP = 16 };
    uint32_t least[GROUP];
    memcpy(least, keys, sizeof(least));
    for (unsigned g = GROUP; g < lanes; g += GROUP)
        for (unsigned i = 0; i < GROUP; i++)
            least[i] = keys[g + i] < least[i] ? keys[g + i] : least[i];
    for (unsigned half = GROUP / 2; half > 0; half /= 2)
        for (unsigned i = 0; i < half; i++)
            least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
    return least[0];
}

INLINE uint32_t find_plain(const struct tables *t, uint64_t pair, uint64_t bucket) {
    for (uint64_t i = bucket;; i = (i + WTOK_BUCKET) & t->merge_mask) {
        const uint64_t *slots = t->merges + i;
        for (unsigned k = 0; k < WTOK_BUCKET; k++) {
            if (slots[k] == UINT64_MAX)
                return WTOK_NO_RANK;
            if ((slots[k] & ~(uint64_t)WTOK_RANK_MASK) == pair)
                return (uint32_t)(slots[k] & WTOK_RANK_MASK);
        }
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,bmi,bmi2,lzcnt,popcnt")))

AVX2 INLINE uint32_t least_of_eight(__m256i a) {
    __m128i x = _mm_min_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_min_epu32(x, _mm_shuffle_epi32(x, _MM_SHUFFLE(1, 0, 3, 2)));
    x = _mm_min_epu32(x, _mm_shuffle_epi32(x, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(x);
}

AVX2 INLINE uint32_t least_avx2(const uint32_t *keys, unsigned lanes) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)keys);
    for (unsigned i = 8; i < lanes; i += 8)
        a = _mm256_min_epu32(a, _mm256_loadu_si256((const __m256i *)(const void *)(keys + i)));
    return least_of_eight(a);
}

AVX512 INLINE uint32_t least_avx512(const uint32_t *keys, unsigned lanes) {
    __m512i a = _mm512_loadu_si512(keys);
    for (unsigned i = 16; i < lanes; i += 16)
        a = _mm512_min_epu32(a, _mm512_loadu_si512(keys + i));
    return least_of_eight(
        _mm256_min_epu32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1)));
}

/* What the answer is, given which of the eight slots hold the pair. Full buckets without it are the
 * only branch. */
INLINE bool answered(const uint64_t *slots, unsigned hit, uint32_t *ret_rank) {
    uint64_t slot = slots[__builtin_ctz(hit | 1u << (WTOK_BUCKET - 1))];
    *ret_rank = hit != 0 ? (uint32_t)(slot & WTOK_RANK_MASK) : WTOK_NO_RANK;
    return __builtin_expect((hit == 0) & (slot != UINT64_MAX), 0) == 0;
}

AVX2 INLINE uint32_t find_avx2(const struct tables *t, uint64_t pair, uint64_t bucket) {
    const __m256i want = _mm256_set1_epi64x((long long)pair);
    const __m256i rank = _mm256_set1_epi64x(WTOK_RANK_MASK);
    for (uint64_t i = bucket;; i = (i + WTOK_BUCKET) & t->merge_mask) {
        const uint64_t *slots = t->merges + i;
        uint32_t found;
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)slots);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(slots + 4));
        a = _mm256_cmpeq_epi64(_mm256_andnot_si256(rank, a), want);
        b = _mm256_cmpeq_epi64(_mm256_andnot_si256(rank, b), want);
        if (answered(slots,
                     (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(a)) |
                         (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(b)) << 4,
                     &found))
            return found;
    }
}

AVX512 INLINE uint32_t find_avx512(const struct tables *t, uint64_t pair, uint64_t bucket) {
    const __m512i want = _mm512_set1_epi64((long long)pair);
    const __m512i ranks = _mm512_set1_epi64(WTOK_RANK_MASK);
    for (uint64_t i = bucket;; i = (i + WTOK_BUCKET) & t->merge_mask) {
        const uint64_t *slots = t->merges + i;
        uint32_t found;
        __m512i other = _mm512_xor_si512(_mm512_loadu_si512(slots), want);
        if (answered(slots, _mm512_cmple_epu64_mask(other, ranks), &found))
            return found;
    }
}

AVX2 static uint32_t *run_avx2(const struct wtok_model *m, struct wtok_job *slots,
                               struct wtok_unit *const *units, size_t n, uint32_t *to,
                               unsigned lanes) {
    RUN(least_avx2, find_avx2);
}
AVX512 static uint32_t *run_avx512(const struct wtok_model *m, struct wtok_job *slots,
                                   struct wtok_unit *const *units, size_t n, uint32_t *to,
                                   unsigned lanes) {
    RUN(least_avx512, find_avx512);
}
#endif

uint32_t *wtok_jobs_run(const struct wtok_model *m, struct wtok_job *slots,
                        struct wtok_unit *const *units, size_t n, uint32_t *to, unsigned lanes) {
#if defined(__x86_64__)
    if (wtok_isa_has_avx512(m->isa))
        return run_avx512(m, slots, units, n, to, lanes);
    if (m->isa == WTOK_ISA_AVX2)
        return run_avx2(m, slots, units, n, to, lanes);
#endif
    RUN(least_plain, find_plain);
}
