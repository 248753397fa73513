#include "bench/replay_sim.h"

#include "base/mem.h"
#include "bench/prefix_sim.h"
#include "kvindex/kvi.h"

#include <math.h>
#include <string.h>

enum { PROGRESS_EVERY = 256 };
#define MAX_MS 1e12
#define NEVER UINT64_MAX

/* ---- what is asked ------------------------------------------------------------------------ */

/* The tokens of a request's prompt and their hashes, as the frontend would have them. */
struct prompt {
    uint32_t *tokens; /* owned, as all below; room for the longest */
    uint64_t *local, *sequence;
    size_t n_tokens, n_blocks;
};

static uint32_t longest_prompt(const struct weir_replay_setup *s) {
    uint32_t most = 0;
    for (size_t i = 0; i < s->n_requests; i++)
        if (s->trace->lines[i].input_tokens > most)
            most = s->trace->lines[i].input_tokens;
    return most;
}

static bool prompt_init(struct prompt *p, const struct weir_replay_setup *s) {
    size_t n = longest_prompt(s), blocks = n / s->engine.block_size + 1;
    *p = (struct prompt){.tokens = weir_calloc(n, sizeof(*p->tokens)),
                         .local = weir_calloc(blocks, sizeof(*p->local)),
                         .sequence = weir_calloc(blocks, sizeof(*p->sequence))};
    return p->tokens != NULL && p->local != NULL && p->sequence != NULL;
}

static void prompt_fini(struct prompt *p) {
    weir_free(p->tokens);
    weir_free(p->local);
    weir_free(p->sequence);
}

/* A bijection (the finaliser of splitmix64). */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Equal hash ids give equal tokens. The top bit of every other one is clear: no answer has such. */
void weir_replay_tokens(const struct weir_replay_setup *s, size_t request, uint32_t *ret_tokens) {
    const struct weir_trace_line *line = &s->trace->lines[request];
    const uint64_t *ids = weir_trace_ids(s->trace, line);
    for (uint32_t from = 0; from < line->input_tokens; from += s->trace_block) {
        uint64_t x = mix(ids[from / s->trace_block]);
        uint32_t n = line->input_tokens - from;
        n = n < s->trace_block ? n : s->trace_block;
        for (uint32_t j = 0; j < n; j++)
            ret_tokens[from + j] =
                j % 2 == 0 ? (uint32_t)(x & INT32_MAX) : (uint32_t)(x >> 31) ^ (j << 1);
    }
}

static void prompt_fill(struct prompt *p, const struct weir_replay_setup *s, size_t request) {
    p->n_tokens = s->trace->lines[request].input_tokens;
    weir_replay_tokens(s, request, p->tokens);
    p->n_blocks = kvi_hash_and_chain(p->tokens, p->n_tokens, s->engine.block_size, KVI_SEED, false,
                                     p->local, p->sequence, p->n_tokens / s->engine.block_size + 1);
}

uint64_t weir_replay_due_us(const struct weir_replay_setup *s, size_t request) {
    return (uint64_t)llround(s->trace->lines[request].timestamp_ms * 1000 / s->trace_speedup);
}

enum weir_status weir_replay_check(const struct weir_replay_setup *s, struct weir_err *err) {
    uint64_t room = (uint64_t)s->engine.n_blocks * s->engine.block_size;
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct weir_trace_line *line = &s->trace->lines[i];
        uint64_t need = (uint64_t)line->input_tokens + line->output_tokens;
        if (need > room || need > UINT32_MAX / 2)
            return weir_err_set(err, WEIR_INVALID,
                                "request %zu of the trace has %llu tokens, a worker's cache room "
                                "for %llu: give more --kv-blocks",
                                i + 1, (unsigned long long)need, (unsigned long long)room);
    }
    if (s->trace->lines[s->n_requests - 1].timestamp_ms / s->trace_speedup > MAX_MS)
        return weir_err_set(err, WEIR_INVALID,
                            "the trace takes longer than 10^12 ms: give more --trace-speedup");
    return WEIR_OK;
}

/* ---- the fleet ---------------------------------------------------------------------------- */

struct worker {
    struct sim *sim;
    struct weir_engine *engine; /* owned */
    uint64_t step_ends_us;      /* NEVER = idle */
    uint64_t n_events;
    uint32_t number;
};

struct request {
    struct weir_queue_item item; /* while it waits in the router */
    uint64_t booking;
    bool started;
};

struct sim {
    const struct weir_replay_setup *setup;
    struct weir_router *router; /* owned */
    struct worker *workers;     /* owned */
    struct request *requests;   /* owned; at the places of the outcomes */
    struct weir_replay_outcome *outcomes;
    struct prompt prompt;
    size_t filled;            /* 1 + whose prompt that is */
    struct weir_queue *queue; /* owned, or NULL */
    size_t n_waiting;
    bool room; /* since those who wait were last looked at */
    struct weir_rng rng;
    uint64_t now_us;
    size_t n_done;
};

