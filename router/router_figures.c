/* Who is busy, and the figures that pages and metrics show. */
#include "router/router_priv.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "router/busy.h"

#include <math.h>

bool weir_router_rank_busy(const struct weir_router *r, const struct rank *x) {
    struct weir_busy_load l = {.active_decode_blocks = weir_held_len(&r->held, x->slot),
                               .kv_used_blocks = x->kv_used,
                               .active_prefill_tokens = x->prefill_tokens,
                               .total_kv_blocks = x->worker.total_kv_blocks,
                               .max_num_batched_tokens = x->worker.max_num_batched_tokens};
    return weir_busy(&r->thresholds, &l);
}

bool weir_router_worker_busy(const struct weir_router *r, size_t first) {
    for (size_t i = first;
         i < r->n_ranks && r->ranks[i].worker.worker_id == r->ranks[first].worker.worker_id; i++)
        if (!weir_router_rank_busy(r, &r->ranks[i]))
            return false;
    return true;
}

bool weir_router_busy_matters(const struct weir_router *r) {
    return !isnan(r->thresholds.decode_blocks) || r->thresholds.prefill_tokens >= 0 ||
           !isnan(r->thresholds.prefill_tokens_frac);
}

static bool all_busy(const struct weir_router *r) {
    if (r->n_ranks == 0 || !weir_router_busy_matters(r))
        return false;
    for (size_t i = 0; i < r->n_ranks; i++)
        if (!weir_router_rank_busy(r, &r->ranks[i]))
            return false;
    return true;
}

void weir_router_get_thresholds(struct weir_router *router, struct weir_busy_thresholds *ret) {
    pthread_mutex_lock(&router->lock);
    *ret = router->thresholds;
    pthread_mutex_unlock(&router->lock);
}

void weir_router_set_thresholds(struct weir_router *router, const struct weir_busy_thresholds *t) {
    pthread_mutex_lock(&router->lock);
    router->thresholds = *t;
    weir_router_unlock(router, true);
}

bool weir_router_all_busy(struct weir_router *router) {
    pthread_mutex_lock(&router->lock);
    bool busy = all_busy(router);
    pthread_mutex_unlock(&router->lock);
    return busy;
}

size_t weir_router_loads(struct weir_router *router, uint64_t now_ms, struct weir_worker_load *ret,
                         size_t room) {
    pthread_mutex_lock(&router->lock);
    size_t n = router->n_ranks;
    for (size_t i = 0; i < n && i < room; i++) {
        const struct rank *x = &router->ranks[i];
        ret[i] =
            (struct weir_worker_load){.worker_id = x->worker.worker_id,
                                      .dp_rank = x->dp_rank,
                                      .active_decode_blocks = weir_held_len(&router->held, x->slot),
                                      .active_prefill_tokens = x->prefill_tokens,
                                      .active_requests = x->requests,
                                      .kv_used_blocks = x->kv_used,
                                      .total_kv_blocks = x->worker.total_kv_blocks,
                                      .busy = weir_router_rank_busy(router, x),
                                      .inhibited = x->inhibited_until_ms > now_ms};
    }
    pthread_mutex_unlock(&router->lock);
    return n;
}

size_t weir_router_overlaps(struct weir_router *router, const uint64_t *local_hashes,
                            size_t n_blocks, struct weir_router_overlap *ret, size_t room) {
    pthread_mutex_lock(&router->lock);
    size_t n = router->n_ranks;
    for (size_t i = 0; i < n && i < room; i++)
        ret[i] = (struct weir_router_overlap){.worker_id = router->ranks[i].worker.worker_id,
                                              .dp_rank = router->ranks[i].dp_rank};
    const struct weir_lookup *l = &router->own_lookup;
    weir_lookup_run(&router->own_lookup, local_hashes, n_blocks);
    for (size_t k = 0; k < l->n; k++) {
        const struct kvi_score *s = &l->scores[k];
        const struct rank *x =
            weir_router_find_rank(router, s->worker.worker_id, s->worker.dp_rank);
        size_t at = x != NULL ? (size_t)(x - router->ranks) : SIZE_MAX;
        if (at >= room)
            continue;
        struct weir_router_overlap *o = &ret[at];
        o->device_blocks = s->blocks[KVI_DEVICE];
        o->host_blocks = s->blocks[KVI_HOST];
        o->disk_blocks = s->blocks[KVI_DISK] + s->blocks[KVI_EXTERNAL];
        o->credit = router->config.overlap_score_credit *
                    (o->device_blocks + router->config.host_cache_hit_weight * o->host_blocks +
                     router->config.disk_cache_hit_weight * o->disk_blocks);
    }
    pthread_mutex_unlock(&router->lock);
    return n;
}

