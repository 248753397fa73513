/* The result of a grid as table, JSON and page. */
#include "base/json.h"
#include "base/mem.h"
#include "bench/plot.h"
#include "bench/put.h"
#include "bench/replay_grid.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- JSON --------------------------------------------------------------------------------- */

static void put_axes(struct weir_jsonw *w, const struct weir_grid *g) {
    weir_jsonw_key(w, "grid");
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < g->n_axes; i++) {
        weir_jsonw_key(w, g->axes[i].name);
        weir_jsonw_array_begin(w);
        for (size_t k = 0; k < g->axes[i].n; k++)
            weir_jsonw_string_z(w, g->axes[i].texts[k]);
        weir_jsonw_array_end(w);
    }
    weir_jsonw_object_end(w);
}

static void put_point(struct weir_jsonw *w, const struct weir_replay_grid *g, size_t rank) {
    size_t at = g->ranking[rank];
    const struct weir_replay_point *p = &g->points[at];
    weir_jsonw_object_begin(w);
    weir_put_whole(w, "rank", rank + 1);
    weir_put_whole(w, "configuration", at);
    weir_grid_json(w, &g->grid, at);
    weir_put_rounded(w, "token_hit_rate", p->token_rate);
    weir_put_rounded(w, "block_hit_rate", p->block_rate);
    weir_put_rounded(w, "prefill_max_over_mean", p->prefill_balance);
    weir_put_rounded(w, "requests_max_over_mean", p->requests_balance);
    weir_put_rounded(w, "ttft_mean_ms", p->ttft_mean_ms);
    weir_put_rounded(w, "ttft_p50_ms", p->ttft_p50_ms);
    weir_put_rounded(w, "ttft_p90_ms", p->ttft_p90_ms);
    weir_put_rounded(w, "ttft_p99_ms", p->ttft_p99_ms);
    weir_put_rounded(w, "e2e_p50_ms", p->e2e_p50_ms);
    weir_put_rounded(w, "e2e_p99_ms", p->e2e_p99_ms);
    weir_put_rounded(w, "makespan_s", p->makespan_s);
    weir_put_whole(w, "refused", p->refused);
    weir_put_whole(w, "preemptions", p->preemptions);
    weir_jsonw_key(w, "pareto");
    weir_jsonw_bool(w, p->pareto);
    weir_put_digest(w, p->digest);
    weir_jsonw_object_end(w);
}

enum weir_status weir_replay_grid_json(const struct weir_replay_grid *g, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_put_text(&w, "label", g->options->label);
    weir_put_text(&w, "trace", g->options->trace);
    weir_put_whole(&w, "requests", g->n_requests);
    weir_put_whole(&w, "n_configurations", g->grid.n_configs);
    weir_put_text(&w, "best_by", weir_replay_grid_best_name(g));
    weir_put_rounded(&w, "endless_cache_token_hit_rate", g->best_token_rate);
    put_axes(&w, &g->grid);
    weir_jsonw_key(&w, "simulation");
    weir_jsonw_object_begin(&w);
    weir_put_text(&w, "device", g->device);
    weir_put_whole(&w, "waves", g->waves);
    weir_put_whole(&w, "fallen_back", g->fallen_back);
    weir_put_rounded(&w, "seconds", g->seconds);
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "configurations");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < g->grid.n_configs; i++)
        put_point(&w, g, i);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status != WEIR_OK ? w.status : weir_buf_append_z(out, "\n");
}

/* ---- table -------------------------------------------------------------------------------- */

static size_t shown(const struct weir_replay_grid *g) {
    size_t top = (size_t)g->options->top;
    return top < g->grid.n_configs ? top : g->grid.n_configs;
}

static enum weir_status text_row(const struct weir_replay_grid *g, size_t rank,
                                 struct weir_buf *out) {
    char config[512], refused[32] = "-";
    const struct weir_replay_point *p = &g->points[g->ranking[rank]];
    weir_grid_describe(&g->grid, g->ranking[rank], true, config, sizeof(config));
    if (p->refused > 0)
        snprintf(refused, sizeof(refused), "%" PRIu64, p->refused);
    return weir_buf_printf(out, "%5zu%c  %6.2f  %8.3f  %8.0f  %8.0f  %9.0f  %7s   %s\n", rank + 1,
                           p->pareto ? '*' : ' ', 100 * p->token_rate, p->prefill_balance,
                           p->ttft_p50_ms, p->ttft_p99_ms, p->e2e_p99_ms, refused, config);
}

