#include "frontend/metrics.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double b_tokenizer[] = {.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
static const double b_tokenize_s[] = {.0001, .0005, .001, .005, .01, .05, .1, .5, 1};
static const double b_template_s[] = {.00001, .00005, .0001, .0005, .001, .005, .01, .05};
static const double b_stage[] = {.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5};
static const double b_hashing[] = {.001, .002, .004,  .008,  .016,  .032,  .064,  .128,
                                   .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384};
static const double b_routing[] = {.01,   .03,   .09,    .27,    .81,     2.43,   7.29,
                                   21.87, 65.61, 196.83, 590.49, 1771.47, 5314.41};
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
    X(OUTPUT_TOTAL, "output_tokens_total", WEIR_COUNTER, "Generated tokens.", NONE, "model")       \
    X(TTFT, "time_to_first_token_seconds", WEIR_HISTOGRAM,                                         \
      "Handler entry to the first item with a token.", SPREAD(TTFT), "model")                      \
    X(ITL, "inter_token_latency_seconds", WEIR_HISTOGRAM, "Gap between items over their tokens.",  \
      SPREAD(ITL), "model")                                                                        \
    X(TOKENIZER, "tokenizer_latency_ms", WEIR_HISTOGRAM,                                           \
      "Encoding time of a request, mean decoding time of a request.", BUCKETS(b_tokenizer),        \
      "operation")                                                                                 \
    X(TOKENIZE_S, "tokenize_seconds", WEIR_HISTOGRAM, "Prompt encoding.", BUCKETS(b_tokenize_s),   \
      NULL)                                                                                        \
    X(TEMPLATE_S, "template_seconds", WEIR_HISTOGRAM, "Chat template rendering.",                  \
      BUCKETS(b_template_s), NULL)                                                                 \
    X(DETOKENIZE_US, "detokenize_total_us", WEIR_COUNTER, "Microseconds spent decoding tokens.",   \
      NONE, NULL)                                                                                  \
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
    X(SPLIT, "!weir_router_conditional_disagg_total", WEIR_COUNTER,                                \
      "Requests by who computes their prompts, and why.", NONE, "model", "prefill", "why")         \
    X(POOL, "!weir_router_pool_requests_total", WEIR_COUNTER,                                      \
      "Prompts by the pool that they were sent to (--pools).", NONE, "phase", "pool")              \
    X(POOL_RETRIES, "!weir_router_pool_retries_total", WEIR_COUNTER,                               \
      "Of these, taken over from a pool that failed.", NONE, "phase", "pool")                      \
    X(TOO_LONG, "model_migration_max_seq_len_exceeded_total", WEIR_COUNTER,                        \
      "Requests too long to move.", NONE, "model")                                                 \
    X(CANCELLATION, "model_cancellation_total", WEIR_COUNTER, "Requests given up by the client.",  \
      NONE, "model", "endpoint", "request_type")                                                   \
    X(REJECTION, "model_rejection_total", WEIR_COUNTER, "Requests refused: workers are busy.",     \
      NONE, "model", "endpoint")                                                                   \
    X(WORKER_BLOCKS, "worker_active_decode_blocks", WEIR_GAUGE,                                    \
      "KV blocks a worker uses for running requests.", NONE, "worker_id", "dp_rank",               \
      "worker_type")                                                                               \
    X(WORKER_PREFILL, "worker_active_prefill_tokens", WEIR_GAUGE,                                  \
      "Prompt tokens a worker still has to compute.", NONE, "worker_id", "dp_rank", "worker_type") \
    X(HASHING, "!dynamo_router_overhead_block_hashing_ms", WEIR_HISTOGRAM,                         \
      "Hashing of the prompt's blocks.", BUCKETS(b_hashing), "router_id")                          \
    X(SCHEDULING, "!dynamo_router_overhead_scheduling_ms", WEIR_HISTOGRAM,                         \
      "Index look-up, cost and choice.", BUCKETS(b_routing), "router_id")                          \
    X(KV_EVENTS, "!dynamo_component_kv_cache_events_applied", WEIR_COUNTER,                        \
      "KV events by type and result.", NONE, "model", "event_type", "status")                      \
    X(KV_ENTRIES, "!weir_router_kv_index_entries", WEIR_GAUGE,                                     \
      "Blocks in the index, counted once a worker rank.", NONE, "model")                           \
    X(KV_BYTES, "!weir_router_kv_index_bytes", WEIR_GAUGE, "Memory of the index.", NONE, "model")  \
    X(QUEUE_REQUESTS, "!weir_router_queue_requests", WEIR_GAUGE,                                   \
      "Requests that wait, for prefill workers and for those that serve.", NONE, "model", "phase") \
    X(QUEUE_TOKENS, "!weir_router_queue_uncached_tokens", WEIR_GAUGE,                              \
      "Prompt tokens of those that no worker holds.", NONE, "model", "phase")                      \
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

