/* The result of a run as JSON and as a page. Pure: bytes into a buffer. */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

#include "bench/tally.h"
#include "runtime/options_bench.h"

struct weir_bench_report {
    const struct weir_bench_options *options;
    const char *model;
    const struct weir_tally *tally; /* of all loops together */
    bool interrupted;
    uint64_t started_wall_ms;
    double wall_s; /* of the run, warm-up and the last answers included */
    double cpu_s;  /* of the whole generator process meanwhile */
    unsigned n_loops;
    const double *loop_cpu_s; /* of each loop's thread */
};

/* The generator itself was near its limit: its figures are not the server's. */
bool weir_bench_report_saturated(const struct weir_bench_report *r);
double weir_bench_report_error_share(const struct weir_bench_report *r);

/* One JSON object and a line feed. */
enum weir_status weir_bench_report_json(const struct weir_bench_report *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* A short table for people. */
enum weir_status weir_bench_report_text(const struct weir_bench_report *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* A page that needs nothing else: plots as SVG, light and dark. */
enum weir_status weir_bench_report_html(const struct weir_bench_report *r,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

#endif
