/*
 * Ids to text. In byte models the bytes of all ids stand in a row and what is no UTF-8 becomes
 * U+FFFD; in text models each id has a text, and runs of byte-fallback ids become text when the
 * whole run is UTF-8, else one U+FFFD for each byte.
 */
#include "base/utf8.h"
#include "tokenizer/wordpiece_priv.h"
#include "tokenizer/wtok_priv.h"

typedef unsigned char u8;
static const struct weir_span replacement = {"\xEF\xBF\xBD", 3};

static struct weir_span id_text(const struct wtok_model *m, uint32_t id) {
    return weir_span((const char *)m->bytes + m->offsets[id], m->offsets[id + 1] - m->offsets[id]);
}

enum weir_status wtok_model_id_bytes(const struct wtok_model *m, uint32_t id,
                                     struct weir_buf *out) {
    return id < m->image->n_ids ? weir_buf_append_span(out, id_text(m, id)) : WEIR_INVALID;
}

static bool is_byte(const struct wtok_model *m, uint32_t id) {
    return (m->flags[id] & WTOK_TOKEN_BYTE) != 0;
}

static bool left_out(const struct wtok_model *m, uint32_t id, bool skip_special) {
    unsigned f = m->flags[id];
    return (f & WTOK_TOKEN_PRESENT) == 0 || (skip_special && (f & WTOK_TOKEN_SPECIAL) != 0);
}

static enum weir_status append_run(struct weir_buf *out, struct weir_span run) {
    if (weir_utf8_valid(run))
        return weir_buf_append_span(out, run);
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < run.len && st == WEIR_OK; i++)
        st = weir_buf_append_span(out, replacement);
    return st;
}

/* The text of an id at the start of the output: blanks that the decoder takes off are missing. */
static struct weir_span first_text(struct weir_span text, uint32_t strip) {
    for (; strip > 0 && text.len > 0 && text.data[0] == ' '; strip--)
        text = weir_span(text.data + 1, text.len - 1);
    return text;
}

/* ---- a whole sequence ------------------------------------------------------------------------ */

static enum weir_status decode_bytes(const struct wtok_model *m, const uint32_t *ids, size_t n,
                                     bool skip_special, struct weir_buf *raw) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        if (!left_out(m, ids[i], skip_special))
            st = weir_buf_append_span(raw, id_text(m, ids[i]));
    return st;
}

/* Metaspace drops every mark of the first token. */
static enum weir_status append_unmarked(struct weir_buf *out, struct weir_span text) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK; i++)
        if (text.data[i] != ' ')
            st = weir_buf_append_c(out, text.data[i]);
    return st;
}

static enum weir_status decode_text(const struct wtok_model *m, const uint32_t *ids, size_t n,
                                    bool skip_special, struct weir_buf *out) {
    size_t from = out->len;
    bool first = true;
    struct weir_buf run;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&run, n + 1);
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        if (left_out(m, ids[i], skip_special))
            continue;
        if (is_byte(m, ids[i])) {
            st = weir_buf_append_span(&run, id_text(m, ids[i]));
        } else {
            st = append_run(out, weir_buf_span(&run));
            weir_buf_clear(&run);
            if (st == WEIR_OK)
                st = first && m->image->strip_first != 0
                         ? append_unmarked(out, id_text(m, ids[i]))
                         : weir_buf_append_span(out, id_text(m, ids[i]));
        }
        first = false;
    }
    if (st == WEIR_OK)
        st = append_run(out, weir_buf_span(&run));
    weir_buf_fini(&run);
    size_t strip = 0;
    while (strip < m->image->strip_start && from + strip < out->len &&
           out->data[from + strip] == ' ')
        strip++;
    if (strip > 0) /* else there may be no memory yet */
        memmove(out->data + from, out->data + from + strip, out->len - from - strip);
    out->len -= strip;
    return st;
}

static enum weir_status decode_words(const struct wtok_model *m, const uint32_t *ids, size_t n,
                                     bool skip_special, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    bool first = true;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        if (left_out(m, ids[i], skip_special))
            continue;
        st = wtok_wordpiece_text(m, id_text(m, ids[i]), first, out);
        first = false;
    }
    return st;
}

