/*
 * Request connections. A host has some, each with a ring of the calls that wait there: the worker
 * acknowledges in the order of the requests and without ids. A request goes to the least busy
 * connection; a new one is opened only when all are saturated.
 *
 * Failure modes: the connection cannot be opened or breaks, or the worker sends what is no reply:
 * every call that waits there, and whose worker has not dialled back, fails. An overdue
 * acknowledgement makes the connection stuck: nothing new is sent there, and the last waiter that
 * leaves closes it. A worker may close a connection that has been idle just when a request is put
 * on it. What the worker has certainly not got then ends as "stale": it may be sent again, to that
 * worker too.
 *
 * Who may close when: anybody in this client, at any time; on_close frees.
 */
#include "runtime/plane_client_priv.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "wire/frame.h"

#include <string.h>

enum {
    MAX_REPLY = 64 * 1024,
    LOOK_MS = 1,
    END_LOOK_MS = 4,
    END_LOOKS = 50,      /* at most that long a reset is waited for */
    GATHER = 4096,       /* bytes of replies, which have 4 each unless they refuse */
    SEND_AT = 32 * 1024, /* so much does not wait for more: one buffer serves a turn's requests */
};

static void see_end(struct weir_plane_conn *k);

void weir_plane_conn_close(struct weir_plane_conn *k, enum weir_status status, const char *reason) {
    k->closing = true;
    weir_timer_stop(&k->look);
    weir_stream_close(k->stream, status, reason);
}

void weir_plane_conn_leave(struct weir_plane_call *call) {
    struct weir_plane_conn *k = call->conn;
    k->waiters[call->ack_seq % call->client->config.in_flight] = NULL;
    call->conn = NULL;
    if (--k->n_waiting == 0 && k->stuck && !k->closing)
        weir_plane_conn_close(k, WEIR_TIMEOUT, "replies are overdue");
}

/* ---- acknowledgements --------------------------------------------------------------------- */

/* Nobody waits for an acknowledgement: the answer follows on a connection of its own. So replies
 * gather, and a timer looks for them while some are to come. A worker that lets us look in vain is
 * slower than the timer: then its next reply wakes us. */
static void gather(struct weir_plane_conn *k, bool on) {
    if (k->gathering != on)
        weir_stream_gather(k->stream, on ? GATHER : 1);
    k->gathering = on;
}

static void expect_reply(struct weir_plane_conn *k) {
    if (k->gathering && !k->ended && !weir_timer_active(&k->look) &&
        weir_timer_start(&k->look, LOOK_MS) != WEIR_OK)
        gather(k, false);
}

static void on_look(void *arg) {
    struct weir_plane_conn *k = arg;
    if (k->ended) {
        see_end(k);
        return;
    }
    k->found = false;
    weir_stream_read_now(k->stream);
    if (k->closing || k->first == k->next)
        return;
    if (k->found)
        expect_reply(k);
    else
        gather(k, false);
}

static void on_conn_open(void *arg) {
    struct weir_plane_conn *k = arg;
    const struct weir_plane_client_config *config = &k->host->client->config;
    k->open = true;
    gather(k, true);
    if (k->first != k->next)
        expect_reply(k);
    for (uint64_t i = k->first; i != k->next; i++) {
        struct weir_plane_call *call = k->waiters[i % config->in_flight];
        if (call != NULL && call->state == WEIR_PLANE_CALL_SENT)
            weir_plane_call_wait(call, config->ack_ms);
    }
}

/* One reply: the oldest waiter's. */
static void on_reply(struct weir_plane_conn *k, struct weir_span text) {
    struct weir_plane_client *c = k->host->client;
    struct weir_plane_call *call = k->waiters[k->first % c->config.in_flight];
    k->first++;
    k->stuck = false;
    if (call == NULL)
        return;
    weir_plane_conn_leave(call);
    if (text.len > 0)
        weir_plane_call_refused(call, text);
    else
        weir_plane_call_acked(call);
}