static void on_token(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                     enum weir_engine_finish finish) {
    struct sim *sim = ((struct worker *)arg)->sim;
    struct request *r = user;
    struct weir_replay_outcome *o = &sim->outcomes[r - sim->requests];
    (void)token;
    if (!r->started) {
        r->started = true;
        o->first_us = sim->now_us;
        o->cached_tokens = cached_tokens;
        weir_router_prefill_done(sim->router, r->booking);
    }
    if (finish == WEIR_ENGINE_RUNNING)
        return;
    o->end_us = sim->now_us;
    weir_router_free(sim->router, r->booking);
    sim->n_done++;
}

/* Each answer is its own: every second token is the request's number. */
static uint32_t next_token(void *arg, void *user, uint32_t position) {
    const struct sim *sim = ((struct worker *)arg)->sim;
    uint32_t number = (uint32_t)((struct request *)user - sim->requests);
    return (uint32_t)1 << 31 | (position % 2 == 0 ? number : position);
}

/* A router that does without events is told nothing. */
static void tell(struct worker *w, struct weir_kv_event event) {
    if (!w->sim->setup->router.use_kv_events)
        return;
    event.worker_id = w->number;
    event.event_id = w->n_events++;
    event.tier = WEIR_TIER_DEVICE;
    weir_router_kv_event(w->sim->router, &event);
}

static void on_stored(void *arg, bool has_parent, uint64_t parent_hash, uint64_t block_hash,
                      uint64_t tokens_hash) {
    const struct weir_kv_block block = {.block_hash = block_hash, .tokens_hash = tokens_hash};
    tell(arg, (struct weir_kv_event){.kind = WEIR_KV_STORED,
                                     .has_parent = has_parent,
                                     .parent_hash = parent_hash,
                                     .blocks = &block,
                                     .n_blocks = 1});
}

static void on_removed(void *arg, uint64_t block_hash) {
    tell(arg,
         (struct weir_kv_event){.kind = WEIR_KV_REMOVED, .removed = &block_hash, .n_removed = 1});
}

static void on_cleared(void *arg) {
    tell(arg, (struct weir_kv_event){.kind = WEIR_KV_CLEARED});
}

static enum weir_status add_worker(struct sim *sim, uint32_t number) {
    static const struct weir_engine_ops ops = {
        .on_token = on_token,
        .cache = {.on_stored = on_stored, .on_removed = on_removed, .on_cleared = on_cleared},
        .next_token = next_token};
    const struct weir_engine_config *engine = &sim->setup->engine;
    struct worker *w = &sim->workers[number];
    *w = (struct worker){.sim = sim, .number = number, .step_ends_us = NEVER};
    const struct weir_router_worker figures = {.worker_id = number,
                                               .dp_size = 1,
                                               .total_kv_blocks = engine->n_blocks,
                                               .max_num_batched_tokens =
                                                   engine->max_num_batched_tokens};
    enum weir_status st = weir_engine_create(engine, &ops, w, &w->engine);
    return st == WEIR_OK ? weir_router_worker_put(sim->router, &figures) : st;
}

static void on_room(void *arg) {
    ((struct sim *)arg)->room = true;
}

static enum weir_status open_queue(struct sim *sim) {
    const struct weir_queue_config config = {.policy = sim->setup->order,
                                             .max_requests = sim->setup->n_requests};
    if (!sim->setup->queues)
        return WEIR_OK;
    weir_router_on_room(sim->router, on_room, sim);
    return weir_queue_create(&config, &sim->queue);
}

static enum weir_status open_sim(struct sim *sim, enum weir_router_mode mode) {
    const struct weir_replay_setup *s = sim->setup;
    struct weir_router_config config = s->router;
    config.mode = mode;
    config.block_size = s->engine.block_size;
    for (config.max_bookings = 256; config.max_bookings <= s->n_requests;)
        config.max_bookings *= 2;  /* the router's tables grow by doubling, up to it */
    config.expiry_ms = UINT64_MAX; /* nobody forgets to free here */
    weir_rng_seed(&sim->rng, s->seed);
    sim->workers = weir_calloc(s->n_workers, sizeof(*sim->workers));
    sim->requests = weir_calloc(s->n_requests, sizeof(*sim->requests));
    if (!prompt_init(&sim->prompt, s) || sim->workers == NULL || sim->requests == NULL)
        return WEIR_NOMEM;
    enum weir_status st = weir_router_create(&config, &sim->router);
    if (st == WEIR_OK)
        weir_router_set_thresholds(sim->router, &s->thresholds);
    if (st == WEIR_OK)
        st = open_queue(sim);
    for (uint32_t i = 0; st == WEIR_OK && i < s->n_workers; i++)
        st = add_worker(sim, i);
    return st;
}

