/*
 * A file by its URL, for threads that may wait; never on a loop that serves. http and https,
 * redirects followed, into a file that is there whole or not at all. Threads: any, one call each.
 */
#ifndef WEIR_RUNTIME_FILE_FETCH_H
#define WEIR_RUNTIME_FILE_FETCH_H

#include "base/span.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdint.h>

struct weir_file_fetch_config {
    const char *url;
    const char *token;       /* bearer token for the URL's own origin, never for another, blanks
                                around it aside; or NULL */
    const char *into;        /* path of the file, made or replaced */
    uint64_t max_bytes;      /* more is WEIR_TOO_LARGE */
    uint64_t stall_ms;       /* without a byte for so long: WEIR_TIMEOUT; 0 = 15,000 */
    const atomic_bool *stop; /* looked at ten times a second; true: WEIR_CANCELLED. Or NULL */
};

/* WEIR_INVALID: not such a URL, or a redirect that may not be followed (from https to http, more
 * than five). WEIR_NOT_FOUND: the server has no such file or does not give it (4xx). WEIR_IO: the
 * file cannot be written. Others may go over by themselves: WEIR_CANNOT_CONNECT,
 * WEIR_DISCONNECTED, WEIR_TIMEOUT, WEIR_UNAVAILABLE (5xx, 408, 429), WEIR_PROTOCOL, WEIR_TLS. */
enum weir_status weir_file_fetch(const struct weir_file_fetch_config *config,
                                 struct weir_err *err) WEIR_MUST_CHECK;

#endif
