/* Snapshots: one that a running reference system wrote, bytes written by hand from the description,
 * all three forms, random lists there and back, and every way of cutting one short. */
#include "test/radix_whole.h"

#include "base/rng.h"
#include "test/check.h"

enum { MAX_EVENTS = 40, MAX_BLOCKS = 12 };

static struct weir_arena arena;
static struct weir_buf bytes;

struct seen {
    struct weir_kv_event events[MAX_EVENTS];
    struct weir_kv_block blocks[MAX_EVENTS][MAX_BLOCKS];
    uint64_t removed[MAX_EVENTS][MAX_BLOCKS];
    size_t n;
};
static struct seen seen, want;

static void on_event(void *arg, const struct weir_kv_event *e) {
    struct seen *s = arg;
    CHECK(s->n < MAX_EVENTS && e->n_blocks <= MAX_BLOCKS && e->n_removed <= MAX_BLOCKS);
    s->events[s->n] = *e;
    for (size_t i = 0; i < e->n_blocks; i++)
        s->blocks[s->n][i] = e->blocks[i];
    for (size_t i = 0; i < e->n_removed; i++)
        s->removed[s->n][i] = e->removed[i];
    s->n++;
}

static size_t piece = 1; /* bytes of what is read at once */

static enum weir_status decode(struct weir_span from, uint64_t *ret_n) {
    piece = piece * 7 % 97 + 1;
    seen.n = 0;
    return radix_whole(from, piece, &arena, on_event, &seen, ret_n);
}

#define BYTES(s) weir_span(s, sizeof(s) - 1)

/* worker 7, event 2, stored behind 9: block (11, 12), then (13, 14); rank 3 */
#define WORKER "\x07\0\0\0\0\0\0\0"
#define EVENT "\x02\0\0\0\0\0\0\0"
#define KIND "\0\0\0\0"
#define PARENT "\x01\x09\0\0\0\0\0\0\0"
#define BLOCKS                                                                                     \
    "\x02\0\0\0\0\0\0\0"                                                                           \
    "\x0b\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0"                                                       \
    "\x0d\0\0\0\0\0\0\0\x0e\0\0\0\0\0\0\0\0"
#define RANK "\x03\0\0\0"
#define ONE "\x01\0\0\0\0\0\0\0"

static void expect_one(struct weir_span from, enum weir_kv_tier tier) {
    uint64_t n = 0;
    CHECK(decode(from, &n) == WEIR_OK);
    CHECK(n == 1 && seen.n == 1);
    const struct weir_kv_event *e = &seen.events[0];
    CHECK(e->worker_id == 7 && e->event_id == 2 && e->dp_rank == 3 && e->tier == tier);
    CHECK(e->kind == WEIR_KV_STORED && e->has_parent && e->parent_hash == 9 && e->n_blocks == 2);
    CHECK(seen.blocks[0][0].block_hash == 11 && seen.blocks[0][0].tokens_hash == 12);
    CHECK(seen.blocks[0][1].block_hash == 13 && seen.blocks[0][1].tokens_hash == 14);
}

static void case_forms(void) {
    /* 1.2: tier and start position; 1.1: tier; 1.0: neither. */
    expect_one(BYTES(ONE WORKER "\x01\0\0\0" EVENT KIND PARENT "\0" BLOCKS RANK), WEIR_TIER_HOST);
    expect_one(BYTES(ONE WORKER "\x02\0\0\0" EVENT KIND PARENT BLOCKS RANK), WEIR_TIER_DISK);
    expect_one(BYTES(ONE WORKER EVENT KIND PARENT BLOCKS RANK), WEIR_TIER_DEVICE);
    /* A block with media: one object at two places. */
    static const char media[] = ONE WORKER "\0\0\0\0" EVENT KIND "\0\0"
                                           "\x01\0\0\0\0\0\0\0"
                                           "\x0b\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\x01"
                                           "\x01\0\0\0\0\0\0\0"
                                           "\x63\0\0\0\0\0\0\0"
                                           "\x02\0\0\0\0\0\0\0"
                                           "\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0"
                                           "\x08\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0" RANK;
    uint64_t n = 0;
    CHECK(decode(BYTES(media), &n) == WEIR_OK);
    CHECK(n == 1 && seen.blocks[0][0].tokens_hash == 12 && !seen.events[0].has_parent);
}

