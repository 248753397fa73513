/*
 * A ticket: WAITING (in the queue; the lock guards it) → GRANTED (routed, a call to its loop is
 * under way) → gone, in that call. Its loop may leave at any time: while WAITING it is freed at
 * once; while GRANTED the booking is freed at once and the call only frees the memory.
 *
 * No wake-up is lost: whoever makes room does so before it reads n_waiting; whoever waits raises
 * n_waiting before it looks for room once more.
 */
#include "frontend/admission.h"

#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

enum ticket_state { WAITING, GRANTED, ABANDONED };

struct weir_ticket {
    struct weir_queue_item item;
    struct weir_list node; /* in the admission's list of those not delivered */
    struct weir_admission *admission;
    struct weir_admission_ask ask;
    enum ticket_state state;
    enum weir_status status;
    struct weir_route route;
    struct weir_decision record;
};

struct weir_admission {
    pthread_mutex_t lock;
    unsigned refs; /* under the lock: the model's, and one a ticket */
    struct weir_router *router;
    struct weir_admission_config config;
    struct weir_queue *queue;
    struct weir_rng rng;
    struct weir_list undelivered; /* granted, but their loop's post queue was full */
    _Atomic size_t n_waiting;
    uint64_t at_once, after_waiting, left, refused[WEIR_QUEUE_N_REASONS];
};

static uint64_t now_ms(void) {
    return weir_now_ns() / 1000000;
}

static void unref(struct weir_admission *a) {
    pthread_mutex_lock(&a->lock);
    unsigned left = --a->refs;
    pthread_mutex_unlock(&a->lock);
    if (left > 0)
        return;
    weir_queue_destroy(a->queue);
    pthread_mutex_destroy(&a->lock);
    weir_free(a);
}

static void free_ticket(struct weir_ticket *t) {
    struct weir_admission *a = t->admission;
    weir_decision_fini(&t->record);
    weir_free(t);
    unref(a);
}

/* ---- admitting ------------------------------------------------------------------------------- */

static void deliver(void *arg) {
    struct weir_ticket *t = arg;
    pthread_mutex_lock(&t->admission->lock); /* what the granting thread wrote is there */
    enum ticket_state state = t->state;
    pthread_mutex_unlock(&t->admission->lock);
    if (state == GRANTED)
        t->ask.fn(t->ask.arg, t->status, &t->route, t->record.n > 0 ? &t->record : NULL);
    free_ticket(t);
}

static void send(struct weir_admission *a, struct weir_ticket *t) {
    enum weir_status st = weir_loop_post(t->ask.loop, deliver, t);
    if (st != WEIR_OK)
        weir_list_push_back(&a->undelivered, &t->node); /* the next pump tries again */
}

static void grant(struct weir_admission *a, struct weir_ticket *t, enum weir_status st,
                  uint64_t now) {
    weir_queue_pop(a->queue, &t->item, now);
    atomic_fetch_sub_explicit(&a->n_waiting, 1, memory_order_relaxed);
    t->state = GRANTED;
    t->status = st;
    a->after_waiting += st == WEIR_OK;
    if (a->config.on_granted != NULL)
        a->config.on_granted(a->config.arg, (double)(now - t->item.arrival_ms) / 1000);
    send(a, t);
}

/* A tenant whose share is full steps aside for the others; so many in one pass. */
enum { MOST_PASSED = 256 };

static void pump_locked(struct weir_admission *a) {
    struct weir_queue_item *x;
    uint64_t now = now_ms();
    unsigned passed = 0;
    WEIR_LIST_FOREACH(node, &a->undelivered) {
        struct weir_ticket *t = WEIR_CONTAINER_OF(node, struct weir_ticket, node);
        if (weir_loop_post(t->ask.loop, deliver, t) != WEIR_OK)
            break;
        weir_list_remove(node);
    }
    while ((x = weir_queue_peek(a->queue)) != NULL) {
        struct weir_ticket *t = WEIR_CONTAINER_OF(x, struct weir_ticket, item);
        struct weir_route_query *q = &t->ask.query;
        if (weir_queue_stale(a->queue, x, now)) {
            weir_queue_reprice(a->queue, x, weir_router_uncached(a->router, q), now);
            continue;
        }
        q->now_ms = now;
        q->rng = &a->rng;
        q->least_uncached = x->uncached_tokens;
        q->explain = t->ask.explain ? &t->record : NULL;
        enum weir_status st = weir_router_route(a->router, q, &t->route);
        if (st == WEIR_AGAIN && t->route.share_full && passed++ < MOST_PASSED) {
            weir_queue_pass(a->queue, x);
            continue;
        }
        /* A session whose own worker is busy is refused: it must not hold up those behind it. */
        if (st == WEIR_AGAIN || (st == WEIR_OVERLOADED && !q->has_session))
            break;
        grant(a, t, st, now);
    }
    weir_queue_unpass(a->queue);
}

void weir_admission_pump(struct weir_admission *a) {
    pthread_mutex_lock(&a->lock);
    pump_locked(a);
    pthread_mutex_unlock(&a->lock);
}

