#include "runtime/service.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/zmq.h"
#include "runtime/leaving.h"
#include "runtime/nats_metrics.h"
#include "runtime/status_server.h"
#include "runtime/tls_watch.h"
#include "wire/record.h"

#include <signal.h>

enum { INSTANCE_ID_BITS = 53, ARENA_BYTES = 1 << 20 };

struct endpoint {
    struct weir_record instance, model;
    bool has_model;
};

struct weir_service_priv {
    struct weir_service *service;
    struct weir_service_config config;
    struct weir_arena arena; /* strings of the records */
    struct weir_tls *server_tls, *client_tls;
    struct weir_tls_watch tls_watch;
    struct weir_nats_metrics *nats_metrics;
    struct weir_status_server *status;
    struct endpoint endpoints[WEIR_SERVICE_ENDPOINTS];
    unsigned n_endpoints;
    struct weir_leaving leaving;
    int exit_code;
};

void weir_service_fail(struct weir_service *service, const struct weir_err *err) {
    WEIR_LOG(WEIR_LOG_ERROR, service->priv->config.name, "%s", err->text);
    service->priv->exit_code = 1;
    weir_loop_stop(service->loop);
}

/* ---- opening ------------------------------------------------------------------------------ */

static bool is_ready(void *arg) {
    const struct weir_service_priv *p = arg;
    return !p->leaving.begun && p->n_endpoints > 0 &&
           (p->config.is_ready == NULL || p->config.is_ready(p->config.arg));
}

static enum weir_status open_planes(struct weir_service *s, struct weir_err *err) {
    struct weir_service_priv *p = s->priv;
    struct weir_plane_server_config sc = p->config.server;
    struct weir_plane_client_config cc = p->config.client;
    enum weir_status st = WEIR_OK;
    if (p->config.tls_server.cert_path != NULL)
        st = weir_tls_create(&p->config.tls_server, &p->server_tls, err);
    if (st == WEIR_OK && (p->config.tls_client.ca_path != NULL || p->config.tls_client.insecure))
        st = weir_tls_create(&p->config.tls_client, &p->client_tls, err);
    if (st == WEIR_OK)
        st = weir_tls_watch_planes(&p->tls_watch, p->server_tls, p->client_tls, err);
    sc.server_tls = cc.server_tls = p->server_tls;
    sc.client_tls = cc.client_tls = p->client_tls;
    if (st == WEIR_OK && p->config.use_nats)
        st = weir_nats_open(&p->config.nats, &s->nats, err);
    if (st == WEIR_OK)
        st = weir_nats_metrics_open(s->metrics, s->nats, &p->nats_metrics, err);
    sc.nats = p->config.request_nats ? s->nats : NULL;
    sc.metrics = s->metrics;
    cc.nats = s->nats;
    if (st == WEIR_OK)
        st = weir_plane_server_create(s->loop, &sc, &s->server, err);
    if (st == WEIR_OK)
        st = weir_plane_client_create(s->loop, &cc, &s->client, err);
    return st;
}

static enum weir_status open_status(struct weir_service *s, struct weir_err *err) {
    struct weir_service_priv *p = s->priv;
    struct weir_status_server_config sc = {.host = p->config.status_host,
                                           .port = (uint16_t)p->config.status_port,
                                           .health_path = p->config.health_path,
                                           .live_path = p->config.live_path,
                                           .is_ready = is_ready,
                                           .arg = p,
                                           .metrics = s->metrics};
    if (p->config.status_port < 0)
        return WEIR_OK;
    enum weir_status st = weir_status_server_open(s->loop, &sc, &p->status, err);
    if (st == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, p->config.name, "status server on %s port %u",
                 p->config.status_host, weir_status_server_port(p->status));
    return st;
}

static bool unpublish(void *arg) {
    struct weir_service *s = arg;
    struct weir_service_priv *p = s->priv;
    bool any = p->n_endpoints > 0;
    for (unsigned i = 0; i < p->n_endpoints; i++) {
        weir_discovery_unpublish(s->disc, &p->endpoints[i].instance);
        if (p->endpoints[i].has_model)
            weir_discovery_unpublish(s->disc, &p->endpoints[i].model);
    }
    p->n_endpoints = 0;
    return any;
}

static void on_refused(void *arg, const struct weir_err *err) {
    weir_service_fail(arg, err);
}

