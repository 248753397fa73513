/* Metrics of the frontend: names, labels and buckets of the reference system (shared spec
 * "frontend" 4). */
#ifndef WEIR_FRONTEND_METRICS_H
#define WEIR_FRONTEND_METRICS_H

#include "base/metrics.h"
#include "router/split.h"
#include "runtime/plane_client.h"

struct weir_front_metrics;

enum weir_front_endpoint {
    WEIR_FRONT_CHAT,
    WEIR_FRONT_COMPLETIONS,
    WEIR_FRONT_RESPONSES,
    WEIR_FRONT_MESSAGES,
    WEIR_FRONT_EMBEDDINGS,
    WEIR_FRONT_N_ENDPOINTS
};
/* As labels and the access log name it. */
const char *weir_front_endpoint_name(enum weir_front_endpoint endpoint);
enum weir_front_stage {
    WEIR_FRONT_PREPROCESS, /* body to tokens and hashes */
    WEIR_FRONT_ROUTE,      /* choosing a worker */
    WEIR_FRONT_ROUNDTRIP,  /* sent to first item */
    WEIR_FRONT_N_STAGES
};

/* Series of one model, looked up once: a look-up formats labels and takes the registry's lock. */
struct weir_front_model_metrics {
    /* [endpoint][stream]; succeeded = requests_total with status success */
    struct weir_metric *started[WEIR_FRONT_N_ENDPOINTS][2], *succeeded[WEIR_FRONT_N_ENDPOINTS][2];
    struct weir_metric *inflight, *active, *queued, *duration, *input_tokens, *output_tokens,
        *cached_tokens, *output_total, *ttft, *itl, *ready, *total_kv_blocks, *max_num_seqs,
        *max_num_batched_tokens, *context_length, *block_size, *migration_limit, *counts_same,
        *counts_differ, *blind, *received, *routed_input, *routed_cached, *routed_best,
        *routed_reused, *images, *videos, *sounds;
};

