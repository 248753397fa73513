/*
 * Snapshot file, little-endian 64-bit words:
 *
 *   magic, version, number of payload words, XXH3 of the payload with seed = version
 *   payload: records, each
 *     word 0  kind << 56 | tier << 48 | has_parent << 40 | n   (kind 1: events, 2: a mark, 3: size)
 *     word 1  worker id       word 2  dp rank
 *     word 3  parent hash, or publisher id      (mark: word 4 = last event id)
 *     n pairs of block hash, tokens hash
 *   The first record is the size of the index that was written: word 1 names, word 2 nodes, word 3
 *   bytes of other memory. It only says what to make ready. Version 1 has none and is read too.
 *
 * A file that is cut off anywhere has too few words; a damaged one has another checksum. Reading
 * maps the file and applies it in batches, as a flood of large events. The name table is made as
 * large as it will be beforehand, and memory while the checksum is still being taken.
 */
#include "kvindex/kvi_persist.h"
#include "kvindex/kvi_priv.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC 0x50414E5349564B57u /* "WKVISNAP" */
enum {
    FIRST_VERSION = 1,
    VERSION = 2,
    HEAD = 4,
    RECORD = 4,
    KIND_EVENT = 1,
    KIND_MARK = 2,
    KIND_SIZE = 3,
    BATCH = 64,
    TURN = 8,       /* batches between two turns of the helper: about a chunk of memory */
    MOST_TIMES = 4, /* memory made ready, in sizes of the file: a wrong size costs no more */
};

struct words {
    uint64_t *at; /* owned */
    size_t n, cap;
    bool failed;
};

static bool reserve(struct words *w, size_t more) {
    if (w->n + more > w->cap) {
        size_t cap = w->cap * 2 > w->n + more ? w->cap * 2 : w->n + more + 4096;
        uint64_t *at = realloc(w->at, cap * sizeof(*at));
        if (at == NULL) {
            w->failed = true;
            return false;
        }
        w->at = at;
        w->cap = cap;
    }
    return true;
}

static bool add_event(void *arg, const struct kvi_event *e) {
    struct words *w = arg;
    if (!reserve(w, RECORD + e->n * 2))
        return false;
    uint64_t *r = w->at + w->n;
    r[0] =
        (uint64_t)KIND_EVENT << 56 | (uint64_t)e->tier << 48 | (uint64_t)e->has_parent << 40 | e->n;
    r[1] = e->worker.worker_id;
    r[2] = e->worker.dp_rank;
    r[3] = e->parent_hash;
    memcpy(r + RECORD, e->blocks, e->n * sizeof(*e->blocks));
    w->n += RECORD + e->n * 2;
    return true;
}

static bool add_mark(struct words *w, const struct kvi_mark *m) {
    if (!reserve(w, RECORD + 2))
        return false;
    uint64_t *r = w->at + w->n;
    r[0] = (uint64_t)KIND_MARK << 56 | 1;
    r[1] = m->worker.worker_id;
    r[2] = m->worker.dp_rank;
    r[3] = m->publisher_id;
    r[4] = m->last_event_id;
    r[5] = 0;
    w->n += RECORD + 2;
    return true;
}

static bool add_size(struct words *w, const struct kvi_size *size) {
    if (!reserve(w, RECORD + 2))
        return false;
    uint64_t r[RECORD + 2] = {(uint64_t)KIND_SIZE << 56 | 1, size->names, size->nodes, size->bytes};
    memcpy(w->at + w->n, r, sizeof(r));
    w->n += RECORD + 2;
    return true;
}

