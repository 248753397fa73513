/*
 * Happy path: a call gets a number → its request carries "inbox.number" to answer to → the answer's
 * subject finds the call → fn. A stream of messages is found by its subscription.
 *
 * Failure modes: no answer in time; the connection goes, which ends every call; messages that did
 * not fit into a queue, which ends every call too, since nobody knows whose they were.
 */
#include "runtime/js_client.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

enum { TIMEOUT_MS = 5000, SUBJECT_BYTES = WEIR_NATS_INBOX_BYTES + 19 };

struct weir_js_call {
    struct weir_list node; /* in js.calls */
    struct weir_js *js;
    uint64_t id;
    struct weir_nats_sub *sub; /* of a stream of messages, else NULL */
    weir_js_fn fn;
    void *arg;
    struct weir_timer timer;
};

struct weir_js {
    struct weir_nats *nats; /* borrowed */
    struct weir_loop *loop; /* borrowed */
    void (*on_up)(void *arg);
    void *arg;
    char inbox[WEIR_NATS_INBOX_BYTES];
    struct weir_nats_sub *sub;
    struct weir_list calls;
    struct weir_map by_id;
    uint64_t last_id;
};

static void forget(struct weir_js_call *c) {
    weir_list_remove(&c->node);
    weir_map_remove(&c->js->by_id, c->id);
    weir_timer_stop(&c->timer);
    weir_nats_sub_close(c->sub);
    weir_free(c);
}

static void end(struct weir_js_call *c, enum weir_status st) {
    weir_js_fn fn = c->fn;
    void *arg = c->arg;
    forget(c);
    fn(arg, st, NULL);
}

static void on_time(void *arg) {
    end(arg, WEIR_TIMEOUT);
}

static void on_message(void *arg, const struct weir_nats_msg *msg) {
    struct weir_js *js = arg;
    size_t prefix = WEIR_NATS_INBOX_BYTES; /* the inbox without its NUL, and a dot */
    struct weir_span subject = weir_span_z(msg->subject);
    uint64_t id = 0, value = 0;
    if (subject.len <= prefix ||
        !weir_span_hex64(weir_span(subject.data + prefix, subject.len - prefix), &id) ||
        !weir_map_get(&js->by_id, id, &value))
        return; /* its call has ended */
    struct weir_js_call *c = (struct weir_js_call *)(uintptr_t)value;
    if (msg->no_responders) {
        end(c, WEIR_UNAVAILABLE);
        return;
    }
    weir_js_fn fn = c->fn;
    void *fn_arg = c->arg;
    forget(c);
    fn(fn_arg, WEIR_OK, msg);
}

static void on_stream_message(void *arg, const struct weir_nats_msg *msg) {
    struct weir_js_call *c = arg;
    if (msg->no_responders)
        end(c, WEIR_UNAVAILABLE);
    else
        c->fn(c->arg, WEIR_OK, msg);
}

static void on_stream_change(void *arg, const struct weir_nats_change *change) {
    if (change->down || change->dropped > 0)
        end(arg, WEIR_DISCONNECTED);
}

/* Only those that are open now: their ends may open others. */
static void end_all(struct weir_js *js) {
    uint64_t last = js->last_id;
    while (!weir_list_empty(&js->calls)) {
        struct weir_js_call *c = WEIR_CONTAINER_OF(js->calls.next, struct weir_js_call, node);
        if (c->id > last)
            return;
        end(c, WEIR_DISCONNECTED);
    }
}

static void on_change(void *arg, const struct weir_nats_change *change) {
    struct weir_js *js = arg;
    if (change->down || change->dropped > 0)
        end_all(js);
    if (change->up && js->on_up != NULL)
        js->on_up(js->arg);
}

