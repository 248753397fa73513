/* What the files of the router share: its state, all of it behind the one lock. */
#ifndef WEIR_ROUTER_ROUTER_PRIV_H
#define WEIR_ROUTER_ROUTER_PRIV_H

#include "base/map.h"
#include "kvindex/kvi_approx.h"
#include "router/adapters.h"
#include "router/decide.h"
#include "router/held_blocks.h"
#include "router/lookup.h"
#include "router/router.h"
#include "router/tenants.h"

#include <pthread.h>
#include <stdatomic.h>

enum { EVENT_TYPES = 3, EVENT_RESULTS = KVI_RESULTS, MAX_APPROX_BLOCKS = 1 << 20 };

struct rank {
    struct weir_router_worker worker; /* the whole worker's figures */
    uint32_t dp_rank;
    uint32_t number; /* in the index; UINT32_MAX when that is full */
    uint64_t prefill_tokens, requests, kv_used;
    uint32_t slot; /* its number in held; stays while the rank is there */
    uint64_t inhibited_until_ms;
    double churn_blocks; /* prompt blocks placed there that it did not hold, halving with time */
};

struct booking {
    uint64_t handle; /* 0 = free */
    uint64_t worker_id;
    uint32_t dp_rank;
    uint32_t next_free;
    uint64_t prefill_tokens;
    uint64_t tenant;
    bool of_tenant; /* its prefill counts for the tenant */
    uint32_t slot;
    struct weir_held_run *held; /* its prompt's blocks, of that slot's rank; NULL: none */
    uint64_t born_ms;
    bool detached;      /* its rank has gone since, and perhaps come again without its load */
    bool told_first;    /* others know of its first token */
    char *request_id;   /* owned; NULL: other routers do not hear of it */
    uint64_t publisher; /* who told of it; 0: it is our own */
};

struct weir_router {
    pthread_mutex_t lock;
    struct weir_router_config config;
    struct weir_busy_thresholds thresholds;
    struct rank *ranks; /* owned; ranks of one worker adjacent */
    size_t n_ranks, cap_ranks;
    unsigned n_workers;
    struct kvi_index *index;
    struct weir_lookups lookups;   /* outside the lock */
    struct weir_lookup own_lookup; /* used under it */
    struct booking *bookings;      /* owned */
    uint32_t n_bookings, cap_bookings, free_booking;
    uint64_t next_generation, turn;
    struct weir_map foreign; /* hash of a request id → slot of a booking that another router made */
    void (*sequence_fn)(void *arg, const struct weir_sequence_event *event);
    void *sequence_arg;
    struct weir_affinity *affinity; /* owned, or NULL */
    struct weir_tenants *tenants;   /* owned, or NULL */
    struct weir_adapters adapters;
    void (*room_fn)(void *arg);
    void *room_arg;
    struct weir_candidate *candidates; /* scratch: one a rank */
    uint32_t *places;                  /* scratch: where in ranks each candidate is */
    uint32_t *own; /* scratch, by rank: 1 + the tenant's place there; zero outside of a decision */
    size_t cap_scratch;
    struct weir_held_blocks held; /* blocks of prompts of bookings, by the slots of ranks */
    struct {
        double *prefill_tokens, *decode_blocks, *requests, *churn; /* of each rank, as in ranks */
        bool *suits;                                               /* scratch */
        double *costs;                                             /* scratch */
    } flat;                                                        /* owned */
    uint32_t *running;           /* scratch, by rank: prefix that running requests of it hold */
    uint32_t *slot_places;       /* slot -> place in ranks; UINT32_MAX: free. As many as held's */
    uint32_t *number_places;     /* number in the index -> place in ranks; cap_numbers */
    uint64_t inhibited_until_ms; /* the latest of any rank, gone ones too */
    struct weir_map by_rank;     /* hash of worker and rank -> place in ranks */
    uint32_t *by_number;         /* number in the index -> place in candidates of this search */
    size_t cap_numbers;
    struct kvi_approx *approx; /* owned: what was predicted without events */
    uint64_t churn_due_ms;     /* when the churn of all ranks falls next */
    _Atomic uint64_t event_counts[EVENT_TYPES][EVENT_RESULTS]; /* relaxed: figures only */
};

/* router.c */
/* Ends a critical section; `room`: what waits for a place may find one now. */
void weir_router_unlock(struct weir_router *r, bool room);
struct rank *weir_router_find_rank(struct weir_router *r, uint64_t worker_id, uint32_t dp_rank);

/* router_scan.c; all with the lock held. */
/* After any change of a rank's load, churn or size. */
void weir_router_touch(struct weir_router *r, const struct rank *x);
/* Sets `running` of the ranks that hold some of the query's prompt for running requests; all others
 * have zero. Cleared before anything changes. */
