#include "worker/kv_cache.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

enum { NIL = UINT32_MAX };

struct block {
    uint32_t users;
    uint32_t prev, next; /* in the list of blocks without users */
    bool named;          /* full and reusable: `hash` is in the map */
    bool has_parent;
    uint64_t hash, tokens_hash, parent;
    uint64_t born; /* order of completion: a parent is always older than its children */
};

struct weir_kv_cache {
    struct block *blocks; /* owned */
    uint32_t n;
    uint32_t head, tail; /* without users: evict at the head */
    uint32_t n_idle, n_named;
    bool reuse;
    uint64_t births;
    struct weir_map by_hash; /* sequence hash -> block */
    struct weir_kv_cache_ops ops;
    void *arg;
};

static void idle_push_back(struct weir_kv_cache *c, uint32_t b) {
    c->blocks[b].prev = c->tail;
    c->blocks[b].next = NIL;
    if (c->tail != NIL)
        c->blocks[c->tail].next = b;
    else
        c->head = b;
    c->tail = b;
    c->n_idle++;
}

static void idle_push_front(struct weir_kv_cache *c, uint32_t b) {
    c->blocks[b].next = c->head;
    c->blocks[b].prev = NIL;
    if (c->head != NIL)
        c->blocks[c->head].prev = b;
    else
        c->tail = b;
    c->head = b;
    c->n_idle++;
}

static void idle_remove(struct weir_kv_cache *c, uint32_t b) {
    struct block *x = &c->blocks[b];
    if (x->prev != NIL)
        c->blocks[x->prev].next = x->next;
    else
        c->head = x->next;
    if (x->next != NIL)
        c->blocks[x->next].prev = x->prev;
    else
        c->tail = x->prev;
    c->n_idle--;
}

enum weir_status weir_kv_cache_create(uint32_t n_blocks, bool reuse,
                                      const struct weir_kv_cache_ops *ops, void *arg,
                                      struct weir_kv_cache **ret_cache) {
    if (n_blocks == 0)
        return WEIR_INVALID;
    struct weir_kv_cache *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return WEIR_NOMEM;
    c->blocks = weir_calloc(n_blocks, sizeof(*c->blocks));
    if (c->blocks == NULL) {
        weir_free(c);
        return WEIR_NOMEM;
    }
    c->n = n_blocks;
    c->head = c->tail = NIL;
    c->reuse = reuse;
    c->ops = *ops;
    c->arg = arg;
    weir_map_init(&c->by_hash, n_blocks);
    for (uint32_t b = 0; b < n_blocks; b++)
        idle_push_back(c, b);
    *ret_cache = c;
    return WEIR_OK;
}

void weir_kv_cache_destroy(struct weir_kv_cache *cache) {
    if (cache == NULL)
        return;
    weir_map_fini(&cache->by_hash);
    weir_free(cache->blocks);
    weir_free(cache);
}

uint32_t weir_kv_cache_match(const struct weir_kv_cache *cache, const uint64_t *sequence_hashes,
                             uint32_t n) {
    uint64_t b;
    uint32_t hits = 0;
    while (hits < n && weir_map_get(&cache->by_hash, sequence_hashes[hits], &b))
        hits++;
    return hits;
}

/* Takes the name off a reusable block and tells the world. */
static void forget(struct weir_kv_cache *c, struct block *x) {
    x->named = false;
    c->n_named--;
    weir_map_remove(&c->by_hash, x->hash);
    c->ops.on_removed(c->arg, x->hash);
}

static uint32_t take_fresh(struct weir_kv_cache *c) {
    uint32_t b = c->head;
    idle_remove(c, b);
    if (c->blocks[b].named)
        forget(c, &c->blocks[b]);
    c->blocks[b].users = 1;
    return b;
}

static enum weir_status room_for(struct weir_kv_table *t, uint32_t n) {
    if (n <= t->cap)
        return WEIR_OK;
    uint32_t cap = t->cap * 2 > n ? t->cap * 2 : n;
    uint32_t *blocks = weir_realloc(t->blocks, cap * sizeof(*blocks));
    if (blocks == NULL)
        return WEIR_NOMEM;
    t->blocks = blocks;
    t->cap = cap;
    return WEIR_OK;
}

enum weir_status weir_kv_cache_acquire(struct weir_kv_cache *cache, struct weir_kv_table *table,
                                       const uint64_t *sequence_hashes, uint32_t n_hits,
                                       uint32_t n_new, uint32_t n_free) {
    WEIR_ASSERT(table->n == 0 && n_free >= n_new);
    uint32_t idle_hits = 0;
    for (uint32_t i = 0; i < n_hits; i++) {
        uint64_t b = 0;
        bool found = weir_map_get(&cache->by_hash, sequence_hashes[i], &b);
        WEIR_ASSERT(found);
        idle_hits += cache->blocks[b].users == 0;
    }
    if (cache->n_idle < idle_hits || cache->n_idle - idle_hits < n_free)
        return WEIR_LIMIT;
    enum weir_status st = room_for(table, n_hits + n_new);
    if (st != WEIR_OK)
        return st;
    for (uint32_t i = 0; i < n_hits; i++) {
        uint64_t b = 0;
        weir_map_get(&cache->by_hash, sequence_hashes[i], &b);
        if (cache->blocks[b].users++ == 0)
            idle_remove(cache, (uint32_t)b);
        table->blocks[table->n++] = (uint32_t)b;
    }
    for (uint32_t i = 0; i < n_new; i++)
        table->blocks[table->n++] = take_fresh(cache);
    return WEIR_OK;
}