static void on_conn_read(void *arg, struct weir_span bytes) {
    struct weir_plane_conn *k = arg;
    weir_plane_add(&k->host->client->traffic->bytes_received, bytes.len);
    k->found = true;
    if (weir_buf_append_span(&k->in, bytes) != WEIR_OK) {
        weir_plane_conn_close(k, WEIR_PROTOCOL, "reply too long");
        return;
    }
    struct weir_span text;
    size_t used = 0, n = 0;
    enum weir_status st = WEIR_AGAIN;
    while (!k->closing &&
           (st = weir_reply_frame_decode(weir_span(k->in.data + used, k->in.len - used), MAX_REPLY,
                                         &text, &n)) == WEIR_OK) {
        used += n;
        if (k->first == k->next) {
            st = WEIR_PROTOCOL;
            break;
        }
        on_reply(k, text);
    }
    weir_buf_consume(&k->in, used);
    if (st != WEIR_AGAIN && !k->closing)
        weir_plane_conn_close(k, WEIR_PROTOCOL, "reply without a request or too long");
    if (k->closing || k->gathering)
        return;
    gather(k, true);
    if (k->first != k->next)
        expect_reply(k);
}

/* The worker has not got all of the request. */
static void end_stale(struct weir_plane_call *call) {
    const struct weir_plane_end end = {
        .status = WEIR_DISCONNECTED,
        .error = {.status = WEIR_DISCONNECTED,
                  .http_status = 503,
                  .message = WEIR_SPAN_LIT("the worker closed the connection before the request"),
                  .migratable = true},
        .stage = "stale"};
    weir_plane_call_end(call, &end);
}

static void on_conn_close(void *arg, enum weir_status status, const char *reason) {
    struct weir_plane_conn *k = arg;
    struct weir_plane_client *c = k->host->client;
    (void)reason;
    k->closing = true;
    weir_timer_stop(&k->look);
    weir_list_remove(&k->node);
    k->host->n_conns--;
    bool opened = k->open;
    uint64_t got = k->written - weir_stream_undelivered(k->stream, NULL);
    for (; k->first != k->next; k->first++) {
        struct weir_plane_call *call = k->waiters[k->first % c->config.in_flight];
        if (call == NULL)
            continue;
        weir_plane_conn_leave(call);
        if (call->state == WEIR_PLANE_CALL_STREAMING)
            continue;             /* the answer is coming already: the ack does not matter */
        if (call->home != NULL) { /* it has dialled: it has the request */
            weir_plane_call_acked(call);
            continue;
        }
        if (opened && call->end_at > got) {
            end_stale(call);
            continue;
        }
        weir_plane_call_fail(
            call, opened ? WEIR_DISCONNECTED : WEIR_CANNOT_CONNECT, 503,
            opened ? "unacked" : "connect", true,
            weir_span_z(status != WEIR_OK ? weir_status_text(status) : "connection closed"));
    }
    weir_free(k->waiters);
    weir_buf_fini(&k->in);
    weir_free(k);
    c->n_streams--;
    weir_plane_client_free_if_done(c);
}

/* Closes the connection once it is known, where that can be, which requests the worker has got. */
static void see_end(struct weir_plane_conn *k) {
    bool open = false;
    if (k->n_waiting > 0)
        weir_stream_undelivered(k->stream, &open);
    if (open && k->n_looks++ < END_LOOKS && weir_timer_start(&k->look, END_LOOK_MS) == WEIR_OK)
        return;
    weir_plane_conn_close(k, WEIR_DISCONNECTED, "worker closed the connection");
}

static void on_conn_eof(void *arg) {
    struct weir_plane_conn *k = arg;
    if (k->closing)
        return;
    k->ended = true;
    see_end(k);
}

/* ---- hosts and their connections ---------------------------------------------------------- */

static const struct weir_stream_ops conn_ops = {.on_open = on_conn_open,
                                                .on_read = on_conn_read,
                                                .on_eof = on_conn_eof,
                                                .on_close = on_conn_close};

