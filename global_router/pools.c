#include "global_router/pools.h"

#include "base/mem.h"

enum { MAX_ROUTERS = 256 }; /* of one pool */

struct instance {
    uint64_t id;
    char *address; /* owned */
};
struct pool {
    struct instance *instances; /* owned, room for MAX_ROUTERS once there is one */
    unsigned n, next;
};
struct weir_pools {
    const struct weir_pool_set *set;
    struct pool pools[];
};

enum weir_status weir_pools_create(const struct weir_pool_set *set, struct weir_pools **ret_pools) {
    struct weir_pools *p = weir_calloc(1, sizeof(*p) + set->n * sizeof(p->pools[0]));
    if (p == NULL)
        return WEIR_NOMEM;
    p->set = set;
    *ret_pools = p;
    return WEIR_OK;
}

void weir_pools_destroy(struct weir_pools *pools) {
    if (pools == NULL)
        return;
    for (size_t i = 0; i < pools->set->n; i++) {
        for (unsigned k = 0; k < pools->pools[i].n; k++)
            weir_free(pools->pools[i].instances[k].address);
        weir_free(pools->pools[i].instances);
    }
    weir_free(pools);
}

const struct weir_pool_set *weir_pools_set(const struct weir_pools *pools) {
    return pools->set;
}

static void drop(struct pool *p, unsigned at) {
    weir_free(p->instances[at].address);
    p->instances[at] = p->instances[--p->n];
}

static void put(struct pool *p, uint64_t id, struct weir_span address) {
    if (p->instances == NULL)
        p->instances = weir_calloc(MAX_ROUTERS, sizeof(*p->instances));
    char *copy = weir_strndup(address.data, address.len);
    if (p->instances == NULL || copy == NULL || p->n == MAX_ROUTERS) {
        weir_free(copy); /* one router less to choose from */
        return;
    }
    p->instances[p->n++] = (struct instance){id, copy};
}

bool weir_pools_update(struct weir_pools *pools, const struct weir_endpoint_id *endpoint,
                       uint64_t instance_id, struct weir_span address) {
    bool ours = false;
    if (!weir_span_eqz(endpoint->component, "router") || !weir_span_eqz(endpoint->name, "generate"))
        return false;
    /* The same namespace may stand for several pools. */
    for (size_t i = 0; i < pools->set->n; i++) {
        struct pool *p = &pools->pools[i];
        if (!weir_span_eqz(endpoint->ns, pools->set->namespaces[i]))
            continue;
        ours = true;
        for (unsigned k = 0; k < p->n; k++)
            if (p->instances[k].id == instance_id) {
                drop(p, k);
                break;
            }
        if (address.data != NULL)
            put(p, instance_id, address);
    }
    return ours;
}

struct weir_span weir_pools_address(const struct weir_pools *pools,
                                    const struct weir_endpoint_id *endpoint, uint64_t instance_id) {
    for (size_t i = 0; i < pools->set->n; i++)
        for (unsigned k = 0; k < pools->pools[i].n; k++)
            if (pools->pools[i].instances[k].id == instance_id &&
                weir_span_eqz(endpoint->ns, pools->set->namespaces[i]))
                return weir_span_z(pools->pools[i].instances[k].address);
    return weir_span(NULL, 0);
}

unsigned weir_pools_instances(const struct weir_pools *pools, uint32_t pool) {
    return pools->pools[pool].n;
}

struct weir_span weir_pools_pick(struct weir_pools *pools, uint32_t pool) {
    struct pool *p = &pools->pools[pool];
    if (p->n == 0)
        return weir_span(NULL, 0);
    p->next = (p->next + 1) % p->n;
    return weir_span_z(p->instances[p->next].address);
}