/* Histograms whose bounds are configured (DYN_METRICS_…); see weir_metric_log_buckets. */
enum weir_spread_id {
    WEIR_SPREAD_DURATION,
    WEIR_SPREAD_INPUT, /* input and cached tokens */
    WEIR_SPREAD_OUTPUT,
    WEIR_SPREAD_TTFT,
    WEIR_SPREAD_ITL,
    WEIR_SPREAD_EMBEDDING,
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
/* Counters with more labels; `model` NULL = "unknown_model". Not for the hot path. */
void weir_front_count_failed(struct weir_front_metrics *m, const char *model,
                             enum weir_front_endpoint endpoint, bool stream,
                             const char *error_type);
/* The same by what failed, whatever the request was. */
void weir_front_count_failure(struct weir_front_metrics *m, int http_status);
void weir_front_count_cancelled(struct weir_front_metrics *m, const char *model,
                                enum weir_front_endpoint endpoint, bool stream);
void weir_front_count_rejected(struct weir_front_metrics *m, const char *model,
                               enum weir_front_endpoint endpoint);
void weir_front_count_migration(struct weir_front_metrics *m, const char *model, bool ongoing);
/* That has ended: the next worker's first item came, or the request failed. */
void weir_front_observe_migration(struct weir_front_metrics *m, const char *model, bool ongoing,
                                  bool success, double seconds);
/* Conditional disaggregation decided. */
void weir_front_count_split(struct weir_front_metrics *m, const char *model,
                            enum weir_split_why why);
/* A pool was chosen, or took over (`retry`) from one that failed. */
void weir_front_count_pool(struct weir_front_metrics *m, const char *phase, uint32_t pool,
                           bool retry);
void weir_front_count_migration_too_long(struct weir_front_metrics *m, const char *model);
/* A speculative prefill; result: done, failed, skipped. */
void weir_front_count_warmed(struct weir_front_metrics *m, const char *model, const char *result);
/* A request for embeddings that was answered. */
void weir_front_observe_embedding(struct weir_front_metrics *m, const char *model, double seconds);
/* Prompt encoding of one request. */
void weir_front_observe_tokenize(struct weir_front_metrics *m, double seconds);
void weir_front_observe_template(struct weir_front_metrics *m, double seconds);
/* Decoding of one request: the mean time of a token, and how many there were. */
void weir_front_observe_detokenize(struct weir_front_metrics *m, double mean_s, uint64_t tokens);
void weir_front_observe_stage(struct weir_front_metrics *m, enum weir_front_stage stage,
                              double seconds);
void weir_front_observe_hashing(struct weir_front_metrics *m, double ms);
void weir_front_observe_hit_rate(struct weir_front_metrics *m, double hit_rate);
void weir_front_observe_route(struct weir_front_metrics *m, double hash_ms, double ms,
                              double hit_rate);
/* Legs in kv mode: a worker was chosen; ended. The model's routed_input is observed by whoever
 * counts them. */
void weir_front_count_routed(struct weir_front_metrics *m);
void weir_front_observe_routed_end(struct weir_front_metrics *m, uint64_t tokens);
/* The first item of a leg, so long after it was sent. */
void weir_front_observe_first_item(struct weir_front_metrics *m, double seconds, bool kv);
/* State of a model's index, taken at each scrape. */
void weir_front_set_index(struct weir_front_metrics *m, const char *model, uint64_t entries,
                          size_t bytes);
void weir_front_set_kv_events(struct weir_front_metrics *m, const char *model, const char *type,
                              const char *result, uint64_t n);
/* The segment cache of a model's tokenizer, likewise. */
void weir_front_set_segments(struct weir_front_metrics *m, const char *model, uint64_t hits,
                             uint64_t misses, uint64_t evictions, uint64_t bytes);
/* Words that the memory of words had, and that had to be merged. */
void weir_front_set_words(struct weir_front_metrics *m, const char *model, uint64_t hits,
                          uint64_t misses);
/* Waiting requests and their uncached tokens; refusals by reason; how long the admitted ones
 * waited. phase: "prefill" or "serve". */
void weir_front_set_queue(struct weir_front_metrics *m, const char *model, const char *phase,
                          double requests, double tokens);
/* The same by policy class, in the reference system's names; tokens below 0 are not told. */
void weir_front_set_pending(struct weir_front_metrics *m, const char *model,
                            const char *policy_class, bool prefill, double requests,
                            double isl_tokens, double cached_tokens);
/* How many asked, of one class, where the series counts itself; and where it is set at a scrape. */
struct weir_metric *weir_front_received(struct weir_front_metrics *m, const char *model,
                                        const char *policy_class, bool prefill);
/* Of one class: who waited as long as it may, and who was refused for this reason. */
void weir_front_set_late(struct weir_front_metrics *m, const char *model, const char *policy_class,
                         bool prefill, uint64_t n);
void weir_front_set_backpressure(struct weir_front_metrics *m, const char *model,
                                 const char *policy_class, bool prefill, const char *reason,
                                 uint64_t n);
void weir_front_set_queue_refused(struct weir_front_metrics *m, const char *model,
                                  const char *phase, const char *reason, uint64_t n);
struct weir_metric *weir_front_queue_wait(struct weir_front_metrics *m, const char *model,
                                          const char *phase);
/* Canned conversations whose tokens were compared with an engine's. */
void weir_front_count_parity(struct weir_front_metrics *m, const char *model, unsigned n_same,
                             unsigned n_differ);
/* Why a worker's tokens are believed to differ. */
void weir_front_count_parity_cause(struct weir_front_metrics *m, const char *model,
                                   const char *cause);
/* Lines that the decision log could not take. */
void weir_front_set_decisions_dropped(struct weir_front_metrics *m, uint64_t n);
/* The gaps between the tokens of a request in kv mode. */
void weir_front_observe_routed_gaps(struct weir_front_metrics *m, double mean_s, uint64_t n);
/* A serving loop was busy for so long while a timer was due. */
void weir_front_observe_loop_delay(struct weir_front_metrics *m, double seconds);
/* What all loops have exchanged with workers of the request plane; taken at a scrape. */
void weir_front_set_plane(struct weir_front_metrics *m, const struct weir_plane_stats *sums);
void weir_front_set_uptime(struct weir_front_metrics *m, double seconds);

/* Series of one worker rank; of those beyond so many ranks there are none of their own. */
enum { WEIR_FRONT_MAX_RANKS = 4096 };
struct weir_front_worker_metrics {
    struct weir_metric *registered, *decode_blocks, *prefill_tokens, *last_input, *last_ttft,
        *last_itl;
};
void weir_front_metrics_worker(struct weir_front_metrics *m, uint64_t worker_id, uint32_t dp_rank,
                               bool prefill, struct weir_front_worker_metrics *ret);
/* Off the page; its series may serve another rank. */
void weir_front_metrics_worker_gone(struct weir_front_metrics *m, uint64_t worker_id,
                                    uint32_t dp_rank, bool prefill);

#endif
