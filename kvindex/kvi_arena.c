/*
 * Memory of the index: one reservation of address space as large as the budget, cut into units of
 * 4 KiB. Small things come from pages of eight units that serve one size class; larger ones are
 * runs of units. A page whose last item goes becomes free units again, for any class.
 *
 * Invariants: a unit is used exactly when its bit is set; `units_used` counts the bits; the budget
 * is checked before a bit is set, so bytes <= limit always. A page with room is on its class's
 * list. All of it belongs to the holder of the index's lock; readers only follow refs.
 */
#include "kvindex/kvi_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

static const uint16_t class_bytes[KVI_CLASSES] = {16,  32,  64,   128,  192,  256,  384, 512,
                                                  640, 768, 1024, 1280, 1536, 1792, 2048};
enum {
    PAGE_BYTES = KVI_PAGE_UNITS * KVI_UNIT,
    MAX_SMALL = 2048,
    CHUNK_UNITS = KVI_CHUNK / KVI_UNIT
};

uint8_t *kvi_reserve_aligned(size_t bytes, void **ret_raw) {
    uint8_t *p = mmap(NULL, bytes + KVI_CHUNK, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(p, bytes + KVI_CHUNK, MADV_HUGEPAGE); /* only a wish */
#endif
    *ret_raw = p;
    return p + (KVI_CHUNK - (uintptr_t)p % KVI_CHUNK) % KVI_CHUNK;
}

void kvi_unreserve_aligned(void *raw, size_t bytes) {
    if (raw != NULL)
        munmap(raw, bytes + KVI_CHUNK);
}

static size_t n_pages(const struct kvi_arena *a) {
    return a->n_units / KVI_PAGE_UNITS;
}

bool kvi_arena_init(struct kvi_index *x, size_t bytes) {
    struct kvi_arena *a = &x->arena;
    a->n_units = (bytes + KVI_CHUNK - 1) / KVI_CHUNK * CHUNK_UNITS;
    a->base = kvi_reserve_aligned(a->n_units * KVI_UNIT, &a->raw);
    a->bitmap = calloc(a->n_units / 64, sizeof(*a->bitmap));
    a->pages = calloc(n_pages(a), sizeof(*a->pages));
    a->resident = calloc(a->n_units / CHUNK_UNITS, 1);
    if (a->base == NULL || a->bitmap == NULL || a->pages == NULL || a->resident == NULL)
        return false;
    for (size_t i = 0, class = 0; i <= MAX_SMALL / 16; i++) {
        class += i * 16 > class_bytes[class];
        a->class_of[i] = (uint8_t) class;
    }
    a->bitmap[0] = 255; /* ref 0 must not be given */
    a->resident[0] = 1;
    a->units_used = a->units_top = KVI_PAGE_UNITS;
    a->page_hint = 0;
    x->bytes += PAGE_BYTES;
    return true;
}

void kvi_arena_fini(struct kvi_index *x) {
    struct kvi_arena *a = &x->arena;
    kvi_unreserve_aligned(a->raw, a->n_units * KVI_UNIT);
    free(a->bitmap);
    free(a->pages);
    free(a->resident);
}

/* ---- units ------------------------------------------------------------------------------ */

static bool is_used(const struct kvi_arena *a, size_t unit) {
    return a->bitmap[unit / 64] >> (unit % 64) & 1;
}

static void mark(struct kvi_index *x, size_t first, size_t n, bool used) {
    struct kvi_arena *a = &x->arena;
    for (size_t i = first; i < first + n; i++)
        a->bitmap[i / 64] ^= (uint64_t)1 << (i % 64);
    if (used) {
        a->units_used += n;
        x->bytes += n * KVI_UNIT;
        if (first + n > a->units_top)
            a->units_top = first + n;
        for (size_t c = first / CHUNK_UNITS; c <= (first + n - 1) / CHUNK_UNITS; c++)
            a->resident[c] = 1;
    } else {
        a->units_used -= n;
        x->bytes -= n * KVI_UNIT;
        /* A run that begins before the freed units may be long enough now. */
        for (size_t k = 0; k < KVI_RUN_HINTS; k++) {
            size_t w = (first >= KVI_RUN_HINTS ? first - KVI_RUN_HINTS : 0) / 64;
            a->run_hint[k] = w < a->run_hint[k] ? w : a->run_hint[k];
        }
        if (first / 64 < a->page_hint)
            a->page_hint = first / 64;
    }
}

/* First run of n free units, which may begin in word `from` or later; 0: none. */
static size_t find_short_run(const struct kvi_arena *a, size_t n, size_t from) {
    for (size_t w = from, words = a->n_units / 64; w < words; w++) {
        uint64_t here = ~a->bitmap[w], next = w + 1 < words ? ~a->bitmap[w + 1] : 0, starts = here;
        for (size_t k = 1; k < n && starts != 0; k++)
            starts &= here >> k | next << (64 - k);
        if (starts != 0)
            return w * 64 + (size_t)__builtin_ctzll(starts);
    }
    return 0;
}

static size_t find_long_run(const struct kvi_arena *a, size_t n) {
    size_t run = 0;
    for (size_t i = a->run_hint[1] * 64; i < a->n_units; i++) {
        if (i % 64 == 0 && a->bitmap[i / 64] == UINT64_MAX) {
            run = 0;
            i += 63;
            continue;
        }
        run = is_used(a, i) ? 0 : run + 1;
        if (run == n)
            return i + 1 - n;
    }
    return 0;
}

/* Lowest addresses first keeps the index compact. */
static size_t find_run(struct kvi_arena *a, size_t n) {
    size_t hint = n < KVI_RUN_HINTS ? n : KVI_RUN_HINTS - 1;
    if (n > 64)
        return find_long_run(a, n);
    size_t unit = find_short_run(a, n, a->run_hint[hint]);
    if (n == hint && unit != 0)
        a->run_hint[n] = unit / 64;
    return unit;
}

/* A free page-aligned group of units; 0: none. */
static size_t find_page(struct kvi_arena *a) {
    for (size_t w = a->page_hint; w < a->n_units / 64; w++)
        for (size_t k = 0; a->bitmap[w] != UINT64_MAX && k < 64; k += KVI_PAGE_UNITS)
            if ((a->bitmap[w] >> k & 255) == 0) {
                a->page_hint = w;
                return w * 64 + k;
            }
    return 0;
}

static bool fits(const struct kvi_index *x, size_t units, size_t limit) {
    return x->bytes + units * KVI_UNIT <= limit;
}

/* ---- pages ------------------------------------------------------------------------------ */

static void list_page(struct kvi_arena *a, uint32_t page) {
    struct kvi_page *p = &a->pages[page];
    uint32_t *head = &a->partial[p->class];
    p->listed = 1;
    p->prev = 0;
    p->next = *head;
    if (*head != 0)
        a->pages[*head - 1].prev = page + 1;
    *head = page + 1;
}

static void unlist_page(struct kvi_arena *a, uint32_t page) {
    struct kvi_page *p = &a->pages[page];
    if (p->prev != 0)
        a->pages[p->prev - 1].next = p->next;
    else
        a->partial[p->class] = p->next;
    if (p->next != 0)
        a->pages[p->next - 1].prev = p->prev;
    p->listed = 0;
}

static uint8_t *page_base(const struct kvi_arena *a, uint32_t page) {
    return a->base + (size_t)page * PAGE_BYTES;
}

static uint32_t items(uint32_t class) {
    return PAGE_BYTES / class_bytes[class];
}

static bool new_page(struct kvi_index *x, uint32_t class, size_t limit) {
    struct kvi_arena *a = &x->arena;
    size_t unit = fits(x, KVI_PAGE_UNITS, limit) ? find_page(a) : 0;
    if (unit == 0)
        return false;
    mark(x, unit, KVI_PAGE_UNITS, true);
    uint32_t page = (uint32_t)(unit / KVI_PAGE_UNITS);
    a->pages[page] = (struct kvi_page){.class = (uint8_t) class};
    list_page(a, page);
    return true;
}

static uint32_t take_item(struct kvi_index *x, uint32_t class, size_t limit) {
    struct kvi_arena *a = &x->arena;
    if (a->partial[class] == 0 && !new_page(x, class, limit))
        return 0;
    uint32_t page = a->partial[class] - 1;
    struct kvi_page *p = &a->pages[page];
    uint8_t *item;
    if (p->free != 0) {
        item = page_base(a, page) + (size_t)(p->free - 1) * class_bytes[class];
        memcpy(&p->free, item, sizeof(p->free));
    } else {
        item = page_base(a, page) + (size_t)p->fresh++ * class_bytes[class];
    }
    if (++p->used == items(class))
        unlist_page(a, page);
    return (uint32_t)((size_t)(item - a->base) / 16);
}

static void give_item(struct kvi_index *x, uint32_t ref, uint32_t class) {
    struct kvi_arena *a = &x->arena;
    uint32_t page = (uint32_t)((size_t)ref * 16 / PAGE_BYTES);
    struct kvi_page *p = &a->pages[page];
    uint8_t *item = kvi_at(x, ref);
    memcpy(item, &p->free, sizeof(p->free));
    p->free = (uint16_t)((size_t)(item - page_base(a, page)) / class_bytes[class] + 1);
    p->used--;
    if (!p->listed)
        list_page(a, page);
    /* The class's only page with room stays, so that one item coming and going costs nothing. */
    if (p->used == 0 && (p->next != 0 || p->prev != 0)) {
        unlist_page(a, page);
        mark(x, (size_t)page * KVI_PAGE_UNITS, KVI_PAGE_UNITS, false);
    }
}

/* ---- the door --------------------------------------------------------------------------- */

static size_t units_for(size_t bytes) {
    return (bytes + KVI_UNIT - 1) / KVI_UNIT;
}

size_t kvi_room(size_t bytes) {
    for (uint32_t c = 0; c < KVI_CLASSES; c++)
        if (class_bytes[c] >= bytes)
            return class_bytes[c];
    return units_for(bytes) * KVI_UNIT;
}

uint32_t kvi_alloc(struct kvi_index *x, size_t bytes, size_t limit) {
    if (bytes <= MAX_SMALL)
        return take_item(x, x->arena.class_of[(bytes + 15) / 16], limit);
    size_t n = units_for(bytes), unit = fits(x, n, limit) ? find_run(&x->arena, n) : 0;
    if (unit == 0)
        return 0;
    mark(x, unit, n, true);
    return (uint32_t)(unit * (KVI_UNIT / 16));
}

void kvi_release(struct kvi_index *x, uint32_t ref, size_t bytes) {
    if (bytes <= MAX_SMALL)
        give_item(x, ref, x->arena.class_of[(bytes + 15) / 16]);
    else
        mark(x, (size_t)ref / (KVI_UNIT / 16), units_for(bytes), false);
}

void kvi_look_ahead(struct kvi_ahead *ahead, uint8_t *base, size_t used, size_t bytes,
                    size_t *ret_first, size_t *ret_n) {
    enum { MOST_AHEAD = 32, STEP = 4 };
    size_t top = (used + KVI_CHUNK - 1) / KVI_CHUNK, chunks = bytes / KVI_CHUNK;
    size_t grown = ahead->top > 0 ? top - ahead->top : 0, more = grown * 2 + 1;
    more = more < MOST_AHEAD ? more : MOST_AHEAD;
    more = used < KVI_CHUNK / 2 ? 0 : more; /* a small index needs no head start */
    size_t goal = top + more, wanted = ahead->ready > top ? ahead->ready + STEP : top + STEP;
    wanted = wanted < ahead->want ? wanted : ahead->want;
    goal = goal > wanted ? goal : wanted;
    goal = goal < chunks ? goal : chunks;
    goal = goal > top ? goal : top; /* the last chunk, not a whole one, may be in use */
    ahead->top = top;
    ahead->ready = ahead->ready > top ? ahead->ready : top;
    if (ahead->ready > goal) {
        (void)madvise(base + goal * KVI_CHUNK, (ahead->ready - goal) * KVI_CHUNK, MADV_DONTNEED);
        ahead->ready = goal;
    }
    *ret_first = ahead->ready;
    *ret_n = goal - ahead->ready;
    ahead->ready = goal;
}

void kvi_arena_trim(struct kvi_index *x) {
    struct kvi_arena *a = &x->arena;
    for (size_t c = 0; c * CHUNK_UNITS < a->units_top; c++) {
        uint64_t any = 0;
        for (size_t w = c * CHUNK_UNITS / 64; w < (c + 1) * CHUNK_UNITS / 64; w++)
            any |= a->bitmap[w];
        if (any == 0 && a->resident[c] &&
            madvise(a->base + c * KVI_CHUNK, KVI_CHUNK, MADV_DONTNEED) == 0)
            a->resident[c] = 0;
    }
}
