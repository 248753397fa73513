/*
 * Batches of removals, most of them like the one before: what a batch says is what each of its
 * events says in a batch of its own, where there is nothing to be like. A batch that ends inside an
 * event is refused.
 */
#include "wire/engine_event.h"

#include "base/msgpack.h"
#include "base/rng.h"
#include "test/said.h"

enum { BATCHES = 3000, EVENTS_MAX = 24 };

static struct weir_arena arena;
static struct weir_rng rng;

static void on_event(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    add("%d tier %d remote %d group %" PRIi64 " attention %d:", e->kind, e->tier, e->remote,
        e->group, e->attention);
    for (size_t i = 0; i < e->n_hashes; i++)
        add(" %" PRIu64, e->hashes[i]);
    add("\n");
}

/* Every form that a name of a block may have; most are 8 bytes of an unsigned integer. */
static void put_name(struct weir_buf *b, unsigned form) {
    struct weir_mpw w;
    char bytes[40];
    uint64_t name = weir_rng_u64(&rng);
    weir_mpw_init(&w, b);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)weir_rng_u64(&rng);
    if (form == 0)
        weir_mpw_i64(&w, -(int64_t)(name >> 1) - 1);
    else if (form == 1)
        weir_mpw_u64(&w, name >> 32 >> weir_rng_below(&rng, 32));
    else if (form == 2)
        weir_mpw_bin(&w, weir_span(bytes, 8 + weir_rng_below(&rng, 3)));
    else if (form == 3)
        weir_mpw_bin(&w, weir_span(bytes, 32));
    else
        weir_mpw_u64(&w, name);
}

/* One event in words that are the last ones' mostly. */
static void put_event(struct weir_buf *b, unsigned words, unsigned form) {
    static const char *const media[] = {"GPU", "CPU", "GPUX", "DISK"};
    struct weir_mpw w;
    unsigned n = words % 7 == 6 ? 2 : 1;
    weir_mpw_init(&w, b);
    if (words % 2 == 0) {
        weir_mpw_map(&w, 4);
        weir_mpw_str_z(&w, "type");
    } else {
        weir_mpw_array(&w, 4);
    }
    weir_mpw_str_z(&w, words % 11 == 10 ? "BlockGone" : "BlockRemoved");
    if (words % 2 == 0)
        weir_mpw_str_z(&w, "block_hashes");
    weir_mpw_array(&w, n);
    for (unsigned i = 0; i < n; i++)
        put_name(b, form);
    if (words % 2 == 0)
        weir_mpw_str_z(&w, "medium");
    weir_mpw_str_z(&w, media[words / 2 % 4]);
    if (words % 2 == 0)
        weir_mpw_str_z(&w, words % 3 == 0 ? "locality" : "group_idx");
    if (words % 3 == 0)
        weir_mpw_str_z(&w, words % 9 == 0 ? "LOCAL" : "REMOTE");
    else
        weir_mpw_u64(&w, words / 5);
}

static enum weir_status decode(const struct weir_buf *events, size_t from, size_t to, unsigned n,
                               size_t cut) {
    struct weir_buf b;
    struct weir_mpw w;
    struct weir_engine_batch batch;
    weir_buf_init(&b, 1 << 20);
    weir_mpw_init(&w, &b);
    weir_mpw_array(&w, 3);
    weir_mpw_f64(&w, 1.5);
    weir_mpw_array(&w, n);
    CHECK(weir_buf_append(&b, events->data + from, to - from) == WEIR_OK);
    weir_mpw_u64(&w, 0);
    CHECK(w.status == WEIR_OK && cut < b.len);
    char *exact = malloc(b.len - cut); /* so that a read behind the end is seen */
    CHECK(exact != NULL);
    memcpy(exact, b.data, b.len - cut);
    enum weir_status st =
        weir_engine_batch_decode(weir_span(exact, b.len - cut), &arena, on_event, NULL, &batch);
    free(exact);
    weir_buf_fini(&b);
    return st;
}

static void one_batch(void) {
    static char alone[1 << 16];
    struct weir_buf events;
    size_t ends[EVENTS_MAX + 1] = {0};
    unsigned n = 1 + (unsigned)weir_rng_below(&rng, EVENTS_MAX), words = 0, form = 0;
    weir_buf_init(&events, 1 << 20);
    for (unsigned i = 0; i < n; i++) {
        if (i == 0 || weir_rng_below(&rng, 6) == 0) {
            words = (unsigned)weir_rng_below(&rng, 200);
            form = (unsigned)weir_rng_below(&rng, 8);
        }
        put_event(&events, words, form);
        ends[i + 1] = events.len;
    }
    len = 0;
    for (unsigned i = 0; i < n; i++)
        CHECK(decode(&events, ends[i], ends[i + 1], 1, 0) == WEIR_OK);
    size_t n_alone = len;
    memcpy(alone, text, len);
    len = 0;
    CHECK(decode(&events, 0, events.len, n, 0) == WEIR_OK);
    CHECK_MSG(len == n_alone && memcmp(text, alone, len) == 0, "%.*swant\n%.*s", (int)len, text,
              (int)n_alone, alone);
    for (size_t cut = 1; cut < 24; cut++)
        CHECK(decode(&events, 0, events.len, n, cut) == WEIR_INVALID);
    weir_buf_fini(&events);
}

static void case_like_the_last(void) {
    for (unsigned i = 0; i < BATCHES; i++)
        one_batch();
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    weir_arena_init(&arena, 1 << 20);
    CHECK_RUN(case_like_the_last);
    weir_arena_fini(&arena);
    return check_finish();
}
