/* Decisions, their records as JSON, and replay: what comes out again must be what was decided. */
#include "router/decide.h"

#include "kvindex/kvi.h"
#include "test/check.h"

#include <math.h>

static struct weir_rng rng;

static struct weir_buf line_of(const struct weir_decision *d, size_t most) {
    struct weir_buf b;
    struct weir_jsonw w;
    weir_buf_init(&b, 4 << 20);
    weir_jsonw_init(&w, &b);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "request_id");
    weir_jsonw_string_z(&w, "r-1");
    weir_decision_write(d, most, &w);
    weir_jsonw_object_end(&w);
    CHECK(w.status == WEIR_OK && weir_buf_append_c(&b, '\0') == WEIR_OK);
    b.len--; /* a text for strstr */
    return b;
}

/* Decides, writes, reads, decides again from what was read; true when equal to the last bit. */
static void round_trip(struct weir_decide in, const struct weir_candidate *c, size_t n) {
    struct weir_candidate *copy = malloc(n * sizeof(*copy));
    struct weir_arena arena;
    struct weir_decision d = {.in = in, .rng = rng}, back;
    size_t again = SIZE_MAX;
    memcpy(copy, c, n * sizeof(*copy));
    size_t at = weir_decide(&in, copy, n, &rng);
    CHECK(at < n);
    CHECK(weir_decision_keep(&d, copy, n, at));
    struct weir_buf line = line_of(&d, SIZE_MAX);
    CHECK(memchr(line.data, '\n', line.len) == NULL);
    weir_arena_init(&arena, 1 << 20);
    CHECK(weir_decision_parse(weir_buf_span(&line), &arena, &back) == WEIR_OK);
    CHECK_EQ_U64(back.winner, at);
    CHECK_EQ_U64(back.n, n);
    for (size_t i = 0; i < n; i++) {
        CHECK(memcmp(&back.candidates[i].cost, &copy[i].cost, sizeof(double)) == 0);
        back.candidates[i].cost = -1; /* replay has to compute it anew */
    }
    CHECK(weir_decision_replay(&back, &again) == WEIR_OK);
    CHECK_EQ_U64(again, at);
    CHECK(back.candidates[at].cost == copy[at].cost || in.mode == WEIR_ROUTE_RANDOM ||
          in.mode == WEIR_ROUTE_POWER_OF_TWO || in.mode == WEIR_ROUTE_ROUND_ROBIN ||
          in.mode == WEIR_ROUTE_DIRECT);
    weir_decision_fini(&d);
    weir_buf_fini(&line);
    weir_arena_fini(&arena);
    free(copy);
}

static void case_random_decisions_replay(void) {
    enum { MOST = 40 };
    struct weir_candidate c[MOST];
    for (int step = 0; step < 5000; step++) {
        size_t n = 1 + weir_rng_below(&rng, MOST);
        bool coarse = weir_rng_below(&rng, 2) == 0; /* few values: many ties */
        struct weir_decide in = {
            .mode = (enum weir_router_mode)weir_rng_below(&rng, 7),
            .params = {.policy = (enum weir_selection_policy)weir_rng_below(&rng, 3),
                       .recompute_weight = weir_rng_unit(&rng) * 9,
                       .churn_weight = weir_rng_unit(&rng) * 3,
                       .decode_block_weight = weir_rng_unit(&rng),
                       .block_size = 1 + (uint32_t)weir_rng_below(&rng, 128),
                       .isl_tokens = (double)weir_rng_below(&rng, 100000),
                       .overlap_score_credit = weir_rng_unit(&rng) * 2,
                       .overlap_credit_decay = weir_rng_unit(&rng),
                       .prefill_load_scale = weir_rng_unit(&rng) * 3,
                       .decode_active_request_weight = weir_rng_unit(&rng),
                       .host_weight = weir_rng_unit(&rng),
                       .disk_weight = weir_rng_unit(&rng),
                       .track_prefill_tokens = weir_rng_below(&rng, 2) == 0},
            .temperature = weir_rng_below(&rng, 2) == 0 ? 0 : weir_rng_unit(&rng),
            .turn = weir_rng_u64(&rng),
            .has_preferred = weir_rng_below(&rng, 4) == 0,
            .preferred = weir_rng_below(&rng, 8)};
        uint64_t range = coarse ? 2 : 100000;
        for (size_t i = 0; i < n; i++)
            c[i] = (struct weir_candidate){
                .worker_id = coarse ? i / 3 : UINT64_MAX - i,
                .dp_rank = (uint32_t)(i % 3),
                .device_blocks = (double)weir_rng_below(&rng, range),
                .host_blocks = (double)weir_rng_below(&rng, range),
                .disk_blocks = (double)weir_rng_below(&rng, range),
                .active_prefill_tokens = (double)weir_rng_below(&rng, range),
                .active_decode_blocks = (double)weir_rng_below(&rng, range),
                .active_requests = (double)weir_rng_below(&rng, range),
                .churn = weir_rng_unit(&rng),
                .additional_active_blocks = (double)weir_rng_below(&rng, range)};
        round_trip(in, c, n);
    }
}

