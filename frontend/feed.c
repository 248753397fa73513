/*
 * Happy path: message → events → the router of the worker's model. A message that cannot be read
 * is counted and named once a second; the good events before the fault in it stay applied.
 */
#include "frontend/feed.h"

#include "base/log.h"
#include "base/mem.h"
#include "runtime/events.h"

#include <inttypes.h>

enum { ARENA_MAX = 64 << 20 };

struct weir_feed {
    struct weir_models *models; /* borrowed: outlives the feed */
    struct weir_event_sub *kv, *load;
    struct weir_arena arena; /* of the event that is being applied */
    struct weir_log_limit unreadable;
};

static void on_kv_event(void *arg, const struct weir_kv_event *event) {
    struct weir_feed *f = arg;
    struct weir_model *model = weir_models_of_worker(f->models, event->worker_id);
    if (model == NULL)
        return; /* of a worker that has left, or of another namespace */
    weir_router_kv_event(weir_model_info(model)->router, event);
    weir_model_unref(model);
}

static void log_unreadable(struct weir_feed *f, const struct weir_event_msg *msg,
                           const char *topic) {
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&f->unreadable, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "%s message %" PRIu64 " of publisher %" PRIx64
                 " cannot be read; %u more were not reported",
                 topic, msg->sequence, msg->publisher_id, dropped);
}

static void on_kv(void *arg, const struct weir_event_msg *msg) {
    struct weir_feed *f = arg;
    if (weir_kv_events_decode(msg->payload, &f->arena, on_kv_event, f) != WEIR_OK)
        log_unreadable(f, msg, "kv-events");
}

static void on_source(void *arg, const struct weir_record *source, bool present) {
    struct weir_feed *f = arg;
    if (present)
        return;
    struct weir_model *model = weir_models_of_worker(f->models, source->worker_id);
    if (model == NULL)
        return;
    weir_router_clear_rank(weir_model_info(model)->router, source->worker_id, source->dp_rank);
    weir_model_unref(model);
}

static void on_load(void *arg, const struct weir_event_msg *msg) {
    struct weir_feed *f = arg;
    struct weir_active_load load;
    if (weir_active_load_decode(msg->payload, &load) != WEIR_OK) {
        log_unreadable(f, msg, "kv_metrics");
        return;
    }
    struct weir_model *model = weir_models_of_worker(f->models, load.worker_id);
    if (model == NULL)
        return;
    weir_router_load_event(weir_model_info(model)->router, &load);
    weir_model_unref(model);
}

enum weir_status weir_feed_open(struct weir_loop *loop, struct weir_discovery *disc,
                                struct weir_models *models, struct weir_feed **ret_feed,
                                struct weir_err *err) {
    static const struct weir_event_sub_ops kv_ops = {.on_event = on_kv, .on_source = on_source};
    static const struct weir_event_sub_ops load_ops = {.on_event = on_load};
    struct weir_feed *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->models = models;
    weir_arena_init(&f->arena, ARENA_MAX);
    enum weir_status st =
        weir_event_sub_open(loop, disc, "kv-events", true, &kv_ops, f, &f->kv, err);
    if (st == WEIR_OK)
        st = weir_event_sub_open(loop, disc, "kv_metrics", false, &load_ops, f, &f->load, err);
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
    weir_event_sub_close(feed->kv);
    weir_event_sub_close(feed->load);
    weir_arena_fini(&feed->arena);
    weir_free(feed);
}
