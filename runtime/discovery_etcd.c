/*
 * The etcd backend, over etcd's JSON gateway: keys and values as the reference system writes them
 * (shared spec "transport" 1.4). This file: the session.
 *
 * Happy path: an endpoint is chosen (at random, so that a fleet spreads) → its name is resolved →
 * a user logs in → UP: the parts' pumps list and watch, hold a lease, write the own records.
 * Failure modes: whatever fails ends the session; the next address is tried, after a pause with
 * jitter once all were. What is known of others is kept meanwhile, own records are registered again
 * when their lease did not survive. A token that has expired is replaced within the session. A
 * refusal (wrong password, no gateway, a certificate that does not verify) of every endpoint before
 * anything ever worked is told to on_refused, and nothing is tried any more.
 *
 * Closing: the lease is revoked, so that the records go at once. The owner's loop has most likely
 * stopped by then; it is run again until the answer is there, at most ETCD_LEAVE_MS. Inside of a
 * running loop the object lives on until the answer.
 */
#include "runtime/discovery_etcd_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "net/tls.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MAX_CALL_MS = 5000,
    MIN_CALL_MS = 1000,
    TELL_AGAIN_MS = 60000,
    TELL_OTHER_MS = 10000,
    DEFAULT_TTL_S = 30
};

static void next_session(struct etcd *e);
static void come_up(struct etcd *e);

uint64_t weir_etcd_call_ms(const struct etcd *e) {
    uint64_t ms = e->ttl_ms / 3;
    return ms > MAX_CALL_MS ? MAX_CALL_MS : ms < MIN_CALL_MS ? MIN_CALL_MS : ms;
}

/* ---- the end of a session ----------------------------------------------------------------- */

static const struct etcd_endpoint *endpoint(const struct etcd *e) {
    return &e->endpoints[e->at];
}

static void end_session(struct etcd *e) {
    weir_etcd_cancel(&e->login);
    weir_etcd_cancel(&e->beat);
    weir_etcd_cancel(&e->write);
    weir_etcd_cancel(&e->read);
    weir_addresses_stop(&e->addresses);
    weir_http_client_destroy(e->client);
    e->client = NULL;
    weir_timer_stop(&e->beat_timer);
    weir_free(e->token);
    e->token = NULL;
    e->proved = false;
    weir_etcd_read_reset(e);
    weir_etcd_own_reset(e);
}

static void next_address(struct etcd *e) {
    if (++e->addresses.at < e->addresses.n)
        return;
    e->addresses.at = e->addresses.n = 0;
    e->at = (e->at + 1) % e->n_endpoints;
}

/* Each kind of failure once, then now and again while it lasts. */
static void tell(struct etcd *e, const char *kind, const char *text) {
    uint64_t now = weir_loop_now_ms(e->loop);
    uint64_t pause_ms = strcmp(text, e->told) == 0 ? TELL_AGAIN_MS : TELL_OTHER_MS;
    if (kind == e->told_kind && now < e->told_ms + pause_ms)
        return;
    e->told_kind = kind;
    snprintf(e->told, sizeof(e->told), "%s", text);
    e->told_ms = now;
    e->told_up = false;
    WEIR_LOG(e->ever_proved ? WEIR_LOG_WARN : WEIR_LOG_ERROR, "etcd", "%s; %s", text,
             e->ever_proved ? "what is known stays in use, trying again" : "trying again");
}

static bool give_up(struct etcd *e, const char *text) {
    if (e->ever_proved || ++e->n_refused < e->n_endpoints || e->on_refused == NULL)
        return false;
    struct weir_err err;
    weir_err_set(&err, WEIR_INVALID, "%s", text);
    e->state = ETCD_CLOSED;
    e->on_refused(e->refused_arg, &err);
    return true;
}

