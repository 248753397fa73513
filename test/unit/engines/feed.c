/*
 * The events of one rank over real sockets, from an engine that loses live batches, starts anew and
 * forgets old ones: in the end what was told equals what the engine holds.
 */
#include "runtime/engine_feed.h"

#include "base/msgpack.h"
#include "net/zmq.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

enum { BLOCKS = 64, LOG = 4096 };

static struct weir_loop *loop;
static struct weir_engine_binds *binds;

/* ---- an engine ---------------------------------------------------------------------------- */

static struct {
    struct weir_zmq_pub *pub;
    struct weir_zmq_sub *router;
    bool old_form;     /* replay without topic, as vLLM 0.16 */
    bool held[BLOCKS]; /* the truth */
    uint64_t log[LOG]; /* block + 1: stored; BLOCKS + block + 1: removed */
    double times[LOG];
    uint64_t n, oldest; /* batches of this process; the first that replay still has */
    double clock;
    unsigned questions;
    uint64_t broken; /* number + 1 of a batch that cannot be read */
} engine;

static struct weir_buf out;

static struct weir_span batch(uint64_t seq) {
    struct weir_mpw w;
    uint64_t what = engine.log[seq] - 1;
    bool stored = what < BLOCKS;
    weir_buf_clear(&out);
    if (seq + 1 == engine.broken)
        return WEIR_SPAN_LIT("\x93\xc1");
    weir_mpw_init(&w, &out);
    weir_mpw_array(&w, 3);
    weir_mpw_f64(&w, engine.times[seq]);
    weir_mpw_array(&w, 1);
    weir_mpw_map(&w, stored ? 4 : 2);
    weir_mpw_str_z(&w, "type");
    weir_mpw_str_z(&w, stored ? "BlockStored" : "BlockRemoved");
    weir_mpw_str_z(&w, "block_hashes");
    weir_mpw_array(&w, 1);
    weir_mpw_u64(&w, what % BLOCKS);
    if (stored) {
        weir_mpw_str_z(&w, "token_ids");
        weir_mpw_array(&w, 1);
        weir_mpw_u64(&w, what);
        weir_mpw_str_z(&w, "block_size");
        weir_mpw_u64(&w, 1);
    }
    weir_mpw_u64(&w, 0);
    CHECK(w.status == WEIR_OK);
    return weir_buf_span(&out);
}

static struct weir_span number(uint64_t seq, char room[8]) {
    for (int i = 0; i < 8; i++)
        room[i] = (char)(seq >> (56 - 8 * i));
    return weir_span(room, 8);
}

static void publish(unsigned block, bool stored, bool lost) {
    char room[8];
    uint64_t seq = engine.n++;
    CHECK(seq < LOG);
    engine.held[block] = stored;
    engine.log[seq] = 1 + block + (stored ? 0 : BLOCKS);
    engine.times[seq] = engine.clock += 0.25;
    struct weir_span frames[] = {WEIR_SPAN_LIT("kv@x"), number(seq, room), batch(seq)};
    if (!lost)
        CHECK(weir_zmq_pub_send(engine.pub, frames, 3) == WEIR_OK);
}

static void on_question(void *arg, const struct weir_span *frames, size_t n) {
    uint64_t start = 0;
    char room[8];
    (void)arg;
    CHECK(n == 3 && frames[2].len == 8);
    for (int i = 0; i < 8; i++)
        start = start << 8 | (unsigned char)frames[2].data[i];
    engine.questions++;
    size_t at = engine.old_form ? 2 : 3;
    struct weir_span answer[5] = {frames[0], weir_span("", 0), WEIR_SPAN_LIT("kv@x")};
    for (uint64_t s = start > engine.oldest ? start : engine.oldest; s < engine.n; s++) {
        answer[at] = number(s, room);
        answer[at + 1] = batch(s);
        CHECK(weir_zmq_sub_send(engine.router, answer, at + 2) == WEIR_OK);
    }
    answer[2] = weir_span("", 0);
    answer[at] = number(UINT64_MAX, room);
    answer[at + 1] = weir_span("", 0);
    CHECK(weir_zmq_sub_send(engine.router, answer, at + 2) == WEIR_OK);
}

