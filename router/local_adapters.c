/*
 * LoRA adapters of the workers behind `weir router`: a worker's further cards, under its key and a
 * slug each. Requests that name an adapter go to workers that have loaded it; one that no worker
 * has goes to any, as a worker may load it for the request (shared spec "kvrouter" 4.2).
 */
#include "router/local_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "wire/record.h"

enum { MAX_ADAPTER_CARDS = 4096 };

struct adapter_card {
    struct weir_list node;
    uint64_t worker_id, number; /* number: of the name, for the router */
    char *slug, *name;          /* owned */
    bool told;                  /* to the router */
};

#define CARD(n) WEIR_CONTAINER_OF(n, struct adapter_card, node)

uint64_t weir_local_adapter(const struct weir_local *l, struct weir_span name) {
    if (name.len == 0)
        return 0;
    WEIR_LIST_FOREACH(it, &l->adapters) {
        if (weir_span_eqz(name, CARD(it)->name))
            return CARD(it)->number;
    }
    return 0;
}

static void tell(struct weir_local *l, struct adapter_card *c) {
    if (c->told || l->router == NULL)
        return;
    enum weir_status st = weir_router_adapter_put(l->router, c->number, c->worker_id);
    c->told = st == WEIR_OK;
    if (!c->told)
        WEIR_LOG(WEIR_LOG_WARN, "router", "adapter %s of worker %s is left out: %s", c->name,
                 weir_worker_text(c->worker_id).s, weir_status_text(st));
}

void weir_local_adapters_tell(struct weir_local *l) {
    WEIR_LIST_FOREACH(it, &l->adapters) {
        tell(l, CARD(it));
    }
}

static void free_card(struct weir_local *l, struct adapter_card *c) {
    if (c->told)
        weir_router_adapter_remove(l->router, c->number, c->worker_id);
    weir_list_remove(&c->node);
    l->n_adapters--;
    weir_free(c->slug);
    weir_free(c->name);
    weir_free(c);
}

void weir_local_adapter_gone(struct weir_local *l, uint64_t worker_id, struct weir_span slug) {
    WEIR_LIST_FOREACH(it, &l->adapters) {
        if (CARD(it)->worker_id == worker_id && weir_span_eqz(slug, CARD(it)->slug)) {
            free_card(l, CARD(it));
            return;
        }
    }
}

void weir_local_adapter_put(struct weir_local *l, uint64_t worker_id, struct weir_span slug,
                            struct weir_span name) {
    weir_local_adapter_gone(l, worker_id, slug);
    if (name.len == 0 || l->n_adapters == MAX_ADAPTER_CARDS) {
        WEIR_LOG(WEIR_LOG_WARN, "router", "adapter card %.*s of worker %s is left out: %s",
                 WEIR_SPAN_ARG(slug), weir_worker_text(worker_id).s,
                 name.len == 0 ? "it names no adapter" : "there are too many");
        return;
    }
    struct adapter_card *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return;
    weir_list_init(&c->node);
    c->worker_id = worker_id;
    c->number = weir_local_adapter(l, name);
    if (c->number == 0)
        c->number = ++l->last_adapter;
    c->slug = weir_strndup(slug.data, slug.len);
    c->name = weir_strndup(name.data, name.len);
    weir_list_push_back(&l->adapters, &c->node);
    l->n_adapters++;
    if (c->slug == NULL || c->name == NULL)
        free_card(l, c);
    else
        tell(l, c);
}

void weir_local_adapters_fini(struct weir_local *l) {
    WEIR_LIST_FOREACH(it, &l->adapters) {
        free_card(l, CARD(it));
    }
}
