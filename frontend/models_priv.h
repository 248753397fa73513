/* The registry's tables, and what its files ask of each other: finding and lifetime (models.c), a
 * card made into a model (models_new.c), what discovery and engines change (models_change.c).
 * Everything here is called with the lock held unless it says otherwise. */
#ifndef WEIR_FRONTEND_MODELS_PRIV_H
#define WEIR_FRONTEND_MODELS_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "frontend/card_sets.h"
#include "frontend/models.h"
#include "frontend/models_load.h"
#include "frontend/models_missed.h"
#include "router/worker_records.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * One lock guards the tables; it is held for look-ups and changes, never for I/O. Lock order: this
 * lock before a router's.
 */
struct weir_model {
    struct weir_list node;
    _Atomic unsigned refs; /* registry 1, each finder 1 */
    struct weir_models *models;
    struct weir_model_info info;
    struct weir_model *base; /* of an adapter, held: it has the router, the rooms and, unless
                                own_tok, the tokenizer; NULL: no adapter */
    bool own_tok;
    bool decodes_media;       /* its card asks frontends to */
    struct weir_span sums[4]; /* checksums of the card's files, in the arena; models_new.c */
    char *name;               /* owned; of `info` */
    struct weir_arena arena;
    struct weir_span *aliases; /* in the arena */
    size_t n_aliases;
    unsigned n_cards, n_ready;  /* workers with a card; of these, with an instance too, and with a
                                   tokenizer loaded */
    bool begun;                 /* so many workers have been ready at once as have to be at first */
    struct weir_tok_load *load; /* under way; NULL otherwise. Touched on the control loop only */
    struct weir_list loading;   /* among those whose load is; as `load` */
    bool failed;                /* the tokenizer cannot be loaded: never ready */
    unsigned n_differ;          /* workers whose tokens are not ours */
    _Atomic unsigned n_doubted; /* workers of which the last answer counted other tokens */
    _Atomic bool blind;         /* weir_model_blind() */
};

/* With the registry's lock held. */
static inline bool weir_model_is_ready(const struct weir_model *x) {
    return x->n_ready > 0 && x->begun;
}

/* A LoRA adapter that a worker has loaded: a card beside the worker's own. */
struct weir_models_adapter {
    struct weir_list node;    /* of the worker's */
    char *key;                /* owned: the worker's and "/slug" */
    struct weir_buf record;   /* as JSON: the base's card may come later, or come anew */
    struct weir_model *model; /* counted in n_cards; NULL: no base, or it cannot be served */
    bool joined;              /* counted in n_ready */
};

/* A worker: what its two records say. Key = "ns/component/endpoint/id". */
struct weir_models_worker {
    struct weir_list node;
    char *key;           /* owned */
    char *endpoint_text; /* owned: backing of `endpoint` */
    struct weir_endpoint_id endpoint;
    struct weir_worker_records records;
    enum weir_worker_type type; /* of its card; decode for an engine that cannot prefill */
    struct weir_model *model;   /* of its card; NULL without one; counted in n_cards */
    struct weir_list adapters;  /* in the order in which they came */
    size_t n_adapters;
    bool differs_found, differs_counted; /* its tokens are not ours: by conversations, by counts */
    unsigned n_doubts;                   /* answers in a row that counted other tokens */
};

struct weir_models {
    pthread_mutex_t lock;
    struct weir_models_config config;
    struct weir_list models, workers;
    struct weir_list loading;    /* models with a load, also such as have left `models` */
    struct weir_card_sets cards; /* of discovery, prefill workers' and adapters' left out */
    struct weir_missed missed;
    struct weir_map by_id; /* worker id to a worker of it that has a card: looked up for each event
                              and each request */
    uint64_t last_adapter; /* numbers of adapters are not used again */
};

#define MODEL(n) WEIR_CONTAINER_OF(n, struct weir_model, node)
#define WORKER(n) WEIR_CONTAINER_OF(n, struct weir_models_worker, node)

/* Such a worker need not have blocks; a router has. */
static inline uint32_t weir_models_block_size(const struct weir_models *m,
                                              const struct weir_card *c) {
    return m->config.block_size > 0                                  ? m->config.block_size
           : c->kv_cache_block_size == 0 && weir_card_only_embeds(c) ? 16
                                                                     : c->kv_cache_block_size;
}

/* models.c */
/* Of this model, or of any (NULL): the worker of an id that has a card; NULL. */
struct weir_models_worker *weir_models_with_card(struct weir_models *m, uint64_t id,
                                                 const struct weir_model *model);
void weir_models_index(struct weir_models *m, struct weir_models_worker *w);
/* Its card went. Another worker of the id, if there is one, takes the place. */
void weir_models_unindex(struct weir_models *m, const struct weir_models_worker *w);
void weir_models_free_worker(struct weir_models_worker *w);
struct weir_model *weir_models_find_locked(struct weir_models *m, struct weir_span name);
/* Of one that nobody holds. No lock needed. */
void weir_model_free(struct weir_model *model);

/* models_new.c */
/* The model of a card, in the registry; NULL, with a log line, when it cannot be served. `engine`:
 * the card is made from what an HTTP engine says; else NULL. */
struct weir_model *weir_models_new(struct weir_models *m, const struct weir_card *card,
                                   const struct weir_models_engine *engine);
/* The model of an adapter's card; NULL, with a log line, when it cannot be served. */
struct weir_model *weir_models_new_adapter(struct weir_models *m, const struct weir_card *card,
                                           struct weir_model *base);
/* Requests can be served: with a tokenizer, or by engines that need none from us. */
bool weir_model_usable(const struct weir_model *model);

/* models_change.c */
/* Both records and the tokenizer are there: the router may choose this worker. */
void weir_models_join(struct weir_models_worker *w);
/* by: workers that came or went. */
void weir_model_set_ready(struct weir_model *model, int by);
/* One card less; the last one takes the model with it: true. */
bool weir_model_drop_card(struct weir_model *model);
struct weir_models_worker *weir_models_find_worker(struct weir_models *m, struct weir_span key);
/* Makes it if need be; NULL: out of memory. */
struct weir_models_worker *weir_models_worker_for(struct weir_models *m, struct weir_span key,
                                                  const struct weir_record *record);
/* Frees it when nothing is left of it. */
void weir_models_worker_done(struct weir_models_worker *w);

/* models_adapters.c. Those that return something: true: a model of an adapter has gone, and its
 * name is free. */
bool weir_models_adapter_card(struct weir_models *m, struct weir_span key,
                              const struct weir_record *record);
bool weir_models_adapter_gone(struct weir_models *m, struct weir_span key);
/* The worker's own card came, or a name may be free, or the card goes; it joins or parts. */
void weir_models_adapters_attach(struct weir_models *m, struct weir_models_worker *w);
bool weir_models_adapters_detach(struct weir_models_worker *w);
void weir_models_adapters_join(struct weir_models_worker *w);
void weir_models_adapters_part(struct weir_models_worker *w);
void weir_models_adapters_free(struct weir_models_worker *w);

/* models_parity.c */
/* Its card went, or comes anew. */
void weir_models_parity_forget(struct weir_models_worker *w);

#endif
