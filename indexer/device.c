/*
 * The device's thread: a loop of its own that empties the queue in order. Changes of a copy are
 * only noted; a question commits them first, so they travel together.
 *
 * Failure: whatever the device says, the copy on the host stays right, so nothing is lost but the
 * answer in question. A device that is lost is not tried again: the CUDA runtime cannot come back
 * in the same process.
 */
#include "indexer/device_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

/* ---- metrics ----------------------------------------------------------------------------------
 */

static struct weir_metric *plain(struct weir_metrics *m, const struct weir_metric_desc *desc) {
    return weir_metric_get(weir_metrics_family(m, desc, 0), NULL);
}

static void make_metrics(struct weir_device *d, struct weir_metrics *m) {
    static const struct weir_metric_desc up = {
        .name = "weir_indexer_device_up",
        .type = WEIR_GAUGE,
        .help = "1 while the device of --device answers bulk queries."};
    static const struct weir_metric_desc bytes = {
        .name = "weir_indexer_device_bytes", .type = WEIR_GAUGE, .help = "Device memory in use."};
    static const struct weir_metric_desc events = {
        .name = "weir_indexer_device_events_total",
        .type = WEIR_COUNTER,
        .help = "Events that the device's copies of the indexes took."};
    static const struct weir_metric_desc copies = {
        .name = "weir_indexer_device_copies_total",
        .type = WEIR_COUNTER,
        .help = "Times that an index was copied as a whole."};
    static const struct weir_metric_desc behind = {
        .name = "weir_indexer_device_behind_total",
        .type = WEIR_COUNTER,
        .help = "Times that a copy could not follow its index."};
    d->up_gauge = plain(m, &up);
    d->bytes_gauge = plain(m, &bytes);
    d->events = plain(m, &events);
    d->copies = plain(m, &copies);
    d->behind = plain(m, &behind);
}

/* ---- the device itself ------------------------------------------------------------------------
 */

static void set_down(struct weir_device *d) {
    pthread_mutex_lock(&d->lock);
    d->up = false;
    d->down = true;
    pthread_mutex_unlock(&d->lock);
    weir_metric_set(d->up_gauge, 0);
}

static void open_device(struct weir_device *d) {
    char why[512] = "";
    struct kvc_info info;
    enum kvc_status st = kvc_open(&d->config.kvc, &d->kvc, why, sizeof(why));
    if (st != KVC_OK) {
        d->kvc = NULL;
        set_down(d);
        WEIR_LOG(d->config.wanted ? WEIR_LOG_WARN : WEIR_LOG_INFO, "indexer",
                 "device: none (%s): the CPU answers bulk queries", why);
        return;
    }
    pthread_mutex_lock(&d->lock);
    d->up = true;
    pthread_mutex_unlock(&d->lock);
    weir_metric_set(d->up_gauge, 1);
    kvc_get_info(d->kvc, &info);
    WEIR_LOG(WEIR_LOG_INFO, "indexer", "device: %s, %zu MiB at most", info.name,
             info.max_bytes >> 20);
}

/* What came of a call, as the reason of a fall-back; NULL when all is well. Says it once. */
static const char *trouble(struct weir_device *d, enum kvc_status st) {
    switch (st) {
    case KVC_OK:
        d->told_memory = false;
        return NULL;
    case KVC_NOMEM:
        if (!d->told_memory)
            WEIR_LOG(WEIR_LOG_WARN, "indexer",
                     "device: its memory is full (--device-memory-mb): the CPU does what does not "
                     "fit");
        d->told_memory = true;
        return "memory";
    case KVC_LOST:
        set_down(d);
        WEIR_LOG(WEIR_LOG_ERROR, "indexer",
                 "device: it failed and cannot be used until Weir starts again: the CPU answers "
                 "bulk queries");
        return "lost";
    default:
        WEIR_LOG(WEIR_LOG_ERROR, "indexer", "device: %s: the CPU answers", kvc_status_text(st));
        return "error";
    }
}

/* ---- questions --------------------------------------------------------------------------------
 */

static const char *run_ask(struct weir_mirror *m, struct weir_ask *a) {
    struct weir_device *d = m->device;
    pthread_mutex_lock(&d->lock);
    bool up = d->up, following = m->following;
    pthread_mutex_unlock(&d->lock);
    if (!up)
        return "lost";
    if (!following)
        return "behind";
    return trouble(d, weir_copy_match(m, a));
}

