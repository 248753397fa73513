/*
 * The turn of a loop, in the order of libuv: due timers → prepare (deferred work, arms `tick`) →
 * poll (sockets, posted calls) → check (deferred work) → close callbacks.
 *
 * Deferred work runs twice a turn because it may be armed before the poll (timers, close callbacks)
 * or in it; whichever comes first, nothing waits through a blocking poll.
 */
#include "net/loop_priv.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

/* Deferred work that arms deferred work: so many rounds at one place, then sockets get a chance. */
enum { DEFER_ROUNDS = 8, LAST_TURNS = 64 };

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t weir_now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t weir_loop_event_ns(struct weir_loop *loop) {
    if (loop->event_ns == 0)
        loop->event_ns = weir_now_ns();
    return loop->event_ns;
}

uint64_t weir_wall_ns(void) {
    return clock_ns(CLOCK_REALTIME);
}

uint64_t weir_wall_ms(void) {
    return weir_wall_ns() / 1000000u;
}

uint64_t weir_loop_now_ms(const struct weir_loop *loop) {
    return uv_now(&loop->uv);
}

struct weir_rng *weir_loop_rng(struct weir_loop *loop) {
    return &loop->rng;
}

void weir_loop_set_dead_peer_ms(struct weir_loop *loop, uint64_t ms) {
    loop->dead_peer_ms = ms;
}

uint64_t weir_loop_dead_peer_ms(const struct weir_loop *loop) {
    return loop->dead_peer_ms;
}

/* ---- hooks of a turn ---------------------------------------------------------------------- */

static void run_deferred(struct weir_loop *loop) {
    for (int round = 0; round < DEFER_ROUNDS && !weir_list_empty(&loop->deferred); round++) {
        struct weir_list batch = loop->deferred;
        batch.next->prev = batch.prev->next = &batch;
        weir_list_init(&loop->deferred);
        while (!weir_list_empty(&batch)) {
            struct weir_deferred *d = WEIR_CONTAINER_OF(batch.next, struct weir_deferred, node);
            weir_list_remove(&d->node);
            d->fn(d->arg);
        }
    }
}

static void on_busy(uv_idle_t *idle) {
    (void)idle; /* its being active is all that it does */
}

static void on_tick(uv_timer_t *tick) {
    struct weir_loop *loop = tick->data;
    loop->tick_ms = UINT64_MAX;
    loop->event_ns = 0;
    weir_timers_run(loop);
}

static void arm_tick(struct weir_loop *loop) {
    uint64_t next = weir_timers_next(loop);
    if (next >= loop->tick_ms)
        return; /* set early enough: firing for nothing is cheaper than moving it each time */
    uint64_t now = uv_now(&loop->uv);
    uv_timer_start(&loop->tick, on_tick, next > now ? next - now : 0, 0);
    loop->tick_ms = next;
}

static void on_prepare(uv_prepare_t *prepare) {
    struct weir_loop *loop = prepare->data;
    loop->event_ns = 0;
    run_deferred(loop);
    loop->event_ns = 0; /* the poll may take its time */
    arm_tick(loop);
    bool left = !weir_list_empty(&loop->deferred);
    if (left != (uv_is_active((uv_handle_t *)&loop->busy) != 0)) {
        if (left)
            uv_idle_start(&loop->busy, on_busy);
        else
            uv_idle_stop(&loop->busy);
    }
    weir_log_flush();
}

static void on_check(uv_check_t *check) {
    struct weir_loop *loop = check->data;
    loop->event_ns = 0;
    run_deferred(loop);
    arm_tick(loop); /* what is due at once comes before the next poll, not after it */
}

static void on_wake(uv_async_t *wake) {
    struct weir_loop *loop = wake->data;
    loop->event_ns = 0;
    if (weir_posts_run(loop))
        uv_stop(&loop->uv);
}

enum weir_status weir_loop_post_wait(struct weir_loop *loop, weir_post_fn fn, void *arg,
                                     const atomic_bool *dropped) {
    static const struct timespec pause = {.tv_nsec = 1000000};
    for (;;) {
        enum weir_status st = weir_loop_post(loop, fn, arg);
        if (st != WEIR_LIMIT && st != WEIR_NOMEM)
            return st;
        if (dropped != NULL && atomic_load_explicit(dropped, memory_order_relaxed))
            return WEIR_CANCELLED;
        nanosleep(&pause, NULL);
    }
}

/* ---- descriptors that are closed together --------------------------------------------------- */

bool weir_loop_close_now(struct weir_loop *loop) {
    bool any = loop->n_closes > 0;
    for (unsigned i = 0; i < loop->n_closes; i++)
        close(loop->closes[i]);
    loop->n_closes = 0;
    return any;
}

static void on_close_timer(void *arg) {
    weir_loop_close_now(arg);
}

void weir_loop_close_later(struct weir_loop *loop, int fd) {
    loop->closes[loop->n_closes++] = fd;
    if (loop->n_closes == WEIR_LOOP_CLOSES || !loop->running ||
        (!weir_timer_active(&loop->close_timer) &&
         weir_timer_start(&loop->close_timer, WEIR_LOOP_CLOSE_MS) != WEIR_OK))
        weir_loop_close_now(loop);
}

/* ---- life --------------------------------------------------------------------------------- */

static pthread_once_t ignore_pipe_once = PTHREAD_ONCE_INIT;

/* libuv writes with write(2): without this a peer that leaves would end the process. */
static void ignore_pipe(void) {
    struct sigaction sa = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &sa, NULL);
}

