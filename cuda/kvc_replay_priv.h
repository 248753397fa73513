/* What the files of the replay share: a trace by runs, and a batch of configurations. */
#ifndef WEIR_CUDA_KVC_REPLAY_PRIV_H
#define WEIR_CUDA_KVC_REPLAY_PRIV_H

#include "cuda/kvc_sim_router_priv.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvc_trace {
    struct kvc *k;                    /* borrowed: outlives it */
    struct kvc_sim_request *requests; /* all owned */
    struct kvc_run *runs;
    uint32_t *paths;
    size_t n_paths;
    uint64_t n_blocks;
    double last_ms;
    uint64_t most_tokens;     /* of a request */
    struct kvc_course course; /* of the arrays above */
    void *device;             /* the back end's copy */
};

/* What a configuration leaves besides its outcomes. */
struct kvc_sim_end {
    uint64_t preemptions;
    uint32_t failed, unused;
};

/* Configurations that run at once on the device. State i begins at `places[i]` of the slot's
 * memory; arrays are of the host. */
struct kvc_wave {
    const struct kvc_replay_config *configs;
    const uint64_t *places;
    uint32_t n;
    uint32_t lanes;                      /* of one configuration: a power of two, at most 32 */
    size_t state_bytes;                  /* of all */
    struct kvc_replay_outcome *outcomes; /* out: n times as many as requests; pinned */
    struct kvc_sim_end *ends;            /* out; pinned */
};
enum { KVC_REPLAY_SLOTS = 2 };

/* kvc_replay_cpu.c: configurations on threads of the host. `order` are their places. */
struct kvc_sim_batch {
    const struct kvc_trace *trace;
    const struct kvc_replay_config *configs;
    const struct kvc_replay_options *options;
    const uint32_t *order;
    size_t n, n_done_before; /* for the progress */
    size_t max_bytes;
    unsigned threads;
};
enum kvc_status kvc_replay_on_cpu(const struct kvc_sim_batch *b, struct kvc_replay_stats *stats);
/* Hands out what a wave has left, on threads. */
void kvc_replay_deliver(const struct kvc_replay_options *o, const struct kvc_wave *w,
                        const uint32_t *order, size_t n_requests, unsigned threads);
/* fn(arg, thread) on so many threads, one of them the caller's; where the system gives fewer, on
 * fewer. */
void kvc_run_crew(unsigned threads, void (*fn)(void *arg, unsigned thread), void *arg);
/* fn(arg, i) once for each i below n, dealt out to such a crew. */
void kvc_run_each(unsigned threads, size_t n, void (*fn)(void *arg, size_t i), void *arg);
/* For n pieces of work: as many as are wanted (0 = all cores), and no more than that. */
unsigned kvc_crew_size(unsigned wanted, size_t n);

#ifdef __cplusplus
}
#endif
#endif
