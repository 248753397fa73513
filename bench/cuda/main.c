/*
 * bench/cuda: hashing and scoring in batches, on the CPU reference or a device, beside kvindex on
 * one core and beside the device's own copy bandwidth, all in one run. One JSON line a figure.
 * Times are wall times of whole calls, transfers included unless the line says resident; medians.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "bench/cuda/common.h"
#include "bench/cuda/replay.h"
#include "cuda/kvc.h"
#include "kvindex/kvi.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

enum { ROUNDS_MAX = 51, BLOCK = 16, TOP = 5 };

static struct kvc *k;
static struct weir_rng rng;
static unsigned rounds = 5;
static const char *kind = "cpu";

static void die(const char *what, enum kvc_status st) {
    fprintf(stderr, "bench/cuda: %s: %s\n", what, kvc_status_text(st));
    exit(1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of fn(arg), after one run that warms up. */
static double median_s(void (*fn)(void *arg), void *arg) {
    double s[ROUNDS_MAX];
    fn(arg);
    for (unsigned i = 0; i < rounds; i++) {
        double start = now_s();
        fn(arg);
        s[i] = now_s() - start;
    }
    qsort(s, rounds, sizeof(*s), by_value);
    return s[rounds / 2];
}

/* ---- copies --------------------------------------------------------------------------------- */

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static void run_copy(void *arg) {
    const struct copy *c = arg;
    enum kvc_status st = kvc_copy(k, c->to, c->from, c->bytes);
    if (st != KVC_OK)
        die("copy", st);
}

struct bandwidth {
    double bus, memory; /* bytes a second: to the device; read and written inside it */
};

static struct bandwidth measure_copies(size_t bytes) {
    void *host = must(kvc_alloc(k, KVC_MEMORY_HOST, bytes));
    void *a = must(kvc_alloc(k, KVC_MEMORY_DEVICE, bytes));
    void *b = must(kvc_alloc(k, KVC_MEMORY_DEVICE, bytes));
    memset(host, 1, bytes);
    struct copy in = {a, host, bytes}, within = {b, a, bytes};
    double in_s = median_s(run_copy, &in), within_s = median_s(run_copy, &within);
    struct bandwidth w = {(double)bytes / in_s, 2 * (double)bytes / within_s};
    printf("{\"bench\":\"cuda_copy\",\"device\":\"%s\",\"bytes\":%zu,\"bus_gb_s\":%.2f,"
           "\"memory_gb_s\":%.2f}\n",
           kind, bytes, w.bus / 1e9, w.memory / 1e9);
    kvc_free(k, KVC_MEMORY_HOST, host);
    kvc_free(k, KVC_MEMORY_DEVICE, a);
    kvc_free(k, KVC_MEMORY_DEVICE, b);
    return w;
}

/* ---- hashing -------------------------------------------------------------------------------- */

struct hashing {
    struct kvc_prompts p;
    uint64_t *local, *sequence;
};

static void run_hash(void *arg) {
    const struct hashing *h = arg;
    enum kvc_status st = kvc_hash(k, &h->p, h->local, h->sequence);
    if (st != KVC_OK)
        die("hash", st);
}

static void run_kvindex_hash(void *arg) {
    const struct hashing *h = arg;
    for (size_t i = 0, at = 0; i < h->p.n; i++)
        at += kvi_hash_and_chain(h->p.tokens + h->p.offsets[i],
                                 h->p.offsets[i + 1] - h->p.offsets[i], h->p.block_size, KVI_SEED,
                                 false, h->local + at, h->sequence + at, SIZE_MAX);
}

