/*
 * What discovery and the list of engines change: records come and go, workers join a model when
 * both their records and its tokenizer are there, and part when one goes.
 */
#include "frontend/models_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "router/worker_records.h"
#include "runtime/plane_client.h"
#include "wire/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct weir_models_worker *weir_models_find_worker(struct weir_models *m, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &m->workers) {
        if (weir_span_eqz(key, WORKER(it)->key))
            return WORKER(it);
    }
    return NULL;
}

struct weir_models_worker *weir_models_worker_for(struct weir_models *m, struct weir_span key,
                                                  const struct weir_record *record) {
    struct weir_models_worker *w = weir_models_find_worker(m, key);
    if (w != NULL)
        return w;
    w = weir_calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    weir_list_init(&w->node);
    weir_list_init(&w->adapters);
    weir_worker_records_init(&w->records, record->instance_id);
    w->key = weir_strndup(key.data, key.len);
    /* The key holds the three names, separated by '/'. */
    w->endpoint_text = weir_strndup(key.data, key.len);
    if (w->key == NULL || w->endpoint_text == NULL) {
        weir_models_free_worker(w);
        return NULL;
    }
    struct weir_span rest = weir_span_z(w->endpoint_text);
    w->endpoint.ns = weir_span_split(rest, '/', &rest);
    w->endpoint.component = weir_span_split(rest, '/', &rest);
    w->endpoint.name = weir_span_split(rest, '/', &rest);
    weir_list_push_back(&m->workers, &w->node);
    return w;
}

void weir_models_worker_done(struct weir_models_worker *w) {
    if (w->records.address == NULL && !w->records.has_card && w->n_adapters == 0)
        weir_models_free_worker(w);
}

void weir_model_set_ready(struct weir_model *x, int by) {
    const unsigned least = x->base == NULL ? x->models->config.min_workers : 0;
    x->n_ready = (unsigned)((int)x->n_ready + by);
    x->begun |= x->n_ready >= least;
    weir_metric_set(x->info.metrics.ready, weir_model_is_ready(x));
    WEIR_LOG(WEIR_LOG_INFO, "models", "model %s has %u worker%s", x->name, x->n_ready,
             x->n_ready == 1 ? "" : "s");
    if (!x->begun)
        WEIR_LOG(WEIR_LOG_INFO, "models",
                 "model %s is served once it has %u (--router-min-initial-workers)", x->name,
                 least);
}

void weir_models_join(struct weir_models_worker *w) {
    if (!weir_worker_records_join(&w->records, w->model->info.router))
        return;
    weir_model_set_ready(w->model, 1);
    weir_models_adapters_join(w);
}

static void part(struct weir_models_worker *w) {
    weir_models_adapters_part(w);
    if (weir_worker_records_part(&w->records))
        weir_model_set_ready(w->model, -1);
}

bool weir_model_drop_card(struct weir_model *x) {
    if (--x->n_cards > 0)
        return false;
    if (x->load != NULL)
        weir_tok_load_give_up(x->load);
    weir_list_remove(&x->node);
    weir_model_unref(x);
    return true;
}

static void on_instance(struct weir_models *m, struct weir_span key, const struct weir_record *r) {
    char room[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_span at = weir_plane_address(r, m->config.has_nats, room);
    if (at.data == NULL)
        return;
    struct weir_models_worker *w = weir_models_worker_for(m, key, r);
    if (w == NULL)
        return;
    bool fresh = w->records.address == NULL;
    if (weir_worker_records_instance(&w->records, r, at) && fresh && w->model != NULL &&
        weir_model_usable(w->model))
        weir_models_join(w);
}

enum taken {
    TAKEN,
    NOT_BESIDE_OTHERS, /* while those of the model's workers are there that are */
    LEFT_OUT
};

/* `engine`: the card is made from what an HTTP engine says; else NULL. */
static enum taken take_card(struct weir_models *m, struct weir_span key,
                            const struct weir_record *r, const struct weir_models_engine *engine) {
    const struct weir_card *c = &r->card;
    struct weir_models_worker *w = weir_models_find_worker(m, key);
    struct weir_model *x = weir_models_find_locked(m, c->display_name);
    if (x != NULL && (x->base != NULL || !weir_span_eqz(c->display_name, x->name))) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "worker %s is left out: its model's name %.*s is %s of model %s already",
                 weir_worker_text(r->instance_id).s, WEIR_SPAN_ARG(c->display_name),
                 x->base != NULL ? "that of an adapter" : "another name",
                 x->base != NULL ? x->base->name : x->name);
        return NOT_BESIDE_OTHERS;
    }
    if (x != NULL && x->info.block_size != weir_models_block_size(m, c)) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "a worker of model %s has block size %u, the others %u; it is left out (worker "
                 "%s%s%s): start all with one",
                 x->name, c->kv_cache_block_size, x->info.block_size,
                 weir_worker_text(r->instance_id).s, engine != NULL ? " at " : "",
                 engine != NULL ? engine->address : "");
        return NOT_BESIDE_OTHERS;
    }
    if (x != NULL && x->info.engines != (engine != NULL)) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "model %s has HTTP engines and workers of the request plane; the later ones are "
                 "left out",
                 x->name);
        return NOT_BESIDE_OTHERS;
    }
    uint32_t pool;
    if (!weir_models_place(&m->config, r->endpoint.ns, false, &pool))
        return LEFT_OUT;
    if (x == NULL)
        x = weir_models_new(m, c, engine);
    else if (x->load != NULL)
        weir_tok_load_also(x->load, c);
    if (x != NULL && w == NULL)
        w = weir_models_worker_for(m, key, r);
    if (x == NULL || w == NULL)
        return LEFT_OUT;
    w->model = x;
    w->type = engine != NULL && x->info.needs_prefill ? WEIR_WORKER_DECODE : c->worker_type;
    weir_models_index(m, w);
    weir_worker_records_card(&w->records, c);
    w->records.figures.pool = pool;
    x->n_cards++;
    if (w->records.address != NULL && weir_model_usable(x))
        weir_models_join(w);
    weir_models_adapters_attach(m, w);
    return TAKEN;
}

