/*
 * The router of one worker set: which (worker, rank) shall serve a request, and how loaded each one
 * is.
 *
 * The decisions are pure functions in cost.h, select.h and busy.h; this object holds the state they
 * read (worker table, index, bookings) behind one short lock. Threads: any, for every function; no
 * function blocks on I/O. Times are monotonic milliseconds given by the caller.
 */
#ifndef WEIR_ROUTER_ROUTER_H
#define WEIR_ROUTER_ROUTER_H

#include "base/rng.h"
#include "base/span.h"
#include "base/status.h"
#include "kvindex/kvi.h"
#include "router/affinity.h"
#include "wire/kv_event.h"
#include "wire/sequence_event.h"

struct weir_router;
struct weir_decision;

enum weir_router_mode { /* same order as the choices of --router-mode */
                        WEIR_ROUTE_ROUND_ROBIN,
                        WEIR_ROUTE_RANDOM,
                        WEIR_ROUTE_POWER_OF_TWO,
                        WEIR_ROUTE_KV,
                        WEIR_ROUTE_DIRECT,
                        WEIR_ROUTE_LEAST_LOADED,
                        WEIR_ROUTE_DEVICE_AWARE,
};

enum weir_selection_policy { /* of kv mode; same order as the choices of its option */
                             WEIR_SELECT_LINEAR,
                             WEIR_SELECT_LMETRIC,
                             WEIR_SELECT_FLEET,
};

struct weir_router_config {
    enum weir_router_mode mode;
    enum weir_selection_policy policy;
    uint32_t block_size;                                 /* tokens */
    double overlap_score_credit;                         /* 1.0 */
    double overlap_credit_decay;                         /* 0 */
    double prefill_load_scale;                           /* 1.0 */
    double decode_active_request_weight;                 /* 0 */
    double recompute_weight, churn_weight;               /* 8, 2; fleet policy, as the next two */
    double decode_block_weight;                          /* 0.02 */
    double churn_half_life_s;                            /* 300 */
    double host_cache_hit_weight, disk_cache_hit_weight; /* 0.75, 0.25 */
    double temperature;                                  /* 0 */
    bool use_kv_events;                                  /* false: predict from own decisions */
    bool track_active_blocks, assume_kv_reuse, track_prefill_tokens;
    double ttl_s;           /* 120; approximate mode */
    uint64_t expiry_ms;     /* stale bookings; 0 = 3,600,000 */
    uint64_t inhibit_ms;    /* a failed worker is avoided so long; 0 = off */
    double queue_threshold; /* a rank is full above this multiple of its token budget; NAN = off */
    double queue_decode_threshold; /* … or above this share of its KV blocks; NAN = off */
    uint64_t affinity_ttl_ms;      /* sessions stay on their worker; 0 = off */
    bool affinity_soft;            /* preferably, not exactly */
    size_t max_sessions;           /* 0 = 100,000 */
    uint64_t tenant_window_ms;     /* tenants share the ranks (tenants.h); 0 = they do not */
    uint64_t tenant_quick_tokens;  /* 2,048 */
    size_t index_max_bytes;        /* 0 = 1 GiB */
    unsigned max_workers;          /* 0 = 65,536 ranks */
    unsigned max_bookings;         /* 0 = 262,144 */
};
/* Defaults of the reference system. */
void weir_router_config_init(struct weir_router_config *config);

enum weir_status weir_router_create(const struct weir_router_config *config,
                                    struct weir_router **ret_router) WEIR_MUST_CHECK;
void weir_router_destroy(struct weir_router *router);

struct weir_router_worker {
    uint64_t worker_id;
    uint32_t dp_start, dp_size;
    uint64_t total_kv_blocks, max_num_batched_tokens; /* 0 = unknown */
    uint32_t pool;                                    /* for queries that name one */
};
/* Adds or updates. */
enum weir_status weir_router_worker_put(struct weir_router *router,
                                        const struct weir_router_worker *worker) WEIR_MUST_CHECK;
/* Its bookings stay until freed; its blocks leave the index. */
void weir_router_worker_remove(struct weir_router *router, uint64_t worker_id);
unsigned weir_router_workers(struct weir_router *router);
unsigned weir_router_pool_workers(struct weir_router *router, uint32_t pool);
/* The worker has loaded this adapter, or has it no longer; it may come before or after the worker's
 * own record and outlives that. `adapter`: any number but 0, the caller's name of it. */
enum weir_status weir_router_adapter_put(struct weir_router *router, uint64_t adapter,
                                         uint64_t worker_id) WEIR_MUST_CHECK;
void weir_router_adapter_remove(struct weir_router *router, uint64_t adapter, uint64_t worker_id);

