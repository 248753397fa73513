/* The admission queue by exact traces on a fake clock, and against a naive list. */
#include "router/queue.h"

#include "base/rng.h"
#include "test/check.h"

#include <math.h>

enum { MOST = 512 };

static struct weir_rng rng;
static struct weir_queue_item items[MOST];
static struct weir_queue_refusal refusal;

static struct weir_queue *make(struct weir_queue_config c) {
    struct weir_queue *q = NULL;
    CHECK(weir_queue_create(&c, &q) == WEIR_OK);
    memset(items, 0, sizeof(items));
    return q;
}

static enum weir_status push(struct weir_queue *q, unsigned i, uint64_t now) {
    return weir_queue_push(q, &items[i], now, &refusal);
}

/* Pops everything; the numbers of the items in order, as text "a b c". */
static const char *drain(struct weir_queue *q, uint64_t now) {
    static char text[MOST * 5];
    size_t at = 0;
    text[0] = '\0';
    for (struct weir_queue_item *x; (x = weir_queue_peek(q)) != NULL;) {
        CHECK(weir_queue_peek(q) == x); /* the same until something changes */
        weir_queue_pop(q, x, now);
        CHECK(x->flow == NULL);
        at += (size_t)snprintf(text + at, sizeof(text) - at, at == 0 ? "%td" : " %td", x - items);
    }
    struct weir_queue_stats s;
    weir_queue_stats(q, now, &s);
    CHECK(s.requests == 0 && s.tokens == 0 && s.tenants == 0 && s.priorities == 0);
    return text;
}

#define CHECK_TRACE(q, now, want)                                                                  \
    do {                                                                                           \
        const char *check_got = drain(q, now);                                                     \
        CHECK_EQ_STR(check_got, strlen(check_got), want);                                          \
    } while (0)

static void case_orders(void) {
    static const struct {
        enum weir_queue_policy policy;
        const char *want;
    } rows[] = {{WEIR_QUEUE_FCFS, "2 0 1 3 4"}, /* item 2 has jumped three seconds ahead */
                {WEIR_QUEUE_LCFS, "2 4 3 1 0"},
                {WEIR_QUEUE_WSPT, "1 2 4 3 0"}};
    static const uint64_t tokens[] = {1000, 10, 100, 500, 50};
    for (size_t r = 0; r < WEIR_ARRAY_LEN(rows); r++) {
        struct weir_queue *q = make((struct weir_queue_config){.policy = rows[r].policy});
        for (unsigned i = 0; i < 5; i++) {
            items[i].uncached_tokens = tokens[i];
            items[i].priority_jump = i == 2 ? 3 : i == 3 ? -5 : 0;
            CHECK(push(q, i, 1000 + i * 1000) == WEIR_OK);
        }
        CHECK_TRACE(q, 9000, rows[r].want);
        weir_queue_destroy(q);
    }
}

static void case_equal_ones_keep_their_order(void) {
    struct weir_queue *q = make((struct weir_queue_config){.policy = WEIR_QUEUE_WSPT});
    for (unsigned i = 0; i < 6; i++) {
        items[i].uncached_tokens = 7;
        CHECK(push(q, i, 5) == WEIR_OK);
    }
    weir_queue_remove(q, &items[2]);
    weir_queue_remove(q, &items[2]); /* nothing happens */
    CHECK_TRACE(q, 5, "0 1 3 4 5");
    weir_queue_destroy(q);
}

static void case_deadlines_first(void) {
    struct weir_queue *q = make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS});
    for (unsigned i = 0; i < 4; i++) {
        items[i].uncached_tokens = 1;
        items[i].deadline_ms = i == 1 ? 900 : i == 3 ? 800 : 0;
        items[i].priority_jump = i == 0 ? 1e6 : 0;
        CHECK(push(q, i, i) == WEIR_OK);
    }
    CHECK_TRACE(q, 10, "3 1 0 2");
    weir_queue_destroy(q);
}

