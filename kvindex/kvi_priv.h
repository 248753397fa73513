/*
 * Inside of the index. README.md shows the whole; each file below states its own invariants.
 *
 *   kvi_arena.c   memory: one reservation, 4 KiB units, size classes; the byte budget
 *   kvi_epoch.c   readers, and when retired memory may be used again
 *   kvi_names.c   engine's block name -> place (writers only)
 *   kvi_names_size.c   its parts growing and shrinking
 *   kvi_child.c   (node, offset, content hash) -> node below it
 *   kvi_hold.c    which rank holds how much of a node
 *   kvi_alias.c   names that differ from a block's first one (writers only)
 *   kvi_tree.c    nodes: append, new, trim
 *   kvi_apply.c   the writers' door: events, batches, results
 *   kvi_event.c   stored, removed
 *   kvi_find.c    search
 *   kvi_simd.c    inner loops of both, by what the processor has
 *   kvi_index.c   life, ranks, statistics, eviction
 *
 * Words. A *node* is a run of up to 128 blocks in their context; its block i keeps its content for
 * the node's whole life. A *place* is node << 7 | offset; place 0 does not exist (node 0 is the
 * root, which has no blocks). A *holder* is a (rank, tier). A rank *covers* a place when a name of
 * it maps there.
 *
 * Locks: `lock` guards everything that is not named atomic here. Readers take none.
 */
#ifndef KVI_PRIV_H
#define KVI_PRIV_H

#include "kvindex/kvi.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define KVI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KVI_TSAN 1
#endif
#endif

enum {
    KVI_NODE_BLOCKS = 128,
    KVI_INLINE = 5,     /* holders kept in the node itself */
    KVI_SEGMENTS = 256, /* of the child table */
    KVI_NAME_BITS = 6,
    KVI_NAME_SEGMENTS = 1 << KVI_NAME_BITS,
    KVI_UNIT = 4096,
    KVI_PAGE_UNITS = 8, /* a page of one size class */
    KVI_RUN_HINTS = 17,
    KVI_CLASSES = 15,
    KVI_DATA_CLASS = 2, /* the size class of the smallest data */
    KVI_CHUNK = 2 << 20,
    KVI_MAX_NODES = 1 << 25,
};

/* ---- nodes ------------------------------------------------------------------------------ */

enum kvi_node_type { KVI_FREE, KVI_NODE, KVI_ALIAS, KVI_TYPE = 3 };
enum kvi_node_flag {
    KVI_SEALED = 4,   /* blocks were cut off its end: it never grows again */
    KVI_DUP = 8,      /* a name in it may stand at another place too */
    KVI_ALIASED = 16, /* it has alias records */
};

/* body = ref of the data << 16 | size class << 8 | number of blocks. One atomic word, so that a
 * reader gets blocks and their number together. Data: content hashes [cap], then names [cap]. */
struct kvi_node {
    uint64_t first; /* content hash of block 0; an alias record's key */
    _Atomic uint64_t body;
    uint32_t parent;        /* free node: the next free one */
    _Atomic uint32_t child; /* one child, remembered: a guess that readers verify */
    union {
        struct {
            _Atomic uint32_t n_children;
            _Atomic uint32_t list;  /* ref of more holders, 0 = the inline ones are all */
            _Atomic uint32_t masks; /* ref of coverage that is no prefix, and of lower tiers */
            uint32_t n_holders;     /* device cells with a cutoff > 0 */
        };
        uint64_t own[2]; /* alias record: offsets that have a name here */
    };
    uint8_t parent_off; /* this node hangs before block parent_off of the parent */
    _Atomic uint8_t high_child;
    uint8_t flags;         /* type and flags */
    _Atomic uint8_t stamp; /* tick of the last touch; readers write it too */
    union {
        _Atomic uint32_t cells[KVI_INLINE]; /* (rank + 1) << 8 | cutoff */
        struct {
            uint32_t levels;  /* first record of a holder: records for the same places */
            uint32_t also[4]; /* first record: offsets whose first name is held as well */
        };
    };
};
_Static_assert(sizeof(struct kvi_node) == 64, "one cache line");

/* ---- memory ----------------------------------------------------------------------------- */

