/*
 * The compiled form of a tokenizer: one flat run of bytes without pointers, which is built from the
 * JSON files (compile.c) or mapped from a cache file (cache.c), and the typed view of it.
 */
#ifndef WEIR_TOKENIZER_MODEL_PRIV_H
#define WEIR_TOKENIZER_MODEL_PRIV_H

#include "base/buf.h"
#include "tokenizer/wtok.h"

enum { WTOK_NONE = -1 };
#define WTOK_NO_ID UINT32_MAX
/* Bounds that the packed merge slots need; larger tokenizers are refused. */
#define WTOK_MAX_IDS ((1u << 22) - 1) /* a mask, too */
#define WTOK_MAX_RANKS ((1u << 20) - 1)

/* How text falls into words. The first six are regular expressions that we scan by hand. */
enum wtok_family {
    WTOK_GPT2,
    WTOK_CL100K,    /* digits in groups of up to three (Llama 3) */
    WTOK_QWEN2,     /* the same, digits one by one */
    WTOK_O200K,     /* letter case cuts words; contractions belong to them (gpt-oss) */
    WTOK_TEKKEN,    /* the same without contractions, digits one by one (Mistral) */
    WTOK_DEEPSEEK,  /* three splits, one after the other (DeepSeek V3) */
    WTOK_SPM,       /* no words: a whole section is one, blanks are U+2581 */
    WTOK_GENERIC,   /* a list of steps */
    WTOK_WORDPIECE, /* BERT's words, cut into pieces without merges (wordpiece.c) */
    WTOK_N_FAMILIES,
};

enum wtok_step_kind {
    /* normalizers */
    WTOK_STEP_NFC,
    WTOK_STEP_NFD,
    WTOK_STEP_NFKC,
    WTOK_STEP_NFKD,
    WTOK_STEP_PREPEND, /* a */
    WTOK_STEP_REPLACE, /* a by b */
    WTOK_STEP_STRIP,   /* flag 1: left, 2: right */
    WTOK_STEP_BERT,    /* flags: wordpiece_priv.h */
    /* pre-tokenizers */
    WTOK_STEP_SCAN,   /* arg: family */
    WTOK_STEP_REGEX,  /* a: pattern; arg: behaviour; flag 1: invert */
    WTOK_STEP_STRING, /* the same with a literal */
    WTOK_STEP_DIGITS, /* flag 1: one by one */
    WTOK_STEP_WHITESPACE_SPLIT,
    WTOK_STEP_PREFIX_SPACE, /* ByteLevel's add_prefix_space */
};
enum wtok_behaviour {
    WTOK_ISOLATED,
    WTOK_REMOVED,
    WTOK_MERGED_PREVIOUS,
    WTOK_MERGED_NEXT,
    WTOK_CONTIGUOUS,
};
struct wtok_text { /* bytes in section TEXT */
    uint32_t at, len;
};
struct wtok_step {
    uint32_t kind, arg, flags;
    struct wtok_text a, b;
};

enum wtok_prepend {
    WTOK_PREPEND_NEVER,
    WTOK_PREPEND_ALWAYS,
    WTOK_PREPEND_MISSING,
    WTOK_PREPEND_FIRST
};
enum wtok_decoding {
    WTOK_DECODE_BYTES, /* ByteLevel: bytes of all ids in a row, then lossy */
    WTOK_DECODE_TEXT,  /* texts and byte-fallback runs */
    WTOK_DECODE_WORDS, /* WordPiece: words with spaces between, which some marks take back */
};

enum wtok_token_flags {
    WTOK_TOKEN_SPECIAL = 1, /* left out with skip_special */
    WTOK_TOKEN_BYTE = 2,    /* byte fallback: its text is one byte */
    WTOK_TOKEN_PRESENT = 4,
    WTOK_TOKEN_WORD = 8,   /* its text is what the encoder would see */
    WTOK_TOKEN_WHOLE = 16, /* its text is UTF-8 by itself and does not end in U+FFFD */
};

