/* `weir replay --grid`: many configurations of one trace side by side, on the CPU or a GPU. */
#ifndef WEIR_BENCH_REPLAY_GRID_H
#define WEIR_BENCH_REPLAY_GRID_H

#include "bench/grid.h"
#include "bench/replay_stats.h"

/* What one configuration came to. */
struct weir_replay_point {
    double token_rate, block_rate;
    double prefill_balance, requests_balance; /* max over mean */
    double ttft_mean_ms, ttft_p50_ms, ttft_p90_ms, ttft_p99_ms, e2e_p50_ms, e2e_p99_ms, makespan_s;
    uint64_t refused, preemptions;
    uint64_t digest; /* of all outcomes, as struct weir_replay_row has it */
    bool done, pareto;
};

struct weir_replay_grid {
    const struct weir_replay_options *options; /* borrowed, as the trace */
    const struct weir_trace *trace;
    struct weir_grid grid;
    struct weir_replay_point *points; /* owned; one a configuration */
    uint32_t *ranking;                /* owned; places, the best first */
    size_t n_requests, n_pareto;
    char device[160]; /* what simulated them */
    uint64_t fallen_back, waves;
    double seconds;         /* of the simulation */
    double best_token_rate; /* of a cache that forgets nothing, at the first block size */
};

/* --grid as a grid of this command's options; modes are one of its axes. */
enum weir_status weir_replay_grid_read(const struct weir_replay_options *options,
                                       const char *(*refuses)(const struct weir_option *option),
                                       struct weir_arena *arena, struct weir_grid *ret,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* Names axes and runs everything; lines about a device that is missing go to the log. */
enum weir_status weir_replay_grid_run(const struct weir_replay_options *options, bool tty,
                                      const struct weir_trace *trace, struct weir_arena *arena,
                                      struct weir_replay_grid *ret,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts one that is zero. */
void weir_replay_grid_fini(struct weir_replay_grid *g);
/* The figure that --best names, and its name; lower is better. */
double weir_replay_grid_loss(const struct weir_replay_grid *g, const struct weir_replay_point *p);
const char *weir_replay_grid_best_name(const struct weir_replay_grid *g);

/* Table, JSON, page. */
enum weir_status weir_replay_grid_text(const struct weir_replay_grid *g,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_grid_json(const struct weir_replay_grid *g,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_grid_html(const struct weir_replay_grid *g,
                                       struct weir_buf *out) WEIR_MUST_CHECK;

#endif
