/* A text to ids: added tokens cut it into sections, sections are normalized, words are looked up.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/segments_priv.h"
#include "tokenizer/wtok_priv.h"

static enum weir_status put_all(struct wtok_out *out, const uint32_t *ids, size_t n) {
    if (n > out->room - out->n)
        return WEIR_TOO_LARGE;
    memcpy(out->ids + out->n, ids, n * sizeof(*ids));
    out->n += n;
    return WEIR_OK;
}

/* A run of normalized text between added tokens. */
static enum weir_status encode_run(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, bool first, struct wtok_out *out) {
    if (text.len == 0)
        return WEIR_OK;
    if (wtok_metaspace_is_done(m, text, first))
        return wtok_encode_words(m, ctx, text, out);
    weir_buf_clear(&ctx->marked);
    enum weir_status st = wtok_metaspace(m, text, first, &ctx->marked);
    return st != WEIR_OK ? st : wtok_encode_words(m, ctx, weir_buf_span(&ctx->marked), out);
}

/* How a section is to be read. The bits tell apart equal texts in the segment cache. */
enum section_kind {
    SECTION_FIRST = 1,   /* the text begins with it */
    SECTION_PREPEND = 2, /* it is a whole section, not the rest of one that was cut for parts */
    SECTION_SPECIAL = 4, /* special tokens count */
};

/* A section of raw text between added tokens that are found before normalization. */
static enum weir_status encode_section(const struct wtok_model *m, struct wtok_context *ctx,
                                       struct weir_span text, unsigned kind, struct wtok_out *out) {
    enum weir_status st = WEIR_OK;
    bool first = (kind & SECTION_FIRST) != 0;
    if (!wtok_section_is_normal(m, text)) {
        weir_buf_clear(&ctx->normal);
        st = wtok_normalize_section(m, text, (kind & SECTION_PREPEND) != 0, &ctx->normal);
        text = weir_buf_span(&ctx->normal);
    }
    if (st != WEIR_OK || text.len == 0) /* nothing may have no address */
        return st;
    struct wtok_finder f = {.m = m,
                            .text = (const unsigned char *)text.data,
                            .len = text.len,
                            .which = 1,
                            .special = (kind & SECTION_SPECIAL) != 0};
    size_t from, to, done = 0;
    uint32_t id;
    while (st == WEIR_OK && wtok_find_added(&f, &from, &to, &id)) {
        if (from > done)
            st = encode_run(m, ctx, weir_span(text.data + done, from - done), first && done == 0,
                            out);
        if (st == WEIR_OK)
            st = wtok_put_id(out, id);
        done = to;
    }
    if (st == WEIR_OK && text.len > done)
        st = encode_run(m, ctx, weir_span(text.data + done, text.len - done), first && done == 0,
                        out);
    return st;
}

/*
 * With a segment cache a text is checked section by section, and only those that it does not hold
 * (what it holds was checked before). It comes to the same: added tokens are valid by themselves,
 * and they and the cuts begin with the first byte of a character. Not where a token looks at the
 * characters beside it.
 */
static bool checked_in_pieces(const struct wtok_model *m, bool keep) {
    return m->segments != NULL && keep && m->may_be_cut;
}

struct piece {
    struct weir_span text;
    unsigned kind;
    bool cached; /* it goes through the cache, by this hash */
    uint64_t hash;
};

static enum weir_status cached_section(const struct wtok_model *m, struct wtok_context *ctx,
                                       const struct piece *p, bool keep, struct wtok_out *out) {
    size_t from = out->n;
    enum weir_status st = WEIR_NOT_FOUND;
    if (p->cached)
        st = wtok_segments_get(m->segments, p->text, p->kind, p->hash, out);
    if (st != WEIR_NOT_FOUND)
        return st;
    if (checked_in_pieces(m, keep) && !weir_utf8_valid(p->text))
        return WEIR_INVALID;
    st = encode_section(m, ctx, p->text, p->kind, out);
    if (st == WEIR_OK && p->cached)
        wtok_segments_put(m->segments, p->text, p->kind, p->hash, out->ids + from, out->n - from);
    return st;
}

/* What is left of a section, and where its next piece may end. */
struct cutter {
    const struct wtok_model *m;
    struct weir_span rest;
    unsigned kind;
    size_t done;
    bool cut, keep;
};

static struct piece next_piece(struct cutter *c) {
    size_t least = c->done / 8 > WTOK_PIECE ? c->done / 8 : WTOK_PIECE;
    size_t at = c->cut && c->rest.len > least ? wtok_next_cut(c->m, c->rest, least) : c->rest.len;
    struct piece p = {.text = weir_span(c->rest.data, at), .kind = c->kind};
    p.cached = c->m->segments != NULL && c->keep && at >= WTOK_SEGMENT_MIN;
    if (p.cached)
        p.hash = wtok_segments_hash(c->m->segments, p.text, p.kind);
    c->rest = weir_span(c->rest.data + at, c->rest.len - at);
    c->kind &= SECTION_SPECIAL;
    c->done += at;
    return p;
}

