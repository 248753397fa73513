/* Rules that the option tables of serving programs share (options_worker.def). */
#ifndef WEIR_RUNTIME_OPTIONS_SERVICE_H
#define WEIR_RUNTIME_OPTIONS_SERVICE_H

#include "base/status.h"

/* Which members of the TLS rows are set, and the discovery backend's name. */
struct weir_service_rules {
    bool file_discovery;
    bool cert, key, client_cert, client_key, client_ca;
};
#define WEIR_SERVICE_RULES(o)                                                                      \
    {                                                                                              \
        .file_discovery = (o)->discovery_backend == WEIR_OPT_DISCOVERY_FILE,                       \
        .cert = (o)->tcp_tls_cert_path != NULL, .key = (o)->tcp_tls_key_path != NULL,              \
        .client_cert = (o)->tcp_tls_client_cert_path != NULL,                                      \
        .client_key = (o)->tcp_tls_client_key_path != NULL,                                        \
        .client_ca = (o)->tcp_tls_client_ca_cert_path != NULL                                      \
    }
enum weir_status weir_service_rules_check(const struct weir_service_rules *rules,
                                          struct weir_err *err) WEIR_MUST_CHECK;

#endif