static void close_sim(struct sim *sim) {
    for (uint32_t i = 0; sim->workers != NULL && i < sim->setup->n_workers; i++)
        weir_engine_destroy(sim->workers[i].engine);
    weir_router_destroy(sim->router);
    weir_queue_destroy(sim->queue);
    prompt_fini(&sim->prompt);
    weir_free(sim->workers);
    weir_free(sim->requests);
}

/* ---- the course of time ------------------------------------------------------------------- */

static void begin_step(struct worker *w) {
    uint64_t us;
    bool busy = weir_engine_begin_step(w->engine, &us);
    w->step_ends_us = busy ? w->sim->now_us + us : NEVER;
}

static struct weir_route_query query_of(struct sim *sim, size_t number) {
    if (sim->filled != number + 1)
        prompt_fill(&sim->prompt, sim->setup, number);
    sim->filled = number + 1;
    return (struct weir_route_query){.local_hashes = sim->prompt.local,
                                     .sequence_hashes = sim->prompt.sequence,
                                     .n_blocks = sim->prompt.n_blocks,
                                     .isl_tokens = sim->prompt.n_tokens,
                                     .pinned_rank = -1,
                                     .may_wait = sim->queue != NULL,
                                     .rng = &sim->rng,
                                     .now_ms = sim->now_us / 1000};
}

/* To a worker, or to nobody; WEIR_AGAIN: it has to wait. */
static enum weir_status dispatch(struct sim *sim, size_t number) {
    struct weir_replay_outcome *o = &sim->outcomes[number];
    struct request *r = &sim->requests[number];
    const struct weir_route_query query = query_of(sim, number);
    struct weir_route route;
    enum weir_status st = weir_router_route(sim->router, &query, &route);
    o->refused = st == WEIR_OVERLOADED;
    sim->n_done += o->refused;
    if (st != WEIR_OK)
        return o->refused ? WEIR_OK : st;
    o->worker = (uint32_t)route.worker_id;
    r->booking = route.booking;
    struct worker *w = &sim->workers[o->worker];
    const struct weir_sequence_config sequence = {
        .prompt = sim->prompt.tokens,
        .n_prompt = (uint32_t)sim->prompt.n_tokens,
        .max_tokens = sim->setup->trace->lines[number].output_tokens,
        .hash_seed = KVI_SEED,
        .user = r};
    struct weir_sequence *unused;
    st = weir_engine_add(w->engine, &sequence, &unused);
    if (st == WEIR_OK && !weir_engine_in_step(w->engine))
        begin_step(w);
    return st;
}

static enum weir_status arrive(struct sim *sim, size_t number) {
    struct weir_queue_refusal unused;
    sim->outcomes[number] = (struct weir_replay_outcome){.due_us = sim->now_us};
    enum weir_status st = sim->n_waiting > 0 ? WEIR_AGAIN : dispatch(sim, number);
    if (st != WEIR_AGAIN)
        return st;
    const struct weir_route_query query = query_of(sim, number);
    struct weir_queue_item *item = &sim->requests[number].item;
    *item = (struct weir_queue_item){.uncached_tokens = weir_router_uncached(sim->router, &query),
                                     .raw_tokens = query.isl_tokens};
    sim->outcomes[number].waited = true;
    sim->n_waiting++;
    return weir_queue_push(sim->queue, item, query.now_ms, &unused);
}

/* Those who wait, in their order, as long as there is room. */
static enum weir_status admit_waiting(struct sim *sim) {
    enum weir_status st = WEIR_OK;
    while (st == WEIR_OK && sim->n_waiting > 0 && sim->room) {
        struct weir_queue_item *item = weir_queue_peek(sim->queue);
        struct request *r = WEIR_CONTAINER_OF(item, struct request, item);
        st = dispatch(sim, (size_t)(r - sim->requests));
        if (st == WEIR_AGAIN) {
            sim->room = false;
            return WEIR_OK;
        }
        weir_queue_pop(sim->queue, item, sim->now_us / 1000);
        sim->n_waiting--;
    }
    return st;
}

/* The worker whose pass ends next; the first of several. */
static struct worker *next_worker(const struct sim *sim) {
    struct worker *next = &sim->workers[0];
    for (uint32_t i = 1; i < sim->setup->n_workers; i++)
        if (sim->workers[i].step_ends_us < next->step_ends_us)
            next = &sim->workers[i];
    return next;
}

