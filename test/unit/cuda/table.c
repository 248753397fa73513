/*
 * The table against kvindex: random events of ranks and tiers, names used twice and moved, blocks
 * removed in mid-chain, ranks cleared, a table so small that it has to be packed. Every score equal
 * on every tier; the cheapest ranks against the router's own cost function.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "cuda/kvc.h"
#include "kvindex/kvi.h"
#include "router/cost.h"
#include "test/check.h"
#include "test/unit/cuda/back_end.h"

#include <string.h>

enum { RANKS = 24, DEPTH = 40, CONTENTS = 3, QUERIES = 12 };

static struct kvc *k;
static struct weir_rng rng;
static uint64_t names;

static uint64_t below(uint64_t n) {
    return weir_rng_below(&rng, n);
}

static struct kvi_worker worker_of(uint32_t rank) {
    return (struct kvi_worker){100 + rank / 3, rank % 3};
}

/* Both indexes, and how deep each name may lie, so that no chain grows beyond the queries. */
struct pair {
    struct kvi_index *kvi;
    struct kvc_table *kvc;
    struct kvi_reader *reader;
    unsigned full;
};

static enum kvc_status want_status(enum kvi_result r) {
    return r == KVI_OK                                             ? KVC_OK
           : r == KVI_PARENT_NOT_FOUND || r == KVI_BLOCK_NOT_FOUND ? KVC_UNKNOWN
           : r == KVI_INVALID                                      ? KVC_INVALID
                                                                   : KVC_STATUSES;
}

static void store(struct pair *p, uint32_t rank, uint32_t tier) {
    struct kvi_block blocks[6];
    struct kvc_block same[6];
    size_t n = below(7);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = (struct kvi_block){below(names), below(CONTENTS)};
        same[i] = (struct kvc_block){blocks[i].block_hash, blocks[i].tokens_hash};
    }
    struct kvc_event e = {.kind = KVC_STORED, .rank = rank, .tier = tier, .blocks = same, .n = n};
    e.has_parent = below(4) > 0;
    e.parent_hash = below(names);
    enum kvc_status got = kvc_table_apply(p->kvc, &e);
    if (got == KVC_FULL) {
        p->full++;
        return;
    }
    enum kvi_result want = kvi_store(p->kvi, worker_of(rank), (enum kvi_tier)tier, e.has_parent,
                                     e.parent_hash, blocks, n, NULL);
    CHECK_MSG(got == want_status(want), "stored: %s, kvindex says %s", kvc_status_text(got),
              kvi_result_name(want));
}

static void drop(struct pair *p, uint32_t rank, uint32_t tier) {
    uint64_t hashes[6];
    size_t n = below(7);
    for (size_t i = 0; i < n; i++)
        hashes[i] = below(names + 2);
    struct kvc_event e = {
        .kind = KVC_REMOVED, .rank = rank, .tier = tier, .removed = hashes, .n = n};
    enum kvi_result want = kvi_remove(p->kvi, worker_of(rank), (enum kvi_tier)tier, hashes, n);
    CHECK(kvc_table_apply(p->kvc, &e) == want_status(want));
}

static void clear(struct pair *p, uint32_t rank) {
    struct kvc_event e = {.kind = KVC_CLEARED, .rank = rank};
    kvi_clear(p->kvi, worker_of(rank));
    CHECK(kvc_table_apply(p->kvc, &e) == KVC_OK);
}

static const struct kvi_score *score_of(const struct kvi_score *scores, size_t n, uint32_t rank) {
    struct kvi_worker w = worker_of(rank);
    for (size_t i = 0; i < n; i++)
        if (scores[i].worker.worker_id == w.worker_id && scores[i].worker.dp_rank == w.dp_rank)
            return &scores[i];
    return NULL;
}

/* Random queries of every length, one of them empty. */
static void make_queries(uint64_t *local, uint64_t *offsets) {
    offsets[0] = 0;
    for (size_t i = 0; i < QUERIES; i++) {
        size_t n = i == 0 ? 0 : below(DEPTH);
        for (size_t b = 0; b < n; b++)
            local[offsets[i] + b] = below(CONTENTS + (below(20) == 0));
        offsets[i + 1] = offsets[i] + n;
    }
}

