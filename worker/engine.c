#include "worker/engine.h"

#include "base/list.h"
#include "base/mem.h"
#include "kvindex/kvi.h"

#include <math.h>
#include <string.h>

struct weir_sequence {
    struct weir_list node; /* in engine.running or engine.waiting */
    bool running, counted;
    uint32_t *tokens; /* owned: prompt, then output */
    uint32_t n_prompt, n_tokens, max_tokens;
    uint32_t n_computed;  /* tokens whose KV is in the cache */
    bool kv_received;     /* and all but one of the prompt's will be on admission */
    uint32_t n_cached;    /* of these, found there at the first start */
    uint32_t step_tokens; /* computed by the pass that runs now */
    uint64_t *hashes;     /* owned: sequence hashes of full blocks, then their token hashes */
    uint32_t n_hashed, cap_hashed;
    uint64_t seed;
    struct weir_kv_table table;
    void *user;
};

struct weir_engine {
    struct weir_engine_config config;
    struct weir_engine_ops ops;
    void *arg;
    struct weir_kv_cache *cache; /* owned */
    struct weir_list running;    /* oldest first */
    struct weir_list waiting;
    uint32_t n_running, n_waiting;
    bool in_step;
    const struct weir_sequence *storing; /* inside cache.on_stored */
    uint32_t storing_at;                 /* its block */
    struct weir_engine_stats stats;
};

#define SEQ(node_ptr) WEIR_CONTAINER_OF(node_ptr, struct weir_sequence, node)

enum weir_status weir_engine_create(const struct weir_engine_config *config,
                                    const struct weir_engine_ops *ops, void *arg,
                                    struct weir_engine **ret_engine) {
    if (config->block_size == 0 || config->n_blocks == 0 || config->max_num_seqs == 0 ||
        config->max_num_batched_tokens == 0)
        return WEIR_INVALID;
    struct weir_engine *e = weir_calloc(1, sizeof(*e));
    if (e == NULL)
        return WEIR_NOMEM;
    e->config = *config;
    if (e->config.max_waiting == 0)
        e->config.max_waiting = 65536;
    e->ops = *ops;
    e->arg = arg;
    weir_list_init(&e->running);
    weir_list_init(&e->waiting);
    enum weir_status st =
        weir_kv_cache_create(config->n_blocks, config->prefix_caching, &ops->cache, arg, &e->cache);
    if (st != WEIR_OK) {
        weir_free(e);
        return st;
    }
    *ret_engine = e;
    return WEIR_OK;
}

static void free_sequence(struct weir_engine *e, struct weir_sequence *s) {
    weir_list_remove(&s->node);
    if (s->running)
        e->n_running--;
    else
        e->n_waiting--;
    weir_kv_cache_release(e->cache, &s->table);
    weir_free(s->tokens);
    weir_free(s->hashes);
    weir_free(s);
}

void weir_engine_destroy(struct weir_engine *engine) {
    if (engine == NULL)
        return;
    WEIR_LIST_FOREACH(it, &engine->running) {
        free_sequence(engine, SEQ(it));
    }
    WEIR_LIST_FOREACH(it, &engine->waiting) {
        free_sequence(engine, SEQ(it));
    }
    weir_kv_cache_destroy(engine->cache);
    weir_free(engine);
}

static uint32_t blocks_for(const struct weir_engine *e, uint32_t n_tokens) {
    return (uint32_t)(((uint64_t)n_tokens + e->config.block_size - 1) / e->config.block_size);
}

/* A sequence that outgrew the whole cache could never run again, so the cache is a limit too. */
static uint32_t longest_sequence(const struct weir_engine *e) {
    uint64_t room = (uint64_t)e->config.n_blocks * e->config.block_size;
    if (room > UINT32_MAX / 2)
        room = UINT32_MAX / 2;
    uint32_t limit = e->config.max_model_len;
    return limit > 0 && limit < room ? limit : (uint32_t)room;
}

