/*
 * TLS on a stream.
 *
 *   socket → input() → [SSL] → plaintext in the loop's second buffer → on_read
 *   out → encrypt() → [SSL] → cipher → socket
 *
 * OpenSSL reads from and writes to memory through a BIO of our own: it takes ciphertext straight
 * out of the loop's read buffer and puts records straight into the stream's send buffer, so an idle
 * connection holds neither. Ciphertext is kept (`held`) only while the owner has stopped reading.
 *
 * pump() is the one place that moves a session on; everything that may have changed something
 * (bytes came, the owner reads again, FIN) calls it. FIN without close_notify is a truncation, and
 * an error.
 */
#include "net/stream_priv.h"
#include "net/tls_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

enum {
    RECORD = 16384,
    CIPHER_AHEAD = 256 * 1024, /* records made before the socket took the last ones */
    CIPHER_MAX = 1 << 20,
    HELD_MAX = 4 * WEIR_LOOP_SCRATCH,
};

struct weir_stream_tls {
    struct weir_stream *stream; /* borrowed: owns this */
    struct weir_tls *tls;       /* a reference */
    SSL *ssl;                   /* owned */
    struct weir_buf cipher;     /* records for the socket */
    struct weir_buf held;       /* ciphertext that waits for the owner */
    const char *in;             /* ciphertext that OpenSSL may take now */
    size_t in_len;
    bool fin;      /* the socket has ended */
    bool notified; /* our close_notify is made */
    bool dead;     /* a fatal error: OpenSSL is not called again */
    bool pumping;
    char alpn[16];
};

/* ---- BIO ---------------------------------------------------------------------------------- */

static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method; /* written once */

