/*
 * The tokenizers of BERT and of most embedding models: their normalizer, their words, the pieces of
 * a word by the longest entries of the vocabulary, and the text of pieces. Tables of characters are
 * the reference's own (scripts/unicode-tables). A text is read a few times over, each time from
 * front to end; a word costs at most one look-up for each of its characters and each length that an
 * entry has.
 */
#include "tokenizer/wordpiece_priv.h"

#include "base/utf8.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;

static bool within(const struct wtok_range *ranges, size_t n, uint32_t code) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (ranges[mid].to < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && ranges[lo].from <= code;
}

static bool is_blank(uint32_t code) {
    return (wtok_class_of(code) & WTOK_WS) != 0;
}

/* ---- normalizer ------------------------------------------------------------------------------ */

/* Without control characters, with spaces for other blanks and around ideographs. */
static enum weir_status clean(struct weir_span text, unsigned flags, struct weir_buf *out) {
    const u8 *p = (const u8 *)text.data, *e = p + text.len;
    enum weir_status st = WEIR_OK;
    unsigned n;
    for (; p < e && st == WEIR_OK; p += n) {
        uint32_t code = wtok_char(p, &n);
        if ((flags & WTOK_BERT_CLEAN) != 0) {
            if (within(wtok_bert_control, wtok_n_bert_control, code))
                continue;
            if (is_blank(code)) {
                st = weir_buf_append_c(out, ' ');
                continue;
            }
        }
        bool apart = (flags & WTOK_BERT_IDEOGRAPHS) != 0 &&
                     within(wtok_bert_ideograph, wtok_n_bert_ideograph, code);
        if (apart)
            st = weir_buf_append_c(out, ' ');
        if (st == WEIR_OK)
            st = weir_buf_append(out, p, n);
        if (st == WEIR_OK && apart)
            st = weir_buf_append_c(out, ' ');
    }
    return st;
}

static enum weir_status append_lower(struct weir_buf *out, uint32_t code) {
    enum { I_WITH_DOT = 0x130 }; /* the one character that becomes two */
    size_t lo = 0, hi = wtok_n_lower;
    char utf8[4];
    if (code == I_WITH_DOT)
        return weir_buf_append_z(out, "i\xCC\x87");
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (wtok_lower[mid].code < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < wtok_n_lower && wtok_lower[lo].code == code)
        code = wtok_lower[lo].lower;
    return weir_buf_append(out, utf8, weir_utf8_encode(code, utf8));
}

/* Without accents (the text is decomposed), in lower case. */
static enum weir_status fold(struct weir_span text, unsigned flags, struct weir_buf *out) {
    const u8 *p = (const u8 *)text.data, *e = p + text.len;
    enum weir_status st = WEIR_OK;
    unsigned n;
    for (; p < e && st == WEIR_OK; p += n) {
        uint32_t code = wtok_char(p, &n);
        if ((flags & WTOK_BERT_ACCENTS) != 0 && within(wtok_bert_mark, wtok_n_bert_mark, code))
            continue;
        st = (flags & WTOK_BERT_LOWER) != 0 ? append_lower(out, code) : weir_buf_append(out, p, n);
    }
    return st;
}

enum weir_status wtok_bert_normalize(struct weir_span text, unsigned flags, struct weir_buf *out) {
    struct weir_buf cleaned, apart;
    weir_buf_init(&cleaned, out->max);
    weir_buf_init(&apart, out->max);
    enum weir_status st = clean(text, flags, &cleaned);
    text = weir_buf_span(&cleaned);
    bool some = text.len > 0; /* else it has no address */
    if (st == WEIR_OK && some && (flags & WTOK_BERT_ACCENTS) != 0 &&
        !wtok_is_normal(text, WTOK_FORM_NFD)) {
        st = wtok_normalize(text, WTOK_FORM_NFD, &apart);
        text = weir_buf_span(&apart);
    }
    if (st == WEIR_OK && some)
        st = fold(text, flags, out);
    weir_buf_fini(&cleaned);
    weir_buf_fini(&apart);
    return st;
}

/* ---- words to ids ---------------------------------------------------------------------------- */

/* The longest entry that p begins with, of which `lead` bytes must be in it and `left` more may:
 * its id, or WTOK_NO_ID. *ret_len: how many of these. 16 bytes behind them are readable. */
static uint32_t longest_entry(const struct wtok_model *m, const u8 *p, size_t lead, size_t left,
                              size_t *ret_len) {
    size_t most = m->image->longest_entry > lead ? m->image->longest_entry - lead : 0;
    size_t len = left < most ? left : most;
    while (len > 0 && (p[lead + len] & 0xC0) == 0x80) /* whole characters */
        len--;
    while (len > 0) {
        uint32_t id = wtok_find_word(m, p, lead + len);
        if (id != WTOK_NO_ID) {
            *ret_len = len;
            return id;
        }
        do
            len--;
        while (len > 0 && (p[lead + len] & 0xC0) == 0x80);
    }
    return WTOK_NO_ID;
}

