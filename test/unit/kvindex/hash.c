/* Hash vectors: from the reference system's own tests, from captured events, and computed with the
 * system xxHash from the published rules (shared spec "kvrouter" 1.5). */
#include "kvindex/kvi.h"
#include "test/check.h"

static uint64_t sequence(uint32_t n, uint64_t seed) {
    uint32_t tokens[512];
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = i;
    return kvi_block_hash(tokens, n, seed);
}

static void case_block_hash_on_every_length_path(void) {
    CHECK_EQ_U64(sequence(4, KVI_SEED), 9143094415614847814u);
    CHECK_EQ_U64(sequence(11, KVI_SEED), 3478666572770996202u);
    CHECK_EQ_U64(sequence(16, KVI_SEED), 15310707395893867146u);
    CHECK_EQ_U64(sequence(32, KVI_SEED), 5756925433886871916u);
    CHECK_EQ_U64(sequence(64, KVI_SEED), 3480597578098033343u);
    CHECK_EQ_U64(sequence(128, KVI_SEED), 9509643624113304476u);
    CHECK_EQ_U64(sequence(256, KVI_SEED), 13509048708924160886u);
    CHECK_EQ_U64(sequence(512, KVI_SEED), 9967019188267418660u);
}

static void case_chain(void) {
    const uint32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    uint64_t local[4], seq[4];
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 13, 4, KVI_SEED, false, local, 4), 3);
    CHECK_EQ_U64(local[0], 14643705804678351452u);
    CHECK_EQ_U64(local[1], 16777012769546811212u);
    CHECK_EQ_U64(local[2], 483935686894639516u);
    kvi_chain(local, 3, seq);
    CHECK_EQ_U64(seq[0], 14643705804678351452u);
    CHECK_EQ_U64(seq[1], 4945711292740353085u);
    CHECK_EQ_U64(seq[2], 12583592247330656132u);
    uint64_t in_place[] = {11, 22, 33};
    kvi_chain(in_place, 3, in_place);
    CHECK_EQ_U64(in_place[1], 750553365844651409u);
    CHECK_EQ_U64(in_place[2], 3257565445809651757u);
}

static void case_seeds(void) {
    uint64_t lora = kvi_seed("adapter-a", 9, NULL, 0), ns = kvi_seed(NULL, 0, "tenant-a", 8);
    CHECK_EQ_U64(kvi_seed(NULL, 0, "", 0), KVI_SEED);
    CHECK_EQ_U64(lora, 8842669519798868182u);
    CHECK_EQ_U64(ns, 1948188790972764086u);
    CHECK_EQ_U64(kvi_seed("tenant-a", 8, NULL, 0), 7159698576361520314u);
    CHECK_EQ_U64(kvi_seed("adapter-a", 9, "tenant-a", 8), 10790858310771630931u);
    CHECK_EQ_U64(sequence(4, lora), 6665157333201000639u);
    CHECK_EQ_U64(sequence(4, ns), 17009624042690211646u);
}

static void case_eagle_windows_overlap(void) {
    const uint32_t tokens[] = {0, 1, 2, 3, 4, 5};
    uint64_t h[4];
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 6, 2, KVI_SEED, true, h, 4), 2);
    CHECK_EQ_U64(h[0], 11646242937812223497u);
    CHECK_EQ_U64(h[1], 9948816348502404300u);
    CHECK_EQ_U64(kvi_block_count(0, 2, true), 0);
    CHECK_EQ_U64(kvi_block_count(5, 2, true), 2);
    CHECK_EQ_U64(kvi_block_count(5, 0, false), 0);
}

static void case_captured_blocks(void) {
    static const uint32_t tokens[] = {151644, 872,  198,  45764, 15588, 311,   752,    4486,
                                      11,     358,  1079, 264,   1273,  448,   3322,   4244,
                                      311,    1281, 518,  3245,  1378,  10010, 315,    58039,
                                      11211,  1817, 304,  279,   9934,  13,    151645, 198};
    uint64_t local[2], seq[2];
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 32, 16, KVI_SEED, false, local, 2), 2);
    CHECK_EQ_U64(local[0], 12534253471216683246u);
    CHECK_EQ_U64(local[1], 15209439033337478684u);
    kvi_chain(local, 2, seq);
    CHECK_EQ_U64(seq[1], 7366005819767674425u);
}

int main(void) {
    CHECK_RUN(case_block_hash_on_every_length_path);
    CHECK_RUN(case_chain);
    CHECK_RUN(case_seeds);
    CHECK_RUN(case_eagle_windows_overlap);
    CHECK_RUN(case_captured_blocks);
    return check_finish();
}
