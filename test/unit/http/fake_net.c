#include "test/unit/http/fake_net.h"

#include "base/mem.h"

#include <stdlib.h>

struct weir_listener {
    struct weir_loop *loop;
    weir_accept_fn on_accept;
    void *arg;
    struct weir_stream_limits limits;
};

struct weir_loop {
    uint64_t now_ms;
    struct weir_list deferred, closing;
    struct weir_timer *timers[64];
    unsigned n_timers;
    struct weir_listener *listener;
    struct fake_end *next;
    unsigned n_streams;
};

struct weir_stream {
    struct weir_loop *loop;
    struct weir_stream_ops ops;
    void *arg;
    struct fake_end *end;
    struct weir_buf out;
    struct weir_deferred flush;
    struct weir_timer linger;
    struct weir_list node; /* in closing */
    size_t high;
    bool blocked, above, fin_wanted, lingering, eof, closed;
};

/* ---- loop ----------------------------------------------------------------------------------- */

struct weir_loop *fake_loop_create(void) {
    struct weir_loop *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        abort();
    l->now_ms = 1000;
    weir_list_init(&l->deferred);
    weir_list_init(&l->closing);
    return l;
}

void fake_loop_destroy(struct weir_loop *l) {
    fake_loop_turn(l);
    WEIR_ASSERT(l->n_timers == 0 && l->n_streams == 0 && l->listener == NULL);
    weir_free(l);
}

uint64_t weir_loop_now_ms(const struct weir_loop *l) {
    return l->now_ms;
}
uint64_t weir_now_ns(void) {
    return 1;
}

uint64_t weir_loop_event_ns(struct weir_loop *loop) {
    (void)loop;
    return weir_now_ns();
}
uint64_t weir_wall_ms(void) {
    return 1000;
}

void weir_deferred_init(struct weir_deferred *d, weir_post_fn fn, void *arg) {
    weir_list_init(&d->node);
    d->fn = fn;
    d->arg = arg;
}
void weir_loop_defer(struct weir_loop *l, struct weir_deferred *d) {
    if (weir_list_empty(&d->node))
        weir_list_push_back(&l->deferred, &d->node);
}
void weir_deferred_cancel(struct weir_deferred *d) {
    weir_list_remove(&d->node);
}

void weir_timer_init(struct weir_timer *t, struct weir_loop *l, weir_timer_fn fn, void *arg) {
    *t = (struct weir_timer){.loop = l, .fn = fn, .arg = arg};
}
enum weir_status weir_timer_start(struct weir_timer *t, uint64_t delay_ms) {
    struct weir_loop *l = t->loop;
    t->due_ms = l->now_ms + delay_ms;
    if (t->heap_index != 0)
        return WEIR_OK;
    if (l->n_timers == WEIR_ARRAY_LEN(l->timers))
        return WEIR_NOMEM;
    l->timers[l->n_timers++] = t;
    t->heap_index = 1;
    return WEIR_OK;
}
void weir_timer_stop(struct weir_timer *t) {
    struct weir_loop *l = t->loop;
    for (unsigned i = 0; i < l->n_timers; i++)
        if (l->timers[i] == t)
            l->timers[i] = l->timers[--l->n_timers];
    t->heap_index = 0;
}

static void close_now(struct weir_stream *s) {
    struct fake_end *end = s->end;
    end->stream = NULL;
    end->fin = true;
    if (s->ops.on_close != NULL)
        s->ops.on_close(s->arg, end->status, end->reason);
    weir_buf_fini(&s->out);
    s->loop->n_streams--;
    free(s);
}

void fake_loop_turn(struct weir_loop *l) {
    for (;;) {
        if (!weir_list_empty(&l->deferred)) {
            struct weir_list *node = l->deferred.next;
            struct weir_deferred *d = WEIR_CONTAINER_OF(node, struct weir_deferred, node);
            weir_list_remove(node);
            d->fn(d->arg);
        } else if (!weir_list_empty(&l->closing)) {
            struct weir_list *node = l->closing.next;
            weir_list_remove(node);
            close_now(WEIR_CONTAINER_OF(node, struct weir_stream, node));
        } else {
            return;
        }
    }
}

void fake_loop_advance(struct weir_loop *l, uint64_t ms) {
    uint64_t until = l->now_ms + ms;
    for (;;) {
        struct weir_timer *first = NULL;
        for (unsigned i = 0; i < l->n_timers; i++)
            if (l->timers[i]->due_ms <= until &&
                (first == NULL || l->timers[i]->due_ms < first->due_ms))
                first = l->timers[i];
        if (first == NULL)
            break;
        if (first->due_ms > l->now_ms)
            l->now_ms = first->due_ms;
        weir_timer_stop(first);
        first->fn(first->arg);
        fake_loop_turn(l);
    }
    l->now_ms = until;
}

