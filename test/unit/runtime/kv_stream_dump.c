/* A snapshot is put together beside the loop's other work, and messages that come meanwhile are
 * applied behind it, in their order. The stream around it is played by this file. */
#include "base/mem.h"
#include "runtime/kv_stream_priv.h"
#include "test/check.h"

#include <stdio.h>

static struct weir_loop *loop;
static struct weir_kv_streams all;
static struct weir_kv_stream s;
static char trace[256]; /* what happened, in order */
static unsigned n_steps, steps, turns;
static enum weir_status step_fails;
static bool owes;
static void (*between)(void); /* behind the second step */
static struct weir_deferred after_step;
static struct weir_spool *taken;
static uint64_t n_events, high, wait_ms; /* what the pull has left */

static void note(const char *what) {
    size_t at = strlen(trace);
    snprintf(trace + at, sizeof(trace) - at, "%s ", what);
}

/* ---- the stream --------------------------------------------------------------------------- */

bool weir_kv_stream_owes(const struct weir_kv_stream *stream) {
    (void)stream;
    return owes;
}

enum weir_status weir_js_wait(struct weir_js_call *call, uint64_t ms) {
    CHECK(call == s.pull);
    wait_ms = ms;
    return WEIR_OK;
}

void weir_kv_stream_pulled(struct weir_kv_stream *stream, enum weir_status st,
                           const struct weir_nats_msg *msg) {
    char text[64];
    CHECK(st == WEIR_OK && stream == &s);
    snprintf(text, sizeof(text), "%s=%.*s/%u", msg->reply != NULL ? msg->reply : "",
             WEIR_SPAN_ARG(msg->payload), msg->status);
    note(text);
    if (msg->status == 409)
        stream->pull = NULL; /* it ends the pull */
}

void weir_kv_stream_dumped(struct weir_kv_stream *stream, enum weir_status st,
                           struct weir_spool *take, uint64_t n, uint64_t covered) {
    CHECK(stream == &s && stream->dumping == NULL && (take != NULL) == (st == WEIR_OK));
    note(weir_status_name(st));
    taken = take;
    n_events = n;
    high = covered;
    weir_loop_stop(loop);
}

/* ---- what is dumped ----------------------------------------------------------------------- */

static void on_end(void *arg) {
    (void)arg;
}

static void on_after_step(void *arg) {
    (void)arg;
    between();
}

static enum weir_status open_dump(void *arg, const struct weir_map *workers, void **ret_dump) {
    (void)arg;
    CHECK(workers == &s.workers);
    *ret_dump = &steps;
    return WEIR_OK;
}

static enum weir_status take_step(void *dump, weir_kv_event_fn fn, void *fn_arg, bool *ret_more) {
    static const struct weir_kv_block blocks[1000];
    const struct weir_kv_event e = {
        .worker_id = 7, .kind = WEIR_KV_STORED, .blocks = blocks, .n_blocks = 1000};
    CHECK(dump == &steps);
    for (int i = 0; i < 5; i++)
        fn(fn_arg, &e);
    steps++;
    if (steps == 2 && between != NULL)
        weir_loop_defer(loop, &after_step);
    *ret_more = steps < n_steps;
    return steps == 3 ? step_fails : WEIR_OK;
}

static void close_dump(void *dump) {
    CHECK(dump == &steps);
    note("closed");
}

static struct weir_timer turn;
static void on_turn(void *arg) {
    (void)arg;
    turns++;
    CHECK(weir_timer_start(&turn, 1) == WEIR_OK);
}

static void run(uint64_t max_bytes) {
    all = (struct weir_kv_streams){.loop = loop,
                                   .config = {.ops = {.on_end = on_end},
                                              .dump = {open_dump, take_step, close_dump},
                                              .snapshot_max_bytes = max_bytes}};
    memset(&s, 0, sizeof(s));
    s.all = &all;
    s.core.state = WEIR_KVS_LIVE;
    s.core.pos = s.core.high = 42;
    s.pull = (struct weir_js_call *)&s; /* some pull */
    trace[0] = '\0';
    n_steps = 9;
    steps = turns = 0;
    taken = NULL;
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    all.loop = loop;
    weir_deferred_init(&after_step, on_after_step, NULL);
    weir_timer_init(&turn, loop, on_turn, NULL);
    on_turn(NULL);
    CHECK(weir_kv_stream_dump(&s) == WEIR_OK && s.dumping != NULL && steps == 0);
    /* Held messages do not move the pull's time, so it does not end before the dump must have. */
    CHECK_EQ_U64(wait_ms, 20000 + WEIR_KVS_PULL_WAIT_MS);
    weir_loop_run(loop);
}

