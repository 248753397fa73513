/* Configurations side by side are held to the router, the engine and the index themselves, put
 * together by bench/replay_sim.h: every outcome of every request equal. With WEIR_TEST_DEVICE=cuda
 * the same on the device. */
#include "base/mem.h"
#include "base/rng.h"
#include "bench/replay_fleet.h"
#include "test/check.h"
#include "test/unit/cuda/back_end.h"

#include <math.h>

enum { TRACE_BLOCK = 16, MOST_REQUESTS = 400, MOST_IDS = 1 << 16, MOST_CONFIGS = 64 };

static struct kvc *k;
static struct weir_rng rng;
static unsigned rounds = 300;

static uint32_t below(uint32_t n) {
    return (uint32_t)weir_rng_below(&rng, n);
}

/* ---- traces: a random tree of prompts ------------------------------------------------------- */

static struct weir_trace_line lines[MOST_REQUESTS];
static uint64_t ids[MOST_IDS];

/* `crowded`: many equal prompts at once and answers of one length, so that sequences that share
 * blocks are preempted in the middle of them. */
static struct weir_trace random_trace(size_t n, uint32_t gap_ms, uint32_t depth, bool crowded) {
    struct weir_trace t = {.lines = lines, .n_lines = n, .ids = ids};
    uint64_t fresh = 1;
    double at = 0;
    for (size_t i = 0; i < n; i++) {
        const struct weir_trace_line *of =
            i > 0 && below(5) > 0 ? &lines[below((uint32_t)i)] : NULL;
        uint32_t kept = of != NULL ? below(of->n_ids + 1) : 0, own = below(depth) + (kept == 0);
        if (crowded && of != NULL && below(3) > 0) {
            kept = of->n_ids;
            own = below(4) == 0 ? below(3) : 0;
        } else if (crowded) {
            own += 10;
        }
        struct weir_trace_line *x = &lines[i];
        CHECK(t.n_ids + kept + own <= MOST_IDS);
        *x = (struct weir_trace_line){.timestamp_ms = at, .n_ids = kept + own, .first_id = t.n_ids};
        for (uint32_t b = 0; b < kept + own; b++)
            ids[t.n_ids++] = b < kept ? ids[of->first_id + b] : fresh++;
        x->input_tokens = x->n_ids * TRACE_BLOCK - (below(3) == 0 ? below(TRACE_BLOCK) : 0);
        x->output_tokens =
            crowded ? 1 + below(below(2) == 0 ? 2 : 60) : 1 + below(below(4) == 0 ? 200 : 30);
        at += below(3) == 0 ? 0 : below(2 * gap_ms + 1) * 0.37;
    }
    return t;
}

static uint64_t most_tokens(const struct weir_trace *t) {
    uint64_t most = 0;
    for (size_t i = 0; i < t->n_lines; i++) {
        uint64_t n = (uint64_t)t->lines[i].input_tokens + t->lines[i].output_tokens;
        most = n > most ? n : most;
    }
    return most;
}

/* ---- set-ups --------------------------------------------------------------------------------- */

static double one_of(const double *values, uint32_t n) {
    return values[below(n)];
}

