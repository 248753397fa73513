/*
 * Compiling, the second half: the tables that encoding searches, for single characters, merges and
 * whole words.
 */
#include "tokenizer/compile_priv.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>

typedef unsigned char u8;

/* ---- characters ------------------------------------------------------------------------------ */

static size_t table_size(size_t n) {
    size_t cap = 16;
    while (cap * 3 < n * 5)
        cap *= 2;
    return cap;
}

static enum weir_status chars(struct wtok_compiler *c) {
    size_t n = 0, len;
    if (c->spec->byte_level)
        return wtok_compile_put(c, WTOK_SECTION_CHARS, NULL, 0, 0) ? WEIR_OK
                                                                   : wtok_compile_no_memory(c->err);
    for (size_t id = 0; id < c->spec->n_ids; id++) {
        const u8 *p = wtok_compile_text(c, id, &len);
        unsigned one = 0;
        if ((c->flags[id] & WTOK_TOKEN_WORD) != 0 && len > 0 && len <= 4)
            (void)wtok_char(p, &one);
        n += one != 0 && one == len;
    }
    size_t cap = table_size(n);
    struct wtok_char_id *table = weir_calloc(cap, sizeof(*table));
    if (table == NULL)
        return wtok_compile_no_memory(c->err);
    for (size_t id = 0; id < c->spec->n_ids; id++) {
        const u8 *p = wtok_compile_text(c, id, &len);
        unsigned one = 0;
        if ((c->flags[id] & WTOK_TOKEN_WORD) != 0 && len > 0 && len <= 4)
            (void)wtok_char(p, &one);
        if (one == 0 || one != len)
            continue;
        uint32_t text = 0;
        memcpy(&text, p, len);
        size_t i = wtok_mix(text, len) & (cap - 1);
        while (table[i].len != 0)
            i = (i + 1) & (cap - 1);
        table[i] = (struct wtok_char_id){text, (uint32_t)len, (uint32_t)id};
    }
    bool ok = wtok_compile_put(c, WTOK_SECTION_CHARS, table, cap, sizeof(*table));
    weir_free(table);
    return ok ? WEIR_OK : wtok_compile_no_memory(c->err);
}

/* ---- merges ---------------------------------------------------------------------------------- */

static enum weir_status merges(struct wtok_compiler *c) {
    const struct wtok_spec *s = c->spec;
    size_t cap = table_size(s->n_merges), n_ranks = 0;
    uint64_t *table = weir_malloc(cap * sizeof(*table));
    uint32_t *ids = weir_calloc(s->n_merges + 1, sizeof(*ids));
    uint64_t *cuts = weir_calloc(WTOK_CUT_WORDS, sizeof(*cuts));
    enum weir_status st = WEIR_NOMEM;
    if (table == NULL || ids == NULL || cuts == NULL)
        goto done;
    memset(table, 0xFF, cap * sizeof(*table));
    for (size_t i = 0; i < s->n_merges; i++) {
        const struct wtok_spec_merge *m = &s->merges[i];
        size_t rank = s->ranks != NULL ? s->ranks[i] : i, n;
        uint64_t pair = wtok_merge_pair(m->left, m->right);
        size_t at = wtok_merge_hash(pair) & (cap - 1) & ~(size_t)(WTOK_BUCKET - 1);
        /* A pair that is listed twice counts where it stands last, as in the reference. */
        while (table[at] != UINT64_MAX && (table[at] & ~(uint64_t)WTOK_RANK_MASK) != pair)
            at = (at + 1) & (cap - 1);
        table[at] = pair | rank;
        ids[rank] = m->id;
        n_ranks = rank + 1 > n_ranks ? rank + 1 : n_ranks;
        const u8 *p = wtok_compile_text(c, m->id, &n);
        wtok_cut_learn(cuts, p, n);
    }
    wtok_compile_head(c)->rank_base = n_ranks > 0 ? ids[0] : WTOK_NO_ID;
    for (size_t rank = 0; rank < n_ranks; rank++)
        if (ids[rank] != ids[0] + rank)
            wtok_compile_head(c)->rank_base = WTOK_NO_ID;
    if (wtok_compile_put(c, WTOK_SECTION_MERGES, table, cap, sizeof(*table)) &&
        wtok_compile_put(c, WTOK_SECTION_RANK_IDS, ids, n_ranks, sizeof(*ids)) &&
        wtok_compile_put(c, WTOK_SECTION_CUTS, cuts, WTOK_CUT_WORDS, sizeof(*cuts)))
        st = WEIR_OK;
done:
    weir_free(table);
    weir_free(ids);
    weir_free(cuts);
    return st == WEIR_OK ? st : wtok_compile_no_memory(c->err);
}

