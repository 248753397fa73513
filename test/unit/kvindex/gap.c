/* The order of one rank's events: cases from the shared spec "kvrouter" 2.5, then random streams.
 */
#include "kvindex/kvi_gap.h"

#include "base/rng.h"
#include "test/check.h"

static struct weir_rng rng;

/* Writes what happens as text: "a5" apply 5, "d5" drop 5, "R" reset, "F" ask all, "f4" ask from 4,
 * "G" given up. Items are their ids. */
struct log {
    char text[4096];
    size_t n;
    uint64_t question;
    uint32_t delay_ms;
};

static void note(void *arg, const struct kvi_gap_action *a) {
    static const char letters[] = {'a', 'd', 'R', 'F', 'f', 'G'};
    struct log *l = arg;
    uint64_t v = a->kind == KVI_GAP_ASK_FROM ? a->from : (uintptr_t)a->item;
    bool number = a->kind <= KVI_GAP_DROP || a->kind == KVI_GAP_ASK_FROM;
    l->n += (size_t)snprintf(l->text + l->n, sizeof(l->text) - l->n,
                             number ? "%c%" PRIu64 " " : "%c ", letters[a->kind], v);
    if (a->kind == KVI_GAP_ASK_FULL || a->kind == KVI_GAP_ASK_FROM) {
        l->question = a->question;
        l->delay_ms = a->delay_ms;
    }
}

static void event(struct kvi_gap *g, uint64_t publisher, uint64_t id, struct log *l) {
    kvi_gap_event(g, publisher, id, false, (void *)(uintptr_t)id, note, l);
}

static void expect(struct log *l, const char *want) {
    l->text[l->n] = '\0';
    CHECK_MSG(strcmp(l->text, want) == 0, "got \"%s\", want \"%s\"", l->text, want);
    l->n = 0;
}

static void case_start_gap_and_stale(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 0, true));
    kvi_gap_open(&g, 1, note, &l);
    event(&g, 1, 5, &l);
    event(&g, 1, 6, &l);
    expect(&l, "F ");
    kvi_gap_restored(&g, l.question, 4, note, &l);
    expect(&l, "a5 a6 ");
    event(&g, 1, 6, &l);
    event(&g, 1, 7, &l);
    event(&g, 1, 10, &l);
    event(&g, 1, 11, &l);
    expect(&l, "d6 a7 f8 ");
    kvi_gap_restored(&g, l.question, 9, note, &l);
    expect(&l, "a10 a11 ");
    event(&g, 1, 14, &l);
    kvi_gap_restored(&g, l.question, 14, note, &l); /* the answer had the event itself */
    event(&g, 1, 15, &l);
    expect(&l, "f12 d14 a15 ");
    CHECK_EQ_U64(g.stale, 2);
    kvi_gap_fini(&g, note, &l);
}

static void case_full_queue_asks_again(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 2, true));
    kvi_gap_resume(&g, 1, 0);
    event(&g, 1, 1, &l);
    for (uint64_t id = 3; id <= 6; id++)
        event(&g, 1, id, &l);
    expect(&l, "a1 f2 d3 d4 ");
    kvi_gap_restored(&g, l.question, 2, note, &l);
    expect(&l, "f3 ");
    kvi_gap_restored(&g, l.question - 1, 9, note, &l); /* an old answer */
    kvi_gap_restored(&g, l.question, 4, note, &l);
    expect(&l, "a5 a6 ");
    kvi_gap_fini(&g, note, &l);
}

static void case_retries_then_goes_on_with_a_hole(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 0, true));
    kvi_gap_resume(&g, 1, 3);
    event(&g, 1, 5, &l);
    event(&g, 1, 8, &l);
    expect(&l, "f4 ");
    for (int i = 0; i < KVI_GAP_RETRIES; i++) {
        kvi_gap_failed(&g, l.question, note, &l);
        expect(&l, "f4 ");
        CHECK_EQ_U64(l.delay_ms, 200u << i);
    }
    kvi_gap_failed(&g, l.question, note, &l);
    event(&g, 1, 9, &l);
    expect(&l, "G a5 a8 a9 ");
    kvi_gap_fini(&g, note, &l);
}

static void case_cleared_is_a_barrier(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 0, true));
    kvi_gap_resume(&g, 1, 1);
    event(&g, 1, 4, &l);
    uint64_t old = l.question;
    event(&g, 1, 6, &l);
    kvi_gap_event(&g, 1, 5, true, (void *)5, note, &l);
    expect(&l, "f2 d4 a5 a6 ");
    kvi_gap_restored(&g, old, 3, note, &l); /* void */
    event(&g, 1, 7, &l);
    expect(&l, "a7 ");
    event(&g, 1, 9, &l);
    old = l.question;
    kvi_gap_barrier(&g, note, &l); /* another rank was cleared: asked again */
    expect(&l, "f8 f8 ");
    kvi_gap_restored(&g, old, 8, note, &l);
    expect(&l, "");
    kvi_gap_restored(&g, l.question, 8, note, &l);
    expect(&l, "a9 ");
    kvi_gap_fini(&g, note, &l);
}

