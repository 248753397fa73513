#include "frontend/models.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "frontend/models_load.h"
#include "frontend/models_missed.h"
#include "parsers/wprs.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/*
 * One lock guards the tables; it is held for look-ups and changes, never for I/O. Lock order: this
 * lock before a router's.
 */
struct weir_model {
    struct weir_list node;
    _Atomic unsigned refs; /* registry 1, each finder 1 */
    struct weir_models *models;
    struct weir_model_info info;
    char *name; /* owned; of `info` */
    struct weir_arena arena;
    struct weir_span *aliases; /* in the arena */
    size_t n_aliases;
    unsigned n_cards, n_ready;  /* workers with a card; of these, with an instance too, and with a
                                   tokenizer loaded */
    struct weir_tok_load *load; /* under way; NULL otherwise. Touched on the control loop only */
    bool failed;                /* the tokenizer cannot be loaded: never ready */
};

/* A worker: what its two records say. Key = "ns/component/endpoint/id". */
struct worker {
    struct weir_list node;
    char *key, *address; /* owned; address NULL without an instance */
    char *endpoint_text; /* owned: backing of `endpoint` */
    struct weir_endpoint_id endpoint;
    uint64_t id;
    enum weir_codec codec;
    struct weir_model *model; /* NULL without a card; counted in n_cards */
    struct weir_router_worker figures;
};

struct weir_models {
    pthread_mutex_t lock;
    struct weir_models_config config;
    struct weir_list models, workers;
    struct weir_missed missed;
    struct weir_map by_id; /* worker id to a worker of it that has a card: looked up for each event
                              and each request */
};

#define MODEL(n) WEIR_CONTAINER_OF(n, struct weir_model, node)
#define WORKER(n) WEIR_CONTAINER_OF(n, struct worker, node)

enum weir_status weir_models_create(const struct weir_models_config *config,
                                    struct weir_models **ret_models) {
    struct weir_models *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return WEIR_NOMEM;
    m->config = *config;
    weir_list_init(&m->models);
    weir_list_init(&m->workers);
    weir_missed_init(&m->missed);
    weir_map_init(&m->by_id, SIZE_MAX);
    pthread_mutex_init(&m->lock, NULL);
    *ret_models = m;
    return WEIR_OK;
}

static void free_model(struct weir_model *x) {
    weir_admission_destroy(x->info.admission);
    weir_router_destroy(x->info.router);
    wtok_destroy(x->info.tok);
    weir_arena_fini(&x->arena);
    weir_free(x->name);
    weir_free(x);
}

struct weir_model *weir_model_ref(struct weir_model *model) {
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void weir_model_unref(struct weir_model *model) {
    /* Release/acquire pairs among all unrefs: the last one sees what the others wrote. */
    if (model != NULL && atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel) == 1)
        free_model(model);
}

static void free_worker(struct worker *w) {
    weir_list_remove(&w->node);
    weir_free(w->key);
    weir_free(w->address);
    weir_free(w->endpoint_text);
    weir_free(w);
}

void weir_models_destroy(struct weir_models *models) {
    if (models == NULL)
        return;
    weir_missed_fini(&models->missed);
    WEIR_LIST_FOREACH(it, &models->workers) {
        free_worker(WORKER(it));
    }
    WEIR_LIST_FOREACH(it, &models->models) {
        weir_list_remove(it);
        if (weir_tok_load_cancel(MODEL(it)->load))
            weir_model_unref(MODEL(it));
        weir_model_unref(MODEL(it));
    }
    weir_map_fini(&models->by_id);
    pthread_mutex_destroy(&models->lock);
    weir_free(models);
}

/* ---- finding ------------------------------------------------------------------------------ */

/* Workers of two namespaces may have one id, or the map no memory: then the list is walked. */
static struct worker *with_card(struct weir_models *m, uint64_t id,
                                const struct weir_model *model) {
    uint64_t value = 0;
    if (weir_map_get(&m->by_id, id, &value)) {
        struct worker *w = (struct worker *)(uintptr_t)value;
        if (model == NULL || w->model == model)
            return w;
    }
    WEIR_LIST_FOREACH(it, &m->workers) {
        struct worker *w = WORKER(it);
        if (w->id == id && (model == NULL ? w->model != NULL : w->model == model))
            return w;
    }
    return NULL;
}

