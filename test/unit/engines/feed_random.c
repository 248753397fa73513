/*
 * A random engine over real sockets: batches of every form that are lost, sent twice, cannot be
 * read or are no batches; processes that start anew, seen and unseen; a replay that has forgotten,
 * answers in three frames or four and says nonsense in between. Whatever happened: once it is
 * quiet, nothing is believed that the engine does not hold, and all of it that can still be known.
 */
#include "runtime/engine_feed.h"

#include "base/mem.h"
#include "base/msgpack.h"
#include "base/rng.h"
#include "net/zmq.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

enum { BLOCKS = 48, LOG = 2048, ROUNDS = 16 };

static struct weir_loop *loop;
static struct weir_engine_binds *binds;
static struct weir_rng rng;

static unsigned dice(unsigned sides) {
    return (unsigned)(weir_rng_u64(&rng) % sides);
}

/* ---- the engine --------------------------------------------------------------------------- */

struct change {
    enum { STORED, REMOVED, CLEARED } what;
    unsigned block;
};

static struct {
    struct weir_zmq_pub *pub;
    struct weir_zmq_sub *router;
    uint16_t port;
    bool old_form; /* replay without topic */
    struct {
        char *payload; /* owned */
        size_t len;
        struct change changes[3];
        unsigned n_changes;
        bool broken;
    } log[LOG];
    uint64_t n, oldest; /* batches of this process; the first that replay still has */
    double clock;
    bool hidden; /* its first batch must arrive */
    bool anew;   /* it is not the first process */
} engine;

static void put_event(struct weir_mpw *w, const struct change *c) {
    static const char *const tags[] = {"BlockStored", "BlockRemoved", "AllBlocksCleared"};
    bool map = dice(2) == 0, stored = c->what == STORED, cleared = c->what == CLEARED;
    if (map) {
        weir_mpw_map(w, stored ? 4 : cleared ? 1 : 2);
        weir_mpw_str_z(w, "type");
    } else {
        weir_mpw_array(w, stored ? 5 : cleared ? 1 : 2);
    }
    weir_mpw_str_z(w, tags[c->what]);
    if (cleared)
        return;
    if (map)
        weir_mpw_str_z(w, "block_hashes");
    weir_mpw_array(w, 1);
    weir_mpw_u64(w, c->block);
    if (!stored)
        return;
    if (map)
        weir_mpw_str_z(w, "token_ids");
    else
        weir_mpw_nil(w);
    weir_mpw_array(w, 1);
    weir_mpw_u64(w, c->block);
    if (map)
        weir_mpw_str_z(w, "block_size");
    weir_mpw_u64(w, 1);
}

static void add_batch(void) {
    struct weir_mpw w;
    struct weir_buf buf;
    CHECK(engine.n < LOG);
    uint64_t seq = engine.n++;
    engine.log[seq].n_changes = 1 + dice(3);
    engine.log[seq].broken = dice(60) == 0;
    weir_buf_init(&buf, 1 << 16);
    weir_mpw_init(&w, &buf);
    bool named = dice(5) == 0;
    if (named)
        weir_mpw_map(&w, 2);
    else
        weir_mpw_array(&w, 3);
    if (named)
        weir_mpw_str_z(&w, "ts");
    weir_mpw_f64(&w, engine.clock += 0.25);
    if (named)
        weir_mpw_str_z(&w, "events");
    weir_mpw_array(&w, engine.log[seq].n_changes);
    for (unsigned i = 0; i < engine.log[seq].n_changes; i++) {
        struct change *c = &engine.log[seq].changes[i];
        unsigned d = dice(20);
        /* What follows a clear in its batch is held, as vLLM sends it. */
        *c = (struct change){.what = d == 0  ? CLEARED
                                     : d < 7 ? REMOVED
                                             : STORED,
                             .block = dice(BLOCKS)};
        put_event(&w, c);
    }
    if (!named)
        weir_mpw_u64(&w, 0);
    CHECK(w.status == WEIR_OK);
    engine.log[seq].len = buf.len - engine.log[seq].broken;
    engine.log[seq].payload = weir_malloc(buf.len);
    CHECK(engine.log[seq].payload != NULL);
    memcpy(engine.log[seq].payload, buf.data, buf.len);
    weir_buf_fini(&buf);
}

/* What a reader knows who read from here on. */
static void known_from(uint64_t first, bool held[BLOCKS]) {
    memset(held, 0, BLOCKS * sizeof(*held));
    for (uint64_t s = first; s < engine.n; s++)
        for (unsigned i = 0; i < engine.log[s].n_changes; i++) {
            const struct change *c = &engine.log[s].changes[i];
            if (c->what == CLEARED)
                memset(held, 0, BLOCKS * sizeof(*held));
            else
                held[c->block] = c->what == STORED;
        }
}

