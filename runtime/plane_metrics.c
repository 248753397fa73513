#include "runtime/plane_metrics.h"

#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static const double b_duration[] = {.005, .01, .025, .05, .1, .25, .5,  1,  2.5,
                                    5,    10,  20,   30,  60, 120, 300, 600};
static const double b_transit[] = {.0001, .0005, .001, .005, .01, .05, .1, .5, 1};
static const double b_wait[] = {.0001, .001, .01, .05, .1, .5, 1, 5, 10, 30, 60};
static const double b_first[] = {.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60};

/* ---- of an endpoint ----------------------------------------------------------------------- */

#define OF_ENDPOINT "dynamo_component", "dynamo_endpoint", "dynamo_namespace", "worker_id"
#define ROW(name_, type_, help_)                                                                   \
    {                                                                                              \
        .name = "dynamo_component_" name_, .type = (type_), .help = (help_), .labels = {           \
            OF_ENDPOINT                                                                            \
        }                                                                                          \
    }
static const struct weir_metric_desc requests =
    ROW("requests_total", WEIR_COUNTER, "Requests that came to this endpoint.");
static const struct weir_metric_desc inflight =
    ROW("inflight_requests", WEIR_GAUGE, "Requests that are being answered.");
static const struct weir_metric_desc in_bytes =
    ROW("request_bytes_total", WEIR_COUNTER, "Bytes of the requests.");
static const struct weir_metric_desc out_bytes =
    ROW("response_bytes_total", WEIR_COUNTER, "Bytes of the answers' items.");
static const struct weir_metric_desc cancelled =
    ROW("cancellation_total", WEIR_COUNTER, "Requests that their callers stopped or left.");
static const struct weir_metric_desc duration = {.name =
                                                     "dynamo_component_request_duration_seconds",
                                                 .type = WEIR_HISTOGRAM,
                                                 .help = "From a request to the end of its answer.",
                                                 .labels = {OF_ENDPOINT},
                                                 .buckets = b_duration,
                                                 .n_buckets = WEIR_ARRAY_LEN(b_duration)};
static const struct weir_metric_desc errors = {.name = "dynamo_component_errors_total",
                                               .type = WEIR_COUNTER,
                                               .help = "Requests that failed, by what failed.",
                                               .labels = {OF_ENDPOINT, "error_type"}};
#undef ROW

static struct weir_metric_family *family(struct weir_metrics *metrics,
                                         const struct weir_metric_desc *desc) {
    return metrics != NULL ? weir_metrics_family(metrics, desc, 0) : NULL;
}

enum weir_status weir_path_figures_init(struct weir_path_figures *f, struct weir_metrics *metrics,
                                        const struct weir_endpoint_id *endpoint,
                                        uint64_t worker_id) {
    char id[24];
    bool shown = metrics != NULL && endpoint != NULL;
    struct weir_metrics *m = shown ? metrics : NULL;
    *f = (struct weir_path_figures){0};
    snprintf(id, sizeof(id), "%" PRIx64, worker_id);
    for (unsigned i = 0; shown && i < WEIR_ARRAY_LEN(f->labels); i++) {
        struct weir_span s = i == 0   ? endpoint->component
                             : i == 1 ? endpoint->name
                             : i == 2 ? endpoint->ns
                                      : weir_span_z(id);
        f->labels[i] = weir_strndup(s.data, s.len);
        if (f->labels[i] == NULL) {
            weir_path_figures_fini(f);
            return WEIR_NOMEM;
        }
    }
    const char *const *l = (const char *const *)f->labels;
    f->requests = weir_metric_get(family(m, &requests), l);
    f->duration_s = weir_metric_get(family(m, &duration), l);
    f->inflight = weir_metric_get(family(m, &inflight), l);
    f->in_bytes = weir_metric_get(family(m, &in_bytes), l);
    f->out_bytes = weir_metric_get(family(m, &out_bytes), l);
    f->cancelled = weir_metric_get(family(m, &cancelled), l);
    f->errors = family(m, &errors);
    return WEIR_OK;
}

void weir_path_figures_fini(struct weir_path_figures *f) {
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(f->labels); i++)
        weir_free(f->labels[i]);
}

