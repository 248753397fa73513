/*
 * Snapshots of an index, read in one piece and in three. Property: what can be read is written, and
 * the events come back the same, but for media, which we do not write.
 */
#include "test/radix_whole.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void put(void *arg, const struct weir_kv_event *event) {
    weir_radix_put(arg, event);
}

static uint64_t copy(struct weir_span in, size_t piece, struct weir_arena *arena,
                     struct weir_buf *out) {
    struct weir_radix_writer w;
    uint64_t n = UINT64_MAX;
    weir_radix_begin(&w, out);
    if (radix_whole(in, piece, arena, put, &w, &n) != WEIR_OK)
        return UINT64_MAX;
    must(radix_written(&w) == WEIR_OK && w.n == n);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_buf once, twice;
    weir_arena_init(&arena, 64 << 20);
    weir_buf_init(&once, 64 << 20);
    weir_buf_init(&twice, 64 << 20);
    uint64_t n = copy(weir_span((const char *)data, size), 1 + size / 3, &arena, &once);
    if (n != UINT64_MAX) {
        must(copy(weir_buf_span(&once), size, &arena, &twice) == n);
        must(weir_span_eq(weir_buf_span(&once), weir_buf_span(&twice)));
    }
    weir_buf_fini(&once);
    weir_buf_fini(&twice);
    weir_arena_fini(&arena);
    return 0;
}