/* A new process: an empty cache, numbers from 0. */
static void restart(void) {
    memset(engine.held, 0, sizeof(engine.held));
    engine.n = engine.oldest = 0;
    engine.clock += 10;
}

/* ---- what was told ------------------------------------------------------------------------ */

static bool told[BLOCKS];
static struct weir_engine_feed *feed;

static void on_event(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    CHECK(e->n_hashes == 1 && e->hashes[0] < BLOCKS);
    told[e->hashes[0]] = e->kind == WEIR_ENGINE_STORED;
}

static void on_reset(void *arg, const char *why) {
    (void)arg;
    (void)why;
    memset(told, 0, sizeof(told));
}

static void on_batch(void *arg, uint64_t next) {
    (void)arg;
    (void)next;
}

static bool equal(void *arg) {
    struct weir_engine_feed_stats s;
    (void)arg;
    weir_engine_feed_get_stats(feed, &s);
    return memcmp(told, engine.held, sizeof(told)) == 0 && s.batches > 0;
}

static struct weir_engine_feed_stats stats(void) {
    struct weir_engine_feed_stats s;
    weir_engine_feed_get_stats(feed, &s);
    return s;
}

static void open_feed(bool replay) {
    static const struct weir_engine_feed_ops ops = {on_event, on_reset, on_batch};
    char events[64], question[64];
    struct weir_err err = {.text = ""};
    memset(&engine, 0, sizeof(engine));
    memset(told, 0, sizeof(told));
    CHECK(weir_zmq_pub_open("127.0.0.1", 0, 0, &engine.pub, &err) == WEIR_OK);
    CHECK(weir_zmq_router_open(loop, "127.0.0.1", 0, on_question, NULL, &engine.router, &err) ==
          WEIR_OK);
    snprintf(events, sizeof(events), "tcp://127.0.0.1:%u", weir_zmq_pub_port(engine.pub));
    snprintf(question, sizeof(question), "tcp://127.0.0.1:%u", weir_zmq_sub_port(engine.router));
    struct weir_engine_source source = {.events = weir_span_z(events),
                                        .replay = weir_span_z(replay ? question : ""),
                                        .topic = WEIR_SPAN_LIT("kv@")};
    for (unsigned b = 0; replay && b < 10; b++)
        publish(b, true, false);
    CHECK(weir_engine_feed_open(loop, binds, &source, &ops, NULL, &feed, &err) == WEIR_OK);
}

static void close_feed(void) {
    weir_engine_feed_close(feed);
    weir_zmq_pub_close(engine.pub);
    weir_zmq_sub_close(engine.router);
    feed = NULL;
}

/* Something that both know, so that the live socket is certainly connected. */
static bool one_live(void *arg) {
    (void)arg;
    publish(BLOCKS - 1, true, false);
    return told[BLOCKS - 1];
}

static void case_all_ways(bool old_form) {
    open_feed(true);
    engine.old_form = old_form;
    CHECK(turns_until(loop, equal, NULL)); /* what came before */
    CHECK(turns_until(loop, one_live, NULL));
    uint64_t gaps = stats().gaps;
    publish(20, true, true);
    publish(3, false, true);
    publish(21, true, false); /* a gap shows */
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().gaps > gaps && stats().resets == 0);
    publish(22, true, true); /* lost, and nothing follows */
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets == 0);
    restart(); /* its first batch arrives */
    publish(30, true, false);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets == 1);
    /* It starts anew unseen, and its numbers pass ours. */
    uint64_t n = engine.n;
    restart();
    for (uint64_t i = 0; i < n + 5; i++)
        publish((unsigned)(40 + i % 8), true, true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets == 2);
    /* It starts anew and is silent. */
    restart();
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets == 3);
    publish(1, true, false);
    CHECK(turns_until(loop, equal, NULL));
    close_feed();
}

static void case_new_form(void) {
    case_all_ways(false);
}

static void case_old_form(void) {
    case_all_ways(true);
}

/* Replay no longer has what was lost: nothing that was known counts any more. */
static void case_too_late(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    for (unsigned b = 0; b < 5; b++)
        publish(b, false, true);
    engine.oldest = engine.n;
    publish(50, true, false);
    memset(engine.held, 0, sizeof(engine.held));
    engine.held[50] = true; /* all that can be known */
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets >= 1);
    close_feed();
}

