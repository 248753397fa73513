#include "worker/mock_figures.h"

#include "worker/mock_worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- the engines' own counters ------------------------------------------------------------ */

struct figure {
    struct weir_metric_desc desc;
    size_t offset; /* of the number in struct weir_engine_stats */
    bool wide;     /* uint64_t, else uint32_t */
};
#define FIGURE(name_, type_, member, wide_, help_)                                                 \
    {                                                                                              \
        {.name = "weir_mocker_" name_, .type = (type_), .help = (help_), .labels = {"worker_id"}}, \
            offsetof(struct weir_engine_stats, member), wide_                                      \
    }
static const struct figure figures[] = {
    FIGURE("requests_running", WEIR_GAUGE, running, false, "Sequences in the running batch."),
    FIGURE("requests_waiting", WEIR_GAUGE, waiting, false, "Sequences waiting to run."),
    FIGURE("kv_used_blocks", WEIR_GAUGE, kv_used_blocks, false, "KV blocks held by sequences."),
    FIGURE("kv_cached_blocks", WEIR_GAUGE, kv_cached_blocks, false,
           "KV blocks that can be reused, held or not."),
    FIGURE("prompt_tokens_total", WEIR_COUNTER, prompt_tokens, true,
           "Prompt tokens of sequences that began to run."),
    FIGURE("cached_tokens_total", WEIR_COUNTER, cached_tokens, true,
           "Of these, tokens found in the prefix cache."),
    FIGURE("received_tokens_total", WEIR_COUNTER, received_tokens, true,
           "Prompt tokens whose KV blocks a prefill worker sent."),
    FIGURE("output_tokens_total", WEIR_COUNTER, output_tokens, true, "Tokens generated."),
    FIGURE("preemptions_total", WEIR_COUNTER, preemptions, true,
           "Sequences that gave up their blocks and started over."),
    FIGURE("steps_total", WEIR_COUNTER, steps, true, "Forward passes."),
    FIGURE("finished_total", WEIR_COUNTER, finished, true, "Sequences that ran to their end."),
};
#undef FIGURE

static void set(struct weir_metrics *metrics, const struct weir_metric_desc *desc,
                const char *const *labels, double value) {
    weir_metric_set(weir_metric_get(weir_metrics_family(metrics, desc, 0), labels), value);
}

static void put_counters(struct weir_metrics *metrics, const struct weir_mock_worker *w) {
    struct weir_engine_stats stats;
    char id[24];
    const char *labels[] = {id};
    snprintf(id, sizeof(id), "%" PRIx64, weir_mock_worker_id(w));
    weir_mock_worker_get_stats(w, &stats);
    for (size_t k = 0; k < WEIR_ARRAY_LEN(figures); k++) {
        const char *at = (const char *)&stats + figures[k].offset;
        uint32_t narrow;
        uint64_t value;
        memcpy(&narrow, at, sizeof(narrow));
        if (figures[k].wide)
            memcpy(&value, at, sizeof(value));
        else
            value = narrow;
        set(metrics, &figures[k].desc, labels, (double)value);
    }
}

/* ---- of the reference's component --------------------------------------------------------- */

static const struct weir_metric_desc uptime = {.name = "dynamo_component_uptime_seconds",
                                               .type = WEIR_GAUGE,
                                               .help = "Since the worker's start.",
                                               .labels = {"worker_id"}};
static const struct weir_metric_desc lost = {
    .name = "dynamo_component_kv_publisher_engines_dropped_events_total",
    .type = WEIR_COUNTER,
    .help = "KV events lost between engine and publisher: none, they are one process.",
    .labels = {"dynamo_component", "dynamo_namespace", "worker_id"}};

static void put_component(struct weir_metrics *metrics, const struct weir_mock_worker *w) {
    const struct weir_mock_worker_config *c = weir_mock_worker_config(w);
    char id[24], component[256], ns[256];
    const char *just_id[] = {id}, *labels[] = {component, ns, id};
    snprintf(id, sizeof(id), "%" PRIx64, c->worker_id);
    snprintf(component, sizeof(component), "%.*s", WEIR_SPAN_ARG(c->endpoint.component));
    snprintf(ns, sizeof(ns), "%.*s", WEIR_SPAN_ARG(c->endpoint.ns));
    set(metrics, &uptime, just_id, weir_mock_worker_uptime_s(w));
    if (c->kv_events)
        set(metrics, &lost, labels, 0);
}

