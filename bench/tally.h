/*
 * What a run found: every outcome goes in once, percentiles and counts come out. One tally per
 * loop, merged at the end. Pure. Times are nanoseconds of one clock.
 */
#ifndef WEIR_BENCH_TALLY_H
#define WEIR_BENCH_TALLY_H

#include "base/span.h"
#include "bench/timeline.h"

/* X(name, key in reports, what it means) */
#define WEIR_BENCH_FAULT_MAP(X)                                                                    \
    X(NONE, "none", "answered whole")                                                              \
    X(CONNECT, "connect", "no connection, or none in time")                                        \
    X(HTTP, "http_status", "an HTTP status other than 200")                                        \
    X(TIMEOUT, "timeout", "no whole answer within --timeout-s")                                    \
    X(BROKEN, "broken_stream", "the connection ended before the answer")                           \
    X(NO_DONE, "missing_done", "the stream ended without data: [DONE]")                            \
    X(EVENT, "error_event", "an error inside the stream")                                          \
    X(PROTOCOL, "protocol", "an answer that is not of the API's form")                             \
    X(LOCAL, "local", "the generator ran out of memory or connections")

enum weir_bench_fault {
#define X(name, key, text) WEIR_BENCH_FAULT_##name,
    WEIR_BENCH_FAULT_MAP(X)
#undef X
        WEIR_BENCH_FAULTS
};
const char *weir_bench_fault_key(enum weir_bench_fault fault);
const char *weir_bench_fault_text(enum weir_bench_fault fault);

/* X(member, text) All latencies count from the time at which the request was due, but for those
 * named _sent: in an open loop a slow server cannot hide by delaying the next request. */
#define WEIR_BENCH_LATENCY_MAP(X)                                                                  \
    X(ttft, "Time to first token")                                                                 \
    X(ttft_sent, "Time to first token, from the send")                                             \
    X(itl, "Time between tokens")                                                                  \
    X(tpot, "Mean time per output token of a request")                                             \
    X(e2e, "Whole request")                                                                        \
    X(e2e_sent, "Whole request, from the send")                                                    \
    X(lateness, "Send behind schedule")

struct weir_bench_slo {
    double ttft_ms, itl_ms, e2e_ms; /* NAN = not asked */
};

struct weir_outcome {
    bool measured; /* false: warm-up */
    bool streamed;
    uint64_t due_ns, sent_ns;
    uint64_t first_ns, last_ns; /* first and last text; 0 = none came */
    uint64_t end_ns;
    uint64_t chunks; /* events with text */
    bool has_usage;
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
    enum weir_bench_fault fault;
    int http_status;
};

enum { WEIR_TALLY_STATUSES = 600, WEIR_TALLY_SAMPLE = 200 };

struct weir_tally {
#define X(member, text) struct weir_hist member;
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
    struct weir_timeline timeline; /* of the whole run, warm-up included */
    struct weir_bench_slo slo;
    uint64_t start_ns;                  /* of the run */
    uint64_t first_due_ns, last_end_ns; /* of what was measured */
    uint64_t warmup, ok, good, unfinished, turns_dropped, without_usage, empty;
    uint64_t unsent; /* due, but held back by --concurrency until the time was over */
    uint64_t faults[WEIR_BENCH_FAULTS];
    uint64_t statuses[WEIR_TALLY_STATUSES];
    char samples[WEIR_BENCH_FAULTS][WEIR_TALLY_SAMPLE]; /* first words of each kind */
    uint64_t prompt_tokens, completion_tokens, cached_tokens, chunks;
    uint64_t all_requests, all_tokens; /* warm-up and errors included, for CPU per request */
};

enum weir_status weir_tally_init(struct weir_tally *t, const struct weir_bench_slo *slo,
                                 uint64_t start_ns) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_tally_fini(struct weir_tally *t);
void weir_tally_sent(struct weir_tally *t, uint64_t now_ns, uint64_t in_flight);
/* n tokens came; gap_ns is the time since the one before, UINT64_MAX for the first. */
void weir_tally_tokens(struct weir_tally *t, bool measured, uint64_t now_ns, uint64_t n,
                       uint64_t gap_ns);
void weir_tally_outcome(struct weir_tally *t, const struct weir_outcome *o);
/* Keeps the first text of a kind of error. */
void weir_tally_sample(struct weir_tally *t, enum weir_bench_fault fault, struct weir_span text);
void weir_tally_merge(struct weir_tally *dst, struct weir_tally *src);
uint64_t weir_tally_errors(const struct weir_tally *t);
/* Seconds from the first measured request's time to the last measured answer's end. */
double weir_tally_window_s(const struct weir_tally *t);

#endif
