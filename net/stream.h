/*
 * Byte streams: TCP and TLS behind one object, on one loop.
 *
 * Reading starts when the stream is open; weir_stream_read_stop() holds the peer back (TCP window).
 * Writes are copied into a bounded queue and flushed at the end of the loop turn, so that many
 * small writes of one turn cost one system call. Every close carries a reason that reaches the log.
 * Callbacks never fire from inside the call that causes them, except where said; after on_close
 * nothing fires and the pointer is dead.
 */
#ifndef WEIR_NET_STREAM_H
#define WEIR_NET_STREAM_H

#include "base/span.h"
#include "net/loop.h"
#include "net/tls.h"

struct weir_stream;
struct weir_listener;

struct weir_stream_ops {
    /* Connecting streams: once, when bytes can flow (after the TLS handshake). May be NULL.
     * Accepted streams are open when they are handed over. */
    void (*on_open)(void *arg);
    /* Bytes came; borrowed for the call. The callee may close the stream from here. */
    void (*on_read)(void *arg, struct weir_span bytes);
    /* Where the next bytes are to be put, which on_read then gets at this place, and room for how
     * many; NULL: in the loop's own buffer. Asked before each read of an open stream without TLS;
     * an answer obliges to nothing. May be NULL. */
    char *(*on_room)(void *arg, size_t *ret_bytes);
    /* The peer finished sending (FIN / close_notify). Default when NULL: close the stream with
     * WEIR_DISCONNECTED. TLS without close_notify is no end but an error: on_close alone. */
    void (*on_eof)(void *arg);
    /* The write queue fell below its low mark after having been above the high mark. May be NULL.
     */
    void (*on_drain)(void *arg);
    /* Exactly once, last. status WEIR_OK = closed by us without error. */
    void (*on_close)(void *arg, enum weir_status status, const char *reason);
};

struct weir_stream_limits {
    size_t write_max;        /* bytes queued before a write is refused; 0 = 64 MiB */
    size_t write_high;       /* above it weir_stream_writable() is false; 0 = 256 KiB */
    uint64_t open_ms;        /* connect plus handshake; 0 = 5000 */
    uint64_t write_stall_ms; /* queue not empty and no byte accepted by the peer for so long →
                                close; 0 = off */
    uint64_t dead_ms;        /* the peer acknowledges nothing, or takes nothing, for so long: the
                                system ends the connection; 0 = weir_loop_dead_peer_ms() */
};

/* dead_ms for a peer that may rest: it counts as dead neither before the loop says so nor before it
 * has stalled, which a window that stays closed looks like too. */
uint64_t weir_stream_dead_ms(const struct weir_loop *loop, uint64_t stall_ms);

/* Address: literal IPv4 or IPv6 (no name look-up on this path). */
enum weir_status weir_stream_connect(struct weir_loop *loop, const char *ip, uint16_t port,
                                     struct weir_tls *tls /* or NULL */,
                                     const char *sni /* or NULL */,
                                     const struct weir_stream_limits *limits,
                                     const struct weir_stream_ops *ops, void *arg,
                                     struct weir_stream **ret_stream) WEIR_MUST_CHECK;
/* Queues a copy; also before the stream is open. WEIR_TOO_LARGE over write_max (nothing queued),
 * WEIR_DISCONNECTED when closing, after shutdown, and when the peer takes no more bytes (what it
 * sent before is still read; on_close follows within a second). */
enum weir_status weir_stream_write(struct weir_stream *s, const void *data,
                                   size_t len) WEIR_MUST_CHECK;
/* The same with two pieces, either of which may be empty; but much at once is first offered to the
 * socket from where it lies, and only what it does not take is copied: for whoever has nothing to
 * add in this turn. */
enum weir_status weir_stream_write_now(struct weir_stream *s, struct weir_span first,
                                       struct weir_span second) WEIR_MUST_CHECK;
/* False: on_drain follows, however soon the queue is sent. */
bool weir_stream_writable(struct weir_stream *s);
size_t weir_stream_queued(const struct weir_stream *s);
/* Direct access to the tail of the write queue for producers that format in place: the returned
 * buffer may be appended to (bounded by write_max); call weir_stream_flush_later afterwards. */