/* A token found in raw or normalized text before anything else. */
struct wtok_added {
    uint32_t id;
    uint8_t special, lstrip, rstrip, single_word;
};
/* Trie of added tokens: children are a sibling list. Node 0 is the root, whose children are found
 * through `roots`. */
struct wtok_trie_node {
    uint32_t child, sibling; /* 0: none */
    uint32_t added;          /* index of the token that ends here + 1, or 0 */
    uint32_t byte;
};

/* Three vocabulary entries that have a key (wtok_key()) and that a whole word may be: a cache line,
 * filled from the front. An empty place has the key 0, which no text has. What has no room in its
 * line any more is in the next one that has; low ids came first, so that is rare, and rarely
 * wanted. */
enum { WTOK_WORD_WAYS = 3 };
struct wtok_word_line {
    uint64_t k0[WTOK_WORD_WAYS], k1[WTOK_WORD_WAYS];
    uint32_t ids[WTOK_WORD_WAYS];
    uint32_t goes_on; /* one that belongs here is in a later line */
};

/* A character of a text model that is a token by itself. */
struct wtok_char_id {
    uint32_t text; /* its bytes as they lie in memory, then zeros */
    uint32_t len;  /* 0: empty slot */
    uint32_t id;
};

/* X(name, element type, member) */
#define WTOK_SECTION_MAP(X)                                                                        \
    X(BYTES, unsigned char, bytes)         /* texts of ids, one after the other; 16 more bytes */  \
    X(OFFSETS, uint32_t, offsets)          /* n_ids + 1 */                                         \
    X(TOKEN_FLAGS, unsigned char, flags)   /* n_ids */                                             \
    X(MERGES, uint64_t, merges)            /* open addressing; see merge_slot */                   \
    X(BYTE_PAIRS, uint32_t, byte_pairs)    /* byte models: rank of two bytes, 65536 of them */     \
    X(PAIR_BITS, uint64_t, pair_bits)      /* ids that are left of a merge, then right */          \
    X(PAIR_BLOOM, uint64_t, pair_bloom)    /* bits of pairs by hash: 0 means no merge */           \
    X(RANK_IDS, uint32_t, rank_ids)        /* rank -> id of the merged token */                    \
    X(WORDS, struct wtok_word_line, words) /* open addressing */                                   \
    X(LONG_WORDS, uint32_t, long_words)    /* open addressing; wtok_long_mark(); or WTOK_NO_ID */  \
    X(CUTS, uint64_t, cuts)                /* bit tables of cut.c */                               \
    X(CHARS, struct wtok_char_id, chars)   /* text models: one character -> id */                  \
    X(ADDED, struct wtok_added, added)                                                             \
    X(RAW_TRIE, struct wtok_trie_node, raw_trie)                                                   \
    X(NORMAL_TRIE, struct wtok_trie_node, normal_trie)                                             \
    X(NORMALIZERS, struct wtok_step, normalizers)                                                  \
    X(SPLITTERS, struct wtok_step, splitters)                                                      \
    X(PREFIX, uint32_t, prefix)                                                                    \
    X(SUFFIX, uint32_t, suffix)                                                                    \
    X(EOS, uint32_t, eos)                                                                          \
    X(TEXT, char, text)

enum wtok_section {
#define X(name, type, member) WTOK_SECTION_##name,
    WTOK_SECTION_MAP(X)
#undef X
        WTOK_N_SECTIONS
};