static void index_worker(struct weir_models *m, struct worker *w) {
    uint64_t other;
    if (!weir_map_get(&m->by_id, w->id, &other) &&
        weir_map_put(&m->by_id, w->id, (uint64_t)(uintptr_t)w) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "models", "out of memory: worker %" PRIx64 " is found slowly",
                 w->id);
}

/* Its card went. Another worker of the id, if there is one, takes the place. */
static void unindex_worker(struct weir_models *m, const struct worker *w) {
    uint64_t value = 0;
    if (!weir_map_get(&m->by_id, w->id, &value) || value != (uint64_t)(uintptr_t)w)
        return;
    weir_map_remove(&m->by_id, w->id);
    struct worker *other = with_card(m, w->id, NULL);
    if (other != NULL)
        index_worker(m, other);
}

static struct weir_model *find_model(struct weir_models *m, struct weir_span name) {
    WEIR_LIST_FOREACH(it, &m->models) {
        struct weir_model *x = MODEL(it);
        if (weir_span_eqz(name, x->name))
            return x;
        for (size_t i = 0; i < x->n_aliases; i++)
            if (weir_span_eq(name, x->aliases[i]))
                return x;
    }
    return NULL;
}

struct weir_model *weir_models_find(struct weir_models *models, struct weir_span name) {
    pthread_mutex_lock(&models->lock);
    struct weir_model *x = find_model(models, name);
    if (x != NULL)
        (void)weir_model_ref(x);
    pthread_mutex_unlock(&models->lock);
    return x;
}

const struct weir_model_info *weir_model_info(const struct weir_model *model) {
    return &model->info;
}

bool weir_model_ready(struct weir_model *model) {
    pthread_mutex_lock(&model->models->lock);
    bool ready = model->n_ready > 0;
    pthread_mutex_unlock(&model->models->lock);
    return ready;
}

bool weir_models_any(struct weir_models *models, bool chat) {
    pthread_mutex_lock(&models->lock);
    bool any = models->missed.n > 0;
    WEIR_LIST_FOREACH(it, &models->models) {
        any |= chat ? MODEL(it)->info.chat : MODEL(it)->info.completions;
    }
    pthread_mutex_unlock(&models->lock);
    return any;
}

void weir_models_each(struct weir_models *models, weir_model_fn fn, void *arg) {
    pthread_mutex_lock(&models->lock);
    WEIR_LIST_FOREACH(it, &models->models) {
        fn(arg, MODEL(it), MODEL(it)->n_ready > 0);
    }
    pthread_mutex_unlock(&models->lock);
}

bool weir_model_worker(struct weir_model *model, uint64_t worker_id,
                       struct weir_model_worker *ret) {
    bool found = false;
    pthread_mutex_lock(&model->models->lock);
    const struct worker *w = with_card(model->models, worker_id, model);
    if (w != NULL && w->address != NULL) {
        size_t len = strlen(w->address);
        found = len < sizeof(ret->address);
        if (found) {
            memcpy(ret->address, w->address, len + 1);
            ret->codec = w->codec;
            ret->n_ranks = w->figures.dp_size;
        }
    }
    pthread_mutex_unlock(&model->models->lock);
    return found;
}

void weir_models_instances(struct weir_models *models, weir_model_instance_fn fn, void *arg) {
    pthread_mutex_lock(&models->lock);
    WEIR_LIST_FOREACH(it, &models->workers) {
        const struct worker *w = WORKER(it);
        struct weir_model_instance i = {&w->endpoint, w->id, w->address, w->codec,
                                        w->model != NULL ? w->model->name : NULL};
        if (w->address != NULL)
            fn(arg, &i);
    }
    pthread_mutex_unlock(&models->lock);
}

struct weir_model *weir_models_of_worker(struct weir_models *models, uint64_t worker_id) {
    struct weir_model *found = NULL;
    pthread_mutex_lock(&models->lock);
    const struct worker *w = with_card(models, worker_id, NULL);
    if (w != NULL) {
        found = w->model;
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&models->lock);
    return found;
}