static struct weir_replay_setup random_setup(const struct weir_trace *t, uint32_t block_size,
                                             bool crowded) {
    static const double credits[] = {0, 0.5, 1, 3}, decays[] = {0, 0, 0.7},
                        scales[] = {0, 0.3, 1, 2};
    static const double heats[] = {0, 0, 0.1, 1}, ttls[] = {0.001, 0.05, 120},
                        lives[] = {0.1, 1, 300};
    uint32_t least = (uint32_t)(most_tokens(t) / block_size + 1);
    struct weir_replay_setup s = {.trace = t,
                                  .n_requests = t->n_lines,
                                  .trace_block = TRACE_BLOCK,
                                  .trace_speedup = 0.25 * (1 + below(8)),
                                  .n_workers = 1 + below(crowded         ? 3
                                                         : below(4) == 0 ? 40
                                                                         : 6),
                                  .engine = {.block_size = block_size,
                                             .n_blocks = least + below(3 * least),
                                             .max_num_seqs = 1 + below(crowded ? 60 : 12),
                                             .max_num_batched_tokens = 1 + below(below(2) == 0 ? 60
                                                                                 : crowded     ? 300
                                                                                           : 4000),
                                             .max_waiting = UINT32_MAX,
                                             .prefix_caching = true,
                                             .chunked_prefill = true,
                                             .prefill_tokens_per_s = 500 * (1 + below(100)),
                                             .decode_base_ms = below(3) == 0 ? 0 : 5,
                                             .decode_per_request_ms = 0.1 * below(4),
                                             .speedup = 1,
                                             .decode_speedup = 1},
                                  .thresholds = {NAN, -1, NAN},
                                  .seed = weir_rng_u64(&rng)};
    weir_router_config_init(&s.router);
    s.router.overlap_score_credit = one_of(credits, 4);
    s.router.overlap_credit_decay = one_of(decays, 3);
    s.router.prefill_load_scale = one_of(scales, 4);
    s.router.decode_active_request_weight = below(3);
    s.router.temperature = one_of(heats, 4);
    s.router.policy = (enum weir_selection_policy)(below(2) == 0 ? 0 : below(3));
    s.router.recompute_weight = one_of(scales, 4);
    s.router.churn_weight = one_of(credits, 4);
    s.router.churn_half_life_s = one_of(lives, 3);
    s.router.decode_block_weight = below(3) * 0.01;
    s.router.ttl_s = one_of(ttls, 3);
    s.router.use_kv_events = below(3) > 0;
    s.router.track_active_blocks = below(4) > 0;
    s.router.assume_kv_reuse = below(4) > 0;
    s.router.track_prefill_tokens = below(4) > 0;
    s.router.index_max_bytes = (size_t)1 << 30;
    if (below(4) == 0)
        s.thresholds.decode_blocks = 0.1 * (1 + below(9));
    if (below(4) == 0)
        s.thresholds.prefill_tokens = below(800);
    if (below(4) == 0)
        s.thresholds.prefill_tokens_frac = 0.5 * below(6);
    return s;
}

static enum weir_router_mode random_mode(void) {
    static const enum weir_router_mode others[] = {WEIR_ROUTE_ROUND_ROBIN, WEIR_ROUTE_RANDOM,
                                                   WEIR_ROUTE_POWER_OF_TWO,
                                                   WEIR_ROUTE_LEAST_LOADED};
    return below(3) > 0 ? WEIR_ROUTE_KV : others[below(4)];
}

/* ---- both --------------------------------------------------------------------------------------
 */

struct batch {
    struct weir_replay_setup setups[MOST_CONFIGS];
    enum weir_router_mode modes[MOST_CONFIGS];
    struct kvc_replay_config configs[MOST_CONFIGS];
    struct weir_replay_outcome *got[MOST_CONFIGS]; /* owned */
    uint64_t preemptions[MOST_CONFIGS];
    unsigned times[MOST_CONFIGS];
    size_t n;
};
static struct batch batch;

static void on_result(void *arg, size_t config, const struct kvc_replay_result *result) {
    struct batch *b = arg;
    weir_replay_fleet_outcomes(&b->setups[config], result->outcomes, b->got[config]);
    b->preemptions[config] = result->preemptions;
    b->times[config]++;
}

static void compare(const struct batch *b, size_t at, const char *what) {
    const struct weir_replay_setup *s = &b->setups[at];
    struct weir_replay_outcome *want = weir_calloc(s->n_requests, sizeof(*want));
    struct weir_err err;
    uint64_t preemptions;
    CHECK(want != NULL);
    CHECK_MSG(weir_replay_run(s, b->modes[at], want, &preemptions, &err) == WEIR_OK, "%s",
              err.text);
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct weir_replay_outcome *x = &want[i], *y = &b->got[at][i];
        CHECK_MSG(x->worker == y->worker && x->cached_tokens == y->cached_tokens &&
                      x->first_us == y->first_us && x->end_us == y->end_us &&
                      x->due_us == y->due_us && x->refused == y->refused,
                  "%s: configuration %zu (mode %d, %u workers), request %zu: worker %u %u, cached "
                  "%u %u, first %" PRIu64 " %" PRIu64 ", end %" PRIu64 " %" PRIu64,
                  what, at, (int)b->modes[at], s->n_workers, i, x->worker, y->worker,
                  x->cached_tokens, y->cached_tokens, x->first_us, y->first_us, x->end_us,
                  y->end_us);
    }
    CHECK_EQ_U64(b->preemptions[at], preemptions);
    weir_free(want);
}

