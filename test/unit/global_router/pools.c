/* Which router of a pool is next, as instances come, change and go. */
#include "global_router/pools.h"
#include "test/check.h"

static const char *namespaces[] = {"a", "b", "a"};
static const struct weir_pool_set set = {.name = "agg", .namespaces = namespaces, .n = 3};
static struct weir_pools *pools;

static bool update(const char *ns, const char *component, const char *name, uint64_t id,
                   const char *address) {
    struct weir_endpoint_id e = {weir_span_z(ns), weir_span_z(component), weir_span_z(name)};
    return weir_pools_update(pools, &e, id, weir_span_z(address));
}
static bool router(const char *ns, uint64_t id, const char *address) {
    return update(ns, "router", "generate", id, address);
}

static void case_only_routers_of_the_pools_count(void) {
    CHECK(weir_pools_create(&set, &pools) == WEIR_OK);
    CHECK(weir_pools_pick(pools, 0).data == NULL);
    CHECK(!router("c", 1, "c1") && !update("a", "backend", "generate", 1, "x") &&
          !update("a", "router", "best_worker_id", 1, "x"));
    CHECK(weir_pools_instances(pools, 0) == 0);
    CHECK(router("a", 1, "a1"));
    /* One namespace may stand for two pools. */
    CHECK(weir_pools_instances(pools, 0) == 1 && weir_pools_instances(pools, 2) == 1);
    CHECK(weir_pools_instances(pools, 1) == 0 && weir_pools_pick(pools, 1).data == NULL);
    CHECK(weir_span_eqz(weir_pools_pick(pools, 0), "a1"));
    weir_pools_destroy(pools);
}

static void case_turns_are_fair(void) {
    unsigned seen[3] = {0};
    CHECK(weir_pools_create(&set, &pools) == WEIR_OK);
    CHECK(router("b", 1, "0") && router("b", 2, "1") && router("b", 3, "2"));
    for (int i = 0; i < 300; i++)
        seen[weir_pools_pick(pools, 1).data[0] - '0']++;
    CHECK(seen[0] == 100 && seen[1] == 100 && seen[2] == 100);
    CHECK(router("b", 2, NULL) && weir_pools_instances(pools, 1) == 2);
    for (int i = 0; i < 10; i++)
        CHECK(weir_pools_pick(pools, 1).data[0] != '1');
    /* A new address replaces the old one. */
    CHECK(router("b", 1, "9") && weir_pools_instances(pools, 1) == 2);
    struct weir_endpoint_id e = {WEIR_SPAN_LIT("b"), WEIR_SPAN_LIT("router"),
                                 WEIR_SPAN_LIT("generate")};
    CHECK(weir_span_eqz(weir_pools_address(pools, &e, 1), "9"));
    CHECK(weir_pools_address(pools, &e, 2).data == NULL);
    CHECK(router("b", 2, NULL)); /* gone already */
    CHECK(router("b", 1, NULL) && router("b", 3, NULL) && weir_pools_pick(pools, 1).data == NULL);
    weir_pools_destroy(pools);
}

static void case_a_pool_has_a_bound(void) {
    CHECK(weir_pools_create(&set, &pools) == WEIR_OK);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(router("b", i, "x"));
    CHECK(weir_pools_instances(pools, 1) == 256);
    weir_pools_destroy(pools);
    weir_pools_destroy(NULL);
}

int main(void) {
    CHECK_RUN(case_only_routers_of_the_pools_count);
    CHECK_RUN(case_turns_are_fair);
    CHECK_RUN(case_a_pool_has_a_bound);
    return check_finish();
}
