/* Deficit round robin among policy classes: the reference's own examples, exact traces, and random
 * lives against the rules computed plainly. */
#include "router/class_queue.h"

#include "base/rng.h"
#include "test/check.h"

#include <math.h>

enum { MOST = 256 };

static struct weir_rng rng;
static struct weir_queue_item items[MOST];
static struct weir_queue_refusal refusal;
static struct weir_policy_profile profile;

static struct weir_class_queue *make(size_t n, const uint64_t *quantums) {
    struct weir_class_queue *q = NULL;
    const struct weir_queue_config c = {.quantum = 1u << 20};
    memset(items, 0, sizeof(items));
    profile = (struct weir_policy_profile){.n_classes = n};
    for (size_t i = 0; i < n; i++)
        profile.classes[i] = (struct weir_policy_class){.quantum = quantums[i],
                                                        .busy_tokens = UINT64_MAX,
                                                        .busy_frac = NAN,
                                                        .requests_per_worker = UINT64_MAX,
                                                        .raw_tokens_per_worker = UINT64_MAX,
                                                        .cached_tokens_per_worker = UINT64_MAX};
    CHECK(weir_class_queue_create(&c, &profile, &q) == WEIR_OK);
    return q;
}

static enum weir_status push(struct weir_class_queue *q, unsigned i, uint32_t klass,
                             uint64_t tokens) {
    items[i] = (struct weir_queue_item){
        .klass = klass, .uncached_tokens = tokens, .raw_tokens = tokens + 10};
    return weir_class_queue_push(q, &items[i], 2, 1, &refusal);
}

static bool can(void *arg, const struct weir_queue_item *item) {
    const uint64_t *blocked = arg; /* a bit a class */
    return (*blocked >> item->klass & 1) == 0;
}

/* Numbers of up to `n` items in their order. */
static const char *drain(struct weir_class_queue *q, uint64_t blocked, unsigned n) {
    static char text[MOST * 5];
    size_t at = 0;
    text[0] = '\0';
    for (struct weir_queue_item *x; n > 0 && (x = weir_class_queue_next(q, can, &blocked)) != NULL;
         n--) {
        weir_class_queue_pop(q, x, 1);
        at += (size_t)snprintf(text + at, sizeof(text) - at, at == 0 ? "%td" : " %td", x - items);
    }
    return text;
}

#define CHECK_TRACE(q, blocked, n, want)                                                           \
    do {                                                                                           \
        const char *check_got = drain(q, blocked, n);                                              \
        CHECK_EQ_STR(check_got, strlen(check_got), want);                                          \
    } while (0)

/* A quantum of 10 pays for three of 3; then it is another's turn. */
static void case_a_quantum_is_spent(void) {
    struct weir_class_queue *q = make(2, (uint64_t[]){10, 10});
    for (unsigned i = 0; i < 5; i++) {
        CHECK(push(q, i, 0, 3) == WEIR_OK);
        CHECK(push(q, 10 + i, 1, 3) == WEIR_OK);
    }
    /* 10-9=1, +10-9=2: the fourth and fifth come from the second grant. */
    CHECK_TRACE(q, 0, MOST, "0 1 2 10 11 12 3 4 13 14");
    weir_class_queue_destroy(q);
}

/* 7,000 at 1,000 a round and 9,000 at 2,000: four rounds later the second goes, with 1,000 left. */
static void case_rounds_at_once(void) {
    struct weir_class_queue *q = make(2, (uint64_t[]){1000, 2000});
    CHECK(push(q, 0, 0, 7000) == WEIR_OK && push(q, 1, 1, 9000) == WEIR_OK);
    CHECK(push(q, 2, 1, 1000) == WEIR_OK);
    /* The 1,000 that is left pays for item 2. */
    CHECK_TRACE(q, 0, MOST, "1 2 0");
    CHECK(push(q, 0, 0, UINT64_MAX / 4) == WEIR_OK && push(q, 1, 1, 0) == WEIR_OK);
    CHECK_TRACE(q, 0, MOST, "1 0"); /* no credit of yesterday; no loop a token */
    weir_class_queue_destroy(q);
}