#define WTOK_IMAGE_MAGIC "weirtok\n"
enum { WTOK_IMAGE_VERSION = 15, WTOK_IMAGE_MAX = 1 << 29 };
struct wtok_image {
    char magic[8];
    uint64_t checksum;  /* XXH3-64 of all that follows */
    uint64_t total;     /* bytes, this head included */
    uint64_t source[2]; /* identity of the files it was made from */
    uint32_t version;
    uint32_t n_ids;
    uint32_t family, prepend, split_spaces, decoding;
    uint32_t rank_base; /* the id of a merge is rank_base + rank, or WTOK_NO_ID: see RANK_IDS */
    uint32_t byte_level, byte_fallback, fuse_unk, ignore_merges;
    uint32_t blanks_marked;  /* texts and sections hold a blank where the file has U+2581 */
    uint32_t metaspace;      /* the pre-tokenizer marks them, not the normalizer */
    uint32_t unk_id;         /* or WTOK_NO_ID */
    uint32_t strip_start;    /* decoder: blanks taken off the front of the whole text */
    uint32_t strip_first;    /* decoder: U+2581 of the first token vanish (Metaspace) */
    uint32_t max_word_chars; /* WordPiece: longer words are unknown */
    uint32_t longest_entry;  /* … bytes */
    uint32_t decoder_cleanup;
    struct wtok_text subword_prefix, decoder_prefix; /* of what goes on in a word, mostly "##" */
    uint64_t context_length;
    uint64_t model_vocab; /* vocab_size of config.json, or 0 */
    struct wtok_text chat_template, tokenizer_config;
    uint32_t byte_ids[256];
    struct {
        uint64_t at, n; /* byte offset from the head, elements */
    } sections[WTOK_N_SECTIONS];
};

struct wtok_regex;
struct wtok_pool;
struct wtok_segments;

/* The typed view, and what is made at each start: contexts and caches. */
struct wtok_model {
    const struct wtok_image *image; /* owned: mapped, or from weir_malloc */
    bool mapped;
    int isa; /* enum wtok_isa of the block scanner */
#define X(name, type, member)                                                                      \
    const type *member;                                                                            \
    size_t n_##member;
    WTOK_SECTION_MAP(X)
#undef X
    uint64_t bloom_mask, merge_mask, long_mask, char_mask;
    bool all_bytes;     /* a byte model in which each byte has an id */
    bool may_be_cut;    /* texts, at the places of parts.c */
    bool roots[2][256]; /* first bytes of added tokens, raw and normalized */
    uint32_t root_nodes[2][256];
    unsigned char scan_byte[2]; /* the only first byte, when n_roots is 1 */
    unsigned n_roots[2];
    struct wtok_regex **regexes;    /* owned; one per splitter, NULL for those that need none */
    struct wtok_pool *pool;         /* owned: encoder contexts */
    struct wtok_segments *segments; /* owned; NULL without a segment cache */
};

/* Bytes that a mapped image takes: whole huge pages. */
static inline size_t wtok_image_room(size_t bytes) {
    const size_t huge = (size_t)2 << 20;
    return (bytes + huge - 1) & ~(huge - 1);
}
/* Sets pointers and masks from the sections that the image has so far. */
void wtok_model_view(struct wtok_model *m, const struct wtok_image *image);
/* Takes the image (from weir_malloc or mmap) and makes the view; frees it on failure. Checks
 * that every section lies inside; what is in them the checksum guards. */
enum weir_status wtok_model_open(const struct wtok_image *image, size_t bytes, bool mapped,
                                 const struct wtok_config *config, struct wtok_model **ret_model,
                                 struct weir_err *err) WEIR_MUST_CHECK;
void wtok_model_close(struct wtok_model *model);

static inline struct weir_span wtok_image_text(const struct wtok_model *m, struct wtok_text t) {
    return weir_span(m->text + t.at, t.len);
}

/* ---- hashing and keys ------------------------------------------------------------------------ */

static inline uint64_t wtok_mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide r = (wide)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* The first n of 16 bytes in two words, and n in the last byte. */
enum { WTOK_KEY_MAX = 15 };
struct wtok_key_form {
    uint64_t mask0, mask1, n, unused;
};
extern __attribute__((visibility("hidden")))
const struct wtok_key_form wtok_key_forms[WTOK_KEY_MAX + 1];
/* Key of 1 to 15 bytes: the bytes, zeros, and in the last byte their number, so that different
 * texts have different keys. 16 bytes must be readable at p. */
