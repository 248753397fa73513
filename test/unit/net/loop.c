/* Loops: timers against a naive model, deferred work, posting across threads, signals, polls. */
#include "net/loop.h"
#include "base/mem.h"
#include "test/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static struct weir_loop *make_loop(void) {
    struct weir_loop *loop = NULL;
    CHECK(weir_loop_create(0, &loop) == WEIR_OK);
    return loop;
}

static void stop_it(void *arg) {
    weir_loop_stop(arg);
}

/* ---- timers ------------------------------------------------------------------------------- */

enum { N_TIMERS = 2000 };

struct model_arg {
    struct model *m;
    int i;
};
struct model {
    struct weir_loop *loop;
    struct weir_timer timers[N_TIMERS];
    uint64_t due[N_TIMERS], order[N_TIMERS]; /* the model: due time and start order */
    bool running[N_TIMERS];
    uint64_t n_started, n_running, n_fired;
    bool wrong;
    struct weir_rng rng;
    struct model_arg arg[N_TIMERS];
};

static void model_start(struct model *m, int i, uint64_t delay) {
    m->due[i] = weir_loop_now_ms(m->loop) + delay;
    m->order[i] = m->n_started++;
    if (!m->running[i])
        m->n_running++;
    m->running[i] = true;
    CHECK(weir_timer_start(&m->timers[i], delay) == WEIR_OK);
}

static void model_stop(struct model *m, int i) {
    if (m->running[i])
        m->n_running--;
    m->running[i] = false;
    weir_timer_stop(&m->timers[i]);
}

static void on_model_timer(void *arg) {
    const struct model_arg *a = arg;
    struct model *m = a->m;
    int i = a->i;
    m->n_fired++;
    if (!m->running[i] || m->due[i] > weir_loop_now_ms(m->loop))
        m->wrong = true;
    for (int j = 0; j < N_TIMERS; j++)
        if (m->running[j] && j != i &&
            (m->due[j] < m->due[i] || (m->due[j] == m->due[i] && m->order[j] < m->order[i])))
            m->wrong = true;
    m->running[i] = false;
    m->n_running--;
    if (m->n_fired < 20000) {
        for (int k = 0; k < 3; k++) {
            int j = (int)weir_rng_below(&m->rng, N_TIMERS);
            if (weir_rng_below(&m->rng, 4) == 0)
                model_stop(m, j);
            else
                model_start(m, j, weir_rng_below(&m->rng, 30));
        }
    }
    if (m->n_running == 0)
        weir_loop_stop(m->loop);
}

static void on_kick(void *arg) {
    struct model *m = arg;
    for (int i = 0; i < N_TIMERS; i++)
        model_start(m, i, weir_rng_below(&m->rng, 50));
}

static void case_timers_fire_as_in_a_naive_model(void) {
    struct model *m = calloc(1, sizeof(*m));
    m->loop = make_loop();
    weir_rng_seed(&m->rng, check_seed());
    for (int i = 0; i < N_TIMERS; i++) {
        m->arg[i].m = m;
        m->arg[i].i = i;
        weir_timer_init(&m->timers[i], m->loop, on_model_timer, &m->arg[i]);
    }
    struct weir_timer kick; /* inside a turn the clock stands still, so the model can read it */
    weir_timer_init(&kick, m->loop, on_kick, m);
    CHECK(weir_timer_start(&kick, 0) == WEIR_OK);
    weir_loop_run(m->loop);
    CHECK(!m->wrong);
    CHECK_EQ_U64(m->n_running, 0);
    CHECK(m->n_fired >= 20000);
    for (int i = 0; i < N_TIMERS; i++)
        CHECK(!weir_timer_active(&m->timers[i]));
    weir_loop_destroy(m->loop);
    free(m);
}

struct again {
    struct weir_loop *loop;
    struct weir_timer zero, other;
    int n_zero;
};