struct kvi_page {        /* of one size class */
    uint16_t used, free; /* items; first free item + 1, or 0 */
    uint16_t fresh;      /* items never used yet begin here */
    uint8_t class, listed;
    uint32_t next, prev; /* pages of the class with room; page number + 1 */
};
/* 2 MiB chunks at the end of what is in use, made ready before a writer needs them. */
struct kvi_ahead {
    size_t top, ready; /* first chunk not begun, at the last look; first one not made ready */
    size_t want;       /* chunks before this one will be needed soon; 0: not known */
};
struct kvi_arena {
    uint8_t *base;
    void *raw;
    size_t n_units, units_used, units_top; /* top: no unit above was ever used */
    uint64_t *bitmap;                      /* 1 = used */
    /* words of the bitmap: no run of so many units begins before; the last: nor a longer one */
    size_t run_hint[KVI_RUN_HINTS], page_hint;
    struct kvi_page *pages;
    uint32_t partial[KVI_CLASSES];
    uint8_t class_of[129]; /* by 16 bytes */
    uint8_t *resident;     /* one a 2 MiB chunk: was touched since it was last given back */
    struct kvi_ahead ahead;
};

/* ---- reclamation ------------------------------------------------------------------------ */

enum kvi_retired_kind { KVI_RETIRED_MEMORY, KVI_RETIRED_NODE, KVI_RETIRED_RANK };
struct kvi_retired {
    uint64_t epoch;
    uint32_t ref, bytes; /* node or rank number in ref */
    uint32_t kind;
};
struct kvi_reader {
    _Alignas(128) _Atomic uint64_t pinned; /* epoch; 0 = not inside a search */
    struct kvi_index *index;
    bool open;
    bool all;         /* any rank below n_ranks may have a score; else only those touched */
    bool with_lower;  /* lower[] may hold scores of them */
    uint32_t n_ranks; /* numbers known to the last search */
    uint32_t n_touched;
    uint32_t n_old;             /* scores that a search before this one left */
    uint32_t *scores, *touched; /* one a rank */
    uint32_t *lower[KVI_TIERS]; /* one a rank; [KVI_DEVICE] is not used */
};

/* ---- ranks ------------------------------------------------------------------------------ */

/* What a search says of a rank; constant while a reader may see the number. */
struct kvi_who {
    _Atomic uint64_t worker_id;
    _Atomic uint32_t dp_rank;
};
static inline struct kvi_worker kvi_who_at(const struct kvi_who *who, uint32_t rank) {
    return (struct kvi_worker){atomic_load_explicit(&who[rank].worker_id, memory_order_relaxed),
                               atomic_load_explicit(&who[rank].dp_rank, memory_order_relaxed)};
}
struct kvi_rank {
    bool used;
    uint32_t aliases;      /* alias records */
    uint32_t store_hint;   /* place last stored */
    uint32_t below, above; /* places beside those last removed */
    /* Of the names at store_hint and above (kvi_event.c), so that a place that was guessed wrong is
     * not even read; 0: not known. */
    uint32_t store_mark, above_mark;
    uint64_t entries[KVI_TIERS];
};

/* Entry of a directory of the name table. */
struct kvi_part {
    uint32_t ref, lines; /* 0: none yet */
    int32_t room;        /* names until it is full; in the first entry of the part */
    uint16_t back;       /* entries of the part before this one */
    uint8_t depth, size;
};

struct kvi_index {
    pthread_mutex_t lock;
    const struct kvi_kernels *kernels;
    struct kvi_arena arena;
    size_t bytes, max_bytes, soft_bytes; /* stores stop at soft, removals may go to max */
    struct kvi_node *nodes;              /* in nodes_raw, aligned to a chunk */
    void *nodes_raw;
    uint32_t n_nodes, cap_nodes, free_node, live_nodes;
    struct kvi_ahead nodes_ahead;
    struct kvi_names {
        uint32_t dir;                      /* ref of 1 << bits struct kvi_part; 0: one empty part */
        uint32_t bits : 8, n_deepest : 24; /* parts with as many bits as the directory */
    } names[KVI_NAME_SEGMENTS];
    uint64_t n_rewritten;                    /* parts of the name table, for tests */
    _Atomic uint64_t children[KVI_SEGMENTS]; /* words of the segment << 32 | its ref */
    struct kvi_rank *ranks;                  /* max_ranks of them, reserved */
    struct kvi_who *who;                     /* the same */
    _Atomic uint32_t n_ranks;                /* numbers ever given */
    uint32_t max_ranks;
    uint32_t *by_worker; /* open addressing, rank number + 1 */
    uint32_t by_worker_mask;
    uint32_t *free_ranks; /* ring */
    uint32_t free_first, n_free;
    struct kvi_reader *readers;
    uint32_t max_readers;
    _Atomic uint64_t epoch;
    struct kvi_retired *retired; /* ring */
    size_t retired_first, n_retired, cap_retired, since_reclaim;
    size_t retired_bytes;
    _Atomic uint8_t tick;
    uint32_t touches; /* since the tick moved */
    uint32_t hand;    /* eviction's next candidate */
    _Atomic uint64_t lower_entries;
    uint64_t blocks, aliases;
    struct kvi_stats counts;
};

