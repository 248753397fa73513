#include "bench/replay_loads.h"

#include "base/json.h"
#include "bench/plot.h"
#include "bench/put.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

double weir_replay_offered(const struct weir_replay_setup *s) {
    double tokens = 0, last_ms = 0;
    for (size_t i = 0; i < s->n_requests; i++) {
        tokens += s->trace->lines[i].input_tokens;
        last_ms = s->trace->lines[i].timestamp_ms;
    }
    double room = last_ms / 1000 / s->trace_speedup * s->n_workers * s->engine.prefill_tokens_per_s;
    return room > 0 ? tokens / room : NAN;
}

/* Of the hits that the endless cache has. */
static double of_best(const struct weir_replay_loads *r, const struct weir_replay_row *row) {
    double best = r->n_best > 0 ? weir_replay_token_rate(&r->best[0]) : 0;
    return best > 0 ? weir_replay_token_rate(row) / best : NAN;
}

static bool queues(const struct weir_replay_row *row) {
    return strchr(row->name, '+') != NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_load(struct weir_jsonw *w, const struct weir_replay_loads *r,
                     const struct weir_replay_load *load) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "trace_speedup");
    weir_jsonw_f64(w, load->speedup);
    weir_put_rounded(w, "offered", load->offered);
    weir_jsonw_key(w, "modes");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < r->n_ways; i++)
        weir_replay_row_json(w, &load->rows[i], r->setup->n_workers);
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

enum weir_status weir_replay_loads_json(const struct weir_replay_loads *r, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_replay_head_json(&w, r->options, r->setup);
    weir_jsonw_key(&w, "best");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < r->n_best; i++)
        weir_replay_row_json(&w, &r->best[i], r->setup->n_workers);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "loads");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < r->n_loads; i++)
        put_load(&w, r, &r->loads[i]);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status != WEIR_OK ? w.status : weir_buf_append_z(out, "\n");
}

/* ---- table ----------------------------------------------------------------------------------- */

static enum weir_status put_line(const struct weir_replay_loads *r,
                                 const struct weir_replay_row *row, struct weir_buf *out) {
    enum weir_status st =
        weir_buf_printf(out, "%-18s %6.2f  %6.1f  %8.3f  %8.3f  %8.0f  %8.0f  %8.0f", row->name,
                        100 * weir_replay_token_rate(row), 100 * of_best(r, row),
                        row->prefill_balance.max_over_mean, row->requests_balance.max_over_mean,
                        row->ttft.p50, row->ttft.p90, row->ttft.p99);
    if (st == WEIR_OK && queues(row))
        st = weir_buf_printf(out, "  %" PRIu64 " waited", row->waited);
    if (st == WEIR_OK && row->refused > 0)
        st = weir_buf_printf(out, "  %" PRIu64 " refused", row->refused);
    if (st == WEIR_OK && row->preemptions > 0)
        st = weir_buf_printf(out, "  %" PRIu64 " preempted", row->preemptions);
    return st == WEIR_OK ? weir_buf_append_z(out, "\n") : st;
}

enum weir_status weir_replay_loads_text(const struct weir_replay_loads *r, struct weir_buf *out) {
    enum weir_status st = weir_buf_printf(
        out, "%zu requests, %" PRIu32 " workers of %" PRIu32 " blocks of %" PRIu32 " tokens\n",
        r->setup->n_requests, r->setup->n_workers, r->setup->engine.n_blocks,
        r->setup->engine.block_size);
    for (size_t i = 0; i < r->n_best && st == WEIR_OK; i++)
        st = weir_buf_printf(out, "%s: %.2f %% of prompt tokens\n", r->best[i].name,
                             100 * weir_replay_token_rate(&r->best[i]));
    for (size_t k = 0; k < r->n_loads && st == WEIR_OK; k++) {
        const struct weir_replay_load *load = &r->loads[k];
        st = weir_buf_printf(out,
                             "\nspeedup %g: without a cache prompts would take %.0f %% of the "
                             "fleet\n                    tokens hit, %%  max/mean of work, requests"
                             "        first token, ms\n                      all  of best    "
                             "prompt  requests       p50       p90       p99\n",
                             load->speedup, 100 * load->offered);
        for (size_t i = 0; i < r->n_ways && st == WEIR_OK; i++)
            st = put_line(r, &load->rows[i], out);
    }
    return st;
}

/* ---- page ------------------------------------------------------------------------------------ */

enum { COLOURS = 5 };

typedef double (*figure_fn)(const struct weir_replay_loads *r, const struct weir_replay_row *row);

static double p50(const struct weir_replay_loads *r, const struct weir_replay_row *row) {
    (void)r;
    return row->ttft.p50;
}

static double p99(const struct weir_replay_loads *r, const struct weir_replay_row *row) {
    (void)r;
    return row->ttft.p99;
}

static double hits(const struct weir_replay_loads *r, const struct weir_replay_row *row) {
    return 100 * of_best(r, row);
}

static double work(const struct weir_replay_loads *r, const struct weir_replay_row *row) {
    (void)r;
    return row->prefill_balance.max_over_mean;
}

