/*
 * Requests over NATS: published on the worker's subject, with an inbox of ours as the place for the
 * acknowledgement, an empty message. The answer is a call-home stream, as for any other request.
 *
 * Failure modes: nobody listens on the subject (the server says so): the worker is gone, or, when
 * our own connection is young, it may be on its way back to the same server: such a request is sent
 * again until its time for the acknowledgement is over. The connection breaks before the
 * acknowledgement: the call fails at once, as the request may be lost; it may go to any worker
 * again, this one too. A request that is started while there is no connection waits for one, until
 * its time for the acknowledgement is over.
 */
#include "runtime/plane_client_priv.h"

#include "base/mem.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    REPLY_BYTES = WEIR_NATS_INBOX_BYTES + 24,
    HEADER_BYTES = 256,
    YOUNG_MS = 5000, /* longer than the pauses between attempts to connect (net/nats_thread.c) */
    AGAIN_MS = 50,
};

struct weir_plane_again {
    struct weir_plane_call *call;
    struct weir_timer timer;
    char subject[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_buf message;
    char request_id[HEADER_BYTES], traceparent[HEADER_BYTES];
};

void weir_plane_nats_leave(struct weir_plane_call *call) {
    struct weir_plane_again *a = call->again;
    weir_map_remove(&call->client->by_reply, call->reply_id);
    call->reply_id = 0;
    call->again = NULL;
    if (a == NULL)
        return;
    weir_timer_stop(&a->timer);
    weir_buf_fini(&a->message);
    weir_free(a);
}

static bool is_young(const struct weir_plane_client *c) {
    return weir_loop_now_ms(c->loop) - c->nats_up_ms <= YOUNG_MS;
}

static struct weir_plane_call *find_call(struct weir_plane_client *c, const char *subject) {
    uint64_t id = 0, value = 0;
    size_t n = strlen(c->inbox);
    if (strncmp(subject, c->inbox, n) != 0 || subject[n] != '.' ||
        sscanf(subject + n + 1, "%" SCNu64, &id) != 1 || !weir_map_get(&c->by_reply, id, &value))
        return NULL;
    return (struct weir_plane_call *)(uintptr_t)value;
}

static void on_reply(void *arg, const struct weir_nats_msg *msg) {
    struct weir_plane_call *call = find_call(arg, msg->subject);
    if (call == NULL)
        return;
    if (msg->no_responders && call->again != NULL && call->state == WEIR_PLANE_CALL_SENT &&
        is_young(call->client) && weir_timer_start(&call->again->timer, AGAIN_MS) == WEIR_OK)
        return;
    weir_plane_nats_leave(call);
    if (call->state != WEIR_PLANE_CALL_SENT)
        return; /* the answer is coming already */
    if (msg->no_responders)
        weir_plane_call_fail(call, WEIR_UNAVAILABLE, 503, "ack", true,
                             WEIR_SPAN_LIT("no worker listens on its NATS subject"));
    else if (msg->payload.len > 0)
        weir_plane_call_refused(call, msg->payload);
    else
        weir_plane_call_acked(call);
}

/* The oldest call whose request may be lost with the connection. */
static struct weir_plane_call *find_unsure(struct weir_plane_client *c, uint64_t newest) {
    WEIR_LIST_FOREACH(it, &c->calls) {
        struct weir_plane_call *call = WEIR_CONTAINER_OF(it, struct weir_plane_call, node);
        if (call->born > newest)
            break;
        if (call->reply_id != 0 && call->state == WEIR_PLANE_CALL_SENT && call->home == NULL)
            return call;
    }
    return NULL;
}

static void on_change(void *arg, const struct weir_nats_change *change) {
    struct weir_plane_client *c = arg;
    uint64_t newest = c->n_born;
    struct weir_plane_call *call;
    const struct weir_plane_end end = {
        .status = WEIR_DISCONNECTED,
        .error = {.status = WEIR_DISCONNECTED,
                  .http_status = 503,
                  .message = WEIR_SPAN_LIT("the connection to NATS was lost"),
                  .migratable = true},
        .stage = "ack"};
    if (change->up)
        c->nats_up_ms = weir_loop_now_ms(c->loop);
    if (!change->down)
        return;
    while ((call = find_unsure(c, newest)) != NULL)
        weir_plane_call_end(call, &end);
}

static enum weir_status open_inbox(struct weir_plane_client *c) {
    static const struct weir_nats_sub_ops ops = {on_reply, on_change};
    char all[REPLY_BYTES];
    if (c->replies != NULL)
        return WEIR_OK;
    c->nats_up_ms = weir_loop_now_ms(c->loop);
    weir_nats_inbox(weir_loop_rng(c->loop), c->inbox);
    snprintf(all, sizeof(all), "%s.*", c->inbox);
    return weir_nats_subscribe(c->config.nats, c->loop, all, NULL, &ops, c, &c->replies);
}

/* A header's value as text that fits on one line, or nothing. */
static void add_header(struct weir_nats_out *out, const char *name, struct weir_span value,
                       char room[HEADER_BYTES]) {
    if (value.len == 0 || value.len >= HEADER_BYTES)
        return;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f)
            return;
    memcpy(room, value.data, value.len);
    room[value.len] = '\0';
    out->headers[out->n_headers++] = (struct weir_nats_header){name, room};
}

