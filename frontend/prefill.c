#include "frontend/prefill.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "frontend/card_sets.h"
#include "router/worker_records.h"
#include "runtime/plane_client.h"
#include "wire/record.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_POOLS = 1024, MAX_WORKERS = 65536 };

struct weir_prefill_pool {
    struct weir_list node;
    char *model; /* owned */
    struct weir_router *router;
    struct weir_rooms *rooms; /* owned, or NULL */
    struct weir_metric *received;
    uint32_t block_size;
    unsigned n_cards, n_joined; /* of its workers: with a card; with an instance too */
    bool current;               /* of its model; another has taken the place of the others */
};

struct worker {
    struct weir_list node;
    char *key; /* owned: "ns/component/endpoint/id" */
    struct weir_worker_records records;
    char bootstrap_host[256]; /* of its card, as the next two */
    uint16_t bootstrap_port;
    struct weir_prefill_pool *pool;
};

/* One lock guards the tables, held for look-ups and changes. Lock order: this before a router's. */
struct weir_prefill {
    pthread_mutex_t lock;
    struct weir_models_config config;
    struct weir_list pools, workers;
    struct weir_card_sets cards; /* of discovery */
    struct weir_map by_id;       /* joined workers */
    unsigned n_pools;
};

#define POOL(n) WEIR_CONTAINER_OF(n, struct weir_prefill_pool, node)
#define WORKER(n) WEIR_CONTAINER_OF(n, struct worker, node)

enum weir_status weir_prefill_create(const struct weir_models_config *config,
                                     struct weir_prefill **ret_prefill) {
    struct weir_prefill *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    p->config = *config;
    p->config.router.track_active_blocks = false;
    p->config.router.queue_decode_threshold = NAN;
    weir_list_init(&p->pools);
    weir_list_init(&p->workers);
    weir_card_sets_init(&p->cards);
    weir_map_init(&p->by_id, MAX_WORKERS);
    pthread_mutex_init(&p->lock, NULL);
    *ret_prefill = p;
    return WEIR_OK;
}

static void free_worker(struct worker *w) {
    weir_list_remove(&w->node);
    weir_worker_records_fini(&w->records);
    weir_free(w->key);
    weir_free(w);
}

static void free_pool(struct weir_prefill_pool *pool) {
    weir_rooms_destroy(pool->rooms);
    weir_router_destroy(pool->router);
    weir_free(pool->model);
    weir_free(pool);
}

void weir_prefill_destroy(struct weir_prefill *prefill) {
    if (prefill == NULL)
        return;
    WEIR_LIST_FOREACH(it, &prefill->workers) {
        free_worker(WORKER(it));
    }
    weir_card_sets_fini(&prefill->cards);
    WEIR_LIST_FOREACH(it, &prefill->pools) {
        free_pool(POOL(it));
    }
    weir_map_fini(&prefill->by_id);
    pthread_mutex_destroy(&prefill->lock);
    weir_free(prefill);
}

/* ---- finding ------------------------------------------------------------------------------ */

static struct weir_prefill_pool *find_pool(struct weir_prefill *p, struct weir_span model) {
    WEIR_LIST_FOREACH(it, &p->pools) {
        if (POOL(it)->current && weir_span_eqz(model, POOL(it)->model))
            return POOL(it);
    }
    return NULL;
}

struct weir_prefill_pool *weir_prefill_find(struct weir_prefill *prefill, const char *model) {
    pthread_mutex_lock(&prefill->lock);
    struct weir_prefill_pool *pool = find_pool(prefill, weir_span_z(model));
    if (pool != NULL && pool->n_joined == 0)
        pool = NULL;
    pthread_mutex_unlock(&prefill->lock);
    return pool;
}

struct weir_router *weir_prefill_pool_router(const struct weir_prefill_pool *pool) {
    return pool->router;
}

struct weir_rooms *weir_prefill_pool_rooms(const struct weir_prefill_pool *pool) {
    return pool->rooms;
}

struct weir_metric *weir_prefill_pool_received(const struct weir_prefill_pool *pool) {
    return pool->received;
}

uint32_t weir_prefill_pool_block_size(const struct weir_prefill_pool *pool) {
    return pool->block_size;
}

