/*
 * bench/router: cost of the admission queue, one JSON line per figure. N requests of many tenants
 * and priorities wait; each step pops the next one and pushes a new one. CPU time, per push and per
 * pop, the median and the least of the rounds. Arguments: [waiting] [rounds]
 */
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

int main(int argc, char **argv) {
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 9;
    int failed = n < 2 || rounds == 0 || rounds > MAX_ROUNDS;
    static const unsigned tenants[] = {1, 100, 10000};
    for (int i = 0; i < 3 && !failed; i++)
        failed = measure(WEIR_QUEUE_FCFS, "fcfs", tenants[i], n, rounds) ||
                 measure(WEIR_QUEUE_WSPT, "wspt", tenants[i], n, rounds);
    return failed;
}
