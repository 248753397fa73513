/*
 * The event plane: a ZMQ frame with its envelope, cache events, loads. Property: the events that
 * are delivered are written, and come back the same; what is read by comparing bytes, the general
 * readers read the same.
 */
#include "wire/kv_event_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void same(void *arg, const struct weir_kv_event *e) {
    const struct weir_kv_event *want = arg;
    must(e->worker_id == want->worker_id && e->dp_rank == want->dp_rank && e->kind == want->kind &&
         e->event_id == want->event_id && e->tier == want->tier);
    must(e->n_blocks == want->n_blocks && e->n_removed == want->n_removed);
    must(e->n_blocks == 0 ||
         memcmp(e->blocks, want->blocks, e->n_blocks * sizeof(*e->blocks)) == 0);
    must(e->n_removed == 0 || memcmp(e->removed, want->removed, e->n_removed * 8) == 0);
    must(e->kind != WEIR_KV_STORED || (e->has_parent == want->has_parent &&
                                       (!e->has_parent || e->parent_hash == want->parent_hash)));
}

static void on_event(void *arg, const struct weir_kv_event *e) {
    struct weir_buf out;
    struct weir_arena arena;
    struct weir_kv_event copy = *e;
    (void)arg;
    weir_buf_init(&out, 8 << 20);
    weir_arena_init(&arena, 8 << 20);
    if (weir_kv_events_encode(e, 1, &out) == WEIR_OK)
        must(weir_kv_events_decode(weir_buf_span(&out), &arena, same, &copy) == WEIR_OK);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
}

/* The first event of an array of one. */
static void usual(struct weir_span bytes) {
    struct weir_mp a, b;
    struct weir_arena arena;
    struct weir_kv_event is, want = {0};
    weir_arena_init(&arena, 8 << 20);
    weir_mp_init(&a, weir_span(bytes.data + 1, bytes.len - 1));
    b = a;
    if (weir_kv_event_usual(&a, &arena, &is)) {
        must(weir_kv_event_read(&b, &arena, &want) && a.pos == b.pos);
        same(&want, &is);
    }
    weir_arena_fini(&arena);
}

static void usual_envelope(struct weir_span bytes, struct weir_arena *arena) {
    struct weir_envelope is, want;
    if (!weir_envelope_usual(bytes, &is))
        return;
    must(weir_envelope_read(bytes, arena, &want) == WEIR_OK);
    must(is.publisher_id == want.publisher_id && is.sequence == want.sequence &&
         is.published_at_ms == want.published_at_ms && weir_span_eq(is.topic, want.topic) &&
         is.payload.data == want.payload.data && is.payload.len == want.payload.len);
}

static void payload(struct weir_span bytes) {
    struct weir_arena arena;
    struct weir_active_load load, again;
    struct weir_buf out;
    weir_arena_init(&arena, 4 << 20);
    weir_buf_init(&out, 4096);
    if (bytes.len > 0)
        usual(bytes);
    (void)!weir_kv_events_decode(bytes, &arena, on_event, NULL);
    if (weir_active_load_decode(bytes, &load) == WEIR_OK) {
        must(weir_active_load_encode(&load, &out) == WEIR_OK);
        must(weir_active_load_decode(weir_buf_span(&out), &again) == WEIR_OK);
        must(again.worker_id == load.worker_id && again.kv_used_blocks == load.kv_used_blocks);
    }
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_span bytes = weir_span((const char *)data, size);
    struct weir_arena arena;
    struct weir_envelope env;
    weir_arena_init(&arena, 4 << 20);
    if (weir_zmq_frame_decode(bytes, &arena, &env) == WEIR_OK)
        payload(env.payload);
    usual_envelope(bytes, &arena);
    if (size > 5)
        usual_envelope(weir_span(bytes.data + 5, bytes.len - 5), &arena);
    payload(bytes);
    weir_arena_fini(&arena);
    return 0;
}
