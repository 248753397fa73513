/*
 * The Kubernetes backend: who is ready by EndpointSlices (container mode: by Pods), what they have
 * registered by DynamoWorkerMetadata objects, as the reference system writes them (shared spec
 * "transport" 1.9). This file: the session.
 *
 * Happy path: the API server's name is resolved → UP: the parts' pumps list and watch, and write
 * the own object. Failure modes: what fails on the way to the server ends the session, and after a
 * pause with jitter the next one goes on where the last one was; what the server refuses is
 * repeated alone, after a pause or when the server says so. What is known of others is kept
 * meanwhile. The token is read again every half minute, and when it is refused. What this process
 * needs and was never allowed, and a server that does not verify before anything ever worked, is
 * told to on_refused, and nothing is tried any more.
 *
 * Closing: the records are taken out of the own object. The owner's loop has most likely stopped by
 * then; it is run again until the answer is there, at most KUBE_LEAVE_MS. Inside of a running loop
 * the backend lives on until the answer.
 */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "net/tls.h"
#include "runtime/discovery_kube_priv.h"

#include <stdio.h>

enum {
    TELL_AGAIN_MS = 60000,
    GOOD_SESSION_MS = 5000,
    TOKEN_MS = 30000,
    CONNECT_MS = 5000,
    MAX_REFUSED = 5 /* times that this process is refused what it never got: some 1.1 s */
};

static void next_session(struct kube *k);

/* ---- what goes wrong ---------------------------------------------------------------------- */

static void for_each_call(struct kube *k, void (*fn)(struct kube_call *)) {
    fn(&k->reads[0].call);
    fn(&k->reads[1].call);
    fn(&k->own);
}

static bool ever_proved(const struct kube *k) {
    return (k->reads[0].call.proved | k->reads[1].call.proved | k->own.proved) != 0;
}

static void end_session(struct kube *k) {
    for_each_call(k, weir_kube_cancel);
    weir_addresses_stop(&k->addresses);
    weir_http_client_destroy(k->client);
    k->client = NULL;
    weir_tls_destroy(k->tls);
    k->tls = NULL;
}

/* Once, then now and again while it lasts. */
static void tell(struct kube *k, const char *text) {
    uint64_t now = weir_loop_now_ms(k->loop);
    weir_metric_inc(k->figures[KUBE_FAILURES]);
    if (strcmp(text, k->told) == 0 && now < k->told_ms + TELL_AGAIN_MS)
        return;
    snprintf(k->told, sizeof(k->told), "%s", text);
    k->told_ms = now;
    k->up_told = false;
    WEIR_LOG(ever_proved(k) ? WEIR_LOG_WARN : WEIR_LOG_ERROR, "kube", "%s; %s", text,
             ever_proved(k) ? "what is known stays in use, trying again" : "trying again");
}

static bool give_up(struct kube *k, const char *text) {
    struct weir_err err;
    if (k->on_refused == NULL)
        return false;
    weir_err_set(&err, WEIR_INVALID, "%s", text);
    end_session(k);
    k->state = KUBE_CLOSED;
    k->on_refused(k->refused_arg, &err);
    return true;
}

static void put_where(const struct kube *k, char *out, size_t cap) {
    snprintf(out, cap, "Kubernetes API server %.*s port %u",
             WEIR_SPAN_ARG(weir_utf8_cut_z(k->target.host, 60)), k->target.port);
}

