/*
 * The usual form of an event and its envelope: whatever is read by comparing bytes, the general
 * reader reads as well, and the same. Random events, each whole, cut short, and with bytes changed.
 */
#include "base/rng.h"
#include "test/check.h"
#include "wire/kv_event_priv.h"

static struct weir_arena arena, other;
static struct weir_rng rng;

/* Near the bounds of each width of a number. */
static uint64_t some_number(void) {
    static const unsigned widths[] = {0, 7, 8, 16, 32, 64};
    unsigned w = widths[weir_rng_below(&rng, WEIR_ARRAY_LEN(widths))];
    uint64_t edge = w == 64 ? (uint64_t)0 : (uint64_t)1 << w, near = weir_rng_below(&rng, 3);
    return weir_rng_below(&rng, 4) == 0 ? weir_rng_u64(&rng) : edge + near - 1;
}

static struct weir_kv_event some_event(void) {
    static struct weir_kv_block blocks[70000];
    static uint64_t hashes[70000];
    static const size_t counts[] = {0, 1, 1, 1, 2, 15, 16, 300, 65535, 65536};
    size_t n = counts[weir_rng_below(&rng, weir_rng_below(&rng, 50) == 0 ? 10 : 7)];
    bool large = weir_rng_below(&rng, 8) != 0; /* nearly all hashes take 8 bytes */
    for (size_t i = 0; i < n; i++) {
        hashes[i] = large ? weir_rng_u64(&rng) | 1ull << 63 : some_number();
        blocks[i] = (struct weir_kv_block){hashes[i], weir_rng_u64(&rng) | 1ull << 60};
    }
    struct weir_kv_event e = {.worker_id = some_number(),
                              .dp_rank = (uint32_t)some_number(),
                              .event_id = some_number(),
                              .kind = (enum weir_kv_kind)weir_rng_below(&rng, 3)};
    if (weir_rng_below(&rng, 8) == 0)
        e.tier = (enum weir_kv_tier)weir_rng_below(&rng, 4);
    if (e.kind == WEIR_KV_STORED) {
        e.has_parent = weir_rng_below(&rng, 4) != 0;
        e.parent_hash = e.has_parent ? some_number() : 0;
        e.has_start_position = weir_rng_below(&rng, 2) != 0;
        e.start_position = e.has_start_position ? (uint32_t)some_number() : 0;
        e.blocks = blocks;
        e.n_blocks = n;
    } else if (e.kind == WEIR_KV_REMOVED) {
        e.removed = hashes;
        e.n_removed = n;
    }
    return e;
}

static bool same(const struct weir_kv_event *a, const struct weir_kv_event *b) {
    return a->worker_id == b->worker_id && a->dp_rank == b->dp_rank && a->event_id == b->event_id &&
           a->tier == b->tier && a->kind == b->kind && a->has_parent == b->has_parent &&
           a->has_start_position == b->has_start_position && a->parent_hash == b->parent_hash &&
           a->start_position == b->start_position && a->n_blocks == b->n_blocks &&
           a->n_removed == b->n_removed && (a->blocks == NULL) == (b->blocks == NULL) &&
           (a->removed == NULL) == (b->removed == NULL) &&
           (a->n_blocks == 0 ||
            memcmp(a->blocks, b->blocks, a->n_blocks * sizeof(*a->blocks)) == 0) &&
           (a->n_removed == 0 ||
            memcmp(a->removed, b->removed, a->n_removed * sizeof(*a->removed)) == 0);
}

/* True when the usual form was recognized. The bytes are exactly as long as they say, so that a
 * sanitizer sees a read behind them. */
static bool check_event(const unsigned char *bytes, size_t len) {
    struct weir_mp a, b;
    struct weir_kv_event usual = {.event_id = 77}, general = {0};
    unsigned char *exact = malloc(len + 1);
    CHECK(exact != NULL);
    unsigned char *copy = exact + 1; /* nowhere aligned */
    memcpy(copy, bytes, len);
    weir_arena_reset(&arena);
    weir_arena_reset(&other);
    weir_mp_init(&a, weir_span((char *)copy, len));
    weir_mp_init(&b, weir_span((char *)copy, len));
    bool is = weir_kv_event_usual(&a, &arena, &usual);
    if (is)
        CHECK(weir_kv_event_read(&b, &other, &general) && a.pos == b.pos && same(&usual, &general));
    else
        CHECK(a.pos == 0 && !a.failed && usual.event_id == 77);
    free(exact);
    return is;
}

