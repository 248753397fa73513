/*
 * One index's copy on the device's thread: events, the copy made from the index, matches. Changes
 * are only noted on the host; a question commits them first, so they travel together.
 */
#include "indexer/device_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <time.h>

enum {
    FIRST_BLOCKS = 1 << 16, /* of a copy; it is made again four times as large when full */
    FIRST_RANKS = 1024,
    COPY_BLOCKS = 8192,     /* of a step, which holds the index, */
    COPY_PAUSE_NS = 100000, /* and a pause behind each */
    ROOM = 64,              /* scores of a query at first */
    PIECE_QUERIES = 1 << 15,
    PIECE_BLOCKS = 1 << 22, /* 32 MiB of hashes at once */
    SCORES_MAX = 1 << 23,
};

_Static_assert(sizeof(struct kvc_block) == sizeof(struct kvi_block) &&
                   (int)KVC_HOST == (int)KVI_HOST && (int)KVC_DISK == (int)KVI_DISK &&
                   (int)KVC_EXTERNAL == (int)KVI_EXTERNAL,
               "events are passed on as they are");

/* ---- ranks of a copy --------------------------------------------------------------------------
 */

static uint32_t *rank_cell(struct weir_mirror *m, struct kvi_worker w) {
    uint64_t h = (w.worker_id * 31 + w.dp_rank) * 0x9E3779B97F4A7C15u;
    for (uint32_t mask = 2 * m->max_ranks - 1, i = (uint32_t)(h >> 32) & mask;;
         i = (i + 1) & mask) {
        uint32_t *cell = &m->by_worker[i];
        if (*cell == 0 || (m->workers[*cell - 1].worker_id == w.worker_id &&
                           m->workers[*cell - 1].dp_rank == w.dp_rank))
            return cell;
    }
}

/* False: no number is left. A rank that went keeps its number until the next copy. */
static bool rank_of(struct weir_mirror *m, struct kvi_worker w, uint32_t *ret) {
    uint32_t *cell = rank_cell(m, w);
    if (*cell == 0) {
        if (m->n_ranks == m->max_ranks)
            return false;
        m->workers[m->n_ranks] = w;
        *cell = ++m->n_ranks;
    }
    *ret = *cell - 1;
    return true;
}

void weir_copy_drop(struct weir_mirror *m) {
    kvc_table_destroy(m->table);
    weir_free(m->workers);
    weir_free(m->by_worker);
    m->table = NULL;
    m->workers = NULL;
    m->by_worker = NULL;
    m->n_ranks = 0;
}

static bool make_table(struct weir_mirror *m) {
    weir_copy_drop(m);
    m->max_blocks = m->max_blocks == 0 ? FIRST_BLOCKS : m->max_blocks;
    m->max_ranks = m->max_ranks == 0 ? FIRST_RANKS : m->max_ranks;
    struct kvc_table_options o = {.max_blocks = m->max_blocks, .max_ranks = m->max_ranks};
    m->workers = weir_calloc(m->max_ranks, sizeof(*m->workers));
    m->by_worker = weir_calloc((size_t)2 * m->max_ranks, sizeof(*m->by_worker));
    if (m->workers != NULL && m->by_worker != NULL &&
        kvc_table_create(m->device->kvc, &o, &m->table) == KVC_OK)
        return true;
    weir_copy_drop(m);
    return false;
}

/* ---- events -----------------------------------------------------------------------------------
 */

static enum kvc_status apply(struct weir_mirror *m, const struct kvi_event *e) {
    uint32_t rank;
    if (!rank_of(m, e->worker, &rank)) {
        m->max_ranks *= 4;
        return KVC_FULL;
    }
    struct kvc_event out = {.kind = e->kind == KVI_STORED    ? KVC_STORED
                                    : e->kind == KVI_REMOVED ? KVC_REMOVED
                                                             : KVC_CLEARED,
                            .rank = rank,
                            .tier = (uint32_t)e->tier,
                            .has_parent = e->has_parent,
                            .parent_hash = e->parent_hash,
                            .blocks = (const struct kvc_block *)(const void *)e->blocks,
                            .removed = e->removed,
                            .n = e->n};
    enum kvc_status st = kvc_table_apply(m->table, &out);
    if (st == KVC_FULL)
        m->max_blocks *= 4;
    return st == KVC_UNKNOWN && e->kind == KVI_REMOVED ? KVC_OK : st; /* as the index says it */
}

