#include "indexer/requests.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "net/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 16384, TEXT_BYTES = 1024, MAX_HEADER = 256 };

struct weir_requests {
    struct weir_requests_config config;
    struct weir_metric_family *total, *errors, *duration;
    int fd; /* of the log; -1: none */
};

/* 100 us doubled up to 52 s, as the reference has it. */
static const double buckets[] = {.0001,  .0002,  .0004,  .0008,   .0016,   .0032,  .0064,
                                 .0128,  .0256,  .0512,  .1024,   .2048,   .4096,  .8192,
                                 1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288};
static const struct weir_metric_desc total_desc = {.name = "dynamo_kvindexer_requests_total",
                                                   .type = WEIR_COUNTER,
                                                   .help = "HTTP requests.",
                                                   .labels = {"endpoint", "method"}};
static const struct weir_metric_desc errors_desc = {.name = "dynamo_kvindexer_errors_total",
                                                    .type = WEIR_COUNTER,
                                                    .help = "HTTP answers of 400 and more.",
                                                    .labels = {"endpoint", "status_class"}};
static const struct weir_metric_desc duration_desc = {
    .name = "dynamo_kvindexer_request_duration_seconds",
    .type = WEIR_HISTOGRAM,
    .help = "Head of a request to the end of its answer.",
    .labels = {"endpoint"},
    .buckets = buckets,
    .n_buckets = WEIR_ARRAY_LEN(buckets)};

/* ---- the log ----------------------------------------------------------------------------------
 */

static int open_log(const char *path, struct weir_err *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        weir_err_set(err, WEIR_IO, "failed to open access log %.*s: %s",
                     WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)), strerror(errno));
    return fd;
}

/* Value of a header, cut to what a line has room for; "-" without one. */
static struct weir_span trace_id(const struct weir_requests *r, const struct weir_http_request *q) {
    for (size_t i = 0; i < q->n_headers; i++)
        if (weir_span_ieq(q->headers[i].name, weir_span_z(r->config.trace_header))) {
            struct weir_span v = q->headers[i].value;
            return weir_utf8_cut(v, TEXT_BYTES);
        }
    return WEIR_SPAN_LIT("-");
}

/* model_name of a body, cut to what a line has room for; "-" where there is none. */
static struct weir_span model_of(struct weir_span body, struct weir_arena *arena) {
    struct weir_json j;
    struct weir_json_str key, value;
    struct weir_span found = WEIR_SPAN_LIT("-");
    weir_json_init(&j, body, 32);
    if (body.len == 0 || weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return found;
    while (weir_json_object_next(&j, &key)) {
        if (weir_json_str_eqz(key, "model_name") && weir_json_peek(&j) == WEIR_JSON_STRING &&
            weir_json_string(&j, &value))
            found = weir_json_text(value, arena);
        else
            weir_json_skip(&j, NULL);
    }
    if (found.data == NULL)
        return WEIR_SPAN_LIT("-");
    return weir_utf8_cut(found, TEXT_BYTES);
}

static void put_time(const struct weir_requests *r, char out[64]) {
    struct timespec ts;
    struct tm tm;
    char day[32], zone[8] = "Z";
    clock_gettime(CLOCK_REALTIME, &ts);
    if (r->config.local_time) {
        char digits[8];
        localtime_r(&ts.tv_sec, &tm);
        strftime(digits, sizeof(digits), "%z", &tm); /* +hhmm */
        snprintf(zone, sizeof(zone), "%.3s:%.2s", digits, digits + 3);
    } else {
        gmtime_r(&ts.tv_sec, &tm);
    }
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 64, "%s.%03d%s", day, (int)(ts.tv_nsec / 1000000 % 1000), zone);
}

static void write_line(const struct weir_requests *r, struct weir_span line) {
    ssize_t n = write(r->fd, line.data, line.len);
    if (n != (ssize_t)line.len)
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "access log %s: a line is lost: %s",
                 r->config.access_log, n < 0 ? strerror(errno) : strerror(ENOSPC));
}

