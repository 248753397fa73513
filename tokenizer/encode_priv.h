/* What the parts of the encoder share. */
#ifndef WEIR_TOKENIZER_ENCODE_PRIV_H
#define WEIR_TOKENIZER_ENCODE_PRIV_H

#include "tokenizer/model_priv.h"

/* Where ids go. */
struct wtok_out {
    uint32_t *ids;
    size_t n, room;
};

/* A remembered word: key as wtok_key() makes it. 32 bytes, two to a cache line. */
struct wtok_memo {
    uint64_t k0, k1;
    uint32_t meta; /* bytes | ids << 8 | segment << 16; 0: empty */
    uint32_t ids[3];
};
enum { WTOK_MEMO_BITS = 15, WTOK_BATCH = 64, WTOK_PAD = 128 };

/* What one encoding at a time needs; kept between calls for its warm word cache. */
struct wtok_context {
    struct wtok_memo *memos; /* owned; 1 << WTOK_MEMO_BITS */
    struct wtok_heap heap;
    struct weir_buf normal, marked, tail, steps; /* texts under way */
    uint32_t *scratch;                           /* owned: ids of one long word */
    size_t scratch_room;
};

/* A context for the calling thread; NULL when out of memory. Give it back when done. */
struct wtok_context *wtok_context_take(const struct wtok_model *m);
void wtok_context_give(const struct wtok_model *m, struct wtok_context *ctx);
enum weir_status wtok_pool_create(struct wtok_pool **ret_pool) WEIR_MUST_CHECK;
void wtok_pool_destroy(struct wtok_pool *pool);

/* added.c: the next added token at or behind *at; false when there is none. The found token covers
 * [*ret_from, *ret_to) after its stripping; the text up to *ret_from is a section. */
struct wtok_finder {
    const struct wtok_model *m;
    const unsigned char *text;
    size_t len, at; /* where to look next */
    size_t done;    /* end of what was given out */
    unsigned which; /* 0: raw trie, 1: normalized trie */
    bool special;   /* special tokens count */
};
bool wtok_find_added(struct wtok_finder *f, size_t *ret_from, size_t *ret_to, uint32_t *ret_id);

/* normal.c: appends the section as the normalizers make it; `whole` also marks blanks. */
enum weir_status wtok_normalize_section(const struct wtok_model *m, struct weir_span text,
                                        bool prepend, struct weir_buf *out) WEIR_MUST_CHECK;
/* True when the normalizers change nothing. */
bool wtok_section_is_normal(const struct wtok_model *m, struct weir_span text);
/* Metaspace: marks blanks and puts one in front where the scheme says so. */
enum weir_status wtok_metaspace(const struct wtok_model *m, struct weir_span text, bool first,
                                struct weir_buf *out) WEIR_MUST_CHECK;
bool wtok_metaspace_is_done(const struct wtok_model *m, struct weir_span text, bool first);

/* words.c: ids of a text without added tokens, normalized and marked. */
enum weir_status wtok_encode_words(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) WEIR_MUST_CHECK;
/* Ids of one word; WTOK_PAD - 64 bytes behind it must be readable. */
enum weir_status wtok_encode_word(const struct wtok_model *m, struct wtok_context *ctx,
                                  const unsigned char *p, size_t n,
                                  struct wtok_out *out) WEIR_MUST_CHECK;

/* steps.c: a generic list of splitters. */
enum weir_status wtok_encode_steps(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) WEIR_MUST_CHECK;
/* Compiles the patterns of the model's splitters. */
enum weir_status wtok_steps_open(struct wtok_model *m, struct weir_err *err) WEIR_MUST_CHECK;
void wtok_steps_close(struct wtok_model *m);

#endif
