/* When a silent connection is given up, by a model of what Linux does; and that an accepted socket
 * has what its listener was given. (That connections end: test/e2e/test_partitions.py.) */
#include "net/dead_peer.h"
#include "test/check.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* tcp_keepalive_timer(): at each probe's time the connection ends if one was sent before and
 * nothing has come for TCP_USER_TIMEOUT. */
static uint64_t silent_end_ms(struct weir_dead_peer_plan p) {
    uint64_t now = (uint64_t)p.idle_s * 1000;
    for (unsigned sent = 0;; sent++) {
        if (sent > 0 && now >= p.give_up_ms)
            return now;
        now += (uint64_t)p.interval_s * 1000;
    }
}

static void case_a_silent_peer_is_given_up_in_time(void) {
    for (uint64_t ms = 1; ms <= 86400000; ms += ms / 7 + 1) {
        struct weir_dead_peer_plan p = weir_dead_peer_plan(ms);
        uint64_t end = silent_end_ms(p), least = ms < 1000 ? 1000 : ms;
        CHECK(p.idle_s >= 1 && p.interval_s >= 1 && p.idle_s <= 32767 && p.interval_s <= 32767);
        CHECK_EQ_U64(p.give_up_ms, ms);
        CHECK_MSG(end >= ms && end <= least + (uint64_t)p.interval_s * 1000,
                  "%" PRIu64 " ms: given up after %" PRIu64, ms, end);
    }
    CHECK(weir_dead_peer_plan(UINT64_MAX).give_up_ms == INT32_MAX);
    CHECK_EQ_U64(silent_end_ms(weir_dead_peer_plan(30000)), 30000);
}

static unsigned option(int fd, int level, int name) {
    int n = -1;
    socklen_t len = sizeof(n);
    CHECK(getsockopt(fd, level, name, &n, &len) == 0);
    return (unsigned)n;
}

static void see(int fd, uint64_t ms) {
    struct weir_dead_peer_plan p = weir_dead_peer_plan(ms);
    CHECK_EQ_U64(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ_U64(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), p.idle_s);
    CHECK_EQ_U64(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), p.interval_s);
    CHECK_EQ_U64(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), p.give_up_ms);
}

static void case_accepted_sockets_inherit_it(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    weir_dead_peer_watch(listener, 12345);
    CHECK(bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)&at, len) == 0);
    int accepted = accept(listener, NULL, NULL);
    see(accepted, 12345);
    weir_dead_peer_watch(client, 0);
    CHECK_EQ_U64(option(client, SOL_SOCKET, SO_KEEPALIVE), 0);
    weir_dead_peer_watch(client, 86400000);
    see(client, 86400000);
    close(accepted);
    close(client);
    close(listener);
}

int main(void) {
    CHECK_RUN(case_a_silent_peer_is_given_up_in_time);
    CHECK_RUN(case_accepted_sockets_inherit_it);
    return check_finish();
}
