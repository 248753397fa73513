/*
 * TLS settings: files in, SSL_CTX out.
 *
 * Files are read whole first and parsed from memory, so that what is compared on a reload is
 * exactly what is used. A reload builds a new SSL_CTX beside the old one and swaps the pointer;
 * sessions hold a reference to the one they began with.
 *
 * Sessions are resumed by tickets alone (no cache that grows with clients); their keys are made
 * with each SSL_CTX, so a reload also ends resumption into certificates that are gone.
 */
#include "net/tls_priv.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 4 << 20, MAX_ALPN = 64, TICKET_S = 7200, DIGEST = 32 };

struct weir_tls {
    _Atomic unsigned refs; /* the owner's and one per stream */
    bool server, insecure;
    char *cert_path, *key_path, *ca_path, *server_name; /* owned; NULL = none */
    unsigned char alpn[MAX_ALPN];                       /* length-prefixed names */
    unsigned alpn_len;
    pthread_mutex_t lock; /* guards ctx and digest */
    SSL_CTX *ctx;         /* owned */
    unsigned char digest[DIGEST];
};

/* ---- files -------------------------------------------------------------------------------- */

struct files {
    struct weir_buf cert, key, ca;
    unsigned char digest[DIGEST];
};

static enum weir_status read_file(const char *path, const char *what, struct weir_buf *ret,
                                  struct weir_err *err) {
    weir_buf_init(ret, MAX_FILE);
    if (path == NULL)
        return WEIR_OK;
    if (strncmp(path, "-----BEGIN", 10) == 0)
        return weir_buf_append_z(ret, path);
    struct weir_err why;
    enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, ret, &why);
    return st == WEIR_OK ? st : weir_err_set(err, st, "%s %s", what, why.text);
}

static bool digest_files(struct files *f) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    const struct weir_buf *bufs[3] = {&f->cert, &f->key, &f->ca};
    for (int i = 0; i < 3; i++) {
        uint64_t len = bufs[i]->len;
        ok = ok && EVP_DigestUpdate(md, &len, sizeof(len)) == 1 &&
             EVP_DigestUpdate(md, bufs[i]->data, bufs[i]->len) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md, f->digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

static void files_fini(struct files *f) {
    if (f->key.data != NULL)
        OPENSSL_cleanse(f->key.data, f->key.cap);
    weir_buf_fini(&f->cert);
    weir_buf_fini(&f->key);
    weir_buf_fini(&f->ca);
}

static enum weir_status read_files(const struct weir_tls *tls, struct files *f,
                                   struct weir_err *err) {
    *f = (struct files){0};
    enum weir_status st = read_file(tls->cert_path, "certificate", &f->cert, err);
    if (st == WEIR_OK)
        st = read_file(tls->key_path, "private key", &f->key, err);
    if (st == WEIR_OK)
        st = read_file(tls->ca_path, "CA certificates", &f->ca, err);
    if (st == WEIR_OK && !digest_files(f))
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    return st;
}

/* ---- parsing ------------------------------------------------------------------------------ */

/* What messages call a file: never its content. */
static const char *shown(const char *path) {
    return strncmp(path, "-----BEGIN", 10) == 0 ? "(PEM text)" : path;
}

/* The library's words for the newest error; static text. */
static const char *openssl_reason(void) {
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text != NULL ? text : "unknown error";
}

static BIO *memory(const struct weir_buf *buf) {
    return BIO_new_mem_buf(buf->len > 0 ? buf->data : "", (int)buf->len);
}

static X509 *next_cert(BIO *bio) {
    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

/* After the last certificate OpenSSL reports "no start line"; anything else is a broken one. */
static bool at_end(void) {
    unsigned long e = ERR_peek_last_error();
    bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
    return end;
}

static enum weir_status use_chain(SSL_CTX *ctx, const struct weir_tls *tls, const struct files *f,
                                  struct weir_err *err) {
    BIO *bio = memory(&f->cert);
    X509 *cert = bio != NULL ? next_cert(bio) : NULL;
    enum weir_status st = WEIR_OK;
    if (cert == NULL)
        st = weir_err_set(err, WEIR_INVALID, "'%s' holds no certificate in PEM form (%s)",
                          shown(tls->cert_path), openssl_reason());
    else if (SSL_CTX_use_certificate(ctx, cert) != 1)
        st = weir_err_set(err, WEIR_INVALID, "certificate '%s': %s", shown(tls->cert_path),
                          openssl_reason());
    X509_free(cert);
    ERR_clear_error();
    while (st == WEIR_OK && (cert = next_cert(bio)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            st = weir_err_set(err, WEIR_INVALID, "certificate chain '%s': %s",
                              shown(tls->cert_path), openssl_reason());
        }
    }
    if (st == WEIR_OK && !at_end())
        st = weir_err_set(err, WEIR_INVALID, "certificate chain '%s': %s", shown(tls->cert_path),
                          openssl_reason());
    BIO_free(bio);
    return st;
}

static int no_password(char *buf, int size, int rw, void *arg) {
    (void)buf;
    (void)size;
    (void)rw;
    *(bool *)arg = true;
    return -1;
}

static enum weir_status use_key(SSL_CTX *ctx, const struct weir_tls *tls, const struct files *f,
                                struct weir_err *err) {
    bool encrypted = false;
    BIO *bio = memory(&f->key);
    EVP_PKEY *key =
        bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted) : NULL;
    enum weir_status st = WEIR_OK;
    if (encrypted)
        st = weir_err_set(err, WEIR_UNSUPPORTED,
                          "private key '%s' has a passphrase: store it without one",
                          shown(tls->key_path));
    else if (key == NULL)
        st = weir_err_set(err, WEIR_INVALID, "'%s' holds no private key in PEM form (%s)",
                          shown(tls->key_path), openssl_reason());
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        st = weir_err_set(err, WEIR_INVALID, "private key '%s' does not belong to certificate '%s'",
                          shown(tls->key_path), shown(tls->cert_path));
    EVP_PKEY_free(key);
    BIO_free(bio);
    return st;
}

static enum weir_status use_ca(SSL_CTX *ctx, const struct weir_tls *tls, const struct files *f,
                               struct weir_err *err) {
    BIO *bio = memory(&f->ca);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    unsigned n = 0;
    bool ok = bio != NULL;
    for (X509 *cert; ok && (cert = next_cert(bio)) != NULL; n++) {
        ok = X509_STORE_add_cert(store, cert) == 1 &&
             (!tls->server || SSL_CTX_add_client_CA(ctx, cert) == 1);
        X509_free(cert);
    }
    ok = ok && at_end() && n > 0;
    BIO_free(bio);
    if (ok)
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID, "'%s' holds no CA certificates in PEM form (%s)",
                        shown(tls->ca_path), openssl_reason());
}

