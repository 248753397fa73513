/*
 * Happy path: cache events, complete and in order (runtime/kv_follow.h), and load figures go to the
 * router of the worker's model. A load message that cannot be read is named once a second.
 */
#include "frontend/feed.h"

#include "base/log.h"
#include "base/mem.h"
#include "router/kv_batch.h"
#include "runtime/kv_follow.h"

#include <inttypes.h>

struct weir_feed {
    struct weir_models *models;   /* borrowed: outlives the feed */
    struct weir_prefill *prefill; /* the same */
    struct weir_kv_follow *kv;    /* NULL: cache events are not used */
    struct weir_event_sub *load;
    struct weir_log_limit unreadable;
    struct weir_kv_batch batch; /* of one message; its router outlives that */
};

/* Its model is up: before that, or for a worker of another namespace, events have no place to go.
 */
static bool worker_ready(void *arg, uint64_t worker_id) {
    struct weir_feed *f = arg;
    struct weir_model *model = weir_models_of_worker(f->models, worker_id);
    if (model == NULL)
        return weir_prefill_router_of(f->prefill, worker_id) != NULL;
    weir_model_unref(model);
    return true;
}

static bool on_kv_event(void *arg, const struct weir_kv_event *event) {
    struct weir_feed *f = arg;
    struct weir_model *model = weir_models_of_worker(f->models, event->worker_id);
    if (model == NULL) {
        struct weir_router *router = weir_prefill_router_of(f->prefill, event->worker_id);
        if (router != NULL)
            weir_kv_batch_add(&f->batch, weir_router_kv_events, router, event);
        return router != NULL;
    }
    weir_kv_batch_add(&f->batch, weir_router_kv_events, weir_model_info(model)->router, event);
    weir_model_unref(model);
    return true;
}

static void on_kv_end(void *arg) {
    struct weir_feed *f = arg;
    weir_kv_batch_flush(&f->batch);
}

static void log_unreadable(struct weir_feed *f, const struct weir_event_msg *msg) {
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&f->unreadable, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "kv_metrics message %" PRIu64 " of publisher %" PRIx64
                 " cannot be read; %u more were not reported",
                 msg->sequence, msg->publisher_id, dropped);
}

static void on_reset(void *arg, uint64_t worker_id, uint32_t dp_rank) {
    struct weir_feed *f = arg;
    weir_kv_batch_flush(&f->batch);
    struct weir_model *model = weir_models_of_worker(f->models, worker_id);
    if (model == NULL) {
        struct weir_router *router = weir_prefill_router_of(f->prefill, worker_id);
        if (router != NULL)
            weir_router_clear_rank(router, worker_id, dp_rank);
        return;
    }
    weir_router_clear_rank(weir_model_info(model)->router, worker_id, dp_rank);
    weir_model_unref(model);
}

static void on_load(void *arg, const struct weir_event_msg *msg) {
    struct weir_feed *f = arg;
    struct weir_active_load load;
    if (weir_active_load_decode(msg->payload, &load) != WEIR_OK) {
        log_unreadable(f, msg);
        return;
    }
    struct weir_model *model = weir_models_of_worker(f->models, load.worker_id);
    if (model == NULL) {
        struct weir_router *router = weir_prefill_router_of(f->prefill, load.worker_id);
        if (router != NULL)
            weir_router_load_event(router, &load);
        return;
    }
    weir_router_load_event(weir_model_info(model)->router, &load);
    weir_model_unref(model);
}

enum weir_status weir_feed_open(struct weir_loop *loop, struct weir_discovery *disc,
                                struct weir_nats *nats, struct weir_models *models,
                                struct weir_prefill *prefill, struct weir_plane_client *client,
                                struct weir_feed **ret_feed, struct weir_err *err) {
    static const struct weir_kv_follow_ops kv_ops = {worker_ready, on_kv_event, on_kv_end,
                                                     on_reset};
    static const struct weir_event_sub_ops load_ops = {.on_event = on_load};
    struct weir_feed *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->models = models;
    f->prefill = prefill;
    enum weir_status st = WEIR_OK;
    if (client != NULL)
        st = weir_kv_follow_open(loop, disc, nats, client, &kv_ops, f, &f->kv, err);
    if (st == WEIR_OK)
        st =
            weir_event_sub_open(loop, disc, nats, "kv_metrics", false, &load_ops, f, &f->load, err);
    if (st != WEIR_OK) {
        weir_feed_close(f);
        return st;
    }
    *ret_feed = f;
    return WEIR_OK;
}

void weir_feed_close(struct weir_feed *feed) {
    if (feed == NULL)
        return;
    weir_kv_follow_close(feed->kv);
    weir_event_sub_close(feed->load);
    weir_free(feed);
}
