#include "router/router_priv.h"

#include "kvindex/kvi.h"
#include "test/check.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct weir_rng rng;

static struct weir_router *start(enum weir_router_mode mode, unsigned workers) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    weir_router_config_init(&c);
    c.mode = mode;
    c.block_size = 4;
    c.inhibit_ms = 5000;
    c.use_kv_events = true;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (unsigned i = 1; i <= workers; i++) {
        struct weir_router_worker w = {
            .worker_id = i, .dp_size = 1, .total_kv_blocks = 100, .max_num_batched_tokens = 64};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    return r;
}

struct prompt {
    uint64_t local[8], seq[8];
    struct weir_route_query q;
};

static void prompt_init(struct prompt *p, uint32_t first, size_t n_tokens) {
    uint32_t tokens[32];
    for (uint32_t i = 0; i < n_tokens; i++)
        tokens[i] = first + i;
    size_t n = kvi_hash_blocks(tokens, n_tokens, 4, KVI_SEED, false, p->local, 8);
    kvi_chain(p->local, n, p->seq);
    p->q = (struct weir_route_query){.local_hashes = p->local,
                                     .sequence_hashes = p->seq,
                                     .n_blocks = n,
                                     .isl_tokens = n_tokens,
                                     .pinned_rank = -1,
                                     .rng = &rng};
}

static void store(struct weir_router *r, uint64_t worker, const struct prompt *p, size_t n) {
    struct weir_kv_block blocks[8];
    for (size_t i = 0; i < n; i++)
        blocks[i] = (struct weir_kv_block){p->seq[i], p->local[i]};
    struct weir_kv_event e = {
        .worker_id = worker, .kind = WEIR_KV_STORED, .blocks = blocks, .n_blocks = n};
    weir_router_kv_event(r, &e);
}

static struct weir_worker_load load_of(struct weir_router *r, uint64_t worker) {
    struct weir_worker_load l[8];
    size_t n = weir_router_loads(r, 0, l, 8);
    for (size_t i = 0; i < n; i++)
        if (l[i].worker_id == worker)
            return l[i];
    CHECK(false);
    return l[0];
}

static void case_kv_mode_follows_the_prefix(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 3);
    struct prompt p;
    prompt_init(&p, 0, 17);
    store(r, 2, &p, 3);
    struct weir_route route;
    for (int i = 0; i < 20; i++) {
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        CHECK_EQ_U64(route.worker_id, 2);
        CHECK_EQ_U64(route.overlap_blocks, 3);
        weir_router_free(r, route.booking);
    }
    weir_router_worker_remove(r, 2);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id != 2);
    CHECK_EQ_U64(route.best_overlap_blocks, 0);
    weir_router_destroy(r);
}

static void case_load_is_booked_and_released(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 1);
    struct prompt p;
    prompt_init(&p, 0, 14);
    store(r, 1, &p, 2);
    struct weir_route a, b;
    CHECK(weir_router_route(r, &p.q, &a) == WEIR_OK && weir_router_route(r, &p.q, &b) == WEIR_OK);
    struct weir_worker_load l = load_of(r, 1);
    CHECK_EQ_U64(l.active_requests, 2);
    CHECK_EQ_U64(l.active_prefill_tokens, 12); /* 14 - 8 cached, twice */
    CHECK_EQ_U64(l.active_decode_blocks, 3);   /* the same prompt: counted once */
    weir_router_prefill_done(r, a.booking);
    weir_router_prefill_done(r, a.booking);
    CHECK_EQ_U64(load_of(r, 1).active_prefill_tokens, 6);
    weir_router_free(r, a.booking);
    weir_router_free(r, a.booking);
    weir_router_free(r, b.booking);
    l = load_of(r, 1);
    CHECK_EQ_U64(l.active_requests + l.active_prefill_tokens + l.active_decode_blocks, 0);
    weir_router_destroy(r);
}

