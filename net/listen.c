/*
 * Listening sockets.
 *
 * Accepting goes by a budget: one connection per wake-up, so that a lone connection costs no second
 * accept(2) that finds nothing; twice as many at each wake-up in the same millisecond, so that a
 * burst costs few wake-ups.
 *
 * Out of descriptors, the pending connection would wake us for ever. A spare descriptor is given up
 * to accept and close it, which tells the client at once; when even that fails, accepting pauses.
 *
 * The listener's memory goes when it is closed and its last stream is gone.
 */
#include "net/stream_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/dead_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, MAX_CONNS = 65536, MAX_BUDGET = 64, PAUSE_MS = 100 };

struct weir_listener {
    uv_poll_t poll;
    struct weir_loop *loop; /* borrowed */
    struct weir_listen_config config;
    weir_accept_fn on_accept;
    void *arg;
    int fd, spare_fd; /* spare_fd: -1 while it is lost */
    uint16_t port;
    unsigned n_conns, budget;
    uint64_t woken_ms;
    bool closed, handle_gone;
    struct weir_timer pause;
};

static void on_connection(uv_poll_t *poll, int status, int events);

struct weir_loop *weir_listener_loop(struct weir_listener *l) {
    return l->loop;
}
const struct weir_listen_config *weir_listener_config(const struct weir_listener *l) {
    return &l->config;
}
uint16_t weir_listener_port(const struct weir_listener *l) {
    return l->port;
}
unsigned weir_listener_conns(const struct weir_listener *l) {
    return l->n_conns;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Accepted sockets inherit all of it, which saves system calls for each of them. */
static void set_options(const struct weir_listener *l) {
    int on = 1;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (l->config.reuse_port)
        setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (l->config.peer_speaks_first) {
        int seconds = 1;
        setsockopt(l->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
    }
    if (l->config.linger_reset) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    uint64_t dead_ms = l->config.limits.dead_ms;
    weir_dead_peer_watch(l->fd, dead_ms != 0 ? dead_ms : l->loop->dead_peer_ms);
}

bool weir_listen_ip(const char *text, char ret_ip[WEIR_LISTEN_IP_BYTES]) {
    struct in6_addr any;
    struct weir_span s = weir_span_trim(weir_span_z(text));
    if (s.len > 1 && s.data[0] == '[' && s.data[s.len - 1] == ']')
        s = weir_span(s.data + 1, s.len - 2);
    if (s.len >= WEIR_LISTEN_IP_BYTES)
        return false;
    memcpy(ret_ip, s.data, s.len);
    ret_ip[s.len] = '\0';
    return inet_pton(AF_INET, ret_ip, &any) == 1 || inet_pton(AF_INET6, ret_ip, &any) == 1;
}

/* What to do about it, where that is not plain from the system's words. */
static const char *advice(const struct weir_listener *l, int error) {
    if (error == EACCES && l->config.port > 0 && l->config.port < 1024)
        return "; ports below 1024 need CAP_NET_BIND_SERVICE, take a higher one or grant it";
    if (error == EADDRNOTAVAIL)
        return "; this machine has no such address, 0.0.0.0 or :: is all that it has";
    return "";
}

static enum weir_status bind_socket(struct weir_listener *l, struct weir_err *err) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t len = sizeof(a.v4);
    char ip[WEIR_LISTEN_IP_BYTES];
    if (!weir_listen_ip(l->config.ip, ip))
        return weir_err_set(err, WEIR_INVALID, "'%s' is no IPv4 or IPv6 address", l->config.ip);
    if (uv_ip4_addr(ip, l->config.port, &a.v4) != 0) {
        len = sizeof(a.v6);
        if (uv_ip6_addr(ip, l->config.port, &a.v6) != 0)
            return weir_err_set(err, WEIR_INVALID, "'%s' is no IPv4 or IPv6 address", l->config.ip);
    }
    l->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return weir_err_set(err, WEIR_IO, "cannot make a socket: %s", strerror(errno));
    set_options(l);
    int backlog = l->config.backlog > 0 ? l->config.backlog : BACKLOG;
    if (bind(l->fd, &a.any, len) != 0 || listen(l->fd, backlog) != 0)
        return weir_err_set(err, errno == EADDRINUSE ? WEIR_EXISTS : WEIR_IO,
                            "cannot listen on %s port %u: %s%s", l->config.ip, l->config.port,
                            strerror(errno), advice(l, errno));
    if (getsockname(l->fd, &a.any, &len) != 0)
        return weir_err_set(err, WEIR_IO, "getsockname: %s", strerror(errno));
    l->port = ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
    return WEIR_OK;
}

static void start_accepting(void *arg) {
    struct weir_listener *l = arg;
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

enum weir_status weir_listen(struct weir_loop *loop, const struct weir_listen_config *config,
                             weir_accept_fn on_accept, void *arg,
                             struct weir_listener **ret_listener, struct weir_err *err) {
    struct weir_listener *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    l->loop = loop;
    l->config = *config;
    if (l->config.max_conns == 0)
        l->config.max_conns = MAX_CONNS;
    l->on_accept = on_accept;
    l->arg = arg;
    l->budget = 1;
    l->fd = -1;
    weir_timer_init(&l->pause, loop, start_accepting, l);
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    enum weir_status st = bind_socket(l, err);
    if (st == WEIR_OK && uv_poll_init(&loop->uv, &l->poll, l->fd) != 0)
        st = weir_err_set(err, WEIR_IO, "cannot watch the listening socket");
    if (st != WEIR_OK) {
        if (l->fd >= 0)
            close(l->fd);
        if (l->spare_fd >= 0)
            close(l->spare_fd);
        weir_free(l);
        return st;
    }
    l->config.ip = NULL; /* the caller's memory */
    l->poll.data = l;
    start_accepting(l);
    *ret_listener = l;
    return WEIR_OK;
}

/* ---- accepting ---------------------------------------------------------------------------- */

static void log_limited(const struct weir_listener *l, const char *what) {
    static struct weir_log_limit limit;
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "net", "port %u: %s (%u like this were not logged)", l->port, what,
                 dropped);
}

static void pause_accepting(struct weir_listener *l, int error) {
    log_limited(l, strerror(error));
    if (weir_timer_start(&l->pause, PAUSE_MS) == WEIR_OK)
        uv_poll_stop(&l->poll);
}

/* true: one connection was refused in an orderly way. */
static bool refuse_with_spare(struct weir_listener *l) {
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void take(struct weir_listener *l, int fd, const struct sockaddr *from) {
    struct weir_stream *s;
    if (l->n_conns >= l->config.max_conns) {
        close(fd);
        log_limited(l, "over the connection limit: closed the newest");
    } else if (weir_stream_accept(l, fd, from, &s) != WEIR_OK) {
        log_limited(l, "no memory for a connection");
    }
}

static void on_connection(uv_poll_t *poll, int status, int events) {
    struct weir_listener *l = poll->data;
    (void)status;
    (void)events;
    uint64_t now = uv_now(&l->loop->uv);
    if (now != l->woken_ms)
        l->budget = 1;
    else if (l->budget < MAX_BUDGET)
        l->budget *= 2;
    l->woken_ms = now;
    for (unsigned i = 0; i < l->budget; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof(from);
        int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(l, fd, (struct sockaddr *)&from);
            if (l->closed)
                return;
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
            continue;
        if (errno == EAGAIN)
            return;
        int error = errno;
        if ((error == EMFILE || error == ENFILE) && weir_loop_close_now(l->loop))
            continue;
        if ((error == EMFILE || error == ENFILE) && refuse_with_spare(l)) {
            log_limited(l, "out of file descriptors: closed a new connection");
            continue;
        }
        pause_accepting(l, error);
        return;
    }
}

void weir_listener_hand_over(struct weir_listener *l, struct weir_stream *s) {
    if (l->closed) {
        weir_stream_close(s, WEIR_CANCELLED, "the listener is closed");
        return;
    }
    l->on_accept(l->arg, s);
    if (!s->adopted)
        weir_stream_close(s, WEIR_INTERNAL, "nobody took the connection");
}

/* ---- the end ------------------------------------------------------------------------------ */

static void maybe_free(struct weir_listener *l) {
    if (l->handle_gone && l->n_conns == 0)
        weir_free(l);
}

void weir_listener_stream_came(struct weir_listener *l) {
    l->n_conns++;
}

void weir_listener_stream_gone(struct weir_listener *l) {
    l->n_conns--;
    maybe_free(l);
}

static void on_poll_closed(uv_handle_t *h) {
    struct weir_listener *l = h->data;
    l->loop->n_closing--;
    l->handle_gone = true;
    maybe_free(l);
}

void weir_listener_close(struct weir_listener *l) {
    if (l == NULL || l->closed)
        return;
    l->closed = true;
    weir_timer_stop(&l->pause);
    l->loop->n_closing++;
    uv_close((uv_handle_t *)&l->poll, on_poll_closed);
    close(l->fd);
    if (l->spare_fd >= 0)
        close(l->spare_fd);
}
