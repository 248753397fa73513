/*
 * What the machine asks for a cell whatever the index does, as far as it is made like ours: an
 * event's bytes are read once, a block that comes is written once to fresh memory, and of every
 * name that comes or goes one line of a table of that size is changed; a look-up reads the blocks
 * that match of its own query and nothing of a tree. All lines of an event, and of a query, are
 * fetched before the first is used. No searching, no holders, no comparing, no growth: a goal below
 * these figures cannot be reached by a better program of this kind.
 */
#include "bench/kvindex/bench.h"
#include "kvindex/kvi.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    BLOCKS = 128,   /* an event at most */
    LINE_WORDS = 8, /* of a cache line */
    NAMES_A_LINE =
        10, /* of which three quarters are taken when a table is split, half of that then */
    FILL_OF_100 = 60,
    HUGE_BYTES = 2 << 20
};

/* One event: its words, and the names of those blocks that came into the tree or left it, every
 * `apart` words. */
struct step {
    const uint64_t *words, *names;
    uint32_t n_words, n_names, apart;
    bool stored;
};
struct floor {
    struct step *steps;
    size_t n_steps;
    uint64_t ops, most; /* blocks in the tree at one time */
};

static uint64_t blocks_of(struct kvi_index *x) {
    struct kvi_stats s;
    kvi_get_stats(x, &s);
    return s.blocks;
}

/* The events of the records through a real index, which says what came and went. */
static void find_steps(const struct gen_work *w, struct kvi_index *x, struct floor *f) {
    uint64_t before = 0;
    for (size_t at = 0; at < w->n_words;) {
        const uint64_t *r = w->words + at;
        uint32_t type = r[0] & 255, n = (uint32_t)(r[0] >> 32);
        const uint64_t *body = r + (type == GEN_STORED ? 2 : 1);
        if (type == GEN_QUERY) {
            at += (size_t)n + 4;
            continue;
        }
        bool stored = type != GEN_REMOVED;
        struct kvi_event e = {.worker = {r[0] >> 8 & 0xFFFFFF, 0}, .n = n};
        e.kind = stored ? KVI_STORED : KVI_REMOVED;
        e.blocks = (const struct kvi_block *)(const void *)body;
        e.removed = body;
        e.has_parent = type == GEN_STORED;
        e.parent_hash = e.has_parent ? r[1] : 0;
        kvi_apply(x, &e, 1, NULL);
        uint64_t now = blocks_of(x);
        uint32_t names = (uint32_t)(now > before ? now - before : before - now);
        uint32_t apart = stored ? 2 : 1;
        names = names < n ? names : n;
        f->steps[f->n_steps++] = (struct step){
            body, body + (size_t)(n - names) * apart, n * apart, names, apart, stored};
        f->ops += n;
        f->most = now > f->most ? now : f->most;
        before = now;
        at += (size_t)(body - r) + (size_t)n * apart;
    }
}

static uint64_t *fresh(size_t bytes, void **ret_raw) {
    uint8_t *p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes + HUGE_BYTES, MADV_HUGEPAGE);
    *ret_raw = p;
    return (uint64_t *)(void *)(p + (HUGE_BYTES - (uintptr_t)p % HUGE_BYTES) % HUGE_BYTES);
}

static double apply_floor(const struct floor *f, uint64_t *ret_sum) {
    size_t lines = (size_t)f->most * 100 / FILL_OF_100 / NAMES_A_LINE + 1,
           room = (size_t)f->most * 2 + 2 * BLOCKS;
    size_t bytes = (lines * LINE_WORDS + room) * sizeof(uint64_t), next = 0;
    void *raw;
    uint64_t *table = fresh(bytes, &raw), sum = 0;
    if (table == NULL)
        return 0;
    uint64_t *blocks = table + lines * LINE_WORDS, cpu = bench_cpu();
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct step *s = &f->steps[i];
        uint64_t *line[BLOCKS];
        for (uint32_t k = 0; k < s->n_words; k++)
            sum += s->words[k];
        for (uint32_t k = 0; k < s->n_names; k++) {
            uint64_t h = s->names[(size_t)k * s->apart] * 0x9E3779B97F4A7C15u;
            line[k] = table + (size_t)((h >> 32) * lines >> 32) * LINE_WORDS;
            __builtin_prefetch(line[k], 0, 2);
        }
        next = next + 2 * BLOCKS > room ? 0 : next;
        for (uint32_t k = 0; s->stored && k < 2 * s->n_names; k++)
            blocks[next++] = s->names[k];
        for (uint32_t k = 0; k < s->n_names; k++)
            line[k][0]++;
    }
    cpu = bench_cpu() - cpu;
    munmap(raw, bytes + HUGE_BYTES);
    *ret_sum += sum;
    return (double)cpu / (double)f->ops;
}

