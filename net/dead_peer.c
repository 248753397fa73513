#include "net/dead_peer.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { MAX_PROBE_S = 32767 }; /* of Linux, for both times */

static unsigned seconds(uint64_t ms) {
    uint64_t s = ms / 1000;
    return s < 1 ? 1 : s > MAX_PROBE_S ? MAX_PROBE_S : (unsigned)s;
}

struct weir_dead_peer_plan weir_dead_peer_plan(uint64_t dead_ms) {
    return (struct weir_dead_peer_plan){.idle_s = seconds(dead_ms / 2),
                                        .interval_s = seconds(dead_ms / 6),
                                        .give_up_ms =
                                            dead_ms > INT_MAX ? INT_MAX : (unsigned)dead_ms};
}

static void set(int fd, int level, int option, unsigned value) {
    int n = (int)value;
    setsockopt(fd, level, option, &n, sizeof(n));
}

void weir_dead_peer_watch(int fd, uint64_t dead_ms) {
    if (dead_ms == 0)
        return;
    struct weir_dead_peer_plan plan = weir_dead_peer_plan(dead_ms);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, plan.idle_s);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, plan.interval_s);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, plan.give_up_ms);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}