static void done(const char *wanted) {
    CHECK_EQ_STR(trace, strlen(trace), wanted);
    weir_timer_stop(&turn);
    weir_spool_destroy(taken);
    weir_loop_destroy(loop);
    step_fails = WEIR_OK;
    owes = false;
    between = NULL;
}

static bool holds(const char *reply, const char *payload, unsigned status) {
    const struct weir_nats_msg msg = {
        .reply = reply, .payload = weir_span_z(payload), .status = status};
    return weir_kv_stream_holds(&s, WEIR_OK, &msg);
}

/* ---- cases -------------------------------------------------------------------------------- */

static void messages_come(void) {
    CHECK(holds("r1", "a", 0) && holds("r2", "", 0) && holds(NULL, "", 408));
}

static void case_what_comes_meanwhile(void) {
    between = messages_come;
    run(1 << 30);
    CHECK(turns > 3); /* the loop went on between */
    CHECK_EQ_U64(steps, 9);
    CHECK_EQ_U64(n_events, 45);
    CHECK_EQ_U64(high, 42);
    CHECK(weir_spool_size(taken) > 45 * 17000);
    CHECK(!holds("r", "b", 0)); /* over */
    CHECK_EQ_U64(wait_ms, WEIR_KVS_PULL_WAIT_MS);
    done("closed OK r1=a/0 r2=/0 =/408 ");
}

static void a_worker_goes(void) {
    CHECK(holds("r1", "a", 0));
    weir_kv_stream_dump_void(&s);
}

static void case_a_worker_goes(void) {
    between = a_worker_goes;
    run(1 << 30);
    CHECK_EQ_U64(steps, 2);
    done("closed CANCELLED r1=a/0 ");
}

static void the_pull_ends(void) {
    CHECK(holds("r1", "a", 0) && holds(NULL, "", 409) && holds("r2", "b", 0));
}

/* What came behind the end of a pull is asked for again. */
static void case_the_pull_ends(void) {
    between = the_pull_ends;
    run(1 << 30);
    done("closed OK r1=a/0 =/409 ");
}

static void the_connection_goes(void) {
    CHECK(holds("r1", "a", 0));
    CHECK(!weir_kv_stream_holds(&s, WEIR_DISCONNECTED, NULL));
}

static void case_the_connection_goes(void) {
    between = the_connection_goes;
    run(1 << 30);
    CHECK_EQ_U64(steps, 2);
    done("closed CANCELLED ");
}

static void too_much_comes(void) {
    static char much[65 << 20];
    const struct weir_nats_msg msg = {.reply = "big", .payload = weir_span(much, sizeof(much))};
    CHECK(holds("r1", "a", 0));
    CHECK(!weir_kv_stream_holds(&s, WEIR_OK, &msg)); /* in its turn */
    note("big");
    CHECK(holds("r2", "b", 0));
}

static void case_too_much_comes(void) {
    between = too_much_comes;
    run(1 << 30);
    done("closed r1=a/0 big LIMIT r2=b/0 ");
}

static void it_owes(void) {
    owes = true;
}

static void case_failures(void) {
    between = it_owes;
    run(1 << 30);
    done("closed CANCELLED ");
    step_fails = WEIR_NOMEM;
    run(1 << 30);
    CHECK_EQ_U64(steps, 3);
    done("closed NOMEM ");
    run(300000); /* more than the snapshot may have */
    CHECK_EQ_U64(steps, 4);
    done("closed TOO_LARGE ");
}

static void stop(void) {
    CHECK(holds("r1", "a", 0));
    weir_loop_stop(loop);
}

static void case_stopped_in_the_midst(void) {
    between = stop;
    run(1 << 30);
    weir_kv_stream_dump_stop(&s);
    weir_kv_stream_dump_stop(&s);
    done("closed ");
}

int main(void) {
    CHECK_RUN(case_what_comes_meanwhile);
    CHECK_RUN(case_a_worker_goes);
    CHECK_RUN(case_the_pull_ends);
    CHECK_RUN(case_the_connection_goes);
    CHECK_RUN(case_too_much_comes);
    CHECK_RUN(case_failures);
    CHECK_RUN(case_stopped_in_the_midst);
    return check_finish();
}
