/* Histogram, timeline and tally against exact sums and sorts. */
#include "base/rng.h"
#include "bench/tally.h"
#include "test/check.h"

#include <math.h>

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void case_buckets_cover_everything(void) {
    for (unsigned bits = 1; bits <= WEIR_HIST_MAX_BITS; bits++) {
        unsigned n = weir_hist_buckets(bits);
        uint64_t want = 0;
        for (unsigned i = 0; i < n; i++) {
            uint64_t low = weir_hist_low(bits, i), high = weir_hist_high(bits, i);
            CHECK_EQ_U64(low, want);
            CHECK(high >= low);
            CHECK_EQ_U64(weir_hist_bucket(bits, low), i);
            CHECK_EQ_U64(weir_hist_bucket(bits, high), i);
            /* The promised width. */
            CHECK((high - low) <= (low >> bits));
            want = high + 1;
        }
        CHECK_EQ_U64(want, 0); /* the last bucket ends at UINT64_MAX */
    }
}

static uint64_t draw(struct weir_rng *rng, int shape) {
    switch (shape) {
    case 0:
        return weir_rng_below(rng, 300);
    case 1:
        return (uint64_t)weir_rng_exp(rng, 3e6);
    case 2:
        return (uint64_t)exp(12 + 3 * weir_rng_normal(rng));
    case 3:
        return weir_rng_u64(rng);
    default:
        return 77;
    }
}

static void case_quantiles_match_sort(void) {
    enum { N = 20000 };
    static uint64_t values[N];
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    const double qs[] = {0, 0.001, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
    for (int shape = 0; shape < 5; shape++) {
        struct weir_hist h;
        CHECK(weir_hist_init(&h, WEIR_HIST_FINE) == WEIR_OK);
        double sum = 0;
        for (size_t i = 0; i < N; i++) {
            values[i] = draw(&rng, shape);
            sum += (double)values[i];
            weir_hist_record(&h, values[i]);
        }
        qsort(values, N, sizeof(values[0]), by_value);
        for (size_t i = 0; i < WEIR_ARRAY_LEN(qs); i++) {
            size_t rank = qs[i] > 0 ? (size_t)ceil(qs[i] * N) : 1;
            double exact = (double)values[rank - 1], got = (double)weir_hist_quantile(&h, qs[i]);
            CHECK_MSG(fabs(got - exact) <= exact / 256 + 1e-9, "shape %d q %g: %g, exact %g", shape,
                      qs[i], got, exact);
        }
        CHECK_EQ_U64(h.min, values[0]);
        CHECK_EQ_U64(h.max, values[N - 1]);
        CHECK(fabs(weir_hist_mean(&h) - sum / N) <= sum / N * 1e-9);
        double square = 0;
        for (size_t i = 0; i < N; i++)
            square += pow((double)values[i] - sum / N, 2);
        CHECK(fabs(weir_hist_stdev(&h) - sqrt(square / (N - 1))) <= sqrt(square / N) * 1e-6 + 1e-6);
        weir_hist_fini(&h);
    }
}

static void case_merge_equals_one(void) {
    struct weir_hist one, two[3];
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed() + 1);
    CHECK(weir_hist_init(&one, 5) == WEIR_OK);
    for (int i = 0; i < 3; i++)
        CHECK(weir_hist_init(&two[i], 5) == WEIR_OK);
    for (int i = 0; i < 5000; i++) {
        uint64_t v = draw(&rng, i % 4), n = weir_rng_below(&rng, 3);
        weir_hist_record_n(&one, v, n);
        weir_hist_record_n(&two[i % 2], v, n);
    }
    weir_hist_merge(&two[2], &two[0]);
    weir_hist_merge(&two[2], &two[1]);
    CHECK_EQ_U64(one.n, two[2].n);
    CHECK_EQ_U64(one.min, two[2].min);
    CHECK_EQ_U64(one.max, two[2].max);
    for (unsigned i = 0; i < weir_hist_buckets(5); i++)
        CHECK_EQ_U64(one.counts[i], two[2].counts[i]);
    weir_hist_clear(&one);
    CHECK_EQ_U64(weir_hist_quantile(&one, 0.5), 0);
    CHECK(weir_hist_mean(&one) == 0 && weir_hist_stdev(&one) == 0);
    weir_hist_fini(&one);
    for (int i = 0; i < 3; i++)
        weir_hist_fini(&two[i]);
}

static void case_share_below(void) {
    struct weir_hist h;
    CHECK(weir_hist_init(&h, WEIR_HIST_FINE) == WEIR_OK);
    for (uint64_t i = 1; i <= 200; i++)
        weir_hist_record(&h, i);
    CHECK(weir_hist_share_below(&h, 50) == 0.25);
    CHECK(weir_hist_share_below(&h, 0) == 0);
    CHECK(weir_hist_share_below(&h, 1000) == 1);
    weir_hist_fini(&h);
}

