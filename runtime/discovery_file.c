/*
 * The file backend: one flat file a record, as the reference system lays it out (shared spec
 * "transport" 1.5). One inotify descriptor serves all buckets.
 *
 * Happy path: make the bucket folders, watch them, list them; then follow the events. Own files are
 * touched every third of the lease; every file older than the lease is removed, whoever wrote it.
 * Failure modes: an overflowed event queue leads to a full scan; an own file that somebody removed
 * is written again at the next touch; a folder that was removed or replaced is made and watched
 * again, also at the next touch; a record that cannot be read (no descriptor, an error of the disk
 * or of a network file system) stays as it was, and where the folder cannot nobody is taken for
 * gone: it is read at the next touch; a wall clock that jumps removes nothing, as it makes every
 * file look old. Changes that tell nobody (a network file system, no inotify to be had) are found
 * by what the folders list, at the next touch; without inotify that comes twice a second.
 */
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/discovery_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 4, DEFAULT_TTL_MS = 10000, MIN_TOUCH_MS = 20, LOOK_MS = 500 };

struct file_backend {
    char *root; /* owned */
    uint64_t ttl_ms;
    int fd;                   /* inotify; -1: there is none */
    int watch[BUCKETS];       /* -1: to be made again */
    struct stat id[BUCKETS];  /* device and inode of the folder that is watched */
    uint64_t listed[BUCKETS]; /* of what the folder listed when it was last read whole */
    bool anew[BUCKETS];       /* something could not be read: the next look reads it whole */
    int64_t clock_gap_ms;     /* wall clock less monotonic clock, at the last touch */
    struct weir_poll *poll;
    struct weir_timer timer;
};

/* PATH_MAX bounds every path; a record whose name does not fit is refused. */
static bool bucket_path(const struct file_backend *f, int bucket, const char *name,
                        char out[PATH_MAX]) {
    int n = snprintf(out, PATH_MAX, "%s/%s%s%s", f->root,
                     weir_record_bucket((enum weir_record_kind)bucket), name != NULL ? "/" : "",
                     name != NULL ? name : "");
    return n > 0 && n < PATH_MAX;
}

static enum weir_status make_folders(const char *path) {
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof(part))
        return WEIR_TOO_LARGE;
    for (size_t i = 1; i <= len; i++)
        if (path[i] == '/' || path[i] == '\0') {
            memcpy(part, path, i);
            part[i] = '\0';
            if (mkdir(part, 0777) != 0 && errno != EEXIST)
                return WEIR_IO;
        }
    return WEIR_OK;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Whether a failure tells of the file: it is not there, or no record of ours. Others tell of this
 * process (EMFILE, ENOMEM) or of the way there (EIO, ESTALE, ETIMEDOUT of a network file system).
 */
static bool tells(int why) {
    return why == ENOENT || why == ENOTDIR || why == ELOOP || why == EACCES || why == EPERM ||
           why == ENAMETOOLONG || why == ENXIO || why == EISDIR;
}

