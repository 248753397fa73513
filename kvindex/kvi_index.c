/*
 * The index: a tree whose edges are content hashes. A node stands for one block in its context; it
 * lists the ranks that hold it. Children are found through one hash table over (parent, content
 * hash); each rank has a table from the engine's block hash to the node.
 *
 * Invariants: a node lives while a rank or a child needs it (refs = members + children). A rank is
 * a member of a node as often as its table maps hashes to it. A match is contiguous from the root,
 * so a block removed in mid-chain hides what lies behind it for that rank until it is stored again.
 *
 * Bound: every allocation is counted in `bytes` and refused beyond the budget; a refused event
 * leaves the index consistent (blocks before the refusal stay). Threads: one lock for all.
 * Lower tiers are accepted and not yet kept.
 */
#include "kvindex/kvi.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 0, NO_NODE = UINT32_MAX, MIN_TABLE = 64 };

struct member {
    uint32_t rank;
    uint32_t count; /* engine hashes of this rank that map to the node */
};

struct node {
    uint64_t tokens_hash;
    uint32_t parent;
    uint32_t depth; /* block index + 1 */
    uint32_t refs;  /* members and children; 0 = on the free list */
    uint32_t n_members, cap_members;
    union {
        struct member one; /* cap_members == 1 */
        struct member *many;
        uint32_t next_free;
    } m;
};

struct slot {
    uint64_t hash;
    uint32_t node; /* NO_NODE = free */
};

struct rank {
    struct kvi_worker worker;
    struct slot *slots; /* engine hash -> node */
    uint32_t cap, len;
    bool used;
};

struct kvi_index {
    pthread_mutex_t lock;
    struct kvi_stats counts;
    size_t bytes, max_bytes;
    struct node *nodes;
    uint32_t n_nodes, cap_nodes, free_node, live_nodes;
    uint32_t *children; /* table of node numbers, keyed by (parent, tokens_hash) */
    uint32_t cap_children, n_children;
    struct rank *ranks;
    uint32_t n_ranks, cap_ranks, max_ranks;
    uint32_t *by_worker; /* table of rank numbers */
    uint32_t cap_by_worker;
    uint64_t entries;
    uint32_t *active, *next_active; /* scratch of a search */
    uint32_t cap_active;
};

struct kvi_reader {
    struct kvi_index *index;
    uint32_t *device; /* by rank number */
    uint32_t cap;
};

static uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15u;
    return x ^ (x >> 29);
}

/* realloc within the budget. */
static void *resize(struct kvi_index *x, void *old, size_t old_bytes, size_t new_bytes) {
    if (new_bytes > old_bytes && new_bytes - old_bytes > x->max_bytes - x->bytes)
        return NULL;
    void *p = realloc(old, new_bytes);
    if (p != NULL)
        x->bytes = x->bytes - old_bytes + new_bytes;
    return p;
}

static void *allocate(struct kvi_index *x, size_t bytes) {
    return resize(x, NULL, 0, bytes);
}

static void release(struct kvi_index *x, void *p, size_t bytes) {
    free(p);
    x->bytes -= p != NULL ? bytes : 0;
}

const char *kvi_result_name(enum kvi_result r) {
    static const char *const names[] = {"ok",
                                        "parent_block_not_found",
                                        "block_not_found",
                                        "invalid_block",
                                        "capacity_exhausted",
                                        "allocation_failed"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == KVI_RESULTS, "one name a result");
    return names[r];
}

/* ---- members of a node -------------------------------------------------------------------- */

static struct member *members(struct node *n) {
    return n->cap_members == 1 ? &n->m.one : n->m.many;
}