/* Aids of the merge table: which ids are ever merged on which side, and all pairs of bytes. */
static enum weir_status merge_aids(struct wtok_compiler *c) {
    const struct wtok_spec *s = c->spec;
    size_t half = s->n_ids / 64 + 1, n_pairs = s->byte_level ? 65536 : 0, n_bloom = 1;
    while (n_bloom * 64 < s->n_merges * 8)
        n_bloom *= 2;
    uint64_t *bits = weir_calloc(half * 2, sizeof(*bits));
    uint64_t *bloom = weir_calloc(n_bloom, sizeof(*bloom));
    uint32_t *pairs = weir_malloc(n_pairs * sizeof(*pairs) + 1);
    bool ok = bits != NULL && pairs != NULL && bloom != NULL;
    for (size_t i = 0; i < s->n_merges && ok; i++) {
        uint64_t hash = wtok_merge_hash(wtok_merge_pair(s->merges[i].left, s->merges[i].right));
        uint64_t bit = hash >> 40 & (n_bloom * 64 - 1);
        bloom[bit / 64] |= 1ull << bit % 64;
        bits[s->merges[i].left / 64] |= 1ull << s->merges[i].left % 64;
        bits[half + s->merges[i].right / 64] |= 1ull << s->merges[i].right % 64;
    }
    ok = ok && wtok_compile_put(c, WTOK_SECTION_PAIR_BITS, bits, half * 2, sizeof(*bits)) &&
         wtok_compile_put(c, WTOK_SECTION_PAIR_BLOOM, bloom, n_bloom, sizeof(*bloom));
    if (ok) {
        struct wtok_model view = {0};
        wtok_model_view(&view, wtok_compile_head(c));
        for (size_t i = 0; i < n_pairs; i++) {
            uint32_t a = wtok_compile_head(c)->byte_ids[i >> 8],
                     b = wtok_compile_head(c)->byte_ids[i & 255];
            pairs[i] =
                a != WTOK_NO_ID && b != WTOK_NO_ID ? wtok_merge_rank(&view, a, b) : WTOK_NO_RANK;
        }
        ok = wtok_compile_put(c, WTOK_SECTION_BYTE_PAIRS, pairs, n_pairs, sizeof(*pairs));
    }
    weir_free(bits);
    weir_free(bloom);
    weir_free(pairs);
    return ok ? WEIR_OK : wtok_compile_no_memory(c->err);
}

/* ---- whole words ----------------------------------------------------------------------------- */

/* Marks the tokens that a word of their text becomes. A model may list tokens that merging never
 * makes; with ignore_merges a word is looked up before any merging. */
static enum weir_status mark_words(struct wtok_compiler *c, bool *is_word, size_t *ret_short,
                                   size_t *ret_long) {
    struct wtok_model view = {0};
    struct wtok_heap heap = {0};
    enum weir_status st = WEIR_OK;
    uint32_t *ids = NULL;
    size_t room = 0;
    wtok_model_view(&view, wtok_compile_head(c));
    for (size_t id = 0; id < c->spec->n_ids && st == WEIR_OK; id++) {
        size_t n, out = 0;
        const u8 *p = wtok_compile_text(c, id, &n);
        if ((c->flags[id] & WTOK_TOKEN_WORD) == 0 || n == 0)
            continue;
        if (n > room) {
            room = n * 2;
            uint32_t *more = weir_realloc(ids, room * sizeof(*ids));
            if (more == NULL) {
                st = WEIR_NOMEM;
                break;
            }
            ids = more;
        }
        if (!c->spec->ignore_merges)
            st = wtok_merge(&view, &heap, p, n, ids, &out);
        is_word[id] = c->spec->ignore_merges || (out == 1 && ids[0] == id);
        *(n <= WTOK_KEY_MAX ? ret_short : ret_long) += is_word[id];
    }
    wtok_heap_fini(&heap);
    weir_free(ids);
    return st;
}

static void enter_word(struct wtok_word_line *table, size_t cap, const u8 *p, size_t n,
                       uint32_t id) {
    uint64_t k0, k1;
    wtok_key(p, n, &k0, &k1);
    size_t at = wtok_word_line_of(wtok_key_hash(k0, k1), cap);
    for (; table[at].k1[WTOK_WORD_WAYS - 1] != 0; at = at + 1 < cap ? at + 1 : 0)
        table[at].goes_on = 1;
    size_t way = 0;
    while (table[at].k1[way] != 0)
        way++;
    table[at].k0[way] = k0;
    table[at].k1[way] = k1;
    table[at].ids[way] = id;
}

static enum weir_status words(struct wtok_compiler *c) {
    size_t n_short = 0, n_long = 0, cap_short, cap_long, n;
    bool *is_word = weir_calloc(c->spec->n_ids + 1, sizeof(*is_word));
    struct wtok_word_line *table = NULL;
    uint32_t *longs = NULL;
    enum weir_status st = is_word != NULL ? mark_words(c, is_word, &n_short, &n_long) : WEIR_NOMEM;
    if (st != WEIR_OK)
        goto done;
    cap_short = n_short * 2 / WTOK_WORD_WAYS + 1; /* half full: few words beyond their line */
    cap_long = table_size(n_long * 2);
    table = weir_calloc(cap_short, sizeof(*table));
    longs = weir_malloc(cap_long * sizeof(*longs));
    st = WEIR_NOMEM;
    if (table == NULL || longs == NULL)
        goto done;
    memset(longs, 0xFF, cap_long * sizeof(*longs));
    for (size_t id = 0; id < c->spec->n_ids; id++) {
        const u8 *p = wtok_compile_text(c, id, &n);
        if (!is_word[id])
            continue;
        if (n > WTOK_KEY_MAX) {
            uint64_t hash = wtok_hash_long(p, n);
            size_t at = hash & (cap_long - 1);
            while (longs[at] != WTOK_NO_ID)
                at = (at + 1) & (cap_long - 1);
            longs[at] = (uint32_t)id | wtok_long_mark(hash);
            continue;
        }
        enter_word(table, cap_short, p, n, (uint32_t)id);
    }
    if (wtok_compile_put(c, WTOK_SECTION_WORDS, table, cap_short, sizeof(*table)) &&
        wtok_compile_put(c, WTOK_SECTION_LONG_WORDS, longs, cap_long, sizeof(*longs)))
        st = WEIR_OK;
done:
    weir_free(is_word);
    weir_free(table);
    weir_free(longs);
    return st == WEIR_OK ? st : wtok_compile_no_memory(c->err);
}

enum weir_status wtok_compile_tables(struct wtok_compiler *c) {
    enum weir_status st = chars(c);
    if (st == WEIR_OK)
        st = merges(c);
    if (st == WEIR_OK)
        st = merge_aids(c);
    return st == WEIR_OK ? words(c) : st;
}
