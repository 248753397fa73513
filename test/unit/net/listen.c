/* Listeners: limits, shared ports, errors with words, no descriptors left, who takes a connection.
 */
#include "base/mem.h"
#include "net/stream.h"
#include "test/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct bed {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct weir_timer guard, tick;
    unsigned accepted, closed, most, stop_at; /* stop_at: closed streams */
    bool refuse_all, forget, timed_out;
    struct weir_stream *streams[64];
    void (*on_tick)(struct bed *b);
};

static void on_read(void *arg, struct weir_span bytes) {
    (void)arg;
    (void)bytes;
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct bed *b = arg;
    (void)status;
    (void)reason;
    if (++b->closed == b->stop_at)
        weir_loop_stop(b->loop);
}

static const struct weir_stream_ops ops = {.on_read = on_read, .on_close = on_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct bed *b = arg;
    if (weir_listener_conns(b->listener) > b->most)
        b->most = weir_listener_conns(b->listener);
    if (b->accepted < 64)
        b->streams[b->accepted] = s;
    b->accepted++;
    if (b->forget)
        return;
    if (b->refuse_all)
        weir_stream_close(s, WEIR_OVERLOADED, "refused");
    else
        weir_stream_adopt(s, &ops, b);
}

static void on_guard(void *arg) {
    struct bed *b = arg;
    b->timed_out = true;
    weir_loop_stop(b->loop);
}

static void on_tick(void *arg) {
    struct bed *b = arg;
    CHECK(weir_timer_start(&b->tick, 2) == WEIR_OK);
    b->on_tick(b);
}

static void bed_open(struct bed *b, struct weir_listen_config config) {
    CHECK(weir_loop_create(0, &b->loop) == WEIR_OK);
    config.ip = "127.0.0.1";
    struct weir_err err = {0};
    CHECK_MSG(weir_listen(b->loop, &config, on_accept, b, &b->listener, &err) == WEIR_OK, "%s",
              err.text);
    weir_timer_init(&b->guard, b->loop, on_guard, b);
    weir_timer_init(&b->tick, b->loop, on_tick, b);
    CHECK(weir_timer_start(&b->guard, 60000) == WEIR_OK);
    if (b->on_tick != NULL)
        CHECK(weir_timer_start(&b->tick, 0) == WEIR_OK);
}

static void bed_close(struct bed *b) {
    weir_timer_stop(&b->guard);
    weir_timer_stop(&b->tick);
    weir_listener_close(b->listener);
    weir_loop_destroy(b->loop);
    CHECK(!b->timed_out);
}

static int dial(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
    return fd;
}

/* How many of the descriptors the other side has closed. */
static unsigned count_closed(const int *fds, unsigned n) {
    unsigned closed = 0;
    for (unsigned i = 0; i < n; i++) {
        char c;
        ssize_t rc = recv(fds[i], &c, 1, MSG_PEEK | MSG_DONTWAIT);
        closed += rc == 0 || (rc < 0 && errno != EAGAIN && errno != EINPROGRESS);
    }
    return closed;
}

/* ---- the connection limit ----------------------------------------------------------------- */

static int fds[100];

static void wait_for_refusals(struct bed *b) {
    if (count_closed(fds, 40) == 30)
        weir_loop_stop(b->loop);
}

static void case_connections_over_the_limit_are_closed_at_once(void) {
    struct bed b = {.on_tick = wait_for_refusals};
    bed_open(&b, (struct weir_listen_config){.max_conns = 10});
    for (int i = 0; i < 40; i++)
        fds[i] = dial(weir_listener_port(b.listener));
    weir_loop_run(b.loop);
    CHECK_EQ_U64(b.accepted, 10);
    CHECK_EQ_U64(b.most, 10);
    CHECK_EQ_U64(weir_listener_conns(b.listener), 10);
    /* One goes, one may come. */
    b.stop_at = 1;
    weir_timer_stop(&b.tick);
    weir_stream_close(b.streams[0], WEIR_OK, "room");
    weir_loop_run(b.loop);
    CHECK_EQ_U64(weir_listener_conns(b.listener), 9);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    bed_close(&b);
    CHECK_EQ_U64(b.closed, 10); /* the loop's end closed the rest */
}