static void on_zero(void *arg) {
    struct again *a = arg;
    CHECK(weir_timer_start(&a->zero, 0) == WEIR_OK);
    if (++a->n_zero == 10)
        CHECK(weir_timer_start(&a->other, 1) == WEIR_OK);
}

static void on_other(void *arg) {
    struct again *a = arg;
    weir_timer_stop(&a->zero);
    weir_loop_stop(a->loop);
}

/* A timer of zero that starts itself again takes turns with the rest of the loop. */
static void case_a_zero_timer_starves_nobody(void) {
    struct again a = {.loop = make_loop()};
    weir_timer_init(&a.zero, a.loop, on_zero, &a);
    weir_timer_init(&a.other, a.loop, on_other, &a);
    CHECK(weir_timer_start(&a.zero, 0) == WEIR_OK);
    weir_loop_run(a.loop);
    CHECK(a.n_zero >= 10);
    weir_loop_destroy(a.loop);
}

/* ---- deferred ----------------------------------------------------------------------------- */

struct later {
    struct weir_loop *loop;
    struct weir_deferred a, b, c;
    struct weir_timer start;
    char log[16];
    int n;
};

static void on_a(void *arg) {
    struct later *l = arg;
    l->log[l->n++] = 'a';
    weir_deferred_cancel(&l->b); /* armed before, cancelled in time */
    weir_loop_defer(l->loop, &l->c);
    weir_loop_defer(l->loop, &l->c);
}
static void on_b(void *arg) {
    struct later *l = arg;
    l->log[l->n++] = 'b';
}
static void on_c(void *arg) {
    struct later *l = arg;
    l->log[l->n++] = 'c';
    if (l->n < 15) {
        weir_loop_defer(l->loop, &l->c); /* more rounds than one place runs at once */
        return;
    }
    weir_loop_stop(l->loop);
}
static void on_start(void *arg) {
    struct later *l = arg;
    weir_loop_defer(l->loop, &l->a);
    weir_loop_defer(l->loop, &l->b);
    l->log[l->n++] = 's';
}

static void case_deferred_runs_once_per_arming_in_order(void) {
    struct later l = {.loop = make_loop()};
    weir_deferred_init(&l.a, on_a, &l);
    weir_deferred_init(&l.b, on_b, &l);
    weir_deferred_init(&l.c, on_c, &l);
    weir_timer_init(&l.start, l.loop, on_start, &l);
    CHECK(weir_timer_start(&l.start, 1) == WEIR_OK);
    weir_loop_run(l.loop);
    CHECK_EQ_STR(l.log, strlen(l.log), "saccccccccccccc");
    weir_loop_destroy(l.loop);
}

/* ---- posting ------------------------------------------------------------------------------ */

enum { N_POSTERS = 4, N_POSTS = 20000 };

struct poster {
    struct weir_loop *loop;
    struct receiver *r;
    uint32_t sent, got; /* got: on the loop's thread only */
    bool wrong;
};
struct posted {
    struct poster *from;
    uint32_t number;
};
struct receiver {
    struct weir_loop *loop;
    struct poster posters[N_POSTERS];
    unsigned finished;
};

static void on_posted(void *arg) {
    struct posted *p = arg;
    struct poster *from = p->from;
    if (p->number != from->got)
        from->wrong = true;
    from->got = p->number + 1;
    free(p);
    if (from->got == N_POSTS && ++from->r->finished == N_POSTERS)
        weir_loop_stop(from->r->loop);
}

static void *post_many(void *arg) {
    struct poster *p = arg;
    while (p->sent < N_POSTS) {
        struct posted *m = malloc(sizeof(*m));
        *m = (struct posted){p, p->sent};
        enum weir_status st = weir_loop_post(p->loop, on_posted, m);
        if (st == WEIR_OK) {
            p->sent++;
            continue;
        }
        free(m);
        if (st != WEIR_LIMIT) {
            p->wrong = true;
            break;
        }
        sched_yield();
    }
    return NULL;
}