static void compare_ranking(struct pair *p, const struct kvc_queries *q) {
    unsigned char candidate[RANKS];
    double prefill[RANKS], decode[RANKS], requests[RANKS], isl[QUERIES], least = 1e300;
    for (uint32_t r = 0; r < RANKS; r++) {
        candidate[r] = below(8) > 0;
        prefill[r] = (double)below(5000);
        decode[r] = (double)below(3);
        requests[r] = (double)below(2);
        if (candidate[r] && prefill[r] < least)
            least = prefill[r];
    }
    bool decays = below(2) == 0, tracks = below(4) > 0;
    struct kvc_cost_params params = {.block_size = 16,
                                     .track_prefill_tokens = tracks,
                                     .overlap_score_credit = 1.5,
                                     .overlap_credit_decay = decays ? 0.3 : 0,
                                     .prefill_load_scale = 0.7,
                                     .decode_active_request_weight = 0.1,
                                     .host_weight = 0.75,
                                     .disk_weight = 0.25};
    struct weir_cost_params theirs = {.block_size = 16,
                                      .overlap_score_credit = params.overlap_score_credit,
                                      .overlap_credit_decay = params.overlap_credit_decay,
                                      .prefill_load_scale = params.prefill_load_scale,
                                      .decode_active_request_weight = 0.1,
                                      .host_weight = 0.75,
                                      .disk_weight = 0.25,
                                      .track_prefill_tokens = tracks,
                                      .min_active_prefill_tokens = least};
    struct kvc_loads loads = {candidate, prefill, decode, requests};
    enum { TOP = 5 };
    struct kvc_choice got[QUERIES * TOP];
    struct kvi_score scores[RANKS];
    for (size_t i = 0; i < QUERIES; i++)
        isl[i] = (double)(16 * (q->offsets[i + 1] - q->offsets[i]) + below(16));
    CHECK(kvc_rank(p->kvc, q, isl, &params, &loads, TOP, got) == KVC_OK);
    for (size_t i = 0; i < QUERIES; i++) {
        size_t n = q->offsets[i + 1] - q->offsets[i];
        size_t found = kvi_find(p->reader, q->local + q->offsets[i], n, false, scores, RANKS);
        bool taken[RANKS] = {false};
        theirs.isl_tokens = isl[i];
        for (size_t place = 0; place < TOP; place++) {
            uint32_t best = UINT32_MAX;
            double best_cost = 0;
            for (uint32_t r = 0; r < RANKS; r++) {
                const struct kvi_score *s = score_of(scores, found, r);
                struct weir_candidate c = {.active_prefill_tokens = prefill[r],
                                           .active_decode_blocks = decode[r],
                                           .active_requests = requests[r],
                                           .additional_active_blocks = (double)n};
                c.device_blocks = s != NULL ? s->blocks[KVI_DEVICE] : 0;
                c.host_blocks = s != NULL ? s->blocks[KVI_HOST] : 0;
                c.disk_blocks = s != NULL ? s->blocks[KVI_DISK] : 0;
                double cost = weir_cost(&theirs, &c);
                if (candidate[r] && !taken[r] && (best == UINT32_MAX || cost < best_cost)) {
                    best = r;
                    best_cost = cost;
                }
            }
            const struct kvc_choice *mine = &got[i * TOP + place];
            CHECK_EQ_U64(mine->rank, best);
            if (best == UINT32_MAX)
                break;
            taken[best] = true;
            CHECK(memcmp(&mine->cost, &best_cost, sizeof(best_cost)) == 0); /* to the last bit */
        }
    }
}

static void compare(struct pair *p) {
    uint64_t local[QUERIES * DEPTH], offsets[QUERIES + 1];
    make_queries(local, offsets);
    struct kvc_queries q = {local, offsets, QUERIES};
    size_t room = below(3) == 0 ? 4 : RANKS;
    struct kvc_match got[QUERIES * RANKS];
    struct kvi_score scores[RANKS];
    uint32_t n_got[QUERIES];
    CHECK(kvc_table_commit(p->kvc) == KVC_OK);
    CHECK(kvc_match(p->kvc, &q, room, got, n_got) == KVC_OK);
    for (size_t i = 0; i < QUERIES; i++) {
        size_t n = kvi_find(p->reader, local + offsets[i], offsets[i + 1] - offsets[i], false,
                            scores, RANKS);
        CHECK_EQ_U64(n_got[i], n);
        for (size_t m = 0; m < n_got[i] && m < room; m++) {
            const struct kvc_match *mine = &got[i * room + m];
            const struct kvi_score *s = score_of(scores, n, mine->rank);
            CHECK(m == 0 || mine[-1].rank < mine->rank);
            CHECK_MSG(s != NULL && memcmp(s->blocks, mine->blocks, sizeof(mine->blocks)) == 0,
                      "rank %u: %u %u %u %u", mine->rank, mine->blocks[0], mine->blocks[1],
                      mine->blocks[2], mine->blocks[3]);
        }
    }
    compare_ranking(p, &q);
}

