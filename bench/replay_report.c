/* The result of a replay as JSON, table and page. */
#include "base/json.h"
#include "base/mem.h"
#include "bench/plot.h"
#include "bench/put.h"
#include "bench/replay_stats.h"
#include "bench/replay_ways.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- JSON --------------------------------------------------------------------------------- */

static void put_balance(struct weir_jsonw *w, const char *key, const struct weir_replay_balance *b,
                        const uint64_t *values, uint32_t n) {
    weir_jsonw_key(w, key);
    weir_jsonw_object_begin(w);
    weir_put_rounded(w, "max_over_mean", b->max_over_mean);
    weir_put_rounded(w, "mean", b->mean);
    weir_put_rounded(w, "stdev", b->stdev);
    weir_jsonw_key(w, "workers");
    weir_jsonw_array_begin(w);
    for (uint32_t i = 0; i < n; i++)
        weir_jsonw_u64(w, values[i]);
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

static void put_times(struct weir_jsonw *w, const char *key, const struct weir_replay_times *t) {
    weir_jsonw_key(w, key);
    weir_jsonw_object_begin(w);
    weir_put_rounded(w, "mean", t->mean);
    weir_put_rounded(w, "p50", t->p50);
    weir_put_rounded(w, "p90", t->p90);
    weir_put_rounded(w, "p99", t->p99);
    weir_put_rounded(w, "max", t->max);
    weir_jsonw_object_end(w);
}

void weir_replay_row_json(struct weir_jsonw *w, const struct weir_replay_row *row,
                          uint32_t n_workers) {
    weir_jsonw_object_begin(w);
    weir_put_text(w, row->is_mode ? "mode" : "cache", row->name);
    weir_put_rounded(w, "token_hit_rate", weir_replay_token_rate(row));
    weir_put_rounded(w, "block_hit_rate", weir_replay_block_rate(row));
    weir_put_whole(w, "prompt_tokens", row->prompt_tokens);
    weir_put_whole(w, "cached_tokens", row->cached_tokens);
    weir_put_whole(w, "prompt_blocks", row->prompt_blocks);
    weir_put_whole(w, "hit_blocks", row->hit_blocks);
    if (row->is_mode) {
        weir_put_whole(w, "refused", row->refused);
        weir_put_whole(w, "waited", row->waited);
        weir_put_whole(w, "preemptions", row->preemptions);
        put_balance(w, "prefill_tokens", &row->prefill_balance, row->worker_tokens, n_workers);
        put_balance(w, "requests", &row->requests_balance, row->worker_requests, n_workers);
        put_times(w, "ttft_ms", &row->ttft);
        put_times(w, "e2e_ms", &row->e2e);
        weir_put_rounded(w, "makespan_s", row->makespan_s);
        weir_put_digest(w, row->digest);
    }
    weir_jsonw_object_end(w);
}

void weir_replay_head_json(struct weir_jsonw *w, const struct weir_replay_options *options,
                           const struct weir_replay_setup *setup) {
    weir_put_text(w, "label", options->label);
    weir_put_text(w, "trace", options->trace);
    weir_put_whole(w, "requests", setup->n_requests);
    weir_put_whole(w, "workers", setup->n_workers);
    weir_put_whole(w, "kv_blocks", setup->engine.n_blocks);
    weir_put_whole(w, "block_size", setup->engine.block_size);
    weir_put_whole(w, "seed", setup->seed);
}

static void put_rows(struct weir_jsonw *w, const struct weir_replay_report *r, const char *key,
                     bool modes) {
    weir_jsonw_key(w, key);
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].is_mode == modes)
            weir_replay_row_json(w, &r->rows[i], r->setup->n_workers);
    weir_jsonw_array_end(w);
}

enum weir_status weir_replay_json(const struct weir_replay_report *r, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_replay_head_json(&w, r->options, r->setup);
    weir_put_rounded(&w, "trace_speedup", r->setup->trace_speedup);
    put_rows(&w, r, "best", false);
    put_rows(&w, r, "modes", true);
    weir_jsonw_object_end(&w);
    return w.status != WEIR_OK ? w.status : weir_buf_append_z(out, "\n");
}

/* ---- table -------------------------------------------------------------------------------- */

