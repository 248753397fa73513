/* Happy path: head → GET or HEAD? → whole answer at once. Nothing here waits for anything. */
#include "runtime/status_server.h"

#include "base/json.h"
#include "base/mem.h"

enum { BODY_MAX = 16 << 20, REQUEST_BODY_MAX = 64 << 10 };

struct weir_status_server {
    struct weir_status_server_config config; /* strings borrowed: they outlive the server */
    struct weir_http_server *http;           /* owned */
    uint64_t started_ns;
};

static void respond_json(struct weir_http_exchange *x, int status, struct weir_buf *body) {
    weir_http_respond(x, status, "application/json", NULL, 0, weir_buf_span(body));
}

static void health(struct weir_status_server *s, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct weir_jsonw w;
    bool ready = s->config.is_ready == NULL || s->config.is_ready(s->config.arg);
    uint64_t up_ns = weir_now_ns() - s->started_ns;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "status");
    weir_jsonw_string_z(&w, ready ? "ready" : "notready");
    weir_jsonw_key(&w, "uptime");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "secs");
    weir_jsonw_u64(&w, up_ns / 1000000000);
    weir_jsonw_key(&w, "nanos");
    weir_jsonw_u64(&w, up_ns % 1000000000);
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "endpoints");
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; i < s->config.n_endpoints; i++) {
        weir_jsonw_key(&w, s->config.endpoints[i]);
        weir_jsonw_string_z(&w, ready ? "ready" : "notready");
    }
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    if (w.status != WEIR_OK)
        weir_buf_clear(&body);
    respond_json(x, ready && w.status == WEIR_OK ? 200 : 503, &body);
    weir_buf_fini(&body);
}

static void metrics_page(struct weir_status_server *s, struct weir_http_exchange *x) {
    struct weir_buf body;
    weir_buf_init(&body, BODY_MAX);
    bool ok = s->config.metrics != NULL && weir_metrics_expose(s->config.metrics, &body) == WEIR_OK;
    if (!ok)
        weir_buf_clear(&body);
    weir_http_respond(x, ok ? 200 : 503, "text/plain; version=0.0.4; charset=utf-8", NULL, 0,
                      weir_buf_span(&body));
    weir_buf_fini(&body);
}

static bool known_path(const struct weir_status_server *s, struct weir_span path) {
    return weir_span_eqz(path, s->config.health_path) || weir_span_eqz(path, s->config.live_path) ||
           weir_span_eqz(path, "/metrics");
}

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    (void)arg;
    (void)x;
    return REQUEST_BODY_MAX;
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct weir_status_server *s = arg;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    bool reads = weir_span_eqz(q->method, "GET") || weir_span_eqz(q->method, "HEAD");
    if (!known_path(s, q->path)) {
        if (s->config.on_other == NULL || !s->config.on_other(s->config.arg, x))
            weir_http_respond(x, 404, "text/plain", NULL, 0, WEIR_SPAN_LIT("Route not found"));
    } else if (!reads) {
        const struct weir_http_header allow = {WEIR_SPAN_LIT("allow"), WEIR_SPAN_LIT("GET,HEAD")};
        weir_http_respond(x, 405, NULL, &allow, 1, weir_span("", 0));
    } else if (weir_span_eqz(q->path, "/metrics")) {
        metrics_page(s, x);
    } else {
        health(s, x);
    }
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int http_status) {
    (void)arg;
    weir_http_respond(x, http_status, "text/plain", NULL, 0,
                      weir_span_z(weir_http_reason(http_status)));
}

static void on_done(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    (void)arg;
    (void)x;
    (void)how;
}

static const struct weir_http_handler handler = {.on_head = on_head,
                                                 .on_request = on_request,
                                                 .on_body_error = on_body_error,
                                                 .on_done = on_done};

enum weir_status weir_status_server_open(struct weir_loop *loop,
                                         const struct weir_status_server_config *config,
                                         struct weir_status_server **ret_server,
                                         struct weir_err *err) {
    struct weir_status_server *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->config = *config;
    if (s->config.health_path == NULL)
        s->config.health_path = "/health";
    if (s->config.live_path == NULL)
        s->config.live_path = "/live";
    s->started_ns = weir_now_ns();
    struct weir_http_server_config hc = {
        .listen = {.ip = config->host, .port = config->port, .max_conns = 1024},
        .handler = &handler,
        .arg = s};
    enum weir_status st = weir_http_server_create(loop, &hc, &s->http, err);
    if (st != WEIR_OK) {
        weir_free(s);
        return weir_err_prefix(err, "status server (DYN_SYSTEM_PORT)");
    }
    *ret_server = s;
    return WEIR_OK;
}

uint16_t weir_status_server_port(const struct weir_status_server *server) {
    return weir_http_server_port(server->http);
}

void weir_status_server_close(struct weir_status_server *server) {
    if (server == NULL)
        return;
    weir_http_server_destroy(server->http);
    weir_free(server);
}