void weir_router_kv_event(struct weir_router *router, const struct weir_kv_event *event);
/* Several, in order: the sink of a weir_kv_batch. */
void weir_router_kv_events(void *router, const struct kvi_event *events, size_t n);
void weir_router_load_event(struct weir_router *router, const struct weir_active_load *load);
/* A rank's events are no longer trustworthy (gap without recovery): forget its blocks. */
void weir_router_clear_rank(struct weir_router *router, uint64_t worker_id, uint32_t dp_rank);

/* Per-request overrides; NAN / -1 = not set. */
struct weir_route_override {
    double overlap_score_credit, prefill_load_scale, temperature;
    int assume_kv_reuse, track_prefill_tokens;
};
/* A rank is full for a request above either; UINT64_MAX and NAN: off. */
struct weir_route_gate {
    uint64_t prefill_tokens;
    double budget_frac; /* of its max_num_batched_tokens */
};
struct weir_route_query {
    const uint64_t *local_hashes;    /* content hashes of the complete prompt blocks */
    const uint64_t *sequence_hashes; /* rolling hashes of the same blocks */
    size_t n_blocks;
    size_t n_computed; /* the last blocks of these, which a worker computes even if it holds them */
    size_t isl_tokens;
    bool has_pinned_worker;
    uint64_t pinned_worker;
    int64_t pinned_rank; /* -1 = any */
    bool has_pool;       /* only workers of that pool */
    uint32_t pool;
    uint64_t adapter;        /* only workers that have loaded it; 0 = any worker */
    const uint64_t *exclude; /* workers already tried by this request */
    size_t n_exclude;
    const struct weir_route_override *override; /* or NULL */
    bool blind;      /* the hashes match nothing that workers hold: they only count as load */
    bool query_only; /* choose, book nothing */
    bool may_wait;   /* WEIR_AGAIN rather than a rank above the queue's threshold */
    const struct weir_route_gate *gate; /* instead of the router's queue_threshold, or NULL */
    uint64_t least_uncached;     /* of one that may wait, if known: weir_router_uncached; else 0 */
    struct weir_span request_id; /* by which other routers hear of it; empty: they do not */
    uint64_t tenant;             /* whose request it is: any number, equal for equal tenants */
    bool has_session;
    struct weir_session session;
    struct weir_decision *explain; /* gets the record of the choice (decide.h), or NULL */
    struct weir_rng *rng;          /* the caller's */
    uint64_t now_ms;
};
/* Of the chosen rank, before the request is booked there. */
struct weir_route_load {
    double cached_tokens; /* of the prompt, lower tiers in part */
    double prefill_tokens, decode_blocks;
    double additional_blocks; /* of the prompt, that no running request holds there */
    uint64_t max_num_batched_tokens, total_kv_blocks; /* 0 = unknown */
};
struct weir_route {
    uint64_t worker_id;
    uint32_t dp_rank;
    uint32_t overlap_blocks;      /* of the chosen one */
    uint32_t best_overlap_blocks; /* of any eligible one */
    double cost;
    uint64_t booking;            /* handle for the calls below; 0 = none */
    struct weir_route_load load; /* of a query that books nothing; else zeros */
    bool share_full; /* of WEIR_AGAIN, the one member that is set then: others may find room */
};
/* A request with a session goes to the worker that the session is bound to, full or not, and binds
 * it otherwise; a binding whose worker is gone, failed or was tried is given up. Hard: while that
 * worker is busy the answer is WEIR_OVERLOADED. Soft: then it goes elsewhere.
 * WEIR_AGAIN all eligible ones are full, or all that the tenant may use now, and the query may
 * wait. WEIR_UNAVAILABLE no worker at all or none eligible (down, inhibited, excluded);
 * WEIR_OVERLOADED all busy; WEIR_INVALID pinned worker unknown; WEIR_LIMIT booking table full. */
enum weir_status weir_router_route(struct weir_router *router, const struct weir_route_query *query,
                                   struct weir_route *ret_route) WEIR_MUST_CHECK;
/* May a query that waits go? Also true when it would be refused: nobody waits for that. Books and
 * looks up nothing. */
bool weir_router_may_go(struct weir_router *router, const struct weir_route_query *query);
/* Prompt tokens of the query that no eligible rank holds: the price of a request that waits. */
uint64_t weir_router_uncached(struct weir_router *router, const struct weir_route_query *query);
/* fn is called, without the lock and on whatever thread, after something that may let a waiting
 * request in: an end, a first token, a change of workers or thresholds. NULL turns it off. */
void weir_router_on_room(struct weir_router *router, void (*fn)(void *arg), void *arg);
/* First token seen: prompt tokens no longer count as prefill load. Idempotent; 0 is ignored. */
void weir_router_prefill_done(struct weir_router *router, uint64_t booking);
/* End of the request, whatever happened. Idempotent; 0 is ignored. */
void weir_router_free(struct weir_router *router, uint64_t booking);
/* fn is told of each booking with a request id, its first token and its end, with the lock held: it
 * must be quick and must not call back. Set before the router is used. */
