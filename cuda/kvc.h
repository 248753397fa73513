/*
 * cuda: block hashing and overlap scoring for many prompts at once, on a GPU or on the CPU. A
 * library of its own (prefix kvc_, needs libc and xxHash; the device part is a plug-in,
 * libweir_cuda.so, that is loaded when a device is asked for).
 *
 * Both back ends give identical results, bit for bit: they run the same inline functions
 * (kvc_core_priv.h) on the same tables. Hashes: shared spec "kvrouter" 1. Matching: 3.2 and kvi.h.
 * Cost: 4.1 and router/cost.h.
 *
 * Threads: a `struct kvc` and what was made of it belong to one thread at a time; several may be
 * open. A call on a device waits for its result: keep it off event loops.
 */
#ifndef WEIR_CUDA_KVC_H
#define WEIR_CUDA_KVC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kvc_status {
    KVC_OK,
    KVC_INVALID,      /* a size out of its range, offsets that go backwards */
    KVC_NOMEM,        /* of the host, of the device, or over the budget */
    KVC_NO_DEVICE,    /* no plug-in, no driver, no such device */
    KVC_LOST,         /* the device failed: close it; the CPU can go on with the same tables */
    KVC_FULL,         /* the table holds max_blocks */
    KVC_COLLISION,    /* two prefixes of one 64-bit sequence hash: this table cannot be exact */
    KVC_UNKNOWN,      /* parent or removed block is not held */
    KVC_INCONSISTENT, /* a defect of this library was found */
    KVC_STATUSES,
};
/* "ok", "no device", … */
const char *kvc_status_text(enum kvc_status s);

enum kvc_kind { KVC_CPU, KVC_CUDA };
struct kvc_options {
    enum kvc_kind kind;
    int device;       /* number, as CUDA counts */
    size_t max_bytes; /* of device memory for all tables and batches; 0 = half of what is free */
    /* Path of libweir_cuda.so; NULL: beside the executable, or where the loader looks. */
    const char *plugin;
    /* Where the device is missing, full or lost, the CPU does the work, for good or for that call,
     * and on_fall_back (may be NULL) is told why, once a reason. Only what is resident on the
     * device cannot be saved: such a call fails. */
    bool fall_back;
    void (*on_fall_back)(void *arg, const char *why);
    void *arg;
};
struct kvc_info {
    enum kvc_kind kind;
    char name[128]; /* of the processor or device */
    size_t bytes, max_bytes;
    uint64_t uploaded_bytes; /* since it was opened */
    int multiprocessors;     /* 0 on the CPU */
    uint64_t fallen_back;    /* calls that the CPU did in the device's place */
};
struct kvc;
/* `why` (room bytes, may be NULL) gets a sentence for the log when the status is not KVC_OK. */
enum kvc_status kvc_open(const struct kvc_options *options, struct kvc **ret, char *why,
                         size_t room);
void kvc_close(struct kvc *k); /* after its tables; accepts NULL */
void kvc_get_info(const struct kvc *k, struct kvc_info *ret);

/* Memory for large arguments: of the host but fast to transfer, or of the device itself. NULL: none
 * is left. The CPU reference gives plain memory for both. */
enum kvc_memory { KVC_MEMORY_HOST, KVC_MEMORY_DEVICE };
void *kvc_alloc(struct kvc *k, enum kvc_memory memory, size_t bytes);
void kvc_free(struct kvc *k, enum kvc_memory memory, void *p); /* accepts NULL */
/* From host to device memory of kvc_alloc(), or back. */
enum kvc_status kvc_copy(struct kvc *k, void *to, const void *from, size_t bytes);

/* ---- hashing ---------------------------------------------------------------------------- */

enum { KVC_BLOCK_SIZE_MAX = 1024 };
/* n prompts one behind the other: prompt i is tokens[offsets[i] .. offsets[i + 1]). */
struct kvc_prompts {
    const uint32_t *tokens;
    const uint64_t *offsets; /* n + 1, not falling */
    const uint64_t *seeds;   /* n (kvi_seed); NULL: 1337 for all */
    size_t n;
    uint32_t block_size; /* 1 to KVC_BLOCK_SIZE_MAX */
    bool eagle;          /* a block's window is one token longer */
    bool resident;       /* tokens and results are in device memory; the rest never is */
};
/* Where each prompt's blocks begin in the arrays of hashes: n + 1 sums. Returns their number. */
size_t kvc_block_offsets(const struct kvc_prompts *p, uint64_t *ret_offsets);
/* Hashes of all complete blocks; arrays of kvc_block_offsets() values. ret_sequence may be NULL. */
enum kvc_status kvc_hash(struct kvc *k, const struct kvc_prompts *p, uint64_t *ret_local,
                         uint64_t *ret_sequence);

