/*
 * The way out of a stream.
 *
 *   owner → out → [TLS records] → write(2) at the end of the turn
 *                                    └ what did not fit → wire → uv_write in slices
 *
 * In the usual case the socket takes everything at once: one system call, no copy, and the buffer
 * goes back to the loop's stock. `wire` exists only while the peer is slower than we are; it is
 * sent in slices so that the low mark and the stall check see progress.
 */
#include "net/stream_priv.h"

#include "base/mem.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { SLICE = 256 * 1024, DEAD_MS = 1000, LARGE = 64 * 1024 };

static struct weir_buf *source(struct weir_stream *s) {
    return s->tls != NULL ? weir_stls_cipher(s) : &s->out;
}

size_t weir_stream_queued(const struct weir_stream *s) {
    size_t cipher = s->tls != NULL ? weir_stls_cipher((struct weir_stream *)s)->len : 0;
    return s->out.len - s->out_off + cipher + s->wire.len - s->wire_off;
}

bool weir_stream_writable(struct weir_stream *s) {
    bool above = weir_stream_queued(s) > s->write_high;
    /* A write that ends in this turn may make it small before the marks are looked at. */
    s->above |= above;
    return !above;
}

struct weir_buf *weir_stream_out(struct weir_stream *s) {
    if (s->out.data == NULL)
        weir_loop_block_take(s->loop, &s->out);
    return &s->out;
}

static inline enum weir_status queue(struct weir_stream *s, struct weir_span first,
                                     struct weir_span second) {
    if (s->state == WEIR_STREAM_CLOSED || s->lingering || s->shut_wanted || s->write_dead)
        return WEIR_DISCONNECTED;
    struct weir_buf *out = weir_stream_out(s);
    enum weir_status st = second.len > 0 ? weir_buf_reserve(out, first.len + second.len) : WEIR_OK;
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, first);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, second);
    if (st == WEIR_OK)
        weir_stream_flush_later(s);
    return st;
}

enum weir_status weir_stream_write(struct weir_stream *s, const void *data, size_t len) {
    return queue(s, weir_span(data, len), weir_span(NULL, 0));
}

static struct weir_span without(struct weir_span span, size_t taken) {
    return taken < span.len ? weir_span(span.data + taken, span.len - taken) : weir_span(NULL, 0);
}

/* What the socket refuses is queued, and found out about there. */
enum weir_status weir_stream_write_now(struct weir_stream *s, struct weir_span first,
                                       struct weir_span second) {
    size_t len = first.len + second.len;
    bool direct = len >= LARGE && len <= s->out.max && len <= INT32_MAX && s->tls == NULL &&
                  s->state == WEIR_STREAM_OPEN && s->fd < 0 && !s->lingering && !s->shut_wanted &&
                  !s->write_dead && s->out.len == 0 && s->wire.len == 0;
    if (!direct)
        return queue(s, first, second);
    const uv_buf_t bufs[] = {uv_buf_init((char *)first.data, (unsigned)first.len),
                             uv_buf_init((char *)second.data, (unsigned)second.len)};
    int n = uv_try_write((uv_stream_t *)&s->tcp, bufs, WEIR_ARRAY_LEN(bufs));
    size_t taken = n > 0 ? (size_t)n : 0;
    if (taken == len)
        return WEIR_OK;
    return queue(s, without(first, taken),
                 without(second, taken > first.len ? taken - first.len : 0));
}

void weir_stream_flush_later(struct weir_stream *s) {
    s->flush_due = true;
    if (s->state != WEIR_STREAM_CLOSED)
        weir_stream_defer(s);
}

/* What `out` may still take, given what waits behind it. */
static void bound_out(struct weir_stream *s) {
    size_t behind = s->wire.len - s->wire_off;
    s->out.max = (behind < s->write_max ? s->write_max - behind : 0) + s->out_off;
    if (s->out.max < s->out.len)
        s->out.max = s->out.len;
}

/* Bytes of the owner that have not been given to the system, or to TLS. */
static size_t plain_left(const struct weir_stream *s) {
    size_t taken = s->write_busy ? s->slice - s->tcp.write_queue_size : 0;
    size_t wire = s->tls == NULL ? s->wire.len - s->wire_off : 0;
    return s->out.len - s->out_off + (wire > taken ? wire - taken : 0);
}

/* What a system that has no socket any more does not take is never acknowledged: it answers with a
 * reset, and ours goes from CLOSE_WAIT to CLOSE with the bytes still counted. */