/* ---- settings ----------------------------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg) {
    const struct weir_tls *tls = arg; /* lives: the stream of `ssl` holds a reference */
    (void)ssl;
    /* The first list decides the order: ours. */
    if (SSL_select_next_proto((unsigned char **)out, out_len, tls->alpn, tls->alpn_len, in,
                              in_len) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 §3.2 */
}

static bool apply_settings(SSL_CTX *ctx, const struct weir_tls *tls) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_S);
    bool ok = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"weir", 4) == 1;
    if (tls->alpn_len > 0 && tls->server)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)tls);
    else if (tls->alpn_len > 0)
        ok = ok && SSL_CTX_set_alpn_protos(ctx, tls->alpn, tls->alpn_len) == 0;
    if (tls->server && tls->ca_path != NULL)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else if (!tls->server && !tls->insecure)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ok;
}

static enum weir_status make_context(const struct weir_tls *tls, const struct files *f,
                                     SSL_CTX **ret_ctx, struct weir_err *err) {
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(tls->server ? TLS_server_method() : TLS_client_method());
    if (ctx == NULL || !apply_settings(ctx, tls)) {
        SSL_CTX_free(ctx);
        return weir_err_set(err, WEIR_TLS, "cannot set up TLS: %s", openssl_reason());
    }
    enum weir_status st = WEIR_OK;
    if (tls->cert_path != NULL)
        st = use_chain(ctx, tls, f, err);
    if (st == WEIR_OK && tls->key_path != NULL)
        st = use_key(ctx, tls, f, err);
    ERR_clear_error();
    if (st == WEIR_OK && tls->ca_path != NULL)
        st = use_ca(ctx, tls, f, err);
    else if (st == WEIR_OK && !tls->server && !tls->insecure &&
             SSL_CTX_set_default_verify_paths(ctx) != 1)
        st = weir_err_set(err, WEIR_TLS, "no trusted certificates of the system: %s",
                          openssl_reason());
    ERR_clear_error();
    if (st != WEIR_OK) {
        SSL_CTX_free(ctx);
        return st;
    }
    *ret_ctx = ctx;
    return WEIR_OK;
}

