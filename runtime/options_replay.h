/* Options of `weir replay`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_REPLAY_H
#define WEIR_RUNTIME_OPTIONS_REPLAY_H

#include "runtime/config.h"

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
