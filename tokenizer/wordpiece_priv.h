/* BertNormalizer, BertPreTokenizer, and the WordPiece model and decoder (wordpiece.c). */
#ifndef WEIR_TOKENIZER_WORDPIECE_PRIV_H
#define WEIR_TOKENIZER_WORDPIECE_PRIV_H

#include "tokenizer/encode_priv.h"

/* Flags of WTOK_STEP_BERT. */
enum {
    WTOK_BERT_CLEAN = 1,      /* control characters vanish, blanks become spaces */
    WTOK_BERT_IDEOGRAPHS = 2, /* each becomes a word */
    WTOK_BERT_ACCENTS = 4,    /* vanish, and the text is decomposed */
    WTOK_BERT_LOWER = 8,
};
/* Appends the text as BertNormalizer makes it. */
enum weir_status wtok_bert_normalize(struct weir_span text, unsigned flags,
                                     struct weir_buf *out) WEIR_MUST_CHECK;
/* Ids of a normalized text without added tokens. */
enum weir_status wtok_encode_wordpiece(const struct wtok_model *m, struct wtok_context *ctx,
                                       struct weir_span text, struct wtok_out *out) WEIR_MUST_CHECK;
/* Appends a token, spelt as in the vocabulary, as the decoder makes it: `first` in the sequence or
 * behind others. */
enum weir_status wtok_wordpiece_text(const struct wtok_model *m, struct weir_span token, bool first,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

#endif
