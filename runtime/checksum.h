/* Checksums of model files, as model cards write them. Reads files: not on a loop. Threads: any. */
#ifndef WEIR_RUNTIME_CHECKSUM_H
#define WEIR_RUNTIME_CHECKSUM_H

#include "base/span.h"
#include "base/status.h"

enum { WEIR_CHECKSUM_BYTES = 72 };

/* "blake3:" and 64 hexadecimal digits. WEIR_NOT_FOUND: cannot be opened; WEIR_IO: breaks off. */
enum weir_status weir_checksum_file(const char *path,
                                    char ret_text[WEIR_CHECKSUM_BYTES]) WEIR_MUST_CHECK;

#endif
