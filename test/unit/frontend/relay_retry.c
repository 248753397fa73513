/* Which engine gets a request that one has failed: against the policy in words of docs/vllm.md. */
#include "frontend/relay_retry.h"
#include "test/check.h"

static enum weir_relay_next after(enum weir_relay_loss loss, unsigned n_moves, unsigned n_breaks) {
    const struct weir_relay_failure f = {.loss = loss,
                                         .may_choose = true,
                                         .in_time = true,
                                         .n_moves = n_moves,
                                         .n_breaks = n_breaks};
    return weir_relay_next(&f);
}

static void case_refusals_go_to_three_others(void) {
    for (unsigned moves = 0; moves < 3; moves++)
        CHECK(after(WEIR_RELAY_FAILED, moves, 0) == WEIR_RELAY_GOES_ON);
    CHECK(after(WEIR_RELAY_FAILED, 3, 0) == WEIR_RELAY_ENDS);
    CHECK(after(WEIR_RELAY_FAILED, 1, 1) == WEIR_RELAY_GOES_ON);
}

static void case_what_no_engine_has_got_is_free(void) {
    for (unsigned moves = 0; moves < 5; moves++)
        CHECK(after(WEIR_RELAY_UNTOUCHED, moves, moves > 0) == WEIR_RELAY_GOES_FREE);
    struct weir_relay_failure late = {.loss = WEIR_RELAY_UNTOUCHED, .may_choose = true};
    CHECK(weir_relay_next(&late) == WEIR_RELAY_GOES_ON);
    late.n_moves = 3;
    CHECK(weir_relay_next(&late) == WEIR_RELAY_ENDS);
}

static void case_two_breaks_are_the_end(void) {
    CHECK(after(WEIR_RELAY_BROKE_OFF, 0, 1) == WEIR_RELAY_GOES_ON);
    CHECK(after(WEIR_RELAY_BROKE_OFF, 2, 1) == WEIR_RELAY_GOES_ON);
    for (unsigned moves = 0; moves < 5; moves++)
        CHECK(after(WEIR_RELAY_BROKE_OFF, moves, 2) == WEIR_RELAY_ENDS_BREAKS);
}

static void case_bound_to_one_engine(void) {
    for (int loss = WEIR_RELAY_UNTOUCHED; loss <= WEIR_RELAY_BROKE_OFF; loss++) {
        const struct weir_relay_failure f = {
            .loss = (enum weir_relay_loss)loss, .in_time = true, .n_breaks = 1};
        CHECK(weir_relay_next(&f) == WEIR_RELAY_ENDS);
    }
}

int main(void) {
    CHECK_RUN(case_refusals_go_to_three_others);
    CHECK_RUN(case_what_no_engine_has_got_is_free);
    CHECK_RUN(case_two_breaks_are_the_end);
    CHECK_RUN(case_bound_to_one_engine);
    return check_finish();
}
