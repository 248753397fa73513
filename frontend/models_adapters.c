/*
 * LoRA adapters on the request plane: a worker that has loaded one has a second card, under its own
 * key and the adapter's slug. The adapter is a model of its own name; its requests go to the base's
 * router, which sees all of the load and takes only workers with the adapter, and whose index tells
 * their blocks apart by the adapter's name in the hashes (shared spec "kvrouter" 1,
 * "transport" 1.3).
 *
 * Happy path: adapter_card → kept with the worker → attach, once the base's card is there → join,
 * once the worker is. Invariants: a->model implies a->model->base == w->model; a->joined implies
 * that the worker is in the base's router. Everything here is called with the lock held.
 */
#include "frontend/models_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "wire/record.h"

enum { MAX_OF_WORKER = 4096, RECORD_BYTES = 1 << 20 };

#define ADAPTER(n) WEIR_CONTAINER_OF(n, struct weir_models_adapter, node)

static void join(struct weir_models_worker *w, struct weir_models_adapter *a) {
    if (a->model == NULL || a->joined || w->records.router == NULL || a->model->info.tok == NULL)
        return;
    enum weir_status st =
        weir_router_adapter_put(w->records.router, a->model->info.adapter, w->records.id);
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_WARN, "models", "adapter %s of worker %s is left out: %s", a->model->name,
                 weir_worker_text(w->records.id).s, weir_status_text(st));
        return;
    }
    a->joined = true;
    weir_model_set_ready(a->model, 1);
}

static void part(struct weir_models_worker *w, struct weir_models_adapter *a) {
    if (!a->joined)
        return;
    weir_router_adapter_remove(w->records.router, a->model->info.adapter, w->records.id);
    a->joined = false;
    weir_model_set_ready(a->model, -1);
}

/* True: its model went with it. */
static bool detach(struct weir_models_worker *w, struct weir_models_adapter *a) {
    part(w, a);
    bool last = a->model != NULL && weir_model_drop_card(a->model);
    a->model = NULL;
    return last;
}

/* The model that a card's requests go to; NULL, with a log line: not served. */
static struct weir_model *model_of(struct weir_models *m, const struct weir_models_worker *w,
                                   const struct weir_card *card) {
    struct weir_model *x = weir_models_find_locked(m, card->display_name);
    if (x == NULL)
        return weir_models_new_adapter(m, card, w->model);
    if (x->base == w->model && weir_span_eq(x->info.lora, card->lora_name))
        return x;
    WEIR_LOG(WEIR_LOG_WARN, "models",
             "adapter %.*s of worker %s is left out: model %s is something else already",
             WEIR_SPAN_ARG(card->lora_name), weir_worker_text(w->records.id).s, x->name);
    return NULL;
}

static void attach(struct weir_models *m, struct weir_models_worker *w,
                   struct weir_models_adapter *a) {
    if (w->model == NULL || a->model != NULL)
        return;
    struct weir_record record;
    struct weir_arena arena;
    struct weir_err err;
    weir_arena_init(&arena, (size_t)4 * RECORD_BYTES);
    if (weir_record_decode(weir_buf_span(&a->record), &arena, &record, &err) == WEIR_OK)
        a->model = model_of(m, w, &record.card);
    weir_arena_fini(&arena);
    if (a->model == NULL)
        return;
    a->model->n_cards++;
    join(w, a);
}

static void free_adapter(struct weir_models_adapter *a) {
    weir_list_remove(&a->node);
    weir_free(a->key);
    weir_buf_free(&a->record);
    weir_free(a);
}

static struct weir_models_adapter *find(struct weir_models_worker *w, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &w->adapters) {
        if (weir_span_eqz(key, ADAPTER(it)->key))
            return ADAPTER(it);
    }
    return NULL;
}

static void keep(struct weir_models *m, struct weir_models_worker *w, struct weir_span key,
                 const struct weir_record *record) {
    struct weir_models_adapter *a = weir_calloc(1, sizeof(*a));
    if (a == NULL)
        return;
    weir_list_init(&a->node);
    weir_buf_init(&a->record, RECORD_BYTES);
    a->key = weir_strndup(key.data, key.len);
    if (a->key == NULL || weir_record_encode(record, &a->record) != WEIR_OK) {
        free_adapter(a);
        return;
    }
    weir_list_push_back(&w->adapters, &a->node);
    w->n_adapters++;
    attach(m, w, a);
}

/* The worker's own key: all but the slug. */
static struct weir_span base_key(struct weir_span key) {
    size_t n = key.len;
    while (n > 0 && key.data[n - 1] != '/')
        n--;
    return weir_span(key.data, n > 0 ? n - 1 : 0);
}

bool weir_models_adapter_card(struct weir_models *m, struct weir_span key,
                              const struct weir_record *record) {
    bool last = false;
    if (record->card.lora_name.len == 0) {
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "record %.*s is left out: its key is that of an adapter, its card names none",
                 WEIR_SPAN_ARG(key));
        return false;
    }
    struct weir_models_worker *w = weir_models_worker_for(m, base_key(key), record);
    if (w == NULL)
        return false;
    struct weir_models_adapter *a = find(w, key);
    if (a != NULL) { /* told again, or changed */
        last = detach(w, a);
        free_adapter(a);
        w->n_adapters--;
    }
    if (w->n_adapters == MAX_OF_WORKER)
        WEIR_LOG(WEIR_LOG_WARN, "models", "record %.*s is left out: its worker has %d adapters",
                 WEIR_SPAN_ARG(key), MAX_OF_WORKER);
    else
        keep(m, w, key, record);
    weir_models_worker_done(w);
    return last;
}

bool weir_models_adapter_gone(struct weir_models *m, struct weir_span key) {
    struct weir_models_worker *w = weir_models_find_worker(m, base_key(key));
    struct weir_models_adapter *a = w != NULL ? find(w, key) : NULL;
    if (a == NULL)
        return false;
    bool last = detach(w, a);
    free_adapter(a);
    w->n_adapters--;
    weir_models_worker_done(w);
    return last;
}

void weir_models_adapters_attach(struct weir_models *m, struct weir_models_worker *w) {
    WEIR_LIST_FOREACH(it, &w->adapters) {
        attach(m, w, ADAPTER(it));
    }
}

void weir_models_adapters_join(struct weir_models_worker *w) {
    WEIR_LIST_FOREACH(it, &w->adapters) {
        join(w, ADAPTER(it));
    }
}

void weir_models_adapters_part(struct weir_models_worker *w) {
    WEIR_LIST_FOREACH(it, &w->adapters) {
        part(w, ADAPTER(it));
    }
}

bool weir_models_adapters_detach(struct weir_models_worker *w) {
    bool last = false;
    WEIR_LIST_FOREACH(it, &w->adapters) {
        last |= detach(w, ADAPTER(it));
    }
    return last;
}

void weir_models_adapters_free(struct weir_models_worker *w) {
    WEIR_LIST_FOREACH(it, &w->adapters) {
        free_adapter(ADAPTER(it));
    }
}
