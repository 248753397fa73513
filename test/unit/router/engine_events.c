/*
 * Conversion rule by rule, and a random engine against a plain model: after any history of stores,
 * copies, removals and clears the index holds for every prompt exactly the prefix that the engine
 * holds.
 */
#include "router/engine_events.h"

#include "base/rng.h"
#include "kvindex/kvi.h"
#include "test/check.h"

enum { BS = 4 };

static struct weir_engine_rank *rank;
static struct weir_kv_event ev;
static struct weir_span lora;

static void fresh(void) {
    weir_engine_rank_destroy(rank);
    rank = NULL;
    CHECK(weir_engine_rank_create(BS, 0, &rank) == WEIR_OK);
}

static struct weir_engine_event stored(const uint64_t *hashes, size_t n, const uint32_t *tokens) {
    return (struct weir_engine_event){.kind = WEIR_ENGINE_STORED,
                                      .hashes = hashes,
                                      .n_hashes = n,
                                      .tokens = tokens,
                                      .n_tokens = n * BS,
                                      .block_size = BS,
                                      .group = -1};
}

static struct weir_engine_event removed(const uint64_t *hashes, size_t n) {
    return (struct weir_engine_event){
        .kind = WEIR_ENGINE_REMOVED, .hashes = hashes, .n_hashes = n, .group = -1};
}

static bool convert(const struct weir_engine_event *e) {
    return weir_engine_rank_convert(rank, e, &ev, &lora);
}

static const uint32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint64_t names[] = {101, 102, 103};

static uint64_t local(size_t block, const char *salt) {
    return kvi_block_hash(tokens + block * BS, BS,
                          kvi_seed(NULL, 0, salt, salt != NULL ? strlen(salt) : 0));
}

static void case_blocks_are_hashed_again(void) {
    fresh();
    struct weir_engine_event e = stored(names, 3, tokens);
    CHECK(convert(&e));
    CHECK(ev.kind == WEIR_KV_STORED && ev.n_blocks == 3 && !ev.has_parent);
    for (size_t i = 0; i < 3; i++)
        CHECK(ev.blocks[i].block_hash == names[i] && ev.blocks[i].tokens_hash == local(i, NULL));
    /* Fewer tokens than names: only whole blocks. */
    fresh();
    e.n_tokens = 2 * BS + 1;
    CHECK(convert(&e) && ev.n_blocks == 2);
    /* Another block size: nothing. */
    fresh();
    e = stored(names, 3, tokens);
    e.block_size = 8;
    CHECK(!convert(&e));
}

static void case_salt_is_inherited(void) {
    fresh();
    struct weir_engine_event e = stored(names, 1, tokens);
    e.salt = WEIR_SPAN_LIT("s");
    CHECK(convert(&e) && ev.blocks[0].tokens_hash == local(0, "s"));
    e = stored(names + 1, 1, tokens + BS);
    e.has_parent = true;
    e.parent = names[0];
    CHECK(convert(&e) && ev.has_parent && ev.parent_hash == names[0]);
    CHECK(ev.blocks[0].tokens_hash == local(1, "s"));
    /* Another salt than the parent's is a contradiction: left out, and so are its children. */
    e = stored(names + 2, 1, tokens + 2 * BS);
    e.has_parent = true;
    e.parent = names[1];
    e.salt = WEIR_SPAN_LIT("t");
    CHECK(!convert(&e));
    const uint64_t child[] = {104};
    e = stored(child, 1, tokens);
    e.has_parent = true;
    e.parent = names[2];
    CHECK(!convert(&e));
    struct weir_engine_rank_stats s;
    weir_engine_rank_get_stats(rank, &s);
    CHECK_EQ_U64(s.ambiguous, 2);
}

static void case_one_name_in_two_namespaces(void) {
    fresh();
    struct weir_engine_event e = stored(names, 1, tokens);
    CHECK(convert(&e));
    e.salt = WEIR_SPAN_LIT("s");
    CHECK(!convert(&e)); /* the first meaning stays */
    e = removed(names, 1);
    CHECK(!convert(&e)); /* two copies were counted */
    CHECK(convert(&e) && ev.n_removed == 1);
}

static void case_copies_are_counted(void) {
    fresh();
    struct weir_engine_event e = stored(names, 2, tokens), r = removed(names, 2);
    CHECK(convert(&e) && convert(&e));
    CHECK(!convert(&r));
    CHECK(convert(&r) && ev.kind == WEIR_KV_REMOVED && ev.n_removed == 2);
    CHECK(!convert(&r)); /* not held any more */
    /* So is one that a single event names twice. */
    const uint64_t twice[] = {names[0], names[1], names[0]};
    CHECK(convert(&e));
    e.n_hashes = 1;
    CHECK(convert(&e));
    r = removed(twice, 3);
    CHECK(convert(&r) && ev.n_removed == 2 && ev.removed[0] == names[1] &&
          ev.removed[1] == names[0]);
    CHECK(!convert(&r) && convert(&e));
    const uint64_t again[] = {names[0], names[0]};
    r = removed(again, 2);
    CHECK(convert(&r) && ev.n_removed == 1 && !convert(&r));
    e = stored(names, 2, tokens);
    r = removed(names, 2);
    /* A copy on another tier is another copy. */
    CHECK(convert(&e));
    e.tier = WEIR_TIER_HOST;
    CHECK(convert(&e) && ev.tier == WEIR_TIER_HOST);
    CHECK(convert(&r) && ev.tier == WEIR_TIER_DEVICE);
    r.tier = WEIR_TIER_HOST;
    CHECK(convert(&r) && ev.tier == WEIR_TIER_HOST);
}

