/*
 * Timers: a binary heap of (due, order of starting) per loop, behind one uv_timer (loop.c).
 *
 * Idle and stall timers are pushed back on every request, so moving a timer to a later time only
 * writes its due_ms: its heap entry stays, comes up early, and is then put where it belongs.
 */
#include "base/mem.h"
#include "net/loop_priv.h"

static bool before(const struct weir_heap_entry *a, const struct weir_heap_entry *b) {
    /* The difference keeps its meaning when the counter wraps. */
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : (int32_t)(a->seq - b->seq) < 0;
}

static void put(struct weir_timers *ts, uint32_t at, struct weir_heap_entry e) {
    ts->heap[at] = e;
    e.timer->heap_index = at;
}

static void sift_up(struct weir_timers *ts, uint32_t at, struct weir_heap_entry e) {
    for (; at > 1 && before(&e, &ts->heap[at / 2]); at /= 2)
        put(ts, at, ts->heap[at / 2]);
    put(ts, at, e);
}

static void sift_down(struct weir_timers *ts, uint32_t at, struct weir_heap_entry e) {
    for (;;) {
        uint32_t child = at * 2;
        if (child > ts->n)
            break;
        if (child < ts->n && before(&ts->heap[child + 1], &ts->heap[child]))
            child++;
        if (!before(&ts->heap[child], &e))
            break;
        put(ts, at, ts->heap[child]);
        at = child;
    }
    put(ts, at, e);
}

static void settle(struct weir_timers *ts, uint32_t at, struct weir_heap_entry e) {
    if (at > 1 && before(&e, &ts->heap[at / 2]))
        sift_up(ts, at, e);
    else
        sift_down(ts, at, e);
}

static enum weir_status grow(struct weir_timers *ts) {
    if (ts->n + 1 < ts->cap)
        return WEIR_OK;
    uint32_t cap = ts->cap == 0 ? 64 : ts->cap * 2;
    if (cap > UINT32_MAX / 2)
        return WEIR_NOMEM;
    struct weir_heap_entry *heap = weir_realloc(ts->heap, cap * sizeof(*heap));
    if (heap == NULL)
        return WEIR_NOMEM;
    ts->heap = heap;
    ts->cap = cap;
    return WEIR_OK;
}

void weir_timer_init(struct weir_timer *t, struct weir_loop *loop, weir_timer_fn fn, void *arg) {
    *t = (struct weir_timer){.loop = loop, .fn = fn, .arg = arg};
}

enum weir_status weir_timer_start(struct weir_timer *t, uint64_t delay_ms) {
    struct weir_loop *loop = t->loop;
    struct weir_timers *ts = &loop->timers;
    if (!loop->running)
        uv_update_time(&loop->uv);
    uint64_t now = uv_now(&loop->uv);
    uint64_t due = delay_ms > UINT64_MAX - 1 - now ? UINT64_MAX - 1 : now + delay_ms;
    if (t->heap_index == 0) {
        enum weir_status st = grow(ts);
        if (st != WEIR_OK)
            return st;
    }
    t->due_ms = due;
    t->seq = ts->seq++;
    struct weir_heap_entry e = {due, t, t->seq};
    if (t->heap_index == 0)
        sift_up(ts, ++ts->n, e);
    else if (due < ts->heap[t->heap_index].due_ms)
        settle(ts, t->heap_index, e);
    return WEIR_OK;
}

void weir_timer_stop(struct weir_timer *t) {
    uint32_t at = t->heap_index;
    if (at == 0)
        return;
    struct weir_timers *ts = &t->loop->timers;
    t->heap_index = 0;
    struct weir_heap_entry last = ts->heap[ts->n--];
    if (last.timer != t)
        settle(ts, at, last);
}

void weir_timers_run(struct weir_loop *loop) {
    struct weir_timers *ts = &loop->timers;
    uint64_t now = uv_now(&loop->uv);
    uint32_t end = ts->seq; /* timers started from here on wait for the next turn */
    while (ts->n > 0 && ts->heap[1].due_ms <= now) {
        struct weir_timer *t = ts->heap[1].timer;
        if (t->seq != ts->heap[1].seq) { /* it was moved to a later time */
            sift_down(ts, 1, (struct weir_heap_entry){t->due_ms, t, t->seq});
            continue;
        }
        if ((int32_t)(t->seq - end) >= 0)
            break;
        weir_timer_stop(t);
        t->fn(t->arg);
    }
}

uint64_t weir_timers_next(const struct weir_loop *loop) {
    return loop->timers.n > 0 ? loop->timers.heap[1].due_ms : UINT64_MAX;
}

void weir_timers_fini(struct weir_timers *timers) {
    for (uint32_t i = 1; i <= timers->n; i++)
        timers->heap[i].timer->heap_index = 0;
    weir_free(timers->heap);
    *timers = (struct weir_timers){0};
}