static struct weir_router *start_fleet(unsigned workers) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.policy = WEIR_SELECT_FLEET;
    c.block_size = 4;
    c.churn_half_life_s = 16;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (unsigned i = 1; i <= workers; i++) {
        struct weir_router_worker w = {.worker_id = i, .dp_size = 1, .total_kv_blocks = 10};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    return r;
}

/* Equal prompts that come before the first one's cache event stay together under the fleet policy;
 * what waits there is counted only for the part that none of them has. */
static void case_fleet_counts_running_prefixes(void) {
    struct weir_router *r = start_fleet(4);
    struct prompt p;
    struct weir_route first, next;
    prompt_init(&p, 0, 30);
    CHECK(weir_router_route(r, &p.q, &first) == WEIR_OK);
    CHECK_EQ_U64(first.overlap_blocks, 0);
    for (int i = 0; i < 5; i++) {
        CHECK(weir_router_route(r, &p.q, &next) == WEIR_OK);
        CHECK_EQ_U64(next.worker_id, first.worker_id);
        CHECK_EQ_U64(next.overlap_blocks, 7);
    }
    CHECK_EQ_U64(load_of(r, first.worker_id).active_prefill_tokens, 30 + 5 * 2);
    weir_router_destroy(r);
}

/* Prompts without a common beginning, one after another on an idle fleet: an even spread; and what
 * was placed counts half after 16 s, nothing long after. */
static void case_fleet_spreads_what_is_new(void) {
    struct weir_router *r = start_fleet(4);
    struct weir_route route;
    unsigned placed[5] = {0};
    for (uint32_t i = 0; i < 40; i++) {
        struct prompt p;
        prompt_init(&p, 1000 * i, 32);
        p.q.now_ms = 1;
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        weir_router_free(r, route.booking);
        placed[route.worker_id]++;
    }
    for (int w = 1; w <= 4; w++)
        CHECK_EQ_U64(placed[w], 10);
    static const struct {
        uint64_t at_ms;
        double churn;
    } rows[] = {{16001, 4}, {48001, 1}, {3600000, 0}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct prompt p; /* 8 blocks were placed ten times into 10 */
        prompt_init(&p, 7, 32);
        p.q.now_ms = rows[i].at_ms;
        p.q.query_only = true;
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        double want = 8 * (8 + 2 * rows[i].churn) + 0.02 * 8;
        CHECK_MSG(fabs(route.cost - want) < 1e-6, "%f, not %f", route.cost, want);
    }
    weir_router_destroy(r);
}

/* A worker that says it has twice the room is churned half as much, without anything else. */
static void case_fleet_counts_churn_by_size(void) {
    struct weir_router *r = start_fleet(1);
    struct weir_router_worker w = {.worker_id = 1, .dp_size = 1, .total_kv_blocks = 20};
    struct weir_route route;
    struct prompt p;
    prompt_init(&p, 0, 32);
    p.q.now_ms = 1;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
    weir_router_free(r, route.booking);
    prompt_init(&p, 1000, 32);
    p.q.now_ms = 1;
    p.q.query_only = true;
    for (double size = 10; size <= 20; size += 10) {
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        double want = 8 * (8 + 2 * 8 / size) + 0.02 * 8;
        CHECK_MSG(fabs(route.cost - want) < 1e-6, "%f, not %f", route.cost, want);
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    weir_router_destroy(r);
}

static void case_round_robin_takes_turns(void) {
    struct weir_router *r = start(WEIR_ROUTE_ROUND_ROBIN, 3);
    struct prompt p;
    prompt_init(&p, 0, 4);
    unsigned hits[4] = {0};
    for (int i = 0; i < 30; i++) {
        struct weir_route route;
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        hits[route.worker_id]++;
    }
    CHECK(hits[1] == 10 && hits[2] == 10 && hits[3] == 10);
    weir_router_destroy(r);
}

static void case_least_loaded_and_power_of_two_avoid_load(void) {
    for (int mode = 0; mode < 2; mode++) {
        struct weir_router *r = start(mode ? WEIR_ROUTE_LEAST_LOADED : WEIR_ROUTE_POWER_OF_TWO, 2);
        struct prompt p;
        prompt_init(&p, 0, 4);
        for (int i = 0; i < 40; i++) {
            struct weir_route route;
            CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        }
        uint64_t a = load_of(r, 1).active_requests, b = load_of(r, 2).active_requests;
        CHECK(a + b == 40 && (mode ? a == b : (a > 10 && b > 10)));
        weir_router_destroy(r);
    }
}

static void case_pinned_worker(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 2);
    struct prompt p;
    struct weir_route route;
    prompt_init(&p, 0, 8);
    p.q.has_pinned_worker = true;
    p.q.pinned_worker = 2;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 2);
    p.q.pinned_rank = 1;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_INVALID);
    p.q.pinned_rank = -1;
    p.q.pinned_worker = 9;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_INVALID);
    weir_router_destroy(r);
}