static void case_what_cannot_go(void) {
    struct weir_class_queue *q = make(3, (uint64_t[]){100, 100, 100});
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < 3; i++)
            CHECK(push(q, 10 * k + i, k, 100) == WEIR_OK);
    CHECK_TRACE(q, 1, 2, "10 20");
    CHECK_TRACE(q, 7, MOST, "");
    /* A blocked class has saved nothing up. */
    CHECK_TRACE(q, 0, 4, "0 11 21 1");
    /* Passed over: only the tenant, not the class. */
    items[30] = (struct weir_queue_item){.klass = 0, .uncached_tokens = 100, .tenant = 9};
    CHECK(weir_class_queue_push(q, &items[30], 2, 1, &refusal) == WEIR_OK);
    struct weir_queue_item *x = weir_class_queue_next(q, NULL, NULL);
    while (x != &items[2]) {
        weir_class_queue_pop(q, x, 1);
        x = weir_class_queue_next(q, NULL, NULL);
    }
    weir_class_queue_pass(q, x);
    CHECK(weir_class_queue_next(q, NULL, NULL) == &items[30]);
    weir_class_queue_unpass(q);
    weir_class_queue_remove(q, &items[30]);
    weir_class_queue_remove(q, &items[30]);
    CHECK_TRACE(q, 0, MOST, "2");
    weir_class_queue_destroy(q);
}

static void case_orders_inside_a_class(void) {
    struct weir_class_queue *q = NULL;
    weir_class_queue_destroy(make(2, (uint64_t[]){1, 1})); /* for its profile */
    profile.classes[1].queue_policy = WEIR_QUEUE_WSPT;
    const struct weir_queue_config c = {.policy = WEIR_QUEUE_LCFS, .quantum = 1u << 20};
    CHECK(weir_class_queue_create(&c, &profile, &q) == WEIR_OK);
    CHECK(push(q, 0, 1, 30) == WEIR_OK && push(q, 1, 1, 10) == WEIR_OK);
    CHECK(push(q, 2, 1, 20) == WEIR_OK);
    CHECK_TRACE(q, 0, MOST, "1 2 0");
    CHECK(push(q, 0, 0, 30) == WEIR_OK && push(q, 1, 0, 10) == WEIR_OK);
    items[2] = (struct weir_queue_item){.strict_priority = 1, .uncached_tokens = 99};
    CHECK(weir_class_queue_push(q, &items[2], 2, 1, &refusal) == WEIR_OK);
    CHECK_TRACE(q, 0, MOST, "2 0 1");
    weir_class_queue_destroy(q);
}

/* Bounds are of two workers here; what crosses one is taken. */
static void case_bounds(void) {
    struct weir_class_queue_totals t;
    struct weir_class_queue *q = make(4, (uint64_t[]){1, 1, 1, 1});
    profile.classes[0].requests_per_worker = 1;
    profile.classes[1].raw_tokens_per_worker = 10;
    profile.classes[2].cached_tokens_per_worker = 5;
    profile.classes[3].requests_per_worker = 0;
    CHECK(push(q, 0, 0, 5) == WEIR_OK && push(q, 1, 0, 5) == WEIR_OK);
    CHECK(push(q, 2, 0, 5) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_REQUEST_LIMIT);
    CHECK(refusal.limit == 2 && refusal.waiting == 2 && refusal.retry_after_s >= 1);
    CHECK(push(q, 3, 1, 100) == WEIR_OK);
    CHECK(push(q, 4, 1, 1) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_RAW_TOKEN_LIMIT);
    CHECK(refusal.limit == 20 && refusal.waiting == 110);
    CHECK(push(q, 5, 2, 1) == WEIR_OK); /* 10 of it cached */
    CHECK(push(q, 6, 2, 1) == WEIR_LIMIT && refusal.reason == WEIR_QUEUE_CACHED_TOKEN_LIMIT);
    CHECK(push(q, 7, 3, 1) == WEIR_LIMIT && refusal.limit == 0);
    weir_class_queue_totals(q, 1, &t);
    CHECK(t.requests == 1 && t.raw_tokens == 110 && t.cached_tokens == 10 &&
          t.uncached_tokens == 100);
    weir_class_queue_destroy(q);
}

/* Close to the shares that the quantums name, whatever the lengths. Not closer: rounds that nobody
 * can use are given at once, the last of them to all, as in the reference system; over many seeds
 * the smallest class has 5 % more than its share. */
static void case_shares(void) {
    struct weir_class_queue *q = make(3, (uint64_t[]){512, 128, 1024});
    double served[3] = {0};
    for (unsigned i = 0; i < 60; i++)
        CHECK(push(q, i, i % 3, 1 + weir_rng_below(&rng, 4000)) == WEIR_OK);
    for (unsigned step = 0; step < 60000; step++) {
        struct weir_queue_item *x = weir_class_queue_next(q, NULL, NULL);
        served[x->klass] += (double)x->uncached_tokens;
        weir_class_queue_pop(q, x, 1);
        CHECK(push(q, (unsigned)(x - items), x->klass, 1 + weir_rng_below(&rng, 4000)) == WEIR_OK);
    }
    CHECK_MSG(fabs(served[0] / served[1] - 4) < 0.3, "%g to %g", served[0], served[1]);
    CHECK_MSG(fabs(served[2] / served[1] - 8) < 0.6, "%g to %g", served[2], served[1]);
    weir_class_queue_destroy(q);
}

