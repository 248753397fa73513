/*
 * Steps: grid → a configuration each, checked → for each block size: the trace hashed once, all
 * configurations of it simulated → figures → ranking and Pareto front. Results come from several
 * threads at once, each for a place of its own.
 */
#include "bench/replay_grid.h"

#include "base/file.h"
#include "base/mem.h"
#include "bench/replay_device.h"
#include "bench/replay_fleet.h"
#include "bench/replay_setup.h"
#include "bench/replay_ways.h"
#include "net/loop.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GRID_BYTES ((size_t)1 << 20)

struct run {
    struct weir_replay_grid *g;
    struct kvc_replay_config *configs; /* owned; of the block size at hand */
    uint32_t *places;                  /* owned; of these in the grid */
    size_t n;
    size_t n_before; /* done at other block sizes */
    bool tty;
    _Atomic bool out_of_memory;
};

/* ---- which options may vary ------------------------------------------------------------------ */

static const char *why_fixed(const struct weir_option *o) {
    static const char *const fixed[] = {
        "trace", "decisions", "limit",  "trace_spread",  "trace_block",      "grid",
        "best",  "top",       "device", "device_number", "device_memory_mb", "threads"};
    static const char *const reports[] = {"json_out", "html_out", "progress", "label", "log"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fixed); i++)
        if (strcmp(o->name, fixed[i]) == 0)
            return "is the same for all configurations of a grid";
    for (size_t i = 0; i < WEIR_ARRAY_LEN(reports); i++)
        if (strcmp(o->name, reports[i]) == 0)
            return "says how to report, not what to simulate";
    return NULL;
}

/* A grid without the modes has the one mode kv, or those of --modes. */
static enum weir_status add_modes(struct weir_grid *g, const struct weir_replay_options *o,
                                  struct weir_arena *arena, struct weir_err *err) {
    const struct weir_option *modes = weir_config_find(g->program, "--modes");
    for (size_t i = 0; i < g->n_axes; i++)
        if (g->axes[i].option == modes)
            return WEIR_OK;
    bool given = weir_config_source_of(g->program, o, modes) != WEIR_CONFIG_FROM_DEFAULT;
    return weir_grid_add(g, modes, given ? weir_span_z(o->modes) : WEIR_SPAN_LIT("kv"), arena, err);
}

/* Text with a '=' is the grid itself, another one the file that has it. */
enum weir_status weir_replay_grid_read(const struct weir_replay_options *o,
                                       const char *(*refuses)(const struct weir_option *option),
                                       struct weir_arena *arena, struct weir_grid *ret,
                                       struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, MAX_GRID_BYTES);
    bool is_text = strchr(o->grid, '=') != NULL;
    enum weir_status st = is_text ? weir_buf_append_z(&text, o->grid)
                                  : weir_file_read(o->grid, WEIR_FILE_ANY, &text, err);
    if (st != WEIR_OK && !is_text) {
        const struct weir_err inner = *err;
        weir_err_set(err, st, "--grid is neither name=value,value nor a file: %s", inner.text);
    } else if (st != WEIR_OK) {
        weir_err_set(err, st, "--grid: more than 1 MiB of text");
    }
    if (st == WEIR_OK)
        st = weir_grid_parse(weir_buf_span(&text), &weir_replay_program, o, refuses, arena, ret,
                             err);
    if (st == WEIR_OK)
        st = add_modes(ret, o, arena, err);
    weir_buf_fini(&text);
    return st;
}

/* ---- one configuration ------------------------------------------------------------------------
 */

static enum weir_status setup_at(const struct weir_replay_grid *g, size_t at,
                                 struct weir_replay_setup *ret_setup,
                                 struct weir_replay_way *ret_way, struct weir_err *err) {
    struct weir_replay_options o;
    enum weir_status st = weir_grid_config(&g->grid, at, &o, err);
    if (st != WEIR_OK)
        return st;
    *ret_setup = weir_replay_setup_of(&o, g->trace);
    size_t n;
    st = weir_replay_ways_read(o.modes, ret_way, 1, &n, err);
    if (st == WEIR_OK && ret_way->has_policy)
        ret_setup->router.policy = ret_way->policy;
    ret_setup->queues = st == WEIR_OK && ret_way->queues;
    return st;
}

static enum weir_status about(const struct weir_replay_grid *g, size_t at, enum weir_status st,
                              struct weir_err *err) {
    char config[120];
    const struct weir_err inner = *err;
    weir_grid_describe(&g->grid, at, false, config, sizeof(config));
    return weir_err_set(err, st, "--grid, %s: %s", config, inner.text);
}

