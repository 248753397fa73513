/*
 * Steps: options → address, TLS, trace, model → loops with a load each → the control loop shows
 * progress and listens to signals until every load is done → one tally, reports, exit status.
 * The first SIGINT or SIGTERM stops sending, the second cancels what is in work.
 */
#include "bench/bench.h"

#include "base/json.h"
#include "base/mem.h"
#include "bench/fetch.h"
#include "bench/file.h"
#include "bench/load.h"
#include "bench/origin.h"
#include "bench/report.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MAX_HEADERS = 32,
    MAX_REPORT = 64 << 20,
    MAX_MODELS_PAGE = 16 << 20,
    START_DELAY_NS = 20000000, /* for all loops to be ready when the first request is due */
    PROGRESS_TTY_MS = 250,
    PROGRESS_PLAIN_MS = 5000,
    SETUP_TIMEOUT_MS = 10000,
    DEFAULT_REQUESTS = 100,
    EXIT_SETUP = 1,
    EXIT_ERRORS = 2,
};

struct member {
    struct weir_loop *loop; /* owned */
    struct weir_load *load; /* owned */
    struct bench *bench;
    bool threaded;
};

struct bench {
    struct weir_bench_options options;
    struct weir_origin origin;
    struct weir_tls *tls;    /* owned or NULL */
    struct weir_trace trace; /* owned */
    struct weir_plan plan;
    struct weir_load_run run;
    struct weir_http_header headers[MAX_HEADERS + 2];
    char target[WEIR_ORIGIN_TEXT + 32];
    struct weir_buf model;     /* owned, NUL at its end */
    struct weir_loop *control; /* owned */
    struct member *members;    /* owned */
    unsigned n_members, n_finished;
    struct weir_timer progress;
    bool tty;
    uint64_t shown_ns, shown_done, shown_tokens;
    unsigned n_signals;
    uint64_t started_wall_ms;
};

/* ---- set-up ------------------------------------------------------------------------------- */

