/*
 * The event plane over real ZeroMQ sockets and discovery: delivery, gaps, restarts, sources that
 * come, change and go, and the captured messages of a real worker.
 */
#include "runtime/events.h"

#include "net/zmq.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"
#include "test/unit/wire/vectors.h"

static struct weir_loop *loop;

struct seen {
    unsigned n, present, gone, missed, rests;
    bool unrested; /* the last that was told is an event */
    uint64_t lost, last_sequence, last_publisher, source_worker;
    uint32_t source_rank;
    char payload[64], scope[64], recovery[128];
    unsigned want;
};

static void on_event(void *arg, const struct weir_event_msg *msg) {
    struct seen *s = arg;
    s->n++;
    s->unrested = true;
    s->lost += msg->lost;
    s->last_sequence = msg->sequence;
    s->last_publisher = msg->publisher_id;
    snprintf(s->payload, sizeof(s->payload), "%.*s", WEIR_SPAN_ARG(msg->payload));
    snprintf(s->scope, sizeof(s->scope), "%.*s.%.*s.%.*s", WEIR_SPAN_ARG(msg->scope.ns),
             WEIR_SPAN_ARG(msg->scope.component), WEIR_SPAN_ARG(msg->scope.name));
}

static void on_source(void *arg, const struct weir_record *source, bool present) {
    struct seen *s = arg;
    *(present ? &s->present : &s->gone) += 1;
    s->source_worker = source->worker_id;
    s->source_rank = source->dp_rank;
    snprintf(s->recovery, sizeof(s->recovery), "%.*s", WEIR_SPAN_ARG(source->recovery_address));
}

/* Once behind events, however many came together. */
static void on_rest(void *arg) {
    struct seen *s = arg;
    CHECK(s->unrested);
    s->unrested = false;
    s->rests++;
}

static void on_missed(void *arg, uint64_t publisher_id) {
    struct seen *s = arg;
    s->missed++;
    s->last_publisher = publisher_id;
}

static const struct weir_event_sub_ops ops = {
    .on_event = on_event, .on_rest = on_rest, .on_source = on_source, .on_missed = on_missed};

static bool enough(void *arg) {
    const struct seen *s = arg;
    CHECK(!s->unrested && s->rests <= s->n); /* it comes before anything else */
    return s->n >= s->want;
}

static bool told(void *arg) {
    return ((struct seen *)arg)->present > 0;
}

static struct weir_discovery *open_mem(void) {
    const struct weir_discovery_config config = {.backend = WEIR_DISCOVERY_MEM};
    struct weir_discovery *d = NULL;
    struct weir_err err;
    CHECK(weir_discovery_open(loop, &config, &d, &err) == WEIR_OK);
    return d;
}

static struct weir_event_sub *subscribe(struct weir_discovery *d, const char *topic,
                                        bool require_source, struct seen *s) {
    struct weir_event_sub *sub = NULL;
    struct weir_err err;
    *s = (struct seen){0};
    CHECK(weir_event_sub_open(loop, d, NULL, topic, require_source, &ops, s, &sub, &err) ==
          WEIR_OK);
    return sub;
}

static struct weir_event_pub_config pub_config(const char *topic, bool with_source) {
    return (struct weir_event_pub_config){
        .scope = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("e")},
        .topic = topic,
        .ip = "127.0.0.1",
        .with_source = with_source,
        .worker_id = 7,
        .dp_rank = 3,
        .recovery_endpoint = WEIR_SPAN_LIT("worker_kv_query_source_1"),
        .recovery_address = WEIR_SPAN_LIT("127.0.0.1:1/7/n/c/worker_kv_query_source_1")};
}

static struct weir_event_pub *publish(struct weir_discovery *d, const char *topic,
                                      bool with_source) {
    const struct weir_event_pub_config config = pub_config(topic, with_source);
    struct weir_event_pub *pub = NULL;
    struct weir_err err = {.text = ""};
    CHECK_MSG(weir_event_pub_open(loop, d, &config, &pub, &err) == WEIR_OK, "%s", err.text);
    return pub;
}

/* A SUB socket joins in its own time: sends until the first message comes through. What was sent
 * meanwhile may still be on its way: it comes before one more. */
static struct {
    struct weir_event_pub *pub;
    struct seen *s;
} joining;

