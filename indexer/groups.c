#include "indexer/groups.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_REGISTRATIONS = 65536 };

struct weir_groups {
    struct weir_groups_config config;
    struct weir_list list;
    struct weir_engine_binds *binds;
    unsigned n, n_registrations;
};

#define GROUP(it) WEIR_CONTAINER_OF(it, struct weir_group, node)
#define REGISTRATION(it) WEIR_CONTAINER_OF(it, struct weir_registration, node)
/* For printf's "%.*s". */
#define SHOWN(text, bytes) WEIR_SPAN_ARG(weir_utf8_cut(weir_span_z(text), bytes))

enum weir_status weir_groups_create(const struct weir_groups_config *config,
                                    struct weir_groups **ret_groups) {
    struct weir_groups *g = weir_calloc(1, sizeof(*g));
    if (g == NULL)
        return WEIR_NOMEM;
    g->config = *config;
    weir_list_init(&g->list);
    if (weir_engine_binds_create(config->loop, &g->binds) != WEIR_OK) {
        weir_free(g);
        return WEIR_NOMEM;
    }
    *ret_groups = g;
    return WEIR_OK;
}

static void free_registration(struct weir_groups *g, struct weir_group *x,
                              struct weir_registration *r) {
    weir_follower_close(r->follower);
    weir_list_remove(&r->node);
    weir_free(r->endpoint);
    weir_free(r->replay);
    weir_free(r);
    g->n_registrations--;
    x->n_followers--;
}

static void free_group(struct weir_groups *g, struct weir_group *x) {
    WEIR_LIST_FOREACH(it, &x->followers) {
        free_registration(g, x, REGISTRATION(it));
    }
    weir_list_remove(&x->node);
    weir_mirror_destroy(x->mirror);
    kvi_reader_close(x->reader);
    kvi_reader_close(x->bulk_reader);
    kvi_destroy(x->index);
    weir_free(x->model);
    weir_free(x->name);
    weir_free(x);
    g->n--;
}

void weir_groups_destroy(struct weir_groups *groups) {
    if (groups == NULL)
        return;
    WEIR_LIST_FOREACH(it, &groups->list) {
        free_group(groups, GROUP(it));
    }
    weir_engine_binds_destroy(groups->binds);
    weir_free(groups);
}

const struct weir_list *weir_groups_list(const struct weir_groups *groups) {
    return &groups->list;
}

static struct weir_group *find_any(struct weir_groups *groups, struct weir_span model,
                                   struct weir_span name) {
    WEIR_LIST_FOREACH(it, &groups->list) {
        struct weir_group *x = GROUP(it);
        if (weir_span_eqz(model, x->model) && weir_span_eqz(name, x->name))
            return x;
    }
    return NULL;
}

struct weir_group *weir_groups_find(struct weir_groups *groups, struct weir_span model,
                                    struct weir_span name) {
    struct weir_group *x = find_any(groups, model, name);
    return x != NULL && !x->left ? x : NULL;
}

static struct weir_mirror *make_mirror(const struct weir_groups *g, const struct weir_group *x) {
    char name[512];
    snprintf(name, sizeof(name), "%s:%s", x->model != NULL ? x->model : "",
             x->name != NULL ? x->name : "");
    return weir_mirror_create(g->config.device, x->index, name);
}

