/* TLS: echo, ALPN, mutual TLS, names, reload, truncation, versions, tickets, slow and broken peers.
 * The other side is our own client where both are to be tested, and plain OpenSSL in a thread where
 * an independent or misbehaving one is needed. */
#include "net/tls.h"
#include "base/buf.h"
#include "base/mem.h"
#include "net/stream.h"
#include "test/check.h"
#include "test/unit/net/certs.h"
#include "test/unit/net/echo.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static struct certs certs;

static struct weir_tls *make(struct weir_tls_config config) {
    struct weir_tls *tls = NULL;
    struct weir_err err = {0};
    CHECK_MSG(weir_tls_create(&config, &tls, &err) == WEIR_OK, "%s", err.text);
    return tls;
}

static struct weir_tls *make_server(const char *alpn, const char *ca) {
    return make((struct weir_tls_config){.server = true,
                                         .cert_path = certs.server,
                                         .key_path = certs.server_key,
                                         .ca_path = ca,
                                         .alpn = alpn});
}

static struct weir_tls *make_client(const char *alpn) {
    return make((struct weir_tls_config){.ca_path = certs.ca, .alpn = alpn});
}

static void case_echo_over_tls_comes_back_whole(void) {
    struct weir_tls *server = make_server(NULL, NULL), *client = make_client(NULL);
    struct echo_result r = echo_run(check_seed(), 120, 1 << 19, server, client, "localhost");
    CHECK(!r.timed_out);
    CHECK_MSG(r.wrong == 0, "%u wrong, first: %s", r.wrong, r.first);
    CHECK_EQ_U64(r.open, 0);
    CHECK_EQ_U64(r.whole + r.cut, 120);
    CHECK(r.whole > 30 && r.cut > 15 && r.bytes > 1 << 20);
    weir_tls_destroy(server);
    weir_tls_destroy(client);
}

/* ---- one connection ----------------------------------------------------------------------- */

struct side {
    struct scene *scene;
    struct weir_stream *stream;
    enum weir_status status;
    char reason[128], alpn[16];
    unsigned opened, closed;
    size_t got;
};

struct scene {
    struct weir_loop *loop;
    struct weir_listener *listener;
    struct side server, client; /* server.opened counts hand-overs */
    struct weir_timer guard, poll;
    struct weir_listener *proxy; /* or NULL */
    pthread_t thread;
    void *(*peer)(void *);
    bool peer_done; /* the thread's last words, posted */
    bool timed_out;
    int result;
    int version;
    SSL_SESSION *session;
    bool reused;
};

static void maybe_stop(struct scene *sc) {
    bool ours = sc->client.stream == NULL || sc->client.closed > 0;
    bool theirs = sc->peer == NULL || sc->peer_done;
    if (ours && theirs && weir_listener_conns(sc->listener) == 0)
        weir_loop_stop(sc->loop);
}

static void on_poll(void *arg) {
    struct scene *sc = arg;
    maybe_stop(sc);
    CHECK(weir_timer_start(&sc->poll, 2) == WEIR_OK);
}

static void on_side_open(void *arg) {
    struct side *s = arg;
    s->opened++;
    snprintf(s->alpn, sizeof(s->alpn), "%s", weir_stream_alpn(s->stream));
    CHECK(weir_stream_write(s->stream, "hello", 5) == WEIR_OK);
}

static void on_server_read(void *arg, struct weir_span bytes) {
    struct side *s = arg;
    CHECK(bytes.len == 5 && memcmp(bytes.data, "hello", 5) == 0);
    s->got += bytes.len;
    CHECK(weir_stream_write(s->stream, bytes.data, bytes.len) == WEIR_OK);
}

static void on_client_read(void *arg, struct weir_span bytes) {
    struct side *s = arg;
    CHECK(bytes.len == 5 && memcmp(bytes.data, "hello", 5) == 0);
    s->got += bytes.len;
    weir_stream_close(s->stream, WEIR_OK, "had an answer");
}

static void on_side_close(void *arg, enum weir_status status, const char *reason) {
    struct side *s = arg;
    s->closed++;
    s->status = status;
    snprintf(s->reason, sizeof(s->reason), "%s", reason);
}