struct weir_buf *weir_stream_out(struct weir_stream *s);
void weir_stream_flush_later(struct weir_stream *s);
/* Pushes the queue out now instead of at the end of the turn. */
void weir_stream_flush(struct weir_stream *s);
void weir_stream_read_stop(struct weir_stream *s);
void weir_stream_read_start(struct weir_stream *s);
/* For bytes that nobody waits for: from now on the loop is woken only when so many are there, or by
 * the end of the stream; 1 is the default. The owner looks for fewer itself, with read_now(). An
 * open stream; a hint that may have no effect. */
void weir_stream_gather(struct weir_stream *s, unsigned bytes);
/* Reads what has come, once. Calls on_read from inside. */
void weir_stream_read_now(struct weir_stream *s);
/* How many of the bytes written last the peer has certainly not got, which is what a pooled
 * connection meets when the peer has closed it meanwhile: those that have not left, and, once the
 * peer has ended its side, those that its system answered with a reset instead of taking them.
 * *ret_open (may be NULL): no answer has come yet to bytes that left, so ask again in a few
 * milliseconds. Less is told than is true where that cannot be known (no end but a reset; TLS,
 * where only bytes count that are not encrypted yet). Also valid in on_close. A peer that ends its
 * side is taken to read no more. */
size_t weir_stream_undelivered(const struct weir_stream *s, bool *ret_open);
/* Sends FIN / close_notify after the queue has gone out; reading goes on. */
void weir_stream_shutdown(struct weir_stream *s);
/* Idempotent. Queued bytes are dropped. on_close follows in a later turn. `reason` is static text.
 */
void weir_stream_close(struct weir_stream *s, enum weir_status status, const char *reason);
/* Closes in an orderly way: the queue goes out, then FIN / close_notify, then what the peer still
 * sends is thrown away until it ends too (closing earlier would make the kernel reset the
 * connection and the peer could lose the last bytes); at the latest after linger_ms, with
 * WEIR_TIMEOUT when bytes were left. Only on_close is called from here on. */
void weir_stream_close_flushed(struct weir_stream *s, uint64_t linger_ms, const char *reason);
/* "ip:port" of the other end; lives as long as the stream. */
const char *weir_stream_peer(const struct weir_stream *s);
/* "h2", "http/1.1" or "". */
const char *weir_stream_alpn(const struct weir_stream *s);

/* Accepted stream: the callee sets ops and arg with weir_stream_adopt() before it returns, or
 * closes. With TLS this comes after the handshake, so weir_stream_alpn() is known; a handshake that
 * fails or takes longer than limits.open_ms is never seen here. */
typedef void (*weir_accept_fn)(void *arg, struct weir_stream *s);
enum { WEIR_LISTEN_IP_BYTES = 48 };
/* The IP address of `text` without the brackets and blanks that it may stand in ("[::]" is "::", as
 * for the reference system). False: it is none; names are not looked up. */
bool weir_listen_ip(const char *text, char ret_ip[WEIR_LISTEN_IP_BYTES]) WEIR_MUST_CHECK;

struct weir_listen_config {
    const char *ip;         /* literal; "::" or "0.0.0.0" for any */
    uint16_t port;          /* 0 = the system chooses */
    bool reuse_port;        /* SO_REUSEPORT: one listener per loop on the same port */
    int backlog;            /* 0 = 1024 */
    unsigned max_conns;     /* open at once; above it the newest is closed at once; 0 = 65,536 */
    bool linger_reset;      /* SO_LINGER 0 on accepted sockets (call-home listener) */
    bool peer_speaks_first; /* accept only when bytes are there (TCP_DEFER_ACCEPT, a second at most)
                               and read them at once: short connections cost half the calls */
    struct weir_tls *tls;   /* or NULL; borrowed: outlives the listener */
    struct weir_stream_limits limits; /* of accepted streams */
};
enum weir_status weir_listen(struct weir_loop *loop, const struct weir_listen_config *config,
                             weir_accept_fn on_accept, void *arg,
                             struct weir_listener **ret_listener,
                             struct weir_err *err) WEIR_MUST_CHECK;
uint16_t weir_listener_port(const struct weir_listener *l);
unsigned weir_listener_conns(const struct weir_listener *l);
/* Stops accepting; open streams go on. Accepts NULL. */
void weir_listener_close(struct weir_listener *l);
void weir_stream_adopt(struct weir_stream *s, const struct weir_stream_ops *ops, void *arg);

#endif
