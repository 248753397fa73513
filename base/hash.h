/*
 * FNV-1a, 64 bits: the same bytes give the same number in every process. For keys and names, not
 * against those who look for collisions. Pure.
 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include "base/span.h"

#define WEIR_HASH_BEGIN 0xcbf29ce484222325u

/* h goes on with one number. It is a step of its own: XORed into the beginning it could cancel with
 * the first byte. */
static inline uint64_t weir_hash_word(uint64_t h, uint64_t word) {
    return (h ^ word) * 0x100000001b3u;
}
/* h goes on with these bytes. */
static inline uint64_t weir_hash_bytes(uint64_t h, const void *data, size_t n) {
    const unsigned char *b = (const unsigned char *)data;
    for (size_t i = 0; i < n; i++)
        h = weir_hash_word(h, b[i]);
    return h;
}
static inline uint64_t weir_hash_span(struct weir_span s) {
    return weir_hash_bytes(WEIR_HASH_BEGIN, s.data, s.len);
}

#endif
