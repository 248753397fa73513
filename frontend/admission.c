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
    struct weir_queue_item item; /* first */
    struct weir_list node;       /* in the admission's list of those not delivered */
    struct weir_admission *admission;
    struct weir_admission_ask ask;
    struct weir_route_gate gate; /* of its policy class; the query points here */
    enum ticket_state state;
    enum weir_status status;
    struct weir_route route;
    struct weir_decision record;
};

/* As many as a file or the flags can have; of what is in the queue it counts itself. */
enum { MAX_CLASSES = WEIR_POLICY_CLASSES };
struct class_counts {
    uint64_t received, late, refused[WEIR_QUEUE_N_REASONS];
};

struct weir_admission {
    pthread_mutex_t lock;
    unsigned refs; /* under the lock: the model's, and one a ticket */
    struct weir_router *router;
    struct weir_admission_config config;
    struct weir_class_queue *queue;
    struct weir_rng rng;
    struct weir_list undelivered; /* granted, but their loop's post queue was full */
    _Atomic size_t n_waiting;
    uint64_t at_once, after_waiting, left;
    struct class_counts classes[MAX_CLASSES];
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
    weir_class_queue_destroy(a->queue);
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
    weir_class_queue_pop(a->queue, &t->item, now);
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

static bool may_go(void *arg, const struct weir_queue_item *x) {
    struct weir_admission *a = arg;
    const struct weir_ticket *t =
        (const struct weir_ticket *)(const void *)x; /* its first member */
    struct weir_route_query q = t->ask.query;
    q.now_ms = now_ms();
    return weir_router_may_go(a->router, &q);
}

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
    while ((x = weir_class_queue_next(a->queue, may_go, a)) != NULL) {
        struct weir_ticket *t = WEIR_CONTAINER_OF(x, struct weir_ticket, item);
        struct weir_route_query *q = &t->ask.query;
        if (weir_class_queue_stale(a->queue, x, now)) {
            weir_class_queue_reprice(a->queue, x, weir_router_uncached(a->router, q), now);
            continue;
        }
        q->now_ms = now;
        q->rng = &a->rng;
        q->least_uncached = x->uncached_tokens;
        q->explain = t->ask.explain ? &t->record : NULL;
        enum weir_status st = weir_router_route(a->router, q, &t->route);
        bool others = t->route.share_full || a->config.profile != NULL;
        if (st == WEIR_AGAIN && others && passed++ < MOST_PASSED) {
            weir_class_queue_pass(a->queue, x);
            continue;
        }
        /* A session whose own worker is busy is refused: it must not hold up those behind it. */
        if (st == WEIR_AGAIN || (st == WEIR_OVERLOADED && !q->has_session))
            break;
        grant(a, t, st, now);
    }
    weir_class_queue_unpass(a->queue);
}

void weir_admission_pump(struct weir_admission *a) {
    pthread_mutex_lock(&a->lock);
    pump_locked(a);
    pthread_mutex_unlock(&a->lock);
}

/* Pairs with the raise in enter(): see the file's head. */
void weir_admission_room(struct weir_admission *a) {
    if (atomic_load_explicit(&a->n_waiting, memory_order_seq_cst) > 0)
        weir_admission_pump(a);
}

/* ---- coming and going ------------------------------------------------------------------------ */

/* The class of a request and what is full for it; without a policy file as it says itself. */
struct place {
    uint32_t klass;
    uint64_t uncached;
    bool priced; /* uncached is known */
    struct weir_route_gate gate;
};

static struct place place_of(struct weir_admission *a, const struct weir_admission_ask *ask) {
    const struct weir_policy_profile *p = a->config.profile;
    struct place out = {.klass = ask->klass};
    if (p == NULL)
        return out;
    out.priced = p->n_buckets > 1;
    if (out.priced)
        out.uncached = weir_router_uncached(a->router, &ask->query);
    out.klass = (uint32_t)weir_policy_classify(p, ask->policy_class, out.uncached);
    const struct weir_policy_class *c = &p->classes[out.klass];
    out.gate = (struct weir_route_gate){c->busy_tokens, c->busy_frac};
    return out;
}

static struct class_counts *counts_of(struct weir_admission *a, size_t klass) {
    return &a->classes[klass < MAX_CLASSES ? klass : MAX_CLASSES - 1];
}

/* A request that names its worker waits for that one alone. */
static uint64_t lane_of(const struct weir_route_query *q) {
    return q->has_pinned_worker ? (q->pinned_worker ^ (uint64_t)(q->pinned_rank + 1) << 48) | 1 : 0;
}

static unsigned n_workers(const struct weir_admission *a) {
    return a->config.has_pool ? weir_router_pool_workers(a->router, a->config.pool)
                              : weir_router_workers(a->router);
}