void weir_router_index_stats(struct weir_router *router, struct weir_router_index_stats *ret) {
    struct kvi_stats s;
    struct weir_router_index_stats out = {0};
    pthread_mutex_lock(&router->lock);
    kvi_get_stats(router->index, &s);
    for (int t = 0; t < EVENT_TYPES; t++)
        for (int k = 0; k < EVENT_RESULTS; k++)
            *(k == KVI_OK ? &out.events_ok : &out.events_failed) +=
                atomic_load_explicit(&router->event_counts[t][k], memory_order_relaxed);
    pthread_mutex_unlock(&router->lock);
    out.entries = s.entries;
    out.bytes = s.bytes;
    *ret = out;
}

void weir_router_event_counts(struct weir_router *router,
                              void (*fn)(void *arg, const char *type, const char *result,
                                         uint64_t n),
                              void *arg) {
    static const char *const types[] = {"stored", "removed", "cleared"};
    for (int t = 0; t < EVENT_TYPES; t++)
        for (int k = 0; k < EVENT_RESULTS; k++) {
            uint64_t n = atomic_load_explicit(&router->event_counts[t][k], memory_order_relaxed);
            if (n > 0)
                fn(arg, types[t], kvi_result_name((enum kvi_result)k), n);
        }
}

struct weir_router_dump {
    struct kvi_walk *walk; /* owned */
    const struct weir_map *workers;
    weir_kv_event_fn fn;
    void *arg;
    uint64_t n;
};

static bool on_dumped(void *arg, const struct kvi_event *event) {
    struct weir_router_dump *d = arg;
    uint64_t value;
    if (!weir_map_get(d->workers, event->worker.worker_id, &value))
        return true;
    struct weir_kv_event e = {.worker_id = event->worker.worker_id,
                              .dp_rank = event->worker.dp_rank,
                              .event_id = d->n++,
                              .tier = (enum weir_kv_tier)event->tier,
                              .kind = WEIR_KV_STORED,
                              .has_parent = event->has_parent,
                              .parent_hash = event->parent_hash,
                              .blocks = (const struct weir_kv_block *)(const void *)event->blocks,
                              .n_blocks = event->n};
    d->fn(d->arg, &e);
    return true;
}

enum weir_status weir_router_dump_open(struct weir_router *router,
                                       struct weir_router_dump **ret_dump) {
    struct weir_router_dump *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return WEIR_NOMEM;
    d->walk = kvi_walk_open(router->index);
    if (d->walk == NULL) {
        weir_free(d);
        return WEIR_NOMEM;
    }
    *ret_dump = d;
    return WEIR_OK;
}

enum weir_status weir_router_dump_step(struct weir_router_dump *dump,
                                       const struct weir_map *workers, weir_kv_event_fn fn,
                                       void *arg, bool *ret_more) {
    dump->workers = workers;
    dump->fn = fn;
    dump->arg = arg;
    return kvi_walk_step(dump->walk, WEIR_ROUTER_DUMP_BLOCKS, on_dumped, dump, ret_more) == KVI_OK
               ? WEIR_OK
               : WEIR_NOMEM;
}

void weir_router_dump_close(struct weir_router_dump *dump) {
    if (dump == NULL)
        return;
    kvi_walk_close(dump->walk);
    weir_free(dump);
}
