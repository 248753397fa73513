/*
 * Life and reading of a stream.
 *
 *   connect → CONNECTING → (HANDSHAKE) → OPEN → CLOSED → on_close, memory goes
 *   accept  →              (HANDSHAKE) → OPEN …
 *
 * Everybody may close at any time: weir_stream_close() is the only way to CLOSED, it stops timers,
 * deferred work and the handle at once, and the handle's close callback is the one place that calls
 * on_close and frees. Waits: open_ms until OPEN, write_stall_ms while the peer takes no bytes,
 * linger_ms after close_flushed(); how long a silent peer may stay is the owner's matter.
 *
 * Reads go into one buffer per loop, so that an idle stream owns no read buffer and a read costs
 * one system call; an owner that knows how much is to come may have it put in its own place.
 * read_stop() only marks: libuv is stopped when bytes really come, because most owners read again
 * before that.
 */
#include "net/stream_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/dead_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPEN_MS = 5000 };
#define WRITE_MAX ((size_t)64 << 20)
#define WRITE_HIGH ((size_t)256 << 10)

static void on_timer(void *arg);
static void on_deferred(void *arg);

/* ---- reading ------------------------------------------------------------------------------ */

/* The loop's own buffer. */
static uv_buf_t usual_room(const struct weir_stream *s) {
    char *large = s->gathers_much && s->tls == NULL ? weir_loop_large(s->loop) : NULL;
    return large != NULL ? uv_buf_init(large, WEIR_LOOP_LARGE)
                         : uv_buf_init(s->loop->scratch, WEIR_LOOP_SCRATCH);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret_buf) {
    struct weir_stream *s = h->data;
    (void)suggested;
    /* No buffer makes libuv call on_read with ENOBUFS, which is where it may be stopped. A
     * handshake goes on whatever the owner wants. */
    bool open = s->state == WEIR_STREAM_OPEN;
    size_t bytes = 0;
    char *room = open && !s->paused && s->tls == NULL && !s->lingering && s->ops.on_room != NULL
                     ? s->ops.on_room(s->arg, &bytes)
                     : NULL;
    *ret_buf = s->paused && open ? uv_buf_init(NULL, 0)
               : room != NULL    ? uv_buf_init(room, (unsigned)bytes)
                                 : usual_room(s);
}

static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *buf) {
    struct weir_stream *s = uv->data;
    s->loop->event_ns = 0;
    if (s->state == WEIR_STREAM_CLOSED || n == 0)
        return;
    if (n == UV_ENOBUFS) {
        uv_read_stop(uv);
        s->uv_reading = false;
    } else if (n == UV_EOF) {
        s->uv_reading = false;
        if (s->tls != NULL && (s->state == WEIR_STREAM_HANDSHAKE || !s->lingering))
            weir_stls_eof(s);
        else
            weir_stream_got_eof(s);
    } else if (n < 0) {
        weir_stream_close(s, WEIR_DISCONNECTED, uv_strerror((int)n));
    } else if (s->tls != NULL && (s->state == WEIR_STREAM_HANDSHAKE || !s->lingering)) {
        weir_stls_input(s, buf->base, (size_t)n);
    } else if (!s->lingering) {
        s->ops.on_read(s->arg, weir_span(buf->base, (size_t)n));
    }
}

/* Named for ThreadSanitizer: net/zmq.c says what it cannot see of descriptors. */
static ssize_t receive(int fd, uv_buf_t room) {
    return recv(fd, room.base, room.len, MSG_DONTWAIT);
}

static void read_once(struct weir_stream *s, int fd) {
    uv_buf_t buf = usual_room(s);
    ssize_t n = receive(fd, buf);
    /* The end of the stream is left to libuv, which meets it again. An error is told only once. */
    if (n > 0)
        on_read((uv_stream_t *)&s->tcp, n, &buf);
    else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        on_read((uv_stream_t *)&s->tcp, uv_translate_sys_error(errno), &buf);
}

static void start_reading(struct weir_stream *s) {
    if (s->uv_reading || s->eof || s->fd >= 0)
        return;
    s->uv_reading = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0;
}

void weir_stream_got_eof(struct weir_stream *s) {
    s->eof = true;
    if (s->lingering) {
        if (s->shut_done)
            weir_stream_close(s, WEIR_OK, s->reason);
    } else if (s->write_dead || s->ops.on_eof == NULL) {
        weir_stream_close(s, WEIR_DISCONNECTED, "closed by the peer");
    } else {
        s->ops.on_eof(s->arg);
    }
}

