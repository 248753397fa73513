#include "net/sha256.h"

#include "base/mem.h"

#include <openssl/evp.h>

struct weir_sha256 {
    EVP_MD_CTX *ctx;
    bool failed;
};

enum weir_status weir_sha256_create(struct weir_sha256 **ret_sha) {
    struct weir_sha256 *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->ctx = EVP_MD_CTX_new();
    if (s->ctx == NULL || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1) {
        weir_sha256_destroy(s);
        return WEIR_NOMEM;
    }
    *ret_sha = s;
    return WEIR_OK;
}

void weir_sha256_add(struct weir_sha256 *sha, struct weir_span bytes) {
    if (bytes.len > 0 && EVP_DigestUpdate(sha->ctx, bytes.data, bytes.len) != 1)
        sha->failed = true;
}

enum weir_status weir_sha256_end(struct weir_sha256 *sha, char ret_digest[WEIR_SHA256_BYTES]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (sha->failed || EVP_DigestFinal_ex(sha->ctx, digest, &n) != 1 || n != WEIR_SHA256_BYTES)
        return WEIR_INTERNAL;
    memcpy(ret_digest, digest, WEIR_SHA256_BYTES);
    return WEIR_OK;
}

void weir_sha256_destroy(struct weir_sha256 *sha) {
    if (sha == NULL)
        return;
    EVP_MD_CTX_free(sha->ctx);
    weir_free(sha);
}
