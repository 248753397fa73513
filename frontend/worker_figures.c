#include "frontend/worker_figures.h"

#include "base/map.h"
#include "base/mem.h"
#include "net/loop.h"

#include <pthread.h>

enum { MAX_RANKS = WEIR_FRONT_MAX_RANKS };

struct entry {
    struct weir_worker_seen last; /* n_input 0: nothing has been seen */
    bool shown;                   /* its series are on the page */
    unsigned scrape;              /* that met it last */
    struct weir_front_worker_metrics series;
};

struct weir_worker_figures {
    pthread_mutex_t scraping; /* from begin to end; taken before the locks of routers */
    pthread_mutex_t lock;     /* of the entries, for one of them at a time: requests wait for it */
    struct weir_front_metrics *metrics;
    struct weir_map entries;        /* to struct entry *, owned */
    struct weir_worker_load *loads; /* scratch of a scrape, MAX_RANKS */
    unsigned scrape;
};

static uint64_t key_of(uint64_t worker_id, uint32_t dp_rank, bool prefill) {
    return worker_id ^ (((uint64_t)dp_rank << 1 | prefill) * UINT64_C(0x9E3779B97F4A7C15));
}

/* NULL: the table is full, or another rank has its place. */
static struct entry *entry_of(struct weir_worker_figures *f, uint64_t worker_id, uint32_t dp_rank,
                              bool prefill) {
    uint64_t at, key = key_of(worker_id, dp_rank, prefill);
    if (weir_map_get(&f->entries, key, &at)) {
        struct entry *e = (struct entry *)(uintptr_t)at;
        bool same = e->last.worker_id == worker_id && e->last.dp_rank == dp_rank &&
                    e->last.prefill == prefill;
        return same ? e : NULL;
    }
    struct entry *e = weir_calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->last = (struct weir_worker_seen){
        .worker_id = worker_id, .dp_rank = dp_rank, .prefill = prefill, .itl_s = -1};
    e->scrape = f->scrape;
    if (weir_map_put(&f->entries, key, (uint64_t)(uintptr_t)e) != WEIR_OK) {
        weir_free(e);
        return NULL;
    }
    return e;
}

void weir_worker_figures_note(struct weir_worker_figures *f, const struct weir_worker_seen *seen) {
    pthread_mutex_lock(&f->lock);
    struct entry *e = entry_of(f, seen->worker_id, seen->dp_rank, seen->prefill);
    if (e != NULL) {
        double itl_s = seen->itl_s >= 0 ? seen->itl_s : e->last.itl_s;
        e->last = *seen;
        e->last.itl_s = itl_s;
    }
    pthread_mutex_unlock(&f->lock);
}

/* ---- a scrape ------------------------------------------------------------------------------ */

void weir_worker_figures_begin(struct weir_worker_figures *f) {
    pthread_mutex_lock(&f->scraping);
    pthread_mutex_lock(&f->lock);
    f->scrape++;
    pthread_mutex_unlock(&f->lock);
}

static void show(struct weir_worker_figures *f, struct entry *e, const struct weir_worker_load *l) {
    const struct weir_worker_seen *s = &e->last;
    struct weir_front_worker_metrics *m = &e->series;
    if (!e->shown)
        weir_front_metrics_worker(f->metrics, s->worker_id, s->dp_rank, s->prefill, m);
    e->shown = true;
    weir_metric_set(m->registered, 1);
    weir_metric_set(m->decode_blocks, (double)l->active_decode_blocks);
    weir_metric_set(m->prefill_tokens, (double)l->active_prefill_tokens);
    if (s->n_input == 0)
        return;
    weir_metric_set(m->last_input, (double)s->n_input);
    weir_metric_set(m->last_ttft, s->ttft_s);
    weir_metric_set(m->last_itl, s->itl_s > 0 ? s->itl_s : 0);
}

void weir_worker_figures_router(struct weir_worker_figures *f, struct weir_router *router,
                                bool prefill) {
    size_t n = weir_router_loads(router, weir_now_ns() / 1000000, f->loads, MAX_RANKS);
    for (size_t i = 0; i < n && i < MAX_RANKS; i++) {
        pthread_mutex_lock(&f->lock);
        struct entry *e = entry_of(f, f->loads[i].worker_id, f->loads[i].dp_rank, prefill);
        if (e != NULL) {
            e->scrape = f->scrape;
            show(f, e, &f->loads[i]);
        }
        pthread_mutex_unlock(&f->lock);
    }
}

void weir_worker_figures_end(struct weir_worker_figures *f) {
    pthread_mutex_lock(&f->lock);
    uint64_t key, at, *gone = weir_calloc(weir_map_len(&f->entries) + 1, sizeof(*gone));
    size_t n = 0;
    for (size_t cursor = 0; gone != NULL && weir_map_next(&f->entries, &cursor, &key, &at);) {
        struct entry *e = (struct entry *)(uintptr_t)at;
        if (e->scrape == f->scrape)
            continue;
        if (e->shown)
            weir_front_metrics_worker_gone(f->metrics, e->last.worker_id, e->last.dp_rank,
                                           e->last.prefill);
        gone[n++] = key;
        weir_free(e);
    }
    while (n > 0)
        weir_map_remove(&f->entries, gone[--n]);
    weir_free(gone);
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_unlock(&f->scraping);
}

/* ---- life ----------------------------------------------------------------------------------- */

enum weir_status weir_worker_figures_create(struct weir_front_metrics *metrics,
                                            struct weir_worker_figures **ret) {
    struct weir_worker_figures *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return WEIR_NOMEM;
    f->loads = weir_calloc(MAX_RANKS, sizeof(*f->loads));
    if (f->loads == NULL) {
        weir_free(f);
        return WEIR_NOMEM;
    }
    f->metrics = metrics;
    weir_map_init(&f->entries, MAX_RANKS);
    pthread_mutex_init(&f->scraping, NULL);
    pthread_mutex_init(&f->lock, NULL);
    *ret = f;
    return WEIR_OK;
}

void weir_worker_figures_destroy(struct weir_worker_figures *f) {
    uint64_t key, at;
    if (f == NULL)
        return;
    for (size_t cursor = 0; weir_map_next(&f->entries, &cursor, &key, &at);)
        weir_free((struct entry *)(uintptr_t)at);
    weir_map_fini(&f->entries);
    pthread_mutex_destroy(&f->lock);
    pthread_mutex_destroy(&f->scraping);
    weir_free(f->loads);
    weir_free(f);
}
