/*
 * The client and its calls; their connections are plane_client_conn.c, the answers
 * plane_client_home.c.
 *
 * Happy path: call_start picks a connection to the worker and queues the request frame → the worker
 * acknowledges (replies come in request order) and dials our call-home listener → handshake names
 * the subject of the call → prologue → items → complete_final: on_end(OK) and the connection
 * closes.
 *
 * Failure modes, each one on_end: the connection cannot be opened or breaks (all its unacknowledged
 * calls whose worker has not dialled), the reply is a rejection or late, nobody dials back, the
 * prologue is an error, a frame is malformed, the stream breaks off, no item for item_ms. A call
 * whose caller cancelled leaves nothing behind but an empty place in its connection's list of
 * waiters.
 *
 * Who may close when: the caller cancels at any time, also inside on_item; otherwise the call ends
 * itself. Connections and call-home streams belong to the client.
 */
#include "runtime/plane_client_priv.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/frame.h"
#include "wire/record.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_MAX = 64 << 20 };

#define OR(value, fallback) ((value) != 0 ? (value) : (fallback))

static void on_call_timer(void *arg);

/* ---- life of the client ------------------------------------------------------------------- */

static void apply_defaults(struct weir_plane_client_config *c) {
    c->pool_conns = OR(c->pool_conns, 100u);
    c->in_flight = OR(c->in_flight, 1024u);
    c->max_calls = OR(c->max_calls, 100000u);
    c->connect_ms = OR(c->connect_ms, 5000u);
    c->ack_ms = OR(c->ack_ms, 5000u);
    c->prologue_ms = OR(c->prologue_ms, 60000u);
    c->handshake_ms = OR(c->handshake_ms, 10000u);
    c->host_idle_ms = OR(c->host_idle_ms, 300000u);
    c->max_message = OR(c->max_message, (size_t)32 << 20);
    c->nats_ack_ms = OR(c->nats_ack_ms, 10000u);
}

static enum weir_status listen_for_answers(struct weir_plane_client *c, struct weir_err *err) {
    char ip[WEIR_IP_BYTES], shown[WEIR_HOST_BYTES];
    enum weir_status st =
        weir_address_bind(c->config.response_ip, c->config.response_advertise, ip, shown, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "response stream listener");
    struct weir_listen_config lc = {.ip = ip,
                                    .port = c->config.response_port,
                                    .linger_reset = true,
                                    .peer_speaks_first = true,
                                    .tls = c->config.server_tls,
                                    .limits = {.write_max = 1 << 16}};
    st = weir_listen(c->loop, &lc, weir_plane_on_accept, c, &c->listener, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "response stream listener");
    snprintf(c->response_address, sizeof(c->response_address), "%s:%u", shown,
             weir_listener_port(c->listener));
    return WEIR_OK;
}

enum weir_status weir_plane_client_create(struct weir_loop *loop,
                                          const struct weir_plane_client_config *config,
                                          struct weir_plane_client **ret_client,
                                          struct weir_err *err) {
    struct weir_plane_client *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    c->loop = loop;
    c->config = *config;
    c->traffic = config->traffic != NULL ? config->traffic : &c->own_traffic;
    apply_defaults(&c->config);
    weir_list_init(&c->hosts);
    weir_list_init(&c->homes);
    weir_list_init(&c->calls);
    weir_map_init(&c->by_subject, c->config.max_calls);
    weir_map_init(&c->by_host, WEIR_PLANE_MAX_HOSTS);
    weir_map_init(&c->by_reply, c->config.max_calls);
    weir_buf_init(&c->scratch, 128 * 1024);
    weir_arena_init(&c->arena, ARENA_MAX);
    weir_timer_init(&c->idle, loop, weir_plane_on_idle, c);
    enum weir_status st = listen_for_answers(c, err);
    if (st == WEIR_OK)
        st = weir_timer_start(&c->idle, c->config.host_idle_ms);
    if (st != WEIR_OK) {
        weir_plane_client_destroy(c);
        return st;
    }
    *ret_client = c;
    return WEIR_OK;
}

