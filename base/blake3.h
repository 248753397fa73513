/*
 * BLAKE3, plain hash of 32 bytes. Model cards name their files by it. Source: the BLAKE3 paper,
 * sections 2.1 to 2.6. Pure; no memory but the caller's; bytes in pieces of any size.
 */
#ifndef WEIR_BASE_BLAKE3_H
#define WEIR_BASE_BLAKE3_H

#include "base/span.h"

enum { WEIR_BLAKE3_BYTES = 32, WEIR_BLAKE3_LEVELS = 54 };

struct weir_blake3 {
    uint32_t stack[WEIR_BLAKE3_LEVELS][8]; /* subtrees that wait for their right half */
    unsigned n_stack;
    /* The chunk that is being filled. */
    uint32_t cv[8];
    uint64_t n_chunks;
    unsigned n_blocks, n_bytes;
    unsigned char block[64];
};

void weir_blake3_init(struct weir_blake3 *h);
void weir_blake3_update(struct weir_blake3 *h, struct weir_span bytes);
/* May be called at any time; more may be added afterwards. */
void weir_blake3_final(const struct weir_blake3 *h, unsigned char ret_hash[WEIR_BLAKE3_BYTES]);
/* 64 lower-case hexadecimal digits and a NUL. */
void weir_blake3_hex(const struct weir_blake3 *h, char ret_text[2 * WEIR_BLAKE3_BYTES + 1]);

#endif
