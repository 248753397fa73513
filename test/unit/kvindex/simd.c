/* Every set of inner loops that this processor has against loops that are plainly right; the other
 * tests run the fastest set alone. */
#include "kvindex/kvi_priv.h"

#include "base/rng.h"
#include "test/check.h"

enum { MOST = 160, ROUNDS = 400 };
static struct weir_rng rng;

static uint32_t below(uint32_t n) {
    return (uint32_t)weir_rng_below(&rng, n);
}

static void check_match(const struct kvi_kernels *k) {
    uint64_t a[MOST], b[MOST];
    uint32_t n = below(MOST), differ = below(MOST);
    for (uint32_t i = 0; i < MOST; i++)
        a[i] = b[i] = weir_rng_u64(&rng);
    b[differ] ^= (uint64_t)1 << below(64);
    CHECK_EQ_U64(k->match(a, b, n), differ < n ? differ : n);
    uint64_t back[MOST];
    for (uint32_t i = 0; i < MOST; i++)
        back[MOST - 1 - i] = b[i];
    CHECK_EQ_U64(k->match_back(a, back + MOST - 1, n), differ < n ? differ : n);
}

static void check_match_blocks(const struct kvi_kernels *k) {
    struct kvi_block blocks[MOST];
    uint64_t content[MOST], names[MOST];
    uint32_t n = below(MOST + 1), differ = below(MOST);
    for (uint32_t i = 0; i < MOST; i++) {
        content[i] = weir_rng_u64(&rng);
        names[i] = weir_rng_u64(&rng);
        blocks[i] = (struct kvi_block){.block_hash = names[i], .tokens_hash = content[i]};
    }
    CHECK_EQ_U64(k->match_blocks(blocks, content, names, n), n);
    *(below(2) == 0 ? &names[differ] : &content[differ]) ^= (uint64_t)1 << below(64);
    CHECK_EQ_U64(k->match_blocks(blocks, content, names, n), differ < n ? differ : n);
}

static void check_has(const struct kvi_kernels *k) {
    struct kvi_block blocks[MOST];
    uint32_t n = below(MOST), at = below(MOST);
    uint64_t name = weir_rng_u64(&rng);
    for (uint32_t i = 0; i < MOST; i++)
        blocks[i] = (struct kvi_block){weir_rng_u64(&rng), name}; /* content may look like it */
    CHECK(!k->has_name(blocks, n, name));
    blocks[at].block_hash = name;
    CHECK(k->has_name(blocks, n, name) == (at < n));
}

static void check_cuts(const struct kvi_kernels *k) {
    _Atomic uint8_t cut[MOST];
    uint32_t scores[MOST], want[MOST], n = below(MOST / 16 + 1) * 16, d = below(3), full = 0;
    uint32_t m = 1 + below(KVI_NODE_BLOCKS), active = 0;
    for (uint32_t i = 0; i < MOST; i++) {
        uint32_t c = below(3) == 0 ? m : below(KVI_NODE_BLOCKS + 1), least = c < m ? c : m;
        cut[i] = (uint8_t)c;
        scores[i] = below(3);
        want[i] = scores[i] + (i < n && scores[i] == d ? least : 0);
        active += i < n && scores[i] == d && c >= m;
        full += i < n && c >= m;
    }
    CHECK_EQ_U64(k->add_cuts(cut, n, d, m, scores), active);
    for (uint32_t i = 0; i < MOST; i++)
        CHECK_EQ_U64(scores[i], want[i]);
    CHECK_EQ_U64(k->set_cuts(cut, n, m, scores), full);
    for (uint32_t i = 0; i < MOST; i++)
        CHECK_EQ_U64(scores[i], i >= n ? want[i] : cut[i] < m ? cut[i] : m);
}

/* The numbers of ranks are left out where the list is full; nothing is written behind it. */
static void check_lists(const struct kvi_kernels *k) {
    enum { RANKS = 1024 };
    static struct kvi_who who[RANKS];
    static uint32_t scores[RANKS];
    static struct kvi_score list[RANKS + 1];
    uint32_t n = below(RANKS / 16 + 1) * 16, gap = 1 + below(40), want = 0;
    size_t room = below(2) == 0 ? RANKS : below(RANKS);
    for (uint32_t i = 0; i < RANKS; i++) {
        atomic_init(&who[i].worker_id, weir_rng_u64(&rng));
        atomic_init(&who[i].dp_rank, below(99));
        scores[i] = below(gap) == 0 ? 1 + (uint32_t)weir_rng_u64(&rng) % UINT32_MAX : 0;
        list[i].rank = 77777;
    }
    size_t found = k->list_scores(scores, who, n, list, room);
    for (uint32_t i = 0; i < n; i++) {
        if (scores[i] == 0)
            continue;
        const struct kvi_score *s = &list[want++];
        if (want > room)
            continue;
        CHECK(s->rank == i && s->blocks[KVI_DEVICE] == scores[i] && s->blocks[KVI_HOST] == 0 &&
              s->blocks[KVI_DISK] == 0 && s->blocks[KVI_EXTERNAL] == 0);
        CHECK(s->worker.worker_id == who[i].worker_id && s->worker.dp_rank == who[i].dp_rank);
    }
    CHECK_EQ_U64(found, want);
    CHECK(found >= RANKS || room >= RANKS || list[found < room ? found : room].rank == 77777);
}

static void check_names(const struct kvi_kernels *k) {
    struct kvi_block blocks[MOST];
    uint64_t names[MOST + 1], content[MOST + 1], hashes[MOST + 1];
    uint32_t n = below(MOST);
    for (uint32_t i = 0; i < MOST; i++)
        blocks[i] = (struct kvi_block){weir_rng_u64(&rng) >> below(64), weir_rng_u64(&rng)};
    names[n] = content[n] = hashes[n] = 77;
    k->unzip(blocks, n, content, names);
    k->hash_names(names, n, hashes);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ_U64(names[i], blocks[i].block_hash);
        CHECK_EQ_U64(content[i], blocks[i].tokens_hash);
        CHECK_EQ_U64(hashes[i], kvi_name_hash(blocks[i].block_hash));
    }
    CHECK(names[n] == 77 && content[n] == 77 && hashes[n] == 77);
}

static void case_all_sets(void) {
    uint32_t n = 0;
    for (const struct kvi_kernels *k; (k = kvi_kernels_at(n)) != NULL; n++)
        for (int i = 0; i < ROUNDS; i++) {
            check_match(k);
            check_match_blocks(k);
            check_cuts(k);
            check_has(k);
            check_names(k);
            if (i % 8 == 0)
                check_lists(k);
        }
    CHECK(n >= 1);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_all_sets);
    return check_finish();
}