static void on_server_eof(void *arg) {
    struct side *s = arg;
    weir_stream_close(s->stream, WEIR_OK, "orderly end");
}

static const struct weir_stream_ops server_ops = {
    .on_read = on_server_read, .on_eof = on_server_eof, .on_close = on_side_close};
static const struct weir_stream_ops client_ops = {
    .on_open = on_side_open, .on_read = on_client_read, .on_close = on_side_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct scene *sc = arg;
    sc->server.stream = s;
    sc->server.opened++;
    snprintf(sc->server.alpn, sizeof(sc->server.alpn), "%s", weir_stream_alpn(s));
    weir_stream_adopt(s, &server_ops, &sc->server);
}

static void on_guard(void *arg) {
    struct scene *sc = arg;
    sc->timed_out = true;
    weir_loop_stop(sc->loop);
}

static void scene_open(struct scene *sc, struct weir_tls *server, uint64_t open_ms) {
    CHECK(weir_loop_create(0, &sc->loop) == WEIR_OK);
    sc->server.scene = sc->client.scene = sc;
    struct weir_listen_config config = {
        .ip = "127.0.0.1", .tls = server, .limits = {.open_ms = open_ms}};
    CHECK(weir_listen(sc->loop, &config, on_accept, sc, &sc->listener, NULL) == WEIR_OK);
    weir_timer_init(&sc->guard, sc->loop, on_guard, sc);
    weir_timer_init(&sc->poll, sc->loop, on_poll, sc);
    CHECK(weir_timer_start(&sc->guard, 60000) == WEIR_OK);
}

static void scene_close(struct scene *sc) {
    CHECK(weir_timer_start(&sc->poll, 5) == WEIR_OK);
    weir_loop_run(sc->loop);
    if (sc->peer != NULL)
        pthread_join(sc->thread, NULL);
    weir_timer_stop(&sc->guard);
    weir_timer_stop(&sc->poll);
    weir_listener_close(sc->listener);
    weir_listener_close(sc->proxy);
    weir_loop_destroy(sc->loop);
    CHECK(!sc->timed_out);
    CHECK(sc->server.closed == sc->server.opened);
}

/* Our client against our server. */
static struct scene talk(struct weir_tls *server, struct weir_tls *client, const char *sni) {
    struct scene sc = {0};
    scene_open(&sc, server, 0);
    CHECK(weir_stream_connect(sc.loop, "127.0.0.1", weir_listener_port(sc.listener), client, sni,
                              NULL, &client_ops, &sc.client, &sc.client.stream) == WEIR_OK);
    scene_close(&sc);
    CHECK(sc.client.closed == 1);
    return sc;
}

static void check_ok(const struct scene *sc) {
    CHECK_MSG(sc->client.status == WEIR_OK, "%s", sc->client.reason);
    CHECK_MSG(sc->server.status == WEIR_OK, "%s", sc->server.reason);
    CHECK(sc->client.opened == 1 && sc->server.opened == 1);
    CHECK_EQ_U64(sc->server.got, 5);
    CHECK_EQ_U64(sc->client.got, 5);
}

static void check_refused(const struct scene *sc, const char *client_text) {
    CHECK(sc->client.status != WEIR_OK);
    CHECK_MSG(strstr(sc->client.reason, client_text) != NULL, "%s", sc->client.reason);
    CHECK_EQ_U64(sc->server.got, 0);
    CHECK_EQ_U64(sc->server.opened, 0);
}

/* ---- cases with our own client ------------------------------------------------------------ */

