#include "base/metrics.h"

#include "test/check.h"

#include <pthread.h>

static const double buckets[] = {0, 0.5, 1};
static const struct weir_metric_desc requests = {.name = "t_requests_total",
                                                 .type = WEIR_COUNTER,
                                                 .help = "Requests.",
                                                 .labels = {"model", "code"}};
static const struct weir_metric_desc load = {.name = "t_load", .type = WEIR_GAUGE, .help = "Load."};
static const struct weir_metric_desc seconds = {.name = "t_seconds",
                                                .type = WEIR_HISTOGRAM,
                                                .help = "Time.",
                                                .labels = {"model"},
                                                .buckets = buckets,
                                                .n_buckets = 3};

static void on_scrape(void *arg) {
    weir_metric_set(arg, 2.5);
}

static void case_text_format(void) {
    struct weir_metrics *m = NULL;
    CHECK(weir_metrics_create(&m) == WEIR_OK);
    struct weir_metric_family *r = weir_metrics_family(m, &requests, 0);
    struct weir_metric_family *l = weir_metrics_family(m, &load, 0);
    struct weir_metric_family *s = weir_metrics_family(m, &seconds, 0);
    CHECK(weir_metrics_on_scrape(m, on_scrape, weir_metric_get(l, NULL)) == WEIR_OK);
    weir_metric_inc(weir_metric_get(r, (const char *[]){"a\"b\\", "200"}));
    weir_metric_add(weir_metric_get(r, (const char *[]){"a\"b\\", "200"}), 2);
    struct weir_metric *h = weir_metric_get(s, (const char *[]){"x"});
    weir_metric_observe(h, 0.5);
    weir_metric_observe_n(h, 0.75, 2);
    weir_metric_observe(h, 7);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    CHECK(weir_metrics_expose(m, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len,
                 "# HELP t_requests_total Requests.\n"
                 "# TYPE t_requests_total counter\n"
                 "t_requests_total{model=\"a\\\"b\\\\\",code=\"200\"} 3\n"
                 "# HELP t_load Load.\n"
                 "# TYPE t_load gauge\n"
                 "t_load 2.5\n"
                 "# HELP t_seconds Time.\n"
                 "# TYPE t_seconds histogram\n"
                 "t_seconds_bucket{model=\"x\",le=\"0\"} 0\n"
                 "t_seconds_bucket{model=\"x\",le=\"0.5\"} 1\n"
                 "t_seconds_bucket{model=\"x\",le=\"1\"} 3\n"
                 "t_seconds_bucket{model=\"x\",le=\"+Inf\"} 4\n"
                 "t_seconds_sum{model=\"x\"} 9\n"
                 "t_seconds_count{model=\"x\"} 4\n");
    weir_metric_retire(s, (const char *[]){"x"});
    weir_buf_clear(&out);
    CHECK(weir_metrics_expose(m, &out) == WEIR_OK);
    CHECK(memmem(out.data, out.len, "le=", 3) == NULL);
    weir_buf_fini(&out);
    weir_metrics_destroy(m);
}

static void case_series_are_bounded(void) {
    struct weir_metrics *m = NULL;
    CHECK(weir_metrics_create(&m) == WEIR_OK);
    struct weir_metric_family *r = weir_metrics_family(m, &requests, 2);
    struct weir_metric *a = weir_metric_get(r, (const char *[]){"a", "1"});
    weir_metric_get(r, (const char *[]){"b", "1"});
    struct weir_metric *c = weir_metric_get(r, (const char *[]){"c", "1"});
    CHECK(c == weir_metric_get(r, (const char *[]){"d", "1"}) && c != a);
    weir_metrics_destroy(m);
}

/* (Failed before: workers that come and go filled the family, and those of today had no series.) */
static void case_retired_series_make_room(void) {
    struct weir_metrics *m = NULL;
    CHECK(weir_metrics_create(&m) == WEIR_OK);
    struct weir_metric_family *s = weir_metrics_family(m, &seconds, 2);
    weir_metric_get(s, (const char *[]){"stays"});
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "w%d", i);
        struct weir_metric *w = weir_metric_get(s, (const char *[]){name});
        CHECK(weir_metric_value(w) == 0);
        weir_metric_observe(w, 0.5);
        struct weir_buf out;
        weir_buf_init(&out, 1 << 16);
        CHECK(weir_metrics_expose(m, &out) == WEIR_OK);
        char line[64];
        snprintf(line, sizeof(line), "t_seconds_count{model=\"%s\"} 1\n", name);
        CHECK(memmem(out.data, out.len, line, strlen(line)) != NULL);
        CHECK(memmem(out.data, out.len, "other", 5) == NULL);
        weir_buf_fini(&out);
        weir_metric_retire(s, (const char *[]){name});
    }
    weir_metrics_destroy(m);
}

