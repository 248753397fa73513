#include "bench/plan.h"

#include "bench/text.h"

/* Kinds of keys: two things of one number must not share their text. */
enum { KEY_TURN = 1, KEY_PREFIX, KEY_TEXT, KEY_BLOCK };

static size_t chars_of(const struct weir_plan *plan, uint64_t tokens) {
    return (size_t)((double)tokens * plan->chars_per_token + 0.5);
}

/* Turns of one conversation lie side by side; 2^20 of them are more than options allow. */
static uint64_t turn_number(uint64_t conversation, uint64_t turn) {
    return (conversation << 20) + turn;
}

struct weir_turn weir_plan_turn(const struct weir_plan *plan, uint64_t conversation,
                                uint64_t turn) {
    struct weir_turn t = {.conversation = conversation, .turn = turn};
    if (plan->trace != NULL) {
        t.line = &plan->trace->lines[conversation];
        t.user_tokens = t.line->input_tokens;
        t.max_tokens = t.line->output_tokens;
        return t;
    }
    struct weir_rng rng;
    if (plan->prefix_groups > 0) {
        weir_rng_seed(&rng, weir_text_key(plan->seed, KEY_PREFIX, conversation));
        t.group = weir_rng_below(&rng, plan->prefix_groups);
    }
    weir_rng_seed(&rng, weir_text_key(plan->seed, KEY_TURN, turn_number(conversation, turn)));
    t.user_tokens = weir_dist_sample(&plan->isl, &rng);
    t.max_tokens = (uint32_t)weir_dist_sample(&plan->osl, &rng);
    if (turn > 0)
        t.think_ns = weir_dist_sample(&plan->think_ms, &rng) * 1000000u;
    return t;
}

enum weir_status weir_plan_prefix(const struct weir_plan *plan, const struct weir_turn *turn,
                                  struct weir_buf *out) {
    if (plan->prefix_groups == 0)
        return WEIR_OK;
    uint64_t key = weir_text_key(~plan->seed, KEY_PREFIX, turn->group);
    return weir_text_append(out, key, chars_of(plan, plan->prefix_tokens));
}

/* The last block of a prompt may be cut short: its text is then the beginning of the whole one. */
static enum weir_status trace_text(const struct weir_plan *plan, const struct weir_turn *turn,
                                   struct weir_buf *out) {
    const uint64_t *ids = weir_trace_ids(plan->trace, turn->line);
    uint64_t left = turn->user_tokens;
    enum weir_status st = WEIR_OK;
    for (uint32_t i = 0; i < turn->line->n_ids && st == WEIR_OK; i++) {
        uint64_t tokens = left < plan->trace_block ? left : plan->trace_block;
        st = weir_text_append(out, weir_text_key(plan->seed, KEY_BLOCK, ids[i]),
                              chars_of(plan, tokens));
        left -= tokens;
    }
    return st;
}

enum weir_status weir_plan_text(const struct weir_plan *plan, const struct weir_turn *turn,
                                struct weir_buf *out) {
    if (turn->line != NULL)
        return trace_text(plan, turn, out);
    uint64_t number = turn_number(turn->conversation, turn->turn);
    return weir_text_append(out, weir_text_key(plan->seed, KEY_TEXT, number),
                            chars_of(plan, turn->user_tokens));
}

uint64_t weir_plan_trace_due(const struct weir_plan *plan, uint64_t line, double speedup) {
    /* The trace's first request is due at once, whatever its clock says. */
    const struct weir_trace_line *lines = plan->trace->lines;
    return (uint64_t)((lines[line].timestamp_ms - lines[0].timestamp_ms) * 1e6 / speedup);
}