static void case_failed_workers_are_avoided_for_a_while(void) {
    struct weir_router *r = start(WEIR_ROUTE_ROUND_ROBIN, 2);
    struct prompt p;
    struct weir_route route;
    prompt_init(&p, 0, 8);
    p.q.now_ms = 1000;
    weir_router_worker_failed(r, 1, 1000);
    for (int i = 0; i < 6; i++)
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 2);
    uint64_t tried[] = {2};
    p.q.exclude = tried;
    p.q.n_exclude = 1;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_UNAVAILABLE);
    p.q.now_ms = 6001;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 1);
    weir_router_destroy(r);
}

static void case_overload_only_when_all_are_busy(void) {
    struct weir_router *r = start(WEIR_ROUTE_ROUND_ROBIN, 2);
    struct weir_busy_thresholds t = {0.5, -1, NAN};
    struct prompt p;
    struct weir_route route;
    prompt_init(&p, 0, 8);
    weir_router_set_thresholds(r, &t);
    struct weir_active_load l = {.worker_id = 1, .has_kv_used = true, .kv_used_blocks = 51};
    weir_router_load_event(r, &l);
    CHECK(!weir_router_all_busy(r));
    for (int i = 0; i < 4; i++)
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 2);
    l.worker_id = 2;
    weir_router_load_event(r, &l);
    CHECK(weir_router_all_busy(r));
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OVERLOADED);
    l.kv_used_blocks = 50;
    weir_router_load_event(r, &l);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
    weir_router_destroy(r);
}

/* A worker with two ranks is busy when both are; a pinned rank of it is refused only then. */
static void case_all_ranks_must_be_busy(void) {
    struct weir_router *r = start(WEIR_ROUTE_LEAST_LOADED, 0);
    struct weir_router_worker w = {
        .worker_id = 9, .dp_start = 2, .dp_size = 2, .total_kv_blocks = 100};
    struct weir_busy_thresholds t = {0.5, -1, NAN};
    struct weir_active_load load = {
        .worker_id = 9, .dp_rank = 2, .has_kv_used = true, .kv_used_blocks = 51};
    struct weir_route route;
    struct prompt p;
    prompt_init(&p, 0, 4);
    CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    weir_router_set_thresholds(r, &t);
    weir_router_load_event(r, &load);
    CHECK(!weir_router_all_busy(r));
    p.q.has_pinned_worker = true;
    p.q.pinned_worker = 9;
    p.q.pinned_rank = 2;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.dp_rank == 2);
    load.dp_rank = 3;
    weir_router_load_event(r, &load);
    CHECK(weir_router_all_busy(r));
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OVERLOADED);
    p.q.has_pinned_worker = false;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OVERLOADED);
    /* At the threshold is not above it; a load of an unknown rank changes nothing. */
    load.kv_used_blocks = 50;
    weir_router_load_event(r, &load);
    load.dp_rank = 7;
    load.kv_used_blocks = 100;
    weir_router_load_event(r, &load);
    CHECK(!weir_router_all_busy(r));
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
    weir_router_destroy(r);
}

