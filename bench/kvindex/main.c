/*
 * Bench of the KV index on the workload of the shared spec "measured" 1. One JSON line a figure.
 *
 *   kvindex --trace FILE [--cell BS,WORKERS,DUP]... [--events N] [--alias] [--runs N] [--keep-up]
 *           [--cap-tokens N] [--lines N] [--peer PROGRAM] [--floor] [--json]
 *   kvindex --trace FILE --churn OPS | --shared WORKERS     kvindex --grow BLOCKS     kvindex
 * --hash
 *
 * A cell's generated records are checked against the published counts, checksum and score sums
 * before anything is timed, and every single query is compared with the generator's own caches.
 * Events are built outside the clock and handed over in batches of up to 128 blocks, as a network
 * message holds them; the clock stops when the last one is applied.
 */
#include "bench/kvindex/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CELLS = 16 };

static int usage(void) {
    fprintf(stderr, "usage: kvindex --trace FILE [--cell BS,WORKERS,DUP]... [--events N] [--alias] "
                    "[--runs N] [--keep-up] [--cap-tokens N] [--lines N] [--peer PROGRAM] "
                    "[--floor] [--json]\n"
                    "       kvindex --trace FILE --churn OPS | --shared WORKERS\n"
                    "       kvindex --grow BLOCKS | --hash\n");
    return 2;
}

static bool parse_cell(const char *text, struct gen_cell *ret) {
    char *end;
    ret->bs = (uint32_t)strtoul(text, &end, 10);
    if (*end != ',')
        return false;
    ret->workers = (uint32_t)strtoul(end + 1, &end, 10);
    if (*end != ',')
        return false;
    ret->dup = (uint32_t)strtoul(end + 1, &end, 10);
    return *end == '\0';
}

int main(int argc, char **argv) {
    static const struct gen_cell standard[] = {{16, 1, 1, 0},    {16, 64, 1, 0},
                                               {16, 64, 4, 0},   {16, 1024, 1, 0},
                                               {128, 64, 20, 0}, {128, 1024, 20, 0}};
    struct bench_options o = {.max_event = 128, .runs = 3};
    struct gen_cell cells[MAX_CELLS];
    size_t n_cells = 0;
    uint64_t cap_tokens = 1 << 20, churn = 0, grow = 0;
    const char *path = NULL;
    uint32_t lines = 0, shared = 0;
    bool hash = false, floor = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--json") == 0) /* the only form there is */
            continue;
        if (strcmp(a, "--alias") == 0)
            o.alias = true;
        else if (strcmp(a, "--keep-up") == 0)
            o.keep_up = true;
        else if (strcmp(a, "--hash") == 0)
            hash = true;
        else if (strcmp(a, "--floor") == 0)
            floor = true;
        else if (v == NULL)
            return usage();
        else if (++i, strcmp(a, "--trace") == 0)
            path = v;
        else if (strcmp(a, "--events") == 0)
            o.max_event = (uint32_t)strtoul(v, NULL, 10);
        else if (strcmp(a, "--runs") == 0)
            o.runs = (unsigned)strtoul(v, NULL, 10);
        else if (strcmp(a, "--cap-tokens") == 0)
            cap_tokens = strtoull(v, NULL, 10);
        else if (strcmp(a, "--lines") == 0)
            lines = (uint32_t)strtoul(v, NULL, 10);
        else if (strcmp(a, "--peer") == 0)
            o.peer = v;
        else if (strcmp(a, "--churn") == 0)
            churn = strtoull(v, NULL, 10);
        else if (strcmp(a, "--shared") == 0)
            shared = (uint32_t)strtoul(v, NULL, 10);
        else if (strcmp(a, "--grow") == 0)
            grow = strtoull(v, NULL, 10);
        else if (strcmp(a, "--cell") != 0 || n_cells == MAX_CELLS ||
                 !parse_cell(v, &cells[n_cells++]))
            return usage();
    }
    if (hash)
        return bench_hash();
    if (grow > 0)
        return bench_grow(grow);
    struct gen_trace trace;
    if (path == NULL || o.max_event == 0 || o.runs == 0)
        return usage();
    if (!gen_trace_read(path, lines, &trace)) {
        fprintf(stderr, "kvindex: cannot read a trace from %s\n", path);
        return 1;
    }
    if (churn > 0)
        return bench_churn(&trace, churn);
    if (shared > 0)
        return bench_shared(&trace, shared);
    if (n_cells == 0)
        for (; n_cells < sizeof(standard) / sizeof(standard[0]); n_cells++)
            cells[n_cells] = standard[n_cells];
    int failed = 0;
    for (size_t i = 0; i < n_cells; i++) {
        cells[i].cap_tokens = cap_tokens;
        failed |= floor ? bench_floor(&trace, &cells[i], o.runs)
                        : bench_cell(&trace, lines == 0, &cells[i], &o);
    }
    gen_trace_free(&trace);
    return failed;
}
