/*
 * A text to words and their parts ("units"), which units.c turns into ids many at a time.
 */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/unicode.h"
#include "tokenizer/units_priv.h"
#include "tokenizer/wordpiece_priv.h"

typedef unsigned char u8;

/* ---- words to units -------------------------------------------------------------------------- */

/* Unknown characters may fuse into one token over any distance; then nothing is cut. */
static bool cuts_allowed(const struct wtok_model *m) {
    return m->image->byte_level != 0 || m->image->byte_fallback != 0;
}

/* The parts between safe cuts. Where the whole word may be a token that merging would not give
 * (ignore_merges), that is looked up first. */
static enum weir_status add_cut(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                size_t n, struct wtok_out *out) {
    const u8 *e = p + n;
    uint64_t kind = 0;
    enum weir_status st = WEIR_OK;
    if (m->image->ignore_merges != 0) {
        if (wtok_find_word(m, p, n) != WTOK_NO_ID)
            return wtok_unit(m, ctx, p, n, 0, out);
        kind = WTOK_MEMO_SEGMENT;
    }
    for (const u8 *from = p; from < e && st == WEIR_OK;) {
        uint32_t offsets[65];
        unsigned count;
        uint64_t places = wtok_cut_places(m->cuts, p, e, offsets, &count);
        for (; places != 0 && st == WEIR_OK; places &= places - 1) {
            const u8 *to = p + offsets[__builtin_ctzll(places)];
            st = wtok_unit(m, ctx, from, (size_t)(to - from), kind, out);
            from = to;
        }
        if (p + offsets[count] == e) {
            st = st == WEIR_OK ? wtok_unit(m, ctx, from, (size_t)(e - from), kind, out) : st;
            break;
        }
        p += offsets[count - 1]; /* the last character is the first of the next turn */
    }
    return st;
}

static enum weir_status add_word(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                 size_t n, struct wtok_out *out) {
    /* Words of plain ASCII are rarely cut and often come again, so they are kept whole. */
    bool plain = ((*p | p[1] | p[n - 1]) & 0x80) == 0;
    if ((plain && n <= WTOK_LONG_BYTES) || n <= 4 || !cuts_allowed(m))
        return wtok_unit(m, ctx, p, n, 0, out);
    return add_cut(m, ctx, p, n, out);
}

/* Takes in the first of the words whose ends, as offsets from p, lie from *ends to stop, up to one
 * that is not of the usual kind: too long for a key or, where `plain` does not rule it out, to be
 * cut. Writes the units from u on; *ends becomes the first that was not taken. `at` is where the
 * first begins. */
static inline __attribute__((always_inline)) struct wtok_pending *
usual_words(struct wtok_memo_line *memos, struct wtok_pending *u, const u8 *p, uint32_t at,
            const uint32_t **ends, const uint32_t *stop, const bool plain) {
    const uint64_t high = 0x8080808080808080u;
    const uint32_t *end = *ends;
    const u8 *q = p + at;
    for (; end < stop; end++, u++) {
        uint32_t len = *end - at;
        if (__builtin_expect(len > WTOK_KEY_MAX, 0))
            break;
        uint64_t k0, k1;
        wtok_key(q, len, &k0, &k1);
        if (!plain && ((k0 | k1) & high) != 0 && len > 4)
            break;
        u->k0 = k0;
        u->k1 = k1;
        wtok_pend(memos, u, q);
        q += len;
        at = *end;
    }
    *ends = end;
    return u;
}

/* True when none of n bytes is above 0x7F; may say false where one of the next 63 is, which must be
 * readable. */
static bool is_plain(const u8 *p, size_t n) {
    uint64_t any = 0;
    for (size_t i = 0; i < n; i += 64) {
        uint64_t x[8];
        memcpy(x, p + i, sizeof(x));
        any |= x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7];
    }
    return (any & 0x8080808080808080u) == 0;
}

/* Words in a row, from p on; their ends are offsets from it. */
static __attribute__((noinline)) enum weir_status add_words(const struct wtok_model *m,
                                                            struct wtok_context *ctx, const u8 *p,
                                                            const uint32_t *ends, size_t n,
                                                            struct wtok_out *out) {
    const uint32_t *end = ends, *stop = ends + n;
    /* The last word may reach far, but what has no key does not count. */
    const bool plain = is_plain(p, (n > 1 ? ends[n - 2] : 0) + WTOK_KEY_MAX);
    enum weir_status st = WEIR_OK;
    while (end < stop && st == WEIR_OK) {
        uint32_t at = end > ends ? end[-1] : 0;
        size_t room = WTOK_PENDING - ctx->n_pending;
        const uint32_t *full = (size_t)(stop - end) < room ? stop : end + room;
        struct wtok_pending *u = ctx->pending + ctx->n_pending;
        u = plain ? usual_words(ctx->memos, u, p, at, &end, full, true)
                  : usual_words(ctx->memos, u, p, at, &end, full, false);
        ctx->n_pending = (size_t)(u - ctx->pending);
        if (ctx->n_pending == WTOK_PENDING) {
            st = wtok_units_settle(m, ctx, out);
        } else if (end < full) {
            at = end > ends ? end[-1] : 0;
            st = add_word(m, ctx, p + at, *end++ - at, out);
        }
    }
    return st;
}

