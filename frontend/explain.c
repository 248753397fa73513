/*
 * Ring: lines in order of time, the oldest leaves when a new one needs its place or its bytes. Log:
 * producers append to one buffer, the writer swaps it for an empty one and writes without the lock.
 * Failure modes: a full disk or a slow one costs records, never a request.
 */
#include "frontend/explain.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ID_BYTES = 40, RING_BYTES = 64 << 20, LOG_BYTES = 16 << 20 };

struct entry {
    char id[ID_BYTES];
    size_t id_len;
    char *line; /* owned */
    size_t len;
};

struct weir_explain {
    pthread_mutex_t lock;
    pthread_cond_t more; /* the log has something to write, or shall end */
    struct entry *ring;  /* owned, cap entries */
    size_t cap, first, n, bytes;
    int fd; /* -1: no log */
    pthread_t writer;
    bool ending;
    struct weir_buf pending, writing; /* the latter: the writer's alone */
    bool failing;                     /* of the last write; the writer's alone */
    uint64_t dropped;                 /* lines */
};

/* ---- log ------------------------------------------------------------------------------------- */

static uint64_t lines_in(const char *data, size_t len) {
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += data[i] == '\n';
    return n;
}

/* A line that was written in part would be glued to the next one that fits. */
static void take_back_cut_line(struct weir_explain *e, size_t written) {
    size_t whole = written;
    struct stat s;
    while (whole > 0 && e->writing.data[whole - 1] != '\n')
        whole--;
    off_t cut = (off_t)(written - whole);
    if (cut > 0 && fstat(e->fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size >= cut &&
        ftruncate(e->fd, s.st_size - cut) != 0)
        WEIR_LOG(WEIR_LOG_ERROR, "router", "decision log: its last line is cut short: %s",
                 strerror(errno));
}

static void write_failed(struct weir_explain *e, size_t written) {
    uint64_t lost = lines_in(e->writing.data + written, e->writing.len - written);
    if (!e->failing)
        WEIR_LOG(WEIR_LOG_ERROR, "router",
                 "decision log: %s; decisions are left out until there is room "
                 "(weir_router_decisions_dropped_total)",
                 strerror(errno));
    e->failing = true;
    take_back_cut_line(e, written);
    pthread_mutex_lock(&e->lock);
    e->dropped += lost;
    pthread_mutex_unlock(&e->lock);
}

static void write_all(struct weir_explain *e) {
    size_t at = 0;
    while (at < e->writing.len) {
        ssize_t n = write(e->fd, e->writing.data + at, e->writing.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            write_failed(e, at);
            break;
        }
        at += (size_t)n;
    }
    if (at == e->writing.len && e->failing) {
        e->failing = false;
        WEIR_LOG(WEIR_LOG_INFO, "router", "decision log: there is room again");
    }
    weir_buf_clear(&e->writing);
}

static void *run_writer(void *arg) {
    struct weir_explain *e = arg;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (e->pending.len == 0 && !e->ending)
            pthread_cond_wait(&e->more, &e->lock);
        if (e->pending.len == 0)
            break;
        struct weir_buf full = e->pending;
        e->pending = e->writing;
        e->writing = full;
        pthread_mutex_unlock(&e->lock);
        write_all(e);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void log_line(struct weir_explain *e, struct weir_span line) {
    if (weir_buf_reserve(&e->pending, line.len + 1) != WEIR_OK ||
        weir_buf_append_span(&e->pending, line) != WEIR_OK ||
        weir_buf_append_c(&e->pending, '\n') != WEIR_OK) {
        if (e->dropped++ == 0)
            WEIR_LOG(WEIR_LOG_WARN, "router",
                     "decision log: the file takes less than is decided; decisions are dropped");
        return;
    }
    pthread_cond_signal(&e->more);
}

/* ---- ring ------------------------------------------------------------------------------------ */

static void drop_oldest(struct weir_explain *e) {
    struct entry *old = &e->ring[e->first];
    e->bytes -= old->len;
    weir_free(old->line);
    *old = (struct entry){.line = NULL};
    e->first = (e->first + 1) % e->cap;
    e->n--;
}

/* Out of memory: this decision is not kept. */
static void keep(struct weir_explain *e, struct weir_span id, struct weir_span line) {
    if (id.len > ID_BYTES || line.len > RING_BYTES)
        return;
    while (e->n == e->cap || (e->n > 0 && e->bytes + line.len > RING_BYTES))
        drop_oldest(e);
    struct entry *x = &e->ring[(e->first + e->n) % e->cap];
    x->line = weir_strndup(line.data, line.len);
    if (x->line == NULL)
        return;
    memcpy(x->id, id.data, id.len);
    x->id_len = id.len;
    x->len = line.len;
    e->bytes += line.len;
    e->n++;
}

enum weir_status weir_explain_find(struct weir_explain *e, struct weir_span id,
                                   struct weir_buf *out, bool *ret_found) {
    enum weir_status st = weir_buf_append_c(out, '[');
    bool found = false;
    pthread_mutex_lock(&e->lock);
    for (size_t i = 0; i < e->n && st == WEIR_OK; i++) {
        const struct entry *x = &e->ring[(e->first + i) % e->cap];
        if (!weir_span_eq(weir_span(x->id, x->id_len), id))
            continue;
        if (found)
            st = weir_buf_append_c(out, ',');
        if (st == WEIR_OK)
            st = weir_buf_append(out, x->line, x->len);
        found = true;
    }
    pthread_mutex_unlock(&e->lock);
    if (st == WEIR_OK)
        st = weir_buf_append_c(out, ']');
    if (st == WEIR_OK)
        *ret_found = found;
    return st;
}

/* ---- both ------------------------------------------------------------------------------------ */

void weir_explain_put(struct weir_explain *e, struct weir_span id, struct weir_span line) {
    pthread_mutex_lock(&e->lock);
    if (e->cap > 0)
        keep(e, id, line);
    if (e->fd >= 0)
        log_line(e, line);
    pthread_mutex_unlock(&e->lock);
}

bool weir_explain_has_ring(const struct weir_explain *e) {
    return e != NULL && e->cap > 0;
}

uint64_t weir_explain_dropped(struct weir_explain *e) {
    pthread_mutex_lock(&e->lock);
    uint64_t n = e->dropped;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static enum weir_status open_log(struct weir_explain *e, const char *path, struct weir_err *err) {
    e->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (e->fd < 0)
        return weir_err_set(err, WEIR_IO, "--decision-log %s: %s", path, strerror(errno));
    weir_buf_init(&e->pending, LOG_BYTES);
    weir_buf_init(&e->writing, LOG_BYTES);
    if (pthread_create(&e->writer, NULL, run_writer, e) != 0) {
        close(e->fd);
        e->fd = -1;
        return weir_err_set(err, WEIR_LIMIT, "--decision-log: cannot start its thread");
    }
    return WEIR_OK;
}

enum weir_status weir_explain_open(const struct weir_explain_config *config,
                                   struct weir_explain **ret, struct weir_err *err) {
    *ret = NULL;
    if (config->ring == 0 && config->log_path == NULL)
        return WEIR_OK;
    struct weir_explain *e = weir_calloc(1, sizeof(*e));
    if (e == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    e->fd = -1;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->more, NULL);
    enum weir_status st = WEIR_OK;
    if (config->ring > 0) {
        e->ring = weir_calloc(config->ring, sizeof(*e->ring));
        e->cap = e->ring != NULL ? config->ring : 0;
        if (e->ring == NULL)
            st = weir_err_set(err, WEIR_NOMEM, "--router-explain-ring: out of memory");
    }
    if (st == WEIR_OK && config->log_path != NULL)
        st = open_log(e, config->log_path, err);
    if (st != WEIR_OK) {
        weir_explain_close(e);
        return st;
    }
    *ret = e;
    return WEIR_OK;
}

void weir_explain_close(struct weir_explain *e) {
    if (e == NULL)
        return;
    if (e->fd >= 0) {
        pthread_mutex_lock(&e->lock);
        e->ending = true;
        pthread_cond_signal(&e->more);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->writer, NULL);
        close(e->fd);
        weir_buf_fini(&e->pending);
        weir_buf_fini(&e->writing);
    }
    if (e->dropped > 0)
        WEIR_LOG(WEIR_LOG_WARN, "router", "decision log: %llu decisions are not in it",
                 (unsigned long long)e->dropped);
    while (e->n > 0)
        drop_oldest(e);
    weir_free(e->ring);
    pthread_cond_destroy(&e->more);
    pthread_mutex_destroy(&e->lock);
    weir_free(e);
}
