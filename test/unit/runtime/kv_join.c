/*
 * What a worker publishes while no subscription of ours is in force, and nothing behind it: a real
 * PUB socket behind a proxy that holds our subscription back, or cuts the connection.
 */
#include "base/mem.h"
#include "net/stream.h"
#include "net/zmq.h"
#include "runtime/kv_cursor.h"
#include "runtime/kv_follow.h"
#include "runtime/plane_server.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"
#include "wire/kv_query.h"

enum { MAX_EVENTS = 4096, WORKER = 100, PUBLISHER = 77 };

static struct weir_loop *loop;

/* ---- the proxy ----------------------------------------------------------------------------- */

struct proxy {
    struct weir_listener *listener;
    uint16_t to;
    struct weir_stream *subscriber, *publisher; /* NULL: gone */
    struct weir_buf kept;                       /* of the subscriber, while shut */
    bool shut;
    unsigned visits;
};

static struct proxy proxy;

static void on_subscriber_says(void *arg, struct weir_span bytes) {
    struct proxy *p = arg;
    if (p->shut)
        CHECK(weir_buf_append_span(&p->kept, bytes) == WEIR_OK);
    else if (p->publisher != NULL)
        CHECK(weir_stream_write(p->publisher, bytes.data, bytes.len) == WEIR_OK);
}

static void on_publisher_says(void *arg, struct weir_span bytes) {
    struct proxy *p = arg;
    if (p->subscriber != NULL)
        CHECK(weir_stream_write(p->subscriber, bytes.data, bytes.len) == WEIR_OK);
}

static void on_subscriber_gone(void *arg, enum weir_status status, const char *reason) {
    struct proxy *p = arg;
    (void)status;
    (void)reason;
    p->subscriber = NULL;
    if (p->publisher != NULL)
        weir_stream_close(p->publisher, WEIR_OK, "test");
}

static void on_publisher_gone(void *arg, enum weir_status status, const char *reason) {
    struct proxy *p = arg;
    (void)status;
    (void)reason;
    p->publisher = NULL;
}

static void on_visit(void *arg, struct weir_stream *s) {
    static const struct weir_stream_ops down = {.on_read = on_subscriber_says,
                                                .on_close = on_subscriber_gone};
    static const struct weir_stream_ops up = {.on_read = on_publisher_says,
                                              .on_close = on_publisher_gone};
    static const struct weir_stream_limits limits = {0};
    struct proxy *p = arg;
    CHECK(p->subscriber == NULL && p->publisher == NULL);
    p->subscriber = s;
    weir_stream_adopt(s, &down, p);
    weir_buf_clear(&p->kept);
    CHECK(weir_stream_connect(loop, "127.0.0.1", p->to, NULL, NULL, &limits, &up, p,
                              &p->publisher) == WEIR_OK);
    p->visits++;
}

static void let_through(struct proxy *p) {
    p->shut = false;
    CHECK(weir_stream_write(p->publisher, p->kept.data, p->kept.len) == WEIR_OK);
    weir_buf_clear(&p->kept);
}

static bool visited_again(void *arg) {
    (void)arg;
    return proxy.visits == 2 && proxy.kept.len > 0;
}

/* ---- the worker: its block n is stored by its event n ---------------------------------------- */

static struct {
    struct weir_zmq_pub *pub;
    uint64_t newest, sequence;
    unsigned dumps, slices;
    bool deaf; /* to questions after the first */
} worker;

static void fill(uint64_t id, struct weir_kv_block *block, struct weir_kv_event *e) {
    *block = (struct weir_kv_block){id, id};
    *e = (struct weir_kv_event){.worker_id = WORKER,
                                .event_id = id,
                                .kind = WEIR_KV_STORED,
                                .blocks = block,
                                .n_blocks = 1};
}

static void put_u64(char out[8], uint64_t v) {
    for (int i = 0; i < 8; i++)
        out[i] = (char)(v >> (56 - 8 * i));
}

static void publish(void) {
    struct weir_kv_block block;
    struct weir_kv_event e;
    struct weir_buf list, frame;
    char id[8], sequence[8];
    fill(++worker.newest, &block, &e);
    weir_buf_init(&list, 1 << 16);
    weir_buf_init(&frame, 1 << 16);
    CHECK(weir_kv_events_encode(&e, 1, &list) == WEIR_OK);
    const struct weir_envelope env = {.topic = WEIR_SPAN_LIT("kv-events"),
                                      .publisher_id = PUBLISHER,
                                      .sequence = worker.sequence,
                                      .payload = weir_buf_span(&list)};
    CHECK(weir_zmq_frame_encode(&env, &frame) == WEIR_OK);
    put_u64(id, PUBLISHER);
    put_u64(sequence, worker.sequence++);
    const struct weir_span frames[] = {env.topic, weir_span(id, 8), weir_span(sequence, 8),
                                       weir_buf_span(&frame)};
    CHECK(weir_zmq_pub_send(worker.pub, frames, 4) == WEIR_OK);
    weir_buf_fini(&list);
    weir_buf_fini(&frame);
}