/* Position of the rank in the sorted list, or where it would go. */
static uint32_t member_at(struct node *n, uint32_t rank) {
    struct member *m = members(n);
    uint32_t low = 0, high = n->n_members;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (m[mid].rank < rank)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool grow_members(struct kvi_index *x, struct node *n) {
    uint32_t cap = n->cap_members * 2;
    struct member *many;
    if (n->cap_members == 1) {
        many = allocate(x, cap * sizeof(*many));
        if (many != NULL)
            many[0] = n->m.one;
    } else {
        many = resize(x, n->m.many, n->cap_members * sizeof(*many), cap * sizeof(*many));
    }
    if (many == NULL)
        return false;
    n->m.many = many;
    n->cap_members = cap;
    return true;
}

static void drop_members(struct kvi_index *x, struct node *n) {
    if (n->cap_members > 1)
        release(x, n->m.many, n->cap_members * sizeof(struct member));
    n->cap_members = 1;
}

static bool add_member(struct kvi_index *x, uint32_t node, uint32_t rank) {
    struct node *n = &x->nodes[node];
    uint32_t at = member_at(n, rank);
    if (at < n->n_members && members(n)[at].rank == rank) {
        members(n)[at].count++;
        return true;
    }
    if (n->n_members == n->cap_members && !grow_members(x, n))
        return false;
    struct member *m = members(n);
    memmove(m + at + 1, m + at, (n->n_members - at) * sizeof(*m));
    m[at] = (struct member){rank, 1};
    n->n_members++;
    n->refs++;
    return true;
}

/* ---- nodes -------------------------------------------------------------------------------- */

static uint32_t child_home(const struct kvi_index *x, uint32_t parent, uint64_t tokens_hash) {
    return (uint32_t)mix(tokens_hash + parent * 0xD6E8FEB86659FD93u) & (x->cap_children - 1);
}

static uint32_t child_slot(const struct kvi_index *x, uint32_t parent, uint64_t tokens_hash) {
    uint32_t i = child_home(x, parent, tokens_hash);
    while (x->children[i] != NO_NODE) {
        const struct node *n = &x->nodes[x->children[i]];
        if (n->parent == parent && n->tokens_hash == tokens_hash)
            break;
        i = (i + 1) & (x->cap_children - 1);
    }
    return i;
}

static uint32_t find_child(const struct kvi_index *x, uint32_t parent, uint64_t tokens_hash) {
    return x->children[child_slot(x, parent, tokens_hash)];
}

static bool grow_children(struct kvi_index *x) {
    uint32_t cap = x->cap_children * 2;
    uint32_t *bigger = allocate(x, cap * sizeof(*bigger)), *old = x->children;
    if (bigger == NULL)
        return false;
    uint32_t old_cap = x->cap_children;
    memset(bigger, 0xff, cap * sizeof(*bigger));
    x->children = bigger;
    x->cap_children = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != NO_NODE) {
            const struct node *n = &x->nodes[old[i]];
            bigger[child_slot(x, n->parent, n->tokens_hash)] = old[i];
        }
    release(x, old, old_cap * sizeof(*old));
    return true;
}

static void unlink_child(struct kvi_index *x, uint32_t node) {
    uint32_t mask = x->cap_children - 1;
    uint32_t hole = child_slot(x, x->nodes[node].parent, x->nodes[node].tokens_hash);
    for (uint32_t i = (hole + 1) & mask; x->children[i] != NO_NODE; i = (i + 1) & mask) {
        const struct node *n = &x->nodes[x->children[i]];
        uint32_t want = child_home(x, n->parent, n->tokens_hash);
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            x->children[hole] = x->children[i];
            hole = i;
        }
    }
    x->children[hole] = NO_NODE;
    x->n_children--;
}

static uint32_t new_node(struct kvi_index *x, uint32_t parent, uint64_t tokens_hash) {
    if ((uint64_t)(x->n_children + 1) * 4 > (uint64_t)x->cap_children * 3 && !grow_children(x))
        return NO_NODE;
    uint32_t i = x->free_node;
    if (i != NO_NODE) {
        x->free_node = x->nodes[i].m.next_free;
    } else {
        if (x->n_nodes == x->cap_nodes) {
            uint32_t cap = x->cap_nodes + x->cap_nodes / 2;
            struct node *nodes =
                resize(x, x->nodes, x->cap_nodes * sizeof(*nodes), cap * sizeof(*nodes));
            if (nodes == NULL)
                return NO_NODE;
            x->nodes = nodes;
            x->cap_nodes = cap;
        }
        i = x->n_nodes++;
    }
    x->nodes[i] = (struct node){.tokens_hash = tokens_hash,
                                .parent = parent,
                                .depth = x->nodes[parent].depth + 1,
                                .cap_members = 1};
    x->nodes[parent].refs++;
    x->children[child_slot(x, parent, tokens_hash)] = i;
    x->n_children++;
    x->live_nodes++;
    return i;
}

