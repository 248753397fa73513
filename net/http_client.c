/*
 * The pool and the calls of the HTTP client.
 *
 * A call is written down whole when it starts. It takes the idle connection that was used last, or
 * opens one, or waits in a bounded queue. Places that become free are given away at the end of the
 * loop turn (pump), so that no callback of one call fires from inside another's.
 */
#include "net/http_client_priv.h"

#include "base/mem.h"

#include <stdio.h>

/* ---- ends of calls -------------------------------------------------------------------------- */

static void maybe_free(struct weir_http_client *c) {
    if (!c->destroyed || c->n_conns > 0 || c->inside > 0)
        return;
    weir_timer_stop(&c->idle_timer);
    weir_deferred_cancel(&c->pump);
    weir_free(c->ip);
    weir_free(c->host);
    weir_free(c->sni);
    weir_free(c);
}

/* Takes a call from its connection or from the queue, and frees it. */
static void discard(struct weir_http_call *call) {
    if (call->conn != NULL)
        call->conn->call = NULL;
    if (!weir_list_empty(&call->node)) {
        weir_list_remove(&call->node);
        call->client->n_waiting--;
    }
    weir_timer_stop(&call->timer);
    weir_buf_fini(&call->request);
    weir_free(call);
}

void weir_hc_call_done(struct weir_http_call *call, enum weir_status status) {
    struct weir_http_client *c = call->client;
    struct weir_http_call_ops ops = call->ops;
    void *arg = call->arg;
    bool sent_any = call->sent_any;
    discard(call);
    c->inside++;
    if (ops.on_done != NULL)
        ops.on_done(arg, status, sent_any);
    c->inside--;
}

void weir_hc_conn_gone(struct weir_http_client *c) {
    c->n_conns--;
    weir_hc_free_slot(c);
    maybe_free(c);
}

/* ---- giving connections to calls ------------------------------------------------------------ */

static struct hc_conn *idle_conn(struct weir_http_client *c) {
    return weir_list_empty(&c->idle) ? NULL : WEIR_CONTAINER_OF(c->idle.next, struct hc_conn, node);
}

void weir_hc_free_slot(struct weir_http_client *c) {
    if (c->n_waiting > 0 && !c->destroyed)
        weir_loop_defer(c->loop, &c->pump);
    if (!weir_list_empty(&c->idle) && !weir_timer_active(&c->idle_timer) &&
        weir_timer_start(&c->idle_timer, c->config.idle_ms) != WEIR_OK)
        weir_hc_conn_close(idle_conn(c), WEIR_NOMEM, "out of memory");
}

static void pump(void *arg) {
    struct weir_http_client *c = arg;
    c->inside++;
    while (!c->destroyed && !weir_list_empty(&c->waiting)) {
        struct weir_http_call *call =
            WEIR_CONTAINER_OF(c->waiting.next, struct weir_http_call, node);
        struct hc_conn *k = idle_conn(c);
        bool may_open = c->n_conns < c->config.max_conns;
        if (k == NULL && !may_open)
            break;
        weir_list_remove(&call->node);
        c->n_waiting--;
        if (k != NULL && !(call->retried && may_open)) {
            weir_hc_conn_assign(k, call);
            continue;
        }
        enum weir_status st = weir_hc_conn_open(c, call);
        if (st != WEIR_OK)
            weir_hc_call_done(call, st);
    }
    c->inside--;
    maybe_free(c);
}

void weir_hc_call_retry(struct weir_http_call *call) {
    struct weir_http_client *c = call->client;
    call->retried = true;
    weir_list_push_front(&c->waiting, &call->node);
    c->n_waiting++;
    weir_hc_free_slot(c);
}

