/*
 * One waiting room (rooms.h has those of a router): requests that find every worker full wait here,
 * in the order of router/queue.h, until the router has room for them. Off unless
 * --router-queue-threshold is set or a policy file has classes for the model: then their order is
 * that of router/class_queue.h.
 *
 * Admission is serialised: under one lock the next request is looked up, routed and booked, so two
 * requests never take one place. Whoever makes room (the end of a request, a first token, a new
 * worker, on whatever thread) admits those who wait; each hears of it on its own loop.
 */
#ifndef WEIR_FRONTEND_ADMISSION_H
#define WEIR_FRONTEND_ADMISSION_H

#include "base/json.h"
#include "net/loop.h"
#include "router/class_queue.h"
#include "router/decide.h"

struct weir_admission;
struct weir_ticket;

struct weir_admission_config {
    struct weir_queue_config queue;
    const struct weir_policy_profile *profile;      /* borrowed, or NULL */
    bool has_pool;                                  /* whose workers the bounds of classes count: */
    uint32_t pool;                                  /* of this pool only */
    void (*on_granted)(void *arg, double waited_s); /* any thread, under the lock; or NULL */
    void *arg;
};
/* The router is borrowed: it outlives the object. Whoever owns the router's room callback has to
 * call weir_admission_room. */
enum weir_status weir_admission_create(const struct weir_admission_config *config,
                                       struct weir_router *router,
                                       struct weir_admission **ret) WEIR_MUST_CHECK;
/* Nobody may be waiting. Accepts NULL. */
void weir_admission_destroy(struct weir_admission *admission);

/* st as of weir_router_route; *route is booked when it is WEIR_OK. On the ticket's loop, once; the
 * ticket is gone afterwards. record: what explains the choice, or NULL; valid during the call. */
typedef void (*weir_ticket_fn)(void *arg, enum weir_status st, const struct weir_route *route,
                               const struct weir_decision *record);

struct weir_admission_ask {
    /* What it points to must stay until the ticket is gone; rng is not used, may_wait is set. */
    struct weir_route_query query;
    uint32_t strict_priority;
    double priority_jump;
    uint64_t tenant;
    uint32_t klass;                /* without a profile */
    struct weir_span policy_class; /* with one: what the request calls itself; may be empty */
    uint64_t patience_ms;          /* its deadline, from now; 0 = none */
    bool explain;
    struct weir_loop *loop;
    weir_ticket_fn fn;
    void *arg;
};
/* WEIR_OK: nobody waits and there was room, *ret_route is booked. WEIR_AGAIN: *ret_ticket waits,
 * and *ret_ahead requests do before it. WEIR_LIMIT: refused, *ret_refusal says why. Else as
 * weir_router_route. `record` (or NULL) gets the decision of WEIR_OK. */
enum weir_status weir_admission_enter(struct weir_admission *admission,
                                      const struct weir_admission_ask *ask,
                                      struct weir_route *ret_route, struct weir_decision *record,
                                      struct weir_ticket **ret_ticket, size_t *ret_ahead,
                                      struct weir_queue_refusal *ret_refusal) WEIR_MUST_CHECK;
/* Gives up on the ticket's loop: fn is not called any more, and what was booked is freed. Whatever
 * room that makes is passed on. */
void weir_admission_leave(struct weir_ticket *ticket);
/* The same: it has waited as long as it may. */
void weir_admission_give_up(struct weir_ticket *ticket);
/* There may be room now: admits who can be, at next to no cost when nobody waits. Any thread. */
void weir_admission_room(struct weir_admission *admission);
/* Admits who can be. For what makes room without a call: time, load reports. Any thread. */
void weir_admission_pump(struct weir_admission *admission);

struct weir_admission_stats {
    struct weir_queue_stats queue;
    uint64_t admitted_at_once, admitted_after_waiting, left;
    uint64_t refused[WEIR_QUEUE_N_REASONS];
};
void weir_admission_stats(struct weir_admission *admission, struct weir_admission_stats *ret);

/* Of one policy class, of the file or of the flags. */
struct weir_admission_class_stats {
    struct weir_class_queue_totals waiting;
    uint64_t received; /* calls of weir_admission_enter */
    uint64_t late;     /* gave up: see weir_admission_give_up */
    uint64_t refused[WEIR_QUEUE_N_REASONS];
};
void weir_admission_class_stats(struct weir_admission *admission, size_t klass,
                                struct weir_admission_class_stats *ret);
/* NULL: without a policy file. */
const struct weir_policy_profile *weir_admission_profile(const struct weir_admission *admission);

#endif