/* Gives up one reference; frees the node and then its ancestors that nobody needs. */
static void unref_node(struct kvi_index *x, uint32_t i) {
    while (i != ROOT && --x->nodes[i].refs == 0) {
        uint32_t parent = x->nodes[i].parent;
        unlink_child(x, i);
        drop_members(x, &x->nodes[i]);
        x->nodes[i].m.next_free = x->free_node;
        x->free_node = i;
        x->live_nodes--;
        i = parent;
    }
}

static void remove_member(struct kvi_index *x, uint32_t node, uint32_t rank) {
    struct node *n = &x->nodes[node];
    uint32_t at = member_at(n, rank);
    struct member *m = members(n);
    if (--m[at].count > 0)
        return;
    memmove(m + at, m + at + 1, (n->n_members - at - 1) * sizeof(*m));
    n->n_members--;
    unref_node(x, node);
}

/* ---- a rank's table of engine hashes ------------------------------------------------------ */

static uint32_t slot_of(const struct rank *r, uint64_t hash) {
    uint32_t i = (uint32_t)mix(hash) & (r->cap - 1);
    while (r->slots[i].node != NO_NODE && r->slots[i].hash != hash)
        i = (i + 1) & (r->cap - 1);
    return i;
}

static uint32_t node_of(const struct rank *r, uint64_t hash) {
    return r->cap == 0 ? NO_NODE : r->slots[slot_of(r, hash)].node;
}

static bool set_table(struct kvi_index *x, struct rank *r, uint32_t cap) {
    struct slot *slots = allocate(x, cap * sizeof(*slots)), *old = r->slots;
    if (slots == NULL)
        return false;
    uint32_t old_cap = r->cap;
    for (uint32_t i = 0; i < cap; i++)
        slots[i].node = NO_NODE;
    r->slots = slots;
    r->cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].node != NO_NODE)
            slots[slot_of(r, old[i].hash)] = old[i];
    release(x, old, old_cap * sizeof(*old));
    return true;
}

static bool put_slot(struct kvi_index *x, struct rank *r, uint64_t hash, uint32_t node) {
    if (((uint64_t)r->len + 1) * 4 > (uint64_t)r->cap * 3 &&
        !set_table(x, r, r->cap == 0 ? MIN_TABLE : r->cap * 2))
        return false;
    r->slots[slot_of(r, hash)] = (struct slot){hash, node};
    r->len++;
    x->entries++;
    return true;
}

static void remove_slot(struct kvi_index *x, struct rank *r, uint64_t hash) {
    uint32_t mask = r->cap - 1, hole = slot_of(r, hash);
    for (uint32_t i = (hole + 1) & mask; r->slots[i].node != NO_NODE; i = (i + 1) & mask) {
        uint32_t want = (uint32_t)mix(r->slots[i].hash) & mask;
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            r->slots[hole] = r->slots[i];
            hole = i;
        }
    }
    r->slots[hole].node = NO_NODE;
    r->len--;
    x->entries--;
    /* A table that has become sparse gives its memory back; failing to is no error. */
    if (r->cap > MIN_TABLE && r->len < r->cap / 8)
        set_table(x, r, r->cap / 2);
}

/* ---- ranks -------------------------------------------------------------------------------- */

static uint32_t worker_home(const struct kvi_index *x, struct kvi_worker w) {
    return (uint32_t)mix(w.worker_id * 31 + w.dp_rank) & (x->cap_by_worker - 1);
}

/* Slot of the worker in by_worker. The table never shrinks and holds at most max_ranks numbers. */
static uint32_t worker_slot(const struct kvi_index *x, struct kvi_worker w) {
    uint32_t i = worker_home(x, w);
    while (x->by_worker[i] != NO_NODE) {
        const struct rank *r = &x->ranks[x->by_worker[i]];
        if (r->worker.worker_id == w.worker_id && r->worker.dp_rank == w.dp_rank)
            break;
        i = (i + 1) & (x->cap_by_worker - 1);
    }
    return i;
}

