#include "bench/tally.h"

#include <math.h>

const char *weir_bench_fault_key(enum weir_bench_fault fault) {
    static const char *const keys[] = {
#define X(name, key, text) key,
        WEIR_BENCH_FAULT_MAP(X)
#undef X
    };
    return keys[fault];
}

const char *weir_bench_fault_text(enum weir_bench_fault fault) {
    static const char *const texts[] = {
#define X(name, key, text) text,
        WEIR_BENCH_FAULT_MAP(X)
#undef X
    };
    return texts[fault];
}

enum weir_status weir_tally_init(struct weir_tally *t, const struct weir_bench_slo *slo,
                                 uint64_t start_ns) {
    *t = (struct weir_tally){.slo = *slo, .start_ns = start_ns, .first_due_ns = UINT64_MAX};
    enum weir_status st = weir_timeline_init(&t->timeline, 100000000);
#define X(member, text)                                                                            \
    if (st == WEIR_OK)                                                                             \
        st = weir_hist_init(&t->member, WEIR_HIST_FINE);
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
    if (st != WEIR_OK)
        weir_tally_fini(t);
    return st;
}

void weir_tally_fini(struct weir_tally *t) {
    if (t == NULL)
        return;
    weir_timeline_fini(&t->timeline);
#define X(member, text) weir_hist_fini(&t->member);
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
}

static uint64_t since(uint64_t now, uint64_t then) {
    return now > then ? now - then : 0;
}

static struct weir_timeline_bucket *bucket(struct weir_tally *t, uint64_t ns) {
    return weir_timeline_at(&t->timeline, since(ns, t->start_ns));
}

void weir_tally_sent(struct weir_tally *t, uint64_t now_ns, uint64_t in_flight) {
    struct weir_timeline_bucket *b = bucket(t, now_ns);
    b->sent++;
    if (in_flight > b->in_flight)
        b->in_flight = in_flight;
    t->all_requests++;
}

void weir_tally_tokens(struct weir_tally *t, bool measured, uint64_t now_ns, uint64_t n,
                       uint64_t gap_ns) {
    bucket(t, now_ns)->tokens += n;
    t->all_tokens += n;
    if (measured && gap_ns != UINT64_MAX)
        weir_hist_record(&t->itl, gap_ns);
    /* What shares a read came at the same time as far as a client can tell. */
    if (measured && n > 1)
        weir_hist_record_n(&t->itl, 0, n - 1);
}

static bool within(uint64_t ns, double limit_ms) {
    return isnan(limit_ms) || (double)ns <= limit_ms * 1e6;
}

/* Tokens of an answer: as the server counted them, else one for each event with text. */
static uint64_t tokens_of(const struct weir_outcome *o) {
    return o->has_usage ? o->completion_tokens : o->chunks;
}

static void record_answer(struct weir_tally *t, const struct weir_outcome *o) {
    uint64_t e2e = since(o->end_ns, o->due_ns), tokens = tokens_of(o);
    weir_hist_record(&t->e2e, e2e);
    weir_hist_record(&t->e2e_sent, since(o->end_ns, o->sent_ns));
    uint64_t ttft = e2e, tpot = 0;
    if (o->streamed && o->first_ns != 0) {
        ttft = since(o->first_ns, o->due_ns);
        weir_hist_record(&t->ttft, ttft);
        weir_hist_record(&t->ttft_sent, since(o->first_ns, o->sent_ns));
        if (tokens > 1) {
            tpot = since(o->last_ns, o->first_ns) / (tokens - 1);
            weir_hist_record(&t->tpot, tpot);
        }
    }
    if (within(ttft, t->slo.ttft_ms) && within(tpot, t->slo.itl_ms) && within(e2e, t->slo.e2e_ms))
        t->good++;
    t->ok++;
    t->empty += tokens == 0;
    t->without_usage += !o->has_usage;
    t->prompt_tokens += o->prompt_tokens;
    t->completion_tokens += tokens;
    t->cached_tokens += o->cached_tokens;
    t->chunks += o->chunks;
    weir_hist_record(&bucket(t, o->first_ns != 0 ? o->first_ns : o->end_ns)->ttft, ttft);
}

void weir_tally_outcome(struct weir_tally *t, const struct weir_outcome *o) {
    struct weir_timeline_bucket *b = bucket(t, o->end_ns);
    if (o->fault == WEIR_BENCH_FAULT_NONE)
        b->done++;
    else
        b->errors++;
    if (!o->measured) {
        t->warmup++;
        return;
    }
    if (o->due_ns < t->first_due_ns)
        t->first_due_ns = o->due_ns;
    if (o->end_ns > t->last_end_ns)
        t->last_end_ns = o->end_ns;
    if (o->sent_ns != 0)
        weir_hist_record(&t->lateness, since(o->sent_ns, o->due_ns));
    t->faults[o->fault]++;
    if (o->http_status > 0 && o->http_status < WEIR_TALLY_STATUSES)
        t->statuses[o->http_status]++;
    if (o->fault == WEIR_BENCH_FAULT_NONE)
        record_answer(t, o);
}

void weir_tally_sample(struct weir_tally *t, enum weir_bench_fault fault, struct weir_span text) {
    char *sample = t->samples[fault];
    if (sample[0] != '\0' || text.len == 0)
        return;
    size_t n = text.len < WEIR_TALLY_SAMPLE - 1 ? text.len : WEIR_TALLY_SAMPLE - 1;
    /* Not cut inside a character. */
    while (n > 0 && n < text.len && ((unsigned char)text.data[n] & 0xC0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++)
        sample[i] = (unsigned char)text.data[i] < ' ' ? ' ' : text.data[i];
    sample[n] = '\0';
}

void weir_tally_merge(struct weir_tally *dst, struct weir_tally *src) {
    WEIR_ASSERT(dst->start_ns == src->start_ns);
#define X(member, text) weir_hist_merge(&dst->member, &src->member);
    WEIR_BENCH_LATENCY_MAP(X)
#undef X
    weir_timeline_merge(&dst->timeline, &src->timeline);
    if (src->first_due_ns < dst->first_due_ns)
        dst->first_due_ns = src->first_due_ns;
    if (src->last_end_ns > dst->last_end_ns)
        dst->last_end_ns = src->last_end_ns;
#define SUM(member) dst->member += src->member
    SUM(warmup), SUM(ok), SUM(good), SUM(unfinished), SUM(turns_dropped), SUM(without_usage);
    SUM(empty), SUM(prompt_tokens), SUM(completion_tokens), SUM(cached_tokens), SUM(chunks);
    SUM(all_requests), SUM(all_tokens), SUM(unsent);
#undef SUM
    for (int i = 0; i < WEIR_BENCH_FAULTS; i++) {
        dst->faults[i] += src->faults[i];
        weir_tally_sample(dst, i, weir_span_z(src->samples[i]));
    }
    for (int i = 0; i < WEIR_TALLY_STATUSES; i++)
        dst->statuses[i] += src->statuses[i];
}

uint64_t weir_tally_errors(const struct weir_tally *t) {
    uint64_t n = 0;
    for (int i = 0; i < WEIR_BENCH_FAULTS; i++)
        n += i != WEIR_BENCH_FAULT_NONE ? t->faults[i] : 0;
    return n;
}

double weir_tally_window_s(const struct weir_tally *t) {
    return t->last_end_ns > t->first_due_ns ? (double)(t->last_end_ns - t->first_due_ns) / 1e9 : 0;
}
