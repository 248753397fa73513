/* Session affinity: the table on a fake clock, and the router that follows it. */
#include "router/affinity.h"

#include "router/decide.h"
#include "test/check.h"

#include <math.h>

static struct weir_rng rng;

static struct weir_session session(uint64_t n) {
    return (struct weir_session){n, n * 7919 + 1};
}

static void case_idle_time(void) {
    struct weir_affinity *a = NULL;
    uint64_t w = 0;
    CHECK(weir_affinity_create(1000, 10, &a) == WEIR_OK);
    CHECK(!weir_affinity_get(a, session(1), 0, &w));
    weir_affinity_bind(a, session(1), 42, 0);
    CHECK(weir_affinity_get(a, session(1), 999, &w) && w == 42);
    CHECK(!weir_affinity_get(a, session(1), 1000, &w)); /* looking does not renew */
    weir_affinity_bind(a, session(1), 42, 2000);
    weir_affinity_bind(a, session(1), 43, 2500);
    CHECK(weir_affinity_get(a, session(1), 3400, &w) && w == 43);
    CHECK(weir_affinity_get(a, session(1), 2400, &w)); /* another loop's clock is behind */
    CHECK_EQ_U64(weir_affinity_len(a), 1);
    CHECK(!weir_affinity_get(a, session(1), 3500, &w)); /* what has lapsed goes when asked for */
    CHECK_EQ_U64(weir_affinity_len(a), 0);
    /* The same lower half is not the same session. */
    weir_affinity_bind(a, (struct weir_session){1, 5}, 7, 4000);
    CHECK(!weir_affinity_get(a, (struct weir_session){2, 5}, 4000, &w));
    weir_affinity_destroy(a);
}

static void case_bounded(void) {
    struct weir_affinity *a = NULL;
    uint64_t w = 0;
    CHECK(weir_affinity_create(1000000, 3, &a) == WEIR_OK);
    for (uint64_t i = 0; i < 3; i++)
        weir_affinity_bind(a, session(i), i, i);
    weir_affinity_bind(a, session(0), 0, 5); /* now 1 is the longest unused */
    weir_affinity_bind(a, session(9), 9, 6);
    CHECK_EQ_U64(weir_affinity_len(a), 3);
    CHECK(weir_affinity_get(a, session(0), 7, &w) && weir_affinity_get(a, session(9), 7, &w));
    CHECK(!weir_affinity_get(a, session(1), 7, &w));
    weir_affinity_destroy(a);
}

static struct weir_router *start(bool soft) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_LEAST_LOADED;
    c.inhibit_ms = 500;
    c.affinity_ttl_ms = 10000;
    c.affinity_soft = soft;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (uint64_t i = 1; i <= 4; i++) {
        struct weir_router_worker w = {
            .worker_id = i, .dp_size = 2, .max_num_batched_tokens = 1000};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    return r;
}

static enum weir_status ask(struct weir_router *r, uint64_t n, uint64_t now,
                            struct weir_route *route) {
    struct weir_route_query q = {.isl_tokens = 100,
                                 .pinned_rank = -1,
                                 .rng = &rng,
                                 .now_ms = now,
                                 .has_session = n != 0,
                                 .session = session(n)};
    return weir_router_route(r, &q, route);
}

static void case_sessions_stay(void) {
    for (int soft = 0; soft < 2; soft++) {
        struct weir_router *r = start(soft);
        struct weir_route first, route;
        CHECK(ask(r, 1, 0, &first) == WEIR_OK);
        for (uint64_t i = 1; i < 30; i++) {
            CHECK(ask(r, 1, i, &route) == WEIR_OK);
            CHECK_EQ_U64(route.worker_id, first.worker_id);
        }
        /* Others see its load and go elsewhere; idle for the whole time, so does it. */
        CHECK(ask(r, 2, 40, &route) == WEIR_OK && route.worker_id != first.worker_id);
        CHECK(ask(r, 0, 40, &route) == WEIR_OK && route.worker_id != first.worker_id);
        CHECK(ask(r, 1, 29 + 10000, &route) == WEIR_OK && route.worker_id != first.worker_id);
        weir_router_destroy(r);
    }
}