static enum weir_status open_conn(struct weir_plane_host *host, struct weir_plane_conn **ret_conn) {
    struct weir_plane_client *c = host->client;
    struct weir_plane_conn *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return WEIR_NOMEM;
    k->host = host;
    weir_list_init(&k->node);
    weir_buf_init(&k->in, MAX_REPLY + (1 << 18));
    weir_timer_init(&k->look, c->loop, on_look, k);
    k->waiters = weir_calloc(c->config.in_flight, sizeof(*k->waiters));
    struct weir_stream_limits limits = {.open_ms = c->config.connect_ms,
                                        .write_max = c->config.max_message * 4};
    enum weir_status st =
        k->waiters == NULL
            ? WEIR_NOMEM
            : weir_stream_connect(c->loop, host->address.ip, host->address.port,
                                  c->config.client_tls, NULL, &limits, &conn_ops, k, &k->stream);
    if (st != WEIR_OK) {
        weir_free(k->waiters);
        weir_free(k);
        return st;
    }
    c->n_streams++;
    host->n_conns++;
    weir_list_push_back(&host->conns, &k->node);
    *ret_conn = k;
    return WEIR_OK;
}

static bool same_address(const struct weir_address *a, const struct weir_address *b) {
    return a->port == b->port && strcmp(a->ip, b->ip) == 0;
}

static void free_host(struct weir_plane_host *h) {
    struct weir_plane_client *c = h->client;
    uint64_t value = 0;
    if (weir_map_get(&c->by_host, h->key, &value) && value == (uint64_t)(uintptr_t)h)
        weir_map_remove(&c->by_host, h->key);
    weir_list_remove(&h->node);
    c->n_hosts--;
    weir_free(h);
}

enum weir_status weir_plane_host_find(struct weir_plane_client *c,
                                      const struct weir_address *address,
                                      struct weir_plane_host **ret_host) {
    uint64_t key = weir_hash_word(weir_hash_span(weir_span_z(address->ip)), address->port),
             value = 0;
    if (weir_map_get(&c->by_host, key, &value)) {
        *ret_host = (struct weir_plane_host *)(uintptr_t)value;
        if (same_address(&(*ret_host)->address, address))
            return WEIR_OK;
        /* Two addresses with one hash: the other is found by walking. */
        WEIR_LIST_FOREACH(it, &c->hosts) {
            *ret_host = WEIR_CONTAINER_OF(it, struct weir_plane_host, node);
            if (same_address(&(*ret_host)->address, address))
                return WEIR_OK;
        }
    }
    if (c->n_hosts == WEIR_PLANE_MAX_HOSTS)
        return WEIR_LIMIT;
    struct weir_plane_host *h = weir_calloc(1, sizeof(*h));
    if (h == NULL)
        return WEIR_NOMEM;
    h->client = c;
    h->address = *address;
    h->key = key;
    if (!weir_map_get(&c->by_host, key, &value) &&
        weir_map_put(&c->by_host, key, (uint64_t)(uintptr_t)h) != WEIR_OK) {
        weir_free(h);
        return WEIR_NOMEM;
    }
    weir_list_init(&h->conns);
    weir_list_push_back(&c->hosts, &h->node);
    c->n_hosts++;
    *ret_host = h;
    return WEIR_OK;
}

/* The least busy connection; a new one only when all are saturated. */
enum weir_status weir_plane_conn_pick(struct weir_plane_host *host, bool fresh,
                                      struct weir_plane_conn **ret_conn) {
    struct weir_plane_client *c = host->client;
    struct weir_plane_conn *best = NULL;
    WEIR_LIST_FOREACH(it, &host->conns) {
        struct weir_plane_conn *k = WEIR_CONTAINER_OF(it, struct weir_plane_conn, node);
        if (k->stuck || k->ended || k->closing)
            continue;
        if (best == NULL || k->next - k->first < best->next - best->first)
            best = k;
    }
    bool saturated = fresh || best == NULL || best->next - best->first >= c->config.in_flight ||
                     !weir_stream_writable(best->stream);
    if (saturated && host->n_conns < c->config.pool_conns)
        return open_conn(host, ret_conn);
    if (best == NULL || best->next - best->first >= c->config.in_flight)
        return WEIR_OVERLOADED;
    *ret_conn = best;
    return WEIR_OK;
}

