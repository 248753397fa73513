#include "tokenizer/wtok.h"

#include "base/mem.h"
#include "tokenizer/segments_priv.h"
#include "tokenizer/wtok_priv.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/*
 * The "bytes" tokenizer: id = byte value; 256 is the end of a sequence, spelt EOS_TEXT in rendered
 * templates. It needs no files, so demo and tests run anywhere, and every text is representable.
 */
enum { BYTES_EOS = 256, BYTES_VOCAB = 257 };
#define EOS_TEXT "<|end|>"

enum weir_status wtok_create_bytes(struct wtok **ret_tok) {
    struct wtok *tok = weir_calloc(1, sizeof(*tok));
    if (tok == NULL)
        return WEIR_NOMEM;
    *tok = (struct wtok){
        .vocab = BYTES_VOCAB, .model_vocab = BYTES_VOCAB, .eos = {BYTES_EOS}, .n_eos = 1};
    *ret_tok = tok;
    return WEIR_OK;
}

void wtok_destroy(struct wtok *tok) {
    if (tok == NULL)
        return;
    wtok_chat_detach(tok);
    wtok_model_close(tok->model);
    weir_free(tok);
}

const char *wtok_kind(const struct wtok *tok) {
    static const char *const kinds[] = {"gpt2",          "cl100k",  "qwen2",
                                        "o200k",         "tekken",  "deepseek",
                                        "sentencepiece", "generic", "wordpiece"};
    return tok->model != NULL ? kinds[tok->model->image->family] : "bytes";
}

uint32_t wtok_vocab_size(const struct wtok *tok) {
    return tok->vocab;
}

uint32_t wtok_model_vocab_size(const struct wtok *tok) {
    return tok->model_vocab;
}

const uint32_t *wtok_eos_ids(const struct wtok *tok, size_t *ret_n) {
    *ret_n = tok->n_eos;
    return tok->eos;
}

uint64_t wtok_context_length(const struct wtok *tok) {
    return tok->context_length;
}

struct wtok_chat_files wtok_chat_files(const struct wtok *tok) {
    return tok->files;
}

const uint32_t *wtok_prefix_ids(const struct wtok *tok, size_t *ret_n) {
    *ret_n = tok->model != NULL ? tok->model->n_prefix : 0;
    return tok->model != NULL ? tok->model->prefix : NULL;
}

const uint32_t *wtok_suffix_ids(const struct wtok *tok, size_t *ret_n) {
    *ret_n = tok->model != NULL ? tok->model->n_suffix : 0;
    return tok->model != NULL ? tok->model->suffix : NULL;
}

void wtok_stats(const struct wtok *tok, struct wtok_stats *ret_stats) {
    *ret_stats = (struct wtok_stats){0};
    if (tok->model != NULL && tok->model->segments != NULL)
        wtok_segments_stats(tok->model->segments, ret_stats);
    if (tok->model != NULL)
        wtok_pool_stats(tok->model->pool, ret_stats);
}

size_t wtok_encode_parts(const struct wtok *tok, struct weir_span text, size_t want,
                         struct weir_span *ret_parts) {
    if (tok->model != NULL)
        return wtok_model_parts(tok->model, text, want, ret_parts);
    ret_parts[0] = text;
    return 1;
}

size_t wtok_encode_bound(const struct wtok *tok, size_t bytes) {
    return tok->model != NULL ? wtok_model_bound(tok->model, bytes) : bytes;
}

static void widen(const char *text, size_t n, uint32_t *ids) {
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(text + i));
        __m128i low = _mm_unpacklo_epi8(v, zero), high = _mm_unpackhi_epi8(v, zero);
        __m128i *to = (__m128i *)(void *)(ids + i);
        _mm_storeu_si128(to, _mm_unpacklo_epi16(low, zero));
        _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(low, zero));
        _mm_storeu_si128(to + 2, _mm_unpacklo_epi16(high, zero));
        _mm_storeu_si128(to + 3, _mm_unpackhi_epi16(high, zero));
    }
#endif
    for (; i < n; i++)
        ids[i] = (unsigned char)text[i];
}

enum weir_status wtok_encode(const struct wtok *tok, struct weir_span text, unsigned flags,
                             uint32_t *ids, size_t room, size_t *ret_n) {
    if (tok->model != NULL)
        return wtok_model_encode(tok->model, text, flags, ids, room, ret_n);
    const struct weir_span eos = WEIR_SPAN_LIT(EOS_TEXT);
    size_t n = 0;
    while (text.len > 0) {
        /* Bytes up to the next that may begin an end of sequence. */
        const char *next =
            (flags & WTOK_SPECIAL) != 0 ? memchr(text.data, eos.data[0], text.len) : NULL;
        bool ends = next == text.data && weir_span_starts(text, eos);
        size_t used = ends                ? eos.len
                      : next == text.data ? 1
                      : next != NULL      ? (size_t)(next - text.data)
                                          : text.len;
        size_t made = ends ? 1 : used;
        if (made > room - n)
            return WEIR_TOO_LARGE;
        if (ends)
            ids[n] = BYTES_EOS;
        else
            widen(text.data, used, ids + n);
        n += made;
        text = weir_span(text.data + used, text.len - used);
    }
    *ret_n = n;
    return WEIR_OK;
}

