#include "frontend/models_missed.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

enum { MAX_MISSED = 4096 };

struct one {
    struct weir_list node;
    uint64_t worker_id, engine;
    char *model; /* owned */
};

#define ONE(n) WEIR_CONTAINER_OF(n, struct one, node)

static void drop(struct weir_missed *m, struct one *x) {
    m->n--;
    weir_list_remove(&x->node);
    weir_free(x->model);
    weir_free(x);
}

void weir_missed_init(struct weir_missed *m) {
    weir_list_init(&m->list);
    m->n = 0;
}

void weir_missed_fini(struct weir_missed *m) {
    WEIR_LIST_FOREACH(it, &m->list) {
        drop(m, ONE(it));
    }
}

void weir_missed_add(struct weir_missed *m, uint64_t worker_id, const char *model,
                     uint64_t engine) {
    struct one *x = m->n < MAX_MISSED ? weir_calloc(1, sizeof(*x)) : NULL;
    if (x == NULL)
        return;
    x->worker_id = worker_id;
    x->model = weir_strndup(model, strlen(model));
    x->engine = engine;
    weir_list_push_back(&m->list, &x->node);
    m->n++;
    if (x->model == NULL)
        drop(m, x);
}

void weir_missed_found(struct weir_missed *m, uint64_t worker_id) {
    WEIR_LIST_FOREACH(it, &m->list) {
        if (ONE(it)->worker_id == worker_id)
            drop(m, ONE(it));
    }
}

void weir_missed_forget(struct weir_missed *m, uint64_t engine) {
    WEIR_LIST_FOREACH(it, &m->list) {
        if (ONE(it)->engine == engine)
            drop(m, ONE(it));
    }
}

bool weir_missed_has(const struct weir_missed *m, struct weir_span model) {
    WEIR_LIST_FOREACH(it, &m->list) {
        if (weir_span_eqz(model, ONE(it)->model))
            return true;
    }
    return false;
}
