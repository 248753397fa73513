/* Hash vectors: from the reference system's own tests, from captured events, and computed with the
 * system xxHash from the published rules (shared spec "kvrouter" 1.5). */
#include "base/status.h"
#include "kvindex/kvi.h"
#include "test/check.h"
#include "test/unit/kvindex/captured.h"

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
    CHECK_EQ_U64(sequence(4, kvi_seed("tenant-a", 8, NULL, 0)), 582854293518545300u);
    CHECK_EQ_U64(sequence(4, kvi_seed("adapter-a", 9, "tenant-a", 8)), 8269515957840517240u);
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

static void case_media_identifiers_and_pads(void) {
    uint64_t hash = 0;
    CHECK(kvi_media_hash("opaque-renderer-image-0", 23, &hash));
    CHECK_EQ_U64(hash, 14437604544409538977u);
    CHECK(kvi_media_hash("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 64,
                         &hash));
    CHECK_EQ_U64(hash, 0x0123456789abcdefu);
    CHECK(kvi_media_hash("FEDCBA98765432100123456789abcdef0123456789abcdef0123456789abcdef", 64,
                         &hash));
    CHECK_EQ_U64(hash, 0xfedcba9876543210u);
    CHECK(!kvi_media_hash("", 0, &hash));
    CHECK_EQ_U64(kvi_media_pad(0), 1000000);
    CHECK_EQ_U64(kvi_media_pad((1u << 30) | 0xCAFE), 1000000 + 0xCAFE);
}

static void case_media_are_hashed_sorted_behind_the_tokens(void) {
    const uint32_t tokens[] = {0, 1, 2, 3};
    uint64_t one[] = {42}, two[] = {7, 42}, swapped[] = {42, 7};
    CHECK_EQ_U64(kvi_block_hash_media(tokens, 2, one, 1, KVI_SEED), 6100948656312251355u);
    CHECK_EQ_U64(kvi_block_hash(tokens, 2, KVI_SEED), 10918435022357402928u);
    CHECK_EQ_U64(kvi_block_hash_media(tokens, 2, NULL, 0, KVI_SEED), 10918435022357402928u);
    CHECK_EQ_U64(kvi_block_hash(tokens + 2, 2, KVI_SEED), 10731123482949079648u);
    CHECK_EQ_U64(kvi_block_hash_media(tokens, 2, two, 2, KVI_SEED),
                 kvi_block_hash_media(tokens, 2, swapped, 2, KVI_SEED));
}

static void case_mooncake_blocks(void) {
    static const uint64_t want[] = {16456450638077811066u, 10716031498429279048u,
                                    17161484913955091167u};
    uint32_t tokens[512];
    for (uint32_t id = 0; id < 3; id++) {
        for (size_t i = 0; i < 512; i++)
            tokens[i] = id;
        CHECK_EQ_U64(kvi_block_hash(tokens, 512, KVI_SEED), want[id]);
    }
}

static void case_blocks_of_real_stored_events(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(captured_blocks); i++) {
        const struct captured_block *b = &captured_blocks[i];
        uint64_t chain[2] = {b->parent, kvi_block_hash(b->tokens, b->block_size, KVI_SEED)};
        CHECK_EQ_U64(chain[1], b->tokens_hash);
        kvi_chain(b->has_parent ? chain : chain + 1, b->has_parent ? 2 : 1,
                  b->has_parent ? chain : chain + 1);
        CHECK_EQ_U64(chain[1], b->block_hash);
    }
}

static void case_salted_blocks_that_a_real_router_matched(void) {
    uint32_t tokens[96];
    for (uint32_t i = 0; i < 96; i++)
        tokens[i] = 1000 + i;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(captured_salts); i++) {
        const struct captured_salt *s = &captured_salts[i];
        uint64_t got[6];
        uint64_t seed = kvi_seed(s->lora, s->lora != NULL ? strlen(s->lora) : 0, s->salt,
                                 s->salt != NULL ? strlen(s->salt) : 0);
        CHECK_EQ_U64(seed, s->seed);
        CHECK_EQ_U64(kvi_hash_blocks(tokens, 96, 16, seed, false, got, 6), 6);
        for (int k = 0; k < 6; k++)
            CHECK_EQ_U64(got[k], s->tokens_hash[k]);
    }
}

