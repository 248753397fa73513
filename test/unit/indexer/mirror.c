/* A mirror against its index: whatever happens to either, an answer that the mirror gives is the
 * index's. The CPU reference stands for the device, so that the sanitizers can watch. */
#include "base/mem.h"
#include "base/rng.h"
#include "indexer/device.h"
#include "test/check.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { RANKS = 9, NAMES = 300, CONTENTS = 3, QUERIES = 30, DEPTH = 12 };

static struct weir_rng rng;

/* The indexer in small: a loop's thread that applies, and this one that asks. */
struct world {
    struct weir_loop *loop;
    struct weir_metrics *metrics;
    struct weir_device *device;
    struct kvi_index *index;
    struct kvi_reader *reader;
    struct weir_mirror *mirror;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    bool done;
    unsigned n_events;
    struct weir_rng rng; /* the loop's */
};

/* ---- the loop's thread ------------------------------------------------------------------------
 */

static struct kvi_worker worker_of(uint64_t i) {
    return (struct kvi_worker){i / 2, (uint32_t)(i % 2)};
}

static void one_event(struct world *w) {
    struct kvi_block blocks[6];
    uint64_t removed[6], what = weir_rng_below(&w->rng, 100);
    struct kvi_event e = {.worker = worker_of(weir_rng_below(&w->rng, RANKS)),
                          .tier = weir_rng_below(&w->rng, 3) > 0
                                      ? KVI_DEVICE
                                      : (enum kvi_tier)weir_rng_below(&w->rng, KVI_TIERS),
                          .blocks = blocks,
                          .removed = removed,
                          .n = 1 + (size_t)weir_rng_below(&w->rng, 6)};
    for (size_t i = 0; i < e.n; i++) {
        blocks[i] =
            (struct kvi_block){weir_rng_below(&w->rng, NAMES), weir_rng_below(&w->rng, CONTENTS)};
        removed[i] = weir_rng_below(&w->rng, NAMES);
    }
    e.has_parent = weir_rng_below(&w->rng, 4) > 0;
    e.parent_hash = weir_rng_below(&w->rng, NAMES);
    e.kind = what < 65 ? KVI_STORED : KVI_REMOVED;
    if (what < 97)
        weir_mirror_apply(w->mirror, &e);
    else if (what == 97)
        weir_mirror_clear(w->mirror, e.worker);
    else if (what == 98)
        weir_mirror_remove(w->mirror, e.worker);
}

static void turn(struct world *w) {
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->turned);
    pthread_mutex_unlock(&w->lock);
}

static void on_apply(void *arg) {
    struct world *w = arg;
    for (unsigned i = 0; i < w->n_events; i++)
        one_event(w);
    turn(w);
}

static void on_wake(void *arg) {
    struct world *w = arg;
    weir_mirror_wake(w->mirror);
    turn(w);
}

static void on_stale(void *arg) {
    struct world *w = arg;
    weir_mirror_stale(w->mirror);
    turn(w);
}

/* More ranks and blocks than a copy begins with. */
static void on_grow(void *arg) {
    struct world *w = arg;
    struct kvi_block blocks[60];
    for (uint64_t r = 0; r < 1100; r++) {
        for (uint64_t i = 0; i < 60; i++)
            blocks[i] = (struct kvi_block){1000 + i, i == 0 ? 1 : r * 60 + i};
        struct kvi_event e = {
            .worker = {1000 + r, 0}, .kind = KVI_STORED, .blocks = blocks, .n = 60};
        weir_mirror_apply(w->mirror, &e);
    }
    turn(w);
}

static void on_close(void *arg) {
    struct world *w = arg;
    weir_device_stop(w->device);
    turn(w);
}

/* ---- this thread ------------------------------------------------------------------------------
 */

static void post(struct world *w, weir_post_fn fn) {
    w->done = false;
    CHECK(weir_loop_post(w->loop, fn, w) == WEIR_OK);
}

static void wait_turn(struct world *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->turned, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void call(struct world *w, weir_post_fn fn) {
    post(w, fn);
    wait_turn(w);
}

static void open_world(struct world *w, struct weir_device_config dc, size_t index_bytes) {
    *w = (struct world){.n_events = 0};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turned, NULL);
    weir_rng_seed(&w->rng, weir_rng_u64(&rng));
    CHECK(weir_loop_create(0, &w->loop) == WEIR_OK && weir_metrics_create(&w->metrics) == WEIR_OK);
    dc.kvc.kind = KVC_CPU;
    dc.loop = w->loop;
    dc.metrics = w->metrics;
    dc.copy_pause_ms = 1;
    dc.stall_ms = 60000;
    w->index = kvi_create(&(struct kvi_options){.max_bytes = index_bytes, .max_readers = 2});
    w->reader = kvi_reader_open(w->index);
    CHECK(weir_device_start(&dc, &w->device) == WEIR_OK);
    w->mirror = weir_mirror_create(w->device, w->index, "test");
    CHECK(w->reader != NULL && w->mirror != NULL);
    CHECK(weir_loop_thread_start(w->loop, "test") == WEIR_OK);
}

static void close_world(struct world *w) {
    call(w, on_close);
    weir_loop_stop(w->loop);
    weir_loop_thread_join(w->loop);
    weir_mirror_destroy(w->mirror);
    kvi_reader_close(w->reader);
    kvi_destroy(w->index);
    weir_loop_destroy(w->loop);
    weir_metrics_destroy(w->metrics);
}

