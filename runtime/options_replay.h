/* Options of `weir replay`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_REPLAY_H
#define WEIR_RUNTIME_OPTIONS_REPLAY_H

#include "runtime/config.h"

/* Indices of choices, in the order of the rows. */
enum weir_opt_replay_best {
    WEIR_OPT_REPLAY_BEST_HIT_RATE,
    WEIR_OPT_REPLAY_BEST_TTFT_MEAN,
    WEIR_OPT_REPLAY_BEST_TTFT_P50,
    WEIR_OPT_REPLAY_BEST_TTFT_P99,
    WEIR_OPT_REPLAY_BEST_E2E_P99,
    WEIR_OPT_REPLAY_BEST_BALANCE,
    WEIR_OPT_REPLAY_BEST_MAKESPAN,
};
enum weir_opt_replay_device { WEIR_OPT_REPLAY_DEVICE_CPU, WEIR_OPT_REPLAY_DEVICE_CUDA };

struct weir_replay_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_replay.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_replay_program;

#endif
