/* What weir_stream_undelivered() says of a connection whose peer goes in the middle: never more
 * than is true, and all that was queued after the connection had died. */
#include "base/buf.h"
#include "net/stream.h"
#include "test/check.h"
#include "test/other_end.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* MUCH: more than the system keeps for both ends. */
enum { MUCH = 32 << 20, FIRST = 1 << 20, STEP_MS = 10, GUARD_MS = 30000 };

/* A stream to a plain socket of this thread. */
struct dial {
    struct weir_loop *loop;
    struct weir_stream *stream;
    struct weir_timer timer, guard;
    int listener, fd;
    unsigned step, eofs, closed;
    size_t got; /* bytes that the peer has read */
    size_t undelivered;
};

static void close_hard(struct dial *d) {
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    CHECK(setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
    close(d->fd);
}

static void read_up_to(struct dial *d, size_t most) {
    static char room[1 << 16];
    ssize_t n = 1;
    for (size_t at = 0; at < most && n > 0; at += n > 0 ? (size_t)n : 0) {
        n = recv(d->fd, room, sizeof(room), MSG_DONTWAIT);
        d->got += n > 0 ? (size_t)n : 0;
    }
}

static void on_read(void *arg, struct weir_span bytes) {
    (void)arg;
    (void)bytes;
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct dial *d = arg;
    (void)status;
    (void)reason;
    d->closed++;
    d->undelivered = weir_stream_undelivered(d->stream, NULL);
    weir_loop_stop(d->loop);
}

static void on_guard(void *arg) {
    struct dial *d = arg;
    CHECK_MSG(false, "the stream did not close");
    weir_stream_close(d->stream, WEIR_OK, "guard");
}

static void run(struct dial *d, const struct weir_stream_ops *ops, weir_timer_fn on_timer) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    d->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(d->listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(d->listener, 1) == 0);
    CHECK(getsockname(d->listener, (struct sockaddr *)&a, &size) == 0);
    CHECK(weir_loop_create(0, &d->loop) == WEIR_OK);
    weir_timer_init(&d->timer, d->loop, on_timer, d);
    CHECK(weir_stream_connect(d->loop, "127.0.0.1", ntohs(a.sin_port), NULL, NULL, NULL, ops, d,
                              &d->stream) == WEIR_OK);
    weir_timer_init(&d->guard, d->loop, on_guard, d);
    CHECK(weir_timer_start(&d->guard, GUARD_MS) == WEIR_OK);
    weir_loop_run(d->loop);
    weir_timer_stop(&d->guard);
    CHECK_EQ_U64(d->closed, 1);
    weir_loop_destroy(d->loop);
    close(d->listener);
}

/* ---- the peer has read a part ---------------------------------------------------------------- */

static void write_much(void *arg) {
    static char much[MUCH];
    struct dial *d = arg;
    d->fd = accept(d->listener, NULL, NULL);
    CHECK(d->fd >= 0 && weir_stream_write(d->stream, much, sizeof(much)) == WEIR_OK);
    CHECK(weir_timer_start(&d->timer, STEP_MS) == WEIR_OK);
}

/* So that a slice is under way and the system has some of it; then the peer ends its side. */
static void read_then_end(void *arg) {
    struct dial *d = arg;
    if (d->step++ == 0) {
        read_up_to(d, FIRST);
        CHECK(weir_timer_start(&d->timer, STEP_MS) == WEIR_OK);
    } else {
        shutdown(d->fd, SHUT_WR);
    }
}

/* Everything that is there is read, and then the peer is gone. */
static void read_all_and_go(void *arg) {
    struct dial *d = arg;
    d->eofs++;
    read_up_to(d, MUCH);
    close_hard(d);
}

static void case_what_was_read_was_delivered(void) {
    static const struct weir_stream_ops ops = {
        .on_open = write_much, .on_read = on_read, .on_eof = read_all_and_go, .on_close = on_close};
    struct dial d = {.fd = -1};
    run(&d, &ops, read_then_end);
    CHECK(d.eofs == 1 && d.got > 0 && d.got < MUCH);
    CHECK_MSG(d.got + d.undelivered <= MUCH, "%zu bytes were read, and %zu of %d never came", d.got,
              d.undelivered, MUCH);
}

/* ---- a connection that has died, and nobody knows yet ---------------------------------------- */

enum { BEFORE = 10, AFTER = 100 };

static void write_to_the_dead(void *arg) {
    struct dial *d = arg;
    static const char bytes[AFTER];
    d->fd = accept(d->listener, NULL, NULL);
    struct pollfd ours = {.fd = other_end(d->fd)};
    CHECK(ours.fd >= 0);
    close_hard(d);
    CHECK(poll(&ours, 1, GUARD_MS) == 1); /* the reset has come; the stream has not looked yet */
    CHECK(weir_stream_write(d->stream, bytes, BEFORE) == WEIR_OK);
    weir_stream_flush(d->stream);
    CHECK(weir_buf_append(weir_stream_out(d->stream), bytes, AFTER) == WEIR_OK);
    weir_stream_flush_later(d->stream);
}

static void never(void *arg) {
    (void)arg;
}

static void case_what_is_queued_on_a_dead_connection_never_comes(void) {
    static const struct weir_stream_ops ops = {
        .on_open = write_to_the_dead, .on_read = on_read, .on_close = on_close};
    struct dial d = {.fd = -1};
    run(&d, &ops, never);
    CHECK_EQ_U64(d.undelivered, BEFORE + AFTER);
}

int main(void) {
    CHECK_RUN(case_what_was_read_was_delivered);
    CHECK_RUN(case_what_is_queued_on_a_dead_connection_never_comes);
    return check_finish();
}
