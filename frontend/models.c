#include "frontend/models_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "wire/record.h"

#include <string.h>

enum weir_status weir_models_create(const struct weir_models_config *config,
                                    struct weir_models **ret_models) {
    struct weir_models *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return WEIR_NOMEM;
    m->config = *config;
    weir_list_init(&m->models);
    weir_list_init(&m->workers);
    weir_list_init(&m->loading);
    weir_card_sets_init(&m->cards);
    weir_missed_init(&m->missed);
    weir_map_init(&m->by_id, SIZE_MAX);
    pthread_mutex_init(&m->lock, NULL);
    *ret_models = m;
    return WEIR_OK;
}

void weir_model_free(struct weir_model *x) {
    if (x->base == NULL) {
        weir_rooms_destroy(x->info.rooms);
        weir_router_destroy(x->info.router);
    }
    if (x->base == NULL || x->own_tok)
        wtok_destroy(x->info.tok);
    weir_model_unref(x->base);
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
        weir_model_free(model);
}

void weir_models_free_worker(struct weir_models_worker *w) {
    weir_models_adapters_free(w);
    weir_list_remove(&w->node);
    weir_free(w->key);
    weir_worker_records_fini(&w->records);
    weir_free(w->endpoint_text);
    weir_free(w);
}

#define LOADING(n) WEIR_CONTAINER_OF(n, struct weir_model, loading)

void weir_models_end_loads(struct weir_models *models) {
    if (models == NULL)
        return;
    WEIR_LIST_FOREACH(it, &models->loading) {
        weir_tok_load_give_up(LOADING(it)->load);
    }
    WEIR_LIST_FOREACH(it, &models->loading) {
        weir_tok_load_end(LOADING(it)->load);
    }
}

void weir_models_destroy(struct weir_models *models) {
    if (models == NULL)
        return;
    weir_missed_fini(&models->missed);
    weir_card_sets_fini(&models->cards);
    WEIR_LIST_FOREACH(it, &models->workers) {
        weir_models_free_worker(WORKER(it));
    }
    WEIR_LIST_FOREACH(it, &models->loading) {
        weir_list_remove(it);
        weir_tok_load_cancel(LOADING(it)->load);
        weir_model_unref(LOADING(it));
    }
    WEIR_LIST_FOREACH(it, &models->models) {
        weir_list_remove(it);
        weir_model_unref(MODEL(it));
    }
    weir_map_fini(&models->by_id);
    pthread_mutex_destroy(&models->lock);
    weir_free(models);
}

/* ---- finding ------------------------------------------------------------------------------ */

/* Workers of two namespaces may have one id, or the map no memory: then the list is walked. */
struct weir_models_worker *weir_models_with_card(struct weir_models *m, uint64_t id,
                                                 const struct weir_model *model) {
    uint64_t value = 0;
    if (weir_map_get(&m->by_id, id, &value)) {
        struct weir_models_worker *w = (struct weir_models_worker *)(uintptr_t)value;
        if (model == NULL || w->model == model)
            return w;
    }
    WEIR_LIST_FOREACH(it, &m->workers) {
        struct weir_models_worker *w = WORKER(it);
        if (w->records.id == id && (model == NULL ? w->model != NULL : w->model == model))
            return w;
    }
    return NULL;
}

void weir_models_index(struct weir_models *m, struct weir_models_worker *w) {
    uint64_t other;
    if (!weir_map_get(&m->by_id, w->records.id, &other) &&
        weir_map_put(&m->by_id, w->records.id, (uint64_t)(uintptr_t)w) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "models", "out of memory: worker %s is found slowly",
                 weir_worker_text(w->records.id).s);
}

void weir_models_unindex(struct weir_models *m, const struct weir_models_worker *w) {
    uint64_t value = 0;
    if (!weir_map_get(&m->by_id, w->records.id, &value) || value != (uint64_t)(uintptr_t)w)
        return;
    weir_map_remove(&m->by_id, w->records.id);
    struct weir_models_worker *other = weir_models_with_card(m, w->records.id, NULL);
    if (other != NULL)
        weir_models_index(m, other);
}

struct weir_model *weir_models_find_locked(struct weir_models *m, struct weir_span name) {
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
    struct weir_model *x = weir_models_find_locked(models, name);
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
    bool ready = weir_model_is_ready(model);
    pthread_mutex_unlock(&model->models->lock);
    return ready;
}

bool weir_model_failed(struct weir_model *model) {
    pthread_mutex_lock(&model->models->lock);
    const struct weir_model *of = model->base != NULL && !model->own_tok ? model->base : model;
    bool failed = of->failed;
    pthread_mutex_unlock(&model->models->lock);
    return failed;
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
        fn(arg, MODEL(it), weir_model_is_ready(MODEL(it)));
    }
    pthread_mutex_unlock(&models->lock);
}

void weir_models_each_router(struct weir_models *models, weir_model_fn fn, void *arg) {
    pthread_mutex_lock(&models->lock);
    WEIR_LIST_FOREACH(it, &models->models) {
        if (MODEL(it)->base == NULL)
            fn(arg, MODEL(it), weir_model_is_ready(MODEL(it)));
    }
    pthread_mutex_unlock(&models->lock);
}

/* The model whose workers serve its requests. */
static const struct weir_model *serving(const struct weir_model *model) {
    return model->base != NULL ? model->base : model;
}

bool weir_model_worker(struct weir_model *model, uint64_t worker_id,
                       struct weir_model_worker *ret) {
    bool found = false;
    pthread_mutex_lock(&model->models->lock);
    const struct weir_models_worker *w =
        weir_models_with_card(model->models, worker_id, serving(model));
    if (w != NULL && w->records.address != NULL) {
        size_t len = strlen(w->records.address);
        found = len < sizeof(ret->address);
        if (found) {
            memcpy(ret->address, w->records.address, len + 1);
            ret->codec = w->records.codec;
            ret->n_ranks = w->records.figures.dp_size;
        }
    }
    pthread_mutex_unlock(&model->models->lock);
    return found;
}

void weir_models_instances(struct weir_models *models, weir_model_instance_fn fn, void *arg) {
    pthread_mutex_lock(&models->lock);
    WEIR_LIST_FOREACH(it, &models->workers) {
        const struct weir_models_worker *w = WORKER(it);
        struct weir_model_instance i = {.endpoint = &w->endpoint,
                                        .id = w->records.id,
                                        .address = w->records.address,
                                        .codec = w->records.codec,
                                        .type = w->type,
                                        .model = w->model != NULL ? w->model->name : NULL};
        if (w->records.address == NULL)
            continue;
        fn(arg, &i);
        i.adapter = true;
        WEIR_LIST_FOREACH(a, &w->adapters) {
            const struct weir_model *x =
                WEIR_CONTAINER_OF(a, struct weir_models_adapter, node)->model;
            i.model = x != NULL ? x->name : NULL;
            fn(arg, &i);
        }
    }
    pthread_mutex_unlock(&models->lock);
}

struct weir_model *weir_models_of_worker(struct weir_models *models, uint64_t worker_id) {
    struct weir_model *found = NULL;
    pthread_mutex_lock(&models->lock);
    const struct weir_models_worker *w = weir_models_with_card(models, worker_id, NULL);
    if (w != NULL) {
        found = w->model;
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&models->lock);
    return found;
}