enum weir_status weir_replay_text(const struct weir_replay_report *r, struct weir_buf *out) {
    enum weir_status st = weir_buf_printf(
        out,
        "%zu requests, %" PRIu32 " workers of %" PRIu32 " blocks of %" PRIu32 " tokens\n\n"
        "                   hit rate, %%        prompt work         requests      first token, ms\n"
        "                 tokens  blocks   max/mean   stdev    max/mean  stdev     p50       p99\n",
        r->setup->n_requests, r->setup->n_workers, r->setup->engine.n_blocks,
        r->setup->engine.block_size);
    for (size_t i = 0; i < r->n_rows && st == WEIR_OK; i++) {
        const struct weir_replay_row *row = &r->rows[i];
        st = weir_buf_printf(out, "%-16s %6.2f  %6.2f", row->name,
                             100 * weir_replay_token_rate(row), 100 * weir_replay_block_rate(row));
        if (st == WEIR_OK && row->is_mode)
            st = weir_buf_printf(out, "   %8.3f  %8.0f  %8.3f  %5.0f  %8.0f  %8.0f",
                                 row->prefill_balance.max_over_mean, row->prefill_balance.stdev,
                                 row->requests_balance.max_over_mean, row->requests_balance.stdev,
                                 row->ttft.p50, row->ttft.p99);
        if (st == WEIR_OK && row->waited > 0)
            st = weir_buf_printf(out, "  %" PRIu64 " waited", row->waited);
        if (st == WEIR_OK && row->refused > 0)
            st = weir_buf_printf(out, "  %" PRIu64 " refused", row->refused);
        if (st == WEIR_OK && row->preemptions > 0)
            st = weir_buf_printf(out, "  %" PRIu64 " preempted", row->preemptions);
        if (st == WEIR_OK)
            st = weir_buf_append_z(out, "\n");
    }
    return st;
}

/* ---- page --------------------------------------------------------------------------------- */

enum { COLOURS = 5, MAX_SERIES = 2 + WEIR_REPLAY_WAYS };

static struct weir_plot_series series_of(const struct weir_replay_report *r, size_t i,
                                         const double *y) {
    return (struct weir_plot_series){.name = r->rows[i].name,
                                     .colour = (unsigned)(i % COLOURS),
                                     .dashed = !r->rows[i].is_mode || i >= 2 + COLOURS,
                                     .y = y};
}

static void plot_course(struct weir_page *p, const struct weir_replay_report *r) {
    static double x[WEIR_REPLAY_COURSE], y[MAX_SERIES][WEIR_REPLAY_COURSE];
    static const struct weir_plot_tick ticks[] = {{0.25, "25 %"}, {0.5, "50 %"}, {0.75, "75 %"}};
    struct weir_plot_series series[MAX_SERIES];
    size_t n = r->rows[0].n_course;
    for (size_t k = 0; k < n; k++) {
        x[k] = (double)(k + 1) / (double)n;
        for (size_t i = 0; i < r->n_rows; i++)
            y[i][k] = 100 * r->rows[i].course[k];
    }
    for (size_t i = 0; i < r->n_rows; i++)
        series[i] = series_of(r, i, y[i]);
    const struct weir_plot plot = {.title = "Prompt tokens found in a cache",
                                   .note = "of all so far",
                                   .unit = "%",
                                   .x_title = "requests, in the order of their arrival",
                                   .n_points = n,
                                   .x = x,
                                   .ticks = ticks,
                                   .n_ticks = WEIR_ARRAY_LEN(ticks),
                                   .series = series,
                                   .n_series = r->n_rows,
                                   .shade_to = NAN};
    weir_plot_write(p, &plot);
}

static void plot_ttft(struct weir_page *p, const struct weir_replay_report *r) {
    static double x[WEIR_REPLAY_CURVE];
    static const struct weir_plot_tick ticks[] = {
        {0, "0"}, {0.30103, "50 %"}, {1, "90 %"}, {2, "99 %"}, {3, "99.9 %"}};
    struct weir_plot_series series[MAX_SERIES];
    size_t n = 0;
    for (size_t k = 0; k < WEIR_REPLAY_CURVE; k++)
        x[k] = WEIR_REPLAY_NINES * (double)k / (WEIR_REPLAY_CURVE - 1);
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].is_mode)
            series[n++] = series_of(r, i, r->rows[i].curve);
    const struct weir_plot plot = {.title = "Time to first token",
                                   .note = "simulated",
                                   .unit = "ms",
                                   .x_title = "share of all that were at most so long",
                                   .n_points = WEIR_REPLAY_CURVE,
                                   .x = x,
                                   .ticks = ticks,
                                   .n_ticks = WEIR_ARRAY_LEN(ticks),
                                   .series = series,
                                   .n_series = n,
                                   .log_y = true,
                                   .shade_to = NAN};
    weir_plot_write(p, &plot);
}

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

