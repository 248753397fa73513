/* What the parts of the encoder share. */
#ifndef WEIR_TOKENIZER_ENCODE_PRIV_H
#define WEIR_TOKENIZER_ENCODE_PRIV_H

#include "tokenizer/model_priv.h"

/* Where ids go. */
struct wtok_out {
    uint32_t *ids;
    size_t n, room;
};
WEIR_MUST_CHECK static inline enum weir_status wtok_put_id(struct wtok_out *out, uint32_t id) {
    if (out->n == out->room)
        return WEIR_TOO_LARGE;
    out->ids[out->n++] = id;
    return WEIR_OK;
}

/*
 * Remembered words, a cache line of two entries for each hash. The first is the one used last; a
 * new one comes second. A word of more than three ids takes the whole line. A word that is being
 * encoded has its entry already: where it comes again meanwhile, it is not encoded twice.
 */
struct wtok_memo {
    uint64_t k0, k1; /* as wtok_key() makes them, with the bits below; 0, 0: empty */
    uint32_t n_ids;
    uint32_t ids[3]; /* of a waiting one: the number of its unit */
};
#define WTOK_MEMO_SEGMENT (1ull << 60) /* part of a word */
#define WTOK_MEMO_LONG (1ull << 61)    /* no key: too long for one */
#define WTOK_MEMO_WIDE (1ull << 62)    /* its ids go on in the second entry */
#define WTOK_MEMO_WAITS (1ull << 63)   /* its ids are not known yet */
struct wtok_memo_line {
    struct wtok_memo way[2];
};
enum {
    WTOK_MEMO_IDS = 3,
    WTOK_MEMO_WIDE_IDS = 11,
    WTOK_MEMO_BITS = 17,
    WTOK_PAD = 128,
};
/* The bits that also choose the line in the vocabulary, so that a walk over one is one over both.
 */
static inline struct wtok_memo_line *wtok_memo_line(struct wtok_memo_line *memos, uint64_t hash) {
    return &memos[hash >> 32 & ((1u << WTOK_MEMO_BITS) - 1)];
}

/* Likewise words without a key: lines of dashes, long names, phrases without blanks. */
enum { WTOK_LONG_BITS = 14, WTOK_LONG_BYTES = 96, WTOK_LONG_IDS = 20, WTOK_LONG_WAITS = 255 };
struct wtok_long {
    uint64_t hash;
    uint16_t len, n_ids; /* len 0: empty; n_ids WTOK_LONG_WAITS: ids[0] is the number of its unit */
    uint32_t last;       /* of the first of two: which of them was wanted last */
    uint32_t ids[WTOK_LONG_IDS];
    unsigned char text[WTOK_LONG_BYTES];
};

/* A word, or a part of one between safe cuts, whose place in the memory of words is being fetched.
 * One that is too long for a key has its hash as k0 and its length in k1, and an empty line. */
struct wtok_pending {
    uint64_t k0, k1;
    struct wtok_memo_line *line;
    const unsigned char *p;
};
/* One that no memory knew. */
struct wtok_unit {
    uint64_t k0, k1, hash;
    const unsigned char *p;
    struct wtok_memo_line *line; /* NULL: not one that has a key */
    const uint32_t *ids;         /* once known */
    uint32_t len, n_ids;
};
/* Where its ids belong: in front of those of the run from `at` on. */
struct wtok_place {
    uint32_t at, unit;
};
enum {
    WTOK_PENDING = 64,
    WTOK_UNITS = 512,
    WTOK_PLACES = 1024,
    WTOK_RUN = 16384, /* room for two turns of pending units of up to 20 ids is kept free */
    WTOK_SLOTS = 64,
    WTOK_JOB_LANES = 64, /* places, of which two are the ends */
    WTOK_JOB_SMALL = 16,
    WTOK_JOB_MIDDLE = 32,
    WTOK_JOB_BYTES = 48, /* longer units are merged alone */
};
/* A short unit whose symbols are being merged; several go side by side (jobs.c). */
struct wtok_job {
    uint32_t keys[WTOK_JOB_LANES], ids[WTOK_JOB_LANES];
    struct wtok_unit *unit;
    uint64_t alive;
    uint32_t least;
    uint32_t unused[11]; /* whole cache lines, so that no vector of keys lies across two */
};
struct wtok_spill {
    struct wtok_spill *next; /* owned */
    size_t n, room;
    uint32_t ids[];
};

/* merge.c: the ids of a unit's bytes or characters, at most n (text models: n + 3). */
size_t wtok_first_symbols(const struct wtok_model *m, const unsigned char *p, size_t n,
                          uint32_t *ids);
/* Merges the units, all of at most lanes - 2 bytes (lanes: WTOK_JOB_SMALL, _MIDDLE or _LANES), in
 * WTOK_SLOTS slots. Writes their ids from `to` on, at most as many as they have bytes, and returns
 * the end. */
uint32_t *wtok_jobs_run(const struct wtok_model *m, struct wtok_job *slots,
                        struct wtok_unit *const *units, size_t n, uint32_t *to, unsigned lanes);

/* What one encoding at a time needs; kept between calls for its warm word cache. */
struct wtok_context {
    void *memory;                  /* owned: words, long words and slots */
    struct wtok_memo_line *memos;  /* in it, 64-byte aligned; 1 << WTOK_MEMO_BITS */
    struct wtok_memo_line no_line; /* empty: of units without a key */
    struct wtok_long *longs;       /* in it; 1 << WTOK_LONG_BITS */
    struct wtok_job *slots;        /* in it, 64-byte aligned; WTOK_SLOTS */
    struct wtok_heap heap;
    struct weir_buf normal, marked, tail, steps; /* texts under way */
    struct wtok_spill *spill;                    /* owned: ids of one flush */
    size_t n_pending, n_units, n_places, n_run;
    uint64_t words, words_new; /* since it was taken: all, and those no memory had */
    struct wtok_pending pending[WTOK_PENDING];
    struct wtok_unit units[WTOK_UNITS];
    struct wtok_place places[WTOK_PLACES];
    struct wtok_unit *by_size[3][WTOK_UNITS];        /* of one flush, for the jobs */
    uint32_t made[WTOK_UNITS * WTOK_JOB_BYTES + 16]; /* ids of units, but for long ones */
    uint32_t run[WTOK_RUN + 16]; /* ids of remembered units, between which the others go */
};

/* A context for the calling thread; NULL when out of memory. Give it back when done. */
struct wtok_context *wtok_context_take(const struct wtok_model *m);
void wtok_context_give(const struct wtok_model *m, struct wtok_context *ctx);
enum weir_status wtok_pool_create(struct wtok_pool **ret_pool) WEIR_MUST_CHECK;
void wtok_pool_destroy(struct wtok_pool *pool);
/* Adds what the contexts that were given back have counted. */
void wtok_pool_stats(const struct wtok_pool *pool, struct wtok_stats *stats);

/* parts.c: whether texts may be cut at all; true once and for all as struct wtok_model's
 * may_be_cut.
 */
bool wtok_parts_possible(const struct wtok_model *m);
/* The first place at or behind `from` where the text may be cut, of a model that allows it; the
 * text's length when there is none. */
size_t wtok_next_cut(const struct wtok_model *m, struct weir_span text, size_t from);

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
/* Takes one word in; its ids are out after the next wtok_units_flush(). */
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