struct kvi_holder {
    uint32_t rank;
    enum kvi_tier tier;
};

/* Names and content hashes are mostly hashes already; small or shifted numbers spread too. Only the
 * upper bits are good. */
static inline uint64_t kvi_mix(uint64_t x) {
    return (x ^ (x >> 32)) * 0x9E3779B97F4A7C15u;
}

/* All bits are good. */
static inline uint64_t kvi_name_hash(uint64_t name) {
    uint64_t h = kvi_mix(name);
    return (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9u;
}

/* The child table splits a hash into segment (8 bits) and a fraction (32 bits), the tag too. */
static inline uint32_t kvi_segment(uint64_t h) {
    return (uint32_t)(h >> 56);
}
static inline uint32_t kvi_fraction(uint64_t h) {
    return (uint32_t)(h >> 24);
}
static inline uint32_t kvi_scale(uint32_t fraction, uint32_t n) {
    return (uint32_t)((uint64_t)fraction * n >> 32);
}

/* ---- kvi_arena.c ------------------------------------------------------------------------ */

bool kvi_arena_init(struct kvi_index *x, size_t bytes);
void kvi_arena_fini(struct kvi_index *x);
/* A ref: offset in 16-byte units, never 0; 0 = over the limit. Memory is not zeroed. Items of 64
 * bytes and more are aligned to 64. */
uint32_t kvi_alloc(struct kvi_index *x, size_t bytes, size_t limit);
void kvi_release(struct kvi_index *x, uint32_t ref, size_t bytes);
/* Bytes that an allocation of this size really takes. */
size_t kvi_room(size_t bytes);
/* Gives unused 2 MiB chunks back to the system. */
void kvi_arena_trim(struct kvi_index *x);
/* The chunks to make ready: *ret_n from *ret_first on, few at a time of those that are wanted.
 * used: bytes from `base` that are or were in use, of `bytes`. Gives back what was made ready for a
 * growth that has ended. */
void kvi_look_ahead(struct kvi_ahead *ahead, uint8_t *base, size_t used, size_t bytes,
                    size_t *ret_first, size_t *ret_n);
/* Room for `bytes` aligned to a chunk, inside the reservation *ret_raw; NULL: no memory. */
uint8_t *kvi_reserve_aligned(size_t bytes, void **ret_raw);
void kvi_unreserve_aligned(void *raw, size_t bytes);

static inline void *kvi_at(const struct kvi_index *x, uint32_t ref) {
    return x->arena.base + (size_t)ref * 16;
}

/* ---- kvi_epoch.c ------------------------------------------------------------------------ */

void kvi_pin(struct kvi_reader *r);
void kvi_unpin(struct kvi_reader *r);
/* The thing is unreachable for searches that begin from now on. */
void kvi_retire(struct kvi_index *x, enum kvi_retired_kind kind, uint32_t ref, size_t bytes);
void kvi_reclaim(struct kvi_index *x);

/* ---- kvi_names.c ------------------------------------------------------------------------ */

void kvi_names_prefetch(const struct kvi_index *x, uint64_t name);
/* False: no memory. *ret_equal is set when the name was there already, at any place. */
bool kvi_names_add(struct kvi_index *x, uint64_t name, uint32_t place, bool *ret_equal);
void kvi_names_delete(struct kvi_index *x, uint64_t name, uint32_t place);
/* The same for up to 128 names at places one after another; number of those added. */
uint32_t kvi_names_add_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place,
                            bool *ret_equal);
void kvi_names_delete_many(struct kvi_index *x, const uint64_t *names, uint32_t n, uint32_t place);
/* Makes an empty segment ready for its share of so many names, as far as there is memory. */
void kvi_names_expect(struct kvi_index *x, uint32_t segment, uint64_t names);
/* Calls fn for each place with the name until fn returns true; its place, or 0. */
uint32_t kvi_names_each(struct kvi_index *x, uint64_t name, bool (*fn)(void *arg, uint32_t place),
                        void *arg);