static enum weir_status wait_in_line(struct weir_admission *a, const struct weir_admission_ask *ask,
                                     const struct place *place, struct weir_ticket **ret,
                                     size_t *ret_ahead, struct weir_queue_refusal *refusal) {
    struct weir_queue_stats s;
    uint64_t now = now_ms();
    struct weir_ticket *t = weir_calloc(1, sizeof(*t));
    if (t == NULL)
        return WEIR_NOMEM;
    t->admission = a;
    t->ask = *ask;
    t->gate = place->gate;
    t->ask.query.gate = a->config.profile != NULL ? &t->gate : NULL;
    weir_list_init(&t->node);
    t->item = (struct weir_queue_item){
        .strict_priority = ask->strict_priority,
        .priority_jump = ask->priority_jump,
        .uncached_tokens =
            place->priced ? place->uncached : weir_router_uncached(a->router, &ask->query),
        .raw_tokens = ask->query.isl_tokens,
        .klass = place->klass,
        .deadline_ms = ask->patience_ms > 0 ? now + ask->patience_ms : 0,
        .tenant = ask->tenant,
        .lane = lane_of(&ask->query)};
    weir_class_queue_stats(a->queue, now, &s);
    *refusal = (struct weir_queue_refusal){.klass = NULL};
    enum weir_status st = weir_class_queue_push(a->queue, &t->item, n_workers(a), now, refusal);
    if (st != WEIR_OK) {
        if (st == WEIR_LIMIT)
            counts_of(a, place->klass)->refused[refusal->reason]++;
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

/* Nobody is there whom the request would overtake. */
static bool is_first(struct weir_admission *a, const struct place *place) {
    struct weir_class_queue_totals t;
    if (atomic_load_explicit(&a->n_waiting, memory_order_relaxed) == 0)
        return true;
    if (a->config.profile == NULL)
        return false;
    weir_class_queue_totals(a->queue, place->klass, &t);
    return t.requests == 0;
}

enum weir_status weir_admission_enter(struct weir_admission *a,
                                      const struct weir_admission_ask *ask,
                                      struct weir_route *ret_route, struct weir_decision *record,
                                      struct weir_ticket **ret_ticket, size_t *ret_ahead,
                                      struct weir_queue_refusal *ret_refusal) {
    struct weir_admission_ask mine = *ask;
    struct place place = place_of(a, ask);
    enum weir_status st = WEIR_AGAIN;
    mine.query.may_wait = true;
    pthread_mutex_lock(&a->lock);
    counts_of(a, place.klass)->received++;
    if (is_first(a, &place)) {
        struct weir_route_query q = mine.query;
        q.gate = a->config.profile != NULL ? &place.gate : NULL;
        q.rng = &a->rng;
        q.explain = record;
        q.now_ms = now_ms();
        st = weir_router_route(a->router, &q, ret_route);
        a->at_once += st == WEIR_OK;
    }
    if (st == WEIR_AGAIN)
        st = wait_in_line(a, &mine, &place, ret_ticket, ret_ahead, ret_refusal);
    pthread_mutex_unlock(&a->lock);
    return st;
}

static void leave(struct weir_ticket *t, bool late) {
    struct weir_admission *a = t->admission;
    uint64_t booking = 0;
    bool waited = false, mine = false;
    pthread_mutex_lock(&a->lock);
    if (t->state == WAITING) {
        weir_class_queue_remove(a->queue, &t->item);
        atomic_fetch_sub_explicit(&a->n_waiting, 1, memory_order_relaxed);
        a->left++;
        counts_of(a, t->item.klass)->late += late;
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
        weir_admission_room(a);
    else
        weir_router_free(a->router, booking);
    if (mine)
        free_ticket(t);
}

void weir_admission_leave(struct weir_ticket *t) {
    leave(t, false);
}

void weir_admission_give_up(struct weir_ticket *t) {
    leave(t, true);
}

/* ---- figures, begin and end ------------------------------------------------------------------ */

void weir_admission_stats(struct weir_admission *a, struct weir_admission_stats *ret) {
    pthread_mutex_lock(&a->lock);
    *ret = (struct weir_admission_stats){.admitted_at_once = a->at_once,
                                         .admitted_after_waiting = a->after_waiting,
                                         .left = a->left};
    weir_class_queue_stats(a->queue, now_ms(), &ret->queue);
    for (size_t k = 0; k < MAX_CLASSES; k++)
        for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
            ret->refused[i] += a->classes[k].refused[i];
    pthread_mutex_unlock(&a->lock);
}

void weir_admission_class_stats(struct weir_admission *a, size_t klass,
                                struct weir_admission_class_stats *ret) {
    pthread_mutex_lock(&a->lock);
    const struct class_counts *c = counts_of(a, klass);
    *ret = (struct weir_admission_class_stats){.received = c->received, .late = c->late};
    for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
        ret->refused[i] = c->refused[i];
    weir_class_queue_totals(a->queue, klass, &ret->waiting);
    pthread_mutex_unlock(&a->lock);
}

const struct weir_policy_profile *weir_admission_profile(const struct weir_admission *a) {
    return a->config.profile;
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
    if (weir_class_queue_create(&config->queue, config->profile, &a->queue) != WEIR_OK) {
        weir_free(a);
        return WEIR_NOMEM;
    }
    pthread_mutex_init(&a->lock, NULL);
    *ret = a;
    return WEIR_OK;
}

void weir_admission_destroy(struct weir_admission *a) {
    if (a != NULL)
        unref(a);
}
