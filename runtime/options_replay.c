/* Table of `weir replay`, its rules across options and its presets. */
#include "runtime/options_replay.h"

#include "runtime/options_router_rules.h"

#define OPTIONS_STRUCT struct weir_replay_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_replay.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_replay_options *o = config;
    if ((o->trace == NULL) == (o->decisions == NULL))
        return weir_err_set(err, WEIR_INVALID,
                            "give --trace or --decisions: the file to replay, one of them");
    if (o->decisions != NULL && o->html_out != NULL)
        return weir_err_set(err, WEIR_INVALID, "--decisions has no page: leave --html-out out");
    if (o->decisions != NULL && o->loads != NULL)
        return weir_err_set(err, WEIR_INVALID, "--decisions has no load: leave --loads out");
    if (o->grid != NULL && o->decisions != NULL && o->best != WEIR_OPT_REPLAY_BEST_TTFT_P99 &&
        o->best != WEIR_OPT_REPLAY_BEST_HIT_RATE)
        return weir_err_set(err, WEIR_INVALID,
                            "--best: recorded decisions tell of hits alone: hit-rate");
    if (o->grid != NULL && o->loads != NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "--grid and --loads: write the loads as trace-speedup=… in the grid");
    if (o->grid == NULL && o->device != WEIR_OPT_REPLAY_DEVICE_CPU)
        return weir_err_set(err, WEIR_INVALID,
                            "--device cuda needs --grid: one configuration is simulated by the "
                            "router and the engine themselves");
    return WEIR_OK;
}

/* Presets and legacy names, as of the frontend. */
static void resolve(void *config) {
    struct weir_replay_options *o = config;
    WEIR_ROUTER_RULES_RESOLVE(o);
}

const struct weir_program weir_replay_program = {
    .name = "replay",
    .title = "routing modes side by side on a recorded trace, in one process",
    .description =
        "Replays a trace against simulated workers with a simulated clock, once for each routing "
        "mode, and prints hit rates beside the best possible, the balance of load and the time to "
        "the first token. Router and engine are those of weir frontend and weir mocker; the same "
        "options and seed give the same figures on every machine.",
    .version_text = "weir replay " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_replay_options),
    .check = check,
    .resolve = resolve,
};
