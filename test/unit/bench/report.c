/* The reports of a made-up run. With an argument: also writes the page there, to be looked at. */
#include "bench/report.h"
#include "base/json.h"
#include "base/rng.h"
#include "bench/file.h"
#include "bench/origin.h"
#include "test/check.h"

static struct weir_bench_options options(void) {
    struct weir_bench_options o = {.url = "http://h:1/<v1>",
                                   .label = "a \"quoted\" <label> & more",
                                   .stream = true,
                                   .rate = 200,
                                   .concurrency = WEIR_CONFIG_NONE,
                                   .requests = 4000,
                                   .conversations = WEIR_CONFIG_NONE,
                                   .duration_s = NAN,
                                   .warmup = 200,
                                   .loops = 2,
                                   .seed = 1,
                                   .isl = "lognormal:512,0.8",
                                   .osl = "128",
                                   .think_time_ms = "0",
                                   .turns = 1,
                                   .trace_speedup = 1,
                                   .chars_per_token = 1,
                                   .max_error_share = 0};
    return o;
}

static void fill(struct weir_tally *t, unsigned n) {
    struct weir_rng rng;
    weir_rng_seed(&rng, 5);
    const struct weir_bench_slo slo = {400, 30, NAN};
    enum { MS = 1000000 };
    CHECK(weir_tally_init(t, &slo, 1000) == WEIR_OK);
    for (unsigned i = 0; i < n; i++) {
        struct weir_outcome o = {.measured = i >= 200, .streamed = true, .http_status = 200};
        o.due_ns = 1000 + (uint64_t)i * 5 * MS;
        o.sent_ns = o.due_ns + (i % 50 == 0 ? 3 * MS : 20000);
        double slow = i > 2500 && i < 3000 ? 4 : 1;
        o.first_ns = o.sent_ns + (uint64_t)((40 + weir_rng_exp(&rng, 60)) * slow * MS);
        weir_tally_sent(t, o.sent_ns, 20 + (uint64_t)(slow * 10));
        o.last_ns = o.first_ns;
        for (int k = 1; k < 20; k++) {
            uint64_t gap = (uint64_t)((8 + weir_rng_exp(&rng, 3)) * slow * MS);
            o.last_ns += gap;
            weir_tally_tokens(t, o.measured, o.last_ns, 1, gap);
        }
        o.end_ns = o.last_ns + MS;
        o.chunks = 20;
        o.has_usage = true;
        o.prompt_tokens = 500;
        o.cached_tokens = 300;
        o.completion_tokens = 20;
        if (i % 97 == 0) {
            o.fault = WEIR_BENCH_FAULT_HTTP;
            o.http_status = 529;
            weir_tally_sample(t, o.fault, WEIR_SPAN_LIT("all <workers> busy"));
        }
        weir_tally_outcome(t, &o);
    }
}

static const double cpu[] = {1.5, 1.25};

static struct weir_bench_report report_of(const struct weir_bench_options *o,
                                          const struct weir_tally *t) {
    struct weir_bench_report r = {.options = o,
                                  .model = "m",
                                  .tally = t,
                                  .started_wall_ms = 1790000000000u,
                                  .wall_s = 20,
                                  .cpu_s = 3,
                                  .n_loops = 2,
                                  .loop_cpu_s = cpu};
    return r;
}

/* Number at a path of two keys. */
static double number_at(struct weir_span json, const char *a, const char *b, const char *c) {
    const char *const path[] = {a, b, c};
    struct weir_json j;
    weir_json_init(&j, json, 32);
    double value = NAN;
    for (unsigned depth = 0; depth < 3 && path[depth] != NULL; depth++) {
        struct weir_json_str key;
        bool found = false;
        if (!weir_json_object_enter(&j))
            return NAN;
        while (!found && weir_json_object_next(&j, &key)) {
            found = weir_json_str_eqz(key, path[depth]);
            if (!found && !weir_json_skip(&j, NULL))
                return NAN;
        }
        if (!found)
            return NAN;
    }
    return weir_json_f64(&j, &value) ? value : NAN;
}

static void case_json(void) {
    struct weir_bench_options o = options();
    struct weir_tally t;
    fill(&t, 4200);
    struct weir_bench_report r = report_of(&o, &t);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 22);
    CHECK(weir_bench_report_json(&r, &out) == WEIR_OK);
    struct weir_json j;
    weir_json_init(&j, weir_buf_span(&out), 32);
    CHECK(weir_json_skip(&j, NULL) && weir_json_finish(&j));
    struct weir_span s = weir_buf_span(&out);
    CHECK(number_at(s, "requests", "ok", NULL) == (double)t.ok);
    CHECK(number_at(s, "requests", "measured", NULL) == 4000);
    CHECK(number_at(s, "errors", "http_status", "count") == (double)weir_tally_errors(&t));
    CHECK(number_at(s, "http_statuses", "529", NULL) == (double)weir_tally_errors(&t));
    double p50 = number_at(s, "latency_ms", "ttft", "p50");
    CHECK(fabs(p50 - (double)weir_hist_quantile(&t.ttft, 0.5) / 1e6) < 0.001 * p50);
    CHECK(number_at(s, "tokens", "cached_share", NULL) == 0.6);
    CHECK(fabs(number_at(s, "generator", "cpu_us_per_request", NULL) - 3e6 / 4200) < 0.01);
    CHECK(number_at(s, "goodput", "good", NULL) == (double)t.good);
    CHECK(!weir_bench_report_saturated(&r));
    r.wall_s = 1.6;
    CHECK(weir_bench_report_saturated(&r));
    weir_buf_fini(&out);
    weir_tally_fini(&t);
}