/* Closes the connections that were idle for too long; the oldest comes last. */
static void on_idle_timer(void *arg) {
    struct weir_http_client *c = arg;
    uint64_t now = weir_loop_now_ms(c->loop);
    while (!weir_list_empty(&c->idle)) {
        struct hc_conn *k = WEIR_CONTAINER_OF(c->idle.prev, struct hc_conn, node);
        uint64_t due = k->idle_since_ms + c->config.idle_ms;
        if (due > now && weir_timer_start(&c->idle_timer, due - now) == WEIR_OK)
            return;
        weir_hc_conn_close(k, WEIR_OK, "idle");
    }
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static enum weir_status arm(struct weir_http_call *call) {
    uint64_t due = call->first_byte_due_ms;
    if (due == 0 || (call->total_due_ms != 0 && call->total_due_ms < due))
        due = call->total_due_ms;
    if (due == 0) {
        weir_timer_stop(&call->timer);
        return WEIR_OK;
    }
    uint64_t now = weir_loop_now_ms(call->client->loop);
    return weir_timer_start(&call->timer, due > now ? due - now : 0);
}

static void on_call_timer(void *arg) {
    struct weir_http_call *call = arg;
    struct weir_http_client *c = call->client;
    c->inside++;
    if (call->conn != NULL)
        weir_hc_conn_close(call->conn, WEIR_TIMEOUT, "the call took too long");
    weir_hc_call_done(call, WEIR_TIMEOUT);
    c->inside--;
    maybe_free(c);
}

void weir_hc_call_started(struct weir_http_call *call) {
    weir_buf_fini(&call->request);
    if (call->first_byte_due_ms == 0)
        return;
    call->first_byte_due_ms = 0;
    if (arm(call) != WEIR_OK)
        call->total_due_ms = 0; /* cannot happen: moving or stopping needs no memory */
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool is_target(struct weir_span target) {
    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.data[i] <= ' ' || target.data[i] == 0x7f)
            return false;
    return target.len > 0;
}

/* Lines that decide where the request ends are ours. */
static bool is_ours(struct weir_span name) {
    return weir_span_ieq(name, WEIR_SPAN_LIT("content-length")) ||
           weir_span_ieq(name, WEIR_SPAN_LIT("transfer-encoding"));
}

static enum weir_status put_line(struct weir_buf *out, struct weir_span name,
                                 struct weir_span value) {
    enum weir_status st = weir_buf_reserve(out, name.len + value.len + 4);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, name);
    if (st == WEIR_OK)
        st = weir_buf_append(out, ": ", 2);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, value);
    return st == WEIR_OK ? weir_buf_append(out, "\r\n", 2) : st;
}

static enum weir_status put_headers(const struct weir_http_client *c,
                                    const struct weir_http_call_config *config,
                                    struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    bool host = false;
    for (size_t i = 0; st == WEIR_OK && i < config->n_headers; i++) {
        const struct weir_http_header *h = &config->headers[i];
        if (!weir_http_token_ok(h->name) || !weir_http_value_ok(h->value) || is_ours(h->name))
            return WEIR_INVALID;
        host |= weir_span_ieq(h->name, WEIR_SPAN_LIT("host"));
        st = put_line(out, h->name, h->value);
    }
    if (st == WEIR_OK && !host)
        st = put_line(out, WEIR_SPAN_LIT("host"), weir_span_z(c->host));
    return st;
}

static enum weir_status write_request(const struct weir_http_client *c,
                                      const struct weir_http_call_config *config,
                                      struct weir_buf *out) {
    struct weir_span method = weir_span_z(config->method), target = weir_span_z(config->target);
    if (!weir_http_token_ok(method) || weir_span_eqz(method, "CONNECT") || !is_target(target))
        return WEIR_INVALID;
    size_t copied = config->body_stays ? 0 : config->body.len;
    if (config->body.len > HC_MAX_REQUEST)
        return WEIR_TOO_LARGE;
    weir_buf_init(out, HC_MAX_REQUEST);
    enum weir_status st = weir_buf_reserve(out, 512 + target.len + copied);
    if (st == WEIR_OK)
        st = weir_buf_printf(out, "%s %s HTTP/1.1\r\n", config->method, config->target);
    if (st == WEIR_OK)
        st = put_headers(c, config, out);
    bool length = config->body.len > 0 || weir_span_eqz(method, "POST") ||
                  weir_span_eqz(method, "PUT") || weir_span_eqz(method, "PATCH");
    if (st == WEIR_OK)
        st = length ? weir_buf_printf(out, "content-length: %zu\r\n\r\n", config->body.len)
                    : weir_buf_append(out, "\r\n", 2);
    return st == WEIR_OK ? weir_buf_append(out, config->body.data, copied) : st;
}

static enum weir_status start(struct weir_http_client *c, struct weir_http_call *call) {
    struct hc_conn *k = idle_conn(c);
    if (c->n_waiting == 0 && k != NULL) {
        weir_hc_conn_assign(k, call);
        return WEIR_OK;
    }
    if (c->n_waiting == 0 && c->n_conns < c->config.max_conns)
        return weir_hc_conn_open(c, call);
    if (c->n_waiting >= c->config.max_waiting)
        return WEIR_LIMIT;
    weir_list_push_back(&c->waiting, &call->node);
    c->n_waiting++;
    return WEIR_OK;
}

