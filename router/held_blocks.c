/*
 * A tree of runs. A node is a run of blocks that are always held together: it ends where prompts
 * part or where one ends. It knows the ranks whose prompts go through it, sorted by slot, and goes
 * with the last of them; whoever is in a node is in all above it. Nodes are found by their parent
 * and first hash. A node that is split keeps its end and its address, so a prompt is known by the
 * node where it ends.
 *
 * Runs that were split stay apart while they are held. A tree thus has at most a node a block, and
 * then costs what a table of blocks would.
 */
#include "router/held_blocks.h"

#include "base/mem.h"

#include <string.h>

enum { FIRST_BUCKETS = 64 };

struct weir_held_run {
    struct weir_held_run *next;       /* in its bucket */
    struct weir_held_run *parent;     /* NULL: the root */
    struct weir_held_member *members; /* owned; sorted by slot */
    uint32_t n_members, cap_members;
    size_t n, skip; /* n blocks, behind `skip` that went to a node above */
    uint64_t blocks[];
};

static const uint64_t *blocks_of(const struct weir_held_run *r) {
    return r->blocks + r->skip;
}

size_t weir_held_len(const struct weir_held_blocks *h, uint32_t slot) {
    return slot < h->n_slots ? h->lens[slot] : 0;
}

bool weir_held_reserve(struct weir_held_blocks *h, size_t n) {
    if (n <= h->n_slots)
        return true;
    size_t *lens = weir_realloc(h->lens, n * sizeof(*lens));
    if (lens != NULL)
        h->lens = lens;
    size_t *depths = weir_realloc(h->depths, n * sizeof(*depths));
    if (depths != NULL)
        h->depths = depths;
    if (lens == NULL || depths == NULL)
        return false;
    memset(lens + h->n_slots, 0, (n - h->n_slots) * sizeof(*lens));
    h->n_slots = n;
    return true;
}

/* ---- finding nodes ------------------------------------------------------------------------ */

static struct weir_held_run **bucket(const struct weir_held_blocks *h,
                                     const struct weir_held_run *parent, uint64_t first) {
    uint64_t key = (first ^ (uint64_t)(uintptr_t)parent >> 4) * 0x9E3779B97F4A7C15u;
    return &h->buckets[(size_t)(key >> 29) & (h->n_buckets - 1)];
}

static struct weir_held_run *find(const struct weir_held_blocks *h,
                                  const struct weir_held_run *parent, uint64_t first) {
    struct weir_held_run *r = h->n_buckets > 0 ? *bucket(h, parent, first) : NULL;
    while (r != NULL && (r->parent != parent || *blocks_of(r) != first))
        r = r->next;
    return r;
}

static void link_run(struct weir_held_blocks *h, struct weir_held_run *r) {
    struct weir_held_run **at = bucket(h, r->parent, *blocks_of(r));
    r->next = *at;
    *at = r;
    h->n_runs++;
}

static void unlink_run(struct weir_held_blocks *h, struct weir_held_run *r) {
    struct weir_held_run **at = bucket(h, r->parent, *blocks_of(r));
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    h->n_runs--;
}

static void free_run(struct weir_held_run *r) {
    weir_free(r->members);
    weir_free(r);
}

/* Room for one more; only the first table must be there. */
static bool reserve(struct weir_held_blocks *h) {
    if (h->n_runs < h->n_buckets)
        return true;
    struct weir_held_blocks bigger = {.n_buckets =
                                          h->n_buckets == 0 ? FIRST_BUCKETS : h->n_buckets * 2};
    bigger.buckets = weir_calloc(bigger.n_buckets, sizeof(struct weir_held_run *));
    if (bigger.buckets == NULL)
        return h->n_buckets > 0;
    for (size_t i = 0; i < h->n_buckets; i++)
        for (struct weir_held_run *r = h->buckets[i], *next; r != NULL; r = next) {
            next = r->next;
            link_run(&bigger, r);
        }
    weir_free(h->buckets);
    h->buckets = bigger.buckets;
    h->n_buckets = bigger.n_buckets;
    return true;
}

/* ---- nodes and their ranks ------------------------------------------------------------------- */

/* Where the slot is, or would be. */
static uint32_t place_of(const struct weir_held_run *r, uint32_t slot) {
    uint32_t low = 0, high = r->n_members;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->members[middle].slot < slot)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_member(const struct weir_held_run *r, uint32_t at, uint32_t slot) {
    return at < r->n_members && r->members[at].slot == slot;
}

static bool enter(struct weir_held_blocks *h, struct weir_held_run *r, uint32_t slot) {
    uint32_t at = place_of(r, slot);
    if (is_member(r, at, slot)) {
        r->members[at].n_prompts++;
        return true;
    }
    if (r->n_members == r->cap_members) {
        uint32_t cap = r->cap_members == 0 ? 1 : r->cap_members * 2;
        struct weir_held_member *more = weir_realloc(r->members, cap * sizeof(*more));
        if (more == NULL)
            return false;
        r->members = more;
        r->cap_members = cap;
    }
    memmove(&r->members[at + 1], &r->members[at], (r->n_members - at) * sizeof(*r->members));
    r->members[at] = (struct weir_held_member){slot, 1};
    r->n_members++;
    h->lens[slot] += r->n;
    return true;
}