static void case_trailing_tokens_and_short_room(void) {
    const uint32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    uint64_t h[3] = {0, 0, 77};
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 3, 4, KVI_SEED, false, h, 3), 0);
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 9, 4, KVI_SEED, false, h, 3), 2);
    CHECK_EQ_U64(h[2], 77);
    h[1] = 77;
    CHECK_EQ_U64(kvi_hash_blocks(tokens, 9, 4, KVI_SEED, false, h, 1), 1);
    CHECK_EQ_U64(h[1], 77);
    CHECK_EQ_U64(kvi_block_count(9, 4, true), 2);
    CHECK_EQ_U64(kvi_block_count(8, 4, true), 1);
    CHECK_EQ_U64(kvi_block_count(SIZE_MAX, 1, false), SIZE_MAX);
}

/* Many blocks at a time, of every size and number, against one at a time. */
static void case_batches_equal_single_blocks(void) {
    static const uint32_t sizes[] = {1, 4, 15, 16, 17, 32, 60, 64, 128};
    static uint32_t tokens[5000];
    static uint64_t local[5000], both[5000], chained[5000], sequence[5000];
    uint64_t seeds[] = {KVI_SEED, 0, UINT64_MAX, kvi_seed("adapter-a", 9, "tenant-a", 8)};
    for (uint32_t i = 0; i < 5000; i++)
        tokens[i] = i % 7 == 0 ? UINT32_MAX - i : i * 2654435761u;
    for (size_t k = 0; k < WEIR_ARRAY_LEN(sizes) * WEIR_ARRAY_LEN(seeds) * 2; k++) {
        uint32_t bs = sizes[k / 8];
        uint64_t seed = seeds[k / 2 % 4];
        bool eagle = k % 2 != 0;
        for (size_t n_tokens = 0; n_tokens < 40 * bs && n_tokens <= 5000; n_tokens += bs / 2 + 1) {
            size_t n = kvi_hash_blocks(tokens, n_tokens, bs, seed, eagle, local, 5000);
            CHECK_EQ_U64(n, kvi_block_count(n_tokens, bs, eagle));
            CHECK_EQ_U64(kvi_hash_and_chain(tokens, n_tokens, bs, seed, eagle, both, chained, 5000),
                         n);
            kvi_chain(local, n, sequence);
            for (size_t i = 0; i < n; i++) {
                CHECK_EQ_U64(local[i], kvi_block_hash(tokens + i * bs, bs + eagle, seed));
                CHECK_EQ_U64(both[i], local[i]);
                CHECK_EQ_U64(chained[i], sequence[i]);
            }
        }
    }
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

/* The table above was copied from this file; a newer capture must be copied too. */
static void case_shared_capture_file_holds_the_same_blocks(void) {
    const char *shared = getenv("WEIR_SHARED");
    char path[512], text[32768], number[32];
    snprintf(path, sizeof(path), "%s/data/dynamo/wire/hash-vectors.json",
             shared != NULL ? shared : "../shared");
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fprintf(stderr, "skipped: %s is not here (WEIR_SHARED names the shared folder)\n", path);
        return;
    }
    size_t len = fread(text, 1, sizeof(text) - 1, f), blocks = 0;
    fclose(f);
    text[len] = '\0';
    for (const char *at = text; (at = strstr(at, "\"block_size\"")) != NULL; at++)
        blocks++;
    CHECK_EQ_U64(blocks, WEIR_ARRAY_LEN(captured_blocks) + WEIR_ARRAY_LEN(captured_salts));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(captured_blocks); i++) {
        snprintf(number, sizeof(number), "%" PRIu64, captured_blocks[i].block_hash);
        CHECK_MSG(strstr(text, number) != NULL, "%s is not in the file", number);
    }
}

int main(void) {
    CHECK_RUN(case_block_hash_on_every_length_path);
    CHECK_RUN(case_chain);
    CHECK_RUN(case_seeds);
    CHECK_RUN(case_eagle_windows_overlap);
    CHECK_RUN(case_batches_equal_single_blocks);
    CHECK_RUN(case_captured_blocks);
    CHECK_RUN(case_blocks_of_real_stored_events);
    CHECK_RUN(case_salted_blocks_that_a_real_router_matched);
    CHECK_RUN(case_media_identifiers_and_pads);
    CHECK_RUN(case_media_are_hashed_sorted_behind_the_tokens);
    CHECK_RUN(case_mooncake_blocks);
    CHECK_RUN(case_trailing_tokens_and_short_room);
    CHECK_RUN(case_shared_capture_file_holds_the_same_blocks);
    return check_finish();
}
