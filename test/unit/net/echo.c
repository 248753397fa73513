#include "test/unit/net/echo.h"
#include "test/unit/runtime/turns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 96 * 1024 };
enum fate { WHOLE, CLIENT_CLOSES, SERVER_CLOSES, CLIENT_LINGERS };

struct run {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct weir_tls *client_tls;
    const char *sni;
    struct weir_rng rng;
    struct echo_result result;
    unsigned started, n, ended;
    uint64_t total;
    struct weir_timer guard;
    char *chunk; /* owned; CHUNK bytes */
};

struct client {
    struct run *run;
    struct weir_stream *stream;
    struct weir_timer pause;
    enum fate fate;
    uint64_t total, sent, got, cut_at; /* bytes */
    uint64_t seed;
    bool opened, closed, asked_close, eof;
};

/* The server's side of one connection; its first 8 bytes say when it shall close (0 = never). */
struct peer {
    struct run *run;
    struct weir_stream *stream;
    struct weir_timer pause;
    uint64_t seen, cut_at;
    uint8_t head[8];
    bool closed;
};

static void wrong(struct run *r, const char *what, uint64_t a, uint64_t b) {
    if (r->result.wrong++ == 0)
        snprintf(r->result.first, sizeof(r->result.first), "%s (%" PRIu64 ", %" PRIu64 ")", what, a,
                 b);
}

/* The byte at a position of a client's stream. */
static uint8_t byte_at(uint64_t seed, uint64_t at) {
    return (uint8_t)((seed + at) * 0x9e3779b97f4a7c15u >> 56);
}

static void start_client(struct run *r);

/* ---- server ------------------------------------------------------------------------------- */

static void on_peer_pause(void *arg) {
    struct peer *p = arg;
    if (weir_stream_writable(p->stream))
        weir_stream_read_start(p->stream);
}

static void on_peer_read(void *arg, struct weir_span bytes) {
    struct peer *p = arg;
    if (p->closed)
        wrong(p->run, "peer: read after close", 0, 0);
    for (size_t i = 0; i < bytes.len && p->seen + i < 8; i++)
        p->head[p->seen + i] = (uint8_t)bytes.data[i];
    p->seen += bytes.len;
    if (p->seen >= 8)
        memcpy(&p->cut_at, p->head, 8);
    enum weir_status st = weir_stream_write(p->stream, bytes.data, bytes.len);
    if (st != WEIR_OK) {
        /* The client may be gone, with bytes of it still to be read. */
        if (st != WEIR_DISCONNECTED)
            wrong(p->run, "peer: write refused", weir_stream_queued(p->stream), bytes.len);
        return;
    }
    p->run->result.bytes += bytes.len;
    if (p->cut_at != 0 && p->seen >= p->cut_at) {
        weir_stream_close(p->stream, WEIR_OK, "as planned");
    } else if (!weir_stream_writable(p->stream)) {
        weir_stream_read_stop(p->stream);
    } else if (weir_rng_below(&p->run->rng, 20) == 0) {
        weir_stream_read_stop(p->stream);
        if (weir_timer_start(&p->pause, weir_rng_below(&p->run->rng, 4)) != WEIR_OK)
            wrong(p->run, "peer: no timer", 0, 0);
    }
}

static void on_peer_drain(void *arg) {
    struct peer *p = arg;
    weir_stream_read_start(p->stream);
}

static void on_peer_eof(void *arg) {
    struct peer *p = arg;
    weir_stream_close_flushed(p->stream, 30000, "echoed all");
}

static void on_peer_close(void *arg, enum weir_status status, const char *reason) {
    struct peer *p = arg;
    (void)status;
    (void)reason;
    if (p->closed)
        wrong(p->run, "peer: closed twice", 0, 0);
    weir_timer_stop(&p->pause);
    p->run->result.open--;
    p->closed = true;
    free(p);
}

static const struct weir_stream_ops peer_ops = {.on_read = on_peer_read,
                                                .on_drain = on_peer_drain,
                                                .on_eof = on_peer_eof,
                                                .on_close = on_peer_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct run *r = arg;
    struct peer *p = calloc(1, sizeof(*p));
    p->run = r;
    p->stream = s;
    weir_timer_init(&p->pause, r->loop, on_peer_pause, p);
    r->result.open++;
    weir_stream_adopt(s, &peer_ops, p);
}

/* ---- client ------------------------------------------------------------------------------- */

static void send_some(struct client *c) {
    char *chunk = c->run->chunk;
    while (c->sent < c->total && weir_stream_writable(c->stream)) {
        uint64_t most = weir_rng_below(&c->run->rng, 8) == 0 ? CHUNK : 2000;
        size_t n = (size_t)weir_rng_below(&c->run->rng, most) + 1;
        n = n < c->total - c->sent ? n : (size_t)(c->total - c->sent);
        uint64_t cut = c->fate == SERVER_CLOSES ? c->cut_at : 0;
        for (size_t i = 0; i < n; i++)
            chunk[i] = c->sent + i < 8 ? (char)(cut >> 8 * (c->sent + i))
                                       : (char)byte_at(c->seed, c->sent + i);
        if (weir_stream_write(c->stream, chunk, n) != WEIR_OK) {
            if (c->fate != SERVER_CLOSES)
                wrong(c->run, "client: write refused", c->sent, c->total);
            return;
        }
        c->sent += n;
        if (weir_rng_below(&c->run->rng, 6) == 0)
            weir_stream_flush(c->stream);
    }
    if (c->sent == c->total)
        weir_stream_shutdown(c->stream);
}

static void on_client_drain(void *arg) {
    send_some(arg);
}

