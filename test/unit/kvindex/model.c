/* Random operations on the index and on the naive model: equal results, scores, dumps, and no
 * growth. */
#include "base/rng.h"
#include "test/check.h"
#include "test/unit/kvindex/naive.h"

static struct weir_rng rng;
static struct naive naive;

static uint64_t below(uint64_t n) {
    return weir_rng_below(&rng, n);
}

static struct kvi_worker worker_of(uint32_t rank) {
    return (struct kvi_worker){100 + rank / 2, rank % 2};
}

static bool restore(void *arg, const struct kvi_event *event) {
    enum kvi_result r;
    kvi_apply(arg, event, 1, &r);
    return r == KVI_OK;
}

static void compare(struct kvi_reader *reader, size_t depth) {
    uint64_t query[NAIVE_DEPTH];
    for (size_t i = 0; i < depth; i++)
        query[i] = below(3);
    struct kvi_score scores[NAIVE_RANKS];
    size_t n = kvi_find(reader, query, depth, false, scores, NAIVE_RANKS), want_n = 0;
    for (uint32_t r = 0; r < NAIVE_RANKS; r++) {
        uint32_t want = naive_score(&naive, r, query, depth), got = 0;
        want_n += want > 0;
        for (size_t i = 0; i < n; i++)
            if (scores[i].worker.worker_id == worker_of(r).worker_id &&
                scores[i].worker.dp_rank == worker_of(r).dp_rank)
                got = scores[i].blocks[KVI_DEVICE];
        CHECK_MSG(got == want, "rank %u: score %u, want %u", r, got, want);
    }
    CHECK_EQ_U64(n, want_n);
}

static void random_step(struct kvi_index *x, struct kvi_reader *reader) {
    uint32_t rank = (uint32_t)below(NAIVE_RANKS);
    struct kvi_block blocks[4];
    uint64_t hashes[4], parent = below(300);
    size_t n = below(5);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = (struct kvi_block){below(300), below(3)};
        hashes[i] = below(300);
    }
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: {
        bool has_parent = below(4) > 0;
        for (int k = 0; has_parent && k < NAIVE_BLOCKS; k++) /* the model's paths are bounded */
            if (naive.blocks[rank][k].used && naive.blocks[rank][k].hash == parent &&
                naive.blocks[rank][k].depth + n > NAIVE_DEPTH)
                return;
        enum kvi_result want = naive_store(&naive, rank, has_parent, parent, blocks, n);
        CHECK(kvi_store(x, worker_of(rank), KVI_DEVICE, has_parent, parent, blocks, n, NULL) ==
              want);
        break;
    }
    case 5:
    case 6:
    case 7:
        CHECK(kvi_remove(x, worker_of(rank), KVI_DEVICE, hashes, n) ==
              naive_remove(&naive, rank, hashes, n));
        break;
    case 8:
        if (below(40) == 0) {
            kvi_clear(x, worker_of(rank));
            naive_clear(&naive, rank);
        } else if (below(60) == 0) {
            kvi_remove_worker(x, worker_of(rank).worker_id);
            naive_clear(&naive, rank & ~1u);
            naive_clear(&naive, rank | 1u);
        }
        break;
    default:
        compare(reader, below(NAIVE_DEPTH));
    }
}

static void case_equals_the_naive_model(void) {
    const char *more = getenv("WEIR_MODEL_OPS");
    uint64_t ops = more != NULL ? strtoull(more, NULL, 0) : 300000;
    for (int round = 0; round < 10; round++) {
        weir_rng_seed(&rng, check_seed() + (uint64_t)round);
        memset(&naive, 0, sizeof(naive));
        struct kvi_index *x = kvi_create(NULL), *copy = kvi_create(NULL);
        CHECK(x != NULL && copy != NULL);
        struct kvi_reader *reader = kvi_reader_open(x), *copy_reader = kvi_reader_open(copy);
        CHECK(reader != NULL && copy_reader != NULL);
        for (uint64_t i = 0; i < ops / 10; i++)
            random_step(x, reader);
        struct kvi_stats stats;
        kvi_get_stats(x, &stats);
        CHECK_EQ_U64(stats.entries, naive_entries(&naive));
        kvi_dump(x, restore, copy);
        for (int i = 0; i < 2000; i++)
            compare(copy_reader, below(NAIVE_DEPTH));
        for (uint32_t r = 0; r < NAIVE_RANKS; r++)
            kvi_remove_worker(x, worker_of(r).worker_id);
        kvi_get_stats(x, &stats);
        CHECK_EQ_U64(stats.entries, 0);
        CHECK_EQ_U64(stats.nodes, 0);
        CHECK_EQ_U64(stats.ranks, 0);
        kvi_reader_close(reader);
        kvi_reader_close(copy_reader);
        kvi_destroy(x);
        kvi_destroy(copy);
    }
}

