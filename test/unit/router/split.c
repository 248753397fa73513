/* Conditional disaggregation: the vectors of shared spec "kvrouter" 4.5, every policy against a
 * plain restatement, rules from JSON with each refusal, records that read back and decide again. */
#include "router/split.h"

#include "base/rng.h"
#include "router/decide.h"
#include "test/check.h"

#include <math.h>
#include <string.h>

static struct weir_split_rules rules_of(enum weir_split_policy policy) {
    struct weir_split_rules r;
    weir_split_rules_init(&r);
    r.policy = policy;
    return r;
}

static enum weir_split_why decide(const struct weir_split_rules *r, double prompt, double cached,
                                  double prefill_share) {
    struct weir_split_signals s = {prompt, cached, prefill_share * 8192, 8192, NAN, NAN};
    return weir_split_decide(r, &s);
}

static void case_isl_bounding(void) {
    static const struct {
        double prompt, cached, threshold, ratio;
        bool local;
    } rows[] = {
        {1000, 14 * 64, 2048, 0.7, true},   /* small and mostly held */
        {100000, 64000, 2048, 0.99, false}, /* too much to compute, whatever the share */
        {200, 0, 2048, 0.7, false},         /* little, but all of it */
        {2048, 0, 2048, 1, false},          /* both bounds are exclusive */
        {4096, 2049, 2048, 0.7, true},      /* one below the bound */
        {4096, 2048, 2048, 0.7, false},     /* on it */
        {1000, 300, 2048, 0.7, false},      /* a share of exactly 0.7 */
        {1000, 301, 2048, 0.7, true},       /* below it */
        {0, 0, 2048, 0.7, true},            /* nothing to compute */
        {500, 640, 2048, 0.7, true},        /* more held than there is */
        {2100, 48, 2048, 0.99, false},      /* a part of a block counts as that part */
        {1000, 999, 0, 0.7, false},         /* 0 turns it off */
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_split_rules r = rules_of(WEIR_SPLIT_ISL_BOUNDING);
        r.eff_isl_threshold = rows[i].threshold;
        r.eff_isl_ratio_threshold = rows[i].ratio;
        enum weir_split_why why = decide(&r, rows[i].prompt, rows[i].cached, 1e6);
        CHECK_MSG(why == (rows[i].local ? WEIR_SPLIT_FEW_TOKENS : WEIR_SPLIT_NO_REASON),
                  "row %zu: %s", i, weir_split_why_word(why));
    }
}

static void case_load(void) {
    struct weir_split_rules r = rules_of(WEIR_SPLIT_PREFILL_LOAD);
    CHECK(!weir_split_needs_load(&r)); /* without a threshold nobody is busy */
    CHECK(decide(&r, 100000, 0, 1e6) == WEIR_SPLIT_NO_REASON);
    r.prefill_busy_threshold = 2;
    CHECK(weir_split_needs_load(&r));
    CHECK(decide(&r, 100000, 0, 2) == WEIR_SPLIT_NO_REASON); /* more than, not as much as */
    CHECK(decide(&r, 100000, 0, 2.001) == WEIR_SPLIT_PREFILL_BUSY);
    CHECK(decide(&r, 1000, 900, 1) == WEIR_SPLIT_NO_REASON); /* what is held does not matter */
    CHECK(decide(&r, 1000, 0, NAN) == WEIR_SPLIT_NO_REASON); /* no prefill worker could be chosen */
    struct weir_split_signals s = {10, 0, 20000000, 0, NAN, NAN}; /* no budget: ten million */
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_NO_REASON);
    s.prefill_tokens++;
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_PREFILL_BUSY);
    r.policy = WEIR_SPLIT_ISL_OR_LOAD;
    CHECK(decide(&r, 1000, 896, 0) == WEIR_SPLIT_FEW_TOKENS);
    CHECK(decide(&r, 1000, 896, 3) == WEIR_SPLIT_FEW_TOKENS);
    CHECK(decide(&r, 100000, 0, 0) == WEIR_SPLIT_NO_REASON);
    CHECK(decide(&r, 100000, 0, 3) == WEIR_SPLIT_PREFILL_BUSY);
    r.policy = WEIR_SPLIT_ISL_BOUNDING;
    CHECK(!weir_split_needs_load(&r) && decide(&r, 100000, 0, 3) == WEIR_SPLIT_NO_REASON);
}