/* Everything is looked at before anything is simulated. */
static enum weir_status check_all(const struct weir_replay_grid *g, struct weir_err *err) {
    for (size_t i = 0; i < g->grid.n_configs; i++) {
        struct weir_replay_setup s;
        struct weir_replay_way way;
        struct kvc_replay_config unused;
        enum weir_status st = setup_at(g, i, &s, &way, err);
        if (st == WEIR_OK)
            st = weir_replay_check(&s, err);
        if (st == WEIR_OK)
            st = weir_replay_fleet_config(&s, way.mode, &unused, err);
        if (st != WEIR_OK)
            return about(g, i, st, err);
    }
    return WEIR_OK;
}

static enum weir_status take(struct weir_replay_grid *g, size_t at,
                             const struct kvc_replay_result *result) {
    struct weir_replay_setup s;
    struct weir_replay_way way;
    struct weir_replay_row row = {.name = NULL};
    struct weir_err err;
    struct weir_replay_outcome *outcomes = weir_calloc(g->n_requests, sizeof(*outcomes));
    enum weir_status st = outcomes != NULL ? setup_at(g, at, &s, &way, &err) : WEIR_NOMEM;
    if (st == WEIR_OK) {
        weir_replay_fleet_outcomes(&s, result->outcomes, outcomes);
        st = weir_replay_row_fill(&row, way.name, true, &s, outcomes);
    }
    if (st == WEIR_OK)
        g->points[at] =
            (struct weir_replay_point){.token_rate = weir_replay_token_rate(&row),
                                       .block_rate = weir_replay_block_rate(&row),
                                       .prefill_balance = row.prefill_balance.max_over_mean,
                                       .requests_balance = row.requests_balance.max_over_mean,
                                       .ttft_mean_ms = row.ttft.mean,
                                       .ttft_p50_ms = row.ttft.p50,
                                       .ttft_p90_ms = row.ttft.p90,
                                       .ttft_p99_ms = row.ttft.p99,
                                       .e2e_p50_ms = row.e2e.p50,
                                       .e2e_p99_ms = row.e2e.p99,
                                       .makespan_s = row.makespan_s,
                                       .refused = row.refused,
                                       .preemptions = result->preemptions,
                                       .digest = row.digest,
                                       .done = true};
    weir_replay_row_fini(&row);
    weir_free(outcomes);
    return st;
}

static void on_result(void *arg, size_t config, const struct kvc_replay_result *result) {
    struct run *run = arg;
    if (take(run->g, run->places[config], result) != WEIR_OK)
        atomic_store(&run->out_of_memory, true);
}

static void on_progress(void *arg, size_t n_done) {
    const struct run *run = arg;
    if (!run->tty)
        return;
    fprintf(stderr, "\r%zu of %zu configurations\033[K", run->n_before + n_done,
            run->g->grid.n_configs);
    fflush(stderr);
}

/* ---- all of them --------------------------------------------------------------------------------
 */

static uint32_t block_size_at(const struct weir_replay_grid *g, size_t at) {
    struct weir_replay_options o;
    struct weir_err err;
    return weir_grid_config(&g->grid, at, &o, &err) == WEIR_OK ? (uint32_t)o.block_size : 0;
}

static enum weir_status failed(enum kvc_status st, size_t config_bytes, struct weir_err *err) {
    if (st == KVC_NOMEM)
        return weir_err_set(err, WEIR_NOMEM,
                            "not one configuration fits: each needs %zu MiB; give more "
                            "--device-memory-mb, or fewer workers or requests (--limit)",
                            (config_bytes >> 20) + 1);
    return weir_err_set(err, st == KVC_INVALID ? WEIR_INVALID : WEIR_INTERNAL,
                        "the simulation failed: %s", kvc_status_text(st));
}