static enum weir_status init_handles(struct weir_loop *loop) {
    if (uv_loop_init(&loop->uv) != 0)
        return WEIR_LIMIT; /* out of descriptors, most likely */
    if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0) {
        uv_loop_close(&loop->uv);
        return WEIR_LIMIT;
    }
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->busy);
    uv_timer_init(&loop->uv, &loop->tick);
    loop->wake.data = loop->prepare.data = loop->check.data = loop->tick.data = loop;
    loop->tick_ms = UINT64_MAX;
    weir_timer_init(&loop->close_timer, loop, on_close_timer, loop);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    return WEIR_OK;
}

enum weir_status weir_loop_create(unsigned index, struct weir_loop **ret_loop) {
    pthread_once(&ignore_pipe_once, ignore_pipe);
    struct weir_loop *loop = weir_calloc(1, sizeof(*loop));
    if (loop == NULL)
        return WEIR_NOMEM;
    loop->index = index;
    loop->dead_peer_ms = WEIR_LOOP_DEAD_PEER_MS;
    weir_list_init(&loop->deferred);
    weir_list_init(&loop->streams);
    weir_list_init(&loop->signals);
    weir_rng_seed_os(&loop->rng);
    loop->scratch = weir_malloc(WEIR_LOOP_SCRATCH);
    enum weir_status st = loop->scratch == NULL ? WEIR_NOMEM : init_handles(loop);
    if (st != WEIR_OK) {
        weir_free(loop->scratch);
        weir_free(loop);
        return st;
    }
    pthread_mutex_init(&loop->lock, NULL);
    *ret_loop = loop;
    return WEIR_OK;
}

/* Turns until nothing is left to close or to do at once. Bounded, in case a callback keeps arming.
 */
static void last_turns(struct weir_loop *loop) {
    for (int i = 0; i < LAST_TURNS; i++) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        if (loop->n_closing == 0 && weir_list_empty(&loop->deferred))
            break;
    }
}

void weir_loop_run(struct weir_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    if (loop->ended) { /* a second run: it wants a stop of its own */
        loop->stop = loop->ended = false;
    }
    pthread_mutex_unlock(&loop->lock);
    loop->running = true;
    weir_log_hold(true);
    uv_update_time(&loop->uv);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    last_turns(loop);
    weir_loop_close_now(loop);
    weir_log_hold(false);
    loop->running = false;
    pthread_mutex_lock(&loop->lock);
    loop->ended = true;
    pthread_mutex_unlock(&loop->lock);
}

bool weir_loop_running(const struct weir_loop *loop) {
    return loop->running;
}

void weir_loop_destroy(struct weir_loop *loop) {
    if (loop == NULL)
        return;
    weir_signals_close_all(loop);
    do {
        weir_streams_close_all(loop); /* an on_close may have opened another */
        last_turns(loop);
    } while (!weir_list_empty(&loop->streams));
    weir_loop_close_now(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    /* A poll or a listener that its owner forgot to close would be written to after this. */
    WEIR_ASSERT(uv_loop_close(&loop->uv) == 0);
    weir_timers_fini(&loop->timers);
    for (unsigned i = 0; i < loop->n_blocks; i++)
        weir_free(loop->blocks[i].data);
    pthread_mutex_destroy(&loop->lock);
    weir_free(loop->posts.items);
    weir_free(loop->spare.items);
    weir_free(loop->scratch);
    weir_free(loop->scratch2);
    weir_free(loop->large);
    weir_free(loop);
}

/* ---- deferred ----------------------------------------------------------------------------- */

void weir_deferred_init(struct weir_deferred *d, weir_post_fn fn, void *arg) {
    weir_list_init(&d->node);
    d->fn = fn;
    d->arg = arg;
}

void weir_loop_defer(struct weir_loop *loop, struct weir_deferred *d) {
    if (weir_list_empty(&d->node))
        weir_list_push_back(&loop->deferred, &d->node);
}

void weir_deferred_cancel(struct weir_deferred *d) {
    weir_list_remove(&d->node);
}

/* ---- memory of the loop ------------------------------------------------------------------- */

void weir_loop_block_take(struct weir_loop *loop, struct weir_buf *buf) {
    if (loop->n_blocks > 0) {
        struct weir_block b = loop->blocks[--loop->n_blocks];
        loop->stock -= b.cap;
        buf->data = b.data;
        buf->cap = b.cap;
        return;
    }
    buf->data = weir_malloc(WEIR_LOOP_BLOCK_MIN); /* on NULL the append reports it */
    buf->cap = buf->data != NULL ? WEIR_LOOP_BLOCK_MIN : 0;
}

void weir_loop_block_give(struct weir_loop *loop, struct weir_buf *buf) {
    if (buf->data == NULL)
        return;
    if (loop->n_blocks < WEIR_LOOP_BLOCKS && buf->cap >= WEIR_LOOP_BLOCK_MIN &&
        buf->cap <= WEIR_LOOP_BLOCK_MAX && loop->stock + buf->cap <= WEIR_LOOP_STOCK) {
        loop->blocks[loop->n_blocks++] = (struct weir_block){buf->data, buf->cap};
        loop->stock += buf->cap;
    } else {
        weir_free(buf->data);
    }
    buf->data = NULL;
    buf->len = buf->cap = 0;
}

char *weir_loop_scratch2(struct weir_loop *loop) {
    if (loop->scratch2 == NULL)
        loop->scratch2 = weir_malloc(WEIR_LOOP_SCRATCH);
    return loop->scratch2;
}

char *weir_loop_large(struct weir_loop *loop) {
    if (loop->large == NULL)
        loop->large = weir_malloc(WEIR_LOOP_LARGE);
    return loop->large;
}