enum family {
#define X(id, ...) F_##id,
    FAMILIES(X)
#undef X
        N_FAMILIES
};

static const struct weir_metric_desc rows[] = {
#define X(id, n, t, h, ...) ROW(n, t, h, __VA_ARGS__)
#define ROW(n, t, h, b, nb, ...)                                                                   \
    {.name = n, .type = t, .help = h, .buckets = b, .n_buckets = nb, .labels = {__VA_ARGS__}},
#define EXPAND_ROWS FAMILIES(X)
    EXPAND_ROWS
#undef X
};

enum { NAME_BYTES = 128 };

struct weir_front_metrics {
    struct weir_metrics *registry;
    struct weir_metric_desc descs[N_FAMILIES]; /* rows with their whole names */
    char names[N_FAMILIES][NAME_BYTES];
    double bounds[WEIR_N_SPREADS][WEIR_METRIC_MAX_BUCKETS];
    unsigned n_bounds[WEIR_N_SPREADS];
    /* Series without a model, looked up once. */
    struct weir_metric *stages[WEIR_FRONT_N_STAGES], *tokenize, *detokenize, *tokenize_s,
        *template_s, *detokenize_us, *detokenize_n, *hashing, *scheduling, *hit_rate;
    struct weir_metric_family *families[N_FAMILIES];
};

static void take_bounds(struct weir_front_metrics *m, struct weir_metric_desc *desc) {
    if (desc->type != WEIR_HISTOGRAM || desc->buckets != NULL)
        return;
    unsigned spread = desc->n_buckets - 1;
    desc->buckets = m->bounds[spread];
    desc->n_buckets = m->n_bounds[spread];
}

static struct weir_metric *one(struct weir_front_metrics *m, enum family f, const char *a,
                               const char *b, const char *c, const char *d, const char *e) {
    const char *values[] = {a, b, c, d, e};
    return weir_metric_get(m->families[f], values);
}

static struct weir_metric *of_model(struct weir_front_metrics *m, enum family f,
                                    const char *model) {
    return one(m, f, model, NULL, NULL, NULL, NULL);
}

static const char *type_of(bool stream) {
    return stream ? "stream" : "unary";
}

static const char *const endpoint_names[] = {"chat_completions", "completions"};

static void find_series(struct weir_front_metrics *m) {
    static const char *const stage_names[] = {"preprocess", "route", "transport_roundtrip",
                                              "postprocess"};
    for (int i = 0; i < WEIR_FRONT_N_STAGES; i++)
        m->stages[i] = of_model(m, F_STAGE, stage_names[i]);
    m->tokenize = of_model(m, F_TOKENIZER, "tokenize");
    m->detokenize = of_model(m, F_TOKENIZER, "detokenize");
    m->tokenize_s = of_model(m, F_TOKENIZE_S, NULL);
    m->template_s = of_model(m, F_TEMPLATE_S, NULL);
    m->detokenize_us = of_model(m, F_DETOKENIZE_US, NULL);
    m->detokenize_n = of_model(m, F_DETOKENIZE_N, NULL);
    m->hashing = of_model(m, F_HASHING, "0");
    m->scheduling = of_model(m, F_SCHEDULING, "0");
    m->hit_rate = of_model(m, F_HIT_RATE, "0");
}