/* The place that the holder's name maps to (a node's or an alias record's), or 0. */
uint32_t kvi_names_find(struct kvi_index *x, struct kvi_holder h, uint64_t name);

/* ---- kvi_child.c ------------------------------------------------------------------------ */

/* Any thread that is pinned or holds the lock. 0: none. */
uint32_t kvi_child_find(const struct kvi_index *x, uint32_t parent, uint32_t off, uint64_t first);
/* Asks for the lines of the table that kvi_child_find, or kvi_child_add or kvi_child_delete of such
 * a node, will read. */
void kvi_child_fetch(const struct kvi_index *x, uint32_t parent, uint32_t off, uint64_t first);
/* Whether a node may hang before offset off of the node. */
static inline bool kvi_may_branch(const struct kvi_node *n, uint32_t off) {
    return atomic_load_explicit(&n->n_children, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&n->high_child, memory_order_relaxed) >= off;
}
/* The node's remembered child if it is the one that goes on with the content before offset off. */
static inline uint32_t kvi_remembered(const struct kvi_index *x, uint32_t node, uint32_t off,
                                      uint64_t content) {
    /* Pairs with the release in kvi_branch. */
    uint32_t guess = atomic_load_explicit(&x->nodes[node].child, memory_order_acquire);
    const struct kvi_node *g = &x->nodes[guess];
    bool is_it = guess != 0 && g->first == content && g->parent == node && g->parent_off == off;
    return is_it ? guess : 0;
}
/* The node that goes on with the content before offset off of the node. One line where it is the
 * remembered one, as it mostly is but at the root. */
static inline uint32_t kvi_next_node(const struct kvi_index *x, uint32_t node, uint32_t off,
                                     uint64_t content) {
    if (!kvi_may_branch(&x->nodes[node], off))
        return 0;
    uint32_t guess = node != 0 ? kvi_remembered(x, node, off, content) : 0;
    return guess != 0 ? guess : kvi_child_find(x, node, off, content);
}
bool kvi_child_add(struct kvi_index *x, uint32_t node); /* false: no memory */
void kvi_child_delete(struct kvi_index *x, uint32_t node);

/* ---- kvi_hold.c ------------------------------------------------------------------------- */

/* Header of a node's further holders: cells of four bytes, or one byte of cutoff a rank. */
struct kvi_list {
    uint32_t cap; /* cells, or ranks */
    uint32_t dense;
    uint32_t bytes;
    uint32_t n_used; /* cells not empty */
    union {
        _Atomic uint32_t cells[1];
        _Atomic uint8_t cut[1];
    } u;
};
struct kvi_mask {
    _Atomic uint32_t key; /* rank << 2 | tier, + 1; 0 = empty */
    uint32_t pad;
    _Atomic uint64_t bits[2];
};
struct kvi_masks {
    uint32_t cap;           /* a power of two is not needed */
    uint32_t bytes, n_used; /* entries with a key */
    uint32_t n_live;        /* entries with a bit */
    struct kvi_mask at[1];
};
uint32_t kvi_cut(const struct kvi_index *x, const struct kvi_node *n, uint32_t rank);
bool kvi_covered(const struct kvi_index *x, const struct kvi_node *n, struct kvi_holder h,
                 uint32_t off);
/* Afterwards kvi_cover from `from` on cannot fail. */
bool kvi_cover_reserve(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, uint32_t from);
/* Number of places in [from, to) that were not covered before. */
uint32_t kvi_cover(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, uint32_t from,
                   uint32_t to);
/* Number of places no longer covered. KVI_NO_ROOM: a hole needed memory, nothing was done; never
 * for the whole node. */
#define KVI_NO_ROOM UINT32_MAX
uint32_t kvi_uncover(struct kvi_index *x, struct kvi_node *n, struct kvi_holder h, uint32_t from,
                     uint32_t to);
/* Blocks of the node that some holder needs, counted from its beginning. */
uint32_t kvi_needed(const struct kvi_index *x, const struct kvi_node *n);
/* Calls fn for every holder of the node. fn may uncover that holder. */
void kvi_each_holder(struct kvi_index *x, struct kvi_node *n,
                     void (*fn)(void *arg, struct kvi_holder h), void *arg);
/* The holder's bits of the node. */
void kvi_bits(const struct kvi_index *x, const struct kvi_node *n, struct kvi_holder h,
              uint64_t ret_bits[2]);