/* Why the copy cannot go on, for the log. */
static const char *why_not(struct weir_mirror *m, enum kvc_status st) {
    if (st == KVC_COLLISION)
        m->hopeless = true;
    return st == KVC_FULL        ? "it is too small"
           : st == KVC_NOMEM     ? "out of memory"
           : st == KVC_COLLISION ? "two prefixes have one hash, it cannot be exact"
                                 : "it and the index disagree on an event";
}

void weir_copy_event(struct weir_mirror *m, const struct kvi_event *e) {
    pthread_mutex_lock(&m->device->lock);
    bool following = m->following;
    pthread_mutex_unlock(&m->device->lock);
    if (!following) /* it will be copied */
        return;
    if (m->table == NULL && !make_table(m)) {
        weir_mirror_behind(m, "out of memory");
        return;
    }
    enum kvc_status st = apply(m, e);
    if (st != KVC_OK)
        weir_mirror_behind(m, why_not(m, st));
    else
        weir_metric_inc(m->device->events);
}

/* ---- copies -----------------------------------------------------------------------------------
 */

struct copy {
    struct weir_mirror *m;
    enum kvc_status status;
};

static bool goes_on(const struct copy *c) {
    return c->status == KVC_OK &&
           !atomic_load_explicit(&c->m->abandon, memory_order_relaxed); /* a hint, no order */
}

static bool copy_event(void *arg, const struct kvi_event *event) {
    struct copy *c = arg;
    c->status = apply(c->m, event);
    return goes_on(c);
}

static bool copy_place(void *arg, struct kvi_worker worker, enum kvi_tier tier,
                       const uint64_t *path, size_t n, uint64_t block_hash) {
    struct copy *c = arg;
    uint32_t rank;
    if (!rank_of(c->m, worker, &rank)) {
        c->m->max_ranks *= 4;
        c->status = KVC_FULL;
        return false;
    }
    c->status = kvc_table_place(c->m->table, rank, (uint32_t)tier, path, n, block_hash);
    if (c->status == KVC_FULL)
        c->m->max_blocks *= 4;
    return goes_on(c);
}

/* In steps: the loop keeps all changes back meanwhile (mirror.c), so the steps are of one moment,
 * and it never waits for the index's lock longer than for one of them. Blocks that the keeper drops
 * for the budget are seen with the next event (`evicted`), as those that it drops behind a copy. */
static enum kvc_status copy_index(struct copy *c) {
    struct kvi_walk *walk = kvi_walk_open(c->m->index);
    enum kvi_result r = walk != NULL ? KVI_OK : KVI_NOMEM;
    bool more = walk != NULL;
    if (more)
        kvi_walk_place(walk, copy_place);
    while (more && r == KVI_OK) {
        r = kvi_walk_step(walk, COPY_BLOCKS, copy_event, c, &more);
        if (r == KVI_OK && more) /* whoever waits for the lock gets it */
            nanosleep(&(const struct timespec){.tv_nsec = COPY_PAUSE_NS}, NULL);
    }
    kvi_walk_close(walk);
    return r == KVI_OK ? c->status : KVC_NOMEM;
}

