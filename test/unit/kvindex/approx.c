/* Prediction: TTL and number against a plain list of renewals. */
#include "kvindex/kvi_approx.h"

#include "base/rng.h"
#include "test/check.h"

#include <stdlib.h>

enum { RANKS = 3, DEPTH = 8, PROMPTS = 64 };
static struct weir_rng rng;

/* The model: when each prefix of each rank was renewed last, as (time, step) of the renewal. */
struct renewal {
    uint64_t time, step;
};
static struct renewal model[RANKS]
                           [1 << (DEPTH + 1)]; /* by prefix: 1 bit a block behind a leading 1 */

static void prompt(uint64_t bits, size_t n, uint64_t *local, uint64_t *sequence) {
    for (size_t i = 0; i < n; i++)
        local[i] = (bits >> i & 1) + 1;
    kvi_chain(local, n, sequence);
}

static uint32_t prefix(uint64_t bits, size_t n) {
    uint32_t p = 1;
    for (size_t i = 0; i < n; i++)
        p = p << 1 | (bits >> i & 1);
    return p;
}

static uint32_t live_in_model(void) {
    uint32_t n = 0;
    for (uint32_t r = 0; r < RANKS; r++)
        for (uint32_t p = 2; p < 1u << (DEPTH + 1); p++)
            n += model[r][p].step > 0;
    return n;
}

static void drop_oldest(void) {
    struct renewal *best = NULL;
    for (uint32_t r = 0; r < RANKS; r++)
        for (uint32_t p = 2; p < 1u << (DEPTH + 1); p++)
            if (model[r][p].step > 0 && (best == NULL || model[r][p].step < best->step))
                best = &model[r][p];
    best->step = 0;
}

static void expire_model(uint64_t now, uint64_t ttl) {
    for (uint32_t r = 0; r < RANKS; r++)
        for (uint32_t p = 2; p < 1u << (DEPTH + 1); p++)
            if (model[r][p].step > 0 && ttl > 0 && model[r][p].time + ttl <= now)
                model[r][p].step = 0;
}

static void run(uint64_t ttl, uint32_t capacity) {
    struct kvi_index *x = kvi_create(NULL);
    struct kvi_reader *reader = kvi_reader_open(x);
    struct kvi_approx_options o = {.ttl_ms = ttl, .max_blocks = capacity};
    struct kvi_approx *a = kvi_approx_create(x, &o);
    CHECK(x != NULL && reader != NULL && a != NULL);
    memset(model, 0, sizeof(model));
    uint64_t now = 1000, step = 0, local[DEPTH], sequence[DEPTH];
    for (int i = 0; i < 4000; i++) {
        now += weir_rng_below(&rng, 20);
        uint32_t rank = (uint32_t)weir_rng_below(&rng, RANKS);
        uint64_t bits = weir_rng_u64(&rng);
        size_t n = weir_rng_below(&rng, DEPTH + 1);
        kvi_approx_expire(a, now);
        expire_model(now, ttl);
        prompt(bits, n, local, sequence);
        kvi_approx_routed(a, (struct kvi_worker){rank, 0}, local, sequence, n, now);
        for (size_t k = n < capacity ? n : capacity; k-- > 0;)
            model[rank][prefix(bits, k + 1)] = (struct renewal){now, ++step};
        while (live_in_model() > capacity)
            drop_oldest();
        CHECK_EQ_U64(kvi_approx_blocks(a), live_in_model());
        bits = weir_rng_u64(&rng);
        prompt(bits, DEPTH, local, sequence);
        struct kvi_score scores[RANKS];
        size_t found = kvi_find(reader, local, DEPTH, false, scores, RANKS);
        for (uint32_t r = 0; r < RANKS; r++) {
            uint32_t want = 0, got = 0;
            while (want < DEPTH && model[r][prefix(bits, want + 1)].step > 0)
                want++;
            for (size_t k = 0; k < found; k++)
                got = scores[k].worker.worker_id == r ? scores[k].blocks[KVI_DEVICE] : got;
            CHECK_EQ_U64(got, want);
        }
    }
    kvi_approx_expire(a, now + ttl);
    struct kvi_stats s;
    kvi_get_stats(x, &s);
    CHECK_EQ_U64(s.entries, ttl > 0 ? 0 : capacity);
    CHECK_EQ_U64(kvi_approx_blocks(a), s.entries);
    CHECK_EQ_U64(s.unknown, 0);
    kvi_approx_destroy(a);
    kvi_reader_close(reader);
    kvi_destroy(x);
}

static void case_ttl(void) {
    run(300, 1 << 20);
}
static void case_many(void) {
    run(5000, 1 << 20);
}
static void case_capacity(void) {
    run(0, 40);
}
static void case_both(void) {
    run(200, 25);
}

/* An index that cannot hold a prompt takes its head, and maybe part of the batch that no longer
 * fits: what it has is what is assumed, so that it lapses, and a later prompt finds room again. */
static void case_a_full_index(void) {
    enum { LONG = 200000, TTL = 100 };
    struct kvi_options small = {.max_bytes = 1}; /* the smallest there is */
    struct kvi_approx_options o = {.ttl_ms = TTL};
    uint64_t *local = malloc(LONG * sizeof(*local)), *sequence = malloc(LONG * sizeof(*sequence));
    struct kvi_worker worker = {7, 0};
    CHECK(local != NULL && sequence != NULL);
    for (size_t branch = 1; branch <= 200; branch += 3) {
        struct kvi_index *x = kvi_create(&small);
        struct kvi_approx *a = kvi_approx_create(x, &o);
        CHECK(x != NULL && a != NULL);
        /* The long one leaves a first one behind `branch` blocks, which moves the ends of its nodes
         * against those of its batches. */
        for (size_t i = 0; i < LONG; i++)
            local[i] = i + 1;
        kvi_chain(local, branch + 1, sequence);
        kvi_approx_routed(a, worker, local, sequence, branch + 1, 0);
        for (size_t i = branch; i < LONG; i++)
            local[i] = i + LONG;
        kvi_chain(local, LONG, sequence);
        kvi_approx_routed(a, worker, local, sequence, LONG, 1);
        uint64_t first = kvi_approx_blocks(a);
        CHECK(first > 1000 && first < LONG);
        uint64_t held = kvi_rank_entries(x, worker); /* the budget may have taken some again */
        CHECK(held > 1000 && held <= first);
        kvi_approx_expire(a, 1 + TTL);
        CHECK_EQ_U64(kvi_approx_blocks(a), 0);
        CHECK_EQ_U64(kvi_rank_entries(x, worker), 0);
        kvi_approx_routed(a, worker, local, sequence, 100, 1 + TTL);
        CHECK_EQ_U64(kvi_rank_entries(x, worker), 100);
        kvi_approx_destroy(a);
        kvi_destroy(x);
    }
    free(local);
    free(sequence);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_ttl);
    CHECK_RUN(case_many);
    CHECK_RUN(case_capacity);
    CHECK_RUN(case_both);
    CHECK_RUN(case_a_full_index);
    return check_finish();
}
