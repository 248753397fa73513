/*
 * The merges of byte-pair encoding: again and again the pair with the lowest rank, leftmost among
 * equals, becomes one symbol. Short words in arrays, long ones with a heap; both give the same ids
 * because they obey the same order.
 */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;
enum { SMALL = 64 };

/* ---- first symbols --------------------------------------------------------------------------- */

static uint32_t find_char(const struct wtok_model *m, const u8 *p, unsigned n) {
    uint32_t text = 0;
    memcpy(&text, p, n);
    for (uint64_t i = wtok_mix(text, n) & m->char_mask; m->chars[i].len != 0;
         i = (i + 1) & m->char_mask)
        if (m->chars[i].text == text && m->chars[i].len == n)
            return m->chars[i].id;
    return WTOK_NO_ID;
}

/* Characters of a text model: known ones, else their bytes, else the unknown token. */
static size_t first_of_text(const struct wtok_model *m, const u8 *p, size_t len, uint32_t *ids) {
    size_t out = 0;
    const u8 *e = p + len;
    bool fusing = false;
    while (p < e) {
        unsigned n;
        (void)wtok_char(p, &n);
        uint32_t id = find_char(m, p, n);
        if (id != WTOK_NO_ID) {
            ids[out++] = id;
            fusing = false;
        } else if (m->image->byte_fallback != 0) {
            for (unsigned i = 0; i < n; i++)
                ids[out++] = m->image->byte_ids[p[i]];
        } else if (m->image->unk_id != WTOK_NO_ID && !(fusing && m->image->fuse_unk != 0)) {
            ids[out++] = m->image->unk_id;
            fusing = true;
        }
        p += n;
    }
    return out;
}

size_t wtok_first_symbols(const struct wtok_model *m, const u8 *p, size_t n, uint32_t *ids) {
    if (m->image->byte_level == 0)
        return first_of_text(m, p, n, ids);
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        ids[out] = m->image->byte_ids[p[i]];
        out += ids[out] != WTOK_NO_ID;
    }
    return out;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static uint32_t rank_at(const struct wtok_model *m, const uint32_t *ids, size_t i, size_t n) {
    return i + 1 < n ? wtok_merge_rank(m, ids[i], ids[i + 1]) : WTOK_NO_RANK;
}

/* Ranks of the first pairs. Where every byte is a symbol they stand in a table. */
static void first_ranks(const struct wtok_model *m, const u8 *p, size_t bytes, const uint32_t *ids,
                        size_t n, uint32_t *ranks) {
    if (m->image->byte_level != 0 && n == bytes) {
        for (size_t i = 0; i + 1 < n; i++)
            ranks[i] = m->byte_pairs[(size_t)p[i] << 8 | p[i + 1]];
        ranks[n - 1] = WTOK_NO_RANK;
    } else {
        for (size_t i = 0; i < n; i++)
            ranks[i] = rank_at(m, ids, i, n);
    }
}

/*
 * Symbols keep their places; `alive` has a bit for each that is left. A place's key is the rank of
 * its pair and the place itself, so that the least key is the next merge; it is sought in fixed
 * groups of 16, which the compiler turns into vector instructions.
 */
enum { GROUP = 16 };