void weir_copy_make(struct weir_mirror *m) {
    struct copy c = {m, KVC_FULL};
    uint64_t begin = weir_now_ns();
    while (c.status == KVC_FULL && !m->hopeless) {
        c.status = make_table(m) ? KVC_OK : KVC_NOMEM;
        if (c.status == KVC_OK)
            c.status = copy_index(&c);
    }
    bool ok = c.status == KVC_OK && !m->hopeless;
    if (ok) {
        weir_metric_inc(m->device->copies);
        WEIR_LOG(WEIR_LOG_INFO, "indexer", "device: %s copied in %" PRIu64 " ms", m->name,
                 (weir_now_ns() - begin) / 1000000);
    } else {
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "device: no copy of %s: %s", m->name,
                 why_not(m, c.status));
    }
    atomic_store_explicit(&m->copy_ok, ok, memory_order_relaxed); /* the post orders it */
    if (weir_loop_post_wait(m->device->config.loop, weir_mirror_on_copied, m, NULL) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "indexer", "device: the loop has stopped"); /* it applies them */
}

/* ---- questions --------------------------------------------------------------------------------
 */

/* Matches of one query as scores behind those that there are. */
static bool add_scores(struct weir_mirror *m, struct weir_ask *a, size_t *n, size_t *cap,
                       const struct kvc_match *got, uint32_t count) {
    if (*n + count > *cap) {
        size_t more = (*n + count) * 2 + 1024;
        struct kvi_score *bigger =
            more > SCORES_MAX ? NULL : weir_realloc(a->scores, more * sizeof(*bigger));
        if (bigger == NULL)
            return false;
        a->scores = bigger;
        *cap = more;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct kvi_score *s = &a->scores[(*n)++];
        *s = (struct kvi_score){.worker = m->workers[got[i].rank], .rank = got[i].rank};
        for (int t = 0; t < KVI_TIERS; t++)
            s->blocks[t] = got[i].blocks[t];
    }
    return true;
}

struct matching {
    struct weir_mirror *m;
    struct weir_ask *ask;
    struct kvc_match *got, *wide; /* PIECE_QUERIES * ROOM; max_ranks */
    uint32_t *counts;
    size_t n_scores, cap_scores;
};

static enum kvc_status match_piece(struct matching *x, size_t from, size_t n) {
    struct weir_ask *a = x->ask;
    struct kvc_queries q = {a->local, a->offsets + from, n};
    enum kvc_status st = kvc_match(x->m->table, &q, ROOM, x->got, x->counts);
    for (size_t i = 0; st == KVC_OK && i < n; i++) {
        const struct kvc_match *got = x->got + i * ROOM;
        uint32_t count = x->counts[i];
        if (count > ROOM) { /* few: held by many ranks */
            struct kvc_queries one = {a->local, a->offsets + from + i, 1};
            st = kvc_match(x->m->table, &one, x->m->max_ranks, x->wide, &count);
            got = x->wide;
        }
        if (st == KVC_OK && !add_scores(x->m, a, &x->n_scores, &x->cap_scores, got, count))
            st = KVC_NOMEM;
        a->ends[from + i] = x->n_scores;
    }
    return st;
}

enum kvc_status weir_copy_match(struct weir_mirror *m, struct weir_ask *a) {
    if (m->table == NULL && !make_table(m))
        return KVC_NOMEM;
    size_t most = a->n < PIECE_QUERIES ? a->n : PIECE_QUERIES;
    struct matching x = {.m = m, .ask = a};
    x.got = weir_calloc(most * ROOM, sizeof(*x.got));
    x.wide = weir_calloc(m->max_ranks, sizeof(*x.wide));
    x.counts = weir_calloc(most, sizeof(*x.counts));
    a->ends = weir_calloc(a->n, sizeof(*a->ends));
    enum kvc_status st = x.got != NULL && x.wide != NULL && x.counts != NULL && a->ends != NULL
                             ? kvc_table_commit(m->table)
                             : KVC_NOMEM;
    for (size_t from = 0, n; st == KVC_OK && from < a->n; from += n) {
        for (n = 1; from + n < a->n && n < most &&
                    a->offsets[from + n + 1] - a->offsets[from] <= PIECE_BLOCKS;)
            n++;
        st = match_piece(&x, from, n);
    }
    weir_free(x.got);
    weir_free(x.wide);
    weir_free(x.counts);
    return st;
}