/* ---- nobody takes it ---------------------------------------------------------------------- */

static void wait_for_all_closed(struct bed *b) {
    if (count_closed(fds, 4) == 4 && weir_listener_conns(b->listener) == 0)
        weir_loop_stop(b->loop);
}

static void case_a_refused_or_forgotten_stream_is_closed_without_callbacks(void) {
    for (int forget = 0; forget < 2; forget++) {
        struct bed b = {.on_tick = wait_for_all_closed, .refuse_all = true, .forget = forget != 0};
        bed_open(&b, (struct weir_listen_config){0});
        for (int i = 0; i < 4; i++)
            fds[i] = dial(weir_listener_port(b.listener));
        weir_loop_run(b.loop);
        CHECK_EQ_U64(b.accepted, 4);
        CHECK_EQ_U64(b.closed, 0);
        for (int i = 0; i < 4; i++)
            close(fds[i]);
        bed_close(&b);
    }
}

/* ---- descriptors run out ------------------------------------------------------------------ */

static void case_without_descriptors_new_connections_are_refused_not_spun_on(void) {
    struct rlimit old, low;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = 256;
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    struct bed b = {.on_tick = wait_for_all_closed};
    bed_open(&b, (struct weir_listen_config){0});
    for (int i = 0; i < 4; i++)
        fds[i] = dial(weir_listener_port(b.listener));
    int hoard[256], n = 0;
    while (n < 256 && (hoard[n] = dup(0)) >= 0)
        n++;
    CHECK(n < 256 && errno == EMFILE);
    weir_loop_run(b.loop);
    CHECK_EQ_U64(b.accepted, 0);
    for (int i = 0; i < n; i++)
        close(hoard[i]);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    /* And then everything is as before. */
    b.stop_at = 1;
    weir_timer_stop(&b.tick);
    int fd = dial(weir_listener_port(b.listener));
    shutdown(fd, SHUT_WR);
    weir_loop_run(b.loop);
    CHECK(b.accepted == 1 && b.closed == 1);
    close(fd);
    bed_close(&b);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
}

static void wait_for_all_accepted(struct bed *b) {
    if (b->accepted == 100 && count_closed(fds, 100) == 100)
        weir_loop_stop(b->loop);
}

/* Connections that end with their first bytes are closed many at a time. Those that wait for it
 * must not keep new ones out. */