static void case_preferred_worker_wins_where_it_is_there(void) {
    struct weir_candidate c[] = {{.worker_id = 1, .active_requests = 0},
                                 {.worker_id = 2, .dp_rank = 0, .active_requests = 9},
                                 {.worker_id = 2, .dp_rank = 1, .active_requests = 8},
                                 {.worker_id = 3, .active_requests = 0}};
    struct weir_decide in = {
        .mode = WEIR_ROUTE_LEAST_LOADED, .has_preferred = true, .preferred = 2};
    CHECK_EQ_U64(weir_decide(&in, c, 4, &rng), 2);
    in.preferred = 7;
    for (int i = 0; i < 20; i++) {
        size_t at = weir_decide(&in, c, 4, &rng);
        CHECK(at == 0 || at == 3);
    }
}

/* Real decisions of a router under random load. */
static void case_router_records(void) {
    enum { WORKERS = 12, BLOCKS = 20, BS = 4 };
    static const enum weir_router_mode modes[] = {WEIR_ROUTE_KV, WEIR_ROUTE_KV,
                                                  WEIR_ROUTE_LEAST_LOADED, WEIR_ROUTE_ROUND_ROBIN,
                                                  WEIR_ROUTE_POWER_OF_TWO};
    for (size_t m = 0; m < WEIR_ARRAY_LEN(modes); m++) {
        struct weir_router_config config;
        struct weir_router *r = NULL;
        weir_router_config_init(&config);
        config.mode = modes[m];
        config.block_size = BS;
        config.temperature = m == 1 ? 0.5 : 0;
        config.use_kv_events = false; /* predicts: overlaps come by themselves */
        CHECK(weir_router_create(&config, &r) == WEIR_OK);
        for (uint64_t i = 1; i <= WORKERS; i++) {
            struct weir_router_worker w = {.worker_id = i << 40, .dp_size = 1 + i % 2};
            CHECK(weir_router_worker_put(r, &w) == WEIR_OK);
        }
        for (int step = 0; step < 600; step++) {
            uint32_t tokens[BLOCKS * BS];
            uint64_t local[BLOCKS], seq[BLOCKS];
            struct weir_route route;
            struct weir_decision d = {.n = 0}, back;
            struct weir_arena arena;
            size_t n_tokens = 1 + weir_rng_below(&rng, BLOCKS * BS), again = SIZE_MAX;
            uint32_t family = (uint32_t)weir_rng_below(&rng, 5);
            for (size_t i = 0; i < n_tokens; i++)
                tokens[i] = family * 1000 + (uint32_t)i;
            size_t n = kvi_hash_blocks(tokens, n_tokens, BS, KVI_SEED, false, local, BLOCKS);
            kvi_chain(local, n, seq);
            struct weir_route_query q = {.local_hashes = local,
                                         .sequence_hashes = seq,
                                         .n_blocks = n,
                                         .isl_tokens = n_tokens,
                                         .pinned_rank = -1,
                                         .explain = &d,
                                         .rng = &rng,
                                         .now_ms = (uint64_t)step};
            CHECK(weir_router_route(r, &q, &route) == WEIR_OK);
            CHECK_EQ_U64(d.candidates[d.winner].worker_id, route.worker_id);
            CHECK_EQ_U64(d.candidates[d.winner].dp_rank, route.dp_rank);
            struct weir_buf line = line_of(&d, SIZE_MAX);
            weir_arena_init(&arena, 1 << 20);
            CHECK(weir_decision_parse(weir_buf_span(&line), &arena, &back) == WEIR_OK);
            CHECK(weir_decision_replay(&back, &again) == WEIR_OK);
            CHECK_EQ_U64(back.candidates[again].worker_id, route.worker_id);
            CHECK_EQ_U64(back.candidates[again].dp_rank, route.dp_rank);
            if (weir_rng_below(&rng, 3) == 0)
                weir_router_free(r, route.booking);
            weir_arena_fini(&arena);
            weir_buf_fini(&line);
            weir_decision_fini(&d);
        }
        weir_router_destroy(r);
    }
}

