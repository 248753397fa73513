/* Server-sent events read from the whole text at once, as the standard words it; for comparison. */
#ifndef WEIR_TEST_SSE_NAIVE_H
#define WEIR_TEST_SSE_NAIVE_H

#include "net/sse.h"

/* Events as "event|data\x1e" one after the other. Aborts when out of memory. */
void sse_naive(struct weir_span text, struct weir_buf *out);
/* The same form from the reader under test, fed in pieces of at most `step(arg)` bytes. */
enum weir_status sse_pieces(struct weir_span text, size_t max_bytes, size_t (*step)(void *arg),
                            void *arg, struct weir_buf *out);

#endif