void weir_kube_lost(struct kube *k, bool refused, const char *fmt, ...) {
    char where[100], reason[140], text[256];
    va_list args;
    if (k->state == KUBE_CLOSED || k->state == KUBE_WAITING)
        return;
    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    put_where(k, where, sizeof(where));
    snprintf(text, sizeof(text), "%s: %s", where, reason);
    weir_metric_set(k->figures[KUBE_CONNECTED], 0);
    if (refused && !ever_proved(k) && give_up(k, text))
        return;
    end_session(k);
    k->dirty |= k->sending;
    k->sending = false;
    k->state = KUBE_WAITING;
    k->addresses.at++;
    unsigned addresses = k->addresses.n > 1 ? k->addresses.n : 1;
    if (++k->failures >= addresses)
        tell(k, text);
    uint64_t ms = weir_discovery_backoff_ms(k->failures, addresses, KUBE_MAX_BACKOFF_MS,
                                            weir_rng_unit(weir_loop_rng(k->loop)));
    if (weir_timer_start(&k->retry, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "kube", "out of memory: Kubernetes is not tried again");
}

void weir_kube_pause(struct kube_call *call, uint64_t ms) {
    struct kube *k = call->kube;
    uint64_t own = weir_discovery_backoff_ms(++call->failures, 1, KUBE_MAX_BACKOFF_MS,
                                             weir_rng_unit(weir_loop_rng(k->loop)));
    if (weir_timer_start(&call->again, own > ms ? own : ms) != WEIR_OK)
        weir_kube_lost(k, false, "out of memory");
}

static bool read_token(struct kube *k);

/* 401: true when the call goes on with another token. */
static bool with_new_token(struct kube_call *call) {
    struct kube *k = call->kube;
    if (k->target.token_path == NULL || call->token_again)
        return false;
    k->token_ms = 0;
    call->token_again = true;
    WEIR_LOG(WEIR_LOG_INFO, "kube", "the token is refused; reading it again");
    return read_token(k) && weir_timer_start(&call->again, 0) == WEIR_OK;
}

static void put_forbidden(const struct kube_call *call, int status, const char *message, char *out,
                          size_t cap) {
    const struct kube *k = call->kube;
    bool creates = strcmp(call->verb, "patch") == 0;
    if (status == 401)
        snprintf(out, cap, "it does not know this process: the token is refused (%.*s)",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(message, 80)));
    else if (status == 404)
        snprintf(out, cap,
                 "it has no %s.%s: is the CRD of Dynamo's operator installed, and the "
                 "namespace \"%.*s\" right?",
                 call->resource, call->group, WEIR_SPAN_ARG(weir_utf8_cut_z(k->target.ns, 40)));
    else
        snprintf(out, cap,
                 "this process may not %s %s.%s in the namespace \"%.*s\": its Role needs the "
                 "verb %s (see deploy/kubernetes)",
                 call->verb, call->resource, call->group,
                 WEIR_SPAN_ARG(weir_utf8_cut_z(k->target.ns, 40)),
                 creates ? "patch, and create" : call->verb);
}

bool weir_kube_failed(struct kube_call *call, int status, const struct weir_kube_status *s) {
    struct kube *k = call->kube;
    char where[100], reason[200], text[256];
    if (status >= 200 && status < 300)
        return false;
    if (status == 401 && with_new_token(call))
        return true;
    bool refused = status == 401 || status == 403 || status == 404;
    put_where(k, where, sizeof(where));
    if (refused)
        put_forbidden(call, status, s->message, reason, sizeof(reason));
    else
        snprintf(reason, sizeof(reason), "cannot %s %s: HTTP %d%s%.*s", call->verb, call->resource,
                 status, s->message[0] != '\0' ? ": " : "",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(s->message, 120)));
    snprintf(text, sizeof(text), "%.*s: %.*s", WEIR_SPAN_ARG(weir_utf8_cut_z(where, 92)),
             WEIR_SPAN_ARG(weir_utf8_cut_z(reason, 160)));
    /* A server that is starting refuses for a moment what it will allow: it has not read its own
     * rules and accounts yet (seen: 1.33.5). */
    if (refused && (call->proved & call->verb_bit) == 0 && ++call->n_refused == MAX_REFUSED &&
        give_up(k, text))
        return true;
    call->token_again = false;
    tell(k, text);
    weir_kube_pause(call, call->retry_after_ms);
    return true;
}

void weir_kube_prove(struct kube_call *call) {
    struct kube *k = call->kube;
    call->proved |= call->verb_bit;
    call->token_again = false;
    call->n_refused = 0;
    weir_metric_set(k->figures[KUBE_CONNECTED], 1);
    if (!k->up_told)
        WEIR_LOG(WEIR_LOG_INFO, "kube", "connected to the API server %s port %u, namespace %s",
                 k->target.host, k->target.port, k->target.ns);
    k->up_told = true;
    k->told[0] = '\0';
}

/* ---- the token ---------------------------------------------------------------------------- */