/* The second half of the queries, each one's blocks that match anywhere. */
static size_t find_depths(const struct gen_work *w, struct kvi_index *x, const uint64_t **ret_query,
                          uint32_t *ret_depth) {
    struct kvi_reader *reader = kvi_reader_open(x);
    uint64_t seen = 0;
    size_t n = 0;
    for (size_t at = 0; at < w->n_words && reader != NULL;) {
        const uint64_t *r = w->words + at;
        uint32_t type = r[0] & 255, count = (uint32_t)(r[0] >> 32), best = 0;
        if (type != GEN_QUERY) {
            at += (type == GEN_STORED ? 2 : 1) + (size_t)count * (type == GEN_REMOVED ? 1 : 2);
            continue;
        }
        if (seen++ >= w->queries / 2) {
            struct kvi_match m;
            kvi_match(reader, r + 1, count, false, &m);
            for (uint32_t i = 0; i < m.n_ranks; i++)
                best = m.device[i] > best ? m.device[i] : best;
            ret_query[n] = r + 1;
            ret_depth[n++] = best;
        }
        at += (size_t)count + 4;
    }
    kvi_reader_close(reader);
    return n;
}

static void find_floor(const uint64_t *const *query, const uint32_t *depth, size_t n, uint32_t *ns,
                       uint64_t *ret_sum) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t t = bench_wall();
        for (uint32_t k = 0; k < depth[i]; k += LINE_WORDS)
            __builtin_prefetch(query[i] + k, 0, 2);
        for (uint32_t k = 0; k < depth[i]; k++)
            sum += query[i][k];
        ns[i] = (uint32_t)(bench_wall() - t);
    }
    *ret_sum += sum;
}

static int by_number(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int bench_floor(const struct gen_trace *trace, const struct gen_cell *cell, unsigned runs) {
    enum { MOST_RUNS = 32 };
    struct gen_work w;
    if (!gen_work_make(trace, cell, &w))
        return 1;
    struct kvi_options o = {.max_bytes = (size_t)8 << 30, .max_ranks = cell->workers};
    struct kvi_index *x = kvi_create(&o);
    struct floor f = {.steps = malloc(w.n_records * sizeof(*f.steps))};
    const uint64_t **query = malloc((w.queries + 1) * sizeof(*query));
    uint32_t *depth = malloc((w.queries + 1) * sizeof(*depth)),
             *ns = malloc((w.queries + 1) * sizeof(*ns));
    if (x == NULL || f.steps == NULL || query == NULL || depth == NULL || ns == NULL)
        return 1;
    double cpu[MOST_RUNS];
    uint64_t sum = 0; /* printed, so that nothing is left out */
    runs = runs < MOST_RUNS ? runs : MOST_RUNS;
    find_steps(&w, x, &f);
    for (unsigned i = 0; i < runs; i++)
        cpu[i] = apply_floor(&f, &sum);
    qsort(cpu, runs, sizeof(cpu[0]), by_number);
    size_t n = find_depths(&w, x, query, depth);
    for (int pass = 0; pass < 2; pass++) /* the first warms up */
        find_floor(query, depth, n, ns, &sum);
    uint32_t overhead = bench_clock_overhead();
    printf("{\"bench\":\"kvindex_floor\",\"cell\":\"%u,%u,%u\",\"cpu_ns_per_op\":%.2f,\"cpu_ns_"
           "min\":%.2f,"
           "\"lookup_p50_us\":%.3f,\"lookup_p99_us\":%.3f,\"depth_p50\":%.0f,\"sum\":%u}\n",
           cell->bs, cell->workers, cell->dup, cpu[runs / 2], cpu[0],
           bench_quantile_us(ns, n, 0.5, overhead), bench_quantile_us(ns, n, 0.99, overhead),
           bench_quantile_us(depth, n, 0.5, 0) * 1000, (unsigned)(sum & 255));
    kvi_destroy(x);
    free(f.steps);
    free(query);
    free(depth);
    free(ns);
    gen_work_free(&w);
    return 0;
}