/* A word of n bytes, at least one. Entries that go on in a word begin with a prefix, which is
 * written over what was found before: so the word lies in memory of our own, with room for the
 * prefix in front. */
static enum weir_status put_word(const struct wtok_model *m, struct wtok_context *ctx, const u8 *p,
                                 size_t n, size_t n_chars, struct wtok_out *out) {
    static const char pad[16];
    struct weir_span prefix = wtok_image_text(m, m->image->subword_prefix);
    size_t from = out->n, at = 0;
    if (n_chars > m->image->max_word_chars)
        return wtok_put_id(out, m->image->unk_id);
    weir_buf_clear(&ctx->steps);
    enum weir_status st = weir_buf_append_span(&ctx->steps, prefix);
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->steps, p, n);
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->steps, pad, sizeof(pad));
    while (at < n && st == WEIR_OK) {
        u8 *rest = (u8 *)ctx->steps.data + prefix.len + at;
        size_t lead = at > 0 ? prefix.len : 0, len = 0;
        memcpy(rest - lead, prefix.data, lead);
        uint32_t id = longest_entry(m, rest - lead, lead, n - at, &len);
        if (id == WTOK_NO_ID) { /* then the whole word is unknown */
            out->n = from;
            return wtok_put_id(out, m->image->unk_id);
        }
        st = wtok_put_id(out, id);
        at += len;
    }
    return st;
}

enum weir_status wtok_encode_wordpiece(const struct wtok_model *m, struct wtok_context *ctx,
                                       struct weir_span text, struct wtok_out *out) {
    const u8 *p = (const u8 *)text.data, *e = p + text.len, *word = p;
    enum weir_status st = WEIR_OK;
    size_t n_chars = 0;
    unsigned n;
    for (; p < e && st == WEIR_OK; p += n) {
        uint32_t code = wtok_char(p, &n);
        bool blank = is_blank(code);
        bool alone = !blank && within(wtok_bert_punctuation, wtok_n_bert_punctuation, code);
        if (!blank && !alone) {
            n_chars++;
            continue;
        }
        if (p > word)
            st = put_word(m, ctx, word, (size_t)(p - word), n_chars, out);
        if (st == WEIR_OK && alone)
            st = put_word(m, ctx, p, n, 1, out);
        word = p + n;
        n_chars = 0;
    }
    return st == WEIR_OK && e > word ? put_word(m, ctx, word, (size_t)(e - word), n_chars, out)
                                     : st;
}

/* ---- ids to text ----------------------------------------------------------------------------- */

/* Writes `to`, which is shorter, for each `what` in the buffer's bytes from `from` on. */
static void shorten(struct weir_buf *b, size_t from, struct weir_span what, struct weir_span to) {
    size_t at = from, end = from;
    while (at < b->len) {
        if (weir_span_starts(weir_span(b->data + at, b->len - at), what)) {
            memcpy(b->data + end, to.data, to.len);
            end += to.len;
            at += what.len;
        } else {
            b->data[end++] = b->data[at++];
        }
    }
    b->len = end;
}

enum weir_status wtok_wordpiece_text(const struct wtok_model *m, struct weir_span token, bool first,
                                     struct weir_buf *out) {
    /* In this order, each over what the ones before it left. */
    static const struct {
        struct weir_span what, to;
    } marks[] = {
        {{" .", 2}, {".", 1}},     {{" ?", 2}, {"?", 1}},           {{" !", 2}, {"!", 1}},
        {{" ,", 2}, {",", 1}},     {{" ' ", 3}, {"'", 1}},          {{" n't", 4}, {"n't", 3}},
        {{" 'm", 3}, {"'m", 2}},   {{" do not", 7}, {" don't", 6}}, {{" 's", 3}, {"'s", 2}},
        {{" 've", 4}, {"'ve", 3}}, {{" 're", 4}, {"'re", 3}},
    };
    struct weir_span prefix = wtok_image_text(m, m->image->decoder_prefix);
    size_t from = out->len;
    enum weir_status st = WEIR_OK;
    if (!first && weir_span_starts(token, prefix))
        token = weir_span(token.data + prefix.len, token.len - prefix.len);
    else if (!first)
        st = weir_buf_append_c(out, ' ');
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, token);
    if (st == WEIR_OK && m->image->decoder_cleanup != 0)
        for (size_t i = 0; i < WEIR_ARRAY_LEN(marks); i++)
            shorten(out, from, marks[i].what, marks[i].to);
    return st;
}