/* ---- changing ----------------------------------------------------------------------------- */

static struct worker *find_worker(struct weir_models *m, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &m->workers) {
        if (weir_span_eqz(key, WORKER(it)->key))
            return WORKER(it);
    }
    return NULL;
}

static struct worker *worker_for(struct weir_models *m, struct weir_span key,
                                 const struct weir_record *record) {
    struct worker *w = find_worker(m, key);
    if (w != NULL)
        return w;
    w = weir_calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    weir_list_init(&w->node);
    w->id = record->instance_id;
    w->key = weir_strndup(key.data, key.len);
    /* The key holds the three names, separated by '/'. */
    w->endpoint_text = weir_strndup(key.data, key.len);
    if (w->key == NULL || w->endpoint_text == NULL) {
        free_worker(w);
        return NULL;
    }
    struct weir_span rest = weir_span_z(w->endpoint_text);
    w->endpoint.ns = weir_span_split(rest, '/', &rest);
    w->endpoint.component = weir_span_split(rest, '/', &rest);
    w->endpoint.name = weir_span_split(rest, '/', &rest);
    weir_list_push_back(&m->workers, &w->node);
    return w;
}

/* A model whose calls nobody could read is not served: better than calls as plain text. */
static enum weir_status fill_parsers(struct weir_models *m, struct weir_model *x,
                                     const struct weir_card *card, struct weir_err *err) {
    struct weir_span tool = m->config.tool_parser != NULL ? weir_span_z(m->config.tool_parser)
                                                          : card->tool_call_parser,
                     reasoning = m->config.reasoning_parser != NULL
                                     ? weir_span_z(m->config.reasoning_parser)
                                     : card->reasoning_parser;
    enum weir_status st = wprs_check_names(tool, reasoning, err);
    if (st != WEIR_OK)
        return st;
    x->info.tool_parser = weir_arena_copy(&x->arena, tool);
    x->info.reasoning_parser = weir_arena_copy(&x->arena, reasoning);
    return x->info.tool_parser.data != NULL && x->info.reasoning_parser.data != NULL
               ? WEIR_OK
               : weir_err_set(err, WEIR_NOMEM, "out of memory");
}

static bool has_tokenizer(const struct weir_models *m) {
    return m->config.model_path != NULL || m->config.bytes_tokenizer;
}

/* Requests can be served: with a tokenizer, or by engines that need none from us. */
static bool usable(const struct weir_model *x) {
    return x->info.tok != NULL || (x->info.engines && x->load == NULL && !x->failed);
}

/* Without tokens there is nothing to match with what the engines hold. */
static void fill_engines(struct weir_models *m, struct weir_model *x,
                         const struct weir_models_engine *engine, struct weir_router_config *rc) {
    x->info.engines = true;
    x->info.flavour = engine->sglang ? WTOK_FLAVOUR_SGLANG : WTOK_FLAVOUR_VLLM;
    if (has_tokenizer(m))
        return;
    x->info.engine_tokens = engine->tokenizes && rc->mode == WEIR_ROUTE_KV;
    if (rc->mode != WEIR_ROUTE_KV || engine->tokenizes)
        return;
    rc->mode = WEIR_ROUTE_ROUND_ROBIN;
    WEIR_LOG(WEIR_LOG_WARN, "models",
             "model %s: no routing by KV cache, because there is no tokenizer: its engine has no "
             "/tokenize and no --model-path is given; its requests take turns",
             x->name);
}

static void observe_wait(void *arg, double waited_s) {
    weir_metric_observe(arg, waited_s);
}

