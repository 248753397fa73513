/*
 * The loop's side of a mirror: every change goes to the index, and behind it to the device's queue.
 *
 * Making a copy: the device's thread reads the index as it is, in steps, while the loop keeps all
 * changes back, so the copy is of one moment without a lock that the loop could wait for long (a
 * dump's step or a scrape takes it). Then the changes that waited are applied to both.
 */
#include "indexer/device_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { MIN_EVENT_BYTES = 256 };

/* ---- events in a queue ------------------------------------------------------------------------
 */

static struct weir_device_op *op_of(struct weir_mirror *m, const struct kvi_event *e, bool forget) {
    size_t words = e->kind == KVI_STORED ? 2 * e->n : e->kind == KVI_REMOVED ? e->n : 0;
    struct weir_device_op *op = weir_malloc(sizeof(*op) + words * sizeof(uint64_t));
    if (op == NULL)
        return NULL;
    *op = (struct weir_device_op){.kind = WEIR_OP_EVENT,
                                  .mirror = m,
                                  .forget = forget,
                                  .bytes = sizeof(*op) + words * sizeof(uint64_t),
                                  .event = *e};
    if (op->bytes < MIN_EVENT_BYTES)
        op->bytes = MIN_EVENT_BYTES;
    if (words > 0)
        memcpy(op->words,
               e->kind == KVI_STORED ? (const void *)e->blocks : (const void *)e->removed,
               words * sizeof(uint64_t));
    op->event.blocks = (const struct kvi_block *)(const void *)op->words;
    op->event.removed = op->words;
    return op;
}

void weir_device_queue_add(struct weir_device_queue *q, struct weir_device_op *op) {
    op->next = NULL;
    if (q->first == NULL)
        q->end = &q->first;
    *q->end = op;
    q->end = &op->next;
    q->bytes += op->bytes;
}

struct weir_device_op *weir_device_queue_take(struct weir_device_queue *q) {
    struct weir_device_op *op = q->first;
    if (op != NULL) {
        q->first = op->next;
        q->bytes -= op->bytes;
    }
    return op;
}

/* ---- both sides -------------------------------------------------------------------------------
 */

void weir_mirror_behind(struct weir_mirror *m, const char *why) {
    struct weir_device *d = m->device;
    pthread_mutex_lock(&d->lock);
    bool was = m->following, down = d->down;
    m->following = false;
    pthread_mutex_unlock(&d->lock);
    if (!was || down)
        return;
    weir_metric_inc(d->behind);
    WEIR_LOG(WEIR_LOG_INFO, "indexer", "device: its copy of %s is out of date: %s; the CPU answers",
             m->name, why);
}

static bool follows(struct weir_mirror *m) {
    pthread_mutex_lock(&m->device->lock);
    bool yes = m->following && !m->device->down;
    pthread_mutex_unlock(&m->device->lock);
    return yes;
}

static bool was_applied(enum kvi_result r) {
    return r == KVI_OK || r == KVI_BLOCK_NOT_FOUND;
}

/* To the index, then to the device. */
static enum kvi_result change(struct weir_mirror *m, const struct kvi_event *e, bool forget) {
    enum kvi_result r = KVI_OK;
    struct kvi_stats stats;
    if (forget)
        kvi_rank_remove(m->index, e->worker);
    else
        kvi_apply(m->index, e, 1, &r);
    if (m->device == NULL || !follows(m))
        return r;
    kvi_get_stats(m->index, &stats);
    if (stats.evicted != m->evicted || r == KVI_CAPACITY || r == KVI_NOMEM) {
        m->evicted = stats.evicted;
        weir_mirror_behind(m, "the index is at its budget (--max-index-mb)");
    } else if (was_applied(r)) {
        struct weir_device_op *op = op_of(m, e, forget);
        if (op == NULL || !weir_device_push(m->device, op))
            weir_mirror_behind(m, "it does not keep up with the events");
    }
    return r;
}