static bool check_envelope(const char *bytes, size_t len) {
    struct weir_envelope usual, general;
    char *copy = malloc(len + 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    weir_arena_reset(&other);
    bool is = weir_envelope_usual(weir_span(copy, len), &usual);
    if (is) {
        CHECK(weir_envelope_read(weir_span(copy, len), &other, &general) == WEIR_OK);
        CHECK(usual.publisher_id == general.publisher_id && usual.sequence == general.sequence &&
              usual.published_at_ms == general.published_at_ms &&
              weir_span_eq(usual.topic, general.topic) &&
              usual.payload.data == general.payload.data &&
              usual.payload.len == general.payload.len);
    }
    free(copy);
    return is;
}

/* One to three bytes near each other become others. */
static void spoil(char *bytes, size_t len) {
    size_t at = (size_t)weir_rng_below(&rng, len), n = 1 + (size_t)weir_rng_below(&rng, 3);
    for (size_t i = at; i < len && i < at + n; i++)
        bytes[i] = (char)(weir_rng_below(&rng, 2) == 0
                              ? weir_rng_u64(&rng)
                              : (unsigned char)bytes[i] ^ (uint64_t)1 << weir_rng_below(&rng, 8));
}

static void case_events(void) {
    struct weir_buf out;
    unsigned usual = 0, usual_spoiled = 0;
    weir_buf_init(&out, 8 << 20);
    for (int i = 0; i < 20000; i++) {
        struct weir_kv_event e = some_event();
        weir_buf_clear(&out);
        CHECK(weir_kv_events_encode(&e, 1, &out) == WEIR_OK);
        unsigned char *p = (unsigned char *)out.data + 1; /* behind the head of the array */
        size_t len = out.len - 1;
        usual += check_event(p, len);
        if (len > 4096 && i % 16 != 0)
            continue;
        CHECK(!check_event(p, (size_t)weir_rng_below(&rng, len)));
        spoil((char *)p, len);
        usual_spoiled += check_event(p, len);
    }
    weir_buf_fini(&out);
    CHECK(usual > 8000 && usual_spoiled > 500);
}

/* What a worker's usual event is: that it is recognized, not only that it is read. */
static void case_recognized(void) {
    const struct weir_kv_block block = {UINT64_MAX - 5, 1ull << 40};
    const uint64_t hash = UINT64_MAX - 5;
    const struct weir_kv_event events[] = {
        {.worker_id = 1ull << 63,
         .event_id = 70000,
         .kind = WEIR_KV_STORED,
         .has_parent = true,
         .parent_hash = 1ull << 62,
         .blocks = &block,
         .n_blocks = 1},
        {.worker_id = 7,
         .event_id = 3,
         .dp_rank = 2,
         .kind = WEIR_KV_STORED,
         .blocks = &block,
         .n_blocks = 1},
        {.worker_id = 7, .event_id = 4, .kind = WEIR_KV_REMOVED, .removed = &hash, .n_removed = 1},
    };
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(events); i++) {
        weir_buf_clear(&out);
        CHECK(weir_kv_events_encode(&events[i], 1, &out) == WEIR_OK);
        CHECK(check_event((unsigned char *)out.data + 1, out.len - 1));
    }
    weir_buf_fini(&out);
}

static void case_envelopes(void) {
    static const char payload[70000] = {'\x90'};
    static const size_t lengths[] = {0, 1, 200, 255, 256, 65535, 65536};
    struct weir_buf out;
    unsigned usual = 0;
    weir_buf_init(&out, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        const struct weir_envelope env = {
            .topic =
                weir_span("kv-events and more words than 31", (size_t)weir_rng_below(&rng, 33)),
            .publisher_id = some_number(),
            .sequence = some_number(),
            .published_at_ms = some_number(),
            .payload = weir_span(
                payload, lengths[weir_rng_below(&rng, i % 32 == 0 ? WEIR_ARRAY_LEN(lengths) : 5)])};
        weir_buf_clear(&out);
        CHECK(weir_envelope_encode(&env, &out) == WEIR_OK);
        CHECK(check_envelope(out.data, out.len) == (env.topic.len < 32));
        CHECK(!check_envelope(out.data, (size_t)weir_rng_below(&rng, out.len)));
        spoil(out.data, out.len < 100 ? out.len : 100);
        usual += check_envelope(out.data, out.len);
    }
    weir_buf_fini(&out);
    CHECK(usual > 500);
}

int main(void) {
    weir_rng_seed(&rng, 20261128);
    weir_arena_init(&arena, 8 << 20);
    weir_arena_init(&other, 8 << 20);
    CHECK_RUN(case_events);
    CHECK_RUN(case_recognized);
    CHECK_RUN(case_envelopes);
    weir_arena_fini(&arena);
    weir_arena_fini(&other);
    return check_finish();
}
