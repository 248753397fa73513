#include "base/blake3.h"

enum { CHUNK = 1024, BLOCK = 64, START = 1, END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* What is compressed last at a place of the tree; whether as root is known only at the end. */
struct node {
    uint32_t cv[8], block[16];
    uint64_t counter;
    uint32_t len, flags;
};

static uint32_t rotr(uint32_t x, unsigned n) {
    return x >> n | x << (32 - n);
}

static void mix(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y) {
    v[a] += v[b] + x;
    v[d] = rotr(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotr(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotr(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotr(v[b] ^ v[c], 7);
}

/* The chaining value of a node (its first 32 bytes of output). `out` may be the node's cv. */
static void compress(const struct node *n, uint32_t flags, uint32_t out[8]) {
    /* Words of the message in each of the seven rounds: the permutation applied over and over. */
    static const unsigned char order[7][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
        {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
        {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
        {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
        {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
        {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};
    uint32_t v[16];
    memcpy(v, n->cv, sizeof(n->cv));
    memcpy(v + 8, iv, 16);
    v[12] = (uint32_t)n->counter;
    v[13] = (uint32_t)(n->counter >> 32);
    v[14] = n->len;
    v[15] = n->flags | flags;
    for (int r = 0; r < 7; r++) {
        const unsigned char *o = order[r];
        const uint32_t *m = n->block;
        mix(v, 0, 4, 8, 12, m[o[0]], m[o[1]]);
        mix(v, 1, 5, 9, 13, m[o[2]], m[o[3]]);
        mix(v, 2, 6, 10, 14, m[o[4]], m[o[5]]);
        mix(v, 3, 7, 11, 15, m[o[6]], m[o[7]]);
        mix(v, 0, 5, 10, 15, m[o[8]], m[o[9]]);
        mix(v, 1, 6, 11, 12, m[o[10]], m[o[11]]);
        mix(v, 2, 7, 8, 13, m[o[12]], m[o[13]]);
        mix(v, 3, 4, 9, 14, m[o[14]], m[o[15]]);
    }
    for (int i = 0; i < 8; i++)
        out[i] = v[i] ^ v[i + 8];
}

static struct node parent(const uint32_t left[8], const uint32_t right[8]) {
    struct node n = {.len = BLOCK, .flags = PARENT};
    memcpy(n.cv, iv, sizeof(iv));
    memcpy(n.block, left, 32);
    memcpy(n.block + 8, right, 32);
    return n;
}

/* The block that is being filled, as a node of its chunk. */
static struct node current(const struct weir_blake3 *h) {
    struct node n = {
        .counter = h->n_chunks, .len = h->n_bytes, .flags = h->n_blocks == 0 ? START : 0};
    memcpy(n.cv, h->cv, sizeof(h->cv));
    for (unsigned i = 0; i < h->n_bytes; i++)
        n.block[i / 4] |= (uint32_t)h->block[i] << (8 * (i % 4));
    return n;
}

static void begin_chunk(struct weir_blake3 *h) {
    memcpy(h->cv, iv, sizeof(iv));
    h->n_blocks = h->n_bytes = 0;
}

/* A chunk is whole and not the last: it is joined with every subtree of its own size. */
static void end_chunk(struct weir_blake3 *h) {
    uint32_t cv[8];
    struct node n = current(h);
    compress(&n, END, cv);
    h->n_chunks++;
    for (uint64_t total = h->n_chunks; (total & 1) == 0; total >>= 1) {
        n = parent(h->stack[--h->n_stack], cv);
        compress(&n, 0, cv);
    }
    memcpy(h->stack[h->n_stack++], cv, sizeof(cv));
    begin_chunk(h);
}

void weir_blake3_init(struct weir_blake3 *h) {
    *h = (struct weir_blake3){0};
    begin_chunk(h);
}

/* A full block or chunk is worked off only when more comes: the last one is special. */
void weir_blake3_update(struct weir_blake3 *h, struct weir_span bytes) {
    while (bytes.len > 0) {
        if (h->n_bytes == BLOCK && h->n_blocks == CHUNK / BLOCK - 1) {
            end_chunk(h);
        } else if (h->n_bytes == BLOCK) {
            struct node n = current(h);
            compress(&n, 0, h->cv);
            h->n_blocks++;
            h->n_bytes = 0;
        }
        size_t take = BLOCK - h->n_bytes < bytes.len ? BLOCK - h->n_bytes : bytes.len;
        memcpy(h->block + h->n_bytes, bytes.data, take);
        h->n_bytes += (unsigned)take;
        bytes = weir_span(bytes.data + take, bytes.len - take);
    }
}

void weir_blake3_final(const struct weir_blake3 *h, unsigned char ret_hash[WEIR_BLAKE3_BYTES]) {
    struct node n = current(h);
    n.flags |= END;
    uint32_t cv[8];
    for (unsigned i = h->n_stack; i-- > 0;) {
        compress(&n, 0, cv);
        n = parent(h->stack[i], cv);
    }
    n.counter = 0;
    compress(&n, ROOT, cv);
    for (unsigned i = 0; i < WEIR_BLAKE3_BYTES; i++)
        ret_hash[i] = (unsigned char)(cv[i / 4] >> (8 * (i % 4)));
}

void weir_blake3_hex(const struct weir_blake3 *h, char ret_text[2 * WEIR_BLAKE3_BYTES + 1]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[WEIR_BLAKE3_BYTES];
    weir_blake3_final(h, hash);
    for (unsigned i = 0; i < WEIR_BLAKE3_BYTES; i++) {
        ret_text[2 * i] = digits[hash[i] >> 4];
        ret_text[2 * i + 1] = digits[hash[i] & 15];
    }
    ret_text[2 * WEIR_BLAKE3_BYTES] = '\0';
}
