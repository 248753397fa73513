#include "bench/replay_stats.h"

#include "base/hash.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

static double share(uint64_t part, uint64_t of) {
    return of > 0 ? (double)part / (double)of : 0;
}

double weir_replay_token_rate(const struct weir_replay_row *row) {
    return share(row->cached_tokens, row->prompt_tokens);
}

double weir_replay_block_rate(const struct weir_replay_row *row) {
    return share(row->hit_blocks, row->prompt_blocks);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Nearest rank of sorted values. */
static double quantile(const double *sorted, size_t n, double q) {
    double rank = ceil(q * (double)n - 1e-9);
    return sorted[rank < 1 ? 0 : rank > (double)n ? n - 1 : (size_t)rank - 1];
}

static struct weir_replay_times times_of(double *values, size_t n) {
    if (n == 0)
        return (struct weir_replay_times){NAN, NAN, NAN, NAN, NAN};
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    qsort(values, n, sizeof(*values), by_value);
    return (struct weir_replay_times){sum / (double)n, quantile(values, n, 0.5),
                                      quantile(values, n, 0.9), quantile(values, n, 0.99),
                                      values[n - 1]};
}

static struct weir_replay_balance balance_of(const uint64_t *values, uint32_t n) {
    double sum = 0, most = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)values[i];
        most = fmax(most, (double)values[i]);
    }
    double mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    return (struct weir_replay_balance){
        .max_over_mean = mean > 0 ? most / mean : 1, .mean = mean, .stdev = sqrt(squares / n)};
}

static void count_tokens(struct weir_replay_row *row, const struct weir_replay_setup *s,
                         const struct weir_replay_outcome *outcomes) {
    size_t parts = s->n_requests < WEIR_REPLAY_COURSE ? s->n_requests : WEIR_REPLAY_COURSE;
    row->n_course = parts;
    for (size_t part = 0, i = 0; part < parts; part++) {
        for (; i < s->n_requests * (part + 1) / parts; i++) {
            if (outcomes[i].refused)
                continue;
            uint32_t tokens = s->trace->lines[i].input_tokens;
            row->prompt_tokens += tokens;
            row->cached_tokens += outcomes[i].cached_tokens;
            row->prompt_blocks += tokens / s->engine.block_size;
            row->hit_blocks += outcomes[i].cached_tokens / s->engine.block_size;
        }
        row->course[part] = row->prompt_tokens > 0 ? weir_replay_token_rate(row) : NAN;
    }
}

static uint64_t digest_of(const struct weir_replay_setup *s,
                          const struct weir_replay_outcome *outcomes) {
    uint64_t h = WEIR_HASH_BEGIN;
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct weir_replay_outcome *o = &outcomes[i];
        const uint64_t words[] = {o->due_us, o->first_us, o->end_us,
                                  (uint64_t)o->worker << 32 | o->cached_tokens, o->refused};
        for (size_t k = 0; k < WEIR_ARRAY_LEN(words); k++)
            h = weir_hash_word(h, words[k]);
    }
    return h;
}

static void measure_mode(struct weir_replay_row *row, const struct weir_replay_setup *s,
                         const struct weir_replay_outcome *outcomes, double *values) {
    uint64_t end = 0;
    size_t n = 0;
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct weir_replay_outcome *o = &outcomes[i];
        row->refused += o->refused;
        row->waited += o->waited;
        if (o->refused)
            continue;
        row->worker_requests[o->worker]++;
        row->worker_tokens[o->worker] += s->trace->lines[i].input_tokens - o->cached_tokens;
        end = o->end_us > end ? o->end_us : end;
        values[n++] = (double)(o->end_us - o->due_us) / 1000;
    }
    row->digest = digest_of(s, outcomes);
    row->e2e = times_of(values, n);
    n = 0;
    for (size_t i = 0; i < s->n_requests; i++)
        if (!outcomes[i].refused)
            values[n++] = (double)(outcomes[i].first_us - outcomes[i].due_us) / 1000;
    row->ttft = times_of(values, n);
    for (size_t i = 0; i < WEIR_REPLAY_CURVE; i++)
        row->curve[i] =
            n > 0 ? quantile(values, n,
                             1 - pow(10, -WEIR_REPLAY_NINES * (double)i / (WEIR_REPLAY_CURVE - 1)))
                  : NAN;
    row->requests_balance = balance_of(row->worker_requests, s->n_workers);
    row->prefill_balance = balance_of(row->worker_tokens, s->n_workers);
    row->makespan_s = (double)end / 1e6;
}

enum weir_status weir_replay_row_fill(struct weir_replay_row *row, const char *name, bool is_mode,
                                      const struct weir_replay_setup *setup,
                                      const struct weir_replay_outcome *outcomes) {
    *row =
        (struct weir_replay_row){.name = name, .is_mode = is_mode, .requests = setup->n_requests};
    count_tokens(row, setup, outcomes);
    if (!is_mode)
        return WEIR_OK;
    row->worker_requests = weir_calloc(setup->n_workers, sizeof(*row->worker_requests));
    row->worker_tokens = weir_calloc(setup->n_workers, sizeof(*row->worker_tokens));
    double *values = weir_calloc(setup->n_requests, sizeof(*values));
    bool room = row->worker_requests != NULL && row->worker_tokens != NULL && values != NULL;
    if (room)
        measure_mode(row, setup, outcomes, values);
    weir_free(values);
    return room ? WEIR_OK : WEIR_NOMEM;
}

void weir_replay_row_fini(struct weir_replay_row *row) {
    weir_free(row->worker_requests);
    weir_free(row->worker_tokens);
}
