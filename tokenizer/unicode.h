/*
 * Character classes and normalization as the reference has them (scripts/unicode-tables reads them
 * off it). Pure; any thread.
 */
#ifndef WEIR_TOKENIZER_UNICODE_H
#define WEIR_TOKENIZER_UNICODE_H

#include "base/buf.h"

enum wtok_class {
    WTOK_LU = 1 << 0,
    WTOK_LL = 1 << 1,
    WTOK_LT = 1 << 2,
    WTOK_LM = 1 << 3,
    WTOK_LO = 1 << 4,
    WTOK_N = 1 << 5,
    WTOK_M = 1 << 6,
    WTOK_P = 1 << 7,
    WTOK_S = 1 << 8,
    WTOK_WS = 1 << 9,        /* \s of regular expressions, White_Space */
    WTOK_WORD = 1 << 10,     /* \w of added tokens with single_word */
    WTOK_NFC_CARE = 1 << 11, /* a text without such characters is in NFC */
    WTOK_NFD_CARE = 1 << 12, /* likewise NFD */
    WTOK_COMPAT = 1 << 13,   /* has a compatibility decomposition */
    WTOK_L = WTOK_LU | WTOK_LL | WTOK_LT | WTOK_LM | WTOK_LO,
};

struct wtok_decomposition {
    uint32_t code;
    uint16_t at;
    uint8_t len;
};
struct wtok_mark {
    uint32_t code;
    uint8_t ccc; /* canonical combining class, not 0 */
};
struct wtok_composition {
    uint32_t first, second, code;
};

/* What the parts of BERT ask of a character, by the tables of an older Unicode than the classes';
 * inclusive ranges in order. */
struct wtok_range {
    uint32_t from, to;
};
struct wtok_lower {
    uint32_t code, lower;
};

extern const struct wtok_range wtok_bert_control[], wtok_bert_ideograph[], wtok_bert_mark[],
    wtok_bert_punctuation[];
extern const size_t wtok_n_bert_control, wtok_n_bert_ideograph, wtok_n_bert_mark,
    wtok_n_bert_punctuation;
/* Lower case of one character, but for U+0130, which becomes two: "i" and U+0307. */
extern const struct wtok_lower wtok_lower[];
extern const size_t wtok_n_lower;
extern const uint8_t wtok_class_index[0x1100];
extern const uint16_t wtok_class_blocks[];
extern const uint32_t wtok_canon_pool[], wtok_compat_pool[];
extern const struct wtok_decomposition wtok_canon[], wtok_compat[];
extern const size_t wtok_n_canon, wtok_n_compat, wtok_n_ccc, wtok_n_comp;
extern const struct wtok_mark wtok_ccc[];
extern const struct wtok_composition wtok_comp[];

static inline unsigned wtok_class_of(uint32_t code) {
    return wtok_class_blocks[(size_t)wtok_class_index[code >> 8] << 8 | (code & 255)];
}

/* Decodes a character of valid UTF-8; *ret_n becomes its bytes. */
static inline uint32_t wtok_char(const unsigned char *p, unsigned *ret_n) {
    uint32_t c = p[0];
    if (c < 0x80) {
        *ret_n = 1;
        return c;
    }
    if (c < 0xE0) {
        *ret_n = 2;
        return (c & 0x1F) << 6 | (p[1] & 0x3Fu);
    }
    if (c < 0xF0) {
        *ret_n = 3;
        return (c & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *ret_n = 4;
    return (c & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

enum wtok_form { WTOK_FORM_NFC, WTOK_FORM_NFD, WTOK_FORM_NFKC, WTOK_FORM_NFKD };
/* True when the valid UTF-8 text certainly is in the form already. */
bool wtok_is_normal(struct weir_span text, enum wtok_form form);
/* Appends the text in the normal form. */
enum weir_status wtok_normalize(struct weir_span text, enum wtok_form form,
                                struct weir_buf *out) WEIR_MUST_CHECK;

#endif
