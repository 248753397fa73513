#include "router/busy.h"

#include <math.h>

enum { ASSUMED_BATCH_TOKENS = 10000000 };

bool weir_busy(const struct weir_busy_thresholds *t, const struct weir_busy_load *l) {
    if (!isnan(t->decode_blocks) && l->total_kv_blocks > 0) {
        double limit = t->decode_blocks * (double)l->total_kv_blocks;
        if ((double)l->active_decode_blocks > limit || (double)l->kv_used_blocks > limit)
            return true;
    }
    if (t->prefill_tokens >= 0 && l->active_prefill_tokens > (uint64_t)t->prefill_tokens)
        return true;
    if (isnan(t->prefill_tokens_frac))
        return false;
    double budget = l->max_num_batched_tokens > 0 ? (double)l->max_num_batched_tokens
                                                  : (double)ASSUMED_BATCH_TOKENS;
    return (double)l->active_prefill_tokens > t->prefill_tokens_frac * budget;
}
