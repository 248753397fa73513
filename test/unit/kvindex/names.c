/* The name table, one segment of it, which kvi.h does not show: coming and going of a few names
 * rewrites nothing, whatever their number; every name is found through all splits and merges. */
#include "kvindex/kvi_persist.h"
#include "kvindex/kvi_priv.h"

#include "base/rng.h"
#include "test/check.h"

#include <stdlib.h>
#include <unistd.h>

enum { NAMES = 12000 };
static struct weir_rng rng;
static const struct kvi_worker worker = {1, 0};
static uint64_t names[NAMES];
static uint64_t n_rewritten;

static uint32_t segment_of(uint64_t name) {
    return (uint32_t)(kvi_name_hash(name) >> (64 - KVI_NAME_BITS));
}

/* Names of one segment. */
static void draw_names(uint32_t segment) {
    for (size_t n = 0; n < NAMES;) {
        names[n] = weir_rng_u64(&rng);
        n += segment_of(names[n]) == segment;
    }
}

static void change(struct kvi_index *x, size_t k, bool store) {
    uint64_t before = x->n_rewritten;
    struct kvi_block b = {names[k], names[k]};
    CHECK((store ? kvi_store(x, worker, KVI_DEVICE, false, 0, &b, 1, NULL)
                 : kvi_remove(x, worker, KVI_DEVICE, &names[k], 1)) == KVI_OK);
    n_rewritten += x->n_rewritten - before;
}

/* A sixth of the names goes and comes again, at each size on the way up and on the way down. */
static void swing(struct kvi_index *x, size_t n) {
    size_t low = n - n / 6 - 1;
    for (int turn = 0; turn < 3; turn++) {
        n_rewritten = 0;
        for (size_t k = n; k-- > low;)
            change(x, k, false);
        for (size_t k = low; k < n; k++)
            change(x, k, true);
        /* The first turn may still find the sizes that the way here has left. */
        uint32_t parts = 1u << x->names[segment_of(names[0])].bits;
        CHECK_MSG(n_rewritten <= (turn == 0 ? parts : 0), "%zu names, turn %d: rewritten %u times",
                  n, turn, (unsigned)n_rewritten);
    }
}

static void case_swing(void) {
    struct kvi_index *x = kvi_create(NULL);
    CHECK(x != NULL);
    draw_names((uint32_t)weir_rng_below(&rng, KVI_NAME_SEGMENTS));
    size_t n = 0;
    for (size_t want = 1; want < NAMES; want += want / 16 + 1) {
        for (; n < want; n++)
            change(x, n, true);
        swing(x, n);
    }
    size_t larger = x->bytes;
    for (size_t want = n; want > 0; want -= want / 16 + 1) {
        for (; n > want; n--)
            change(x, n - 1, false);
        swing(x, n);
    }
    /* Two to four parts of eight to fifteen units, and what is left is one unit. */
    CHECK(x->bytes + (size_t)16 * KVI_UNIT < larger);
    kvi_destroy(x);
}

/* Back from kvi_name_hash. */
static uint64_t inverse(uint64_t odd) {
    uint64_t y = odd;
    for (int i = 0; i < 6; i++)
        y *= 2 - odd * y;
    return y;
}
static uint64_t name_of(uint64_t h) {
    h *= inverse(0xBF58476D1CE4E5B9u);
    h ^= h >> 29 ^ h >> 58;
    h *= inverse(0x9E3779B97F4A7C15u);
    return h ^ h >> 32;
}

/* Enough of one segment that tags run out of bits and are read again, up and down. */
static void case_many(void) {
    enum { MANY = 1100000 };
    struct kvi_index *x = kvi_create(NULL);
    uint64_t *name = malloc(MANY * sizeof(*name)),
             segment =
                 weir_rng_below(&rng, KVI_NAME_SEGMENTS / 8) * 8; /* with the smallest parts */
    CHECK(x != NULL && name != NULL);
    size_t empty = x->bytes;
    for (size_t i = 0; i < MANY; i++) {
        name[i] = name_of(segment << (64 - KVI_NAME_BITS) | weir_rng_u64(&rng) >> KVI_NAME_BITS);
        CHECK(segment_of(name[i]) == segment);
        struct kvi_block b = {name[i], i};
        CHECK(kvi_store(x, worker, KVI_DEVICE, false, 0, &b, 1, NULL) == KVI_OK);
    }
    CHECK(x->names[segment].bits > 8);
    for (size_t i = 0; i < MANY; i++) { /* in any order */
        size_t k = i + (size_t)weir_rng_below(&rng, MANY - i);
        uint64_t gone = name[k];
        name[k] = name[i];
        CHECK(kvi_remove(x, worker, KVI_DEVICE, &gone, 1) == KVI_OK);
        CHECK(kvi_remove(x, worker, KVI_DEVICE, &gone, 1) == KVI_BLOCK_NOT_FOUND);
    }
    CHECK(x->names[segment].bits == 0);
    kvi_maintain(x);
    /* Node numbers stay in use, and a page of each class of memory. */
    CHECK(x->bytes < empty + (size_t)MANY * (sizeof(struct kvi_node) + 32));
    free(name);
    kvi_destroy(x);
}