/* As a real worker: from an id that it has, that and what follows; without one, the whole cache. */
static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    static struct weir_kv_event events[MAX_EVENTS];
    static struct weir_kv_block blocks[MAX_EVENTS];
    enum weir_codec codec;
    struct weir_kv_query q;
    struct weir_buf list, out;
    size_t n = 0;
    (void)arg;
    (void)req;
    struct weir_span body = weir_plane_request_body(r, &codec);
    CHECK(weir_kv_query_decode(body, codec, &q) == WEIR_OK);
    struct weir_kv_answer a = {.kind = WEIR_KV_TREE_DUMP, .last_event_id = worker.newest};
    weir_plane_reply_prologue(r, NULL);
    if (worker.deaf && worker.dumps > 0) {
        weir_plane_reply_abort(r);
        return;
    }
    if (q.has_start)
        a.kind = q.start_event_id > worker.newest ? WEIR_KV_TOO_NEW : WEIR_KV_EVENTS;
    weir_buf_init(&list, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    CHECK(worker.newest < MAX_EVENTS);
    for (uint64_t id = q.has_start ? q.start_event_id : 1; id <= worker.newest; id++, n++)
        fill(id, &blocks[n], &events[n]);
    worker.dumps += a.kind == WEIR_KV_TREE_DUMP;
    worker.slices += a.kind == WEIR_KV_EVENTS;
    CHECK(weir_kv_events_encode(events, n, &list) == WEIR_OK);
    a.events = weir_buf_span(&list);
    CHECK(weir_kv_answer_encode(&a, codec, &out) == WEIR_OK);
    weir_plane_reply_raw(r, weir_buf_span(&out));
    weir_plane_reply_end(r);
    weir_buf_fini(&list);
    weir_buf_fini(&out);
}

static void on_nothing(void *arg, struct weir_plane_request *r) {
    (void)arg;
    (void)r;
}

static const struct weir_plane_handler handler = {on_request, on_nothing, on_nothing};

/* ---- what is followed ------------------------------------------------------------------------ */

static bool held[MAX_EVENTS];
static unsigned n_held;

static bool on_event(void *arg, const struct weir_kv_event *e) {
    (void)arg;
    for (size_t i = 0; i < e->n_blocks; i++) {
        n_held += !held[e->blocks[i].block_hash];
        held[e->blocks[i].block_hash] = true;
    }
    return true;
}

static void on_reset(void *arg, uint64_t worker_id, uint32_t dp_rank) {
    (void)arg;
    CHECK(worker_id == WORKER && dp_rank == 0);
    memset(held, 0, sizeof(held));
    n_held = 0;
}

static bool all_held(void *arg) {
    (void)arg;
    return n_held == worker.newest;
}

static struct {
    struct weir_discovery *disc;
    struct weir_plane_server *server;
    struct weir_plane_client *client;
    struct weir_kv_follow *follow;
} bed;

static void announce(const char *path) {
    char endpoint[64];
    struct weir_buf address;
    struct weir_err err = {.text = ""};
    weir_buf_init(&address, 256);
    CHECK(weir_plane_server_address(bed.server, path, &address) == WEIR_OK);
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", weir_listener_port(proxy.listener));
    struct weir_record record = {
        .kind = WEIR_RECORD_EVENT_CHANNEL,
        .endpoint = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("e")},
        .instance_id = PUBLISHER,
        .topic = WEIR_SPAN_LIT("kv-events"),
        .zmq_endpoint = weir_span_z(endpoint)};
    CHECK_MSG(weir_discovery_publish(bed.disc, &record, &err) == WEIR_OK, "%s", err.text);
    record.kind = WEIR_RECORD_EVENT_SOURCE;
    record.zmq_endpoint = weir_span(NULL, 0);
    record.worker_id = record.recovery_instance_id = WORKER;
    record.recovery_endpoint = WEIR_SPAN_LIT("ask");
    record.recovery_address = weir_buf_span(&address);
    record.recovery_codec = WEIR_CODEC_MSGPACK;
    CHECK_MSG(weir_discovery_publish(bed.disc, &record, &err) == WEIR_OK, "%s", err.text);
    weir_buf_fini(&address);
}