/* n prompts of one length. The chain is measured apart: it is serial inside a prompt. */
static void measure_hash(size_t n, size_t length, uint32_t block_size, bool chained,
                         struct bandwidth w) {
    size_t n_tokens = n * length, total = n * (length / block_size);
    uint64_t *offsets = must(weir_malloc((n + 1) * sizeof(*offsets)));
    uint32_t *tokens = must(kvc_alloc(k, KVC_MEMORY_HOST, n_tokens * sizeof(*tokens)));
    uint64_t *local = must(kvc_alloc(k, KVC_MEMORY_HOST, total * sizeof(*local)));
    uint64_t *sequence = must(kvc_alloc(k, KVC_MEMORY_HOST, total * sizeof(*sequence)));
    uint32_t *there = must(kvc_alloc(k, KVC_MEMORY_DEVICE, n_tokens * sizeof(*tokens)));
    uint64_t *local_there = must(kvc_alloc(k, KVC_MEMORY_DEVICE, total * sizeof(*local)));
    uint64_t *sequence_there = must(kvc_alloc(k, KVC_MEMORY_DEVICE, total * sizeof(*sequence)));
    for (size_t i = 0; i <= n; i++)
        offsets[i] = i * length;
    for (size_t i = 0; i < n_tokens; i++)
        tokens[i] = (uint32_t)weir_rng_below(&rng, 150000);
    struct kvc_prompts p = {tokens, offsets, NULL, n, block_size, false, false};
    struct hashing host = {p, local, chained ? sequence : NULL}, one_core = {p, local, sequence};
    struct hashing resident = {p, local_there, chained ? sequence_there : NULL};
    resident.p.tokens = there;
    resident.p.resident = true;
    if (kvc_copy(k, there, tokens, n_tokens * sizeof(*tokens)) != KVC_OK)
        die("copy", KVC_LOST);
    double host_s = median_s(run_hash, &host), resident_s = median_s(run_hash, &resident);
    double core_s = median_s(run_kvindex_hash, &one_core);
    double bytes = (double)n_tokens * 4, written = (double)total * (chained ? 24 : 8);
    printf("{\"bench\":\"cuda_hash\",\"device\":\"%s\",\"prompts\":%zu,\"tokens_each\":%zu,"
           "\"block_size\":%u,\"chained\":%s,\"resident_gtokens_s\":%.3f,\"memory_share\":%.3f,"
           "\"streamed_gtokens_s\":%.3f,\"bus_share\":%.3f,\"kvindex_core_gtokens_s\":%.3f}\n",
           kind, n, length, block_size, chained ? "true" : "false",
           (double)n_tokens / resident_s / 1e9, (bytes + written) / resident_s / w.memory,
           (double)n_tokens / host_s / 1e9, bytes / host_s / w.bus,
           (double)n_tokens / core_s / 1e9);
    weir_free(offsets);
    kvc_free(k, KVC_MEMORY_HOST, tokens);
    kvc_free(k, KVC_MEMORY_HOST, local);
    kvc_free(k, KVC_MEMORY_HOST, sequence);
    kvc_free(k, KVC_MEMORY_DEVICE, there);
    kvc_free(k, KVC_MEMORY_DEVICE, local_there);
    kvc_free(k, KVC_MEMORY_DEVICE, sequence_there);
}

/* ---- scoring -------------------------------------------------------------------------------- */

/* A fleet: prompts of `depth` blocks that share their first half in groups of 16, each held by a
 * few ranks. */
struct fleet {
    struct kvc_table *t;
    struct kvi_index *kvi;
    struct kvi_reader *reader;
    uint64_t *prompts; /* local hashes, depth of each */
    size_t n_prompts, depth;
    uint32_t ranks;
};

static void hold(struct fleet *f, size_t prompt, uint32_t rank) {
    struct kvc_block *blocks = must(weir_malloc(f->depth * sizeof(*blocks)));
    const uint64_t *local = f->prompts + prompt * f->depth;
    uint64_t *names = must(weir_malloc(f->depth * sizeof(*names)));
    kvi_chain(local, f->depth, names);
    for (size_t i = 0; i < f->depth; i++)
        blocks[i] = (struct kvc_block){names[i], local[i]};
    struct kvc_event e = {.kind = KVC_STORED, .rank = rank, .blocks = blocks, .n = f->depth};
    enum kvc_status st = kvc_table_apply(f->t, &e);
    if (st != KVC_OK)
        die("store", st);
    struct kvi_worker w = {rank, 0};
    if (kvi_store(f->kvi, w, KVI_DEVICE, false, 0, (const struct kvi_block *)(const void *)blocks,
                  f->depth, NULL) != KVI_OK)
        die("store in kvindex", KVC_NOMEM);
    weir_free(blocks);
    weir_free(names);
}