void kvi_hold_free(struct kvi_index *x, struct kvi_node *n); /* retires list and masks */

static inline uint32_t kvi_mask_home(uint32_t key, uint32_t cap) {
    return kvi_scale(key * 0x9E3779B1u, cap);
}

/* ---- kvi_tree.c ------------------------------------------------------------------------- */

static inline uint32_t kvi_len(uint64_t body) {
    return (uint32_t)(body & 255);
}
uint32_t kvi_cap(uint64_t body);
static inline uint64_t *kvi_content(const struct kvi_index *x, uint64_t body) {
    return kvi_at(x, (uint32_t)(body >> 16));
}
static inline uint64_t *kvi_name_array(const struct kvi_index *x, uint64_t body) {
    return kvi_content(x, body) + kvi_cap(body);
}
static inline uint64_t kvi_body(const struct kvi_node *n) {
    return atomic_load_explicit(&n->body, memory_order_relaxed); /* the writer's own */
}
uint32_t kvi_class_for(uint32_t n_blocks); /* size class of data for so many blocks */
uint32_t kvi_class_blocks(uint32_t class);
uint32_t kvi_node_new(struct kvi_index *x, enum kvi_node_type type, uint32_t parent,
                      uint32_t parent_off, uint64_t first); /* 0: no room */
void kvi_node_free(struct kvi_index *x, uint32_t node);     /* retires it; not its parts */
/* Adds up to n blocks behind the last one; returns how many there was memory for. */
uint32_t kvi_append(struct kvi_index *x, uint32_t node, const struct kvi_block *blocks, uint32_t n,
                    bool *ret_equal);
/* A node for the blocks, which no place holds yet; returns 0 without memory. *ret_n: how many. */
uint32_t kvi_branch(struct kvi_index *x, uint32_t parent, uint32_t off,
                    const struct kvi_block *blocks, uint32_t n, uint32_t *ret_n, bool *ret_equal);
/* Drops blocks that nobody needs, the node itself when none is left, and then its parents. */
void kvi_trim(struct kvi_index *x, uint32_t node);
void kvi_touch(struct kvi_index *x, struct kvi_node *n);

/* ---- kvi_alias.c ------------------------------------------------------------------------ */

/* Whether the place's first name is a name of the holder (beside a name of its own, if any). */
bool kvi_first_name_held(const struct kvi_index *x, struct kvi_holder h, uint32_t node,
                         uint32_t off);
bool kvi_maps(const struct kvi_index *x, struct kvi_holder h, uint32_t place, uint64_t name);
/* Gives the holder one more name for a place that it covers or is about to cover. */
bool kvi_alias_add(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                   uint64_t name);
/* Takes the name at this alias place away. True: it was the last one, the place is to be
 * uncovered. */
bool kvi_alias_remove(struct kvi_index *x, uint32_t place);
/* The holder also uses (or no longer uses) the first name. */
bool kvi_alias_any(const struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off);
void kvi_alias_set_also(struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                        bool also);
/* Of the places covered (bits), leaves those whose first name is a name of the holder. */
void kvi_first_bits(const struct kvi_index *x, struct kvi_holder h, uint32_t node,
                    uint64_t bits[2]);
/* Drops all alias records of the holder at the node; number of names dropped. */
uint32_t kvi_alias_drop(struct kvi_index *x, struct kvi_holder h, uint32_t node);
/* k-th name of the holder at the place beyond the first name. */
bool kvi_alias_name(const struct kvi_index *x, struct kvi_holder h, uint32_t node, uint32_t off,
                    uint32_t k, uint64_t *ret_name);
static inline struct kvi_holder kvi_alias_holder(const struct kvi_node *record) {
    return (struct kvi_holder){(uint32_t)(record->first >> 2 & 0xFFFFFF),
                               (enum kvi_tier)(record->first & 3)};
}
uint64_t *kvi_alias_names(const struct kvi_index *x, const struct kvi_node *record);

/* ---- kvi_event.c ------------------------------------------------------------------------ */

/* One or more stored events that go on where the one before ended, as one. */
struct kvi_stored {
    bool has_parent;
    uint64_t parent_hash; /* of the first */
    const struct kvi_block *blocks;
    const size_t *ends; /* of each event: blocks up to its end */
    uint32_t n_events;
    bool *ret_new; /* of each event: it brought something; set, never cleared */
};
/* Asks for what a stored event will most likely be compared with, while its own blocks are on their
 * way: the parent where its rank stored last, and the blocks behind it. */
