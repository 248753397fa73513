/* What the files of the tokenizer share. */
#ifndef WEIR_TOKENIZER_WTOK_PRIV_H
#define WEIR_TOKENIZER_WTOK_PRIV_H

#include "tokenizer/wtok.h"

struct wtok_model;
struct wtok_template;

struct wtok {
    struct wtok_model *model;   /* owned; NULL: the bytes tokenizer */
    struct wtok_template *chat; /* owned by chat.c; NULL: the built-in template */
    struct wtok_chat_files files;
    uint32_t vocab;
    uint32_t eos[16];
    size_t n_eos;
    uint64_t context_length;
};

/* chat.c. Called at the end of wtok_load() with `files` filled, and by wtok_destroy(). */
enum weir_status wtok_chat_attach(struct wtok *tok, struct weir_err *err) WEIR_MUST_CHECK;
void wtok_chat_detach(struct wtok *tok);

#endif