enum weir_status weir_front_metrics_create(const char *prefix, const struct weir_spread *spreads,
                                           struct weir_front_metrics **ret_metrics) {
    struct weir_front_metrics *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return WEIR_NOMEM;
    for (int i = 0; i < WEIR_N_SPREADS; i++)
        m->n_bounds[i] =
            weir_metric_log_buckets(spreads[i].min, spreads[i].max, spreads[i].count, m->bounds[i]);
    enum weir_status st = weir_metrics_create(&m->registry);
    for (int i = 0; i < N_FAMILIES && st == WEIR_OK; i++) {
        bool whole = rows[i].name[0] == '!';
        snprintf(m->names[i], NAME_BYTES, "%s%s%s", whole ? "" : prefix, whole ? "" : "_",
                 rows[i].name + whole);
        m->descs[i] = rows[i];
        m->descs[i].name = m->names[i];
        take_bounds(m, &m->descs[i]);
        m->families[i] = weir_metrics_family(m->registry, &m->descs[i], 0);
        if (m->families[i] == NULL)
            st = WEIR_NOMEM;
    }
    if (st != WEIR_OK) {
        weir_front_metrics_destroy(m);
        return st;
    }
    find_series(m);
    *ret_metrics = m;
    return WEIR_OK;
}

void weir_front_metrics_destroy(struct weir_front_metrics *metrics) {
    if (metrics == NULL)
        return;
    weir_metrics_destroy(metrics->registry);
    weir_free(metrics);
}

struct weir_metrics *weir_front_metrics_registry(struct weir_front_metrics *metrics) {
    return metrics->registry;
}

void weir_front_metrics_model(struct weir_front_metrics *m, const char *model,
                              struct weir_front_model_metrics *ret) {
    *ret = (struct weir_front_model_metrics){
        .inflight = of_model(m, F_INFLIGHT, model),
        .active = of_model(m, F_ACTIVE, model),
        .queued = of_model(m, F_QUEUED, model),
        .duration = of_model(m, F_DURATION, model),
        .input_tokens = of_model(m, F_INPUT, model),
        .output_tokens = of_model(m, F_OUTPUT, model),
        .cached_tokens = of_model(m, F_CACHED, model),
        .output_total = of_model(m, F_OUTPUT_TOTAL, model),
        .ttft = of_model(m, F_TTFT, model),
        .itl = of_model(m, F_ITL, model),
        .ready = of_model(m, F_READY, model),
        .total_kv_blocks = of_model(m, F_TOTAL_KV, model),
        .max_num_seqs = of_model(m, F_MAX_SEQS, model),
        .max_num_batched_tokens = of_model(m, F_MAX_BATCHED, model),
        .context_length = of_model(m, F_CONTEXT, model),
        .block_size = of_model(m, F_BLOCK_SIZE, model),
        .migration_limit = of_model(m, F_MIGRATION_LIMIT, model),
        .counts_same = one(m, F_PARITY, model, "usage", "same", NULL, NULL),
        .counts_differ = one(m, F_PARITY, model, "usage", "differs", NULL, NULL),
        .blind = of_model(m, F_BLIND, model)};
    for (int e = 0; e < WEIR_FRONT_N_ENDPOINTS; e++)
        for (int stream = 0; stream < 2; stream++) {
            ret->started[e][stream] =
                one(m, F_STARTED, model, endpoint_names[e], type_of(stream), NULL, NULL);
            ret->succeeded[e][stream] =
                one(m, F_REQUESTS, model, endpoint_names[e], type_of(stream), "success", "");
        }
}

/* Names that no model has would make one series each: they share one. */
static const char *known(const char *model) {
    return model != NULL ? model : "unknown_model";
}

