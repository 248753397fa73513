/*
 * ZMTP 3.x as a subscriber speaks it, with the NULL mechanism: greeting, commands, frames. Pure.
 * Source: the ZMTP 3.1 specification (rfc.zeromq.org/spec/37) and a capture of libzmq 4.3
 * (test/unit/net/zmtp.c holds its bytes).
 */
#ifndef WEIR_NET_ZMTP_H
#define WEIR_NET_ZMTP_H

#include "base/buf.h"
#include "base/span.h"

enum { WEIR_ZMTP_GREETING = 64, WEIR_ZMTP_FRAMES = 8 };

/* Our greeting and READY of a SUB socket; both may be sent before the peer has said anything. */
enum weir_status weir_zmtp_hello(struct weir_buf *out) WEIR_MUST_CHECK;
/* WEIR_AGAIN: not whole yet. WEIR_PROTOCOL: no ZMTP 3, or another mechanism; *ret_why says so. */
enum weir_status weir_zmtp_greeting(struct weir_span bytes, unsigned *ret_minor,
                                    const char **ret_why) WEIR_MUST_CHECK;
/* Version 3.1 has a command for it, 3.0 a message. */
enum weir_status weir_zmtp_subscribe(unsigned minor, struct weir_span topic,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

/* One frame. */
struct weir_zmtp_frame {
    bool more, command;
    struct weir_span body; /* in the input; of a command: name and data */
    size_t size;           /* with its head */
};
/* WEIR_AGAIN: not whole yet. WEIR_TOO_LARGE: its body exceeds max. WEIR_PROTOCOL: reserved flags,
 * or a command that is to go on. */
enum weir_status weir_zmtp_frame_decode(struct weir_span bytes, size_t max,
                                        struct weir_zmtp_frame *ret_frame) WEIR_MUST_CHECK;

/* How long the frame will be that begins so, with its head; 0: not known yet. */
size_t weir_zmtp_frame_size(struct weir_span bytes);

enum weir_zmtp_command {
    WEIR_ZMTP_READY, /* of a publisher */
    WEIR_ZMTP_PING,  /* *ret_context is to be sent back */
    WEIR_ZMTP_OTHER, /* to be ignored */
    WEIR_ZMTP_BAD,   /* ERROR, malformed, or READY of a socket that publishes nothing */
};
enum weir_zmtp_command weir_zmtp_command_decode(struct weir_span body,
                                                struct weir_span *ret_context);
enum weir_status weir_zmtp_pong(struct weir_span context, struct weir_buf *out) WEIR_MUST_CHECK;

/*
 * Messages out of a stream of bytes. The bytes of an unfinished message are offered again with more
 * behind them; what was looked at before is not looked at again.
 */
struct weir_zmtp_message {
    struct weir_span frames[WEIR_ZMTP_FRAMES]; /* in the input; valid at WEIR_OK */
    size_t n_frames;                           /* of the message; may exceed the room */
    size_t used;                               /* its bytes */
    size_t offsets[WEIR_ZMTP_FRAMES], lengths[WEIR_ZMTP_FRAMES]; /* of an unfinished one */
    struct weir_span command; /* at WEIR_OK and n_frames 0: a command stood here */
};
/* Before the first message, and after each WEIR_OK once its bytes are dropped. */
void weir_zmtp_message_init(struct weir_zmtp_message *m);
/* `bytes` begins with the message. As weir_zmtp_frame_decode, `max` for the message as a whole. */
enum weir_status weir_zmtp_message_decode(struct weir_zmtp_message *m, struct weir_span bytes,
                                          size_t max) WEIR_MUST_CHECK;

#endif
