#include "frontend/front_tls.h"

#include "runtime/options_service.h"

static enum weir_status watch(struct weir_front_tls *t, struct weir_err *err) {
    struct weir_tls_watch *w = &t->watch;
    enum weir_status st = weir_tls_watch_add(w, t->http, "HTTP server");
    if (st == WEIR_OK)
        st = weir_tls_watch_add(w, t->plane_server, "answers of workers");
    if (st == WEIR_OK)
        st = weir_tls_watch_add(w, t->plane_client, "requests to workers");
    if (st == WEIR_OK)
        st = weir_tls_watch_add(w, t->engine, "engines");
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

enum weir_status weir_front_tls_open(struct weir_front_tls *t, struct weir_loop *control,
                                     const struct weir_frontend_options *o, bool engines,
                                     struct weir_err *err) {
    weir_tls_watch_init(&t->watch, control);
    struct weir_tls_config http = {.server = true,
                                   .cert_path = o->tls_cert_path,
                                   .key_path = o->tls_key_path,
                                   .ca_path = o->tls_client_ca_cert_path,
                                   .alpn = o->weir_http2 ? "h2,http/1.1" : "http/1.1"};
    struct weir_tls_config server = WEIR_PLANE_TLS_SERVER(o);
    struct weir_tls_config client = WEIR_PLANE_TLS_CLIENT(o);
    enum weir_status st = WEIR_OK;
    if (http.cert_path != NULL)
        st = weir_tls_create(&http, &t->http, err);
    if (st == WEIR_OK && server.cert_path != NULL)
        st = weir_tls_create(&server, &t->plane_server, err);
    if (st == WEIR_OK && (client.ca_path != NULL || client.insecure))
        st = weir_tls_create(&client, &t->plane_client, err);
    struct weir_tls_config engine = {.ca_path = o->weir_engine_ca_path};
    if (st == WEIR_OK && engines)
        st = weir_tls_create(&engine, &t->engine, err);
    return st == WEIR_OK ? watch(t, err) : st;
}

void weir_front_tls_stop(struct weir_front_tls *t) {
    weir_tls_watch_fini(&t->watch);
}

void weir_front_tls_close(struct weir_front_tls *t) {
    weir_tls_destroy(t->http);
    weir_tls_destroy(t->plane_server);
    weir_tls_destroy(t->plane_client);
    weir_tls_destroy(t->engine);
}