static uint32_t rank_of(struct kvi_worker w) {
    return (uint32_t)(w.worker_id - 100) * 3 + w.dp_rank;
}

static bool copy_event(void *arg, const struct kvi_event *e) {
    struct kvc_block *blocks = weir_calloc(e->n, sizeof(*blocks));
    for (size_t i = 0; i < e->n; i++)
        blocks[i] = (struct kvc_block){e->blocks[i].block_hash, e->blocks[i].tokens_hash};
    struct kvc_event out = {.kind = KVC_STORED,
                            .rank = rank_of(e->worker),
                            .tier = (uint32_t)e->tier,
                            .has_parent = e->has_parent,
                            .parent_hash = e->parent_hash,
                            .blocks = blocks,
                            .n = e->n};
    enum kvc_status st = kvc_table_apply(arg, &out);
    CHECK_MSG(st == KVC_OK, "copied: %s", kvc_status_text(st));
    weir_free(blocks);
    return st == KVC_OK;
}

static unsigned n_placed;

static bool copy_place(void *arg, struct kvi_worker worker, enum kvi_tier tier,
                       const uint64_t *path, size_t n, uint64_t name) {
    n_placed++;
    enum kvc_status st = kvc_table_place(arg, rank_of(worker), (uint32_t)tier, path, n, name);
    CHECK_MSG(st == KVC_OK, "placed: %s", kvc_status_text(st));
    return st == KVC_OK;
}

/* Another table in the place of this one, made from the index: nobody can tell. */
static void make_again(struct pair *p, const struct kvc_table_options *o) {
    struct kvc_table_stats before, after;
    kvc_table_get_stats(p->kvc, &before);
    kvc_table_destroy(p->kvc);
    CHECK(kvc_table_create(k, o, &p->kvc) == KVC_OK);
    if (below(2) == 0) {
        CHECK(kvi_copy(p->kvi, copy_event, copy_place, p->kvc) == KVI_OK);
    } else { /* in steps, of whatever size */
        struct kvi_walk *walk = kvi_walk_open(p->kvi);
        CHECK(walk != NULL);
        kvi_walk_place(walk, copy_place);
        for (bool more = true; more;)
            CHECK(kvi_walk_step(walk, 1 + below(100), copy_event, p->kvc, &more) == KVI_OK);
        kvi_walk_close(walk);
    }
    kvc_table_get_stats(p->kvc, &after);
    CHECK_EQ_U64(after.entries, before.entries);
}

static void one_round(size_t max_blocks, unsigned steps) {
    struct kvc_table_options o = {.max_blocks = max_blocks, .max_ranks = RANKS};
    struct pair p = {.kvi = kvi_create(NULL)};
    CHECK(kvc_table_create(k, &o, &p.kvc) == KVC_OK);
    p.reader = kvi_reader_open(p.kvi);
    names = 8u << below(6);
    for (unsigned i = 0; i < steps; i++) {
        uint32_t rank = (uint32_t)below(RANKS);
        uint32_t tier = below(3) > 0 ? KVC_DEVICE : (uint32_t)below(KVC_TIERS);
        uint64_t what = below(100);
        if (what < 60)
            store(&p, rank, tier);
        else if (what < 97)
            drop(&p, rank, tier);
        else if (below(4) == 0)
            clear(&p, rank);
        if (i % 200 == 199)
            compare(&p);
        if (i % 900 == 899 && max_blocks > 1000)
            make_again(&p, &o);
    }
    struct kvc_table_stats s;
    struct kvi_stats want;
    kvc_table_get_stats(p.kvc, &s);
    kvi_get_stats(p.kvi, &want);
    CHECK_EQ_U64(s.entries, want.entries);
    for (uint32_t r = 0; r < RANKS; r++)
        clear(&p, r);
    compare(&p);
    kvc_table_get_stats(p.kvc, &s);
    CHECK(s.entries == 0 && s.sets == 0); /* no reference to a set was lost */
    CHECK(max_blocks > 1000 || s.rebuilds > 0);
    kvi_reader_close(p.reader);
    kvi_destroy(p.kvi);
    kvc_table_destroy(p.kvc);
}

