/*
 * bench/hitrate: how much of the prompts the workers found in their KV caches, with KV routing and
 * with round-robin, beside the best that any routing could have done.
 *
 * Two mock workers of a given cache size. The rates come from the workers' own counters (their
 * /metrics), never from what the router believes. The best: the requests of the KV run, in the
 * order in which they were sent, through one cache of both workers' size together. One JSON line.
 */
#include "base/json.h"
#include "base/mem.h"
#include "bench/drive.h"
#include "bench/fetch.h"
#include "bench/prefix_sim.h"
#include "bench/proc.h"
#include "bench/put.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 2, READY_MS = 30000, MAX_RECORDS = 1 << 22, TRACE_BLOCK = 512 };

struct record {
    uint64_t conversation, sent_ns, prompt_tokens, completion_tokens;
};

struct setup {
    const char *weir, *trace_path;
    uint64_t conversations, turns, blocks, block_size, concurrency, trace_lines, seed;
    double trace_speedup, require;
    const char *load_scale; /* --router-prefill-load-scale, or NULL */
    const char *isl, *osl, *think;
    struct weir_plan plan;
    struct weir_trace trace;
    struct record *records; /* of the last run */
    size_t n_records, records_cap;
};

/* The processes of one run. */
struct fleet {
    char dir[WEIR_PROC_PATH];
    struct weir_proc workers[WORKERS], frontend;
    uint16_t worker_ports[WORKERS], port;
};

struct counted {
    double prompt_tokens, cached_tokens, worst_share; /* of the prompts that went to one worker */
};

static void die(const char *what, const struct weir_err *err) {
    fprintf(stderr, "hitrate: %s: %s\n", what, err->text);
    exit(1);
}

/* ---- processes ---------------------------------------------------------------------------- */

static void start_worker(const struct setup *s, struct fleet *f, unsigned i, const char *kv) {
    struct weir_err err;
    char log[WEIR_PROC_PATH + 16], port[40], blocks[24], size[24];
    f->worker_ports[i] = weir_proc_free_port();
    snprintf(log, sizeof(log), "%s/mocker-%u.log", f->dir, i);
    snprintf(port, sizeof(port), "DYN_SYSTEM_PORT=%u", f->worker_ports[i]);
    snprintf(blocks, sizeof(blocks), "%" PRIu64, s->blocks);
    snprintf(size, sizeof(size), "%" PRIu64, s->block_size);
    const char *const env[] = {kv,
                               port,
                               "DYN_LOG=warn",
                               "DYN_TCP_RPC_HOST=127.0.0.1",
                               "DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS=0",
                               NULL};
    const char *argv[] = {s->weir,
                          "mocker",
                          "--model-name",
                          "mock",
                          "--num-gpu-blocks-override",
                          blocks,
                          "--block-size",
                          size,
                          "--speedup-ratio",
                          "0",
                          "--max-num-seqs",
                          "1024",
                          "--max-num-batched-tokens",
                          "1048576",
                          NULL};
    if (weir_proc_start(&f->workers[i], "weir mocker", argv, env, log, &err) != WEIR_OK ||
        weir_proc_wait_http(&f->workers[i], f->worker_ports[i], "/health", NULL, READY_MS, &err) !=
            WEIR_OK)
        die("mocker", &err);
}

