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
    uint32_t vocab, model_vocab;
    uint32_t eos[16];
    size_t n_eos;
    uint64_t context_length;
};

/* chat.c. Called at the end of wtok_load() with `files` filled, and by wtok_destroy(). */
enum weir_status wtok_chat_attach(struct wtok *tok, const char *dir,
                                  struct weir_err *err) WEIR_MUST_CHECK;
void wtok_chat_detach(struct wtok *tok);

/* encode.c, decode.c: the functions of wtok.h for a loaded model. */
enum weir_status wtok_model_encode(const struct wtok_model *m, struct weir_span text,
                                   unsigned flags, uint32_t *ids, size_t room,
                                   size_t *ret_n) WEIR_MUST_CHECK;
size_t wtok_model_parts(const struct wtok_model *m, struct weir_span text, size_t want,
                        struct weir_span *ret_parts);
size_t wtok_model_bound(const struct wtok_model *m, size_t bytes);
enum weir_status wtok_model_decode(const struct wtok_model *m, const uint32_t *ids, size_t n,
                                   bool skip_special, struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status wtok_model_push(struct wtok_stream *s, uint32_t id,
                                 struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status wtok_model_push_many(struct wtok_stream *s, const uint32_t *ids, size_t n,
                                      struct weir_buf *out, size_t *ret_ends,
                                      size_t *ret_n) WEIR_MUST_CHECK;
enum weir_status wtok_model_finish(struct wtok_stream *s, struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status wtok_model_id_bytes(const struct wtok_model *m, uint32_t id,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

#endif