static void case_connections_that_wait_to_be_closed_make_room(void) {
    struct rlimit old, low;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = 256;
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    struct bed b = {.on_tick = wait_for_all_accepted, .refuse_all = true};
    bed_open(&b, (struct weir_listen_config){.peer_speaks_first = true});
    for (int i = 0; i < 100; i++) {
        fds[i] = dial(weir_listener_port(b.listener));
        struct pollfd p = {.fd = fds[i], .events = POLLOUT};
        CHECK(poll(&p, 1, 60000) == 1 && send(fds[i], "x", 1, 0) == 1);
    }
    int hoard[256], n = 0;
    while (n < 256 && (hoard[n] = dup(0)) >= 0)
        n++;
    CHECK(n > 3 && n < 256 && errno == EMFILE);
    for (int i = 0; i < 3; i++)
        close(hoard[--n]);
    weir_loop_run(b.loop);
    CHECK_EQ_U64(b.accepted, 100);
    for (int i = 0; i < n; i++)
        close(hoard[i]);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    bed_close(&b);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void case_loops_share_a_port(void) {
    struct bed a = {0}, b = {0};
    bed_open(&a, (struct weir_listen_config){.reuse_port = true});
    uint16_t port = weir_listener_port(a.listener);
    bed_open(&b, (struct weir_listen_config){.reuse_port = true, .port = port});
    CHECK_EQ_U64(weir_listener_port(b.listener), port);
    struct weir_listener *third = NULL;
    struct weir_err err = {0};
    struct weir_listen_config alone = {.ip = "127.0.0.1", .port = port};
    CHECK(weir_listen(a.loop, &alone, on_accept, &a, &third, &err) == WEIR_EXISTS);
    CHECK_MSG(strstr(err.text, "127.0.0.1") != NULL && strstr(err.text, "in use") != NULL, "%s",
              err.text);
    alone.ip = "localhost";
    CHECK(weir_listen(a.loop, &alone, on_accept, &a, &third, &err) == WEIR_INVALID);
    CHECK_MSG(strstr(err.text, "'localhost'") != NULL, "%s", err.text);
    alone = (struct weir_listen_config){.ip = "192.0.2.1"};
    CHECK(weir_listen(a.loop, &alone, on_accept, &a, &third, &err) == WEIR_IO);
    CHECK(third == NULL);
    bed_close(&a);
    bed_close(&b);
}

static void close_listener(struct bed *b) {
    if (b->accepted == 0)
        return;
    weir_listener_close(b->listener);
    weir_listener_close(b->listener); /* once is enough */
    weir_timer_stop(&b->tick);
    weir_stream_close(b->streams[0], WEIR_OK, "done");
}

static void case_streams_outlive_their_listener(void) {
    struct bed b = {.on_tick = close_listener, .stop_at = 1};
    bed_open(&b, (struct weir_listen_config){0});
    int fd = dial(weir_listener_port(b.listener));
    weir_loop_run(b.loop);
    CHECK_EQ_U64(b.closed, 1);
    b.listener = NULL;
    close(fd);
    bed_close(&b);
}

/* ---- memory runs out ---------------------------------------------------------------------- */

static void wait_for_one(struct bed *b) {
    if (count_closed(fds, 1) == 1 || b->accepted > 0)
        weir_loop_stop(b->loop);
}

/* Each allocation of a listener's and a connection's life fails once: an error or a closed
 * connection, nothing else. */
static void case_every_failed_allocation_is_survived(void) {
    unsigned survived = 0;
    for (uint64_t k = 1; k < 40; k++) {
        struct bed b = {.on_tick = wait_for_one};
        struct weir_listen_config config = {.ip = "127.0.0.1"};
        weir_mem_fail_at(k);
        enum weir_status st = weir_loop_create(0, &b.loop);
        if (st == WEIR_OK)
            st = weir_listen(b.loop, &config, on_accept, &b, &b.listener, NULL);
        weir_timer_init(&b.tick, b.loop, on_tick, &b);
        weir_timer_init(&b.guard, b.loop, on_guard, &b);
        if (st == WEIR_OK)
            st = weir_timer_start(&b.guard, 60000);
        if (st == WEIR_OK)
            st = weir_timer_start(&b.tick, 0);
        CHECK(st == WEIR_OK || st == WEIR_NOMEM);
        if (st == WEIR_OK) {
            fds[0] = dial(weir_listener_port(b.listener));
            weir_loop_run(b.loop);
            close(fds[0]);
            survived++;
        }
        weir_mem_fail_at(0);
        if (b.loop != NULL) {
            weir_timer_stop(&b.guard);
            weir_timer_stop(&b.tick);
            weir_listener_close(b.listener);
            weir_loop_destroy(b.loop);
        }
        CHECK(!b.timed_out);
    }
    CHECK(survived > 20);
}

int main(void) {
    CHECK_RUN(case_connections_over_the_limit_are_closed_at_once);
    CHECK_RUN(case_a_refused_or_forgotten_stream_is_closed_without_callbacks);
    CHECK_RUN(case_without_descriptors_new_connections_are_refused_not_spun_on);
    CHECK_RUN(case_connections_that_wait_to_be_closed_make_room);
    CHECK_RUN(case_loops_share_a_port);
    CHECK_RUN(case_streams_outlive_their_listener);
    CHECK_RUN(case_every_failed_allocation_is_survived);
    return check_finish();
}
