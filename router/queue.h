/*
 * The admission queue: which of the waiting requests goes next. Pure: no clock, no locks, no
 * waiting; the caller holds one lock around it and owns the items.
 *
 * Order: a higher strict priority always goes first. Inside one priority the policy classes share
 * by deficit round robin (weights), inside a class its tenants share by deficit round robin
 * (equally); both are paid in uncached prompt tokens, so a tenant with long prompts gets as many
 * tokens as one with short ones, not as many requests. Requests of a tenant that can only go to one
 * worker stand in a lane of their own, as if of another tenant: a full worker holds up nobody else.
 * Inside a tenant: the earliest deadline, then the policy's score, then the order of arrival.
 * Source of scores and tiers: shared spec "kvrouter" 4.4. Push, peek, pop and remove cost O(log n);
 * a round over tenants is paid for by the tokens that it grants.
 */
#ifndef WEIR_ROUTER_QUEUE_H
#define WEIR_ROUTER_QUEUE_H

#include "base/status.h"

#include <stdint.h>

struct weir_queue;

enum weir_queue_policy {                  /* same order as the choices of --router-queue-policy */
                         WEIR_QUEUE_FCFS, /* jump - arrival */
                         WEIR_QUEUE_WSPT, /* (1 + jump) / uncached tokens */
                         WEIR_QUEUE_LCFS, /* jump + arrival */
};

struct weir_queue_class {
    uint32_t weight;     /* share among classes, > 0 */
    size_t max_requests; /* 0 = no bound of its own */
    uint64_t max_tokens; /* uncached; 0 = no bound of its own */
};

struct weir_queue_config {
    enum weir_queue_policy policy;
    size_t max_requests;        /* 0 = 100,000 */
    uint64_t max_tokens;        /* uncached; 0 = no bound */
    size_t max_tenant_requests; /* 0 = no bound of its own */
    uint64_t quantum;           /* tokens that a turn grants; 0 = 8,192 */
    uint64_t refresh_ms;        /* a price older than this is stale; 0 = never */
    unsigned max_priorities;    /* different strict priorities that wait at once; 0 = 256 */
    const struct weir_queue_class *classes; /* copied; none: one class without bounds */
    size_t n_classes;
};

/* One waiting request. Owner: the caller; it stays where it is until popped or removed. */
struct weir_queue_item {
    uint32_t strict_priority;
    double priority_jump;     /* seconds; below 0 counts as 0 */
    uint64_t uncached_tokens; /* the price */
    uint32_t klass;           /* index into the classes */
    uint64_t tenant;
    uint64_t lane;        /* 0, or a number of the one worker that the request can go to */
    uint64_t deadline_ms; /* 0 = none */
    uint64_t raw_tokens;  /* of the whole prompt; for class_queue.h */
    /* The queue's own. */
    uint64_t cached_tokens; /* when it came; class_queue.h's */
    uint64_t arrival_ms, priced_ms, seq;
    double score;
    struct weir_queue_flow *flow; /* NULL: not waiting */
    size_t at;
};

/* X(name, word of answers and metrics) */
#define WEIR_QUEUE_REFUSALS(X)                                                                     \
    X(REQUESTS, "queue_requests")                                                                  \
    X(TOKENS, "queue_tokens")                                                                      \
    X(CLASS_REQUESTS, "class_requests")                                                            \
    X(CLASS_TOKENS, "class_tokens")                                                                \
    X(TENANT_REQUESTS, "tenant_requests")                                                          \
    X(PRIORITIES, "priorities")                                                                    \
    X(REQUEST_LIMIT, "request_limit") /* of a policy file's class, as the reference names them */  \
    X(RAW_TOKEN_LIMIT, "raw_isl_token_limit")                                                      \
    X(CACHED_TOKEN_LIMIT, "cached_token_limit")

enum weir_queue_reason {
#define X(name, word) WEIR_QUEUE_##name,
    WEIR_QUEUE_REFUSALS(X)
#undef X
        WEIR_QUEUE_N_REASONS
};

struct weir_queue_refusal {
    enum weir_queue_reason reason;
    uint64_t limit, waiting; /* of what the reason counts */
    unsigned retry_after_s;  /* from the rate at which the queue drains; 1 to 60 */
    const char *klass;       /* of a policy file, whose bound it was; or NULL */
};
const char *weir_queue_reason_word(enum weir_queue_reason reason);

enum weir_status weir_queue_create(const struct weir_queue_config *config,
                                   struct weir_queue **ret) WEIR_MUST_CHECK;
/* Items that still wait are forgotten. Accepts NULL. */
void weir_queue_destroy(struct weir_queue *queue);

/* WEIR_LIMIT: refused, *ret says why; WEIR_NOMEM. The item is not waiting then. One request whose
 * price alone is above a token bound still waits when nothing else does. */
enum weir_status weir_queue_push(struct weir_queue *queue, struct weir_queue_item *item,
                                 uint64_t now_ms, struct weir_queue_refusal *ret) WEIR_MUST_CHECK;
/* Whose turn it is; NULL when nobody waits. The same one until something changes. */
struct weir_queue_item *weir_queue_peek(struct weir_queue *queue);
/* True when its price should be looked up again before it goes. */
bool weir_queue_stale(const struct weir_queue *queue, const struct weir_queue_item *item,
                      uint64_t now_ms);
/* A new price; the turn may pass to another one: peek again. */
void weir_queue_reprice(struct weir_queue *queue, struct weir_queue_item *item,
                        uint64_t uncached_tokens, uint64_t now_ms);
/* The item of the last peek cannot go now, though others may: its tenant is passed over, in its
 * class and priority, until weir_queue_unpass. Meanwhile only peek, reprice, pass and pop may be
 * called.
 */
void weir_queue_pass(struct weir_queue *queue, struct weir_queue_item *item);
/* All are back in the places that they had, with the turns that they had. */
void weir_queue_unpass(struct weir_queue *queue);
/* The item of the last peek leaves and pays its price. */
void weir_queue_pop(struct weir_queue *queue, struct weir_queue_item *item, uint64_t now_ms);
/* Any item leaves without paying; nothing happens when it is not waiting. */
void weir_queue_remove(struct weir_queue *queue, struct weir_queue_item *item);

struct weir_queue_stats {
    size_t requests, tenants, priorities;
    uint64_t tokens;        /* uncached, waiting */
    double tokens_per_s;    /* drained of late */
    unsigned retry_after_s; /* what a refusal would say now */
};
void weir_queue_stats(const struct weir_queue *queue, uint64_t now_ms,
                      struct weir_queue_stats *ret);
/* Waiting requests and tokens of a class. */
void weir_queue_class_stats(const struct weir_queue *queue, size_t klass, size_t *ret_requests,
                            uint64_t *ret_tokens);

#endif
