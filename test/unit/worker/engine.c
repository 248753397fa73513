/* The simulated engine against counts that follow from its rules, and random loads against
 * invariants. */
#include "worker/engine.h"

#include "base/mem.h"
#include "base/rng.h"
#include "kvindex/kvi.h"
#include "test/check.h"

enum { MAX_REQUESTS = 64 };

struct request {
    struct weir_sequence *seq;
    uint32_t tokens, cached;
    bool finished;
};

struct world {
    struct weir_engine *engine;
    struct request requests[MAX_REQUESTS];
    uint64_t stored, removed, cleared;
    uint64_t stored_hash_sum;
};

static void on_token(void *arg, void *user, uint32_t token, uint32_t cached,
                     enum weir_engine_finish finish) {
    (void)arg;
    (void)token;
    struct request *r = user;
    r->tokens++;
    r->cached = cached;
    r->finished = finish != WEIR_ENGINE_RUNNING;
}
static void on_stored(void *arg, bool has_parent, uint64_t parent, uint64_t hash, uint64_t tokens) {
    (void)has_parent;
    (void)parent;
    (void)tokens;
    struct world *w = arg;
    w->stored++;
    w->stored_hash_sum += hash;
}
static void on_removed(void *arg, uint64_t hash) {
    struct world *w = arg;
    w->removed++;
    w->stored_hash_sum -= hash;
}
static void on_cleared(void *arg) {
    struct world *w = arg;
    w->cleared++;
}
static uint32_t next_token(void *arg, void *user, uint32_t position) {
    (void)arg;
    (void)user;
    return 1000 + position;
}

static const struct weir_engine_ops ops = {
    on_token, {on_stored, on_removed, on_cleared}, next_token};

static void start(struct world *w, struct weir_engine_config config) {
    memset(w, 0, sizeof(*w));
    CHECK(weir_engine_create(&config, &ops, w, &w->engine) == WEIR_OK);
}

static struct weir_engine_config small(void) {
    return (struct weir_engine_config){.block_size = 4,
                                       .n_blocks = 32,
                                       .max_num_seqs = 8,
                                       .max_num_batched_tokens = 16,
                                       .prefix_caching = true,
                                       .chunked_prefill = true,
                                       .prefill_tokens_per_s = 1000,
                                       .decode_base_ms = 10,
                                       .decode_per_request_ms = 1,
                                       .speedup = 1};
}

static void add(struct world *w, int i, const uint32_t *prompt, uint32_t n, uint32_t max_tokens) {
    struct weir_sequence_config c = {.prompt = prompt,
                                     .n_prompt = n,
                                     .max_tokens = max_tokens,
                                     .hash_seed = KVI_SEED,
                                     .user = &w->requests[i]};
    CHECK(weir_engine_add(w->engine, &c, &w->requests[i].seq) == WEIR_OK);
}

static uint64_t run(struct world *w) {
    uint64_t total = 0, us = 0;
    while (weir_engine_begin_step(w->engine, &us)) {
        total += us;
        weir_engine_end_step(w->engine);
    }
    return total;
}

static void case_timing_follows_the_model(void) {
    struct world w;
    start(&w, small());
    uint32_t prompt[20];
    for (uint32_t i = 0; i < 20; i++)
        prompt[i] = i;
    add(&w, 0, prompt, 20, 3);
    /* Two passes of 16 + 4 prompt tokens at 1 ms each and 10 ms base (the last yields token 1),
     * then two decode passes of 11 ms. */
    CHECK_EQ_U64(run(&w), 20000 + 2 * 10000 + 2 * 11000);
    CHECK_EQ_U64(w.requests[0].tokens, 3);
    CHECK(w.requests[0].finished);
    weir_engine_destroy(w.engine);
}