static void case_no_replay(void) {
    open_feed(false);
    CHECK(turns_until(loop, one_live, NULL));
    publish(2, true, false);
    CHECK(turns_until(loop, equal, NULL));
    publish(3, true, true);
    publish(4, true, false);
    memset(engine.held, 0, sizeof(engine.held));
    engine.held[4] = true;
    CHECK(turns_until(loop, equal, NULL));
    restart();
    publish(5, true, false);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().resets == 2 && engine.questions == 0);
    close_feed();
}

/* What cannot be read voids what is known, and the rest goes on. */
static void case_broken_batch(void) {
    char room[8];
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    struct weir_span frames[] = {WEIR_SPAN_LIT("kv@x"), number(engine.n, room),
                                 WEIR_SPAN_LIT("\x93\xc1")};
    engine.log[engine.n] = 1;
    engine.times[engine.n++] = engine.clock += 0.25;
    CHECK(weir_zmq_pub_send(engine.pub, frames, 3) == WEIR_OK);
    memset(engine.held, 0, sizeof(engine.held));
    publish(9, true, false);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(stats().broken == 1);
    close_feed();
}

/* It stays unreadable when it is asked for again, which tells of no other process. */
static bool asked_twice(void *arg) {
    return engine.questions >= *(const unsigned *)arg + 2;
}

static void case_broken_and_quiet(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    engine.broken = engine.n + 1;
    publish(9, true, false);
    memset(engine.held, 0, sizeof(engine.held));
    CHECK(turns_until(loop, equal, NULL));
    uint64_t resets = stats().resets;
    unsigned questions = engine.questions;
    CHECK(turns_until(loop, asked_twice, &questions));
    turns_flush(loop);
    CHECK_EQ_U64(stats().resets, resets);
    close_feed();
}

/* A batch that waits for a replay is in it, though a later one has an earlier time. */
static void case_clock_goes_back(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    publish(20, true, true);
    publish(21, true, false); /* a gap shows, and this waits */
    engine.clock -= 100;
    publish(22, true, true);
    CHECK(turns_until(loop, equal, NULL));
    turns_flush(loop);
    turns_flush(loop);
    CHECK(equal(NULL));
    CHECK_EQ_U64(stats().resets, 0);
    close_feed();
}

static uint16_t port;
static bool open_again(void *arg) {
    struct weir_err err = {.text = ""};
    (void)arg;
    return weir_zmq_pub_open("127.0.0.1", port, 0, &engine.pub, &err) == WEIR_OK;
}

/* What is no batch is counted, so it tells when the connection stands. */
static bool connected(void *arg) {
    struct weir_span frames[] = {WEIR_SPAN_LIT("kv@x"), weir_span("", 0)};
    CHECK(weir_zmq_pub_send(engine.pub, frames, 2) == WEIR_OK);
    return stats().broken > *(const uint64_t *)arg;
}

/* A new process whose first batch that arrives has the very number that the old one's next had. */
static void case_same_number(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    uint64_t n = engine.n, broken = stats().broken;
    port = weir_zmq_pub_port(engine.pub);
    weir_zmq_pub_close(engine.pub);
    CHECK_MSG(turns_until(loop, open_again, NULL), "port %u is not free again", port);
    restart();
    for (uint64_t i = 0; i < n; i++)
        publish((unsigned)(40 + i % 8), true, true);
    CHECK(turns_until(loop, connected, &broken));
    publish(30, true, false);
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 1);
    close_feed();
}

int main(void) {
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    CHECK(weir_engine_binds_create(loop, &binds) == WEIR_OK);
    weir_buf_init(&out, 1 << 20);
    CHECK_RUN(case_new_form);
    CHECK_RUN(case_old_form);
    CHECK_RUN(case_too_late);
    CHECK_RUN(case_no_replay);
    CHECK_RUN(case_broken_batch);
    CHECK_RUN(case_broken_and_quiet);
    CHECK_RUN(case_clock_goes_back);
    CHECK_RUN(case_same_number);
    weir_engine_binds_destroy(binds);
    weir_buf_fini(&out);
    weir_loop_destroy(loop);
    weir_zmq_shutdown();
    return check_finish();
}
