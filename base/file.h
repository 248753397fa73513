/*
 * Whole files in memory: configuration, certificates, model files. The only reader of files that
 * start-up has, so that a wrong path gives one kind of answer everywhere.
 */
#ifndef WEIR_BASE_FILE_H
#define WEIR_BASE_FILE_H

#include "base/buf.h"

enum weir_file_kind {
    WEIR_FILE_PLAIN, /* a regular file or a device; never waits: a pipe is refused, because a server
                        would wait for its writer before it can be told to stop */
    WEIR_FILE_ANY,   /* pipes too (a shell's <(…)); for commands that end */
};

/* Opens for reading, close-on-exec. Returns the descriptor, or -1 with *err: WEIR_NOT_FOUND, or
 * WEIR_IO for what cannot be read (a directory, no permission, a pipe that `kind` excludes). The
 * text is the path and the reason. Any thread. */
int weir_file_open(const char *path, enum weir_file_kind kind, struct weir_err *err);

/* Appends all of the file to `out`, whose maximum bounds it (WEIR_TOO_LARGE). On failure `out`
 * may hold a part. */
enum weir_status weir_file_read(const char *path, enum weir_file_kind kind, struct weir_buf *out,
                                struct weir_err *err) WEIR_MUST_CHECK;

#endif
