/* Vectors of shared spec "kvrouter" 4.1 and the rules of 4.2. */
#include "router/cost.h"

#include "router/busy.h"
#include "test/check.h"

#include <math.h>

static void case_reference_vectors(void) {
    struct weir_cost_params p = {.block_size = 16,
                                 .isl_tokens = 64,
                                 .overlap_score_credit = 1,
                                 .prefill_load_scale = 2,
                                 .host_weight = 0.75,
                                 .disk_weight = 0.25,
                                 .track_prefill_tokens = true};
    struct weir_candidate c = {.device_blocks = 6,
                               .active_prefill_tokens = 16,
                               .active_decode_blocks = 2,
                               .additional_active_blocks = 3};
    CHECK(weir_cost(&p, &c) == 7.0);
    p.track_prefill_tokens = false;
    CHECK(weir_cost(&p, &c) == 5.0);
}

static void case_documented_example(void) {
    static const struct {
        double overlap, decode, want;
    } rows[] = {{2, 10, 18}, {5, 5, 10}, {8, 9, 11}};
    struct weir_cost_params p = {.block_size = 16,
                                 .isl_tokens = 160,
                                 .overlap_score_credit = 1,
                                 .prefill_load_scale = 1,
                                 .track_prefill_tokens = true};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_candidate c = {.device_blocks = rows[i].overlap,
                                   .active_decode_blocks = rows[i].decode};
        CHECK(weir_cost(&p, &c) == rows[i].want);
    }
}

/* Spec 4.1: the product. */
static void case_lmetric(void) {
    struct weir_cost_params p = {.policy = WEIR_SELECT_LMETRIC,
                                 .block_size = 16,
                                 .isl_tokens = 160,
                                 .overlap_score_credit = 1,
                                 .prefill_load_scale = 1,
                                 .track_prefill_tokens = true};
    struct weir_candidate c = {.device_blocks = 4,
                               .active_prefill_tokens = 32,
                               .active_decode_blocks = 3,
                               .additional_active_blocks = 2};
    CHECK(weir_cost(&p, &c) == (10 + 2 - 4) * (3 + 2 + 1));
}

/* By hand from the formula in router/README.md. */
static void case_fleet(void) {
    static const struct {
        double device, host, prefill_tokens, decode, additional, requests, churn, want;
        bool track;
    } rows[] = {
        {0, 0, 0, 0, 0, 0, 0, 80, true},       /* 10 blocks at 8 */
        {4, 0, 0, 0, 0, 0, 0, 48, true},       /* 6 of them */
        {4, 2, 0, 0, 0, 0, 0, 36, true},       /* 4.5 */
        {12, 0, 0, 0, 0, 0, 0, 0, true},       /* never less than nothing */
        {4, 0, 320, 0, 0, 0, 0, 68, true},     /* behind 20 blocks of others */
        {4, 0, 0, 0, 0, 0, 0.5, 54, true},     /* 6 at 8 + 2 / 2 */
        {4, 0, 0, 30, 10, 2, 0, 54, true},     /* + 40 / 8 + 2 / 2 */
        {4, 0, 320, 30, 10, 2, 0.5, 6, false}, /* only what runs */
    };
    struct weir_cost_params p = {.policy = WEIR_SELECT_FLEET,
                                 .block_size = 16,
                                 .isl_tokens = 160,
                                 .overlap_score_credit = 1,
                                 .prefill_load_scale = 1,
                                 .decode_active_request_weight = 0.5,
                                 .recompute_weight = 8,
                                 .churn_weight = 2,
                                 .decode_block_weight = 0.125,
                                 .host_weight = 0.75,
                                 .disk_weight = 0.25};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_candidate c = {.device_blocks = rows[i].device,
                                   .host_blocks = rows[i].host,
                                   .active_prefill_tokens = rows[i].prefill_tokens,
                                   .active_decode_blocks = rows[i].decode,
                                   .additional_active_blocks = rows[i].additional,
                                   .active_requests = rows[i].requests,
                                   .churn = rows[i].churn};
        p.track_prefill_tokens = rows[i].track;
        CHECK_MSG(weir_cost(&p, &c) == rows[i].want, "row %zu: %f", i, weir_cost(&p, &c));
        weir_costs(&p, &c, 1);
        CHECK(c.cost == rows[i].want);
    }
}

static void case_ties_are_broken_evenly(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    struct weir_candidate c[4] = {{.cost = 1}, {.cost = 0}, {.cost = 0}, {.cost = 0}};
    unsigned hits[4] = {0};
    for (int i = 0; i < 30000; i++)
        hits[weir_select(c, 4, 0, &rng)]++;
    CHECK(hits[0] == 0);
    for (int i = 1; i < 4; i++) /* six standard deviations of 10,000 */
        CHECK(hits[i] > 10000 - 500 && hits[i] < 10000 + 500);
}

static void case_softmax_follows_its_formula(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    struct weir_candidate c[2] = {{.cost = 10}, {.cost = 20}};
    unsigned first = 0;
    for (int i = 0; i < 40000; i++)
        first += weir_select(c, 2, 0.5, &rng) == 0;
    double want = 1 / (1 + exp(-1 / 0.5));
    CHECK(fabs(first / 40000.0 - want) < 0.02);
}

/* Held to the C library's, which is within 1 ulp itself. */
static void case_exp_of_negative(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    CHECK(weir_exp_of_negative(0) >= 1 && weir_exp_of_negative(-0.0) <= 1);
    CHECK(weir_exp_of_negative(-INFINITY) <= 0 && weir_exp_of_negative(-707) <= 0 &&
          weir_exp_of_negative(NAN) <= 0);
    for (int i = 0; i < 200000; i++) {
        double x = -weir_rng_unit(&rng) * (i % 2 == 0 ? 706.9 : 2), want = exp(x);
        CHECK_MSG(fabs(weir_exp_of_negative(x) - want) <= want * 0x1p-51, "exp(%.17g)", x);
    }
}

static void case_busy_thresholds(void) {
    struct weir_busy_thresholds t = {NAN, -1, NAN};
    struct weir_busy_load l = {.active_decode_blocks = 90,
                               .active_prefill_tokens = 1001,
                               .total_kv_blocks = 100,
                               .max_num_batched_tokens = 1000};
    CHECK(!weir_busy(&t, &l));
    t.decode_blocks = 0.9;
    CHECK(!weir_busy(&t, &l)); /* above, not at */
    l.kv_used_blocks = 91;
    CHECK(weir_busy(&t, &l));
    t = (struct weir_busy_thresholds){NAN, 1000, NAN};
    CHECK(weir_busy(&t, &l));
    t = (struct weir_busy_thresholds){NAN, -1, 1.0};
    CHECK(weir_busy(&t, &l));
    l.max_num_batched_tokens = 0;
    CHECK(!weir_busy(&t, &l));
    t = (struct weir_busy_thresholds){0, -1, NAN};
    l.total_kv_blocks = 0;
    CHECK(!weir_busy(&t, &l));
}

int main(void) {
    CHECK_RUN(case_reference_vectors);
    CHECK_RUN(case_documented_example);
    CHECK_RUN(case_lmetric);
    CHECK_RUN(case_fleet);
    CHECK_RUN(case_ties_are_broken_evenly);
    CHECK_RUN(case_softmax_follows_its_formula);
    CHECK_RUN(case_exp_of_negative);
    CHECK_RUN(case_busy_thresholds);
    return check_finish();
}
