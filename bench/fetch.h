/* One HTTP request, waited for: for start-up and tools. Not on a loop's thread. */
#ifndef WEIR_BENCH_FETCH_H
#define WEIR_BENCH_FETCH_H

#include "base/buf.h"
#include "net/http_client.h"

/* `body` NULL data: GET, else POST. Appends the answer's body. */
enum weir_status weir_fetch(const struct weir_http_client_config *server, const char *target,
                            const struct weir_http_header *headers, size_t n_headers,
                            struct weir_span body, uint64_t timeout_ms, int *ret_http_status,
                            struct weir_buf *out) WEIR_MUST_CHECK;

#endif
