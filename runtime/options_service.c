#include "runtime/options_service.h"

enum weir_status weir_service_rules_check(const struct weir_service_rules *rules,
                                          struct weir_err *err) {
    if (!rules->shared_discovery)
        return weir_err_set(
            err, WEIR_INVALID,
            "--discovery-backend: this command meets others through file, etcd or kubernetes");
    if (rules->cert != rules->key)
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH: give both or neither");
    if (rules->client_cert != rules->client_key)
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH: give "
                            "both or neither");
    if (rules->client_ca && !rules->cert)
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CLIENT_CA_CERT_PATH needs DYN_TCP_TLS_CERT_PATH and "
                            "DYN_TCP_TLS_KEY_PATH");
    return WEIR_OK;
}