/* False: there is none to be read; what was read before stays. */
static bool read_token(struct kube *k) {
    struct weir_buf text;
    struct weir_err err;
    uint64_t now = weir_loop_now_ms(k->loop);
    if (k->target.token_path == NULL ||
        (k->token != NULL && k->token_ms != 0 && now < k->token_ms + TOKEN_MS))
        return true;
    weir_buf_init(&text, KUBE_TOKEN_MAX);
    char *fresh = NULL;
    enum weir_status st = weir_file_read(k->target.token_path, WEIR_FILE_PLAIN, &text, &err);
    struct weir_span trimmed = weir_span_trim(weir_buf_span(&text));
    if (st == WEIR_OK && trimmed.len > 0)
        fresh = weir_strndup(trimmed.data, trimmed.len);
    else
        WEIR_LOG(WEIR_LOG_WARN, "kube", "cannot read the token: %s",
                 st != WEIR_OK ? err.text : "the file is empty");
    weir_buf_fini(&text);
    if (fresh == NULL)
        return false;
    weir_free(k->token);
    k->token = fresh;
    k->token_ms = now + 1;
    return true;
}

/* ---- calls -------------------------------------------------------------------------------- */

void weir_kube_cancel(struct kube_call *call) {
    if (call->http != NULL)
        weir_http_call_cancel(call->http);
    call->http = NULL;
    call->serial++;
    weir_buf_fini(&call->body);
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct kube_call *call = arg;
    uint64_t seconds;
    call->status = status;
    if (call->line != NULL && status == 200)
        weir_kube_prove(call); /* it may be long until there is a line */
    for (size_t i = 0; i < n; i++)
        if (weir_span_ieq(headers[i].name, WEIR_SPAN_LIT("retry-after")) &&
            weir_span_u64(weir_span_trim(headers[i].value), &seconds))
            call->retry_after_ms =
                1000 * (seconds < KUBE_MAX_RETRY_AFTER_S ? seconds : KUBE_MAX_RETRY_AFTER_S);
}

/* A line may end the call, and start another in its place. */
static void take_lines(struct kube_call *call) {
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
            call->line(call, line);
    }
    if (call->serial == serial) {
        weir_buf_consume(&body, at);
        weir_buf_move(&call->body, &body);
    }
    weir_buf_fini(&body);
}

static void on_body(void *arg, struct weir_span bytes) {
    struct kube_call *call = arg;
    if (weir_buf_append_span(&call->body, bytes) != WEIR_OK) {
        struct kube_read *r = call->arg;
        if (r != NULL && call->line == NULL && r->page > 1)
            r->page = (r->page + 3) / 4;
        weir_kube_lost(call->kube, false, "cannot %s %s: the answer is larger than %zu MiB",
                       call->verb, call->resource, call->body.max >> 20);
        return;
    }
    if (call->line != NULL && call->status == 200 && memchr(bytes.data, '\n', bytes.len) != NULL)
        take_lines(call);
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct kube_call *call = arg;
    struct kube *k = call->kube;
    (void)sent_any;
    call->http = NULL;
    if (k->state == KUBE_CLOSED) {
        call->done(call);
    } else if (status == WEIR_OK) {
        if (weir_loop_now_ms(k->loop) > call->started_ms + GOOD_SESSION_MS)
            k->failures = 0;
        call->done(call);
    } else {
        const char *why = weir_http_client_last_failure(k->client);
        if (status == WEIR_TIMEOUT || why == NULL)
            why = weir_status_text(status);
        bool plain = status == WEIR_DISCONNECTED && !ever_proved(k) && !k->target.tls;
        if (weir_loop_now_ms(k->loop) > call->started_ms + GOOD_SESSION_MS) {
            k->failures = 0;
            if (call->line != NULL && call->status == 200)
                call->failures = 0;
        }
        weir_kube_lost(k, status == WEIR_TLS, "cannot %s %s: %s%s%s", call->verb, call->resource,
                       status == WEIR_TLS ? "TLS: " : "", why,
                       plain ? " (does it want https://?)" : "");
    }
}