static enum weir_status play(struct sim *sim) {
    const struct weir_replay_setup *s = sim->setup;
    enum weir_status st = WEIR_OK;
    size_t n_arrived = 0, n_shown = 0;
    while (st == WEIR_OK) {
        struct worker *w = next_worker(sim);
        uint64_t arrival = n_arrived < s->n_requests ? weir_replay_due_us(s, n_arrived) : NEVER;
        if (w->step_ends_us == NEVER && arrival == NEVER)
            break;
        if (w->step_ends_us <= arrival) {
            sim->now_us = w->step_ends_us;
            weir_engine_end_step(w->engine);
            begin_step(w);
        } else {
            sim->now_us = arrival;
            st = arrive(sim, n_arrived++);
        }
        if (st == WEIR_OK && sim->n_waiting > 0)
            st = admit_waiting(sim);
        if (s->on_progress != NULL && sim->n_done >= n_shown + PROGRESS_EVERY) {
            n_shown = sim->n_done;
            s->on_progress(s->progress_arg, n_shown);
        }
    }
    return st;
}

enum weir_status weir_replay_run(const struct weir_replay_setup *setup, enum weir_router_mode mode,
                                 struct weir_replay_outcome *outcomes, uint64_t *ret_preemptions,
                                 struct weir_err *err) {
    struct sim sim = {.setup = setup, .outcomes = outcomes};
    enum weir_status st = open_sim(&sim, mode);
    if (st == WEIR_OK)
        st = play(&sim);
    *ret_preemptions = 0;
    for (uint32_t i = 0; st == WEIR_OK && i < setup->n_workers; i++) {
        struct weir_engine_stats stats;
        weir_engine_get_stats(sim.workers[i].engine, &stats);
        *ret_preemptions += stats.preemptions;
    }
    if (st == WEIR_OK && sim.n_done < setup->n_requests)
        st = weir_err_set(err, WEIR_NOMEM, "%zu requests never ended: out of memory",
                          setup->n_requests - sim.n_done);
    else if (st != WEIR_OK)
        weir_err_set(err, st, "%s", weir_status_text(st));
    close_sim(&sim);
    return st;
}

/* ---- the best ----------------------------------------------------------------------------- */

/* Blocks of a request that are complete in the end: the last token of an answer is never stored. */
static uint32_t blocks_of(const struct weir_replay_setup *s, const struct weir_trace_line *line) {
    return (line->input_tokens + line->output_tokens - 1) / s->engine.block_size;
}

static enum weir_status best_of(const struct weir_replay_setup *s, struct weir_prefix_sim *cache,
                                struct prompt *p, uint64_t *ids,
                                struct weir_replay_outcome *outcomes) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < s->n_requests && st == WEIR_OK; i++) {
        const struct weir_trace_line *line = &s->trace->lines[i];
        uint32_t n = blocks_of(s, line), hits = 0;
        prompt_fill(p, s, i);
        for (uint32_t k = 0; k < n; k++)
            ids[k] = k < p->n_blocks ? p->sequence[k] : mix((uint64_t)i << 32 | k);
        /* The last token of a prompt is always computed. */
        st = weir_prefix_sim_request(cache, ids, (line->input_tokens - 1) / s->engine.block_size, n,
                                     &hits);
        outcomes[i] = (struct weir_replay_outcome){.cached_tokens = hits * s->engine.block_size};
    }
    return st;
}

enum weir_status weir_replay_best(const struct weir_replay_setup *s, uint64_t n_blocks,
                                  struct weir_replay_outcome *outcomes, struct weir_err *err) {
    struct weir_prefix_sim cache;
    struct prompt p;
    uint64_t all = 1, most = 1;
    for (size_t i = 0; i < s->n_requests; i++) {
        uint64_t n = blocks_of(s, &s->trace->lines[i]);
        all += n;
        most = n > most ? n : most;
    }
    /* A cache that holds all is one without a bound. */
    uint64_t capacity = n_blocks == 0 || n_blocks > all ? all : n_blocks;
    if (capacity > (uint64_t)1 << 31)
        return weir_err_set(err, WEIR_TOO_LARGE,
                            "more than 2^31 blocks: take fewer requests "
                            "(--limit) or a larger --block-size");
    uint64_t *ids = weir_calloc((size_t)most, sizeof(*ids));
    bool room = prompt_init(&p, s) && ids != NULL;
    enum weir_status st = weir_prefix_sim_init(&cache, (uint32_t)capacity);
    if (!room)
        st = WEIR_NOMEM;
    if (st == WEIR_OK)
        st = best_of(s, &cache, &p, ids, outcomes);
    if (st != WEIR_OK)
        weir_err_set(err, st, "%s", weir_status_text(st));
    weir_prefix_sim_fini(&cache);
    prompt_fini(&p);
    weir_free(ids);
    return st;
}