static void rewrite(void *arg, const struct weir_kv_event *e) {
    on_event(&seen, e);
    weir_radix_put(arg, e);
}

/* The form and the order of members are theirs: written again it is the same, byte by byte. */
static void case_captured(void) {
    char data[4096];
    struct weir_radix_writer w;
    uint64_t n = 0;
    FILE *f = fopen("test/data/jetstream/radix-state-1.2.1.bin", "rb");
    CHECK(f != NULL);
    size_t len = fread(data, 1, sizeof(data), f);
    fclose(f);
    CHECK_EQ_U64(len, 1460);
    seen.n = 0;
    weir_radix_begin(&w, &bytes);
    CHECK(radix_whole(weir_span(data, len), 100, &arena, rewrite, &w, &n) == WEIR_OK && n == 6);
    CHECK(radix_written(&w) == WEIR_OK);
    CHECK(weir_span_eq(weir_buf_span(&bytes), weir_span(data, len)));
    for (size_t i = 0; i < 6; i++) {
        const struct weir_kv_event *e = &seen.events[i];
        CHECK(e->worker_id == (i == 0 || i == 2 || i == 5 ? 3354936021889401u : 3711321825364199u));
        CHECK(e->event_id == i && e->dp_rank == 0 && e->tier == WEIR_TIER_DEVICE);
        CHECK(!e->has_parent && !e->has_start_position && e->n_blocks == 12);
    }
    CHECK_EQ_U64(seen.blocks[0][0].block_hash, 2768405507930865717u);
    CHECK_EQ_U64(seen.blocks[5][0].tokens_hash, 16670680157919401031u);
}

static void case_written(void) {
    struct weir_radix_writer w;
    const struct weir_kv_block blocks[] = {{11, 12}, {13, 14}};
    const struct weir_kv_event e = {.worker_id = 7,
                                    .dp_rank = 3,
                                    .event_id = 2,
                                    .tier = WEIR_TIER_HOST,
                                    .kind = WEIR_KV_STORED,
                                    .has_parent = true,
                                    .parent_hash = 9,
                                    .blocks = blocks,
                                    .n_blocks = 2};
    static const char as[] = ONE WORKER "\x01\0\0\0" EVENT KIND PARENT "\0" BLOCKS RANK;
    weir_radix_begin(&w, &bytes);
    weir_radix_put(&w, &e);
    CHECK(radix_written(&w) == WEIR_OK);
    CHECK(weir_span_eq(weir_buf_span(&bytes), BYTES(as)));
    /* Over its bound: told, not cut. */
    struct weir_buf small;
    weir_buf_init(&small, 32);
    weir_radix_begin(&w, &small);
    weir_radix_put(&w, &e);
    CHECK(radix_written(&w) == WEIR_TOO_LARGE);
    weir_buf_fini(&small);
}

static void draw(struct weir_rng *rng, struct seen *to) {
    to->n = (size_t)weir_rng_below(rng, MAX_EVENTS);
    for (size_t i = 0; i < to->n; i++) {
        struct weir_kv_event *e = &to->events[i];
        *e = (struct weir_kv_event){.worker_id = weir_rng_u64(rng),
                                    .dp_rank = (uint32_t)weir_rng_u64(rng),
                                    .event_id = i,
                                    .tier = (enum weir_kv_tier)weir_rng_below(rng, 4),
                                    .kind = (enum weir_kv_kind)weir_rng_below(rng, 3)};
        if (e->kind == WEIR_KV_STORED) {
            e->has_parent = weir_rng_below(rng, 2) == 1;
            e->parent_hash = e->has_parent ? weir_rng_u64(rng) : 0;
            e->has_start_position = weir_rng_below(rng, 2) == 1;
            e->start_position = e->has_start_position ? (uint32_t)weir_rng_u64(rng) : 0;
            e->n_blocks = (size_t)weir_rng_below(rng, MAX_BLOCKS + 1);
            for (size_t k = 0; k < e->n_blocks; k++)
                to->blocks[i][k] = (struct weir_kv_block){weir_rng_u64(rng), weir_rng_u64(rng)};
            e->blocks = to->blocks[i];
        } else if (e->kind == WEIR_KV_REMOVED) {
            e->n_removed = (size_t)weir_rng_below(rng, MAX_BLOCKS + 1);
            for (size_t k = 0; k < e->n_removed; k++)
                to->removed[i][k] = weir_rng_u64(rng);
            e->removed = to->removed[i];
        }
    }
}

