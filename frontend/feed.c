/*
 * Happy path: cache events, complete and in order (runtime/kv_follow.h), and load figures go to the
 * router of the worker's model. A load message that cannot be read is named once a second.
 */
#include "base/mem.h"
#include "frontend/feed_priv.h"
#include "wire/record.h"

#include <inttypes.h>

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

/* Takes the reference. */
static void hold_model(struct weir_feed *f, struct weir_model *model) {
    weir_model_unref(f->batch_model);
    f->batch_model = model;
}

static bool on_kv_event(void *arg, const struct weir_kv_event *event) {
    struct weir_feed *f = arg;
    if (f->batch.n > 0 && f->batch_worker == event->worker_id) { /* the next of one read */
        weir_kv_batch_add(&f->batch, weir_router_kv_events, f->batch.to, event);
        return true;
    }
    struct weir_model *model = weir_models_of_worker(f->models, event->worker_id);
    struct weir_router *router = model != NULL
                                     ? weir_model_info(model)->router
                                     : weir_prefill_router_of(f->prefill, event->worker_id);
    if (router == NULL)
        return false;
    weir_kv_batch_add(&f->batch, weir_router_kv_events, router, event);
    f->batch_worker = event->worker_id;
    hold_model(f, model); /* behind what waited for the one before */
    return true;
}

static void on_kv_end(void *arg) {
    struct weir_feed *f = arg;
    weir_kv_batch_flush(&f->batch);
    hold_model(f, NULL);
}

void weir_feed_flush(struct weir_feed *feed) {
    on_kv_end(feed);
}

static void log_unreadable(struct weir_feed *f, const struct weir_event_msg *msg) {
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&f->unreadable, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "kv_metrics message %" PRIu64 " of publisher %s"
                 " cannot be read; %u more were not reported",
                 msg->sequence, weir_worker_text(msg->publisher_id).s, dropped);
}

static void on_reset(void *arg, uint64_t worker_id, uint32_t dp_rank) {
    struct weir_feed *f = arg;
    on_kv_end(f);
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

/* ---- durable events ----------------------------------------------------------------------- */

enum { MAX_ROUTERS = 256 };

/* A dump of the routers of some workers, each once; models are held by references, and the routers
 * of prefill workers stay as long as their registry. */
struct routers {
    const struct weir_map *workers; /* borrowed: until the end of the dump */
    struct weir_router *all[MAX_ROUTERS];
    struct weir_model *models[MAX_ROUTERS];
    size_t n, n_models, at;
    bool too_many;
    struct weir_router_dump *dump; /* of all[at], once that has begun */
};

static void add_router(struct routers *r, struct weir_router *router) {
    for (size_t i = 0; i < r->n; i++)
        if (r->all[i] == router)
            return;
    if (router == NULL)
        return;
    if (r->n < MAX_ROUTERS)
        r->all[r->n++] = router;
    else
        r->too_many = true;
}

static void add_routers_of(struct weir_feed *f, uint64_t worker_id, struct routers *r) {
    struct weir_model *model = weir_models_of_worker(f->models, worker_id);
    size_t before = r->n;
    if (model == NULL) {
        add_router(r, weir_prefill_router_of(f->prefill, worker_id));
        return;
    }
    add_router(r, weir_model_info(model)->router);
    if (r->n > before)
        r->models[r->n_models++] = model;
    else
        weir_model_unref(model);
}

static void dump_close(void *dump) {
    struct routers *r = dump;
    weir_router_dump_close(r->dump);
    for (size_t i = 0; i < r->n_models; i++)
        weir_model_unref(r->models[i]);
    weir_free(r);
}

static enum weir_status dump_open(void *arg, const struct weir_map *workers, void **ret_dump) {
    struct weir_feed *f = arg;
    struct routers *r = weir_calloc(1, sizeof(*r));
    size_t cursor = 0;
    uint64_t id, value;
    if (r == NULL)
        return WEIR_NOMEM;
    r->workers = workers;
    while (weir_map_next(workers, &cursor, &id, &value))
        add_routers_of(f, id, r);
    if (r->too_many) {
        dump_close(r);
        return WEIR_LIMIT;
    }
    *ret_dump = r;
    return WEIR_OK;
}

static enum weir_status dump_step(void *dump, weir_kv_event_fn fn, void *fn_arg, bool *ret_more) {
    struct routers *r = dump;
    bool more = false;
    enum weir_status st = WEIR_OK;
    if (r->dump == NULL && r->at < r->n)
        st = weir_router_dump_open(r->all[r->at], &r->dump);
    if (st == WEIR_OK && r->dump != NULL)
        st = weir_router_dump_step(r->dump, r->workers, fn, fn_arg, &more);
    if (st != WEIR_OK)
        return st;
    if (!more) {
        weir_router_dump_close(r->dump);
        r->dump = NULL;
        r->at++;
    }
    *ret_more = r->at < r->n;
    return WEIR_OK;
}

static enum weir_status open_streams(struct weir_feed *f, struct weir_loop *loop,
                                     struct weir_discovery *disc, struct weir_nats *nats,
                                     const struct weir_kv_follow_ops *ops,
                                     const struct weir_feed_durable *durable,
                                     struct weir_err *err) {
    const struct weir_kv_streams_config config = {.ops = *ops,
                                                  .dump = {dump_open, dump_step, dump_close},
                                                  .arg = f,
                                                  .snapshot_threshold = durable->snapshot_threshold,
                                                  .snapshot_max_bytes = durable->snapshot_max_bytes,
                                                  .reset_states = durable->reset_states,
                                                  .max_age_s = durable->max_age_s};
    return weir_kv_streams_open(loop, disc, nats, &config, &f->streams, err);
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_feed_open(struct weir_loop *loop, struct weir_discovery *disc,
                                struct weir_nats *nats, struct weir_models *models,
                                struct weir_prefill *prefill, struct weir_plane_client *client,
                                const struct weir_feed_durable *durable,
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
    if (st == WEIR_OK && client != NULL && durable != NULL)
        st = open_streams(f, loop, disc, nats, &kv_ops, durable, err);
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
    weir_kv_streams_close(feed->streams);
    weir_event_sub_close(feed->load);
    hold_model(feed, NULL);
    weir_free(feed);
}
