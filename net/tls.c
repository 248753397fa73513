#include "net/tls.h"
#include "net/stream_priv.h"
enum weir_status weir_tls_create(const struct weir_tls_config *config, struct weir_tls **ret_tls,
                                 struct weir_err *err) {
    (void)config;
    (void)ret_tls;
    return weir_err_set(err, WEIR_UNSUPPORTED, "TLS is not built yet");
}
void weir_tls_destroy(struct weir_tls *tls) {
    (void)tls;
}
enum weir_status weir_tls_reload(struct weir_tls *tls, bool *ret_changed, struct weir_err *err) {
    (void)tls;
    (void)ret_changed;
    return weir_err_set(err, WEIR_UNSUPPORTED, "TLS is not built yet");
}
enum weir_status weir_stls_create(struct weir_stream *s, struct weir_tls *tls, bool server,
                                  const char *sni, const char *ip) {
    (void)s;
    (void)tls;
    (void)server;
    (void)sni;
    (void)ip;
    return WEIR_UNSUPPORTED;
}
void weir_stls_free(struct weir_stream_tls *t) {
    (void)t;
}
void weir_stls_start(struct weir_stream *s) {
    (void)s;
}
void weir_stls_input(struct weir_stream *s, const char *data, size_t len) {
    (void)s;
    (void)data;
    (void)len;
}
void weir_stls_resume(struct weir_stream *s) {
    (void)s;
}
bool weir_stls_holds_back(const struct weir_stream *s) {
    (void)s;
    return false;
}
void weir_stls_eof(struct weir_stream *s) {
    (void)s;
}
bool weir_stls_encrypt(struct weir_stream *s) {
    (void)s;
    return true;
}
struct weir_buf *weir_stls_cipher(struct weir_stream *s) {
    return &s->out;
}
bool weir_stls_close_notify(struct weir_stream *s) {
    (void)s;
    return false;
}
const char *weir_stls_alpn(const struct weir_stream *s) {
    (void)s;
    return "";
}
