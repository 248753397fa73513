/* From the rows of options_router.def, which several programs have, to the router's configuration:
 * rows are members of those programs' own structs, so this is written once as text. */
#ifndef WEIR_ROUTER_OPTIONS_H
#define WEIR_ROUTER_OPTIONS_H

#include "router/router.h"
#include "runtime/config.h"

/* `o`: options of any program with these rows; `c`: the configuration that gets them. The mode, the
 * block size and what only one program has stay as they were. */
#define WEIR_ROUTER_CONFIG_TAKE(o, c)                                                              \
    do {                                                                                           \
        (c)->overlap_score_credit = (o)->router_kv_overlap_score_credit;                           \
        (c)->overlap_credit_decay = (o)->router_kv_overlap_score_credit_decay;                     \
        (c)->prefill_load_scale = (o)->router_prefill_load_scale;                                  \
        (c)->decode_active_request_weight = (o)->router_decode_active_request_weight;              \
        (c)->policy = (enum weir_selection_policy)(o)->router_selection_policy;                    \
        (c)->recompute_weight = (o)->router_recompute_weight;                                      \
        (c)->churn_weight = (o)->router_churn_weight;                                              \
        (c)->churn_half_life_s = (o)->router_churn_half_life_secs;                                 \
        (c)->decode_block_weight = (o)->router_decode_block_weight;                                \
        (c)->host_cache_hit_weight = (o)->router_host_cache_hit_weight;                            \
        (c)->disk_cache_hit_weight = (o)->router_disk_cache_hit_weight;                            \
        (c)->temperature = (o)->router_temperature;                                                \
        (c)->use_kv_events = (o)->router_kv_events;                                                \
        (c)->track_active_blocks = (o)->router_track_active_blocks;                                \
        (c)->assume_kv_reuse = (o)->router_assume_kv_reuse;                                        \
        (c)->track_prefill_tokens = (o)->router_track_prefill_tokens;                              \
        (c)->ttl_s = (o)->router_ttl_secs;                                                         \
    } while (0)

/* The further rows of programs that serve: failed workers, and bookings that nobody frees. */
#define WEIR_ROUTER_CONFIG_TAKE_TIMES(o, c)                                                        \
    do {                                                                                           \
        (c)->expiry_ms = (uint64_t)((o)->router_active_request_expiry_secs * 1000);                \
        (c)->inhibit_ms = (uint64_t)((o)->runtime_inhibited_duration_secs * 1000);                 \
    } while (0)

/* The busy thresholds of the same rows, as an initialiser. */
#define WEIR_ROUTER_THRESHOLDS(o)                                                                  \
    {                                                                                              \
        .decode_blocks = (o)->active_decode_blocks_threshold,                                      \
        .prefill_tokens = (o)->active_prefill_tokens_threshold != WEIR_CONFIG_NONE                 \
                              ? (o)->active_prefill_tokens_threshold                               \
                              : -1,                                                                \
        .prefill_tokens_frac = (o)->active_prefill_tokens_threshold_frac                           \
    }

#endif