/* ---- streams -------------------------------------------------------------------------------- */

/* Not through base/mem.h: failures that a test arms are for the code under test. */
static void keep_sent(struct weir_buf *sent, struct weir_span bytes) {
    if (sent->len + bytes.len > sent->cap) {
        sent->cap = 2 * (sent->len + bytes.len) + 1024;
        sent->data = realloc(sent->data, sent->cap);
        if (sent->data == NULL)
            abort();
    }
    if (bytes.len > 0)
        memcpy(sent->data + sent->len, bytes.data, bytes.len);
    sent->len += bytes.len;
}

static void flush(void *arg) {
    struct weir_stream *s = arg;
    if (s->closed)
        return;
    if (s->out.len > s->high)
        s->above = true;
    if (!s->blocked) {
        keep_sent(&s->end->sent, weir_buf_span(&s->out));
        /* As the real one does: the memory goes back, so that a stale pointer is found. */
        weir_buf_fini(&s->out);
        if (s->above && !s->fin_wanted) {
            s->above = false;
            if (s->ops.on_drain != NULL)
                s->ops.on_drain(s->arg);
        }
    }
    if (s->out.len == 0 && s->fin_wanted)
        s->end->fin = true;
    if (s->lingering && s->end->fin && s->eof)
        weir_stream_close(s, WEIR_OK, s->end->reason);
}

static void on_linger(void *arg) {
    struct weir_stream *s = arg;
    weir_stream_close(s, s->out.len > 0 ? WEIR_TIMEOUT : WEIR_OK, s->end->reason);
}

static struct weir_stream *create(struct weir_loop *l, struct fake_end *end,
                                  const struct weir_stream_limits *limits) {
    struct weir_stream *s = calloc(1, sizeof(*s));
    *end = (struct fake_end){.stream = s, .reading = true};
    weir_buf_init(&end->sent, (size_t)1 << 30);
    if (s == NULL)
        abort();
    s->loop = l;
    s->end = end;
    s->high = limits != NULL && limits->write_high != 0 ? limits->write_high : 256 * 1024;
    weir_buf_init(&s->out, limits != NULL && limits->write_max != 0 ? limits->write_max : 64 << 20);
    weir_deferred_init(&s->flush, flush, s);
    weir_timer_init(&s->linger, l, on_linger, s);
    weir_list_init(&s->node);
    l->n_streams++;
    return s;
}

void fake_accept(struct weir_loop *l, struct fake_end *end) {
    create(l, end, &l->listener->limits);
    l->listener->on_accept(l->listener->arg, end->stream);
}

void fake_expect_connect(struct weir_loop *l, struct fake_end *end) {
    l->next = end;
}

enum weir_status weir_stream_connect(struct weir_loop *l, const char *ip, uint16_t port,
                                     struct weir_tls *tls, const char *sni,
                                     const struct weir_stream_limits *limits,
                                     const struct weir_stream_ops *ops, void *arg,
                                     struct weir_stream **ret_stream) {
    (void)ip;
    (void)port;
    (void)tls;
    (void)sni;
    if (l->next == NULL)
        return WEIR_CANNOT_CONNECT;
    struct weir_stream *s = create(l, l->next, limits);
    l->next = NULL;
    weir_stream_adopt(s, ops, arg);
    *ret_stream = s;
    return WEIR_OK;
}

void fake_open(struct fake_end *end) {
    if (end->stream != NULL && !end->stream->closed && end->stream->ops.on_open != NULL)
        end->stream->ops.on_open(end->stream->arg);
}

/* As many bytes as go into the place that the owner gives for them. */
static size_t feed_room(struct weir_stream *s, const char *data, size_t len) {
    size_t room = 0;
    char *to = s->ops.on_room != NULL ? s->ops.on_room(s->arg, &room) : NULL;
    if (to == NULL)
        return 0;
    WEIR_ASSERT(room > 0);
    len = len < room ? len : room;
    memcpy(to, data, len);
    s->ops.on_read(s->arg, weir_span(to, len));
    return len;
}

void fake_feed(struct weir_loop *l, struct fake_end *end, const void *bytes, size_t len) {
    struct weir_stream *s = end->stream;
    const char *data = bytes;
    for (size_t n = 1; n > 0 && s != NULL && !s->closed && !s->lingering && len > 0;) {
        n = feed_room(s, data, len);
        data += n;
        len -= n;
    }
    if (s != NULL && !s->closed && !s->lingering && len > 0) {
        /* A copy of exactly this size, so that reading beyond it is found. */
        char *copy = malloc(len);
        if (copy == NULL)
            abort();
        memcpy(copy, data, len);
        s->ops.on_read(s->arg, weir_span(copy, len));
        free(copy);
    }
    fake_loop_turn(l);
}