/* A card that is free to be served, of discovery. */
static void on_free_card(void *models, struct weir_span key, const struct weir_record *r) {
    struct weir_models *m = models;
    enum taken taken = take_card(m, key, r, NULL);
    if (taken == NOT_BESIDE_OTHERS)
        weir_card_sets_wait(&m->cards, key, r);
    else if (taken == LEFT_OUT)
        weir_card_sets_forget(&m->cards, key);
}

static void on_card(struct weir_models *m, struct weir_span key, const struct weir_record *r) {
    const struct weir_card *c = &r->card;
    const struct weir_models_worker *w = weir_models_find_worker(m, key);
    if ((w != NULL && w->model != NULL) || c->worker_type == WEIR_WORKER_PREFILL ||
        !(c->input_tokens || weir_card_only_embeds(c)) ||
        (m->config.model_name != NULL && !weir_span_eqz(c->display_name, m->config.model_name)))
        return;
    if (weir_card_sets_put(&m->cards, key, r))
        on_free_card(m, key, r);
}

/* An engine of which another model is served: it is there, and so are its calls. */
static bool others_at(const struct weir_models *m, const struct weir_models_worker *w) {
    WEIR_LIST_FOREACH(it, &m->workers) {
        const char *address = WORKER(it)->records.address;
        if (WORKER(it) != w && address != NULL && strcmp(address, w->records.address) == 0)
            return true;
    }
    return false;
}

/* True: and a model with it. */
static bool gone(struct weir_models *m, enum weir_record_kind kind, struct weir_span key) {
    struct weir_models_worker *w = weir_models_find_worker(m, key);
    bool last = false;
    if (w == NULL)
        return kind == WEIR_RECORD_MODEL && weir_models_adapter_gone(m, key);
    struct weir_model *x = w->model;
    part(w);
    if (kind == WEIR_RECORD_ENDPOINT) {
        if (w->records.address != NULL && m->config.on_worker_left != NULL && !others_at(m, w))
            m->config.on_worker_left(m->config.arg, w->records.address);
    } else if (x != NULL) {
        /* Once more: while it had its card its events were taken, also behind its instance's end.
         */
        weir_router_worker_remove(x->info.router, w->records.id);
        last = weir_models_adapters_detach(w);
        weir_models_parity_forget(w);
        w->model = NULL;
        weir_models_unindex(m, w);
        last |= weir_model_drop_card(x);
    }
    (void)weir_worker_records_gone(&w->records, kind);
    weir_models_worker_done(w);
    return last;
}

/* A model has gone: who was left out beside it, or because it had their name, may come in. */
static void offer_place(struct weir_models *m) {
    weir_card_sets_again(&m->cards, on_free_card, m);
    WEIR_LIST_FOREACH(it, &m->workers) {
        weir_models_adapters_attach(m, WORKER(it));
    }
}

static void on_gone(struct weir_models *m, enum weir_record_kind kind, struct weir_span key) {
    bool last = gone(m, kind, key);
    if (kind == WEIR_RECORD_MODEL)
        weir_card_sets_gone(&m->cards, key, on_free_card, m);
    if (last)
        offer_place(m);
}

/* What Dynamo's operator puts behind a namespace: nothing, "-legacy", or a dash and the generation
 * of the workers. Without that "foo" would begin "foo-bar", another deployment. */
