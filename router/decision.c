/* The record of a decision: kept, written as JSON, read back, replayed. */
#include "base/mem.h"
#include "router/decide.h"

#include <stdlib.h>
#include <string.h>

void weir_decision_fini(struct weir_decision *d) {
    if (d == NULL)
        return;
    weir_free(d->candidates);
    *d = (struct weir_decision){.n = 0};
}

bool weir_decision_keep(struct weir_decision *d, const struct weir_candidate *c, size_t n,
                        size_t winner) {
    size_t kept = n < WEIR_DECISION_CANDIDATES ? n : WEIR_DECISION_CANDIDATES;
    weir_free(d->candidates);
    d->n = d->n_total = 0;
    d->candidates = weir_malloc(kept * sizeof(*c));
    if (d->candidates == NULL)
        return false;
    memcpy(d->candidates, c, kept * sizeof(*c));
    d->winner = winner;
    if (winner >= kept) {
        d->winner = kept - 1;
        d->candidates[d->winner] = c[winner];
    }
    d->n = kept;
    d->n_total = n;
    return true;
}

static const char *const mode_names[] = {
    "round-robin", "random",       "power-of-two",         "kv",
    "direct",      "least-loaded", "device-aware-weighted"};

static const char *const policy_names[] = {"linear", "lmetric", "fleet"};

static bool session_won(const struct weir_decision *d) {
    return d->in.has_preferred && d->n > 0 && d->candidates[d->winner].worker_id == d->in.preferred;
}