enum weir_status weir_replay_grid_text(const struct weir_replay_grid *g, struct weir_buf *out) {
    enum weir_status st = weir_buf_printf(
        out,
        "%zu configurations of %zu requests by %s, best by %s\n"
        "a cache that forgets nothing finds %.2f %% of the tokens\n\n"
        "        tokens    prompt   first token, ms     answer\n"
        " rank   hit, %%  max/mean      p50       p99   p99, ms  refused   options\n",
        g->grid.n_configs, g->n_requests, g->device, weir_replay_grid_best_name(g),
        100 * g->best_token_rate);
    size_t n = shown(g), listed = 0;
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = text_row(g, i, out);
    for (size_t i = n; i < g->grid.n_configs && listed < n && st == WEIR_OK; i++) {
        if (!g->points[g->ranking[i]].pareto)
            continue;
        if (listed++ == 0)
            st = weir_buf_append_z(out, "  and\n");
        if (st == WEIR_OK)
            st = text_row(g, i, out);
    }
    if (st == WEIR_OK)
        st = weir_buf_printf(out,
                             "\n* %zu that no other beats in hits, balance and p99 to the first "
                             "token together\n",
                             g->n_pareto);
    return st;
}

/* ---- page --------------------------------------------------------------------------------- */

enum { WIDTH = 640, HEIGHT = 300, LEFT = 58, RIGHT = 14, TOP = 14, BOTTOM = 40, DOTS = 4000 };

struct scale {
    double from, to;
    bool log;
    int low, high; /* pixels of these */
};

static double value_in(const struct scale *s, double v) {
    return s->log ? log10(fmax(v, 1e-3)) : v;
}

static double pixel(const struct scale *s, double v) {
    double span = s->to > s->from ? s->to - s->from : 1;
    return s->low + (value_in(s, v) - s->from) / span * (s->high - s->low);
}

static void widen(struct scale *s, double v) {
    v = value_in(s, v);
    s->from = fmin(s->from, v);
    s->to = fmax(s->to, v);
}

static void dot(struct weir_page *p, const struct weir_replay_grid *g, const struct scale *x,
                const struct scale *y, size_t rank) {
    char config[512];
    const struct weir_replay_point *q = &g->points[g->ranking[rank]];
    weir_grid_describe(&g->grid, g->ranking[rank], true, config, sizeof(config));
    weir_page_printf(p, "<circle class=\"d s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"%s><title>",
                     rank == 0   ? 3
                     : q->pareto ? 1
                                 : 0,
                     pixel(x, 100 * q->token_rate), pixel(y, q->ttft_p99_ms),
                     rank == 0   ? "6"
                     : q->pareto ? "4"
                                 : "2.5",
                     q->pareto || rank == 0 ? "" : " opacity=\".45\"");
    weir_page_printf(p, "rank %zu: %.2f %%, p99 %.0f ms: ", rank + 1, 100 * q->token_rate,
                     q->ttft_p99_ms);
    weir_page_text(p, config);
    weir_page_raw(p, "</title></circle>");
}

