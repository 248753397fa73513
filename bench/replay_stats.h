/* What a replay found: figures from the outcomes of its requests. Pure. */
#ifndef WEIR_BENCH_REPLAY_STATS_H
#define WEIR_BENCH_REPLAY_STATS_H

#include "base/buf.h"
#include "base/json.h"
#include "bench/plot.h"
#include "bench/replay_sim.h"
#include "runtime/options_replay.h"

enum { WEIR_REPLAY_COURSE = 100, WEIR_REPLAY_CURVE = 160 };
#define WEIR_REPLAY_NINES 3.5 /* how far the curve goes: 1 - 10^-3.5 */

/* How evenly something lies over the workers. */
struct weir_replay_balance {
    double max_over_mean; /* 1 = even */
    double mean, stdev;   /* of the population of workers */
};
struct weir_replay_times {
    double mean, p50, p90, p99, max; /* milliseconds; NAN without a request */
};
/* One row: a routing mode, or a cache that serves all (hits and course only). */
struct weir_replay_row {
    const char *name;
    bool is_mode;
    uint64_t requests, refused, preemptions;
    uint64_t waited;                       /* in the router's queue */
    uint64_t prompt_tokens, cached_tokens; /* of requests that were served */
    uint64_t prompt_blocks, hit_blocks;    /* complete blocks of their prompts */
    uint64_t *worker_requests,
        *worker_tokens; /* owned; one a worker; tokens: computed for prompts */
    uint64_t digest;    /* of a mode, every choice, hit and time: equal digests, equal replays */
    struct weir_replay_balance requests_balance, prefill_balance;
    struct weir_replay_times ttft, e2e;
    double makespan_s; /* to the end of the last answer */
    size_t n_course;   /* token hit rate so far, after each of so many equal parts */
    double course[WEIR_REPLAY_COURSE];
    double curve[WEIR_REPLAY_CURVE]; /* TTFT in ms at 1 - 10^(-NINES i / (CURVE - 1)) */
};

/* WEIR_NOMEM leaves what fini accepts. The name is borrowed. */
enum weir_status weir_replay_row_fill(struct weir_replay_row *row, const char *name, bool is_mode,
                                      const struct weir_replay_setup *setup,
                                      const struct weir_replay_outcome *outcomes) WEIR_MUST_CHECK;
/* Accepts a row that is zero. */
void weir_replay_row_fini(struct weir_replay_row *row);
double weir_replay_token_rate(const struct weir_replay_row *row);
double weir_replay_block_rate(const struct weir_replay_row *row);

struct weir_replay_report {
    const struct weir_replay_options *options;
    const struct weir_replay_setup *setup;
    const struct weir_replay_row *rows; /* the endless cache, the shared one, then the modes */
    size_t n_rows;
};
/* Parts of a report: members that say what was run, inside an open object; a row; the beginning of
 * a page, up to its plots, under the label or else this title. */
void weir_replay_head_json(struct weir_jsonw *w, const struct weir_replay_options *options,
                           const struct weir_replay_setup *setup);
void weir_replay_row_json(struct weir_jsonw *w, const struct weir_replay_row *row,
                          uint32_t n_workers);
void weir_replay_head_html(struct weir_page *p, const struct weir_replay_options *options,
                           const struct weir_replay_setup *setup, const char *title);
/* One JSON object and a line feed; a table; a page that needs nothing else. */
enum weir_status weir_replay_json(const struct weir_replay_report *r,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_text(const struct weir_replay_report *r,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_html(const struct weir_replay_report *r,
                                  struct weir_buf *out) WEIR_MUST_CHECK;

#endif
