/* Messages between routers: any bytes; what was read is written and read again the same. */
#include "wire/sequence_event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static struct weir_buf out;
static uint32_t n_events;

static void count(void *arg, const struct weir_sequence_event *e) {
    (void)arg;
    must(e->n_hashes <= WEIR_SEQUENCE_HASHES_MAX);
    n_events++;
}

static void again(void *arg, const struct weir_sequence_event *e) {
    struct weir_arena arena;
    (void)arg;
    weir_buf_clear(&out);
    if (weir_sequence_event_encode(e, &out) != WEIR_OK)
        return; /* larger than the room here */
    weir_arena_init(&arena, 4 << 20);
    n_events = 0;
    must(weir_sequence_events_decode(weir_buf_span(&out), &arena, count, NULL) == WEIR_OK);
    must(n_events == 1);
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    weir_arena_init(&arena, 4 << 20);
    weir_buf_init(&out, 4 << 20);
    (void)!weir_sequence_events_decode(weir_span((const char *)data, size), &arena, again, NULL);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return 0;
}
