/*
 * Words to ids: a word cache first, then the vocabulary, then merges, which safe cuts keep short.
 */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;
enum { MEMO_IDS = 3, KEY_MAX = 16, CUT_FROM = 17, SEGMENT = 1 << 16 };

static enum weir_status put_ids(struct wtok_out *out, const uint32_t *ids, size_t n) {
    if (n > out->room - out->n)
        return WEIR_TOO_LARGE;
    memcpy(out->ids + out->n, ids, n * sizeof(*ids));
    out->n += n;
    return WEIR_OK;
}

static enum weir_status put_id(struct wtok_out *out, uint32_t id) {
    return put_ids(out, &id, 1);
}

static enum weir_status merge_into(const struct wtok_model *m, struct wtok_context *ctx,
                                   const u8 *p, size_t n, struct wtok_out *out) {
    size_t got;
    if (out->room - out->n >= n) {
        enum weir_status st = wtok_merge(m, &ctx->heap, p, n, out->ids + out->n, &got);
        out->n += st == WEIR_OK ? got : 0;
        return st;
    }
    if (n > ctx->scratch_room) {
        weir_free(ctx->scratch);
        ctx->scratch_room = n < 256 ? 256 : n;
        ctx->scratch = weir_malloc(ctx->scratch_room * sizeof(*ctx->scratch));
        if (ctx->scratch == NULL) {
            ctx->scratch_room = 0;
            return WEIR_NOMEM;
        }
    }
    enum weir_status st = wtok_merge(m, &ctx->heap, p, n, ctx->scratch, &got);
    return st == WEIR_OK ? put_ids(out, ctx->scratch, got) : st;
}

static struct wtok_memo *memo_of(struct wtok_context *ctx, uint64_t hash) {
    return &ctx->memos[hash & ((1u << WTOK_MEMO_BITS) - 1)];
}

static void remember(struct wtok_memo *memo, uint64_t k0, uint64_t k1, uint32_t key_meta,
                     const uint32_t *ids, size_t n) {
    memo->k0 = k0;
    memo->k1 = k1;
    memo->meta = key_meta | (uint32_t)n << 8;
    for (size_t i = 0; i < n; i++)
        memo->ids[i] = ids[i];
}

/* A part of a word: what merging makes of it. With ignore_merges that may differ from what the
 * same text as a whole word is, so the cache tells them apart. */
static enum weir_status segment(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                size_t n, struct wtok_out *out) {
    bool apart = m->image->ignore_merges != 0;
    if (n > KEY_MAX)
        return merge_into(m, ctx, p, n, out);
    uint64_t k0, k1;
    uint32_t key_meta = (uint32_t)n | (apart ? SEGMENT : 0);
    wtok_key(p, n, &k0, &k1);
    uint64_t hash = wtok_key_hash(k0, k1, n);
    struct wtok_memo *memo = memo_of(ctx, hash);
    if (memo->k0 == k0 && memo->k1 == k1 && (memo->meta & ~0xFF00u) == key_meta)
        return put_ids(out, memo->ids, memo->meta >> 8 & 0xFF);
    uint32_t id = apart ? WTOK_NO_ID : wtok_find_word(m, p, n);
    size_t from = out->n;
    enum weir_status st = id != WTOK_NO_ID ? put_id(out, id) : merge_into(m, ctx, p, n, out);
    if (st == WEIR_OK && out->n - from <= MEMO_IDS)
        remember(memo, k0, k1, key_meta, out->ids + from, out->n - from);
    return st;
}

static enum weir_status cut_word(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                 size_t n, struct wtok_out *out) {
    const u8 *e = p + n, *from = p;
    unsigned len;
    uint32_t x = wtok_char(p, &len);
    enum weir_status st = WEIR_OK;
    for (p += len; p < e && st == WEIR_OK; p += len) {
        uint32_t y = wtok_char(p, &len);
        if (!wtok_cut_joined(m->cuts, x, p[-1], y, *p)) {
            st = segment(m, ctx, from, (size_t)(p - from), out);
            from = p;
        }
        x = y;
    }
    return st == WEIR_OK ? segment(m, ctx, from, (size_t)(e - from), out) : st;
}

/* A word that no cache knew. */
static enum weir_status fresh_word(const struct wtok_model *m, struct wtok_context *ctx,
                                   const u8 *p, size_t n, struct wtok_out *out) {
    uint32_t id = wtok_find_word(m, p, n);
    if (id != WTOK_NO_ID)
        return put_id(out, id);
    /* Unknown characters may fuse into one token over any distance. */
    bool may_cut = m->image->byte_level != 0 || m->image->byte_fallback != 0;
    if (may_cut && (n >= CUT_FROM || (n > 4 && *p >= 0x80)))
        return cut_word(m, ctx, p, n, out);
    return merge_into(m, ctx, p, n, out);
}

enum weir_status wtok_encode_word(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                  size_t n, struct wtok_out *out) {
    if (n > KEY_MAX)
        return fresh_word(m, ctx, p, n, out);
    uint64_t k0, k1;
    wtok_key(p, n, &k0, &k1);
    uint64_t hash = wtok_key_hash(k0, k1, n);
    struct wtok_memo *memo = memo_of(ctx, hash);
    if (memo->k0 == k0 && memo->k1 == k1 && (memo->meta & ~0xFF00u) == n)
        return put_ids(out, memo->ids, memo->meta >> 8 & 0xFF);
    size_t from = out->n;
    enum weir_status st = fresh_word(m, ctx, p, n, out);
    if (st == WEIR_OK && out->n - from <= MEMO_IDS)
        remember(memo, k0, k1, (uint32_t)n, out->ids + from, out->n - from);
    return st;
}

