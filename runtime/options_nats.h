/* What programs make of the rows that have to do with NATS (options_planes.def). */
#ifndef WEIR_RUNTIME_OPTIONS_NATS_H
#define WEIR_RUNTIME_OPTIONS_NATS_H

#include "net/nats.h"

#include <math.h>

/* Indices of choices, in the order of the rows. */
enum weir_opt_request_plane { WEIR_OPT_REQUEST_NATS, WEIR_OPT_REQUEST_TCP };
enum weir_opt_event_plane {
    WEIR_OPT_EVENT_UNSET = -1,
    WEIR_OPT_EVENT_NATS,
    WEIR_OPT_EVENT_ZMQ,
};

/* A connection is made only when a plane runs over it. */
#define WEIR_NATS_WANTED(o)                                                                        \
    ((o)->request_plane == WEIR_OPT_REQUEST_NATS || (o)->event_plane == WEIR_OPT_EVENT_NATS)
/* The same of a program that reads durable KV events. */
#define WEIR_NATS_WANTED_DURABLE(o) (WEIR_NATS_WANTED(o) || (o)->router_durable_kv_events)
#define WEIR_NATS_ACK_MS(o)                                                                        \
    (isnan((o)->nats_request_timeout_secs) ? 0 : (uint64_t)((o)->nats_request_timeout_secs * 1000))
#define WEIR_NATS_CONFIG(o, name_)                                                                 \
    {                                                                                              \
        .servers = (o)->nats_server, .name = (name_), .user = (o)->nats_auth_username,             \
        .password = (o)->nats_auth_password, .token = (o)->nats_auth_token,                        \
        .nkey_seed = (o)->nats_auth_nkey, .credentials_path = (o)->nats_auth_credentials_file,     \
        .ca_path = (o)->nats_tls_ca_cert_path, .cert_path = (o)->nats_tls_client_cert_path,        \
        .key_path = (o)->nats_tls_client_key_path, .insecure = (o)->nats_tls_insecure              \
    }

#endif
