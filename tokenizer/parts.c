/*
 * Where a text may be cut so that the parts can be encoded apart, whatever stands before and behind
 * them: no pattern lets a word reach over the place or looks over it, and no normal form joins the
 * two sides.
 *
 * Byte-level families:
 *   - line feed | ASCII letter. GPT-2's pattern takes the last blank of a run apart, so there the
 *     line feed has to be alone.
 *   - ASCII letter | blank, ASCII letter. A run of letters ends with its last letter, and a blank
 *     that letters follow begins a word, in all the patterns.
 *   - ideograph | ideographic full stop or comma, ideograph. The mark stands alone or begins a
 * word. Text models, whose words are what no token joins: ASCII letter | blank, ASCII letter, where
 * no token does.
 *
 * Added tokens that hold such a place, or that look at what stands beside them, rule the method out
 * (none of the known models has one). So do those that end with a letter where a blank goes in
 * front of each section: one that begins with a part would go without.
 */
#include "tokenizer/encode_priv.h"
#include "tokenizer/wtok_priv.h"

typedef unsigned char u8;

/* Bytes that a look at a place reads on both sides of it. */
enum { BEFORE = 3, BEHIND = 6 };

static bool ascii_letter(u8 c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* U+4E00 to U+9FA5, which all the patterns and normal forms treat alike. */
static bool ideograph(const u8 *p) {
    uint32_t c = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    return c >= 0xE4B880 && c <= 0xE9BEA5;
}

/* U+3002, U+FF0C. */
static bool ideographic_mark(const u8 *p) {
    return (p[0] == 0xE3 && p[1] == 0x80 && p[2] == 0x82) ||
           (p[0] == 0xEF && p[1] == 0xBC && p[2] == 0x8C);
}

bool wtok_parts_possible(const struct wtok_model *m) {
    for (size_t i = 0; i < m->n_added; i++) {
        const struct wtok_added *a = &m->added[i];
        if (a->lstrip || a->rstrip || a->single_word)
            return false;
        const u8 *p = m->bytes + m->offsets[a->id];
        const u8 *e = m->bytes + m->offsets[a->id + 1];
        if (m->image->prepend == WTOK_PREPEND_ALWAYS && p < e && ascii_letter(e[-1]))
            return false;
        for (; p + 1 < e; p++)
            if ((p[0] == '\n' && ascii_letter(p[1])) || (ascii_letter(p[0]) && p[1] == ' ') ||
                (p + 2 < e && ideographic_mark(p)))
                return false;
    }
    for (size_t i = 0; i < m->n_normalizers; i++)
        if (m->normalizers[i].kind > WTOK_STEP_NFKD)
            return false;
    if (m->image->family == WTOK_SPM)
        return m->image->blanks_marked != 0 && m->image->byte_fallback != 0;
    return m->image->family != WTOK_GENERIC && m->image->family != WTOK_WORDPIECE;
}

/* Text models: a blank between letters. */
static size_t next_blank(const struct wtok_model *m, const u8 *p, size_t len, size_t at) {
    bool every = m->image->split_spaces != 0;
    for (; at + BEHIND <= len; at++)
        if (p[at] == ' ' && ascii_letter(p[at - 1]) && ascii_letter(p[at + 1]) &&
            (every || !wtok_cut_joined(m->cuts, p[at - 1], p[at - 1], ' ', ' ')))
            return at;
    return len;
}

/* Is the byte one that a place begins with or, a line feed, follows? */
static const bool begins_place[256] = {[' '] = true, ['\n'] = true, [0xE3] = true, [0xEF] = true};

static bool behind_line(const struct wtok_model *m, const u8 *p) {
    return p[-1] == '\n' && ascii_letter(*p) &&
           (m->image->family != WTOK_GPT2 || (p[-2] > ' ' && p[-2] < 0x7F));
}

size_t wtok_next_cut(const struct wtok_model *m, struct weir_span text, size_t from) {
    const u8 *p = (const u8 *)text.data;
    size_t len = text.len, at = from > BEFORE ? from : BEFORE;
    if (m->image->family == WTOK_SPM)
        return next_blank(m, p, len, at);
    if (at + BEHIND <= len && behind_line(m, p + at))
        return at;
    for (; at + BEHIND <= len; at++) {
        if (!begins_place[p[at]])
            continue;
        if (p[at] == '\n') {
            if (at + 1 + BEHIND <= len && behind_line(m, p + at + 1))
                return at + 1;
        } else if (p[at] == ' ') {
            if (ascii_letter(p[at - 1]) && ascii_letter(p[at + 1]))
                return at;
        } else if (ideographic_mark(p + at) && ideograph(p + at - 3) && ideograph(p + at + 3)) {
            return at;
        }
    }
    return len;
}

size_t wtok_model_parts(const struct wtok_model *m, struct weir_span text, size_t want,
                        struct weir_span *ret_parts) {
    size_t n = 0;
    while (m->may_be_cut && n + 1 < want) {
        size_t at = wtok_next_cut(m, text, text.len / (want - n));
        if (at == text.len)
            break;
        ret_parts[n++] = weir_span(text.data, at);
        text = weir_span(text.data + at, text.len - at);
    }
    ret_parts[n++] = text;
    return n;
}