/* Pairs with the raise in enter(): see the file's head. */
static void on_room(void *arg) {
    struct weir_admission *a = arg;
    if (atomic_load_explicit(&a->n_waiting, memory_order_seq_cst) > 0)
        weir_admission_pump(a);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static enum weir_status wait_in_line(struct weir_admission *a, const struct weir_admission_ask *ask,
                                     struct weir_ticket **ret, size_t *ret_ahead,
                                     struct weir_queue_refusal *refusal) {
    struct weir_queue_stats s;
    uint64_t now = now_ms();
    struct weir_ticket *t = weir_calloc(1, sizeof(*t));
    if (t == NULL)
        return WEIR_NOMEM;
    t->admission = a;
    t->ask = *ask;
    weir_list_init(&t->node);
    t->item =
        (struct weir_queue_item){.strict_priority = ask->strict_priority,
                                 .priority_jump = ask->priority_jump,
                                 .uncached_tokens = weir_router_uncached(a->router, &ask->query),
                                 .klass = ask->klass,
                                 .deadline_ms = ask->patience_ms > 0 ? now + ask->patience_ms : 0,
                                 .tenant = ask->tenant};
    weir_queue_stats(a->queue, now, &s);
    enum weir_status st = weir_queue_push(a->queue, &t->item, now, refusal);
    if (st != WEIR_OK) {
        if (st == WEIR_LIMIT)
            a->refused[refusal->reason]++;
        weir_free(t);
        return st;
    }
    a->refs++;
    atomic_fetch_add_explicit(&a->n_waiting, 1, memory_order_seq_cst);
    *ret = t;
    *ret_ahead = s.requests;
    pump_locked(a); /* room that came meanwhile told nobody */
    return WEIR_AGAIN;
}

enum weir_status weir_admission_enter(struct weir_admission *a,
                                      const struct weir_admission_ask *ask,
                                      struct weir_route *ret_route, struct weir_decision *record,
                                      struct weir_ticket **ret_ticket, size_t *ret_ahead,
                                      struct weir_queue_refusal *ret_refusal) {
    struct weir_admission_ask mine = *ask;
    enum weir_status st = WEIR_AGAIN;
    mine.query.may_wait = true;
    pthread_mutex_lock(&a->lock);
    if (atomic_load_explicit(&a->n_waiting, memory_order_relaxed) == 0) {
        struct weir_route_query q = mine.query;
        q.rng = &a->rng;
        q.explain = record;
        q.now_ms = now_ms();
        st = weir_router_route(a->router, &q, ret_route);
        a->at_once += st == WEIR_OK;
    }
    if (st == WEIR_AGAIN)
        st = wait_in_line(a, &mine, ret_ticket, ret_ahead, ret_refusal);
    pthread_mutex_unlock(&a->lock);
    return st;
}

void weir_admission_leave(struct weir_ticket *t) {
    struct weir_admission *a = t->admission;
    uint64_t booking = 0;
    bool waited = false, mine = false;
    pthread_mutex_lock(&a->lock);
    if (t->state == WAITING) {
        weir_queue_remove(a->queue, &t->item);
        atomic_fetch_sub_explicit(&a->n_waiting, 1, memory_order_relaxed);
        a->left++;
        waited = mine = true;
    } else if (t->state == GRANTED) {
        booking = t->status == WEIR_OK ? t->route.booking : 0;
        t->state = ABANDONED;
        if (!weir_list_empty(&t->node)) { /* no call is under way */
            weir_list_remove(&t->node);
            mine = true;
        }
    }
    pthread_mutex_unlock(&a->lock);
    if (waited) /* it may have been the one that held the others up */
        on_room(a);
    else
        weir_router_free(a->router, booking);
    if (mine)
        free_ticket(t);
}

/* ---- figures, begin and end ------------------------------------------------------------------ */

void weir_admission_stats(struct weir_admission *a, struct weir_admission_stats *ret) {
    pthread_mutex_lock(&a->lock);
    *ret = (struct weir_admission_stats){.admitted_at_once = a->at_once,
                                         .admitted_after_waiting = a->after_waiting,
                                         .left = a->left};
    weir_queue_stats(a->queue, now_ms(), &ret->queue);
    for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
        ret->refused[i] = a->refused[i];
    pthread_mutex_unlock(&a->lock);
}

void weir_admission_class_stats(struct weir_admission *a, size_t klass, size_t *ret_requests,
                                uint64_t *ret_tokens) {
    pthread_mutex_lock(&a->lock);
    weir_queue_class_stats(a->queue, klass, ret_requests, ret_tokens);
    pthread_mutex_unlock(&a->lock);
}

enum weir_status weir_admission_create(const struct weir_admission_config *config,
                                       struct weir_router *router, struct weir_admission **ret) {
    struct weir_admission *a = weir_calloc(1, sizeof(*a));
    if (a == NULL)
        return WEIR_NOMEM;
    a->config = *config;
    a->router = router;
    a->refs = 1;
    weir_list_init(&a->undelivered);
    weir_rng_seed_os(&a->rng);
    if (weir_queue_create(&config->queue, &a->queue) != WEIR_OK) {
        weir_free(a);
        return WEIR_NOMEM;
    }
    pthread_mutex_init(&a->lock, NULL);
    weir_router_on_room(router, on_room, a);
    *ret = a;
    return WEIR_OK;
}

void weir_admission_destroy(struct weir_admission *a) {
    if (a == NULL)
        return;
    weir_router_on_room(a->router, NULL, NULL);
    unref(a);
}