enum weir_status weir_js_open(struct weir_nats *nats, struct weir_loop *loop,
                              void (*on_up)(void *arg), void *arg, struct weir_js **ret_js) {
    static const struct weir_nats_sub_ops ops = {on_message, on_change};
    char subject[SUBJECT_BYTES];
    struct weir_js *js = weir_calloc(1, sizeof(*js));
    if (js == NULL)
        return WEIR_NOMEM;
    *js = (struct weir_js){.nats = nats, .loop = loop, .on_up = on_up, .arg = arg};
    weir_list_init(&js->calls);
    weir_map_init(&js->by_id, WEIR_JS_MAX_CALLS);
    weir_nats_inbox(weir_loop_rng(loop), js->inbox);
    snprintf(subject, sizeof(subject), "%s.*", js->inbox);
    enum weir_status st = weir_nats_subscribe(nats, loop, subject, NULL, &ops, js, &js->sub);
    if (st != WEIR_OK) {
        weir_js_close(js);
        return st;
    }
    *ret_js = js;
    return WEIR_OK;
}

void weir_js_close(struct weir_js *js) {
    if (js == NULL)
        return;
    weir_nats_sub_close(js->sub);
    while (!weir_list_empty(&js->calls))
        forget(WEIR_CONTAINER_OF(js->calls.next, struct weir_js_call, node));
    weir_map_fini(&js->by_id);
    weir_free(js);
}

/* The inbox of a stream has a letter more, so that the subscription for answers does not get its
 * messages too. */
static void put_reply(const struct weir_js_call *c, bool stream, char ret[SUBJECT_BYTES]) {
    snprintf(ret, SUBJECT_BYTES, "%s%s.%" PRIx64, c->js->inbox, stream ? "s" : "", c->id);
}

static enum weir_status send_request(struct weir_js_call *c,
                                     const struct weir_js_request *request) {
    char reply[SUBJECT_BYTES];
    uint64_t ms = request->timeout_ms > 0 ? request->timeout_ms : TIMEOUT_MS;
    put_reply(c, request->stream, reply);
    struct weir_nats_out out = {.subject = request->subject,
                                .reply = reply,
                                .n_headers = request->n_headers,
                                .headers = {request->headers[0], request->headers[1]},
                                .payload = request->payload,
                                .keep_ms = ms};
    enum weir_status st = weir_timer_start(&c->timer, ms);
    return st == WEIR_OK ? weir_nats_publish(c->js->nats, &out) : st;
}

enum weir_status weir_js_again(struct weir_js_call *call, const struct weir_js_request *request) {
    return send_request(call, request);
}

enum weir_status weir_js_ask(struct weir_js *js, const struct weir_js_request *request,
                             struct weir_js_call **ret_call) {
    static const struct weir_nats_sub_ops ops = {on_stream_message, on_stream_change};
    char reply[SUBJECT_BYTES];
    struct weir_js_call *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return WEIR_NOMEM;
    *c = (struct weir_js_call){
        .js = js, .id = ++js->last_id, .fn = request->fn, .arg = request->arg};
    weir_list_init(&c->node);
    weir_timer_init(&c->timer, js->loop, on_time, c);
    enum weir_status st = weir_map_put(&js->by_id, c->id, (uint64_t)(uintptr_t)c);
    put_reply(c, request->stream, reply);
    if (st == WEIR_OK && request->stream)
        st = weir_nats_subscribe(js->nats, js->loop, reply, NULL, &ops, c, &c->sub);
    if (st == WEIR_OK)
        st = send_request(c, request);
    if (st != WEIR_OK) {
        forget(c);
        return st;
    }
    weir_list_push_back(&js->calls, &c->node);
    *ret_call = c;
    return WEIR_OK;
}

enum weir_status weir_js_wait(struct weir_js_call *call, uint64_t ms) {
    return weir_timer_start(&call->timer, ms);
}

void weir_js_cancel(struct weir_js_call *call) {
    if (call != NULL)
        forget(call);
}

enum weir_status weir_js_tell(struct weir_js *js, const char *subject, struct weir_span payload) {
    const struct weir_nats_out out = {
        .subject = subject, .payload = payload, .keep_ms = TIMEOUT_MS};
    return weir_nats_publish(js->nats, &out);
}

bool weir_js_connected(const struct weir_js *js) {
    struct weir_nats_stats stats;
    weir_nats_stats(js->nats, &stats);
    return stats.connected;
}

struct weir_loop *weir_js_loop(const struct weir_js *js) {
    return js->loop;
}