static void case_prefix_is_reused_but_one_token_is_computed(void) {
    struct world w;
    start(&w, small());
    uint32_t prompt[16];
    for (uint32_t i = 0; i < 16; i++)
        prompt[i] = 7 * i;
    add(&w, 0, prompt, 16, 1);
    run(&w);
    CHECK_EQ_U64(w.stored, 4);
    add(&w, 1, prompt, 16, 1);
    run(&w);
    CHECK_EQ_U64(w.requests[1].cached, 12); /* 3 of 4 blocks: the last token must be computed */
    CHECK_EQ_U64(w.stored, 4);
    struct weir_engine_stats st;
    weir_engine_get_stats(w.engine, &st);
    CHECK_EQ_U64(st.prompt_tokens, 32);
    CHECK_EQ_U64(st.cached_tokens, 12);
    CHECK_EQ_U64(st.kv_used_blocks, 0);
    CHECK_EQ_U64(st.kv_cached_blocks, 4);
    weir_engine_destroy(w.engine);
}

/* A decode worker: the prompt's blocks came from elsewhere, so one token is computed, and the
 * blocks serve later prompts. When they are lost by preemption the prompt is computed like any
 * other. */
static void case_received_prompts_are_not_computed(void) {
    struct world w;
    start(&w, small());
    uint32_t prompt[20];
    for (uint32_t i = 0; i < 20; i++)
        prompt[i] = 3 * i;
    struct weir_sequence_config c = {.prompt = prompt,
                                     .n_prompt = 20,
                                     .max_tokens = 3,
                                     .hash_seed = KVI_SEED,
                                     .kv_received = true,
                                     .user = &w.requests[0]};
    CHECK(weir_engine_add(w.engine, &c, &w.requests[0].seq) == WEIR_OK);
    /* One pass with one prompt token (1 ms and 10 ms base), then two decode passes of 11 ms. */
    CHECK_EQ_U64(run(&w), 1000 + 10000 + 2 * 11000);
    CHECK_EQ_U64(w.requests[0].tokens, 3);
    CHECK_EQ_U64(w.requests[0].cached, 0);
    CHECK_EQ_U64(w.stored, 5);
    struct weir_engine_stats st;
    weir_engine_get_stats(w.engine, &st);
    CHECK(st.received_tokens == 20 && st.prompt_tokens == 20 && st.kv_used_blocks == 0);
    add(&w, 1, prompt, 20, 1);
    run(&w);
    CHECK_EQ_U64(w.requests[1].cached, 16);
    weir_engine_destroy(w.engine);
}

/* The hashes are those that a real worker publishes (shared spec, captured vector, block size 16).
 */
static void case_events_carry_the_reference_hashes(void) {
    static const uint32_t tokens[] = {151644, 872,  198,  45764,  15588, 311,   752,   4486, 11,
                                      358,    1079, 264,  1273,   448,   3322,  4244,  311,  1281,
                                      518,    3245, 1378, 10010,  315,   58039, 11211, 1817, 304,
                                      279,    9934, 13,   151645, 198,   5};
    struct weir_engine_config c = small();
    c.block_size = 16;
    c.max_num_batched_tokens = 64;
    struct world w;
    start(&w, c);
    add(&w, 0, tokens, WEIR_ARRAY_LEN(tokens), 1);
    run(&w);
    CHECK_EQ_U64(w.stored, 2);
    CHECK_EQ_U64(w.stored_hash_sum, 12534253471216683246u + 7366005819767674425u);
    weir_engine_destroy(w.engine);
}

static void case_lru_evicts_oldest_tail_first(void) {
    struct world w;
    struct weir_engine_config c = small();
    c.n_blocks = 6;
    start(&w, c);
    uint32_t a[12], b[8];
    for (uint32_t i = 0; i < 12; i++)
        a[i] = 100 + i;
    for (uint32_t i = 0; i < 8; i++)
        b[i] = 200 + i;
    add(&w, 0, a, 12, 1);
    run(&w);
    add(&w, 1, b, 8, 1);
    run(&w);
    CHECK_EQ_U64(w.removed, 0); /* 3 + 2 of 6 */
    uint32_t d[8] = {300, 301, 302, 303, 304, 305, 306, 307};
    add(&w, 2, d, 8, 1);
    run(&w);
    CHECK_EQ_U64(w.removed, 1);
    add(&w, 3, a, 12, 1);
    run(&w);
    CHECK_EQ_U64(w.requests[3].cached, 8); /* the tail of `a` went, its prefix stayed */
    weir_engine_destroy(w.engine);
}