static enum weir_status fill_model(struct weir_models *m, struct weir_model *x,
                                   const struct weir_card *card,
                                   const struct weir_models_engine *engine) {
    struct weir_router_config rc = m->config.router;
    x->name = weir_strndup(card->display_name.data, card->display_name.len);
    x->aliases = weir_arena_alloc(&x->arena, (card->aliases.n + 1) * sizeof(*x->aliases));
    if (x->name == NULL || x->aliases == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < card->aliases.n; i++)
        x->aliases[x->n_aliases++] = weir_arena_copy(&x->arena, card->aliases.items[i]);
    x->info = (struct weir_model_info){
        .name = x->name,
        .context_length = card->context_length,
        .block_size = m->config.block_size > 0 ? m->config.block_size : card->kv_cache_block_size,
        .migration_limit = card->migration_limit,
        .total_kv_blocks = card->total_kv_blocks,
        .max_num_seqs = card->max_num_seqs,
        .max_num_batched_tokens = card->max_num_batched_tokens,
        .chat = card->chat,
        .completions = card->completions,
        .eagle = card->enable_eagle};
    rc.block_size = x->info.block_size;
    if (engine != NULL)
        fill_engines(m, x, engine, &rc);
    enum weir_status st = weir_router_create(&rc, &x->info.router);
    if (st == WEIR_OK)
        weir_router_set_thresholds(x->info.router, &m->config.thresholds);
    if (st == WEIR_OK && !isnan(rc.queue_threshold)) {
        struct weir_admission_config ac = {.queue = m->config.queue,
                                           .on_granted = observe_wait,
                                           .arg =
                                               weir_front_queue_wait(m->config.metrics, x->name)};
        st = weir_admission_create(&ac, x->info.router, &x->info.admission);
    }
    return st;
}

static void join(struct worker *w);

/* The tokenizer is there, or cannot be had. On the control loop. */
static void on_loaded(void *arg, struct wtok *tok, const struct weir_err *err) {
    struct weir_model *x = arg;
    struct weir_models *m = x->models;
    pthread_mutex_lock(&m->lock);
    x->load = NULL;
    x->info.tok = tok;
    x->failed = tok == NULL;
    if (x->failed)
        WEIR_LOG(WEIR_LOG_ERROR, "models", "model %s is not served: %s", x->name, err->text);
    WEIR_LIST_FOREACH(it, &m->workers) {
        if (tok != NULL && WORKER(it)->model == x && WORKER(it)->address != NULL)
            join(WORKER(it));
    }
    pthread_mutex_unlock(&m->lock);
    weir_model_unref(x);
}

static enum weir_status start_load(struct weir_models *m, struct weir_model *x,
                                   const struct weir_card *card) {
    if (x->info.engines && !has_tokenizer(m))
        return WEIR_OK;
    if (card->builtin_bytes_tokenizer || m->config.bytes_tokenizer)
        return wtok_create_bytes(&x->info.tok);
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    enum weir_status st =
        weir_tok_load_start(m->config.loop, card, m->config.model_path,
                            m->config.tokenizer_cache_bytes, on_loaded, x, &x->load);
    if (st != WEIR_OK)
        atomic_fetch_sub_explicit(&x->refs, 1, memory_order_relaxed);
    return st;
}

static struct weir_model *new_model(struct weir_models *m, const struct weir_card *card,
                                    const struct weir_models_engine *engine) {
    struct weir_model *x = weir_calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    weir_list_init(&x->node);
    weir_arena_init(&x->arena, 1 << 20);
    atomic_init(&x->refs, 1);
    x->models = m;
    struct weir_err err = {.text = ""};
    enum weir_status st = fill_model(m, x, card, engine);
    if (st == WEIR_OK)
        st = fill_parsers(m, x, card, &err);
    if (st == WEIR_OK)
        st = start_load(m, x, card);
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_ERROR, "models", "model %.*s is not served: %s",
                 WEIR_SPAN_ARG(card->display_name),
                 err.text[0] != '\0'    ? err.text
                 : st == WEIR_NOT_FOUND ? "the tokenizer files that its card names are not on this "
                                          "machine; name their directory with --model-path"
                                        : weir_status_text(st));
        free_model(x);
        return NULL;
    }
    struct weir_front_model_metrics *g = &x->info.metrics;
    weir_front_metrics_model(m->config.metrics, x->name, g);
    weir_metric_set(g->total_kv_blocks, (double)x->info.total_kv_blocks);
    weir_metric_set(g->max_num_seqs, (double)x->info.max_num_seqs);
    weir_metric_set(g->max_num_batched_tokens, (double)x->info.max_num_batched_tokens);
    weir_metric_set(g->context_length, x->info.context_length);
    weir_metric_set(g->block_size, x->info.block_size);
    weir_metric_set(g->migration_limit, x->info.migration_limit);
    weir_list_push_back(&m->models, &x->node);
    return x;
}

