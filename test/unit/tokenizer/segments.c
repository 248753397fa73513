/* The segment cache beside a plain table of what was put: what is found is what was put, what is
 * used stays, and the bound holds. */
#include "tokenizer/segments_priv.h"

#include "base/rng.h"
#include "test/check.h"

#include <stdlib.h>

enum { TEXTS = 600, TEXT_MAX = 3000, IDS_MAX = 900, KINDS = 2 };

struct thing {
    char text[TEXT_MAX];
    size_t len, n;
    uint32_t ids[IDS_MAX];
};
static struct thing things[TEXTS];

/* Many are the beginning of others, and all lengths come, so that entries wrap at every place. */
static void make_things(struct weir_rng *rng) {
    for (size_t k = 0; k < TEXTS; k++) {
        struct thing *t = &things[k];
        t->len = 1 + weir_rng_below(rng, k % 8 == 0 ? TEXT_MAX - 16 : 700);
        t->n = weir_rng_below(rng, t->len < IDS_MAX ? t->len + 1 : IDS_MAX);
        for (size_t i = 0; i < t->len; i++)
            t->text[i] = (char)('a' + i % 7);
        memcpy(t->text + t->len, &k, sizeof(k)); /* no two are equal */
        t->len += sizeof(k);
        for (size_t i = 0; i < t->n; i++)
            t->ids[i] = (uint32_t)weir_rng_u64(rng);
    }
}

/* The ids of another kind are others. */
static void ids_of(const struct thing *t, unsigned kind, uint32_t *ids) {
    for (size_t i = 0; i < t->n; i++)
        ids[i] = t->ids[i] + kind;
}

static bool found(struct wtok_segments *s, const struct thing *t, unsigned kind, bool put) {
    uint32_t got[IDS_MAX + 1], want[IDS_MAX + 1];
    struct weir_span text = weir_span(t->text, t->len);
    struct wtok_out out = {.ids = got, .room = IDS_MAX + 1};
    uint64_t hash = wtok_segments_hash(s, text, kind);
    wtok_segments_fetch(s, text, hash);
    enum weir_status st = wtok_segments_get(s, text, kind, hash, &out);
    ids_of(t, kind, want);
    if (st == WEIR_OK)
        CHECK(out.n == t->n && memcmp(got, want, t->n * sizeof(*want)) == 0);
    else
        CHECK(st == WEIR_NOT_FOUND && out.n == 0);
    if (st != WEIR_OK && put)
        wtok_segments_put(s, text, kind, hash, want, t->n);
    return st == WEIR_OK;
}

static void case_what_is_found_was_put(void) {
    static const size_t sizes[] = {0, 1000, 1 << 15, 100001, 1 << 18, 64 << 20};
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    make_things(&rng);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(sizes); i++) {
        struct wtok_segments *s;
        struct wtok_stats stats;
        bool put[TEXTS][KINDS] = {{false}}, all = sizes[i] > TEXTS * KINDS * 8192;
        uint64_t hits = 0, asked = 20000;
        CHECK(wtok_segments_create(sizes[i], &s) == WEIR_OK);
        for (uint64_t n = 0; n < asked; n++) {
            /* Low numbers come more often. */
            size_t k = weir_rng_below(&rng, 1 + weir_rng_below(&rng, TEXTS));
            unsigned kind = (unsigned)weir_rng_below(&rng, KINDS);
            bool hit = found(s, &things[k], kind, true);
            CHECK(!hit || put[k][kind]);
            CHECK(hit || !put[k][kind] || !all); /* nothing is lost where all have room */
            put[k][kind] = true;
            hits += hit;
        }
        wtok_segments_stats(s, &stats);
        CHECK_EQ_U64(stats.segment_hits, hits);
        CHECK_EQ_U64(stats.segment_misses, asked - hits);
        CHECK(stats.segment_bytes <= sizes[i]);
        CHECK((stats.segment_evictions > 0) == (sizes[i] >= 1 << 15 && !all));
        CHECK((stats.segment_bytes > 0) == (sizes[i] >= 1 << 15));
        wtok_segments_destroy(s);
    }
}

/* An entry that is asked for between others outlives ten times as many as there is room for. */
static void case_what_is_used_stays(void) {
    struct wtok_segments *s;
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    make_things(&rng);
    CHECK(wtok_segments_create(1 << 18, &s) == WEIR_OK);
    CHECK(!found(s, &things[1], 0, true));
    for (size_t round = 0; round < 5; round++)
        for (size_t k = 2; k < TEXTS; k++) {
            for (unsigned kind = 0; kind < KINDS; kind++)
                (void)found(s, &things[k], kind, true);
            CHECK_MSG(found(s, &things[1], 0, false), "lost behind text %zu of round %zu", k,
                      round);
        }
    wtok_segments_destroy(s);
}

static void case_room_for_the_ids(void) {
    struct wtok_segments *s;
    struct weir_span text = WEIR_SPAN_LIT("a text that is remembered");
    uint32_t ids[3] = {1, 2, 3}, got[3] = {0};
    CHECK(wtok_segments_create(1 << 18, &s) == WEIR_OK);
    uint64_t hash = wtok_segments_hash(s, text, 0);
    wtok_segments_put(s, text, 0, hash, ids, 3);
    struct wtok_out out = {.ids = got, .room = 2};
    CHECK(wtok_segments_get(s, text, 0, hash, &out) == WEIR_TOO_LARGE && out.n == 0);
    out.room = 3;
    CHECK(wtok_segments_get(s, text, 0, hash, &out) == WEIR_OK && out.n == 3);
    CHECK(memcmp(got, ids, sizeof(ids)) == 0);
    wtok_segments_destroy(s);
}

int main(void) {
    CHECK_RUN(case_what_is_found_was_put);
    CHECK_RUN(case_what_is_used_stays);
    CHECK_RUN(case_room_for_the_ids);
    return check_finish();
}
