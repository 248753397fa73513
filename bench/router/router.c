/*
 * bench/router: cost of the admission queue and of a decision, one JSON line per figure. Arguments:
 * [waiting] [rounds]
 *
 * Queue: N requests of many tenants and priorities wait; each step pops the next one and pushes a
 * new one. CPU time, per push and per pop, the median and the least of the rounds.
 *
 * Decision: 1,000 workers, prompts of 100,000 tokens. Each prompt is held whole by some workers and
 * by half by others; thousands of requests run. Timed one by one in CPU time: the decision (search,
 * cost, choice) as a query that books nothing, and weir_router_route with the booking.
 */
#include "router/router.h"
#include "base/rng.h"
#include "router/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 50000, MAX_ROUNDS = 101 };

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void fill(struct weir_queue_item *x, unsigned tenants, struct weir_rng *rng) {
    *x = (struct weir_queue_item){.strict_priority = (uint32_t)weir_rng_below(rng, 4),
                                  .priority_jump = (double)weir_rng_below(rng, 10),
                                  .uncached_tokens = (uint64_t)weir_rng_exp(rng, 4000),
                                  .tenant = weir_rng_below(rng, tenants)};
}

static int measure(enum weir_queue_policy policy, const char *name, unsigned tenants, size_t n,
                   unsigned rounds) {
    struct weir_queue_config c = {.policy = policy, .max_requests = n + 1};
    struct weir_queue *q = NULL;
    struct weir_queue_refusal f;
    struct weir_rng rng;
    double push[MAX_ROUNDS], pop[MAX_ROUNDS];
    struct weir_queue_item *items = calloc(n, sizeof(*items)), **popped;
    popped = calloc(STEPS, sizeof(*popped));
    weir_rng_seed(&rng, 1);
    if (items == NULL || popped == NULL || weir_queue_create(&c, &q) != WEIR_OK)
        return 1;
    for (size_t i = 0; i < n; i++) {
        fill(&items[i], tenants, &rng);
        if (weir_queue_push(q, &items[i], i / 100, &f) != WEIR_OK)
            return 1;
    }
    size_t steps = n < STEPS ? n / 2 : STEPS;
    for (unsigned k = 0; k < rounds; k++) {
        uint64_t now = n / 100 + k;
        double begin = cpu_ns();
        for (size_t i = 0; i < steps; i++) {
            popped[i] = weir_queue_peek(q);
            weir_queue_pop(q, popped[i], now);
        }
        double middle = cpu_ns();
        for (size_t i = 0; i < steps; i++)
            fill(popped[i], tenants, &rng);
        double again = cpu_ns();
        for (size_t i = 0; i < steps; i++)
            if (weir_queue_push(q, popped[i], now, &f) != WEIR_OK)
                return 1;
        pop[k] = (middle - begin) / (double)steps;
        push[k] = (cpu_ns() - again) / (double)steps;
    }
    qsort(push, rounds, sizeof(*push), by_value);
    qsort(pop, rounds, sizeof(*pop), by_value);
    printf("{\"bench\":\"router_queue\",\"policy\":\"%s\",\"waiting\":%zu,\"tenants\":%u,"
           "\"push_ns\":%.0f,\"pop_ns\":%.0f,\"push_ns_least\":%.0f,\"pop_ns_least\":%.0f}\n",
           name, n, tenants, push[rounds / 2], pop[rounds / 2], push[0], pop[0]);
    weir_queue_destroy(q);
    free(items);
    free(popped);
    return 0;
}

/* ---- decisions ------------------------------------------------------------------------------- */

enum {
    WORKERS = 1000,
    PROMPT_TOKENS = 100000,
    PROMPTS = 64,
    WHOLE = 4, /* workers that hold a prompt */
    HALF = 12, /* and its first half */
    RUNNING = 4000,
    DECISIONS = 20000,
};

struct prompt {
    uint64_t *local, *sequence; /* owned */
    struct weir_kv_block *blocks;
};

static void tell(struct weir_router *r, struct weir_rng *rng, const struct prompt *p, size_t n) {
    struct weir_kv_event e = {.worker_id = weir_rng_below(rng, WORKERS),
                              .kind = WEIR_KV_STORED,
                              .blocks = p->blocks,
                              .n_blocks = n};
    weir_router_kv_event(r, &e);
}

