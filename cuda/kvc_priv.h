/* The back ends' side of kvc.h, and the host's copy of a table. */
#ifndef WEIR_CUDA_KVC_PRIV_H
#define WEIR_CUDA_KVC_PRIV_H

#include "cuda/kvc_core_priv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- map: u64 to u32 (kvc_map.c) ------------------------------------------------------------ */

/* Open addressing with linear probing; deletion leaves no marks. */
struct kvc_entry {
    uint64_t key;
    uint32_t value, used;
};
struct kvc_map {
    struct kvc_entry *entries; /* owned */
    size_t cap, len;
};
void kvc_map_fini(struct kvc_map *m);
bool kvc_map_put(struct kvc_map *m, uint64_t key, uint32_t value); /* false: out of memory */
uint32_t *kvc_map_at(const struct kvc_map *m, uint64_t key);       /* NULL: not there */
void kvc_map_remove(struct kvc_map *m, uint64_t key);

/* ---- sets of ranks (kvc_sets.c) ------------------------------------------------------------- */

/* Each distinct set exists once and has a number; slots name sets by number, so that neighbours
 * with the same holders are seen to be equal without a look at the members. */
struct kvc_sets {
    struct kvc_set *sets;        /* by number; all arrays owned */
    uint32_t *refs, *versions;   /* a number that is used again has another version */
    uint64_t *sums;              /* what they are found by */
    uint16_t *members;           /* of all sets; room of 2^c, c by the set's size */
    uint32_t n, cap, free_first; /* numbers; free ones are chained through sets[].at */
    uint32_t n_members, cap_members;
    uint32_t free_room[17]; /* first free room of a size; chained through its first two members */
    struct kvc_map index;   /* sum → number; sums that meet are told apart by the next free sum */
    struct kvc_step *steps; /* what adding or taking out a rank has led to lately */
    uint32_t *dirty;        /* numbers that were made since the last commit, perhaps twice */
    uint32_t n_dirty, cap_dirty;
    uint32_t live;
};
bool kvc_sets_init(struct kvc_sets *s);
void kvc_sets_fini(struct kvc_sets *s);
/* The set with the rank added (it must not be in it) or taken out (it must be); KVC_NONE: out of
 * memory. It has no reference yet: take one before the next call. */
uint32_t kvc_sets_step(struct kvc_sets *s, uint32_t set, uint32_t rank, bool add);
void kvc_sets_ref(struct kvc_sets *s, uint32_t set);
void kvc_sets_unref(struct kvc_sets *s, uint32_t set);
bool kvc_sets_has(const struct kvc_sets *s, uint32_t set, uint32_t rank);

/* ---- table (kvc_table.c) -------------------------------------------------------------------- */

struct kvc_table {
    struct kvc *k;
    struct kvc_table_options options;
    struct kvc_secret secret;
    struct kvc_slot *slots; /* cap of them, a power of two; all owned */
    uint32_t *external;     /* the fourth tier's sets; NULL until one is stored */
    uint32_t mask;
    size_t used;
    struct kvc_sets sets;
    struct kvc_map *names; /* [rank * KVC_TIERS + tier]: the engine's name → slot */
    struct kvc_map extra;  /* slot and holder → names beyond the first */
    uint32_t *dirty;       /* slots changed since the last commit, each once */
    uint64_t *dirty_bits;
    size_t n_dirty, cap_dirty;
    bool all_dirty;
    enum kvc_status broken; /* KVC_OK, or what it refuses everything with */
    bool on_host;           /* the device has no room for the copy */
    struct kvc_table_stats stats;
    void *device; /* the back end's copy */
};

/* What a query reads. */
struct kvc_view {
    const struct kvc_slot *slots;
    const uint32_t *external; /* may be NULL */
    const struct kvc_set *sets;
    const uint16_t *members;
    uint32_t mask, max_ranks;
};

KVC_FN uint32_t kvc_set_of(const struct kvc_view *v, uint32_t slot, int tier) {
    if (tier == KVC_EXTERNAL)
        return v->external == NULL ? 0 : v->external[slot];
    return v->slots[slot].sets[tier];
}

/* ---- back ends ------------------------------------------------------------------------------ */

struct kvc_trace;
struct kvc_wave;
struct kvc_decision_log;
struct kvc_decision_config;
struct kvc_decision_result;
enum { KVC_ABI = 3 };
struct kvc_ops {
    uint32_t abi;
    enum kvc_status (*open)(const struct kvc_options *o, const struct kvc_secret *secret,
                            void **ret, char *why, size_t room);
    void (*close)(void *dev);
    void (*info)(const void *dev, struct kvc_info *ret);
    void *(*alloc)(void *dev, enum kvc_memory memory, size_t bytes);
    void (*release)(void *dev, enum kvc_memory memory, void *p);
    enum kvc_status (*copy)(void *dev, void *to, const void *from, size_t bytes);
    enum kvc_status (*hash)(void *dev, const struct kvc_prompts *p, const uint64_t *block_offsets,
                            uint64_t *ret_local, uint64_t *ret_sequence);
    enum kvc_status (*table_commit)(void *dev, struct kvc_table *t);
    void (*table_free)(void *dev, struct kvc_table *t);
    enum kvc_status (*match)(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                             size_t room, struct kvc_match *ret, uint32_t *ret_n);
    enum kvc_status (*rank)(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                            const double *isl_tokens, const struct kvc_cost_params *params,
                            const struct kvc_loads *loads, double min_prefill, uint32_t top,
                            struct kvc_choice *ret);
    /* Replay (kvc_replay_priv.h): a trace comes over with its first wave; waves of different slots
     * run beside each other. */
    void (*trace_free)(void *dev, struct kvc_trace *t);
    enum kvc_status (*wave_begin)(void *dev, struct kvc_trace *t, unsigned slot,
                                  const struct kvc_wave *w);
    enum kvc_status (*wave_end)(void *dev, unsigned slot);
    enum kvc_status (*redecide)(void *dev, const struct kvc_decision_log *log,
                                const struct kvc_decision_config *configs, size_t n,
                                struct kvc_decision_result *ret);
};
struct kvc {
    const struct kvc_ops *ops;
    void *dev;
    void *plugin; /* of dlopen */
    struct kvc_secret secret;
    struct kvc_options options;
    bool lost, told_nomem;
    uint64_t fallen_back;
};
/* Whether the CPU shall do what the device has answered so. */
bool kvc_falls_back(struct kvc *k, enum kvc_status st);
extern const struct kvc_ops kvc_cpu_ops;
/* What the plug-in exports, under this name. */
typedef const struct kvc_ops *(*kvc_plugin_fn)(void);
#define KVC_PLUGIN_SYMBOL "kvc_cuda_plugin"

#ifdef __cplusplus
}
#endif
#endif
