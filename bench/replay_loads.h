/* What a replay at several loads found, as JSON, table and page. Pure. */
#ifndef WEIR_BENCH_REPLAY_LOADS_H
#define WEIR_BENCH_REPLAY_LOADS_H

#include "bench/replay_stats.h"
#include "bench/replay_ways.h"

struct weir_replay_load {
    double speedup;
    double offered; /* prompt tokens that come, over those that all workers can compute meanwhile */
    struct weir_replay_row *rows; /* one a way */
};

struct weir_replay_loads {
    const struct weir_replay_options *options;
    const struct weir_replay_setup *setup;
    const struct weir_replay_row *best; /* the endless cache, the shared one */
    size_t n_best;
    struct weir_replay_load loads[WEIR_REPLAY_LOADS];
    size_t n_loads, n_ways;
};

double weir_replay_offered(const struct weir_replay_setup *setup);
/* One JSON object and a line feed; a table; a page that needs nothing else. */
enum weir_status weir_replay_loads_json(const struct weir_replay_loads *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_loads_text(const struct weir_replay_loads *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_loads_html(const struct weir_replay_loads *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

#endif