static void case_media_ends_the_chain(void) {
    fresh();
    struct weir_engine_event e = stored(names, 3, tokens);
    e.media = true;
    e.first_media_block = 1;
    CHECK(convert(&e) && ev.n_blocks == 1);
    struct weir_engine_event r = removed(names, 3);
    CHECK(convert(&r) && ev.n_removed == 1 && ev.removed[0] == names[0]);
}

static void case_groups(void) {
    fresh();
    struct weir_engine_event e = stored(names, 1, tokens);
    e.group = 1; /* nothing is known of it: only group 0 counts */
    CHECK(!convert(&e));
    e.attention = WEIR_ATTENTION_MAIN;
    CHECK(convert(&e));
    struct weir_engine_event r = removed(names, 1);
    r.group = 1; /* learned */
    CHECK(convert(&r));
    e.group = 0;
    e.attention = WEIR_ATTENTION_OTHER;
    CHECK(!convert(&e));
    e.attention = WEIR_ATTENTION_UNTOLD;
    CHECK(!convert(&e));
}

static void case_what_is_refused(void) {
    fresh();
    const uint64_t twice[] = {1, 1};
    struct weir_engine_event e = stored(twice, 2, tokens);
    CHECK(!convert(&e));
    e = stored(names, 1, tokens);
    e.has_parent = true;
    e.parent = names[0]; /* its own parent */
    CHECK(!convert(&e));
    e = stored(names, 1, tokens);
    e.remote = true;
    CHECK(!convert(&e));
    e = stored(names, 1, tokens);
    e.has_lora_id = true; /* an adapter without a name */
    CHECK(!convert(&e));
    e.lora = WEIR_SPAN_LIT("ad");
    e.hashes = names + 1;
    CHECK(convert(&e) && weir_span_eqz(lora, "ad"));
    /* "none" written as 0 */
    e = stored(names + 2, 1, tokens);
    e.has_parent = true;
    CHECK(convert(&e) && !ev.has_parent);
}

/* Of a size that is not told the tokens have to fit. */
static void case_untold_size(void) {
    fresh();
    struct weir_engine_event e = stored(names, 1, tokens);
    e.block_size = 0;
    CHECK(convert(&e) && ev.n_blocks == 1);
    e = stored(names + 1, 1, tokens);
    e.block_size = 0;
    e.n_tokens = 2 * BS; /* a block of twice the size, and the half of it would be hashed */
    CHECK(!convert(&e));
}

/* In Dynamo's index adapters are part of the hash, and its salts have lost their prefix. */
static void case_as_dynamo(void) {
    fresh();
    weir_engine_rank_hash_as_dynamo(rank);
    struct weir_engine_event e = stored(names, 1, tokens);
    e.lora = WEIR_SPAN_LIT("ad");
    CHECK(convert(&e));
    CHECK_EQ_U64(ev.blocks[0].tokens_hash, kvi_block_hash(tokens, BS, kvi_seed("ad", 2, NULL, 0)));
    e = stored(names + 1, 1, tokens);
    e.salt = WEIR_SPAN_LIT("dynamo-cache-salt:s");
    CHECK(convert(&e) && ev.blocks[0].tokens_hash == local(0, "s"));
    e = stored(names + 2, 1, tokens);
    e.salt = WEIR_SPAN_LIT("s");
    CHECK(convert(&e) && ev.blocks[0].tokens_hash == local(0, "s"));
}

static void case_full_table(void) {
    weir_engine_rank_destroy(rank);
    rank = NULL;
    CHECK(weir_engine_rank_create(BS, 2, &rank) == WEIR_OK);
    struct weir_engine_event e = stored(names, 3, tokens);
    CHECK(convert(&e) && ev.n_blocks == 2);
    struct weir_engine_event r = removed(names, 3);
    CHECK(convert(&r));
    e = stored(names + 2, 1, tokens + 2 * BS);
    CHECK(convert(&e)); /* its room is free again */
}

/* ---- a random engine ---------------------------------------------------------------------- */

enum { SEQS = 12, DEPTH = 6, STEPS = 4000 };

/* Conversation s: block d has tokens that hold s and d; conversations share their first blocks in
 * pairs. Two salts. */
static void fill_tokens(unsigned s, unsigned d, uint32_t *out) {
    unsigned who = d < 2 ? s / 4 * 4 : s;
    for (unsigned i = 0; i < BS; i++)
        out[i] = who * 1000 + d * 10 + i;
}

