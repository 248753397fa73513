/* The map against a plain array, with keys that collide. */
#include "base/map.h"

#include "base/rng.h"
#include "test/check.h"

enum { KEYS = 512 };

static void case_random_operations(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    static uint64_t naive[KEYS];
    static bool present[KEYS];
    struct weir_map map;
    weir_map_init(&map, 400);
    size_t n = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t k = weir_rng_below(&rng, KEYS), key = k << 40, v = weir_rng_u64(&rng), got = 0;
        switch (weir_rng_below(&rng, 3)) {
        case 0: {
            enum weir_status st = weir_map_put(&map, key, v);
            CHECK(st == (n < 400 || present[k] ? WEIR_OK : WEIR_LIMIT));
            if (st == WEIR_OK) {
                n += !present[k];
                present[k] = true;
                naive[k] = v;
            }
            break;
        }
        case 1:
            CHECK(weir_map_remove(&map, key) == present[k]);
            n -= present[k];
            present[k] = false;
            break;
        default:
            CHECK(weir_map_get(&map, key, &got) == present[k]);
            CHECK(!present[k] || got == naive[k]);
        }
        CHECK_EQ_U64(weir_map_len(&map), n);
    }
    size_t cursor = 0, seen = 0;
    uint64_t key, value;
    while (weir_map_next(&map, &cursor, &key, &value)) {
        CHECK(present[key >> 40] && naive[key >> 40] == value);
        seen++;
    }
    CHECK_EQ_U64(seen, n);
    weir_map_fini(&map);
}

int main(void) {
    CHECK_RUN(case_random_operations);
    return check_finish();
}