/* A second router that hears of the first one's requests counts the same load. */
static void pass_on(void *arg, const struct weir_sequence_event *event) {
    weir_router_apply_sequence(arg, event, 77, 0);
}

static bool same_load(struct weir_router *a, struct weir_router *b) {
    bool same = true;
    for (uint64_t w = 1; w <= 3; w++) {
        struct weir_worker_load x = load_of(a, w), y = load_of(b, w);
        same &= x.active_decode_blocks == y.active_decode_blocks &&
                x.active_prefill_tokens == y.active_prefill_tokens &&
                x.active_requests == y.active_requests;
    }
    return same;
}

static void case_routers_share_their_load(void) {
    enum { N = 200 };
    struct weir_router *a = start(WEIR_ROUTE_KV, 3), *b = start(WEIR_ROUTE_KV, 3);
    uint64_t bookings[N];
    char ids[N][16];
    weir_router_on_sequence(a, pass_on, b);
    for (unsigned i = 0; i < N; i++) {
        struct prompt p;
        struct weir_route route;
        prompt_init(&p, (uint32_t)weir_rng_below(&rng, 20), 1 + weir_rng_below(&rng, 31));
        snprintf(ids[i], sizeof(ids[i]), "request-%u", i);
        p.q.request_id = weir_span_z(ids[i]);
        CHECK(weir_router_route(a, &p.q, &route) == WEIR_OK);
        bookings[i] = route.booking;
        CHECK(same_load(a, b));
        size_t other = (size_t)weir_rng_below(&rng, i + 1);
        if (weir_rng_below(&rng, 2) == 0)
            weir_router_prefill_done(a, bookings[other]);
        else
            weir_router_free(a, bookings[other]);
        CHECK(same_load(a, b));
    }
    /* It goes away: what it had running is not waited for. */
    CHECK(weir_router_drop_publisher(b, 78) == 0);
    unsigned left = 0;
    for (uint64_t w = 1; w <= 3; w++)
        left += (unsigned)load_of(a, w).active_requests;
    CHECK(left > 0 && weir_router_drop_publisher(b, 77) == left);
    for (uint64_t w = 1; w <= 3; w++) {
        struct weir_worker_load l = load_of(b, w);
        CHECK(l.active_requests == 0 && l.active_decode_blocks == 0 &&
              l.active_prefill_tokens == 0);
    }
    /* Ends of requests that it does not know, and unknown workers, change nothing. */
    for (unsigned i = 0; i < N; i++)
        weir_router_free(a, bookings[i]);
    struct weir_sequence_event odd = {.request_id = WEIR_SPAN_LIT("x"), .worker_id = 99};
    weir_router_apply_sequence(b, &odd, 77, 0);
    CHECK(same_load(a, b));
    weir_router_destroy(a);
    weir_router_destroy(b);
}

/* A worker that comes or goes meanwhile changes nothing for the others' requests. (Failed before:
 * their ends were not recognised any more, and their load stayed for an hour.) */
static void case_a_shared_load_ends_whoever_came_meanwhile(void) {
    struct weir_router *a = start(WEIR_ROUTE_KV, 3), *b = start(WEIR_ROUTE_KV, 3);
    const struct weir_router_worker more = {.worker_id = 4, .dp_size = 1};
    struct prompt p;
    struct weir_route first, second;
    weir_router_on_sequence(a, pass_on, b);
    prompt_init(&p, 0, 16);
    p.q.request_id = WEIR_SPAN_LIT("first");
    CHECK(weir_router_route(a, &p.q, &first) == WEIR_OK);
    p.q.request_id = WEIR_SPAN_LIT("second");
    CHECK(weir_router_route(a, &p.q, &second) == WEIR_OK);
    CHECK(weir_router_worker_put(b, &more) == WEIR_OK);
    weir_router_free(a, first.booking);
    CHECK(same_load(a, b));
    weir_router_worker_remove(b, 4);
    weir_router_free(a, second.booking);
    CHECK(same_load(a, b));
    weir_router_destroy(a);
    weir_router_destroy(b);
}