static bool grow_by_worker(struct kvi_index *x) {
    uint32_t cap = x->cap_by_worker * 2;
    uint32_t *bigger = allocate(x, cap * sizeof(*bigger));
    if (bigger == NULL)
        return false;
    release(x, x->by_worker, x->cap_by_worker * sizeof(*bigger));
    memset(bigger, 0xff, cap * sizeof(*bigger));
    x->by_worker = bigger;
    x->cap_by_worker = cap;
    for (uint32_t i = 0; i < x->n_ranks; i++)
        if (x->ranks[i].used)
            bigger[worker_slot(x, x->ranks[i].worker)] = i;
    return true;
}

static void unlink_worker(struct kvi_index *x, struct kvi_worker w) {
    uint32_t mask = x->cap_by_worker - 1, hole = worker_slot(x, w);
    for (uint32_t i = (hole + 1) & mask; x->by_worker[i] != NO_NODE; i = (i + 1) & mask) {
        uint32_t want = worker_home(x, x->ranks[x->by_worker[i]].worker);
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            x->by_worker[hole] = x->by_worker[i];
            hole = i;
        }
    }
    x->by_worker[hole] = NO_NODE;
}

static uint32_t unused_rank(struct kvi_index *x) {
    for (uint32_t i = 0; i < x->n_ranks; i++)
        if (!x->ranks[i].used)
            return i;
    if (x->n_ranks == x->max_ranks)
        return NO_NODE;
    if (x->n_ranks == x->cap_ranks) {
        uint32_t cap = x->cap_ranks * 2;
        struct rank *ranks =
            resize(x, x->ranks, x->cap_ranks * sizeof(*ranks), cap * sizeof(*ranks));
        if (ranks == NULL)
            return NO_NODE;
        x->ranks = ranks;
        x->cap_ranks = cap;
    }
    return x->n_ranks++;
}

/* The rank's number, made when it is new; NO_NODE: no room. */
static uint32_t rank_for(struct kvi_index *x, struct kvi_worker w) {
    uint32_t i = x->by_worker[worker_slot(x, w)];
    if (i != NO_NODE)
        return i;
    if ((uint64_t)(x->n_ranks + 1) * 2 > x->cap_by_worker && !grow_by_worker(x))
        return NO_NODE;
    i = unused_rank(x);
    if (i == NO_NODE)
        return NO_NODE;
    x->ranks[i] = (struct rank){.worker = w, .used = true};
    x->by_worker[worker_slot(x, w)] = i;
    return i;
}

/* ---- life --------------------------------------------------------------------------------- */

struct kvi_index *kvi_create(const struct kvi_options *options) {
    struct kvi_index *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    pthread_mutex_init(&x->lock, NULL);
    x->max_bytes = options != NULL && options->max_bytes > 0 ? options->max_bytes : (size_t)1 << 30;
    x->max_ranks = options != NULL && options->max_ranks > 0 ? options->max_ranks : 65536;
    x->bytes = sizeof(*x);
    x->cap_nodes = MIN_TABLE;
    x->cap_children = MIN_TABLE;
    x->cap_ranks = 8;
    x->cap_by_worker = 16;
    x->free_node = NO_NODE;
    x->nodes = allocate(x, x->cap_nodes * sizeof(*x->nodes));
    x->children = allocate(x, x->cap_children * sizeof(*x->children));
    x->ranks = allocate(x, x->cap_ranks * sizeof(*x->ranks));
    x->by_worker = allocate(x, x->cap_by_worker * sizeof(*x->by_worker));
    if (x->nodes == NULL || x->children == NULL || x->ranks == NULL || x->by_worker == NULL) {
        kvi_destroy(x);
        return NULL;
    }
    memset(x->children, 0xff, x->cap_children * sizeof(*x->children));
    memset(x->by_worker, 0xff, x->cap_by_worker * sizeof(*x->by_worker));
    x->nodes[ROOT] = (struct node){.cap_members = 1};
    x->n_nodes = 1;
    return x;
}

