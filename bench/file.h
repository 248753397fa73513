/* Reports out; reading is base/file.h's. Threads: any. */
#ifndef WEIR_BENCH_FILE_H
#define WEIR_BENCH_FILE_H

#include "base/buf.h"

/* Writes to a file of that name, or to standard output for "-". */
enum weir_status weir_file_write(const char *path, struct weir_span bytes,
                                 struct weir_err *err) WEIR_MUST_CHECK;

#endif