static void *hammer(void *arg) {
    struct weir_metric_family *r = arg;
    for (int i = 0; i < 20000; i++) {
        char code[16];
        snprintf(code, sizeof(code), "%d", i % 7);
        weir_metric_inc(weir_metric_get(r, (const char *[]){"m", code}));
    }
    return NULL;
}

static void case_threads_lose_nothing(void) {
    struct weir_metrics *m = NULL;
    CHECK(weir_metrics_create(&m) == WEIR_OK);
    struct weir_metric_family *r = weir_metrics_family(m, &requests, 0);
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&t[i], NULL, hammer, r) == 0);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    for (int i = 0; i < 20; i++) {
        weir_buf_clear(&out);
        CHECK(weir_metrics_expose(m, &out) == WEIR_OK);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    double sum = 0;
    for (int i = 0; i < 7; i++) {
        char code[16];
        snprintf(code, sizeof(code), "%d", i);
        sum += weir_metric_value(weir_metric_get(r, (const char *[]){"m", code}));
    }
    CHECK(sum == 60000);
    weir_buf_fini(&out);
    weir_metrics_destroy(m);
}

/* The reference system's own bounds, read off its /metrics page. */
static void case_log_buckets(void) {
    static const struct {
        double min, max;
        unsigned count, n;
        double bounds[20];
    } rows[] = {
        {1, 512, 10, 10, {0, 2, 4, 8, 16, 32, 64, 130, 260, 510}},
        {50,
         128000,
         12,
         12,
         {0, 100, 210, 430, 870, 1800, 3600, 7400, 15000, 31000, 63000, 130000}},
        {50, 32000, 10, 10, {0, 100, 210, 430, 880, 1800, 3700, 7600, 16000, 32000}},
        {.001,
         480,
         18,
         18,
         {0, .0022, .0047, .01, .022, .047, .1, .22, .47, 1, 2.2, 4.7, 10, 22, 48, 100, 220, 480}},
        {.001, 80, 20, 20, {0,   .0018, .0033, .0059, .011, .02, .035, .064, .12, .21,
                            .38, .69,   1.2,   2.3,   4.1,  7.4, 13,   24,   44,  80}},
        {.001,
         10,
         14,
         14,
         {0, .002, .0041, .0084, .017, .035, .07, .14, .29, .59, 1.2, 2.4, 4.9, 10}},
        {1, 1.2, 9, 4, {0, 1, 1.1, 1.2}}, /* equal after rounding: once */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double got[WEIR_METRIC_MAX_BUCKETS];
        unsigned n = weir_metric_log_buckets(rows[i].min, rows[i].max, rows[i].count, got);
        CHECK(n == rows[i].n);
        for (unsigned k = 0; k < n && k < rows[i].n; k++)
            CHECK(got[k] == rows[i].bounds[k]);
    }
}

int main(void) {
    CHECK_RUN(case_log_buckets);
    CHECK_RUN(case_text_format);
    CHECK_RUN(case_series_are_bounded);
    CHECK_RUN(case_retired_series_make_room);
    CHECK_RUN(case_threads_lose_nothing);
    return check_finish();
}
