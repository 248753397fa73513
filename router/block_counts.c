/*
 * A tree of runs. A node is a run of blocks that are always held together: it ends where prompts
 * part or where one ends, and goes with the last prompt that ends there and the last node below.
 * Nodes are found by their parent and first hash.
 *
 * Runs that were split stay apart while they are held. A tree thus has at most a node a block, and
 * then costs what a table of blocks would.
 */
#include "router/block_counts.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 };

struct weir_block_run {
    struct weir_block_run *next;   /* in its bucket */
    struct weir_block_run *parent; /* NULL: the root */
    size_t ends, children;         /* prompts that end with it; nodes below */
    size_t n, skip;                /* n blocks, behind `skip` that went to a node above */
    uint64_t blocks[];
};

static const uint64_t *blocks_of(const struct weir_block_run *r) {
    return r->blocks + r->skip;
}

size_t weir_block_counts_len(const struct weir_block_counts *c) {
    return c->len;
}

/* ---- finding nodes ------------------------------------------------------------------------ */

static struct weir_block_run **bucket(const struct weir_block_counts *c,
                                      const struct weir_block_run *parent, uint64_t first) {
    uint64_t key = (first ^ (uint64_t)(uintptr_t)parent >> 4) * 0x9E3779B97F4A7C15u;
    return &c->buckets[(size_t)(key >> 29) & (c->n_buckets - 1)];
}

static struct weir_block_run *find(const struct weir_block_counts *c,
                                   const struct weir_block_run *parent, uint64_t first) {
    struct weir_block_run *r = c->n_buckets > 0 ? *bucket(c, parent, first) : NULL;
    while (r != NULL && (r->parent != parent || *blocks_of(r) != first))
        r = r->next;
    return r;
}

static void link_run(struct weir_block_counts *c, struct weir_block_run *r) {
    struct weir_block_run **at = bucket(c, r->parent, *blocks_of(r));
    r->next = *at;
    *at = r;
    c->n_runs++;
}

static void unlink_run(struct weir_block_counts *c, struct weir_block_run *r) {
    struct weir_block_run **at = bucket(c, r->parent, *blocks_of(r));
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    c->n_runs--;
}

/* Room for one more; only the first table must be there. */
static bool reserve(struct weir_block_counts *c) {
    if (c->n_runs < c->n_buckets)
        return true;
    struct weir_block_counts bigger = {.n_buckets =
                                           c->n_buckets == 0 ? FIRST_BUCKETS : c->n_buckets * 2};
    bigger.buckets = weir_calloc(bigger.n_buckets, sizeof(struct weir_block_run *));
    if (bigger.buckets == NULL)
        return c->n_buckets > 0;
    for (size_t i = 0; i < c->n_buckets; i++)
        for (struct weir_block_run *r = c->buckets[i], *next; r != NULL; r = next) {
            next = r->next;
            link_run(&bigger, r);
        }
    bigger.len = c->len;
    weir_free(c->buckets);
    *c = bigger;
    return true;
}

/* ---- prompts ------------------------------------------------------------------------------ */

static struct weir_block_run *new_run(struct weir_block_counts *c, struct weir_block_run *parent,
                                      const uint64_t *blocks, size_t n) {
    if (n > SIZE_MAX / 16 || !reserve(c))
        return NULL;
    struct weir_block_run *r = weir_malloc(sizeof(*r) + n * sizeof(*blocks));
    if (r == NULL)
        return NULL;
    *r = (struct weir_block_run){.parent = parent, .n = n};
    memcpy(r->blocks, blocks, n * sizeof(*blocks));
    link_run(c, r);
    if (parent != NULL)
        parent->children++;
    return r;
}

/* The first k blocks become a node above `r`. That one keeps its children, which know it by its
 * address. */
static struct weir_block_run *split(struct weir_block_counts *c, struct weir_block_run *r,
                                    size_t k) {
    struct weir_block_run *above = new_run(c, r->parent, blocks_of(r), k);
    if (above == NULL)
        return NULL;
    unlink_run(c, r);
    if (r->parent != NULL)
        r->parent->children--;
    above->children = 1;
    r->parent = above;
    r->skip += k;
    r->n -= k;
    link_run(c, r);
    return above;
}

static size_t equal_blocks(const struct weir_block_run *r, const uint64_t *hashes, size_t n) {
    const uint64_t *blocks = blocks_of(r);
    size_t k = 0;
    n = n < r->n ? n : r->n;
    while (k < n && blocks[k] == hashes[k])
        k++;
    return k;
}

size_t weir_block_counts_add(struct weir_block_counts *c, const uint64_t *hashes, size_t n) {
    struct weir_block_run *at = NULL, *r;
    size_t i = 0;
    while (i < n && (r = find(c, at, hashes[i])) != NULL) {
        size_t k = equal_blocks(r, hashes + i, n - i);
        if (k < r->n && (r = split(c, r, k)) == NULL)
            return 0;
        at = r;
        i += k;
    }
    if (i < n) {
        at = new_run(c, at, hashes + i, n - i);
        if (at == NULL)
            return 0;
        c->len += n - i;
    }
    if (at != NULL)
        at->ends++;
    return n;
}

void weir_block_counts_drop(struct weir_block_counts *c, const uint64_t *hashes, size_t n) {
    struct weir_block_run *at = NULL;
    for (size_t i = 0; i < n; i += at->n) {
        at = find(c, at, hashes[i]);
        if (at == NULL || equal_blocks(at, hashes + i, n - i) < at->n)
            return; /* never added, or to a rank of that name that is gone */
    }
    if (at == NULL || at->ends == 0)
        return;
    at->ends--;
    while (at != NULL && at->ends == 0 && at->children == 0) {
        struct weir_block_run *parent = at->parent;
        unlink_run(c, at);
        if (parent != NULL)
            parent->children--;
        c->len -= at->n;
        weir_free(at);
        at = parent;
    }
}

size_t weir_block_counts_prefix(const struct weir_block_counts *c, const uint64_t *hashes,
                                size_t n) {
    const struct weir_block_run *at = NULL;
    size_t i = 0;
    while (i < n && (at = find(c, at, hashes[i])) != NULL) {
        const uint64_t *blocks = blocks_of(at);
        size_t low = 0, high = n - i < at->n ? n - i : at->n, whole = high;
        /* Mostly all of it, or else where they part. */
        for (size_t k = high - 1; low < high; k = low + (high - low) / 2)
            if (blocks[k] == hashes[i + k])
                low = k + 1;
            else
                high = k;
        i += low;
        if (low < whole)
            break;
    }
    return i;
}

void weir_block_counts_fini(struct weir_block_counts *c) {
    for (size_t i = 0; i < c->n_buckets; i++)
        for (struct weir_block_run *r = c->buckets[i], *next; r != NULL; r = next) {
            next = r->next;
            weir_free(r);
        }
    weir_free(c->buckets);
    *c = (struct weir_block_counts){0};
}