void kvi_store_fetch(const struct kvi_index *x, const struct kvi_event *e);
/* *ret_done: blocks stored, all of them unless the result is an error. */
enum kvi_result kvi_store_locked(struct kvi_index *x, struct kvi_holder h,
                                 const struct kvi_stored *s, size_t *ret_done);
/* Returns how many names were unknown; ret_missing (NULL or one a name) is set for those. */
size_t kvi_remove_locked(struct kvi_index *x, struct kvi_holder h, const uint64_t *names, size_t n,
                         bool *ret_missing);

/* ---- kvi_simd.c ------------------------------------------------------------------------- */

struct kvi_kernels {
    uint32_t wide; /* 256: AVX2, BMI and BMI2; 512: AVX-512 F, BW, DQ and VL too */
    /* Number of leading equal words. */
    uint32_t (*match)(const uint64_t *a, const uint64_t *b, uint32_t n);
    /* The same where the second goes downwards from *last. */
    uint32_t (*match_back)(const uint64_t *a, const uint64_t *last, uint32_t n);
    /* Number of leading blocks whose content and name are these. */
    uint32_t (*match_blocks)(const struct kvi_block *blocks, const uint64_t *content,
                             const uint64_t *names, uint32_t n);
    /* Whether one of the blocks has the name. */
    bool (*has_name)(const struct kvi_block *blocks, size_t n, uint64_t name);
    /* For each rank below n whose score is d: adds min(cut, m); number of them with cut >= m. n is
     * a multiple of 16. */
    uint32_t (*add_cuts)(const _Atomic uint8_t *cut, uint32_t n, uint32_t d, uint32_t m,
                         uint32_t *scores);
    /* The same for a first node, where every score is 0: they are written without being read. */
    uint32_t (*set_cuts)(const _Atomic uint8_t *cut, uint32_t n, uint32_t m, uint32_t *scores);
    /* kvi_name_hash of each. */
    void (*hash_names)(const uint64_t *names, uint32_t n, uint64_t *ret);
    /* Ranks below n with a score, in kvi_find's form; how many, of which `room` are written. n is a
     * multiple of 16. */
    size_t (*list_scores)(const uint32_t *scores, const struct kvi_who *who, uint32_t n,
                          struct kvi_score *ret, size_t room);
    /* Blocks into content hashes and names. */
    void (*unzip)(const struct kvi_block *blocks, uint32_t n, uint64_t *ret_content,
                  uint64_t *ret_names);
};
/* Those that this processor has, the fastest first; NULL: no more. */
const struct kvi_kernels *kvi_kernels_at(uint32_t i);

/* ---- kvi_index.c ------------------------------------------------------------------------ */

#define KVI_NO_RANK UINT32_MAX
static inline struct kvi_worker kvi_who(const struct kvi_index *x, uint32_t rank) {
    return kvi_who_at(x->who, rank);
}
uint32_t kvi_rank_find(const struct kvi_index *x, struct kvi_worker w);
uint32_t kvi_rank_for(struct kvi_index *x, struct kvi_worker w);
/* Counts names gained or lost by the holder. */
void kvi_count(struct kvi_index *x, struct kvi_holder h, int64_t names);
/* Drops all names and the coverage of the holder at the node, which is not trimmed. Returns the
 * number of names. */
uint32_t kvi_drop_holder(struct kvi_index *x, uint32_t node, struct kvi_holder h);
/* Drops some cold leaves, not the node `keep`. False: there was none. */
bool kvi_evict(struct kvi_index *x, uint32_t keep);
/* Drops everything of the rank. */
void kvi_clear_rank(struct kvi_index *x, uint32_t rank);

/* How large an index is: names in its table, nodes, bytes of its arena. */
struct kvi_size {
    uint64_t names, nodes, bytes;
};
/* These take the lock. */
struct kvi_size kvi_size_of(struct kvi_index *x);
/* The index will grow by so much soon: kvi_make_ready goes ahead of it. Zeroes: no more, and what
 * was made ready in vain goes back. */
void kvi_expect(struct kvi_index *x, const struct kvi_size *more);
/* Makes the name table as large as it will be; nothing when the budget does not hold all of it, or
 * where names are already. */
void kvi_expect_names(struct kvi_index *x, const struct kvi_size *more);
/* One step of kvi_maintain; false: nothing was to be made ready. */
bool kvi_make_ready(struct kvi_index *x);

#endif