/* Whatever comes and goes, nothing leaves while a higher priority waits. */
static void case_priorities_are_free_of_inversions(void) {
    struct weir_queue *q =
        make((struct weir_queue_config){.policy = WEIR_QUEUE_WSPT, .quantum = 64});
    unsigned popped = 0;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)weir_rng_below(&rng, MOST);
        if (items[i].flow == NULL && weir_rng_below(&rng, 2) == 0) {
            items[i] = (struct weir_queue_item){.strict_priority =
                                                    (uint32_t)weir_rng_below(&rng, 5) * 1000000000u,
                                                .uncached_tokens = weir_rng_below(&rng, 5000),
                                                .tenant = weir_rng_below(&rng, 7),
                                                .priority_jump = weir_rng_unit(&rng)};
            CHECK(push(q, i, step) == WEIR_OK);
            continue;
        }
        struct weir_queue_item *x = weir_queue_peek(q);
        if (x == NULL)
            continue;
        for (unsigned k = 0; k < MOST; k++)
            CHECK(items[k].flow == NULL || items[k].strict_priority <= x->strict_priority);
        weir_queue_pop(q, x, step);
        popped++;
    }
    CHECK(popped > 3000);
    weir_queue_destroy(q);
}

/* A literal trace: two priorities, three tenants, arrivals in between. */
static void case_priorities_by_trace(void) {
    static const struct {
        unsigned item, priority, tenant, tokens;
    } rows[] = {{0, 0, 1, 100}, {1, 2, 1, 5000}, {2, 0, 2, 10}, {3, 2, 2, 50},
                {4, 1, 3, 9},   {5, 2, 1, 1},    {6, 7, 3, 70}};
    struct weir_queue *q =
        make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS, .quantum = 100});
    char trace[64];
    size_t at = 0;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        items[rows[i].item] = (struct weir_queue_item){.strict_priority = rows[i].priority,
                                                       .tenant = rows[i].tenant,
                                                       .uncached_tokens = rows[i].tokens};
        if (i < 4)
            CHECK(push(q, rows[i].item, i) == WEIR_OK);
    }
    for (unsigned k = 0; k < WEIR_ARRAY_LEN(rows); k++) {
        struct weir_queue_item *x = weir_queue_peek(q);
        weir_queue_pop(q, x, 10);
        at += (size_t)snprintf(trace + at, sizeof(trace) - at, "%td ", x - items);
        if (k < 3) /* the second, third and fourth come while others wait */
            CHECK(push(q, 4 + k, 20 + k) == WEIR_OK);
    }
    /* 3 pays 50 of its 100 while 1 saves up for 5,000; 6 outranks all that are there when it
     * comes. */
    CHECK_EQ_STR(trace, at, "3 1 5 6 4 0 2 ");
    weir_queue_destroy(q);
}

static void case_passing_over(void) {
    struct weir_queue *q = make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS});
    const struct weir_queue_class classes[] = {{.weight = 1}, {.weight = 1}};
    struct weir_queue_item *x;
    for (unsigned i = 0; i < 6; i++) { /* tenants 0 and 1 in priority 1, 2 in priority 0 */
        items[i] = (struct weir_queue_item){
            .tenant = i / 2, .strict_priority = i < 4, .uncached_tokens = 8192};
        CHECK(push(q, i, i) == WEIR_OK);
    }
    CHECK(weir_queue_peek(q) == &items[0]);
    weir_queue_pass(q, &items[0]);
    CHECK(weir_queue_peek(q) == &items[2]);
    weir_queue_pass(q, &items[2]);
    x = weir_queue_peek(q); /* nobody of the higher priority can go */
    CHECK(x == &items[4]);
    weir_queue_pop(q, x, 9);
    CHECK(weir_queue_peek(q) == &items[5]);
    weir_queue_pass(q, &items[5]);
    CHECK(weir_queue_peek(q) == NULL);
    weir_queue_unpass(q);
    CHECK_TRACE(q, 10, "0 2 1 3 5");
    weir_queue_destroy(q);

    q = make((struct weir_queue_config){.classes = classes, .n_classes = 2});
    for (unsigned i = 0; i < 4; i++) {
        items[i] = (struct weir_queue_item){.tenant = i, .klass = i / 2, .uncached_tokens = 8192};
        CHECK(push(q, i, i) == WEIR_OK);
    }
    weir_queue_pass(q, weir_queue_peek(q));
    weir_queue_pass(q, weir_queue_peek(q));
    weir_queue_unpass(q);
    weir_queue_unpass(q); /* nothing happens */
    CHECK(weir_queue_peek(q) == &items[0]);
    weir_queue_destroy(q);
}

