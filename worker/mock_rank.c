#include "base/log.h"
#include "base/mem.h"
#include "worker/mock_rank_priv.h"

#include <string.h>

enum { STEPS_PER_TURN = 16, LOAD_MS = 20, SCRATCH_MAX = 16 * 1024 * 1024 };

/* ---- cache events ------------------------------------------------------------------------- */

static void remember(struct weir_mock_rank *r, const struct weir_kv_event *event) {
    struct weir_mock_event *slot = &r->ring[event->event_id % WEIR_MOCK_RING];
    weir_free(slot->memory);
    *slot = (struct weir_mock_event){.event = *event};
    size_t bytes = event->n_blocks * sizeof(*event->blocks) + event->n_removed * sizeof(uint64_t);
    slot->memory = weir_malloc(bytes);
    if (slot->memory == NULL) {
        slot->event.event_id = 0; /* a hole: recovery answers with a whole dump */
        return;
    }
    if (event->n_blocks > 0)
        memcpy(slot->memory, event->blocks, event->n_blocks * sizeof(*event->blocks));
    if (event->n_removed > 0)
        memcpy(slot->memory, event->removed, event->n_removed * sizeof(uint64_t));
    slot->event.blocks = event->n_blocks > 0 ? slot->memory : NULL;
    slot->event.removed = event->n_removed > 0 ? slot->memory : NULL;
}

static enum weir_status publish_event(struct weir_mock_rank *r, const struct weir_kv_event *e) {
    if (r->stream != NULL)
        return weir_kv_stream_pub_send(r->stream, e);
    if (r->config.kv_pub == NULL)
        return WEIR_OK;
    weir_buf_clear(&r->scratch);
    enum weir_status st = weir_kv_events_encode(e, 1, &r->scratch);
    return st == WEIR_OK ? weir_event_pub_send(r->config.kv_pub, weir_buf_span(&r->scratch)) : st;
}

static void flush_pending(struct weir_mock_rank *r) {
    if (!r->pending)
        return;
    r->pending = false;
    struct weir_kv_event e = {.worker_id = r->config.worker_id,
                              .dp_rank = r->config.dp_rank,
                              .event_id = r->next_id++,
                              .tier = WEIR_TIER_DEVICE,
                              .kind = r->pending_kind};
    if (r->pending_kind == WEIR_KV_STORED) {
        e.has_parent = r->pending_has_parent;
        e.parent_hash = r->pending_parent;
        e.blocks = r->blocks;
        e.n_blocks = r->n_pending;
    } else if (r->pending_kind == WEIR_KV_REMOVED) {
        e.removed = r->removed;
        e.n_removed = r->n_pending;
    }
    r->n_pending = 0;
    remember(r, &e);
    enum weir_status st = publish_event(r, &e);
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "a KV event was not published: %s", weir_status_text(st));
}

static void begin_pending(struct weir_mock_rank *r, enum weir_kv_kind kind) {
    if (r->pending && (r->pending_kind != kind || r->n_pending == WEIR_MOCK_EVENT_BLOCKS))
        flush_pending(r);
}

static void on_stored(void *arg, bool has_parent, uint64_t parent_hash, uint64_t block_hash,
                      uint64_t tokens_hash) {
    struct weir_mock_rank *r = arg;
    if (r->config.cache.on_stored != NULL) {
        r->config.cache.on_stored(r->config.cache_arg, has_parent, parent_hash, block_hash,
                                  tokens_hash);
        return;
    }
    begin_pending(r, WEIR_KV_STORED);
    bool chains = r->pending && has_parent && r->n_pending > 0 &&
                  r->blocks[r->n_pending - 1].block_hash == parent_hash;
    if (r->pending && !chains)
        flush_pending(r);
    if (!r->pending) {
        r->pending = true;
        r->pending_kind = WEIR_KV_STORED;
        r->pending_has_parent = has_parent;
        r->pending_parent = parent_hash;
    }
    r->blocks[r->n_pending++] = (struct weir_kv_block){block_hash, tokens_hash};
}

static void on_removed(void *arg, uint64_t block_hash) {
    struct weir_mock_rank *r = arg;
    if (r->config.cache.on_removed != NULL) {
        r->config.cache.on_removed(r->config.cache_arg, block_hash);
        return;
    }
    begin_pending(r, WEIR_KV_REMOVED);
    r->pending = true;
    r->pending_kind = WEIR_KV_REMOVED;
    r->removed[r->n_pending++] = block_hash;
}

static void on_cleared(void *arg) {
    struct weir_mock_rank *r = arg;
    if (r->config.cache.on_cleared != NULL) {
        r->config.cache.on_cleared(r->config.cache_arg);
        return;
    }
    flush_pending(r);
    r->pending = true;
    r->pending_kind = WEIR_KV_CLEARED;
    flush_pending(r);
}

/* A change is told at once, then at most every LOAD_MS: a worker without delays would otherwise
 * send one message a step. */