/* Twice as many blocks as the budget takes: all events are applied, the coldest blocks went. */
static void case_budget_is_held(void) {
    struct kvi_options o = {.max_bytes = 4 << 20};
    struct kvi_index *x = kvi_create(&o);
    struct kvi_reader *reader = x != NULL ? kvi_reader_open(x) : NULL;
    CHECK(reader != NULL);
    struct kvi_stats stats;
    struct kvi_worker w = {1, 0};
    for (uint64_t chain = 1; chain <= 4000; chain++) {
        struct kvi_block b[64];
        for (uint64_t i = 0; i < 64; i++)
            b[i] = (struct kvi_block){chain << 8 | i, chain << 8 | i};
        CHECK(kvi_store(x, w, KVI_DEVICE, false, 0, b, 64, NULL) == KVI_OK);
        /* The first chain stays warm by being asked for. */
        uint64_t query[2] = {1 << 8, 1 << 8 | 1};
        struct kvi_score score;
        CHECK_EQ_U64(kvi_find(reader, query, 2, false, &score, 1), 1);
        kvi_get_stats(x, &stats);
        CHECK(stats.bytes <= o.max_bytes);
    }
    CHECK(stats.entries > 80000 && stats.evicted > 0);
    CHECK_EQ_U64(stats.entries + stats.evicted, 4000 * 64);
    uint64_t first = 1 << 8, last = (uint64_t)4000 << 8, second = 2 << 8;
    CHECK(kvi_remove(x, w, KVI_DEVICE, &first, 1) == KVI_OK);
    CHECK(kvi_remove(x, w, KVI_DEVICE, &last, 1) == KVI_OK);
    CHECK(kvi_remove(x, w, KVI_DEVICE, &second, 1) == KVI_BLOCK_NOT_FOUND);
    kvi_clear(x, w);
    kvi_get_stats(x, &stats);
    CHECK_EQ_U64(stats.nodes, 0);
    CHECK_EQ_U64(stats.blocks, 0);
    kvi_reader_close(reader);
    kvi_destroy(x);
}

static void case_churn_does_not_grow(void) {
    struct kvi_index *x = kvi_create(NULL);
    CHECK(x != NULL);
    struct kvi_stats settled = {0}, stats = {0};
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 5000; i++) {
            uint64_t base = (uint64_t)round << 32 | i << 2;
            struct kvi_block b[3] = {{base + 1, base}, {base + 2, base + 1}, {base + 3, base}};
            CHECK(kvi_store(x, (struct kvi_worker){i % 5, 0}, KVI_DEVICE, false, 0, b, 3, NULL) ==
                  KVI_OK);
        }
        for (uint64_t i = 0; i < 5000; i++) {
            uint64_t base = (uint64_t)round << 32 | i << 2;
            uint64_t h[3] = {base + 3, base + 2, base + 1};
            CHECK(kvi_remove(x, (struct kvi_worker){i % 5, 0}, KVI_DEVICE, h, 3) == KVI_OK);
        }
        kvi_get_stats(x, &stats);
        if (round == 4)
            settled = stats;
        CHECK_EQ_U64(stats.nodes, 0);
    }
    CHECK(stats.bytes <= settled.bytes + settled.bytes / 4);
    kvi_destroy(x);
}

int main(void) {
    CHECK_RUN(case_equals_the_naive_model);
    CHECK_RUN(case_budget_is_held);
    CHECK_RUN(case_churn_does_not_grow);
    return check_finish();
}
