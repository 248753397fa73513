/* A device that fails at any call of a replay, for want of memory or for good, between waves too:
 * with fall_back every configuration has its one result all the same, without it the status says
 * what happened. */
#include "cuda/kvc_decide.h"
#include "test/unit/cuda/failing.h"

#include <math.h>

enum { REQUESTS = 30, CONFIGS = 9, BLOCK = 16 };

struct results {
    uint64_t sums[CONFIGS];
    unsigned times[CONFIGS];
    struct kvc_decision_result decided[CONFIGS];
    struct kvc_replay_stats stats;
};

static void on_result(void *arg, size_t config, const struct kvc_replay_result *result) {
    struct results *r = arg;
    uint64_t h = 1;
    for (size_t i = 0; i < REQUESTS; i++)
        h = h * 31 + result->outcomes[i].end_us + result->outcomes[i].worker;
    r->sums[config] = h;
    r->times[config]++;
}

/* Prompts of up to 20 blocks, half of which stand on the one before. */
static enum kvc_status replay(struct kvc *k, size_t max_bytes, struct results *ret) {
    struct kvc_replay_request requests[REQUESTS];
    uint64_t offsets[REQUESTS + 1] = {0}, sequence[REQUESTS * 20];
    struct kvc_replay_config configs[CONFIGS];
    struct kvc_trace *t = NULL;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t n = 5 + i % 2 * 10;
        for (uint32_t b = 0; b < n; b++)
            sequence[offsets[i] + b] =
                i % 2 == 1 && b < 5 ? sequence[offsets[i - 1] + b] : 1000 * i + b + 1;
        offsets[i + 1] = offsets[i] + n;
        requests[i] = (struct kvc_replay_request){20.0 * i, n * BLOCK, 1 + i};
    }
    for (uint32_t i = 0; i < CONFIGS; i++)
        configs[i] = (struct kvc_replay_config){.mode = KVC_REPLAY_KV,
                                                .n_workers = 1 + i % 3,
                                                .n_blocks = 60,
                                                .max_num_seqs = 8,
                                                .max_num_batched_tokens = 128,
                                                .trace_speedup = 1,
                                                .prefill_tokens_per_s = 5000,
                                                .decode_base_ms = 5,
                                                .cost = {.track_prefill_tokens = true,
                                                         .overlap_score_credit = 1,
                                                         .prefill_load_scale = 1},
                                                .temperature = 0.1 * i,
                                                .use_kv_events = true,
                                                .track_active_blocks = true,
                                                .assume_kv_reuse = true,
                                                .busy_decode_blocks = NAN,
                                                .busy_prefill_tokens_frac = NAN,
                                                .busy_prefill_tokens = -1};
    const struct kvc_replay_prompts p = {requests, offsets, sequence, REQUESTS, BLOCK};
    const struct kvc_replay_options o = {
        .max_bytes = max_bytes, .threads = 2, .on_result = on_result, .arg = ret};
    enum kvc_status st = kvc_trace_create(k, &p, &t);
    if (st == KVC_OK)
        st = kvc_replay(t, configs, CONFIGS, &o, &ret->stats);
    kvc_trace_destroy(t);
    return st;
}

static enum kvc_status decide(struct kvc *k, struct results *ret) {
    static struct kvc_decision_candidate candidates[8];
    static struct kvc_decision decisions[2] = {{.first = 0, .n = 5, .block_size = BLOCK},
                                               {.first = 5, .n = 3, .block_size = BLOCK}};
    struct kvc_decision_config configs[CONFIGS];
    for (uint32_t i = 0; i < CONFIGS; i++)
        configs[i] = (struct kvc_decision_config){.mode = KVC_REPLAY_RANDOM, .seed = i};
    const struct kvc_decision_log log = {decisions, candidates, 2, 8};
    return kvc_redecide(k, &log, configs, CONFIGS, 1, ret->decided);
}

static enum kvc_status session(struct kvc *k, size_t max_bytes, struct results *ret) {
    memset(ret, 0, sizeof(*ret));
    enum kvc_status st = replay(k, max_bytes, ret);
    return st == KVC_OK ? decide(k, ret) : st;
}

static bool same(const struct results *a, const struct results *b) {
    for (size_t i = 0; i < CONFIGS; i++)
        if (a->times[i] != 1 || a->sums[i] != b->sums[i] ||
            a->decided[i].digest != b->decided[i].digest)
            return false;
    return true;
}

/* With this call failing; false when nothing came of it. */
static bool one(const void *arg, long call, bool lost, bool back) {
    const struct results *want = arg;
    size_t in_waves = 8 * (want->stats.config_bytes + REQUESTS * 24) + 4096;
    struct kvc_options o = {.kind = KVC_CUDA,
                            .plugin = getenv("WEIR_CUDA_PLUGIN"),
                            .fall_back = back,
                            .on_fall_back = on_fall_back};
    struct results got;
    struct kvc *k = NULL;
    told[0] = '\0';
    fail_at(call, lost);
    enum kvc_status st = kvc_open(&o, &k, NULL, 0);
    bool opened = st == KVC_OK;
    if (opened) {
        st = session(k, in_waves, &got);
        kvc_close(k);
    }
    fail_at(-1, false);
    if (st == KVC_OK)
        CHECK_MSG(same(&got, want), "call %ld, lost %d", call, lost);
    else
        CHECK_MSG(!back && (st == KVC_LOST || st == KVC_NOMEM), "call %ld, lost %d: %s", call, lost,
                  kvc_status_text(st));
    return st != KVC_OK || told[0] != '\0';
}

static void case_every_call(void) {
    struct kvc *cpu = NULL;
    static struct results want;
    CHECK(kvc_open(&(struct kvc_options){.kind = KVC_CPU}, &cpu, NULL, 0) == KVC_OK);
    CHECK(session(cpu, 0, &want) == KVC_OK && same(&want, &want));
    kvc_close(cpu);
    fail_every_call(one, &want, 20, 2000);
}

int main(void) {
    find_fail_at();
    CHECK_RUN(case_every_call);
    return check_finish();
}
