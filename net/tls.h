/*
 * TLS settings shared by many streams: server or client side, TLS 1.2 or newer, ALPN, mutual TLS,
 * certificate reload. Threads: create/destroy anywhere; use from any loop.
 */
#ifndef WEIR_NET_TLS_H
#define WEIR_NET_TLS_H

#include "base/status.h"

struct weir_tls;

/* Each path may also be the PEM text itself: what begins with "-----BEGIN". */
struct weir_tls_config {
    bool server;
    const char *cert_path,
        *key_path;       /* server: required; client: identity for mutual TLS or NULL */
    const char *ca_path; /* server: demand client certificates signed by it; client: trust it; NULL:
                            server asks for none, client trusts the system */
    bool insecure;       /* client: do not verify the server */
    const char *server_name; /* client: whom to expect, whatever is dialled; or NULL */
    const char *alpn;        /* "h2,http/1.1"; NULL = none. Server: in order of preference */
};

enum weir_status weir_tls_create(const struct weir_tls_config *config, struct weir_tls **ret_tls,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Streams that use it keep what they need. Accepts NULL. */
void weir_tls_destroy(struct weir_tls *tls);
/* Re-reads certificate and key when their content changed; the last good pair stays in use when the
 * new one does not load. New handshakes only. *ret_changed may be NULL. */
enum weir_status weir_tls_reload(struct weir_tls *tls, bool *ret_changed,
                                 struct weir_err *err) WEIR_MUST_CHECK;

#endif
