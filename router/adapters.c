#include "router/adapters.h"

#include "base/mem.h"

#include <string.h>

void weir_adapters_fini(struct weir_adapters *a) {
    for (size_t i = 0; i < a->n; i++)
        weir_free(a->items[i].workers);
    weir_free(a->items);
    *a = (struct weir_adapters){.n = 0};
}

/* Where the adapter stands, or would. */
static size_t place(const struct weir_adapters *a, uint64_t id) {
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (a->items[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct weir_adapter *find(const struct weir_adapters *a, uint64_t id) {
    size_t at = place(a, id);
    return at < a->n && a->items[at].id == id ? &a->items[at] : NULL;
}

static size_t worker_place(const struct weir_adapter *x, uint64_t worker_id) {
    size_t low = 0, high = x->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x->workers[mid] < worker_id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct weir_adapter *add(struct weir_adapters *a, uint64_t id) {
    if (a->n == a->cap) {
        size_t cap = a->cap > 0 ? a->cap * 2 : 8;
        struct weir_adapter *items = weir_realloc(a->items, cap * sizeof(*items));
        if (items == NULL)
            return NULL;
        a->items = items;
        a->cap = cap;
    }
    size_t at = place(a, id);
    memmove(a->items + at + 1, a->items + at, (a->n - at) * sizeof(*a->items));
    a->items[at] = (struct weir_adapter){.id = id};
    a->n++;
    return &a->items[at];
}

static void drop(struct weir_adapters *a, struct weir_adapter *x) {
    size_t at = (size_t)(x - a->items);
    weir_free(x->workers);
    memmove(x, x + 1, (a->n - at - 1) * sizeof(*x));
    a->n--;
}

enum weir_status weir_adapters_put(struct weir_adapters *a, uint64_t id, uint64_t worker_id) {
    struct weir_adapter *x = find(a, id);
    if (x == NULL && a->n == WEIR_ADAPTERS_MAX)
        return WEIR_LIMIT;
    if (x == NULL)
        x = add(a, id);
    if (x == NULL)
        return WEIR_NOMEM;
    size_t at = worker_place(x, worker_id);
    if (at < x->n && x->workers[at] == worker_id)
        return WEIR_OK;
    if (x->n == x->cap) {
        size_t cap = x->cap > 0 ? x->cap * 2 : 4;
        uint64_t *workers = weir_realloc(x->workers, cap * sizeof(*workers));
        if (workers == NULL) {
            if (x->n == 0)
                drop(a, x);
            return WEIR_NOMEM;
        }
        x->workers = workers;
        x->cap = cap;
    }
    memmove(x->workers + at + 1, x->workers + at, (x->n - at) * sizeof(*x->workers));
    x->workers[at] = worker_id;
    x->n++;
    return WEIR_OK;
}

void weir_adapters_remove(struct weir_adapters *a, uint64_t id, uint64_t worker_id) {
    struct weir_adapter *x = find(a, id);
    size_t at = x != NULL ? worker_place(x, worker_id) : 0;
    if (x == NULL || at == x->n || x->workers[at] != worker_id)
        return;
    memmove(x->workers + at, x->workers + at + 1, (x->n - at - 1) * sizeof(*x->workers));
    if (--x->n == 0)
        drop(a, x);
}

bool weir_adapters_has(const struct weir_adapters *a, uint64_t id, uint64_t worker_id) {
    const struct weir_adapter *x = find(a, id);
    size_t at = x != NULL ? worker_place(x, worker_id) : 0;
    return x != NULL && at < x->n && x->workers[at] == worker_id;
}