static bool joined(void *arg) {
    (void)arg;
    if (joining.s->n > 0)
        return true;
    CHECK(weir_event_pub_send(joining.pub, WEIR_SPAN_LIT("hello")) == WEIR_OK);
    return false;
}

static bool last_hello(void *arg) {
    return strcmp(((struct seen *)arg)->payload, "last hello") == 0;
}

static void join(struct weir_event_pub *pub, struct seen *s) {
    joining.pub = pub;
    joining.s = s;
    s->n = 0;
    CHECK(turns_until(loop, joined, NULL));
    CHECK(weir_event_pub_send(pub, WEIR_SPAN_LIT("last hello")) == WEIR_OK);
    CHECK(turns_until(loop, last_hello, s));
}

static void close_all(struct weir_event_pub *pub, struct weir_discovery *d,
                      struct weir_event_sub *sub) {
    weir_event_pub_close(pub);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    turns_flush(loop);
}

static void case_delivery(void) {
    struct seen s;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "kv_metrics", false, &s);
    struct weir_event_pub *pub = publish(d, "kv_metrics", false);
    join(pub, &s);
    CHECK_EQ_U64(weir_event_sub_sources(sub), 1);
    unsigned before = s.n;
    uint64_t sequence = s.last_sequence;
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "message %u", i);
        CHECK(weir_event_pub_send(pub, weir_span_z(text)) == WEIR_OK);
    }
    s.want = before + 1000;
    CHECK(turns_until(loop, enough, &s));
    CHECK(s.n == before + 1000 && s.lost == 0 && s.last_sequence == sequence + 1000);
    CHECK(strcmp(s.payload, "message 999") == 0 && strcmp(s.scope, "n.c.e") == 0);
    CHECK(s.last_publisher == weir_event_pub_id(pub) && s.last_publisher < 1ull << 53);
    CHECK(s.present == 0);
    close_all(pub, d, sub);
}

/* Another topic of the same process is not heard. */
static void case_topics(void) {
    struct seen s, other;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "kv_metrics", false, &s);
    struct weir_event_sub *sub2 = subscribe(d, "forward-pass-metrics", false, &other);
    struct weir_event_pub *pub = publish(d, "kv_metrics", false);
    join(pub, &s);
    CHECK(other.n == 0 && weir_event_sub_sources(sub2) == 0);
    weir_event_pub_close(pub);
    turns_flush(loop);
    CHECK_EQ_U64(weir_event_sub_sources(sub), 0);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    weir_event_sub_close(sub2);
    turns_flush(loop);
}

/* kv-events: a channel without its source is not followed. */
static void case_source_required(void) {
    struct seen s;
    struct weir_err err;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "kv-events", true, &s);
    struct weir_event_pub *bare = publish(d, "kv-events", false);
    turns_flush(loop);
    CHECK_EQ_U64(weir_event_sub_sources(sub), 0);
    struct weir_event_pub *pub = publish(d, "kv-events", true);
    CHECK(turns_until(loop, told, &s));
    CHECK(weir_event_sub_sources(sub) == 1 && s.source_worker == 7 && s.source_rank == 3);
    CHECK(strcmp(s.recovery, "127.0.0.1:1/7/n/c/worker_kv_query_source_1") == 0);
    join(pub, &s);
    /* The source comes later than the channel, and goes before it. */
    struct weir_record source = {
        .kind = WEIR_RECORD_EVENT_SOURCE,
        .endpoint = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("e")},
        .instance_id = weir_event_pub_id(bare),
        .topic = WEIR_SPAN_LIT("kv-events"),
        .worker_id = 9};
    CHECK(weir_discovery_publish(d, &source, &err) == WEIR_OK);
    CHECK(s.present == 2 && s.source_worker == 9 && weir_event_sub_sources(sub) == 2);
    weir_discovery_unpublish(d, &source);
    CHECK(s.gone == 1 && weir_event_sub_sources(sub) == 1);
    weir_event_pub_close(bare);
    CHECK(s.gone == 1);
    weir_event_pub_close(pub);
    CHECK(s.gone == 2 && s.source_worker == 7 && weir_event_sub_sources(sub) == 0);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    turns_flush(loop);
}

/* ---- gaps: a publisher of plain ZeroMQ, whose sequence we choose --------------------------- */

