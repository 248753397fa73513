/* The multiset against a naive model, under prompts that share prefixes, and without memory. */
#include "router/block_counts.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "test/check.h"

enum { PROMPTS = 64, BLOCKS = 40, STEPS = 20000 };

/* Prompt p: branches of a tree, so that whoever has one block has all before it. */
static uint64_t block(unsigned p, unsigned i) {
    uint64_t root = p >> (i < 4 ? 4 : i < 20 ? 2 : 0);
    return (root * 1000 + i + 1) << 40; /* low bits say nothing */
}

static void fill(unsigned p, uint64_t hashes[BLOCKS]) {
    for (unsigned i = 0; i < BLOCKS; i++)
        hashes[i] = block(p, i);
}

static size_t naive_prefix(struct weir_map *m, const uint64_t *hashes, size_t n) {
    size_t i = 0;
    uint64_t ignored;
    while (i < n && weir_map_get(m, hashes[i], &ignored))
        i++;
    return i;
}

static void case_against_a_model(void) {
    struct weir_block_counts c = {0};
    struct weir_map naive;
    struct weir_rng rng;
    unsigned held[PROMPTS][2] = {{0}}; /* bookings of the whole, and of the first half */
    weir_rng_seed(&rng, check_seed());
    weir_map_init(&naive, SIZE_MAX);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t hashes[BLOCKS];
        unsigned p = (unsigned)weir_rng_below(&rng, PROMPTS),
                 half = (unsigned)weir_rng_below(&rng, 2);
        size_t n = half ? BLOCKS / 2 : BLOCKS;
        fill(p, hashes);
        CHECK_EQ_U64(weir_block_counts_prefix(&c, hashes, BLOCKS),
                     naive_prefix(&naive, hashes, BLOCKS));
        bool add = weir_rng_below(&rng, 64) >= 32 + held[p][half] * 4;
        if (!add && held[p][half] == 0)
            continue;
        held[p][half] += add ? 1u : (unsigned)-1;
        if (add)
            CHECK_EQ_U64(weir_block_counts_add(&c, hashes, n), n);
        else
            weir_block_counts_drop(&c, hashes, n);
        for (size_t i = 0; i < n; i++) {
            uint64_t *at = weir_map_at(&naive, hashes[i]);
            uint64_t count = (at != NULL ? *at : 0) + (add ? 1u : (uint64_t)-1);
            if (count == 0)
                CHECK(weir_map_remove(&naive, hashes[i]));
            else
                CHECK(weir_map_put(&naive, hashes[i], count) == WEIR_OK);
        }
        CHECK_EQ_U64(weir_block_counts_len(&c), weir_map_len(&naive));
    }
    for (unsigned p = 0; p < PROMPTS; p++)
        for (unsigned half = 0; half < 2; half++)
            for (; held[p][half] > 0; held[p][half]--) {
                uint64_t hashes[BLOCKS];
                fill(p, hashes);
                weir_block_counts_drop(&c, hashes, half ? BLOCKS / 2 : BLOCKS);
            }
    CHECK_EQ_U64(weir_block_counts_len(&c), 0);
    weir_block_counts_drop(&c, (uint64_t[]){1, 2}, 2);
    weir_map_fini(&naive);
    weir_block_counts_fini(&c);
}

/* A booking may outlive its rank, and then be given up to another of that name. */
static void case_what_was_not_added_is_passed_over(void) {
    struct weir_block_counts c = {0};
    uint64_t a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 2, 3, 7, 8};
    weir_block_counts_drop(&c, a, 6);
    CHECK_EQ_U64(weir_block_counts_add(&c, a, 6), 6);
    CHECK_EQ_U64(weir_block_counts_add(&c, b, 5), 5);
    CHECK_EQ_U64(weir_block_counts_len(&c), 8);
    weir_block_counts_drop(&c, a, 3); /* where the two part, but none ends */
    weir_block_counts_drop(&c, a, 5);
    weir_block_counts_drop(&c, b + 1, 3);
    weir_block_counts_drop(&c, a, 0);
    CHECK_EQ_U64(weir_block_counts_len(&c), 8);
    weir_block_counts_drop(&c, a, 6);
    weir_block_counts_drop(&c, a, 6);
    CHECK_EQ_U64(weir_block_counts_len(&c), 5);
    CHECK_EQ_U64(weir_block_counts_prefix(&c, a, 6), 3);
    weir_block_counts_drop(&c, b, 5);
    CHECK_EQ_U64(weir_block_counts_len(&c), 0);
    weir_block_counts_fini(&c);
}

/* Each allocation fails once: all of the prompt is counted, or nothing. */
static void case_every_failed_allocation(void) {
    uint64_t a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 2, 3, 7, 8}, half[] = {1, 2};
    for (uint64_t k = 1; k < 8; k++) {
        struct weir_block_counts c = {0};
        weir_mem_fail_at(k);
        size_t n_a = weir_block_counts_add(&c, a, 6), n_b = weir_block_counts_add(&c, b, 5);
        size_t n_half = weir_block_counts_add(&c, half, 2);
        weir_mem_fail_at(0);
        CHECK((n_a == 0 || n_a == 6) && (n_b == 0 || n_b == 5) && (n_half == 0 || n_half == 2));
        CHECK_EQ_U64(weir_block_counts_len(&c),
                     n_a + n_b - (n_a > 0 && n_b > 0 ? 3 : 0) + (n_a + n_b == 0 ? n_half : 0));
        CHECK_EQ_U64(weir_block_counts_prefix(&c, a, 6), n_a > 0 ? 6 : n_b > 0 ? 3 : n_half);
        weir_block_counts_drop(&c, a, n_a);
        weir_block_counts_drop(&c, half, n_half);
        weir_block_counts_drop(&c, b, n_b);
        CHECK_EQ_U64(weir_block_counts_len(&c), 0);
        weir_block_counts_fini(&c);
    }
}

static void case_no_memory(void) {
    struct weir_block_counts c = {0};
    uint64_t hashes[BLOCKS], many[BLOCKS * 4];
    fill(1, hashes);
    CHECK_EQ_U64(weir_block_counts_prefix(&c, hashes, BLOCKS), 0);
    CHECK_EQ_U64(weir_block_counts_add(&c, hashes, BLOCKS), BLOCKS);
    for (unsigned i = 0; i < BLOCKS * 4; i++)
        many[i] = i + 1;
    weir_mem_fail_at(1);
    CHECK_EQ_U64(weir_block_counts_add(&c, many, BLOCKS * 4), 0);
    weir_mem_fail_at(0);
    CHECK_EQ_U64(weir_block_counts_len(&c), BLOCKS);
    CHECK_EQ_U64(weir_block_counts_prefix(&c, hashes, BLOCKS), BLOCKS);
    CHECK_EQ_U64(weir_block_counts_add(&c, hashes, 0), 0);
    weir_block_counts_fini(&c);
}

int main(void) {
    CHECK_RUN(case_against_a_model);
    CHECK_RUN(case_what_was_not_added_is_passed_over);
    CHECK_RUN(case_every_failed_allocation);
    CHECK_RUN(case_no_memory);
    return check_finish();
}
