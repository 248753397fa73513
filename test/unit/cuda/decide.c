/* Recorded decisions made again side by side are held to weir_decide(), decision by decision. With
 * WEIR_TEST_DEVICE=cuda the same on the device. */
#include "router/decide.h"
#include "base/rng.h"
#include "bench/replay_fleet.h"
#include "cuda/kvc_decide.h"
#include "cuda/kvc_numbers_priv.h"
#include "test/check.h"
#include "test/unit/cuda/back_end.h"

#include <math.h>

enum { DECISIONS = 200, MOST = 40, CONFIGS = 60 };

static struct kvc *k;
static struct weir_rng rng;

static double below(uint64_t n) {
    return (double)weir_rng_below(&rng, n);
}

struct log {
    struct weir_candidate candidates[DECISIONS][MOST];
    size_t n[DECISIONS], winner[DECISIONS];
    struct weir_decide in[DECISIONS];
    struct kvc_decision decisions[DECISIONS];
    struct kvc_decision_candidate flat[DECISIONS * MOST];
    struct kvc_decision_log all;
};
static struct log log_;

/* Few different figures, so that costs are often equal; sometimes a session's worker. */
static void fill(struct log *l) {
    l->all = (struct kvc_decision_log){l->decisions, l->flat, DECISIONS, 0};
    for (size_t i = 0; i < DECISIONS; i++) {
        struct weir_decide *in = &l->in[i];
        double least = INFINITY;
        size_t n = l->n[i] = 1 + (size_t)below(i % 3 == 0 ? MOST : 5);
        *in = (struct weir_decide){.params = {.block_size = 1 + (uint32_t)below(64),
                                              .isl_tokens = below(2000),
                                              .track_prefill_tokens = below(4) > 0},
                                   .has_preferred = below(4) == 0,
                                   .preferred = (uint64_t)below(12)};
        for (size_t c = 0; c < n; c++) {
            l->candidates[i][c] = (struct weir_candidate){.worker_id = c / 2,
                                                          .dp_rank = c % 2,
                                                          .device_blocks = below(4),
                                                          .host_blocks = below(3),
                                                          .disk_blocks = below(2),
                                                          .active_prefill_tokens = 100 * below(4),
                                                          .active_decode_blocks = below(5),
                                                          .active_requests = below(3),
                                                          .additional_active_blocks = below(3),
                                                          .churn = 0.25 * below(4)};
            const struct weir_candidate *x = &l->candidates[i][c];
            least = fmin(least, x->active_prefill_tokens);
            l->flat[l->all.n_candidates + c] = (struct kvc_decision_candidate){
                x->device_blocks,        x->host_blocks,
                x->disk_blocks,          x->active_prefill_tokens,
                x->active_decode_blocks, x->additional_active_blocks,
                x->active_requests,      x->churn};
        }
        size_t first, end;
        l->winner[i] = (size_t)below(n);
        weir_decide_range(in, l->candidates[i], n, &first, &end);
        l->decisions[i] =
            (struct kvc_decision){.isl_tokens = in->params.isl_tokens,
                                  .least_prefill_tokens = least,
                                  .first = l->all.n_candidates + first,
                                  .winner = l->all.n_candidates + l->winner[i],
                                  .n = (uint32_t)(end - first),
                                  .block_size = in->params.block_size,
                                  .track_prefill_tokens = in->params.track_prefill_tokens};
        l->all.n_candidates += n;
    }
}

static void random_config(struct weir_router_config *r, enum weir_router_mode *mode) {
    static const enum weir_router_mode modes[] = {
        WEIR_ROUTE_KV,           WEIR_ROUTE_KV,           WEIR_ROUTE_KV,    WEIR_ROUTE_ROUND_ROBIN,
        WEIR_ROUTE_POWER_OF_TWO, WEIR_ROUTE_LEAST_LOADED, WEIR_ROUTE_RANDOM};
    weir_router_config_init(r);
    *mode = modes[(size_t)below(7)];
    r->policy = (enum weir_selection_policy)(int)below(3);
    r->overlap_score_credit = 0.5 * below(4);
    r->overlap_credit_decay = 0.3 * below(3);
    r->prefill_load_scale = 0.5 * below(4);
    r->decode_active_request_weight = below(3);
    r->recompute_weight = below(10);
    r->churn_weight = below(3);
    r->temperature = 0.3 * below(3);
}

