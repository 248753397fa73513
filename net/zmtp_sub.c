/*
 * Happy path: connect → both greet → READY each → SUBSCRIBE → messages. Failure modes: the
 * publisher is not there, leaves, or says what we do not understand: again after a growing pause;
 * the last is reported. Who may close when: the owner, at any time; the memory goes with the
 * stream.
 *
 * Events come in trickles, and each wake-up costs more than what it brings. When messages follow
 * each other within GATHER_MS, the socket is told to wake us only for GATHER_BYTES, and a timer
 * looks for what has come; the first look that finds nothing ends that.
 */
#include "net/zmtp_sub.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/stream.h"
#include "net/zmtp.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    RECONNECT_MS = 100,
    RECONNECT_MAX_MS = 5000,
    OPEN_MS = 5000,
    READY_MS = 30000, /* from the connection to READY */
    GATHER_MS = 4,
    GATHER_BYTES = 128 << 10,
    MAX_IN = (64 << 20) + (1 << 20),
    MAX_OUT = 128 << 10, /* what a publisher makes us say */
    IN_PLACE = 64 << 10, /* less is read through the loop's buffer */
    TRUSTED = 4 << 20,   /* memory that is taken because a frame says so */
    IP_BYTES = 64,
};
#define MAX_MESSAGE ((size_t)64 << 20)

struct weir_zmtp_sub {
    struct weir_loop *loop; /* borrowed */
    char ip[IP_BYTES];
    uint16_t port;
    struct weir_buf topic;
    weir_zmq_fn fn;
    void (*joined)(void *arg); /* or NULL */
    void (*rest)(void *arg);   /* or NULL */
    void *arg;
    struct weir_stream *stream;       /* NULL: between two attempts */
    struct weir_timer again;          /* the pause before the next attempt; the wait for READY */
    struct weir_timer look;           /* for what has gathered */
    struct weir_buf in;               /* the beginning of an unfinished message */
    struct weir_zmtp_message message; /* how far it was looked at */
    uint64_t pause_ms, last_read_ms;
    bool greeted, ready, gathering, found; /* found: since the last look */
    bool handed;                           /* messages, since `rest` was called */
    bool broken, closed; /* broken: this connection is over, on_close is to come */
};

/* ---- the connection ----------------------------------------------------------------------- */

static const struct weir_stream_ops stream_ops;

static void free_sub(struct weir_zmtp_sub *s) {
    weir_buf_fini(&s->topic);
    weir_buf_fini(&s->in);
    weir_free(s);
}

static void cut(struct weir_zmtp_sub *s, const char *reason) {
    static struct weir_log_limit limit;
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "zmq", "publisher %s port %u: %s (%u like this were not logged)",
                 s->ip, s->port, reason, dropped);
    s->broken = true;
    weir_stream_close(s->stream, WEIR_PROTOCOL, reason);
}

static void connect_again(struct weir_zmtp_sub *s);

static void on_again(void *arg) {
    struct weir_zmtp_sub *s = arg;
    if (s->stream != NULL)
        cut(s, "it is not ready");
    else
        connect_again(s);
}