/* One line a way over the loads; with the router's queue or without. */
static void plot(struct weir_page *p, const struct weir_replay_loads *r, const char *title,
                 const char *unit, figure_fn figure, bool queued, bool log_y) {
    double x[WEIR_REPLAY_LOADS], y[WEIR_REPLAY_WAYS][WEIR_REPLAY_LOADS];
    char labels[WEIR_REPLAY_LOADS][24];
    struct weir_plot_tick ticks[WEIR_REPLAY_LOADS];
    const char *x_text[WEIR_REPLAY_LOADS];
    struct weir_plot_series series[WEIR_REPLAY_WAYS];
    size_t n = 0;
    for (size_t k = 0; k < r->n_loads; k++) {
        x[k] = log2(r->loads[k].speedup);
        snprintf(labels[k], sizeof(labels[k]), "%g", r->loads[k].speedup);
        ticks[k] = (struct weir_plot_tick){x[k], labels[k]};
        x_text[k] = labels[k];
    }
    for (size_t i = 0; i < r->n_ways; i++) {
        if (queues(&r->loads[0].rows[i]) != queued)
            continue;
        for (size_t k = 0; k < r->n_loads; k++)
            y[n][k] = figure(r, &r->loads[k].rows[i]);
        series[n] = (struct weir_plot_series){.name = r->loads[0].rows[i].name,
                                              .colour = (unsigned)(n % COLOURS),
                                              .dashed = n >= COLOURS,
                                              .y = y[n]};
        n++;
    }
    const struct weir_plot out = {.title = title,
                                  .note = queued ? "with a queue in the router" : NULL,
                                  .unit = unit,
                                  .x_title = "speedup of the trace",
                                  .n_points = r->n_loads,
                                  .x = x,
                                  .x_text = x_text,
                                  .ticks = ticks,
                                  .n_ticks = r->n_loads,
                                  .series = series,
                                  .n_series = n,
                                  .log_y = log_y,
                                  .shade_to = NAN};
    if (n > 0)
        weir_plot_write(p, &out);
}

static void table(struct weir_page *p, const struct weir_replay_loads *r,
                  const struct weir_replay_load *load) {
    weir_page_printf(p,
                     "<h2>Speedup %g: without a cache prompts would take %.0f %% of the fleet</h2>",
                     load->speedup, 100 * load->offered);
    weir_page_raw(p, "<div class=box><table><tr><th></th><th>tokens hit, %</th><th>of best, %</th>"
                     "<th>prompt work, max/mean</th><th>requests, max/mean</th>"
                     "<th>first token p50, ms</th><th>p90</th><th>p99</th><th>waited</th>"
                     "<th>refused</th><th>preempted</th></tr>");
    for (size_t i = 0; i < r->n_ways; i++) {
        const struct weir_replay_row *row = &load->rows[i];
        weir_page_printf(p,
                         "<tr><td>%s</td><td>%.2f</td><td>%.1f</td><td>%.3f</td><td>%.3f</td>"
                         "<td>%.0f</td><td>%.0f</td><td>%.0f</td><td>%" PRIu64 "</td><td>%" PRIu64
                         "</td><td>%" PRIu64 "</td></tr>",
                         row->name, 100 * weir_replay_token_rate(row), 100 * of_best(r, row),
                         row->prefill_balance.max_over_mean, row->requests_balance.max_over_mean,
                         row->ttft.p50, row->ttft.p90, row->ttft.p99, row->waited, row->refused,
                         row->preemptions);
    }
    weir_page_raw(p, "</table></div>");
}

enum weir_status weir_replay_loads_html(const struct weir_replay_loads *r, struct weir_buf *out) {
    struct weir_page p = {.out = out};
    weir_replay_head_html(&p, r->options, r->setup, "Trace replay at several loads");
    plot(&p, r, "Hits, of the best possible", "%", hits, false, false);
    plot(&p, r, "Time to first token, p99", "ms", p99, false, true);
    plot(&p, r, "Time to first token, p50", "ms", p50, false, true);
    plot(&p, r, "Prompt tokens computed, busiest worker over mean", "", work, false, false);
    plot(&p, r, "Time to first token, p99", "ms", p99, true, true);
    plot(&p, r, "Hits, of the best possible", "%", hits, true, false);
    weir_page_raw(&p, "</div>");
    for (size_t k = 0; k < r->n_loads; k++)
        table(&p, r, &r->loads[k]);
    for (size_t i = 0; i < r->n_best; i++)
        weir_page_printf(&p, "<p class=sub>%s: %.2f %% of prompt tokens</p>", r->best[i].name,
                         100 * weir_replay_token_rate(&r->best[i]));
    weir_page_raw(&p, "<footer>weir replay " WEIR_VERSION
                      ". Best possible is the endless cache: every request after every earlier "
                      "one, nothing forgotten; no routing finds more. one-cache: the same with all "
                      "workers' blocks in one cache that forgets the least recently used. Times "
                      "come from the engine's model.</footer></main></body></html>\n");
    return p.status;
}
