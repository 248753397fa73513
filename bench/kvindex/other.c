#include "bench/kvindex/bench.h"
#include "kvindex/kvi_persist.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- clocks ------------------------------------------------------------------------------- */

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t bench_wall(void) {
    return now(CLOCK_MONOTONIC);
}

uint64_t bench_cpu(void) {
    return now(CLOCK_THREAD_CPUTIME_ID);
}

double bench_rss_mb(void) {
    char line[256];
    double kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtod(line + 6, NULL);
    if (f != NULL)
        fclose(f);
    return kb / 1024;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

double bench_quantile_us(uint32_t *ns, size_t n, double q, uint32_t overhead_ns) {
    if (n == 0)
        return 0;
    qsort(ns, n, sizeof(*ns), by_value);
    uint32_t v = ns[(size_t)((double)(n - 1) * q)];
    return v > overhead_ns ? (v - overhead_ns) / 1000.0 : 0;
}

uint32_t bench_clock_overhead(void) {
    uint32_t ns[1001];
    for (int i = 0; i < 1001; i++) {
        uint64_t t = bench_wall();
        ns[i] = (uint32_t)(bench_wall() - t);
    }
    qsort(ns, 1001, sizeof(ns[0]), by_value);
    return ns[500];
}

/* ---- churn: measured 2.5 --------------------------------------------------------------------- */

enum { CHURN_WORKERS = 16, CHURN_BLOCKS = 65536, MAX_EVENT = 128 };

struct fifo { /* whole requests: the oldest goes first, its tail first */
    uint64_t *names;
    size_t head, n;
};

/* Stores the request's new blocks and evicts as many of the worker's oldest; returns block-ops. */
static uint64_t churn_request(struct kvi_index *x, struct fifo *f, uint32_t worker, uint64_t *L,
                              uint64_t *S, uint32_t n) {
    struct kvi_worker w = {worker, 0};
    struct kvi_block blocks[MAX_EVENT];
    uint64_t gone[MAX_EVENT], ops = 0;
    size_t over = f->n + n > CHURN_BLOCKS ? f->n + n - CHURN_BLOCKS : 0;
    while (over > 0) {
        size_t k = over < MAX_EVENT ? over : MAX_EVENT;
        for (size_t i = 0; i < k; i++)
            gone[i] = f->names[(f->head + i) % CHURN_BLOCKS];
        f->head = (f->head + k) % CHURN_BLOCKS;
        f->n -= k;
        over -= k;
        ops += k;
        kvi_remove(x, w, KVI_DEVICE, gone, k);
    }
    for (uint32_t i = 0; i < n; i += MAX_EVENT) {
        uint32_t k = n - i < MAX_EVENT ? n - i : MAX_EVENT;
        for (uint32_t j = 0; j < k; j++)
            blocks[j] = (struct kvi_block){S[i + j], L[i + j]};
        kvi_store(x, w, KVI_DEVICE, i > 0, i > 0 ? S[i - 1] : 0, blocks, k, NULL);
        ops += k;
    }
    for (uint32_t i = n; i-- > 0;)
        f->names[(f->head + f->n++) % CHURN_BLOCKS] = S[i];
    return ops;
}

int bench_churn(const struct gen_trace *trace, uint64_t ops) {
    struct kvi_options options = {.max_bytes = (size_t)2 << 30, .max_ranks = CHURN_WORKERS};
    struct kvi_index *x = kvi_create(&options);
    struct fifo fifo[CHURN_WORKERS];
    static uint64_t L[1 << 16], S[1 << 16];
    for (int i = 0; i < CHURN_WORKERS; i++)
        fifo[i] = (struct fifo){malloc(CHURN_BLOCKS * sizeof(uint64_t)), 0, 0};
    uint64_t done = 0, mark = ops / 10, since = 0, cpu = bench_cpu();
    for (uint64_t pass = 0; done < ops; pass++) {
        for (uint32_t t = 0; t < trace->n_lines && done < ops; t++) {
            uint32_t n = 0;
            for (uint32_t k = trace->first[t]; k < trace->first[t + 1]; k++)
                for (uint32_t i = 0; i < 32;
                     i++) /* fresh ids each pass; content need not be hashed */
                    L[n++] = kvi_block_hash((uint32_t[]){trace->ids[k], i, (uint32_t)pass, t}, 4,
                                            KVI_SEED);
            kvi_chain(L, n, S);
            done += churn_request(x, &fifo[t % CHURN_WORKERS], t % CHURN_WORKERS, L, S, n);
            if (done >= mark) {
                struct kvi_stats s;
                kvi_maintain(x);
                kvi_get_stats(x, &s);
                uint64_t c = bench_cpu();
                printf("{\"bench\":\"kvindex_churn\",\"ops\":%" PRIu64 ",\"live\":%" PRIu64
                       ",\"own_mb\":%.1f,\"bytes_per_live\":%.1f,\"rss_mb\":%.1f,"
                       "\"cpu_ns_per_op_with_hashing\":%.1f}\n",
                       done, s.entries, (double)s.bytes / 1e6, (double)s.bytes / (double)s.entries,
                       bench_rss_mb(), (double)(c - cpu) / (double)(done - since));
                fflush(stdout);
                cpu = c;
                since = done;
                mark += ops / 10;
            }
        }
    }
    for (int i = 0; i < CHURN_WORKERS; i++)
        free(fifo[i].names);
    kvi_destroy(x);
    return 0;
}

/* ---- one prompt at many workers ----------------------------------------------------------------
 */

/* The same lines of the trace at every worker: what a further holder of a block costs. */
int bench_shared(const struct gen_trace *trace, uint32_t workers) {
    enum { LINES = 400 };
    struct kvi_options options = {.max_bytes = (size_t)4 << 30, .max_ranks = workers};
    struct kvi_index *x = kvi_create(&options);
    static uint64_t L[1 << 16], S[1 << 16];
    size_t one = 0;
    for (uint32_t w = 0; w < workers; w++) {
        for (uint32_t t = 0; t < trace->n_lines && t < LINES; t++) {
            uint32_t n = 0;
            for (uint32_t k = trace->first[t]; k < trace->first[t + 1]; k++)
                for (uint32_t i = 0; i < 32; i++)
                    L[n++] = kvi_block_hash((uint32_t[]){trace->ids[k], i}, 2, KVI_SEED);
            kvi_chain(L, n, S);
            for (uint32_t i = 0; i < n; i += MAX_EVENT) {
                struct kvi_block blocks[MAX_EVENT];
                uint32_t k = n - i < MAX_EVENT ? n - i : MAX_EVENT;
                for (uint32_t j = 0; j < k; j++)
                    blocks[j] = (struct kvi_block){S[i + j], L[i + j]};
                kvi_store(x, (struct kvi_worker){w, 0}, KVI_DEVICE, i > 0, i > 0 ? S[i - 1] : 0,
                          blocks, k, NULL);
            }
        }
        struct kvi_stats s;
        kvi_get_stats(x, &s);
        one = w == 0 ? s.bytes : one;
        if (w == 0 || w + 1 == workers)
            printf("{\"bench\":\"kvindex_shared\",\"workers\":%u,\"lines\":%d,\"entries\":%" PRIu64
                   ",\"blocks\":%" PRIu64 ",\"own_mb\":%.2f,\"bytes_per_entry\":%.3f,"
                   "\"bytes_per_further_entry\":%.3f}\n",
                   w + 1, LINES, s.entries, s.blocks, (double)s.bytes / 1e6,
                   (double)s.bytes / (double)s.entries,
                   w > 0 ? (double)(s.bytes - one) / (double)(s.entries - s.blocks) : 0.0);
    }
    kvi_destroy(x);
    return 0;
}

/* ---- growth: no long stop -------------------------------------------------------------------- */

/* A snapshot and its way back into a fresh index. */
static int restart(struct kvi_index *x, uint64_t entries) {
    char file[] = "/tmp/weir-kvindex-XXXXXX";
    int fd = mkstemp(file);
    if (fd < 0)
        return 1;
    close(fd);
    struct kvi_options options = {.max_bytes = (size_t)16 << 30};
    struct kvi_index *y = kvi_create(&options);
    uint64_t t0 = bench_wall(), c0 = bench_cpu();
    enum kvi_file_result written = kvi_snapshot_write(x, file, NULL, 0);
    uint64_t t1 = bench_wall(), c1 = bench_cpu();
    enum kvi_file_result read = kvi_snapshot_read(y, file, NULL, NULL);
    uint64_t t2 = bench_wall(), c2 = bench_cpu();
    struct kvi_stats s;
    kvi_get_stats(y, &s);
    remove(file);
    kvi_destroy(y);
    printf("{\"bench\":\"kvindex_restart\",\"blocks\":%" PRIu64
           ",\"write_s\":%.2f,\"write_cpu_s\":%.2f,\"read_s\":%.2f,\"read_cpu_s\":%.2f}\n",
           s.entries, (double)(t1 - t0) / 1e9, (double)(c1 - c0) / 1e9, (double)(t2 - t1) / 1e9,
           (double)(c2 - c1) / 1e9);
    return written == KVI_FILE_OK && read == KVI_FILE_OK && s.entries == entries ? 0 : 1;
}

enum { GROW_PASSES = 3, GROW_EVENTS = 1 << 20 };

/* Worst time of as many pieces of plain arithmetic, some microseconds each: what the clock of a
 * thread has of the rest of the machine in it, interrupts and the host's own work. */
static uint64_t machine_worst(uint64_t pieces) {
    static volatile uint64_t sink;
    uint64_t worst = 0;
    for (uint64_t i = 0; i < pieces; i++) {
        uint64_t t = bench_cpu(), h = i ^ sink;
        for (int k = 0; k < 3000; k++)
            h = (h ^ h >> 29) * 0x9E3779B97F4A7C15u;
        sink = h;
        t = bench_cpu() - t;
        worst = t > worst ? t : worst;
    }
    return worst;
}

/* One growth; each event's time into ns where it is less than what stands there. */
static struct kvi_index *grow_once(uint64_t blocks, uint32_t *ns, uint64_t *worst,
                                   uint64_t *worst_wall) {
    struct kvi_options options = {.max_bytes = (size_t)16 << 30};
    struct kvi_index *x = kvi_create(&options);
    for (uint64_t i = 0; i < blocks; i += MAX_EVENT) {
        struct kvi_block b[MAX_EVENT];
        for (uint64_t k = 0; k < MAX_EVENT; k++)
            b[k] = (struct kvi_block){
                kvi_block_hash((uint32_t[]){(uint32_t)(i + k), 1}, 2, KVI_SEED), i + k};
        if (i / MAX_EVENT % 64 == 0)
            kvi_maintain(x); /* as an idle loop would */
        uint64_t wall = bench_wall(), t = bench_cpu();
        kvi_store(x, (struct kvi_worker){i / MAX_EVENT % 64, 0}, KVI_DEVICE, false, 0, b, MAX_EVENT,
                  NULL);
        t = bench_cpu() - t;
        wall = bench_wall() - wall;
        uint32_t *least = &ns[i / MAX_EVENT % GROW_EVENTS];
        *least = *least == 0 || t < *least ? (uint32_t)t : *least;
        if (i == 0)
            continue;
        *worst = t > *worst ? t : *worst;
        *worst_wall = wall > *worst_wall ? wall : *worst_wall;
    }
    return x;
}

/* The clock of the thread tells what an event costs; wall time has the other work of the machine in
 * it, and now and then that clock too. So the same growth is done three times: an event's cost is
 * the least of its three, the quantiles and writer_worst_us are of those; writer_worst_of_all_us is
 * the greatest ever seen, to be held against machine_worst_us. The first event, which brings the
 * index into being, is told apart. */
int bench_grow(uint64_t blocks) {
    static uint32_t ns[GROW_EVENTS];
    struct kvi_index *x = NULL;
    uint64_t of_all = 0, wall = 0, cpu = bench_cpu(), events = (blocks + MAX_EVENT - 1) / MAX_EVENT;
    for (int pass = 0; pass < GROW_PASSES; pass++) {
        kvi_destroy(x);
        x = grow_once(blocks, ns, &of_all, &wall);
    }
    cpu = bench_cpu() - cpu;
    struct kvi_stats s;
    kvi_get_stats(x, &s);
    uint32_t first = ns[0];
    size_t n = events < GROW_EVENTS ? (size_t)events : GROW_EVENTS;
    double p50 = bench_quantile_us(ns + 1, n - 1, 0.5, 0); /* sorts */
    printf(
        "{\"bench\":\"kvindex_grow\",\"blocks\":%" PRIu64 ",\"passes\":%d,\"writer_p50_us\":%.2f,"
        "\"writer_p99_us\":%.2f,\"writer_p999_us\":%.2f,\"writer_worst_us\":%.1f,"
        "\"writer_worst_of_all_us\":%.1f,\"machine_worst_us\":%.1f,"
        "\"writer_worst_wall_us\":%.1f,\"first_event_us\":%.1f,\"bytes_per_entry\":%.2f,"
        "\"cpu_s_with_generator\":%.2f}\n",
        s.entries, GROW_PASSES, p50, bench_quantile_us(ns + 1, n - 1, 0.99, 0),
        bench_quantile_us(ns + 1, n - 1, 0.999, 0), (double)ns[n - 1] / 1000, (double)of_all / 1000,
        (double)machine_worst(events * GROW_PASSES) / 1000, (double)wall / 1000,
        (double)first / 1000, (double)s.bytes / (double)s.entries, (double)cpu / GROW_PASSES / 1e9);
    int rc = restart(x, s.entries);
    kvi_destroy(x);
    return rc;
}

/* ---- hashing --------------------------------------------------------------------------------- */

int bench_hash(void) {
    enum { TOKENS = 100000, RUNS = 401 };
    static uint32_t tokens[TOKENS];
    static uint64_t local[TOKENS], sequence[TOKENS];
    static const uint32_t sizes[] = {16, 32, 64, 128};
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = i * 2654435761u;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        static uint32_t l[RUNS], s[RUNS], both[RUNS];
        size_t n = 0;
        for (int i = 0; i < RUNS; i++) {
            uint64_t a = bench_wall();
            n = kvi_hash_blocks(tokens, TOKENS, sizes[k], KVI_SEED, false, local, TOKENS);
            uint64_t b = bench_wall();
            kvi_chain(local, n, sequence);
            uint64_t c = bench_wall();
            kvi_hash_and_chain(tokens, TOKENS, sizes[k], KVI_SEED, false, local, sequence, TOKENS);
            uint64_t d = bench_wall();
            l[i] = (uint32_t)(b - a);
            s[i] = (uint32_t)(c - b);
            both[i] = (uint32_t)(d - c);
        }
        printf("{\"bench\":\"kvindex_hash\",\"tokens\":%d,\"block_size\":%u,\"blocks\":%zu,"
               "\"local_us\":%.2f,\"chain_us\":%.2f,\"both_us\":%.2f,\"last\":\"%016" PRIx64
               "\"}\n",
               TOKENS, sizes[k], n, bench_quantile_us(l, RUNS, 0.5, 0),
               bench_quantile_us(s, RUNS, 0.5, 0), bench_quantile_us(both, RUNS, 0.5, 0),
               sequence[n - 1]);
    }
    return 0;
}