static bool is_generation(struct weir_span rest) {
    if (rest.len == 0 || weir_span_eqz(rest, "-legacy"))
        return true;
    if (rest.len != 9 || rest.data[0] != '-')
        return false;
    for (size_t i = 1; i < rest.len; i++)
        if (!(rest.data[i] >= '0' && rest.data[i] <= '9') &&
            !(rest.data[i] >= 'a' && rest.data[i] <= 'f'))
            return false;
    return true;
}

static bool has_prefix(const struct weir_models_config *c, struct weir_span ns) {
    struct weir_span prefix = weir_span_z(c->ns_prefix);
    if (!weir_span_starts(ns, prefix))
        return false;
    return !c->ns_strict || is_generation(weir_span(ns.data + prefix.len, ns.len - prefix.len));
}

bool weir_models_wants(const struct weir_models_config *c, struct weir_span ns) {
    uint32_t pool;
    const struct weir_pool_set *prefill;
    if (c->pools != NULL) {
        prefill = weir_pool_config_set(c->pools, true);
        return weir_pool_set_place(weir_pool_config_set(c->pools, false), ns, &pool) ||
               (prefill != NULL && weir_pool_set_place(prefill, ns, &pool));
    }
    if (c->ns_prefix != NULL)
        return has_prefix(c, ns);
    return c->ns == NULL || weir_span_eqz(ns, c->ns);
}

bool weir_models_place(const struct weir_models_config *c, struct weir_span ns, bool prefill,
                       uint32_t *ret_pool) {
    *ret_pool = 0;
    if (c->pools == NULL)
        return true;
    const struct weir_pool_set *set = weir_pool_config_set(c->pools, prefill);
    if (set != NULL && weir_pool_set_place(set, ns, ret_pool))
        return true;
    WEIR_LOG(WEIR_LOG_WARN, "models",
             "a %s worker of namespace %.*s is left out: the pool file has that namespace for "
             "others",
             prefill ? "prefill" : "decode or aggregated", WEIR_SPAN_ARG(ns));
    return false;
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
    else if (!weir_models_wants(&m->config, record->endpoint.ns))
        WEIR_LOG(WEIR_LOG_DEBUG, "models", "record %.*s is of another namespace",
                 WEIR_SPAN_ARG(key));
    else if (kind == WEIR_RECORD_ENDPOINT)
        on_instance(m, key, record);
    else if (record->suffix.len > 0) {
        if (weir_models_adapter_card(m, key, record))
            offer_place(m);
    } else
        on_card(m, key, record);
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

static bool same_engine(const struct weir_models *m, const struct weir_models_worker *w,
                        const struct weir_models_engine *e) {
    uint32_t block_size = m->config.block_size > 0 ? m->config.block_size : e->block_size;
    return w != NULL && w->model != NULL && w->records.address != NULL &&
           strcmp(w->records.address, e->address) == 0 && weir_span_eqz(e->model, w->model->name) &&
           w->model->info.block_size == block_size && w->records.figures.dp_size == e->n_ranks &&
           w->records.figures.total_kv_blocks == e->n_kv_blocks;
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
    if (!same_engine(models, weir_models_find_worker(models, key), e)) {
        drop_engine(models, key);
        (void)take_card(models, key, &r, e);
        if (weir_models_find_worker(models, key) != NULL)
            on_instance(models, key, &r);
    }
    pthread_mutex_unlock(&models->lock);
}

bool weir_models_engine_fits(struct weir_models *models, const struct weir_models_engine *e) {
    pthread_mutex_lock(&models->lock);
    const struct weir_model *x = weir_models_find_locked(models, e->model);
    bool fits =
        x == NULL ||
        (x->info.engines && (models->config.block_size > 0 || x->info.block_size == e->block_size));
    pthread_mutex_unlock(&models->lock);
    return fits;
}

void weir_models_engine_remove(struct weir_models *models, uint64_t id, uint64_t engine,
                               bool listed) {
    char room[64];
    struct weir_span key = engine_key(id, room);
    pthread_mutex_lock(&models->lock);
    const struct weir_models_worker *w = weir_models_find_worker(models, key);
    if (listed && w != NULL && w->model != NULL && w->records.address != NULL)
        weir_missed_add(&models->missed, w->records.id, w->model->name, engine);
    drop_engine(models, key);
    pthread_mutex_unlock(&models->lock);
}

void weir_models_engine_forget(struct weir_models *models, uint64_t engine) {
    pthread_mutex_lock(&models->lock);
    weir_missed_forget(&models->missed, engine);
    pthread_mutex_unlock(&models->lock);
}

bool weir_models_missed(struct weir_models *models, struct weir_span name) {
    pthread_mutex_lock(&models->lock);
    bool missed = weir_missed_has(&models->missed, name);
    pthread_mutex_unlock(&models->lock);
    return missed;
}
