/* Rules that the option tables of serving programs share (options_worker.def). */
#ifndef WEIR_RUNTIME_OPTIONS_SERVICE_H
#define WEIR_RUNTIME_OPTIONS_SERVICE_H

#include "runtime/discovery.h"

/* Indices of the choice, in the order of the row. */
enum weir_opt_discovery {
    WEIR_OPT_DISCOVERY_KUBERNETES,
    WEIR_OPT_DISCOVERY_ETCD,
    WEIR_OPT_DISCOVERY_FILE,
    WEIR_OPT_DISCOVERY_MEM,
    WEIR_OPT_DISCOVERY_STATIC,
};

/* Which members of the TLS rows are set, and the discovery backend's name. */
struct weir_service_rules {
    bool shared_discovery; /* one that reaches other processes both ways */
    bool cert, key, client_cert, client_key, client_ca;
};
#define WEIR_SERVICE_RULES(o)                                                                      \
    {                                                                                              \
        .shared_discovery = (o)->discovery_backend == WEIR_OPT_DISCOVERY_FILE ||                   \
                            (o)->discovery_backend == WEIR_OPT_DISCOVERY_ETCD ||                   \
                            (o)->discovery_backend == WEIR_OPT_DISCOVERY_KUBERNETES,               \
        .cert = (o)->tcp_tls_cert_path != NULL, .key = (o)->tcp_tls_key_path != NULL,              \
        .client_cert = (o)->tcp_tls_client_cert_path != NULL,                                      \
        .client_key = (o)->tcp_tls_client_key_path != NULL,                                        \
        .client_ca = (o)->tcp_tls_client_ca_cert_path != NULL                                      \
    }
/* The certificates of the request plane: of the side that listens, and of the one that dials. */
#define WEIR_PLANE_TLS_SERVER(o)                                                                   \
    {                                                                                              \
        .server = true, .cert_path = (o)->tcp_tls_cert_path, .key_path = (o)->tcp_tls_key_path,    \
        .ca_path = (o)->tcp_tls_client_ca_cert_path                                                \
    }
#define WEIR_PLANE_TLS_CLIENT(o)                                                                   \
    {                                                                                              \
        .cert_path = (o)->tcp_tls_client_cert_path, .key_path = (o)->tcp_tls_client_key_path,      \
        .ca_path = (o)->tcp_tls_ca_cert_path, .insecure = (o)->tcp_tls_insecure,                   \
        .server_name = (o)->tcp_tls_server_name                                                    \
    }
/* Discovery of such a program, from options_planes.def: file, etcd or kubernetes. */
#define WEIR_SERVICE_DISCOVERY(o)                                                                  \
    {                                                                                              \
        .backend = (o)->discovery_backend == WEIR_OPT_DISCOVERY_ETCD ? WEIR_DISCOVERY_ETCD         \
                   : (o)->discovery_backend == WEIR_OPT_DISCOVERY_KUBERNETES                       \
                       ? WEIR_DISCOVERY_KUBE                                                       \
                       : WEIR_DISCOVERY_FILE,                                                      \
        .file_root = (o)->file_kv, .etcd = WEIR_ETCD_OPTIONS(o), .kube = WEIR_KUBE_OPTIONS(o)      \
    }
#define WEIR_KUBE_OPTIONS(o)                                                                       \
    {                                                                                              \
        .kubeconfig = (o)->kubeconfig, .service_host = (o)->kubernetes_service_host,               \
        .service_port = (o)->kubernetes_service_port,                                              \
        .account_folder = (o)->weir_kube_service_account_dir, .pod_name = (o)->pod_name,           \
        .pod_uid = (o)->pod_uid, .pod_namespace = (o)->pod_namespace,                              \
        .container_name = (o)->container_name, .by_container = (o)->kube_discovery_mode == 1       \
    }
#define WEIR_ETCD_OPTIONS(o)                                                                       \
    {                                                                                              \
        .endpoints = (o)->etcd_endpoints, .username = (o)->etcd_auth_username,                     \
        .password = (o)->etcd_auth_password, .ca = (o)->etcd_auth_ca,                              \
        .cert = (o)->etcd_auth_client_cert, .key = (o)->etcd_auth_client_key,                      \
        .lease_ttl_s = (uint64_t)(o)->etcd_lease_ttl                                               \
    }
enum weir_status weir_service_rules_check(const struct weir_service_rules *rules,
                                          struct weir_err *err) WEIR_MUST_CHECK;

#endif