enum weir_status wtok_encode_word(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                  size_t n, struct wtok_out *out) {
    return add_word(m, ctx, p, n, out);
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

/* SentencePiece: up to n ends of the words from p on. */
static size_t marked_words(const struct wtok_model *m, const u8 *p, const u8 *stop, const u8 *e,
                           uint32_t *ends, size_t room) {
    const u8 *base = p;
    size_t n = 0;
    while (p < stop && n < room) {
        p = m->image->blanks_marked != 0 ? next_marked(m, p, e) : e;
        ends[n++] = (uint32_t)(p - base);
    }
    return n;
}

/* Two stretches of text are scanned in turns (scan_two): bytes of one, and how far behind them a
 * place to cut is looked for. Every byte may be a word. */
enum { TURN = 2048, TURN_MIN = 128, LOOK = 256, TURN_ENDS = TURN + LOOK + WTOK_BLOCK_ROOM };

/* The place between the two, in the text of which words up to stop are wanted; or stop. */
static const u8 *middle(const struct wtok_model *m, const u8 *p, const u8 *stop) {
    size_t left = (size_t)(stop - p), half = left / 2 < TURN ? left / 2 : TURN;
    if (half < TURN_MIN || !m->may_be_cut)
        return stop;
    struct weir_span text = weir_span((const char *)p, left < half + LOOK ? left : half + LOOK);
    size_t cut = wtok_next_cut(m, text, half);
    return cut < text.len ? p + cut : stop;
}

static struct wtok_scan scan_of(const u8 *p, const u8 *stop, const u8 *e, uint32_t *ends) {
    const u8 *far = stop - p > TURN + LOOK ? p + TURN + LOOK : stop;
    return (struct wtok_scan){.p = p, .stop = far, .e = e, .ends = ends, .room = TURN_ENDS};
}

/* The words from *at on, as long as they begin before `stop`, but of a long text only the first;
 * *at becomes where the next would begin. */
static enum weir_status scanned_words(const struct wtok_model *m, struct wtok_context *ctx,
                                      const u8 **at, const u8 *stop, const u8 *e,
                                      struct wtok_out *out) {
    uint32_t ends[2][TURN_ENDS];
    const u8 *p = *at, *mid = middle(m, p, stop);
    /* No word reaches over the place: to the first stretch it is the end of the text. */
    struct wtok_scan a = scan_of(p, mid, mid < stop ? mid : e, ends[0]);
    struct wtok_scan b = scan_of(mid, stop, e, ends[1]);
    wtok_scan_two((enum wtok_isa)m->isa, (enum wtok_family)m->image->family, &a, &b);
    enum weir_status st = add_words(m, ctx, p, a.ends, a.n, out);
    *at = a.p;
    if (a.p == mid && b.n > 0 && st == WEIR_OK) {
        st = add_words(m, ctx, mid, b.ends, b.n, out);
        *at = b.p;
    }
    return st;
}

/* Words from *at on, as long as they begin before `stop`; *at becomes where the next would begin.
 */
static enum weir_status words_until(const struct wtok_model *m, struct wtok_context *ctx,
                                    const u8 **at, const u8 *stop, const u8 *e,
                                    struct wtok_out *out) {
    uint32_t ends[128];
    enum weir_status st = WEIR_OK;
    while (*at < stop && st == WEIR_OK) {
        if (m->image->family != WTOK_SPM) {
            st = scanned_words(m, ctx, at, stop, e, out);
        } else {
            size_t n = marked_words(m, *at, stop, e, ends, WEIR_ARRAY_LEN(ends));
            st = add_words(m, ctx, *at, ends, n, out);
            *at += ends[n - 1];
        }
    }
    return st;
}

enum weir_status wtok_encode_words(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) {
    static const char pad[WTOK_PAD];
    const u8 *p = (const u8 *)text.data, *e = p + text.len;
    enum weir_status st = WEIR_OK;
    if (m->image->family == WTOK_GENERIC)
        return wtok_encode_steps(m, ctx, text, out);
    if (m->image->family == WTOK_WORDPIECE)
        return wtok_encode_wordpiece(m, ctx, text, out);
    /* Words are read in whole vectors, which may reach behind the text: its end is worked on in a
     * copy with room behind it. */
    if (text.len > WTOK_PAD)
        st = words_until(m, ctx, &p, e - WTOK_PAD, e, out);
    /* Units point into the text, so those of the copy are settled before it is used again. */
    weir_buf_clear(&ctx->tail);
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->tail, p, (size_t)(e - p));
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->tail, pad, sizeof(pad));
    if (st == WEIR_OK) {
        p = (const u8 *)ctx->tail.data;
        e = p + ctx->tail.len - sizeof(pad);
        st = words_until(m, ctx, &p, e, e, out);
    }
    if (st == WEIR_OK)
        st = wtok_units_flush(m, ctx, out);
    if (st != WEIR_OK)
        wtok_units_drop(ctx);
    return st;
}
