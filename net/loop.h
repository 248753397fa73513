/*
 * One event loop and its thread-local services: timers, posted work, a scratch buffer.
 *
 * Objects made on a loop stay on it; the only crossing is weir_loop_post(). Nothing that runs on a
 * loop may block. libuv is hidden: only net/ includes its header.
 */
#ifndef WEIR_NET_LOOP_H
#define WEIR_NET_LOOP_H

#include "base/list.h"
#include "base/rng.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdint.h>

struct weir_loop;
typedef void (*weir_post_fn)(void *arg);
typedef void (*weir_timer_fn)(void *arg);

/* `index` (0, 1, …) tells loops apart in a debugger. The calling thread need not be the one that
 * runs it. */
enum weir_status weir_loop_create(unsigned index, struct weir_loop **ret_loop) WEIR_MUST_CHECK;
/* All objects of the loop must be closed; runs leftover close callbacks. Accepts NULL. */
void weir_loop_destroy(struct weir_loop *loop);
/* Runs until weir_loop_stop(). Returns after open handles were given a last turn. */
void weir_loop_run(struct weir_loop *loop);
/* From its own thread: whether it is inside weir_loop_run(). */
bool weir_loop_running(const struct weir_loop *loop);
/* Thread: any. */
void weir_loop_stop(struct weir_loop *loop);
/* Starts a thread that runs the loop / waits for it to end. */
enum weir_status weir_loop_thread_start(struct weir_loop *loop, const char *name) WEIR_MUST_CHECK;
void weir_loop_thread_join(struct weir_loop *loop);
/* Connections of this loop whose peer acknowledges nothing for so long are ended by the system; 0 =
 * when it likes. For those that are made, and listeners that are opened, from now on; 30,000 by
 * default. Thread: the loop's, or before it runs. */
void weir_loop_set_dead_peer_ms(struct weir_loop *loop, uint64_t ms);
uint64_t weir_loop_dead_peer_ms(const struct weir_loop *loop);
/* Thread: any. fn(arg) runs on the loop's thread, in order of posting. WEIR_LIMIT when 65,536 calls
 * are waiting; WEIR_CANCELLED after the loop has stopped (fn will not run). */
enum weir_status weir_loop_post(struct weir_loop *loop, weir_post_fn fn, void *arg) WEIR_MUST_CHECK;
/* The same for a result that must not be lost, of a thread that may wait: where there is no room it
 * is posted as soon as there is. WEIR_CANCELLED: the loop has stopped, or *dropped (which may be
 * NULL) was set meanwhile. Thread: one that this loop does not wait for, but behind that flag. */
enum weir_status weir_loop_post_wait(struct weir_loop *loop, weir_post_fn fn, void *arg,
                                     const atomic_bool *dropped) WEIR_MUST_CHECK;
/* Monotonic time of this loop turn. */
uint64_t weir_loop_now_ms(const struct weir_loop *loop);
/* The same clock as weir_now_ns(), read once for all that one read of a stream brings: a time for
 * each of many small things that came together. */
uint64_t weir_loop_event_ns(struct weir_loop *loop);
/* Monotonic time now, in nanoseconds; any thread. */
uint64_t weir_now_ns(void);
/* Wall clock, milliseconds / nanoseconds since the epoch; any thread. */
uint64_t weir_wall_ms(void);
uint64_t weir_wall_ns(void);
struct weir_rng *weir_loop_rng(struct weir_loop *loop);

/*
 * A timer lives inside its owner's struct; it needs no close. Starting a running timer moves it.
 * The callback runs once per start, on the loop's thread, and may start the timer again. Timers
 * fire in the order of their due times, those of one millisecond in the order of starting.
 */
struct weir_timer {
    struct weir_loop *loop; /* borrowed */
    weir_timer_fn fn;
    void *arg;
    uint64_t due_ms;
    uint32_t heap_index; /* 0 = not running */
    uint32_t seq;        /* order of starting: timers of one millisecond fire in it */
};
void weir_timer_init(struct weir_timer *t, struct weir_loop *loop, weir_timer_fn fn, void *arg);
/* Fails only for memory. */
enum weir_status weir_timer_start(struct weir_timer *t, uint64_t delay_ms) WEIR_MUST_CHECK;
/* Safe when not running. Must be called before the owner's memory goes. */
void weir_timer_stop(struct weir_timer *t);
static inline bool weir_timer_active(const struct weir_timer *t) {
    return t->heap_index != 0;
}

/* Runs fn at the end of the current loop turn (after all input that is ready now was handled), once
 * per arming. For coalescing writes. The node lives in its owner; unlinking it disarms. */
struct weir_deferred {
    struct weir_list node;
    weir_post_fn fn;
    void *arg;
};
void weir_deferred_init(struct weir_deferred *d, weir_post_fn fn, void *arg);
void weir_loop_defer(struct weir_loop *loop, struct weir_deferred *d); /* no-op when armed */
void weir_deferred_cancel(struct weir_deferred *d);

/* Watches a file descriptor that a library owns (ZMQ_FD, inotify). */
struct weir_poll;
typedef void (*weir_poll_fn)(void *arg);
enum weir_status weir_poll_open(struct weir_loop *loop, int fd, weir_poll_fn on_readable, void *arg,
                                struct weir_poll **ret_poll) WEIR_MUST_CHECK;
/* Asynchronous; no callback after this call. Accepts NULL. Does not close the descriptor. */
void weir_poll_close(struct weir_poll *poll);

/* SIGTERM, SIGINT, SIGHUP as callbacks on this loop. */
typedef void (*weir_signal_fn)(void *arg, int signum);
enum weir_status weir_loop_on_signal(struct weir_loop *loop, int signum, weir_signal_fn fn,
                                     void *arg) WEIR_MUST_CHECK;
/* The signals that end a process, the last one where it reads nothing again: SIGTERM, SIGINT, and
 * SIGHUP (its terminal went) unless whoever started it has it ignored, as nohup does. */
enum weir_status weir_loop_on_end(struct weir_loop *loop, weir_signal_fn fn,
                                  void *arg) WEIR_MUST_CHECK;

#endif
