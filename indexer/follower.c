#include "indexer/follower.h"

#include "base/log.h"
#include "base/mem.h"
#include "router/engine_events.h"
#include "runtime/engine_feed.h"

#include <inttypes.h>

struct weir_follower {
    struct weir_follower_config config;
    struct weir_engine_feed *feed;
    struct weir_engine_rank *rank; /* engine's events to index events */
    uint64_t events;
    struct kvi_block *blocks; /* scratch of one event */
    size_t n_blocks;
};

static enum kvi_tier tier_of(enum weir_kv_tier tier) {
    static const enum kvi_tier tiers[] = {[WEIR_TIER_DEVICE] = KVI_DEVICE,
                                          [WEIR_TIER_HOST] = KVI_HOST,
                                          [WEIR_TIER_DISK] = KVI_DISK,
                                          [WEIR_TIER_EXTERNAL] = KVI_EXTERNAL};
    return tiers[tier];
}

static bool copy_blocks(struct weir_follower *l, const struct weir_kv_event *e) {
    if (e->n_blocks > l->n_blocks) {
        struct kvi_block *more = weir_realloc(l->blocks, e->n_blocks * sizeof(*more));
        if (more == NULL)
            return false;
        l->blocks = more;
        l->n_blocks = e->n_blocks;
    }
    for (size_t i = 0; i < e->n_blocks; i++)
        l->blocks[i] = (struct kvi_block){e->blocks[i].block_hash, e->blocks[i].tokens_hash};
    return true;
}

static void on_event(void *arg, const struct weir_engine_event *event) {
    struct weir_follower *l = arg;
    struct weir_kv_event e;
    struct weir_span lora;
    if (!weir_engine_rank_convert(l->rank, event, &e, &lora) || !copy_blocks(l, &e))
        return;
    struct kvi_event out = {.worker = l->config.worker,
                            .kind = e.kind == WEIR_KV_STORED    ? KVI_STORED
                                    : e.kind == WEIR_KV_REMOVED ? KVI_REMOVED
                                                                : KVI_CLEARED,
                            .tier = tier_of(e.tier),
                            .has_parent = e.has_parent,
                            .parent_hash = e.parent_hash,
                            .start_position = e.has_start_position ? e.start_position : 0,
                            .blocks = l->blocks,
                            .removed = e.removed,
                            .n = e.kind == WEIR_KV_STORED ? e.n_blocks : e.n_removed};
    weir_mirror_apply(l->config.mirror, &out);
    l->events++;
}

static void on_reset(void *arg, const char *why) {
    struct weir_follower *l = arg;
    WEIR_LOG(WEIR_LOG_INFO, "indexer", "instance %" PRIu64 " rank %u: emptied: %s",
             l->config.worker.worker_id, l->config.worker.dp_rank, why);
    weir_engine_rank_reset(l->rank);
    weir_mirror_clear(l->config.mirror, l->config.worker);
}

enum weir_status weir_follower_open(const struct weir_follower_config *config,
                                    struct weir_follower **ret_follower, struct weir_err *err) {
    static const struct weir_engine_feed_ops ops = {.on_event = on_event, .on_reset = on_reset};
    struct weir_follower *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    l->config = *config;
    struct weir_engine_source source = {.rank = config->worker.dp_rank,
                                        .events = weir_span_z(config->endpoint),
                                        .replay = weir_span_z(config->replay)};
    enum weir_status st = weir_engine_rank_create(config->block_size, 0, &l->rank);
    if (st != WEIR_OK)
        weir_err_set(err, st, "out of memory");
    else
        st = weir_engine_feed_open(config->loop, config->binds, &source, &ops, l, &l->feed, err);
    if (st != WEIR_OK) {
        weir_follower_close(l);
        return st;
    }
    *ret_follower = l;
    return WEIR_OK;
}

void weir_follower_get_stats(const struct weir_follower *follower,
                             struct weir_follower_stats *ret_stats) {
    struct weir_engine_feed_stats feed;
    weir_engine_feed_get_stats(follower->feed, &feed);
    *ret_stats = (struct weir_follower_stats){.batches = feed.batches,
                                              .events = follower->events,
                                              .lost = feed.gaps,
                                              .unreadable = feed.broken};
}

void weir_follower_close(struct weir_follower *follower) {
    if (follower == NULL)
        return;
    weir_engine_feed_close(follower->feed);
    weir_engine_rank_destroy(follower->rank);
    weir_free(follower->blocks);
    weir_free(follower);
}
