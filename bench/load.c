/*
 * Happy path: pull() takes the next conversation that is due → talk_begin() → send_turn() →
 * head, body … (load_answer.c) → on_done → the outcome goes into the tally → next turn (after its
 * think time) or talk_end(), which frees a place → pull() at the end of the loop turn.
 *
 * Failure modes: a call that fails, whatever the reason, is counted by kind and ends its
 * conversation; turns that were still to come are counted as dropped. A connection that could not
 * be made holds its place for a moment, so that a closed loop does not spin against a dead server.
 *
 * End: nothing more to take and nobody in work → finish(), once.
 */
#include "base/mem.h"
#include "bench/load_priv.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    MAX_BODY = 256 << 20,
    MAX_ANSWER = 64 << 20,
    MAX_EVENT = 16 << 20,
    DEAD_SERVER_MS = 100,
};

static double thread_cpu_s(void) {
    struct rusage u;
    if (getrusage(RUSAGE_THREAD, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t request_number(const struct weir_load *load, const struct weir_turn *turn) {
    return turn->conversation * load->run->plan->turns + turn->turn;
}

static void send_turn(struct talk *k, uint64_t due_ns);
static void pull(void *arg);

/* ---- conversations ------------------------------------------------------------------------ */

static void on_pause_over(void *arg);

static struct talk *talk_take(struct weir_load *load) {
    if (!weir_list_empty(&load->idle)) {
        struct talk *k = WEIR_CONTAINER_OF(load->idle.next, struct talk, node);
        weir_list_remove(&k->node);
        return k;
    }
    struct talk *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    k->load = load;
    weir_list_init(&k->node);
    weir_dialog_init(&k->dialog, MAX_BODY);
    weir_sse_init(&k->sse, MAX_EVENT);
    weir_buf_init(&k->body, MAX_ANSWER);
    weir_buf_init(&k->answer, MAX_ANSWER);
    weir_timer_init(&k->pause, load->loop, on_pause_over, k);
    return k;
}

static void talk_free(struct talk *k) {
    weir_timer_stop(&k->pause);
    weir_dialog_fini(&k->dialog);
    weir_sse_fini(&k->sse);
    weir_buf_fini(&k->body);
    weir_buf_fini(&k->answer);
    weir_free(k);
}

static void talk_end(struct talk *k) {
    struct weir_load *load = k->load;
    weir_list_remove(&k->node);
    weir_list_push_front(&load->idle, &k->node);
    load->n_active--;
    atomic_store_explicit(&load->live.active, load->n_active, memory_order_relaxed);
    weir_loop_defer(load->loop, &load->pull_later);
}

static void local_failure(struct weir_load *load, struct talk *k, enum weir_status status) {
    k->outcome.end_ns = weir_now_ns();
    k->outcome.fault = WEIR_BENCH_FAULT_LOCAL;
    weir_tally_sample(&load->tally, WEIR_BENCH_FAULT_LOCAL, weir_span_z(weir_status_text(status)));
    weir_tally_outcome(&load->tally, &k->outcome);
    weir_load_count(&load->live.errors, 1);
}

static void talk_begin(struct weir_load *load, uint64_t conversation, uint64_t due_ns) {
    struct talk *k = talk_take(load);
    if (k == NULL) {
        load->tally.faults[WEIR_BENCH_FAULT_LOCAL]++;
        return;
    }
    weir_list_push_back(&load->active, &k->node);
    load->n_active++;
    atomic_store_explicit(&load->live.active, load->n_active, memory_order_relaxed);
    k->resting = false;
    k->turn = weir_plan_turn(load->run->plan, conversation, 0);
    k->outcome = (struct weir_outcome){.due_ns = due_ns};
    enum weir_status st = weir_dialog_begin(&k->dialog, &load->run->form);
    if (st == WEIR_OK) {
        send_turn(k, due_ns);
    } else {
        local_failure(load, k, st);
        talk_end(k);
    }
}

/* Nothing new may start from this moment on. */
static bool time_is_up(const struct weir_load *load, uint64_t now_ns) {
    const struct weir_load_run *run = load->run;
    if (run->duration_ns == UINT64_MAX)
        return false;
    uint64_t window = run->open_loop ? load->window_ns
                                     : atomic_load_explicit(&run->window_ns, memory_order_relaxed);
    return window != 0 && now_ns >= window + run->duration_ns;
}

static void on_pause_over(void *arg) {
    struct talk *k = arg;
    if (k->resting || k->load->stopped)
        talk_end(k);
    else
        send_turn(k, k->outcome.due_ns);
}

/* After a whole answer: the next turn of the conversation, or its end. */
static void next_turn(struct talk *k) {
    struct weir_load *load = k->load;
    const struct weir_load_run *run = load->run;
    struct weir_turn next = weir_plan_turn(run->plan, k->turn.conversation, 0);
    bool last = k->turn.turn + 1 >= run->plan->turns;
    if (!last) {
        next = weir_plan_turn(run->plan, k->turn.conversation, k->turn.turn + 1);
        last = request_number(load, &next) >= run->n_total || load->stopped ||
               time_is_up(load, k->outcome.end_ns);
    }
    if (last) {
        talk_end(k);
        return;
    }
    enum weir_status st = weir_dialog_answer(&k->dialog, weir_buf_span(&k->answer));
    uint64_t due = k->outcome.end_ns + next.think_ns;
    k->turn = next;
    k->outcome = (struct weir_outcome){.due_ns = due};
    if (st == WEIR_OK && next.think_ns >= 1000000) {
        st = weir_timer_start(&k->pause, next.think_ns / 1000000);
        if (st == WEIR_OK)
            return;
    }
    if (st == WEIR_OK) {
        send_turn(k, due);
    } else {
        local_failure(load, k, st);
        talk_end(k);
    }
}

/* ---- one request -------------------------------------------------------------------------- */

static void drop_turns(struct talk *k) {
    struct weir_load *load = k->load;
    uint64_t left = load->run->plan->turns - k->turn.turn - 1;
    uint64_t room = load->run->n_total - request_number(load, &k->turn) - 1;
    load->tally.turns_dropped += left < room ? left : room;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct talk *k = arg;
    struct weir_load *load = k->load;
    (void)sent_any;
    k->call = NULL;
    k->outcome.end_ns = weir_now_ns();
    k->outcome.fault = weir_load_judge(k, status);
    weir_tally_outcome(&load->tally, &k->outcome);
    if (load->run->on_outcome != NULL)
        load->run->on_outcome(load->run->outcome_arg, &k->turn, &k->outcome);
    if (k->outcome.fault == WEIR_BENCH_FAULT_NONE) {
        k->sse_fresh = true;
        weir_load_count(&load->live.done, 1);
        next_turn(k);
        return;
    }
    weir_load_count(&load->live.errors, 1);
    drop_turns(k);
    k->resting = k->outcome.fault == WEIR_BENCH_FAULT_CONNECT && !load->run->open_loop;
    if (!k->resting || weir_timer_start(&k->pause, DEAD_SERVER_MS) != WEIR_OK)
        talk_end(k);
}

static void open_window(struct weir_load *load, uint64_t now_ns) {
    uint64_t none = 0;
    if (atomic_load_explicit(&load->run->window_ns, memory_order_relaxed) == 0)
        (void)atomic_compare_exchange_strong_explicit(&load->run->window_ns, &none, now_ns,
                                                      memory_order_relaxed, memory_order_relaxed);
}

static void send_turn(struct talk *k, uint64_t due_ns) {
    static const struct weir_http_call_ops ops = {
        .on_head = weir_load_on_head, .on_body = weir_load_on_body, .on_done = on_done};
    struct weir_load *load = k->load;
    const struct weir_load_run *run = load->run;
    struct weir_span body = {NULL, 0};
    enum weir_status st = weir_dialog_user(&k->dialog, run->plan, &k->turn);
    if (st == WEIR_OK)
        st = weir_dialog_body(&k->dialog, k->turn.max_tokens, &body);
    if (!k->sse_fresh) {
        weir_sse_fini(&k->sse);
        weir_sse_init(&k->sse, MAX_EVENT);
    }
    k->sse_fresh = false;
    weir_buf_clear(&k->body);
    weir_buf_clear(&k->answer);
    k->saw_done = k->saw_error = k->saw_garbage = false;
    uint64_t now = weir_now_ns();
    k->outcome = (struct weir_outcome){
        .measured = request_number(load, &k->turn) >= run->n_warmup,
        .streamed = run->form.stream,
        .due_ns = due_ns,
        .sent_ns = now,
    };
    if (!run->open_loop && k->turn.turn == 0)
        k->outcome.due_ns = now; /* a closed loop has no schedule to be behind of */
    if (k->outcome.measured && !run->open_loop)
        open_window(load, now);
    weir_tally_sent(&load->tally, now, load->n_active);
    weir_load_count(&load->live.sent, 1);
    struct weir_http_call_config call = {
        .method = "POST",
        .target = run->target,
        .headers = run->headers,
        .n_headers = run->n_headers,
        .body = body,
        .total_ms = run->timeout_ms,
    };
    if (st == WEIR_OK)
        st = weir_http_call_start(load->client, &call, &ops, k, &k->call);
    if (st != WEIR_OK) {
        local_failure(load, k, st);
        drop_turns(k);
        talk_end(k);
    }
}

/* ---- what is due -------------------------------------------------------------------------- */

static void finish(struct weir_load *load) {
    if (load->finished)
        return;
    load->finished = true;
    weir_deferred_cancel(&load->pull_later);
    weir_poll_close(load->timer);
    load->timer = NULL;
    weir_http_client_destroy(load->client);
    load->client = NULL;
    load->cpu_s = thread_cpu_s() - load->cpu_from_s;
    load->on_done(load->arg);
}

/* Moves the walk to the next arrival that is this loop's; false at the end of the run. */
static bool walk(struct weir_load *load) {
    const struct weir_load_run *run = load->run;
    const struct weir_plan *plan = run->plan;
    for (;;) {
        uint64_t c = load->next_conversation++;
        if (c * plan->turns >= run->n_total || (plan->trace != NULL && c >= plan->trace->n_lines))
            return false;
        load->next_due_ns =
            run->start_ns + (plan->trace != NULL ? weir_plan_trace_due(plan, c, run->trace_speedup)
                                                 : weir_arrival_next(&load->arrival));
        if (load->window_ns == 0 && (c + 1) * plan->turns > run->n_warmup)
            load->window_ns = load->next_due_ns;
        if (time_is_up(load, load->next_due_ns))
            return false;
        if (c % run->n_loops == load->index)
            return true;
    }
}

static void arm(struct weir_load *load) {
    uint64_t at = load->next_due_ns;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)}};
    (void)timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void pull_open(struct weir_load *load) {
    while (!load->exhausted && load->n_active < load->max_active) {
        uint64_t now = weir_now_ns();
        if (load->next_due_ns > now) {
            arm(load);
            return;
        }
        /* Behind a bound of --concurrency arrivals may still wait when the time is over. */
        if (time_is_up(load, now))
            load->tally.unsent++;
        else
            talk_begin(load, load->next_conversation - 1, load->next_due_ns);
        load->exhausted = load->exhausted || !walk(load);
    }
}

static void pull_closed(struct weir_load *load) {
    struct weir_load_run *run = load->run;
    while (!load->exhausted && load->n_active < load->max_active) {
        uint64_t now = weir_now_ns();
        if (time_is_up(load, now)) {
            load->exhausted = true;
            return;
        }
        uint64_t c = atomic_fetch_add_explicit(&run->next_conversation, 1, memory_order_relaxed);
        if (c * run->plan->turns >= run->n_total)
            load->exhausted = true;
        else
            talk_begin(load, c, now);
    }
}

static void pull(void *arg) {
    struct weir_load *load = arg;
    if (load->run->open_loop)
        pull_open(load);
    else
        pull_closed(load);
    if (load->exhausted && load->n_active == 0)
        finish(load);
}

static void on_timer(void *arg) {
    struct weir_load *load = arg;
    uint64_t expired;
    if (read(load->timer_fd, &expired, sizeof(expired)) == (ssize_t)sizeof(expired))
        pull(load);
}

/* ---- life --------------------------------------------------------------------------------- */

/* This loop's part of a bound on the whole run; the first loops take what does not divide. */
static uint64_t share(uint64_t whole, unsigned n_loops, unsigned index) {
    return whole == UINT64_MAX ? whole : whole / n_loops + (index < whole % n_loops);
}

enum weir_status weir_load_create(struct weir_load_run *run, struct weir_loop *loop, unsigned index,
                                  weir_load_done_fn done, void *arg, struct weir_load **ret_load,
                                  struct weir_err *err) {
    struct weir_load *load = weir_calloc(1, sizeof(*load));
    if (load == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    load->run = run;
    load->loop = loop;
    load->index = index;
    load->on_done = done;
    load->arg = arg;
    load->timer_fd = -1;
    load->max_active = share(run->max_active, run->n_loops, index);
    weir_list_init(&load->active);
    weir_list_init(&load->idle);
    weir_deferred_init(&load->pull_later, pull, load);
    weir_arrival_init(&load->arrival, run->plan->seed, run->poisson,
                      run->rate / (double)run->plan->turns);
    enum weir_status st = weir_tally_init(&load->tally, &run->slo, run->start_ns);
    if (st == WEIR_OK)
        st = weir_http_client_create(loop, &run->http, &load->client);
    if (st == WEIR_OK && run->open_loop) {
        load->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        st = load->timer_fd >= 0
                 ? weir_poll_open(loop, load->timer_fd, on_timer, load, &load->timer)
                 : WEIR_LIMIT;
    }
    if (st != WEIR_OK) {
        weir_load_destroy(load);
        return weir_err_set(err, st, "cannot prepare a loop: %s", weir_status_text(st));
    }
    *ret_load = load;
    return WEIR_OK;
}

static void free_talks(struct weir_list *list) {
    WEIR_LIST_FOREACH(it, list) {
        weir_list_remove(it);
        talk_free(WEIR_CONTAINER_OF(it, struct talk, node));
    }
}

void weir_load_destroy(struct weir_load *load) {
    if (load == NULL)
        return;
    weir_poll_close(load->timer);
    weir_http_client_destroy(load->client);
    weir_deferred_cancel(&load->pull_later);
    free_talks(&load->active);
    free_talks(&load->idle);
    if (load->timer_fd >= 0)
        close(load->timer_fd);
    weir_tally_fini(&load->tally);
    weir_free(load);
}

void weir_load_start(struct weir_load *load) {
    load->cpu_from_s = thread_cpu_s();
    if (load->run->open_loop)
        load->exhausted = !walk(load);
    pull(load);
}

void weir_load_stop(struct weir_load *load) {
    load->exhausted = load->stopped = true;
    if (!load->finished)
        weir_loop_defer(load->loop, &load->pull_later);
}

void weir_load_abort(struct weir_load *load) {
    WEIR_LIST_FOREACH(it, &load->active) {
        struct talk *k = WEIR_CONTAINER_OF(it, struct talk, node);
        if (k->call != NULL) {
            weir_http_call_cancel(k->call);
            k->call = NULL;
            load->tally.unfinished++;
        }
        weir_timer_stop(&k->pause);
        talk_end(k);
    }
    weir_load_stop(load);
}

const struct weir_load_live *weir_load_live(const struct weir_load *load) {
    return &load->live;
}

struct weir_tally *weir_load_tally(struct weir_load *load) {
    return &load->tally;
}

double weir_load_cpu_s(const struct weir_load *load) {
    return load->cpu_s;
}