void fake_eof(struct weir_loop *l, struct fake_end *end) {
    struct weir_stream *s = end->stream;
    if (s != NULL && !s->closed) {
        s->eof = true;
        if (s->lingering)
            flush(s);
        else if (s->ops.on_eof != NULL)
            s->ops.on_eof(s->arg);
        else
            weir_stream_close(s, WEIR_DISCONNECTED, "closed by the peer");
    }
    fake_loop_turn(l);
}

void fake_block(struct fake_end *end, bool blocked) {
    struct weir_stream *s = end->stream;
    if (s == NULL)
        return;
    s->blocked = blocked;
    weir_stream_flush_later(s);
}

void fake_end_fini(struct fake_end *end) {
    weir_buf_fini(&end->sent);
}

enum weir_status weir_stream_write(struct weir_stream *s, const void *data, size_t len) {
    if (s->closed || s->fin_wanted)
        return WEIR_DISCONNECTED;
    enum weir_status st = weir_buf_append(&s->out, data, len);
    weir_stream_flush_later(s);
    return st;
}

enum weir_status weir_stream_write_now(struct weir_stream *s, struct weir_span first,
                                       struct weir_span second) {
    enum weir_status st = weir_stream_write(s, first.data, first.len);
    return st == WEIR_OK ? weir_stream_write(s, second.data, second.len) : st;
}
bool weir_stream_writable(struct weir_stream *s) {
    return s->out.len <= s->high;
}
size_t weir_stream_queued(const struct weir_stream *s) {
    return s->out.len;
}
size_t weir_stream_undelivered(const struct weir_stream *s, bool *ret_open) {
    if (ret_open != NULL)
        *ret_open = false;
    return s->out.len;
}
struct weir_buf *weir_stream_out(struct weir_stream *s) {
    return &s->out;
}
void weir_stream_flush_later(struct weir_stream *s) {
    if (!s->closed)
        weir_loop_defer(s->loop, &s->flush);
}
void weir_stream_flush(struct weir_stream *s) {
    flush(s);
}
void weir_stream_read_stop(struct weir_stream *s) {
    s->end->reading = false;
}
void weir_stream_read_start(struct weir_stream *s) {
    s->end->reading = true;
}
void weir_stream_shutdown(struct weir_stream *s) {
    s->fin_wanted = true;
    weir_stream_flush_later(s);
}
void weir_stream_close(struct weir_stream *s, enum weir_status status, const char *reason) {
    if (s->closed)
        return;
    s->closed = s->end->closed = true;
    s->end->status = status;
    s->end->reason = reason;
    weir_deferred_cancel(&s->flush);
    weir_timer_stop(&s->linger);
    weir_list_push_back(&s->loop->closing, &s->node);
}
void weir_stream_close_flushed(struct weir_stream *s, uint64_t linger_ms, const char *reason) {
    if (s->closed || s->lingering)
        return;
    s->lingering = s->fin_wanted = true;
    s->end->reason = reason;
    if (weir_timer_start(&s->linger, linger_ms) != WEIR_OK)
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
    weir_stream_flush_later(s);
}
const char *weir_stream_peer(const struct weir_stream *s) {
    (void)s;
    return "192.0.2.1:1";
}
const char *weir_stream_alpn(const struct weir_stream *s) {
    (void)s;
    return "";
}
void weir_stream_adopt(struct weir_stream *s, const struct weir_stream_ops *ops, void *arg) {
    s->ops = *ops;
    s->arg = arg;
}

enum weir_status weir_listen(struct weir_loop *l, const struct weir_listen_config *config,
                             weir_accept_fn on_accept, void *arg,
                             struct weir_listener **ret_listener, struct weir_err *err) {
    struct weir_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    *listener = (struct weir_listener){l, on_accept, arg, config->limits};
    l->listener = listener;
    *ret_listener = listener;
    return WEIR_OK;
}
uint64_t weir_stream_dead_ms(const struct weir_loop *l, uint64_t stall_ms) {
    (void)l;
    return stall_ms;
}
uint16_t weir_listener_port(const struct weir_listener *l) {
    (void)l;
    return 1;
}
unsigned weir_listener_conns(const struct weir_listener *l) {
    return l->loop->n_streams;
}
void weir_listener_close(struct weir_listener *l) {
    if (l == NULL)
        return;
    l->loop->listener = NULL;
    free(l);
}