static void run_batch(const char *what, size_t max_bytes, unsigned threads,
                      struct kvc_replay_stats *stats) {
    struct kvc_trace *t;
    struct weir_err err = {.text = ""};
    const struct kvc_replay_options o = {
        .max_bytes = max_bytes, .threads = threads, .on_result = on_result, .arg = &batch};
    CHECK_MSG(weir_replay_fleet_trace(k, &batch.setups[0], &t, &err) == WEIR_OK, "%s", err.text);
    for (size_t i = 0; i < batch.n; i++) {
        batch.got[i] = weir_calloc(batch.setups[i].n_requests, sizeof(*batch.got[i]));
        batch.times[i] = 0;
        CHECK(batch.got[i] != NULL && weir_replay_fleet_config(&batch.setups[i], batch.modes[i],
                                                               &batch.configs[i], &err) == WEIR_OK);
    }
    enum kvc_status st = kvc_replay(t, batch.configs, batch.n, &o, stats);
    CHECK_MSG(st == KVC_OK, "%s: %s", what, kvc_status_text(st));
    for (size_t i = 0; i < batch.n; i++)
        CHECK_EQ_U64(batch.times[i], 1);
    for (size_t i = 0; i < batch.n; i++)
        compare(&batch, i, what);
    for (size_t i = 0; i < batch.n; i++)
        weir_free(batch.got[i]);
    kvc_trace_destroy(t);
}

static void case_random(void) {
    struct kvc_replay_stats stats;
    uint64_t preempted = 0;
    for (unsigned round = 0; round < rounds; round++) {
        uint32_t block_size = round % 3 == 0 ? 2 + below(40) : round % 3 == 1 ? TRACE_BLOCK : 4;
        bool crowded = below(2) == 0;
        struct weir_trace t =
            random_trace(2 + below(MOST_REQUESTS - 2), below(3) == 0 || crowded ? 2 : 60,
                         1 + below(20), crowded);
        batch.n = 1 + below(6);
        for (size_t i = 0; i < batch.n; i++) {
            batch.setups[i] = random_setup(&t, block_size, crowded);
            batch.modes[i] = random_mode();
        }
        run_batch("random", 0, 1 + round % 3, &stats);
        for (size_t i = 0; i < batch.n; i++)
            preempted += batch.preemptions[i];
    }
    CHECK_MSG(preempted > 100, "only %" PRIu64 " were preempted", preempted);
}

/* ---- waves, and what is refused ------------------------------------------------------------- */

static void random_batch(const struct weir_trace *t, size_t n) {
    for (batch.n = 0; batch.n < n; batch.n++) {
        batch.setups[batch.n] = random_setup(t, TRACE_BLOCK, false);
        batch.modes[batch.n] = random_mode();
    }
}

static void case_waves(void) {
    struct kvc_replay_stats all, few;
    struct weir_trace t = random_trace(200, 10, 8, false);
    random_batch(&t, 40);
    run_batch("at once", 0, 8, &all);
    size_t each = all.config_bytes + 200 * sizeof(struct kvc_replay_outcome);
    run_batch("in waves", 4 * each + ((size_t)64 << 10), 8, &few);
    CHECK_MSG(few.waves >= 5 && few.waves > all.waves, "%zu waves, then %zu", all.waves, few.waves);
    CHECK(all.on_cpu == 0 && few.on_cpu == 0);
}

static void on_nothing(void *arg, size_t config, const struct kvc_replay_result *result) {
    (void)config, (void)result;
    ++*(unsigned *)arg;
}