static void log_request(const struct weir_requests *r, struct weir_http_exchange *x,
                        const char *endpoint, double seconds) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    struct weir_buf line;
    struct weir_jsonw w;
    char ts[64];
    put_time(r, ts);
    weir_buf_init(&line, LINE_BYTES);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "ts");
    weir_jsonw_string_z(&w, ts);
    const struct {
        const char *key;
        struct weir_span value;
    } texts[] = {{"trace_id", trace_id(r, q)},
                 {"method", q->method},
                 {"path", weir_span_z(endpoint)},
                 {"model", model_of(q->body, weir_http_exchange_arena(x))}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++) {
        weir_jsonw_key(&w, texts[i].key);
        weir_jsonw_string(&w, texts[i].value);
    }
    weir_jsonw_key(&w, "status");
    weir_jsonw_u64(&w, (uint64_t)weir_http_exchange_status(x));
    weir_jsonw_key(&w, "duration_ms");
    weir_jsonw_f64(&w, seconds * 1e3);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK && weir_buf_append_c(&line, '\n') == WEIR_OK)
        write_line(r, weir_buf_span(&line));
    weir_buf_fini(&line);
}

/* ---- interface --------------------------------------------------------------------------------
 */

static bool is_header_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "!#$%&'*+-.^_`|~";
    size_t n = strlen(name);
    return n > 0 && n < MAX_HEADER && strspn(name, allowed) == n;
}

enum weir_status weir_requests_create(const struct weir_requests_config *config,
                                      struct weir_requests **ret_requests, struct weir_err *err) {
    if (!is_header_name(config->trace_header))
        return weir_err_set(err, WEIR_INVALID,
                            "--trace-id-header %.*s: not the name of a header; give one such as "
                            "x-trace-id",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(config->trace_header, 80)));
    struct weir_requests *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    r->config = *config;
    r->total = weir_metrics_family(config->metrics, &total_desc, 0);
    r->errors = weir_metrics_family(config->metrics, &errors_desc, 0);
    r->duration = weir_metrics_family(config->metrics, &duration_desc, 0);
    r->fd = config->access_log != NULL ? open_log(config->access_log, err) : -1;
    if (config->access_log != NULL && r->fd < 0) {
        weir_free(r);
        return WEIR_IO;
    }
    *ret_requests = r;
    return WEIR_OK;
}

void weir_requests_destroy(struct weir_requests *r) {
    if (r == NULL)
        return;
    if (r->fd >= 0)
        close(r->fd);
    weir_free(r);
}

void weir_requests_note(struct weir_requests *r, struct weir_http_exchange *x,
                        const char *endpoint) {
    if (r == NULL)
        return;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    double seconds = (double)(weir_now_ns() - q->received_ns) / 1e9;
    int status = weir_http_exchange_status(x);
    /* Any token may stand where the method does: only known ones become a series. */
    bool get = weir_span_eqz(q->method, "GET"), post = weir_span_eqz(q->method, "POST");
    const char *labels[] = {endpoint, get ? "GET" : post ? "POST" : "other"};
    weir_metric_inc(weir_metric_get(r->total, labels));
    weir_metric_observe(weir_metric_get(r->duration, labels), seconds);
    if (status >= 400) {
        labels[1] = status < 500 ? "4xx" : "5xx";
        weir_metric_inc(weir_metric_get(r->errors, labels));
    }
    if (r->fd >= 0)
        log_request(r, x, endpoint, seconds);
}

enum weir_status weir_requests_reopen(struct weir_requests *r, struct weir_err *err) {
    if (r == NULL || r->fd < 0)
        return WEIR_OK;
    int fd = open_log(r->config.access_log, err);
    if (fd < 0)
        return WEIR_IO;
    close(r->fd);
    r->fd = fd;
    return WEIR_OK;
}
