/* Hashes of the batch interface against kvindex, which is held to the published vectors, and
 * against libxxhash: every block size, ragged prompts, seeds. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "cuda/kvc.h"
#include "kvindex/kvi.h"
#include "test/check.h"
#include "test/unit/cuda/back_end.h"

#include <string.h>

static struct kvc *k;
static struct weir_rng rng;

static void fill(uint32_t *tokens, size_t n) {
    for (size_t i = 0; i < n; i++)
        tokens[i] = weir_rng_below(&rng, 8) == 0 ? UINT32_MAX - (uint32_t)i
                                                 : (uint32_t)weir_rng_below(&rng, 200000);
}

/* The same with everything in the device's memory. */
static void compare_resident(const struct kvc_prompts *p, size_t total, const uint64_t *want) {
    struct kvc_prompts q = *p;
    size_t bytes = total * sizeof(*want), n_tokens = p->offsets[p->n] * sizeof(*p->tokens);
    uint32_t *tokens = kvc_alloc(k, KVC_MEMORY_DEVICE, n_tokens);
    uint64_t *local = kvc_alloc(k, KVC_MEMORY_DEVICE, bytes);
    uint64_t *sequence = kvc_alloc(k, KVC_MEMORY_DEVICE, bytes);
    uint64_t *back = kvc_alloc(k, KVC_MEMORY_HOST, bytes);
    CHECK(tokens != NULL && local != NULL && sequence != NULL && back != NULL);
    q.tokens = tokens;
    q.resident = true;
    CHECK(kvc_copy(k, tokens, p->tokens, n_tokens) == KVC_OK);
    CHECK(kvc_hash(k, &q, local, sequence) == KVC_OK);
    CHECK(kvc_copy(k, back, local, bytes) == KVC_OK && memcmp(back, want, bytes) == 0);
    kvc_free(k, KVC_MEMORY_DEVICE, tokens);
    kvc_free(k, KVC_MEMORY_DEVICE, local);
    kvc_free(k, KVC_MEMORY_DEVICE, sequence);
    kvc_free(k, KVC_MEMORY_HOST, back);
}

/* One batch of prompts with these lengths, prompt by prompt as kvindex does it. */
static void compare(const uint64_t *lengths, size_t n, uint32_t block_size, bool eagle,
                    bool seeded) {
    uint64_t *offsets = weir_malloc((n + 1) * sizeof(*offsets));
    uint64_t *blocks = weir_malloc((n + 1) * sizeof(*blocks));
    uint64_t *seeds = weir_malloc((n + 1) * sizeof(*seeds));
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        offsets[i + 1] = offsets[i] + lengths[i];
        seeds[i] = i % 3 == 0 ? KVI_SEED : kvi_seed("adapter", i % 7, "tenant", i % 6);
    }
    uint32_t *tokens = weir_malloc((offsets[n] + 1) * sizeof(*tokens));
    fill(tokens, offsets[n]);
    struct kvc_prompts p = {tokens, offsets, seeded ? seeds : NULL, n, block_size, eagle, false};
    size_t total = kvc_block_offsets(&p, blocks);
    uint64_t *local = weir_malloc((total + 1) * sizeof(*local));
    uint64_t *sequence = weir_malloc((total + 1) * sizeof(*sequence));
    uint64_t *want = weir_malloc((2 * total + 2) * sizeof(*want));
    CHECK(kvc_hash(k, &p, local, sequence) == KVC_OK);
    for (size_t i = 0; i < n; i++) {
        size_t count =
            kvi_hash_and_chain(tokens + offsets[i], lengths[i], block_size,
                               seeded ? seeds[i] : KVI_SEED, eagle, want, want + total, total);
        CHECK_EQ_U64(count, blocks[i + 1] - blocks[i]);
        CHECK_MSG(memcmp(want, local + blocks[i], count * sizeof(*want)) == 0 &&
                      memcmp(want + total, sequence + blocks[i], count * sizeof(*want)) == 0,
                  "block size %u, eagle %d, seeded %d, prompt %zu of %zu", block_size, eagle,
                  seeded, i, n);
    }
    memset(sequence, 0, total * sizeof(*sequence));
    CHECK(kvc_hash(k, &p, sequence, NULL) == KVC_OK);
    CHECK(memcmp(sequence, local, total * sizeof(*local)) == 0);
    compare_resident(&p, total, local);
    weir_free(offsets);
    weir_free(blocks);
    weir_free(seeds);
    weir_free(tokens);
    weir_free(local);
    weir_free(sequence);
    weir_free(want);
}

static void case_every_block_size(void) {
    for (uint32_t bs = 1; bs <= KVC_BLOCK_SIZE_MAX; bs += is_slow(k) && bs > 100 ? 17 : 1) {
        uint64_t lengths[] = {0, bs - 1, bs, bs + 1, 3 * (uint64_t)bs + 1, 2 * (uint64_t)bs};
        compare(lengths, WEIR_ARRAY_LEN(lengths), bs, bs % 2 == 0, bs % 3 == 0);
        if (bs <= 70)
            compare(lengths, WEIR_ARRAY_LEN(lengths), bs, bs % 2 != 0, bs % 3 != 0);
    }
}

static void case_ragged_batches(void) {
    static const uint32_t sizes[] = {1, 4, 16, 32, 64, 128, 513};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(sizes); i++) {
        uint64_t lengths[300];
        for (size_t p = 0; p < WEIR_ARRAY_LEN(lengths); p++)
            lengths[p] = weir_rng_below(&rng, 5) == 0 ? 0 : weir_rng_below(&rng, 700);
        compare(lengths, WEIR_ARRAY_LEN(lengths), sizes[i], i % 2 == 0, i % 2 == 1);
    }
}

static void case_one_long_prompt(void) {
    uint64_t million = is_slow(k) ? 100000 : 1000000;
    compare(&million, 1, 16, false, false);
    compare(&million, 1, 64, false, true);
}

static void case_refusals(void) {
    uint64_t backwards[] = {0, 5, 3}, sums[3], out[8];
    uint32_t tokens[8] = {0};
    struct kvc_prompts p = {tokens, backwards, NULL, 2, 1, false, false};
    CHECK(kvc_hash(k, &p, out, NULL) == KVC_INVALID);
    p.offsets = (uint64_t[]){0, 3, 5};
    p.block_size = 0;
    CHECK(kvc_hash(k, &p, out, NULL) == KVC_INVALID);
    p.block_size = KVC_BLOCK_SIZE_MAX + 1;
    CHECK(kvc_hash(k, &p, out, NULL) == KVC_INVALID);
    p.n = 0;
    p.block_size = 16;
    CHECK(kvc_block_offsets(&p, sums) == 0 && kvc_hash(k, &p, out, NULL) == KVC_OK);
}

static void case_no_plugin(void) {
    struct kvc *none = NULL;
    char why[256] = "";
    struct kvc_options o = {.kind = KVC_CUDA, .plugin = "/nowhere/libweir_cuda.so"};
    CHECK(kvc_open(&o, &none, why, sizeof(why)) == KVC_NO_DEVICE && none == NULL);
    CHECK(strstr(why, "/nowhere/libweir_cuda.so") != NULL);
    CHECK(kvc_open(&o, &none, NULL, 0) == KVC_NO_DEVICE);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    k = open_back_end();
    CHECK_RUN(case_every_block_size);
    CHECK_RUN(case_ragged_batches);
    CHECK_RUN(case_one_long_prompt);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_no_plugin);
    kvc_close(k);
    return check_finish();
}