static struct weir_ask *random_ask(void) {
    uint64_t *offsets = weir_calloc(QUERIES + 1, sizeof(*offsets));
    uint64_t *local = weir_calloc((size_t)QUERIES * DEPTH, sizeof(*local));
    for (size_t i = 0; i < QUERIES; i++) {
        uint64_t n = weir_rng_below(&rng, DEPTH);
        for (uint64_t b = 0; b < n; b++)
            local[offsets[i] + b] = weir_rng_below(&rng, CONTENTS);
        offsets[i + 1] = offsets[i] + n;
    }
    return weir_ask_create(local, offsets, QUERIES);
}

static const struct kvi_score *score_of(const struct kvi_score *s, size_t n, struct kvi_worker w) {
    for (size_t i = 0; i < n; i++)
        if (s[i].worker.worker_id == w.worker_id && s[i].worker.dp_rank == w.dp_rank)
            return &s[i];
    return NULL;
}

/* Nothing else happens meanwhile. */
static void compare(struct world *w, const struct weir_ask *a) {
    enum { ROOM = 4096 };
    static struct kvi_score want[ROOM];
    for (size_t i = 0, from = 0; i < a->n; from = a->ends[i++]) {
        size_t n = kvi_find(w->reader, a->local + a->offsets[i], a->offsets[i + 1] - a->offsets[i],
                            false, want, ROOM);
        CHECK_EQ_U64(a->ends[i] - from, n);
        for (size_t k = from; k < a->ends[i]; k++) {
            const struct kvi_score *s = score_of(want, n, a->scores[k].worker);
            CHECK(s != NULL && memcmp(s->blocks, a->scores[k].blocks, sizeof(s->blocks)) == 0);
        }
    }
}

static void on_nothing(void *arg) {
    turn(arg);
}

/* Asks until the mirror answers; how often it did not. After a copy the loop first applies the
 * events that waited for it, so the answer that counts is asked for when the loop has had a turn:
 * nothing happens between it and the index's. */
static unsigned ask_until_answered(struct world *w) {
    bool settled = false;
    for (unsigned n = 0;; sched_yield()) {
        const char *reason = NULL;
        struct weir_ask *a = random_ask();
        bool ok = weir_mirror_match(w->mirror, a, &reason);
        CHECK_MSG(ok || strcmp(reason, "opening") == 0 || strcmp(reason, "behind") == 0, "%s",
                  reason);
        if (ok && settled)
            compare(w, a);
        weir_ask_release(a);
        if (ok && settled)
            return n;
        n += !ok;
        settled = ok;
        call(w, ok ? on_nothing : on_wake);
    }
}

/* Asks while events are applied; only that it comes to no harm. */
static void ask_meanwhile(struct world *w) {
    post(w, on_apply);
    for (unsigned i = 0; i < 3; i++) {
        const char *reason = NULL;
        struct weir_ask *a = random_ask();
        if (weir_mirror_match(w->mirror, a, &reason))
            CHECK(a->ends != NULL);
        weir_ask_release(a);
    }
    wait_turn(w);
}

static void case_it_follows(void) {
    struct world w;
    open_world(&w, (struct weir_device_config){.wanted = false}, 0);
    ask_until_answered(&w);
    for (unsigned i = 0; i < 60; i++) {
        w.n_events = (unsigned)weir_rng_below(&rng, 120);
        if (i % 3 == 0)
            ask_meanwhile(&w);
        else
            call(&w, on_apply);
        CHECK_EQ_U64(ask_until_answered(&w), 0);
    }
    close_world(&w);
}

/* Made again at any moment, with events that wait for it, and with more than may wait: what it
 * answers is right (ask_until_answered). */
static void case_it_is_made_again(void) {
    struct world w;
    open_world(&w, (struct weir_device_config){.queue_bytes = 40000}, 0);
    for (unsigned i = 0; i < 40; i++) {
        w.n_events = (unsigned)weir_rng_below(&rng, i % 4 == 0 ? 1500 : 60);
        if (i % 3 == 0)
            call(&w, on_stale);
        call(&w, on_wake);
        ask_meanwhile(&w);
        (void)ask_until_answered(&w); /* how often it is behind is the scheduler's business */
    }
    close_world(&w);
}

static void case_it_grows(void) {
    struct world w;
    open_world(&w, (struct weir_device_config){.wanted = false}, 0);
    w.n_events = 200;
    call(&w, on_apply);
    call(&w, on_grow);
    ask_until_answered(&w);
    w.n_events = 200;
    call(&w, on_apply);
    ask_until_answered(&w);
    close_world(&w);
}

/* An index that drops blocks by itself. */
static void case_an_index_at_its_budget(void) {
    struct world w;
    open_world(&w, (struct weir_device_config){.wanted = false}, (size_t)1 << 20);
    for (unsigned i = 0; i < 2; i++) {
        call(&w, on_grow);
        w.n_events = 300;
        call(&w, on_apply);
        ask_until_answered(&w);
    }
    close_world(&w);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_it_follows);
    CHECK_RUN(case_it_is_made_again);
    CHECK_RUN(case_it_grows);
    CHECK_RUN(case_an_index_at_its_budget);
    return check_finish();
}