static int bio_read(BIO *bio, char *data, size_t len, size_t *ret_n) {
    struct weir_stream_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->in_len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t n = len < t->in_len ? len : t->in_len;
    memcpy(data, t->in, n);
    t->in += n;
    t->in_len -= n;
    *ret_n = n;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_n) {
    struct weir_stream_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->cipher.data == NULL)
        weir_loop_block_take(t->stream->loop, &t->cipher);
    if (weir_buf_append(&t->cipher, data, len) != WEIR_OK)
        return 0;
    *ret_n = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr) {
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static void make_method(void) {
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir stream");
    if (m == NULL || BIO_meth_set_read_ex(m, bio_read) != 1 ||
        BIO_meth_set_write_ex(m, bio_write) != 1 || BIO_meth_set_ctrl(m, bio_ctrl) != 1) {
        BIO_meth_free(m);
        return;
    }
    method = m;
}

/* ---- life --------------------------------------------------------------------------------- */

static bool is_address(const char *name) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool set_name(SSL *ssl, const char *name) {
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

enum weir_status weir_stls_create(struct weir_stream *s, struct weir_tls *tls, bool server,
                                  const char *sni, const char *ip) {
    pthread_once(&method_once, make_method);
    struct weir_stream_tls *t = weir_calloc(1, sizeof(*t));
    if (t == NULL || weir_loop_scratch2(s->loop) == NULL || method == NULL) {
        weir_free(t);
        return WEIR_NOMEM;
    }
    t->stream = s;
    t->tls = weir_tls_ref(tls);
    weir_buf_init(&t->cipher, CIPHER_MAX);
    weir_buf_init(&t->held, HELD_MAX);
    t->ssl = weir_tls_session(tls);
    BIO *bio = t->ssl != NULL ? BIO_new(method) : NULL;
    if (bio == NULL) {
        weir_stls_free(t);
        return WEIR_NOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    if (server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    if (weir_tls_server_name(tls) != NULL)
        sni = weir_tls_server_name(tls);
    if (!server && !set_name(t->ssl, sni != NULL && sni[0] != '\0' ? sni : ip)) {
        ERR_clear_error();
        weir_stls_free(t);
        return WEIR_INVALID;
    }
    s->tls = t;
    return WEIR_OK;
}

void weir_stls_free(struct weir_stream_tls *t) {
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    weir_tls_destroy(t->tls);
    weir_loop_block_give(t->stream->loop, &t->cipher);
    weir_buf_fini(&t->held);
    weir_free(t);
}

struct weir_buf *weir_stls_cipher(struct weir_stream *s) {
    return &s->tls->cipher;
}

const char *weir_stls_alpn(const struct weir_stream *s) {
    return s->tls->alpn;
}

/* ---- failing ------------------------------------------------------------------------------ */

/* Static text: OpenSSL's tables live as long as the process. */
static const char *why(const struct weir_stream_tls *t) {
    long verify = SSL_get_verify_result(t->ssl);
    unsigned long e = ERR_peek_error();
    if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
        verify != X509_V_OK)
        return X509_verify_cert_error_string(verify);
    const char *text = e != 0 ? ERR_reason_error_string(e) : NULL;
    return text != NULL ? text : "TLS failed";
}

static void fail(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    const char *reason = why(t);
    t->dead = true;
    ERR_clear_error();
    WEIR_LOG(WEIR_LOG_DEBUG, "tls", "%s: %s", weir_stream_peer(s), reason);
    if (!s->write_busy)
        weir_stream_push(s); /* the alert, which says why */
    weir_stream_close(s, WEIR_TLS, reason);
}

/* ---- moving on ---------------------------------------------------------------------------- */

static void handshake_done(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    const unsigned char *name = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(t->ssl, &name, &len);
    if (len < sizeof(t->alpn))
        memcpy(t->alpn, len > 0 ? (const char *)name : "", len);
    if (t->cipher.len > 0)
        weir_stream_flush_later(s); /* goes with the first answer */
    weir_stream_opened(s);
}

static void handshake(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        handshake_done(s);
    } else if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ) {
        fail(s);
    } else {
        weir_stream_push(s);
        if (t->fin && s->state != WEIR_STREAM_CLOSED)
            weir_stream_close(s, WEIR_TLS, "closed by the peer in the TLS handshake");
    }
}

static bool wants_bytes(const struct weir_stream *s) {
    return s->state == WEIR_STREAM_OPEN && !s->paused && !s->lingering && !s->eof && !s->tls->dead;
}

/* Hands over plaintext until OpenSSL wants more ciphertext or the owner wants no more. */
static void read_all(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    while (wants_bytes(s)) {
        char *plain = s->loop->scratch2;
        size_t n = 0, got = 0;
        int error = SSL_ERROR_NONE;
        ERR_clear_error();
        while (n < WEIR_LOOP_SCRATCH && error == SSL_ERROR_NONE) {
            int rc = SSL_read_ex(t->ssl, plain + n, WEIR_LOOP_SCRATCH - n, &got);
            error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
            n += rc == 1 ? got : 0;
        }
        if (n > 0) {
            s->ops.on_read(s->arg, weir_span(plain, n));
            continue; /* asks again, now that the owner may have stopped: errors repeat */
        }
        if (error == SSL_ERROR_ZERO_RETURN)
            weir_stream_got_eof(s);
        else if (error != SSL_ERROR_WANT_READ)
            fail(s);
        else if (t->fin)
            weir_stream_close(s, WEIR_DISCONNECTED, "cut off: the peer ended without close_notify");
        return;
    }
}

static void pump(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    if (t->dead || t->pumping)
        return;
    t->pumping = true;
    if (s->state == WEIR_STREAM_HANDSHAKE)
        handshake(s);
    read_all(s);
    t->pumping = false;
    if (t->cipher.len > 0 && s->state == WEIR_STREAM_OPEN)
        weir_stream_flush_later(s); /* an answer of the protocol itself, such as a key update */
}

void weir_stls_start(struct weir_stream *s) {
    pump(s);
}

void weir_stls_resume(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    t->in = t->held.data;
    t->in_len = t->held.len;
    pump(s);
    if (t->in_len == 0)
        weir_buf_fini(&t->held);
    else
        weir_buf_consume(&t->held, t->held.len - t->in_len);
    t->in_len = 0;
}

void weir_stls_input(struct weir_stream *s, const char *data, size_t len) {
    struct weir_stream_tls *t = s->tls;
    if (t->held.len == 0) {
        t->in = data;
        t->in_len = len;
        pump(s);
        data = t->in;
        len = t->in_len;
        t->in_len = 0;
    }
    if (len == 0 || s->state == WEIR_STREAM_CLOSED || s->eof || s->lingering)
        return;
    if (weir_buf_append(&t->held, data, len) != WEIR_OK)
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
    else if (!s->paused)
        weir_stls_resume(s);
}

bool weir_stls_holds_back(const struct weir_stream *s) {
    return !s->tls->dead;
}

void weir_stls_eof(struct weir_stream *s) {
    s->tls->fin = true;
    if (!s->paused)
        weir_stls_resume(s);
}

bool weir_stls_encrypt(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    while (!t->dead && s->out.len > 0 && t->cipher.len < CIPHER_AHEAD) {
        size_t left = s->out.len - s->out_off, n = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(t->ssl, s->out.data + s->out_off, left < RECORD ? left : RECORD, &n);
        if (rc != 1) {
            fail(s);
            return false;
        }
        s->out_off += n;
        if (s->out_off == s->out.len) {
            s->out_off = 0;
            weir_loop_block_give(s->loop, &s->out);
        }
    }
    if (s->out_off > s->out.len / 2) {
        weir_buf_consume(&s->out, s->out_off);
        s->out_off = 0;
    }
    return true;
}

bool weir_stls_close_notify(struct weir_stream *s) {
    struct weir_stream_tls *t = s->tls;
    if (t->notified || t->dead || s->state != WEIR_STREAM_OPEN)
        return false;
    t->notified = true;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
    return t->cipher.len > 0;
}