/* A pause between half and the whole of its length, so that subscribers do not come all at once. */
static void pause_then_connect(struct weir_zmtp_sub *s) {
    uint64_t half = s->pause_ms / 2;
    uint64_t ms = half + weir_rng_below(weir_loop_rng(s->loop), half + 1);
    s->pause_ms = s->pause_ms * 2 < RECONNECT_MAX_MS ? s->pause_ms * 2 : RECONNECT_MAX_MS;
    if (weir_timer_start(&s->again, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "zmq", "out of memory: publisher %s port %u is lost", s->ip,
                 s->port);
}

static void connect_again(struct weir_zmtp_sub *s) {
    const struct weir_stream_limits limits = {.open_ms = OPEN_MS, .write_max = MAX_OUT};
    s->greeted = s->ready = s->gathering = s->broken = false;
    weir_buf_clear(&s->in);
    weir_zmtp_message_init(&s->message);
    if (weir_stream_connect(s->loop, s->ip, s->port, NULL, NULL, &limits, &stream_ops, s,
                            &s->stream) != WEIR_OK) {
        s->stream = NULL;
        pause_then_connect(s);
    }
}

static void send_out(struct weir_zmtp_sub *s, enum weir_status st) {
    if (st == WEIR_OK)
        weir_stream_flush_later(s->stream);
    else
        cut(s, "it does not read");
}

static void on_open(void *arg) {
    struct weir_zmtp_sub *s = arg;
    send_out(s, weir_zmtp_hello(weir_stream_out(s->stream)));
    if (weir_timer_start(&s->again, READY_MS) != WEIR_OK)
        cut(s, "out of memory");
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct weir_zmtp_sub *s = arg;
    if (status != WEIR_OK && s->ready && !s->broken)
        WEIR_LOG(WEIR_LOG_INFO, "zmq", "publisher %s port %u is gone: %s", s->ip, s->port, reason);
    s->stream = NULL;
    weir_timer_stop(&s->again);
    weir_timer_stop(&s->look);
    if (s->closed)
        free_sub(s);
    else
        pause_then_connect(s);
}

/* ---- what the publisher says ---------------------------------------------------------------- */

static void on_command(struct weir_zmtp_sub *s, struct weir_span body) {
    struct weir_span context;
    switch (weir_zmtp_command_decode(body, &context)) {
    case WEIR_ZMTP_READY:
        s->ready = true;
        s->pause_ms = RECONNECT_MS;
        weir_timer_stop(&s->again);
        if (s->joined != NULL)
            s->joined(s->arg);
        break;
    case WEIR_ZMTP_PING:
        send_out(s, weir_zmtp_pong(context, weir_stream_out(s->stream)));
        break;
    case WEIR_ZMTP_OTHER:
        break;
    case WEIR_ZMTP_BAD:
        cut(s, "it refused us, or is no publisher");
        break;
    }
}

static void on_message(struct weir_zmtp_sub *s) {
    static struct weir_log_limit limit;
    const struct weir_zmtp_message *m = &s->message;
    uint32_t dropped = 0;
    if (!s->ready)
        cut(s, "a message before READY");
    else if (m->n_frames > WEIR_ZMQ_MAX_FRAMES) {
        if (weir_log_limit_ok(&limit, 1, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "zmq",
                     "message dropped: too many frames (%u like this were not logged)", dropped);
    } else if (weir_span_starts(m->frames[0], weir_buf_span(&s->topic))) {
        s->handed = true;
        s->fn(s->arg, m->frames, m->n_frames);
    }
}

static enum weir_status eat_greeting(struct weir_zmtp_sub *s, struct weir_span bytes) {
    unsigned minor = 0;
    const char *why = "";
    enum weir_status st = weir_zmtp_greeting(bytes, &minor, &why);
    if (st == WEIR_OK) {
        s->greeted = true;
        send_out(s,
                 weir_zmtp_subscribe(minor, weir_buf_span(&s->topic), weir_stream_out(s->stream)));
    } else if (st != WEIR_AGAIN) {
        cut(s, why);
    }
    return st;
}

/* Handles all that is whole; returns what was used. The owner may close from inside. */
static size_t eat(struct weir_zmtp_sub *s, struct weir_span bytes) {
    size_t used = 0;
    if (!s->greeted) {
        if (eat_greeting(s, bytes) != WEIR_OK)
            return 0;
        used = WEIR_ZMTP_GREETING;
    }
    while (!s->closed && !s->broken) {
        enum weir_status st = weir_zmtp_message_decode(
            &s->message, weir_span(bytes.data + used, bytes.len - used), MAX_MESSAGE);
        if (st == WEIR_AGAIN)
            break;
        if (st != WEIR_OK) {
            cut(s, st == WEIR_TOO_LARGE ? "a message is too large" : "a frame is malformed");
            break;
        }
        used += s->message.used;
        if (s->message.n_frames == 0)
            on_command(s, s->message.command);
        else
            on_message(s);
        weir_zmtp_message_init(&s->message);
    }
    if (s->handed && s->rest != NULL && !s->closed)
        s->rest(s->arg);
    s->handed = false;
    return used;
}

static void gather(struct weir_zmtp_sub *s, bool on) {
    if (s->gathering != on)
        weir_stream_gather(s->stream, on ? GATHER_BYTES : 1);
    s->gathering = on;
}

/* Looks of all subscriptions of a loop come at the same times, so that one wake-up serves them. */
static bool look_later(struct weir_zmtp_sub *s) {
    uint64_t passed = weir_loop_now_ms(s->loop) % GATHER_MS;
    return weir_timer_start(&s->look, GATHER_MS - passed) == WEIR_OK;
}

static void note_read(struct weir_zmtp_sub *s) {
    uint64_t now = weir_loop_now_ms(s->loop);
    bool soon = now - s->last_read_ms <= GATHER_MS;
    s->last_read_ms = now;
    s->found = true;
    if (s->ready && soon && !s->gathering && look_later(s))
        gather(s, true);
}

static void on_look(void *arg) {
    struct weir_zmtp_sub *s = arg;
    s->found = false;
    weir_stream_read_now(s->stream);
    if (s->closed || s->broken)
        return;
    /* A look that finds nothing, or no timer for the next: bytes that came meanwhile wake us. */
    if (!s->found || !look_later(s))
        gather(s, false);
}

/* The rest of a long message is read to where it is wanted. */
static char *on_room(void *arg, size_t *ret_bytes) {
    struct weir_zmtp_sub *s = arg;
    size_t room = s->in.cap - s->in.len;
    if (s->in.len == 0 || room < IN_PLACE)
        return NULL;
    *ret_bytes = room;
    return s->in.data + s->in.len;
}

/* `bytes` begin a message: memory for all of its frame at once, where that tells its length. */
static void make_room(struct weir_zmtp_sub *s, struct weir_span bytes) {
    size_t used = s->message.used;
    size_t size =
        bytes.len > used ? weir_zmtp_frame_size(weir_span(bytes.data + used, bytes.len - used)) : 0;
    if (size > IN_PLACE && size <= TRUSTED && used + size > s->in.len)
        (void)!weir_buf_reserve(&s->in, used + size - s->in.len);
}

static bool keep(struct weir_zmtp_sub *s, struct weir_span bytes) {
    if (s->in.len == 0) {
        make_room(s, bytes);
    } else if (bytes.data == s->in.data + s->in.len) {
        s->in.len += bytes.len; /* on_room's place */
        return true;
    }
    return weir_buf_append_span(&s->in, bytes) == WEIR_OK;
}

static void on_read(void *arg, struct weir_span bytes) {
    struct weir_zmtp_sub *s = arg;
    note_read(s);
    if (s->in.len == 0) {
        size_t used = eat(s, bytes);
        bytes = weir_span(bytes.data + used, bytes.len - used);
        if (s->closed || s->broken || bytes.len == 0)
            return;
    }
    if (!keep(s, bytes)) {
        cut(s, "a message is too large, or there is no memory for it");
        return;
    }
    weir_buf_consume(&s->in, eat(s, weir_buf_span(&s->in)));
    if (s->in.len == 0)
        weir_buf_fini(&s->in);
    else if (!s->closed && !s->broken)
        make_room(s, weir_buf_span(&s->in));
}

static const struct weir_stream_ops stream_ops = {
    .on_open = on_open, .on_read = on_read, .on_room = on_room, .on_close = on_close};

/* ---- life --------------------------------------------------------------------------------- */

static bool parse_endpoint(const char *endpoint, char ip[IP_BYTES], uint16_t *ret_port) {
    struct weir_span rest = weir_span_z(endpoint);
    const char *colon = strrchr(endpoint, ':');
    unsigned char address[16];
    uint64_t port = 0;
    if (!weir_span_starts(rest, WEIR_SPAN_LIT("tcp://")) || colon < endpoint + 6 ||
        !weir_span_u64(weir_span_z(colon + 1), &port) || port == 0 || port > UINT16_MAX)
        return false;
    struct weir_span host = weir_span(endpoint + 6, (size_t)(colon - endpoint - 6));
    bool v6 = host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
    if (v6)
        host = weir_span(host.data + 1, host.len - 2);
    if (host.len >= IP_BYTES)
        return false;
    memcpy(ip, host.data, host.len);
    ip[host.len] = '\0';
    *ret_port = (uint16_t)port;
    return inet_pton(v6 ? AF_INET6 : AF_INET, ip, address) == 1;
}

enum weir_status weir_zmtp_sub_open(struct weir_loop *loop, const char *endpoint,
                                    struct weir_span topic, weir_zmq_fn fn, void *arg,
                                    struct weir_zmtp_sub **ret_sub) {
    char ip[IP_BYTES];
    uint16_t port;
    if (!parse_endpoint(endpoint, ip, &port))
        return WEIR_AGAIN;
    struct weir_zmtp_sub *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->loop = loop;
    memcpy(s->ip, ip, sizeof(ip));
    s->port = port;
    s->fn = fn;
    s->arg = arg;
    s->pause_ms = RECONNECT_MS;
    weir_buf_init(&s->topic, MAX_OUT / 2);
    weir_buf_init(&s->in, MAX_IN);
    weir_timer_init(&s->again, loop, on_again, s);
    weir_timer_init(&s->look, loop, on_look, s);
    enum weir_status st = weir_buf_append_span(&s->topic, topic);
    if (st != WEIR_OK) {
        free_sub(s);
        return st;
    }
    connect_again(s);
    *ret_sub = s;
    return WEIR_OK;
}

void weir_zmtp_sub_on_joined(struct weir_zmtp_sub *s, void (*fn)(void *arg)) {
    s->joined = fn;
}

void weir_zmtp_sub_on_rest(struct weir_zmtp_sub *s, void (*fn)(void *arg)) {
    s->rest = fn;
}

void weir_zmtp_sub_close(struct weir_zmtp_sub *s) {
    if (s == NULL || s->closed)
        return;
    s->closed = true;
    weir_timer_stop(&s->again);
    weir_timer_stop(&s->look);
    if (s->stream != NULL)
        weir_stream_close(s->stream, WEIR_OK, "closed by the subscriber");
    else
        free_sub(s);
}
