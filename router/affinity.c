/* A map from the session to its entry, and a list in the order of last use: its head is both the
 * first to lapse and the one that makes room. */
#include "router/affinity.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

struct entry {
    struct weir_list node;
    struct weir_session session;
    uint64_t worker, used_ms;
};

struct weir_affinity {
    uint64_t ttl_ms;
    struct weir_map by_session; /* by `lo`; the other half is compared */
    struct weir_list by_use;    /* the longest unused first */
};

enum weir_status weir_affinity_create(uint64_t ttl_ms, size_t max_sessions,
                                      struct weir_affinity **ret) {
    struct weir_affinity *a = weir_calloc(1, sizeof(*a));
    if (a == NULL)
        return WEIR_NOMEM;
    a->ttl_ms = ttl_ms;
    weir_map_init(&a->by_session, max_sessions);
    weir_list_init(&a->by_use);
    *ret = a;
    return WEIR_OK;
}

static void forget(struct weir_affinity *a, struct entry *e) {
    weir_map_remove(&a->by_session, e->session.lo);
    weir_list_remove(&e->node);
    weir_free(e);
}

static struct entry *first(struct weir_affinity *a) {
    return WEIR_CONTAINER_OF(a->by_use.next, struct entry, node);
}

void weir_affinity_destroy(struct weir_affinity *a) {
    if (a == NULL)
        return;
    while (!weir_list_empty(&a->by_use))
        forget(a, first(a));
    weir_map_fini(&a->by_session);
    weir_free(a);
}

static void run_lapses(struct weir_affinity *a, uint64_t now_ms) {
    /* Loops read their clocks at different times: a now that is a little earlier ends nothing. */
    while (!weir_list_empty(&a->by_use) && now_ms >= first(a)->used_ms &&
           now_ms - first(a)->used_ms >= a->ttl_ms)
        forget(a, first(a));
}

static struct entry *find(struct weir_affinity *a, struct weir_session s) {
    uint64_t there = 0;
    if (!weir_map_get(&a->by_session, s.lo, &there))
        return NULL;
    return (struct entry *)(uintptr_t)there;
}

bool weir_affinity_get(struct weir_affinity *a, struct weir_session s, uint64_t now_ms,
                       uint64_t *ret_worker) {
    run_lapses(a, now_ms);
    struct entry *e = find(a, s);
    if (e == NULL || e->session.hi != s.hi)
        return false;
    *ret_worker = e->worker;
    return true;
}

void weir_affinity_bind(struct weir_affinity *a, struct weir_session s, uint64_t worker,
                        uint64_t now_ms) {
    struct entry *e = find(a, s);
    if (e != NULL) {
        weir_list_remove(&e->node);
    } else {
        if (weir_map_len(&a->by_session) >= a->by_session.max && !weir_list_empty(&a->by_use))
            forget(a, first(a));
        e = weir_malloc(sizeof(*e));
        if (e == NULL)
            return;
        weir_list_init(&e->node);
        if (weir_map_put(&a->by_session, s.lo, (uintptr_t)e) != WEIR_OK) {
            weir_free(e);
            return;
        }
    }
    e->session = s;
    e->worker = worker;
    e->used_ms = now_ms;
    weir_list_push_back(&a->by_use, &e->node);
}

size_t weir_affinity_len(const struct weir_affinity *a) {
    return weir_map_len(&a->by_session);
}