/* Those that waited for the copy. */
void weir_mirror_apply_waiting(struct weir_mirror *m) {
    for (struct weir_device_op *op; (op = weir_device_queue_take(&m->waiting)) != NULL;) {
        (void)change(m, &op->event, op->forget);
        weir_free(op);
    }
}

static bool wait_for_copy(struct weir_mirror *m, const struct kvi_event *e, bool forget) {
    if (!m->copying || atomic_load_explicit(&m->abandon, memory_order_relaxed))
        return false;
    struct weir_device_op *op = op_of(m, e, forget);
    if (op != NULL && m->waiting.bytes + op->bytes <= m->device->config.queue_bytes) {
        weir_device_queue_add(&m->waiting, op);
        return true;
    }
    weir_free(op);
    atomic_store_explicit(&m->abandon, true, memory_order_relaxed);
    weir_mirror_apply_waiting(m);
    return false;
}

/* ---- interface --------------------------------------------------------------------------------
 */

struct weir_mirror *weir_mirror_create(struct weir_device *device, struct kvi_index *index,
                                       const char *name) {
    struct weir_mirror *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->device = device;
    m->index = index;
    m->name = weir_strdup(name);
    if (m->name == NULL) {
        weir_free(m);
        return NULL;
    }
    if (device != NULL) {
        m->next = device->mirrors;
        device->mirrors = m;
        m->following = true; /* an empty index, an empty copy */
    }
    return m;
}

void weir_mirror_destroy(struct weir_mirror *m) {
    if (m == NULL)
        return;
    weir_mirror_apply_waiting(m);
    if (m->left)
        return;
    weir_free(m->name);
    weir_free(m);
}

enum kvi_result weir_mirror_apply(struct weir_mirror *m, const struct kvi_event *event) {
    return wait_for_copy(m, event, false) ? KVI_OK : change(m, event, false);
}

void weir_mirror_apply_many(struct weir_mirror *m, const struct kvi_event *events, size_t n) {
    if (m->device == NULL) {
        kvi_apply(m->index, events, n, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++)
        (void)weir_mirror_apply(m, &events[i]);
}

void weir_mirror_clear(struct weir_mirror *m, struct kvi_worker worker) {
    struct kvi_event e = {.worker = worker, .kind = KVI_CLEARED};
    (void)weir_mirror_apply(m, &e);
}

void weir_mirror_remove(struct weir_mirror *m, struct kvi_worker worker) {
    struct kvi_event e = {.worker = worker, .kind = KVI_CLEARED};
    if (!wait_for_copy(m, &e, true))
        (void)change(m, &e, true);
}

void weir_mirror_stale(struct weir_mirror *m) {
    if (m->device != NULL)
        weir_mirror_behind(m, "a snapshot was read");
}

void weir_mirror_wake(struct weir_mirror *m) {
    struct weir_device *d = m->device;
    if (d == NULL || m->copying || follows(m))
        return;
    uint64_t now = weir_loop_now_ms(d->config.loop);
    if (m->copied_ms != 0 && now - m->copied_ms < d->config.copy_pause_ms)
        return;
    struct weir_device_op *op = weir_calloc(1, sizeof(*op));
    if (op == NULL)
        return;
    struct kvi_stats stats;
    kvi_get_stats(m->index, &stats);
    m->evicted = stats.evicted;
    m->copied_ms = now > 0 ? now : 1;
    atomic_store_explicit(&m->abandon, false, memory_order_relaxed);
    *op = (struct weir_device_op){.kind = WEIR_OP_COPY, .mirror = m};
    m->copying = weir_device_push(d, op);
}

void weir_mirror_on_copied(void *mirror) {
    struct weir_mirror *m = mirror;
    m->copying = false;
    if (atomic_load_explicit(&m->copy_ok, memory_order_relaxed) &&
        !atomic_load_explicit(&m->abandon, memory_order_relaxed)) {
        pthread_mutex_lock(&m->device->lock);
        m->following = true;
        pthread_mutex_unlock(&m->device->lock);
    }
    weir_mirror_apply_waiting(m);
}

bool weir_mirror_has_device(const struct weir_mirror *m) {
    return m->device != NULL;
}