static void start_fleet(const struct setup *s, struct fleet *f, const char *mode) {
    struct weir_err err;
    char kv[WEIR_PROC_PATH + 32], log[WEIR_PROC_PATH + 16], port[16];
    memset(f, 0, sizeof(*f));
    if (weir_proc_tempdir(f->dir, &err) != WEIR_OK)
        die("set-up", &err);
    snprintf(kv, sizeof(kv), "DYN_FILE_KV=%s/discovery", f->dir);
    for (unsigned i = 0; i < WORKERS; i++)
        start_worker(s, f, i, kv);
    f->port = weir_proc_free_port();
    snprintf(port, sizeof(port), "%u", f->port);
    snprintf(log, sizeof(log), "%s/frontend.log", f->dir);
    const char *const env[] = {kv, "DYN_LOG=warn", "DYN_TCP_RPC_HOST=127.0.0.1", NULL};
    const char *argv[] = {s->weir,
                          "frontend",
                          "--http-host",
                          "127.0.0.1",
                          "--http-port",
                          port,
                          "--router-mode",
                          mode,
                          s->load_scale != NULL ? "--router-prefill-load-scale" : NULL,
                          s->load_scale,
                          NULL};
    /* The workers are in discovery before the frontend starts: it sees both at once. */
    if (weir_proc_start(&f->frontend, "weir frontend", argv, env, log, &err) != WEIR_OK ||
        weir_proc_wait_http(&f->frontend, f->port, "/v1/models", "\"mock\"", READY_MS, &err) !=
            WEIR_OK)
        die("frontend", &err);
}

static void stop_fleet(struct fleet *f) {
    weir_proc_stop(&f->frontend);
    for (unsigned i = 0; i < WORKERS; i++)
        weir_proc_stop(&f->workers[i]);
    weir_proc_remove_dir(f->dir);
}

/* Sum of the series of one metric in a Prometheus page. */
static double metric_sum(const struct weir_buf *page, const char *name) {
    double sum = 0;
    size_t len = strlen(name);
    for (struct weir_span rest = weir_buf_span(page); rest.data != NULL;) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        if (!weir_span_starts(line, weir_span(name, len)) || line.len <= len ||
            (line.data[len] != '{' && line.data[len] != ' '))
            continue;
        size_t at = line.len;
        while (at > 0 && line.data[at - 1] != ' ')
            at--;
        double value = 0;
        if (weir_span_f64(weir_span(line.data + at, line.len - at), &value))
            sum += value;
    }
    return sum;
}

static struct counted count_tokens(struct fleet *f) {
    struct counted c = {0, 0, 0};
    for (unsigned i = 0; i < WORKERS; i++) {
        struct weir_http_client_config server = {.ip = "127.0.0.1", .port = f->worker_ports[i]};
        struct weir_err err = {.text = "the worker's counters cannot be read"};
        struct weir_buf page;
        int status = 0;
        weir_buf_init(&page, 1 << 22);
        if (weir_fetch(&server, "/metrics", NULL, 0, weir_span(NULL, 0), 5000, &status, &page) !=
                WEIR_OK ||
            status != 200)
            die("mocker", &err);
        double prompt = metric_sum(&page, "weir_mocker_prompt_tokens_total");
        c.prompt_tokens += prompt;
        c.cached_tokens += metric_sum(&page, "weir_mocker_cached_tokens_total");
        if (prompt > c.worst_share)
            c.worst_share = prompt;
        weir_buf_fini(&page);
    }
    if (c.prompt_tokens > 0)
        c.worst_share /= c.prompt_tokens;
    return c;
}

/* ---- a run -------------------------------------------------------------------------------- */

static void on_outcome(void *arg, const struct weir_turn *turn, const struct weir_outcome *o) {
    struct setup *s = arg;
    if (o->fault != WEIR_BENCH_FAULT_NONE)
        return;
    if (s->n_records == s->records_cap) {
        size_t cap = s->records_cap > 0 ? 2 * s->records_cap : 4096;
        struct record *more =
            cap <= MAX_RECORDS ? weir_realloc(s->records, cap * sizeof(*more)) : NULL;
        if (more == NULL) {
            fputs("hitrate: too many requests\n", stderr);
            exit(1);
        }
        s->records = more;
        s->records_cap = cap;
    }
    s->records[s->n_records++] =
        (struct record){turn->conversation, o->sent_ns, o->prompt_tokens, o->completion_tokens};
}

