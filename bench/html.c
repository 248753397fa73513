/* The report page: tiles, plots, tables. No script, no outside asset. */
#include "bench/plot.h"
#include "bench/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static double per(double what, double of) {
    return of > 0 ? what / of : 0;
}

static void tile(struct weir_page *p, const char *name, double value, const char *unit, bool bad) {
    char number[32];
    weir_plot_number(value, number, sizeof(number));
    weir_page_printf(p, "<div class=\"tile%s\"><span>%s</span><b>%s</b><small>%s</small></div>",
                     bad ? " bad" : "", name, number, unit);
}

static void tiles(struct weir_page *p, const struct weir_bench_report *r) {
    const struct weir_tally *t = r->tally;
    double window = weir_tally_window_s(t);
    uint64_t errors = weir_tally_errors(t);
    weir_page_raw(p, "<div class=tiles>");
    tile(p, "Requests", per((double)t->ok, window), "/s", false);
    tile(p, "Output", per((double)t->completion_tokens, window), "tokens/s", false);
    if (t->ttft.n > 0) {
        tile(p, "First token, median", ms(weir_hist_quantile(&t->ttft, 0.5)), "ms", false);
        tile(p, "First token, p99", ms(weir_hist_quantile(&t->ttft, 0.99)), "ms", false);
    }
    if (t->tpot.n > 0)
        tile(p, "Per token, median", ms(weir_hist_quantile(&t->tpot, 0.5)), "ms", false);
    tile(p, "Whole request, p99", ms(weir_hist_quantile(&t->e2e, 0.99)), "ms", false);
    if (t->prompt_tokens > 0)
        tile(p, "Prompt cached", 100 * per((double)t->cached_tokens, (double)t->prompt_tokens), "%",
             false);
    if (!isnan(t->slo.ttft_ms) || !isnan(t->slo.itl_ms) || !isnan(t->slo.e2e_ms))
        tile(p, "Within the goals", 100 * per((double)t->good, (double)(t->ok + errors)), "%",
             false);
    tile(p, "Errors", (double)errors, "", errors > 0);
    weir_page_raw(p, "</div>");
}

/* ---- plots -------------------------------------------------------------------------------- */

enum { CURVE_POINTS = 160 };

/* Percentiles on a scale where each nine takes the same room, as far as the samples carry it. */
static void curve_points(uint64_t n, double *q, double *x, size_t *ret_n) {
    double last = log10(fmax((double)n, 2));
    if (last > 6)
        last = 6;
    for (size_t i = 0; i < CURVE_POINTS; i++) {
        x[i] = last * (double)i / (CURVE_POINTS - 1);
        q[i] = 1 - pow(10, -x[i]);
    }
    *ret_n = CURVE_POINTS;
}

static void plot_curves(struct weir_page *p, const char *title, const char *note,
                        const struct weir_hist *const *hists, const char *const *names,
                        const unsigned *colours, size_t n) {
    static const struct weir_plot_tick all_ticks[] = {
        {0, "0"},      {0.30103, "50 %"}, {1, "90 %"},    {2, "99 %"},
        {3, "99.9 %"}, {4, "99.99 %"},    {5, "99.999 %"}};
    static double q[CURVE_POINTS], x[CURVE_POINTS], y[4][CURVE_POINTS];
    static char texts[CURVE_POINTS][24];
    static const char *text_of[CURVE_POINTS];
    struct weir_plot_series series[4];
    size_t n_points = 0, n_series = 0, n_ticks = 0;
    uint64_t most = 0;
    for (size_t s = 0; s < n; s++)
        most = hists[s]->n > most ? hists[s]->n : most;
    curve_points(most, q, x, &n_points);
    for (size_t i = 0; i < n_points; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%.7g %%", 100 * q[i]);
        text_of[i] = texts[i];
    }
    for (size_t s = 0; s < n && s < 4; s++) {
        if (hists[s]->n == 0)
            continue;
        for (size_t i = 0; i < n_points; i++) {
            double v = ms(weir_hist_quantile(hists[s], q[i]));
            y[n_series][i] = v > 0 ? v : NAN;
        }
        series[n_series] = (struct weir_plot_series){.name = names[s],
                                                     .colour = colours[s] & 15,
                                                     .dashed = colours[s] > 15,
                                                     .y = y[n_series]};
        n_series++;
    }
    while (n_ticks < WEIR_ARRAY_LEN(all_ticks) && all_ticks[n_ticks].x <= x[n_points - 1] + 1e-9)
        n_ticks++;
    struct weir_plot plot = {.title = title,
                             .note = note,
                             .unit = "ms",
                             .x_title = "share of all that were at most so long",
                             .n_points = n_points,
                             .x = x,
                             .x_text = text_of,
                             .ticks = all_ticks,
                             .n_ticks = n_ticks,
                             .series = series,
                             .n_series = n_series,
                             .log_y = true,
                             .shade_to = NAN};
    weir_plot_write(p, &plot);
}