/* Prompt tokens that each worker computed, the busiest first. */
static enum weir_status plot_load(struct weir_page *p, const struct weir_replay_report *r) {
    uint32_t n = r->setup->n_workers;
    struct weir_plot_series series[MAX_SERIES];
    size_t n_series = 0;
    double *room = weir_calloc((size_t)n * (r->n_rows + 1), sizeof(*room));
    if (room == NULL)
        return WEIR_NOMEM;
    double *x = room, *y = room + n;
    for (uint32_t k = 0; k < n; k++)
        x[k] = k + 1;
    for (size_t i = 0; i < r->n_rows; i++) {
        if (!r->rows[i].is_mode)
            continue;
        for (uint32_t k = 0; k < n; k++)
            y[k] = (double)r->rows[i].worker_tokens[k];
        qsort(y, n, sizeof(*y), falling);
        series[n_series++] = series_of(r, i, y);
        y += n;
    }
    char last[16];
    snprintf(last, sizeof(last), "%" PRIu32, n);
    const struct weir_plot_tick ticks[] = {{1, "1"}, {n, last}};
    const struct weir_plot plot = {.title = "Prompt tokens computed",
                                   .unit = "tokens",
                                   .x_title = "workers, the busiest first",
                                   .n_points = n,
                                   .x = x,
                                   .ticks = ticks,
                                   .n_ticks = n > 1 ? 2 : 1,
                                   .series = series,
                                   .n_series = n_series,
                                   .shade_to = NAN};
    weir_plot_write(p, &plot);
    weir_free(room);
    return WEIR_OK;
}

static void table(struct weir_page *p, const struct weir_replay_report *r) {
    weir_page_raw(p,
                  "<h2>Side by side</h2><div class=box><table><tr><th></th><th>tokens hit, %</th>"
                  "<th>blocks hit, %</th><th>prompt work, max/mean</th><th>stdev</th>"
                  "<th>requests, max/mean</th><th>stdev</th><th>first token p50, ms</th>"
                  "<th>p90</th><th>p99</th><th>refused</th><th>preempted</th></tr>");
    for (size_t i = 0; i < r->n_rows; i++) {
        const struct weir_replay_row *row = &r->rows[i];
        weir_page_printf(p, "<tr><td>%s</td><td>%.2f</td><td>%.2f</td>", row->name,
                         100 * weir_replay_token_rate(row), 100 * weir_replay_block_rate(row));
        if (row->is_mode)
            weir_page_printf(
                p,
                "<td>%.3f</td><td>%.0f</td><td>%.3f</td><td>%.0f</td><td>%.0f</td><td>%.0f</td>"
                "<td>%.0f</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td>",
                row->prefill_balance.max_over_mean, row->prefill_balance.stdev,
                row->requests_balance.max_over_mean, row->requests_balance.stdev, row->ttft.p50,
                row->ttft.p90, row->ttft.p99, row->refused, row->preemptions);
        else
            weir_page_raw(p, "<td></td><td></td><td></td><td></td><td></td><td></td><td></td>"
                             "<td></td><td></td>");
        weir_page_raw(p, "</tr>");
    }
    weir_page_raw(p, "</table></div>");
}

void weir_replay_head_html(struct weir_page *p, const struct weir_replay_options *options,
                           const struct weir_replay_setup *setup, const char *title) {
    weir_page_begin(p, options->label != NULL ? options->label : title, options->trace);
    weir_page_printf(p,
                     "</b>, %zu requests; <b>%" PRIu32 "</b> workers of %" PRIu32
                     " blocks of %" PRIu32 " tokens</p><div class=plots>",
                     setup->n_requests, setup->n_workers, setup->engine.n_blocks,
                     setup->engine.block_size);
}

enum weir_status weir_replay_html(const struct weir_replay_report *r, struct weir_buf *out) {
    struct weir_page p = {.out = out};
    WEIR_ASSERT(r->n_rows <= MAX_SERIES);
    weir_replay_head_html(&p, r->options, r->setup, "Trace replay");
    plot_course(&p, r);
    plot_ttft(&p, r);
    enum weir_status st = plot_load(&p, r);
    weir_page_raw(&p, "</div>");
    table(&p, r);
    weir_page_raw(&p, "<footer>weir replay " WEIR_VERSION
                      ". endless-cache: every request after every earlier one, nothing forgotten; "
                      "no routing finds more. one-cache: the same with all workers' blocks in one "
                      "cache that forgets the least recently used. Times come from the engine's "
                      "model.</footer></main></body></html>\n");
    return st == WEIR_OK ? p.status : st;
}