enum weir_status weir_groups_get(struct weir_groups *groups, struct weir_span model,
                                 struct weir_span name, uint32_t block_size, const char *size_of,
                                 struct weir_group **ret_group) {
    struct weir_group *x = find_any(groups, model, name);
    if (x != NULL && x->left) {
        x->left = false;
        x->block_size = block_size;
        x->size_of = size_of;
    }
    if (x != NULL) {
        *ret_group = x;
        return x->block_size == block_size ? WEIR_OK : WEIR_EXISTS;
    }
    if (groups->n == groups->config.max_groups)
        return WEIR_LIMIT;
    x = weir_calloc(1, sizeof(*x));
    if (x == NULL)
        return WEIR_NOMEM;
    struct kvi_options options = {.max_bytes = groups->config.index_max_bytes, .max_readers = 2};
    weir_list_init(&x->node);
    weir_list_init(&x->followers);
    x->block_size = block_size;
    x->size_of = size_of;
    x->model = weir_strndup(model.data, model.len);
    x->name = weir_strndup(name.data, name.len);
    x->index = kvi_create(&options);
    if (x->index != NULL) {
        x->reader = kvi_reader_open(x->index);
        x->bulk_reader = kvi_reader_open(x->index);
        x->mirror = make_mirror(groups, x);
    }
    weir_list_push_back(&groups->list, &x->node);
    groups->n++;
    if (x->model == NULL || x->name == NULL || x->reader == NULL || x->bulk_reader == NULL ||
        x->mirror == NULL) {
        free_group(groups, x);
        return WEIR_NOMEM;
    }
    *ret_group = x;
    return WEIR_OK;
}

static struct weir_registration *find_registration(const struct weir_group *x,
                                                   struct kvi_worker worker) {
    WEIR_LIST_FOREACH(it, &x->followers) {
        struct weir_registration *r = REGISTRATION(it);
        if (r->worker.worker_id == worker.worker_id && r->worker.dp_rank == worker.dp_rank)
            return r;
    }
    return NULL;
}

static enum weir_status add(struct weir_groups *g, struct weir_group *x,
                            const struct weir_register_request *q, struct weir_err *err) {
    struct weir_registration *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    r->worker = (struct kvi_worker){q->instance_id, q->dp_rank};
    r->endpoint = weir_strndup(q->endpoint.data, q->endpoint.len);
    if (q->replay.data != NULL)
        r->replay = weir_strndup(q->replay.data, q->replay.len);
    weir_list_init(&r->node);
    weir_list_push_back(&x->followers, &r->node);
    g->n_registrations++;
    x->n_followers++;
    struct weir_follower_config lc = {.loop = g->config.loop,
                                      .binds = g->binds,
                                      .mirror = x->mirror,
                                      .worker = r->worker,
                                      .block_size = x->block_size,
                                      .endpoint = r->endpoint,
                                      .replay = r->replay};
    enum weir_status st = r->endpoint == NULL || (q->replay.data != NULL && r->replay == NULL)
                              ? weir_err_set(err, WEIR_NOMEM, "out of memory")
                              : weir_follower_open(&lc, &r->follower, err);
    if (st != WEIR_OK)
        free_registration(g, x, r);
    return st;
}

/* Where an instance is registered, whatever its rank; NULL: nowhere. */
static const struct weir_group *group_of(const struct weir_groups *groups, uint64_t instance_id) {
    WEIR_LIST_FOREACH(it, &groups->list) {
        const struct weir_group *x = GROUP(it);
        WEIR_LIST_FOREACH(jt, &x->followers) {
            if (REGISTRATION(jt)->worker.worker_id == instance_id)
                return x;
        }
    }
    return NULL;
}

static enum weir_status refuse_size(const struct weir_group *x, uint32_t asked,
                                    struct weir_err *err) {
    if (x->size_of != NULL)
        return weir_err_set(
            err, WEIR_EXISTS,
            "block_size %u: %s has filled this group of model %.*s with blocks of %u "
            "tokens. Start the engine with %u, or register it in another "
            "routing_group, or restart the indexer without that",
            asked, x->size_of, SHOWN(x->model, 40), x->block_size, x->block_size);
    return weir_err_set(err, WEIR_EXISTS,
                        "block_size %u: this group of model %.*s has engines with %u. Start the "
                        "engine with %u, or register it in another routing_group",
                        asked, SHOWN(x->model, 40), x->block_size, x->block_size);
}