enum weir_status wtok_id_bytes(const struct wtok *tok, uint32_t id, struct weir_buf *out) {
    if (id >= tok->vocab)
        return WEIR_INVALID;
    if (tok->model != NULL)
        return wtok_model_id_bytes(tok->model, id, out);
    return id == BYTES_EOS ? weir_buf_append_z(out, EOS_TEXT) : weir_buf_append_c(out, (char)id);
}

enum weir_status wtok_decode(const struct wtok *tok, const uint32_t *ids, size_t n,
                             bool skip_special, struct weir_buf *out) {
    if (tok->model != NULL)
        return wtok_model_decode(tok->model, ids, n, skip_special, out);
    struct wtok_stream s;
    enum weir_status st = WEIR_OK;
    wtok_stream_init(&s, tok, skip_special);
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = wtok_stream_push(&s, ids[i], out);
    return st == WEIR_OK ? wtok_stream_finish(&s, out) : st;
}

/* ---- incremental decoding -------------------------------------------------------------------- */

static const struct weir_span replacement = {"\xEF\xBF\xBD", 3};

void wtok_stream_init(struct wtok_stream *s, const struct wtok *tok, bool skip_special) {
    *s = (struct wtok_stream){.tok = tok, .skip_special = skip_special};
}

/* Length of the UTF-8 sequence that `lead` opens; 0 when no sequence begins so. */
static unsigned sequence_len(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 3;
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/* May `c` follow the n held bytes of a sequence (Unicode 15, table 3-7)? */
static bool may_follow(const unsigned char *held, unsigned n, unsigned char c) {
    if (n == 1) {
        if (held[0] == 0xE0)
            return c >= 0xA0 && c <= 0xBF;
        if (held[0] == 0xED)
            return c >= 0x80 && c <= 0x9F;
        if (held[0] == 0xF0)
            return c >= 0x90 && c <= 0xBF;
        if (held[0] == 0xF4)
            return c >= 0x80 && c <= 0x8F;
    }
    return c >= 0x80 && c <= 0xBF;
}

static enum weir_status push_byte(struct wtok_stream *s, unsigned char c, struct weir_buf *out) {
    if (s->n_held > 0 && !may_follow(s->held, s->n_held, c)) {
        /* One replacement for the maximal part of an ill-formed sequence. */
        enum weir_status st = weir_buf_append_span(out, replacement);
        if (st != WEIR_OK)
            return st;
        s->n_held = 0;
    }
    if (s->n_held == 0 && c < 0x80)
        return weir_buf_append_c(out, (char)c);
    if (s->n_held == 0 && sequence_len(c) == 0)
        return weir_buf_append_span(out, replacement);
    s->held[s->n_held++] = c;
    if (s->n_held < sequence_len(s->held[0]))
        return WEIR_OK;
    enum weir_status st = weir_buf_append(out, s->held, s->n_held);
    if (st == WEIR_OK)
        s->n_held = 0;
    else
        s->n_held--;
    return st;
}

static __attribute__((noinline)) enum weir_status push_byte_id(struct wtok_stream *s, uint32_t id,
                                                               struct weir_buf *out) {
    if (id != BYTES_EOS)
        return push_byte(s, (unsigned char)id, out);
    enum weir_status st = wtok_stream_finish(s, out);
    return st != WEIR_OK || s->skip_special ? st : weir_buf_append_z(out, EOS_TEXT);
}

enum weir_status wtok_stream_push(struct wtok_stream *s, uint32_t id, struct weir_buf *out) {
    if (id >= s->tok->vocab)
        return WEIR_INVALID;
    return s->tok->model != NULL ? wtok_model_push(s, id, out) : push_byte_id(s, id, out);
}

enum weir_status wtok_stream_push_many(struct wtok_stream *s, const uint32_t *ids, size_t n,
                                       struct weir_buf *out, size_t *ret_ends, size_t *ret_n) {
    if (s->tok->model != NULL)
        return wtok_model_push_many(s, ids, n, out, ret_ends, ret_n);
    enum weir_status st = WEIR_OK;
    size_t i = 0;
    for (; i < n; i++) {
        if (ids[i] < s->tok->vocab)
            st = push_byte_id(s, ids[i], out);
        if (st != WEIR_OK)
            break;
        ret_ends[i] = out->len;
    }
    *ret_n = i;
    return st;
}

enum weir_status wtok_stream_finish(struct wtok_stream *s, struct weir_buf *out) {
    if (s->tok->model != NULL)
        return wtok_model_finish(s, out);
    if (s->n_held == 0)
        return WEIR_OK;
    enum weir_status st = weir_buf_append_span(out, replacement);
    if (st == WEIR_OK)
        s->n_held = 0;
    return st;
}