/* 0: json has the file. ENOENT: it is not there or no record. Else: what it says is not known. */
static int read_file(const char *path, struct weir_buf *json) {
    struct stat info;
    int why = ENOENT;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return tells(errno) ? ENOENT : errno;
    if (fstat(fd, &info) != 0) {
        why = errno;
    } else if (S_ISREG(info.st_mode) && info.st_size > 0 && info.st_size <= WEIR_RECORD_MAX_BYTES) {
        bool room = weir_buf_reserve(json, (size_t)info.st_size) == WEIR_OK;
        ssize_t n = room ? read(fd, json->data, (size_t)info.st_size) : -1;
        why = n > 0 ? 0 : n == 0 ? ENOENT : room ? errno : ENOMEM;
        json->len = n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return tells(why) ? ENOENT : why;
}

/* False: out of memory, so nobody knows which record it is. Of one that cannot be read what it said
 * before stays, and the next look reads it again. */
static bool read_record(struct weir_discovery *d, int bucket, const char *name) {
    struct file_backend *f = d->backend;
    const enum weir_record_kind kind = (enum weir_record_kind)bucket;
    char path[PATH_MAX];
    struct weir_buf key, json;
    if (strncmp(name, ".tmp_", 5) == 0 || !bucket_path(f, bucket, name, path))
        return true;
    weir_buf_init(&key, PATH_MAX);
    weir_buf_init(&json, WEIR_RECORD_MAX_BYTES);
    enum weir_status st = weir_file_name_decode(weir_span_z(name), &key);
    int why = st == WEIR_OK ? read_file(path, &json) : st == WEIR_NOMEM ? ENOMEM : ENOENT;
    if (why == 0)
        weir_discovery_put(d, kind, weir_buf_span(&key), weir_buf_span(&json));
    else if (why != ENOENT)
        weir_discovery_scan_keep(d, kind, weir_buf_span(&key));
    weir_buf_fini(&key);
    weir_buf_fini(&json);
    f->anew[bucket] = f->anew[bucket] || (why != 0 && why != ENOENT);
    return st != WEIR_NOMEM;
}

/* The name may be there again: the event is older than what is read now. */
static void forget_record(struct weir_discovery *d, int bucket, const char *name) {
    struct weir_buf key;
    char path[PATH_MAX];
    struct file_backend *f = d->backend;
    int why = !bucket_path(f, bucket, name, path) ? ENOENT : access(path, F_OK) == 0 ? 0 : errno;
    if (why == 0) {
        read_record(d, bucket, name);
        return;
    }
    if (!tells(why)) {
        f->anew[bucket] = true;
        return;
    }
    weir_buf_init(&key, PATH_MAX);
    if (weir_file_name_decode(weir_span_z(name), &key) == WEIR_OK)
        weir_discovery_delete(d, (enum weir_record_kind)bucket, weir_buf_span(&key));
    weir_buf_fini(&key);
}

static void scan_bucket(struct weir_discovery *d, int bucket) {
    struct file_backend *f = d->backend;
    char path[PATH_MAX];
    DIR *dir = bucket_path(f, bucket, NULL, path) ? opendir(path) : NULL;
    f->anew[bucket] = dir == NULL;
    if (dir == NULL)
        return;
    bool all = true;
    weir_discovery_scan_begin(d);
    struct dirent *e;
    while (errno = 0, (e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.')
            all = read_record(d, bucket, e->d_name) && all;
    if (errno != 0) { /* the listing broke off */
        all = false;
        f->anew[bucket] = true;
    }
    closedir(dir);
    if (all)
        weir_discovery_scan_end(d, (enum weir_record_kind)bucket);
}

static void on_event(struct weir_discovery *d, const struct inotify_event *e) {
    struct file_backend *f = d->backend;
    if ((e->mask & IN_Q_OVERFLOW) != 0) {
        for (int b = 0; b < BUCKETS; b++)
            scan_bucket(d, b);
        return;
    }
    for (int b = 0; b < BUCKETS; b++) {
        if (f->watch[b] == e->wd && (e->mask & IN_IGNORED) != 0)
            f->watch[b] = -1;
        if (f->watch[b] != e->wd || e->len == 0 || e->name[0] == '.')
            continue;
        if ((e->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
            forget_record(d, b, e->name);
        else
            read_record(d, b, e->name);
    }
}

static void on_readable(void *arg) {
    struct weir_discovery *d = arg;
    struct file_backend *f = d->backend;
    union {
        struct inotify_event align;
        char bytes[16384];
    } room;
    ssize_t n;
    while ((n = read(f->fd, room.bytes, sizeof(room.bytes))) > 0)
        for (char *p = room.bytes; p < room.bytes + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)p;
            on_event(d, e);
            p += sizeof(*e) + e->len;
        }
}

/* ---- own records and leases --------------------------------------------------------------- */

static bool own_path(const struct file_backend *f, const struct weir_discovery_own *own,
                     char out[PATH_MAX]) {
    struct weir_buf name;
    weir_buf_init(&name, NAME_MAX + 1);
    bool ok = weir_file_name_encode(weir_span_z(own->key), &name) == WEIR_OK &&
              weir_buf_append_c(&name, '\0') == WEIR_OK &&
              bucket_path(f, (int)own->kind, name.data, out);
    weir_buf_fini(&name);
    return ok;
}

/* WEIR_IO: errno says why. Readers open a file as soon as its name exists, so it must be whole by
 * then: a temporary file is linked to the name. */
static enum weir_status write_own(struct weir_discovery *d, const struct weir_discovery_own *own) {
    struct file_backend *f = d->backend;
    char path[PATH_MAX], temp[PATH_MAX], name[32];
    snprintf(name, sizeof(name), ".tmp_%016" PRIx64, weir_rng_u64(weir_loop_rng(d->loop)));
    if (!own_path(f, own, path) || !bucket_path(f, (int)own->kind, name, temp))
        return WEIR_TOO_LARGE;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return WEIR_IO;
    size_t len = strlen(own->json);
    ssize_t n = write(fd, own->json, len);
    enum weir_status st = n == (ssize_t)len ? WEIR_OK : WEIR_IO;
    int why = n >= 0 ? ENOSPC : errno; /* a short write: the disk is full */
    close(fd);
    if (st == WEIR_OK && link(temp, path) != 0) {
        why = errno;
        st = why == EEXIST ? WEIR_EXISTS : WEIR_IO;
    }
    unlink(temp);
    errno = why;
    return st;
}

static enum weir_status file_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                     struct weir_err *err) {
    const struct file_backend *f = disc->backend;
    const char *bucket = weir_record_bucket(own->kind);
    enum weir_status st = write_own(disc, own);
    if (st == WEIR_IO)
        return weir_err_set(err, st, "cannot write the record %s/%s into %s: %s", bucket, own->key,
                            f->root, strerror(errno));
    return st == WEIR_OK ? st
                         : weir_err_set(err, st, "cannot write the record %s/%s: %s", bucket,
                                        own->key, weir_status_text(st));
}

static void file_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own) {
    char path[PATH_MAX];
    if (own_path(disc->backend, own, path))
        unlink(path);
}

static void touch_own(struct weir_discovery *d) {
    WEIR_LIST_FOREACH(it, &d->owns) {
        struct weir_discovery_own *own = WEIR_CONTAINER_OF(it, struct weir_discovery_own, node);
        char path[PATH_MAX];
        if (!own_path(d->backend, own, path) || utimensat(AT_FDCWD, path, NULL, 0) == 0)
            continue;
        int why = errno;
        enum weir_status st = why == ENOENT ? write_own(d, own) : WEIR_IO;
        if (st == WEIR_OK)
            WEIR_LOG(WEIR_LOG_WARN, "discovery", "own record %s was removed; it is written again",
                     own->key);
        else if (st == WEIR_IO)
            WEIR_LOG(WEIR_LOG_WARN, "discovery",
                     "own record %s cannot be kept alive: %s; others forget this process", own->key,
                     strerror(why == ENOENT ? errno : why));
    }
}

/* What a listing is compared by: a record that is written anew is another file. The order does not
 * matter. */
static uint64_t listing_part(const char *name, const struct stat *info) {
    uint64_t h = weir_hash_word(WEIR_HASH_BEGIN, (uint64_t)info->st_ino);
    h = weir_hash_word(h, (uint64_t)info->st_size);
    h = weir_hash_bytes(h, name, strlen(name));
    return h ^ h >> 29;
}

/* Removes stale files, where they may be, and reads the folder whole if it lists other files. */
static void look_at(struct weir_discovery *d, int bucket, bool remove) {
    struct file_backend *f = d->backend;
    uint64_t listed = 0;
    char path[PATH_MAX];
    DIR *dir = bucket_path(f, bucket, NULL, path) ? opendir(path) : NULL;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct stat info;
        if (fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        int64_t age_ms = (now.tv_sec - info.st_mtim.tv_sec) * 1000 +
                         (now.tv_nsec - info.st_mtim.tv_nsec) / 1000000;
        if (remove && age_ms > (int64_t)f->ttl_ms)
            unlinkat(dirfd(dir), e->d_name, 0);
        else if (e->d_name[0] != '.')
            listed += listing_part(e->d_name, &info);
    }
    if (dir != NULL)
        closedir(dir);
    if (dir != NULL && (listed != f->listed[bucket] || f->anew[bucket])) {
        f->listed[bucket] = listed;
        scan_bucket(d, bucket);
    }
}

/* A step of the wall clock, or a sleep of the machine: others must get the time to touch theirs. */
static bool clock_jumped(struct file_backend *f) {
    int64_t gap = (int64_t)weir_wall_ms() - (int64_t)(weir_now_ns() / 1000000u);
    int64_t jump = gap - f->clock_gap_ms;
    f->clock_gap_ms = gap;
    return jump > (int64_t)f->ttl_ms / 3;
}

static enum weir_status watch_bucket(struct weir_discovery *d, int bucket, struct weir_err *err) {
    struct file_backend *f = d->backend;
    const uint32_t mask =
        IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR;
    char path[PATH_MAX];
    if (!bucket_path(f, bucket, NULL, path))
        return weir_err_set(err, WEIR_TOO_LARGE, "the path of the folder is too long");
    enum weir_status st = make_folders(path);
    if (st != WEIR_OK)
        return weir_err_set(err, st,
                            "cannot make the folder %s: %s; DYN_FILE_KV names the one above v1",
                            path, strerror(errno));
    f->watch[bucket] = f->fd >= 0 ? inotify_add_watch(f->fd, path, mask) : 0;
    if (f->watch[bucket] < 0 || stat(path, &f->id[bucket]) != 0)
        return weir_err_set(err, WEIR_IO, "cannot watch the folder %s: %s", path, strerror(errno));
    return WEIR_OK;
}

static void check_bucket(struct weir_discovery *d, int bucket) {
    static struct weir_log_limit limit;
    struct file_backend *f = d->backend;
    struct stat now;
    struct weir_err err;
    uint32_t dropped;
    char path[PATH_MAX];
    bool same = bucket_path(f, bucket, NULL, path) && f->watch[bucket] >= 0 &&
                stat(path, &now) == 0 && now.st_ino == f->id[bucket].st_ino &&
                now.st_dev == f->id[bucket].st_dev;
    if (same)
        return;
    if (f->watch[bucket] >= 0 && f->fd >= 0)
        inotify_rm_watch(f->fd, f->watch[bucket]);
    f->watch[bucket] = -1;
    if (watch_bucket(d, bucket, &err) != WEIR_OK) {
        if (weir_log_limit_ok(&limit, 1, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "discovery", "%s", err.text);
        return;
    }
    WEIR_LOG(WEIR_LOG_WARN, "discovery", "the folder %s was replaced; it is read again", path);
    scan_bucket(d, bucket);
}

static void on_timer(void *arg) {
    struct weir_discovery *d = arg;
    struct file_backend *f = d->backend;
    for (int b = 0; b < BUCKETS; b++)
        check_bucket(d, b);
    touch_own(d);
    bool jumped = clock_jumped(f);
    for (int b = 0; b < BUCKETS; b++)
        look_at(d, b, !jumped);
    uint64_t every = f->ttl_ms / 3;
    if (f->fd < 0 && every > LOOK_MS)
        every = LOOK_MS;
    if (weir_timer_start(&f->timer, every > MIN_TOUCH_MS ? every : MIN_TOUCH_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "discovery",
                 "out of memory: the records of this process will expire");
}

static void file_close(struct weir_discovery *disc) {
    struct file_backend *f = disc->backend;
    if (f == NULL)
        return;
    weir_timer_stop(&f->timer);
    weir_poll_close(f->poll);
    if (f->fd >= 0)
        close(f->fd);
    weir_free(f->root);
    weir_free(f);
    disc->backend = NULL;
}

static char *default_root(void) {
    const char *root = getenv("DYN_FILE_KV"), *tmp = getenv("TMPDIR");
    char path[PATH_MAX];
    if (root != NULL && *root != '\0')
        return weir_strdup(root);
    snprintf(path, sizeof(path), "%s/dynamo_store_kv", tmp != NULL && *tmp != '\0' ? tmp : "/tmp");
    return weir_strdup(path);
}

enum weir_status weir_discovery_file_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) {
    static const struct weir_discovery_backend_ops ops = {file_publish, file_unpublish, file_close,
                                                          NULL, NULL};
    struct file_backend *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    disc->ops = &ops;
    disc->backend = f;
    f->ttl_ms = config->ttl_ms > 0 ? config->ttl_ms : DEFAULT_TTL_MS;
    f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->fd < 0)
        WEIR_LOG(WEIR_LOG_WARN, "discovery",
                 "cannot watch files: %s (the sysctl fs.inotify.max_user_instances may be too "
                 "small); the folders are looked at every %d ms instead",
                 strerror(errno), LOOK_MS);
    weir_timer_init(&f->timer, disc->loop, on_timer, disc);
    f->root = config->file_root != NULL ? weir_strdup(config->file_root) : default_root();
    if (f->root == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    enum weir_status st = WEIR_OK;
    for (int b = 0; b < BUCKETS && st == WEIR_OK; b++)
        st = watch_bucket(disc, b, err);
    if (st != WEIR_OK)
        return st;
    clock_jumped(f);
    if (f->fd >= 0)
        st = weir_poll_open(disc->loop, f->fd, on_readable, disc, &f->poll);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot watch files: %s", weir_status_text(st));
    WEIR_LOG(WEIR_LOG_INFO, "discovery", "processes meet in the folder %s (DYN_FILE_KV)", f->root);
    on_timer(disc); /* reads all; stale files of dead processes are not listed */
    return WEIR_OK;
}