/* ---- under vLLM's names ------------------------------------------------------------------- */

static const double b_first[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                 1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
static const double b_gap[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                               .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
static const double b_whole[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
#define OF_RANK                                                                                    \
    { "engine", "model_name" }
#define GAUGE(name_, help_)                                                                        \
    { .name = "vllm:" name_, .type = WEIR_GAUGE, .help = (help_), .labels = OF_RANK }
#define TIMES(name_, help_, buckets_)                                                              \
    {                                                                                              \
        .name = "vllm:" name_, .type = WEIR_HISTOGRAM, .help = (help_), .labels = OF_RANK,         \
        .buckets = (buckets_), .n_buckets = WEIR_ARRAY_LEN(buckets_)                               \
    }
static const struct weir_metric_desc running =
    GAUGE("num_requests_running", "Sequences in the running batch.");
static const struct weir_metric_desc waiting =
    GAUGE("num_requests_waiting", "Sequences waiting to run.");
static const struct weir_metric_desc used =
    GAUGE("kv_cache_usage_perc", "Share of the KV blocks that sequences hold, 0 to 1.");
static const struct weir_metric_desc used_older =
    GAUGE("gpu_cache_usage_perc", "Older name of kv_cache_usage_perc.");
static const struct weir_metric_desc preemptions = {
    .name = "vllm:num_preemptions_total",
    .type = WEIR_COUNTER,
    .help = "Sequences that gave up their blocks and started over.",
    .labels = OF_RANK};
static const struct weir_metric_desc first =
    TIMES("time_to_first_token_seconds", "From a request to its first token.", b_first);
static const struct weir_metric_desc gap =
    TIMES("inter_token_latency_seconds", "Between two tokens of a request.", b_gap);
static const struct weir_metric_desc whole =
    TIMES("e2e_request_latency_seconds", "From a request to its last token.", b_whole);
#undef TIMES
#undef GAUGE
#undef OF_RANK

void weir_mock_times_init(struct weir_mock_times *times, struct weir_metrics *metrics,
                          const char *model, uint32_t rank) {
    char text[16];
    const char *labels[] = {text, model};
    const struct weir_metric_desc *const descs[] = {&first, &gap, &whole};
    struct weir_metric **const to[] = {&times->first_s, &times->gap_s, &times->whole_s};
    snprintf(text, sizeof(text), "%u", rank);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(descs); i++)
        *to[i] = weir_metric_get(metrics != NULL ? weir_metrics_family(metrics, descs[i], 0) : NULL,
                                 labels);
}

/* Workers of a process have the same model and the same number of ranks. */
static void put_rank(struct weir_metrics *metrics, struct weir_mock_worker *const *workers,
                     unsigned n_workers, uint32_t rank) {
    const struct weir_mock_worker_config *c = weir_mock_worker_config(workers[0]);
    struct weir_engine_stats sum = {0};
    char text[16], model[1024];
    const char *labels[] = {text, model};
    for (unsigned i = 0; i < n_workers; i++) {
        struct weir_engine_stats one;
        weir_mock_worker_rank_stats(workers[i], rank, &one);
        sum.running += one.running;
        sum.waiting += one.waiting;
        sum.kv_used_blocks += one.kv_used_blocks;
        sum.preemptions += one.preemptions;
    }
    double share = (double)sum.kv_used_blocks / ((double)c->engine.n_blocks * n_workers);
    snprintf(text, sizeof(text), "%u", c->card.dp_start_rank + rank);
    snprintf(model, sizeof(model), "%.*s", WEIR_SPAN_ARG(c->card.display_name));
    set(metrics, &running, labels, sum.running);
    set(metrics, &waiting, labels, sum.waiting);
    set(metrics, &used, labels, share);
    set(metrics, &used_older, labels, share);
    set(metrics, &preemptions, labels, (double)sum.preemptions);
}

void weir_mock_figures_scrape(struct weir_metrics *metrics, struct weir_mock_worker *const *workers,
                              unsigned n_workers) {
    for (unsigned i = 0; i < n_workers; i++) {
        put_counters(metrics, workers[i]);
        put_component(metrics, workers[i]);
    }
    for (uint32_t r = 0; n_workers > 0 && r < weir_mock_worker_config(workers[0])->n_ranks; r++)
        put_rank(metrics, workers, n_workers, r);
}