static enum weir_status publish(struct weir_plane_call *call, struct weir_span request_id,
                                struct weir_span traceparent, const char *subject,
                                struct weir_span payload) {
    struct weir_plane_client *c = call->client;
    char reply[REPLY_BYTES], rooms[3][HEADER_BYTES], now[WEIR_U64_TEXT];
    size_t n_now = weir_u64_text(weir_wall_ns(), now);
    struct weir_nats_out out = {
        .subject = subject, .reply = reply, .payload = payload, .keep_ms = c->config.nats_ack_ms};
    snprintf(reply, sizeof(reply), "%s.%" PRIu64, c->inbox, call->reply_id);
    add_header(&out, "request-id", request_id, rooms[0]);
    add_header(&out, "x-frontend-send-ts-ns", weir_span(now, n_now), rooms[1]);
    add_header(&out, "traceparent", traceparent, rooms[2]);
    return weir_nats_publish(c->config.nats, &out);
}

/* ---- once more ---------------------------------------------------------------------------- */

static void on_again(void *arg) {
    struct weir_plane_again *a = arg;
    struct weir_plane_call *call = a->call;
    enum weir_status st = publish(call, weir_span_z(a->request_id), weir_span_z(a->traceparent),
                                  a->subject, weir_buf_span(&a->message));
    if (st != WEIR_OK)
        weir_plane_call_fail(call, st, 503, "ack", false, weir_span_z(weir_status_text(st)));
}

static void keep_text(struct weir_span text, char room[HEADER_BYTES]) {
    if (text.len > 0 && text.len < HEADER_BYTES)
        memcpy(room, text.data, text.len);
}

/* Takes the message when it may have to be sent again. Without memory it is sent once. */
static void keep(struct weir_plane_call *call, const struct weir_plane_call_config *config,
                 const char *subject, struct weir_buf *message) {
    struct weir_plane_client *c = call->client;
    struct weir_nats_stats stats;
    weir_nats_stats(c->config.nats, &stats);
    if (stats.connected && !is_young(c))
        return;
    struct weir_plane_again *a = weir_calloc(1, sizeof(*a));
    if (a == NULL)
        return;
    a->call = call;
    snprintf(a->subject, sizeof(a->subject), "%s", subject);
    keep_text(config->request_id, a->request_id);
    keep_text(config->traceparent, a->traceparent);
    weir_buf_init(&a->message, message->max);
    weir_buf_move(&a->message, message);
    weir_timer_init(&a->timer, c->loop, on_again, a);
    call->again = a;
}

enum weir_status weir_plane_nats_send(struct weir_plane_call *call,
                                      const struct weir_plane_call_config *config,
                                      struct weir_span subject) {
    struct weir_plane_client *c = call->client;
    char name[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_buf message;
    if (c->config.nats == NULL || subject.len == 0 || subject.len >= sizeof(name))
        return WEIR_INVALID;
    memcpy(name, subject.data, subject.len);
    name[subject.len] = '\0';
    weir_buf_init(&message, c->config.max_message);
    call->reply_id = ++c->n_replies;
    enum weir_status st = weir_map_put(&c->by_reply, call->reply_id, (uint64_t)(uintptr_t)call);
    if (st == WEIR_OK)
        st = open_inbox(c);
    if (st == WEIR_OK)
        st = weir_plane_put_message(call, config, &message);
    if (st == WEIR_OK)
        st = publish(call, config->request_id, config->traceparent, name, weir_buf_span(&message));
    if (st == WEIR_OK) {
        weir_plane_add(&c->traffic->bytes_sent, message.len);
        keep(call, config, name, &message);
    }
    weir_buf_fini(&message);
    return st;
}