/* Requests for one worker stand in its lane: passing over one lane leaves the tenant's others. */
static void case_lanes(void) {
    struct weir_queue *q = make((struct weir_queue_config){.max_tenant_requests = 5});
    struct weir_queue_stats s;
    static const uint64_t lanes[] = {7, 7, 0, 9, 0};
    for (unsigned i = 0; i < 5; i++) {
        items[i] = (struct weir_queue_item){.tenant = 3, .lane = lanes[i], .uncached_tokens = 8192};
        CHECK(push(q, i, i) == WEIR_OK);
    }
    CHECK(push(q, 5, 5) == WEIR_OK); /* of another tenant */
    items[6].tenant = 3;
    CHECK(push(q, 6, 6) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_TENANT_REQUESTS);
    weir_queue_stats(q, 6, &s);
    CHECK(s.tenants == 2 && s.requests == 6);
    weir_queue_pass(q, weir_queue_peek(q)); /* the worker of lane 7 is full */
    CHECK(weir_queue_peek(q) == &items[2]);
    weir_queue_pass(q, &items[2]); /* all are: only the other worker has room */
    CHECK(weir_queue_peek(q) == &items[3]);
    weir_queue_pop(q, &items[3], 7);
    weir_queue_unpass(q);
    CHECK_TRACE(q, 8, "0 2 5 1 4");
    weir_queue_destroy(q);
}

/* Tenants that cannot go now and then: nobody goes before a higher priority that could, everybody
 * goes in the end, a tenant's own order stays. */
static void case_passing_over_at_random(void) {
    for (int round = 0; round < 300; round++) {
        struct weir_queue *q =
            make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS, .quantum = 512});
        uint64_t last_seq[3][8] = {{0}};
        unsigned left = 100;
        for (unsigned i = 0; i < left; i++) {
            items[i] =
                (struct weir_queue_item){.strict_priority = (uint32_t)weir_rng_below(&rng, 3),
                                         .tenant = weir_rng_below(&rng, 8),
                                         .uncached_tokens = weir_rng_below(&rng, 3000)};
            CHECK(push(q, i, 0) == WEIR_OK);
        }
        while (left > 0) {
            uint64_t blocked = weir_rng_u64(&rng); /* a bit a tenant */
            struct weir_queue_item *x;
            for (; (x = weir_queue_peek(q)) != NULL && weir_rng_below(&rng, 5) > 0;) {
                if (blocked >> x->tenant & 1) {
                    weir_queue_pass(q, x);
                    continue;
                }
                for (unsigned k = 0; k < 100; k++)
                    CHECK(items[k].flow == NULL || blocked >> items[k].tenant & 1 ||
                          items[k].strict_priority <= x->strict_priority);
                CHECK(x->seq + 1 > last_seq[x->strict_priority][x->tenant]);
                last_seq[x->strict_priority][x->tenant] = x->seq + 1;
                weir_queue_pop(q, x, 1);
                left--;
            }
            weir_queue_unpass(q);
        }
        weir_queue_destroy(q);
    }
}