static void case_too_many_candidates(void) {
    enum { N = WEIR_DECISION_CANDIDATES + 5 };
    struct weir_candidate *c = calloc(N, sizeof(*c));
    struct weir_decision d = {.in = {.mode = WEIR_ROUTE_LEAST_LOADED, .params.block_size = 16}};
    struct weir_decision back;
    struct weir_arena arena;
    size_t again;
    for (size_t i = 0; i < N; i++)
        c[i] = (struct weir_candidate){.worker_id = i, .active_requests = i == N - 1 ? 0 : 5};
    size_t at = weir_decide(&d.in, c, N, &rng);
    CHECK_EQ_U64(at, N - 1);
    CHECK(weir_decision_keep(&d, c, N, at));
    CHECK_EQ_U64(d.candidates[d.winner].worker_id, N - 1);
    struct weir_buf line = line_of(&d, SIZE_MAX);
    weir_arena_init(&arena, 1 << 20);
    CHECK(weir_decision_parse(weir_buf_span(&line), &arena, &back) == WEIR_OK);
    CHECK(weir_decision_replay(&back, &again) == WEIR_LIMIT);
    weir_arena_fini(&arena);
    weir_buf_fini(&line);
    weir_decision_fini(&d);
    free(c);
}

static void case_short_form_shows_the_winner_and_the_cheapest(void) {
    struct weir_candidate c[] = {{.worker_id = 10, .cost = 4},
                                 {.worker_id = 11, .cost = 1},
                                 {.worker_id = 12, .cost = 3},
                                 {.worker_id = 13, .cost = 2}};
    struct weir_decision d = {.in = {.mode = WEIR_ROUTE_KV, .temperature = 1}};
    CHECK(weir_decision_keep(&d, c, 4, 2));
    CHECK_EQ_STR(weir_decision_why(&d), strlen(weir_decision_why(&d)), "softmax_draw");
    struct weir_buf line = line_of(&d, 3);
    const char *one = strstr(line.data, "\"candidates\":[{\"worker_id\":12"),
               *two = strstr(line.data, "{\"worker_id\":11"),
               *three = strstr(line.data, "{\"worker_id\":13");
    CHECK(one != NULL && two > one && three > two);
    CHECK(strstr(line.data, "{\"worker_id\":10") == NULL);
    CHECK(strstr(line.data, "\"rng\"") == NULL);
    weir_buf_fini(&line);
    weir_decision_fini(&d);
}

static void case_bad_records(void) {
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"mode\":\"kv\"}",
        "{\"mode\":\"best\",\"inputs\":{\"block_size\":1},\"candidates\":[{}],\"winner\":0,"
        "\"n_candidates\":1}",
        "{\"mode\":\"kv\",\"inputs\":{\"block_size\":1},\"candidates\":[],\"winner\":0,"
        "\"n_candidates\":0}",
        "{\"mode\":\"kv\",\"inputs\":{\"block_size\":1},\"candidates\":[{}],\"winner\":1,"
        "\"n_candidates\":1}",
        "{\"mode\":\"kv\",\"inputs\":{\"block_size\":0},\"candidates\":[{}],\"winner\":0,"
        "\"n_candidates\":1}",
        "{\"mode\":\"kv\",\"inputs\":{\"block_size\":1,\"rng\":[1,2,3,4,5]},\"candidates\":[{}],"
        "\"winner\":0,\"n_candidates\":1}",
        "{\"mode\":\"kv\",\"inputs\":{\"block_size\":1},\"candidates\":[{\"cost\":null}],"
        "\"winner\":0,\"n_candidates\":1}"};
    struct weir_arena arena;
    struct weir_decision d;
    weir_arena_init(&arena, 4 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK_MSG(weir_decision_parse(weir_span_z(bad[i]), &arena, &d) == WEIR_INVALID, "%s",
                  bad[i]);
    weir_arena_fini(&arena);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_random_decisions_replay);
    CHECK_RUN(case_preferred_worker_wins_where_it_is_there);
    CHECK_RUN(case_router_records);
    CHECK_RUN(case_too_many_candidates);
    CHECK_RUN(case_short_form_shows_the_winner_and_the_cheapest);
    CHECK_RUN(case_bad_records);
    return check_finish();
}
