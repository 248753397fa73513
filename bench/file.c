#include "bench/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum weir_status weir_file_write(const char *path, struct weir_span bytes, struct weir_err *err) {
    bool is_stdout = strcmp(path, "-") == 0;
    FILE *f = is_stdout ? stdout : fopen(path, "wb");
    if (f == NULL)
        return weir_err_set(err, WEIR_IO, "%s: %s", path, strerror(errno));
    bool good = fwrite(bytes.data, 1, bytes.len, f) == bytes.len;
    good = (is_stdout ? fflush(f) : fclose(f)) == 0 && good;
    return good ? WEIR_OK : weir_err_set(err, WEIR_IO, "%s: %s", path, strerror(errno));
}
