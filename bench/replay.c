/* Steps: options → trace → set-up → the two caches that no routing beats, then each mode → reports.
 */
#include "bench/replay.h"

#include "base/mem.h"
#include "bench/file.h"
#include "bench/replay_log.h"
#include "bench/replay_stats.h"
#include "router/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_MODES = WEIR_REPLAY_LOG_MODES };
#define MAX_TEXT ((size_t)4 << 30)

static const struct mode {
    const char *name;
    enum weir_router_mode mode;
} modes[MAX_MODES] = {
    {"kv", WEIR_ROUTE_KV},
    {"round-robin", WEIR_ROUTE_ROUND_ROBIN},
    {"random", WEIR_ROUTE_RANDOM},
    {"power-of-two", WEIR_ROUTE_POWER_OF_TWO},
    {"least-loaded", WEIR_ROUTE_LEAST_LOADED},
};

struct replay {
    struct weir_replay_options options;
    struct weir_trace trace; /* owned */
    struct weir_replay_setup setup;
    const struct mode *chosen[MAX_MODES];
    size_t n_chosen;
    struct weir_replay_outcome *outcomes; /* owned */
    struct weir_replay_row rows[2 + MAX_MODES];
    size_t n_rows;
    const char *running; /* what the progress line names */
    bool tty;
};

static enum weir_status choose_modes(struct replay *r, struct weir_err *err) {
    for (struct weir_span rest = weir_span_z(r->options.modes); rest.data != NULL;) {
        struct weir_span name = weir_span_trim(weir_span_split(rest, ',', &rest));
        const struct mode *found = NULL;
        for (size_t i = 0; i < MAX_MODES; i++)
            if (weir_span_eqz(name, modes[i].name))
                found = &modes[i];
        if (found == NULL)
            return weir_err_set(err, WEIR_INVALID,
                                "--modes: '%.*s' is none of kv, round-robin, random, power-of-two, "
                                "least-loaded",
                                WEIR_SPAN_ARG(name));
        for (size_t i = 0; i < r->n_chosen; i++)
            if (r->chosen[i] == found)
                return weir_err_set(err, WEIR_INVALID, "--modes: %s stands there twice",
                                    found->name);
        r->chosen[r->n_chosen++] = found;
    }
    return WEIR_OK;
}

static void fill_router(const struct weir_replay_options *o, struct weir_replay_setup *s) {
    weir_router_config_init(&s->router);
    WEIR_ROUTER_CONFIG_TAKE(o, &s->router);
    s->router.index_max_bytes = (size_t)16 << 30;
    s->thresholds = (struct weir_busy_thresholds)WEIR_ROUTER_THRESHOLDS(o);
}

static void on_progress(void *arg, size_t n_done) {
    const struct replay *r = arg;
    fprintf(stderr, "\r%-14s %zu of %zu requests\033[K", r->running, n_done, r->setup.n_requests);
    fflush(stderr);
}

static enum weir_status set_up(struct replay *r, struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    enum weir_status st = weir_trace_load(o->trace, (uint32_t)o->trace_block, &r->trace, err);
    if (st != WEIR_OK)
        return st;
    if (o->trace_spread)
        weir_trace_spread(&r->trace);
    size_t n = r->trace.n_lines;
    if (o->limit != WEIR_CONFIG_NONE && (size_t)o->limit < n)
        n = (size_t)o->limit;
    r->setup = (struct weir_replay_setup){
        .trace = &r->trace,
        .n_requests = n,
        .trace_block = (uint32_t)o->trace_block,
        .trace_speedup = o->trace_speedup,
        .n_workers = (uint32_t)o->workers,
        .engine = {.block_size = (uint32_t)o->block_size,
                   .n_blocks = (uint32_t)o->kv_blocks,
                   .max_num_seqs = (uint32_t)o->max_num_seqs,
                   .max_num_batched_tokens = (uint32_t)o->max_num_batched_tokens,
                   .max_waiting = UINT32_MAX,
                   .prefix_caching = true,
                   .chunked_prefill = true,
                   .prefill_tokens_per_s = o->prefill_tokens_per_s,
                   .decode_base_ms = o->decode_base_ms,
                   .decode_per_request_ms = o->decode_per_request_ms,
                   .speedup = 1,
                   .decode_speedup = 1},
        .seed = (uint64_t)o->seed,
        .on_progress = r->tty ? on_progress : NULL,
        .progress_arg = r,
    };
    fill_router(o, &r->setup);
    r->outcomes = weir_calloc(n, sizeof(*r->outcomes));
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

static enum weir_status run_mode(struct replay *r, const struct mode *mode, struct weir_err *err) {
    uint64_t preemptions;
    r->running = mode->name;
    enum weir_status st = weir_replay_run(&r->setup, mode->mode, r->outcomes, &preemptions, err);
    if (st == WEIR_OK)
        st = add_row(r, mode->name, true, err);
    if (st == WEIR_OK)
        r->rows[r->n_rows - 1].preemptions = preemptions;
    return st;
}

static enum weir_status run_all(struct replay *r, struct weir_err *err) {
    uint64_t together = (uint64_t)r->setup.n_workers * r->setup.engine.n_blocks;
    enum weir_status st = run_best(r, "endless-cache", 0, err);
    if (st == WEIR_OK)
        st = run_best(r, "one-cache", together, err);
    for (size_t i = 0; i < r->n_chosen && st == WEIR_OK; i++)
        st = run_mode(r, r->chosen[i], err);
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

static enum weir_status report(const struct replay *r, struct weir_buf *text,
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

static enum weir_status replay_trace(struct replay *r, struct weir_buf *text,
                                     struct weir_err *err) {
    r->tty = r->options.progress && isatty(STDERR_FILENO) == 1;
    enum weir_status st = set_up(r, err);
    if (st == WEIR_OK)
        st = run_all(r, err);
    return st == WEIR_OK ? report(r, text, err) : st;
}

static enum weir_status replay_decisions(struct replay *r, struct weir_buf *text,
                                         struct weir_err *err) {
    const struct weir_replay_options *o = &r->options;
    struct weir_replay_log log = {.n_rows = r->n_chosen};
    for (size_t i = 0; i < r->n_chosen; i++)
        log.rows[i] =
            (struct weir_replay_log_row){.name = r->chosen[i]->name, .mode = r->chosen[i]->mode};
    fill_router(o, &r->setup);
    enum weir_status st = weir_file_read(o->decisions, text, err);
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

static enum weir_status replay(struct replay *r, struct weir_err *err) {
    struct weir_buf text; /* a decision log, then reports */
    weir_buf_init(&text, MAX_TEXT);
    enum weir_status st = choose_modes(r, err);
    if (st == WEIR_OK)
        st = r->options.trace != NULL ? replay_trace(r, &text, err)
                                      : replay_decisions(r, &text, err);
    weir_buf_fini(&text);
    return st;
}

int weir_replay_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_err err = {.text = ""};
    struct replay r;
    memset(&r, 0, sizeof(r));
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome todo =
        weir_config_load(&weir_replay_program, argc, argv, NULL, &arena, &r.options);
    int rc = todo == WEIR_CONFIG_EXIT_OK ? 0 : 1;
    if (todo == WEIR_CONFIG_RUN) {
        enum weir_status st = weir_config_begin(&weir_replay_program, &r.options, &err);
        if (st == WEIR_OK)
            st = replay(&r, &err);
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