void weir_kube_call(struct kube_call *call, const struct kube_request *r, kube_line_fn line,
                    kube_done_fn done) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct kube *k = call->kube;
    struct weir_buf target, auth;
    WEIR_ASSERT(call->http == NULL);
    weir_buf_init(&target, 64 << 10);
    weir_buf_init(&auth, KUBE_TOKEN_MAX + 16);
    (void)read_token(k);
    enum weir_status st = weir_buf_append_z(&target, k->target.prefix);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&target, r->target);
    if (st == WEIR_OK)
        st = weir_buf_append_c(&target, '\0');
    if (st == WEIR_OK && k->token != NULL)
        st = weir_buf_printf(&auth, "Bearer %s", k->token);
    struct weir_http_header headers[3] = {
        {WEIR_SPAN_LIT("accept"), WEIR_SPAN_LIT("application/json")}};
    size_t n = 1;
    if (k->token != NULL)
        headers[n++] =
            (struct weir_http_header){WEIR_SPAN_LIT("authorization"), weir_buf_span(&auth)};
    if (r->content_type != NULL)
        headers[n++] =
            (struct weir_http_header){WEIR_SPAN_LIT("content-type"), weir_span_z(r->content_type)};
    const struct weir_http_call_config config = {.method = r->method,
                                                 .target = target.data,
                                                 .headers = headers,
                                                 .n_headers = n,
                                                 .body = r->body,
                                                 .first_byte_ms = KUBE_CALL_MS,
                                                 .total_ms = r->total_ms};
    call->line = line;
    call->done = done;
    call->status = 0;
    call->retry_after_ms = 0;
    call->started_ms = weir_loop_now_ms(k->loop);
    weir_buf_init(&call->body, line != NULL ? KUBE_LINE_MAX : KUBE_BODY_MAX);
    if (st == WEIR_OK)
        st = weir_http_call_start(k->client, &config, &ops, call, &call->http);
    weir_buf_fini(&target);
    weir_buf_fini(&auth);
    if (st != WEIR_OK) {
        call->http = NULL;
        weir_kube_lost(k, false, "cannot %s %s: %s%s", call->verb, call->resource,
                       weir_status_text(st),
                       st == WEIR_INVALID ? " (is the token one line of ASCII?)" : "");
    }
}

/* ---- the begin of a session --------------------------------------------------------------- */

static void pump_all(struct kube *k) {
    weir_kube_read_pump(k);
    weir_kube_own_pump(k);
}

static void on_again(void *arg) {
    struct kube_call *call = arg;
    pump_all(call->kube);
}

static void open_client(struct kube *k) {
    const struct kube_target *t = &k->target;
    char host[WEIR_HOST_BYTES + 16];
    struct weir_err err;
    snprintf(host, sizeof(host), strchr(t->host, ':') != NULL ? "[%s]:%u" : "%s:%u", t->host,
             t->port);
    /* Anew each time: the authorities' file may have changed. */
    const struct weir_tls_config tc = {.cert_path = t->cert,
                                       .key_path = t->key,
                                       .ca_path = t->ca,
                                       .insecure = t->insecure,
                                       .server_name = t->server_name,
                                       .alpn = "http/1.1"};
    if (t->tls && weir_tls_create(&tc, &k->tls, &err) != WEIR_OK) {
        weir_kube_lost(k, true, "TLS: %s", err.text);
        return;
    }
    const struct weir_http_client_config config = {.ip = k->addresses.ips[k->addresses.at],
                                                   .port = t->port,
                                                   .host = host,
                                                   .tls = k->tls,
                                                   .max_conns = 8,
                                                   .connect_ms = CONNECT_MS};
    enum weir_status st = weir_http_client_create(k->loop, &config, &k->client);
    if (st != WEIR_OK) {
        weir_kube_lost(k, false, "%s", weir_status_text(st));
        return;
    }
    k->state = KUBE_UP;
    pump_all(k);
}

static void on_address(void *arg, const struct weir_err *err) {
    struct kube *k = arg;
    if (err != NULL)
        weir_kube_lost(k, false, "%s", err->text);
    else
        open_client(k);
}

static void next_session(struct kube *k) {
    k->state = KUBE_RESOLVING;
    enum weir_status st =
        weir_addresses_next(&k->addresses, k->loop, k->target.host, on_address, k);
    if (st == WEIR_OK)
        open_client(k);
    else if (st != WEIR_AGAIN)
        weir_kube_lost(k, false, "its name is not resolved: %s", weir_status_text(st));
}

