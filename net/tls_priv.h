/* TLS settings for stream_tls.c: the only other file that meets OpenSSL. */
#ifndef WEIR_NET_TLS_PRIV_H
#define WEIR_NET_TLS_PRIV_H

#include "net/tls.h"

#include <openssl/ssl.h>

struct weir_tls *weir_tls_ref(struct weir_tls *tls);
/* A session with the certificates of now; NULL when memory is out. Thread: any. */
SSL *weir_tls_session(struct weir_tls *tls);
const char *weir_tls_server_name(const struct weir_tls *tls); /* or NULL */

#endif
