#include "net/nats_priv.h"

#include <openssl/evp.h>
#include <string.h>

/* A seed: two bytes whose first five bits say "seed" and whose next eight say whose, 32 bytes of
 * the private key, two of the checksum. A public key: one byte of prefix, 32, two. */
enum {
    SEED_CHARS = 58,
    SEED_BYTES = 36,
    PUBLIC_BYTES = 35,
    KEY_BYTES = 32,
    PREFIX_SEED = 18 << 3,
    PREFIX_USER = 20 << 3,
};

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static bool base32_decode(const char *text, size_t n, unsigned char *out, size_t n_out) {
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const char *p = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;
        if (p == NULL)
            return false;
        bits = bits << 5 | (uint32_t)(p - alphabet);
        have += 5;
        if (have < 8)
            continue;
        if (at == n_out)
            return false;
        have -= 8;
        out[at++] = (unsigned char)(bits >> have);
    }
    return at == n_out;
}

static void base32_encode(const unsigned char *bytes, size_t n, char *out) {
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 5; have -= 5)
            *out++ = alphabet[bits >> (have - 5) & 31];
    }
    if (have > 0)
        *out++ = alphabet[bits << (5 - have) & 31];
    *out = '\0';
}

static uint16_t crc16(const unsigned char *bytes, size_t n) {
    uint16_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc = (uint16_t)(crc ^ bytes[i] << 8);
        for (int k = 0; k < 8; k++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static bool public_of(const unsigned char *secret, unsigned char *ret_public) {
    size_t n = KEY_BYTES;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, KEY_BYTES);
    bool ok = key != NULL && EVP_PKEY_get_raw_public_key(key, ret_public, &n) == 1;
    EVP_PKEY_free(key);
    return ok;
}

enum weir_status weir_nats_nkey_public(const char *seed, char ret_public[WEIR_NATS_NKEY_BYTES]) {
    unsigned char raw[SEED_BYTES], out[PUBLIC_BYTES];
    if (strlen(seed) != SEED_CHARS || !base32_decode(seed, SEED_CHARS, raw, SEED_BYTES))
        return WEIR_INVALID;
    uint16_t crc = crc16(raw, SEED_BYTES - 2);
    bool ok = raw[SEED_BYTES - 2] == (crc & 0xff) && raw[SEED_BYTES - 1] == crc >> 8 &&
              (raw[0] & 0xf8) == PREFIX_SEED &&
              ((raw[0] & 7) << 5 | (raw[1] & 0xf8) >> 3) == PREFIX_USER &&
              public_of(raw + 2, out + 1);
    OPENSSL_cleanse(raw, sizeof(raw));
    if (!ok)
        return WEIR_INVALID;
    out[0] = PREFIX_USER;
    crc = crc16(out, PUBLIC_BYTES - 2);
    out[PUBLIC_BYTES - 2] = (unsigned char)(crc & 0xff);
    out[PUBLIC_BYTES - 1] = (unsigned char)(crc >> 8);
    base32_encode(out, PUBLIC_BYTES, ret_public);
    return WEIR_OK;
}
