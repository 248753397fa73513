/*
 * The events of one rank over real sockets, from an engine that loses live batches, starts anew and
 * forgets old ones: in the end what was told equals what the engine holds. It answers replays in
 * the frames that were recorded from real ones (test/data/engines/replay.txt).
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

/* Frames of an answer and of the end mark, as the file names them. */
struct form {
    char engine[32], answer[64], end[64];
};
static struct form forms[8];
static size_t n_forms, form_at;

static struct {
    struct weir_zmq_pub *pub;
    struct weir_zmq_sub *router;
    const struct form *form;
    bool held[BLOCKS]; /* the truth */
    uint64_t log[LOG]; /* block + 1: stored; BLOCKS + block + 1: removed */
    double times[LOG];
    uint64_t n, oldest; /* batches of this process; the first that replay still has */
    double clock;
    unsigned questions;
    bool slow; /* it answers when the test says so: answer() */
    char asker[16];
    size_t asker_len;
    uint64_t asked;
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

static size_t from_hex(struct weir_span hex, char room[8]) {
    CHECK(hex.len == 16);
    for (size_t i = 0; i < 8; i++) {
        char digits[3] = {hex.data[2 * i], hex.data[2 * i + 1], '\0'};
        room[i] = (char)strtoul(digits, NULL, 16);
    }
    return 8;
}

/* One answer: the asker's name, then the frames that `form` names. */
static void send_frames(const char *form, uint64_t seq, struct weir_span payload) {
    struct weir_span frames[6] = {weir_span(engine.asker, engine.asker_len)};
    struct weir_span rest = weir_span_z(form);
    char room[8], hex[8][8];
    size_t n = 1;
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span name = weir_span_split(rest, ' ', &rest);
        CHECK(n < 6);
        struct weir_span *frame = &frames[n];
        if (weir_span_eqz(name, "-"))
            *frame = weir_span("", 0);
        else if (weir_span_eqz(name, "TOPIC"))
            *frame = WEIR_SPAN_LIT("kv@x");
        else if (weir_span_eqz(name, "SEQ"))
            *frame = number(seq, room);
        else if (weir_span_eqz(name, "PAYLOAD"))
            *frame = payload;
        else
            *frame = weir_span(hex[n], from_hex(name, hex[n]));
        n++;
    }
    CHECK(weir_zmq_sub_send(engine.router, frames, n) == WEIR_OK);
}

/* What it asked last, of the batches before number `end`. */
static void answer(uint64_t end) {
    uint64_t s = engine.asked > engine.oldest ? engine.asked : engine.oldest;
    for (; s < end; s++)
        send_frames(engine.form->answer, s, batch(s));
    send_frames(engine.form->end, 0, weir_span("", 0));
}