static inline void wtok_key(const unsigned char *p, size_t n, uint64_t *ret_k0, uint64_t *ret_k1) {
    uint64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, p + 8, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    a = __builtin_bswap64(a);
    b = __builtin_bswap64(b);
#endif
    *ret_k0 = a & wtok_key_forms[n].mask0;
    *ret_k1 = (b & wtok_key_forms[n].mask1) | wtok_key_forms[n].n;
}

/* The upper bits are the good ones. */
static inline uint64_t wtok_key_hash(uint64_t k0, uint64_t k1) {
    return (k0 * 0x9E3779B97F4A7C15u ^ k1) * 0xD6E8FEB86659FD93u;
}

uint64_t wtok_hash_long(const unsigned char *p, size_t n);
/* Ten bits of it stand above the id in LONG_WORDS. */
static inline uint32_t wtok_long_mark(uint64_t hash) {
    return (uint32_t)(hash >> 32) & ~WTOK_MAX_IDS;
}

/* A merge slot: left id (22 bits), right id (22), rank (20); all ones is empty. */
static inline uint64_t wtok_merge_pair(uint32_t left, uint32_t right) {
    return (uint64_t)left << 42 | (uint64_t)right << 20;
}
#define WTOK_RANK_MASK 0xFFFFFu
#define WTOK_NO_RANK UINT32_MAX
static inline uint64_t wtok_merge_hash(uint64_t pair) {
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}
/*
 * The table of merges: buckets of eight slots, one cache line, filled from the front; a bucket that
 * is full goes on in the next. So nearly every question costs one line.
 */
enum { WTOK_BUCKET = 8 };
static inline uint64_t wtok_merge_bucket(const struct wtok_model *m, uint64_t pair) {
    return wtok_merge_hash(pair) & m->merge_mask & ~(uint64_t)(WTOK_BUCKET - 1);
}
/* The rank of a pair in the table, or WTOK_NO_RANK. */
static inline uint32_t wtok_merge_find(const struct wtok_model *m, uint64_t pair) {
    for (uint64_t i = wtok_merge_bucket(m, pair);; i = (i + WTOK_BUCKET) & m->merge_mask) {
        const uint64_t *slots = m->merges + i;
        for (unsigned k = 0; k < WTOK_BUCKET; k++) {
            if (slots[k] == UINT64_MAX)
                return WTOK_NO_RANK;
            if ((slots[k] & ~(uint64_t)WTOK_RANK_MASK) == pair)
                return (uint32_t)(slots[k] & WTOK_RANK_MASK);
        }
    }
}

/* The rank of a pair, or WTOK_NO_RANK. Most pairs have none: two bits tell whether the ids are ever
 * merged on their side, one bit of a small table by hash whether the pair may be; only then the
 * large table is asked. */
static inline uint32_t wtok_merge_rank(const struct wtok_model *m, uint32_t left, uint32_t right) {
    const uint64_t *rights = m->pair_bits + m->n_pair_bits / 2;
    uint64_t pair = wtok_merge_pair(left, right), hash = wtok_merge_hash(pair);
    uint64_t bloom = hash >> 40 & m->bloom_mask;
    if ((m->pair_bits[left / 64] >> left % 64 & rights[right / 64] >> right % 64 &
         m->pair_bloom[bloom / 64] >> bloom % 64 & 1) == 0)
        return WTOK_NO_RANK;
    return wtok_merge_find(m, pair);
}

/* The id that a merge of this rank gives. Most vocabularies list the merged tokens in the order of
 * their merges, which saves a look-up. */
static inline uint32_t wtok_rank_id(const struct wtok_model *m, uint32_t rank) {
    return m->image->rank_base != WTOK_NO_ID ? m->image->rank_base + rank : m->rank_ids[rank];
}

