/* The feed, between what follows events and routers that only take notes: a router is there for as
 * long as events wait for it, whatever becomes of its model meanwhile. */
#include "frontend/feed_priv.h"
#include "router/router.h"
#include "test/check.h"

/* ---- what stands around it --------------------------------------------------------------------
 */

struct weir_router {
    unsigned n_events, n_clears;
};

struct weir_model {
    struct weir_model_info info;
    struct weir_router router;
    unsigned refs;
};

enum { LEAVER = 1, STAYER = 2, PREFILLER = 3 };

static struct weir_model models[3]; /* by worker; refs 0: it is gone, and its router with it */
static struct weir_router prefill_router;
static struct weir_kv_follow_ops ops;
static void *ops_arg;

struct weir_model *weir_models_of_worker(struct weir_models *m, uint64_t worker_id) {
    (void)m;
    if (worker_id >= WEIR_ARRAY_LEN(models) || models[worker_id].refs == 0)
        return NULL;
    models[worker_id].refs++;
    return &models[worker_id];
}

void weir_model_unref(struct weir_model *x) {
    CHECK(x == NULL || x->refs > 0);
    if (x != NULL)
        x->refs--;
}

const struct weir_model_info *weir_model_info(const struct weir_model *x) {
    CHECK(x->refs > 0);
    return &x->info;
}

struct weir_router *weir_prefill_router_of(struct weir_prefill *p, uint64_t worker_id) {
    (void)p;
    return worker_id == PREFILLER ? &prefill_router : NULL;
}

static bool is_there(const struct weir_router *r) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(models); i++)
        if (r == &models[i].router)
            return models[i].refs > 0;
    return r == &prefill_router;
}

void weir_router_kv_events(void *router, const struct kvi_event *events, size_t n) {
    struct weir_router *r = router;
    (void)events;
    CHECK(is_there(r));
    r->n_events += (unsigned)n;
}

void weir_router_clear_rank(struct weir_router *r, uint64_t worker_id, uint32_t dp_rank) {
    (void)worker_id;
    (void)dp_rank;
    CHECK(is_there(r));
    r->n_clears++;
}

void weir_router_load_event(struct weir_router *r, const struct weir_active_load *load) {
    (void)r;
    (void)load;
}

enum weir_status weir_router_dump_open(struct weir_router *r, struct weir_router_dump **ret) {
    (void)r;
    (void)ret;
    return WEIR_NOMEM;
}

enum weir_status weir_router_dump_step(struct weir_router_dump *d, const struct weir_map *workers,
                                       weir_kv_event_fn fn, void *arg, bool *ret_more) {
    (void)d;
    (void)workers;
    (void)fn;
    (void)arg;
    (void)ret_more;
    return WEIR_NOMEM;
}

void weir_router_dump_close(struct weir_router_dump *d) {
    (void)d;
}

enum weir_status weir_kv_follow_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, struct weir_plane_client *client,
                                     const struct weir_kv_follow_ops *its, void *arg,
                                     struct weir_kv_follow **ret, struct weir_err *err) {
    (void)loop;
    (void)disc;
    (void)nats;
    (void)client;
    (void)err;
    ops = *its;
    ops_arg = arg;
    *ret = NULL;
    return WEIR_OK;
}

void weir_kv_follow_close(struct weir_kv_follow *f) {
    (void)f;
}

enum weir_status weir_kv_streams_open(struct weir_loop *loop, struct weir_discovery *disc,
                                      struct weir_nats *nats,
                                      const struct weir_kv_streams_config *config,
                                      struct weir_kv_streams **ret, struct weir_err *err) {
    (void)loop;
    (void)disc;
    (void)nats;
    (void)config;
    (void)ret;
    (void)err;
    return WEIR_NOMEM;
}

void weir_kv_streams_close(struct weir_kv_streams *s) {
    (void)s;
}

enum weir_status weir_event_sub_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, const char *topic, bool require_source,
                                     const struct weir_event_sub_ops *its, void *arg,
                                     struct weir_event_sub **ret, struct weir_err *err) {
    (void)loop;
    (void)disc;
    (void)nats;
    (void)topic;
    (void)require_source;
    (void)its;
    (void)arg;
    (void)err;
    *ret = NULL;
    return WEIR_OK;
}

void weir_event_sub_close(struct weir_event_sub *s) {
    (void)s;
}

/* ---- the cases --------------------------------------------------------------------------------
 */

static struct weir_feed *begin(void) {
    static char client;
    struct weir_feed *f = NULL;
    struct weir_err err;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(models); i++) {
        models[i] = (struct weir_model){.refs = i > 0};
        models[i].info.router = &models[i].router;
    }
    prefill_router = (struct weir_router){0};
    CHECK(weir_feed_open(NULL, NULL, NULL, NULL, NULL, (struct weir_plane_client *)(void *)&client,
                         NULL, &f, &err) == WEIR_OK);
    return f;
}

static bool event_of(uint64_t worker_id) {
    static const struct weir_kv_block block = {1, 2};
    const struct weir_kv_event e = {
        .worker_id = worker_id, .kind = WEIR_KV_STORED, .blocks = &block, .n_blocks = 1};
    return ops.on_event(ops_arg, &e);
}

/* Its last reference but ours is given back, as when its last worker leaves. */
static void leaves(uint64_t worker_id) {
    weir_model_unref(&models[worker_id]);
}

static void end(struct weir_feed *f) {
    weir_feed_close(f);
    CHECK(models[LEAVER].refs == 0 && models[STAYER].refs == 1);
}

/* (Failed before: the router had been freed. Messages of a stream wait for the end of a turn, in
 * which a worker may leave.) */
static void case_a_model_that_goes_before_the_end(void) {
    struct weir_feed *f = begin();
    CHECK(event_of(LEAVER) && event_of(LEAVER));
    leaves(LEAVER);
    ops.on_end(ops_arg);
    CHECK_EQ_U64(models[LEAVER].router.n_events, 2);
    CHECK(!event_of(LEAVER));
    end(f);
}

static void case_a_model_that_goes_before_events_of_another(void) {
    for (uint64_t next = STAYER; next <= PREFILLER; next++) {
        struct weir_feed *f = begin();
        CHECK(event_of(LEAVER));
        leaves(LEAVER);
        CHECK(event_of(next));
        CHECK_EQ_U64(models[LEAVER].router.n_events, 1);
        CHECK(!event_of(LEAVER) && event_of(next));
        ops.on_end(ops_arg);
        CHECK_EQ_U64(models[STAYER].router.n_events + prefill_router.n_events, 2);
        end(f);
    }
}

static void case_a_model_that_goes_before_a_reset(void) {
    struct weir_feed *f = begin();
    CHECK(event_of(LEAVER));
    leaves(LEAVER);
    ops.on_reset(ops_arg, STAYER, 0);
    CHECK(models[LEAVER].router.n_events == 1 && models[STAYER].router.n_clears == 1);
    end(f);
}

static void case_closed_with_events(void) {
    struct weir_feed *f = begin();
    CHECK(event_of(LEAVER));
    leaves(LEAVER);
    end(f);
}

int main(void) {
    CHECK_RUN(case_a_model_that_goes_before_the_end);
    CHECK_RUN(case_a_model_that_goes_before_events_of_another);
    CHECK_RUN(case_a_model_that_goes_before_a_reset);
    CHECK_RUN(case_closed_with_events);
    return check_finish();
}
