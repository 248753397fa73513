#include "bench/kvindex/bench.h"
#include "kvindex/kvi.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_BLOCKS = 128, CHUNK = 1 << 15 };

/* ---- records to events -------------------------------------------------------------------- */

/* Walks the records and cuts events to at most max_event blocks. */
struct feed {
    const struct gen_work *w;
    uint32_t max_event;
    size_t at; /* word of the record */
    uint32_t done;
    const uint64_t *query; /* the record is a query of n_query blocks and three sums */
    uint32_t n_query;
};

static bool next_event(struct feed *f, struct kvi_event *e, bool *ret_query) {
    if (f->at >= f->w->n_words)
        return false;
    const uint64_t *r = f->w->words + f->at;
    uint32_t type = r[0] & 255, worker = (uint32_t)(r[0] >> 8 & 0xFFFFFF);
    uint32_t count = (uint32_t)(r[0] >> 32), left = count - f->done;
    uint32_t n = left < f->max_event ? left : f->max_event;
    const uint64_t *body = r + (type == GEN_STORED ? 2 : 1);
    *ret_query = type == GEN_QUERY;
    if (type == GEN_QUERY) {
        f->query = body;
        f->n_query = count;
        f->at += count + 4;
        return true;
    }
    *e = (struct kvi_event){.worker = {worker, 0}, .n = n};
    if (type == GEN_REMOVED) {
        e->kind = KVI_REMOVED;
        e->removed = body + f->done;
    } else {
        e->kind = KVI_STORED;
        e->blocks = (const struct kvi_block *)(const void *)(body + 2 * (size_t)f->done);
        e->has_parent = f->done > 0 || type == GEN_STORED;
        e->parent_hash = f->done > 0 ? e->blocks[-1].block_hash : type == GEN_STORED ? r[1] : 0;
    }
    f->done += n;
    if (f->done == count) {
        f->done = 0;
        f->at += (size_t)(body - r) + (size_t)count * (type == GEN_REMOVED ? 1 : 2);
    }
    return true;
}

