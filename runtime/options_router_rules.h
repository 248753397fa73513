/* What the rows of options_router.def imply, for every program that has them. */
#ifndef WEIR_RUNTIME_OPTIONS_ROUTER_RULES_H
#define WEIR_RUNTIME_OPTIONS_ROUTER_RULES_H

#include <math.h>

/* The preset and the legacy name: shared spec "frontend" 1.3, "kvrouter" 5. `o`: the program's
 * options, after all sources were read. */
#define WEIR_ROUTER_RULES_RESOLVE(o)                                                               \
    do {                                                                                           \
        if ((o)->load_aware) {                                                                     \
            (o)->router_kv_overlap_score_credit = 0;                                               \
            (o)->router_kv_events = false;                                                         \
            (o)->router_assume_kv_reuse = false;                                                   \
            (o)->router_track_active_blocks = true;                                                \
            (o)->router_track_prefill_tokens = true;                                               \
        }                                                                                          \
        if (!isnan((o)->router_kv_overlap_score_weight)) {                                         \
            (o)->router_prefill_load_scale = (o)->router_kv_overlap_score_weight;                  \
            if ((o)->router_kv_overlap_score_weight == 0)                                          \
                (o)->router_kv_overlap_score_credit = 0;                                           \
        }                                                                                          \
    } while (0)

/* Words for options that contradict each other, or NULL. */
#define WEIR_ROUTER_RULES_FAULT(o)                                                                 \
    ((o)->router_durable_kv_events && !(o)->router_kv_events                                       \
         ? "--router-durable-kv-events needs --router-kv-events"                                   \
         : NULL)

#endif