static bool write_all(int fd, const void *data, size_t bytes) {
    for (const uint8_t *p = data; bytes > 0;) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

enum kvi_file_result kvi_snapshot_write(struct kvi_index *index, const char *path,
                                        const struct kvi_mark *marks, size_t n_marks) {
    struct words w = {0};
    size_t len = strlen(path);
    char *fresh = malloc(len + 5);
    struct kvi_size size = kvi_size_of(index);
    bool ok = fresh != NULL && reserve(&w, HEAD);
    w.n = HEAD;
    ok = ok && add_size(&w, &size) && kvi_dump(index, add_event, &w) == KVI_OK && !w.failed;
    for (size_t i = 0; ok && i < n_marks; i++)
        ok = add_mark(&w, &marks[i]);
    if (!ok) {
        free(w.at);
        free(fresh);
        errno = ENOMEM;
        return KVI_FILE_ERROR;
    }
    size_t n = w.n - HEAD;
    uint64_t head[HEAD] = {MAGIC, VERSION, n,
                           XXH3_64bits_withSeed(w.at + HEAD, n * sizeof(uint64_t), VERSION)};
    memcpy(w.at, head, sizeof(head));
    memcpy(fresh, path, len);
    memcpy(fresh + len, ".new", 5);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ok = fd >= 0 && write_all(fd, w.at, w.n * sizeof(uint64_t)) && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    if (ok && rename(fresh, path) != 0) {
        ok = false;
        why = errno;
    }
    if (!ok && fd >= 0)
        (void)unlink(fresh);
    free(w.at);
    free(fresh);
    errno = ok ? 0 : why;
    return ok ? KVI_FILE_OK : KVI_FILE_ERROR;
}

/* A record that lies inside the payload; its length in words, or 0. */
static size_t record_words(const uint64_t *r, size_t left) {
    if (left < RECORD)
        return 0;
    uint64_t n = r[0] & 0xFFFFFFFF, kind = r[0] >> 56, tier = r[0] >> 48 & 255;
    if (kind < KIND_EVENT || kind > KIND_SIZE || tier >= KVI_TIERS || n == 0 ||
        n > (left - RECORD) / 2)
        return 0;
    return RECORD + n * 2;
}

/* A head that fits to so many words. */
static bool is_snapshot(const uint64_t *w, size_t n) {
    return n >= HEAD && w[0] == MAGIC && w[1] >= FIRST_VERSION && w[1] <= VERSION &&
           w[2] == n - HEAD;
}

static bool is_whole(const uint64_t *w, size_t n) {
    if (w[3] != XXH3_64bits_withSeed(w + HEAD, (n - HEAD) * sizeof(*w), w[1]))
        return false;
    for (size_t at = HEAD; at < n;) {
        size_t k = record_words(w + at, n - at);
        if (k == 0)
            return false;
        at += k;
    }
    return true;
}

/* What the file says of its size, no more than a file of n words can need. */
static struct kvi_size size_in(const uint64_t *w, size_t n) {
    const uint64_t *r = w + HEAD;
    struct kvi_size none = {0, 0, 0}, is;
    if (record_words(r, n - HEAD) == 0 || r[0] >> 56 != KIND_SIZE)
        return none;
    size_t most = n * sizeof(*w) * MOST_TIMES;
    is = (struct kvi_size){r[1], r[2], r[3]};
    return is.names <= n && is.nodes <= n && is.bytes <= most ? is : none;
}

/* Makes memory ready while the file is checked and applied: the system clears it on another
 * processor. */
struct helper {
    struct kvi_index *index;
    pthread_t thread;
    sem_t work;
    atomic_bool done;
    bool runs;
};

static void *help(void *arg) {
    struct helper *h = arg;
    for (;;) {
        while (kvi_make_ready(h->index) && !atomic_load_explicit(&h->done, memory_order_relaxed))
            ;
        if (sem_wait(&h->work) != 0)
            continue;
        while (sem_trywait(&h->work) == 0) /* several turns at once */
            ;
        if (atomic_load_explicit(&h->done, memory_order_acquire)) /* pairs with end_help */
            return NULL;
    }
}

static void begin_help(struct helper *h, struct kvi_index *index, const struct kvi_size *size) {
    h->index = index;
    kvi_expect(index, size);
    (void)sem_init(&h->work, 0, 0);
    h->runs = pthread_create(&h->thread, NULL, help, h) == 0;
}

static void end_help(struct helper *h) {
    atomic_store_explicit(&h->done, true, memory_order_release); /* pairs with help */
    (void)sem_post(&h->work);
    if (h->runs)
        pthread_join(h->thread, NULL);
    (void)sem_destroy(&h->work);
    kvi_expect(h->index, &(struct kvi_size){0, 0, 0});
}

static bool flush(struct kvi_index *index, const struct kvi_event *events, size_t n) {
    enum kvi_result results[BATCH];
    bool ok = true;
    kvi_apply(index, events, n, results);
    for (size_t i = 0; i < n; i++)
        ok &= results[i] == KVI_OK;
    return ok;
}

static bool apply(struct helper *h, const uint64_t *w, size_t n,
                  void (*on_mark)(void *arg, const struct kvi_mark *mark), void *arg) {
    struct kvi_index *index = h->index;
    struct kvi_event events[BATCH];
    size_t held = 0, batches = 0;
    bool ok = true;
    for (size_t at = HEAD; at < n;) {
        const uint64_t *r = w + at;
        struct kvi_worker worker = {r[1], (uint32_t)r[2]};
        at += record_words(r, n - at);
        if (r[0] >> 56 == KIND_MARK && on_mark != NULL)
            on_mark(arg, &(struct kvi_mark){worker, r[3], r[4]});
        if (r[0] >> 56 != KIND_EVENT)
            continue;
        events[held++] =
            (struct kvi_event){.worker = worker,
                               .kind = KVI_STORED,
                               .tier = (enum kvi_tier)(r[0] >> 48 & 255),
                               .has_parent = (r[0] >> 40 & 1) != 0,
                               .parent_hash = r[3],
                               .blocks = (const struct kvi_block *)(const void *)(r + RECORD),
                               .n = (size_t)(r[0] & 0xFFFFFFFF)};
        if (held == BATCH) {
            ok &= flush(index, events, held);
            held = 0;
            if (++batches % TURN == 0)
                (void)sem_post(&h->work);
        }
    }
    return (held == 0 || flush(index, events, held)) && ok;
}

/* The words of a file that is no shorter than a head. */
static enum kvi_file_result read_words(struct kvi_index *index, const uint64_t *w, size_t n,
                                       void (*on_mark)(void *arg, const struct kvi_mark *mark),
                                       void *arg) {
    if (!is_snapshot(w, n))
        return KVI_FILE_CORRUPT;
    struct kvi_size size = size_in(w, n);
    struct helper h = {.runs = false};
    enum kvi_file_result result = KVI_FILE_CORRUPT;
    begin_help(&h, index, &size);
    if (is_whole(w, n)) {
        kvi_expect_names(index, &size);
        result = apply(&h, w, n, on_mark, arg) ? KVI_FILE_OK : KVI_FILE_CAPACITY;
    }
    end_help(&h);
    return result;
}

enum kvi_file_result kvi_snapshot_read(struct kvi_index *index, const char *path,
                                       void (*on_mark)(void *arg, const struct kvi_mark *mark),
                                       void *arg) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return KVI_FILE_ERROR;
    if (fstat(fd, &st) != 0) {
        close(fd);
        return KVI_FILE_ERROR;
    }
    size_t bytes = (size_t)st.st_size;
    if (bytes % sizeof(uint64_t) != 0 || bytes < HEAD * sizeof(uint64_t)) {
        close(fd);
        return KVI_FILE_CORRUPT;
    }
    uint64_t *w = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (w == MAP_FAILED)
        return KVI_FILE_ERROR;
    (void)madvise(w, bytes, MADV_SEQUENTIAL);
    enum kvi_file_result result = read_words(index, w, bytes / sizeof(*w), on_mark, arg);
    munmap(w, bytes);
    return result;
}
