#include "bench/drive.h"

#include <math.h>

static void on_done(void *arg) {
    weir_loop_stop(arg);
}

static void start(void *arg) {
    weir_load_start(arg);
}

enum weir_status weir_drive(struct weir_load_run *run, struct weir_tally *ret_tally,
                            struct weir_err *err) {
    struct weir_loop *loop = NULL;
    struct weir_load *load = NULL;
    enum weir_status st = weir_loop_create(0, &loop);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot make a loop: %s", weir_status_text(st));
    run->n_loops = 1;
    run->start_ns = weir_now_ns();
    run->next_conversation = 0;
    run->window_ns = 0;
    st = weir_load_create(run, loop, 0, on_done, loop, &load, err);
    if (st == WEIR_OK) {
        st = weir_loop_post(loop, start, load);
        if (st == WEIR_OK)
            weir_loop_run(loop);
        else
            weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
    }
    if (st == WEIR_OK) {
        *ret_tally = *weir_load_tally(load);
        /* Its memory goes to the caller. */
        *weir_load_tally(load) = (struct weir_tally){.ok = 0};
    }
    weir_load_destroy(load);
    weir_loop_destroy(loop);
    return st;
}

static enum weir_status judge(const struct weir_tally *t, struct weir_err *err) {
    for (int i = WEIR_BENCH_FAULT_NONE + 1; i < WEIR_BENCH_FAULTS; i++)
        if (t->faults[i] > 0)
            return weir_err_set(err, WEIR_UNAVAILABLE, "%llu of %llu requests failed: %s, %.120s",
                                (unsigned long long)weir_tally_errors(t),
                                (unsigned long long)(t->ok + weir_tally_errors(t)),
                                weir_bench_fault_text(i), t->samples[i]);
    return WEIR_OK;
}

enum weir_status weir_drive_shape(const struct weir_drive_shape *shape,
                                  struct weir_tally *ret_tally, struct weir_err *err) {
    static const struct weir_http_header headers[] = {
        {WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")}};
    const struct weir_plan plan = {
        .seed = shape->seed,
        .isl = {.kind = WEIR_DIST_FIXED, .a = (double)shape->prompt_chars, .floor = 1},
        .osl = {.kind = WEIR_DIST_FIXED, .a = (double)shape->max_tokens, .floor = 1},
        .turns = 1,
        .chars_per_token = 1,
    };
    struct weir_load_run run = {
        .plan = &plan,
        .form = {.model = shape->model, .chat = true, .stream = shape->stream, .ignore_eos = true},
        .http = {.ip = "127.0.0.1",
                 .port = shape->port,
                 .max_conns = (unsigned)shape->concurrency,
                 .idle_ms = 600000},
        .target = "/v1/chat/completions",
        .headers = headers,
        .n_headers = WEIR_ARRAY_LEN(headers),
        .timeout_ms = 120000,
        .slo = {NAN, NAN, NAN},
        .max_active = shape->concurrency,
        .n_total = shape->requests,
        .duration_ns = UINT64_MAX,
    };
    enum weir_status st = weir_drive(&run, ret_tally, err);
    if (st != WEIR_OK)
        return st;
    st = judge(ret_tally, err);
    if (st != WEIR_OK)
        weir_tally_fini(ret_tally);
    return st;
}