static void case_timeline_folds_without_loss(void) {
    struct weir_timeline a, b;
    CHECK(weir_timeline_init(&a, 1000) == WEIR_OK);
    CHECK(weir_timeline_init(&b, 1000) == WEIR_OK);
    for (uint64_t ns = 0; ns < 10000000; ns += 100) {
        struct weir_timeline_bucket *at = weir_timeline_at(&a, ns);
        at->tokens++;
        weir_hist_record(&at->ttft, ns);
    }
    CHECK(a.width_ns >= 10000000 / WEIR_TIMELINE_BUCKETS);
    weir_timeline_at(&b, 5)->tokens = 7;
    weir_timeline_at(&b, 5)->in_flight = 3;
    weir_timeline_merge(&b, &a);
    CHECK_EQ_U64(a.width_ns, b.width_ns);
    uint64_t tokens = 0, recorded = 0;
    for (unsigned i = 0; i < weir_timeline_used(&b); i++) {
        tokens += b.buckets[i].tokens;
        recorded += b.buckets[i].ttft.n;
        /* What lies in a bucket happened in its time. */
        if (b.buckets[i].ttft.n > 0) {
            CHECK(b.buckets[i].ttft.min >= i * b.width_ns);
            CHECK(b.buckets[i].ttft.max < (i + 1) * b.width_ns);
        }
    }
    CHECK_EQ_U64(tokens, 100007);
    CHECK_EQ_U64(recorded, 100000);
    CHECK_EQ_U64(b.buckets[0].in_flight, 3);
    weir_timeline_fini(&a);
    weir_timeline_fini(&b);
}

static const struct weir_bench_slo no_slo = {NAN, NAN, NAN};

static void case_tally_counts_from_the_due_time(void) {
    struct weir_tally t;
    struct weir_bench_slo slo = {.ttft_ms = 25, .itl_ms = 5, .e2e_ms = NAN};
    CHECK(weir_tally_init(&t, &slo, 1000) == WEIR_OK);
    enum { MS = 1000000 };
    struct weir_outcome o = {.measured = true, .streamed = true, .http_status = 200};
    o.due_ns = 10 * MS;
    o.sent_ns = 20 * MS; /* 10 ms late */
    o.first_ns = 30 * MS;
    o.last_ns = 70 * MS;
    o.end_ns = 71 * MS;
    o.chunks = 9;
    o.has_usage = true;
    o.prompt_tokens = 100;
    o.cached_tokens = 64;
    o.completion_tokens = 11;
    weir_tally_outcome(&t, &o);
    CHECK_EQ_U64(weir_hist_quantile(&t.ttft, 1), 20 * MS);
    CHECK_EQ_U64(weir_hist_quantile(&t.ttft_sent, 1), 10 * MS);
    CHECK_EQ_U64(weir_hist_quantile(&t.e2e, 1), 61 * MS);
    CHECK_EQ_U64(weir_hist_quantile(&t.e2e_sent, 1), 51 * MS);
    CHECK_EQ_U64(weir_hist_quantile(&t.tpot, 1), 4 * MS); /* 40 ms over ten gaps */
    CHECK_EQ_U64(weir_hist_quantile(&t.lateness, 1), 10 * MS);
    CHECK_EQ_U64(t.good, 1);
    o.due_ns = 4 * MS; /* the same answer, due earlier: over the limit */
    weir_tally_outcome(&t, &o);
    CHECK_EQ_U64(t.good, 1);
    CHECK_EQ_U64(t.ok, 2);
    o.fault = WEIR_BENCH_FAULT_HTTP;
    o.http_status = 503;
    weir_tally_outcome(&t, &o);
    o.measured = false;
    weir_tally_outcome(&t, &o);
    CHECK_EQ_U64(t.ok, 2);
    CHECK_EQ_U64(t.warmup, 1);
    CHECK_EQ_U64(weir_tally_errors(&t), 1);
    CHECK_EQ_U64(t.statuses[503], 1);
    CHECK_EQ_U64(t.prompt_tokens, 200);
    CHECK_EQ_U64(t.cached_tokens, 128);
    CHECK_EQ_U64(t.completion_tokens, 22);
    CHECK(fabs(weir_tally_window_s(&t) - 0.067) < 1e-9);
    weir_tally_fini(&t);
}

static void case_tally_merges(void) {
    struct weir_tally a, b;
    CHECK(weir_tally_init(&a, &no_slo, 0) == WEIR_OK);
    CHECK(weir_tally_init(&b, &no_slo, 0) == WEIR_OK);
    struct weir_outcome o = {.measured = true, .due_ns = 5, .sent_ns = 5, .end_ns = 50};
    weir_tally_outcome(&a, &o);
    o.due_ns = 3;
    o.end_ns = 90;
    o.fault = WEIR_BENCH_FAULT_TIMEOUT;
    weir_tally_outcome(&b, &o);
    weir_tally_tokens(&b, true, 60, 3, 20);
    weir_tally_sample(&b, WEIR_BENCH_FAULT_TIMEOUT, WEIR_SPAN_LIT("too\nslow"));
    weir_tally_merge(&a, &b);
    CHECK_EQ_U64(a.ok, 1);
    CHECK_EQ_U64(a.good, 1);
    CHECK_EQ_U64(a.faults[WEIR_BENCH_FAULT_TIMEOUT], 1);
    CHECK_EQ_U64(a.first_due_ns, 3);
    CHECK_EQ_U64(a.last_end_ns, 90);
    CHECK_EQ_U64(a.itl.n, 3);
    CHECK_EQ_U64(a.itl.max, 20);
    CHECK_EQ_STR(a.samples[WEIR_BENCH_FAULT_TIMEOUT], strlen(a.samples[WEIR_BENCH_FAULT_TIMEOUT]),
                 "too slow");
    weir_tally_fini(&a);
    weir_tally_fini(&b);
}

int main(void) {
    CHECK_RUN(case_buckets_cover_everything);
    CHECK_RUN(case_quantiles_match_sort);
    CHECK_RUN(case_merge_equals_one);
    CHECK_RUN(case_share_below);
    CHECK_RUN(case_timeline_folds_without_loss);
    CHECK_RUN(case_tally_counts_from_the_due_time);
    CHECK_RUN(case_tally_merges);
    return check_finish();
}