static void on_client_open(void *arg) {
    struct client *c = arg;
    if (c->opened || c->closed)
        wrong(c->run, "client: opened twice or late", 0, 0);
    c->opened = true;
    send_some(c);
}

static void on_client_pause(void *arg) {
    struct client *c = arg;
    weir_stream_read_start(c->stream);
}

static void on_client_read(void *arg, struct weir_span bytes) {
    struct client *c = arg;
    if (c->closed || c->asked_close || c->eof)
        wrong(c->run, "client: read after the end", c->asked_close, c->eof);
    uint64_t cut = c->fate == SERVER_CLOSES ? c->cut_at : 0;
    for (size_t i = 0; i < bytes.len; i++) {
        uint64_t at = c->got + i;
        uint8_t want = at < 8 ? (uint8_t)(cut >> 8 * at) : byte_at(c->seed, at);
        if ((uint8_t)bytes.data[i] != want) {
            wrong(c->run, "client: another byte came back", at, c->total);
            break;
        }
    }
    c->got += bytes.len;
    if ((c->fate == CLIENT_CLOSES || c->fate == CLIENT_LINGERS) && c->got >= c->cut_at) {
        c->asked_close = true;
        if (c->fate == CLIENT_CLOSES)
            weir_stream_close(c->stream, WEIR_OK, "as planned");
        else
            weir_stream_close_flushed(c->stream, 5, "as planned");
        return;
    }
    if (weir_rng_below(&c->run->rng, 30) == 0) {
        weir_stream_read_stop(c->stream);
        if (weir_timer_start(&c->pause, weir_rng_below(&c->run->rng, 5)) != WEIR_OK)
            wrong(c->run, "client: no timer", 0, 0);
    }
}

static void on_client_eof(void *arg) {
    struct client *c = arg;
    c->eof = true;
    weir_stream_close(c->stream, WEIR_OK, "done");
}

static void on_client_close(void *arg, enum weir_status status, const char *reason) {
    struct client *c = arg;
    struct run *r = c->run;
    weir_timer_stop(&c->pause);
    if (c->closed)
        wrong(r, "client: closed twice", 0, 0);
    c->closed = true;
    if (c->fate != WHOLE && c->fate != SERVER_CLOSES)
        r->result.cut += c->asked_close;
    else if (c->fate == WHOLE && c->eof && c->got == c->total && status == WEIR_OK)
        r->result.whole++;
    else if (c->fate == SERVER_CLOSES && c->got < c->total)
        r->result.cut++;
    else
        wrong(r, reason, c->got, c->total);
    free(c);
    r->ended++;
    r->result.open--;
    if (r->started < r->n)
        start_client(r);
    else if (r->ended == r->n)
        weir_loop_stop(r->loop);
}

static const struct weir_stream_ops client_ops = {.on_open = on_client_open,
                                                  .on_read = on_client_read,
                                                  .on_drain = on_client_drain,
                                                  .on_eof = on_client_eof,
                                                  .on_close = on_client_close};

static void start_client(struct run *r) {
    struct client *c = calloc(1, sizeof(*c));
    c->run = r;
    c->seed = weir_rng_u64(&r->rng);
    c->fate = weir_rng_below(&r->rng, 2) == 0 ? WHOLE : (enum fate)weir_rng_below(&r->rng, 4);
    c->total = 16 + weir_rng_below(&r->rng, r->total);
    c->cut_at = 8 + weir_rng_below(&r->rng, c->total - 8);
    if (c->fate == SERVER_CLOSES) /* leave more on the way than anyone would accept at once */
        c->total += r->total;
    weir_timer_init(&c->pause, r->loop, on_client_pause, c);
    r->started++;
    r->result.open++;
    struct weir_stream_limits limits = {
        .open_ms = 60000, .write_high = 65536, .write_stall_ms = 60000};
    if (weir_stream_connect(r->loop, "127.0.0.1", weir_listener_port(r->listener), r->client_tls,
                            r->sni, &limits, &client_ops, c, &c->stream) != WEIR_OK)
        wrong(r, "client: cannot connect", 0, 0);
}

static void on_guard(void *arg) {
    struct run *r = arg;
    r->result.timed_out = true;
    weir_loop_stop(r->loop);
}

static bool none_left(void *listener) {
    return weir_listener_conns(listener) == 0;
}

struct echo_result echo_run(uint64_t seed, unsigned n, uint64_t total, struct weir_tls *server,
                            struct weir_tls *client, const char *sni) {
    struct run r = {.n = n, .total = total, .client_tls = client, .sni = sni};
    weir_rng_seed(&r.rng, seed);
    r.chunk = malloc(CHUNK);
    struct weir_listen_config config = {
        .ip = "127.0.0.1",
        .tls = server,
        .limits = {.open_ms = 60000, .write_high = 32768, .write_stall_ms = 60000}};
    if (weir_loop_create(0, &r.loop) != WEIR_OK ||
        weir_listen(r.loop, &config, on_accept, &r, &r.listener, NULL) != WEIR_OK)
        abort();
    weir_timer_init(&r.guard, r.loop, on_guard, &r);
    if (weir_timer_start(&r.guard, 120000) != WEIR_OK)
        abort();
    for (unsigned i = 0; i < 16 && i < n; i++)
        start_client(&r);
    weir_loop_run(r.loop);
    weir_timer_stop(&r.guard);
    /* The last client may know of its end before the listener does. */
    (void)turns_until(r.loop, none_left, r.listener);
    r.result.conns = weir_listener_conns(r.listener);
    weir_listener_close(r.listener);
    weir_loop_destroy(r.loop);
    free(r.chunk);
    return r.result;
}