enum weir_status weir_engine_add(struct weir_engine *e, const struct weir_sequence_config *config,
                                 struct weir_sequence **ret_seq) {
    uint32_t max_tokens = config->max_tokens;
    if (config->n_prompt == 0 || max_tokens == 0)
        return WEIR_INVALID;
    uint32_t limit = longest_sequence(e);
    if (config->n_prompt >= limit)
        return WEIR_TOO_LARGE;
    if (max_tokens > limit - config->n_prompt)
        max_tokens = limit - config->n_prompt;
    if (e->n_waiting >= e->config.max_waiting)
        return WEIR_LIMIT;
    struct weir_sequence *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    /* The output may be long and end early: its room grows with it. */
    s->tokens = weir_malloc((size_t)config->n_prompt * sizeof(*s->tokens));
    if (s->tokens == NULL) {
        weir_free(s);
        return WEIR_NOMEM;
    }
    memcpy(s->tokens, config->prompt, (size_t)config->n_prompt * sizeof(*s->tokens));
    s->n_prompt = s->n_tokens = config->n_prompt;
    s->kv_received = config->kv_received;
    s->max_tokens = max_tokens;
    s->seed = config->hash_seed;
    s->user = config->user;
    weir_list_push_back(&e->waiting, &s->node);
    e->n_waiting++;
    *ret_seq = s;
    return WEIR_OK;
}

void weir_engine_cancel(struct weir_engine *engine, struct weir_sequence *seq) {
    free_sequence(engine, seq);
}

/* hashes[2i] is the sequence hash of block i, hashes[2i + 1] its content hash. */
static enum weir_status hash_up_to(const struct weir_engine *e, struct weir_sequence *s,
                                   uint32_t n) {
    if (n > s->cap_hashed) {
        uint32_t cap = s->cap_hashed * 2 > n ? s->cap_hashed * 2 : n;
        uint64_t *hashes = weir_realloc(s->hashes, (size_t)cap * 2 * sizeof(*hashes));
        if (hashes == NULL)
            return WEIR_NOMEM;
        s->hashes = hashes;
        s->cap_hashed = cap;
    }
    uint32_t bs = e->config.block_size;
    for (; s->n_hashed < n; s->n_hashed++) {
        uint32_t i = s->n_hashed;
        uint64_t pair[2], local = kvi_block_hash(s->tokens + (size_t)i * bs, bs, s->seed);
        pair[0] = i > 0 ? s->hashes[2 * (i - 1)] : 0;
        pair[1] = local;
        uint64_t chained[2];
        if (i > 0)
            kvi_chain(pair, 2, chained);
        s->hashes[2 * i] = i > 0 ? chained[1] : local;
        s->hashes[2 * i + 1] = local;
    }
    return WEIR_OK;
}

/* Names the blocks that the pass has filled. */
static void complete_blocks(struct weir_engine *e, struct weir_sequence *s, uint32_t before) {
    uint32_t bs = e->config.block_size, full = s->n_computed / bs;
    if (hash_up_to(e, s, full) != WEIR_OK)
        return; /* out of memory: these blocks are merely not reusable */
    e->storing = s;
    for (uint32_t i = before / bs; i < full; i++) {
        e->storing_at = i;
        weir_kv_cache_complete(e->cache, &s->table, i, s->hashes[2 * i], s->hashes[2 * i + 1],
                               i > 0, i > 0 ? s->hashes[2 * (i - 1)] : 0);
    }
    e->storing = NULL;
}

/* Blocks for `hits` found ones and what the budget computes behind them. There must be room for all
 * of the prompt. */
static enum weir_status take_blocks(struct weir_engine *e, struct weir_sequence *s,
                                    const uint64_t *chain, uint32_t hits, uint32_t budget) {
    uint32_t all = blocks_for(e, s->n_tokens) - hits, first = all;
    uint64_t end = (uint64_t)hits * e->config.block_size + budget;
    if (e->config.blocks_by_chunk && e->config.chunked_prefill && !s->kv_received &&
        end < s->n_tokens)
        first = blocks_for(e, (uint32_t)end) - hits;
    return weir_kv_cache_acquire(e->cache, &s->table, chain, hits, first, all);
}