/* Three tenants keep the queue full; what each is served may differ by a quantum and one prompt. */
static void case_tenants_share_tokens(void) {
    static const uint64_t length[] = {20000, 100, 3000};
    struct weir_queue *q =
        make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS, .quantum = 4096});
    double served[3] = {0};
    for (unsigned i = 0; i < MOST; i++) {
        items[i].tenant = i % 3;
        items[i].uncached_tokens = length[i % 3];
        CHECK(push(q, i, i) == WEIR_OK);
    }
    for (unsigned step = 0; step < 30000; step++) {
        struct weir_queue_item *x = weir_queue_peek(q);
        served[x->tenant] += (double)x->uncached_tokens;
        weir_queue_pop(q, x, step);
        CHECK(push(q, (unsigned)(x - items), step) == WEIR_OK);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                CHECK_MSG(served[a] - served[b] <= 4096 + 20000, "tenants %d and %d: %g, %g", a, b,
                          served[a], served[b]);
    }
    CHECK(served[1] > 1e6);
    weir_queue_destroy(q);
}

/* The waiting time of a small tenant does not grow with the flood of another one. */
static void case_flood_does_not_starve(void) {
    struct weir_queue *q =
        make((struct weir_queue_config){.policy = WEIR_QUEUE_FCFS, .quantum = 8192});
    for (unsigned i = 0; i < 500; i++) {
        items[i].tenant = 1;
        items[i].uncached_tokens = 100000;
        CHECK(push(q, i, i) == WEIR_OK);
    }
    weir_queue_pop(q, weir_queue_peek(q), 500);
    items[510].tenant = 2;
    items[510].uncached_tokens = 256;
    CHECK(push(q, 510, 500) == WEIR_OK);
    unsigned others = 0;
    for (struct weir_queue_item *x; (x = weir_queue_peek(q)) != &items[510]; others++)
        weir_queue_pop(q, x, 501);
    CHECK_MSG(others <= 1, "%u prompts of the flood went first", others);
    weir_queue_destroy(q);
}

static void case_classes_by_weight_and_bounds(void) {
    const struct weir_queue_class classes[] = {
        {.weight = 3}, {.weight = 1, .max_requests = 4}, {.weight = 1, .max_tokens = 1000}};
    struct weir_queue *q = make((struct weir_queue_config){
        .policy = WEIR_QUEUE_FCFS, .quantum = 100, .classes = classes, .n_classes = 3});
    double served[2] = {0};
    for (unsigned i = 0; i < 8; i++) {
        items[i].klass = i % 2;
        items[i].tenant = i; /* many tenants do not make a class heavier */
        items[i].uncached_tokens = 100;
        CHECK(push(q, i, i) == WEIR_OK);
    }
    for (unsigned step = 0; step < 4000; step++) {
        struct weir_queue_item *x = weir_queue_peek(q);
        served[x->klass] += 100;
        weir_queue_pop(q, x, step);
        CHECK(push(q, (unsigned)(x - items), step) == WEIR_OK);
    }
    CHECK_MSG(fabs(served[0] - 3 * served[1]) <= 400, "%g to %g", served[0], served[1]);
    items[20] = (struct weir_queue_item){.klass = 1, .uncached_tokens = 1, .tenant = 99};
    CHECK(push(q, 20, 5000) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_CLASS_REQUESTS);
    CHECK(refusal.limit == 4 && refusal.waiting == 4 && refusal.retry_after_s >= 1);
    items[20] = (struct weir_queue_item){.klass = 2, .uncached_tokens = 5000, .tenant = 99};
    CHECK(push(q, 20, 5000) == WEIR_OK); /* alone, it waits whatever its length */
    items[21] = (struct weir_queue_item){.klass = 2, .uncached_tokens = 1, .tenant = 98};
    CHECK(push(q, 21, 5000) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_CLASS_TOKENS);
    CHECK(refusal.limit == 1000 && refusal.waiting == 5000);
    weir_queue_destroy(q);
}

