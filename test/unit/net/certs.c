#include "test/unit/net/certs.h"

#include <dirent.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct identity {
    X509 *cert;
    EVP_PKEY *key;
};

static void need(int ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "test certificates: %s failed\n", what);
    abort();
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    need(e != NULL && X509_add_ext(cert, e, -1) == 1, value);
    X509_EXTENSION_free(e);
}

static struct identity issue(const char *name, long serial, const struct identity *ca,
                             const char *alt) {
    struct identity id = {X509_new(), EVP_EC_gen("P-256")};
    need(id.cert != NULL && id.key != NULL, "key");
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), 86400);
    X509_NAME *subject = X509_get_subject_name(id.cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(id.cert, id.key);
    X509 *issuer = ca != NULL ? ca->cert : id.cert;
    X509_set_issuer_name(id.cert, X509_get_subject_name(issuer));
    if (ca == NULL)
        extend(id.cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
    if (alt != NULL)
        extend(id.cert, issuer, NID_subject_alt_name, alt);
    need(X509_sign(id.cert, ca != NULL ? ca->key : id.key, EVP_sha256()) > 0, "sign");
    return id;
}

static FILE *create(char *path, size_t size, const char *dir, const char *name) {
    snprintf(path, size, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    need(f != NULL, path);
    return f;
}

static void write_cert(const struct identity *id, struct certs *c, char *path, const char *name) {
    FILE *f = create(path, 96, c->dir, name);
    need(PEM_write_X509(f, id->cert) == 1, path);
    fclose(f);
}

static void write_key(const struct identity *id, struct certs *c, char *path, const char *name,
                      const char *password) {
    FILE *f = create(path, 96, c->dir, name);
    need(PEM_write_PrivateKey(f, id->key, password != NULL ? EVP_aes_128_cbc() : NULL,
                              (const unsigned char *)password,
                              password != NULL ? (int)strlen(password) : 0, NULL, NULL) == 1,
         path);
    fclose(f);
}

static void drop(struct identity *id) {
    X509_free(id->cert);
    EVP_PKEY_free(id->key);
}

void certs_make(struct certs *c) {
    memset(c, 0, sizeof(*c));
    snprintf(c->dir, sizeof(c->dir), "/tmp/weir-net-XXXXXX");
    need(mkdtemp(c->dir) != NULL, "mkdtemp");
    const char *names = "DNS:localhost,IP:127.0.0.1";
    struct identity ca = issue("Test CA", 100, NULL, NULL);
    struct identity other = issue("Other CA", 101, NULL, NULL);
    struct identity server = issue("server", 1, &ca, names);
    struct identity server2 = issue("server", 2, &ca, names);
    struct identity client = issue("client", 3, &ca, NULL);
    struct identity stranger = issue("stranger", 4, &other, NULL);
    write_cert(&ca, c, c->ca, "ca.pem");
    write_cert(&other, c, c->other_ca, "other.pem");
    write_cert(&server, c, c->server, "server.pem");
    write_key(&server, c, c->server_key, "server.key", NULL);
    write_key(&server, c, c->locked_key, "locked.key", "secret");
    write_cert(&server2, c, c->server2, "server2.pem");
    write_key(&server2, c, c->server2_key, "server2.key", NULL);
    write_cert(&client, c, c->client, "client.pem");
    write_key(&client, c, c->client_key, "client.key", NULL);
    write_cert(&stranger, c, c->stranger, "stranger.pem");
    write_key(&stranger, c, c->stranger_key, "stranger.key", NULL);
    FILE *f = create(c->garbage, sizeof(c->garbage), c->dir, "garbage.pem");
    fputs("not a certificate\n", f);
    fclose(f);
    drop(&ca);
    drop(&other);
    drop(&server);
    drop(&server2);
    drop(&client);
    drop(&stranger);
}

void certs_remove(struct certs *c) {
    DIR *dir = opendir(c->dir);
    need(dir != NULL, c->dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(c->dir);
}

void certs_copy(const char *from, const char *to) {
    char text[16384];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    need(in != NULL && out != NULL, to);
    size_t n = fread(text, 1, sizeof(text), in);
    need(fwrite(text, 1, n, out) == n, to);
    fclose(in);
    fclose(out);
}