/* All configurations of one block size. */
static enum weir_status run_block_size(struct run *run, struct kvc *k, uint32_t block_size,
                                       struct weir_err *err) {
    struct weir_replay_grid *g = run->g;
    struct weir_replay_setup s = {.n_requests = 0}, first = {.n_requests = 0};
    struct weir_replay_way way;
    struct kvc_trace *trace;
    size_t config_bytes = 0;
    run->n = 0;
    for (size_t i = 0; i < g->grid.n_configs; i++) {
        if (block_size_at(g, i) != block_size)
            continue;
        enum weir_status st = setup_at(g, i, &s, &way, err);
        if (st == WEIR_OK)
            st = weir_replay_fleet_config(&s, way.mode, &run->configs[run->n], err);
        if (st != WEIR_OK)
            return st;
        first = run->n == 0 ? s : first;
        run->places[run->n++] = (uint32_t)i;
    }
    enum weir_status st = weir_replay_fleet_trace(k, &first, &trace, err);
    if (st != WEIR_OK)
        return st;
    const struct weir_replay_options *o = g->options;
    const struct kvc_replay_options options = {
        .max_bytes = (size_t)o->device_memory_mb << 20,
        .threads = o->threads != WEIR_CONFIG_NONE ? (unsigned)o->threads : 0,
        .on_progress = on_progress,
        .on_result = on_result,
        .arg = run};
    struct kvc_replay_stats stats = {.waves = 0};
    for (size_t i = 0; i < run->n; i++) {
        size_t bytes = kvc_replay_config_bytes(trace, &run->configs[i]);
        config_bytes = bytes > config_bytes ? bytes : config_bytes;
    }
    enum kvc_status status = kvc_replay(trace, run->configs, run->n, &options, &stats);
    kvc_trace_destroy(trace);
    g->waves += stats.waves;
    run->n_before += run->n;
    return status == KVC_OK ? WEIR_OK : failed(status, config_bytes, err);
}

static enum weir_status simulate(struct run *run, struct kvc *k, struct weir_err *err) {
    struct weir_replay_grid *g = run->g;
    enum weir_status st = WEIR_OK;
    uint64_t start = weir_now_ns();
    for (size_t i = 0; i < g->grid.n_configs && st == WEIR_OK && !run->out_of_memory; i++)
        if (!g->points[i].done)
            st = run_block_size(run, k, block_size_at(g, i), err);
    g->seconds = (double)(weir_now_ns() - start) * 1e-9;
    if (run->tty)
        fputs("\r\033[K", stderr);
    if (st == WEIR_OK && run->out_of_memory)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    return st;
}

static enum weir_status find_best_cache(struct weir_replay_grid *g, struct weir_err *err) {
    struct weir_replay_setup s;
    struct weir_replay_way way;
    struct weir_replay_row row = {.name = NULL};
    struct weir_replay_outcome *outcomes = weir_calloc(g->n_requests, sizeof(*outcomes));
    enum weir_status st = outcomes != NULL ? setup_at(g, 0, &s, &way, err)
                                           : weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK)
        st = weir_replay_best(&s, 0, outcomes, err);
    if (st == WEIR_OK)
        st = weir_replay_row_fill(&row, "endless-cache", false, &s, outcomes);
    g->best_token_rate = weir_replay_token_rate(&row);
    weir_replay_row_fini(&row);
    weir_free(outcomes);
    return st;
}

/* ---- ranking --------------------------------------------------------------------------------- */

double weir_replay_grid_loss(const struct weir_replay_grid *g, const struct weir_replay_point *p) {
    switch ((enum weir_opt_replay_best)g->options->best) {
    case WEIR_OPT_REPLAY_BEST_HIT_RATE:
        return -p->token_rate;
    case WEIR_OPT_REPLAY_BEST_TTFT_MEAN:
        return p->ttft_mean_ms;
    case WEIR_OPT_REPLAY_BEST_TTFT_P50:
        return p->ttft_p50_ms;
    case WEIR_OPT_REPLAY_BEST_TTFT_P99:
        return p->ttft_p99_ms;
    case WEIR_OPT_REPLAY_BEST_E2E_P99:
        return p->e2e_p99_ms;
    case WEIR_OPT_REPLAY_BEST_BALANCE:
        return p->prefill_balance;
    case WEIR_OPT_REPLAY_BEST_MAKESPAN:
        break;
    }
    return p->makespan_s;
}

const char *weir_replay_grid_best_name(const struct weir_replay_grid *g) {
    static const char *const names[] = {"hit-rate", "ttft-mean", "ttft-p50", "ttft-p99",
                                        "e2e-p99",  "balance",   "makespan"};
    return names[g->options->best];
}

static int by_loss(const void *a, const void *b, void *arg) {
    const struct weir_replay_grid *g = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const struct weir_replay_point *p = &g->points[x], *q = &g->points[y];
    /* Who turns requests away serves the others easily: such come last. */
    if ((p->refused > 0) != (q->refused > 0))
        return p->refused > 0 ? 1 : -1;
    double l = weir_replay_grid_loss(g, p), m = weir_replay_grid_loss(g, q);
    if (isnan(l) || isnan(m))
        return isnan(l) != isnan(m) ? (isnan(l) ? 1 : -1) : (x > y) - (x < y);
    return l < m ? -1 : l > m ? 1 : (x > y) - (x < y);
}