/* A worker whose record was gone for a moment is a new one: what its requests from before held is
 * not taken from those of now. (Failed before.) */
static void case_a_worker_that_comes_again_owes_nothing(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 1);
    const struct weir_router_worker again = {
        .worker_id = 1, .dp_size = 1, .total_kv_blocks = 100, .max_num_batched_tokens = 64};
    struct prompt p;
    struct weir_route before, now;
    prompt_init(&p, 0, 16);
    CHECK(weir_router_route(r, &p.q, &before) == WEIR_OK);
    weir_router_worker_remove(r, 1);
    CHECK(weir_router_worker_put(r, &again) == WEIR_OK);
    prompt_init(&p, 100, 16);
    CHECK(weir_router_route(r, &p.q, &now) == WEIR_OK);
    weir_router_prefill_done(r, before.booking);
    CHECK_EQ_U64(load_of(r, 1).active_prefill_tokens, 16);
    weir_router_free(r, before.booking);
    struct weir_worker_load l = load_of(r, 1);
    CHECK(l.active_requests == 1 && l.active_prefill_tokens == 16 && l.active_decode_blocks == 4);
    weir_router_free(r, now.booking);
    l = load_of(r, 1);
    CHECK(l.active_requests == 0 && l.active_prefill_tokens == 0 && l.active_decode_blocks == 0);
    weir_router_destroy(r);
}

/* The 2^32nd booking has a handle like any other. (Failed before: 0, which nobody frees.) */
static void case_generations_begin_anew(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 1);
    struct prompt p;
    struct weir_route route;
    r->next_generation = (uint64_t)1 << 32;
    prompt_init(&p, 0, 8);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.booking != 0);
    weir_router_free(r, route.booking);
    CHECK_EQ_U64(load_of(r, 1).active_requests, 0);
    weir_router_destroy(r);
}

static void case_stale_bookings_expire(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 1);
    struct prompt p;
    struct weir_route route;
    prompt_init(&p, 0, 8);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
    CHECK_EQ_U64(weir_router_expire(r, 3600000), 0);
    CHECK_EQ_U64(weir_router_expire(r, 3600001), 1);
    CHECK_EQ_U64(load_of(r, 1).active_requests, 0);
    weir_router_free(r, route.booking); /* a stale handle does nothing */
    weir_router_destroy(r);
}

static void case_predicts_without_events(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = 4;
    c.use_kv_events = false;
    c.ttl_s = 1;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (unsigned i = 1; i <= 2; i++)
        CHECK(weir_router_worker_put(
                  r, &(struct weir_router_worker){.worker_id = i, .dp_size = 1}) == WEIR_OK);
    struct prompt p;
    struct weir_route first, again;
    prompt_init(&p, 0, 16);
    CHECK(weir_router_route(r, &p.q, &first) == WEIR_OK && first.overlap_blocks == 0);
    weir_router_free(r, first.booking);
    p.q.now_ms = 999;
    CHECK(weir_router_route(r, &p.q, &again) == WEIR_OK);
    CHECK(again.worker_id == first.worker_id && again.overlap_blocks == 4);
    weir_router_free(r, again.booking);
    /* That one renewed it. (Failed before: it lapsed with the first.) */
    p.q.now_ms = 1998;
    CHECK(weir_router_route(r, &p.q, &again) == WEIR_OK && again.overlap_blocks == 4);
    weir_router_free(r, again.booking);
    p.q.now_ms = 1998 + 1000;
    CHECK(weir_router_route(r, &p.q, &again) == WEIR_OK && again.best_overlap_blocks == 0);
    weir_router_destroy(r);
}

/* ---- threads ------------------------------------------------------------------------------ */