static void check_same(size_t i) {
    const struct weir_kv_event *a = &want.events[i], *b = &seen.events[i];
    CHECK(a->worker_id == b->worker_id && a->dp_rank == b->dp_rank && a->tier == b->tier &&
          a->kind == b->kind && a->event_id == b->event_id && a->has_parent == b->has_parent &&
          a->parent_hash == b->parent_hash && a->has_start_position == b->has_start_position &&
          a->start_position == b->start_position && a->n_blocks == b->n_blocks &&
          a->n_removed == b->n_removed);
    CHECK(memcmp(want.blocks[i], seen.blocks[i], a->n_blocks * sizeof(struct weir_kv_block)) == 0);
    CHECK(memcmp(want.removed[i], seen.removed[i], a->n_removed * sizeof(uint64_t)) == 0);
}

/* Taken out of the writer's buffer every now and then, it is the same. */
static void check_pieces(struct weir_rng *rng) {
    struct weir_radix_writer w;
    struct weir_buf part, whole;
    char head[WEIR_RADIX_HEAD];
    weir_buf_init(&part, bytes.max);
    weir_buf_init(&whole, bytes.max);
    weir_radix_begin(&w, &part);
    for (size_t i = 0; i < want.n; i++) {
        weir_radix_put(&w, &want.events[i]);
        if (weir_rng_u64(rng) % 3 > 0)
            continue;
        CHECK(weir_buf_append_span(&whole, weir_buf_span(&part)) == WEIR_OK);
        weir_buf_clear(&part);
    }
    CHECK(weir_buf_append_span(&whole, weir_buf_span(&part)) == WEIR_OK);
    CHECK(weir_radix_end(&w, head) == WEIR_OK);
    memcpy(whole.data, head, sizeof(head));
    CHECK(weir_span_eq(weir_buf_span(&whole), weir_buf_span(&bytes)));
    weir_buf_fini(&part);
    weir_buf_fini(&whole);
}

static void case_there_and_back(void) {
    struct weir_rng rng;
    struct weir_radix_writer w;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 200; round++) {
        uint64_t n = 0;
        draw(&rng, &want);
        weir_radix_begin(&w, &bytes);
        for (size_t i = 0; i < want.n; i++)
            weir_radix_put(&w, &want.events[i]);
        CHECK(radix_written(&w) == WEIR_OK);
        CHECK(decode(weir_buf_span(&bytes), &n) == WEIR_OK);
        CHECK(n == want.n && seen.n == want.n);
        for (size_t i = 0; i < want.n; i++)
            check_same(i);
        check_pieces(&rng);
    }
}

static void case_damage(void) {
    static const char whole[] = ONE WORKER "\x01\0\0\0" EVENT KIND PARENT "\0" BLOCKS RANK;
    static const char many[] = "\xff\xff\xff\xff\xff\xff\xff\xff" WORKER EVENT KIND PARENT;
    uint64_t n = 0;
    for (size_t len = 0; len + 1 < sizeof(whole); len++) {
        CHECK_MSG(decode(weir_span(whole, len), &n) == WEIR_PROTOCOL, "%zu bytes", len);
        CHECK(seen.n == 0);
    }
    CHECK(decode(BYTES(ONE WORKER "\x01\0\0\0" EVENT KIND PARENT "\0" BLOCKS RANK "x"), &n) ==
          WEIR_PROTOCOL);
    CHECK(decode(BYTES(many), &n) == WEIR_PROTOCOL);
    /* No such kind, no such tag of an option. */
    CHECK(decode(BYTES(ONE WORKER "\0\0\0\0" EVENT "\x09\0\0\0" RANK), &n) == WEIR_PROTOCOL);
    CHECK(decode(BYTES(ONE WORKER "\0\0\0\0" EVENT KIND "\x02\0" BLOCKS RANK), &n) ==
          WEIR_PROTOCOL);
    CHECK(decode(BYTES("\0\0\0\0\0\0\0\0"), &n) == WEIR_OK && n == 0);
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&bytes, 1 << 20);
    CHECK_RUN(case_forms);
    CHECK_RUN(case_captured);
    CHECK_RUN(case_written);
    CHECK_RUN(case_there_and_back);
    CHECK_RUN(case_damage);
    weir_buf_fini(&bytes);
    weir_arena_fini(&arena);
    return check_finish();
}