void kvi_destroy(struct kvi_index *x) {
    if (x == NULL)
        return;
    for (uint32_t i = 0; i < x->n_ranks; i++)
        if (x->ranks[i].used)
            free(x->ranks[i].slots);
    /* A free node has cap_members 1, so only live lists are met. */
    for (uint32_t i = 0; i < x->n_nodes; i++)
        if (x->nodes[i].cap_members > 1)
            free(x->nodes[i].m.many);
    free(x->nodes);
    free(x->children);
    free(x->ranks);
    free(x->by_worker);
    free(x->active);
    free(x->next_active);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* ---- events ------------------------------------------------------------------------------- */

/* Makes the engine hash of this rank mean `node`. */
static bool map_block(struct kvi_index *x, uint32_t rank, uint64_t hash, uint32_t node,
                      bool *ret_new) {
    struct rank *r = &x->ranks[rank];
    uint32_t old = node_of(r, hash);
    if (old == node)
        return true;
    if (!add_member(x, node, rank))
        return false;
    if (old != NO_NODE) { /* the engine uses the hash for another block now */
        r->slots[slot_of(r, hash)].node = node;
        remove_member(x, old, rank);
    } else if (!put_slot(x, r, hash, node)) {
        remove_member(x, node, rank);
        return false;
    }
    *ret_new = true;
    return true;
}

static enum kvi_result store(struct kvi_index *x, struct kvi_worker worker, bool has_parent,
                             uint64_t parent_hash, const struct kvi_block *blocks, size_t n,
                             bool *ret_duplicate) {
    if (n == 0)
        return KVI_INVALID;
    for (size_t i = 0; has_parent && i < n; i++)
        if (blocks[i].block_hash == parent_hash)
            return KVI_INVALID;
    uint32_t rank = rank_for(x, worker);
    if (rank == NO_NODE)
        return KVI_CAPACITY;
    uint32_t at = ROOT;
    if (has_parent) {
        at = node_of(&x->ranks[rank], parent_hash);
        if (at == NO_NODE)
            return KVI_PARENT_NOT_FOUND;
    }
    bool any_new = false;
    for (size_t i = 0; i < n; i++) {
        uint32_t child = find_child(x, at, blocks[i].tokens_hash);
        bool fresh = child == NO_NODE;
        if (fresh)
            child = new_node(x, at, blocks[i].tokens_hash);
        if (child == NO_NODE)
            return KVI_CAPACITY;
        if (!map_block(x, rank, blocks[i].block_hash, child, &any_new)) {
            if (fresh) {
                x->nodes[child].refs = 1;
                unref_node(x, child);
            }
            return KVI_CAPACITY;
        }
        at = child;
    }
    if (ret_duplicate != NULL)
        *ret_duplicate = !any_new;
    return KVI_OK;
}

static enum kvi_result remove_blocks(struct kvi_index *x, struct kvi_worker worker,
                                     const uint64_t *block_hashes, size_t n) {
    uint32_t rank = x->by_worker[worker_slot(x, worker)];
    if (rank == NO_NODE)
        return n > 0 ? KVI_BLOCK_NOT_FOUND : KVI_OK;
    enum kvi_result result = KVI_OK;
    for (size_t i = 0; i < n; i++) {
        struct rank *r = &x->ranks[rank];
        uint32_t node = node_of(r, block_hashes[i]);
        if (node == NO_NODE) {
            result = KVI_BLOCK_NOT_FOUND;
            x->counts.unknown++;
            continue;
        }
        remove_slot(x, r, block_hashes[i]);
        remove_member(x, node, rank);
    }
    return result;
}

static void clear_rank(struct kvi_index *x, uint32_t rank) {
    struct rank *r = &x->ranks[rank];
    for (uint32_t i = 0; i < r->cap; i++)
        if (r->slots[i].node != NO_NODE)
            remove_member(x, r->slots[i].node, rank);
    x->entries -= r->len;
    release(x, r->slots, r->cap * sizeof(*r->slots));
    r->slots = NULL;
    r->cap = r->len = 0;
}

enum kvi_result kvi_store(struct kvi_index *x, struct kvi_worker worker, enum kvi_tier tier,
                          bool has_parent, uint64_t parent_hash, const struct kvi_block *blocks,
                          size_t n, bool *ret_duplicate) {
    bool duplicate = false;
    pthread_mutex_lock(&x->lock);
    enum kvi_result r = tier == KVI_DEVICE
                            ? store(x, worker, has_parent, parent_hash, blocks, n, &duplicate)
                            : KVI_OK;
    x->counts.events[KVI_STORED][r]++;
    x->counts.duplicates += duplicate;
    pthread_mutex_unlock(&x->lock);
    if (ret_duplicate != NULL)
        *ret_duplicate = duplicate;
    return r;
}

enum kvi_result kvi_remove(struct kvi_index *x, struct kvi_worker worker, enum kvi_tier tier,
                           const uint64_t *block_hashes, size_t n) {
    pthread_mutex_lock(&x->lock);
    enum kvi_result r = tier == KVI_DEVICE ? remove_blocks(x, worker, block_hashes, n) : KVI_OK;
    x->counts.events[KVI_REMOVED][r]++;
    pthread_mutex_unlock(&x->lock);
    return r;
}

void kvi_clear(struct kvi_index *x, struct kvi_worker worker) {
    pthread_mutex_lock(&x->lock);
    uint32_t rank = x->by_worker[worker_slot(x, worker)];
    if (rank != NO_NODE)
        clear_rank(x, rank);
    x->counts.events[KVI_CLEARED][KVI_OK]++;
    pthread_mutex_unlock(&x->lock);
}

void kvi_apply(struct kvi_index *x, const struct kvi_event *events, size_t n,
               enum kvi_result *ret_results) {
    for (size_t i = 0; i < n; i++) {
        const struct kvi_event *e = &events[i];
        enum kvi_result r = KVI_OK;
        switch (e->kind) {
        case KVI_STORED:
            r = !e->has_parent && e->start_position > 0
                    ? KVI_PARENT_NOT_FOUND
                    : kvi_store(x, e->worker, e->tier, e->has_parent, e->parent_hash, e->blocks,
                                e->n, NULL);
            break;
        case KVI_REMOVED:
            r = kvi_remove(x, e->worker, e->tier, e->removed, e->n);
            break;
        case KVI_CLEARED:
        case KVI_KINDS:
            kvi_clear(x, e->worker);
            break;
        }
        if (ret_results != NULL)
            ret_results[i] = r;
    }
}

enum kvi_result kvi_rank_add(struct kvi_index *x, struct kvi_worker worker, uint32_t *ret_rank) {
    pthread_mutex_lock(&x->lock);
    uint32_t rank = rank_for(x, worker);
    pthread_mutex_unlock(&x->lock);
    if (rank == NO_NODE)
        return KVI_CAPACITY;
    *ret_rank = rank;
    return KVI_OK;
}

static void remove_rank(struct kvi_index *x, uint32_t i) {
    clear_rank(x, i);
    unlink_worker(x, x->ranks[i].worker);
    x->ranks[i].used = false;
}

void kvi_rank_remove(struct kvi_index *x, struct kvi_worker worker) {
    pthread_mutex_lock(&x->lock);
    uint32_t rank = x->by_worker[worker_slot(x, worker)];
    if (rank != NO_NODE)
        remove_rank(x, rank);
    pthread_mutex_unlock(&x->lock);
}

void kvi_remove_worker(struct kvi_index *x, uint64_t worker_id) {
    pthread_mutex_lock(&x->lock);
    for (uint32_t i = 0; i < x->n_ranks; i++)
        if (x->ranks[i].used && x->ranks[i].worker.worker_id == worker_id)
            remove_rank(x, i);
    pthread_mutex_unlock(&x->lock);
}

uint64_t kvi_rank_entries(struct kvi_index *x, struct kvi_worker worker) {
    pthread_mutex_lock(&x->lock);
    uint32_t rank = x->by_worker[worker_slot(x, worker)];
    uint64_t n = rank != NO_NODE ? x->ranks[rank].len : 0;
    pthread_mutex_unlock(&x->lock);
    return n;
}

void kvi_maintain(struct kvi_index *x) {
    (void)x;
}

/* ---- search ------------------------------------------------------------------------------- */

static bool room_for_active(struct kvi_index *x, uint32_t n) {
    if (n <= x->cap_active)
        return true;
    uint32_t cap = x->cap_active == 0 ? MIN_TABLE : x->cap_active;
    while (cap < n)
        cap *= 2;
    uint32_t *a = resize(x, x->active, x->cap_active * sizeof(*a), cap * sizeof(*a));
    if (a == NULL)
        return false;
    x->active = a;
    uint32_t *b = resize(x, x->next_active, x->cap_active * sizeof(*b), cap * sizeof(*b));
    if (b == NULL)
        return false;
    x->next_active = b;
    x->cap_active = cap;
    return true;
}

struct scores {
    struct kvi_score *out;
    size_t room, n;
};

static void emit(const struct kvi_index *x, struct scores *s, uint32_t rank, uint32_t blocks) {
    if (s->n < s->room)
        s->out[s->n] = (struct kvi_score){x->ranks[rank].worker, rank, {blocks}};
    s->n++;
}

/* Keeps in `active` the ranks that also hold `node`; the others are scored with `depth`. */
static uint32_t narrow(struct kvi_index *x, struct node *node, uint32_t n_active, uint32_t depth,
                       struct scores *s) {
    const struct member *m = members(node);
    uint32_t kept = 0, at = 0;
    for (uint32_t i = 0; i < n_active; i++) {
        uint32_t rank = x->active[i];
        while (at < node->n_members && m[at].rank < rank)
            at++;
        if (at < node->n_members && m[at].rank == rank)
            x->active[kept++] = rank;
        else
            emit(x, s, rank, depth);
    }
    return kept;
}

static size_t find(struct kvi_index *x, const uint64_t *local_hashes, size_t n,
                   struct kvi_score *ret_scores, size_t room) {
    struct scores s = {ret_scores, room, 0};
    uint32_t node = n > 0 ? find_child(x, ROOT, local_hashes[0]) : NO_NODE;
    if (node == NO_NODE || !room_for_active(x, x->nodes[node].n_members))
        return 0;
    const struct member *first = members(&x->nodes[node]);
    uint32_t n_active = x->nodes[node].n_members, depth = 1;
    for (uint32_t i = 0; i < n_active; i++)
        x->active[i] = first[i].rank;
    while (n_active > 0 && depth < n) {
        node = find_child(x, node, local_hashes[depth]);
        if (node == NO_NODE)
            break;
        n_active = narrow(x, &x->nodes[node], n_active, depth, &s);
        depth++;
    }
    for (uint32_t i = 0; i < n_active; i++)
        emit(x, &s, x->active[i], depth);
    return s.n;
}

struct kvi_reader *kvi_reader_open(struct kvi_index *index) {
    struct kvi_reader *r = calloc(1, sizeof(*r));
    if (r != NULL)
        r->index = index;
    return r;
}

void kvi_reader_close(struct kvi_reader *reader) {
    if (reader != NULL)
        free(reader->device);
    free(reader);
}

size_t kvi_find(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
                struct kvi_score *ret_scores, size_t room) {
    (void)early_exit;
    pthread_mutex_lock(&reader->index->lock);
    size_t found = find(reader->index, local_hashes, n, ret_scores, room);
    pthread_mutex_unlock(&reader->index->lock);
    return found;
}

void kvi_match(struct kvi_reader *reader, const uint64_t *local_hashes, size_t n, bool early_exit,
               struct kvi_match *ret_match) {
    struct kvi_index *x = reader->index;
    *ret_match = (struct kvi_match){NULL, 0};
    pthread_mutex_lock(&x->lock);
    uint32_t ranks = x->n_ranks;
    struct kvi_score *scores = malloc((ranks + 1) * sizeof(*scores));
    uint32_t *device = calloc(ranks + 1, sizeof(*device));
    if (scores != NULL && device != NULL) {
        size_t found = find(x, local_hashes, n, scores, ranks);
        for (size_t i = 0; i < found && i < ranks; i++)
            device[scores[i].rank] = scores[i].blocks[KVI_DEVICE];
        free(reader->device);
        reader->device = device;
        *ret_match = (struct kvi_match){device, ranks};
        device = NULL;
    }
    pthread_mutex_unlock(&x->lock);
    (void)early_exit;
    free(device);
    free(scores);
}

/* ---- dump --------------------------------------------------------------------------------- */

struct dump_entry {
    uint32_t node, depth;
    uint64_t hash;
    bool reachable; /* no hole between it and the root */
};

static int by_depth(const void *a, const void *b) {
    const struct dump_entry *x = a, *y = b;
    return x->depth != y->depth ? (x->depth > y->depth) - (x->depth < y->depth)
                                : (x->node > y->node) - (x->node < y->node);
}

static const struct dump_entry *entry_of(const struct dump_entry *e, size_t n, uint32_t node,
                                         uint32_t depth) {
    struct dump_entry key = {.node = node, .depth = depth};
    return bsearch(&key, e, n, sizeof(*e), by_depth);
}

/* One event a block, so that branches need no care. Blocks behind a hole match nothing and are left
 * out. */
static bool dump_rank(struct kvi_index *x, const struct rank *r, kvi_dump_fn fn, void *arg) {
    struct dump_entry *e = malloc((r->len + 1) * sizeof(*e));
    if (e == NULL)
        return false;
    size_t n = 0;
    for (uint32_t i = 0; i < r->cap; i++)
        if (r->slots[i].node != NO_NODE)
            e[n++] = (struct dump_entry){.node = r->slots[i].node,
                                         .depth = x->nodes[r->slots[i].node].depth,
                                         .hash = r->slots[i].hash};
    qsort(e, n, sizeof(*e), by_depth);
    bool go_on = true;
    for (size_t i = 0; i < n && go_on; i++) {
        const struct node *node = &x->nodes[e[i].node];
        const struct dump_entry *parent =
            node->depth > 1 ? entry_of(e, n, node->parent, node->depth - 1) : NULL;
        struct kvi_block block = {e[i].hash, node->tokens_hash};
        e[i].reachable = node->depth == 1 || (parent != NULL && parent->reachable);
        if (e[i].reachable)
            go_on = fn(arg, &(struct kvi_event){.worker = r->worker,
                                                .kind = KVI_STORED,
                                                .has_parent = parent != NULL,
                                                .parent_hash = parent != NULL ? parent->hash : 0,
                                                .blocks = &block,
                                                .n = 1});
    }
    free(e);
    return go_on;
}

enum kvi_result kvi_dump(struct kvi_index *x, kvi_dump_fn fn, void *arg) {
    bool go_on = true;
    pthread_mutex_lock(&x->lock);
    for (uint32_t i = 0; i < x->n_ranks && go_on; i++)
        if (x->ranks[i].used)
            go_on = dump_rank(x, &x->ranks[i], fn, arg);
    pthread_mutex_unlock(&x->lock);
    return KVI_OK;
}

enum kvi_result kvi_dump_rank(struct kvi_index *x, struct kvi_worker worker, kvi_dump_fn fn,
                              void *arg) {
    pthread_mutex_lock(&x->lock);
    uint32_t rank = x->by_worker[worker_slot(x, worker)];
    if (rank != NO_NODE)
        dump_rank(x, &x->ranks[rank], fn, arg);
    pthread_mutex_unlock(&x->lock);
    return KVI_OK;
}

void kvi_get_stats(struct kvi_index *x, struct kvi_stats *ret_stats) {
    pthread_mutex_lock(&x->lock);
    struct kvi_stats s = x->counts;
    for (uint32_t i = 0; i < x->n_ranks; i++)
        s.ranks += x->ranks[i].used;
    s.entries = s.tier[KVI_DEVICE] = x->entries;
    s.nodes = s.blocks = x->live_nodes;
    s.bytes = x->bytes;
    s.max_bytes = x->max_bytes;
    pthread_mutex_unlock(&x->lock);
    *ret_stats = s;
}