enum weir_status weir_groups_register(struct weir_groups *groups,
                                      const struct weir_register_request *q, struct weir_err *err) {
    struct weir_group *x;
    const struct weir_group *before = find_any(groups, q->model, q->group);
    const struct weir_group *its = group_of(groups, q->instance_id);
    bool fresh = before == NULL, was_left = before != NULL && before->left;
    if (its != NULL && its != before)
        return weir_err_set(err, WEIR_EXISTS,
                            "instance %" PRIu64 " is already registered for model=%.*s "
                            "routing_group=%.*s: unregister it first",
                            q->instance_id, SHOWN(its->model, 80), SHOWN(its->name, 80));
    if (groups->n_registrations == MAX_REGISTRATIONS)
        return weir_err_set(err, WEIR_LIMIT, "over %d registrations", MAX_REGISTRATIONS);
    enum weir_status st = weir_groups_get(groups, q->model, q->group, q->block_size, NULL, &x);
    if (st == WEIR_EXISTS)
        return refuse_size(x, q->block_size, err);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "no room for another group: %s", weir_status_text(st));
    struct weir_registration *r =
        find_registration(x, (struct kvi_worker){q->instance_id, q->dp_rank});
    if (r != NULL)
        return weir_err_set(err, WEIR_EXISTS,
                            "instance %" PRIu64 " dp_rank %u already registered (endpoint %.*s): "
                            "unregister it first",
                            q->instance_id, q->dp_rank, SHOWN(r->endpoint, 100));
    st = add(groups, x, q, err);
    if (st == WEIR_OK)
        x->size_of = NULL;
    /* A refused registration settles no block size. Nobody has seen the group yet. */
    if (st != WEIR_OK && fresh)
        free_group(groups, x);
    else if (st != WEIR_OK)
        x->left = was_left;
    return st;
}

/* Other threads may be at work on the index (keeper.h, bulk.h) and on its copy (device.h), so the
 * group stays where it is. */
static void leave(struct weir_group *x) {
    struct kvi_worker some[64];
    uint32_t from = 0;
    for (size_t n; (n = kvi_ranks(x->index, &from, some, WEIR_ARRAY_LEN(some))) > 0;)
        for (size_t i = 0; i < n; i++)
            weir_mirror_remove(x->mirror, some[i]);
    x->left = true;
    x->n_left++;
}

void weir_groups_drop_empty(struct weir_group *x) {
    struct kvi_stats stats;
    kvi_get_stats(x->index, &stats);
    if (x->n_followers == 0 && stats.entries == 0 && !x->left)
        leave(x);
}

unsigned weir_groups_unregister(struct weir_groups *groups, struct weir_span model,
                                struct weir_span group, uint64_t instance_id, int64_t dp_rank) {
    unsigned n = 0;
    WEIR_LIST_FOREACH(it, &groups->list) {
        struct weir_group *x = GROUP(it);
        if (!weir_span_eqz(model, x->model) ||
            (group.data != NULL && !weir_span_eqz(group, x->name)))
            continue;
        WEIR_LIST_FOREACH(jt, &x->followers) {
            struct weir_registration *r = REGISTRATION(jt);
            if (r->worker.worker_id != instance_id ||
                (dp_rank >= 0 && r->worker.dp_rank != (uint32_t)dp_rank))
                continue;
            weir_mirror_remove(x->mirror, r->worker);
            free_registration(groups, x, r);
            n++;
            if (x->n_followers == 0)
                leave(x);
        }
    }
    return n;
}

enum weir_status weir_groups_pause(struct weir_groups *groups, struct kvi_worker worker, bool pause,
                                   struct weir_err *err) {
    bool known = false;
    WEIR_LIST_FOREACH(it, &groups->list) {
        const struct weir_group *x = GROUP(it);
        struct weir_registration *r = find_registration(x, worker);
        if (r != NULL)
            return weir_follower_pause(r->follower, pause, err);
        WEIR_LIST_FOREACH(jt, &x->followers) {
            known |= REGISTRATION(jt)->worker.worker_id == worker.worker_id;
        }
    }
    if (known)
        return weir_err_set(err, WEIR_NOT_FOUND, "instance %" PRIu64 " dp_rank %u not found",
                            worker.worker_id, worker.dp_rank);
    return weir_err_set(err, WEIR_NOT_FOUND, "instance %" PRIu64 " not found", worker.worker_id);
}