static void make_fleet(struct fleet *f, size_t n_prompts, size_t depth, uint32_t ranks,
                       unsigned copies) {
    *f = (struct fleet){.n_prompts = n_prompts, .depth = depth, .ranks = ranks};
    struct kvc_table_options o = {.max_blocks = n_prompts * depth + 1000, .max_ranks = ranks};
    f->kvi = must(kvi_create(&(struct kvi_options){.max_bytes = (size_t)32 << 30}));
    f->reader = must(kvi_reader_open(f->kvi));
    f->prompts = must(weir_malloc(n_prompts * depth * sizeof(*f->prompts)));
    enum kvc_status st = kvc_table_create(k, &o, &f->t);
    if (st != KVC_OK)
        die("table", st);
    for (size_t p = 0; p < n_prompts; p++)
        for (size_t i = 0; i < depth; i++)
            f->prompts[p * depth + i] =
                p % 16 > 0 && i < depth / 2 ? f->prompts[(p - 1) * depth + i] : weir_rng_u64(&rng);
    double start = now_s();
    for (size_t p = 0; p < n_prompts; p++)
        for (unsigned c = 0; c < copies; c++)
            hold(f, p, (uint32_t)weir_rng_below(&rng, ranks));
    double applied = now_s();
    st = kvc_table_commit(f->t);
    if (st != KVC_OK)
        die("commit", st);
    struct kvc_table_stats s;
    kvc_table_get_stats(f->t, &s);
    printf("{\"bench\":\"cuda_table\",\"device\":\"%s\",\"blocks\":%" PRIu64 ",\"entries\":%" PRIu64
           ",\"ranks\":%u,\"sets\":%" PRIu64 ",\"apply_s\":%.3f,\"first_commit_s\":%.3f,"
           "\"host_mb\":%.0f}\n",
           kind, s.blocks, s.entries, ranks, s.sets, applied - start, now_s() - applied,
           (double)s.host_bytes / 1e6);
}

struct scoring {
    struct fleet *f;
    struct kvc_queries q;
    struct kvc_cost_params params;
    struct kvc_loads loads;
    double *isl;
    struct kvc_choice *choice;
};

static void run_rank(void *arg) {
    struct scoring *s = arg;
    enum kvc_status st = kvc_rank(s->f->t, &s->q, s->isl, &s->params, &s->loads, TOP, s->choice);
    if (st != KVC_OK)
        die("rank", st);
}

static void run_kvindex_find(void *arg) {
    struct scoring *s = arg;
    for (size_t i = 0; i < s->q.n; i++) {
        struct kvi_match m;
        kvi_match(s->f->reader, s->q.local + s->q.offsets[i], s->q.offsets[i + 1] - s->q.offsets[i],
                  false, &m);
    }
}

/* From which batch size on the device is worth its way: one line each. */
static void measure_scores(struct fleet *f, size_t batch) {
    size_t depth = f->depth;
    struct scoring s = {.f = f,
                        .params = {.block_size = BLOCK,
                                   .track_prefill_tokens = true,
                                   .overlap_score_credit = 1,
                                   .prefill_load_scale = 1,
                                   .host_weight = 0.75,
                                   .disk_weight = 0.25}};
    unsigned char *candidate = must(weir_malloc(f->ranks));
    double *load = must(weir_calloc(f->ranks, sizeof(*load)));
    uint64_t *local = must(kvc_alloc(k, KVC_MEMORY_HOST, batch * depth * sizeof(*local)));
    uint64_t *offsets = must(weir_malloc((batch + 1) * sizeof(*offsets)));
    s.isl = must(weir_malloc(batch * sizeof(*s.isl)));
    s.choice = must(weir_malloc(batch * TOP * sizeof(*s.choice)));
    memset(candidate, 1, f->ranks);
    for (uint32_t r = 0; r < f->ranks; r++)
        load[r] = (double)weir_rng_below(&rng, 10000);
    s.loads = (struct kvc_loads){candidate, load, load, load};
    for (size_t i = 0; i < batch; i++) {
        size_t p = (size_t)weir_rng_below(&rng, f->n_prompts);
        offsets[i] = i * depth;
        memcpy(local + i * depth, f->prompts + p * depth, depth * sizeof(*local));
        s.isl[i] = (double)(depth * BLOCK);
    }
    offsets[batch] = batch * depth;
    s.q = (struct kvc_queries){local, offsets, batch};
    double rank_s = median_s(run_rank, &s), find_s = median_s(run_kvindex_find, &s);
    printf("{\"bench\":\"cuda_rank\",\"device\":\"%s\",\"batch\":%zu,\"depth\":%zu,\"ranks\":%u,"
           "\"us_query\":%.3f,\"glookups_s\":%.3f,\"kvindex_core_us_query\":%.3f}\n",
           kind, batch, depth, f->ranks, rank_s / (double)batch * 1e6,
           (double)(batch * depth) / rank_s / 1e9, find_s / (double)batch * 1e6);
    weir_free(candidate);
    weir_free(load);
    kvc_free(k, KVC_MEMORY_HOST, local);
    weir_free(offsets);
    weir_free(s.isl);
    weir_free(s.choice);
}

