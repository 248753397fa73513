/*
 * The table of names: what an engine calls a block → in which namespace it lies (the seed of its
 * hashes, and its adapter), how many copies each tier holds, and whether it may be used. A child
 * inherits from its parent, as vLLM tells salt and media with the first block only.
 */
#include "router/engine_events.h"

#include "base/map.h"
#include "base/mem.h"
#include "kvindex/kvi.h"

#include <string.h>

enum { TIERS = 4, GROUPS = 64, COPIES_MAX = UINT16_MAX, NONE = UINT32_MAX };

struct name {
    uint64_t seed;
    uint32_t lora; /* hash of the adapter's name */
    uint16_t copies[TIERS];
    bool unusable; /* media or of no certain namespace: nothing of it is in the index */
};

/* A set that is emptied by counting on. */
struct seen {
    uint64_t hash;
    uint32_t event; /* in which it was seen; another one's: free */
};

struct weir_engine_rank {
    uint32_t block_size;
    bool as_dynamo;
    struct weir_map names; /* engine's hash → place in entries */
    struct name *entries;  /* owned; free ones are chained through `seed` */
    uint32_t n_entries, cap_entries, free_entry;
    unsigned char kinds[GROUPS]; /* enum weir_attention of a group, as far as it was told */
    /* Of the last event. */
    uint64_t *locals; /* owned, `room` of each */
    struct weir_kv_block *blocks;
    uint64_t *removed;
    size_t room;
    struct seen *seen; /* owned; at least twice `room`, a power of two */
    size_t cap_seen;
    uint32_t seen_event;
    struct weir_engine_rank_stats stats;
};

enum weir_status weir_engine_rank_create(uint32_t block_size, size_t max_blocks,
                                         struct weir_engine_rank **ret_rank) {
    struct weir_engine_rank *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return WEIR_NOMEM;
    r->block_size = block_size;
    r->free_entry = NONE;
    weir_map_init(&r->names, max_blocks > 0 ? max_blocks : (size_t)4 << 20);
    *ret_rank = r;
    return WEIR_OK;
}

void weir_engine_rank_hash_as_dynamo(struct weir_engine_rank *rank) {
    rank->as_dynamo = true;
}

void weir_engine_rank_destroy(struct weir_engine_rank *rank) {
    if (rank == NULL)
        return;
    weir_map_fini(&rank->names);
    weir_free(rank->entries);
    weir_free(rank->locals);
    weir_free(rank->blocks);
    weir_free(rank->removed);
    weir_free(rank->seen);
    weir_free(rank);
}

void weir_engine_rank_reset(struct weir_engine_rank *rank) {
    weir_map_fini(&rank->names);
    rank->n_entries = 0;
    rank->free_entry = NONE;
}

void weir_engine_rank_get_stats(const struct weir_engine_rank *rank,
                                struct weir_engine_rank_stats *ret_stats) {
    *ret_stats = rank->stats;
}

/* ---- names -------------------------------------------------------------------------------- */

static struct name *find(struct weir_engine_rank *r, uint64_t hash) {
    uint64_t at;
    return weir_map_get(&r->names, hash, &at) ? &r->entries[at] : NULL;
}

static bool grow_entries(struct weir_engine_rank *r) {
    uint32_t cap = r->cap_entries > 0 ? r->cap_entries * 2 : 1024;
    struct name *entries = weir_realloc(r->entries, (size_t)cap * sizeof(*entries));
    if (entries == NULL)
        return false;
    r->entries = entries;
    r->cap_entries = cap;
    return true;
}

/* NULL: the table is full. */
static struct name *add(struct weir_engine_rank *r, uint64_t hash) {
    uint32_t at = r->free_entry;
    if (at == NONE) {
        if (r->n_entries == r->cap_entries && !grow_entries(r))
            return NULL;
        at = r->n_entries;
    }
    if (weir_map_put(&r->names, hash, at) != WEIR_OK)
        return NULL;
    if (at == r->free_entry)
        r->free_entry = (uint32_t)r->entries[at].seed;
    else
        r->n_entries++;
    r->entries[at] = (struct name){0};
    return &r->entries[at];
}

static void forget(struct weir_engine_rank *r, uint64_t hash) {
    uint64_t at;
    if (!weir_map_get(&r->names, hash, &at))
        return;
    weir_map_remove(&r->names, hash);
    r->entries[at].seed = r->free_entry;
    r->free_entry = (uint32_t)at;
}

static bool make_seen(struct weir_engine_rank *r, size_t n) {
    size_t cap = 64;
    while (cap < 2 * n)
        cap *= 2;
    struct seen *seen = weir_calloc(cap, sizeof(*seen));
    if (seen == NULL)
        return false;
    weir_free(r->seen);
    r->seen = seen;
    r->cap_seen = cap;
    r->seen_event = 0;
    return true;
}