/* A node goes with its last rank. */
static void take_out(struct weir_held_blocks *h, struct weir_held_run *r, uint32_t at) {
    h->lens[r->members[at].slot] -= r->n;
    r->n_members--;
    memmove(&r->members[at], &r->members[at + 1], (r->n_members - at) * sizeof(*r->members));
    if (r->n_members == 0) {
        unlink_run(h, r);
        free_run(r);
    }
}

/* From a node up to, not including, `end`. */
static void leave(struct weir_held_blocks *h, struct weir_held_run *r,
                  const struct weir_held_run *end, uint32_t slot) {
    while (r != end) {
        struct weir_held_run *parent = r->parent;
        uint32_t at = place_of(r, slot);
        if (is_member(r, at, slot) && --r->members[at].n_prompts == 0)
            take_out(h, r, at);
        r = parent;
    }
}

static struct weir_held_run *new_run(struct weir_held_blocks *h, struct weir_held_run *parent,
                                     const uint64_t *blocks, size_t n) {
    if (n > SIZE_MAX / 16 || !reserve(h))
        return NULL;
    struct weir_held_run *r = weir_malloc(sizeof(*r) + n * sizeof(*blocks));
    if (r == NULL)
        return NULL;
    *r = (struct weir_held_run){.parent = parent, .n = n};
    memcpy(r->blocks, blocks, n * sizeof(*blocks));
    link_run(h, r);
    return r;
}

/* The first k blocks become a node above `r`, of the same ranks. That one keeps its children, which
 * know it by its address, and its end. */
static struct weir_held_run *split(struct weir_held_blocks *h, struct weir_held_run *r, size_t k) {
    struct weir_held_member *members = weir_malloc(r->n_members * sizeof(*members));
    struct weir_held_run *above = members == NULL ? NULL : new_run(h, r->parent, blocks_of(r), k);
    if (above == NULL) {
        weir_free(members);
        return NULL;
    }
    memcpy(members, r->members, r->n_members * sizeof(*members));
    above->members = members;
    above->n_members = above->cap_members = r->n_members;
    unlink_run(h, r);
    r->parent = above;
    r->skip += k;
    r->n -= k;
    link_run(h, r);
    return above;
}

/* Blocks from the node's first on that are equal; the first one is. Mostly all of it, or else where
 * they part. */
static size_t equal_blocks(const struct weir_held_run *r, const uint64_t *hashes, size_t n) {
    const uint64_t *blocks = blocks_of(r);
    size_t low = 1, high = n < r->n ? n : r->n;
    for (size_t k = high - 1; low < high; k = low + (high - low) / 2)
        if (blocks[k] == hashes[k])
            low = k + 1;
        else
            high = k;
    return low;
}

/* ---- prompts --------------------------------------------------------------------------------- */

struct weir_held_run *weir_held_add(struct weir_held_blocks *h, uint32_t slot,
                                    const uint64_t *hashes, size_t n) {
    struct weir_held_run *at = NULL, *r;
    size_t i = 0;
    while (i < n && (r = find(h, at, hashes[i])) != NULL) {
        size_t k = equal_blocks(r, hashes + i, n - i);
        if (k < r->n && (r = split(h, r, k)) == NULL)
            return NULL;
        at = r;
        i += k;
    }
    bool fresh = i < n;
    if (fresh && (at = new_run(h, at, hashes + i, n - i)) == NULL)
        return NULL;
    for (r = at; r != NULL && enter(h, r, slot);)
        r = r->parent;
    if (r == NULL)
        return at;
    if (fresh && r == at) { /* nobody is in it */
        unlink_run(h, at);
        free_run(at);
    } else {
        leave(h, at, r, slot);
    }
    return NULL;
}

void weir_held_drop(struct weir_held_blocks *h, uint32_t slot, struct weir_held_run *run) {
    leave(h, run, NULL, slot);
}

void weir_held_forget(struct weir_held_blocks *h, uint32_t slot) {
    for (size_t i = 0; i < h->n_buckets; i++)
        for (struct weir_held_run *r = h->buckets[i], *next; r != NULL; r = next) {
            uint32_t at = place_of(r, slot);
            next = r->next;
            if (is_member(r, at, slot))
                take_out(h, r, at);
        }
}

size_t weir_held_prefixes(struct weir_held_blocks *h, const uint64_t *hashes, size_t n,
                          const struct weir_held_member **ret_members) {
    const struct weir_held_run *first = NULL, *at = NULL, *r;
    size_t i = 0;
    while (i < n && (r = find(h, at, hashes[i])) != NULL) {
        size_t k = equal_blocks(r, hashes + i, n - i);
        i += k;
        for (uint32_t m = 0; m < r->n_members; m++)
            h->depths[r->members[m].slot] = i; /* who is deeper is overwritten below */
        first = first != NULL ? first : r;
        if (k < r->n)
            break;
        at = r;
    }
    *ret_members = first != NULL ? first->members : NULL;
    return first != NULL ? first->n_members : 0;
}

void weir_held_fini(struct weir_held_blocks *h) {
    for (size_t i = 0; i < h->n_buckets; i++)
        for (struct weir_held_run *r = h->buckets[i], *next; r != NULL; r = next) {
            next = r->next;
            free_run(r);
        }
    weir_free(h->buckets);
    weir_free(h->lens);
    weir_free(h->depths);
    *h = (struct weir_held_blocks){0};
}