/* Every rank calls another block by the same name: no split can part them. */
static void case_same_name(void) {
    enum { RANKS = 9000 };
    struct kvi_index *x = kvi_create(NULL);
    const uint64_t name = 7;
    CHECK(x != NULL);
    for (uint64_t r = 0; r < RANKS; r++) {
        struct kvi_block b = {name, r};
        CHECK(kvi_store(x, (struct kvi_worker){r, 0}, KVI_DEVICE, false, 0, &b, 1, NULL) == KVI_OK);
    }
    for (uint64_t r = 0; r < RANKS; r++) {
        struct kvi_worker w = {r * 7 % RANKS, 0};
        CHECK(kvi_remove(x, w, KVI_DEVICE, &name, 1) == KVI_OK && kvi_rank_entries(x, w) == 0);
    }
    CHECK(kvi_remove(x, worker, KVI_DEVICE, &name, 1) == KVI_BLOCK_NOT_FOUND);
    kvi_destroy(x);
}

/* A snapshot says how many names there will be: the table is as large at once and no part of it is
 * rewritten, except where chance lays many into one; every name is found. Also where names are
 * already, and in a budget that does not hold them. */
static void case_restored(size_t n) {
    char path[] = "/tmp/kvi-names-XXXXXX";
    int fd = mkstemp(path);
    struct kvi_index *x = kvi_create(NULL), *y = kvi_create(NULL), *z = kvi_create(NULL);
    struct kvi_index *small = kvi_create(&(struct kvi_options){.max_bytes = n * 14});
    uint64_t *name = malloc(n * sizeof(*name));
    CHECK(fd >= 0 && x != NULL && y != NULL && z != NULL && small != NULL && name != NULL);
    close(fd);
    struct kvi_block other = {5, 6}, b[KVI_NODE_BLOCKS];
    for (size_t i = 0; i < n; i += KVI_NODE_BLOCKS) {
        for (size_t k = 0; k < KVI_NODE_BLOCKS; k++)
            b[k] = (struct kvi_block){name[i + k] = weir_rng_u64(&rng), i + k};
        CHECK(kvi_store(x, worker, KVI_DEVICE, i > 0, i > 0 ? name[i - 1] : 0, b, KVI_NODE_BLOCKS,
                        NULL) == KVI_OK);
    }
    CHECK(kvi_snapshot_write(x, path, NULL, 0) == KVI_FILE_OK);
    CHECK(kvi_snapshot_read(y, path, NULL, NULL) == KVI_FILE_OK);
    CHECK_MSG(y->n_rewritten * 20 <= x->n_rewritten, "%zu names: %u of %u rewritten", n,
              (unsigned)y->n_rewritten, (unsigned)x->n_rewritten);
    CHECK(y->bytes <= x->bytes + x->bytes / 8);
    for (size_t i = n; i-- > 0;)
        CHECK(kvi_remove(y, worker, KVI_DEVICE, &name[i], 1) == KVI_OK);
    CHECK_EQ_U64(y->blocks, 0);
    CHECK_MSG(y->bytes < x->bytes / 8 + (512 << 10), "%zu names: %zu bytes are left", n, y->bytes);
    for (uint64_t i = 0; i < 200; i++, other.block_hash += 7, other.tokens_hash++)
        CHECK(kvi_store(z, (struct kvi_worker){2, 0}, KVI_DEVICE, false, 0, &other, 1, NULL) ==
              KVI_OK);
    CHECK(kvi_snapshot_read(z, path, NULL, NULL) == KVI_FILE_OK);
    CHECK_EQ_U64(kvi_rank_entries(z, worker), n);
    CHECK_EQ_U64(kvi_rank_entries(z, (struct kvi_worker){2, 0}), 200);
    /* It takes what there is room for, as a flood of events. */
    CHECK(kvi_snapshot_read(small, path, NULL, NULL) != KVI_FILE_CORRUPT);
    CHECK(small->bytes <= small->max_bytes && small->blocks > n / 8);
    unlink(path);
    free(name);
    kvi_destroy(x);
    kvi_destroy(y);
    kvi_destroy(z);
    kvi_destroy(small);
}

static void case_restored_sizes(void) {
    static const size_t sizes[] = {32 << 10, 96 << 10, 300 << 10, 640 << 10};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        case_restored(sizes[i]);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_swing);
    CHECK_RUN(case_many);
    CHECK_RUN(case_same_name);
    CHECK_RUN(case_restored_sizes);
    return check_finish();
}