static enum weir_status parse_alpn(struct weir_tls *tls, const char *list, struct weir_err *err) {
    struct weir_span rest = weir_span_z(list);
    while (rest.len > 0) {
        struct weir_span name = weir_span_trim(weir_span_split(rest, ',', &rest));
        if (name.len == 0 || name.len > 255 || tls->alpn_len + 1 + name.len > MAX_ALPN)
            return weir_err_set(err, WEIR_INVALID, "ALPN list '%s': empty or too long", list);
        tls->alpn[tls->alpn_len] = (unsigned char)name.len;
        memcpy(tls->alpn + tls->alpn_len + 1, name.data, name.len);
        tls->alpn_len += 1 + (unsigned)name.len;
    }
    return WEIR_OK;
}

static enum weir_status check_config(const struct weir_tls_config *config, struct weir_err *err) {
    if (config->server && (config->cert_path == NULL || config->key_path == NULL))
        return weir_err_set(err, WEIR_INVALID,
                            "a TLS server needs both a certificate and a private key");
    if ((config->cert_path == NULL) != (config->key_path == NULL))
        return weir_err_set(err, WEIR_INVALID,
                            "a client certificate and its private key go together: %s is missing",
                            config->cert_path == NULL ? "the certificate" : "the key");
    return WEIR_OK;
}

static bool copy_path(const char *path, char **ret) {
    if (path != NULL)
        *ret = weir_strdup(path);
    return path == NULL || *ret != NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_tls_create(const struct weir_tls_config *config, struct weir_tls **ret_tls,
                                 struct weir_err *err) {
    enum weir_status st = check_config(config, err);
    if (st != WEIR_OK)
        return st;
    struct weir_tls *tls = weir_calloc(1, sizeof(*tls));
    if (tls == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    atomic_init(&tls->refs, 1);
    pthread_mutex_init(&tls->lock, NULL);
    tls->server = config->server;
    tls->insecure = config->insecure;
    if (!copy_path(config->cert_path, &tls->cert_path) ||
        !copy_path(config->key_path, &tls->key_path) ||
        !copy_path(config->ca_path, &tls->ca_path) ||
        !copy_path(config->server_name, &tls->server_name))
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK && config->alpn != NULL)
        st = parse_alpn(tls, config->alpn, err);
    if (st == WEIR_OK)
        st = weir_tls_reload(tls, NULL, err);
    if (st != WEIR_OK) {
        weir_tls_destroy(tls);
        return st;
    }
    *ret_tls = tls;
    return WEIR_OK;
}

struct weir_tls *weir_tls_ref(struct weir_tls *tls) {
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void weir_tls_destroy(struct weir_tls *tls) {
    /* Release and acquire pair the last use by any thread with the freeing here. */
    if (tls == NULL || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(tls->ctx);
    pthread_mutex_destroy(&tls->lock);
    weir_free(tls->cert_path);
    weir_free(tls->key_path);
    weir_free(tls->ca_path);
    weir_free(tls->server_name);
    weir_free(tls);
}

enum weir_status weir_tls_reload(struct weir_tls *tls, bool *ret_changed, struct weir_err *err) {
    struct files f;
    SSL_CTX *ctx = NULL;
    enum weir_status st = read_files(tls, &f, err);
    pthread_mutex_lock(&tls->lock);
    bool changed =
        st == WEIR_OK && (tls->ctx == NULL || memcmp(tls->digest, f.digest, sizeof(f.digest)) != 0);
    pthread_mutex_unlock(&tls->lock);
    if (changed)
        st = make_context(tls, &f, &ctx, err);
    if (changed && st == WEIR_OK) {
        pthread_mutex_lock(&tls->lock);
        SSL_CTX *old = tls->ctx;
        tls->ctx = ctx;
        memcpy(tls->digest, f.digest, sizeof(f.digest));
        pthread_mutex_unlock(&tls->lock);
        SSL_CTX_free(old);
    }
    files_fini(&f);
    if (st == WEIR_OK && ret_changed != NULL)
        *ret_changed = changed;
    return st;
}

SSL *weir_tls_session(struct weir_tls *tls) {
    pthread_mutex_lock(&tls->lock);
    SSL *ssl = SSL_new(tls->ctx);
    pthread_mutex_unlock(&tls->lock);
    return ssl;
}

const char *weir_tls_server_name(const struct weir_tls *tls) {
    return tls->server_name;
}
