/* Units: words, or parts of words between safe cuts, on their way to ids. */
#ifndef WEIR_TOKENIZER_UNITS_PRIV_H
#define WEIR_TOKENIZER_UNITS_PRIV_H

#include "tokenizer/encode_priv.h"

static inline struct wtok_memo_line *wtok_line_of(struct wtok_context *ctx, uint64_t hash) {
    return &ctx->memos[hash & ((1u << WTOK_MEMO_BITS) - 1)];
}

static inline bool wtok_is_memo(const struct wtok_memo *memo, uint64_t k0, uint64_t k1,
                                uint32_t key_meta) {
    return ((memo->k0 ^ k0) | (memo->k1 ^ k1) | ((memo->meta & ~0xFF00u) ^ key_meta)) == 0;
}

static inline struct wtok_long *wtok_long_of(struct wtok_context *ctx, uint64_t hash) {
    return &ctx->longs[hash >> (64 - WTOK_LONG_BITS)];
}

/* For a unit that the first entry of its line does not hold. */
enum weir_status wtok_unit_miss(const struct wtok_model *m, struct wtok_context *ctx,
                                const struct wtok_pending *u, struct wtok_out *out) WEIR_MUST_CHECK;
/* Writes the ids of all units that were taken in and are not out yet. */
enum weir_status wtok_units_flush(const struct wtok_model *m, struct wtok_context *ctx,
                                  struct wtok_out *out) WEIR_MUST_CHECK;
/* After an error: forgets them. */
void wtok_units_drop(struct wtok_context *ctx);

/* The ids of a unit are written when the memory of words has them at hand, else it is put aside. */
static inline __attribute__((always_inline)) enum weir_status
wtok_unit_settle(const struct wtok_model *m, struct wtok_context *ctx, const struct wtok_pending *u,
                 struct wtok_out *out) {
    const struct wtok_memo *memo = wtok_line_of(ctx, u->hash)->way;
    if (wtok_is_memo(memo, u->k0, u->k1, u->key_meta) && out->room - out->n >= WTOK_MEMO_IDS) {
        /* Three ids are written, whatever the number that counts. */
        memcpy(out->ids + out->n, memo->ids, sizeof(memo->ids));
        out->n += memo->meta >> 8 & 0xFF;
        return WEIR_OK;
    }
    return wtok_unit_miss(m, ctx, u, out);
}

/* Takes in a unit. Its text must stay until the flush, with 16 bytes to read behind its start. What
 * it needs of the memory of words is asked for, and it waits until others have come behind it. */
static inline __attribute__((always_inline)) enum weir_status
wtok_unit(const struct wtok_model *m, struct wtok_context *ctx, const unsigned char *p, size_t n,
          uint32_t kind, struct wtok_out *out) {
    struct wtok_pending *u = &ctx->pending[ctx->n_pending++ % WTOK_PENDING];
    enum weir_status st = u->len != 0 ? wtok_unit_settle(m, ctx, u, out) : WEIR_OK;
    u->p = p;
    u->len = (uint32_t)n;
    if (n <= 16) {
        wtok_key(p, n, &u->k0, &u->k1);
        u->hash = wtok_key_hash(u->k0, u->k1, n);
        u->key_meta = (uint32_t)n | kind;
        __builtin_prefetch(wtok_line_of(ctx, u->hash));
    } else {
        bool kept = n <= WTOK_LONG_BYTES && kind == 0;
        u->hash = kept ? wtok_hash_long(p, n) : 0;
        u->k0 = u->k1 = 0;
        u->key_meta = kind | 0xFF; /* no memo has it */
        __builtin_prefetch(wtok_long_of(ctx, u->hash));
    }
    return st;
}

#endif