static void case_against_kvindex(void) {
    for (unsigned i = 0; i < (is_slow(k) ? 2 : 40); i++)
        one_round((size_t)1 << 16, 4000);
    CHECK(n_placed > 0); /* blocks behind a hole were copied */
}

/* A refused event changes nothing: what fits is found, as long as anything is. */
static void case_a_small_table_is_packed(void) {
    for (unsigned i = 0; i < (is_slow(k) ? 2 : 20); i++)
        one_round(300, 4000);
}

/* Many ranks with the same prefix: one set a block, found from any of them. */
static void case_many_ranks(void) {
    enum { MANY = 3000, BLOCKS = 50 };
    struct kvc_table_options o = {.max_blocks = 1000, .max_ranks = MANY};
    struct kvc_table *t;
    struct kvc_block blocks[BLOCKS];
    uint64_t local[BLOCKS], offsets[] = {0, BLOCKS};
    static struct kvc_match got[MANY];
    uint32_t n;
    CHECK(kvc_table_create(k, &o, &t) == KVC_OK);
    for (uint64_t i = 0; i < BLOCKS; i++)
        local[i] = i * 77 + 5;
    for (uint32_t r = 0; r < MANY; r++) {
        for (uint64_t i = 0; i < BLOCKS; i++)
            blocks[i] = (struct kvc_block){i + 1, local[i]};
        struct kvc_event e = {
            .kind = KVC_STORED, .rank = r, .blocks = blocks, .n = 1 + (size_t)(r % BLOCKS)};
        CHECK(kvc_table_apply(t, &e) == KVC_OK);
    }
    CHECK(kvc_table_commit(t) == KVC_OK);
    struct kvc_queries q = {local, offsets, 1};
    CHECK(kvc_match(t, &q, MANY, got, &n) == KVC_OK);
    CHECK_EQ_U64(n, MANY);
    for (uint32_t r = 0; r < MANY; r++)
        CHECK(got[r].rank == r && got[r].blocks[KVC_DEVICE] == 1 + r % BLOCKS);
    struct kvc_table_stats s;
    kvc_table_get_stats(t, &s);
    CHECK_EQ_U64(s.sets, BLOCKS); /* one for each depth */
    kvc_table_destroy(t);
}

/* Blocks of a chain, block i of content i + base. */
static void store_chain(struct kvc_table *t, uint32_t rank, uint64_t base, size_t n) {
    struct kvc_block *blocks = weir_calloc(n, sizeof(*blocks));
    for (uint64_t i = 0; i < n; i++)
        blocks[i] = (struct kvc_block){base + i + 1, base + i};
    struct kvc_event e = {.kind = KVC_STORED, .rank = rank, .blocks = blocks, .n = n};
    CHECK(kvc_table_apply(t, &e) == KVC_OK);
    weir_free(blocks);
}

/* The first n contents of a chain are held by so many ranks; the first of them hold this much. */
static void check_chain(struct kvc_table *t, uint64_t base, size_t n, const struct kvc_match *want,
                        uint32_t n_want) {
    enum { ROOM = 4 };
    struct kvc_match got[ROOM];
    uint64_t *local = weir_calloc(n, sizeof(*local)), offsets[] = {0, n};
    uint32_t n_got = 0;
    for (uint64_t i = 0; i < n; i++)
        local[i] = base + i;
    CHECK(kvc_match(t, &(struct kvc_queries){local, offsets, 1}, ROOM, got, &n_got) == KVC_OK);
    CHECK_EQ_U64(n_got, n_want);
    for (uint32_t i = 0; i < ROOM && i < n_want; i++)
        CHECK_MSG(memcmp(&got[i], &want[i], sizeof(got[i])) == 0, "rank %u: %u blocks", got[i].rank,
                  got[i].blocks[KVC_DEVICE]);
    weir_free(local);
}