static bool copy_into(char *to, size_t room, struct weir_span from) {
    if (from.len >= room)
        return false;
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

static struct worker *joined(struct weir_prefill *p, uint64_t id) {
    uint64_t value = 0;
    return weir_map_get(&p->by_id, id, &value) ? (struct worker *)(uintptr_t)value : NULL;
}

bool weir_prefill_worker_get(struct weir_prefill *prefill, const struct weir_prefill_pool *pool,
                             uint64_t worker_id, struct weir_prefill_worker *ret) {
    pthread_mutex_lock(&prefill->lock);
    const struct worker *w = joined(prefill, worker_id);
    struct weir_prefill_worker out = {.bootstrap_port = 0};
    bool found = w != NULL && w->pool == pool &&
                 copy_into(out.at.address, sizeof(out.at.address), weir_span_z(w->records.address));
    if (found) {
        out.at.codec = w->records.codec;
        out.at.n_ranks = w->records.figures.dp_size;
        out.bootstrap_port = w->bootstrap_port;
        memcpy(out.bootstrap_host, w->bootstrap_host, sizeof(out.bootstrap_host));
        *ret = out;
    }
    pthread_mutex_unlock(&prefill->lock);
    return found;
}

struct weir_router *weir_prefill_router_of(struct weir_prefill *prefill, uint64_t worker_id) {
    pthread_mutex_lock(&prefill->lock);
    const struct worker *w = joined(prefill, worker_id);
    struct weir_router *router = w != NULL ? w->pool->router : NULL;
    pthread_mutex_unlock(&prefill->lock);
    return router;
}

void weir_prefill_namespaces(struct weir_prefill *prefill, struct weir_span model,
                             void (*fn)(void *arg, struct weir_span ns), void *arg) {
    struct weir_span rest;
    pthread_mutex_lock(&prefill->lock);
    WEIR_LIST_FOREACH(it, &prefill->workers) {
        const struct worker *w = WORKER(it);
        if (w->records.router != NULL && weir_span_eqz(model, w->pool->model))
            fn(arg, weir_span_split(weir_span_z(w->key), '/', &rest));
    }
    pthread_mutex_unlock(&prefill->lock);
}

void weir_prefill_each(struct weir_prefill *prefill, bool former,
                       void (*fn)(void *arg, const char *model, struct weir_router *router,
                                  struct weir_rooms *rooms),
                       void *arg) {
    pthread_mutex_lock(&prefill->lock);
    WEIR_LIST_FOREACH(it, &prefill->pools) {
        if (former || POOL(it)->current)
            fn(arg, POOL(it)->model, POOL(it)->router, POOL(it)->rooms);
    }
    pthread_mutex_unlock(&prefill->lock);
}

/* ---- changing ----------------------------------------------------------------------------- */

static struct weir_prefill_pool *make_pool(struct weir_prefill *p, struct weir_span model,
                                           uint32_t block_size) {
    struct weir_router_config config = p->config.router;
    struct weir_prefill_pool *pool = p->n_pools < MAX_POOLS ? weir_calloc(1, sizeof(*pool)) : NULL;
    if (pool == NULL)
        return NULL;
    weir_list_init(&pool->node);
    config.block_size = pool->block_size = block_size;
    pool->model = weir_strndup(model.data, model.len);
    if (pool->model == NULL || weir_router_create(&config, &pool->router) != WEIR_OK ||
        weir_models_rooms(&p->config, model, true, pool->router, &pool->rooms) != WEIR_OK) {
        free_pool(pool);
        return NULL;
    }
    pool->received = weir_front_received(p->config.metrics, pool->model, "default", true);
    weir_router_set_thresholds(pool->router, &p->config.thresholds);
    if (p->config.sync != NULL)
        weir_replica_sync_attach(p->config.sync, pool->router);
    weir_list_push_back(&p->pools, &pool->node);
    p->n_pools++;
    return pool;
}

static uint32_t block_size_for(const struct weir_prefill *p, uint32_t of_card) {
    return p->config.block_size > 0 ? p->config.block_size : of_card;
}

/* False: the pool has workers whose blocks are of another size. */
static bool fits(const struct weir_prefill_pool *pool, uint32_t block_size) {
    return pool == NULL || pool->n_cards == 0 || pool->block_size == block_size;
}

/* A pool may be in use as long as the registry is there, so its block size stays: when its workers
 * have gone and others come with another, these get a pool of their own, or the one that they had.
 * So a model has as many as sizes were seen. */
static struct weir_prefill_pool *pool_for(struct weir_prefill *p, struct weir_span model,
                                          uint32_t block_size) {
    struct weir_prefill_pool *now = find_pool(p, model), *pool = NULL;
    if (now != NULL && (now->n_cards > 0 || now->block_size == block_size))
        return now;
    WEIR_LIST_FOREACH(it, &p->pools) {
        if (POOL(it)->block_size == block_size && weir_span_eqz(model, POOL(it)->model))
            pool = POOL(it);
    }
    if (pool == NULL)
        pool = make_pool(p, model, block_size);
    if (pool == NULL)
        return NULL;
    if (now != NULL)
        now->current = false;
    pool->current = true;
    return pool;
}

static struct worker *find_worker(struct weir_prefill *p, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &p->workers) {
        if (weir_span_eqz(key, WORKER(it)->key))
            return WORKER(it);
    }
    return NULL;
}

