/* Steps: options → trace → set-up → the two caches that no routing beats, then each mode → reports.
 */
#include "bench/replay.h"

#include "base/file.h"
#include "base/mem.h"
#include "bench/file.h"
#include "bench/replay_grid.h"
#include "bench/replay_loads.h"
#include "bench/replay_log.h"
#include "bench/replay_log_grid.h"
#include "bench/replay_setup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_TEXT ((size_t)4 << 30)

struct replay {
    struct weir_replay_options options;
    struct weir_trace trace; /* owned */
    struct weir_replay_setup setup;
    struct weir_replay_way ways[WEIR_REPLAY_WAYS];
    size_t n_ways;
    double loads[WEIR_REPLAY_LOADS];
    size_t n_loads;                       /* 0: one, --trace-speedup */
    struct weir_replay_outcome *outcomes; /* owned */
    struct weir_replay_row rows[2 + WEIR_REPLAY_LOADS * WEIR_REPLAY_WAYS];
    size_t n_rows;       /* two caches, then the ways, load by load */
    const char *running; /* what the progress line names */
    bool tty;
};

static enum weir_status choose_ways(struct replay *r, struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    enum weir_status st =
        weir_replay_ways_read(o->modes, r->ways, WEIR_ARRAY_LEN(r->ways), &r->n_ways, err);
    if (st == WEIR_OK && o->loads != NULL)
        st = weir_replay_loads_read(o->loads, r->loads, WEIR_ARRAY_LEN(r->loads), &r->n_loads, err);
    for (size_t i = 0; i < r->n_ways && st == WEIR_OK; i++) {
        if (r->ways[i].queues && o->decisions != NULL)
            st = weir_err_set(err, WEIR_INVALID,
                              "--modes: %s: a log of decisions has nobody who waits",
                              r->ways[i].name);
        else if (r->ways[i].queues && isnan(o->router_queue_threshold))
            st = weir_err_set(err, WEIR_INVALID,
                              "--modes: %s: a queue needs --router-queue-threshold",
                              r->ways[i].name);
    }
    return st;
}

static void on_progress(void *arg, size_t n_done) {
    const struct replay *r = arg;
    fprintf(stderr, "\r%-18s %zu of %zu requests\033[K", r->running, n_done, r->setup.n_requests);
    fflush(stderr);
}

