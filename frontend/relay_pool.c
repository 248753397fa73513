#include "frontend/relay_pool.h"

#include "base/mem.h"
#include "runtime/address.h"

#include <string.h>

enum { MAX_CONNS = 4096, IDLE_MS = 4000 };

struct weir_relay_pool {
    struct weir_list node;
    char *address; /* owned */
    struct weir_http_client *client;
    struct weir_list users; /* struct weir_relay_user, borrowed */
    bool left;
};

struct weir_relay_pools {
    struct weir_loop *loop; /* borrowed */
    struct weir_tls *tls;   /* borrowed, or NULL */
    uint64_t connect_ms;
    unsigned max_calls;
    struct weir_list pools;
};

#define POOL(n) WEIR_CONTAINER_OF(n, struct weir_relay_pool, node)
#define USER(n) WEIR_CONTAINER_OF(n, struct weir_relay_user, node)

bool weir_relay_is_http(struct weir_span address) {
    return weir_span_starts(address, WEIR_SPAN_LIT("http://")) ||
           weir_span_starts(address, WEIR_SPAN_LIT("https://"));
}

enum weir_status weir_relay_pools_create(struct weir_loop *loop, struct weir_tls *tls,
                                         uint64_t connect_ms, unsigned max_calls,
                                         struct weir_relay_pools **ret_pools) {
    struct weir_relay_pools *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    *p = (struct weir_relay_pools){
        .loop = loop, .tls = tls, .connect_ms = connect_ms, .max_calls = max_calls};
    weir_list_init(&p->pools);
    *ret_pools = p;
    return WEIR_OK;
}

static void destroy(struct weir_relay_pool *pool) {
    weir_list_remove(&pool->node);
    weir_http_client_destroy(pool->client);
    weir_free(pool->address);
    weir_free(pool);
}

void weir_relay_pools_destroy(struct weir_relay_pools *pools) {
    if (pools == NULL)
        return;
    WEIR_LIST_FOREACH(it, &pools->pools) {
        destroy(POOL(it));
    }
    weir_free(pools);
}

static struct weir_relay_pool *find(struct weir_relay_pools *pools, struct weir_span address) {
    WEIR_LIST_FOREACH(it, &pools->pools) {
        if (weir_span_eqz(address, POOL(it)->address))
            return POOL(it);
    }
    return NULL;
}

/* Engines behind uvicorn close a connection after 5 s of rest; ours go first, so that no request
 * meets a closing one. */
static enum weir_status make(struct weir_relay_pools *pools, struct weir_span address,
                             struct weir_relay_pool **ret_pool) {
    struct weir_address at;
    struct weir_span host, rest = address;
    bool tls = weir_span_starts(rest, WEIR_SPAN_LIT("https://"));
    size_t skip = tls ? 8 : 7;
    if (!weir_relay_is_http(address) || (tls && pools->tls == NULL))
        return WEIR_INVALID;
    rest = weir_span(rest.data + skip, rest.len - skip);
    if (weir_address_parse(rest, &at, &host) != WEIR_OK || host.data == NULL)
        return WEIR_INVALID;
    struct weir_relay_pool *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    weir_list_init(&p->node);
    weir_list_init(&p->users);
    p->address = weir_strndup(address.data, address.len);
    struct weir_http_client_config hc = {.ip = at.ip,
                                         .port = at.port,
                                         .tls = tls ? pools->tls : NULL,
                                         .max_conns = MAX_CONNS,
                                         .max_waiting = pools->max_calls,
                                         .connect_ms = pools->connect_ms,
                                         .idle_ms = IDLE_MS};
    enum weir_status st = WEIR_NOMEM;
    if (p->address != NULL) {
        hc.host = p->address + (host.data - address.data);
        st = weir_http_client_create(pools->loop, &hc, &p->client);
    }
    if (st != WEIR_OK) {
        destroy(p);
        return st;
    }
    weir_list_push_front(&pools->pools, &p->node);
    *ret_pool = p;
    return WEIR_OK;
}

enum weir_status weir_relay_pool_take(struct weir_relay_pools *pools, struct weir_span address,
                                      struct weir_relay_user *user) {
    struct weir_relay_pool *p = find(pools, address);
    enum weir_status st = p != NULL ? WEIR_OK : make(pools, address, &p);
    if (st != WEIR_OK)
        return st;
    p->left = false;
    weir_list_push_back(&p->users, &user->node);
    user->pool = p;
    return WEIR_OK;
}

struct weir_http_client *weir_relay_pool_client(struct weir_relay_pool *pool) {
    return pool->client;
}

void weir_relay_pool_release(struct weir_relay_user *user) {
    struct weir_relay_pool *pool = user->pool;
    if (pool == NULL)
        return;
    user->pool = NULL;
    weir_list_remove(&user->node);
    if (weir_list_empty(&pool->users) && pool->left)
        destroy(pool);
}

bool weir_relay_pool_has_left(const struct weir_relay_user *user) {
    return user->pool != NULL && user->pool->left;
}

void weir_relay_pool_left(struct weir_relay_pools *pools, struct weir_span address,
                          uint64_t silent_ms) {
    struct weir_relay_pool *p = find(pools, address);
    if (p == NULL)
        return;
    p->left = true;
    if (weir_list_empty(&p->users)) {
        destroy(p);
        return;
    }
    WEIR_LIST_FOREACH(it, &p->users) {
        if (USER(it)->left != NULL)
            USER(it)->left(USER(it)->arg, silent_ms);
    }
}
