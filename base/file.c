#include "base/file.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP = 1 << 16 }; /* bytes of a read at least, where the size is not known */

static int refuse(int fd, struct weir_err *err, const char *path, const char *reason) {
    if (fd >= 0)
        close(fd);
    weir_err_set(err, WEIR_IO, "%.*s: %s", WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)), reason);
    return -1;
}

int weir_file_open(const char *path, enum weir_file_kind kind, struct weir_err *err) {
    struct stat s;
    /* Without O_NONBLOCK the open of a named pipe waits for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | (kind == WEIR_FILE_PLAIN ? O_NONBLOCK : 0));
    if (fd < 0) {
        bool none = errno == ENOENT || errno == ENOTDIR;
        weir_err_set(err, none ? WEIR_NOT_FOUND : WEIR_IO, "%.*s: %s",
                     WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)), strerror(errno));
        return -1;
    }
    if (fstat(fd, &s) != 0)
        return refuse(fd, err, path, strerror(errno));
    if (S_ISDIR(s.st_mode))
        return refuse(fd, err, path, strerror(EISDIR));
    if (kind == WEIR_FILE_PLAIN && (S_ISFIFO(s.st_mode) || S_ISSOCK(s.st_mode)))
        return refuse(fd, err, path, "a pipe or socket; give a file");
    return fd;
}

enum weir_status weir_file_read(const char *path, enum weir_file_kind kind, struct weir_buf *out,
                                struct weir_err *err) {
    struct stat s;
    int fd = weir_file_open(path, kind, err);
    if (fd < 0)
        return err != NULL ? err->status : WEIR_IO;
    size_t step = fstat(fd, &s) == 0 && s.st_size >= STEP ? (size_t)s.st_size + 1 : STEP;
    enum weir_status st = WEIR_OK;
    ssize_t n = 1;
    int why = 0;
    while (st == WEIR_OK && n > 0) {
        char more; /* at the maximum: is it the end? */
        size_t left = out->max - out->len;
        st = left > 0 ? weir_buf_reserve(out, left < step ? left : step) : WEIR_OK;
        if (st != WEIR_OK)
            break;
        do
            n = left > 0 ? read(fd, out->data + out->len, out->cap - out->len) : read(fd, &more, 1);
        while (n < 0 && errno == EINTR);
        why = errno;
        if (n > 0 && left == 0)
            st = WEIR_TOO_LARGE;
        else if (n > 0)
            out->len += (size_t)n;
        step = STEP;
    }
    close(fd);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "%.*s: %s", WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)),
                            weir_status_text(st));
    return n < 0 ? weir_err_set(err, WEIR_IO, "%.*s: %s", WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)),
                                strerror(why))
                 : WEIR_OK;
}
