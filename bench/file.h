/* Whole files in and out, for start-up and reports. Threads: any. */
#ifndef WEIR_BENCH_FILE_H
#define WEIR_BENCH_FILE_H

#include "base/buf.h"

/* Appends the file's bytes; errors name the path. */
enum weir_status weir_file_read(const char *path, struct weir_buf *out,
                                struct weir_err *err) WEIR_MUST_CHECK;
/* Writes to a file of that name, or to standard output for "-". */
enum weir_status weir_file_write(const char *path, struct weir_span bytes,
                                 struct weir_err *err) WEIR_MUST_CHECK;

#endif