void weir_front_count_failed(struct weir_front_metrics *m, const char *model,
                             enum weir_front_endpoint endpoint, bool stream,
                             const char *error_type) {
    weir_metric_inc(one(m, F_REQUESTS, known(model), endpoint_names[endpoint], type_of(stream),
                        "error", error_type));
}

void weir_front_count_cancelled(struct weir_front_metrics *m, const char *model,
                                enum weir_front_endpoint endpoint, bool stream) {
    weir_metric_inc(one(m, F_DISCONNECTED, NULL, NULL, NULL, NULL, NULL));
    weir_metric_inc(one(m, F_CANCELLATION, known(model), endpoint_names[endpoint], type_of(stream),
                        NULL, NULL));
}

void weir_front_count_rejected(struct weir_front_metrics *m, const char *model,
                               enum weir_front_endpoint endpoint) {
    weir_metric_inc(one(m, F_REJECTION, known(model), endpoint_names[endpoint], NULL, NULL, NULL));
}

void weir_front_count_migration(struct weir_front_metrics *m, const char *model, bool ongoing) {
    weir_metric_inc(
        one(m, F_MIGRATION, model, ongoing ? "ongoing_request" : "new_request", NULL, NULL, NULL));
}

void weir_front_count_split(struct weir_front_metrics *m, const char *model,
                            enum weir_split_why why) {
    weir_metric_inc(one(m, F_SPLIT, model, weir_split_is_local(why) ? "local" : "remote",
                        weir_split_why_word(why), NULL, NULL));
}

void weir_front_count_pool(struct weir_front_metrics *m, const char *phase, uint32_t pool,
                           bool retry) {
    char number[16];
    snprintf(number, sizeof(number), "%u", pool);
    weir_metric_inc(one(m, F_POOL, phase, number, NULL, NULL, NULL));
    if (retry)
        weir_metric_inc(one(m, F_POOL_RETRIES, phase, number, NULL, NULL, NULL));
}

void weir_front_count_migration_too_long(struct weir_front_metrics *m, const char *model) {
    weir_metric_inc(of_model(m, F_TOO_LONG, model));
}

void weir_front_observe_tokenize(struct weir_front_metrics *m, double seconds) {
    weir_metric_observe(m->tokenize, seconds * 1e3);
    weir_metric_observe(m->tokenize_s, seconds);
}

void weir_front_observe_template(struct weir_front_metrics *m, double seconds) {
    weir_metric_observe(m->template_s, seconds);
}

void weir_front_observe_detokenize(struct weir_front_metrics *m, double seconds, uint64_t tokens) {
    if (tokens == 0)
        return;
    weir_metric_observe(m->detokenize, seconds * 1e3 / (double)tokens);
    weir_metric_add(m->detokenize_us, seconds * 1e6);
    weir_metric_add(m->detokenize_n, (double)tokens);
}

void weir_front_observe_stage(struct weir_front_metrics *m, enum weir_front_stage stage,
                              double seconds) {
    weir_metric_observe(m->stages[stage], seconds);
}

void weir_front_observe_hashing(struct weir_front_metrics *m, double ms) {
    weir_metric_observe(m->hashing, ms);
}

void weir_front_observe_hit_rate(struct weir_front_metrics *m, double hit_rate) {
    weir_metric_observe(m->hit_rate, hit_rate);
}

void weir_front_observe_route(struct weir_front_metrics *m, double ms, double hit_rate) {
    weir_metric_observe(m->scheduling, ms);
    weir_metric_observe(m->hit_rate, hit_rate);
}

void weir_front_set_index(struct weir_front_metrics *m, const char *model, uint64_t entries,
                          size_t bytes) {
    weir_metric_set(of_model(m, F_KV_ENTRIES, model), (double)entries);
    weir_metric_set(of_model(m, F_KV_BYTES, model), (double)bytes);
}

/* Sets a counter of one model to what it has become, and adds the difference to that of all. A
 * smaller value is of a tokenizer that was loaded anew. */
