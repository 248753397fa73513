/* A batch is its events one after another: the same results, counts and answers. */
#include "kvindex/kvi.h"

#include "base/rng.h"
#include "test/check.h"

enum { RANKS = 3, DEPTH = 10, CONTENTS = 2, MOST = 64, BLOCKS = 24, ROUNDS = 6000 };
static struct weir_rng rng;

static uint64_t below(uint64_t n) {
    return weir_rng_below(&rng, n);
}

/* Events and their blocks, which stand here and there or one after another. */
struct batch {
    struct kvi_event events[MOST];
    struct kvi_block blocks[MOST * BLOCKS];
    uint64_t names[MOST * BLOCKS];
    size_t n;
};

/* Few names and contents, so that names move, chains meet and parents are missing; most events go
 * on where the one before ended. */
static void draw(struct batch *b) {
    struct kvi_event last = {.n = 0};
    uint64_t end = below(40);
    size_t at = 0;
    b->n = 1 + below(MOST);
    for (size_t i = 0; i < b->n; i++) {
        bool go_on = i > 0 && below(5) > 0;
        struct kvi_event *e = &b->events[i];
        *e = (struct kvi_event){.worker = {below(RANKS), 0},
                                .kind = below(100) == 0 ? KVI_CLEARED
                                        : below(2) == 0 ? KVI_STORED
                                                        : KVI_REMOVED,
                                .tier = below(12) == 0 ? (enum kvi_tier)below(5) : KVI_DEVICE,
                                .has_parent = below(3) > 0,
                                .parent_hash = below(40),
                                .start_position = below(10) == 0,
                                .n = below(4) == 0 ? below(BLOCKS - 1) : 1};
        if (go_on) {
            e->worker = last.worker;
            e->kind = last.kind;
            e->tier = last.tier;
            e->has_parent = true;
            e->parent_hash = end;
        }
        at += below(3) == 0; /* else directly behind the event before */
        e->blocks = &b->blocks[at];
        e->removed = &b->names[at];
        for (size_t k = 0; k < e->n; k++) {
            end = below(8) == 0 ? below(40) : (end + 1) % 40;
            b->blocks[at] = (struct kvi_block){end, below(CONTENTS)};
            b->names[at++] = end;
        }
        last = *e;
    }
}

static void check_equal(struct kvi_index *a, struct kvi_index *b) {
    struct kvi_stats sa, sb;
    struct kvi_reader *ra = kvi_reader_open(a), *rb = kvi_reader_open(b);
    CHECK(ra != NULL && rb != NULL);
    kvi_get_stats(a, &sa);
    kvi_get_stats(b, &sb);
    CHECK(memcmp(sa.events, sb.events, sizeof(sa.events)) == 0 &&
          memcmp(sa.tier, sb.tier, sizeof(sa.tier)) == 0);
    CHECK_EQ_U64(sa.duplicates, sb.duplicates);
    CHECK_EQ_U64(sa.unknown, sb.unknown);
    CHECK_EQ_U64(sa.ranks, sb.ranks);
    CHECK_EQ_U64(sa.blocks, sb.blocks);
    CHECK_EQ_U64(sa.aliases, sb.aliases);
    for (int q = 0; q < 64; q++) {
        uint64_t query[DEPTH];
        struct kvi_score x[RANKS], y[RANKS];
        for (int i = 0; i < DEPTH; i++)
            query[i] = below(CONTENTS);
        size_t nx = kvi_find(ra, query, DEPTH, false, x, RANKS);
        size_t ny = kvi_find(rb, query, DEPTH, false, y, RANKS);
        CHECK_EQ_U64(nx, ny);
        for (size_t i = 0; i < nx; i++)
            for (size_t k = 0; k < ny; k++)
                CHECK(x[i].rank != y[k].rank ||
                      memcmp(x[i].blocks, y[k].blocks, sizeof(x[i].blocks)) == 0);
    }
    kvi_reader_close(ra);
    kvi_reader_close(rb);
}

static void case_equal(void) {
    const struct kvi_options few = {.max_ranks = 16};
    struct kvi_index *one = kvi_create(&few), *many = kvi_create(&few);
    static struct batch b;
    CHECK(one != NULL && many != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        enum kvi_result want[MOST], got[MOST];
        draw(&b);
        for (size_t i = 0; i < b.n; i++)
            kvi_apply(one, &b.events[i], 1, &want[i]);
        kvi_apply(many, b.events, b.n, round % 2 == 0 ? got : NULL);
        for (size_t i = 0; round % 2 == 0 && i < b.n; i++)
            CHECK_MSG(want[i] == got[i], "round %d, event %zu of %zu: %s, alone %s", round, i, b.n,
                      kvi_result_name(got[i]), kvi_result_name(want[i]));
        check_equal(one, many);
    }
    kvi_destroy(one);
    kvi_destroy(many);
}

/* Without room, an event in mid-batch fails and the others have their own results. */
static void case_full(void) {
    struct kvi_index *x = kvi_create(&(struct kvi_options){.max_bytes = 1, .max_ranks = 2});
    struct kvi_event e[MOST];
    static struct kvi_block blocks[MOST];
    uint64_t seen[KVI_RESULTS] = {0}, end = 0;
    struct kvi_stats s;
    CHECK(x != NULL);
    for (int round = 0; round < 4000; round++) {
        enum kvi_result got[MOST];
        for (size_t i = 0; i < MOST; i++) {
            blocks[i] = (struct kvi_block){weir_rng_u64(&rng), weir_rng_u64(&rng)};
            e[i] = (struct kvi_event){.worker = {(uint64_t)round % 3, 0},
                                      .kind = KVI_STORED,
                                      .has_parent = i > 0 || round % 4 > 0,
                                      .parent_hash = end,
                                      .blocks = &blocks[i],
                                      .n = 1};
            end = blocks[i].block_hash;
        }
        kvi_apply(x, e, MOST, got);
        for (size_t i = 0; i < MOST; i++)
            seen[got[i]]++;
    }
    kvi_get_stats(x, &s);
    CHECK(memcmp(seen, s.events[KVI_STORED], sizeof(seen)) == 0);
    CHECK(seen[KVI_OK] > 0 && seen[KVI_CAPACITY] > 0 && s.bytes <= s.max_bytes && s.evicted > 0);
    CHECK_EQ_U64(s.duplicates, 0);
    kvi_destroy(x);
}

static void case_ranks_are_listed(void) {
    enum { KNOWN = 10 };
    struct kvi_index *x = kvi_create(NULL);
    struct kvi_worker got[3];
    uint32_t from = 0, n, seen = 0;
    CHECK(x != NULL && kvi_ranks(x, &from, got, 3) == 0);
    for (uint32_t i = 0; i < KNOWN; i++)
        CHECK(kvi_rank_add(x, (struct kvi_worker){7, i}, &n) == KVI_OK);
    kvi_rank_remove(x, (struct kvi_worker){7, 4});
    from = 0;
    while ((n = (uint32_t)kvi_ranks(x, &from, got, 3)) > 0)
        for (uint32_t i = 0; i < n; i++) {
            CHECK(got[i].worker_id == 7 && (seen >> got[i].dp_rank & 1) == 0);
            seen |= 1u << got[i].dp_rank;
            kvi_rank_remove(x, got[i]); /* as a caller may */
        }
    CHECK_EQ_U64(seen, ((1u << KNOWN) - 1) & ~(1u << 4));
    kvi_destroy(x);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_equal);
    CHECK_RUN(case_full);
    CHECK_RUN(case_ranks_are_listed);
    return check_finish();
}