void weir_plane_client_free_if_done(struct weir_plane_client *c) {
    if (!c->destroyed || c->n_streams > 0)
        return;
    WEIR_LIST_FOREACH(it, &c->hosts) {
        weir_free(WEIR_CONTAINER_OF(it, struct weir_plane_host, node));
    }
    weir_map_fini(&c->by_subject);
    weir_map_fini(&c->by_host);
    weir_map_fini(&c->by_reply);
    weir_buf_fini(&c->scratch);
    weir_arena_fini(&c->arena);
    weir_free(c);
}

/* ---- ending a call ------------------------------------------------------------------------ */

/* Takes the call out of everything and frees it. */
static void unlink_call(struct weir_plane_call *call, const char *reason) {
    struct weir_plane_client *c = call->client;
    weir_timer_stop(&call->timer);
    weir_list_remove(&call->node);
    weir_map_remove(&c->by_subject,
                    weir_hash_span(weir_span(call->subject, WEIR_PLANE_SUBJECT_BYTES - 1)));
    if (call->conn != NULL)
        weir_plane_conn_leave(call);
    if (call->reply_id != 0)
        weir_plane_nats_leave(call);
    if (call->home != NULL)
        weir_plane_home_close(call->home, reason);
    c->n_calls--;
    weir_plane_add(&c->traffic->calls, UINT64_MAX);
    weir_free(call->address);
    weir_free(call);
}

void weir_plane_call_end(struct weir_plane_call *call, const struct weir_plane_end *end) {
    const struct weir_plane_call_ops *ops = call->ops;
    void *arg = call->arg;
    if (end->status != WEIR_OK)
        weir_plane_add(&call->client->traffic->errors, 1);
    unlink_call(call, end->stage);
    ops->on_end(arg, end);
}

void weir_plane_call_fail(struct weir_plane_call *call, enum weir_status status, int http_status,
                          const char *stage, bool inhibit, struct weir_span message) {
    struct weir_plane_end end = {.status = status,
                                 .error = {.status = status,
                                           .http_status = http_status,
                                           .message = message,
                                           .migratable = inhibit || status == WEIR_OVERLOADED},
                                 .stage = stage,
                                 .inhibit = inhibit};
    weir_plane_call_end(call, &end);
}

