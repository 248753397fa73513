/*
 * Numbers on the wire, most significant byte first: one load and a swap of each width. (Compilers
 * see that in shifts written out, but not in a loop over bytes.) Nothing needs to be aligned.
 */
#ifndef WEIR_BASE_BIG_ENDIAN_H
#define WEIR_BASE_BIG_ENDIAN_H

#include <stdint.h>

static inline uint16_t weir_be16(const void *at) {
    const unsigned char *p = at;
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t weir_be32(const void *at) {
    const unsigned char *p = at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t weir_be64(const void *at) {
    const unsigned char *p = at;
    return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 |
           (uint64_t)p[3] << 32 | (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 |
           (uint64_t)p[6] << 8 | p[7];
}

#endif