static bool make_room(struct weir_engine_rank *r, size_t n) {
    if (n <= r->room)
        return true;
    uint64_t *locals = weir_realloc(r->locals, n * sizeof(*locals));
    r->locals = locals != NULL ? locals : r->locals;
    struct weir_kv_block *blocks = weir_realloc(r->blocks, n * sizeof(*blocks));
    r->blocks = blocks != NULL ? blocks : r->blocks;
    uint64_t *removed = weir_realloc(r->removed, n * sizeof(*removed));
    r->removed = removed != NULL ? removed : r->removed;
    if (locals == NULL || blocks == NULL || removed == NULL || !make_seen(r, n + 1))
        return false;
    r->room = n;
    return true;
}

/* ---- filters ------------------------------------------------------------------------------ */

/* Prefix hits follow full attention; a hybrid model's other groups publish too. */
static bool main_group(struct weir_engine_rank *r, const struct weir_engine_event *e) {
    bool known = e->group >= 0 && e->group < GROUPS;
    if (e->attention != WEIR_ATTENTION_UNTOLD) {
        if (known)
            r->kinds[e->group] = (unsigned char)e->attention;
        return e->attention == WEIR_ATTENTION_MAIN;
    }
    if (known && r->kinds[e->group] != WEIR_ATTENTION_UNTOLD)
        return r->kinds[e->group] == WEIR_ATTENTION_MAIN;
    return e->group <= 0;
}

static bool wanted(struct weir_engine_rank *r, const struct weir_engine_event *e) {
    if (e->kind == WEIR_ENGINE_OTHER) {
        r->stats.other++;
        return false;
    }
    if (e->remote) {
        r->stats.remote++;
        return false;
    }
    if (e->kind != WEIR_ENGINE_CLEARED && !main_group(r, e)) {
        r->stats.other_group++;
        return false;
    }
    return true;
}

/* ---- stored ------------------------------------------------------------------------------- */

static uint32_t lora_hash(struct weir_span lora) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < lora.len; i++)
        h = (h ^ (unsigned char)lora.data[i]) * 16777619u;
    return h;
}

static bool see(struct weir_engine_rank *r, uint64_t hash) {
    uint32_t mask = (uint32_t)r->cap_seen - 1;
    uint32_t i = (uint32_t)((hash ^ hash >> 32) * 0x9E3779B97F4A7C15u >> 32) & mask;
    for (; r->seen[i].event == r->seen_event; i = (i + 1) & mask)
        if (r->seen[i].hash == hash)
            return true;
    r->seen[i] = (struct seen){hash, r->seen_event};
    return false;
}

/* A name twice in one event would make a circle of a chain. */
static bool repeats(struct weir_engine_rank *r, const struct weir_engine_event *e) {
    if (++r->seen_event == 0) { /* the stamps have gone round */
        memset(r->seen, 0, r->cap_seen * sizeof(*r->seen));
        r->seen_event = 1;
    }
    if (e->has_parent)
        (void)see(r, e->parent);
    for (size_t i = 0; i < e->n_hashes; i++)
        if (see(r, e->hashes[i]))
            return true;
    return false;
}

/* Where the blocks of the event lie. */
struct place {
    uint64_t seed;
    uint32_t lora;
    bool unusable, has_parent;
};

static uint64_t seed_of(const struct weir_engine_rank *r, const struct weir_engine_event *e) {
    struct weir_span salt = e->salt, lora = r->as_dynamo ? e->lora : weir_span("", 0),
                     prefix = WEIR_SPAN_LIT("dynamo-cache-salt:");
    if (r->as_dynamo && weir_span_starts(salt, prefix))
        salt = weir_span(salt.data + prefix.len, salt.len - prefix.len);
    return kvi_seed(lora.data, lora.len, salt.data, salt.len);
}

static struct place place_of(struct weir_engine_rank *r, const struct weir_engine_event *e) {
    struct place p = {
        .seed = seed_of(r, e), .lora = lora_hash(e->lora), .has_parent = e->has_parent};
    const struct name *parent = e->has_parent ? find(r, e->parent) : NULL;
    if (e->has_lora_id && e->lora.len == 0)
        p.unusable = true; /* an adapter without a name */
    if (parent != NULL) {
        /* A salt that is told has to be the parent's. */
        p.unusable |= parent->unusable || parent->lora != p.lora ||
                      (e->salt.len > 0 && parent->seed != p.seed);
        p.seed = parent->seed;
    } else if (e->has_parent && e->parent == 0) {
        p.has_parent = false; /* how some publishers write "none" */
    }
    return p;
}