static void publish_load(struct weir_mock_rank *r) {
    struct weir_engine_stats st;
    weir_engine_get_stats(r->engine, &st);
    if (r->config.load_pub == NULL || st.kv_used_blocks == r->last_used_blocks ||
        weir_timer_active(&r->load_timer))
        return;
    r->last_used_blocks = st.kv_used_blocks;
    if (weir_timer_start(&r->load_timer, LOAD_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "mocker", "out of memory: load metrics are not spaced");
    struct weir_active_load load = {.worker_id = r->config.worker_id,
                                    .dp_rank = r->config.dp_rank,
                                    .has_kv_used = true,
                                    .kv_used_blocks = st.kv_used_blocks};
    weir_buf_clear(&r->scratch);
    if (weir_active_load_encode(&load, &r->scratch) == WEIR_OK &&
        weir_event_pub_send(r->config.load_pub, weir_buf_span(&r->scratch)) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "mocker", "a load metric was dropped at the high-water mark");
}

static void on_load_timer(void *arg) {
    publish_load(arg);
}

static void end_batch(struct weir_mock_rank *r) {
    if (r->config.on_batch != NULL)
        r->config.on_batch(r->config.cache_arg);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void arm(struct weir_mock_rank *r, uint64_t delay_ms) {
    if (weir_timer_start(&r->timer, delay_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "mocker", "out of memory: rank %u stands still",
                 r->config.dp_rank);
}

static void end_pass(struct weir_mock_rank *r) {
    weir_engine_end_step(r->engine);
    if (!r->config.evictions_follow)
        end_batch(r);
}

/* Runs passes until one takes time, or the turn's share is used up. */
static void run_steps(struct weir_mock_rank *r) {
    uint64_t us = 0;
    for (int i = 0; i < STEPS_PER_TURN; i++) {
        if (!weir_engine_begin_step(r->engine, &us)) {
            r->stepping = false;
            flush_pending(r);
            end_batch(r);
            publish_load(r);
            return;
        }
        flush_pending(r); /* evictions of the admission */
        if (r->config.evictions_follow)
            end_batch(r);
        publish_load(r);
        if (us > 0)
            break;
        end_pass(r);
    }
    if (us > 0)
        arm(r, (us + 999) / 1000);
    else
        arm(r, 0);
}

static void on_step(void *arg) {
    struct weir_mock_rank *r = arg;
    if (weir_engine_in_step(r->engine))
        end_pass(r);
    flush_pending(r);
    run_steps(r);
}

static void on_token(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                     enum weir_engine_finish finish) {
    struct weir_mock_rank *r = arg;
    r->config.on_token(r->config.arg, user, token, cached_tokens, finish);
}

static uint32_t next_token(void *arg, void *user, uint32_t position) {
    struct weir_mock_rank *r = arg;
    return r->config.next_token(r->config.arg, user, position);
}

static const struct weir_engine_ops engine_ops = {
    on_token, {on_stored, on_removed, on_cleared}, next_token};

enum weir_status weir_mock_rank_open(struct weir_loop *loop,
                                     const struct weir_mock_rank_config *config,
                                     struct weir_mock_rank **ret_rank) {
    struct weir_mock_rank *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return WEIR_NOMEM;
    r->loop = loop;
    r->config = *config;
    r->next_id = 1;
    weir_buf_init(&r->scratch, SCRATCH_MAX);
    weir_timer_init(&r->timer, loop, on_step, r);
    weir_timer_init(&r->load_timer, loop, on_load_timer, r);
    enum weir_status st = weir_engine_create(&config->engine, &engine_ops, r, &r->engine);
    if (st != WEIR_OK) {
        weir_free(r);
        return st;
    }
    *ret_rank = r;
    return WEIR_OK;
}

void weir_mock_rank_close(struct weir_mock_rank *rank) {
    if (rank == NULL)
        return;
    weir_timer_stop(&rank->timer);
    weir_timer_stop(&rank->load_timer);
    weir_engine_destroy(rank->engine);
    for (size_t i = 0; i < WEIR_MOCK_RING; i++)
        weir_free(rank->ring[i].memory);
    weir_buf_fini(&rank->scratch);
    weir_free(rank);
}

void weir_mock_rank_set_publishers(struct weir_mock_rank *rank, struct weir_event_pub *kv_pub,
                                   struct weir_event_pub *load_pub) {
    rank->config.kv_pub = kv_pub;
    rank->config.load_pub = load_pub;
}

void weir_mock_rank_set_stream(struct weir_mock_rank *rank, struct weir_kv_stream_pub *stream) {
    rank->stream = stream;
}

void weir_mock_rank_tell_again(struct weir_mock_rank *rank) {
    on_cleared(rank);
    weir_kv_cache_each(weir_engine_cache(rank->engine), on_stored, rank);
    flush_pending(rank);
}

enum weir_status weir_mock_rank_add(struct weir_mock_rank *rank,
                                    const struct weir_sequence_config *config,
                                    struct weir_sequence **ret_seq) {
    enum weir_status st = weir_engine_add(rank->engine, config, ret_seq);
    if (st == WEIR_OK && !rank->stepping) {
        rank->stepping = true;
        arm(rank, 0); /* requests of one turn join the same pass */
    }
    return st;
}

void weir_mock_rank_cancel(struct weir_mock_rank *rank, struct weir_sequence *seq) {
    weir_engine_cancel(rank->engine, seq);
}

struct weir_engine *weir_mock_rank_engine(struct weir_mock_rank *rank) {
    return rank->engine;
}

void weir_mock_rank_get_stats(const struct weir_mock_rank *rank, struct weir_engine_stats *ret) {
    weir_engine_get_stats(rank->engine, ret);
}