/* Lines need not be a power of two: the upper half of the hash is scaled to their number. */
static inline uint64_t wtok_word_line_of(uint64_t hash, uint64_t n_lines) {
    return (hash >> 32) * n_lines >> 32;
}
static inline uint64_t wtok_word_line(const struct wtok_model *m, uint64_t hash) {
    return wtok_word_line_of(hash, m->n_words);
}
/* The id of a word by its key and the key's hash, or WTOK_NO_ID. */
static inline uint32_t wtok_find_key(const struct wtok_model *m, uint64_t k0, uint64_t k1,
                                     uint64_t hash) {
    for (uint64_t i = wtok_word_line(m, hash);; i = i + 1 < m->n_words ? i + 1 : 0) {
        const struct wtok_word_line *w = &m->words[i];
        bool first = ((w->k0[0] ^ k0) | (w->k1[0] ^ k1)) == 0;
        bool second = ((w->k0[1] ^ k0) | (w->k1[1] ^ k1)) == 0;
        bool third = ((w->k0[2] ^ k0) | (w->k1[2] ^ k1)) == 0;
        /* How full a line is nobody can foretell, but few words are in it or beyond. */
        if (first | second | third)
            return w->ids[second + 2 * third];
        if (w->goes_on == 0)
            return WTOK_NO_ID;
    }
}

/* The id that a whole word is, or WTOK_NO_ID. 16 bytes must be readable at p. */
uint32_t wtok_find_word(const struct wtok_model *m, const unsigned char *p, size_t n);

/* ---- merges (merge.c) ------------------------------------------------------------------------ */

/* Room for the heap merge of long words; grows with them. */
struct wtok_heap {
    void *block; /* owned */
    size_t cap;  /* symbols */
};
void wtok_heap_fini(struct wtok_heap *heap);
/* Ids of a word by merging alone: lowest rank first, leftmost among equals. Writes at most n ids
 * (text models: n + 3). */
enum weir_status wtok_merge(const struct wtok_model *m, struct wtok_heap *heap,
                            const unsigned char *p, size_t n, uint32_t *ids,
                            size_t *ret_n) WEIR_MUST_CHECK;

/* ---- cuts (cut.c): places inside a word over which no token reaches -------------------------- */

/* Sizes of the four tables in bits, powers of two, and where each begins. */
enum {
    WTOK_CUT_WHOLE_BITS = 19,
    WTOK_CUT_PART_BITS = 17,
    WTOK_CUT_AT_1 = 1 << (WTOK_CUT_WHOLE_BITS - 6),
    WTOK_CUT_AT_2 = WTOK_CUT_AT_1 + (1 << (WTOK_CUT_PART_BITS - 6)),
    WTOK_CUT_AT_3 = WTOK_CUT_AT_2 + (1 << (WTOK_CUT_PART_BITS - 6)),
    WTOK_CUT_WORDS = WTOK_CUT_AT_3 + 65536 / 64,
};
/* Enters all pairs of characters in a token's text. */
void wtok_cut_learn(uint64_t *cuts, const unsigned char *p, size_t n);
/* May a token hold the end of character x (last byte lx) and the start of y (first byte fy)? */
bool wtok_cut_joined(const uint64_t *cuts, uint32_t x, unsigned char lx, uint32_t y,
                     unsigned char fy);
/* The places in the characters from p to e where a cut is safe: bit i of the result stands for the
 * place in front of character i, which begins at p + offsets[i]. Reads at most 64 characters;
 * *ret_n becomes how many, and offsets[*ret_n] the end of the last. Character 0 has no bit. */
uint64_t wtok_cut_places(const uint64_t *cuts, const unsigned char *p, const unsigned char *e,
                         uint32_t offsets[65], unsigned *ret_n);

/* ---- splitting (scan.c, steps.c) ------------------------------------------------------------- */

/* End of the word at p, in the scalar reference; p < e, whole characters. DeepSeek keeps the end of
 * the current isolated run in *run (start with NULL). */
const unsigned char *wtok_scan_next(enum wtok_family family, const unsigned char *p,
                                    const unsigned char *e, const unsigned char **run);
/* Pattern text -> family; false when it is not one that is scanned by hand. */
bool wtok_scan_known(struct weir_span pattern, enum wtok_family *ret_family);

#endif
