/*
 * A trace against simulated workers: the router of router/, the engine of worker/, and a clock that
 * jumps from event to event. Nothing sleeps and nothing depends on the machine: the same set-up
 * gives the same outcomes. What the network would do is left out: a request reaches its worker, and
 * a KV event the router, at once.
 */
#ifndef WEIR_BENCH_REPLAY_SIM_H
#define WEIR_BENCH_REPLAY_SIM_H

#include "bench/trace.h"
#include "router/queue.h"
#include "router/router.h"
#include "worker/engine.h"

struct weir_replay_setup {
    const struct weir_trace *trace; /* borrowed, as all below */
    size_t n_requests;              /* of its lines */
    uint32_t trace_block;
    double trace_speedup;
    uint32_t n_workers;
    struct weir_engine_config engine;
    struct weir_router_config router; /* without the mode */
    struct weir_busy_thresholds thresholds;
    bool queues; /* requests wait in the router above its queue_threshold, in this order */
    enum weir_queue_policy order;
    uint64_t seed;
    void (*on_progress)(void *arg, size_t n_done); /* now and then; or NULL */
    void *progress_arg;
};

/* Of one request; times in microseconds since the trace's beginning. */
struct weir_replay_outcome {
    uint64_t due_us, first_us, end_us;
    uint32_t worker;
    uint32_t cached_tokens;
    bool waited;  /* in the router's queue */
    bool refused; /* all workers were above the busy thresholds */
};

/* WEIR_INVALID: a request that no worker can hold. */
enum weir_status weir_replay_check(const struct weir_replay_setup *setup,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* The tokens of a request's prompt. */
void weir_replay_tokens(const struct weir_replay_setup *setup, size_t request,
                        uint32_t *ret_tokens);
/* When it arrives, in simulated time. */
uint64_t weir_replay_due_us(const struct weir_replay_setup *setup, size_t request);
/* The whole trace with one mode; `outcomes` has room for n_requests. *ret_preemptions: sequences
 * that had to start over for want of blocks. */
enum weir_status weir_replay_run(const struct weir_replay_setup *setup, enum weir_router_mode mode,
                                 struct weir_replay_outcome *outcomes, uint64_t *ret_preemptions,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Cached tokens alone, of one cache of n_blocks that sees every request in the order of arrival,
 * each complete at once; 0: a cache without a bound. */
enum weir_status weir_replay_best(const struct weir_replay_setup *setup, uint64_t n_blocks,
                                  struct weir_replay_outcome *outcomes,
                                  struct weir_err *err) WEIR_MUST_CHECK;

#endif
