/*
 * Conditional disaggregation: is the prompt of a request computed by a prefill worker, or by the
 * decode worker itself? Pure. Source: shared spec "kvrouter" 4.5, "frontend" 1.3
 * (--router-conditional-disagg-config).
 */
#ifndef WEIR_ROUTER_SPLIT_H
#define WEIR_ROUTER_SPLIT_H

#include "base/json.h"

enum weir_split_policy { WEIR_SPLIT_ISL_BOUNDING, WEIR_SPLIT_PREFILL_LOAD, WEIR_SPLIT_ISL_OR_LOAD };

struct weir_split_rules {
    enum weir_split_policy policy;
    double eff_isl_threshold;       /* tokens to compute: locally below it, and */
    double eff_isl_ratio_threshold; /* below this share of the prompt; 0…1 */
    double prefill_busy_threshold;  /* multiple of a prefill worker's token budget; NAN: not told */
    double decode_busy_threshold;   /* fraction of a decode worker's KV blocks; NAN: no gate */
};

/* Of the workers that would be chosen now. NAN: not known. */
struct weir_split_signals {
    double prompt_tokens;
    double cached_tokens; /* on the decode worker, lower tiers in part; NAN: no decode worker */
    double prefill_tokens, prefill_budget; /* active prompt tokens of the prefill worker, and its
                                              max_num_batched_tokens (0: not told) */
    double decode_blocks, decode_capacity; /* active blocks of the decode worker, with this prompt;
                                              its KV blocks (0: not told) */
};

enum weir_split_why {
    WEIR_SPLIT_UNDECIDED,
    /* locally */
    WEIR_SPLIT_FEW_TOKENS,
    WEIR_SPLIT_PREFILL_BUSY,
    /* by a prefill worker */
    WEIR_SPLIT_NO_REASON,
    WEIR_SPLIT_DECODE_BUSY,
    WEIR_SPLIT_DECODE_CAPACITY_UNKNOWN,
    WEIR_SPLIT_NO_DECODE_WORKER,
};

/* Rules, what they were applied to, and what came out. */
struct weir_split {
    struct weir_split_rules rules;
    struct weir_split_signals signals;
    enum weir_split_why why;
};

/* Defaults of the reference system: isl_bounding, 2048 tokens, 0.7. */
void weir_split_rules_init(struct weir_split_rules *rules);
/* Members of a JSON object over what `rules` holds. On failure err says which and why. */
enum weir_status weir_split_rules_parse(struct weir_span json, struct weir_split_rules *rules,
                                        struct weir_err *err) WEIR_MUST_CHECK;
/* The prefill worker's load is asked for. */
bool weir_split_needs_load(const struct weir_split_rules *rules);
enum weir_split_why weir_split_decide(const struct weir_split_rules *rules,
                                      const struct weir_split_signals *signals);
bool weir_split_is_local(enum weir_split_why why);
const char *weir_split_policy_word(enum weir_split_policy policy);
const char *weir_split_why_word(enum weir_split_why why);

/* The record as a JSON object, numbers to the last bit. */
void weir_split_write(const struct weir_split *split, struct weir_jsonw *w);
/* Reads such an object where the reader stands; fails the reader on anything else. */
bool weir_split_read(struct weir_json *j, struct weir_split *ret);

#endif