/* ---- a table of what a fleet holds ------------------------------------------------------- */

enum { KVC_DEVICE, KVC_HOST, KVC_DISK, KVC_EXTERNAL, KVC_TIERS, KVC_RANKS_MAX = 65536 };

struct kvc_block {
    uint64_t block_hash, tokens_hash; /* as kvi_block */
};
enum kvc_event_kind { KVC_STORED, KVC_REMOVED, KVC_CLEARED };
struct kvc_event {
    enum kvc_event_kind kind;
    uint32_t rank; /* number of the (worker, rank), below max_ranks */
    uint32_t tier;
    bool has_parent;
    uint64_t parent_hash;
    const struct kvc_block *blocks; /* stored */
    const uint64_t *removed;
    size_t n;
};
struct kvc_table_options {
    size_t max_blocks;  /* distinct blocks in their context, at most 3 * 2^29; 0 = 1 Mi */
    uint32_t max_ranks; /* at most KVC_RANKS_MAX; 0 = 1,024 */
};
struct kvc_table_stats {
    uint64_t entries; /* (rank, tier, name) */
    uint64_t blocks;  /* slots in use, those that nobody holds any more included */
    uint64_t sets;    /* distinct groups of holders */
    uint64_t rebuilds;
    uint64_t uploads, uploaded_slots;
    size_t host_bytes;
};
struct kvc_table;
enum kvc_status kvc_table_create(struct kvc *k, const struct kvc_table_options *options,
                                 struct kvc_table **ret);
void kvc_table_destroy(struct kvc_table *t); /* accepts NULL */
/* Applies one event to the host's copy, as kvi_store, kvi_remove and kvi_clear do. Whole or not at
 * all, but for KVC_UNKNOWN of a removal (the others are removed). KVC_COLLISION and KVC_NOMEM may
 * leave half an event: from then on the table refuses everything with that status. */
enum kvc_status kvc_table_apply(struct kvc_table *t, const struct kvc_event *e);
/* For the copy of another index: the rank's block at the end of this path of contents (from the
 * root, n >= 1) gets a name, whoever holds what stands before it. Otherwise as a stored event. */
enum kvc_status kvc_table_place(struct kvc_table *t, uint32_t rank, uint32_t tier,
                                const uint64_t *path, size_t n, uint64_t block_hash);
/* Brings the device's copy up to date. Queries on it see the table as it was at the last commit;
 * where the CPU answers, as it is. Neither ever sees part of an event. After a commit that failed
 * (no fall_back) queries fail too, until one succeeds. */
enum kvc_status kvc_table_commit(struct kvc_table *t);
void kvc_table_get_stats(const struct kvc_table *t, struct kvc_table_stats *ret);

/* ---- scoring ------------------------------------------------------------------------------ */

/* n queries one behind the other: local hashes [offsets[i] .. offsets[i + 1]). */
struct kvc_queries {
    const uint64_t *local;
    const uint64_t *offsets;
    size_t n;
};
struct kvc_match {
    uint32_t rank;
    uint32_t blocks[KVC_TIERS]; /* as kvi_score */
};
/* Ranks that hold a leading block, by rank number, at most `room` a query into ret[i * room ..];
 * ret_n[i] is their number, which may exceed room. */
enum kvc_status kvc_match(struct kvc_table *t, const struct kvc_queries *q, size_t room,
                          struct kvc_match *ret, uint32_t *ret_n);

/* The router's cost (router/cost.h) of every candidate rank. */
struct kvc_cost_params {
    uint32_t block_size;
    bool track_prefill_tokens;
    double overlap_score_credit, overlap_credit_decay, prefill_load_scale;
    double decode_active_request_weight, host_weight, disk_weight;
};
/* Load of the ranks, max_ranks of each; a rank with candidate[r] = 0 is left out. */
struct kvc_loads {
    const unsigned char *candidate;
    const double *active_prefill_tokens, *active_decode_blocks, *active_requests;
};
enum { KVC_TOP_MAX = 32 };
struct kvc_choice {
    uint32_t rank;
    double cost;
};
/* The k cheapest ranks of each query, cheapest first, equal ones by rank number; isl_tokens: n
 * prompt lengths. Every prompt block counts as additional load (no running request shares it).
 * ret has k entries a query; missing ones have rank UINT32_MAX. */
enum kvc_status kvc_rank(struct kvc_table *t, const struct kvc_queries *q, const double *isl_tokens,
                         const struct kvc_cost_params *params, const struct kvc_loads *loads,
                         uint32_t k, struct kvc_choice *ret);

#ifdef __cplusplus
}
#endif
#endif