static const char *run_hashing(struct weir_device *d, const struct weir_hashing *h) {
    struct kvc_prompts p = {.tokens = h->tokens,
                            .offsets = h->offsets,
                            .seeds = h->seeds,
                            .n = h->n,
                            .block_size = h->block_size};
    pthread_mutex_lock(&d->lock);
    bool up = d->up;
    pthread_mutex_unlock(&d->lock);
    return up ? trouble(d, kvc_hash(d->kvc, &p, h->local, NULL)) : "lost";
}

static void put_task(struct weir_task *t) {
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1) /* the last one frees */
        return;
    weir_ask_release(t->ask);
    weir_hashing_release(t->hashing);
    weir_free(t);
}

static void answer(struct weir_device *d, struct weir_task *t, const char *reason) {
    pthread_mutex_lock(&d->lock);
    t->reason = reason;
    t->done = true;
    pthread_cond_broadcast(&d->answered);
    pthread_mutex_unlock(&d->lock);
    put_task(t);
}

/* ---- the queue --------------------------------------------------------------------------------
 */

static void run(struct weir_device *d, struct weir_device_op *op) {
    if (op->kind == WEIR_OP_OPEN) {
        open_device(d);
    } else if (op->kind == WEIR_OP_ASK) {
        answer(d, op->task, d->kvc == NULL ? "missing" : run_ask(op->mirror, op->task->ask));
    } else if (op->kind == WEIR_OP_HASH) {
        answer(d, op->task, d->kvc == NULL ? "missing" : run_hashing(d, op->task->hashing));
    } else if (op->kind == WEIR_OP_EVENT && d->kvc != NULL) {
        weir_copy_event(op->mirror, &op->event);
    } else if (op->kind == WEIR_OP_COPY && d->kvc != NULL) {
        weir_copy_make(op->mirror);
    } else if (op->kind == WEIR_OP_COPY) {
        atomic_store_explicit(&op->mirror->copy_ok, false, memory_order_relaxed);
        if (weir_loop_post_wait(d->config.loop, weir_mirror_on_copied, op->mirror, NULL) != WEIR_OK)
            WEIR_LOG(WEIR_LOG_DEBUG, "indexer", "device: the loop has stopped");
    }
}

static void note_memory(struct weir_device *d) {
    struct kvc_info info;
    if (d->kvc == NULL)
        return;
    kvc_get_info(d->kvc, &info);
    weir_metric_set(d->bytes_gauge, (double)info.bytes);
}

/* One thing a turn of the lock: what waits may grow meanwhile. */
static void drain(void *arg) {
    struct weir_device *d = arg;
    for (;;) {
        pthread_mutex_lock(&d->lock);
        struct weir_device_op *op = weir_device_queue_take(&d->queue);
        bool skip = d->down && op != NULL && op->kind == WEIR_OP_EVENT;
        bool woke = d->stalled && op == NULL; /* it has done all that it was asked */
        d->posted = op != NULL;
        d->stalled = d->stalled && op != NULL;
        pthread_mutex_unlock(&d->lock);
        if (woke)
            WEIR_LOG(WEIR_LOG_INFO, "indexer", "device: it answers again");
        if (op == NULL)
            return;
        if (!skip)
            run(d, op);
        if (op->kind != WEIR_OP_EVENT)
            note_memory(d);
        weir_free(op);
    }
}

bool weir_device_push(struct weir_device *d, struct weir_device_op *op) {
    pthread_mutex_lock(&d->lock);
    bool ok = !d->down && d->queue.bytes + op->bytes <= d->config.queue_bytes;
    bool post = ok && !d->posted;
    if (ok)
        weir_device_queue_add(&d->queue, op);
    d->posted |= post;
    pthread_mutex_unlock(&d->lock);
    if (!ok)
        weir_free(op);
    if (post && weir_loop_post(d->own, drain, d) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "indexer", "device: out of memory: its thread cannot be told");
    return ok;
}

/* ---- asking -----------------------------------------------------------------------------------
 */

struct weir_ask *weir_ask_create(uint64_t *local, uint64_t *offsets, size_t n) {
    struct weir_ask *a = weir_calloc(1, sizeof(*a));
    if (a == NULL) {
        weir_free(local);
        weir_free(offsets);
        return NULL;
    }
    *a = (struct weir_ask){.local = local, .offsets = offsets, .n = n};
    return a;
}