/* Time axis of the plots over the run: at most eight marks at round seconds. */
struct time_axis {
    double x[WEIR_TIMELINE_BUCKETS];
    char texts[WEIR_TIMELINE_BUCKETS][24];
    const char *text_of[WEIR_TIMELINE_BUCKETS];
    struct weir_plot_tick ticks[10];
    char labels[10][24];
    size_t n, n_ticks;
    double shade_to;
};

static void time_axis(const struct weir_tally *t, struct time_axis *a) {
    double width = (double)t->timeline.width_ns / 1e9;
    a->n = weir_timeline_used(&t->timeline);
    for (size_t i = 0; i < a->n; i++) {
        a->x[i] = ((double)i + 0.5) * width;
        snprintf(a->texts[i], sizeof(a->texts[i]), "%.6g s", (double)i * width);
        a->text_of[i] = a->texts[i];
    }
    static const double steps[] = {0.1, 0.2, 0.5, 1,   2,    5,    10,   20,    30,    60,
                                   120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400, 604800};
    double end = (double)a->n * width, step = steps[WEIR_ARRAY_LEN(steps) - 1];
    for (size_t i = WEIR_ARRAY_LEN(steps); i-- > 0;)
        if (end / steps[i] <= 8)
            step = steps[i];
    a->n_ticks = 0;
    for (size_t i = 0; i < 10 && (double)i * step <= end * (1 + 1e-9); i++) {
        snprintf(a->labels[i], sizeof(a->labels[i]), "%.6g", (double)i * step);
        a->ticks[a->n_ticks++] = (struct weir_plot_tick){(double)i * step, a->labels[i]};
    }
    a->shade_to = t->warmup > 0 && t->first_due_ns != UINT64_MAX
                      ? (double)(t->first_due_ns - t->start_ns) / 1e9
                      : NAN;
}

static void plot_over_time(struct weir_page *p, const struct time_axis *a, const char *title,
                           const char *note, const char *unit,
                           const struct weir_plot_series *series, size_t n_series, bool log_y) {
    struct weir_plot plot = {.title = title,
                             .note = note,
                             .unit = unit,
                             .x_title = "seconds since the start",
                             .n_points = a->n,
                             .x = a->x,
                             .x_text = a->text_of,
                             .ticks = a->ticks,
                             .n_ticks = a->n_ticks,
                             .series = series,
                             .n_series = n_series,
                             .log_y = log_y,
                             .shade_to = a->shade_to};
    weir_plot_write(p, &plot);
}

static void plots_over_time(struct weir_page *p, const struct weir_tally *t) {
    static struct time_axis a;
    enum { DONE, SENT, ERRORS, TOKENS, FLIGHT, P50, P99, ROWS };
    static double y[ROWS][WEIR_TIMELINE_BUCKETS];
    time_axis(t, &a);
    double width = (double)t->timeline.width_ns / 1e9;
    uint64_t errors = 0;
    for (size_t i = 0; i < a.n; i++) {
        const struct weir_timeline_bucket *b = &t->timeline.buckets[i];
        y[DONE][i] = (double)b->done / width;
        y[SENT][i] = (double)b->sent / width;
        y[ERRORS][i] = (double)b->errors / width;
        y[TOKENS][i] = (double)b->tokens / width;
        y[FLIGHT][i] = (double)b->in_flight;
        y[P50][i] = b->ttft.n > 0 ? ms(weir_hist_quantile(&b->ttft, 0.5)) : NAN;
        y[P99][i] = b->ttft.n > 0 ? ms(weir_hist_quantile(&b->ttft, 0.99)) : NAN;
        errors += b->errors;
    }
    const char *note = t->warmup > 0 ? "grey: warm-up" : NULL;
    const struct weir_plot_series rates[] = {
        {.name = "answered", .colour = 0, .y = y[DONE], .area = true},
        {.name = "sent", .colour = 1, .y = y[SENT], .dashed = true},
        {.name = "failed", .colour = 3, .y = y[ERRORS]}};
    plot_over_time(p, &a, "Requests", note, "requests/s", rates, errors > 0 ? 3 : 2, false);
    const struct weir_plot_series tokens[] = {
        {.name = "output tokens", .colour = 2, .y = y[TOKENS], .area = true}};
    plot_over_time(p, &a, "Output", note, "tokens/s", tokens, 1, false);
    const struct weir_plot_series ttft[] = {{.name = "p50", .colour = 0, .y = y[P50]},
                                            {.name = "p99", .colour = 1, .y = y[P99]}};
    plot_over_time(p, &a, t->ttft.n > 0 ? "Time to first token" : "Time of whole requests", note,
                   "ms", ttft, 2, true);
    const struct weir_plot_series flight[] = {
        {.name = "in work", .colour = 4, .y = y[FLIGHT], .area = true}};
    plot_over_time(p, &a, "Requests in work", note, "at most", flight, 1, false);
}