static void set_ready(struct weir_model *x, int by) {
    x->n_ready = (unsigned)((int)x->n_ready + by);
    weir_metric_set(x->info.metrics.ready, x->n_ready > 0);
    WEIR_LOG(WEIR_LOG_INFO, "models", "model %s has %u worker%s", x->name, x->n_ready,
             x->n_ready == 1 ? "" : "s");
}

/* Both records and the tokenizer are there: the router may choose this worker. */
static void join(struct worker *w) {
    if (weir_router_worker_put(w->model->info.router, &w->figures) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "models", "worker %" PRIx64 " does not fit the router's table",
                 w->id);
    set_ready(w->model, 1);
}

static void part(struct worker *w) {
    weir_router_worker_remove(w->model->info.router, w->id);
    set_ready(w->model, -1);
}

static void on_instance(struct weir_models *m, struct weir_span key, const struct weir_record *r) {
    if (r->tcp_address.data == NULL)
        return;
    struct worker *w = worker_for(m, key, r);
    char *address = w != NULL ? weir_strndup(r->tcp_address.data, r->tcp_address.len) : NULL;
    if (address == NULL)
        return;
    bool fresh = w->address == NULL;
    weir_free(w->address);
    w->address = address;
    w->codec = r->codec;
    if (fresh && w->model != NULL && usable(w->model))
        join(w);
}

/* `engine`: the card is made from what an HTTP engine says; else NULL. */
static void on_card(struct weir_models *m, struct weir_span key, const struct weir_record *r,
                    const struct weir_models_engine *engine) {
    const struct weir_card *c = &r->card;
    struct worker *w = find_worker(m, key);
    if ((w != NULL && w->model != NULL) || c->worker_type == WEIR_WORKER_PREFILL ||
        !c->input_tokens ||
        (m->config.model_name != NULL && !weir_span_eqz(c->display_name, m->config.model_name)))
        return;
    struct weir_model *x = find_model(m, c->display_name);
    if (x != NULL && m->config.block_size == 0 && x->info.block_size != c->kv_cache_block_size) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "a worker of model %s has block size %u, the others %u; it is left out", x->name,
                 c->kv_cache_block_size, x->info.block_size);
        return;
    }
    if (x != NULL && x->info.engines != (engine != NULL)) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "model %s has HTTP engines and workers of the request plane; the later ones are "
                 "left out",
                 x->name);
        return;
    }
    if (x == NULL)
        x = new_model(m, c, engine);
    if (x != NULL && w == NULL)
        w = worker_for(m, key, r);
    if (x == NULL || w == NULL)
        return;
    w->model = x;
    index_worker(m, w);
    w->figures = (struct weir_router_worker){.worker_id = w->id,
                                             .dp_start = c->dp_start_rank,
                                             .dp_size = c->dp_size,
                                             .total_kv_blocks = c->total_kv_blocks,
                                             .max_num_batched_tokens = c->max_num_batched_tokens};
    x->n_cards++;
    if (w->address != NULL && usable(x))
        join(w);
}

static void on_gone(struct weir_models *m, enum weir_record_kind kind, struct weir_span key) {
    struct worker *w = find_worker(m, key);
    if (w == NULL)
        return;
    struct weir_model *x = w->model;
    if (x != NULL && w->address != NULL && usable(x))
        part(w);
    if (kind == WEIR_RECORD_ENDPOINT) {
        if (w->address != NULL && m->config.on_worker_left != NULL)
            m->config.on_worker_left(m->config.arg, w->address);
        weir_free(w->address);
        w->address = NULL;
    } else if (x != NULL) {
        w->model = NULL;
        unindex_worker(m, w);
        if (--x->n_cards == 0) {
            weir_list_remove(&x->node);
            weir_model_unref(x);
        }
    }
    if (w->address == NULL && w->model == NULL)
        free_worker(w);
}