void weir_plane_on_idle(void *arg) {
    struct weir_plane_client *c = arg;
    uint64_t now = weir_loop_now_ms(c->loop);
    WEIR_LIST_FOREACH(it, &c->hosts) {
        struct weir_plane_host *h = WEIR_CONTAINER_OF(it, struct weir_plane_host, node);
        if (now - h->used_ms < c->config.host_idle_ms)
            continue;
        WEIR_LIST_FOREACH(jt, &h->conns) {
            struct weir_plane_conn *k = WEIR_CONTAINER_OF(jt, struct weir_plane_conn, node);
            if (k->n_waiting == 0 && !k->closing)
                weir_plane_conn_close(k, WEIR_OK, "idle");
        }
        if (weir_list_empty(&h->conns))
            free_host(h);
    }
    if (weir_timer_start(&c->idle, c->config.host_idle_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "plane", "out of memory: idle connections stay open");
}

/* ---- sending a request -------------------------------------------------------------------- */

/* Frame headers: request-id, send time, path, and the trace context where there is one. */
static enum weir_status put_headers(struct weir_buf *out,
                                    const struct weir_plane_call_config *config,
                                    struct weir_span path) {
    char now[WEIR_U64_TEXT];
    size_t n_now = weir_u64_text(weir_wall_ns(), now);
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "request-id");
    weir_jsonw_string(&w, config->request_id);
    weir_jsonw_key(&w, "x-frontend-send-ts-ns");
    weir_jsonw_string(&w, weir_span(now, n_now));
    weir_jsonw_key(&w, "x-endpoint-path");
    weir_jsonw_string(&w, path);
    if (config->traceparent.len > 0) {
        weir_jsonw_key(&w, "traceparent");
        weir_jsonw_string(&w, config->traceparent);
    }
    weir_jsonw_object_end(&w);
    return w.status;
}

static enum weir_status put_frame(struct weir_plane_call *call,
                                  const struct weir_plane_call_config *config,
                                  struct weir_span path, struct weir_buf *out) {
    struct weir_plane_client *c = call->client;
    size_t frame = 0;
    weir_buf_clear(&c->scratch);
    enum weir_status st = put_headers(&c->scratch, config, path);
    if (st == WEIR_OK)
        st = weir_request_frame_begin(path, weir_buf_span(&c->scratch), out, &frame);
    if (st == WEIR_OK)
        st = weir_plane_put_message(call, config, out);
    return st == WEIR_OK ? weir_request_frame_end(out, frame) : st;
}

enum weir_status weir_plane_conn_send(struct weir_plane_call *call, struct weir_plane_conn *k,
                                      const struct weir_plane_call_config *config,
                                      struct weir_span path) {
    struct weir_plane_client *c = call->client;
    struct weir_buf *out = weir_stream_out(k->stream);
    size_t before = out->len;
    enum weir_status st = put_frame(call, config, path, out);
    if (st != WEIR_OK) {
        out->len = before;
        return st;
    }
    weir_plane_add(&c->traffic->bytes_sent, out->len - before);
    k->written += out->len - before;
    call->end_at = k->written;
    weir_stream_flush_later(k->stream);
    call->conn = k;
    call->ack_seq = k->next++;
    k->waiters[call->ack_seq % c->config.in_flight] = call;
    k->n_waiting++;
    expect_reply(k);
    if (out->len >= SEND_AT)
        weir_stream_flush(k->stream);
    return WEIR_OK;
}