static void case_bounds(void) {
    struct weir_queue *q = make((struct weir_queue_config){
        .max_requests = 5, .max_tokens = 1000, .max_tenant_requests = 2, .max_priorities = 2});
    for (unsigned i = 0; i < 10; i++)
        items[i].uncached_tokens = 10;
    CHECK(push(q, 0, 0) == WEIR_OK && push(q, 1, 0) == WEIR_OK);
    CHECK(push(q, 2, 0) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_TENANT_REQUESTS);
    items[2].tenant = 1;
    items[2].uncached_tokens = 981;
    CHECK(push(q, 2, 0) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_TOKENS);
    CHECK(refusal.waiting == 20 && refusal.limit == 1000 && refusal.retry_after_s == 1);
    items[2].uncached_tokens = 980;
    items[2].strict_priority = 1;
    CHECK(push(q, 2, 0) == WEIR_OK);
    weir_queue_reprice(q, &items[2], 1, 1);
    items[3].tenant = 2;
    items[3].strict_priority = 2;
    CHECK(push(q, 3, 0) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_PRIORITIES);
    items[3].strict_priority = 0;
    items[4].tenant = 2;
    CHECK(push(q, 3, 0) == WEIR_OK && push(q, 4, 0) == WEIR_OK);
    items[5].tenant = 3;
    CHECK(push(q, 5, 0) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_REQUESTS);
    CHECK_EQ_STR(weir_queue_reason_word(refusal.reason),
                 strlen(weir_queue_reason_word(refusal.reason)), "queue_requests");
    CHECK_TRACE(q, 1, "2 0 1 3 4");
    weir_queue_destroy(q);
}

/* 100 tokens a second leave; with 1,000 waiting a refused one may come back in ten seconds. */
static void case_retry_after_follows_the_rate(void) {
    struct weir_queue *q = make((struct weir_queue_config){.max_requests = 10});
    struct weir_queue_stats s;
    for (unsigned i = 0; i < 10; i++) {
        items[i].uncached_tokens = 100;
        CHECK(push(q, i, 0) == WEIR_OK);
    }
    for (uint64_t now = 0; now < 100000; now += 1000) {
        struct weir_queue_item *x = weir_queue_peek(q);
        weir_queue_pop(q, x, now);
        CHECK(push(q, (unsigned)(x - items), now) == WEIR_OK);
    }
    weir_queue_stats(q, 99500, &s);
    CHECK_MSG(s.retry_after_s >= 9 && s.retry_after_s <= 11, "%u", s.retry_after_s);
    weir_queue_stats(q, 99500 + 600000, &s);
    CHECK_EQ_U64(s.retry_after_s, 60);
    weir_queue_destroy(q);
}

static void case_stale_prices(void) {
    struct weir_queue *q =
        make((struct weir_queue_config){.policy = WEIR_QUEUE_WSPT, .refresh_ms = 10000});
    for (unsigned i = 0; i < 3; i++) {
        items[i].uncached_tokens = 100 + i;
        CHECK(push(q, i, 0) == WEIR_OK);
    }
    struct weir_queue_item *x = weir_queue_peek(q);
    CHECK(x == &items[0] && !weir_queue_stale(q, x, 9999) && weir_queue_stale(q, x, 10000));
    weir_queue_reprice(q, x, 5000, 10000);
    CHECK(!weir_queue_stale(q, x, 10000));
    weir_queue_reprice(q, &items[2], 1, 10000);
    CHECK_TRACE(q, 10000, "2 1 0");
    weir_queue_destroy(q);
}

