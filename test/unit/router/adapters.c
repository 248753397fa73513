/* Which workers have which adapter: against a plain table of flags. */
#include "router/adapters.h"

#include "base/rng.h"
#include "test/check.h"

enum { IDS = 40, WORKERS = 30, STEPS = 100000 };

static bool flags[IDS + 1][WORKERS];

static void compare(const struct weir_adapters *a) {
    size_t n = 0;
    for (uint64_t id = 1; id <= IDS; id++) {
        bool any = false;
        for (uint64_t w = 0; w < WORKERS; w++) {
            CHECK(weir_adapters_has(a, id, w * 3) == flags[id][w]);
            CHECK(!weir_adapters_has(a, id, w * 3 + 1));
            any |= flags[id][w];
        }
        n += any;
    }
    CHECK_EQ_U64(a->n, n);
}

static void case_random(void) {
    struct weir_adapters a = {.n = 0};
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t id = 1 + weir_rng_below(&rng, IDS), w = weir_rng_below(&rng, WORKERS);
        /* Long times of growth and of decline, so that adapters come and go. */
        bool put = weir_rng_below(&rng, 10) < (i / 5000 % 2 == 0 ? 7 : 3);
        if (put)
            CHECK(weir_adapters_put(&a, id, w * 3) == WEIR_OK);
        else
            weir_adapters_remove(&a, id, w * 3);
        flags[id][w] = put;
        if (i % 1000 == 0)
            compare(&a);
    }
    compare(&a);
    weir_adapters_fini(&a);
    CHECK(!weir_adapters_has(&a, 1, 0));
}

static void case_bound(void) {
    struct weir_adapters a = {.n = 0};
    for (uint64_t id = 1; id <= WEIR_ADAPTERS_MAX; id++)
        CHECK(weir_adapters_put(&a, id, 7) == WEIR_OK);
    CHECK(weir_adapters_put(&a, WEIR_ADAPTERS_MAX + 1, 7) == WEIR_LIMIT);
    CHECK(weir_adapters_put(&a, 5, 8) == WEIR_OK); /* one that is there takes more workers */
    weir_adapters_remove(&a, 6, 7);
    CHECK(weir_adapters_put(&a, WEIR_ADAPTERS_MAX + 1, 7) == WEIR_OK);
    weir_adapters_fini(&a);
}

int main(void) {
    CHECK_RUN(case_random);
    CHECK_RUN(case_bound);
    return check_finish();
}
