/* Dumps with tokens: the hashes are the index's own, and it is told who made them. */
#include "indexer/tokens.h"

#include "test/check.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>

#define TOKENS                                                                                     \
    "{\"key\":\"m\",\"block_size\":2,\"event\":{\"type\":\"BlockStored\",\"worker_id\":3,"         \
    "\"block_hashes\":[7,8],\"parent_block_hash\":null,\"token_ids\":[1,2,3,4]}}\n"
#define ESCAPED                                                                                    \
    "{\"key\":\"m\",\"block_size\":2,\"event\":{\"type\":\"BlockStored\",\"worker_id\":3,"         \
    "\"block_hashes\":[7,8],\"parent_block_hash\":null,\"token\\u005fids\":[1,2,3,4]}}\n"
#define NO_BLOCKS                                                                                  \
    "{\"key\":\"m\",\"block_size\":2,\"event\":{\"type\":\"BlockStored\",\"worker_id\":3,"         \
    "\"block_hashes\":[],\"parent_block_hash\":null,\"token_ids\":[]}}\n"
#define ELSEWHERE                                                                                  \
    "{\"key\":\"token_ids\",\"block_size\":2,\"event\":{\"note\":\"\\\"token_ids\\\"\"}}\n"

static enum weir_hashed_by hash(struct weir_device *device, const char *dump,
                                struct weir_buf *out) {
    static const _Atomic bool gone = false;
    struct weir_err err;
    enum weir_hashed_by by;
    CHECK(weir_tokens_in(weir_span(dump, strlen(dump))));
    CHECK_MSG(weir_tokens_hash(device, weir_span(dump, strlen(dump)), &gone, out, &by, &err) ==
                  WEIR_OK,
              "%s", err.text);
    return by;
}

static void case_nobody_waits(void) {
    static const _Atomic bool gone = true;
    struct weir_err err;
    enum weir_hashed_by by;
    struct weir_buf out = {.max = 4096};
    CHECK(weir_tokens_hash(NULL, weir_span_z(TOKENS), &gone, &out, &by, &err) == WEIR_CANCELLED);
    CHECK_EQ_U64(out.len, 0);
    weir_buf_fini(&out);
}

/* Set while records are hashed, as many as that. */
static _Atomic bool left_meanwhile;
static unsigned leaves_at, n_hashed;

size_t __real_kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                              uint64_t seed, bool eagle, uint64_t *ret_hashes, size_t room);
size_t __wrap_kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                              uint64_t seed, bool eagle, uint64_t *ret_hashes, size_t room);
size_t __wrap_kvi_hash_blocks(const uint32_t *tokens, size_t n_tokens, uint32_t block_size,
                              uint64_t seed, bool eagle, uint64_t *ret_hashes, size_t room) {
    if (++n_hashed == leaves_at)
        left_meanwhile = true;
    return __real_kvi_hash_blocks(tokens, n_tokens, block_size, seed, eagle, ret_hashes, room);
}

/* Whoever leaves, or a process that ends, waits for the record at work. (Failed before: for all
 * that there were of its block size, seconds for a dump of some hundred MiB.) */
static void case_nobody_waits_any_more(void) {
    struct weir_err err;
    enum weir_hashed_by by;
    struct weir_buf dump = {.max = 1 << 20}, out = {.max = 1 << 20};
    for (int i = 0; i < 1000; i++)
        CHECK(weir_buf_append_z(&dump, TOKENS) == WEIR_OK);
    n_hashed = 0;
    leaves_at = 7;
    CHECK(weir_tokens_hash(NULL, weir_buf_span(&dump), &left_meanwhile, &out, &by, &err) ==
          WEIR_CANCELLED);
    CHECK_EQ_U64(n_hashed, 7);
    CHECK_EQ_U64(out.len, 0);
    leaves_at = 0;
    weir_buf_fini(&dump);
    weir_buf_fini(&out);
}

static void case_the_hashes(void) {
    static const uint32_t tokens[] = {1, 2, 3, 4};
    uint64_t want[2];
    char text[64];
    struct weir_buf out = {.max = 4096};
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 4, 2, kvi_seed(NULL, 0, NULL, 0), false, want, 2), 2);
    static const char *const dumps[] = {TOKENS NO_BLOCKS, ESCAPED NO_BLOCKS};
    for (size_t d = 0; d < 2; d++) {
        weir_buf_clear(&out);
        CHECK(hash(NULL, dumps[d], &out) == WEIR_HASHED_BY_CPU);
        CHECK(weir_buf_append_c(&out, '\0') == WEIR_OK);
        for (int i = 0; i < 2; i++) {
            snprintf(text, sizeof(text), "%" PRIu64, want[i]);
            CHECK_MSG(strstr(out.data, text) != NULL, "no %s in %s", text, out.data);
        }
    }
    weir_buf_fini(&out);
}

/* A counter of devices at work stands on it. */
static void case_nothing_to_hash(void) {
    static const char *const dumps[] = {NO_BLOCKS, ELSEWHERE, NO_BLOCKS ELSEWHERE};
    for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
        struct weir_buf out = {.max = 4096};
        CHECK(hash(NULL, dumps[i], &out) == WEIR_HASHED_NOTHING);
        weir_buf_fini(&out);
    }
}

static void case_by_the_device(void) {
    struct weir_buf out = {.max = 4096}, by_cpu = {.max = 4096};
    struct weir_device *device = NULL;
    struct weir_loop *loop = NULL;
    struct weir_metrics *metrics = NULL;
    CHECK(weir_loop_create(0, &loop) == WEIR_OK && weir_metrics_create(&metrics) == WEIR_OK);
    struct weir_device_config config = {
        .kvc = {.kind = KVC_CPU}, .stall_ms = 60000, .loop = loop, .metrics = metrics};
    CHECK(weir_device_start(&config, &device) == WEIR_OK);
    CHECK(hash(NULL, TOKENS, &by_cpu) == WEIR_HASHED_BY_CPU);
    while (hash(device, TOKENS, &out) != WEIR_HASHED_BY_DEVICE) { /* it is opening */
        CHECK(out.len == by_cpu.len && memcmp(out.data, by_cpu.data, out.len) == 0);
        weir_buf_clear(&out);
        sched_yield();
    }
    CHECK(out.len == by_cpu.len && memcmp(out.data, by_cpu.data, out.len) == 0);
    weir_buf_clear(&out);
    CHECK(hash(device, NO_BLOCKS ELSEWHERE, &out) == WEIR_HASHED_NOTHING);
    weir_device_stop(device);
    weir_metrics_destroy(metrics);
    weir_loop_destroy(loop);
    weir_buf_fini(&out);
    weir_buf_fini(&by_cpu);
}

int main(void) {
    CHECK_RUN(case_the_hashes);
    CHECK_RUN(case_nobody_waits);
    CHECK_RUN(case_nobody_waits_any_more);
    CHECK_RUN(case_nothing_to_hash);
    CHECK_RUN(case_by_the_device);
    return check_finish();
}
