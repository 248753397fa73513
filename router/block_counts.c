#include "router/block_counts.h"

#include "base/mem.h"

#include <stdbool.h>

enum { AHEAD = 8, FIRST_SLOTS = 64 };

struct weir_block_count {
    uint64_t hash;
    uint64_t n; /* 0 = free */
};

void weir_block_counts_fini(struct weir_block_counts *c) {
    weir_free(c->slots);
    *c = (struct weir_block_counts){0};
}

size_t weir_block_counts_len(const struct weir_block_counts *c) {
    return c->len;
}

static size_t home(const struct weir_block_counts *c, uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 29) & (c->cap - 1);
}

/* Its slot, or the free one where it would go. */
static size_t find(const struct weir_block_counts *c, uint64_t hash) {
    size_t i = home(c, hash);
    while (c->slots[i].n != 0 && c->slots[i].hash != hash)
        i = (i + 1) & (c->cap - 1);
    return i;
}

static void fetch(const struct weir_block_counts *c, const uint64_t *hashes, size_t n, size_t i) {
    if (i + AHEAD < n)
        __builtin_prefetch(&c->slots[home(c, hashes[i + AHEAD])], 1);
}

/* At most half is ever used: the runs that a removal has to walk stay short. */
static bool reserve(struct weir_block_counts *c, size_t more) {
    struct weir_block_counts bigger = {.cap = c->cap == 0 ? FIRST_SLOTS : c->cap, .len = c->len};
    if (more > SIZE_MAX / 64 - c->len)
        return false;
    while ((c->len + more) * 2 > bigger.cap)
        bigger.cap *= 2;
    if (bigger.cap == c->cap)
        return true;
    bigger.slots = weir_calloc(bigger.cap, sizeof(*bigger.slots));
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; i < c->cap; i++)
        if (c->slots[i].n != 0)
            bigger.slots[find(&bigger, c->slots[i].hash)] = c->slots[i];
    weir_free(c->slots);
    *c = bigger;
    return true;
}

size_t weir_block_counts_prefix(const struct weir_block_counts *c, const uint64_t *hashes,
                                size_t n) {
    size_t low = 0, high = c->len > 0 ? n : 0;
    /* A prompt of which nothing is held, the usual case, is known by its first block. */
    for (size_t at = 0; low < high; at = low + (high - low) / 2)
        if (c->slots[find(c, hashes[at])].n != 0)
            low = at + 1;
        else
            high = at;
    return low;
}

size_t weir_block_counts_add(struct weir_block_counts *c, const uint64_t *hashes, size_t n) {
    if (n == 0 || !reserve(c, n))
        return 0;
    for (size_t i = 0; i < n; i++) {
        fetch(c, hashes, n, i);
        struct weir_block_count *slot = &c->slots[find(c, hashes[i])];
        c->len += slot->n == 0;
        slot->hash = hashes[i];
        slot->n++;
    }
    return n;
}

/* Moves back every later entry of the run whose home does not lie behind the hole. */
static void take_out(struct weir_block_counts *c, size_t hole) {
    size_t mask = c->cap - 1;
    for (size_t i = (hole + 1) & mask; c->slots[i].n != 0; i = (i + 1) & mask)
        if (((i - home(c, c->slots[i].hash)) & mask) >= ((i - hole) & mask)) {
            c->slots[hole] = c->slots[i];
            hole = i;
        }
    c->slots[hole].n = 0;
    c->len--;
}

void weir_block_counts_drop(struct weir_block_counts *c, const uint64_t *hashes, size_t n) {
    for (size_t i = 0; i < n && c->len > 0; i++) {
        fetch(c, hashes, n, i);
        size_t at = find(c, hashes[i]);
        if (c->slots[at].n > 0 && --c->slots[at].n == 0)
            take_out(c, at);
    }
}