static enum weir_status set_up(struct replay *r, struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    enum weir_status st = weir_replay_load(o, &r->trace, err);
    if (st != WEIR_OK)
        return st;
    r->setup = weir_replay_setup_of(o, &r->trace);
    if (r->n_loads > 0)
        r->setup.trace_speedup = r->loads[0];
    r->setup.on_progress = r->tty ? on_progress : NULL;
    r->setup.progress_arg = r;
    r->outcomes = weir_calloc(r->setup.n_requests, sizeof(*r->outcomes));
    if (r->outcomes == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    return weir_replay_check(&r->setup, err);
}

static enum weir_status add_row(struct replay *r, const char *name, bool is_mode,
                                struct weir_err *err) {
    enum weir_status st =
        weir_replay_row_fill(&r->rows[r->n_rows++], name, is_mode, &r->setup, r->outcomes);
    return st == WEIR_OK ? st : weir_err_set(err, st, "%s", weir_status_text(st));
}

static enum weir_status run_best(struct replay *r, const char *name, uint64_t n_blocks,
                                 struct weir_err *err) {
    r->running = name;
    if (r->tty)
        on_progress(r, 0);
    enum weir_status st = weir_replay_best(&r->setup, n_blocks, r->outcomes, err);
    return st == WEIR_OK ? add_row(r, name, false, err) : st;
}

static enum weir_status run_way(struct replay *r, const struct weir_replay_way *way,
                                struct weir_err *err) {
    uint64_t preemptions;
    r->running = way->name;
    if (way->has_policy)
        r->setup.router.policy = way->policy;
    r->setup.queues = way->queues;
    r->setup.order = way->order;
    enum weir_status st = weir_replay_run(&r->setup, way->mode, r->outcomes, &preemptions, err);
    if (st == WEIR_OK)
        st = add_row(r, way->name, true, err);
    if (st == WEIR_OK)
        r->rows[r->n_rows - 1].preemptions = preemptions;
    r->setup.router.policy = (enum weir_selection_policy)r->options.router_selection_policy;
    return st;
}

static enum weir_status run_all(struct replay *r, struct weir_err *err) {
    uint64_t together = (uint64_t)r->setup.n_workers * r->setup.engine.n_blocks;
    enum weir_status st = run_best(r, "endless-cache", 0, err);
    if (st == WEIR_OK)
        st = run_best(r, "one-cache", together, err);
    for (size_t k = 0; k == 0 || k < r->n_loads; k++) {
        if (r->n_loads > 0)
            r->setup.trace_speedup = r->loads[k];
        for (size_t i = 0; i < r->n_ways && st == WEIR_OK; i++)
            st = run_way(r, &r->ways[i], err);
    }
    if (r->tty)
        fputs("\r\033[K", stderr);
    return st;
}

static enum weir_status write_out(enum weir_status formed, struct weir_buf *text, const char *path,
                                  struct weir_err *err) {
    enum weir_status st = formed;
    if (st == WEIR_OK)
        st = weir_file_write(path, weir_buf_span(text), err);
    else
        weir_err_set(err, st, "report: %s", weir_status_text(st));
    weir_buf_clear(text);
    return st;
}

static bool json_on_stdout(const struct weir_replay_options *o) {
    return o->json_out != NULL && strcmp(o->json_out, "-") == 0;
}

static enum weir_status report_one(const struct replay *r, struct weir_buf *text,
                                   struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    const struct weir_replay_report report = {
        .options = o, .setup = &r->setup, .rows = r->rows, .n_rows = r->n_rows};
    enum weir_status st = WEIR_OK;
    if (!json_on_stdout(o))
        st = write_out(weir_replay_text(&report, text), text, "-", err);
    if (st == WEIR_OK && o->json_out != NULL)
        st = write_out(weir_replay_json(&report, text), text, o->json_out, err);
    if (st == WEIR_OK && o->html_out != NULL)
        st = write_out(weir_replay_html(&report, text), text, o->html_out, err);
    return st;
}

static enum weir_status report_loads(struct replay *r, struct weir_buf *text,
                                     struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    struct weir_replay_loads report = {.options = o,
                                       .setup = &r->setup,
                                       .best = r->rows,
                                       .n_best = 2,
                                       .n_loads = r->n_loads,
                                       .n_ways = r->n_ways};
    enum weir_status st = WEIR_OK;
    for (size_t k = 0; k < r->n_loads; k++) {
        r->setup.trace_speedup = r->loads[k];
        report.loads[k] = (struct weir_replay_load){.speedup = r->loads[k],
                                                    .offered = weir_replay_offered(&r->setup),
                                                    .rows = r->rows + 2 + k * r->n_ways};
    }
    if (!json_on_stdout(o))
        st = write_out(weir_replay_loads_text(&report, text), text, "-", err);
    if (st == WEIR_OK && o->json_out != NULL)
        st = write_out(weir_replay_loads_json(&report, text), text, o->json_out, err);
    if (st == WEIR_OK && o->html_out != NULL)
        st = write_out(weir_replay_loads_html(&report, text), text, o->html_out, err);
    return st;
}

static enum weir_status replay_trace(struct replay *r, struct weir_buf *text,
                                     struct weir_err *err) {
    r->tty = r->options.progress && isatty(STDERR_FILENO) == 1;
    enum weir_status st = set_up(r, err);
    if (st == WEIR_OK)
        st = run_all(r, err);
    if (st != WEIR_OK)
        return st;
    return r->n_loads > 0 ? report_loads(r, text, err) : report_one(r, text, err);
}

static enum weir_status replay_decisions(struct replay *r, struct weir_buf *text,
                                         struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    struct weir_replay_log log = {.n_rows = r->n_ways};
    weir_replay_fill_router(o, &r->setup);
    for (size_t i = 0; i < r->n_ways; i++)
        log.rows[i] = (struct weir_replay_log_row){
            .name = r->ways[i].name,
            .mode = r->ways[i].mode,
            .policy = r->ways[i].has_policy ? r->ways[i].policy : r->setup.router.policy};
    enum weir_status st = weir_file_read(o->decisions, WEIR_FILE_ANY, text, err);
    if (st == WEIR_OK)
        st = weir_replay_log_read(weir_buf_span(text), &r->setup.router, (uint64_t)o->seed, &log,
                                  err);
    weir_buf_clear(text);
    if (st == WEIR_OK && !json_on_stdout(o))
        st = write_out(weir_replay_log_text(&log, text), text, "-", err);
    if (st == WEIR_OK && o->json_out != NULL)
        st = write_out(weir_replay_log_json(&log, text), text, o->json_out, err);
    return st;
}

static enum weir_status replay_grid(struct replay *r, struct weir_arena *arena,
                                    struct weir_buf *text, struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    struct weir_replay_grid grid = {.n_requests = 0};
    bool tty = o->progress && isatty(STDERR_FILENO) == 1;
    enum weir_status st = weir_replay_load(o, &r->trace, err);
    if (st == WEIR_OK)
        st = weir_replay_grid_run(o, tty, &r->trace, arena, &grid, err);
    if (st == WEIR_OK && !json_on_stdout(o))
        st = write_out(weir_replay_grid_text(&grid, text), text, "-", err);
    if (st == WEIR_OK && o->json_out != NULL)
        st = write_out(weir_replay_grid_json(&grid, text), text, o->json_out, err);
    if (st == WEIR_OK && o->html_out != NULL)
        st = write_out(weir_replay_grid_html(&grid, text), text, o->html_out, err);
    weir_replay_grid_fini(&grid);
    return st;
}

static enum weir_status replay_log_grid(struct replay *r, struct weir_arena *arena,
                                        struct weir_buf *text, struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    bool has_table = !json_on_stdout(o), has_json = o->json_out != NULL;
    struct weir_buf table, json;
    weir_buf_init(&table, MAX_TEXT);
    weir_buf_init(&json, MAX_TEXT);
    enum weir_status st = weir_file_read(o->decisions, WEIR_FILE_ANY, text, err);
    if (st == WEIR_OK)
        st = weir_replay_log_grid(o, weir_buf_span(text), arena, has_table ? &table : NULL,
                                  has_json ? &json : NULL, err);
    if (st == WEIR_OK && has_table)
        st = write_out(WEIR_OK, &table, "-", err);
    if (st == WEIR_OK && has_json)
        st = write_out(WEIR_OK, &json, o->json_out, err);
    weir_buf_fini(&table);
    weir_buf_fini(&json);
    return st;
}

static enum weir_status replay(struct replay *r, struct weir_arena *arena, struct weir_err *err) {
    struct weir_buf text; /* a decision log, then reports */
    weir_buf_init(&text, MAX_TEXT);
    bool is_grid = r->options.grid != NULL;
    bool is_log = r->options.decisions != NULL;
    enum weir_status st = !is_grid ? choose_ways(r, err)
                          : is_log ? replay_log_grid(r, arena, &text, err)
                                   : replay_grid(r, arena, &text, err);
    if (st == WEIR_OK && !is_grid)
        st = r->options.trace != NULL ? replay_trace(r, &text, err)
                                      : replay_decisions(r, &text, err);
    weir_buf_fini(&text);
    return st;
}

int weir_replay_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_err err = {.text = ""};
    static struct replay r; /* large */
    memset(&r, 0, sizeof(r));
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome todo =
        weir_config_load(&weir_replay_program, argc, argv, NULL, &arena, &r.options);
    int rc = todo == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    if (todo == WEIR_CONFIG_RUN) {
        enum weir_status st = weir_config_begin(&weir_replay_program, &r.options, &err);
        if (st == WEIR_OK)
            st = replay(&r, &arena, &err);
        if (st != WEIR_OK)
            fprintf(stderr, "weir replay: %s\n",
                    err.text[0] != '\0' ? err.text : weir_status_text(st));
        rc = st == WEIR_OK ? 0 : 1;
    }
    for (size_t i = 0; i < r.n_rows; i++)
        weir_replay_row_fini(&r.rows[i]);
    weir_trace_fini(&r.trace);
    weir_free(r.outcomes);
    weir_arena_fini(&arena);
    return rc;
}