struct held {
    unsigned copies;
    uint64_t name;
};

static void apply(struct kvi_index *index, const struct weir_engine_event *e) {
    if (!convert(e))
        return;
    struct kvi_worker w = {1, 0};
    struct kvi_block blocks[DEPTH];
    for (size_t i = 0; i < ev.n_blocks; i++)
        blocks[i] = (struct kvi_block){ev.blocks[i].block_hash, ev.blocks[i].tokens_hash};
    if (ev.kind == WEIR_KV_STORED)
        CHECK(kvi_store(index, w, KVI_DEVICE, ev.has_parent, ev.parent_hash, blocks, ev.n_blocks,
                        NULL) == KVI_OK);
    else if (ev.kind == WEIR_KV_REMOVED)
        CHECK(kvi_remove(index, w, KVI_DEVICE, ev.removed, ev.n_removed) == KVI_OK);
    else
        kvi_clear(index, w);
}

static void case_random_engine(void) {
    struct weir_rng rng;
    struct kvi_index *index = kvi_create(NULL);
    struct kvi_reader *reader = kvi_reader_open(index);
    static struct held held[SEQS][DEPTH];
    static const char *const salts[] = {"", "x"};
    uint64_t next_name = 1;
    weir_rng_seed(&rng, check_seed());
    fresh();
    memset(held, 0, sizeof(held));
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned s = (unsigned)(weir_rng_u64(&rng) % SEQS),
                 dice = (unsigned)(weir_rng_u64(&rng) % 100);
        const char *salt = salts[s % 2];
        uint64_t hashes[DEPTH];
        uint32_t ids[DEPTH * BS];
        size_t n = 0;
        unsigned have = 0;
        while (have < DEPTH && held[s][have].copies > 0)
            have++;
        if (dice < 50) { /* more of the conversation, or a copy of all of it */
            unsigned from = dice < 40 ? have : 0;
            unsigned to = from + 1 + (unsigned)(weir_rng_u64(&rng) % DEPTH);
            for (unsigned d = from; d < DEPTH && d < to; d++) {
                if (held[s][d].copies++ == 0)
                    held[s][d].name = next_name++;
                hashes[n] = held[s][d].name;
                fill_tokens(s, d, ids + n++ * BS);
            }
            struct weir_engine_event e = stored(hashes, n, ids);
            e.has_parent = from > 0;
            e.parent = from > 0 ? held[s][from - 1].name : 0;
            e.salt = from == 0 ? weir_span_z(salt) : weir_span(NULL, 0);
            if (n > 0)
                apply(index, &e);
        } else if (dice < 98) { /* the last blocks go first */
            for (unsigned d = have; d-- > 0 && n < 1 + dice % 3;) {
                hashes[n++] = held[s][d].name;
                held[s][d].copies--;
                if (held[s][d].copies > 0)
                    break;
            }
            struct weir_engine_event e = removed(hashes, n);
            apply(index, &e);
        } else {
            struct weir_engine_event e = {.kind = WEIR_ENGINE_CLEARED, .group = -1};
            memset(held, 0, sizeof(held));
            apply(index, &e);
        }
        for (unsigned q = 0; q < SEQS; q++) {
            uint64_t locals[DEPTH];
            struct kvi_score score = {0};
            unsigned want = 0;
            for (unsigned d = 0; d < DEPTH; d++)
                fill_tokens(q, d, ids + d * BS);
            kvi_hash_blocks(ids, DEPTH * BS, BS, kvi_seed(NULL, 0, salts[q % 2], q % 2), false,
                            locals, DEPTH);
            size_t found = kvi_find(reader, locals, DEPTH, false, &score, 1);
            /* Blocks of equal content under several names count as one. */
            for (unsigned other = q % 2; other < SEQS; other += 2) {
                unsigned common = other == q ? DEPTH : other / 4 == q / 4 ? 2 : 0, got = 0;
                while (got < common && held[other][got].copies > 0)
                    got++;
                want = got > want ? got : want;
            }
            CHECK_MSG((found > 0 ? score.blocks[KVI_DEVICE] : 0) == want,
                      "step %u, conversation %u: index %u, engine %u", step, q,
                      found > 0 ? score.blocks[KVI_DEVICE] : 0, want);
        }
    }
    kvi_reader_close(reader);
    kvi_destroy(index);
}

int main(void) {
    CHECK_RUN(case_blocks_are_hashed_again);
    CHECK_RUN(case_salt_is_inherited);
    CHECK_RUN(case_one_name_in_two_namespaces);
    CHECK_RUN(case_copies_are_counted);
    CHECK_RUN(case_media_ends_the_chain);
    CHECK_RUN(case_groups);
    CHECK_RUN(case_what_is_refused);
    CHECK_RUN(case_untold_size);
    CHECK_RUN(case_as_dynamo);
    CHECK_RUN(case_full_table);
    CHECK_RUN(case_random_engine);
    weir_engine_rank_destroy(rank);
    return check_finish();
}