static const char *page_path;

static unsigned count_of(const struct weir_buf *b, const char *what) {
    unsigned n = 0;
    for (const char *at = b->data; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void case_html(void) {
    struct weir_bench_options o = options();
    struct weir_tally t;
    fill(&t, 4200);
    struct weir_bench_report r = report_of(&o, &t);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 22);
    CHECK(weir_bench_report_html(&r, &out) == WEIR_OK);
    if (page_path != NULL)
        CHECK(weir_file_write(page_path, weir_buf_span(&out), NULL) == WEIR_OK);
    CHECK(weir_buf_append_c(&out, '\0') == WEIR_OK);
    /* Nothing from outside, nothing unescaped, all elements closed. */
    CHECK(strstr(out.data, "src=") == NULL && strstr(out.data, "<script") == NULL);
    CHECK(strstr(out.data, "<label>") == NULL && strstr(out.data, "<workers>") == NULL);
    CHECK(strstr(out.data, "a &quot;quoted&quot; &lt;label&gt; &amp; more") != NULL);
    CHECK_EQ_U64(count_of(&out, "<svg"), 6);
    CHECK_EQ_U64(count_of(&out, "<svg"), count_of(&out, "</svg>"));
    CHECK_EQ_U64(count_of(&out, "<figure>"), count_of(&out, "</figure>"));
    CHECK_EQ_U64(count_of(&out, "<tr>"), count_of(&out, "</tr>"));
    CHECK(strstr(out.data, "nan") == NULL && strstr(out.data, "inf ") == NULL);
    weir_buf_fini(&out);
    weir_tally_fini(&t);
}

/* A run in which nothing came back still gives whole reports. */
static void case_nothing_measured(void) {
    struct weir_bench_options o = options();
    struct weir_tally t;
    fill(&t, 0);
    struct weir_bench_report r = report_of(&o, &t);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 22);
    CHECK(weir_bench_report_json(&r, &out) == WEIR_OK);
    struct weir_json j;
    weir_json_init(&j, weir_buf_span(&out), 32);
    CHECK(weir_json_skip(&j, NULL) && weir_json_finish(&j));
    CHECK(weir_bench_report_html(&r, &out) == WEIR_OK);
    CHECK(weir_bench_report_text(&r, &out) == WEIR_OK);
    CHECK(weir_bench_report_error_share(&r) == 0);
    weir_buf_fini(&out);
    weir_tally_fini(&t);
}

static void case_origins(void) {
    static const struct {
        const char *url, *host, *authority, *path;
        unsigned port;
        bool tls;
    } good[] = {
        {"http://127.0.0.1:8000", "127.0.0.1", "127.0.0.1:8000", "", 8000, false},
        {"http://localhost", "localhost", "localhost", "", 80, false},
        {"https://api.example.com/", "api.example.com", "api.example.com", "", 443, true},
        {"https://h:8443/v1", "h", "h:8443", "", 8443, true},
        {"http://h:1/a/b/v1/", "h", "h:1", "/a/b", 1, false},
        {"http://[::1]:9/x", "::1", "[::1]:9", "/x", 9, false},
    };
    struct weir_origin o;
    struct weir_err err;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(good); i++) {
        CHECK_MSG(weir_origin_parse(good[i].url, &o, &err) == WEIR_OK, "%s", good[i].url);
        CHECK_EQ_STR(o.host, strlen(o.host), good[i].host);
        CHECK_EQ_STR(o.authority, strlen(o.authority), good[i].authority);
        CHECK_EQ_STR(o.path, strlen(o.path), good[i].path);
        CHECK_EQ_U64(o.port, good[i].port);
        CHECK(o.tls == good[i].tls);
    }
    const char *const bad[] = {"",
                               "127.0.0.1:80",
                               "ftp://h",
                               "http://",
                               "http://h:0",
                               "http://h:70000",
                               "http://u@h",
                               "http://h/?x",
                               "http://[::1",
                               "http://[::1]x",
                               "http://h:1:2"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK_MSG(weir_origin_parse(bad[i], &o, &err) == WEIR_INVALID, "%s", bad[i]);
}

int main(int argc, char **argv) {
    page_path = argc > 1 ? argv[1] : NULL;
    CHECK_RUN(case_json);
    CHECK_RUN(case_html);
    CHECK_RUN(case_nothing_measured);
    CHECK_RUN(case_origins);
    return check_finish();
}