static void case_posts_of_each_thread_arrive_in_order(void) {
    struct receiver r = {.loop = make_loop()};
    CHECK(weir_loop_thread_start(r.loop, "receiver") == WEIR_OK);
    pthread_t threads[N_POSTERS];
    for (int i = 0; i < N_POSTERS; i++) {
        r.posters[i] = (struct poster){.loop = r.loop, .r = &r};
        CHECK(pthread_create(&threads[i], NULL, post_many, &r.posters[i]) == 0);
    }
    for (int i = 0; i < N_POSTERS; i++)
        pthread_join(threads[i], NULL);
    weir_loop_thread_join(r.loop);
    for (int i = 0; i < N_POSTERS; i++) {
        CHECK(!r.posters[i].wrong);
        CHECK_EQ_U64(r.posters[i].got, N_POSTS);
    }
    CHECK(weir_loop_post(r.loop, stop_it, r.loop) == WEIR_CANCELLED);
    weir_loop_destroy(r.loop);
}

static void count(void *arg) {
    ++*(unsigned *)arg;
}

static void case_the_queue_is_bounded_and_accepted_posts_run(void) {
    struct weir_loop *loop = make_loop();
    unsigned n = 0;
    for (int i = 0; i < 65536; i++)
        CHECK(weir_loop_post(loop, count, &n) == WEIR_OK);
    CHECK(weir_loop_post(loop, count, &n) == WEIR_LIMIT);
    weir_loop_stop(loop);
    CHECK(weir_loop_post(loop, count, &n) == WEIR_CANCELLED);
    weir_loop_run(loop);
    CHECK_EQ_U64(n, 65536);
    weir_loop_destroy(loop);
}

static void case_a_loop_runs_again_after_a_stop(void) {
    struct weir_loop *loop = make_loop();
    weir_loop_stop(loop);
    weir_loop_run(loop);
    struct weir_timer t;
    weir_timer_init(&t, loop, stop_it, loop);
    CHECK(weir_timer_start(&t, 5) == WEIR_OK);
    weir_loop_run(loop);
    CHECK(!weir_timer_active(&t));
    weir_loop_destroy(loop);
}

struct racer {
    struct weir_loop *loop;
    unsigned accepted;
    _Atomic unsigned *ran;
};