/* Whether this block, and so what follows it in the event, may be used. */
static bool note_stored(struct weir_engine_rank *r, uint64_t hash, const struct place *p,
                        unsigned tier, bool usable) {
    struct name *n = find(r, hash);
    if (n == NULL) {
        n = add(r, hash);
        if (n == NULL) {
            r->stats.table_full++;
            return false;
        }
        n->seed = p->seed;
        n->lora = p->lora;
        n->unusable = !usable;
    } else {
        r->stats.repeated++;
        if (n->seed != p->seed || n->lora != p->lora) {
            r->stats.ambiguous++;
            usable = false;
        }
        usable = usable && !n->unusable;
    }
    if (n->copies[tier] < COPIES_MAX)
        n->copies[tier]++;
    return usable;
}

static bool convert_stored(struct weir_engine_rank *r, const struct weir_engine_event *e,
                           struct weir_kv_event *ret) {
    uint32_t bs = r->block_size;
    struct place p = place_of(r, e);
    /* Where the size is not told, more tokens than the blocks hold show another one. */
    if (e->block_size != 0 ? e->block_size != bs
                           : kvi_block_count(e->n_tokens, bs, e->eagle) > e->n_hashes) {
        r->stats.block_size += e->n_hashes;
        return false;
    }
    if (e->n_hashes == 0 || !make_room(r, e->n_hashes))
        return false;
    for (size_t i = 0; i < e->n_hashes; i++)
        weir_map_prefetch(&r->names, e->hashes[i]);
    if (repeats(r, e)) {
        r->stats.repeated += e->n_hashes;
        return false;
    }
    size_t n =
        kvi_hash_blocks(e->tokens, e->n_tokens, bs, p.seed, e->eagle, r->locals, e->n_hashes);
    size_t kept = 0;
    bool usable = !p.unusable;
    for (size_t i = 0; i < e->n_hashes; i++) {
        bool media = e->media && i >= e->first_media_block;
        usable = note_stored(r, e->hashes[i], &p, e->tier, usable && !media && i < n);
        r->stats.media += media;
        r->stats.block_size += i >= n;
        if (usable)
            r->blocks[kept++] = (struct weir_kv_block){e->hashes[i], r->locals[i]};
    }
    if (p.unusable)
        r->stats.ambiguous += e->n_hashes;
    r->stats.stored_blocks += kept;
    *ret = (struct weir_kv_event){.tier = e->tier,
                                  .kind = WEIR_KV_STORED,
                                  .has_parent = p.has_parent,
                                  .parent_hash = e->parent,
                                  .blocks = r->blocks,
                                  .n_blocks = kept};
    return kept > 0;
}

/* ---- removed ------------------------------------------------------------------------------ */

/* True: its last copy of this tier, which the index holds. */
static bool note_removed(struct weir_engine_rank *r, uint64_t hash, unsigned tier) {
    struct name *n = find(r, hash);
    if (n == NULL)
        return r->stats.table_full > 0;
    if (n->copies[tier] == COPIES_MAX || n->copies[tier] == 0)
        return false;
    bool last = --n->copies[tier] == 0, used = last && !n->unusable;
    for (unsigned t = 0; t < TIERS; t++)
        last &= n->copies[t] == 0;
    if (last)
        forget(r, hash);
    return used;
}

static bool convert_removed(struct weir_engine_rank *r, const struct weir_engine_event *e,
                            struct weir_kv_event *ret) {
    size_t n = 0;
    if (e->n_hashes == 0 || !make_room(r, e->n_hashes))
        return false;
    for (size_t i = 0; i < e->n_hashes; i++)
        weir_map_prefetch(&r->names, e->hashes[i]);
    for (size_t i = 0; i < e->n_hashes; i++)
        if (note_removed(r, e->hashes[i], e->tier))
            r->removed[n++] = e->hashes[i];
    r->stats.removed_blocks += n;
    *ret = (struct weir_kv_event){
        .tier = e->tier, .kind = WEIR_KV_REMOVED, .removed = r->removed, .n_removed = n};
    return n > 0;
}

bool weir_engine_rank_convert(struct weir_engine_rank *rank, const struct weir_engine_event *e,
                              struct weir_kv_event *ret_event, struct weir_span *ret_lora) {
    *ret_lora = weir_span("", 0);
    if (!wanted(rank, e))
        return false;
    if (e->kind == WEIR_ENGINE_STORED) {
        *ret_lora = e->lora;
        return convert_stored(rank, e, ret_event);
    }
    if (e->kind == WEIR_ENGINE_REMOVED)
        return convert_removed(rank, e, ret_event);
    weir_engine_rank_reset(rank);
    rank->stats.clears++;
    *ret_event = (struct weir_kv_event){.kind = WEIR_KV_CLEARED};
    return true;
}
