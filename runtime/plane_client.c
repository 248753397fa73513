/*
 * Happy path: call_start picks a connection to the worker and queues the request frame → the worker
 * acknowledges (replies come in request order) and dials our call-home listener → handshake names
 * the subject of the call → prologue → items → complete_final: on_end(OK) and the connection
 * closes.
 *
 * Failure modes, each one on_end: the connection cannot be opened or breaks (all its unacknowledged
 * calls), the reply is a rejection or late, nobody dials back, the prologue is an error, a frame is
 * malformed, the stream breaks off, no item for item_ms. A call whose caller cancelled leaves
 * nothing behind but an empty place in its connection's list of waiters.
 *
 * Who may close when: the caller cancels at any time, also inside on_item; otherwise the call ends
 * itself. Connections and call-home streams belong to the client.
 */
#include "runtime/plane_client.h"

#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/number.h"
#include "runtime/address.h"
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>

enum {
    SUBJECT_BYTES = 37,
    MAX_REPLY = 64 * 1024,
    MAX_HOSTS = 65536,
    MAX_HANDSHAKE = 4096, /* bytes that a stranger may send */
    ITEM_IDS = 64,
    LOOK_MS = 1,
    GATHER = 4096, /* bytes of replies, which have 4 each unless they refuse */
    ARENA_MAX = 64 << 20,
};

enum call_state {
    CALL_SENT,      /* the frame is queued or on its way; no ack */
    CALL_ACKED,     /* acknowledged; no prologue */
    CALL_STREAMING, /* prologue seen */
};

struct conn;
struct home;

struct weir_plane_call {
    struct weir_list node; /* in client.calls */
    struct weir_plane_client *client;
    const struct weir_plane_call_ops *ops;
    void *arg;
    enum call_state state;
    enum weir_codec codec;
    char subject[SUBJECT_BYTES];
    char *address;     /* owned: of the worker, as its record has it */
    struct conn *conn; /* where the ack is awaited; NULL when it came */
    uint64_t ack_seq;
    uint64_t born;     /* number of the call */
    struct home *home; /* response stream; NULL until the worker dialled */
    bool paused, complete;
    uint64_t item_ms, last_item_ms;
    bool impatient; /* acknowledged: item_ms, not prologue_ms, is running */
    struct weir_timer timer;
};

/* A connection for requests. Owner: itself until on_close. */
struct conn {
    struct weir_list node; /* in host.conns */
    struct host *host;
    struct weir_stream *stream;
    struct weir_buf in;
    struct weir_plane_call **waiters; /* ring by sequence; NULL = cancelled meanwhile */
    uint64_t first, next;             /* sequences of the oldest waiter and of the next request */
    unsigned n_waiting;               /* waiters that were not cancelled */
    bool open;
    bool stuck; /* an ack is overdue, and replies come in order: nothing new is sent here */
    bool closing;
    struct weir_timer look; /* for replies that have gathered */
    bool gathering, found;  /* found: since the last look */
};

struct host {
    struct weir_list node; /* in client.hosts */
    struct weir_plane_client *client;
    struct weir_address address;
    uint64_t key; /* in client.by_host */
    struct weir_list conns;
    unsigned n_conns;
    uint64_t used_ms;
};

/* A connection that a worker opened to us. Owner: itself until on_close. */
struct home {
    struct weir_list node; /* in client.homes */
    struct weir_plane_client *client;
    struct weir_stream *stream;
    struct weir_plane_call *call; /* NULL before the handshake and after the end */
    struct weir_buf in;
    struct weir_timer timer; /* handshake deadline */
    bool closing;
};

struct weir_plane_client {
    struct weir_loop *loop;
    struct weir_plane_client_config config;
    struct weir_listener *listener;
    char response_address[WEIR_HOST_BYTES + 8];
    struct weir_list hosts, homes, calls;
    struct weir_map by_subject, by_host;
    struct weir_buf scratch;
    struct weir_arena arena; /* of the item that is being handed over */
    struct weir_output_pattern pattern;
    struct weir_timer idle;
    struct weir_plane_stats stats;
    unsigned n_hosts, n_calls, n_streams;
    uint64_t n_born;
    bool destroyed;
};

