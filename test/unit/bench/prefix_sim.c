/* The simulator of the best hit rate, against the engine's own cache and a naive list. */
#include "bench/prefix_sim.h"
#include "base/rng.h"
#include "test/check.h"
#include "worker/kv_cache.h"

enum { MAX_BLOCKS = 64, CHAINS = 40 };

static void nothing(void *arg, bool has_parent, uint64_t parent, uint64_t block, uint64_t tokens) {
    (void)arg;
    (void)has_parent;
    (void)parent;
    (void)block;
    (void)tokens;
}
static void nothing_removed(void *arg, uint64_t block) {
    (void)arg;
    (void)block;
}
static void nothing_cleared(void *arg) {
    (void)arg;
}

/* One request at a time through the real cache: hits as the engine would count them. */
static uint32_t real_request(struct weir_kv_cache *cache, const uint64_t *ids, uint32_t n) {
    struct weir_kv_table table = {NULL, 0, 0};
    uint32_t hits = weir_kv_cache_match(cache, ids, n);
    CHECK(weir_kv_cache_acquire(cache, &table, ids, hits, n - hits, n - hits) == WEIR_OK);
    for (uint32_t i = hits; i < n; i++)
        weir_kv_cache_complete(cache, &table, i, ids[i], ids[i], i > 0, i > 0 ? ids[i - 1] : 0);
    weir_kv_cache_release(cache, &table);
    return hits;
}

/* Trees of chains: the first blocks are shared by groups, later ones are a chain's own. */
static uint32_t chain(struct weir_rng *rng, uint64_t *ids) {
    uint64_t c = weir_rng_below(rng, CHAINS);
    uint32_t n = 1 + (uint32_t)weir_rng_below(rng, MAX_BLOCKS - 1);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = ((i < 5 ? c % 3 : c) + 1) * 1000 + i;
    return n;
}

static void case_equals_the_engines_cache(void) {
    const struct weir_kv_cache_ops ops = {nothing, nothing_removed, nothing_cleared};
    const uint32_t capacities[] = {64, 100, 500, 5000};
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (size_t k = 0; k < WEIR_ARRAY_LEN(capacities); k++) {
        struct weir_prefix_sim sim;
        struct weir_kv_cache *cache;
        uint64_t all_hits = 0;
        CHECK(weir_prefix_sim_init(&sim, capacities[k]) == WEIR_OK);
        CHECK(weir_kv_cache_create(capacities[k], true, &ops, NULL, &cache) == WEIR_OK);
        for (int i = 0; i < 20000; i++) {
            uint64_t ids[MAX_BLOCKS];
            uint32_t n = chain(&rng, ids), hits = 0;
            CHECK(weir_prefix_sim_request(&sim, ids, n, n, &hits) == WEIR_OK);
            uint32_t real = real_request(cache, ids, n);
            CHECK_MSG(hits == real, "capacity %u, request %d: %u, engine %u", capacities[k], i,
                      hits, real);
            all_hits += hits;
        }
        CHECK(all_hits > 0);
        weir_prefix_sim_fini(&sim);
        weir_kv_cache_destroy(cache);
    }
}

static void case_small(void) {
    struct weir_prefix_sim sim;
    uint32_t hits;
    CHECK(weir_prefix_sim_init(&sim, 3) == WEIR_OK);
    const uint64_t a[] = {1, 2, 3}, b[] = {1, 2, 4}, long_one[] = {9, 8, 7, 6};
    CHECK(weir_prefix_sim_request(&sim, a, 3, 3, &hits) == WEIR_OK && hits == 0);
    CHECK(weir_prefix_sim_request(&sim, b, 3, 3, &hits) == WEIR_OK && hits == 2); /* 3 goes */
    CHECK(weir_prefix_sim_request(&sim, a, 3, 3, &hits) == WEIR_OK && hits == 2); /* 4 goes */
    CHECK(weir_prefix_sim_request(&sim, a, 3, 3, &hits) == WEIR_OK && hits == 3);
    CHECK(weir_prefix_sim_request(&sim, long_one, 4, 4, &hits) == WEIR_OK && hits == 0);
    CHECK(weir_prefix_sim_request(&sim, long_one, 4, 4, &hits) == WEIR_OK && hits == 3);
    CHECK(weir_prefix_sim_request(&sim, long_one, 2, 2, &hits) == WEIR_OK && hits == 2);
    weir_prefix_sim_fini(&sim);
}

int main(void) {
    CHECK_RUN(case_small);
    CHECK_RUN(case_equals_the_engines_cache);
    return check_finish();
}