static struct weir_span number(uint64_t seq, char room[8]) {
    for (int i = 0; i < 8; i++)
        room[i] = (char)(seq >> (56 - 8 * i));
    return weir_span(room, 8);
}

static struct weir_span payload_of(uint64_t seq) {
    return weir_span(engine.log[seq].payload, engine.log[seq].len);
}

static void send_live(uint64_t seq) {
    char room[8];
    struct weir_span frames[] = {WEIR_SPAN_LIT("kv@x"), number(seq, room), payload_of(seq),
                                 weir_span("", 0)};
    CHECK(weir_zmq_pub_send(engine.pub, frames, 3) == WEIR_OK);
}

/* Frames that are no batch. */
static void send_nonsense(void) {
    char room[8];
    struct weir_span frames[] = {WEIR_SPAN_LIT("kv@x"), number(dice(LOG), room),
                                 WEIR_SPAN_LIT("\x92"), weir_span("", 0)};
    unsigned kind = dice(3);
    if (kind == 0)
        frames[1].len = 7;
    CHECK(weir_zmq_pub_send(engine.pub, frames, kind == 1 ? 2 : kind == 2 ? 4 : 3) == WEIR_OK);
}

static void on_question(void *arg, const struct weir_span *frames, size_t n) {
    uint64_t start = 0;
    char room[8];
    (void)arg;
    CHECK(n == 3 && frames[1].len == 0 && frames[2].len == 8);
    for (int i = 0; i < 8; i++)
        start = start << 8 | (unsigned char)frames[2].data[i];
    size_t at = engine.old_form ? 2 : 3;
    struct weir_span answer[6] = {frames[0], weir_span("", 0), WEIR_SPAN_LIT("kv@x")};
    for (uint64_t s = start > engine.oldest ? start : engine.oldest; s < engine.n; s++) {
        if (dice(40) == 0) { /* two frames, and a number of seven bytes */
            struct weir_span two[] = {frames[0], number(s, room), payload_of(s)},
                             seven[] = {frames[0], weir_span("", 0), weir_span(room, 7),
                                        payload_of(s)};
            CHECK(weir_zmq_sub_send(engine.router, two, 3) == WEIR_OK);
            CHECK(weir_zmq_sub_send(engine.router, seven, 4) == WEIR_OK);
        }
        answer[at] = number(s, room);
        answer[at + 1] = payload_of(s);
        CHECK(weir_zmq_sub_send(engine.router, answer, at + 2) == WEIR_OK);
    }
    answer[2] = weir_span("", 0);
    answer[at] = number(UINT64_MAX, room);
    answer[at + 1] = weir_span("", 0);
    CHECK(weir_zmq_sub_send(engine.router, answer, at + 2) == WEIR_OK);
}

static bool open_pub(void *arg) {
    struct weir_err err = {.text = ""};
    (void)arg;
    return weir_zmq_pub_open("127.0.0.1", engine.port, 0, &engine.pub, &err) == WEIR_OK;
}

static void forget_log(void) {
    for (uint64_t s = 0; s < engine.n; s++)
        weir_free(engine.log[s].payload);
    engine.n = engine.oldest = 0;
}

/* A new process with an empty cache and numbers from 0. Behind the same connection, which no real
 * one is, only the number of its first batch tells of it. */
static void restart(void) {
    forget_log();
    engine.anew = true;
    engine.clock += 10;
    engine.old_form = dice(2) == 0;
    engine.hidden = dice(2) == 0;
    if (engine.hidden)
        return;
    weir_zmq_pub_close(engine.pub);
    engine.pub = NULL;
    CHECK_MSG(turns_until(loop, open_pub, NULL), "port %u is not free again", engine.port);
}

/* ---- what was told ------------------------------------------------------------------------ */

static bool told[BLOCKS];
static uint64_t told_next;
static uint64_t moved; /* resets that had a cause which nothing counts */
static struct weir_engine_feed *feed;

static void on_event(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    if (e->kind == WEIR_ENGINE_CLEARED) {
        memset(told, 0, sizeof(told));
        return;
    }
    for (size_t i = 0; i < e->n_hashes; i++) { /* removals in a row come as one */
        CHECK(e->hashes[i] < BLOCKS);
        told[e->hashes[i]] = e->kind == WEIR_ENGINE_STORED;
    }
}

static void on_reset(void *arg, const char *why) {
    enum { DOUBT = 2, REASONS = 5 };
    static const char *const reasons[REASONS] = {
        "its events begin anew", "its replay socket does not answer",
        /* The batches of a new process came to the number, and the blocks, of the last. */
        [DOUBT] = "another process answers in its place",
        /* Counted as a gap, a batch. */
        "events are lost", "a batch cannot be read"};
    unsigned i = 0;
    (void)arg;
    while (i < REASONS && strcmp(reasons[i], why) != 0)
        i++;
    CHECK_MSG(i < REASONS, "not a reason that this test knows: %s", why);
    moved += i < DOUBT || (i == DOUBT && engine.anew);
    memset(told, 0, sizeof(told));
    told_next = 0;
}