/* Moves the oldest waiting sequence into the batch if the cache has room for its prompt. */
static bool admit(struct weir_engine *e, struct weir_sequence *s, uint32_t budget) {
    uint32_t bs = e->config.block_size, full = s->n_tokens / bs;
    if (hash_up_to(e, s, full) != WEIR_OK)
        return false;
    /* At least one token must be computed, or there would be nothing to sample from. */
    uint32_t usable = (s->n_tokens - 1) / bs, hits = 0;
    if (e->config.prefix_caching) {
        uint64_t *chain = weir_malloc((size_t)(usable + 1) * sizeof(*chain));
        if (chain == NULL)
            return false;
        for (uint32_t i = 0; i < usable; i++)
            chain[i] = s->hashes[2 * i];
        hits = weir_kv_cache_match(e->cache, chain, usable);
        enum weir_status st = take_blocks(e, s, chain, hits, budget);
        weir_free(chain);
        if (st != WEIR_OK)
            return false;
    } else if (take_blocks(e, s, NULL, 0, budget) != WEIR_OK) {
        return false;
    }
    s->n_computed = hits * bs;
    if (s->kv_received) {
        s->kv_received = false; /* lost when the sequence is preempted */
        s->n_computed = s->n_prompt - 1;
        e->stats.received_tokens += s->n_prompt;
        complete_blocks(e, s, hits * bs);
    }
    if (!s->counted) {
        s->counted = true;
        s->n_cached = hits * bs < s->n_prompt ? hits * bs : s->n_prompt;
        e->stats.prompt_tokens += s->n_prompt;
        e->stats.cached_tokens += s->n_cached;
    }
    weir_list_remove(&s->node);
    weir_list_push_back(&e->running, &s->node);
    s->running = true;
    e->n_waiting--;
    e->n_running++;
    return true;
}

static void preempt(struct weir_engine *e, struct weir_sequence *s) {
    weir_kv_cache_release(e->cache, &s->table);
    s->n_computed = 0;
    s->step_tokens = 0;
    s->running = false;
    weir_list_remove(&s->node);
    weir_list_push_front(&e->waiting, &s->node);
    e->n_running--;
    e->n_waiting++;
    e->stats.preemptions++;
}

/* Room for the KV of its first n tokens; the youngest sequences give way. False: s itself gave way.
 */
static bool make_room(struct weir_engine *e, struct weir_sequence *s, uint32_t n) {
    while (s->table.n < blocks_for(e, n)) {
        enum weir_status st = weir_kv_cache_extend(e->cache, &s->table);
        if (st == WEIR_OK)
            continue;
        struct weir_sequence *youngest = SEQ(e->running.prev);
        preempt(e, youngest);
        if (youngest == s)
            return false;
    }
    return true;
}

/* Gives `s` its share of the pass; returns the tokens it takes of the budget. */
static uint32_t schedule(struct weir_engine *e, struct weir_sequence *s, uint32_t budget) {
    uint32_t todo = s->n_tokens - s->n_computed;
    if (todo > budget) {
        bool alone = budget == e->config.max_num_batched_tokens;
        if (!e->config.chunked_prefill && !alone)
            return 0;
        if (e->config.chunked_prefill)
            todo = budget;
    }
    s->step_tokens = todo;
    return todo < budget ? todo : budget;
}

