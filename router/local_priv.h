/* What the files of `weir router` share. One loop, one thread. */
#ifndef WEIR_ROUTER_LOCAL_PRIV_H
#define WEIR_ROUTER_LOCAL_PRIV_H

#include "base/list.h"
#include "base/metrics.h"
#include "router/kv_batch.h"
#include "router/replica_sync.h"
#include "router/router.h"
#include "router/worker_records.h"
#include "runtime/kv_stream.h"
#include "runtime/options_local_router.h"
#include "runtime/service.h"

struct weir_local_metrics {
    struct weir_metric *requests, *rejected, *failed, *moved, *workers, *ranks_live, *blocks;
};

struct weir_local {
    struct weir_local_router_options options;
    struct weir_arena arena; /* of the options */
    struct weir_service service;
    struct weir_endpoint_id endpoint; /* of the workers */
    struct weir_router *router;       /* NULL until the block size is known */
    uint32_t block_size;              /* 0 = not known yet */
    bool eagle;                       /* as the first worker's card says */
    struct weir_list workers;         /* of struct weir_local_worker */
    struct weir_list adapters;        /* cards of them; local_adapters.c */
    size_t n_adapters;
    uint64_t last_adapter;              /* numbers of names are not used again */
    struct weir_plane_client *recovery; /* asks workers for their caches, or NULL */
    struct weir_kv_follow *kv;          /* or NULL */
    struct weir_kv_streams *streams;    /* of durable events, or NULL */
    struct weir_kv_batch batch;         /* of one message */
    struct weir_event_sub *load;
    struct weir_replica_sync *sync; /* NULL without --router-replica-sync */
    struct weir_timer tick;
    struct weir_local_metrics metrics;
};

struct weir_local_worker {
    struct weir_list node;
    struct weir_worker_records records;
    bool left_out; /* its card says another block size */
};

/* NULL: not known or without an instance. */
struct weir_local_worker *weir_local_find(struct weir_local *l, uint64_t worker_id);

/* Hashes of the complete blocks of a prompt. */
struct weir_local_hashes {
    uint64_t *local, *sequence; /* owned, in one piece at `local` */
    size_t n;
};
bool weir_local_hash(const struct weir_local *l, const struct weir_prep_request *req,
                     struct weir_local_hashes *ret);
/* Its length, with the tokens that media become where the frontend knows them. */
size_t weir_local_isl(const struct weir_prep_request *req);
/* `router_config_override` of a request; what it does not name stays unset. False: not readable. */
bool weir_local_override(struct weir_span json, struct weir_route_override *ret);

/* local_adapters.c */
/* A worker's card for an adapter of that name; told again: replaced. */
void weir_local_adapter_put(struct weir_local *l, uint64_t worker_id, struct weir_span slug,
                            struct weir_span name);
void weir_local_adapter_gone(struct weir_local *l, uint64_t worker_id, struct weir_span slug);
/* The router is there now. */
void weir_local_adapters_tell(struct weir_local *l);
/* For a query: 0 when no worker has that adapter, or the name is empty. */
uint64_t weir_local_adapter(const struct weir_local *l, struct weir_span name);
void weir_local_adapters_fini(struct weir_local *l);

/* local_request.c; arg is the struct weir_local. */
extern const struct weir_plane_handler weir_local_generate;
/* local_query.c */
extern const struct weir_plane_handler weir_local_best_worker;
extern const struct weir_plane_handler weir_local_overlap_scores;

#endif
