/* The replay on the host: configurations are dealt out to threads, each with a state of its own. */
#include "cuda/kvc_priv.h"
#include "cuda/kvc_replay_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 1024 };

unsigned kvc_crew_size(unsigned wanted, size_t n) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t threads = wanted > 0 ? wanted : cores > 0 ? (size_t)cores : 1;
    threads = threads < n ? threads : n;
    return threads < THREADS_MAX ? (unsigned)threads : THREADS_MAX;
}

struct crew {
    void (*fn)(void *arg, unsigned thread);
    void *arg;
    unsigned number;
};

static void *run_member(void *arg) {
    struct crew *m = arg;
    m->fn(m->arg, m->number);
    return NULL;
}

void kvc_run_crew(unsigned threads, void (*fn)(void *arg, unsigned thread), void *arg) {
    pthread_t ids[THREADS_MAX];
    struct crew members[THREADS_MAX];
    unsigned n = 0;
    for (unsigned i = 1; i < threads; i++) {
        members[n] = (struct crew){fn, arg, i};
        if (pthread_create(&ids[n], NULL, run_member, &members[n]) != 0)
            break;
        n++;
    }
    fn(arg, 0);
    for (unsigned i = 0; i < n; i++)
        pthread_join(ids[i], NULL);
}

struct each {
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t n;
    _Atomic size_t next;
};

static void run_some(void *arg, unsigned thread) {
    struct each *e = arg;
    size_t i;
    (void)thread;
    while ((i = atomic_fetch_add(&e->next, 1)) < e->n)
        e->fn(e->arg, i);
}

void kvc_run_each(unsigned threads, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    struct each e = {.fn = fn, .arg = arg, .n = n};
    kvc_run_crew(threads < n ? threads : (unsigned)n, run_some, &e);
}

/* ---- simulating ----------------------------------------------------------------------------- */

struct work {
    const struct kvc_sim_batch *batch;
    _Atomic size_t next, n_done;
    _Atomic int status;
};

static void simulate(struct kvc_sim *s) {
    uint32_t n = s->config->n_workers;
    kvc_sim_begin(s, 0, 1);
    for (uint32_t r = 0; r < s->course.n_requests && !s->head->failed; r++) {
        uint64_t now_us = kvc_due_us(s, r);
        for (uint32_t w = 0; w < n; w++) {
            kvc_advance(s, w, now_us);
            kvc_weigh(s, w, r, now_us);
        }
        for (uint32_t w = 0; w < n; w++)
            kvc_price(s, w, r);
        kvc_choose(s, r, now_us);
    }
    for (uint32_t w = 0; w < n; w++)
        kvc_advance(s, w, KVC_NEVER - 1);
    kvc_sim_finish(s, 0, 1);
}

/* Memory of one thread, kept from one configuration to the next. */
struct room {
    char *state;
    size_t cap;
    struct kvc_replay_outcome *outcomes;
};

static enum kvc_status run_one(struct work *work, struct room *room, uint32_t config) {
    const struct kvc_sim_batch *b = work->batch;
    const struct kvc_replay_config *c = &b->configs[config];
    struct kvc_sim s;
    size_t bytes = kvc_sim_place(&s, c, &b->trace->course, 0, NULL);
    if (bytes > room->cap) {
        free(room->state);
        room->cap = 0;
        room->state = aligned_alloc(128, bytes);
        if (room->state == NULL)
            return KVC_NOMEM;
        room->cap = bytes;
    }
    kvc_sim_place(&s, c, &b->trace->course, (uintptr_t)room->state, room->outcomes);
    simulate(&s);
    if (s.head->failed)
        return KVC_INCONSISTENT;
    struct kvc_replay_result result = {.outcomes = room->outcomes};
    for (uint32_t w = 0; w < c->n_workers; w++)
        result.preemptions += s.workers[w].preemptions;
    b->options->on_result(b->options->arg, config, &result);
    return KVC_OK;
}

static void take_part(void *arg, unsigned thread) {
    struct work *work = arg;
    const struct kvc_sim_batch *b = work->batch;
    struct room room = {.state = NULL};
    room.outcomes = malloc(b->trace->course.n_requests * sizeof(*room.outcomes));
    int st = room.outcomes == NULL ? KVC_NOMEM : KVC_OK;
    size_t i;
    while (st == KVC_OK && atomic_load(&work->status) == KVC_OK &&
           (i = atomic_fetch_add(&work->next, 1)) < b->n) {
        st = (int)run_one(work, &room, b->order[i]);
        atomic_fetch_add(&work->n_done, 1);
        if (thread == 0 && st == KVC_OK && b->options->on_progress != NULL)
            b->options->on_progress(b->options->arg, b->n_done_before + work->n_done);
    }
    if (st != KVC_OK)
        atomic_store(&work->status, st);
    free(room.outcomes);
    free(room.state);
}

enum kvc_status kvc_replay_on_cpu(const struct kvc_sim_batch *b, struct kvc_replay_stats *stats) {
    struct work work = {.batch = b};
    unsigned threads = b->threads;
    size_t each =
        stats->config_bytes + b->trace->course.n_requests * sizeof(struct kvc_replay_outcome);
    if (b->n == 0)
        return KVC_OK;
    if (each > b->max_bytes)
        return KVC_NOMEM;
    if (threads > b->max_bytes / each)
        threads = (unsigned)(b->max_bytes / each);
    kvc_run_crew(threads, take_part, &work);
    stats->waves += (b->n + threads - 1) / threads;
    return (enum kvc_status)work.status;
}

/* ---- results of a device --------------------------------------------------------------------- */

struct delivery {
    const struct kvc_replay_options *options;
    const struct kvc_wave *wave;
    const uint32_t *order;
    size_t n_requests;
};

static void deliver_one(void *arg, size_t i) {
    const struct delivery *d = arg;
    struct kvc_replay_result result = {.outcomes = d->wave->outcomes + i * d->n_requests,
                                       .preemptions = d->wave->ends[i].preemptions};
    d->options->on_result(d->options->arg, d->order[i], &result);
}

void kvc_replay_deliver(const struct kvc_replay_options *o, const struct kvc_wave *w,
                        const uint32_t *order, size_t n_requests, unsigned threads) {
    struct delivery d = {.options = o, .wave = w, .order = order, .n_requests = n_requests};
    kvc_run_each(threads, w->n, deliver_one, &d);
}