/* ---- words of a text ------------------------------------------------------------------------- */

/* SentencePiece: a word begins at a run of blanks where nothing joins the blank to what is before
 * it; with split_spaces at every blank. */
static const u8 *next_marked(const struct wtok_model *m, const u8 *p, const u8 *e) {
    unsigned n;
    bool every = m->image->split_spaces != 0;
    bool may_cut = m->image->byte_level != 0 || m->image->byte_fallback != 0;
    const u8 *q = p;
    uint32_t x = wtok_char(q, &n);
    for (q += n; q < e; q += n) {
        uint32_t y = wtok_char(q, &n);
        if (y == ' ' &&
            (every || (may_cut && x != ' ' && !wtok_cut_joined(m->cuts, x, q[-1], y, ' '))))
            return q;
        x = y;
    }
    return e;
}

/* A batch of words in three passes: keys, so that the cache lines of all memos are on their way
 * when the second pass asks for them; likewise the vocabulary slots of those that no memo knows;
 * then ids. `ends` are offsets from p. */
static enum weir_status encode_batch(const struct wtok_model *m, struct wtok_context *ctx,
                                     const u8 *p, const uint32_t *ends, size_t n,
                                     struct wtok_out *out) {
    struct {
        uint64_t k0, k1, hash;
        const struct wtok_memo *memo; /* NULL after the second pass: not known */
    } w[WTOK_BLOCK_WORDS];
    enum weir_status st = WEIR_OK;
    uint32_t from = 0;
    for (size_t i = 0; i < n; from = ends[i++]) {
        size_t len = ends[i] - from;
        wtok_key(p + from, len <= KEY_MAX ? len : KEY_MAX, &w[i].k0, &w[i].k1);
        w[i].hash = wtok_key_hash(w[i].k0, w[i].k1, len);
        w[i].memo = memo_of(ctx, w[i].hash);
        __builtin_prefetch(w[i].memo);
    }
    from = 0;
    for (size_t i = 0; i < n; from = ends[i++]) {
        const struct wtok_memo *memo = w[i].memo;
        if (((memo->k0 ^ w[i].k0) | (memo->k1 ^ w[i].k1) |
             ((memo->meta & ~0xFF00u) ^ (ends[i] - from))) == 0)
            continue;
        __builtin_prefetch(&m->words[wtok_word_slot(w[i].hash) & m->word_mask]);
        w[i].memo = NULL;
    }
    from = 0;
    /* Three ids are stored at a time, whatever the number that counts. */
    bool roomy = out->room - out->n >= (size_t)ends[n - 1] + MEMO_IDS;
    for (size_t i = 0; i < n && st == WEIR_OK; from = ends[i++]) {
        /* A word before this one may have taken its memo over: then the key differs. */
        if (roomy && w[i].memo != NULL && w[i].memo->k0 == w[i].k0 && w[i].memo->k1 == w[i].k1 &&
            (w[i].memo->meta & ~0xFF00u) == ends[i] - from) {
            memcpy(out->ids + out->n, w[i].memo->ids, sizeof(w[i].memo->ids));
            out->n += w[i].memo->meta >> 8 & 0xFF;
        } else {
            st = wtok_encode_word(m, ctx, p + from, ends[i] - from, out);
        }
    }
    return st;
}

static size_t find_words(const struct wtok_model *m, const u8 *p, const u8 *stop, const u8 *e,
                         uint32_t *ends) {
    if (m->image->family != WTOK_SPM)
        return wtok_scan_block((enum wtok_isa)m->isa, (enum wtok_family)m->image->family, p, stop,
                               e, ends);
    const u8 *base = p;
    size_t n = 0;
    while (p < stop && n < WTOK_BLOCK_WORDS) {
        p = m->image->blanks_marked != 0 ? next_marked(m, p, e) : e;
        ends[n++] = (uint32_t)(p - base);
    }
    return n;
}

/* Words from *at on, as long as they begin before `stop`; *at becomes where the next would begin.
 */
static enum weir_status words_until(const struct wtok_model *m, struct wtok_context *ctx,
                                    const u8 **at, const u8 *stop, const u8 *e,
                                    struct wtok_out *out) {
    uint32_t ends[WTOK_BLOCK_WORDS];
    const u8 *p = *at;
    enum weir_status st = WEIR_OK;
    while (p < stop && st == WEIR_OK) {
        size_t n = find_words(m, p, stop, e, ends);
        st = encode_batch(m, ctx, p, ends, n, out);
        p += ends[n - 1];
    }
    *at = p;
    return st;
}

enum weir_status wtok_encode_words(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) {
    static const char pad[WTOK_PAD];
    const u8 *p = (const u8 *)text.data, *e = p + text.len;
    enum weir_status st = WEIR_OK;
    if (m->image->family == WTOK_GENERIC)
        return wtok_encode_steps(m, ctx, text, out);
    /* Words are read in whole vectors, which may reach behind the text: its end is worked on in a
     * copy with room behind it. */
    if (text.len > WTOK_PAD)
        st = words_until(m, ctx, &p, e - WTOK_PAD, e, out);
    weir_buf_clear(&ctx->tail);
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->tail, p, (size_t)(e - p));
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->tail, pad, sizeof(pad));
    if (st != WEIR_OK)
        return st;
    p = (const u8 *)ctx->tail.data;
    e = p + ctx->tail.len - sizeof(pad);
    return words_until(m, ctx, &p, e, e, out);
}