static enum weir_status parse_headers(struct bench *b, struct weir_err *err) {
    struct weir_load_run *run = &b->run;
    b->headers[0] =
        (struct weir_http_header){WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")};
    b->headers[1] = (struct weir_http_header){
        WEIR_SPAN_LIT("accept"),
        b->options.stream ? WEIR_SPAN_LIT("text/event-stream") : WEIR_SPAN_LIT("application/json")};
    run->headers = b->headers;
    run->n_headers = 2;
    for (size_t i = 0; i < b->options.header.n; i++) {
        struct weir_span value,
            name = weir_span_split(weir_span_z(b->options.header.items[i]), ':', &value);
        if (value.data == NULL || weir_span_trim(name).len == 0)
            return weir_err_set(err, WEIR_INVALID, "--header: write \"Name: value\"");
        if (i == MAX_HEADERS)
            return weir_err_set(err, WEIR_LIMIT, "--header: at most %d", MAX_HEADERS);
        b->headers[run->n_headers++] =
            (struct weir_http_header){weir_span_trim(name), weir_span_trim(value)};
    }
    return WEIR_OK;
}

static enum weir_status prepare_target(struct bench *b, struct weir_err *err) {
    const struct weir_bench_options *o = &b->options;
    enum weir_status st = weir_origin_parse(o->url, &b->origin, err);
    if (st == WEIR_OK)
        st = weir_origin_resolve(&b->origin, err);
    if (st != WEIR_OK)
        return st;
    if (b->origin.tls) {
        struct weir_tls_config tls = {
            .ca_path = o->tls_ca, .insecure = o->insecure, .alpn = "http/1.1"};
        st = weir_tls_create(&tls, &b->tls, err);
        if (st != WEIR_OK)
            return st;
    }
    b->run.http = (struct weir_http_client_config){
        .ip = b->origin.ip,
        .port = b->origin.port,
        .host = b->origin.authority,
        .tls = b->tls,
        .max_waiting = 1u << 20,
        .idle_ms = 3600000,
    };
    snprintf(b->target, sizeof(b->target), "%s/v1/%s", b->origin.path,
             o->endpoint == 0 ? "chat/completions" : "completions");
    b->run.target = b->target;
    return parse_headers(b, err);
}

static enum weir_status prepare_plan(struct bench *b, struct weir_err *err) {
    const struct weir_bench_options *o = &b->options;
    b->plan = (struct weir_plan){
        .seed = (uint64_t)o->seed,
        .prefix_groups = (uint64_t)o->prefix_groups,
        .prefix_tokens = (uint64_t)o->prefix_len,
        .turns = (uint64_t)o->turns,
        .chars_per_token = o->chars_per_token,
        .trace_block = (uint32_t)o->trace_block,
    };
    enum weir_status st = weir_dist_parse(o->isl, 1, &b->plan.isl, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "--isl");
    st = weir_dist_parse(o->osl, 1, &b->plan.osl, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "--osl");
    st = weir_dist_parse(o->think_time_ms, 0, &b->plan.think_ms, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "--think-time-ms");
    if (o->trace == NULL)
        return WEIR_OK;
    st = weir_trace_load(o->trace, b->plan.trace_block, &b->trace, err);
    if (st != WEIR_OK)
        return st;
    if (o->trace_spread)
        weir_trace_spread(&b->trace);
    b->plan.trace = &b->trace;
    return WEIR_OK;
}

static uint64_t wanted_requests(const struct bench *b) {
    const struct weir_bench_options *o = &b->options;
    if (o->requests != WEIR_CONFIG_NONE)
        return (uint64_t)o->requests;
    if (o->conversations != WEIR_CONFIG_NONE)
        return (uint64_t)o->conversations * (uint64_t)o->turns;
    if (o->trace != NULL || !isnan(o->duration_s))
        return UINT64_MAX;
    return DEFAULT_REQUESTS;
}

static void prepare_run(struct bench *b) {
    const struct weir_bench_options *o = &b->options;
    struct weir_load_run *run = &b->run;
    uint64_t wanted = wanted_requests(b), concurrency = (uint64_t)o->concurrency;
    run->plan = &b->plan;
    run->open_loop = o->trace != NULL || !isnan(o->rate);
    run->poisson = o->arrival == 0;
    run->rate = isnan(o->rate) ? 1 : o->rate;
    run->trace_speedup = o->trace_speedup;
    run->n_warmup = (uint64_t)o->warmup;
    run->n_total = wanted == UINT64_MAX ? wanted : wanted + run->n_warmup;
    run->duration_ns = isnan(o->duration_s) ? UINT64_MAX : (uint64_t)(o->duration_s * 1e9);
    run->max_active = o->concurrency != WEIR_CONFIG_NONE ? concurrency
                      : run->open_loop                   ? UINT64_MAX
                                                         : 1;
    run->timeout_ms = (uint64_t)ceil(o->timeout_s * 1000);
    run->slo = (struct weir_bench_slo){o->goodput_ttft_ms, o->goodput_itl_ms, o->goodput_e2e_ms};
    /* A loop without a place for a request would have nothing to do. */
    uint64_t loops = (uint64_t)o->loops;
    run->n_loops = (unsigned)(loops < run->max_active ? loops : run->max_active);
    uint64_t conns = ((uint64_t)o->connections + run->n_loops - 1) / run->n_loops;
    run->http.max_conns = (unsigned)conns;
    run->form.chat = o->endpoint == 0;
    run->form.stream = o->stream;
    run->form.ignore_eos = o->ignore_eos;
}

/* `id` of the first model of /v1/models. */
static bool first_model(struct weir_span page, struct weir_buf *out) {
    struct weir_json j;
    struct weir_json_str key, id;
    bool found = false;
    weir_json_init(&j, page, 32);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "data") || !weir_json_array_enter(&j)) {
            (void)weir_json_skip(&j, NULL);
            continue;
        }
        while (weir_json_array_next(&j)) {
            if (found || !weir_json_object_enter(&j)) {
                (void)weir_json_skip(&j, NULL);
                continue;
            }
            while (weir_json_object_next(&j, &key)) {
                if (!found && weir_json_str_eqz(key, "id") && weir_json_string(&j, &id))
                    found = weir_json_unescape(id, out) == WEIR_OK;
                else
                    (void)weir_json_skip(&j, NULL);
            }
        }
    }
    return weir_json_finish(&j) && found;
}

