#include "bench/report.h"

#include "base/json.h"
#include "bench/put.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

static const struct {
    const char *key;
    double q;
} quantiles[] = {{"p50", 0.5},  {"p75", 0.75},    {"p90", 0.9},      {"p95", 0.95},
                 {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

static double ms(double ns) {
    return ns / 1e6;
}

static double per(double what, double of) {
    return of > 0 ? what / of : 0;
}

bool weir_bench_report_saturated(const struct weir_bench_report *r) {
    for (unsigned i = 0; i < r->n_loops; i++)
        if (r->wall_s > 1 && r->loop_cpu_s[i] > 0.9 * r->wall_s)
            return true;
    return false;
}

double weir_bench_report_error_share(const struct weir_bench_report *r) {
    double errors = (double)weir_tally_errors(r->tally);
    return per(errors, errors + (double)r->tally->ok);
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* Six significant digits say all that a measurement knows. */
static void put_f(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    if (value == 0 || !isfinite(value)) {
        weir_jsonw_f64(w, value);
        return;
    }
    double scale = pow(10, 5 - floor(log10(fabs(value))));
    double rounded = round(value * scale) / scale;
    weir_jsonw_f64(w, isfinite(rounded) ? rounded : value);
}

/* Absent options are null. */
static void put_i(struct weir_jsonw *w, const char *key, int64_t value) {
    weir_jsonw_key(w, key);
    if (value == WEIR_CONFIG_NONE)
        weir_jsonw_null(w);
    else
        weir_jsonw_i64(w, value);
}

static void put_hist(struct weir_jsonw *w, const char *key, const struct weir_hist *h) {
    weir_jsonw_key(w, key);
    weir_jsonw_object_begin(w);
    weir_put_whole(w, "count", h->n);
    if (h->n > 0) {
        put_f(w, "mean", ms(weir_hist_mean(h)));
        put_f(w, "stdev", ms(weir_hist_stdev(h)));
        put_f(w, "min", ms((double)h->min));
        for (size_t i = 0; i < WEIR_ARRAY_LEN(quantiles); i++)
            put_f(w, quantiles[i].key, ms((double)weir_hist_quantile(h, quantiles[i].q)));
        put_f(w, "max", ms((double)h->max));
    }
    weir_jsonw_object_end(w);
}

static void put_load(struct weir_jsonw *w, const struct weir_bench_options *o) {
    weir_jsonw_key(w, "load");
    weir_jsonw_object_begin(w);
    bool open = o->trace != NULL || !isnan(o->rate);
    weir_put_text(w, "kind", o->trace != NULL ? "trace" : open ? "open" : "closed");
    weir_put_text(w, "endpoint", o->endpoint == 0 ? "chat" : "completions");
    weir_jsonw_key(w, "stream");
    weir_jsonw_bool(w, o->stream);
    put_f(w, "rate", o->rate);
    weir_put_text(w, "arrival",
                  open && o->trace == NULL ? o->arrival == 0 ? "poisson" : "constant" : NULL);
    put_i(w, "concurrency", o->concurrency);
    put_i(w, "requests", o->requests);
    put_i(w, "conversations", o->conversations);
    put_f(w, "duration_s", o->duration_s);
    put_i(w, "warmup", o->warmup);
    put_i(w, "loops", o->loops);
    put_i(w, "seed", o->seed);
    weir_put_text(w, "isl", o->trace != NULL ? NULL : o->isl);
    weir_put_text(w, "osl", o->trace != NULL ? NULL : o->osl);
    put_i(w, "prefix_groups", o->prefix_groups);
    put_i(w, "prefix_len", o->prefix_len);
    put_i(w, "turns", o->turns);
    weir_put_text(w, "think_time_ms", o->think_time_ms);
    weir_put_text(w, "trace", o->trace);
    put_f(w, "trace_speedup", o->trace_speedup);
    weir_jsonw_key(w, "trace_spread");
    weir_jsonw_bool(w, o->trace_spread);
    put_f(w, "chars_per_token", o->chars_per_token);
    weir_jsonw_object_end(w);
}

static void put_requests(struct weir_jsonw *w, const struct weir_bench_report *r) {
    const struct weir_tally *t = r->tally;
    weir_jsonw_key(w, "requests");
    weir_jsonw_object_begin(w);
    weir_put_whole(w, "measured", t->ok + weir_tally_errors(t));
    weir_put_whole(w, "ok", t->ok);
    weir_put_whole(w, "errors", weir_tally_errors(t));
    put_f(w, "error_share", weir_bench_report_error_share(r));
    weir_put_whole(w, "warmup", t->warmup);
    weir_put_whole(w, "unfinished", t->unfinished);
    weir_put_whole(w, "unsent", t->unsent);
    weir_put_whole(w, "turns_dropped", t->turns_dropped);
    weir_put_whole(w, "empty_answers", t->empty);
    weir_put_whole(w, "answers_without_usage", t->without_usage);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "errors");
    weir_jsonw_object_begin(w);
    for (int i = WEIR_BENCH_FAULT_NONE + 1; i < WEIR_BENCH_FAULTS; i++) {
        weir_jsonw_key(w, weir_bench_fault_key(i));
        weir_jsonw_object_begin(w);
        weir_put_whole(w, "count", t->faults[i]);
        if (t->samples[i][0] != '\0')
            weir_put_text(w, "first", t->samples[i]);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "http_statuses");
    weir_jsonw_object_begin(w);
    for (int i = 0; i < WEIR_TALLY_STATUSES; i++)
        if (t->statuses[i] > 0) {
            char key[16];
            snprintf(key, sizeof(key), "%d", i);
            weir_put_whole(w, key, t->statuses[i]);
        }
    weir_jsonw_object_end(w);
}

static void put_throughput(struct weir_jsonw *w, const struct weir_tally *t) {
    double window = weir_tally_window_s(t);
    weir_jsonw_key(w, "tokens");
    weir_jsonw_object_begin(w);
    weir_put_whole(w, "prompt", t->prompt_tokens);
    weir_put_whole(w, "completion", t->completion_tokens);
    weir_put_whole(w, "cached", t->cached_tokens);
    put_f(w, "cached_share", per((double)t->cached_tokens, (double)t->prompt_tokens));
    weir_put_whole(w, "stream_events_with_text", t->chunks);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "throughput");
    weir_jsonw_object_begin(w);
    put_f(w, "window_s", window);
    put_f(w, "requests_per_s", per((double)t->ok, window));
    put_f(w, "output_tokens_per_s", per((double)t->completion_tokens, window));
    put_f(w, "input_tokens_per_s", per((double)t->prompt_tokens, window));
    weir_jsonw_object_end(w);
}

static void put_goodput(struct weir_jsonw *w, const struct weir_tally *t) {
    const struct weir_bench_slo *slo = &t->slo;
    weir_jsonw_key(w, "goodput");
    if (isnan(slo->ttft_ms) && isnan(slo->itl_ms) && isnan(slo->e2e_ms)) {
        weir_jsonw_null(w);
        return;
    }
    weir_jsonw_object_begin(w);
    put_f(w, "ttft_ms", slo->ttft_ms);
    put_f(w, "itl_ms", slo->itl_ms);
    put_f(w, "e2e_ms", slo->e2e_ms);
    weir_put_whole(w, "good", t->good);
    put_f(w, "share", per((double)t->good, (double)(t->ok + weir_tally_errors(t))));
    put_f(w, "requests_per_s", per((double)t->good, weir_tally_window_s(t)));
    weir_jsonw_object_end(w);
}

static void put_generator(struct weir_jsonw *w, const struct weir_bench_report *r) {
    const struct weir_tally *t = r->tally;
    weir_jsonw_key(w, "generator");
    weir_jsonw_object_begin(w);
    put_f(w, "cpu_s", r->cpu_s);
    put_f(w, "cpu_us_per_request", per(r->cpu_s * 1e6, (double)t->all_requests));
    put_f(w, "cpu_us_per_token", per(r->cpu_s * 1e6, (double)t->all_tokens));
    weir_jsonw_key(w, "loop_busy_share");
    weir_jsonw_array_begin(w);
    for (unsigned i = 0; i < r->n_loops; i++)
        weir_jsonw_f64(w, round(per(r->loop_cpu_s[i], r->wall_s) * 1000) / 1000);
    weir_jsonw_array_end(w);
    weir_jsonw_key(w, "saturated");
    weir_jsonw_bool(w, weir_bench_report_saturated(r));
    weir_jsonw_object_end(w);
}

static void put_timeline(struct weir_jsonw *w, const struct weir_tally *t) {
    weir_jsonw_key(w, "timeline");
    weir_jsonw_object_begin(w);
    put_f(w, "bucket_s", (double)t->timeline.width_ns / 1e9);
    put_f(w, "window_from_s",
          t->first_due_ns != UINT64_MAX ? (double)(t->first_due_ns - t->start_ns) / 1e9 : 0);
    weir_jsonw_key(w, "buckets");
    weir_jsonw_array_begin(w);
    for (unsigned i = 0; i < weir_timeline_used(&t->timeline); i++) {
        const struct weir_timeline_bucket *b = &t->timeline.buckets[i];
        weir_jsonw_object_begin(w);
        weir_put_whole(w, "sent", b->sent);
        weir_put_whole(w, "done", b->done);
        weir_put_whole(w, "errors", b->errors);
        weir_put_whole(w, "tokens", b->tokens);
        weir_put_whole(w, "in_flight", b->in_flight);
        if (b->ttft.n > 0) {
            put_f(w, "ttft_p50_ms", ms((double)weir_hist_quantile(&b->ttft, 0.5)));
            put_f(w, "ttft_p99_ms", ms((double)weir_hist_quantile(&b->ttft, 0.99)));
        }
        weir_jsonw_object_end(w);
    }
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

static void put_started(struct weir_jsonw *w, uint64_t wall_ms) {
    char text[64];
    time_t s = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    weir_put_text(w, "started", text);
}

enum weir_status weir_bench_report_json(const struct weir_bench_report *r, struct weir_buf *out) {
    const struct weir_tally *t = r->tally;
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_put_text(&w, "tool", "weir bench " WEIR_VERSION);
    weir_put_text(&w, "label", r->options->label);
    put_started(&w, r->started_wall_ms);
    weir_put_text(&w, "url", r->options->url);
    weir_put_text(&w, "model", r->model);
    weir_jsonw_key(&w, "interrupted");
    weir_jsonw_bool(&w, r->interrupted);
    put_load(&w, r->options);
    put_requests(&w, r);
    put_throughput(&w, t);
    weir_jsonw_key(&w, "latency_ms");
    weir_jsonw_object_begin(&w);
#define X(member, text) put_hist(&w, #member, &t->member);
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
    weir_jsonw_object_end(&w);
    put_goodput(&w, t);
    put_generator(&w, r);
    put_timeline(&w, t);
    weir_jsonw_object_end(&w);
    return w.status == WEIR_OK ? weir_buf_append_c(out, '\n') : w.status;
}

/* ---- table -------------------------------------------------------------------------------- */

static void text_row(struct weir_buf *out, enum weir_status *st, const char *name,
                     const struct weir_hist *h) {
    if (*st != WEIR_OK || h->n == 0)
        return;
    *st = weir_buf_printf(out, "%-12s %10.2f %10.2f %10.2f %10.2f %10.2f %10.2f\n", name,
                          ms(weir_hist_mean(h)), ms((double)weir_hist_quantile(h, 0.5)),
                          ms((double)weir_hist_quantile(h, 0.9)),
                          ms((double)weir_hist_quantile(h, 0.99)),
                          ms((double)weir_hist_quantile(h, 0.999)), ms((double)h->max));
}

enum weir_status weir_bench_report_text(const struct weir_bench_report *r, struct weir_buf *out) {
    const struct weir_tally *t = r->tally;
    double window = weir_tally_window_s(t);
    enum weir_status st = weir_buf_printf(
        out,
        "%llu answered, %llu failed in %.2f s: %.1f requests/s, %.0f output tokens/s, "
        "%.1f %% of prompt tokens cached\n",
        (unsigned long long)t->ok, (unsigned long long)weir_tally_errors(t), window,
        per((double)t->ok, window), per((double)t->completion_tokens, window),
        100 * per((double)t->cached_tokens, (double)t->prompt_tokens));
    if (st == WEIR_OK)
        st = weir_buf_printf(out, "%-12s %10s %10s %10s %10s %10s %10s\n", "ms", "mean", "p50",
                             "p90", "p99", "p99.9", "max");
    text_row(out, &st, "first token", &t->ttft);
    text_row(out, &st, "next token", &t->itl);
    text_row(out, &st, "per token", &t->tpot);
    text_row(out, &st, "request", &t->e2e);
    text_row(out, &st, "  from send", &t->e2e_sent);
    text_row(out, &st, "lateness", &t->lateness);
    for (int i = WEIR_BENCH_FAULT_NONE + 1; i < WEIR_BENCH_FAULTS && st == WEIR_OK; i++)
        if (t->faults[i] > 0)
            st = weir_buf_printf(out, "error %s: %llu (%s), first: %s\n", weir_bench_fault_key(i),
                                 (unsigned long long)t->faults[i], weir_bench_fault_text(i),
                                 t->samples[i][0] != '\0' ? t->samples[i] : "-");
    if (st == WEIR_OK && t->unsent > 0)
        st = weir_buf_printf(out, "%llu requests were due but held back by --concurrency\n",
                             (unsigned long long)t->unsent);
    if (st == WEIR_OK && t->unfinished > 0)
        st = weir_buf_printf(out, "%llu requests were cut off before their end\n",
                             (unsigned long long)t->unfinished);
    if (st == WEIR_OK && weir_bench_report_saturated(r))
        st = weir_buf_append_z(out, "warning: the generator itself was near its limit; add "
                                    "--loops, or its figures are not the server's\n");
    return st;
}