#define OR(value, fallback) ((value) != 0 ? (value) : (fallback))

static void on_call_timer(void *arg);
static void on_accept(void *arg, struct weir_stream *s);
static void on_idle(void *arg);

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
    st = weir_listen(c->loop, &lc, on_accept, c, &c->listener, err);
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
    apply_defaults(&c->config);
    weir_list_init(&c->hosts);
    weir_list_init(&c->homes);
    weir_list_init(&c->calls);
    weir_map_init(&c->by_subject, c->config.max_calls);
    weir_map_init(&c->by_host, MAX_HOSTS);
    weir_buf_init(&c->scratch, 128 * 1024);
    weir_arena_init(&c->arena, ARENA_MAX);
    weir_timer_init(&c->idle, loop, on_idle, c);
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

static void maybe_free(struct weir_plane_client *c) {
    if (!c->destroyed || c->n_streams > 0)
        return;
    WEIR_LIST_FOREACH(it, &c->hosts) {
        weir_free(WEIR_CONTAINER_OF(it, struct host, node));
    }
    weir_map_fini(&c->by_subject);
    weir_map_fini(&c->by_host);
    weir_buf_fini(&c->scratch);
    weir_arena_fini(&c->arena);
    weir_free(c);
}

/* ---- ending a call ------------------------------------------------------------------------ */

static uint64_t hash_of(struct weir_span text) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    return h;
}

static uint64_t subject_key(struct weir_span subject) {
    return hash_of(subject);
}

static void close_conn(struct conn *k, enum weir_status status, const char *reason) {
    k->closing = true;
    weir_timer_stop(&k->look);
    weir_stream_close(k->stream, status, reason);
}

/* Nobody waits for this place in the order of replies any more. */
static void leave_conn(struct weir_plane_call *call) {
    struct conn *k = call->conn;
    k->waiters[call->ack_seq % call->client->config.in_flight] = NULL;
    call->conn = NULL;
    if (--k->n_waiting == 0 && k->stuck && !k->closing)
        close_conn(k, WEIR_TIMEOUT, "replies are overdue");
}

static void close_home(struct home *h, const char *reason) {
    if (h->closing)
        return;
    h->closing = true;
    h->call = NULL;
    weir_timer_stop(&h->timer);
    weir_stream_close(h->stream, WEIR_OK, reason);
}

/* Takes the call out of everything and frees it. */
static void unlink_call(struct weir_plane_call *call, const char *reason) {
    struct weir_plane_client *c = call->client;
    weir_timer_stop(&call->timer);
    weir_list_remove(&call->node);
    weir_map_remove(&c->by_subject, subject_key(weir_span(call->subject, SUBJECT_BYTES - 1)));
    if (call->conn != NULL)
        leave_conn(call);
    if (call->home != NULL)
        close_home(call->home, reason);
    c->n_calls--;
    weir_free(call->address);
    weir_free(call);
}

static void end_call(struct weir_plane_call *call, const struct weir_plane_end *end) {
    const struct weir_plane_call_ops *ops = call->ops;
    void *arg = call->arg;
    if (end->status != WEIR_OK)
        call->client->stats.errors++;
    unlink_call(call, end->stage);
    ops->on_end(arg, end);
}

static void fail_call(struct weir_plane_call *call, enum weir_status status, int http_status,
                      const char *stage, bool inhibit, struct weir_span message) {
    struct weir_plane_end end = {.status = status,
                                 .error = {.status = status,
                                           .http_status = http_status,
                                           .message = message,
                                           .migratable = inhibit || status == WEIR_OVERLOADED},
                                 .stage = stage,
                                 .inhibit = inhibit};
    end_call(call, &end);
}

