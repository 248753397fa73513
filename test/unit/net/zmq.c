/* PUB and SUB: round trip, bursts, topics, a late subscriber, a publisher that comes back. Each
 * case runs twice: with the subscriber of our own, and with that of libzmq, which names are for.
 * The publisher is libzmq's. */
#include "net/zmq.h"
#include "base/mem.h"
#include "test/check.h"

#include <zmq.h>

enum { BURST = 10000, TRICKLE = 1000 };

static const char *host = "127.0.0.1";

struct bed {
    struct weir_loop *loop;
    struct weir_zmq_pub *pub;
    struct weir_zmq_sub *sub, *late;
    struct weir_timer tick, guard;
    char endpoint[64];
    uint32_t next, got, goal, late_first, late_next;
    unsigned joined; /* connections told of; since the restart */
    bool sub_up, late_up, wrong, timed_out;
    void *foreign;
};

static void on_guard(void *arg) {
    struct bed *b = arg;
    b->timed_out = true;
    weir_loop_stop(b->loop);
}

static void bed_init(struct bed *b) {
    struct weir_err err = {0};
    *b = (struct bed){.goal = BURST};
    CHECK(weir_loop_create(0, &b->loop) == WEIR_OK);
    CHECK_MSG(weir_zmq_pub_open("127.0.0.1", 0, 0, &b->pub, &err) == WEIR_OK, "%s", err.text);
    CHECK(weir_zmq_pub_port(b->pub) != 0);
    snprintf(b->endpoint, sizeof(b->endpoint), "tcp://%s:%u", host, weir_zmq_pub_port(b->pub));
    weir_timer_init(&b->guard, b->loop, on_guard, b);
    CHECK(weir_timer_start(&b->guard, 60000) == WEIR_OK);
}

static void bed_fini(struct bed *b) {
    weir_timer_stop(&b->tick);
    weir_timer_stop(&b->guard);
    weir_zmq_sub_close(b->sub);
    weir_zmq_sub_close(b->late);
    weir_zmq_pub_close(b->pub);
    weir_loop_destroy(b->loop);
    weir_zmq_shutdown();
}

static enum weir_status publish(struct bed *b, const char *topic, uint32_t number) {
    char body[64] = {0};
    memcpy(body, &number, sizeof(number));
    struct weir_span frames[3] = {weir_span_z(topic), weir_span(body, sizeof(body)),
                                  weir_span(NULL, 0)};
    return weir_zmq_pub_send(b->pub, frames, 3);
}

static bool parse(const struct weir_span *frames, size_t n, const char *topic, uint32_t *ret) {
    if (n != 3 || !weir_span_eqz(frames[0], topic) || frames[1].len != 64 || frames[2].len != 0)
        return false;
    memcpy(ret, frames[1].data, sizeof(*ret));
    return true;
}

static void on_message(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    uint32_t number = 0;
    if (!parse(frames, n, "events", &number)) {
        b->wrong = true;
        return;
    }
    if (number == UINT32_MAX) {
        b->sub_up = true;
        return;
    }
    b->wrong |= number != b->got;
    b->got = number + 1;
    if (b->got == b->goal)
        weir_loop_stop(b->loop);
}

/* Until the subscription has arrived, messages go nowhere: announce until one is heard. */
static void on_announce(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, 1) == WEIR_OK);
    if (!b->sub_up) {
        CHECK(publish(b, "other", 7) == WEIR_OK);
        CHECK(publish(b, "events", UINT32_MAX) == WEIR_OK);
        return;
    }
    weir_timer_stop(&b->tick);
    for (uint32_t i = 0; i < BURST; i++)
        CHECK(publish(b, "events", i) == WEIR_OK);
}

static void case_a_burst_arrives_whole_and_in_order(void) {
    struct bed b;
    bed_init(&b);
    struct weir_err err = {0};
    CHECK_MSG(weir_zmq_sub_open(b.loop, b.endpoint, WEIR_SPAN_LIT("events"), on_message, &b, &b.sub,
                                &err) == WEIR_OK,
              "%s", err.text);
    weir_timer_init(&b.tick, b.loop, on_announce, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK(!b.wrong);
    CHECK_EQ_U64(b.got, BURST);
    bed_fini(&b);
}

/* A trickle: one message at a time, each sent only after the one before was seen. A lost edge of
 * the descriptor would stop it. */
static void on_trickle(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, b->sub_up ? 0 : 1) == WEIR_OK);
    if (!b->sub_up)
        CHECK(publish(b, "events", UINT32_MAX) == WEIR_OK);
    else if (b->next == b->got && b->next < b->goal)
        CHECK(publish(b, "events", b->next++) == WEIR_OK);
}

