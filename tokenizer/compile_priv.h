/* A tokenizer's description on its way to an image: what the two files of the compiler share. */
#ifndef WEIR_TOKENIZER_COMPILE_PRIV_H
#define WEIR_TOKENIZER_COMPILE_PRIV_H

#include "tokenizer/spec_priv.h"

struct wtok_compiler {
    const struct wtok_spec *spec;
    struct weir_buf out; /* the image */
    struct weir_err *err;
    struct weir_buf text; /* section TEXT */
    struct weir_buf bytes;
    uint32_t *offsets;    /* owned; n_ids + 1 */
    unsigned char *flags; /* owned; n_ids */
};

enum weir_status wtok_compile_no_memory(struct weir_err *err);
struct wtok_image *wtok_compile_head(struct wtok_compiler *c);
/* Appends a section, 64-byte aligned. */
bool wtok_compile_put(struct wtok_compiler *c, enum wtok_section section, const void *data,
                      size_t n, size_t size) WEIR_MUST_CHECK;
/* What the encoder would see of a token; its texts are there. */
const unsigned char *wtok_compile_text(const struct wtok_compiler *c, size_t id, size_t *ret_n);

/* ---- compile_tables.c ------------------------------------------------------------------------ */

/* Characters, merges and whole words, in this order; texts and tokens of bytes come first. */
enum weir_status wtok_compile_tables(struct wtok_compiler *c) WEIR_MUST_CHECK;

#endif
