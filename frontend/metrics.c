#include "frontend/metrics.h"

#include "base/mem.h"
#include "frontend/metrics_table_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

enum { NAME_BYTES = 128, MAX_SERIES = WEIR_FRONT_MAX_RANKS };

static bool is_of_worker(int f) {
    return rows[f].labels[1] != NULL && strcmp(rows[f].labels[1], "dp_rank") == 0;
}

struct weir_front_metrics {
    struct weir_metrics *registry;
    struct weir_metric_desc descs[N_FAMILIES]; /* rows with their whole names */
    char names[N_FAMILIES][NAME_BYTES];
    double bounds[WEIR_N_SPREADS][WEIR_METRIC_MAX_BUCKETS];
    unsigned n_bounds[WEIR_N_SPREADS];
    /* Series without a model, looked up once. */
    struct weir_metric *stages[WEIR_FRONT_N_STAGES], *tokenize, *detokenize, *tokenize_s,
        *template_s, *detokenize_us, *detokenize_n, *hashing, *scheduling, *hit_rate, *overhead,
        *routed, *routed_over, *routed_output, *routed_ttft, *routed_itl, *roundtrip, *loop_delay,
        *loop_stalls;
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

static const char *const endpoint_names[] = {"chat_completions", "completions", "responses",
                                             "anthropic_messages", "embeddings"};

const char *weir_front_endpoint_name(enum weir_front_endpoint endpoint) {
    return endpoint_names[endpoint];
}

static void find_series(struct weir_front_metrics *m) {
    static const char *const stage_names[] = {"preprocess", "route", "transport_roundtrip"};
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
    m->overhead = of_model(m, F_OVERHEAD, "0");
    m->routed = of_model(m, F_ROUTED, "0");
    m->routed_over = of_model(m, F_ROUTED_OVER, "0");
    m->routed_output = of_model(m, F_ROUTED_OUTPUT, "0");
    m->routed_ttft = of_model(m, F_ROUTED_TTFT, "0");
    m->routed_itl = of_model(m, F_ROUTED_ITL, "0");
    m->loop_delay = of_model(m, F_LOOP_DELAY, NULL);
    m->loop_stalls = of_model(m, F_LOOP_STALLS, NULL);
    m->roundtrip = of_model(m, F_ROUNDTRIP_S, NULL);
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
        m->families[i] =
            weir_metrics_family(m->registry, &m->descs[i], is_of_worker(i) ? MAX_SERIES : 0);
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
        .images = of_model(m, F_IMAGES, model),
        .videos = of_model(m, F_VIDEOS, model),
        .sounds = of_model(m, F_SOUNDS, model),
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
        .blind = of_model(m, F_BLIND, model),
        .received = weir_front_received(m, model, "default", false),
        .routed_cached = one(m, F_ROUTED_CACHED, model, "aggregated", "0", NULL, NULL),
        .routed_best = one(m, F_ROUTED_BEST, model, "aggregated", "0", NULL, NULL),
        .routed_reused = one(m, F_ROUTED_REUSED, model, "aggregated", "0", NULL, NULL),
        .routed_input = one(m, F_ROUTED_INPUT, model, "aggregated", "0", NULL, NULL)};
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

void weir_front_count_failure(struct weir_front_metrics *m, int http_status) {
    static const struct {
        int status;
        const char *class_name, *reason;
    } known_as[] = {{400, "InvalidRequest", "request.invalid"},
                    {401, "Unauthenticated", "request.unauthenticated"},
                    {403, "PermissionDenied", "request.permission_denied"},
                    {404, "NotFound", "request.not_found"},
                    {408, "DeadlineExceeded", "request.deadline_exceeded"},
                    {409, "Conflict", "request.conflict"},
                    {413, "PayloadTooLarge", "request.payload_too_large"},
                    {415, "UnsupportedMedia", "request.unsupported_media"},
                    {429, "RateLimited", "request.rate_limited"},
                    {501, "NotImplemented", "runtime.not_implemented"},
                    {503, "Unavailable", "backend.unavailable"},
                    {504, "DeadlineExceeded", "backend.connection_timeout"},
                    {529, "CapacityExhausted", "capacity.exhausted"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(known_as); i++)
        if (known_as[i].status == http_status) {
            weir_metric_inc(
                one(m, F_FAILURES, known_as[i].class_name, known_as[i].reason, NULL, NULL, NULL));
            return;
        }
    weir_metric_inc(one(m, F_FAILURES, http_status < 500 ? "InvalidRequest" : "Internal",
                        http_status < 500 ? "request.invalid" : "runtime.internal", NULL, NULL,
                        NULL));
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

void weir_front_observe_migration(struct weir_front_metrics *m, const char *model, bool ongoing,
                                  bool success, double seconds) {
    weir_metric_observe(one(m, F_MIGRATION_S, model, ongoing ? "ongoing_request" : "new_request",
                            success ? "success" : "failure", NULL, NULL),
                        seconds);
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

void weir_front_count_warmed(struct weir_front_metrics *m, const char *model, const char *result) {
    weir_metric_inc(one(m, F_WARMED, model, result, NULL, NULL, NULL));
}

void weir_front_observe_embedding(struct weir_front_metrics *m, const char *model, double seconds) {
    weir_metric_observe(of_model(m, F_EMBEDDING, model), seconds);
}

void weir_front_observe_tokenize(struct weir_front_metrics *m, double seconds) {
    weir_metric_observe(m->tokenize, seconds * 1e3);
    weir_metric_observe(m->tokenize_s, seconds);
}

void weir_front_observe_template(struct weir_front_metrics *m, double seconds) {
    weir_metric_observe(m->template_s, seconds);
}

void weir_front_observe_detokenize(struct weir_front_metrics *m, double mean_s, uint64_t tokens) {
    weir_metric_observe(m->detokenize, mean_s * 1e3);
    weir_metric_add(m->detokenize_us, mean_s * 1e6 * (double)tokens);
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

void weir_front_observe_route(struct weir_front_metrics *m, double hash_ms, double ms,
                              double hit_rate) {
    weir_metric_observe(m->scheduling, ms);
    weir_metric_observe(m->overhead, hash_ms + ms);
    weir_metric_observe(m->hit_rate, hit_rate);
}

void weir_front_count_routed(struct weir_front_metrics *m) {
    weir_metric_inc(m->routed);
}

void weir_front_observe_first_item(struct weir_front_metrics *m, double seconds, bool kv) {
    weir_metric_observe(m->stages[WEIR_FRONT_ROUNDTRIP], seconds);
    weir_metric_observe(m->roundtrip, seconds);
    if (kv)
        weir_metric_observe(m->routed_ttft, seconds);
}

void weir_front_observe_routed_end(struct weir_front_metrics *m, uint64_t tokens) {
    weir_metric_inc(m->routed_over);
    if (tokens > 0)
        weir_metric_observe(m->routed_output, (double)tokens);
}

void weir_front_observe_routed_gaps(struct weir_front_metrics *m, double mean_s, uint64_t n) {
    weir_metric_observe_n(m->routed_itl, mean_s, n);
}

void weir_front_observe_loop_delay(struct weir_front_metrics *m, double seconds) {
    weir_metric_observe(m->loop_delay, seconds);
    if (seconds > .005)
        weir_metric_inc(m->loop_stalls);
}

void weir_front_set_plane(struct weir_front_metrics *m, const struct weir_plane_stats *t) {
    weir_metric_set(of_model(m, F_PLANE_INFLIGHT, NULL), (double)t->calls);
    weir_metric_set(of_model(m, F_PLANE_SENT, NULL), (double)t->bytes_sent);
    weir_metric_set(of_model(m, F_PLANE_RECEIVED, NULL), (double)t->bytes_received);
    weir_metric_set(of_model(m, F_PLANE_ERRORS, NULL), (double)t->errors);
}

void weir_front_set_uptime(struct weir_front_metrics *m, double seconds) {
    weir_metric_set(of_model(m, F_UPTIME, NULL), seconds);
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

void weir_front_set_pending(struct weir_front_metrics *m, const char *model,
                            const char *policy_class, bool prefill, double requests,
                            double isl_tokens, double cached_tokens) {
    const char *type = prefill ? "prefill" : "decode";
    weir_metric_set(one(m, F_PENDING, model, policy_class, type, NULL, NULL), requests);
    if (isl_tokens < 0)
        return;
    weir_metric_set(one(m, F_PENDING_ISL, model, policy_class, type, NULL, NULL), isl_tokens);
    weir_metric_set(one(m, F_PENDING_CACHED, model, policy_class, type, NULL, NULL), cached_tokens);
}

struct weir_metric *weir_front_received(struct weir_front_metrics *m, const char *model,
                                        const char *policy_class, bool prefill) {
    return one(m, F_RECEIVED, model, policy_class, prefill ? "prefill" : "decode", NULL, NULL);
}

void weir_front_set_late(struct weir_front_metrics *m, const char *model, const char *policy_class,
                         bool prefill, uint64_t n) {
    const char *type = prefill ? "prefill" : "decode";
    weir_metric_set(one(m, F_LATE, model, policy_class, type, "due_time_passed", NULL), (double)n);
    /* A reason of the reference's that it does not have yet, either. */
    (void)one(m, F_LATE, model, policy_class, type, "predicted_miss", NULL);
}

void weir_front_set_backpressure(struct weir_front_metrics *m, const char *model,
                                 const char *policy_class, bool prefill, const char *reason,
                                 uint64_t n) {
    weir_metric_set(
        one(m, F_BACKPRESSURE, model, policy_class, prefill ? "prefill" : "decode", reason, NULL),
        (double)n);
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

/* ---- workers -------------------------------------------------------------------------------- */

struct worker_labels {
    char id[24], rank[12];
    const char *values[3];
};

static void label_worker(struct worker_labels *l, uint64_t worker_id, uint32_t dp_rank,
                         bool prefill) {
    snprintf(l->id, sizeof(l->id), "%" PRIu64, worker_id);
    snprintf(l->rank, sizeof(l->rank), "%u", dp_rank);
    l->values[0] = l->id;
    l->values[1] = l->rank;
    l->values[2] = prefill ? "prefill" : "decode";
}

static const enum family of_worker[] = {F_REGISTERED,        F_WORKER_BLOCKS,    F_WORKER_PREFILL,
                                        F_WORKER_LAST_INPUT, F_WORKER_LAST_TTFT, F_WORKER_LAST_ITL};

void weir_front_metrics_worker(struct weir_front_metrics *m, uint64_t worker_id, uint32_t dp_rank,
                               bool prefill, struct weir_front_worker_metrics *ret) {
    struct weir_metric **const to[] = {&ret->registered, &ret->decode_blocks, &ret->prefill_tokens,
                                       &ret->last_input, &ret->last_ttft,     &ret->last_itl};
    struct worker_labels l;
    label_worker(&l, worker_id, dp_rank, prefill);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(of_worker); i++)
        *to[i] = weir_metric_get(m->families[of_worker[i]], l.values);
}

void weir_front_metrics_worker_gone(struct weir_front_metrics *m, uint64_t worker_id,
                                    uint32_t dp_rank, bool prefill) {
    struct worker_labels l;
    label_worker(&l, worker_id, dp_rank, prefill);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(of_worker); i++)
        weir_metric_retire(m->families[of_worker[i]], l.values);
}