static void case_refused(void) {
    struct kvc_trace *trace;
    struct weir_err err;
    unsigned n_results = 0;
    struct weir_trace t = random_trace(50, 10, 8, false);
    random_batch(&t, 1);
    CHECK(weir_replay_fleet_trace(k, &batch.setups[0], &trace, &err) == WEIR_OK);
    CHECK(weir_replay_fleet_config(&batch.setups[0], WEIR_ROUTE_KV, &batch.configs[0], &err) ==
          WEIR_OK);
    struct kvc_replay_options o = {.max_bytes = 1000, .on_result = on_nothing, .arg = &n_results};
    CHECK(kvc_replay(trace, batch.configs, 1, &o, NULL) == KVC_NOMEM);
    o.max_bytes = 0;
    CHECK(kvc_replay(trace, batch.configs, 0, &o, NULL) == KVC_OK && n_results == 0);
    const struct kvc_replay_config good = batch.configs[0];
    for (int i = 0; i < 9; i++) {
        struct kvc_replay_config bad = good;
        switch (i) {
        case 0:
            bad.n_workers = 0;
            break;
        case 1:
            bad.n_workers = KVC_REPLAY_WORKERS_MAX + 1;
            break;
        case 2:
            bad.n_blocks = (uint32_t)(most_tokens(&t) / TRACE_BLOCK - 1);
            break;
        case 3:
            bad.max_num_batched_tokens = 0;
            break;
        case 4:
            bad.trace_speedup = 0;
            break;
        case 5:
            bad.temperature = NAN;
            break;
        case 6:
            bad.prefill_tokens_per_s = 0;
            break;
        case 7:
            bad.cost.overlap_score_credit = -1;
            break;
        default:
            bad.mode = (enum kvc_replay_mode)77;
            break;
        }
        batch.configs[0] = good;
        batch.configs[1] = bad;
        CHECK_MSG(kvc_replay(trace, batch.configs, 2, &o, NULL) == KVC_INVALID, "bad %d", i);
    }
    CHECK_EQ_U64(n_results, 0);
    CHECK(kvc_replay(trace, &good, 1, &o, NULL) == KVC_OK && n_results == 1);
    kvc_trace_destroy(trace);
    batch.setups[0].queues = true;
    CHECK(weir_replay_fleet_config(&batch.setups[0], WEIR_ROUTE_KV, &batch.configs[0], &err) ==
              WEIR_UNSUPPORTED &&
          strstr(err.text, "queue") != NULL);
}

static void case_bad_trace(void) {
    struct kvc_replay_request requests[2] = {{0, 32, 5}, {1, 32, 5}};
    uint64_t offsets[] = {0, 2, 4}, sequence[] = {7, 8, 7, 9};
    struct kvc_replay_prompts p = {requests, offsets, sequence, 2, 16};
    struct kvc_trace *t;
    struct kvc_trace_stats stats;
    CHECK(kvc_trace_create(k, &p, &t) == KVC_OK);
    kvc_trace_get_stats(t, &stats);
    CHECK(stats.requests == 2 && stats.blocks == 4 && stats.shared_runs == 1 &&
          stats.path_runs == 2);
    kvc_trace_destroy(t);
    sequence[3] = 7; /* the first block again, behind itself */
    CHECK(kvc_trace_create(k, &p, &t) == KVC_COLLISION);
    sequence[3] = 9;
    requests[1].at_ms = -1;
    CHECK(kvc_trace_create(k, &p, &t) == KVC_INVALID);
    requests[1].at_ms = NAN;
    CHECK(kvc_trace_create(k, &p, &t) == KVC_INVALID);
    requests[1] = (struct kvc_replay_request){1, 48, 5};
    CHECK(kvc_trace_create(k, &p, &t) == KVC_INVALID);
    requests[1] = (struct kvc_replay_request){1, 32, 0};
    CHECK(kvc_trace_create(k, &p, &t) == KVC_INVALID);
    p.n = 0;
    CHECK(kvc_trace_create(k, &p, &t) == KVC_INVALID);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    k = open_back_end();
    if (is_slow(k))
        rounds = 30;
    CHECK_RUN(case_random);
    CHECK_RUN(case_waves);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_bad_trace);
    kvc_close(k);
    return check_finish();
}
