/*
 * bench/flood: what a flood of KV events does to routing, and whether all of them arrive.
 *
 * One thread takes payloads of engines (MessagePack, as vLLM sends them) at a paced rate through
 * decoding, hashing and the index of a router; another one asks that router for a worker, with
 * prompts that are partly held. First without events, then with them: one JSON line each. The state
 * of the workers repeats in a cycle, so at the end each block of each conversation is looked for:
 * it must be found exactly where a plain model of the events has it. Exit status 1 if one is not.
 *
 * Latencies are those of the call weir_router_route: by the clock on the wall, which on a busy
 * machine also counts the time in which the thread did not run, and by the thread's CPU clock.
 */
#include "base/mem.h"
#include "base/msgpack.h"
#include "bench/hist.h"
#include "kvindex/kvi.h"
#include "router/engine_events.h"
#include "router/router.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BLOCK = 16,          /* tokens */
    DEPTH = 64,          /* blocks of a conversation */
    CONVERSATIONS = 256, /* of a group of workers, one after the other */
    HELD = 128,          /* conversations that a worker holds; the oldest one goes */
    TAIL = 16,           /* blocks of a prompt that nobody holds */
    GROUP = 4,           /* workers that hold the same conversations */
    MAX_WORKERS = 256,
    BATCH = 8,     /* events of a message */
    RUNNING = 256, /* requests */
};

struct options {
    unsigned events_s, routes_s, seconds, workers, blocks;
};

/* What all workers of a group are told: payloads that begin and end in the same state. */
struct group {
    uint64_t local[CONVERSATIONS][DEPTH];
    struct weir_buf bytes; /* payloads, one behind the other */
    size_t *ends;          /* owned */
    size_t n_payloads;
};

struct worker {
    struct weir_engine_rank *rank; /* owned */
    const struct group *group;
    size_t next; /* payload */
};

static struct options opt = {
    .events_s = 200000, .routes_s = 5000, .seconds = 10, .workers = 16, .blocks = 1};