static bool wanted(const struct weir_models *m, struct weir_span ns) {
    if (m->config.ns_prefix != NULL)
        return weir_span_starts(ns, weir_span_z(m->config.ns_prefix));
    return m->config.ns == NULL || weir_span_eqz(ns, m->config.ns);
}

void weir_models_on_change(void *models, enum weir_discovery_change change,
                           enum weir_record_kind kind, struct weir_span key,
                           const struct weir_record *record) {
    struct weir_models *m = models;
    if (kind != WEIR_RECORD_ENDPOINT && kind != WEIR_RECORD_MODEL)
        return;
    pthread_mutex_lock(&m->lock);
    if (change == WEIR_DISCOVERY_DELETE)
        on_gone(m, kind, key);
    else if (!wanted(m, record->endpoint.ns))
        WEIR_LOG(WEIR_LOG_DEBUG, "models", "record %.*s is of another namespace",
                 WEIR_SPAN_ARG(key));
    else if (kind == WEIR_RECORD_ENDPOINT)
        on_instance(m, key, record);
    else
        on_card(m, key, record, NULL);
    pthread_mutex_unlock(&m->lock);
}

/* ---- HTTP engines ------------------------------------------------------------------------- */

static struct weir_span engine_key(uint64_t id, char room[64]) {
    int n = snprintf(room, 64, "http/engines/generate/%" PRIx64, id);
    return weir_span(room, (size_t)n);
}

static void drop_engine(struct weir_models *m, struct weir_span key) {
    on_gone(m, WEIR_RECORD_MODEL, key);
    on_gone(m, WEIR_RECORD_ENDPOINT, key);
}

static bool same_engine(const struct worker *w, const struct weir_models_engine *e) {
    return w != NULL && w->model != NULL && w->address != NULL &&
           strcmp(w->address, e->address) == 0 && weir_span_eqz(e->model, w->model->name) &&
           w->model->info.block_size == e->block_size && w->figures.dp_size == e->n_ranks &&
           w->figures.total_kv_blocks == e->n_kv_blocks;
}

void weir_models_engine_put(struct weir_models *models, const struct weir_models_engine *e) {
    char room[64];
    struct weir_span key = engine_key(e->id, room);
    struct weir_record r = {.kind = WEIR_RECORD_ENDPOINT,
                            .instance_id = e->id,
                            .tcp_address = weir_span_z(e->address),
                            .card = {.display_name = e->model,
                                     .context_length = e->context_length,
                                     .kv_cache_block_size = e->block_size,
                                     .total_kv_blocks = e->n_kv_blocks,
                                     .chat = true,
                                     .completions = true,
                                     .input_tokens = true,
                                     .worker_type = WEIR_WORKER_AGGREGATED,
                                     .dp_size = e->n_ranks}};
    pthread_mutex_lock(&models->lock);
    weir_missed_found(&models->missed, e->id);
    if (!same_engine(find_worker(models, key), e)) {
        drop_engine(models, key);
        on_card(models, key, &r, e);
        if (find_worker(models, key) != NULL)
            on_instance(models, key, &r);
    }
    pthread_mutex_unlock(&models->lock);
}

void weir_models_engine_remove(struct weir_models *models, uint64_t id, bool listed) {
    char room[64];
    struct weir_span key = engine_key(id, room);
    pthread_mutex_lock(&models->lock);
    const struct worker *w = find_worker(models, key);
    if (listed && w != NULL && w->model != NULL && w->address != NULL)
        weir_missed_add(&models->missed, w->id, w->model->name, w->address);
    drop_engine(models, key);
    pthread_mutex_unlock(&models->lock);
}

void weir_models_engine_forget(struct weir_models *models, const char *address) {
    pthread_mutex_lock(&models->lock);
    weir_missed_forget(&models->missed, address);
    pthread_mutex_unlock(&models->lock);
}

bool weir_models_missed(struct weir_models *models, struct weir_span name) {
    pthread_mutex_lock(&models->lock);
    bool missed = weir_missed_has(&models->missed, name);
    pthread_mutex_unlock(&models->lock);
    return missed;
}