static void on_end(void *arg) {
    (void)arg;
}

static void open_bed(void) {
    static const struct weir_kv_follow_ops ops = {NULL, on_event, on_end, on_reset};
    const struct weir_discovery_config dc = {.backend = WEIR_DISCOVERY_MEM};
    const struct weir_plane_server_config sc = {.ip = "127.0.0.1"};
    const struct weir_plane_client_config cc = {.response_ip = "127.0.0.1"};
    const struct weir_listen_config lc = {.ip = "127.0.0.1"};
    struct weir_err err = {.text = ""};
    memset(&worker, 0, sizeof(worker));
    memset(&proxy, 0, sizeof(proxy));
    memset(held, 0, sizeof(held));
    n_held = 0;
    CHECK(weir_zmq_pub_open("127.0.0.1", 0, 0, &worker.pub, &err) == WEIR_OK);
    proxy.to = weir_zmq_pub_port(worker.pub);
    proxy.shut = true;
    weir_buf_init(&proxy.kept, 4096);
    CHECK(weir_listen(loop, &lc, on_visit, &proxy, &proxy.listener, &err) == WEIR_OK);
    CHECK(weir_discovery_open(loop, &dc, &bed.disc, &err) == WEIR_OK);
    CHECK(weir_plane_server_create(loop, &sc, &bed.server, &err) == WEIR_OK);
    CHECK(weir_plane_client_create(loop, &cc, &bed.client, &err) == WEIR_OK);
    CHECK(weir_plane_server_register_raw(bed.server, "64/n/c/ask", &handler, NULL) == WEIR_OK);
    CHECK(weir_kv_follow_open(loop, bed.disc, NULL, bed.client, &ops, NULL, &bed.follow, &err) ==
          WEIR_OK);
    announce("64/n/c/ask");
}

static struct weir_kv_follow_stats stats(void) {
    struct weir_kv_follow_stats s;
    weir_kv_follow_stats(bed.follow, &s);
    return s;
}