static uint64_t salt(uint64_t worker) {
    uint64_t x = (worker + 1) * 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

/* Every worker calls the same blocks by other names. */
static void salt_names(struct gen_work *w) {
    for (size_t at = 0; at < w->n_words;) {
        uint64_t *r = w->words + at, s = salt(r[0] >> 8 & 0xFFFFFF);
        uint32_t type = r[0] & 255, count = (uint32_t)(r[0] >> 32);
        uint64_t *body = r + (type == GEN_STORED ? 2 : 1);
        if (type == GEN_STORED)
            r[1] ^= s;
        for (uint32_t i = 0; type != GEN_QUERY && i < count; i++)
            body[type == GEN_REMOVED ? i : 2 * i] ^= s;
        at += (size_t)(body - r) + (type == GEN_QUERY     ? (size_t)count + 3
                                    : type == GEN_REMOVED ? count
                                                          : (size_t)count * 2);
    }
}

/* ---- passes ------------------------------------------------------------------------------- */

static struct kvi_index *new_index(const struct gen_cell *cell) {
    struct kvi_options o = {.max_bytes = (size_t)8 << 30, .max_ranks = cell->workers};
    struct kvi_index *x = kvi_create(&o);
    if (x == NULL) {
        fprintf(stderr, "kvindex: no memory for an index\n");
        exit(1);
    }
    return x;
}

static uint64_t failures(struct kvi_index *x) {
    struct kvi_stats s;
    kvi_get_stats(x, &s);
    uint64_t n = s.evicted;
    for (int k = 0; k < KVI_KINDS; k++)
        for (int r = KVI_OK + 1; r < KVI_RESULTS; r++)
            n += s.events[k][r];
    return n;
}

/* Every query against the state it belongs to; false: some answer differs. */
static bool check_pass(const struct gen_work *w, uint32_t max_event) {
    struct kvi_index *x = new_index(&w->cell);
    struct kvi_reader *reader = kvi_reader_open(x);
    struct feed f = {.w = w, .max_event = max_event};
    struct kvi_event e;
    uint64_t wrong = 0;
    bool is_query;
    while (next_event(&f, &e, &is_query)) {
        if (!is_query) {
            kvi_apply(x, &e, 1, NULL);
            continue;
        }
        struct kvi_match m;
        uint64_t sum = 0, best = 0, scored = 0;
        kvi_match(reader, f.query, f.n_query, false, &m);
        for (uint32_t i = 0; i < m.n_ranks; i++) {
            sum += m.device[i];
            scored += m.device[i] > 0;
            best = m.device[i] > best ? m.device[i] : best;
        }
        const uint64_t *want = f.query + f.n_query;
        wrong += sum != want[0] || best != want[1] || scored != want[2];
    }
    uint64_t failed = failures(x);
    kvi_reader_close(reader);
    kvi_destroy(x);
    if (wrong + failed > 0)
        fprintf(stderr, "kvindex: %" PRIu64 " answers differ, %" PRIu64 " events failed\n", wrong,
                failed);
    return wrong + failed == 0;
}

struct applied {
    uint64_t ops, cpu, wall;
};

static void apply_chunk(struct kvi_index *x, const struct kvi_event *e, size_t n,
                        struct applied *a) {
    uint64_t wall = bench_wall(), cpu = bench_cpu();
    for (size_t i = 0; i < n;) {
        size_t k = 1, blocks = e[i].n;
        while (i + k < n && blocks + e[i + k].n <= BATCH_BLOCKS)
            blocks += e[i + k++].n;
        kvi_apply(x, e + i, k, NULL);
        a->ops += blocks;
        i += k;
    }
    a->cpu += bench_cpu() - cpu;
    a->wall += bench_wall() - wall;
}

/* Applies all events; from record word `until` on they are left out (0 = none). */
static struct applied apply_pass(struct kvi_index *x, struct feed *f, size_t until) {
    static struct kvi_event chunk[CHUNK];
    struct applied a = {0};
    size_t n = 0;
    bool is_query;
    while ((until == 0 || f->at < until) && next_event(f, &chunk[n], &is_query)) {
        n += !is_query;
        if (n == CHUNK) {
            apply_chunk(x, chunk, n, &a);
            n = 0;
        }
    }
    apply_chunk(x, chunk, n, &a);
    return a;
}

/* ---- look-ups ----------------------------------------------------------------------------- */

struct query {
    const uint64_t *hashes;
    uint32_t n;
};

static size_t second_half(const struct gen_work *w, struct query *ret, size_t *ret_word) {
    struct feed f = {.w = w, .max_event = UINT32_MAX};
    struct kvi_event e;
    bool is_query;
    uint64_t seen = 0;
    size_t n = 0, before = 0;
    for (; next_event(&f, &e, &is_query); before = f.at)
        if (is_query && seen++ >= w->queries / 2) {
            if (n == 0)
                *ret_word = before;
            ret[n++] = (struct query){f.query, f.n_query};
        }
    return n;
}

struct latency {
    double p50, p99, p999, mean;
};

static struct latency summary(uint32_t *ns, size_t n) {
    uint32_t overhead = bench_clock_overhead();
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ns[i] - overhead;
    return (struct latency){bench_quantile_us(ns, n, 0.5, overhead),
                            bench_quantile_us(ns, n, 0.99, overhead),
                            bench_quantile_us(ns, n, 0.999, overhead), sum / (double)n / 1000};
}

/* As a router that has just computed them finds a prompt's hashes: in the caches. */
static void read_hashes(const struct query *q) {
    for (uint32_t i = 0; i < q->n; i++)
        (void)*(const volatile uint64_t *)&q->hashes[i];
}

/* Without `hot` a prompt's hashes come from memory that nobody has touched since the last pass. */
static struct latency time_match(struct kvi_reader *r, const struct query *q, size_t n,
                                 uint32_t *ns, bool hot) {
    struct kvi_match m;
    for (size_t i = 0; i < n; i++) {
        if (hot)
            read_hashes(&q[i]);
        uint64_t t = bench_wall();
        kvi_match(r, q[i].hashes, q[i].n, false, &m);
        ns[i] = (uint32_t)(bench_wall() - t);
    }
    return summary(ns, n);
}

static struct latency time_find(struct kvi_reader *r, const struct query *q, size_t n, uint32_t *ns,
                                uint32_t workers) {
    struct kvi_score *scores = malloc(workers * sizeof(*scores));
    for (size_t i = 0; scores != NULL && i < n; i++) {
        uint64_t t = bench_wall();
        kvi_find(r, q[i].hashes, q[i].n, false, scores, workers);
        ns[i] = (uint32_t)(bench_wall() - t);
    }
    free(scores);
    return summary(ns, n);
}

/* The second half's events at half of the drained speed while this thread asks without pause. */
struct pacing {
    struct kvi_index *x;
    struct feed feed;
    double ops_per_ns;
    atomic_bool done;
    struct applied applied;
    uint64_t worst_ns; /* longest single batch */
};

static void *pace(void *arg) {
    struct pacing *p = arg;
    uint64_t start = bench_wall();
    struct kvi_event e;
    bool is_query;
    while (next_event(&p->feed, &e, &is_query)) {
        if (is_query)
            continue;
        while ((double)p->applied.ops > (double)(bench_wall() - start) * p->ops_per_ns)
            ;
        uint64_t t = bench_wall();
        kvi_apply(p->x, &e, 1, NULL);
        t = bench_wall() - t;
        p->worst_ns = t > p->worst_ns ? t : p->worst_ns;
        p->applied.ops += e.n;
    }
    p->applied.wall = bench_wall() - start;
    atomic_store(&p->done, true);
    return NULL;
}

static void keep_up(const struct gen_work *w, const struct query *q, size_t n, size_t half,
                    double ops_per_ns, uint32_t max_event) {
    enum { MOST = 1 << 22 };
    struct kvi_index *x = new_index(&w->cell);
    struct kvi_reader *r = kvi_reader_open(x);
    uint32_t *ns = malloc(MOST * sizeof(*ns));
    struct pacing p = {.x = x, .feed = {.w = w, .max_event = max_event}};
    apply_pass(x, &p.feed, half);
    p.ops_per_ns = ops_per_ns / 2;
    pthread_t writer;
    if (ns == NULL || pthread_create(&writer, NULL, pace, &p) != 0)
        exit(1);
    size_t asked = 0;
    struct kvi_match m;
    while (!atomic_load(&p.done)) {
        const struct query *at = &q[asked % n];
        uint64_t t = bench_wall();
        kvi_match(r, at->hashes, at->n, false, &m);
        ns[asked++ % MOST] = (uint32_t)(bench_wall() - t);
    }
    pthread_join(writer, NULL);
    struct latency l = summary(ns, asked < MOST ? asked : MOST);
    printf("{\"bench\":\"kvindex_keep_up\",\"cell\":\"%u,%u,%u\",\"events\":%u,"
           "\"paced_mops\":%.1f,\"wall_mops\":%.1f,\"asked\":%zu,\"lookup_p50_us\":%.3f,"
           "\"lookup_p99_us\":%.3f,\"lookup_p999_us\":%.3f,\"writer_worst_us\":%.1f}\n",
           w->cell.bs, w->cell.workers, w->cell.dup, max_event, p.ops_per_ns * 1000,
           (double)p.applied.ops / (double)p.applied.wall * 1000, asked, l.p50, l.p99, l.p999,
           (double)p.worst_ns / 1000);
    free(ns);
    kvi_reader_close(r);
    kvi_destroy(x);
}

/* ---- one cell ------------------------------------------------------------------------------- */

static bool as_published(const struct gen_work *w) {
    const struct gen_work *p = gen_published(&w->cell);
    if (p == NULL)
        return true;
    bool same = p->queries == w->queries && p->query_blocks == w->query_blocks &&
                p->stored_events == w->stored_events && p->stored == w->stored &&
                p->removed_events == w->removed_events && p->removed == w->removed &&
                p->score_sum == w->score_sum && p->best_sum == w->best_sum &&
                p->scored == w->scored && p->live == w->live && p->n_records == w->n_records &&
                p->n_words == w->n_words && p->checksum == w->checksum;
    if (!same)
        fprintf(stderr, "kvindex: the generated workload is not the published one\n");
    return same;
}

/* The crate on the same records, in the same run: the program prints its own JSON lines. */
static int run_peer(const struct gen_work *w, const struct bench_options *o) {
    char file[] = "/tmp/weir-kvindex-XXXXXX", command[512];
    int fd = mkstemp(file);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    uint64_t head[8] = {
        0x3157564B, w->cell.bs,   w->cell.workers, w->cell.dup, w->cell.cap_tokens / w->cell.bs,
        128,        w->n_records, w->n_words};
    if (f == NULL || fwrite(head, sizeof(head), 1, f) != 1 ||
        fwrite(w->words, sizeof(uint64_t), w->n_words, f) != w->n_words || fclose(f) != 0) {
        fprintf(stderr, "kvindex: cannot write %s\n", file);
        return 1;
    }
    snprintf(command, sizeof(command), "%s %s %u", o->peer, file, o->max_event);
    fflush(stdout);
    int rc = system(command);
    remove(file);
    return rc != 0;
}

static int by_cpu(const void *a, const void *b) {
    const struct applied *x = a, *y = b;
    return (x->cpu > y->cpu) - (x->cpu < y->cpu);
}

int bench_cell(const struct gen_trace *trace, bool whole, const struct gen_cell *cell,
               const struct bench_options *o) {
    struct gen_work w;
    if (!gen_work_make(trace, cell, &w)) {
        fprintf(stderr, "kvindex: bad cell: block size must divide 512, copies 1 to 45\n");
        return 1;
    }
    if (whole && !as_published(&w))
        return 1;
    if (o->alias)
        salt_names(&w);
    bool right = check_pass(&w, o->max_event);
    struct applied runs[32];
    unsigned n_runs = o->runs < 32 ? o->runs : 32;
    struct kvi_index *x = NULL;
    for (unsigned i = 0; i < n_runs; i++) {
        kvi_destroy(x);
        x = new_index(cell);
        struct feed f = {.w = &w, .max_event = o->max_event};
        runs[i] = apply_pass(x, &f, 0);
    }
    qsort(runs, n_runs, sizeof(runs[0]), by_cpu);
    const struct applied *a = &runs[n_runs / 2];
    struct query *q = malloc((w.queries + 1) * sizeof(*q));
    uint32_t *ns = malloc((w.queries + 1) * sizeof(*ns));
    size_t half = 0, n = second_half(&w, q, &half);
    struct kvi_reader *r = kvi_reader_open(x);
    time_match(r, q, n, ns, false); /* warms up */
    struct latency match = time_match(r, q, n, ns, false), hot = time_match(r, q, n, ns, true);
    struct latency find = time_find(r, q, n, ns, cell->workers);
    struct kvi_stats s;
    kvi_get_stats(x, &s);
    right &= s.entries == w.live;
    printf("{\"bench\":\"kvindex\",\"cell\":\"%u,%u,%u\",\"cap_tokens\":%" PRIu64
           ",\"events\":%u,\"alias\":%s,\"stored\":%" PRIu64 ",\"removed\":%" PRIu64
           ",\"queries\":%" PRIu64 ",\"score_sum\":%" PRIu64 ",\"checksum\":\"%016" PRIx64
           "\",\"exact\":%s,\"cpu_ns_per_op\":%.2f,\"cpu_ns_min\":%.2f,\"wall_mops\":%.1f,"
           "\"lookup_p50_us\":%.3f,\"lookup_p99_us\":%.3f,\"lookup_p999_us\":%.3f,"
           "\"lookup_mean_us\":%.3f,\"hot_p50_us\":%.3f,\"hot_p99_us\":%.3f,"
           "\"find_p50_us\":%.3f,\"find_p99_us\":%.3f,"
           "\"entries\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"nodes\":%" PRIu64
           ",\"aliases\":%" PRIu64 ",\"bytes_per_entry\":%.2f,\"rss_mb\":%.1f}\n",
           cell->bs, cell->workers, cell->dup, cell->cap_tokens, o->max_event,
           o->alias ? "true" : "false", w.stored, w.removed, w.queries, w.score_sum, w.checksum,
           right ? "true" : "false", (double)a->cpu / (double)a->ops,
           (double)runs[0].cpu / (double)runs[0].ops, (double)a->ops / (double)a->wall * 1000,
           match.p50, match.p99, match.p999, match.mean, hot.p50, hot.p99, find.p50, find.p99,
           s.entries, s.blocks, s.nodes, s.aliases,
           (double)s.bytes / (double)(s.entries > 0 ? s.entries : 1), bench_rss_mb());
    kvi_reader_close(r);
    kvi_destroy(x);
    if (o->keep_up)
        keep_up(&w, q, n, half, (double)a->ops / (double)a->wall, o->max_event);
    if (o->peer != NULL)
        right &= run_peer(&w, o) == 0;
    free(q);
    free(ns);
    gen_work_free(&w);
    return right ? 0 : 1;
}
