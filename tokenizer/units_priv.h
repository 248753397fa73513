/* Units: words, or parts of words between safe cuts, on their way to ids. */
#ifndef WEIR_TOKENIZER_UNITS_PRIV_H
#define WEIR_TOKENIZER_UNITS_PRIV_H

#include "tokenizer/encode_priv.h"

/* The first of the two entries where a long word may be. */
static inline struct wtok_long *wtok_long_of(struct wtok_context *ctx, uint64_t hash) {
    return &ctx->longs[hash >> (65 - WTOK_LONG_BITS) << 1];
}

/* Looks the pending units up in the memory of words; those that are not there are put aside. */
enum weir_status wtok_units_settle(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct wtok_out *out) WEIR_MUST_CHECK;
/* Writes the ids of all units that were taken in and are not out yet. */
enum weir_status wtok_units_flush(const struct wtok_model *m, struct wtok_context *ctx,
                                  struct wtok_out *out) WEIR_MUST_CHECK;
/* After an error: forgets them. */
void wtok_units_drop(struct wtok_context *ctx);

/* Asks for the line of a unit whose key is in place. */
static inline void wtok_pend(struct wtok_memo_line *memos, struct wtok_pending *u,
                             const unsigned char *p) {
    u->line = wtok_memo_line(memos, wtok_key_hash(u->k0, u->k1));
    u->p = p;
    __builtin_prefetch(u->line);
}

/* Takes in a unit; kind is 0 or WTOK_MEMO_SEGMENT. Its text must stay until the flush, with 16
 * bytes to read behind its start. */
static inline enum weir_status wtok_unit(const struct wtok_model *m, struct wtok_context *ctx,
                                         const unsigned char *p, size_t n, uint64_t kind,
                                         struct wtok_out *out) {
    struct wtok_pending *u = &ctx->pending[ctx->n_pending++];
    if (n <= WTOK_KEY_MAX) {
        wtok_key(p, n, &u->k0, &u->k1);
        u->k1 |= kind;
        wtok_pend(ctx->memos, u, p);
    } else {
        bool kept = n <= WTOK_LONG_BYTES && kind == 0;
        u->k0 = kept ? wtok_hash_long(p, n) : 0;
        u->k1 = kind | WTOK_MEMO_LONG | n;
        u->line = &ctx->no_line;
        u->p = p;
        __builtin_prefetch(wtok_long_of(ctx, u->k0));
        __builtin_prefetch(wtok_long_of(ctx, u->k0) + 1);
    }
    return ctx->n_pending == WTOK_PENDING ? wtok_units_settle(m, ctx, out) : WEIR_OK;
}

#endif
