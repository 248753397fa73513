/*
 * Tokens as their vocabulary writes them, made again from what the compiled form keeps: the bytes
 * that a token stands for, and whether its text was in the vocabulary's writing.
 */
#include "base/utf8.h"
#include "tokenizer/model_priv.h"
#include "tokenizer/unicode.h"
#include "tokenizer/wtok_priv.h"

#define MARK "\xE2\x96\x81" /* U+2581 */

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and up. */
static uint32_t letter_of(unsigned char b) {
    if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE)
        return b;
    return b <= 0x20 ? 0x100u + b : b <= 0xA0 ? 0x121u + (b - 0x7Fu) : 0x143;
}

static bool is_letter(uint32_t c) {
    return (c >= 0x100 && c <= 0x143) || (c < 0x100 && letter_of((unsigned char)c) == c);
}

/* An added token that had been written in letters of the alphabet only would have been read as
 * such: text with any other character is what was written. */
static bool is_text(struct weir_span text) {
    if (!weir_utf8_valid(text))
        return false;
    for (size_t i = 0; i < text.len;) {
        unsigned n;
        if (!is_letter(wtok_char((const unsigned char *)text.data + i, &n)))
            return true;
        i += n;
    }
    return false;
}

static enum weir_status put_letters(struct weir_span bytes, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < bytes.len && st == WEIR_OK; i++) {
        char utf8[4];
        size_t n = weir_utf8_encode(letter_of((unsigned char)bytes.data[i]), utf8);
        st = weir_buf_append(out, utf8, n);
    }
    return st;
}

static enum weir_status put_marks(struct weir_span text, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK; i++)
        st = text.data[i] == ' ' ? weir_buf_append_z(out, MARK)
                                 : weir_buf_append_c(out, text.data[i]);
    return st;
}

static enum weir_status piece_of(const struct wtok_model *m, uint32_t id, struct weir_buf *out) {
    if (id >= m->image->n_ids)
        return WEIR_INVALID;
    struct weir_span text =
        weir_span((const char *)m->bytes + m->offsets[id], m->offsets[id + 1] - m->offsets[id]);
    bool word = (m->flags[id] & WTOK_TOKEN_WORD) != 0;
    if (m->image->byte_level != 0)
        return word || !is_text(text) ? put_letters(text, out) : weir_buf_append_span(out, text);
    if ((m->flags[id] & WTOK_TOKEN_BYTE) != 0)
        return weir_buf_printf(out, "<0x%02X>", (unsigned)(unsigned char)text.data[0]);
    return word && m->image->blanks_marked != 0 ? put_marks(text, out)
                                                : weir_buf_append_span(out, text);
}

enum weir_status wtok_id_piece(const struct wtok *tok, uint32_t id, struct weir_buf *out) {
    struct weir_buf own;
    if (tok->model != NULL)
        return piece_of(tok->model, id, out);
    weir_buf_init(&own, 64);
    enum weir_status st = wtok_id_bytes(tok, id, &own);
    if (st == WEIR_OK)
        st = own.len == 1 ? put_letters(weir_buf_span(&own), out)
                          : weir_buf_append_span(out, weir_buf_span(&own));
    weir_buf_fini(&own);
    return st;
}