static struct kvc_decision_result naive(const struct log *l, const struct weir_router_config *r,
                                        enum weir_router_mode mode, uint64_t seed) {
    struct kvc_decision_result want = {.digest = 14695981039346656037u};
    struct weir_rng own;
    uint64_t base = 0;
    weir_rng_seed(&own, seed);
    for (size_t i = 0; i < DECISIONS; i++) {
        struct weir_candidate c[MOST];
        struct weir_decide in = l->in[i];
        memcpy(c, l->candidates[i], sizeof(c));
        in.mode = mode;
        in.turn = i;
        in.temperature = r->temperature;
        in.params.policy = r->policy;
        in.params.overlap_score_credit = r->overlap_score_credit;
        in.params.overlap_credit_decay = r->overlap_credit_decay;
        in.params.prefill_load_scale = r->prefill_load_scale;
        in.params.decode_active_request_weight = r->decode_active_request_weight;
        in.params.host_weight = r->host_cache_hit_weight;
        in.params.disk_weight = r->disk_cache_hit_weight;
        in.params.recompute_weight = r->recompute_weight;
        in.params.churn_weight = r->churn_weight;
        in.params.decode_block_weight = r->decode_block_weight;
        size_t at = weir_decide(&in, c, l->n[i], &own);
        want.hit_blocks += (uint64_t)c[at].device_blocks;
        want.same_worker += at == l->winner[i];
        want.digest = (want.digest ^ (base + at)) * 1099511628211u;
        base += l->n[i];
    }
    return want;
}

static void case_random(void) {
    static struct kvc_decision_config configs[CONFIGS];
    static struct kvc_decision_result got[CONFIGS], want[CONFIGS];
    for (int round = 0; round < 10; round++) {
        fill(&log_);
        for (size_t i = 0; i < CONFIGS; i++) {
            struct weir_router_config r;
            enum weir_router_mode mode;
            random_config(&r, &mode);
            configs[i] = (struct kvc_decision_config){.mode = weir_replay_fleet_mode(mode),
                                                      .policy = weir_replay_fleet_policy(&r),
                                                      .cost = weir_replay_fleet_cost(&r),
                                                      .temperature = r.temperature,
                                                      .seed = (uint64_t)i};
            want[i] = naive(&log_, &r, mode, i);
        }
        CHECK(kvc_redecide(k, &log_.all, configs, CONFIGS, 1 + (unsigned)round % 3, got) == KVC_OK);
        for (size_t i = 0; i < CONFIGS; i++)
            CHECK_MSG(got[i].digest == want[i].digest && got[i].hit_blocks == want[i].hit_blocks &&
                          got[i].same_worker == want[i].same_worker,
                      "configuration %zu, mode %d", i, (int)configs[i].mode);
    }
}

static void case_refused(void) {
    struct kvc_decision_config c = {.mode = KVC_REPLAY_KV};
    struct kvc_decision_result r;
    fill(&log_);
    CHECK(kvc_redecide(k, &log_.all, &c, 1, 0, &r) == KVC_OK);
    CHECK(kvc_redecide(k, &log_.all, &c, 0, 0, &r) == KVC_OK);
    c.temperature = NAN;
    CHECK(kvc_redecide(k, &log_.all, &c, 1, 0, &r) == KVC_INVALID);
    c.temperature = 0;
    log_.flat[3].device_blocks = 1e30;
    CHECK(kvc_redecide(k, &log_.all, &c, 1, 0, &r) == KVC_INVALID);
    log_.flat[3].device_blocks = 1;
    log_.decisions[DECISIONS - 1].n += MOST;
    CHECK(kvc_redecide(k, &log_.all, &c, 1, 0, &r) == KVC_INVALID);
    log_.decisions[DECISIONS - 1].n = 0;
    CHECK(kvc_redecide(k, &log_.all, &c, 1, 0, &r) == KVC_INVALID);
}

/* Choices would show a difference of the last bit once in a blue moon. */
static void case_exp_is_the_routers(void) {
    static const double ends[] = {0, -0.0, -707, -1e300, -INFINITY, NAN};
    for (int i = 0; i < 200000; i++) {
        double x = i < 6 ? ends[i] : -weir_rng_unit(&rng) * (i % 2 == 0 ? 710 : 2);
        double ours = kvc_exp(x), theirs = weir_exp_of_negative(x);
        CHECK_MSG(memcmp(&ours, &theirs, sizeof(ours)) == 0, "exp(%.17g)", x);
    }
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    k = open_back_end();
    CHECK_RUN(case_random);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_exp_is_the_routers);
    kvc_close(k);
    return check_finish();
}