/* Instances come without a word of what they are for: each is kept until its card tells, and most
 * are of other workers. */
static struct worker *worker_for(struct weir_prefill *p, struct weir_span key, uint64_t id) {
    struct worker *w = find_worker(p, key);
    if (w != NULL)
        return w;
    w = weir_calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    weir_list_init(&w->node);
    weir_worker_records_init(&w->records, id);
    w->key = weir_strndup(key.data, key.len);
    if (w->key == NULL) {
        free_worker(w);
        return NULL;
    }
    weir_list_push_back(&p->workers, &w->node);
    return w;
}

static void log_workers(const struct weir_prefill_pool *pool) {
    WEIR_LOG(WEIR_LOG_INFO, "models", "model %s has %u prefill worker%s", pool->model,
             pool->n_joined, pool->n_joined == 1 ? "" : "s");
}

static void join(struct weir_prefill *p, struct worker *w) {
    struct weir_worker_records *r = &w->records;
    if (!r->has_card || r->address == NULL || joined(p, r->id) != NULL)
        return;
    if (weir_map_put(&p->by_id, r->id, (uint64_t)(uintptr_t)w) != WEIR_OK ||
        !weir_worker_records_join(r, w->pool->router)) {
        weir_map_remove(&p->by_id, r->id);
        return;
    }
    w->pool->n_joined++;
    log_workers(w->pool);
}

static void part(struct weir_prefill *p, struct worker *w) {
    if (!weir_worker_records_part(&w->records))
        return;
    weir_map_remove(&p->by_id, w->records.id);
    w->pool->n_joined--;
    log_workers(w->pool);
}

static void on_instance(struct weir_prefill *p, struct weir_span key, const struct weir_record *r) {
    char room[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_span at = weir_plane_address(r, p->config.has_nats, room);
    struct worker *w = at.data != NULL ? worker_for(p, key, r->instance_id) : NULL;
    if (w != NULL && weir_worker_records_instance(&w->records, r, at))
        join(p, w);
}

enum taken {
    TAKEN,
    NOT_BESIDE_OTHERS, /* while the pool's workers are there */
    LEFT_OUT
};

static enum taken take_card(struct weir_prefill *p, struct weir_span key,
                            const struct weir_record *r) {
    const struct weir_card *c = &r->card;
    const uint32_t block_size = block_size_for(p, c->kv_cache_block_size);
    uint32_t place;
    if (!weir_models_place(&p->config, r->endpoint.ns, true, &place))
        return LEFT_OUT;
    struct weir_prefill_pool *pool = pool_for(p, c->display_name, block_size);
    struct worker *w = pool != NULL ? worker_for(p, key, r->instance_id) : NULL;
    if (w == NULL)
        return LEFT_OUT;
    if (w->records.has_card)
        return TAKEN;
    if (!fits(pool, block_size)) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "a prefill worker of model %s has block size %u, the others %u; it is left out "
                 "(worker %s): start all with one",
                 pool->model, block_size, pool->block_size, weir_worker_text(r->instance_id).s);
        return NOT_BESIDE_OTHERS;
    }
    w->bootstrap_port = c->bootstrap_port;
    if (!copy_into(w->bootstrap_host, sizeof(w->bootstrap_host), c->bootstrap_host))
        return LEFT_OUT;
    w->pool = pool;
    pool->n_cards++;
    weir_worker_records_card(&w->records, c);
    w->records.figures.pool = place;
    join(p, w);
    return TAKEN;
}

static bool wants_card(const struct weir_prefill *p, const struct weir_card *c) {
    return c->worker_type == WEIR_WORKER_PREFILL && c->input_tokens &&
           (p->config.model_name == NULL || weir_span_eqz(c->display_name, p->config.model_name));
}

static void on_free_card(void *prefill, struct weir_span key, const struct weir_record *r) {
    struct weir_prefill *p = prefill;
    enum taken taken = take_card(p, key, r);
    if (taken == NOT_BESIDE_OTHERS)
        weir_card_sets_wait(&p->cards, key, r);
    else if (taken == LEFT_OUT)
        weir_card_sets_forget(&p->cards, key);
}

static void on_card(struct weir_prefill *p, struct weir_span key, const struct weir_record *r) {
    if (wants_card(p, &r->card) && weir_card_sets_put(&p->cards, key, r))
        on_free_card(p, key, r);
}

/* As of other workers (models_change.c). */
static bool others_at(const struct weir_prefill *p, const struct worker *w) {
    WEIR_LIST_FOREACH(it, &p->workers) {
        const struct worker *x = WORKER(it);
        if (x != w && x->records.has_card && x->records.address != NULL &&
            strcmp(x->records.address, w->records.address) == 0)
            return true;
    }
    return false;
}