const char *weir_decision_why(const struct weir_decision *d) {
    size_t ties = 0;
    if (d->pinned)
        return "pinned";
    if (session_won(d))
        return "session";
    if (d->n_total == 1)
        return "only_candidate";
    switch (d->in.mode) {
    case WEIR_ROUTE_KV:
        if (d->in.temperature > 0)
            return "softmax_draw";
        break;
    case WEIR_ROUTE_LEAST_LOADED:
    case WEIR_ROUTE_DEVICE_AWARE:
        break;
    case WEIR_ROUTE_POWER_OF_TWO:
        return "less_loaded_of_two";
    case WEIR_ROUTE_RANDOM:
        return "random_draw";
    case WEIR_ROUTE_ROUND_ROBIN:
    case WEIR_ROUTE_DIRECT:
        return "its_turn";
    }
    for (size_t i = 0; i < d->n; i++)
        ties += d->candidates[i].cost <= d->candidates[d->winner].cost;
    return ties > 1 ? "lowest_cost_tie_drawn" : "lowest_cost";
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_f64(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    weir_jsonw_f64(w, value);
}

static void put_u64(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

static void put_bool(struct weir_jsonw *w, const char *key, bool value) {
    weir_jsonw_key(w, key);
    weir_jsonw_bool(w, value);
}

/* X(key, member of the candidate) */
#define CANDIDATE_NUMBERS(X)                                                                       \
    X("device_blocks", device_blocks)                                                              \
    X("host_blocks", host_blocks)                                                                  \
    X("disk_blocks", disk_blocks)                                                                  \
    X("active_prefill_tokens", active_prefill_tokens)                                              \
    X("active_decode_blocks", active_decode_blocks)                                                \
    X("active_requests", active_requests)                                                          \
    X("additional_blocks", additional_active_blocks)                                               \
    X("churn", churn)                                                                              \
    X("cost", cost)

/* X(key, member of the parameters) */
#define PARAM_NUMBERS(X)                                                                           \
    X("isl_tokens", isl_tokens)                                                                    \
    X("overlap_score_credit", overlap_score_credit)                                                \
    X("overlap_credit_decay", overlap_credit_decay)                                                \
    X("prefill_load_scale", prefill_load_scale)                                                    \
    X("decode_active_request_weight", decode_active_request_weight)                                \
    X("recompute_weight", recompute_weight)                                                        \
    X("churn_weight", churn_weight)                                                                \
    X("decode_block_weight", decode_block_weight)                                                  \
    X("host_weight", host_weight)                                                                  \
    X("disk_weight", disk_weight)

static void put_candidate(struct weir_jsonw *w, const struct weir_candidate *c) {
    weir_jsonw_object_begin(w);
    put_u64(w, "worker_id", c->worker_id);
    put_u64(w, "dp_rank", c->dp_rank);
#define X(key, member) put_f64(w, key, c->member);
    CANDIDATE_NUMBERS(X)
#undef X
    weir_jsonw_object_end(w);
}

static void put_inputs(struct weir_jsonw *w, const struct weir_decision *d) {
    const struct weir_cost_params *p = &d->in.params;
    weir_jsonw_key(w, "inputs");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "selection_policy");
    weir_jsonw_string_z(w, policy_names[p->policy]);
    put_u64(w, "block_size", p->block_size);
#define X(key, member) put_f64(w, key, p->member);
    PARAM_NUMBERS(X)
#undef X
    put_bool(w, "track_prefill_tokens", p->track_prefill_tokens);
    put_f64(w, "temperature", d->in.temperature);
    put_u64(w, "turn", d->in.turn);
    if (d->in.has_preferred)
        put_u64(w, "preferred_worker", d->in.preferred);
    weir_jsonw_key(w, "rng");
    weir_jsonw_array_begin(w);
    for (int i = 0; i < 4; i++)
        weir_jsonw_u64(w, d->rng.s[i]);
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

/* The winner, then the cheapest of the others: the few that a person wants to see. n * most steps,
 * both small. */
static void put_cheapest(struct weir_jsonw *w, const struct weir_decision *d, size_t most) {
    bool written[WEIR_DECISION_CANDIDATES] = {false};
    size_t at = d->winner;
    for (size_t k = 0; k < most && k < d->n; k++) {
        put_candidate(w, &d->candidates[at]);
        written[at] = true;
        size_t next = SIZE_MAX;
        for (size_t i = 0; i < d->n; i++)
            if (!written[i] &&
                (next == SIZE_MAX || d->candidates[i].cost < d->candidates[next].cost))
                next = i;
        if (next == SIZE_MAX)
            break;
        at = next;
    }
}

static void put_share(struct weir_jsonw *w, const struct weir_decision *d) {
    weir_jsonw_key(w, "tenant_share");
    weir_jsonw_object_begin(w);
    put_u64(w, "active_tenants", d->share.tenants);
    put_u64(w, "reserved_ranks", d->share.reserve);
    put_u64(w, "held_ranks", d->share.held);
    put_u64(w, "limit_ranks", d->share.limit);
    put_u64(w, "left_out_candidates", d->share.left_out);
    weir_jsonw_object_end(w);
}

void weir_decision_write(const struct weir_decision *d, size_t most, struct weir_jsonw *w) {
    const struct weir_candidate *c = &d->candidates[d->winner];
    weir_jsonw_key(w, "mode");
    weir_jsonw_string_z(w, mode_names[d->in.mode]);
    weir_jsonw_key(w, "why");
    weir_jsonw_string_z(w, weir_decision_why(d));
    put_u64(w, "worker_id", c->worker_id);
    put_u64(w, "dp_rank", c->dp_rank);
    put_bool(w, "pinned", d->pinned);
    put_u64(w, "prompt_blocks", d->n_blocks);
    put_u64(w, "n_candidates", d->n_total);
    if (d->has_split) {
        weir_jsonw_key(w, "conditional_disagg");
        weir_split_write(&d->split, w);
    }
    if (d->share.limited)
        put_share(w, d);
    if (most == SIZE_MAX) {
        put_u64(w, "winner", d->winner);
        put_inputs(w, d);
    }
    weir_jsonw_key(w, "candidates");
    weir_jsonw_array_begin(w);
    if (most == SIZE_MAX)
        for (size_t i = 0; i < d->n; i++)
            put_candidate(w, &d->candidates[i]);
    else
        put_cheapest(w, d, most);
    weir_jsonw_array_end(w);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Numbers by key. All are finite, so a null is an error. */
struct number {
    const char *key;
    double *to;
};

static bool read_number(struct weir_json *j, struct weir_json_str key, const struct number *table,
                        size_t n) {
    for (size_t i = 0; i < n; i++)
        if (weir_json_str_eqz(key, table[i].key)) {
            weir_json_f64(j, table[i].to);
            return true;
        }
    return false;
}

static void read_u32(struct weir_json *j, uint32_t *ret) {
    uint64_t v = 0;
    size_t at = j->pos;
    if (weir_json_u64(j, &v) && v <= UINT32_MAX)
        *ret = (uint32_t)v;
    else
        weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, at);
}

static void read_candidate(struct weir_json *j, struct weir_candidate *c) {
    struct weir_json_str key;
    const struct number table[] = {
#define X(k, member) {k, &c->member},
        CANDIDATE_NUMBERS(X)
#undef X
    };
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "worker_id"))
            weir_json_u64(j, &c->worker_id);
        else if (weir_json_str_eqz(key, "dp_rank"))
            read_u32(j, &c->dp_rank);
        else if (!read_number(j, key, table, WEIR_ARRAY_LEN(table)))
            weir_json_skip(j, NULL);
    }
}

