#include "router/split.h"

#include <math.h>

enum { DEPTH = 4 };

static const char *const policies[] = {"isl_bounding", "prefill_load", "isl_or_load"};

static const char *const reasons[] = {"undecided",           "few_tokens_to_compute",
                                      "prefill_worker_busy", "no_reason_for_local_prefill",
                                      "decode_worker_busy",  "decode_capacity_unknown",
                                      "no_decode_worker"};

const char *weir_split_policy_word(enum weir_split_policy policy) {
    return policies[policy];
}

const char *weir_split_why_word(enum weir_split_why why) {
    return reasons[why];
}

/* ---- the decision -------------------------------------------------------------------------- */

static bool few_tokens(const struct weir_split_rules *r, const struct weir_split_signals *s) {
    double compute = s->prompt_tokens - fmin(s->cached_tokens, s->prompt_tokens);
    return compute < r->eff_isl_threshold &&
           compute / fmax(s->prompt_tokens, 1) < r->eff_isl_ratio_threshold;
}

/* An unknown token budget counts as in busy.c. */
static bool prefill_busy(const struct weir_split_rules *r, const struct weir_split_signals *s) {
    const double unknown = 10000000;
    double budget = s->prefill_budget > 0 ? s->prefill_budget : unknown;
    return s->prefill_tokens > r->prefill_busy_threshold * budget; /* false for any NAN */
}

bool weir_split_needs_load(const struct weir_split_rules *r) {
    return r->policy != WEIR_SPLIT_ISL_BOUNDING && !isnan(r->prefill_busy_threshold);
}

enum weir_split_why weir_split_decide(const struct weir_split_rules *r,
                                      const struct weir_split_signals *s) {
    enum weir_split_why why = WEIR_SPLIT_NO_REASON;
    if (isnan(s->cached_tokens))
        return WEIR_SPLIT_NO_DECODE_WORKER;
    if (r->policy != WEIR_SPLIT_PREFILL_LOAD && few_tokens(r, s))
        why = WEIR_SPLIT_FEW_TOKENS;
    else if (r->policy != WEIR_SPLIT_ISL_BOUNDING && prefill_busy(r, s))
        why = WEIR_SPLIT_PREFILL_BUSY;
    if (!weir_split_is_local(why) || isnan(r->decode_busy_threshold))
        return why;
    if (!(s->decode_capacity > 0))
        return WEIR_SPLIT_DECODE_CAPACITY_UNKNOWN;
    return s->decode_blocks > r->decode_busy_threshold * s->decode_capacity ? WEIR_SPLIT_DECODE_BUSY
                                                                            : why;
}

bool weir_split_is_local(enum weir_split_why why) {
    return why == WEIR_SPLIT_FEW_TOKENS || why == WEIR_SPLIT_PREFILL_BUSY;
}

/* ---- rules from JSON ----------------------------------------------------------------------- */

void weir_split_rules_init(struct weir_split_rules *rules) {
    *rules = (struct weir_split_rules){.policy = WEIR_SPLIT_ISL_BOUNDING,
                                       .eff_isl_threshold = 2048,
                                       .eff_isl_ratio_threshold = 0.7,
                                       .prefill_busy_threshold = NAN,
                                       .decode_busy_threshold = NAN};
}

static bool read_policy(struct weir_json *j, enum weir_split_policy *ret) {
    struct weir_json_str value;
    size_t at = j->pos;
    if (!weir_json_string(j, &value))
        return false;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(policies); i++)
        if (weir_json_str_eqz(value, policies[i])) {
            *ret = (enum weir_split_policy)i;
            return true;
        }
    return weir_json_fail(j, WEIR_JSON_ERR_TYPE, at);
}

static bool read_or_null(struct weir_json *j, double *ret) {
    if (weir_json_peek(j) != WEIR_JSON_NULL)
        return weir_json_f64(j, ret);
    *ret = NAN;
    return weir_json_null(j);
}

/* Everything below zero, and above `most`, is refused. */
struct row {
    const char *key;
    double *to;
    double most;
    bool whole, may_be_null;
    const char *want;
};

static enum weir_status read_row(struct weir_json *j, const struct row *row, struct weir_err *err) {
    double v = NAN;
    bool null = weir_json_peek(j) == WEIR_JSON_NULL;
    bool ok = row->may_be_null ? read_or_null(j, &v) : weir_json_f64(j, &v);
    if (!ok || (!null && !(v >= 0 && v <= row->most)) || (row->whole && v != floor(v)))
        return weir_err_set(err, WEIR_INVALID, "%s must be %s", row->key, row->want);
    *row->to = v;
    return WEIR_OK;
}