/* A long section goes through the cache in pieces, so that prompts that begin alike share them.
 * Each is hashed two before its turn and fetched one before it: the cache is much larger than that
 * of the processor. */
static enum weir_status encode_pieces(const struct wtok_model *m, struct wtok_context *ctx,
                                      struct weir_span text, unsigned kind, bool keep,
                                      struct wtok_out *out) {
    struct cutter c = {.m = m, .rest = text, .kind = kind, .keep = keep};
    struct piece ahead[3];
    enum weir_status st = WEIR_OK;
    c.cut = checked_in_pieces(m, keep);
    for (size_t i = 0, n = 0; st == WEIR_OK; i++) {
        for (; n < i + WEIR_ARRAY_LEN(ahead) && c.rest.len > 0; n++)
            ahead[n % WEIR_ARRAY_LEN(ahead)] = next_piece(&c);
        if (i == n)
            break;
        const struct piece *next = &ahead[(i + 1) % WEIR_ARRAY_LEN(ahead)];
        if (i + 1 < n && next->cached)
            wtok_segments_fetch(m->segments, next->text, next->hash);
        st = cached_section(m, ctx, &ahead[i % WEIR_ARRAY_LEN(ahead)], keep, out);
    }
    return st;
}

static enum weir_status encode_text(const struct wtok_model *m, struct wtok_context *ctx,
                                    struct weir_span text, unsigned flags, struct wtok_out *out) {
    struct wtok_finder f = {.m = m,
                            .text = (const unsigned char *)text.data,
                            .len = text.len,
                            .which = 0,
                            .special = (flags & WTOK_SPECIAL) != 0};
    bool keep = (flags & WTOK_NO_CACHE) == 0, more = true;
    unsigned special = f.special ? SECTION_SPECIAL : 0;
    unsigned kind = special | ((flags & WTOK_CONTINUES) == 0 ? SECTION_FIRST | SECTION_PREPEND : 0);
    size_t done = 0;
    enum weir_status st = WEIR_OK;
    while (more && st == WEIR_OK) {
        size_t from = text.len, to = text.len;
        uint32_t id = WTOK_NO_ID;
        more = wtok_find_added(&f, &from, &to, &id);
        if (from > done)
            st = encode_pieces(m, ctx, weir_span(text.data + done, from - done), kind, keep, out);
        if (more && st == WEIR_OK)
            st = wtok_put_id(out, id);
        kind = special | SECTION_PREPEND;
        done = to;
    }
    return st;
}

enum weir_status wtok_model_encode(const struct wtok_model *m, struct weir_span text,
                                   unsigned flags, uint32_t *ids, size_t room, size_t *ret_n) {
    struct wtok_out out = {.ids = ids, .room = room};
    enum weir_status st = WEIR_OK;
    if (!checked_in_pieces(m, (flags & WTOK_NO_CACHE) == 0) && !weir_utf8_valid(text))
        return WEIR_INVALID;
    if ((flags & WTOK_ADD_SPECIAL) != 0)
        st = put_all(&out, m->prefix, m->n_prefix);
    if (st == WEIR_OK && text.len > 0) {
        struct wtok_context *ctx = wtok_context_take(m);
        if (ctx == NULL)
            return WEIR_NOMEM;
        st = encode_text(m, ctx, text, flags, &out);
        wtok_context_give(m, ctx);
    }
    if (st == WEIR_OK && (flags & WTOK_ADD_SPECIAL) != 0)
        st = put_all(&out, m->suffix, m->n_suffix);
    if (st == WEIR_OK)
        *ret_n = out.n;
    return st;
}

size_t wtok_model_bound(const struct wtok_model *m, size_t bytes) {
    size_t factor = 1;
    for (size_t i = 0; i < m->n_normalizers; i++)
        switch (m->normalizers[i].kind) {
        case WTOK_STEP_NFC: /* U+1D160: 4 bytes become 12 */
        case WTOK_STEP_NFD: /* U+0390: 2 bytes become 6 */
            factor *= 3;
            break;
        case WTOK_STEP_NFKC: /* U+FDFA: 3 bytes become 33 */
        case WTOK_STEP_NFKD:
            factor *= 11;
            break;
        case WTOK_STEP_BERT: /* the same: nothing else makes as much, nor both in turn more */
            factor *= 3;
            break;
        case WTOK_STEP_REPLACE:
            factor *= 1 + m->normalizers[i].b.len / (m->normalizers[i].a.len + 0u);
            break;
        case WTOK_STEP_PREPEND: /* once for each section, which has at least a byte */
            factor *= 1 + m->normalizers[i].a.len;
            break;
        default:
            break;
        }
    /* A blank in front of each section; sections and added tokens take turns. */
    size_t blanks = m->image->prepend != WTOK_PREPEND_NEVER ? bytes / 2 + 1 : 0;
    return bytes * factor + blanks + m->n_prefix + m->n_suffix + 4;
}