static void read_candidates(struct weir_json *j, struct weir_decision *d) {
    d->n = 0; /* of a member that stands twice the last counts, as of the others */
    if (!weir_json_array_enter(j))
        return;
    while (weir_json_array_next(j)) {
        if (d->n == WEIR_DECISION_CANDIDATES) {
            weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
            return;
        }
        read_candidate(j, &d->candidates[d->n++]);
    }
}

static void read_rng(struct weir_json *j, struct weir_decision *d) {
    size_t n = 0;
    if (!weir_json_array_enter(j))
        return;
    while (weir_json_array_next(j)) {
        if (n == 4) {
            weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
            return;
        }
        weir_json_u64(j, &d->rng.s[n++]);
    }
}

/* The place of a name in a table; the reader fails where it is in none. */
static size_t read_name(struct weir_json *j, const char *const *names, size_t n) {
    struct weir_json_str value;
    size_t at = j->pos;
    if (!weir_json_string(j, &value))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (weir_json_str_eqz(value, names[i]))
            return i;
    weir_json_fail(j, WEIR_JSON_ERR_TYPE, at);
    return 0;
}

static void read_inputs(struct weir_json *j, struct weir_decision *d) {
    struct weir_json_str key;
    struct weir_cost_params *p = &d->in.params;
    const struct number table[] = {
#define X(k, member) {k, &p->member},
        PARAM_NUMBERS(X)
#undef X
            {"temperature", &d->in.temperature},
    };
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "selection_policy"))
            p->policy = (enum weir_selection_policy)read_name(j, policy_names,
                                                              WEIR_ARRAY_LEN(policy_names));
        else if (weir_json_str_eqz(key, "block_size"))
            read_u32(j, &p->block_size);
        else if (weir_json_str_eqz(key, "track_prefill_tokens"))
            weir_json_bool(j, &p->track_prefill_tokens);
        else if (weir_json_str_eqz(key, "turn"))
            weir_json_u64(j, &d->in.turn);
        else if (weir_json_str_eqz(key, "preferred_worker"))
            d->in.has_preferred = weir_json_u64(j, &d->in.preferred);
        else if (weir_json_str_eqz(key, "rng"))
            read_rng(j, d);
        else if (!read_number(j, key, table, WEIR_ARRAY_LEN(table)))
            weir_json_skip(j, NULL);
    }
}

enum weir_status weir_decision_parse(struct weir_span line, struct weir_arena *arena,
                                     struct weir_decision *ret) {
    struct weir_json j;
    struct weir_json_str key;
    uint64_t winner = 0, total = 0, blocks = 0;
    bool mode = false, inputs = false;
    struct weir_decision d = {.n = 0};
    d.candidates = weir_arena_zalloc(arena, WEIR_DECISION_CANDIDATES * sizeof(*d.candidates));
    if (d.candidates == NULL)
        return WEIR_NOMEM;
    weir_json_init(&j, line, 8);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "mode")) {
                d.in.mode =
                    (enum weir_router_mode)read_name(&j, mode_names, WEIR_ARRAY_LEN(mode_names));
                mode = true;
            } else if (weir_json_str_eqz(key, "pinned")) {
                weir_json_bool(&j, &d.pinned);
            } else if (weir_json_str_eqz(key, "prompt_blocks")) {
                weir_json_u64(&j, &blocks);
            } else if (weir_json_str_eqz(key, "n_candidates")) {
                weir_json_u64(&j, &total);
            } else if (weir_json_str_eqz(key, "winner")) {
                weir_json_u64(&j, &winner);
            } else if (weir_json_str_eqz(key, "inputs")) {
                read_inputs(&j, &d);
                inputs = true;
            } else if (weir_json_str_eqz(key, "conditional_disagg")) {
                d.has_split = weir_split_read(&j, &d.split);
            } else if (weir_json_str_eqz(key, "candidates")) {
                read_candidates(&j, &d);
            } else {
                weir_json_skip(&j, NULL);
            }
        }
    if (!weir_json_finish(&j) || !mode || !inputs || d.n == 0 || winner >= d.n || total < d.n ||
        d.in.params.block_size == 0)
        return WEIR_INVALID;
    d.winner = (size_t)winner;
    d.n_total = (size_t)total;
    d.n_blocks = (size_t)blocks;
    *ret = d;
    return WEIR_OK;
}

enum weir_status weir_decision_replay(struct weir_decision *d, size_t *ret) {
    struct weir_rng rng = d->rng;
    if (d->n == 0 || d->n < d->n_total)
        return WEIR_LIMIT;
    *ret = weir_decide(&d->in, d->candidates, d->n, &rng);
    if (d->has_split && weir_split_decide(&d->split.rules, &d->split.signals) != d->split.why)
        *ret = SIZE_MAX;
    return WEIR_OK;
}