enum weir_status wtok_model_decode(const struct wtok_model *m, const uint32_t *ids, size_t n,
                                   bool skip_special, struct weir_buf *out) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= m->image->n_ids)
            return WEIR_INVALID;
    if (m->image->decoding == WTOK_DECODE_TEXT)
        return n == 0 ? WEIR_OK : decode_text(m, ids, n, skip_special, out);
    if (m->image->decoding == WTOK_DECODE_WORDS)
        return decode_words(m, ids, n, skip_special, out);
    size_t from = out->len;
    enum weir_status st = decode_bytes(m, ids, n, skip_special, out);
    struct weir_span raw = weir_span(out->data + from, out->len - from);
    if (st != WEIR_OK || out->len == from || weir_utf8_valid(raw))
        return st;
    struct weir_buf lossy;
    weir_buf_init(&lossy, out->max);
    st = weir_utf8_append_lossy(&lossy, raw);
    out->len = from;
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, weir_buf_span(&lossy));
    weir_buf_fini(&lossy);
    return st;
}

/* ---- incremental ----------------------------------------------------------------------------- */

/* Lets go what is held, and `text` behind it, as if the sequence ended here. */
static enum weir_status let_go(struct wtok_stream *s, struct weir_buf *out) {
    const char *held = (const char *)s->held;
    enum weir_status st = weir_utf8_append_lossy(out, weir_span(held, s->n_text));
    struct weir_span rest = weir_span(held + s->n_text, (size_t)s->n_held - s->n_text);
    if (st == WEIR_OK)
        st = s->tok->model->image->decoding == WTOK_DECODE_TEXT ? append_run(out, rest)
                                                                : weir_utf8_append_lossy(out, rest);
    if (st == WEIR_OK)
        s->n_held = s->n_text = 0;
    return st;
}

/* Does the text, read lossily, end in U+FFFD? Then more may follow that completes it. */
static bool ends_open(struct weir_span text) {
    size_t from = text.len;
    if (text.len == 0)
        return false;
    do
        from--;
    while (from > 0 && text.len - from < 4 && ((u8)text.data[from] & 0xC0) == 0x80);
    struct weir_span last = weir_span(text.data + from, text.len - from);
    return weir_utf8_char(last) != last.len || weir_span_eq(last, replacement);
}

static enum weir_status push_byte_model(struct wtok_stream *s, struct weir_span text,
                                        struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    bool alone = s->n_held == 0;
    s->begun = true;
    if (alone && !ends_open(text))
        return weir_utf8_append_lossy(out, text);
    if (text.len > sizeof(s->held) - s->n_held) {
        st = let_go(s, out);
        if (st != WEIR_OK || text.len > sizeof(s->held))
            return st != WEIR_OK ? st : weir_utf8_append_lossy(out, text);
    }
    memcpy(s->held + s->n_held, text.data, text.len);
    s->n_held += (uint8_t)text.len;
    return alone || ends_open(weir_span((const char *)s->held, s->n_held)) ? WEIR_OK
                                                                           : let_go(s, out);
}

/* Held are settled text that ends in U+FFFD (n_text bytes) and a run of bytes behind it. */
static enum weir_status push_text_model(struct wtok_stream *s, uint32_t id, struct weir_span text,
                                        struct weir_buf *out) {
    const struct wtok_model *m = s->tok->model;
    enum weir_status st = WEIR_OK;
    bool first = !s->begun;
    s->begun = true;
    if (is_byte(m, id)) {
        if (s->n_held == sizeof(s->held))
            st = let_go(s, out);
        s->held[s->n_held++] = (u8)text.data[0];
        struct weir_span run =
            weir_span((const char *)s->held + s->n_text, (size_t)s->n_held - s->n_text);
        return st == WEIR_OK && weir_utf8_valid(run) && !ends_open(run) ? let_go(s, out) : st;
    }
    bool waits = text.len <= sizeof(s->held) && ends_open(text);
    if (waits && s->n_held > 0) { /* settle what is held as text, so that it waits with this one */
        struct weir_buf settled;
        weir_buf_init(&settled, sizeof(s->held) * 3);
        st = let_go(s, &settled);
        waits = st == WEIR_OK && settled.len + text.len <= sizeof(s->held);
        if (waits) {
            memcpy(s->held, settled.data, settled.len);
            s->n_held = s->n_text = (uint8_t)settled.len;
        } else if (st == WEIR_OK) {
            st = weir_buf_append_span(out, weir_buf_span(&settled));
        }
        weir_buf_fini(&settled);
    }
    if (st == WEIR_OK && !waits)
        st = let_go(s, out);
    if (st != WEIR_OK)
        return st;
    if (first && m->image->strip_first != 0)
        return append_unmarked(out, text);
    if (first)
        text = first_text(text, m->image->strip_start);
    if (!waits)
        return weir_buf_append_span(out, text);
    memcpy(s->held + s->n_held, text.data, text.len);
    s->n_held += (uint8_t)text.len;
    s->n_text = s->n_held;
    return WEIR_OK;
}

