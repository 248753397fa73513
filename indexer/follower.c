#include "indexer/follower.h"

#include "base/log.h"
#include "base/mem.h"
#include "router/engine_events.h"
#include "router/kv_batch.h"
#include "runtime/engine_feed.h"

#include <inttypes.h>

struct weir_follower {
    struct weir_follower_config config;
    struct weir_engine_feed *feed;
    struct weir_engine_rank *rank; /* engine's events to index events */
    uint64_t events;
    bool paused;
    struct weir_kv_batch batch; /* of one message */
};

static void apply(void *mirror, const struct kvi_event *events, size_t n) {
    weir_mirror_apply_many(mirror, events, n);
}

static void on_event(void *arg, const struct weir_engine_event *event) {
    struct weir_follower *l = arg;
    struct weir_kv_event e;
    struct weir_span lora; /* is in the hashes */
    if (!weir_engine_rank_convert(l->rank, event, &e, &lora))
        return;
    e.worker_id = l->config.worker.worker_id;
    e.dp_rank = l->config.worker.dp_rank;
    weir_kv_batch_add(&l->batch, apply, l->config.mirror, &e);
    l->events += 1 + event->joined;
}

static void on_batch(void *arg, uint64_t next) {
    struct weir_follower *l = arg;
    (void)next;
    weir_kv_batch_flush(&l->batch);
}

static void on_reset(void *arg, const char *why) {
    struct weir_follower *l = arg;
    WEIR_LOG(WEIR_LOG_INFO, "indexer", "instance %" PRIu64 " rank %u: emptied: %s",
             l->config.worker.worker_id, l->config.worker.dp_rank, why);
    weir_engine_rank_reset(l->rank);
    weir_kv_batch_flush(&l->batch);
    weir_mirror_clear(l->config.mirror, l->config.worker);
}

enum weir_status weir_follower_open(const struct weir_follower_config *config,
                                    struct weir_follower **ret_follower, struct weir_err *err) {
    static const struct weir_engine_feed_ops ops = {on_event, on_reset, on_batch};
    struct weir_follower *l = weir_calloc(1, sizeof(*l));
    if (l == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    l->config = *config;
    struct weir_engine_source source = {.rank = config->worker.dp_rank,
                                        .events = weir_span_z(config->endpoint),
                                        .replay = weir_span_z(config->replay)};
    enum weir_status st = weir_engine_rank_create(config->block_size, 0, &l->rank);
    if (st != WEIR_OK) {
        weir_err_set(err, st, "out of memory");
    } else {
        weir_engine_rank_hash_as_dynamo(l->rank);
        st = weir_engine_feed_open(config->loop, config->binds, &source, &ops, l, &l->feed, err);
    }
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

enum weir_status weir_follower_pause(struct weir_follower *l, bool pause, struct weir_err *err) {
    if (l->paused == pause)
        return weir_err_set(err, WEIR_EXISTS,
                            "instance %" PRIu64 " dp_rank %u cannot be %s from status %s",
                            l->config.worker.worker_id, l->config.worker.dp_rank,
                            pause ? "paused" : "resumed", l->paused ? "paused" : "active");
    enum weir_status st = WEIR_OK;
    if (pause)
        weir_engine_feed_pause(l->feed);
    else
        st = weir_engine_feed_resume(l->feed, err);
    l->paused = st == WEIR_OK ? pause : true;
    return st;
}

bool weir_follower_is_paused(const struct weir_follower *follower) {
    return follower->paused;
}

void weir_follower_close(struct weir_follower *follower) {
    if (follower == NULL)
        return;
    weir_engine_feed_close(follower->feed);
    weir_engine_rank_destroy(follower->rank);
    weir_free(follower);
}