/* A thousand events of eight blocks, applied and brought over. */
static void measure_upload(struct fleet *f) {
    double apply_s = 0, commit_s = 0;
    struct kvc_table_stats before, after;
    kvc_table_get_stats(f->t, &before);
    for (unsigned round = 0; round < rounds; round++) {
        double start = now_s();
        for (unsigned i = 0; i < 1000; i++) {
            size_t p = (size_t)weir_rng_below(&rng, f->n_prompts);
            struct kvc_block blocks[8];
            for (size_t b = 0; b < 8 && b < f->depth; b++)
                blocks[b] = (struct kvc_block){weir_rng_u64(&rng), f->prompts[p * f->depth + b]};
            struct kvc_event e = {.kind = KVC_STORED,
                                  .rank = (uint32_t)weir_rng_below(&rng, f->ranks),
                                  .blocks = blocks,
                                  .n = f->depth < 8 ? f->depth : 8};
            if (kvc_table_apply(f->t, &e) != KVC_OK)
                die("store", KVC_FULL);
        }
        double middle = now_s();
        if (kvc_table_commit(f->t) != KVC_OK)
            die("commit", KVC_LOST);
        apply_s += middle - start;
        commit_s += now_s() - middle;
    }
    kvc_table_get_stats(f->t, &after);
    printf("{\"bench\":\"cuda_upload\",\"device\":\"%s\",\"events\":1000,\"blocks_each\":8,"
           "\"apply_us\":%.1f,\"commit_us\":%.1f,\"slots\":%.0f}\n",
           kind, apply_s / rounds * 1e6, commit_s / rounds * 1e6,
           (double)(after.uploaded_slots - before.uploaded_slots) / rounds);
}

static void measure_scoring(double scale) {
    struct fleet f;
    make_fleet(&f, (size_t)(4000 * scale) + 16, 512, 1024, 3);
    for (size_t batch = 1; batch <= 4096; batch *= 8)
        measure_scores(&f, batch);
    measure_upload(&f);
    kvc_table_destroy(f.t);
    kvi_reader_close(f.reader);
    kvi_destroy(f.kvi);
    weir_free(f.prompts);
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'}, {"plugin", required_argument, NULL, 'p'},
        {"rounds", required_argument, NULL, 'r'}, {"scale", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},         {0}};
    struct kvc_options o = {.kind = KVC_CPU};
    struct kvc_info info;
    double scale = 1;
    char why[256];
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'd') {
            kind = strcmp(optarg, "cuda") == 0 ? "cuda" : "cpu";
            o.kind = strcmp(optarg, "cuda") == 0 ? KVC_CUDA : KVC_CPU;
        } else if (c == 'p') {
            o.plugin = optarg;
        } else if (c == 'r') {
            rounds = (unsigned)strtoul(optarg, NULL, 10);
        } else if (c == 's') {
            scale = strtod(optarg, NULL);
        } else {
            printf("usage: cuda [--device cpu|cuda] [--plugin libweir_cuda.so] [--rounds N] "
                   "[--scale X]\n");
            return c == 'h' ? 0 : 1;
        }
    }
    if (rounds == 0 || rounds > ROUNDS_MAX || !(scale > 0)) {
        fprintf(stderr, "bench/cuda: --rounds is 1 to %d, --scale above 0\n", ROUNDS_MAX);
        return 1;
    }
    enum kvc_status st = kvc_open(&o, &k, why, sizeof(why));
    if (st != KVC_OK) {
        fprintf(stderr, "bench/cuda: %s: %s\n", kvc_status_text(st), why);
        return st == KVC_NO_DEVICE ? 77 : 1;
    }
    weir_rng_seed(&rng, 1);
    kvc_get_info(k, &info);
    printf("{\"bench\":\"cuda_device\",\"device\":\"%s\",\"name\":\"%s\",\"multiprocessors\":%d,"
           "\"max_gb\":%.1f}\n",
           kind, info.name, info.multiprocessors, (double)info.max_bytes / 1e9);
    struct bandwidth w = measure_copies((size_t)(256e6 * scale));
    measure_hash((size_t)(20000 * scale) + 1, 4096, 16, false, w);
    measure_hash((size_t)(20000 * scale) + 1, 4096, 16, true, w);
    measure_hash((size_t)(20000 * scale) + 1, 4096, 64, true, w);
    measure_hash(4, (size_t)(1000000 * scale) + 64, 16, true, w);
    measure_scoring(scale);
    weir_bench_cuda_replay(k, kind, scale);
    kvc_close(k);
    return 0;
}