static struct weir_router *router;
static struct group groups[MAX_WORKERS / GROUP];
static struct worker workers[MAX_WORKERS];
static struct weir_arena arena;
static atomic_bool stop;

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t cpu_ns(void) {
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void sleep_until(uint64_t ns) {
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* ---- what engines say ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint64_t name_of(unsigned group, unsigned conversation, unsigned block) {
    return mix(((uint64_t)group << 32 | conversation << 8 | block) + 1);
}

static void tokens_of(unsigned group, unsigned conversation, unsigned block, uint32_t *out) {
    for (unsigned i = 0; i < BLOCK; i++)
        out[i] = (uint32_t)(mix(name_of(group, conversation, block) + i) % 150000);
}

/* The events of a cycle: conversation by conversation, each time some blocks come and as many of
 * the one that was stored HELD conversations ago go, its last ones first. */
struct step {
    bool stored;
    unsigned conversation, first; /* of `opt.blocks` blocks */
};

static unsigned steps_of_conversation(void) {
    return 2 * DEPTH / opt.blocks;
}

static size_t n_steps(void) {
    return (size_t)CONVERSATIONS * steps_of_conversation();
}

static struct step step_at(size_t i) {
    unsigned c = (unsigned)(i / steps_of_conversation()),
             j = (unsigned)(i % steps_of_conversation());
    struct step s = {.stored = j % 2 == 0, .conversation = c, .first = j / 2 * opt.blocks};
    if (!s.stored) {
        s.conversation = (c + CONVERSATIONS - HELD) % CONVERSATIONS;
        s.first = DEPTH - opt.blocks - s.first;
    }
    return s;
}

static void put_names(struct weir_mpw *w, unsigned group, const struct step *s) {
    weir_mpw_str_z(w, "block_hashes");
    weir_mpw_array(w, opt.blocks);
    for (unsigned b = 0; b < opt.blocks; b++)
        weir_mpw_u64(w, name_of(group, s->conversation, s->first + b));
}

static void put_stored(struct weir_mpw *w, unsigned group, const struct step *s) {
    uint32_t tokens[BLOCK];
    weir_mpw_map(w, s->first > 0 ? 7 : 6);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockStored");
    put_names(w, group, s);
    if (s->first > 0) {
        weir_mpw_str_z(w, "parent_block_hash");
        weir_mpw_u64(w, name_of(group, s->conversation, s->first - 1));
    }
    weir_mpw_str_z(w, "token_ids");
    weir_mpw_array(w, opt.blocks * BLOCK);
    for (unsigned b = 0; b < opt.blocks; b++) {
        tokens_of(group, s->conversation, s->first + b, tokens);
        for (unsigned i = 0; i < BLOCK; i++)
            weir_mpw_u64(w, tokens[i]);
    }
    weir_mpw_str_z(w, "block_size");
    weir_mpw_u64(w, BLOCK);
    weir_mpw_str_z(w, "medium");
    weir_mpw_str_z(w, "GPU");
    weir_mpw_str_z(w, "group_idx");
    weir_mpw_u64(w, 0);
}

static void put_removed(struct weir_mpw *w, unsigned group, const struct step *s) {
    weir_mpw_map(w, 2);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockRemoved");
    put_names(w, group, s);
}

static bool make_group(unsigned at) {
    struct group *g = &groups[at];
    struct weir_mpw w;
    g->n_payloads = n_steps() / BATCH;
    g->ends = calloc(g->n_payloads, sizeof(*g->ends));
    weir_buf_init(&g->bytes, (size_t)1 << 30);
    if (g->ends == NULL)
        return false;
    for (size_t p = 0; p < g->n_payloads; p++) {
        weir_mpw_init(&w, &g->bytes);
        weir_mpw_array(&w, 3);
        weir_mpw_f64(&w, (double)p);
        weir_mpw_array(&w, BATCH);
        for (size_t i = p * BATCH; i < (p + 1) * BATCH; i++) {
            struct step s = step_at(i);
            if (s.stored)
                put_stored(&w, at, &s);
            else
                put_removed(&w, at, &s);
        }
        weir_mpw_u64(&w, 0);
        if (w.status != WEIR_OK)
            return false;
        g->ends[p] = g->bytes.len;
    }
    for (unsigned c = 0; c < CONVERSATIONS; c++)
        for (unsigned b = 0; b < DEPTH; b++) {
            uint32_t tokens[BLOCK];
            tokens_of(at, c, b, tokens);
            g->local[c][b] = kvi_block_hash(tokens, BLOCK, KVI_SEED);
        }
    return true;
}

/* ---- events into the router ------------------------------------------------------------------ */

static struct worker *speaks; /* whose payload is being read */

static void on_event(void *arg, const struct weir_engine_event *e) {
    struct weir_kv_event ev;
    struct weir_span lora;
    (void)arg;
    if (!weir_engine_rank_convert(speaks->rank, e, &ev, &lora))
        return;
    ev.worker_id = (uint64_t)(speaks - workers);
    weir_router_kv_event(router, &ev);
}

static bool feed(struct worker *w) {
    const struct group *g = w->group;
    size_t begin = w->next > 0 ? g->ends[w->next - 1] : 0;
    struct weir_engine_batch b;
    speaks = w;
    enum weir_status st = weir_engine_batch_decode(
        weir_span(g->bytes.data + begin, g->ends[w->next] - begin), &arena, on_event, NULL, &b);
    w->next = (w->next + 1) % g->n_payloads;
    return st == WEIR_OK;
}

/* The state in which a cycle begins. */
static void hold_first(struct worker *w, unsigned group) {
    for (size_t i = n_steps() / 2; i < n_steps(); i++) {
        struct step s = step_at(i);
        uint64_t names[DEPTH],
            parent = s.first > 0 ? name_of(group, s.conversation, s.first - 1) : 0;
        uint32_t tokens[DEPTH * BLOCK];
        for (unsigned b = 0; b < opt.blocks; b++) {
            names[b] = name_of(group, s.conversation, s.first + b);
            tokens_of(group, s.conversation, s.first + b, tokens + b * BLOCK);
        }
        speaks = w;
        if (s.stored)
            on_event(NULL, &(struct weir_engine_event){.kind = WEIR_ENGINE_STORED,
                                                       .hashes = names,
                                                       .n_hashes = opt.blocks,
                                                       .has_parent = s.first > 0,
                                                       .parent = parent,
                                                       .tokens = tokens,
                                                       .n_tokens = opt.blocks * BLOCK,
                                                       .block_size = BLOCK,
                                                       .group = -1});
    }
}

struct feeder {
    unsigned events_s;
    uint64_t events, cpu_ns, lag_max_ns, wall_ns;
    bool failed;
};

static void *run_feeder(void *arg) {
    struct feeder *f = arg;
    uint64_t begin = now_ns(), cpu = cpu_ns(), due = begin;
    unsigned at = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t now = now_ns();
        if (now < due) {
            sleep_until(due);
            continue;
        }
        if (now - due > f->lag_max_ns)
            f->lag_max_ns = now - due;
        /* All that is due: a millisecond's worth, or more when the thread did not run. */
        uint64_t want = (now - begin) / 1000 * f->events_s / 1000000;
        while (f->events < want && !f->failed) {
            f->failed = !feed(&workers[at]);
            at = (at + 1) % opt.workers;
            f->events += BATCH;
        }
        due += 1000000u * ((now - due) / 1000000u + 1);
    }
    f->wall_ns = now_ns() - begin;
    f->cpu_ns = cpu_ns() - cpu;
    return NULL;
}

/* ---- routing --------------------------------------------------------------------------------- */

struct asker {
    struct weir_hist wall, cpu;
    uint64_t routes, blocks_found;
    bool failed;
};

static void *run_asker(void *arg) {
    struct asker *a = arg;
    static uint64_t bookings[RUNNING];
    uint64_t local[DEPTH + TAIL], sequence[DEPTH + TAIL], due = now_ns();
    struct weir_rng rng;
    weir_rng_seed(&rng, 1);
    for (; (a->routes == 0 || !atomic_load_explicit(&stop, memory_order_relaxed)) && !a->failed;
         a->routes++) {
        const struct group *g = &groups[weir_rng_below(&rng, (opt.workers + GROUP - 1) / GROUP)];
        size_t n = 1 + weir_rng_below(&rng, DEPTH);
        memcpy(local, g->local[weir_rng_below(&rng, CONVERSATIONS)], n * sizeof(*local));
        for (unsigned i = 0; i < TAIL; i++)
            local[n++] = weir_rng_u64(&rng);
        kvi_chain(local, n, sequence);
        uint64_t *slot = &bookings[a->routes % RUNNING];
        struct weir_route route;
        struct weir_route_query q = {.local_hashes = local,
                                     .sequence_hashes = sequence,
                                     .n_blocks = n,
                                     .isl_tokens = n * BLOCK,
                                     .pinned_rank = -1,
                                     .rng = &rng,
                                     .now_ms = now_ns() / 1000000};
        weir_router_free(router, *slot);
        uint64_t cpu = cpu_ns(), begin = now_ns();
        a->failed = weir_router_route(router, &q, &route) != WEIR_OK;
        uint64_t end = now_ns();
        weir_hist_record(&a->cpu, cpu_ns() - cpu);
        weir_hist_record(&a->wall, end - begin);
        *slot = route.booking;
        a->blocks_found += route.overlap_blocks;
        if (a->routes % 4 > 0)
            weir_router_prefill_done(router, route.booking);
        due += 1000000000u / opt.routes_s;
        if (end < due)
            sleep_until(due);
        else
            due = end; /* not made up for: each call is measured by itself */
    }
    for (unsigned i = 0; i < RUNNING; i++) {
        weir_router_free(router, bookings[i]);
        bookings[i] = 0;
    }
    return NULL;
}

/* ---- the check and the report ---------------------------------------------------------------- */

/* Conversations of workers of which another number of blocks is found than was told. */
static uint64_t count_wrong(uint64_t *ret_checked) {
    static struct weir_router_overlap found[MAX_WORKERS];
    static unsigned held[MAX_WORKERS][CONVERSATIONS];
    uint64_t wrong = 0;
    for (unsigned k = 0; k < opt.workers; k++) {
        for (unsigned c = 0; c < CONVERSATIONS; c++)
            held[k][c] = c >= CONVERSATIONS - HELD ? DEPTH : 0;
        for (size_t i = 0; i < workers[k].next * BATCH; i++) {
            struct step s = step_at(i);
            held[k][s.conversation] = s.stored ? s.first + opt.blocks : s.first;
        }
    }
    *ret_checked = 0;
    for (unsigned g = 0; g * GROUP < opt.workers; g++)
        for (unsigned c = 0; c < CONVERSATIONS; c++) {
            size_t n = weir_router_overlaps(router, groups[g].local[c], DEPTH, found, MAX_WORKERS);
            for (size_t i = 0; i < n; i++) {
                unsigned k = (unsigned)found[i].worker_id;
                wrong += found[i].device_blocks != (k / GROUP == g ? held[k][c] : 0);
            }
            *ret_checked += n;
        }
    return wrong;
}

static void print_quantiles(const char *name, const struct weir_hist *h) {
    printf(",\"%s\":{\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.1f}", name,
           (double)weir_hist_quantile(h, 0.5) / 1e3, (double)weir_hist_quantile(h, 0.99) / 1e3,
           (double)weir_hist_quantile(h, 0.999) / 1e3, (double)weir_hist_quantile(h, 1) / 1e3);
}

static int measure(unsigned events_s) {
    struct feeder f = {.events_s = events_s};
    struct asker a = {0};
    struct weir_router_index_stats before, after;
    pthread_t feeder, asker;
    uint64_t checked;
    if (weir_hist_init(&a.wall, WEIR_HIST_FINE) != WEIR_OK ||
        weir_hist_init(&a.cpu, WEIR_HIST_FINE) != WEIR_OK)
        return 1;
    weir_router_index_stats(router, &before);
    atomic_store(&stop, false);
    if (pthread_create(&feeder, NULL, run_feeder, &f) != 0)
        return 1;
    if (pthread_create(&asker, NULL, run_asker, &a) != 0)
        return 1;
    uint64_t begin = now_ns();
    for (unsigned s = 1; s <= opt.seconds; s++) {
        sleep_until(begin + (uint64_t)s * 1000000000u);
        weir_router_maintain(router);
    }
    atomic_store(&stop, true);
    pthread_join(feeder, NULL);
    pthread_join(asker, NULL);
    weir_router_index_stats(router, &after);
    uint64_t applied = after.events_ok - before.events_ok, wrong = count_wrong(&checked);
    double seconds = (double)f.wall_ns / 1e9;
    printf("{\"bench\":\"flood\",\"events_s_asked\":%u,\"events_s\":%.0f,\"events_s_applied\":%.0f,"
           "\"lost\":%" PRIi64 ",\"blocks_s\":%.0f,\"checked\":%" PRIu64 ",\"wrong\":%" PRIu64,
           events_s, (double)f.events / seconds, (double)applied / seconds,
           (int64_t)(f.events - applied), (double)f.events / seconds * opt.blocks, checked, wrong);
    printf(",\"workers\":%u,\"entries\":%" PRIu64 ",\"feeder_cpu\":%.3f,\"feeder_lag_max_ms\":%.1f",
           opt.workers, after.entries, (double)f.cpu_ns / (double)f.wall_ns,
           (double)f.lag_max_ns / 1e6);
    printf(",\"routes_s\":%.0f,\"blocks_found\":%.1f", (double)a.routes / seconds,
           (double)a.blocks_found / (double)a.routes);
    print_quantiles("route_us", &a.wall);
    print_quantiles("route_cpu_us", &a.cpu);
    printf("}\n");
    fflush(stdout);
    bool bad = f.failed || a.failed || applied != f.events || wrong > 0;
    weir_hist_fini(&a.wall);
    weir_hist_fini(&a.cpu);
    return bad;
}

static bool set_up(void) {
    struct weir_router_config c;
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = BLOCK;
    weir_arena_init(&arena, 16 << 20);
    if (weir_router_create(&c, &router) != WEIR_OK)
        return false;
    for (unsigned g = 0; g * GROUP < opt.workers; g++)
        if (!make_group(g))
            return false;
    for (unsigned k = 0; k < opt.workers; k++) {
        workers[k].group = &groups[k / GROUP];
        struct weir_router_worker w = {
            .worker_id = k, .dp_size = 1, .max_num_batched_tokens = 8192};
        if (weir_engine_rank_create(BLOCK, 0, &workers[k].rank) != WEIR_OK ||
            weir_router_worker_put(router, &w) != WEIR_OK)
            return false;
        hold_first(&workers[k], k / GROUP);
    }
    return true;
}

static int usage(void) {
    fputs("usage: flood [--events-s 200000] [--routes-s 5000] [--seconds 10] [--workers 16: at "
          "most 256]\n"
          "             [--blocks-per-event 1: a power of two to 64]\n"
          "An event stores or removes blocks of 16 tokens; half of them remove.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"events-s", required_argument, NULL, 'e'},
                                            {"routes-s", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"workers", required_argument, NULL, 'w'},
                                            {"blocks-per-event", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned n = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        unsigned *to = c == 'e'   ? &opt.events_s
                       : c == 'r' ? &opt.routes_s
                       : c == 's' ? &opt.seconds
                       : c == 'w' ? &opt.workers
                       : c == 'b' ? &opt.blocks
                                  : NULL;
        if (to == NULL)
            return usage();
        *to = n;
    }
    if (optind < argc || opt.events_s == 0 || opt.routes_s == 0 || opt.seconds == 0 ||
        opt.workers == 0 || opt.workers > MAX_WORKERS || opt.blocks == 0 || opt.blocks > DEPTH ||
        (opt.blocks & (opt.blocks - 1)) != 0)
        return usage();
    int failed = !set_up() || measure(0) | measure(opt.events_s);
    for (unsigned k = 0; k < opt.workers; k++)
        weir_engine_rank_destroy(workers[k].rank);
    for (unsigned g = 0; g * GROUP < opt.workers; g++) {
        weir_buf_fini(&groups[g].bytes);
        free(groups[g].ends);
    }
    weir_router_destroy(router);
    weir_arena_fini(&arena);
    return failed;
}