/* At least as good in all, better in one. */
static bool beats(const struct weir_replay_point *p, const struct weir_replay_point *q) {
    if (p->token_rate < q->token_rate || p->ttft_p99_ms > q->ttft_p99_ms ||
        p->prefill_balance > q->prefill_balance || p->refused > q->refused)
        return false;
    return p->token_rate > q->token_rate || p->ttft_p99_ms < q->ttft_p99_ms ||
           p->prefill_balance < q->prefill_balance || p->refused < q->refused;
}

static int by_rate(const void *a, const void *b, void *arg) {
    const struct weir_replay_grid *g = arg;
    const struct weir_replay_point *p = &g->points[*(const uint32_t *)a],
                                   *q = &g->points[*(const uint32_t *)b];
    if (p->token_rate < q->token_rate || p->token_rate > q->token_rate)
        return p->token_rate > q->token_rate ? -1 : 1;
    return by_loss(a, b, arg);
}

/* From the highest hit rate down, so that mostly those before one beat it; equal rates are compared
 * both ways. */
static enum weir_status find_front(struct weir_replay_grid *g) {
    size_t n = g->grid.n_configs, n_front = 0;
    uint32_t *order = weir_calloc(n, sizeof(*order)), *front = weir_calloc(n, sizeof(*front));
    if (order == NULL || front == NULL) {
        weir_free(order);
        weir_free(front);
        return WEIR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, n, sizeof(*order), by_rate, g);
    for (size_t i = 0; i < n; i++) {
        struct weir_replay_point *p = &g->points[order[i]];
        size_t kept = 0;
        p->pareto = !isnan(p->ttft_p99_ms);
        for (size_t k = 0; k < n_front && p->pareto; k++)
            p->pareto = !beats(&g->points[front[k]], p);
        if (!p->pareto)
            continue;
        for (size_t k = 0; k < n_front; k++) {
            bool stays = !beats(p, &g->points[front[k]]);
            g->points[front[k]].pareto = stays;
            if (stays)
                front[kept++] = front[k];
        }
        n_front = kept;
        front[n_front++] = order[i];
    }
    g->n_pareto = n_front;
    weir_free(order);
    weir_free(front);
    return WEIR_OK;
}

static enum weir_status rank(struct weir_replay_grid *g, struct weir_err *err) {
    for (size_t i = 0; i < g->grid.n_configs; i++)
        g->ranking[i] = (uint32_t)i;
    qsort_r(g->ranking, g->grid.n_configs, sizeof(*g->ranking), by_loss, g);
    enum weir_status st = find_front(g);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

enum weir_status weir_replay_grid_run(const struct weir_replay_options *options, bool tty,
                                      const struct weir_trace *trace, struct weir_arena *arena,
                                      struct weir_replay_grid *g, struct weir_err *err) {
    struct run run = {.g = g, .tty = tty};
    struct kvc *k = NULL;
    struct kvc_info info;
    *g = (struct weir_replay_grid){.options = options, .trace = trace};
    enum weir_status st = weir_replay_grid_read(options, why_fixed, arena, &g->grid, err);
    if (st != WEIR_OK)
        return st;
    size_t n = g->grid.n_configs;
    g->n_requests = weir_replay_setup_of(options, trace).n_requests;
    g->points = weir_calloc(n, sizeof(*g->points));
    g->ranking = weir_calloc(n, sizeof(*g->ranking));
    run.configs = weir_calloc(n, sizeof(*run.configs));
    run.places = weir_calloc(n, sizeof(*run.places));
    if (g->points == NULL || g->ranking == NULL || run.configs == NULL || run.places == NULL)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK)
        st = check_all(g, err);
    if (st == WEIR_OK)
        st = weir_replay_device_open(options, &k, err);
    if (st == WEIR_OK)
        st = simulate(&run, k, err);
    if (k != NULL) {
        kvc_get_info(k, &info);
        snprintf(g->device, sizeof(g->device), "%s", info.name);
        g->fallen_back = info.fallen_back;
        kvc_close(k);
    }
    weir_free(run.configs);
    weir_free(run.places);
    if (st == WEIR_OK)
        st = find_best_cache(g, err);
    return st == WEIR_OK ? rank(g, err) : st;
}

void weir_replay_grid_fini(struct weir_replay_grid *g) {
    weir_free(g->points);
    weir_free(g->ranking);
}