static void case_decode_gate(void) {
    struct weir_split_rules r = rules_of(WEIR_SPLIT_ISL_BOUNDING);
    struct weir_split_signals s = {1000, 896, NAN, NAN, 90, 100};
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_FEW_TOKENS); /* no gate */
    r.decode_busy_threshold = 0.9;
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_FEW_TOKENS);
    s.decode_blocks = 91;
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_DECODE_BUSY);
    s.decode_capacity = 0;
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_DECODE_CAPACITY_UNKNOWN);
    s.cached_tokens = 0; /* it guards local prefills only */
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_NO_REASON);
    s.cached_tokens = NAN;
    CHECK(weir_split_decide(&r, &s) == WEIR_SPLIT_NO_DECODE_WORKER);
}

static void case_rules(void) {
    struct weir_split_rules r;
    struct weir_err err;
    weir_split_rules_init(&r);
    CHECK(r.policy == WEIR_SPLIT_ISL_BOUNDING && r.eff_isl_threshold == 2048 &&
          r.eff_isl_ratio_threshold == 0.7 && isnan(r.prefill_busy_threshold) &&
          isnan(r.decode_busy_threshold));
    CHECK(weir_split_rules_parse(
              WEIR_SPAN_LIT("{\"policy\":\"isl_or_load\",\"eff_isl_threshold\":4096,"
                            "\"eff_isl_ratio_threshold\":0.8,\"prefill_busy_threshold\":16,"
                            "\"decode_busy_threshold\":0.9}"),
              &r, &err) == WEIR_OK);
    CHECK(r.policy == WEIR_SPLIT_ISL_OR_LOAD && r.eff_isl_threshold == 4096 &&
          r.eff_isl_ratio_threshold == 0.8 && r.prefill_busy_threshold == 16 &&
          r.decode_busy_threshold == 0.9);
    CHECK(weir_split_rules_parse(WEIR_SPAN_LIT("{\"decode_busy_threshold\":null}"), &r, &err) ==
              WEIR_OK &&
          isnan(r.decode_busy_threshold) && r.prefill_busy_threshold == 16);
    CHECK(weir_split_rules_parse(WEIR_SPAN_LIT("{}"), &r, &err) == WEIR_OK);
    static const char *const bad[][2] = {
        {"{\"policy\":\"always\"}", "policy must be isl_bounding, prefill_load or isl_or_load"},
        {"{\"policy\":1}", "policy must be isl_bounding, prefill_load or isl_or_load"},
        {"{\"eff_isl_threshold\":-1}",
         "eff_isl_threshold must be a whole number of tokens, 0 or more"},
        {"{\"eff_isl_threshold\":0.5}",
         "eff_isl_threshold must be a whole number of tokens, 0 or more"},
        {"{\"eff_isl_threshold\":null}",
         "eff_isl_threshold must be a whole number of tokens, 0 or more"},
        {"{\"eff_isl_threshold\":\"2048\"}",
         "eff_isl_threshold must be a whole number of tokens, 0 or more"},
        {"{\"eff_isl_ratio_threshold\":1.01}",
         "eff_isl_ratio_threshold must be a number from 0 to 1"},
        {"{\"eff_isl_ratio_threshold\":true}",
         "eff_isl_ratio_threshold must be a number from 0 to 1"},
        {"{\"prefill_busy_threshold\":-0.1}",
         "prefill_busy_threshold must be a number, 0 or more, or null"},
        {"{\"decode_busy_threshold\":[]}",
         "decode_busy_threshold must be a number, 0 or more, or null"},
        {"{\"decode_busy_threshold\":1e999}",
         "decode_busy_threshold must be a number, 0 or more, or null"},
        {"{\"ratio\":1}",
         "ratio is not known; there are policy, eff_isl_threshold, eff_isl_ratio_threshold, "
         "prefill_busy_threshold and decode_busy_threshold"},
        {"[]", "not a JSON object: invalid type at byte 0"},
        {"", "not a JSON object: EOF while parsing a value at byte 0"},
        {"{} x", "not a JSON object: trailing characters at byte 4"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_split_rules kept = r;
        CHECK(weir_split_rules_parse(weir_span_z(bad[i][0]), &kept, &err) == WEIR_INVALID);
        CHECK_MSG(strcmp(err.text, bad[i][1]) == 0, "%s: %s", bad[i][0], err.text);
        CHECK(kept.policy == r.policy && kept.eff_isl_threshold == r.eff_isl_threshold);
    }
}

/* The same rules in other words. */
static bool naive(const struct weir_split_rules *r, const struct weir_split_signals *s) {
    double compute = s->cached_tokens > s->prompt_tokens ? 0 : s->prompt_tokens - s->cached_tokens;
    double share = s->prompt_tokens > 0 ? compute / s->prompt_tokens : 0;
    bool few = compute < r->eff_isl_threshold && share < r->eff_isl_ratio_threshold;
    bool busy = !isnan(r->prefill_busy_threshold) &&
                s->prefill_tokens / s->prefill_budget > r->prefill_busy_threshold;
    bool local = (few && r->policy != WEIR_SPLIT_PREFILL_LOAD) ||
                 (busy && r->policy != WEIR_SPLIT_ISL_BOUNDING);
    return local && (isnan(r->decode_busy_threshold) ||
                     s->decode_blocks / s->decode_capacity <= r->decode_busy_threshold);
}

/* A record inside a decision: written, read, decided again. A changed verdict is found. */
static void check_record(const struct weir_split *split) {
    struct weir_candidate c = {.worker_id = 7};
    struct weir_decision d = {.in = {.mode = WEIR_ROUTE_KV, .params = {.block_size = 16}},
                              .has_split = true},
                         back;
    struct weir_arena arena;
    struct weir_buf line;
    struct weir_jsonw w;
    size_t again = 9;
    d.split = *split;
    weir_rng_seed(&d.rng, 1);
    CHECK(weir_decision_keep(&d, &c, 1, 0));
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&line, 1 << 20);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_decision_write(&d, SIZE_MAX, &w);
    weir_jsonw_object_end(&w);
    CHECK(w.status == WEIR_OK);
    CHECK(weir_decision_parse(weir_buf_span(&line), &arena, &back) == WEIR_OK && back.has_split);
    CHECK(back.split.rules.policy == split->rules.policy && back.split.why == split->why);
    CHECK(weir_decision_replay(&back, &again) == WEIR_OK && again == 0);
    back.split.why =
        split->why == WEIR_SPLIT_NO_REASON ? WEIR_SPLIT_FEW_TOKENS : WEIR_SPLIT_NO_REASON;
    CHECK(weir_decision_replay(&back, &again) == WEIR_OK && again == SIZE_MAX);
    weir_decision_fini(&d);
    weir_buf_fini(&line);
    weir_arena_fini(&arena);
}

