/* End-to-end replay: the device against all cores of the same machine, in one run. */
#include "bench/cuda/replay.h"

#include "base/mem.h"
#include "base/rng.h"
#include "bench/cuda/common.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

/* A day's beginning of conversations: some prompts stand on an earlier one. */
enum { BLOCK = 64, WORKERS = 8, KV_BLOCKS = 8192, TURNS = 4 };

struct requests {
    struct kvc_replay_request *all;
    uint64_t *offsets, *sequence;
    size_t n;
};

static struct requests make_requests(size_t n) {
    struct requests r = {.n = n};
    struct weir_rng rng;
    weir_rng_seed(&rng, 7);
    r.all = must(weir_calloc(n, sizeof(*r.all)));
    r.offsets = must(weir_calloc(n + 1, sizeof(*r.offsets)));
    r.sequence = must(weir_calloc(n * 512, sizeof(*r.sequence)));
    double at = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t *mine = r.sequence + r.offsets[i];
        size_t shared = 0, fresh = 8 + (size_t)weir_rng_below(&rng, 120);
        if (i > 0 && weir_rng_below(&rng, TURNS) > 0) {
            size_t of = i - 1 - (size_t)weir_rng_below(&rng, i < 2000 ? i : 2000);
            shared = (size_t)(r.offsets[of + 1] - r.offsets[of]);
            shared = shared < 512 - fresh ? shared : 512 - fresh;
            for (size_t k = 0; k < shared; k++)
                mine[k] = r.sequence[r.offsets[of] + k];
        }
        for (size_t k = 0; k < fresh; k++)
            mine[shared + k] = weir_rng_u64(&rng);
        r.offsets[i + 1] = r.offsets[i] + shared + fresh;
        r.all[i] = (struct kvc_replay_request){at, (uint32_t)((shared + fresh) * BLOCK),
                                               1 + (uint32_t)weir_rng_below(&rng, 700)};
        at += weir_rng_exp(&rng, 250);
    }
    return r;
}

static struct kvc_replay_config config_at(size_t i) {
    return (struct kvc_replay_config){
        .mode = KVC_REPLAY_KV,
        .n_workers = WORKERS,
        .n_blocks = KV_BLOCKS,
        .max_num_seqs = 256,
        .max_num_batched_tokens = 8192,
        .trace_speedup = 1,
        .prefill_tokens_per_s = 20000,
        .decode_base_ms = 5,
        .decode_per_request_ms = 0.1,
        .policy = {.kind = i % 2 == 0 ? KVC_REPLAY_LINEAR : KVC_REPLAY_FLEET,
                   .recompute_weight = 8,
                   .churn_weight = 2,
                   .decode_block_weight = 0.02},
        .churn_half_life_s = 300,
        .cost = {.block_size = BLOCK,
                 .track_prefill_tokens = true,
                 .overlap_score_credit = 0.05 * (double)(i % 64),
                 .prefill_load_scale = 0.1 * (double)(1 + i / 64 % 64),
                 .host_weight = 0.75,
                 .disk_weight = 0.25},
        .temperature = i / 4096 % 2 == 0 ? 0 : 0.1,
        .use_kv_events = true,
        .track_active_blocks = true,
        .assume_kv_reuse = true,
        .busy_decode_blocks = NAN,
        .busy_prefill_tokens_frac = NAN,
        .busy_prefill_tokens = -1,
        .seed = i};
}

struct sums {
    uint64_t *of; /* a configuration */
    size_t n_requests;
};

static void on_result(void *arg, size_t config, const struct kvc_replay_result *result) {
    const struct sums *s = arg;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct kvc_replay_outcome *o = &result->outcomes[i];
        h = (h ^ o->worker) * 1099511628211u;
        h = (h ^ o->end_us ^ o->cached_tokens) * 1099511628211u;
    }
    s->of[config] = h;
}

static double run(struct kvc *k, const struct requests *r, size_t n, uint64_t *ret_sums,
                  struct kvc_replay_stats *stats) {
    struct sums sums = {.of = ret_sums, .n_requests = r->n};
    struct kvc_replay_config *configs = must(weir_calloc(n, sizeof(*configs)));
    const struct kvc_replay_prompts p = {r->all, r->offsets, r->sequence, r->n, BLOCK};
    const struct kvc_replay_options o = {.on_result = on_result, .arg = &sums};
    struct kvc_trace *t = NULL;
    for (size_t i = 0; i < n; i++)
        configs[i] = config_at(i);
    enum kvc_status st = kvc_trace_create(k, &p, &t);
    double start = now_s();
    if (st == KVC_OK)
        st = kvc_replay(t, configs, n, &o, stats);
    double seconds = now_s() - start;
    if (st != KVC_OK) {
        fprintf(stderr, "bench/cuda: replay: %s\n", kvc_status_text(st));
        exit(1);
    }
    kvc_trace_destroy(t);
    weir_free(configs);
    return seconds;
}

void weir_bench_cuda_replay(struct kvc *k, const char *kind, double scale) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct requests r = make_requests((size_t)(4000 * scale) + 100);
    struct kvc *cpu = NULL;
    struct kvc_info info;
    struct kvc_replay_stats stats = {.waves = 0}, unused;
    kvc_get_info(k, &info);
    bool device = info.kind == KVC_CUDA;
    /* The cores get some rounds of work each; the device many more, or most of it would idle. */
    size_t on_cpu = (size_t)(cores > 0 ? cores : 1) * 16,
           n = device ? (size_t)(16384 * scale) + 64 : on_cpu;
    if (on_cpu > n)
        on_cpu = n;
    uint64_t *want = must(weir_calloc(n, sizeof(*want))), *got = must(weir_calloc(n, sizeof(*got)));
    if (kvc_open(&(struct kvc_options){.kind = KVC_CPU}, &cpu, NULL, 0) != KVC_OK)
        exit(1);
    double cpu_s = run(cpu, &r, on_cpu, want, &unused), rate = (double)(on_cpu * r.n) / cpu_s;
    kvc_close(cpu);
    size_t equal = 0;
    double device_rate = NAN;
    if (device) {
        device_rate = (double)(n * r.n) / run(k, &r, n, got, &stats);
        for (size_t i = 0; i < on_cpu; i++)
            equal += want[i] == got[i];
    }
    printf("{\"bench\":\"cuda_replay\",\"device\":\"%s\",\"requests\":%zu,\"workers\":%d,"
           "\"configs_cpu\":%zu,\"cores\":%ld,\"cpu_mdecisions_s\":%.3f",
           kind, r.n, WORKERS, on_cpu, cores, rate / 1e6);
    if (device)
        printf(",\"configs\":%zu,\"waves\":%zu,\"config_kb\":%zu,\"mdecisions_s\":%.3f,"
               "\"times_all_cores\":%.2f,\"equal\":\"%zu of %zu\"",
               n, stats.waves, stats.config_bytes >> 10, device_rate / 1e6, device_rate / rate,
               equal, on_cpu);
    printf("}\n");
    weir_free(want);
    weir_free(got);
    weir_free(r.all);
    weir_free(r.offsets);
    weir_free(r.sequence);
}
