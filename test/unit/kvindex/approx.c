/* Prediction: TTL and number against a plain list of renewals. */
#include "kvindex/kvi_approx.h"

#include "base/rng.h"
#include "test/check.h"

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

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_ttl);
    CHECK_RUN(case_many);
    CHECK_RUN(case_capacity);
    CHECK_RUN(case_both);
    return check_finish();
}
