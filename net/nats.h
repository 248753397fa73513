/*
 * A connection to NATS for a whole process: publishing from any thread, subscriptions on loops. The
 * only files that know nats.c are net/nats*.c.
 *
 * One thread of ours makes every call of nats.c that may block (name look-up, connecting, writing
 * to a server that does not read); loops hand it messages through a bounded queue, and get messages
 * through a bounded queue of each subscription and weir_loop_post(). Until weir_nats_open() is
 * called nothing of nats.c runs.
 *
 * Connections that break are made again, with jitter, for ever; files (credentials, certificates)
 * are read anew each time. Messages that wait meanwhile are sent afterwards, unless their time is
 * over. Nothing is lost silently: see the statistics and on_change.
 */
#ifndef WEIR_NET_NATS_H
#define WEIR_NET_NATS_H

#include "base/span.h"
#include "net/loop.h"

struct weir_nats;
struct weir_nats_sub;

enum { WEIR_NATS_HEADERS = 4 };

struct weir_nats_config {
    /* "nats://host:port" or "tls://host:port", several with commas; user:password@ may stand in it.
     */
    const char *servers;
    const char *name; /* shown in the server's list of connections; or NULL */
    /* How to log in; the first that is set counts, in this order. All may be NULL. */
    const char *user, *password;
    const char *token;
    const char *nkey_seed;        /* "SU…" */
    const char *credentials_path; /* file with a user's JWT and seed */
    /* TLS is used when one of these is set, or the address says tls://. */
    const char *ca_path, *cert_path, *key_path;
    bool insecure; /* the server is not verified */
    /* Bounds of what waits to be sent; 0 = 65,536 messages, 64 MiB. */
    unsigned queue_messages;
    size_t queue_bytes;
};

/* Strings are copied. Waits, at most 10 s, for the outcome of the first attempt, so it is called
 * before loops run. A server that cannot be reached is no failure: it is tried again. A failure is
 * what does not mend itself: refused login, TLS, unreadable files, a bad address; *err says which
 * and what to do. */
enum weir_status weir_nats_open(const struct weir_nats_config *config, struct weir_nats **ret_nats,
                                struct weir_err *err) WEIR_MUST_CHECK;
/* Sends what is queued, for at most 2 s, and disconnects. Blocks; after the loops have ended that
 * had subscriptions, all of which must be closed. Accepts NULL. */
void weir_nats_close(struct weir_nats *nats);

struct weir_nats_header {
    const char *name, *value;
};
struct weir_nats_out {
    const char *subject;
    const char *reply; /* or NULL */
    struct weir_nats_header headers[WEIR_NATS_HEADERS];
    unsigned n_headers;
    struct weir_span payload;
    uint64_t keep_ms; /* not sent when it has waited so long; 0 = waits for ever */
};
/* Copies the message into the queue; never blocks. Thread: any. WEIR_LIMIT: the queue is full;
 * WEIR_TOO_LARGE: over the server's max_payload; WEIR_INVALID: not a subject to publish on. */
enum weir_status weir_nats_publish(struct weir_nats *nats,
                                   const struct weir_nats_out *out) WEIR_MUST_CHECK;

struct weir_nats_msg {
    const char *subject;
    const char *reply; /* or NULL */
    struct weir_span payload;
    bool no_responders; /* answer of the server: nobody listens on the subject of our request */
    unsigned status;    /* of a message of the server without payload ("408" …), else 0 */
};
struct weir_nats_change {
    bool up, down;    /* since the last call the connection came, went (or both) */
    uint64_t dropped; /* messages that did not fit into the subscription's queue */
    bool drained;     /* after weir_nats_sub_drain(): no message is to come any more */
};
struct weir_nats_sub_ops {
    /* Borrowed for the call. The subscription may be closed in it. */
    void (*on_message)(void *arg, const struct weir_nats_msg *msg);
    /* Messages may be missing before those that follow. May be NULL. */
    void (*on_change)(void *arg, const struct weir_nats_change *change);
};
/* `queue_group` or NULL: only one of the group gets each message. Callbacks come on the loop. At
 * most 65,536 messages or 64 MiB wait for it. Thread: that of the loop, or before it runs. */
enum weir_status weir_nats_subscribe(struct weir_nats *nats, struct weir_loop *loop,
                                     const char *subject, const char *queue_group,
                                     const struct weir_nats_sub_ops *ops, void *arg,
                                     struct weir_nats_sub **ret_sub) WEIR_MUST_CHECK;
/* The server sends nothing new, what is on its way still comes; then on_change tells, at least
 * once.
 */
void weir_nats_sub_drain(struct weir_nats_sub *sub);
/* No callback after this. Thread: as weir_nats_subscribe. Accepts NULL. */
void weir_nats_sub_close(struct weir_nats_sub *sub);

struct weir_nats_stats {
    bool connected;
    uint64_t connects, disconnects, failed_connects;
    uint64_t sent, received;
    uint64_t dropped_out; /* waited too long, or could not be sent */
    uint64_t dropped_in;  /* did not fit into a subscription's queue, ours or that of nats.c */
    uint64_t errors;      /* that the server reported, such as missing permissions */
};
/* Thread: any. */
void weir_nats_stats(struct weir_nats *nats, struct weir_nats_stats *ret);
/* "_INBOX." and 22 random letters: a prefix for replies that nobody else has. */
enum { WEIR_NATS_INBOX_BYTES = 7 + 22 + 1 };
void weir_nats_inbox(struct weir_rng *rng, char ret_inbox[WEIR_NATS_INBOX_BYTES]);

#endif