enum weir_status weir_http_call_start(struct weir_http_client *c,
                                      const struct weir_http_call_config *config,
                                      const struct weir_http_call_ops *ops, void *arg,
                                      struct weir_http_call **ret_call) {
    struct weir_http_call *call = c->destroyed ? NULL : weir_calloc(1, sizeof(*call));
    if (call == NULL)
        return c->destroyed ? WEIR_CANCELLED : WEIR_NOMEM;
    call->client = c;
    call->ops = *ops;
    call->arg = arg;
    weir_list_init(&call->node);
    weir_timer_init(&call->timer, c->loop, on_call_timer, call);
    call->head_only = strcmp(config->method, "HEAD") == 0;
    call->safe = call->head_only || strcmp(config->method, "GET") == 0 ||
                 strcmp(config->method, "OPTIONS") == 0;
    uint64_t now = weir_loop_now_ms(c->loop);
    if (config->first_byte_ms != 0)
        call->first_byte_due_ms = now + config->first_byte_ms;
    if (config->total_ms != 0)
        call->total_due_ms = now + config->total_ms;
    if (config->body_stays)
        call->body = config->body;
    enum weir_status st = write_request(c, config, &call->request);
    if (st == WEIR_OK)
        st = arm(call);
    if (st == WEIR_OK)
        st = start(c, call);
    if (st != WEIR_OK) {
        discard(call);
        return st;
    }
    *ret_call = call;
    return WEIR_OK;
}

void weir_http_call_cancel(struct weir_http_call *call) {
    struct hc_conn *k = call->conn;
    discard(call);
    if (k != NULL)
        weir_hc_conn_close(k, WEIR_CANCELLED, "the call was cancelled");
}

void weir_http_call_pause(struct weir_http_call *call) {
    if (call->paused)
        return;
    call->paused = true;
    if (call->conn != NULL)
        weir_hc_conn_pause(call->conn, true);
}

void weir_http_call_resume(struct weir_http_call *call) {
    if (!call->paused)
        return;
    call->paused = false;
    if (call->conn != NULL)
        weir_hc_conn_pause(call->conn, false);
}

/* ---- the client ----------------------------------------------------------------------------- */

static char *host_of(const struct weir_http_client_config *config) {
    if (config->host != NULL)
        return weir_strdup(config->host);
    char text[80];
    bool v6 = strchr(config->ip, ':') != NULL;
    snprintf(text, sizeof(text), v6 ? "[%s]:%u" : "%s:%u", config->ip, (unsigned)config->port);
    return weir_strdup(text);
}

/* The name without a port; an address makes no SNI. */
static char *sni_of(const struct weir_http_client_config *config) {
    if (config->host == NULL || config->host[0] == '[')
        return NULL;
    return weir_strndup(config->host, strcspn(config->host, ":"));
}

enum weir_status weir_http_client_create(struct weir_loop *loop,
                                         const struct weir_http_client_config *config,
                                         struct weir_http_client **ret_client) {
    if (config->host != NULL && !weir_http_value_ok(weir_span_z(config->host)))
        return WEIR_INVALID;
    struct weir_http_client *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return WEIR_NOMEM;
    c->loop = loop;
    c->config = *config;
#define DEFAULT(field, value)                                                                      \
    if (c->config.field == 0)                                                                      \
    c->config.field = (value)
    DEFAULT(max_conns, 128);
    DEFAULT(max_waiting, 1024);
    DEFAULT(connect_ms, 5000);
    DEFAULT(idle_ms, 60000);
    DEFAULT(max_head_bytes, 64 * 1024);
#undef DEFAULT
    c->ip = weir_strdup(config->ip);
    c->host = host_of(config);
    c->sni = sni_of(config);
    weir_list_init(&c->idle);
    weir_list_init(&c->busy);
    weir_list_init(&c->waiting);
    weir_timer_init(&c->idle_timer, loop, on_idle_timer, c);
    weir_deferred_init(&c->pump, pump, c);
    if (c->ip == NULL || c->host == NULL) {
        c->destroyed = true;
        maybe_free(c);
        return WEIR_NOMEM;
    }
    *ret_client = c;
    return WEIR_OK;
}

/* Any call that is open. */
static struct weir_http_call *some_call(struct weir_http_client *c) {
    if (!weir_list_empty(&c->waiting))
        return WEIR_CONTAINER_OF(c->waiting.next, struct weir_http_call, node);
    WEIR_LIST_FOREACH(it, &c->busy) {
        struct hc_conn *k = WEIR_CONTAINER_OF(it, struct hc_conn, node);
        if (k->call != NULL)
            return k->call;
    }
    return NULL;
}

void weir_http_client_destroy(struct weir_http_client *c) {
    if (c == NULL)
        return;
    c->destroyed = true;
    c->inside++;
    WEIR_LIST_FOREACH(it, &c->idle) {
        weir_hc_conn_close(WEIR_CONTAINER_OF(it, struct hc_conn, node), WEIR_OK,
                           "the client is shut down");
    }
    for (struct weir_http_call *call; (call = some_call(c)) != NULL;) {
        if (call->conn != NULL)
            weir_hc_conn_close(call->conn, WEIR_CANCELLED, "the client is shut down");
        weir_hc_call_done(call, WEIR_CANCELLED);
    }
    c->inside--;
    maybe_free(c);
}

const char *weir_http_client_last_failure(const struct weir_http_client *c) {
    return c->last_failure;
}

unsigned weir_http_client_conns(const struct weir_http_client *c) {
    return c->n_conns;
}
