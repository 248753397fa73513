/* The inside of a stream, for stream*.c, listen.c and tls.c. */
#ifndef WEIR_NET_STREAM_PRIV_H
#define WEIR_NET_STREAM_PRIV_H

#include "base/buf.h"
#include "net/loop_priv.h"
#include "net/stream.h"

enum weir_stream_state {
    WEIR_STREAM_CONNECTING,
    WEIR_STREAM_HANDSHAKE, /* TLS only */
    WEIR_STREAM_OPEN,
    WEIR_STREAM_CLOSED, /* uv_close() was called; on_close is still to come */
};

struct weir_stream_tls;

struct weir_stream {
    uv_tcp_t tcp;
    union {
        uv_connect_t connect;
        uv_write_t write;
    } req;                  /* connect while CONNECTING, then write while write_busy */
    struct weir_list node;  /* in loop.streams */
    struct weir_loop *loop; /* borrowed: outlives the stream */
    struct weir_stream_ops ops;
    void *arg;
    struct weir_stream_tls *tls;    /* owned; NULL for plain TCP */
    struct weir_listener *listener; /* borrowed: lives while it has streams; NULL: we connected */

    struct weir_buf out;  /* what the owner queued and was not taken yet */
    size_t out_off;       /* bytes of out that are in records already (TLS) */
    struct weir_buf wire; /* what libuv is sending; must not move while write_busy */
    size_t wire_off;      /* bytes of wire that are out */
    size_t slice;         /* bytes of the write in flight */
    size_t write_max, write_high;
    uint64_t dead_ms, stall_ms, sent, stall_pos; /* sent: bytes that left through wire, ever */

    struct weir_timer timer;       /* open deadline, then write stall, then linger */
    struct weir_deferred deferred; /* flush, drain and resume at the end of the turn */
    enum weir_stream_state state;
    enum weir_status status;
    const char *reason;
    int fd;                  /* accepted and not libuv's yet; else -1 */
    bool paused, uv_reading; /* the owner wants no bytes; libuv is told to read */
    bool gathers_much;       /* more than the usual buffer takes */
    bool flush_due, drain_due, resume_due;
    bool write_busy, write_dead; /* dead: the peer takes no more; what it sent is still read */
    bool above;                  /* went over write_high and not yet below the low mark */
    bool shut_wanted, shut_done;
    bool eof;           /* the peer finished sending */
    size_t dropped;     /* bytes of the queue that will never leave, because writing has failed */
    size_t undelivered; /* once CLOSED: the answer of weir_stream_undelivered */
    bool lingering;     /* close_flushed() was called: nothing but on_close will be called */
    bool adopted;
    uint8_t stall_ticks;

    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    char peer[64]; /* filled on first demand */
};

/* ---- stream.c ---- */
/* A stream over an accepted descriptor, which it owns from here on, even on failure. */
enum weir_status weir_stream_accept(struct weir_listener *l, int fd, const struct sockaddr *from,
                                    struct weir_stream **ret_stream);
/* Gives an accepted descriptor to libuv, if it has not got it yet. false: the stream was closed. */
bool weir_stream_settle(struct weir_stream *s);
/* Bytes can flow: tells the owner (or the listener) and sends what was queued. */
void weir_stream_opened(struct weir_stream *s);
void weir_stream_got_eof(struct weir_stream *s);
void weir_stream_defer(struct weir_stream *s);
/* ---- stream_write.c ---- */
/* Sends bytes of the queue until the socket is full. Never calls back. */
void weir_stream_push(struct weir_stream *s);
void weir_stream_check_stall(struct weir_stream *s);
/* ---- listen.c ---- */
struct weir_loop *weir_listener_loop(struct weir_listener *l);
const struct weir_listen_config *weir_listener_config(const struct weir_listener *l);
/* An accepted stream is open: hands it to the owner. */
void weir_listener_hand_over(struct weir_listener *l, struct weir_stream *s);
void weir_listener_stream_came(struct weir_listener *l);
void weir_listener_stream_gone(struct weir_listener *l);

/* ---- stream_tls.c ---- */
/* `sni` and `ip` only on the client side. */
enum weir_status weir_stls_create(struct weir_stream *s, struct weir_tls *tls, bool server,
                                  const char *sni, const char *ip);
void weir_stls_free(struct weir_stream_tls *t);
/* The client speaks first. */
void weir_stls_start(struct weir_stream *s);
/* Ciphertext from the socket. */
void weir_stls_input(struct weir_stream *s, const char *data, size_t len);
/* The owner reads again: hands over what was held back. */
void weir_stls_resume(struct weir_stream *s);
bool weir_stls_holds_back(const struct weir_stream *s);
/* FIN came: a truncation, unless close_notify came before. */
void weir_stls_eof(struct weir_stream *s);
/* Turns bytes of s->out into records. false: the stream was closed. */
bool weir_stls_encrypt(struct weir_stream *s);
/* Records that wait to be sent. */
struct weir_buf *weir_stls_cipher(struct weir_stream *s);
/* Queues the alert among the records, once. true: there is something to send. */
bool weir_stls_close_notify(struct weir_stream *s);
const char *weir_stls_alpn(const struct weir_stream *s);

#endif