static enum weir_status ask_for_model(struct bench *b, struct weir_err *err) {
    struct weir_buf page;
    char target[WEIR_ORIGIN_TEXT + 32];
    int http_status = 0;
    snprintf(target, sizeof(target), "%s/v1/models", b->origin.path);
    weir_buf_init(&page, MAX_MODELS_PAGE);
    enum weir_status st = weir_fetch(&b->run.http, target, b->run.headers + 2, b->run.n_headers - 2,
                                     weir_span(NULL, 0), SETUP_TIMEOUT_MS, &http_status, &page);
    if (st != WEIR_OK)
        weir_err_set(
            err, st,
            "%s: cannot ask for its models: %s; start a server there, or name another by --url",
            b->options.url, weir_status_text(st));
    else if (http_status != 200)
        st = weir_err_set(err, WEIR_UNAVAILABLE, "%s%s answers %d: name the model by --model",
                          b->options.url, "/v1/models", http_status);
    else if (!first_model(weir_buf_span(&page), &b->model))
        st = weir_err_set(err, WEIR_NOT_FOUND,
                          "%s lists no model yet: wait for its workers, or name one by --model",
                          b->options.url);
    weir_buf_fini(&page);
    return st;
}

static enum weir_status prepare_model(struct bench *b, struct weir_err *err) {
    enum weir_status st = b->options.model != NULL ? weir_buf_append_z(&b->model, b->options.model)
                                                   : ask_for_model(b, err);
    if (st == WEIR_OK)
        st = weir_buf_append_c(&b->model, '\0');
    b->run.form.model = b->model.data;
    return st;
}

/* ---- the run ------------------------------------------------------------------------------ */

static void on_member_finished(void *arg) {
    struct bench *b = arg;
    if (++b->n_finished == b->n_members)
        weir_loop_stop(b->control);
}

static void on_load_done(void *arg) {
    struct member *m = arg;
    if (weir_loop_post(m->bench->control, on_member_finished, m->bench) != WEIR_OK)
        weir_loop_stop(m->bench->control);
}

static void post_start(void *arg) {
    weir_load_start(arg);
}
static void post_stop(void *arg) {
    weir_load_stop(arg);
}
static void post_abort(void *arg) {
    weir_load_abort(arg);
}

static void on_signal(void *arg, int signum) {
    struct bench *b = arg;
    (void)signum;
    b->n_signals++;
    fputs(b->n_signals == 1
              ? "\nweir bench: waiting for the answers in work; again to cancel them\n"
              : "\nweir bench: cancelled\n",
          stderr);
    for (unsigned i = 0; i < b->n_members; i++)
        if (weir_loop_post(b->members[i].loop, b->n_signals == 1 ? post_stop : post_abort,
                           b->members[i].load) != WEIR_OK)
            weir_loop_stop(b->control);
}

static uint64_t sum_live(const struct bench *b, size_t offset) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < b->n_members; i++) {
        const char *live = (const char *)weir_load_live(b->members[i].load);
        sum +=
            atomic_load_explicit((const _Atomic uint64_t *)(live + offset), memory_order_relaxed);
    }
    return sum;
}
#define LIVE(member) sum_live(b, offsetof(struct weir_load_live, member))