static void set_and_add(struct weir_metric *of_model, uint64_t now, struct weir_metric *of_all) {
    double before = weir_metric_value(of_model), after = (double)now;
    weir_metric_set(of_model, after);
    if (of_all != NULL)
        weir_metric_add(of_all, after >= before ? after - before : after);
}

void weir_front_set_segments(struct weir_front_metrics *m, const char *model, uint64_t hits,
                             uint64_t misses, uint64_t evictions, uint64_t bytes) {
    set_and_add(one(m, F_SEGMENTS, model, "hit", NULL, NULL, NULL), hits,
                of_model(m, F_TOKENIZER_HITS, NULL));
    set_and_add(one(m, F_SEGMENTS, model, "miss", NULL, NULL, NULL), misses,
                of_model(m, F_TOKENIZER_MISSES, NULL));
    set_and_add(one(m, F_SEGMENTS, model, "evicted", NULL, NULL, NULL), evictions, NULL);
    weir_metric_set(of_model(m, F_SEGMENT_BYTES, model), (double)bytes);
}

void weir_front_set_words(struct weir_front_metrics *m, const char *model, uint64_t hits,
                          uint64_t misses) {
    set_and_add(one(m, F_WORDS, model, "hit", NULL, NULL, NULL), hits, NULL);
    set_and_add(one(m, F_WORDS, model, "miss", NULL, NULL, NULL), misses, NULL);
}

void weir_front_set_kv_events(struct weir_front_metrics *m, const char *model, const char *type,
                              const char *result, uint64_t n) {
    weir_metric_set(one(m, F_KV_EVENTS, model, type, result, NULL, NULL), (double)n);
}

void weir_front_set_queue(struct weir_front_metrics *m, const char *model, const char *phase,
                          double requests, double tokens) {
    weir_metric_set(one(m, F_QUEUE_REQUESTS, model, phase, NULL, NULL, NULL), requests);
    weir_metric_set(one(m, F_QUEUE_TOKENS, model, phase, NULL, NULL, NULL), tokens);
}

void weir_front_set_queue_refused(struct weir_front_metrics *m, const char *model,
                                  const char *phase, const char *reason, uint64_t n) {
    weir_metric_set(one(m, F_QUEUE_REFUSED, model, phase, reason, NULL, NULL), (double)n);
}

struct weir_metric *weir_front_queue_wait(struct weir_front_metrics *m, const char *model,
                                          const char *phase) {
    return one(m, F_QUEUE_WAIT, model, phase, NULL, NULL, NULL);
}

void weir_front_count_parity(struct weir_front_metrics *m, const char *model, unsigned n_same,
                             unsigned n_differ) {
    weir_metric_add(one(m, F_PARITY, model, "tokenize", "same", NULL, NULL), n_same);
    weir_metric_add(one(m, F_PARITY, model, "tokenize", "differs", NULL, NULL), n_differ);
}

void weir_front_count_parity_cause(struct weir_front_metrics *m, const char *model,
                                   const char *cause) {
    weir_metric_inc(one(m, F_PARITY_CAUSE, model, cause, NULL, NULL, NULL));
}

void weir_front_set_decisions_dropped(struct weir_front_metrics *m, uint64_t n) {
    weir_metric_set(one(m, F_DECISIONS_DROPPED, NULL, NULL, NULL, NULL, NULL), (double)n);
}

void weir_front_set_worker(struct weir_front_metrics *m, uint64_t worker_id, uint32_t dp_rank,
                           double decode_blocks, double prefill_tokens) {
    char id[24], rank[12];
    snprintf(id, sizeof(id), "%" PRIu64, worker_id);
    snprintf(rank, sizeof(rank), "%u", dp_rank);
    weir_metric_set(one(m, F_WORKER_BLOCKS, id, rank, "decode", NULL, NULL), decode_blocks);
    weir_metric_set(one(m, F_WORKER_PREFILL, id, rank, "decode", NULL, NULL), prefill_tokens);
}