void weir_router_on_sequence(struct weir_router *router,
                             void (*fn)(void *arg, const struct weir_sequence_event *event),
                             void *arg);
/* What another router tells: booked here like an own request, in memory of who told it. Unknown
 * workers and requests are passed over. */
void weir_router_apply_sequence(struct weir_router *router, const struct weir_sequence_event *event,
                                uint64_t publisher, uint64_t now_ms);
/* Frees all that this publisher has told; returns how many. */
unsigned weir_router_drop_publisher(struct weir_router *router, uint64_t publisher);
/* A connection-like failure of this worker at now_ms: leave it out for inhibit_ms. */
void weir_router_worker_failed(struct weir_router *router, uint64_t worker_id, uint64_t now_ms);
/* Frees bookings older than expiry_ms; returns how many. */
unsigned weir_router_expire(struct weir_router *router, uint64_t now_ms);
/* Idle work of the index, so that no event waits for the system to clear memory: about once a
 * second. Decisions go on meanwhile. */
void weir_router_maintain(struct weir_router *router);

/* What each rank holds of a prompt: leading blocks on the device, and behind them, without a gap,
 * blocks on the lower tiers. Chooses and books nothing. */
struct weir_router_overlap {
    uint64_t worker_id;
    uint32_t dp_rank;
    uint32_t device_blocks, host_blocks, disk_blocks;
    double credit; /* in blocks, as it enters the cost */
};
/* Of every rank, also those that hold nothing; returns how many there are (may exceed room). */
size_t weir_router_overlaps(struct weir_router *router, const uint64_t *local_hashes,
                            size_t n_blocks, struct weir_router_overlap *ret, size_t room);

struct weir_busy_thresholds {
    double decode_blocks;       /* fraction 0..1, NAN = off */
    int64_t prefill_tokens;     /* -1 = off */
    double prefill_tokens_frac; /* NAN = off */
};
void weir_router_get_thresholds(struct weir_router *router, struct weir_busy_thresholds *ret);
void weir_router_set_thresholds(struct weir_router *router, const struct weir_busy_thresholds *t);
/* True when there is at least one worker and all are busy: a new request would be refused. Needs no
 * tokens, so it is asked before tokenization. */
bool weir_router_all_busy(struct weir_router *router);

/* The shares of prefill as they are, for people. False: tenants do not share here. */
struct weir_router_tenants {
    unsigned ranks, held; /* that serve; of those, with more than the quick tokens in prefill */
    size_t active;        /* tenants */
};
struct weir_router_tenant {
    uint64_t tenant;
    unsigned held, limit, reserve, short_prompts; /* see tenants.h */
    uint64_t prefill_tokens;
    bool limited;
};
bool weir_router_tenants(struct weir_router *router, uint64_t now_ms,
                         struct weir_router_tenants *ret, struct weir_router_tenant *ret_each,
                         size_t room, size_t *ret_n);

struct weir_worker_load {
    uint64_t worker_id;
    uint32_t dp_rank;
    uint64_t active_decode_blocks, active_prefill_tokens, active_requests, kv_used_blocks;
    uint64_t total_kv_blocks;
    bool busy, inhibited;
};
/* Snapshot of all ranks; returns how many there are (may exceed room). */
size_t weir_router_loads(struct weir_router *router, uint64_t now_ms, struct weir_worker_load *ret,
                         size_t room);
/* All blocks of these workers (keys of the map), as stored events with ids from 0, parents first,
 * in steps: so long as none of them has an event between the first and the last, they are of one
 * moment. A step tells WEIR_ROUTER_DUMP_BLOCKS and some; events wait for no more than those,
 * decisions do not: fn must be quick and must not call back. One thread at a time. The router may
 * be gone when the dump is closed. */
struct weir_map;
struct weir_router_dump;
enum { WEIR_ROUTER_DUMP_BLOCKS = 8192 };
enum weir_status weir_router_dump_open(struct weir_router *router,
                                       struct weir_router_dump **ret_dump) WEIR_MUST_CHECK;
/* WEIR_NOMEM: the dump is good for nothing but close. */
enum weir_status weir_router_dump_step(struct weir_router_dump *dump,
                                       const struct weir_map *workers, weir_kv_event_fn fn,
                                       void *arg, bool *ret_more) WEIR_MUST_CHECK;
void weir_router_dump_close(struct weir_router_dump *dump); /* accepts NULL */
struct weir_router_index_stats {
    uint64_t entries, events_ok, events_failed;
    size_t bytes;
};
void weir_router_index_stats(struct weir_router *router, struct weir_router_index_stats *ret);
/* KV events applied by (type, result name), for metrics: fn is called for each non-zero cell. */
void weir_router_event_counts(struct weir_router *router,
                              void (*fn)(void *arg, const char *type, const char *result,
                                         uint64_t n),
                              void *arg);

#endif
