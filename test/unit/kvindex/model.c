/* Random operations on the index and on the naive model: equal results, scores, dumps, and no
 * growth. */
#include "base/rng.h"
#include "test/check.h"
#include "test/unit/kvindex/naive.h"

static struct weir_rng rng;
static struct naive naive;
static struct kvi_index *current; /* the one compared */
static uint64_t names;
enum { CONTENTS = 3 };

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

/* An early exit is right about everybody but the last one, for whom it is a lower bound. */
static void compare_early(struct kvi_reader *reader, const uint64_t *query, size_t depth) {
    struct kvi_match match;
    uint32_t best = 0, n_low = 0, low = 0, got[NAIVE_RANKS];
    uint32_t number[NAIVE_RANKS];
    kvi_match(reader, query, depth, true, &match);
    for (uint32_t r = 0; r < NAIVE_RANKS; r++) {
        uint32_t want[KVI_TIERS];
        naive_score(&naive, r, query, depth, want);
        CHECK(kvi_rank_add(current, worker_of(r), &number[r]) == KVI_OK);
        got[r] = number[r] < match.n_ranks ? match.device[number[r]] : 0;
        CHECK(got[r] <= want[KVI_DEVICE]);
        n_low += got[r] < want[KVI_DEVICE];
        low = got[r] < want[KVI_DEVICE] ? r : low;
        best = got[r] > best ? got[r] : best;
    }
    CHECK(n_low <= 1);
    for (uint32_t r = 0; n_low == 1 && r < NAIVE_RANKS; r++)
        CHECK(r == low || got[r] < got[low]);
}

/* A copy made from a dump may lack blocks of lower tiers (see kvi_dump), here often: the tiers use
 * one name for different blocks. persist.c compares copies of sane fleets on all tiers. */
static void compare(struct kvi_reader *reader, size_t depth, bool is_copy) {
    uint64_t query[NAIVE_DEPTH];
    for (size_t i = 0; i < depth; i++)
        query[i] = below(CONTENTS);
    struct kvi_score scores[NAIVE_RANKS];
    size_t n = kvi_find(reader, query, depth, false, scores, NAIVE_RANKS), want_n = 0;
    struct kvi_match match;
    kvi_match(reader, query, depth, false, &match);
    for (uint32_t r = 0; r < NAIVE_RANKS; r++) {
        uint32_t want[KVI_TIERS], none[KVI_TIERS] = {0}, *got = none;
        naive_score(&naive, r, query, depth, want);
        want_n += (want[0] | want[1] | want[2] | want[3]) != 0;
        for (size_t i = 0; i < n; i++)
            if (scores[i].worker.worker_id == worker_of(r).worker_id &&
                scores[i].worker.dp_rank == worker_of(r).dp_rank) {
                got = scores[i].blocks;
                CHECK_EQ_U64(match.device[scores[i].rank], got[KVI_DEVICE]);
            }
        for (int t = 0; t < KVI_TIERS; t++)
            CHECK_MSG(got[t] == want[t] || (is_copy && t > 0),
                      "rank %u, tier %d: score %u, want %u", r, t, got[t], want[t]);
    }
    CHECK(n == want_n || is_copy);
    compare_early(reader, query, depth);
}

static void random_store(struct kvi_index *x, uint32_t holder) {
    struct kvi_block blocks[4];
    uint64_t parent = below(names);
    size_t n = below(5);
    bool has_parent = below(4) > 0;
    for (size_t i = 0; i < n; i++)
        blocks[i] = (struct kvi_block){below(names), below(CONTENTS)};
    const struct naive_block *p = has_parent ? naive_parent(&naive, holder, parent) : NULL;
    if (p != NULL && p->depth + n > NAIVE_DEPTH)
        return; /* the model's paths are bounded */
    if (below(3) == 0)
        for (size_t i = 0; i < n; i++) /* an engine that names content and position alike */
            blocks[i].block_hash = names + i + below(4);
    enum kvi_result want = naive_store(&naive, holder, has_parent, parent, blocks, n);
    CHECK(kvi_store(x, worker_of(naive_rank(holder)), naive_tier(holder), has_parent, parent,
                    blocks, n, NULL) == want);
}

static void random_remove(struct kvi_index *x, uint32_t holder) {
    uint64_t hashes[4];
    size_t n = below(5);
    for (size_t i = 0; i < n; i++)
        hashes[i] = below(names + 8);
    CHECK(kvi_remove(x, worker_of(naive_rank(holder)), naive_tier(holder), hashes, n) ==
          naive_remove(&naive, holder, hashes, n));
}

static void random_step(struct kvi_index *x, struct kvi_reader *reader) {
    uint32_t holder = (uint32_t)below(NAIVE_HOLDERS), rank = naive_rank(holder);
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        random_store(x, holder);
        break;
    case 5:
    case 6:
    case 7:
        random_remove(x, holder);
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
        if (below(8) == 0)
            compare(reader, below(NAIVE_DEPTH), false);
    }
}

/* The number of names decides how crowded things are: with few, every store moves names. */
static void one_round(uint64_t seed, uint64_t ops) {
    weir_rng_seed(&rng, seed);
    memset(&naive, 0, sizeof(naive));
    names = 6u << below(6);
    struct kvi_index *x = kvi_create(NULL), *copy = kvi_create(NULL);
    CHECK(x != NULL && copy != NULL);
    struct kvi_reader *reader = kvi_reader_open(x), *copy_reader = kvi_reader_open(copy);
    CHECK(reader != NULL && copy_reader != NULL);
    current = x;
    for (uint64_t i = 0; i < ops; i++)
        random_step(x, reader);
    struct kvi_stats stats;
    kvi_get_stats(x, &stats);
    CHECK_EQ_U64(stats.entries, naive_entries(&naive));
    CHECK(kvi_dump(x, restore, copy) == KVI_OK);
    kvi_get_stats(copy, &stats);
    CHECK_EQ_U64(stats.events[KVI_STORED][KVI_PARENT_NOT_FOUND], 0);
    current = copy;
    for (int i = 0; i < 500; i++)
        compare(copy_reader, below(NAIVE_DEPTH), true);
    for (uint32_t r = 0; r < NAIVE_RANKS; r++)
        kvi_remove_worker(x, worker_of(r).worker_id);
    kvi_get_stats(x, &stats);
    CHECK_EQ_U64(stats.entries, 0);
    CHECK_EQ_U64(stats.aliases, 0);
    CHECK_EQ_U64(stats.blocks, 0);
    CHECK_EQ_U64(stats.nodes, 0);
    CHECK_EQ_U64(stats.ranks, 0);
    kvi_reader_close(reader);
    kvi_reader_close(copy_reader);
    kvi_destroy(x);
    kvi_destroy(copy);
}

static void case_equals_the_naive_model(void) {
    const char *more = getenv("WEIR_MODEL_OPS");
    uint64_t ops = more != NULL ? strtoull(more, NULL, 0) : 10000000;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    ops /= more != NULL ? 1 : 10;
#endif
    enum { ROUNDS = 40 };
    for (uint64_t round = 0; round < ROUNDS; round++)
        one_round(check_seed() + round, ops / ROUNDS);
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