static void on_retry(void *arg) {
    next_session(arg);
}

/* ---- life --------------------------------------------------------------------------------- */

static void kube_free(struct kube *k) {
    k->state = KUBE_CLOSED;
    end_session(k);
    weir_timer_stop(&k->retry);
    weir_timer_stop(&k->refresh);
    weir_timer_stop(&k->reads[0].call.again);
    weir_timer_stop(&k->reads[1].call.again);
    weir_timer_stop(&k->own.again);
    weir_deferred_cancel(&k->publish);
    weir_kube_read_fini(k);
    weir_arena_fini(&k->target.arena);
    weir_free(k->token);
    weir_free(k);
}

static void left(struct kube *k) {
    if (k->leaving)
        weir_loop_stop(k->loop); /* kube_close() frees */
    else
        kube_free(k);
}

static void on_leave_timer(void *arg) {
    left(arg);
}

static void on_left(struct kube_call *call) {
    struct kube *k = call->kube;
    bool emptied = k->n_leaves > 0 && call->status >= 200 && call->status < 300;
    weir_buf_fini(&call->body);
    if (emptied || !weir_kube_leave(k, on_left))
        left(k);
}

/* What is on its way to the server is waited for: if it were cut off, it might be done there behind
 * what empties the object. */
static void kube_close(struct weir_discovery *disc) {
    struct kube *k = disc->backend;
    if (k == NULL)
        return;
    disc->backend = NULL;
    k->disc = NULL;
    weir_timer_stop(&k->retry);
    weir_kube_cancel(&k->reads[0].call);
    weir_kube_cancel(&k->reads[1].call);
    weir_timer_init(&k->retry, k->loop, on_leave_timer, k);
    bool leave = k->own.http != NULL || weir_kube_leave(k, on_left);
    k->own.done = on_left;
    k->state = KUBE_CLOSED;
    if (leave && weir_timer_start(&k->retry, KUBE_LEAVE_MS) == WEIR_OK) {
        if (weir_loop_running(k->loop))
            return;
        k->leaving = true;
        weir_loop_run(k->loop);
    }
    kube_free(k);
}

static void kube_watching(struct weir_discovery *disc) {
    if (disc->backend != NULL)
        weir_kube_read_pump(disc->backend);
}

static enum weir_status kube_instance_id(const struct weir_discovery *disc, uint64_t *ret_id,
                                         struct weir_err *err) {
    const struct kube *k = disc->backend;
    if (k->target.cr_name == NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "--discovery-backend kubernetes: set POD_NAME and POD_UID%s (the "
                            "Downward API gives them), under which this process registers",
                            k->target.by_container ? " and CONTAINER_NAME" : "");
    *ret_id = weir_kube_instance_id(weir_span_z(k->target.cr_name));
    return WEIR_OK;
}

static void init_call(struct kube *k, struct kube_call *call) {
    call->kube = k;
    weir_timer_init(&call->again, k->loop, on_again, call);
}

enum weir_status weir_discovery_kube_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) {
    static const struct weir_discovery_backend_ops ops = {
        weir_kube_publish, weir_kube_unpublish, kube_close, kube_watching, kube_instance_id};
    struct kube *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    disc->ops = &ops;
    disc->backend = k;
    k->disc = disc;
    k->loop = disc->loop;
    k->on_refused = config->on_refused;
    k->refused_arg = config->refused_arg;
    k->state = KUBE_WAITING;
    weir_timer_init(&k->retry, k->loop, on_retry, k);
    init_call(k, &k->reads[0].call);
    init_call(k, &k->reads[1].call);
    init_call(k, &k->own);
    weir_kube_metrics_init(k, config->metrics);
    weir_kube_own_init(k);
    k->view = weir_kube_view_create(disc->max_entries, weir_kube_on_visible, k);
    if (k->view == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    enum weir_status st = weir_kube_target_read(&config->kube, &k->target, err);
    if (st != WEIR_OK)
        return st;
    weir_kube_read_init(k);
    if (k->target.token_path == NULL && k->target.token != NULL)
        k->token = weir_strdup(k->target.token);
    st = weir_timer_start(&k->retry, 0);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}