static void *route_many(void *arg) {
    struct weir_router *r = arg;
    struct weir_rng own;
    weir_rng_seed(&own, (uint64_t)(uintptr_t)&own);
    for (uint32_t i = 0; i < 5000; i++) {
        struct prompt p;
        struct weir_route route;
        prompt_init(&p, i % 50, 16);
        p.q.rng = &own;
        if (weir_router_route(r, &p.q, &route) != WEIR_OK)
            continue;
        if (i % 2 == 0)
            weir_router_prefill_done(r, route.booking);
        weir_router_free(r, route.booking);
    }
    return NULL;
}

static void *publish_many(void *arg) {
    struct weir_router *r = arg;
    for (uint32_t i = 0; i < 5000; i++) {
        struct prompt p;
        prompt_init(&p, i % 50, 16);
        store(r, 1 + i % 3, &p, 4);
        if (i % 7 == 0)
            weir_router_clear_rank(r, 1 + i % 3, 0);
    }
    return NULL;
}

static void case_threads_leave_no_load_behind(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 3);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, i < 3 ? route_many : publish_many, r) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (uint64_t w = 1; w <= 3; w++) {
        struct weir_worker_load l = load_of(r, w);
        CHECK_EQ_U64(l.active_requests + l.active_prefill_tokens + l.active_decode_blocks, 0);
    }
    weir_router_destroy(r);
}

/* Searches run while their worker leaves: never more than was stored, never a worker that is none.
 */
static void *route_and_check(void *arg) {
    struct weir_router *r = arg;
    struct weir_rng own;
    unsigned *wrong = calloc(1, sizeof(*wrong));
    weir_rng_seed(&own, (uint64_t)(uintptr_t)&own);
    for (uint32_t i = 0; wrong != NULL && i < 5000; i++) {
        struct prompt p;
        struct weir_route route;
        prompt_init(&p, i % 50, 16);
        p.q.rng = &own;
        p.q.query_only = true;
        if (weir_router_route(r, &p.q, &route) == WEIR_OK)
            *wrong += route.worker_id < 1 || route.worker_id > 3 || route.best_overlap_blocks > 4 ||
                      route.overlap_blocks > route.best_overlap_blocks;
        *wrong += weir_router_uncached(r, &p.q) < p.q.isl_tokens - 16;
    }
    return wrong;
}

static void *leave_and_return(void *arg) {
    struct weir_router *r = arg;
    for (uint32_t i = 0; i < 2000; i++) {
        struct weir_router_worker w = {.worker_id = 1 + i % 3, .dp_size = 1 + i % 2};
        weir_router_worker_remove(r, w.worker_id);
        if (weir_router_worker_put(r, &w) != WEIR_OK)
            return r;
    }
    return NULL;
}

static void case_threads_search_while_workers_come_and_go(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 3);
    pthread_t t[4];
    CHECK(pthread_create(&t[0], NULL, publish_many, r) == 0);
    CHECK(pthread_create(&t[1], NULL, leave_and_return, r) == 0);
    for (int i = 2; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, route_and_check, r) == 0);
    void *failed;
    pthread_join(t[0], NULL);
    pthread_join(t[1], &failed);
    CHECK(failed == NULL);
    for (int i = 2; i < 4; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        CHECK(wrong != NULL && *(unsigned *)wrong == 0);
        free(wrong);
    }
    weir_router_destroy(r);
}

/* A query that names a pool sees its workers alone, sessions and pinned ranks included. */
static void case_pools(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    struct prompt p;
    struct weir_route route;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = 4;
    c.affinity_ttl_ms = 1000;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (unsigned i = 1; i <= 4; i++) {
        struct weir_router_worker w = {.worker_id = i, .dp_size = i, .pool = i % 2};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    CHECK(weir_router_pool_workers(r, 0) == 2 && weir_router_pool_workers(r, 1) == 2 &&
          weir_router_pool_workers(r, 2) == 0);
    prompt_init(&p, 0, 17);
    store(r, 2, &p, 3);
    p.q.has_pool = true;
    for (unsigned i = 0; i < 40; i++) {
        p.q.pool = i % 2;
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK);
        CHECK_EQ_U64(route.worker_id % 2, p.q.pool);
        CHECK(p.q.pool == 1 || i > 1 || route.worker_id == 2);
        weir_router_free(r, route.booking);
    }
    p.q.pool = 2;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_UNAVAILABLE);
    /* A session of the other pool is given up rather than refused. */
    p.q.has_session = true;
    memset(&p.q.session, 7, sizeof(p.q.session));
    for (uint32_t pool = 0; pool < 2; pool++) {
        p.q.pool = pool;
        CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id % 2 == pool);
        weir_router_free(r, route.booking);
    }
    weir_router_destroy(r);
}

