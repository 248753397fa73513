/*
 * The load of one loop: conversations that start when they are due (open loop) or when another has
 * ended (closed loop), each sending its turns over one HTTP client.
 *
 * Open loop: all loops walk the same sequence of arrivals and each serves every n-th, by a timer
 * of nanosecond resolution. Closed loop: each loop keeps its share of --concurrency in work and
 * takes the next conversation from a common counter. Threads: the loop's, except where said.
 */
#ifndef WEIR_BENCH_LOAD_H
#define WEIR_BENCH_LOAD_H

#include "bench/dialog.h"
#include "bench/tally.h"
#include "net/http_client.h"

struct weir_load;

/* Of the whole run; read-only but for the atomics. Outlives the loads. */
struct weir_load_run {
    const struct weir_plan *plan;
    struct weir_dialog_form form;
    struct weir_http_client_config http; /* max_conns is that of one loop */
    const char *target;
    const struct weir_http_header *headers;
    size_t n_headers;
    uint64_t timeout_ms;
    struct weir_bench_slo slo;

    bool open_loop;
    bool poisson;         /* of an open loop without trace */
    double rate;          /* requests a second; open loop without trace */
    double trace_speedup; /* with plan->trace */
    uint64_t max_active;  /* conversations of the whole run; UINT64_MAX = unbounded */
    uint64_t n_warmup;    /* requests */
    uint64_t n_total;     /* requests, warm-up included; UINT64_MAX = no limit */
    uint64_t duration_ns; /* of the measurement; UINT64_MAX = no limit */
    uint64_t start_ns;
    unsigned n_loops;

    /* Called after each request, on its loop's thread. May be NULL. */
    void (*on_outcome)(void *arg, const struct weir_turn *turn, const struct weir_outcome *outcome);
    void *outcome_arg;

    _Atomic uint64_t next_conversation; /* closed loop */
    _Atomic uint64_t window_ns;         /* closed loop: first measured send; 0 = not yet */
};

/* Counters for the progress line. Written by the loop, read by any thread, relaxed. */
struct weir_load_live {
    _Atomic uint64_t sent, done, errors, tokens, active;
};

/* On the loop's thread, once: nothing is in work any more and the load's connections are closed. */
typedef void (*weir_load_done_fn)(void *arg);

/* Thread: any, before the loop runs. */
enum weir_status weir_load_create(struct weir_load_run *run, struct weir_loop *loop, unsigned index,
                                  weir_load_done_fn on_done, void *arg, struct weir_load **ret_load,
                                  struct weir_err *err) WEIR_MUST_CHECK;
/* After the loop has ended, or when it never ran. Accepts NULL. */
void weir_load_destroy(struct weir_load *load);
void weir_load_start(struct weir_load *load);
/* Sends nothing new; what is in work goes on. Idempotent. */
void weir_load_stop(struct weir_load *load);
/* Cancels what is in work too; it counts as unfinished. */
void weir_load_abort(struct weir_load *load);
/* Thread: any. */
const struct weir_load_live *weir_load_live(const struct weir_load *load);
/* After on_done. The tally stays the load's. */
struct weir_tally *weir_load_tally(struct weir_load *load);
double weir_load_cpu_s(const struct weir_load *load); /* of its thread, from start to on_done */

#endif
