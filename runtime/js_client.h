/*
 * Requests to JetStream over a connection to NATS, each with its own deadline. Answers come to one
 * subscription; a stream of messages, which keep the subjects of their stream, has one of its own.
 * Thread: that of the loop.
 */
#ifndef WEIR_RUNTIME_JS_CLIENT_H
#define WEIR_RUNTIME_JS_CLIENT_H

#include "net/nats.h"

struct weir_js;
struct weir_js_call;

enum { WEIR_JS_MAX_CALLS = 1024 };

/* WEIR_OK: msg is an answer. WEIR_TIMEOUT, WEIR_DISCONNECTED (the connection went, or messages were
 * lost on this side), WEIR_UNAVAILABLE (nobody listens: a server without JetStream): msg is NULL.
 * A single call ends with it, a stream of messages only with a failure; then the call is no more.
 */
typedef void (*weir_js_fn)(void *arg, enum weir_status st, const struct weir_nats_msg *msg);

/* `nats` outlives it. on_up (may be NULL): the connection is there, again; time to try. */
enum weir_status weir_js_open(struct weir_nats *nats, struct weir_loop *loop,
                              void (*on_up)(void *arg), void *arg,
                              struct weir_js **ret_js) WEIR_MUST_CHECK;
/* No callback after it; open calls are forgotten. Accepts NULL. */
void weir_js_close(struct weir_js *js);

struct weir_js_request {
    const char *subject;
    struct weir_span payload;
    struct weir_nats_header headers[2];
    unsigned n_headers;
    uint64_t timeout_ms; /* 0 = 5,000 */
    bool stream;         /* many messages: until cancelled, or timeout_ms is over */
    weir_js_fn fn;
    void *arg;
};
/* fn is not called when this fails: WEIR_LIMIT (too many calls, or the queue of NATS is full),
 * WEIR_TOO_LARGE, WEIR_NOMEM. `*ret_call` is valid until fn ends the call. */
enum weir_status weir_js_ask(struct weir_js *js, const struct weir_js_request *request,
                             struct weir_js_call **ret_call) WEIR_MUST_CHECK;
/* The next request of a stream of messages; its time begins anew. */
enum weir_status weir_js_again(struct weir_js_call *call,
                               const struct weir_js_request *request) WEIR_MUST_CHECK;
/* The call's time begins anew, without a request. */
enum weir_status weir_js_wait(struct weir_js_call *call, uint64_t ms) WEIR_MUST_CHECK;
/* No fn after it. Accepts NULL. */
void weir_js_cancel(struct weir_js_call *call);
/* A message without an answer, such as an acknowledgement. */
enum weir_status weir_js_tell(struct weir_js *js, const char *subject,
                              struct weir_span payload) WEIR_MUST_CHECK;
/* Whether there is a connection now. */
bool weir_js_connected(const struct weir_js *js);
struct weir_loop *weir_js_loop(const struct weir_js *js);

#endif
