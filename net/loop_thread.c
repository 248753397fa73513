/*
 * What crosses threads: posted calls, stop, the thread that runs a loop. Everything here is under
 * loop.lock, which is never held while foreign code runs.
 */
#include "net/loop_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

static enum weir_status push(struct weir_posts *q, weir_post_fn fn, void *arg) {
    if (q->n == q->cap) {
        if (q->n >= WEIR_LOOP_MAX_POSTS)
            return WEIR_LIMIT;
        uint32_t cap = q->cap == 0 ? 64 : q->cap * 2;
        struct weir_post *items = weir_realloc(q->items, cap * sizeof(*items));
        if (items == NULL)
            return WEIR_NOMEM;
        q->items = items;
        q->cap = cap;
    }
    q->items[q->n++] = (struct weir_post){fn, arg};
    return WEIR_OK;
}

enum weir_status weir_loop_post(struct weir_loop *loop, weir_post_fn fn, void *arg) {
    pthread_mutex_lock(&loop->lock);
    enum weir_status st = loop->stop ? WEIR_CANCELLED : push(&loop->posts, fn, arg);
    bool first = st == WEIR_OK && loop->posts.n == 1;
    /* Under the lock: the loop cannot end, and its handle cannot go, between the two. */
    if (first)
        uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
    return st;
}

void weir_loop_stop(struct weir_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

bool weir_posts_run(struct weir_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    struct weir_posts batch = loop->posts;
    loop->posts = loop->spare;
    loop->posts.n = 0;
    loop->spare = (struct weir_posts){0};
    bool stop = loop->stop;
    pthread_mutex_unlock(&loop->lock);
    for (uint32_t i = 0; i < batch.n; i++)
        batch.items[i].fn(batch.items[i].arg);
    pthread_mutex_lock(&loop->lock);
    loop->spare = batch;
    pthread_mutex_unlock(&loop->lock);
    return stop;
}

static void *run_thread(void *arg) {
    struct weir_loop *loop = arg;
    pthread_setname_np(pthread_self(), loop->name);
    weir_loop_run(loop);
    return NULL;
}

enum weir_status weir_loop_thread_start(struct weir_loop *loop, const char *name) {
    WEIR_ASSERT(!loop->started);
    snprintf(loop->name, sizeof(loop->name), "%s", name);
    /* Signals belong to the main thread; the loops hear of them through libuv. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&loop->thread, NULL, run_thread, loop);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return rc == EAGAIN ? WEIR_LIMIT : WEIR_NOMEM;
    loop->started = true;
    return WEIR_OK;
}

void weir_loop_thread_join(struct weir_loop *loop) {
    if (!loop->started)
        return;
    pthread_join(loop->thread, NULL);
    loop->started = false;
}