static enum weir_status push_word(struct wtok_stream *s, uint32_t id, struct weir_buf *out) {
    const struct wtok_model *m = s->tok->model;
    struct weir_span token = id_text(m, id);
    struct weir_buf text;
    weir_buf_init(&text, token.len + 1);
    enum weir_status st = wtok_wordpiece_text(m, token, !s->begun, &text);
    if (st == WEIR_OK)
        st = push_text_model(s, id, weir_buf_span(&text), out);
    weir_buf_fini(&text);
    return st;
}

/* A usual token goes on whatever stood before it, where nothing is held. */
enum { USUAL = WTOK_TOKEN_PRESENT | WTOK_TOKEN_WHOLE };
static inline unsigned usual_mask(const struct wtok_stream *s) {
    return USUAL | (s->skip_special ? WTOK_TOKEN_SPECIAL : 0u);
}

static __attribute__((noinline)) enum weir_status push_other(struct wtok_stream *s, uint32_t id,
                                                             struct weir_buf *out) {
    const struct wtok_model *m = s->tok->model;
    if (s->n_held == 0 && s->begun && (m->flags[id] & usual_mask(s)) == USUAL)
        return weir_buf_append_span(out, id_text(m, id));
    if (left_out(m, id, s->skip_special))
        return WEIR_OK;
    if (m->image->decoding == WTOK_DECODE_WORDS)
        return push_word(s, id, out);
    return m->image->decoding == WTOK_DECODE_TEXT ? push_text_model(s, id, id_text(m, id), out)
                                                  : push_byte_model(s, id_text(m, id), out);
}

/* The usual tokens at the front whose text is appended in one move, since 16 bytes may be read
 * behind the last of the model; returns how many. No step waits for what the one before it loads,
 * which is far apart in memory. */
static inline size_t push_usual(const struct wtok_stream *s, const uint32_t *ids, size_t n,
                                struct weir_buf *out, size_t *ret_ends) {
    enum { MOVE = 16 };
    const struct wtok_model *m = s->tok->model;
    const uint32_t *offsets = m->offsets;
    const unsigned char *flags = m->flags;
    const unsigned mask = usual_mask(s);
    const uint32_t n_ids = m->image->n_ids;
    size_t len = out->len, room = out->cap < out->max ? out->cap : out->max, i = 0;
    if (s->n_held > 0 || !s->begun)
        return 0;
    for (; i < n && ids[i] < n_ids && (flags[ids[i]] & mask) == USUAL && len + MOVE <= room; i++) {
        uint32_t from = offsets[ids[i]], bytes = offsets[ids[i] + 1] - from;
        if (bytes > MOVE)
            break;
        memcpy(out->data + len, m->bytes + from, MOVE);
        ret_ends[i] = len += bytes;
    }
    out->len = len;
    return i;
}

enum weir_status wtok_model_push(struct wtok_stream *s, uint32_t id, struct weir_buf *out) {
    size_t end;
    if (id >= s->tok->model->image->n_ids)
        return WEIR_INVALID;
    return push_usual(s, &id, 1, out, &end) == 1 ? WEIR_OK : push_other(s, id, out);
}

enum weir_status wtok_model_push_many(struct wtok_stream *s, const uint32_t *ids, size_t n,
                                      struct weir_buf *out, size_t *ret_ends, size_t *ret_n) {
    enum weir_status st = WEIR_OK;
    size_t i = 0;
    while ((i += push_usual(s, ids + i, n - i, out, ret_ends + i)) < n) {
        if (ids[i] < s->tok->model->image->n_ids)
            st = push_other(s, ids[i], out);
        if (st != WEIR_OK)
            break;
        ret_ends[i++] = out->len;
    }
    *ret_n = i;
    return st;
}

enum weir_status wtok_model_finish(struct wtok_stream *s, struct weir_buf *out) {
    return let_go(s, out);
}
