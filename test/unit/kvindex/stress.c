/*
 * Writers and readers at once. Global invariant: a search never tells more than is true. Every
 * worker w stores chains whose content says how long they may ever be for w, so any answer can be
 * judged without knowing the moment: for chain c worker w may hold at most limit(w, c) blocks, and
 * a worker's chains of the "firm" kind are never removed, so it holds at least firm(w, c).
 * WEIR_STRESS_MS sets the length (default 3,000).
 */
#include "kvindex/kvi.h"

#include "base/rng.h"
#include "test/check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WRITERS = 3, READERS = 3, WORKERS_EACH = 24, CHAINS = 40, LENGTH = 300 };

static struct kvi_index *index_;
static atomic_bool stop;
static atomic_uint_fast64_t wrong, asked, applied;

static uint64_t content(uint32_t chain, uint32_t i) {
    return i < 20 ? i + 1 : ((uint64_t)chain + 1) << 32 | (i + 1); /* a shared beginning */
}
static uint64_t name(uint32_t worker, uint32_t chain, uint32_t i) {
    uint64_t salt =
        worker % 3 == 0 ? (uint64_t)worker << 56 : 0; /* a third calls blocks otherwise */
    return (content(chain, i) * 0x9E3779B97F4A7C15u) ^ salt;
}
static uint32_t limit(uint32_t worker, uint32_t chain) {
    return 20 + (worker * 37 + chain * 101) % (LENGTH - 20);
}
static uint32_t firm(uint32_t worker) {
    return worker % 4 == 1 ? 20 : 0; /* keeps the shared beginning for good */
}

static void store(uint32_t worker, uint32_t chain, uint32_t from, uint32_t to) {
    struct kvi_block b[LENGTH];
    for (uint32_t i = from; i < to; i++)
        b[i - from] = (struct kvi_block){name(worker, chain, i), content(chain, i)};
    kvi_store(index_, (struct kvi_worker){worker, 0}, KVI_DEVICE, from > 0,
              from > 0 ? name(worker, chain, from - 1) : 0, b, to - from, NULL);
}

static void *write_events(void *arg) {
    uint32_t first = (uint32_t)(uintptr_t)arg * WORKERS_EACH;
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed() + first);
    for (uint32_t w = first; w < first + WORKERS_EACH; w++)
        store(w, 0, 0, 20);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint32_t w = first + (uint32_t)weir_rng_below(&rng, WORKERS_EACH);
        uint32_t chain = (uint32_t)weir_rng_below(&rng, CHAINS), most = limit(w, chain);
        if (weir_rng_below(&rng, 2) == 0) {
            store(w, chain, 0, 20 + (uint32_t)weir_rng_below(&rng, most - 20 + 1));
        } else if (weir_rng_below(&rng, 200) == 0 && firm(w) == 0) {
            kvi_clear(index_, (struct kvi_worker){w, 0});
        } else if (weir_rng_below(&rng, 200) == 0 && firm(w) == 0) {
            kvi_remove_worker(index_, w);
        } else { /* tails go first; now and then a hole */
            uint64_t gone[LENGTH];
            uint32_t n = 0, low = 20 + (uint32_t)weir_rng_below(&rng, most - 20 + 1);
            for (uint32_t i = most; i-- > low;)
                gone[n++] = name(w, chain, i);
            if (weir_rng_below(&rng, 4) == 0 && n > 0)
                gone[0] = name(w, chain, low), n = 1;
            kvi_remove(index_, (struct kvi_worker){w, 0}, KVI_DEVICE, gone, n);
        }
        atomic_fetch_add_explicit(&applied, 1, memory_order_relaxed);
    }
    return NULL;
}

static void judge(uint32_t worker, uint32_t chain, uint32_t blocks) {
    if (worker >= WRITERS * WORKERS_EACH || blocks > limit(worker, chain) || blocks < firm(worker))
        atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
}

static void *ask(void *arg) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed() + 1000 + (uintptr_t)arg);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        struct kvi_reader *r = kvi_reader_open(index_);
        for (int i = 0; r != NULL && i < 500; i++) {
            uint32_t chain = (uint32_t)weir_rng_below(&rng, CHAINS);
            uint64_t query[LENGTH];
            struct kvi_score scores[WRITERS * WORKERS_EACH];
            for (uint32_t k = 0; k < LENGTH; k++)
                query[k] = content(chain, k);
            size_t n = kvi_find(r, query, LENGTH, false, scores, WRITERS * WORKERS_EACH);
            bool seen[WRITERS * WORKERS_EACH] = {false};
            for (size_t k = 0; k < n && k < WRITERS * WORKERS_EACH; k++) {
                judge((uint32_t)scores[k].worker.worker_id, chain, scores[k].blocks[KVI_DEVICE]);
                seen[scores[k].worker.worker_id % (WRITERS * WORKERS_EACH)] = true;
            }
            for (uint32_t w = 0; w < WRITERS * WORKERS_EACH; w++)
                if (!seen[w])
                    judge(w, chain, 0);
            atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
        }
        kvi_reader_close(r);
    }
    return NULL;
}

static void case_searches_never_tell_too_much(void) {
    const char *more = getenv("WEIR_STRESS_MS");
    long ms = more != NULL ? strtol(more, NULL, 10) : 3000;
    struct kvi_options o = {.max_ranks = 128, .max_readers = READERS};
    index_ = kvi_create(&o);
    CHECK(index_ != NULL);
    pthread_t writers[WRITERS], readers[READERS];
    /* The firm blocks are there before anybody asks. */
    for (uint32_t w = 0; w < WRITERS * WORKERS_EACH; w++)
        store(w, 0, 0, 20);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&writers[i], NULL, write_events, (void *)i) == 0);
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, ask, (void *)i) == 0);
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL); /* the length of the run, not a wait for a condition */
    atomic_store(&stop, true);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    fprintf(stderr, "%" PRIu64 " events, %" PRIu64 " searches\n", (uint64_t)applied,
            (uint64_t)asked);
    CHECK_EQ_U64(wrong, 0);
    CHECK(applied > 0 && asked > 0);
    for (uint32_t w = 0; w < WRITERS * WORKERS_EACH; w++)
        kvi_remove_worker(index_, w);
    struct kvi_stats s;
    kvi_get_stats(index_, &s);
    CHECK_EQ_U64(s.entries, 0);
    CHECK_EQ_U64(s.nodes, 0);
    CHECK_EQ_U64(s.blocks, 0);
    kvi_destroy(index_);
}

int main(void) {
    (void)check_seed(); /* before there are threads */
    CHECK_RUN(case_searches_never_tell_too_much);
    return check_finish();
}
