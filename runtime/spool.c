#include "runtime/spool.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct weir_spool {
    int fd;
    uint64_t size;
};

static int open_file(void) {
    const char *tmp = getenv("TMPDIR");
    int fd = open(tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC,
                  S_IRUSR | S_IWUSR);
    return fd >= 0 ? fd : memfd_create("weir-spool", MFD_CLOEXEC);
}

enum weir_status weir_spool_create(struct weir_spool **ret_spool) {
    struct weir_spool *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->fd = open_file();
    if (s->fd < 0) {
        weir_free(s);
        return WEIR_IO;
    }
    *ret_spool = s;
    return WEIR_OK;
}

void weir_spool_destroy(struct weir_spool *spool) {
    if (spool == NULL)
        return;
    close(spool->fd);
    weir_free(spool);
}

enum weir_status weir_spool_replace(struct weir_spool *spool, uint64_t at, struct weir_span bytes) {
    for (size_t done = 0; done < bytes.len;) {
        ssize_t n = pwrite(spool->fd, bytes.data + done, bytes.len - done, (off_t)(at + done));
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return WEIR_IO;
        done += n > 0 ? (size_t)n : 0;
    }
    return WEIR_OK;
}

enum weir_status weir_spool_append(struct weir_spool *spool, struct weir_span bytes) {
    enum weir_status st = weir_spool_replace(spool, spool->size, bytes);
    if (st == WEIR_OK)
        spool->size += bytes.len;
    return st;
}

enum weir_status weir_spool_read(const struct weir_spool *spool, uint64_t at, char *room,
                                 size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(spool->fd, room + done, n - done, (off_t)(at + done));
        if (got <= 0 && !(got < 0 && errno == EINTR))
            return WEIR_IO;
        done += got > 0 ? (size_t)got : 0;
    }
    return WEIR_OK;
}

uint64_t weir_spool_size(const struct weir_spool *spool) {
    return spool->size;
}