struct raw_pub {
    struct weir_zmq_pub *socket;
    struct weir_discovery *d;
    struct weir_record channel;
    char endpoint[64];
};

static void open_raw(struct raw_pub *p, struct weir_discovery *d) {
    struct weir_err err;
    p->d = d;
    CHECK(weir_zmq_pub_open("127.0.0.1", 0, 0, &p->socket, &err) == WEIR_OK);
    snprintf(p->endpoint, sizeof(p->endpoint), "tcp://127.0.0.1:%u", weir_zmq_pub_port(p->socket));
    p->channel = (struct weir_record){.kind = WEIR_RECORD_EVENT_CHANNEL,
                                      .endpoint = {WEIR_SPAN_LIT("n"), {NULL, 0}, {NULL, 0}},
                                      .instance_id = 5,
                                      .topic = WEIR_SPAN_LIT("t"),
                                      .zmq_endpoint = weir_span_z(p->endpoint)};
    CHECK(weir_discovery_publish(d, &p->channel, &err) == WEIR_OK);
}

static void send_raw(struct raw_pub *p, const char *topic, uint64_t publisher, uint64_t sequence,
                     size_t n_frames) {
    struct weir_buf frame;
    const struct weir_envelope env = {.topic = weir_span_z(topic),
                                      .publisher_id = publisher,
                                      .sequence = sequence,
                                      .payload = WEIR_SPAN_LIT("x")};
    weir_buf_init(&frame, 4096);
    CHECK(weir_zmq_frame_encode(&env, &frame) == WEIR_OK);
    const struct weir_span frames[] = {weir_span_z(topic), WEIR_SPAN_LIT("12345678"),
                                       WEIR_SPAN_LIT("12345678"), weir_buf_span(&frame)};
    CHECK(weir_zmq_pub_send(p->socket, frames, n_frames) == WEIR_OK);
    weir_buf_fini(&frame);
}

/* As join(), by a publisher 5 that sends 99 until it is heard, then 100. */
static struct {
    struct raw_pub *p;
    const char *topic;
} raw_joining;

static bool raw_joined(void *arg) {
    struct seen *s = arg;
    if (s->n > 0)
        return true;
    send_raw(raw_joining.p, raw_joining.topic, 5, 99, 4);
    return false;
}

static bool sequence_100(void *arg) {
    return ((struct seen *)arg)->last_sequence == 100;
}

static void join_raw(struct raw_pub *p, const char *topic, struct seen *s) {
    raw_joining.p = p;
    raw_joining.topic = topic;
    CHECK(turns_until(loop, raw_joined, s));
    send_raw(p, topic, 5, 100, 4);
    CHECK(turns_until(loop, sequence_100, s));
}

static void expect_lost(struct raw_pub *p, struct seen *s, uint64_t publisher, uint64_t sequence,
                        uint64_t lost) {
    s->lost = 0;
    s->want = s->n + 1;
    send_raw(p, "t", publisher, sequence, 4);
    CHECK(turns_until(loop, enough, s));
    CHECK_MSG(s->lost == lost, "sequence %llu: lost %llu", (unsigned long long)sequence,
              (unsigned long long)s->lost);
}

static void case_gaps(void) {
    struct seen s;
    struct raw_pub p;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "t", false, &s);
    open_raw(&p, d);
    join_raw(&p, "t", &s);
    expect_lost(&p, &s, 5, 101, 0);
    expect_lost(&p, &s, 5, 102, 0);
    expect_lost(&p, &s, 5, 105, 2);
    expect_lost(&p, &s, 5, 106, 0);
    expect_lost(&p, &s, 5, 0, 1); /* back: a restart */
    expect_lost(&p, &s, 5, 1, 0);
    expect_lost(&p, &s, 6, 2, 1); /* another publisher in the same place */
    expect_lost(&p, &s, 6, 3, 0);
    /* What is malformed is dropped: a number of frames, a topic that only begins the same. */
    unsigned before = s.n;
    send_raw(&p, "t", 6, 4, 3);
    send_raw(&p, "tt", 6, 4, 4);
    const struct weir_span junk[] = {WEIR_SPAN_LIT("t"), WEIR_SPAN_LIT("1"), WEIR_SPAN_LIT("2"),
                                     WEIR_SPAN_LIT("\1\0\0\0\1\x80")};
    CHECK(weir_zmq_pub_send(p.socket, junk, 4) == WEIR_OK);
    expect_lost(&p, &s, 6, 4, 0);
    CHECK_EQ_U64(s.n, before + 1);
    /* The publisher moves: its record tells the new place. */
    weir_discovery_unpublish(d, &p.channel);
    CHECK_EQ_U64(weir_event_sub_sources(sub), 0);
    weir_zmq_pub_close(p.socket);
    open_raw(&p, d);
    s.n = 0;
    CHECK(turns_until(loop, raw_joined, &s));
    weir_discovery_unpublish(d, &p.channel);
    weir_zmq_pub_close(p.socket);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    turns_flush(loop);
}