static inline __attribute__((always_inline)) uint32_t least_key(const uint32_t *keys, size_t n) {
    uint32_t least[GROUP];
    memcpy(least, keys, sizeof(least));
    for (size_t g = GROUP; g < n; g += GROUP)
        for (size_t i = 0; i < GROUP; i++)
            least[i] = keys[g + i] < least[i] ? keys[g + i] : least[i];
    for (size_t half = GROUP / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
    return least[0];
}

static inline uint32_t key_of(uint32_t rank, unsigned place) {
    return rank == WTOK_NO_RANK ? UINT32_MAX : rank << 6 | place;
}

static inline __attribute__((always_inline)) size_t
merge_places(const struct wtok_model *m, const u8 *p, size_t bytes, uint32_t *ids, size_t n) {
    uint32_t keys[SMALL + GROUP], ranks[SMALL];
    uint64_t alive = UINT64_MAX >> (64 - n);
    first_ranks(m, p, bytes, ids, n, ranks);
    for (unsigned i = 0; i < n; i++)
        keys[i] = key_of(ranks[i], i);
    for (size_t i = n; i % GROUP != 0; i++)
        keys[i] = UINT32_MAX;
    for (;;) {
        uint32_t least = least_key(keys, n);
        if (least == UINT32_MAX)
            break;
        unsigned at = least & 63;
        uint64_t above = alive >> 1 >> at;
        unsigned gone = at + 1 + (unsigned)__builtin_ctzll(above);
        uint64_t after = above >> 1 >> (gone - at - 1), before = alive & ((1ull << at) - 1);
        ids[at] = wtok_rank_id(m, least >> 6);
        alive &= ~(1ull << gone);
        keys[gone] = UINT32_MAX;
        keys[at] = UINT32_MAX;
        if (after != 0)
            keys[at] = key_of(
                wtok_merge_rank(m, ids[at], ids[gone + 1 + (unsigned)__builtin_ctzll(after)]), at);
        if (before != 0) {
            unsigned prev = 63 - (unsigned)__builtin_clzll(before);
            keys[prev] = key_of(wtok_merge_rank(m, ids[prev], ids[at]), prev);
        }
    }
    size_t out = 0;
    for (; alive != 0; alive &= alive - 1)
        ids[out++] = ids[__builtin_ctzll(alive)];
    return out;
}

#if defined(__x86_64__)
__attribute__((target("avx2,bmi,bmi2,lzcnt"))) static size_t
merge_avx2(const struct wtok_model *m, const u8 *p, size_t bytes, uint32_t *ids, size_t n) {
    return merge_places(m, p, bytes, ids, n);
}
#endif

static size_t merge_plain(const struct wtok_model *m, const u8 *p, size_t bytes, uint32_t *ids,
                          size_t n) {
    return merge_places(m, p, bytes, ids, n);
}

static size_t merge_array(const struct wtok_model *m, const u8 *p, size_t bytes, uint32_t *ids,
                          size_t n) {
    if (n == 0)
        return 0;
#if defined(__x86_64__)
    if (m->isa == WTOK_ISA_AVX2 || wtok_isa_has_avx512(m->isa))
        return merge_avx2(m, p, bytes, ids, n);
#endif
    return merge_plain(m, p, bytes, ids, n);
}

/* ---- heap ------------------------------------------------------------------------------------ */

enum { RUNS = 2 };

/* Symbols of a long word as a linked list; a heap entry is rank << 32 | position, and is stale when
 * the position's rank has changed since. */
struct work {
    uint32_t *ids, *next, *prev, *ranks;
    uint64_t *heap;
    size_t n_heap;
    /* Entries that came in rising order, as they do in words of one repeated letter: taken off the
     * front without any sifting. */
    struct {
        uint64_t *items;
        size_t head, tail, cap;
    } runs[RUNS];
};

static void sift_down(uint64_t *heap, size_t n, size_t at) {
    uint64_t x = heap[at];
    for (;;) {
        size_t child = at * 4 + 1, least = child;
        if (child >= n)
            break;
        for (size_t k = child + 1; k < child + 4 && k < n; k++)
            if (heap[k] < heap[least])
                least = k;
        if (heap[least] >= x)
            break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = x;
}

static void heap_push(struct work *w, uint64_t x) {
    for (size_t r = 0; r < RUNS; r++) {
        size_t tail = w->runs[r].tail;
        if (w->runs[r].head == tail)
            w->runs[r].head = w->runs[r].tail = tail = 0;
        if (tail < w->runs[r].cap && (tail == 0 || w->runs[r].items[tail - 1] <= x)) {
            w->runs[r].items[w->runs[r].tail++] = x;
            return;
        }
    }
    size_t at = w->n_heap++;
    while (at > 0 && w->heap[(at - 1) / 4] > x) {
        w->heap[at] = w->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    w->heap[at] = x;
}

/* The least entry; UINT64_MAX when there is none. */
static uint64_t heap_pop(struct work *w) {
    uint64_t least = w->n_heap > 0 ? w->heap[0] : UINT64_MAX;
    size_t from = RUNS;
    for (size_t r = 0; r < RUNS; r++)
        if (w->runs[r].head < w->runs[r].tail && w->runs[r].items[w->runs[r].head] < least) {
            least = w->runs[r].items[w->runs[r].head];
            from = r;
        }
    if (from < RUNS) {
        w->runs[from].head++;
    } else if (w->n_heap > 0) {
        w->heap[0] = w->heap[--w->n_heap];
        if (w->n_heap > 0)
            sift_down(w->heap, w->n_heap, 0);
    }
    return least;
}

static void new_pair(const struct wtok_model *m, struct work *w, uint32_t left, uint32_t end) {
    uint32_t right = w->next[left];
    w->ranks[left] = right < end ? wtok_merge_rank(m, w->ids[left], w->ids[right]) : WTOK_NO_RANK;
    if (w->ranks[left] != WTOK_NO_RANK)
        heap_push(w, (uint64_t)w->ranks[left] << 32 | left);
}

static size_t merge_heap(const struct wtok_model *m, const u8 *p, size_t bytes, struct work *w,
                         uint32_t n) {
    if (n == 0)
        return 0;
    first_ranks(m, p, bytes, w->ids, n, w->ranks);
    for (uint32_t i = 0; i < n; i++) {
        w->next[i] = i + 1;
        w->prev[i] = i - 1; /* of 0: UINT32_MAX */
        if (w->ranks[i] != WTOK_NO_RANK)
            heap_push(w, (uint64_t)w->ranks[i] << 32 | i);
    }
    for (uint64_t top; (top = heap_pop(w)) != UINT64_MAX;) {
        uint32_t at = (uint32_t)top, rank = (uint32_t)(top >> 32);
        if (w->ranks[at] != rank)
            continue;
        uint32_t gone = w->next[at];
        w->ids[at] = wtok_rank_id(m, rank);
        w->ranks[gone] = WTOK_NO_RANK;
        w->next[at] = w->next[gone];
        if (w->next[at] < n)
            w->prev[w->next[at]] = at;
        new_pair(m, w, at, n);
        if (w->prev[at] != UINT32_MAX)
            new_pair(m, w, w->prev[at], n);
    }
    size_t out = 0;
    for (uint32_t i = 0; i < n; i = w->next[i])
        w->ids[out++] = w->ids[i];
    return out;
}

void wtok_heap_fini(struct wtok_heap *heap) {
    weir_free(heap->block);
    *heap = (struct wtok_heap){0};
}

/* Each merge takes one entry and adds at most two, so 3n entries suffice. */
static bool heap_room(struct wtok_heap *heap, size_t n, struct work *ret) {
    enum { PER_SYMBOL = 4 * 4 + (3 + RUNS) * 8 };
    if (n > heap->cap) {
        size_t cap = n + n / 4;
        weir_free(heap->block);
        heap->block = cap <= SIZE_MAX / PER_SYMBOL ? weir_malloc(cap * PER_SYMBOL) : NULL;
        heap->cap = heap->block != NULL ? cap : 0;
        if (heap->block == NULL)
            return false;
    }
    uint64_t *h = heap->block;
    uint32_t *u = (uint32_t *)(h + (3 + RUNS) * heap->cap);
    *ret = (struct work){u, u + heap->cap, u + 2 * heap->cap, u + 3 * heap->cap, h, 0, {{0}}};
    for (size_t r = 0; r < RUNS; r++) {
        ret->runs[r].items = h + (3 + r) * heap->cap;
        ret->runs[r].cap = heap->cap;
    }
    return true;
}

enum weir_status wtok_merge(const struct wtok_model *m, struct wtok_heap *heap, const u8 *p,
                            size_t n, uint32_t *ids, size_t *ret_n) {
    if (n <= SMALL) {
        uint32_t small[SMALL];
        size_t out = merge_array(m, p, n, small, wtok_first_symbols(m, p, n, small));
        memcpy(ids, small, out * sizeof(*ids));
        *ret_n = out;
        return WEIR_OK;
    }
    struct work w;
    if (n >= UINT32_MAX / 4)
        return WEIR_TOO_LARGE;
    if (!heap_room(heap, n, &w))
        return WEIR_NOMEM;
    size_t out = merge_heap(m, p, n, &w, (uint32_t)wtok_first_symbols(m, p, n, w.ids));
    memcpy(ids, w.ids, out * sizeof(*ids));
    *ret_n = out;
    /* A giant word leaves no giant block behind. */
    if (heap->cap > (1u << 16))
        wtok_heap_fini(heap);
    return WEIR_OK;
}