void weir_ask_release(struct weir_ask *ask) {
    if (ask == NULL)
        return;
    weir_free(ask->local);
    weir_free(ask->offsets);
    weir_free(ask->scores);
    weir_free(ask->ends);
    weir_free(ask);
}

/* Until it is answered, or for as long as a healthy device takes. */
static const char *wait_for(struct weir_device *d, struct weir_task *t) {
    uint64_t ms = d->config.stall_ms;
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&d->lock);
    while (!t->done && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&d->answered, &d->lock, &until);
    const char *reason = t->done ? t->reason : "busy";
    bool first = !t->done && !d->stalled;
    d->stalled |= !t->done;
    pthread_mutex_unlock(&d->lock);
    if (first)
        WEIR_LOG(WEIR_LOG_WARN, "indexer",
                 "device: no answer for %" PRIu64 " ms: the CPU answers until it is back", ms);
    return reason;
}

/* Why the device is not even asked, or NULL. */
static const char *not_now(struct weir_device *d, const struct weir_mirror *m) {
    pthread_mutex_lock(&d->lock);
    const char *reason = d->down                      ? "missing"
                         : !d->up                     ? "opening"
                         : d->stalled                 ? "busy"
                         : m != NULL && !m->following ? "behind"
                                                      : NULL;
    pthread_mutex_unlock(&d->lock);
    return reason;
}

static struct weir_device_op *task_op(enum weir_device_op_kind kind, struct weir_mirror *m) {
    struct weir_device_op *op = weir_calloc(1, sizeof(*op));
    struct weir_task *t = op != NULL ? weir_calloc(1, sizeof(*t)) : NULL;
    if (t == NULL) {
        weir_free(op);
        return NULL;
    }
    atomic_init(&t->refs, 2);
    *op = (struct weir_device_op){.kind = kind, .mirror = m, .task = t};
    return op;
}

/* Thread: the asking one, which shares the ask with the device's while it waits. */
bool weir_mirror_match(struct weir_mirror *m, struct weir_ask *ask, const char **ret_reason) {
    struct weir_device *d = m->device;
    *ret_reason = d == NULL ? "none" : not_now(d, m);
    if (*ret_reason != NULL)
        return false;
    struct weir_device_op *op = task_op(WEIR_OP_ASK, m);
    *ret_reason = "memory";
    if (op == NULL)
        return false;
    /* The task has a copy of the question, so that either side may be the last. */
    struct weir_task *t = op->task;
    uint64_t *local = weir_malloc((ask->offsets[ask->n] + 1) * sizeof(*local));
    uint64_t *offsets = weir_malloc((ask->n + 1) * sizeof(*offsets));
    if (local == NULL || offsets == NULL) {
        weir_free(local);
        weir_free(offsets);
        weir_free(t);
        weir_free(op);
        return false;
    }
    memcpy(local, ask->local, ask->offsets[ask->n] * sizeof(*local));
    memcpy(offsets, ask->offsets, (ask->n + 1) * sizeof(*offsets));
    t->ask = weir_ask_create(local, offsets, ask->n);
    if (t->ask == NULL || !weir_device_push(d, op)) {
        if (t->ask == NULL)
            weir_free(op);
        weir_ask_release(t->ask);
        weir_free(t);
        return false;
    }
    *ret_reason = wait_for(d, t);
    bool ok = *ret_reason == NULL;
    if (ok) {
        ask->scores = t->ask->scores;
        ask->ends = t->ask->ends;
        t->ask->scores = NULL;
        t->ask->ends = NULL;
    }
    put_task(t);
    return ok;
}

struct weir_hashing *weir_hashing_create(size_t n, size_t n_tokens, uint32_t block_size) {
    struct weir_hashing_shared *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    struct weir_hashing *h = &s->public;
    atomic_init(&s->refs, 1);
    h->n = n;
    h->block_size = block_size;
    h->tokens = weir_calloc(n_tokens + 1, sizeof(*h->tokens));
    h->offsets = weir_calloc(n + 1, sizeof(*h->offsets));
    h->seeds = weir_calloc(n + 1, sizeof(*h->seeds));
    h->local = weir_calloc(n_tokens / block_size + 1, sizeof(*h->local));
    if (h->tokens != NULL && h->offsets != NULL && h->seeds != NULL && h->local != NULL)
        return h;
    weir_hashing_release(h);
    return NULL;
}

