/* Every metric of the frontend: one row each, in the order of the page. For metrics.c alone. */
#ifndef WEIR_FRONTEND_METRICS_TABLE_PRIV_H
#define WEIR_FRONTEND_METRICS_TABLE_PRIV_H

#include "frontend/metrics.h"

static const double b_tokenizer[] = {.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
static const double b_tokenize_s[] = {.0001, .0005, .001, .005, .01, .05, .1, .5, 1};
static const double b_template_s[] = {.00001, .00005, .0001, .0005, .001, .005, .01, .05};
static const double b_stage[] = {.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5};
static const double b_hashing[] = {.001, .002, .004,  .008,  .016,  .032,  .064,  .128,
                                   .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384};
static const double b_routing[] = {.01,     .03,      .09,      .27,       .81,      2.43,
                                   7.29,    21.87,    65.61,    196.83,    590.49,   1771.47,
                                   5314.41, 15943.23, 47829.69, 143489.07, 430467.21};
static const double b_roundtrip[] = {.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5};
static const double b_router_itl[] = {0,    .0019, .0035, .0067, .013, .024, .045,
                                      .084, .16,   .3,    .56,   1.1,  2};
static const double b_loop[] = {0, .001, .005, .01, .025, .05, .1, .25, .5, 1};
static const double b_migration[] = {.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60};
static const double b_media[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 100};
static const double b_rate[] = {0,   .05, .1,  .15, .2,  .25, .3,  .35, .4,  .45, .5,
                                .55, .6,  .65, .7,  .75, .8,  .85, .9,  .95, 1};

/* X(id, suffix of the name, type, help, buckets or NULL, labels…): one row a metric. Names begin
 * with the frontend's prefix unless they begin with '!'. */
#define BUCKETS(b) b, WEIR_ARRAY_LEN(b)
#define NONE NULL, 0
/* Bounds from the configuration: the row carries which ones. */
#define SPREAD(id) NULL, 1 + WEIR_SPREAD_##id
#define FAMILIES(X)                                                                                \
    X(STARTED, "requests_started_total", WEIR_COUNTER, "Requests that reached the handler.", NONE, \
      "model", "endpoint", "request_type")                                                         \
    X(REQUESTS, "requests_total", WEIR_COUNTER, "Requests finished, by outcome.", NONE, "model",   \
      "endpoint", "request_type", "status", "error_type")                                          \
    X(FAILURES, "failures_total", WEIR_COUNTER, "Requests that failed, by what failed.", NONE,     \
      "class", "reason")                                                                           \
    X(INFLIGHT, "inflight_requests", WEIR_GAUGE, "Older name of active_requests.", NONE, "model")  \
    X(ACTIVE, "active_requests", WEIR_GAUGE, "Requests admitted and not finished.", NONE, "model") \
    X(QUEUED, "queued_requests", WEIR_GAUGE, "Requests between handler entry and first token.",    \
      NONE, "model")                                                                               \
    X(DISCONNECTED, "disconnected_clients", WEIR_GAUGE, "Clients that left before the end.", NONE, \
      NULL)                                                                                        \
    X(DURATION, "request_duration_seconds", WEIR_HISTOGRAM, "Whole request.", SPREAD(DURATION),    \
      "model")                                                                                     \
    X(INPUT, "input_sequence_tokens", WEIR_HISTOGRAM, "Prompt length.", SPREAD(INPUT), "model")    \
    X(OUTPUT, "output_sequence_tokens", WEIR_HISTOGRAM, "Generated length.", SPREAD(OUTPUT),       \
      "model")                                                                                     \
    X(CACHED, "cached_tokens", WEIR_HISTOGRAM, "Prompt tokens found in the KV cache.",             \
      SPREAD(INPUT), "model")                                                                      \
    X(IMAGES, "images_per_request", WEIR_HISTOGRAM, "Parts of type image_url in a request.",       \
      BUCKETS(b_media), "model")                                                                   \
    X(VIDEOS, "videos_per_request", WEIR_HISTOGRAM, "Parts of type video_url in a request.",       \
      BUCKETS(b_media), "model")                                                                   \
    X(SOUNDS, "audio_per_request", WEIR_HISTOGRAM, "Parts of type audio_url in a request.",        \
      BUCKETS(b_media), "model")                                                                   \
    X(OUTPUT_TOTAL, "output_tokens_total", WEIR_COUNTER, "Generated tokens.", NONE, "model")       \
    X(TTFT, "time_to_first_token_seconds", WEIR_HISTOGRAM,                                         \
      "Handler entry to the first item with a token.", SPREAD(TTFT), "model")                      \
    X(ITL, "inter_token_latency_seconds", WEIR_HISTOGRAM, "Gap between items over their tokens.",  \
      SPREAD(ITL), "model")                                                                        \
    X(EMBEDDING, "embedding_latency_seconds", WEIR_HISTOGRAM, "Whole request for embeddings.",     \
      SPREAD(EMBEDDING), "model")                                                                  \
    X(TOKENIZER, "tokenizer_latency_ms", WEIR_HISTOGRAM,                                           \
      "Encoding time of a request, mean decoding time of a request.", BUCKETS(b_tokenizer),        \
      "operation")                                                                                 \
    X(TOKENIZE_S, "tokenize_seconds", WEIR_HISTOGRAM, "Prompt encoding.", BUCKETS(b_tokenize_s),   \
      NULL)                                                                                        \
    X(TEMPLATE_S, "template_seconds", WEIR_HISTOGRAM, "Chat template rendering.",                  \
      BUCKETS(b_template_s), NULL)                                                                 \
    X(DETOKENIZE_US, "detokenize_total_us", WEIR_COUNTER,                                          \
      "Microseconds spent decoding tokens, from each request's mean.", NONE, NULL)                 \
    X(DETOKENIZE_N, "detokenize_token_count", WEIR_COUNTER, "Tokens decoded.", NONE, NULL)         \
    X(TOKENIZER_HITS, "tokenizer_cache_hits_total", WEIR_COUNTER,                                  \
      "Texts between special tokens whose ids were remembered, all models.", NONE, NULL)           \
    X(TOKENIZER_MISSES, "tokenizer_cache_misses_total", WEIR_COUNTER,                              \
      "Texts between special tokens that had to be encoded, all models.", NONE, NULL)              \
    X(SEGMENTS, "!weir_tokenizer_segments_total", WEIR_COUNTER,                                    \
      "The same by model: hit, miss, and evicted for the memory's bound.", NONE, "model",          \
      "result")                                                                                    \
    X(WORDS, "!weir_tokenizer_words_total", WEIR_COUNTER,                                          \
      "Words of encoded texts: hit, the memory of words had them; miss, it had not.", NONE,        \
      "model", "result")                                                                           \
    X(SEGMENT_BYTES, "!weir_tokenizer_segment_bytes", WEIR_GAUGE,                                  \
      "Memory of remembered texts and their ids.", NONE, "model")                                  \
    X(STAGE, "stage_duration_seconds", WEIR_HISTOGRAM, "Time per pipeline stage.",                 \
      BUCKETS(b_stage), "stage")                                                                   \
    X(READY, "model_ready", WEIR_GAUGE, "1 when a complete set of workers is there.", NONE,        \
      "model")                                                                                     \
    X(TOTAL_KV, "model_total_kv_blocks", WEIR_GAUGE, "KV blocks of a worker.", NONE, "model")      \
    X(MAX_SEQS, "model_max_num_seqs", WEIR_GAUGE, "Engine sequence limit.", NONE, "model")         \
    X(MAX_BATCHED, "model_max_num_batched_tokens", WEIR_GAUGE, "Engine batch token limit.", NONE,  \
      "model")                                                                                     \
    X(CONTEXT, "model_context_length", WEIR_GAUGE, "Context length of the card, 0 = not given.",   \
      NONE, "model")                                                                               \
    X(BLOCK_SIZE, "model_kv_cache_block_size", WEIR_GAUGE, "Tokens per KV block.", NONE, "model")  \
    X(MIGRATION_LIMIT, "model_migration_limit", WEIR_GAUGE, "Retries allowed on another worker.",  \
      NONE, "model")                                                                               \
    X(MIGRATION, "model_migration_total", WEIR_COUNTER, "Requests moved to another worker.", NONE, \
      "model", "migration_type")                                                                   \
    X(MIGRATION_S, "model_migration_duration_seconds", WEIR_HISTOGRAM,                             \
      "From a failure to the next worker's first item, or to giving up.", BUCKETS(b_migration),    \
      "model", "migration_type", "outcome")                                                        \
    X(SPLIT, "!weir_router_conditional_disagg_total", WEIR_COUNTER,                                \
      "Requests by who computes their prompts, and why.", NONE, "model", "prefill", "why")         \
    X(POOL, "!weir_router_pool_requests_total", WEIR_COUNTER,                                      \
      "Prompts by the pool that they were sent to (--pools).", NONE, "phase", "pool")              \
    X(POOL_RETRIES, "!weir_router_pool_retries_total", WEIR_COUNTER,                               \
      "Of these, taken over from a pool that failed.", NONE, "phase", "pool")                      \
    X(TOO_LONG, "model_migration_max_seq_len_exceeded_total", WEIR_COUNTER,                        \
      "Requests too long to move.", NONE, "model")                                                 \
    X(WARMED, "!weir_frontend_speculative_prefills_total", WEIR_COUNTER,                           \
      "Next turns sent ahead for agent_hints.speculative_prefill.", NONE, "model", "result")       \
    X(CANCELLATION, "model_cancellation_total", WEIR_COUNTER, "Requests given up by the client.",  \
      NONE, "model", "endpoint", "request_type")                                                   \
    X(REJECTION, "model_rejection_total", WEIR_COUNTER, "Requests refused: workers are busy.",     \
      NONE, "model", "endpoint")                                                                   \
    X(WORKER_BLOCKS, "worker_active_decode_blocks", WEIR_GAUGE,                                    \
      "KV blocks a worker uses for running requests.", NONE, "worker_id", "dp_rank",               \
      "worker_type")                                                                               \
    X(WORKER_PREFILL, "worker_active_prefill_tokens", WEIR_GAUGE,                                  \
      "Prompt tokens a worker still has to compute.", NONE, "worker_id", "dp_rank", "worker_type") \
    X(WORKER_LAST_TTFT, "worker_last_time_to_first_token_seconds", WEIR_GAUGE,                     \
      "Of a worker's last request, from sending it there.", NONE, "worker_id", "dp_rank",          \
      "worker_type")                                                                               \
    X(WORKER_LAST_INPUT, "worker_last_input_sequence_tokens", WEIR_GAUGE,                          \
      "Prompt length of a worker's last request.", NONE, "worker_id", "dp_rank", "worker_type")    \
    X(WORKER_LAST_ITL, "worker_last_inter_token_latency_seconds", WEIR_GAUGE,                      \
      "Mean gap between the tokens of a worker's last request.", NONE, "worker_id", "dp_rank",     \
      "worker_type")                                                                               \
    X(REGISTERED, "!dynamo_component_router_worker_registered", WEIR_GAUGE,                        \
      "1 for each worker rank that the router knows.", NONE, "router_worker_id", "dp_rank",        \
      "worker_type")                                                                               \
    X(HASHING, "!dynamo_router_overhead_block_hashing_ms", WEIR_HISTOGRAM,                         \
      "Hashing of the prompt's blocks.", BUCKETS(b_hashing), "router_id")                          \
    X(SCHEDULING, "!dynamo_router_overhead_scheduling_ms", WEIR_HISTOGRAM,                         \
      "Index look-up, cost and choice.", BUCKETS(b_routing), "router_id")                          \
    X(OVERHEAD, "!dynamo_router_overhead_total_ms", WEIR_HISTOGRAM,                                \
      "Hashing and choice together.", BUCKETS(b_routing), "router_id")                             \
    X(ROUTED, "!dynamo_component_router_requests_started_total", WEIR_COUNTER,                     \
      "Prompts for which a worker was chosen, in kv mode.", NONE, "router_id")                     \
    X(ROUTED_OVER, "!dynamo_component_router_requests_total", WEIR_COUNTER, "Of these, ended.",    \
      NONE, "router_id")                                                                           \
    X(ROUTED_INPUT, "!dynamo_component_router_input_sequence_tokens", WEIR_HISTOGRAM,              \
      "Their prompt tokens.", SPREAD(INPUT), "model", "phase", "router_id")                        \
    X(ROUTED_OUTPUT, "!dynamo_component_router_output_sequence_tokens", WEIR_HISTOGRAM,            \
      "Their generated tokens.", SPREAD(OUTPUT), "router_id")                                      \
    X(ROUTED_TTFT, "!dynamo_component_router_time_to_first_token_seconds", WEIR_HISTOGRAM,         \
      "From the choice to their first token.", SPREAD(TTFT), "router_id")                          \
    X(ROUTED_ITL, "!dynamo_component_router_inter_token_latency_seconds", WEIR_HISTOGRAM,          \
      "Their mean gap between tokens, once a gap.", BUCKETS(b_router_itl), "router_id")            \
    X(ROUTED_CACHED, "!dynamo_component_router_kv_selected_cached_prefix_tokens_total",            \
      WEIR_COUNTER, "Prompt tokens that the worker chosen held, by the index.", NONE, "model",     \
      "phase", "router_id")                                                                        \
    X(ROUTED_BEST, "!dynamo_component_router_kv_best_eligible_cached_prefix_tokens_total",         \
      WEIR_COUNTER, "The most that any eligible worker held.", NONE, "model", "phase",             \
      "router_id")                                                                                 \
    X(ROUTED_REUSED, "!dynamo_component_router_kv_worker_reused_tokens_total", WEIR_COUNTER,       \
      "Prompt tokens that the workers say they reused.", NONE, "model", "phase", "router_id")      \
    X(PLANE_INFLIGHT, "!dynamo_request_plane_inflight_requests", WEIR_GAUGE,                       \
      "Requests at workers of the request plane.", NONE, NULL)                                     \
    X(PLANE_SENT, "!dynamo_transport_tcp_bytes_sent_total", WEIR_COUNTER,                          \
      "Bytes to workers of the request plane.", NONE, NULL)                                        \
    X(PLANE_RECEIVED, "!dynamo_transport_tcp_bytes_received_total", WEIR_COUNTER,                  \
      "Bytes from them: acknowledgements and answers.", NONE, NULL)                                \
    X(PLANE_ERRORS, "!dynamo_transport_tcp_errors_total", WEIR_COUNTER,                            \
      "Requests to them that failed.", NONE, NULL)                                                 \
    X(LOOP_DELAY, "event_loop_delay_seconds", WEIR_HISTOGRAM,                                      \
      "How late a timer of a serving loop fires, ten times a second.", BUCKETS(b_loop), NULL)      \
    X(LOOP_STALLS, "event_loop_stall_total", WEIR_COUNTER, "Times that it was over 5 ms late.",    \
      NONE, NULL)                                                                                  \
    X(UPTIME, "!dynamo_component_uptime_seconds", WEIR_GAUGE, "Since the start.", NONE, NULL)      \
    X(ROUNDTRIP_S, "!dynamo_request_plane_roundtrip_ttft_seconds", WEIR_HISTOGRAM,                 \
      "From sending a request to its first item.", BUCKETS(b_roundtrip), NULL)                     \
    X(KV_EVENTS, "!dynamo_component_kv_cache_events_applied", WEIR_COUNTER,                        \
      "KV events by type and result.", NONE, "model", "event_type", "status")                      \
    X(KV_ENTRIES, "!weir_router_kv_index_entries", WEIR_GAUGE,                                     \
      "Blocks in the index, counted once a worker rank.", NONE, "model")                           \
    X(KV_BYTES, "!weir_router_kv_index_bytes", WEIR_GAUGE, "Memory of the index.", NONE, "model")  \
    X(QUEUE_REQUESTS, "!weir_router_queue_requests", WEIR_GAUGE,                                   \
      "Requests that wait, for prefill workers and for those that serve.", NONE, "model", "phase") \
    X(QUEUE_TOKENS, "!weir_router_queue_uncached_tokens", WEIR_GAUGE,                              \
      "Prompt tokens of those that no worker holds.", NONE, "model", "phase")                      \
    X(PENDING, "router_queue_pending_requests", WEIR_GAUGE, "Requests that wait, by class.", NONE, \
      "model", "policy_class", "worker_type")                                                      \
    X(PENDING_ISL, "router_queue_pending_isl_tokens", WEIR_GAUGE, "Their prompt tokens.", NONE,    \
      "model", "policy_class", "worker_type")                                                      \
    X(PENDING_CACHED, "router_queue_pending_cached_tokens", WEIR_GAUGE,                            \
      "Of these, those that a worker held when they came.", NONE, "model", "policy_class",         \
      "worker_type")                                                                               \
    X(RECEIVED, "router_admission_received_total", WEIR_COUNTER,                                   \
      "Requests that asked for a worker, or a place in the queue.", NONE, "model", "policy_class", \
      "worker_type")                                                                               \
    X(LATE, "router_admission_rejected_total", WEIR_COUNTER,                                       \
      "Requests that waited as long as they may.", NONE, "model", "policy_class", "worker_type",   \
      "reason")                                                                                    \
    X(BACKPRESSURE, "router_queue_backpressure_total", WEIR_COUNTER,                               \
      "Requests that a bound of the queue refused.", NONE, "model", "policy_class", "worker_type", \
      "reason")                                                                                    \
    X(QUEUE_REFUSED, "!weir_router_queue_refused_total", WEIR_COUNTER,                             \
      "Requests that the queue did not take.", NONE, "model", "phase", "reason")                   \
    X(QUEUE_WAIT, "!weir_router_queue_wait_seconds", WEIR_HISTOGRAM,                               \
      "How long requests waited that were admitted.", BUCKETS(b_stage), "model", "phase")          \
    X(PARITY, "!weir_parity_checks_total", WEIR_COUNTER,                                           \
      "Comparisons of our prompt tokens with a worker's: of canned conversations, of counts.",     \
      NONE, "model", "source", "result")                                                           \
    X(PARITY_CAUSE, "!weir_parity_mismatches_total", WEIR_COUNTER,                                 \
      "Workers found to make other tokens than we do, by the likely cause.", NONE, "model",        \
      "cause")                                                                                     \
    X(BLIND, "!weir_parity_fallback", WEIR_GAUGE,                                                  \
      "1 while requests go by load alone, because a worker makes other tokens.", NONE, "model")    \
    X(DECISIONS_DROPPED, "!weir_router_decisions_dropped_total", WEIR_COUNTER,                     \
      "Decisions that the decision log could not take.", NONE, NULL)                               \
    X(HIT_RATE, "!dynamo_component_router_kv_hit_rate", WEIR_HISTOGRAM,                            \
      "Share of prompt blocks predicted as cached.", BUCKETS(b_rate), "router_id")

#endif
