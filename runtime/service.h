/*
 * The shell of a process that serves endpoints and sends requests on: loop, discovery, both sides
 * of the request plane, metrics, status server, signals.
 *
 * Happy path: open → publish endpoints → run until SIGTERM or SIGINT → leave as runtime/leaving.h
 * says → run returns → close.
 */
#ifndef WEIR_RUNTIME_SERVICE_H
#define WEIR_RUNTIME_SERVICE_H

#include "base/metrics.h"
#include "net/tls.h"
#include "runtime/discovery.h"
#include "runtime/options_nats.h"
#include "runtime/options_service.h"
#include "runtime/plane_client.h"
#include "runtime/plane_server.h"

enum { WEIR_SERVICE_ENDPOINTS = 8 };

struct weir_service_config {
    const char *name;                              /* in logs; static */
    struct weir_discovery_config discovery;        /* on_refused is the service's own */
    struct weir_tls_config tls_server, tls_client; /* used when a path or `insecure` is set */
    struct weir_plane_server_config server;
    struct weir_plane_client_config client;
    struct weir_nats_config nats;
    bool use_nats;         /* one of the planes runs over it */
    bool request_nats;     /* endpoints take requests over it */
    enum weir_codec codec; /* that the endpoints' records ask for */
    const char *status_host, *health_path, *live_path;
    int64_t status_port;       /* negative: none */
    double grace_s, running_s; /* as of runtime/leaving.h */
    uint64_t dead_peer_ms;     /* as of weir_loop_set_dead_peer_ms() */
    bool (*is_ready)(void *arg);
    void (*on_scrape)(void *arg); /* refreshes metrics; may be NULL */
    void *arg;
};
/* From the option rows that such programs share (options_planes.def, options_worker.def,
 * options_response.def); the callbacks are left to the program. */
#define WEIR_SERVICE_CONFIG(o)                                                                     \
    {                                                                                              \
        .discovery = WEIR_SERVICE_DISCOVERY(o), .tls_server = WEIR_PLANE_TLS_SERVER(o),            \
        .tls_client = WEIR_PLANE_TLS_CLIENT(o),                                                    \
        .server = {.ip = (o)->tcp_rpc_host,                                                        \
                   .advertise = (o)->tcp_rpc_advertise_host,                                       \
                   .port = (uint16_t)(o)->tcp_rpc_port,                                            \
                   .max_active = (unsigned)(o)->tcp_worker_pool_size,                              \
                   .max_message = (size_t)(o)->tcp_max_message_size},                              \
        .client = {.response_ip = (o)->tcp_response_stream_host,                                   \
                   .response_advertise = (o)->tcp_response_stream_advertise_host,                  \
                   .response_port = (uint16_t)(o)->tcp_response_stream_port,                       \
                   .pool_conns = (unsigned)(o)->tcp_pool_size,                                     \
                   .in_flight = (unsigned)(o)->tcp_channel_buffer,                                 \
                   .connect_ms = (uint64_t)((o)->tcp_connect_timeout * 1000),                      \
                   .ack_ms = (uint64_t)((o)->tcp_request_timeout * 1000),                          \
                   .host_idle_ms = (uint64_t)((o)->tcp_host_idle_ttl_secs * 1000),                 \
                   .max_message = (size_t)(o)->tcp_max_message_size,                               \
                   .nats_ack_ms = WEIR_NATS_ACK_MS(o)},                                            \
        .nats = WEIR_NATS_CONFIG(o, "weir"), .use_nats = WEIR_NATS_WANTED(o),                      \
        .request_nats = (o)->request_plane == WEIR_OPT_REQUEST_NATS,                               \
        .codec = (o)->request_plane_codec == 0 ? WEIR_CODEC_JSON : WEIR_CODEC_MSGPACK,             \
        .status_host = (o)->system_host, .health_path = (o)->system_health_path,                   \
        .live_path = (o)->system_live_path, .status_port = (o)->system_port,                       \
        .grace_s = (o)->graceful_shutdown_grace_period_secs,                                       \
        .running_s = (o)->worker_graceful_shutdown_timeout,                                        \
        .dead_peer_ms = (uint64_t)((o)->weir_dead_peer_timeout_secs * 1000)                        \
    }

/* Members are for the program to use, not to change. */
struct weir_service {
    struct weir_loop *loop;
    struct weir_discovery *disc;
    struct weir_plane_server *server;
    struct weir_plane_client *client;
    struct weir_nats *nats; /* NULL: neither plane runs over it */
    struct weir_metrics *metrics;
    uint64_t instance_id; /* of every endpoint of the process; below 2^53 */
    struct weir_service_priv *priv;
};

/* On failure err says why and *service is to be closed too. */
enum weir_status weir_service_open(struct weir_service *service,
                                   const struct weir_service_config *config,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Serves ns.component.name and shows it in discovery: the card first (NULL: none), then the
 * instance. raw: the handler gets request bodies undecoded. Strings are copied. At most
 * WEIR_SERVICE_ENDPOINTS. */
enum weir_status weir_service_publish(struct weir_service *service, struct weir_span ns,
                                      const char *component, const char *name,
                                      const struct weir_plane_handler *handler, void *arg, bool raw,
                                      const struct weir_card *card,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Whether a signal has come. */
bool weir_service_leaving(const struct weir_service *service);
/* Until the end; returns the exit status. */
int weir_service_run(struct weir_service *service);
/* Logs, and makes run return 1. */
void weir_service_fail(struct weir_service *service, const struct weir_err *err);
/* Two steps, because what the program holds of discovery and client is closed between them.
 * Both accept a service that is closed or was never opened whole. */
void weir_service_close_discovery(struct weir_service *service);
void weir_service_close(struct weir_service *service);

#endif