static void case_a_worker_that_is_gone_is_replaced(void) {
    struct weir_router *r = start(false);
    struct weir_route first, second, route;
    CHECK(ask(r, 1, 0, &first) == WEIR_OK);
    weir_router_worker_remove(r, first.worker_id);
    CHECK(ask(r, 1, 1, &second) == WEIR_OK && second.worker_id != first.worker_id);
    weir_router_worker_failed(r, second.worker_id, 2);
    CHECK(ask(r, 1, 3, &route) == WEIR_OK && route.worker_id != second.worker_id);
    CHECK(ask(r, 1, 1000, &first) == WEIR_OK); /* bound anew, it stays there */
    CHECK_EQ_U64(first.worker_id, route.worker_id);
    weir_router_destroy(r);
}

static void case_a_busy_worker(void) {
    for (int soft = 0; soft < 2; soft++) {
        struct weir_router *r = start(soft);
        struct weir_busy_thresholds t = {NAN, 150, NAN};
        struct weir_route first, route;
        weir_router_set_thresholds(r, &t);
        CHECK(ask(r, 1, 0, &first) == WEIR_OK);
        for (int i = 1; i < 4; i++) /* two requests of 100 tokens a rank, two ranks */
            CHECK(ask(r, 1, 0, &route) == WEIR_OK && route.worker_id == first.worker_id);
        enum weir_status st = ask(r, 1, 1, &route);
        CHECK(st == (soft ? WEIR_OK : WEIR_OVERLOADED));
        CHECK(!soft || route.worker_id != first.worker_id);
        CHECK(ask(r, 2, 1, &route) == WEIR_OK); /* the others are free */
        weir_router_free(r, first.booking);
        CHECK(ask(r, 1, 2, &route) == WEIR_OK);
        CHECK(soft || route.worker_id == first.worker_id); /* the binding was kept */
        weir_router_destroy(r);
    }
}

static unsigned told;
static void on_room(void *arg) {
    (void)arg;
    told++;
}

/* The queue's threshold: full is above it, sessions and those that may not wait go in. */
static void case_full_workers(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    struct weir_route a, b, route;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_LEAST_LOADED;
    c.queue_threshold = 0.5;
    c.affinity_ttl_ms = 1000;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    weir_router_on_room(r, on_room, NULL);
    struct weir_route_query q = {
        .isl_tokens = 501, .pinned_rank = -1, .rng = &rng, .may_wait = true};
    CHECK(weir_router_route(r, &q, &route) ==
          WEIR_UNAVAILABLE); /* no worker: nothing to wait for */
    for (uint64_t i = 1; i <= 2; i++) {
        struct weir_router_worker w = {
            .worker_id = i, .dp_size = 1, .max_num_batched_tokens = 1000};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    CHECK_EQ_U64(told, 2);
    q.has_session = true;
    q.session = session(5);
    CHECK(weir_router_route(r, &q, &a) == WEIR_OK);
    q.has_session = false;
    CHECK(weir_router_route(r, &q, &b) == WEIR_OK && b.worker_id != a.worker_id);
    CHECK(weir_router_route(r, &q, &route) == WEIR_AGAIN);
    q.has_session = true;
    CHECK(weir_router_route(r, &q, &route) == WEIR_OK && route.worker_id == a.worker_id);
    weir_router_free(r, route.booking);
    q.has_session = q.may_wait = false;
    CHECK(weir_router_route(r, &q, &route) == WEIR_OK);
    weir_router_free(r, route.booking);
    q.may_wait = true;
    CHECK(weir_router_route(r, &q, &route) == WEIR_AGAIN);
    told = 0;
    weir_router_prefill_done(r, a.booking);
    CHECK_EQ_U64(told, 1);
    weir_router_prefill_done(r, a.booking); /* nothing changes: nobody is told */
    CHECK_EQ_U64(told, 1);
    CHECK(weir_router_route(r, &q, &route) == WEIR_OK);
    weir_router_free(r, route.booking);
    weir_router_free(r, a.booking);
    weir_router_free(r, b.booking);
    CHECK_EQ_U64(told, 4);
    weir_router_free(r, b.booking);
    CHECK_EQ_U64(told, 4);
    weir_router_on_room(r, NULL, NULL);
    weir_router_destroy(r);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_idle_time);
    CHECK_RUN(case_bounded);
    CHECK_RUN(case_sessions_stay);
    CHECK_RUN(case_a_worker_that_is_gone_is_replaced);
    CHECK_RUN(case_a_busy_worker);
    CHECK_RUN(case_full_workers);
    return check_finish();
}