static void case_random_against_naive(void) {
    struct weir_rng rng;
    unsigned seen[8] = {0};
    weir_rng_seed(&rng, check_seed());
    for (int i = 0; i < 20000; i++) {
        struct weir_split x = {
            .rules = {(enum weir_split_policy)weir_rng_below(&rng, 3),
                      (double)weir_rng_below(&rng, 4096), weir_rng_unit(&rng),
                      weir_rng_below(&rng, 3) > 0 ? weir_rng_unit(&rng) * 2 : NAN,
                      weir_rng_below(&rng, 2) > 0 ? weir_rng_unit(&rng) : NAN},
            .signals = {(double)weir_rng_below(&rng, 8192), (double)weir_rng_below(&rng, 8192),
                        (double)weir_rng_below(&rng, 16384), 8192,
                        (double)weir_rng_below(&rng, 1000), 1000}};
        x.why = weir_split_decide(&x.rules, &x.signals);
        CHECK(weir_split_is_local(x.why) == naive(&x.rules, &x.signals));
        seen[x.why]++;
        if (i < 500)
            check_record(&x);
    }
    for (int why = WEIR_SPLIT_FEW_TOKENS; why <= WEIR_SPLIT_DECODE_BUSY; why++)
        CHECK_MSG(seen[why] > 200, "%s: %u", weir_split_why_word((enum weir_split_why)why),
                  seen[why]);
}

/* What is no record is refused, not half read. */
static void case_bad_records(void) {
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "null",
                                      "{\"policy\":\"isl_bounding\"}",
                                      "{\"why\":\"few_tokens_to_compute\"}",
                                      "{\"policy\":\"x\",\"why\":\"few_tokens_to_compute\"}",
                                      "{\"policy\":\"isl_bounding\",\"why\":\"undecided\"}",
                                      ("{\"policy\":\"isl_bounding\",\"why\":"
                                       "\"few_tokens_to_compute\",\"prompt_tokens\":\"1\"}")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_split split;
        struct weir_json j;
        weir_json_init(&j, weir_span_z(bad[i]), 8);
        CHECK_MSG(!weir_split_read(&j, &split), "%s", bad[i]);
        CHECK(j.error != WEIR_JSON_ERR_NONE);
    }
}

int main(void) {
    CHECK_RUN(case_isl_bounding);
    CHECK_RUN(case_load);
    CHECK_RUN(case_decode_gate);
    CHECK_RUN(case_rules);
    CHECK_RUN(case_random_against_naive);
    CHECK_RUN(case_bad_records);
    return check_finish();
}
