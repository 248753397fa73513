/* The tree against naive models, a map a rank, under prompts that share prefixes, and without
 * memory. */
#include "router/held_blocks.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "test/check.h"

#include <stdlib.h>

enum { PROMPTS = 64, BLOCKS = 40, STEPS = 30000, SLOTS = 5, MOST = 600 };

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

/* What one rank holds, as the tree says. */
static size_t prefix(struct weir_held_blocks *h, uint32_t slot, const uint64_t *hashes, size_t n) {
    const struct weir_held_member *m;
    size_t n_members = weir_held_prefixes(h, hashes, n, &m), depth = 0;
    for (size_t i = 0; i < n_members; i++) {
        CHECK(i == 0 || m[i - 1].slot < m[i].slot);
        if (m[i].slot == slot)
            depth = h->depths[slot];
    }
    return depth;
}

struct prompt {
    uint32_t slot;
    size_t n;
    uint64_t hashes[BLOCKS];
    struct weir_held_run *run; /* NULL: none */
};

static void count(struct weir_map *m, const struct prompt *p, bool add) {
    for (size_t i = 0; i < p->n; i++) {
        uint64_t *at = weir_map_at(m, p->hashes[i]);
        uint64_t n = (at != NULL ? *at : 0) + (add ? 1u : (uint64_t)-1);
        if (n == 0)
            CHECK(weir_map_remove(m, p->hashes[i]));
        else
            CHECK(weir_map_put(m, p->hashes[i], n) == WEIR_OK);
    }
}

static void case_against_a_model(void) {
    struct weir_held_blocks h = {0};
    struct weir_map naive[SLOTS];
    struct weir_rng rng;
    struct prompt *all = calloc(MOST, sizeof(*all));
    CHECK(all != NULL && weir_held_reserve(&h, 2) && weir_held_reserve(&h, SLOTS));
    weir_rng_seed(&rng, check_seed());
    for (unsigned s = 0; s < SLOTS; s++)
        weir_map_init(&naive[s], SIZE_MAX);
    for (unsigned step = 0; step < STEPS; step++) {
        struct prompt *p = &all[weir_rng_below(&rng, step % 5000 < 2500 ? MOST : MOST / 8)];
        uint64_t hashes[BLOCKS];
        if (p->run != NULL) {
            weir_held_drop(&h, p->slot, p->run);
            count(&naive[p->slot], p, false);
            p->run = NULL;
        } else {
            p->slot = (uint32_t)weir_rng_below(&rng, SLOTS);
            p->n = 1 + weir_rng_below(&rng, BLOCKS);
            fill((unsigned)weir_rng_below(&rng, PROMPTS), p->hashes);
            p->run = weir_held_add(&h, p->slot, p->hashes, p->n);
            CHECK(p->run != NULL);
            count(&naive[p->slot], p, true);
        }
        if (weir_rng_below(&rng, 2000) == 0) { /* a rank goes, and its prompts end later */
            uint32_t gone = (uint32_t)weir_rng_below(&rng, SLOTS);
            weir_held_forget(&h, gone);
            weir_map_fini(&naive[gone]);
            weir_map_init(&naive[gone], SIZE_MAX);
            for (unsigned i = 0; i < MOST; i++)
                if (all[i].slot == gone)
                    all[i].run = NULL;
        }
        fill((unsigned)weir_rng_below(&rng, PROMPTS), hashes);
        size_t n = weir_rng_below(&rng, BLOCKS + 1);
        for (uint32_t s = 0; s < SLOTS; s++) {
            CHECK_EQ_U64(prefix(&h, s, hashes, n), naive_prefix(&naive[s], hashes, n));
            CHECK_EQ_U64(weir_held_len(&h, s), weir_map_len(&naive[s]));
        }
    }
    for (unsigned i = 0; i < MOST; i++)
        if (all[i].run != NULL)
            weir_held_drop(&h, all[i].slot, all[i].run);
    CHECK_EQ_U64(h.n_runs, 0);
    for (uint32_t s = 0; s < SLOTS; s++) {
        CHECK_EQ_U64(weir_held_len(&h, s), 0);
        weir_map_fini(&naive[s]);
    }
    weir_held_fini(&h);
    free(all);
}

/* Each allocation fails once: all of the prompt is counted, or nothing. */
static void case_every_failed_allocation(void) {
    uint64_t a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 2, 3, 7, 8}, half[] = {1, 2};
    for (uint64_t k = 1; k < 20; k++) {
        struct weir_held_blocks h = {0};
        CHECK(weir_held_reserve(&h, 3));
        weir_mem_fail_at(k);
        struct weir_held_run *of_a = weir_held_add(&h, 0, a, 6), *of_b = weir_held_add(&h, 2, b, 5),
                             *of_half = weir_held_add(&h, 1, half, 2),
                             *again = weir_held_add(&h, 2, a, 6);
        weir_mem_fail_at(0);
        CHECK_EQ_U64(weir_held_len(&h, 0), of_a != NULL ? 6 : 0);
        CHECK_EQ_U64(weir_held_len(&h, 1), of_half != NULL ? 2 : 0);
        CHECK_EQ_U64(weir_held_len(&h, 2),
                     of_b != NULL ? (again != NULL ? 8 : 5) : (again != NULL ? 6 : 0));
        CHECK_EQ_U64(prefix(&h, 0, a, 6), of_a != NULL ? 6 : 0);
        CHECK_EQ_U64(prefix(&h, 1, b, 5), of_half != NULL ? 2 : 0);
        CHECK_EQ_U64(prefix(&h, 2, a, 6), again != NULL ? 6 : of_b != NULL ? 3 : 0);
        weir_held_drop(&h, 0, of_a);
        weir_held_drop(&h, 1, of_half);
        weir_held_drop(&h, 2, of_b);
        weir_held_drop(&h, 2, again);
        CHECK_EQ_U64(weir_held_len(&h, 0) + weir_held_len(&h, 1) + weir_held_len(&h, 2), 0);
        CHECK_EQ_U64(h.n_runs, 0);
        weir_held_fini(&h);
    }
}

static void case_empty(void) {
    struct weir_held_blocks h = {0};
    const struct weir_held_member *m;
    uint64_t hashes[BLOCKS];
    fill(1, hashes);
    CHECK_EQ_U64(weir_held_prefixes(&h, hashes, BLOCKS, &m), 0);
    CHECK_EQ_U64(weir_held_len(&h, 7), 0);
    weir_held_drop(&h, 0, NULL);
    weir_held_forget(&h, 0);
    weir_mem_fail_at(1);
    CHECK(!weir_held_reserve(&h, 4));
    weir_mem_fail_at(0);
    weir_held_fini(&h);
}

int main(void) {
    CHECK_RUN(case_against_a_model);
    CHECK_RUN(case_every_failed_allocation);
    CHECK_RUN(case_empty);
    return check_finish();
}