/* A query for an adapter goes to workers that have it, whatever the others hold; a session that is
 * bound to another worker is given up; the adapter's place outlives the worker's record. */
static void case_adapters(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    struct prompt p;
    struct weir_route route;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = 4;
    c.affinity_ttl_ms = 1000;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    CHECK(weir_router_adapter_put(r, 9, 2) == WEIR_OK);
    for (unsigned i = 1; i <= 3; i++) {
        struct weir_router_worker w = {.worker_id = i, .dp_size = 1};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    prompt_init(&p, 0, 17);
    store(r, 1, &p, 3);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 1);
    weir_router_free(r, route.booking);
    p.q.has_session = true;
    memset(&p.q.session, 7, sizeof(p.q.session));
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 1); /* bound */
    weir_router_free(r, route.booking);
    p.q.adapter = 9;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 2);
    weir_router_free(r, route.booking);
    p.q.has_session = false;
    weir_router_worker_remove(r, 2);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_UNAVAILABLE);
    struct weir_router_worker again = {.worker_id = 2, .dp_size = 2};
    CHECK(weir_router_worker_put(r, &again) == WEIR_OK);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.worker_id == 2);
    weir_router_free(r, route.booking);
    p.q.has_pinned_worker = true; /* to one that has it not: as if it were not known */
    p.q.pinned_worker = 3;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_INVALID);
    p.q.has_pinned_worker = false;
    weir_router_adapter_remove(r, 9, 2);
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_UNAVAILABLE);
    weir_router_destroy(r);
}

/* A tenant's long prompts obey its share also where each belongs to a session that is bound to
 * another rank: those over the limit wait (and say that others need not), or go to ranks that the
 * tenant holds already when sessions may move; only without a queue a hard bound one goes home. */
static void case_sessions_keep_to_shares(bool soft, bool queue) {
    enum { RANKS = 4, LONG = 3000 };
    struct weir_router_config c;
    struct weir_router *r = NULL;
    struct weir_route route;
    uint64_t home[RANKS], now = 1000;
    unsigned n_held = 0, n_waits = 0, n_moved = 0;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_LEAST_LOADED;
    c.affinity_ttl_ms = 1000000;
    c.affinity_soft = soft;
    c.tenant_window_ms = 60000;
    c.queue_threshold = queue ? 0 : NAN;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    for (unsigned i = 1; i <= RANKS; i++) {
        struct weir_router_worker w = {
            .worker_id = i, .dp_size = 1, .max_num_batched_tokens = 1000000};
        CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
    }
    struct weir_route_query q = {
        .pinned_rank = -1, .rng = &rng, .now_ms = now, .has_session = true};
    for (unsigned i = 0; i < RANKS; i++) { /* short first turns bind a session to each rank */
        q.isl_tokens = 10;
        q.tenant = 1;
        memset(&q.session, (int)i + 1, sizeof(q.session));
        CHECK(weir_router_route(r, &q, &route) == WEIR_OK);
        home[i] = route.worker_id;
        for (unsigned k = 0; k < i; k++)
            CHECK(home[k] != home[i]);
    }
    struct weir_route_query chat = {
        .pinned_rank = -1, .rng = &rng, .now_ms = now, .tenant = 2, .isl_tokens = 10};
    CHECK(weir_router_route(r, &chat, &route) == WEIR_OK);
    weir_router_prefill_done(r, route.booking);
    for (unsigned i = 0; i < RANKS; i++) {
        q.isl_tokens = LONG;
        q.may_wait = queue;
        memset(&q.session, (int)i + 1, sizeof(q.session));
        enum weir_status st = weir_router_route(r, &q, &route);
        if (st == WEIR_AGAIN) {
            CHECK(route.share_full);
            n_waits++;
        } else {
            CHECK(st == WEIR_OK);
            n_moved += route.worker_id != home[i];
        }
    }
    struct weir_router_tenants all;
    struct weir_router_tenant each[8];
    size_t n;
    CHECK(weir_router_tenants(r, now, &all, each, 8, &n) && n == 2 && all.active == 2);
    for (size_t i = 0; i < n; i++)
        n_held = each[i].tenant == 1 ? each[i].held : n_held;
    /* One rank is reserved for the chats of the other tenant. */
    CHECK_EQ_U64(n_held, queue || soft ? 3 : 4);
    CHECK_EQ_U64(n_waits, queue ? 1 : 0);
    CHECK_EQ_U64(n_moved, soft && !queue ? 1 : 0);
    weir_router_destroy(r);
}