void weir_hashing_release(struct weir_hashing *h) {
    if (h == NULL)
        return;
    struct weir_hashing_shared *s = WEIR_CONTAINER_OF(h, struct weir_hashing_shared, public);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1) /* the last one frees */
        return;
    weir_free(h->tokens);
    weir_free(h->offsets);
    weir_free(h->seeds);
    weir_free(h->local);
    weir_free(s);
}

bool weir_device_hash(struct weir_device *d, struct weir_hashing *h, const char **ret_reason) {
    *ret_reason = d == NULL                            ? "none"
                  : h->block_size > KVC_BLOCK_SIZE_MAX ? "error"
                                                       : not_now(d, NULL);
    if (*ret_reason != NULL)
        return false;
    struct weir_device_op *op = task_op(WEIR_OP_HASH, NULL);
    *ret_reason = "memory";
    if (op == NULL)
        return false;
    struct weir_task *t = op->task;
    struct weir_hashing_shared *s = WEIR_CONTAINER_OF(h, struct weir_hashing_shared, public);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); /* the queue orders the rest */
    t->hashing = h;
    if (!weir_device_push(d, op)) {
        weir_hashing_release(h);
        weir_free(t);
        return false;
    }
    *ret_reason = wait_for(d, t);
    bool ok = *ret_reason == NULL;
    put_task(t);
    return ok;
}

/* ---- life -------------------------------------------------------------------------------------
 */

enum weir_status weir_device_start(const struct weir_device_config *config,
                                   struct weir_device **ret_device) {
    struct weir_device *d = weir_calloc(1, sizeof(*d));
    struct weir_device_op *op = weir_calloc(1, sizeof(*op));
    pthread_condattr_t attr;
    if (d == NULL || op == NULL) {
        weir_free(d);
        weir_free(op);
        return WEIR_NOMEM;
    }
    d->config = *config;
    d->config.queue_bytes = config->queue_bytes != 0 ? config->queue_bytes : (size_t)64 << 20;
    d->config.stall_ms = config->stall_ms != 0 ? config->stall_ms : 2000;
    d->config.copy_pause_ms = config->copy_pause_ms != 0 ? config->copy_pause_ms : 10000;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->answered, &attr);
    pthread_condattr_destroy(&attr);
    make_metrics(d, config->metrics);
    enum weir_status st = weir_loop_create(2, &d->own);
    if (st == WEIR_OK)
        st = weir_loop_thread_start(d->own, "device");
    op->kind = WEIR_OP_OPEN;
    if (st == WEIR_OK && !weir_device_push(d, op))
        st = WEIR_NOMEM;
    else if (st != WEIR_OK)
        weir_free(op);
    if (st != WEIR_OK) {
        weir_device_stop(d);
        return st;
    }
    *ret_device = d;
    return WEIR_OK;
}

/* The mirrors go on as plain indexes. */
static void let_go(struct weir_device *d, bool left_behind) {
    for (struct weir_mirror *m = d->mirrors, *next; m != NULL; m = next) {
        next = m->next;
        if (!left_behind) /* else its thread may be at work on them */
            weir_copy_drop(m);
        m->left = left_behind;
        m->copying = false;
        m->device = NULL;
        weir_mirror_apply_waiting(m);
    }
}

void weir_device_stop(struct weir_device *d) {
    if (d == NULL)
        return;
    set_down(d);
    pthread_mutex_lock(&d->lock);
    bool stalled = d->stalled;
    pthread_mutex_unlock(&d->lock);
    if (stalled) {
        WEIR_LOG(WEIR_LOG_WARN, "indexer", "device: it still does not answer: left behind");
        let_go(d, true);
        return;
    }
    if (d->own != NULL) {
        weir_loop_stop(d->own);
        weir_loop_thread_join(d->own);
        weir_loop_destroy(d->own);
    }
    for (struct weir_device_op *op; (op = weir_device_queue_take(&d->queue)) != NULL;) {
        if (op->task != NULL)
            put_task(op->task);
        weir_free(op);
    }
    let_go(d, false);
    kvc_close(d->kvc);
    pthread_cond_destroy(&d->answered);
    pthread_mutex_destroy(&d->lock);
    weir_free(d);
}
