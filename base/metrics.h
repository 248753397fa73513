/*
 * Metrics registry and Prometheus text. Families come from tables (one row per metric); series are
 * found once and then updated with relaxed atomics, so an update costs a few nanoseconds.
 * Threads: any, for every function. Memory: series are bounded per family; past the bound updates
 * go to one shared series whose labels are all "other", and a counter says so.
 */
#ifndef WEIR_BASE_METRICS_H
#define WEIR_BASE_METRICS_H

#include "base/buf.h"

enum weir_metric_type { WEIR_COUNTER, WEIR_GAUGE, WEIR_HISTOGRAM };

enum { WEIR_METRIC_MAX_LABELS = 8, WEIR_METRIC_MAX_BUCKETS = 512 };

/* One row of a table. Static storage. */
struct weir_metric_desc {
    const char *name; /* whole exported name, e.g. "dynamo_frontend_requests_total" */
    enum weir_metric_type type;
    const char *help;
    const char *labels[WEIR_METRIC_MAX_LABELS]; /* NULL-terminated when fewer */
    const double *buckets;                      /* histogram: ascending upper bounds without +Inf */
    unsigned n_buckets;
};

/* Bucket bounds of the reference system (shared spec "frontend" 4): 0, then `count` - 1 bounds
 * spaced evenly by logarithm over (min, max], rounded to two significant digits, each once. Returns
 * how many were written, at most `count`. 0 < min < max, 1 <= count <= WEIR_METRIC_MAX_BUCKETS. */
unsigned weir_metric_log_buckets(double min, double max, unsigned count, double *ret_bounds);

struct weir_metrics;       /* the registry */
struct weir_metric_family; /* lives as long as the registry */
struct weir_metric;        /* one series; lives as long as the registry */

enum weir_status weir_metrics_create(struct weir_metrics **ret_metrics) WEIR_MUST_CHECK;
void weir_metrics_destroy(struct weir_metrics *metrics);
/* Registers a family; the same desc twice gives the same family. A family without labels appears
 * at once with value 0. max_series 0 = 1024. NULL when out of memory. */
struct weir_metric_family *weir_metrics_family(struct weir_metrics *metrics,
                                               const struct weir_metric_desc *desc,
                                               unsigned max_series);
/* The series with these label values (as many as the family has labels), created on first use.
 * Never NULL: out of memory gives a sink that is not exported. NULL family gives the sink too. */
struct weir_metric *weir_metric_get(struct weir_metric_family *family, const char *const *values);
/* Removes a series from the exposition (a worker that left). Its pointer stays valid, but once the
 * family is full it may come to stand for another series: whoever retires it forgets it. */
void weir_metric_retire(struct weir_metric_family *family, const char *const *values);

void weir_metric_add(struct weir_metric *m, double delta); /* counter, gauge */
void weir_metric_inc(struct weir_metric *m);
void weir_metric_dec(struct weir_metric *m); /* gauge */
void weir_metric_set(struct weir_metric *m, double value);
void weir_metric_observe(struct weir_metric *m, double value); /* histogram */
/* The same value n times (inter-token latency of a batch). */
void weir_metric_observe_n(struct weir_metric *m, double value, uint64_t n);
double weir_metric_value(const struct weir_metric *m); /* counter, gauge; histogram: its count */

/* Called at the start of each exposition, to refresh gauges that are computed at scrape time. */
typedef void (*weir_metrics_scrape_fn)(void *arg);
enum weir_status weir_metrics_on_scrape(struct weir_metrics *metrics, weir_metrics_scrape_fn fn,
                                        void *arg) WEIR_MUST_CHECK;
/* Appends the whole page in Prometheus text format 0.0.4, families in order of registration. */
enum weir_status weir_metrics_expose(struct weir_metrics *metrics,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

#endif