struct weir_router_running {
    const struct weir_held_member *members;
    size_t n;
};
void weir_router_mark_running(struct weir_router *r, const struct weir_route_query *q,
                              struct weir_router_running *ret);
void weir_router_clear_running(struct weir_router *r, const struct weir_router_running *running);
/* The query can do without a list of candidates. */
bool weir_router_scan_suits(const struct weir_router *r, const struct weir_route_query *q);
struct weir_router_found {
    enum weir_status status; /* as of weir_router_route; the rest is set when it is WEIR_OK */
    struct weir_candidate candidate;
    double best_device_blocks; /* of any eligible rank */
};
/* `lookup` NULL: searches now. False: it needs the list after all, nothing was drawn. */
bool weir_router_scan(struct weir_router *r, const struct weir_route_query *q,
                      struct weir_lookup *lookup, struct weir_router_found *ret);

/* router_bookings.c; all with the lock held. */
/* Approximate mode: forgets what was predicted too long ago. */
void weir_router_run_lapses(struct weir_router *r, uint64_t now_ms);
/* Fleet policy: lets the churn of all ranks fall. */
void weir_router_age_churn(struct weir_router *r, uint64_t now_ms);
/* Of a rank's cache, as it enters the cost; 0 under other policies. */
double weir_router_churn(const struct weir_router *r, const struct rank *x);
/* The ranks of the worker go, and all load with them: bookings there count for nothing any more. */
void weir_router_detach_bookings(struct weir_router *r, uint64_t worker_id);
/* Books the query's load on the candidate; route->booking is its handle. */
enum weir_status weir_router_book(struct weir_router *r, const struct weir_route_query *q,
                                  const struct weir_candidate *c,
                                  struct weir_route *route) WEIR_MUST_CHECK;
bool weir_router_assumes_reuse(const struct weir_router *r, const struct weir_route_query *q);
bool weir_router_tracks_prefill(const struct weir_router *r, const struct weir_route_query *q);

/* router_figures.c; all with the lock held. */
bool weir_router_rank_busy(const struct weir_router *r, const struct rank *x);
/* A worker is busy when all its ranks are. They stand one after another, from `first` on. */
bool weir_router_worker_busy(const struct weir_router *r, size_t first);
bool weir_router_busy_matters(const struct weir_router *r); /* a threshold is set */

/* router_route.c; with the lock held. */
/* The rank's worker is in the pool and has the adapter that the query asks for. */
bool weir_router_serves(const struct weir_router *r, const struct weir_route_query *q,
                        const struct rank *x);
/* Inputs of the choice; takes a turn in the modes that have some. */
struct weir_decide weir_router_inputs(struct weir_router *r, const struct weir_route_query *q);
/* The search of the index: an early one, or NULL, and then it runs now. */
const struct weir_lookup *weir_router_look_up(struct weir_router *r,
                                              const struct weir_route_query *q,
                                              struct weir_lookup *early);
void weir_router_put_score(struct weir_candidate *c, const struct kvi_score *score);
bool weir_router_waits(const struct weir_router *r, const struct weir_route_query *q);
/* Not full for the query. */
bool weir_router_has_room(const struct weir_router *r, const struct weir_route_query *q,
                          const struct rank *x);

/* router_share.c; all with the lock held, and only where tenants share. */
/* n_serving, n_held: ranks; of those, with more than the quick tokens in prefill. */
void weir_router_share(struct weir_router *r, const struct weir_route_query *q, unsigned n_serving,
                       unsigned n_held, struct weir_tenant_share *ret);
/* May the tenant use this one? A short prompt may go anywhere, but not behind a long one of
 * somebody else. mark: own[] of the rank. */
bool weir_router_suits(const struct weir_router *r, const struct weir_route_query *q,
                       const struct weir_tenant_share *s, const struct weir_candidate *c,
                       uint32_t mark);
/* Sets own[], or clears it. */
void weir_router_mark_own(struct weir_router *r, const struct weir_tenant_share *s, bool on);
/* True when the query must wait whatever its candidates hold: known before the search. home: the
 * worker of its session, or NULL. */
bool weir_router_share_is_full(struct weir_router *r, const struct weir_route_query *q, size_t n,
                               const struct weir_tenant_share *s, const uint64_t *home);
/* Leaves out candidates that the tenant should not use now; returns how many stay. Nobody is
 * refused for that: where none is left, a query that may wait does (*ret_wait); another one, and a
 * short prompt, takes any. */
size_t weir_router_keep_to_share(struct weir_router *r, const struct weir_route_query *q, size_t n,
                                 const struct weir_tenant_share *s, const uint64_t *home,
                                 bool *ret_wait);

#endif