static void close_bed(void) {
    weir_discovery_close(bed.disc);
    weir_kv_follow_close(bed.follow);
    weir_plane_client_destroy(bed.client);
    weir_plane_server_destroy(bed.server);
    weir_listener_close(proxy.listener);
    turns_flush(loop);
    CHECK(proxy.subscriber == NULL && proxy.publisher == NULL);
    weir_buf_fini(&proxy.kept);
    weir_zmq_pub_close(worker.pub);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static bool connected_and_live(void *arg) {
    (void)arg;
    return proxy.visits == 1 && proxy.kept.len > 0 && proxy.publisher != NULL && stats().live == 1;
}

static bool heard_live(void *arg) {
    (void)arg;
    if (all_held(NULL))
        return true;
    publish();
    return false;
}

static void case_between_the_dump_and_the_subscription(void) {
    open_bed();
    CHECK(turns_until(loop, connected_and_live, NULL));
    for (int i = 0; i < 5; i++)
        publish(); /* to nobody */
    let_through(&proxy);
    CHECK_MSG(turns_until(loop, all_held, NULL), "%u of 5 events", n_held);
    CHECK(worker.newest == 5 && stats().failures == 0);
    close_bed();
}

static void case_while_the_connection_was_away(void) {
    open_bed();
    CHECK(turns_until(loop, connected_and_live, NULL));
    let_through(&proxy);
    publish();
    CHECK(turns_until(loop, heard_live, NULL));
    proxy.shut = true;
    weir_stream_close(proxy.subscriber, WEIR_OK, "test");
    CHECK(turns_until(loop, visited_again, NULL));
    uint64_t looks = stats().looks;
    for (int i = 0; i < 5; i++)
        publish();
    let_through(&proxy);
    CHECK_MSG(turns_until(loop, all_held, NULL), "%u of %u events", n_held,
              (unsigned)worker.newest);
    CHECK(stats().looks > looks && worker.slices > 0);
    close_bed();
}

/* A worker that stops answering: what is known stays. */
static bool looked_and_failed(void *arg) {
    (void)arg;
    return stats().failures >= 2;
}

static void case_no_answer_to_a_look(void) {
    open_bed();
    publish();
    worker.deaf = true;
    CHECK(turns_until(loop, connected_and_live, NULL));
    let_through(&proxy);
    CHECK(turns_until(loop, looked_and_failed, NULL));
    CHECK(n_held == 1 && stats().live == 1 && stats().given_up == 0);
    worker.deaf = false;
    CHECK(turns_until(loop, heard_live, NULL));
    close_bed();
}

/* ---- when looks are taken ---------------------------------------------------------------------
 */

enum what { JOINED, HEARD, LOOKED, FAILED, GAP, ANSWERED, NOTHING };

static void case_looks_by_the_table(void) {
    static const struct {
        uint64_t at;
        enum what what;
        bool look;        /* one is due then */
        uint64_t wait_ms; /* until the next */
    } steps[] = {
        {0, NOTHING, false, UINT64_MAX},   /* restoring, not connected */
        {10, JOINED, false, UINT64_MAX},   /* the dump is still to come */
        {30, ANSWERED, false, 30},         /* 50 ms after the connection */
        {59, NOTHING, false, 1},           /* */
        {60, NOTHING, true, 0},            /* first look */
        {70, LOOKED, false, 1000},         /* */
        {1070, NOTHING, true, 0},          /* second */
        {1080, LOOKED, false, 5000},       /* */
        {6080, NOTHING, true, 0},          /* third */
        {6090, LOOKED, false, UINT64_MAX}, /* and last */
        {9000, JOINED, false, 50},         /* a new connection */
        {9010, HEARD, false, 40},          /* the first look is taken all the same */
        {9050, NOTHING, true, 0},          /* */
        {9060, LOOKED, false, UINT64_MAX}, /* but no other */
        {20000, JOINED, false, 50},        /* */
        {20050, FAILED, false, 200},       /* */
        {20250, FAILED, false, 400},       /* */
        {20650, LOOKED, false, 1000},      /* */
        {20700, HEARD, false, UINT64_MAX}, /* */
        {30000, JOINED, false, 50},        /* */
        {30010, GAP, false, UINT64_MAX},   /* a gap is asked for first */
        {30100, ANSWERED, true, 0},        /* then the look */
    };
    struct weir_kv_cursor c;
    bool want = false;
    weir_kv_cursor_reset(&c);
    weir_kv_cursor_joined(&c, 0);
    CHECK(c.looks == 0); /* cold: nothing to look for */
    weir_kv_cursor_restore(&c);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(steps); i++) {
        uint64_t at = steps[i].at, wait_ms = 0;
        if (steps[i].what == JOINED)
            weir_kv_cursor_joined(&c, at);
        else if (steps[i].what == HEARD)
            weir_kv_cursor_heard(&c);
        else if (steps[i].what == LOOKED) {
            weir_kv_cursor_answered(&c, c.last);
            weir_kv_cursor_looked(&c, at);
        } else if (steps[i].what == FAILED)
            CHECK(weir_kv_cursor_look_failed(&c, at));
        else if (steps[i].what == GAP)
            CHECK(weir_kv_cursor_event(&c, c.last + 2, false, &want) == WEIR_STEP_HOLD && want);
        else if (steps[i].what == ANSWERED)
            weir_kv_cursor_answered(&c, c.last + 5);
        CHECK_MSG(weir_kv_cursor_look(&c, at, &wait_ms) == steps[i].look, "step %zu", i);
        CHECK_MSG(wait_ms == steps[i].wait_ms, "step %zu", i);
    }
    /* One that is never answered ends, and nothing is lost by it. */
    uint64_t last = c.last;
    for (unsigned i = 1; i < WEIR_CURSOR_MAX_FAILURES; i++)
        CHECK(weir_kv_cursor_look_failed(&c, 40000));
    CHECK(!weir_kv_cursor_look_failed(&c, 40000));
    CHECK(c.state == WEIR_CURSOR_LIVE && c.last == last && c.looks == 0);
    /* An answer that cannot be applied is one of a dump, or of a gap. */
    weir_kv_cursor_behind(&c, false);
    CHECK(c.state == WEIR_CURSOR_RECOVERING && c.last == last);
    weir_kv_cursor_answered(&c, last + 1);
    weir_kv_cursor_behind(&c, true);
    CHECK(c.state == WEIR_CURSOR_RESTORING && c.last == 0);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_looks_by_the_table);
    CHECK_RUN(case_between_the_dump_and_the_subscription);
    CHECK_RUN(case_while_the_connection_was_away);
    CHECK_RUN(case_no_answer_to_a_look);
    if (check_failed == 0) {
        weir_loop_destroy(loop);
        weir_zmq_shutdown();
    }
    return check_finish();
}
