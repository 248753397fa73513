/* The typed view of an image, and the life of a model. */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/segments_priv.h"

#include <sys/mman.h>

typedef unsigned char u8;

#define FULL UINT64_MAX
#define BYTES(n) (FULL >> (64 - 8 * (n)))
#define SHORT(n)                                                                                   \
    { BYTES(n), 0, (n##ull) << 56, 0 }
#define LONG(n, more)                                                                              \
    { FULL, BYTES(more), (n##ull) << 56, 0 }
const struct wtok_key_form wtok_key_forms[WTOK_KEY_MAX + 1] = {
    {0, 0, 0, 0}, SHORT(1),    SHORT(2),    SHORT(3),    SHORT(4),    SHORT(5),
    SHORT(6),     SHORT(7),    SHORT(8),    LONG(9, 1),  LONG(10, 2), LONG(11, 3),
    LONG(12, 4),  LONG(13, 5), LONG(14, 6), LONG(15, 7),
};

uint64_t wtok_hash_long(const u8 *p, size_t n) {
    uint64_t h = n, x = 0;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&x, p, 8);
        h = wtok_mix(h, x);
    }
    x = 0;
    memcpy(&x, p, n);
    return wtok_mix(h, x);
}

uint32_t wtok_find_word(const struct wtok_model *m, const u8 *p, size_t n) {
    if (n <= WTOK_KEY_MAX) {
        uint64_t k0, k1;
        wtok_key(p, n, &k0, &k1);
        return wtok_find_key(m, k0, k1, wtok_key_hash(k0, k1));
    }
    uint64_t hash = wtok_hash_long(p, n);
    uint32_t mark = wtok_long_mark(hash);
    for (uint64_t i = hash & m->long_mask; m->long_words[i] != WTOK_NO_ID;
         i = (i + 1) & m->long_mask) {
        if ((m->long_words[i] & ~WTOK_MAX_IDS) != mark)
            continue;
        uint32_t id = m->long_words[i] & WTOK_MAX_IDS, at = m->offsets[id];
        if (m->offsets[id + 1] - at == n && memcmp(m->bytes + at, p, n) == 0)
            return id;
    }
    return WTOK_NO_ID;
}

static void view_roots(struct wtok_model *m, unsigned which, const struct wtok_trie_node *trie,
                       size_t n) {
    memset(m->roots[which], 0, sizeof(m->roots[which]));
    m->n_roots[which] = 0;
    if (n == 0)
        return;
    for (uint32_t k = trie[0].child; k != 0; k = trie[k].sibling) {
        m->roots[which][trie[k].byte] = true;
        m->root_nodes[which][trie[k].byte] = k;
        m->scan_byte[which] = (u8)trie[k].byte;
        m->n_roots[which]++;
    }
}

void wtok_model_view(struct wtok_model *m, const struct wtok_image *image) {
    m->image = image;
#define X(name, type, member)                                                                      \
    m->member = (const type *)(const void *)((const char *)image +                                 \
                                             image->sections[WTOK_SECTION_##name].at);             \
    m->n_##member = image->sections[WTOK_SECTION_##name].n;
    WTOK_SECTION_MAP(X)
#undef X
    m->bloom_mask = m->n_pair_bloom * 64 - 1;
    m->merge_mask = m->n_merges - 1;
    m->long_mask = m->n_long_words - 1;
    m->char_mask = m->n_chars - 1;
    m->all_bytes = image->byte_level != 0;
    for (unsigned b = 0; b < 256; b++)
        m->all_bytes = m->all_bytes && image->byte_ids[b] != WTOK_NO_ID;
    view_roots(m, 0, m->raw_trie, m->n_raw_trie);
    view_roots(m, 1, m->normal_trie, m->n_normal_trie);
}

/* The sections lie inside, and tables that are searched with a mask have a size that is a power of
 * two. The checksum guards the content. */
static bool sections_fit(const struct wtok_image *image, size_t bytes) {
    static const size_t sizes[] = {
#define X(name, type, member) sizeof(type),
        WTOK_SECTION_MAP(X)
#undef X
    };
    for (size_t i = 0; i < WTOK_N_SECTIONS; i++) {
        uint64_t at = image->sections[i].at, n = image->sections[i].n;
        if (at % 64 != 0 || at > bytes || n > (bytes - at) / sizes[i])
            return false;
    }
    static const enum wtok_section tables[] = {WTOK_SECTION_MERGES, WTOK_SECTION_LONG_WORDS,
                                               WTOK_SECTION_CHARS, WTOK_SECTION_PAIR_BLOOM};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tables); i++) {
        uint64_t n = image->sections[tables[i]].n;
        bool may_be_empty = tables[i] == WTOK_SECTION_CHARS && image->byte_level != 0;
        if ((n == 0 && !may_be_empty) || (n & (n - 1)) != 0)
            return false;
    }
    return image->sections[WTOK_SECTION_MERGES].n >= WTOK_BUCKET &&
           image->sections[WTOK_SECTION_WORDS].n > 0 &&
           image->sections[WTOK_SECTION_WORDS].n <= UINT32_MAX &&
           image->sections[WTOK_SECTION_OFFSETS].n == (uint64_t)image->n_ids + 1 &&
           image->sections[WTOK_SECTION_TOKEN_FLAGS].n == image->n_ids &&
           image->sections[WTOK_SECTION_PAIR_BITS].n == 2 * ((uint64_t)image->n_ids / 64 + 1) &&
           image->sections[WTOK_SECTION_BYTE_PAIRS].n == (image->byte_level != 0 ? 65536 : 0) &&
           image->sections[WTOK_SECTION_CUTS].n == WTOK_CUT_WORDS &&
           image->family < WTOK_N_FAMILIES;
}

static void release(const struct wtok_image *image, size_t bytes, bool mapped) {
    if (mapped)
        munmap((void *)(uintptr_t)image, wtok_image_room(bytes));
    else
        weir_free((void *)(uintptr_t)image);
}

enum weir_status wtok_model_open(const struct wtok_image *image, size_t bytes, bool mapped,
                                 const struct wtok_config *config, struct wtok_model **ret_model,
                                 struct weir_err *err) {
    if (bytes < sizeof(*image) || image->total != bytes || !sections_fit(image, bytes)) {
        release(image, bytes, mapped);
        return weir_err_set(err, WEIR_INVALID, "the compiled tokenizer is broken");
    }
    struct wtok_model *m = weir_calloc(1, sizeof(*m));
    if (m == NULL) {
        release(image, bytes, mapped);
        return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
    }
    m->mapped = mapped;
    m->isa = wtok_isa_best();
    wtok_model_view(m, image);
    m->may_be_cut = wtok_parts_possible(m);
    enum weir_status st = wtok_pool_create(&m->pool);
    if (st == WEIR_OK && config->segment_cache_bytes > 0)
        st = wtok_segments_create(config->segment_cache_bytes, &m->segments);
    if (st == WEIR_OK)
        st = wtok_steps_open(m, err);
    else
        (void)weir_err_set(err, st, "out of memory while loading the tokenizer");
    if (st != WEIR_OK) {
        wtok_model_close(m);
        return st;
    }
    *ret_model = m;
    return WEIR_OK;
}

void wtok_model_close(struct wtok_model *m) {
    if (m == NULL)
        return;
    wtok_steps_close(m);
    wtok_pool_destroy(m->pool);
    wtok_segments_destroy(m->segments);
    release(m->image, m->image->total, m->mapped);
    weir_free(m);
}
