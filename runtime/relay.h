/*
 * One request on its way through this process: answers of the process behind go to the process in
 * front as they came, byte for byte. The owner chooses where to send it, and may choose again as
 * long as nothing has been passed on.
 *
 * Happy path: init (the caller gets its prologue) → send → items pass → the last one ends both
 * sides. Failure modes: an attempt that fails before its first item is put to the owner, who sends
 * again or lets the failure pass on; one that fails behind it ends the answer with an error item. A
 * caller that leaves cancels the attempt; one that reads slowly slows
 * the process behind down. Thread: the loop of both planes.
 */
#ifndef WEIR_RUNTIME_RELAY_H
#define WEIR_RUNTIME_RELAY_H

#include "runtime/plane_client.h"
#include "runtime/plane_server.h"

struct weir_relay_ops {
    /* The first item without error; may be NULL. */
    void (*on_first_item)(void *arg);
    /* An attempt ended before its first item. `stage` as in struct weir_plane_end, or "item": the
     * first item was an error. True: the owner has sent again, or refused. */
    bool (*on_failed)(void *arg, const struct weir_wire_error *error, const char *stage);
    /* The answer has ended, well or with an error, or was cancelled: once. */
    void (*on_over)(void *arg, enum weir_status status);
};

/* Lives in its owner, who outlives the request in front. */
struct weir_relay {
    struct weir_plane_client *client;  /* borrowed */
    struct weir_plane_request *caller; /* borrowed: until its on_done */
    struct weir_plane_call *call;      /* NULL between attempts and behind the end */
    const struct weir_relay_ops *ops;
    void *arg;
    enum weir_codec codec;
    bool passed, over, paused;
    bool fresh;  /* the next attempt goes over a new connection */
    bool resent; /* one has, because the first one's was stale */
};

void weir_relay_init(struct weir_relay *relay, struct weir_plane_client *client,
                     struct weir_plane_request *caller, const struct weir_relay_ops *ops,
                     void *arg);
/* For on_failed: the worker had closed a connection of the pool and has not got the request. True,
 * once: sending it again, to the same worker too, goes over a new connection. */
bool weir_relay_again(struct weir_relay *relay, const char *stage);
/* take_body is encoded in relay->codec, which is the caller's; emptied on success. */
enum weir_status weir_relay_send(struct weir_relay *relay, struct weir_span address,
                                 struct weir_buf *take_body) WEIR_MUST_CHECK;
/* Ends the answer with an error. */
void weir_relay_refuse(struct weir_relay *relay, const struct weir_wire_error *error);
/* The caller left. Idempotent; nothing but on_over fires, and only if it has not. */
void weir_relay_cancel(struct weir_relay *relay);

#endif
