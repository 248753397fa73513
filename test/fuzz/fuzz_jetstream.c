/*
 * Answers of JetStream, records of its object store, and the subjects of acknowledgements.
 * Property: a record that is read, written and read again is the same; data of a message, sent
 * again in an answer of our own, comes back.
 */
#include "wire/jetstream.h"

#include "base/base64.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void check_object(struct weir_span in, struct weir_arena *arena) {
    struct weir_js_object o, again;
    struct weir_buf out;
    if (weir_js_object_decode(in, arena, &o) != WEIR_OK || o.digest.len == 0)
        return;
    weir_buf_init(&out, 8 << 20);
    must(weir_js_object_encode(&o, &out) == WEIR_OK);
    must(weir_js_object_decode(weir_buf_span(&out), arena, &again) == WEIR_OK);
    must(weir_span_eq(o.name, again.name) && weir_span_eq(o.nuid, again.nuid) &&
         weir_span_eq(o.digest, again.digest) && o.size == again.size && o.chunks == again.chunks);
    weir_buf_fini(&out);
}

static void check_answer(struct weir_span in, struct weir_arena *arena) {
    struct weir_js_answer a, again;
    struct weir_buf out;
    if (weir_js_answer_decode(in, arena, &a) != WEIR_OK || a.data.len == 0)
        return;
    weir_buf_init(&out, 8 << 20);
    must(weir_buf_append_z(&out, "{\"message\":{\"data\":\"") == WEIR_OK &&
         weir_base64_encode(a.data, &out) == WEIR_OK && weir_buf_append_z(&out, "\"}}") == WEIR_OK);
    must(weir_js_answer_decode(weir_buf_span(&out), arena, &again) == WEIR_OK);
    must(weir_span_eq(a.data, again.data));
    weir_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_span in = weir_span((const char *)data, size);
    struct weir_arena arena;
    uint64_t seq = 0, delivery = 0;
    weir_arena_init(&arena, 8 << 20);
    check_answer(in, &arena);
    check_object(in, &arena);
    must(!weir_js_delivery(in, &seq, &delivery) || (seq > 0 && delivery > 0));
    weir_arena_fini(&arena);
    return 0;
}