void weir_path_figures_failed(const struct weir_path_figures *f, enum weir_plane_failure why) {
    static const char *const words[] = {"invalid_message", "deserialization", "response_stream",
                                        "generate", "publish_response"};
    const char *labels[5] = {f->labels[0], f->labels[1], f->labels[2], f->labels[3], words[why]};
    if (f->errors != NULL)
        weir_metric_inc(weir_metric_get(f->errors, labels));
}

/* ---- of the server ------------------------------------------------------------------------ */

#define PLAIN(name_, type_, help_)                                                                 \
    { .name = (name_), .type = (type_), .help = (help_) }
static const struct weir_metric_desc pool_active =
    PLAIN("dynamo_work_handler_pool_active_tasks", WEIR_GAUGE, "Requests in work.");
static const struct weir_metric_desc engine_active =
    PLAIN("dynamo_engine_request", WEIR_GAUGE, "Requests in work.");
static const struct weir_metric_desc overloaded =
    PLAIN("dynamo_rejection_request_total", WEIR_COUNTER, "Requests refused for want of room.");
static const struct weir_metric_desc turned_away =
    PLAIN("dynamo_work_handler_enqueue_rejected_total", WEIR_COUNTER,
          "Requests refused because this process is leaving.");
static const struct weir_metric_desc pool_room =
    PLAIN("dynamo_work_handler_pool_capacity", WEIR_GAUGE, "Requests that can be in work.");
static const struct weir_metric_desc without_queue[] = {
    PLAIN("dynamo_work_handler_queue_capacity", WEIR_GAUGE, "Nothing waits here: 0."),
    PLAIN("dynamo_work_handler_queue_depth", WEIR_GAUGE, "Nothing waits here: 0."),
    PLAIN("dynamo_request_queue", WEIR_GAUGE, "Nothing waits here: 0.")};
#undef PLAIN
#define TIMES(name_, help_, buckets_)                                                              \
    {                                                                                              \
        .name = "dynamo_work_handler_" name_, .type = WEIR_HISTOGRAM, .help = (help_),             \
        .buckets = (buckets_), .n_buckets = WEIR_ARRAY_LEN(buckets_)                               \
    }
static const struct weir_metric_desc transit =
    TIMES("network_transit_seconds", "From the caller's clock to ours.", b_transit);
static const struct weir_metric_desc permit_wait =
    TIMES("permit_wait_seconds", "Nothing waits here: empty.", b_wait);
static const struct weir_metric_desc first =
    TIMES("time_to_first_response_seconds", "From a request to the begin of its answer.", b_first);
#undef TIMES

static struct weir_metric *single(struct weir_metrics *metrics,
                                  const struct weir_metric_desc *desc) {
    return weir_metric_get(family(metrics, desc), NULL);
}

void weir_plane_figures_init(struct weir_plane_figures *f, struct weir_metrics *metrics,
                             unsigned max_active) {
    *f = (struct weir_plane_figures){.metrics = metrics,
                                     .active = single(metrics, &pool_active),
                                     .engine_active = single(metrics, &engine_active),
                                     .overloaded = single(metrics, &overloaded),
                                     .turned_away = single(metrics, &turned_away),
                                     .transit_s = single(metrics, &transit),
                                     .first_s = single(metrics, &first)};
    weir_metric_set(single(metrics, &pool_room), max_active);
    (void)single(metrics, &permit_wait);
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(without_queue); i++)
        (void)single(metrics, &without_queue[i]);
}

void weir_plane_figures_active(const struct weir_plane_figures *f, int by) {
    weir_metric_add(f->active, by);
    weir_metric_add(f->engine_active, by);
}

/* A clock behind the caller's gives 0, as the reference does. */
static double seconds_since(uint64_t sent_ns) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t now_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    return now_ns > sent_ns ? (double)(now_ns - sent_ns) / 1e9 : 0;
}

void weir_plane_figures_sent(const struct weir_plane_figures *f, struct weir_span headers) {
    struct weir_json j;
    struct weir_json_str key, value;
    uint64_t sent_ns;
    if (f->metrics == NULL || headers.len == 0)
        return;
    weir_json_init(&j, headers, 2);
    if (!weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "x-frontend-send-ts-ns")) {
            (void)weir_json_skip(&j, NULL);
        } else if (weir_json_string(&j, &value) && weir_span_u64(value.raw, &sent_ns)) {
            weir_metric_observe(f->transit_s, seconds_since(sent_ns));
            return;
        }
    }
}