enum weir_status weir_kv_cache_extend(struct weir_kv_cache *cache, struct weir_kv_table *table) {
    if (cache->n_idle == 0)
        return WEIR_LIMIT;
    enum weir_status st = room_for(table, table->n + 1);
    if (st == WEIR_OK)
        table->blocks[table->n++] = take_fresh(cache);
    return st;
}

void weir_kv_cache_complete(struct weir_kv_cache *cache, struct weir_kv_table *table, uint32_t at,
                            uint64_t sequence_hash, uint64_t tokens_hash, bool has_parent,
                            uint64_t parent_hash) {
    WEIR_ASSERT(at < table->n);
    uint64_t other;
    if (!cache->reuse || cache->blocks[table->blocks[at]].named)
        return;
    if (weir_map_get(&cache->by_hash, sequence_hash, &other)) {
        /* Somebody computed the same block meanwhile: share that one, give ours back. */
        uint32_t own = table->blocks[at];
        cache->blocks[own].users = 0;
        idle_push_front(cache, own);
        if (cache->blocks[other].users++ == 0)
            idle_remove(cache, (uint32_t)other);
        table->blocks[at] = (uint32_t)other;
        return;
    }
    struct block *x = &cache->blocks[table->blocks[at]];
    if (weir_map_put(&cache->by_hash, sequence_hash, table->blocks[at]) != WEIR_OK)
        return; /* out of memory: the block is merely not reusable */
    *x = (struct block){.users = x->users,
                        .prev = x->prev,
                        .next = x->next,
                        .named = true,
                        .has_parent = has_parent,
                        .hash = sequence_hash,
                        .tokens_hash = tokens_hash,
                        .parent = parent_hash,
                        .born = cache->births++};
    cache->n_named++;
    cache->ops.on_stored(cache->arg, has_parent, parent_hash, sequence_hash, tokens_hash);
}

void weir_kv_cache_release(struct weir_kv_cache *cache, struct weir_kv_table *table) {
    for (uint32_t i = table->n; i-- > 0;) {
        uint32_t b = table->blocks[i];
        if (--cache->blocks[b].users > 0)
            continue;
        if (cache->blocks[b].named)
            idle_push_back(cache, b);
        else
            idle_push_front(cache, b); /* nothing to lose: reuse it first */
    }
    weir_free(table->blocks);
    *table = (struct weir_kv_table){0};
}

void weir_kv_cache_clear(struct weir_kv_cache *cache) {
    for (uint32_t b = cache->head; b != NIL; b = cache->blocks[b].next)
        if (cache->blocks[b].named) {
            cache->blocks[b].named = false;
            cache->n_named--;
            weir_map_remove(&cache->by_hash, cache->blocks[b].hash);
        }
    cache->ops.on_cleared(cache->arg);
    /* What running sequences hold survives a clear: announce it anew. */
    weir_kv_cache_each(cache, cache->ops.on_stored, cache->arg);
}

uint32_t weir_kv_cache_used(const struct weir_kv_cache *cache) {
    return cache->n - cache->n_idle;
}

uint32_t weir_kv_cache_cached(const struct weir_kv_cache *cache) {
    return cache->n_named;
}

static int by_birth(const void *a, const void *b) {
    const struct block *x = *(const struct block *const *)a, *y = *(const struct block *const *)b;
    return (x->born > y->born) - (x->born < y->born);
}

void weir_kv_cache_each(const struct weir_kv_cache *cache,
                        void (*fn)(void *arg, bool has_parent, uint64_t parent_hash,
                                   uint64_t block_hash, uint64_t tokens_hash),
                        void *arg) {
    const struct block **named = weir_malloc((size_t)(cache->n_named + 1) * sizeof(*named));
    if (named == NULL)
        return; /* an incomplete dump is a valid one: the router merely knows less */
    uint32_t n = 0;
    for (uint32_t b = 0; b < cache->n; b++)
        if (cache->blocks[b].named)
            named[n++] = &cache->blocks[b];
    qsort(named, n, sizeof(*named), by_birth);
    for (uint32_t i = 0; i < n; i++)
        fn(arg, named[i]->has_parent, named[i]->parent, named[i]->hash, named[i]->tokens_hash);
    weir_free(named);
}
