/* Metrics of the frontend: names, labels and buckets of the reference system (shared spec
 * "frontend" 4). */
#ifndef WEIR_FRONTEND_METRICS_H
#define WEIR_FRONTEND_METRICS_H

#include "base/metrics.h"

struct weir_front_metrics;

/* Series of one model, looked up once. */
struct weir_front_model_metrics {
    struct weir_metric *inflight, *active, *queued, *duration, *input_tokens, *output_tokens,
        *cached_tokens, *output_total, *ttft, *itl, *ready, *total_kv_blocks, *max_num_seqs,
        *max_num_batched_tokens, *context_length, *block_size, *migration_limit;
};

/* Histograms whose bounds are configured (DYN_METRICS_…); see weir_metric_log_buckets. */
enum weir_spread_id {
    WEIR_SPREAD_DURATION,
    WEIR_SPREAD_INPUT, /* input and cached tokens */
    WEIR_SPREAD_OUTPUT,
    WEIR_SPREAD_TTFT,
    WEIR_SPREAD_ITL,
    WEIR_N_SPREADS
};
struct weir_spread {
    double min, max;
    unsigned count;
};

enum weir_status weir_front_metrics_create(const char *prefix, const struct weir_spread *spreads,
                                           struct weir_front_metrics **ret_metrics) WEIR_MUST_CHECK;
void weir_front_metrics_destroy(struct weir_front_metrics *metrics);
struct weir_metrics *weir_front_metrics_registry(struct weir_front_metrics *metrics);
void weir_front_metrics_model(struct weir_front_metrics *metrics, const char *model,
                              struct weir_front_model_metrics *ret);
/* Counters with more labels; `model` NULL = "unknown_model". */
void weir_front_count_started(struct weir_front_metrics *m, const char *model, const char *endpoint,
                              bool stream);
void weir_front_count_done(struct weir_front_metrics *m, const char *model, const char *endpoint,
                           bool stream, const char *error_type /* "" = success */);
void weir_front_count_cancelled(struct weir_front_metrics *m, const char *model,
                                const char *endpoint, bool stream);
void weir_front_count_rejected(struct weir_front_metrics *m, const char *model,
                               const char *endpoint);
void weir_front_count_migration(struct weir_front_metrics *m, const char *model, bool ongoing);
void weir_front_observe_tokenizer(struct weir_front_metrics *m, bool tokenize, double ms);
void weir_front_observe_stage(struct weir_front_metrics *m, const char *stage, double seconds);
void weir_front_observe_route(struct weir_front_metrics *m, double hash_ms, double route_ms,
                              double hit_rate);
/* Gauges of one worker rank. */
void weir_front_set_worker(struct weir_front_metrics *m, uint64_t worker_id, uint32_t dp_rank,
                           double decode_blocks, double prefill_tokens);

#endif