static void case_hard_sessions_keep_to_shares(void) {
    case_sessions_keep_to_shares(false, true);
    case_sessions_keep_to_shares(false, false);
}

static void case_soft_sessions_keep_to_shares(void) {
    case_sessions_keep_to_shares(true, true);
    case_sessions_keep_to_shares(true, false);
}

/* What a query that books nothing says about the rank that would be chosen. */
static void case_load_of_a_question(void) {
    struct weir_router *r = start(WEIR_ROUTE_KV, 1);
    struct prompt p, other;
    struct weir_route route, first;
    prompt_init(&p, 0, 17);
    prompt_init(&other, 100, 9);
    store(r, 1, &p, 3);
    CHECK(weir_router_route(r, &other.q, &first) == WEIR_OK);
    CHECK(first.load.total_kv_blocks == 0); /* booked: not told */
    p.q.query_only = true;
    CHECK(weir_router_route(r, &p.q, &route) == WEIR_OK && route.booking == 0);
    CHECK(route.load.cached_tokens == 12 && route.load.prefill_tokens == 9);
    CHECK(route.load.decode_blocks == 2 && route.load.additional_blocks == 4);
    CHECK(route.load.total_kv_blocks == 100 && route.load.max_num_batched_tokens == 64);
    CHECK_EQ_U64(load_of(r, 1).active_requests, 1);
    weir_router_free(r, first.booking);
    weir_router_destroy(r);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_kv_mode_follows_the_prefix);
    CHECK_RUN(case_load_is_booked_and_released);
    CHECK_RUN(case_fleet_counts_running_prefixes);
    CHECK_RUN(case_fleet_spreads_what_is_new);
    CHECK_RUN(case_fleet_counts_churn_by_size);
    CHECK_RUN(case_round_robin_takes_turns);
    CHECK_RUN(case_least_loaded_and_power_of_two_avoid_load);
    CHECK_RUN(case_pinned_worker);
    CHECK_RUN(case_failed_workers_are_avoided_for_a_while);
    CHECK_RUN(case_overload_only_when_all_are_busy);
    CHECK_RUN(case_all_ranks_must_be_busy);
    CHECK_RUN(case_routers_share_their_load);
    CHECK_RUN(case_a_shared_load_ends_whoever_came_meanwhile);
    CHECK_RUN(case_a_worker_that_comes_again_owes_nothing);
    CHECK_RUN(case_generations_begin_anew);
    CHECK_RUN(case_stale_bookings_expire);
    CHECK_RUN(case_predicts_without_events);
    CHECK_RUN(case_pools);
    CHECK_RUN(case_adapters);
    CHECK_RUN(case_hard_sessions_keep_to_shares);
    CHECK_RUN(case_soft_sessions_keep_to_shares);
    CHECK_RUN(case_load_of_a_question);
    CHECK_RUN(case_threads_leave_no_load_behind);
    CHECK_RUN(case_threads_search_while_workers_come_and_go);
    return check_finish();
}
