/*
 * Happy path: a call hands the thread a job → the thread does it → posts it to the loop → fn. The
 * thread ends when the spool was destroyed, however long the disk takes by then. Whoever is last,
 * the thread or a posted job, frees.
 */
#include "runtime/spool.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SPOOLS = 256 };
static _Atomic unsigned n_spools; /* relaxed: threads, those that a disk holds up among them */

struct weir_spool {
    struct weir_loop *loop; /* borrowed; touched by the thread only while not destroyed */
    uint64_t size;          /* the loop's */
    int fd;                 /* the thread's; -1 = not made yet */
    /* The job: the loop's until `asked`, then the thread's until it is posted. */
    struct weir_buf bytes;
    bool reads;
    uint64_t at;
    size_t n;
    enum weir_status status;
    weir_spool_fn fn;
    void *arg;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool asked, destroyed;
    unsigned refs; /* the thread, and a job that is posted */
};

static void free_spool(struct weir_spool *s) {
    weir_buf_fini(&s->bytes);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    weir_free(s);
}

/* ---- the thread --------------------------------------------------------------------------- */

static int open_file(void) {
    const char *tmp = getenv("TMPDIR");
    int fd = open(tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC,
                  S_IRUSR | S_IWUSR);
    return fd >= 0 ? fd : memfd_create("weir-spool", MFD_CLOEXEC);
}

static enum weir_status write_bytes(const struct weir_spool *s) {
    for (size_t done = 0; done < s->bytes.len;) {
        ssize_t n = pwrite(s->fd, s->bytes.data + done, s->bytes.len - done, (off_t)(s->at + done));
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return WEIR_IO;
        done += n > 0 ? (size_t)n : 0;
    }
    return WEIR_OK;
}

static enum weir_status read_bytes(struct weir_spool *s) {
    enum weir_status st = weir_buf_reserve(&s->bytes, s->n);
    for (; st == WEIR_OK && s->bytes.len < s->n;) {
        ssize_t got = pread(s->fd, s->bytes.data + s->bytes.len, s->n - s->bytes.len,
                            (off_t)(s->at + s->bytes.len));
        if (got <= 0 && !(got < 0 && errno == EINTR))
            return WEIR_IO;
        s->bytes.len += got > 0 ? (size_t)got : 0;
    }
    return st;
}

static void on_done(void *arg);

static void do_job(struct weir_spool *s) {
    if (s->fd < 0)
        s->fd = open_file();
    s->status = s->fd < 0 ? WEIR_IO : s->reads ? read_bytes(s) : write_bytes(s);
}

/* With the lock held. A loop that has too much to do is told later. */
static void tell(struct weir_spool *s) {
    struct timespec until;
    enum weir_status st = WEIR_LIMIT;
    while (!s->destroyed && (st == WEIR_LIMIT || st == WEIR_NOMEM)) {
        st = weir_loop_post(s->loop, on_done, s);
        s->refs += st == WEIR_OK;
        if (st == WEIR_OK || st == WEIR_CANCELLED)
            return;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
}

static void *run(void *arg) {
    struct weir_spool *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->destroyed) {
        if (!s->asked) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        do_job(s);
        pthread_mutex_lock(&s->lock);
        s->asked = false;
        tell(s);
    }
    pthread_mutex_unlock(&s->lock);
    if (s->fd >= 0)
        close(s->fd); /* gives back what may be gigabytes */
    atomic_fetch_sub_explicit(&n_spools, 1, memory_order_relaxed);
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_spool(s);
    return NULL;
}

/* ---- the loop ----------------------------------------------------------------------------- */

static void on_done(void *arg) {
    struct weir_spool *s = arg;
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0, wanted = !s->destroyed;
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_spool(s);
    else if (wanted)
        s->fn(s->arg, s->status, s->reads ? weir_buf_span(&s->bytes) : weir_span(NULL, 0));
}

enum weir_status weir_spool_create(struct weir_loop *loop, struct weir_spool **ret_spool) {
    struct weir_spool *s = weir_calloc(1, sizeof(*s));
    pthread_t thread;
    if (s == NULL)
        return WEIR_NOMEM;
    if (atomic_fetch_add_explicit(&n_spools, 1, memory_order_relaxed) >= MAX_SPOOLS) {
        atomic_fetch_sub_explicit(&n_spools, 1, memory_order_relaxed);
        weir_free(s);
        return WEIR_LIMIT;
    }
    s->loop = loop;
    s->fd = -1;
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (pthread_create(&thread, NULL, run, s) != 0) {
        atomic_fetch_sub_explicit(&n_spools, 1, memory_order_relaxed);
        free_spool(s);
        return WEIR_NOMEM;
    }
    pthread_detach(thread);
    *ret_spool = s;
    return WEIR_OK;
}

void weir_spool_destroy(struct weir_spool *spool) {
    if (spool == NULL)
        return;
    pthread_mutex_lock(&spool->lock);
    spool->destroyed = true;
    pthread_cond_signal(&spool->wake);
    pthread_mutex_unlock(&spool->lock);
}

static void ask(struct weir_spool *s, weir_spool_fn fn, void *arg) {
    s->fn = fn;
    s->arg = arg;
    pthread_mutex_lock(&s->lock);
    s->asked = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void weir_spool_replace(struct weir_spool *spool, uint64_t at, struct weir_buf *take,
                        weir_spool_fn fn, void *arg) {
    weir_buf_fini(&spool->bytes);
    weir_buf_move(&spool->bytes, take);
    spool->reads = false;
    spool->at = at;
    ask(spool, fn, arg);
}

void weir_spool_append(struct weir_spool *spool, struct weir_buf *take, weir_spool_fn fn,
                       void *arg) {
    uint64_t at = spool->size;
    spool->size += take->len;
    weir_spool_replace(spool, at, take, fn, arg);
}

void weir_spool_read(struct weir_spool *spool, uint64_t at, size_t n, weir_spool_fn fn, void *arg) {
    weir_buf_fini(&spool->bytes);
    weir_buf_init(&spool->bytes, n);
    spool->reads = true;
    spool->at = at;
    spool->n = n;
    ask(spool, fn, arg);
}

uint64_t weir_spool_size(const struct weir_spool *spool) {
    return spool->size;
}
