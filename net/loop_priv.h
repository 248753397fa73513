/* The inside of a loop, for the other files of this folder. */
#ifndef WEIR_NET_LOOP_PRIV_H
#define WEIR_NET_LOOP_PRIV_H

#include "base/list.h"
#include "net/loop.h"

#include <pthread.h>
#include <uv.h>

enum {
    WEIR_LOOP_SCRATCH = 64 * 1024, /* bytes of one read */
    WEIR_LOOP_LARGE = 256 * 1024,  /* … of one where many are known to gather */
    WEIR_LOOP_BLOCKS = 256,        /* spare write blocks kept per loop … */
    WEIR_LOOP_STOCK = 2 << 20,     /* … and their bytes */
    WEIR_LOOP_BLOCK_MIN = 4096,
    WEIR_LOOP_BLOCK_MAX = 64 * 1024,
    WEIR_LOOP_MAX_POSTS = 65536,
    WEIR_LOOP_DEAD_PEER_MS = 30000,
    WEIR_LOOP_CLOSES = 64,  /* descriptors that wait to be closed together … */
    WEIR_LOOP_CLOSE_MS = 1, /* … and how long at most */
};

struct weir_heap_entry {
    uint64_t due_ms; /* never later than the timer's own due_ms */
    struct weir_timer *timer;
    uint32_t seq;
};

struct weir_timers {
    struct weir_heap_entry *heap; /* owned; 1-based binary heap */
    uint32_t n, cap;
    uint32_t seq; /* of the next start */
};

struct weir_post {
    weir_post_fn fn;
    void *arg;
};

struct weir_posts {
    struct weir_post *items; /* owned */
    uint32_t n, cap;
};

struct weir_block {
    char *data; /* owned */
    size_t cap;
};

struct weir_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t busy; /* active while deferred work is left: keeps the poll from blocking */
    uv_timer_t tick;
    uint64_t tick_ms;  /* when `tick` is due; UINT64_MAX = not armed */
    uint64_t event_ns; /* of weir_loop_event_ns; 0 = not asked for yet */
    struct weir_timers timers;
    struct weir_list deferred;
    struct weir_list streams; /* all that are not closing yet */
    struct weir_list signals; /* struct loop_signal, owned */
    unsigned n_closing;       /* handles whose close callback is still to come */
    bool running, started;    /* `started`: a thread was made and is to be joined */
    char *scratch, *scratch2; /* owned; WEIR_LOOP_SCRATCH bytes each; scratch2 on first TLS use */
    char *large;              /* owned; WEIR_LOOP_LARGE bytes, on first use */
    struct weir_block blocks[WEIR_LOOP_BLOCKS];
    unsigned n_blocks;
    size_t stock;                 /* bytes of the blocks */
    int closes[WEIR_LOOP_CLOSES]; /* owned: see weir_loop_close_later */
    unsigned n_closes;
    struct weir_timer close_timer;
    struct weir_rng rng;
    unsigned index;
    uint64_t dead_peer_ms;
    pthread_t thread; /* valid while `started` */
    char name[16];

    pthread_mutex_t lock; /* guards the rest */
    struct weir_posts posts, spare;
    bool stop, ended; /* stop: asked for; ended: run() has returned after it */
};

/* Fires what is due at the loop's time. */
void weir_timers_run(struct weir_loop *loop);
/* Due time of the first timer, UINT64_MAX for none. May be early, never late. */
uint64_t weir_timers_next(const struct weir_loop *loop);
void weir_timers_fini(struct weir_timers *timers);
/* Runs what was posted. Returns true when the loop was told to stop. */
bool weir_posts_run(struct weir_loop *loop);

/* A block for a write buffer from the loop's stock / back to it. */
struct weir_buf;
void weir_loop_block_take(struct weir_loop *loop, struct weir_buf *buf);
void weir_loop_block_give(struct weir_loop *loop, struct weir_buf *buf);
/* Takes a descriptor and closes it within WEIR_LOOP_CLOSE_MS, with others. A close that resets its
 * connection wakes the peer at once; many in a row wake it once, for one price. */
void weir_loop_close_later(struct weir_loop *loop, int fd);
/* Closes what waits. true: there was something. */
bool weir_loop_close_now(struct weir_loop *loop);
/* Second scratch buffer; NULL when memory is out. */
char *weir_loop_scratch2(struct weir_loop *loop);
/* The large buffer; NULL when memory is out. */
char *weir_loop_large(struct weir_loop *loop);
/* Closes every stream that is still open (weir_loop_destroy). */
void weir_streams_close_all(struct weir_loop *loop);
void weir_signals_close_all(struct weir_loop *loop);

#endif
