/* The waiting room under threads: loops ask, hold and leave at random. Never more run than there is
 * room for, nobody is lost, and nothing stays booked. */
#include "frontend/admission.h"

#include "base/mem.h"
#include "test/check.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>

enum { LOOPS = 3, WORKERS = 2, ASKS = 400, AT_ONCE = 40 };

static struct weir_router *router;
static struct weir_admission *room;
static _Atomic unsigned running, most_running, granted, left, over;

struct part {
    struct weir_loop *loop;
    unsigned asked;
    struct weir_rng rng;
};

struct asker {
    struct part *part;
    struct weir_ticket *ticket;
    uint64_t booking;
    unsigned turns; /* to hold the place, or to wait before leaving */
    bool leaves;
};

static void ask_more(struct part *p);

static void finish(struct asker *a) {
    struct part *p = a->part;
    weir_free(a);
    ask_more(p);
    atomic_fetch_add(&over, 1);
}

static void hold(void *arg) {
    struct asker *a = arg;
    if (a->turns-- > 0 && weir_loop_post(a->part->loop, hold, a) == WEIR_OK)
        return;
    atomic_fetch_sub(&running, 1);
    weir_router_free(router, a->booking);
    finish(a);
}

static void begin(struct asker *a, const struct weir_route *route) {
    unsigned n = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&most_running);
    while (n > most && !atomic_compare_exchange_weak(&most_running, &most, n))
        ;
    atomic_fetch_add(&granted, 1);
    a->booking = route->booking;
    hold(a);
}

static void on_turn(void *arg, enum weir_status st, const struct weir_route *route,
                    const struct weir_decision *record) {
    struct asker *a = arg;
    (void)record;
    a->ticket = NULL;
    if (st != WEIR_OK || a->leaves) /* those that leave are told nothing any more */
        abort();
    begin(a, route);
}

static void leave_later(void *arg) {
    struct asker *a = arg;
    if (a->turns-- > 0 && weir_loop_post(a->part->loop, leave_later, a) == WEIR_OK)
        return;
    weir_admission_leave(a->ticket);
    atomic_fetch_add(&left, 1);
    finish(a);
}

static void ask_one(void *arg) {
    struct part *p = arg;
    struct weir_route route;
    struct weir_queue_refusal f;
    size_t ahead = 0;
    struct asker *a = weir_calloc(1, sizeof(*a));
    if (a == NULL)
        abort();
    a->part = p;
    a->turns = (unsigned)weir_rng_below(&p->rng, 4);
    struct weir_admission_ask ask = {
        .query = {.isl_tokens = 1 + weir_rng_below(&p->rng, 50), .pinned_rank = -1},
        .strict_priority = (uint32_t)weir_rng_below(&p->rng, 3),
        .tenant = weir_rng_below(&p->rng, 4),
        .loop = p->loop,
        .fn = on_turn,
        .arg = a};
    enum weir_status st = weir_admission_enter(room, &ask, &route, NULL, &a->ticket, &ahead, &f);
    if (st == WEIR_OK) {
        begin(a, &route);
    } else if (st != WEIR_AGAIN) {
        abort();
    } else if (weir_rng_below(&p->rng, 4) == 0) {
        /* At once: the turn may have been granted already, and its call be under way. */
        a->leaves = true;
        a->turns = 0;
        leave_later(a);
    }
}

static void ask_more(struct part *p) {
    if (p->asked == ASKS)
        return;
    p->asked++;
    if (weir_loop_post(p->loop, ask_one, p) != WEIR_OK)
        abort();
}

static void start(void *arg) {
    for (int i = 0; i < AT_ONCE; i++)
        ask_more(arg);
}

static void on_room(void *arg) {
    (void)arg;
    weir_admission_room(room);
}

static void case_threads(void) {
    static struct part parts[LOOPS];
    struct weir_router_config c;
    struct weir_admission_config ac = {.queue = {.policy = WEIR_QUEUE_WSPT, .quantum = 10}};
    struct weir_admission_stats s;
    struct weir_worker_load loads[WORKERS];
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_LEAST_LOADED;
    c.queue_threshold = 0;
    CHECK(weir_router_create(&c, &router) == WEIR_OK);
    CHECK(weir_admission_create(&ac, router, &room) == WEIR_OK);
    weir_router_on_room(router, on_room, NULL);
    for (uint64_t i = 1; i <= WORKERS; i++) {
        struct weir_router_worker w = {.worker_id = i, .dp_size = 1, .max_num_batched_tokens = 100};
        CHECK(weir_router_worker_put(router, &w) == WEIR_OK);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        weir_rng_seed(&parts[i].rng, check_seed() + i);
        CHECK(weir_loop_create(i, &parts[i].loop) == WEIR_OK);
        CHECK(weir_loop_post(parts[i].loop, start, &parts[i]) == WEIR_OK);
        CHECK(weir_loop_thread_start(parts[i].loop, "ask") == WEIR_OK);
    }
    while (atomic_load(&over) < LOOPS * ASKS) { /* the loops' own pump stands in for the tick */
        weir_admission_pump(room);
        sched_yield();
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        weir_loop_stop(parts[i].loop);
        weir_loop_thread_join(parts[i].loop);
    }
    CHECK_EQ_U64(atomic_load(&granted) + atomic_load(&left), LOOPS * ASKS);
    CHECK(atomic_load(&left) > 0 && atomic_load(&granted) > LOOPS * ASKS / 2);
    CHECK_MSG(atomic_load(&most_running) <= WORKERS, "%u ran at once", atomic_load(&most_running));
    weir_admission_stats(room, &s);
    CHECK(s.queue.requests == 0 && s.queue.tokens == 0);
    CHECK_EQ_U64(weir_router_loads(router, 0, loads, WORKERS), WORKERS);
    for (int i = 0; i < WORKERS; i++)
        CHECK(loads[i].active_requests == 0 && loads[i].active_prefill_tokens == 0);
    weir_router_on_room(router, NULL, NULL);
    weir_admission_destroy(room);
    weir_router_destroy(router);
    for (unsigned i = 0; i < LOOPS; i++)
        weir_loop_destroy(parts[i].loop);
}

int main(void) {
    CHECK_RUN(case_threads);
    return check_finish();
}
