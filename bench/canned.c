/*
 * One epoll loop. A connection is either reading a request (head, then as many body bytes as
 * Content-Length says) or, when paced, sending its chunks at each tick of the common clock.
 */
#include "bench/canned.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MAX_FD = 65536, HEAD_MAX = 16384, READ_MAX = 1 << 18, EVENTS = 256, TAIL_KEPT = 256 };

struct conn {
    char head[HEAD_MAX];
    size_t head_len;
    uint64_t body_left;
    bool in_body;
    char last[TAIL_KEPT]; /* end of the body, where max_tokens and stream stand */
    size_t last_len;
    uint64_t chunks_left;
};

struct server {
    const struct weir_canned *canned;
    int epoll_fd, tick_fd;
    struct conn *conns[MAX_FD];
    int max_fd;
    char buf[READ_MAX];
};

enum weir_status weir_canned_listen(struct weir_canned *c, struct weir_err *err) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    c->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->listen_fd < 0 || bind(c->listen_fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        listen(c->listen_fd, 4096) != 0 ||
        getsockname(c->listen_fd, (struct sockaddr *)&a, &len) != 0)
        return weir_err_set(err, WEIR_IO, "canned server: %s", strerror(errno));
    c->port = ntohs(a.sin_port);
    return WEIR_OK;
}

static void drop(struct server *s, int fd) {
    weir_free(s->conns[fd]);
    s->conns[fd] = NULL;
    close(fd);
}

/* Answers are small beside a socket's buffer: a short write would be a fault of the bench. */
static bool put(int fd, struct weir_span bytes) {
    return send(fd, bytes.data, bytes.len, MSG_NOSIGNAL) == (ssize_t)bytes.len;
}

static bool next_chunk(struct server *s, int fd, struct conn *c) {
    c->chunks_left--;
    bool good = put(fd, s->canned->chunk);
    return c->chunks_left > 0 ? good : good && put(fd, s->canned->tail);
}

static uint64_t number_behind(const char *text, size_t len, const char *key) {
    const char *at = memmem(text, len, key, strlen(key));
    uint64_t n = 0;
    if (at == NULL)
        return 0;
    for (at += strlen(key); at < text + len && *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    return n;
}

static bool answer(struct server *s, int fd, struct conn *c) {
    const struct weir_canned *canned = s->canned;
    bool stream = memmem(c->last, c->last_len, "\"stream\":true", 13) != NULL;
    uint64_t tokens = number_behind(c->last, c->last_len, "\"max_tokens\":");
    c->last_len = 0;
    if (!stream)
        return put(fd, canned->unary);
    c->chunks_left = tokens > 0 ? tokens : 1;
    if (!put(fd, canned->head))
        return false;
    while (canned->pace_ms == 0 && c->chunks_left > 0)
        if (!next_chunk(s, fd, c))
            return false;
    return true;
}

static void keep_last(struct conn *c, const char *bytes, size_t n) {
    if (n >= TAIL_KEPT) {
        memcpy(c->last, bytes + n - TAIL_KEPT, TAIL_KEPT);
        c->last_len = TAIL_KEPT;
        return;
    }
    size_t keep = c->last_len + n > TAIL_KEPT ? TAIL_KEPT - n : c->last_len;
    memmove(c->last, c->last + c->last_len - keep, keep);
    memcpy(c->last + keep, bytes, n);
    c->last_len = keep + n;
}

static bool take(struct server *s, int fd, struct conn *c, const char *bytes, size_t n) {
    while (n > 0 || (c->in_body && c->body_left == 0)) {
        if (c->in_body) {
            size_t use = n < c->body_left ? n : (size_t)c->body_left;
            keep_last(c, bytes, use);
            c->body_left -= use;
            bytes += use;
            n -= use;
            if (c->body_left > 0)
                return true;
            c->in_body = false;
            if (!answer(s, fd, c))
                return false;
            continue;
        }
        size_t use = HEAD_MAX - c->head_len < n ? HEAD_MAX - c->head_len : n;
        if (use == 0)
            return false;
        memcpy(c->head + c->head_len, bytes, use);
        size_t before = c->head_len;
        c->head_len += use;
        const char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
        if (end == NULL) {
            bytes += use;
            n -= use;
            continue;
        }
        size_t head_bytes = (size_t)(end + 4 - c->head);
        bytes += head_bytes - before;
        n -= head_bytes - before;
        for (size_t i = 0; i < head_bytes; i++)
            if (c->head[i] >= 'A' && c->head[i] <= 'Z')
                c->head[i] += 'a' - 'A';
        c->body_left = number_behind(c->head, head_bytes, "\r\ncontent-length: ");
        c->in_body = true;
        c->head_len = 0;
    }
    return true;
}

static void on_readable(struct server *s, int fd) {
    struct conn *c = s->conns[fd];
    ssize_t n = recv(fd, s->buf, READ_MAX, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !take(s, fd, c, s->buf, (size_t)n))
        drop(s, fd);
}

static void on_accept(struct server *s) {
    for (;;) {
        int fd = accept4(s->canned->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct conn *c = fd < MAX_FD ? weir_calloc(1, sizeof(*c)) : NULL;
        int one = 1;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (c == NULL || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
            weir_free(c);
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        s->conns[fd] = c;
        s->max_fd = fd > s->max_fd ? fd : s->max_fd;
    }
}

static void on_tick(struct server *s) {
    uint64_t n;
    if (read(s->tick_fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
        return;
    for (int fd = 0; fd <= s->max_fd; fd++)
        if (s->conns[fd] != NULL && s->conns[fd]->chunks_left > 0 &&
            !next_chunk(s, fd, s->conns[fd]))
            drop(s, fd);
}

void weir_canned_serve(void *canned) {
    struct server *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return;
    s->canned = canned;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = s->canned->listen_fd};
    struct epoll_event t = {.events = EPOLLIN, .data.fd = s->tick_fd};
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->canned->listen_fd, &e) != 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->tick_fd, &t) != 0)
        return;
    if (s->canned->pace_ms > 0) {
        struct timespec every = {.tv_sec = s->canned->pace_ms / 1000,
                                 .tv_nsec = (long)(s->canned->pace_ms % 1000) * 1000000};
        struct itimerspec when = {.it_interval = every, .it_value = every};
        timerfd_settime(s->tick_fd, 0, &when, NULL);
    }
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(s->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == s->canned->listen_fd)
                on_accept(s);
            else if (fd == s->tick_fd)
                on_tick(s);
            else if (s->conns[fd] != NULL)
                on_readable(s, fd);
        }
    }
}