static void case_a_trickle_never_stops(void) {
    struct bed b;
    bed_init(&b);
    b.goal = TRICKLE;
    CHECK(weir_zmq_sub_open(b.loop, b.endpoint, WEIR_SPAN_LIT("events"), on_message, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_timer_init(&b.tick, b.loop, on_trickle, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK(!b.wrong);
    CHECK_EQ_U64(b.got, TRICKLE);
    bed_fini(&b);
}

static void on_late(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    uint32_t number = 0;
    if (!parse(frames, n, "events", &number)) {
        b->wrong = true;
        return;
    }
    if (!b->late_up)
        b->late_first = b->late_next = number;
    b->late_up = true;
    b->wrong |= number != b->late_next++;
    if (number >= b->late_first + 100) {
        weir_zmq_sub_close(b->late); /* from inside its own callback */
        b->late = NULL;
        weir_loop_stop(b->loop);
    }
}

static void on_count(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, 1) == WEIR_OK);
    for (int i = 0; i < 10; i++)
        CHECK(publish(b, "events", b->next++) == WEIR_OK);
    if (b->next == 50)
        CHECK(weir_zmq_sub_open(b->loop, b->endpoint, WEIR_SPAN_LIT("events"), on_late, b, &b->late,
                                NULL) == WEIR_OK);
}

static void case_a_late_subscriber_misses_only_the_beginning(void) {
    struct bed b;
    bed_init(&b);
    weir_timer_init(&b.tick, b.loop, on_count, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK(!b.wrong);
    CHECK(b.late_first >= 50);
    CHECK(b.late == NULL);
    bed_fini(&b);
}

static void on_joined(void *arg) {
    struct bed *b = arg;
    b->joined++;
}

/* The publisher dies and another binds the same port: the subscriber finds it by itself. */
static void on_restart(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, 5) == WEIR_OK);
    if (b->pub != NULL && b->sub_up && b->next == 0) {
        uint16_t port = weir_zmq_pub_port(b->pub);
        weir_zmq_pub_close(b->pub);
        b->pub = NULL;
        struct weir_err err = {0};
        if (weir_zmq_pub_open("127.0.0.1", port, 0, &b->pub, &err) != WEIR_OK)
            return; /* the library still lets go of the port: again in 5 ms */
        b->sub_up = false;
        b->joined = 0;
        b->next = 1;
    } else if (b->pub == NULL) {
        uint64_t port = 0;
        CHECK(weir_span_u64(weir_span_z(strrchr(b->endpoint, ':') + 1), &port));
        if (weir_zmq_pub_open("127.0.0.1", (uint16_t)port, 0, &b->pub, NULL) != WEIR_OK)
            return;
        b->sub_up = false;
        b->joined = 0;
        b->next = 1;
    } else if (b->next == 1 && b->sub_up && b->joined > 0) {
        weir_loop_stop(b->loop);
    } else {
        CHECK(publish(b, "events", UINT32_MAX) == WEIR_OK);
    }
}