static void case_alpn_takes_the_servers_first_choice(void) {
    struct weir_tls *server = make_server("h2,http/1.1", NULL);
    const struct {
        const char *offer, *want;
    } rows[] = {{"http/1.1, h2", "h2"}, {"http/1.1", "http/1.1"}, {NULL, ""}};
    for (size_t i = 0; i < 3; i++) {
        struct weir_tls *client = make_client(rows[i].offer);
        struct scene sc = talk(server, client, "localhost");
        check_ok(&sc);
        CHECK_EQ_STR(sc.server.alpn, strlen(sc.server.alpn), rows[i].want);
        CHECK_EQ_STR(sc.client.alpn, strlen(sc.client.alpn), rows[i].want);
        weir_tls_destroy(client);
    }
    struct weir_tls *client = make_client("spdy/1");
    struct scene sc = talk(server, client, "localhost");
    check_refused(&sc, "no application protocol");
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

static void case_names_and_authorities_are_verified(void) {
    struct weir_tls *server = make_server(NULL, NULL), *client = make_client(NULL);
    struct scene sc = talk(server, client, "localhost");
    check_ok(&sc);
    sc = talk(server, client, NULL); /* the address itself is in the certificate */
    check_ok(&sc);
    sc = talk(server, client, "example.org");
    check_refused(&sc, "hostname mismatch");
    struct weir_tls *other = make((struct weir_tls_config){.ca_path = certs.other_ca});
    sc = talk(server, other, "localhost");
    check_refused(&sc, "unable to get local issuer");
    struct weir_tls *system = make((struct weir_tls_config){0});
    sc = talk(server, system, "localhost");
    check_refused(&sc, "unable to get local issuer");
    /* Whom the configuration expects comes before what is dialled. */
    struct weir_tls *named =
        make((struct weir_tls_config){.ca_path = certs.ca, .server_name = "localhost"});
    sc = talk(server, named, "example.org");
    check_ok(&sc);
    weir_tls_destroy(named);
    named = make((struct weir_tls_config){.ca_path = certs.ca, .server_name = "example.org"});
    sc = talk(server, named, NULL);
    check_refused(&sc, "hostname mismatch");
    weir_tls_destroy(named);
    struct weir_tls *insecure = make((struct weir_tls_config){.insecure = true});
    sc = talk(server, insecure, "example.org");
    check_ok(&sc);
    weir_tls_destroy(system);
    weir_tls_destroy(other);
    weir_tls_destroy(insecure);
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

static void case_mutual_tls_accepts_its_own_and_refuses_others(void) {
    struct weir_tls *server = make_server(NULL, certs.ca);
    struct weir_tls *client = make((struct weir_tls_config){
        .ca_path = certs.ca, .cert_path = certs.client, .key_path = certs.client_key});
    struct scene sc = talk(server, client, "localhost");
    check_ok(&sc);
    struct weir_tls *nobody = make_client(NULL);
    sc = talk(server, nobody, "localhost");
    check_refused(&sc, "certificate required");
    struct weir_tls *stranger = make((struct weir_tls_config){
        .ca_path = certs.ca, .cert_path = certs.stranger, .key_path = certs.stranger_key});
    sc = talk(server, stranger, "localhost");
    check_refused(&sc, "unknown ca");
    weir_tls_destroy(stranger);
    weir_tls_destroy(nobody);
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

/* ---- an independent peer ------------------------------------------------------------------ */

static void on_peer_done(void *arg) {
    struct scene *sc = arg;
    sc->peer_done = true;
}

static int dial(const struct scene *sc) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(weir_listener_port(sc->listener)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        abort();
    return fd;
}

static void peer_end(struct scene *sc) {
    if (weir_loop_post(sc->loop, on_peer_done, sc) != WEIR_OK)
        abort();
}

static int on_new_session(SSL *ssl, SSL_SESSION *session) {
    struct scene *sc = SSL_get_app_data(ssl);
    SSL_SESSION_free(sc->session);
    sc->session = session;
    return 1;
}

/* Handshake at sc->version, five bytes and back; result 1 = all went well. */
static void *raw_client(void *arg) {
    struct scene *sc = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, sc->version);
    SSL_CTX_set_max_proto_version(ctx, sc->version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    int fd = dial(sc);
    SSL *ssl = SSL_new(ctx);
    SSL_set_app_data(ssl, sc);
    SSL_set_fd(ssl, fd);
    if (sc->session != NULL)
        SSL_set_session(ssl, sc->session);
    char buf[5];
    sc->result = SSL_connect(ssl) == 1 && SSL_write(ssl, "hello", 5) == 5 &&
                 SSL_read(ssl, buf, 5) == 5 && memcmp(buf, "hello", 5) == 0;
    sc->reused = SSL_session_reused(ssl);
    if (sc->result)
        SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    peer_end(sc);
    return NULL;
}

/* Ends the socket without close_notify after an exchange. */
static void *truncating_client(void *arg) {
    struct scene *sc = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int fd = dial(sc);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    char buf[5];
    sc->result =
        SSL_connect(ssl) == 1 && SSL_write(ssl, "hello", 5) == 5 && SSL_read(ssl, buf, 5) == 5;
    shutdown(fd, SHUT_WR);
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    peer_end(sc);
    return NULL;
}

/* Says nothing, and waits to be thrown out. */
static void *silent_client(void *arg) {
    struct scene *sc = arg;
    int fd = dial(sc);
    char c;
    sc->result = read(fd, &c, 1) <= 0;
    close(fd);
    peer_end(sc);
    return NULL;
}

static void *plain_client(void *arg) {
    struct scene *sc = arg;
    int fd = dial(sc);
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char buf[256];
    sc->result = write(fd, request, sizeof(request) - 1) > 0;
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    close(fd);
    peer_end(sc);
    return NULL;
}

static struct scene against(struct weir_tls *server, void *(*peer)(void *), int version,
                            SSL_SESSION *session, uint64_t open_ms) {
    struct scene sc = {.peer = peer, .version = version, .session = session};
    scene_open(&sc, server, open_ms);
    CHECK(pthread_create(&sc.thread, NULL, peer, &sc) == 0);
    scene_close(&sc);
    return sc;
}

static void case_tls_1_2_and_newer(void) {
    struct weir_tls *server = make_server(NULL, NULL);
    struct scene sc = against(server, raw_client, TLS1_3_VERSION, NULL, 0);
    CHECK(sc.result == 1 && sc.server.status == WEIR_OK);
    SSL_SESSION_free(sc.session);
    sc = against(server, raw_client, TLS1_2_VERSION, NULL, 0);
    CHECK(sc.result == 1 && sc.server.status == WEIR_OK);
    SSL_SESSION_free(sc.session);
    sc = against(server, raw_client, TLS1_1_VERSION, NULL, 0);
    CHECK(sc.result == 0);
    CHECK_EQ_U64(sc.server.opened, 0);
    weir_tls_destroy(server);
}

static void case_tickets_resume_sessions(void) {
    struct weir_tls *server = make_server(NULL, NULL);
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct scene sc = against(server, raw_client, versions[i], NULL, 0);
        CHECK(sc.result == 1 && !sc.reused && sc.session != NULL);
        sc = against(server, raw_client, versions[i], sc.session, 0);
        CHECK(sc.result == 1 && sc.reused);
        SSL_SESSION_free(sc.session);
    }
    weir_tls_destroy(server);
}

static void case_an_end_without_close_notify_is_an_error(void) {
    struct weir_tls *server = make_server(NULL, NULL);
    struct scene sc = against(server, truncating_client, 0, NULL, 0);
    CHECK(sc.result == 1);
    CHECK(sc.server.status == WEIR_DISCONNECTED);
    CHECK_MSG(strstr(sc.server.reason, "without close_notify") != NULL, "%s", sc.server.reason);
    weir_tls_destroy(server);
}

static void case_a_silent_peer_is_thrown_out_before_anyone_hears_of_it(void) {
    struct weir_tls *server = make_server(NULL, NULL);
    struct scene sc = against(server, silent_client, 0, NULL, 30);
    CHECK(sc.result == 1);
    CHECK_EQ_U64(sc.server.opened, 0);
    weir_tls_destroy(server);
}

static void case_plain_text_on_a_tls_port_is_refused(void) {
    struct weir_tls *server = make_server(NULL, NULL);
    struct scene sc = against(server, plain_client, 0, NULL, 0);
    CHECK(sc.result == 1);
    CHECK_EQ_U64(sc.server.opened, 0);
    weir_tls_destroy(server);
}

/* ---- reload ------------------------------------------------------------------------------- */

/* The serial number that a client sees now. */
static void *serial_client(void *arg) {
    struct scene *sc = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int fd = dial(sc);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
        X509 *cert = SSL_get1_peer_certificate(ssl);
        sc->result = (int)ASN1_INTEGER_get(X509_get0_serialNumber(cert));
        X509_free(cert);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    peer_end(sc);
    return NULL;
}

static int serial(struct weir_tls *server) {
    struct scene sc = against(server, serial_client, 0, NULL, 0);
    return sc.result;
}

static void case_reload_takes_new_files_and_keeps_good_ones(void) {
    char cert[128], key[128];
    snprintf(cert, sizeof(cert), "%s/now.pem", certs.dir);
    snprintf(key, sizeof(key), "%s/now.key", certs.dir);
    certs_copy(certs.server, cert);
    certs_copy(certs.server_key, key);
    struct weir_tls *server =
        make((struct weir_tls_config){.server = true, .cert_path = cert, .key_path = key});
    struct weir_err err = {0};
    bool changed = true;
    CHECK(serial(server) == 1);
    CHECK(weir_tls_reload(server, &changed, &err) == WEIR_OK && !changed);
    certs_copy(certs.server2, cert); /* the pair does not match in between */
    CHECK(weir_tls_reload(server, &changed, &err) == WEIR_INVALID);
    CHECK_MSG(strstr(err.text, "does not belong to certificate") != NULL, "%s", err.text);
    CHECK(serial(server) == 1);
    certs_copy(certs.server2_key, key);
    CHECK(weir_tls_reload(server, &changed, &err) == WEIR_OK && changed);
    CHECK(serial(server) == 2);
    unlink(cert);
    CHECK(weir_tls_reload(server, &changed, &err) == WEIR_NOT_FOUND);
    CHECK_MSG(strstr(err.text, "No such file") != NULL, "%s", err.text);
    CHECK(serial(server) == 2);
    weir_tls_destroy(server);
}

struct echo_thread {
    pthread_t thread;
    uint64_t seed;
    struct weir_tls *server, *client;
    struct echo_result result;
    _Atomic bool done;
};

static void *run_echo(void *arg) {
    struct echo_thread *t = arg;
    t->result = echo_run(t->seed, 60, 1 << 14, t->server, t->client, "localhost");
    atomic_store(&t->done, true);
    return NULL;
}

static void case_reloads_do_not_disturb_other_threads(void) {
    char cert[128], key[128];
    snprintf(cert, sizeof(cert), "%s/moving.pem", certs.dir);
    snprintf(key, sizeof(key), "%s/moving.key", certs.dir);
    certs_copy(certs.server, cert);
    certs_copy(certs.server_key, key);
    struct weir_tls *server =
        make((struct weir_tls_config){.server = true, .cert_path = cert, .key_path = key});
    struct weir_tls *client = make_client(NULL);
    struct echo_thread threads[2];
    for (int i = 0; i < 2; i++) {
        threads[i].seed = check_seed() + (uint64_t)i;
        threads[i].server = server;
        threads[i].client = client;
        atomic_init(&threads[i].done, false);
        CHECK(pthread_create(&threads[i].thread, NULL, run_echo, &threads[i]) == 0);
    }
    unsigned changes = 0;
    while (!atomic_load(&threads[0].done) || !atomic_load(&threads[1].done)) {
        bool changed = false, second = changes % 2 == 0;
        certs_copy(second ? certs.server2 : certs.server, cert);
        certs_copy(second ? certs.server2_key : certs.server_key, key);
        CHECK(weir_tls_reload(server, &changed, NULL) == WEIR_OK && changed);
        changes++;
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i].thread, NULL);
        CHECK_MSG(threads[i].result.wrong == 0, "%s", threads[i].result.first);
        CHECK(!threads[i].result.timed_out);
    }
    CHECK(changes > 1);
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

/* ---- a changed byte ----------------------------------------------------------------------- */

/* A proxy that changes one bit of what goes one way. */
struct proxy {
    struct scene *scene;
    struct weir_listener *listener;
    struct weir_stream *ends[2]; /* of the client, of the server; NULL = closed */
    struct proxy_end {
        struct proxy *proxy;
        int side;
        uint64_t seen;
    } sides[2];
    int flip_side;
    uint64_t flip_at; /* byte */
    bool flipped;
    struct weir_timer patience;
};

static void on_proxy_read(void *arg, struct weir_span bytes) {
    struct proxy_end *e = arg;
    struct proxy *p = e->proxy;
    struct weir_stream *to = p->ends[!e->side];
    if (to == NULL)
        return;
    struct weir_buf *out = weir_stream_out(to);
    size_t before = out->len;
    CHECK(weir_buf_append_span(out, bytes) == WEIR_OK);
    if (e->side == p->flip_side && p->flip_at >= e->seen && p->flip_at < e->seen + bytes.len) {
        out->data[before + (p->flip_at - e->seen)] ^= (char)(1 << p->flip_at % 8);
        p->flipped = true;
    }
    e->seen += bytes.len;
    weir_stream_flush_later(to);
}

static void on_proxy_close(void *arg, enum weir_status status, const char *reason) {
    struct proxy_end *e = arg;
    (void)status;
    (void)reason;
    e->proxy->ends[e->side] = NULL;
    if (e->proxy->ends[!e->side] != NULL)
        weir_stream_close_flushed(e->proxy->ends[!e->side], 1000, "the other end left");
}

static const struct weir_stream_ops proxy_ops = {.on_read = on_proxy_read,
                                                 .on_close = on_proxy_close};

static void on_proxy_accept(void *arg, struct weir_stream *s) {
    struct proxy *p = arg;
    for (int i = 0; i < 2; i++)
        p->sides[i] = (struct proxy_end){p, i, 0};
    p->ends[0] = s;
    weir_stream_adopt(s, &proxy_ops, &p->sides[0]);
    CHECK(weir_stream_connect(p->scene->loop, "127.0.0.1", weir_listener_port(p->scene->listener),
                              NULL, NULL, NULL, &proxy_ops, &p->sides[1], &p->ends[1]) == WEIR_OK);
}

/* Whatever is unchanged gets its answer: only what is not waits for bytes that never come. */
static void on_out_of_patience(void *arg) {
    struct proxy *p = arg;
    struct side *s = &p->scene->client;
    if (s->closed > 0)
        return;
    if (p->flipped)
        weir_stream_close(s->stream, WEIR_TIMEOUT, "no answer");
    else
        CHECK(weir_timer_start(&p->patience, 50) == WEIR_OK);
}

static struct scene through_proxy(struct weir_tls *server, struct weir_tls *client,
                                  struct proxy *p) {
    struct scene sc = {0};
    scene_open(&sc, server, 0);
    p->scene = &sc;
    struct weir_listen_config config = {.ip = "127.0.0.1"};
    CHECK(weir_listen(sc.loop, &config, on_proxy_accept, p, &p->listener, NULL) == WEIR_OK);
    /* A length that grows has the peer wait: our patience ends that, no deadline of the stream. */
    struct weir_stream_limits limits = {.open_ms = 50000};
    CHECK(weir_stream_connect(sc.loop, "127.0.0.1", weir_listener_port(p->listener), client,
                              "localhost", &limits, &client_ops, &sc.client,
                              &sc.client.stream) == WEIR_OK);
    weir_timer_init(&p->patience, sc.loop, on_out_of_patience, p);
    CHECK(weir_timer_start(&p->patience, 150) == WEIR_OK);
    sc.proxy = p->listener;
    scene_close(&sc);
    weir_timer_stop(&p->patience);
    return sc;
}

static void case_a_changed_byte_is_never_taken_for_data(void) {
    struct weir_tls *server = make_server(NULL, NULL), *client = make_client(NULL);
    unsigned flipped = 0, clean = 0;
    for (int side = 0; side < 2; side++) {
        for (uint64_t at = check_seed() % 41; at < 2000; at += 41) {
            struct proxy p = {.flip_side = side, .flip_at = at};
            struct scene sc = through_proxy(server, client, &p);
            CHECK(sc.client.got == 0 || sc.client.got == 5);
            if (p.flipped) {
                flipped++;
                /* Tickets follow the handshake: changing one may come after the answer. */
                CHECK(sc.client.status != WEIR_OK || sc.server.status != WEIR_OK ||
                      sc.client.got == 5);
            } else {
                clean++;
                check_ok(&sc);
            }
        }
    }
    CHECK(flipped > 10 && clean > 10);
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

/* ---- memory runs out ---------------------------------------------------------------------- */

/* Each allocation of ours fails once in the life of a TLS connection (OpenSSL has its own). */
static void case_every_failed_allocation_is_survived(void) {
    struct weir_tls *server = make_server(NULL, NULL), *client = make_client(NULL);
    unsigned whole = 0;
    for (uint64_t k = 1; k < 40; k++) {
        struct scene sc = {0};
        scene_open(&sc, server, 0);
        weir_mem_fail_at(k);
        enum weir_status st =
            weir_stream_connect(sc.loop, "127.0.0.1", weir_listener_port(sc.listener), client,
                                "localhost", NULL, &client_ops, &sc.client, &sc.client.stream);
        CHECK(st == WEIR_OK || (st == WEIR_NOMEM && sc.client.stream == NULL));
        scene_close(&sc);
        weir_mem_fail_at(0);
        CHECK(sc.client.closed == (st == WEIR_OK));
        whole += st == WEIR_OK && sc.client.status == WEIR_OK;
    }
    CHECK(whole > 10 && whole < 39);
    weir_tls_destroy(client);
    weir_tls_destroy(server);
}

/* ---- error texts -------------------------------------------------------------------------- */

static void case_bad_files_are_named(void) {
    char missing[128];
    snprintf(missing, sizeof(missing), "%s/missing.pem", certs.dir);
    const struct {
        struct weir_tls_config config;
        enum weir_status status;
        const char *text;
    } rows[] = {
        {{.server = true}, WEIR_INVALID, "needs both"},
        {{.server = true, .cert_path = missing, .key_path = certs.server_key},
         WEIR_NOT_FOUND,
         "missing.pem: No such file"},
        {{.server = true, .cert_path = certs.garbage, .key_path = certs.server_key},
         WEIR_INVALID,
         "garbage.pem' holds no certificate"},
        {{.server = true, .cert_path = certs.server, .key_path = certs.garbage},
         WEIR_INVALID,
         "garbage.pem' holds no private key"},
        {{.server = true, .cert_path = certs.server, .key_path = certs.server2_key},
         WEIR_INVALID,
         "does not belong to certificate"},
        {{.server = true, .cert_path = certs.server, .key_path = certs.locked_key},
         WEIR_UNSUPPORTED,
         "passphrase"},
        {{.ca_path = certs.garbage}, WEIR_INVALID, "holds no CA certificates"},
        {{.ca_path = certs.dir}, WEIR_IO, "Is a directory"},
        {{.cert_path = certs.client}, WEIR_INVALID, "the key is missing"},
        {{.insecure = true, .alpn = "h2,,x"}, WEIR_INVALID, "ALPN"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct weir_tls *tls = NULL;
        struct weir_err err = {0};
        enum weir_status st = weir_tls_create(&rows[i].config, &tls, &err);
        CHECK_MSG(st == rows[i].status, "row %zu: status %d, text %s", i, (int)st, err.text);
        CHECK_MSG(strstr(err.text, rows[i].text) != NULL, "row %zu: %s", i, err.text);
        CHECK(tls == NULL);
    }
}

int main(void) {
    certs_make(&certs);
    CHECK_RUN(case_echo_over_tls_comes_back_whole);
    CHECK_RUN(case_alpn_takes_the_servers_first_choice);
    CHECK_RUN(case_names_and_authorities_are_verified);
    CHECK_RUN(case_mutual_tls_accepts_its_own_and_refuses_others);
    CHECK_RUN(case_tls_1_2_and_newer);
    CHECK_RUN(case_tickets_resume_sessions);
    CHECK_RUN(case_an_end_without_close_notify_is_an_error);
    CHECK_RUN(case_a_silent_peer_is_thrown_out_before_anyone_hears_of_it);
    CHECK_RUN(case_plain_text_on_a_tls_port_is_refused);
    CHECK_RUN(case_reload_takes_new_files_and_keeps_good_ones);
    CHECK_RUN(case_reloads_do_not_disturb_other_threads);
    CHECK_RUN(case_a_changed_byte_is_never_taken_for_data);
    CHECK_RUN(case_every_failed_allocation_is_survived);
    CHECK_RUN(case_bad_files_are_named);
    certs_remove(&certs);
    return check_finish();
}