static void plots(struct weir_page *p, const struct weir_tally *t) {
    weir_page_raw(p, "<h2>Latency</h2><div class=plots>");
    const struct weir_hist *const whole[] = {&t->ttft, &t->e2e, &t->ttft_sent, &t->e2e_sent};
    static const char *const names[] = {"first token", "whole request", "first token, from send",
                                        "request, from send"};
    static const unsigned colours[] = {0, 1, 16, 17};
    bool behind = t->lateness.n > 0 && t->lateness.max > 1000000;
    plot_curves(p, "From the time a request was due", behind ? "dotted: from its send" : NULL,
                whole, names, colours, behind ? 4 : 2);
    const struct weir_hist *const tokens[] = {&t->itl, &t->tpot};
    static const char *const token_names[] = {"between tokens", "mean of a request"};
    static const unsigned token_colours[] = {2, 4};
    plot_curves(p, "Time between tokens", NULL, tokens, token_names, token_colours, 2);
    weir_page_raw(p, "</div><h2>Course of the run</h2><div class=plots>");
    plots_over_time(p, t);
    weir_page_raw(p, "</div>");
}

/* ---- tables ------------------------------------------------------------------------------- */

static void latency_row(struct weir_page *p, const char *name, const struct weir_hist *h) {
    static const double qs[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999};
    char number[32];
    if (h->n == 0)
        return;
    weir_page_printf(p, "<tr><td>%s</td><td>%" PRIu64 "</td>", name, h->n);
    weir_plot_number(weir_hist_mean(h) / 1e6, number, sizeof(number));
    weir_page_printf(p, "<td>%s</td>", number);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(qs); i++) {
        weir_plot_number(ms(weir_hist_quantile(h, qs[i])), number, sizeof(number));
        weir_page_printf(p, "<td>%s</td>", number);
    }
    weir_plot_number(ms(h->max), number, sizeof(number));
    weir_page_printf(p, "<td>%s</td></tr>", number);
}

static void latency_table(struct weir_page *p, const struct weir_tally *t) {
    weir_page_raw(p, "<h2>Latencies in milliseconds</h2><div class=box><table><tr><th></th>"
                     "<th>count</th><th>mean</th><th>p50</th><th>p75</th><th>p90</th><th>p95</th>"
                     "<th>p99</th><th>p99.9</th><th>max</th></tr>");
#define X(member, text) latency_row(p, text, &t->member);
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
    weir_page_raw(p, "</table></div>");
}

static void error_table(struct weir_page *p, const struct weir_tally *t) {
    if (weir_tally_errors(t) == 0)
        return;
    weir_page_raw(p, "<h2>Errors</h2><div class=box><table><tr><th>kind</th><th>count</th>"
                     "<th style=\"text-align:left\">the first of them</th></tr>");
    for (int i = WEIR_BENCH_FAULT_NONE + 1; i < WEIR_BENCH_FAULTS; i++) {
        if (t->faults[i] == 0)
            continue;
        weir_page_printf(p, "<tr><td>%s</td><td>%" PRIu64 "</td><td class=words>",
                         weir_bench_fault_text(i), t->faults[i]);
        weir_page_text(p, t->samples[i]);
        weir_page_raw(p, "</td></tr>");
    }
    for (int i = 0; i < WEIR_TALLY_STATUSES; i++)
        if (t->statuses[i] > 0 && i != 200)
            weir_page_printf(
                p, "<tr><td>HTTP status %d</td><td>%" PRIu64 "</td><td class=words></td></tr>", i,
                t->statuses[i]);
    weir_page_raw(p, "</table></div>");
}

