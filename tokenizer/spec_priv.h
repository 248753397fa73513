/*
 * A tokenizer as its JSON files describe it, understood but not yet compiled (spec.c and its parts
 * fill it, compile.c turns it into an image).
 */
#ifndef WEIR_TOKENIZER_SPEC_PRIV_H
#define WEIR_TOKENIZER_SPEC_PRIV_H

#include "base/arena.h"
#include "base/json.h"
#include "tokenizer/model_priv.h"

struct wtok_spec_token {
    struct weir_span text; /* as the file spells it; data NULL: the id is not used */
    bool in_vocab;         /* of the model, not only an added token */
    bool special;
};
struct wtok_spec_merge {
    uint32_t left, right, id;
};
struct wtok_spec_added {
    struct weir_span text;
    uint32_t id;
    bool special, lstrip, rstrip, single_word, normalized;
};
struct wtok_spec_step {
    enum wtok_step_kind kind;
    uint32_t arg, flags;
    struct weir_span a, b;
};
enum { WTOK_MAX_STEPS = 16, WTOK_MAX_AFFIX = 8, WTOK_MAX_EOS = 16 };

struct wtok_spec {
    struct weir_arena arena;        /* owns every text below */
    struct wtok_spec_token *tokens; /* owned, by id */
    size_t n_ids, n_vocab;
    uint32_t *by_text; /* owned: open addressing over ids */
    size_t by_text_mask;
    struct wtok_spec_merge *merges; /* owned; the index is the rank, unless `ranks` */
    size_t n_merges;
    uint32_t *ranks; /* owned; NULL, or the rank of each merge (tiktoken: the merged token's) */
    struct wtok_spec_added *added; /* owned */
    size_t n_added;
    struct wtok_spec_step normalizers[WTOK_MAX_STEPS], splitters[WTOK_MAX_STEPS];
    size_t n_normalizers, n_splitters;
    enum wtok_family family;
    enum wtok_prepend prepend;
    enum wtok_decoding decoding;
    bool byte_level, blanks_marked, metaspace, split_spaces, byte_fallback, fuse_unk, ignore_merges;
    bool decode_blanks; /* the decoder turns U+2581 into a blank */
    bool decode_bytes;  /* … and <0xNN> into bytes */
    bool wordpiece;     /* the model is not BPE */
    bool bert_words;    /* the pre-tokenizer is BERT's */
    uint32_t max_word_chars;
    bool decoder_cleanup;
    struct weir_span subword_prefix, decoder_prefix;
    uint32_t strip_start;
    bool strip_first;
    struct weir_span unk;
    uint32_t prefix[WTOK_MAX_AFFIX], suffix[WTOK_MAX_AFFIX];
    size_t n_prefix, n_suffix;
    uint32_t eos[WTOK_MAX_EOS];
    size_t n_eos;
    uint64_t context_length;
    uint64_t model_vocab;                             /* vocab_size of config.json, or 0 */
    struct weir_span chat_template, tokenizer_config; /* whole files */
};

void wtok_spec_init(struct wtok_spec *spec);
void wtok_spec_fini(struct wtok_spec *spec);
/* Id of a text, or WTOK_NO_ID. Needs the index. */
uint32_t wtok_spec_find(const struct wtok_spec *spec, struct weir_span text);
/* Enters a token; WEIR_INVALID when the id is taken by another text or too large. */
enum weir_status wtok_spec_put(struct wtok_spec *spec, uint32_t id, struct weir_span text,
                               struct weir_err *err) WEIR_MUST_CHECK;

/* Parts; `text` is a whole file, which outlives the spec. */
enum weir_status wtok_spec_tokenizer_json(struct wtok_spec *spec, struct weir_span text,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_model(struct wtok_spec *spec, struct weir_span json,
                                 struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_normalizer(struct wtok_spec *spec, struct weir_span json,
                                      struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_pre_tokenizer(struct wtok_spec *spec, struct weir_span json,
                                         struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_decoder(struct wtok_spec *spec, struct weir_span json,
                                   struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_post_processor(struct wtok_spec *spec, struct weir_span json,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_added_tokens(struct wtok_spec *spec, struct weir_span json,
                                        struct weir_err *err) WEIR_MUST_CHECK;
/* added_tokens_decoder of tokenizer_config.json. */
enum weir_status wtok_spec_added_overlay(struct wtok_spec *spec, struct weir_span json,
                                         struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_tokenizer_config(struct wtok_spec *spec, struct weir_span text,
                                            struct weir_err *err) WEIR_MUST_CHECK;
/* config.json and generation_config.json; either may be empty. */
enum weir_status wtok_spec_model_config(struct wtok_spec *spec, struct weir_span config,
                                        struct weir_span generation,
                                        struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_spec_tiktoken(struct wtok_spec *spec, struct weir_span text,
                                    const char *pattern, struct weir_err *err) WEIR_MUST_CHECK;
/* The added tokens of a Kimi model; `config`: tokenizer_config.json. */
enum weir_status wtok_spec_kimi_added(struct wtok_spec *spec, struct weir_span config,
                                      struct weir_err *err) WEIR_MUST_CHECK;

/* The image, from weir_malloc. */
enum weir_status wtok_compile(const struct wtok_spec *spec, const uint64_t source[2],
                              struct wtok_image **ret_image, size_t *ret_bytes,
                              struct weir_err *err) WEIR_MUST_CHECK;

/* ---- reading small JSON values (fields.c) ---------------------------------------------------- */

/* The raw value of a member; data NULL when it is absent or null. */
struct weir_span wtok_field(struct weir_span object, const char *key);
/* As above, the raw value even when it is null. */
struct weir_span wtok_field_raw(struct weir_span object, const char *key);
bool wtok_field_bool(struct weir_span object, const char *key, bool def);
/* Unescaped; data NULL when absent or no string. */
struct weir_span wtok_field_text(struct wtok_spec *spec, struct weir_span object, const char *key);
struct weir_span wtok_text_of(struct wtok_spec *spec, struct weir_span json_string);
bool wtok_u64_of(struct weir_span json, uint64_t *ret);
enum weir_json_type wtok_type_of(struct weir_span json);
/* The next element of an array; `j` is begun by wtok_array_begin(). */
bool wtok_array_begin(struct weir_json *j, struct weir_span array);
bool wtok_array_next(struct weir_json *j, struct weir_span *ret_element);
/* WEIR_UNSUPPORTED that names the first member that is not in the NULL-terminated list. */
enum weir_status wtok_only(struct weir_span object, const char *where, const char *const *names,
                           struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status wtok_refuse(struct weir_err *err, const char *field, struct weir_span value);

#endif