/* True: it was the last of its pool that had a card. */
static bool gone(struct weir_prefill *p, enum weir_record_kind kind, struct weir_span key) {
    struct worker *w = find_worker(p, key);
    if (w == NULL)
        return false;
    bool last = kind == WEIR_RECORD_MODEL && w->records.has_card && --w->pool->n_cards == 0;
    part(p, w);
    /* Of other workers the models tell. */
    if (kind == WEIR_RECORD_ENDPOINT && w->records.has_card && w->records.address != NULL &&
        p->config.on_worker_left != NULL && !others_at(p, w))
        p->config.on_worker_left(p->config.arg, w->records.address);
    if (weir_worker_records_gone(&w->records, kind))
        free_worker(w);
    return last;
}

static void on_gone(struct weir_prefill *p, enum weir_record_kind kind, struct weir_span key) {
    bool last = gone(p, kind, key);
    if (kind == WEIR_RECORD_MODEL)
        weir_card_sets_gone(&p->cards, key, on_free_card, p);
    if (last)
        weir_card_sets_again(&p->cards, on_free_card, p);
}

void weir_prefill_on_change(void *prefill, enum weir_discovery_change change,
                            enum weir_record_kind kind, struct weir_span key,
                            const struct weir_record *record) {
    struct weir_prefill *p = prefill;
    if (kind != WEIR_RECORD_ENDPOINT && kind != WEIR_RECORD_MODEL)
        return;
    pthread_mutex_lock(&p->lock);
    if (change == WEIR_DISCOVERY_DELETE)
        on_gone(p, kind, key);
    else if (weir_models_wants(&p->config, record->endpoint.ns)) {
        if (kind == WEIR_RECORD_ENDPOINT)
            on_instance(p, key, record);
        else
            on_card(p, key, record);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- HTTP engines ------------------------------------------------------------------------- */

static struct weir_span engine_key(uint64_t id, char room[64]) {
    int n = snprintf(room, 64, "http/engines/prefill/%" PRIx64, id);
    return weir_span(room, (size_t)n);
}

static void drop_engine(struct weir_prefill *p, struct weir_span key) {
    on_gone(p, WEIR_RECORD_ENDPOINT, key);
    on_gone(p, WEIR_RECORD_MODEL, key);
}

/* What has changed is not of this model: it stays, and its calls are not those of one that left. */
static bool same_engine(const struct weir_prefill *p, const struct worker *w,
                        const struct weir_models_engine *e, struct weir_span bootstrap_host,
                        uint16_t bootstrap_port) {
    return w != NULL && w->pool != NULL && w->records.router != NULL &&
           strcmp(w->records.address, e->address) == 0 && weir_span_eqz(e->model, w->pool->model) &&
           w->pool->block_size == block_size_for(p, e->block_size) &&
           w->records.figures.dp_size == e->n_ranks &&
           w->records.figures.total_kv_blocks == e->n_kv_blocks &&
           weir_span_eqz(bootstrap_host, w->bootstrap_host) && w->bootstrap_port == bootstrap_port;
}

void weir_prefill_engine_put(struct weir_prefill *prefill, const struct weir_models_engine *e,
                             struct weir_span bootstrap_host, uint16_t bootstrap_port) {
    char room[64];
    struct weir_span key = engine_key(e->id, room);
    struct weir_record r = {.kind = WEIR_RECORD_ENDPOINT,
                            .instance_id = e->id,
                            .tcp_address = weir_span_z(e->address),
                            .card = {.display_name = e->model,
                                     .kv_cache_block_size = e->block_size,
                                     .total_kv_blocks = e->n_kv_blocks,
                                     .input_tokens = true,
                                     .worker_type = WEIR_WORKER_PREFILL,
                                     .bootstrap_host = bootstrap_host,
                                     .bootstrap_port = bootstrap_port,
                                     .dp_size = e->n_ranks}};
    pthread_mutex_lock(&prefill->lock);
    if (!same_engine(prefill, find_worker(prefill, key), e, bootstrap_host, bootstrap_port)) {
        drop_engine(prefill, key);
        on_instance(prefill, key, &r);
        if (wants_card(prefill, &r.card))
            (void)take_card(prefill, key, &r);
    }
    pthread_mutex_unlock(&prefill->lock);
}

bool weir_prefill_engine_fits(struct weir_prefill *prefill, const struct weir_models_engine *e) {
    pthread_mutex_lock(&prefill->lock);
    bool ok = fits(find_pool(prefill, e->model), block_size_for(prefill, e->block_size));
    pthread_mutex_unlock(&prefill->lock);
    return ok;
}

void weir_prefill_engine_remove(struct weir_prefill *prefill, uint64_t id) {
    char room[64];
    struct weir_span key = engine_key(id, room);
    pthread_mutex_lock(&prefill->lock);
    drop_engine(prefill, key);
    pthread_mutex_unlock(&prefill->lock);
}
