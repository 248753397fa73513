/* Normalizers over one section of text, and the marking of blanks. */
#include "tokenizer/unicode.h"
#include "tokenizer/wordpiece_priv.h"

typedef unsigned char u8;
#define MARK "\xE2\x96\x81"

static enum weir_status replace(struct weir_span text, struct weir_span a, struct weir_span b,
                                struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    while (text.len > 0 && st == WEIR_OK) {
        const char *hit = memmem(text.data, text.len, a.data, a.len);
        size_t n = hit != NULL ? (size_t)(hit - text.data) : text.len;
        st = weir_buf_append(out, text.data, n);
        if (st == WEIR_OK && hit != NULL)
            st = weir_buf_append_span(out, b);
        n += hit != NULL ? a.len : 0;
        text = weir_span(text.data + n, text.len - n);
    }
    return st;
}

static struct weir_span strip(struct weir_span text, unsigned sides) {
    const u8 *p = (const u8 *)text.data, *e = p + text.len;
    unsigned n;
    while ((sides & 1) != 0 && p < e && (wtok_class_of(wtok_char(p, &n)) & WTOK_WS) != 0)
        p += n;
    while ((sides & 2) != 0 && p < e) {
        const u8 *q = e - 1;
        while (q > p && (*q & 0xC0) == 0x80)
            q--;
        if ((wtok_class_of(wtok_char(q, &n)) & WTOK_WS) == 0)
            break;
        e = q;
    }
    return weir_span((const char *)p, (size_t)(e - p));
}

static enum weir_status one_step(const struct wtok_model *m, const struct wtok_step *s,
                                 struct weir_span in, struct weir_buf *out) {
    enum weir_status st;
    switch (s->kind) {
    case WTOK_STEP_NFC:
    case WTOK_STEP_NFD:
    case WTOK_STEP_NFKC:
    case WTOK_STEP_NFKD: {
        enum wtok_form form = (enum wtok_form)((int)WTOK_FORM_NFC + (int)(s->kind - WTOK_STEP_NFC));
        return wtok_is_normal(in, form) ? weir_buf_append_span(out, in)
                                        : wtok_normalize(in, form, out);
    }
    case WTOK_STEP_PREPEND:
        st = weir_buf_append_span(out, wtok_image_text(m, s->a));
        return st != WEIR_OK ? st : weir_buf_append_span(out, in);
    case WTOK_STEP_REPLACE:
        return replace(in, wtok_image_text(m, s->a), wtok_image_text(m, s->b), out);
    case WTOK_STEP_STRIP:
        return weir_buf_append_span(out, strip(in, s->flags));
    case WTOK_STEP_BERT:
        return wtok_bert_normalize(in, s->flags, out);
    default:
        return WEIR_INTERNAL;
    }
}

/* U+2581 written in the text itself counts as a blank from here on. */
static enum weir_status mark(struct weir_span text, struct weir_buf *out) {
    return replace(text, WEIR_SPAN_LIT(MARK), WEIR_SPAN_LIT(" "), out);
}

enum weir_status wtok_normalize_section(const struct wtok_model *m, struct weir_span text,
                                        bool prepend, struct weir_buf *out) {
    struct weir_buf turns[2];
    struct weir_span at = text;
    enum weir_status st = WEIR_OK;
    bool marks = m->image->blanks_marked != 0 && m->image->metaspace == 0;
    weir_buf_init(&turns[0], out->max);
    weir_buf_init(&turns[1], out->max);
    /* No step makes something of nothing, which may have no address either. */
    for (size_t i = 0; i < m->n_normalizers && at.len > 0 && st == WEIR_OK; i++) {
        weir_buf_clear(&turns[i % 2]);
        st = one_step(m, &m->normalizers[i], at, &turns[i % 2]);
        at = weir_buf_span(&turns[i % 2]);
    }
    if (st == WEIR_OK && marks && prepend && at.len > 0 && m->image->prepend == WTOK_PREPEND_ALWAYS)
        st = weir_buf_append_c(out, ' ');
    if (st == WEIR_OK)
        st = marks ? mark(at, out) : weir_buf_append_span(out, at);
    weir_buf_fini(&turns[0]);
    weir_buf_fini(&turns[1]);
    return st;
}

static bool holds_mark(struct weir_span text) {
    return memmem(text.data, text.len, MARK, 3) != NULL;
}

bool wtok_section_is_normal(const struct wtok_model *m, struct weir_span text) {
    for (size_t i = 0; i < m->n_normalizers; i++)
        if (m->normalizers[i].kind > WTOK_STEP_NFKD ||
            !wtok_is_normal(text, (enum wtok_form)((int)m->normalizers[i].kind -
                                                   (int)WTOK_STEP_NFC + (int)WTOK_FORM_NFC)))
            return false;
    if (m->image->blanks_marked == 0 || m->image->metaspace != 0)
        return true;
    return m->image->prepend != WTOK_PREPEND_ALWAYS && !holds_mark(text);
}

static bool wants_blank(const struct wtok_model *m, struct weir_span text, bool first) {
    bool scheme = m->image->prepend == WTOK_PREPEND_MISSING ||
                  (m->image->prepend == WTOK_PREPEND_FIRST && first);
    return scheme && text.len > 0 && text.data[0] != ' ' &&
           !weir_span_starts(text, WEIR_SPAN_LIT(MARK));
}

bool wtok_metaspace_is_done(const struct wtok_model *m, struct weir_span text, bool first) {
    return m->image->metaspace == 0 || (!wants_blank(m, text, first) && !holds_mark(text));
}

enum weir_status wtok_metaspace(const struct wtok_model *m, struct weir_span text, bool first,
                                struct weir_buf *out) {
    enum weir_status st = wants_blank(m, text, first) ? weir_buf_append_c(out, ' ') : WEIR_OK;
    return st != WEIR_OK ? st : mark(text, out);
}