enum weir_status weir_service_open(struct weir_service *service,
                                   const struct weir_service_config *config, struct weir_err *err) {
    *service = (struct weir_service){.priv = weir_calloc(1, sizeof(*service->priv))};
    struct weir_service_priv *p = service->priv;
    if (p == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    p->service = service;
    p->config = *config;
    weir_arena_init(&p->arena, ARENA_BYTES);
    signal(SIGPIPE, SIG_IGN);
    enum weir_status st = weir_loop_create(0, &service->loop);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot create the event loop");
    weir_loop_set_dead_peer_ms(service->loop, config->dead_peer_ms);
    weir_tls_watch_init(&p->tls_watch, service->loop);
    service->instance_id =
        weir_rng_u64(weir_loop_rng(service->loop)) & ((1ull << INSTANCE_ID_BITS) - 1);
    st = weir_metrics_create(&service->metrics);
    if (st == WEIR_OK && config->on_scrape != NULL)
        st = weir_metrics_on_scrape(service->metrics, config->on_scrape, config->arg);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "out of memory");
    struct weir_discovery_config dc = config->discovery;
    dc.on_refused = on_refused;
    dc.refused_arg = service;
    dc.metrics = service->metrics;
    uint64_t given = 0;
    st = weir_discovery_open(service->loop, &dc, &service->disc, err);
    if (st == WEIR_OK)
        st = weir_discovery_instance_id(service->disc, &given, err);
    if (given != 0)
        service->instance_id = given;
    if (st == WEIR_OK)
        st = open_planes(service, err);
    if (st == WEIR_OK)
        st = open_status(service, err);
    if (st != WEIR_OK)
        return st;
    const struct weir_leaving_config leaving = {.name = config->name,
                                                .loop = service->loop,
                                                .server = service->server,
                                                .grace_s = config->grace_s,
                                                .running_s = config->running_s,
                                                .unpublish = unpublish,
                                                .arg = service,
                                                .tls = &p->tls_watch};
    st = weir_leaving_init(&p->leaving, &leaving);
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot start: %s", weir_status_text(st));
}

/* ---- endpoints ---------------------------------------------------------------------------- */

enum weir_status weir_service_publish(struct weir_service *service, struct weir_span ns,
                                      const char *component, const char *name,
                                      const struct weir_plane_handler *handler, void *arg, bool raw,
                                      const struct weir_card *card, struct weir_err *err) {
    struct weir_service_priv *p = service->priv;
    WEIR_ASSERT(p->n_endpoints < WEIR_SERVICE_ENDPOINTS);
    struct endpoint *e = &p->endpoints[p->n_endpoints];
    struct weir_endpoint_id id = {weir_arena_copy(&p->arena, ns),
                                  weir_arena_copy(&p->arena, weir_span_z(component)),
                                  weir_arena_copy(&p->arena, weir_span_z(name))};
    *e = (struct endpoint){.instance = {.kind = WEIR_RECORD_ENDPOINT,
                                        .endpoint = id,
                                        .instance_id = service->instance_id,
                                        .codec = p->config.codec},
                           .has_model = card != NULL};
    bool copied = id.ns.data != NULL && id.component.data != NULL && id.name.data != NULL;
    enum weir_status st = copied ? weir_plane_server_serve(service->server, handler, arg, raw,
                                                           &p->arena, &e->instance)
                                 : WEIR_NOMEM;
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot register the endpoint: %s", weir_status_text(st));
    if (card != NULL) {
        e->model = (struct weir_record){.kind = WEIR_RECORD_MODEL,
                                        .endpoint = id,
                                        .instance_id = service->instance_id,
                                        .card = *card};
        st = weir_discovery_publish(service->disc, &e->model, err);
    }
    if (st == WEIR_OK)
        st = weir_discovery_publish(service->disc, &e->instance, err);
    if (st != WEIR_OK)
        return st;
    p->n_endpoints++;
    WEIR_LOG(WEIR_LOG_INFO, p->config.name, "serving %.*s.%s.%s as %s", WEIR_SPAN_ARG(ns),
             component, name, weir_worker_text(service->instance_id).s);
    return WEIR_OK;
}

/* ---- running and ending ------------------------------------------------------------------- */

bool weir_service_leaving(const struct weir_service *service) {
    return service->priv->leaving.begun;
}

int weir_service_run(struct weir_service *service) {
    weir_loop_run(service->loop);
    return service->priv->exit_code;
}

void weir_service_close_discovery(struct weir_service *service) {
    if (service->priv == NULL || service->disc == NULL)
        return;
    weir_leaving_fini(&service->priv->leaving); /* closing discovery may run the loop once more */
    unpublish(service);
    weir_discovery_close(service->disc);
    service->disc = NULL;
}

void weir_service_close(struct weir_service *service) {
    struct weir_service_priv *p = service->priv;
    if (p == NULL)
        return;
    weir_service_close_discovery(service);
    weir_status_server_close(p->status);
    /* The client first: its calls end, and tell their callers so. */
    weir_plane_client_destroy(service->client);
    weir_plane_server_destroy(service->server);
    weir_tls_watch_fini(&p->tls_watch);
    weir_loop_destroy(service->loop);
    weir_nats_metrics_close(p->nats_metrics);
    weir_nats_close(service->nats);
    weir_tls_destroy(p->server_tls);
    weir_tls_destroy(p->client_tls);
    weir_metrics_destroy(service->metrics);
    weir_zmq_shutdown();
    weir_arena_fini(&p->arena);
    weir_free(p);
    service->priv = NULL;
}