static void start_timer(struct weir_plane_call *call, uint64_t ms) {
    /* Out of memory leaves the call without this deadline; the connection's own limits remain. */
    if (weir_timer_start(&call->timer, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "plane", "out of memory: a call runs without a deadline");
}

static void on_call_timer(void *arg) {
    struct weir_plane_call *call = arg;
    switch (call->state) {
    case CALL_SENT:
        if (call->conn != NULL)
            call->conn->stuck = true;
        fail_call(call, WEIR_TIMEOUT, 504, "ack", true, WEIR_SPAN_LIT("Request deadline exceeded"));
        return;
    case CALL_ACKED:
        if (call->impatient)
            break;
        fail_call(call, WEIR_TIMEOUT, 504, "prologue", true,
                  WEIR_SPAN_LIT("the worker took the request and did not answer"));
        return;
    case CALL_STREAMING:
        break;
    }
    uint64_t idle = weir_loop_now_ms(call->client->loop) - call->last_item_ms;
    if (call->paused || idle < call->item_ms)
        start_timer(call, call->paused ? call->item_ms : call->item_ms - idle);
    else
        fail_call(call, WEIR_TIMEOUT, 504, "deadline", false,
                  WEIR_SPAN_LIT("no item from the worker"));
}

/* ---- request connections ------------------------------------------------------------------ */

/* Nobody waits for an acknowledgement: the answer follows on a connection of its own. So replies
 * gather, and a timer looks for them while some are to come. A worker that lets us look in vain is
 * slower than the timer: then its next reply wakes us. */
static void gather(struct conn *k, bool on) {
    if (k->gathering != on)
        weir_stream_gather(k->stream, on ? GATHER : 1);
    k->gathering = on;
}

static void expect_reply(struct conn *k) {
    if (k->gathering && !weir_timer_active(&k->look) &&
        weir_timer_start(&k->look, LOOK_MS) != WEIR_OK)
        gather(k, false);
}

static void on_look(void *arg) {
    struct conn *k = arg;
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
    struct conn *k = arg;
    const struct weir_plane_client_config *config = &k->host->client->config;
    k->open = true;
    gather(k, true);
    if (k->first != k->next)
        expect_reply(k);
    for (uint64_t i = k->first; i != k->next; i++) {
        struct weir_plane_call *call = k->waiters[i % config->in_flight];
        if (call != NULL && call->state == CALL_SENT)
            start_timer(call, config->ack_ms);
    }
}

static bool rejection_is_overload(struct weir_span text) {
    return weir_span_starts(text, WEIR_SPAN_LIT("Server overloaded:"));
}

/* One reply: the oldest waiter's. */
static void on_reply(struct conn *k, struct weir_span text) {
    struct weir_plane_client *c = k->host->client;
    struct weir_plane_call *call = k->waiters[k->first % c->config.in_flight];
    k->first++;
    k->stuck = false;
    if (call == NULL)
        return;
    leave_conn(call);
    if (text.len > 0) {
        bool overload = rejection_is_overload(text);
        fail_call(call, overload ? WEIR_OVERLOADED : WEIR_UNAVAILABLE, overload ? 529 : 503, "ack",
                  !overload, text);
    } else if (call->state == CALL_SENT) {
        /* The prologue is the first sign of an answer: whoever waits item_ms for an item waits no
         * longer for it. */
        call->impatient = call->item_ms > 0 && call->item_ms < c->config.prologue_ms;
        call->state = CALL_ACKED;
        call->last_item_ms = weir_loop_now_ms(c->loop);
        start_timer(call, call->impatient ? call->item_ms : c->config.prologue_ms);
    }
}

static void on_conn_read(void *arg, struct weir_span bytes) {
    struct conn *k = arg;
    k->host->client->stats.bytes_received += bytes.len;
    k->found = true;
    if (weir_buf_append_span(&k->in, bytes) != WEIR_OK) {
        close_conn(k, WEIR_PROTOCOL, "reply too long");
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
        close_conn(k, WEIR_PROTOCOL, "reply without a request or too long");
    if (k->closing || k->gathering)
        return;
    gather(k, true);
    if (k->first != k->next)
        expect_reply(k);
}

static void on_conn_close(void *arg, enum weir_status status, const char *reason) {
    struct conn *k = arg;
    struct weir_plane_client *c = k->host->client;
    (void)reason;
    k->closing = true;
    weir_timer_stop(&k->look);
    weir_list_remove(&k->node);
    k->host->n_conns--;
    bool opened = k->open;
    for (; k->first != k->next; k->first++) {
        struct weir_plane_call *call = k->waiters[k->first % c->config.in_flight];
        if (call == NULL)
            continue;
        leave_conn(call);
        if (call->state == CALL_STREAMING)
            continue; /* the answer is coming already: the ack does not matter */
        fail_call(call, opened ? WEIR_DISCONNECTED : WEIR_CANNOT_CONNECT, 503,
                  opened ? "ack" : "connect", true,
                  weir_span_z(status != WEIR_OK ? weir_status_text(status) : "connection closed"));
    }
    weir_free(k->waiters);
    weir_buf_fini(&k->in);
    weir_free(k);
    c->n_streams--;
    maybe_free(c);
}

static void on_conn_eof(void *arg) {
    close_conn(arg, WEIR_DISCONNECTED, "worker closed the connection");
}

static const struct weir_stream_ops conn_ops = {.on_open = on_conn_open,
                                                .on_read = on_conn_read,
                                                .on_eof = on_conn_eof,
                                                .on_close = on_conn_close};

static enum weir_status open_conn(struct host *host, struct conn **ret_conn) {
    struct weir_plane_client *c = host->client;
    struct conn *k = weir_calloc(1, sizeof(*k));
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

static void free_host(struct host *h) {
    struct weir_plane_client *c = h->client;
    uint64_t value = 0;
    if (weir_map_get(&c->by_host, h->key, &value) && value == (uint64_t)(uintptr_t)h)
        weir_map_remove(&c->by_host, h->key);
    weir_list_remove(&h->node);
    c->n_hosts--;
    weir_free(h);
}

static enum weir_status find_host(struct weir_plane_client *c, const struct weir_address *address,
                                  struct host **ret_host) {
    uint64_t key = hash_of(weir_span_z(address->ip)) ^ address->port, value = 0;
    if (weir_map_get(&c->by_host, key, &value)) {
        *ret_host = (struct host *)(uintptr_t)value;
        if (same_address(&(*ret_host)->address, address))
            return WEIR_OK;
        /* Two addresses with one hash: the other is found by walking. */
        WEIR_LIST_FOREACH(it, &c->hosts) {
            *ret_host = WEIR_CONTAINER_OF(it, struct host, node);
            if (same_address(&(*ret_host)->address, address))
                return WEIR_OK;
        }
    }
    if (c->n_hosts == MAX_HOSTS)
        return WEIR_LIMIT;
    struct host *h = weir_calloc(1, sizeof(*h));
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
static enum weir_status pick_conn(struct host *host, struct conn **ret_conn) {
    struct weir_plane_client *c = host->client;
    struct conn *best = NULL;
    WEIR_LIST_FOREACH(it, &host->conns) {
        struct conn *k = WEIR_CONTAINER_OF(it, struct conn, node);
        if (k->stuck || k->closing)
            continue;
        if (best == NULL || k->next - k->first < best->next - best->first)
            best = k;
    }
    bool saturated = best == NULL || best->next - best->first >= c->config.in_flight ||
                     !weir_stream_writable(best->stream);
    if (saturated && host->n_conns < c->config.pool_conns)
        return open_conn(host, ret_conn);
    if (best == NULL || best->next - best->first >= c->config.in_flight)
        return WEIR_OVERLOADED;
    *ret_conn = best;
    return WEIR_OK;
}

/* Closes connections of hosts that nobody has asked for a while, and forgets hosts without any. */
static void on_idle(void *arg) {
    struct weir_plane_client *c = arg;
    uint64_t now = weir_loop_now_ms(c->loop);
    WEIR_LIST_FOREACH(it, &c->hosts) {
        struct host *h = WEIR_CONTAINER_OF(it, struct host, node);
        if (now - h->used_ms < c->config.host_idle_ms)
            continue;
        WEIR_LIST_FOREACH(jt, &h->conns) {
            struct conn *k = WEIR_CONTAINER_OF(jt, struct conn, node);
            if (k->n_waiting == 0 && !k->closing)
                close_conn(k, WEIR_OK, "idle");
        }
        if (weir_list_empty(&h->conns))
            free_host(h);
    }
    if (weir_timer_start(&c->idle, c->config.host_idle_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "plane", "out of memory: idle connections stay open");
}

/* ---- starting a call ---------------------------------------------------------------------- */

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
    struct weir_control control = {.id = config->request_id,
                                   .codec = config->codec,
                                   .address = weir_span_z(c->response_address),
                                   .subject = weir_span(call->subject, SUBJECT_BYTES - 1),
                                   .context = config->request_id};
    size_t frame = 0, message = 0;
    weir_buf_clear(&c->scratch);
    enum weir_status st = put_headers(&c->scratch, config, path);
    if (st == WEIR_OK)
        st = weir_request_frame_begin(path, weir_buf_span(&c->scratch), out, &frame);
    weir_buf_clear(&c->scratch);
    if (st == WEIR_OK)
        st = weir_control_encode(&control, &c->scratch);
    if (st == WEIR_OK)
        st = weir_two_part_begin(weir_buf_span(&c->scratch), out, &message);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, weir_buf_span(config->take_body));
    if (st != WEIR_OK)
        return st;
    weir_two_part_end(out, message);
    return weir_request_frame_end(out, frame);
}

static enum weir_status send_request(struct weir_plane_call *call, struct conn *k,
                                     const struct weir_plane_call_config *config,
                                     struct weir_span path) {
    struct weir_plane_client *c = call->client;
    if (config->take_body->len + 4096 > c->config.max_message)
        return WEIR_TOO_LARGE;
    struct weir_buf *out = weir_stream_out(k->stream);
    size_t before = out->len;
    enum weir_status st = put_frame(call, config, path, out);
    if (st != WEIR_OK) {
        out->len = before;
        return st;
    }
    c->stats.bytes_sent += out->len - before;
    weir_stream_flush_later(k->stream);
    call->conn = k;
    call->ack_seq = k->next++;
    k->waiters[call->ack_seq % c->config.in_flight] = call;
    k->n_waiting++;
    expect_reply(k);
    return WEIR_OK;
}

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

enum weir_status weir_plane_call_start(struct weir_plane_client *client,
                                       const struct weir_plane_call_config *config,
                                       const struct weir_plane_call_ops *ops, void *arg,
                                       struct weir_plane_call **ret_call) {
    struct weir_address address;
    struct weir_span path;
    struct host *host;
    struct conn *k = NULL;
    if (client->destroyed)
        return WEIR_CANCELLED;
    if (client->n_calls >= client->config.max_calls)
        return WEIR_LIMIT;
    enum weir_status st = weir_address_parse(config->address, &address, &path);
    if (st != WEIR_OK || path.data == NULL)
        return WEIR_INVALID;
    st = find_host(client, &address, &host);
    if (st == WEIR_OK)
        st = pick_conn(host, &k);
    if (st != WEIR_OK)
        return st;
    struct weir_plane_call *call = new_call(client, config, ops, arg);
    if (call == NULL)
        return WEIR_NOMEM;
    client->n_calls++;
    weir_list_push_back(&client->calls, &call->node);
    host->used_ms = weir_loop_now_ms(client->loop);
    /* The subject is known before the request can leave: the worker may dial before its ack. */
    st = weir_map_put(&client->by_subject, subject_key(weir_span(call->subject, SUBJECT_BYTES - 1)),
                      (uint64_t)(uintptr_t)call);
    if (st == WEIR_OK)
        st = send_request(call, k, config, path);
    if (st == WEIR_OK)
        st = weir_timer_start(&call->timer,
                              client->config.ack_ms + (k->open ? 0 : client->config.connect_ms));
    if (st != WEIR_OK) {
        unlink_call(call, "not sent");
        return st;
    }
    weir_buf_fini(config->take_body);
    *ret_call = call;
    return WEIR_OK;
}

void weir_plane_call_cancel(struct weir_plane_call *call, bool graceful) {
    struct home *h = call->home;
    if (h != NULL && !h->closing) {
        struct weir_span frame = weir_ctl_frame(graceful ? WEIR_CTL_STOP : WEIR_CTL_KILL);
        if (weir_stream_write(h->stream, frame.data, frame.len) == WEIR_OK)
            weir_stream_flush(h->stream);
    }
    unlink_call(call, "cancelled");
}

void weir_plane_call_pause(struct weir_plane_call *call) {
    call->paused = true;
    if (call->home != NULL && !call->home->closing)
        weir_stream_read_stop(call->home->stream);
}

void weir_plane_call_resume(struct weir_plane_call *call) {
    call->paused = false;
    call->last_item_ms = weir_loop_now_ms(call->client->loop);
    if (call->home != NULL && !call->home->closing)
        weir_stream_read_start(call->home->stream);
}

/* ---- response streams --------------------------------------------------------------------- */

static void fail_protocol(struct weir_plane_call *call, int http_status, const char *what) {
    bool broken = http_status == 503;
    fail_call(call, broken ? WEIR_DISCONNECTED : WEIR_PROTOCOL, http_status,
              call->state == CALL_STREAMING ? "stream" : "prologue", broken, weir_span_z(what));
}

static void on_handshake(struct home *h, struct weir_two_part msg) {
    struct weir_span subject;
    uint64_t value = 0;
    struct weir_plane_call *call = NULL;
    if (msg.body.len == 0 && weir_handshake_decode(msg.header, &subject) == WEIR_OK &&
        weir_map_get(&h->client->by_subject, subject_key(subject), &value))
        call = (struct weir_plane_call *)(uintptr_t)value;
    if (call == NULL || call->home != NULL || !weir_span_eqz(subject, call->subject)) {
        close_home(h, "unknown subject");
        return;
    }
    weir_timer_stop(&h->timer);
    h->call = call;
    call->home = h;
    if (call->paused)
        weir_stream_read_stop(h->stream);
}

static void on_prologue(struct home *h, struct weir_two_part msg) {
    struct weir_plane_call *call = h->call;
    struct weir_wire_error error;
    if (msg.body.len > 0) {
        fail_protocol(call, 503, "data before the prologue");
        return;
    }
    weir_arena_reset(&h->client->arena);
    switch (weir_stream_ctl_decode(msg.header, &h->client->arena, &error)) {
    case WEIR_CTL_PROLOGUE_OK:
        call->state = CALL_STREAMING;
        call->last_item_ms = weir_loop_now_ms(h->client->loop);
        if (call->item_ms > 0)
            start_timer(call, call->item_ms);
        else
            weir_timer_stop(&call->timer);
        return;
    case WEIR_CTL_PROLOGUE_ERROR: {
        struct weir_plane_end end = {.status = error.status,
                                     .error = error,
                                     .stage = "prologue",
                                     .inhibit = error.migratable && error.http_status == 503};
        end_call(call, &end);
        return;
    }
    default:
        fail_protocol(call, 503, "no prologue");
    }
}

static void end_well(struct weir_plane_call *call) {
    struct weir_plane_end end = {.status = WEIR_OK, .stage = "stream"};
    end_call(call, &end);
}

/* An item that is passed on: only its outside is looked at. */
static void on_wrapper_frame(struct home *h, struct weir_span body) {
    struct weir_plane_call *call = h->call;
    struct weir_output_look look;
    if (call->complete || weir_output_look(body, call->codec, &look) != WEIR_OK) {
        fail_protocol(call, 500, "the worker sent an item that cannot be read");
        return;
    }
    call->complete = look.complete_final;
    call->ops->on_wrapper(call->arg, body, &look);
    /* The callee may have cancelled. */
    if (h->call == call && look.complete_final)
        end_well(call);
}

static void on_item_frame(struct home *h, struct weir_span body) {
    struct weir_plane_call *call = h->call;
    uint32_t ids[ITEM_IDS];
    struct weir_output item;
    call->last_item_ms = weir_loop_now_ms(h->client->loop);
    if (call->ops->on_raw != NULL) {
        call->ops->on_raw(call->arg, body);
        return;
    }
    if (call->ops->on_wrapper != NULL) {
        on_wrapper_frame(h, body);
        return;
    }
    weir_arena_reset(&h->client->arena);
    enum weir_status st = call->complete
                              ? WEIR_PROTOCOL
                              : weir_output_decode_like(&h->client->pattern, body, call->codec, ids,
                                                        ITEM_IDS, &h->client->arena, &item);
    if (st != WEIR_OK) {
        fail_protocol(call, 500, "the worker sent an item that cannot be read");
        return;
    }
    call->complete = item.complete_final;
    if (item.has_data)
        call->ops->on_item(call->arg, &item);
    /* The callee may have cancelled. */
    if (h->call != NULL && item.complete_final)
        end_well(h->call);
}

static void on_stream_frame(struct home *h, struct weir_two_part msg) {
    if (msg.header.len == 0 && msg.body.len == 0)
        return;
    if (msg.header.len == 0)
        on_item_frame(h, msg.body);
    else if (msg.body.len == 0 && weir_span_eqz(msg.header, "\"sentinel\""))
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    else
        fail_protocol(h->call, 503, "unknown control frame");
}

static void on_frame(struct home *h, struct weir_two_part msg) {
    if (h->call == NULL)
        on_handshake(h, msg);
    else if (h->call->state != CALL_STREAMING)
        on_prologue(h, msg);
    else
        on_stream_frame(h, msg);
}

/* Handles all whole frames of `bytes`; returns what was used. */
static size_t eat_frames(struct home *h, struct weir_span bytes) {
    size_t used = 0, n = 0, need = 0, max = h->client->config.max_message;
    while (!h->closing) {
        struct weir_two_part msg;
        enum weir_status st =
            weir_two_part_decode(weir_span(bytes.data + used, bytes.len - used),
                                 h->call != NULL ? max : MAX_HANDSHAKE, &msg, &n, &need);
        if (st == WEIR_AGAIN)
            break;
        if (st != WEIR_OK) {
            if (h->call != NULL)
                fail_protocol(h->call, 503, "a frame is too large");
            close_home(h, "frame too large");
            break;
        }
        used += n;
        on_frame(h, msg);
    }
    return used;
}

static void on_home_read(void *arg, struct weir_span bytes) {
    struct home *h = arg;
    h->client->stats.bytes_received += bytes.len;
    /* Nearly always whole frames arrive, and nothing is copied. */
    if (h->in.len == 0) {
        size_t used = eat_frames(h, bytes);
        bytes = weir_span(bytes.data + used, bytes.len - used);
        if (h->closing || bytes.len == 0)
            return;
    }
    if (weir_buf_append_span(&h->in, bytes) != WEIR_OK) {
        if (h->call != NULL)
            fail_protocol(h->call, 503, "a frame is too large");
        close_home(h, "frame too large");
        return;
    }
    size_t used = eat_frames(h, weir_buf_span(&h->in));
    weir_buf_consume(&h->in, used);
    if (h->in.len == 0)
        weir_buf_fini(&h->in);
}

static void on_home_eof(void *arg) {
    struct home *h = arg;
    if (h->call != NULL)
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    close_home(h, "worker closed the stream");
}

static void on_home_close(void *arg, enum weir_status status, const char *reason) {
    struct home *h = arg;
    struct weir_plane_client *c = h->client;
    (void)status;
    (void)reason;
    h->closing = true;
    weir_timer_stop(&h->timer);
    if (h->call != NULL) {
        h->call->home = NULL;
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    }
    weir_list_remove(&h->node);
    weir_buf_fini(&h->in);
    weir_free(h);
    c->n_streams--;
    maybe_free(c);
}

static void on_handshake_late(void *arg) {
    close_home(arg, "no handshake");
}

static const struct weir_stream_ops home_ops = {
    .on_read = on_home_read, .on_eof = on_home_eof, .on_close = on_home_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct weir_plane_client *c = arg;
    struct home *h = weir_calloc(1, sizeof(*h));
    if (h == NULL) {
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
        return;
    }
    h->client = c;
    h->stream = s;
    weir_buf_init(&h->in, c->config.max_message + WEIR_TWO_PART_HEAD);
    weir_list_push_back(&c->homes, &h->node);
    c->n_streams++;
    weir_stream_adopt(s, &home_ops, h);
    weir_timer_init(&h->timer, c->loop, on_handshake_late, h);
    if (weir_timer_start(&h->timer, c->config.handshake_ms) != WEIR_OK)
        close_home(h, "out of memory");
}

/* ---- the rest ----------------------------------------------------------------------------- */

/* Calls are in order of birth. on_end may end and start calls, so each search begins anew. */
static struct weir_plane_call *find_waiting(struct weir_plane_client *client,
                                            struct weir_span address, uint64_t newest) {
    WEIR_LIST_FOREACH(it, &client->calls) {
        struct weir_plane_call *call = WEIR_CONTAINER_OF(it, struct weir_plane_call, node);
        if (call->born > newest)
            break;
        if (call->state != CALL_STREAMING && weir_span_eqz(address, call->address))
            return call;
    }
    return NULL;
}

void weir_plane_client_drop_address(struct weir_plane_client *client, struct weir_span address) {
    struct weir_plane_call *call;
    uint64_t newest = client->n_born;
    while ((call = find_waiting(client, address, newest)) != NULL)
        fail_call(call, WEIR_DISCONNECTED, 503, "prologue", true, WEIR_SPAN_LIT("the worker left"));
}

void weir_plane_client_worker_left(struct weir_plane_client *client, struct weir_span address,
                                   uint64_t silent_ms) {
    uint64_t now = weir_loop_now_ms(client->loop);
    WEIR_LIST_FOREACH(it, &client->calls) {
        struct weir_plane_call *call = WEIR_CONTAINER_OF(it, struct weir_plane_call, node);
        if (!weir_span_eqz(address, call->address))
            continue;
        if (call->state != CALL_STREAMING) {
            call->impatient = false;
            start_timer(call, silent_ms);
        } else if (call->item_ms == 0 || call->item_ms > silent_ms) {
            call->item_ms = silent_ms;
            call->last_item_ms = now;
            start_timer(call, silent_ms);
        }
    }
}

void weir_plane_client_destroy(struct weir_plane_client *client) {
    if (client == NULL || client->destroyed)
        return;
    client->destroyed = true; /* on_end starts nothing new */
    while (!weir_list_empty(&client->calls))
        fail_call(WEIR_CONTAINER_OF(client->calls.next, struct weir_plane_call, node),
                  WEIR_CANCELLED, 503, "shutdown", false, WEIR_SPAN_LIT("shutting down"));
    weir_timer_stop(&client->idle);
    weir_listener_close(client->listener);
    WEIR_LIST_FOREACH(it, &client->homes) {
        close_home(WEIR_CONTAINER_OF(it, struct home, node), "shutdown");
    }
    WEIR_LIST_FOREACH(it, &client->hosts) {
        struct host *h = WEIR_CONTAINER_OF(it, struct host, node);
        WEIR_LIST_FOREACH(jt, &h->conns) {
            close_conn(WEIR_CONTAINER_OF(jt, struct conn, node), WEIR_OK, "shutdown");
        }
    }
    maybe_free(client);
}

unsigned weir_plane_client_calls(const struct weir_plane_client *client) {
    return client->n_calls;
}

void weir_plane_client_stats(const struct weir_plane_client *client, struct weir_plane_stats *ret) {
    struct weir_plane_stats s = client->stats;
    s.calls = client->n_calls;
    WEIR_LIST_FOREACH(it, &client->hosts) {
        struct host *h = WEIR_CONTAINER_OF(it, struct host, node);
        WEIR_LIST_FOREACH(jt, &h->conns) {
            struct conn *k = WEIR_CONTAINER_OF(jt, struct conn, node);
            *(k->n_waiting > 0 ? &s.conns_active : &s.conns_idle) += 1;
        }
    }
    *ret = s;
}