static void case_preempted_sequences_still_finish(void) {
    struct world w;
    struct weir_engine_config c = small();
    c.n_blocks = 8;
    start(&w, c);
    uint32_t prompt[2][8];
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < 8; i++)
            prompt[k][i] = 1000 * (k + 1) + i;
        add(&w, (int)k, prompt[k], 8, 16);
    }
    run(&w);
    struct weir_engine_stats st;
    weir_engine_get_stats(w.engine, &st);
    CHECK(st.preemptions > 0);
    CHECK_EQ_U64(w.requests[0].tokens, 16);
    CHECK_EQ_U64(w.requests[1].tokens, 16);
    CHECK_EQ_U64(st.kv_used_blocks, 0);
    weir_engine_destroy(w.engine);
}

static void case_limits(void) {
    struct world w;
    struct weir_engine_config c = small();
    c.max_model_len = 10;
    c.max_waiting = 1;
    start(&w, c);
    uint32_t prompt[10] = {0};
    struct weir_sequence *s = NULL;
    struct weir_sequence_config sc = {.prompt = prompt, .n_prompt = 10, .max_tokens = 1};
    CHECK(weir_engine_add(w.engine, &sc, &s) == WEIR_TOO_LARGE);
    sc.n_prompt = 0;
    CHECK(weir_engine_add(w.engine, &sc, &s) == WEIR_INVALID);
    add(&w, 0, prompt, 8, 100);
    sc.n_prompt = 8;
    CHECK(weir_engine_add(w.engine, &sc, &s) == WEIR_LIMIT && s == NULL);
    run(&w);
    CHECK_EQ_U64(w.requests[0].tokens, 2); /* cut to the model length */
    weir_engine_destroy(w.engine);
}

/* Random adds and cancels: no block leaks, stored minus removed equals what is cached. */
static void case_random_load_keeps_invariants(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 200; round++) {
        struct world w;
        struct weir_engine_config c = small();
        c.n_blocks = 12 + (uint32_t)weir_rng_below(&rng, 30);
        c.chunked_prefill = weir_rng_below(&rng, 2);
        c.prefix_caching = weir_rng_below(&rng, 4) > 0;
        start(&w, c);
        int n = 0;
        for (int step = 0; step < 300; step++) {
            uint64_t us;
            if (n < MAX_REQUESTS && weir_rng_below(&rng, 4) == 0) {
                uint32_t prompt[32], len = 1 + (uint32_t)weir_rng_below(&rng, 32);
                for (uint32_t i = 0; i < len; i++)
                    prompt[i] = (uint32_t)weir_rng_below(&rng, i < 8 ? 2 : 100);
                add(&w, n++, prompt, len, 1 + (uint32_t)weir_rng_below(&rng, 12));
            }
            if (weir_engine_begin_step(w.engine, &us)) {
                for (int i = 0; i < n; i++)
                    if (!w.requests[i].finished && weir_rng_below(&rng, 50) == 0) {
                        weir_engine_cancel(w.engine, w.requests[i].seq);
                        w.requests[i].finished = true;
                    }
                weir_engine_end_step(w.engine);
            }
            struct weir_engine_stats st;
            weir_engine_get_stats(w.engine, &st);
            CHECK_EQ_U64(st.kv_cached_blocks, w.stored - w.removed);
            CHECK(st.kv_used_blocks <= c.n_blocks);
        }
        run(&w);
        for (int i = 0; i < n; i++)
            CHECK(w.requests[i].finished);
        struct weir_engine_stats st;
        weir_engine_get_stats(w.engine, &st);
        CHECK_EQ_U64(st.kv_used_blocks, 0);
        weir_kv_cache_clear(weir_engine_cache(w.engine));
        CHECK_EQ_U64(weir_kv_cache_cached(weir_engine_cache(w.engine)), 0);
        weir_engine_destroy(w.engine);
    }
}

int main(void) {
    CHECK_RUN(case_timing_follows_the_model);
    CHECK_RUN(case_prefix_is_reused_but_one_token_is_computed);
    CHECK_RUN(case_received_prompts_are_not_computed);
    CHECK_RUN(case_events_carry_the_reference_hashes);
    CHECK_RUN(case_lru_evicts_oldest_tail_first);
    CHECK_RUN(case_preempted_sequences_still_finish);
    CHECK_RUN(case_limits);
    CHECK_RUN(case_random_load_keeps_invariants);
    return check_finish();
}
