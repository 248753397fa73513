/* What the files of the device back end share: kvc_device.cu (memory, tables) and, by what they
 * compute, kvc_hash.cu, kvc_match.cu, kvc_replay.cu, kvc_decide.cu. */
#ifndef WEIR_CUDA_KVC_DEVICE_PRIV_H
#define WEIR_CUDA_KVC_DEVICE_PRIV_H

#include "cuda/kvc_priv.h"

#include <cuda_runtime.h>

/* Device memory that grows and is kept for the next batch. */
struct kvc_buffer {
    void *p;
    size_t cap;
};

/* One batch in flight. Two take turns, so that one is copied while the other is hashed. */
struct kvc_lane {
    cudaStream_t stream;
    struct kvc_buffer tokens, offsets, block_offsets, seeds, local, sequence;
};

/* Changes of a table on their way. Two take turns: one is filled while the other travels. */
struct kvc_stage {
    void *host; /* pinned */
    size_t cap;
    struct kvc_buffer device;
    cudaEvent_t done;
    bool in_flight;
};

/* One wave of a replay; a decision log is in the first one's place. */
struct kvc_replay_slot {
    struct kvc_buffer configs, places, ends, outcomes, states;
};

struct kvc_device {
    int number, multiprocessors;
    size_t bytes, max_bytes;
    uint64_t uploaded;
    bool lost;
    struct kvc_secret secret; /* an argument of the kernels that hash */
    struct kvc_lane lanes[2]; /* tables and queries use the first one's stream */
    struct kvc_buffer queries, query_offsets, sequence, path, sets, isl, loads, scratch, results,
        counts;
    struct kvc_replay_slot replay[2];
    void *staging; /* pinned host memory */
    size_t cap_staging;
    struct kvc_stage stages[2];
};

/* A table's copy. */
struct kvc_device_table {
    struct kvc_buffer slots, external, sets, members;
};

/* The device as what this thread's calls of the runtime go to: a kvc may move between threads. */
struct kvc_device *kvc_device_enter(void *dev);
/* Waits for what a failed call has begun: the caller's memory and ours are in use until then. */
enum kvc_status kvc_device_settle(struct kvc_device *d, enum kvc_status st);
/* Failure of the device is remembered: every later call says KVC_LOST. */
enum kvc_status kvc_device_check(struct kvc_device *d, cudaError_t e);
void kvc_device_give_back(struct kvc_device *d, struct kvc_buffer *b);
/* At least `bytes`; what was in it is lost. KVC_NOMEM also over the budget. */
enum kvc_status kvc_device_room(struct kvc_device *d, struct kvc_buffer *b, size_t bytes);
enum kvc_status kvc_device_upload(struct kvc_device *d, cudaStream_t stream, void *to,
                                  const void *from, size_t bytes);
/* Room and upload in one, on the first lane's stream; `bytes` may be 0. */
enum kvc_status kvc_device_put(struct kvc_device *d, struct kvc_buffer *b, const void *from,
                               size_t bytes);
enum kvc_status kvc_device_staging(struct kvc_device *d, size_t bytes);

enum kvc_status kvc_device_hash(void *dev, const struct kvc_prompts *p,
                                const uint64_t *block_offsets, uint64_t *ret_local,
                                uint64_t *ret_sequence);
/* Sequence hashes of arrays in device memory. */
void kvc_device_chain(const struct kvc_device *d, cudaStream_t stream, const uint64_t *local,
                      const uint64_t *offsets, size_t n, uint64_t base, uint64_t *ret_sequence);
enum kvc_status kvc_device_match(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                 size_t room, struct kvc_match *ret, uint32_t *ret_n);
enum kvc_status kvc_device_rank(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                const double *isl_tokens, const struct kvc_cost_params *params,
                                const struct kvc_loads *loads, double min_prefill, uint32_t top,
                                struct kvc_choice *ret);

/* kvc_replay.cu */
void kvc_device_trace_free(void *dev, struct kvc_trace *t);
enum kvc_status kvc_device_wave_begin(void *dev, struct kvc_trace *t, unsigned slot,
                                      const struct kvc_wave *w);
enum kvc_status kvc_device_wave_end(void *dev, unsigned slot);
void kvc_device_replay_close(struct kvc_device *d);
/* kvc_decide.cu */
enum kvc_status kvc_device_redecide(void *dev, const struct kvc_decision_log *log,
                                    const struct kvc_decision_config *configs, size_t n,
                                    struct kvc_decision_result *ret);

#define KVC_TRY(call)                                                                              \
    do {                                                                                           \
        enum kvc_status try_status = (call);                                                       \
        if (try_status != KVC_OK)                                                                  \
            return try_status;                                                                     \
    } while (0)

#endif
