/*
 * The choice among candidates, for every routing mode, and the record of one such choice. Pure: the
 * router decides with this function, and a recorded decision is replayed with the same function
 * from the same inputs, so both agree to the last bit. Source of the rules: shared spec "kvrouter"
 * 4.1, 4.2.
 */
#ifndef WEIR_ROUTER_DECIDE_H
#define WEIR_ROUTER_DECIDE_H

#include "base/arena.h"
#include "base/json.h"
#include "router/cost.h"
#include "router/split.h"

/* All that a choice depends on besides the candidates and the random numbers. */
struct weir_decide {
    enum weir_router_mode mode;
    struct weir_cost_params params; /* its minimum of prefill tokens is computed here */
    double temperature;
    uint64_t turn; /* decisions made before, for the modes that take turns */
    bool has_preferred;
    uint64_t preferred; /* worker of the request's session: wins where it is a candidate */
};

/* Fills in the costs and returns the index of the chosen candidate; n > 0. Ranks of one worker
 * stand next to each other. */
size_t weir_decide(const struct weir_decide *in, struct weir_candidate *candidates, size_t n,
                   struct weir_rng *rng);

/* The candidates [*ret_first, *ret_end) that may be chosen: of the preferred worker where it is
 * one, else all. */
void weir_decide_range(const struct weir_decide *in, const struct weir_candidate *candidates,
                       size_t n, size_t *ret_first, size_t *ret_end);

/* ---- the record ------------------------------------------------------------------------------ */

enum { WEIR_DECISION_CANDIDATES = 1024 };

struct weir_decision {
    struct weir_decide in;
    struct weir_rng rng; /* before the draw */
    size_t n_blocks;     /* complete blocks of the prompt */
    bool pinned;         /* the request named its worker */
    bool has_split; /* whether a prefill worker should compute the prompt was decided just before */
    struct weir_split split;
    struct {
        bool limited;     /* the tenant had to keep to its share: the rest is set then */
        unsigned tenants; /* active */
        unsigned reserve, held, limit;
        unsigned left_out; /* candidates that its share left out */
    } share;               /* figures of tenants.h, for people; not needed to replay */
    /* The first WEIR_DECISION_CANDIDATES of n_total; where that leaves the winner out, it stands
     * last. Owned by the record, or by the arena of weir_decision_parse. */
    struct weir_candidate *candidates;
    size_t n, n_total;
    size_t winner; /* index into candidates */
};

/* The router fills a record that is zero; fini frees its candidates. */
void weir_decision_fini(struct weir_decision *decision);
/* Keeps candidates and winner. False when out of memory: there is no record then. */
bool weir_decision_keep(struct weir_decision *decision, const struct weir_candidate *candidates,
                        size_t n, size_t winner);
/* Why the winner won, in a few words. */
const char *weir_decision_why(const struct weir_decision *decision);
/* One JSON object on one line. `most` bounds the candidates that are written: the winner first,
 * then the cheapest; SIZE_MAX: all that are kept, in their order, with the inputs of the choice, so
 * that it can be replayed. Begins inside an open object: writes members only. */
void weir_decision_write(const struct weir_decision *decision, size_t most, struct weir_jsonw *w);
/* Reads what weir_decision_write wrote with SIZE_MAX, other members (of the log's line) ignored.
 * WEIR_INVALID: not such an object. */
enum weir_status weir_decision_parse(struct weir_span line, struct weir_arena *arena,
                                     struct weir_decision *ret) WEIR_MUST_CHECK;
/* Decides again from the inputs; *ret is the index that comes out now, to be compared with
 * `winner`; SIZE_MAX: the split comes out otherwise. The costs in `candidates` are computed anew.
 * WEIR_LIMIT: not all candidates were kept.
 */
enum weir_status weir_decision_replay(struct weir_decision *decision, size_t *ret) WEIR_MUST_CHECK;

#endif