static void on_question(void *arg, const struct weir_span *frames, size_t n) {
    (void)arg;
    /* Whoever recorded them asked with two frames: an empty one, and a number of eight bytes. */
    CHECK(n == 3 && frames[1].len == 0 && frames[2].len == 8);
    CHECK(frames[0].len <= sizeof(engine.asker));
    memcpy(engine.asker, frames[0].data, engine.asker_len = frames[0].len);
    engine.asked = 0;
    for (int i = 0; i < 8; i++)
        engine.asked = engine.asked << 8 | (unsigned char)frames[2].data[i];
    engine.questions++;
    if (!engine.slow)
        answer(engine.n);
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
    engine.form = &forms[form_at];
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

static void all_ways(void) {
    open_feed(true);
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

static void case_recorded_forms(void) {
    char line[256];
    FILE *f = fopen("test/data/engines/replay.txt", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        struct form *r = &forms[n_forms];
        if (line[0] == '#')
            continue;
        CHECK(n_forms < 8);
        CHECK(sscanf(line, "%31[^\t]\t%63[^\t]\t%63[^\n]", r->engine, r->answer, r->end) == 3);
        n_forms++;
    }
    fclose(f);
    CHECK(n_forms == 4);
}

/* Each form once: most engines have the same. */
static void case_every_form(void) {
    for (form_at = 0; form_at < n_forms; form_at++) {
        bool same = false;
        for (size_t i = 0; i < form_at; i++)
            same |= strcmp(forms[i].answer, forms[form_at].answer) == 0 &&
                    strcmp(forms[i].end, forms[form_at].end) == 0;
        if (!same)
            all_ways();
    }
    form_at = 0;
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

/* What an engine does while its feed is paused is not seen, and made good afterwards. */
static void case_paused(void) {
    struct weir_err err = {.text = ""};
    bool before[BLOCKS];
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    memcpy(before, told, sizeof(before));
    weir_engine_feed_pause(feed);
    publish(2, false, false);
    publish(30, true, false);
    for (int i = 0; i < 8; i++)
        turns_flush(loop);
    CHECK(memcmp(before, told, sizeof(before)) == 0 && !equal(NULL));
    CHECK(weir_engine_feed_resume(feed, &err) == WEIR_OK);
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 0);
    /* Another process by then: what was known does not count. */
    weir_engine_feed_pause(feed);
    restart();
    publish(40, true, false);
    CHECK(weir_engine_feed_resume(feed, &err) == WEIR_OK);
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 1);
    weir_engine_feed_pause(feed);
    close_feed();
}

/* Without replay what was missed cannot be known, and with it all before. */
static void case_paused_without_replay(void) {
    struct weir_err err = {.text = ""};
    open_feed(false);
    CHECK(turns_until(loop, one_live, NULL));
    publish(2, true, false);
    CHECK(turns_until(loop, equal, NULL));
    weir_engine_feed_pause(feed);
    publish(2, false, false);
    CHECK(weir_engine_feed_resume(feed, &err) == WEIR_OK);
    told[BLOCKS - 1] = false;
    CHECK(turns_until(loop, one_live, NULL));
    memset(engine.held, 0, sizeof(engine.held));
    engine.held[BLOCKS - 1] = true;
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 1);
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

static bool asked_again(void *arg) {
    return engine.questions > *(const unsigned *)arg;
}

/* An engine that takes its time. A batch is lost after it has answered and before that is read: the
 * answer says nothing of this gap, another one closes it. */
static void case_lost_while_asked(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    engine.slow = true;
    unsigned questions = engine.questions;
    uint64_t broken = stats().broken;
    publish(20, true, true);
    publish(21, true, false); /* a gap shows */
    CHECK(turns_until(loop, asked_again, &questions));
    uint64_t end = engine.n;
    publish(22, true, true);
    publish(23, true, false);
    CHECK(turns_until(loop, connected, &broken)); /* by then it waits */
    questions = engine.questions;
    answer(end);
    engine.slow = false;
    CHECK(turns_until(loop, equal, NULL));
    /* More where the machine had no time and a question was asked to make sure. */
    CHECK(engine.questions > questions);
    CHECK_EQ_U64(stats().resets, 0);
    CHECK(stats().gaps >= 2);
    close_feed();
}

/* A new process, not seen as such, has told a batch while the old one's answer was under way: what
 * the old one held is not believed. The number alone would not tell. */
static void case_anew_while_asked(void) {
    open_feed(true);
    CHECK(turns_until(loop, equal, NULL));
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    engine.slow = true;
    unsigned questions = engine.questions;
    uint64_t broken = stats().broken;
    publish(20, true, true);
    publish(21, true, false);
    CHECK(turns_until(loop, asked_again, &questions));
    answer(engine.n);
    restart();
    engine.clock -= 100; /* its clock is behind, too */
    for (unsigned i = 0; i < 3; i++)
        publish(30 + i, true, i < 2);
    CHECK(turns_until(loop, connected, &broken));
    engine.slow = false;
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 1);
    close_feed();
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

static bool probed;
static void on_probe(void *arg, const struct weir_span *frames, size_t n) {
    (void)arg;
    (void)frames;
    probed = n == 3;
}
static void on_probe_joined(void *arg) {
    (void)arg;
}

static bool probe_arrives(void *arg) {
    char room[8];
    struct weir_span frames[] = {WEIR_SPAN_LIT("probe"), number(0, room), batch(0)};
    (void)arg;
    CHECK(weir_zmq_pub_send(engine.pub, frames, 3) == WEIR_OK);
    return probed;
}

static bool listens(void *arg) {
    struct weir_engine_source *source = arg;
    static const struct weir_engine_feed_ops ops = {on_event, on_reset, on_batch};
    struct weir_err err = {.text = ""};
    return weir_engine_feed_open(loop, binds, source, &ops, NULL, &feed, &err) == WEIR_OK;
}

/* The same of an engine that connects to us: the next number of the old one, from a new connection.
 */
static void case_same_number_connects_out(void) {
    char events[64], to[64], question[64];
    struct weir_engine_bind *probe;
    struct weir_err err = {.text = ""};
    memset(&engine, 0, sizeof(engine));
    engine.form = &forms[form_at];
    memset(told, 0, sizeof(told));
    CHECK(weir_zmq_pub_open("127.0.0.1", 0, 0, &engine.pub, &err) == WEIR_OK);
    port = weir_zmq_pub_port(engine.pub);
    weir_zmq_pub_close(engine.pub);
    CHECK(weir_zmq_router_open(loop, "127.0.0.1", 0, on_question, NULL, &engine.router, &err) ==
          WEIR_OK);
    snprintf(events, sizeof(events), "tcp://*:%u", port);
    snprintf(to, sizeof(to), "tcp://127.0.0.1:%u", port);
    snprintf(question, sizeof(question), "tcp://127.0.0.1:%u", weir_zmq_sub_port(engine.router));
    struct weir_engine_source source = {.events = weir_span_z(events),
                                        .replay = weir_span_z(question),
                                        .topic = WEIR_SPAN_LIT("kv@x")};
    CHECK_MSG(turns_until(loop, listens, &source), "port %u is not free again", port);
    CHECK(weir_engine_bind_join(binds, events, WEIR_SPAN_LIT("probe"), 0, on_probe, on_probe_joined,
                                NULL, &probe, &err) == WEIR_OK);
    CHECK(weir_zmq_pub_connect(to, 0, &engine.pub, &err) == WEIR_OK);
    CHECK(turns_until(loop, one_live, NULL));
    CHECK(turns_until(loop, equal, NULL));
    uint64_t n = engine.n;
    weir_zmq_pub_close(engine.pub);
    restart();
    for (uint64_t i = 0; i < n; i++)
        publish((unsigned)(40 + i % 8), true, true);
    probed = false;
    CHECK(weir_zmq_pub_connect(to, 0, &engine.pub, &err) == WEIR_OK);
    CHECK(turns_until(loop, probe_arrives, NULL));
    publish(30, true, false);
    CHECK(turns_until(loop, equal, NULL));
    CHECK_EQ_U64(stats().resets, 1);
    weir_engine_bind_leave(probe);
    close_feed();
}

int main(void) {
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    CHECK(weir_engine_binds_create(loop, &binds) == WEIR_OK);
    weir_buf_init(&out, 1 << 20);
    CHECK_RUN(case_recorded_forms);
    CHECK_RUN(case_every_form);
    CHECK_RUN(case_too_late);
    CHECK_RUN(case_no_replay);
    CHECK_RUN(case_paused);
    CHECK_RUN(case_paused_without_replay);
    CHECK_RUN(case_broken_batch);
    CHECK_RUN(case_broken_and_quiet);
    CHECK_RUN(case_clock_goes_back);
    CHECK_RUN(case_lost_while_asked);
    CHECK_RUN(case_anew_while_asked);
    CHECK_RUN(case_same_number);
    CHECK_RUN(case_same_number_connects_out);
    weir_engine_binds_destroy(binds);
    weir_buf_fini(&out);
    weir_loop_destroy(loop);
    weir_zmq_shutdown();
    return check_finish();
}