static struct raw_pub *raw_again;
static uint16_t raw_port;
static bool raw_missed(void *arg) {
    /* Once the library has let go of the port. */
    if (raw_again->socket == NULL &&
        weir_zmq_pub_open("127.0.0.1", raw_port, 0, &raw_again->socket, NULL) != WEIR_OK)
        raw_again->socket = NULL;
    return ((struct seen *)arg)->missed > 0;
}

/* Told of without a source and without a message, but not of the first connection. */
static void case_a_connection_that_is_made_again(void) {
    struct seen s;
    struct raw_pub p;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "t", false, &s);
    open_raw(&p, d);
    raw_again = &p;
    join_raw(&p, "t", &s);
    CHECK_EQ_U64(s.missed, 0);
    raw_port = weir_zmq_pub_port(p.socket);
    weir_zmq_pub_close(p.socket);
    p.socket = NULL;
    s.last_publisher = 0;
    CHECK(turns_until(loop, raw_missed, &s));
    CHECK_EQ_U64(s.missed, 1);
    CHECK_EQ_U64(s.last_publisher, 5);
    weir_discovery_unpublish(d, &p.channel);
    weir_zmq_pub_close(p.socket);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    turns_flush(loop);
}

/* ---- messages of a real worker ----------------------------------------------------------------
 */

static struct raw_pub captured_pub;
static unsigned n_captured;

static void replay(const struct vector *v) {
    const struct weir_span frames[] = {WEIR_SPAN_LIT("kv-events"), WEIR_SPAN_LIT("12345678"),
                                       WEIR_SPAN_LIT("12345678"), v->bytes};
    CHECK(weir_zmq_pub_send(captured_pub.socket, frames, 4) == WEIR_OK);
    n_captured++;
}

static void case_captured(void) {
    struct seen s;
    struct weir_err err;
    struct weir_discovery *d = open_mem();
    struct weir_event_sub *sub = subscribe(d, "kv-events", false, &s);
    struct raw_pub *p = &captured_pub;
    p->d = d;
    CHECK(weir_zmq_pub_open("127.0.0.1", 0, 0, &p->socket, &err) == WEIR_OK);
    snprintf(p->endpoint, sizeof(p->endpoint), "tcp://127.0.0.1:%u", weir_zmq_pub_port(p->socket));
    p->channel = (struct weir_record){.kind = WEIR_RECORD_EVENT_CHANNEL,
                                      .endpoint = {WEIR_SPAN_LIT("n"), {NULL, 0}, {NULL, 0}},
                                      .instance_id = 5,
                                      .topic = WEIR_SPAN_LIT("kv-events"),
                                      .zmq_endpoint = weir_span_z(p->endpoint)};
    CHECK(weir_discovery_publish(d, &p->channel, &err) == WEIR_OK);
    join_raw(p, "kv-events", &s);
    unsigned before = s.n;
    n_captured = 0;
    vectors_run("events", replay);
    s.want = before + n_captured;
    CHECK(turns_until(loop, enough, &s));
    CHECK_EQ_U64(s.n, before + n_captured);
    weir_discovery_unpublish(d, &p->channel);
    weir_zmq_pub_close(p->socket);
    weir_discovery_close(d);
    weir_event_sub_close(sub);
    turns_flush(loop);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_delivery);
    CHECK_RUN(case_topics);
    CHECK_RUN(case_source_required);
    CHECK_RUN(case_gaps);
    CHECK_RUN(case_a_connection_that_is_made_again);
    CHECK_RUN(case_captured);
    if (check_failed == 0) {
        weir_loop_destroy(loop);
        weir_zmq_shutdown();
    }
    return check_finish();
}