static void on_progress(void *arg) {
    struct bench *b = arg;
    uint64_t now = weir_now_ns(), done = LIVE(done), tokens = LIVE(tokens);
    double since_s = (double)(now - b->shown_ns) / 1e9;
    double total_s = now > b->run.start_ns ? (double)(now - b->run.start_ns) / 1e9 : 0;
    fprintf(stderr,
            "%s%7.1f s  sent %" PRIu64 "  done %" PRIu64 "  errors %" PRIu64 "  in work %" PRIu64
            "  %.0f requests/s  %.0f tokens/s%s",
            b->tty ? "\r" : "weir bench: ", total_s, LIVE(sent), done, LIVE(errors), LIVE(active),
            (double)(done - b->shown_done) / since_s, (double)(tokens - b->shown_tokens) / since_s,
            b->tty ? "\033[K" : "\n");
    fflush(stderr);
    b->shown_ns = now;
    b->shown_done = done;
    b->shown_tokens = tokens;
    if (weir_timer_start(&b->progress, b->tty ? PROGRESS_TTY_MS : PROGRESS_PLAIN_MS) != WEIR_OK)
        return; /* the run matters more than its progress line */
}

static enum weir_status create_members(struct bench *b, struct weir_err *err) {
    b->members = weir_calloc(b->run.n_loops, sizeof(*b->members));
    if (b->members == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (unsigned i = 0; i < b->run.n_loops; i++) {
        struct member *m = &b->members[i];
        m->bench = b;
        enum weir_status st = weir_loop_create(i + 1, &m->loop);
        b->n_members++;
        if (st != WEIR_OK)
            return weir_err_set(err, st, "cannot make a loop: %s", weir_status_text(st));
        st = weir_load_create(&b->run, m->loop, i, on_load_done, m, &m->load, err);
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

static enum weir_status start_members(struct bench *b) {
    enum weir_status st = WEIR_OK;
    for (unsigned i = 0; i < b->n_members && st == WEIR_OK; i++) {
        struct member *m = &b->members[i];
        char name[16];
        snprintf(name, sizeof(name), "load-%u", i);
        st = weir_loop_thread_start(m->loop, name);
        m->threaded = st == WEIR_OK;
        if (st == WEIR_OK)
            st = weir_loop_post(m->loop, post_start, m->load);
    }
    return st;
}

static enum weir_status run_control(struct bench *b, struct weir_err *err) {
    enum weir_status st = start_members(b);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(b->control, SIGINT, on_signal, b);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(b->control, SIGTERM, on_signal, b);
    b->tty = isatty(STDERR_FILENO) != 0;
    b->shown_ns = b->run.start_ns;
    weir_timer_init(&b->progress, b->control, on_progress, b);
    if (st == WEIR_OK && b->options.progress)
        st = weir_timer_start(&b->progress, b->tty ? PROGRESS_TTY_MS : PROGRESS_PLAIN_MS);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    weir_loop_run(b->control);
    weir_timer_stop(&b->progress);
    if (b->options.progress && b->tty)
        fputs("\r\033[K", stderr);
    return WEIR_OK;
}

static void close_members(struct bench *b) {
    for (unsigned i = 0; i < b->n_members; i++) {
        struct member *m = &b->members[i];
        if (m->threaded) {
            weir_loop_stop(m->loop);
            weir_loop_thread_join(m->loop);
        }
    }
}

static void destroy(struct bench *b) {
    for (unsigned i = 0; i < b->n_members; i++) {
        weir_load_destroy(b->members[i].load);
        weir_loop_destroy(b->members[i].loop);
    }
    weir_free(b->members);
    weir_loop_destroy(b->control);
    weir_tls_destroy(b->tls);
    weir_trace_fini(&b->trace);
    weir_dist_fini(&b->plan.isl);
    weir_dist_fini(&b->plan.osl);
    weir_dist_fini(&b->plan.think_ms);
    weir_buf_fini(&b->model);
}

/* ---- reports ------------------------------------------------------------------------------ */

typedef enum weir_status (*write_fn)(const struct weir_bench_report *r, struct weir_buf *out);

static enum weir_status write_report(const struct weir_bench_report *r, write_fn fn,
                                     const char *path, struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, MAX_REPORT);
    enum weir_status st = fn(r, &text);
    if (st != WEIR_OK)
        weir_err_set(err, st, "report: %s", weir_status_text(st));
    else if (path != NULL)
        st = weir_file_write(path, weir_buf_span(&text), err);
    else
        fwrite(text.data, 1, text.len, stderr);
    weir_buf_fini(&text);
    return st;
}

static double process_cpu_s(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static enum weir_status report(struct bench *b, double cpu_s, double wall_s, bool *ret_failed,
                               struct weir_err *err) {
    struct weir_tally *all = weir_load_tally(b->members[0].load);
    double *loop_cpu_s = weir_calloc(b->n_members, sizeof(*loop_cpu_s));
    if (loop_cpu_s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (unsigned i = 0; i < b->n_members; i++) {
        loop_cpu_s[i] = weir_load_cpu_s(b->members[i].load);
        if (i > 0)
            weir_tally_merge(all, weir_load_tally(b->members[i].load));
    }
    struct weir_bench_report r = {
        .options = &b->options,
        .model = b->model.data,
        .tally = all,
        .interrupted = b->n_signals > 0,
        .started_wall_ms = b->started_wall_ms,
        .wall_s = wall_s,
        .cpu_s = cpu_s,
        .n_loops = b->n_members,
        .loop_cpu_s = loop_cpu_s,
    };
    enum weir_status st = write_report(&r, weir_bench_report_text, NULL, err);
    if (st == WEIR_OK && b->options.json_out != NULL)
        st = write_report(&r, weir_bench_report_json, b->options.json_out, err);
    if (st == WEIR_OK && b->options.html_out != NULL)
        st = write_report(&r, weir_bench_report_html, b->options.html_out, err);
    *ret_failed = weir_bench_report_error_share(&r) > b->options.max_error_share ||
                  (all->ok == 0 && weir_tally_errors(all) == 0);
    weir_free(loop_cpu_s);
    return st;
}

static enum weir_status bench_run(struct bench *b, bool *ret_failed, struct weir_err *err) {
    enum weir_status st = prepare_target(b, err);
    if (st == WEIR_OK)
        st = prepare_plan(b, err);
    if (st != WEIR_OK)
        return st;
    prepare_run(b);
    st = prepare_model(b, err);
    if (st != WEIR_OK)
        return st;
    st = weir_loop_create(0, &b->control);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot make a loop: %s", weir_status_text(st));
    b->started_wall_ms = weir_wall_ms();
    b->run.start_ns = weir_now_ns() + START_DELAY_NS;
    st = create_members(b, err);
    if (st != WEIR_OK)
        return st;
    double cpu_from_s = process_cpu_s();
    uint64_t from_ns = weir_now_ns();
    st = run_control(b, err);
    close_members(b);
    double cpu_s = process_cpu_s() - cpu_from_s, wall_s = (double)(weir_now_ns() - from_ns) / 1e9;
    return st == WEIR_OK ? report(b, cpu_s, wall_s, ret_failed, err) : st;
}

int weir_bench_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_err err = {.text = ""};
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    struct bench b;
    memset(&b, 0, sizeof(b));
    weir_buf_init(&b.model, 1 << 16);
    int rc = 0;
    switch (weir_config_load(&weir_bench_program, argc, argv, NULL, &arena, &b.options)) {
    case WEIR_CONFIG_EXIT_OK:
        goto out;
    case WEIR_CONFIG_EXIT_USAGE:
        rc = EXIT_SETUP;
        goto out;
    case WEIR_CONFIG_RUN:
        break;
    }
    bool failed = false;
    enum weir_status st = weir_config_begin(&weir_bench_program, &b.options, &err);
    if (st == WEIR_OK)
        st = bench_run(&b, &failed, &err);
    if (st != WEIR_OK) {
        fprintf(stderr, "weir bench: %s\n", err.text[0] != '\0' ? err.text : weir_status_text(st));
        rc = EXIT_SETUP;
    } else if (failed) {
        rc = EXIT_ERRORS;
    }
    destroy(&b);
out:
    weir_arena_fini(&arena);
    return rc;
}