static void case_a_subscriber_finds_a_restarted_publisher(void) {
    struct bed b;
    bed_init(&b);
    CHECK(weir_zmq_sub_open(b.loop, b.endpoint, WEIR_SPAN_LIT("events"), on_message, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_zmq_sub_on_joined(b.sub, on_joined);
    weir_timer_init(&b.tick, b.loop, on_restart, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out);
    CHECK(!b.wrong);
    bed_fini(&b);
}

/* Told of its connection, the owner closes. */
static void on_joined_close(void *arg) {
    struct bed *b = arg;
    weir_zmq_sub_close(b->sub);
    b->sub = NULL;
    b->joined++;
    weir_loop_stop(b->loop);
}

static void case_closed_when_told_of_the_connection(void) {
    struct bed b;
    bed_init(&b);
    CHECK(weir_zmq_sub_open(b.loop, b.endpoint, WEIR_SPAN_LIT("events"), on_message, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_zmq_sub_on_joined(b.sub, on_joined_close);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out && b.joined == 1);
    bed_fini(&b);
}

/* A publisher of another make: messages of one and of nine frames, the latter over our bound. */
static void on_count_frames(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    b->wrong |= n != 1 && n != WEIR_ZMQ_MAX_FRAMES;
    b->wrong |= !weir_span_eqz(frames[n - 1], "last");
    b->got += n == 1;
    b->late_next += n == WEIR_ZMQ_MAX_FRAMES;
    if (b->got >= 100)
        weir_loop_stop(b->loop);
}

static void on_foreign(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, 1) == WEIR_OK);
    for (int n = 1; n <= 9; n += n == 1 ? 7 : 1)
        for (int i = 0; i < n; i++) {
            const char *text = i + 1 < n ? "more" : "last";
            CHECK(zmq_send(b->foreign, text, 4, i + 1 < n ? ZMQ_SNDMORE : 0) == 4);
        }
}

static void case_messages_of_too_many_frames_are_dropped(void) {
    struct bed b;
    bed_init(&b);
    void *context = zmq_ctx_new();
    b.foreign = zmq_socket(context, ZMQ_PUB);
    CHECK(zmq_bind(b.foreign, "tcp://127.0.0.1:*") == 0);
    char endpoint[128];
    size_t len = sizeof(endpoint);
    CHECK(zmq_getsockopt(b.foreign, ZMQ_LAST_ENDPOINT, endpoint, &len) == 0);
    CHECK(weir_zmq_sub_open(b.loop, endpoint, WEIR_SPAN_LIT(""), on_count_frames, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_timer_init(&b.tick, b.loop, on_foreign, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out && !b.wrong);
    CHECK(b.late_next >= 99); /* eight frames are within the bound */
    zmq_close(b.foreign);
    zmq_ctx_term(context);
    bed_fini(&b);
}

static void case_bad_arguments_are_errors(void) {
    struct bed b;
    bed_init(&b);
    struct weir_err err = {0};
    struct weir_zmq_pub *pub = NULL;
    struct weir_zmq_sub *sub = NULL;
    CHECK(weir_zmq_pub_open("127.0.0.1", weir_zmq_pub_port(b.pub), 0, &pub, &err) == WEIR_EXISTS);
    CHECK(strstr(err.text, "in use") != NULL);
    CHECK(weir_zmq_pub_open("nonsense", 1, 0, &pub, &err) != WEIR_OK);
    CHECK(weir_zmq_sub_open(b.loop, "nonsense", WEIR_SPAN_LIT(""), on_message, &b, &sub, &err) ==
          WEIR_INVALID);
    CHECK(strstr(err.text, "nonsense") != NULL);
    CHECK(pub == NULL && sub == NULL);
    struct weir_span nine[9] = {{0}};
    CHECK(weir_zmq_pub_send(b.pub, nine, 9) == WEIR_INVALID);
    CHECK(weir_zmq_pub_send(b.pub, nine, 0) == WEIR_INVALID);
    bed_fini(&b);
}

/* A message far beyond what one read brings, and one that is empty. */
static void on_large(void *arg, const struct weir_span *frames, size_t n) {
    struct bed *b = arg;
    if (n == 2 && frames[1].len == 0) {
        b->sub_up = true;
    } else {
        b->wrong |= n != 2 || frames[1].len != b->goal;
        for (size_t i = 0; !b->wrong && i < frames[1].len; i++)
            b->wrong = frames[1].data[i] != (char)(i * 7);
        weir_loop_stop(b->loop);
    }
}

static void on_send_large(void *arg) {
    struct bed *b = arg;
    struct weir_span frames[2] = {WEIR_SPAN_LIT("events"), weir_span(NULL, 0)};
    CHECK(weir_timer_start(&b->tick, 1) == WEIR_OK);
    if (b->next == 1)
        return;
    char *bytes = b->sub_up ? weir_malloc(b->goal) : NULL;
    for (size_t i = 0; b->sub_up && i < b->goal; i++)
        bytes[i] = (char)(i * 7);
    if (b->sub_up)
        frames[1] = weir_span(bytes, b->goal);
    b->next = b->sub_up;
    CHECK(weir_zmq_pub_send(b->pub, frames, 2) == WEIR_OK);
    weir_free(bytes);
}

static void case_a_large_message_arrives_whole(void) {
    struct bed b;
    bed_init(&b);
    b.goal = 20 << 20;
    CHECK(weir_zmq_sub_open(b.loop, b.endpoint, WEIR_SPAN_LIT("events"), on_large, &b, &b.sub,
                            NULL) == WEIR_OK);
    weir_timer_init(&b.tick, b.loop, on_send_large, &b);
    CHECK(weir_timer_start(&b.tick, 0) == WEIR_OK);
    weir_loop_run(b.loop);
    CHECK(!b.timed_out && !b.wrong);
    bed_fini(&b);
}

int main(void) {
    for (int i = 0; i < 2; i++) {
        host = i == 0 ? "127.0.0.1" : "localhost";
        CHECK_RUN(case_a_burst_arrives_whole_and_in_order);
        CHECK_RUN(case_a_trickle_never_stops);
        CHECK_RUN(case_a_late_subscriber_misses_only_the_beginning);
        CHECK_RUN(case_a_subscriber_finds_a_restarted_publisher);
        CHECK_RUN(case_closed_when_told_of_the_connection);
        CHECK_RUN(case_a_large_message_arrives_whole);
    }
    CHECK_RUN(case_messages_of_too_many_frames_are_dropped);
    CHECK_RUN(case_bad_arguments_are_errors);
    return check_finish();
}
