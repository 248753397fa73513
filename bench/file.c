#include "bench/file.h"

#include <errno.h>
#include <stdio.h>

enum weir_status weir_file_read(const char *path, struct weir_buf *out, struct weir_err *err) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return weir_err_set(err, errno == ENOENT ? WEIR_NOT_FOUND : WEIR_IO, "%s: %s", path,
                            strerror(errno));
    enum { STEP = 1 << 18 };
    enum weir_status st = WEIR_OK;
    size_t got = 0;
    do {
        st = weir_buf_reserve(out, STEP);
        if (st != WEIR_OK)
            break;
        got = fread(out->data + out->len, 1, STEP, f);
        out->len += got;
    } while (got > 0);
    bool broken = ferror(f) != 0;
    fclose(f);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "%s: %s", path, weir_status_text(st));
    return broken ? weir_err_set(err, WEIR_IO, "%s: cannot be read", path) : WEIR_OK;
}

enum weir_status weir_file_write(const char *path, struct weir_span bytes, struct weir_err *err) {
    bool is_stdout = strcmp(path, "-") == 0;
    FILE *f = is_stdout ? stdout : fopen(path, "wb");
    if (f == NULL)
        return weir_err_set(err, WEIR_IO, "%s: %s", path, strerror(errno));
    bool good = fwrite(bytes.data, 1, bytes.len, f) == bytes.len;
    good = (is_stdout ? fflush(f) : fclose(f)) == 0 && good;
    return good ? WEIR_OK : weir_err_set(err, WEIR_IO, "%s: %s", path, strerror(errno));
}