/* The same choice as a plain list of queues makes, with classes that can go and cannot. */
static void case_model(void) {
    enum { CLASSES = 4 };
    for (int round = 0; round < 300; round++) {
        uint64_t quantum[CLASSES], deficit[CLASSES] = {0};
        size_t cursor = 0, in[CLASSES] = {0}, out[CLASSES] = {0};
        unsigned of[CLASSES][MOST];
        for (int k = 0; k < CLASSES; k++)
            quantum[k] = 1 + weir_rng_below(&rng, 1000);
        struct weir_class_queue *q = make(CLASSES, quantum);
        for (unsigned i = 0; i < 100; i++) {
            uint32_t k = (uint32_t)weir_rng_below(&rng, CLASSES);
            CHECK(push(q, i, k, weir_rng_below(&rng, 3000)) == WEIR_OK);
            of[k][in[k]++] = i;
        }
        for (int step = 0; step < 150; step++) {
            uint64_t blocked = weir_rng_below(&rng, 4) > 0 ? 0 : weir_rng_below(&rng, 16);
            int winner = -1;
            for (int pass = 0; pass < 2 && winner < 0; pass++) {
                for (size_t i = 0; i < CLASSES && winner < 0; i++) {
                    size_t k = (cursor + i) % CLASSES;
                    if (out[k] == in[k]) {
                        deficit[k] = 0;
                        continue;
                    }
                    if (blocked >> k & 1)
                        continue;
                    uint64_t cost = items[of[k][out[k]]].uncached_tokens;
                    cost = cost == 0 ? 1 : cost;
                    if (deficit[k] < cost && pass == 0)
                        deficit[k] += quantum[k];
                    if (deficit[k] >= cost)
                        winner = (int)k;
                }
                double least = INFINITY;
                for (size_t k = 0; k < CLASSES && winner < 0 && pass == 0; k++)
                    if (out[k] < in[k] && (blocked >> k & 1) == 0)
                        least = fmin(least, ceil(((double)items[of[k][out[k]]].uncached_tokens -
                                                  (double)deficit[k]) /
                                                 (double)quantum[k]));
                for (size_t k = 0; k < CLASSES && winner < 0 && pass == 0; k++)
                    if (out[k] < in[k] && (blocked >> k & 1) == 0)
                        deficit[k] += (uint64_t)least * quantum[k];
            }
            struct weir_queue_item *x = weir_class_queue_next(q, can, &blocked);
            CHECK((winner < 0) == (x == NULL));
            if (x == NULL)
                continue;
            size_t w = (size_t)winner;
            CHECK_EQ_U64(x - items, of[w][out[w]]);
            uint64_t cost = x->uncached_tokens == 0 ? 1 : x->uncached_tokens;
            weir_class_queue_pop(q, x, 1);
            out[w]++;
            deficit[w] = out[w] == in[w] ? 0 : deficit[w] - cost;
            uint64_t next = out[w] < in[w] ? items[of[w][out[w]]].uncached_tokens : UINT64_MAX;
            cursor = deficit[w] >= (next == 0 ? 1 : next) ? w : (w + 1) % CLASSES;
        }
        weir_class_queue_destroy(q);
    }
}

static void case_without_a_profile(void) {
    struct weir_class_queue *q = NULL;
    struct weir_queue_stats s;
    const struct weir_queue_config c = {.policy = WEIR_QUEUE_WSPT};
    memset(items, 0, sizeof(items));
    CHECK(weir_class_queue_create(&c, NULL, &q) == WEIR_OK);
    CHECK(push(q, 0, 0, 30) == WEIR_OK && push(q, 1, 0, 10) == WEIR_OK);
    weir_class_queue_stats(q, 1, &s);
    CHECK(s.requests == 2 && s.tokens == 40);
    CHECK_TRACE(q, 0, MOST, "1 0");
    weir_class_queue_destroy(q);
    weir_class_queue_destroy(NULL);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_a_quantum_is_spent);
    CHECK_RUN(case_rounds_at_once);
    CHECK_RUN(case_what_cannot_go);
    CHECK_RUN(case_orders_inside_a_class);
    CHECK_RUN(case_bounds);
    CHECK_RUN(case_shares);
    CHECK_RUN(case_model);
    CHECK_RUN(case_without_a_profile);
    return check_finish();
}