void weir_plane_call_wait(struct weir_plane_call *call, uint64_t ms) {
    /* Out of memory leaves the call without this deadline; the connection's own limits remain. */
    if (weir_timer_start(&call->timer, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "plane", "out of memory: a call runs without a deadline");
}

void weir_plane_call_acked(struct weir_plane_call *call) {
    struct weir_plane_client *c = call->client;
    if (call->state != WEIR_PLANE_CALL_SENT)
        return;
    /* The prologue is the first sign of an answer: whoever waits item_ms for an item waits no
     * longer for it. */
    call->impatient = call->item_ms > 0 && call->item_ms < c->config.prologue_ms;
    call->state = WEIR_PLANE_CALL_ACKED;
    call->last_item_ms = weir_loop_now_ms(c->loop);
    weir_plane_call_wait(call, call->impatient ? call->item_ms : c->config.prologue_ms);
}

void weir_plane_call_refused(struct weir_plane_call *call, struct weir_span text) {
    bool overload = weir_span_starts(text, WEIR_SPAN_LIT("Server overloaded:"));
    weir_plane_call_fail(call, overload ? WEIR_OVERLOADED : WEIR_UNAVAILABLE, overload ? 529 : 503,
                         "ack", !overload, text);
}

static void on_call_timer(void *arg) {
    struct weir_plane_call *call = arg;
    switch (call->state) {
    case WEIR_PLANE_CALL_SENT:
        /* NATS lost the acknowledgement, but the worker has come. */
        if (call->reply_id != 0 && call->home != NULL) {
            weir_plane_nats_leave(call);
            weir_plane_call_acked(call);
            return;
        }
        if (call->conn != NULL)
            call->conn->stuck = true;
        weir_plane_call_fail(call, WEIR_TIMEOUT, 504, "ack", true,
                             WEIR_SPAN_LIT("Request deadline exceeded"));
        return;
    case WEIR_PLANE_CALL_ACKED:
        if (call->impatient)
            break;
        weir_plane_call_fail(call, WEIR_TIMEOUT, 504, "prologue", true,
                             WEIR_SPAN_LIT("the worker took the request and did not answer"));
        return;
    case WEIR_PLANE_CALL_STREAMING:
        break;
    }
    uint64_t idle = weir_loop_now_ms(call->client->loop) - call->last_item_ms;
    if (call->paused || idle < call->item_ms)
        weir_plane_call_wait(call, call->paused ? call->item_ms : call->item_ms - idle);
    else
        weir_plane_call_fail(call, WEIR_TIMEOUT, 504, "deadline", false,
                             WEIR_SPAN_LIT("no item from the worker"));
}

/* ---- starting a call ---------------------------------------------------------------------- */

static struct weir_plane_call *new_call(struct weir_plane_client *c,
                                        const struct weir_plane_call_config *config,
                                        const struct weir_plane_call_ops *ops, void *arg) {
    struct weir_plane_call *call = weir_calloc(1, sizeof(*call));
    char *address = weir_strndup(config->address.data, config->address.len);
    if (call == NULL || address == NULL) {
        weir_free(call);
        weir_free(address);
        return NULL;
    }
    call->client = c;
    call->born = ++c->n_born;
    call->address = address;
    call->ops = ops;
    call->arg = arg;
    call->codec = config->codec;
    call->item_ms = config->item_ms;
    weir_list_init(&call->node);
    weir_timer_init(&call->timer, c->loop, on_call_timer, call);
    weir_rng_uuid(weir_loop_rng(c->loop), call->subject);
    return call;
}

struct weir_span weir_plane_address(const struct weir_record *record, bool has_nats,
                                    char room[WEIR_PLANE_ADDRESS_BYTES]) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    struct weir_span subject = record->nats_subject;
    if (record->tcp_address.data != NULL || subject.data == NULL)
        return record->tcp_address;
    if (!has_nats) {
        if (weir_log_limit_ok(&limit, 1, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "plane",
                     "worker %s takes requests over NATS and is left out: start this "
                     "process with --request-plane nats",
                     weir_worker_text(record->instance_id).s);
        return weir_span(NULL, 0);
    }
    size_t n = sizeof(WEIR_PLANE_NATS) - 1;
    if (subject.len == 0 || subject.len >= WEIR_PLANE_ADDRESS_BYTES - n)
        return weir_span(NULL, 0);
    memcpy(room, WEIR_PLANE_NATS, n);
    memcpy(room + n, subject.data, subject.len);
    return weir_span(room, n + subject.len);
}

enum weir_status weir_plane_put_message(const struct weir_plane_call *call,
                                        const struct weir_plane_call_config *config,
                                        struct weir_buf *out) {
    struct weir_plane_client *c = call->client;
    struct weir_control control = {.id = config->request_id,
                                   .codec = config->codec,
                                   .address = weir_span_z(c->response_address),
                                   .subject =
                                       weir_span(call->subject, WEIR_PLANE_SUBJECT_BYTES - 1),
                                   .context = config->request_id,
                                   .metadata = config->metadata};
    size_t message = 0;
    weir_buf_clear(&c->scratch);
    enum weir_status st = weir_control_encode(&control, &c->scratch);
    if (st == WEIR_OK)
        st = weir_two_part_begin(weir_buf_span(&c->scratch), out, &message);
    size_t body = out->len;
    if (st == WEIR_OK)
        st = config->take_body != NULL ? weir_buf_append_span(out, weir_buf_span(config->take_body))
                                       : config->put_body(config->body_arg, config->codec, out);
    if (st == WEIR_OK && out->len - body + 4096 > c->config.max_message)
        st = WEIR_TOO_LARGE;
    if (st == WEIR_OK)
        weir_two_part_end(out, message);
    return st;
}

static enum weir_status send_over_tcp(struct weir_plane_call *call,
                                      const struct weir_plane_call_config *config,
                                      const struct weir_address *address, struct weir_span path) {
    struct weir_plane_client *client = call->client;
    struct weir_plane_host *host;
    struct weir_plane_conn *k = NULL;
    enum weir_status st = weir_plane_host_find(client, address, &host);
    if (st == WEIR_OK)
        st = weir_plane_conn_pick(host, config->fresh, &k);
    if (st != WEIR_OK)
        return st;
    host->used_ms = weir_loop_now_ms(client->loop);
    st = weir_plane_conn_send(call, k, config, path);
    return st == WEIR_OK
               ? weir_timer_start(&call->timer,
                                  client->config.ack_ms + (k->open ? 0 : client->config.connect_ms))
               : st;
}

static enum weir_status send_over_nats(struct weir_plane_call *call,
                                       const struct weir_plane_call_config *config) {
    size_t n = sizeof(WEIR_PLANE_NATS) - 1;
    struct weir_span subject = weir_span(config->address.data + n, config->address.len - n);
    enum weir_status st = weir_plane_nats_send(call, config, subject);
    return st == WEIR_OK ? weir_timer_start(&call->timer, call->client->config.nats_ack_ms) : st;
}

enum weir_status weir_plane_call_start(struct weir_plane_client *client,
                                       const struct weir_plane_call_config *config,
                                       const struct weir_plane_call_ops *ops, void *arg,
                                       struct weir_plane_call **ret_call) {
    struct weir_address address;
    struct weir_span path = {NULL, 0};
    bool over_nats = weir_span_starts(config->address, WEIR_SPAN_LIT(WEIR_PLANE_NATS));
    if (client->destroyed)
        return WEIR_CANCELLED;
    if (client->n_calls >= client->config.max_calls)
        return WEIR_LIMIT;
    if (!over_nats &&
        (weir_address_parse(config->address, &address, &path) != WEIR_OK || path.data == NULL))
        return WEIR_INVALID;
    struct weir_plane_call *call = new_call(client, config, ops, arg);
    if (call == NULL)
        return WEIR_NOMEM;
    client->n_calls++;
    weir_plane_add(&client->traffic->calls, 1);
    weir_list_push_back(&client->calls, &call->node);
    /* The subject is known before the request can leave: the worker may dial before its ack. */
    enum weir_status st = weir_map_put(
        &client->by_subject, weir_hash_span(weir_span(call->subject, WEIR_PLANE_SUBJECT_BYTES - 1)),
        (uint64_t)(uintptr_t)call);
    if (st == WEIR_OK)
        st = over_nats ? send_over_nats(call, config) : send_over_tcp(call, config, &address, path);
    if (st != WEIR_OK) {
        unlink_call(call, "not sent");
        return st;
    }
    if (config->take_body != NULL)
        weir_buf_fini(config->take_body);
    *ret_call = call;
    return WEIR_OK;
}

void weir_plane_call_cancel(struct weir_plane_call *call, bool graceful) {
    struct weir_plane_home *h = call->home;
    if (h != NULL && !h->closing) {
        struct weir_span frame = weir_ctl_frame(graceful ? WEIR_CTL_STOP : WEIR_CTL_KILL);
        if (weir_stream_write(h->stream, frame.data, frame.len) == WEIR_OK)
            weir_stream_flush(h->stream);
    }
    unlink_call(call, "cancelled");
}

/* The prologue is read all the same: a worker that has begun is not late. */
void weir_plane_call_pause(struct weir_plane_call *call) {
    call->paused = true;
    if (call->state == WEIR_PLANE_CALL_STREAMING && call->home != NULL && !call->home->closing)
        weir_stream_read_stop(call->home->stream);
}

void weir_plane_call_resume(struct weir_plane_call *call) {
    call->paused = false;
    call->last_item_ms = weir_loop_now_ms(call->client->loop);
    if (call->home != NULL && !call->home->closing)
        weir_stream_read_start(call->home->stream);
}

/* ---- the rest ----------------------------------------------------------------------------- */

void weir_plane_client_worker_left(struct weir_plane_client *client, struct weir_span address,
                                   uint64_t silent_ms) {
    uint64_t now = weir_loop_now_ms(client->loop);
    WEIR_LIST_FOREACH(it, &client->calls) {
        struct weir_plane_call *call = WEIR_CONTAINER_OF(it, struct weir_plane_call, node);
        if (!weir_span_eqz(address, call->address))
            continue;
        bool sooner = call->item_ms == 0 || call->item_ms > silent_ms;
        if (sooner)
            call->item_ms = silent_ms; /* also of a stream that is still to begin */
        if (call->state != WEIR_PLANE_CALL_STREAMING) {
            call->impatient = false;
            weir_plane_call_wait(call, silent_ms);
        } else if (sooner) {
            call->last_item_ms = now;
            weir_plane_call_wait(call, silent_ms);
        }
    }
}

void weir_plane_client_destroy(struct weir_plane_client *client) {
    if (client == NULL || client->destroyed)
        return;
    client->destroyed = true; /* on_end starts nothing new */
    while (!weir_list_empty(&client->calls))
        weir_plane_call_fail(WEIR_CONTAINER_OF(client->calls.next, struct weir_plane_call, node),
                             WEIR_CANCELLED, 503, "shutdown", false,
                             WEIR_SPAN_LIT("shutting down"));
    weir_timer_stop(&client->idle);
    weir_nats_sub_close(client->replies);
    weir_listener_close(client->listener);
    WEIR_LIST_FOREACH(it, &client->homes) {
        weir_plane_home_close(WEIR_CONTAINER_OF(it, struct weir_plane_home, node), "shutdown");
    }
    WEIR_LIST_FOREACH(it, &client->hosts) {
        struct weir_plane_host *h = WEIR_CONTAINER_OF(it, struct weir_plane_host, node);
        WEIR_LIST_FOREACH(jt, &h->conns) {
            weir_plane_conn_close(WEIR_CONTAINER_OF(jt, struct weir_plane_conn, node), WEIR_OK,
                                  "shutdown");
        }
    }
    weir_plane_client_free_if_done(client);
}

unsigned weir_plane_client_calls(const struct weir_plane_client *client) {
    return client->n_calls;
}

void weir_plane_traffic_add(const struct weir_plane_traffic *t, struct weir_plane_stats *sum) {
    sum->bytes_sent += atomic_load_explicit(&t->bytes_sent, memory_order_relaxed);
    sum->bytes_received += atomic_load_explicit(&t->bytes_received, memory_order_relaxed);
    sum->errors += atomic_load_explicit(&t->errors, memory_order_relaxed);
    sum->calls += (unsigned)atomic_load_explicit(&t->calls, memory_order_relaxed);
}

void weir_plane_client_stats(const struct weir_plane_client *client, struct weir_plane_stats *ret) {
    struct weir_plane_stats s = {.conns_active = 0};
    weir_plane_traffic_add(client->traffic, &s);
    WEIR_LIST_FOREACH(it, &client->hosts) {
        struct weir_plane_host *h = WEIR_CONTAINER_OF(it, struct weir_plane_host, node);
        WEIR_LIST_FOREACH(jt, &h->conns) {
            struct weir_plane_conn *k = WEIR_CONTAINER_OF(jt, struct weir_plane_conn, node);
            *(k->n_waiting > 0 ? &s.conns_active : &s.conns_idle) += 1;
        }
    }
    *ret = s;
}