static struct counted run(struct setup *s, const char *mode) {
    static const struct weir_http_header headers[] = {
        {WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")}};
    struct fleet f;
    struct weir_err err;
    struct weir_tally tally;
    start_fleet(s, &f, mode);
    bool trace = s->trace_path != NULL;
    struct weir_load_run load = {
        .plan = &s->plan,
        /* A trace's blocks must lie at multiples of the block size: no template before them. */
        .form = {.model = "mock", .chat = !trace, .stream = true, .ignore_eos = true},
        .http = {.ip = "127.0.0.1",
                 .port = f.port,
                 .max_conns = (unsigned)s->concurrency,
                 .max_waiting = 1 << 20},
        .target = trace ? "/v1/completions" : "/v1/chat/completions",
        .headers = headers,
        .n_headers = WEIR_ARRAY_LEN(headers),
        .timeout_ms = 120000,
        .slo = {NAN, NAN, NAN},
        .open_loop = trace,
        .trace_speedup = s->trace_speedup,
        .max_active = s->concurrency,
        .n_total = trace ? s->trace_lines : s->conversations * s->turns,
        .duration_ns = UINT64_MAX,
        .on_outcome = on_outcome,
        .outcome_arg = s,
    };
    s->n_records = 0;
    if (weir_drive(&load, &tally, &err) != WEIR_OK)
        die(mode, &err);
    if (weir_tally_errors(&tally) > 0) {
        weir_err_set(&err, WEIR_UNAVAILABLE, "%" PRIu64 " requests failed; see %.150s",
                     weir_tally_errors(&tally), f.dir);
        die(mode, &err);
    }
    struct counted c = count_tokens(&f);
    weir_tally_fini(&tally);
    stop_fleet(&f);
    return c;
}

/* ---- the best ----------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    return x->sent_ns < y->sent_ns ? -1 : x->sent_ns > y->sent_ns;
}

/* Block i of a request as a number that stands for its content and all before it. */
static uint64_t block_id(const struct setup *s, const struct record *r, uint64_t i) {
    if (s->trace_path == NULL)
        return (r->conversation << 24) + i; /* each turn goes on where the one before ended */
    const struct weir_trace_line *line = &s->trace.lines[r->conversation];
    uint64_t per_id = TRACE_BLOCK / s->block_size;
    if ((i + 1) * s->block_size <= line->input_tokens)
        return weir_trace_ids(&s->trace, line)[i / per_id] * per_id + i % per_id;
    return ((uint64_t)1 << 62) + (r->conversation << 24) + i; /* the answer: nobody's prompt */
}

static double best_rate(struct setup *s, uint64_t capacity) {
    struct weir_prefix_sim sim;
    struct weir_err err = {.text = "out of memory"};
    uint64_t *ids = NULL, hits = 0, prompt_tokens = 0;
    size_t cap = 0;
    if (weir_prefix_sim_init(&sim, (uint32_t)capacity) != WEIR_OK)
        die("simulator", &err);
    for (size_t k = 0; k < s->n_records; k++) {
        const struct record *r = &s->records[k];
        /* The last token of a prompt is always computed, that of an answer never. */
        uint64_t n_prompt = (r->prompt_tokens - 1) / s->block_size;
        uint64_t n = (r->prompt_tokens + r->completion_tokens - 1) / s->block_size;
        if (n > cap) {
            cap = 2 * n;
            ids = weir_realloc(ids, cap * sizeof(*ids));
            if (ids == NULL)
                die("simulator", &err);
        }
        for (uint64_t i = 0; i < n; i++)
            ids[i] = block_id(s, r, i);
        uint32_t got = 0;
        if (weir_prefix_sim_request(&sim, ids, (uint32_t)n_prompt, (uint32_t)n, &got) != WEIR_OK)
            die("simulator", &err);
        hits += got;
        prompt_tokens += r->prompt_tokens;
    }
    weir_free(ids);
    weir_prefix_sim_fini(&sim);
    return (double)(hits * s->block_size) / (double)prompt_tokens;
}

static uint64_t all_blocks(const struct setup *s) {
    uint64_t n = 1;
    for (size_t k = 0; k < s->n_records; k++)
        n += (s->records[k].prompt_tokens + s->records[k].completion_tokens) / s->block_size;
    return n < UINT32_MAX / 2 ? n : UINT32_MAX / 2;
}

/* ---- output and command line -------------------------------------------------------------- */

static double rounded(double v) {
    return round(v * 10000) / 10000;
}

static void put(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    weir_jsonw_f64(w, rounded(value));
}

/* False: below --require, or not better than round-robin. */
static bool measure(struct setup *s) {
    struct counted kv = run(s, "kv");
    qsort(s->records, s->n_records, sizeof(*s->records), by_time);
    double best = best_rate(s, s->blocks * WORKERS), endless = best_rate(s, all_blocks(s));
    size_t requests = s->n_records;
    struct counted rr = run(s, "round-robin");
    double kv_rate = kv.cached_tokens / kv.prompt_tokens;
    double rr_rate = rr.cached_tokens / rr.prompt_tokens;
    struct weir_buf line;
    struct weir_jsonw w;
    weir_buf_init(&line, 1 << 16);
    weir_jsonw_init(&w, &line);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "scenario");
    weir_jsonw_string_z(&w, s->trace_path != NULL ? "trace" : "conversations");
    weir_put_whole(&w, "requests", requests);
    weir_put_whole(&w, "workers", WORKERS);
    weir_put_whole(&w, "blocks_per_worker", s->blocks);
    weir_put_whole(&w, "block_size", s->block_size);
    put(&w, "prompt_tokens", kv.prompt_tokens);
    put(&w, "best_rate", best);
    put(&w, "endless_cache_rate", endless);
    put(&w, "kv_rate", kv_rate);
    put(&w, "round_robin_rate", rr_rate);
    put(&w, "kv_share_of_best", kv_rate / best);
    put(&w, "kv_over_round_robin", rr_rate > 0 ? kv_rate / rr_rate : NAN);
    put(&w, "kv_busiest_worker_share", kv.worst_share);
    weir_jsonw_object_end(&w);
    printf("%.*s\n", WEIR_SPAN_ARG(weir_buf_span(&line)));
    weir_buf_fini(&line);
    return s->require == 0 || (kv_rate / best >= s->require && kv_rate > rr_rate);
}

static const char usage[] =
    "usage: hitrate [options]       one JSON line on stdout\n"
    "  --weir PATH          the executable (default: weir beside this program's folder)\n"
    "  --conversations N    (200)       --turns N (6)\n"
    "  --isl DIST           tokens a turn adds (uniform:200-400); DIST as in weir bench\n"
    "  --osl DIST           tokens of an answer (100)\n"
    "  --think DIST         milliseconds between turns (exponential:2000)\n"
    "  --trace FILE         a Mooncake trace instead of conversations\n"
    "  --trace-lines N      of its requests only so many\n"
    "  --trace-speedup X    divides the time between its requests (100)\n"
    "  --concurrency N      conversations, or requests of a trace, at once at most (200; trace "
    "1000)\n"
    "  --load-scale X       the frontend's --router-prefill-load-scale (its default)\n"
    "  --block-size N       tokens of a KV block (64)\n"
    "  --blocks N           KV blocks of each worker (5000; trace 32768)\n"
    "  --seed N             (1)\n"
    "  --require SHARE      exit with 2 when KV routing reaches less of the best rate, or no more\n"
    "                       than round-robin\n";

static uint64_t whole(const char *text) {
    uint64_t v;
    if (!weir_span_u64(weir_span_z(text), &v) || v == 0 || v > (uint64_t)1 << 30) {
        fprintf(stderr, "hitrate: '%s' is not a number from 1 to 1073741824\n", text);
        exit(1);
    }
    return v;
}

static void parse(struct setup *s, int argc, char **argv) {
    static const struct option options[] = {{"weir", required_argument, NULL, 'w'},
                                            {"conversations", required_argument, NULL, 'c'},
                                            {"turns", required_argument, NULL, 't'},
                                            {"isl", required_argument, NULL, 'i'},
                                            {"osl", required_argument, NULL, 'o'},
                                            {"think", required_argument, NULL, 'k'},
                                            {"trace", required_argument, NULL, 'T'},
                                            {"trace-lines", required_argument, NULL, 'l'},
                                            {"concurrency", required_argument, NULL, 'p'},
                                            {"block-size", required_argument, NULL, 'b'},
                                            {"blocks", required_argument, NULL, 'n'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"trace-speedup", required_argument, NULL, 'x'},
                                            {"load-scale", required_argument, NULL, 'L'},
                                            {"require", required_argument, NULL, 'R'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'w':
            s->weir = optarg;
            break;
        case 'c':
            s->conversations = whole(optarg);
            break;
        case 't':
            s->turns = whole(optarg);
            break;
        case 'i':
            s->isl = optarg;
            break;
        case 'o':
            s->osl = optarg;
            break;
        case 'k':
            s->think = optarg;
            break;
        case 'T':
            s->trace_path = optarg;
            break;
        case 'l':
            s->trace_lines = whole(optarg);
            break;
        case 'p':
            s->concurrency = whole(optarg);
            break;
        case 'b':
            s->block_size = whole(optarg);
            break;
        case 'n':
            s->blocks = whole(optarg);
            break;
        case 'x':
            s->trace_speedup = (double)whole(optarg);
            break;
        case 'L':
            s->load_scale = optarg;
            break;
        case 'R':
            if (!weir_span_f64(weir_span_z(optarg), &s->require) || s->require < 0) {
                fputs("hitrate: --require: a share such as 0.95 is needed\n", stderr);
                exit(1);
            }
            break;
        case 's':
            s->seed = whole(optarg);
            break;
        default:
            fputs(usage, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 1);
        }
    }
}

static void prepare(struct setup *s) {
    struct weir_err err;
    bool trace = s->trace_path != NULL;
    s->concurrency = s->concurrency > 0 ? s->concurrency : trace ? 1000 : 200;
    s->blocks = s->blocks > 0 ? s->blocks : trace ? 32768 : 5000;
    s->plan = (struct weir_plan){.seed = s->seed,
                                 .turns = trace ? 1 : s->turns,
                                 .chars_per_token = 1,
                                 .trace_block = TRACE_BLOCK};
    if (weir_dist_parse(s->isl, 1, &s->plan.isl, &err) != WEIR_OK ||
        weir_dist_parse(s->osl, 1, &s->plan.osl, &err) != WEIR_OK ||
        weir_dist_parse(s->think, 0, &s->plan.think_ms, &err) != WEIR_OK)
        die("distribution", &err);
    if (!trace)
        return;
    if (TRACE_BLOCK % s->block_size != 0) {
        fputs("hitrate: --block-size must divide the trace's 512\n", stderr);
        exit(1);
    }
    if (weir_trace_load(s->trace_path, TRACE_BLOCK, &s->trace, &err) != WEIR_OK)
        die("trace", &err);
    if (s->trace_lines == 0 || s->trace_lines > s->trace.n_lines)
        s->trace_lines = s->trace.n_lines;
    weir_trace_spread(&s->trace);
    s->plan.trace = &s->trace;
}

int main(int argc, char **argv) {
    static struct setup s = {.conversations = 200,
                             .turns = 6,
                             .block_size = 64,
                             .seed = 1,
                             .trace_speedup = 100,
                             .isl = "uniform:200-400",
                             .osl = "100",
                             .think = "exponential:2000"};
    char path[WEIR_PROC_PATH];
    parse(&s, argc, argv);
    if (s.weir == NULL && weir_proc_beside(argv[0], path))
        s.weir = path;
    if (s.weir == NULL) {
        fputs("hitrate: the executable weir is not where it is built: name it by --weir\n", stderr);
        return 1;
    }
    prepare(&s);
    bool good = measure(&s);
    weir_dist_fini(&s.plan.isl);
    weir_dist_fini(&s.plan.osl);
    weir_dist_fini(&s.plan.think_ms);
    weir_trace_fini(&s.trace);
    weir_free(s.records);
    return good ? 0 : 2;
}