static void fact(struct weir_page *p, const char *name, const char *fmt, double value) {
    if (isnan(value))
        return;
    weir_page_printf(p, "<tr><td>%s</td><td>", name);
    weir_page_printf(p, fmt, value);
    weir_page_raw(p, "</td></tr>");
}

static void fact_text(struct weir_page *p, const char *name, const char *value) {
    if (value == NULL)
        return;
    weir_page_printf(p, "<tr><td>%s</td><td>", name);
    weir_page_text(p, value);
    weir_page_raw(p, "</td></tr>");
}

static double given(int64_t value) {
    return value == WEIR_CONFIG_NONE ? NAN : (double)value;
}

static void run_table(struct weir_page *p, const struct weir_bench_report *r) {
    const struct weir_bench_options *o = r->options;
    const struct weir_tally *t = r->tally;
    weir_page_raw(p, "<h2>The run</h2><div class=box><table>");
    fact_text(p, "API", o->endpoint == 0 ? "chat completions" : "completions");
    fact_text(p, "answers", o->stream ? "streamed" : "whole");
    fact_text(p, "trace", o->trace);
    if (o->trace != NULL)
        fact(p, "trace speed-up", "%.10g", o->trace_speedup);
    fact(p, "rate asked, requests/s", "%.10g", o->rate);
    fact(p, "concurrency", "%.0f", given(o->concurrency));
    if (o->trace == NULL) {
        fact_text(p, "prompt tokens", o->isl);
        fact_text(p, "answer tokens", o->osl);
    }
    if (o->prefix_groups > 0) {
        fact(p, "groups with a shared beginning", "%.0f", (double)o->prefix_groups);
        fact(p, "tokens of that beginning", "%.0f", (double)o->prefix_len);
    }
    if (o->turns > 1) {
        fact(p, "turns of a conversation", "%.0f", (double)o->turns);
        fact_text(p, "think time, ms", o->think_time_ms);
        fact(p, "turns dropped after a failure", "%.0f", (double)t->turns_dropped);
    }
    fact(p, "seed", "%.0f", (double)o->seed);
    fact(p, "warm-up requests", "%.0f", (double)t->warmup);
    fact(p, "measured for, s", "%.4g", weir_tally_window_s(t));
    fact(p, "prompt tokens in all", "%.0f", (double)t->prompt_tokens);
    fact(p, "output tokens in all", "%.0f", (double)t->completion_tokens);
    fact(p, "unfinished", "%.0f", (double)t->unfinished);
    fact(p, "due but held back by --concurrency", "%.0f", (double)t->unsent);
    fact(p, "generator CPU per request, us", "%.1f", per(r->cpu_s * 1e6, (double)t->all_requests));
    weir_page_raw(p, "</table></div>");
}

static void begin(struct weir_page *p, const struct weir_bench_report *r) {
    char when[64];
    time_t s = (time_t)(r->started_wall_ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
    weir_page_begin(p, r->options->label != NULL ? r->options->label : "Load test", r->model);
    weir_page_raw(p, "</b> at <b>");
    weir_page_text(p, r->options->url);
    weir_page_printf(p, "</b>, %s%s</p>", when, r->interrupted ? ", interrupted" : "");
}

enum weir_status weir_bench_report_html(const struct weir_bench_report *r, struct weir_buf *out) {
    struct weir_page p = {.out = out};
    begin(&p, r);
    if (weir_bench_report_saturated(r))
        weir_page_raw(&p, "<div class=warn>The generator itself was near its limit: repeat with "
                          "more --loops before trusting these figures.</div>");
    tiles(&p, r);
    plots(&p, r->tally);
    latency_table(&p, r->tally);
    error_table(&p, r->tally);
    run_table(&p, r);
    weir_page_raw(&p, "<footer>weir bench " WEIR_VERSION
                      ". Latencies count from the time at which a request was due, so a stalled "
                      "server cannot hide behind requests that were sent late.</footer>"
                      "</main></body></html>\n");
    return p.status;
}