size_t weir_stream_undelivered(const struct weir_stream *s, bool *ret_open) {
    uv_os_fd_t fd;
    struct tcp_info info;
    socklen_t size = sizeof(info);
    int unacked = 0;
    if (ret_open != NULL)
        *ret_open = false;
    if (s->state == WEIR_STREAM_CLOSED)
        return s->undelivered;
    size_t n = s->dropped + plain_left(s);
    if (!s->eof || s->tls != NULL || uv_fileno((const uv_handle_t *)&s->tcp, &fd) != 0 ||
        ioctl(fd, SIOCOUTQ, &unacked) != 0 || unacked <= 0 ||
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return n;
    if (info.tcpi_state == TCP_CLOSE)
        return n + (size_t)unacked;
    if (ret_open != NULL)
        *ret_open = true;
    return n;
}

/* ---- the peer is slow --------------------------------------------------------------------- */

static void on_written(uv_write_t *req, int rc);

/* No more bytes will go out; what the peer said before it left is still worth reading (an early
 * error answer, typically). */
static void writing_failed(struct weir_stream *s, const char *reason) {
    if (s->paused || s->eof || s->lingering || weir_timer_start(&s->timer, DEAD_MS) != WEIR_OK) {
        weir_stream_close(s, WEIR_DISCONNECTED, reason);
        return;
    }
    s->write_dead = true;
    s->dropped = plain_left(s);
    s->out.len = s->out_off = s->wire_off = 0;
    weir_loop_block_give(s->loop, &s->wire);
    if (s->tls != NULL)
        source(s)->len = 0;
}

static void send_slice(struct weir_stream *s) {
    size_t left = s->wire.len - s->wire_off;
    s->slice = left < SLICE ? left : SLICE;
    uv_buf_t buf = uv_buf_init(s->wire.data + s->wire_off, (unsigned)s->slice);
    s->write_busy = true;
    s->req.write.data = s;
    int rc = uv_write(&s->req.write, (uv_stream_t *)&s->tcp, &buf, 1, on_written);
    if (rc != 0) {
        s->write_busy = false;
        writing_failed(s, uv_strerror(rc));
    }
}

static uint64_t position(const struct weir_stream *s) {
    return s->sent + s->slice - s->tcp.write_queue_size;
}

static void watch_stall(struct weir_stream *s) {
    if (s->stall_ms == 0 || s->lingering)
        return;
    s->stall_pos = position(s);
    s->stall_ticks = 0;
    if (weir_timer_start(&s->timer, (s->stall_ms + 1) / 2) != WEIR_OK)
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
}

/* Two looks, half of the time apart, without progress between them. */
void weir_stream_check_stall(struct weir_stream *s) {
    if (!s->write_busy)
        return;
    if (position(s) != s->stall_pos) {
        s->stall_pos = position(s);
        s->stall_ticks = 0;
    } else if (++s->stall_ticks == 2) {
        weir_stream_close(s, WEIR_TIMEOUT, "the peer does not read");
        return;
    }
    if (weir_timer_start(&s->timer, (s->stall_ms + 1) / 2) != WEIR_OK)
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
}

static void on_written(uv_write_t *req, int rc) {
    struct weir_stream *s = req->data;
    s->write_busy = false;
    if (s->state == WEIR_STREAM_CLOSED)
        return;
    if (rc != 0) {
        s->wire_off += s->slice; /* how much of it the system took is not known any more */
        writing_failed(s, uv_strerror(rc));
        return;
    }
    s->wire_off += s->slice;
    s->sent += s->slice;
    s->slice = 0;
    if (s->wire_off == s->wire.len) {
        weir_loop_block_give(s->loop, &s->wire);
        s->wire_off = 0;
    }
    bound_out(s);
    weir_stream_push(s);
}

/* ---- pushing ------------------------------------------------------------------------------ */

/* The whole queue is out: what was to follow it follows. true: there is more to send. */
static bool all_out(struct weir_stream *s) {
    if (s->state != WEIR_STREAM_OPEN || s->out.len > 0 || !s->shut_wanted || s->shut_done)
        return false;
    if (s->tls != NULL && weir_stls_close_notify(s))
        return true;
    s->shut_done = true;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        shutdown(fd, SHUT_WR);
    if (s->lingering && s->eof)
        weir_stream_close(s, WEIR_OK, s->reason);
    return false;
}

/* Offers `src` to the socket; what it does not take becomes `wire`. */
static bool offer(struct weir_stream *s, struct weir_buf *src) {
    uv_buf_t buf = uv_buf_init(src->data, (unsigned)src->len);
    int n = uv_try_write((uv_stream_t *)&s->tcp, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        writing_failed(s, uv_strerror(n));
        return false;
    }
    size_t took = n < 0 ? 0 : (size_t)n;
    if (took == src->len) {
        weir_loop_block_give(s->loop, src);
        return true;
    }
    s->wire.data = src->data;
    s->wire.len = src->len;
    s->wire.cap = src->cap;
    s->wire_off = took;
    src->data = NULL;
    src->len = src->cap = 0;
    bound_out(s);
    send_slice(s);
    if (s->write_busy)
        watch_stall(s);
    return false;
}

static void note_marks(struct weir_stream *s) {
    size_t queued = weir_stream_queued(s);
    if (queued > s->write_high) {
        s->above = true;
    } else if (s->above && queued <= s->write_high / 2) {
        s->above = false;
        s->drain_due = true;
        weir_stream_defer(s);
    }
}

void weir_stream_push(struct weir_stream *s) {
    s->flush_due = false;
    if (s->state == WEIR_STREAM_CONNECTING || s->state == WEIR_STREAM_CLOSED)
        return;
    if (s->fd >= 0 && !weir_stream_settle(s))
        return;
    note_marks(s);
    if (s->write_dead) {
        s->dropped += s->out.len;
        s->out.len = 0;
        return;
    }
    if (s->wire.len > 0 && !s->write_busy)
        send_slice(s);
    while (!s->write_busy && s->state != WEIR_STREAM_CLOSED) {
        if (s->tls != NULL && s->state == WEIR_STREAM_OPEN && !weir_stls_encrypt(s))
            return;
        struct weir_buf *src = source(s);
        if (src->len == 0 ? !all_out(s) : !offer(s, src))
            break;
    }
    if (s->state != WEIR_STREAM_CLOSED && s->above)
        note_marks(s);
}

void weir_stream_flush(struct weir_stream *s) {
    weir_stream_push(s);
}

void weir_stream_shutdown(struct weir_stream *s) {
    if (s->state == WEIR_STREAM_CLOSED || s->shut_wanted)
        return;
    s->shut_wanted = true;
    weir_stream_flush_later(s);
}
