/* Streams over TCP: echo with random sizes and closes; coalescing, marks, bounds, stalls, half and
 * lingering closes, one behaviour each. */
#include "net/stream.h"
#include "base/buf.h"
#include "test/check.h"
#include "test/unit/net/echo.h"
#include "test/unit/net/pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static char megabyte[1 << 20];

static void case_echo_comes_back_whole(void) {
    struct echo_result r = echo_run(check_seed(), 300, 1 << 20, NULL, NULL, NULL);
    CHECK(!r.timed_out);
    CHECK_MSG(r.wrong == 0, "%u wrong, first: %s", r.wrong, r.first);
    CHECK_EQ_U64(r.open, 0);
    CHECK_EQ_U64(r.conns, 0);
    CHECK_EQ_U64(r.whole + r.cut, 300);
    CHECK(r.whole > 100 && r.cut > 50 && r.bytes > 1 << 20);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void write_hundred(struct end *e) {
    for (int i = 0; i < 100; i++)
        CHECK(weir_stream_write(e->stream, "0123456789", 10) == WEIR_OK);
    struct weir_buf *out = weir_stream_out(e->stream);
    CHECK(weir_buf_append(out, "end", 3) == WEIR_OK);
    weir_stream_flush_later(e->stream);
    CHECK_EQ_U64(weir_stream_queued(e->stream), 1003);
    weir_stream_shutdown(e->stream);
    CHECK(weir_stream_write(e->stream, "x", 1) == WEIR_DISCONNECTED);
}

static void case_the_writes_of_a_turn_go_out_as_one(void) {
    struct pair p = {.client.on_open = write_hundred};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK_EQ_U64(p.server.got, 1003);
    CHECK_EQ_U64(p.server.reads, 1);
    CHECK_EQ_U64(p.server.eofs, 1);
    CHECK(p.server.status == WEIR_OK && p.client.status == WEIR_OK);
}

static void fill(struct end *e) {
    size_t queued = 0;
    enum weir_status st;
    while ((st = weir_stream_write(e->stream, megabyte, 300000)) == WEIR_OK)
        queued += 300000;
    CHECK(st == WEIR_TOO_LARGE);
    CHECK_EQ_U64(weir_stream_queued(e->stream), queued);
    CHECK(queued <= 4 << 20 && queued > (4 << 20) - 300000);
    CHECK(!weir_stream_writable(e->stream));
    weir_stream_flush(e->stream); /* the socket takes a part: room for as much again */
    size_t room = (4 << 20) - weir_stream_queued(e->stream);
    CHECK(room >= 300000 && weir_stream_queued(e->stream) < queued);
    while (room >= sizeof(megabyte)) {
        CHECK(weir_stream_write(e->stream, megabyte, sizeof(megabyte)) == WEIR_OK);
        room -= sizeof(megabyte);
    }
    CHECK(weir_stream_write(e->stream, megabyte, room) == WEIR_OK);
    CHECK(weir_stream_write(e->stream, "x", 1) == WEIR_TOO_LARGE);
    weir_stream_close(e->stream, WEIR_OK, "had enough");
    CHECK(weir_stream_write(e->stream, "x", 1) == WEIR_DISCONNECTED);
    CHECK_EQ_U64(e->closed, 0); /* never from inside */
}

static uint64_t n_checked;

static char byte_at(uint64_t i) {
    return (char)(i * 0x9E3779B97F4A7C15u >> 56);
}

static void check_bytes(struct end *e, struct weir_span bytes) {
    (void)e;
    for (size_t i = 0; i < bytes.len; i++)
        CHECK(bytes.data[i] == byte_at(n_checked + i));
    n_checked += bytes.len;
}

/* In two pieces, as a head and a body. */
static enum weir_status now(struct end *e, const char *data, size_t len) {
    size_t first = len % 1000;
    return weir_stream_write_now(e->stream, weir_span(data, first),
                                 weir_span(data + first, len - first));
}

/* Little waits for the end of the turn, much does not where nothing waits, and much that follows
 * what waits waits behind it: in this order all of it arrives. */
static void write_now(struct end *e) {
    static char bytes[6 << 20];
    const size_t large = 5 << 20, little = 1000, rest = sizeof(bytes) - large - little;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = byte_at(i);
    CHECK(now(e, bytes, large) == WEIR_OK);
    size_t queued = weir_stream_queued(e->stream);
    CHECK(queued < large); /* an empty socket takes something */
    CHECK(now(e, bytes + large, little) == WEIR_OK);
    CHECK_EQ_U64(weir_stream_queued(e->stream), queued + little);
    CHECK(now(e, bytes + large + little, rest) == WEIR_OK);
    CHECK_EQ_U64(weir_stream_queued(e->stream), queued + little + rest);
    CHECK(now(e, bytes, sizeof(bytes)) == WEIR_TOO_LARGE);
    memset(bytes, 0, sizeof(bytes)); /* ours again */
    weir_stream_shutdown(e->stream);
    CHECK(now(e, bytes, large) == WEIR_DISCONNECTED);
}

static void case_much_goes_out_at_once(void) {
    struct pair p = {.client.on_open = write_now, .server.on_read = check_bytes};
    struct weir_stream_limits limits = {.write_max = 6 << 20};
    n_checked = 0;
    pair_open(&p, NULL, &limits);
    pair_run(&p);
    CHECK_EQ_U64(n_checked, 6 << 20);
    CHECK(p.server.status == WEIR_OK && p.client.status == WEIR_OK);
}

static void stop_reading(struct end *e) {
    weir_stream_read_stop(e->stream);
}

static void case_the_write_queue_is_bounded(void) {
    struct pair p = {.client.on_open = fill};
    struct weir_stream_limits limits = {.write_max = 4 << 20};
    pair_open(&p, NULL, &limits);
    pair_run(&p);
    CHECK(p.client.status == WEIR_OK);
    CHECK(p.server.closed == 1);
}

static void write_to_high(struct end *e) {
    while (weir_stream_writable(e->stream))
        CHECK(weir_stream_write(e->stream, megabyte, 100000) == WEIR_OK);
}

static void refill_or_end(struct end *e) {
    CHECK(weir_stream_queued(e->stream) <= 100000 / 2);
    if (e->drains < 30)
        write_to_high(e);
    else
        weir_stream_shutdown(e->stream);
}

static void case_drain_comes_below_the_low_mark(void) {
    struct pair p = {.client.on_open = write_to_high, .client.on_drain = refill_or_end};
    struct weir_stream_limits limits = {.write_high = 100000};
    pair_open(&p, NULL, &limits);
    pair_run(&p);
    CHECK_EQ_U64(p.client.drains, 30);
    CHECK(p.server.got >= 30 * 100000u);
}

static void write_much(struct end *e) {
    for (int i = 0; i < 32; i++)
        CHECK(weir_stream_write(e->stream, megabyte, sizeof(megabyte)) == WEIR_OK);
}

static void release_server(struct end *e) {
    struct end *server = &e->pair->server;
    weir_stream_read_start(server->stream);
}

static void case_a_peer_that_does_not_read_is_cut_off(void) {
    struct pair p = {.server.on_open = stop_reading,
                     .client.on_open = write_much,
                     .client.on_close = release_server};
    struct weir_stream_limits limits = {.write_stall_ms = 200};
    pair_open(&p, NULL, &limits);
    pair_run(&p);
    CHECK(p.client.status == WEIR_TIMEOUT);
    CHECK_EQ_STR(p.client.reason, strlen(p.client.reason), "the peer does not read");
    CHECK(p.client.closed_ms - p.client.opened_ms >= 200);
    CHECK(p.server.got < 32 << 20);
}

/* ---- reading ------------------------------------------------------------------------------ */

static struct weir_timer start_timer;

static void start_reading(void *arg) {
    struct end *e = arg;
    CHECK_EQ_U64(e->got, 0);
    weir_stream_read_start(e->stream);
}

static void stop_for_a_while(struct end *e) {
    weir_stream_read_stop(e->stream);
    weir_timer_init(&start_timer, e->pair->loop, start_reading, e);
    CHECK(weir_timer_start(&start_timer, 30) == WEIR_OK);
}

static void write_much_and_end(struct end *e) {
    write_much(e);
    weir_stream_shutdown(e->stream);
}

static void case_a_reader_that_stops_holds_the_writer_back(void) {
    struct pair p = {.server.on_open = stop_for_a_while, .client.on_open = write_much_and_end};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK_EQ_U64(p.server.got, 32 << 20);
    CHECK(p.server.status == WEIR_OK);
}

/* ---- ends --------------------------------------------------------------------------------- */

static void ask_and_end(struct end *e) {
    CHECK(weir_stream_write(e->stream, "ask", 3) == WEIR_OK);
    weir_stream_shutdown(e->stream);
}

static void answer_after_eof(struct end *e) {
    CHECK_EQ_U64(e->got, 3);
    CHECK(weir_stream_write(e->stream, "answer", 6) == WEIR_OK);
    weir_stream_close_flushed(e->stream, 10000, "answered");
}

static void case_a_half_closed_stream_still_reads(void) {
    struct pair p = {.client.on_open = ask_and_end, .server.on_eof = answer_after_eof};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK_EQ_STR(p.client.last, strlen(p.client.last), "answer");
    CHECK_EQ_U64(p.client.eofs, 1);
    CHECK(p.server.status == WEIR_OK);
    CHECK_EQ_STR(p.server.reason, strlen(p.server.reason), "answered");
}

static void refuse(struct end *e, struct weir_span bytes) {
    (void)bytes;
    CHECK(weir_stream_write(e->stream, "too large", 9) == WEIR_OK);
    weir_stream_close_flushed(e->stream, 10000, "refused");
    weir_stream_close_flushed(e->stream, 1, "again"); /* no effect */
}

static void take_answer(struct end *e, struct weir_span bytes) {
    (void)bytes;
    CHECK_EQ_STR(e->last, strlen(e->last), "too large");
}

/* The client is in the middle of an upload: closing at once would make the kernel answer it with a
 * reset, and the client would lose the refusal. */
static void case_a_refusal_reaches_a_client_that_is_still_sending(void) {
    for (int i = 0; i < 20; i++) {
        struct pair p = {
            .client.on_open = write_much, .client.on_read = take_answer, .server.on_read = refuse};
        pair_open(&p, NULL, NULL);
        pair_run(&p);
        CHECK_EQ_U64(p.client.got, 9);
        CHECK_EQ_U64(p.client.eofs, 1);
        CHECK_EQ_U64(p.server.reads, 1);
        CHECK(p.server.status == WEIR_OK);
    }
}

static void write_much_and_close(struct end *e) {
    write_much(e);
    weir_stream_close_flushed(e->stream, 50, "late");
}

static void case_a_flushing_close_has_a_deadline(void) {
    struct pair p = {.server.on_open = stop_reading,
                     .client.on_open = write_much_and_close,
                     .client.on_close = release_server};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK(p.client.status == WEIR_TIMEOUT);
    CHECK(p.client.closed_ms - p.client.opened_ms >= 50);
}

static void end_first(struct end *e) {
    weir_stream_shutdown(e->stream);
}

static void close_now(struct end *e) {
    weir_stream_close(e->stream, WEIR_OK, "now");
}

static void close_behind_both_ends(struct end *e) {
    weir_stream_close_flushed(e->stream, 600000, "both have ended");
}

/* (Failed before: it stayed open for the whole time.) */
static void case_a_flushing_close_behind_both_ends_is_at_once(void) {
    struct pair p = {.server.on_open = end_first,
                     .server.on_eof = close_behind_both_ends,
                     .client.on_eof = close_now};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK(!p.timed_out && p.server.status == WEIR_OK);
    CHECK_EQ_STR(p.server.reason, strlen(p.server.reason), "both have ended");
}

static void close_twice(struct end *e) {
    weir_stream_close(e->stream, WEIR_CANCELLED, "first");
    weir_stream_close(e->stream, WEIR_OK, "second");
    weir_stream_close_flushed(e->stream, 1, "third");
    weir_stream_flush(e->stream);
    weir_stream_shutdown(e->stream);
    weir_stream_read_stop(e->stream);
    weir_stream_read_start(e->stream);
    CHECK_EQ_U64(e->closed, 0);
}

static void case_closing_again_changes_nothing(void) {
    struct pair p = {.client.on_open = close_twice};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK(p.client.status == WEIR_CANCELLED && p.client.closed == 1);
    CHECK_EQ_STR(p.client.reason, strlen(p.client.reason), "first");
}

static void case_what_was_queued_before_the_opening_goes_out(void) {
    struct pair p = {0};
    pair_open(&p, NULL, NULL);
    CHECK(weir_stream_write(p.client.stream, "early", 5) == WEIR_OK);
    weir_stream_close_flushed(p.client.stream, 10000, "sent");
    pair_run(&p);
    CHECK_EQ_STR(p.server.last, strlen(p.server.last), "early");
    CHECK_EQ_U64(p.client.opened, 0); /* after close_flushed only on_close is called */
    CHECK(p.client.status == WEIR_OK);
}

static void case_a_peer_that_leaves_is_an_eof(void) {
    struct pair p = {.server.on_open = close_now};
    pair_open(&p, NULL, NULL);
    pair_run(&p);
    CHECK_EQ_U64(p.client.eofs, 1);
}

static void say_two(struct end *e) {
    CHECK(weir_stream_write(e->stream, "two", 3) == WEIR_OK);
    weir_stream_shutdown(e->stream);
}

static void case_a_peer_that_speaks_first_is_read_at_once(void) {
    struct pair p = {.client.on_open = say_two};
    struct weir_listen_config config = {.peer_speaks_first = true};
    pair_open(&p, &config, NULL);
    pair_run(&p);
    CHECK_EQ_STR(p.server.last, strlen(p.server.last), "two");
    CHECK_EQ_U64(p.server.reads, 1);
    CHECK_EQ_U64(p.server.eofs, 1);
}

static void close_on_read(struct end *e, struct weir_span bytes) {
    (void)bytes;
    weir_stream_close(e->stream, WEIR_OK, "had all");
}

static void answer_at_once(struct end *e, struct weir_span bytes) {
    CHECK(weir_stream_write(e->stream, bytes.data, bytes.len) == WEIR_OK);
    weir_stream_flush(e->stream);
    CHECK_EQ_U64(weir_stream_queued(e->stream), 0);
}

/* Such a stream is given to libuv only after its first read: whatever its owner does before. */
static void case_owners_may_do_anything_before_the_first_read_is_over(void) {
    struct weir_listen_config config = {.peer_speaks_first = true};
    struct pair end_at_once = {.client.on_open = say_two, .server.on_read = close_on_read};
    pair_open(&end_at_once, &config, NULL);
    pair_run(&end_at_once);
    CHECK(end_at_once.server.reads == 1 && end_at_once.server.status == WEIR_OK);
    struct pair end_before = {.client.on_open = say_two, .server.on_open = close_now};
    pair_open(&end_before, &config, NULL);
    pair_run(&end_before);
    CHECK(end_before.server.reads == 0 && end_before.server.closed == 1);
    struct pair answer = {.client.on_open = say_two, .server.on_read = answer_at_once};
    pair_open(&answer, &config, NULL);
    pair_run(&answer);
    CHECK_EQ_STR(answer.client.last, strlen(answer.client.last), "two");
    struct pair refusal = {
        .client.on_open = write_much, .client.on_read = take_answer, .server.on_read = refuse};
    pair_open(&refusal, &config, NULL);
    pair_run(&refusal);
    CHECK_EQ_U64(refusal.client.got, 9);
    CHECK_EQ_U64(refusal.server.reads, 1);
    struct pair paused = {.client.on_open = write_much_and_end, .server.on_open = stop_for_a_while};
    pair_open(&paused, &config, NULL);
    pair_run(&paused);
    CHECK_EQ_U64(paused.server.got, 32 << 20);
}

static void case_linger_reset_is_inherited(void) {
    struct pair p = {.server.on_open = close_now};
    struct weir_listen_config config = {.linger_reset = true};
    pair_open(&p, &config, NULL);
    pair_run(&p);
    CHECK_EQ_U64(p.client.eofs, 0);
    CHECK(p.client.status == (p.client.opened ? WEIR_DISCONNECTED : WEIR_CANNOT_CONNECT));
    CHECK(strstr(p.client.reason, "reset") != NULL);
}

/* ---- connecting --------------------------------------------------------------------------- */

struct dial {
    struct weir_loop *loop;
    enum weir_status status;
    unsigned opened, closed;
};

static void on_dial_open(void *arg) {
    struct dial *d = arg;
    d->opened++;
}
static void on_dial_read(void *arg, struct weir_span bytes) {
    (void)arg;
    (void)bytes;
}
static void on_dial_close(void *arg, enum weir_status status, const char *reason) {
    struct dial *d = arg;
    (void)reason;
    d->closed++;
    d->status = status;
    weir_loop_stop(d->loop);
}
static const struct weir_stream_ops dial_ops = {
    .on_open = on_dial_open, .on_read = on_dial_read, .on_close = on_dial_close};

static int raw_listener(int backlog, uint16_t *ret_port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(backlog < 0 || listen(fd, backlog) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static void case_nobody_listens(void) {
    struct dial d = {0};
    uint16_t port = 0;
    int fd = raw_listener(-1, &port); /* bound, so that nobody else takes it; not listening */
    struct weir_stream *s = NULL;
    CHECK(weir_loop_create(0, &d.loop) == WEIR_OK);
    CHECK(weir_stream_connect(d.loop, "127.0.0.1", port, NULL, NULL, NULL, &dial_ops, &d, &s) ==
          WEIR_OK);
    CHECK_EQ_U64(d.closed, 0);
    CHECK(weir_stream_write(s, "kept", 4) == WEIR_OK);
    char want[32];
    snprintf(want, sizeof(want), "127.0.0.1:%u", port);
    CHECK_EQ_STR(weir_stream_peer(s), strlen(weir_stream_peer(s)), want);
    weir_loop_run(d.loop);
    CHECK(d.closed == 1 && d.opened == 0 && d.status == WEIR_CANNOT_CONNECT);
    CHECK(weir_stream_connect(d.loop, "localhost", 80, NULL, NULL, NULL, &dial_ops, &d, &s) ==
          WEIR_INVALID);
    weir_loop_destroy(d.loop);
    CHECK_EQ_U64(d.closed, 1); /* a start that fails calls nothing back */
    close(fd);
}

/* A full backlog drops the SYN: the kernel would go on trying for two minutes. */
static void case_connecting_has_a_deadline(void) {
    struct dial d = {0};
    uint16_t port = 0;
    int fd = raw_listener(0, &port), fillers[8];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(connect(fillers[i], (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
    }
    struct weir_stream *s = NULL;
    struct weir_stream_limits limits = {.open_ms = 60};
    CHECK(weir_loop_create(0, &d.loop) == WEIR_OK);
    uint64_t begin = weir_now_ns();
    CHECK(weir_stream_connect(d.loop, "127.0.0.1", port, NULL, NULL, &limits, &dial_ops, &d, &s) ==
          WEIR_OK);
    weir_loop_run(d.loop);
    CHECK(d.closed == 1 && d.opened == 0 && d.status == WEIR_TIMEOUT);
    CHECK((weir_now_ns() - begin) / 1000000 >= 59);
    weir_loop_destroy(d.loop);
    for (int i = 0; i < 8; i++)
        close(fillers[i]);
    close(fd);
}

/* A reset is told once by the system, to whoever reads: the look of read_now() must not lose it,
 * for what libuv would meet after it is an end as of a peer that has read everything. */
struct reset {
    struct weir_loop *loop;
    struct weir_stream *stream;
    int listener;
    unsigned eofs, closed;
    enum weir_status status;
};

static void on_reset_open(void *arg) {
    struct reset *r = arg;
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int fd = accept(r->listener, NULL, NULL);
    CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
    close(fd);
    weir_stream_read_now(r->stream);
}

static void on_reset_read(void *arg, struct weir_span bytes) {
    (void)arg;
    CHECK(bytes.len == 0);
}

static void on_reset_eof(void *arg) {
    struct reset *r = arg;
    r->eofs++;
    weir_stream_close(r->stream, WEIR_OK, "ended");
}

static void on_reset_close(void *arg, enum weir_status status, const char *reason) {
    struct reset *r = arg;
    (void)reason;
    r->closed++;
    r->status = status;
    weir_loop_stop(r->loop);
}

static void case_a_look_that_meets_a_reset_tells_it(void) {
    static const struct weir_stream_ops reset_ops = {.on_open = on_reset_open,
                                                     .on_read = on_reset_read,
                                                     .on_eof = on_reset_eof,
                                                     .on_close = on_reset_close};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    struct reset r = {.listener = socket(AF_INET, SOCK_STREAM, 0)};
    CHECK(bind(r.listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(r.listener, 1) == 0);
    CHECK(getsockname(r.listener, (struct sockaddr *)&a, &size) == 0);
    CHECK(weir_loop_create(0, &r.loop) == WEIR_OK);
    CHECK(weir_stream_connect(r.loop, "127.0.0.1", ntohs(a.sin_port), NULL, NULL, NULL, &reset_ops,
                              &r, &r.stream) == WEIR_OK);
    weir_loop_run(r.loop);
    CHECK(r.closed == 1 && r.eofs == 0 && r.status == WEIR_DISCONNECTED);
    weir_loop_destroy(r.loop);
    close(r.listener);
}

static void echo_once(struct end *e, struct weir_span bytes) {
    CHECK(weir_stream_write(e->stream, bytes.data, bytes.len) == WEIR_OK);
    CHECK(strncmp(weir_stream_peer(e->stream), "[::1]:", 6) == 0);
}

static void say(struct end *e) {
    CHECK(weir_stream_write(e->stream, "six", 3) == WEIR_OK);
}

static void end_it(struct end *e, struct weir_span bytes) {
    (void)bytes;
    weir_stream_close(e->stream, WEIR_OK, "done");
}

static void case_ipv6(void) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0)
        close(fd);
    if (!there) {
        printf("case_ipv6 skipped: this machine has no ::1\n");
        return;
    }
    struct pair p = {.client.on_open = say, .client.on_read = end_it, .server.on_read = echo_once};
    struct weir_listen_config config = {.ip = "::"};
    pair_open(&p, &config, NULL);
    pair_run(&p);
    CHECK_EQ_STR(p.client.last, strlen(p.client.last), "six");
}

/* The loop goes while streams are open: they are closed, each with its on_close. */
static void case_a_loop_that_ends_closes_its_streams(void) {
    struct pair p = {.keep = true, .client.on_open = say};
    pair_open(&p, NULL, NULL);
    weir_loop_stop(p.loop);
    pair_run(&p);
    CHECK(p.client.closed == 1 && p.client.status == WEIR_CANCELLED);
}

int main(void) {
    CHECK_RUN(case_echo_comes_back_whole);
    CHECK_RUN(case_the_writes_of_a_turn_go_out_as_one);
    CHECK_RUN(case_the_write_queue_is_bounded);
    CHECK_RUN(case_much_goes_out_at_once);
    CHECK_RUN(case_drain_comes_below_the_low_mark);
    CHECK_RUN(case_a_peer_that_does_not_read_is_cut_off);
    CHECK_RUN(case_a_reader_that_stops_holds_the_writer_back);
    CHECK_RUN(case_a_half_closed_stream_still_reads);
    CHECK_RUN(case_a_refusal_reaches_a_client_that_is_still_sending);
    CHECK_RUN(case_a_flushing_close_has_a_deadline);
    CHECK_RUN(case_a_flushing_close_behind_both_ends_is_at_once);
    CHECK_RUN(case_closing_again_changes_nothing);
    CHECK_RUN(case_what_was_queued_before_the_opening_goes_out);
    CHECK_RUN(case_a_peer_that_leaves_is_an_eof);
    CHECK_RUN(case_a_peer_that_speaks_first_is_read_at_once);
    CHECK_RUN(case_owners_may_do_anything_before_the_first_read_is_over);
    CHECK_RUN(case_linger_reset_is_inherited);
    CHECK_RUN(case_nobody_listens);
    CHECK_RUN(case_a_look_that_meets_a_reset_tells_it);
    CHECK_RUN(case_connecting_has_a_deadline);
    CHECK_RUN(case_ipv6);
    CHECK_RUN(case_a_loop_that_ends_closes_its_streams);
    return check_finish();
}
