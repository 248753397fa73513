/*
 * What a run asks: the content of every request as a pure function of the seed and its place, so
 * that the same flags give the same requests whatever the timing, the number of loops and the
 * answers. Request r of a run is turn r % turns of conversation r / turns; with one turn (the
 * usual case, and every trace) conversation and request are the same thing.
 */
#ifndef WEIR_BENCH_PLAN_H
#define WEIR_BENCH_PLAN_H

#include "base/buf.h"
#include "bench/dist.h"
#include "bench/trace.h"

struct weir_plan {
    uint64_t seed;
    struct weir_dist isl, osl; /* tokens; borrowed: outlive the plan, as all below */
    struct weir_dist think_ms; /* between an answer and the next turn */
    uint64_t prefix_groups;    /* 0 = no shared beginnings */
    uint64_t prefix_tokens;
    uint64_t turns; /* of a conversation, at least 1 */
    double chars_per_token;
    const struct weir_trace *trace; /* or NULL */
    uint32_t trace_block;           /* tokens of a hash id */
};

struct weir_turn {
    uint64_t conversation, turn;
    uint64_t user_tokens; /* of this turn's own text, shared beginning not counted */
    uint32_t max_tokens;
    uint64_t think_ns;                  /* before this turn; 0 for the first */
    uint64_t group;                     /* of the shared beginning; meaningless without groups */
    const struct weir_trace_line *line; /* of the trace, or NULL */
};

/* With a trace: conversation < trace->n_lines, turn 0. */
struct weir_turn weir_plan_turn(const struct weir_plan *plan, uint64_t conversation, uint64_t turn);
/* Appends the shared beginning of the turn's conversation (nothing without groups). */
enum weir_status weir_plan_prefix(const struct weir_plan *plan, const struct weir_turn *turn,
                                  struct weir_buf *out) WEIR_MUST_CHECK;
/* Appends the turn's own text. */
enum weir_status weir_plan_text(const struct weir_plan *plan, const struct weir_turn *turn,
                                struct weir_buf *out) WEIR_MUST_CHECK;
/* Nanoseconds from the start at which a trace's request is due. */
uint64_t weir_plan_trace_due(const struct weir_plan *plan, uint64_t line, double speedup);

#endif
