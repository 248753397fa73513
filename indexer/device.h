/*
 * The device's copies of the indexes, for bulk queries and hashing (cuda/kvc.h). One thread of its
 * own talks to the device: no loop waits for it. What the device cannot do, for whatever reason,
 * the caller does on the CPU; each function here says so and never fails a request.
 *
 * A mirror is the copy of one index. It sees the same events in the same order through a bounded
 * queue, so a question on it sees what was applied before it was asked, and never half an event.
 * Where the copy cannot follow (queue full, index over its budget, table too small) it is made
 * again from the index: until that is done the CPU answers.
 */
#ifndef WEIR_INDEXER_DEVICE_H
#define WEIR_INDEXER_DEVICE_H

#include "base/metrics.h"
#include "cuda/kvc.h"
#include "kvindex/kvi.h"
#include "net/loop.h"

struct weir_device;
struct weir_mirror;

struct weir_device_config {
    struct kvc_options kvc; /* kind KVC_CPU: the reference in the device's place, for tests */
    bool wanted;            /* by name: its absence is worth a warning */
    size_t queue_bytes;     /* of events on their way; 0 = 64 MiB */
    uint64_t stall_ms;      /* an answer that takes longer is not waited for; 0 = 2,000 */
    uint64_t copy_pause_ms; /* between two copies of one index at least; 0 = 10,000 */
    struct weir_loop *loop; /* borrowed: where events arrive */
    struct weir_metrics *metrics;
};
/* Opens the device on its thread; until then the CPU answers. Thread: the loop's. */
enum weir_status weir_device_start(const struct weir_device_config *config,
                                   struct weir_device **ret_device) WEIR_MUST_CHECK;
/* Waits for what the device is doing, but for a device that does not answer: that thread is left
 * behind. Mirrors stay, as plain indexes. Accepts NULL. */
void weir_device_stop(struct weir_device *device);

/* ---- thread: the loop's --------------------------------------------------------------------- */

/* `device` may be NULL: then it is the index alone. `name` for the log, copied. NULL: no memory.
 * The index is borrowed; from now on it changes through the mirror only. */
struct weir_mirror *weir_mirror_create(struct weir_device *device, struct kvi_index *index,
                                       const char *name);
/* After weir_device_stop. Accepts NULL. */
void weir_mirror_destroy(struct weir_mirror *mirror);
/* kvi_apply, kvi_clear, kvi_rank_remove, and the same for the copy. While a copy is being made the
 * index gets them when it is done (they wait, bounded, and without blocking the loop). The first
 * gives what the index says; KVI_OK also of an event that waits. */
enum kvi_result weir_mirror_apply(struct weir_mirror *mirror, const struct kvi_event *event);
void weir_mirror_apply_many(struct weir_mirror *mirror, const struct kvi_event *events, size_t n);
void weir_mirror_clear(struct weir_mirror *mirror, struct kvi_worker worker);
void weir_mirror_remove(struct weir_mirror *mirror, struct kvi_worker worker);
/* The index was changed otherwise (a snapshot was read into it). */
void weir_mirror_stale(struct weir_mirror *mirror);
/* A bulk query is coming: begins a copy where there should be one. */
void weir_mirror_wake(struct weir_mirror *mirror);

bool weir_mirror_has_device(const struct weir_mirror *mirror); /* any thread while it runs */

/* ---- thread: any but the loop's and the device's -------------------------------------------- */

/* n queries one behind the other, as kvc_queries; both arrays become the function's. */
struct weir_ask {
    uint64_t *local, *offsets;
    size_t n;
    /* The answer: scores of query i are scores[ends[i - 1] .. ends[i]); owned by the ask. */
    struct kvi_score *scores;
    size_t *ends;
};
/* NULL: no memory, and both are freed. */
struct weir_ask *weir_ask_create(uint64_t *local, uint64_t *offsets, size_t n);
void weir_ask_release(struct weir_ask *ask); /* accepts NULL */
/* Scores as kvi_find gives them. False: do it on the CPU; *ret_reason (static) says why, as a
 * label. The ask's arrays may be read on, whatever came. */
bool weir_mirror_match(struct weir_mirror *mirror, struct weir_ask *ask, const char **ret_reason);

/* Prompts to be hashed, by whoever: filled in by its maker. */
struct weir_hashing {
    uint32_t *tokens;
    uint64_t *offsets, *seeds; /* n + 1, from 0; n */
    size_t n;
    uint32_t block_size;
    uint64_t *local; /* what the device answers: every block of every prompt */
};
struct weir_hashing *weir_hashing_create(size_t n, size_t n_tokens, uint32_t block_size);
void weir_hashing_release(struct weir_hashing *h); /* accepts NULL */
/* kvi_hash_blocks of each prompt into `local`. False: it is to be done on the CPU, elsewhere than
 * in `local`, which the device may still write; *ret_reason (static) as with weir_mirror_match. */
bool weir_device_hash(struct weir_device *device, struct weir_hashing *h, const char **ret_reason);

#endif
