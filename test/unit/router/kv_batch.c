/* Events that are gathered and applied several at a time against the same events one by one: the
 * same counts of every result, the same blocks, whatever is flushed when. */
#include "router/kv_batch.h"
#include "router/router_priv.h"

#include "base/rng.h"
#include "test/check.h"

#include <string.h>

enum { ROUNDS = 40, EVENTS = 2000, NAMES = 400, LONG = 2100, WORKERS = 3, MAX_COUNTS = 64 };
static struct weir_rng rng;

static struct weir_router *new_router(void) {
    struct weir_router_config config;
    struct weir_router *r = NULL;
    weir_router_config_init(&config);
    CHECK(weir_router_create(&config, &r) == WEIR_OK);
    return r;
}

/* Names from a small set, so that parents are mostly known, blocks mostly there and orphans,
 * duplicates, unknown removals and removals of nothing all come up; now and then an event that no
 * batch has room for. */
static struct weir_kv_event draw(struct weir_kv_block *blocks, uint64_t *names) {
    struct weir_kv_event e = {.worker_id = 1 + weir_rng_below(&rng, WORKERS),
                              .tier =
                                  weir_rng_below(&rng, 8) == 0 ? WEIR_TIER_HOST : WEIR_TIER_DEVICE};
    uint64_t kind = weir_rng_below(&rng, 1000);
    size_t n = weir_rng_below(&rng, 500) == 0 ? LONG : weir_rng_below(&rng, 6);
    uint64_t first = 1 + weir_rng_below(&rng, NAMES);
    if (kind == 0) {
        e.kind = WEIR_KV_CLEARED;
    } else if (kind < 400) {
        e.kind = WEIR_KV_REMOVED;
        for (size_t i = 0; i < n; i++)
            names[i] = first + n - i;
        e.removed = names;
        e.n_removed = n;
    } else {
        e.kind = WEIR_KV_STORED;
        e.has_parent = first > 1 && weir_rng_below(&rng, 16) != 0;
        e.parent_hash = first - 1;
        e.has_start_position = weir_rng_below(&rng, 4) == 0;
        e.start_position = (uint32_t)weir_rng_below(&rng, 3);
        for (size_t i = 0; i < n; i++)
            blocks[i] = (struct weir_kv_block){first + i, first + i};
        e.blocks = blocks;
        e.n_blocks = n;
    }
    return e;
}

struct counts {
    uint64_t n[MAX_COUNTS];
    size_t used;
};

static void count(void *arg, const char *type, const char *result, uint64_t n) {
    struct counts *c = arg;
    (void)type;
    (void)result;
    CHECK(c->used < MAX_COUNTS);
    c->n[c->used++] = n;
}

static bool hash_event(void *arg, const struct kvi_event *e) {
    uint64_t *sum = arg, h = e->worker.worker_id * 31 + (uint64_t)e->tier;
    for (size_t i = 0; i < e->n; i++)
        *sum += (h * 0x9E3779B97F4A7C15u + e->blocks[i].block_hash) * 0xBF58476D1CE4E5B9u;
    return true;
}

static void compare(struct weir_router *a, struct weir_router *b) {
    struct counts x = {.used = 0}, y = {.used = 0};
    uint64_t sums[2] = {0, 0};
    weir_router_event_counts(a, count, &x);
    weir_router_event_counts(b, count, &y);
    CHECK(x.used == y.used && memcmp(x.n, y.n, x.used * sizeof(x.n[0])) == 0);
    CHECK(kvi_dump(a->index, hash_event, &sums[0]) == KVI_OK);
    CHECK(kvi_dump(b->index, hash_event, &sums[1]) == KVI_OK);
    CHECK(sums[0] == sums[1]);
    for (uint64_t w = 1; w <= WORKERS; w++)
        CHECK(kvi_rank_entries(a->index, (struct kvi_worker){w, 0}) ==
              kvi_rank_entries(b->index, (struct kvi_worker){w, 0}));
}

static void case_equal(void) {
    static struct weir_kv_batch batch;
    static struct weir_kv_block blocks[LONG];
    static uint64_t names[LONG];
    size_t results = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct weir_router *one = new_router(), *many = new_router();
        for (int i = 0; i < EVENTS; i++) {
            struct weir_kv_event e = draw(blocks, names);
            weir_router_kv_event(one, &e);
            weir_kv_batch_add(&batch, weir_router_kv_events, many, &e);
            memset(blocks, 0, e.n_blocks * sizeof(blocks[0])); /* nothing of it is needed again */
            memset(names, 0, e.n_removed * sizeof(names[0]));
            if (weir_rng_below(&rng, 100) == 0)
                weir_kv_batch_flush(&batch);
        }
        weir_kv_batch_flush(&batch);
        compare(one, many);
        struct counts c = {.used = 0};
        weir_router_event_counts(many, count, &c);
        results = c.used > results ? c.used : results;
        weir_router_destroy(one);
        weir_router_destroy(many);
    }
    /* ok, orphan, invalid; ok, unknown; ok */
    CHECK_MSG(results == 6, "%zu kinds of results", results);
}

/* Events for two places go to each in its order. */
static void case_two_places(void) {
    static struct weir_kv_batch batch;
    struct weir_router *r[2] = {new_router(), new_router()};
    for (uint64_t i = 0; i < 600; i++) {
        struct weir_kv_block b = {i + 1, i + 1};
        struct weir_kv_event e = {.worker_id = 1,
                                  .kind = WEIR_KV_STORED,
                                  .has_parent = i > 1,
                                  .parent_hash = i - 1,
                                  .blocks = &b,
                                  .n_blocks = 1};
        weir_kv_batch_add(&batch, weir_router_kv_events, r[i % 2], &e);
    }
    weir_kv_batch_flush(&batch);
    for (int i = 0; i < 2; i++) {
        CHECK(kvi_rank_entries(r[i]->index, (struct kvi_worker){1, 0}) == 300);
        weir_router_destroy(r[i]);
    }
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_equal);
    CHECK_RUN(case_two_places);
    return check_finish();
}