static enum weir_status read_member(struct weir_json *j, struct weir_json_str key,
                                    struct weir_split_rules *r, struct weir_err *err) {
    const struct row rows[] = {{"eff_isl_threshold", &r->eff_isl_threshold, 9007199254740992, true,
                                false, "a whole number of tokens, 0 or more"},
                               {"eff_isl_ratio_threshold", &r->eff_isl_ratio_threshold, 1, false,
                                false, "a number from 0 to 1"},
                               {"prefill_busy_threshold", &r->prefill_busy_threshold, 1e9, false,
                                true, "a number, 0 or more, or null"},
                               {"decode_busy_threshold", &r->decode_busy_threshold, 1e9, false,
                                true, "a number, 0 or more, or null"}};
    if (weir_json_str_eqz(key, "policy")) {
        if (read_policy(j, &r->policy))
            return WEIR_OK;
        return weir_err_set(err, WEIR_INVALID,
                            "policy must be isl_bounding, prefill_load or isl_or_load");
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (weir_json_str_eqz(key, rows[i].key))
            return read_row(j, &rows[i], err);
    return weir_err_set(err, WEIR_INVALID,
                        "%.*s is not known; there are policy, eff_isl_threshold, "
                        "eff_isl_ratio_threshold, prefill_busy_threshold and decode_busy_threshold",
                        (int)key.raw.len, key.raw.data);
}

enum weir_status weir_split_rules_parse(struct weir_span json, struct weir_split_rules *rules,
                                        struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_split_rules r = *rules;
    weir_json_init(&j, json, DEPTH);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            enum weir_status st = read_member(&j, key, &r, err);
            if (st != WEIR_OK)
                return st;
        }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "not a JSON object: %s at byte %zu",
                            weir_json_error_text(j.error), j.error_pos);
    *rules = r;
    return WEIR_OK;
}

/* ---- the record ---------------------------------------------------------------------------- */

/* X(key, member of struct weir_split) */
#define NUMBERS(X)                                                                                 \
    X("eff_isl_threshold", rules.eff_isl_threshold)                                                \
    X("eff_isl_ratio_threshold", rules.eff_isl_ratio_threshold)                                    \
    X("prefill_busy_threshold", rules.prefill_busy_threshold)                                      \
    X("decode_busy_threshold", rules.decode_busy_threshold)                                        \
    X("prompt_tokens", signals.prompt_tokens)                                                      \
    X("cached_tokens", signals.cached_tokens)                                                      \
    X("prefill_tokens", signals.prefill_tokens)                                                    \
    X("prefill_budget", signals.prefill_budget)                                                    \
    X("decode_blocks", signals.decode_blocks)                                                      \
    X("decode_capacity", signals.decode_capacity)

void weir_split_write(const struct weir_split *split, struct weir_jsonw *w) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "policy");
    weir_jsonw_string_z(w, policies[split->rules.policy]);
    weir_jsonw_key(w, "prefill");
    weir_jsonw_string_z(w, weir_split_is_local(split->why) ? "local" : "remote");
    weir_jsonw_key(w, "why");
    weir_jsonw_string_z(w, reasons[split->why]);
#define X(key, member)                                                                             \
    weir_jsonw_key(w, key);                                                                        \
    weir_jsonw_f64(w, split->member);
    NUMBERS(X)
#undef X
    weir_jsonw_object_end(w);
}

static bool read_why(struct weir_json *j, enum weir_split_why *ret) {
    struct weir_json_str value;
    size_t at = j->pos;
    if (!weir_json_string(j, &value))
        return false;
    for (size_t i = 1; i < WEIR_ARRAY_LEN(reasons); i++)
        if (weir_json_str_eqz(value, reasons[i])) {
            *ret = (enum weir_split_why)i;
            return true;
        }
    return weir_json_fail(j, WEIR_JSON_ERR_TYPE, at);
}

bool weir_split_read(struct weir_json *j, struct weir_split *ret) {
    struct weir_split s = {.why = WEIR_SPLIT_UNDECIDED};
    struct weir_json_str key;
    bool policy = false;
    size_t at = j->pos;
    const struct {
        const char *key;
        double *to;
    } rows[] = {
#define X(k, member) {k, &s.member},
        NUMBERS(X)
#undef X
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        *rows[i].to = NAN;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        size_t i = 0;
        while (i < WEIR_ARRAY_LEN(rows) && !weir_json_str_eqz(key, rows[i].key))
            i++;
        if (i < WEIR_ARRAY_LEN(rows))
            read_or_null(j, rows[i].to);
        else if (weir_json_str_eqz(key, "policy"))
            policy = read_policy(j, &s.rules.policy);
        else if (weir_json_str_eqz(key, "why"))
            read_why(j, &s.why);
        else
            weir_json_skip(j, NULL);
    }
    if (j->error == WEIR_JSON_ERR_NONE && (!policy || s.why == WEIR_SPLIT_UNDECIDED))
        weir_json_fail(j, WEIR_JSON_ERR_TYPE, at);
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    *ret = s;
    return true;
}