void weir_stream_read_stop(struct weir_stream *s) {
    s->paused = true;
}

void weir_stream_read_start(struct weir_stream *s) {
    if (s->state == WEIR_STREAM_CLOSED || !s->paused)
        return;
    s->paused = false;
    if (s->state == WEIR_STREAM_OPEN && s->tls != NULL && weir_stls_holds_back(s)) {
        s->resume_due = true; /* older bytes first, and not from inside this call */
        weir_stream_defer(s);
    }
    if (s->state != WEIR_STREAM_CONNECTING)
        start_reading(s);
}

/* The system itself keeps few bytes from waking us: neither the sender nor we pay for a wake-up. */
void weir_stream_gather(struct weir_stream *s, unsigned bytes) {
    uv_os_fd_t fd;
    int n = bytes > 0 ? (int)bytes : 1;
    s->gathers_much = bytes > WEIR_LOOP_SCRATCH;
    if (s->state == WEIR_STREAM_OPEN && uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

void weir_stream_read_now(struct weir_stream *s) {
    uv_os_fd_t fd;
    if (s->state == WEIR_STREAM_OPEN && !s->paused && !s->eof && !s->lingering &&
        uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        read_once(s, fd);
}

/* ---- opening ------------------------------------------------------------------------------ */

void weir_stream_opened(struct weir_stream *s) {
    s->state = WEIR_STREAM_OPEN;
    if (!s->lingering)
        weir_timer_stop(&s->timer);
    if (s->out.len > 0 || s->shut_wanted)
        weir_stream_flush_later(s);
    if (s->lingering)
        return;
    if (s->listener != NULL)
        weir_listener_hand_over(s->listener, s);
    else if (s->ops.on_open != NULL)
        s->ops.on_open(s->arg);
}

static void on_connect(uv_connect_t *req, int rc) {
    struct weir_stream *s = req->data;
    if (s->state == WEIR_STREAM_CLOSED)
        return;
    if (rc != 0) {
        weir_stream_close(s, WEIR_CANNOT_CONNECT, uv_strerror(rc));
        return;
    }
    uv_tcp_nodelay(&s->tcp, 1);
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        weir_dead_peer_watch(fd, s->dead_ms);
    s->state = WEIR_STREAM_HANDSHAKE;
    start_reading(s);
    if (s->tls != NULL)
        weir_stls_start(s);
    else
        weir_stream_opened(s);
}

static enum weir_status create(struct weir_loop *loop, const struct weir_stream_limits *limits,
                               struct weir_stream **ret_stream) {
    struct weir_stream *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->loop = loop;
    s->fd = -1;
    s->write_max = limits != NULL && limits->write_max != 0 ? limits->write_max : WRITE_MAX;
    s->write_high = limits != NULL && limits->write_high != 0 ? limits->write_high : WRITE_HIGH;
    s->stall_ms = limits != NULL ? limits->write_stall_ms : 0;
    s->dead_ms = limits != NULL && limits->dead_ms != 0 ? limits->dead_ms : loop->dead_peer_ms;
    weir_buf_init(&s->out, s->write_max);
    weir_buf_init(&s->wire, s->write_max);
    weir_timer_init(&s->timer, loop, on_timer, s);
    weir_deferred_init(&s->deferred, on_deferred, s);
    uv_tcp_init(&loop->uv, &s->tcp);
    s->tcp.data = s;
    weir_list_push_back(&loop->streams, &s->node);
    *ret_stream = s;
    return WEIR_OK;
}

static enum weir_status start_deadline(struct weir_stream *s,
                                       const struct weir_stream_limits *limits) {
    bool set = limits != NULL && limits->open_ms != 0;
    return weir_timer_start(&s->timer, set ? limits->open_ms : OPEN_MS);
}

enum weir_status weir_stream_connect(struct weir_loop *loop, const char *ip, uint16_t port,
                                     struct weir_tls *tls, const char *sni,
                                     const struct weir_stream_limits *limits,
                                     const struct weir_stream_ops *ops, void *arg,
                                     struct weir_stream **ret_stream) {
    struct weir_stream *s = NULL;
    enum weir_status st = create(loop, limits, &s);
    if (st != WEIR_OK)
        return st;
    if (uv_ip4_addr(ip, port, &s->address.v4) != 0 && uv_ip6_addr(ip, port, &s->address.v6) != 0)
        st = WEIR_INVALID;
    if (st == WEIR_OK && tls != NULL)
        st = weir_stls_create(s, tls, false, sni, ip);
    if (st == WEIR_OK)
        st = start_deadline(s, limits);
    if (st == WEIR_OK) {
        s->req.connect.data = s;
        int rc = uv_tcp_connect(&s->req.connect, &s->tcp, &s->address.any, on_connect);
        if (rc != 0)
            st = rc == UV_EMFILE || rc == UV_ENFILE ? WEIR_LIMIT : WEIR_CANNOT_CONNECT;
    }
    if (st != WEIR_OK) {
        weir_stream_close(s, st, "not connected"); /* no ops yet: nothing is called */
        return st;
    }
    s->ops = *ops;
    s->arg = arg;
    s->adopted = true;
    *ret_stream = s;
    return WEIR_OK;
}

bool weir_stream_settle(struct weir_stream *s) {
    if (s->state == WEIR_STREAM_CLOSED)
        return false;
    if (s->fd < 0)
        return true;
    int fd = s->fd;
    s->fd = -1;
    if (uv_tcp_open(&s->tcp, fd) != 0) {
        close(fd);
        weir_stream_close(s, WEIR_IO, "cannot watch the connection");
        return false;
    }
    start_reading(s);
    return true;
}

static void accepted_plain(struct weir_stream *s, bool read_first) {
    if (!read_first && !weir_stream_settle(s))
        return;
    weir_stream_opened(s);
    /* A stream that ends with its first bytes never meets libuv: two system calls less. */
    if (s->fd >= 0 && s->state == WEIR_STREAM_OPEN && !s->paused)
        read_once(s, s->fd);
    weir_stream_settle(s);
}

enum weir_status weir_stream_accept(struct weir_listener *l, int fd, const struct sockaddr *from,
                                    struct weir_stream **ret_stream) {
    struct weir_stream *s = NULL;
    const struct weir_listen_config *config = weir_listener_config(l);
    enum weir_status st = create(weir_listener_loop(l), &config->limits, &s);
    if (st != WEIR_OK) {
        close(fd);
        return st;
    }
    s->fd = fd;
    s->listener = l;
    weir_listener_stream_came(l);
    if (from->sa_family == AF_INET6)
        memcpy(&s->address.v6, from, sizeof(s->address.v6));
    else
        memcpy(&s->address.v4, from, sizeof(s->address.v4));
    if (config->tls != NULL) {
        st = weir_stls_create(s, config->tls, true, NULL, NULL);
        if (st == WEIR_OK)
            st = start_deadline(s, &config->limits);
    }
    if (st != WEIR_OK) {
        weir_stream_close(s, st, "not accepted");
        return st;
    }
    s->state = WEIR_STREAM_HANDSHAKE;
    *ret_stream = s;
    if (config->tls == NULL)
        accepted_plain(s, config->peer_speaks_first);
    else
        weir_stream_settle(s);
    return WEIR_OK;
}

void weir_stream_adopt(struct weir_stream *s, const struct weir_stream_ops *ops, void *arg) {
    s->ops = *ops;
    s->arg = arg;
    s->adopted = true;
}

/* ---- closing ------------------------------------------------------------------------------ */

static void on_uv_closed(uv_handle_t *h) {
    struct weir_stream *s = h->data;
    struct weir_loop *loop = s->loop;
    loop->n_closing--;
    if (s->listener != NULL)
        weir_listener_stream_gone(s->listener);
    if (s->adopted && s->ops.on_close != NULL)
        s->ops.on_close(s->arg, s->status, s->reason);
    weir_stls_free(s->tls);
    weir_loop_block_give(loop, &s->out);
    weir_loop_block_give(loop, &s->wire);
    weir_free(s);
}

void weir_stream_close(struct weir_stream *s, enum weir_status status, const char *reason) {
    if (s->state == WEIR_STREAM_CLOSED)
        return;
    /* A peer that was promised more must not take this for a complete end. */
    if (s->tls != NULL && s->state == WEIR_STREAM_OPEN && status == WEIR_OK && !s->shut_done &&
        !s->write_busy && s->out.len == 0 && weir_stls_close_notify(s)) {
        weir_stream_push(s);
        if (s->state == WEIR_STREAM_CLOSED)
            return; /* it found the peer gone */
    }
    if (s->listener == NULL)
        s->undelivered = weir_stream_undelivered(s, NULL);
    s->state = WEIR_STREAM_CLOSED;
    s->status = status;
    s->reason = reason;
    weir_timer_stop(&s->timer);
    weir_deferred_cancel(&s->deferred);
    weir_list_remove(&s->node);
    s->loop->n_closing++;
    if (s->fd >= 0)
        weir_loop_close_later(s->loop, s->fd);
    uv_close((uv_handle_t *)&s->tcp, on_uv_closed);
}

void weir_stream_close_flushed(struct weir_stream *s, uint64_t linger_ms, const char *reason) {
    if (s->state == WEIR_STREAM_CLOSED || s->lingering)
        return;
    s->lingering = true;
    s->reason = reason;
    s->shut_wanted = true;
    s->paused = false;
    /* Nothing more can come of either direction, so no event would end it before the timer. */
    if (s->write_dead || (s->shut_done && s->eof)) {
        weir_stream_close(s, s->write_dead ? WEIR_DISCONNECTED : WEIR_OK, reason);
        return;
    }
    if (s->state != WEIR_STREAM_CONNECTING)
        start_reading(s);
    if (weir_timer_start(&s->timer, linger_ms) != WEIR_OK) {
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
        return;
    }
    weir_stream_flush_later(s);
}

void weir_streams_close_all(struct weir_loop *loop) {
    WEIR_LIST_FOREACH(it, &loop->streams) {
        weir_stream_close(WEIR_CONTAINER_OF(it, struct weir_stream, node), WEIR_CANCELLED,
                          "the loop ended");
    }
}

/* ---- time --------------------------------------------------------------------------------- */

static void on_timer(void *arg) {
    struct weir_stream *s = arg;
    if (s->lingering)
        weir_stream_close(s, weir_stream_queued(s) > 0 ? WEIR_TIMEOUT : WEIR_OK, s->reason);
    else if (s->state == WEIR_STREAM_CONNECTING)
        weir_stream_close(s, WEIR_TIMEOUT, "connecting timed out");
    else if (s->state == WEIR_STREAM_HANDSHAKE)
        weir_stream_close(s, WEIR_TIMEOUT, "TLS handshake timed out");
    else if (s->write_dead)
        weir_stream_close(s, WEIR_DISCONNECTED, "the peer takes no more bytes");
    else
        weir_stream_check_stall(s);
}

void weir_stream_defer(struct weir_stream *s) {
    weir_loop_defer(s->loop, &s->deferred);
}

/* Each step may close the stream, which leaves the memory until the close callback. */
static void on_deferred(void *arg) {
    struct weir_stream *s = arg;
    if (s->flush_due)
        weir_stream_push(s);
    if (s->drain_due && s->state == WEIR_STREAM_OPEN) {
        s->drain_due = false;
        if (!s->lingering && s->ops.on_drain != NULL)
            s->ops.on_drain(s->arg);
    }
    if (s->resume_due && s->state == WEIR_STREAM_OPEN) {
        s->resume_due = false;
        if (!s->paused && !s->lingering)
            weir_stls_resume(s);
    }
}

/* ---- facts -------------------------------------------------------------------------------- */

const char *weir_stream_peer(const struct weir_stream *s) {
    /* The text is a cache: filling it changes nothing that anyone can see. */
    struct weir_stream *m = (struct weir_stream *)s;
    if (s->peer[0] != '\0')
        return s->peer;
    char ip[INET6_ADDRSTRLEN] = "?";
    if (s->address.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&s->address.v6.sin6_addr)) {
        inet_ntop(AF_INET, s->address.v6.sin6_addr.s6_addr + 12, ip, sizeof(ip));
        snprintf(m->peer, sizeof(m->peer), "%s:%u", ip, ntohs(s->address.v6.sin6_port));
    } else if (s->address.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &s->address.v6.sin6_addr, ip, sizeof(ip));
        snprintf(m->peer, sizeof(m->peer), "[%s]:%u", ip, ntohs(s->address.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &s->address.v4.sin_addr, ip, sizeof(ip));
        snprintf(m->peer, sizeof(m->peer), "%s:%u", ip, ntohs(s->address.v4.sin_port));
    }
    return s->peer;
}

const char *weir_stream_alpn(const struct weir_stream *s) {
    return s->tls != NULL ? weir_stls_alpn(s) : "";
}

uint64_t weir_stream_dead_ms(const struct weir_loop *loop, uint64_t stall_ms) {
    uint64_t ms = loop->dead_peer_ms;
    return ms > 0 && ms < stall_ms ? stall_ms : ms;
}