/* Hit rate against p99 to the first token, a dot a configuration; of very many an even part. */
static void scatter(struct weir_page *p, const struct weir_replay_grid *g) {
    struct scale x = {.from = INFINITY, .to = -INFINITY, .low = LEFT, .high = WIDTH - RIGHT};
    struct scale y = {
        .from = INFINITY, .to = -INFINITY, .log = true, .low = HEIGHT - BOTTOM, .high = TOP};
    size_t n = g->grid.n_configs, every = (n + DOTS - 1) / DOTS;
    for (size_t i = 0; i < n; i++) {
        if (isnan(g->points[i].ttft_p99_ms))
            continue;
        widen(&x, 100 * g->points[i].token_rate);
        widen(&y, g->points[i].ttft_p99_ms);
    }
    if (!(x.from <= x.to))
        return;
    weir_page_raw(p, "<figure><figcaption><b>All configurations</b><small>red: the best; others "
                     "in front: beaten by none in hits, balance and p99</small></figcaption>");
    weir_page_printf(p, "<svg viewBox=\"0 0 %d %d\" role=img>", WIDTH, HEIGHT);
    for (int i = 0; i <= 4; i++) {
        char label[32];
        double u = x.from + (x.to - x.from) * i / 4, v = y.from + (y.to - y.from) * i / 4;
        double px = LEFT + (WIDTH - LEFT - RIGHT) * i / 4.0;
        double py = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4.0;
        weir_plot_number(pow(10, v), label, sizeof(label));
        weir_page_printf(p,
                         "<line class=g x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=t "
                         "x=\"%d\" y=\"%.1f\" text-anchor=end>%s</text>",
                         LEFT, WIDTH - RIGHT, py, py, LEFT - 8, py + 4, label);
        weir_page_printf(p, "<text class=t x=\"%.1f\" y=\"%d\" text-anchor=%s>%.1f %%</text>", px,
                         HEIGHT - BOTTOM + 16,
                         i == 0   ? "start"
                         : i == 4 ? "end"
                                  : "middle",
                         u);
    }
    weir_page_printf(p,
                     "<text class=t x=\"%d\" y=\"%d\" text-anchor=middle>prompt tokens found, "
                     "against p99 to the first token, ms</text>",
                     (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
    for (int front = 0; front < 2; front++)
        for (size_t i = n; i-- > 0;) {
            const struct weir_replay_point *q = &g->points[g->ranking[i]];
            bool is_front = q->pareto || i == 0;
            if (is_front == front && (front || i % every == 0) && !isnan(q->ttft_p99_ms))
                dot(p, g, &x, &y, i);
        }
    weir_page_raw(p, "</svg></figure>");
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const char *best_unit(const struct weir_replay_grid *g) {
    switch ((enum weir_opt_replay_best)g->options->best) {
    case WEIR_OPT_REPLAY_BEST_HIT_RATE:
        return "%";
    case WEIR_OPT_REPLAY_BEST_BALANCE:
        return "max/mean";
    case WEIR_OPT_REPLAY_BEST_MAKESPAN:
        return "s";
    default:
        return "ms";
    }
}

/* What --best names, for people. */
static double figure_of(const struct weir_replay_grid *g, const struct weir_replay_point *p) {
    double loss = weir_replay_grid_loss(g, p);
    return loss < 0 ? -100 * loss : loss;
}

/* One axis: the best and the middle configuration with each of its values. */
static enum weir_status plot_axis(struct weir_page *p, const struct weir_replay_grid *g,
                                  size_t axis) {
    const struct weir_grid_axis *a = &g->grid.axes[axis];
    size_t n = a->n, all = g->grid.n_configs, stride = weir_grid_stride(&g->grid, axis);
    double *room = weir_calloc(3 * n + all, sizeof(*room));
    struct weir_plot_tick *ticks = weir_calloc(n, sizeof(*ticks));
    if (room == NULL || ticks == NULL) {
        weir_free(room);
        weir_free(ticks);
        return WEIR_NOMEM;
    }
    double *x = room, *best = room + n, *middle = room + 2 * n, *some = room + 3 * n;
    size_t n_ticks = 0, every = (n + 7) / 8;
    bool rate = g->options->best == WEIR_OPT_REPLAY_BEST_HIT_RATE;
    for (size_t v = 0; v < n; v++) {
        size_t m = 0;
        for (size_t from = v * stride; from < all; from += n * stride)
            for (size_t i = from; i < from + stride; i++) {
                double y = figure_of(g, &g->points[i]);
                if (!isnan(y))
                    some[m++] = y;
            }
        qsort(some, m, sizeof(*some), rising);
        x[v] = (double)v;
        best[v] = m == 0 ? NAN : rate ? some[m - 1] : some[0];
        middle[v] = m == 0 ? NAN : some[m / 2];
        if (v % every == 0)
            ticks[n_ticks++] = (struct weir_plot_tick){(double)v, a->texts[v]};
    }
    const struct weir_plot_series series[] = {{.name = "best", .colour = 0, .y = best},
                                              {.name = "middle", .colour = 1, .y = middle}};
    const struct weir_plot plot = {.title = a->name,
                                   .note = weir_replay_grid_best_name(g),
                                   .unit = best_unit(g),
                                   .x_title = "of all configurations with this value",
                                   .n_points = n,
                                   .x = x,
                                   .x_text = a->texts,
                                   .ticks = ticks,
                                   .n_ticks = n_ticks,
                                   .series = series,
                                   .n_series = 2,
                                   .shade_to = NAN};
    weir_plot_write(p, &plot);
    weir_free(room);
    weir_free(ticks);
    return WEIR_OK;
}

static void table_row(struct weir_page *p, const struct weir_replay_grid *g, size_t rank) {
    size_t at = g->ranking[rank];
    const struct weir_replay_point *q = &g->points[at];
    weir_page_printf(p,
                     "<tr><td>%zu%s</td><td>%.2f</td><td>%.3f</td><td>%.0f</td><td>%.0f</td>"
                     "<td>%.0f</td><td>%" PRIu64 "</td>",
                     rank + 1, q->pareto ? "*" : "", 100 * q->token_rate, q->prefill_balance,
                     q->ttft_p50_ms, q->ttft_p99_ms, q->e2e_p99_ms, q->refused);
    for (size_t i = 0; i < g->grid.n_axes; i++) {
        weir_page_raw(p, "<td>");
        weir_page_text(p, g->grid.axes[i].texts[weir_grid_place(&g->grid, at, i)]);
        weir_page_raw(p, "</td>");
    }
    weir_page_raw(p, "</tr>");
}

static void table(struct weir_page *p, const struct weir_replay_grid *g) {
    size_t n = shown(g), listed = 0;
    weir_page_printf(p, "<h2>The best by %s, and the front</h2>", weir_replay_grid_best_name(g));
    weir_page_raw(p,
                  "<div class=box><table><tr><th>rank</th><th>tokens hit, %</th><th>prompt work, "
                  "max/mean</th><th>first token p50, ms</th><th>p99</th><th>answer p99, ms</th>"
                  "<th>refused</th>");
    for (size_t i = 0; i < g->grid.n_axes; i++) {
        weir_page_raw(p, "<th>");
        weir_page_text(p, g->grid.axes[i].name);
        weir_page_raw(p, "</th>");
    }
    weir_page_raw(p, "</tr>");
    for (size_t i = 0; i < g->grid.n_configs && listed < 10 * n; i++)
        if (i < n || g->points[g->ranking[i]].pareto) {
            table_row(p, g, i);
            listed++;
        }
    weir_page_raw(p, "</table></div>");
}

enum weir_status weir_replay_grid_html(const struct weir_replay_grid *g, struct weir_buf *out) {
    struct weir_page p = {.out = out};
    const char *title = g->options->label != NULL ? g->options->label : "Grid replay";
    enum weir_status st = WEIR_OK;
    weir_page_begin(&p, title, g->options->trace);
    weir_page_printf(&p,
                     "</b>, %zu requests; <b>%zu</b> configurations; a cache that forgets nothing "
                     "finds %.2f %% of the tokens</p><div class=plots>",
                     g->n_requests, g->grid.n_configs, 100 * g->best_token_rate);
    scatter(&p, g);
    for (size_t i = 0; i < g->grid.n_axes && st == WEIR_OK; i++)
        if (g->grid.axes[i].n > 1)
            st = plot_axis(&p, g, i);
    weir_page_raw(&p, "</div>");
    table(&p, g);
    weir_page_raw(&p,
                  "<footer>weir replay " WEIR_VERSION
                  " --grid. * : no other configuration beats it in hits, balance of prompt work "
                  "and p99 to the first token together. Those that refuse requests stand behind "
                  "those that do not. Times come from the engine's model.</footer></main>"
                  "</body></html>\n");
    return st == WEIR_OK ? p.status : st;
}