static int make_prompts(struct prompt *prompts, size_t n, struct weir_rng *rng) {
    for (int i = 0; i < PROMPTS; i++) {
        struct prompt *p = &prompts[i];
        p->local = calloc(n, sizeof(*p->local));
        p->sequence = calloc(n, sizeof(*p->sequence));
        p->blocks = calloc(n, sizeof(*p->blocks));
        if (p->local == NULL || p->sequence == NULL || p->blocks == NULL)
            return 1;
        for (size_t k = 0; k < n; k++) {
            p->local[k] = weir_rng_u64(rng);
            p->sequence[k] = weir_rng_u64(rng);
            p->blocks[k] = (struct weir_kv_block){p->sequence[k], p->local[k]};
        }
    }
    return 0;
}

static int measure_decisions(uint32_t block_size, uint64_t window_ms, unsigned tenants) {
    static struct prompt prompts[PROMPTS];
    static double took[DECISIONS], decided[DECISIONS];
    static uint64_t bookings[RUNNING];
    struct weir_router_config c;
    struct weir_router *r = NULL;
    struct weir_rng rng;
    size_t n = PROMPT_TOKENS / block_size;
    weir_rng_seed(&rng, 1);
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = block_size;
    c.tenant_window_ms = window_ms;
    c.index_max_bytes = (size_t)4 << 30;
    if (weir_router_create(&c, &r) != WEIR_OK || make_prompts(prompts, n, &rng) != 0)
        return 1;
    for (uint64_t id = 0; id < WORKERS; id++)
        if (weir_router_worker_put(
                r, &(struct weir_router_worker){
                       .worker_id = id, .dp_size = 1, .max_num_batched_tokens = 8192}) != WEIR_OK)
            return 1;
    for (int i = 0; i < PROMPTS; i++)
        for (int k = 0; k < WHOLE + HALF; k++)
            tell(r, &rng, &prompts[i], k < WHOLE ? n : n / 2);
    for (int i = 0; i < RUNNING + DECISIONS; i++) {
        const struct prompt *p = &prompts[weir_rng_below(&rng, PROMPTS)];
        uint64_t *slot = &bookings[i % RUNNING];
        struct weir_route route;
        struct weir_route_query q = {.local_hashes = p->local,
                                     .sequence_hashes = p->sequence,
                                     .n_blocks = n,
                                     .isl_tokens = PROMPT_TOKENS,
                                     .pinned_rank = -1,
                                     .tenant = weir_rng_below(&rng, tenants),
                                     .rng = &rng,
                                     .now_ms = (uint64_t)i};
        weir_router_free(r, *slot);
        double begin = cpu_ns();
        q.query_only = true;
        if (i >= RUNNING && weir_router_route(r, &q, &route) != WEIR_OK)
            return 1;
        double middle = cpu_ns();
        q.query_only = false;
        if (weir_router_route(r, &q, &route) != WEIR_OK)
            return 1;
        if (i >= RUNNING) {
            took[i - RUNNING] = cpu_ns() - middle;
            decided[i - RUNNING] = middle - begin;
        }
        *slot = route.booking;
        if (i % 4 > 0) /* a fourth of those that run are in prefill */
            weir_router_prefill_done(r, route.booking);
    }
    qsort(took, DECISIONS, sizeof(*took), by_value);
    qsort(decided, DECISIONS, sizeof(*decided), by_value);
    printf("{\"bench\":\"router_decision\",\"workers\":%d,\"prompt_tokens\":%d,\"block_size\":%u,"
           "\"running\":%d,\"tenants\":%u,\"shares\":%s,\"decision_p50_ns\":%.0f,\"decision_p99_"
           "ns\":%.0f,\"booked_p50_ns\":%.0f,"
           "\"booked_p99_ns\":%.0f}\n",
           WORKERS, PROMPT_TOKENS, block_size, RUNNING, tenants, window_ms > 0 ? "true" : "false",
           decided[DECISIONS / 2], decided[DECISIONS * 99 / 100], took[DECISIONS / 2],
           took[DECISIONS * 99 / 100]);
    weir_router_destroy(r);
    for (int i = 0; i < PROMPTS; i++) {
        free(prompts[i].local);
        free(prompts[i].sequence);
        free(prompts[i].blocks);
    }
    return 0;
}

int main(int argc, char **argv) {
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 9;
    int failed = n < 2 || rounds == 0 || rounds > MAX_ROUNDS;
    static const unsigned tenants[] = {1, 100, 10000};
    for (int i = 0; i < 3 && !failed; i++)
        failed = measure(WEIR_QUEUE_FCFS, "fcfs", tenants[i], n, rounds) ||
                 measure(WEIR_QUEUE_WSPT, "wspt", tenants[i], n, rounds);
    for (uint32_t block_size = 16; block_size <= 64 && !failed; block_size *= 4)
        failed = measure_decisions(block_size, 0, 1) || measure_decisions(block_size, 60000, 100);
    return failed;
}
