/*
 * The file of --router-policy-config: policy classes of the admission queue, as the reference
 * system reads it (root profile, profiles of models, families, buckets of uncached prompt tokens,
 * classes; settings and cost parameters). Pure but for the read. Source: shared spec
 * "kvrouter" 4.4; names and messages as of Dynamo 1.6.1 (test/data/policy-config-1.6.1.tsv).
 *
 * What a request is called is a family or an explicit class; a family and the bucket of the
 * request's uncached tokens together are a class.
 */
#ifndef WEIR_ROUTER_POLICY_CONFIG_H
#define WEIR_ROUTER_POLICY_CONFIG_H

#include "base/arena.h"
#include "router/queue.h"

enum { WEIR_POLICY_CLASSES = 64 };

struct weir_policy_class {
    struct weir_span name; /* a NUL stands behind it */
    enum weir_queue_policy queue_policy;
    uint64_t quantum; /* tokens a round; > 0 */
    /* A worker is busy for the class above either; none: the class does not wait. */
    uint64_t busy_tokens; /* in prefill; UINT64_MAX = off */
    double busy_frac;     /* of its max_num_batched_tokens; NAN = off */
    /* What waits at most, times the number of workers; UINT64_MAX = no bound. */
    uint64_t requests_per_worker, raw_tokens_per_worker, cached_tokens_per_worker;
};

struct weir_policy_profile {
    struct weir_span model; /* empty: of every model without its own */
    struct weir_policy_class classes[WEIR_POLICY_CLASSES];
    size_t n_classes;
    struct weir_span families[WEIR_POLICY_CLASSES];
    size_t n_families, default_family;
    uint64_t bucket_from[WEIR_POLICY_CLASSES]; /* tokens; ascending from 0 */
    size_t n_buckets;
    uint8_t class_of[WEIR_POLICY_CLASSES]; /* [family * n_buckets + bucket] */
    bool is_explicit[WEIR_POLICY_CLASSES];
};

/* Section "router": what it names goes before the flags. NAN, -1: not named. */
struct weir_policy_settings {
    double host_cache_hit_weight, disk_cache_hit_weight, router_ttl_secs;
    int use_kv_events, router_replica_sync, router_track_active_blocks, router_assume_kv_reuse,
        router_track_prefill_tokens;
};
void weir_policy_settings_init(struct weir_policy_settings *settings);

/* Section "worker_selection": parameters of the cost for one kind of workers. NAN: not named. */
struct weir_policy_costs {
    double overlap_score_credit, overlap_score_credit_decay, prefill_load_scale,
        decode_active_request_weight, host_cache_hit_weight, disk_cache_hit_weight,
        router_temperature;
};
void weir_policy_costs_init(struct weir_policy_costs *costs);
struct weir_router_config;
/* What is named takes the place of the configuration's. */
void weir_policy_costs_apply(const struct weir_policy_costs *costs, struct weir_router_config *ret);

struct weir_policy_config {
    const struct weir_policy_profile *root; /* or NULL */
    const struct weir_policy_profile *models;
    size_t n_models;
    struct weir_policy_settings settings;
    struct weir_policy_costs serve, prefill; /* workers that serve or decode; that prefill */
};

/* Everything lives in the arena. `path` is for messages. WEIR_INVALID: what is wrong, where, and
 * what it must be. */
enum weir_status weir_policy_config_parse(struct weir_span text, const char *path,
                                          struct weir_arena *arena, struct weir_policy_config *ret,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_policy_config_read(const char *path, struct weir_arena *arena,
                                         struct weir_policy_config *ret,
                                         struct weir_err *err) WEIR_MUST_CHECK;
/* The model's own profile, else the root; NULL when neither is there. */
const struct weir_policy_profile *weir_policy_profile_of(const struct weir_policy_config *config,
                                                         struct weir_span model);
/* The class of a request that calls itself `name` (may be empty or unknown). */
size_t weir_policy_classify(const struct weir_policy_profile *profile, struct weir_span name,
                            uint64_t uncached_tokens);

#endif
