/*
 * The table of names: what an engine calls a block → in which namespace it lies (the seed of its
 * hashes, and its adapter), how many copies each tier holds, and whether it may be used. A child
 * inherits from its parent, as vLLM tells salt and media with the first block only.
 */
#include "router/engine_events.h"

#include "base/mem.h"
#include "kvindex/kvi.h"
#include "router/engine_names.h"

#include <string.h>

enum { GROUPS = 64, COPIES_MAX = UINT16_MAX };

/* A set that is emptied by counting on. */
struct seen {
    uint64_t hash;
    uint32_t event; /* in which it was seen; another one's: free */
};

struct weir_engine_rank {
    uint32_t block_size;
    bool as_dynamo;
    struct weir_engine_names names;
    unsigned char kinds[GROUPS]; /* enum weir_attention of a group, as far as it was told */
    /* Of the last event. */
    uint64_t *locals; /* owned, `room` of each */
    struct weir_kv_block *blocks;
    uint64_t *removed;
    size_t room;
    struct seen *seen; /* owned; at least twice `room`, a power of two */
    size_t cap_seen;
    uint32_t seen_event;
    uint32_t places[WEIR_ENGINE_NAMES_AT_ONCE]; /* of names that are looked at */
    struct weir_engine_rank_stats stats;
};

enum weir_status weir_engine_rank_create(uint32_t block_size, size_t max_blocks,
                                         struct weir_engine_rank **ret_rank) {
    struct weir_engine_rank *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return WEIR_NOMEM;
    r->block_size = block_size;
    weir_engine_names_init(&r->names, max_blocks > 0 ? max_blocks : (size_t)4 << 20);
    *ret_rank = r;
    return WEIR_OK;
}

void weir_engine_rank_hash_as_dynamo(struct weir_engine_rank *rank) {
    rank->as_dynamo = true;
}

void weir_engine_rank_destroy(struct weir_engine_rank *rank) {
    if (rank == NULL)
        return;
    weir_engine_names_fini(&rank->names);
    weir_free(rank->locals);
    weir_free(rank->blocks);
    weir_free(rank->removed);
    weir_free(rank->seen);
    weir_free(rank);
}

void weir_engine_rank_reset(struct weir_engine_rank *rank) {
    weir_engine_names_fini(&rank->names);
}

void weir_engine_rank_get_stats(const struct weir_engine_rank *rank,
                                struct weir_engine_rank_stats *ret_stats) {
    *ret_stats = rank->stats;
}

/* The facts of an event's name i, in the order of i; NULL: it is not known. */
static struct weir_engine_name *known_name(struct weir_engine_rank *r,
                                           const struct weir_engine_event *e, size_t i) {
    size_t k = i % WEIR_ENGINE_NAMES_AT_ONCE, left = e->n_hashes - i;
    if (k == 0)
        weir_engine_names_look(&r->names, e->hashes + i,
                               left < WEIR_ENGINE_NAMES_AT_ONCE ? left : WEIR_ENGINE_NAMES_AT_ONCE,
                               r->places);
    return r->places[k] > 0 ? &r->names.names[r->places[k] - 1] : NULL;
}

/* ---- room for an event --------------------------------------------------------------------- */

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
        r->stats.other += 1 + e->joined;
        return false;
    }
    if (e->remote) {
        r->stats.remote += 1 + e->joined;
        return false;
    }
    if (e->kind != WEIR_ENGINE_CLEARED && !main_group(r, e)) {
        r->stats.other_group += 1 + e->joined;
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
    const struct weir_engine_name *parent =
        e->has_parent ? weir_engine_names_find(&r->names, e->parent) : NULL;
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
static bool note_stored(struct weir_engine_rank *r, uint64_t hash, struct weir_engine_name *n,
                        const struct place *p, unsigned tier, bool usable) {
    if (n == NULL) {
        n = weir_engine_names_add(&r->names, hash);
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
        usable = note_stored(r, e->hashes[i], known_name(r, e, i), &p, e->tier,
                             usable && !media && i < n);
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

/* True: its last copy of this tier, which the index holds. A name that stands twice in the event
 * may have left before its second turn. */
static bool note_removed(struct weir_engine_rank *r, uint64_t hash, struct weir_engine_name *n,
                         unsigned tier) {
    if (n == NULL || !n->used || n->hash != hash)
        return r->stats.table_full > 0;
    if (n->copies[tier] == COPIES_MAX || n->copies[tier] == 0)
        return false;
    bool last = --n->copies[tier] == 0, used = last && !n->unusable;
    for (unsigned t = 0; t < WEIR_ENGINE_TIERS; t++)
        last &= n->copies[t] == 0;
    if (last)
        weir_engine_names_remove(&r->names, n);
    return used;
}

static bool convert_removed(struct weir_engine_rank *r, const struct weir_engine_event *e,
                            struct weir_kv_event *ret) {
    size_t n = 0;
    if (e->n_hashes == 0 || !make_room(r, e->n_hashes))
        return false;
    for (size_t i = 0; i < e->n_hashes; i++)
        if (note_removed(r, e->hashes[i], known_name(r, e, i), e->tier))
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