static void case_restarts(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 0, true));
    kvi_gap_resume(&g, 1, 50);
    event(&g, 2, 51, &l); /* another publisher */
    expect(&l, "R F ");
    kvi_gap_restored(&g, l.question, 50, note, &l);
    event(&g, 2, 1, &l); /* counts from the beginning */
    expect(&l, "a51 R F ");
    kvi_gap_restored(&g, l.question, 0, note, &l);
    event(&g, 2, 2, &l);
    expect(&l, "a1 a2 ");
    CHECK_EQ_U64(g.restarts, 2);
    kvi_gap_fini(&g, note, &l);
}

static void case_nobody_to_ask(void) {
    struct kvi_gap g;
    struct log l = {.n = 0};
    CHECK(kvi_gap_init(&g, 0, false));
    event(&g, 1, 7, &l);
    event(&g, 1, 8, &l);
    event(&g, 1, 11, &l);
    event(&g, 1, 10, &l);
    expect(&l, "a7 a8 a11 d10 ");
    CHECK_EQ_U64(g.dropped, 1);
    kvi_gap_fini(&g, note, &l);
}

/* A lossy, reordering network and a worker that answers from its log: each event takes effect
 * exactly once and in order, whatever is lost. */
struct sim {
    uint64_t state; /* newest id in effect */
    uint64_t newest, returned, sent;
    uint64_t question, from;
    bool asked;
};

static void on_action(void *arg, const struct kvi_gap_action *a) {
    struct sim *s = arg;
    uint64_t id = (uintptr_t)a->item;
    switch (a->kind) {
    case KVI_GAP_APPLY:
        CHECK_EQ_U64(id, s->state + 1);
        s->state = id;
        s->returned++;
        break;
    case KVI_GAP_DROP:
        s->returned++;
        break;
    case KVI_GAP_ASK_FULL:
    case KVI_GAP_ASK_FROM:
        CHECK(a->kind == KVI_GAP_ASK_FULL || a->from == s->state + 1);
        s->asked = true;
        s->question = a->question;
        break;
    case KVI_GAP_RESET:
    case KVI_GAP_GIVE_UP:
        CHECK(false);
    }
}

static void one_stream(size_t max_pending) {
    struct kvi_gap g;
    struct sim s = {.state = 10, .newest = 10};
    unsigned failures = 0;
    CHECK(kvi_gap_init(&g, max_pending, true));
    kvi_gap_open(&g, 1, on_action, &s);
    uint64_t held = 0; /* an event overtaken by the next one */
    for (int i = 0; i < 3000; i++) {
        if (s.asked && weir_rng_below(&rng, 4) == 0) {
            s.asked = false;
            if (failures < KVI_GAP_RETRIES && weir_rng_below(&rng, 3) == 0) {
                failures++;
                kvi_gap_failed(&g, s.question, on_action, &s);
            } else { /* the worker's whole log up to now */
                failures = 0;
                s.state = s.newest > s.state ? s.newest : s.state;
                kvi_gap_restored(&g, s.question, s.state, on_action, &s);
            }
            continue;
        }
        uint64_t id = ++s.newest;
        if (weir_rng_below(&rng, 8) == 0)
            continue; /* lost */
        if (held == 0 && weir_rng_below(&rng, 8) == 0) {
            held = id;
            continue;
        }
        kvi_gap_event(&g, 1, id, false, (void *)(uintptr_t)id, on_action, &s);
        s.sent++;
        if (held != 0 && weir_rng_below(&rng, 2) == 0) {
            kvi_gap_event(&g, 1, held, false, (void *)(uintptr_t)held, on_action, &s);
            s.sent++;
            held = 0;
        }
    }
    while (s.asked) {
        s.asked = false;
        s.state = s.newest;
        kvi_gap_restored(&g, s.question, s.state, on_action, &s);
    }
    CHECK(g.state == KVI_GAP_LIVE);
    kvi_gap_fini(&g, on_action, &s);
    CHECK_EQ_U64(s.sent, s.returned);
}

static void case_random_streams(void) {
    weir_rng_seed(&rng, check_seed());
    for (int i = 0; i < 300; i++)
        one_stream(1 + weir_rng_below(&rng, 20));
}

int main(void) {
    CHECK_RUN(case_start_gap_and_stale);
    CHECK_RUN(case_full_queue_asks_again);
    CHECK_RUN(case_retries_then_goes_on_with_a_hole);
    CHECK_RUN(case_cleared_is_a_barrier);
    CHECK_RUN(case_restarts);
    CHECK_RUN(case_nobody_to_ask);
    CHECK_RUN(case_random_streams);
    return check_finish();
}
