/*
 * The merges of byte-pair encoding: again and again the pair with the lowest rank, leftmost among
 * equals, becomes one symbol. Short words in arrays, long ones with a heap; both give the same ids
 * because they obey the same order.
 */
#include "base/mem.h"
#include "tokenizer/model_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;
enum { SMALL = 48 };

/* ---- first symbols --------------------------------------------------------------------------- */

static uint32_t find_char(const struct wtok_model *m, const u8 *p, unsigned n) {
    uint64_t k = 0;
    memcpy(&k, p, n);
    for (uint64_t i = wtok_mix(k, n) & m->char_mask; m->chars[i].len != 0;
         i = (i + 1) & m->char_mask)
        if (m->chars[i].k0 == k && m->chars[i].len == n)
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

static size_t first_symbols(const struct wtok_model *m, const u8 *p, size_t n, uint32_t *ids) {
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

static size_t merge_array(const struct wtok_model *m, const u8 *p, size_t bytes, uint32_t *ids,
                          size_t n) {
    uint32_t ranks[SMALL];
    if (n == 0)
        return 0;
    first_ranks(m, p, bytes, ids, n, ranks);
    for (;;) {
        uint32_t best = WTOK_NO_RANK;
        size_t at = 0;
        for (size_t i = 0; i < n; i++)
            if (ranks[i] < best) {
                best = ranks[i];
                at = i;
            }
        if (best == WTOK_NO_RANK)
            return n;
        ids[at] = m->rank_ids[best];
        n--;
        for (size_t i = at + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
        }
        ranks[at] = rank_at(m, ids, at, n);
        if (at > 0)
            ranks[at - 1] = rank_at(m, ids, at - 1, n);
    }
}

/* ---- heap ------------------------------------------------------------------------------------ */

/* Symbols of a long word as a linked list; a heap entry is rank << 32 | position, and is stale when
 * the position's rank has changed since. */
struct work {
    uint32_t *ids, *next, *prev, *ranks;
    uint64_t *heap;
    size_t n_heap;
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
    size_t at = w->n_heap++;
    while (at > 0 && w->heap[(at - 1) / 4] > x) {
        w->heap[at] = w->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    w->heap[at] = x;
}

static uint64_t heap_pop(struct work *w) {
    uint64_t top = w->heap[0];
    w->heap[0] = w->heap[--w->n_heap];
    if (w->n_heap > 0)
        sift_down(w->heap, w->n_heap, 0);
    return top;
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
            w->heap[w->n_heap++] = (uint64_t)w->ranks[i] << 32 | i;
    }
    for (size_t i = w->n_heap / 4 + 1; i-- > 0;)
        if (i < w->n_heap)
            sift_down(w->heap, w->n_heap, i);
    while (w->n_heap > 0) {
        uint64_t top = heap_pop(w);
        uint32_t at = (uint32_t)top, rank = (uint32_t)(top >> 32);
        if (w->ranks[at] != rank)
            continue;
        uint32_t gone = w->next[at];
        w->ids[at] = m->rank_ids[rank];
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
    enum { PER_SYMBOL = 4 * 4 + 3 * 8 };
    if (n > heap->cap) {
        size_t cap = n + n / 4;
        weir_free(heap->block);
        heap->block = cap <= SIZE_MAX / PER_SYMBOL ? weir_malloc(cap * PER_SYMBOL) : NULL;
        heap->cap = heap->block != NULL ? cap : 0;
        if (heap->block == NULL)
            return false;
    }
    uint64_t *h = heap->block;
    uint32_t *u = (uint32_t *)(h + 3 * heap->cap);
    *ret = (struct work){u, u + heap->cap, u + 2 * heap->cap, u + 3 * heap->cap, h, 0};
    return true;
}

enum weir_status wtok_merge(const struct wtok_model *m, struct wtok_heap *heap, const u8 *p,
                            size_t n, uint32_t *ids, size_t *ret_n) {
    if (n <= SMALL) {
        uint32_t small[SMALL];
        size_t out = merge_array(m, p, n, small, first_symbols(m, p, n, small));
        memcpy(ids, small, out * sizeof(*ids));
        *ret_n = out;
        return WEIR_OK;
    }
    struct work w;
    if (n >= UINT32_MAX / 4)
        return WEIR_TOO_LARGE;
    if (!heap_room(heap, n, &w))
        return WEIR_NOMEM;
    size_t out = merge_heap(m, p, n, &w, (uint32_t)first_symbols(m, p, n, w.ids));
    memcpy(ids, w.ids, out * sizeof(*ids));
    *ret_n = out;
    /* A giant word leaves no giant block behind. */
    if (heap->cap > (1u << 16))
        wtok_heap_fini(heap);
    return WEIR_OK;
}