/* One tenant, one priority: the order of a plain sorted list. Prices move, items leave. */
static void case_against_a_list(void) {
    for (int round = 0; round < 200; round++) {
        enum weir_queue_policy policy = (enum weir_queue_policy)weir_rng_below(&rng, 3);
        struct weir_queue *q = make((struct weir_queue_config){.policy = policy});
        unsigned n = 1 + (unsigned)weir_rng_below(&rng, 60);
        for (unsigned i = 0; i < n; i++) {
            items[i].uncached_tokens = 1 + weir_rng_below(&rng, 8);
            items[i].priority_jump = (double)weir_rng_below(&rng, 3);
            items[i].deadline_ms = weir_rng_below(&rng, 4) == 0 ? 1 + weir_rng_below(&rng, 3) : 0;
            CHECK(push(q, i, weir_rng_below(&rng, 3) * 1000) == WEIR_OK);
        }
        for (unsigned k = 0; k < n; k++) {
            unsigned i = (unsigned)weir_rng_below(&rng, n);
            if (items[i].flow != NULL && k % 2 == 0)
                weir_queue_reprice(q, &items[i], 1 + weir_rng_below(&rng, 8), 0);
            else
                weir_queue_remove(q, &items[i]);
        }
        for (;;) {
            struct weir_queue_item *best = NULL;
            for (unsigned i = 0; i < n; i++) {
                struct weir_queue_item *x = &items[i];
                double xd = x->deadline_ms == 0 ? 1e18 : (double)x->deadline_ms, bd = 0;
                if (x->flow == NULL)
                    continue;
                if (best != NULL)
                    bd = best->deadline_ms == 0 ? 1e18 : (double)best->deadline_ms;
                double xs = policy == WEIR_QUEUE_WSPT
                                ? (1 + x->priority_jump) / (double)x->uncached_tokens
                                : x->priority_jump + (policy == WEIR_QUEUE_LCFS ? 1 : -1) *
                                                         (double)x->arrival_ms / 1000;
                double bs = best == NULL ? 0
                            : policy == WEIR_QUEUE_WSPT
                                ? (1 + best->priority_jump) / (double)best->uncached_tokens
                                : best->priority_jump + (policy == WEIR_QUEUE_LCFS ? 1 : -1) *
                                                            (double)best->arrival_ms / 1000;
                bool later_wins = policy == WEIR_QUEUE_LCFS;
                if (best == NULL || xd < bd || (!(xd > bd) && xs > bs) ||
                    (!(xd > bd) && !(xs < bs) && later_wins))
                    best = x;
            }
            CHECK(weir_queue_peek(q) == best);
            if (best == NULL)
                break;
            weir_queue_pop(q, best, 5);
        }
        weir_queue_destroy(q);
    }
}

static void case_destroy_with_items(void) {
    struct weir_queue *q = make((struct weir_queue_config){.quantum = 1});
    for (unsigned i = 0; i < 100; i++) {
        items[i].tenant = i % 7;
        items[i].strict_priority = i % 3;
        items[i].uncached_tokens = UINT32_MAX;
        CHECK(push(q, i, 0) == WEIR_OK);
    }
    for (int i = 0; i < 30; i++) /* a quantum of one, prices of four billion: no long loops */
        weir_queue_pop(q, weir_queue_peek(q), 0);
    weir_queue_destroy(q);
    weir_queue_destroy(NULL);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_orders);
    CHECK_RUN(case_equal_ones_keep_their_order);
    CHECK_RUN(case_deadlines_first);
    CHECK_RUN(case_priorities_are_free_of_inversions);
    CHECK_RUN(case_priorities_by_trace);
    CHECK_RUN(case_passing_over);
    CHECK_RUN(case_lanes);
    CHECK_RUN(case_passing_over_at_random);
    CHECK_RUN(case_tenants_share_tokens);
    CHECK_RUN(case_flood_does_not_starve);
    CHECK_RUN(case_classes_by_weight_and_bounds);
    CHECK_RUN(case_bounds);
    CHECK_RUN(case_retry_after_follows_the_rate);
    CHECK_RUN(case_stale_prices);
    CHECK_RUN(case_against_a_list);
    CHECK_RUN(case_destroy_with_items);
    return check_finish();
}