static void on_race(void *arg) {
    atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

static void *post_until_refused(void *arg) {
    struct racer *r = arg;
    for (;;) {
        enum weir_status st = weir_loop_post(r->loop, on_race, r->ran);
        if (st == WEIR_CANCELLED)
            return NULL;
        if (st == WEIR_OK && ++r->accepted == 1000)
            weir_loop_stop(r->loop);
    }
}

static void case_a_stop_in_the_middle_loses_no_accepted_post(void) {
    for (int round = 0; round < 20; round++) {
        struct weir_loop *loop = make_loop();
        _Atomic unsigned ran = 0;
        struct racer racers[3];
        pthread_t threads[3];
        CHECK(weir_loop_thread_start(loop, "raced") == WEIR_OK);
        for (int i = 0; i < 3; i++) {
            racers[i] = (struct racer){loop, 0, &ran};
            CHECK(pthread_create(&threads[i], NULL, post_until_refused, &racers[i]) == 0);
        }
        unsigned accepted = 0;
        for (int i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
            accepted += racers[i].accepted;
        }
        weir_loop_thread_join(loop);
        CHECK_EQ_U64(atomic_load(&ran), accepted);
        weir_loop_destroy(loop);
    }
}

struct rally {
    struct weir_loop *loops[2];
    unsigned hits;
};

static void on_hit(void *arg) {
    struct rally *r = arg; /* one post is on its way at a time: the posts order the accesses */
    unsigned n = ++r->hits;
    if (n == 20000) {
        weir_loop_stop(r->loops[0]);
        weir_loop_stop(r->loops[1]);
    } else {
        CHECK(weir_loop_post(r->loops[n % 2], on_hit, r) == WEIR_OK);
    }
}

static void case_two_loops_hand_over_to_each_other(void) {
    struct rally r = {.loops = {make_loop(), make_loop()}};
    CHECK(weir_loop_post(r.loops[0], on_hit, &r) == WEIR_OK);
    CHECK(weir_loop_thread_start(r.loops[0], "left") == WEIR_OK);
    CHECK(weir_loop_thread_start(r.loops[1], "right") == WEIR_OK);
    weir_loop_thread_join(r.loops[0]);
    weir_loop_thread_join(r.loops[1]);
    CHECK_EQ_U64(r.hits, 20000);
    weir_loop_destroy(r.loops[0]);
    weir_loop_destroy(r.loops[1]);
}

/* ---- descriptors and signals -------------------------------------------------------------- */

struct watch {
    struct weir_loop *loop;
    struct weir_poll *poll;
    int fds[2], signum;
    char got;
};

static void on_signal(void *arg, int signum) {
    struct watch *w = arg;
    w->signum = signum;
    weir_loop_stop(w->loop);
}

static void on_fd(void *arg) {
    struct watch *w = arg;
    CHECK(read(w->fds[0], &w->got, 1) == 1);
    weir_poll_close(w->poll);
    CHECK(write(w->fds[1], "y", 1) == 1); /* nobody may hear of this one */
    CHECK(raise(SIGHUP) == 0);
}

static void case_polls_and_signals(void) {
    struct watch w = {.loop = make_loop()};
    CHECK(pipe(w.fds) == 0);
    CHECK(weir_loop_on_signal(w.loop, SIGHUP, on_signal, &w) == WEIR_OK);
    CHECK(weir_poll_open(w.loop, w.fds[0], on_fd, &w, &w.poll) == WEIR_OK);
    CHECK(write(w.fds[1], "x", 1) == 1);
    weir_loop_run(w.loop);
    CHECK(w.got == 'x');
    CHECK(w.signum == SIGHUP);
    weir_loop_destroy(w.loop);
    close(w.fds[0]);
    close(w.fds[1]);
}

/* ---- the time of an event ------------------------------------------------------------------ */

struct clock {
    struct weir_loop *loop;
    struct weir_timer timer;
    uint64_t last;
    unsigned n;
};

static void on_clock(void *arg) {
    struct clock *c = arg;
    uint64_t before = weir_now_ns(), event = weir_loop_event_ns(c->loop);
    CHECK(event >= before && event > c->last); /* not that of an earlier turn */
    while (weir_now_ns() <= event) {
    }
    CHECK(weir_loop_event_ns(c->loop) == event);
    c->last = event;
    if (++c->n == 5)
        weir_loop_stop(c->loop);
    else
        CHECK(weir_timer_start(&c->timer, 1) == WEIR_OK);
}

static void case_the_time_of_an_event_stands_still_within_it(void) {
    struct clock c = {.loop = make_loop()};
    weir_timer_init(&c.timer, c.loop, on_clock, &c);
    CHECK(weir_timer_start(&c.timer, 0) == WEIR_OK);
    weir_loop_run(c.loop);
    CHECK_EQ_U64(c.n, 5);
    weir_loop_destroy(c.loop);
}

int main(void) {
    CHECK_RUN(case_timers_fire_as_in_a_naive_model);
    CHECK_RUN(case_a_zero_timer_starves_nobody);
    CHECK_RUN(case_deferred_runs_once_per_arming_in_order);
    CHECK_RUN(case_posts_of_each_thread_arrive_in_order);
    CHECK_RUN(case_the_queue_is_bounded_and_accepted_posts_run);
    CHECK_RUN(case_a_loop_runs_again_after_a_stop);
    CHECK_RUN(case_a_stop_in_the_middle_loses_no_accepted_post);
    CHECK_RUN(case_two_loops_hand_over_to_each_other);
    CHECK_RUN(case_polls_and_signals);
    CHECK_RUN(case_the_time_of_an_event_stands_still_within_it);
    return check_finish();
}