void weir_etcd_lost(struct etcd *e, bool refused, const char *fmt, ...) {
    if (e->state == ETCD_CLOSED || e->state == ETCD_WAITING)
        return;
    char reason[170], text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    const struct etcd_endpoint *ep = endpoint(e);
    snprintf(text, sizeof(text), "etcd at %.*s port %u: %s",
             WEIR_SPAN_ARG(weir_utf8_cut_z(ep->host, 60)), ep->port, reason);
    bool was_up = e->proved;
    weir_metric_set(e->figures[ETCD_CONNECTED], 0);
    weir_metric_inc(e->figures[ETCD_FAILURES]);
    end_session(e);
    if (refused && give_up(e, text))
        return;
    if (!refused)
        e->n_refused = 0;
    /* localhost is two addresses, of which etcd may use one: no news before both were tried. */
    unsigned addresses = e->n_endpoints + (e->addresses.n > 1 ? e->addresses.n - 1 : 0);
    uint64_t ms = weir_discovery_backoff_ms(++e->n_failures, addresses, weir_etcd_call_ms(e),
                                            weir_rng_unit(weir_loop_rng(e->loop)));
    if (was_up || e->n_failures >= addresses)
        tell(e, fmt, text);
    next_address(e);
    e->state = ETCD_WAITING;
    if (weir_timer_start(&e->retry, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "etcd", "out of memory: etcd is not tried again");
}

bool weir_etcd_failed(struct etcd *e, const struct etcd_call *call, enum weir_etcd_fault fault,
                      const struct weir_etcd_answer *answer) {
    const char *text = answer->text, *user = e->user != NULL ? e->user : "";
    switch (fault) {
    case WEIR_ETCD_NO_FAULT:
        return false;
    case WEIR_ETCD_TOKEN:
        if (e->user == NULL)
            weir_etcd_lost(e, true,
                           "it wants a user: set ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD");
        else if (e->token_new)
            weir_etcd_lost(e, false, "it refuses the token that it gave: %.*s",
                           WEIR_SPAN_ARG(weir_utf8_cut_z(text, 100)));
        else
            come_up(e); /* logs in; the pumps then repeat what failed */
        return true;
    case WEIR_ETCD_PASSWORD:
        weir_etcd_lost(e, true,
                       "it refuses the user '%.*s': ETCD_AUTH_USERNAME or ETCD_AUTH_PASSWORD is "
                       "wrong",
                       WEIR_SPAN_ARG(weir_utf8_cut_z(user, 40)));
        return true;
    case WEIR_ETCD_PERMISSION:
        weir_etcd_lost(e, true,
                       "the user '%.*s' may not %s: its role needs readwrite on the prefix v1/",
                       WEIR_SPAN_ARG(weir_utf8_cut_z(user, 40)), call->what);
        return true;
    case WEIR_ETCD_NO_GATEWAY:
        weir_etcd_lost(e, true,
                       "HTTP %d instead of an answer: is it etcd 3.4 or later, with "
                       "--enable-grpc-gateway (its default), and is http:// or https:// right?",
                       call->status);
        return true;
    default:
        weir_etcd_lost(
            e, false, "cannot %s: %.*s", call->what,
            WEIR_SPAN_ARG(weir_utf8_cut_z(text[0] != '\0' ? text : "it gives no reason", 100)));
        return true;
    }
}

/* ---- calls -------------------------------------------------------------------------------- */

void weir_etcd_cancel(struct etcd_call *call) {
    if (call->http != NULL)
        weir_http_call_cancel(call->http);
    call->http = NULL;
    call->serial++;
    weir_buf_fini(&call->body);
}

void weir_etcd_prove(struct etcd *e, bool beat) {
    if (beat && e->proved)
        e->n_failures = 0;
    e->token_new = false;
    if (e->proved)
        return;
    e->proved = e->ever_proved = true;
    weir_metric_set(e->figures[ETCD_CONNECTED], 1);
    weir_metric_inc(e->figures[ETCD_CONNECTS]);
    e->n_refused = 0;
    if (!e->told_up) /* a failure was told: so is its end */
        WEIR_LOG(WEIR_LOG_INFO, "etcd", "connected to etcd at %s port %u", endpoint(e)->host,
                 endpoint(e)->port);
    e->told_up = true;
}

/* A whole document. */
static void answered(struct etcd_call *call, struct weir_span text) {
    struct etcd *e = call->etcd;
    struct weir_etcd_answer answer;
    enum weir_status st = weir_etcd_decode(text, &e->arena, call->kv, e, &answer);
    enum weir_etcd_fault fault = weir_etcd_fault(call->status, st == WEIR_OK ? &answer : NULL);
    weir_arena_reset(&e->arena);
    call->done(e, fault, &answer);
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct etcd_call *call = arg;
    (void)headers;
    (void)n;
    call->status = status;
}

/* A callback may end the call, and start another in its place. */
static void take_lines(struct etcd_call *call) {
    unsigned serial = call->serial;
    struct weir_buf body;
    size_t at = 0;
    weir_buf_init(&body, call->body.max);
    weir_buf_move(&body, &call->body);
    for (char *end;
         call->serial == serial && (end = memchr(body.data + at, '\n', body.len - at)) != NULL;) {
        struct weir_span line =
            weir_span_trim(weir_span(body.data + at, (size_t)(end - (body.data + at))));
        at = (size_t)(end - body.data) + 1;
        if (line.len > 0)
            answered(call, line);
    }
    if (call->serial == serial) {
        weir_buf_consume(&body, at);
        weir_buf_move(&call->body, &body);
    }
    weir_buf_fini(&body);
}

static void on_body(void *arg, struct weir_span bytes) {
    struct etcd_call *call = arg;
    if (weir_buf_append_span(&call->body, bytes) != WEIR_OK) {
        if (call == &call->etcd->read && call->etcd->page > 1)
            call->etcd->page = (call->etcd->page + 3) / 4;
        weir_etcd_lost(call->etcd, false, "cannot %s: the answer is larger than %d MiB", call->what,
                       ETCD_BODY_MAX >> 20);
        return;
    }
    if (call->stream && call->status == 200 && memchr(bytes.data, '\n', bytes.len) != NULL)
        take_lines(call);
}

static void call_failed(struct etcd_call *call, enum weir_status status) {
    struct etcd *e = call->etcd;
    const char *why = weir_http_client_last_failure(e->client);
    if (status == WEIR_TIMEOUT || why == NULL)
        why = weir_status_text(status);
    /* An etcd with TLS closes what does not begin with a handshake. */
    bool plain = status == WEIR_DISCONNECTED && !e->ever_proved && !endpoint(e)->tls;
    weir_etcd_lost(e, status == WEIR_TLS, "cannot %s: %s%s%s", call->what,
                   status == WEIR_TLS ? "TLS: " : "", why,
                   plain ? " (does it want https://?)" : "");
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct etcd_call *call = arg;
    struct etcd *e = call->etcd;
    struct weir_buf body;
    (void)sent_any;
    call->http = NULL;
    weir_buf_init(&body, call->body.max);
    weir_buf_move(&body, &call->body);
    if (status != WEIR_OK && e->state != ETCD_CLOSED) {
        call_failed(call, status);
    } else if (e->state == ETCD_CLOSED) {
        struct weir_etcd_answer none = {0};
        call->done(e, WEIR_ETCD_OTHER, &none);
    } else if (call->stream && call->status == 200) {
        weir_etcd_lost(e, false, "it ended the watch");
    } else {
        answered(call, weir_span_trim(weir_buf_span(&body)));
    }
    weir_buf_fini(&body);
}

void weir_etcd_call(struct etcd *e, struct etcd_call *call, const char *what, const char *target,
                    uint64_t deadline_ms, weir_etcd_kv_fn kv, etcd_done_fn done) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    const struct weir_http_header headers[] = {
        {WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")},
        {WEIR_SPAN_LIT("authorization"), weir_span_z(e->token)}};
    const struct weir_http_call_config config = {.method = "POST",
                                                 .target = target,
                                                 .headers = headers,
                                                 .n_headers = e->token != NULL ? 2 : 1,
                                                 .body = weir_buf_span(&e->request),
                                                 .first_byte_ms = deadline_ms,
                                                 .total_ms = call->stream ? 0 : deadline_ms};
    WEIR_ASSERT(call->http == NULL);
    call->what = what;
    call->kv = kv;
    call->done = done;
    call->status = 0;
    weir_buf_init(&call->body, ETCD_BODY_MAX);
    enum weir_status st = weir_http_call_start(e->client, &config, &ops, call, &call->http);
    if (st != WEIR_OK) {
        call->http = NULL;
        weir_etcd_lost(e, false, "cannot %s: %s", what, weir_status_text(st));
    }
}

/* ---- the begin of a session --------------------------------------------------------------- */

static void pump_all(struct etcd *e) {
    weir_etcd_beat_pump(e);
    weir_etcd_read_pump(e);
    weir_etcd_write_pump(e);
}

static void on_login(struct etcd *e, enum weir_etcd_fault fault,
                     const struct weir_etcd_answer *answer) {
    if (fault == WEIR_ETCD_NO_AUTH)
        WEIR_LOG(WEIR_LOG_WARN, "etcd",
                 "a user is set (ETCD_AUTH_USERNAME), but authentication is off at etcd");
    else if (fault != WEIR_ETCD_NO_FAULT) {
        weir_etcd_failed(e, &e->login, fault == WEIR_ETCD_TOKEN ? WEIR_ETCD_OTHER : fault, answer);
        return;
    }
    weir_free(e->token);
    e->token =
        fault == WEIR_ETCD_NO_AUTH ? NULL : weir_strndup(answer->token.data, answer->token.len);
    if (fault == WEIR_ETCD_NO_FAULT && (e->token == NULL || answer->token.len == 0)) {
        weir_etcd_lost(e, false, "cannot log in: there is no token in the answer");
        return;
    }
    e->token_new = e->token != NULL;
    e->state = ETCD_UP;
    pump_all(e);
}

/* Also in the middle of a session, when the token has expired. */
static void come_up(struct etcd *e) {
    if (e->user == NULL) {
        e->state = ETCD_UP;
        pump_all(e);
        return;
    }
    if (e->login.http != NULL)
        return;
    if (e->token != NULL)
        WEIR_LOG(WEIR_LOG_DEBUG, "etcd", "the token has expired: logging in again");
    /* What is under way carries the old token; a watch was checked when it began. */
    weir_etcd_cancel(&e->beat);
    weir_etcd_cancel(&e->write);
    if (!e->read.stream)
        weir_etcd_cancel(&e->read);
    weir_free(e->token);
    e->token = NULL;
    e->state = ETCD_LOGIN;
    weir_buf_clear(&e->request);
    if (weir_etcd_encode_login(weir_span_z(e->user),
                               weir_span_z(e->password != NULL ? e->password : ""),
                               &e->request) != WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
    else
        weir_etcd_call(e, &e->login, "log in", "/v3/auth/authenticate", weir_etcd_call_ms(e), NULL,
                       on_login);
}

static void open_client(struct etcd *e) {
    const struct etcd_endpoint *ep = endpoint(e);
    char host[WEIR_HOST_BYTES + 16];
    bool v6 = strchr(ep->host, ':') != NULL;
    snprintf(host, sizeof(host), v6 ? "[%s]:%u" : "%s:%u", ep->host, ep->port);
    struct weir_http_client_config config = {.ip = e->addresses.ips[e->addresses.at],
                                             .port = ep->port,
                                             .host = host,
                                             .tls = ep->tls ? e->tls : NULL,
                                             .max_conns = 8,
                                             .connect_ms = weir_etcd_call_ms(e)};
    e->state = ETCD_LOGIN;
    enum weir_status st = weir_http_client_create(e->loop, &config, &e->client);
    if (st != WEIR_OK)
        weir_etcd_lost(e, false, "%s", weir_status_text(st));
    else
        come_up(e);
}

static void on_address(void *arg, const struct weir_err *err) {
    struct etcd *e = arg;
    if (err != NULL)
        weir_etcd_lost(e, false, "%s", err->text);
    else
        open_client(e);
}

static void next_session(struct etcd *e) {
    e->state = ETCD_RESOLVING;
    enum weir_status st =
        weir_addresses_next(&e->addresses, e->loop, endpoint(e)->host, on_address, e);
    if (st == WEIR_OK)
        open_client(e);
    else if (st != WEIR_AGAIN)
        weir_etcd_lost(e, false, "its name is not resolved: %s", weir_status_text(st));
}

static void on_retry(void *arg) {
    next_session(arg);
}

/* ---- life --------------------------------------------------------------------------------- */

static void etcd_free(struct etcd *e) {
    e->state = ETCD_CLOSED;
    end_session(e);
    weir_timer_stop(&e->retry);
    weir_timer_stop(&e->doubt);
    weir_etcd_own_fini(e);
    weir_tls_destroy(e->tls);
    weir_buf_fini(&e->request);
    weir_buf_fini(&e->cursor);
    weir_arena_fini(&e->arena);
    weir_free(e->user);
    weir_free(e->password);
    weir_free(e);
}

static void on_left(struct etcd *e, enum weir_etcd_fault fault,
                    const struct weir_etcd_answer *answer) {
    (void)fault;
    (void)answer;
    if (e->leaving)
        weir_loop_stop(e->loop); /* etcd_close() frees */
    else
        etcd_free(e);
}

static void etcd_close(struct weir_discovery *disc) {
    struct etcd *e = disc->backend;
    if (e == NULL)
        return;
    disc->backend = NULL;
    e->disc = NULL;
    weir_etcd_cancel(&e->login);
    weir_etcd_cancel(&e->beat);
    weir_etcd_cancel(&e->write);
    weir_etcd_cancel(&e->read);
    bool revoke = weir_etcd_revoke(e, on_left);
    weir_timer_stop(&e->beat_timer);
    e->state = ETCD_CLOSED;
    if (revoke && weir_loop_running(e->loop))
        return;
    if (revoke && e->beat.http != NULL) {
        e->leaving = true;
        weir_loop_run(e->loop);
    }
    etcd_free(e);
}

static void etcd_watching(struct weir_discovery *disc) {
    if (disc->backend != NULL)
        weir_etcd_read_pump(disc->backend);
}

static enum weir_status configure(struct etcd *e, const struct weir_discovery_etcd *c,
                                  struct weir_err *err) {
    bool tls = c->ca != NULL || c->cert != NULL;
    enum weir_status st =
        weir_etcd_endpoints_parse(c->endpoints != NULL ? c->endpoints : "http://localhost:2379",
                                  tls, e->endpoints, &e->n_endpoints, err);
    if (st != WEIR_OK)
        return st;
    for (unsigned i = 0; i < e->n_endpoints; i++)
        tls |= e->endpoints[i].tls;
    const struct weir_tls_config tc = {
        .cert_path = c->cert, .key_path = c->key, .ca_path = c->ca, .alpn = "http/1.1"};
    if (tls && weir_tls_create(&tc, &e->tls, err) != WEIR_OK)
        return weir_err_prefix(err, "TLS to etcd (ETCD_AUTH_CA, ETCD_AUTH_CLIENT_CERT, "
                                    "ETCD_AUTH_CLIENT_KEY)");
    if (c->password != NULL && c->username == NULL)
        return weir_err_set(err, WEIR_INVALID, "ETCD_AUTH_PASSWORD needs ETCD_AUTH_USERNAME");
    e->ttl_ms = (c->lease_ttl_s > 0 ? c->lease_ttl_s : DEFAULT_TTL_S) * 1000;
    e->user = c->username != NULL && c->username[0] != '\0' ? weir_strdup(c->username) : NULL;
    e->password = c->password != NULL ? weir_strdup(c->password) : NULL;
    if ((c->username != NULL && c->username[0] != '\0' && e->user == NULL) ||
        (c->password != NULL && e->password == NULL))
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    return WEIR_OK;
}

static void on_doubt(void *arg) {
    struct etcd *e = arg;
    e->need_list = true;
    weir_etcd_cancel(&e->read);
    weir_etcd_read_pump(e);
}

enum weir_status weir_discovery_etcd_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) {
    static const struct weir_discovery_backend_ops ops = {weir_etcd_publish, weir_etcd_unpublish,
                                                          etcd_close, etcd_watching, NULL};
    struct etcd *e = weir_calloc(1, sizeof(*e));
    if (e == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    disc->ops = &ops;
    disc->backend = e;
    e->disc = disc;
    e->loop = disc->loop;
    e->on_refused = config->on_refused;
    e->refused_arg = config->refused_arg;
    e->page = ETCD_PAGE;
    e->state = ETCD_WAITING;
    e->login.etcd = e->beat.etcd = e->write.etcd = e->read.etcd = e;
    weir_timer_init(&e->retry, e->loop, on_retry, e);
    weir_timer_init(&e->doubt, e->loop, on_doubt, e);
    weir_etcd_metrics_init(e, config->metrics);
    weir_arena_init(&e->arena, ETCD_ARENA);
    weir_buf_init(&e->request, ETCD_BODY_MAX);
    weir_buf_init(&e->cursor, WEIR_RECORD_MAX_BYTES);
    weir_etcd_read_reset(e);
    weir_etcd_own_init(e);
    enum weir_status st = configure(e, &config->etcd, err);
    if (st != WEIR_OK)
        return st;
    e->at = (unsigned)weir_rng_below(weir_loop_rng(e->loop), e->n_endpoints);
    st = weir_timer_start(&e->retry, 0);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}
