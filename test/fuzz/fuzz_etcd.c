/*
 * Answers of etcd. Property: what is told lies inside its bounds; the bytes that were told, sent
 * back as a range of an answer of our own, are told again.
 */
#include "wire/etcd.h"

#include "base/base64.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void on_again(void *arg, const struct weir_etcd_answer *answer,
                     const struct weir_etcd_kv *kv) {
    const struct weir_etcd_kv *want = arg;
    (void)answer;
    must(weir_span_eq(kv->key, want->key) && weir_span_eq(kv->value, want->value));
}

static void on_kv(void *arg, const struct weir_etcd_answer *answer, const struct weir_etcd_kv *kv) {
    struct weir_arena arena;
    struct weir_buf json;
    struct weir_etcd_answer again;
    (void)arg;
    must(strlen(answer->text) < WEIR_ETCD_MAX_TEXT && kv->key.len > 0);
    if (kv->value.data == NULL)
        return;
    weir_arena_init(&arena, 4 << 20);
    weir_buf_init(&json, 4 << 20);
    must(weir_buf_append_z(&json, "{\"kvs\":[{\"key\":\"") == WEIR_OK &&
         weir_base64_encode(kv->key, &json) == WEIR_OK &&
         weir_buf_append_z(&json, "\",\"value\":\"") == WEIR_OK &&
         weir_base64_encode(kv->value, &json) == WEIR_OK &&
         weir_buf_append_z(&json, "\"}]}") == WEIR_OK);
    must(weir_etcd_decode(weir_buf_span(&json), &arena, on_again, (void *)kv, &again) == WEIR_OK);
    weir_buf_fini(&json);
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_etcd_answer answer;
    weir_arena_init(&arena, 64 << 10);
    enum weir_status st =
        weir_etcd_decode(weir_span((const char *)data, size), &arena, on_kv, NULL, &answer);
    must(answer.token.len <= size);
    (void)weir_etcd_fault(size % 2 == 0 ? 200 : 503, st == WEIR_OK ? &answer : NULL);
    weir_arena_fini(&arena);
    return 0;
}