bool weir_engine_begin_step(struct weir_engine *e, uint64_t *ret_us) {
    WEIR_ASSERT(!e->in_step);
    uint32_t budget = e->config.max_num_batched_tokens, prefill = 0, decodes = 0;
    WEIR_LIST_FOREACH(it, &e->running) {
        struct weir_sequence *s = SEQ(it);
        s->step_tokens = 0;
    }
    for (struct weir_list *it = e->running.next; it != &e->running && budget > 0;) {
        struct weir_sequence *s = SEQ(it);
        uint32_t took = schedule(e, s, budget);
        bool by_chunk = e->config.blocks_by_chunk;
        bool kept = make_room(e, s, by_chunk ? s->n_computed + s->step_tokens : s->n_tokens);
        it = kept ? it->next : &e->running; /* s was the youngest: nobody is behind it */
        if (!kept)
            break;
        bool decode = s->n_computed + 1 == s->n_tokens && s->n_tokens > s->n_prompt;
        budget -= took;
        decodes += decode && took > 0;
        prefill += decode ? 0 : s->step_tokens;
    }
    while (budget > 0 && !weir_list_empty(&e->waiting) && e->n_running < e->config.max_num_seqs) {
        struct weir_sequence *s = SEQ(e->waiting.next);
        if (!admit(e, s, budget))
            break;
        budget -= schedule(e, s, budget);
        prefill += s->step_tokens;
        if (s->step_tokens == 0)
            break;
    }
    if (e->n_running == 0)
        return false;
    double us = 0;
    if (e->config.speedup > 0) {
        if (e->config.prefill_tokens_per_s > 0)
            us += prefill * 1e6 / e->config.prefill_tokens_per_s;
        /* A pass costs its base whatever is in it. */
        double base = (e->config.decode_base_ms + e->config.decode_per_request_ms * decodes) * 1000;
        bool speeds = decodes > 0 && e->config.decode_speedup > 0;
        us += base / (speeds ? e->config.decode_speedup : 1);
        us /= e->config.speedup;
    }
    e->in_step = true;
    e->stats.steps++;
    *ret_us = (uint64_t)llround(us);
    return true;
}

static bool push_token(struct weir_sequence *s, uint32_t token) {
    uint32_t n = s->n_tokens;
    /* Capacity: the prompt exactly, then doubling from the next power of two. */
    if (n == s->n_prompt || (n & (n - 1)) == 0) {
        size_t cap = 16;
        while (cap <= n)
            cap *= 2;
        uint32_t *tokens = weir_realloc(s->tokens, cap * sizeof(*tokens));
        if (tokens == NULL)
            return false;
        s->tokens = tokens;
    }
    s->tokens[s->n_tokens++] = token;
    return true;
}

void weir_engine_end_step(struct weir_engine *e) {
    WEIR_ASSERT(e->in_step);
    e->in_step = false;
    WEIR_LIST_FOREACH(it, &e->running) {
        struct weir_sequence *s = SEQ(it);
        if (s->step_tokens == 0)
            continue;
        uint32_t before = s->n_computed;
        s->n_computed += s->step_tokens;
        s->step_tokens = 0;
        complete_blocks(e, s, before);
        if (s->n_computed < s->n_tokens)
            continue; /* the prompt goes on in the next pass */
        uint32_t position = s->n_tokens - s->n_prompt;
        uint32_t token = e->ops.next_token(e->arg, s->user, position);
        bool last = position + 1 >= s->max_tokens || !push_token(s, token);
        e->stats.output_tokens++;
        void *user = s->user;
        uint32_t cached = s->n_cached;
        if (last) {
            e->stats.finished++;
            free_sequence(e, s);
        }
        e->ops.on_token(e->arg, user, token, cached,
                        last ? WEIR_ENGINE_LENGTH : WEIR_ENGINE_RUNNING);
    }
}

bool weir_engine_in_step(const struct weir_engine *engine) {
    return engine->in_step;
}

void weir_engine_get_stats(const struct weir_engine *engine, struct weir_engine_stats *ret) {
    *ret = engine->stats;
    ret->running = engine->n_running;
    ret->waiting = engine->n_waiting;
    ret->kv_used_blocks = weir_kv_cache_used(engine->cache);
    ret->kv_cached_blocks = weir_kv_cache_cached(engine->cache);
}

struct weir_kv_cache *weir_engine_cache(struct weir_engine *engine) {
    return engine->cache;
}

const uint32_t *weir_engine_stored_tokens(const struct weir_engine *engine, void **ret_user) {
    WEIR_ASSERT(engine->storing != NULL);
    *ret_user = engine->storing->user;
    return engine->storing->tokens + (size_t)engine->storing_at * engine->config.block_size;
}
