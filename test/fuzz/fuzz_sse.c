/* Property: the incremental reader, fed in any pieces, gives what a naive reader makes of the
 * whole.
 */
#include "test/unit/http/sse_naive.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t step(void *arg) {
    uint32_t *s = arg;
    *s = *s * 1664525 + 1013904223;
    return (*s >> 16) % 9;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_buf want, got;
    weir_buf_init(&want, (size_t)1 << 30);
    weir_buf_init(&got, (size_t)1 << 30);
    struct weir_span text = weir_span((const char *)data, size);
    uint32_t seed = (uint32_t)size;
    for (size_t i = 0; i < size && i < 64; i++)
        seed = seed * 31 + data[i];
    sse_naive(text, &want);
    if (sse_pieces(text, (size_t)1 << 30, step, &seed, &got) != WEIR_OK ||
        !weir_span_eq(weir_buf_span(&want), weir_buf_span(&got)))
        abort();
    weir_buf_clear(&got);
    if (sse_pieces(text, 16, step, &seed, &got) == WEIR_OK &&
        !weir_span_eq(weir_buf_span(&want), weir_buf_span(&got)))
        abort();
    weir_buf_fini(&want);
    weir_buf_fini(&got);
    return 0;
}