static void on_batch(void *arg, uint64_t next) {
    (void)arg;
    told_next = next;
}

/* Grows with all that can make the truth untrue for a while. A live message that waits for a replay
 * is no batch yet: a reset or a gap tells of it. */
static uint64_t came(void) {
    struct weir_engine_feed_stats s;
    weir_engine_feed_get_stats(feed, &s);
    return s.batches + s.repeated + s.broken + s.gaps + moved;
}

static bool true_and_whole(void *arg) {
    bool held[BLOCKS], at_least[BLOCKS];
    uint64_t first = engine.oldest;
    (void)arg;
    for (uint64_t s = first; s < engine.n; s++)
        if (engine.log[s].broken)
            first = s + 1;
    known_from(0, held);
    known_from(first, at_least);
    for (unsigned b = 0; b < BLOCKS; b++)
        if ((told[b] && !held[b]) || (at_least[b] && !told[b]))
            return false;
    return told_next == engine.n;
}

static void live_through(unsigned ops) {
    for (unsigned i = 0; i < ops; i++) {
        unsigned d = dice(40);
        bool lost = dice(4) == 0;
        if (d == 0) {
            restart();
        } else if (d == 1) {
            engine.oldest += engine.n > 0 ? dice((unsigned)(engine.n - engine.oldest)) : 0;
        } else if (d == 2) {
            send_nonsense();
        } else if (d == 3 && engine.n > 0) {
            send_live(engine.oldest +
                      dice((unsigned)(engine.n - engine.oldest))); /* an old one once more */
        } else {
            add_batch();
            lost &= !engine.hidden;
            engine.hidden = false;
            for (unsigned n = lost ? 0 : d == 4 ? 2 : 1; n > 0; n--)
                send_live(engine.n - 1);
        }
        if (dice(3) == 0)
            turns_flush(loop);
    }
}

static void case_random(void) {
    static const struct weir_engine_feed_ops ops = {on_event, on_reset, on_batch};
    struct weir_engine_feed_stats s;
    struct weir_err err = {.text = ""};
    char events[64], question[64];
    weir_rng_seed(&rng, check_seed());
    CHECK(open_pub(NULL));
    engine.port = weir_zmq_pub_port(engine.pub);
    CHECK(weir_zmq_router_open(loop, "127.0.0.1", 0, on_question, NULL, &engine.router, &err) ==
          WEIR_OK);
    snprintf(events, sizeof(events), "tcp://127.0.0.1:%u", engine.port);
    snprintf(question, sizeof(question), "tcp://127.0.0.1:%u", weir_zmq_sub_port(engine.router));
    struct weir_engine_source source = {.events = weir_span_z(events),
                                        .replay = weir_span_z(question),
                                        .topic = WEIR_SPAN_LIT("kv@")};
    for (unsigned i = 0; i < 10; i++)
        add_batch();
    CHECK(weir_engine_feed_open(loop, binds, &source, &ops, NULL, &feed, &err) == WEIR_OK);
    for (unsigned round = 0; round < ROUNDS; round++) {
        live_through(1 + dice(40));
        if (dice(3) >
            0) { /* a batch that arrives shows at once what was missed; none, in a second */
            add_batch();
            send_live(engine.n - 1);
            engine.hidden = false;
        }
        weir_engine_feed_get_stats(feed, &s);
        CHECK_MSG(turns_until(loop, true_and_whole, NULL),
                  "round %u: %" PRIu64 " batches, read up to %" PRIu64 "; resets %" PRIu64
                  ", gaps %" PRIu64,
                  round, engine.n, told_next, s.resets, s.gaps);
        uint64_t before = came();
        turns_for(loop,
                  dice(4) == 0 ? 1200 : 1); /* and it stays so, over a question of a quiet second */
        /* A busy machine brings now what was sent before an answer that told all of it: an old or
         * a broken message may begin everything anew, and that has to heal as well. */
        CHECK_MSG(true_and_whole(NULL) ||
                      (came() > before && turns_until(loop, true_and_whole, NULL)),
                  "round %u: not for long", round);
    }
    weir_engine_feed_get_stats(feed, &s);
    CHECK(s.batches > 0 && s.replays > 0);
    weir_engine_feed_close(feed);
    weir_zmq_pub_close(engine.pub);
    weir_zmq_sub_close(engine.router);
    forget_log();
}

int main(void) {
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    CHECK(weir_engine_binds_create(loop, &binds) == WEIR_OK);
    CHECK_RUN(case_random);
    weir_engine_binds_destroy(binds);
    weir_loop_destroy(loop);
    weir_zmq_shutdown();
    return check_finish();
}