/* A commit of more slots, sets and members than travel at once, each more than two stages. */
static void case_large_commits(void) {
    enum { SLOTS = 90000, SETS = 2400 };
    struct kvc_table_options o = {.max_blocks = 200000, .max_ranks = SETS};
    struct kvc_table *t;
    CHECK(kvc_table_create(k, &o, &t) == KVC_OK);
    store_chain(t, 7, 1 << 20, 10);
    CHECK(kvc_table_commit(t) == KVC_OK); /* whole; what follows are changes */
    store_chain(t, 5, 0, SLOTS);
    CHECK(kvc_table_commit(t) == KVC_OK);
    check_chain(t, 0, SLOTS, (struct kvc_match[]){{5, {SLOTS}}}, 1);
    struct kvc_table_stats s;
    for (uint32_t r = 0; r < SETS; r++)
        store_chain(t, r, 1 << 21, SETS - r);
    kvc_table_get_stats(t, &s);
    CHECK(s.sets >= SETS);
    CHECK(kvc_table_commit(t) == KVC_OK);
    check_chain(
        t, 1 << 21, SETS,
        (struct kvc_match[]){{0, {SETS}}, {1, {SETS - 1}}, {2, {SETS - 2}}, {3, {SETS - 3}}}, SETS);
    check_chain(t, 1 << 20, 10, (struct kvc_match[]){{7, {10}}}, 1);
    CHECK(kvc_table_commit(t) == KVC_OK); /* nothing to do */
    kvc_table_destroy(t);
}

/* Rank numbers up to the last. */
static void case_rank_numbers(void) {
    struct kvc_table_options o = {.max_blocks = 1000, .max_ranks = KVC_RANKS_MAX};
    struct kvc_table *t;
    CHECK(kvc_table_create(k, &o, &t) == KVC_OK);
    static const uint32_t ranks[] = {0, 255, 32767, 32768, 65534, 65535};
    for (size_t i = 0; i < 6; i++)
        store_chain(t, ranks[i], 50, 10 - i);
    CHECK(kvc_table_commit(t) == KVC_OK);
    check_chain(t, 50, 10, (struct kvc_match[]){{0, {10}}, {255, {9}}, {32767, {8}}, {32768, {7}}},
                6);
    CHECK(kvc_table_apply(t, &(struct kvc_event){.kind = KVC_CLEARED, .rank = 0}) == KVC_OK);
    CHECK(kvc_table_apply(t, &(struct kvc_event){.kind = KVC_CLEARED, .rank = 32767}) == KVC_OK);
    CHECK(kvc_table_commit(t) == KVC_OK);
    check_chain(t, 50, 10,
                (struct kvc_match[]){{255, {9}}, {32768, {7}}, {65534, {6}}, {65535, {5}}}, 4);
    kvc_table_destroy(t);
}

static void case_refusals(void) {
    struct kvc_table *t;
    struct kvc_block b = {1, 2};
    struct kvc_event e = {.kind = KVC_STORED, .rank = 4, .blocks = &b, .n = 1};
    CHECK(kvc_table_create(k, &(struct kvc_table_options){.max_ranks = KVC_RANKS_MAX + 1}, &t) ==
          KVC_INVALID);
    /* Slots are numbered in 32 bits, with room for marks. */
    struct kvc_table_options many = {.max_blocks = ((size_t)3 << 29) + 1, .max_ranks = 1};
    CHECK(kvc_table_create(k, &many, &t) == KVC_INVALID);
    CHECK(kvc_table_create(k, &(struct kvc_table_options){.max_ranks = 4}, &t) == KVC_OK);
    CHECK(kvc_table_apply(t, &e) == KVC_INVALID);
    e.rank = 3;
    e.tier = KVC_TIERS;
    CHECK(kvc_table_apply(t, &e) == KVC_INVALID);
    kvc_table_destroy(t);
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    k = open_back_end();
    CHECK_RUN(case_against_kvindex);
    CHECK_RUN(case_a_small_table_is_packed);
    CHECK_RUN(case_many_ranks);
    CHECK_RUN(case_large_commits);
    CHECK_RUN(case_rank_numbers);
    CHECK_RUN(case_refusals);
    kvc_close(k);
    return check_finish();
}
